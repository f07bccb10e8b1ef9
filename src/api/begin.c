/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Futures of the calls that are one task. What a call sends is in the cell or
 * the side chunk when it has begun, so nothing of it has to be kept.
 */
#include "api/runtime.h"

/* ---- how a task begins ---- */

static struct sl_future start_named(const struct sl_dev *d, struct host_call *c)
{
    return slb_begin_named(d, SL_THREAD, &c->key, &c->q);
}

static struct sl_future start_aside(const struct sl_dev *d, struct host_call *c)
{
    return slb_begin_aside(d, SL_THREAD, &c->key, &c->q, &c->aside);
}

static struct sl_future start_rename(const struct sl_dev *d,
                                     struct host_call *c)
{
    return slb_begin_rename(d, SL_THREAD, &c->key, &c->to, c->flags);
}

/* A method without a name, at the home of the request's tag. */
static struct sl_future start_plain(const struct sl_dev *d, struct host_call *c)
{
    struct sl_hash h = {c->q.tag, 0};
    c->q.container = (uint16_t)sl_key_container(h, d->n_lanes);
    return slb_begin_task(d, SL_THREAD, &c->q, NULL, 0);
}

static struct host_call call_of(uint32_t method)
{
    struct host_call c = {.start = start_plain};
    slm_request_init(&c.q, SL_POOL_STORE, method);
    return c;
}

static int begin_named(struct sl_runtime *rt, struct host_call *c, uint64_t tag,
                       const char *name, struct sl_op **out)
{
    int rc = host_key(tag, name, &c->key);
    if (c->start == start_plain)
        c->start = start_named;
    return rc ? rc : host_begin(rt, c, out);
}

/* ---- tags ---- */

int sl_tag_begin(struct sl_runtime *rt, const char *name, uint64_t *tag,
                 struct sl_op **out)
{
    struct host_call c = call_of(SL_STORE_TAG);
    c.answer[0] = tag;
    return begin_named(rt, &c, 0, name, out);
}

int sl_tag_find_begin(struct sl_runtime *rt, const char *name, uint64_t *tag,
                      struct sl_op **out)
{
    struct host_call c = call_of(SL_STORE_TAG);
    c.q.flags = SL_F_EXISTING;
    c.answer[0] = tag;
    return begin_named(rt, &c, 0, name, out);
}

int sl_tag_rename_begin(struct sl_runtime *rt, uint64_t tag,
                        const char *newname, struct sl_op **out)
{
    struct host_call c = call_of(SL_STORE_TAG_RENAME);
    c.q.offset = tag;
    return begin_named(rt, &c, 0, newname, out);
}

int sl_tag_size_begin(struct sl_runtime *rt, uint64_t tag, uint64_t *bytes,
                      uint64_t *blobs, struct sl_op **out)
{
    struct host_call c = call_of(SL_STORE_TAG_SIZE);
    c.q.tag = tag;
    c.answer[0] = bytes;
    c.answer[1] = blobs;
    return host_begin(rt, &c, out);
}

int sl_tag_del_begin(struct sl_runtime *rt, uint64_t tag, struct sl_op **out)
{
    struct host_call c = call_of(SL_STORE_TAG_DEL);
    c.q.tag = tag;
    return host_begin(rt, &c, out);
}

/* ---- blobs ---- */

int sl_size_begin(struct sl_runtime *rt, uint64_t tag, const char *name,
                  uint64_t *size, struct sl_op **out)
{
    struct host_call c = call_of(SL_STORE_SIZE);
    c.answer[0] = size;
    return begin_named(rt, &c, tag, name, out);
}

int sl_del_begin(struct sl_runtime *rt, uint64_t tag, const char *name,
                 struct sl_op **out)
{
    struct host_call c = call_of(SL_STORE_DEL);
    return begin_named(rt, &c, tag, name, out);
}

int sl_score_begin(struct sl_runtime *rt, uint64_t tag, const char *name,
                   float score, struct sl_op **out)
{
    struct host_call c = call_of(SL_STORE_SCORE);
    int rc = host_score(score, &c.q.score);
    return rc ? rc : begin_named(rt, &c, tag, name, out);
}

int sl_stat_begin(struct sl_runtime *rt, uint64_t tag, const char *name,
                  struct sl_stat *stat, struct sl_op **out)
{
    struct host_call c = call_of(SL_STORE_STAT);
    if (!stat)
        return SL_EINVAL;
    c.start = start_aside;
    c.aside.out = stat;
    c.aside.out_bytes = sizeof(*stat);
    return begin_named(rt, &c, tag, name, out);
}

int sl_rename_begin(struct sl_runtime *rt, uint64_t tag, const char *name,
                    uint64_t newtag, const char *newname, uint32_t flags,
                    struct sl_op **out)
{
    struct host_call c = {.start = start_rename, .flags = flags};
    int rc = flags & ~(uint32_t)SL_F_REPLACE ? SL_EINVAL
                                             : host_key(newtag, newname, &c.to);
    return rc ? rc : begin_named(rt, &c, tag, name, out);
}

int sl_flush_begin(struct sl_runtime *rt, struct sl_op **out)
{
    struct host_call c = call_of(SL_STORE_FLUSH);
    return host_begin(rt, &c, out);
}
