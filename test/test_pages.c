/* SPDX-License-Identifier: Apache-2.0 */
/* Batches of pages through one list of tests: on the CPU, by the kernels on the
 * host device, and on CUDA where there is one. */
#include "gpu/gpu.h"
#include "gpu/kernels/table.h"
#include "pages/cpu.h"
#include "pages_help.h"

#include <lz4.h>
#include <lz4hc.h>
#include <pthread.h>
#include <sys/mman.h>

static const char *device; /* of the running group */
static uint64_t seed;

static struct sl_pages *open_pages(uint32_t page, uint64_t slot_pages)
{
    struct sl_pages_opts o = {.size = sizeof(o),
                              .page_bytes = page,
                              .device = device,
                              .slots = 3,
                              .threads = 3,
                              .slot_bytes = slot_pages * page,
                              .gpu_threshold = 1};
    struct sl_pages *p = NULL;
    assert_int_equal(sl_pages_open(&o, &p), 0);
    return p;
}

/* One compressed batch in buffers of exactly its size, so that the address
 * sanitizer sees each step outside. */
struct batch {
    uint32_t page;
    uint64_t bytes, n, blocks;
    uint8_t *src, *dst, *back;
    struct sl_page_entry *entries;
    struct sl_pages_report r;
};

static void batch_make(struct batch *b, uint32_t page, uint64_t bytes)
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

static void batch_free(struct batch *b)
{
    free(b->src);
    free(b->dst);
    free(b->back);
    free(b->entries);
}

static void batch_compress(struct batch *b, struct sl_pages *p)
{
    assert_int_equal(sl_pages_compress(p, b->src, b->bytes, b->dst, b->bytes,
                                       b->entries, b->n, &b->r),
                     0);
    b->blocks = b->r.bytes_out;
    assert_true(b->blocks <= b->bytes);
}

static int batch_decompress(struct batch *b, struct sl_pages *p)
{
    memset(b->back, 0xdd, b->bytes);
    return sl_pages_decompress(p, b->dst, b->blocks, b->entries, b->n, b->back,
                               b->bytes, &b->r);
}

static uint32_t batch_len(const struct batch *b, uint64_t i)
{
    uint64_t left = b->bytes - i * b->page;
    return left < b->page ? (uint32_t)left : b->page;
}

/* What the header promises of the entries; liblz4 decodes each block. */
static void check_entries(const struct batch *b)
{
    uint64_t at = 0;
    uint8_t *page = malloc(b->page);
    assert_non_null(page);
    for (uint64_t i = 0; i < b->n; i++) {
        const struct sl_page_entry *e = &b->entries[i];
        const uint8_t *want = b->src + i * b->page;
        uint32_t len = batch_len(b, i);
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

static void round_trip(struct sl_pages *p, uint32_t page, uint64_t bytes)
{
    struct batch b;
    batch_make(&b, page, bytes);
    pages_make(b.src, bytes, page, &seed);
    batch_compress(&b, p);
    check_entries(&b);
    assert_int_equal(b.r.bytes_in, bytes);
    assert_int_equal(b.r.pages, b.n);
    assert_int_equal(b.r.lz4 + b.r.raw + b.r.zero + b.r.fill, b.n);
    assert_int_equal(batch_decompress(&b, p), 0);
    assert_memory_equal(b.back, b.src, bytes);
    assert_int_equal(b.r.bytes_out, bytes);
    assert_int_equal(b.r.bad, 0);
    batch_free(&b);
}

/* ---- pages ---- */

/* Emulated lanes are some thousand times slower than liblz4. */
static uint64_t most_bytes(void)
{
    if (strcmp(device, "host") != 0)
        return UINT64_MAX;
    return SLOW_LANES ? 700 : SANITIZED ? 100000 : 600000;
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
            if (bytes[k] <= most_bytes())
                round_trip(p, page, bytes[k]);
        sl_pages_close(p);
    }
}

static void short_last_pages_of_all_sizes_come_back(void **state)
{
    struct sl_pages *p = open_pages(320, 16);
    (void)state;
    uint64_t by = strcmp(device, "host") != 0 ? 1 : SANITIZED ? 23 : 7;
    for (uint64_t bytes = 1; bytes <= 320 + 8; bytes += by)
        for (unsigned made = 0; made < MADE_KINDS; made++) {
            struct batch b;
            batch_make(&b, 320, bytes);
            page_make(b.src, bytes, made, &seed);
            batch_compress(&b, p);
            check_entries(&b);
            assert_int_equal(batch_decompress(&b, p), 0);
            assert_memory_equal(b.back, b.src, bytes);
            batch_free(&b);
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
    struct batch b;
    (void)state;
    batch_make(&b, 4096, 4 * 4096);
    for (size_t i = 0; i < 4; i++)
        page_make(b.src + i * 4096, 4096, made[i], &seed);
    batch_compress(&b, p);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(b.entries[i].kind, kind[i]);
    assert_memory_equal(&b.entries[1].at_or_fill, b.src + 4096, 8);
    assert_int_equal(b.r.zero, 1);
    assert_int_equal(b.r.fill, 1);
    assert_int_equal(b.r.raw, 1);
    assert_int_equal(b.r.lz4, 1);
    assert_true(b.r.bytes_out < 4096 + 4096);
    batch_free(&b);
    sl_pages_close(p);
}

/* One byte that differs makes a page another kind. */
static void a_page_is_zero_or_fill_to_its_last_byte(void **state)
{
    struct sl_pages *p = open_pages(4096, 4);
    (void)state;
    for (int i = 0; i < 12; i++) {
        struct batch b;
        size_t at = i < 6 ? (size_t)i * 3 : 4096u - (size_t)i;
        batch_make(&b, 4096, 2 * 4096);
        page_make(b.src, 4096, MADE_ZERO, &seed);
        page_make(b.src + 4096, 4096, MADE_FILL, &seed);
        b.src[at] ^= 1;
        b.src[4096 + at] ^= 1;
        batch_compress(&b, p);
        assert_int_equal(b.entries[0].kind, SL_PAGE_LZ4);
        assert_int_equal(b.entries[1].kind, SL_PAGE_LZ4);
        assert_int_equal(batch_decompress(&b, p), 0);
        assert_memory_equal(b.back, b.src, b.bytes);
        batch_free(&b);
    }
    sl_pages_close(p);
}

static void fast_mode_comes_back(void **state)
{
    struct sl_pages_opts o = {.size = sizeof(o),
                              .mode = SL_PAGES_FAST,
                              .device = device,
                              .threads = 2,
                              .slot_bytes = 16 * 4096,
                              .gpu_threshold = 1};
    struct sl_pages *p = NULL;
    (void)state;
    assert_int_equal(sl_pages_open(&o, &p), 0);
    round_trip(p, 4096, (SANITIZED ? 20 : 40) * 4096 + 77);
    sl_pages_close(p);
}

/* ---- blocks of others ---- */

typedef int (*compress_fn)(const char *, char *, int, int);

static int hc9(const char *s, char *d, int n, int cap)
{
    return LZ4_compress_HC(s, d, n, cap, 9);
}

static int hc12(const char *s, char *d, int n, int cap)
{
    return LZ4_compress_HC(s, d, n, cap, 12);
}

/* Blocks lie scattered, in reverse order, with gaps. */
static void blocks_of_liblz4_decode(void **state)
{
    static const compress_fn by[] = {LZ4_compress_default, hc9, hc12};
    enum { PAGE = 4096, N = 20, ROOM = PAGE + 64 };
    struct sl_pages *p = open_pages(PAGE, 8);
    (void)state;
    for (size_t k = 0; k < 3; k++) {
        struct batch b;
        batch_make(&b, PAGE, N * PAGE);
        pages_make(b.src, b.bytes, PAGE, &seed);
        free(b.dst);
        b.blocks = (uint64_t)N * ROOM;
        b.dst = malloc(b.blocks);
        assert_non_null(b.dst);
        memset(b.entries, 0, N * sizeof(*b.entries));
        for (int i = 0; i < N; i++) {
            int at = (N - 1 - i) * ROOM + 5;
            int got = by[k]((char *)b.src + i * PAGE, (char *)b.dst + at, PAGE,
                            ROOM - 5);
            assert_true(got > 0);
            b.entries[i].stored = (uint32_t)got;
            b.entries[i].at_or_fill = (uint64_t)at;
        }
        assert_int_equal(batch_decompress(&b, p), 0);
        assert_memory_equal(b.back, b.src, b.bytes);
        batch_free(&b);
    }
    sl_pages_close(p);
}

/* ---- hostile input ---- */

static void all_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_int_equal(p[i], 0);
}

static void a_bad_entry_fails_its_page_alone(void **state)
{
    enum { PAGE = 4096, N = 10 };
    struct sl_pages *p = open_pages(PAGE, 4);
    struct batch b;
    (void)state;
    batch_make(&b, PAGE, N * PAGE);
    for (int i = 0; i < N; i++)
        page_make(b.src + i * PAGE, PAGE, MADE_WORDS, &seed);
    batch_compress(&b, p);
    b.entries[0].kind = 4;
    b.entries[1].at_or_fill = b.blocks;
    b.entries[2].at_or_fill = UINT64_MAX - 3;
    b.entries[3].stored = 0;
    b.entries[4].stored = UINT32_MAX;
    b.entries[5].kind = SL_PAGE_RAW; /* stored is not the page's size */
    b.entries[6].stored--;           /* the block ends early */
    b.entries[7].kind = SL_PAGE_ZERO;
    b.entries[8].code = SL_EBLOCK; /* of an earlier call: means nothing */
    assert_int_equal(batch_decompress(&b, p), SL_EBLOCK);
    assert_int_equal(b.r.bad, 8);
    for (int i = 0; i < N; i++) {
        if (i < 8) {
            assert_int_equal(b.entries[i].code, SL_EBLOCK);
            all_zero(b.back + i * PAGE, PAGE);
            continue;
        }
        assert_int_equal(b.entries[i].code, 0);
        assert_memory_equal(b.back + i * PAGE, b.src + i * PAGE, PAGE);
    }
    batch_free(&b);
    sl_pages_close(p);
}

/* liblz4 lets it pass, and gives what was in the page's memory before. */
static void the_offset_0_is_refused(void **state)
{
    enum { PAGE = 64 };
    /* 8 literals, a match of 51 bytes, 5 literals. */
    static const uint8_t block[] = {0x8f, 'a', 'b', 'c', 'd', 'e',
                                    'f',  'g', 'h', 0,   0,   32,
                                    0x50, 'v', 'w', 'x', 'y', 'z'};
    struct sl_page_entry e = {.stored = sizeof(block)};
    struct sl_pages *p = open_pages(PAGE, 8);
    uint8_t src[sizeof(block)], page[PAGE];
    (void)state;
    memcpy(src, block, sizeof(block));
    assert_int_equal(
        sl_pages_decompress(p, src, sizeof(src), &e, 1, page, PAGE, NULL),
        SL_EBLOCK);
    all_zero(page, PAGE);
    src[9] = 8;
    assert_int_equal(
        sl_pages_decompress(p, src, sizeof(src), &e, 1, page, PAGE, NULL), 0);
    assert_memory_equal(page, "abcdefghabcdefgh", 16);
    sl_pages_close(p);
}

/* Right bytes or a code, as liblz4 says, but for the offset 0. The kernels also
 * take blocks whose writer did not keep the rules for a block's end. */
static void damaged_blocks_are_an_error_or_what_liblz4_makes(void **state)
{
    enum { PAGE = 1024, N = 32 };
    struct sl_pages *p = open_pages(PAGE, 8);
    uint64_t rounds = strcmp(device, "host") ? test_steps(2000) : STEPS(10);
    struct batch b;
    uint8_t want[PAGE];
    (void)state;
    batch_make(&b, PAGE, N * PAGE);
    for (uint64_t round = 0; round < rounds; round++) {
        pages_make(b.src, b.bytes, PAGE, &seed);
        batch_compress(&b, p);
        for (int i = 0; i < N && b.blocks; i++)
            b.dst[test_random(&seed) % b.blocks] = (uint8_t)test_random(&seed);
        (void)batch_decompress(&b, p);
        for (int i = 0; i < N; i++) {
            const struct sl_page_entry *e = &b.entries[i];
            if (e->kind != SL_PAGE_LZ4)
                continue;
            int got = LZ4_decompress_safe((char *)b.dst + e->at_or_fill,
                                          (char *)want, (int)e->stored, PAGE);
            if (cpu_has_offset_0(b.dst + e->at_or_fill, e->stored))
                got = -1;
            else if (got != PAGE && e->code == 0 && strcmp(device, "cpu") != 0)
                continue;
            assert_int_equal(e->code, got == PAGE ? 0 : SL_EBLOCK);
            if (got == PAGE)
                assert_memory_equal(b.back + i * PAGE, want, PAGE);
            else
                all_zero(b.back + i * PAGE, PAGE);
        }
    }
    batch_free(&b);
    sl_pages_close(p);
}

/* ---- streams ---- */

static void results_come_in_order_and_slots_are_bounded(void **state)
{
    enum { PAGE = 4096, SLOTS = 3 };
    struct sl_pages *p = open_pages(PAGE, 8);
    struct sl_pages_stream *s = NULL;
    struct sl_pages_batch *b, *none = NULL;
    uintptr_t sent = 0, got = 0;
    (void)state;
    assert_int_equal(sl_pages_stream_open(p, SL_PAGES_COMPRESS, &s), 0);
    assert_int_equal(sl_pages_next(s, 1, &b), SL_ENOENT);
    while (got < 20) {
        while (sent < 20 && sl_pages_take(s, 0, &b) == 0) {
            b->bytes = PAGE * (1 + sent % 8);
            b->user = (void *)sent++;
            uint8_t *page = (uint8_t *)(uintptr_t)b->src;
            assert_true(b->bytes <= b->src_room && b->bytes <= b->dst_room);
            pages_make(page, b->bytes, PAGE, &seed);
            assert_int_equal(sl_pages_submit(s, b), 0);
        }
        if (sent < 20)
            assert_int_equal(sl_pages_take(s, 0, &none), SL_EAGAIN);
        assert_true(sent - got <= SLOTS);
        assert_int_equal(sl_pages_next(s, 1, &b), 0);
        assert_ptr_equal(b->user, (void *)got);
        assert_int_equal(b->code, 0);
        struct batch view = {.page = PAGE,
                             .bytes = b->bytes,
                             .n = sl_pages_count(b->bytes, PAGE),
                             .blocks = b->dst_bytes,
                             .src = (uint8_t *)(uintptr_t)b->src,
                             .dst = b->dst,
                             .entries = b->entries};
        check_entries(&view);
        got++;
        sl_pages_release(s, b);
    }
    struct sl_pages_report r;
    sl_pages_stream_report(s, &r);
    assert_int_equal(r.batches, 20);
    assert_true(r.wall_ns > 0);
    sl_pages_stream_close(s);
    sl_pages_close(p);
}

struct feeder {
    struct sl_pages_stream *s;
    uint64_t batches, seed;
    int code;
};

static void *feed(void *arg)
{
    struct feeder *f = arg;
    for (uint64_t i = 0; i < f->batches && !f->code; i++) {
        struct sl_pages_batch *b;
        f->code = sl_pages_take(f->s, 1, &b);
        if (f->code)
            break;
        b->bytes = 4096 * 4;
        pages_make((uint8_t *)(uintptr_t)b->src, b->bytes, 4096, &f->seed);
        f->code = sl_pages_submit(f->s, b);
    }
    return NULL;
}

static void one_thread_feeds_and_another_takes(void **state)
{
    struct sl_pages *p = open_pages(4096, 4);
    struct feeder f = {.batches = SANITIZED ? 12 : 60, .seed = seed};
    pthread_t thread;
    uint64_t got = 0;
    int codes = 0;
    (void)state;
    assert_int_equal(sl_pages_stream_open(p, SL_PAGES_COMPRESS, &f.s), 0);
    assert_int_equal(pthread_create(&thread, NULL, feed, &f), 0);
    while (got < f.batches) {
        struct sl_pages_batch *b;
        int rc = sl_pages_next(f.s, 1, &b);
        if (rc == SL_ENOENT)
            continue;
        codes |= rc | b->code;
        sl_pages_release(f.s, b);
        got++;
    }
    pthread_join(thread, NULL);
    assert_int_equal(f.code, 0);
    assert_int_equal(codes, 0);
    sl_pages_stream_close(f.s);
    sl_pages_close(p);
}

static void a_stream_closes_with_batches_in_flight(void **state)
{
    struct sl_pages *p = open_pages(4096, 64);
    struct sl_pages_stream *s = NULL;
    struct sl_pages_batch *b;
    (void)state;
    assert_int_equal(sl_pages_stream_open(p, SL_PAGES_COMPRESS, &s), 0);
    while (sl_pages_take(s, 0, &b) == 0) {
        b->bytes = 64 * 4096;
        assert_int_equal(sl_pages_submit(s, b), 0);
    }
    sl_pages_stream_close(s);
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
    pages_make(mem, BYTES, PAGE, &seed);
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
    struct batch b;
    int cpu = strcmp(device, "cpu") == 0;
    (void)state;
    batch_make(&b, 4096, 20 * 4096);
    pages_make(b.src, b.bytes, 4096, &seed);
    batch_compress(&b, p);
    assert_int_equal(b.r.batches, 3);
    assert_int_equal(b.r.path, cpu ? SL_PAGES_CPU : SL_PAGES_GPU);
    assert_int_equal(b.r.on_device, cpu ? 0 : 3);
    assert_int_equal(b.r.why[0] != 0, cpu);
    assert_int_equal(b.r.why_code, 0);
    assert_int_equal(b.r.cpu_ns > 0, cpu);
    assert_int_equal(b.r.kernel_ns > 0, !cpu);
    assert_true(b.r.wall_ns > 0);
    batch_free(&b);
    sl_pages_close(p);
}

static void small_batches_go_to_the_cpu(void **state)
{
    struct sl_pages_opts o = {.size = sizeof(o),
                              .device = device,
                              .slot_bytes = 16 * 4096,
                              .gpu_threshold = 8 * 4096};
    struct sl_pages *p = NULL;
    struct batch b;
    (void)state;
    if (strcmp(device, "cpu") == 0)
        skip();
    assert_int_equal(sl_pages_open(&o, &p), 0);
    batch_make(&b, 4096, 8 * 4096 - 1);
    pages_make(b.src, b.bytes, 4096, &seed);
    batch_compress(&b, p);
    assert_int_equal(b.r.path, SL_PAGES_CPU);
    assert_true(b.r.why[0] != 0);
    assert_int_equal(batch_decompress(&b, p), 0);
    assert_memory_equal(b.back, b.src, b.bytes);
    batch_free(&b);
    /* The last batch is a small one. */
    batch_make(&b, 4096, 35 * 4096);
    pages_make(b.src, b.bytes, 4096, &seed);
    batch_compress(&b, p);
    check_entries(&b);
    assert_int_equal(b.r.path, SL_PAGES_MIXED);
    assert_int_equal(b.r.on_device, 2);
    assert_int_equal(batch_decompress(&b, p), 0);
    assert_memory_equal(b.back, b.src, b.bytes);
    batch_free(&b);
    sl_pages_close(p);
}

/* What concerns threads, for the thread sanitizer. */
static const struct CMUnitTest thread_tests[] = {
    cmocka_unit_test(pages_come_back),
    cmocka_unit_test(results_come_in_order_and_slots_are_bounded),
    cmocka_unit_test(one_thread_feeds_and_another_takes),
    cmocka_unit_test(small_batches_go_to_the_cpu),
};

static const struct CMUnitTest device_tests[] = {
    cmocka_unit_test(pages_come_back),
    cmocka_unit_test(short_last_pages_of_all_sizes_come_back),
    cmocka_unit_test(each_kind_of_page_is_told),
    cmocka_unit_test(a_page_is_zero_or_fill_to_its_last_byte),
    cmocka_unit_test(fast_mode_comes_back),
    cmocka_unit_test(blocks_of_liblz4_decode),
    cmocka_unit_test(a_bad_entry_fails_its_page_alone),
    cmocka_unit_test(the_offset_0_is_refused),
    cmocka_unit_test(damaged_blocks_are_an_error_or_what_liblz4_makes),
    cmocka_unit_test(results_come_in_order_and_slots_are_bounded),
    cmocka_unit_test(one_thread_feeds_and_another_takes),
    cmocka_unit_test(a_stream_closes_with_batches_in_flight),
    cmocka_unit_test(pinned_memory_gives_the_same),
    cmocka_unit_test(the_report_says_which_path_ran),
    cmocka_unit_test(small_batches_go_to_the_cpu),
};

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
    device = "cpu";
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

int main(void)
{
    char why[256] = "";
    int failed = cmocka_run_group_tests(other_tests, NULL, NULL);
    seed = test_seed("test_pages");
    device = "cpu";
    failed += cmocka_run_group_tests_name("cpu", device_tests, NULL, NULL);
    device = "host";
    if (SLOW_LANES)
        failed += cmocka_run_group_tests_name("host", thread_tests, NULL, NULL);
    else
        failed += cmocka_run_group_tests_name("host", device_tests, NULL, NULL);
    device = "cuda:0";
    if (gpu_cuda_ops.count(why, sizeof(why)) == 0 || kernel_fatbin_bytes == 0)
        printf("cuda is skipped: %s\n", why[0] ? why : "no kernels");
    else
        failed += cmocka_run_group_tests_name("cuda", device_tests, NULL, NULL);
    return failed ? 1 : 0;
}
