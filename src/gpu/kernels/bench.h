/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The kernels of `sluice bench` that measure Sluice, and the ring that bounds
 * what tasks can reach. Types that the host fills and the kernel reads; fields
 * that end in _at are addresses of the device.
 */
#ifndef SLUICE_KERNELS_BENCH_H
#define SLUICE_KERNELS_BENCH_H

#include "gpu/kernels/clock.h"
#include "sluice/device.h"

/* "blob-%08x" and padding: the names lie apart by this much. */
#define BENCH_NAME_STRIDE 16u
#define BENCH_NAME_LEN 13u

/** In device memory, zeroed before each kernel. */
struct bench_state {
    uint64_t errors; /* operations that failed, or gave other bytes */
    int64_t first_code;
    uint64_t tickets; /* of k_bench_ring */
    struct kernel_clock clock;
};

/** k_bench_noop: each thread has `per` no-op tasks served, one by one. */
struct bench_noop_args {
    struct sl_dev dev;
    uint64_t per;
    uint64_t every;   /* one task in so many is timed */
    uint64_t keep;    /* of these, so many for each thread: ceil(per / every) */
    uint64_t took_at; /* uint64_t, threads * keep, in ticks */
    uint64_t state_at; /* struct bench_state */
};

/**
 * k_bench_fill: writes the pages and names of `blobs` blobs. k_bench_put and
 * k_bench_get: warp w does the operations w, w + warps, ... below `ops`;
 * operation i is on blob order[i]. A get goes to page w of `pages_at` and
 * checks the first and the last word.
 */
struct bench_blob_args {
    struct sl_dev dev;
    uint64_t tag;
    uint64_t pages_at; /* of `size` bytes each */
    uint64_t names_at; /* char, BENCH_NAME_STRIDE each */
    uint64_t order_at; /* uint32_t, ops */
    uint64_t took_at;  /* uint64_t, ops, in ticks */
    uint64_t state_at; /* struct bench_state */
    uint64_t blobs, ops;
    uint64_t size;  /* bytes of a blob, a multiple of 16 */
    uint64_t fresh; /* k_bench_text, _get_lz4: of 256 phrases so many are new */
};

/** Warps of a block of k_bench_put_lz4 and k_bench_get_lz4, which are as
 *  k_bench_put and k_bench_get but code on the device; size <= SL_LZ4_SMALL. */
#define BENCH_LZ4_WARPS 4u

/** What word `i` of a blob holds. */
SL_BOTH uint64_t bench_word(uint64_t blob, uint64_t i)
{
    return sl_mix64((blob << 32) ^ i ^ UINT64_C(0x9e3779b97f4a7c15));
}

/** The same of text: phrases of two words, few of which return often. */
SL_BOTH uint64_t bench_text(uint64_t blob, uint64_t i, uint64_t fresh)
{
    uint64_t h = bench_word(blob, i / 2u);
    uint64_t phrase = (h & 255u) < fresh ? h : h >> 61;
    uint64_t letters = sl_mix64(phrase * 2u + (i & 1u));
    return (letters & UINT64_C(0x0f0f0f0f0f0f0f0f)) +
           UINT64_C(0x6161616161616161);
}

/* A descriptor of the bare ring: 64 bytes, its last word says whose it is. */
#define BENCH_RING_STRIDE 64u
#define BENCH_RING_LAST 56u
SL_BOTH uint64_t bench_ring_word(uint32_t ticket, uint32_t lap)
{
    return ((uint64_t)lap << 32) | ticket;
}

/**
 * k_bench_ring: the limit of tasks. Each thread writes a descriptor into a ring
 * in pinned memory and waits until a CPU thread has stored its lap into the
 * completion word, `per` times. A warp takes 32 tickets by one addition, so
 * blocks are multiples of 32 threads and entries of 32.
 */
struct bench_ring_args {
    uint64_t ring_at;        /* 64 bytes each, zeroed */
    uint64_t completions_at; /* uint32_t each, zeroed */
    uint64_t state_at;       /* struct bench_state */
    uint64_t per;
    uint64_t timeout_ns;
    uint32_t shift; /* log2 of entries, >= threads of the grid */
    uint32_t reserved;
};

#endif
