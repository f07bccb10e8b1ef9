/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker's cache of free chunks: a stack for each class in front of the
 * slabs, filled and emptied by halves under the arena's lock.
 *
 * The usual chunk_alloc touches the cache and the chunk's state word, the usual
 * chunk_unref the slab's class besides. arena.h gives the bounds.
 */
#include "channel/arena_impl.h"

#include <stdlib.h>
#include <string.h>

#define STACK_CHUNKS 64u
#define STACK_BYTES (UINT64_C(256) << 10)
#define CLASS_SHARE 64u /* one class holds at most 1/64 of the arena, */
#define CACHE_SHARE 8u  /* all together 1/8; shared by all caches */

struct chunk_stack {
    uint32_t n, max;
    uint64_t at[STACK_CHUNKS];
};

struct chunk_cache {
    struct arena *arena;
    struct chunk_cache *next; /* arena's list, under its lock */
    uint64_t limit;           /* of `bytes` */
    uint64_t epoch;           /* the last call to trim that was followed */
    /* Held bytes; written by the worker only, so never by read-modify-write,
     * read by chunk_cache_bytes. Relaxed: a figure that orders nothing. */
    _Atomic uint64_t bytes;
    struct chunk_stack stack[CLASSES];
};

static uint64_t cache_held(const struct chunk_cache *c)
{
    return atomic_load_explicit(&c->bytes, memory_order_relaxed);
}

static void cache_hold(struct chunk_cache *c, uint64_t bytes)
{
    atomic_store_explicit(&c->bytes, bytes, memory_order_relaxed);
}

static void cache_push(struct chunk_cache *c, uint32_t klass, uint64_t at)
{
    struct chunk_stack *s = &c->stack[klass - CLASS_MIN];

    s->at[s->n++] = at;
    cache_hold(c, cache_held(c) + (UINT64_C(1) << klass));
}

static uint64_t cache_pop(struct chunk_cache *c, uint32_t klass)
{
    struct chunk_stack *s = &c->stack[klass - CLASS_MIN];

    cache_hold(c, cache_held(c) - (UINT64_C(1) << klass));
    return s->at[--s->n];
}

static int cache_has_room(const struct chunk_cache *c, uint32_t klass)
{
    const struct chunk_stack *s = &c->stack[klass - CLASS_MIN];

    return s->n < s->max && cache_held(c) + (UINT64_C(1) << klass) <= c->limit;
}

/* Gives chunks of one class back until `keep` are left; the oldest go first,
 * for the youngest are in the processor's cache. Under the lock. */
static void stack_give(struct chunk_cache *c, uint32_t klass, uint32_t keep)
{
    struct chunk_stack *s = &c->stack[klass - CLASS_MIN];
    uint32_t n = s->n > keep ? s->n - keep : 0;

    for (uint32_t i = 0; i < n; i++)
        slab_give(c->arena, klass, s->at[i]);
    s->n -= n;
    memmove(s->at, s->at + n, s->n * sizeof(s->at[0]));
    cache_hold(c, cache_held(c) - ((uint64_t)n << klass));
}

static void cache_give(struct chunk_cache *c)
{
    for (uint32_t k = CLASS_MIN; k <= CLASS_MAX; k++)
        stack_give(c, k, 0);
}

/* Follows a call to trim: another worker found nothing, or the number of
 * caches has changed and with it the bounds. Under the lock. */
static void cache_follow(struct chunk_cache *c)
{
    const struct arena *a = c->arena;
    uint64_t share = a->bytes / CLASS_SHARE / a->n_caches;

    cache_give(c);
    c->epoch = atomic_load_explicit(&a->epoch, memory_order_relaxed);
    c->limit = a->bytes / CACHE_SHARE / a->n_caches;
    if (share > STACK_BYTES)
        share = STACK_BYTES;
    for (uint32_t k = CLASS_MIN; k <= CLASS_MAX; k++) {
        uint64_t max = share >> k;

        c->stack[k - CLASS_MIN].max =
            max < STACK_CHUNKS ? (uint32_t)max : STACK_CHUNKS;
    }
}

/* Relaxed: all that follows from it is done under the lock, and a call seen
 * one chunk_unref later is soon enough. */
static int cache_is_called(const struct chunk_cache *c)
{
    return atomic_load_explicit(&c->arena->epoch, memory_order_relaxed) !=
           c->epoch;
}

/* Under the lock. */
static void arena_call_caches(struct arena *a)
{
    atomic_fetch_add_explicit(&a->epoch, 1, memory_order_relaxed);
}

uint64_t chunk_cache_bytes(const struct arena *a)
{
    uint64_t sum = 0;

    for (const struct chunk_cache *c = a->caches; c; c = c->next)
        sum += cache_held(c);
    return sum;
}

int chunk_cache_create(struct arena *a, struct chunk_cache **out)
{
    struct chunk_cache *c = calloc(1, sizeof(*c));

    if (!c)
        return SL_ENOMEM;
    c->arena = a;
    pthread_mutex_lock(&a->lock);
    c->next = a->caches;
    a->caches = c;
    a->n_caches++;
    arena_call_caches(a);
    cache_follow(c);
    pthread_mutex_unlock(&a->lock);
    *out = c;
    return SL_OK;
}

void chunk_cache_destroy(struct chunk_cache *c)
{
    struct arena *a;
    struct chunk_cache **p;

    if (!c)
        return;
    a = c->arena;
    pthread_mutex_lock(&a->lock);
    cache_give(c);
    for (p = &a->caches; *p != c; p = &(*p)->next)
        ;
    *p = c->next;
    a->n_caches--;
    arena_call_caches(a);
    pthread_mutex_unlock(&a->lock);
    free(c);
}

void chunk_cache_trim(struct chunk_cache *c)
{
    pthread_mutex_lock(&c->arena->lock);
    cache_give(c);
    pthread_mutex_unlock(&c->arena->lock);
}

/* Gives one chunk to the caller and, from slabs that are open already, up to
 * half a stack to the cache. Under the lock. */
static int cache_fill(struct chunk_cache *c, uint32_t klass, uint64_t *at)
{
    struct chunk_stack *s = &c->stack[klass - CLASS_MIN];
    uint64_t more;
    int rc;

    if (cache_is_called(c))
        cache_follow(c);
    rc = slab_take(c->arena, klass, 1, at);
    if (rc) {
        /* Chunks of other classes that this cache holds can make up a run. */
        cache_give(c);
        rc = slab_take(c->arena, klass, 1, at);
    }
    if (rc && chunk_cache_bytes(c->arena) > 0)
        arena_call_caches(c->arena);
    while (!rc && s->n < s->max / 2 && cache_has_room(c, klass) &&
           slab_take(c->arena, klass, 0, &more) == SL_OK)
        cache_push(c, klass, more);
    return rc;
}

int chunk_alloc(struct chunk_cache *c, uint32_t klass, uint64_t *at)
{
    _Atomic uint64_t *word;
    uint64_t got;

    if (klass < CLASS_MIN || klass > CLASS_MAX)
        return SL_EINVAL;
    if (c->stack[klass - CLASS_MIN].n) {
        got = cache_pop(c, klass);
    } else {
        int rc;

        pthread_mutex_lock(&c->arena->lock);
        rc = cache_fill(c, klass, &got);
        pthread_mutex_unlock(&c->arena->lock);
        if (rc)
            return rc;
    }
    word = chunk_word(c->arena, klass, got);
    assert(!(atomic_load_explicit(word, memory_order_relaxed) & WORD_LIVE));
    /* Relaxed: nobody else knows the chunk; chunk_lend publishes it. */
    atomic_store_explicit(word, WORD_LIVE | 1u, memory_order_relaxed);
    *at = got;
    return SL_OK;
}

/* Makes room and takes the chunk, or gives it to the slabs. Under the lock. */
static void cache_spill(struct chunk_cache *c, uint32_t klass, uint64_t at)
{
    struct chunk_stack *s = &c->stack[klass - CLASS_MIN];

    if (cache_is_called(c)) {
        cache_follow(c);
        slab_give(c->arena, klass, at);
        return;
    }
    if (s->n >= s->max)
        stack_give(c, klass, s->max / 2);
    else
        cache_give(c);
    if (cache_has_room(c, klass))
        cache_push(c, klass, at);
    else
        slab_give(c->arena, klass, at);
}

void chunk_unref(struct chunk_cache *c, uint64_t at)
{
    uint32_t klass = chunk_class(c->arena, at);

    if (!chunk_word_drop(chunk_word(c->arena, klass, at)))
        return;
    if (cache_has_room(c, klass) && !cache_is_called(c)) {
        cache_push(c, klass, at);
        return;
    }
    pthread_mutex_lock(&c->arena->lock);
    cache_spill(c, klass, at);
    pthread_mutex_unlock(&c->arena->lock);
}
