/* SPDX-License-Identifier: Apache-2.0 */
#include "store/meta_apply.h"

#include "base/log.h"
#include "store/meta_carry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Of one transaction on a full disk. */
#define PART_FRAMES 32u
#define PART_BYTES (256u << 10)

/* ---- changes; the results are LMDB's ---- */

static int del_tag(const struct meta_env *e, MDB_txn *txn, const MDB_val *tag)
{
    MDB_val key = *tag, data;
    MDB_cursor *cur;
    int rc = mdb_del(txn, e->tags, &key, NULL);

    if (rc && rc != MDB_NOTFOUND)
        return rc;
    rc = mdb_cursor_open(txn, e->blobs, &cur);
    if (rc)
        return rc;
    for (;;) {
        key = *tag;
        rc = mdb_cursor_get(cur, &key, &data, MDB_SET_RANGE);
        if (rc || key.mv_size < tag->mv_size ||
            memcmp(key.mv_data, tag->mv_data, tag->mv_size) != 0)
            break;
        rc = mdb_cursor_del(cur, 0);
        if (rc)
            break;
    }
    mdb_cursor_close(cur);
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

static int del_blob(const struct meta_env *e, MDB_txn *txn, MDB_val *key)
{
    int rc = mdb_del(txn, e->blobs, key, NULL);

    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

/* A change that is too large for the log. */
static int put_extra(const struct meta_env *e, MDB_txn *txn,
                     const struct meta_change *c)
{
    const struct meta_blob *b = &c->blob;
    const struct meta_name *n = &c->from;
    uint8_t text[META_KEY_MAX], old[META_KEY_MAX];
    MDB_val key = {meta_key(b->tag, b->name, b->name_len, text), text};
    MDB_val data = {meta_blob_bound(b), NULL};
    int rc = 0;

    if (c->op == META_RENAME_BLOB) {
        MDB_val from = {meta_key(n->tag, n->name, n->len, old), old};
        rc = del_blob(e, txn, &from);
    }
    if (!rc)
        rc = mdb_put(txn, e->blobs, &key, &data, MDB_RESERVE);
    if (!rc)
        meta_blob_encode(b, data.mv_data);
    return rc;
}

/* LMDB takes its input as not const, and leaves it. */
static MDB_val payload_of(const struct log_frame *f)
{
    union {
        const uint8_t *in;
        void *p;
    } u = {f->payload};

    return (MDB_val){f->bytes, u.p};
}

/* The two parts of a rename's frame: false when it has not both. */
static int rename_parts(const struct log_frame *f, MDB_val *from,
                        struct log_frame *put)
{
    struct log_frame key = *f;

    if (f->bytes < 2u)
        return 0;
    key.bytes = f->payload[0] | (uint32_t)f->payload[1] << 8;
    key.payload = f->payload + 2;
    if (key.bytes <= 8u || key.bytes > META_KEY_MAX ||
        key.bytes > f->bytes - 2u)
        return 0;
    *from = payload_of(&key);
    put->op = LOG_PUT_BLOB;
    put->payload = key.payload + key.bytes;
    put->bytes = f->bytes - 2u - key.bytes;
    return 1;
}

static int frame_apply(const struct meta_env *e, MDB_txn *txn,
                       const struct log_frame *f)
{
    uint8_t text[META_KEY_MAX];
    MDB_val key = {0, text}, data = payload_of(f);
    struct log_frame put;
    int rc;

    switch (f->op) {
    case LOG_PUT_BLOB:
        key.mv_size = meta_blob_key(f->payload, text);
        return mdb_put(txn, e->blobs, &key, &data, 0);
    case LOG_DEL_BLOB:
        return del_blob(e, txn, &data);
    case LOG_PUT_TAG:
        key.mv_size = meta_tag_key(f->payload, text);
        return mdb_put(txn, e->tags, &key, &data, 0);
    case LOG_DEL_TAG:
        return del_tag(e, txn, &data);
    case LOG_RENAME_BLOB:
        if (!rename_parts(f, &key, &put))
            return EINVAL;
        rc = del_blob(e, txn, &key);
        return rc ? rc : frame_apply(e, txn, &put);
    case LOG_CARRY_BLOB:
        return carry_record(f, &put) ? frame_apply(e, txn, &put) : EINVAL;
    case LOG_BEGIN:
        break;
    }
    return EINVAL;
}

/* ---- replay ---- */

struct decoded {
    struct meta_blob b;
    struct meta_extent *extents;
};

/* 0, ENOMEM, EINVAL. To be freed. */
static int decode(const uint8_t *record, size_t bytes, struct decoded *d)
{
    uint32_t max = (uint32_t)(bytes / META_EXTENT_BYTES);

    d->extents = malloc((max + 1u) * sizeof *d->extents);
    if (!d->extents)
        return ENOMEM;
    if (meta_blob_decode(record, bytes, &d->b, d->extents, max)) {
        free(d->extents);
        d->extents = NULL;
        return EINVAL;
    }
    return 0;
}

/* What LMDB has of a blob so far; no extents when it has none. */
static int decode_old(const struct meta_env *e, MDB_txn *txn, MDB_val key,
                      struct decoded *d)
{
    MDB_val data;
    int rc = mdb_get(txn, e->blobs, &key, &data);

    memset(d, 0, sizeof *d);
    if (!rc)
        rc = decode(data.mv_data, data.mv_size, d);
    return rc == MDB_NOTFOUND || rc == EINVAL ? 0 : rc;
}

static int same_unit(const struct meta_extent *a, const struct meta_extent *b)
{
    return a->loc == b->loc && a->sum == b->sum && a->bytes == b->bytes &&
           a->stored == b->stored && a->target == b->target;
}

/* Units that the record before names are on stable storage. */
static int verify_new(struct apply *a, const struct decoded *d,
                      const struct decoded *old)
{
    uint32_t k = 0;

    for (uint32_t i = 0; i < d->b.n_extents; i++) {
        const struct meta_extent *e = &d->extents[i];
        int rc;
        while (k < old->b.n_extents && old->extents[k].offset < e->offset)
            k++;
        if (k < old->b.n_extents && same_unit(e, &old->extents[k]))
            continue;
        rc = a->verify(a->user, e);
        if (rc == SL_ECHECKSUM) {
            log_warn("metadata %s: the log's version %llu of blob '%.*s' of "
                     "tag %llx is dropped, its bytes at %llu did not reach "
                     "the disk",
                     a->env->path, (unsigned long long)d->b.version,
                     (int)d->b.name_len, d->b.name,
                     (unsigned long long)d->b.tag,
                     (unsigned long long)e->offset);
        }
        if (rc)
            return rc;
    }
    return SL_OK;
}

/* 0: apply it. SL_ECHECKSUM: drop it. Above 0: LMDB's. `before`: the key that
 * the blob has in LMDB, null: its own. */
static int put_verify(struct apply *a, MDB_txn *txn, const struct log_frame *f,
                      const MDB_val *before)
{
    uint8_t text[META_KEY_MAX];
    MDB_val key = {0, text};
    struct decoded d, old = {0};
    int rc = decode(f->payload, f->bytes, &d);

    if (rc == EINVAL)
        return MDB_CORRUPTED;
    if (!rc && !before)
        key.mv_size = meta_blob_key(f->payload, text);
    if (!rc && a->verify)
        rc = decode_old(a->env, txn, before ? *before : key, &old);
    if (!rc && a->verify)
        rc = verify_new(a, &d, &old);
    if (rc == SL_ENOMEM)
        rc = ENOMEM;
    free(old.extents);
    free(d.extents);
    return rc;
}

static int frame_verify(struct apply *a, MDB_txn *txn,
                        const struct log_frame *f)
{
    struct log_frame put;
    struct meta_blob b;
    MDB_val key;
    int good = 0;

    switch (f->op) {
    case LOG_PUT_BLOB:
        return put_verify(a, txn, f, NULL);
    case LOG_RENAME_BLOB:
        if (!rename_parts(f, &key, &put))
            break;
        return put_verify(a, txn, &put, &key);
    case LOG_CARRY_BLOB:
        if (!carry_record(f, &put))
            break;
        return put_verify(a, txn, &put, NULL);
    case LOG_DEL_BLOB:
        good = f->bytes > 8u && f->bytes <= META_KEY_MAX;
        break;
    case LOG_PUT_TAG:
        good = !meta_tag_decode(f->payload, f->bytes, &b);
        break;
    case LOG_DEL_TAG:
        good = f->bytes == 8u;
        break;
    case LOG_BEGIN:
        break;
    }
    return good ? 0 : MDB_CORRUPTED;
}

/* ---- commit ---- */

struct part {
    size_t at; /* of the first frame that is not committed */
    uint64_t dropped, skipped;
    int small, finished;
};

static int part_fill(struct apply *a, MDB_txn *txn, struct part *p)
{
    size_t from = p->at;
    struct log_frame f;
    int rc = 0;

    for (unsigned n = 0; !rc; n++) {
        if (p->small && (n == PART_FRAMES || p->at - from > PART_BYTES))
            return 0;
        if (!log_next(a->log, &p->at, &f))
            break;
        rc = a->replay ? frame_verify(a, txn, &f) : 0;
        p->dropped += rc == SL_ECHECKSUM;
        p->skipped += rc == MDB_CORRUPTED;
        if (rc == SL_ECHECKSUM || (rc == MDB_CORRUPTED && a->skips))
            rc = 0;
        else if (!rc)
            rc = frame_apply(a->env, txn, &f);
    }
    if (!rc && a->extra)
        rc = put_extra(a->env, txn, a->extra);
    if (!rc)
        rc = meta_env_generation(a->env, txn, a->log->generation + 1u);
    p->finished = !rc;
    return rc;
}

int meta_apply_in(struct apply *a, MDB_txn *txn)
{
    struct part p = {0};
    int rc = part_fill(a, txn, &p);

    a->dropped = p.dropped;
    a->skipped = p.skipped;
    return rc;
}

/* One transaction; mdb_txn_commit syncs. */
static int part_commit(struct apply *a, struct part *p)
{
    MDB_txn *txn;
    int rc = a->env->broken ? EIO : mdb_txn_begin(a->env->env, NULL, 0, &txn);

    if (rc)
        return rc;
    rc = part_fill(a, txn, p);
    if (!rc)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return rc;
}

static int is_full(int rc)
{
    return rc == ENOSPC || rc == EDQUOT || rc == EFBIG;
}

/* True when it is worth another try. */
static int mend(struct apply *a, struct part *p, int *rc)
{
    if (*rc == MDB_MAP_FULL)
        return !meta_env_grow(a->env);
    if (*rc == EIO && !a->env->broken && meta_env_is_full(a->env))
        *rc = ENOSPC;
    if (!is_full(*rc))
        return 0;
    if (p->small && !reserve_release(a->reserve))
        return 0;
    p->small = 1;
    return 1;
}

/* A code of `verify`, which was logged; LMDB's own are far below. */
static int is_verdict(int rc)
{
    return rc < 0 && rc >= -SL_STATUS_MAX;
}

/* LMDB gives its environment up when it cannot write a head. Whether that head
 * is there then, only a look at the file tells. True: it is. */
static int revive(struct apply *a)
{
    if (meta_env_reopen(a->env))
        return 0;
    return a->env->generation != a->log->generation;
}

int meta_apply(struct apply *a)
{
    struct part done = {0};
    int rc = 0;

    if (a->env->broken && revive(a))
        return SL_OK;
    while (!done.finished) {
        struct part p = done;
        rc = part_commit(a, &p);
        if (rc == MDB_PANIC) {
            if (revive(a))
                return SL_OK;
            rc = a->env->broken ? EIO : part_commit(a, &p);
        }
        if (!rc)
            done = p;
        else if (!mend(a, &done, &rc))
            break;
    }
    if (is_verdict(rc))
        return rc;
    if (rc) {
        rc = meta_env_fail(a->env, "commit", rc);
        if (a->replay && rc == SL_ECORRUPT)
            return rc;
        return rc == SL_ENOSPC || rc == SL_ENOMEM ? rc : SL_EIO;
    }
    a->dropped = done.dropped;
    a->env->generation = a->log->generation + 1u;
    return SL_OK;
}
