/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What the tiers share: the locked space map, a queue of requests, and the port
 * that completes inside the call. Internal to src/tier.
 *
 * A tier embeds `struct tier_base` first and may use the tier_base_ and
 * tier_now_ functions in its table as they are.
 */
#ifndef SLUICE_TIER_COMMON_H
#define SLUICE_TIER_COMMON_H

#include "tier/space.h"
#include "tier/tier.h"

#include <pthread.h>

/* What tier_io.op holds while the request is with the tier. */
enum tier_op { TIER_READ, TIER_WRITE, TIER_FLUSH };

/* ---- a tier's space ---- */

struct tier_base {
    struct tier tier;
    pthread_mutex_t lock; /* guards `space`; taken last, held for no call out */
    struct space *space;  /* in TIER_BLOCKs */
    uint64_t capacity;    /* bytes, multiple of TIER_BLOCK */
    uint32_t n_ports;
    /** Serves one request at once; its code. For tier_now ports. */
    int (*run)(struct tier_base *b, struct tier_io *io);
};

/** SL_EINVAL (logged) no capacity or no ports, SL_ENOMEM. */
int tier_base_init(struct tier_base *b, const struct tier_ops *ops,
                   const struct tier_config *c);
void tier_base_fini(struct tier_base *b);
int tier_base_alloc(struct tier *t, uint64_t bytes, uint64_t *loc);
int tier_base_reserve(struct tier *t, uint64_t loc, uint64_t bytes);
void tier_base_free(struct tier *t, uint64_t loc, uint64_t bytes);
void tier_base_usage(struct tier *t, struct tier_usage *out);

/** Checks a request and readies its private fields. SL_EINVAL: alignment,
 *  range, or no `done`. */
int tier_io_begin(const struct tier_base *b, struct tier_io *io,
                  enum tier_op op);

/* ---- a queue of requests, linked by their `next` ---- */

struct tier_queue {
    struct tier_io *head, *tail;
    unsigned n;
};

void tier_queue_push(struct tier_queue *q, struct tier_io *io);
void tier_queue_push_front(struct tier_queue *q, struct tier_io *io);
/** The oldest, or null. */
struct tier_io *tier_queue_pop(struct tier_queue *q);

/* ---- a port that completes inside the call ---- */

/* A request made inside a `done` waits here until that `done` has returned, so
 * that a chain of requests needs no stack. */
struct tier_now {
    struct tier_port port;
    struct tier_queue waiting;
    int running;
};

int tier_now_open(struct tier *t, uint32_t index, struct tier_port **out);
void tier_now_close(struct tier_port *p);
int tier_now_write(struct tier_port *p, struct tier_io *io);
int tier_now_read(struct tier_port *p, struct tier_io *io);
int tier_now_flush(struct tier_port *p, struct tier_io *io);
unsigned tier_now_poll(struct tier_port *p);
unsigned tier_now_pending(const struct tier_port *p);

#endif
