/* SPDX-License-Identifier: Apache-2.0 */
#include "pages_rig.h"

#include "gpu/gpu.h"
#include "gpu/kernels/table.h"

#include <lz4.h>

const char *pages_device;
uint64_t pages_seed;

struct sl_pages *open_pages(uint32_t page, uint64_t slot_pages)
{
    struct sl_pages_opts o = {.size = sizeof(o),
                              .page_bytes = page,
                              .device = pages_device,
                              .slots = 3,
                              .threads = 3,
                              .slot_bytes = slot_pages * page,
                              .gpu_threshold = 1};
    struct sl_pages *p = NULL;
    assert_int_equal(sl_pages_open(&o, &p), 0);
    return p;
}

void trip_make(struct trip *b, uint32_t page, uint64_t bytes)
{
    memset(b, 0, sizeof(*b));
    b->page = page;
    b->bytes = bytes;
    b->n = sl_pages_count(bytes, page);
    b->src = malloc(bytes);
    b->dst = malloc(bytes);
    b->back = malloc(bytes);
    b->entries = malloc(b->n * sizeof(*b->entries));
    assert_true(b->src && b->dst && b->back && b->entries);
    memset(b->entries, 0xee, b->n * sizeof(*b->entries));
}

void trip_free(struct trip *b)
{
    free(b->src);
    free(b->dst);
    free(b->back);
    free(b->entries);
}

void trip_compress(struct trip *b, struct sl_pages *p)
{
    assert_int_equal(sl_pages_compress(p, b->src, b->bytes, b->dst, b->bytes,
                                       b->entries, b->n, &b->r),
                     0);
    b->blocks = b->r.bytes_out;
    assert_true(b->blocks <= b->bytes);
}

int trip_decompress(struct trip *b, struct sl_pages *p)
{
    memset(b->back, 0xdd, b->bytes);
    return sl_pages_decompress(p, b->dst, b->blocks, b->entries, b->n, b->back,
                               b->bytes, &b->r);
}

static uint32_t trip_len(const struct trip *b, uint64_t i)
{
    uint64_t left = b->bytes - i * b->page;
    return left < b->page ? (uint32_t)left : b->page;
}

void check_entries(const struct trip *b)
{
    uint64_t at = 0;
    uint8_t *page = malloc(b->page);
    assert_non_null(page);
    for (uint64_t i = 0; i < b->n; i++) {
        const struct sl_page_entry *e = &b->entries[i];
        const uint8_t *want = b->src + i * b->page;
        uint32_t len = trip_len(b, i);
        assert_int_equal(e->code, 0);
        assert_true(e->stored <= len);
        if (e->kind == SL_PAGE_LZ4 || e->kind == SL_PAGE_RAW)
            assert_int_equal(e->at_or_fill, at);
        else
            assert_int_equal(e->stored, 0);
        if (e->kind == SL_PAGE_LZ4) {
            assert_int_equal(LZ4_decompress_safe((char *)b->dst + at,
                                                 (char *)page, (int)e->stored,
                                                 (int)len),
                             len);
            assert_memory_equal(page, want, len);
        }
        if (e->kind == SL_PAGE_RAW)
            assert_memory_equal(b->dst + at, want, len);
        at += e->stored;
    }
    assert_int_equal(at, b->blocks);
    free(page);
}

void round_trip(struct sl_pages *p, uint32_t page, uint64_t bytes)
{
    struct trip b;
    trip_make(&b, page, bytes);
    pages_make(b.src, bytes, page, &pages_seed);
    trip_compress(&b, p);
    check_entries(&b);
    assert_int_equal(b.r.bytes_in, bytes);
    assert_int_equal(b.r.pages, b.n);
    assert_int_equal(b.r.lz4 + b.r.raw + b.r.zero + b.r.fill, b.n);
    assert_int_equal(trip_decompress(&b, p), 0);
    assert_memory_equal(b.back, b.src, bytes);
    assert_int_equal(b.r.bytes_out, bytes);
    assert_int_equal(b.r.bad, 0);
    trip_free(&b);
}

int pages_on_devices(const struct CMUnitTest *tests, size_t n, size_t n_threads)
{
    size_t n_host = SLOW_LANES ? n_threads : n;
    char why[256] = "";
    pages_device = "cpu";
    int failed = _cmocka_run_group_tests("cpu", tests, n, NULL, NULL);
    pages_device = "host";
    if (n_host)
        failed += _cmocka_run_group_tests("host", tests, n_host, NULL, NULL);
    pages_device = cuda_name();
    if (gpu_cuda_ops.count(why, sizeof(why)) == 0 || kernel_fatbin_bytes == 0)
        printf("cuda is skipped: %s\n", why[0] ? why : "no kernels");
    else
        failed += _cmocka_run_group_tests("cuda", tests, n, NULL, NULL);
    return failed;
}
