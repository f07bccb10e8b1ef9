/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/lz4.h"

#include "sluice/device/lz4_part.h"
#include "sluice/device/lz4_team.h"

#define LZ4_AT(type, at) ((type *)(uintptr_t)(at))

struct lz4_small {
    union {
        struct sl_lz4_pack pack;
        struct sl_lz4_unpack unpack;
    } warp[CHECK_LZ4_WARPS];
};

union lz4_large {
    struct sl_lz4_pack_large pack;
    struct sl_lz4_unpack_large unpack;
};

struct lz4_parts {
    struct sl_lz4_pack pack[CHECK_LZ4_PARTS];
    uint8_t area[CHECK_LZ4_PARTS]
                [SL_LZ4_PART_ROOM(SL_LZ4_SMALL / CHECK_LZ4_PARTS)];
    struct sl_lz4_part part[CHECK_LZ4_PARTS];
};

union lz4_team {
    struct sl_lz4_unpack_team unpack;
    struct lz4_parts parts;
};

SL_FN uint32_t check_lz4_warp(void)
{
    return slp_thread() / 32u;
}

SL_KERNEL(k_check_lz4, struct check_lz4_args)
{
    SL_SHARED(struct lz4_small, small);
    uint32_t warp = check_lz4_warp();
    uint64_t i = slp_block() * CHECK_LZ4_WARPS + warp;
    for (; i < arg.n_jobs; i += slp_blocks() * CHECK_LZ4_WARPS) {
        struct check_lz4_job *j = LZ4_AT(struct check_lz4_job, arg.jobs_at) + i;
        const uint8_t *src = LZ4_AT(const uint8_t, j->src_at);
        uint8_t *dst = LZ4_AT(uint8_t, j->dst_at);
        int code = SL_ENOSYS;
        if (j->what == CHECK_LZ4_UNPACK)
            code = sl_lz4_decompress_warp(&small->warp[warp].unpack, src, j->n,
                                          dst, j->room);
        else if (j->what == CHECK_LZ4_PACK)
            code = sl_lz4_compress_warp(&small->warp[warp].pack, src, j->n, dst,
                                        j->room, SL_LZ4_DEFAULT);
        else if (j->what == CHECK_LZ4_FAST)
            code = sl_lz4_compress_warp(&small->warp[warp].pack, src, j->n, dst,
                                        j->room, SL_LZ4_FAST);
        if (slp_lane() == 0)
            j->code = code;
        slp_syncwarp(slp_lanes());
    }
}

SL_KERNEL(k_check_lz4_large, struct check_lz4_args)
{
    SL_SHARED(union lz4_large, large);
    for (uint64_t i = slp_block(); i < arg.n_jobs; i += slp_blocks()) {
        struct check_lz4_job *j = LZ4_AT(struct check_lz4_job, arg.jobs_at) + i;
        const uint8_t *src = LZ4_AT(const uint8_t, j->src_at);
        uint8_t *dst = LZ4_AT(uint8_t, j->dst_at);
        int code = SL_ENOSYS;
        if (j->what == CHECK_LZ4_UNPACK)
            code = sl_lz4_decompress_large_warp(&large->unpack, src, j->n, dst,
                                                j->room);
        else if (j->what == CHECK_LZ4_PACK)
            code = sl_lz4_compress_large_warp(&large->pack, src, j->n, dst,
                                              j->room, SL_LZ4_DEFAULT);
        else if (j->what == CHECK_LZ4_FAST)
            code = sl_lz4_compress_large_warp(&large->pack, src, j->n, dst,
                                              j->room, SL_LZ4_FAST);
        if (slp_lane() == 0)
            j->code = code;
        slp_syncwarp(slp_lanes());
    }
}

/* One part of a page; of a short page some have none. */
SL_FN void check_lz4_part(struct lz4_parts *ws, const struct check_lz4_job *j,
                          uint32_t k)
{
    uint32_t unit = CHECK_LZ4_PARTS * SL_LZ4_PART_MIN;
    uint32_t each = (j->n + unit - 1u) / unit * SL_LZ4_PART_MIN;
    uint32_t range[2] = {k * each, (k + 1u) * each};
    const uint8_t *src = LZ4_AT(const uint8_t, j->src_at);
    struct sl_lz4_part part = {0, 0, 0, 0};
    range[1] = range[1] < j->n ? range[1] : j->n;
    if (range[0] < j->n && j->what == CHECK_LZ4_PACK)
        sl_lz4_part_warp(&ws->pack[k], src, j->n, range, ws->area[k],
                         SL_LZ4_DEFAULT, &part);
    else if (range[0] < j->n)
        sl_lz4_part_warp(&ws->pack[k], src, j->n, range, ws->area[k],
                         SL_LZ4_FAST, &part);
    if (slp_lane() == 0)
        ws->part[k] = part;
}

/* By all warps: the parts, and the block that they join to. */
SL_FN int check_lz4_parts(struct lz4_parts *ws, const struct check_lz4_job *j)
{
    const void *src = LZ4_AT(const void, j->src_at);
    void *dst = LZ4_AT(void, j->dst_at);
    uint32_t k = check_lz4_warp(), lane = slp_lane();
    struct sl_lz4_part part = {0, 0, 0, 0};
    if (j->n > SL_LZ4_SMALL)
        return SL_EINVAL;
    if (k < CHECK_LZ4_PARTS)
        check_lz4_part(ws, j, k);
    slp_syncblock();
    if (lane < CHECK_LZ4_PARTS)
        part = ws->part[lane];
    struct sl_lz4_join join = sl_lz4_join_warp(part, j->n);
    uint32_t bytes = sl_lz4_join_bytes(ws->part, CHECK_LZ4_PARTS, j->n);
    if (join.total != bytes)
        return SL_EINVAL;
    if (bytes > j->room)
        return SL_ENOSPC;
    if (k < CHECK_LZ4_PARTS)
        sl_lz4_join_part_warp(&join, &part, k, src, ws->area[k], dst);
    else if (k == CHECK_LZ4_PARTS)
        sl_lz4_join_rest_warp(&join, src, j->n, dst);
    return (int)bytes;
}

SL_KERNEL(k_check_lz4_team, struct check_lz4_args)
{
    SL_SHARED(union lz4_team, team);
    for (uint64_t i = slp_block(); i < arg.n_jobs; i += slp_blocks()) {
        struct check_lz4_job *j = LZ4_AT(struct check_lz4_job, arg.jobs_at) + i;
        int code;
        if (j->what == CHECK_LZ4_UNPACK)
            code = sl_lz4_decompress_team(&team->unpack,
                                          LZ4_AT(const void, j->src_at), j->n,
                                          LZ4_AT(void, j->dst_at), j->room);
        else
            code = check_lz4_parts(&team->parts, j);
        slp_syncblock();
        if (slp_thread() == 0)
            j->code = code;
    }
}
