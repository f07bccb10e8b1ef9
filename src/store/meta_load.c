/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Reads all metadata back.
 */
#include "base/log.h"
#include "store/meta_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct load {
    struct meta *m;
    int (*tag)(void *user, uint64_t id, const char *name, uint32_t len);
    int (*blob)(void *user, const struct meta_blob *b);
    void *user;
    struct meta_extent *scratch;
    uint32_t room;
};

static int record_bad(const struct load *l, const char *what,
                      const MDB_val *key)
{
    const uint8_t *k = key->mv_data;
    uint64_t tag = 0;
    size_t n = key->mv_size < 8 ? key->mv_size : 8;

    for (size_t i = 0; i < n; i++)
        tag = tag << 8 | k[i];
    log_error("metadata %s: damaged record of %s %llu \"%.*s\"", l->m->env.path,
              what, (unsigned long long)tag, (int)(key->mv_size - n),
              (const char *)(k + n));
    return SL_ECORRUPT;
}

static int key_fits(const MDB_val *key, const struct meta_blob *b, uint32_t len)
{
    uint8_t want[META_KEY_MAX];
    size_t n = meta_key(b->tag, b->name, len, want);

    return key->mv_size == n && !memcmp(key->mv_data, want, n);
}

static int load_tag(struct load *l, const MDB_val *key, const MDB_val *data)
{
    struct meta_blob b;

    if (meta_tag_decode(data->mv_data, data->mv_size, &b) ||
        !key_fits(key, &b, 0))
        return record_bad(l, "tag", key);
    return l->tag ? l->tag(l->user, b.tag, b.name, b.name_len) : SL_OK;
}

static int load_blob(struct load *l, const MDB_val *key, const MDB_val *data)
{
    size_t need = data->mv_size / META_EXTENT_BYTES;
    struct meta_blob b;

    if (need > l->room) {
        struct meta_extent *more;
        if (need > META_EXTENTS_MAX)
            need = META_EXTENTS_MAX; /* a longer record is refused below */
        more = realloc(l->scratch, 2 * need * sizeof *more);
        if (!more) {
            log_error("metadata %s: out of memory", l->m->env.path);
            return SL_ENOMEM;
        }
        l->scratch = more;
        l->room = (uint32_t)(2 * need);
    }
    if (meta_blob_decode(data->mv_data, data->mv_size, &b, l->scratch,
                         l->room) ||
        !key_fits(key, &b, b.name_len))
        return record_bad(l, "blob, tag", key);
    return l->blob ? l->blob(l->user, &b) : SL_OK;
}

static int load_all(struct load *l, MDB_txn *txn, MDB_dbi dbi,
                    int (*one)(struct load *, const MDB_val *, const MDB_val *))
{
    MDB_val key, data;
    MDB_cursor *cur;
    int code = SL_OK;
    int rc = mdb_cursor_open(txn, dbi, &cur);

    if (rc)
        return meta_env_fail(&l->m->env, "cannot read", rc);
    while (!code && !(rc = mdb_cursor_get(cur, &key, &data, MDB_NEXT)))
        code = one(l, &key, &data);
    mdb_cursor_close(cur);
    if (code)
        return code;
    return rc == MDB_NOTFOUND ? SL_OK
                              : meta_env_fail(&l->m->env, "cannot read", rc);
}

struct wait {
    struct meta_change c;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int ended;
};

static void flush_done(struct meta_change *c, int code)
{
    struct wait *w = c->user;

    pthread_mutex_lock(&w->lock);
    c->code = code;
    w->ended = 1;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

static int flush(struct meta *m)
{
    struct wait w = {.c = {.op = META_FLUSH, .done = flush_done}};

    w.c.user = &w;
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.wake, NULL);
    meta_submit(m, &w.c);
    pthread_mutex_lock(&w.lock);
    while (!w.ended)
        pthread_cond_wait(&w.wake, &w.lock);
    pthread_mutex_unlock(&w.lock);
    pthread_cond_destroy(&w.wake);
    pthread_mutex_destroy(&w.lock);
    return w.c.code;
}

static int load_env(struct load *l)
{
    struct meta_env *e = &l->m->env;
    MDB_txn *txn;
    int rc = EIO;

    if (!e->broken)
        rc = mdb_txn_begin(e->env, NULL, MDB_RDONLY, &txn);
    if (rc)
        return meta_env_fail(e, "cannot read", rc);
    rc = load_all(l, txn, e->tags, load_tag);
    if (!rc && l->blob)
        rc = load_all(l, txn, e->blobs, load_blob);
    mdb_txn_abort(txn);
    return rc;
}

int meta_load(struct meta *m,
              int (*tag)(void *user, uint64_t id, const char *name,
                         uint32_t len),
              int (*blob)(void *user, const struct meta_blob *b), void *user)
{
    struct load l = {.m = m, .tag = tag, .blob = blob, .user = user};
    int rc = flush(m);

    if (rc)
        return rc;
    pthread_mutex_lock(&m->env_lock);
    rc = load_env(&l);
    pthread_mutex_unlock(&m->env_lock);
    free(l.scratch);
    return rc;
}

static int know_tag(void *user, uint64_t id, const char *name, uint32_t len)
{
    struct meta *m = user;

    (void)name;
    (void)len;
    return tag_set_add(&m->tags, id);
}

int meta_tags_load(struct meta *m)
{
    struct load l = {.m = m, .tag = know_tag, .user = m};

    return load_env(&l);
}
