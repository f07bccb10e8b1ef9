/* SPDX-License-Identifier: Apache-2.0 */
/* Every kind of device through one list of tests: the host always, CUDA where
 * there is one. */
#include "base/log.h"
#include "gpu/gpu.h"
#include "gpu/kernels/limits.h"
#include "gpu/kernels/table.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <cmocka.h>

#define LONG_NS UINT64_C(60000000000)
#define PINNED_BYTES (1u << 20)
#define NO_TIME UINT64_C(0)

static const struct gpu_ops *ops; /* of the running group */
static struct gpu *gpu;           /* null: there is no such device here */
static int log_lines;
static uint64_t seed;

static void count_lines(void *user, enum sl_log_level level, const char *line)
{
    (void)user;
    (void)level;
    (void)line;
    __atomic_add_fetch(&log_lines, 1, __ATOMIC_RELAXED);
}

static void need_device(void)
{
    if (!gpu)
        skip();
}

static void need_kernels(void)
{
    need_device();
    if (ops == &gpu_cuda_ops && kernel_fatbin_bytes == 0)
        skip();
}

static void *page_memory(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(p != MAP_FAILED);
    return p;
}

static void fill_random(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        seed = sl_mix64(seed + 1u);
        p[i] = (uint8_t)seed;
    }
}

static sl_devptr device_memory(size_t bytes)
{
    sl_devptr p = 0;
    assert_int_equal(ops->alloc(gpu, bytes, &p), 0);
    return p;
}

static struct gpu_stream *new_stream(void)
{
    struct gpu_stream *s = NULL;
    assert_int_equal(ops->stream_open(gpu, &s), 0);
    return s;
}

static int launch(struct gpu_stream *s, const char *kernel, uint32_t blocks,
                  uint32_t threads, const void *args, size_t bytes)
{
    struct gpu_launch l = {.kernel = kernel,
                           .grid = {blocks, 1, 1},
                           .block = {threads, 1, 1},
                           .args = args,
                           .args_bytes = bytes};
    return ops->launch(s, &l);
}

/* ---- memory ---- */

static void info_names_the_device(void **state)
{
    struct gpu_info i;
    (void)state;
    need_device();
    memset(&i, 0xff, sizeof(i));
    ops->info(gpu, &i);
    assert_non_null(memchr(i.name, 0, sizeof(i.name)));
    assert_true(i.name[0] != 0);
    assert_int_equal(i.ordinal, 0);
    assert_true(i.sms > 0);
    assert_true(i.mem_bytes > 0);
    assert_true(i.numa_node >= -1);
    assert_non_null(memchr(i.pci, 0, sizeof(i.pci)));
}

static void allocated_memory_is_zero_and_aligned(void **state)
{
    enum { BYTES = 300001 };
    static uint8_t got[BYTES];
    (void)state;
    need_device();
    for (int round = 0; round < 3; round++) {
        sl_devptr p = device_memory(BYTES);
        assert_int_equal(p % 256u, 0);
        memset(got, 1, BYTES);
        assert_int_equal(ops->from_device(gpu, got, p, BYTES), 0);
        for (size_t i = 0; i < BYTES; i++)
            assert_int_equal(got[i], 0);
        memset(got, 1, BYTES);
        assert_int_equal(ops->to_device(gpu, p, got, BYTES), 0);
        ops->release(gpu, p); /* dirty: the next one must be clean again */
    }
    ops->release(gpu, device_memory(0));
}

static void copies_bring_back_the_same_bytes(void **state)
{
    enum { BYTES = 70001 };
    static uint8_t sent[BYTES], got[BYTES];
    (void)state;
    need_device();
    sl_devptr p = device_memory(BYTES);
    fill_random(sent, BYTES);
    assert_int_equal(ops->to_device(gpu, p, sent, BYTES), 0);
    assert_int_equal(ops->from_device(gpu, got, p, BYTES), 0);
    assert_memory_equal(sent, got, BYTES);
    assert_int_equal(ops->from_device(gpu, got, p + 7, 100), 0);
    assert_memory_equal(sent + 7, got, 100);
    assert_int_equal(ops->to_device(gpu, p, sent, 0), 0);
    ops->release(gpu, p);
}

static void pinned_memory_is_copied_on_a_stream(void **state)
{
    sl_devptr at = 0;
    (void)state;
    need_device();
    uint8_t *mem = page_memory(PINNED_BYTES);
    size_t half = PINNED_BYTES / 2;
    sl_devptr middle = device_memory(half);
    struct gpu_stream *s = new_stream();
    assert_int_equal(ops->pin(gpu, mem, PINNED_BYTES, &at), 0);
    fill_random(mem, half);
    assert_int_equal(ops->copy_async(s, middle, at, half), 0);
    assert_int_equal(ops->copy_async(s, at + half, middle, half), 0);
    assert_int_equal(ops->stream_wait(s, LONG_NS, NULL), 0);
    assert_memory_equal(mem, mem + half, half);
    ops->unpin(gpu, mem);
    ops->stream_close(s);
    ops->release(gpu, middle);
    munmap(mem, PINNED_BYTES);
}

static void memory_is_pinned_for_two_handles_until_both_unpin(void **state)
{
    struct gpu *second = NULL;
    sl_devptr one = 0, two = 0, three = 0;
    (void)state;
    need_device();
    uint8_t *mem = page_memory(PINNED_BYTES);
    struct gpu_stream *s = new_stream();
    assert_int_equal(ops->open(0, &second), 0);
    assert_int_equal(ops->pin(gpu, mem, PINNED_BYTES, &one), 0);
    assert_int_equal(ops->pin(second, mem, PINNED_BYTES, &two), 0);
    assert_int_equal(one, two);
    ops->unpin(second, mem);
    ops->close(second);
    mem[0] = 42;
    assert_int_equal(ops->copy_async(s, one + 1, one, 1), 0);
    assert_int_equal(ops->stream_wait(s, LONG_NS, NULL), 0);
    assert_int_equal(mem[1], 42);
    ops->stream_close(s);
    ops->unpin(gpu, mem);
    assert_int_equal(ops->pin(gpu, mem, PINNED_BYTES, &three), 0);
    ops->unpin(gpu, mem);
    munmap(mem, PINNED_BYTES);
}

/* ---- page kernels ---- */

struct page_case {
    uint32_t pages_shift, page_bytes, blocks, threads;
};

static const struct page_case page_cases[] = {
    {0, 4096, 1, 32}, {6, 4096, 4, 128}, {6, 4096, 3, 96},  {5, 16, 2, 64},
    {4, 528, 1, 32},  {4, 4112, 2, 32},  {3, 65536, 2, 40}, {7, 512, 1, 7},
};

struct page_memory {
    struct gpu_stream *stream;
    uint8_t *pinned, *expected; /* expected: what the device memory holds */
    struct k_page_args args;
    size_t bytes;
};

static void page_setup(struct page_memory *m, const struct page_case *c)
{
    uint64_t pages = UINT64_C(1) << c->pages_shift;
    memset(m, 0, sizeof(*m));
    m->bytes = pages * c->page_bytes;
    m->pinned = page_memory(PINNED_BYTES);
    m->expected = malloc(m->bytes);
    assert_non_null(m->expected);
    m->args.device_at = device_memory(m->bytes);
    assert_int_equal(ops->pin(gpu, m->pinned, PINNED_BYTES, &m->args.pinned_at),
                     0);
    m->args.count = pages;
    m->args.seed = seed;
    m->args.pages_shift = c->pages_shift;
    m->args.page_bytes = c->page_bytes;
    m->stream = new_stream();
}

static void page_teardown(struct page_memory *m)
{
    ops->stream_close(m->stream);
    ops->unpin(gpu, m->pinned);
    ops->release(gpu, m->args.device_at);
    munmap(m->pinned, PINNED_BYTES);
    free(m->expected);
}

/* Page i of the device is page k_page_place(i) of the pinned memory. */
static void page_compare(const struct page_memory *m)
{
    const struct k_page_args *a = &m->args;
    for (uint64_t i = 0; i < a->count; i++) {
        uint64_t place = k_page_place(i, a->pages_shift, a->seed);
        assert_memory_equal(m->expected + i * a->page_bytes,
                            m->pinned + place * a->page_bytes, a->page_bytes);
    }
}

static void put_one_case(const struct page_case *c)
{
    struct page_memory m;
    page_setup(&m, c);
    fill_random(m.expected, m.bytes);
    assert_int_equal(ops->to_device(gpu, m.args.device_at, m.expected, m.bytes),
                     0);
    assert_int_equal(launch(m.stream, "k_page_put", c->blocks, c->threads,
                            &m.args, sizeof(m.args)),
                     0);
    assert_int_equal(ops->stream_wait(m.stream, LONG_NS, NULL), 0);
    page_compare(&m);
    page_teardown(&m);
}

static void get_one_case(const struct page_case *c)
{
    struct page_memory m;
    page_setup(&m, c);
    fill_random(m.pinned, m.bytes);
    assert_int_equal(launch(m.stream, "k_page_get", c->blocks, c->threads,
                            &m.args, sizeof(m.args)),
                     0);
    assert_int_equal(ops->stream_wait(m.stream, LONG_NS, NULL), 0);
    assert_int_equal(
        ops->from_device(gpu, m.expected, m.args.device_at, m.bytes), 0);
    page_compare(&m);
    page_teardown(&m);
}

static void page_put_moves_each_page_to_its_place(void **state)
{
    (void)state;
    need_kernels();
    for (size_t i = 0; i < sizeof(page_cases) / sizeof(page_cases[0]); i++)
        put_one_case(&page_cases[i]);
}

static void page_get_moves_each_page_from_its_place(void **state)
{
    (void)state;
    need_kernels();
    for (size_t i = 0; i < sizeof(page_cases) / sizeof(page_cases[0]); i++)
        get_one_case(&page_cases[i]);
}

static void work_of_one_stream_runs_in_order(void **state)
{
    const struct page_case *c = &page_cases[1];
    struct page_memory m;
    struct k_page_args back;
    uint64_t elapsed = 0;
    (void)state;
    need_kernels();
    page_setup(&m, c);
    back = m.args;
    back.device_at = device_memory(m.bytes);
    fill_random(m.expected, m.bytes);
    assert_int_equal(ops->to_device(gpu, m.args.device_at, m.expected, m.bytes),
                     0);
    assert_int_equal(launch(m.stream, "k_page_put", c->blocks, c->threads,
                            &m.args, sizeof(m.args)),
                     0);
    assert_int_equal(launch(m.stream, "k_page_get", 1, 32, &back, sizeof(back)),
                     0);
    memset(&back.seed, 0xff, sizeof(back.seed)); /* launch has a copy */
    assert_int_equal(ops->stream_wait(m.stream, LONG_NS, &elapsed), 0);
    assert_true(elapsed > 0);
    page_compare(&m);
    uint8_t *got = malloc(m.bytes);
    assert_non_null(got);
    assert_int_equal(ops->from_device(gpu, got, back.device_at, m.bytes), 0);
    assert_memory_equal(got, m.expected, m.bytes);
    free(got);
    ops->release(gpu, back.device_at);
    page_teardown(&m);
}

/* ---- ping-pong ---- */

/* The CPU's side, and the memory of one ping-pong. */
struct server {
    uint8_t *mem; /* pinned: ping at 0, pong at 128, result at 256 */
    pthread_t thread;
    struct gpu_stream *stream;
    struct k_pingpong_args args;
    int stop;
};

static void *serve(void *user)
{
    struct server *v = (struct server *)user;
    uint32_t *ping = (uint32_t *)(void *)v->mem;
    uint32_t *pong = (uint32_t *)(void *)(v->mem + 128);
    for (uint32_t i = 1; i <= v->args.rounds; i++) {
        /* Acquire: partner is the kernel's store; the flag orders nothing. */
        while (__atomic_load_n(ping, __ATOMIC_ACQUIRE) != i) {
            if (__atomic_load_n(&v->stop, __ATOMIC_RELAXED))
                return NULL;
            sched_yield();
        }
        __atomic_store_n(pong, i, __ATOMIC_RELEASE); /* partner: its load */
    }
    return NULL;
}

static void server_setup(struct server *v, uint32_t rounds, uint64_t timeout_ns)
{
    sl_devptr at = 0;
    memset(v, 0, sizeof(*v));
    v->mem = page_memory(4096);
    assert_int_equal(ops->pin(gpu, v->mem, 4096, &at), 0);
    v->args.ping_at = at;
    v->args.pong_at = at + 128;
    v->args.result_at = at + 256;
    v->args.timeout_ns = timeout_ns;
    v->args.rounds = rounds;
    v->stream = new_stream();
}

static void server_start(struct server *v)
{
    assert_int_equal(pthread_create(&v->thread, NULL, serve, v), 0);
}

static void server_join(struct server *v)
{
    __atomic_store_n(&v->stop, 1, __ATOMIC_RELAXED);
    pthread_join(v->thread, NULL);
}

static int server_launch(struct server *v)
{
    return launch(v->stream, "k_pingpong", 1, 1, &v->args, sizeof(v->args));
}

static const struct k_pingpong_result *server_result(const struct server *v)
{
    return (const struct k_pingpong_result *)(const void *)(v->mem + 256);
}

static void server_teardown(struct server *v)
{
    ops->stream_close(v->stream);
    ops->unpin(gpu, v->mem);
    munmap(v->mem, 4096);
}

static void pingpong_is_served_by_a_cpu_thread(void **state)
{
    struct server v;
    uint64_t elapsed = 0;
    (void)state;
    need_kernels();
    server_setup(&v, 500, LONG_NS);
    server_start(&v);
    int rc = server_launch(&v);
    int waited = rc ? rc : ops->stream_wait(v.stream, LONG_NS * 2u, &elapsed);
    server_join(&v);
    assert_int_equal(rc, 0);
    assert_int_equal(waited, 0);
    assert_int_equal(server_result(&v)->rounds, 500);
    assert_true(elapsed > 0);
    server_teardown(&v);
}

static void pingpong_without_a_server_ends_at_its_deadline(void **state)
{
    struct server v;
    (void)state;
    need_kernels();
    server_setup(&v, 3, 1000000);
    assert_int_equal(server_launch(&v), 0);
    assert_int_equal(ops->stream_wait(v.stream, LONG_NS, NULL), 0);
    assert_int_equal(server_result(&v)->rounds, 0);
    assert_true(server_result(&v)->ns >= 1000000);
    server_teardown(&v);
}

static void wait_for_a_running_kernel_times_out(void **state)
{
    struct server v;
    (void)state;
    need_kernels();
    server_setup(&v, 2, LONG_NS);
    assert_int_equal(server_launch(&v), 0);
    int at_once = ops->stream_wait(v.stream, NO_TIME, NULL);
    int later = ops->stream_wait(v.stream, 1000000, NULL);
    server_start(&v);
    int at_last = ops->stream_wait(v.stream, LONG_NS * 2u, NULL);
    server_join(&v);
    assert_int_equal(at_once, SL_ETIMEDOUT);
    assert_int_equal(later, SL_ETIMEDOUT);
    assert_int_equal(at_last, 0);
    assert_int_equal(server_result(&v)->rounds, 2);
    server_teardown(&v);
}

static void a_kernel_does_not_hold_up_another_stream_or_a_copy(void **state)
{
    struct server held, free_one;
    uint8_t sent = 7, got = 0;
    (void)state;
    need_kernels();
    server_setup(&held, 1, LONG_NS);
    server_setup(&free_one, 50, LONG_NS);
    sl_devptr p = device_memory(1);
    assert_int_equal(server_launch(&held), 0); /* nobody answers it yet */
    assert_int_equal(server_launch(&free_one), 0);
    server_start(&free_one);
    int second = ops->stream_wait(free_one.stream, LONG_NS, NULL);
    int in = ops->to_device(gpu, p, &sent, 1);
    int out = ops->from_device(gpu, &got, p, 1);
    int first = ops->stream_wait(held.stream, NO_TIME, NULL);
    server_start(&held);
    int end = ops->stream_wait(held.stream, LONG_NS * 2u, NULL);
    server_join(&free_one);
    server_join(&held);
    assert_int_equal(second, 0);
    assert_int_equal(in, 0);
    assert_int_equal(out, 0);
    assert_int_equal(got, 7);
    assert_int_equal(first, SL_ETIMEDOUT);
    assert_int_equal(end, 0);
    ops->release(gpu, p);
    server_teardown(&held);
    server_teardown(&free_one);
}

/* ---- streams ---- */

static void wait_for_nothing_returns_at_once(void **state)
{
    uint64_t elapsed = 1;
    (void)state;
    need_device();
    struct gpu_stream *s = new_stream();
    assert_int_equal(ops->stream_wait(s, NO_TIME, &elapsed), 0);
    assert_int_equal(elapsed, 0);
    ops->stream_close(s);
}

static void unknown_kernel_is_enosys(void **state)
{
    struct k_page_args args;
    (void)state;
    need_device();
    memset(&args, 0, sizeof(args));
    struct gpu_stream *s = new_stream();
    log_lines = 0;
    assert_int_equal(launch(s, "k_no_such", 1, 1, &args, sizeof(args)),
                     SL_ENOSYS);
    assert_int_equal(log_lines, 1);
    assert_int_equal(ops->stream_wait(s, LONG_NS, NULL), 0);
    ops->stream_close(s);
}

/* Larger blocks are not more of them. */
static void occupancy_is_of_the_kernel_and_its_blocks(void **state)
{
    uint32_t small = 0, large = 0;
    (void)state;
    need_device();
    log_lines = 0;
    assert_int_equal(ops->occupancy(gpu, "k_no_such", 32, &small), SL_ENOSYS);
    assert_int_equal(log_lines, 1);
    assert_int_equal(small, 0);
    if (ops == &gpu_cuda_ops && kernel_fatbin_bytes == 0)
        skip();
    assert_int_equal(ops->occupancy(gpu, "k_page_put", 32, &small), 0);
    assert_int_equal(ops->occupancy(gpu, "k_page_put", 1024, &large), 0);
    assert_in_range(large, 1, small);
}

static void a_build_without_kernels_launches_none(void **state)
{
    struct k_page_args args;
    (void)state;
    need_device();
    if (ops != &gpu_cuda_ops || kernel_fatbin_bytes != 0)
        skip();
    memset(&args, 0, sizeof(args));
    struct gpu_stream *s = new_stream();
    assert_int_equal(launch(s, "k_page_put", 1, 32, &args, sizeof(args)),
                     SL_ENOSYS);
    ops->stream_close(s);
}

static const struct CMUnitTest device_tests[] = {
    cmocka_unit_test(info_names_the_device),
    cmocka_unit_test(allocated_memory_is_zero_and_aligned),
    cmocka_unit_test(copies_bring_back_the_same_bytes),
    cmocka_unit_test(pinned_memory_is_copied_on_a_stream),
    cmocka_unit_test(memory_is_pinned_for_two_handles_until_both_unpin),
    cmocka_unit_test(page_put_moves_each_page_to_its_place),
    cmocka_unit_test(page_get_moves_each_page_from_its_place),
    cmocka_unit_test(work_of_one_stream_runs_in_order),
    cmocka_unit_test(pingpong_is_served_by_a_cpu_thread),
    cmocka_unit_test(pingpong_without_a_server_ends_at_its_deadline),
    cmocka_unit_test(wait_for_a_running_kernel_times_out),
    cmocka_unit_test(a_kernel_does_not_hold_up_another_stream_or_a_copy),
    cmocka_unit_test(wait_for_nothing_returns_at_once),
    cmocka_unit_test(unknown_kernel_is_enosys),
    cmocka_unit_test(a_build_without_kernels_launches_none),
    cmocka_unit_test(occupancy_is_of_the_kernel_and_its_blocks),
};

static int open_group(void **state)
{
    char why[256] = "";
    (void)state;
    gpu = NULL;
    if (ops->count(why, sizeof(why)) == 0) {
        print_message("skipped, no %s device: %s\n", ops->kind, why);
        return why[0] ? 0 : -1; /* it must say why */
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
    const char *given = getenv("SEED");
    int failed = 0;
    seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    printf("SEED=%llu\n", (unsigned long long)seed);
    log_sink(count_lines, NULL);
    ops = &gpu_host_ops;
    failed += cmocka_run_group_tests_name("host", device_tests, open_group,
                                          close_group);
    ops = &gpu_cuda_ops;
    failed += cmocka_run_group_tests_name("cuda", device_tests, open_group,
                                          close_group);
    return failed ? 1 : 0;
}
