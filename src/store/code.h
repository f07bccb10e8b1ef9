/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Coding inside the store: the pool of threads, and units that an update makes
 * smaller before it places them. Private to src/store.
 */
#ifndef SLUICE_STORE_CODE_H
#define SLUICE_STORE_CODE_H

#include "codec/pool.h"
#include "store/shard.h"

struct update;
struct piece;

/** A unit of a piece, coded; `bytes` 0: it stays as it is. */
struct coded {
    uint8_t *buf; /* aligned, padded to TIER_BLOCK; ours unless given */
    uint64_t sum; /* XXH3-64 of `bytes`; 0: nobody has summed them */
    uint32_t bytes;
    uint32_t len;  /* plain */
    uint8_t codec; /* id */
    uint8_t preset;
    uint8_t given; /* buf is in the piece's chunk */
    const uint8_t *plain;
    struct update *u;
    struct codec_job job;
    struct message msg;
};

/** Names the file of speeds in the store's directory; before workers run. */
void code_start(struct store *s);
/** After the workers have stopped. */
void code_stop(struct store *s);
/** Gives the job to the pool: 0, and when its `done` has posted to the shard's
 *  worker that calls code_ended. 1: it ran here, as it is quick or there is no
 *  pool, and `done` is not called. On the shard's worker. */
int code_submit(struct shard *sh, struct codec_job *j);
void code_ended(struct shard *sh);

/** Codes what of the update is to be coded, then places it. */
void update_code(struct update *u);
/** Coded unit number i of a piece, or null: it stays as it is. */
struct coded *coded_of(const struct update *u, const struct piece *p,
                       uint32_t i);
/** Sums what is to leave the arena. */
void coded_sum(struct coded *c);
void coded_free(struct update *u);
/** Makes e, which is an extent_of, a coded one. */
void coded_set(struct extent *e, const struct coded *c);
/** True when all of the piece takes less of the pinned tier as coded chunks. */
int coded_saves_chunks(const struct update *u, const struct piece *p);

#endif
