/* SPDX-License-Identifier: Apache-2.0 */
/* Holds: references that last until the producer has released its slot. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "channel/hold.h"

#define MANY 10u

struct rig {
    struct arena *arena;
    struct chunk_cache *cache;
    struct channel *a, *b;
    struct holds *holds;
};

static void rig_open(struct rig *g)
{
    assert_int_equal(arena_create(1u << 20, 0, &g->arena), 0);
    assert_int_equal(chunk_cache_create(g->arena, &g->cache), 0);
    assert_int_equal(channel_create(32, 1, 1, &g->a), 0);
    assert_int_equal(channel_create(32, 1, 1, &g->b), 0);
    assert_int_equal(holds_create(g->cache, &g->holds), 0);
}

static void rig_close(struct rig *g)
{
    struct arena_usage u;
    holds_destroy(g->holds);
    arena_usage(g->arena, &u);
    assert_int_equal(u.free, u.bytes - 65536u); /* all but the first slab */
    channel_destroy(g->a);
    channel_destroy(g->b);
    chunk_cache_destroy(g->cache);
    arena_destroy(g->arena);
}

static void add(struct rig *g, struct channel *c, uint32_t slot, uint32_t seq,
                uint32_t n)
{
    uint64_t chunks[MANY];
    struct sl_task t;
    memset(&t, 0, sizeof(t));
    t.channel = c;
    t.slot = slot;
    t.cell.seq = seq;
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(chunk_alloc(g->cache, 12, &chunks[i]), 0);
    assert_int_equal(holds_add(g->holds, &t, chunks, n), 0);
}

static void a_hold_lasts_until_its_slot_is_released(void **state)
{
    struct rig g;
    (void)state;
    rig_open(&g);
    add(&g, g.a, 3, 5, 1);
    add(&g, g.a, 4, 5, MANY);
    assert_int_equal(holds_sweep(g.holds, 100), 0);
    g.a->releases[3] = 4; /* an earlier use */
    assert_int_equal(holds_sweep(g.holds, 100), 0);
    g.a->releases[3] = 5;
    assert_int_equal(holds_sweep(g.holds, 100), 1);
    g.a->releases[4] = 7; /* a later use */
    assert_int_equal(holds_sweep(g.holds, 100), 1);
    assert_int_equal(holds_count(g.holds), 0);
    rig_close(&g);
}

static void sweeps_of_a_few_get_to_all(void **state)
{
    struct rig g;
    uint32_t dropped = 0;
    (void)state;
    rig_open(&g);
    for (uint32_t i = 0; i < 32; i++)
        add(&g, g.a, i, 1, 1);
    for (uint32_t i = 0; i < 32; i += 2)
        g.a->releases[i] = 1;
    for (uint32_t i = 0; i < 16; i++)
        dropped += holds_sweep(g.holds, 4);
    assert_int_equal(dropped, 16);
    assert_int_equal(holds_count(g.holds), 16);
    rig_close(&g);
}

static void holds_of_a_lost_channel_are_dropped(void **state)
{
    struct rig g;
    (void)state;
    rig_open(&g);
    for (uint32_t i = 0; i < 20; i++)
        add(&g, i % 3u ? g.a : g.b, i, 1, i % MANY);
    holds_forget(g.holds, g.a);
    assert_int_equal(holds_count(g.holds), 7);
    holds_forget(g.holds, g.b);
    assert_int_equal(holds_count(g.holds), 0);
    rig_close(&g);
}

/* A slot used so often without a get that its old release looks new. */
static void an_old_release_does_not_count_after_2_31_uses(void **state)
{
    struct rig g;
    (void)state;
    rig_open(&g);
    g.a->releases[0] = 1;
    add(&g, g.a, 0, 0x80000005u, 1);
    assert_int_equal(holds_sweep(g.holds, 100), 0);
    g.a->releases[0] = 0x80000005u;
    assert_int_equal(holds_sweep(g.holds, 100), 1);
    /* The count goes round. */
    add(&g, g.a, 0, 2, 1);
    assert_int_equal(holds_sweep(g.holds, 100), 0);
    g.a->releases[0] = 2;
    assert_int_equal(holds_sweep(g.holds, 100), 1);
    rig_close(&g);
}

static void a_list_of_holds_grows(void **state)
{
    struct rig g;
    (void)state;
    rig_open(&g);
    channel_destroy(g.a);
    assert_int_equal(channel_create(2016, 1, 1, &g.a), 0);
    for (uint32_t i = 0; i < 2016; i++)
        add(&g, g.a, i, 1, 0);
    assert_int_equal(holds_count(g.holds), 2016);
    for (uint32_t i = 0; i < 2016; i++)
        g.a->releases[i] = 100;
    assert_int_equal(holds_sweep(g.holds, 5000), 2016);
    rig_close(&g);
}

/* Whatever a producer says of its uses: with the next answer the old one is
 * given up. */
static void a_slot_has_one_hold(void **state)
{
    static const uint32_t seqs[] = {5, 5, 4, 0x80000005u, 0, UINT32_MAX};
    struct arena_usage u;
    struct rig g;
    (void)state;
    rig_open(&g);
    add(&g, g.b, 3, 1, 1);
    for (uint32_t round = 0; round < 100; round++) {
        for (uint32_t i = 0; i < 32; i++)
            add(&g, g.a, i, seqs[(round + i) % 6u], 1u + (round + i) % MANY);
        assert_int_equal(holds_count(g.holds), 33);
    }
    for (uint32_t i = 0; i < 32; i++)
        add(&g, g.a, i, 7, 1);
    arena_usage(g.arena, &u); /* the old chunks are free */
    assert_int_equal(u.free, u.bytes - 65536u - 33u * 4096u);
    g.a->releases[9] = 7;
    assert_int_equal(holds_sweep(g.holds, 100), 1);
    holds_forget(g.holds, g.a);
    assert_int_equal(holds_count(g.holds), 1);
    add(&g, g.a, 9, 8, 1);
    g.a->releases[9] = 8;
    g.b->releases[3] = 1;
    assert_int_equal(holds_sweep(g.holds, 100), 2);
    rig_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hold_lasts_until_its_slot_is_released),
        cmocka_unit_test(sweeps_of_a_few_get_to_all),
        cmocka_unit_test(holds_of_a_lost_channel_are_dropped),
        cmocka_unit_test(an_old_release_does_not_count_after_2_31_uses),
        cmocka_unit_test(a_list_of_holds_grows),
        cmocka_unit_test(a_slot_has_one_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
