/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store.h"

#include "base/log.h"
#include "store/code.h"
#include "store/dir.h"
#include "store/shard.h"

#include <stdlib.h>
#include <string.h>

int (*const store_methods[SL_STORE_METHODS])(struct sl_task *, void *) = {
    [SL_STORE_TAG] = store_tag,
    [SL_STORE_PUT] = store_put,
    [SL_STORE_GET] = store_get,
    [SL_STORE_DEL] = store_del,
    [SL_STORE_SIZE] = store_size,
    [SL_STORE_STAT] = store_stat,
    [SL_STORE_TAG_SIZE] = store_tag_size,
    [SL_STORE_TAG_DEL] = store_tag_del,
    [SL_STORE_LIST] = store_list,
    [SL_STORE_TAGS] = store_tags,
    [SL_STORE_FLUSH] = store_flush,
    [SL_STORE_QUERY] = store_query,
    [SL_STORE_EVENTS] = store_events,
    [SL_STORE_RENAME] = store_rename,
    [SL_STORE_TAG_RENAME] = store_tag_rename,
    [SL_STORE_SCORE] = store_score,
};

/* ---- open, close ---- */

static int has_target(const struct store *s)
{
    for (uint32_t t = 0; t < TARGETS_MAX; t++)
        if (s->target[t].state != TARGET_FREE)
            return 1;
    return 0;
}

int store_open(const struct store_config *c, struct store **out)
{
    struct store *s = aligned_alloc(_Alignof(struct store), sizeof(*s));
    const struct sl_config *sc = c->config;
    int rc = SL_ENOMEM;
    if (!s)
        return rc;
    memset(s, 0, sizeof(*s));
    s->config = *c;
    pthread_mutex_init(&s->shards_lock, NULL);
    pthread_mutex_init(&s->control, NULL);
    pthread_mutex_init(&s->look, NULL);
    pthread_mutex_init(&s->sync, NULL);
    pthread_mutex_init(&s->code_lock, NULL);
    s->shards = calloc(c->n_shards, sizeof(struct shard *));
    if (!s->shards)
        goto fail;
    rc = sc->data_dir ? dir_open(sc->data_dir, &s->dir) : 0;
    if (!rc)
        code_start(s);
    if (!rc)
        rc = targets_open(s);
    if (!rc && !has_target(s)) {
        log_error("store: no tier is configured");
        rc = SL_ECONFIG;
    }
    if (!rc && s->dir)
        rc = owed_open(&s->owed);
    if (!rc && s->dir)
        rc = stable_open(s);
    if (rc)
        goto fail;
    *out = s;
    return 0;
fail:
    store_close(s);
    return rc;
}

void store_close(struct store *s)
{
    code_stop(s);
    if (s->meta)
        meta_close(s->meta);
    owed_close(&s->owed);
    targets_close(s);
    if (s->dir)
        dir_close(s->dir);
    pthread_mutex_destroy(&s->control);
    pthread_mutex_destroy(&s->look);
    pthread_mutex_destroy(&s->sync);
    pthread_mutex_destroy(&s->shards_lock);
    free(s->shards);
    free(s);
}

int store_attach(struct store *s, const struct store_env *env)
{
    return targets_attach(s, env->worker);
}

int shard_create(struct store *s, uint32_t index, const struct store_env *env,
                 struct shard **out)
{
    struct arena_usage u;
    struct shard *sh = calloc(1, sizeof(*sh));
    if (!sh)
        return SL_ENOMEM;
    sh->store = s;
    sh->env = *env;
    sh->id = index;
    sh->choice.turn = s->config.config->placement_seed + index;
    choice_make(s, &sh->choice);
    arena_usage(s->config.arena, &u);
    /* At most 1/16 of the tier is charged ahead by all shards together. */
    sh->credit_step = u.pinned_limit / (16u * s->config.n_shards);
    if (sh->credit_step > 262144u)
        sh->credit_step = 262144u;
    uint64_t n_events = s->config.config->events;
    if (table_create(&sh->index, &sh->records) || tags_create(sh))
        goto no_memory;
    if (n_events != SL_NONE) {
        sh->events = events_create(n_events);
        if (!sh->events)
            goto no_memory;
    }
    evict_start(sh);
    settle_start(sh);
    *out = sh;
    return 0;
no_memory:
    tags_destroy(sh);
    table_destroy(&sh->index);
    free(sh->events);
    free(sh);
    return SL_ENOMEM;
}

static int free_extents(void *user, struct blob *b)
{
    (void)user;
    if (b->ext != &b->one)
        free(b->ext);
    return 0;
}

/* At the end of the process nothing is given back to targets: what the
 * metadata names stays, the rest is free space at the next start. */
void shard_destroy(struct shard *sh)
{
    settle_stop(sh);
    tags_each_blob(sh, free_extents, NULL);
    tags_destroy(sh);
    table_destroy(&sh->index);
    mem_pool_destroy(&sh->records);
    query_destroy(sh);
    free(sh->events);
    free(sh->limbo[0].at);
    free(sh->limbo[1].at);
    free(sh);
}

/* ---- work ---- */

void shard_prepare(struct shard *sh, struct sl_task *t)
{
    uint64_t tag =
        t->cell.method == SL_STORE_TAG || t->cell.method == SL_STORE_TAG_RENAME
            ? 0
            : t->cell.tag;
    t->hash = sl_key_hash(tag, t->name, t->cell.name_len);
    __builtin_prefetch(table_slot(&sh->index, t->hash.lo));
}

void shard_peek(struct shard *sh, const struct sl_task *t)
{
    const char *b = (const char *)table_guess(&sh->index, t->hash.lo);
    if (!b)
        return;
    __builtin_prefetch(b);
    __builtin_prefetch(b + 64);
    __builtin_prefetch(b + sizeof(struct blob) + t->cell.name_len);
}

void shard_peek_chunk(struct shard *sh, const struct sl_task *t)
{
    const struct blob *b = table_guess(&sh->index, t->hash.lo);
    if (b && b->n == 1u && b->ext == &b->one && b->one.target == TARGET_PINNED)
        chunk_prefetch(sh->store->config.arena, b->one.loc, b->one.klass);
    if (t->cell.chunk)
        chunk_prefetch(sh->store->config.arena, t->cell.chunk, t->cell.klass);
}

unsigned store_poll(struct store *s, uint32_t worker)
{
    const struct target_ports *p = &s->ports[worker];
    unsigned n = 0;
    for (uint32_t i = 0; i < p->n; i++)
        n += p->list[i]->tier->ops->poll(p->list[i]);
    return n;
}

unsigned store_pending(struct store *s, uint32_t worker)
{
    const struct target_ports *p = &s->ports[worker];
    unsigned n = 0;
    for (uint32_t i = 0; i < p->n; i++)
        n += p->list[i]->tier->ops->pending(p->list[i]);
    for (uint32_t i = worker; i < s->config.n_shards;
         i += s->config.n_workers) {
        const struct shard *sh = s->shards[i];
        if (!sh)
            continue;
        /* A move may wait for the committer alone, or for the pool of codecs
         * (relaxed: this worker's own figure). */
        n += sh->evict.flying + __atomic_load_n(&sh->coding, __ATOMIC_RELAXED);
    }
    return n;
}

unsigned store_step(struct store *s, uint32_t worker)
{
    return evict_round(s, worker);
}

uint64_t store_due_ns(const struct store *s, uint32_t worker)
{
    return evict_due_ns(s, worker);
}
