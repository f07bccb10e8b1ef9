/* SPDX-License-Identifier: Apache-2.0 */
#include "gpu/kernels/bench.h"

#include "sluice/device/lz4_blob.h"

#define BENCH_CLOCK(at)                                                        \
    kernel_clock_read(&((struct bench_state *)(uintptr_t)arg.state_at)->clock, \
                      at)

/* The first failure's code is kept; the host reads after the kernel's end. */
SL_FN void bench_failed(uint64_t state_at, int rc)
{
    struct bench_state *s = (struct bench_state *)(uintptr_t)state_at;
    if (slp_add(&s->errors, 1) == 0)
        s->first_code = rc;
}

SL_FN uint64_t bench_warp(void)
{
    return (uint64_t)slp_block() * (slp_threads() / 32u) + slp_thread() / 32u;
}

SL_FN uint64_t bench_warps(void)
{
    return (uint64_t)slp_blocks() * (slp_threads() / 32u);
}

/* ---- no-op tasks ---- */

SL_KERNEL(k_bench_noop, struct bench_noop_args)
{
    uint64_t thread = (uint64_t)slp_block() * slp_threads() + slp_thread();
    uint64_t *took = (uint64_t *)(uintptr_t)arg.took_at + thread * arg.keep;
    /* Neighbouring warps speak to different lanes. */
    uint32_t lane = (uint32_t)(thread / 32u);
    BENCH_CLOCK(0);
    for (uint64_t k = 0; k < arg.per; k++) {
        uint64_t began = slp_ticks();
        int rc = sl_noop_thread(&arg.dev, lane);
        if (k % arg.every == 0)
            took[k / arg.every] = slp_ticks() - began;
        if (rc)
            bench_failed(arg.state_at, rc);
    }
    BENCH_CLOCK(1);
}

/* ---- blobs ---- */

SL_FN struct sl_key bench_key(const struct bench_blob_args *a, uint32_t blob)
{
    const char *name = (const char *)(uintptr_t)a->names_at;
    return sl_key_make(a->tag, name + (uint64_t)blob * BENCH_NAME_STRIDE,
                       BENCH_NAME_LEN);
}

SL_FN void bench_name(char *to, uint64_t blob)
{
    to[0] = 'b';
    to[1] = 'l';
    to[2] = 'o';
    to[3] = 'b';
    to[4] = '-';
    for (uint32_t i = 0; i < 8u; i++) {
        uint32_t digit = (uint32_t)(blob >> (28u - 4u * i)) & 15u;
        to[5u + i] = (char)(digit < 10u ? 48u + digit : 87u + digit);
    }
}

SL_KERNEL(k_bench_fill, struct bench_blob_args)
{
    uint64_t words = arg.size / 8u;
    for (uint64_t b = bench_warp(); b < arg.blobs; b += bench_warps()) {
        uint64_t *page = (uint64_t *)(uintptr_t)(arg.pages_at + b * arg.size);
        for (uint64_t i = slp_lane(); i < words; i += 32u)
            page[i] = bench_word(b, i);
        if (slp_lane() == 0)
            bench_name((char *)(uintptr_t)arg.names_at + b * BENCH_NAME_STRIDE,
                       b);
    }
}

SL_FN void bench_note(const struct bench_blob_args *a, uint64_t i, int rc,
                      uint64_t began)
{
    if (slp_lane() != 0)
        return;
    ((uint64_t *)(uintptr_t)a->took_at)[i] = slp_ticks() - began;
    if (rc)
        bench_failed(a->state_at, rc);
}

SL_KERNEL(k_bench_put, struct bench_blob_args)
{
    const uint32_t *order = (const uint32_t *)(uintptr_t)arg.order_at;
    struct sl_how how = sl_how_default();
    how.flags = SL_F_REPLACE;
    BENCH_CLOCK(0);
    for (uint64_t i = bench_warp(); i < arg.ops; i += bench_warps()) {
        uint32_t blob = order[i];
        const uint8_t *page =
            (const uint8_t *)(uintptr_t)(arg.pages_at + blob * arg.size);
        uint64_t began = slp_ticks();
        int rc = sl_put_warp(&arg.dev, bench_key(&arg, blob), 0, page, arg.size,
                             how);
        bench_note(&arg, i, rc, began);
    }
    BENCH_CLOCK(1);
}

/* Two words tell one blob and its end from others; `sluice demo` compares all
 * bytes. */
SL_FN int bench_check(const struct bench_blob_args *a, const uint64_t *page,
                      uint32_t blob)
{
    uint64_t last = a->size / 8u - 1u;
    if (page[0] != bench_word(blob, 0) || page[last] != bench_word(blob, last))
        return SL_ECHECKSUM;
    return 0;
}

SL_KERNEL(k_bench_get, struct bench_blob_args)
{
    const uint32_t *order = (const uint32_t *)(uintptr_t)arg.order_at;
    uint64_t *page =
        (uint64_t *)(uintptr_t)(arg.pages_at + bench_warp() * arg.size);
    BENCH_CLOCK(0);
    for (uint64_t i = bench_warp(); i < arg.ops; i += bench_warps()) {
        uint32_t blob = order[i];
        uint64_t began = slp_ticks();
        int rc =
            sl_get_warp(&arg.dev, bench_key(&arg, blob), 0, page, arg.size);
        if (rc == 0)
            rc = bench_check(&arg, page, blob);
        slp_syncwarp(slp_lanes()); /* read before the next get writes */
        bench_note(&arg, i, rc, began);
    }
    BENCH_CLOCK(1);
}

/* ---- blobs that cross the link coded ---- */

struct bench_lz4 {
    struct sl_lz4_blob warp[BENCH_LZ4_WARPS];
};

SL_KERNEL(k_bench_text, struct bench_blob_args)
{
    uint64_t words = arg.size / 8u;
    for (uint64_t b = bench_warp(); b < arg.blobs; b += bench_warps()) {
        uint64_t *page = (uint64_t *)(uintptr_t)(arg.pages_at + b * arg.size);
        for (uint64_t i = slp_lane(); i < words; i += 32u)
            page[i] = bench_text(b, i, arg.fresh);
        if (slp_lane() == 0)
            bench_name((char *)(uintptr_t)arg.names_at + b * BENCH_NAME_STRIDE,
                       b);
    }
}

SL_KERNEL(k_bench_put_lz4, struct bench_blob_args)
{
    SL_SHARED(struct bench_lz4, ws);
    const uint32_t *order = (const uint32_t *)(uintptr_t)arg.order_at;
    struct sl_how how = sl_how_default();
    how.flags = SL_F_REPLACE;
    BENCH_CLOCK(0);
    for (uint64_t i = bench_warp(); i < arg.ops; i += bench_warps()) {
        uint32_t blob = order[i];
        const uint8_t *page =
            (const uint8_t *)(uintptr_t)(arg.pages_at + blob * arg.size);
        uint64_t began = slp_ticks();
        int rc = sl_put_lz4_warp(&arg.dev, &ws->warp[slp_thread() / 32u],
                                 bench_key(&arg, blob), 0, page, arg.size, how);
        bench_note(&arg, i, rc, began);
    }
    BENCH_CLOCK(1);
}

SL_KERNEL(k_bench_get_lz4, struct bench_blob_args)
{
    SL_SHARED(struct bench_lz4, ws);
    const uint32_t *order = (const uint32_t *)(uintptr_t)arg.order_at;
    uint64_t last = arg.size / 8u - 1u;
    uint64_t *page =
        (uint64_t *)(uintptr_t)(arg.pages_at + bench_warp() * arg.size);
    BENCH_CLOCK(0);
    for (uint64_t i = bench_warp(); i < arg.ops; i += bench_warps()) {
        uint32_t blob = order[i];
        uint64_t began = slp_ticks();
        int rc = sl_get_lz4_warp(&arg.dev, &ws->warp[slp_thread() / 32u],
                                 bench_key(&arg, blob), 0, page, arg.size);
        if (rc == 0 && (page[0] != bench_text(blob, 0, arg.fresh) ||
                        page[last] != bench_text(blob, last, arg.fresh)))
            rc = SL_ECHECKSUM;
        slp_syncwarp(slp_lanes()); /* read before the next get writes */
        bench_note(&arg, i, rc, began);
    }
    BENCH_CLOCK(1);
}

/* ---- the bare ring ---- */

/* Waits until the consumer has stored `lap`, or a later one: the slot's next
 * user may be served before this thread looks again. 0: too late. */
SL_FN int bench_await(const uint32_t *word, uint32_t lap, uint64_t deadline)
{
    for (uint32_t n = 1; (int32_t)(slp_load32(word) - lap) < 0; n++) {
        if (n % 64u == 0 && slp_now() >= deadline)
            return 0;
        slp_pause(0);
    }
    return 1;
}

/* The lanes of a warp get neighbouring tickets. */
SL_FN uint32_t bench_ticket(struct bench_state *s)
{
    uint32_t first = 0;
    if (slp_lane() == 0)
        first = (uint32_t)slp_add(&s->tickets, 32u);
    return slp_shfl(slp_lanes(), first, 0) + slp_lane();
}

SL_FN void bench_describe(uint8_t *d, uint32_t ticket, uint32_t lap)
{
    struct slp_v16 v;
    v.a = ticket;
    v.b = lap;
    slp_stv(d, v);
    slp_stv(d + 16, v);
    slp_stv(d + 32, v);
    /* Releases the descriptor to the consumer's acquire of this word. */
    slp_store64((uint64_t *)(d + BENCH_RING_LAST),
                bench_ring_word(ticket, lap));
}

SL_KERNEL(k_bench_ring, struct bench_ring_args)
{
    uint8_t *ring = (uint8_t *)(uintptr_t)arg.ring_at;
    const uint32_t *done = (const uint32_t *)(uintptr_t)arg.completions_at;
    uint64_t deadline = slp_now() + arg.timeout_ns;
    int late = 0;
    for (uint64_t k = 0; k < arg.per; k++) {
        uint32_t ticket =
            bench_ticket((struct bench_state *)(uintptr_t)arg.state_at);
        uint32_t slot = ticket & ((1u << arg.shift) - 1u);
        uint32_t lap = (ticket >> arg.shift) + 1u;
        /* The consumer must have read what the slot held last. */
        if (!late && lap > 1u)
            late = !bench_await(done + slot, lap - 1u, deadline);
        if (late)
            continue; /* with the warp, which shares tickets */
        bench_describe(ring + (uint64_t)slot * BENCH_RING_STRIDE, ticket, lap);
        late = !bench_await(done + slot, lap, deadline);
    }
    if (late)
        bench_failed(arg.state_at, SL_ETIMEDOUT);
}
