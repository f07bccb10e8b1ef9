/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Metadata of persistent blobs: the committer.
 */
#include "store/meta.h"

#include "base/clock.h"
#include "base/log.h"
#include "store/meta_carry.h"
#include "store/meta_int.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define DELAY_MS 1000u
/* Between two tries of a commit that fails. */
#define RETRY_NS UINT64_C(100000000)

/* ---- commit to LMDB ---- */

static uint64_t delay_ns(const struct meta *m)
{
    uint32_t ms = m->config.delay_ms ? m->config.delay_ms : DELAY_MS;
    return (uint64_t)ms * 1000000u;
}

static int sync_data(struct meta *m)
{
    int rc = m->config.sync ? m->config.sync(m->config.user) : SL_OK;
    if (!rc)
        m->unsynced = m->carried = 0;
    return rc;
}

static int apply(struct meta *m, struct apply *a)
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

/* LMDB gets the log, and `extra` behind it. */
static int commit(struct meta *m, const struct meta_change *extra)
{
    struct apply a = {.extra = extra};
    int rc = SL_OK;

    if (!m->log.n && !extra && !m->stuck) {
        settle(m);
        return SL_OK;
    }
    m->last_ns = clock_ns();
    if (m->unsynced || m->carried || extra)
        rc = sync_data(m);
    if (!rc)
        rc = apply(m, &a);
    m->stuck = rc;
    if (rc)
        return rc;
    if (m->reserve.gone)
        reserve_restore(&m->reserve);
    settle(m);
    return SL_OK;
}

/* After a failure nothing may be appended before a commit has worked: LMDB may
 * have the log as it was then, and would not look at it again. */
static int unstick(struct meta *m)
{
    if (m->stuck && clock_ns() - m->last_ns >= RETRY_NS)
        commit(m, NULL);
    return m->stuck;
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

static int group_sync(struct meta *m)
{
    int named = 0, sync = 0, rc = SL_OK;

    for (unsigned i = 0; i < m->n; i++) {
        const struct meta_change *c = m->group[i];
        named |= names_units(c) && !c->n_carried && !c->code;
        sync |= c->sync && !c->code;
    }
    m->unsynced |= named;
    if (!sync)
        return SL_OK;
    if (m->unsynced)
        rc = sync_data(m);
    if (rc)
        return rc;
    rc = log_sync(&m->log);
    /* Frames of groups before may be lost with it, which no later sync tells:
     * the log goes to LMDB from memory, and begins anew. */
    if (rc)
        m->stuck = rc;
    return rc;
}

static int group_try(struct meta *m)
{
    struct log_place before = log_here(&m->log);
    int rc, landed, carried = 0;

    for (unsigned i = 0; i < m->n; i++) {
        if (!m->group[i]->n_carried)
            continue;
        m->config.land(m->config.user, m->group[i]);
        carried = 1;
    }
    group_append(m);
    rc = log_write(&m->log);
    if (!rc)
        rc = group_sync(m);
    landed = m->config.landed ? m->config.landed(m->config.user) : SL_OK;
    m->carried |= carried; /* a sync above was before they had landed */
    rc = rc ? rc : landed;
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
    if (rc == SL_ENOSPC && before && !commit(m, NULL)) {
        __atomic_store_n(&m->last, m->last + 1u, __ATOMIC_RELEASE);
        rc = group_try(m);
    }
    return rc;
}

static int is_alone(const struct meta_change *c)
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
        return rc ? rc : commit(m, NULL);
    rc = put_check(m, c);
    return rc ? rc : commit(m, c);
}

static void group_serve(struct meta *m)
{
    int rc = SL_OK, alone = is_alone(m->group[0]);

    if (alone)
        rc = m->group[0]->code = group_alone(m);
    else
        rc = group_log(m);
    for (unsigned i = 0; i < m->n; i++) {
        struct meta_change *c = m->group[i];
        c->done(c, rc ? rc : c->code); /* the change is the caller's again */
    }
    m->n = 0;
}

/* Splits a group off the list; returns what is behind it. */
static struct meta_change *group_take(struct meta *m, struct meta_change *list)
{
    size_t bytes = 0;

    m->n = 0;
    while (list && m->n < GROUP_MAX && bytes < GROUP_BYTES) {
        if (is_alone(list) && m->n)
            break;
        if (names_units(list))
            bytes += list->n_carried ? carry_bound(list)
                                     : meta_blob_bound(&list->blob);
        m->group[m->n++] = list;
        list = list->next;
        if (is_alone(m->group[0]))
            break;
    }
    return list;
}

/* ---- the committer ---- */

static uint64_t wake_at(const struct meta *m)
{
    if (m->stuck)
        return m->last_ns + delay_ns(m);
    return m->log.n ? m->old_ns + delay_ns(m) : UINT64_MAX;
}

/* Waits for changes, or until a commit is due; takes all there are. */
static struct meta_change *queue_take(struct meta *m, int *stop)
{
    uint64_t at = wake_at(m);
    const struct timespec until = {(time_t)(at / 1000000000u),
                                   (long)(at % 1000000000u)};
    struct meta_change *list;
    int late = 0;

    pthread_mutex_lock(&m->lock);
    while (!m->first && !m->stop && !late) {
        if (at == UINT64_MAX)
            pthread_cond_wait(&m->wake, &m->lock);
        else
            late = pthread_cond_timedwait(&m->wake, &m->lock, &until);
    }
    list = m->first;
    m->first = NULL;
    m->tail = &m->first;
    *stop = m->stop;
    pthread_mutex_unlock(&m->lock);
    return list;
}

static void *committer(void *arg)
{
    struct meta *m = arg;
    int stop = 0;

    while (!stop) {
        struct meta_change *list = queue_take(m, &stop);
        while (list) {
            list = group_take(m, list);
            group_serve(m);
            if (m->log.used > LOG_LIMIT && !m->stuck)
                commit(m, NULL);
        }
        if (clock_ns() >= wake_at(m))
            commit(m, NULL);
    }
    if (commit(m, NULL))
        log_error("metadata %s: %llu changes stay in the log", m->env.path,
                  (unsigned long long)m->log.n);
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

uint64_t meta_last(const struct meta *m)
{
    return __atomic_load_n(&m->last, __ATOMIC_ACQUIRE);
}

uint64_t meta_settled(const struct meta *m)
{
    return __atomic_load_n(&m->settled, __ATOMIC_ACQUIRE);
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

static void locks_make(struct meta *m)
{
    pthread_condattr_t attr;

    pthread_mutex_init(&m->env_lock, NULL);
    pthread_mutex_init(&m->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&m->wake, &attr);
    pthread_condattr_destroy(&attr);
}

static void locks_free(struct meta *m)
{
    pthread_cond_destroy(&m->wake);
    pthread_mutex_destroy(&m->lock);
    pthread_mutex_destroy(&m->env_lock);
}

/* Bytes that only the log may have go where its records name them. */
static int restore(struct meta *m)
{
    struct log_frame f;
    size_t at = 0;
    int rc = SL_OK;

    while (!rc && log_next(&m->log, &at, &f))
        if (m->config.restore)
            rc = carry_each(&f, m->config.restore, m->config.user);
    if (rc)
        log_error("metadata %s: the log cannot be replayed, code %d",
                  m->env.path, rc);
    return rc;
}

/* What a process left in the log goes to LMDB. Its data is synced before. */
static int replay(struct meta *m)
{
    struct apply a = {
        .replay = 1, .verify = m->config.verify, .user = m->config.user};
    uint64_t n;
    int rc = log_replay(&m->log, m->env.generation);

    if (rc || !m->log.n)
        return rc;
    n = m->log.n - 1u; /* but for the one that begins it */
    rc = restore(m);
    if (!rc)
        rc = sync_data(m);
    if (!rc)
        rc = apply(m, &a);
    if (!rc)
        log_info("metadata %s: %llu changes of the log replayed, %llu dropped",
                 m->env.path, (unsigned long long)(n - a.dropped),
                 (unsigned long long)a.dropped);
    return rc;
}

int meta_open(const struct meta_config *c, struct meta **out)
{
    struct meta *m = calloc(1, sizeof *m);
    int rc;

    if (!m) {
        log_error("metadata of %s: out of memory", c->dir);
        return SL_ENOMEM;
    }
    m->config = *c;
    m->tail = &m->first;
    locks_make(m);
    rc = meta_env_open(c->dir, c->map_bytes, &m->env);
    if (rc)
        goto free_meta;
    rc = log_open(c->dir, &m->log);
    if (rc)
        goto close_env;
    rc = reserve_open(c->dir, &m->reserve);
    if (rc)
        goto close_log;
    rc = replay(m);
    if (!rc)
        rc = meta_tags_load(m);
    if (!rc)
        rc = thread_start(m);
    if (rc)
        goto close_reserve;
    *out = m;
    return SL_OK;

close_reserve:
    tag_set_free(&m->tags);
    reserve_close(&m->reserve);
close_log:
    log_close(&m->log);
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
    tag_set_free(&m->tags);
    reserve_close(&m->reserve);
    log_close(&m->log);
    meta_env_close(&m->env);
    locks_free(m);
    free(m);
}
