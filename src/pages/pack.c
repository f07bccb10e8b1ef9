/* SPDX-License-Identifier: Apache-2.0 */
/* Writes one frame from batches of pages. */
#include "base/clock.h"
#include "pages/cpu.h"
#include "pages/frame.h"
#include "pages/impl.h"

#include <stdlib.h>
#include <string.h>

/* Blocks are gathered, so that a write is worth its call. */
#define OUT_BYTES (1u << 20)
/* A page of one value as a block: 8 literals, a match of all but the last 5
 * bytes, which are literals (lz4_Block_format.md, end of block). Shorter pages
 * are stored raw. */
#define FILL_LEAST 32u
#define FILL_BOUND (SL_PAGE_MAX / 255 + 32)

struct pack {
    struct sl_pages *p;
    struct sl_pages_stream *s;
    const struct frame_io *io;
    struct frame_stats *stats;
    XXH32_state_t *sum;
    uint8_t *out;
    size_t used;
    int block_sum;
    int at_end; /* of the input */
};

/* ---- output ---- */

static int flush(struct pack *k)
{
    uint64_t begun = clock_ns();
    int rc = k->used ? k->io->write(k->io->ctx, k->out, k->used) : 0;
    k->stats->write_ns += clock_ns() - begun;
    k->stats->bytes_out += k->used;
    k->used = 0;
    return rc;
}

/* `n` is at most a block. */
static int emit(struct pack *k, const void *data, size_t n)
{
    int rc = k->used + n > OUT_BYTES ? flush(k) : 0;
    if (rc)
        return rc;
    memcpy(k->out + k->used, data, n);
    k->used += n;
    return 0;
}

static int emit32(struct pack *k, uint32_t v)
{
    uint8_t b[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16),
                    (uint8_t)(v >> 24)};
    return emit(k, b, sizeof(b));
}

static int emit_block(struct pack *k, const void *data, uint32_t n, int raw)
{
    int rc = emit32(k, raw ? n | FRAME_RAW : n);
    if (rc == 0)
        rc = emit(k, data, n);
    k->stats->blocks++;
    if (rc || !k->block_sum)
        return rc;
    uint64_t begun = clock_ns();
    uint32_t sum = XXH32(data, n, 0);
    k->stats->sum_ns += clock_ns() - begun;
    return emit32(k, sum);
}

/* ---- pages ---- */

/* The block of a page of `len` >= FILL_LEAST bytes; its size. */
static uint32_t fill_block(uint8_t *out, uint64_t fill, uint32_t len)
{
    uint32_t n = 0, left = len - 8 - 5 - 4 - 15; /* beyond the token's 15 + 4 */
    uint8_t tail[16];
    out[n++] = 8 << 4 | 15;
    memcpy(out + n, &fill, 8);
    n += 8;
    out[n++] = 8; /* the offset */
    out[n++] = 0;
    for (; left >= 255; left -= 255)
        out[n++] = 255;
    out[n++] = (uint8_t)left;
    out[n++] = 5 << 4;
    cpu_fill(tail, sizeof(tail), fill);
    memcpy(out + n, tail + (len - 5) % 8, 5);
    return n + 5;
}

static int emit_fill(struct pack *k, uint64_t fill, uint32_t len)
{
    uint8_t block[FILL_BOUND];
    if (len < FILL_LEAST) {
        cpu_fill(block, len, fill);
        return emit_block(k, block, len, 1);
    }
    return emit_block(k, block, fill_block(block, fill, len), 0);
}

static int emit_page(struct pack *k, const struct sl_pages_batch *b,
                     const struct sl_page_entry *e, uint32_t len)
{
    const uint8_t *blocks = b->dst;
    if (e->kind == SL_PAGE_ZERO)
        return emit_fill(k, 0, len);
    if (e->kind == SL_PAGE_FILL)
        return emit_fill(k, e->at_or_fill, len);
    return emit_block(k, blocks + e->at_or_fill, e->stored,
                      e->kind == SL_PAGE_RAW);
}

/* Writes the oldest batch; SL_ENOENT when there is none, SL_EAGAIN when it is
 * not to be waited for. */
static int receive(struct pack *k, int wait)
{
    struct sl_pages_batch *b;
    uint32_t page = k->p->o.page_bytes;
    int rc = sl_pages_next(k->s, wait, &b);
    if (rc)
        return rc;
    rc = b->code;
    uint64_t n = sl_pages_count(b->bytes, page);
    for (uint64_t i = 0; i < n && rc == 0; i++) {
        uint64_t left = b->bytes - i * page;
        rc = emit_page(k, b, &b->entries[i],
                       left < page ? (uint32_t)left : page);
    }
    sl_pages_release(k->s, b);
    return rc;
}

/* Reads and starts a batch; SL_EAGAIN when no slot is free. */
static int send(struct pack *k)
{
    struct sl_pages_batch *b;
    int rc = sl_pages_take(k->s, 0, &b);
    if (rc)
        return rc;
    /* The slot's own buffer: nobody reads it before the submit. */
    uint8_t *to = (uint8_t *)(uintptr_t)b->src;
    size_t room = (size_t)b->src_room, n = 0;
    uint64_t begun = clock_ns();
    rc = k->io->read(k->io->ctx, to, room, &n);
    k->stats->read_ns += clock_ns() - begun;
    k->at_end = n < room;
    if (rc || n == 0) {
        sl_pages_release(k->s, b);
        return rc;
    }
    begun = clock_ns();
    XXH32_update(k->sum, to, n);
    k->stats->sum_ns += clock_ns() - begun;
    k->stats->bytes_in += n;
    b->bytes = n;
    rc = sl_pages_submit(k->s, b);
    if (rc)
        sl_pages_release(k->s, b);
    return rc;
}

static int run(struct pack *k)
{
    int rc = 0;
    while (rc == 0) {
        int sent = k->at_end ? SL_EAGAIN : send(k);
        /* What is complete is written in between, and one waits for the oldest
         * only when no slot is free. */
        rc = sent && sent != SL_EAGAIN ? sent : receive(k, sent == SL_EAGAIN);
        if (rc == SL_EAGAIN)
            rc = 0;
        else if (rc == SL_ENOENT)
            rc = k->at_end ? SL_ENOENT : 0;
    }
    return rc == SL_ENOENT ? 0 : rc;
}

static int pack_all(struct pack *k)
{
    struct frame_info f = {.block_max = k->p->o.page_bytes,
                           .block_sum = k->block_sum,
                           .content_sum = 1};
    uint8_t header[FRAME_HEADER_MAX];
    int rc = emit(k, header, frame_put_header(header, &f));
    if (rc == 0)
        rc = run(k);
    if (rc == 0)
        rc = emit32(k, 0);
    if (rc == 0)
        rc = emit32(k, XXH32_digest(k->sum));
    return rc ? rc : flush(k);
}

int frame_pack(struct sl_pages *p, const struct frame_io *io, int block_sum,
               struct frame_stats *out)
{
    struct pack k = {.p = p, .io = io, .stats = out, .block_sum = block_sum};
    uint64_t begun = clock_ns();
    int rc = SL_ENOMEM;
    memset(out, 0, sizeof(*out));
    k.out = malloc(OUT_BYTES);
    k.sum = XXH32_createState();
    if (k.out && k.sum)
        rc = sl_pages_stream_open(p, SL_PAGES_COMPRESS, &k.s);
    if (rc == 0) {
        XXH32_reset(k.sum, 0);
        rc = pack_all(&k);
        sl_pages_stream_report(k.s, &out->pages);
        sl_pages_stream_close(k.s);
    }
    XXH32_freeState(k.sum);
    free(k.out);
    out->frames = 1;
    out->pages.wall_ns = clock_ns() - begun;
    return rc;
}
