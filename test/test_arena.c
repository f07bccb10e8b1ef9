/* SPDX-License-Identifier: Apache-2.0 */
/* The arena on one thread: chunks, classes, states, bounds, budget. */
#include "help.h"

#include "channel/arena.h"

#include <errno.h>
#include <sys/mman.h>

#define SLAB UINT64_C(65536)

static struct arena *make(uint64_t bytes)
{
    struct arena *a = NULL;

    assert_int_equal(arena_create(bytes, bytes, &a), SL_OK);
    return a;
}

static struct chunk_cache *cache(struct arena *a)
{
    struct chunk_cache *c = NULL;

    assert_int_equal(chunk_cache_create(a, &c), SL_OK);
    return c;
}

static uint64_t free_bytes(struct arena *a)
{
    struct arena_usage u;

    arena_usage(a, &u);
    assert_int_equal(u.bytes, arena_bytes(a));
    return u.free;
}

/* Every 8 bytes of a chunk tell its offset, so that overlap is seen. */
static void stamp(struct arena *a, uint64_t at, uint32_t klass)
{
    unsigned char *p = (unsigned char *)arena_base(a) + at;

    for (uint64_t i = 0; i < UINT64_C(1) << klass; i += sizeof(at))
        memcpy(p + i, &at, sizeof(at));
}

static int is_filled(struct arena *a, uint64_t at, uint32_t klass)
{
    const unsigned char *p = (const unsigned char *)arena_base(a) + at;

    for (uint64_t i = 0; i < UINT64_C(1) << klass; i += sizeof(at))
        if (memcmp(p + i, &at, sizeof(at)) != 0)
            return 0;
    return 1;
}

/* Allocates one class until nothing is left. */
static size_t exhaust(struct chunk_cache *c, uint32_t klass, uint64_t *at,
                      size_t max)
{
    size_t n = 0;

    while (n < max && chunk_alloc(c, klass, &at[n]) == SL_OK)
        n++;
    assert_true(n < max);
    assert_int_equal(chunk_alloc(c, klass, &at[n]), SL_ENOSPC);
    return n;
}

static void unref_all(struct chunk_cache *c, const uint64_t *at, size_t n)
{
    for (size_t i = 0; i < n; i++)
        chunk_unref(c, at[i]);
}

static size_t chunks_that_fit(uint64_t bytes, uint32_t klass)
{
    uint64_t size = UINT64_C(1) << klass;
    uint64_t first = size > SLAB ? size : SLAB;

    return (size_t)((bytes / size) - (first / size));
}

static void every_class_fills_the_arena_without_overlap(void **state)
{
    const uint64_t bytes = 4 * MIB + 5 * SLAB; /* ends in no whole MiB */
    struct arena *a = make(bytes);
    struct chunk_cache *c = cache(a);
    size_t max = bytes / 64;
    uint64_t *at = calloc(max, sizeof(*at));

    (void)state;
    assert_non_null(at);
    for (uint32_t k = SL_CHUNK_MIN_SHIFT; k <= SL_CHUNK_MAX_SHIFT; k++) {
        size_t n = exhaust(c, k, at, max);

        assert_int_equal(n, chunks_that_fit(bytes, k));
        assert_int_equal(free_bytes(a), bytes - SLAB - ((uint64_t)n << k));
        for (size_t i = 0; i < n; i++) {
            assert_true(at[i] >= SLAB && at[i] + (1u << k) <= bytes);
            assert_int_equal(at[i] & ((1u << k) - 1), 0);
            assert_int_equal(chunk_class(a, at[i]), k);
            assert_int_equal(chunk_refs(a, at[i]), 1);
            stamp(a, at[i], k);
        }
        for (size_t i = 0; i < n; i++)
            assert_true(is_filled(a, at[i], k));
        unref_all(c, at, n);
        assert_int_equal(free_bytes(a), bytes - SLAB);
    }
    free(at);
    chunk_cache_destroy(c);
    assert_int_equal(free_bytes(a), bytes - SLAB);
    arena_destroy(a);
}

static void small_chunks_give_way_to_large_ones_and_back(void **state)
{
    const uint64_t bytes = 4 * MIB + 3 * SLAB;
    struct arena *a = make(bytes);
    struct chunk_cache *c = cache(a);
    size_t max = bytes / 64;
    uint64_t *at = calloc(max, sizeof(*at));

    (void)state;
    assert_non_null(at);
    for (int round = 0; round < 3; round++) {
        size_t n = exhaust(c, SL_CHUNK_MIN_SHIFT, at, max);

        assert_int_equal(n, chunks_that_fit(bytes, SL_CHUNK_MIN_SHIFT));
        unref_all(c, at, n);
        n = exhaust(c, SL_CHUNK_MAX_SHIFT, at, max);
        assert_int_equal(n, 3);
        unref_all(c, at, n);
    }
    free(at);
    chunk_cache_destroy(c);
    arena_destroy(a);
}

static void chunk_lives_until_its_last_reference(void **state)
{
    struct arena *a = make(MIB);
    struct chunk_cache *c = cache(a);
    uint64_t at;

    (void)state;
    assert_int_equal(chunk_alloc(c, 12, &at), SL_OK);
    for (uint32_t i = 1; i <= 70000; i++)
        chunk_ref(a, at);
    assert_int_equal(chunk_refs(a, at), 70001);
    for (uint32_t i = 1; i <= 70000; i++)
        chunk_unref(c, at);
    assert_int_equal(chunk_refs(a, at), 1);
    assert_int_equal(free_bytes(a), MIB - SLAB - 4096);
    chunk_unref(c, at);
    assert_int_equal(free_bytes(a), MIB - SLAB);
    chunk_cache_destroy(c);
    arena_destroy(a);
}

static void lent_chunk_is_adopted_once_by_its_channel(void **state)
{
    struct arena *a = make(MIB);
    struct chunk_cache *c = cache(a);
    uint32_t klass = 0;
    uint64_t at;

    (void)state;
    for (uint32_t channel = 0; channel < 65535; channel += 21845) {
        assert_int_equal(chunk_alloc(c, 13, &at), SL_OK);
        assert_false(chunk_is_lent(a, at, channel, &klass));
        chunk_lend(a, at, channel);
        assert_true(chunk_is_lent(a, at, channel, &klass));
        assert_int_equal(klass, 13);
        klass = 0;
        assert_int_equal(chunk_adopt(a, at, channel + 1, &klass), SL_ECHUNK);
        assert_false(chunk_is_lent(a, at, channel + 1, &klass));
        assert_int_equal(klass, 0);
        assert_int_equal(chunk_adopt(a, at, channel, &klass), SL_OK);
        assert_int_equal(klass, 13);
        assert_int_equal(chunk_refs(a, at), 1);
        assert_int_equal(chunk_adopt(a, at, channel, &klass), SL_ECHUNK);
        chunk_unref(c, at);
        assert_int_equal(chunk_adopt(a, at, channel, &klass), SL_ECHUNK);
    }
    chunk_cache_destroy(c);
    arena_destroy(a);
}

static int is_refused(struct arena *a, uint64_t at, uint32_t channel)
{
    uint32_t klass;

    return !chunk_is_lent(a, at, channel, &klass) &&
           chunk_adopt(a, at, channel, &klass) == SL_ECHUNK;
}

/* One lent chunk of a class; everything but its start is refused. */
static void probe_class(struct arena *a, struct chunk_cache *c, uint32_t klass)
{
    uint64_t end;
    uint64_t at;
    uint32_t got;
    unsigned wrong = 0;

    assert_int_equal(chunk_alloc(c, klass, &at), SL_OK);
    wrong += !is_refused(a, at, 7); /* live, not lent */
    chunk_lend(a, at, 7);
    end = (at & ~(SLAB - 1)) + (klass > 16 ? UINT64_C(1) << klass : SLAB);
    for (uint64_t x = (at & ~(SLAB - 1)) - SLAB; x < end + SLAB; x++)
        wrong += x != at && !is_refused(a, x, 7);
    wrong += !is_refused(a, at, 8);
    wrong += !is_refused(a, at, 65535); /* what "lent to nobody" is not */
    wrong += !is_refused(a, at, UINT32_MAX);
    assert_int_equal(wrong, 0);
    assert_int_equal(chunk_adopt(a, at, 7, &got), SL_OK);
    assert_int_equal(got, klass);
    chunk_unref(c, at);
    assert_true(is_refused(a, at, 7));
}

static void hostile_offsets_are_refused(void **state)
{
    const uint64_t bytes = 3 * MIB + SLAB;
    struct arena *a = make(bytes);
    struct chunk_cache *c = cache(a);
    uint64_t rnd = test_seed("arena");
    unsigned wrong = 0;

    (void)state;
    for (uint32_t k = SL_CHUNK_MIN_SHIFT; k <= SL_CHUNK_MAX_SHIFT; k++)
        probe_class(a, c, k);
    for (unsigned i = 0; i < 1000000; i++) {
        uint64_t at = test_random(&rnd);

        wrong += !is_refused(a, at >> (at & 63), 0);
    }
    wrong += !is_refused(a, 0, 0) || !is_refused(a, UINT64_MAX, 0) ||
             !is_refused(a, bytes, 0) || !is_refused(a, bytes - 1, 0);
    assert_int_equal(wrong, 0);
    chunk_cache_destroy(c);
    assert_int_equal(free_bytes(a), bytes - SLAB);
    arena_destroy(a);
}

static void reclaim_takes_only_what_the_channel_holds(void **state)
{
    const uint64_t bytes = 8 * MIB;
    struct arena *a = make(bytes);
    struct chunk_cache *c = cache(a);
    uint64_t at[SL_CHUNK_MAX_SHIFT + 1][4];
    uint32_t klass;

    (void)state;
    /* 0: kept, 1: lent to 1, 2: lent to 2, 3: lent to 2 and still read. */
    for (uint32_t k = SL_CHUNK_MIN_SHIFT; k < SL_CHUNK_MAX_SHIFT; k++)
        for (uint32_t i = 0; i < 4; i++) {
            assert_int_equal(chunk_alloc(c, k, &at[k][i]), SL_OK);
            stamp(a, at[k][i], k);
            if (i)
                chunk_lend(a, at[k][i], i == 1 ? 1 : 2);
            if (i == 3)
                chunk_ref(a, at[k][i]);
        }
    arena_reclaim(a, 2);
    for (uint32_t k = SL_CHUNK_MIN_SHIFT; k < SL_CHUNK_MAX_SHIFT; k++) {
        assert_true(is_filled(a, at[k][0], k));
        assert_int_equal(chunk_refs(a, at[k][0]), 1);
        assert_true(is_refused(a, at[k][2], 2));
        assert_true(is_refused(a, at[k][3], 2));
        assert_int_equal(chunk_refs(a, at[k][3]), 1);
        assert_int_equal(chunk_adopt(a, at[k][1], 1, &klass), SL_OK);
        chunk_unref(c, at[k][0]);
        chunk_unref(c, at[k][1]);
        chunk_unref(c, at[k][3]);
    }
    assert_int_equal(free_bytes(a), bytes - SLAB);
    chunk_cache_destroy(c);
    arena_destroy(a);
}

static void caches_strand_little_of_a_small_arena(void **state)
{
    enum { CACHES = 4, MAX = 256 };
    struct arena *a = make(MIB);
    struct chunk_cache *c[CACHES];
    uint64_t at[MAX];
    size_t all, n;

    (void)state;
    for (size_t i = 0; i < CACHES; i++)
        c[i] = cache(a);
    all = exhaust(c[0], 12, at, MAX);
    assert_int_equal(all, chunks_that_fit(MIB, 12));
    for (size_t i = 0; i < all; i++)
        chunk_unref(c[i % CACHES], at[i]);
    n = exhaust(c[0], 12, at, MAX);
    assert_in_range(n, all - (CACHES - 1), all);
    unref_all(c[0], at, n);
    assert_int_equal(free_bytes(a), MIB - SLAB);
    for (size_t i = 0; i < CACHES; i++)
        chunk_cache_trim(c[i]);
    assert_int_equal(exhaust(c[0], 19, at, MAX), 1);
    chunk_unref(c[0], at[0]);
    for (size_t i = 0; i < CACHES; i++)
        chunk_cache_destroy(c[i]);
    arena_destroy(a);
}

static void worker_that_finds_nothing_calls_other_caches(void **state)
{
    struct arena *a = make(64 * MIB);
    struct chunk_cache *rich = cache(a);
    struct chunk_cache *poor = cache(a);
    uint64_t big[64], at[64], last;
    size_t n;

    (void)state;
    /* A slab's worth of 4 KiB chunks, all but one of them in rich's cache,
     * and no other free slab. */
    for (size_t i = 0; i < 16; i++)
        assert_int_equal(chunk_alloc(rich, 12, &at[i]), SL_OK);
    unref_all(rich, at, 15);
    last = at[15];
    n = exhaust(poor, 20, big, 64);
    for (uint32_t k = 16; k < 20; k++)
        while (chunk_alloc(poor, k, &at[0]) == SL_OK)
            chunk_lend(a, at[0], 1);
    assert_int_equal(chunk_alloc(poor, 16, &at[0]), SL_ENOSPC);
    chunk_unref(rich, last);
    assert_int_equal(chunk_alloc(poor, 16, &at[0]), SL_OK);
    chunk_unref(poor, at[0]);
    unref_all(poor, big, n);
    arena_reclaim(a, 1);
    assert_int_equal(free_bytes(a), 64 * MIB - SLAB);
    chunk_cache_destroy(poor);
    chunk_cache_destroy(rich);
    arena_destroy(a);
}

struct model {
    uint64_t at;
    uint32_t klass;
    uint32_t refs; /* 0: free */
    uint32_t lent; /* channel + 1 */
};

static void model_step(struct arena *a, struct chunk_cache *c, struct model *m,
                       uint64_t r, uint64_t *live)
{
    uint32_t klass;

    if (m->refs == 0) {
        m->klass = 6 + (uint32_t)(r >> 8) % 15;
        if (chunk_alloc(c, m->klass, &m->at) != SL_OK)
            return;
        stamp(a, m->at, m->klass);
        m->refs = 1;
        *live += UINT64_C(1) << m->klass;
    } else if (m->lent) {
        assert_int_equal(chunk_adopt(a, m->at, m->lent - 1, &klass), SL_OK);
        assert_int_equal(klass, m->klass);
        m->lent = 0;
    } else if (r % 8 == 0 && m->refs == 1) {
        m->lent = 1 + (uint32_t)(r >> 8) % 65535;
        chunk_lend(a, m->at, m->lent - 1);
    } else if (r % 8 < 3) {
        chunk_ref(a, m->at);
        m->refs++;
    } else {
        assert_int_equal(chunk_refs(a, m->at), m->refs);
        assert_true(m->refs > 1 || is_filled(a, m->at, m->klass));
        chunk_unref(c, m->at);
        *live -= --m->refs ? 0 : UINT64_C(1) << m->klass;
    }
}

static void random_use_agrees_with_a_model(void **state)
{
    enum { CACHES = 3, CHUNKS = 600, TURNS = SLOW_THREADS ? 20000 : 200000 };
    const uint64_t bytes = 24 * MIB + 7 * SLAB;
    struct arena *a = make(bytes);
    struct chunk_cache *c[CACHES];
    struct model *m = calloc(CHUNKS, sizeof(*m));
    uint64_t rnd = test_seed("arena");
    uint64_t live = 0;

    (void)state;
    assert_non_null(m);
    for (size_t i = 0; i < CACHES; i++)
        c[i] = cache(a);
    for (unsigned i = 0; i < TURNS; i++) {
        uint64_t r = test_random(&rnd);

        model_step(a, c[(r >> 32) % CACHES], &m[(r >> 40) % CHUNKS], r, &live);
        assert_int_equal(free_bytes(a), bytes - SLAB - live);
    }
    for (size_t i = 0; i < CHUNKS; i++)
        while (m[i].refs) /* 7: adopts a lent one, then drops */
            model_step(a, c[i % CACHES], &m[i], 7, &live);
    assert_int_equal(live, 0);
    assert_int_equal(free_bytes(a), bytes - SLAB);
    free(m);
    for (size_t i = 0; i < CACHES; i++)
        chunk_cache_destroy(c[i]);
    arena_destroy(a);
}

static void budget_refuses_what_would_pass_the_limit(void **state)
{
    struct arena *a = NULL;
    struct arena_usage u;

    (void)state;
    assert_int_equal(arena_create(MIB, 1000, &a), SL_OK);
    assert_int_equal(arena_charge(a, 999), SL_OK);
    assert_int_equal(arena_charge(a, 2), SL_ENOSPC);
    assert_int_equal(arena_charge(a, UINT64_MAX), SL_ENOSPC);
    assert_int_equal(arena_charge(a, 1), SL_OK);
    arena_usage(a, &u);
    assert_int_equal(u.pinned_used, 1000);
    assert_int_equal(u.pinned_limit, 1000);
    arena_discharge(a, 1000);
    arena_usage(a, &u);
    assert_int_equal(u.pinned_used, 0);
    arena_destroy(a);
}

static void memory_is_a_sealed_file_that_others_can_map(void **state)
{
    struct arena *a = make(MIB + 1);
    unsigned char *own = arena_base(a);
    unsigned char *other;

    (void)state;
    assert_int_equal(arena_bytes(a), MIB + SLAB);
    assert_int_equal((uintptr_t)own % (2 * MIB), 0);
    other = mmap(NULL, arena_bytes(a), PROT_READ | PROT_WRITE, MAP_SHARED,
                 arena_fd(a), 0);
    assert_true(other != MAP_FAILED);
    other[MIB + SLAB - 1] = 77;
    assert_int_equal(own[MIB + SLAB - 1], 77);
    assert_int_equal(ftruncate(arena_fd(a), 0), -1);
    assert_int_equal(errno, EPERM);
    munmap(other, arena_bytes(a));
    arena_destroy(a);
}

static void impossible_sizes_and_classes_are_refused(void **state)
{
    struct arena *a = NULL;
    struct chunk_cache *c;
    uint64_t at = 0;

    (void)state;
    assert_int_equal(arena_create(0, 0, &a), SL_EINVAL);
    assert_int_equal(arena_create(SLAB, 0, &a), SL_EINVAL);
    assert_int_equal(arena_create(UINT64_C(1) << 40, 0, &a), SL_EINVAL);
    assert_null(a);
    a = make(2 * SLAB);
    c = cache(a);
    assert_int_equal(chunk_alloc(c, 5, &at), SL_EINVAL);
    assert_int_equal(chunk_alloc(c, 21, &at), SL_EINVAL);
    assert_int_equal(chunk_alloc(c, 17, &at), SL_ENOSPC);
    assert_int_equal(chunk_alloc(c, 16, &at), SL_OK);
    assert_int_equal(at, SLAB);
    chunk_unref(c, at);
    chunk_cache_destroy(c);
    arena_destroy(a);
}

/* A figure for people, on request; nothing depends on it. */
static void print_speed(uint32_t depth)
{
    enum { ROUNDS = 20000000 };
    struct arena *a = make(64 * MIB);
    struct chunk_cache *c = cache(a);
    uint64_t at[128];
    uint64_t t = clock_ns();

    for (unsigned i = 0; i < ROUNDS / depth; i++) {
        for (uint32_t k = 0; k < depth; k++)
            if (chunk_alloc(c, 12, &at[k]))
                abort();
        for (uint32_t k = 0; k < depth; k++)
            chunk_unref(c, at[k]);
    }
    t = clock_ns() - t;
    print_message("class 12, %u at a time: %.2f ns for alloc and free\n", depth,
                  (double)t / (ROUNDS / depth * depth));
    chunk_cache_destroy(c);
    arena_destroy(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_class_fills_the_arena_without_overlap),
        cmocka_unit_test(small_chunks_give_way_to_large_ones_and_back),
        cmocka_unit_test(chunk_lives_until_its_last_reference),
        cmocka_unit_test(lent_chunk_is_adopted_once_by_its_channel),
        cmocka_unit_test(hostile_offsets_are_refused),
        cmocka_unit_test(reclaim_takes_only_what_the_channel_holds),
        cmocka_unit_test(caches_strand_little_of_a_small_arena),
        cmocka_unit_test(worker_that_finds_nothing_calls_other_caches),
        cmocka_unit_test(random_use_agrees_with_a_model),
        cmocka_unit_test(budget_refuses_what_would_pass_the_limit),
        cmocka_unit_test(memory_is_a_sealed_file_that_others_can_map),
        cmocka_unit_test(impossible_sizes_and_classes_are_refused),
    };

    if (getenv("BENCH")) {
        print_speed(1);
        print_speed(32);
        print_speed(128);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
