/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/log.h"
#include "worker/futex.h"
#include "worker/watch.h"

#include <sched.h>
#include <stdlib.h>

/*
 * What the control thread wants of all workers goes to them as messages, and
 * it waits until each has answered. So lists that workers use in every round
 * need no lock.
 */

#define FOR_EVER UINT64_MAX

struct order_part {
    struct message message;
    struct worker *worker;
    struct order *order;
};

struct order {
    struct order *next; /* of those that nobody waits for any more */
    struct channel *channel;
    uint32_t n;    /* workers it went to */
    uint32_t done; /* atomic, futex: those who have answered */
    int code;      /* atomic: an error of any */
    struct order_part to[];
};

static struct order_part *part_of(struct message *m)
{
    return (struct order_part *)(void *)m; /* the first member */
}

static struct order *order_send(struct workers *ws, struct channel *c,
                                void (*run)(struct message *m))
{
    uint32_t n = ws->n_started;
    struct order *o = calloc(1, sizeof(*o) + n * sizeof(o->to[0]));
    if (!o) {
        log_error("workers: no memory for an order to %u workers", n);
        return NULL;
    }
    o->channel = c;
    o->n = n;
    for (uint32_t i = 0; i < n; i++) {
        o->to[i].worker = ws->at[i];
        o->to[i].order = o;
        o->to[i].message.run = run;
        task_env_post(&ws->at[i]->env, &o->to[i].message);
    }
    return o;
}

static void part_done(struct message *m)
{
    struct order *o = part_of(m)->order;
    /* After the addition the order may be gone, so what comes later uses only
     * its address. Release; partner: order_wait. */
    uint32_t n = o->n;
    if (__atomic_add_fetch(&o->done, 1u, __ATOMIC_RELEASE) == n)
        futex_wake(&o->done);
}

/* Takes the order when all have answered; SL_ETIMEDOUT leaves it to them. */
static int order_wait(struct order *o, uint64_t until_ns)
{
    uint32_t done;
    int code;
    /* Acquire: what the workers did. Partner: part_done. */
    while ((done = __atomic_load_n(&o->done, __ATOMIC_ACQUIRE)) < o->n) {
        uint64_t now = clock_ns();
        if (now >= until_ns)
            return SL_ETIMEDOUT;
        futex_wait(&o->done, done, until_ns - now);
    }
    /* Relaxed: `done` orders it. */
    code = __atomic_load_n(&o->code, __ATOMIC_RELAXED);
    free(o);
    return code;
}

/* ---- channels ---- */

static int serve_channel_too(struct worker *w, struct channel *c)
{
    struct served *s;
    if (w->n_served == w->room) {
        uint32_t room = w->room ? 2u * w->room : 8u;
        struct served **at = realloc(w->served, room * sizeof(*at));
        if (!at)
            return SL_ENOMEM;
        w->served = at;
        w->room = room;
    }
    s = calloc(1, sizeof(*s));
    if (!s)
        return SL_ENOMEM;
    s->source.channel = c;
    w->served[w->n_served++] = s;
    return 0;
}

static void run_add(struct message *m)
{
    struct order_part *p = part_of(m);
    int rc = serve_channel_too(p->worker, p->order->channel);
    if (rc)
        /* Relaxed: part_done orders it. Partner: order_wait. */
        __atomic_store_n(&p->order->code, rc, __ATOMIC_RELAXED);
    part_done(m);
}

static void run_remove(struct message *m)
{
    struct order_part *p = part_of(m);
    struct worker *w = p->worker;
    for (uint32_t i = 0; i < w->n_served; i++) {
        if (w->served[i]->source.channel == p->order->channel) {
            w->served[i]->leaving = m;
            w->n_leaving++;
            return; /* worker_let_go answers */
        }
    }
    part_done(m);
}

void worker_let_go(struct worker *w)
{
    uint32_t i = 0;
    while (i < w->n_served) {
        struct served *s = w->served[i];
        if (!s->leaving || s->source.out) {
            i++;
            continue;
        }
        holds_forget(w->holds, s->source.channel);
        w->served[i] = w->served[--w->n_served];
        w->n_leaving--;
        part_done(s->leaving);
        free(s);
    }
}

int workers_add(struct workers *ws, struct channel *c)
{
    struct order *o;
    int rc = watch_add(ws->watch, c);
    if (rc)
        return rc;
    o = order_send(ws, c, run_add);
    rc = o ? order_wait(o, FOR_EVER) : SL_ENOMEM;
    if (rc && o)
        (void)workers_remove(ws, c, FOR_EVER / 2u);
    else if (rc)
        watch_remove(ws->watch, c);
    return rc;
}

int workers_remove(struct workers *ws, struct channel *c, uint64_t timeout_ns)
{
    uint64_t until = clock_ns() + timeout_ns;
    struct order *o = order_send(ws, c, run_remove);
    int rc;
    watch_remove(ws->watch, c);
    if (!o)
        return SL_ENOMEM;
    rc = order_wait(o, until);
    if (rc == SL_ETIMEDOUT) {
        o->next = ws->late;
        ws->late = o;
    }
    return rc;
}

/* ---- the end ---- */

static void run_drain(struct message *m)
{
    struct order_part *p = part_of(m);
    p->worker->draining = 1;
    part_done(m);
}

static void run_stop(struct message *m)
{
    struct order_part *p = part_of(m);
    p->worker->stop = 1;
    part_done(m);
}

static int all_quiet(const struct workers *ws)
{
    for (uint32_t i = 0; i < ws->n_started; i++) {
        /* Acquire; partner: publish_quiet. */
        if (!__atomic_load_n(&ws->at[i]->quiet, __ATOMIC_ACQUIRE))
            return 0;
    }
    return 1;
}

int workers_drain(struct workers *ws, uint64_t timeout_ns)
{
    uint64_t until = clock_ns() + timeout_ns;
    struct order *o = order_send(ws, NULL, run_drain);
    if (!o)
        return SL_ENOMEM;
    (void)order_wait(o, FOR_EVER);
    while (!all_quiet(ws)) {
        if (clock_ns() >= until)
            return SL_ETIMEDOUT;
        clock_sleep_ns(100000); /* the end is no hot path */
    }
    return 0;
}

void workers_stop(struct workers *ws)
{
    struct order *o = NULL;
    /* Without memory for one message there is no way to go on. */
    while (ws->n_started && !(o = order_send(ws, NULL, run_stop)))
        sched_yield();
    for (uint32_t i = 0; i < ws->n_started; i++)
        pthread_join(ws->at[i]->thread, NULL);
    if (o)
        (void)order_wait(o, FOR_EVER);
    ws->n_started = 0;
    while (ws->late) {
        struct order *late = ws->late;
        ws->late = late->next;
        free(late);
    }
    watch_stop(ws->watch);
}
