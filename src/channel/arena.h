/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The arena: shared memory cut into chunks of power-of-two classes (64 B to
 * 1 MiB).
 *
 * Chunks are what producers write into and what the pinned tier stores in, so
 * a put hands over a chunk and copies nothing. A chunk is named by its byte
 * offset in the arena, which is a multiple of its size and never 0.
 *
 * Usual order: arena_create, chunk_cache_create for each worker; chunk_alloc,
 * chunk_lend, chunk_adopt, chunk_ref, chunk_unref; chunk_cache_destroy,
 * arena_destroy.
 *
 * Classes up to 32 KiB are cut from 64 KiB slabs; larger ones are runs of
 * slabs. A mutex guards slabs and runs; each worker has a `struct chunk_cache`
 * in front, so that the usual alloc and free take no lock. An empty slab goes
 * back to the runs, so any mix of sizes can reuse all memory. The first slab
 * is never handed out.
 *
 * A cache holds, of n caches, at most min(64 chunks, 256 KiB, arena / 64n) of
 * each class and arena / 8n together, so that small arenas stay usable. What
 * it holds no other worker can allocate. A worker that finds nothing therefore
 * raises a signal, and each other cache gives all its chunks back at its next
 * chunk_unref (or refill); an idle worker calls chunk_cache_trim.
 *
 * Each chunk has a state word (in private memory, never in the arena):
 * references (1 for its owner, 1 for each reader that still copies) and the
 * channel it is lent to. Only chunk_adopt and chunk_lend change the lender,
 * atomically, so that a producer that names one chunk twice is refused.
 *
 * Two budgets: bytes that blobs hold (`pinned_used`, limited to pinned_bytes)
 * and bytes of all. The store asks for the first with arena_charge before it
 * keeps a chunk.
 *
 * Threads: a cache is used by one thread at a time; everything else by any.
 */
#ifndef SLUICE_ARENA_H
#define SLUICE_ARENA_H

#include "sluice/wire.h"

#include <stddef.h>
#include <stdint.h>

struct arena;
struct chunk_cache;

/**
 * Anonymous memory file, mapped shared, aligned to 2 MiB, sealed against
 * resizing (a peer that has the descriptor cannot cut it off under us). bytes
 * is rounded up to 64 KiB; SL_EINVAL when that is below 128 KiB or not below
 * 1 TiB (offsets travel in SL_VALUE_BITS). SL_ENOMEM, logged.
 */
int arena_create(uint64_t bytes, uint64_t pinned_bytes, struct arena **out);
/** All caches are destroyed before. */
void arena_destroy(struct arena *a);
void *arena_base(const struct arena *a);
uint64_t arena_bytes(const struct arena *a);
/** Stays the arena's. */
int arena_fd(const struct arena *a);

/** One for each worker. SL_ENOMEM. Destroy gives its chunks back. */
int chunk_cache_create(struct arena *a, struct chunk_cache **out);
void chunk_cache_destroy(struct chunk_cache *c);
/** Gives all chunks of the cache back, so that others can allocate them. */
void chunk_cache_trim(struct chunk_cache *c);

/**
 * An empty chunk of 1 << klass bytes (6..20) with one reference, lent to
 * nobody. Contents are undefined. SL_EINVAL for another class. SL_ENOSPC when
 * neither this cache nor the slabs have one.
 */
int chunk_alloc(struct chunk_cache *c, uint32_t klass, uint64_t *at);
/** Marks an owned chunk (one reference) as lent to `channel` (< 65535). The
 *  reference goes with it, to come back by chunk_adopt. */
void chunk_lend(struct arena *a, uint64_t at, uint32_t channel);
/** Takes a lent chunk back: checks that `at` is the start of a live chunk that
 *  is lent to `channel`; gives its class. Of several at once, one wins. Any
 *  value of `at` is safe. SL_ECHUNK. */
int chunk_adopt(struct arena *a, uint64_t at, uint32_t channel,
                uint32_t *klass);
/** True when `at` is lent to `channel` right now (side chunks stay lent). Any
 *  value is safe; *klass on success. */
int chunk_is_lent(struct arena *a, uint64_t at, uint32_t channel,
                  uint32_t *klass);
/** Fetches a chunk's state into the cache; any values are safe. */
void chunk_prefetch(const struct arena *a, uint64_t at, uint32_t klass);
/** Class of a live chunk of the caller's. */
uint32_t chunk_class(const struct arena *a, uint64_t at);
/** Adds a reference; the caller has one. */
void chunk_ref(struct arena *a, uint64_t at);
/** Drops one reference; the last frees the chunk into the cache. The reference
 *  of a lent chunk is the channel's: adopt it first. */
void chunk_unref(struct chunk_cache *c, uint64_t at);
/** References of a live chunk of the caller's. */
uint32_t chunk_refs(const struct arena *a, uint64_t at);
/** Takes back all chunks lent to a channel whose producers are gone. No task
 *  of it is in flight; workers may serve other channels meanwhile. */
void arena_reclaim(struct arena *a, uint32_t channel);

/** Budget of the pinned tier: atomically adds bytes unless it would pass the
 *  limit. SL_ENOSPC. */
int arena_charge(struct arena *a, uint64_t bytes);
void arena_discharge(struct arena *a, uint64_t bytes);
/** What is charged now; takes no lock. */
uint64_t arena_pinned_used(const struct arena *a);
struct arena_usage {
    uint64_t bytes, free, pinned_limit, pinned_used;
};
/** free counts what no chunk uses plus what caches hold; exact while no worker
 *  allocates or frees. */
void arena_usage(struct arena *a, struct arena_usage *out);

#endif
