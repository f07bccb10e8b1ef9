/* SPDX-License-Identifier: Apache-2.0 */
/* Makes the golden store and its damaged forms. */
#include "golden.h"

#include "codec/codec.h"
#include "store/meta.h"
#include "store/meta_log.h"
#include "store/meta_record.h"

#include <sys/wait.h>
#include <xxhash.h>

#define FRAMES 64u

/* ---- the store ---- */

static uint64_t tag_of(struct sl_runtime *rt, const char *name)
{
    uint64_t tag = 0;
    assert_int_equal(sl_tag(rt, name, &tag), 0);
    return tag;
}

static void put(struct sl_runtime *rt, const struct golden *g, const char *tag,
                const char *name, uint8_t other)
{
    struct sl_put_opts o = {.size = sizeof(o),
                            .score = g->second ? 0.95f : -1,
                            .persist = g->level,
                            .codec = g->codec,
                            .context = 7};
    uint8_t *p = golden_content(g);
    for (uint64_t i = g->at; other && i < g->at + g->size; i++)
        p[i] = other;
    assert_int_equal(
        sl_put(rt, tag_of(rt, tag), name, g->at, p + g->at, g->size, &o), 0);
    free(p);
}

/* What LMDB has: all but what is in the log alone, there under older names. */
static void make_recorded(const char *dir)
{
    struct sl_config c = golden_config(dir);
    struct sl_runtime *rt = open_store(&c);
    const struct golden gone = {.size = 10, .level = 2};
    char path[100];
    snprintf(path, sizeof(path), "%s/second", dir);
    const struct sl_target_opts second = {.size = sizeof(second),
                                          .name = "second",
                                          .kind = "file",
                                          .path = path,
                                          .capacity = MIB,
                                          .score = 0.95f};
    assert_int_equal(sl_target_add(rt, &second, NULL), 0);
    put(rt, &gone, "deleted", "gone", 0);
    put(rt, &gone, "first", "gone", 0);
    for (unsigned i = 0; i < goldens; i++) {
        const struct golden *g = &golden[i];
        if (!g->logged || g->logged == 2 || g->was || g->was_tag)
            put(rt, g, g->was_tag ? g->was_tag : g->tag,
                g->was ? g->was : g->name, g->logged == 2 ? GOLDEN_OLDER : 0);
    }
    assert_int_equal(sl_close(rt), 0);
}

/* What only the log has; ends without a close. The delete of the tag is last. */
static _Noreturn void make_logged(const char *dir)
{
    struct sl_config c = golden_config(dir);
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag;
    for (unsigned i = 0; i < goldens; i++) {
        const struct golden *g = &golden[i];
        int rc = 0;
        if (g->was_tag)
            rc = sl_tag_rename(rt, tag_of(rt, g->was_tag), g->tag);
        else if (g->was)
            rc = sl_rename(rt, tag_of(rt, g->tag), g->was, tag_of(rt, g->tag),
                           g->name, 0);
        else if (g->logged)
            put(rt, g, g->tag, g->name, 0);
        assert_int_equal(rc, 0);
    }
    assert_int_equal(sl_del(rt, tag_of(rt, "first"), "gone"), 0);
    assert_int_equal(sl_tag_find(rt, "deleted", &tag), 0);
    assert_int_equal(sl_tag_del(rt, tag), 0);
    _exit(0);
}

static void make_store(const char *dir)
{
    int status = 1;
    make_recorded(dir);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        make_logged(dir);
    assert_true(waitpid(pid, &status, 0) == pid);
    assert_int_equal(status, 0);
}

/* ---- the bad ones ---- */

struct maker {
    const char *text;
    char dir[64]; /* the store, never opened */
    FILE *out;
    unsigned last; /* blobs of the log that are behind the one in hand */
};

static void bad(const struct maker *m, const char *name, int code,
                unsigned good, const char *file, uint64_t at, const char *hex)
{
    struct golden_bad b;
    char line[GOLDEN_LINE_MAX + 200u];
    snprintf(line, sizeof(line), "%s %d %u %s %llx %s\n", name, code, good,
             file, (unsigned long long)at, hex);
    assert_true(golden_bad_read(line, &b));
    golden_bad_check(m->text, &b);
    fputs(line, m->out);
}

/* Where these bytes are last in a file of the store. */
static uint64_t find(const struct maker *m, const char *file, const void *what,
                     size_t n)
{
    size_t size, at = 0;
    char *p = golden_file(m->dir, file, &size);
    for (size_t i = 0; i + n <= size; i++)
        if (!memcmp(p + i, what, n))
            at = i;
    assert_true(at > 0);
    free(p);
    return at;
}

static void to_hex(const uint8_t *p, size_t n, char *hex)
{
    assert_true(2u * n < GOLDEN_LINE_MAX);
    for (size_t i = 0; i < n; i++)
        snprintf(hex + 2u * i, 3, "%02x", p[i]);
}

/* ---- of records ---- */

struct wanted {
    const char *name;
    int found;
    struct meta_blob blob;
    struct meta_extent ext[4];
};

static int no_tag(void *user, uint64_t id, const char *name, uint32_t len)
{
    (void)user;
    (void)id;
    (void)name;
    (void)len;
    return 0;
}

static int keep_wanted(void *user, const struct meta_blob *b)
{
    struct wanted *w = user;
    if (b->name_len != strlen(w->name) ||
        memcmp(b->name, w->name, b->name_len) != 0)
        return 0;
    assert_in_range(b->n_extents, 1, 4);
    w->found = 1;
    w->blob = *b;
    memcpy(w->ext, b->extents, b->n_extents * sizeof(w->ext[0]));
    w->blob.name = w->name;
    w->blob.extents = w->ext;
    return 0;
}

/* The record of a blob, from a copy: an open applies the log. */
static void record_of(const struct maker *m, const char *name, struct wanted *w)
{
    char dir[64];
    struct meta_config c = {.dir = dir};
    struct meta *meta = NULL;
    memset(w, 0, sizeof(*w));
    w->name = name;
    make_dir(dir, sizeof(dir));
    golden_unpack(m->text, dir);
    assert_int_equal(meta_open(&c, &meta), 0);
    assert_int_equal(meta_load(meta, no_tag, keep_wanted, w), 0);
    meta_close(meta);
    assert_true(w->found);
    remove_dir(dir);
}

/* A record with a sum that fits and a codec that nobody knows. */
static void bad_codec(const struct maker *m)
{
    uint8_t bytes[400];
    char hex[2u * sizeof(bytes) + 1u];
    struct wanted w;
    record_of(m, "by zlib", &w);
    size_t n = meta_blob_encode(&w.blob, bytes);
    assert_true(n <= sizeof(bytes));
    uint64_t at = find(m, "meta/data.mdb", bytes, n);
    w.ext[0].codec = SL_CODECS;
    assert_int_equal(meta_blob_encode(&w.blob, bytes), n);
    to_hex(bytes, n, hex);
    bad(m, "codec-11", SL_EVERSION, 0, "meta/data.mdb", at, hex);
}

static void bad_extents(const struct maker *m)
{
    static const char *const names[] = {
        "by bzip2", "by blosc", "by brotli", "by lz4",  "by lzma", "by snappy",
        "by lzo",   "by zfp",   "by zlib",   "by zstd", "a page"};
    struct wanted w;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char name[32];
        snprintf(name, sizeof(name), "data-%s", strrchr(names[i], ' ') + 1);
        record_of(m, names[i], &w);
        assert_int_equal(w.ext[0].codec == 0, strcmp(names[i], "a page") == 0);
        bad(m, name, 0, goldens - 1u, "data", w.ext[0].loc + 9u, "58");
    }
    record_of(m, "on the second target", &w);
    assert_int_equal(w.ext[0].target, 1);
    bad(m, "data-second", 0, goldens - 1u, "second", w.ext[0].loc + 9u, "58");
    /* Bytes that never came before a frame that names them: no such frame. */
    record_of(m, "too long for it", &w);
    bad(m, "logged-data", 0, goldens - 1u, "data", w.ext[0].loc + 9u, "58");
}

/* ---- of the log ---- */

/* Blobs that are lost when the log ends before frame `i`. */
static unsigned lost_from(const uint8_t *kind, unsigned i, unsigned n)
{
    unsigned lost = 0;
    for (; i < n;
         i++) /* 3: the made tag has its blobs in frames of their own */
        lost += kind[i] == 1 || kind[i] == 5 || kind[i] == 6;
    return lost;
}

/* Frames that some frame says were synced: without one of these the store is
 * refused, as long as the frame that says so is whole. */
static unsigned synced_of(const char *log, const size_t *at, unsigned n)
{
    uint32_t most = 0, synced;
    for (unsigned i = 0; i < n; i++) {
        memcpy(&synced, log + at[i] + LOG_AT_SYNCED, sizeof(synced));
        most = synced > most ? synced : most;
    }
    return most;
}

static void bad_frames(const struct maker *m)
{
    static const char *const names[] = {"begin",  "put",    "delete", "tag",
                                        "no-tag", "rename", "carry"};
    uint8_t kind[FRAMES], frame[200];
    char hex[2u * sizeof(frame) + 1u], name[32];
    size_t at[FRAMES], size;
    unsigned n = golden_frames(m->dir, kind, at, FRAMES), done = 0;
    char *log = golden_file(m->dir, "log", &size);
    unsigned synced = synced_of(log, at, n);
    /* One of each kind that is torn; the renamed tag counts as one more. */
    for (unsigned i = 0; i < n; i++) {
        if (done & 1u << kind[i])
            continue;
        done |= 1u << kind[i];
        unsigned tags = 0, lost = lost_from(kind, i, n);
        for (unsigned k = i; k < n; k++)
            tags += kind[k] == 3;
        lost += tags > 0; /* the last of them is the rename */
        snprintf(name, sizeof(name), "log-%s", names[kind[i]]);
        if (i < synced)
            bad(m, name, SL_ECORRUPT, 0, "log", at[i] + 33u, "58");
        else
            bad(m, name, 0, goldens - lost, "log", at[i] + 33u, "58");
    }
    assert_int_equal(done, 0x7f);
    /* A frame that is whole and of no kind. */
    uint64_t before;
    size_t bytes = size < at[n - 1u] + 48u ? 0 : 48u; /* its key is an id */
    assert_int_equal(kind[n - 1u], 4);
    assert_int_equal(bytes, 48);
    memcpy(frame, log + at[n - 1u], bytes);
    memcpy(&before, log + at[n - 1u] - 8u, 8);
    frame[24] = 9;
    uint64_t sum = XXH3_64bits_withSeed(frame, 40, before);
    memcpy(frame + 40, &sum, 8);
    to_hex(frame + 24, 24, hex);
    bad(m, "log-unknown", SL_ECORRUPT, 0, "log", at[n - 1u] + 24u, hex);
    free(log);
}

static void make_bad(const struct maker *m)
{
    bad(m, "version", SL_EVERSION, 0, "format", 13, "32");
    bad(m, "format-line", SL_ECORRUPT, 0, "format", 0, "58");
    bad(m, "format-longer", SL_ECORRUPT, 0, "format", 15, "58");
    bad(m, "blob-record", SL_ECORRUPT, 0, "meta/data.mdb",
        find(m, "meta/data.mdb", "a page", 6), "58");
    bad(m, "tag-record", SL_ECORRUPT, 0, "meta/data.mdb",
        find(m, "meta/data.mdb", "second tag", 10), "58");
    bad(m, "log-record", SL_ECORRUPT, 0, "meta/data.mdb",
        find(m, "meta/data.mdb", "sluicelg", 8), "58");
    bad(m, "format-record", SL_ECORRUPT, 0, "meta/data.mdb",
        find(m, "meta/data.mdb", "sluicemd", 8), "58");
    bad(m, "lmdb-one-head", SL_ECORRUPT, 0, "meta/data.mdb", 20, "02");
    bad(m, "lmdb-magic", SL_ECORRUPT, 0, "meta/data.mdb", 16, "58");
    bad(m, "targets-sum", SL_ECORRUPT, 0, "targets", 20, "58");
    bad(m, "target-identity", SL_ENOTARGET, 0, "second", 16, "585858585858");
    bad_codec(m);
    bad_extents(m);
    bad_frames(m);
}

void golden_make(const char *text, const char *list)
{
    struct maker m = {.text = text};
    make_dir(m.dir, sizeof(m.dir));
    for (unsigned id = 1; id < SL_CODECS; id++)
        assert_non_null(codec_find(id)); /* made where all codecs are */
    make_store(m.dir);
    golden_pack(m.dir, text);
    m.out = fopen(list, "w");
    assert_non_null(m.out);
    make_bad(&m);
    fclose(m.out);
    remove_dir(m.dir);
}
