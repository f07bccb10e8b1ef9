/* SPDX-License-Identifier: Apache-2.0 */
/* The model's calls in each way: host, future, kernel thread, kernel warp. */
#include "model.h"

#include "sluice/device/host.h"

enum warp_kind { WARP_PUT, WARP_GET, WARP_SIZE, WARP_SCORE, WARP_DEL };

struct warp_call {
    enum warp_kind kind;
    const struct sl_dev *dev;
    struct sl_key key;
    const struct model_call *call;
    struct sl_how how;
    uint64_t size;
    int code;
};

struct warp_args {
    struct warp_call *w;
};

SL_KERNEL(k_model_call, struct warp_args)
{
    struct warp_call *w = arg.w;
    const struct model_call *c = w->call;
    uint64_t size = 0;
    int rc;
    if (w->kind == WARP_PUT)
        rc = sl_put_warp(w->dev, w->key, c->offset, c->data, c->size, w->how);
    else if (w->kind == WARP_GET)
        rc = sl_get_warp(w->dev, w->key, c->offset, c->data, c->size);
    else if (w->kind == WARP_SIZE)
        rc = sl_size_warp(w->dev, w->key, &size);
    else if (w->kind == WARP_SCORE)
        rc = sl_score_warp(w->dev, w->key, w->how.score);
    else
        rc = sl_del_warp(w->dev, w->key);
    if (slp_lane() == 0) {
        w->size = size;
        w->code = rc;
    }
}

static struct sl_how how_of(const struct sl_put_opts *o)
{
    struct sl_how h = sl_how_default();
    h.flags = (uint16_t)o->flags;
    if (o->score >= 0)
        h.score = (uint16_t)(o->score * (float)SL_SCORE_ONE);
    h.context = o->context;
    h.persist = o->persist;
    h.codec = o->codec;
    return h;
}

static struct sl_key key_of(const struct model_call *c)
{
    return sl_key_make(c->tag, c->name, (uint32_t)strlen(c->name));
}

static int by_warp(struct model_player *p, enum warp_kind kind,
                   const struct model_call *c, uint64_t *size)
{
    struct warp_call w = {.kind = kind,
                          .dev = &p->world->dev,
                          .key = key_of(c),
                          .call = c,
                          .how = how_of(&c->opts)};
    struct warp_args a = {&w};
    struct sl_host_grid g = {.grid = {1, 1, 1}, .block = {32, 1, 1}};
    int rc = sl_host_launch(k_model_call, &g, &a);
    if (rc)
        return rc;
    if (size)
        *size = w.size;
    return w.code;
}

enum model_way model_way(struct model_player *p)
{
    uint64_t x = model_pick(p, SANITIZED ? 400 : 100);
    if (x == 0)
        return WAY_WARP;
    if (x < 10)
        return WAY_FUTURE;
    return p->id % 2u || x < 30 ? WAY_HOST : WAY_THREAD;
}

/* A future is asked, then waited for, alone or as one of several. */
static int await(struct model_player *p, struct sl_op *op)
{
    struct sl_op *ops[2] = {NULL, op};
    size_t which = 0;
    int rc = sl_test(&ops[1]);
    if (rc != SL_EAGAIN)
        return rc;
    if (model_pick(p, 2))
        return sl_wait(&ops[1], UINT64_C(60000000000));
    return sl_wait_any(ops, 2, UINT64_C(60000000000), &which);
}

int model_put(struct model_player *p, const struct model_call *c)
{
    struct sl_runtime *rt = p->world->rt;
    struct sl_op *op = NULL;
    int rc;
    switch (c->way) {
    case WAY_FUTURE:
        rc = sl_put_begin(rt, c->tag, c->name, c->offset, c->data, c->size,
                          &c->opts, &op);
        return rc ? rc : await(p, op);
    case WAY_THREAD:
        return sl_put_thread(&p->world->dev, key_of(c), c->offset, c->data,
                             c->size, how_of(&c->opts));
    case WAY_WARP:
        return by_warp(p, WARP_PUT, c, NULL);
    case WAY_HOST:
    default:
        return sl_put(rt, c->tag, c->name, c->offset, c->data, c->size,
                      &c->opts);
    }
}

int model_get(struct model_player *p, const struct model_call *c)
{
    struct sl_runtime *rt = p->world->rt;
    struct sl_op *op = NULL;
    int rc;
    switch (c->way) {
    case WAY_FUTURE:
        rc =
            sl_get_begin(rt, c->tag, c->name, c->offset, c->data, c->size, &op);
        return rc ? rc : await(p, op);
    case WAY_THREAD:
        return sl_get_thread(&p->world->dev, key_of(c), c->offset, c->data,
                             c->size);
    case WAY_WARP:
        return by_warp(p, WARP_GET, c, NULL);
    case WAY_HOST:
    default:
        return sl_get(rt, c->tag, c->name, c->offset, c->data, c->size, NULL);
    }
}

int model_blob_size(struct model_player *p, const struct model_call *c,
                    uint64_t *size)
{
    if (c->way == WAY_THREAD)
        return sl_size_thread(&p->world->dev, key_of(c), size);
    if (c->way == WAY_WARP)
        return by_warp(p, WARP_SIZE, c, size);
    return sl_size(p->world->rt, c->tag, c->name, size);
}

int model_score(struct model_player *p, const struct model_call *c)
{
    if (c->way == WAY_THREAD)
        return sl_score_thread(&p->world->dev, key_of(c),
                               how_of(&c->opts).score);
    if (c->way == WAY_WARP)
        return by_warp(p, WARP_SCORE, c, NULL);
    return sl_score(p->world->rt, c->tag, c->name, c->opts.score);
}

int model_del(struct model_player *p, const struct model_call *c)
{
    if (c->way == WAY_THREAD)
        return sl_del_thread(&p->world->dev, key_of(c));
    if (c->way == WAY_WARP)
        return by_warp(p, WARP_DEL, c, NULL);
    return sl_del(p->world->rt, c->tag, c->name);
}
