/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What meta.c (queue, open) and meta_load.c share.
 *
 * Locks: `lock` guards the queue and is held for a few instructions;
 * `env_lock` keeps a load and a commit apart, because the map may grow only
 * while no transaction is open. Neither is taken under the other.
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

    /* The committer's. */
    struct meta_log log;
    struct reserve reserve;
    struct tag_set tags; /* that have a record */
    struct meta_change *group[GROUP_MAX];
    unsigned n;
    int unsynced;     /* the log names data that was not synced since */
    int carried;      /* the log has bytes that were not synced elsewhere */
    uint64_t old_ns;  /* when the log got its first frame */
    int stuck;        /* code of the last commit, when it failed */
    uint64_t last_ns; /* when a commit was tried last */

    uint64_t last, settled; /* atomic; the committer writes */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    struct meta_change *first, **tail;
    int stop;
    pthread_t thread;
};

/** Fills `tags` from LMDB; before the thread runs. */
int meta_tags_load(struct meta *m);

#endif
