/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Futures of the calls that are many tasks (listings, queries) or none (targets),
 * and of sl_tag_stat, whose answer is taken apart: a thread makes the call. It writes to memory of its own, so that a future that
 * is cancelled leaves nobody who writes to the caller's.
 */
#include "api/runtime.h"

#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define TEXTS 4u

struct call {
    struct sl_runtime *rt; /* a reference */
    int (*run)(struct call *c);
    void (*give)(const struct call *c); /* the answers; null: there are none */
    pthread_mutex_t lock;               /* guards ended, code and users */
    pthread_cond_t done;
    int ended, code;
    unsigned users;          /* the future and the thread */
    pthread_mutex_t calling; /* recursive; held while fn runs; guards dropped */
    int dropped;
    char *text[TEXTS]; /* copies of what the caller gave */
    unsigned n_texts;
    /* Of listings. */
    uint64_t tag;
    struct sl_cursor at, *cursor;
    struct sl_entry *entry, *entries;
    size_t n, found, *got;
    /* Of queries. */
    struct sl_query query;
    sl_match_fn fn;
    void *user;
    uint64_t matches, *total;
    /* Of tags. */
    struct sl_tag_stat stat, *stats;
    /* Of targets. */
    struct sl_target_opts target;
    uint32_t number, *id;
};

/* ---- the life of a call ---- */

static struct call *call_new(struct sl_runtime *rt, int (*run)(struct call *c))
{
    struct call *c = calloc(1, sizeof(*c));
    pthread_condattr_t clock;
    pthread_mutexattr_t again;
    if (!c)
        return NULL;
    c->rt = rt;
    c->run = run;
    c->users = 1;
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&c->done, &clock);
    pthread_condattr_destroy(&clock);
    pthread_mutexattr_init(&again);
    pthread_mutexattr_settype(&again, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&c->calling, &again);
    pthread_mutexattr_destroy(&again);
    /* Relaxed: the caller's own right to use rt keeps it there meanwhile. */
    __atomic_fetch_add(&rt->refs, 1u, __ATOMIC_RELAXED);
    return c;
}

static void call_leave(struct call *c)
{
    pthread_mutex_lock(&c->lock);
    unsigned left = --c->users;
    pthread_mutex_unlock(&c->lock);
    if (left)
        return;
    for (unsigned i = 0; i < c->n_texts; i++)
        free(c->text[i]);
    free(c->entry);
    pthread_mutex_destroy(&c->calling);
    pthread_cond_destroy(&c->done);
    pthread_mutex_destroy(&c->lock);
    runtime_unref(c->rt);
    free(c);
}

/* Makes *s a copy of itself. */
static int call_keep(struct call *c, const char **s)
{
    char *copy = *s ? strdup(*s) : NULL;
    if (*s && !copy)
        return SL_ENOMEM;
    c->text[c->n_texts++] = copy;
    *s = copy;
    return 0;
}

static void *call_main(void *arg)
{
    struct call *c = arg;
    int rc = c->run(c);
    pthread_mutex_lock(&c->lock);
    c->code = rc;
    c->ended = 1;
    pthread_cond_broadcast(&c->done);
    pthread_mutex_unlock(&c->lock);
    call_leave(c);
    return NULL;
}

/* Signals are for the program's threads. */
static int call_start(struct call *c)
{
    sigset_t all, before;
    pthread_attr_t alone;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&alone);
    pthread_attr_setdetachstate(&alone, PTHREAD_CREATE_DETACHED);
    int rc = pthread_create(&thread, &alone, call_main, c) ? SL_EAGAIN : 0;
    pthread_attr_destroy(&alone);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

/* Takes the call, whatever the code; `rc` is what became of it so far. *out is
 * there before the first call of fn. */
static int call_begin(struct call *c, int rc, struct sl_op **out)
{
    if (!rc)
        rc = op_of_call(c->rt, c, out);
    if (rc) {
        call_leave(c);
        return rc;
    }
    c->users++;
    rc = call_start(c);
    if (rc) {
        c->users--;
        sl_cancel(out);
    }
    return rc;
}

int call_wait(struct call *c, uint64_t deadline_ns, int *live)
{
    struct timespec until = {.tv_sec = (time_t)(deadline_ns / 1000000000u),
                             .tv_nsec = (long)(deadline_ns % 1000000000u)};
    int late = 0;
    pthread_mutex_lock(&c->lock);
    while (!c->ended && !late)
        late = pthread_cond_timedwait(&c->done, &c->lock, &until);
    *live = !c->ended;
    int rc = c->code;
    pthread_mutex_unlock(&c->lock);
    if (!*live && !rc && c->give)
        c->give(c);
    return rc;
}

void call_drop(struct call *c)
{
    pthread_mutex_lock(&c->calling);
    c->dropped = 1;
    pthread_mutex_unlock(&c->calling);
    call_leave(c);
}

/* ---- listings ---- */

static int listed(struct call *c, int n)
{
    c->found = n > 0 ? (size_t)n : 0;
    return n < 0 ? n : 0;
}

static int run_list(struct call *c)
{
    return listed(c, sl_list_next(c->rt, c->tag, &c->at, c->entry, c->n));
}

static int run_list_tags(struct call *c)
{
    return listed(c, sl_list_tags_next(c->rt, &c->at, c->entry, c->n));
}

static void give_list(const struct call *c)
{
    *c->cursor = c->at;
    memcpy(c->entries, c->entry, c->found * sizeof(*c->entry));
    if (c->got)
        *c->got = c->found;
}

static int begin_list(struct sl_runtime *rt, int (*run)(struct call *c),
                      uint64_t tag, struct sl_cursor *cursor,
                      struct sl_entry *entries, size_t n, size_t *got,
                      struct sl_op **out)
{
    if (!rt || !cursor || !entries || !n || n > INT_MAX || !out)
        return SL_EINVAL;
    struct call *c = call_new(rt, run);
    if (!c)
        return SL_ENOMEM;
    c->give = give_list;
    c->tag = tag;
    c->at = *cursor;
    c->cursor = cursor;
    c->entries = entries;
    c->n = n;
    c->got = got;
    c->entry = calloc(n, sizeof(*c->entry));
    return call_begin(c, c->entry ? 0 : SL_ENOMEM, out);
}

int sl_list_next_begin(struct sl_runtime *rt, uint64_t tag, struct sl_cursor *c,
                       struct sl_entry *entries, size_t n, size_t *got,
                       struct sl_op **out)
{
    return begin_list(rt, run_list, tag, c, entries, n, got, out);
}

int sl_list_tags_next_begin(struct sl_runtime *rt, struct sl_cursor *c,
                            struct sl_entry *entries, size_t n, size_t *got,
                            struct sl_op **out)
{
    return begin_list(rt, run_list_tags, 0, c, entries, n, got, out);
}

/* ---- queries ---- */

/* fn is called no more once sl_cancel has returned. */
static int call_fn(void *user, const struct sl_match *m)
{
    struct call *c = user;
    pthread_mutex_lock(&c->calling);
    int rc = c->dropped ? SL_ECANCELED : c->fn(c->user, m);
    pthread_mutex_unlock(&c->calling);
    return rc;
}

static int run_query(struct call *c)
{
    return sl_query(c->rt, &c->query, c->fn ? call_fn : NULL, c, &c->matches);
}

static void give_query(const struct call *c)
{
    if (c->total)
        *c->total = c->matches;
}

int sl_query_begin(struct sl_runtime *rt, const struct sl_query *q,
                   sl_match_fn fn, void *user, uint64_t *total,
                   struct sl_op **out)
{
    struct sl_query all;
    if (!rt || !out || opts_read(&all, sizeof(all), q, "query"))
        return SL_EINVAL;
    struct call *c = call_new(rt, run_query);
    if (!c)
        return SL_ENOMEM;
    c->give = give_query;
    c->query = all;
    c->query.size = sizeof(c->query);
    c->fn = fn;
    c->user = user;
    c->total = total;
    int rc = call_keep(c, &c->query.tag);
    return call_begin(c, rc ? rc : call_keep(c, &c->query.blob), out);
}

/* ---- tags ---- */

static int run_tag_stat(struct call *c)
{
    return sl_tag_stat(c->rt, c->tag, &c->stat);
}

static void give_tag_stat(const struct call *c)
{
    *c->stats = c->stat;
}

int sl_tag_stat_begin(struct sl_runtime *rt, uint64_t tag,
                      struct sl_tag_stat *stat, struct sl_op **out)
{
    if (!rt || !stat || !out)
        return SL_EINVAL;
    struct call *c = call_new(rt, run_tag_stat);
    if (!c)
        return SL_ENOMEM;
    c->give = give_tag_stat;
    c->tag = tag;
    c->stats = stat;
    return call_begin(c, 0, out);
}

/* ---- targets ---- */

static int run_target_add(struct call *c)
{
    return sl_target_add(c->rt, &c->target, &c->number);
}

static int run_target_remove(struct call *c)
{
    return sl_target_remove(c->rt, c->target.name);
}

static int run_target_set_score(struct call *c)
{
    return sl_target_set_score(c->rt, c->target.name, c->target.score);
}

static void give_target(const struct call *c)
{
    if (c->id)
        *c->id = c->number;
}

static int begin_target(struct sl_runtime *rt, int (*run)(struct call *c),
                        const struct sl_target_opts *o, uint32_t *id,
                        struct sl_op **out)
{
    struct call *c = call_new(rt, run);
    if (!c)
        return SL_ENOMEM;
    const char **const texts[] = {&c->target.name, &c->target.kind,
                                  &c->target.path, &c->target.device};
    int rc = 0;
    c->give = give_target;
    c->target = *o;
    c->target.size = sizeof(c->target);
    c->id = id;
    for (unsigned i = 0; i < TEXTS; i++)
        rc = rc ? rc : call_keep(c, texts[i]);
    return call_begin(c, rc, out);
}

int sl_target_add_begin(struct sl_runtime *rt,
                        const struct sl_target_opts *opts, uint32_t *id,
                        struct sl_op **out)
{
    struct sl_target_opts o;
    if (!rt || !out || opts_read(&o, sizeof(o), opts, "target"))
        return SL_EINVAL;
    return begin_target(rt, run_target_add, &o, id, out);
}

int sl_target_remove_begin(struct sl_runtime *rt, const char *name,
                           struct sl_op **out)
{
    struct sl_target_opts o = {.name = name};
    if (!rt || !out || !name)
        return SL_EINVAL;
    return begin_target(rt, run_target_remove, &o, NULL, out);
}

int sl_target_set_score_begin(struct sl_runtime *rt, const char *name,
                              float score, struct sl_op **out)
{
    struct sl_target_opts o = {.name = name, .score = score};
    if (!rt || !out || !name)
        return SL_EINVAL;
    return begin_target(rt, run_target_set_score, &o, NULL, out);
}
