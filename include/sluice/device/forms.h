/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The calls of device.h, made once for each form from blob.h's operations.
 */
#ifndef SLUICE_DEVICE_FORMS_H
#define SLUICE_DEVICE_FORMS_H

/** A task of any pool. */
struct sl_call {
    const void *task; /* any memory that the caller reads */
    uint64_t bytes;   /* 1 to SL_TASK_MAX */
    uint16_t pool;
    uint16_t method;
    uint16_t container; /* < n_lanes */
    uint8_t high;       /* 1: high priority */
};

SL_FN struct sl_future slf_task(const struct sl_dev *d, int form,
                                const struct sl_call *c)
{
    struct slm_request q;
    slm_request_init(&q, c->pool, c->method);
    if (c->container >= d->n_lanes)
        return slb_future(SL_EROUTE);
    q.container = c->container;
    q.high = c->high;
    struct sl_future f = slb_begin_task(d, form, &q, c->task, c->bytes);
    f.want = 1;
    return f;
}

SL_FN int slf_noop(const struct sl_dev *d, int form, uint32_t lane)
{
    struct slm_request q;
    slm_request_init(&q, SL_POOL_ADMIN, SL_ADMIN_NOOP);
    q.container = (uint16_t)(lane % d->n_lanes);
    struct sl_future f = slb_begin_task(d, form, &q, 0, 0);
    return slb_finish_now(d, form, &f);
}

/** A request on a name, of which all is in its key and flags. */
SL_FN struct sl_future slf_named(const struct sl_dev *d, int form,
                                 uint32_t method, uint32_t flags,
                                 struct sl_key k)
{
    struct slm_request q;
    slm_request_init(&q, SL_POOL_STORE, method);
    q.flags = (uint16_t)flags;
    struct sl_future f = slb_begin_named(d, form, &k, &q);
    f.want = 1;
    return f;
}

SL_FN int slf_tag(const struct sl_dev *d, int form, struct sl_key k,
                  uint32_t flags, uint64_t *tag)
{
    struct sl_future f = slf_named(d, form, SL_STORE_TAG, flags, k);
    int rc = slb_finish_now(d, form, &f);
    if (rc == 0)
        *tag = f.result.v[0];
    return rc;
}

SL_FN void slf_how(struct slm_request *q, const struct sl_how *how)
{
    slm_request_init(q, SL_POOL_STORE, SL_STORE_PUT);
    q->flags = (uint16_t)(how->flags & SL_F_REPLACE);
    q->score = how->score;
    q->context = how->context;
    q->persist = how->persist;
    q->codec = how->codec;
    q->high = how->high;
}

SL_FN struct sl_future slf_put(const struct sl_dev *d, int form,
                               const struct sl_key *k, uint64_t offset,
                               const void *data, uint64_t size,
                               const struct sl_how *how)
{
    struct slm_request q;
    slf_how(&q, how);
    return slb_begin_put(d, form, k, offset, &q, data, size);
}

SL_FN int slf_size(const struct sl_dev *d, int form, const struct sl_key *k,
                   uint64_t *size)
{
    struct sl_future f = slf_named(d, form, SL_STORE_SIZE, 0, *k);
    int rc = slb_finish_now(d, form, &f);
    if (rc == 0)
        *size = f.result.v[0];
    return rc;
}

SL_FN int slf_del(const struct sl_dev *d, int form, const struct sl_key *k)
{
    struct sl_future f = slf_named(d, form, SL_STORE_DEL, 0, *k);
    return slb_finish_now(d, form, &f);
}

SL_FN struct sl_future slf_stat(const struct sl_dev *d, int form,
                                const struct sl_key *k, struct sl_stat *out)
{
    struct slm_request q;
    struct slb_aside a;
    slm_request_init(&q, SL_POOL_STORE, SL_STORE_STAT);
    a.in = 0;
    a.in_bytes = 0;
    a.out = out;
    a.out_bytes = sizeof(*out);
    return slb_begin_aside(d, form, k, &q, &a);
}

/** A new name, for the tag `id`. */
SL_FN struct sl_future slf_tag_rename(const struct sl_dev *d, int form,
                                      uint64_t id, struct sl_key name)
{
    struct slm_request q;
    slm_request_init(&q, SL_POOL_STORE, SL_STORE_TAG_RENAME);
    q.offset = id;
    return slb_begin_named(d, form, &name, &q);
}

SL_FN int slf_rename(const struct sl_dev *d, int form, const struct sl_key *k,
                     const struct sl_key *to, uint32_t flags)
{
    struct sl_future f = slb_begin_rename(d, form, k, to, flags);
    return slb_finish_now(d, form, &f);
}

SL_FN int slf_score(const struct sl_dev *d, int form, const struct sl_key *k,
                    uint32_t score)
{
    struct slm_request q;
    slm_request_init(&q, SL_POOL_STORE, SL_STORE_SCORE);
    q.score = (uint16_t)score;
    struct sl_future f = slb_begin_named(d, form, k, &q);
    return slb_finish_now(d, form, &f);
}

#define SL_FORMS(F, FORM)                                                      \
    SL_FN int sl_noop_##F(const struct sl_dev *d, uint32_t lane)               \
    {                                                                          \
        return slf_noop(d, FORM, lane);                                        \
    }                                                                          \
    SL_FN int sl_tag_##F(const struct sl_dev *d, const char *name,             \
                         uint32_t len, uint64_t *tag)                          \
    {                                                                          \
        return slf_tag(d, FORM, sl_key_make(0, name, len), 0, tag);            \
    }                                                                          \
    SL_FN int sl_tag_find_##F(const struct sl_dev *d, const char *name,        \
                              uint32_t len, uint64_t *tag)                     \
    {                                                                          \
        return slf_tag(d, FORM, sl_key_make(0, name, len), SL_F_EXISTING,      \
                       tag);                                                   \
    }                                                                          \
    SL_FN struct sl_future sl_put_begin_##F(                                   \
        const struct sl_dev *d, struct sl_key k, uint64_t offset,              \
        const void *data, uint64_t size, struct sl_how how) {                  \
        return slf_put(d, FORM, &k, offset, data, size, &how);                 \
    } SL_FN struct sl_future sl_get_begin_##F(                                 \
        const struct sl_dev *d, struct sl_key k, uint64_t offset, void *data,  \
        uint64_t size) {                                                       \
        return slb_begin_get(d, FORM, &k, offset, data, size);                 \
    } SL_FN struct sl_future sl_task_begin_##F(const struct sl_dev *d,         \
                                               const struct sl_call *c) {      \
        return slf_task(d, FORM, c);                                           \
    } SL_FN int sl_wait_##F(const struct sl_dev *d, struct sl_future *f,       \
                            struct sl_until until)                             \
    {                                                                          \
        return slb_wait(d, FORM, f, &until);                                   \
    }                                                                          \
    SL_FN void sl_abandon_##F(const struct sl_dev *d, struct sl_future *f)     \
    {                                                                          \
        slb_abandon(d, FORM, f);                                               \
    }                                                                          \
    SL_FN int sl_put_##F(const struct sl_dev *d, struct sl_key k,              \
                         uint64_t offset, const void *data, uint64_t size,     \
                         struct sl_how how)                                    \
    {                                                                          \
        struct sl_future f = slf_put(d, FORM, &k, offset, data, size, &how);   \
        return slb_finish_now(d, FORM, &f);                                    \
    }                                                                          \
    SL_FN int sl_get_##F(const struct sl_dev *d, struct sl_key k,              \
                         uint64_t offset, void *data, uint64_t size)           \
    {                                                                          \
        struct sl_future f = slb_begin_get(d, FORM, &k, offset, data, size);   \
        return slb_finish_now(d, FORM, &f);                                    \
    }                                                                          \
    SL_FN int sl_size_##F(const struct sl_dev *d, struct sl_key k,             \
                          uint64_t *size)                                      \
    {                                                                          \
        return slf_size(d, FORM, &k, size);                                    \
    }                                                                          \
    SL_FN int sl_del_##F(const struct sl_dev *d, struct sl_key k)              \
    {                                                                          \
        return slf_del(d, FORM, &k);                                           \
    }                                                                          \
    SL_FN struct sl_future sl_tag_begin_##F(const struct sl_dev *d,            \
                                            const char *name, uint32_t len) {  \
        return slf_named(d, FORM, SL_STORE_TAG, 0, sl_key_make(0, name, len)); \
    } SL_FN struct sl_future sl_size_begin_##F(const struct sl_dev *d,         \
                                               struct sl_key k) {              \
        return slf_named(d, FORM, SL_STORE_SIZE, 0, k);                        \
    } SL_FN struct sl_future sl_del_begin_##F(const struct sl_dev *d,          \
                                              struct sl_key k) {               \
        return slf_named(d, FORM, SL_STORE_DEL, 0, k);                         \
    } SL_FN struct sl_future sl_rename_begin_##F(                              \
        const struct sl_dev *d, struct sl_key k, struct sl_key to,             \
        uint32_t flags) {                                                      \
        return slb_begin_rename(d, FORM, &k, &to, flags);                      \
    } SL_FN struct sl_future sl_stat_begin_##F(                                \
        const struct sl_dev *d, struct sl_key k, struct sl_stat *out) {        \
        return slf_stat(d, FORM, &k, out);                                     \
    } SL_FN int sl_stat_##F(const struct sl_dev *d, struct sl_key k,           \
                            struct sl_stat *out)                               \
    {                                                                          \
        struct sl_future f = slf_stat(d, FORM, &k, out);                       \
        return slb_finish_now(d, FORM, &f);                                    \
    }                                                                          \
    SL_FN int sl_tag_rename_##F(const struct sl_dev *d, uint64_t id,           \
                                const char *name, uint32_t len)                \
    {                                                                          \
        struct sl_future f =                                                   \
            slf_tag_rename(d, FORM, id, sl_key_make(0, name, len));            \
        return slb_finish_now(d, FORM, &f);                                    \
    }                                                                          \
    SL_FN int sl_rename_##F(const struct sl_dev *d, struct sl_key k,           \
                            struct sl_key to, uint32_t flags)                  \
    {                                                                          \
        return slf_rename(d, FORM, &k, &to, flags);                            \
    }                                                                          \
    SL_FN int sl_score_##F(const struct sl_dev *d, struct sl_key k,            \
                           uint32_t score)                                     \
    {                                                                          \
        return slf_score(d, FORM, &k, score);                                  \
    }                                                                          \
    SL_FN int sl_task_##F(const struct sl_dev *d, const struct sl_call *c,     \
                          struct sl_result *out)                               \
    {                                                                          \
        struct sl_future f = slf_task(d, FORM, c);                             \
        int rc = slb_finish_now(d, FORM, &f);                                  \
        if (rc == 0)                                                           \
            *out = f.result;                                                   \
        return rc;                                                             \
    }

SL_FORMS(thread, SL_THREAD)
SL_FORMS(warp, SL_WARP)
SL_FORMS(block, SL_BLOCK)

#endif
