/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Sequences that wait, written as bytes of a block; the algorithm is told in
 * lz4_pack.h.
 */
#ifndef SLUICE_DEVICE_LZ4_EMIT_H
#define SLUICE_DEVICE_LZ4_EMIT_H

#include "lz4_work.h"

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

#endif
