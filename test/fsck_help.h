/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of sl_fsck share: stores with known blobs, what a check tells,
 * damage. */
#ifndef FSCK_HELP_H
#define FSCK_HELP_H

#include "store_help.h"

#include "store/meta_log.h"
#include "store/meta_record.h"

#include <fcntl.h>
#include <lmdb.h>
#include <sys/wait.h>
#include <xxhash.h>

#define HELP __attribute__((unused))

#define BLOBS 40u
#define SIZE 10000u
#define LARGE 200000u
#define CODED 30000u

/* ---- stores ---- */

static HELP void put_one(struct sl_runtime *rt, uint64_t tag, unsigned i)
{
    static uint8_t in[SIZE];
    char name[32];
    struct sl_put_opts o = {.size = sizeof(o), .score = -1, .persist = 2};
    snprintf(name, sizeof(name), "blob-%u", i);
    fill(in, sizeof(in), i + 1u);
    assert_int_equal(sl_put(rt, tag, name, 0, in, sizeof(in), &o), 0);
}

static HELP int check_one(struct sl_runtime *rt, uint64_t tag, unsigned i)
{
    static uint8_t in[SIZE], out[SIZE];
    char name[32];
    snprintf(name, sizeof(name), "blob-%u", i);
    fill(in, sizeof(in), i + 1u);
    int rc = sl_get(rt, tag, name, 0, out, sizeof(out), NULL);
    return !rc && memcmp(in, out, sizeof(in)) != 0 ? -1 : rc;
}

static HELP struct sl_config config_in(const char *dir)
{
    struct sl_config c = small_config();
    c.data_dir = dir;
    return c;
}

static HELP void make_store(const char *dir)
{
    struct sl_config c = config_in(dir);
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = 0;
    assert_int_equal(sl_tag(rt, "tag", &tag), 0);
    for (unsigned i = 0; i < BLOBS; i++)
        put_one(rt, tag, i);
    assert_int_equal(sl_close(rt), 0);
}

/* Opens and reads: good blobs are counted, the code of others is in *code. */
static HELP unsigned read_all(const char *dir, int *code)
{
    struct sl_config c = config_in(dir);
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = 0;
    unsigned good = 0;
    assert_int_equal(sl_tag_find(rt, "tag", &tag), 0);
    for (unsigned i = 0; i < BLOBS; i++) {
        int rc = check_one(rt, tag, i);
        good += rc == 0;
        if (rc)
            *code = rc;
    }
    assert_int_equal(sl_close(rt), 0);
    return good;
}

/* ---- what a check tells ---- */

struct told {
    unsigned n;
    int code;
    char tag[64], blob[64], text[256];
    char first[256]; /* text of the first */
    /* tag, blob: of the last that names one; text: of the last */
};

static struct told told;

static HELP void tell(void *user, const struct sl_fsck_problem *p)
{
    struct told *t = user;
    if (!t->n++)
        snprintf(t->first, sizeof(t->first), "%s", p->text);
    t->code = p->code;
    if (p->tag)
        snprintf(t->tag, sizeof(t->tag), "%s", p->tag);
    if (p->blob)
        snprintf(t->blob, sizeof(t->blob), "%s", p->blob);
    snprintf(t->text, sizeof(t->text), "%s", p->text);
}

static struct sl_fsck_report report;

static HELP int fsck_drop(const char *dir, uint32_t flags, const char *drop)
{
    struct sl_fsck_opts o = {.size = sizeof(o),
                             .dir = dir,
                             .flags = flags,
                             .problem = tell,
                             .user = &told,
                             .drop = drop};
    memset(&told, 0, sizeof(told));
    memset(&report, 0, sizeof(report));
    return sl_fsck(&o, &report);
}

static HELP int fsck(const char *dir, uint32_t flags)
{
    return fsck_drop(dir, flags, NULL);
}

/* ---- damage ---- */

static HELP void flip(const char *dir, const char *file, off_t at)
{
    char path[128];
    uint8_t byte = 0;
    snprintf(path, sizeof(path), "%s/%s", dir, file);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x55;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

/* Rewrites the record of a blob, or a tag without a blob; with its sum when
 * `sum`. What is to be changed is 8 bytes at `at`. */
static HELP void set_record(const char *dir, const char *blob, size_t at,
                            uint64_t value, int sum)
{
    char path[128];
    uint8_t record[512];
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_cursor *cur;
    MDB_val key, data;
    snprintf(path, sizeof(path), "%s/meta", dir);
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_maxdbs(env, 2), 0);
    assert_int_equal(mdb_env_open(env, path, MDB_NOLOCK, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, blob ? "blobs" : "tags", 0, &dbi), 0);
    assert_int_equal(mdb_cursor_open(txn, dbi, &cur), 0);
    do
        assert_int_equal(mdb_cursor_get(cur, &key, &data, MDB_NEXT), 0);
    while (blob && (key.mv_size != 8 + strlen(blob) ||
                    memcmp((char *)key.mv_data + 8, blob, strlen(blob)) != 0));
    assert_true(data.mv_size <= sizeof(record) && at + 16 <= data.mv_size);
    memcpy(record, data.mv_data, data.mv_size);
    for (unsigned i = 0; i < 8; i++)
        record[at + i] = (uint8_t)(value >> (8 * i));
    if (sum) {
        uint64_t x = XXH3_64bits(record, data.mv_size - 8);
        memcpy(record + data.mv_size - 8, &x, 8);
    }
    data.mv_data = record;
    assert_int_equal(mdb_cursor_put(cur, &key, &data, MDB_CURRENT), 0);
    mdb_cursor_close(cur);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

#define LOC_AT(name) (META_BLOB_HEAD + sizeof(name) - 1u + 8u)

/* ---- a killed process's store ---- */

/* Too large for its bytes to go through the log; behind those that do. */
static HELP void put_large(struct sl_runtime *rt, uint64_t tag)
{
    struct sl_put_opts o = {.size = sizeof(o), .score = -1, .persist = 2};
    uint8_t *in = calloc(1, LARGE);
    assert_non_null(in);
    fill(in, LARGE, 77);
    assert_int_equal(sl_put(rt, tag, "large", 0, in, LARGE, &o), 0);
    free(in);
}

/* Coded bytes go through the log as they are stored. */
static HELP void put_coded(struct sl_runtime *rt, uint64_t tag)
{
    static const uint8_t in[CODED] = {1};
    struct sl_put_opts o = {.size = sizeof(o),
                            .score = -1,
                            .persist = 2,
                            .codec = SL_CODEC(SL_CODEC_LZ4, SL_CODEC_FAST)};
    int rc = sl_put(rt, tag, "coded", 0, in, sizeof(in), &o);
    if (rc == SL_ENOCODEC) {
        o.codec = 0;
        rc = sl_put(rt, tag, "coded", 0, in, sizeof(in), &o);
    }
    assert_int_equal(rc, 0);
}

static HELP void check_coded(const char *dir)
{
    static const uint8_t in[CODED] = {1};
    static uint8_t out[CODED];
    struct sl_config c = config_in(dir);
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = 0;
    assert_int_equal(sl_tag(rt, "tag", &tag), 0);
    assert_int_equal(sl_get(rt, tag, "coded", 0, out, sizeof(out), NULL), 0);
    assert_memory_equal(in, out, sizeof(in));
    assert_int_equal(sl_close(rt), 0);
}

/* A store whose blobs are in the log alone. */
static HELP void make_logged(char dir[64], size_t room)
{
    int status = 1;
    make_dir(dir, room);
    pid_t pid = fork();
    if (pid == 0) {
        struct sl_config c = config_in(dir);
        c.flush_ms = 3600000;
        struct sl_runtime *rt = open_store(&c);
        uint64_t tag = 0;
        if (sl_tag(rt, "tag", &tag))
            _exit(3);
        for (unsigned i = 0; i < BLOBS; i++)
            put_one(rt, tag, i);
        put_large(rt, tag);
        put_coded(rt, tag);
        _exit(0);
    }
    assert_true(waitpid(pid, &status, 0) == pid);
    assert_int_equal(status, 0);
}

#endif
