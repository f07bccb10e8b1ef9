/* SPDX-License-Identifier: Apache-2.0 */
/* The calls on data that is on the device already: kernels alone. */
#include "base/clock.h"
#include "base/log.h"
#include "pages/impl.h"

#include <stdlib.h>
#include <string.h>

#define ALIGN 16u

struct array_call {
    struct sl_pages *p;
    int way;
    struct pages_run run;
    struct sl_pages_report r;
};

static int check(const struct array_call *c, uint64_t n, sl_devptr entries,
                 uint64_t dst_bytes)
{
    const struct pages_run *u = &c->run;
    uint64_t table = n * sizeof(struct sl_page_entry);
    sl_devptr at[3] = {u->src, u->dst, entries};
    uint64_t bytes[3] = {u->src_bytes, dst_bytes, table};
    if (!u->bytes || n != sl_pages_count(u->bytes, c->p->o.page_bytes) ||
        !u->dst || !entries || (!u->src && u->src_bytes))
        return SL_EINVAL;
    if ((u->src | u->dst | entries) % ALIGN)
        return SL_EINVAL;
    for (int i = 0; i < 3; i++)
        if (pages_overlap((const void *)(uintptr_t)at[i], bytes[i],
                          (const void *)(uintptr_t)at[(i + 1) % 3],
                          bytes[(i + 1) % 3]))
            return SL_EOVERLAP;
    return 0;
}

/* The stream, the word for the sum, and scratch that grows: kept. */
static int make_room(struct array_call *c)
{
    struct sl_pages *p = c->p;
    struct pages_array *a = &p->array;
    const struct gpu_ops *ops = p->gpu->ops;
    uint64_t need = pages_run_scratch(p, c->way, c->run.bytes);
    int rc = 0;
    if (!a->stream)
        rc = ops->stream_open(p->gpu, &a->stream);
    if (rc == 0 && !a->total)
        rc = ops->alloc(p->gpu, sizeof(uint64_t), &a->total);
    if (rc == 0 && need > a->scratch_bytes) {
        ops->release(p->gpu, a->scratch);
        a->scratch = 0;
        a->scratch_bytes = 0;
        rc = ops->alloc(p->gpu, need, &a->scratch);
        if (rc == 0)
            a->scratch_bytes = need;
    }
    c->run.stream = a->stream;
    c->run.total = a->total;
    c->run.scratch = a->scratch;
    return rc;
}

void pages_array_close(struct sl_pages *p)
{
    struct pages_array *a = &p->array;
    if (a->stream)
        p->gpu->ops->stream_close(a->stream);
    if (p->gpu) {
        p->gpu->ops->release(p->gpu, a->total);
        p->gpu->ops->release(p->gpu, a->scratch);
    }
    memset(a, 0, sizeof(*a));
}

/* Entries tell the kinds, and which pages failed. */
static int read_entries(struct array_call *c, uint64_t n)
{
    const struct gpu_ops *ops = c->p->gpu->ops;
    struct sl_page_entry *e = calloc(n, sizeof(*e));
    if (!e)
        return SL_ENOMEM;
    int rc = ops->from_device(c->p->gpu, e, c->run.entries, n * sizeof(*e));
    if (rc == 0)
        pages_count(&c->r, e, n);
    free(e);
    return rc;
}

static int run(struct array_call *c)
{
    struct sl_pages *p = c->p;
    const struct gpu_ops *ops = p->gpu->ops;
    uint64_t n = sl_pages_count(c->run.bytes, p->o.page_bytes);
    int rc = make_room(c);
    if (rc == 0)
        rc = pages_run(p, c->way, &c->run);
    if (rc == 0)
        rc =
            ops->stream_wait(p->array.stream, p->o.timeout_ns, &c->r.kernel_ns);
    c->r.bytes_out = c->run.bytes;
    if (rc == 0 && c->way == SL_PAGES_COMPRESS)
        rc = ops->from_device(p->gpu, &c->r.bytes_out, p->array.total,
                              sizeof(c->r.bytes_out));
    if (rc == 0)
        rc = read_entries(c, n);
    return rc;
}

static int call(struct array_call *c, struct sl_pages_report *r)
{
    uint64_t begun = clock_ns();
    pthread_mutex_lock(&c->p->array_calls);
    int rc = run(c);
    pthread_mutex_unlock(&c->p->array_calls);
    if (rc) {
        log_error("pages: %s failed on data of its own: %s", c->p->device,
                  sl_strerror(rc));
        return rc;
    }
    c->r.bytes_in = c->run.src_bytes;
    c->r.batches = 1;
    c->r.on_device = 1;
    c->r.wall_ns = clock_ns() - begun;
    pages_why(c->p, &c->r);
    if (r)
        *r = c->r;
    return c->r.bad ? SL_EBLOCK : 0;
}

int sl_pages_compress_device(struct sl_pages *p, sl_devptr src, uint64_t bytes,
                             sl_devptr dst, uint64_t cap, sl_devptr entries,
                             uint64_t n, struct sl_pages_report *r)
{
    struct array_call c = {.p = p, .way = SL_PAGES_COMPRESS};
    if (!p)
        return SL_EINVAL;
    if (!p->gpu)
        return SL_ENODEV;
    c.run.src = src;
    c.run.src_bytes = bytes;
    c.run.dst = dst;
    c.run.bytes = bytes;
    c.run.entries = entries;
    int rc = check(&c, n, entries, cap);
    if (rc == 0 && cap < bytes)
        rc = SL_EINVAL;
    return rc ? rc : call(&c, r);
}

int sl_pages_decompress_device(struct sl_pages *p, sl_devptr src,
                               uint64_t src_bytes, sl_devptr entries,
                               uint64_t n, sl_devptr dst, uint64_t bytes,
                               struct sl_pages_report *r)
{
    struct array_call c = {.p = p, .way = SL_PAGES_DECOMPRESS};
    if (!p)
        return SL_EINVAL;
    if (!p->gpu)
        return SL_ENODEV;
    c.run.src = src;
    c.run.src_bytes = src_bytes;
    c.run.dst = dst;
    c.run.bytes = bytes;
    c.run.entries = entries;
    int rc = check(&c, n, entries, bytes);
    return rc ? rc : call(&c, r);
}
