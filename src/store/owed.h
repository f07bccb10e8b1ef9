/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Units that are recorded and whose bytes only the log has: they are owed to
 * their targets. Private to src/store.
 *
 *   acknowledged --owed_add--> owed --owed_land, before a commit--> on its target
 *                               +-----owed_drop: replaced or deleted--> nowhere
 *
 * A put of few bytes is thus one write of the log; what is replaced before the
 * next commit is never written to a target. Readers get the log's copy. The
 * space of a unit that was dropped stays taken until the commit (settle.c), so
 * no other unit has its place while it is written.
 *
 * One table for all shards, with a lock that is held for a look-up and a copy of
 * one unit. Any thread may call, owed_land is the committer's.
 */
#ifndef SLUICE_STORE_OWED_H
#define SLUICE_STORE_OWED_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

struct store;
struct extent;

struct owed_unit {
    struct owed_unit *next; /* in its bucket */
    const uint8_t *bytes; /* in the log's memory, which stays until a commit */
    uint64_t loc;
    uint32_t n;       /* bytes there */
    uint32_t space;   /* in the target; zeros behind them */
    uint8_t target;   /* index */
    uint8_t landing;  /* owed_land has it */
    uint8_t replaced; /* meanwhile */
};

struct owed {
    pthread_mutex_t lock;
    struct owed_unit **bucket;
    uint64_t mask; /* buckets - 1 */
    uint64_t n;    /* atomic for who only asks whether there is any */
};

/** SL_ENOMEM. */
int owed_open(struct owed *o);
/** What is left is in the log. */
void owed_close(struct owed *o);
/** Takes the unit, which is filled in. */
void owed_add(struct owed *o, struct owed_unit *u);
/** Copies an extent's bytes, padded to its space, if they are owed: true. */
int owed_read(struct owed *o, const struct extent *e, uint8_t *buf);
/** No record names the extent any more. */
void owed_drop(struct owed *o, const struct extent *e);
/** Writes all that is owed to its targets; no sync. A code: what could not be
 *  written is still owed. */
int owed_land(struct store *s);

#endif
