/* SPDX-License-Identifier: Apache-2.0 */
#include "gpu/kernels/lz4.h"

#define LZ4_AT(type, at) ((type *)(uintptr_t)(at))

struct lz4_pack_block {
    struct sl_lz4_pack warp[LZ4_PACK_WARPS];
};

struct lz4_pack_large_block {
    struct sl_lz4_pack_large warp[LZ4_PACK_LARGE_WARPS];
};

struct lz4_unpack_block {
    struct sl_lz4_unpack warp[LZ4_UNPACK_WARPS];
};

struct lz4_unpack_large_block {
    struct sl_lz4_unpack_large warp[LZ4_UNPACK_LARGE_WARPS];
};

/** A warp's page. */
struct lz4_page {
    uint64_t i;
    uint32_t warp; /* of the block */
    uint32_t lane;
    uint32_t bytes; /* 0: there is none for this warp */
    struct sl_page_entry *entry;
};

SL_FN struct lz4_page lz4_page_of(const struct k_lz4_args *a)
{
    struct lz4_page p;
    uint32_t warps = slp_threads() / 32u;
    p.warp = slp_thread() / 32u;
    p.lane = slp_lane();
    p.i = (uint64_t)slp_block() * warps + p.warp;
    p.bytes = a->page_bytes;
    p.entry = LZ4_AT(struct sl_page_entry, a->entries_at) + p.i;
    uint64_t at = p.i * a->page_bytes;
    if (p.i >= a->n)
        p.bytes = 0;
    else if (a->bytes - at < a->page_bytes)
        p.bytes = (uint32_t)(a->bytes - at);
    return p;
}

SL_FN void lz4_entry(const struct lz4_page *p, uint32_t stored, uint32_t kind,
                     uint64_t fill)
{
    if (p->lane != 0)
        return;
    p->entry->stored = stored;
    p->entry->kind = (uint8_t)kind;
    p->entry->reserved = 0;
    p->entry->code = 0;
    p->entry->at_or_fill = fill;
}

/* ---- compress ---- */

/* Whether 8 bytes repeat through the page, and which. Most pages differ in the
 * first 256 bytes. */
SL_FN int lz4_repeats(const uint8_t *src, uint32_t n, uint32_t lane,
                      uint64_t *fill)
{
    const uint64_t *words = (const uint64_t *)(const void *)src;
    uint32_t i = lane;
    if (n < sizeof(uint64_t))
        return 0;
    uint64_t first = words[0];
    int same = 1;
    while (slp_any(SLZ_ALL, i < n / 8u)) {
        same = i >= n / 8u || words[i] == first;
        if (slp_any(SLZ_ALL, !same))
            return 0;
        i += 32u;
    }
    for (i = n / 8u * 8u + lane; i < n; i += 32u)
        same &= src[i] == (uint8_t)(first >> (i % 8u * 8u));
    *fill = first;
    return !slp_any(SLZ_ALL, !same);
}

/* Chooses the page's kind by what the compressor said: never larger than the
 * page. */
SL_FN void lz4_packed(const struct lz4_page *p, int n)
{
    if (n > 0)
        lz4_entry(p, (uint32_t)n, SL_PAGE_LZ4, 0);
    else
        lz4_entry(p, p->bytes, SL_PAGE_RAW, 0);
}

/* 1: the page is done, it repeats 8 bytes. */
SL_FN int lz4_pack_fill(const struct lz4_page *p, const uint8_t *src)
{
    uint64_t fill = 0;
    if (!lz4_repeats(src, p->bytes, p->lane, &fill))
        return 0;
    lz4_entry(p, 0, fill ? SL_PAGE_FILL : SL_PAGE_ZERO, fill);
    return 1;
}

/* Kernels end by divergent warps, never lanes. */
#define LZ4_PACK_KERNEL(name, block_type, warps, blocks, pack, mode)           \
    SL_KERNEL_FOR(name, struct k_lz4_args, 32u * (warps), blocks)              \
    {                                                                          \
        SL_SHARED(struct block_type, ws);                                      \
        struct lz4_page p = lz4_page_of(&arg);                                 \
        const uint8_t *src =                                                   \
            LZ4_AT(const uint8_t, arg.src_at) + p.i * arg.page_bytes;          \
        if (p.bytes == 0 || lz4_pack_fill(&p, src))                            \
            return;                                                            \
        uint8_t *slot =                                                        \
            LZ4_AT(uint8_t, arg.slots_at) + p.i * LZ4_SLOT(arg.page_bytes);    \
        lz4_packed(&p, pack(&ws->warp[p.warp], src, p.bytes, slot,             \
                            p.bytes - 1u, mode));                              \
    }

LZ4_PACK_KERNEL(k_lz4_pack, lz4_pack_block, LZ4_PACK_WARPS, LZ4_PACK_BLOCKS,
                sl_lz4_compress_warp, SL_LZ4_DEFAULT)
LZ4_PACK_KERNEL(k_lz4_pack_fast, lz4_pack_block, LZ4_PACK_WARPS,
                LZ4_PACK_BLOCKS, sl_lz4_compress_warp, SL_LZ4_FAST)
LZ4_PACK_KERNEL(k_lz4_pack_large, lz4_pack_large_block, LZ4_PACK_LARGE_WARPS,
                LZ4_PACK_LARGE_BLOCKS, sl_lz4_compress_large_warp,
                SL_LZ4_DEFAULT)
LZ4_PACK_KERNEL(k_lz4_pack_large_fast, lz4_pack_large_block,
                LZ4_PACK_LARGE_WARPS, LZ4_PACK_LARGE_BLOCKS,
                sl_lz4_compress_large_warp, SL_LZ4_FAST)

/* ---- places ---- */

struct lz4_sums {
    uint64_t warp[32];
};

SL_FN uint64_t lz4_sum_up(uint64_t v, uint32_t lane)
{
    for (uint32_t d = 1; d < 32u; d <<= 1) {
        uint32_t low = slp_shfl_up(SLZ_ALL, (uint32_t)v, d);
        uint32_t high = slp_shfl_up(SLZ_ALL, (uint32_t)(v >> 32), d);
        v += lane >= d ? (uint64_t)high << 32 | low : 0u;
    }
    return v;
}

/* Sum over the block's threads up to this one; *all is that of all 1024. */
SL_FN uint64_t lz4_sum_block(struct lz4_sums *s, uint64_t v, uint64_t *all)
{
    uint32_t lane = slp_lane(), warp = slp_thread() / 32u;
    v = lz4_sum_up(v, lane);
    if (lane == 31u)
        s->warp[warp] = v;
    slp_syncblock();
    if (warp == 0)
        s->warp[lane] = lz4_sum_up(s->warp[lane], lane);
    slp_syncblock();
    v += warp ? s->warp[warp - 1u] : 0u;
    *all = s->warp[31];
    slp_syncblock();
    return v;
}

/* Each entry's place among those of its block; the sum of the block. */
SL_KERNEL(k_lz4_sum, struct k_lz4_args)
{
    SL_SHARED(struct lz4_sums, sums);
    uint64_t i = (uint64_t)slp_block() * LZ4_SUM_PAGES + slp_thread();
    struct sl_page_entry *e = LZ4_AT(struct sl_page_entry, arg.entries_at) + i;
    uint64_t stored = i < arg.n ? e->stored : 0u, all;
    uint64_t sum = lz4_sum_block(sums, stored, &all);
    if (stored)
        e->at_or_fill = sum - stored;
    if (slp_thread() == 0)
        LZ4_AT(uint64_t, arg.sums_at)[slp_block()] = all;
}

/* The blocks' sums become places of their first page; one block. */
SL_KERNEL(k_lz4_base, struct k_lz4_args)
{
    SL_SHARED(struct lz4_sums, sums);
    uint64_t *list = LZ4_AT(uint64_t, arg.sums_at);
    uint64_t n = (arg.n + LZ4_SUM_PAGES - 1u) / LZ4_SUM_PAGES, base = 0;
    for (uint64_t first = 0; first < n; first += LZ4_SUM_PAGES) {
        uint64_t i = first + slp_thread(), all;
        uint64_t v = i < n ? list[i] : 0u;
        uint64_t sum = lz4_sum_block(sums, v, &all);
        if (i < n)
            list[i] = base + sum - v;
        base += all;
    }
    if (slp_thread() == 0)
        *LZ4_AT(uint64_t, arg.total_at) = base;
}

/* 16 bytes of any alignment, of which the words that hold them are read. */
SL_FN struct slz_v16 lz4_load16(const uint8_t *p)
{
    uint32_t shift = (uint32_t)((uintptr_t)p & 3u);
    const uint32_t *q = (const uint32_t *)(const void *)(p - shift);
    struct slz_v16 v;
    uint32_t w[5];
    for (uint32_t k = 0; k < 4u; k++)
        w[k] = q[k];
    w[4] = shift ? q[4] : 0u;
    for (uint32_t k = 0; k < 4u; k++)
        v.w[k] = slp_funnel(w[k], w[k + 1u], 8u * shift);
    return v;
}

/* Copies n bytes by one warp; stores of 16 bytes. */
SL_FN void lz4_move(uint8_t *dst, const uint8_t *src, uint32_t n, uint32_t lane)
{
    uint32_t head = (0u - (uint32_t)(uintptr_t)dst) & 15u;
    head = head < n ? head : n;
    /* The piece before the last byte's may read words to their end. */
    uint32_t body = n - head < 20u ? head : head + ((n - head - 4u) & ~15u);
    if (lane < head)
        dst[lane] = src[lane];
    for (uint32_t i = head + 16u * lane; i < body; i += 512u)
        *(struct slz_v16 *)(void *)(dst + i) = lz4_load16(src + i);
    if (body + lane < n)
        dst[body + lane] = src[body + lane];
}

SL_KERNEL(k_lz4_gather, struct k_lz4_args)
{
    struct lz4_page p = lz4_page_of(&arg);
    if (p.bytes == 0 || p.entry->stored == 0)
        return;
    uint64_t at = p.entry->at_or_fill +
                  LZ4_AT(const uint64_t, arg.sums_at)[p.i / LZ4_SUM_PAGES];
    const uint8_t *src =
        p.entry->kind == SL_PAGE_RAW
            ? LZ4_AT(const uint8_t, arg.src_at) + p.i * arg.page_bytes
            : LZ4_AT(const uint8_t, arg.slots_at) +
                  p.i * LZ4_SLOT(arg.page_bytes);
    lz4_move(LZ4_AT(uint8_t, arg.dst_at) + at, src, p.entry->stored, p.lane);
    slp_syncwarp(SLZ_ALL); /* all lanes have read the entry */
    if (p.lane == 0)
        p.entry->at_or_fill = at;
}

/* ---- decompress ---- */

SL_FN void lz4_fill(uint8_t *dst, uint32_t n, uint64_t fill, uint32_t lane)
{
    uint64_t *words = (uint64_t *)(void *)dst;
    for (uint32_t i = lane; i < n / 8u; i += 32u)
        words[i] = fill;
    for (uint32_t i = n / 8u * 8u + lane; i < n; i += 32u)
        dst[i] = (uint8_t)(fill >> (i % 8u * 8u));
}

/* One page by its entry, none of which is believed: 1 when the block is to be
 * decoded, else 0 or SL_EBLOCK. */
SL_FN int lz4_unpack_entry(const struct k_lz4_args *a, const struct lz4_page *p,
                           const struct sl_page_entry *e, uint8_t *dst)
{
    if (e->kind == SL_PAGE_ZERO || e->kind == SL_PAGE_FILL) {
        lz4_fill(dst, p->bytes, e->kind == SL_PAGE_FILL ? e->at_or_fill : 0u,
                 p->lane);
        return 0;
    }
    if (e->at_or_fill > a->src_bytes ||
        e->stored > a->src_bytes - e->at_or_fill)
        return SL_EBLOCK;
    if (e->kind == SL_PAGE_LZ4)
        return 1;
    if (e->kind != SL_PAGE_RAW || e->stored != p->bytes)
        return SL_EBLOCK;
    lz4_move(dst, LZ4_AT(const uint8_t, a->src_at) + e->at_or_fill, p->bytes,
             p->lane);
    return 0;
}

SL_FN void lz4_unpacked(const struct lz4_page *p, uint8_t *dst, int code)
{
    slp_syncwarp(SLZ_ALL);
    if (code)
        lz4_fill(dst, p->bytes, 0, p->lane);
    if (p->lane == 0)
        p->entry->code = (int16_t)code;
}

#define LZ4_UNPACK_KERNEL(name, block_type, warps, blocks, unpack)             \
    SL_KERNEL_FOR(name, struct k_lz4_args, 32u * (warps), blocks)              \
    {                                                                          \
        SL_SHARED(struct block_type, ws);                                      \
        struct lz4_page p = lz4_page_of(&arg);                                 \
        uint8_t *dst = LZ4_AT(uint8_t, arg.dst_at) + p.i * arg.page_bytes;     \
        if (p.bytes == 0)                                                      \
            return;                                                            \
        struct sl_page_entry e = *p.entry;                                     \
        int code = lz4_unpack_entry(&arg, &p, &e, dst);                        \
        if (code == 1)                                                         \
            code = unpack(&ws->warp[p.warp],                                   \
                          LZ4_AT(const uint8_t, arg.src_at) + e.at_or_fill,    \
                          e.stored, dst, p.bytes);                             \
        lz4_unpacked(&p, dst, code);                                           \
    }

LZ4_UNPACK_KERNEL(k_lz4_unpack, lz4_unpack_block, LZ4_UNPACK_WARPS,
                  LZ4_UNPACK_BLOCKS, sl_lz4_decompress_warp)
LZ4_UNPACK_KERNEL(k_lz4_unpack_large, lz4_unpack_large_block,
                  LZ4_UNPACK_LARGE_WARPS, LZ4_UNPACK_LARGE_BLOCKS,
                  sl_lz4_decompress_large_warp)
