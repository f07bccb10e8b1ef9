/* SPDX-License-Identifier: Apache-2.0 */
/* What the protocol says when a task is refused, given up or not answered, and
 * that no cell, however made, does harm. */
#include "runtime_help.h"

struct rig {
    struct sl_runtime *rt;
    struct sl_device *device;
    const struct sl_dev *d;
    struct keeper keeper;
    uint32_t echo, keep;
};

static void rig_open(struct rig *g, uint32_t depth)
{
    struct sl_config c = runtime_config();
    c.depth = depth;
    g->rt = runtime_open(&c);
    assert_int_equal(sl_device_open(g->rt, "host", &g->device), 0);
    g->d = sl_device_handle(g->device);
    g->echo = echo_pool(g->rt);
    g->keep = keeper_open(&g->keeper, g->rt);
}

static void rig_close(struct rig *g)
{
    sl_device_close(g->device);
    assert_int_equal(sl_close(g->rt), 0);
}

static void expect_echo(const struct rig *g)
{
    uint64_t v = 1000;
    struct sl_call c = {&v, sizeof(v), (uint16_t)g->echo, 0, 1, 0};
    struct sl_result r;
    assert_int_equal(sl_task_thread(g->d, &c, &r), 0);
    assert_int_equal(r.v[0], 2000);
}

/* ---- refused ---- */

/* Submits what no client makes, by the ring of `ring`; the reply. */
static uint64_t by_hand(const struct sl_dev *d, const struct slm_request *q,
                        uint32_t ring)
{
    struct sl_until u = sl_until_ns(LONG_NS);
    uint64_t reply = 0, t;
    uint32_t slot = 0;
    assert_int_equal(sls_take(d, SL_THREAD, &u, &slot), 0);
    slm_write_cell(d, slot, ++d->slots[slot].seq, q);
    d->slots[slot].kind = q->kind;
    t = slp_add(&d->tickets[ring * 16u], 1u);
    slp_store64(&d->rings[((uint64_t)ring << d->ring_shift) +
                          (t & ((UINT64_C(1) << d->ring_shift) - 1u))],
                sl_entry_make(t, d->ring_shift, slot));
    assert_int_equal(slm_poll(d, slot, d->slots[slot].seq, &u, &reply), 0);
    sls_settle(d, slot, d->slots[slot].seq, q->kind, reply);
    sls_give(d, slot);
    return reply;
}

static int code_by_hand(const struct rig *g, const struct slm_request *q)
{
    return sl_reply_code(by_hand(g->d, q, q->container));
}

static void unknown_pools_and_methods_are_refused(void **state)
{
    struct rig g;
    uint64_t v = 1;
    (void)state;
    rig_open(&g, 16);
    assert_int_equal(sl_task(g.rt, 77, 0, 0, &v, 8, NULL), SL_ENOPOOL);
    assert_int_equal(sl_task(g.rt, 1u << 20, 0, 0, &v, 8, NULL), SL_ENOPOOL);
    assert_int_equal(sl_task(g.rt, g.echo, 2, 0, &v, 8, NULL), SL_ENOMETHOD);
    struct slm_request q;
    slm_request_init(&q, 500, 0);
    assert_int_equal(code_by_hand(&g, &q), SL_ENOPOOL);
    slm_request_init(&q, SL_POOL_STORE, SL_STORE_METHODS);
    assert_int_equal(code_by_hand(&g, &q), SL_ENOMETHOD);
    slm_request_init(&q, SL_POOL_ADMIN, SL_ADMIN_METHODS);
    assert_int_equal(code_by_hand(&g, &q), SL_ENOMETHOD);
    expect_echo(&g);
    rig_close(&g);
}

static void empty_and_oversize_tasks_are_refused(void **state)
{
    static const uint8_t big[SL_TASK_MAX + 1u];
    struct rig g;
    struct slm_request q;
    (void)state;
    rig_open(&g, 16);
    assert_int_equal(sl_task(g.rt, g.echo, 0, 0, big, 0, NULL), SL_ETASKEMPTY);
    assert_int_equal(sl_task(g.rt, g.echo, 0, 0, big, sizeof(big), NULL),
                     SL_ETASKBIG);
    /* As large as may be, but not what echo wants. */
    assert_int_equal(sl_task(g.rt, g.echo, 0, 0, big, SL_TASK_MAX, NULL),
                     SL_EINVAL);
    slm_request_init(&q, g.echo, 0);
    q.size = SL_TASK_MAX + 1u;
    assert_int_equal(code_by_hand(&g, &q), SL_ETASKBIG);
    q.size = UINT64_MAX;
    assert_int_equal(code_by_hand(&g, &q), SL_ETASKBIG);
    q.size = SL_CELL_BODY + 1u; /* without a side chunk */
    assert_int_equal(code_by_hand(&g, &q), SL_ECHUNK);
    expect_echo(&g);
    rig_close(&g);
}

static void a_task_on_a_foreign_lane_is_refused(void **state)
{
    struct rig g;
    struct slm_request q;
    (void)state;
    rig_open(&g, 16);
    slm_request_init(&q, SL_POOL_ADMIN, SL_ADMIN_NOOP);
    q.container = 1;
    assert_int_equal(sl_reply_code(by_hand(g.d, &q, 0)), SL_EROUTE);
    assert_int_equal(sl_reply_code(by_hand(g.d, &q, 1)), 0);
    q.container = 2; /* there is none */
    assert_int_equal(sl_reply_code(by_hand(g.d, &q, 0)), SL_EROUTE);
    rig_close(&g);
}

/* A name on another container than its own would make a second blob of it. */
static void a_name_on_a_foreign_container_is_refused(void **state)
{
    static const uint16_t methods[] = {SL_STORE_TAG,  SL_STORE_PUT,
                                       SL_STORE_GET,  SL_STORE_DEL,
                                       SL_STORE_SIZE, SL_STORE_STAT};
    struct rig g;
    struct slm_request q;
    uint64_t tag = 0;
    (void)state;
    rig_open(&g, 16);
    assert_int_equal(sl_tag(g.rt, "t", &tag), 0);
    slm_request_init(&q, SL_POOL_ADMIN, SL_ADMIN_CHUNK);
    q.klass = SL_LENT_MIN_SHIFT;
    uint64_t side = sl_reply_value(by_hand(g.d, &q, 0));
    for (uint32_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        uint64_t t = methods[i] == SL_STORE_TAG ? 0 : tag;
        uint32_t home = sl_key_container(sl_key_hash(t, "n", 1), 2);
        slm_request_init(&q, SL_POOL_STORE, methods[i]);
        q.tag = tag; /* of TAG only the name counts */
        q.name = (const uint8_t *)"n";
        q.name_len = 1;
        q.flags = methods[i] == SL_STORE_PUT ? SL_F_INLINE : 0;
        q.side = side;
        q.container = (uint16_t)(1u - home);
        assert_int_equal(code_by_hand(&g, &q), SL_EROUTE);
        q.container = (uint16_t)home;
        assert_int_not_equal(code_by_hand(&g, &q), SL_EROUTE);
    }
    rig_close(&g);
}

/* A listing and who gives its side chunk back are served in one batch. */
static void a_side_chunk_given_back_meanwhile_is_not_written(void **state)
{
    struct rig g;
    struct slm_request q;
    uint64_t tag = 0;
    (void)state;
    rig_open(&g, 16);
    assert_int_equal(sl_tag(g.rt, "t", &tag), 0);
    for (uint32_t round = 0; round < 200; round++) {
        struct sl_until u = sl_until_ns(LONG_NS);
        uint32_t slot[3], seq[3];
        uint64_t reply = 0;
        int code;
        slm_request_init(&q, SL_POOL_ADMIN, SL_ADMIN_CHUNK);
        q.klass = SL_LENT_MIN_SHIFT;
        uint64_t side = sl_reply_value(by_hand(g.d, &q, 0));
        for (uint32_t i = 0; i < 3; i++)
            assert_int_equal(sls_take(g.d, SL_THREAD, &u, &slot[i]), 0);
        /* Gives it back and takes another, of a class that it is not cut from,
         * between two listings into it. */
        q.chunk = side;
        q.klass = SL_LENT_MIN_SHIFT + 1u;
        struct slm_request list;
        slm_request_init(&list, SL_POOL_STORE, SL_STORE_LIST);
        list.tag = tag;
        list.side = side;
        seq[0] = slm_submit(g.d, slot[0], &list);
        seq[1] = slm_submit(g.d, slot[1], &q);
        seq[2] = slm_submit(g.d, slot[2], &list);
        assert_int_equal(slm_poll(g.d, slot[0], seq[0], &u, &reply), 0);
        assert_int_equal(sl_reply_code(reply), 0);
        assert_int_equal(slm_poll(g.d, slot[1], seq[1], &u, &reply), 0);
        assert_int_equal(sl_reply_code(reply), 0);
        uint64_t other = sl_reply_value(reply);
        assert_int_equal(slm_poll(g.d, slot[2], seq[2], &u, &reply), 0);
        code = sl_reply_code(reply);
        assert_int_equal(code, SL_ECHUNK);
        for (uint32_t i = 0; i < 3; i++)
            sls_give(g.d, slot[i]);
        /* That one goes back for the next round's side chunk, and that too. */
        q.chunk = other;
        q.klass = SL_LENT_MIN_SHIFT;
        other = sl_reply_value(by_hand(g.d, &q, 0));
        assert_int_not_equal(other, 0);
        q.chunk = other;
        (void)by_hand(g.d, &q, 0);
    }
    expect_echo(&g);
    rig_close(&g);
}

static void wrong_names_are_refused(void **state)
{
    char name[258];
    struct rig g;
    struct slm_request q;
    uint64_t tag = 0;
    (void)state;
    memset(name, 'n', sizeof(name));
    rig_open(&g, 16);
    assert_int_equal(sl_tag_thread(g.d, name, 256, &tag), SL_ENAMETOOLONG);
    assert_int_equal(sl_tag_thread(g.d, name, 0, &tag), SL_ENONAME);
    assert_int_equal(sl_tag_thread(g.d, "a\0b", 3, &tag), SL_EBADNAME);
    slm_request_init(&q, SL_POOL_STORE, SL_STORE_TAG);
    assert_int_equal(code_by_hand(&g, &q), SL_ENONAME);
    q.name = (const uint8_t *)name;
    q.name_len = SL_NAME_INLINE + 1u;
    assert_int_equal(code_by_hand(&g, &q), SL_EPROTO);
    q.flags = SL_F_SIDE;
    assert_int_equal(code_by_hand(&g, &q), SL_ECHUNK);
    rig_close(&g);
}

static void a_refused_put_leaves_its_chunk(void **state)
{
    struct rig g;
    struct slm_request q;
    (void)state;
    rig_open(&g, 16);
    slm_request_init(&q, SL_POOL_STORE, SL_STORE_PUT);
    q.chunk = 4096 * 77;
    q.klass = 12;
    q.size = 100;
    assert_int_equal(sl_reply_value(by_hand(g.d, &q, 0)), q.chunk);
    q.name = (const uint8_t *)"name";
    q.name_len = 4;
    q.flags = SL_F_INLINE;
    q.size = 61;
    assert_int_equal(code_by_hand(&g, &q), SL_EPROTO);
    rig_close(&g);
}

static void chunks_that_are_not_lent_are_refused(void **state)
{
    struct rig g;
    struct slm_request q;
    (void)state;
    rig_open(&g, 16);
    slm_request_init(&q, SL_POOL_ADMIN, SL_ADMIN_CHUNK);
    q.klass = 12;
    q.chunk = 4096 * 33;
    uint64_t reply = by_hand(g.d, &q, 0);
    assert_int_equal(sl_reply_code(reply), SL_ECHUNK);
    assert_int_equal(sl_reply_value(reply), 0);
    q.chunk = 0;
    q.klass = 21;
    assert_int_equal(code_by_hand(&g, &q), SL_EINVAL);
    q.klass = 11;
    assert_int_equal(code_by_hand(&g, &q), SL_EINVAL);
    q.klass = 12;
    reply = by_hand(g.d, &q, 0);
    assert_int_equal(sl_reply_code(reply), 0);
    assert_int_not_equal(sl_reply_value(reply), 0);
    /* Given back twice, the second time refused. */
    q.chunk = sl_reply_value(reply);
    assert_int_equal(code_by_hand(&g, &q), 0);
    slm_request_init(&q, SL_POOL_ADMIN, SL_ADMIN_LIST);
    q.klass = 12;
    q.size = 3;
    assert_int_equal(code_by_hand(&g, &q), SL_ECHUNK); /* nowhere to write */
    rig_close(&g);
}

static void a_list_is_lent_whole_or_not_at_all(void **state)
{
    struct rig g;
    struct slm_request q;
    struct arena_usage before, after;
    (void)state;
    rig_open(&g, 16);
    slm_request_init(&q, SL_POOL_ADMIN, SL_ADMIN_CHUNK);
    q.klass = 12;
    uint64_t side = sl_reply_value(by_hand(g.d, &q, 0));
    assert_int_not_equal(side, 0);
    slm_request_init(&q, SL_POOL_ADMIN, SL_ADMIN_LIST);
    q.side = side;
    q.klass = SL_CHUNK_MAX_SHIFT;
    arena_usage(g.rt->arena, &before);
    q.size = SL_LIST_MAX; /* 480 MiB of 16 */
    assert_int_equal(code_by_hand(&g, &q), SL_ENOSPC);
    q.size = SL_LIST_MAX + 1u;
    assert_int_equal(code_by_hand(&g, &q), SL_EINVAL);
    q.size = 0;
    assert_int_equal(code_by_hand(&g, &q), SL_EINVAL);
    arena_usage(g.rt->arena, &after);
    assert_int_equal(before.free, after.free);
    q.size = 3;
    assert_int_equal(code_by_hand(&g, &q), 0);
    for (uint32_t i = 0; i < 3; i++) {
        uint64_t at;
        uint32_t klass = 0;
        memcpy(&at, g.d->arena + side + SL_SIDE_LIST + 8u * i, sizeof(at));
        assert_true(
            chunk_is_lent(g.rt->arena, at, g.device->channel->id, &klass));
        assert_int_equal(klass, SL_CHUNK_MAX_SHIFT);
    }
    sl_device_close(g.device); /* takes them back */
    arena_usage(g.rt->arena, &after);
    assert_int_equal(after.free, before.free + SL_SIDE_BYTES);
    assert_int_equal(sl_close(g.rt), 0);
}

/* ---- given up, not answered ---- */

static struct sl_future keep_one(const struct rig *g)
{
    uint64_t v = 5;
    struct sl_call c = {&v, sizeof(v), (uint16_t)g->keep, 0, 0, 0};
    return sl_task_begin_thread(g->d, &c);
}

static void a_future_is_tested_without_waiting(void **state)
{
    struct rig g;
    (void)state;
    rig_open(&g, 16);
    struct sl_future f = keep_one(&g);
    keeper_await(&g.keeper, 1);
    assert_int_equal(sl_wait_thread(g.d, &f, sl_until_ns(0)), SL_EAGAIN);
    keeper_finish(&g.keeper, SL_ENOENT);
    assert_int_equal(sl_wait_thread(g.d, &f, sl_until_ns(LONG_NS)), SL_ENOENT);
    /* Ended: says so again. */
    assert_int_equal(sl_wait_thread(g.d, &f, sl_until_ns(0)), SL_ENOENT);
    rig_close(&g);
}

static void a_wait_ends_at_its_deadline_and_can_go_on(void **state)
{
    struct rig g;
    (void)state;
    rig_open(&g, 16);
    struct sl_future f = keep_one(&g);
    assert_int_equal(sl_wait_thread(g.d, &f, sl_until_ns(1000000)),
                     SL_ETIMEDOUT);
    keeper_await(&g.keeper, 1);
    keeper_finish(&g.keeper, 0);
    assert_int_equal(sl_wait_thread(g.d, &f, sl_until_ns(LONG_NS)), 0);
    rig_close(&g);
}

static void a_stop_flag_ends_a_wait(void **state)
{
    struct rig g;
    uint32_t stop = 1;
    (void)state;
    rig_open(&g, 16);
    struct sl_future f = keep_one(&g);
    struct sl_until u = sl_until_ns(LONG_NS);
    u.stop = &stop;
    assert_int_equal(sl_wait_thread(g.d, &f, u), SL_ESTOPPED);
    keeper_await(&g.keeper, 1);
    keeper_finish(&g.keeper, 0);
    stop = 0;
    assert_int_equal(sl_wait_thread(g.d, &f, u), 0);
    rig_close(&g);
}

static void abandoned_slots_come_back(void **state)
{
    struct rig g;
    struct sl_until soon = sl_until_ns(1000000);
    uint32_t slot;
    (void)state;
    rig_open(&g, 16);
    assert_int_equal(g.d->n_slots, 32);
    for (uint32_t i = 0; i < 32; i++) {
        struct sl_future f = keep_one(&g);
        assert_int_equal(f.live, 1);
        sl_abandon_thread(g.d, &f);
    }
    keeper_await(&g.keeper, 32);
    /* All in flight still, so there is nothing to adopt. */
    assert_int_equal(sls_take(g.d, SL_THREAD, &soon, &slot), SL_ETIMEDOUT);
    keeper_finish(&g.keeper, 0);
    for (uint32_t i = 0; i < 100; i++)
        expect_echo(&g);
    rig_close(&g);
}

/* While other slots are free: what it held is wanted. */
static void an_abandoned_slot_is_adopted_first(void **state)
{
    struct rig g;
    (void)state;
    rig_open(&g, 16);
    for (uint32_t round = 0; round < 5; round++) {
        struct sl_future f = keep_one(&g);
        assert_int_equal(f.live, 1);
        sl_abandon_thread(g.d, &f);
        keeper_await(&g.keeper, 1);
        expect_echo(&g); /* not answered yet: another slot */
        assert_int_equal(slots_in_use(g.d), 1);
        keeper_finish(&g.keeper, 0);
        while (!sl_reply_is(slp_load64(&g.d->replies[f.slot]), f.seq))
            sched_yield();
        expect_echo(&g);
        assert_int_equal(slots_in_use(g.d), 0);
    }
    rig_close(&g);
}

/* ---- the end ---- */

/* A device that was closed in the middle of a task: until that ends its chunks
 * are its own. */
static void a_lost_channel_keeps_its_number(void **state)
{
    struct sl_config c = runtime_config();
    struct sl_device *other = NULL;
    struct rig g;
    uint32_t id;
    (void)state;
    c.timeout_ns = 1000000;
    g.rt = runtime_open(&c);
    assert_int_equal(sl_device_open(g.rt, "host", &g.device), 0);
    g.d = sl_device_handle(g.device);
    g.keep = keeper_open(&g.keeper, g.rt);
    struct sl_future f = keep_one(&g);
    assert_int_equal(f.live, 1);
    keeper_await(&g.keeper, 1);
    id = g.device->channel->id;
    sl_device_close(g.device);
    assert_int_equal(sl_device_open(g.rt, "host", &other), 0);
    assert_int_not_equal(other->channel->id, id);
    keeper_finish(&g.keeper, 0);
    g.rt->config.timeout_ns = LONG_NS;
    sl_device_close(other);
    assert_int_equal(sl_close(g.rt), 0);
}

struct waiter {
    struct rig *g;
    struct sl_future f;
    int rc;
};

static void *wait_long(void *arg)
{
    struct waiter *w = arg;
    w->rc = sl_wait_thread(w->g->d, &w->f, sl_until_ns(LONG_NS));
    return NULL;
}

static void waiters_learn_that_the_channel_is_dead(void **state)
{
    struct rig g;
    struct waiter w = {&g, {0}, 0};
    pthread_t t;
    (void)state;
    rig_open(&g, 16);
    w.f = keep_one(&g);
    keeper_await(&g.keeper, 1);
    assert_int_equal(pthread_create(&t, NULL, wait_long, &w), 0);
    channel_set_state(g.device->channel, SL_CHANNEL_DEAD);
    pthread_join(t, NULL);
    assert_int_equal(w.rc, SL_EDEAD);
    keeper_finish(&g.keeper, 0);
    rig_close(&g);
}

static void a_stopping_channel_refuses_tasks(void **state)
{
    struct rig g;
    struct slm_request q;
    (void)state;
    rig_open(&g, 16);
    channel_set_state(g.device->channel, SL_CHANNEL_STOPPING);
    slm_request_init(&q, SL_POOL_ADMIN, SL_ADMIN_NOOP);
    assert_int_equal(code_by_hand(&g, &q), SL_EDEAD);
    assert_int_equal(sl_noop_thread(g.d, 1), SL_EDEAD);
    rig_close(&g);
}

static void *call_until_error(void *arg)
{
    struct waiter *w = arg;
    uint64_t v = 1;
    while (!w->rc)
        w->rc = sl_task(w->g->rt, w->g->echo, 1, 0, &v, sizeof(v), NULL);
    return NULL;
}

static void callers_beside_a_close_get_edead(void **state)
{
    struct rig g;
    struct waiter w[4];
    pthread_t t[4];
    (void)state;
    rig_open(&g, 16);
    /* The struct outlives the close, as it does for a future. */
    __atomic_fetch_add(&g.rt->refs, 1u, __ATOMIC_RELAXED);
    for (uint32_t i = 0; i < 4; i++) {
        w[i].g = &g;
        w[i].rc = 0;
        assert_int_equal(pthread_create(&t[i], NULL, call_until_error, &w[i]),
                         0);
    }
    rig_close(&g);
    for (uint32_t i = 0; i < 4; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(w[i].rc, SL_EDEAD);
    }
    runtime_unref(g.rt);
}

static void a_close_does_not_wait_for_ever_for_a_module(void **state)
{
    struct sl_config c = runtime_config();
    static struct keeper k;
    struct sl_runtime *rt;
    struct sl_future f;
    uint64_t v = 1;
    (void)state;
    c.timeout_ns = 1000000;
    rt = runtime_open(&c);
    struct sl_call call = {&v, sizeof(v), 0, 0, 0, 0};
    call.pool = (uint16_t)keeper_open(&k, rt);
    f = sl_task_begin_thread(&rt->host->handle, &call);
    assert_int_equal(f.live, 1);
    keeper_await(&k, 1);
    assert_int_equal(sl_close(rt), 0);
    /* What it belongs to is still there. */
    keeper_finish(&k, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_pools_and_methods_are_refused),
        cmocka_unit_test(empty_and_oversize_tasks_are_refused),
        cmocka_unit_test(a_task_on_a_foreign_lane_is_refused),
        cmocka_unit_test(a_name_on_a_foreign_container_is_refused),
        cmocka_unit_test(a_side_chunk_given_back_meanwhile_is_not_written),
        cmocka_unit_test(wrong_names_are_refused),
        cmocka_unit_test(a_refused_put_leaves_its_chunk),
        cmocka_unit_test(chunks_that_are_not_lent_are_refused),
        cmocka_unit_test(a_list_is_lent_whole_or_not_at_all),
        cmocka_unit_test(a_future_is_tested_without_waiting),
        cmocka_unit_test(a_wait_ends_at_its_deadline_and_can_go_on),
        cmocka_unit_test(a_stop_flag_ends_a_wait),
        cmocka_unit_test(abandoned_slots_come_back),
        cmocka_unit_test(an_abandoned_slot_is_adopted_first),
        cmocka_unit_test(a_lost_channel_keeps_its_number),
        cmocka_unit_test(waiters_learn_that_the_channel_is_dead),
        cmocka_unit_test(a_stopping_channel_refuses_tasks),
        cmocka_unit_test(callers_beside_a_close_get_edead),
        cmocka_unit_test(a_close_does_not_wait_for_ever_for_a_module),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
