/* SPDX-License-Identifier: Apache-2.0 */
/* The codec of metadata records: round trips, the layout, and that no damage is
 * taken for a record. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "meta_help.h"
#include "store/meta_record.h"

#include <xxhash.h>

#define EXTENTS 1000u

static struct meta_extent extents[EXTENTS], scratch[EXTENTS];

static struct job sample(uint32_t n, uint32_t name_len)
{
    struct job j = {.extents = extents};

    pattern_put(&j, UINT64_C(0x1122334455667788), 7, 99, n);
    memset(j.name, 0xe9, name_len);
    j.c.blob.name_len = name_len;
    j.c.blob.context = 0xabcd;
    return j;
}

static uint8_t *encode(const struct meta_blob *b, size_t *n)
{
    uint8_t *record = malloc(meta_blob_bound(b));

    assert_non_null(record);
    *n = meta_blob_encode(b, record);
    assert_int_equal(*n, meta_blob_bound(b));
    return record;
}

static void expect_round_trip(uint32_t n, uint32_t name_len)
{
    struct job j = sample(n, name_len);
    struct meta_blob *in = &j.c.blob, out;
    size_t bytes;
    uint8_t *record;

    in->name = j.name;
    record = encode(in, &bytes);
    assert_int_equal(meta_blob_decode(record, bytes, &out, scratch, n), 0);
    assert_int_equal(out.name_len, name_len);
    assert_memory_equal(out.name, in->name, name_len);
    assert_int_equal(out.tag, in->tag);
    assert_int_equal(out.size, in->size);
    assert_int_equal(out.version, 99);
    assert_int_equal(out.created_ns, 7);
    assert_int_equal(out.context, 0xabcd);
    assert_int_equal(out.n_extents, n);
    assert_true(pattern_fits(&out));
    if (n)
        assert_int_equal(meta_blob_decode(record, bytes, &out, scratch, n - 1),
                         SL_ECORRUPT);
    free(record);
}

static void record_round_trips(void **state)
{
    (void)state;
    expect_round_trip(0, 1);
    expect_round_trip(0, 255);
    expect_round_trip(1, 17);
    expect_round_trip(EXTENTS, 255);
}

static void record_layout_is_the_specified_one(void **state)
{
    static const uint8_t head[] = {
        'B', 1, 2, 1,    0xf4, 0x01, 0xcd, 0xab, 1,    0,    0,    0, 0,
        0,   0, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0, 0x10,
        0,   0, 0, 0,    0,    0,    99,   0,    0,    0,    0,    0, 0,
        0,   7, 0, 0,    0,    0,    0,    0,    0,    99,   0,    0, 0,
        0,   0, 0, 0,    0xe9, 0,    0,    0,    0,    0,    0,    0, 0};
    struct job j = sample(1, 1);
    size_t n;
    uint8_t *r;
    uint64_t sum;

    (void)state;
    j.c.blob.name = j.name;
    r = encode(&j.c.blob, &n);
    assert_int_equal(n, 56 + 1 + 40 + 8);
    assert_memory_equal(r, head, sizeof head);
    sum = XXH3_64bits(r, n - 8);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(r[n - 8 + i], (uint8_t)(sum >> (8 * i)));
    free(r);
}

/* A copy in memory of just its size, so that a sanitizer sees each read
 * outside. */
static int decode_copy(const uint8_t *record, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    struct meta_blob out;
    int rc;

    assert_non_null(copy);
    memcpy(copy, record, n);
    rc = meta_blob_decode(copy, n, &out, scratch, EXTENTS);
    free(copy);
    return rc;
}

static void every_damaged_byte_and_every_cut_is_refused(void **state)
{
    static const uint32_t counts[] = {0, 1, 20};

    (void)state;
    for (size_t k = 0; k < 3; k++) {
        struct job j = sample(counts[k], k == 2 ? 255 : 9);
        size_t n;
        uint8_t *r;

        j.c.blob.name = j.name;
        r = encode(&j.c.blob, &n);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(decode_copy(r, i), SL_ECORRUPT);
            for (unsigned bit = 0; bit < 8; bit++) {
                r[i] ^= (uint8_t)(1u << bit);
                assert_int_equal(decode_copy(r, n), SL_ECORRUPT);
                r[i] ^= (uint8_t)(1u << bit);
            }
            r[i] ^= 0xff;
            assert_int_equal(decode_copy(r, n), SL_ECORRUPT);
            r[i] ^= 0xff;
        }
        assert_int_equal(decode_copy(r, n), 0);
        free(r);
    }
}

/* Breaks one rule in `j`, and expects that no checksum makes up for it. */
static void expect_bad(struct job *j)
{
    size_t n;
    uint8_t *r;

    j->c.blob.name = j->name;
    assert_int_equal(meta_blob_check(&j->c.blob), SL_EINVAL);
    r = encode(&j->c.blob, &n);
    assert_int_equal(decode_copy(r, n), SL_ECORRUPT);
    free(r);
}

/* As the second of two; sound would be 4096 for each. */
static void expect_bad_extent(uint64_t offset, uint32_t bytes, uint32_t stored,
                              uint64_t loc)
{
    struct job j = sample(2, 9);

    extents[1].offset = offset;
    extents[1].bytes = bytes;
    extents[1].stored = stored;
    extents[1].loc = loc;
    expect_bad(&j);
}

static void
record_that_breaks_a_rule_is_refused_in_spite_of_its_sum(void **state)
{
    struct job j;

    (void)state;
    expect_bad_extent(0, 4096, 4096, 4096);
    expect_bad_extent(4095, 4096, 4096, 4096);
    expect_bad_extent(UINT64_MAX - 1, 4096, 4096, 4096);
    expect_bad_extent(4096, 0, 4096, 4096);
    expect_bad_extent(4096, 4097, 8192, 4096);
    expect_bad_extent(4096, 4096, 4095, 4096);
    expect_bad_extent(4096, 4096, 0, 4096);
    expect_bad_extent(4096, 4096, 4096, 1);
    expect_bad_extent(4096, 4096, 4096, UINT64_MAX - 4095);
    j = sample(2, 9);
    j.c.blob.size = 8191;
    expect_bad(&j);
    j = sample(2, 9);
    j.c.blob.persist = 3;
    expect_bad(&j);
    j = sample(2, 9);
    j.name[4] = 0;
    expect_bad(&j);
    j = sample(0, 0);
    expect_bad(&j);
}

static void tag_record_refuses_every_damage(void **state)
{
    struct meta_blob in = {.tag = 3, .name = "tag", .name_len = 3}, out;
    uint8_t r[META_TAG_MAX];
    size_t n = meta_tag_encode(&in, r);

    (void)state;
    assert_int_equal(meta_tag_decode(r, n, &out), 0);
    assert_int_equal(out.tag, 3);
    assert_memory_equal(out.name, "tag", 3);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(meta_tag_decode(r, i, &out), SL_ECORRUPT);
        for (unsigned x = 1; x < 256; x++) {
            r[i] ^= (uint8_t)x;
            assert_int_equal(meta_tag_decode(r, n, &out), SL_ECORRUPT);
            r[i] ^= (uint8_t)x;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(record_round_trips),
        cmocka_unit_test(record_layout_is_the_specified_one),
        cmocka_unit_test(every_damaged_byte_and_every_cut_is_refused),
        cmocka_unit_test(
            record_that_breaks_a_rule_is_refused_in_spite_of_its_sum),
        cmocka_unit_test(tag_record_refuses_every_damage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
