/* SPDX-License-Identifier: Apache-2.0 */
/* What the committer may count on after a sync or a write that failed, and
 * which sync covers which bytes. The disk's calls are the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "meta_help.h"

#include <errno.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define LONG_MS 3600000u /* no commit by itself */

/* ---- a disk ---- */

static ino_t log_ino;
static int fail_sync, fail_write; /* the next one of the log, with this */
static off_t log_end;             /* behind the last byte written to the log */

static int is_log(int fd)
{
    struct stat st;

    return log_ino && !fstat(fd, &st) && st.st_ino == log_ino;
}

/* Seen by LMDB, too. */
#pragma GCC visibility push(default)
ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    if (is_log(fd)) {
        if (fail_write) {
            errno = fail_write;
            fail_write = 0;
            return -1;
        }
        log_end = at + (off_t)n > log_end ? at + (off_t)n : log_end;
    }
    return syscall(SYS_pwrite64, fd, p, n, at);
}

/* As Linux does: it reports the failure once, calls the pages clean, and what
 * they held never reaches the disk. */
static int lose(int fd)
{
    uint8_t none[4096] = {0};

    for (off_t at = 0; at < log_end; at += (off_t)sizeof none)
        if (syscall(SYS_pwrite64, fd, none, sizeof none, at) < 0)
            abort();
    errno = fail_sync;
    fail_sync = 0;
    return -1;
}

int fdatasync(int fd)
{
    if (fail_sync && is_log(fd))
        return lose(fd);
    return (int)syscall(SYS_fdatasync, fd);
}
#pragma GCC visibility pop

/* ---- a store's side ---- */

/* Changes whose carried bytes the log alone has, have landed, were synced. */
static unsigned owed, landed, synced;

static int fake_sync(void *user)
{
    (void)user;
    synced = landed;
    return SL_OK;
}

static void fake_owe(void *user, struct meta_change *c)
{
    (void)user;
    (void)c;
    owed++;
}

static int fake_land(void *user)
{
    (void)user;
    landed += owed;
    owed = 0;
    return SL_OK;
}

static struct meta *open_meta(const char *dir)
{
    struct meta_config c = {.dir = dir,
                            .sync = fake_sync,
                            .owe = fake_owe,
                            .land = fake_land,
                            .delay_ms = LONG_MS};
    struct meta *m = NULL;
    char *path = help_path(dir, "log");
    struct stat st;

    assert_int_equal(meta_open(&c, &m), 0);
    assert_int_equal(stat(path, &st), 0);
    log_ino = st.st_ino;
    free(path);
    return m;
}

static int setup(void **state)
{
    *state = help_dir();
    log_ino = 0;
    fail_sync = fail_write = 0;
    log_end = 0;
    return 0;
}

static int teardown(void **state)
{
    log_ino = 0;
    help_remove(*state);
    return 0;
}

static int put(struct meta *m, uint64_t number, int sync)
{
    struct meta_extent e[2];
    struct job j = {.extents = e};

    pattern_put(&j, 0, number, 1, 2);
    j.c.sync = sync;
    return submit_wait(m, &j);
}

static int count_blob(void *user, const struct meta_blob *b)
{
    unsigned *n = user;

    assert_true(pattern_fits(b));
    n[b->created_ns]++;
    return 0;
}

/* ---- tests ---- */

static void work(const char *dir)
{
    struct meta *m = open_meta(dir);

    help_tags(m, 1);
    assert_int_equal(put(m, 0, 0), 0); /* in the log, not synced */
    fail_sync = EIO;
    assert_int_equal(put(m, 1, 1), SL_EIO);
    assert_int_equal(put(m, 2, 1), 0);
    _exit(0);
}

/* The frames before it may be lost with it, and what follows hangs on them. */
static void sync_of_the_log_that_failed_is_not_built_upon(void **state)
{
    unsigned n[3] = {0};
    int status = 1;
    struct meta *m;
    pid_t child = fork();

    if (child == 0)
        work(*state);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    m = open_meta(*state);
    assert_int_equal(meta_load(m, NULL, count_blob, n), 0);
    assert_int_equal(n[2], 1);
    assert_int_equal(n[1], 0);
    meta_close(m);
}

struct pair {
    struct meta *m;
    struct job carrier, plain;
    struct batch batch;
    uint8_t bytes[PATTERN_STORED];
    struct meta_carried carried;
};

/* On the committer, so that both are one group. */
static void submit_both(struct meta_change *c, int code)
{
    const struct job *first = c->user;
    struct pair *p;

    memcpy(&p, first->name, sizeof p);
    batch_submit(&p->batch, p->m, &p->carrier);
    batch_submit(&p->batch, p->m, &p->plain);
    job_done(c, code);
}

/* A sync for one change of a group comes before the bytes of another land. */
static void commit_syncs_bytes_that_landed_behind_the_last_sync(void **state)
{
    struct meta_extent e[2][1];
    struct pair p = {.batch = BATCH_INIT,
                     .carrier = {.extents = e[0]},
                     .plain = {.extents = e[1]}};
    struct pair *at = &p;
    struct job first = {.c = {.op = META_FLUSH, .done = submit_both}};

    owed = landed = synced = 0;
    p.m = open_meta(*state);
    help_tags(p.m, 1);
    pattern_put(&p.carrier, 0, 0, 1, 1);
    p.carried = (struct meta_carried){0, p.bytes, NULL};
    p.carrier.c.carried = &p.carried;
    p.carrier.c.n_carried = 1;
    p.carrier.c.sync = 1;
    pattern_put(&p.plain, 0, 1, 1, 1);
    p.plain.c.sync = 1;
    memcpy(first.name, &at, sizeof at);
    first.c.user = &first;
    first.batch = &p.batch;
    p.batch.left = 1;
    meta_submit(p.m, &first.c);
    batch_wait(&p.batch);
    assert_int_equal(p.carrier.code | p.plain.code, 0);
    assert_int_equal(owed, 1);
    assert_int_equal(help_flush(p.m), 0);
    assert_int_equal(landed, 1);
    assert_int_equal(synced, 1);
    meta_close(p.m);
}

/* The log is full: LMDB takes it, and the change is in the log behind that. */
static void change_tried_again_after_a_commit_is_not_settled(void **state)
{
    struct meta *m = open_meta(*state);

    help_tags(m, 1);
    assert_int_equal(put(m, 0, 0), 0);
    fail_write = ENOSPC;
    assert_int_equal(put(m, 1, 0), 0);
    assert_true(meta_settled(m) > 0);
    assert_true(meta_last(m) > meta_settled(m));
    assert_int_equal(help_flush(m), 0);
    assert_true(meta_last(m) == meta_settled(m));
    meta_close(m);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(sync_of_the_log_that_failed_is_not_built_upon),
        CASE(commit_syncs_bytes_that_landed_behind_the_last_sync),
        CASE(change_tried_again_after_a_commit_is_not_settled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
