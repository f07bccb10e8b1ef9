/* SPDX-License-Identifier: Apache-2.0 */
/* Batches of pages through one list of tests: on the CPU, by the kernels on the
 * host device, and on CUDA where there is one. */
#include "pages_rig.h"

#include <sys/mman.h>

/* ---- pages ---- */

/* Emulated lanes are some thousand times slower than liblz4. */
static uint64_t most_bytes(void)
{
    if (strcmp(pages_device, "host") != 0)
        return UINT64_MAX;
    return SLOW_LANES ? 700 : SANITIZED ? 100000 : 600000;
}

/* Left out where each launch takes a second. */
static int is_like_1(uint64_t bytes)
{
    return SLOW_LANES && strcmp(pages_device, "host") == 0 && bytes > 1 &&
           bytes <= 8;
}

static void pages_come_back(void **state)
{
    static const uint32_t sizes[] = {64, 192, 4096, 65536};
    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint32_t page = sizes[i];
        struct sl_pages *p = open_pages(page, 8);
        /* 8 pages a batch, 3 slots: the ring goes round. */
        const uint64_t bytes[] = {1,         7,         8,
                                  page - 1,  page,      page + 1,
                                  8 * page,  9 * page,  24 * page + 5,
                                  40 * page, 57 * page, 3 * page - 3};
        for (size_t k = 0; k < sizeof(bytes) / sizeof(bytes[0]); k++)
            if (bytes[k] <= most_bytes() && !is_like_1(bytes[k]))
                round_trip(p, page, bytes[k]);
        sl_pages_close(p);
    }
}

static void short_last_pages_of_all_sizes_come_back(void **state)
{
    struct sl_pages *p = open_pages(320, 16);
    (void)state;
    uint64_t by = strcmp(pages_device, "host") != 0 ? 1 : SANITIZED ? 23 : 7;
    for (uint64_t bytes = 1; bytes <= 320 + 8; bytes += by)
        for (unsigned made = 0; made < MADE_KINDS; made++) {
            struct trip b;
            trip_make(&b, 320, bytes);
            page_make(b.src, bytes, made, &pages_seed);
            trip_compress(&b, p);
            check_entries(&b);
            assert_int_equal(trip_decompress(&b, p), 0);
            assert_memory_equal(b.back, b.src, bytes);
            trip_free(&b);
        }
    sl_pages_close(p);
}

static void each_kind_of_page_is_told(void **state)
{
    static const unsigned made[] = {MADE_ZERO, MADE_FILL, MADE_RANDOM,
                                    MADE_WORDS};
    static const uint8_t kind[] = {SL_PAGE_ZERO, SL_PAGE_FILL, SL_PAGE_RAW,
                                   SL_PAGE_LZ4};
    struct sl_pages *p = open_pages(4096, 4);
    struct trip b;
    (void)state;
    trip_make(&b, 4096, 4 * 4096);
    for (size_t i = 0; i < 4; i++)
        page_make(b.src + i * 4096, 4096, made[i], &pages_seed);
    trip_compress(&b, p);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(b.entries[i].kind, kind[i]);
    assert_memory_equal(&b.entries[1].at_or_fill, b.src + 4096, 8);
    assert_int_equal(b.r.zero, 1);
    assert_int_equal(b.r.fill, 1);
    assert_int_equal(b.r.raw, 1);
    assert_int_equal(b.r.lz4, 1);
    assert_true(b.r.bytes_out < 4096 + 4096);
    trip_free(&b);
    sl_pages_close(p);
}

/* One byte that differs makes a page another kind. */
static void a_page_is_zero_or_fill_to_its_last_byte(void **state)
{
    struct sl_pages *p = open_pages(4096, 4);
    (void)state;
    for (int i = 0; i < 12; i++) {
        struct trip b;
        size_t at = i < 6 ? (size_t)i * 3 : 4096u - (size_t)i;
        trip_make(&b, 4096, 2 * 4096);
        page_make(b.src, 4096, MADE_ZERO, &pages_seed);
        page_make(b.src + 4096, 4096, MADE_FILL, &pages_seed);
        b.src[at] ^= 1;
        b.src[4096 + at] ^= 1;
        trip_compress(&b, p);
        assert_int_equal(b.entries[0].kind, SL_PAGE_LZ4);
        assert_int_equal(b.entries[1].kind, SL_PAGE_LZ4);
        assert_int_equal(trip_decompress(&b, p), 0);
        assert_memory_equal(b.back, b.src, b.bytes);
        trip_free(&b);
    }
    sl_pages_close(p);
}

static void fast_mode_comes_back(void **state)
{
    struct sl_pages_opts o = {.size = sizeof(o),
                              .mode = SL_PAGES_FAST,
                              .device = pages_device,
                              .threads = 2,
                              .slot_bytes = 16 * 4096,
                              .gpu_threshold = 1};
    struct sl_pages *p = NULL;
    (void)state;
    assert_int_equal(sl_pages_open(&o, &p), 0);
    round_trip(p, 4096, (SANITIZED ? 20 : 40) * 4096 + 77);
    sl_pages_close(p);
}

/* ---- page-locked memory of the caller ---- */

static void pinned_memory_gives_the_same(void **state)
{
    enum { PAGE = 4096, N = 40, BYTES = PAGE * N };
    struct sl_pages *p = open_pages(PAGE, 8);
    uint8_t *mem = mmap(NULL, 3 * BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct sl_page_entry e[N];
    struct sl_pages_report r;
    (void)state;
    assert_true(mem != MAP_FAILED);
    assert_int_equal(sl_pages_pin(p, mem + 1, PAGE), SL_EINVAL);
    assert_int_equal(sl_pages_pin(p, mem, PAGE - 1), SL_EINVAL);
    assert_int_equal(sl_pages_pin(p, mem, 3 * BYTES), 0);
    pages_make(mem, BYTES, PAGE, &pages_seed);
    assert_int_equal(
        sl_pages_compress(p, mem, BYTES, mem + BYTES, BYTES, e, N, &r), 0);
    assert_int_equal(sl_pages_decompress(p, mem + BYTES, r.bytes_out, e, N,
                                         mem + 2 * BYTES, BYTES, &r),
                     0);
    assert_memory_equal(mem + 2 * BYTES, mem, BYTES);
    assert_int_equal(sl_pages_unpin(p, mem), 0);
    assert_int_equal(sl_pages_unpin(p, mem), SL_EINVAL);
    sl_pages_close(p);
    munmap(mem, 3 * BYTES);
}

/* ---- reports ---- */

static void the_report_says_which_path_ran(void **state)
{
    struct sl_pages *p = open_pages(4096, 8);
    struct trip b;
    int cpu = strcmp(pages_device, "cpu") == 0;
    (void)state;
    trip_make(&b, 4096, 20 * 4096);
    pages_make(b.src, b.bytes, 4096, &pages_seed);
    trip_compress(&b, p);
    assert_int_equal(b.r.batches, 3);
    assert_int_equal(b.r.path, cpu ? SL_PAGES_CPU : SL_PAGES_GPU);
    assert_int_equal(b.r.on_device, cpu ? 0 : 3);
    assert_int_equal(b.r.why[0] != 0, cpu);
    assert_int_equal(b.r.why_code, 0);
    assert_int_equal(b.r.cpu_ns > 0, cpu);
    assert_int_equal(b.r.kernel_ns > 0, !cpu);
    assert_true(b.r.wall_ns > 0);
    trip_free(&b);
    sl_pages_close(p);
}

static void small_batches_go_to_the_cpu(void **state)
{
    struct sl_pages_opts o = {.size = sizeof(o),
                              .device = pages_device,
                              .slot_bytes = 16 * 4096,
                              .gpu_threshold = 8 * 4096};
    struct sl_pages *p = NULL;
    struct trip b;
    (void)state;
    if (strcmp(pages_device, "cpu") == 0)
        skip();
    assert_int_equal(sl_pages_open(&o, &p), 0);
    trip_make(&b, 4096, 8 * 4096 - 1);
    pages_make(b.src, b.bytes, 4096, &pages_seed);
    trip_compress(&b, p);
    assert_int_equal(b.r.path, SL_PAGES_CPU);
    assert_true(b.r.why[0] != 0);
    assert_int_equal(trip_decompress(&b, p), 0);
    assert_memory_equal(b.back, b.src, b.bytes);
    trip_free(&b);
    /* The last batch is a small one. */
    trip_make(&b, 4096, 35 * 4096);
    pages_make(b.src, b.bytes, 4096, &pages_seed);
    trip_compress(&b, p);
    check_entries(&b);
    assert_int_equal(b.r.path, SL_PAGES_MIXED);
    assert_int_equal(b.r.on_device, 2);
    assert_int_equal(trip_decompress(&b, p), 0);
    assert_memory_equal(b.back, b.src, b.bytes);
    trip_free(&b);
    sl_pages_close(p);
}

/* ---- what no device is needed for ---- */

static void page_sizes_and_options_are_checked(void **state)
{
    static const uint32_t bad[] = {1, 32, 63, 65, 100, 65537, 65600, 131072};
    struct sl_pages *p = NULL;
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct sl_pages_opts o = {
            .size = sizeof(o), .page_bytes = bad[i], .device = "cpu"};
        assert_int_equal(sl_pages_open(&o, &p), SL_EPAGESIZE);
    }
    struct sl_pages_opts wrong[] = {
        {.device = "cpu", .slots = 1},
        {.device = "cpu", .slots = 65},
        {.device = "cpu", .threads = 257},
        {.device = "cpu", .mode = 2},
        {.device = "cpu", .slot_bytes = 4097},
        {.device = "cpu", .slot_bytes = UINT64_C(1) << 31},
        {.device = "gpu"},
        {.device = ""},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        wrong[i].size = sizeof(wrong[i]);
        assert_int_equal(sl_pages_open(&wrong[i], &p), SL_EINVAL);
    }
    wrong[0] = (struct sl_pages_opts){.size = 12, .device = "cpu"};
    assert_int_equal(sl_pages_open(&wrong[0], &p), SL_EINVAL);
    struct sl_pages_opts absent = {.size = sizeof(absent), .device = "cuda:99"};
    assert_int_equal(sl_pages_open(&absent, &p), SL_ENODEV);
    assert_int_equal(sl_pages_open(NULL, NULL), SL_EINVAL);
    assert_null(p);
    assert_int_equal(sl_pages_open(NULL, &p), 0);
    assert_true(sl_pages_device(p)[0] != 0);
    sl_pages_close(p);
    sl_pages_close(NULL);
}

static void calls_are_checked(void **state)
{
    enum { PAGE = 4096 };
    static uint8_t mem[8 * PAGE];
    struct sl_page_entry e[4];
    struct sl_pages *p;
    (void)state;
    pages_device = "cpu";
    p = open_pages(PAGE, 4);
    uint8_t *src = mem, *dst = mem + 4 * PAGE;
    const uint64_t n = 2 * PAGE;
    assert_int_equal(sl_pages_compress(NULL, src, n, dst, n, e, 2, NULL),
                     SL_EINVAL);
    assert_int_equal(sl_pages_compress(p, src, 0, dst, n, e, 0, NULL),
                     SL_EINVAL);
    assert_int_equal(sl_pages_compress(p, NULL, n, dst, n, e, 2, NULL),
                     SL_EINVAL);
    assert_int_equal(sl_pages_compress(p, src, n, NULL, n, e, 2, NULL),
                     SL_EINVAL);
    assert_int_equal(sl_pages_compress(p, src, n, dst, n, NULL, 2, NULL),
                     SL_EINVAL);
    assert_int_equal(sl_pages_compress(p, src, n, dst, n - 1, e, 2, NULL),
                     SL_EINVAL);
    assert_int_equal(sl_pages_compress(p, src, n, dst, n, e, 1, NULL),
                     SL_EINVAL);
    assert_int_equal(sl_pages_compress(p, src, n, dst, n, e, 3, NULL),
                     SL_EINVAL);
    assert_int_equal(sl_pages_compress(p, src, n, src + n - 1, n, e, 2, NULL),
                     SL_EOVERLAP);
    assert_int_equal(sl_pages_compress(p, dst, n, dst - n + 1, n, e, 2, NULL),
                     SL_EOVERLAP);
    assert_int_equal(
        sl_pages_compress(p, src, n, dst, n, (void *)(src + 64), 2, NULL),
        SL_EOVERLAP);
    assert_int_equal(
        sl_pages_compress(p, src, n, dst, n, (void *)(dst + 64), 2, NULL),
        SL_EOVERLAP);
    assert_int_equal(sl_pages_compress(p, src, n, dst, n, e, 2, NULL), 0);
    assert_int_equal(sl_pages_decompress(p, src, 9, e, 2, src, n, NULL),
                     SL_EOVERLAP);
    assert_int_equal(sl_pages_decompress(p, src, 9, e, 2, dst, 0, NULL),
                     SL_EINVAL);
    assert_int_equal(sl_pages_decompress(p, NULL, 9, e, 2, dst, n, NULL),
                     SL_EINVAL);
    /* Zero pages have no blocks. */
    assert_int_equal(sl_pages_decompress(p, NULL, 0, e, 2, dst, n, NULL), 0);
    sl_pages_close(p);
}

static const struct CMUnitTest other_tests[] = {
    cmocka_unit_test(page_sizes_and_options_are_checked),
    cmocka_unit_test(calls_are_checked),
};

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(pages_come_back),
    cmocka_unit_test(small_batches_go_to_the_cpu),
    cmocka_unit_test(short_last_pages_of_all_sizes_come_back),
    cmocka_unit_test(each_kind_of_page_is_told),
    cmocka_unit_test(a_page_is_zero_or_fill_to_its_last_byte),
    cmocka_unit_test(fast_mode_comes_back),
    cmocka_unit_test(pinned_memory_gives_the_same),
    cmocka_unit_test(the_report_says_which_path_ran),
};

int main(void)
{
    int failed = cmocka_run_group_tests(other_tests, NULL, NULL);
    pages_seed = test_seed("test_pages");
    failed += pages_on_devices(tests, COUNT(tests), 2);
    return failed ? 1 : 0;
}
