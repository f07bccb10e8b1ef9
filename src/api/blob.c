/* SPDX-License-Identifier: Apache-2.0 */
#include "api/runtime.h"
#include "codec/codec.h"

#include <math.h>
#include <string.h>

/* Larger chunks do not stay with the slot that wrote them: host threads are
 * few and their slots many, and idle chunks are space that others lack. */
#define KEEP_CHUNK_BYTES 65536u

/* ---- cancelled calls ---- */

int host_again(const struct sl_dev *d, int code)
{
    uint32_t settled = 0;
    if (code != SL_ENOMEM && code != SL_ENOSPC)
        return 0;
    for (uint32_t word = 0; word < d->n_slots / 32u; word++) {
        uint32_t slot;
        while (sls_adopt(d, word, &slot)) {
            sls_give(d, slot);
            settled++;
        }
    }
    return settled != 0;
}

/* ---- checks ---- */

int host_key(uint64_t tag, const char *name, struct sl_key *out)
{
    size_t n;
    if (!name)
        return SL_EINVAL;
    n = strnlen(name, SL_NAME_MAX + 1u);
    if (n == 0)
        return SL_ENONAME;
    if (n > SL_NAME_MAX)
        return SL_ENAMETOOLONG;
    *out = sl_key_make(tag, name, (uint32_t)n);
    return 0;
}

int host_score(float score, uint16_t *out)
{
    if (score == -1.0f) {
        *out = (uint16_t)SL_SCORE_AUTO;
        return 0;
    }
    if (!(score >= 0.0f && score <= 1.0f)) /* NaN too */
        return SL_ESCORE;
    *out = (uint16_t)lroundf(score * (float)SL_SCORE_ONE);
    return 0;
}

static int put_opts(const struct sl_runtime *rt, const struct sl_put_opts *o,
                    struct slm_request *q)
{
    if (o->flags & ~(uint32_t)SL_F_REPLACE)
        return SL_EINVAL;
    if (o->persist > 2u)
        return SL_EPERSIST;
    if (o->codec && codec_check(o->codec))
        return codec_check(o->codec);
    if (o->persist && !rt->config.data_dir)
        return SL_ENODATADIR;
    q->flags = (uint16_t)o->flags;
    q->persist = o->persist;
    q->codec = o->codec;
    q->context = o->context;
    return host_score(o->score, &q->score);
}

int host_put(const struct sl_runtime *rt, const struct sl_put_opts *opts,
             const void *data, uint64_t size, struct slm_request *out)
{
    slm_request_init(out, SL_POOL_STORE, SL_STORE_PUT);
    if (size > KEEP_CHUNK_BYTES)
        out->flags = SL_F_NOEXCHANGE;
    if (size && !data)
        return SL_EINVAL;
    if (opts) {
        uint16_t keep = out->flags;
        int rc = put_opts(rt, opts, out);
        out->flags = (uint16_t)(out->flags | keep);
        return rc;
    }
    return 0;
}

/* ---- tags ---- */

static int tag_call(struct sl_runtime *rt, const char *name, uint64_t *tag,
                    int create)
{
    const struct sl_dev *d;
    struct sl_key k;
    int rc;
    if (!rt || !tag)
        return SL_EINVAL;
    rc = host_key(0, name, &k);
    if (rc)
        return rc;
    d = host_enter(rt);
    if (!d)
        return SL_EDEAD;
    rc = create ? sl_tag_thread(d, k.name, k.len, tag)
                : sl_tag_find_thread(d, k.name, k.len, tag);
    host_leave(rt);
    return rc;
}

int sl_tag(struct sl_runtime *rt, const char *name, uint64_t *tag)
{
    return tag_call(rt, name, tag, 1);
}

int sl_tag_find(struct sl_runtime *rt, const char *name, uint64_t *tag)
{
    return tag_call(rt, name, tag, 0);
}

int sl_tag_rename(struct sl_runtime *rt, uint64_t tag, const char *newname)
{
    const struct sl_dev *d;
    struct sl_key k;
    int rc = rt ? host_key(0, newname, &k) : SL_EINVAL;
    if (rc)
        return rc;
    d = host_enter(rt);
    if (!d)
        return SL_EDEAD;
    rc = sl_tag_rename_thread(d, tag, k.name, k.len);
    host_leave(rt);
    return rc;
}

/* A method that concerns a whole tag, at the tag's home. */
static int whole_tag(struct sl_runtime *rt, uint32_t method, uint64_t tag,
                     struct sl_result *out)
{
    const struct sl_dev *d;
    struct slm_request q;
    struct sl_hash h = {tag, 0};
    struct sl_future f;
    int rc;
    if (!rt)
        return SL_EINVAL;
    d = host_enter(rt);
    if (!d)
        return SL_EDEAD;
    slm_request_init(&q, SL_POOL_STORE, method);
    q.tag = tag;
    q.container = (uint16_t)sl_key_container(h, d->n_lanes);
    f = slb_begin_task(d, SL_THREAD, &q, NULL, 0);
    f.want = 1;
    rc = slb_finish_now(d, SL_THREAD, &f);
    if (!rc && out)
        *out = f.result;
    host_leave(rt);
    return rc;
}

int sl_tag_size(struct sl_runtime *rt, uint64_t tag, uint64_t *bytes,
                uint64_t *blobs)
{
    struct sl_result r;
    int rc = whole_tag(rt, SL_STORE_TAG_SIZE, tag, &r);
    if (rc)
        return rc;
    if (bytes)
        *bytes = r.v[0];
    if (blobs)
        *blobs = r.v[1];
    return 0;
}

int sl_tag_stat(struct sl_runtime *rt, uint64_t tag, struct sl_tag_stat *out)
{
    struct page_got page = {0};
    struct slb_aside a = {.out = page.bytes, .out_bytes = SL_SIDE_BYTES};
    struct sl_hash h = {tag, 0};
    struct slm_request q;
    struct sl_result res;
    struct sl_entry e;
    int rc;
    if (!rt || !out)
        return SL_EINVAL;
    slm_request_init(&q, SL_POOL_STORE, SL_STORE_TAG_SIZE);
    q.tag = tag;
    q.flags = SL_F_SIDE;
    q.container = (uint16_t)sl_key_container(h, rt->config.lanes);
    rc = host_ask(rt, &q, NULL, &a, &res);
    if (!rc)
        rc = page_next(&page, &e);
    if (rc)
        return rc;
    *out = (struct sl_tag_stat){tag, res.v[0], res.v[1], e.len, {0}};
    memcpy(out->name, e.name, sizeof(out->name));
    return 0;
}

int sl_tag_del(struct sl_runtime *rt, uint64_t tag)
{
    return whole_tag(rt, SL_STORE_TAG_DEL, tag, NULL);
}

/* ---- blobs ---- */

static int put_now(const struct sl_dev *d, struct device_put *p,
                   const void *data)
{
    uint8_t want = p->f.want;
    p->f =
        slb_begin_put(d, SL_THREAD, &p->key, p->offset, &p->q, data, p->size);
    p->f.want = want;
    p->path = p->q.codec ? SL_PATH_CPU : SL_PATH_NONE;
    return slb_finish_now(d, SL_THREAD, &p->f);
}

static int put_device_now(struct sl_runtime *rt, const struct sl_dev *d,
                          struct device_put *p)
{
    uint8_t want = p->f.want;
    int rc = device_put_begin(d, p, rt->unit_bytes);
    if (rc)
        return rc;
    p->f.want = want;
    rc = device_put_step(d, p, sl_until_default(d));
    if (!p->ended)
        device_put_abandon(d, p);
    return rc;
}

/* Whose the data is is asked for each attempt: it takes a reference. */
static int put_try(struct sl_runtime *rt, const struct sl_dev *d,
                   struct device_put *p, const void *data)
{
    int of = device_memory_of(rt, data, p->size, &p->mem);
    if (of < 0)
        return of;
    return of ? put_device_now(rt, d, p) : put_now(d, p, data);
}

int sl_put(struct sl_runtime *rt, uint64_t tag, const char *name,
           uint64_t offset, const void *data, uint64_t size,
           const struct sl_put_opts *opts)
{
    const struct sl_dev *d;
    struct sl_put_opts room;
    struct device_put p;
    uint8_t want;
    int rc = rt ? host_key(tag, name, &p.key) : SL_EINVAL;
    if (!rc)
        rc = host_put_opts(&opts, &room);
    if (!rc)
        rc = slb_check_range(offset, size);
    if (!rc)
        rc = host_put(rt, opts, data, size, &p.q);
    if (rc)
        return rc;
    p.offset = offset;
    p.size = size;
    d = host_enter(rt);
    if (!d)
        return SL_EDEAD;
    want = opts && opts->result;
    p.f.want = want;
    rc = put_try(rt, d, &p, data);
    p.f.want = want;
    if (host_again(d, rc))
        rc = put_try(rt, d, &p, data);
    host_leave(rt);
    if (!rc && want)
        *opts->result = p.f.result;
    if (!rc && opts && opts->path)
        *opts->path = p.path;
    return rc;
}

int sl_size(struct sl_runtime *rt, uint64_t tag, const char *name,
            uint64_t *size)
{
    const struct sl_dev *d;
    struct sl_key k;
    int rc = rt && size ? host_key(tag, name, &k) : SL_EINVAL;
    if (rc)
        return rc;
    d = host_enter(rt);
    if (!d)
        return SL_EDEAD;
    rc = sl_size_thread(d, k, size);
    host_leave(rt);
    return rc;
}

int sl_score(struct sl_runtime *rt, uint64_t tag, const char *name, float score)
{
    const struct sl_dev *d;
    struct sl_key k;
    uint16_t wire;
    int rc = rt ? host_key(tag, name, &k) : SL_EINVAL;
    if (!rc)
        rc = host_score(score, &wire);
    if (rc)
        return rc;
    d = host_enter(rt);
    if (!d)
        return SL_EDEAD;
    rc = sl_score_thread(d, k, wire);
    host_leave(rt);
    return rc;
}

int sl_del(struct sl_runtime *rt, uint64_t tag, const char *name)
{
    const struct sl_dev *d;
    struct sl_key k;
    int rc = rt ? host_key(tag, name, &k) : SL_EINVAL;
    if (rc)
        return rc;
    d = host_enter(rt);
    if (!d)
        return SL_EDEAD;
    rc = sl_del_thread(d, k);
    host_leave(rt);
    return rc;
}

int sl_rename(struct sl_runtime *rt, uint64_t tag, const char *name,
              uint64_t newtag, const char *newname, uint32_t flags)
{
    const struct sl_dev *d;
    struct sl_key k, to;
    int rc = rt && !(flags & ~(uint32_t)SL_F_REPLACE) ? host_key(tag, name, &k)
                                                      : SL_EINVAL;
    if (!rc)
        rc = host_key(newtag, newname, &to);
    if (rc)
        return rc;
    d = host_enter(rt);
    if (!d)
        return SL_EDEAD;
    rc = sl_rename_thread(d, k, to, flags);
    host_leave(rt);
    return rc;
}

/* ---- tasks of other pools ---- */

static int task_call(struct sl_runtime *rt, const struct sl_dev *d,
                     struct sl_call *c, uint32_t pool, uint32_t method,
                     struct sl_result *out)
{
    struct sl_future f;
    int rc;
    if (pool > UINT16_MAX || !pools_at(rt->pools, pool))
        return SL_ENOPOOL;
    if (method > UINT16_MAX)
        return SL_ENOMETHOD;
    c->pool = (uint16_t)pool;
    c->method = (uint16_t)method;
    f = sl_task_begin_thread(d, c);
    /* Not when the module says so: it may have done something. */
    if (!f.live && host_again(d, f.code))
        f = sl_task_begin_thread(d, c);
    rc = slb_finish_now(d, SL_THREAD, &f);
    if (!rc && out)
        *out = f.result;
    return rc;
}

int sl_task(struct sl_runtime *rt, uint32_t pool, uint32_t method,
            uint32_t container, const void *task, uint64_t bytes,
            struct sl_result *out)
{
    const struct sl_dev *d;
    struct sl_call c = {.task = task, .bytes = bytes};
    int rc;
    if (!rt || (bytes && !task))
        return SL_EINVAL;
    d = host_enter(rt);
    if (!d)
        return SL_EDEAD;
    c.container = (uint16_t)(container % d->n_lanes);
    rc = task_call(rt, d, &c, pool, method, out);
    host_leave(rt);
    return rc;
}
