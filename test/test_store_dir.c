/* SPDX-License-Identifier: Apache-2.0 */
/* What a store directory keeps: over a clean close, a kill, and damage. */
#include "store_help.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#define SIZE 10000u

static void put_one(struct sl_runtime *rt, uint64_t tag, unsigned i,
                    uint8_t level)
{
    static uint8_t in[SIZE];
    char name[32];
    struct sl_put_opts o = {.size = sizeof(o), .score = -1, .persist = level};
    snprintf(name, sizeof(name), "blob-%u", i);
    fill(in, sizeof(in), i + 1u);
    if (sl_put(rt, tag, name, 0, in, sizeof(in), &o))
        _exit(9);
}

static int check_one(struct sl_runtime *rt, uint64_t tag, unsigned i)
{
    static uint8_t in[SIZE], out[SIZE];
    char name[32];
    snprintf(name, sizeof(name), "blob-%u", i);
    fill(in, sizeof(in), i + 1u);
    int rc = sl_get(rt, tag, name, 0, out, sizeof(out), NULL);
    if (!rc && memcmp(in, out, sizeof(in)) != 0)
        return -1;
    return rc;
}

static void volatile_blobs_survive_a_clean_close(void **state)
{
    (void)state;
    char dir[64];
    uint64_t tag = 0;
    make_dir(dir, sizeof(dir));
    struct sl_config c = small_config();
    c.data_dir = dir;
    struct sl_runtime *rt = open_store(&c);
    assert_int_equal(sl_tag(rt, "t", &tag), 0);
    for (unsigned i = 0; i < 100; i++)
        put_one(rt, tag, i, 0);
    assert_int_equal(sl_close(rt), 0);
    c.workers = 1; /* another number of shards */
    rt = open_store(&c);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(check_one(rt, tag, i), 0);
    assert_int_equal(sl_close(rt), 0);
    remove_dir(dir);
}

/* Puts until it is killed; each acknowledged number goes into the pipe. */
static void put_for_ever(const char *dir, int out, unsigned from)
{
    struct sl_config c = small_config();
    struct sl_runtime *rt;
    uint64_t tag;
    c.data_dir = dir;
    if (sl_open(&c, &rt) || sl_tag(rt, "t", &tag))
        _exit(8);
    for (unsigned i = from;; i++) {
        put_one(rt, tag, i, (uint8_t)(1u + i % 2u));
        if (write(out, &i, sizeof(i)) != sizeof(i))
            _exit(7);
    }
}

static unsigned killed_round(const char *dir, unsigned from, unsigned acks)
{
    int fd[2];
    unsigned last = 0, n = 0;
    assert_int_equal(pipe(fd), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(fd[0]);
        put_for_ever(dir, fd[1], from);
    }
    close(fd[1]);
    while (n < acks && read(fd[0], &last, sizeof(last)) == sizeof(last))
        n++;
    kill(pid, SIGKILL);
    while (read(fd[0], &last, sizeof(last)) == sizeof(last))
        n++;
    close(fd[0]);
    int status = 0;
    assert_true(waitpid(pid, &status, 0) == pid);
    assert_true(WIFSIGNALED(status));
    assert_true(n > 0);
    return last + 1u;
}

static void acknowledged_blobs_survive_kills(void **state)
{
    (void)state;
    char dir[64];
    uint64_t tag = 0, seed = test_seed("store_dir");
    unsigned next = 0, recovered = 0;
    make_dir(dir, sizeof(dir));
    for (int round = 0; round < 6; round++)
        next =
            killed_round(dir, next, 1u + (unsigned)(test_random(&seed) % 40u));
    struct sl_config c = small_config();
    c.data_dir = dir;
    struct sl_runtime *rt = open_store(&c);
    assert_int_equal(sl_tag_find(rt, "t", &tag), 0);
    for (unsigned i = 0; i < next; i++) {
        assert_int_equal(check_one(rt, tag, i), 0);
        recovered++;
    }
    assert_true(recovered >= 6);
    assert_int_equal(sl_close(rt), 0);
    remove_dir(dir);
}

/* ---- small durable puts ---- */

/* True when the file has the bytes somewhere on a block. */
static int file_has(const char *dir, const uint8_t *bytes, size_t n)
{
    static uint8_t block[4096];
    char path[96];
    int found = 0;
    snprintf(path, sizeof(path), "%s/data", dir);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    while (!found && read(fd, block, sizeof(block)) == sizeof(block))
        found = memcmp(block, bytes, n) == 0;
    close(fd);
    return found;
}

/* The log has them until then; what was replaced before goes nowhere. */
static void small_puts_land_with_the_commit(void **state)
{
    (void)state;
    static uint8_t in[2][4000], out[4000];
    char dir[64];
    uint64_t tag = 0;
    make_dir(dir, sizeof(dir));
    struct sl_config c = small_config();
    c.data_dir = dir;
    c.flush_ms = 3600000; /* none by itself */
    struct sl_runtime *rt = open_store(&c);
    assert_int_equal(sl_tag(rt, "t", &tag), 0);
    for (uint8_t level = 1; level <= 2; level++) {
        struct sl_put_opts o = {
            .size = sizeof(o), .score = -1, .persist = level};
        for (unsigned i = 0; i < 2; i++) {
            fill(in[i], sizeof(in[i]), 10u * level + i);
            assert_int_equal(sl_put(rt, tag, "b", 0, in[i], sizeof(in[i]), &o),
                             0);
            memset(out, 0, sizeof(out));
            assert_int_equal(sl_get(rt, tag, "b", 0, out, sizeof(out), NULL),
                             0);
            assert_memory_equal(out, in[i], sizeof(out));
            assert_false(file_has(dir, in[i], sizeof(in[i])));
        }
        assert_int_equal(sl_flush(rt), 0);
        assert_false(file_has(dir, in[0], sizeof(in[0])));
        assert_true(file_has(dir, in[1], sizeof(in[1])));
        assert_int_equal(sl_get(rt, tag, "b", 0, out, sizeof(out), NULL), 0);
        assert_memory_equal(out, in[1], sizeof(out));
    }
    assert_int_equal(sl_close(rt), 0);
    remove_dir(dir);
}

/* Blobs larger than the arena's room, and of thousands of extents, must get out
 * of memory at the close. */
static void large_and_scattered_blobs_survive_a_close(void **state)
{
    (void)state;
    char dir[64];
    uint64_t tag = 0, size = 20 * MIB;
    uint8_t *in = malloc(size), *out = malloc(size);
    make_dir(dir, sizeof(dir));
    struct sl_config c = small_config();
    c.data_dir = dir;
    c.ram_bytes = 64 * MIB;
    struct sl_runtime *rt = open_store(&c);
    struct sl_put_opts o = {.size = sizeof(o), .score = 0.5f}; /* ram */
    assert_int_equal(sl_tag(rt, "t", &tag), 0);
    fill(in, size, 7);
    for (uint64_t at = 0; at < size; at += 2 * MIB)
        assert_int_equal(sl_put(rt, tag, "big", at, in + at, 2 * MIB, &o), 0);
    /* Every second piece first, so that none is an append. */
    for (uint64_t i = 0; i < 4000; i++)
        assert_int_equal(
            sl_put(rt, tag, "torn", 96u * i, in + 96u * i, 48, NULL), 0);
    for (uint64_t i = 0; i < 4000; i++)
        assert_int_equal(sl_put(rt, tag, "torn", 96u * i + 48u,
                                in + 96u * i + 48u, 48, NULL),
                         0);
    /* A durable put on a volatile blob makes all of it durable. */
    o.score = -1;
    assert_int_equal(sl_put(rt, tag, "mixed", 0, in, 300000, NULL), 0);
    o.persist = 2;
    assert_int_equal(sl_put(rt, tag, "mixed", 1000, in + 1000, 10, &o), 0);
    assert_int_equal(sl_close(rt), 0);
    rt = open_store(&c);
    assert_int_equal(sl_get(rt, tag, "big", 0, out, size, NULL), 0);
    assert_memory_equal(in, out, size);
    assert_int_equal(sl_get(rt, tag, "torn", 0, out, 4000u * 96u, NULL), 0);
    assert_memory_equal(in, out, 4000u * 96u);
    assert_int_equal(sl_get(rt, tag, "mixed", 0, out, 300000, NULL), 0);
    assert_memory_equal(in, out, 300000);
    assert_int_equal(sl_close(rt), 0);
    free(in);
    free(out);
    remove_dir(dir);
}

static void damage_is_told_and_stays_alone(void **state)
{
    (void)state;
    char dir[64], file[80];
    uint64_t tag = 0;
    uint8_t byte = 0;
    make_dir(dir, sizeof(dir));
    struct sl_config c = small_config();
    c.data_dir = dir;
    struct sl_runtime *rt = open_store(&c);
    assert_int_equal(sl_tag(rt, "t", &tag), 0);
    for (unsigned i = 0; i < 10; i++)
        put_one(rt, tag, i, 1);
    assert_int_equal(sl_close(rt), 0);
    snprintf(file, sizeof(file), "%s/data", dir);
    int fd = open(file, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, 5000), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, 5000), 1);
    close(fd);
    rt = open_store(&c);
    unsigned bad = 0;
    for (unsigned i = 0; i < 10; i++) {
        int rc = check_one(rt, tag, i);
        assert_true(rc == 0 || rc == SL_ECHECKSUM);
        bad += rc != 0;
    }
    assert_int_equal(bad, 1);
    assert_int_equal(sl_close(rt), 0);
    remove_dir(dir);
}

static void a_second_owner_is_refused(void **state)
{
    (void)state;
    char dir[64];
    make_dir(dir, sizeof(dir));
    struct sl_config c = small_config();
    c.data_dir = dir;
    struct sl_runtime *rt = open_store(&c), *other = NULL;
    assert_int_equal(sl_open(&c, &other), SL_EBUSY);
    assert_null(other);
    assert_int_equal(sl_close(rt), 0);
    remove_dir(dir);
}

static void another_version_is_refused_untouched(void **state)
{
    (void)state;
    char dir[64], file[80], text[32] = {0};
    make_dir(dir, sizeof(dir));
    snprintf(file, sizeof(file), "%s/format", dir);
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fputs("sluice-store 2\n", f);
    fclose(f);
    struct sl_config c = small_config();
    struct sl_runtime *rt = NULL;
    c.data_dir = dir;
    sl_set_log(NULL, NULL);
    assert_int_equal(sl_open(&c, &rt), SL_EVERSION);
    f = fopen(file, "r");
    assert_non_null(fgets(text, sizeof(text), f));
    fclose(f);
    assert_string_equal(text, "sluice-store 2\n");
    remove_dir(dir);
}

static void deleted_blobs_stay_deleted(void **state)
{
    (void)state;
    char dir[64];
    uint64_t tag = 0, blobs = 9;
    make_dir(dir, sizeof(dir));
    struct sl_config c = small_config();
    c.data_dir = dir;
    struct sl_runtime *rt = open_store(&c);
    assert_int_equal(sl_tag(rt, "t", &tag), 0);
    put_one(rt, tag, 1, 1);
    put_one(rt, tag, 2, 2);
    assert_int_equal(sl_del(rt, tag, "blob-1"), 0);
    assert_int_equal(sl_close(rt), 0);
    rt = open_store(&c);
    assert_int_equal(check_one(rt, tag, 1), SL_ENOENT);
    assert_int_equal(check_one(rt, tag, 2), 0);
    assert_int_equal(sl_tag_del(rt, tag), 0);
    assert_int_equal(sl_close(rt), 0);
    rt = open_store(&c);
    assert_int_equal(sl_tag_find(rt, "t", &tag), SL_ENOTAG);
    assert_int_equal(sl_tag(rt, "t", &tag), 0);
    assert_int_equal(sl_tag_size(rt, tag, NULL, &blobs), 0);
    assert_true(blobs == 0);
    assert_int_equal(sl_close(rt), 0);
    remove_dir(dir);
}

/* What an overwrite replaces is taken until the metadata has the change; a put
 * that finds no room brings that about. */
static void overwriting_for_ever_needs_bounded_space(void **state)
{
    (void)state;
    char dir[64];
    uint64_t tag = 0;
    make_dir(dir, sizeof(dir));
    struct sl_config c = small_config();
    c.data_dir = dir;
    c.file_bytes = MIB;
    c.flush_ms = 3600000;
    struct sl_runtime *rt = open_store(&c);
    assert_int_equal(sl_tag(rt, "t", &tag), 0);
    for (unsigned i = 0; i < 1000; i++)
        put_one(rt, tag, i % 4u, 1u + i % 2u);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(check_one(rt, tag, i), 0);
    for (unsigned i = 0; i < 300; i++) { /* the same by deletes */
        put_one(rt, tag, 9, 1);
        assert_int_equal(sl_del(rt, tag, "blob-9"), 0);
    }
    assert_int_equal(sl_close(rt), 0);
    remove_dir(dir);
}

static void overwrite_for_ever(const char *dir, int out)
{
    struct sl_config c = small_config();
    struct sl_runtime *rt;
    uint64_t tag;
    c.data_dir = dir;
    c.file_bytes = MIB / 2u;
    if (sl_open(&c, &rt) || sl_tag(rt, "t", &tag))
        _exit(8);
    for (unsigned i = 0;; i++) {
        put_one(rt, tag, i % 8u, 1);
        if (i % 16u == 15u && sl_del(rt, tag, "blob-7"))
            _exit(6);
        if (write(out, &i, sizeof(i)) != sizeof(i))
            _exit(7);
    }
}

/* Space that a record on disk names is not given to others: each blob has its
 * own bytes after any kill. */
static void overwritten_blobs_survive_kills(void **state)
{
    (void)state;
    char dir[64];
    uint64_t tag = 0, seed = test_seed("overwritten");
    make_dir(dir, sizeof(dir));
    for (int round = 0; round < 6; round++) {
        unsigned acks = 20u + (unsigned)(test_random(&seed) % 300u), last = 0;
        int fd[2];
        assert_int_equal(pipe(fd), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            overwrite_for_ever(dir, fd[1]);
        close(fd[1]);
        for (unsigned n = 0; n < acks; n++)
            assert_int_equal(read(fd[0], &last, sizeof(last)), sizeof(last));
        kill(pid, SIGKILL);
        assert_true(waitpid(pid, NULL, 0) == pid);
        close(fd[0]);
        struct sl_config c = small_config();
        c.data_dir = dir;
        struct sl_runtime *rt = open_store(&c);
        assert_int_equal(sl_tag_find(rt, "t", &tag), 0);
        for (unsigned i = 0; i < 7; i++)
            assert_int_equal(check_one(rt, tag, i), 0);
        assert_int_equal(sl_close(rt), 0);
    }
    remove_dir(dir);
}

static uint64_t file_used(struct sl_runtime *rt)
{
    struct sl_tier_info t[4];
    int n = sl_tiers(rt, t, 4);
    for (int i = 0; i < n && i < 4; i++)
        if (strcmp(t[i].kind, "file") == 0)
            return t[i].used;
    return 0;
}

static void periodic_flush_keeps_volatile_blobs(void **state)
{
    (void)state;
    char dir[64];
    uint64_t tag = 0;
    make_dir(dir, sizeof(dir));
    struct sl_config c = small_config();
    c.data_dir = dir;
    c.flush_all_ms = 1;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct sl_runtime *rt = open_store(&c);
        if (sl_tag(rt, "t", &tag))
            _exit(8);
        put_one(rt, tag, 1, 0);
        struct sl_stat s = {0};
        while (!s.persist)
            if (sl_stat(rt, tag, "blob-1", &s))
                _exit(7);
        _exit(file_used(rt) ? 0 : 6); /* no close */
    }
    int status = 1;
    assert_true(waitpid(pid, &status, 0) == pid);
    assert_int_equal(status, 0);
    struct sl_runtime *rt = open_store(&c);
    assert_int_equal(sl_tag_find(rt, "t", &tag), 0);
    assert_int_equal(check_one(rt, tag, 1), 0);
    assert_int_equal(sl_close(rt), 0);
    remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(volatile_blobs_survive_a_clean_close),
        cmocka_unit_test(acknowledged_blobs_survive_kills),
        cmocka_unit_test(small_puts_land_with_the_commit),
        cmocka_unit_test(large_and_scattered_blobs_survive_a_close),
        cmocka_unit_test(damage_is_told_and_stays_alone),
        cmocka_unit_test(a_second_owner_is_refused),
        cmocka_unit_test(another_version_is_refused_untouched),
        cmocka_unit_test(deleted_blobs_stay_deleted),
        cmocka_unit_test(overwriting_for_ever_needs_bounded_space),
        cmocka_unit_test(overwritten_blobs_survive_kills),
        cmocka_unit_test(periodic_flush_keeps_volatile_blobs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
