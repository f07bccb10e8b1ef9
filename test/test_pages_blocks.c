/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks that sl_pages did not make, on each device: those of liblz4 decode,
 * damaged ones fail their page alone. */
#include "lz4_plain.h"
#include "pages_rig.h"

#include <lz4.h>
#include <lz4hc.h>

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
        struct trip b;
        trip_make(&b, PAGE, N * PAGE);
        pages_make(b.src, b.bytes, PAGE, &pages_seed);
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
        assert_int_equal(trip_decompress(&b, p), 0);
        assert_memory_equal(b.back, b.src, b.bytes);
        trip_free(&b);
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
    struct trip b;
    (void)state;
    trip_make(&b, PAGE, N * PAGE);
    for (int i = 0; i < N; i++)
        page_make(b.src + i * PAGE, PAGE, MADE_WORDS, &pages_seed);
    trip_compress(&b, p);
    b.entries[0].kind = 4;
    b.entries[1].at_or_fill = b.blocks;
    b.entries[2].at_or_fill = UINT64_MAX - 3;
    b.entries[3].stored = 0;
    b.entries[4].stored = UINT32_MAX;
    b.entries[5].kind = SL_PAGE_RAW; /* stored is not the page's size */
    b.entries[6].stored--;           /* the block ends early */
    b.entries[7].kind = SL_PAGE_ZERO;
    b.entries[8].code = SL_EBLOCK; /* of an earlier call: means nothing */
    assert_int_equal(trip_decompress(&b, p), SL_EBLOCK);
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
    trip_free(&b);
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

/* One to three changes of a byte. */
static void damage(uint8_t *block, uint32_t n)
{
    for (uint64_t left = 1 + test_random(&pages_seed) % 3u; left; left--)
        block[test_random(&pages_seed) % n] ^=
            (uint8_t)(1u + test_random(&pages_seed) % 255u);
}

/* Right bytes by the format, or a code. The kernels also take blocks whose writer
 * did not keep the rules for a block's end, as liblz4 does not. */
static void damaged_blocks_are_an_error_or_the_right_bytes(void **state)
{
    enum { PAGE = 1024, N = 32 };
    struct sl_pages *p = open_pages(PAGE, 8);
    uint64_t damaged = 0, right = 0, rounds = STEPS(10);
    if (strcmp(pages_device, "host") != 0)
        rounds = test_steps(2000);
    struct trip b;
    uint8_t want[PAGE], theirs[PAGE];
    (void)state;
    trip_make(&b, PAGE, N * PAGE);
    for (uint64_t round = 0; round < rounds; round++) {
        /* Every eighth page is of any kind, and its block stays whole. */
        pages_make(b.src, b.bytes, PAGE, &pages_seed);
        for (unsigned i = 0; i < N; i++)
            if (i % 8u)
                page_make(b.src + i * PAGE, PAGE,
                          i % 2u ? MADE_PERIOD : MADE_WORDS, &pages_seed);
        trip_compress(&b, p);
        for (unsigned i = 0; i < N; i++)
            if (i % 8u && b.entries[i].kind == SL_PAGE_LZ4) {
                damage(b.dst + b.entries[i].at_or_fill, b.entries[i].stored);
                damaged++;
            }
        (void)trip_decompress(&b, p);
        for (int i = 0; i < N; i++) {
            const struct sl_page_entry *e = &b.entries[i];
            if (e->kind != SL_PAGE_LZ4)
                continue;
            const uint8_t *block = b.dst + e->at_or_fill;
            int plain = lz4_plain(block, e->stored, want, PAGE);
            int got = LZ4_decompress_safe((const char *)block, (char *)theirs,
                                          (int)e->stored, PAGE);
            assert_true(e->code == 0 || e->code == SL_EBLOCK);
            if (plain && got == PAGE)
                assert_int_equal(e->code, 0);
            else if (!plain || strcmp(pages_device, "cpu") == 0)
                assert_int_equal(e->code, SL_EBLOCK);
            if (e->code == 0)
                assert_memory_equal(b.back + i * PAGE, want, PAGE);
            else
                all_zero(b.back + i * PAGE, PAGE);
            right += i % 8 && e->code == 0;
        }
    }
    printf("# %llu damaged blocks, %llu still a page\n",
           (unsigned long long)damaged, (unsigned long long)right);
    assert_in_range(right, 1, damaged - 1u);
    trip_free(&b);
    sl_pages_close(p);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(blocks_of_liblz4_decode),
    cmocka_unit_test(a_bad_entry_fails_its_page_alone),
    cmocka_unit_test(the_offset_0_is_refused),
    cmocka_unit_test(damaged_blocks_are_an_error_or_the_right_bytes),
};

int main(void)
{
    pages_seed = test_seed("test_pages_blocks");
    return pages_on_devices(tests, COUNT(tests), 0) != 0;
}
