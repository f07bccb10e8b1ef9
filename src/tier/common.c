/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/common.h"

#include "base/log.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

static struct tier_base *base_of(struct tier *t)
{
    return (struct tier_base *)t;
}

int tier_base_init(struct tier_base *b, const struct tier_ops *ops,
                   const struct tier_config *c)
{
    int rc;
    b->tier.ops = ops;
    b->capacity = c->capacity - c->capacity % TIER_BLOCK;
    b->n_ports = c->n_ports;
    if (b->capacity == 0 || b->capacity > INT64_MAX || b->n_ports == 0) {
        log_error("tier %s: capacity of %" PRIu64 " bytes with %" PRIu32
                  " ports is not possible",
                  ops->kind, c->capacity, c->n_ports);
        return SL_EINVAL;
    }
    rc = space_create(b->capacity / TIER_BLOCK, &b->space);
    if (rc) {
        log_error("tier %s: no memory for the space map of %" PRIu64 " bytes",
                  ops->kind, b->capacity);
        return rc;
    }
    /* With default attributes this cannot fail on Linux. */
    pthread_mutex_init(&b->lock, NULL);
    return SL_OK;
}

void tier_base_fini(struct tier_base *b)
{
    pthread_mutex_destroy(&b->lock);
    space_destroy(b->space);
}

static int whole_blocks(uint64_t loc, uint64_t bytes)
{
    return bytes > 0 && loc % TIER_BLOCK == 0 && bytes % TIER_BLOCK == 0;
}

int tier_base_alloc(struct tier *t, uint64_t bytes, uint64_t *loc)
{
    struct tier_base *b = base_of(t);
    uint64_t at = 0;
    int rc;
    if (!whole_blocks(0, bytes))
        return SL_EINVAL;
    pthread_mutex_lock(&b->lock);
    rc = space_alloc(b->space, bytes / TIER_BLOCK, &at);
    pthread_mutex_unlock(&b->lock);
    if (rc)
        return rc;
    *loc = at * TIER_BLOCK;
    return SL_OK;
}

int tier_base_reserve(struct tier *t, uint64_t loc, uint64_t bytes)
{
    struct tier_base *b = base_of(t);
    int rc;
    if (!whole_blocks(loc, bytes))
        return SL_EINVAL;
    pthread_mutex_lock(&b->lock);
    rc = space_reserve(b->space, loc / TIER_BLOCK, bytes / TIER_BLOCK);
    pthread_mutex_unlock(&b->lock);
    return rc;
}

void tier_base_free(struct tier *t, uint64_t loc, uint64_t bytes)
{
    struct tier_base *b = base_of(t);
    int rc = SL_EINVAL;
    if (whole_blocks(loc, bytes)) {
        pthread_mutex_lock(&b->lock);
        rc = space_free(b->space, loc / TIER_BLOCK, bytes / TIER_BLOCK);
        pthread_mutex_unlock(&b->lock);
    }
    if (rc)
        log_error("tier %s: freed [%" PRIu64 ", +%" PRIu64
                  ") that was not in use",
                  t->ops->kind, loc, bytes);
    assert(rc == SL_OK);
}

void tier_base_usage(struct tier *t, struct tier_usage *out)
{
    struct tier_base *b = base_of(t);
    pthread_mutex_lock(&b->lock);
    out->capacity = b->capacity;
    out->used = space_used(b->space) * TIER_BLOCK;
    out->largest_free = space_largest(b->space) * TIER_BLOCK;
    pthread_mutex_unlock(&b->lock);
}

int tier_io_begin(const struct tier_base *b, struct tier_io *io,
                  enum tier_op op)
{
    if (!io->done)
        return SL_EINVAL;
    if (op != TIER_FLUSH) {
        if (!whole_blocks(io->loc, io->bytes) || !io->buf ||
            (uintptr_t)io->buf % TIER_BLOCK != 0)
            return SL_EINVAL;
        if (io->loc > b->capacity || io->bytes > b->capacity - io->loc)
            return SL_EINVAL;
    }
    io->op = (int)op;
    io->moved = 0;
    io->next = NULL;
    return SL_OK;
}

void tier_queue_push(struct tier_queue *q, struct tier_io *io)
{
    io->next = NULL;
    if (q->n == 0)
        q->head = io;
    else
        q->tail->next = io;
    q->tail = io;
    q->n++;
}

void tier_queue_push_front(struct tier_queue *q, struct tier_io *io)
{
    io->next = q->n ? q->head : NULL;
    if (q->n == 0)
        q->tail = io;
    q->head = io;
    q->n++;
}

struct tier_io *tier_queue_pop(struct tier_queue *q)
{
    struct tier_io *io = q->n ? q->head : NULL;
    if (!io)
        return NULL;
    q->head = io->next;
    q->n--;
    io->next = NULL;
    return io;
}

int tier_now_open(struct tier *t, uint32_t index, struct tier_port **out)
{
    struct tier_now *p;
    if (index >= base_of(t)->n_ports)
        return SL_EINVAL;
    p = calloc(1, sizeof(*p));
    if (!p)
        return SL_ENOMEM;
    p->port.tier = t;
    *out = &p->port;
    return SL_OK;
}

void tier_now_close(struct tier_port *p)
{
    assert(tier_now_pending(p) == 0);
    free(p);
}

static int now_submit(struct tier_port *port, struct tier_io *io,
                      enum tier_op op)
{
    struct tier_now *p = (struct tier_now *)port;
    struct tier_base *b = base_of(port->tier);
    int rc = tier_io_begin(b, io, op);
    if (rc)
        return rc;
    tier_queue_push(&p->waiting, io);
    if (p->running)
        return SL_OK;
    p->running = 1;
    while ((io = tier_queue_pop(&p->waiting)))
        io->done(io, b->run(b, io));
    p->running = 0;
    return SL_OK;
}

int tier_now_write(struct tier_port *p, struct tier_io *io)
{
    return now_submit(p, io, TIER_WRITE);
}

int tier_now_read(struct tier_port *p, struct tier_io *io)
{
    return now_submit(p, io, TIER_READ);
}

int tier_now_flush(struct tier_port *p, struct tier_io *io)
{
    return now_submit(p, io, TIER_FLUSH);
}

unsigned tier_now_poll(struct tier_port *p)
{
    (void)p;
    return 0;
}

unsigned tier_now_pending(const struct tier_port *p)
{
    return ((const struct tier_now *)p)->waiting.n;
}
