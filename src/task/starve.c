/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "task/task.h"

#include <string.h>

/*
 * Tasks that found no chunk. A worker that finds none makes the others give
 * theirs back (arena.h), producers release what they copied, and tasks under
 * way give back what they used; all that takes a moment, so a task waits and is
 * served again from the start. Who waits longest comes first, and nobody who
 * came later passes it. One is tried at a time, until it has ended or starves
 * again: two that each took half of what is free would both go without.
 */
#define STARVE_NS UINT64_C(1000000000)     /* 1 s: nothing is under way */
#define STARVE_MAX_NS UINT64_C(5000000000) /* 5 s: whatever is under way */

/* Its place goes by when it first starved; one that was served in vain is back
 * at the front. */
static void queue_add(struct task_env *env, struct sl_task *t)
{
    uint64_t since = task_frame(t)->since_ns;
    struct sl_task **p = &env->starving;
    while (*p && task_frame(*p)->since_ns < since)
        p = &(*p)->next;
    t->next = *p;
    *p = t;
    env->n_starving++;
}

static void queue_take(struct task_env *env, struct sl_task **p)
{
    struct sl_task *t = *p;
    *p = t->next;
    t->next = NULL;
    env->n_starving--;
}

int task_may_try(const struct sl_task *t)
{
    const struct task_env *env = task_env_of(t);
    const struct frame *f = (const struct frame *)(const void *)t;
    return f->since_ns || !env->starving;
}

void task_starve(struct sl_task *t, int code)
{
    struct task_env *env = task_env_of(t);
    struct frame *f = task_frame(t);
    if (!f->since_ns) {
        uint64_t now = clock_ns();
        /* One after the other, even where the clock stands still. */
        if (now <= env->starved_ns)
            now = env->starved_ns + 1u;
        env->starved_ns = now;
        f->since_ns = now;
        f->last_try = 0;
    }
    if (env->trying == t)
        env->trying = NULL;
    f->starve_code = code;
    queue_add(env, t);
}

/* As task_prepare left it. */
static void serve_again(struct sl_task *t)
{
    memset(&t->result, 0, sizeof(t->result));
    t->value = 0;
    t->list = 0;
    t->has_result = 0;
    t->state = NULL;
    task_serve(t);
}

static int waited_enough(const struct task_env *env, struct sl_task *t)
{
    uint64_t now = clock_ns();
    uint64_t since = task_frame(t)->since_ns;
    uint64_t waited = now > since ? now - since : 0;
    if (waited < STARVE_NS)
        return 0;
    /* Whoever is neither waiting nor answered may still free chunks. */
    return env->out <= env->n_starving + 1u || waited >= STARVE_MAX_NS;
}

unsigned task_retry(struct task_env *env)
{
    unsigned went = 0;
    while (env->starving && !env->trying) {
        struct sl_task *t = env->starving;
        struct frame *f = task_frame(t);
        queue_take(env, &env->starving);
        if (f->last_try) {
            task_finish(t, f->starve_code);
            went++;
            continue;
        }
        f->last_try = waited_enough(env, t);
        env->trying = t;
        serve_again(t);
        if (env->starving == t && !f->last_try)
            break; /* those behind it came later */
        went++;
    }
    return went;
}

unsigned task_drop_starving(struct task_env *env)
{
    struct sl_task **p = &env->starving;
    unsigned dropped = 0;
    while (*p) {
        struct sl_task *t = *p;
        /* Acquire; partner: channel_set_state. */
        if (__atomic_load_n(&t->channel->header->state, __ATOMIC_ACQUIRE) ==
            SL_CHANNEL_OPEN) {
            p = &t->next;
            continue;
        }
        queue_take(env, p);
        task_finish(t, SL_EDEAD);
        dropped++;
    }
    return dropped;
}
