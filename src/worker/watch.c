/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/watch.h"

#include "base/clock.h"
#include "base/log.h"
#include "worker/futex.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

struct watch {
    struct workers *team;
    pthread_t thread;
    pthread_mutex_t lock; /* guards the list */
    struct channel **channels;
    uint32_t n, room;
    int started;
    _Alignas(128) uint32_t n_parked; /* atomic, futex: workers asleep */
    uint32_t stop;                   /* atomic */
};

int watch_create(struct workers *ws, struct watch **out)
{
    struct watch *x = aligned_alloc(128, sizeof(*x));
    if (!x)
        return SL_ENOMEM;
    memset(x, 0, sizeof(*x));
    x->team = ws;
    pthread_mutex_init(&x->lock, NULL);
    *out = x;
    return 0;
}

void watch_destroy(struct watch *x)
{
    if (!x)
        return;
    pthread_mutex_destroy(&x->lock);
    free(x->channels);
    free(x);
}

/* ---- the thread ---- */

/* How the watcher paces itself. Where a timer is cheap, the pace never
 * changes; where one wake-up takes 20 us of a virtual machine's time (measured
 * on one), a runtime that is idle for longer must not use a fifth of a core. */
struct pace {
    uint64_t busy_ns; /* when there was something to do */
    uint64_t cpu_ns;  /* of this thread, at the last measurement */
    uint64_t slow_ns; /* period that keeps to the share */
    uint32_t looks;   /* since then */
};
#define PACE_LOOKS 64u
#define PACE_SHARE 28u           /* 1 / 28 of a core, well below 5 % */
#define PACE_QUICK_NS 250000000u /* so long after work it is quick anyway */
#define PACE_SLOWEST_NS 1000000u

static void pace_measure(struct pace *p)
{
    uint64_t cpu;
    if (++p->looks < PACE_LOOKS)
        return;
    cpu = clock_thread_ns();
    p->slow_ns = (cpu - p->cpu_ns) / p->looks * PACE_SHARE;
    if (p->slow_ns < WATCH_NS)
        p->slow_ns = WATCH_NS;
    if (p->slow_ns > PACE_SLOWEST_NS)
        p->slow_ns = PACE_SLOWEST_NS;
    p->cpu_ns = cpu;
    p->looks = 0;
}

static void pace_sleep(struct pace *p)
{
    int quick = clock_ns() - p->busy_ns <= PACE_QUICK_NS;
    clock_sleep_ns(quick ? WATCH_NS : p->slow_ns);
}

static int has_work(const struct watch *x, const struct worker *w)
{
    if (mailbox_ready(&w->env.inbox))
        return 1;
    for (uint32_t i = 0; i < x->n; i++) {
        if (worker_has_tasks(w, x->channels[i]))
            return 1;
    }
    return 0;
}

/* Wakes who has work; returns how many. */
static uint32_t look(struct watch *x)
{
    struct workers *ws = x->team;
    uint32_t woken = 0;
    pthread_mutex_lock(&x->lock);
    for (uint32_t i = 0; i < ws->config.n; i++) {
        struct worker *w = ws->at[i];
        /* Relaxed: a hint; worker_wake decides. */
        if (__atomic_load_n(&w->state, __ATOMIC_RELAXED) == WORKER_PARKED &&
            has_work(x, w)) {
            worker_wake(w);
            woken++;
        }
    }
    pthread_mutex_unlock(&x->lock);
    return woken;
}

static void *watch_main(void *arg)
{
    struct watch *x = arg;
    struct pace pace = {.slow_ns = WATCH_NS};
    /* Timers of this thread fire within 1 us, else 50 us late. */
    prctl(PR_SET_TIMERSLACK, 1000ul, 0ul, 0ul, 0ul);
    /* Acquire; partner: watch_stop. */
    while (!__atomic_load_n(&x->stop, __ATOMIC_ACQUIRE)) {
        /* Relaxed: the futex looks again. Partner: watch_parked. */
        if (__atomic_load_n(&x->n_parked, __ATOMIC_RELAXED) == 0) {
            futex_wait(&x->n_parked, 0, 0);
            pace.busy_ns = clock_ns();
            continue;
        }
        pace_sleep(&pace);
        if (look(x))
            pace.busy_ns = clock_ns();
        pace_measure(&pace);
    }
    return NULL;
}

int thread_start(pthread_t *out, const char *name, void *(*fn)(void *),
                 void *arg)
{
    sigset_t all, old;
    int err;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    err = pthread_create(out, NULL, fn, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (err) {
        log_error("thread %s: %s", name, strerror(err));
        return SL_ENOMEM;
    }
    pthread_setname_np(*out, name);
    return 0;
}

int watch_start(struct watch *x)
{
    int rc = thread_start(&x->thread, "sluice-watch", watch_main, x);
    x->started = !rc;
    return rc;
}

void watch_stop(struct watch *x)
{
    if (!x->started)
        return;
    /* Release; partner: watch_main. */
    __atomic_store_n(&x->stop, 1, __ATOMIC_RELEASE);
    watch_parked(x); /* so that it does not sleep */
    pthread_join(x->thread, NULL);
    x->started = 0;
}

/* ---- the list ---- */

int watch_add(struct watch *x, struct channel *c)
{
    int rc = 0;
    pthread_mutex_lock(&x->lock);
    if (x->n == x->room) {
        uint32_t room = x->room ? 2u * x->room : 8u;
        struct channel **at = realloc(x->channels, room * sizeof(*at));
        if (at) {
            x->channels = at;
            x->room = room;
        } else {
            rc = SL_ENOMEM;
        }
    }
    if (!rc)
        x->channels[x->n++] = c;
    pthread_mutex_unlock(&x->lock);
    return rc;
}

void watch_remove(struct watch *x, const struct channel *c)
{
    pthread_mutex_lock(&x->lock);
    for (uint32_t i = 0; i < x->n; i++) {
        if (x->channels[i] == c)
            x->channels[i] = x->channels[--x->n];
    }
    pthread_mutex_unlock(&x->lock);
}

/* ---- the workers ---- */

void watch_parked(struct watch *x)
{
    /* Relaxed: the number alone counts; what it leads to is looked at anew. */
    if (__atomic_fetch_add(&x->n_parked, 1u, __ATOMIC_RELAXED) == 0)
        futex_wake(&x->n_parked);
}

void watch_resumed(struct watch *x)
{
    /* Relaxed: as above. */
    __atomic_fetch_sub(&x->n_parked, 1u, __ATOMIC_RELAXED);
}
