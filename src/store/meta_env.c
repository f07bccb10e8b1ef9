/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Creates, checks and opens the LMDB environment of the metadata.
 */
#include "store/meta_env.h"

#include "base/log.h"
#include "store/dir.h"
#include "store/meta_check.h"
#include "store/meta_record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAP_DEFAULT (UINT64_C(64) << 30)
#define MAP_LIMIT (UINT64_C(1) << 40) /* what meta_check accepts */
/* The map is a multiple of the largest page of the operating system. */
#define MAP_UNIT UINT64_C(65536)

/* The code for a result of LMDB, which is its own code or an errno. */
static int lmdb_code(int rc)
{
    switch (rc) {
    case MDB_SUCCESS:
        return SL_OK;
    case MDB_VERSION_MISMATCH:
        return SL_EVERSION;
    case MDB_INVALID:
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INCOMPATIBLE:
    case MDB_NOTFOUND:
        return SL_ECORRUPT;
    case MDB_MAP_FULL:
        return SL_ENOSPC;
    default:
        break;
    }
    if (rc == ENOSPC || rc == EDQUOT || rc == EFBIG)
        return SL_ENOSPC;
    if (rc == EACCES || rc == EPERM || rc == EROFS)
        return SL_EACCES;
    return rc == ENOMEM ? SL_ENOMEM : SL_EIO;
}

int meta_env_fail(const struct meta_env *e, const char *what, int rc)
{
    log_error("metadata %s: %s: %s", e->path, what, mdb_strerror(rc));
    return lmdb_code(rc);
}

/* Doubles the map; no transaction is open. LMDB unmaps before it maps, and an
 * environment without a map is lost, so the address space is tried out first.
 */
int meta_env_grow(struct meta_env *e)
{
    uint64_t bytes = e->map_bytes * 2;
    void *trial;
    int rc;

    if (bytes > MAP_LIMIT)
        return SL_ENOSPC;
    trial = mmap(NULL, bytes, PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (trial == MAP_FAILED)
        return SL_ENOSPC;
    munmap(trial, bytes);
    rc = mdb_env_set_mapsize(e->env, bytes);
    if (rc) {
        e->broken = 1;
        return meta_env_fail(e, "cannot grow the map", rc);
    }
    e->map_bytes = bytes;
    return SL_OK;
}

int meta_env_is_full(const struct meta_env *e)
{
    static const char page[4096];
    int fd = open(e->file, O_WRONLY | O_CLOEXEC);
    struct stat st;
    ssize_t n = 0;
    int full;

    if (fd < 0 || fstat(fd, &st)) {
        if (fd >= 0)
            close(fd);
        return 0;
    }
    /* Nothing refers to what is behind the end; LMDB will write over it. */
    n = pwrite(fd, page, sizeof page, st.st_size);
    full = n < 0 ? lmdb_code(errno) == SL_ENOSPC : n < (ssize_t)sizeof page;
    close(fd);
    return full;
}

static int env_open(const struct meta_env *e, const char *path, MDB_env **out)
{
    MDB_env *env;
    int rc = mdb_env_create(&env);

    if (rc)
        return meta_env_fail(e, "cannot open", rc);
    rc = mdb_env_set_maxdbs(env, 2);
    if (!rc)
        rc = mdb_env_set_mapsize(env, e->map_bytes);
    if (!rc)
        /* The directory's lock keeps other processes out, and no reader runs
         * beside the committer (meta_load holds it off), so LMDB's own lock
         * file is not needed; being mapped and sparse, it would be a fault on a
         * full disk. */
        rc = mdb_env_open(env, path, MDB_NOTLS | MDB_NOLOCK, 0600);
    if (rc) {
        mdb_env_close(env);
        return meta_env_fail(e, "cannot open", rc);
    }
    *out = env;
    return SL_OK;
}

int meta_env_generation(const struct meta_env *e, MDB_txn *txn,
                        uint64_t generation)
{
    uint8_t record[META_GENERATION_BYTES];
    char name[] = META_GENERATION_KEY;
    MDB_val key = {sizeof name - 1, name}, data = {sizeof record, record};

    meta_generation_encode(generation, record);
    return mdb_put(txn, e->main, &key, &data, 0);
}

/* Random, so that the log of another store is none of this one's. */
static int generation_first(MDB_txn *txn, MDB_dbi dbi)
{
    struct meta_env e = {.main = dbi};

    if (getrandom(&e.generation, sizeof e.generation, 0) !=
        (ssize_t)sizeof e.generation)
        return EIO;
    return meta_env_generation(&e, txn, e.generation);
}

static int format_put(MDB_env *env)
{
    uint8_t record[META_FORMAT_BYTES];
    char name[] = META_FORMAT_KEY;
    MDB_val key = {sizeof name - 1, name}, data = {sizeof record, record};
    MDB_txn *txn;
    MDB_dbi dbi;
    int rc = mdb_txn_begin(env, NULL, 0, &txn);

    if (rc)
        return rc;
    meta_format_encode(record);
    rc = mdb_dbi_open(txn, "tags", MDB_CREATE, &dbi);
    if (!rc)
        rc = mdb_dbi_open(txn, "blobs", MDB_CREATE, &dbi);
    if (!rc)
        rc = mdb_dbi_open(txn, NULL, 0, &dbi);
    if (!rc)
        rc = mdb_put(txn, dbi, &key, &data, 0);
    if (!rc)
        rc = generation_first(txn, dbi);
    if (!rc)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return rc;
}

static void scrap(const char *dir)
{
    static const char *const files[] = {"data.mdb", "lock.mdb"};

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *file = dir_join(dir, files[i]);
        if (file)
            unlink(file);
        free(file);
    }
    rmdir(dir);
}

/* A database that holds its format, in directory `fresh`, on stable storage. */
static int create_in(const struct meta_env *e, const char *fresh)
{
    MDB_env *env = NULL;
    int rc;

    if (mkdir(fresh, 0700))
        return meta_env_fail(e, "cannot create", errno);
    rc = env_open(e, fresh, &env);
    if (rc)
        return rc;
    rc = format_put(env);
    mdb_env_close(env);
    if (rc)
        return meta_env_fail(e, "cannot create", rc);
    rc = dir_sync(fresh);
    if (rc)
        log_error("metadata %s: cannot sync the directory", fresh);
    return rc;
}

/* Nothing is in the data file before the metadata is made. What is there now
 * would be free space to a new one. */
static int was_there(const struct meta_env *e)
{
    char *data = dir_join(e->dir, "data");
    struct stat st;
    int yes = data && !stat(data, &st) && st.st_size > 0;

    free(data);
    return yes;
}

/* The database appears whole, by a rename, so that later a file without a
 * format record is known to be damaged. */
static int create(const struct meta_env *e)
{
    char *fresh;
    int rc;

    if (access(e->path, F_OK) == 0) {
        log_error("metadata %s: is there, but holds no data.mdb", e->path);
        return SL_ECORRUPT;
    }
    if (was_there(e)) {
        log_error("metadata %s: is not there, but data is", e->path);
        return SL_ECORRUPT;
    }
    fresh = dir_join(e->dir, "meta.new");
    if (!fresh)
        return meta_env_fail(e, "cannot create", ENOMEM);
    scrap(fresh); /* what a creation that was killed has left */
    rc = create_in(e, fresh);
    if (!rc && rename(fresh, e->path))
        rc = meta_env_fail(e, "cannot create", errno);
    if (rc) {
        scrap(fresh);
    } else if ((rc = dir_sync(e->dir)) != SL_OK) {
        log_error("metadata %s: cannot sync the store's directory", e->path);
    }
    free(fresh);
    return rc;
}

static int format_read(struct meta_env *e, MDB_txn *txn)
{
    char name[] = META_FORMAT_KEY;
    MDB_val key = {sizeof name - 1, name}, data;
    uint32_t version = 0;
    int rc = mdb_dbi_open(txn, NULL, 0, &e->main);

    if (!rc)
        rc = mdb_get(txn, e->main, &key, &data);
    if (rc)
        return meta_env_fail(e, "no format record", rc);
    rc = meta_format_decode(data.mv_data, data.mv_size, &version);
    if (rc == SL_EVERSION)
        log_error("metadata %s: format version %u, this program reads %u",
                  e->path, version, META_FORMAT);
    else if (rc)
        log_error("metadata %s: damaged format record", e->path);
    return rc;
}

static int generation_read(struct meta_env *e, MDB_txn *txn)
{
    char name[] = META_GENERATION_KEY;
    MDB_val key = {sizeof name - 1, name}, data;
    int rc = mdb_get(txn, e->main, &key, &data);

    if (rc)
        return meta_env_fail(e, "no record of the log", rc);
    rc = meta_generation_decode(data.mv_data, data.mv_size, &e->generation);
    if (rc)
        log_error("metadata %s: damaged record of the log", e->path);
    return rc;
}

/* Checks the format and opens the two databases, which a commit keeps. */
static int databases_open(struct meta_env *e)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(e->env, NULL, MDB_RDONLY, &txn);

    if (rc)
        return meta_env_fail(e, "cannot read", rc);
    rc = format_read(e, txn);
    if (!rc)
        rc = generation_read(e, txn);
    if (!rc) {
        int err = mdb_dbi_open(txn, "tags", 0, &e->tags);
        if (!err)
            err = mdb_dbi_open(txn, "blobs", 0, &e->blobs);
        if (err)
            rc = meta_env_fail(e, "no database of tags or blobs", err);
    }
    if (rc) {
        mdb_txn_abort(txn);
        return rc;
    }
    rc = mdb_txn_commit(txn);
    return rc ? meta_env_fail(e, "cannot read", rc) : SL_OK;
}

static int database_open(struct meta_env *e)
{
    MDB_envinfo info;
    char why[128];
    int rc = SL_OK;

    if (access(e->file, F_OK)) {
        if (errno != ENOENT)
            return meta_env_fail(e, "cannot open", errno);
        rc = create(e);
    }
    if (rc)
        return rc;
    rc = meta_check(e->file, why, sizeof why);
    if (rc) {
        log_error("metadata %s: %s", e->file, why);
        return rc;
    }
    rc = env_open(e, e->path, &e->env);
    if (rc)
        return rc;
    rc = databases_open(e);
    if (rc) {
        mdb_env_close(e->env);
        e->env = NULL;
        return rc;
    }
    /* LMDB takes the larger of what was asked and what the file had. */
    mdb_env_info(e->env, &info);
    e->map_bytes = info.me_mapsize;
    return SL_OK;
}

static void names_free(struct meta_env *e)
{
    free(e->dir);
    free(e->path);
    free(e->file);
}

int meta_env_open(const char *dir, uint64_t map_bytes, struct meta_env *out)
{
    struct meta_env e = {0};
    uint64_t map = map_bytes ? map_bytes : MAP_DEFAULT;
    int rc = SL_ENOMEM;

    if (map > MAP_LIMIT)
        map = MAP_LIMIT;
    e.map_bytes = (map + MAP_UNIT - 1) / MAP_UNIT * MAP_UNIT;
    e.dir = strdup(dir);
    e.path = dir_join(dir, "meta");
    e.file = e.path ? dir_join(e.path, "data.mdb") : NULL;
    if (!e.dir || !e.path || !e.file)
        log_error("metadata of %s: out of memory", dir);
    else
        rc = database_open(&e);
    if (rc) {
        names_free(&e);
        return rc;
    }
    *out = e;
    return SL_OK;
}

int meta_env_reopen(struct meta_env *e)
{
    int rc;

    mdb_env_close(e->env);
    e->env = NULL;
    e->broken = 1;
    rc = database_open(e);
    if (!rc)
        e->broken = 0;
    return rc;
}

void meta_env_close(struct meta_env *e)
{
    mdb_env_close(e->env);
    names_free(e);
}
