/* SPDX-License-Identifier: Apache-2.0 */
/* Events between streams, on the host always and on CUDA where there is one
 * and kernels for it. */
#include "gpu/gpu.h"
#include "gpu/kernels/limits.h"
#include "gpu/kernels/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define LONG_NS UINT64_C(60000000000)
#define BYTES 4096u

static const struct gpu_ops *ops;
static struct gpu *gpu; /* null: there is no such device here */

/* A kernel that runs until `answer` is called, and what follows it. */
struct rig {
    struct gpu_stream *held, *next;
    struct gpu_event *first, *last;
    uint8_t *mem; /* pinned: ping, pong, result, source */
    sl_devptr at;
    /* Copies end here: one from host memory to host memory waits in the call
     * for all before it (CUDA driver API, "API synchronization behavior"). */
    sl_devptr dev;
};

static void setup(struct rig *r)
{
    if (!gpu || (ops == &gpu_cuda_ops && kernel_fatbin_bytes == 0))
        skip();
    r->mem = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(r->mem != MAP_FAILED);
    assert_int_equal(ops->pin(gpu, r->mem, BYTES, &r->at), 0);
    assert_int_equal(ops->alloc(gpu, BYTES, &r->dev), 0);
    assert_int_equal(ops->stream_open(gpu, &r->held), 0);
    assert_int_equal(ops->stream_open(gpu, &r->next), 0);
    assert_int_equal(ops->event_open(gpu, &r->first), 0);
    assert_int_equal(ops->event_open(gpu, &r->last), 0);
}

static void teardown(struct rig *r)
{
    ops->stream_close(r->held);
    ops->stream_close(r->next);
    ops->event_close(r->first);
    ops->event_close(r->last);
    ops->release(gpu, r->dev);
    ops->unpin(gpu, r->mem);
    munmap(r->mem, BYTES);
}

static uint8_t arrived(const struct rig *r)
{
    uint8_t byte = 0xee;
    assert_int_equal(ops->from_device(gpu, &byte, r->dev, 1), 0);
    return byte;
}

static void hold(struct rig *r)
{
    struct k_pingpong_args args = {.ping_at = r->at,
                                   .pong_at = r->at + 128,
                                   .result_at = r->at + 256,
                                   .timeout_ns = LONG_NS,
                                   .rounds = 1};
    struct gpu_launch l = {.kernel = "k_pingpong",
                           .grid = {1, 1, 1},
                           .block = {1, 1, 1},
                           .args = &args,
                           .args_bytes = sizeof(args)};
    assert_int_equal(ops->launch(r->held, &l), 0);
}

static void answer(struct rig *r)
{
    uint64_t *pong = (uint64_t *)(void *)(r->mem + 128);
    /* Pairs with the acquire of the kernel's poll. */
    __atomic_store_n(pong, 1, __ATOMIC_RELEASE);
}

static void a_stream_follows_the_event_of_another(void **state)
{
    struct rig r;
    uint64_t ns = 0;
    (void)state;
    setup(&r);
    r.mem[1024] = 7;
    assert_int_equal(ops->event_record(r.first, r.held), 0);
    hold(&r);
    int recorded = ops->event_record(r.last, r.held);
    int follows = ops->event_follow(r.next, r.last);
    int copied = ops->copy_async(r.next, r.dev, r.at + 1024, 1);
    int event = ops->event_test(r.last);
    int first = ops->stream_test(r.held, NULL);
    int second = ops->stream_test(r.next, NULL);
    uint8_t before = arrived(&r);
    answer(&r);
    assert_int_equal(ops->stream_wait(r.next, LONG_NS, NULL), 0);
    assert_int_equal(recorded, 0);
    assert_int_equal(follows, 0);
    assert_int_equal(copied, 0);
    assert_int_equal(event, SL_EAGAIN);
    assert_int_equal(first, SL_EAGAIN);
    assert_int_equal(second, SL_EAGAIN);
    assert_int_equal(before, 0);
    assert_int_equal(arrived(&r), 7);
    assert_int_equal(ops->event_test(r.last), 0);
    assert_int_equal(ops->event_between(r.first, r.last, &ns), 0);
    assert_true(ns > 0);
    assert_int_equal(ops->stream_wait(r.held, LONG_NS, NULL), 0);
    assert_int_equal(ops->stream_test(r.held, &ns), 0);
    assert_int_equal(ns, 0);
    teardown(&r);
}

static void an_event_without_a_record_holds_nothing_up(void **state)
{
    struct rig r;
    (void)state;
    setup(&r);
    r.mem[1024] = 9;
    assert_int_equal(ops->event_test(r.first), 0);
    assert_int_equal(ops->event_follow(r.next, r.first), 0);
    assert_int_equal(ops->copy_async(r.next, r.dev, r.at + 1024, 1), 0);
    assert_int_equal(ops->stream_wait(r.next, LONG_NS, NULL), 0);
    assert_int_equal(arrived(&r), 9);
    teardown(&r);
}

static void an_event_is_used_again(void **state)
{
    struct rig r;
    (void)state;
    setup(&r);
    for (int i = 1; i < 50; i++) {
        r.mem[1024] = (uint8_t)i;
        assert_int_equal(ops->copy_async(r.held, r.dev + 512, r.at + 1024, 1),
                         0);
        assert_int_equal(ops->event_record(r.first, r.held), 0);
        assert_int_equal(ops->event_follow(r.next, r.first), 0);
        assert_int_equal(ops->copy_async(r.next, r.dev, r.dev + 512, 1), 0);
        assert_int_equal(ops->stream_wait(r.next, LONG_NS, NULL), 0);
        assert_int_equal(arrived(&r), i);
        assert_int_equal(ops->event_test(r.first), 0);
    }
    teardown(&r);
}

static const struct CMUnitTest event_tests[] = {
    cmocka_unit_test(a_stream_follows_the_event_of_another),
    cmocka_unit_test(an_event_without_a_record_holds_nothing_up),
    cmocka_unit_test(an_event_is_used_again),
};

static int open_group(void **state)
{
    char why[256] = "";
    (void)state;
    gpu = NULL;
    if (ops->count(why, sizeof(why)) == 0) {
        print_message("skipped, no %s device: %s\n", ops->kind, why);
        return 0;
    }
    return ops->open(0, &gpu);
}

static int close_group(void **state)
{
    (void)state;
    if (gpu)
        ops->close(gpu);
    return 0;
}

int main(void)
{
    int failed = 0;
    ops = &gpu_host_ops;
    failed += cmocka_run_group_tests_name("host", event_tests, open_group,
                                          close_group);
    ops = &gpu_cuda_ops;
    failed += cmocka_run_group_tests_name("cuda", event_tests, open_group,
                                          close_group);
    return failed ? 1 : 0;
}
