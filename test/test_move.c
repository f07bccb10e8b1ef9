/* SPDX-License-Identifier: Apache-2.0 */
/* Scores, eviction, promotion: bytes that move while they are used. */
#include "target_help.h"

#include <math.h>
#include <time.h>

/* Waits until `done` says so, looking every millisecond; false after 20 s. */
static int wait_for(int (*done)(struct sl_runtime *rt, uint64_t x),
                    struct sl_runtime *rt, uint64_t x)
{
    const struct timespec nap = {0, 1000000};
    for (int i = 0; i < 20000; i++) {
        if (done(rt, x))
            return 1;
        nanosleep(&nap, NULL);
    }
    return 0;
}

static int pinned_is_below(struct sl_runtime *rt, uint64_t bytes)
{
    return info_of(rt, "pinned").used <= bytes;
}

/* How many there are, when there were none for a while. */
static uint64_t evictions_end(struct sl_runtime *rt)
{
    struct timespec nap = {0, 300000000};
    for (int i = 0; i < 100; i++) {
        uint64_t evicted = info_of(rt, "pinned").evicted;
        nanosleep(&nap, NULL);
        if (evicted > 0 && info_of(rt, "pinned").evicted == evicted)
            return evicted;
    }
    return 0;
}

static int was_promoted(struct sl_runtime *rt, uint64_t n)
{
    return info_of(rt, "pinned").promoted >= n;
}

static struct sl_config tiers_of_8(void)
{
    struct sl_config c = small_config();
    c.ram_bytes = 64 * MIB;
    return c;
}

/* ---- scores ---- */

static void a_score_moves_the_bytes(void **state)
{
    (void)state;
    struct sl_config c = no_eviction();
    c.ram_bytes = 16 * MIB;
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = tag_of(rt, "t"), size = 3 * MIB + 5;
    assert_int_equal(add(rt, "slow", "hbm", NULL, 16 * MIB, 0.2f), 0);
    assert_int_equal(put(rt, tag, 0, size, NO_SCORE, 0), 0);
    assert_int_equal(bytes_on(rt, tag, 0, "pinned"), size);
    static const struct {
        float score;
        const char *kind;
    } way[] = {{0.8f, "ram"},  {0.2f, "hbm"}, {1.0f, "pinned"}, {0.3f, "hbm"},
               {0.26f, "hbm"}, {0.8f, "ram"}, {0.79f, "ram"},   {-1.0f, "ram"}};
    for (size_t i = 0; i < sizeof(way) / sizeof(way[0]); i++) {
        assert_int_equal(sl_score(rt, tag, "blob-0", way[i].score), 0);
        assert_int_equal(bytes_on(rt, tag, 0, way[i].kind), size);
        assert_int_equal(check(rt, tag, 0, size), 0);
    }
    assert_int_equal(sl_score(rt, tag, "blob-0", 1.01f), SL_ESCORE);
    assert_int_equal(sl_score(rt, tag, "blob-0", -0.5f), SL_ESCORE);
    assert_int_equal(sl_score(rt, tag, "blob-0", NAN), SL_ESCORE);
    assert_int_equal(sl_score(rt, tag, "none", 0.5f), SL_ENOENT);
    assert_int_equal(sl_score(rt, tag + 256u, "none", 0.5f), SL_ENOTAG);
    assert_int_equal(sl_del(rt, tag, "blob-0"), 0);
    assert_int_equal(info_of(rt, "ram").used + info_of(rt, "slow").used, 0);
    assert_int_equal(sl_close(rt), 0);
}

/* Each step is below the threshold, all together are not. */
static void small_score_changes_add_up_to_a_move(void **state)
{
    (void)state;
    struct sl_config c = no_eviction();
    struct sl_stat st;
    c.ram_bytes = 16 * MIB;
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = tag_of(rt, "t");
    assert_int_equal(put(rt, tag, 0, 100000, 1.0f, 0), 0);
    assert_int_equal(sl_score(rt, tag, "blob-0", 0.96f), 0);
    assert_int_equal(sl_stat(rt, tag, "blob-0", &st), 0);
    assert_int_equal(st.score, 1000);
    assert_int_equal(bytes_on(rt, tag, 0, "pinned"), 100000);
    for (int i = 96; i >= 80; i -= 4)
        assert_int_equal(sl_score(rt, tag, "blob-0", (float)i / 100.0f), 0);
    assert_int_equal(bytes_on(rt, tag, 0, "ram"), 100000);
    assert_int_equal(check(rt, tag, 0, 100000), 0);
    assert_int_equal(sl_close(rt), 0);
}

static void a_score_without_room_leaves_the_rest_near(void **state)
{
    (void)state;
    struct sl_config c = no_eviction();
    c.pinned_bytes = 2 * MIB;
    c.ram_bytes = 2 * MIB;
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = tag_of(rt, "t"), size = 6 * MIB;
    assert_int_equal(add(rt, "slow", "hbm", NULL, 16 * MIB, 0.2f), 0);
    assert_int_equal(put(rt, tag, 0, size, 0.2f, 0), 0);
    assert_int_equal(bytes_on(rt, tag, 0, "hbm"), size);
    assert_int_equal(sl_score(rt, tag, "blob-0", 1.0f), 0);
    assert_int_equal(bytes_on(rt, tag, 0, "pinned"), 2 * MIB);
    assert_int_equal(bytes_on(rt, tag, 0, "ram"), 2 * MIB);
    assert_int_equal(bytes_on(rt, tag, 0, "hbm"), 2 * MIB);
    assert_int_equal(check(rt, tag, 0, size), 0);
    assert_int_equal(sl_close(rt), 0);
}

/* One wants a blob's bytes on the pinned tier, the other in the file. */
static void a_score_and_a_flush_of_one_blob_both_end(void **state)
{
    (void)state;
    char path[64];
    struct sl_config c = no_eviction();
    make_dir(path, sizeof(path));
    c.data_dir = path;
    c.file_bytes = 32 * MIB;
    c.workers = 1;
    c.timeout_ns = UINT64_C(20000000000);
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = tag_of(rt, "t");
    for (int i = 0; i < 5; i++) {
        char name[32];
        struct sl_op *op = NULL;
        snprintf(name, sizeof(name), "blob-%d", i);
        assert_int_equal(put(rt, tag, i, 300000, NO_SCORE, 0), 0);
        assert_int_equal(sl_flush_begin(rt, &op), 0);
        assert_int_equal(sl_score(rt, tag, name, 1.0f), 0);
        assert_int_equal(sl_wait(&op, c.timeout_ns), 0);
        assert_int_equal(check(rt, tag, i, 300000), 0);
    }
    assert_int_equal(sl_close(rt), 0);
    remove_dir(path);
}

struct mover {
    struct user u;
    int moves;
};

static void *move_about(void *arg)
{
    struct mover *m = arg;
    static const float scores[] = {1.0f, 0.2f, 0.8f, 0.5f};
    for (int i = 0; !m->u.rc && !__atomic_load_n(m->u.stop, __ATOMIC_RELAXED);
         i++) {
        char name[32];
        snprintf(name, sizeof(name), "blob-%d", m->u.first + i % m->u.n);
        int rc = sl_score(m->u.rt, m->u.tag, name, scores[(i / m->u.n) % 4]);
        m->moves += rc == 0;
        if (rc && rc != SL_ENOENT)
            m->u.rc = rc;
    }
    return NULL;
}

static void scores_change_under_readers_and_writers(void **state)
{
    (void)state;
    struct sl_config c = no_eviction();
    c.ram_bytes = 16 * MIB;
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = tag_of(rt, "t");
    int stop = 0;
    struct user u = {.rt = rt,
                     .tag = tag,
                     .n = 20,
                     .size = 150000,
                     .writes = 1,
                     .stop = &stop};
    struct user reader = {.rt = rt,
                          .tag = tag,
                          .first = 20,
                          .n = 20,
                          .size = 90001,
                          .stop = &stop};
    struct mover m = {.u = {.rt = rt, .tag = tag, .n = 40, .stop = &stop}};
    pthread_t th[3];
    assert_int_equal(add(rt, "slow", "fault", NULL, 16 * MIB, 0.2f), 0);
    for (int i = 0; i < 40; i++)
        assert_int_equal(put(rt, tag, i, i < 20 ? u.size : reader.size, -1, 0),
                         0);
    pthread_create(&th[0], NULL, use, &u);
    pthread_create(&th[1], NULL, use, &reader);
    pthread_create(&th[2], NULL, move_about, &m);
    const struct timespec run = {0, 300000000};
    while (__atomic_load_n(&u.rounds, __ATOMIC_RELAXED) < (int)STEPS(40) + 2 &&
           !__atomic_load_n(&u.rc, __ATOMIC_RELAXED))
        nanosleep(&run, NULL);
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < 3; i++)
        pthread_join(th[i], NULL);
    assert_int_equal(u.rc, 0);
    assert_int_equal(reader.rc, 0);
    assert_int_equal(m.u.rc, 0);
    assert_true(m.moves > 20 && u.rounds > 1 && reader.rounds > 1);
    assert_int_equal(sl_tag_del(rt, tag), 0);
    assert_int_equal(info_of(rt, "ram").used + info_of(rt, "slow").used, 0);
    assert_int_equal(sl_close(rt), 0);
}

static void a_moved_durable_blob_is_found_after_a_restart(void **state)
{
    (void)state;
    char path[64], file[96];
    struct sl_config c = no_eviction();
    make_dir(path, sizeof(path));
    snprintf(file, sizeof(file), "%s.second", path);
    c.data_dir = path;
    c.file_bytes = 32 * MIB;
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = tag_of(rt, "t");
    assert_int_equal(add(rt, "second", "file", file, 32 * MIB, 0.7f), 0);
    assert_int_equal(put(rt, tag, 0, 2500000, 0.1f, 2), 0);
    uint64_t before = info_of(rt, "file").used;
    assert_true(before >= 2500000);
    assert_int_equal(sl_score(rt, tag, "blob-0", 0.75f), 0);
    assert_int_equal(info_of(rt, "second").blob_bytes, 2500000);
    assert_int_equal(sl_flush(rt), 0);
    assert_int_equal(info_of(rt, "file").used, 0);
    assert_int_equal(sl_close(rt), 0);
    rt = open_store(&c);
    tag = tag_of(rt, "t");
    struct sl_stat st;
    assert_int_equal(sl_stat(rt, tag, "blob-0", &st), 0);
    assert_int_equal(st.score, 750);
    assert_int_equal(check(rt, tag, 0, 2500000), 0);
    assert_int_equal(info_of(rt, "second").blob_bytes, 2500000);
    assert_int_equal(sl_close(rt), 0);
    remove_dir(path);
    unlink(file);
}

/* ---- eviction ---- */

static void churn_beyond_the_capacity_keeps_all_bytes(void **state)
{
    (void)state;
    struct sl_config c = tiers_of_8();
    uint64_t seed = test_seed("churn");
    c.pinned_bytes = 4 * MIB;
    c.ram_bytes = 8 * MIB;
    c.file_path = "move-test-file";
    c.file_bytes = 64 * MIB;
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = tag_of(rt, "t");
    int stop = 0;
    struct user reader = {.rt = rt,
                          .tag = tag,
                          .first = 1000,
                          .n = 30,
                          .size = 60000,
                          .stop = &stop};
    pthread_t th;
    for (int i = 1000; i < 1030; i++)
        assert_int_equal(put(rt, tag, i, reader.size, -1, 0), 0);
    pthread_create(&th, NULL, use, &reader);
    uint64_t size[400] = {0};
    for (uint64_t i = 0; i < test_steps(4000); i++) {
        int k = (int)(test_random(&seed) % 400u);
        if (size[k] && test_random(&seed) % 4u == 0) {
            assert_int_equal(check(rt, tag, k, size[k]), 0);
            continue;
        }
        size[k] = 1u + test_random(&seed) % 120000u;
        assert_int_equal(put(rt, tag, k, size[k], -1, 0), 0);
    }
    for (int k = 0; k < 400; k++)
        if (size[k])
            assert_int_equal(check(rt, tag, k, size[k]), 0);
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    pthread_join(th, NULL);
    assert_int_equal(reader.rc, 0);
    assert_true(info_of(rt, "pinned").evicted > 0);
    assert_true(info_of(rt, "ram").evicted > 0);
    assert_true(info_of(rt, "file").moved_bytes > 0);
    assert_int_equal(sl_tag_del(rt, tag), 0);
    assert_int_equal(info_of(rt, "ram").used + info_of(rt, "file").used, 0);
    assert_int_equal(sl_close(rt), 0);
    unlink("move-test-file");
}

static void marks_have_hysteresis(void **state)
{
    (void)state;
    struct sl_config c = tiers_of_8();
    c.evict_high = 0.8f;
    c.evict_low = 0.4f;
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = tag_of(rt, "t");
    /* 6 MiB of 8 are below the high mark: nothing moves. */
    for (int i = 0; i < 96; i++)
        assert_int_equal(put(rt, tag, i, 65536, -1, 0), 0);
    assert_int_equal(info_of(rt, "pinned").evicted, 0);
    for (int i = 96; i < 112; i++)
        assert_int_equal(put(rt, tag, i, 65536, -1, 0), 0);
    /* Down to the low mark, and the last puts may come behind that. */
    assert_true(wait_for(pinned_is_below, rt,
                         (uint64_t)(0.4 * 8 * MIB) + 16u * 65536u));
    uint64_t evicted = evictions_end(rt);
    assert_true(evicted > 30);
    /* Far below it: what comes now stays. */
    for (int i = 112; i < 130; i++)
        assert_int_equal(put(rt, tag, i, 65536, -1, 0), 0);
    assert_true(info_of(rt, "pinned").evicted <= evicted + 8u);
    for (int i = 0; i < 130; i++)
        assert_int_equal(check(rt, tag, i, 65536), 0);
    assert_int_equal(sl_close(rt), 0);
}

#define RATE (4 * MIB)

/* A second's bytes in a second, behind a first chunk's worth: at each look no
 * more has moved, however late the look is. */
static void rate_is_kept(struct sl_runtime *rt, uint64_t begun)
{
    uint64_t moved = info_of(rt, "pinned").evicted * 65536u;
    double seconds = (double)(clock_ns() - begun) / 1e9;
    assert_true((double)moved <=
                (double)(SL_CHUNK_MAX + 65536u) + (double)RATE * seconds);
    assert_true(seconds < 60);
}

static void eviction_keeps_its_rate(void **state)
{
    (void)state;
    struct sl_config c = tiers_of_8();
    c.lanes = 1;
    c.evict_high = 0.8f;
    c.evict_low = 0.25f;
    c.move_bytes_per_s = RATE;
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = tag_of(rt, "t"), begun = clock_ns();
    const struct timespec nap = {0, 1000000};
    for (int i = 0; i < 112; i++) {
        assert_int_equal(put(rt, tag, i, 65536, -1, 0), 0);
        rate_is_kept(rt, begun);
    }
    do {
        rate_is_kept(rt, begun);
        nanosleep(&nap, NULL);
    } while (!pinned_is_below(rt, 2 * MIB));
    assert_int_equal(sl_close(rt), 0);
}

static void low_scores_go_first(void **state)
{
    (void)state;
    struct sl_config c = tiers_of_8();
    c.workers = 1;
    c.evict_high = 0.9f;
    c.evict_low = 0.6f;
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = tag_of(rt, "t");
    assert_int_equal(sl_target_set_score(rt, "pinned", 0.1f), 0);
    assert_int_equal(sl_target_set_score(rt, "ram", 0.0f), 0);
    /* Every second blob wants to stay; all begin in the pinned tier. */
    for (int i = 0; i < 118; i++)
        assert_int_equal(put(rt, tag, i, 65536, i % 2 ? 0.9f : 0.1f, 0), 0);
    assert_true(wait_for(pinned_is_below, rt, (uint64_t)(0.6 * 8 * MIB)));
    int left[2] = {0, 0};
    for (int i = 0; i < 118; i++)
        left[i % 2] += bytes_on(rt, tag, i, "ram") != 0;
    assert_true(left[0] > 20);
    assert_true(left[1] <= 2); /* the hand samples: nearly always the lower */
    assert_int_equal(sl_close(rt), 0);
}

static void a_full_last_tier_refuses_and_loses_nothing(void **state)
{
    (void)state;
    struct sl_config c = small_config();
    c.pinned_bytes = 2 * MIB;
    c.ram_bytes = 4 * MIB;
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = tag_of(rt, "t");
    int n = 0, rc;
    while ((rc = put(rt, tag, n, 50000, -1, 0)) == 0)
        n++;
    assert_int_equal(rc, SL_ENOSPC);
    assert_true(n > 80);
    assert_int_equal(put(rt, tag, 0, 400000, -1, 0), SL_ENOSPC);
    for (int i = 0; i < n; i++)
        assert_int_equal(check(rt, tag, i, 50000), 0);
    assert_int_equal(sl_tag_del(rt, tag), 0);
    assert_int_equal(info_of(rt, "ram").used, 0);
    assert_int_equal(sl_close(rt), 0);
}

static void nothing_is_evicted_to_what_discards(void **state)
{
    (void)state;
    struct sl_config c = small_config();
    c.null_bytes = 64 * MIB;
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = tag_of(rt, "t");
    for (int i = 0; i < 120; i++)
        assert_int_equal(put(rt, tag, i, 65536, 1.0f, 0), 0);
    assert_int_equal(info_of(rt, "pinned").evicted, 0);
    for (int i = 0; i < 120; i++)
        assert_int_equal(check(rt, tag, i, 65536), 0);
    assert_int_equal(sl_close(rt), 0);
}

static void overwriting_for_ever_uses_bounded_space(void **state)
{
    (void)state;
    struct sl_config c = small_config();
    c.pinned_bytes = 1 * MIB;
    c.ram_bytes = 1 * MIB;
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = tag_of(rt, "t");
    uint8_t data[4096] = {0};
    uint64_t n = test_is_long() ? 1000000u : STEPS(200000u);
    for (int i = 0; i < 15; i++) /* above the high mark, so moves run beside */
        assert_int_equal(put(rt, tag, i, 65536, -1, 0), 0);
    for (uint64_t i = 0; i < n; i++) {
        memcpy(data, &i, sizeof(i));
        assert_int_equal(sl_put(rt, tag, "b", 0, data, sizeof(data), NULL), 0);
    }
    assert_true(info_of(rt, "pinned").used + info_of(rt, "ram").used <=
                16u * 65536u + 262144u);
    assert_int_equal(sl_del(rt, tag, "b"), 0);
    for (int i = 0; i < 15; i++)
        assert_int_equal(check(rt, tag, i, 65536), 0);
    assert_int_equal(sl_close(rt), 0);
}

/* What a score brings up passes the high mark, and is the coldest. */
static void a_score_beside_eviction_ends(void **state)
{
    (void)state;
    struct sl_config c = small_config();
    c.workers = 1;
    c.pinned_bytes = 1 * MIB;
    c.ram_bytes = 8 * MIB;
    c.timeout_ns = UINT64_C(10000000000);
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = tag_of(rt, "t");
    for (int i = 0; i < 10; i++)
        assert_int_equal(put(rt, tag, i, 65536, 1.0f, 0), 0);
    for (int turn = 0; turn < 20; turn++) {
        assert_int_equal(put(rt, tag, 100, 350000, 0.8f, 0), 0);
        for (int k = 0; k < 50; k++)
            assert_int_equal(check(rt, tag, k % 10, 65536), 0);
        assert_int_equal(sl_score(rt, tag, "blob-100", 1.0f), 0);
        assert_int_equal(check(rt, tag, 100, 350000), 0);
    }
    assert_int_equal(sl_close(rt), 0);
}

/* ---- promotion ---- */

static void a_blob_that_is_read_often_moves_up(void **state)
{
    (void)state;
    struct sl_config c = tiers_of_8();
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = tag_of(rt, "t");
    /* The pinned tier is full, so blob 500 goes to the next one. */
    for (int i = 0; i < 8; i++)
        assert_int_equal(put(rt, tag, i, 1 * MIB, 1.0f, 0), 0);
    assert_int_equal(sl_score(rt, tag, "blob-0", 0.8f), 0);
    assert_int_equal(put(rt, tag, 500, 60000, 0.8f, 0), 0);
    assert_int_equal(sl_score(rt, tag, "blob-500", -1.0f), 0);
    assert_int_equal(bytes_on(rt, tag, 500, "ram"), 60000);
    for (int i = 0; i < 8; i++) {
        char name[32];
        snprintf(name, sizeof(name), "blob-%d", i);
        assert_int_equal(sl_del(rt, tag, name), 0);
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(check(rt, tag, 500, 60000), 0);
    assert_true(wait_for(was_promoted, rt, 1));
    assert_int_equal(bytes_on(rt, tag, 500, "pinned"), 60000);
    assert_int_equal(check(rt, tag, 500, 60000), 0);
    assert_int_equal(sl_close(rt), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_score_moves_the_bytes),
        cmocka_unit_test(small_score_changes_add_up_to_a_move),
        cmocka_unit_test(a_score_without_room_leaves_the_rest_near),
        cmocka_unit_test(a_score_and_a_flush_of_one_blob_both_end),
        cmocka_unit_test(scores_change_under_readers_and_writers),
        cmocka_unit_test(a_moved_durable_blob_is_found_after_a_restart),
        cmocka_unit_test(churn_beyond_the_capacity_keeps_all_bytes),
        cmocka_unit_test(marks_have_hysteresis),
        cmocka_unit_test(eviction_keeps_its_rate),
        cmocka_unit_test(low_scores_go_first),
        cmocka_unit_test(a_full_last_tier_refuses_and_loses_nothing),
        cmocka_unit_test(nothing_is_evicted_to_what_discards),
        cmocka_unit_test(overwriting_for_ever_uses_bounded_space),
        cmocka_unit_test(a_score_beside_eviction_ends),
        cmocka_unit_test(a_blob_that_is_read_often_moves_up),
    };
    return cmocka_run_group_tests_name("moves", tests, NULL, NULL);
}
