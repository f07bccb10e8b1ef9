/* SPDX-License-Identifier: Apache-2.0 */
/* Metadata when things go wrong: killed processes, full disks, damaged files.
 * What may crash runs in a child; the parent looks at how it ended. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "help.h"
#include "meta_help.h"
#include "store/meta_record.h"

#include <lmdb.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define NUMBERS 4000u
#define CHILD_WRONG 100 /* exit status: loaded what was never stored */

static int setup(void **state)
{
    *state = help_dir();
    return 0;
}

static int teardown(void **state)
{
    help_remove(*state);
    return 0;
}

static int try_open(const char *dir, uint64_t map_bytes, struct meta **m)
{
    struct meta_config c = {.dir = dir, .map_bytes = map_bytes};

    help_line[0] = '\0';
    return meta_open(&c, m);
}

struct found {
    uint8_t there[NUMBERS];
    unsigned blobs, wrong;
};

static struct found found;

static int on_blob(void *user, const struct meta_blob *b)
{
    struct found *f = user;

    f->blobs++;
    if (b->created_ns >= NUMBERS || !pattern_fits(b))
        f->wrong++;
    else
        f->there[b->created_ns] = 1;
    return 0;
}

static int load(struct meta *m)
{
    memset(&found, 0, sizeof found);
    return meta_load(m, NULL, on_blob, &found);
}

static void reopen_and_load(const char *dir)
{
    struct meta *m;

    assert_int_equal(try_open(dir, 0, &m), 0);
    assert_int_equal(load(m), 0);
    assert_int_equal(found.wrong, 0);
    meta_close(m);
}

/* Pages of each kind: small and large records, free pages, two levels. */
static void populate(const char *dir, unsigned n)
{
    struct job *jobs = jobs_make(n, 300);
    struct batch batch = BATCH_INIT;
    struct meta *m;

    assert_int_equal(try_open(dir, 0, &m), 0);
    help_tags(m, 3);
    for (unsigned i = 0; i < n; i++) {
        pattern_put(&jobs[i], i % 3, i, 1, i % 16 ? i % 3 : 300);
        batch_submit(&batch, m, &jobs[i]);
    }
    batch_wait(&batch);
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(jobs[i].code, 0);
        jobs[i].c.op = META_DEL_BLOB;
        if (i % 5 == 1 || i % 64 == 0)
            batch_submit(&batch, m, &jobs[i]);
    }
    batch_wait(&batch);
    meta_close(m);
    jobs_free(jobs, n);
}

/* ---- a killed process ---- */

static int ack_fd;

static void tell_parent(struct meta_change *c, int code)
{
    struct job *j = c->user;
    uint32_t number = (uint32_t)c->blob.created_ns;

    if (code || write(ack_fd, &number, sizeof number) != sizeof number)
        _exit(1);
    job_done(&j->c, code);
}

static void child_submits(const char *dir)
{
    struct job *jobs = jobs_make(NUMBERS, 40);
    struct batch batch = BATCH_INIT;
    struct meta *m;

    if (try_open(dir, 0, &m))
        _exit(2);
    help_tags(m, 3);
    for (unsigned i = 0; i < NUMBERS; i++) {
        struct job *j = &jobs[i];
        pattern_put(j, i % 3, i, 1, i % 40);
        j->batch = &batch;
        j->c.user = j;
        j->c.done = tell_parent;
        pthread_mutex_lock(&batch.lock);
        batch.left++;
        pthread_mutex_unlock(&batch.lock);
        meta_submit(m, &j->c);
        if (i % 50 == 0)
            batch_wait(&batch);
    }
    batch_wait(&batch);
    pause();
}

/* Reads acknowledgements until `enough` came, kills, reads what is left. */
static unsigned collect(int fd, pid_t child, unsigned enough, uint8_t *acked)
{
    uint32_t number;
    unsigned n = 0;

    while (read(fd, &number, sizeof number) == sizeof number) {
        if (number < NUMBERS)
            acked[number] = 1;
        if (++n == enough)
            kill(child, SIGKILL);
    }
    return n;
}

static void acknowledged_changes_survive_a_kill(void **state)
{
    unsigned recovered = 0;

    help_seed();
    for (unsigned round = 0; round < 20; round++) {
        char *dir = help_path(*state, "round");
        uint8_t acked[NUMBERS] = {0};
        unsigned n, enough = 1 + (unsigned)help_random(NUMBERS / 2);
        int fds[2], status;
        pid_t child;

        assert_int_equal(mkdir(dir, 0700), 0);
        assert_int_equal(pipe(fds), 0);
        child = fork();
        if (child == 0) {
            close(fds[0]);
            ack_fd = fds[1];
            child_submits(dir);
            _exit(3);
        }
        close(fds[1]);
        n = collect(fds[0], child, enough, acked);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        assert_true(n >= enough);
        reopen_and_load(dir);
        for (unsigned i = 0; i < NUMBERS; i++)
            assert_true(found.there[i] >= acked[i]);
        recovered += found.blobs;
        close(fds[0]);
        help_remove(dir);
    }
    print_message("recovered %u records\n", recovered);
    assert_true(recovered > 0);
}

static void creation_that_was_killed_is_done_again(void **state)
{
    char *fresh = help_path(*state, "meta.new");
    char *data = help_path(fresh, "data.mdb");

    assert_int_equal(mkdir(fresh, 0700), 0);
    help_write(data, "torn", 4);
    reopen_and_load(*state);
    assert_int_not_equal(access(fresh, F_OK), 0);
    free(data);
    free(fresh);
}

/* ---- a full disk ---- */

static void full_disk_fails_groups_and_keeps_the_rest(void **state)
{
    enum { FIRST = 50, N = 3000 };
    struct job *jobs = jobs_make(N, 12);
    struct batch batch = BATCH_INIT;
    char *data = help_path(*state, "meta/data.mdb");
    struct rlimit old, tight;
    unsigned full = 0, other = 0;
    struct meta *m;
    struct stat st;

    assert_int_equal(try_open(*state, 0, &m), 0);
    help_tags(m, 2);
    for (unsigned i = 0; i < N; i++)
        pattern_put(&jobs[i], 1, i, 1, 12);
    for (unsigned i = 0; i < FIRST; i++)
        assert_int_equal(submit_wait(m, &jobs[i]), 0);
    assert_int_equal(help_flush(m), 0);

    assert_int_equal(stat(data, &st), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    tight = old;
    tight.rlim_cur = (rlim_t)st.st_size + 10000; /* ends inside a page */
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    for (unsigned i = FIRST; i < N; i++)
        batch_submit(&batch, m, &jobs[i]);
    batch_wait(&batch);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_DFL);

    for (unsigned i = FIRST; i < N; i++) {
        full += jobs[i].code == SL_ENOSPC;
        other += jobs[i].code != SL_ENOSPC && jobs[i].code != 0;
    }
    assert_int_equal(other, 0);
    assert_true(full > 0);
    assert_true(strstr(help_line, "commit") || strstr(help_line, "log"));
    for (int again = 0; again < 2; again++) {
        meta_close(m);
        assert_int_equal(try_open(*state, 0, &m), 0);
        assert_int_equal(load(m), 0);
        assert_int_equal(found.wrong, 0);
        for (unsigned i = 0; i < N; i++)
            assert_int_equal(found.there[i], jobs[i].code == 0);
        assert_int_equal(submit_wait(m, &jobs[N - 1]), 0); /* space again */
    }
    meta_close(m);
    free(data);
    jobs_free(jobs, N);
}

/* Exit status of the child: 0 when the map stopped growing with SL_ENOSPC and
 * changes are refused from then on; *stored were acknowledged. */
static int child_fills_address_space(const char *dir, unsigned *stored)
{
    struct job *jobs = jobs_make(1, 400);
    unsigned long pages = 0;
    struct rlimit r;
    struct meta *m;
    int code = 0;
    FILE *f;

    if (try_open(dir, 4u << 20, &m))
        return 2;
    help_tags(m, 1);
    pattern_put(&jobs[0], 0, 0, 1, 400);
    if (submit_wait(m, &jobs[0]))
        return 3;
    f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%lu", &pages) != 1)
        return 4;
    fclose(f);
    r.rlim_cur = r.rlim_max =
        pages * (unsigned long)sysconf(_SC_PAGESIZE) + (6u << 20);
    if (setrlimit(RLIMIT_AS, &r))
        return 5;
    do {
        if (submit_wait(m, &jobs[0]))
            return 6;
        pattern_put(&jobs[0], 0, ++*stored, 1, 400);
    } while (*stored < NUMBERS - 1 && !(code = help_flush(m)));
    if (code != SL_ENOSPC || submit_wait(m, &jobs[0]) != SL_ENOSPC)
        return 7;
    meta_close(m);
    jobs_free(jobs, 1);
    return 0;
}

static void map_that_cannot_grow_is_enospc(void **state)
{
    unsigned *stored = mmap(NULL, sizeof *stored, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct meta *m;
    int status;
    pid_t child;

#if SANITIZED
    print_message("a sanitizer needs address space without limit\n");
    skip();
#endif
    assert_true(stored != MAP_FAILED);
    child = fork();
    if (child == 0)
        _exit(child_fills_address_space(*state, stored));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(try_open(*state, 0, &m), 0);
    assert_int_equal(load(m), 0);
    assert_int_equal(found.wrong, 0);
    assert_int_equal(found.blobs, *stored);
    meta_close(m);
    munmap(stored, sizeof *stored);
}

/* ---- damaged files ---- */

static void expect_refused(const char *dir, int code, const char *word)
{
    struct meta *m = NULL;

    assert_int_equal(try_open(dir, 0, &m), code);
    assert_null(m);
    assert_non_null(strstr(help_line, dir));
    assert_non_null(strstr(help_line, word));
}

static void file_that_is_no_database_is_ecorrupt(void **state)
{
    char *sub = help_path(*state, "meta");
    char *data = help_path(sub, "data.mdb");
    uint8_t *junk = malloc(65536);

    assert_non_null(junk);
    help_seed();
    for (size_t i = 0; i < 65536; i++)
        junk[i] = (uint8_t)help_random(256);
    assert_int_equal(mkdir(sub, 0700), 0);
    help_write(data, junk, 65536);
    expect_refused(*state, SL_ECORRUPT, "data.mdb");
    help_write(data, junk, 100);
    expect_refused(*state, SL_ECORRUPT, "data.mdb");
    help_write(data, junk, 0);
    expect_refused(*state, SL_ECORRUPT, "empty");
    assert_int_equal(unlink(data), 0);
    assert_int_equal(mkdir(data, 0700), 0);
    expect_refused(*state, SL_ECORRUPT, "data.mdb");
    free(junk);
    free(data);
    free(sub);
}

static void directory_without_its_database_is_ecorrupt(void **state)
{
    char *data = help_path(*state, "meta/data.mdb");

    populate(*state, 10);
    assert_int_equal(unlink(data), 0);
    expect_refused(*state, SL_ECORRUPT, "no data.mdb");
    free(data);
}

/* Sets the format record to `n` bytes; 0 removes it. */
static void set_format(const char *dir, void *record, size_t n)
{
    char *path = help_path(dir, "meta");
    char name[] = META_FORMAT_KEY;
    MDB_val key = {sizeof name - 1, name}, data = {n, record};
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;

    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_open(env, path, 0, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, NULL, 0, &dbi), 0);
    assert_int_equal(n ? mdb_put(txn, dbi, &key, &data, 0)
                       : mdb_del(txn, dbi, &key, NULL),
                     0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
    free(path);
}

static void another_format_is_eversion_and_both_are_named(void **state)
{
    uint8_t record[META_FORMAT_BYTES];

    populate(*state, 10);
    meta_format_encode(record);
    record[8] = 2;
    set_format(*state, record, sizeof record);
    expect_refused(*state, SL_EVERSION, "version 2");
    assert_non_null(strstr(help_line, "reads 1"));
    set_format(*state, record, 12);
    expect_refused(*state, SL_EVERSION, "version 2");
    record[8] = 1;
    set_format(*state, record, 12);
    expect_refused(*state, SL_ECORRUPT, "format");
    record[20] ^= 1;
    set_format(*state, record, sizeof record);
    expect_refused(*state, SL_ECORRUPT, "format");
    set_format(*state, record, 0);
    expect_refused(*state, SL_ECORRUPT, "format");
}

static void another_lmdb_is_eversion(void **state)
{
    char *data = help_path(*state, "meta/data.mdb");
    size_t n;
    uint8_t *bytes;

    populate(*state, 10);
    bytes = help_read(data, &n);
    bytes[20] = 2; /* data version, behind page head and magic */
    help_write(data, bytes, n);
    expect_refused(*state, SL_ECORRUPT, "LMDB"); /* in one head: damage */
    bytes[4096 + 20] = 2;
    help_write(data, bytes, n);
    expect_refused(*state, SL_EVERSION, "LMDB");
    free(bytes);
    free(data);
}

/* Opens, loads, changes and closes. Exit status: the code that refused. */
static int child_uses(const char *dir)
{
    struct job *jobs = jobs_make(60, 300);
    struct batch batch = BATCH_INIT;
    struct meta *m;
    int rc = try_open(dir, 0, &m);

    if (!rc) {
        rc = load(m);
        for (unsigned i = 0; !rc && i < 60; i++) {
            pattern_put(&jobs[i], i % 3, i, 1, i % 5 ? 1 : 300);
            if (i % 2)
                jobs[i].c.op = i % 20 == 1 ? META_DEL_TAG : META_DEL_BLOB;
            batch_submit(&batch, m, &jobs[i]);
        }
        batch_wait(&batch);
        meta_close(m);
    }
    jobs_free(jobs, 60);
    if (found.wrong) {
        print_message("loaded %u wrong records\n", found.wrong);
        return CHILD_WRONG;
    }
    if (rc && rc != SL_ECORRUPT && rc != SL_EVERSION)
        print_message("%d: %s\n", rc, help_line);
    return rc == 0 ? 0 : rc == SL_ECORRUPT ? 1 : rc == SL_EVERSION ? 2 : 3;
}

/* True when the file was refused with SL_ECORRUPT or SL_EVERSION. */
static int is_refused(const char *dir)
{
    int status;
    pid_t child = fork();

    if (child == 0)
        _exit(child_uses(dir));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_in_range(WEXITSTATUS(status), 0, 2);
    return WEXITSTATUS(status) != 0;
}

static void every_cut_of_the_file_is_refused_or_harmless(void **state)
{
    char *data = help_path(*state, "meta/data.mdb");
    unsigned refused = 0, tried = 0;
    size_t n;
    uint8_t *bytes;

    populate(*state, 200);
    bytes = help_read(data, &n);
    for (size_t cut = n - 1; cut > 0 && cut < n; cut -= 2048 + cut / 37) {
        help_write(data, bytes, cut);
        refused += (unsigned)is_refused(*state);
        tried++;
    }
    print_message("%u of %u cuts refused\n", refused, tried);
    assert_true(refused > tried / 2);
    free(bytes);
    free(data);
}

/* Changes up to three places of a page; heads and directories of pages get
 * more than their share, because there the structure is. */
static void damage(uint8_t *bytes, size_t n)
{
    size_t page = help_random(4) ? help_random(n / 4096) : help_random(2);
    uint64_t places = 1 + help_random(3);

    for (uint64_t i = 0; i < places; i++) {
        size_t at = page * 4096 + help_random(help_random(2) ? 160 : 4096);
        if (help_random(2))
            bytes[at] ^= (uint8_t)(1u << help_random(8));
        else
            bytes[at] = (uint8_t)help_random(256);
    }
}

static void damaged_file_never_crashes_or_lies(void **state)
{
    const char *more = getenv("ROUNDS");
    unsigned rounds = more           ? (unsigned)strtoul(more, NULL, 0)
                      : SLOW_THREADS ? 60u
                                     : 300u;
    char *data = help_path(*state, "meta/data.mdb");
    unsigned refused = 0;
    size_t n;
    uint8_t *bytes, *copy;

    help_seed();
    populate(*state, 120);
    bytes = help_read(data, &n);
    copy = malloc(n);
    assert_non_null(copy);
    for (unsigned i = 0; i < rounds; i++) {
        memcpy(copy, bytes, n);
        damage(copy, n);
        help_write(data, copy, n);
        refused += (unsigned)is_refused(*state);
    }
    print_message("%u of %u damaged files refused\n", refused, rounds);
    assert_true(refused > 0);
    free(copy);
    free(bytes);
    free(data);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(acknowledged_changes_survive_a_kill),
        CASE(creation_that_was_killed_is_done_again),
        CASE(full_disk_fails_groups_and_keeps_the_rest),
        CASE(map_that_cannot_grow_is_enospc),
        CASE(file_that_is_no_database_is_ecorrupt),
        CASE(directory_without_its_database_is_ecorrupt),
        CASE(another_format_is_eversion_and_both_are_named),
        CASE(another_lmdb_is_eversion),
        CASE(every_cut_of_the_file_is_refused_or_harmless),
        CASE(damaged_file_never_crashes_or_lies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
