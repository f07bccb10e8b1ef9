/* SPDX-License-Identifier: Apache-2.0 */
/* The space map: directed cases, and random work against an array of bytes. */
#include "tier/space.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static struct space *make(uint64_t units)
{
    struct space *s = NULL;
    assert_int_equal(space_create(units, &s), SL_OK);
    return s;
}

static uint64_t take(struct space *s, uint64_t n)
{
    uint64_t at = ~UINT64_C(0);
    assert_int_equal(space_alloc(s, n, &at), SL_OK);
    return at;
}

static void new_space_is_one_free_range(void **state)
{
    static const uint64_t sizes[] = {1,   63,  64,   65,   511,
                                     512, 513, 1024, 5000, 1u << 20};
    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct space *s = make(sizes[i]);
        assert_int_equal(space_used(s), 0);
        assert_int_equal(space_largest(s), sizes[i]);
        assert_int_equal(take(s, sizes[i]), 0);
        assert_int_equal(space_largest(s), 0);
        assert_int_equal(space_used(s), sizes[i]);
        space_destroy(s);
    }
}

static void space_of_nothing_is_full(void **state)
{
    struct space *s = make(0);
    uint64_t at;
    (void)state;
    assert_int_equal(space_alloc(s, 1, &at), SL_ENOSPC);
    assert_int_equal(space_largest(s), 0);
    assert_int_equal(space_reserve(s, 0, 1), SL_EINVAL);
    space_destroy(s);
    space_destroy(NULL);
}

static void impossible_size_is_enomem(void **state)
{
    struct space *s = NULL;
    (void)state;
    assert_int_equal(space_create(~UINT64_C(0), &s), SL_ENOMEM);
    assert_null(s);
}

static void large_space_costs_nothing_until_used(void **state)
{
    /* 64 TiB of 4 KiB blocks. */
    struct space *s = make(UINT64_C(1) << 34);
    (void)state;
    assert_int_equal(take(s, 1), 0);
    assert_int_equal(space_reserve(s, (UINT64_C(1) << 34) - 1, 1), SL_OK);
    assert_int_equal(space_largest(s), (UINT64_C(1) << 34) - 2);
    space_destroy(s);
}

static void lowest_fit_is_taken(void **state)
{
    struct space *s = make(2000);
    (void)state;
    assert_int_equal(take(s, 2000), 0);
    assert_int_equal(space_free(s, 1500, 100), SL_OK);
    assert_int_equal(space_free(s, 10, 5), SL_OK);
    assert_int_equal(space_free(s, 700, 20), SL_OK);
    assert_int_equal(take(s, 5), 10);
    assert_int_equal(take(s, 6), 700);
    assert_int_equal(take(s, 14), 706);
    assert_int_equal(take(s, 1), 1500);
    space_destroy(s);
}

static void freed_neighbours_merge(void **state)
{
    struct space *s = make(3000);
    (void)state;
    assert_int_equal(take(s, 3000), 0);
    /* 480..1600 crosses two leaves' borders; freed in an order that merges
     * with nothing, on the right, on the left, on both sides. */
    assert_int_equal(space_free(s, 900, 100), SL_OK);
    assert_int_equal(space_largest(s), 100);
    assert_int_equal(space_free(s, 1000, 600), SL_OK);
    assert_int_equal(space_largest(s), 700);
    assert_int_equal(space_free(s, 480, 20), SL_OK);
    assert_int_equal(space_largest(s), 700);
    assert_int_equal(space_free(s, 500, 400), SL_OK);
    assert_int_equal(space_largest(s), 1120);
    assert_int_equal(take(s, 1120), 480);
    space_destroy(s);
}

static void exhausted_space_is_enospc_until_a_free(void **state)
{
    struct space *s = make(1000);
    uint64_t at = 77;
    (void)state;
    for (uint64_t i = 0; i < 1000; i++)
        assert_int_equal(take(s, 1), i);
    assert_int_equal(space_alloc(s, 1, &at), SL_ENOSPC);
    assert_int_equal(at, 77);
    for (uint64_t i = 0; i < 1000; i += 2)
        assert_int_equal(space_free(s, i, 1), SL_OK);
    assert_int_equal(space_alloc(s, 2, &at), SL_ENOSPC);
    for (uint64_t i = 1; i < 1000; i += 2)
        assert_int_equal(space_free(s, i, 1), SL_OK);
    assert_int_equal(take(s, 1000), 0);
    space_destroy(s);
}

static void reserve_takes_a_certain_range_once(void **state)
{
    struct space *s = make(1000);
    (void)state;
    assert_int_equal(space_reserve(s, 300, 300), SL_OK);
    assert_int_equal(space_reserve(s, 599, 1), SL_EEXIST);
    assert_int_equal(space_reserve(s, 200, 101), SL_EEXIST);
    assert_int_equal(space_reserve(s, 0, 1000), SL_EEXIST);
    assert_int_equal(space_used(s), 300);
    assert_int_equal(space_largest(s), 400);
    assert_int_equal(take(s, 300), 0);
    assert_int_equal(take(s, 400), 600);
    space_destroy(s);
}

static void ranges_outside_are_refused(void **state)
{
    struct space *s = make(1000);
    uint64_t at;
    (void)state;
    assert_int_equal(space_reserve(s, 1000, 1), SL_EINVAL);
    assert_int_equal(space_reserve(s, 999, 2), SL_EINVAL);
    assert_int_equal(space_reserve(s, 1, ~UINT64_C(0)), SL_EINVAL);
    assert_int_equal(space_reserve(s, ~UINT64_C(0), 2), SL_EINVAL);
    assert_int_equal(space_reserve(s, 5, 0), SL_EINVAL);
    assert_int_equal(space_alloc(s, 0, &at), SL_EINVAL);
    assert_int_equal(space_alloc(s, ~UINT64_C(0), &at), SL_ENOSPC);
    assert_int_equal(space_free(s, 1000, 1), SL_EINVAL);
    assert_int_equal(space_used(s), 0);
    space_destroy(s);
}

static void double_free_is_refused_and_changes_nothing(void **state)
{
    struct space *s = make(1000);
    (void)state;
    assert_int_equal(take(s, 100), 0);
    assert_int_equal(space_free(s, 50, 10), SL_OK);
    assert_int_equal(space_free(s, 50, 10), SL_EINVAL);
    assert_int_equal(space_free(s, 0, 100), SL_EINVAL);
    assert_int_equal(space_free(s, 99, 2), SL_EINVAL);
    assert_int_equal(space_used(s), 90);
    space_destroy(s);
}

static void parts_of_a_range_may_be_freed_one_by_one(void **state)
{
    struct space *s = make(4096);
    (void)state;
    assert_int_equal(take(s, 4096), 0);
    for (uint64_t i = 0; i < 4096; i += 2)
        assert_int_equal(space_free(s, i, 1), SL_OK);
    assert_int_equal(space_largest(s), 1);
    for (uint64_t i = 1; i < 4096; i += 2)
        assert_int_equal(space_free(s, i, 1), SL_OK);
    assert_int_equal(space_largest(s), 4096);
    space_destroy(s);
}

/* ---- against a model: one byte a unit, 1 is taken ---- */

struct model {
    uint8_t *taken;
    uint64_t units;
};

static uint64_t model_first_fit(const struct model *m, uint64_t n)
{
    uint64_t run = 0;
    for (uint64_t i = 0; i < m->units; i++) {
        run = m->taken[i] ? 0 : run + 1;
        if (run == n)
            return i + 1 - n;
    }
    return m->units;
}

static uint64_t model_largest(const struct model *m)
{
    uint64_t run = 0, best = 0;
    for (uint64_t i = 0; i < m->units; i++) {
        run = m->taken[i] ? 0 : run + 1;
        best = run > best ? run : best;
    }
    return best;
}

static uint64_t model_count(const struct model *m, uint64_t at, uint64_t n)
{
    uint64_t count = 0;
    for (uint64_t i = at; i < at + n; i++)
        count += m->taken[i];
    return count;
}

static uint64_t rng;

static uint64_t random_below(uint64_t n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng % n;
}

static void random_alloc(struct space *s, struct model *m)
{
    uint64_t n = 1 + random_below(random_below(8) ? 12 : m->units / 3 + 1);
    uint64_t want = model_first_fit(m, n), at = 0;
    int rc = space_alloc(s, n, &at);
    assert_int_equal(rc, want == m->units ? SL_ENOSPC : SL_OK);
    if (rc)
        return;
    assert_int_equal(at, want);
    memset(m->taken + at, 1, n);
}

static void random_range(struct space *s, struct model *m, int reserve)
{
    uint64_t at = random_below(m->units);
    uint64_t n = 1 + random_below(random_below(4) ? 8 : m->units - at);
    uint64_t taken;
    int rc;
    if (n > m->units - at)
        n = m->units - at;
    taken = model_count(m, at, n);
    if (reserve) {
        rc = space_reserve(s, at, n);
        assert_int_equal(rc, taken ? SL_EEXIST : SL_OK);
    } else {
        rc = space_free(s, at, n);
        assert_int_equal(rc, taken == n ? SL_OK : SL_EINVAL);
    }
    if (rc == 0)
        memset(m->taken + at, reserve, n);
}

static void random_work_matches_a_model(void **state)
{
    static const uint64_t sizes[] = {1, 2, 64, 100, 512, 700, 1025, 4097};
    const char *given = getenv("SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    (void)state;
    print_message("SEED=%" PRIu64 "\n", seed);
    rng = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct model m = {calloc(sizes[i], 1), sizes[i]};
        struct space *s = make(sizes[i]);
        assert_non_null(m.taken);
        for (int step = 0; step < 6000; step++) {
            uint64_t what = random_below(10);
            if (what < 4)
                random_alloc(s, &m);
            else
                random_range(s, &m, what < 6);
            assert_int_equal(space_used(s), model_count(&m, 0, m.units));
            assert_int_equal(space_largest(s), model_largest(&m));
        }
        space_destroy(s);
        free(m.taken);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_space_is_one_free_range),
        cmocka_unit_test(space_of_nothing_is_full),
        cmocka_unit_test(impossible_size_is_enomem),
        cmocka_unit_test(large_space_costs_nothing_until_used),
        cmocka_unit_test(lowest_fit_is_taken),
        cmocka_unit_test(freed_neighbours_merge),
        cmocka_unit_test(exhausted_space_is_enospc_until_a_free),
        cmocka_unit_test(reserve_takes_a_certain_range_once),
        cmocka_unit_test(ranges_outside_are_refused),
        cmocka_unit_test(double_free_is_refused_and_changes_nothing),
        cmocka_unit_test(parts_of_a_range_may_be_freed_one_by_one),
        cmocka_unit_test(random_work_matches_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
