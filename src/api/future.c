/* SPDX-License-Identifier: Apache-2.0 */
#include "api/runtime.h"

#include <stdlib.h>
#include <string.h>

/* Ten years: a deadline beyond overflows nothing, and nobody notices. */
#define LONGEST_NS UINT64_C(315360000000000000)

struct sl_op {
    struct sl_runtime *rt; /* referenced: the op may outlive sl_close */
    enum { OP_TASK = 0, OP_GET, OP_DEVICE_PUT, OP_DEVICE_GET, OP_CALL } kind;
    struct sl_future put; /* a put, or any call of one task */
    uint64_t *answer[2];  /* where the task's results go; null: nowhere */
    union {
        struct get_run get;
        struct device_put device_put;
        struct device_get device_get;
        struct call *call;
    };
    char name[SL_NAME_MAX + 1u];
};

/* ---- begin ---- */

static struct sl_op *op_alloc(struct sl_runtime *rt)
{
    struct sl_op *op = calloc(1, sizeof(*op));
    if (!op)
        return NULL;
    op->rt = rt;
    /* Relaxed: the caller's own right to use rt keeps it there meanwhile. */
    __atomic_fetch_add(&rt->refs, 1u, __ATOMIC_RELAXED);
    return op;
}

static int op_new(struct sl_runtime *rt, uint64_t tag, const char *name,
                  struct sl_op **out, struct sl_key *key)
{
    struct sl_op *op;
    int rc = rt && out ? host_key(tag, name, key) : SL_EINVAL;
    if (rc)
        return rc;
    op = op_alloc(rt);
    if (!op)
        return SL_ENOMEM;
    memcpy(op->name, name, key->len);
    key->name = op->name;
    *out = op;
    return 0;
}

static void op_free(struct sl_op *op)
{
    struct sl_runtime *rt = op->rt;
    /* Those that the runtime did not outlive. */
    if (op->kind == OP_DEVICE_PUT)
        device_put_forget(&op->device_put);
    if (op->kind == OP_DEVICE_GET)
        device_get_forget(&op->device_get);
    if (op->kind == OP_CALL)
        call_drop(op->call);
    free(op);
    runtime_unref(rt);
}

/* Begins the put that is in op->device_put, wherever its data is. */
static int op_put(const struct sl_dev *d, struct sl_op *op, const void *data)
{
    struct device_put *p = &op->device_put;
    int of = device_memory_of(op->rt, data, p->size, &p->mem);
    if (of < 0)
        return of;
    op->kind = of ? OP_DEVICE_PUT : OP_TASK;
    if (of)
        return device_put_begin(d, p, op->rt->unit_bytes);
    op->put =
        slb_begin_put(d, SL_THREAD, &p->key, p->offset, &p->q, data, p->size);
    return op->put.live ? 0 : op->put.code;
}

int sl_put_begin(struct sl_runtime *rt, uint64_t tag, const char *name,
                 uint64_t offset, const void *data, uint64_t size,
                 const struct sl_put_opts *opts, struct sl_op **out)
{
    struct sl_put_opts room;
    const struct sl_dev *d;
    struct sl_op *op;
    struct sl_key k;
    int rc = op_new(rt, tag, name, &op, &k);
    if (rc)
        return rc;
    op->device_put.key = k;
    op->device_put.offset = offset;
    op->device_put.size = size;
    rc = slb_check_range(offset, size);
    if (!rc)
        rc = host_put_opts(&opts, &room);
    if (!rc)
        rc = host_put(rt, opts, data, size, &op->device_put.q);
    if (!rc && opts && (opts->result || opts->path))
        rc = SL_EINVAL;
    if (rc)
        goto undo;
    rc = SL_EDEAD;
    d = host_enter(rt);
    if (!d)
        goto undo;
    rc = op_put(d, op, data);
    if (host_again(d, rc))
        rc = op_put(d, op, data);
    host_leave(rt);
    if (rc)
        goto undo;
    *out = op;
    return 0;
undo:
    op_free(op);
    return rc;
}

/* Begins the get that is in op->get, wherever its data goes. */
static int op_get(const struct sl_dev *d, struct sl_op *op)
{
    struct sl_until now = sl_until_ns(0);
    struct device_memory mem;
    struct get_run g = op->get;
    int of = device_memory_of(op->rt, g.data, g.size, &mem), rc;
    if (of < 0)
        return of;
    if (!of) {
        op->kind = OP_GET;
        rc = get_step(d, &op->get, now);
        return op->get.ended ? rc : 0;
    }
    op->kind = OP_DEVICE_GET;
    device_get_init(&op->device_get, &g, &mem);
    rc = device_get_step(d, &op->device_get, now);
    return op->device_get.g.ended ? rc : 0;
}

int sl_get_begin(struct sl_runtime *rt, uint64_t tag, const char *name,
                 uint64_t offset, void *data, uint64_t size, struct sl_op **out)
{
    const struct sl_dev *d;
    struct sl_key k;
    struct sl_op *op;
    int rc = op_new(rt, tag, name, &op, &k);
    if (rc)
        return rc;
    rc = get_init(rt, &op->get, k, offset, data, size);
    if (rc)
        goto undo;
    op->get.restarts_left = UINT32_MAX; /* the caller's deadline ends it */
    rc = SL_EDEAD;
    d = host_enter(rt);
    if (!d)
        goto undo;
    rc = op_get(d, op);
    host_leave(rt);
    if (rc)
        goto undo;
    *out = op;
    return 0;
undo:
    op_free(op);
    return rc;
}

int host_begin(struct sl_runtime *rt, struct host_call *c, struct sl_op **out)
{
    const struct sl_dev *d;
    struct sl_op *op;
    int rc = SL_EDEAD;
    if (!rt || !out)
        return SL_EINVAL;
    op = op_alloc(rt);
    if (!op)
        return SL_ENOMEM;
    d = host_enter(rt);
    if (d) {
        op->put = c->start(d, c);
        if (!op->put.live && host_again(d, op->put.code))
            op->put = c->start(d, c);
        op->put.want = 1;
        op->answer[0] = c->answer[0];
        op->answer[1] = c->answer[1];
        rc = op->put.code;
        host_leave(rt);
    }
    if (rc)
        op_free(op);
    else
        *out = op;
    return rc;
}

int op_of_call(struct sl_runtime *rt, struct call *c, struct sl_op **out)
{
    struct sl_op *op = op_alloc(rt);
    if (!op)
        return SL_ENOMEM;
    op->kind = OP_CALL;
    op->call = c;
    *out = op;
    return 0;
}

/* ---- test and wait ---- */

/* Goes on by one step; *live: it has not ended. */
static int op_go_on(const struct sl_dev *d, struct sl_op *o, struct sl_until u,
                    int *live)
{
    int rc;
    switch (o->kind) {
    case OP_GET:
        rc = o->get.ended ? 0 : get_step(d, &o->get, u);
        *live = !o->get.ended;
        return rc;
    case OP_DEVICE_GET:
        rc = o->device_get.g.ended ? 0 : device_get_step(d, &o->device_get, u);
        *live = !o->device_get.g.ended;
        return rc;
    case OP_DEVICE_PUT:
        rc = device_put_step(d, &o->device_put, u);
        *live = !o->device_put.ended;
        return rc;
    case OP_TASK:
    case OP_CALL: /* a thread of its own passes the gate */
    default:
        rc = sl_wait_thread(d, &o->put, u);
        *live = o->put.live;
        return rc;
    }
}

static int op_in_gate(struct sl_op *o, struct sl_until u, int *live)
{
    const struct sl_dev *d = host_enter(o->rt);
    if (!d)
        return SL_EDEAD;
    int rc = op_go_on(d, o, u, live);
    host_leave(o->rt);
    return rc;
}

/* The result, or SL_EAGAIN: not yet. */
static int op_step(struct sl_op **op, struct sl_until u)
{
    struct sl_op *o = *op;
    int live = 0;
    int rc = o->kind == OP_CALL ? call_wait(o->call, u.deadline_ns, &live)
                                : op_in_gate(o, u, &live);
    if (live)
        return SL_EAGAIN;
    for (unsigned i = 0; i < 2u && !rc; i++)
        if (o->answer[i])
            *o->answer[i] = o->put.result.v[i];
    op_free(o);
    *op = NULL;
    return rc;
}

static struct sl_until after(uint64_t timeout_ns)
{
    return sl_until_ns(timeout_ns < LONGEST_NS ? timeout_ns : LONGEST_NS);
}

int sl_test(struct sl_op **op)
{
    return op && *op ? op_step(op, after(0)) : SL_EINVAL;
}

int sl_wait(struct sl_op **op, uint64_t timeout_ns)
{
    int rc;
    if (!op || !*op)
        return SL_EINVAL;
    rc = op_step(op, after(timeout_ns));
    return *op ? SL_ETIMEDOUT : rc;
}

static int test_each(struct sl_op **ops, size_t n, size_t *which)
{
    int rc = SL_EINVAL;
    for (size_t i = 0; i < n; i++) {
        if (!ops[i])
            continue;
        rc = op_step(&ops[i], after(0));
        if (!ops[i]) {
            *which = i;
            return rc;
        }
    }
    return rc;
}

int sl_wait_any(struct sl_op **ops, size_t n, uint64_t timeout_ns,
                size_t *which)
{
    struct sl_until u = after(timeout_ns);
    size_t at = n;
    if (!ops || !which)
        return SL_EINVAL;
    for (uint32_t round = 0;; round++) {
        int rc = test_each(ops, n, &at);
        if (at < n) {
            *which = at;
            return rc;
        }
        if (rc != SL_EAGAIN)
            return rc;
        if (slp_now() >= u.deadline_ns)
            return SL_ETIMEDOUT;
        slp_pause(round);
    }
}

void sl_cancel(struct sl_op **op)
{
    const struct sl_dev *d;
    struct sl_op *o;
    if (!op || !*op)
        return;
    o = *op;
    d = host_enter(o->rt);
    if (d && o->kind == OP_GET)
        get_abandon(d, &o->get);
    else if (d && o->kind == OP_DEVICE_GET)
        device_get_abandon(d, &o->device_get);
    else if (d && o->kind == OP_DEVICE_PUT)
        device_put_abandon(d, &o->device_put);
    else if (d && o->kind == OP_TASK)
        sl_abandon_thread(d, &o->put);
    if (d)
        host_leave(o->rt);
    op_free(o);
    *op = NULL;
}
