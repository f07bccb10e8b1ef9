/* SPDX-License-Identifier: Apache-2.0 */
/* One batch on a device: its memory there, the copies, the kernels. Blocks go
 * back by the copy engine and not by stores of the kernel: it is as fast, and
 * leaves the multiprocessors to the next batch; the price, that the host must
 * know the size first, hides behind the batches in flight. */
#include "base/clock.h"
#include "pages/impl.h"

#include <string.h>

/* Kernels read whole words behind the last byte. */
#define SLACK 64u

static const struct gpu_ops *ops_of(const struct sl_pages_stream *s)
{
    return s->p->gpu->ops;
}

static sl_devptr pinned_at(const struct sl_pages_stream *s, const void *p)
{
    return s->mem_at + (sl_devptr)((uintptr_t)p - (uintptr_t)s->mem);
}

static uint64_t entries_bytes(uint64_t n)
{
    return n * sizeof(struct sl_page_entry);
}

/* ---- open, close ---- */

static int slot_alloc(struct sl_pages_stream *s, struct slot *t)
{
    const struct gpu_ops *ops = ops_of(s);
    struct gpu *g = s->p->gpu;
    uint64_t scratch = pages_run_scratch(s->p, s->way, s->p->o.slot_bytes);
    int rc = ops->alloc(g, s->src_room + SLACK, &t->dev.in);
    if (rc == 0)
        rc = ops->alloc(g, s->dst_room + SLACK, &t->dev.out);
    if (rc == 0)
        rc = ops->alloc(g, entries_bytes(s->n_pages), &t->dev.entries);
    if (rc == 0 && scratch)
        rc = ops->alloc(g, scratch, &t->dev.scratch);
    for (int i = 0; i < SLOT_EVENTS && rc == 0; i++)
        rc = ops->event_open(g, &t->dev.event[i]);
    return rc;
}

static void slot_free(struct sl_pages_stream *s, struct slot *t)
{
    const struct gpu_ops *ops = ops_of(s);
    struct gpu *g = s->p->gpu;
    for (int i = 0; i < SLOT_EVENTS; i++)
        if (t->dev.event[i])
            ops->event_close(t->dev.event[i]);
    ops->release(g, t->dev.scratch);
    ops->release(g, t->dev.entries);
    ops->release(g, t->dev.out);
    ops->release(g, t->dev.in);
    memset(&t->dev, 0, sizeof(t->dev));
}

void device_close(struct sl_pages_stream *s)
{
    if (!s->has_device)
        return;
    if (s->in)
        ops_of(s)->stream_close(s->in);
    for (uint32_t i = 0; i < RUN_STREAMS; i++) {
        if (s->run[i])
            ops_of(s)->stream_close(s->run[i]);
        s->run[i] = NULL;
    }
    if (s->out)
        ops_of(s)->stream_close(s->out);
    for (uint32_t i = 0; i < s->n_slots; i++)
        slot_free(s, &s->slot[i]);
    if (s->mem_at)
        ops_of(s)->unpin(s->p->gpu, s->mem);
    s->in = s->out = NULL;
    s->mem_at = 0;
    s->has_device = 0;
}

int device_open(struct sl_pages_stream *s)
{
    const struct gpu_ops *ops = ops_of(s);
    struct gpu *g = s->p->gpu;
    s->has_device = 1;
    int rc = ops->pin(g, s->mem, s->mem_bytes, &s->mem_at);
    if (rc == 0)
        rc = ops->stream_open(g, &s->in);
    for (uint32_t i = 0; i < RUN_STREAMS && rc == 0; i++)
        rc = ops->stream_open(g, &s->run[i]);
    if (rc == 0)
        rc = ops->stream_open(g, &s->out);
    for (uint32_t i = 0; i < s->n_slots && rc == 0; i++)
        rc = slot_alloc(s, &s->slot[i]);
    if (rc)
        device_close(s);
    return rc;
}

/* ---- copy in ---- */

static int has_block(const struct sl_page_entry *e)
{
    return e->kind == SL_PAGE_LZ4 || e->kind == SL_PAGE_RAW;
}

/* Entries that contradict themselves become zero pages on the device;
 * take_codes finds them again. The others' blocks lie in [*from, *to). */
static void check_entries(struct sl_pages_stream *s, struct slot *t,
                          uint64_t *from, uint64_t *to)
{
    struct cpu_batch b = slot_batch(s, t);
    *from = t->b.src_bytes;
    *to = 0;
    for (uint64_t i = 0; i < t->n; i++) {
        struct sl_page_entry e = t->b.entries[i];
        e.code = 0;
        e.reserved = 0;
        if (!cpu_entry_valid(&e, cpu_page_len(&b, i), t->b.src_bytes)) {
            memset(&e, 0, sizeof(e));
            e.kind = SL_PAGE_ZERO;
        }
        t->sent[i] = e;
        if (!has_block(&e))
            continue;
        *from = e.at_or_fill < *from ? e.at_or_fill : *from;
        *to = e.at_or_fill + e.stored > *to ? e.at_or_fill + e.stored : *to;
    }
}

/* Blocks that lie scattered are packed; each is at most cpu_bound long, so
 * they fit into the slot's own buffer. */
static uint64_t pack_blocks(struct slot *t)
{
    const uint8_t *src = t->b.src;
    uint64_t used = 0;
    for (uint64_t i = 0; i < t->n; i++) {
        struct sl_page_entry *e = &t->sent[i];
        if (!has_block(e))
            continue;
        memcpy(t->own_src + used, src + e->at_or_fill, e->stored);
        e->at_or_fill = used;
        used += e->stored;
    }
    return used;
}

static void stage_blocks(struct sl_pages_stream *s, struct slot *t)
{
    uint64_t from, to;
    check_entries(s, t, &from, &to);
    t->dev.src_at = pinned_at(s, t->own_src);
    t->dev.src_bytes = 0;
    if (from >= to)
        return;
    if (to - from > s->src_room) {
        t->dev.src_bytes = pack_blocks(t);
        return;
    }
    const uint8_t *src = (const uint8_t *)t->b.src + from;
    sl_devptr at = pages_pinned(s->p, src, to - from);
    t->dev.src_bytes = to - from;
    for (uint64_t i = 0; i < t->n; i++)
        if (has_block(&t->sent[i]))
            t->sent[i].at_or_fill -= from;
    if (t->b.src == t->own_src)
        t->dev.src_at += from;
    else if (at)
        t->dev.src_at = at;
    else
        pool_copy(s->p->pool, t->own_src, src, to - from);
}

void device_stage_in(struct sl_pages_stream *s, struct slot *t)
{
    uint64_t begun = clock_ns();
    if (s->way == SL_PAGES_DECOMPRESS) {
        stage_blocks(s, t);
    } else {
        sl_devptr at = pages_pinned(s->p, t->b.src, t->b.bytes);
        t->dev.src_bytes = t->b.bytes;
        t->dev.src_at = at ? at : pinned_at(s, t->own_src);
        if (t->b.src != t->own_src && !at)
            pool_copy(s->p->pool, t->own_src, t->b.src, t->b.bytes);
    }
    t->part.stage_ns = clock_ns() - begun;
}

/* ---- run ---- */

static struct gpu_stream *run_of(const struct sl_pages_stream *s,
                                 const struct slot *t)
{
    return s->run[(size_t)(t - s->slot) % RUN_STREAMS];
}

static int queue_kernels(struct sl_pages_stream *s, const struct slot *t)
{
    struct pages_run r = {.stream = run_of(s, t),
                          .src = t->dev.in,
                          .dst = t->dev.out,
                          .entries = t->dev.entries,
                          .scratch = t->dev.scratch,
                          .total = pinned_at(s, t->total),
                          .src_bytes = t->dev.src_bytes,
                          .bytes = t->b.bytes};
    return pages_run(s->p, s->way, &r);
}

static int queue_in(struct sl_pages_stream *s, struct slot *t)
{
    const struct gpu_ops *ops = ops_of(s);
    int rc = ops->event_record(t->dev.event[EVENT_IN], s->in);
    if (rc == 0)
        rc = ops->copy_async(s->in, t->dev.in, t->dev.src_at, t->dev.src_bytes);
    if (rc == 0 && s->way == SL_PAGES_DECOMPRESS)
        rc = ops->copy_async(s->in, t->dev.entries, pinned_at(s, t->sent),
                             entries_bytes(t->n));
    if (rc == 0)
        rc = ops->event_record(t->dev.event[EVENT_IN_END], s->in);
    return rc;
}

int device_begin(struct sl_pages_stream *s, struct slot *t)
{
    const struct gpu_ops *ops = ops_of(s);
    struct gpu_stream *run = run_of(s, t);
    *t->total = 0;
    int rc = queue_in(s, t);
    if (rc == 0)
        rc = ops->event_follow(run, t->dev.event[EVENT_IN_END]);
    if (rc == 0)
        rc = ops->event_record(t->dev.event[EVENT_RUN], run);
    if (rc == 0)
        rc = queue_kernels(s, t);
    if (rc == 0)
        rc = ops->event_record(t->dev.event[EVENT_RUN_END], run);
    return rc;
}

int device_sized(struct sl_pages_stream *s, struct slot *t)
{
    int rc = ops_of(s)->event_test(t->dev.event[EVENT_RUN_END]);
    if (rc)
        return rc;
    t->dst_bytes = s->way == SL_PAGES_COMPRESS ? *t->total : t->b.bytes;
    return t->dst_bytes <= t->b.bytes ? 0 : SL_EDEVICE;
}

/* ---- copy out ---- */

int device_out(struct sl_pages_stream *s, struct slot *t)
{
    const struct gpu_ops *ops = ops_of(s);
    sl_devptr to = pages_pinned(s->p, t->b.dst, t->dst_bytes);
    t->out_staged = !to && t->b.dst != t->own_dst;
    if (!to)
        to = pinned_at(s, t->own_dst);
    int rc = ops->event_record(t->dev.event[EVENT_OUT], s->out);
    if (rc == 0)
        rc = ops->copy_async(s->out, to, t->dev.out, t->dst_bytes);
    /* What was sent stands where no page has a code. */
    if (rc == 0 && (s->way == SL_PAGES_COMPRESS || *t->total))
        rc = ops->copy_async(s->out, pinned_at(s, t->sent), t->dev.entries,
                             entries_bytes(t->n));
    if (rc == 0)
        rc = ops->event_record(t->dev.event[EVENT_LAST], s->out);
    return rc;
}

static int stage_times(struct sl_pages_stream *s, struct slot *t)
{
    const struct gpu_ops *ops = ops_of(s);
    struct gpu_event **e = t->dev.event;
    int rc =
        ops->event_between(e[EVENT_IN], e[EVENT_IN_END], &t->part.copy_in_ns);
    if (rc == 0)
        rc = ops->event_between(e[EVENT_RUN], e[EVENT_RUN_END],
                                &t->part.kernel_ns);
    if (rc == 0)
        rc = ops->event_between(e[EVENT_OUT], e[EVENT_LAST],
                                &t->part.copy_out_ns);
    return rc;
}

/* What the device reports; the caller's entries keep what a block is and where
 * it lies, so that the CPU could still begin again. */
static void take_codes(struct sl_pages_stream *s, struct slot *t)
{
    struct cpu_batch b = slot_batch(s, t);
    uint8_t *dst = t->out_staged ? t->own_dst : t->b.dst;
    for (uint64_t i = 0; i < t->n; i++) {
        struct sl_page_entry *e = &t->b.entries[i];
        uint32_t len = cpu_page_len(&b, i);
        e->code = t->sent[i].code;
        if (!cpu_entry_valid(e, len, t->b.src_bytes))
            e->code = SL_EBLOCK;
        if (e->code)
            memset(dst + i * b.page_bytes, 0, len);
    }
}

int device_done(struct sl_pages_stream *s, struct slot *t)
{
    int rc = ops_of(s)->event_test(t->dev.event[EVENT_LAST]);
    if (rc == 0)
        rc = stage_times(s, t);
    if (rc)
        return rc;
    if (s->way == SL_PAGES_COMPRESS)
        memcpy(t->b.entries, t->sent, entries_bytes(t->n));
    else
        take_codes(s, t);
    return 0;
}

int device_drain(struct sl_pages_stream *s)
{
    struct gpu_stream *all[2u + RUN_STREAMS] = {s->in, s->out};
    int rc = 0;
    for (uint32_t i = 0; i < RUN_STREAMS; i++)
        all[2u + i] = s->run[i];
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        /* Another code is that of work which has ended. */
        int code = ops_of(s)->stream_wait(all[i], s->p->o.timeout_ns, NULL);
        if (code == SL_ETIMEDOUT)
            rc = code;
    }
    return rc;
}
