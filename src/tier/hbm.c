/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of a device. Requests are copies on streams of the device: a port has
 * two, and what comes while one batch is being copied is the next batch, on the
 * other stream.
 *
 *   waiting --poll--> batch of an idle stream --its copies end--> done
 */
#include "base/log.h"
#include "gpu/gpu.h"
#include "tier/common.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#define STREAMS 2u

struct hbm {
    struct tier_base base;
    struct gpu *gpu;
    sl_devptr mem;
    void *pinned; /* the caller's memory, while it is page-locked by us */
};

struct batch {
    struct gpu_stream *stream;
    struct tier_queue copying;
};

struct hbm_port {
    struct tier_port port;
    struct tier_queue waiting;
    struct batch batch[STREAMS];
};

static struct hbm *hbm_of(struct tier *t)
{
    return (struct hbm *)(void *)t;
}

static struct hbm_port *port_of(struct tier_port *p)
{
    return (struct hbm_port *)(void *)p;
}

/* ---- open, close ---- */

static int open_device(struct hbm *h, const struct tier_config *c)
{
    sl_devptr at;
    int rc = gpu_open(c->device ? c->device : "auto", &h->gpu);
    if (rc)
        return rc;
    rc = h->gpu->ops->alloc(h->gpu, h->base.capacity, &h->mem);
    if (rc) {
        log_error("tier hbm: no %" PRIu64 " bytes on %s", h->base.capacity,
                  c->device ? c->device : "the device");
        goto close_gpu;
    }
    if (c->pin)
        rc = h->gpu->ops->pin(h->gpu, c->pin, c->pin_bytes, &at);
    if (rc)
        goto release_mem;
    h->pinned = c->pin;
    return SL_OK;

release_mem:
    h->gpu->ops->release(h->gpu, h->mem);
close_gpu:
    h->gpu->ops->close(h->gpu);
    return rc;
}

static int hbm_open(const struct tier_config *c, struct tier **out)
{
    struct hbm *h = calloc(1, sizeof(*h));
    int rc;
    if (!h)
        return SL_ENOMEM;
    rc = tier_base_init(&h->base, &tier_hbm_ops, c);
    if (rc)
        goto free_hbm;
    rc = open_device(h, c);
    if (rc)
        goto fini_base;
    *out = &h->base.tier;
    return SL_OK;

fini_base:
    tier_base_fini(&h->base);
free_hbm:
    free(h);
    return rc;
}

static void hbm_close(struct tier *t)
{
    struct hbm *h = hbm_of(t);
    if (h->pinned)
        h->gpu->ops->unpin(h->gpu, h->pinned);
    h->gpu->ops->release(h->gpu, h->mem);
    h->gpu->ops->close(h->gpu);
    tier_base_fini(&h->base);
    free(h);
}

/* ---- ports ---- */

static int hbm_port_open(struct tier *t, uint32_t index, struct tier_port **out)
{
    struct hbm *h = hbm_of(t);
    struct hbm_port *p;
    int rc = SL_OK;
    uint32_t i = 0;
    if (index >= h->base.n_ports)
        return SL_EINVAL;
    p = calloc(1, sizeof(*p));
    if (!p)
        return SL_ENOMEM;
    p->port.tier = t;
    for (; i < STREAMS && !rc; i++)
        rc = h->gpu->ops->stream_open(h->gpu, &p->batch[i].stream);
    if (rc)
        goto close_streams;
    *out = &p->port;
    return SL_OK;

close_streams:
    while (--i)
        h->gpu->ops->stream_close(p->batch[i - 1u].stream);
    free(p);
    return rc;
}

static unsigned finish(struct batch *b, int code)
{
    struct tier_queue q = b->copying; /* a `done` may begin new requests */
    struct tier_io *io;
    unsigned n = 0;
    b->copying = (struct tier_queue){0};
    while ((io = tier_queue_pop(&q))) {
        io->done(io, code);
        n++;
    }
    return n;
}

static int copy(const struct hbm *h, struct gpu_stream *s,
                const struct tier_io *io)
{
    sl_devptr host = (sl_devptr)(uintptr_t)io->buf;
    sl_devptr mem = h->mem + io->loc;
    if (io->op == TIER_WRITE)
        return s->gpu->ops->copy_async(s, mem, host, io->bytes);
    if (io->op == TIER_READ)
        return s->gpu->ops->copy_async(s, host, mem, io->bytes);
    return SL_OK; /* a flush ends behind what is before it */
}

/* All that waits becomes the batch of an idle stream. What the device refuses
 * ends with the code, after what it took before. */
static unsigned start(struct hbm_port *p, struct batch *b)
{
    const struct hbm *h = hbm_of(p->port.tier);
    struct tier_queue refused = {0};
    struct tier_io *io;
    unsigned n = 0;
    int rc = SL_OK, why = SL_OK;
    while ((io = tier_queue_pop(&p->waiting))) {
        rc = why ? why : copy(h, b->stream, io);
        why = rc;
        tier_queue_push(rc ? &refused : &b->copying, io);
    }
    while ((io = tier_queue_pop(&refused))) {
        io->done(io, SL_EIO);
        n++;
    }
    return n;
}

static unsigned hbm_poll(struct tier_port *port)
{
    struct hbm_port *p = port_of(port);
    const struct gpu_ops *ops = hbm_of(port->tier)->gpu->ops;
    unsigned n = 0;
    for (uint32_t i = 0; i < STREAMS; i++) {
        struct batch *b = &p->batch[i];
        int rc = b->copying.n ? ops->stream_test(b->stream, NULL) : SL_EAGAIN;
        if (rc != SL_EAGAIN)
            n += finish(b, rc ? SL_EIO : SL_OK);
    }
    for (uint32_t i = 0; i < STREAMS && p->waiting.n; i++)
        if (!p->batch[i].copying.n)
            n += start(p, &p->batch[i]);
    return n;
}

static unsigned hbm_pending(const struct tier_port *port)
{
    const struct hbm_port *p = (const struct hbm_port *)(const void *)port;
    unsigned n = p->waiting.n;
    for (uint32_t i = 0; i < STREAMS; i++)
        n += p->batch[i].copying.n;
    return n;
}

static void hbm_port_close(struct tier_port *port)
{
    struct hbm_port *p = port_of(port);
    const struct gpu_ops *ops = hbm_of(port->tier)->gpu->ops;
    while (hbm_pending(port)) {
        for (uint32_t i = 0; i < STREAMS; i++)
            if (p->batch[i].copying.n)
                (void)finish(&p->batch[i], ops->stream_wait(p->batch[i].stream,
                                                            UINT64_MAX, NULL)
                                               ? SL_EIO
                                               : SL_OK);
        (void)hbm_poll(port);
    }
    for (uint32_t i = 0; i < STREAMS; i++)
        ops->stream_close(p->batch[i].stream);
    free(p);
}

static int submit(struct tier_port *port, struct tier_io *io, enum tier_op op)
{
    int rc = tier_io_begin((struct tier_base *)(void *)port->tier, io, op);
    if (!rc)
        tier_queue_push(&port_of(port)->waiting, io);
    return rc;
}

static int hbm_write(struct tier_port *p, struct tier_io *io)
{
    return submit(p, io, TIER_WRITE);
}

static int hbm_read(struct tier_port *p, struct tier_io *io)
{
    return submit(p, io, TIER_READ);
}

static int hbm_flush(struct tier_port *p, struct tier_io *io)
{
    return submit(p, io, TIER_FLUSH);
}

const struct tier_ops tier_hbm_ops = {
    .kind = "hbm",
    .persistent = 0,
    .open = hbm_open,
    .close = hbm_close,
    .port_open = hbm_port_open,
    .port_close = hbm_port_close,
    .alloc = tier_base_alloc,
    .reserve = tier_base_reserve,
    .free = tier_base_free,
    .write = hbm_write,
    .read = hbm_read,
    .flush = hbm_flush,
    .poll = hbm_poll,
    .pending = hbm_pending,
    .usage = tier_base_usage,
};
