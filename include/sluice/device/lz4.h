/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * LZ4 blocks by one warp: compress a page, decompress a block.
 *
 * For kernels (CUDA, HIP) and for the `host` device. The blocks are those of
 * liblz4 (lz4_Block_format.md): it decodes what is made here and the other way
 * round. Usual order: declare a workspace for each warp in shared memory, call
 * with all 32 lanes, look at the result.
 *
 *   SL_SHARED(struct work, w);       // struct sl_lz4_pack pack[4], say
 *   int n = sl_lz4_compress_warp(&w->pack[warp], src, 4096, dst, 4095);
 *
 * What it does not do: frames, dictionaries, matches into another page.
 *
 * All 32 lanes of a warp call together with equal arguments and get the same
 * result. A workspace is needed during the call only, its content does not
 * matter. src, dst and the workspace do not overlap, but for
 * sl_lz4_decompress_warp, which has read src before it writes dst. src and dst
 * are device memory of any alignment; both aligned to 16 is fastest. What a lane wrote to
 * src before a slp_syncwarp is read; what is written to dst is seen by all
 * lanes after the call.
 */
#ifndef SLUICE_DEVICE_LZ4_H
#define SLUICE_DEVICE_LZ4_H

#include "port.h"

/** Largest page (the window of LZ4), and the largest that has all its bytes in
 *  shared memory while it is worked on. */
#define SL_LZ4_MAX 65536u
#define SL_LZ4_SMALL 4096u

/** Bytes that a block of n bytes needs at most, as LZ4_compressBound. */
#define SL_LZ4_BOUND(n) ((n) + (n) / 255u + 16u)

#include "lz4_pack.h"
#include "lz4_unpack.h"

SLZ_FN struct slz_unpack slz_unpack_of(void *dst, uint32_t size)
{
    struct slz_unpack u;
    u.dst = (uint8_t *)dst;
    u.lane = slp_lane();
    u.size = size;
    return u;
}

/**
 * Decompresses the block src[0, n) to dst[0, size); `size` is exactly that of
 * the page, at most SL_LZ4_SMALL.
 *
 * Returns 0, SL_EINVAL (size), or SL_EBLOCK: the block is damaged or gives
 * another number of bytes, and dst is undefined. The block may be hostile:
 * nothing outside of src[0, n) is read, nothing outside of dst[0, size)
 * written, and the time is bounded.
 */
SLZ_FN int sl_lz4_decompress_warp(struct sl_lz4_unpack *ws, const void *src,
                                  uint32_t n, void *dst, uint32_t size)
{
    struct slz_unpack u = slz_unpack_of(dst, size);
    if (size > SL_LZ4_SMALL)
        return SL_EINVAL;
    if (n == 0 || n > size + SLZ_EXCESS(size))
        return SL_EBLOCK;
    return slz_unpack_small(&u, ws, (const uint8_t *)src, n);
}

/** As sl_lz4_decompress_warp, for pages up to SL_LZ4_MAX. It executes more for
 *  each byte and reads output again from device memory: for pages above
 *  SL_LZ4_SMALL. */
SLZ_FN int sl_lz4_decompress_large_warp(struct sl_lz4_unpack_large *ws,
                                        const void *src, uint32_t n, void *dst,
                                        uint32_t size)
{
    struct slz_unpack u = slz_unpack_of(dst, size);
    if (size > SL_LZ4_MAX)
        return SL_EINVAL;
    if (n == 0 || n > size + SLZ_EXCESS(size))
        return SL_EBLOCK;
    return slz_unpack_large(&u, ws, (const uint8_t *)src, n);
}

/** Speed against ratio. */
enum sl_lz4_mode {
    SL_LZ4_DEFAULT = 0, /* about the ratio of liblz4's level 1 */
    SL_LZ4_FAST = 1     /* looks at every second position */
};

SLZ_FN struct slz_pack slz_pack_of(const void *src, uint32_t n, void *dst,
                                   uint32_t cap, int mode)
{
    struct slz_pack c;
    c.src = (const uint8_t *)src;
    c.dst = (uint8_t *)dst;
    c.lane = slp_lane();
    c.n = n;
    c.cap = cap;
    c.op = 0;
    c.anchor = 0;
    c.seqs = 0;
    c.seg = 0;
    c.part = 0;
    c.begin = 0;
    c.end = n;
    c.first = 0;
    c.nibble = 0;
    c.step = mode == SL_LZ4_FAST ? 2u : 1u;
    return c;
}

/**
 * Compresses the page src[0, n), n <= SL_LZ4_SMALL, to a block in dst[0, cap).
 * `mode` is enum sl_lz4_mode and should be a constant: each one that is used is
 * compiled.
 *
 * Returns the bytes of the block, at least 1; or SL_EINVAL (n), or SL_ENOSPC:
 * it is larger than `cap`, which it never is when that is SL_LZ4_BOUND(n), and
 * dst is undefined. The same page gives the same block on one kind of device.
 */
SLZ_FN int sl_lz4_compress_warp(struct sl_lz4_pack *ws, const void *src,
                                uint32_t n, void *dst, uint32_t cap, int mode)
{
    struct slz_pack c = slz_pack_of(src, n, dst, cap, mode);
    if (n > SL_LZ4_SMALL)
        return SL_EINVAL;
    slz_open_small(&c, ws);
    return slz_pack_page(&c);
}

/** As sl_lz4_compress_warp, for pages up to SL_LZ4_MAX. The workspace is larger,
 *  so fewer warps run at once: for pages above SL_LZ4_SMALL. */
SLZ_FN int sl_lz4_compress_large_warp(struct sl_lz4_pack_large *ws,
                                      const void *src, uint32_t n, void *dst,
                                      uint32_t cap, int mode)
{
    struct slz_pack c = slz_pack_of(src, n, dst, cap, mode);
    if (n > SL_LZ4_MAX)
        return SL_EINVAL;
    slz_open_large(&c, ws);
    return slz_pack_page(&c);
}

#endif
