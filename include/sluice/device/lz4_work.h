/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The workspace of one warp that compresses a page, and the bytes of the page in
 * it; the algorithm is told in lz4_pack.h.
 */
#ifndef SLUICE_DEVICE_LZ4_WORK_H
#define SLUICE_DEVICE_LZ4_WORK_H

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

#endif
