/* SPDX-License-Identifier: Apache-2.0 */
/* Every codec with every preset, by one table of cases. */
#include "codec/codec.h"
#include "codec/speed.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LARGEST 65536u
#define GUARD 64u /* bytes behind a destination that must stay as they are */
#define GUARD_BYTE 0xa5u

static uint64_t seed;

/* splitmix64 */
static uint64_t pick(uint64_t below)
{
    uint64_t z = (seed += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % below;
}

/* ---- data ---- */

enum kind { ZEROS, TEXT, NUMERIC, RANDOM, BINARY, DOUBLES, SPECIALS, KINDS };
static uint8_t data[KINDS][LARGEST];

/* Patterns on which an encoder for floats could err. */
static const uint64_t specials[] = {
    UINT64_C(0x7ff0000000000000), UINT64_C(0xfff0000000000000),
    UINT64_C(0x7ff8000000000001), UINT64_C(0x7ff0000000000001),
    UINT64_C(0xffffffffffffffff), UINT64_C(0x8000000000000000),
    UINT64_C(0x0000000000000001), UINT64_C(0x7f800000ff800001),
    UINT64_C(0x3ff0000000000000), UINT64_C(0x80000000007fffff)};

static void make_data(void)
{
    codec_speeds_fill(SPEED_ZEROS, data[ZEROS], LARGEST);
    codec_speeds_fill(SPEED_TEXT, data[TEXT], LARGEST);
    codec_speeds_fill(SPEED_NUMERIC, data[NUMERIC], LARGEST);
    codec_speeds_fill(SPEED_RANDOM, data[RANDOM], LARGEST);
    /* Machine code: this program's own. */
    memcpy(data[BINARY], (const void *)(uintptr_t)&make_data, 2048);
    for (size_t at = 2048; at < LARGEST; at += 32) {
        memcpy(data[BINARY] + at, data[BINARY] + pick(at - 32u), 32);
        data[BINARY][at + pick(32)] = (uint8_t)pick(256);
    }
    for (size_t i = 0; i < LARGEST / 8u; i++) {
        double d = (double)i * (double)i / 977.0 - 40.0 * (double)i;
        uint64_t special = specials[pick(10)];
        memcpy(data[DOUBLES] + 8u * i, &d, sizeof(d));
        if (pick(3))
            memcpy(data[SPECIALS] + 8u * i, &special, sizeof(special));
        else
            memcpy(data[SPECIALS] + 8u * i, &d, sizeof(d));
    }
}

static const size_t sizes[] = {
    1,    2,    3,    4,    5,    7,     8,     12,    15,   16,
    17,   31,   63,   64,   65,   100,   127,   255,   256,  511,
    1000, 2047, 4095, 4096, 4097, 12345, 32768, 65535, 65536};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

/* ---- round trips ---- */

/* Memory of exactly the size, so that the sanitizers see one byte too many. */
static void round_trip(unsigned id, int preset, const uint8_t *src, size_t n)
{
    size_t bound = codec_bound(id, n);
    uint8_t *coded = malloc(bound + GUARD), *again = malloc(n + GUARD);
    assert_non_null(coded);
    assert_non_null(again);
    memset(coded + bound, GUARD_BYTE, GUARD);
    memset(again + n, GUARD_BYTE, GUARD);
    int made = codec_encode(id, preset, src, n, coded, bound);
    if (made <= 0)
        fail_msg("%s preset %d, %zu bytes: %d", codec_name(id), preset, n,
                 made);
    assert_true((size_t)made <= bound);
    uint8_t *exact = malloc((size_t)made);
    assert_non_null(exact);
    memcpy(exact, coded, (size_t)made);
    int rc = codec_decode(id, exact, (size_t)made, again, n);
    if (rc || memcmp(again, src, n) != 0)
        fail_msg("%s preset %d, %zu bytes come back wrong: %d", codec_name(id),
                 preset, n, rc);
    for (size_t i = 0; i < GUARD; i++) {
        assert_int_equal(coded[bound + i], GUARD_BYTE);
        assert_int_equal(again[n + i], GUARD_BYTE);
    }
    free(exact);
    free(coded);
    free(again);
}

/* brotli and lzma at their best take a tenth of a second for 64 KiB. */
static int is_slow(unsigned id, int preset)
{
    return preset == CODEC_BEST &&
           (id == SL_CODEC_BROTLI || id == SL_CODEC_LZMA);
}

static void every_codec_gives_back_every_byte(void **state)
{
    (void)state;
    for (unsigned id = 0; id < SL_CODECS; id++)
        for (int preset = 0; preset <= 3 && codec_find(id); preset++)
            for (enum kind k = ZEROS; k < KINDS; k++)
                for (size_t s = 0; s < SIZES; s++) {
                    if (is_slow(id, preset) && sizes[s] > 256 &&
                        sizes[s] != 4097 && (sizes[s] != LARGEST || k != TEXT))
                        continue;
                    round_trip(id, preset, data[k] + LARGEST - sizes[s],
                               sizes[s]);
                }
}

static void blocks_of_random_sizes_come_back(void **state)
{
    (void)state;
    for (int i = 0; i < 400; i++) {
        unsigned id = (unsigned)pick(SL_CODECS);
        size_t n = 1u + pick(pick(2) ? 512 : 8192);
        size_t at = pick(LARGEST - n);
        if (codec_find(id))
            round_trip(id, 1 + (int)pick(2), data[pick(KINDS)] + at, n);
    }
}

static void nothing_codes_to_nothing(void **state)
{
    uint8_t byte = 7;
    (void)state;
    for (unsigned id = 0; id < SL_CODECS; id++) {
        if (!codec_find(id))
            continue;
        assert_int_equal(codec_encode(id, 0, &byte, 0, &byte, 0), 0);
        assert_int_equal(codec_decode(id, &byte, 0, &byte, 0), 0);
        assert_int_equal(codec_decode(id, &byte, 1, &byte, 0), SL_ECORRUPT);
        assert_int_equal(codec_decode(id, &byte, 0, &byte, 1), SL_ECORRUPT);
    }
    assert_int_equal(byte, 7);
}

/* ---- room ---- */

static void an_encoder_stays_in_its_room(void **state)
{
    static uint8_t coded[2 * LARGEST];
    (void)state;
    for (unsigned id = 1; id < SL_CODECS; id++)
        for (int preset = 1; preset <= 2 && codec_find(id); preset++)
            for (enum kind k = ZEROS; k < KINDS; k++) {
                size_t n = 8192;
                int full = codec_encode(id, preset, data[k], n, coded,
                                        codec_bound(id, n));
                assert_true(full > 0);
                for (int i = 0; i < 6; i++) {
                    size_t room = i == 0   ? (size_t)full - 1u
                                  : i == 1 ? 0
                                           : pick((size_t)full);
                    memset(coded, GUARD_BYTE, 2u * n);
                    assert_int_equal(
                        codec_encode(id, preset, data[k], n, coded, room),
                        SL_ENOSPC);
                    for (size_t at = room; at < 2u * n; at++)
                        if (coded[at] != GUARD_BYTE)
                            fail_msg("%s:%d writes byte %zu of %zu",
                                     codec_name(id), preset, at, room);
                }
            }
}

static void incompressible_bytes_do_not_fit_below_their_size(void **state)
{
    static uint8_t coded[LARGEST];
    (void)state;
    for (unsigned id = 1; id < SL_CODECS; id++)
        if (codec_find(id))
            assert_int_equal(codec_encode(id, CODEC_FAST, data[RANDOM], LARGEST,
                                          coded, LARGEST - 4096u),
                             SL_ENOSPC);
}

/* ---- damage ---- */

/* Decodes into memory of exactly `size`; the code is 0 or one that says so. */
static int decode_any(unsigned id, const uint8_t *in, size_t n, size_t size)
{
    uint8_t *exact = malloc(n ? n : 1), *out = malloc(size + GUARD);
    assert_non_null(exact);
    assert_non_null(out);
    memcpy(exact, in, n);
    memset(out, GUARD_BYTE, size + GUARD);
    int rc = codec_decode(id, exact, n, out, size);
    if (rc && rc != SL_ECORRUPT)
        fail_msg("%s answers %d", codec_name(id), rc);
    for (size_t i = 0; i < GUARD; i++)
        assert_int_equal(out[size + i], GUARD_BYTE);
    free(exact);
    free(out);
    return rc;
}

static void truncated_blocks_are_refused(void **state)
{
    static uint8_t coded[2 * LARGEST];
    (void)state;
    for (unsigned id = 0; id < SL_CODECS; id++)
        for (enum kind k = TEXT; k < KINDS && codec_find(id); k++) {
            size_t n = 3000;
            int made = codec_encode(id, 1, data[k], n, coded, sizeof(coded));
            assert_true(made > 0);
            for (int i = 0; i < 40; i++) {
                size_t cut =
                    i < 4 ? (size_t)made - 1u - (size_t)i : pick((size_t)made);
                /* zfp's last bytes may be padding of no meaning. */
                if (decode_any(id, coded, cut, n) == 0 && id != SL_CODEC_ZFP)
                    fail_msg("%s: %zu of %d bytes are taken", codec_name(id),
                             cut, made);
            }
        }
}

static void another_length_is_refused(void **state)
{
    static uint8_t coded[2 * LARGEST];
    (void)state;
    for (unsigned id = 0; id < SL_CODECS; id++)
        for (enum kind k = ZEROS; k < KINDS && codec_find(id); k++) {
            size_t n = 3000;
            int made = codec_encode(id, 2, data[k], n, coded, sizeof(coded));
            assert_true(made > 0);
            /* zfp does not know how many values there are: the caller does. */
            if (id == SL_CODEC_ZFP)
                continue;
            assert_int_equal(decode_any(id, coded, (size_t)made, n - 1u),
                             SL_ECORRUPT);
            assert_int_equal(decode_any(id, coded, (size_t)made, n + 1u),
                             SL_ECORRUPT);
            assert_int_equal(decode_any(id, coded, (size_t)made, 1),
                             SL_ECORRUPT);
        }
}

static void damaged_blocks_write_nothing_outside(void **state)
{
    static uint8_t coded[2 * LARGEST];
    (void)state;
    for (unsigned id = 0; id < SL_CODECS; id++)
        for (int i = 0; i < 600 && codec_find(id); i++) {
            enum kind k = (enum kind)pick(KINDS);
            size_t n = 1u + pick(5000);
            int made = codec_encode(id, 1 + (int)pick(2), data[k], n, coded,
                                    sizeof(coded));
            assert_true(made > 0);
            for (uint64_t hits = 1u + pick(4); hits; hits--)
                coded[pick(pick(2) && made > 32 ? 32u : (size_t)made)] =
                    (uint8_t)pick(256);
            decode_any(id, coded, (size_t)made, n);
        }
}

static void foreign_bytes_write_nothing_outside(void **state)
{
    uint8_t in[300];
    (void)state;
    for (unsigned id = 0; id < SL_CODECS; id++)
        for (int i = 0; i < 2000 && codec_find(id); i++) {
            size_t n = 1u + pick(sizeof(in) - 1u);
            for (size_t at = 0; at < n; at++)
                in[at] = (uint8_t)(pick(4) ? pick(256) : pick(2) * 255u);
            decode_any(id, in, n, 1u + pick(9000));
        }
}

/* ---- presets ---- */

static size_t weigh(unsigned id, int preset, uint64_t *ns)
{
    static uint8_t coded[2 * LARGEST];
    int made = 0;
    *ns = UINT64_MAX;
    for (int i = 0; i < 3; i++) {
        uint64_t begin = clock_thread_ns();
        made =
            codec_encode(id, preset, data[TEXT], LARGEST, coded, sizeof(coded));
        uint64_t took = clock_thread_ns() - begin;
        if (took < *ns)
            *ns = took;
    }
    assert_true(made > 0);
    return (size_t)made;
}

/* Better is smaller, or else cheaper: no preset loses on both sides. */
static void presets_are_not_inverted(void **state)
{
    (void)state;
    for (unsigned id = 1; id < SL_CODECS; id++) {
        size_t bytes[4];
        uint64_t ns[4];
        if (!codec_find(id))
            continue;
        for (int preset = 1; preset <= 3; preset++)
            bytes[preset] = weigh(id, preset, &ns[preset]);
        printf("%-6s %zu %zu %zu bytes, %llu %llu %llu us\n", codec_name(id),
               bytes[1], bytes[2], bytes[3], (unsigned long long)ns[1] / 1000,
               (unsigned long long)ns[2] / 1000,
               (unsigned long long)ns[3] / 1000);
        /* A search that is thorough finds a hundredth less at times. */
        assert_true(bytes[3] <= bytes[2] + bytes[2] / 100u);
        assert_true(bytes[2] <= bytes[1]);
        assert_true(bytes[3] <= bytes[1]);
        /* Equal settings, as snappy's, differ by what a clock differs. */
        assert_true(ns[1] <= ns[3] + ns[3] / 2u + 20000u);
    }
}

/* ---- names ---- */

static void a_byte_of_a_put_is_checked(void **state)
{
    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        unsigned id = byte & 15u;
        int want = codec_find(id) ? 0 : SL_ENOCODEC;
        if (id >= SL_CODECS || byte >= 64u)
            want = SL_ECODEC;
        if (byte == SL_CODEC_DYNAMIC)
            want = 0;
        assert_int_equal(codec_check((uint8_t)byte), want);
    }
    assert_int_equal(codec_encode(11, 0, "a", 1, &(uint8_t){0}, 1), SL_ECODEC);
    assert_int_equal(codec_decode(200, "a", 1, &(uint8_t){0}, 1), SL_ECODEC);
    assert_int_equal(codec_encode(4, 4, "a", 1, &(uint8_t){0}, 1), SL_EINVAL);
}

static void names_are_parsed(void **state)
{
    uint8_t byte = 99;
    (void)state;
    assert_int_equal(codec_parse("none", &byte), 0);
    assert_int_equal(byte, 0);
    assert_int_equal(codec_parse("dynamic", &byte), 0);
    assert_int_equal(byte, SL_CODEC_DYNAMIC);
    for (unsigned id = 1; id < SL_CODECS; id++) {
        char text[32];
        int want = codec_find(id) ? 0 : SL_ENOCODEC;
        assert_int_equal(codec_parse(codec_name(id), &byte), want);
        assert_int_equal(byte, id);
        snprintf(text, sizeof(text), "%s:best", codec_name(id));
        assert_int_equal(codec_parse(text, &byte), want);
        assert_int_equal(byte, SL_CODEC(id, SL_CODEC_BEST));
        snprintf(text, sizeof(text), "%s:better", codec_name(id));
        assert_int_equal(codec_parse(text, &byte), SL_ECODEC);
    }
    assert_int_equal(codec_parse("", &byte), SL_ECODEC);
    assert_int_equal(codec_parse("lz", &byte), SL_ECODEC);
    assert_int_equal(codec_parse("dynamic:fast", &byte), SL_ECODEC);
    assert_int_equal(codec_preset(SL_CODEC(4, 0)), CODEC_BALANCED);
    assert_int_equal(codec_preset(SL_CODEC(4, SL_CODEC_BEST)), CODEC_BEST);
}

/* The table agrees with what the build found. */
static void the_build_has_what_it_found(void **state)
{
    static const int found[SL_CODECS] = {
        1,
        SLUICE_HAVE_BZIP2,
        SLUICE_HAVE_BLOSC,
        SLUICE_HAVE_BROTLI,
        SLUICE_HAVE_LZ4,
        SLUICE_HAVE_LZMA,
        SLUICE_HAVE_SNAPPY,
        SLUICE_HAVE_LZO,
        SLUICE_HAVE_ZFP,
        SLUICE_HAVE_ZLIB,
        SLUICE_HAVE_ZSTD,
    };
    (void)state;
    for (unsigned id = 0; id < SL_CODECS; id++) {
        const struct codec_ops *ops = codec_find(id);
        assert_int_equal(ops != NULL, found[id]);
        if (ops)
            assert_int_equal(ops->id, id);
        if (ops)
            assert_string_equal(ops->name, codec_name(id));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_build_has_what_it_found),
        cmocka_unit_test(every_codec_gives_back_every_byte),
        cmocka_unit_test(blocks_of_random_sizes_come_back),
        cmocka_unit_test(nothing_codes_to_nothing),
        cmocka_unit_test(an_encoder_stays_in_its_room),
        cmocka_unit_test(incompressible_bytes_do_not_fit_below_their_size),
        cmocka_unit_test(truncated_blocks_are_refused),
        cmocka_unit_test(another_length_is_refused),
        cmocka_unit_test(damaged_blocks_write_nothing_outside),
        cmocka_unit_test(foreign_bytes_write_nothing_outside),
        cmocka_unit_test(presets_are_not_inverted),
        cmocka_unit_test(a_byte_of_a_put_is_checked),
        cmocka_unit_test(names_are_parsed),
    };
    const char *given = getenv("SEED");
    seed = given ? strtoull(given, NULL, 0) : clock_real_ns();
    printf("SEED=%llu\n", (unsigned long long)seed);
    make_data();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
