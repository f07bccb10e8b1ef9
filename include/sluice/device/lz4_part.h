/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * One page by several warps: each codes a part of it, and the parts join to one
 * block. For batches that are too small to give each warp a page.
 *
 *   1. sl_lz4_part_warp, a warp for each part: sequences into an area of its
 *      own. The table knows the bytes before the part; matches end with it.
 *   2. Something that orders all parts of a page before what follows: the end
 *      of the kernel, or of the block's work.
 *   3. sl_lz4_join_warp: where each part lies in the block, and its bytes
 *      (for these alone, sl_lz4_join_bytes).
 *   4. sl_lz4_join_part_warp, a warp for each part: writes it there; one also
 *      sl_lz4_join_rest_warp.
 *
 * The literals behind a part's last match belong to the first sequence of the
 * next part that has one. So a part's first sequence is written without its
 * token and literals, and they are added when it is known where those begin.
 * The block is somewhat larger than that of sl_lz4_compress_warp
 * (docs/performance.md).
 *
 * As in lz4.h, all 32 lanes call together with equal arguments.
 */
#ifndef SLUICE_DEVICE_LZ4_PART_H
#define SLUICE_DEVICE_LZ4_PART_H

#include "lz4.h"

/** Most parts of a page, one a lane, and their least bytes; a part begins at a
 *  multiple of that. */
#define SL_LZ4_PARTS 32u
#define SL_LZ4_PART_MIN 64u

/* Bytes before a part of a large page of which the table gets each position; of
 * those before them every second one. */
#define SLZ_PRIME_WHOLE 2048u

/** Room of a part's area. */
#define SL_LZ4_PART_ROOM(bytes) SL_LZ4_BOUND(bytes)

/** What is known of a part when its area is written. */
struct sl_lz4_part {
    uint32_t bytes;  /* in the area; 0: no match was found */
    uint32_t first;  /* where the first match begins */
    uint32_t anchor; /* where the last match ends */
    uint32_t nibble; /* the first match's length, as it stands in a token */
};

/** Where a part lies in the block; in the lane of its number. */
struct sl_lz4_join {
    uint32_t at;    /* in the block */
    uint32_t from;  /* its first literals, in the page */
    uint32_t run;   /* bytes of them */
    uint32_t total; /* bytes of the block; in all lanes */
    uint32_t rest;  /* literals that end the block begin here; in all lanes */
};

/* ---- 1. parts ---- */

/* Enters every step-th position of 4 * k bytes from p on, of which w holds 4
 * more; none of the part's own. */
SLZ_FN void slz_prime_words(const struct slz_pack *c, uint32_t p,
                            const uint32_t *w, uint32_t k, uint32_t step)
{
    for (uint32_t i = 0; i < 4u * k; i += step) {
        uint32_t v = slp_funnel(w[i / 4u], w[i / 4u + 1u], 8u * (i % 4u));
        if (p + i < c->begin)
            slz_enter(c, slz_hash(v), p + i);
    }
    slp_syncwarp(SLZ_ALL);
}

/* Enters what precedes the part. */
SLZ_FN void slz_prime_small(const struct slz_pack *c)
{
    for (uint32_t at = 0; at < c->begin; at += 4u * SLZ_LANES) {
        uint32_t p = at + 4u * c->lane;
        slz_prime_words(c, p, (const uint32_t *)(const void *)(c->page + p), 1,
                        1);
    }
}

SLZ_FN struct slz_v16 slz_prime_load(const struct slz_pack *c, uint32_t p)
{
    struct slz_v16 v = {{0, 0, 0, 0}};
    const uint8_t *at = c->src + p;
    if (p >= c->begin || p + 20u > c->n)
        return v;
    return ((uintptr_t)at & 15u) == 0
               ? *(const struct slz_v16 *)(const void *)at
               : slz_load16(at);
}

/* The same, from device memory; the next bytes are on their way while these are
 * entered. */
SLZ_FN void slz_prime_large(const struct slz_pack *c)
{
    uint32_t p = 16u * c->lane;
    struct slz_v16 next = slz_prime_load(c, p);
    for (uint32_t at = 0; at < c->begin; at += 16u * SLZ_LANES) {
        uint32_t w[5];
        for (uint32_t i = 0; i < 4u; i++)
            w[i] = next.w[i];
        next = slz_prime_load(c, p + 16u * SLZ_LANES);
        uint32_t first = slp_shfl(SLZ_ALL, next.w[0], 0);
        w[4] = slp_shfl_down(SLZ_ALL, w[0], 1);
        w[4] = c->lane == 31u ? first : w[4];
        if (c->begin - at > SLZ_PRIME_WHOLE)
            slz_prime_words(c, p, w, 4, 2);
        else
            slz_prime_words(c, p, w, 4, 1);
        p += 16u * SLZ_LANES;
    }
}

SLZ_FN int slz_part_range(const struct slz_pack *c, uint32_t most)
{
    return c->n > most || c->begin % SL_LZ4_PART_MIN || c->begin > c->end ||
           c->end > c->n || (c->end % SL_LZ4_PART_MIN && c->end != c->n);
}

SLZ_FN struct sl_lz4_part slz_part(struct slz_pack *c)
{
    struct sl_lz4_part p = {0, 0, 0, 0};
    c->anchor = c->begin;
    if (slz_parse(c) == 0 && c->op) {
        p.bytes = c->op;
        p.first = c->first;
        p.anchor = c->anchor;
        p.nibble = c->nibble;
    }
    return p;
}

SLZ_FN struct slz_pack slz_part_of(const void *src, uint32_t n,
                                   const uint32_t *range, void *area, int mode)
{
    struct slz_pack c = slz_pack_of(src, n, area, ~0u, mode);
    c.part = 1;
    c.begin = range[0];
    c.end = range[1];
    return c;
}

/**
 * Codes [range[0], range[1]) of the page src[0, n), n <= SL_LZ4_SMALL, into
 * `area`, of SL_LZ4_PART_ROOM(range[1] - range[0]) bytes. Parts follow one
 * another without gaps, and each begins at a multiple of SL_LZ4_PART_MIN.
 *
 * Returns 0 and fills *part, or SL_EINVAL (n, range).
 */
SLZ_FN int sl_lz4_part_warp(struct sl_lz4_pack *ws, const void *src, uint32_t n,
                            const uint32_t *range, void *area, int mode,
                            struct sl_lz4_part *part)
{
    struct slz_pack c = slz_part_of(src, n, range, area, mode);
    if (slz_part_range(&c, SL_LZ4_SMALL))
        return SL_EINVAL;
    slz_open_small(&c, ws);
    slz_prime_small(&c);
    *part = slz_part(&c);
    return 0;
}

/** As sl_lz4_part_warp, for pages up to SL_LZ4_MAX. */
SLZ_FN int sl_lz4_part_large_warp(struct sl_lz4_pack_large *ws, const void *src,
                                  uint32_t n, const uint32_t *range, void *area,
                                  int mode, struct sl_lz4_part *part)
{
    struct slz_pack c = slz_part_of(src, n, range, area, mode);
    if (slz_part_range(&c, SL_LZ4_MAX))
        return SL_EINVAL;
    c.seg = c.begin < SLZ_BACK ? 0u : c.begin - SLZ_BACK;
    slz_open_large(&c, ws);
    slz_prime_large(&c);
    *part = slz_part(&c);
    return 0;
}

/* ---- 3. and 4. the block ---- */

/** Where this lane's part lies; `part` is it, or zeroed where there is none.
 *  `n` is the page's bytes. */
SLZ_FN struct sl_lz4_join sl_lz4_join_warp(struct sl_lz4_part part, uint32_t n)
{
    struct sl_lz4_join j;
    uint32_t lane = slp_lane();
    uint32_t upto = slz_max(part.bytes ? part.anchor : 0u, lane);
    uint32_t before = slp_shfl_up(SLZ_ALL, upto, 1);
    j.from = lane ? before : 0u;
    j.run = part.bytes ? part.first - j.from : 0u;
    uint32_t size =
        part.bytes ? 1u + slz_length_bytes(j.run) + j.run + part.bytes : 0u;
    uint32_t sum = slz_sum(size, lane);
    j.at = sum - size;
    j.rest = slp_shfl(SLZ_ALL, upto, 31);
    j.total = slp_shfl(SLZ_ALL, sum, 31) + 1u + slz_length_bytes(n - j.rest) +
              n - j.rest;
    return j;
}

/** By one thread: the bytes of the block of `k` parts of a page of n bytes. */
SLZ_FN uint32_t sl_lz4_join_bytes(const struct sl_lz4_part *part, uint32_t k,
                                  uint32_t n)
{
    uint32_t from = 0, sum = 0;
    for (uint32_t i = 0; i < k; i++) {
        struct sl_lz4_part p = part[i];
        uint32_t run = p.first - from;
        sum += p.bytes ? 1u + slz_length_bytes(run) + run + p.bytes : 0u;
        from = p.bytes ? p.anchor : from;
    }
    return sum + 1u + slz_length_bytes(n - from) + n - from;
}

/* A token with its literals; gives the bytes. */
SLZ_FN uint32_t slz_join_run(uint8_t *dst, const uint8_t *from, uint32_t run,
                             uint32_t nibble)
{
    uint32_t lane = slp_lane(), head = 1u + slz_length_bytes(run);
    if (lane == 0) {
        dst[0] = (uint8_t)(slz_nibble(run) << 4 | nibble);
        slz_put_length(dst + 1, run);
    }
    slz_move(dst + head, from, run, lane);
    return head + run;
}

/** Writes part `k` of the block to dst[0, j->total). `j` and `part` are of all
 *  lanes; `src` is the page and `area` that of part k. */
SLZ_FN void sl_lz4_join_part_warp(const struct sl_lz4_join *j,
                                  const struct sl_lz4_part *part, uint32_t k,
                                  const void *src, const void *area, void *dst)
{
    uint32_t bytes = slp_shfl(SLZ_ALL, part->bytes, k);
    uint32_t nibble = slp_shfl(SLZ_ALL, part->nibble, k);
    uint32_t from = slp_shfl(SLZ_ALL, j->from, k);
    uint32_t run = slp_shfl(SLZ_ALL, j->run, k);
    uint8_t *to = (uint8_t *)dst + slp_shfl(SLZ_ALL, j->at, k);
    if (bytes == 0)
        return;
    to += slz_join_run(to, (const uint8_t *)src + from, run, nibble);
    slz_move(to, (const uint8_t *)area, bytes, slp_lane());
}

/** Writes the literals that end the block of the page src[0, n). */
SLZ_FN void sl_lz4_join_rest_warp(const struct sl_lz4_join *j, const void *src,
                                  uint32_t n, void *dst)
{
    uint32_t run = n - j->rest;
    uint32_t at = j->total - run - slz_length_bytes(run) - 1u;
    slz_join_run((uint8_t *)dst + at, (const uint8_t *)src + j->rest, run, 0);
}

#endif
