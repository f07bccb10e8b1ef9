/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What the three files of the arena share: memory and state words (arena.c),
 * slabs and runs (slab.c), caches of the workers (chunk_cache.c).
 *
 * A chunk's state word lives in one table for each class, at index at >> class.
 * The tables are one mapping of zero pages that stays as long as the arena, of
 * which only the pages in use take memory. That makes any `at` safe to check
 * at any time: whatever class a slab has by then, a word that is live in
 * the table of class k says that a chunk of class k starts at that index.
 *
 *   free, cached       0, or the slab's link to the next free chunk
 *     | chunk_alloc           ^ last chunk_unref
 *     v                       |
 *   LIVE, refs >= 1 ----------+
 *     | chunk_lend            ^ chunk_adopt (compare and swap)
 *     v                       |
 *   LIVE, refs >= 1, lent to channel
 */
#ifndef SLUICE_ARENA_IMPL_H
#define SLUICE_ARENA_IMPL_H

#include "channel/arena.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>

#define SLAB_SHIFT 16
#define SLAB_BYTES (UINT64_C(1) << SLAB_SHIFT)
#define CLASS_MIN ((uint32_t)SL_CHUNK_MIN_SHIFT)
#define CLASS_MAX ((uint32_t)SL_CHUNK_MAX_SHIFT)
#define CLASSES (CLASS_MAX - CLASS_MIN + 1u)
#define ORDERS (CLASS_MAX - SLAB_SHIFT + 1u) /* runs of 1 to 16 slabs */
#define CACHE_LINE 64

/* State word: live 1 | unused 15 | channel + 1, or 0 16 | references 32. */
#define WORD_LIVE (UINT64_C(1) << 63)
#define WORD_LENT_SHIFT 32
#define WORD_LENT_MASK (UINT64_C(0xffff) << WORD_LENT_SHIFT)
#define WORD_REFS_MASK UINT64_C(0xffffffff)
#define CHANNEL_NONE 0xffffu /* the first number that is no channel */

/** One 64 KiB unit; under the lock. */
struct slab {
    uint32_t next, prev; /* in a list of free runs or open slabs; 0: none */
    uint32_t used;       /* chunks taken from it, caches' included */
    uint32_t fresh;      /* chunks from here on were never taken */
    uint32_t free;       /* first freed chunk + 1, linked by state words */
    uint32_t order;      /* of the free run that starts here, or RUN_TAKEN */
};
#define RUN_TAKEN (~UINT32_C(0))

struct arena {
    /* Read by every operation and hardly ever written. */
    unsigned char *base;
    uint64_t bytes;
    uint64_t pinned_limit;
    uint32_t n_slabs;
    int fd;
    _Atomic uint8_t *klass; /* of the chunks that start in a slab; 0: none */
    void *words_map;
    size_t words_bytes;
    _Atomic uint64_t epoch; /* counts calls on caches to trim */
    _Atomic uint64_t *words[CLASSES];

    _Alignas(CACHE_LINE) _Atomic uint64_t pinned_used;

    _Alignas(CACHE_LINE) pthread_mutex_t lock; /* guards what follows */
    struct slab *slabs;
    uint32_t runs[ORDERS];  /* lists of free runs */
    uint32_t open[CLASSES]; /* lists of slabs with free chunks */
    uint64_t free_bytes;    /* neither live nor cached */
    struct chunk_cache *caches;
    uint32_t n_caches;
};

/** Enters all slabs but the first as free runs; before the arena is shared. */
void slab_init(struct arena *a);
/** Takes a chunk; cuts a new slab or run only if `may_cut`. Under the lock.
 *  SL_ENOSPC. */
int slab_take(struct arena *a, uint32_t klass, int may_cut, uint64_t *at);
/** Gives a chunk that is not live back. Under the lock. */
void slab_give(struct arena *a, uint32_t klass, uint64_t at);
/** Sum of the bytes that caches hold. Under the lock. */
uint64_t chunk_cache_bytes(const struct arena *a);

static inline _Atomic uint64_t *chunk_word(const struct arena *a,
                                           uint32_t klass, uint64_t at)
{
    return &a->words[klass - CLASS_MIN][at >> klass];
}

/** Drops one reference; true when it was the last: the chunk is not live. */
static inline int chunk_word_drop(_Atomic uint64_t *word)
{
    /* Acquire: pairs with the release of the other readers' subtraction. */
    uint64_t w = atomic_load_explicit(word, memory_order_acquire);

    assert((w & WORD_LIVE) && (w & WORD_REFS_MASK));
    if (w != (WORD_LIVE | 1u)) {
        /* Release: this reader's loads are over. Acquire: as above. */
        w = atomic_fetch_sub_explicit(word, 1, memory_order_acq_rel);
        if ((w & WORD_REFS_MASK) != 1)
            return 0;
        assert(!(w & WORD_LENT_MASK));
    }
    /* Nobody else has a reference and, as it is not lent, no adopter can
     * change the word, so a store is enough. Relaxed: who takes the chunk next
     * is this thread, or gets it through the lock. */
    atomic_store_explicit(word, 0, memory_order_relaxed);
    return 1;
}

#endif
