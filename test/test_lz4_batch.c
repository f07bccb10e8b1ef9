/* SPDX-License-Identifier: Apache-2.0 */
/* Batches of pages by the product's kernels, on each device there is. */
#include "help.h"

#include "gpu/gpu.h"
#include "gpu/kernels/table.h"
#include "pages/batch.h"

#include <lz4.h>

#define WAIT_NS UINT64_C(120000000000)

static const struct gpu_ops *ops;
static uint64_t seed;

/** A batch, with copies of all on the host. */
struct rig {
    struct gpu *gpu;
    struct batch b;
    uint64_t n;
    uint8_t *pages, *blocks, *back;
    struct sl_page_entry *entries;
    uint64_t total;
};

static sl_devptr device_with(struct rig *r, const void *from, size_t bytes)
{
    sl_devptr at;
    assert_int_equal(ops->alloc(r->gpu, bytes ? bytes : 1u, &at), 0);
    if (from)
        assert_int_equal(ops->to_device(r->gpu, at, from, bytes), 0);
    return at;
}

static void rig_open(struct rig *r, uint64_t bytes, uint32_t page_bytes)
{
    memset(r, 0, sizeof(*r));
    assert_int_equal(ops->open(0, &r->gpu), 0);
    assert_int_equal(ops->stream_open(r->gpu, &r->b.stream), 0);
    r->b.bytes = bytes;
    r->b.page_bytes = page_bytes;
    r->n = (bytes + page_bytes - 1) / page_bytes;
    r->pages = calloc(1, bytes);
    r->blocks = calloc(1, bytes);
    r->back = calloc(1, bytes);
    r->entries = calloc(r->n, sizeof(*r->entries));
    assert_true(r->pages && r->blocks && r->back && r->entries);
}

static void rig_close(struct rig *r)
{
    ops->stream_close(r->b.stream);
    ops->close(r->gpu);
    free(r->pages);
    free(r->blocks);
    free(r->back);
    free(r->entries);
}

static void rig_wait(struct rig *r)
{
    assert_int_equal(ops->stream_wait(r->b.stream, WAIT_NS, NULL), 0);
}

static void compress(struct rig *r, uint32_t mode)
{
    struct batch *b = &r->b;
    size_t entries = r->n * sizeof(*r->entries);
    b->mode = mode;
    b->src = device_with(r, r->pages, b->bytes);
    b->dst = device_with(r, NULL, b->bytes);
    b->entries = device_with(r, NULL, entries);
    b->scratch = device_with(r, NULL, batch_scratch(b->bytes, b->page_bytes));
    b->total = device_with(r, NULL, sizeof(r->total));
    assert_int_equal(batch_compress(b), 0);
    rig_wait(r);
    assert_int_equal(
        ops->from_device(r->gpu, &r->total, b->total, sizeof(r->total)), 0);
    assert_in_range(r->total, 0, b->bytes);
    assert_int_equal(ops->from_device(r->gpu, r->blocks, b->dst, r->total), 0);
    assert_int_equal(ops->from_device(r->gpu, r->entries, b->entries, entries),
                     0);
    ops->release(r->gpu, b->src);
    ops->release(r->gpu, b->dst);
    ops->release(r->gpu, b->entries);
    ops->release(r->gpu, b->scratch);
    ops->release(r->gpu, b->total);
}

/* r->blocks, of r->total bytes, to r->back; codes into r->entries. */
static void decompress(struct rig *r)
{
    struct batch *b = &r->b;
    size_t entries = r->n * sizeof(*r->entries);
    uint64_t codes = 0, some = 0;
    b->src_bytes = r->total;
    b->total = device_with(r, &codes, sizeof(codes));
    b->src = device_with(r, r->blocks, r->total);
    memset(r->back, 0xee, b->bytes);
    b->dst = device_with(r, r->back, b->bytes);
    b->entries = device_with(r, r->entries, entries);
    assert_int_equal(batch_decompress(b), 0);
    rig_wait(r);
    assert_int_equal(ops->from_device(r->gpu, r->back, b->dst, b->bytes), 0);
    assert_int_equal(ops->from_device(r->gpu, r->entries, b->entries, entries),
                     0);
    assert_int_equal(ops->from_device(r->gpu, &codes, b->total, sizeof(codes)),
                     0);
    for (uint64_t i = 0; i < r->n; i++)
        some |= r->entries[i].code != 0;
    assert_int_equal(codes, some);
    ops->release(r->gpu, b->src);
    ops->release(r->gpu, b->dst);
    ops->release(r->gpu, b->entries);
    ops->release(r->gpu, b->total);
}

static uint32_t page_len(const struct rig *r, uint64_t i)
{
    uint64_t left = r->b.bytes - i * r->b.page_bytes;
    return left < r->b.page_bytes ? (uint32_t)left : r->b.page_bytes;
}

/* By turns: words, zero, a value of 8 bytes, noise, one that is almost zero. */
static void make_pages(struct rig *r)
{
    static const char *const words[] = {"page ",  "of ", "words ",
                                        "again ", "42 ", "[]\n"};
    for (uint64_t i = 0; i < r->n; i++) {
        uint8_t *p = r->pages + i * r->b.page_bytes;
        uint32_t n = page_len(r, i);
        uint64_t value = test_random(&seed);
        memset(p, 0, n);
        if (i % 5u == 0)
            for (uint32_t k = 0; k < n; k++)
                p[k] = (uint8_t)
                    words[(k / 5u * 7u + i + k * k / 900u) % 6u][k % 2u];
        else if (i % 5u == 2u)
            for (uint32_t k = 0; k < n; k++)
                p[k] = (uint8_t)(value >> (k % 8u * 8u));
        else if (i % 5u == 3u)
            fill(p, n, value);
        else if (i % 5u == 4u)
            p[n - 1u] = 1;
    }
}

/* Entries in order and without gaps, kinds as the pages are. */
static void expect_entries(const struct rig *r)
{
    static const uint8_t kinds[] = {SL_PAGE_LZ4, SL_PAGE_ZERO, SL_PAGE_FILL,
                                    SL_PAGE_RAW, SL_PAGE_LZ4};
    uint64_t at = 0;
    for (uint64_t i = 0; i < r->n; i++) {
        const struct sl_page_entry *e = &r->entries[i];
        uint32_t n = page_len(r, i);
        assert_int_equal(e->code, 0);
        assert_int_equal(e->reserved, 0);
        if (n == r->b.page_bytes)
            assert_int_equal(e->kind, kinds[i % 5u]);
        if (e->kind == SL_PAGE_ZERO || e->kind == SL_PAGE_FILL) {
            assert_int_equal(e->stored, 0);
            continue;
        }
        assert_int_equal(e->at_or_fill, at);
        assert_in_range(e->stored, 1, e->kind == SL_PAGE_RAW ? n : n - 1u);
        if (e->kind == SL_PAGE_LZ4)
            assert_int_equal(LZ4_decompress_safe((const char *)r->blocks + at,
                                                 (char *)r->back,
                                                 (int)e->stored, (int)n),
                             n);
        else
            memcpy(r->back, r->blocks + at, n);
        assert_memory_equal(r->back, r->pages + i * r->b.page_bytes, n);
        at += e->stored;
    }
    assert_int_equal(at, r->total);
}

static void round_trip_parts(uint64_t bytes, uint32_t page_bytes, uint32_t mode,
                             uint32_t parts)
{
    struct rig r;
    rig_open(&r, bytes, page_bytes);
    r.b.parts = parts;
    make_pages(&r);
    compress(&r, mode);
    expect_entries(&r);
    decompress(&r);
    assert_memory_equal(r.back, r.pages, bytes);
    for (uint64_t i = 0; i < r.n; i++)
        assert_int_equal(r.entries[i].code, 0);
    rig_close(&r);
}

static void round_trip(uint64_t bytes, uint32_t page_bytes, uint32_t mode)
{
    round_trip_parts(bytes, page_bytes, mode, 1);
}

static void several_warps_share_a_page(void **state)
{
    static const uint32_t tails[] = {0, 1, 12, 13, 511, 513, 2048, 4095};
    uint32_t step = SANITIZED ? 4u : 1u;
    (void)state;
    for (uint32_t parts = 0; parts <= 16u; parts += parts ? parts : 2u * step) {
        for (size_t i = parts % step; i < sizeof(tails) / sizeof(tails[0]);
             i += step)
            round_trip_parts(4096u * (4u / step) + tails[i], 4096, i % 2u,
                             parts);
        round_trip_parts(64u * 64u / step, 64, SL_PAGES_DEFAULT, parts);
        round_trip_parts(192u * 40u / step, 192, SL_PAGES_FAST, parts);
        round_trip_parts(8192u * (4u / step) + 100u, 8192, SL_PAGES_DEFAULT,
                         parts);
        if (!SLOW_LANES || parts == 8u)
            round_trip_parts(65536u * (4u / step) + 300u, 65536,
                             parts % 4u == 0, parts);
    }
}

static void pages_of_all_kinds_come_back(void **state)
{
    static const uint32_t pages[] = {1023, 1024, 1025, 65, 1000};
    uint32_t less = SLOW_LANES ? 5u : 1u;
    (void)state;
    round_trip(4096u * (20u / less), 4096, SL_PAGES_DEFAULT);
    round_trip(4096u * (20u / less), 4096, SL_PAGES_FAST);
    round_trip(65536u * (5u / less), 65536, SL_PAGES_DEFAULT);
    round_trip(65536u * (5u / less), 65536, SL_PAGES_FAST);
    round_trip(64u * 3000u, 64, SL_PAGES_DEFAULT); /* several sums */
    for (size_t i = SLOW_LANES ? 3u : 0u; i < sizeof(pages) / sizeof(pages[0]);
         i++)
        round_trip(64u * pages[i], 64, SL_PAGES_DEFAULT); /* a smaller block */
    round_trip(8192u * 6u, 8192, SL_PAGES_DEFAULT);
}

static void the_last_page_may_be_short(void **state)
{
    static const uint32_t tails[] = {1, 7, 8, 9, 15, 16, 17, 31, 100, 4095};
    (void)state;
    for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++)
        round_trip(4096u * (i % 5u) + tails[i], 4096, SL_PAGES_DEFAULT);
}

/* What a hostile sender might write, and what a page becomes then. */
static void bad_entries(uint32_t parts)
{
    struct rig r;
    rig_open(&r, 4096u * 20u, 4096);
    r.b.parts = parts;
    make_pages(&r);
    compress(&r, SL_PAGES_DEFAULT);
    r.entries[0].at_or_fill = UINT64_MAX;
    r.entries[3].stored = 4095;
    r.entries[4].stored -= 1u;
    r.entries[5].kind = 9;
    r.entries[8].at_or_fill = r.total - 1u;
    r.entries[9].stored = UINT32_MAX;
    r.entries[10].kind = SL_PAGE_RAW;
    r.blocks[r.entries[14].at_or_fill] ^= 0xff;
    r.entries[15].code = 77; /* the sender's; it is written anew */
    decompress(&r);
    for (uint64_t i = 0; i < r.n; i++) {
        int bad = i == 0 || i == 3 || i == 4 || i == 5 || i == 8 || i == 9 ||
                  i == 10 || i == 14;
        const uint8_t *p = r.back + i * 4096u;
        assert_int_equal(r.entries[i].code, bad ? SL_EBLOCK : 0);
        if (!bad)
            assert_memory_equal(p, r.pages + i * 4096u, 4096);
        for (uint32_t k = 0; bad && k < 4096u; k++)
            assert_int_equal(p[k], 0);
    }
    rig_close(&r);
}

static void a_bad_entry_fails_its_page_alone(void **state)
{
    (void)state;
    bad_entries(1);
    bad_entries(8);
}

static void sizes_out_of_range_are_refused(void **state)
{
    static const uint32_t sizes[] = {0, 63, 65, 100, 65536u + 64u};
    struct rig r;
    (void)state;
    rig_open(&r, 4096, 4096);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        r.b.page_bytes = sizes[i];
        assert_int_equal(batch_compress(&r.b), SL_EPAGESIZE);
        assert_int_equal(batch_decompress(&r.b), SL_EPAGESIZE);
    }
    r.b.page_bytes = 4096;
    r.b.mode = 2;
    assert_int_equal(batch_compress(&r.b), SL_EINVAL);
    r.b.bytes = 0;
    assert_int_equal(batch_decompress(&r.b), SL_EINVAL);
    rig_close(&r);
}

static int run_on(const struct gpu_ops *device, const struct CMUnitTest *tests,
                  size_t n)
{
    char why[256] = "";
    int there = device->count(why, sizeof(why)) > 0 &&
                (device == &gpu_host_ops || kernel_fatbin_bytes);
    printf("# device %s: %s\n", device->kind, there ? "runs" : "not run");
    ops = device;
    return there ? _cmocka_run_group_tests(device->kind, tests, n, NULL, NULL)
                 : 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_of_all_kinds_come_back),
        cmocka_unit_test(several_warps_share_a_page),
        cmocka_unit_test(the_last_page_may_be_short),
        cmocka_unit_test(a_bad_entry_fails_its_page_alone),
        cmocka_unit_test(sizes_out_of_range_are_refused),
    };
    seed = test_seed("test_lz4_batch");
    int failed = run_on(&gpu_host_ops, tests, sizeof(tests) / sizeof(tests[0]));
    failed += run_on(&gpu_cuda_ops, tests, sizeof(tests) / sizeof(tests[0]));
    return failed != 0;
}
