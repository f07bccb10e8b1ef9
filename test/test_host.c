/* SPDX-License-Identifier: Apache-2.0 */
/* The `host` device: indices, blocks, shared memory, waiting, and how bugs of
 * a kernel show. Warp primitives: test_host_warp.c. */
#include "gpu/fibre.h"
#include "host_help.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- indices ---- */

struct place {
    uint32_t thread, threads, block, blocks, lane, lanes;
};

struct place_args {
    struct place *out;
};

SL_KERNEL(t_place, struct place_args)
{
    struct place *p = &arg.out[slp_block() * slp_threads() + slp_thread()];
    p->thread = slp_thread();
    p->threads = slp_threads();
    p->block = slp_block();
    p->blocks = slp_blocks();
    p->lane = slp_lane();
    p->lanes = slp_lanes();
}

static void check_place(const struct place *p, uint32_t i, uint32_t threads,
                        uint32_t blocks)
{
    uint32_t t = i % threads, left = threads - (t - t % 32u);
    assert_int_equal(p->thread, t);
    assert_int_equal(p->threads, threads);
    assert_int_equal(p->block, i / threads);
    assert_int_equal(p->blocks, blocks);
    assert_int_equal(p->lane, t % 32u);
    assert_int_equal(p->lanes, left < 32u ? (1u << left) - 1u : FULL);
}

static void places_of(struct sl_host_grid g, uint32_t threads, uint32_t blocks)
{
    uint32_t n = threads * blocks;
    struct place *out = (struct place *)calloc(n, sizeof(*out));
    struct place_args a = {out};
    assert_non_null(out);
    assert_int_equal(sl_host_launch(t_place, &g, &a), 0);
    for (uint32_t i = 0; i < n; i++)
        check_place(&out[i], i, threads, blocks);
    free(out);
}

static void threads_know_their_place(void **state)
{
    static const uint32_t sizes[] = {1, 31, 32, 33, 1024};
    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        places_of(shape(3, sizes[i]), sizes[i], 3);
}

static void dimensions_are_linearised(void **state)
{
    struct sl_host_grid g = {.grid = {3, 2, 0}, .block = {8, 5, 0}};
    (void)state;
    places_of(g, 40, 6);
    g.grid.z = 4;
    g.block.z = 2;
    places_of(g, 80, 24);
}

static void bad_shapes_are_einval(void **state)
{
    struct sl_host_grid g = shape(1, 1025);
    struct place_args a = {NULL};
    (void)state;
    assert_int_equal(sl_host_launch(t_place, &g, &a), SL_EINVAL);
    g = shape(1, 32);
    g.block.y = 33;
    assert_int_equal(sl_host_launch(t_place, &g, &a), SL_EINVAL);
    g.block.y = FULL;
    g.block.z = FULL;
    assert_int_equal(sl_host_launch(t_place, &g, &a), SL_EINVAL);
    g = shape(FULL, 1);
    g.grid.y = 2;
    assert_int_equal(sl_host_launch(t_place, &g, &a), SL_EINVAL);
    g = shape(1, 1);
    assert_int_equal(sl_host_launch(NULL, &g, &a), SL_EINVAL);
}

/* ---- blocks and shared memory ---- */

struct words {
    uint32_t w[MAX_THREADS];
};

static uint32_t words_sum(const struct words *s, uint32_t n)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += s->w[i];
    return sum;
}

/* Every third thread ends before the barriers. */
SL_KERNEL(t_shared, struct out_args)
{
    SL_SHARED(struct words, a);
    SL_SHARED(struct words, b);
    uint32_t t = slp_thread(), n = slp_threads();
    a->w[t] = t + slp_block();
    b->w[t] = 1;
    slp_syncblock();
    if (t % 3u == 2u)
        return;
    uint32_t sum = words_sum(a, n);
    slp_syncblock();
    a->w[t] = 0;
    slp_syncblock();
    arg.out[slp_block() * n + t] = sum + a->w[0] + b->w[n - 1u];
}

static void shared_memory_belongs_to_a_block(void **state)
{
    static const uint32_t sizes[] = {1, 31, 33, 256, 1024};
    (void)state;
    for (size_t k = 0; k < 5; k++) {
        uint32_t n = sizes[k], blocks = 5;
        uint32_t *out = (uint32_t *)calloc(n * blocks, sizeof(*out));
        struct out_args a = {out, 0};
        assert_non_null(out);
        launch(t_shared, blocks, n, &a);
        for (uint32_t i = 0; i < n * blocks; i++) {
            uint32_t want = n * (n - 1u) / 2u + n * (i / n) + 1u;
            assert_int_equal(out[i], i % n % 3u == 2u ? 0u : want);
        }
        free(out);
    }
}

struct count_args {
    uint64_t *counter;
    uint32_t *seen;
};

SL_KERNEL(t_count, struct count_args)
{
    uint32_t votes = slp_ballot(slp_lanes(), 1);
    uint64_t ticket = slp_add(arg.counter, 1);
    arg.seen[ticket] = votes == slp_lanes();
}

static void many_blocks_share_a_counter(void **state)
{
    uint32_t blocks = 3000, threads = 33;
    uint64_t counter = 0;
    uint32_t *seen = (uint32_t *)calloc(blocks * threads, sizeof(*seen));
    struct count_args a = {&counter, seen};
    (void)state;
    assert_non_null(seen);
    launch(t_count, blocks, threads, &a);
    assert_int_equal(counter, blocks * threads);
    for (uint32_t i = 0; i < blocks * threads; i++)
        assert_int_equal(seen[i], 1);
    free(seen);
}

/* A lock of the port in each of 132 full blocks. */
struct lock_args {
    uint32_t *lock, *plain;
};

SL_KERNEL(t_lock, struct lock_args)
{
    for (uint32_t round = 0; slp_or(arg.lock, 1u) & 1u; round++)
        slp_pause(round);
    *arg.plain += 1u;
    slp_and(arg.lock, ~1u);
}

static void lock_guards_over_132_full_blocks(void **state)
{
    uint32_t lock = 0, plain = 0;
    struct lock_args a = {&lock, &plain};
    (void)state;
    launch(t_lock, 132, MAX_THREADS, &a);
    assert_int_equal(plain, 132u * MAX_THREADS);
}

/* ---- waiting ---- */

struct flag_args {
    uint32_t *flag, *data, *out;
    uint32_t setter; /* lane that sets the flag; 32: nobody here does */
};

SL_KERNEL(t_flag, struct flag_args)
{
    if (slp_lane() == arg.setter) {
        for (uint32_t i = 0; i < 100u; i++)
            slp_pause(i);
        *arg.data = 7;
        slp_store32(arg.flag, 1);
        return;
    }
    for (uint32_t round = 0; !slp_load32(arg.flag); round++)
        slp_pause(round);
    arg.out[slp_lane()] = *arg.data;
}

static void lane_waits_for_a_lane_of_its_warp(void **state)
{
    (void)state;
    for (uint32_t setter = 0; setter < 32; setter += 31) {
        uint32_t flag = 0, data = 0, out[32] = {0};
        struct flag_args a = {&flag, &data, out, setter};
        launch(t_flag, 1, 32, &a);
        for (uint32_t l = 0; l < 32; l++)
            assert_int_equal(out[l], l == setter ? 0u : 7u);
    }
}

struct ping {
    uint32_t ask, answer;
    uint32_t rounds;
};

/* Answers each question, as a plain thread: slp_pause serves it too. */
static void *pong(void *arg)
{
    struct ping *p = (struct ping *)arg;
    for (uint32_t i = 1; i <= p->rounds; i++) {
        for (uint32_t round = 0; slp_load32(&p->ask) < i; round++)
            slp_pause(round);
        slp_store32(&p->answer, i);
    }
    return NULL;
}

struct ping_args {
    struct ping *p;
    uint32_t *bad;
};

/* The warp polls together, as the protocol does; a second warp only waits at
 * the barrier meanwhile. */
SL_KERNEL(t_ping, struct ping_args)
{
    uint32_t all = slp_lanes();
    for (uint32_t i = 1; slp_thread() < 32u && i <= arg.p->rounds; i++) {
        if (slp_lane() == 0)
            slp_store32(&arg.p->ask, i);
        for (uint32_t round = 0;; round++) {
            if (slp_ballot(all, slp_load32(&arg.p->answer) == i))
                break;
            slp_pause(round);
        }
    }
    slp_syncblock();
    if (slp_load32(&arg.p->answer) != arg.p->rounds)
        arg.bad[slp_thread()] = 1;
}

static void warp_waits_for_another_os_thread(void **state)
{
    struct ping p = {.rounds = 300};
    uint32_t bad[64] = {0};
    struct ping_args a = {&p, bad};
    pthread_t other;
    (void)state;
    assert_int_equal(pthread_create(&other, NULL, pong, &p), 0);
    struct sl_host_grid g = shape(1, 64);
    int rc = sl_host_launch(t_ping, &g, &a);
    assert_int_equal(pthread_join(other, NULL), 0);
    assert_int_equal(rc, 0);
    for (uint32_t t = 0; t < 64; t++)
        assert_int_equal(bad[t], 0);
}

/* Blocks that wait for each other run at once when there are OS threads. */
struct meet_args {
    uint64_t *here;
};

SL_KERNEL(t_meet, struct meet_args)
{
    slp_add(arg.here, 1);
    for (uint32_t round = 0; slp_load64(arg.here) < slp_blocks(); round++)
        slp_pause(round);
}

static void as_many_blocks_at_once_as_asked(void **state)
{
    uint64_t here = 0;
    struct meet_args a = {&here};
    struct sl_host_grid g = shape(7, 1);
    (void)state;
    g.threads = 7;
    assert_int_equal(sl_host_launch(t_meet, &g, &a), 0);
    assert_int_equal(here, 7);
}

/* ---- plain threads ---- */

static uint32_t *plain_shared(void)
{
    SL_SHARED(uint32_t, p);
    return p;
}

static void *plain_other(void *arg)
{
    uint32_t **out = (uint32_t **)arg;
    *out = plain_shared();
    **out = 2;
    return *out == plain_shared() && **out == 2 ? arg : NULL;
}

static void plain_thread_is_a_block_of_one(void **state)
{
    uint32_t *mine = plain_shared(), *theirs = NULL;
    pthread_t other;
    void *ok = NULL;
    (void)state;
    assert_int_equal(slp_thread(), 0);
    assert_int_equal(slp_threads(), 1);
    assert_int_equal(slp_block(), 0);
    assert_int_equal(slp_blocks(), 1);
    assert_int_equal(slp_lane(), 0);
    assert_int_equal(slp_lanes(), 1);
    assert_int_equal(slp_ballot(1, 5), 1);
    assert_int_equal(slp_ballot(1, 0), 0);
    assert_int_equal(slp_shfl(1, 77, 0), 77);
    slp_syncwarp(1);
    slp_syncblock();
    *mine = 1;
    assert_int_equal(pthread_create(&other, NULL, plain_other, &theirs), 0);
    assert_int_equal(pthread_join(other, &ok), 0);
    assert_non_null(ok);
    assert_ptr_not_equal(mine, theirs);
    assert_ptr_equal(mine, plain_shared());
    assert_int_equal(*mine, 1);
    for (uint32_t round = 0; round < 300; round++)
        slp_pause(round);
    slp_pause(FULL);
    uint64_t before = slp_now();
    assert_true(slp_now() >= before);
}

static void vectors_and_bytes_move(void **state)
{
    _Alignas(16) uint8_t from[32], to[32];
    (void)state;
    for (uint32_t i = 0; i < 32; i++)
        from[i] = (uint8_t)(i * 7u);
    memset(to, 0, sizeof(to));
    slp_stv(to, slp_ldv(from));
    for (uint32_t i = 16; i < 32; i++)
        slp_stb(to + i, slp_ldb(from + i));
    assert_memory_equal(from, to, 32);
}

/* ---- bugs of a kernel ---- */

SL_KERNEL(t_missing_lane, struct out_args)
{
    /* In block 1, lane 3 of warp 1 goes to the wrong place. */
    if (slp_block() == 1 && slp_thread() == 35)
        slp_syncblock();
    else if (slp_thread() >= 32)
        slp_ballot(slp_lanes(), 1);
}

SL_KERNEL(t_other_mask, struct out_args)
{
    slp_ballot(1u, 1);
}

/* Runs a kernel in a child; what it says on stderr is in `text`. Returns the
 * status of waitpid. The child starts no thread. */
static int child_says(void (*kernel)(const void *), char *text, size_t bytes)
{
    int ends[2], status = 0;
    size_t got = 0;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct rlimit none = {0, 0};
        struct sl_host_grid g = shape(2, 64);
        static uint32_t out[2];
        struct out_args a = {out, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        g.threads = 1;
        sl_host_launch(kernel, &g, &a);
        _exit(0);
    }
    close(ends[1]);
    /* Reads to the end also what does not fit, so that the child can end. */
    char part[4096];
    ssize_t n;
    while ((n = read(ends[0], part, sizeof(part))) > 0) {
        size_t room = bytes - 1 - got, take = (size_t)n;
        take = take < room ? take : room;
        memcpy(text + got, part, take);
        got += take;
    }
    text[got] = 0;
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void deadlock_aborts_and_names_the_lanes(void **state)
{
    char text[1024];
    (void)state;
    int status = child_says(t_missing_lane, text, sizeof(text));
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(text,
                           "deadlock: block 1 warp 1: ballot mask 0xffffffff "
                           "arrived 0xfffffff7 live 0xffffffff\n"));
    assert_non_null(strstr(text, "deadlock: block 1: syncblock arrived 1 of "
                                 "32 live threads\n"));
    assert_null(strstr(text, "warp 0"));
}

static void mask_without_the_caller_aborts(void **state)
{
    char text[1024];
    (void)state;
    int status = child_says(t_other_mask, text, sizeof(text));
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(text, "block 0 warp 0 lane 1: ballot mask "
                                 "0x00000001 does not name its own lane\n"));
}

#if defined(FIBRE_TSAN)
/* Lane 1 reads what lane 0 wrote; between them is a primitive, or none. */
static void hand_over(uint32_t *out, void (*between)(void))
{
    SL_SHARED(uint32_t, shared);
    if (slp_thread() == 0) {
        out[0] = 1;
        *shared = 1;
    }
    between();
    if (slp_thread() == 1)
        out[1] = out[0] + *shared;
}

static void by_nothing(void)
{
}

static void by_ballot(void)
{
    slp_ballot(slp_lanes(), 1);
}

static void by_syncwarp(void)
{
    slp_syncwarp(slp_lanes());
}

SL_KERNEL(t_race_bare, struct out_args)
{
    hand_over(arg.out, by_nothing);
}

SL_KERNEL(t_race_ballot, struct out_args)
{
    hand_over(arg.out, by_ballot);
}

SL_KERNEL(t_order_warp, struct out_args)
{
    hand_over(arg.out, by_syncwarp);
}

SL_KERNEL(t_order_block, struct out_args)
{
    hand_over(arg.out, slp_syncblock);
}

static void sanitizer_sees_races_between_lanes(void **state)
{
    static char text[65536];
    (void)state;
    child_says(t_race_bare, text, sizeof(text));
    assert_non_null(strstr(text, "data race"));
    child_says(t_race_ballot, text, sizeof(text));
    assert_non_null(strstr(text, "data race"));
    child_says(t_order_warp, text, sizeof(text));
    assert_string_equal(text, "");
    child_says(t_order_block, text, sizeof(text));
    assert_string_equal(text, "");
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_know_their_place),
        cmocka_unit_test(dimensions_are_linearised),
        cmocka_unit_test(bad_shapes_are_einval),
        cmocka_unit_test(shared_memory_belongs_to_a_block),
        cmocka_unit_test(many_blocks_share_a_counter),
        cmocka_unit_test(lock_guards_over_132_full_blocks),
        cmocka_unit_test(lane_waits_for_a_lane_of_its_warp),
        cmocka_unit_test(warp_waits_for_another_os_thread),
        cmocka_unit_test(as_many_blocks_at_once_as_asked),
        cmocka_unit_test(plain_thread_is_a_block_of_one),
        cmocka_unit_test(vectors_and_bytes_move),
        cmocka_unit_test(deadlock_aborts_and_names_the_lanes),
        cmocka_unit_test(mask_without_the_caller_aborts),
#if defined(FIBRE_TSAN)
        cmocka_unit_test(sanitizer_sees_races_between_lanes),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
