/* SPDX-License-Identifier: Apache-2.0 */
#include "store/fsck.h"

#include "base/log.h"
#include "store/dir.h"
#include "store/fsck_int.h"
#include "store/meta_check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- problems ---- */

static void name_tag(struct fsck *f, uint64_t id)
{
    uint8_t text[META_KEY_MAX];
    MDB_val key = {meta_key(id, NULL, 0, text), text}, data;
    struct meta_blob b;

    if (!mdb_get(f->txn, f->env.tags, &key, &data) &&
        !meta_tag_decode(data.mv_data, data.mv_size, &b)) {
        memcpy(f->tag_name, b.name, b.name_len);
        f->tag_name[b.name_len] = '\0';
    } else {
        snprintf(f->tag_name, sizeof f->tag_name, "#%016llx",
                 (unsigned long long)id);
    }
}

void fsck_problem(struct fsck *f, const struct fsck_record *r,
                  struct sl_fsck_problem *p)
{
    uint64_t id = 0;

    if (r) {
        size_t n = r->key_bytes > 8u ? r->key_bytes - 8u : 0;
        n = n < sizeof f->blob_name ? n : sizeof f->blob_name - 1u;
        for (size_t i = 0; i < 8 && i < r->key_bytes; i++)
            id = id << 8 | r->key[i];
        name_tag(f, id);
        p->tag = f->tag_name;
        memcpy(f->blob_name, r->key + 8, n);
        f->blob_name[n] = '\0';
        p->blob = n ? f->blob_name : NULL;
    }
    f->r->problems++;
    f->r->repaired += p->repaired != 0;
    if (f->o->problem)
        f->o->problem(f->o->user, p);
}

static void problem(struct fsck *f, int code, const char *text)
{
    struct sl_fsck_problem p = {.code = code, .text = text};
    fsck_problem(f, NULL, &p);
}

/* ---- tags ---- */

static int tag_check(struct fsck *f, MDB_cursor *cur, const MDB_val *key,
                     const MDB_val *data)
{
    struct sl_fsck_problem p = {.code = SL_ECORRUPT,
                                .text = "the record of a tag is damaged",
                                .repaired = fsck_repairs(f)};
    uint8_t want[META_KEY_MAX];
    struct fsck_record r = {0};
    struct meta_blob b;

    f->r->tags++;
    if (!meta_tag_decode(data->mv_data, data->mv_size, &b) &&
        meta_key(b.tag, NULL, 0, want) == key->mv_size &&
        !memcmp(want, key->mv_data, key->mv_size))
        return 0;
    r.key_bytes = key->mv_size < 8u ? key->mv_size : 8u;
    memcpy(r.key, key->mv_data, r.key_bytes);
    fsck_problem(f, &r, &p);
    return p.repaired ? mdb_cursor_del(cur, 0) : 0;
}

static int tags_check(struct fsck *f)
{
    MDB_val key, data;
    MDB_cursor *cur;
    int rc = mdb_cursor_open(f->txn, f->env.tags, &cur);

    if (rc)
        return rc;
    while (!(rc = mdb_cursor_get(cur, &key, &data, MDB_NEXT)) &&
           !(rc = tag_check(f, cur, &key, &data)))
        ;
    mdb_cursor_close(cur);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* ---- the log ---- */

static int verify(void *user, const struct meta_extent *e)
{
    struct fsck *f = user;
    uint8_t *buf = malloc(e->stored);
    enum fsck_state s;

    if (!buf)
        return SL_ENOMEM;
    s = fsck_read_one(&f->files, e, buf);
    free(buf);
    f->files.away += s == FSCK_NOWHERE && !fsck_is_lost(&f->files, e->target);
    f->files.unread += s == FSCK_FAILED;
    /* As at a start: what else is wrong is no power cut's, and is told of the
     * blob. */
    return s == FSCK_BAD || s == FSCK_SHORT ? SL_ECHECKSUM : SL_OK;
}

/* Damage in the synced part of the log. A repair ends the log's generation, so
 * what follows the damage would be gone: only with SL_FSCK_CUT. */
static void hole_check(struct fsck *f)
{
    const struct log_hole *h = &f->log.hole;
    int cuts = fsck_repairs(f) && (f->o->flags & SL_FSCK_CUT) != 0;
    struct sl_fsck_problem p = {.code = SL_ECORRUPT, .repaired = cuts};
    char text[256];

    if (!h->synced)
        return;
    f->frozen |= !cuts;
    snprintf(text, sizeof text,
             "log: damaged at byte %llu, frame %llu; %llu frames were synced, "
             "%llu whole ones follow the damage%s",
             (unsigned long long)h->at, (unsigned long long)h->number,
             (unsigned long long)h->synced, (unsigned long long)h->whole,
             cuts ? " and are dropped" : "; nothing is mended without a cut");
    p.text = text;
    fsck_problem(f, NULL, &p);
}

/* A repair ends the log: bytes that only it has would be gone, and changes would
 * count whose bytes nobody has seen. */
static void away_check(struct fsck *f)
{
    struct sl_fsck_problem p = {
        .code = SL_ENOTARGET,
        .text = "log: has bytes for a target that is not there; nothing is "
                "mended without it"};

    if (!f->files.away && !f->files.unread)
        return;
    if (!f->files.away) {
        p.code = SL_EIO;
        p.text = "log: names bytes that cannot be read; nothing is mended "
                 "without them";
    }
    f->frozen = 1;
    fsck_problem(f, NULL, &p);
}

static int replay(struct fsck *f)
{
    struct apply a = {.env = &f->env,
                      .log = &f->log,
                      .replay = 1,
                      .skips = 1,
                      .verify = verify,
                      .user = f};
    int rc;

    if (!f->log.n && !f->log.hole.synced)
        return 0;
    rc = fsck_carried_load(f);
    if (!rc)
        rc = meta_apply_in(&a, f->txn);
    away_check(f);
    hole_check(f);
    f->r->log_dropped = a.dropped;
    if (f->log.n)
        f->r->log_changes = f->log.n - 1u - a.dropped - a.skipped;
    if (!rc && (a.skipped || f->bad_frames)) {
        struct sl_fsck_problem p = {.code = SL_ECORRUPT,
                                    .text = "the log holds what no store "
                                            "writes",
                                    .repaired = fsck_repairs(f)};
        fsck_problem(f, NULL, &p);
    }
    return rc;
}

/* ---- all of it ---- */

static int all_check(struct fsck *f)
{
    int rc = replay(f);

    if (!rc)
        rc = tags_check(f);
    if (!rc)
        rc = fsck_blobs(f);
    fsck_files_tell_lost(f);
    return rc;
}

static int ended(struct fsck *f, int rc)
{
    if (rc == SL_ENOMEM)
        return rc;
    return rc ? meta_env_fail(&f->env, "cannot check", rc) : SL_OK;
}

/* The data a replayed record names is synced before the record. */
static int commit(struct fsck *f)
{
    int rc = fsck_carried_write(f);

    if (rc)
        return rc;
    for (unsigned i = 0; i < f->files.n; i++)
        if (f->files.at[i].fd >= 0 && fdatasync(f->files.at[i].fd))
            return meta_env_fail(&f->env, "cannot sync the data", errno);
    rc = mdb_txn_commit(f->txn);
    return rc ? meta_env_fail(&f->env, "cannot repair", rc) : SL_OK;
}

/* A target leaves the list when no record names it. */
static int mend(struct fsck *f, struct store_dir *d)
{
    int rc = commit(f);

    return rc || f->newer ? rc : fsck_files_drop(f, d);
}

static int env_check(struct fsck *f, struct store_dir *d)
{
    int rc = mdb_txn_begin(f->env.env, NULL, 0, &f->txn);

    if (rc)
        return meta_env_fail(&f->env, "cannot read", rc);
    rc = ended(f, all_check(f));
    if (!rc && fsck_repairs(f) && (f->r->repaired || f->log.n))
        return mend(f, d);
    mdb_txn_abort(f->txn);
    return rc;
}

/* A store without its metadata is told from one that was never finished by
 * what is in the data file. SL_ENOENT: that; SL_ECORRUPT with the reason. */
static int meta_look(const struct fsck *f, const struct store_dir *d,
                     const char *file, char *why, size_t room)
{
    if (!access(file, F_OK)) {
        int rc = meta_check(file, why, room);
        if (rc && rc != SL_ECORRUPT)
            log_error("%s: %s", file, why);
        return rc;
    }
    if (errno != ENOENT)
        return dir_errno(errno);
    if (access(d->meta, F_OK) && !f->files.at[0].bytes)
        return SL_ENOENT;
    snprintf(why, room, "%s",
             access(d->meta, F_OK) ? "there is data but no metadata"
                                   : "meta holds no data.mdb");
    return SL_ECORRUPT;
}

/* Tells that the metadata is damaged, and makes it anew in a repair. */
static int meta_mend(struct fsck *f, const struct store_dir *d, const char *why)
{
    char text[256];
    struct sl_fsck_problem p = {.code = SL_ECORRUPT, .text = text};
    int rc = fsck_repairs(f) ? fsck_salvage(f, d) : SL_ECORRUPT;

    if (rc && rc != SL_ENOENT && rc != SL_ECORRUPT)
        return rc;
    p.repaired = !rc;
    snprintf(text, sizeof text, "meta/data.mdb: %s%s", why,
             rc == SL_ENOENT ? "; nothing of it can be read" : "");
    fsck_problem(f, NULL, &p);
    return rc ? SL_ECORRUPT : SL_OK;
}

/* SL_ENOENT: there is nothing to check. SL_ECORRUPT: it was told. */
static int env_open(struct fsck *f, const struct store_dir *d)
{
    char *file = dir_join(d->meta, "data.mdb");
    char why[128];
    int rc = file ? meta_look(f, d, file, why, sizeof why) : SL_ENOMEM;

    free(file);
    if (rc == SL_ECORRUPT)
        rc = meta_mend(f, d, why);
    if (rc)
        return rc;
    rc = meta_env_open(d->path, 0, &f->env);
    if (rc != SL_ECORRUPT)
        return rc;
    rc = meta_mend(f, d, "the format record or that of the log is damaged");
    return rc ? rc : meta_env_open(d->path, 0, &f->env);
}

static int store_check(struct fsck *f, struct store_dir *d)
{
    int rc = fsck_files_open(f, d);

    if (rc == SL_ECORRUPT && !f->r->problems)
        problem(f, rc, "the list of targets is damaged");
    if (!rc)
        rc = env_open(f, d);
    if (rc == SL_ENOENT || rc == SL_ECORRUPT)
        return SL_OK; /* nothing more to look at */
    if (rc)
        return rc;
    rc = log_look(d->path, f->env.generation, &f->log);
    if (!rc)
        rc = env_check(f, d);
    log_close(&f->log);
    meta_env_close(&f->env);
    for (unsigned i = 0; i < f->files.n; i++)
        f->r->file += f->files.at[i].bytes;
    f->r->free = f->r->file - f->r->stored;
    return rc;
}

/* dir_open makes what is absent; a check must not. */
static int must_exist(const char *dir)
{
    char *format = dir_join(dir, "format");
    struct stat st;
    int rc = SL_OK;

    if (!format)
        return SL_ENOMEM;
    if (stat(dir, &st) || !S_ISDIR(st.st_mode)) {
        log_error("store %s: no such directory", dir);
        rc = SL_ENOTDIR;
    } else if (stat(format, &st)) {
        log_error("store %s: is no store, it has no format", dir);
        rc = errno == ENOENT ? SL_EINVAL : dir_errno(errno);
    }
    free(format);
    return rc;
}

int store_fsck(const struct sl_fsck_opts *o, struct sl_fsck_report *report)
{
    struct sl_fsck_report r = {0};
    struct fsck f = {.o = o, .r = &r};
    struct store_dir *d;
    int rc = must_exist(o->dir);

    if (!rc)
        rc = dir_open(o->dir, &d);
    if (rc)
        return rc;
    rc = store_check(&f, d);
    fsck_files_close(&f);
    dir_close(d);
    if (rc)
        return rc;
    *report = r;
    return r.problems ? 1 : 0;
}
