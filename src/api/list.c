/* SPDX-License-Identifier: Apache-2.0 */
#include "api/runtime.h"
#include "base/log.h"

#include <limits.h>
#include <string.h>

/* A flush may have to write all of a tier. */
#define FLUSH_NS UINT64_C(600000000000) /* 10 minutes */

/* ---- requests that are answered into the side chunk ---- */

int host_ask(struct sl_runtime *rt, struct slm_request *q,
             const struct sl_key *k, const struct slb_aside *a,
             struct sl_result *res)
{
    const struct sl_dev *d = host_enter(rt);
    struct sl_future f;
    int rc;
    if (!d)
        return SL_EDEAD;
    f = slb_begin_aside(d, SL_THREAD, k, q, a);
    rc = slb_finish_now(d, SL_THREAD, &f);
    if (host_again(d, rc)) {
        f = slb_begin_aside(d, SL_THREAD, k, q, a);
        rc = slb_finish_now(d, SL_THREAD, &f);
    }
    host_leave(rt);
    *res = f.result;
    return rc;
}

int sl_stat(struct sl_runtime *rt, uint64_t tag, const char *name,
            struct sl_stat *out)
{
    struct slb_aside a = {.out = out, .out_bytes = sizeof(*out)};
    struct slm_request q;
    struct sl_result res;
    struct sl_key k;
    int rc = rt && out ? host_key(tag, name, &k) : SL_EINVAL;
    if (rc)
        return rc;
    slm_request_init(&q, SL_POOL_STORE, SL_STORE_STAT);
    return host_ask(rt, &q, &k, &a, &res);
}

/* ---- pages of names ---- */

int page_fetch(struct sl_runtime *rt, const struct page_ask *ask,
               struct page_got *got)
{
    struct slb_aside a = {.in = ask->pattern,
                          .in_bytes = ask->len,
                          .out = got->bytes,
                          .out_bytes = SL_SIDE_BYTES};
    struct sl_result res = {0};
    struct slm_request q;
    slm_request_init(&q, SL_POOL_STORE, ask->method);
    q.tag = ask->tag;
    q.container = (uint16_t)ask->container;
    q.offset = ask->cursor;
    q.size = ask->len;
    q.flags = (uint16_t)ask->flags;
    q.context = (uint16_t)(ask->most < UINT16_MAX ? ask->most : UINT16_MAX);
    int rc = host_ask(rt, &q, NULL, &a, &res);
    if (!rc && q.context && res.v[1] > q.context) {
        log_error("a page has %llu names, %u were asked for",
                  (unsigned long long)res.v[1], q.context);
        rc = SL_EPROTO;
    }
    got->next = res.v[0];
    got->n = rc ? 0 : res.v[1];
    got->matched = res.v[3];
    got->at = 0;
    return rc;
}

int page_next(struct page_got *p, struct sl_entry *out)
{
    struct sl_list_entry e;
    if (p->at + sizeof(e) > SL_SIDE_BYTES)
        return SL_EPROTO;
    memcpy(&e, p->bytes + p->at, sizeof(e));
    p->at += sizeof(e);
    if (p->at + e.len > SL_SIDE_BYTES)
        return SL_EPROTO;
    out->value = e.id;
    out->len = e.len;
    memcpy(out->name, p->bytes + p->at, e.len);
    out->name[e.len] = 0;
    p->at += e.len;
    p->n--;
    return 0;
}

/* ---- listings ---- */

/* Every container knows all tags; each has its own blobs of a tag. */
static uint32_t containers_of(const struct sl_runtime *rt, uint32_t method)
{
    return method == SL_STORE_TAGS ? 1u : rt->config.lanes;
}

/* One page at the cursor, which moves on; at most `most` names. */
static int list_page(struct sl_runtime *rt, struct page_ask *ask,
                     struct sl_cursor *c, struct page_got *page)
{
    ask->container = c->container;
    ask->cursor = c->at;
    int rc = page_fetch(rt, ask, page);
    if (rc)
        return rc;
    c->at = page->next;
    if (!c->at && ++c->container == containers_of(rt, ask->method))
        c->ended = 1;
    return 0;
}

static int list_next(struct sl_runtime *rt, struct page_ask *ask,
                     struct sl_cursor *c, struct sl_entry *out, size_t n)
{
    struct sl_cursor to;
    struct page_got page;
    size_t got = 0;
    if (!rt || !c || !n || !out || n > INT_MAX ||
        c->container >= containers_of(rt, ask->method) + c->ended)
        return SL_EINVAL;
    to = *c;
    while (got < n && !to.ended) {
        ask->most = n - got;
        int rc = list_page(rt, ask, &to, &page);
        while (!rc && page.n)
            rc = page_next(&page, &out[got++]);
        if (rc)
            return rc; /* the cursor stays: nothing is passed over */
    }
    *c = to;
    return (int)got;
}

int sl_list_next(struct sl_runtime *rt, uint64_t tag, struct sl_cursor *c,
                 struct sl_entry *out, size_t n)
{
    struct page_ask ask = {.method = SL_STORE_LIST, .tag = tag};
    return list_next(rt, &ask, c, out, n);
}

int sl_list_tags_next(struct sl_runtime *rt, struct sl_cursor *c,
                      struct sl_entry *out, size_t n)
{
    struct page_ask ask = {.method = SL_STORE_TAGS};
    return list_next(rt, &ask, c, out, n);
}

/* The callback runs outside of the gate: it may make calls of its own. */
static int list_all(struct sl_runtime *rt, struct page_ask *ask, sl_list_fn fn,
                    void *user)
{
    struct sl_cursor c = {0};
    struct sl_entry e;
    struct page_got page;
    int rc = rt && fn ? 0 : SL_EINVAL;
    while (!rc && !c.ended) {
        rc = list_page(rt, ask, &c, &page);
        while (!rc && page.n) {
            rc = page_next(&page, &e);
            if (!rc)
                rc = fn(user, e.name, e.len, e.value);
        }
    }
    return rc;
}

int sl_list(struct sl_runtime *rt, uint64_t tag, sl_list_fn fn, void *user)
{
    struct page_ask ask = {.method = SL_STORE_LIST, .tag = tag};
    return list_all(rt, &ask, fn, user);
}

int sl_list_tags(struct sl_runtime *rt, sl_list_fn fn, void *user)
{
    struct page_ask ask = {.method = SL_STORE_TAGS};
    return list_all(rt, &ask, fn, user);
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
