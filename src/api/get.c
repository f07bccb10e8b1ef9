/* SPDX-License-Identifier: Apache-2.0 */
#include "api/runtime.h"

/* Of the arena, one window; a few threads then read at once. */
#define WINDOW_SHARE 16u
#define WINDOW_MAX (UINT64_C(8) << 20)
#define WINDOW_UNIT (UINT64_C(64) << 10)
/* A blob that changes this often during one get is not going to hold still. */
#define RESTARTS 16u

static uint64_t window_of(const struct sl_config *c)
{
    uint64_t w = c->arena_bytes / WINDOW_SHARE / WINDOW_UNIT * WINDOW_UNIT;
    if (w < WINDOW_UNIT)
        return WINDOW_UNIT;
    return w > WINDOW_MAX ? WINDOW_MAX : w;
}

int get_init(const struct sl_runtime *rt, struct get_run *g, struct sl_key key,
             uint64_t offset, void *data, uint64_t size)
{
    int rc = slb_check_range(offset, size);
    if (rc)
        return rc;
    if (size && !data)
        return SL_EINVAL;
    g->key = key;
    g->offset = offset;
    g->size = size;
    g->window = window_of(&rt->config);
    g->data = data;
    g->n = size ? (size + g->window - 1u) / g->window : 1u;
    g->done = 0;
    g->version = 0;
    g->exists = 0;
    g->restarts_left = RESTARTS;
    g->again = 0;
    g->begun = 0;
    g->ended = 0;
    g->f = slb_future(0);
    return 0;
}

/* A window of too many extents is read as smaller ones. */
static int get_narrow(struct get_run *g)
{
    while (g->window > WINDOW_UNIT && g->window / 2u >= g->size)
        g->window /= 2u;
    if (g->window <= WINDOW_UNIT)
        return 0;
    g->window = (g->window / 2u + WINDOW_UNIT - 1u) / WINDOW_UNIT * WINDOW_UNIT;
    g->n = (g->size + g->window - 1u) / g->window;
    g->done = 0;
    return 1;
}

int get_goes_on(const struct sl_dev *d, struct get_run *g, int code)
{
    if (code == SL_EFBIG)
        return get_narrow(g);
    if (g->again || !host_again(d, code))
        return 0;
    g->again = 1;
    return 1;
}

/* ---- how a range begins ---- */

/* The side chunk that *f has asked for becomes the slot's. */
static int side_lent(const struct sl_dev *d, struct sl_future *f,
                     struct sl_until *u)
{
    uint64_t reply = 0;
    int rc = slm_poll(d, f->slot, f->seq, u, &reply);
    if (rc == SL_EAGAIN || rc == SL_ETIMEDOUT)
        return SL_EAGAIN;
    f->live = 0;
    if (rc)
        return rc; /* the channel is lost */
    sls_settle(d, f->slot, f->seq, f->kind, reply);
    rc = sl_reply_code(reply);
    if (rc)
        sls_give(d, f->slot);
    return rc;
}

static void ask_side(const struct sl_dev *d, struct sl_future *f)
{
    struct slm_request q;
    slm_request_init(&q, SL_POOL_ADMIN, SL_ADMIN_CHUNK);
    q.container = (uint16_t)(f->slot % d->n_lanes);
    q.klass = SL_LENT_MIN_SHIFT;
    q.kind = SL_KIND_SIDE;
    f->seq = slm_submit(d, f->slot, &q);
    f->kind = SL_KIND_SIDE;
    f->live = 1;
}

int range_begin(const struct sl_dev *d, const struct range_ask *r,
                struct sl_until u, struct sl_future *f)
{
    struct slg g = slg_make(SL_THREAD);
    struct slm_request q;
    int rc = 0;
    if (!f->live) {
        *f = slb_future(0);
        rc = sls_take(d, SL_THREAD, &u, &f->slot);
        if (rc)
            return rc == SL_ETIMEDOUT ? SL_EAGAIN : rc;
        if (r->key->len > SL_NAME_INLINE && !d->slots[f->slot].side)
            ask_side(d, f);
    }
    if (f->live)
        rc = side_lent(d, f, &u);
    if (rc)
        return rc;
    slb_range_request(&q, r->offset, r->size, r->flags);
    *f = slb_send_named(d, &g, f->slot, d->slots[f->slot].side, r->key, &q);
    f->data = r->data;
    f->size = r->size;
    f->want = 1;
    return 0;
}

/* ---- windows ---- */

/* The last window goes first: whether the range is past the end is known
 * before anything is written. SL_EAGAIN: later. */
static int begin_window(const struct sl_dev *d, struct get_run *g,
                        struct sl_until u)
{
    uint64_t at = (g->n - 1u - g->done) * g->window;
    uint64_t left = g->size - at;
    struct range_ask r = {.key = &g->key,
                          .offset = g->offset + at,
                          .data = g->data ? g->data + at : NULL,
                          .size = left < g->window ? left : g->window};
    int rc = range_begin(d, &r, u, &g->f);
    g->begun = !rc;
    return rc;
}

static int end_window(struct get_run *g)
{
    g->exists = g->f.result.v[0];
    if (g->done && g->f.result.v[1] != g->version) {
        g->done = 0;
        if (g->restarts_left-- == 0)
            return SL_EBUSY;
        return 0;
    }
    g->version = g->f.result.v[1];
    g->done++;
    return 0;
}

int get_step(const struct sl_dev *d, struct get_run *g, struct sl_until u)
{
    int rc = 0;
    while (!rc && g->done < g->n) {
        if (!g->begun) {
            rc = begin_window(d, g, u);
            if (rc == SL_EAGAIN)
                return u.timeout_ns ? SL_ETIMEDOUT : SL_EAGAIN;
            if (rc && get_goes_on(d, g, rc)) {
                rc = 0;
                continue;
            }
            if (rc)
                break;
        }
        rc = sl_wait_thread(d, &g->f, u);
        if (g->f.live)
            return rc;
        g->begun = 0;
        if (rc == SL_EPASTEND)
            g->exists = g->f.result.v[0];
        if (!rc)
            rc = end_window(g);
        else if (get_goes_on(d, g, rc))
            rc = 0;
    }
    g->ended = 1;
    return rc;
}

void get_abandon(const struct sl_dev *d, struct get_run *g)
{
    if (g->f.live)
        sl_abandon_thread(d, &g->f);
    g->begun = 0;
    g->ended = 1;
}

/* True: `data` is not the host's, and *rc is the result. */
static int get_to_device(struct sl_runtime *rt, const struct sl_dev *d,
                         struct get_run *g, int *rc)
{
    struct device_memory mem;
    struct device_get x;
    *rc = device_memory_of(rt, g->data, g->size, &mem);
    if (*rc <= 0)
        return *rc;
    device_get_init(&x, g, &mem);
    *rc = device_get_step(d, &x, sl_until_default(d));
    if (!x.g.ended)
        device_get_abandon(d, &x);
    g->exists = x.g.exists;
    return 1;
}

int sl_get(struct sl_runtime *rt, uint64_t tag, const char *name,
           uint64_t offset, void *data, uint64_t size, uint64_t *exists)
{
    const struct sl_dev *d;
    struct get_run g;
    struct sl_key k;
    int rc = rt ? host_key(tag, name, &k) : SL_EINVAL;
    if (!rc)
        rc = get_init(rt, &g, k, offset, data, size);
    if (rc)
        return rc;
    d = host_enter(rt);
    if (!d)
        return SL_EDEAD;
    if (!get_to_device(rt, d, &g, &rc)) {
        rc = get_step(d, &g, sl_until_default(d));
        if (!g.ended)
            get_abandon(d, &g);
    }
    host_leave(rt);
    if (exists && (rc == 0 || rc == SL_EPASTEND))
        *exists = g.exists;
    return rc;
}
