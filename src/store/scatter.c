/* SPDX-License-Identifier: Apache-2.0 */
#include "store/shard.h"

#include <stdlib.h>

static void ended(struct message *m)
{
    struct scatter *s =
        (struct scatter *)(void *)((char *)m - offsetof(struct scatter, ended));
    s->kept = 0;
    /* Relaxed: the last part's acquire came before the post. */
    s->end(s, __atomic_load_n(&s->code, __ATOMIC_RELAXED));
    if (!s->kept)
        free(s);
}

void scatter_part(struct scatter *s, int code)
{
    int none = 0;
    if (code) /* relaxed: the countdown below publishes it */
        __atomic_compare_exchange_n(&s->code, &none, code, 0, __ATOMIC_RELAXED,
                                    __ATOMIC_RELAXED);
    /* Releases this part's answer, acquires those of the others. */
    if (__atomic_sub_fetch(&s->pending, 1, __ATOMIC_ACQ_REL) == 0)
        s->origin->env.post(s->origin->env.runtime, s->origin->id, &s->ended);
}

static void run_part(struct message *m)
{
    struct scatter_message *to = (struct scatter_message *)(void *)m;
    int rc = to->s->part(to->s, to->sh);
    if (rc != TASK_LATER)
        scatter_part(to->s, rc);
}

void scatter_retry(struct scatter *s, struct shard *sh)
{
    sh->env.post(sh->env.runtime, sh->id, &s->to[sh->id].m);
}

void scatter_next(struct scatter *s,
                  int (*part)(struct scatter *s, struct shard *sh),
                  void (*end)(struct scatter *s, int code))
{
    struct shard *origin = s->origin;
    uint32_t n = origin->store->config.n_shards;
    s->kept = 1;
    s->part = part;
    s->end = end;
    /* Relaxed: the posts below publish them. */
    __atomic_store_n(&s->code, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&s->pending, n, __ATOMIC_RELAXED);
    for (uint32_t i = 0; i < n; i++)
        origin->env.post(origin->env.runtime, i, &s->to[i].m);
}

int scatter_start(struct shard *origin, struct sl_task *t,
                  int (*part)(struct scatter *s, struct shard *sh),
                  void (*end)(struct scatter *s, int code), void *user)
{
    struct store *st = origin->store;
    uint32_t n = st->config.n_shards;
    struct scatter *s = calloc(1, sizeof(*s) + n * sizeof(s->to[0]));
    if (!s)
        return SL_ENOMEM;
    s->origin = origin;
    s->task = t;
    s->user = user;
    s->ended.run = ended;
    for (uint32_t i = 0; i < n; i++) {
        s->to[i].m.run = run_part;
        s->to[i].s = s;
        s->to[i].sh = st->shards[i];
    }
    scatter_next(s, part, end);
    return 0;
}
