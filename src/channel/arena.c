/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arena's memory, the state of each chunk, and the budget of the pinned
 * tier. The states and their transitions are drawn in arena_impl.h.
 */
#include "channel/arena_impl.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BASE_ALIGN ((size_t)2 << 20) /* a huge page of x86-64 and aarch64 */

static int arena_fail(const char *what)
{
    log_error("arena: %s: %s", what, strerror(errno));
    return SL_ENOMEM;
}

static int memory_file(uint64_t bytes, int *out)
{
    int fd = memfd_create("sluice-arena", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0)
        return arena_fail("memfd_create");
    if (ftruncate(fd, (off_t)bytes)) {
        arena_fail("ftruncate");
        goto close_fd;
    }
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
        arena_fail("F_ADD_SEALS");
        goto close_fd;
    }
    *out = fd;
    return SL_OK;

close_fd:
    close(fd);
    return SL_ENOMEM;
}

/* Reserves more than is needed, maps the file at the first aligned address
 * and gives the rest back. */
static int map_aligned(int fd, size_t bytes, unsigned char **out)
{
    size_t room = bytes + BASE_ALIGN;
    unsigned char *p = mmap(NULL, room, PROT_NONE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    size_t head;

    if (p == MAP_FAILED)
        return arena_fail("reserving addresses");
    head = -(uintptr_t)p & (BASE_ALIGN - 1);
    if (mmap(p + head, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
             fd, 0) == MAP_FAILED) {
        arena_fail("mapping");
        munmap(p, room);
        return SL_ENOMEM;
    }
    if (head)
        munmap(p, head);
    munmap(p + head + bytes, BASE_ALIGN - head);
    /* Only a wish: where shared memory has no huge pages this fails. */
    madvise(p + head, bytes, MADV_HUGEPAGE);
    *out = p + head;
    return SL_OK;
}

/* Bytes of one class's table, in whole lines. */
static size_t table_bytes(uint64_t bytes, uint32_t klass)
{
    uint64_t n = ((bytes >> klass) + 1) * sizeof(uint64_t);

    return (size_t)((n + CACHE_LINE - 1) & ~(uint64_t)(CACHE_LINE - 1));
}

static int map_words(struct arena *a)
{
    unsigned char *p;
    size_t total = 0;

    for (uint32_t k = CLASS_MIN; k <= CLASS_MAX; k++)
        total += table_bytes(a->bytes, k);
    p = mmap(NULL, total, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return arena_fail("mapping state words");
    /* Only a wish; the words of blobs are touched at random (base/mem.h). */
    madvise(p, total, MADV_HUGEPAGE);
    a->words_map = p;
    a->words_bytes = total;
    for (uint32_t k = CLASS_MIN; k <= CLASS_MAX; k++) {
        a->words[k - CLASS_MIN] = (void *)p;
        p += table_bytes(a->bytes, k);
    }
    return SL_OK;
}

static int arena_init(struct arena *a)
{
    int rc;

    a->klass = calloc(a->n_slabs, sizeof(*a->klass));
    a->slabs = calloc(a->n_slabs, sizeof(*a->slabs));
    if (!a->klass || !a->slabs)
        return arena_fail("slab table");
    rc = map_words(a);
    if (!rc)
        rc = memory_file(a->bytes, &a->fd);
    if (!rc)
        rc = map_aligned(a->fd, (size_t)a->bytes, &a->base);
    return rc;
}

/* Undoes as much of arena_init as was done. */
static void arena_release(struct arena *a)
{
    if (a->base)
        munmap(a->base, (size_t)a->bytes);
    if (a->fd >= 0)
        close(a->fd);
    if (a->words_map)
        munmap(a->words_map, a->words_bytes);
    free(a->slabs);
    free(a->klass);
    free(a);
}

int arena_create(uint64_t bytes, uint64_t pinned_bytes, struct arena **out)
{
    struct arena *a;
    int rc;

    if (bytes <= SLAB_BYTES || bytes >= (UINT64_C(1) << SL_VALUE_BITS)) {
        log_error("arena: %llu bytes are not in (64 KiB, 1 TiB)",
                  (unsigned long long)bytes);
        return SL_EINVAL;
    }
    a = aligned_alloc(CACHE_LINE, sizeof(*a));
    if (!a)
        return arena_fail("arena");
    memset(a, 0, sizeof(*a));
    a->fd = -1;
    a->bytes = (bytes + SLAB_BYTES - 1) & ~(SLAB_BYTES - 1);
    a->n_slabs = (uint32_t)(a->bytes >> SLAB_SHIFT);
    a->pinned_limit = pinned_bytes;
    rc = arena_init(a);
    if (rc) {
        arena_release(a);
        return rc;
    }
    pthread_mutex_init(&a->lock, NULL);
    slab_init(a);
    *out = a;
    return SL_OK;
}

void arena_destroy(struct arena *a)
{
    if (!a)
        return;
    assert(a->n_caches == 0);
    pthread_mutex_destroy(&a->lock);
    arena_release(a);
}

void *arena_base(const struct arena *a)
{
    return a->base;
}

uint64_t arena_bytes(const struct arena *a)
{
    return a->bytes;
}

int arena_fd(const struct arena *a)
{
    return a->fd;
}

/*
 * The state word that an offset from anywhere would have, and its class; null
 * when no chunk can start there. The slab may change under us, so the class
 * is a guess; but a word found live in the table of a class vouches for that
 * class itself, and the caller changes it by compare and swap only.
 */
static _Atomic uint64_t *chunk_find(const struct arena *a, uint64_t at,
                                    uint32_t *klass)
{
    uint32_t k;

    if (at >= a->bytes)
        return NULL;
    /* Relaxed: see slab_set_class. */
    k = atomic_load_explicit(&a->klass[at >> SLAB_SHIFT], memory_order_relaxed);
    if (k == 0 || (at & ((UINT64_C(1) << k) - 1)))
        return NULL;
    *klass = k;
    return chunk_word(a, k, at);
}

static int word_is_lent(uint64_t w, uint32_t channel)
{
    return channel < CHANNEL_NONE && (w & WORD_LIVE) &&
           (w & WORD_LENT_MASK) >> WORD_LENT_SHIFT == (uint64_t)channel + 1;
}

void chunk_lend(struct arena *a, uint64_t at, uint32_t channel)
{
    _Atomic uint64_t *word = chunk_word(a, chunk_class(a, at), at);
    uint64_t lent = ((uint64_t)channel + 1) << WORD_LENT_SHIFT;

    assert(channel < CHANNEL_NONE);
    assert(atomic_load_explicit(word, memory_order_relaxed) == (WORD_LIVE | 1));
    /* A store, since the owner of the only reference is alone with a chunk
     * that is not lent. Release: pairs with the acquire of chunk_adopt and
     * chunk_is_lent; the owner's accesses to the bytes are over. */
    atomic_store_explicit(word, WORD_LIVE | 1u | lent, memory_order_release);
}

int chunk_adopt(struct arena *a, uint64_t at, uint32_t channel, uint32_t *klass)
{
    uint32_t k;
    _Atomic uint64_t *word = chunk_find(a, at, &k);
    uint64_t w;

    if (!word)
        return SL_ECHUNK;
    w = atomic_load_explicit(word, memory_order_relaxed);
    do {
        if (!word_is_lent(w, channel))
            return SL_ECHUNK;
        /* Acquire: pairs with the release of chunk_lend. Relaxed when it
         * fails: the value is only tried again. */
    } while (!atomic_compare_exchange_weak_explicit(
        word, &w, w & ~WORD_LENT_MASK, memory_order_acquire,
        memory_order_relaxed));
    *klass = k;
    return SL_OK;
}

int chunk_is_lent(struct arena *a, uint64_t at, uint32_t channel,
                  uint32_t *klass)
{
    uint32_t k;
    _Atomic uint64_t *word = chunk_find(a, at, &k);
    uint64_t w;

    if (!word)
        return 0;
    /* Acquire: pairs with the release of chunk_lend. */
    w = atomic_load_explicit(word, memory_order_acquire);
    if (!word_is_lent(w, channel))
        return 0;
    *klass = k;
    return 1;
}

void chunk_prefetch(const struct arena *a, uint64_t at, uint32_t klass)
{
    if (klass >= CLASS_MIN && klass <= CLASS_MAX && at < a->bytes)
        __builtin_prefetch(chunk_word(a, klass, at), 1);
}

uint32_t chunk_class(const struct arena *a, uint64_t at)
{
    /* Relaxed: see slab_set_class. */
    uint32_t k =
        atomic_load_explicit(&a->klass[at >> SLAB_SHIFT], memory_order_relaxed);

    assert(k != 0 && !(at & ((UINT64_C(1) << k) - 1)));
    return k;
}

void chunk_ref(struct arena *a, uint64_t at)
{
    _Atomic uint64_t *word = chunk_word(a, chunk_class(a, at), at);
    /* Relaxed: the caller's own reference keeps the chunk. */
    uint64_t w = atomic_fetch_add_explicit(word, 1, memory_order_relaxed);

    assert((w & WORD_LIVE) && (w & WORD_REFS_MASK));
    (void)w;
}

uint32_t chunk_refs(const struct arena *a, uint64_t at)
{
    /* Acquire: who sees 1 may write what dropped readers read; pairs with
     * the subtraction in chunk_word_drop. */
    uint64_t w = atomic_load_explicit(chunk_word(a, chunk_class(a, at), at),
                                      memory_order_acquire);

    return (uint32_t)(w & WORD_REFS_MASK);
}

/* Takes back the lent chunks of one slab, or the run that starts there. */
static void slab_reclaim(struct arena *a, uint32_t i, uint32_t channel)
{
    uint64_t at = (uint64_t)i << SLAB_SHIFT;
    uint64_t end = at + SLAB_BYTES;
    /* Relaxed: a slab with a chunk of this channel cannot change, and the
     * caller has seen to it that nobody lends to the channel. */
    uint32_t k = atomic_load_explicit(&a->klass[i], memory_order_relaxed);
    uint32_t klass;

    if (k == 0)
        return;
    for (; at < end; at += UINT64_C(1) << k) {
        if (chunk_adopt(a, at, channel, &klass) ||
            !chunk_word_drop(chunk_word(a, klass, at)))
            continue;
        pthread_mutex_lock(&a->lock);
        slab_give(a, klass, at);
        pthread_mutex_unlock(&a->lock);
    }
}

void arena_reclaim(struct arena *a, uint32_t channel)
{
    for (uint32_t i = 1; i < a->n_slabs; i++)
        slab_reclaim(a, i, channel);
}

int arena_charge(struct arena *a, uint64_t bytes)
{
    /* Relaxed throughout: a count that orders no other memory. */
    uint64_t used = atomic_load_explicit(&a->pinned_used, memory_order_relaxed);

    do {
        if (used > a->pinned_limit || bytes > a->pinned_limit - used)
            return SL_ENOSPC;
    } while (!atomic_compare_exchange_weak_explicit(
        &a->pinned_used, &used, used + bytes, memory_order_relaxed,
        memory_order_relaxed));
    return SL_OK;
}

void arena_discharge(struct arena *a, uint64_t bytes)
{
    /* Relaxed: as in arena_charge. */
    uint64_t was =
        atomic_fetch_sub_explicit(&a->pinned_used, bytes, memory_order_relaxed);

    assert(was >= bytes);
    (void)was;
}

uint64_t arena_pinned_used(const struct arena *a)
{
    /* Relaxed: as in arena_charge. */
    return atomic_load_explicit(&a->pinned_used, memory_order_relaxed);
}

void arena_usage(struct arena *a, struct arena_usage *out)
{
    pthread_mutex_lock(&a->lock);
    out->free = a->free_bytes + chunk_cache_bytes(a);
    pthread_mutex_unlock(&a->lock);
    out->bytes = a->bytes;
    out->pinned_limit = a->pinned_limit;
    /* Relaxed: as in arena_charge. */
    out->pinned_used =
        atomic_load_explicit(&a->pinned_used, memory_order_relaxed);
}
