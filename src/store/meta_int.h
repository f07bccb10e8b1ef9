/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What meta.c (queue, open), meta_group.c and meta_load.c share.
 *
 * Locks, in the order in which they are taken: `log_lock` is held by the
 * committer while it works, and by others for one write of the log;
 * `env_lock` keeps a load and a commit apart, because the map may grow only
 * while no transaction is open; `lock` guards the queue and is held for a few
 * instructions.
 */
#ifndef SLUICE_META_INT_H
#define SLUICE_META_INT_H

#include "store/meta_apply.h"
#include "store/tag_set.h"

#include <pthread.h>

/* Changes in one write of the log: enough to spread the cost of a sync, few
 * enough that the first of them waits some milliseconds only. */
#define GROUP_MAX 1024u
#define GROUP_BYTES (UINT32_C(4) << 20)

struct meta {
    struct meta_config config;
    pthread_mutex_t env_lock; /* guards env */
    struct meta_env env;

    pthread_mutex_t log_lock; /* guards what follows */
    struct meta_log log;
    struct reserve reserve;
    struct tag_set tags; /* that have a record */
    struct meta_change *group[GROUP_MAX];
    unsigned n;
    int unsynced;     /* the log names data that was not synced since */
    int carried;      /* the log has bytes that may not be elsewhere */
    uint64_t old_ns;  /* when the log got its first frame */
    int stuck;        /* LMDB, or a sync of the log, failed with this code */
    int held;         /* the last commit could not settle the data: its code */
    uint64_t last_ns; /* when a commit was tried last */
    uint64_t sync_ns; /* how long the last sync of a group took */

    uint64_t last, settled; /* atomic; written under log_lock */
    int wanted; /* atomic: the committer has log_lock, or waits for it */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    struct meta_change *first, **tail;
    unsigned queued;
    unsigned expect; /* so many came with the last sync */
    int stop;
    int nudged; /* the log was changed, and when a commit is due */
    pthread_t thread;
};

/* ---- meta_group.c; under log_lock ---- */
/** Brings written data to stable storage; config.sync. */
int meta_sync_data(struct meta *m);
/** LMDB gets the log, which begins anew. */
int meta_apply_log(struct meta *m, struct apply *a);
/** LMDB gets the log, and `extra` behind it. Codes of struct meta_change. */
int meta_commit(struct meta *m, const struct meta_change *extra);
/** A flush, or a change that is too large for the log. */
int meta_is_alone(const struct meta_change *c);
/** Splits a group off the list; returns what is behind it. */
struct meta_change *meta_group_take(struct meta *m, struct meta_change *list);
/** Stores the group and calls each `done`. */
void meta_group_serve(struct meta *m);
/** Appends one that needs no sync, without `done`. A code: it is not in the log,
 *  and the log is as it was. */
int meta_append(struct meta *m, struct meta_change *c);

/** Fills `tags` from LMDB; before the thread runs. */
int meta_tags_load(struct meta *m);

#endif
