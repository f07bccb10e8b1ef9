/* SPDX-License-Identifier: Apache-2.0 */
/* Warp primitives of the `host` device. */
#include "host_help.h"

#include <stdlib.h>

SL_KERNEL(t_ballot, struct out_args)
{
    uint32_t t = slp_thread(), sum = 0;
    for (uint32_t i = 0; i < arg.n; i++)
        sum += slp_ballot(slp_lanes(), (slp_lane() + i) % 3u == 0);
    arg.out[t] = sum;
}

static void ballot_counts_each_lane(void **state)
{
    static const uint32_t sizes[] = {1, 31, 32, 33, 1024};
    static uint32_t out[MAX_THREADS];
    (void)state;
    for (size_t k = 0; k < 5; k++) {
        struct out_args a = {out, 50};
        launch(t_ballot, 1, sizes[k], &a);
        for (uint32_t t = 0; t < sizes[k]; t++) {
            uint32_t left = sizes[k] - (t - t % 32u), want = 0;
            for (uint32_t i = 0; i < 50; i++)
                for (uint32_t l = 0; l < 32u && l < left; l++)
                    want += (l + i) % 3u == 0 ? 1u << l : 0u;
            assert_int_equal(out[t], want);
        }
    }
}

/* Rotates values through the warp by one lane in each step. */
SL_KERNEL(t_shfl, struct out_args)
{
    uint32_t v = 0x80000000u + slp_thread();
    for (uint32_t i = 0; i < arg.n; i++)
        v = slp_shfl(slp_lanes(), v, slp_lane() + 1u);
    arg.out[slp_thread()] = v;
}

static void shfl_rotates_and_wraps(void **state)
{
    static uint32_t out[64];
    struct out_args a = {out, 5};
    (void)state;
    launch(t_shfl, 1, 64, &a);
    for (uint32_t t = 0; t < 64; t++)
        assert_int_equal(out[t], 0x80000000u + (t & 32u) + (t + 5u) % 32u);
}

/* Lanes leave one by one; the rest ballots with the full mask. */
SL_KERNEL(t_exits, struct out_args)
{
    uint32_t lane = slp_lane(), last = 0;
    for (uint32_t i = 0; i < lane; i++)
        last = slp_ballot(FULL, 1);
    arg.out[slp_thread()] = last;
}

static void ballot_leaves_out_lanes_that_ended(void **state)
{
    static uint32_t out[64];
    struct out_args a = {out, 0};
    (void)state;
    launch(t_exits, 1, 64, &a);
    for (uint32_t t = 0; t < 64; t++) {
        uint32_t lane = t % 32u;
        /* In round `lane` those from `lane` up are left. */
        assert_int_equal(out[t], lane ? FULL << lane : 0u);
    }
}

/* Some lanes end while the others already wait for them. */
SL_KERNEL(t_late_exit, struct out_args)
{
    if (slp_lane() >= 20u) {
        slp_pause(0);
        return;
    }
    arg.out[slp_lane()] = slp_ballot(FULL, slp_lane() % 2u == 0);
}

static void end_of_a_lane_completes_a_ballot(void **state)
{
    static uint32_t out[32];
    struct out_args a = {out, 0};
    (void)state;
    launch(t_late_exit, 1, 32, &a);
    for (uint32_t l = 0; l < 20; l++)
        assert_int_equal(out[l], 0x55555u);
    for (uint32_t l = 20; l < 32; l++)
        assert_int_equal(out[l], 0);
}

/* Halves of a warp go their own ways, at different pace, and meet again. */
SL_KERNEL(t_halves, struct out_args)
{
    uint32_t lane = slp_lane(), sum = 0;
    if (lane < 16u)
        for (uint32_t i = 0; i < arg.n; i++)
            sum += slp_ballot(0xffffu, lane == i % 16u);
    else
        for (uint32_t i = 0; i < 3u * arg.n; i++)
            sum += slp_shfl(0xffff0000u, lane, 16u + i % 16u);
    sum += slp_ballot(FULL, 1) == FULL ? 0u : 1000000u;
    arg.out[slp_thread()] = sum;
}

static void halves_of_a_warp_diverge(void **state)
{
    static uint32_t out[96];
    struct out_args a = {out, 16};
    (void)state;
    launch(t_halves, 1, 96, &a);
    for (uint32_t t = 0; t < 96; t++)
        assert_int_equal(out[t],
                         t % 32u < 16u ? 0xffffu : 3u * (16u * 16u + 120u));
}

SL_KERNEL(t_alone, struct out_args)
{
    uint32_t bit = 1u << slp_lane(), sum = 0;
    for (uint32_t i = 0; i < arg.n; i++)
        sum += slp_ballot(bit, 1) + slp_shfl(bit, i, slp_lane());
    slp_syncwarp(bit);
    arg.out[slp_thread()] = sum;
}

static void lane_alone_needs_nobody(void **state)
{
    static uint32_t out[32];
    struct out_args a = {out, 10};
    (void)state;
    launch(t_alone, 1, 32, &a);
    for (uint32_t l = 0; l < 32; l++)
        assert_int_equal(out[l], 10u * (1u << l) + 45u);
}

/*
 * In each round the lanes of a warp fall into up to four groups by chance, each
 * group ballots by itself, some lanes pause before and some end for good. All
 * follows from the seed, so each lane knows what its ballot must give.
 */
struct chance_args {
    uint32_t seed, rounds;
    uint32_t *wrong; /* for each thread; bit 31: came to its end */
};

static uint32_t chance(uint32_t seed, uint32_t round, uint32_t lane)
{
    return (uint32_t)sl_mix64(((uint64_t)seed << 32) + (uint64_t)round * 64u +
                              lane);
}

static int chance_ended(uint32_t seed, uint32_t round, uint32_t lane)
{
    return chance(seed, 0xffffffu, lane) % 400u < round;
}

SL_KERNEL(t_chance, struct chance_args)
{
    uint32_t seed = arg.seed + slp_thread() / 32u, lane = slp_lane();
    uint32_t wrong = 0, i;
    for (i = 0; i < arg.rounds && !chance_ended(seed, i, lane); i++) {
        uint32_t mine = chance(seed, i, lane), mask = 0, want = 0;
        for (uint32_t l = 0; l < 32u; l++) {
            uint32_t theirs = chance(seed, i, l);
            if ((theirs ^ mine) & 3u)
                continue;
            mask |= 1u << l;
            if ((theirs & 4u) && !chance_ended(seed, i, l))
                want |= 1u << l;
        }
        for (uint32_t k = 0; k < (mine >> 3) % 3u; k++)
            slp_pause(k);
        wrong += slp_ballot(mask & slp_lanes(), (mine & 4u) != 0) !=
                 (want & slp_lanes());
    }
    arg.wrong[slp_thread()] = wrong | 0x80000000u;
}

static void random_groups_of_lanes_meet(void **state)
{
    static uint32_t wrong[77];
    const char *given = getenv("SEED");
    uint32_t seed =
        given ? (uint32_t)strtoul(given, NULL, 0) : (uint32_t)slp_now();
    struct chance_args a = {seed, 300, wrong};
    (void)state;
    print_message("SEED=%u\n", (unsigned)seed);
    launch(t_chance, 1, 77, &a);
    for (uint32_t t = 0; t < 77; t++)
        assert_int_equal(wrong[t], 0x80000000u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ballot_counts_each_lane),
        cmocka_unit_test(shfl_rotates_and_wraps),
        cmocka_unit_test(ballot_leaves_out_lanes_that_ended),
        cmocka_unit_test(end_of_a_lane_completes_a_ballot),
        cmocka_unit_test(halves_of_a_warp_diverge),
        cmocka_unit_test(lane_alone_needs_nobody),
        cmocka_unit_test(random_groups_of_lanes_meet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
