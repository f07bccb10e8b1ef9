/* SPDX-License-Identifier: Apache-2.0 */
/* The arena under several threads; each writes what it saw, main checks. */
#include "help.h"

#include "channel/arena.h"

#include <pthread.h>
#include <stdatomic.h>

#define SLAB UINT64_C(65536)
#define THREADS 4
#define QUEUE 64u

/* Chunks on their way from one thread to the next. */
struct queue {
    _Atomic uint64_t at[QUEUE]; /* 0: empty */
};

struct worker {
    pthread_t thread;
    pthread_barrier_t *start;
    struct arena *arena;
    struct chunk_cache *cache;
    struct queue *in, *out;
    const uint64_t *list;
    size_t n;
    uint64_t seed;
    uint64_t done;   /* what it achieved */
    uint64_t faults; /* what must not happen */
    /* Counts what all wait for, so that each case meets its race however the
     * threads are scheduled. */
    _Atomic unsigned *progress;
};

static void stamp(struct arena *a, uint64_t at, uint32_t klass)
{
    unsigned char *p = (unsigned char *)arena_base(a) + at;
    uint64_t v[2] = {at, klass};

    memcpy(p, v, sizeof(v));
    memcpy(p + (1u << klass) - sizeof(v), v, sizeof(v));
}

static int is_stamped(struct arena *a, uint64_t at, uint32_t klass)
{
    const unsigned char *p = (const unsigned char *)arena_base(a) + at;
    uint64_t v[2] = {at, klass};

    return !memcmp(p, v, sizeof(v)) &&
           !memcmp(p + (1u << klass) - sizeof(v), v, sizeof(v));
}

static struct arena *make(uint64_t bytes, uint64_t pinned)
{
    struct arena *a = NULL;

    assert_int_equal(arena_create(bytes, pinned, &a), SL_OK);
    return a;
}

static uint64_t free_bytes(struct arena *a)
{
    struct arena_usage u;

    arena_usage(a, &u);
    return u.free;
}

/* Starts n workers together; each has its own cache. */
static void start(struct arena *a, struct worker *w, size_t n, uint64_t seed,
                  void *(*body)(void *))
{
    for (size_t i = 0; i < n; i++) {
        w[i].arena = a;
        w[i].seed = test_fork(seed, i);
        assert_int_equal(chunk_cache_create(a, &w[i].cache), SL_OK);
    }
    for (size_t i = 0; i < n; i++)
        assert_int_equal(pthread_create(&w[i].thread, NULL, body, &w[i]), 0);
}

static void join(struct worker *w, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_int_equal(pthread_join(w[i].thread, NULL), 0);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(w[i].faults, 0);
        chunk_cache_destroy(w[i].cache);
    }
}

static void receive(struct worker *w)
{
    for (unsigned i = 0; i < QUEUE; i++) {
        /* Pairs with the release in send. */
        uint64_t at =
            atomic_exchange_explicit(&w->in->at[i], 0, memory_order_acquire);

        if (!at)
            continue;
        w->faults += !is_stamped(w->arena, at, chunk_class(w->arena, at));
        chunk_unref(w->cache, at);
        w->done++;
    }
}

static void send(struct worker *w)
{
    uint64_t r = test_random(&w->seed);
    uint32_t klass = 6 + (uint32_t)(r % 15);
    uint64_t none = 0;
    uint64_t at;

    if (chunk_alloc(w->cache, klass, &at) != SL_OK)
        return;
    stamp(w->arena, at, klass);
    if (r & 1024) {
        chunk_ref(w->arena, at);
        chunk_unref(w->cache, at);
    }
    /* Pairs with the acquire in receive. */
    if (!atomic_compare_exchange_strong_explicit(
            &w->out->at[(r >> 32) % QUEUE], &none, at, memory_order_release,
            memory_order_relaxed))
        chunk_unref(w->cache, at);
}

static void *travel(void *arg)
{
    enum { ENOUGH = 10000 };
    struct worker *w = arg;
    int counted = 0;

    while (atomic_load(w->progress) < THREADS) {
        for (unsigned i = 0; i < 16; i++)
            send(w);
        receive(w);
        if (!counted && w->done >= ENOUGH) {
            atomic_fetch_add(w->progress, 1);
            counted = 1;
        }
    }
    return NULL;
}

static void chunks_travel_between_workers(void **state)
{
    const uint64_t bytes = 24 * MIB + 3 * SLAB;
    struct arena *a = make(bytes, 0);
    struct worker w[THREADS] = {0};
    static struct queue q[THREADS];
    _Atomic unsigned progress = 0;
    struct chunk_cache *c;

    (void)state;
    for (size_t i = 0; i < THREADS; i++) {
        w[i].progress = &progress;
        w[i].in = &q[i];
        w[i].out = &q[(i + 1) % THREADS];
    }
    start(a, w, THREADS, test_seed("arena_threads"), travel);
    join(w, THREADS);
    assert_int_equal(chunk_cache_create(a, &c), SL_OK);
    for (size_t i = 0; i < THREADS; i++) {
        for (size_t k = 0; k < QUEUE; k++) {
            uint64_t at = atomic_exchange(&q[i].at[k], 0);

            if (at)
                chunk_unref(c, at);
        }
    }
    chunk_cache_trim(c);
    assert_int_equal(free_bytes(a), bytes - SLAB);
    chunk_cache_destroy(c);
    arena_destroy(a);
}

static void *adopt_list(void *arg)
{
    struct worker *w = arg;
    uint32_t klass;

    pthread_barrier_wait(w->start);
    for (size_t i = 0; i < w->n; i++) {
        if (chunk_adopt(w->arena, w->list[i], 5, &klass) != SL_OK)
            continue;
        w->faults += klass != 12;
        w->done++;
        chunk_unref(w->cache, w->list[i]);
    }
    return NULL;
}

static void chunk_named_twice_at_once_is_adopted_once(void **state)
{
    enum { N = 4000, ROUNDS = 20 };
    struct arena *a = make(32 * MIB, 0);
    static uint64_t at[N];
    pthread_barrier_t barrier;

    (void)state;
    pthread_barrier_init(&barrier, NULL, 2);
    for (int round = 0; round < ROUNDS; round++) {
        struct worker w[2] = {0};
        struct chunk_cache *c;

        assert_int_equal(chunk_cache_create(a, &c), SL_OK);
        for (size_t i = 0; i < N; i++) {
            assert_int_equal(chunk_alloc(c, 12, &at[i]), SL_OK);
            chunk_lend(a, at[i], 5);
        }
        for (size_t i = 0; i < 2; i++) {
            w[i].start = &barrier;
            w[i].list = at;
            w[i].n = N;
        }
        start(a, w, 2, 0, adopt_list);
        join(w, 2);
        assert_int_equal(w[0].done + w[1].done, N);
        chunk_cache_destroy(c);
        assert_int_equal(free_bytes(a), 32 * MIB - SLAB);
    }
    pthread_barrier_destroy(&barrier);
    arena_destroy(a);
}

/* Lends chunks of changing classes and takes them back if it is the first. */
static void *lend_and_adopt(void *arg)
{
    struct worker *w = arg;
    uint64_t at[8];
    uint32_t k;

    while (atomic_load(w->progress) < 2) {
        uint32_t klass = 6 + (uint32_t)(test_random(&w->seed) % 11);
        unsigned n = 0;

        while (n < 8 && chunk_alloc(w->cache, klass, &at[n]) == SL_OK) {
            stamp(w->arena, at[n], klass);
            chunk_lend(w->arena, at[n++], 9);
        }
        while (n--) {
            if (chunk_adopt(w->arena, at[n], 9, &k) != SL_OK)
                continue;
            w->faults += !is_stamped(w->arena, at[n], k);
            chunk_unref(w->cache, at[n]);
            w->done++;
        }
    }
    return NULL;
}

/* Names offsets at random while slabs change their class under it. */
static void *guess(void *arg)
{
    enum { ENOUGH = 300 };
    struct worker *w = arg;
    uint32_t k;

    while (w->done < ENOUGH) {
        uint64_t r = test_random(&w->seed);
        uint64_t at = (r >> 20) % (4 * MIB) & ~((UINT64_C(64) << (r % 11)) - 1);

        w->faults += chunk_adopt(w->arena, at, 10, &k) == SL_OK;
        if (chunk_adopt(w->arena, at, 9, &k) != SL_OK)
            continue;
        w->faults += !is_stamped(w->arena, at, k);
        chunk_unref(w->cache, at);
        w->done++;
    }
    atomic_fetch_add(w->progress, 1);
    return NULL;
}

static void guesses_beside_changing_slabs_never_take_a_wrong_chunk(void **state)
{
    struct arena *a = make(4 * MIB, 0);
    struct worker lender[2] = {0}, guesser[2] = {0};
    _Atomic unsigned progress = 0;
    uint64_t seed = test_seed("arena_threads");

    (void)state;
    for (size_t i = 0; i < 2; i++)
        lender[i].progress = guesser[i].progress = &progress;
    start(a, guesser, 2, seed + 100, guess);
    start(a, lender, 2, seed, lend_and_adopt);
    join(lender, 2);
    join(guesser, 2);
    assert_int_equal(free_bytes(a), 4 * MIB - SLAB);
    arena_destroy(a);
}

static void *churn(void *arg)
{
    enum { ENOUGH = 2000 };
    struct worker *w = arg;
    uint64_t at[16];

    for (w->done = 0; w->done < ENOUGH; w->done++) {
        unsigned n = 0;

        for (unsigned i = 0; i < 16; i++) {
            uint32_t klass = 6 + (uint32_t)(test_random(&w->seed) % 12);

            if (chunk_alloc(w->cache, klass, &at[n]) == SL_OK)
                stamp(w->arena, at[n++], klass);
        }
        for (unsigned i = 0; i < n; i++) {
            w->faults +=
                !is_stamped(w->arena, at[i], chunk_class(w->arena, at[i]));
            chunk_unref(w->cache, at[i]);
        }
    }
    atomic_fetch_add(w->progress, 1);
    return NULL;
}

static void reclaim_runs_beside_workers_of_other_channels(void **state)
{
    enum { N = 300 };
    struct arena *a = make(32 * MIB, 0);
    struct worker w[2] = {0};
    struct chunk_cache *c;
    _Atomic unsigned progress = 0;
    uint64_t at;

    (void)state;
    w[0].progress = w[1].progress = &progress;
    assert_int_equal(chunk_cache_create(a, &c), SL_OK);
    start(a, w, 2, test_seed("arena_threads"), churn);
    while (atomic_load(&progress) < 2) {
        for (uint32_t i = 0; i < N; i++) {
            assert_int_equal(chunk_alloc(c, 6 + i % 11, &at), SL_OK);
            chunk_lend(a, at, 3);
        }
        arena_reclaim(a, 3);
    }
    join(w, 2);
    assert_int_equal(free_bytes(a), 32 * MIB - SLAB);
    chunk_cache_destroy(c);
    arena_destroy(a);
}

static void *charge(void *arg)
{
    struct worker *w = arg;
    struct arena_usage u;
    uint64_t mine = 0;

    for (unsigned i = 0; i < 100000; i++) {
        uint64_t n = 1 + test_random(&w->seed) % 400;

        if (arena_charge(w->arena, n) == SL_OK) {
            mine += n;
        } else {
            arena_discharge(w->arena, mine);
            mine = 0;
            w->done++;
        }
        if (i % 64 == 0) {
            arena_usage(w->arena, &u);
            w->faults += u.pinned_used > u.pinned_limit;
        }
    }
    arena_discharge(w->arena, mine);
    mine = 0;
    pthread_barrier_wait(w->start);
    while (arena_charge(w->arena, 1) == SL_OK)
        mine++;
    w->n = (size_t)mine;
    return NULL;
}

static void budget_is_exact_under_threads(void **state)
{
    const uint64_t limit = 100003;
    struct arena *a = make(MIB, limit);
    struct worker w[THREADS] = {0};
    pthread_barrier_t barrier;
    struct arena_usage u;
    uint64_t sum = 0;

    (void)state;
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (size_t i = 0; i < THREADS; i++)
        w[i].start = &barrier;
    start(a, w, THREADS, test_seed("arena_threads"), charge);
    join(w, THREADS);
    for (size_t i = 0; i < THREADS; i++)
        sum += w[i].n;
    assert_int_equal(sum, limit);
    arena_usage(a, &u);
    assert_int_equal(u.pinned_used, limit);
    arena_discharge(a, limit);
    pthread_barrier_destroy(&barrier);
    arena_destroy(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_travel_between_workers),
        cmocka_unit_test(chunk_named_twice_at_once_is_adopted_once),
        cmocka_unit_test(
            guesses_beside_changing_slabs_never_take_a_wrong_chunk),
        cmocka_unit_test(reclaim_runs_beside_workers_of_other_channels),
        cmocka_unit_test(budget_is_exact_under_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
