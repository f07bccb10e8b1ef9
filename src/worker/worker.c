/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/worker.h"

#include "base/clock.h"
#include "base/log.h"
#include "worker/watch.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

/* A worker that found nothing for this long lets others have its processor,
 * one of whom may be the producer it waits for. */
#define KEEP_CPU_NS 5000u

/* ---- a worker ---- */

static struct worker *worker_of(struct task_env *env)
{
    return (struct worker *)(void *)env;
}

static void wake_env(struct task_env *env)
{
    worker_wake(worker_of(env));
}

static void worker_destroy(struct worker *w)
{
    if (!w)
        return;
    for (uint32_t i = 0; i < w->n_served; i++)
        free(w->served[i]);
    free(w->served);
    holds_destroy(w->holds);
    chunk_cache_destroy(w->env.cache);
    task_env_fini(&w->env);
    free(w);
}

static int worker_create(struct workers *ws, uint32_t index,
                         struct worker **out)
{
    int rc;
    struct worker *w = aligned_alloc(128, sizeof(*w));
    if (!w)
        return SL_ENOMEM;
    memset(w, 0, sizeof(*w));
    w->env.pools = ws->config.pools;
    w->env.arena = ws->config.arena;
    w->env.wake = wake_env;
    w->team = ws;
    w->index = index;
    rc = chunk_cache_create(ws->config.arena, &w->env.cache);
    if (!rc)
        rc = holds_create(w->env.cache, &w->holds);
    if (rc) {
        worker_destroy(w);
        return rc;
    }
    *out = w;
    return 0;
}

/* Waits a moment between two looks; false when it is time to park. */
static int idle_wait(uint64_t idle_ns, uint64_t spin_ns)
{
    if (idle_ns >= spin_ns)
        return 0;
    if (idle_ns < KEEP_CPU_NS)
        clock_relax();
    else
        sched_yield();
    return 1;
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    uint64_t spin_ns = (uint64_t)w->team->config.spin_us * 1000u;
    uint64_t idle_since = 0;
    /* Timed sleeps of this thread end within 1 us, else 50 us late. */
    prctl(PR_SET_TIMERSLACK, 1000ul, 0ul, 0ul, 0ul);
    task_env_enter(&w->env);
    while (!w->stop) {
        if (worker_round(w)) {
            idle_since = 0;
            continue;
        }
        if (!idle_since)
            idle_since = clock_ns();
        if (idle_wait(clock_ns() - idle_since, spin_ns))
            continue;
        worker_park(w);
        idle_since = 0;
    }
    task_env_enter(NULL);
    return NULL;
}

/* ---- the team ---- */

int workers_create(const struct workers_config *c, struct workers **out)
{
    struct workers *ws = calloc(1, sizeof(*ws));
    int rc = SL_ENOMEM;
    if (!ws)
        return rc;
    ws->config = *c;
    ws->at = calloc(c->n, sizeof(struct worker *));
    if (!ws->at)
        goto undo;
    rc = watch_create(ws, &ws->watch);
    for (uint32_t i = 0; !rc && i < c->n; i++)
        rc = worker_create(ws, i, &ws->at[i]);
    if (rc)
        goto undo;
    *out = ws;
    return 0;
undo:
    workers_destroy(ws);
    return rc;
}

void workers_destroy(struct workers *ws)
{
    if (!ws)
        return;
    for (uint32_t i = 0; ws->at && i < ws->config.n; i++)
        worker_destroy(ws->at[i]);
    watch_destroy(ws->watch);
    free(ws->at);
    free(ws);
}

void workers_post(struct workers *ws, uint32_t lane, struct message *m)
{
    task_env_post(&ws->at[lane % ws->config.n]->env, m);
}

static void post_to_shard(void *runtime, uint32_t shard, struct message *m)
{
    workers_post(runtime, shard, m);
}

void workers_env(struct workers *ws, uint32_t i, struct store_env *out)
{
    struct worker *w = ws->at[i];
    out->worker = i;
    out->cache = w->env.cache;
    out->holds = w->holds;
    out->finish = task_finish;
    out->starve = task_starve;
    out->post = post_to_shard;
    out->runtime = ws;
    out->batches = &w->batches;
}

int workers_start(struct workers *ws, struct store *store)
{
    int rc = watch_start(ws->watch);
    ws->store = store;
    for (uint32_t i = 0; !rc && i < ws->config.n; i++) {
        char name[16]; /* what the kernel keeps of a thread's name */
        snprintf(name, sizeof(name), "sluice-w%u", i % 1000u);
        rc = thread_start(&ws->at[i]->thread, name, worker_main, ws->at[i]);
        if (!rc)
            ws->n_started++;
    }
    if (rc)
        workers_stop(ws);
    return rc;
}
