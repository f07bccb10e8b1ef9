/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bitmap of taken units, and above it a binary tree that knows for each of
 * its nodes the free run at the node's front, at its back, and the longest one
 * inside. Merging neighbours is then nothing but clearing bits, and the first
 * fit is one walk from the root. No node is ever made or freed, which is what
 * lets space_free never fail for lack of memory.
 *
 * The tree keeps what a run lacks to the node's size, so that zeroed memory
 * means "all free" and creation touches none of it.
 */
#include "tier/space.h"

#include <stdlib.h>

#define WORD_UNITS 64u
/* Units of a leaf: makes the tree as large as three quarters of the bitmap
 * while a leaf's summary is still eight words to scan. */
#define LEAF_UNITS 512u
#define LEAF_WORDS (LEAF_UNITS / WORD_UNITS)
/* Keeps every product below inside 64 bits; calloc refuses long before. */
#define UNITS_MAX (UINT64_C(1) << 56)

struct runs {
    uint64_t front, back, best;
};

struct space {
    uint64_t units, used;
    uint64_t stale_lo, stale_hi; /* units above which the tree is not right */
    uint64_t n_leaves;           /* a power of two */
    uint64_t *taken;             /* a bit for each unit, 1: taken */
    struct runs *lack; /* heap order: root 1, children 2i and 2i + 1 */
};

/* The nodes of one depth: index of the first of them, units of each. */
struct level {
    uint64_t first, span;
};

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Units of the node that exist; the tree is rounded up, the space is not. */
static uint64_t node_units(const struct space *s, struct level l, uint64_t k)
{
    uint64_t at = k * l.span;
    return at < s->units ? min_u64(l.span, s->units - at) : 0;
}

static struct runs node_get(const struct space *s, struct level l, uint64_t k)
{
    uint64_t units = node_units(s, l, k);
    const struct runs *lack = &s->lack[l.first + k];
    struct runs r = {units - lack->front, units - lack->back,
                     units - lack->best};
    return r;
}

static void node_set(struct space *s, struct level l, uint64_t k, struct runs r)
{
    uint64_t units = node_units(s, l, k);
    struct runs *lack = &s->lack[l.first + k];
    lack->front = units - r.front;
    lack->back = units - r.back;
    lack->best = units - r.best;
}

/* First bit at or after `pos` that differs from `like` (all ones or zeros). */
static uint64_t scan(const uint64_t *w, uint64_t pos, uint64_t units,
                     uint64_t like)
{
    while (pos < units) {
        uint64_t bits = (w[pos / WORD_UNITS] ^ like) >> (pos % WORD_UNITS);
        if (bits)
            return min_u64(pos + (unsigned)__builtin_ctzll(bits), units);
        pos = (pos / WORD_UNITS + 1) * WORD_UNITS;
    }
    return units;
}

/* Longest run of ones in `bits`, or `known` when it is not longer. */
static uint64_t longest(uint64_t bits, uint64_t known)
{
    uint64_t n = 0;
    if ((uint64_t)__builtin_popcountll(bits) <= known)
        return known;
    for (; bits; n++)
        bits &= bits >> 1;
    return max_u64(n, known);
}

static struct runs leaf_runs(const uint64_t *w, uint64_t units)
{
    struct runs r = {units, 0, 0};
    uint64_t run = 0; /* free units just before the word */
    for (uint64_t at = 0; at < units; at += WORD_UNITS, w++) {
        uint64_t n = min_u64(WORD_UNITS, units - at), low;
        if (*w == 0) {
            run += n;
            continue;
        }
        low = (uint64_t)__builtin_ctzll(*w);
        if (r.front == units)
            r.front = at + low;
        r.best = max_u64(r.best, run + low);
        r.best = longest(~*w & (~UINT64_C(0) >> (WORD_UNITS - n)), r.best);
        run = (uint64_t)__builtin_clzll(*w << (WORD_UNITS - n));
    }
    r.back = run;
    r.best = max_u64(r.best, run);
    return r;
}

static struct runs join(const struct space *s, struct level l, uint64_t k)
{
    uint64_t left_units = node_units(s, l, k);
    uint64_t right_units = node_units(s, l, k + 1);
    struct runs a = node_get(s, l, k), b = node_get(s, l, k + 1), r;
    r.front = a.front == left_units ? left_units + b.front : a.front;
    r.back = b.back == right_units ? right_units + a.back : b.back;
    r.best = max_u64(max_u64(a.best, b.best), a.back + b.front);
    return r;
}

/* Brings the tree up to date above the bits of a range. */
static void refresh(struct space *s, uint64_t at, uint64_t n)
{
    struct level l = {s->n_leaves, LEAF_UNITS};
    uint64_t lo = at / LEAF_UNITS, hi = (at + n - 1) / LEAF_UNITS;
    for (uint64_t k = lo; k <= hi; k++)
        node_set(s, l, k,
                 leaf_runs(s->taken + k * LEAF_WORDS, node_units(s, l, k)));
    while (l.first > 1) {
        struct level up = {l.first / 2, l.span * 2};
        lo /= 2;
        hi /= 2;
        for (uint64_t k = lo; k <= hi; k++)
            node_set(s, up, k, join(s, l, 2 * k));
        l = up;
    }
}

/* The bits of word `w` that lie in [at, end). */
static uint64_t mask_of(uint64_t w, uint64_t at, uint64_t end)
{
    uint64_t mask = ~UINT64_C(0);
    if (w * WORD_UNITS < at)
        mask <<= at % WORD_UNITS;
    if ((w + 1) * WORD_UNITS > end)
        mask &= ~UINT64_C(0) >> ((w + 1) * WORD_UNITS - end);
    return mask;
}

/* True when all units of the range are as `like` says (all ones: taken). */
static int range_is(const struct space *s, uint64_t at, uint64_t n,
                    uint64_t like)
{
    for (uint64_t w = at / WORD_UNITS; w * WORD_UNITS < at + n; w++)
        if ((s->taken[w] ^ like) & mask_of(w, at, at + n))
            return 0;
    return 1;
}

/* Turns all units of the range over. */
static void bits_flip(struct space *s, uint64_t at, uint64_t n)
{
    for (uint64_t w = at / WORD_UNITS; w * WORD_UNITS < at + n; w++)
        s->taken[w] ^= mask_of(w, at, at + n);
}

static void range_flip(struct space *s, uint64_t at, uint64_t n)
{
    bits_flip(s, at, n);
    refresh(s, at, n);
}

/* Before the tree is used: reservations change bits only. */
static void freshen(struct space *s)
{
    if (s->stale_lo < s->stale_hi)
        refresh(s, s->stale_lo, s->stale_hi - s->stale_lo);
    s->stale_lo = UINT64_MAX;
    s->stale_hi = 0;
}

static int range_valid(const struct space *s, uint64_t at, uint64_t n)
{
    return n > 0 && at < s->units && n <= s->units - at;
}

/* First run of n units in a leaf that is known to hold one. */
static uint64_t leaf_find(const struct space *s, uint64_t k, uint64_t n)
{
    const uint64_t *w = s->taken + k * LEAF_WORDS;
    uint64_t units = min_u64(LEAF_UNITS, s->units - k * LEAF_UNITS);
    uint64_t pos = scan(w, 0, units, ~UINT64_C(0));
    uint64_t end = scan(w, pos, units, 0);
    while (end - pos < n) {
        pos = scan(w, end, units, ~UINT64_C(0));
        end = scan(w, pos, units, 0);
    }
    return k * LEAF_UNITS + pos;
}

/* First run of n units in a space that is known to hold one. */
static uint64_t find(const struct space *s, uint64_t n)
{
    struct level l = {1, s->n_leaves * LEAF_UNITS};
    uint64_t k = 0;
    while (l.first < s->n_leaves) {
        struct runs a, b;
        l.first *= 2;
        l.span /= 2;
        k *= 2;
        a = node_get(s, l, k);
        b = node_get(s, l, k + 1);
        if (a.best >= n)
            continue;
        if (a.back + b.front >= n)
            return (k + 1) * l.span - a.back;
        k++;
    }
    return leaf_find(s, k, n);
}

int space_create(uint64_t units, struct space **out)
{
    struct space *s;
    uint64_t n_leaves = 1;
    if (units > UNITS_MAX)
        return SL_ENOMEM;
    while (n_leaves * LEAF_UNITS < units)
        n_leaves *= 2;
    s = calloc(1, sizeof(*s));
    if (!s)
        return SL_ENOMEM;
    s->units = units;
    s->n_leaves = n_leaves;
    s->stale_lo = UINT64_MAX;
    s->taken = calloc(units / LEAF_UNITS + 1, LEAF_WORDS * sizeof(*s->taken));
    if (!s->taken)
        goto free_space;
    s->lack = calloc(2 * n_leaves, sizeof(*s->lack));
    if (!s->lack)
        goto free_taken;
    *out = s;
    return SL_OK;

free_taken:
    free(s->taken);
free_space:
    free(s);
    return SL_ENOMEM;
}

void space_destroy(struct space *s)
{
    if (!s)
        return;
    free(s->lack);
    free(s->taken);
    free(s);
}

int space_alloc(struct space *s, uint64_t n, uint64_t *at)
{
    uint64_t found;
    if (n == 0)
        return SL_EINVAL;
    if (n > space_largest(s)) /* freshens */
        return SL_ENOSPC;
    found = find(s, n);
    range_flip(s, found, n);
    s->used += n;
    *at = found;
    return SL_OK;
}

int space_reserve(struct space *s, uint64_t at, uint64_t n)
{
    if (!range_valid(s, at, n))
        return SL_EINVAL;
    if (!range_is(s, at, n, 0))
        return SL_EEXIST;
    bits_flip(s, at, n);
    s->stale_lo = min_u64(s->stale_lo, at);
    s->stale_hi = max_u64(s->stale_hi, at + n);
    s->used += n;
    return SL_OK;
}

int space_free(struct space *s, uint64_t at, uint64_t n)
{
    if (!range_valid(s, at, n) || !range_is(s, at, n, ~UINT64_C(0)))
        return SL_EINVAL;
    range_flip(s, at, n);
    s->used -= n;
    return SL_OK;
}

uint64_t space_used(const struct space *s)
{
    return s->used;
}

uint64_t space_largest(struct space *s)
{
    struct level root = {1, s->n_leaves * LEAF_UNITS};
    freshen(s);
    return node_get(s, root, 0).best;
}
