/* SPDX-License-Identifier: Apache-2.0 */
#include "store/shard.h"

#include <string.h>

/*
 * The order in which bytes try the targets.
 *
 * With a score s: the fastest target whose own score is at most s, then the
 * slower ones, then the faster ones, nearest first. Without: the engine's.
 * A target that discards comes last, unless it is the first by its score.
 */

/* From this size on bandwidth counts, below it latency (FEATURES A10). */
#define BANDWIDTH_BYTES 32768u

/* Where nothing was measured: what such a target does about, on the machine
 * of LIMITS. The pinned tier is first as its bytes need not move at all. */
static const struct {
    const char *kind;
    uint64_t bandwidth, latency_ns;
} usual[] = {
    {"pinned", UINT64_MAX, 0},
    {"hbm", UINT64_C(40000000000), 10000},
    {"ram", UINT64_C(10000000000), 1000},
    {"file", UINT64_C(2000000000), 100000},
};

static void speed_of(const struct target *t, uint64_t *bandwidth,
                     uint64_t *latency)
{
    const struct speed *s = &t->speed;
    *bandwidth = s->bandwidth ? s->bandwidth : 1u;
    *latency = s->bandwidth ? s->latency_ns : UINT64_MAX - 1u;
    for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++) {
        if (strcmp(usual[i].kind, t->spec.kind) != 0)
            continue;
        if (s->bandwidth && t->tier)
            return;
        *bandwidth = usual[i].bandwidth;
        *latency = usual[i].latency_ns;
    }
}

/* Inserts into an order of falling `key`; equal ones stay as they came. */
static void insert(uint8_t *order, uint64_t *keys, uint32_t n, uint8_t t,
                   uint64_t key)
{
    uint32_t i = n;
    for (; i && keys[i - 1u] < key; i--) {
        keys[i] = keys[i - 1u];
        order[i] = order[i - 1u];
    }
    keys[i] = key;
    order[i] = t;
}

/* What discards goes behind all others by bandwidth and latency. */
static void sort(const struct store *s, struct choice *c)
{
    uint64_t keys[3][TARGETS_MAX];
    for (uint8_t t = 0; t < TARGETS_MAX; t++) {
        uint64_t bandwidth, latency;
        if (!(c->active & TARGET_BIT(t)))
            continue;
        speed_of(&s->target[t], &bandwidth, &latency);
        if (c->discards & TARGET_BIT(t)) {
            bandwidth = 0;
            latency = UINT64_MAX;
        }
        insert(c->by_score, keys[0], c->n, t, c->score[t]);
        insert(c->by_bandwidth, keys[1], c->n, t, bandwidth);
        insert(c->by_latency, keys[2], c->n, t, UINT64_MAX - latency);
        c->n++;
    }
}

/* Position in by_score of the first that a score asks for; n: all are faster.
 */
static uint32_t first_by_score(const struct choice *c, uint16_t score)
{
    uint32_t i = 0;
    while (i < c->n && c->score[c->by_score[i]] > score)
        i++;
    return i;
}

static int score_is_pinned(const struct choice *c, uint16_t score)
{
    uint32_t i = first_by_score(c, score);
    if (!c->n)
        return 0;
    return c->by_score[i < c->n ? i : c->n - 1u] == TARGET_PINNED;
}

void choice_make(const struct store *s, struct choice *c)
{
    uint64_t turn = c->turn;
    memset(c, 0, sizeof(*c));
    c->turn = turn;
    for (uint32_t t = 0; t < TARGETS_MAX; t++) {
        const struct target *g = &s->target[t];
        if (g->state == TARGET_FREE)
            continue;
        if (g->state == TARGET_ACTIVE)
            c->active |= TARGET_BIT(t);
        if (g->spec.lasting)
            c->lasting |= TARGET_BIT(t);
        if (strcmp(g->spec.kind, "null") == 0)
            c->discards |= TARGET_BIT(t);
        c->score[t] = g->spec.score;
        c->bandwidth[t] = g->speed.bandwidth;
    }
    sort(s, c);
    int slower = 0;
    for (uint32_t i = c->n; i--;) {
        uint32_t bit = TARGET_BIT(c->by_score[i]);
        if (slower)
            c->evictable |= bit & ~c->discards;
        slower = slower || !(c->discards & bit);
    }
    c->pinned_lo = 1;
    for (uint16_t k = SL_SCORE_ONE + 1u; k--;) {
        if (!score_is_pinned(c, k))
            continue;
        c->pinned_hi = c->pinned_hi ? c->pinned_hi : k;
        c->pinned_lo = k;
    }
    c->pinned_auto = s->config.config->placement == SL_PLACE_MAX_BW && c->n &&
                     c->by_bandwidth[0] == TARGET_PINNED &&
                     c->by_latency[0] == TARGET_PINNED;
}

/* ---- whose turn it is ---- */

static uint32_t keepers(const struct choice *c)
{
    uint32_t n = (uint32_t)__builtin_popcount(c->active & ~c->discards);
    return n ? n : 1u;
}

/* The first of the order by latency, in which those that discard are last. */
static uint32_t turn_of(const struct choice *c)
{
    return (uint32_t)(c->turn % keepers(c));
}

static void take_turn(const struct store *s, struct choice *c)
{
    if (s->config.config->placement == SL_PLACE_ROUND_ROBIN)
        c->turn++;
    else if (s->config.config->placement == SL_PLACE_RANDOM)
        c->turn = sl_mix64(c->turn + UINT64_C(0x9e3779b97f4a7c15));
}

int choice_is_pinned(struct shard *sh, uint16_t score)
{
    struct choice *c = &sh->choice;
    if (score != SL_SCORE_AUTO)
        return score >= c->pinned_lo && score <= c->pinned_hi;
    if (c->pinned_auto)
        return 1;
    if (sh->store->config.config->placement == SL_PLACE_MAX_BW || !c->n ||
        c->by_latency[turn_of(c)] != TARGET_PINNED)
        return 0;
    take_turn(sh->store, c);
    return 1;
}

/* ---- the order ---- */

struct order {
    uint8_t *out;
    uint32_t n, among;
    uint32_t asked; /* bit of the one that the score names */
    uint32_t late;  /* those that discard, for the end */
};

static void add(struct order *o, const struct choice *c, uint8_t t)
{
    uint32_t bit = TARGET_BIT(t);
    if (!(o->among & bit))
        return;
    o->among &= ~bit;
    if (c->discards & bit & ~o->asked)
        o->late |= bit;
    else
        o->out[o->n++] = t;
}

static void by_score(struct order *o, const struct choice *c, uint16_t score)
{
    uint32_t first = first_by_score(c, score);
    if (first < c->n)
        o->asked = TARGET_BIT(c->by_score[first]);
    for (uint32_t i = first; i < c->n; i++)
        add(o, c, c->by_score[i]);
    for (uint32_t i = first; i--;)
        add(o, c, c->by_score[i]);
}

static void by_engine(struct order *o, struct shard *sh, uint64_t size)
{
    struct choice *c = &sh->choice;
    if (sh->store->config.config->placement == SL_PLACE_MAX_BW) {
        const uint8_t *order =
            size >= BANDWIDTH_BYTES ? c->by_bandwidth : c->by_latency;
        for (uint32_t i = 0; i < c->n; i++)
            add(o, c, order[i]);
        return;
    }
    uint32_t n = keepers(c), turn = turn_of(c);
    for (uint32_t i = 0; i < n && i < c->n; i++)
        add(o, c, c->by_latency[(turn + i) % n]);
    for (uint32_t i = n; i < c->n; i++)
        add(o, c, c->by_latency[i]);
    take_turn(sh->store, c);
}

uint32_t choice_order(struct shard *sh, uint16_t score, uint64_t size,
                      uint32_t among, uint8_t out[TARGETS_MAX])
{
    struct choice *c = &sh->choice;
    struct order o = {.out = out, .among = among & c->active};
    if (score == SL_SCORE_AUTO)
        by_engine(&o, sh, size);
    else
        by_score(&o, c, score);
    for (uint8_t t = 0; t < TARGETS_MAX; t++)
        if (o.late & TARGET_BIT(t))
            out[o.n++] = t;
    return o.n;
}
