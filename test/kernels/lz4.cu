/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/lz4.h"

#include "sluice/device/lz4.h"

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
