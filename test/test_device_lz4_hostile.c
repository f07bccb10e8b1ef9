/* SPDX-License-Identifier: Apache-2.0 */
/* Damaged LZ4 blocks, on each device there is: an error or bytes that are
 * right, and nothing outside of the buffers. */
#include "lz4_help.h"
#include "lz4_plain.h"

static uint64_t seed;

static uint32_t below(uint32_t n)
{
    return (uint32_t)(test_random(&seed) % n);
}

/* Changes bytes, cuts the end off, or does both; what is left, in bytes. */
static uint32_t damage(uint8_t *block, uint32_t n)
{
    static const uint8_t marks[] = {0, 0xff, 0xf0, 0x0f, 1};
    uint32_t left = below(5) ? n : 1u + below(n);
    uint32_t changes = left == n ? 1u + below(3) : below(4);
    for (uint32_t i = 0; i < changes; i++) {
        uint8_t *at = &block[below(n)], old = *at;
        *at = below(2) ? marks[below(COUNT(marks))] : (uint8_t)below(256);
        *at ^= *at == old; /* another byte in any case */
    }
    return left;
}

/* What is accepted has the bytes that the format says. All that liblz4 accepts
 * is, but for the offset 0. */
static void expect_by_the_format(const struct lz4_job *q, uint32_t *accepted)
{
    uint8_t *page = (uint8_t *)zeroed(q->room, 1);
    uint8_t *theirs = (uint8_t *)zeroed(q->room, 1);
    int right = lz4_plain(q->src, q->n, page, q->room);
    int got = LZ4_decompress_safe((const char *)q->src, (char *)theirs,
                                  (int)q->n, (int)q->room);
    assert_true(q->code == 0 || q->code == SL_EBLOCK);
    if (q->code == 0) {
        assert_true(right);
        assert_memory_equal(q->dst, page, q->room);
    }
    if (right && got == (int)q->room) {
        assert_int_equal(q->code, 0);
        assert_memory_equal(theirs, page, q->room);
        ++*accepted;
    }
    free(theirs);
    free(page);
}

static void damaged_blocks_give_an_error_or_the_right_bytes(void **state)
{
    static const uint32_t sizes[] = {64, 300, 1024, 4096, 4096, 4096, 9000};
    static uint8_t page[SL_LZ4_MAX];
    static uint8_t block[SL_LZ4_BOUND(SL_LZ4_MAX)];
    struct sl_config c = device_config();
    struct rig r;
    struct lz4_jobs j;
    uint32_t accepted = 0;
    (void)state;
    rig_open(&r, &c);
    jobs_open(&j, &r);
    uint32_t steps = (uint32_t)test_steps(r.on_gpu ? 8000 : 1500);
    for (uint32_t i = 0; i < steps && i < JOBS_MAX; i++) {
        uint32_t n = sizes[below(COUNT(sizes))];
        page_make(page, n, below(PAGE_KINDS), &seed);
        int m = LZ4_compress_default((const char *)page, (char *)block, (int)n,
                                     sizeof(block));
        uint32_t cut = damage(block, (uint32_t)m);
        jobs_add(&j, CHECK_LZ4_UNPACK, block, cut, n);
    }
    jobs_run(&j);
    for (uint32_t i = 0; i < j.n; i++)
        expect_by_the_format(&j.job[i], &accepted);
    printf("# %u blocks, of which liblz4 accepts %u\n", j.n, accepted);
    assert_in_range(accepted, 1, j.n - 1u);
    jobs_close(&j);
    rig_close(&r);
}

/* Bytes that never were a block; those of one value make the longest chains of
 * lengths. */
static void noise_as_a_block_gives_an_error_or_the_right_bytes(void **state)
{
    static uint8_t block[SL_LZ4_BOUND(SL_LZ4_MAX)];
    struct sl_config c = device_config();
    struct rig r;
    struct lz4_jobs j;
    uint32_t accepted = 0;
    (void)state;
    rig_open(&r, &c);
    jobs_open(&j, &r);
    for (uint32_t v = 0; v < 256u; v += SLOW_LANES ? 5u : 1u) {
        memset(block, (int)v, 4128);
        jobs_add(&j, CHECK_LZ4_UNPACK, block, 4128u - v, 4096);
        fill(block, 4128, test_random(&seed));
        jobs_add(&j, CHECK_LZ4_UNPACK, block, 1u + below(4128), 4096);
    }
    memset(block, 0xff, sizeof(block));
    jobs_add(&j, CHECK_LZ4_UNPACK, block, sizeof(block), SL_LZ4_MAX);
    memset(block, 0, sizeof(block));
    jobs_add(&j, CHECK_LZ4_UNPACK, block, sizeof(block), SL_LZ4_MAX);
    jobs_run(&j);
    for (uint32_t i = 0; i < j.n; i++)
        expect_by_the_format(&j.job[i], &accepted);
    jobs_close(&j);
    rig_close(&r);
}

static void sizes_that_are_not_the_blocks_are_eblock(void **state)
{
    static uint8_t page[5000];
    static uint8_t block[SL_LZ4_BOUND(5000)];
    struct sl_config c = device_config();
    struct rig r;
    struct lz4_jobs j;
    (void)state;
    rig_open(&r, &c);
    jobs_open(&j, &r);
    for (uint32_t k = 0; k < PAGE_KINDS; k++) {
        uint32_t n = k % 2u ? 5000u : 1000u;
        page_make(page, n, k, &seed);
        int m = LZ4_compress_default((const char *)page, (char *)block, (int)n,
                                     sizeof(block));
        jobs_add(&j, CHECK_LZ4_UNPACK, block, (uint32_t)m, n - 1u);
        jobs_add(&j, CHECK_LZ4_UNPACK, block, (uint32_t)m, n + 1u);
        jobs_add(&j, CHECK_LZ4_UNPACK, block, (uint32_t)m, 0);
        jobs_add(&j, CHECK_LZ4_UNPACK, block, (uint32_t)m - 1u, n);
        jobs_add(&j, CHECK_LZ4_UNPACK, block, 0, n);
        jobs_add(&j, CHECK_LZ4_UNPACK, block,
                 SL_LZ4_BOUND(n) + 1u > sizeof(block) ? 0u
                                                      : SL_LZ4_BOUND(n) + 1u,
                 n);
    }
    jobs_run(&j);
    for (uint32_t i = 0; i < j.n; i++)
        assert_int_equal(j.job[i].code, SL_EBLOCK);
    jobs_close(&j);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_blocks_give_an_error_or_the_right_bytes),
        cmocka_unit_test(noise_as_a_block_gives_an_error_or_the_right_bytes),
        cmocka_unit_test(sizes_that_are_not_the_blocks_are_eblock),
    };
    seed = test_seed("test_device_lz4_hostile");
    int failed = run_on_devices(tests);
    printf("# the same, by thread blocks\n");
    jobs_by_team = 1;
    return run_on_devices(tests) || failed;
}
