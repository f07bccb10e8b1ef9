/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "store/shard.h"

#include <stdlib.h>

/*
 * A change is acknowledged when the log has it; LMDB gets it later. If the log
 * does not survive a power cut, the record in LMDB is what a restart finds, so
 * the units that it names are kept until LMDB has the change:
 *
 *   named by a record --replaced or deleted, in the log--> settling
 *   --committed--> limbo (unit.c) --no reader--> free
 */

static void take_first(struct shard *sh)
{
    struct settle *s = &sh->settle;
    /* A copy: what extent_free does may add to the array. */
    struct extent e = s->at[s->first].e;
    s->first++;
    /* Relaxed: who reads it only asks whether a commit is worth it. */
    __atomic_sub_fetch(&sh->store->settling, 1u, __ATOMIC_RELAXED);
    extent_free(sh, &e);
}

/* They are in the order of their changes. */
static void settle_run(struct shard *sh)
{
    struct settle *s = &sh->settle;
    uint64_t settled = meta_settled(sh->store->meta);
    while (s->first < s->n && s->at[s->first].change <= settled)
        take_first(sh);
    if (s->first == s->n)
        s->first = s->n = 0;
}

static int room(struct settle *s)
{
    if (s->n < s->cap)
        return 1;
    if (s->first > s->cap / 2u) {
        for (uint32_t i = s->first; i < s->n; i++)
            s->at[i - s->first] = s->at[i];
        s->n -= s->first;
        s->first = 0;
        return 1;
    }
    uint32_t cap = s->cap ? s->cap * 2u : 64u;
    struct settle_unit *p = realloc(s->at, cap * sizeof(*p));
    if (!p)
        return 0;
    s->at = p;
    s->cap = cap;
    return 1;
}

void settle_unit(struct shard *sh, const struct extent *e)
{
    struct settle *s = &sh->settle;
    uint64_t change = meta_last(sh->store->meta);
    owed_drop(&sh->store->owed, e);
    if (change <= meta_settled(sh->store->meta)) {
        extent_free(sh, e);
        return;
    }
    if (!room(s)) { /* rather lose space until the restart than a blob */
        log_error("store: no memory to defer a free, %u bytes stay taken",
                  e->stored);
        return;
    }
    s->at[s->n].e = *e;
    s->at[s->n++].change = change;
    __atomic_add_fetch(&sh->store->settling, 1u, __ATOMIC_RELAXED);
}

/* ---- the committer's word ---- */

static void told(struct message *m)
{
    struct shard *sh =
        (struct shard *)(void *)((char *)m -
                                 offsetof(struct shard, settle.msg));
    /* Before the look at what is settled: what settles behind it is told
     * anew. Acquire and release; partner: settle_tell. */
    __atomic_exchange_n(&sh->settle.posted, 0, __ATOMIC_ACQ_REL);
    settle_run(sh);
}

void settle_tell(struct store *s)
{
    pthread_mutex_lock(&s->shards_lock);
    for (uint32_t i = 0; i < s->config.n_shards; i++) {
        struct shard *sh = s->shards[i];
        /* Acquire and release; partner: told. */
        if (sh && !__atomic_exchange_n(&sh->settle.posted, 1, __ATOMIC_ACQ_REL))
            sh->env.post(sh->env.runtime, sh->id, &sh->settle.msg);
    }
    pthread_mutex_unlock(&s->shards_lock);
}

void settle_start(struct shard *sh)
{
    struct store *s = sh->store;
    sh->settle.msg.run = told;
    pthread_mutex_lock(&s->shards_lock);
    s->shards[sh->id] = sh;
    pthread_mutex_unlock(&s->shards_lock);
}

/* The worker has stopped: a message that is under way is not run. */
void settle_stop(struct shard *sh)
{
    struct store *s = sh->store;
    pthread_mutex_lock(&s->shards_lock);
    s->shards[sh->id] = NULL;
    pthread_mutex_unlock(&s->shards_lock);
    free(sh->settle.at);
}

/* ---- all, now ---- */

struct settle_all {
    struct shard *sh;
    void (*done)(void *user, int code);
    void *user;
    int code;
};

static int all_part(struct scatter *s, struct shard *sh)
{
    (void)s;
    settle_run(sh);
    return 0;
}

static void all_end(struct scatter *s, int none)
{
    struct settle_all *a = s->user;
    (void)none;
    a->done(a->user, a->code);
    free(a);
}

static void all_committed(struct change *c, int code)
{
    struct settle_all *a = c->user;
    change_release(c);
    a->code = code;
    if (!scatter_start(a->sh, NULL, all_part, all_end, a))
        return;
    a->done(a->user, code);
    free(a);
}

int settle_all(struct shard *sh, void (*done)(void *user, int code), void *user)
{
    struct settle_all *a = calloc(1, sizeof(*a));
    struct change *c = calloc(1, sizeof(*c));
    if (!a || !c) {
        free(a);
        free(c);
        return SL_ENOMEM;
    }
    *a = (struct settle_all){.sh = sh, .done = done, .user = user};
    c->sh = sh;
    c->done = all_committed;
    c->user = a;
    c->meta.op = META_FLUSH;
    change_submit(c);
    return 0;
}
