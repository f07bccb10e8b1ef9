/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/futex.h"
#include "worker/watch.h"

/*
 *            worker_park                     futex_wait
 *   RUNNING -------------> PARKED, looks again ---------> asleep
 *      ^                      |                             |
 *      +--- something there --+------- worker_wake ---------+
 *
 * Both ends change the word by an exchange. Of a sleeper's and a waker's
 * exchange one comes second and sees what the other did before: either the
 * sleeper finds the message, or the waker finds PARKED and wakes.
 */

/* How long a sleeper with released chunks to come sleeps: they keep memory
 * from others, but nobody waits for them. */
#define HOLDS_NS 5000000u

void worker_wake(struct worker *w)
{
    /* Release: the message. Acquire: PARKED. Partner: worker_park. */
    if (__atomic_exchange_n(&w->state, WORKER_RUNNING, __ATOMIC_ACQ_REL) ==
        WORKER_PARKED)
        futex_wake(&w->state);
}

static int has_work(const struct worker *w)
{
    if (mailbox_ready(&w->env.inbox))
        return 1;
    for (uint32_t i = 0; i < w->n_served; i++) {
        if (worker_has_tasks(w, w->served[i]->source.channel))
            return 1;
    }
    return 0;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* How long this worker may sleep: 0 is until it is woken. */
static uint64_t sleep_ns(const struct worker *w)
{
    uint64_t ns = holds_count(w->holds) ? HOLDS_NS : UINT64_MAX;
    /* Nobody else sees completions, or tries again for those who starve. */
    if (store_pending(w->team->store, w->index) || w->env.starving)
        return WATCH_NS;
    if (!w->draining)
        ns = least(ns, store_due_ns(w->team->store, w->index));
    if (ns == UINT64_MAX)
        return 0;
    return ns > WATCH_NS ? ns : WATCH_NS;
}

void worker_park(struct worker *w)
{
    uint64_t ns;
    holds_sweep(w->holds, holds_count(w->holds));
    chunk_cache_trim(w->env.cache);
    ns = sleep_ns(w);
    /* Partner: worker_wake. */
    __atomic_exchange_n(&w->state, WORKER_PARKED, __ATOMIC_ACQ_REL);
    if (!has_work(w)) {
        watch_parked(w->team->watch);
        futex_wait(&w->state, WORKER_PARKED, ns);
        watch_resumed(w->team->watch);
    }
    /* Acquire: the message of who woke us, and no later wake is lost, as the
     * next round looks at everything. */
    __atomic_exchange_n(&w->state, WORKER_RUNNING, __ATOMIC_ACQ_REL);
}
