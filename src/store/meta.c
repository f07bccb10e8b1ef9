/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Metadata of persistent blobs: group commit and loading.
 *
 * Locks: `lock` guards the queue and is held for a few instructions;
 * `env_lock` keeps a load and a commit apart, because the map may grow only
 * while no transaction is open. Neither is taken under the other.
 */
#include "store/meta.h"

#include "base/log.h"
#include "store/meta_env.h"
#include "store/meta_record.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* Changes in one transaction: enough to spread the cost of a sync, few enough
 * that the first of them waits some milliseconds only. */
#define GROUP_MAX 1024u

struct meta {
    int (*sync)(void *user);
    void *user;
    pthread_mutex_t env_lock; /* guards env */
    struct meta_env env;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    struct meta_change *first, **tail;
    int stop;
    pthread_t thread;
};

/* ---- commit ---- */

static int del_tag(const struct meta *m, MDB_txn *txn, uint64_t tag)
{
    uint8_t prefix[META_KEY_MAX];
    size_t n = meta_key(tag, NULL, 0, prefix);
    MDB_val key = {n, prefix}, data;
    MDB_cursor *cur;
    int rc = mdb_del(txn, m->env.tags, &key, NULL);

    if (rc && rc != MDB_NOTFOUND)
        return rc;
    rc = mdb_cursor_open(txn, m->env.blobs, &cur);
    if (rc)
        return rc;
    for (;;) {
        key.mv_data = prefix;
        key.mv_size = n;
        rc = mdb_cursor_get(cur, &key, &data, MDB_SET_RANGE);
        if (rc || key.mv_size < n || memcmp(key.mv_data, prefix, n) != 0)
            break;
        rc = mdb_cursor_del(cur, 0);
        if (rc)
            break;
    }
    mdb_cursor_close(cur);
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

static int put_blob(const struct meta *m, MDB_txn *txn,
                    const struct meta_blob *b, MDB_val *key)
{
    MDB_val data = {meta_blob_bound(b), NULL};
    int rc = mdb_put(txn, m->env.blobs, key, &data, MDB_RESERVE);

    if (!rc)
        meta_blob_encode(b, data.mv_data);
    return rc;
}

/* The result is LMDB's. */
static int change_apply(const struct meta *m, MDB_txn *txn,
                        const struct meta_change *c)
{
    const struct meta_blob *b = &c->blob;
    uint8_t text[META_KEY_MAX], record[META_TAG_MAX];
    MDB_val key = {0, text}, data = {0, record};
    int rc;

    switch (c->op) {
    case META_PUT_BLOB:
        key.mv_size = meta_key(b->tag, b->name, b->name_len, text);
        return put_blob(m, txn, b, &key);
    case META_DEL_BLOB:
        key.mv_size = meta_key(b->tag, b->name, b->name_len, text);
        rc = mdb_del(txn, m->env.blobs, &key, NULL);
        return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
    case META_PUT_TAG:
        key.mv_size = meta_key(b->tag, NULL, 0, text);
        data.mv_size = meta_tag_encode(b, record);
        return mdb_put(txn, m->env.tags, &key, &data, 0);
    case META_DEL_TAG:
        return del_tag(m, txn, b->tag);
    }
    return EINVAL;
}

static int change_check(const struct meta_change *c)
{
    switch (c->op) {
    case META_PUT_BLOB:
        return meta_blob_check(&c->blob);
    case META_DEL_BLOB:
    case META_PUT_TAG:
        return meta_tag_check(&c->blob);
    case META_DEL_TAG:
        return SL_OK;
    }
    return SL_EINVAL;
}

/* One transaction; mdb_txn_commit syncs. The result is LMDB's. */
static int group_write(const struct meta *m, const struct meta_change *group)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(m->env.env, NULL, 0, &txn);

    if (rc)
        return rc;
    for (const struct meta_change *c = group; c && !rc; c = c->next)
        rc = change_apply(m, txn, c);
    if (!rc)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return rc;
}

static int group_commit(struct meta *m, const struct meta_change *group)
{
    int sync = 0, rc = SL_OK;

    for (const struct meta_change *c = group; c; c = c->next)
        sync |= c->sync;
    if (sync && m->sync)
        rc = m->sync(m->user);
    if (rc)
        return rc;
    pthread_mutex_lock(&m->env_lock);
    do {
        rc = m->env.broken ? EIO : group_write(m, group);
    } while (rc == MDB_MAP_FULL && !meta_env_grow(&m->env));
    pthread_mutex_unlock(&m->env_lock);
    if (rc == EIO && meta_env_is_full(&m->env))
        rc = ENOSPC;
    if (rc)
        rc = meta_env_fail(&m->env, "commit", rc) == SL_ENOSPC ? SL_ENOSPC
                                                               : SL_EIO;
    return rc;
}

static void group_done(struct meta_change *group, int code)
{
    while (group) {
        struct meta_change *next = group->next;
        group->done(group, code); /* the change is the caller's again */
        group = next;
    }
}

/* Splits off a group of changes that may be stored; the others are answered at
 * once. Returns what is behind the group. */
static struct meta_change *group_take(struct meta_change *list,
                                      struct meta_change **group)
{
    struct meta_change **tail = group;
    unsigned n = 0;

    while (list && n < GROUP_MAX) {
        struct meta_change *c = list;
        int rc = change_check(c);
        list = c->next;
        if (rc) {
            log_error("metadata: a change of tag %llu breaks the rules",
                      (unsigned long long)c->blob.tag);
            c->done(c, rc);
            continue;
        }
        *tail = c;
        tail = &c->next;
        n++;
    }
    *tail = NULL;
    return list;
}

/* Waits for changes and takes all of them; null when stopped and none left. */
static struct meta_change *queue_take(struct meta *m)
{
    struct meta_change *list;

    pthread_mutex_lock(&m->lock);
    while (!m->first && !m->stop)
        pthread_cond_wait(&m->wake, &m->lock);
    list = m->first;
    m->first = NULL;
    m->tail = &m->first;
    pthread_mutex_unlock(&m->lock);
    return list;
}

static void *committer(void *arg)
{
    struct meta *m = arg;
    struct meta_change *list, *group;

    while ((list = queue_take(m)) != NULL) {
        while (list) {
            list = group_take(list, &group);
            if (group)
                group_done(group, group_commit(m, group));
        }
    }
    return NULL;
}

void meta_submit(struct meta *m, struct meta_change *c)
{
    int idle;

    c->next = NULL;
    pthread_mutex_lock(&m->lock);
    idle = !m->first;
    *m->tail = c;
    m->tail = &c->next;
    /* A queue that was not empty has woken the committer already. The signal
     * is given under the lock, so that who closes on `done` finds this thread
     * gone from here. */
    if (idle)
        pthread_cond_signal(&m->wake);
    pthread_mutex_unlock(&m->lock);
}

/* ---- load ---- */

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

int meta_load(struct meta *m,
              int (*tag)(void *user, uint64_t id, const char *name,
                         uint32_t len),
              int (*blob)(void *user, const struct meta_blob *b), void *user)
{
    struct load l = {.m = m, .tag = tag, .blob = blob, .user = user};
    MDB_txn *txn;
    int rc;

    pthread_mutex_lock(&m->env_lock);
    rc = EIO;
    if (!m->env.broken)
        rc = mdb_txn_begin(m->env.env, NULL, MDB_RDONLY, &txn);
    if (rc) {
        rc = meta_env_fail(&m->env, "cannot read", rc);
    } else {
        rc = load_all(&l, txn, m->env.tags, load_tag);
        if (!rc)
            rc = load_all(&l, txn, m->env.blobs, load_blob);
        mdb_txn_abort(txn);
    }
    pthread_mutex_unlock(&m->env_lock);
    free(l.scratch);
    return rc;
}

/* ---- open ---- */

/* Signals are for the program's threads; those that tell of a fault stay. */
static int thread_start(struct meta *m)
{
    sigset_t all, old;
    int rc;

    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGILL);
    sigdelset(&all, SIGABRT);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&m->thread, NULL, committer, m);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc)
        log_error("metadata %s: cannot start a thread: %s", m->env.path,
                  strerror(rc));
    return rc ? SL_ENOMEM : SL_OK;
}

static void locks_free(struct meta *m)
{
    pthread_cond_destroy(&m->wake);
    pthread_mutex_destroy(&m->lock);
    pthread_mutex_destroy(&m->env_lock);
}

int meta_open(const struct meta_config *c, struct meta **out)
{
    struct meta *m = calloc(1, sizeof *m);
    int rc;

    if (!m) {
        log_error("metadata of %s: out of memory", c->dir);
        return SL_ENOMEM;
    }
    m->sync = c->sync;
    m->user = c->user;
    m->tail = &m->first;
    pthread_mutex_init(&m->env_lock, NULL);
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->wake, NULL);
    rc = meta_env_open(c->dir, c->map_bytes, &m->env);
    if (rc)
        goto free_meta;
    rc = thread_start(m);
    if (rc)
        goto close_env;
    *out = m;
    return SL_OK;

close_env:
    meta_env_close(&m->env);
free_meta:
    locks_free(m);
    free(m);
    return rc;
}

void meta_close(struct meta *m)
{
    if (!m)
        return;
    pthread_mutex_lock(&m->lock);
    m->stop = 1;
    pthread_mutex_unlock(&m->lock);
    pthread_cond_signal(&m->wake);
    pthread_join(m->thread, NULL);
    meta_env_close(&m->env);
    locks_free(m);
    free(m);
}
