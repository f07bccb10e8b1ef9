/* SPDX-License-Identifier: Apache-2.0 */
/* Modules of users: pools, containers, answers at once and later. */
#include "runtime_help.h"

struct counter {
    uint32_t index;
    uint64_t calls; /* plain: a container's methods never run at once */
};

struct factory {
    uint32_t made, gone, fail_at;
};

static int counter_create(void *user, uint32_t index, void **container)
{
    struct factory *f = user;
    struct counter *c;
    if (f->fail_at && index == f->fail_at)
        return SL_ENOSPC;
    c = calloc(1, sizeof(*c));
    if (!c)
        return SL_ENOMEM;
    c->index = index;
    f->made++;
    *container = c;
    return 0;
}

static struct factory *last_factory;

static void counter_destroy(void *container)
{
    last_factory->gone++;
    free(container);
}

/* Answers: index of the container, calls of it so far, sum of the bytes. */
static int counter_count(struct sl_task *t, void *container)
{
    struct counter *c = container;
    uint64_t bytes;
    const uint8_t *p = sl_task_data(t, &bytes);
    struct sl_result *r = sl_task_result(t);
    if (r->v[0] || r->v[1] || r->v[2] || r->v[3])
        return SL_EIO; /* it begins as zeros */
    r->v[0] = c->index;
    r->v[1] = ++c->calls;
    for (uint64_t i = 0; i < bytes; i++)
        r->v[2] += p[i];
    r->v[3] = bytes;
    return 0;
}

static int counter_refuse(struct sl_task *t, void *container)
{
    (void)t;
    (void)container;
    return SL_EACCES;
}

static int (*const counter_methods[])(struct sl_task *, void *) = {
    counter_count, NULL, counter_refuse};

static struct sl_module counter_module(struct factory *f)
{
    struct sl_module m = {.size = sizeof(m),
                          .name = "counter",
                          .n_methods = 3,
                          .methods = counter_methods,
                          .create = counter_create,
                          .destroy = counter_destroy,
                          .user = f};
    memset(f, 0, sizeof(*f));
    last_factory = f;
    return m;
}

static void a_pool_has_a_container_for_each_lane(void **state)
{
    struct sl_config c = runtime_config();
    struct factory f;
    struct sl_module m = counter_module(&f);
    struct sl_runtime *rt;
    uint32_t pool = 0, found = 0;
    (void)state;
    c.lanes = 3;
    rt = runtime_open(&c);
    assert_int_equal(sl_pool_create(rt, "counts", &m, &pool), 0);
    assert_int_equal(sl_pool_find(rt, "counts", &found), 0);
    assert_int_equal(pool, found);
    assert_int_equal(f.made, 3);
    for (uint32_t i = 0; i < 30; i++) {
        struct sl_result r;
        assert_int_equal(sl_task(rt, pool, 0, i, "ab", 2, &r), 0);
        assert_int_equal(r.v[0], i % 3u);
        assert_int_equal(r.v[1], i / 3u + 1u);
        assert_int_equal(r.v[2], 'a' + 'b');
        assert_int_equal(r.v[3], 2);
    }
    assert_int_equal(sl_close(rt), 0);
    assert_int_equal(f.gone, 3);
}

static void tasks_of_every_size_arrive_whole(void **state)
{
    static const uint32_t sizes[] = {1, 7, 63, 64, 65, 255, 4095, 4096};
    struct sl_config c = runtime_config();
    struct factory f;
    struct sl_module m = counter_module(&f);
    struct sl_runtime *rt = runtime_open(&c);
    uint8_t task[SL_TASK_MAX];
    uint32_t pool = 0;
    (void)state;
    assert_int_equal(sl_pool_create(rt, "counts", &m, &pool), 0);
    for (uint32_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct sl_result r;
        uint64_t sum = 0;
        for (uint32_t k = 0; k < sizes[i]; k++)
            sum += task[k] = (uint8_t)(k * 7u + i);
        assert_int_equal(sl_task(rt, pool, 0, i, task, sizes[i], &r), 0);
        assert_int_equal(r.v[2], sum);
        assert_int_equal(r.v[3], sizes[i]);
    }
    assert_int_equal(sl_close(rt), 0);
}

static void codes_of_a_method_reach_the_caller(void **state)
{
    struct sl_config c = runtime_config();
    struct factory f;
    struct sl_module m = counter_module(&f);
    struct sl_runtime *rt = runtime_open(&c);
    uint32_t pool = 0;
    (void)state;
    assert_int_equal(sl_pool_create(rt, "counts", &m, &pool), 0);
    assert_int_equal(sl_task(rt, pool, 2, 0, "x", 1, NULL), SL_EACCES);
    assert_int_equal(sl_task(rt, pool, 1, 0, "x", 1, NULL), SL_ENOMETHOD);
    assert_int_equal(sl_task(rt, pool, 3, 0, "x", 1, NULL), SL_ENOMETHOD);
    assert_int_equal(sl_close(rt), 0);
}

static void wrong_pools_are_refused(void **state)
{
    struct sl_config c = runtime_config();
    struct factory f;
    struct sl_module m = counter_module(&f);
    struct sl_runtime *rt = runtime_open(&c);
    uint32_t pool = 9;
    (void)state;
    assert_int_equal(sl_pool_create(rt, "echo", &m, &pool), SL_EEXIST);
    assert_int_equal(sl_pool_create(rt, "", &m, &pool), SL_EINVAL);
    assert_int_equal(sl_pool_create(rt, NULL, &m, &pool), SL_EINVAL);
    assert_int_equal(sl_pool_create(rt, "new", NULL, &pool), SL_EINVAL);
    f.fail_at = 1;
    assert_int_equal(sl_pool_create(rt, "new", &m, &pool), SL_ENOSPC);
    assert_int_equal(f.made, f.gone);
    assert_int_equal(pool, 9);
    assert_int_equal(sl_pool_find(rt, "new", &pool), SL_ENOPOOL);
    f.fail_at = 0;
    assert_int_equal(sl_pool_create(rt, "new", &m, &pool), 0);
    assert_int_equal(sl_close(rt), 0);
}

static void pools_can_be_added_until_the_table_is_full(void **state)
{
    struct sl_config c = runtime_config();
    struct factory f;
    struct sl_module m = counter_module(&f);
    struct sl_runtime *rt = runtime_open(&c);
    uint32_t pool = 0, n = 3; /* store, admin, echo */
    char name[16];
    int rc;
    (void)state;
    for (;; n++) {
        snprintf(name, sizeof(name), "p%u", n);
        rc = sl_pool_create(rt, name, &m, &pool);
        if (rc)
            break;
        assert_int_equal(pool, n);
    }
    assert_int_equal(rc, SL_ENOMEM);
    assert_int_equal(n, POOLS_MAX);
    assert_int_equal(sl_task(rt, pool, 0, 0, "x", 1, NULL), 0);
    assert_int_equal(sl_close(rt), 0);
    assert_int_equal(f.made, f.gone);
}

/* ---- later ---- */

struct caller {
    struct sl_runtime *rt;
    uint32_t pool, rounds;
    int rc;
};

static void *call_pool(void *arg)
{
    struct caller *c = arg;
    uint64_t v = 0;
    for (uint32_t i = 0; i < c->rounds && !c->rc; i++)
        c->rc = sl_task(c->rt, c->pool, 0, i, &v, sizeof(v), NULL);
    return NULL;
}

struct finisher {
    struct keeper *keeper;
    uint32_t stop; /* atomic */
};

static void *finish_all(void *arg)
{
    struct finisher *f = arg;
    while (!__atomic_load_n(&f->stop, __ATOMIC_ACQUIRE)) {
        keeper_finish(f->keeper, 0);
        sched_yield();
    }
    return NULL;
}

static void tasks_are_finished_by_another_thread(void **state)
{
    struct sl_config c = runtime_config();
    struct sl_runtime *rt = runtime_open(&c);
    struct keeper k;
    struct finisher f = {&k, 0};
    struct caller callers[3];
    pthread_t t;
    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        callers[i].rt = rt;
        callers[i].pool = i ? callers[0].pool : keeper_open(&k, rt);
        callers[i].rounds = STEPS(3000);
        callers[i].rc = 0;
    }
    assert_int_equal(pthread_create(&t, NULL, finish_all, &f), 0);
    run_threads(3, call_pool, callers, sizeof(callers[0]));
    __atomic_store_n(&f.stop, 1u, __ATOMIC_RELEASE);
    pthread_join(t, NULL);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(callers[i].rc, 0);
    assert_int_equal(sl_close(rt), 0);
}

/* Who finishes a task may still be about to wake the worker when the answer is
 * there, and the runtime goes. */
static void a_close_waits_for_who_finishes_a_task(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 50; i++) {
        struct sl_config c = runtime_config();
        struct sl_runtime *rt = runtime_open(&c);
        struct keeper k;
        struct finisher f = {&k, 0};
        struct caller one = {rt, keeper_open(&k, rt), 1, 0};
        pthread_t t;
        assert_int_equal(pthread_create(&t, NULL, finish_all, &f), 0);
        call_pool(&one);
        assert_int_equal(one.rc, 0);
        assert_int_equal(sl_close(rt), 0);
        __atomic_store_n(&f.stop, 1u, __ATOMIC_RELEASE);
        pthread_join(t, NULL);
    }
}

static void a_task_kept_is_whole_when_it_is_finished(void **state)
{
    struct sl_config c = runtime_config();
    struct sl_runtime *rt = runtime_open(&c);
    const struct sl_dev *d = &rt->host->handle;
    uint8_t task[1000];
    struct keeper k;
    struct sl_call call = {task, sizeof(task), 0, 0, 0, 0};
    struct sl_future f;
    uint64_t bytes;
    (void)state;
    memset(task, 5, sizeof(task));
    call.pool = (uint16_t)keeper_open(&k, rt);
    f = sl_task_begin_thread(d, &call);
    keeper_await(&k, 1);
    memset(task, 6, sizeof(task));
    memset(d->arena + d->slots[f.slot].side, 6, sizeof(task));
    const uint8_t *kept = sl_task_data(k.kept[0], &bytes);
    assert_int_equal(bytes, sizeof(task));
    for (uint32_t i = 0; i < bytes; i++)
        assert_int_equal(kept[i], 5);
    assert_int_equal(sl_task_device(k.kept[0]), 0);
    sl_task_result(k.kept[0])->v[3] = 99;
    keeper_finish(&k, 0);
    assert_int_equal(sl_wait_thread(d, &f, sl_until_ns(LONG_NS)), 0);
    assert_int_equal(f.result.v[3], 99);
    assert_int_equal(sl_close(rt), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pool_has_a_container_for_each_lane),
        cmocka_unit_test(tasks_of_every_size_arrive_whole),
        cmocka_unit_test(codes_of_a_method_reach_the_caller),
        cmocka_unit_test(wrong_pools_are_refused),
        cmocka_unit_test(pools_can_be_added_until_the_table_is_full),
        cmocka_unit_test(tasks_are_finished_by_another_thread),
        cmocka_unit_test(a_close_waits_for_who_finishes_a_task),
        cmocka_unit_test(a_task_kept_is_whole_when_it_is_finished),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
