/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Eviction and promotion: what a shard moves by itself. Private to src/store.
 *
 * A target above its high mark is emptied to the low one: in each round of its
 * worker a shard starts to move the coldest of some blobs that a hand passes,
 * lowest score first, to slower targets. A volatile blob that is read often is
 * moved to the first target of its order while that one is below its low mark.
 * A recorded one stays: its record names one place for each extent, and a move
 * to memory would leave it without its bytes. A copy beside them would need a
 * second place in an extent, of which the 32 bytes are full (LIMITS P15).
 *
 *   quiet --a charge passes the high mark--> over --used below the low--> quiet
 */
#ifndef SLUICE_STORE_EVICT_H
#define SLUICE_STORE_EVICT_H

#include "base/mailbox.h"
#include "store/target.h"

struct blob;

/* Moves of a shard under way at once: enough to keep a disk busy, and at most
 * 4 MiB of the arena. */
#define EVICT_MOVES 4u

struct evict_slot {
    struct shard *sh;
    struct blob *blob; /* null: free */
    uint64_t lo;       /* half of its key's hash */
    uint32_t target;   /* that it leaves */
    int flying;
    int promotes;
};

struct evict {
    struct evict_slot slot[EVICT_MOVES];
    uint32_t flying;
    uint64_t hand;      /* cursor of the index */
    int64_t allowance;  /* bytes that may be moved now */
    uint64_t filled_ns; /* when it was last added to */
    uint64_t rest_ns;   /* nothing could be moved: not before this */
    uint32_t rests;     /* in a row */
    struct message nudge;
    int nudged; /* atomic: the message is under way */
};

void evict_start(struct shard *sh);
/** A step of all shards of a worker; returns how many moves it began. */
unsigned evict_round(struct store *s, uint32_t worker);
/** When a round has something to do, from now on; UINT64_MAX: never. */
uint64_t evict_due_ns(const struct store *s, uint32_t worker);
/** More of a target is used than before; `used` is how much. The target's
 *  high mark decides; cheap while below. Any shard's worker. */
void evict_check(struct shard *sh, uint32_t target, uint64_t used);
/** The blob was read from a slow target. It may have moved afterwards. */
void evict_promote(struct shard *sh, struct blob *b);
/** Bytes of a move were published. */
void evict_count(struct shard *sh, uint64_t bytes);

#endif
