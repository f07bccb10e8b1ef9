/* SPDX-License-Identifier: Apache-2.0 */
/* Renames of blobs: codes, readers and writers beside them, crashes. */
#include "store_help.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

static struct sl_runtime *rt;
static uint64_t tag, other;

static int open_runtime(void **state)
{
    struct sl_config c = small_config();
    (void)state;
    c.lanes = 3;
    c.ram_bytes = 16 * MIB;
    rt = open_store(&c);
    return sl_tag(rt, "rename", &tag) || sl_tag(rt, "other", &other);
}

static int close_runtime(void **state)
{
    (void)state;
    return sl_close(rt);
}

static void put_text(uint64_t t, const char *name, const char *text)
{
    const struct sl_put_opts how = {
        .size = sizeof(how), .flags = SL_F_REPLACE, .score = -1.0f};
    assert_int_equal(sl_put(rt, t, name, 0, text, strlen(text), &how), 0);
}

static void has_text(uint64_t t, const char *name, const char *text)
{
    char buf[64] = {0};
    uint64_t size = 0;
    assert_int_equal(sl_size(rt, t, name, &size), 0);
    assert_int_equal(size, strlen(text));
    assert_int_equal(sl_get(rt, t, name, 0, buf, size, NULL), 0);
    assert_string_equal(buf, text);
}

static void is_absent(uint64_t t, const char *name)
{
    uint64_t size;
    assert_int_equal(sl_size(rt, t, name, &size), SL_ENOENT);
}

static void sizes_are(uint64_t t, uint64_t want_bytes, uint64_t want_blobs)
{
    uint64_t bytes, blobs;
    assert_int_equal(sl_tag_size(rt, t, &bytes, &blobs), 0);
    assert_int_equal(bytes, want_bytes);
    assert_int_equal(blobs, want_blobs);
}

/* Enough names that old and new are in one shard and in two. */
static void a_blob_has_its_new_name_alone(void **state)
{
    char from[32], to[300];
    (void)state;
    for (unsigned i = 0; i < 40; i++) {
        uint64_t t = i % 2u ? other : tag;
        snprintf(from, sizeof(from), "from-%u", i);
        snprintf(to, sizeof(to), "to-%u%0*u", i, i % 3u ? 1 : 200, 0);
        put_text(tag, from, from);
        assert_int_equal(sl_rename(rt, tag, from, t, to, 0), 0);
        is_absent(tag, from);
        has_text(t, to, from);
        sizes_are(tag, i % 2u ? 0 : strlen(from), i % 2u ? 0 : 1);
        sizes_are(other, i % 2u ? strlen(from) : 0, i % 2u ? 1 : 0);
        put_text(tag, from, "again");
        has_text(t, to, from);
        assert_int_equal(sl_del(rt, tag, from), 0);
        assert_int_equal(sl_del(rt, t, to), 0);
    }
}

static void what_stat_says_moves_along(void **state)
{
    const struct sl_put_opts how = {
        .size = sizeof(how), .score = 0.75f, .context = 77};
    struct sl_stat before, after;
    (void)state;
    assert_int_equal(sl_put(rt, tag, "s", 0, "abc", 3, &how), 0);
    assert_int_equal(sl_stat(rt, tag, "s", &before), 0);
    assert_int_equal(sl_rename(rt, tag, "s", other, "t", 0), 0);
    assert_int_equal(sl_stat(rt, other, "t", &after), 0);
    assert_true(after.version > before.version);
    before.version = after.version;
    assert_memory_equal(&before, &after, sizeof(before));
    assert_int_equal(sl_del(rt, other, "t"), 0);
}

static void refusals_leave_both_names(void **state)
{
    char longest[300];
    (void)state;
    memset(longest, 'n', sizeof(longest));
    longest[256] = 0;
    for (unsigned i = 0; i < 20; i++) {
        char a[8], b[8];
        snprintf(a, sizeof(a), "a%u", i);
        snprintf(b, sizeof(b), "b%u", i);
        put_text(tag, a, "one");
        put_text(tag, b, "other");
        assert_int_equal(sl_rename(rt, tag, a, tag, b, 0), SL_EEXIST);
        assert_int_equal(sl_rename(rt, tag, "none", tag, b, SL_F_REPLACE),
                         SL_ENOENT);
        assert_int_equal(sl_rename(rt, tag, "none", tag, "new", 0), SL_ENOENT);
        is_absent(tag, "new");
        assert_int_equal(sl_rename(rt, tag, a, tag ^ 256u, b, 0), SL_ENOTAG);
        assert_int_equal(sl_rename(rt, tag ^ 256u, a, tag, "new", 0),
                         SL_ENOTAG);
        assert_int_equal(sl_rename(rt, tag, a, tag, "", 0), SL_ENONAME);
        assert_int_equal(sl_rename(rt, tag, a, tag, longest, 0),
                         SL_ENAMETOOLONG);
        assert_int_equal(sl_rename(rt, tag, a, tag, b, 64), SL_EINVAL);
        assert_int_equal(sl_rename(rt, tag, a, tag, a, 0), 0);
        has_text(tag, a, "one");
        has_text(tag, b, "other");
        assert_int_equal(sl_rename(rt, tag, a, tag, b, SL_F_REPLACE), 0);
        is_absent(tag, a);
        has_text(tag, b, "one");
        sizes_are(tag, 3, 1);
        assert_int_equal(sl_del(rt, tag, b), 0);
    }
}

static void space_comes_back_after_renames(void **state)
{
    struct sl_tier_info before[4], after[4];
    uint8_t *buf = malloc(MIB);
    const struct sl_put_opts slow = {.size = sizeof(slow), .score = 0.0f};
    int n;
    (void)state;
    assert_non_null(buf);
    fill(buf, MIB, 7);
    n = sl_tiers(rt, before, 4);
    for (unsigned i = 0; i < 30; i++) {
        const struct sl_put_opts *how = i % 2u ? &slow : NULL;
        assert_int_equal(sl_put(rt, tag, "x", 0, buf, MIB, how), 0);
        assert_int_equal(sl_put(rt, other, "y", 0, buf, MIB, how), 0);
        assert_int_equal(sl_rename(rt, tag, "x", other, "y", SL_F_REPLACE), 0);
        assert_int_equal(sl_rename(rt, other, "y", tag, "z", 0), 0);
        assert_int_equal(sl_del(rt, tag, "z"), 0);
    }
    assert_int_equal(sl_tiers(rt, after, 4), n);
    for (int i = 0; i < n; i++)
        assert_true(after[i].used <= before[i].used + MIB); /* charged ahead */
    free(buf);
}

/* ---- beside others ---- */

#define NAMES 4u

struct actor {
    pthread_t thread;
    uint64_t seed;
    int wrong;
    unsigned renames, reads;
};

static int stop; /* atomic */

/* Renames between a few names, so that they cross; no name is ever replaced, so
 * two blobs stay two. */
static void *shuffle(void *arg)
{
    struct actor *a = arg;
    char from[8], to[8];
    for (unsigned i = 0; i < STEPS(3000u); i++) {
        snprintf(from, sizeof(from), "n%u",
                 (unsigned)(test_random(&a->seed) % NAMES));
        snprintf(to, sizeof(to), "n%u",
                 (unsigned)(test_random(&a->seed) % NAMES));
        int rc = sl_rename(rt, tag, from, tag, to, 0);
        a->renames += rc == 0;
        if (rc && rc != SL_ENOENT && rc != SL_EEXIST)
            a->wrong = rc;
    }
    return NULL;
}

#define READ_BYTES 150000u

/* Whatever is read is one of the blobs, whole. */
static void *read_any(void *arg)
{
    struct actor *a = arg;
    uint8_t *buf = malloc(READ_BYTES), *want = malloc(READ_BYTES);
    char name[8];
    while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
        snprintf(name, sizeof(name), "n%u",
                 (unsigned)(test_random(&a->seed) % NAMES));
        int rc = sl_get(rt, tag, name, 0, buf, READ_BYTES, NULL);
        if (rc == SL_ENOENT)
            continue;
        fill(want, READ_BYTES, buf[0]);
        want[0] = buf[0];
        if (rc || (buf[0] != 1 && buf[0] != 2) ||
            memcmp(buf, want, READ_BYTES) != 0)
            a->wrong = rc ? rc : 1;
        a->reads++;
    }
    free(buf);
    free(want);
    return NULL;
}

static void renames_that_cross_neither_block_nor_tear(void **state)
{
    struct actor writers[3], readers[2];
    const struct sl_put_opts slow = {.size = sizeof(slow), .score = 0.0f};
    uint64_t seed = test_seed("rename");
    uint8_t *buf = malloc(READ_BYTES);
    unsigned renames = 0, reads = 0;
    (void)state;
    assert_non_null(buf);
    for (unsigned i = 1; i <= 2; i++) {
        fill(buf, READ_BYTES, i);
        buf[0] = (uint8_t)i;
        assert_int_equal(sl_put(rt, tag, i == 1 ? "n0" : "n1", 0, buf,
                                READ_BYTES, i == 1 ? &slow : NULL),
                         0);
    }
    stop = 0;
    for (unsigned i = 0; i < 2; i++) {
        readers[i] = (struct actor){.seed = seed + 10u + i};
        pthread_create(&readers[i].thread, NULL, read_any, &readers[i]);
    }
    for (unsigned i = 0; i < 3; i++) {
        writers[i] = (struct actor){.seed = seed + i};
        pthread_create(&writers[i].thread, NULL, shuffle, &writers[i]);
    }
    for (unsigned i = 0; i < 3; i++) {
        pthread_join(writers[i].thread, NULL);
        assert_int_equal(writers[i].wrong, 0);
        renames += writers[i].renames;
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(readers[i].thread, NULL);
        assert_int_equal(readers[i].wrong, 0);
        reads += readers[i].reads;
    }
    assert_true(renames > 0 && reads > 0);
    sizes_are(tag, 2u * READ_BYTES, 2);
    for (unsigned i = 0; i < NAMES; i++) {
        char name[8];
        snprintf(name, sizeof(name), "n%u", i);
        sl_del(rt, tag, name);
    }
    sizes_are(tag, 0, 0);
    free(buf);
}

static unsigned begun; /* atomic: the rename from this step on has begun */

/* Looks for the old name, then the new one: one of them has it, unless the new
 * one is not the newest any more. */
static void *find_either(void *arg)
{
    struct actor *a = arg;
    uint64_t size;
    unsigned i = 0;
    char from[24], to[24];
    for (; !__atomic_load_n(&stop, __ATOMIC_ACQUIRE); a->reads++) {
        snprintf(from, sizeof(from), "step-%u", i);
        snprintf(to, sizeof(to), "step-%u", i + 1u);
        if (sl_size(rt, tag, from, &size) == 0)
            continue;
        if (sl_size(rt, tag, to, &size) != 0 &&
            __atomic_load_n(&begun, __ATOMIC_ACQUIRE) <= i)
            a->wrong = 1;
        i++;
    }
    return NULL;
}

static void a_reader_finds_the_old_name_or_the_new(void **state)
{
    struct actor reader = {0};
    char from[24], to[24];
    (void)state;
    put_text(tag, "step-0", "wanders");
    stop = 0;
    pthread_create(&reader.thread, NULL, find_either, &reader);
    for (unsigned i = 0; i < STEPS(2000u); i++) {
        snprintf(from, sizeof(from), "step-%u", i);
        snprintf(to, sizeof(to), "step-%u", i + 1u);
        __atomic_store_n(&begun, i, __ATOMIC_RELEASE);
        assert_int_equal(sl_rename(rt, tag, from, tag, to, 0), 0);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    pthread_join(reader.thread, NULL);
    assert_int_equal(reader.wrong, 0);
    assert_true(reader.reads > 0);
    snprintf(to, sizeof(to), "step-%u", STEPS(2000u));
    has_text(tag, to, "wanders");
    assert_int_equal(sl_del(rt, tag, to), 0);
}

/* ---- a crash ---- */

#define CRASH_BLOBS 8u

static void crash_name(char *out, size_t n, unsigned blob, unsigned step)
{
    snprintf(out, n, "blob-%u-%u", blob, step);
}

static struct sl_config crash_config(const char *dir)
{
    struct sl_config c = small_config();
    c.data_dir = dir;
    c.lanes = 2;
    c.file_bytes = 64 * MIB;
    return c;
}

/* Renames until it is killed; says after each which step is acknowledged. */
static void rename_for_ever(const char *dir, uint32_t *acked)
{
    struct sl_config c = crash_config(dir);
    const struct sl_put_opts how = {
        .size = sizeof(how), .score = -1.0f, .persist = 1};
    struct sl_runtime *r;
    uint64_t t;
    char from[32], to[32];
    if (sl_open(&c, &r) || sl_tag(r, "crash", &t))
        _exit(1);
    for (unsigned b = 0; b < CRASH_BLOBS; b++) {
        crash_name(from, sizeof(from), b, 0);
        if (sl_put(r, t, from, 0, from, 6, &how))
            _exit(2);
    }
    __atomic_store_n(&acked[CRASH_BLOBS], 1, __ATOMIC_RELEASE);
    for (unsigned i = 0;; i++) {
        unsigned b = i % CRASH_BLOBS, step = i / CRASH_BLOBS;
        crash_name(from, sizeof(from), b, step);
        crash_name(to, sizeof(to), b, step + 1u);
        if (sl_rename(r, t, from, t, to, 0))
            _exit(3);
        __atomic_store_n(&acked[b], step + 1u, __ATOMIC_RELEASE);
    }
}

static uint32_t *shared_words(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(p != MAP_FAILED);
    return p;
}

static void one_name_is_left(struct sl_runtime *r, uint64_t t, unsigned b,
                             uint32_t acked)
{
    unsigned found = 0;
    char name[32], text[8] = {0};
    for (unsigned step = acked ? acked - 1u : 0; step <= acked + 1u; step++) {
        crash_name(name, sizeof(name), b, step);
        int rc = sl_get(r, t, name, 0, text, 6, NULL);
        assert_true(rc == 0 || rc == SL_ENOENT);
        if (rc == 0) {
            assert_in_range(step, acked, acked + 1u);
            assert_memory_equal(text, name, 6);
            found++;
        }
    }
    assert_int_equal(found, 1);
}

static void a_kill_leaves_one_of_the_names(void **state)
{
    char dir[64];
    uint64_t seed = test_seed("rename"), blobs;
    uint32_t *acked = shared_words();
    unsigned moved = 0;
    (void)state;
    for (unsigned round = 0; round < 6; round++) {
        struct sl_config c;
        struct sl_runtime *r;
        uint64_t t;
        make_dir(dir, sizeof(dir));
        memset(acked, 0, 4096);
        pid_t child = fork();
        if (child == 0)
            rename_for_ever(dir, acked);
        while (!__atomic_load_n(&acked[CRASH_BLOBS], __ATOMIC_ACQUIRE))
            assert_int_equal(waitpid(child, NULL, WNOHANG), 0);
        uint32_t until = 1u + (uint32_t)(test_random(&seed) % 40u);
        while (__atomic_load_n(&acked[0], __ATOMIC_ACQUIRE) < until)
            assert_int_equal(waitpid(child, NULL, WNOHANG), 0);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        c = crash_config(dir);
        assert_int_equal(sl_open(&c, &r), 0);
        assert_int_equal(sl_tag_find(r, "crash", &t), 0);
        for (unsigned b = 0; b < CRASH_BLOBS; b++) {
            one_name_is_left(r, t, b, acked[b]);
            moved += acked[b];
        }
        assert_int_equal(sl_tag_size(r, t, NULL, &blobs), 0);
        assert_int_equal(blobs, CRASH_BLOBS);
        assert_int_equal(sl_close(r), 0);
        remove_dir(dir);
    }
    assert_true(moved >= 6u);
    munmap(acked, 4096);
}

static void a_restart_keeps_new_names(void **state)
{
    char dir[64];
    struct sl_config c;
    struct sl_runtime *r;
    const struct sl_put_opts how = {
        .size = sizeof(how), .score = -1.0f, .persist = 2};
    uint64_t a, b, size;
    (void)state;
    make_dir(dir, sizeof(dir));
    c = crash_config(dir);
    r = open_store(&c);
    assert_int_equal(sl_tag(r, "a", &a), 0);
    assert_int_equal(sl_tag(r, "b", &b), 0);
    assert_int_equal(sl_put(r, a, "kept", 0, "12345", 5, &how), 0);
    assert_int_equal(sl_put(r, b, "replaced", 0, "123", 3, &how), 0);
    assert_int_equal(sl_put(r, a, "volatile", 0, "1234", 4, NULL), 0);
    assert_int_equal(sl_rename(r, a, "kept", b, "replaced", SL_F_REPLACE), 0);
    assert_int_equal(sl_rename(r, a, "volatile", b, "other", 0), 0);
    assert_int_equal(sl_close(r), 0);
    r = open_store(&c);
    assert_int_equal(sl_size(r, a, "kept", &size), SL_ENOENT);
    assert_int_equal(sl_size(r, b, "replaced", &size), 0);
    assert_int_equal(size, 5);
    assert_int_equal(sl_size(r, b, "other", &size), 0);
    assert_int_equal(size, 4);
    /* A volatile one over a recorded one: the record goes with it. */
    assert_int_equal(sl_put(r, a, "v", 0, "1", 1, NULL), 0);
    assert_int_equal(sl_rename(r, a, "v", b, "replaced", SL_F_REPLACE), 0);
    assert_int_equal(sl_del(r, b, "replaced"), 0);
    assert_int_equal(sl_close(r), 0);
    r = open_store(&c);
    assert_int_equal(sl_size(r, b, "replaced", &size), SL_ENOENT);
    assert_int_equal(sl_close(r), 0);
    remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kill_leaves_one_of_the_names),
        cmocka_unit_test(a_restart_keeps_new_names),
        cmocka_unit_test_setup_teardown(a_blob_has_its_new_name_alone,
                                        open_runtime, close_runtime),
        cmocka_unit_test_setup_teardown(what_stat_says_moves_along,
                                        open_runtime, close_runtime),
        cmocka_unit_test_setup_teardown(refusals_leave_both_names, open_runtime,
                                        close_runtime),
        cmocka_unit_test_setup_teardown(space_comes_back_after_renames,
                                        open_runtime, close_runtime),
        cmocka_unit_test_setup_teardown(
            renames_that_cross_neither_block_nor_tear, open_runtime,
            close_runtime),
        cmocka_unit_test_setup_teardown(a_reader_finds_the_old_name_or_the_new,
                                        open_runtime, close_runtime),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
