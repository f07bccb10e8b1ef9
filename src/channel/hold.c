/* SPDX-License-Identifier: Apache-2.0 */
#include "channel/hold.h"

#include <stdlib.h>
#include <string.h>

/* Chunks of one hold that need no memory of their own. */
#define HOLD_INLINE 4u
#define HOLDS_FIRST 256u

struct hold {
    const struct channel *channel;
    uint32_t slot;
    uint32_t seq;
    uint32_t was; /* release word when the hold was made */
    uint32_t n;
    uint64_t chunk[HOLD_INLINE];
    uint64_t *more;  /* all chunks when n > HOLD_INLINE */
    uint32_t *index; /* the slot's place in the index */
};

/* Where the holds of a channel are, by slot. */
struct held {
    const struct channel *channel;
    uint32_t *at; /* index of the hold + 1, 0: none */
};

struct holds {
    struct chunk_cache *cache;
    struct hold *at;
    uint32_t n, room;
    uint32_t hand; /* the sweep goes on here */
    struct held *held;
    uint32_t n_held, last; /* last: the one that was looked for last */
};

int holds_create(struct chunk_cache *cache, struct holds **out)
{
    struct holds *h = calloc(1, sizeof(*h));
    if (!h)
        return SL_ENOMEM;
    h->at = malloc(HOLDS_FIRST * sizeof(*h->at));
    if (!h->at) {
        free(h);
        return SL_ENOMEM;
    }
    h->room = HOLDS_FIRST;
    h->cache = cache;
    *out = h;
    return 0;
}

/* ---- the index ---- */

/* Null: none yet. */
static struct held *held_find(struct holds *h, const struct channel *c)
{
    if (h->last < h->n_held && h->held[h->last].channel == c)
        return &h->held[h->last];
    for (uint32_t i = 0; i < h->n_held; i++) {
        if (h->held[i].channel == c) {
            h->last = i;
            return &h->held[i];
        }
    }
    return NULL;
}

/* The first hold of a channel allocates, once. */
static struct held *held_add(struct holds *h, const struct channel *c)
{
    struct held *more = realloc(h->held, (h->n_held + 1u) * sizeof(*more));
    if (!more)
        return NULL;
    h->held = more;
    more += h->n_held;
    more->channel = c;
    more->at = calloc(c->n_slots, sizeof(*more->at));
    if (!more->at)
        return NULL;
    h->last = h->n_held++;
    return more;
}

static void held_remove(struct holds *h, struct held *e)
{
    free(e->at);
    *e = h->held[--h->n_held];
}

/* ---- holds ---- */

static void hold_unref(struct holds *h, struct hold *o)
{
    const uint64_t *chunks = o->more ? o->more : o->chunk;
    for (uint32_t k = 0; k < o->n; k++)
        chunk_unref(h->cache, chunks[k]);
    free(o->more);
}

/* Drops the references and fills the gap with the last hold. */
static void hold_drop(struct holds *h, uint32_t i)
{
    struct hold *o = &h->at[i];
    hold_unref(h, o);
    *o->index = 0;
    h->n--;
    if (i != h->n) {
        *o = h->at[h->n];
        *o->index = i + 1u;
    }
}

void holds_destroy(struct holds *h)
{
    if (!h)
        return;
    while (h->n)
        hold_drop(h, h->n - 1u);
    while (h->n_held)
        held_remove(h, h->held);
    free(h->held);
    free(h->at);
    free(h);
}

static int holds_grow(struct holds *h)
{
    struct hold *at;
    if (h->n < h->room)
        return 0;
    at = realloc(h->at, 2u * (size_t)h->room * sizeof(*at));
    if (!at)
        return SL_ENOMEM;
    h->at = at;
    h->room *= 2u;
    return 0;
}

/* Acquire: the producer's loads from the chunks are over. Partner: the
 * release store of sls_settle. */
static uint32_t release_word(const struct channel *c, uint32_t slot)
{
    return __atomic_load_n(&c->releases[slot], __ATOMIC_ACQUIRE);
}

int holds_add(struct holds *h, const struct sl_task *t, const uint64_t *chunks,
              uint32_t n)
{
    struct held *e = held_find(h, t->channel);
    struct hold o = {0};
    if (holds_grow(h))
        return SL_ENOMEM;
    if (!e)
        e = held_add(h, t->channel);
    if (!e)
        return SL_ENOMEM;
    o.channel = t->channel;
    o.slot = t->slot;
    o.seq = t->cell.seq;
    o.was = release_word(t->channel, t->slot);
    o.n = n;
    if (n > HOLD_INLINE) {
        o.more = malloc(n * sizeof(*o.more));
        if (!o.more)
            return SL_ENOMEM;
    }
    if (n)
        memcpy(o.more ? o.more : o.chunk, chunks, n * sizeof(*chunks));
    o.index = &e->at[t->slot];
    if (*o.index) {
        hold_unref(h, &h->at[*o.index - 1u]);
        h->at[*o.index - 1u] = o;
    } else {
        h->at[h->n++] = o;
        *o.index = h->n;
    }
    return 0;
}

/* Written since the hold was made, with this use of the slot or a later one.
 * The first half matters where a slot went through 2^31 uses without a get. */
static int hold_released(const struct hold *o)
{
    uint32_t now = release_word(o->channel, o->slot);
    return now != o->was && (int32_t)(now - o->seq) >= 0;
}

uint32_t holds_sweep(struct holds *h, uint32_t max)
{
    uint32_t dropped = 0;
    if (max > h->n)
        max = h->n;
    for (uint32_t i = 0; i < max; i++) {
        if (h->hand >= h->n)
            h->hand = 0;
        if (hold_released(&h->at[h->hand])) {
            hold_drop(h, h->hand);
            dropped++;
        } else {
            h->hand++;
        }
    }
    return dropped;
}

void holds_forget(struct holds *h, const struct channel *c)
{
    uint32_t i = 0;
    while (i < h->n) {
        if (h->at[i].channel == c)
            hold_drop(h, i);
        else
            i++;
    }
    struct held *e = held_find(h, c);
    if (e)
        held_remove(h, e);
}

uint32_t holds_count(const struct holds *h)
{
    return h->n;
}
