/* SPDX-License-Identifier: Apache-2.0 */
#include "api/runtime.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CHANNELS 65535u /* the arena's word for a lender has 16 bits */

static int id_is_used(const struct sl_runtime *rt, uint32_t id)
{
    if (rt->host && rt->host->channel->id == id)
        return 1;
    for (const struct sl_device *d = rt->devices; d; d = d->next) {
        if (d->channel->id == id)
            return 1;
    }
    /* Chunks are still lent to these. */
    for (const struct sl_device *d = rt->lost; d; d = d->next) {
        if (d->channel->id == id)
            return 1;
    }
    return 0;
}

/* The smallest id from 1 that no channel has. */
static uint32_t free_id(const struct sl_runtime *rt)
{
    uint32_t id = 1;
    while (id < MAX_CHANNELS && id_is_used(rt, id))
        id++;
    return id;
}

static void describe(struct sl_device *d)
{
    struct gpu_info info;
    d->gpu->ops->info(d->gpu, &info);
    if (d->gpu->ops == &gpu_host_ops)
        snprintf(d->name, sizeof(d->name), "host");
    else
        snprintf(d->name, sizeof(d->name), "%s", info.name);
    d->channel->device = info.ordinal;
}

/* Makes channel and arena visible to the device, and gives it its own part. */
static int map_device(struct sl_device *d)
{
    const struct gpu_ops *ops = d->gpu->ops;
    struct arena *a = d->rt->arena;
    sl_devptr channel_at, arena_at;
    int rc =
        ops->pin(d->gpu, d->channel->header, d->channel->bytes, &channel_at);
    if (rc)
        return rc;
    d->pinned_channel = 1;
    rc = ops->pin(d->gpu, arena_base(a), arena_bytes(a), &arena_at);
    if (rc)
        return rc;
    d->pinned_arena = 1;
    rc = ops->alloc(d->gpu, channel_local_bytes(d->channel), &d->local);
    if (rc)
        return rc;
    channel_handle(d->channel, channel_at, arena_at, d->local, &d->handle);
    d->handle.timeout_ns = d->rt->config.timeout_ns;
    return 0;
}

static void unmap_device(struct sl_device *d)
{
    const struct gpu_ops *ops = d->gpu->ops;
    if (d->local)
        ops->release(d->gpu, d->local);
    if (d->pinned_arena)
        ops->unpin(d->gpu, arena_base(d->rt->arena));
    if (d->pinned_channel)
        ops->unpin(d->gpu, d->channel->header);
    ops->close(d->gpu);
}

static void device_free(struct sl_device *d)
{
    transfers_unref(d->transfers);
    if (d->gpu)
        unmap_device(d);
    if (d->channel) {
        arena_reclaim(d->rt->arena, d->channel->id);
        channel_destroy(d->channel);
    }
    free(d);
}

/* Tasks, and copies of host calls. */
static int device_stop(struct sl_device *d)
{
    uint64_t timeout_ns = d->rt->config.timeout_ns;
    int copies = d->transfers ? transfers_stop(d->transfers, timeout_ns) : 0;
    int tasks = 0;
    if (d->served) {
        channel_set_state(d->channel, SL_CHANNEL_STOPPING);
        tasks = workers_remove(d->rt->workers, d->channel, timeout_ns);
        channel_set_state(d->channel, SL_CHANNEL_DEAD);
    }
    return copies ? copies : tasks;
}

void device_detach(struct sl_device *d)
{
    struct sl_runtime *rt = d->rt;
    if (device_stop(d)) {
        log_error("device %s: tasks are not finished, its memory stays",
                  d->name);
        d->next = rt->lost;
        rt->lost = d;
        return;
    }
    device_free(d);
}

void device_detach_lost(struct sl_runtime *rt)
{
    while (rt->lost) {
        struct sl_device *d = rt->lost;
        rt->lost = d->next;
        device_free(d);
    }
}

int device_attach(struct sl_runtime *rt, const char *name,
                  struct sl_device **out)
{
    const struct sl_config *c = &rt->config;
    struct sl_device *d = calloc(1, sizeof(*d));
    int rc;
    if (!d)
        return SL_ENOMEM;
    d->rt = rt;
    rc = channel_create(c->depth * c->lanes, c->lanes, rt->epoch, &d->channel);
    if (rc)
        goto undo;
    d->channel->id = free_id(rt);
    rc = d->channel->id < MAX_CHANNELS ? gpu_open(name, &d->gpu) : SL_ENOMEM;
    if (rc)
        goto undo;
    describe(d);
    rc = map_device(d);
    if (!rc)
        rc = workers_add(rt->workers, d->channel);
    if (rc)
        goto undo;
    d->served = 1;
    *out = d;
    return 0;
undo:
    device_detach(d);
    return rc;
}

/* ---- whose memory it is ---- */

/* Bits of rt->kinds. */
static const struct gpu_ops *const kinds[] = {&gpu_cuda_ops, &gpu_host_ops};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static int is_kind(const struct sl_device *d, uint32_t i)
{
    return strcmp(d->gpu->ops->kind, kinds[i]->kind) == 0;
}

/* Under the lock: what device_memory_of asks first. */
static void note_kinds(struct sl_runtime *rt)
{
    uint32_t open = 0;
    for (const struct sl_device *d = rt->devices; d; d = d->next)
        for (uint32_t i = 0; i < KINDS; i++)
            open |= is_kind(d, i) ? 1u << i : 0u;
    __atomic_store_n(&rt->kinds, open, __ATOMIC_RELAXED);
}

/* Memory may be mapped in parts that follow one another. */
static int reaches(const struct gpu_ops *ops, struct gpu_memory m, sl_devptr p,
                   uint64_t size)
{
    struct gpu_memory next;
    while (size > m.base + m.bytes - p) {
        sl_devptr end = m.base + m.bytes;
        size -= end - p;
        if (!ops->memory_of(end, &next) || next.ordinal != m.ordinal ||
            next.base != end)
            return 0;
        m = next;
        p = end;
    }
    return 1;
}

static int take_memory(struct sl_runtime *rt, uint32_t kind, int ordinal,
                       struct device_memory *out)
{
    int rc = SL_ENODEV;
    struct gpu_info info;
    pthread_mutex_lock(&rt->lock);
    for (const struct sl_device *d = rt->devices; d && rc; d = d->next) {
        d->gpu->ops->info(d->gpu, &info);
        if (!is_kind(d, kind) || info.ordinal != ordinal)
            continue;
        out->transfers = transfers_ref(d->transfers);
        out->arena_at = (sl_devptr)(uintptr_t)d->handle.arena;
        rc = 1;
    }
    pthread_mutex_unlock(&rt->lock);
    return rc;
}

int device_memory_find(struct sl_runtime *rt, const void *p, uint64_t size,
                       struct device_memory *out)
{
    sl_devptr at = (sl_devptr)(uintptr_t)p;
    uint32_t open = __atomic_load_n(&rt->kinds, __ATOMIC_RELAXED);
    struct gpu_memory m;
    for (uint32_t i = 0; i < KINDS; i++) {
        if (!(open >> i & 1u) || !kinds[i]->memory_of(at, &m))
            continue;
        if (!reaches(kinds[i], m, at, size)) {
            log_error("%llu bytes at %#llx: %s:%d has fewer there",
                      (unsigned long long)size, (unsigned long long)at,
                      kinds[i]->kind, m.ordinal);
            return SL_EINVAL;
        }
        int rc = take_memory(rt, i, m.ordinal, out);
        if (rc < 0)
            log_error("memory at %#llx is of %s:%d, which is not open",
                      (unsigned long long)at, kinds[i]->kind, m.ordinal);
        out->at = at;
        return rc;
    }
    return 0;
}

/* ---- public ---- */

int sl_device_open(struct sl_runtime *rt, const char *name,
                   struct sl_device **out)
{
    struct sl_device *d;
    int rc;
    if (!rt || !name || !out)
        return SL_EINVAL;
    if (!host_enter(rt))
        return SL_EDEAD;
    pthread_mutex_lock(&rt->lock);
    rc = device_attach(rt, name, &d);
    if (!rc) {
        rc = transfers_open(d->gpu, &d->transfers);
        if (rc)
            device_detach(d);
    }
    if (!rc) {
        d->next = rt->devices;
        rt->devices = d;
        note_kinds(rt);
        *out = d;
    }
    pthread_mutex_unlock(&rt->lock);
    host_leave(rt);
    return rc;
}

void sl_device_close(struct sl_device *d)
{
    struct sl_runtime *rt;
    if (!d)
        return;
    rt = d->rt;
    pthread_mutex_lock(&rt->lock);
    for (struct sl_device **p = &rt->devices; *p; p = &(*p)->next) {
        if (*p == d) {
            *p = d->next;
            break;
        }
    }
    note_kinds(rt);
    device_detach(d);
    pthread_mutex_unlock(&rt->lock);
}

const struct sl_dev *sl_device_handle(const struct sl_device *d)
{
    return d ? &d->handle : NULL;
}

const char *sl_device_name(const struct sl_device *d)
{
    return d ? d->name : NULL;
}

void sl_device_moved(const struct sl_device *d, struct sl_device_moved *out)
{
    struct transfer_counts c;
    if (!d || !out)
        return;
    transfers_counts(d->transfers, &c);
    *out = (struct sl_device_moved){.plain_in = c.plain_in,
                                    .plain_out = c.plain_out,
                                    .coded_in = c.coded_in,
                                    .coded_out = c.coded_out,
                                    .blocks_in = c.blocks_in,
                                    .blocks_out = c.blocks_out,
                                    .gave_up = c.gave_up};
}
