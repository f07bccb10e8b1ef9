/* SPDX-License-Identifier: Apache-2.0 */
/* Cells that no client makes: each is answered, none does harm. */
#include "hostile_help.h"

/* One of a few values that get further than noise, or noise. */
static uint64_t pick(uint64_t *s, uint64_t a, uint64_t b)
{
    switch (test_random(s) & 3u) {
    case 0:
        return a;
    case 1:
        return b;
    case 2:
        return 0;
    default:
        return test_random(s) >> (test_random(s) & 63u);
    }
}

static void make_cell(const struct rig *g, uint64_t *s, struct sl_cell *c)
{
    uint8_t *bytes = (uint8_t *)c;
    for (uint32_t i = 0; i < sizeof(*c); i++)
        bytes[i] = (uint8_t)test_random(s);
    c->pool = (uint16_t)(test_random(s) % 4u);
    c->method = (uint16_t)(test_random(s) % (SL_STORE_METHODS + 1u));
    c->flags &= 511u;
    c->tag = pick(s, g->tag, 1);
    c->offset = pick(s, 4096, UINT64_MAX);
    c->size = pick(s, 8, 4096);
    c->chunk = pick(s, g->chunk, g->side);
    c->side = pick(s, g->side, g->chunk);
    c->klass = (uint8_t)(10u + test_random(s) % 6u);
    c->score = (uint16_t)pick(s, SL_SCORE_AUTO, 500);
    c->persist = (uint8_t)(c->persist & 3u);
    if (test_random(s) & 1u)
        c->codec = (uint8_t)(test_random(s) % (SL_CODECS + 1u));
    c->coded = (uint32_t)pick(s, 100, 0);
    if (test_random(s) & 1u)
        c->name_len = (uint8_t)(1u + test_random(s) % 50u);
}

static void random_cells_are_answered_and_do_no_harm(void **state)
{
    uint64_t seed = test_seed("random cells");
    struct rig g;
    (void)state;
    rig_open(&g);
    for (uint32_t i = 0; i < STEPS(20000); i++) {
        struct sl_cell c;
        uint32_t klass;
        struct arena *a = g.rt->arena;
        uint32_t id = g.device->channel->id;
        /* What earlier cells gave away or used up is had anew. */
        if (i % 2000u == 0) {
            sl_device_close(g.device);
            assert_int_equal(sl_device_open(g.rt, "host", &g.device), 0);
            g.d = sl_device_handle(g.device);
            id = g.device->channel->id;
            g.chunk = 0;
            g.side = 0;
        }
        if (!chunk_is_lent(a, g.chunk, id, &klass))
            g.chunk = borrow(g.d, 13);
        if (!chunk_is_lent(a, g.side, id, &klass))
            g.side = borrow(g.d, 12);
        make_cell(&g, &seed, &c);
        uint32_t ring = (uint32_t)(test_random(&seed) % (2u * g.d->n_lanes));
        if (test_random(&seed) & 7u)
            c.container = (uint16_t)(ring % g.d->n_lanes);
        if (c.pool == SL_POOL_ADMIN && c.method == SL_ADMIN_LIST)
            c.size %= 20u; /* else most of the time there is no chunk left */
        assert_int_equal(send_cell(&g, &c, ring), 0);
    }
    expect_service(&g);
    rig_close(&g);
}

static void entries_of_no_slot_are_skipped(void **state)
{
    struct rig g;
    (void)state;
    rig_open(&g);
    for (uint32_t i = 0; i < 100; i++) {
        const struct sl_dev *d = g.d;
        uint64_t t = slp_add(&d->tickets[0], 1u);
        slp_store64(&d->rings[t & ((UINT64_C(1) << d->ring_shift) - 1u)],
                    sl_entry_make(t, d->ring_shift, d->n_slots + i * 977u));
        assert_int_equal(sl_noop_thread(d, 0), 0);
    }
    expect_service(&g);
    rig_close(&g);
}

/* One slot in all entries: more tasks than slots, each answered. */
static void one_slot_submitted_many_times_is_served(void **state)
{
    struct rig g;
    (void)state;
    rig_open(&g);
    const struct sl_dev *d = g.d;
    struct sl_cell c;
    memset(&c, 0, sizeof(c));
    c.pool = SL_POOL_ADMIN;
    c.seq = 1;
    d->slots[0].seq = 1;
    memcpy(&d->cells[0], &c, sizeof(c));
    for (uint32_t i = 0; i < 30; i++) {
        uint64_t t = slp_add(&d->tickets[0], 1u);
        slp_store64(&d->rings[t & ((UINT64_C(1) << d->ring_shift) - 1u)],
                    sl_entry_make(t, d->ring_shift, 0));
    }
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(sl_noop_thread(d, i), 0);
    expect_service(&g);
    rig_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_cells_are_answered_and_do_no_harm),
        cmocka_unit_test(entries_of_no_slot_are_skipped),
        cmocka_unit_test(one_slot_submitted_many_times_is_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
