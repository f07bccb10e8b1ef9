/* SPDX-License-Identifier: Apache-2.0 */
/* Golden files: a store that an earlier program wrote must open and hold every
 * byte; damaged ones have their code. `test_golden make` writes test/golden/
 * (tools/make_golden); it is done again only with a new version of the format.
 *
 * A store is one text: "file NAME BYTES" and rows of 32 bytes "OFFSET HEX" that
 * are not zeros. bad.txt has a line for each bad one: its name, the code of the
 * open, the number of blobs that can be read, file, offset, bytes. */
#include "store_help.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define ROW 32u
#define OLDER 1u /* each byte of what the log replaces */
#define STORE GOLDEN_DIR "/store-1.txt"
#define BAD GOLDEN_DIR "/bad-1.txt"

/* ---- what is in it ---- */

struct golden {
    const char *tag, *name;
    uint64_t at, size; /* zeros before */
    uint8_t level;
    uint8_t logged; /* in the log only */
};

/* With more than one extent, gaps, long and odd names, and no bytes. */
static const struct golden golden[] = {
    {"first", "one byte", 0, 1, 2, 0},
    {"first", "a page", 0, 4096, 2, 0},
    {"first", "two units", 0, 70000, 1, 0},
    {"first", "gap", 9000, 100, 2, 0},
    {"second tag \xc3\xa9", "n\xff\x01", 0, 333, 1, 0},
    {"second tag \xc3\xa9",
     "a name as long as it may be: "
     "0123456789012345678901234567890123456789012345678901234567890123456789012"
     "345678901234567890123456789012345678901234567890123456789012345678901234"
     "567890123456789012345678901234567890123456789012345678901234567890123456"
     "78901234",
     0, 5000, 2, 0},
    {"first", "overwritten in the log", 0, 600, 1, 1},
    {"third", "in the log", 0, 2000, 2, 1},
};
#define GOLDENS (sizeof(golden) / sizeof(golden[0]))

/* Bytes of a blob: some rows of each page, so that the text stays small. */
static uint8_t *content(const struct golden *g)
{
    uint8_t *p = calloc(1, g->at + g->size);
    assert_non_null(p);
    for (uint64_t i = g->at; i < g->at + g->size; i++)
        if (i % 4096u < 96u || i + 5u > g->at + g->size)
            p[i] = (uint8_t)(1u + (i * 7u + g->size) % 255u);
    return p;
}

static struct sl_config config_in(const char *dir)
{
    struct sl_config c = small_config();
    c.data_dir = dir;
    c.file_bytes = 4 * MIB;
    c.flush_ms = 3600000;
    return c;
}

/* ---- texts ---- */

static void put_file(FILE *out, const char *dir, const char *name)
{
    static const uint8_t none[ROW];
    char path[200];
    uint8_t row[ROW];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fstat(fileno(f), &st), 0);
    fprintf(out, "file %s %llu\n", name, (unsigned long long)st.st_size);
    size_t n;
    for (unsigned long long at = 0; (n = fread(row, 1, ROW, f)) > 0; at += n) {
        if (!memcmp(row, none, n))
            continue;
        fprintf(out, "%llx ", at);
        for (size_t i = 0; i < n; i++)
            fprintf(out, "%02x", row[i]);
        fputs("\n", out);
    }
    fclose(f);
}

static void write_hex(int fd, off_t at, const char *hex)
{
    for (unsigned byte; sscanf(hex, "%2x", &byte) == 1; hex += 2, at++) {
        uint8_t b = (uint8_t)byte;
        assert_int_equal(pwrite(fd, &b, 1, at), 1);
    }
}

/* Writes the golden store into `dir`. */
static void unpack(const char *dir)
{
    char line[200], name[100], path[200], hex[2u * ROW + 1u];
    unsigned long long n;
    int fd = -1;
    snprintf(path, sizeof(path), "%s/meta", dir);
    assert_true(!mkdir(path, 0700) || errno == EEXIST);
    FILE *in = fopen(STORE, "r");
    assert_non_null(in);
    while (fgets(line, sizeof(line), in)) {
        if (sscanf(line, "file %99s %llu", name, &n) == 2) {
            if (fd >= 0)
                close(fd);
            snprintf(path, sizeof(path), "%s/%s", dir, name);
            fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
            assert_true(fd >= 0);
            assert_int_equal(ftruncate(fd, (off_t)n), 0);
        } else if (sscanf(line, "%llx %64s", &n, hex) == 2) {
            write_hex(fd, (off_t)n, hex);
        }
    }
    close(fd);
    fclose(in);
}

/* ---- reading ---- */

static int is_older(const uint8_t *p, uint64_t n)
{
    while (n && p[n - 1u] == OLDER)
        n--;
    return n == 0;
}

/* Blobs that are whole; those that are there and are not count as wrong. */
static unsigned read_all(struct sl_runtime *rt, unsigned *wrong)
{
    static uint8_t got[100000];
    unsigned good = 0;
    for (size_t i = 0; i < GOLDENS; i++) {
        const struct golden *g = &golden[i];
        uint64_t tag, size = 0;
        uint8_t *want = content(g);
        int rc = sl_tag_find(rt, g->tag, &tag);
        if (!rc)
            rc = sl_get(rt, tag, g->name, 0, got, g->at + g->size, &size);
        if (!rc && size == g->at + g->size && !memcmp(got, want, size))
            good++;
        else if (!rc) /* or what the log would have replaced */
            *wrong += !(g->logged && is_older(got, size));
        else
            *wrong += rc != SL_ENOENT && rc != SL_ENOTAG && rc != SL_ECHECKSUM;
        free(want);
    }
    return good;
}

static void golden_store_opens_with_every_byte(void **state)
{
    (void)state;
    char dir[64];
    unsigned wrong = 0;
    uint64_t blobs = 0, tag = 0;
    struct sl_fsck_report report;
    make_dir(dir, sizeof(dir));
    unpack(dir);
    struct sl_fsck_opts o = {.size = sizeof(o), .dir = dir};
    assert_int_equal(sl_fsck(&o, &report), 0);
    assert_int_equal(report.blobs, GOLDENS);
    assert_true(report.log_changes > 0);
    struct sl_config c = config_in(dir);
    for (int turn = 0; turn < 2; turn++) {
        struct sl_runtime *rt = open_store(&c);
        assert_int_equal(read_all(rt, &wrong), GOLDENS);
        assert_int_equal(wrong, 0);
        assert_int_equal(sl_tag_find(rt, "first", &tag), 0);
        assert_int_equal(sl_tag_size(rt, tag, NULL, &blobs), 0);
        assert_int_equal(blobs, 5);
        assert_int_equal(sl_tag_find(rt, "deleted", &tag), SL_ENOTAG);
        assert_int_equal(sl_close(rt), 0);
    }
    remove_dir(dir);
}

static void check_bad(const char *line)
{
    char dir[64], name[64], file[64], path[200], hex[200];
    int code, n = 0;
    unsigned good, wrong = 0;
    unsigned long long at;
    assert_int_equal(sscanf(line, "%63s %d %u %63s %llx %199s%n", name, &code,
                            &good, file, &at, hex, &n),
                     6);
    make_dir(dir, sizeof(dir));
    unpack(dir);
    snprintf(path, sizeof(path), "%s/%s", dir, file);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    write_hex(fd, (off_t)at, hex);
    close(fd);
    struct sl_config c = config_in(dir);
    struct sl_runtime *rt = NULL;
    sl_set_log(show_log, NULL);
    int rc = sl_open(&c, &rt);
    if (rc != code)
        print_error("%s: code %d, not %d\n", name, rc, code);
    assert_int_equal(rc, code);
    if (!rc) {
        unsigned n_good = read_all(rt, &wrong);
        if (n_good != good)
            print_error("%s: %u blobs, not %u\n", name, n_good, good);
        assert_int_equal(n_good, good);
        assert_int_equal(wrong, 0);
        assert_int_equal(sl_close(rt), 0);
    }
    remove_dir(dir);
}

static void bad_ones_have_their_codes(void **state)
{
    (void)state;
    char line[400];
    unsigned n = 0;
    FILE *in = fopen(BAD, "r");
    assert_non_null(in);
    while (fgets(line, sizeof(line), in)) {
        check_bad(line);
        n++;
    }
    fclose(in);
    assert_true(n >= 6);
}

/* ---- making ---- */

static void put(struct sl_runtime *rt, const struct golden *g, uint8_t other)
{
    struct sl_put_opts o = {
        .size = sizeof(o), .score = -1, .persist = g->level, .context = 7};
    uint8_t *p = content(g);
    uint64_t tag;
    for (uint64_t i = g->at; other && i < g->at + g->size; i++)
        p[i] = other;
    assert_int_equal(sl_tag(rt, g->tag, &tag), 0);
    assert_int_equal(sl_put(rt, tag, g->name, g->at, p + g->at, g->size, &o),
                     0);
    free(p);
}

static void make_store(const char *dir)
{
    struct sl_config c = config_in(dir);
    struct sl_runtime *rt = open_store(&c);
    const struct golden gone = {"deleted", "gone", 0, 10, 2, 0};
    put(rt, &gone, 0);
    for (size_t i = 0; i < GOLDENS; i++)
        if (!golden[i].logged || golden[i].level == 1)
            put(rt, &golden[i], golden[i].logged ? OLDER : 0);
    assert_int_equal(sl_close(rt), 0);
    pid_t pid = fork();
    int status = 1;
    if (pid == 0) { /* ends without a close */
        uint64_t tag;
        rt = open_store(&c);
        for (size_t i = 0; i < GOLDENS; i++)
            if (golden[i].logged)
                put(rt, &golden[i], 0);
        assert_int_equal(sl_tag_find(rt, "deleted", &tag), 0);
        assert_int_equal(sl_tag_del(rt, tag), 0);
        _exit(0);
    }
    assert_true(waitpid(pid, &status, 0) == pid);
    assert_int_equal(status, 0);
}

/* Where these bytes are last in a file of the golden store; in the log first,
 * as what is behind its end is older. */
static unsigned long long find(const char *dir, const char *file,
                               const void *what, size_t n)
{
    char path[200];
    struct stat st;
    unsigned long long at = 0;
    snprintf(path, sizeof(path), "%s/%s", dir, file);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    char *p = malloc((size_t)st.st_size);
    assert_non_null(p);
    assert_int_equal(read(fd, p, (size_t)st.st_size), st.st_size);
    for (size_t i = 0; i + n <= (size_t)st.st_size; i++)
        if (!memcmp(p + i, what, n) && (!at || strcmp(file, "log") != 0))
            at = i;
    assert_true(at > 0);
    close(fd);
    free(p);
    return at;
}

static void make_bad(const char *dir, FILE *out)
{
    unsigned n = (unsigned)GOLDENS;
    uint8_t *page = content(&golden[1]);
    fprintf(out, "version %d 0 format d 32\n", SL_EVERSION);
    fprintf(out, "format-line %d 0 format 0 58\n", SL_ECORRUPT);
    fprintf(out, "blob-record %d 0 meta/data.mdb %llx 58\n", SL_ECORRUPT,
            find(dir, "meta/data.mdb", "a page", 6));
    fprintf(out, "tag-record %d 0 meta/data.mdb %llx 58\n", SL_ECORRUPT,
            find(dir, "meta/data.mdb", "second tag", 10));
    fprintf(out, "log-record %d 0 meta/data.mdb %llx 58\n", SL_ECORRUPT,
            find(dir, "meta/data.mdb", "sluicelg", 8));
    fprintf(out, "data 0 %u data %llx 58\n", n - 1u,
            find(dir, "data", page + 4, 90));
    fprintf(out, "torn-log 0 %u log %llx 58\n", n - 1u,
            find(dir, "log", "third", 5));
    fprintf(out, "no-log 0 %u log 0 00\n", n - 2u);
    free(page);
}

static int make(void)
{
    static const char *const files[] = {"format", "data", "log",
                                        "meta/data.mdb"};
    char dir[64];
    make_dir(dir, sizeof(dir));
    make_store(dir);
    FILE *out = fopen(STORE, "w");
    assert_non_null(out);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        put_file(out, dir, files[i]);
    fclose(out);
    out = fopen(BAD, "w");
    assert_non_null(out);
    make_bad(dir, out);
    fclose(out);
    remove_dir(dir);
    return 0;
}

static void make_case(void **state)
{
    (void)state;
    assert_int_equal(make(), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest making[] = {cmocka_unit_test(make_case)};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_store_opens_with_every_byte),
        cmocka_unit_test(bad_ones_have_their_codes),
    };
    if (argc > 1 && strcmp(argv[1], "make") == 0)
        return cmocka_run_group_tests(making, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
