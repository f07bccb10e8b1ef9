/* SPDX-License-Identifier: Apache-2.0 */
/* LZ4 blocks of device/lz4.h against liblz4, both ways, on each device there
 * is: what one makes the other reads, byte for byte. */
#include "lz4_help.h"

static uint64_t seed;

static void open_all(struct rig *r, struct lz4_jobs *j)
{
    struct sl_config c = device_config();
    rig_open(r, &c);
    jobs_open(j, r);
}

static void close_all(struct rig *r, struct lz4_jobs *j)
{
    jobs_close(j);
    rig_close(r);
}

/* Adds the page for both modes; room is what each block may need. */
static void add_page(struct lz4_jobs *j, const uint8_t *page, uint32_t n)
{
    jobs_add(j, CHECK_LZ4_PACK, page, n, SL_LZ4_BOUND(n));
    jobs_add(j, CHECK_LZ4_FAST, page, n, SL_LZ4_BOUND(n));
}

static void expect_page(const struct lz4_job *q, const uint8_t *block,
                        uint32_t n, const char *who)
{
    uint8_t *page = (uint8_t *)zeroed(q->n + 1u, 1);
    int got = LZ4_decompress_safe((const char *)block, (char *)page, (int)n,
                                  (int)q->n);
    if (got != (int)q->n)
        print_error("%s: page of %u bytes, block of %u: liblz4 says %d\n", who,
                    q->n, n, got);
    assert_int_equal(got, q->n);
    assert_memory_equal(page, q->src, q->n);
    free(page);
}

/* Runs the pages, has liblz4 read each block, then has the device read each
 * block of its own and of liblz4. */
static void expect_round_trips(struct lz4_jobs *j)
{
    struct lz4_jobs back;
    jobs_open(&back, j->rig);
    jobs_run(j);
    for (uint32_t i = 0; i < j->n; i++) {
        const struct lz4_job *q = &j->job[i];
        uint32_t room = SL_LZ4_BOUND(q->n);
        char *block = (char *)zeroed(room, 1);
        assert_in_range(q->code, 1, room);
        expect_page(q, q->dst, (uint32_t)q->code, "made by the device");
        jobs_add(&back, CHECK_LZ4_UNPACK, q->dst, (uint32_t)q->code, q->n);
        int n = LZ4_compress_default((const char *)q->src, block, (int)q->n,
                                     (int)room);
        jobs_add(&back, CHECK_LZ4_UNPACK, block, (uint32_t)n, q->n);
        free(block);
    }
    jobs_run(&back);
    for (uint32_t i = 0; i < back.n; i++) {
        assert_int_equal(back.job[i].code, 0);
        assert_memory_equal(back.job[i].dst, j->job[i / 2u].src,
                            back.job[i].room);
    }
    jobs_close(&back);
}

static void pages_of_0_to_300_bytes_go_both_ways(void **state)
{
    struct rig r;
    struct lz4_jobs j;
    uint8_t page[300];
    (void)state;
    open_all(&r, &j);
    for (uint32_t n = 0; n <= 300u; n++) {
        page_make(page, n, n % PAGE_CODE, &seed);
        add_page(&j, page, n);
        page_make(page, n, PAGE_TEXT, &seed);
        jobs_add(&j, CHECK_LZ4_PACK, page, n, SL_LZ4_BOUND(n));
    }
    expect_round_trips(&j);
    close_all(&r, &j);
}

static void periods_of_1_to_40_go_both_ways(void **state)
{
    struct rig r;
    struct lz4_jobs j;
    static uint8_t page[SL_LZ4_MAX];
    (void)state;
    open_all(&r, &j);
    for (uint32_t period = 1; period <= 40u; period++) {
        uint32_t n = period % 8u ? 4096u : 20000u;
        fill(page, period, seed + period);
        for (uint32_t i = period; i < n; i++)
            page[i] = page[i - period];
        add_page(&j, page, n);
    }
    expect_round_trips(&j);
    close_all(&r, &j);
}

static void data_of_all_kinds_and_sizes_goes_both_ways(void **state)
{
    static const uint32_t sizes[] = {1000, 4095,  4096, 4097,
                                     8192, 16384, 65536};
    static uint8_t page[SL_LZ4_MAX];
    struct rig r;
    struct lz4_jobs j;
    (void)state;
    open_all(&r, &j);
    for (uint32_t k = 0; k < PAGE_KINDS; k++)
        for (uint32_t i = 0; i < COUNT(sizes); i += SLOW_LANES ? 3u : 1u)
            for (uint32_t n = 0; n < (sizes[i] > 4096u && !r.on_gpu ? 1u : 8u);
                 n++) {
                page_make(page, sizes[i], k, &seed);
                add_page(&j, page, sizes[i]);
            }
    expect_round_trips(&j);
    close_all(&r, &j);
}

/* Noise whose end repeats what lies `distance` before it. */
static void add_distant(struct lz4_jobs *j, uint32_t distance, uint32_t len)
{
    static uint8_t page[SL_LZ4_MAX];
    uint32_t at =
        distance + 16u > SL_LZ4_MAX - len ? SL_LZ4_MAX - len : distance + 16u;
    fill(page, sizeof(page), seed + distance + len);
    for (uint32_t i = 0; i < len && at + i < SL_LZ4_MAX; i++)
        page[at + i] = page[at + i - distance];
    add_page(j, page, SL_LZ4_MAX);
}

static void matches_at_the_edge_of_the_window_go_both_ways(void **state)
{
    static const uint32_t lens[] = {12, 13, 16, 32, 300};
    struct rig r;
    struct lz4_jobs j;
    (void)state;
    open_all(&r, &j);
    for (uint32_t i = 0; i < COUNT(lens); i += SLOW_LANES ? 2u : 1u) {
        add_distant(&j, SL_LZ4_MAX - lens[i], lens[i]);
        add_distant(&j, 65535u - 16u - lens[i], lens[i]);
        add_distant(&j, 4096, lens[i]);
        add_distant(&j, 1024, lens[i]);
    }
    expect_round_trips(&j);
    close_all(&r, &j);
}

/* A block by hand: literals, a match with this offset, literals. */
static uint32_t block_of_offset(uint8_t *to, uint32_t literals, uint32_t off)
{
    uint32_t n = 0;
    to[n++] = 0xf0; /* and a match of 4 */
    for (uint32_t left = literals - 15u;; left -= 255u) {
        to[n++] = (uint8_t)(left < 255u ? left : 255u);
        if (left < 255u)
            break;
    }
    for (uint32_t i = 0; i < literals; i++)
        to[n++] = (uint8_t)(i * 7u + i / 251u);
    to[n++] = (uint8_t)off;
    to[n++] = (uint8_t)(off >> 8);
    to[n++] = 0x80;
    for (uint32_t i = 0; i < 8u; i++)
        to[n++] = (uint8_t)i;
    return n;
}

static void an_offset_may_be_65535_and_not_0_or_before_the_start(void **state)
{
    static const uint32_t lens[] = {20, 100, 4000, 5000, 65524};
    static uint8_t block[SL_LZ4_BOUND(SL_LZ4_MAX)];
    struct rig r;
    struct lz4_jobs j;
    (void)state;
    open_all(&r, &j);
    for (uint32_t i = 0; i < COUNT(lens); i++) {
        uint32_t offs[] = {1, lens[i], lens[i] + 1u, 0, 65535};
        for (uint32_t k = 0; k < COUNT(offs); k++) {
            uint32_t n = block_of_offset(block, lens[i], offs[k]);
            jobs_add(&j, CHECK_LZ4_UNPACK, block, n, lens[i] + 12u);
        }
    }
    jobs_run(&j);
    for (uint32_t i = 0; i < j.n; i++) {
        const struct lz4_job *q = &j.job[i];
        int want = i % 5u < 2u ? 0 : SL_EBLOCK;
        assert_int_equal(q->code, want);
        if (want) /* liblz4 lets the offset 0 pass */
            continue;
        uint8_t *page = (uint8_t *)zeroed(q->room, 1);
        assert_int_equal(LZ4_decompress_safe((const char *)q->src, (char *)page,
                                             (int)q->n, (int)q->room),
                         q->room);
        assert_memory_equal(q->dst, page, q->room);
        free(page);
    }
    close_all(&r, &j);
}

static void blocks_of_the_other_levels_of_liblz4_are_read(void **state)
{
    static const uint32_t sizes[] = {300, 4096, 65536};
    static uint8_t page[SL_LZ4_MAX];
    static char block[SL_LZ4_BOUND(SL_LZ4_MAX)];
    struct rig r;
    struct lz4_jobs j;
    uint8_t *pages[64];
    (void)state;
    open_all(&r, &j);
    for (uint32_t k = 0; k < PAGE_KINDS; k++)
        for (uint32_t i = 0; i < COUNT(sizes); i++)
            for (int level = 9; level <= 12; level += 3) {
                page_make(page, sizes[i], k, &seed);
                int n = LZ4_compress_HC((const char *)page, block,
                                        (int)sizes[i], sizeof(block), level);
                pages[j.n] = (uint8_t *)zeroed(sizes[i], 1);
                memcpy(pages[j.n], page, sizes[i]);
                jobs_add(&j, CHECK_LZ4_UNPACK, block, (uint32_t)n, sizes[i]);
            }
    jobs_run(&j);
    for (uint32_t i = 0; i < j.n; i++) {
        assert_int_equal(j.job[i].code, 0);
        assert_memory_equal(j.job[i].dst, pages[i], j.job[i].room);
        free(pages[i]);
    }
    close_all(&r, &j);
}

static void a_block_that_does_not_fit_is_enospc(void **state)
{
    static uint8_t page[8192];
    struct rig r;
    struct lz4_jobs j;
    (void)state;
    open_all(&r, &j);
    for (uint32_t k = 0; k < PAGE_KINDS; k++) {
        page_make(page, sizeof(page), k, &seed);
        add_page(&j, page, k % 2u ? 8192u : 4096u);
    }
    jobs_run(&j);
    uint32_t n = j.n;
    for (uint32_t i = 0; i < n; i++) {
        const struct lz4_job q = j.job[i];
        uint32_t need = (uint32_t)q.code;
        uint32_t rooms[] = {need, need - 1u, need / 2u, 1, 0};
        for (uint32_t k = 0; k < COUNT(rooms); k++)
            j.job[jobs_add(&j, q.what, q.src, q.n, rooms[k])].shift = q.shift;
    }
    jobs_run(&j);
    for (uint32_t i = n; i < j.n; i++)
        assert_int_equal(j.job[i].code,
                         (i - n) % 5u ? SL_ENOSPC : (int)j.job[i].room);
    close_all(&r, &j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_of_0_to_300_bytes_go_both_ways),
        cmocka_unit_test(periods_of_1_to_40_go_both_ways),
        cmocka_unit_test(data_of_all_kinds_and_sizes_goes_both_ways),
        cmocka_unit_test(matches_at_the_edge_of_the_window_go_both_ways),
        cmocka_unit_test(an_offset_may_be_65535_and_not_0_or_before_the_start),
        cmocka_unit_test(blocks_of_the_other_levels_of_liblz4_are_read),
        cmocka_unit_test(a_block_that_does_not_fit_is_enospc),
    };
    /* A block's threads are as many fibres, which sanitizers make slow. */
    const struct CMUnitTest few[] = {
        cmocka_unit_test(an_offset_may_be_65535_and_not_0_or_before_the_start),
        cmocka_unit_test(blocks_of_the_other_levels_of_liblz4_are_read),
        cmocka_unit_test(a_block_that_does_not_fit_is_enospc),
    };
    seed = test_seed("test_device_lz4");
    int failed = run_on_devices(tests);
    printf("# by thread blocks\n");
    jobs_by_team = 1;
    return (SANITIZED ? run_on_devices(few) : run_on_devices(tests)) || failed;
}
