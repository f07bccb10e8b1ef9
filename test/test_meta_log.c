/* SPDX-License-Identifier: Apache-2.0 */
/* The log of the metadata: what a kill, a torn end, an older life and a disk
 * that fails leave of it. A process that ends without a close is a child. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "help.h"
#include "meta_log_help.h"
#include "store/meta_log.h"
#include "store/tag_set.h"

#include <sched.h>
#include <xxhash.h>

/* ---- kills ---- */

static void put_all(struct meta *m)
{
    help_tags(m, 1);
    for (uint64_t i = 0; i < NUMBERS; i++)
        put(m, i, 1 + i, i % 50 == 0, 0);
}

static void change_all(struct meta *m)
{
    struct meta_extent e[2];
    struct job j = {.extents = e};

    for (uint64_t i = 0; i < NUMBERS; i += 2)
        put(m, i, 1000 + i, 0, 0);
    for (uint64_t i = 1; i < NUMBERS; i += 4) {
        pattern_put(&j, 0, i, 1, 0);
        j.c.op = META_DEL_BLOB;
        assert_int_equal(submit_wait(m, &j), 0);
    }
}

static void acknowledged_changes_are_replayed(void **state)
{
    struct meta *m;

    in_child(*state, put_all);
    in_child(*state, change_all); /* replays, and is gone too */
    m = open_meta(*state);
    assert_non_null(strstr(help_line, "150 changes of the log replayed"));
    load(m);
    assert_int_equal(found.tags, 1);
    for (uint64_t i = 0; i < NUMBERS; i++)
        assert_int_equal(found.version[i], i % 2 == 0   ? 1000 + i
                                           : i % 4 == 1 ? 0
                                                        : 1 + i);
    meta_close(m);
    m = open_meta(*state); /* nothing is left to replay */
    assert_null(strstr(help_line, "replayed"));
    load(m);
    assert_int_equal(found.blobs, NUMBERS / 4 * 3);
    meta_close(m);
}

static void del_tag(struct meta *m)
{
    struct job j = {.c = {.op = META_DEL_TAG}};

    assert_int_equal(submit_wait(m, &j), 0);
}

static void deleted_tag_stays_deleted(void **state)
{
    struct meta *m;

    in_child(*state, put_all);
    in_child(*state, del_tag);
    m = open_meta(*state);
    load(m);
    assert_int_equal(found.tags + found.blobs, 0);
    put(m, 0, 1, 0, SL_ENOTAG);
    meta_close(m);
}

/* ---- what is no frame ---- */

/* The frames of a log file, by their ends; returns how many. */
static unsigned frame_ends(const uint8_t *log, size_t n, size_t *end,
                           unsigned max)
{
    size_t at = 0;
    unsigned k = 0;

    while (k < max && at + LOG_HEAD + LOG_SUM <= n &&
           !memcmp(log + at, "SLOG", 4)) {
        at += LOG_HEAD + LOG_SUM + log[at + 4] + 256u * log[at + 5];
        end[k++] = at;
    }
    return k;
}

static void expect_first(const char *dir, unsigned blobs)
{
    struct meta *m = open_meta(dir);

    load(m);
    assert_int_equal(found.blobs, blobs);
    for (unsigned i = 0; i < blobs; i++)
        assert_int_equal(found.version[i], 1 + i);
    meta_close(m);
}

struct copy {
    uint8_t *log, *data;
    size_t log_bytes, data_bytes;
    char *log_path, *data_path;
};

static void copy_take(struct copy *c, const char *dir)
{
    c->log_path = help_path(dir, "log");
    c->data_path = help_path(dir, "meta/data.mdb");
    c->log = help_read(c->log_path, &c->log_bytes);
    c->data = help_read(c->data_path, &c->data_bytes);
}

static void copy_put(const struct copy *c)
{
    help_write(c->log_path, c->log, c->log_bytes);
    help_write(c->data_path, c->data, c->data_bytes);
}

static void copy_free(struct copy *c)
{
    free(c->log);
    free(c->data);
    free(c->log_path);
    free(c->data_path);
}

static void put_loose(struct meta *m)
{
    help_tags(m, 1);
    for (uint64_t i = 0; i < NUMBERS; i++)
        put(m, i, 1 + i, 0, 0);
}

/* Nothing of it was synced, so a power cut may take any of it. */
static void torn_or_damaged_end_is_cut_cleanly(void **state)
{
    size_t end[NUMBERS + 2];
    struct copy c;
    unsigned n;

    help_seed();
    in_child(*state, put_loose);
    copy_take(&c, *state);
    n = frame_ends(c.log, c.log_bytes, end, NUMBERS + 2);
    assert_int_equal(n, NUMBERS + 2); /* the beginning, a tag, the blobs */
    for (unsigned round = 0; round < (SLOW_THREADS ? 12u : 60u); round++) {
        unsigned k = 2 + (unsigned)help_random(NUMBERS);
        size_t at = end[k - 1] + help_random(end[k] - end[k - 1]);
        copy_put(&c);
        if (round % 2) { /* a byte of frame k is another */
            uint8_t byte = (uint8_t)(c.log[at] ^ (1u + help_random(255)));
            int fd = open(c.log_path, O_WRONLY);
            assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
            close(fd);
        } else { /* the file ends inside of it */
            assert_int_equal(truncate(c.log_path, (off_t)at), 0);
        }
        expect_first(*state, k - 2);
    }
    copy_free(&c);
}

/* With put_all: the beginning, a tag and the blobs 0 to 150. */
#define SYNCED (2u + 151u)

/* Bytes from `at` on become others; n of them at most, within the file. */
static void spoil(const struct copy *c, size_t at, size_t n)
{
    uint8_t bytes[1024];
    int fd = open(c->log_path, O_WRONLY);

    n = n < c->log_bytes - at ? n : c->log_bytes - at;
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)(c->log[at + i] ^ (1u + help_random(255)));
    assert_int_equal(pwrite(fd, bytes, n, (off_t)at), n);
    close(fd);
}

static void expect_refused(const struct copy *c, const char *dir, size_t at,
                           unsigned frame)
{
    struct meta_config config = {.dir = dir, .delay_ms = LONG_MS};
    struct meta *m = NULL;
    struct copy left;
    char want[128];

    help_line[0] = '\0';
    assert_int_equal(meta_open(&config, &m), SL_ECORRUPT);
    snprintf(want, sizeof want,
             "log: damaged at byte %zu, frame %u; %u frames were synced, ", at,
             frame, SYNCED);
    if (!strstr(help_line, want))
        print_message("%s, not %s\n", help_line, want);
    assert_non_null(strstr(help_line, want));
    copy_take(&left, dir);
    assert_int_equal(left.data_bytes, c->data_bytes);
    assert_memory_equal(left.data, c->data, c->data_bytes);
    copy_free(&left);
}

static void damage_where_the_log_was_synced_is_refused(void **state)
{
    size_t end[NUMBERS + 2];
    struct copy c;

    help_seed();
    in_child(*state, put_all);
    copy_take(&c, *state);
    assert_int_equal(frame_ends(c.log, c.log_bytes, end, NUMBERS + 2),
                     NUMBERS + 2);
    for (unsigned k = 0; k < NUMBERS + 2; k += SLOW_THREADS ? 7u : 1u) {
        size_t from = k ? end[k - 1] : 0;
        size_t at = from + help_random(end[k] - from);
        copy_put(&c);
        spoil(&c, at, k % 3 ? 1 : 1 + help_random(1024));
        if (k < SYNCED)
            expect_refused(&c, *state, from, k);
        else
            expect_first(*state, k - 2);
    }
    copy_put(&c); /* and nothing was changed on the way */
    expect_first(*state, NUMBERS);
    copy_free(&c);
}

static void put_few(struct meta *m)
{
    help_tags(m, 1);
    for (uint64_t i = 0; i < 5; i++)
        put(m, i, 1 + i, 1, 0);
}

/* A power cut took the beginning of a log, so the generation began again over
 * frames that are whole and have numbers above those there are now. */
static void frames_of_an_earlier_life_are_no_proof(void **state)
{
    struct copy c;

    help_seed();
    in_child(*state, put_loose);
    copy_take(&c, *state);
    spoil(&c, 0, LOG_HEAD);
    in_child(*state, put_few);
    expect_first(*state, 5);
    copy_free(&c);
}

/* As a log from before frames told what was synced. */
static void log_that_tells_no_sync_is_cut_as_ever(void **state)
{
    size_t end[NUMBERS + 2];
    struct copy c;
    unsigned n;
    uint64_t sum;

    help_seed();
    in_child(*state, put_all);
    copy_take(&c, *state);
    n = frame_ends(c.log, c.log_bytes, end, NUMBERS + 2);
    memcpy(&sum, c.log + LOG_AT_GENERATION, sizeof sum); /* seeds the first */
    for (unsigned i = 0; i < n; i++) {
        uint8_t *p = c.log + (i ? end[i - 1] : 0);
        size_t bytes = (size_t)(c.log + end[i] - p) - LOG_SUM;
        memset(p + LOG_AT_SYNCED, 0, LOG_HEAD - LOG_AT_SYNCED);
        sum = XXH3_64bits_withSeed(p, bytes, sum);
        memcpy(p + bytes, &sum, sizeof sum);
    }
    copy_put(&c);
    expect_first(*state, NUMBERS);
    copy_put(&c);
    spoil(&c, end[49], 1);
    expect_first(*state, 48);
    copy_free(&c);
}

static void log_of_another_store_or_time_is_ignored(void **state)
{
    char *other = help_path(*state, "other");
    struct copy c, d;
    struct meta *m;

    assert_int_equal(mkdir(other, 0700), 0);
    in_child(*state, put_all);
    copy_take(&c, *state);
    in_child(other, put_all);
    copy_take(&d, other);
    help_write(c.log_path, d.log, d.log_bytes);
    expect_first(*state, 0);
    copy_put(&c);
    m = open_meta(*state); /* commits */
    meta_close(m);
    in_child(*state, change_all);
    help_write(c.log_path, c.log, c.log_bytes);
    expect_first(*state, NUMBERS);
    copy_free(&c);
    copy_free(&d);
    free(other);
}

/* ---- changes that fail ---- */

static void fail_some(struct meta *m)
{
    help_tags(m, 1);
    put(m, 0, 1, 0, 0);
    sync_code = SL_EIO;
    for (uint64_t i = 1; i < 10; i++)
        put(m, i, 1, 1, SL_EIO);
    sync_code = 0;
}

static void fail_some_then_one(struct meta *m)
{
    struct meta_extent e[9][2];
    struct batch batch = BATCH_INIT;
    struct job j[9];

    help_tags(m, 1);
    put(m, 0, 1, 0, 0);
    sync_code = SL_EIO; /* a group whose later frames stay in the file */
    for (uint64_t i = 0; i < 9; i++) {
        j[i] = (struct job){.extents = e[i]};
        pattern_put(&j[i], 0, 1 + i, 1, 2);
        j[i].c.sync = 1;
        batch_submit(&batch, m, &j[i]);
    }
    batch_wait(&batch);
    sync_code = 0;
    put(m, 1, 1, 1, 0);
}

static void failed_change_is_not_replayed(void **state)
{
    struct meta *m;

    in_child(*state, fail_some);
    m = open_meta(*state);
    load(m);
    assert_int_equal(found.blobs, 1);
    meta_close(m);
    in_child(*state, fail_some_then_one);
    m = open_meta(*state);
    load(m);
    assert_int_equal(found.blobs, 2);
    meta_close(m);
}

static void failing_commit_loses_no_change(void **state)
{
    struct meta *m = open_meta(*state);

    help_tags(m, 1);
    put(m, 0, 1, 0, 0);
    sync_code = SL_EIO;
    assert_int_equal(help_flush(m), SL_EIO);
    put(m, 1, 1, 0, 0); /* the log takes it */
    put(m, 2, 1, 1, SL_EIO);
    meta_close(m); /* its commit fails too */
    sync_code = 0;
    m = open_meta(*state);
    load(m);
    assert_int_equal(found.blobs, 2);
    assert_int_equal(found.version[0], 1);
    assert_int_equal(found.version[1], 1);
    sync_code = SL_EIO;
    put(m, 3, 1, 0, 0);
    assert_int_equal(help_flush(m), SL_EIO);
    sync_code = 0;
    assert_int_equal(help_flush(m), 0);
    put(m, 4, 1, 0, 0);
    load(m);
    assert_int_equal(found.blobs, 4);
    meta_close(m);
}

static void change_whose_bytes_are_lost_leaves_the_one_before(void **state)
{
    struct meta_extent e;
    struct meta *m;

    in_child(*state, put_all);
    pattern_extent(&e, 1000 + 10, 1); /* of blob 10's second version */
    meta_close(open_meta(*state));
    in_child(*state, change_all);
    bad_loc = e.loc;
    m = open_meta(*state);
    bad_loc = 0;
    assert_non_null(strstr(help_line, "149 changes of the log replayed, 1 dr"));
    load(m);
    assert_int_equal(found.version[10], 11);
    assert_int_equal(found.version[12], 1012);
    meta_close(m);
}

/* ---- at once ---- */

static int now(struct meta *m, uint64_t number, int sync)
{
    struct meta_extent e[2];
    struct job j = {.extents = e};

    pattern_put(&j, 0, number, 1, 2);
    j.c.sync = sync;
    return meta_now(m, &j.c);
}

static void append_at_once(struct meta *m)
{
    struct job flush = {.c = {.op = META_FLUSH}};
    uint64_t last;

    help_tags(m, 1);
    while (!now(m, 0, 0)) /* the committer may still be at its work */
        sched_yield();
    last = meta_last(m);
    assert_true(last > meta_settled(m));
    assert_int_equal(now(m, 1, 1), 0); /* a sync is the committer's */
    assert_int_equal(meta_now(m, &flush.c), 0);
    assert_true(meta_last(m) == last);
}

/* Without the committer, and a process that is killed behind it loses nothing.
 */
static void change_that_is_not_synced_is_appended_at_once(void **state)
{
    struct meta *m;

    in_child(*state, append_at_once);
    m = open_meta(*state);
    load(m);
    assert_int_equal(found.blobs, 1);
    assert_int_equal(found.version[0], 1);
    while (!now(m, 2, 0))
        sched_yield();
    meta_close(m); /* commits what nobody submitted */
    m = open_meta(*state);
    assert_null(strstr(help_line, "replayed"));
    load(m);
    assert_int_equal(found.blobs, 2);
    meta_close(m);
}

/* ---- order and size ---- */

static void changes_settle_with_the_commit(void **state)
{
    struct meta *m = open_meta(*state);

    help_tags(m, 1);
    put(m, 0, 1, 1, 0);
    assert_true(meta_last(m) > meta_settled(m));
    assert_int_equal(help_flush(m), 0);
    assert_true(meta_last(m) == meta_settled(m));
    put(m, 0, 2, 1, 0);
    assert_true(meta_last(m) > meta_settled(m));
    meta_close(m);
}

static void record_larger_than_the_log_takes_is_stored(void **state)
{
    enum { N = 40000 }; /* 1.6 MB of extents */
    struct meta_extent *e = calloc(N, sizeof *e);
    struct job j = {.extents = e};
    struct meta *m = open_meta(*state);

    assert_non_null(e);
    help_tags(m, 1);
    put(m, 1, 1, 0, 0);
    for (uint64_t v = 1; v < 4; v++) {
        pattern_put(&j, 0, 0, v, N);
        assert_int_equal(submit_wait(m, &j), 0);
        assert_true(meta_last(m) == meta_settled(m));
    }
    pattern_put(&j, 7, 0, 1, N);
    assert_int_equal(submit_wait(m, &j), SL_ENOTAG);
    meta_close(m);
    m = open_meta(*state);
    load(m);
    assert_int_equal(found.blobs, 2);
    assert_int_equal(found.version[0], 3);
    meta_close(m);
    free(e);
}

static void long_log_is_committed_by_itself(void **state)
{
    enum { N = 5000, LARGE = 400 };
    struct meta_extent e[LARGE];
    struct job j = {.extents = e};
    struct meta *m = open_meta(*state);
    uint64_t settled;
    struct stat st;
    char *log = help_path(*state, "log");

    help_tags(m, 1);
    settled = meta_settled(m);
    for (unsigned i = 0; i < N; i++) {
        pattern_put(&j, 0, i % NUMBERS, 1 + i, LARGE);
        assert_int_equal(submit_wait(m, &j), 0);
    }
    assert_true(meta_settled(m) > settled);
    assert_int_equal(stat(log, &st), 0);
    assert_true(st.st_size < 2 * (off_t)LOG_LIMIT);
    meta_close(m);
    free(log);
}

/* ---- the set of tags ---- */

static void tag_set_follows_a_model(void **state)
{
    static uint8_t model[300];
    struct tag_set s = {0};

    (void)state;
    help_seed();
    for (unsigned i = 0; i < 200000; i++) {
        uint64_t k = help_random(300), id = k * UINT64_C(0x100000001);
        assert_int_equal(tag_set_has(&s, id), model[k]);
        if (help_random(2)) {
            assert_int_equal(tag_set_add(&s, id), 0);
            model[k] = 1;
        } else {
            tag_set_remove(&s, id);
            model[k] = 0;
        }
    }
    tag_set_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(acknowledged_changes_are_replayed),
        CASE(deleted_tag_stays_deleted),
        CASE(torn_or_damaged_end_is_cut_cleanly),
        CASE(damage_where_the_log_was_synced_is_refused),
        CASE(frames_of_an_earlier_life_are_no_proof),
        CASE(log_that_tells_no_sync_is_cut_as_ever),
        CASE(log_of_another_store_or_time_is_ignored),
        CASE(failed_change_is_not_replayed),
        CASE(failing_commit_loses_no_change),
        CASE(change_whose_bytes_are_lost_leaves_the_one_before),
        CASE(change_that_is_not_synced_is_appended_at_once),
        CASE(changes_settle_with_the_commit),
        CASE(record_larger_than_the_log_takes_is_stored),
        CASE(long_log_is_committed_by_itself),
        cmocka_unit_test(tag_set_follows_a_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
