/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The table of targets: where a store may put bytes. Private to src/store.
 *
 * Entry 0 is the pinned tier, the arena itself. An entry is written by one
 * control thread at a time, under store->control; workers see it change by
 * messages only, so they read it without a lock:
 *
 *   free --open, ports on every worker--> active --remove--> draining
 *     ^                                     ^                    |
 *     |                                     +-- does not fit ----+
 *     +-------- ports closed on every worker, when it is empty --+
 *
 * A disk that does not answer holds up what must be on it: reads and writes of
 * its bytes, and the committer, which waits for it under store->sync, so all
 * that is to be durable. Workers never wait for a disk, so volatile puts, gets
 * of other targets and rounds of messages go on; those who look never take
 * store->sync, and see the target as "slow"; adding and measuring give up.
 *
 * A shard decides by its own copy of what matters (struct choice), which a
 * message to its worker renews; what is draining gets nothing new from the
 * moment that message ran.
 *
 *   target.c       opening, closing, adding, removing
 *   target_info.c  what is known of each
 *   target_list.c  what outlives the process: DIR/targets
 *   measure.c      bandwidth and latency, and the score that follows
 *   choose.c       in which order a blob's bytes try the targets
 */
#ifndef SLUICE_STORE_TARGET_H
#define SLUICE_STORE_TARGET_H

#include "sluice/sluice.h"
#include "tier/tier.h"

#include <pthread.h>

#define TARGETS_MAX 32u

struct store;
struct shard;
struct scatter;

enum target_state { TARGET_FREE = 0, TARGET_ACTIVE, TARGET_DRAINING };

/** What a target is, as the user named it or the directory lists it. */
struct target_spec {
    char name[SL_TARGET_NAME];
    char kind[8];
    char *path;   /* of a file, ours; null else */
    char *device; /* of hbm, ours; null else */
    uint64_t capacity;
    uint16_t score;    /* 0..1000 */
    uint32_t number;   /* what records call it; 0: DIR/data */
    uint64_t identity; /* of the file, in its first block; 0: it has none */
    uint8_t lasting;   /* its bytes outlive the process */
    uint8_t made;      /* the file is ours to remove with the target */
};

/** Counters that all workers add to; relaxed: they order nothing. */
struct target_counts {
    uint64_t used;              /* bytes taken; not of the pinned tier */
    uint64_t evicted, promoted; /* blobs' moves off and onto it */
    uint64_t moved;             /* bytes of all moves onto it */
};

/** What was measured of a target; zeros: nothing was. */
struct speed {
    uint64_t bandwidth, latency_ns;
};

struct target {
    enum target_state state;
    struct target_spec spec;
    struct tier *tier;                /* null: the arena */
    struct tier_port *sync;           /* the committer's, if it is lasting */
    struct speed speed;               /* set under `look`, as spec.score */
    uint64_t over_bytes, under_bytes; /* marks of eviction */
    uint32_t dirty;    /* atomic: bytes were written since the last sync */
    uint64_t asked_ns; /* atomic: since when somebody waits for it under `sync`;
                          0: nobody does */
    _Alignas(64) struct target_counts counts;
};

/* What a worker has of all targets, for itself. */
struct target_ports {
    struct tier_port *at[TARGETS_MAX]; /* null: none */
    struct tier_port *list[TARGETS_MAX];
    uint32_t n;
};

#define TARGET_PINNED 0u
#define TARGET_BIT(t) (UINT32_C(1) << (t))

/** What a shard knows of the targets. */
struct choice {
    uint32_t active;    /* bits: may get bytes */
    uint32_t lasting;   /* bits: outlive the process, draining ones too */
    uint32_t discards;  /* bits: keep nothing; bytes are never moved there */
    uint32_t evictable; /* bits: there is a slower one for what they hold */
    uint32_t n;         /* active ones, in the three orders */
    uint8_t by_score[TARGETS_MAX]; /* falling score */
    uint8_t by_bandwidth[TARGETS_MAX];
    uint8_t by_latency[TARGETS_MAX];
    uint16_t score[TARGETS_MAX];
    uint64_t bandwidth[TARGETS_MAX]; /* as measured, else 0 */
    /* Explicit scores that want the pinned tier first: [pinned_lo, pinned_hi].
     */
    uint16_t pinned_lo, pinned_hi;
    uint8_t pinned_auto; /* automatic ones do, of whatever size */
    uint64_t turn;       /* of round_robin and random */
};

/* ---- target.c ---- */

void target_spec_free(struct target_spec *spec);

/** Opens the targets of the configuration and those that the directory lists.
 *  The table is empty. */
int targets_open(struct store *s);
/** The workers have stopped. */
void targets_close(struct store *s);
/** Opens the ports of a worker; before it runs. */
int targets_attach(struct store *s, uint32_t worker);
/** Index of an active or draining target, or -1. Under control. */
int target_find(const struct store *s, const char *name);
/** Index of the target that records call `number`, or -1. */
int target_of_number(const struct store *s, uint32_t number);
/** Takes store->sync to use a target's port; SL_EBUSY, logged, when the
 *  committer has it for long. Control threads. */
int targets_lock_sync(struct store *s);
/** Around a wait for a target, under store->sync: it may be slow. */
void target_asked(struct target *t, int begins);
/** Renews the choice of all shards; under control, workers run. */
int targets_renew(struct store *s);
/** On the committer: brings what the lasting targets hold to stable storage. */
int targets_sync(struct store *s);
/** Runs `part` on each shard's worker and waits for all; under control. */
int targets_round(struct store *s,
                  int (*part)(struct scatter *s, struct shard *sh), void *user);
/** What targets_round was given, for its part. */
void *round_user(const struct scatter *s);

/* ---- target_info.c ---- */

/** Checks what the user asks for; SL_EINVAL, SL_ESCORE, SL_EEXIST, logged. */
int target_spec_make(const struct store *s, const struct sl_target_opts *o,
                     struct target_spec *out);
/** 0.0..1.0 as 0..1000; SL_ESCORE. */
int target_wire_score(float score, uint16_t *out);
/** Measures, and sets the score that follows. Under control. */
int target_rate(struct store *s, struct target *t);

/* ---- target_list.c ---- */

/** Writes the list of lasting targets, number 0 left out, durably. */
int target_list_write(const struct store *s);
/** Calls `each` for what the list holds; no list is an empty one. SL_ECORRUPT,
 *  SL_EVERSION, logged. The strings are the callee's. */
int target_list_read(struct store *s,
                     int (*each)(struct store *s, struct target_spec *spec));
/** Makes an identity for a new file. */
uint64_t target_identity(void);
/** Writes the first block of a file target that is new, durably. */
int target_stamp(struct target *t, struct tier_port *port);
/** Checks it: SL_ENOTARGET when the file is another, SL_ESHRUNK. */
int target_check(struct target *t, struct tier_port *port);
/** True for the first TIER_BLOCK bytes of the file that has this identity. */
int target_is_stamped(const void *block, uint64_t identity);

/* ---- measure.c ---- */

/** Writes and reads some MiB of free space by a port that the caller has for
 *  itself. SL_ENOSPC: not even one block is free. */
int target_measure(struct tier_port *port, struct speed *out);
/** 0..1000 for what was measured: see the definition. */
uint16_t target_score_of(const struct speed *s);
/** One request from start to end on a port that the caller has for itself. */
int target_run(struct tier_port *port,
               int (*start)(struct tier_port *p, struct tier_io *io),
               struct tier_io *io);

/* ---- choose.c ---- */

/** Fills in all but `turn` from the table; under control or before workers
 *  run. */
void choice_make(const struct store *s, struct choice *c);
/** Targets of `among` in the order in which a blob of this score (as on the
 *  wire) and size tries them; returns how many. Takes a turn. */
uint32_t choice_order(struct shard *sh, uint16_t score, uint64_t size,
                      uint32_t among, uint8_t out[TARGETS_MAX]);
/** True when the pinned tier is the first of them; takes a turn then. */
int choice_is_pinned(struct shard *sh, uint16_t score);

#endif
