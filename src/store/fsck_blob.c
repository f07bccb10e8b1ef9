/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "store/fsck_int.h"
#include "store/shard.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * Blobs go through in batches, in the order of their keys. An extent whose sum
 * fits has a claim to its blocks, the first that claims them keeps them.
 */

static int grow(void *array, size_t one, uint32_t need, uint32_t *room)
{
    void **at = array;
    uint32_t n = *room ? *room : 256u;
    void *p;

    if (need <= *room)
        return SL_OK;
    while (n < need)
        n *= 2u;
    p = realloc(*at, n * one);
    if (!p)
        return SL_ENOMEM;
    *at = p;
    *room = n;
    return SL_OK;
}

/* ---- a record ---- */

static void key_of(const struct fsck_record *r, MDB_val *key)
{
    union {
        const uint8_t *in;
        void *p;
    } u = {r->key};

    key->mv_data = u.p;
    key->mv_size = r->key_bytes;
}

static int record_remove(struct fsck *f, const struct fsck_record *r)
{
    MDB_val key;

    key_of(r, &key);
    return mdb_del(f->txn, f->env.blobs, &key, NULL);
}

static int record_is_there(struct fsck *f, const struct fsck_record *r)
{
    MDB_val key, data;

    key_of(r, &key);
    return !mdb_get(f->txn, f->env.blobs, &key, &data);
}

static int tag_is_there(struct fsck *f, uint64_t tag)
{
    uint8_t text[META_KEY_MAX];
    MDB_val key = {meta_key(tag, NULL, 0, text), text}, data;

    return !mdb_get(f->txn, f->env.tags, &key, &data);
}

/* Decodes a record behind the others of the batch; one that cannot be is
 * reported and, in a repair, removed. LMDB's result, or SL_ENOMEM. */
static int record_add(struct fsck *f, const MDB_val *key, const MDB_val *data)
{
    uint32_t max = (uint32_t)(data->mv_size / META_EXTENT_BYTES);
    struct meta_extent *e = malloc((max + 1u) * sizeof *e);
    struct sl_fsck_problem p = {.code = SL_ECORRUPT};
    uint8_t want[META_KEY_MAX];
    struct fsck_record *r;
    const char *why;

    if (!e ||
        grow(&f->record, sizeof *r, f->n_records + 1u, &f->room_records) ||
        grow(&f->extent, sizeof *f->extent, f->n_extents + max,
             &f->room_extents)) {
        free(e);
        return SL_ENOMEM;
    }
    r = &f->record[f->n_records];
    memset(r, 0, sizeof *r);
    r->key_bytes = key->mv_size < sizeof r->key ? key->mv_size : sizeof r->key;
    memcpy(r->key, key->mv_data, r->key_bytes);
    r->first = f->n_extents;
    if (meta_blob_decode(data->mv_data, data->mv_size, &r->b, e, max) ||
        meta_key(r->b.tag, r->b.name, r->b.name_len, want) != r->key_bytes ||
        memcmp(want, r->key, r->key_bytes) != 0)
        p.text = "the record is damaged";
    else if (!tag_is_there(f, r->b.tag) &&
             (!f->salvaged || fsck_name_tag(f->txn, f->env.tags, r->b.tag)))
        p.text = "the tag has no record";
    else if ((p.code = recover_check(&r->b, &why)) != SL_OK)
        p.text = why;
    if (p.text) { /* a newer program may read what this one does not know */
        p.repaired = fsck_repairs(f) && p.code != SL_EVERSION;
        f->newer += p.code == SL_EVERSION;
        fsck_problem(f, r, &p);
        free(e);
        return p.repaired ? record_remove(f, r) : 0;
    }
    for (uint32_t i = 0; i < r->b.n_extents; i++)
        f->extent[f->n_extents++].e = e[i];
    r->n = r->b.n_extents;
    r->b.extents = NULL;
    f->n_records++;
    free(e);
    return 0;
}

/* ---- space ---- */

int fsck_claim(struct fsck *f, const struct meta_extent *e)
{
    uint64_t from = e->loc / TIER_BLOCK;
    uint64_t n = fsck_space(e) / TIER_BLOCK;
    struct fsck_file *file = fsck_file(&f->files, e->target);

    if (!file || from > file->blocks || n > file->blocks - from)
        return 0;
    for (uint64_t i = from; i < from + n; i++)
        if (file->used[i / 64u] >> (i % 64u) & 1u)
            return 0;
    for (uint64_t i = from; i < from + n; i++)
        file->used[i / 64u] |= UINT64_C(1) << (i % 64u);
    f->r->stored += n * TIER_BLOCK;
    return 1;
}

int fsck_is_taken(struct fsck *f, const struct meta_extent *e)
{
    uint64_t from = e->loc / TIER_BLOCK;
    uint64_t n = fsck_space(e) / TIER_BLOCK;
    const struct fsck_file *file = fsck_file(&f->files, e->target);

    for (uint64_t i = from; file && i < from + n && i < file->blocks; i++)
        if (file->used[i / 64u] >> (i % 64u) & 1u)
            return 1;
    return 0;
}

/* ---- bytes ---- */

/* The record without the extents that are cut. */
static int record_cut(struct fsck *f, const struct fsck_record *r,
                      const struct sl_fsck_problem *p)
{
    struct meta_extent *e = malloc((r->n + 1u) * sizeof *e);
    struct meta_blob b = r->b;
    MDB_val key, data;
    int rc;

    if (!e)
        return SL_ENOMEM;
    b.n_extents = 0;
    b.extents = e;
    b.version += b.version < RECOVER_VERSION_MAX;
    for (uint32_t i = 0; i < r->n; i++)
        if (!p[i].text || !p[i].repaired)
            e[b.n_extents++] = f->extent[r->first + i].e;
    key_of(r, &key);
    data.mv_size = meta_blob_bound(&b);
    rc = mdb_put(f->txn, f->env.blobs, &key, &data, MDB_RESERVE);
    if (!rc)
        meta_blob_encode(&b, data.mv_data);
    free(e);
    return rc;
}

static const char *fault(struct fsck *f, const struct fsck_extent *x, int *code)
{
    switch (x->state) {
    case FSCK_GOOD:
        *code = SL_ECORRUPT;
        return fsck_claim(f, &x->e) ? NULL : "the space is another blob's too";
    case FSCK_BAD:
        *code = SL_ECHECKSUM;
        return "the bytes are damaged";
    case FSCK_SHORT:
        *code = SL_ESHRUNK;
        return "the file ends before the bytes";
    case FSCK_OUTSIDE:
        *code = SL_ECORRUPT;
        return "the bytes lie behind the capacity of the target";
    case FSCK_NOWHERE:
        *code = SL_ENOTARGET;
        return "the target that has the bytes is not there";
    case FSCK_FAILED:
        break;
    }
    *code = SL_EIO;
    return "the bytes cannot be read";
}

static int damaged_add(struct fsck *f, const struct fsck_record *r,
                       const struct meta_extent *e)
{
    struct fsck_damaged *d;

    if (grow(&f->damaged, sizeof *d, f->n_damaged + 1u, &f->room_damaged))
        return SL_ENOMEM;
    d = &f->damaged[f->n_damaged++];
    memcpy(d->key, r->key, r->key_bytes);
    d->key_bytes = r->key_bytes;
    d->e = *e;
    return SL_OK;
}

/* Damaged bytes in space that a sound blob has. */
static int damaged_check(struct fsck *f)
{
    int rc = 0;

    for (uint32_t i = 0; i < f->n_damaged && !rc; i++) {
        const struct fsck_damaged *d = &f->damaged[i];
        struct fsck_record r = {.key_bytes = d->key_bytes};
        struct sl_fsck_problem p = {
            .code = SL_ECORRUPT,
            .offset = d->e.offset,
            .bytes = d->e.bytes,
            .text = "the space is another blob's too",
            .repaired = fsck_repairs(f),
        };
        memcpy(r.key, d->key, d->key_bytes);
        if (!fsck_is_taken(f, &d->e)) {
            if (record_is_there(f, &r))
                (void)fsck_claim(
                    f, &d->e); /* against the damaged ones behind it */
            continue;
        }
        fsck_problem(f, &r, &p);
        if (!p.repaired)
            continue;
        rc = record_remove(f, &r);
        if (rc == MDB_NOTFOUND) /* for another extent of it */
            rc = 0;
    }
    return rc;
}

/* A damaged extent is no obstacle to a start, unless its space is another's.
 * That is looked at when all that is sound has claimed its space: in the order
 * of the keys the sound one may come later. */
static int record_check(struct fsck *f, const struct fsck_record *r)
{
    struct sl_fsck_problem *p = calloc(r->n + 1u, sizeof *p);
    uint32_t bad = 0, blocks = 0, lost = 0;
    int cut = f->o->flags & SL_FSCK_CUT, rc = 0;
    int whole = 1; /* a target that is away may come back: nothing is cut */

    if (!p)
        return SL_ENOMEM;
    for (uint32_t i = 0; i < r->n; i++) {
        const struct fsck_extent *x = &f->extent[r->first + i];
        f->r->extents++;
        f->r->bytes += x->e.bytes;
        p[i].offset = x->e.offset;
        p[i].bytes = x->e.bytes;
        p[i].text = fault(f, x, &p[i].code);
        if (!p[i].text)
            continue;
        bad++;
        blocks += p[i].code == SL_ESHRUNK || p[i].code == SL_ECORRUPT;
        if (fsck_is_lost(&f->files, x->e.target))
            lost++;
        else
            whole &= p[i].code != SL_ENOTARGET;
    }
    int mends = fsck_repairs(f) && (lost || (whole && bad && (cut || blocks)));
    for (uint32_t i = 0; i < r->n && bad && !rc; i++) {
        const struct fsck_extent *x = &f->extent[r->first + i];
        if (!p[i].text)
            continue;
        /* A cut leaves what may come back. */
        p[i].repaired = mends && !(cut && p[i].code == SL_ENOTARGET &&
                                   !fsck_is_lost(&f->files, x->e.target));
        fsck_problem(f, r, &p[i]);
        if (!p[i].repaired)
            rc = damaged_add(f, r, &x->e);
    }
    if (!rc && mends)
        rc = cut ? record_cut(f, r, p) : record_remove(f, r);
    free(p);
    return rc;
}

static int batch_check(struct fsck *f)
{
    int rc = fsck_read(&f->files, f->extent, f->n_extents);

    for (uint32_t i = 0; i < f->n_records && !rc; i++) {
        f->record[i].b.name = (const char *)(f->record[i].key + 8);
        f->r->blobs++;
        rc = record_check(f, &f->record[i]);
    }
    f->n_records = 0;
    f->n_extents = 0;
    return rc;
}

/* ---- all ---- */

/* The next record behind *last, by its key, as the batch before may have
 * removed what a cursor stood on. */
static int batch_fill(struct fsck *f, uint8_t *last, size_t *last_bytes)
{
    MDB_val key = {*last_bytes, last}, data;
    MDB_cursor *cur;
    int rc = mdb_cursor_open(f->txn, f->env.blobs, &cur);

    if (rc)
        return rc;
    rc = mdb_cursor_get(cur, &key, &data,
                        *last_bytes ? MDB_SET_RANGE : MDB_FIRST);
    if (!rc && *last_bytes && key.mv_size == *last_bytes &&
        !memcmp(key.mv_data, last, *last_bytes))
        rc = mdb_cursor_get(cur, &key, &data, MDB_NEXT);
    while (!rc) {
        uint8_t now[512];
        size_t n = key.mv_size; /* at most 511, LMDB's limit */
        memcpy(now, key.mv_data, n);
        rc = record_add(f, &key, &data);
        memcpy(last, now, n);
        *last_bytes = n;
        if (rc || f->n_extents >= FSCK_BATCH || f->n_records >= FSCK_BATCH)
            break;
        /* A record that was removed has moved the pages under the cursor. */
        key = (MDB_val){n, last};
        rc = mdb_cursor_get(cur, &key, &data, MDB_SET_RANGE);
        if (!rc && key.mv_size == n && !memcmp(key.mv_data, last, n))
            rc = mdb_cursor_get(cur, &key, &data, MDB_NEXT);
    }
    mdb_cursor_close(cur);
    return rc;
}

int fsck_blobs(struct fsck *f)
{
    uint8_t last[512];
    size_t last_bytes = 0;
    int rc, found;

    do {
        found = batch_fill(f, last, &last_bytes);
        rc = found && found != MDB_NOTFOUND ? found : batch_check(f);
    } while (!rc && found != MDB_NOTFOUND);
    if (!rc)
        rc = damaged_check(f);
    free(f->damaged);
    free(f->record);
    free(f->extent);
    return rc;
}
