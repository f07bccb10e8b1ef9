/* SPDX-License-Identifier: Apache-2.0 */
/* The protocol against real workers: host threads and kernels of the host
 * device as producers. */
#include "runtime_help.h"

/* ---- host threads ---- */

struct caller {
    struct sl_runtime *rt;
    uint32_t pool, method, first, n;
    uint32_t wrong;
    int rc;
};

static void *call_echo(void *arg)
{
    struct caller *c = arg;
    for (uint32_t i = 0; i < c->n && !c->rc; i++) {
        uint64_t v = (uint64_t)c->first + i;
        struct sl_result r;
        c->rc = sl_task(c->rt, c->pool, c->method, i, &v, sizeof(v), &r);
        c->wrong += !c->rc && r.v[0] != 2u * v;
    }
    return NULL;
}

static void echo_by_threads(struct sl_runtime *rt, uint32_t threads,
                            uint32_t method)
{
    struct caller c[MAX_THREADS];
    memset(c, 0, sizeof(c));
    for (uint32_t i = 0; i < threads; i++) {
        c[i].rt = rt;
        c[i].pool = echo_pool(rt);
        c[i].method = method;
        c[i].first = i << 20;
        c[i].n = STEPS(5000);
    }
    run_threads(threads, call_echo, c, sizeof(c[0]));
    for (uint32_t i = 0; i < threads; i++) {
        assert_int_equal(c[i].rc, 0);
        assert_int_equal(c[i].wrong, 0);
    }
}

static void echo_answers_host_threads_at_once_and_later(void **state)
{
    struct sl_config c = runtime_config();
    struct sl_runtime *rt = runtime_open(&c);
    (void)state;
    for (uint32_t threads = 1; threads <= 4; threads++) {
        echo_by_threads(rt, threads, 0);
        echo_by_threads(rt, threads, 1);
    }
    assert_int_equal(sl_close(rt), 0);
}

static void noop_is_answered_on_every_lane(void **state)
{
    struct sl_config c = runtime_config();
    struct sl_runtime *rt;
    (void)state;
    c.workers = 3;
    c.lanes = 7;
    rt = runtime_open(&c);
    for (uint32_t lane = 0; lane < 7; lane++)
        assert_int_equal(sl_noop_thread(&rt->host->handle, lane), 0);
    assert_int_equal(sl_close(rt), 0);
}

static void high_priority_is_answered(void **state)
{
    struct sl_config c = runtime_config();
    struct sl_runtime *rt = runtime_open(&c);
    uint64_t v = 4;
    struct sl_call call = {&v, sizeof(v), 0, 0, 1, 1};
    struct sl_result r;
    (void)state;
    call.pool = (uint16_t)echo_pool(rt);
    assert_int_equal(sl_task_thread(&rt->host->handle, &call, &r), 0);
    assert_int_equal(r.v[0], 8);
    assert_int_equal(sl_close(rt), 0);
}

static void workers_wake_up_after_parking(void **state)
{
    struct sl_config c = runtime_config();
    struct sl_runtime *rt;
    (void)state;
    c.spin_us = 1;
    rt = runtime_open(&c);
    for (uint32_t i = 0; i < 20; i++) {
        uint64_t v = i;
        struct sl_result r;
        /* Until both workers have gone to sleep. */
        for (uint32_t w = 0; w < 2; w++)
            while (__atomic_load_n(&rt->workers->at[w]->state,
                                   __ATOMIC_RELAXED) != WORKER_PARKED)
                sched_yield();
        assert_int_equal(
            sl_task(rt, echo_pool(rt), i & 1u, i, &v, sizeof(v), &r), 0);
        assert_int_equal(r.v[0], 2 * i);
    }
    assert_int_equal(sl_close(rt), 0);
}

/* ---- kernels of the host device ---- */

struct kernel_arg {
    struct sl_dev d;
    int *codes; /* one for each thread */
    uint64_t *answers;
    uint32_t pool, method, rounds;
};

static uint32_t kernel_index(void)
{
    return slp_block() * slp_threads() + slp_thread();
}

static int kernel_echo_one(const struct kernel_arg *a, int form, uint32_t value,
                           uint64_t *answer)
{
    uint64_t v = value;
    struct sl_call c;
    struct sl_result r = {{0}};
    int rc;
    c.task = &v;
    c.bytes = sizeof(v);
    c.pool = (uint16_t)a->pool;
    c.method = (uint16_t)a->method;
    c.container = (uint16_t)(value % a->d.n_lanes);
    c.high = (uint8_t)(value & 1u);
    if (form == SL_THREAD)
        rc = sl_task_thread(&a->d, &c, &r);
    else if (form == SL_WARP)
        rc = sl_task_warp(&a->d, &c, &r);
    else
        rc = sl_task_block(&a->d, &c, &r);
    *answer = r.v[0];
    return rc;
}

static void kernel_rounds(const struct kernel_arg *a, int form, uint32_t value)
{
    uint32_t me = kernel_index();
    for (uint32_t i = 0; i < a->rounds && !a->codes[me]; i++)
        a->codes[me] = kernel_echo_one(a, form, value, &a->answers[me]);
}

static void by_thread(const void *arg)
{
    kernel_rounds(arg, SL_THREAD, kernel_index());
}

static void by_warp(const void *arg)
{
    kernel_rounds(arg, SL_WARP, slp_block() * 32u + slp_thread() / 32u);
}

static void by_block(const void *arg)
{
    kernel_rounds(arg, SL_BLOCK, slp_block());
}

/* Each lane takes another way, and some none. */
static void by_divergent_lanes(const void *arg)
{
    const struct kernel_arg *a = arg;
    uint32_t me = kernel_index();
    if (me % 3u == 0)
        kernel_rounds(a, SL_THREAD, me);
    else if (me % 3u == 1u)
        a->codes[me] = sl_noop_thread(&a->d, me);
}

struct kernels {
    struct sl_runtime *rt;
    struct sl_device *device;
    struct kernel_arg arg;
};

static void kernels_open(struct kernels *k, uint32_t depth)
{
    struct sl_config c = runtime_config();
    c.depth = depth;
    k->rt = runtime_open(&c);
    assert_int_equal(sl_device_open(k->rt, "host", &k->device), 0);
    assert_string_equal(sl_device_name(k->device), "host");
    memset(&k->arg, 0, sizeof(k->arg));
    k->arg.d = *sl_device_handle(k->device);
    k->arg.pool = echo_pool(k->rt);
    k->arg.rounds = 2;
}

static void kernels_close(struct kernels *k)
{
    sl_device_close(k->device);
    assert_int_equal(sl_close(k->rt), 0);
}

static void launch(struct kernels *k, void (*fn)(const void *), uint32_t blocks,
                   uint32_t threads)
{
    struct sl_host_grid g;
    size_t n = (size_t)blocks * threads;
    memset(&g, 0, sizeof(g));
    g.grid.x = blocks;
    g.block.x = threads;
    k->arg.codes = calloc(n, sizeof(int));
    k->arg.answers = calloc(n, sizeof(uint64_t));
    assert_int_equal(sl_host_launch(fn, &g, &k->arg), 0);
}

static void landed(struct kernels *k)
{
    free(k->arg.codes);
    free(k->arg.answers);
}

static void expect_echo(struct kernels *k, uint32_t blocks, uint32_t threads,
                        uint32_t (*value)(uint32_t block, uint32_t thread,
                                          uint32_t threads))
{
    for (uint32_t b = 0; b < blocks; b++) {
        for (uint32_t t = 0; t < threads; t++) {
            uint32_t i = b * threads + t;
            assert_int_equal(k->arg.codes[i], 0);
            assert_int_equal(k->arg.answers[i], 2u * value(b, t, threads));
        }
    }
    landed(k);
}

static uint32_t value_of_thread(uint32_t b, uint32_t t, uint32_t n)
{
    return b * n + t;
}
static uint32_t value_of_warp(uint32_t b, uint32_t t, uint32_t n)
{
    (void)n;
    return b * 32u + t / 32u;
}
static uint32_t value_of_block(uint32_t b, uint32_t t, uint32_t n)
{
    (void)t;
    (void)n;
    return b;
}

static void kernels_of_all_shapes_get_their_own_answers(void **state)
{
    static const uint32_t sizes[] = {1, 31, 32, 33, 1024};
    struct kernels k;
    (void)state;
    kernels_open(&k, 64);
    for (uint32_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        k.arg.method = i & 1u;
        launch(&k, by_thread, 2, sizes[i]);
        expect_echo(&k, 2, sizes[i], value_of_thread);
        launch(&k, by_warp, 2, sizes[i]);
        expect_echo(&k, 2, sizes[i], value_of_warp);
        launch(&k, by_block, 2, sizes[i]);
        expect_echo(&k, 2, sizes[i], value_of_block);
    }
    assert_int_equal(slots_in_use(&k.arg.d), 0);
    kernels_close(&k);
}

static void divergent_lanes_get_their_own_answers(void **state)
{
    struct kernels k;
    (void)state;
    kernels_open(&k, 64);
    launch(&k, by_divergent_lanes, 2, 96);
    for (uint32_t i = 0; i < 192; i++) {
        assert_int_equal(k.arg.codes[i], 0);
        assert_int_equal(k.arg.answers[i], i % 3u ? 0 : 2u * i);
    }
    landed(&k);
    kernels_close(&k);
}

static void more_submitters_than_slots_lose_nothing(void **state)
{
    struct kernels k;
    (void)state;
    kernels_open(&k, 16); /* 32 slots for 2 * 1024 threads */
    assert_int_equal(k.arg.d.n_slots, 32);
    k.arg.method = 1;
    k.arg.rounds = STEPS(40);
    launch(&k, by_thread, 2, 1024);
    expect_echo(&k, 2, 1024, value_of_thread);
    assert_int_equal(slots_in_use(&k.arg.d), 0);
    kernels_close(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(echo_answers_host_threads_at_once_and_later),
        cmocka_unit_test(noop_is_answered_on_every_lane),
        cmocka_unit_test(high_priority_is_answered),
        cmocka_unit_test(workers_wake_up_after_parking),
        cmocka_unit_test(kernels_of_all_shapes_get_their_own_answers),
        cmocka_unit_test(divergent_lanes_get_their_own_answers),
        cmocka_unit_test(more_submitters_than_slots_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
