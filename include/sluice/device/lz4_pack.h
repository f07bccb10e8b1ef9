/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Compression of one page by one warp; the interface is device/lz4.h.
 *
 * A window of 32 positions (64 in the fast mode, of which every second one is
 * looked at) begins where the last match ended. Each lane looks up its position
 * in the hash table and measures its match; which of them are taken, one after
 * the other, is found by doubling the step along the chain "the first match
 * behind this one". Sequences gather one a lane; 32 of them are written at
 * once, as a stream of pieces (lz4_common.h): headers and literals by turns.
 *
 * Of lanes that store to one slot of the table the lowest wins on the GPUs at
 * hand, so a lane that reads the slot again finds the first position of its
 * window with the same hash: the near candidate that the table cannot know yet.
 * Whoever wins, what is found is compared; only the ratio is at stake.
 *
 * A small page lies in shared memory. Of a large one a segment does, that
 * reaches at least SLZ_BACK bytes back; what is older is read where it is, and
 * the table holds 8 bits of the hash with each position, so that this is
 * done for hardly any candidate that is none.
 */
#ifndef SLUICE_DEVICE_LZ4_PACK_H
#define SLUICE_DEVICE_LZ4_PACK_H

#include "lz4_common.h"

/* Slots of the table, a multiple of 16. More give a better ratio, and fewer warps
 * on a multiprocessor: these leave room for 32, of large pages for 27
 * (docs/performance.md). */
#define SLZ_SLOTS 1120u
#define SLZ_SLOTS_LARGE 2064u

#define SLZ_SEQS 48u /* 31 that wait, and one window's: at most 16 */
/* Words, and bytes, of a match that one lane measures. */
#define SLZ_WORDS 4u
#define SLZ_MEASURE (4u * SLZ_WORDS)

/* Readable bytes around a page: two windows of the fast mode and a compare. */
#define SLZ_MARGIN 96u

/* Segment of a large page: two blocks, and a window behind them. */
#define SLZ_BACK 512u
#define SLZ_SEGMENT (2u * SLZ_BACK + 128u)

/* Header bytes of 32 sequences: token and offset of each, the byte that ends
 * each long length, and one for each 255 bytes of the page. */
#define SLZ_HEADS(size) (SLZ_LANES * (3u + 2u) + (size) / 255u + 1u)

/** A match that is taken, in a form that waits for the output. */
struct slz_taken {
    uint32_t at[SLZ_SEQS]; /* position, and bytes of the match << 16 */
    uint16_t off[SLZ_SEQS];
};

/* Sequences are in registers while their pieces are laid out. */
union slz_pack_out {
    struct slz_taken taken;
    struct slz_pieces pieces;
};

struct sl_lz4_pack {
    uint8_t page[SL_LZ4_SMALL + SLZ_MARGIN] __attribute__((aligned(16)));
    uint16_t table[SLZ_SLOTS] __attribute__((aligned(16)));
    union slz_pack_out out;
    uint8_t heads[SLZ_HEADS(SL_LZ4_SMALL)];
};

struct sl_lz4_pack_large {
    uint8_t page[SLZ_SEGMENT + SLZ_MARGIN] __attribute__((aligned(16)));
    uint16_t table[SLZ_SLOTS_LARGE] __attribute__((aligned(16)));
    uint8_t tags[SLZ_SLOTS_LARGE] __attribute__((aligned(16)));
    union slz_pack_out out;
    uint8_t heads[SLZ_HEADS(SL_LZ4_MAX)];
};

/* One warp's work; the same in all lanes but `lane`. */
struct slz_pack {
    const uint8_t *src;
    uint8_t *dst;
    uint8_t
        *page; /* in shared memory: position i of the page is page[i - seg] */
    uint16_t *table;
    uint8_t *tags; /* large pages: more of the hash, for each slot */
    union slz_pack_out *out;
    uint8_t *heads;
    uint32_t lane;
    uint32_t n;      /* bytes of the page */
    uint32_t cap;    /* of dst */
    uint32_t op;     /* bytes in dst */
    uint32_t anchor; /* end of the last sequence that is in dst */
    uint32_t seqs;   /* that wait */
    uint32_t seg;    /* large pages: where the segment begins */
    uint32_t step;   /* constant: 1, or 2 in the fast mode */
    int large;       /* constant */
    int part;        /* constant: a part of the page is coded (lz4_part.h) */
    uint32_t begin, end;    /* of the part */
    uint32_t first, nibble; /* of the part's first sequence: where its match
                                begins, its length as in a token */
};

/** What one lane knows of its position. */
struct slz_look {
    uint32_t p;
    uint32_t off;   /* to the candidate */
    uint32_t match; /* bytes that are equal, at most SLZ_MEASURE; 0: none */
};

/* Position behind the last at which a match may begin. */
SLZ_FN uint32_t slz_begin_limit(const struct slz_pack *c)
{
    uint32_t limit = c->n < SLZ_END_MATCH ? 0u : c->n - SLZ_END_MATCH + 1u;
    uint32_t part = c->end - (SLZ_MIN_MATCH - 1u); /* of 64 bytes or more */
    return c->part && part < limit ? part : limit;
}

/* Where a match must end. */
SLZ_FN uint32_t slz_end_limit(const struct slz_pack *c)
{
    uint32_t limit = c->n - SLZ_END_LITERALS;
    return c->part && c->end < limit ? c->end : limit;
}

/* ---- bytes of the page ---- */

/* The aligned words that hold the SLZ_MEASURE bytes at `at`. */
SLZ_FN void slz_words(const struct slz_pack *c, uint32_t at, uint32_t *w)
{
    uint32_t i = at & ~3u;
    if (!c->large || at >= c->seg) {
        const uint32_t *q =
            (const uint32_t *)(const void *)(c->page + (i - c->seg));
        for (uint32_t k = 0; k <= SLZ_WORDS; k++)
            w[k] = q[k];
        return;
    }
    const uint8_t *p = c->src + i;
    if (((uintptr_t)p & 3u) == 0) {
        for (uint32_t k = 0; k <= SLZ_WORDS; k++)
            w[k] = ((const uint32_t *)(const void *)p)[k];
        return;
    }
    for (uint32_t k = 0; k <= SLZ_WORDS; k++, p += 4)
        w[k] = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
               (uint32_t)p[3] << 24;
}

/* Four bytes of those, from the byte 4 * k on. */
SLZ_FN uint32_t slz_shifted(const uint32_t *w, uint32_t k, uint32_t at)
{
    return slp_funnel(w[k], w[k + 1u], 8u * at);
}

SLZ_FN uint32_t slz_page_byte(const struct slz_pack *c, uint32_t at)
{
    if (!c->large)
        return c->page[at];
    return at - c->seg < SLZ_SEGMENT ? c->page[at - c->seg] : c->src[at];
}

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

/* ---- output ---- */

/* Bytes that a length takes behind the token. */
SLZ_FN uint32_t slz_length_bytes(uint32_t v)
{
    return v < SLZ_RUN_MASK ? 0u : 1u + (v - SLZ_RUN_MASK) / 255u;
}

SLZ_FN uint8_t *slz_put_length(uint8_t *to, uint32_t v)
{
    if (v < SLZ_RUN_MASK)
        return to;
    v -= SLZ_RUN_MASK;
    for (; v >= 255u; v -= 255u)
        *to++ = 255;
    *to++ = (uint8_t)v;
    return to;
}

/** One sequence on its way out. */
struct slz_emit {
    uint32_t from, run; /* literals */
    uint32_t off, match;
    uint32_t run_bytes; /* of its lengths, behind token and offset */
    uint32_t match_bytes;
    uint32_t head; /* its header bytes among those of all lanes */
    uint32_t at;   /* its place in the output of all lanes */
    uint32_t used;
    uint32_t token; /* bytes of its token: 0 if another warp writes it */
};

/* Four bytes of any alignment, not the last four of the page. */
SLZ_FN uint32_t slz_four(const struct slz_pack *c, uint32_t at)
{
    const uint8_t *p = c->page + (at - c->seg);
    if (c->large && at - c->seg >= SLZ_SEGMENT - 4u)
        p = c->src + at;
    uint32_t shift = (uint32_t)(uintptr_t)p & 3u;
    const uint32_t *q = (const uint32_t *)(const void *)(p - shift);
    return slp_funnel(q[0], q[1], 8u * shift);
}

/* Lets the match begin up to four bytes earlier, where those before are equal
 * too: the table has no place for every position. `p` is where it begins. */
SLZ_FN void slz_grow(const struct slz_pack *c, struct slz_emit *e, uint32_t p)
{
    uint32_t q = p - e->off, most = p - e->from;
    if (e->used && q >= 4u && most) {
        uint32_t x = slz_four(c, p - 4u) ^ slz_four(c, q - 4u);
        uint32_t n = x ? (31u - slp_top(x)) / 8u : 4u;
        n = n < most ? n : most;
        p -= n;
        e->match += n;
    }
    e->run = e->used ? p - e->from : 0u;
}

/* This lane's sequence of k that are written; gives the end of the last. */
SLZ_FN uint32_t slz_emit_make(const struct slz_pack *c, struct slz_emit *e,
                              uint32_t k)
{
    const struct slz_taken *t = &c->out->taken;
    uint32_t i = c->lane < k ? c->lane : 0u;
    uint32_t p = t->at[i] & 0xffffu, end = p + (t->at[i] >> 16);
    uint32_t before = slp_shfl_up(SLZ_ALL, end, 1);
    e->used = c->lane < k;
    e->off = t->off[i];
    e->match = end - p;
    e->from = c->lane ? before : c->anchor;
    slz_grow(c, e, p);
    e->token = 1;
    e->run_bytes = slz_length_bytes(e->run);
    e->match_bytes = slz_length_bytes(e->match - SLZ_MIN_MATCH);
    return slp_shfl(SLZ_ALL, end, k - 1u);
}

SLZ_FN uint32_t slz_nibble(uint32_t v)
{
    return v < SLZ_RUN_MASK ? v : SLZ_RUN_MASK;
}

/* The first sequence of a part: its token and literals are written by who knows
 * where the literals begin, from what is noted here. */
SLZ_FN void slz_emit_first(struct slz_pack *c, struct slz_emit *e)
{
    uint32_t at = e->from + e->run,
             nibble = slz_nibble(e->match - SLZ_MIN_MATCH);
    if (c->op != 0)
        return;
    c->first = slp_shfl(SLZ_ALL, at, 0);
    c->nibble = slp_shfl(SLZ_ALL, nibble, 0);
    if (c->lane == 0) {
        e->run = 0;
        e->run_bytes = 0;
        e->token = 0;
    }
}

/* Places of header bytes and of the sequence among those of all lanes; both
 * sums at once. Gives the bytes of all. */
SLZ_FN uint32_t slz_emit_place(const struct slz_pack *c, struct slz_emit *e)
{
    uint32_t heads =
        e->used ? e->token + 2u + e->run_bytes + e->match_bytes : 0u;
    uint32_t both = heads << 20 | (heads + e->run);
    uint32_t sum = slz_sum(both, c->lane);
    e->head = (sum - both) >> 20;
    e->at = (sum - both) & 0xfffffu;
    return slp_shfl(SLZ_ALL, sum, 31) & 0xfffffu;
}

SLZ_FN void slz_emit_head(const struct slz_pack *c, const struct slz_emit *e)
{
    uint8_t *to = c->heads + e->head;
    uint32_t match = e->match - SLZ_MIN_MATCH;
    if (e->token)
        *to++ = (uint8_t)(slz_nibble(e->run) << 4 | slz_nibble(match));
    to = slz_put_length(to, e->run);
    *to++ = (uint8_t)e->off;
    *to++ = (uint8_t)(e->off >> 8);
    slz_put_length(to, match);
}

/* Distance of the header bytes in the stream: they lie behind a small page. */
SLZ_FN uint32_t slz_heads_away(const struct slz_pack *c)
{
    return c->large ? SLZ_ELSEWHERE : (uint32_t)(c->heads - c->page);
}

/* Literals, if there are any, and the header bytes behind them. Those of
 * sequences without literals follow one another as they lie. */
SLZ_FN void slz_emit_pieces(const struct slz_pack *c, const struct slz_emit *e)
{
    uint32_t *away = c->out->pieces.away;
    uint32_t with_run = slp_ballot(SLZ_ALL, e->run != 0);
    uint32_t i = 1u + 2u * slp_popc(with_run & slz_below(c->lane));
    uint32_t token = 1u + e->run_bytes;
    if (c->lane == 0)
        away[0] = slz_heads_away(c);
    if (e->run) {
        away[i] = e->from - (e->at + token);
        away[i + 1u] = slz_heads_away(c) + e->head - (e->at + e->run);
    }
}

SLZ_FN uint8_t slz_out_byte(const struct slz_pack *c, uint32_t from)
{
    if (c->large && from >= SLZ_ELSEWHERE)
        return c->heads[from - SLZ_ELSEWHERE];
    return (uint8_t)slz_page_byte(c, from);
}

/* Writes `n` bytes from `begin` on, which the map covers. */
SLZ_FN void slz_emit_bytes(const struct slz_pack *c, uint32_t begin, uint32_t n,
                           uint32_t *pieces)
{
    const struct slz_pieces *s = &c->out->pieces;
    uint8_t *dst = c->dst + c->op + begin;
    uint32_t i = c->lane;
    for (; c->large && i - c->lane + 4u * SLZ_LANES <= n; i += 4u * SLZ_LANES) {
        uint8_t v[4];
        for (uint32_t k = 0; k < 4u; k++) {
            uint32_t at = i + k * SLZ_LANES, bits = s->map[at / 32u];
            v[k] = slz_out_byte(c, slz_away(s, bits, c->lane, pieces) + begin +
                                       at);
        }
        for (uint32_t k = 0; k < 4u; k++)
            dst[i + k * SLZ_LANES] = v[k];
    }
    for (; i - c->lane < n; i += SLZ_LANES) {
        uint32_t bits = s->map[i / 32u];
        uint32_t from = slz_away(s, bits, c->lane, pieces) + begin + i;
        if (i < n)
            dst[i] = slz_out_byte(c, from);
    }
}

SLZ_FN void slz_emit_stream(const struct slz_pack *c, const struct slz_emit *e,
                            uint32_t total)
{
    uint32_t pieces = 0, run_at = e->at + 1u + e->run_bytes;
    for (uint32_t i = 0; i < total; i += SLZ_MAP_BYTES) {
        uint32_t left = total - i;
        slz_map_clear(&c->out->pieces, c->lane);
        if (c->lane == 0)
            slz_map_start(&c->out->pieces, 0u - i);
        if (e->run) {
            slz_map_start(&c->out->pieces, run_at - i);
            slz_map_start(&c->out->pieces, run_at + e->run - i);
        }
        slp_syncwarp(SLZ_ALL);
        slz_emit_bytes(c, i, left < SLZ_MAP_BYTES ? left : SLZ_MAP_BYTES,
                       &pieces);
    }
}

/* Writes the first k of the sequences that wait. 0 or SL_ENOSPC. */
SLZ_FN int slz_emit_seqs(struct slz_pack *c, uint32_t k)
{
    struct slz_taken *t = &c->out->taken;
    struct slz_emit e;
    uint32_t rest = c->seqs - k, i = c->lane < rest ? k + c->lane : 0u;
    slp_syncwarp(SLZ_ALL);
    uint32_t rest_at = t->at[i];
    uint16_t rest_off = t->off[i];
    uint32_t end = slz_emit_make(c, &e, k);
    if (c->part)
        slz_emit_first(c, &e);
    uint32_t total = slz_emit_place(c, &e);
    if (total > c->cap - c->op)
        return SL_ENOSPC;
    slp_syncwarp(SLZ_ALL); /* what was taken is in registers */
    if (e.used)
        slz_emit_head(c, &e);
    slz_emit_pieces(c, &e);
    slz_emit_stream(c, &e, total);
    slp_syncwarp(SLZ_ALL);
    if (c->lane < rest) {
        t->at[c->lane] = rest_at;
        t->off[c->lane] = rest_off;
    }
    c->op += total;
    c->anchor = end;
    c->seqs = rest;
    return 0;
}

/* The literals that end a block. Gives its bytes, or SL_ENOSPC. */
SLZ_FN int slz_emit_last(struct slz_pack *c)
{
    uint32_t run = c->n - c->anchor, head = 1u + slz_length_bytes(run);
    uint8_t *dst = c->dst + c->op;
    if (head + run > c->cap - c->op)
        return SL_ENOSPC;
    if (c->lane == 0) {
        dst[0] = (uint8_t)(slz_nibble(run) << 4);
        slz_put_length(dst + 1, run);
    }
    for (uint32_t i = c->lane; i < run; i += SLZ_LANES)
        dst[head + i] = (uint8_t)slz_page_byte(c, c->anchor + i);
    slp_syncwarp(SLZ_ALL);
    return (int)(c->op + head + run);
}

/* ---- the parse ---- */

/* Large pages: makes the window at `at` lie in the segment. */
SLZ_FN void slz_segment(struct slz_pack *c, uint32_t at)
{
    uint32_t first = at / SLZ_BACK * SLZ_BACK;
    if (at < c->seg + 2u * SLZ_BACK)
        return;
    c->seg = first < SLZ_BACK ? 0u : first - SLZ_BACK;
    uint32_t n = c->n - c->seg;
    slp_syncwarp(SLZ_ALL);
    slz_fetch(c->page, c->src + c->seg, n < SLZ_SEGMENT ? n : SLZ_SEGMENT,
              c->lane);
    slp_fetched();
    slp_syncwarp(SLZ_ALL);
}

/* Finds and writes all sequences. 0 or SL_ENOSPC. */
SLZ_FN int slz_parse(struct slz_pack *c)
{
    uint32_t at = c->part ? c->begin : 0u;
    while (at < slz_begin_limit(c)) {
        if (c->large)
            slz_segment(c, at);
        struct slz_look l = slz_look_up(c, at);
        /* A match that begins one later and is longer by two is better. */
        uint32_t later = slp_shfl_down(SLZ_ALL, l.match, 1);
        int good = l.match && later <= l.match + 1u;
        uint32_t votes = slp_ballot(SLZ_ALL, good);
        if (!votes) {
            at += SLZ_LANES * c->step;
            continue;
        }
        uint32_t chosen = slz_choose(c, &l, votes, &at);
        uint32_t i = c->seqs + slp_popc(chosen & slz_below(c->lane));
        if (chosen >> c->lane & 1u) {
            c->out->taken.at[i] = l.p | l.match << 16;
            c->out->taken.off[i] = (uint16_t)l.off;
        }
        c->seqs += slp_popc(chosen);
        if (c->seqs >= SLZ_LANES) {
            int rc = slz_emit_seqs(c, SLZ_LANES);
            if (rc)
                return rc;
        }
    }
    return c->seqs ? slz_emit_seqs(c, c->seqs) : 0;
}

SLZ_FN int slz_pack_page(struct slz_pack *c)
{
    int rc = slz_parse(c);
    return rc ? rc : slz_emit_last(c);
}

/* Zeroes a table of `bytes`, a multiple of 16. A table that keeps what it held
 * would do too, but the same page would not always give the same block. */
SLZ_FN void slz_table_clear(void *table, uint32_t bytes, uint32_t lane)
{
    struct slz_v16 *t = (struct slz_v16 *)table;
    struct slz_v16 zero = {{0, 0, 0, 0}};
    for (uint32_t i = lane; i < bytes / 16u; i += SLZ_LANES)
        t[i] = zero;
}

/* The workspace, with the page's bytes and an empty table. */
SLZ_FN void slz_open_small(struct slz_pack *c, struct sl_lz4_pack *ws)
{
    c->page = ws->page;
    c->table = ws->table;
    c->tags = 0;
    c->out = &ws->out;
    c->heads = ws->heads;
    c->large = 0;
    slz_fetch(c->page, c->src, c->n, c->lane);
    slz_table_clear(c->table, (uint32_t)sizeof(ws->table), c->lane);
    slp_fetched();
    slp_syncwarp(SLZ_ALL);
}

/* The same, with a segment from c->seg on. */
SLZ_FN void slz_open_large(struct slz_pack *c, struct sl_lz4_pack_large *ws)
{
    uint32_t left = c->n - c->seg;
    c->page = ws->page;
    c->table = ws->table;
    c->tags = ws->tags;
    c->out = &ws->out;
    c->heads = ws->heads;
    c->large = 1;
    slz_fetch(c->page, c->src + c->seg, left < SLZ_SEGMENT ? left : SLZ_SEGMENT,
              c->lane);
    slz_table_clear(c->table, (uint32_t)sizeof(ws->table), c->lane);
    slz_table_clear(c->tags, (uint32_t)sizeof(ws->tags), c->lane);
    slp_fetched();
    slp_syncwarp(SLZ_ALL);
}

#endif
