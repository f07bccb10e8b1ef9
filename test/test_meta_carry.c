/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes that the log carries with a record, until they are in their place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "meta_log_help.h"
#include "store/meta_carry.h"
#include "store/meta_log.h"
#include "store/meta_record.h"

#include <sched.h>
#include <signal.h>
#include <sys/resource.h>

static const char *carry_dir;
static unsigned n_owed, n_landed, n_restored;
static int land_code;

static void carried_bytes(uint8_t *to, uint64_t number)
{
    for (unsigned i = 0; i < PATTERN_STORED; i++)
        to[i] = (uint8_t)(i * 7u + number);
}

/* The log's own copy, not the caller's. */
static const uint8_t *owed_bytes;

static void fake_owe(void *user, struct meta_change *c)
{
    (void)user;
    n_owed += c->n_carried;
    owed_bytes = c->carried[0].kept;
}

static int fake_land(void *user)
{
    uint8_t want[PATTERN_STORED];

    (void)user;
    carried_bytes(want, 1);
    if (owed_bytes && memcmp(owed_bytes, want, sizeof want) != 0)
        return SL_ECHECKSUM;
    n_landed++;
    return land_code;
}

static int fake_restore(void *user, const struct meta_extent *e,
                        const uint8_t *bytes)
{
    uint8_t want[PATTERN_STORED];

    (void)user;
    carried_bytes(want, e->offset / PATTERN_STORED);
    if (memcmp(bytes, want, e->bytes) != 0)
        return SL_EIO;
    n_restored++;
    return SL_OK;
}

static struct meta *open_carrier(const char *dir)
{
    struct meta_config c = {.dir = dir,
                            .sync = fake_sync,
                            .owe = fake_owe,
                            .land = fake_land,
                            .restore = fake_restore,
                            .delay_ms = LONG_MS};
    struct meta *m = NULL;

    help_line[0] = '\0';
    assert_int_equal(meta_open(&c, &m), 0);
    return m;
}

/* Three extents, of which the log gets the last two. */
static int carry_put(struct meta *m, uint64_t number, int sync)
{
    uint8_t bytes[2][PATTERN_STORED];
    struct meta_carried carried[2] = {{1, bytes[0], NULL}, {2, bytes[1], NULL}};
    struct meta_extent e[3];
    struct job j = {.extents = e};

    carried_bytes(bytes[0], 1);
    carried_bytes(bytes[1], 2);
    pattern_put(&j, 0, number, 1, 3);
    j.c.sync = sync;
    j.c.carried = carried;
    j.c.n_carried = 2;
    return submit_wait(m, &j);
}

static void carry_some(struct meta *m)
{
    help_tags(m, 1);
    meta_close(m);
    m = open_carrier(carry_dir);
    sync_code = SL_EIO; /* data is not synced for these */
    for (uint64_t i = 0; i < 20; i++)
        assert_int_equal(carry_put(m, i, i % 2 == 0), 0);
    sync_code = 0;
    assert_int_equal(carry_put(m, 20, 1), 0);
    assert_int_equal(n_owed, 2 * 21);
    assert_int_equal(n_landed, 0); /* a commit's work */
}

static void carried_bytes_are_restored_before_their_records(void **state)
{
    struct meta *m;

    carry_dir = *state;
    n_restored = 0;
    in_child(*state, carry_some);
    m = open_carrier(*state);
    assert_non_null(strstr(help_line, "21 changes of the log replayed"));
    assert_int_equal(n_restored, 2 * 21);
    load(m);
    assert_int_equal(found.blobs, 21);
    meta_close(m);
    meta_close(open_carrier(*state)); /* LMDB has them */
    assert_int_equal(n_restored, 2 * 21);
}

static void commit_waits_for_carried_bytes(void **state)
{
    struct meta *m = open_carrier(*state);

    help_tags(m, 1);
    n_landed = 0;
    owed_bytes = NULL;
    assert_int_equal(carry_put(m, 1, 1), 0);
    assert_true(owed_bytes != NULL);
    uint64_t last = meta_last(m);
    land_code = SL_EIO;
    assert_int_equal(help_flush(m), SL_EIO);
    assert_true(meta_settled(m) < last);
    /* The log has them, so nothing is lost, and it takes more. */
    assert_int_equal(carry_put(m, 2, 0), 0);
    assert_int_equal(carry_put(m, 3, 1), 0);
    assert_true(meta_settled(m) < last);
    land_code = 0;
    assert_int_equal(help_flush(m), 0);
    assert_int_equal(meta_settled(m), meta_last(m));
    assert_int_equal(carry_put(m, 4, 0), 0);
    meta_close(m);
}

/* The log has bytes that cannot land, but not for ever. */
static void log_of_bytes_that_cannot_land_is_bounded(void **state)
{
    enum { LARGE = LOG_PAYLOAD_MAX / 2u / META_EXTENT_BYTES };
    struct meta_extent *e = calloc(LARGE, sizeof *e);
    struct job j = {.extents = e};
    struct meta *m = open_carrier(*state);
    unsigned n = 0;
    int rc;

    assert_non_null(e);
    help_tags(m, 1);
    owed_bytes = NULL;
    assert_int_equal(carry_put(m, 1, 1), 0);
    land_code = SL_EIO;
    do {
        pattern_put(&j, 0, 2, ++n, LARGE);
        rc = submit_wait(m, &j);
    } while (!rc && n < 1000);
    assert_int_equal(rc, SL_EIO);
    assert_in_range(n, LOG_LIMIT / LOG_PAYLOAD_MAX, 1000 - 1);
    land_code = 0;
    while (help_flush(m) != 0) /* it is tried again after a while only */
        sched_yield();
    assert_int_equal(submit_wait(m, &j), 0);
    meta_close(m);
    free(e);
}

/* False: the log does not take it. */
static int now_put(struct meta *m, struct job *j)
{
    for (unsigned i = 0; i < 100; i++) { /* the committer may be at work */
        if (meta_now(m, &j->c))
            return 1;
        sched_yield();
    }
    return 0;
}

static void bytes_of_a_change_taken_back_are_the_callers(void **state)
{
    enum { LARGE = 400 }; /* a record longer than two units */
    uint8_t bytes[2][PATTERN_STORED];
    struct meta_carried carried[2] = {{1, bytes[0], NULL}, {2, bytes[1], NULL}};
    struct meta_extent e[3], large[LARGE];
    struct job j = {.extents = e}, other = {.extents = large};
    struct rlimit was, full;
    struct stat st;
    struct meta *m = open_carrier(*state);
    char *log = help_path(*state, "log");
    uint64_t n = 0;

    help_tags(m, 1);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(stat(log, &st), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    full = was;
    full.rlim_cur = (rlim_t)st.st_size;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &full), 0);
    carried_bytes(bytes[0], 1);
    carried_bytes(bytes[1], 2);
    do {
        pattern_put(&j, 0, n++, 1, 3);
        j.c.carried = carried;
        j.c.n_carried = 2;
    } while (now_put(m, &j));
    assert_true(n * sizeof bytes + LOG_PAYLOAD_MAX / 2u > (uint64_t)st.st_size);
    /* Another change gets the memory of the frame that was taken back. */
    pattern_put(&other, 0, n, 1, LARGE);
    assert_int_equal(submit_wait(m, &other), 0);
    assert_int_equal(submit_wait(m, &j), 0);
    assert_int_equal(help_flush(m), 0); /* fake_land looks */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    meta_close(m);
    free(log);
}

static int take(void *user, const struct meta_extent *e, const uint8_t *bytes)
{
    uint64_t *sum = user;

    for (uint32_t i = 0; i < e->bytes; i++)
        *sum += bytes[i];
    return SL_OK;
}

/* A sum of the frame that fits does not make its payload right. */
static void damaged_payload_with_bytes_is_refused(void **state)
{
    uint8_t bytes[2][PATTERN_STORED] = {{1}, {2}};
    struct meta_carried carried[2] = {{0, bytes[0], NULL}, {2, bytes[1], NULL}};
    struct meta_extent e[3];
    struct job j = {.extents = e};
    uint64_t sum = 0;

    (void)state;
    help_seed();
    pattern_put(&j, 0, 1, 1, 3);
    j.c.carried = carried;
    j.c.n_carried = 2;
    size_t n = carry_bound(&j.c);
    uint8_t *p = malloc(n);
    assert_non_null(p);
    carry_encode(&j.c, p);
    struct log_frame f = {LOG_CARRY_BLOB, p, (uint32_t)n};
    assert_int_equal(carry_each(&f, take, &sum), 0);
    assert_int_equal(sum, 3);
    for (size_t cut = 0; cut < n; cut += 1 + cut / 64) {
        uint8_t *part = malloc(cut + 1); /* so that ASan sees its end */
        assert_non_null(part);
        memcpy(part, p, cut);
        f = (struct log_frame){LOG_CARRY_BLOB, part, (uint32_t)cut};
        assert_int_equal(carry_each(&f, take, &sum), SL_ECORRUPT);
        free(part);
    }
    f = (struct log_frame){LOG_CARRY_BLOB, p, (uint32_t)n};
    for (unsigned i = 0; i < 5000; i++) {
        size_t at = help_random(n - sizeof bytes), bit = help_random(8);
        p[at] ^= (uint8_t)(1u << bit);
        int rc = carry_each(&f, take, &sum);
        assert_true(rc == SL_ECORRUPT || rc == SL_OK);
        p[at] ^= (uint8_t)(1u << bit);
    }
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(carried_bytes_are_restored_before_their_records),
        CASE(commit_waits_for_carried_bytes),
        CASE(log_of_bytes_that_cannot_land_is_bounded),
        CASE(bytes_of_a_change_taken_back_are_the_callers),
        cmocka_unit_test(damaged_payload_with_bytes_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
