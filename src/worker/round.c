/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/worker.h"

#define BATCH 32u

/* Takes up to `max` tasks of a ring into frames; never more than there are
 * frames for, as a task that is taken must be answered. */
static uint32_t load_batch(struct worker *w, struct served *s, uint32_t ring,
                           struct sl_task **tasks, uint32_t max)
{
    struct channel *c = s->source.channel;
    uint32_t slots[BATCH];
    uint32_t n = channel_take(c, ring, slots, task_reserve(&w->env, max));
    for (uint32_t i = 0; i < n; i++) {
        __builtin_prefetch(&c->cells[slots[i]]);
        __builtin_prefetch(&c->cells[slots[i]].body);
        /* The producer polls these: to own them again takes a while. */
        __builtin_prefetch(&c->replies[slots[i]], 1);
        __builtin_prefetch(&c->results[slots[i]], 1);
    }
    w->batches++;
    for (uint32_t i = 0; i < n; i++) {
        tasks[i] = task_new(&w->env, &s->source);
        channel_load(c, slots[i], tasks[i]);
    }
    return n;
}

/* In passes over the whole batch: what one pass prefetches has arrived when
 * the next one needs it. */
static uint32_t serve_ring(struct worker *w, struct served *s, uint32_t ring)
{
    struct channel *c = s->source.channel;
    struct sl_task *tasks[BATCH];
    uint32_t room = c->n_slots - s->source.out;
    uint32_t n, good = 0;
    uint32_t lane = ring % c->n_lanes;
    int open;
    if (!channel_ready(c, ring))
        return 0;
    /* A producer has no more tasks in flight than slots; one that claims more
     * is served when some are answered. */
    n = load_batch(w, s, ring, tasks, room < BATCH ? room : BATCH);
    /* Acquire; partner: channel_set_state. */
    open =
        __atomic_load_n(&c->header->state, __ATOMIC_ACQUIRE) == SL_CHANNEL_OPEN;
    for (uint32_t i = 0; i < n; i++) {
        int rc = open ? task_prepare(tasks[i], lane) : SL_EDEAD;
        if (rc)
            task_reject(tasks[i], rc);
        else
            tasks[good++] = tasks[i];
    }
    /* One task has nobody to overlap its misses with. */
    for (uint32_t i = 0; good > 1 && i < good; i++)
        task_peek(tasks[i]);
    for (uint32_t i = 0; good > 1 && i < good; i++)
        task_peek_chunk(tasks[i]);
    for (uint32_t i = 0; i < good; i++)
        task_serve(tasks[i]);
    return n;
}

static uint32_t serve_channel(struct worker *w, struct served *s)
{
    const struct channel *c = s->source.channel;
    uint32_t step = w->team->config.n;
    uint32_t n = 0;
    for (uint32_t lane = w->index; lane < c->n_lanes; lane += step)
        n += serve_ring(w, s, c->n_lanes + lane);
    for (uint32_t lane = w->index; lane < c->n_lanes; lane += step)
        n += serve_ring(w, s, lane);
    return n;
}

int worker_has_tasks(const struct worker *w, const struct channel *c)
{
    uint32_t step = w->team->config.n;
    for (uint32_t lane = w->index; lane < c->n_lanes; lane += step) {
        if (channel_ready(c, lane) || channel_ready(c, c->n_lanes + lane))
            return 1;
    }
    return 0;
}

/* Says whether anything is in flight, for workers_drain. */
static void publish_quiet(struct worker *w)
{
    uint32_t quiet = w->env.out == 0 && !mailbox_ready(&w->env.inbox) &&
                     store_pending(w->team->store, w->index) == 0;
    /* Release: what was served is done. Partner: workers_drain. */
    __atomic_store_n(&w->quiet, quiet, __ATOMIC_RELEASE);
}

uint32_t worker_round(struct worker *w)
{
    uint32_t served = 0, other;
    for (uint32_t i = 0; i < w->n_served; i++)
        served += serve_channel(w, w->served[i]);
    other = mailbox_run(&w->env.inbox);
    other += store_poll(w->team->store, w->index);
    if (!w->draining)
        other += store_step(w->team->store, w->index);
    other += holds_sweep(w->holds, 2u * served + 4u);
    if (w->env.starving) {
        holds_sweep(w->holds, holds_count(w->holds));
        other += task_retry(&w->env);
    }
    if (w->env.starving && (w->n_leaving || w->draining))
        other += task_drop_starving(&w->env);
    if (w->n_leaving)
        worker_let_go(w);
    if (w->draining)
        publish_quiet(w);
    return served + other;
}
