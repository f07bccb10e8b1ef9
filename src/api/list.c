/* SPDX-License-Identifier: Apache-2.0 */
#include "api/runtime.h"

#include <string.h>

/* A flush may have to write all of a tier. */
#define FLUSH_NS UINT64_C(600000000000) /* 10 minutes */

/* ---- requests that are answered into the side chunk ---- */

/* The answer, copied before the slot goes back; `out` has SL_SIDE_BYTES. */
static int ask_in(const struct sl_dev *d, struct slm_request *q,
                  const struct sl_key *k, uint8_t *out, struct sl_result *res)
{
    struct slg g = slg_make(SL_THREAD);
    struct slm_prep p = slb_prep(0);
    struct slb_need need = {.side = 1};
    struct slb_place at = slb_prepare(d, &g, &p, need);
    struct sl_until u = sl_until_default(d);
    struct sl_future f = slb_future(0);
    uint64_t reply = 0;
    int rc;
    if (at.rc)
        return at.rc;
    if (k) {
        slb_write_name(d, &g, at.side, k);
        slb_address(d, k, q);
    }
    q->side = at.side;
    f.slot = p.slot;
    f.seq = slm_submit(d, p.slot, q);
    f.live = 1;
    rc = slm_poll(d, f.slot, f.seq, &u, &reply);
    if (rc) {
        if (rc != SL_EDEAD)
            sl_abandon_thread(d, &f);
        return rc;
    }
    slm_result(d, f.slot, res);
    memcpy(out, d->arena + at.side, SL_SIDE_BYTES);
    slb_finish(d, &f, reply);
    return sl_reply_code(reply);
}

static int ask(struct sl_runtime *rt, struct slm_request *q,
               const struct sl_key *k, uint8_t *out, struct sl_result *res)
{
    const struct sl_dev *d = host_enter(rt);
    int rc;
    if (!d)
        return SL_EDEAD;
    rc = ask_in(d, q, k, out, res);
    if (host_again(d, rc))
        rc = ask_in(d, q, k, out, res);
    host_leave(rt);
    return rc;
}

int sl_stat(struct sl_runtime *rt, uint64_t tag, const char *name,
            struct sl_stat *out)
{
    struct slm_request q;
    struct sl_result res;
    struct sl_key k;
    uint8_t side[SL_SIDE_BYTES];
    int rc = rt && out ? host_key(tag, name, &k) : SL_EINVAL;
    if (rc)
        return rc;
    slm_request_init(&q, SL_POOL_STORE, SL_STORE_STAT);
    rc = ask(rt, &q, &k, side, &res);
    if (!rc)
        memcpy(out, side, sizeof(*out));
    return rc;
}

/* ---- listings ---- */

/* Calls fn for the names of one page. Names come with a NUL behind them. */
static int each_name(const uint8_t *page, const struct sl_result *res,
                     sl_list_fn fn, void *user)
{
    uint64_t at = 0;
    for (uint64_t i = 0; i < res->v[1]; i++) {
        struct sl_list_entry e;
        char name[SL_NAME_MAX + 1u];
        int rc;
        if (at + sizeof(e) > SL_SIDE_BYTES)
            return SL_EPROTO;
        memcpy(&e, page + at, sizeof(e));
        at += sizeof(e);
        if (at + e.len > SL_SIDE_BYTES)
            return SL_EPROTO;
        memcpy(name, page + at, e.len);
        name[e.len] = 0;
        at += e.len;
        rc = fn(user, name, e.len, e.id);
        if (rc)
            return rc;
    }
    return 0;
}

/* All pages of one container. The callback runs outside of the gate: it may
 * make calls of its own. */
static int list_container(struct sl_runtime *rt, uint32_t method, uint64_t tag,
                          uint32_t container, sl_list_fn fn, void *user)
{
    uint8_t page[SL_SIDE_BYTES];
    struct sl_result res = {{0}};
    int rc;
    do {
        struct slm_request q;
        slm_request_init(&q, SL_POOL_STORE, method);
        q.tag = tag;
        q.container = (uint16_t)container;
        q.offset = res.v[0];
        rc = ask(rt, &q, NULL, page, &res);
        if (!rc)
            rc = each_name(page, &res, fn, user);
    } while (!rc && res.v[0]);
    return rc;
}

int sl_list(struct sl_runtime *rt, uint64_t tag, sl_list_fn fn, void *user)
{
    int rc = rt && fn ? 0 : SL_EINVAL;
    for (uint32_t c = 0; !rc && c < rt->config.lanes; c++)
        rc = list_container(rt, SL_STORE_LIST, tag, c, fn, user);
    return rc;
}

int sl_list_tags(struct sl_runtime *rt, sl_list_fn fn, void *user)
{
    /* Every container knows all tags. */
    return rt && fn ? list_container(rt, SL_STORE_TAGS, 0, 0, fn, user)
                    : SL_EINVAL;
}

/* ---- flush ---- */

int sl_flush(struct sl_runtime *rt)
{
    const struct sl_dev *d;
    struct slm_request q;
    struct sl_future f;
    int rc;
    if (!rt)
        return SL_EINVAL;
    d = host_enter(rt);
    if (!d)
        return SL_EDEAD;
    slm_request_init(&q, SL_POOL_STORE, SL_STORE_FLUSH);
    f = slb_begin_task(d, SL_THREAD, &q, NULL, 0);
    rc = sl_wait_thread(d, &f, sl_until_ns(FLUSH_NS));
    if (f.live)
        sl_abandon_thread(d, &f);
    host_leave(rt);
    return rc;
}
