/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slabs and runs: the shared part of the arena, under its lock.
 *
 * Free runs are kept as buddies of 1, 2, 4, 8 or 16 slabs, aligned to their
 * size; an arena that is no multiple of 1 MiB ends in smaller ones. Nothing
 * here touches the arena's bytes: producers can write there.
 */
#include "channel/arena_impl.h"

static void list_add(struct arena *a, uint32_t *head, uint32_t i)
{
    a->slabs[i].prev = 0;
    a->slabs[i].next = *head;
    if (*head)
        a->slabs[*head].prev = i;
    *head = i;
}

static void list_del(struct arena *a, uint32_t *head, uint32_t i)
{
    struct slab *s = &a->slabs[i];

    if (s->prev)
        a->slabs[s->prev].next = s->next;
    else
        *head = s->next;
    if (s->next)
        a->slabs[s->next].prev = s->prev;
}

static void run_add(struct arena *a, uint32_t i, uint32_t order)
{
    a->slabs[i].order = order;
    list_add(a, &a->runs[order], i);
}

static void run_del(struct arena *a, uint32_t i)
{
    list_del(a, &a->runs[a->slabs[i].order], i);
    a->slabs[i].order = RUN_TAKEN;
}

static int run_take(struct arena *a, uint32_t order, uint32_t *out)
{
    uint32_t o = order;
    uint32_t i;

    while (o < ORDERS && !a->runs[o])
        o++;
    if (o == ORDERS)
        return SL_ENOSPC;
    i = a->runs[o];
    run_del(a, i);
    while (o > order) {
        o--;
        run_add(a, i + (1u << o), o);
    }
    *out = i;
    return SL_OK;
}

static void run_give(struct arena *a, uint32_t i, uint32_t order)
{
    while (order + 1 < ORDERS) {
        uint32_t buddy = i ^ (1u << order);

        if (buddy >= a->n_slabs || a->slabs[buddy].order != order)
            break;
        run_del(a, buddy);
        i &= ~(1u << order);
        order++;
    }
    run_add(a, i, order);
}

void slab_init(struct arena *a)
{
    for (uint32_t i = 0; i < a->n_slabs; i++)
        a->slabs[i].order = RUN_TAKEN;
    /* The first slab stays taken: offset 0 means no chunk on the wire, and
     * index 0 ends the lists. */
    for (uint32_t i = 1; i < a->n_slabs; i++)
        run_give(a, i, 0);
    a->free_bytes = a->bytes - SLAB_BYTES;
}

static void slab_set_class(struct arena *a, uint32_t i, uint32_t klass)
{
    /* Relaxed: the owner of a chunk learns of its slab's class together with
     * the chunk, by the lock or by the message that names it. A producer's
     * made-up offset may meet any value; chunk_find says why that is safe. */
    atomic_store_explicit(&a->klass[i], (uint8_t)klass, memory_order_relaxed);
}

static int run_chunk_take(struct arena *a, uint32_t klass, uint64_t *at)
{
    uint32_t i;
    int rc = run_take(a, klass - SLAB_SHIFT, &i);

    if (rc)
        return rc;
    slab_set_class(a, i, klass);
    *at = (uint64_t)i << SLAB_SHIFT;
    return SL_OK;
}

static int slab_open(struct arena *a, uint32_t klass)
{
    uint32_t i;
    int rc = run_take(a, 0, &i);

    if (rc)
        return rc;
    a->slabs[i].used = 0;
    a->slabs[i].fresh = 0;
    a->slabs[i].free = 0;
    slab_set_class(a, i, klass);
    list_add(a, &a->open[klass - CLASS_MIN], i);
    return SL_OK;
}

/* Takes a chunk of the first open slab. */
static uint64_t slab_chunk_take(struct arena *a, uint32_t klass)
{
    uint32_t *head = &a->open[klass - CLASS_MIN];
    uint32_t i = *head;
    struct slab *s = &a->slabs[i];
    uint64_t at = (uint64_t)i << SLAB_SHIFT;

    if (s->free) {
        at += (uint64_t)(s->free - 1) << klass;
        /* Relaxed: links are written and read under the lock. */
        s->free = (uint32_t)atomic_load_explicit(chunk_word(a, klass, at),
                                                 memory_order_relaxed);
    } else {
        at += (uint64_t)s->fresh++ << klass;
    }
    if (++s->used == SLAB_BYTES >> klass)
        list_del(a, head, i);
    return at;
}

int slab_take(struct arena *a, uint32_t klass, int may_cut, uint64_t *at)
{
    int rc;

    if (klass < SLAB_SHIFT) {
        int open = a->open[klass - CLASS_MIN] != 0;

        rc = open ? SL_OK : may_cut ? slab_open(a, klass) : SL_ENOSPC;
        if (!rc)
            *at = slab_chunk_take(a, klass);
    } else {
        rc = may_cut ? run_chunk_take(a, klass, at) : SL_ENOSPC;
    }
    if (!rc)
        a->free_bytes -= UINT64_C(1) << klass;
    return rc;
}

static void slab_chunk_give(struct arena *a, uint32_t klass, uint64_t at)
{
    uint32_t i = (uint32_t)(at >> SLAB_SHIFT);
    struct slab *s = &a->slabs[i];
    uint32_t *head = &a->open[klass - CLASS_MIN];

    if (s->used == SLAB_BYTES >> klass)
        list_add(a, head, i);
    if (--s->used == 0) {
        list_del(a, head, i);
        slab_set_class(a, i, 0);
        run_give(a, i, 0);
        return;
    }
    /* A link has no WORD_LIVE, so nobody takes it for a chunk's state.
     * Relaxed: as in slab_chunk_take. */
    atomic_store_explicit(chunk_word(a, klass, at), s->free,
                          memory_order_relaxed);
    s->free = (uint32_t)((at & (SLAB_BYTES - 1)) >> klass) + 1;
}

void slab_give(struct arena *a, uint32_t klass, uint64_t at)
{
    a->free_bytes += UINT64_C(1) << klass;
    if (klass < SLAB_SHIFT) {
        slab_chunk_give(a, klass, at);
        return;
    }
    slab_set_class(a, (uint32_t)(at >> SLAB_SHIFT), 0);
    run_give(a, (uint32_t)(at >> SLAB_SHIFT), klass - SLAB_SHIFT);
}
