/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store.h"

#include "base/log.h"
#include "store/dir.h"
#include "store/shard.h"

#include <stdlib.h>
#include <string.h>

int (*const store_methods[SL_STORE_METHODS])(struct sl_task *, void *) = {
    [SL_STORE_TAG] = store_tag,           [SL_STORE_PUT] = store_put,
    [SL_STORE_GET] = store_get,           [SL_STORE_DEL] = store_del,
    [SL_STORE_SIZE] = store_size,         [SL_STORE_STAT] = store_stat,
    [SL_STORE_TAG_SIZE] = store_tag_size, [SL_STORE_TAG_DEL] = store_tag_del,
    [SL_STORE_LIST] = store_list,         [SL_STORE_TAGS] = store_tags,
    [SL_STORE_FLUSH] = store_flush,       [SL_STORE_QUERY] = store_query,
    [SL_STORE_EVENTS] = store_events,
};

/* ---- targets ---- */

/* How long the kernel may take to end a killed owner's requests. */
#define DEAD_OWNER_NS UINT64_C(10000000000)

static int open_target(struct store *s, enum store_target target,
                       const char *kind, const char *path, uint64_t bytes)
{
    struct tier_config c = {.kind = kind,
                            .name = kind,
                            .path = path,
                            .capacity = bytes,
                            .n_ports = s->config.n_workers + 1u};
    if (s->dir) /* the directory is ours: only a dead owner's writes hold it */
        c.lock_wait_ns = DEAD_OWNER_NS;
    if (!bytes || bytes == SL_NONE)
        return 0;
    int rc = tier_open(&c, &s->tiers[target]);
    if (!rc)
        s->order[s->n_order++] = (uint8_t)target;
    return rc;
}

static int open_targets(struct store *s)
{
    const struct sl_config *c = s->config.config;
    const char *path = s->dir ? s->dir->data : c->file_path;
    if (c->pinned_bytes != SL_NONE)
        s->order[s->n_order++] = TARGET_PINNED;
    int rc = open_target(s, TARGET_RAM, "ram", NULL, c->ram_bytes);
    if (!rc && path)
        rc = open_target(s, TARGET_FILE, "file", path, c->file_bytes);
    if (!rc)
        rc = open_target(s, TARGET_NULL, "null", NULL, c->null_bytes);
    return rc;
}

/* ---- open, close ---- */

int store_open(const struct store_config *c, struct store **out)
{
    struct store *s = calloc(1, sizeof(*s));
    const struct sl_config *sc = c->config;
    int rc = SL_ENOMEM;
    if (!s)
        return rc;
    s->config = *c;
    pthread_mutex_init(&s->shards_lock, NULL);
    s->shards = calloc(c->n_shards, sizeof(struct shard *));
    s->ports = calloc((size_t)TARGETS * (c->n_workers + 1u),
                      sizeof(struct tier_port *));
    if (!s->shards || !s->ports)
        goto fail;
    rc = sc->data_dir ? dir_open(sc->data_dir, &s->dir) : 0;
    if (!rc)
        rc = open_targets(s);
    if (!rc && s->n_order == 0) {
        log_error("store: no tier is configured");
        rc = SL_ECONFIG;
    }
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
    if (s->meta)
        meta_close(s->meta);
    for (int t = 0; t < TARGETS; t++) {
        for (uint32_t w = 0; s->ports && w <= s->config.n_workers; w++) {
            struct tier_port *p = *store_port(s, t, w);
            if (p)
                p->tier->ops->port_close(p);
        }
        if (s->tiers[t])
            s->tiers[t]->ops->close(s->tiers[t]);
    }
    if (s->dir)
        dir_close(s->dir);
    pthread_mutex_destroy(&s->shards_lock);
    free(s->ports);
    free(s->shards);
    free(s);
}

int store_attach(struct store *s, const struct store_env *env)
{
    for (int t = 0; t < TARGETS; t++) {
        struct tier *tier = s->tiers[t];
        if (!tier)
            continue;
        int rc = tier->ops->port_open(tier, env->worker,
                                      store_port(s, t, env->worker));
        if (rc)
            return rc;
    }
    return 0;
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

/* At the end of the process nothing is given back to targets: what the
 * metadata names stays, the rest is free space at the next start. */
void shard_destroy(struct shard *sh)
{
    uint64_t cursor = 0;
    settle_stop(sh);
    for (struct blob *b; (b = table_walk(&sh->index, &cursor)) != NULL;) {
        if (b->ext != &b->one)
            free(b->ext);
    }
    mem_pool_destroy(&sh->records);
    table_destroy(&sh->index);
    tags_destroy(sh);
    query_destroy(sh);
    free(sh->events);
    free(sh->limbo[0].at);
    free(sh->limbo[1].at);
    free(sh);
}

/* ---- work ---- */

void shard_prepare(struct shard *sh, struct sl_task *t)
{
    uint64_t tag = t->cell.method == SL_STORE_TAG ? 0 : t->cell.tag;
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
    unsigned n = 0;
    for (int t = 0; t < TARGETS; t++)
        if (s->tiers[t])
            n += s->tiers[t]->ops->poll(*store_port(s, t, worker));
    return n;
}

unsigned store_pending(struct store *s, uint32_t worker)
{
    unsigned n = 0;
    for (int t = 0; t < TARGETS; t++)
        if (s->tiers[t])
            n += s->tiers[t]->ops->pending(*store_port(s, t, worker));
    return n;
}

int store_tiers(struct store *s, struct sl_tier_info *out, size_t n)
{
    for (uint32_t i = 0; i < s->n_order && i < n; i++) {
        struct tier *tier = s->tiers[s->order[i]];
        memset(&out[i], 0, sizeof(out[i]));
        if (tier) {
            struct tier_usage u;
            tier->ops->usage(tier, &u);
            strncpy(out[i].kind, tier->ops->kind, sizeof(out[i].kind) - 1u);
            out[i].capacity = u.capacity;
            out[i].used = u.used;
        } else {
            struct arena_usage u;
            arena_usage(s->config.arena, &u);
            strncpy(out[i].kind, "pinned", sizeof(out[i].kind) - 1u);
            out[i].capacity = u.pinned_limit;
            out[i].used = u.pinned_used;
        }
    }
    return (int)s->n_order;
}
