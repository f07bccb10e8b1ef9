/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The matches of a window: each lane finds one, and those that are taken are
 * chosen; the algorithm is told in lz4_pack.h.
 */
#ifndef SLUICE_DEVICE_LZ4_MATCH_H
#define SLUICE_DEVICE_LZ4_MATCH_H

#include "lz4_work.h"

/** What one lane knows of its position. */
struct slz_look {
    uint32_t p;
    uint32_t off;   /* to the candidate */
    uint32_t match; /* bytes that are equal, at most SLZ_MEASURE; 0: none */
};

/* ---- candidates ---- */

/* Knuth's multiplicative hash: 2^32 over the golden ratio. */
SLZ_FN uint32_t slz_hash(uint32_t v)
{
    return v * 2654435761u;
}

SLZ_FN uint32_t slz_slot(const struct slz_pack *c, uint32_t hash)
{
    uint64_t slots = c->large ? SLZ_SLOTS_LARGE : SLZ_SLOTS;
    return (uint32_t)(hash * slots >> 32);
}

/* Bits of the hash that the slot hardly tells. */
SLZ_FN uint8_t slz_tag(uint32_t hash)
{
    return (uint8_t)(hash >> 12);
}

/* Takes what the slot of `hash` holds: a position, or one that is no candidate:
 * not below p. */
SLZ_FN uint32_t slz_old(const struct slz_pack *c, uint32_t hash, uint32_t p)
{
    uint32_t slot = slz_slot(c, hash), old = slp_load_any(&c->table[slot]);
    if (!c->large)
        return old;
    return slp_load_any8(&c->tags[slot]) == slz_tag(hash) ? old : p;
}

SLZ_FN void slz_enter(const struct slz_pack *c, uint32_t hash, uint32_t p)
{
    uint32_t slot = slz_slot(c, hash);
    slp_store_any(&c->table[slot], (uint16_t)p);
    if (c->large)
        slp_store_any8(&c->tags[slot], slz_tag(hash));
}

/* The candidate for position p, whose first bytes are `v` and `v4`: the first
 * position of the window with the same bytes, else what the table held. Enters
 * the window's positions. */
SLZ_FN uint32_t slz_candidate(const struct slz_pack *c, uint32_t at, uint32_t p,
                              uint32_t v, uint32_t v4)
{
    uint32_t hash = slz_hash(v), limit = slz_begin_limit(c);
    uint32_t old = slz_old(c, hash, p);
    slp_syncwarp(SLZ_ALL);
    if (c->step == 2u) {
        if (p + 1u < limit)
            slz_enter(c, slz_hash(slp_funnel(v, v4, 8)), p + 1u);
        slp_syncwarp(SLZ_ALL);
    }
    if (p < limit)
        slz_enter(c, hash, p);
    slp_syncwarp(SLZ_ALL);
    uint32_t near_at = slp_load_any(&c->table[slz_slot(c, hash)]);
    uint32_t ahead = near_at - at;
    uint32_t there = slp_shfl(SLZ_ALL, v, ahead / c->step);
    int near = near_at < p && ahead < SLZ_LANES * c->step &&
               ahead % c->step == 0 && there == v;
    return near ? near_at : old;
}

/* Bytes that are equal from p and q on, 0 if fewer than 4, at most SLZ_MEASURE.
 * All words are compared, which is cheaper than branches. */
SLZ_FN uint32_t slz_measure(const uint32_t *mine, uint32_t p,
                            const uint32_t *other, uint32_t q)
{
    uint32_t x = slz_shifted(mine, SLZ_WORDS - 1u, p) ^
                 slz_shifted(other, SLZ_WORDS - 1u, q);
    uint32_t n = 4u * (SLZ_WORDS - 1u);
    for (uint32_t k = SLZ_WORDS - 2u; k > 0; k--) {
        uint32_t y = slz_shifted(mine, k, p) ^ slz_shifted(other, k, q);
        n = y ? 4u * k : n;
        x = y ? y : x;
    }
    n += slp_zeros(x) / 8u;
    return slz_shifted(mine, 0, p) == slz_shifted(other, 0, q) ? n : 0u;
}

SLZ_FN struct slz_look slz_look_up(const struct slz_pack *c, uint32_t at)
{
    struct slz_look l;
    uint32_t mine[SLZ_WORDS + 1u], other[SLZ_WORDS + 1u];
    l.p = at + c->step * c->lane;
    slz_words(c, l.p, mine);
    uint32_t q = slz_candidate(c, at, l.p, slz_shifted(mine, 0, l.p),
                               slz_shifted(mine, 1, l.p));
    int possible = q < l.p && l.p < slz_begin_limit(c);
    q = possible ? q : at;
    slz_words(c, q, other);
    l.off = l.p - q;
    uint32_t room = slz_end_limit(c) - l.p;
    l.match = slz_measure(mine, l.p, other, q);
    l.match = l.match < room ? l.match : room;
    l.match = possible ? l.match : 0u;
    return l;
}

/* ---- which matches are taken ---- */

/* The whole length of a match that is `match` long at least. */
SLZ_FN uint32_t slz_extend(const struct slz_pack *c, uint32_t p, uint32_t off,
                           uint32_t match)
{
    uint32_t end = slz_end_limit(c), at = p + match, differs;
    do {
        uint32_t i = at + c->lane;
        differs =
            slp_ballot(SLZ_ALL, i >= end || slz_page_byte(c, i) !=
                                                slz_page_byte(c, i - off));
        at += differs ? slp_zeros(differs) : SLZ_LANES;
    } while (!differs);
    return at - p;
}

/* The votes from a lane on. */
SLZ_FN uint32_t slz_from(uint32_t votes, uint32_t lane)
{
    return lane < SLZ_LANES ? votes >> lane << lane : 0u;
}

/* The matches of a window that are taken, as a mask of lanes; `l->match`
 * becomes the whole length of those. `*at` moves to where the parse goes on. */
SLZ_FN uint32_t slz_choose(const struct slz_pack *c, struct slz_look *l,
                           uint32_t votes, uint32_t *at)
{
    uint32_t window = *at, chosen = 0, left = votes, round_up = c->step - 1u;
    /* The next match behind mine, if I know where mine ends. */
    uint32_t behind =
        slz_from(votes, c->lane + (l->match + round_up) / c->step);
    int known = l->match < SLZ_MEASURE;
    uint32_t next = known && behind ? slp_zeros(behind) : c->lane;
    uint32_t mine = 1u << c->lane;
    /* A window has at most 8 matches, of 16 in the fast mode. */
    for (uint32_t k = 0; k < (c->step == 2u ? 4u : 3u); k++) {
        mine |= slp_shfl(SLZ_ALL, mine, next);
        next = slp_shfl(SLZ_ALL, next, next);
    }
    uint32_t tail = next | slp_shfl(SLZ_ALL, l->match, next) << 8;
    while (left) {
        uint32_t first = slp_zeros(left);
        chosen |= slp_shfl(SLZ_ALL, mine, first);
        uint32_t last = slp_shfl(SLZ_ALL, tail, first);
        uint32_t lane = last & 31u, match = last >> 8;
        uint32_t p = window + c->step * lane;
        left = 0;
        if (match == SLZ_MEASURE) {
            match = slz_extend(c, p, slp_shfl(SLZ_ALL, l->off, lane), match);
            l->match = c->lane == lane ? match : l->match;
            left = slz_from(votes, lane + (match + round_up) / c->step);
        }
        *at = p + match;
    }
    uint32_t end = window + SLZ_LANES * c->step;
    *at = *at > end ? *at : end;
    return chosen;
}

#endif
