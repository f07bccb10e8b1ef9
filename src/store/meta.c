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
#include <sys/prctl.h>

#define DELAY_MS 1000u
/* A look for the log's lock is some tens of cycles; another thread has it for
 * some thousands. */
#define NOW_TRIES 100u

/* ---- the committer ---- */

static uint64_t delay_ns(const struct meta *m)
{
    uint32_t ms = m->config.delay_ms ? m->config.delay_ms : DELAY_MS;
    return (uint64_t)ms * 1000000u;
}

static uint64_t wake_at(const struct meta *m)
{
    if (m->stuck || m->held)
        return m->last_ns + delay_ns(m);
    return m->log.n ? m->old_ns + delay_ns(m) : UINT64_MAX;
}

static struct timespec time_of(uint64_t ns)
{
    return (struct timespec){(time_t)(ns / 1000000000u),
                             (long)(ns % 1000000000u)};
}

/* Who was answered by one sync comes back at about one time. The first of them
 * waits for the others for part of what a sync of its own would take. */
static void gather(struct meta *m)
{
    const struct timespec until = time_of(clock_ns() + m->sync_ns / 2u);
    int late = 0;

    while (m->queued < m->expect && !m->stop && !late)
        late = pthread_cond_timedwait(&m->wake, &m->lock, &until);
}

/* Waits for changes, or until a commit is due. */
static void queue_wait(struct meta *m, uint64_t at)
{
    const struct timespec until = time_of(at);
    int late = 0;

    pthread_mutex_lock(&m->lock);
    while (!m->first && !m->stop && !m->nudged && !late) {
        if (at == UINT64_MAX)
            pthread_cond_wait(&m->wake, &m->lock);
        else
            late = pthread_cond_timedwait(&m->wake, &m->lock, &until);
    }
    m->nudged = 0;
    if (m->first)
        gather(m);
    pthread_mutex_unlock(&m->lock);
}

/* All there are; log_lock is held. */
static struct meta_change *queue_take(struct meta *m, int *stop)
{
    struct meta_change *list;

    pthread_mutex_lock(&m->lock);
    list = m->first;
    m->first = NULL;
    m->tail = &m->first;
    m->expect = m->queued;
    m->queued = 0;
    *stop = m->stop;
    pthread_mutex_unlock(&m->lock);
    return list;
}

/* One turn of the committer; when a commit is due next. */
static uint64_t turn(struct meta *m, int *stop)
{
    struct meta_change *list;
    uint64_t at;

    /* Release and acquire are the lock's; this asks others to stay away. */
    __atomic_store_n(&m->wanted, 1, __ATOMIC_RELAXED);
    pthread_mutex_lock(&m->log_lock);
    list = queue_take(m, stop);
    do {
        list = list ? meta_group_take(m, list) : NULL;
        if (m->n)
            meta_group_serve(m);
        if (m->log.used > LOG_LIMIT && !m->stuck && !m->held)
            meta_commit(m, NULL);
    } while (list);
    if (clock_ns() >= wake_at(m))
        meta_commit(m, NULL);
    at = wake_at(m);
    if (*stop && meta_commit(m, NULL))
        log_error("metadata %s: %llu changes stay in the log", m->env.path,
                  (unsigned long long)m->log.n);
    pthread_mutex_unlock(&m->log_lock);
    __atomic_store_n(&m->wanted, 0, __ATOMIC_RELAXED);
    return at;
}

static void *committer(void *arg)
{
    struct meta *m = arg;
    uint64_t at = UINT64_MAX;
    int stop = 0;

    /* Timed waits end within 1 us, else 50 us late. */
    prctl(PR_SET_TIMERSLACK, 1000ul, 0ul, 0ul, 0ul);
    while (!stop) {
        queue_wait(m, at);
        at = turn(m, &stop);
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
    m->queued++;
    /* A queue that was not empty has woken the committer already, which may
     * wait for the rest of a group. The signal is given under the lock, so that
     * who closes on `done` finds this thread gone from here. */
    if (idle || m->queued == m->expect)
        pthread_cond_signal(&m->wake);
    pthread_mutex_unlock(&m->lock);
}

/* ---- a change that waits for nobody ---- */

/* The log's lock, while the committer does not want it. */
static int log_try(struct meta *m)
{
    for (unsigned i = 0; i < NOW_TRIES; i++) {
        /* Relaxed: a hint that saves a wait. */
        if (__atomic_load_n(&m->wanted, __ATOMIC_RELAXED))
            return 0;
        if (!pthread_mutex_trylock(&m->log_lock))
            return 1;
        clock_relax();
    }
    return 0;
}

/* The committer has to look when a commit is due. */
static void nudge(struct meta *m)
{
    pthread_mutex_lock(&m->lock);
    m->nudged = 1;
    pthread_cond_signal(&m->wake);
    pthread_mutex_unlock(&m->lock);
}

/* True: what was submitted before is in the log, and it takes more. */
static int is_ready(struct meta *m)
{
    int empty;

    if (m->stuck || m->reserve.gone || m->log.used > LOG_LIMIT)
        return 0;
    pthread_mutex_lock(&m->lock);
    empty = !m->first;
    pthread_mutex_unlock(&m->lock);
    return empty;
}

int meta_now(struct meta *m, struct meta_change *c)
{
    int done = 0, nudges;

    if (c->sync || meta_is_alone(c) ||
        (c->op != META_PUT_BLOB && c->op != META_DEL_BLOB) || !log_try(m))
        return 0;
    nudges = !m->log.used;
    if (is_ready(m))
        done = !meta_append(m, c);
    if (done && (nudges || m->log.used > LOG_LIMIT))
        nudge(m);
    pthread_mutex_unlock(&m->log_lock);
    return done;
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

    pthread_mutex_init(&m->log_lock, NULL);
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
    pthread_mutex_destroy(&m->log_lock);
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

/* What was acknowledged would be lost with what follows the hole. */
static int refuse_hole(const struct meta_log *l)
{
    const struct log_hole *h = &l->hole;

    if (!h->synced)
        return SL_OK;
    log_error("%s: damaged at byte %llu, frame %llu; %llu frames were synced, "
              "%llu whole ones follow the damage",
              l->path, (unsigned long long)h->at, (unsigned long long)h->number,
              (unsigned long long)h->synced, (unsigned long long)h->whole);
    return SL_ECORRUPT;
}

/* What a process left in the log goes to LMDB. Its data is synced before. */
static int replay(struct meta *m)
{
    struct apply a = {
        .replay = 1, .verify = m->config.verify, .user = m->config.user};
    uint64_t n;
    int rc = log_replay(&m->log, m->env.generation);

    if (!rc)
        rc = refuse_hole(&m->log);
    if (rc || !m->log.n)
        return rc;
    n = m->log.n - 1u; /* but for the one that begins it */
    rc = restore(m);
    if (!rc)
        rc = meta_sync_data(m);
    if (!rc)
        rc = meta_apply_log(m, &a);
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
