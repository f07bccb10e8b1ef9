/* SPDX-License-Identifier: Apache-2.0 */
/* The synchronous calls over memory, on a stream that they share. */
#include "base/clock.h"
#include "pages/impl.h"

#include <string.h>

/* One call; `entries` and the pages advance together. */
struct call {
    struct sl_pages *p;
    struct sl_pages_stream *s;
    const uint8_t *src;
    uint64_t src_bytes; /* decompress */
    uint8_t *dst;
    struct sl_page_entry *entries;
    uint64_t bytes;
    uint64_t sent, done; /* bytes of pages */
    uint64_t blocks;     /* compress: bytes in dst */
    int code;
};

int pages_overlap(const void *a, uint64_t a_bytes, const void *b,
                  uint64_t b_bytes)
{
    uintptr_t x = (uintptr_t)a, y = (uintptr_t)b;
    if (!a_bytes || !b_bytes)
        return 0;
    return x < y ? y - x < a_bytes : x - y < b_bytes;
}

static int check(const struct call *c, uint64_t n, uint64_t in_bytes)
{
    uint64_t table;
    if (!c->bytes || !c->dst || !c->entries || (!c->src && in_bytes) ||
        n != sl_pages_count(c->bytes, c->p->o.page_bytes))
        return SL_EINVAL;
    table = n * sizeof(struct sl_page_entry);
    if (pages_overlap(c->src, in_bytes, c->dst, c->bytes) ||
        pages_overlap(c->entries, table, c->src, in_bytes) ||
        pages_overlap(c->entries, table, c->dst, c->bytes))
        return SL_EOVERLAP;
    return 0;
}

/* Starts the next batch in a free slot; SL_EAGAIN when there is none. */
static int send(struct call *c)
{
    struct sl_pages_batch *b;
    uint64_t left = c->bytes - c->sent;
    uint32_t page = c->p->o.page_bytes;
    int rc = sl_pages_take(c->s, 0, &b);
    if (rc)
        return rc;
    b->bytes = left < c->p->o.slot_bytes ? left : c->p->o.slot_bytes;
    if (c->s->way == SL_PAGES_COMPRESS) {
        b->src = c->src + c->sent;
        b->dst = NULL; /* the sink */
    } else {
        b->src = c->src;
        b->src_bytes = c->src_bytes;
        b->dst = c->dst + c->sent;
        memcpy(b->entries, c->entries + c->sent / page,
               sl_pages_count(b->bytes, page) * sizeof(*b->entries));
    }
    rc = sl_pages_submit(c->s, b);
    if (rc)
        sl_pages_release(c->s, b);
    else
        c->sent += b->bytes;
    return rc;
}

static void take_entries(struct call *c, const struct sl_pages_batch *b)
{
    uint64_t n = sl_pages_count(b->bytes, c->p->o.page_bytes);
    struct sl_page_entry *to = c->entries + c->done / c->p->o.page_bytes;
    memcpy(to, b->entries, n * sizeof(*to));
    if (c->s->way == SL_PAGES_DECOMPRESS)
        return;
    for (uint64_t i = 0; i < n; i++)
        if (to[i].kind == SL_PAGE_LZ4 || to[i].kind == SL_PAGE_RAW)
            to[i].at_or_fill += c->blocks;
    c->blocks += b->dst_bytes;
}

/* Waits for the oldest batch; SL_ENOENT when there is none. */
static int receive(struct call *c)
{
    struct sl_pages_batch *b;
    int rc = sl_pages_next(c->s, 1, &b);
    if (rc)
        return rc;
    if (b->code == 0 || b->code == SL_EBLOCK)
        take_entries(c, b);
    c->done += b->bytes;
    if (b->code && !c->code)
        c->code = b->code;
    sl_pages_release(c->s, b);
    return 0;
}

/* A damaged page does not end the call, the others are still wanted. */
static int run(struct call *c)
{
    while (c->done < c->bytes) {
        int rc = SL_EAGAIN;
        int going = c->code == 0 || c->code == SL_EBLOCK;
        if (c->sent < c->bytes && going)
            rc = send(c);
        if (rc && rc != SL_EAGAIN)
            c->code = rc;
        if (rc && receive(c) == SL_ENOENT)
            break;
    }
    return c->code;
}

static int start(struct call *c, int way)
{
    struct sl_pages *p = c->p;
    if (!p->sync[way]) {
        int rc = sl_pages_stream_open(p, way, &p->sync[way]);
        if (rc)
            return rc;
    }
    c->s = p->sync[way];
    if (way == SL_PAGES_COMPRESS) {
        /* Nothing is in flight: the pump does not look at it. */
        c->s->sink.base = c->dst;
        c->s->sink.used = 0;
    }
    memset(&c->s->report, 0, sizeof(c->s->report));
    return 0;
}

static int call(struct call *c, int way, struct sl_pages_report *r)
{
    uint64_t begun = clock_ns();
    pthread_mutex_lock(&c->p->calls[way]);
    int rc = start(c, way);
    if (rc == 0) {
        rc = run(c);
        if (r) {
            sl_pages_stream_report(c->s, r);
            r->bytes_in = way == SL_PAGES_COMPRESS ? c->bytes : c->src_bytes;
            r->wall_ns = clock_ns() - begun;
        }
        /* What the device may still write to is not used again. */
        if (rc == SL_ETIMEDOUT) {
            sl_pages_stream_close(c->s);
            c->p->sync[way] = NULL;
        }
    }
    pthread_mutex_unlock(&c->p->calls[way]);
    return rc;
}

int sl_pages_compress(struct sl_pages *p, const void *src, uint64_t bytes,
                      void *dst, uint64_t cap, struct sl_page_entry *entries,
                      uint64_t n, struct sl_pages_report *r)
{
    struct call c = {
        .p = p, .src = src, .dst = dst, .entries = entries, .bytes = bytes};
    int rc = p ? check(&c, n, bytes) : SL_EINVAL;
    if (rc == 0 && cap < bytes)
        rc = SL_EINVAL;
    return rc ? rc : call(&c, SL_PAGES_COMPRESS, r);
}

int sl_pages_decompress(struct sl_pages *p, const void *src, uint64_t src_bytes,
                        struct sl_page_entry *entries, uint64_t n, void *dst,
                        uint64_t bytes, struct sl_pages_report *r)
{
    struct call c = {.p = p,
                     .src = src,
                     .src_bytes = src_bytes,
                     .dst = dst,
                     .entries = entries,
                     .bytes = bytes};
    int rc = p ? check(&c, n, src_bytes) : SL_EINVAL;
    return rc ? rc : call(&c, SL_PAGES_DECOMPRESS, r);
}
