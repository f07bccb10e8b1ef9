/* SPDX-License-Identifier: Apache-2.0 */
/* LZ4 frames: liblz4's own reader reads ours, we read what its writer makes
 * with each of its options, and what is damaged is refused. */
#include "pages/frame.h"
#include "pages_help.h"

#include <lz4.h>
#include <lz4frame.h>

static uint64_t seed;
static struct sl_pages *pages; /* of 64 KiB */

/* Input and output in memory. */
struct mem {
    const uint8_t *in;
    size_t in_bytes, at;
    uint8_t *out;
    size_t room, used;
    int read_code, write_code;
};

static int mem_read(void *ctx, void *buf, size_t room, size_t *n)
{
    struct mem *m = ctx;
    *n = m->in_bytes - m->at < room ? m->in_bytes - m->at : room;
    memcpy(buf, m->in + m->at, *n);
    m->at += *n;
    return m->read_code;
}

static int mem_write(void *ctx, const void *buf, size_t n)
{
    struct mem *m = ctx;
    if (m->used + n > m->room) {
        m->room = 2 * (m->used + n);
        m->out = realloc(m->out, m->room);
        assert_non_null(m->out);
    }
    memcpy(m->out + m->used, buf, n);
    m->used += n;
    return m->write_code;
}

static int unpack(struct mem *m, struct frame_stats *s)
{
    struct frame_io io = {mem_read, mem_write, m};
    return frame_unpack(pages, &io, s);
}

/* Reads `n` bytes of frames; they must give `want`. */
static void check_unpack(const void *frame, size_t n, const void *want,
                         size_t bytes)
{
    struct mem m = {.in = frame, .in_bytes = n};
    struct frame_stats s;
    assert_int_equal(unpack(&m, &s), 0);
    assert_int_equal(m.used, bytes);
    if (bytes)
        assert_memory_equal(m.out, want, bytes);
    assert_int_equal(s.bytes_in, n);
    assert_int_equal(s.bytes_out, bytes);
    free(m.out);
}

static int unpack_code(const void *frame, size_t n)
{
    struct mem m = {.in = frame, .in_bytes = n};
    struct frame_stats s;
    int rc = unpack(&m, &s);
    free(m.out);
    return rc;
}

static uint8_t *make(size_t bytes)
{
    uint8_t *p = malloc(bytes + 1);
    assert_non_null(p);
    pages_make(p, bytes, 9000, &seed);
    return p;
}

/* ---- ours ---- */

static void check_by_liblz4(const struct mem *m, const uint8_t *want,
                            size_t bytes)
{
    LZ4F_dctx *d = NULL;
    uint8_t *back = malloc(bytes + 1);
    size_t at = 0, got = 0, hint = 1;
    assert_non_null(back);
    assert_false(LZ4F_isError(LZ4F_createDecompressionContext(&d, 100)));
    while (hint && at < m->used) {
        size_t out = bytes + 1 - got, in = m->used - at;
        hint = LZ4F_decompress(d, back + got, &out, m->out + at, &in, NULL);
        assert_false(LZ4F_isError(hint));
        at += in;
        got += out;
    }
    assert_int_equal(hint, 0);
    assert_int_equal(at, m->used);
    assert_int_equal(got, bytes);
    assert_memory_equal(back, want, bytes);
    LZ4F_freeDecompressionContext(d);
    free(back);
}

static void pack_and_check(struct sl_pages *p, size_t bytes, int block_sum)
{
    uint8_t *data = make(bytes);
    struct mem m = {.in = data, .in_bytes = bytes};
    struct frame_io io = {mem_read, mem_write, &m};
    struct frame_stats s;
    assert_int_equal(frame_pack(p, &io, block_sum, &s), 0);
    assert_int_equal(s.bytes_in, bytes);
    assert_int_equal(s.bytes_out, m.used);
    check_by_liblz4(&m, data, bytes);
    check_unpack(m.out, m.used, data, bytes);
    free(m.out);
    free(data);
}

static void liblz4_reads_our_frames(void **state)
{
    static const size_t sizes[] = {0,     1,     12,     4096,   65535,
                                   65536, 65537, 131072, 700001, 5000000};
    static const uint32_t page[] = {64, 4096, 65536};
    (void)state;
    for (size_t k = 0; k < 3; k++) {
        struct sl_pages_opts o = {.size = sizeof(o),
                                  .page_bytes = page[k],
                                  .device = "cpu",
                                  .threads = 2,
                                  .slot_bytes = 65536 * 4};
        struct sl_pages *p = NULL;
        assert_int_equal(sl_pages_open(&o, &p), 0);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
            if (!SLOW_THREADS || sizes[i] < 1000000u)
                pack_and_check(p, sizes[i], (int)(i % 2));
        sl_pages_close(p);
    }
}

/* A page of one value becomes a block of a few bytes, of every length. */
static void pages_of_one_value_are_blocks(void **state)
{
    struct sl_pages *p = NULL;
    struct sl_pages_opts o = {
        .size = sizeof(o), .page_bytes = 65536, .device = "cpu"};
    (void)state;
    assert_int_equal(sl_pages_open(&o, &p), 0);
    for (size_t bytes = 1; bytes < 700; bytes += bytes < 64 ? 1 : 37)
        for (unsigned made = MADE_ZERO; made <= MADE_FILL; made++) {
            uint8_t *data = malloc(bytes);
            assert_non_null(data);
            page_make(data, bytes, made, &seed);
            struct mem m = {.in = data, .in_bytes = bytes};
            struct frame_io io = {mem_read, mem_write, &m};
            struct frame_stats s;
            assert_int_equal(frame_pack(p, &io, 0, &s), 0);
            assert_true(m.used <= 60 || bytes < 60);
            check_by_liblz4(&m, data, bytes);
            free(m.out);
            free(data);
        }
    sl_pages_close(p);
}

/* ---- liblz4's ---- */

static size_t lz4_frame(const LZ4F_preferences_t *prefs, const uint8_t *data,
                        size_t bytes, uint8_t **out)
{
    size_t room = LZ4F_compressFrameBound(bytes, prefs);
    *out = malloc(room);
    assert_non_null(*out);
    size_t n = LZ4F_compressFrame(*out, room, data, bytes, prefs);
    assert_false(LZ4F_isError(n));
    return n;
}

static void check_options(const uint8_t *data, size_t bytes, unsigned bits)
{
    static const int levels[] = {1, -9, 9, 12};
    LZ4F_preferences_t prefs;
    uint8_t *frame;
    memset(&prefs, 0, sizeof(prefs));
    prefs.frameInfo.blockSizeID = (LZ4F_blockSizeID_t)(4 + (bits & 3));
    prefs.frameInfo.blockMode =
        bits & 4 ? LZ4F_blockIndependent : LZ4F_blockLinked;
    prefs.frameInfo.blockChecksumFlag =
        bits & 8 ? LZ4F_blockChecksumEnabled : LZ4F_noBlockChecksum;
    prefs.frameInfo.contentChecksumFlag =
        bits & 16 ? LZ4F_contentChecksumEnabled : LZ4F_noContentChecksum;
    prefs.frameInfo.contentSize = bits & 32 ? bytes : 0;
    prefs.compressionLevel = levels[bits % 4];
    size_t n = lz4_frame(&prefs, data, bytes, &frame);
    check_unpack(frame, n, data, bytes);
    free(frame);
}

static void frames_of_liblz4_with_all_options(void **state)
{
    static const size_t sizes[] = {0, 1, 65536, 65537, 300001, 9000000};
    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint8_t *data = make(sizes[i]);
        /* The largest is there for several blocks of 4 MiB. */
        unsigned step = sizes[i] < 1000000 ? 1 : SLOW_THREADS ? 21 : 7;
        for (unsigned bits = 0; bits < 64; bits += step)
            check_options(data, sizes[i], bits);
        free(data);
    }
}

/* Flushes make short blocks anywhere. */
static void short_blocks_in_the_middle(void **state)
{
    enum { BYTES = SLOW_LANES ? 200000 : 600000 };
    (void)state;
    for (int linked = 0; linked < 2; linked++) {
        uint8_t *data = make(BYTES), *frame = malloc(2 * BYTES + 1000000);
        LZ4F_preferences_t prefs;
        LZ4F_cctx *c = NULL;
        assert_non_null(frame);
        memset(&prefs, 0, sizeof(prefs));
        prefs.frameInfo.blockMode =
            linked ? LZ4F_blockLinked : LZ4F_blockIndependent;
        assert_false(LZ4F_isError(LZ4F_createCompressionContext(&c, 100)));
        size_t room = 2 * BYTES + 1000000;
        size_t n = LZ4F_compressBegin(c, frame, room, &prefs);
        for (size_t at = 0; at < BYTES;) {
            size_t part = 1 + test_random(&seed) % 150000;
            part = part < BYTES - at ? part : BYTES - at;
            n += LZ4F_compressUpdate(c, frame + n, room - n, data + at, part,
                                     NULL);
            n += LZ4F_flush(c, frame + n, room - n, NULL);
            at += part;
        }
        n += LZ4F_compressEnd(c, frame + n, room - n, NULL);
        LZ4F_freeCompressionContext(c);
        check_unpack(frame, n, data, BYTES);
        free(frame);
        free(data);
    }
}

static void put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static void frames_follow_each_other_with_others_between(void **state)
{
    enum { BYTES = 100000 };
    uint8_t *data = make(2 * BYTES), *a, *b, *all;
    size_t n, m, at = 0;
    (void)state;
    n = lz4_frame(NULL, data, BYTES, &a);
    m = lz4_frame(NULL, data + BYTES, BYTES, &b);
    all = malloc(n + m + 64 + BYTES);
    assert_non_null(all);
    put32(all, 0x184d2a53);
    put32(all + 4, 5);
    memset(all + 8, 7, 5);
    at = 13;
    memcpy(all + at, a, n);
    at += n;
    put32(all + at, 0x184d2a5f);
    put32(all + at + 4, 0);
    at += 8;
    memcpy(all + at, b, m);
    at += m;
    check_unpack(all, at, data, 2 * BYTES);
    all[at] = 1;
    assert_int_equal(unpack_code(all, at + 1), SL_EFRAME);
    free(all);
    free(a);
    free(b);
    free(data);
}

static void legacy_frames_are_read(void **state)
{
    enum { BLOCK = 8 << 20, BYTES = BLOCK + 12345 };
    uint8_t *data = make(BYTES), *frame = malloc(2 * BYTES), *next;
    size_t at = 4;
    (void)state;
    assert_non_null(frame);
    put32(frame, 0x184c2102);
    for (int done = 0; done < BYTES; done += BLOCK) {
        int part = BYTES - done < BLOCK ? BYTES - done : BLOCK;
        int got = LZ4_compress_default((char *)data + done,
                                       (char *)frame + at + 4, part, BYTES);
        assert_true(got > 0);
        put32(frame + at, (uint32_t)got);
        at += 4 + (size_t)got;
    }
    check_unpack(frame, at, data, BYTES);
    /* A frame of the usual kind behind it. */
    size_t n = lz4_frame(NULL, data, 0, &next);
    memcpy(frame + at, next, n);
    check_unpack(frame, at + n, data, BYTES);
    put32(frame + 4, UINT32_MAX);
    assert_int_equal(unpack_code(frame, at), SL_EFRAME);
    free(next);
    free(frame);
    free(data);
}

/* ---- damaged ---- */

static size_t small_frame(uint8_t **data, size_t bytes, uint8_t **frame,
                          int size)
{
    LZ4F_preferences_t prefs;
    memset(&prefs, 0, sizeof(prefs));
    prefs.frameInfo.blockMode = LZ4F_blockIndependent;
    prefs.frameInfo.contentChecksumFlag = LZ4F_contentChecksumEnabled;
    prefs.frameInfo.contentSize = size ? bytes : 0;
    *data = malloc(bytes);
    assert_non_null(*data);
    page_make(*data, bytes, MADE_WORDS, &seed);
    return lz4_frame(&prefs, *data, bytes, frame);
}

static void a_truncated_frame_is_told_at_every_byte(void **state)
{
    uint8_t *data, *frame;
    size_t n = small_frame(&data, 3000, &frame, 1);
    (void)state;
    assert_int_equal(unpack_code(frame, 0), SL_EFRAME);
    for (size_t cut = 1; cut < 4; cut++)
        assert_int_equal(unpack_code(frame, cut), SL_EFRAME);
    for (size_t cut = 4; cut < n; cut++)
        assert_int_equal(unpack_code(frame, cut), SL_ETRUNCATED);
    free(frame);
    free(data);
}

/* The checksums find each change. */
static void a_changed_byte_is_an_error(void **state)
{
    uint8_t *data, *frame;
    size_t n = small_frame(&data, 2000, &frame, 0);
    (void)state;
    for (size_t i = 0; i < n; i++) {
        uint8_t flip = (uint8_t)(1u << test_random(&seed) % 8);
        struct mem m = {.in = frame, .in_bytes = n};
        struct frame_stats s;
        frame[i] ^= flip;
        int rc = unpack(&m, &s);
        /* A skippable frame has 16 magic numbers, none of them one bit away
         * from a frame's; a match may be changed to one of the same bytes. */
        if (rc == 0)
            assert_memory_equal(m.out, data, 2000);
        frame[i] ^= flip;
        free(m.out);
    }
    frame[n - 1] ^= 1;
    assert_int_equal(unpack_code(frame, n), SL_ECHECKSUM);
    free(frame);
    free(data);
}

static void headers_are_checked(void **state)
{
    uint8_t *data, *frame;
    size_t n = small_frame(&data, 500, &frame, 1);
    (void)state;
    uint8_t was = frame[14];
    frame[14] ^= 1; /* the header's checksum: 4 + 2 + 8 bytes on */
    assert_int_equal(unpack_code(frame, n), SL_ECHECKSUM);
    frame[14] = was;
    was = frame[4];
    frame[4] = (uint8_t)(was | 2);
    assert_int_equal(unpack_code(frame, n), SL_EFRAME);
    frame[4] = (uint8_t)(was ^ 0xc0);
    assert_int_equal(unpack_code(frame, n), SL_EFRAME);
    frame[4] = (uint8_t)(was | 1);
    assert_int_equal(unpack_code(frame, n), SL_EDICT);
    frame[4] = was;
    was = frame[5];
    frame[5] = 3 << 4;
    assert_int_equal(unpack_code(frame, n), SL_EFRAME);
    frame[5] = (uint8_t)(was | 0x80);
    assert_int_equal(unpack_code(frame, n), SL_EFRAME);
    frame[5] = was;
    put32(frame, 0x184d2205);
    assert_int_equal(unpack_code(frame, n), SL_EFRAME);
    free(frame);
    free(data);
}

static void a_wrong_size_and_wrong_blocks_are_errors(void **state)
{
    uint8_t *data, *frame;
    size_t n = small_frame(&data, 500, &frame, 1);
    (void)state;
    frame[6] ^= 1;
    frame[14] = (uint8_t)(XXH32(frame + 4, 10, 0) >> 8);
    assert_int_equal(unpack_code(frame, n), SL_EFRAME);
    frame[6] ^= 1;
    frame[14] = (uint8_t)(XXH32(frame + 4, 10, 0) >> 8);
    put32(frame + 15, 65537); /* above the block size */
    assert_int_equal(unpack_code(frame, n), SL_EFRAME);
    put32(frame + 15, 0x80000000);
    assert_int_equal(unpack_code(frame, n), SL_EFRAME);
    free(frame);
    free(data);
}

static void a_failing_read_or_write_ends_the_call(void **state)
{
    enum { BYTES = 1 << 20 };
    uint8_t *data = make(BYTES), *frame;
    struct frame_stats s;
    (void)state;
    size_t n = lz4_frame(NULL, data, BYTES, &frame);
    for (int write = 0; write < 2; write++) {
        struct mem in = {.in = frame, .in_bytes = n};
        struct mem out = {.in = data, .in_bytes = BYTES};
        struct frame_io io = {mem_read, mem_write, &out};
        in.read_code = out.read_code = write ? 0 : SL_EIO;
        in.write_code = out.write_code = write ? SL_ENOSPC : 0;
        assert_int_equal(unpack(&in, &s), write ? SL_ENOSPC : SL_EIO);
        assert_int_equal(frame_pack(pages, &io, 0, &s),
                         write ? SL_ENOSPC : SL_EIO);
        free(in.out);
        free(out.out);
    }
    free(frame);
    free(data);
}

/* ---- on a device ---- */

static int open_on(const char *device)
{
    struct sl_pages_opts o = {.size = sizeof(o),
                              .page_bytes = SL_PAGE_MAX,
                              .device = device,
                              .threads = 3,
                              .slot_bytes = 4 * SL_PAGE_MAX};
    return sl_pages_open(&o, &pages);
}

/* Its kernels take whole pages: what is none fails there, and is tried again.
 * Emulated lanes are slow, so these are the tests of few bytes. */
static void a_device_reads_frames_too(void **state)
{
    struct sl_pages *cpu = pages;
    assert_int_equal(open_on("host"), 0);
    short_blocks_in_the_middle(state);
    if (!SLOW_LANES)
        frames_follow_each_other_with_others_between(state);
    a_wrong_size_and_wrong_blocks_are_errors(state);
    a_failing_read_or_write_ends_the_call(state);
    sl_pages_close(pages);
    pages = cpu;
}

static const struct CMUnitTest frame_tests[] = {
    cmocka_unit_test(liblz4_reads_our_frames),
    cmocka_unit_test(pages_of_one_value_are_blocks),
    cmocka_unit_test(frames_of_liblz4_with_all_options),
    cmocka_unit_test(short_blocks_in_the_middle),
    cmocka_unit_test(frames_follow_each_other_with_others_between),
    cmocka_unit_test(legacy_frames_are_read),
    cmocka_unit_test(a_truncated_frame_is_told_at_every_byte),
    cmocka_unit_test(a_changed_byte_is_an_error),
    cmocka_unit_test(headers_are_checked),
    cmocka_unit_test(a_wrong_size_and_wrong_blocks_are_errors),
    cmocka_unit_test(a_failing_read_or_write_ends_the_call),
    cmocka_unit_test(a_device_reads_frames_too),
};

int main(void)
{
    seed = test_seed("test_frame");
    if (open_on("cpu"))
        return 1;
    int failed = cmocka_run_group_tests(frame_tests, NULL, NULL);
    sl_pages_close(pages);
    return failed ? 1 : 0;
}
