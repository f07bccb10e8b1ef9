/* SPDX-License-Identifier: Apache-2.0 */
/* A repair of a store whose LMDB file is damaged in its structure: what comes
 * back is counted, is right, and the damaged file stays. */
#include "fsck_help.h"

#include "store/dir.h"
#include "store/fsck_int.h"

#include <sys/stat.h>

#define MANY 1000u
#define GONE 100u /* deleted again, the last ones */
#define PAGE 4096u
#define BRANCH 1u
#define LEAF 2u

static char model[64]; /* made once, copied for each test */
static char dir[64], meta[96];
static uint64_t seed;

static void name_of(unsigned i, char name[32])
{
    snprintf(name, 32, "blob-%u", i);
}

static void bytes_of(unsigned i, uint8_t out[64])
{
    fill(out, 64, i + 7u);
}

static struct sl_config many_config(void)
{
    struct sl_config c = config_in(dir);
    c.flush_ms = 3600000;
    c.file_bytes = 8 * MIB; /* as long as the file gets */
    return c;
}

static void put_many(struct sl_runtime *rt, unsigned from, unsigned to)
{
    struct sl_put_opts o = {.size = sizeof(o), .score = -1, .persist = 1};
    uint64_t tag = 0;
    uint8_t bytes[64];
    char name[32];
    assert_int_equal(sl_tag(rt, "tag", &tag), 0);
    for (unsigned i = from; i < to; i++) {
        name_of(i, name);
        bytes_of(i, bytes);
        assert_int_equal(sl_put(rt, tag, name, 0, bytes, sizeof(bytes), &o), 0);
    }
}

/* MANY - GONE blobs, in several commits, so that there are pages given up. */
static int make_model(void **state)
{
    (void)state;
    make_dir(model, sizeof(model));
    memcpy(dir, model, sizeof(dir));
    struct sl_config c = many_config();
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = 0;
    char name[32];
    for (unsigned i = 0; i < MANY; i += MANY / 4u) {
        put_many(rt, i, i + MANY / 4u);
        assert_int_equal(sl_flush(rt), 0);
    }
    assert_int_equal(sl_tag(rt, "tag", &tag), 0);
    for (unsigned i = MANY - GONE; i < MANY; i++) {
        name_of(i, name);
        assert_int_equal(sl_del(rt, tag, name), 0);
    }
    assert_int_equal(sl_close(rt), 0);
    return 0;
}

static int remove_model(void **state)
{
    (void)state;
    remove_dir(model);
    return 0;
}

static int setup(void **state)
{
    char command[200];
    (void)state;
    make_dir(dir, sizeof(dir));
    snprintf(meta, sizeof(meta), "%s/meta/data.mdb", dir);
    snprintf(command, sizeof(command), "cp -r -- '%s/.' '%s'", model, dir);
    return system(command);
}

static int teardown(void **state)
{
    (void)state;
    remove_dir(dir);
    return 0;
}

/* ---- the file ---- */

static uint8_t *take_file(size_t *n)
{
    struct stat st;
    int fd = open(meta, O_RDONLY);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    *n = (size_t)st.st_size;
    uint8_t *p = malloc(*n + 1u);
    assert_non_null(p);
    assert_int_equal(read(fd, p, *n), *n);
    close(fd);
    return p;
}

static void give_file(const uint8_t *p, size_t n)
{
    int fd = open(meta, O_WRONLY | O_TRUNC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, p, n), n);
    close(fd);
}

static void spoil(size_t at, size_t n, int byte)
{
    size_t bytes;
    uint8_t *p = take_file(&bytes);
    assert_true(at + n <= bytes);
    memset(p + at, byte, n);
    give_file(p, bytes);
    free(p);
}

/* Pages of that kind that LMDB has marked as theirs, also given up ones. */
static unsigned pages_of(unsigned kind, size_t *at, unsigned max)
{
    size_t n;
    unsigned k = 0;
    uint8_t *p = take_file(&n);
    for (size_t i = 2; (i + 1u) * PAGE <= n && k < max; i++) {
        uint64_t number;
        memcpy(&number, p + i * PAGE, 8);
        if (number == i && p[i * PAGE + 10] == kind)
            at[k++] = i * PAGE;
    }
    free(p);
    return k;
}

/* ---- what comes back ---- */

struct back {
    unsigned good, wrong, gone; /* gone: deleted ones that are there again */
};

static struct back count_back(void)
{
    struct sl_config c = many_config();
    struct sl_runtime *rt = open_store(&c);
    struct back b = {0};
    uint64_t tag = 0;
    if (sl_tag_find(rt, "tag", &tag) == 0)
        for (unsigned i = 0; i < MANY; i++) {
            uint8_t want[64], got[64];
            char name[32];
            name_of(i, name);
            bytes_of(i, want);
            int rc = sl_get(rt, tag, name, 0, got, sizeof(got), NULL);
            b.wrong += !rc && memcmp(want, got, sizeof(got)) != 0;
            b.wrong += rc != 0 && rc != SL_ENOENT;
            b.good += rc == 0 && i < MANY - GONE;
            b.gone += rc == 0 && i >= MANY - GONE;
        }
    assert_int_equal(sl_close(rt), 0);
    return b;
}

static int remove_kept(void)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -f -- '%s'.damaged-*", meta);
    return system(command);
}

static int is_kept(int number)
{
    char path[128];
    snprintf(path, sizeof(path), "%s.damaged-%d", meta, number);
    return access(path, F_OK) == 0;
}

/* A check sees it and changes nothing; a repair mends it; then all is clean. */
static struct back repair(void)
{
    size_t n, m;
    struct sl_config c = many_config();
    struct sl_runtime *rt = NULL;
    uint8_t *before = take_file(&n);
    int rc = sl_open(&c, &rt);
    assert_true(rc == SL_ECORRUPT);
    assert_int_equal(fsck(dir, 0), 1);
    uint8_t *behind = take_file(&m);
    assert_true(n == m && memcmp(before, behind, n) == 0);
    assert_false(is_kept(1));
    assert_int_equal(fsck(dir, SL_FSCK_REPAIR), 1);
    assert_true(report.repaired > 0);
    assert_true(is_kept(1));
    assert_int_equal(fsck(dir, 0), 0);
    free(before);
    free(behind);
    return count_back();
}

static void expect_all(struct back b)
{
    assert_int_equal(b.good, MANY - GONE);
    assert_int_equal(b.wrong, 0);
}

/* ---- tests ---- */

static void damaged_head_costs_nothing(void **state)
{
    (void)state;
    spoil(0, PAGE, 0);
    expect_all(repair());
    size_t n;
    uint8_t *p = take_file(&n);
    memset(p + PAGE, 0xff, PAGE);
    give_file(p, n);
    free(p);
    assert_int_equal(fsck(dir, SL_FSCK_REPAIR), 1);
    assert_true(is_kept(2)); /* beside the first */
    expect_all(count_back());
}

static void without_any_head_records_are_still_found(void **state)
{
    (void)state;
    spoil(0, 2u * PAGE, 0);
    expect_all(repair());
}

static void damaged_branches_cost_nothing(void **state)
{
    (void)state;
    size_t at[16];
    unsigned n = pages_of(BRANCH, at, 16);
    assert_true(n > 0);
    for (unsigned i = 0; i < n; i++)
        spoil(at[i] + 16, 300, 0xee);
    struct back b = repair();
    expect_all(b);
    assert_int_equal(b.gone, 0); /* the list of free pages is sound */
}

static void damaged_leaf_gives_what_is_sound_in_it(void **state)
{
    (void)state;
    size_t at[256];
    unsigned n = pages_of(LEAF, at, 256);
    assert_true(n > 20);
    for (unsigned i = 0; i < n; i += 3)
        spoil(at[i] + 8, 8, 0xee); /* its head */
    expect_all(repair());
}

static void records_that_are_lost_are_counted(void **state)
{
    (void)state;
    size_t at[256];
    unsigned n = pages_of(LEAF, at, 256);
    for (unsigned i = 0; i < n; i += 5)
        spoil(at[i], PAGE, 0x5a);
    struct back b = repair();
    assert_int_equal(b.wrong, 0);
    print_message("%u of %u\n", b.good, MANY - GONE);
    assert_true(b.good < MANY - GONE && b.good > (MANY - GONE) / 2u);
    assert_int_equal(fsck(dir, 0), 0);
    assert_true(report.blobs == b.good + b.gone);
}

static void cut_file_gives_what_is_left(void **state)
{
    (void)state;
    size_t n;
    uint8_t *p = take_file(&n);
    give_file(p, n / 2u + 100u);
    free(p);
    struct back b = repair();
    print_message("%u of %u\n", b.good, MANY - GONE);
    assert_int_equal(b.wrong, 0);
    assert_true(b.good > 0 && b.good < MANY - GONE);
}

static void nothing_to_read_changes_nothing(void **state)
{
    (void)state;
    size_t n;
    uint8_t *p = take_file(&n);
    memset(p, 0, n);
    give_file(p, n);
    free(p);
    assert_int_equal(fsck(dir, SL_FSCK_REPAIR), 1);
    assert_int_equal(report.repaired, 0);
    assert_non_null(strstr(told.text, "nothing of it can be read"));
    assert_false(is_kept(1));
}

static void log_of_a_killed_process_goes_on_top(void **state)
{
    (void)state;
    int status = 1;
    pid_t pid = fork();
    if (pid == 0) {
        struct sl_config c = many_config();
        struct sl_runtime *rt = open_store(&c);
        uint64_t tag = 0;
        if (sl_tag(rt, "tag", &tag) || sl_del(rt, tag, "blob-0"))
            _exit(3);
        put_many(rt, MANY - GONE, MANY);
        _exit(0);
    }
    assert_true(waitpid(pid, &status, 0) == pid);
    assert_int_equal(status, 0);
    size_t at[16];
    unsigned n = pages_of(BRANCH, at, 16);
    for (unsigned i = 0; i < n; i++)
        spoil(at[i], PAGE, 0);
    struct back b = repair();
    assert_int_equal(b.good, MANY - GONE - 1u);
    assert_int_equal(b.gone, GONE);
    assert_int_equal(b.wrong, 0);
}

static void lost_tag_gets_another_name(void **state)
{
    (void)state;
    size_t n, found = 0;
    uint8_t *p = take_file(&n);
    for (size_t i = 0; i + 23u <= n; i++) /* the record of "tag" */
        if (p[i] == 'T' && p[i + 1] == 1 && p[i + 2] == 3 &&
            !memcmp(p + i + 12, "tag", 3)) {
            memset(p + i, 0, 23);
            found++;
        }
    assert_true(found > 0);
    memset(p + PAGE + 8, 0, 100);
    give_file(p, n);
    free(p);
    assert_int_equal(fsck(dir, SL_FSCK_REPAIR), 1);
    assert_int_equal(fsck(dir, 0), 0);
    assert_int_equal(report.tags, 1);
    assert_true(report.blobs >= MANY - GONE);
}

/* Whatever the damage: the repair ends, the store opens, no byte is wrong. */
static void random_damage_never_gives_wrong_bytes(void **state)
{
    (void)state;
    size_t n;
    uint8_t *p = take_file(&n), *q = malloc(n);
    assert_non_null(q);
    unsigned rounds = test_is_long() ? 400 : 6;
    seed = test_seed("salvage");
    for (unsigned i = 0; i < rounds; i++) {
        unsigned times = 1u + (unsigned)(test_random(&seed) % 200u);
        memcpy(q, p, n);
        (void)remove_kept();
        for (unsigned k = 0; k < times; k++) {
            size_t at = test_random(&seed) % n;
            if (test_random(&seed) % 2u) /* where pages have their numbers */
                at = at / PAGE * PAGE + test_random(&seed) % 64u;
            q[at] ^= (uint8_t)(1u + test_random(&seed) % 255u);
        }
        give_file(q, test_random(&seed) % 4u ? n : test_random(&seed) % n);
        int rc = fsck(dir, SL_FSCK_REPAIR);
        if (rc == SL_EVERSION) /* the format record says so */
            continue;
        assert_in_range(rc, 0, 1);
        rc = fsck(dir, 0);
        if (rc == 1 && strstr(told.text, "nothing of it")) /* no record */
            continue;
        if (rc == 0)
            assert_int_equal(count_back().wrong, 0);
    }
    free(p);
    free(q);
}

/* ---- files that want a reader to work for ever ---- */

/* Finds what there is; the bytes that were summed are a few times the file. */
static void expect_linear(unsigned records)
{
    struct store_dir *d;
    struct fsck_pages pages = {0};
    assert_int_equal(dir_open(dir, &d), 0);
    assert_int_equal(fsck_pages_find(d, &pages), 0);
    print_message("%llu bytes summed of %llu, %zu records\n",
                  (unsigned long long)pages.read,
                  (unsigned long long)pages.bytes, pages.blobs.n);
    assert_true(pages.read <= 16u * pages.bytes);
    assert_true(pages.blobs.n >= records);
    assert_true(pages.blobs.n <= pages.bytes / META_BLOB_HEAD);
    fsck_pages_free(&pages);
    dir_close(d);
}

/* Heads of records of which each says that it goes on to the end of the file. */
static void heads_without_records_end_the_search(void **state)
{
    (void)state;
    size_t n, many = MIB;
    uint8_t *p = take_file(&n), *q = calloc(1, n + many);
    assert_non_null(q);
    memcpy(q, p, n);
    memset(q + PAGE, 0, PAGE); /* a head is gone: all is searched */
    for (size_t at = n; at + 64u <= n + many; at += 16u) {
        uint32_t extents = (uint32_t)((n + many - at - 128u) / 40u);
        memcpy(q + at, "B\1\1\1\1\1\1\1", 8);
        memcpy(q + at + 8, &extents, 4);
    }
    give_file(q, n + many);
    expect_linear(MANY - GONE);
    free(p);
    free(q);
    assert_int_equal(fsck(dir, SL_FSCK_REPAIR), 1);
    assert_int_equal(fsck(dir, 0), 0);
    expect_all(count_back());
}

/* Leaves of which each entry is the same node, with a large value. */
static void leaves_with_one_node_many_times_end_too(void **state)
{
    (void)state;
    const unsigned size = 32768, pages = 64, value = size / 2u;
    uint8_t *p = calloc(pages, size);
    assert_non_null(p);
    for (uint64_t i = 2; i < pages; i++) {
        uint8_t *page = p + i * size, *node = page + size / 2u - 8u;
        uint16_t lower = (uint16_t)(size / 2u - 8u), where = lower;
        memcpy(page, &i, 8);
        page[10] = LEAF;
        memcpy(page + 12, &lower, 2);
        for (unsigned at = 16; at < lower; at += 2)
            memcpy(page + at, &where, 2);
        memcpy(node, &value, 4);
        uint32_t extents = (value - META_BLOB_HEAD - META_SUM_BYTES - 1u) / 40u;
        memcpy(node + 8, "B\1\1", 3); /* a name fills it to the byte */
        node[11] =
            (uint8_t)(value - META_BLOB_HEAD - META_SUM_BYTES - 40u * extents);
        memcpy(node + 16, &extents, 4);
        uint64_t sum = XXH3_64bits(node + 8, value - META_SUM_BYTES);
        memcpy(node + value, &sum, 8);
    }
    uint32_t magic = 0xbeefc0de, one = 1;
    uint64_t root = 2;
    memcpy(p + 16, &magic, 4);
    memcpy(p + 20, &one, 4);
    memcpy(p + 16 + 24, &size, 4);
    memcpy(p + 16 + 24 + 48 + 40, &root, 8);
    give_file(p, (size_t)pages * size);
    free(p);
    expect_linear(pages - 3u);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(damaged_head_costs_nothing),
        CASE(without_any_head_records_are_still_found),
        CASE(damaged_branches_cost_nothing),
        CASE(damaged_leaf_gives_what_is_sound_in_it),
        CASE(records_that_are_lost_are_counted),
        CASE(cut_file_gives_what_is_left),
        CASE(nothing_to_read_changes_nothing),
        CASE(log_of_a_killed_process_goes_on_top),
        CASE(lost_tag_gets_another_name),
        CASE(random_damage_never_gives_wrong_bytes),
        CASE(heads_without_records_end_the_search),
        CASE(leaves_with_one_node_many_times_end_too),
    };
    return cmocka_run_group_tests(tests, make_model, remove_model);
}
