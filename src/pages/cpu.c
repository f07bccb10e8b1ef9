/* SPDX-License-Identifier: Apache-2.0 */
#include "pages/cpu.h"

#include <lz4.h>
#include <string.h>

/* Bytes of pages that one thread takes at a time: long against the lock of the
 * pool, short against a batch. */
#define PIECE_BYTES (128u << 10)
#define PIECES_MAX 4096u
/* liblz4's acceleration of the fast mode. */
#define FAST_ACCELERATION 4

enum sl_page_kind cpu_kind(const uint8_t *page, uint32_t len, uint64_t *fill)
{
    uint64_t first = 0;
    if (len < sizeof(first)) {
        memcpy(&first, page, len);
        return first ? SL_PAGE_LZ4 : SL_PAGE_ZERO;
    }
    memcpy(&first, page, sizeof(first));
    /* Equal to itself 8 bytes on: periodic. */
    if (memcmp(page, page + sizeof(first), len - sizeof(first)) != 0)
        return SL_PAGE_LZ4;
    *fill = first;
    return first ? SL_PAGE_FILL : SL_PAGE_ZERO;
}

void cpu_fill(uint8_t *dst, uint32_t len, uint64_t fill)
{
    uint32_t at = 0;
    for (; at + sizeof(fill) <= len; at += (uint32_t)sizeof(fill))
        memcpy(dst + at, &fill, sizeof(fill));
    memcpy(dst + at, &fill, len - at);
}

/* ---- compress ---- */

struct compress {
    const struct cpu_batch *b;
    uint8_t *scratch;
    uint64_t *piece;
    uint64_t per; /* pages of a piece */
    uint8_t *dst;
};

uint64_t cpu_pieces(uint64_t n)
{
    return n < PIECES_MAX ? n : PIECES_MAX;
}

static uint64_t pages_of_a_piece(const struct pool *p,
                                 const struct cpu_batch *b)
{
    uint64_t most = PIECE_BYTES / b->page_bytes;
    uint64_t per = b->n / (pool_threads(p) * UINT64_C(2));
    uint64_t least = (b->n + PIECES_MAX - 1) / PIECES_MAX;
    per = per < most ? per : most;
    return per > least ? per : least;
}

/* At most `len` bytes to `dst`. */
static void compress_page(const uint8_t *page, uint32_t len, uint32_t mode,
                          uint8_t *dst, struct sl_page_entry *e)
{
    int got = 0;
    memset(e, 0, sizeof(*e));
    e->kind = (uint8_t)cpu_kind(page, len, &e->at_or_fill);
    if (e->kind != SL_PAGE_LZ4)
        return;
    if (len > 1)
        got = LZ4_compress_fast((const char *)page, (char *)dst, (int)len,
                                (int)len - 1,
                                mode == SL_PAGES_FAST ? FAST_ACCELERATION : 1);
    if (got > 0) {
        e->stored = (uint32_t)got;
        return;
    }
    e->kind = SL_PAGE_RAW;
    e->stored = len;
    memcpy(dst, page, len);
}

static void compress_piece(void *arg, uint64_t item)
{
    const struct compress *c = arg;
    const struct cpu_batch *b = c->b;
    uint64_t first = item * c->per, used = 0;
    uint8_t *dst = c->scratch + first * b->page_bytes;
    for (uint64_t i = first; i < b->n && i < first + c->per; i++) {
        struct sl_page_entry *e = &b->entries[i];
        compress_page(b->src + i * b->page_bytes, cpu_page_len(b, i), b->mode,
                      dst + used, e);
        if (e->kind == SL_PAGE_LZ4 || e->kind == SL_PAGE_RAW)
            e->at_or_fill = used;
        used += e->stored;
    }
    c->piece[item] = used;
}

uint64_t cpu_compress(struct pool *p, const struct cpu_batch *b,
                      uint8_t *scratch, uint64_t *piece)
{
    struct compress c = {b, scratch, piece, pages_of_a_piece(p, b), NULL};
    uint64_t pieces = (b->n + c.per - 1) / c.per, sum = 0;
    pool_run(p, pieces, compress_piece, &c);
    /* From the bytes of each piece to where it begins. */
    for (uint64_t i = 0; i < pieces; i++) {
        uint64_t bytes = piece[i];
        piece[i] = sum;
        sum += bytes;
    }
    return sum;
}

static void place_piece(void *arg, uint64_t item)
{
    const struct compress *c = arg;
    const struct cpu_batch *b = c->b;
    uint64_t first = item * c->per, used = 0;
    for (uint64_t i = first; i < b->n && i < first + c->per; i++) {
        struct sl_page_entry *e = &b->entries[i];
        if (e->kind == SL_PAGE_LZ4 || e->kind == SL_PAGE_RAW)
            e->at_or_fill += c->piece[item];
        used += e->stored;
    }
    memcpy(c->dst + c->piece[item], c->scratch + first * b->page_bytes, used);
}

void cpu_place(struct pool *p, const struct cpu_batch *b, uint8_t *scratch,
               uint64_t *piece, uint8_t *dst)
{
    struct compress c = {b, scratch, piece, pages_of_a_piece(p, b), dst};
    pool_run(p, (b->n + c.per - 1) / c.per, place_piece, &c);
}

/* ---- decompress ---- */

struct decompress {
    const struct cpu_batch *b;
    uint8_t *dst;
    uint64_t per;
    int code;
};

int cpu_entry_valid(const struct sl_page_entry *e, uint32_t len,
                    uint64_t src_bytes)
{
    if (e->kind == SL_PAGE_ZERO || e->kind == SL_PAGE_FILL)
        return e->stored == 0;
    if (e->kind != SL_PAGE_LZ4 && e->kind != SL_PAGE_RAW)
        return 0;
    if (e->kind == SL_PAGE_RAW && e->stored != len)
        return 0;
    return e->stored > 0 && e->stored <= cpu_bound(len) &&
           e->stored <= src_bytes && e->at_or_fill <= src_bytes - e->stored;
}

/* A length of 15 goes on in bytes up to the first that is not 255. Returns
 * where it ends. */
static uint32_t long_length(const uint8_t *block, uint32_t n, uint32_t at,
                            uint32_t *length)
{
    uint8_t more = 255;
    while (*length >= 15 && more == 255 && at < n) {
        more = block[at++];
        *length += more;
    }
    return at;
}

int cpu_has_offset_0(const uint8_t *block, uint32_t n)
{
    uint32_t at = 0;
    while (at < n) {
        uint32_t literals = block[at] >> 4, match = block[at] & 15u;
        at = long_length(block, n, at + 1, &literals);
        /* The last sequence has no match. */
        if (literals >= n - at || n - at - literals < 2)
            return 0;
        at += literals;
        if ((block[at] | block[at + 1]) == 0)
            return 1;
        at = long_length(block, n, at + 2, &match);
    }
    return 0;
}

static int decompress_page(const uint8_t *src, uint64_t src_bytes,
                           const struct sl_page_entry *e, uint8_t *dst,
                           uint32_t len)
{
    if (!cpu_entry_valid(e, len, src_bytes))
        return SL_EBLOCK;
    switch (e->kind) {
    case SL_PAGE_ZERO:
        memset(dst, 0, len);
        return 0;
    case SL_PAGE_FILL:
        cpu_fill(dst, len, e->at_or_fill);
        return 0;
    case SL_PAGE_RAW:
        memcpy(dst, src + e->at_or_fill, len);
        return 0;
    default:
        break;
    }
    const uint8_t *block = src + e->at_or_fill;
    int got = LZ4_decompress_safe((const char *)block, (char *)dst,
                                  (int)e->stored, (int)len);
    if (got != (int)len || cpu_has_offset_0(block, e->stored))
        return SL_EBLOCK;
    return 0;
}

static void decompress_piece(void *arg, uint64_t item)
{
    struct decompress *d = arg;
    const struct cpu_batch *b = d->b;
    uint64_t first = item * d->per;
    for (uint64_t i = first; i < b->n && i < first + d->per; i++) {
        struct sl_page_entry *e = &b->entries[i];
        uint32_t len = cpu_page_len(b, i);
        uint8_t *page = d->dst + i * b->page_bytes;
        e->code = (int16_t)decompress_page(b->src, b->src_bytes, e, page, len);
        if (e->code == 0)
            continue;
        memset(page, 0, len);
        /* Relaxed: read after the loop's end, which orders it. */
        __atomic_store_n(&d->code, SL_EBLOCK, __ATOMIC_RELAXED);
    }
}

int cpu_decompress(struct pool *p, const struct cpu_batch *b, uint8_t *dst)
{
    struct decompress d = {b, dst, pages_of_a_piece(p, b), 0};
    pool_run(p, (b->n + d.per - 1) / d.per, decompress_piece, &d);
    return d.code;
}
