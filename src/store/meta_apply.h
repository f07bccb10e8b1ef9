/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Brings the log into LMDB. The caller keeps other transactions away.
 */
#ifndef SLUICE_META_APPLY_H
#define SLUICE_META_APPLY_H

#include "store/meta_env.h"
#include "store/meta_log.h"
#include "store/meta_record.h"
#include "store/reserve.h"

struct apply {
    struct meta_env *env;
    struct reserve *reserve;
    const struct meta_log *log;
    const struct meta_change *extra; /* behind the log; may be null */
    int replay; /* the frames come from a file: each is looked at first */
    int skips;  /* at a replay: those that no program of ours wrote */
    /* At a replay, of struct meta_config; may be null. */
    int (*verify)(void *user, const struct meta_extent *e);
    void *user;
    uint64_t dropped; /* changes that verify refused */
    uint64_t skipped;
};

/**
 * Commits all frames, `extra` and the log's next generation, which is then
 * env->generation. The map grows as it must; on a full disk the reserve is
 * given up and small transactions follow each other, so that one that fails
 * leaves the ones before it: the log is applied again from its start then, with
 * the same result. Codes of struct meta_change, logged; SL_ECORRUPT: a frame
 * that no program of ours wrote.
 */
int meta_apply(struct apply *a);
/** Into a transaction of the caller's; LMDB's result, MDB_CORRUPTED as above. */
int meta_apply_in(struct apply *a, MDB_txn *txn);

#endif
