/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Kernels that measure what the hardware allows, beside the product's own
 * figures. Their argument structs, shared by host and device.
 *
 * Fields that end in _at are device addresses (sl_devptr of gpu/gpu.h).
 */
#ifndef SLUICE_KERNELS_LIMITS_H
#define SLUICE_KERNELS_LIMITS_H

#include "sluice/wire.h"

/** Written by k_pingpong at its end. */
struct k_pingpong_result {
    uint64_t ns;     /* device time of all rounds */
    uint32_t rounds; /* done; fewer than asked: the deadline passed */
    uint32_t reserved;
};

/**
 * k_pingpong: one thread. In round i = 1.. it stores i into the word `ping`
 * (release) and polls the word `pong` (acquire) until a CPU thread has stored
 * i there. Both words lie in pinned memory, 0 at the start, on lines of their
 * own. Ends after `timeout_ns` in any case.
 */
struct k_pingpong_args {
    uint64_t ping_at;
    uint64_t pong_at;
    uint64_t result_at; /* struct k_pingpong_result */
    uint64_t timeout_ns;
    uint32_t rounds;
    uint32_t reserved;
};

/**
 * k_page_put, k_page_get: how fast multiprocessors move pages to and from
 * pinned memory. Warp w moves the pages w, w + warps, ... below `count`; page i
 * of the device memory corresponds to page k_page_place(i) of the pinned
 * memory. Put writes pinned memory, get reads it. Indices wrap at 1 <<
 * pages_shift, the size of both memories; so with count <= that, each page is
 * moved once.
 */
struct k_page_args {
    uint64_t device_at; /* aligned 16 */
    uint64_t pinned_at; /* aligned 16 */
    uint64_t count;
    uint64_t seed;
    uint32_t pages_shift; /* 0 to 40 */
    uint32_t page_bytes;  /* multiple of 16 */
};

/** A permutation of the pages, random to the eye: neighbours land apart. */
SL_BOTH uint64_t k_page_place(uint64_t page, uint32_t pages_shift,
                              uint64_t seed)
{
    uint64_t mask = (UINT64_C(1) << pages_shift) - 1u;
    uint32_t half = pages_shift / 2u + 1u;
    uint64_t x = (page + seed) & mask;
    /* Odd factors and shifts to the right are one to one below the mask; the
     * factors are those of sl_mix64. */
    x = (x * UINT64_C(0xff51afd7ed558ccd)) & mask;
    x ^= x >> half;
    x = (x * UINT64_C(0xc4ceb9fe1a85ec53)) & mask;
    x ^= x >> half;
    return x;
}

#endif
