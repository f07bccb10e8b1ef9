/* SPDX-License-Identifier: Apache-2.0 */
/* A device that fails at each of its calls: the batches complete on the CPU
 * with the same bytes, and the report says so. Runs on the host device, whose
 * table of calls is wrapped. */
#include "gpu/gpu.h"
#include "gpu/kernels/table.h"
#include "pages/impl.h"
#include "pages_help.h"

#define PAGE 256u
#define BATCH_PAGES 8u
#define PAGES (SLOW_LANES ? 17u : 50u)
#define BYTES (PAGE * PAGES)
#define BYTES_MAX (PAGE * 50u)

/* The call that fails, from its n-th time on, and how. */
enum fault {
    NONE,
    ALLOC,
    PIN,
    STREAM,
    EVENT,
    OCCUPANCY,
    LAUNCH,
    COPY,
    RECORD,
    TEST,
    HANG
};
static struct {
    enum fault at;
    int after; /* so many calls succeed */
    int code;
    int calls;
} fault;

static struct gpu_ops ops; /* gpu_host_ops with failing calls */
static struct gpu *gpu;
static uint64_t seed;
static uint64_t copied; /* bytes, both ways; atomic */

static int fails(enum fault at)
{
    if (fault.at != at)
        return 0;
    int calls = __atomic_add_fetch(&fault.calls, 1, __ATOMIC_RELAXED);
    return calls > fault.after ? fault.code : 0;
}

static int bad_alloc(struct gpu *g, size_t bytes, sl_devptr *out)
{
    int rc = fails(ALLOC);
    return rc ? rc : gpu_host_ops.alloc(g, bytes, out);
}

static int bad_pin(struct gpu *g, void *mem, size_t bytes, sl_devptr *out)
{
    int rc = fails(PIN);
    return rc ? rc : gpu_host_ops.pin(g, mem, bytes, out);
}

static int bad_stream(struct gpu *g, struct gpu_stream **out)
{
    int rc = fails(STREAM);
    return rc ? rc : gpu_host_ops.stream_open(g, out);
}

static int bad_event(struct gpu *g, struct gpu_event **out)
{
    int rc = fails(EVENT);
    return rc ? rc : gpu_host_ops.event_open(g, out);
}

static int bad_occupancy(struct gpu *g, const char *kernel, uint32_t threads,
                         uint32_t *out)
{
    int rc = fails(OCCUPANCY);
    return rc ? rc : gpu_host_ops.occupancy(g, kernel, threads, out);
}

static int bad_launch(struct gpu_stream *s, const struct gpu_launch *l)
{
    int rc = fails(LAUNCH);
    return rc ? rc : gpu_host_ops.launch(s, l);
}

static int bad_copy(struct gpu_stream *s, sl_devptr dst, sl_devptr src,
                    size_t n)
{
    int rc = fails(COPY);
    __atomic_fetch_add(&copied, n, __ATOMIC_RELAXED);
    return rc ? rc : gpu_host_ops.copy_async(s, dst, src, n);
}

static int bad_record(struct gpu_event *e, struct gpu_stream *s)
{
    int rc = fails(RECORD);
    return rc ? rc : gpu_host_ops.event_record(e, s);
}

static int bad_test(struct gpu_event *e)
{
    int rc = gpu_host_ops.event_test(e);
    /* An illegal address shows where a kernel would have ended. */
    if (rc == 0)
        rc = fails(TEST);
    if (fault.at == HANG)
        rc = SL_EAGAIN;
    return rc;
}

static int bad_wait(struct gpu_stream *s, uint64_t timeout_ns, uint64_t *ns)
{
    if (fault.at == HANG)
        return SL_ETIMEDOUT;
    return gpu_host_ops.stream_wait(s, timeout_ns, ns);
}

static struct sl_pages *open_failing(uint64_t timeout_ns)
{
    struct sl_pages_opts o = {.size = sizeof(o),
                              .page_bytes = PAGE,
                              .slots = 3,
                              .threads = 3,
                              .slot_bytes = PAGE * BATCH_PAGES,
                              .gpu_threshold = 1,
                              .timeout_ns = timeout_ns};
    struct sl_pages *p = NULL;
    assert_int_equal(pages_open_on(&o, gpu, NULL, &p), 0);
    return p;
}

struct data {
    uint8_t src[BYTES_MAX], blocks[BYTES_MAX], back[BYTES_MAX];
    struct sl_page_entry entries[BYTES_MAX / PAGE];
    struct sl_pages_report r;
};

static int compress(struct sl_pages *p, struct data *d)
{
    return sl_pages_compress(p, d->src, BYTES, d->blocks, BYTES, d->entries,
                             PAGES, &d->r);
}

static int decompress(struct sl_pages *p, struct data *d, uint64_t blocks)
{
    memset(d->back, 0xaa, BYTES);
    return sl_pages_decompress(p, d->blocks, blocks, d->entries, PAGES, d->back,
                               BYTES, &d->r);
}

static void check_report(const struct data *d, int code)
{
    assert_int_equal(d->r.why_code, code);
    assert_true(d->r.why[0] != 0);
    assert_true(d->r.path & SL_PAGES_CPU);
    assert_true(d->r.on_device < d->r.batches);
    assert_int_equal(d->r.pages, PAGES);
}

/* Both ways with one fault; `way` is the call that meets it. */
static void lose_in(int way, enum fault at, int after, int code)
{
    struct data *d = calloc(1, sizeof(*d));
    assert_non_null(d);
    pages_make(d->src, BYTES, PAGE, &seed);
    struct sl_pages *p = open_failing(0);
    fault.calls = 0;
    fault.at = at;
    fault.after = way == SL_PAGES_COMPRESS ? after : 1 << 30;
    fault.code = code;
    assert_int_equal(compress(p, d), 0);
    if (way == SL_PAGES_COMPRESS)
        check_report(d, code);
    fault.calls = 0;
    fault.after = after;
    assert_int_equal(decompress(p, d, d->r.bytes_out), 0);
    assert_memory_equal(d->back, d->src, BYTES);
    check_report(d, code);
    /* The device stays given up, and all goes on. */
    fault.after = 1 << 30;
    assert_int_equal(compress(p, d), 0);
    assert_int_equal(d->r.path, SL_PAGES_CPU);
    assert_int_equal(decompress(p, d, d->r.bytes_out), 0);
    assert_memory_equal(d->back, d->src, BYTES);
    sl_pages_close(p);
    free(d);
}

static void lose_everywhere(enum fault at, int most, int code)
{
    /* Three batches make at least three of each call. */
    int end = SLOW_LANES && most > 2 ? 2 : most;
    for (int after = SLOW_LANES && end > 0; after <= end;
         after += SLOW_LANES ? 2 : 1) {
        lose_in(SL_PAGES_COMPRESS, at, after, code);
        lose_in(SL_PAGES_DECOMPRESS, at, after, code);
    }
}

static void out_of_memory(void **state)
{
    (void)state;
    lose_everywhere(ALLOC, 5, SL_ENOMEM);
}

static void memory_that_cannot_be_page_locked(void **state)
{
    (void)state;
    lose_everywhere(PIN, 0, SL_ENOMEM);
}

static void streams_and_events_that_cannot_be_made(void **state)
{
    (void)state;
    lose_everywhere(STREAM, 2, SL_EDEVICE);
    lose_everywhere(EVENT, 7, SL_EDEVICE);
}

static void a_launch_that_fails(void **state)
{
    (void)state;
    lose_everywhere(LAUNCH, 6, SL_EDEVICE);
    lose_everywhere(OCCUPANCY, SLOW_LANES ? 0 : 2, SL_EDEVICE);
}

static void a_copy_that_fails(void **state)
{
    (void)state;
    lose_everywhere(COPY, 14, SL_EDEVICE);
    lose_everywhere(RECORD, 14, SL_EDEVICE);
}

/* With several batches in flight, some of them back already. */
static void an_illegal_address_in_mid_batch(void **state)
{
    (void)state;
    lose_everywhere(TEST, 10, SL_EDEVICE);
}

/* Beside the plain pages, blocks and entries, and a word or two a batch. */
static void only_coded_bytes_cross_the_link(void **state)
{
    struct data *d = calloc(1, sizeof(*d));
    (void)state;
    assert_non_null(d);
    for (uint32_t i = 0; i < BYTES; i++)
        d->src[i] = (uint8_t)(i / PAGE + i % 12u);
    fault.at = NONE;
    struct sl_pages *p = open_failing(0);
    assert_int_equal(compress(p, d), 0); /* what is measured once is */
    for (int way = 0; way < 2; way++) {
        uint64_t blocks = d->r.bytes_out;
        copied = 0;
        assert_int_equal(way ? decompress(p, d, blocks) : compress(p, d), 0);
        assert_int_equal(d->r.path, SL_PAGES_GPU);
        assert_in_range(blocks, 1, BYTES / 2u);
        assert_in_range(copied, BYTES + blocks,
                        BYTES + blocks + sizeof(d->entries) +
                            64u * d->r.batches);
        d->r.bytes_out = blocks;
    }
    assert_memory_equal(d->back, d->src, BYTES);
    sl_pages_close(p);
    free(d);
}

/* Emulated lanes are slower than liblz4 at each size that is measured. */
static void the_threshold_is_measured(void **state)
{
    struct sl_pages_opts o = {.size = sizeof(o),
                              .page_bytes = PAGE,
                              .threads = 1,
                              .slot_bytes = 64u * PAGE};
    struct data *d = calloc(1, sizeof(*d));
    (void)state;
    assert_non_null(d);
    pages_make(d->src, BYTES, PAGE, &seed);
    ops.kind = "measured";
    for (int lost = SLOW_LANES; lost < 2; lost++) {
        struct sl_pages *p = NULL;
        fault.at = lost ? LAUNCH : NONE;
        fault.calls = fault.after = 0;
        fault.code = SL_EDEVICE;
        assert_int_equal(pages_open_on(&o, gpu, NULL, &p), 0);
        assert_int_equal(p->threshold, o.slot_bytes);
        fault.at = NONE;
        assert_int_equal(compress(p, d), 0);
        assert_int_equal(d->r.path, SL_PAGES_CPU);
        assert_int_equal(d->r.why_code, lost ? SL_EDEVICE : 0);
        assert_true(d->r.why[0] != 0);
        sl_pages_close(p);
    }
    ops.kind = gpu_host_ops.kind;
    free(d);
}

static void a_device_that_hangs_ends_the_call(void **state)
{
    struct data *d = calloc(1, sizeof(*d));
    (void)state;
    assert_non_null(d);
    pages_make(d->src, BYTES, PAGE, &seed);
    struct sl_pages *p = open_failing(20000000);
    fault.at = HANG;
    assert_int_equal(compress(p, d), SL_ETIMEDOUT);
    /* From here on the CPU serves, in other memory. */
    assert_int_equal(compress(p, d), 0);
    assert_int_equal(d->r.path, SL_PAGES_CPU);
    assert_int_equal(d->r.why_code, SL_ETIMEDOUT);
    assert_int_equal(decompress(p, d, d->r.bytes_out), 0);
    assert_memory_equal(d->back, d->src, BYTES);
    sl_pages_close(p);
    free(d);
}

static const struct CMUnitTest fault_tests[] = {
    cmocka_unit_test(out_of_memory),
    cmocka_unit_test(memory_that_cannot_be_page_locked),
    cmocka_unit_test(streams_and_events_that_cannot_be_made),
    cmocka_unit_test(a_launch_that_fails),
    cmocka_unit_test(a_copy_that_fails),
    cmocka_unit_test(an_illegal_address_in_mid_batch),
    cmocka_unit_test(only_coded_bytes_cross_the_link),
    cmocka_unit_test(the_threshold_is_measured),
};
/* Leaks its streams, as it must: outside of the leak checker's sight. */
static const struct CMUnitTest hang_tests[] = {
    cmocka_unit_test(a_device_that_hangs_ends_the_call),
};

int main(void)
{
    int failed;
    seed = test_seed("test_pages_fault");
    if (gpu_open("host", &gpu))
        return 1;
    ops = gpu_host_ops;
    ops.alloc = bad_alloc;
    ops.pin = bad_pin;
    ops.stream_open = bad_stream;
    ops.event_open = bad_event;
    ops.occupancy = bad_occupancy;
    ops.launch = bad_launch;
    ops.copy_async = bad_copy;
    ops.event_record = bad_record;
    ops.event_test = bad_test;
    ops.stream_wait = bad_wait;
    gpu->ops = &ops;
    failed = cmocka_run_group_tests(fault_tests, NULL, NULL);
    if (!SANITIZED)
        failed += cmocka_run_group_tests(hang_tests, NULL, NULL);
    return failed ? 1 : 0;
}
