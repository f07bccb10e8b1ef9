/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a frame: headers, blocks, checksums. */
#include "pages/frame.h"

#include "base/clock.h"
#include "base/log.h"

#include <lz4.h>
#include <stdlib.h>
#include <string.h>

#define READ_AHEAD (256u << 10)
/* FLG: version 01, independent, block checksum, size, content checksum, must be
 * zero, dictionary. BD: size in bits 4 to 6. */
#define FLG_VERSION 0x40u
#define FLG_VERSION_MASK 0xc0u
#define FLG_INDEPENDENT 0x20u
#define FLG_BLOCK_SUM 0x10u
#define FLG_SIZE 0x08u
#define FLG_CONTENT_SUM 0x04u
#define FLG_RESERVED 0x02u
#define FLG_DICT 0x01u
#define BD_RESERVED 0x8fu
#define BD_SHIFT 4u
#define BD_64K 4u

static uint32_t load32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
           (uint32_t)p[3] << 24;
}

static void store32(uint8_t *p, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static uint8_t header_sum(const uint8_t *descriptor, size_t n)
{
    return (uint8_t)(XXH32(descriptor, n, 0) >> 8);
}

/* The smallest of 64 KiB, 256 KiB, 1 MiB and 4 MiB that holds a block. */
static uint32_t size_code(uint32_t block_max)
{
    uint32_t code = BD_64K;
    while (code < 7 && block_max > 1u << (8 + 2 * code))
        code++;
    return code;
}

size_t frame_put_header(uint8_t *out, const struct frame_info *f)
{
    uint32_t flags = FLG_VERSION | (f->linked ? 0 : FLG_INDEPENDENT) |
                     (f->block_sum ? FLG_BLOCK_SUM : 0) |
                     (f->has_size ? FLG_SIZE : 0) |
                     (f->content_sum ? FLG_CONTENT_SUM : 0);
    size_t n = 4;
    store32(out, FRAME_MAGIC);
    out[n++] = (uint8_t)flags;
    out[n++] = (uint8_t)(size_code(f->block_max) << BD_SHIFT);
    if (f->has_size) {
        store32(out + n, (uint32_t)f->content_size);
        store32(out + n + 4, (uint32_t)(f->content_size >> 32));
        n += 8;
    }
    out[n] = header_sum(out + 4, n - 4);
    return n + 1;
}

/* ---- input ---- */

int frame_reader_open(struct frame_reader *r, const struct frame_io *io,
                      struct frame_stats *stats)
{
    memset(r, 0, sizeof(*r));
    r->io = io;
    r->stats = stats;
    r->buf = malloc(READ_AHEAD);
    r->sum = XXH32_createState();
    if (r->buf && r->sum)
        return 0;
    frame_reader_close(r);
    return SL_ENOMEM;
}

void frame_reader_close(struct frame_reader *r)
{
    free(r->buf);
    XXH32_freeState(r->sum);
}

static int read_more(struct frame_reader *r, uint8_t *to, size_t room,
                     size_t *n)
{
    uint64_t begun = clock_ns();
    int rc = r->io->read(r->io->ctx, to, room, n);
    r->stats->read_ns += clock_ns() - begun;
    r->stats->bytes_in += rc ? 0 : *n;
    return rc;
}

/* Up to `want` bytes; fewer only at the end of the input. */
static int take(struct frame_reader *r, uint8_t *to, size_t want, size_t *got)
{
    *got = 0;
    for (;;) {
        size_t n = r->end - r->at < want - *got ? r->end - r->at : want - *got;
        memcpy(to + *got, r->buf + r->at, n);
        r->at += n;
        *got += n;
        if (*got == want)
            return 0;
        r->at = 0;
        int rc = read_more(r, r->buf, READ_AHEAD, &r->end);
        if (rc || r->end == 0)
            return rc;
    }
}

/* Exactly `want` bytes. */
static int need(struct frame_reader *r, void *to, size_t want)
{
    size_t got;
    int rc = take(r, to, want, &got);
    if (rc == 0 && got < want) {
        log_error("the input ends inside of a frame, after %llu bytes",
                  (unsigned long long)r->stats->bytes_in);
        rc = SL_ETRUNCATED;
    }
    return rc;
}

static int need32(struct frame_reader *r, uint32_t *v)
{
    uint8_t b[4];
    int rc = need(r, b, sizeof(b));
    if (rc == 0)
        *v = load32(b);
    return rc;
}

/* ---- header ---- */

static int bad(const char *what)
{
    log_error("not a valid LZ4 frame: %s", what);
    return SL_EFRAME;
}

static int parse_header(struct frame_reader *r)
{
    struct frame_info *f = &r->info;
    uint8_t d[FRAME_HEADER_MAX], sum;
    size_t n = 2;
    int rc = need(r, d, n);
    if (rc)
        return rc;
    if ((d[0] & FLG_VERSION_MASK) != FLG_VERSION)
        return bad("its version is not 1");
    if ((d[0] & FLG_RESERVED) || (d[1] & BD_RESERVED))
        return bad("a reserved bit is set");
    if (d[1] >> BD_SHIFT < BD_64K)
        return bad("the block size is reserved");
    f->linked = !(d[0] & FLG_INDEPENDENT);
    f->block_sum = (d[0] & FLG_BLOCK_SUM) != 0;
    f->content_sum = (d[0] & FLG_CONTENT_SUM) != 0;
    f->has_size = (d[0] & FLG_SIZE) != 0;
    f->block_max = 1u << (8 + 2 * (d[1] >> BD_SHIFT));
    if (f->has_size) {
        rc = need(r, d + n, 8);
        if (rc)
            return rc;
        f->content_size = load32(d + n) | (uint64_t)load32(d + n + 4) << 32;
        n += 8;
    }
    if (d[0] & FLG_DICT) {
        log_error("the frame needs a dictionary");
        return SL_EDICT;
    }
    rc = need(r, &sum, 1);
    if (rc == 0 && sum != header_sum(d, n)) {
        log_error("the checksum of the frame's header is wrong");
        rc = SL_ECHECKSUM;
    }
    return rc;
}

static int skip(struct frame_reader *r)
{
    uint8_t drop[4096];
    uint32_t left;
    int rc = need32(r, &left);
    while (rc == 0 && left) {
        uint32_t n = left < sizeof(drop) ? left : (uint32_t)sizeof(drop);
        rc = need(r, drop, n);
        left -= n;
    }
    return rc;
}

/* SL_ENOENT when the input ends in front of it. */
static int next_magic(struct frame_reader *r, uint32_t *magic)
{
    uint8_t b[4];
    size_t got;
    if (r->has_peeked) {
        r->has_peeked = 0;
        *magic = r->peeked;
        return 0;
    }
    int rc = take(r, b, sizeof(b), &got);
    if (rc || got == 0)
        return rc ? rc : SL_ENOENT;
    if (got < sizeof(b))
        return bad("fewer than 4 bytes");
    *magic = load32(b);
    return 0;
}

int frame_next(struct frame_reader *r)
{
    uint32_t magic;
    int rc;
    memset(&r->info, 0, sizeof(r->info));
    r->produced = 0;
    XXH32_reset(r->sum, 0);
    while ((rc = next_magic(r, &magic)) == 0) {
        if (magic == FRAME_MAGIC) {
            r->stats->frames++;
            return parse_header(r);
        }
        if (magic == FRAME_LEGACY) {
            r->stats->frames++;
            r->info.legacy = 1;
            r->info.block_max = FRAME_LEGACY_BLOCK;
            return 0;
        }
        if ((magic & ~15u) != FRAME_SKIP)
            return bad(r->stats->frames ? "other bytes follow the last frame"
                                        : "it begins with other bytes");
        rc = skip(r);
        if (rc)
            break;
    }
    return rc;
}

/* ---- blocks ---- */

static int is_magic(uint32_t v)
{
    return v == FRAME_MAGIC || v == FRAME_LEGACY || (v & ~15u) == FRAME_SKIP;
}

/* A legacy frame ends with the input or where another frame begins. */
static int legacy_block(struct frame_reader *r, void *buf,
                        struct frame_block *b)
{
    uint32_t size;
    int rc = next_magic(r, &size);
    b->bytes = 0;
    b->raw = 0;
    if (rc == SL_ENOENT)
        return 0;
    if (rc)
        return rc;
    if (is_magic(size)) {
        r->peeked = size;
        r->has_peeked = 1;
        return 0;
    }
    if (size == 0 || size > (uint32_t)LZ4_COMPRESSBOUND(FRAME_LEGACY_BLOCK))
        return bad("a block of a legacy frame is too large");
    b->bytes = size;
    return need(r, buf, size);
}

int frame_block(struct frame_reader *r, void *buf, struct frame_block *b)
{
    uint32_t size = 0, sum = 0;
    if (r->info.legacy)
        return legacy_block(r, buf, b);
    int rc = need32(r, &size);
    if (rc)
        return rc;
    b->raw = (size & FRAME_RAW) != 0;
    b->bytes = size & ~FRAME_RAW;
    if (size == 0)
        return 0;
    if (b->bytes == 0)
        return bad("a raw block of no bytes");
    if (b->bytes > r->info.block_max)
        return bad("a block is larger than the header allows");
    rc = need(r, buf, b->bytes);
    if (rc || !r->info.block_sum)
        return rc;
    rc = need32(r, &sum);
    if (rc)
        return rc;
    uint64_t begun = clock_ns();
    uint32_t real = XXH32(buf, b->bytes, 0);
    r->stats->sum_ns += clock_ns() - begun;
    if (real != sum) {
        log_error("the checksum of block %llu is wrong",
                  (unsigned long long)r->stats->blocks);
        return SL_ECHECKSUM;
    }
    return 0;
}

int frame_content(struct frame_reader *r, const void *data, size_t n)
{
    uint64_t begun = clock_ns();
    if (r->info.content_sum)
        XXH32_update(r->sum, data, n);
    uint64_t summed = clock_ns();
    int rc = r->io->write(r->io->ctx, data, n);
    r->stats->sum_ns += summed - begun;
    r->stats->write_ns += clock_ns() - summed;
    r->stats->bytes_out += n;
    r->produced += n;
    return rc;
}

int frame_end(struct frame_reader *r)
{
    uint32_t sum = 0;
    int rc = r->info.content_sum ? need32(r, &sum) : 0;
    if (rc)
        return rc;
    if (r->info.has_size && r->info.content_size != r->produced) {
        log_error("the frame has %llu bytes and its header says %llu",
                  (unsigned long long)r->produced,
                  (unsigned long long)r->info.content_size);
        return SL_EFRAME;
    }
    if (r->info.content_sum && XXH32_digest(r->sum) != sum) {
        log_error("the checksum of the frame's content is wrong");
        return SL_ECHECKSUM;
    }
    return 0;
}
