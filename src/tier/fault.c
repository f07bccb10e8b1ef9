/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each request is wrapped into one of this tier's own, which goes to the inner
 * tier or, when a rule strikes, not there or in another form. In either way it
 * ends in the port's `ready` queue, from which poll delivers.
 */
#include "tier/fault.h"

#include "tier/common.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

struct fault_tier {
    struct tier tier;
    struct tier_ops ops; /* as tier_fault_ops, but the inner's persistence */
    struct tier *inner;
    pthread_mutex_t lock; /* guards all below; held for no call out */
    struct fault_rule rule[FAULT_OPS];
    uint64_t seen[FAULT_OPS];
    uint64_t pass;  /* completions that may be delivered */
    uint64_t ready; /* completions that wait for delivery */
};

struct fault_port {
    struct tier_port port;
    struct tier_port *inner;
    struct tier_queue ready; /* of fault_io.io */
    unsigned pending;
};

struct fault_io {
    struct tier_io io; /* towards the inner tier; first, the queue holds it */
    struct tier_io *outer;
    struct fault_port *port;
    int code; /* to be reported */
    uint32_t torn;
};

static struct fault_tier *fault_of(struct tier *t)
{
    return (struct fault_tier *)t;
}

/* ---- control ---- */

void fault_arm(struct tier *t, enum fault_op op, struct fault_rule rule)
{
    struct fault_tier *f = fault_of(t);
    pthread_mutex_lock(&f->lock);
    f->rule[op] = rule;
    pthread_mutex_unlock(&f->lock);
}

void fault_pass(struct tier *t, uint64_t n)
{
    struct fault_tier *f = fault_of(t);
    pthread_mutex_lock(&f->lock);
    f->pass = n;
    pthread_mutex_unlock(&f->lock);
}

uint64_t fault_seen(struct tier *t, enum fault_op op)
{
    struct fault_tier *f = fault_of(t);
    uint64_t n;
    pthread_mutex_lock(&f->lock);
    n = f->seen[op];
    pthread_mutex_unlock(&f->lock);
    return n;
}

uint64_t fault_held(struct tier *t)
{
    struct fault_tier *f = fault_of(t);
    uint64_t n;
    pthread_mutex_lock(&f->lock);
    n = f->pass == FAULT_ALL || f->ready < f->pass ? 0 : f->ready - f->pass;
    pthread_mutex_unlock(&f->lock);
    return n;
}

/* Counts an operation; true, with the rule, when it is to fail. */
static int strikes(struct fault_tier *f, enum fault_op op,
                   struct fault_rule *out)
{
    struct fault_rule *r = &f->rule[op];
    int yes = 0;
    pthread_mutex_lock(&f->lock);
    f->seen[op]++;
    if (r->nth > 1 && r->times) {
        r->nth--;
    } else if (r->times) {
        yes = 1;
        *out = *r;
        r->times -= r->times != FAULT_ALL;
    }
    pthread_mutex_unlock(&f->lock);
    return yes;
}

/* Takes one completion out of the count, if it may be delivered. */
static int may_deliver(struct fault_tier *f, int always)
{
    int yes;
    pthread_mutex_lock(&f->lock);
    yes = always || f->pass > 0;
    if (yes) {
        f->ready--;
        f->pass -= f->pass > 0 && f->pass != FAULT_ALL;
    }
    pthread_mutex_unlock(&f->lock);
    return yes;
}

/* ---- the tier ---- */

int fault_wrap(struct tier *inner, struct tier **out)
{
    struct fault_tier *f = calloc(1, sizeof(*f));
    if (!f)
        return SL_ENOMEM;
    f->ops = tier_fault_ops;
    f->ops.persistent = inner->ops->persistent;
    f->tier.ops = &f->ops;
    f->inner = inner;
    f->pass = FAULT_ALL;
    pthread_mutex_init(&f->lock, NULL);
    *out = &f->tier;
    return SL_OK;
}

static int fault_open(const struct tier_config *c, struct tier **out)
{
    struct tier *inner;
    int rc = (c->path ? &tier_file_ops : &tier_ram_ops)->open(c, &inner);
    if (rc)
        return rc;
    rc = fault_wrap(inner, out);
    if (rc)
        inner->ops->close(inner);
    return rc;
}

static void fault_close(struct tier *t)
{
    struct fault_tier *f = fault_of(t);
    f->inner->ops->close(f->inner);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

static int fault_alloc(struct tier *t, uint64_t bytes, uint64_t *loc)
{
    struct fault_tier *f = fault_of(t);
    struct fault_rule r;
    if (strikes(f, FAULT_ALLOC, &r))
        return r.code;
    return f->inner->ops->alloc(f->inner, bytes, loc);
}

static int fault_reach(struct tier *t, uint64_t end)
{
    struct tier *inner = fault_of(t)->inner;
    return inner->ops->reach ? inner->ops->reach(inner, end) : SL_OK;
}

static int fault_reserve(struct tier *t, uint64_t loc, uint64_t bytes)
{
    struct tier *inner = fault_of(t)->inner;
    return inner->ops->reserve(inner, loc, bytes);
}

static void fault_free(struct tier *t, uint64_t loc, uint64_t bytes)
{
    struct tier *inner = fault_of(t)->inner;
    inner->ops->free(inner, loc, bytes);
}

static void fault_usage(struct tier *t, struct tier_usage *out)
{
    struct tier *inner = fault_of(t)->inner;
    inner->ops->usage(inner, out);
}

/* ---- requests ---- */

static void make_ready(struct fault_io *x, int code)
{
    struct fault_tier *f = fault_of(x->port->port.tier);
    x->code = code ? code : x->code;
    tier_queue_push(&x->port->ready, &x->io);
    pthread_mutex_lock(&f->lock);
    f->ready++;
    pthread_mutex_unlock(&f->lock);
}

static void inner_done(struct tier_io *io, int code)
{
    make_ready((struct fault_io *)io, code);
}

static void torn_written(struct tier_io *io, int code)
{
    free(io->buf);
    make_ready((struct fault_io *)io, code);
}

/* The old bytes are here; the first of the new ones go over them. */
static void torn_read(struct tier_io *io, int code)
{
    struct fault_io *x = (struct fault_io *)io;
    struct tier_port *inner = x->port->inner;
    if (code == 0) {
        memcpy(io->buf, x->outer->buf, x->torn);
        io->done = torn_written;
        code = inner->tier->ops->write(inner, io);
    }
    if (code)
        torn_written(io, code);
}

static int begin_torn(struct fault_io *x)
{
    struct tier_port *inner = x->port->inner;
    int rc;
    x->io.buf = aligned_alloc(TIER_BLOCK, x->io.bytes);
    if (!x->io.buf)
        return SL_ENOMEM;
    x->torn = x->torn < x->io.bytes ? x->torn : x->io.bytes;
    x->io.done = torn_read;
    rc = inner->tier->ops->read(inner, &x->io);
    if (rc)
        free(x->io.buf);
    return rc;
}

static int begin(struct fault_io *x, enum fault_op op)
{
    struct tier_port *inner = x->port->inner;
    const struct tier_ops *ops = inner->tier->ops;
    struct fault_rule r;
    if (strikes(fault_of(x->port->port.tier), op, &r)) {
        x->code = r.code;
        x->torn = op == FAULT_WRITE ? r.torn : 0;
        if (x->torn)
            return begin_torn(x);
        make_ready(x, 0);
        return SL_OK;
    }
    if (op == FAULT_WRITE)
        return ops->write(inner, &x->io);
    return op == FAULT_READ ? ops->read(inner, &x->io)
                            : ops->flush(inner, &x->io);
}

static int fault_submit(struct tier_port *port, struct tier_io *io,
                        enum fault_op op)
{
    struct fault_port *p = (struct fault_port *)port;
    struct fault_io *x;
    int rc;
    if (!io->done)
        return SL_EINVAL;
    x = calloc(1, sizeof(*x));
    if (!x)
        return SL_ENOMEM;
    x->io.loc = io->loc;
    x->io.buf = io->buf;
    x->io.bytes = io->bytes;
    x->io.done = inner_done;
    x->outer = io;
    x->port = p;
    rc = begin(x, op);
    if (rc) {
        free(x);
        return rc;
    }
    p->pending++;
    return SL_OK;
}

static int fault_write(struct tier_port *p, struct tier_io *io)
{
    return fault_submit(p, io, FAULT_WRITE);
}

static int fault_read(struct tier_port *p, struct tier_io *io)
{
    return fault_submit(p, io, FAULT_READ);
}

static int fault_flush(struct tier_port *p, struct tier_io *io)
{
    return fault_submit(p, io, FAULT_FLUSH);
}

/* Those that a `done` adds wait for the next poll, or a memory tier would keep
 * this loop going for ever. */
static unsigned deliver(struct fault_port *p, int always)
{
    unsigned completed = 0;
    for (unsigned n = p->ready.n; n > 0 && p->ready.n > 0; n--) {
        struct fault_io *x;
        struct tier_io *outer;
        int code;
        if (!may_deliver(fault_of(p->port.tier), always))
            break;
        x = (struct fault_io *)tier_queue_pop(&p->ready);
        outer = x->outer;
        code = x->code;
        free(x);
        p->pending--;
        outer->done(outer, code);
        completed++;
    }
    return completed;
}

static unsigned fault_poll(struct tier_port *port)
{
    struct fault_port *p = (struct fault_port *)port;
    p->inner->tier->ops->poll(p->inner);
    return deliver(p, 0);
}

static unsigned fault_pending(const struct tier_port *port)
{
    return ((const struct fault_port *)port)->pending;
}

static int fault_port_open(struct tier *t, uint32_t index,
                           struct tier_port **out)
{
    struct tier *inner = fault_of(t)->inner;
    int rc;
    struct fault_port *p = calloc(1, sizeof(*p));
    if (!p)
        return SL_ENOMEM;
    rc = inner->ops->port_open(inner, index, &p->inner);
    if (rc) {
        free(p);
        return rc;
    }
    p->port.tier = t;
    *out = &p->port;
    return SL_OK;
}

static void fault_port_close(struct tier_port *port)
{
    struct fault_port *p = (struct fault_port *)port;
    const struct tier_ops *ops = p->inner->tier->ops;
    while (p->pending) {
        ops->poll(p->inner);
        if (!deliver(p, 1))
            sched_yield();
    }
    ops->port_close(p->inner);
    free(p);
}

const struct tier_ops tier_fault_ops = {
    .kind = "fault",
    .persistent = 0,
    .open = fault_open,
    .close = fault_close,
    .port_open = fault_port_open,
    .port_close = fault_port_close,
    .alloc = fault_alloc,
    .reserve = fault_reserve,
    .reach = fault_reach,
    .free = fault_free,
    .write = fault_write,
    .read = fault_read,
    .flush = fault_flush,
    .poll = fault_poll,
    .pending = fault_pending,
    .usage = fault_usage,
};
