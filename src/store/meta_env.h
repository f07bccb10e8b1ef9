/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The LMDB environment of the metadata: made, checked, opened, grown.
 *
 * Not locked: the owner lets no transaction be open while it grows or closes.
 */
#ifndef SLUICE_META_ENV_H
#define SLUICE_META_ENV_H

#include "sluice/status.h"

#include <lmdb.h>
#include <stdint.h>

struct meta_env {
    char *dir, *path, *file; /* DIR, DIR/meta, DIR/meta/data.mdb */
    MDB_env *env;
    MDB_dbi main, tags, blobs;
    uint64_t map_bytes;
    uint64_t generation; /* of the log that holds what is not here yet */
    int broken;          /* the environment is lost, no transaction may begin */
};

/** Codes of meta_open, logged. map_bytes 0: 64 GiB. Fills *e on success only.
 */
int meta_env_open(const char *dir, uint64_t map_bytes, struct meta_env *e);
void meta_env_close(struct meta_env *e);
/** Doubles the map. SL_ENOSPC: no address space, nothing has changed. SL_EIO:
 *  broken, logged. */
int meta_env_grow(struct meta_env *e);
/** Closes and opens again, after LMDB gave up. Codes of meta_open; broken then.
 */
int meta_env_reopen(struct meta_env *e);
/** Stores a generation; LMDB's result. */
int meta_env_generation(const struct meta_env *e, MDB_txn *txn,
                        uint64_t generation);
/** True when the file cannot take one page more: LMDB reports a write that a
 *  full disk cut short as EIO. Asked after such an error only. */
int meta_env_is_full(const struct meta_env *e);
/** The code for a result of LMDB (its own or an errno), logged with `what`. */
int meta_env_fail(const struct meta_env *e, const char *what, int rc);

#endif
