/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What the two directions of device/lz4.h share: byte streams that are put
 * together from pieces, by all lanes at once.
 *
 * A piece is a run of bytes that lies somewhere, one behind the other: literals
 * of a page, literals of a block, the source of a match. Its start in the
 * stream is a bit of a map of SLZ_MAP_BYTES positions; its place is a distance,
 * source minus position in the stream. For 32 positions each lane counts the
 * starts up to its own, takes the distance of that piece and knows its byte's
 * source: nothing is done one piece after the other.
 */
#ifndef SLUICE_DEVICE_LZ4_COMMON_H
#define SLUICE_DEVICE_LZ4_COMMON_H

#if defined(__CUDA__) || defined(__CUDACC__) || defined(__HIP__)
#define SLZ_FN SL_FN __attribute__((always_inline))
#else
#define SLZ_FN static inline __attribute__((always_inline, unused))
#endif

/* Where an array is to lie in registers. */
#if defined(__CUDA__) || defined(__CUDACC__) || defined(__HIP__)
#define SLZ_UNROLL _Pragma("unroll")
#else
#define SLZ_UNROLL
#endif

#define SLZ_ALL 0xffffffffu /* every lane of a warp */
#define SLZ_LANES 32u

/* Numbers of the block format (lz4_Block_format.md). */
#define SLZ_MIN_MATCH 4u
#define SLZ_RUN_MASK 15u    /* a length of 15 goes on in the next bytes */
#define SLZ_END_LITERALS 5u /* the last bytes of a block are literals */
#define SLZ_END_MATCH 12u   /* the last match begins so far from the end */

/* Positions of the stream that the map covers at a time. */
#define SLZ_MAP_WORDS 32u
#define SLZ_MAP_BYTES (32u * SLZ_MAP_WORDS)

/* Added to the distance of pieces that lie in another memory than the others;
 * larger than any position. */
#define SLZ_ELSEWHERE (1u << 20)

/** 16 bytes that move in one access. */
struct slz_v16 {
    uint32_t w[4];
} __attribute__((aligned(16), may_alias));

struct slz_pieces {
    uint32_t map[SLZ_MAP_WORDS] __attribute__((aligned(16)));
    uint32_t away[2u * SLZ_LANES + 1u];
};

/** Bits of the lanes below this one. */
SLZ_FN uint32_t slz_below(uint32_t lane)
{
    return (1u << lane) - 1u;
}

/** Bits of the lanes up to this one. */
SLZ_FN uint32_t slz_upto(uint32_t lane)
{
    return (2u << lane) - 1u;
}

/** Sum over the lanes up to this one. */
SLZ_FN uint32_t slz_sum(uint32_t v, uint32_t lane)
{
    for (uint32_t d = 1; d < SLZ_LANES; d <<= 1) {
        uint32_t other = slp_shfl_up(SLZ_ALL, v, d);
        v += lane >= d ? other : 0u;
    }
    return v;
}

/** Largest over the lanes up to this one. */
SLZ_FN uint32_t slz_max(uint32_t v, uint32_t lane)
{
    for (uint32_t d = 1; d < SLZ_LANES; d <<= 1) {
        uint32_t other = slp_shfl_up(SLZ_ALL, v, d);
        v = lane >= d && other > v ? other : v;
    }
    return v;
}

/** Before the starts of the positions first .. first + SLZ_MAP_BYTES. */
SLZ_FN void slz_map_clear(struct slz_pieces *s, uint32_t lane)
{
    slp_syncwarp(SLZ_ALL);
    s->map[lane] = 0;
    slp_syncwarp(SLZ_ALL);
}

/** A piece starts at `at`, counted from the map's first position; those
 *  outside of the map are not its business. */
SLZ_FN void slz_map_start(struct slz_pieces *s, uint32_t at)
{
    if (at < SLZ_MAP_BYTES)
        slp_mark(&s->map[at / 32u], 1u << (at % 32u));
}

/**
 * The distance of this lane's byte among 32, whose starts are `bits`; `*n` is
 * the number of pieces that have started before, and is moved on.
 */
SLZ_FN uint32_t slz_away(const struct slz_pieces *s, uint32_t bits,
                         uint32_t lane, uint32_t *n)
{
    uint32_t i = *n + slp_popc(bits & slz_upto(lane));
    *n += slp_popc(bits);
    return s->away[i - 1u];
}

/**
 * Copies n bytes into shared memory. Pieces of 16 bytes where both sides can
 * be aligned together; only bytes of [src, src + n) are read. The caller
 * synchronises the warp after slp_fetched.
 */
SLZ_FN void slz_fetch(uint8_t *to, const uint8_t *src, uint32_t n,
                      uint32_t lane)
{
    uint32_t head = (0u - (uint32_t)(uintptr_t)src) & 15u;
    if ((((uint32_t)(uintptr_t)src ^ (uint32_t)(uintptr_t)to) & 15u) != 0)
        head = n;
    head = head < n ? head : n;
    uint32_t body = head + ((n - head) & ~15u);
    for (uint32_t i = lane; i < head; i += SLZ_LANES)
        to[i] = src[i];
    for (uint32_t i = head + 16u * lane; i < body; i += 16u * SLZ_LANES)
        slp_fetch16(to + i, src + i);
    if (body + lane < n)
        to[body + lane] = src[body + lane];
}

/** Copies n bytes out of shared memory; `from` is aligned 16. */
SLZ_FN void slz_flush(uint8_t *dst, const uint8_t *from, uint32_t n,
                      uint32_t lane)
{
    uint32_t body = ((uintptr_t)dst & 15u) == 0 ? n & ~15u : 0;
    for (uint32_t i = 16u * lane; i < body; i += 16u * SLZ_LANES)
        *(struct slz_v16 *)(void *)(dst + i) =
            *(const struct slz_v16 *)(const void *)(from + i);
    for (uint32_t i = body + lane; i < n; i += SLZ_LANES)
        dst[i] = from[i];
}

/* 16 bytes of any alignment, of which the words that hold them are read. */
SLZ_FN struct slz_v16 slz_load16(const uint8_t *p)
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
SLZ_FN void slz_move(uint8_t *dst, const uint8_t *src, uint32_t n,
                     uint32_t lane)
{
    uint32_t head = (0u - (uint32_t)(uintptr_t)dst) & 15u;
    head = head < n ? head : n;
    /* The piece before the last byte's may read words to their end. */
    uint32_t body = n - head < 20u ? head : head + ((n - head - 4u) & ~15u);
    if (lane < head)
        dst[lane] = src[lane];
    for (uint32_t i = head + 16u * lane; i < body; i += 512u)
        *(struct slz_v16 *)(void *)(dst + i) = slz_load16(src + i);
    if (body + lane < n)
        dst[body + lane] = src[body + lane];
}

#endif
