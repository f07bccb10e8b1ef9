/* SPDX-License-Identifier: Apache-2.0 */
/* Reads frames. Independent blocks of 64 KiB are pages of a stream. Larger ones
 * are read by the CPU, some at once; linked ones one after the other. */
#include "base/clock.h"
#include "base/log.h"
#include "pages/frame.h"
#include "pages/impl.h"

#include <lz4.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Blocks above 64 KiB in memory at a time, compressed and not: 4 MiB each, 8
 * MiB in legacy frames. */
#define GROUP_MAX 8u

/* ---- pages ---- */

/* One block whose size is only known when it is decoded. */
static int decode(const uint8_t *src, const struct frame_block *b, uint8_t *dst,
                  uint32_t room, const uint8_t *dict, uint32_t dict_bytes)
{
    if (b->raw && b->bytes > room)
        return SL_EBLOCK;
    if (b->raw) {
        memcpy(dst, src, b->bytes);
        return (int)b->bytes;
    }
    int got = LZ4_decompress_safe_usingDict(
        (const char *)src, (char *)dst, (int)b->bytes, (int)room,
        (const char *)dict, (int)dict_bytes);
    return got < 0 || cpu_has_offset_0(src, b->bytes) ? SL_EBLOCK : got;
}

static int damaged(struct frame_reader *r)
{
    log_error("a block near byte %llu of the content is damaged",
              (unsigned long long)r->produced);
    return SL_EBLOCK;
}

/* Writes a batch out. A block that is no whole page fails as one, and is tried
 * again here: the last one of a frame is shorter, and any may be. */
static int write_batch(struct frame_reader *r, struct sl_pages_batch *b)
{
    uint8_t *dst = b->dst;
    const uint8_t *src = b->src;
    uint64_t n = b->bytes / SL_PAGE_MAX, from = 0;
    for (uint64_t i = 0; i < n; i++) {
        const struct sl_page_entry *e = &b->entries[i];
        struct frame_block block = {e->stored, e->kind == SL_PAGE_RAW};
        if (e->code == 0)
            continue;
        uint64_t at = i * SL_PAGE_MAX;
        int got =
            decode(src + e->at_or_fill, &block, dst + at, SL_PAGE_MAX, NULL, 0);
        if (got < 0)
            return damaged(r);
        r->stats->short_blocks++;
        int rc = frame_content(r, dst + from, at - from + (uint64_t)got);
        if (rc)
            return rc;
        from = at + SL_PAGE_MAX;
    }
    uint64_t end = n * SL_PAGE_MAX;
    return from < end ? frame_content(r, dst + from, end - from) : 0;
}

/* SL_ENOENT when none is in flight. */
static int receive(struct frame_reader *r, struct sl_pages_stream *s, int wait)
{
    struct sl_pages_batch *b;
    int rc = sl_pages_next(s, wait, &b);
    if (rc)
        return rc;
    rc = b->code && b->code != SL_EBLOCK ? b->code : write_batch(r, b);
    sl_pages_release(s, b);
    return rc;
}

/* Fills a batch with blocks up to the end mark. */
static int read_batch(struct frame_reader *r, struct sl_pages_batch *b,
                      int *at_end)
{
    uint8_t *to = (uint8_t *)(uintptr_t)b->src; /* the slot's own */
    uint64_t most = b->dst_room / SL_PAGE_MAX, n = 0, used = 0;
    while (n < most && !*at_end) {
        struct frame_block block;
        int rc = frame_block(r, to + used, &block);
        if (rc)
            return rc;
        *at_end = block.bytes == 0;
        if (*at_end)
            break;
        struct sl_page_entry e = {.stored = block.bytes,
                                  .kind = block.raw ? SL_PAGE_RAW : SL_PAGE_LZ4,
                                  .at_or_fill = used};
        b->entries[n++] = e;
        used += block.bytes;
        r->stats->blocks++;
    }
    b->bytes = n * SL_PAGE_MAX;
    b->src_bytes = used;
    return 0;
}

/* Reads and starts a batch; SL_EAGAIN when no slot is free. */
static int send(struct frame_reader *r, struct sl_pages_stream *s, int *at_end)
{
    struct sl_pages_batch *b;
    int rc = sl_pages_take(s, 0, &b);
    if (rc)
        return rc;
    rc = read_batch(r, b, at_end);
    if (rc == 0 && b->bytes)
        rc = sl_pages_submit(s, b);
    if (rc || !b->bytes)
        sl_pages_release(s, b);
    return rc;
}

/* With an error batches may stay in flight: closing the stream drops them. */
static int read_pages(struct frame_reader *r, struct sl_pages_stream *s)
{
    int at_end = 0, rc = 0;
    while (rc == 0) {
        int sent = at_end ? SL_EAGAIN : send(r, s, &at_end);
        rc =
            sent && sent != SL_EAGAIN ? sent : receive(r, s, sent == SL_EAGAIN);
        if (rc == SL_EAGAIN || (rc == SL_ENOENT && !at_end))
            rc = 0;
    }
    return rc == SL_ENOENT ? 0 : rc;
}

/* ---- larger and linked blocks ---- */

struct group {
    struct frame_reader *r;
    uint32_t n, most;
    uint32_t room;   /* of a decoded block */
    uint32_t bound;  /* of a stored one */
    uint32_t window; /* linked: bytes of history in front of dst */
    struct {
        uint8_t *src, *dst;
        struct frame_block block;
        int got;
    } at[GROUP_MAX];
};

static void group_free(struct group *g)
{
    for (uint32_t i = 0; i < g->most; i++) {
        free(g->at[i].src);
        free(g->at[i].dst);
    }
}

static int group_alloc(struct group *g, struct frame_reader *r,
                       uint32_t threads)
{
    memset(g, 0, sizeof(*g));
    g->r = r;
    g->room = r->info.block_max;
    g->bound = r->info.legacy ? (uint32_t)LZ4_COMPRESSBOUND(FRAME_LEGACY_BLOCK)
                              : r->info.block_max;
    g->most = threads < GROUP_MAX ? threads : GROUP_MAX;
    if (r->info.linked)
        g->most = 1;
    for (uint32_t i = 0; i < g->most; i++) {
        g->at[i].src = malloc(g->bound);
        g->at[i].dst = malloc(FRAME_WINDOW + g->room);
        if (!g->at[i].src || !g->at[i].dst) {
            group_free(g);
            return SL_ENOMEM;
        }
    }
    return 0;
}

static void decode_one(void *arg, uint64_t item)
{
    struct group *g = arg;
    uint8_t *dst = g->at[item].dst + FRAME_WINDOW;
    g->at[item].got = decode(g->at[item].src, &g->at[item].block, dst, g->room,
                             dst - g->window, g->window);
}

/* The last 64 KiB of the content so far move in front of the next block. */
static void keep_window(struct group *g)
{
    uint8_t *dst = g->at[0].dst;
    uint32_t all = g->window + (uint32_t)g->at[0].got;
    uint32_t keep = all < FRAME_WINDOW ? all : FRAME_WINDOW;
    const uint8_t *end = dst + FRAME_WINDOW + g->at[0].got;
    memmove(dst + FRAME_WINDOW - keep, end - keep, keep);
    g->window = keep;
}

static int group_read(struct group *g, int *at_end)
{
    for (g->n = 0; g->n < g->most; g->n++) {
        int rc = frame_block(g->r, g->at[g->n].src, &g->at[g->n].block);
        if (rc)
            return rc;
        *at_end = g->at[g->n].block.bytes == 0;
        if (*at_end)
            return 0;
        g->r->stats->blocks++;
        g->r->stats->cpu_blocks++;
    }
    return 0;
}

static int group_write(struct group *g)
{
    for (uint32_t i = 0; i < g->n; i++) {
        if (g->at[i].got < 0)
            return damaged(g->r);
        int rc = frame_content(g->r, g->at[i].dst + FRAME_WINDOW,
                               (size_t)g->at[i].got);
        if (rc)
            return rc;
        if (g->r->info.linked)
            keep_window(g);
    }
    return 0;
}

static int read_groups(struct frame_reader *r, struct pool *pool)
{
    struct group g;
    int at_end = 0;
    int rc = group_alloc(&g, r, pool_threads(pool));
    if (rc)
        return rc;
    while (rc == 0 && !at_end) {
        rc = group_read(&g, &at_end);
        if (rc)
            break;
        uint64_t begun = clock_ns();
        pool_run(pool, g.n, decode_one, &g);
        r->stats->pages.cpu_ns += clock_ns() - begun;
        rc = group_write(&g);
    }
    group_free(&g);
    return rc;
}

/* ---- all frames ---- */

static int read_frames(struct frame_reader *r, struct sl_pages *p,
                       struct sl_pages_stream *s)
{
    int rc;
    while ((rc = frame_next(r)) == 0) {
        if (r->info.linked || r->info.block_max > SL_PAGE_MAX)
            rc = read_groups(r, p->pool);
        else
            rc = read_pages(r, s);
        if (rc == 0)
            rc = frame_end(r);
        if (rc)
            return rc;
    }
    if (rc != SL_ENOENT)
        return rc;
    if (r->stats->frames)
        return 0;
    log_error("there is no LZ4 frame in the input");
    return SL_EFRAME;
}

static void add_report(struct frame_stats *out, struct sl_pages_stream *s,
                       uint64_t begun)
{
    uint64_t cpu_ns = out->pages.cpu_ns;
    sl_pages_stream_report(s, &out->pages);
    out->pages.cpu_ns += cpu_ns;
    /* The path is that of the batches; a short end of a frame is usual. */
    if (out->cpu_blocks || out->short_blocks > out->frames)
        out->pages.path |= SL_PAGES_CPU;
    if (out->pages.path == SL_PAGES_MIXED && !out->pages.why[0])
        snprintf(out->pages.why, sizeof(out->pages.why),
                 "%llu blocks are linked, above 64 KiB or short",
                 (unsigned long long)(out->cpu_blocks + out->short_blocks));
    out->pages.wall_ns = clock_ns() - begun;
}

int frame_unpack(struct sl_pages *p, const struct frame_io *io,
                 struct frame_stats *out)
{
    struct sl_pages_stream *s = NULL;
    struct frame_reader r;
    uint64_t begun = clock_ns();
    memset(out, 0, sizeof(*out));
    if (p->o.page_bytes != SL_PAGE_MAX)
        return SL_EPAGESIZE;
    int rc = frame_reader_open(&r, io, out);
    if (rc)
        return rc;
    rc = sl_pages_stream_open(p, SL_PAGES_DECOMPRESS, &s);
    if (rc == 0) {
        rc = read_frames(&r, p, s);
        add_report(out, s, begun);
        sl_pages_stream_close(s);
    }
    frame_reader_close(&r);
    return rc;
}
