/* SPDX-License-Identifier: Apache-2.0 */
/* The `host` device behind gpu_ops: memory and streams. */
#include "gpu/host_launch.h"
#include "host_help.h"

#include <string.h>

static void device_tells_what_it_is(void **state)
{
    struct gpu *g = NULL;
    struct gpu_info info;
    char why[16] = "x";
    (void)state;
    assert_int_equal(gpu_host_ops.count(why, sizeof(why)), 1);
    assert_string_equal(why, "");
    assert_int_equal(gpu_host_ops.open(1, &g), SL_ENODEV);
    assert_int_equal(gpu_host_ops.open(0, &g), 0);
    assert_ptr_equal(g->ops, &gpu_host_ops);
    g->ops->info(g, &info);
    assert_string_equal(info.name, "host");
    assert_true(info.sms > 0);
    assert_true(info.mem_bytes > 0);
    assert_int_equal(info.cc, 0);
    g->ops->close(g);
}

static void device_memory_is_zero_and_aligned(void **state)
{
    struct gpu *g = NULL;
    sl_devptr p = 0, q = 0;
    char in[1000], out[1000];
    (void)state;
    assert_int_equal(gpu_host_ops.open(0, &g), 0);
    assert_int_equal(g->ops->alloc(g, sizeof(in), &p), 0);
    assert_int_equal(p % 256u, 0);
    memset(in, 0, sizeof(in));
    assert_int_equal(g->ops->from_device(g, out, p, sizeof(out)), 0);
    assert_memory_equal(in, out, sizeof(in));
    memset(in, 3, sizeof(in));
    assert_int_equal(g->ops->to_device(g, p, in, sizeof(in)), 0);
    assert_int_equal(g->ops->from_device(g, out, p, sizeof(out)), 0);
    assert_memory_equal(in, out, sizeof(in));
    assert_int_equal(g->ops->pin(g, in, sizeof(in), &q), 0);
    assert_ptr_equal((void *)(uintptr_t)q, in);
    g->ops->unpin(g, in);
    g->ops->release(g, p);
    g->ops->close(g);
}

/* Two kernels on two streams: each needs the other to run at once. */
struct pair_args {
    uint32_t *mine, *other;
    uint64_t *order;
};

SL_KERNEL(t_pair, struct pair_args)
{
    slp_store32(arg.mine, 1);
    for (uint32_t round = 0; !slp_load32(arg.other); round++)
        slp_pause(round);
}

/* Plain accesses: the order of the stream alone guards them. */
SL_KERNEL(t_append, struct pair_args)
{
    *arg.order = *arg.order * 10u + *arg.mine;
}

static void streams_run_at_once_and_each_in_order(void **state)
{
    struct gpu *g = NULL;
    struct gpu_stream *s[2] = {NULL, NULL};
    uint32_t flag[2] = {0, 0}, digit[5] = {1, 2, 3, 4, 5};
    uint64_t order[2] = {0, 0}, copy = 0, elapsed = 0;
    struct gpu_launch l = {.grid = {1, 1, 1}, .block = {1, 1, 1}};
    (void)state;
    assert_int_equal(gpu_host_ops.open(0, &g), 0);
    for (uint32_t i = 0; i < 2; i++) {
        struct pair_args a = {&flag[i], &flag[1 - i], NULL};
        assert_int_equal(g->ops->stream_open(g, &s[i]), 0);
        l.args = &a;
        l.args_bytes = sizeof(a);
        assert_int_equal(host_launch_fn(s[i], t_pair, &l), 0);
        for (uint32_t k = 0; k < 5; k++) {
            struct pair_args step = {&digit[k], NULL, &order[i]};
            l.args = &step;
            assert_int_equal(host_launch_fn(s[i], t_append, &l), 0);
        }
    }
    assert_int_equal(g->ops->copy_async(s[1], (sl_devptr)(uintptr_t)&copy,
                                        (sl_devptr)(uintptr_t)&order[1],
                                        sizeof(copy)),
                     0);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(s[i]->gpu == g, 1);
        assert_int_equal(g->ops->stream_wait(s[i], UINT64_MAX, &elapsed), 0);
        assert_true(elapsed > 0);
        assert_int_equal(order[i], 12345);
    }
    assert_int_equal(copy, 12345);
    assert_int_equal(g->ops->stream_wait(s[0], 0, &elapsed), 0);
    assert_int_equal(elapsed, 0);
    for (uint32_t i = 0; i < 2; i++)
        g->ops->stream_close(s[i]);
    g->ops->close(g);
}

static void stream_reports_time_and_errors(void **state)
{
    struct gpu *g = NULL;
    struct gpu_stream *s = NULL;
    uint32_t flag[2] = {0, 0};
    struct pair_args a = {&flag[0], &flag[1], NULL};
    struct gpu_launch l = {.kernel = "there is no such kernel",
                           .grid = {1, 1, 1},
                           .block = {1, 1, 1},
                           .args = &a,
                           .args_bytes = sizeof(a)};
    (void)state;
    assert_int_equal(gpu_host_ops.open(0, &g), 0);
    assert_int_equal(g->ops->stream_open(g, &s), 0);
    assert_int_equal(g->ops->launch(s, &l), SL_ENOSYS);
    assert_int_equal(host_launch_fn(s, t_pair, &l), 0);
    /* The kernel waits for the flag that is set below. */
    assert_int_equal(g->ops->stream_wait(s, 1000, NULL), SL_ETIMEDOUT);
    slp_store32(&flag[1], 1);
    assert_int_equal(g->ops->stream_wait(s, UINT64_MAX, NULL), 0);
    l.block.x = 5000;
    assert_int_equal(host_launch_fn(s, t_pair, &l), 0);
    assert_int_equal(g->ops->stream_wait(s, UINT64_MAX, NULL), SL_EINVAL);
    assert_int_equal(g->ops->stream_wait(s, UINT64_MAX, NULL), 0);
    g->ops->stream_close(s);
    g->ops->close(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(device_tells_what_it_is),
        cmocka_unit_test(device_memory_is_zero_and_aligned),
        cmocka_unit_test(streams_run_at_once_and_each_in_order),
        cmocka_unit_test(stream_reports_time_and_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
