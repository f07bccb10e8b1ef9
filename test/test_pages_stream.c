/* SPDX-License-Identifier: Apache-2.0 */
/* Streams of batches, on each device: order, bounded slots, threads. */
#include "pages_rig.h"

#include <pthread.h>

static void results_come_in_order_and_slots_are_bounded(void **state)
{
    enum { PAGE = 4096, SLOTS = 3 };
    struct sl_pages *p = open_pages(PAGE, 8);
    struct sl_pages_stream *s = NULL;
    struct sl_pages_batch *b, *none = NULL;
    uintptr_t sent = 0, got = 0, all = SLOW_LANES ? 8 : 20;
    (void)state;
    assert_int_equal(sl_pages_stream_open(p, SL_PAGES_COMPRESS, &s), 0);
    assert_int_equal(sl_pages_next(s, 1, &b), SL_ENOENT);
    while (got < all) {
        while (sent < all && sl_pages_take(s, 0, &b) == 0) {
            b->bytes = PAGE * (1 + sent % 8);
            b->user = (void *)sent++;
            uint8_t *page = (uint8_t *)(uintptr_t)b->src;
            assert_true(b->bytes <= b->src_room && b->bytes <= b->dst_room);
            pages_make(page, b->bytes, PAGE, &pages_seed);
            assert_int_equal(sl_pages_submit(s, b), 0);
        }
        if (sent < all)
            assert_int_equal(sl_pages_take(s, 0, &none), SL_EAGAIN);
        assert_true(sent - got <= SLOTS);
        assert_int_equal(sl_pages_next(s, 1, &b), 0);
        assert_ptr_equal(b->user, (void *)got);
        assert_int_equal(b->code, 0);
        struct trip view = {.page = PAGE,
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
    assert_int_equal(r.batches, all);
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
    struct feeder f = {.batches = SLOW_LANES  ? 6
                                  : SANITIZED ? 12
                                              : 60,
                       .seed = pages_seed};
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

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(results_come_in_order_and_slots_are_bounded),
    cmocka_unit_test(one_thread_feeds_and_another_takes),
    cmocka_unit_test(a_stream_closes_with_batches_in_flight),
};

int main(void)
{
    pages_seed = test_seed("test_pages_stream");
    return pages_on_devices(tests, COUNT(tests), 2) != 0;
}
