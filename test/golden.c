/* SPDX-License-Identifier: Apache-2.0 */
#include "golden.h"

#include "codec/codec.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <xxhash.h>

#define ROW 32u

/* ---- what is in it ---- */

#define LONGEST                                                                \
    "a name as long as it may be: "                                            \
    "0123456789012345678901234567890123456789012345678901234567890123456789"   \
    "0123456789012345678901234567890123456789012345678901234567890123456789"   \
    "0123456789012345678901234567890123456789012345678901234567890123456789"   \
    "0123456789012345"

/* More than one extent, gaps, long and odd names, each codec, two targets, and
 * a log with frames of each kind. */
const struct golden golden[] = {
    {"first", "one byte", 0, 1, 2, 0, 0, 0, NULL, NULL},
    {"first", "a page", 0, 4096, 2, 0, 0, 0, NULL, NULL},
    {"first", "two units", 0, 70000, 1, 0, 0, 0, NULL, NULL},
    {"first", "gap", 9000, 100, 2, 0, 0, 0, NULL, NULL},
    {"second tag \xc3\xa9", "n\xff\x01", 0, 333, 1, 0, 0, 0, NULL, NULL},
    {"second tag \xc3\xa9", LONGEST, 0, 5000, 2, 0, 0, 0, NULL, NULL},
    {"first", "on the second target", 0, 6000, 2, 0, 0, 1, NULL, NULL},
    {"coded", "by bzip2", 0, 9000, 2, 0, SL_CODEC_BZIP2, 0, NULL, NULL},
    {"coded", "by blosc", 0, 9000, 2, 0, SL_CODEC_BLOSC, 0, NULL, NULL},
    {"coded", "by brotli", 0, 9000, 1, 0, SL_CODEC_BROTLI, 0, NULL, NULL},
    {"coded", "by lz4", 0, 9000, 2, 0, SL_CODEC_LZ4, 0, NULL, NULL},
    {"coded", "by lzma", 0, 9000, 2, 0, SL_CODEC_LZMA, 0, NULL, NULL},
    {"coded", "by snappy", 0, 9000, 1, 0, SL_CODEC_SNAPPY, 0, NULL, NULL},
    {"coded", "by lzo", 0, 9000, 2, 0, SL_CODEC_LZO, 0, NULL, NULL},
    {"coded", "by zfp", 0, 9000, 2, 0, SL_CODEC_ZFP, 0, NULL, NULL},
    {"coded", "by zlib", 0, 9000, 1, 0, SL_CODEC_ZLIB, 0, NULL, NULL},
    {"coded", "by zstd", 0, 9000, 2, 0, SL_CODEC_ZSTD, 0, NULL, NULL},
    {"coded", "behind a gap", 9000, 9000, 2, 0, SL_CODEC_ZSTD, 0, NULL, NULL},
    {"coded", "two units, second", 0, 70000, 1, 0, SL_CODEC_LZ4, 1, NULL, NULL},
    {"first", "overwritten in the log", 0, 600, 1, 2, 0, 0, NULL, NULL},
    {"third", "in the log", 0, 2000, 2, 1, 0, 0, NULL, NULL},
    {"third", "too long for it", 0, 71000, 1, 1, 0, 0, NULL, NULL},
    {"coded", "coded in the log", 0, 9000, 1, 1, SL_CODEC_ZSTD, 0, NULL, NULL},
    {"first", "after", 0, 5000, 2, 1, 0, 0, "before", NULL},
    {"tag after", "kept", 0, 50, 2, 1, 0, 0, NULL, "tag before"},
};
const unsigned goldens = sizeof(golden) / sizeof(golden[0]);

uint64_t golden_blobs_of(const char *name)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < goldens; i++)
        n += strcmp(golden[i].tag, name) == 0;
    return n;
}

static void text_content(uint8_t *p, uint64_t n, uint64_t seed)
{
    char line[64];
    for (uint64_t i = 0, at = 0; at < n; i++) {
        int k = snprintf(line, sizeof(line), "line %llu of %llu: %llu\n",
                         (unsigned long long)(i % 16u), (unsigned long long)n,
                         (unsigned long long)(i % 16u * seed));
        uint64_t take = (uint64_t)k < n - at ? (uint64_t)k : n - at;
        memcpy(p + at, line, take);
        at += take;
    }
}

static void float_content(uint8_t *p, uint64_t n)
{
    for (uint64_t at = 0; at + 4u <= n; at += 4u) {
        float v = 1000.0f + (float)at / 16.0f;
        memcpy(p + at, &v, 4u);
    }
}

uint8_t *golden_content(const struct golden *g)
{
    uint8_t *p = calloc(1, g->at + g->size);
    assert_non_null(p);
    if (g->codec == SL_CODEC_ZFP)
        float_content(p + g->at, g->size);
    else if (g->codec)
        text_content(p + g->at, g->size, g->codec);
    for (uint64_t i = g->at; !g->codec && i < g->at + g->size; i++)
        if (i % 4096u < 96u || i + 5u > g->at + g->size)
            p[i] = (uint8_t)(1u + (i * 7u + g->size) % 255u);
    return p;
}

struct sl_config golden_config(const char *dir)
{
    struct sl_config c = small_config();
    c.data_dir = dir;
    c.file_bytes = 4 * MIB;
    c.flush_ms = 3600000;
    return c;
}

/* ---- texts ---- */

static const char *const files[] = {"format",        "data",    "log",
                                    "meta/data.mdb", "targets", "second"};

char *golden_file(const char *dir, const char *name, size_t *n)
{
    char path[200];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    *n = (size_t)st.st_size;
    char *p = calloc(1, *n + 1u);
    assert_non_null(p);
    assert_int_equal(read(fd, p, *n), *n);
    close(fd);
    return p;
}

static void write_whole(const char *dir, const char *name, const char *p,
                        size_t n)
{
    char path[200];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, p, n), n);
    close(fd);
}

/* Replaces the one place of `what`; to be freed. */
static char *replaced(char *text, const char *what, const char *with)
{
    size_t n = strlen(text) + strlen(with) + 1u;
    char *at = strstr(text, what), *out = malloc(n);
    assert_true(at && out);
    snprintf(out, n, "%.*s%s%s", (int)(at - text), text, with,
             at + strlen(what));
    free(text);
    return out;
}

static void put_file(FILE *out, const char *dir, const char *name)
{
    static const char none[ROW];
    char here[PATH_MAX];
    size_t n;
    char *p = golden_file(dir, name, &n);
    if (strcmp(name, "targets") == 0) {
        assert_non_null(realpath(dir, here));
        p = replaced(p, here, "@");
        n = strlen(p);
    }
    fprintf(out, "file %s %zu\n", name, n);
    for (size_t at = 0; at < n; at += ROW) {
        size_t k = n - at < ROW ? n - at : ROW;
        if (!memcmp(p + at, none, k))
            continue;
        fprintf(out, "%zx ", at);
        for (size_t i = 0; i < k; i++)
            fprintf(out, "%02x", (uint8_t)p[at + i]);
        fputs("\n", out);
    }
    free(p);
}

void golden_pack(const char *dir, const char *text)
{
    FILE *out = fopen(text, "w");
    assert_non_null(out);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        put_file(out, dir, files[i]);
    fclose(out);
}

static void write_hex(int fd, off_t at, const char *hex)
{
    uint8_t bytes[GOLDEN_LINE_MAX / 2u];
    size_t n = 0;
    for (unsigned byte; sscanf(hex + 2u * n, "%2x", &byte) == 1; n++)
        bytes[n] = (uint8_t)byte;
    assert_int_equal(pwrite(fd, bytes, n, at), n);
}

/* The second target is in `dir`. */
static void settle_list(const char *dir)
{
    char here[PATH_MAX], sum[32];
    size_t n;
    char *p = golden_file(dir, "targets", &n);
    assert_non_null(realpath(dir, here));
    p = replaced(p, "@", here);
    n = strlen(p) - strlen("sum 0123456789abcdef\n");
    snprintf(sum, sizeof(sum), "sum %016llx\n",
             (unsigned long long)XXH3_64bits(p, n));
    memcpy(p + n, sum, strlen(sum));
    write_whole(dir, "targets", p, strlen(p));
    free(p);
}

void golden_unpack(const char *text, const char *dir)
{
    char line[200], name[100], path[200], hex[2u * ROW + 1u];
    unsigned long long n;
    int fd = -1;
    snprintf(path, sizeof(path), "%s/meta", dir);
    assert_true(!mkdir(path, 0700) || errno == EEXIST);
    FILE *in = fopen(text, "r");
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
    settle_list(dir);
}

void golden_patch(const char *dir, const char *file, uint64_t at,
                  const char *hex)
{
    char path[200];
    snprintf(path, sizeof(path), "%s/%s", dir, file);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    write_hex(fd, (off_t)at, hex);
    close(fd);
}

unsigned golden_frames(const char *dir, uint8_t *kind, size_t *at,
                       unsigned most)
{
    size_t n, from = 0;
    unsigned count = 0;
    char *p = golden_file(dir, "log", &n);
    while (from + 40u <= n && memcmp(p + from, "SLOG", 4) == 0 &&
           count < most) {
        uint32_t payload;
        memcpy(&payload, p + from + 4u, 4);
        kind[count] = (uint8_t)p[from + 24u];
        at[count++] = from;
        from += 40u + payload;
    }
    free(p);
    return count;
}

/* ---- reading ---- */

static int is_older(const uint8_t *p, uint64_t n)
{
    while (n && p[n - 1u] == GOLDEN_OLDER)
        n--;
    return n == 0;
}

unsigned golden_read_all(struct sl_runtime *rt, unsigned *wrong)
{
    static uint8_t got[100000];
    unsigned good = 0;
    for (unsigned i = 0; i < goldens; i++) {
        const struct golden *g = &golden[i];
        uint64_t tag, size = 0;
        uint8_t *want = golden_content(g);
        int rc = sl_tag_find(rt, g->tag, &tag);
        if (!rc)
            rc = sl_get(rt, tag, g->name, 0, got, g->at + g->size, &size);
        if (!rc && size == g->at + g->size && !memcmp(got, want, size))
            good++;
        else if (!rc) /* or what the log would have replaced */
            *wrong += !(g->logged && is_older(got, size));
        else if (rc == SL_ENOCODEC && !codec_find(g->codec))
            good++; /* a codec that this build has not */
        else
            *wrong += rc != SL_ENOENT && rc != SL_ENOTAG && rc != SL_ECHECKSUM;
        free(want);
    }
    return good;
}

int golden_bad_read(const char *line, struct golden_bad *b)
{
    return sscanf(line, "%63s %d %u %63s %llx %1999s", b->name, &b->code,
                  &b->good, b->file, &b->at, b->hex) == 6;
}

void golden_bad_check(const char *text, const struct golden_bad *b)
{
    char dir[64];
    unsigned wrong = 0;
    struct sl_runtime *rt = NULL;
    make_dir(dir, sizeof(dir));
    golden_unpack(text, dir);
    golden_patch(dir, b->file, b->at, b->hex);
    struct sl_config c = golden_config(dir);
    sl_set_log(show_log, NULL);
    int rc = sl_open(&c, &rt);
    if (rc != b->code)
        print_error("%s: code %d, not %d\n", b->name, rc, b->code);
    assert_int_equal(rc, b->code);
    if (!rc) {
        unsigned good = golden_read_all(rt, &wrong);
        if (good != b->good)
            print_error("%s: %u blobs, not %u\n", b->name, good, b->good);
        assert_int_equal(good, b->good);
        assert_int_equal(wrong, 0);
        assert_int_equal(sl_close(rt), 0);
    }
    remove_dir(dir);
}
