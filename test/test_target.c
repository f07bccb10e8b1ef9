/* SPDX-License-Identifier: Apache-2.0 */
/* Targets: adding, listing, removing, scores, splitting, restarts. */
#include "target_help.h"

#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>

static void configured_targets_are_listed(void **state)
{
    (void)state;
    struct sl_config c = no_eviction();
    c.ram_bytes = 4 * MIB;
    c.null_bytes = 8 * MIB;
    struct sl_runtime *rt = open_store(&c);
    struct sl_target_info info[2];
    assert_int_equal(sl_targets(rt, info, 2), 3);
    assert_string_equal(info[0].name, "pinned");
    assert_string_equal(info[0].state, "active");
    assert_true(info[0].capacity == 8 * MIB);
    assert_true(info[0].score == 1.0);
    assert_string_equal(info[1].kind, "ram");
    assert_true(info[1].capacity == 4 * MIB && info[1].used == 0);
    assert_int_equal(sl_close(rt), 0);
}

static void bad_requests_have_codes_of_their_own(void **state)
{
    (void)state;
    struct sl_config c = no_eviction();
    struct sl_runtime *rt = open_store(&c);
    const char *file = "target-test-content";
    int fd = open(file, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    assert_int_equal(write(fd, "text", 4), 4);
    close(fd);
    assert_int_equal(sl_target_remove(rt, "none"), SL_ENOTARGET);
    assert_int_equal(sl_target_set_score(rt, "none", 0.5f), SL_ENOTARGET);
    assert_int_equal(sl_target_remove(rt, "pinned"), SL_EINVAL);
    assert_int_equal(sl_target_set_score(rt, "pinned", 1.5f), SL_ESCORE);
    assert_int_equal(sl_target_set_score(rt, "pinned", NAN), SL_ESCORE);
    assert_int_equal(add(rt, "a", "ram", NULL, MIB, 1.1f), SL_ESCORE);
    assert_int_equal(add(rt, "a", "ram", NULL, MIB, -0.5f), SL_ESCORE);
    assert_int_equal(add(rt, "a b", "ram", NULL, MIB, 0), SL_EINVAL);
    assert_int_equal(add(rt, "", "ram", NULL, MIB, 0), SL_EINVAL);
    assert_int_equal(add(rt, "a", "tape", NULL, MIB, 0), SL_EINVAL);
    assert_int_equal(add(rt, "a", "ram", NULL, 100, 0), SL_EINVAL);
    assert_int_equal(add(rt, "a", "file", NULL, MIB, 0), SL_EINVAL);
    assert_int_equal(add(rt, "a", "ram", "x", MIB, 0), SL_EINVAL);
    assert_int_equal(add(rt, "a", "file", file, MIB, 0), SL_EEXIST);
    assert_int_equal(add(rt, "a", "ram", NULL, MIB, 0), 0);
    assert_int_equal(add(rt, "a", "ram", NULL, MIB, 0), SL_EEXIST);
    assert_int_equal(sl_targets(rt, NULL, 0), 2);
    assert_int_equal(sl_close(rt), 0);
    unlink(file);
}

static void there_are_at_most_32_targets(void **state)
{
    (void)state;
    struct sl_config c = no_eviction();
    struct sl_runtime *rt = open_store(&c);
    char name[16];
    for (int i = 1; i < 32; i++) {
        snprintf(name, sizeof(name), "t%d", i);
        assert_int_equal(add(rt, name, "ram", NULL, MIB, 0.5f), 0);
    }
    assert_int_equal(add(rt, "more", "ram", NULL, MIB, 0.5f), SL_ENOSPC);
    assert_int_equal(sl_target_remove(rt, "t7"), 0);
    assert_int_equal(add(rt, "more", "ram", NULL, MIB, 0.5f), 0);
    assert_int_equal(sl_targets(rt, NULL, 0), 32);
    assert_int_equal(sl_close(rt), 0);
}

static void a_score_asks_for_the_fastest_at_most_that_fast(void **state)
{
    (void)state;
    struct sl_config c = no_eviction();
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = tag_of(rt, "t");
    assert_int_equal(add(rt, "high", "ram", NULL, 2 * MIB, 0.7f), 0);
    assert_int_equal(add(rt, "low", "hbm", NULL, 2 * MIB, 0.3f), 0);
    assert_int_equal(put(rt, tag, 0, 100000, 0.8f, 0), 0);
    assert_int_equal(put(rt, tag, 1, 100000, 0.5f, 0), 0);
    assert_int_equal(put(rt, tag, 2, 100000, 1.0f, 0), 0);
    assert_int_equal(put(rt, tag, 3, 100000, 0.1f, 0), 0); /* all are faster */
    assert_int_equal(bytes_on(rt, tag, 0, "ram"), 100000);
    assert_int_equal(bytes_on(rt, tag, 1, "hbm"), 100000);
    assert_int_equal(bytes_on(rt, tag, 2, "pinned"), 100000);
    assert_int_equal(bytes_on(rt, tag, 3, "hbm"), 100000);
    /* Below it is full: slower ones first, then faster ones. */
    assert_int_equal(put(rt, tag, 4, 2 * MIB - 262144, 0.7f, 0), 0);
    assert_int_equal(put(rt, tag, 5, 300000, 0.7f, 0), 0);
    assert_true(bytes_on(rt, tag, 5, "hbm") > 0);
    assert_int_equal(sl_target_set_score(rt, "low", 0.95f), 0);
    assert_int_equal(put(rt, tag, 6, 100000, 0.97f, 0), 0);
    assert_int_equal(bytes_on(rt, tag, 6, "hbm"), 100000);
    assert_int_equal(info_of(rt, "high").blob_bytes +
                         info_of(rt, "low").blob_bytes,
                     500000 + 300000 + 2 * MIB - 262144 - 100000);
    for (int i = 0; i < 4; i++)
        assert_int_equal(check(rt, tag, i, 100000), 0);
    assert_int_equal(sl_close(rt), 0);
}

static void a_put_larger_than_any_free_space_is_split(void **state)
{
    (void)state;
    struct sl_config c = no_eviction();
    c.pinned_bytes = 1 * MIB;
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = tag_of(rt, "t"), size = 5 * MIB + 777;
    assert_int_equal(add(rt, "a", "ram", NULL, 3 * MIB, 0.7f), 0);
    assert_int_equal(add(rt, "b", "hbm", NULL, 3 * MIB, 0.6f), 0);
    assert_int_equal(put(rt, tag, 0, size, NO_SCORE, 0), 0);
    assert_int_equal(check(rt, tag, 0, size), 0);
    assert_true(bytes_on(rt, tag, 0, "ram") > MIB);
    assert_true(bytes_on(rt, tag, 0, "hbm") > MIB);
    /* What fits nowhere changes nothing. */
    uint64_t used = info_of(rt, "a").used + info_of(rt, "b").used;
    assert_int_equal(put(rt, tag, 1, size, NO_SCORE, 0), SL_ENOSPC);
    assert_true(info_of(rt, "a").used + info_of(rt, "b").used == used);
    assert_int_equal(sl_del(rt, tag, "blob-0"), 0);
    assert_true(info_of(rt, "a").used + info_of(rt, "b").used == 0);
    assert_int_equal(sl_close(rt), 0);
}

static void a_full_tier_takes_what_was_deleted_in_another_shard(void **state)
{
    (void)state;
    struct sl_config c = no_eviction();
    c.workers = 4;
    c.lanes = 8;
    c.pinned_bytes = 4 * MIB;
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = tag_of(rt, "t");
    char name[32];
    for (int round = 0; round < 20; round++) {
        int n = 0;
        while (put(rt, tag, n, 65536, NO_SCORE, 0) == 0)
            n++;
        assert_int_equal(n, 64); /* no byte is lost to what is charged ahead */
        for (int i = 0; i < n; i += 3) {
            snprintf(name, sizeof(name), "blob-%d", i);
            assert_int_equal(sl_del(rt, tag, name), 0);
            assert_int_equal(put(rt, tag, 1000 + i, 65536, NO_SCORE, 0), 0);
        }
        assert_int_equal(put(rt, tag, n, 65536, NO_SCORE, 0), SL_ENOSPC);
        assert_int_equal(sl_tag_del(rt, tag), 0);
        tag = tag_of(rt, "t");
    }
    assert_int_equal(sl_close(rt), 0);
}

/* Looks at the figures, and puts by them; TSan judges. */
static void *look_and_put(void *arg)
{
    struct user *u = arg;
    struct sl_put_opts o = {
        .size = sizeof(o), .score = 0.8f, .codec = SL_CODEC_DYNAMIC};
    struct sl_target_info info[SL_TARGETS_MAX];
    uint8_t data[20000] = {0};
    while (!u->rc && !__atomic_load_n(u->stop, __ATOMIC_RELAXED)) {
        u->rc = sl_put(u->rt, u->tag, "seen", 0, data, sizeof(data), &o);
        if (sl_targets(u->rt, info, SL_TARGETS_MAX) != u->n)
            u->rc = SL_EINVAL;
    }
    return NULL;
}

static void a_target_is_measured_beside_its_users(void **state)
{
    (void)state;
    struct sl_config c = no_eviction();
    c.ram_bytes = 16 * MIB;
    struct sl_runtime *rt = open_store(&c);
    int stop = 0;
    struct user u = {.rt = rt, .tag = tag_of(rt, "t"), .n = 2, .stop = &stop};
    pthread_t th;
    assert_int_equal(pthread_create(&th, NULL, look_and_put, &u), 0);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(sl_target_set_score(rt, "ram", -1.0f), 0);
        assert_int_equal(sl_target_set_score(rt, "ram", 0.8f), 0);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    assert_int_equal(pthread_join(th, NULL), 0);
    assert_int_equal(u.rc, 0);
    assert_true(info_of(rt, "ram").bandwidth > 0);
    assert_int_equal(sl_close(rt), 0);
}

static void a_measured_target_has_figures(void **state)
{
    (void)state;
    struct sl_config c = no_eviction();
    struct sl_runtime *rt = open_store(&c);
    assert_int_equal(add(rt, "m", "ram", NULL, 64 * MIB, NO_SCORE), 0);
    assert_int_equal(add(rt, "f", "file", "target-test-m", 64 * MIB, NO_SCORE),
                     0);
    struct sl_target_info m = info_of(rt, "m"), f = info_of(rt, "f");
    assert_true(m.bandwidth > 0 && m.latency_ns > 0);
    assert_true(f.bandwidth > 0 && f.latency_ns > 0);
    assert_true(m.score > f.score && m.score < 1.0 && f.score >= 0);
    assert_int_equal(m.used + f.used, 0);
    assert_int_equal(sl_target_set_score(rt, "m", NO_SCORE), 0);
    assert_int_equal(sl_close(rt), 0);
    assert_int_equal(access("target-test-m", F_OK), -1);
}

/* ---- engines ---- */

static void engines_spread_as_they_say(void **state)
{
    (void)state;
    for (uint32_t engine = SL_PLACE_ROUND_ROBIN; engine <= SL_PLACE_RANDOM;
         engine++) {
        struct sl_config c = no_eviction();
        c.placement = engine;
        c.workers = 1;
        c.null_bytes = 4 * MIB;
        struct sl_runtime *rt = open_store(&c);
        uint64_t tag = tag_of(rt, "t");
        assert_int_equal(add(rt, "a", "ram", NULL, 4 * MIB, 0.7f), 0);
        assert_int_equal(add(rt, "b", "hbm", NULL, 4 * MIB, 0.6f), 0);
        for (int i = 0; i < 300; i++)
            assert_int_equal(put(rt, tag, i, 4096, NO_SCORE, 0), 0);
        uint64_t on[3] = {info_of(rt, "pinned").used, info_of(rt, "a").used,
                          info_of(rt, "b").used};
        for (int i = 0; i < 3; i++)
            assert_true(on[i] >=
                        (engine == SL_PLACE_RANDOM ? 60u : 99u) * 4096u);
        assert_int_equal(info_of(rt, "null").used, 0);
        for (int i = 0; i < 300; i++)
            assert_int_equal(check(rt, tag, i, 4096), 0);
        assert_int_equal(sl_close(rt), 0);
    }
}

/* ---- removal ---- */

static void removal_keeps_all_bytes_under_readers_and_writers(void **state)
{
    (void)state;
    struct sl_config c = no_eviction();
    c.pinned_bytes = 2 * MIB;
    c.ram_bytes = 64 * MIB;
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = tag_of(rt, "t");
    int stop = 0;
    struct user u[3];
    pthread_t th[3];
    uint64_t before = info_of(rt, "ram").used;
    for (int i = 0; i < 3; i++)
        u[i] = (struct user){.rt = rt,
                             .tag = tag,
                             .first = i * 40,
                             .n = 40,
                             .size = 70000u + (unsigned)i,
                             .writes = i != 0,
                             .stop = &stop};
    for (int i = 0; i < 40; i++)
        assert_int_equal(put(rt, tag, i, u[0].size, 0.7f, 0), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&th[i], NULL, use, &u[i]), 0);
    for (int round = 0; round < (int)STEPS(20) + 1; round++) {
        assert_int_equal(
            add(rt, "x", round % 2 ? "hbm" : "fault", NULL, 16 * MIB, 0.7f), 0);
        for (int i = 0; i < 10; i++)
            assert_int_equal(put(rt, tag, 200 + i, 50000, 0.7f, 0), 0);
        assert_true(info_of(rt, "x").used > 0);
        assert_int_equal(sl_target_remove(rt, "x"), 0);
        for (int i = 0; i < 10; i++)
            assert_int_equal(check(rt, tag, 200 + i, 50000), 0);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < 3; i++) {
        pthread_join(th[i], NULL);
        assert_int_equal(u[i].rc, 0);
        assert_true(u[i].rounds > 0);
    }
    assert_int_equal(sl_targets(rt, NULL, 0), 2);
    assert_int_equal(sl_tag_del(rt, tag), 0);
    assert_true(info_of(rt, "ram").used == before);
    assert_int_equal(sl_close(rt), 0);
}

static void removal_that_does_not_fit_loses_nothing(void **state)
{
    (void)state;
    struct sl_config c = no_eviction();
    c.pinned_bytes = 1 * MIB;
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = tag_of(rt, "t");
    assert_int_equal(add(rt, "x", "ram", NULL, 8 * MIB, 0.7f), 0);
    for (int i = 0; i < 60; i++)
        assert_int_equal(put(rt, tag, i, 100000, 0.7f, 0), 0);
    assert_int_equal(sl_target_remove(rt, "x"), SL_ENOSPC);
    assert_string_equal(info_of(rt, "x").state, "active");
    for (int i = 0; i < 60; i++)
        assert_int_equal(check(rt, tag, i, 100000), 0);
    assert_int_equal(put(rt, tag, 60, 100000, 0.7f, 0), 0); /* in use again */
    assert_int_equal(bytes_on(rt, tag, 60, "ram"), 100000);
    assert_int_equal(sl_close(rt), 0);
}

/* ---- restarts ---- */

struct dir {
    char path[64], file[96];
    struct sl_config c;
};

static void dir_make(struct dir *d)
{
    make_dir(d->path, sizeof(d->path));
    snprintf(d->file, sizeof(d->file), "%s.second", d->path);
    d->c = no_eviction();
    d->c.data_dir = d->path;
    d->c.file_bytes = 16 * MIB;
}

/* Ten durable blobs, most of them on a second file. */
static void dir_fill(struct dir *d)
{
    struct sl_runtime *rt = open_store(&d->c);
    uint64_t tag = tag_of(rt, "t");
    assert_int_equal(add(rt, "second", "file", d->file, 32 * MIB, 0.6f), 0);
    for (int i = 0; i < 10; i++)
        assert_int_equal(put(rt, tag, i, 100000, i % 5 ? 0.6f : -1, 1 + i % 2),
                         0);
    assert_true(info_of(rt, "second").used > 800000);
    assert_int_equal(info_of(rt, "second").number, 1);
    assert_int_equal(sl_close(rt), 0);
}

static void dir_drop(struct dir *d)
{
    remove_dir(d->path);
    unlink(d->file);
}

static void registered_files_are_opened_again(void **state)
{
    (void)state;
    struct dir d;
    dir_make(&d);
    dir_fill(&d);
    struct sl_runtime *rt = open_store(&d.c);
    uint64_t tag = tag_of(rt, "t");
    struct sl_target_info info = info_of(rt, "second");
    assert_true(info.score > 0.59 && info.score < 0.61);
    assert_true(info.capacity == 32 * MIB && info.used > 800000);
    for (int i = 0; i < 10; i++)
        assert_int_equal(check(rt, tag, i, 100000), 0);
    assert_int_equal(sl_target_remove(rt, "second"), 0);
    assert_int_equal(access(d.file, F_OK), -1);
    assert_int_equal(sl_target_remove(rt, "file"), SL_EINVAL);
    assert_int_equal(sl_close(rt), 0);
    rt = open_store(&d.c);
    tag = tag_of(rt, "t");
    for (int i = 0; i < 10; i++)
        assert_int_equal(check(rt, tag, i, 100000), 0);
    assert_int_equal(sl_targets(rt, NULL, 0), 2);
    /* Its number is not given again. */
    assert_int_equal(add(rt, "third", "file", d.file, MIB, 0.6f), 0);
    assert_int_equal(info_of(rt, "third").number, 2);
    assert_int_equal(sl_close(rt), 0);
    dir_drop(&d);
}

static void durable_bytes_stay_on_what_lasts(void **state)
{
    (void)state;
    struct dir d;
    dir_make(&d);
    struct sl_runtime *rt = open_store(&d.c);
    uint64_t tag = tag_of(rt, "t");
    assert_int_equal(add(rt, "r", "ram", NULL, 16 * MIB, 0.9f), 0);
    assert_int_equal(put(rt, tag, 0, 100000, 0.9f, 2), 0);
    assert_int_equal(bytes_on(rt, tag, 0, "file"), 100000);
    assert_int_equal(put(rt, tag, 1, 100000, 0.9f, 0), 0);
    assert_int_equal(bytes_on(rt, tag, 1, "ram"), 100000);
    assert_int_equal(sl_close(rt), 0);
    rt = open_store(&d.c);
    tag = tag_of(rt, "t");
    assert_int_equal(check(rt, tag, 0, 100000), 0);
    assert_int_equal(check(rt, tag, 1, 100000), 0); /* flushed by the close */
    assert_int_equal(sl_targets(rt, NULL, 0), 2);
    assert_int_equal(sl_close(rt), 0);
    dir_drop(&d);
}

static void a_registered_file_that_is_not_as_it_was_is_refused(void **state)
{
    (void)state;
    struct dir d;
    struct sl_runtime *rt = NULL;
    char moved[128];
    dir_make(&d);
    dir_fill(&d);
    snprintf(moved, sizeof(moved), "%s.moved", d.path);
    assert_int_equal(rename(d.file, moved), 0);
    assert_int_equal(sl_open(&d.c, &rt), SL_ENOTARGET);
    assert_int_equal(access(d.file, F_OK), -1); /* nor was it created */
    /* Another file in its place. */
    int fd = open(d.file, O_CREAT | O_RDWR, 0600);
    assert_int_equal(ftruncate(fd, 32 * (off_t)MIB), 0);
    assert_int_equal(sl_open(&d.c, &rt), SL_ENOTARGET);
    /* An empty one. */
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(sl_open(&d.c, &rt), SL_ESHRUNK);
    /* Cut off in the middle. */
    assert_int_equal(rename(moved, d.file), 0);
    close(fd);
    assert_int_equal(truncate(d.file, 300000), 0);
    assert_int_equal(sl_open(&d.c, &rt), SL_ESHRUNK);
    dir_drop(&d);
}

static void a_registered_file_of_another_runtime_is_busy(void **state)
{
    (void)state;
    struct dir a, b;
    struct sl_runtime *one, *two;
    dir_make(&a);
    dir_make(&b);
    one = open_store(&a.c);
    assert_int_equal(add(one, "x", "file", a.file, MIB, 0.5f), 0);
    b.c.data_dir = NULL; /* one with a directory waits for a dead owner */
    b.c.file_bytes = 0;
    two = open_store(&b.c);
    assert_int_equal(add(two, "x", "file", a.file, MIB, 0.5f), SL_EEXIST);
    assert_int_equal(sl_close(two), 0);
    b.c.file_path = a.file;
    b.c.file_bytes = MIB;
    assert_int_equal(sl_open(&b.c, &two), SL_EBUSY);
    assert_int_equal(sl_close(one), 0);
    dir_drop(&a);
    dir_drop(&b);
}

/* Nobody waits for it: who holds a file that is not ours yet is alive. */
static void an_empty_file_that_somebody_holds_is_busy(void **state)
{
    (void)state;
    const struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct dir d;
    dir_make(&d);
    struct sl_runtime *rt = open_store(&d.c);
    int fd = open(d.file, O_CREAT | O_RDWR, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &whole), 0);
    assert_int_equal(add(rt, "x", "file", d.file, MIB, 0.5f), SL_ETARGETBUSY);
    assert_int_equal(access(d.file, F_OK), 0);
    close(fd);
    assert_int_equal(add(rt, "x", "file", d.file, MIB, 0.5f), 0);
    assert_int_equal(sl_close(rt), 0);
    dir_drop(&d);
}

static void a_damaged_list_is_refused(void **state)
{
    (void)state;
    struct dir d;
    struct sl_runtime *rt = NULL;
    char list[96];
    dir_make(&d);
    dir_fill(&d);
    snprintf(list, sizeof(list), "%s/targets", d.path);
    int fd = open(list, O_RDWR);
    assert_int_equal(pwrite(fd, "9", 1, 20), 1);
    assert_int_equal(sl_open(&d.c, &rt), SL_ECORRUPT);
    assert_int_equal(ftruncate(fd, 10), 0);
    assert_int_equal(sl_open(&d.c, &rt), SL_ECORRUPT);
    /* Without it records name a target that nobody knows. */
    assert_int_equal(unlink(list), 0);
    assert_int_equal(sl_open(&d.c, &rt), SL_ENOTARGET);
    close(fd);
    dir_drop(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configured_targets_are_listed),
        cmocka_unit_test(bad_requests_have_codes_of_their_own),
        cmocka_unit_test(there_are_at_most_32_targets),
        cmocka_unit_test(a_score_asks_for_the_fastest_at_most_that_fast),
        cmocka_unit_test(a_put_larger_than_any_free_space_is_split),
        cmocka_unit_test(a_full_tier_takes_what_was_deleted_in_another_shard),
        cmocka_unit_test(a_measured_target_has_figures),
        cmocka_unit_test(a_target_is_measured_beside_its_users),
        cmocka_unit_test(engines_spread_as_they_say),
        cmocka_unit_test(removal_keeps_all_bytes_under_readers_and_writers),
        cmocka_unit_test(removal_that_does_not_fit_loses_nothing),
        cmocka_unit_test(registered_files_are_opened_again),
        cmocka_unit_test(durable_bytes_stay_on_what_lasts),
        cmocka_unit_test(a_registered_file_that_is_not_as_it_was_is_refused),
        cmocka_unit_test(a_registered_file_of_another_runtime_is_busy),
        cmocka_unit_test(an_empty_file_that_somebody_holds_is_busy),
        cmocka_unit_test(a_damaged_list_is_refused),
    };
    return cmocka_run_group_tests_name("targets", tests, NULL, NULL);
}
