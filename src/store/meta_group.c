/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Metadata of persistent blobs: changes become frames of the log, and the log
 * becomes a commit. All under log_lock.
 */
#include "base/clock.h"
#include "base/log.h"
#include "store/meta_carry.h"
#include "store/meta_int.h"

#include <string.h>

/* Between two tries of a commit that fails. */
#define RETRY_NS UINT64_C(100000000)

/* ---- commit to LMDB ---- */

int meta_sync_data(struct meta *m)
{
    int rc = m->config.sync ? m->config.sync(m->config.user) : SL_OK;
    if (!rc)
        m->unsynced = 0;
    return rc;
}

/* All bytes that the log names are where its records say, on stable storage. */
static int settle_data(struct meta *m, int all)
{
    int rc =
        m->carried && m->config.land ? m->config.land(m->config.user) : SL_OK;
    if (!rc && (m->unsynced || m->carried || all))
        rc = meta_sync_data(m);
    if (!rc)
        m->carried = 0;
    return rc;
}

int meta_apply_log(struct meta *m, struct apply *a)
{
    int rc;

    a->env = &m->env;
    a->log = &m->log;
    a->reserve = &m->reserve;
    pthread_mutex_lock(&m->env_lock);
    rc = meta_apply(a);
    pthread_mutex_unlock(&m->env_lock);
    if (!rc)
        log_restart(&m->log, m->env.generation);
    return rc;
}

/* The log is empty: what was taken so far is in LMDB or has failed. */
static void settle(struct meta *m)
{
    if (m->settled == m->last)
        return;
    /* Release; partner: meta_settled. */
    __atomic_store_n(&m->settled, m->last, __ATOMIC_RELEASE);
    if (m->config.settled)
        m->config.settled(m->config.user);
}

int meta_commit(struct meta *m, const struct meta_change *extra)
{
    struct apply a = {.extra = extra};
    int rc;

    if (!m->log.n && !extra && !m->stuck) {
        m->held = SL_OK;
        settle(m);
        return SL_OK;
    }
    m->last_ns = clock_ns();
    rc = m->held = settle_data(m, extra != NULL);
    if (rc)
        return rc;
    rc = m->stuck = meta_apply_log(m, &a);
    if (rc)
        return rc;
    if (m->reserve.gone)
        reserve_restore(&m->reserve);
    settle(m);
    return SL_OK;
}

/* Why nothing may be appended before a commit has worked: LMDB may have the log
 * as it was when it failed, and would not look at it again; or the bytes of a
 * log that is full cannot be brought to their place. */
static int refusal(const struct meta *m)
{
    if (m->stuck)
        return m->stuck;
    return m->log.used > LOG_LIMIT ? m->held : SL_OK;
}

static int unstick(struct meta *m)
{
    if (refusal(m) && clock_ns() - m->last_ns >= RETRY_NS)
        meta_commit(m, NULL);
    return refusal(m);
}

/* ---- a change as a frame ---- */

static int names_units(const struct meta_change *c)
{
    return c->op == META_PUT_BLOB || c->op == META_RENAME_BLOB;
}

static int put_check(struct meta *m, const struct meta_change *c)
{
    int rc =
        names_units(c) ? meta_blob_check(&c->blob) : meta_tag_check(&c->blob);
    if (rc) {
        log_error("metadata: a change of tag %llu breaks the rules",
                  (unsigned long long)c->blob.tag);
        return rc;
    }
    if (names_units(c) && !tag_set_has(&m->tags, c->blob.tag))
        return SL_ENOTAG;
    return m->reserve.gone ? SL_ENOSPC : SL_OK;
}

static int is_large(const struct meta_change *c)
{
    return names_units(c) &&
           meta_blob_bound(&c->blob) + 2u + META_KEY_MAX > LOG_PAYLOAD_MAX;
}

static int carry_blob(struct meta *m, const struct meta_change *c)
{
    uint8_t *p = log_frame(&m->log, LOG_CARRY_BLOB, (uint32_t)carry_bound(c));

    if (!p)
        return SL_ENOMEM;
    carry_encode(c, p);
    log_seal(&m->log);
    return SL_OK;
}

static int put_blob(struct meta *m, const struct meta_change *c)
{
    uint32_t bytes = (uint32_t)meta_blob_bound(&c->blob);
    uint8_t *p;

    if (c->n_carried)
        return carry_blob(m, c);
    p = log_frame(&m->log, LOG_PUT_BLOB, bytes);

    if (!p)
        return SL_ENOMEM;
    meta_blob_encode(&c->blob, p);
    log_seal(&m->log);
    return SL_OK;
}

static int rename_blob(struct meta *m, const struct meta_change *c)
{
    const struct meta_name *n = &c->from;
    uint8_t key[META_KEY_MAX];
    size_t len = meta_key(n->tag, n->name, n->len, key);
    size_t bytes = 2u + len + meta_blob_bound(&c->blob);
    uint8_t *p = log_frame(&m->log, LOG_RENAME_BLOB, (uint32_t)bytes);

    if (!p)
        return SL_ENOMEM;
    p[0] = (uint8_t)len;
    p[1] = (uint8_t)(len >> 8);
    memcpy(p + 2, key, len);
    meta_blob_encode(&c->blob, p + 2u + len);
    log_seal(&m->log);
    return SL_OK;
}

static int put_bytes(struct meta *m, enum log_op op, const uint8_t *from,
                     size_t bytes)
{
    uint8_t *p = log_frame(&m->log, op, (uint32_t)bytes);

    if (!p)
        return SL_ENOMEM;
    memcpy(p, from, bytes);
    log_seal(&m->log);
    return SL_OK;
}

static int put_tag(struct meta *m, const struct meta_change *c)
{
    uint8_t record[META_TAG_MAX];
    size_t n = meta_tag_encode(&c->blob, record);
    int rc = tag_set_add(&m->tags, c->blob.tag);

    if (!rc)
        rc = put_bytes(m, LOG_PUT_TAG, record, n);
    if (rc && !c->had_tag)
        tag_set_remove(&m->tags, c->blob.tag);
    return rc;
}

static int append(struct meta *m, const struct meta_change *c)
{
    const struct meta_blob *b = &c->blob;
    uint8_t key[META_KEY_MAX];
    int rc;

    switch (c->op) {
    case META_PUT_BLOB:
        rc = put_check(m, c);
        return rc ? rc : put_blob(m, c);
    case META_RENAME_BLOB:
        rc = put_check(m, c);
        return rc ? rc : rename_blob(m, c);
    case META_PUT_TAG:
        rc = put_check(m, c);
        return rc ? rc : put_tag(m, c);
    case META_DEL_BLOB:
        rc = meta_tag_check(b);
        return rc ? rc
                  : put_bytes(m, LOG_DEL_BLOB, key,
                              meta_key(b->tag, b->name, b->name_len, key));
    case META_DEL_TAG:
        rc = put_bytes(m, LOG_DEL_TAG, key, meta_key(b->tag, NULL, 0, key));
        if (!rc)
            tag_set_remove(&m->tags, b->tag);
        return rc;
    case META_FLUSH:
        return SL_OK;
    }
    return SL_EINVAL;
}

/* ---- a group ---- */

/* The tags as they were before the group. */
static void tags_undo(struct meta *m)
{
    for (unsigned i = m->n; i; i--) {
        const struct meta_change *c = m->group[i - 1u];
        if (c->op == META_DEL_TAG && c->had_tag)
            tag_set_add(&m->tags, c->blob.tag); /* there was room for it */
        if (c->op == META_PUT_TAG && !c->had_tag)
            tag_set_remove(&m->tags, c->blob.tag);
    }
}

/* Each change has its own code then. */
static void group_append(struct meta *m)
{
    for (unsigned i = 0; i < m->n; i++) {
        struct meta_change *c = m->group[i];
        c->had_tag = tag_set_has(&m->tags, c->blob.tag);
        c->code = append(m, c);
    }
}

/* What the log has by a change that is in it. */
static void note_data(struct meta *m, const struct meta_change *c)
{
    m->unsynced |= names_units(c) && !c->n_carried;
    m->carried |= c->n_carried != 0;
}

static int group_sync(struct meta *m)
{
    uint64_t begun = clock_ns();
    int sync = 0, rc = SL_OK;

    for (unsigned i = 0; i < m->n; i++) {
        if (m->group[i]->code)
            continue;
        note_data(m, m->group[i]);
        sync |= m->group[i]->sync;
    }
    if (!sync)
        return SL_OK;
    if (m->unsynced)
        rc = meta_sync_data(m);
    if (rc)
        return rc;
    rc = log_sync(&m->log);
    m->sync_ns = clock_ns() - begun;
    /* Frames of groups before may be lost with it, which no later sync tells:
     * the log goes to LMDB from memory, and begins anew. */
    if (rc)
        m->stuck = rc;
    return rc;
}

static int group_try(struct meta *m)
{
    struct log_place before = log_here(&m->log);
    int rc;

    group_append(m);
    rc = log_write(&m->log);
    if (!rc)
        rc = group_sync(m);
    if (!rc)
        return SL_OK;
    tags_undo(m);
    if (log_undo(&m->log, &before))
        m->stuck = rc; /* until a commit makes the log another one */
    return rc;
}

static int group_log(struct meta *m)
{
    size_t before = m->log.used;
    int rc = unstick(m);

    if (rc)
        return rc;
    if (m->reserve.gone)
        reserve_restore(&m->reserve);
    if (!before)
        m->old_ns = clock_ns();
    /* Numbers are not kept by changes: who asks for the last one later gets a
     * higher one, which is as good. Release; partner: meta_last. */
    __atomic_store_n(&m->last, m->last + m->n, __ATOMIC_RELEASE);
    rc = group_try(m);
    /* A commit frees the part of the file that is there. It settles the numbers
     * so far, so what comes into the log now needs one above. */
    if (rc == SL_ENOSPC && before && !meta_commit(m, NULL)) {
        __atomic_store_n(&m->last, m->last + 1u, __ATOMIC_RELEASE);
        rc = group_try(m);
    }
    return rc;
}

int meta_is_alone(const struct meta_change *c)
{
    return c->op == META_FLUSH || is_large(c);
}

/* A flush, or a change that is too large for the log. */
static int group_alone(struct meta *m)
{
    const struct meta_change *c = m->group[0];
    int rc = unstick(m);

    __atomic_store_n(&m->last, m->last + 1u, __ATOMIC_RELEASE);
    if (rc || c->op == META_FLUSH)
        return rc ? rc : meta_commit(m, NULL);
    rc = put_check(m, c);
    return rc ? rc : meta_commit(m, c);
}

void meta_group_serve(struct meta *m)
{
    int rc = SL_OK, alone = meta_is_alone(m->group[0]);

    if (alone)
        rc = m->group[0]->code = group_alone(m);
    else
        rc = group_log(m);
    for (unsigned i = 0; i < m->n; i++) {
        struct meta_change *c = m->group[i];
        if (!rc && !c->code && c->n_carried)
            m->config.owe(m->config.user, c);
        c->done(c, rc ? rc : c->code); /* the change is the caller's again */
    }
    m->n = 0;
}

struct meta_change *meta_group_take(struct meta *m, struct meta_change *list)
{
    size_t bytes = 0;

    m->n = 0;
    while (list && m->n < GROUP_MAX && bytes < GROUP_BYTES) {
        if (meta_is_alone(list) && m->n)
            break;
        if (names_units(list))
            bytes += list->n_carried ? carry_bound(list)
                                     : meta_blob_bound(&list->blob);
        m->group[m->n++] = list;
        list = list->next;
        if (meta_is_alone(m->group[0]))
            break;
    }
    return list;
}

/* ---- one that waits for nobody ---- */

int meta_append(struct meta *m, struct meta_change *c)
{
    struct log_place before = log_here(&m->log);
    int rc;

    if (!before.used)
        m->old_ns = clock_ns();
    /* Release; partner: meta_last. */
    __atomic_store_n(&m->last, m->last + 1u, __ATOMIC_RELEASE);
    rc = append(m, c);
    if (!rc)
        rc = log_write(&m->log);
    if (rc && log_undo(&m->log, &before))
        m->stuck = rc;
    if (rc)
        return rc;
    note_data(m, c);
    if (c->n_carried)
        m->config.owe(m->config.user, c);
    return SL_OK;
}
