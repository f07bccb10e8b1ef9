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
    uint32_t part;
    uint32_t warp; /* of the block */
    uint32_t lane;
    uint32_t bytes; /* 0: there is none for this warp */
    struct sl_page_entry *entry;
};

/* Of several warps a page, each has a part. */
SL_FN struct lz4_page lz4_page_of(const struct k_lz4_args *a, uint32_t parts)
{
    struct lz4_page p;
    uint32_t warps = slp_threads() / 32u;
    p.warp = slp_thread() / 32u;
    p.lane = slp_lane();
    uint64_t i = (uint64_t)slp_block() * warps + p.warp;
    p.i = i / parts;
    p.part = (uint32_t)(i % parts);
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
    if (p->part == 0)
        lz4_entry(p, 0, fill ? SL_PAGE_FILL : SL_PAGE_ZERO, fill);
    return 1;
}

/* Kernels end by divergent warps, never lanes. */
#define LZ4_PACK_KERNEL(name, block_type, warps, blocks, pack, mode)           \
    SL_KERNEL_FOR(name, struct k_lz4_args, 32u * (warps), blocks)              \
    {                                                                          \
        SL_SHARED(struct block_type, ws);                                      \
        struct lz4_page p = lz4_page_of(&arg, 1);                              \
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

/* ---- compress, several warps a page ---- */

SL_FN struct sl_lz4_part *lz4_record(const struct k_lz4_args *a,
                                     const struct lz4_page *p)
{
    return LZ4_AT(struct sl_lz4_part, a->records_at) + p->i * a->parts;
}

SL_FN uint8_t *lz4_area(const struct k_lz4_args *a, const struct lz4_page *p)
{
    return LZ4_AT(uint8_t, a->slots_at) +
           (p->i * a->parts + p->part) * LZ4_AREA(a->part_bytes);
}

/* Where the part begins and ends; both are the page's end when it has none. */
SL_FN void lz4_range(const struct k_lz4_args *a, const struct lz4_page *p,
                     uint32_t *range)
{
    uint32_t at = p->part * a->part_bytes;
    range[0] = at < p->bytes ? at : p->bytes;
    at += a->part_bytes;
    range[1] = at < p->bytes ? at : p->bytes;
}

/* The entry says that there are parts; k_lz4_places makes it whole. */
#define LZ4_PART_KERNEL(name, block_type, warps, blocks, pack, mode)           \
    SL_KERNEL_FOR(name, struct k_lz4_args, 32u * (warps), blocks)              \
    {                                                                          \
        SL_SHARED(struct block_type, ws);                                      \
        struct lz4_page p = lz4_page_of(&arg, arg.parts);                      \
        const uint8_t *src =                                                   \
            LZ4_AT(const uint8_t, arg.src_at) + p.i * arg.page_bytes;          \
        uint32_t range[2];                                                     \
        struct sl_lz4_part part = {0, 0, 0, 0};                                \
        if (p.bytes == 0 || lz4_pack_fill(&p, src))                            \
            return;                                                            \
        if (p.part == 0)                                                       \
            lz4_entry(&p, 0, SL_PAGE_LZ4, 0);                                  \
        lz4_range(&arg, &p, range);                                            \
        if (range[0] != range[1])                                              \
            pack(&ws->warp[p.warp], src, p.bytes, range, lz4_area(&arg, &p),   \
                 mode, &part);                                                 \
        if (p.lane == 0)                                                       \
            lz4_record(&arg, &p)[p.part] = part;                               \
    }

LZ4_PART_KERNEL(k_lz4_part, lz4_pack_block, LZ4_PACK_WARPS, LZ4_PACK_BLOCKS,
                sl_lz4_part_warp, SL_LZ4_DEFAULT)
LZ4_PART_KERNEL(k_lz4_part_fast, lz4_pack_block, LZ4_PACK_WARPS,
                LZ4_PACK_BLOCKS, sl_lz4_part_warp, SL_LZ4_FAST)
LZ4_PART_KERNEL(k_lz4_part_large, lz4_pack_large_block, LZ4_PACK_LARGE_WARPS,
                LZ4_PACK_LARGE_BLOCKS, sl_lz4_part_large_warp, SL_LZ4_DEFAULT)
LZ4_PART_KERNEL(k_lz4_part_large_fast, lz4_pack_large_block,
                LZ4_PACK_LARGE_WARPS, LZ4_PACK_LARGE_BLOCKS,
                sl_lz4_part_large_warp, SL_LZ4_FAST)

/* This lane's part, and where it lies. */
SL_FN struct sl_lz4_join lz4_join(const struct k_lz4_args *a,
                                  const struct lz4_page *p,
                                  struct sl_lz4_part *part)
{
    struct sl_lz4_part none = {0, 0, 0, 0};
    *part = p->lane < a->parts ? lz4_record(a, p)[p->lane] : none;
    return sl_lz4_join_warp(*part, p->bytes);
}

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

/* Sum over the block's threads, whole warps, up to this one; *all is that of
 * all. */
SL_FN uint64_t lz4_sum_block(struct lz4_sums *s, uint64_t v, uint64_t *all)
{
    uint32_t lane = slp_lane(), warp = slp_thread() / 32u;
    uint32_t warps = slp_threads() / 32u;
    v = lz4_sum_up(v, lane);
    if (lane == 31u)
        s->warp[warp] = v;
    slp_syncblock();
    if (warp == 0)
        s->warp[lane] = lz4_sum_up(lane < warps ? s->warp[lane] : 0u, lane);
    slp_syncblock();
    v += warp ? s->warp[warp - 1u] : 0u;
    *all = s->warp[31];
    slp_syncblock();
    return v;
}

/* Each entry's place among those of its block; the sum of the block. */
SL_KERNEL_FOR(k_lz4_sum, struct k_lz4_args, LZ4_SUM_PAGES, 1)
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
SL_KERNEL_FOR(k_lz4_base, struct k_lz4_args, LZ4_SUM_PAGES, 1)
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

/* By one thread: the bytes of a page that has parts, and its kind. */
SL_FN uint64_t lz4_joined(const struct k_lz4_args *a, uint64_t i,
                          struct sl_page_entry *e)
{
    uint64_t left = a->bytes - i * a->page_bytes;
    uint32_t n = left < a->page_bytes ? (uint32_t)left : a->page_bytes;
    uint32_t block = sl_lz4_join_bytes(
        LZ4_AT(const struct sl_lz4_part, a->records_at) + i * a->parts,
        a->parts, n);
    e->stored = block < n ? block : n;
    e->kind = block < n ? SL_PAGE_LZ4 : SL_PAGE_RAW;
    return e->stored;
}

/* k_lz4_sum and k_lz4_base in one, by one block, which is smaller where that is
 * enough for all pages; joins parts first. */
SL_KERNEL_FOR(k_lz4_places, struct k_lz4_args, LZ4_SUM_PAGES, 1)
{
    SL_SHARED(struct lz4_sums, sums);
    uint64_t base = 0;
    for (uint64_t first = 0; first < arg.n; first += LZ4_SUM_PAGES) {
        uint64_t i = first + slp_thread(), all, stored = 0;
        struct sl_page_entry *e =
            LZ4_AT(struct sl_page_entry, arg.entries_at) + i;
        if (i < arg.n)
            stored = arg.parts > 1u && e->kind == SL_PAGE_LZ4
                         ? lz4_joined(&arg, i, e)
                         : e->stored;
        uint64_t sum = lz4_sum_block(sums, stored, &all);
        if (stored)
            e->at_or_fill = sum - stored;
        if (slp_thread() == 0)
            LZ4_AT(uint64_t, arg.sums_at)[first / LZ4_SUM_PAGES] = base;
        base += all;
    }
    if (slp_thread() == 0)
        *LZ4_AT(uint64_t, arg.total_at) = base;
}

SL_KERNEL(k_lz4_gather, struct k_lz4_args)
{
    struct lz4_page p = lz4_page_of(&arg, 1);
    if (p.bytes == 0 || p.entry->stored == 0)
        return;
    uint64_t at = p.entry->at_or_fill +
                  LZ4_AT(const uint64_t, arg.sums_at)[p.i / LZ4_SUM_PAGES];
    const uint8_t *src =
        p.entry->kind == SL_PAGE_RAW
            ? LZ4_AT(const uint8_t, arg.src_at) + p.i * arg.page_bytes
            : LZ4_AT(const uint8_t, arg.slots_at) +
                  p.i * LZ4_SLOT(arg.page_bytes);
    slz_move(LZ4_AT(uint8_t, arg.dst_at) + at, src, p.entry->stored, p.lane);
    slp_syncwarp(SLZ_ALL); /* all lanes have read the entry */
    if (p.lane == 0)
        p.entry->at_or_fill = at;
}

SL_FN void lz4_gather_part(const struct k_lz4_args *a, const struct lz4_page *p,
                           uint8_t *dst)
{
    const uint8_t *src =
        LZ4_AT(const uint8_t, a->src_at) + p->i * a->page_bytes;
    struct sl_lz4_part part;
    uint32_t range[2];
    lz4_range(a, p, range);
    if (p->entry->kind == SL_PAGE_RAW) {
        slz_move(dst + range[0], src + range[0], range[1] - range[0], p->lane);
        return;
    }
    struct sl_lz4_join j = lz4_join(a, p, &part);
    sl_lz4_join_part_warp(&j, &part, p->part, src, lz4_area(a, p), dst);
    if (p->part == a->parts - 1u)
        sl_lz4_join_rest_warp(&j, src, p->bytes, dst);
}

/* A warp for each part; all of a page are in one block. */
SL_KERNEL(k_lz4_gather_parts, struct k_lz4_args)
{
    struct lz4_page p = lz4_page_of(&arg, arg.parts);
    int some = p.bytes != 0 && p.entry->stored != 0;
    uint64_t at = 0;
    if (some)
        at = p.entry->at_or_fill +
             LZ4_AT(const uint64_t, arg.sums_at)[p.i / LZ4_SUM_PAGES];
    slp_syncblock(); /* all warps have read the entry's place */
    if (!some)
        return;
    if (p.lane == 0 && p.part == 0)
        p.entry->at_or_fill = at;
    lz4_gather_part(&arg, &p, LZ4_AT(uint8_t, arg.dst_at) + at);
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
 * decoded, else 0 or SL_EBLOCK. Of several warps each writes its part. */
SL_FN int lz4_unpack_entry(const struct k_lz4_args *a, const struct lz4_page *p,
                           const struct sl_page_entry *e, uint8_t *dst)
{
    uint32_t range[2];
    lz4_range(a, p, range);
    uint32_t at = range[0], n = range[1] - at;
    if (e->kind == SL_PAGE_ZERO || e->kind == SL_PAGE_FILL) {
        lz4_fill(dst + at, n, e->kind == SL_PAGE_FILL ? e->at_or_fill : 0u,
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
    slz_move(dst + at, LZ4_AT(const uint8_t, a->src_at) + e->at_or_fill + at, n,
             p->lane);
    return 0;
}

SL_FN void lz4_unpacked(const struct k_lz4_args *a, const struct lz4_page *p,
                        uint8_t *dst, int code)
{
    uint32_t range[2];
    lz4_range(a, p, range);
    slp_syncwarp(SLZ_ALL);
    if (code)
        lz4_fill(dst + range[0], range[1] - range[0], 0, p->lane);
    if (p->lane != 0 || p->part != 0)
        return;
    p->entry->code = (int16_t)code;
    if (code && a->total_at)
        slp_store64(LZ4_AT(uint64_t, a->total_at), 1);
}

#define LZ4_UNPACK_KERNEL(name, block_type, warps, blocks, unpack)             \
    SL_KERNEL_FOR(name, struct k_lz4_args, 32u * (warps), blocks)              \
    {                                                                          \
        SL_SHARED(struct block_type, ws);                                      \
        struct lz4_page p = lz4_page_of(&arg, 1);                              \
        uint8_t *dst = LZ4_AT(uint8_t, arg.dst_at) + p.i * arg.page_bytes;     \
        if (p.bytes == 0)                                                      \
            return;                                                            \
        struct sl_page_entry e = *p.entry;                                     \
        int code = lz4_unpack_entry(&arg, &p, &e, dst);                        \
        if (code == 1)                                                         \
            code = unpack(&ws->warp[p.warp],                                   \
                          LZ4_AT(const uint8_t, arg.src_at) + e.at_or_fill,    \
                          e.stored, dst, p.bytes);                             \
        lz4_unpacked(&arg, &p, dst, code);                                     \
    }

LZ4_UNPACK_KERNEL(k_lz4_unpack, lz4_unpack_block, LZ4_UNPACK_WARPS,
                  LZ4_UNPACK_BLOCKS, sl_lz4_decompress_warp)
LZ4_UNPACK_KERNEL(k_lz4_unpack_large, lz4_unpack_large_block,
                  LZ4_UNPACK_LARGE_WARPS, LZ4_UNPACK_LARGE_BLOCKS,
                  sl_lz4_decompress_large_warp)

/* One page a block; all its warps do the same until there is a code. */
SL_KERNEL_FOR(k_lz4_unpack_team, struct k_lz4_args, SL_LZ4_TEAM,
              LZ4_TEAM_BLOCKS)
{
    SL_SHARED(struct sl_lz4_unpack_team, ws);
    struct lz4_page p = lz4_page_of(&arg, SL_LZ4_TEAM_WARPS);
    uint8_t *dst = LZ4_AT(uint8_t, arg.dst_at) + p.i * arg.page_bytes;
    struct sl_page_entry e = *p.entry;
    int code = lz4_unpack_entry(&arg, &p, &e, dst);
    if (code == 1)
        code = sl_lz4_decompress_team(
            ws, LZ4_AT(const uint8_t, arg.src_at) + e.at_or_fill, e.stored, dst,
            p.bytes);
    slp_syncblock(); /* all warps have read the entry */
    lz4_unpacked(&arg, &p, dst, code);
}
