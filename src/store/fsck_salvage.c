/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "store/dir.h"
#include "store/fsck_int.h"
#include "store/shard.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

/*
 * New metadata from a file whose structure is damaged: fsck_pages.c finds the
 * records, here is decided which of them count.
 *
 * What the newest head still leads to is as good as it was. All else is a record
 * of unknown age: of a page that is cut off from the tree, or of one that was
 * given up long ago. Of those the newest of each name counts if all of its bytes
 * are what their sums say and no other blob has their space.
 *
 * Nothing is written over: the new file is made beside the damaged one, which
 * gets another name before the new one takes its place.
 */

#define COMMIT_EVERY 10000u
#define NAMES_MAX 100

struct salvage {
    struct fsck *f;
    struct fsck_pages *from;
    struct meta_env to;
    MDB_txn *txn;
    struct fsck_extent *extent; /* of one record */
    struct meta_extent *plain;
    uint32_t room, plain_room;
    uint64_t written, tags, blobs, found;
};

/* ---- the new database ---- */

/* LMDB's result, or a code. */
static int write_record(struct salvage *s, MDB_dbi dbi, MDB_val *key,
                        const uint8_t *record, size_t bytes)
{
    union {
        const uint8_t *in;
        void *p;
    } u = {record};
    MDB_val data = {bytes, u.p};
    int rc = mdb_put(s->txn, dbi, key, &data, MDB_NOOVERWRITE);

    if (!rc && ++s->written % COMMIT_EVERY == 0) {
        rc = mdb_txn_commit(s->txn);
        s->txn = NULL;
        if (!rc)
            rc = mdb_txn_begin(s->to.env, NULL, 0, &s->txn);
    }
    return rc;
}

static int is_there(struct salvage *s, MDB_dbi dbi, MDB_val key)
{
    MDB_val data;

    return !mdb_get(s->txn, dbi, &key, &data);
}

static int put_tag(struct salvage *s, const uint8_t *record, size_t bytes)
{
    uint8_t text[META_KEY_MAX];
    MDB_val key = {meta_tag_key(record, text), text};
    struct meta_blob b;
    int rc;

    if (meta_tag_decode(record, bytes, &b) || is_there(s, s->to.tags, key))
        return 0;
    rc = write_record(s, s->to.tags, &key, record, bytes);
    s->tags += !rc;
    return rc;
}

static void tell(struct salvage *s, const struct meta_blob *b, const char *text,
                 int repaired)
{
    struct sl_fsck_problem p = {
        .code = SL_ECORRUPT, .text = text, .repaired = repaired};
    struct fsck_record r = {0};

    r.key_bytes = meta_key(b->tag, b->name, b->name_len, r.key);
    s->f->txn = s->txn; /* for the tag's name */
    s->f->env = s->to;
    fsck_problem(s->f, &r, &p);
    s->f->txn = NULL;
    memset(&s->f->env, 0, sizeof s->f->env);
}

int fsck_name_tag(MDB_txn *txn, MDB_dbi tags, uint64_t id)
{
    uint8_t text[META_KEY_MAX], record[META_TAG_MAX];
    struct meta_blob t = {.tag = id};
    MDB_val key = {meta_key(id, NULL, 0, text), text}, data = {0, record};
    char name[32];

    t.name_len = (uint32_t)snprintf(name, sizeof name, "lost-%016llx",
                                    (unsigned long long)id);
    t.name = name;
    data.mv_size = meta_tag_encode(&t, record);
    return mdb_put(txn, tags, &key, &data, MDB_NOOVERWRITE);
}

/* A blob whose tag's record is lost gets one. */
static int need_tag(struct salvage *s, const struct meta_blob *b)
{
    uint8_t text[META_KEY_MAX];
    MDB_val key = {meta_key(b->tag, NULL, 0, text), text};
    struct meta_blob t = {.tag = b->tag};
    int rc;

    if (is_there(s, s->to.tags, key))
        return 0;
    rc = fsck_name_tag(s->txn, s->to.tags, b->tag);
    if (!rc)
        tell(s, &t, "the record of the tag is lost, so it has this name", 1);
    return rc;
}

/* ---- blobs ---- */

static int room_for(struct salvage *s, uint32_t n)
{
    void *a, *b;

    if (n <= s->room)
        return SL_OK;
    a = realloc(s->extent, n * sizeof *s->extent);
    if (a)
        s->extent = a;
    b = realloc(s->plain, n * sizeof *s->plain);
    if (b)
        s->plain = b;
    if (!a || !b)
        return SL_ENOMEM;
    s->room = n;
    return SL_OK;
}

/* 1: all bytes are right, and nobody else's. Those that are taken are not read:
 * the same bytes may be named by many records. */
static int bytes_fit(struct salvage *s, const struct meta_blob *b, int *rc)
{
    for (uint32_t i = 0; i < b->n_extents; i++) {
        if (fsck_is_taken(s->f, &b->extents[i]))
            return 0;
        s->extent[i].e = b->extents[i];
    }
    *rc = fsck_read(&s->f->files, s->extent, b->n_extents);
    for (uint32_t i = 0; i < b->n_extents && !*rc; i++)
        if (s->extent[i].state != FSCK_GOOD)
            return 0;
    return !*rc;
}

static int put_blob(struct salvage *s, const struct fsck_found *found)
{
    const uint8_t *record = s->from->base + found->at;
    uint32_t n = found->bytes / META_EXTENT_BYTES;
    uint8_t text[META_KEY_MAX];
    MDB_val key = {meta_blob_key(record, text), text};
    struct meta_blob b;
    const char *why;
    int rc = room_for(s, n + 1u);

    if (rc || is_there(s, s->to.blobs, key) ||
        meta_blob_decode(record, found->bytes, &b, s->plain, n))
        return rc;
    if (!found->live && (recover_check(&b, &why) || !bytes_fit(s, &b, &rc))) {
        if (!rc)
            tell(s, &b, "found, but its bytes are gone: deleted, or lost", 0);
        return rc;
    }
    rc = need_tag(s, &b);
    if (!rc)
        rc = write_record(s, s->to.blobs, &key, record, found->bytes);
    for (uint32_t i = 0; i < b.n_extents && !rc; i++)
        (void)fsck_claim(s->f, &b.extents[i]);
    s->blobs += !rc;
    s->found += !rc && !found->live;
    return rc;
}

static int put_all(struct salvage *s)
{
    const struct fsck_pages *p = s->from;
    int rc = mdb_txn_begin(s->to.env, NULL, 0, &s->txn);

    for (size_t i = 0; i < p->tags.n && !rc; i++)
        rc = put_tag(s, p->base + p->tags.at[i].at, p->tags.at[i].bytes);
    for (size_t i = 0; i < p->blobs.n && !rc; i++)
        rc = put_blob(s, &p->blobs.at[i]);
    if (!rc && p->has_generation)
        rc = meta_env_generation(&s->to, s->txn, p->generation);
    if (!rc)
        rc = mdb_txn_commit(s->txn);
    else if (s->txn)
        mdb_txn_abort(s->txn);
    s->txn = NULL;
    if (rc == SL_ENOMEM)
        return rc;
    return rc ? meta_env_fail(&s->to, "cannot rebuild", rc) : SL_OK;
}

/* ---- files ---- */

struct names {
    char *fresh, *fresh_meta, *fresh_file, *file, *kept;
};

static void names_free(struct names *n)
{
    free(n->fresh);
    free(n->fresh_meta);
    free(n->fresh_file);
    free(n->file);
    free(n->kept);
}

static int names_make(struct names *n, const struct store_dir *d)
{
    n->fresh = dir_join(d->path, "meta.salvage");
    n->fresh_meta = n->fresh ? dir_join(n->fresh, "meta") : NULL;
    n->fresh_file = n->fresh_meta ? dir_join(n->fresh_meta, "data.mdb") : NULL;
    n->file = dir_join(d->meta, "data.mdb");
    return n->fresh_file && n->file ? SL_OK : SL_ENOMEM;
}

static void scrap(const struct names *n)
{
    unlink(n->fresh_file);
    rmdir(n->fresh_meta);
    rmdir(n->fresh);
}

static int failed(const char *path, const char *what)
{
    int err = errno;

    log_error("%s: %s: %s", path, what, strerror(err));
    return dir_errno(err);
}

/* A second name for the damaged file, if there is one. */
static int keep(struct names *n, const struct store_dir *d)
{
    for (int i = 1; i < NAMES_MAX; i++) {
        char name[32];
        snprintf(name, sizeof name, "data.mdb.damaged-%d", i);
        free(n->kept);
        n->kept = dir_join(d->meta, name);
        if (!n->kept)
            return SL_ENOMEM;
        if (!link(n->file, n->kept) || errno == ENOENT)
            return SL_OK;
        if (errno != EEXIST)
            break;
    }
    return failed(n->kept, "cannot keep the damaged file");
}

static int install(struct names *n, const struct store_dir *d)
{
    int rc;

    if (mkdir(d->meta, 0700) && errno != EEXIST)
        return failed(d->meta, "cannot create");
    rc = keep(n, d);
    if (!rc && rename(n->fresh_file, n->file))
        rc = failed(n->file, "cannot replace");
    if (!rc)
        rc = dir_sync(d->meta);
    return rc ? rc : dir_sync(d->path);
}

/* ---- all of it ---- */

/* The claims were for this; the check that follows makes its own. */
static void claims_reset(struct fsck *f)
{
    for (unsigned i = 0; i < f->files.n; i++) {
        struct fsck_file *x = &f->files.at[i];
        if (x->used)
            memset(x->used, 0, (x->blocks / 64u + 1u) * sizeof *x->used);
        if (x->used && x->number)
            x->used[0] = 1;
    }
    f->r->stored = 0;
}

static int rebuild(struct salvage *s, const struct store_dir *d)
{
    struct names n = {0};
    int rc = names_make(&n, d);

    if (!rc) {
        scrap(&n);
        if (mkdir(n.fresh, 0700) && errno != EEXIST)
            rc = failed(n.fresh, "cannot create");
    }
    if (!rc)
        rc = meta_env_open(n.fresh, 0, &s->to);
    if (!rc) {
        rc = put_all(s);
        meta_env_close(&s->to);
    }
    if (!rc)
        rc = install(&n, d);
    if (!rc)
        log_warn("%s: rebuilt, %llu tags and %llu blobs; the damaged file is "
                 "%s",
                 n.file, (unsigned long long)s->tags,
                 (unsigned long long)s->blobs, n.kept);
    if (n.fresh_file)
        scrap(&n);
    names_free(&n);
    claims_reset(s->f);
    return rc;
}

static void tell_found(struct salvage *s)
{
    char text[128];
    struct sl_fsck_problem p = {
        .code = SL_ECORRUPT, .text = text, .repaired = 1};

    snprintf(text, sizeof text,
             "%llu blobs were found by their sums, which the newest head "
             "does not name",
             (unsigned long long)s->found);
    if (s->found)
        fsck_problem(s->f, NULL, &p);
}

static void tell_lost(struct salvage *s)
{
    const struct fsck_pages *p = s->from;
    char text[128];
    struct sl_fsck_problem q = {.code = SL_ECORRUPT, .text = text};
    uint64_t tags = p->tags_said > s->tags ? p->tags_said - s->tags : 0;
    uint64_t blobs = p->blobs_said > s->blobs ? p->blobs_said - s->blobs : 0;

    snprintf(text, sizeof text,
             "records of %llu tags and %llu blobs are lost, and their names",
             (unsigned long long)tags, (unsigned long long)blobs);
    if (tags || blobs)
        fsck_problem(s->f, NULL, &q);
}

static void tell_gave_up(struct salvage *s)
{
    struct sl_fsck_problem p = {
        .code = SL_ECORRUPT,
        .text = "more bytes look like records than damage leaves; not all "
                "were looked at"};

    if (s->from->gave_up)
        fsck_problem(s->f, NULL, &p);
}

int fsck_salvage(struct fsck *f, const struct store_dir *d)
{
    struct fsck_pages pages = {0};
    struct salvage s = {.f = f, .from = &pages};
    int rc = fsck_pages_find(d, &pages);

    if (!rc && pages.tags.n + pages.blobs.n == 0 && !pages.has_log)
        rc = SL_ENOENT;
    if (!rc)
        rc = rebuild(&s, d);
    if (!rc) {
        f->salvaged = 1;
        tell_found(&s);
        tell_lost(&s);
        tell_gave_up(&s);
    }
    fsck_pages_free(&pages);
    free(s.extent);
    free(s.plain);
    return rc;
}
