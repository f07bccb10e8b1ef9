/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Moving bytes between a caller's memory and a chunk, by all of a group.
 *
 * The chunk is the far side, behind the host link: it is always touched in
 * aligned 16-byte pieces, neighbouring ranks on neighbouring pieces, eight
 * pieces in flight for each rank (LIMITS.md: 4 blocks then fill the link).
 * The near side may have any alignment.
 */
#ifndef SLUICE_DEVICE_COPY_H
#define SLUICE_DEVICE_COPY_H

#if defined(SL_ON_HOST)
#include <string.h>
#endif

SL_FN struct slp_v16 slc_gather(const uint8_t *p)
{
    struct slp_v16 v;
    v.a = 0;
    v.b = 0;
    for (uint32_t i = 0; i < 8u; i++) {
        v.a |= (uint64_t)slp_ldb(p + i) << (8u * i);
        v.b |= (uint64_t)slp_ldb(p + 8u + i) << (8u * i);
    }
    return v;
}

SL_FN void slc_scatter(uint8_t *p, struct slp_v16 v)
{
    for (uint32_t i = 0; i < 8u; i++) {
        slp_stb(p + i, (uint8_t)(v.a >> (8u * i)));
        slp_stb(p + 8u + i, (uint8_t)(v.b >> (8u * i)));
    }
}

/* Both sides aligned 16; n pieces of 16 bytes. */
SL_FN void slc_pieces(const struct slg *g, uint8_t *dst, const uint8_t *src,
                      uint64_t n)
{
    uint64_t step = g->size;
    uint64_t i = g->rank;
    for (; i + 7u * step < n; i += 8u * step) {
        struct slp_v16 v[8];
#if defined(__CUDA__) || defined(__CUDACC__)
#pragma unroll
#endif
        for (uint32_t k = 0; k < 8u; k++)
            v[k] = slp_ldv(src + 16u * (i + k * step));
#if defined(__CUDA__) || defined(__CUDACC__)
#pragma unroll
#endif
        for (uint32_t k = 0; k < 8u; k++)
            slp_stv(dst + 16u * (i + k * step), v[k]);
    }
    for (; i < n; i += step)
        slp_stv(dst + 16u * i, slp_ldv(src + 16u * i));
}

SL_FN void slc_bytes(const struct slg *g, uint8_t *dst, const uint8_t *src,
                     uint64_t n)
{
    for (uint64_t i = g->rank; i < n; i += g->size)
        slp_stb(dst + i, slp_ldb(src + i));
}

/** Copies n bytes; far_dst: the chunk is dst, else it is src. */
SL_FN void slc_copy(const struct slg *g, uint8_t *dst, const uint8_t *src,
                    uint64_t n, int far_dst)
{
#if defined(SL_ON_HOST)
    if (g->size == 1) {
        if (n)
            memcpy(dst, src, n);
        return;
    }
#endif
    uint64_t far_at = (uint64_t)(uintptr_t)(far_dst ? dst : src);
    uint64_t near_at = (uint64_t)(uintptr_t)(far_dst ? src : dst);
    uint64_t head = (16u - (far_at & 15u)) & 15u;
    if (head > n)
        head = n;
    slc_bytes(g, dst, src, head);
    uint64_t pieces = (n - head) / 16u;
    if (((near_at + head) & 15u) == 0) {
        slc_pieces(g, dst + head, src + head, pieces);
    } else if (far_dst) {
        for (uint64_t i = g->rank; i < pieces; i += g->size)
            slp_stv(dst + head + 16u * i, slc_gather(src + head + 16u * i));
    } else {
        for (uint64_t i = g->rank; i < pieces; i += g->size)
            slc_scatter(dst + head + 16u * i, slp_ldv(src + head + 16u * i));
    }
    uint64_t done = head + 16u * pieces;
    slc_bytes(g, dst + done, src + done, n - done);
}

SL_FN void slc_zero(const struct slg *g, uint8_t *dst, uint64_t n)
{
    for (uint64_t i = g->rank; i < n; i += g->size)
        slp_stb(dst + i, 0);
}

#endif
