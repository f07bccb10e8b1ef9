/* SPDX-License-Identifier: Apache-2.0 */
#include "api/runtime.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

const char *sl_version(void)
{
    return SLUICE_VERSION;
}

/* ---- start ---- */

/* A container of the store's pool is a shard. */
static int create_shard(void *user, uint32_t index, void **container)
{
    struct sl_runtime *rt = user;
    struct store_env env;
    struct shard *sh;
    int rc;
    workers_env(rt->workers, index % rt->config.workers, &env);
    rc = shard_create(rt->store, index, &env, &sh);
    if (!rc)
        *container = sh;
    return rc;
}

static void destroy_shard(void *container)
{
    shard_destroy(container);
}

static int start_store(struct sl_runtime *rt)
{
    struct store_config c = {.config = &rt->config,
                             .arena = rt->arena,
                             .n_shards = rt->config.lanes,
                             .n_workers = rt->config.workers};
    struct sl_module *m = &rt->store_module;
    uint32_t id;
    int rc = store_open(&c, &rt->store);
    for (uint32_t i = 0; !rc && i < rt->config.workers; i++) {
        struct store_env env;
        workers_env(rt->workers, i, &env);
        rc = store_attach(rt->store, &env);
    }
    if (rc)
        return rc;
    m->size = sizeof(*m);
    m->name = "store";
    m->n_methods = SL_STORE_METHODS;
    m->methods = store_methods;
    m->create = create_shard;
    m->destroy = destroy_shard;
    m->user = rt;
    rc = pools_add(rt->pools, m->name, m, &id);
    return rc ? rc : store_recover(rt->store);
}

static int start_modules(struct sl_runtime *rt)
{
    uint32_t id;
    int rc = pools_add(rt->pools, admin_module.name, &admin_module, &id);
    return rc ? rc : pools_add(rt->pools, echo_module.name, &echo_module, &id);
}

static int start(struct sl_runtime *rt)
{
    const struct sl_config *c = &rt->config;
    uint64_t pinned = c->pinned_bytes == SL_NONE ? 0 : c->pinned_bytes;
    struct workers_config w = {.n = c->workers, .spin_us = c->spin_us};
    int rc = arena_create(c->arena_bytes, pinned, &rt->arena);
    if (!rc)
        rc = pools_create(c->lanes, &rt->pools);
    w.arena = rt->arena;
    w.pools = rt->pools;
    if (!rc)
        rc = workers_create(&w, &rt->workers);
    if (!rc)
        rc = start_store(rt);
    if (!rc)
        rc = start_modules(rt);
    if (!rc)
        rc = workers_start(rt->workers, rt->store);
    if (!rc)
        rc = device_attach(rt, "host", &rt->host);
    return rc ? rc : flusher_start(rt);
}

/* ---- end ---- */

void runtime_unref(struct sl_runtime *rt)
{
    /* Acquire and release: who frees comes after all who used it. */
    if (__atomic_sub_fetch(&rt->refs, 1u, __ATOMIC_ACQ_REL))
        return;
    pthread_mutex_destroy(&rt->lock);
    free(rt);
}

/* No thread works any more; the reverse of start, from wherever it got. */
static void dismantle(struct sl_runtime *rt)
{
    pools_destroy(rt->pools); /* the shards too */
    if (rt->store)
        store_close(rt->store);
    workers_destroy(rt->workers);
    if (rt->arena)
        arena_destroy(rt->arena);
    config_free(&rt->config);
    runtime_unref(rt);
}

int sl_open(const struct sl_config *c, struct sl_runtime **out)
{
    struct sl_runtime *rt;
    int rc;
    if (!out)
        return SL_EINVAL;
    rt = calloc(1, sizeof(*rt));
    if (!rt)
        return SL_ENOMEM;
    rc = config_copy(c, &rt->config);
    if (rc) {
        free(rt);
        return rc;
    }
    pthread_mutex_init(&rt->lock, NULL);
    rt->refs = 1;
    rt->epoch = clock_real_ns();
    rc = start(rt);
    if (rc) {
        if (rt->workers)
            workers_stop(rt->workers);
        dismantle(rt);
        return rc;
    }
    *out = rt;
    return 0;
}

static void set_states(struct sl_runtime *rt, uint32_t state)
{
    pthread_mutex_lock(&rt->lock);
    for (struct sl_device *d = rt->devices; d; d = d->next)
        channel_set_state(d->channel, state);
    pthread_mutex_unlock(&rt->lock);
    channel_set_state(rt->host->channel, state);
}

static void detach_all(struct sl_runtime *rt)
{
    pthread_mutex_lock(&rt->lock);
    while (rt->devices) {
        struct sl_device *d = rt->devices;
        rt->devices = d->next;
        log_warn("device %s is closed with the runtime", d->name);
        device_detach(d);
    }
    device_detach(rt->host);
    pthread_mutex_unlock(&rt->lock);
}

/* A task that a module keeps, or a request to a disk, may still end and will
 * look for what it belongs to. The list lets a debugger find it. */
static void leave_behind(struct sl_runtime *rt)
{
    static struct sl_runtime *left;
    log_error("close: tasks are not finished, their memory stays");
    /* Acquire and release: partner is the next runtime that is left. */
    rt->left = __atomic_exchange_n(&left, rt, __ATOMIC_ACQ_REL);
}

int sl_close(struct sl_runtime *rt)
{
    int flushed, drained;
    if (!rt)
        return SL_EINVAL;
    flusher_stop(rt);
    flushed = rt->config.data_dir ? sl_flush(rt) : 0;
    gate_close(&rt->gate);
    store_stop(rt->store);
    set_states(rt, SL_CHANNEL_STOPPING);
    drained = workers_drain(rt->workers, rt->config.timeout_ns);
    set_states(rt, SL_CHANNEL_DEAD);
    gate_wait(&rt->gate);
    if (!drained)
        detach_all(rt);
    workers_stop(rt->workers);
    if (drained) {
        leave_behind(rt);
        return flushed;
    }
    device_detach_lost(rt); /* they had no task left either */
    dismantle(rt);
    return flushed;
}

/* ---- pools ---- */

int sl_pool_create(struct sl_runtime *rt, const char *name,
                   const struct sl_module *m, uint32_t *pool)
{
    uint32_t id;
    int rc;
    if (!rt)
        return SL_EINVAL;
    if (!host_enter(rt))
        return SL_EDEAD;
    rc = pools_add(rt->pools, name, m, &id);
    host_leave(rt);
    if (!rc && pool)
        *pool = id;
    return rc;
}

int sl_pool_find(struct sl_runtime *rt, const char *name, uint32_t *pool)
{
    int rc;
    if (!rt || !name || !pool)
        return SL_EINVAL;
    if (!host_enter(rt))
        return SL_EDEAD;
    rc = pools_find(rt->pools, name, pool);
    host_leave(rt);
    return rc;
}
