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
    if (d->gpu)
        unmap_device(d);
    if (d->channel) {
        arena_reclaim(d->rt->arena, d->channel->id);
        channel_destroy(d->channel);
    }
    free(d);
}

void device_detach(struct sl_device *d)
{
    struct sl_runtime *rt = d->rt;
    if (d->served) {
        channel_set_state(d->channel, SL_CHANNEL_STOPPING);
        if (workers_remove(rt->workers, d->channel, rt->config.timeout_ns)) {
            channel_set_state(d->channel, SL_CHANNEL_DEAD);
            log_error("device %s: tasks are not finished, its memory stays",
                      d->name);
            d->next = rt->lost;
            rt->lost = d;
            return;
        }
        channel_set_state(d->channel, SL_CHANNEL_DEAD);
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
        d->next = rt->devices;
        rt->devices = d;
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
