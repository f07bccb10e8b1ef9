/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Fuzzes the start of a store on a damaged directory: whatever its files hold,
 * sl_open and sl_fsck end with a code, and a blob that can be read has the
 * bytes that were put.
 *
 * An input is a list of patches of 8 bytes: which file, where, what.
 */
#include "help.h"

#include "codec/codec.h"
#include "sluice/sluice.h"

#include <fcntl.h>
#include <sys/stat.h>

#define FILES 6u
#define BLOBS 12u
#define PATCHES_MAX 64u
#define BYTES_MAX 70000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct image {
    const char *name;
    uint8_t *bytes;
    size_t n;
};

static struct image files[FILES] = {
    {"format", NULL, 0},        {"data", NULL, 0},    {"log", NULL, 0},
    {"meta/data.mdb", NULL, 0}, {"targets", NULL, 0}, {"second", NULL, 0}};
static char home[64];

static void must(int yes)
{
    if (!yes)
        abort();
}

static struct sl_config config(void)
{
    struct sl_config c = {.size = sizeof(c)};
    c.data_dir = home;
    c.workers = 1;
    c.depth = 32;
    c.arena_bytes = 4 * MIB;
    c.pinned_bytes = MIB;
    c.file_bytes = 2 * MIB;
    c.flush_ms = 60000; /* so that the log has records, too */
    return c;
}

/* Each blob has another one, those that are not here have none. */
static uint8_t codec_of(unsigned i)
{
    unsigned id = i % SL_CODECS;
    return codec_find(id) ? (uint8_t)id : SL_CODEC_NONE;
}

static void blob_of(unsigned i, char name[32], uint8_t *bytes, uint64_t *size)
{
    static const uint64_t sizes[] = {10, 5000, BYTES_MAX, 300};
    snprintf(name, 32, "blob-%u", i);
    *size = sizes[i % 4u];
    fill(bytes, *size, i + 1u);
    for (uint64_t at = 100; codec_of(i) && at < *size; at++)
        bytes[at] = bytes[at % 100u];
}

static void put_blobs(struct sl_runtime *rt, unsigned from, unsigned to)
{
    static uint8_t bytes[BYTES_MAX];
    uint64_t tag, size;
    char name[32];
    must(sl_tag(rt, "t", &tag) == 0);
    for (unsigned i = from; i < to; i++) {
        struct sl_put_opts o = {.size = sizeof(o), .score = -1};
        o.persist = (uint8_t)(1u + i % 2u);
        o.score = i % 3u ? -1 : 0.95f; /* on the second target */
        o.codec = codec_of(i);
        blob_of(i, name, bytes, &size);
        must(sl_put(rt, tag, name, 0, bytes, size, &o) == 0);
    }
}

static void path_of(const char *name, char path[128])
{
    snprintf(path, 128, "%s/%s", home, name);
}

static void read_file(struct image *f)
{
    char path[128];
    struct stat st;
    path_of(f->name, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return; /* this store has none */
    must(fstat(fd, &st) == 0);
    f->n = (size_t)st.st_size;
    f->bytes = malloc(f->n + 1u);
    must(f->bytes && read(fd, f->bytes, f->n) == (ssize_t)f->n);
    close(fd);
}

static void write_file(const struct image *f)
{
    char path[128];
    if (!f->bytes)
        return;
    path_of(f->name, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0 && write(fd, f->bytes, f->n) == (ssize_t)f->n);
    close(fd);
}

static void remove_home(void)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -rf -- '%s'", home);
    (void)!system(command);
}

static void add_target(struct sl_runtime *rt)
{
    char path[128];
    path_of("second", path);
    const struct sl_target_opts o = {.size = sizeof(o),
                                     .name = "second",
                                     .kind = "file",
                                     .path = path,
                                     .capacity = MIB,
                                     .score = 0.95f};
    must(sl_target_add(rt, &o, NULL) == 0);
}

/* There and back, so that the log has frames of that. */
static void rename_both(struct sl_runtime *rt)
{
    uint64_t tag;
    must(sl_tag_find(rt, "t", &tag) == 0);
    must(sl_rename(rt, tag, "blob-1", tag, "other", 0) == 0);
    must(sl_rename(rt, tag, "other", tag, "blob-1", 0) == 0);
    must(sl_tag_rename(rt, tag, "u") == 0 && sl_tag_rename(rt, tag, "t") == 0);
    must(sl_put(rt, tag, "gone", 0, "x", 1, NULL) == 0);
    must(sl_del(rt, tag, "gone") == 0);
}

/* The directory as a killed process leaves it: half of the blobs in LMDB, half
 * in the log. Copied while the store is open, but nothing is under way. */
static void make_images(void)
{
    struct sl_config c = config();
    struct sl_runtime *rt;
    snprintf(home, sizeof(home), "fuzz-store-XXXXXX");
    must(mkdtemp(home) != NULL);
    c.data_dir = home;
    atexit(remove_home);
    must(sl_open(&c, &rt) == 0);
    add_target(rt);
    put_blobs(rt, 0, BLOBS / 2u);
    must(sl_flush(rt) == 0);
    put_blobs(rt, BLOBS / 2u, BLOBS);
    rename_both(rt);
    for (unsigned i = 0; i < FILES; i++)
        read_file(&files[i]);
    must(sl_close(rt) == 0);
}

/* ---- one input ---- */

struct patch {
    uint8_t file, kind, value, count;
    uint32_t at;
};

static void apply(const struct patch *p)
{
    const struct image *f = &files[p->file % FILES];
    uint8_t bytes[256];
    char path[128];
    if (!f->bytes || !f->n)
        return;
    path_of(f->name, path);
    /* Where a file has its records is reached more often than its end. */
    uint64_t at = p->at % (p->kind & 2u ? f->n : f->n < 8192u ? f->n : 8192u);
    if (p->kind % 16u == 15u) {
        (void)!truncate(path, (off_t)at);
        return;
    }
    size_t n = 1u + p->count % 16u;
    n = n < f->n - at ? n : f->n - at;
    for (size_t i = 0; i < n; i++)
        bytes[i] =
            p->kind & 1u ? p->value : (uint8_t)(f->bytes[at + i] ^ p->value);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    must(pwrite(fd, bytes, n, (off_t)at) == (ssize_t)n);
    close(fd);
}

static int count(void *user, const char *name, uint32_t len, uint64_t size)
{
    uint64_t *n = user;
    n[0] += len + (name[0] != 0) + (size != 0);
    return 0;
}

/* What can be read is right, and the store can be used. */
static void use(struct sl_runtime *rt)
{
    static uint8_t want[BYTES_MAX], got[BYTES_MAX];
    uint64_t tag, size, n = 0;
    char name[32];
    (void)sl_list_tags(rt, count, &n);
    if (sl_tag_find(rt, "t", &tag))
        return;
    (void)sl_list(rt, tag, count, &n);
    for (unsigned i = 0; i < BLOBS; i++) {
        blob_of(i, name, want, &size);
        if (sl_get(rt, tag, name, 0, got, size, NULL) == 0)
            must(memcmp(want, got, size) == 0);
    }
    (void)sl_put(rt, tag, "blob-3", 0, want, 100, NULL);
    (void)sl_del(rt, tag, "blob-1");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sl_config c = config();
    struct sl_fsck_opts o = {.size = sizeof(o), .dir = home};
    struct sl_fsck_report report;
    struct sl_runtime *rt;
    if (!home[0])
        make_images();
    for (unsigned i = 0; i < FILES; i++)
        write_file(&files[i]);
    for (size_t i = 0; i + 8u <= size && i < 8u * PATCHES_MAX; i += 8u) {
        struct patch p;
        memcpy(&p, data + i, 8);
        apply(&p);
    }
    (void)sl_fsck(&o, &report);
    if (sl_open(&c, &rt) == 0) {
        use(rt);
        (void)sl_close(rt);
    } else {
        o.flags = SL_FSCK_REPAIR;
        (void)sl_fsck(&o, &report);
    }
    return 0;
}
