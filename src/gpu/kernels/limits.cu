/* SPDX-License-Identifier: Apache-2.0 */
#include "gpu/kernels/limits.h"

#include "sluice/device/port.h"

/* Pieces of 16 bytes that each lane has in flight: 4 KiB for a warp. */
#define LIMITS_DEPTH 8

/* Waits until the word holds `value` (partner: the CPU's release store). Tests
 * the clock at times only, which costs as much as a poll. 0: too late. */
SL_FN int limits_await(const uint32_t *word, uint32_t value, uint64_t deadline)
{
    for (uint32_t n = 1;; n++) {
        if (slp_load32(word) == value)
            return 1;
        if (n % 64u == 0 && slp_now() >= deadline)
            return 0;
        slp_pause(0);
    }
}

SL_KERNEL(k_pingpong, struct k_pingpong_args)
{
    uint32_t *ping = (uint32_t *)(uintptr_t)arg.ping_at;
    const uint32_t *pong = (const uint32_t *)(uintptr_t)arg.pong_at;
    struct k_pingpong_result *result =
        (struct k_pingpong_result *)(uintptr_t)arg.result_at;
    uint64_t start = slp_now();
    uint32_t done = 0;

    if (slp_block() != 0 || slp_thread() != 0)
        return;
    while (done < arg.rounds) {
        slp_store32(ping, done + 1u); /* partner: the CPU's acquire load */
        if (!limits_await(pong, done + 1u, start + arg.timeout_ns))
            break;
        done++;
    }
    result->ns = slp_now() - start;
    slp_store32(&result->rounds, done); /* read after the kernel's end */
}

/* One page by one warp: `lanes` threads, this one is `lane`. All loads of a
 * round are on their way before its first store needs one. */
SL_FN void limits_page(uint8_t *dst, const uint8_t *src, uint32_t bytes,
                       uint32_t lane, uint32_t lanes)
{
    uint32_t pieces = bytes / 16u;
    uint32_t i = lane;

    for (; i + (LIMITS_DEPTH - 1u) * lanes < pieces;
         i += LIMITS_DEPTH * lanes) {
        struct slp_v16 v[LIMITS_DEPTH];
        for (uint32_t k = 0; k < LIMITS_DEPTH; k++)
            v[k] = slp_ldv(src + 16u * (i + k * lanes));
        for (uint32_t k = 0; k < LIMITS_DEPTH; k++)
            slp_stv(dst + 16u * (i + k * lanes), v[k]);
    }
    for (; i < pieces; i += lanes)
        slp_stv(dst + 16u * i, slp_ldv(src + 16u * i));
}

SL_FN void limits_pages(const struct k_page_args *a, int put)
{
    uint8_t *device = (uint8_t *)(uintptr_t)a->device_at;
    uint8_t *pinned = (uint8_t *)(uintptr_t)a->pinned_at;
    uint64_t mask = (UINT64_C(1) << a->pages_shift) - 1u;
    uint32_t warps_of_block = (slp_threads() + 31u) / 32u;
    uint32_t first = slp_thread() & ~31u;
    uint32_t lanes = slp_threads() - first < 32u ? slp_threads() - first : 32u;
    uint64_t warps = (uint64_t)slp_blocks() * warps_of_block;
    uint64_t i = (uint64_t)slp_block() * warps_of_block + first / 32u;

    for (; i < a->count; i += warps) {
        uint64_t place = k_page_place(i & mask, a->pages_shift, a->seed);
        uint8_t *near_page = device + (i & mask) * a->page_bytes;
        uint8_t *far_page = pinned + place * a->page_bytes;
        limits_page(put ? far_page : near_page, put ? near_page : far_page,
                    a->page_bytes, slp_lane(), lanes);
    }
}

SL_KERNEL(k_page_put, struct k_page_args)
{
    limits_pages(&arg, 1);
}

SL_KERNEL(k_page_get, struct k_page_args)
{
    limits_pages(&arg, 0);
}
