/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zfp in its reversible mode: arrays of floats or doubles, exact for all bits.
 *
 * A block of ours is one byte that says how the values lie, the coded blocks of
 * the library, and the bytes that fill no block as they are. Bytes that would
 * grow are kept whole (LAYOUT_RAW). Blocks of 16 or 64 neighbours are coded as
 * squares and cubes: a smooth run is smooth along both folds, and the library
 * finds more in them than in four values.
 */
#include "codec/codec.h"

#include "codec/local.h"

#include <string.h>
#include <zfp.h>

/* Bits 0-1: folds (1 to 3), bit 2: doubles. */
#define LAYOUT_DOUBLE 4u
#define LAYOUT_RAW 0u
#define LAYOUT_HEAD 1u
/* The library reads and writes at most so much for a block, whatever it
 * holds. */
#define BLOCK_MAX_BYTES ((ZFP_MAX_BITS + 7u) / 8u + 8u)
#define TRIAL_BYTES 4096u /* what balanced looks at to choose a layout */

static size_t zfp_bound(size_t n)
{
    return n + LAYOUT_HEAD;
}

static size_t block_bytes(unsigned layout)
{
    size_t value = layout & LAYOUT_DOUBLE ? 8u : 4u;
    return value << (2u * (layout & 3u));
}

static void encode_block(zfp_stream *z, unsigned layout, const void *values)
{
    switch (layout) {
    case 1:
        zfp_encode_block_float_1(z, values);
        break;
    case 2:
        zfp_encode_block_float_2(z, values);
        break;
    case 3:
        zfp_encode_block_float_3(z, values);
        break;
    case LAYOUT_DOUBLE + 1:
        zfp_encode_block_double_1(z, values);
        break;
    case LAYOUT_DOUBLE + 2:
        zfp_encode_block_double_2(z, values);
        break;
    default:
        zfp_encode_block_double_3(z, values);
        break;
    }
}

static void decode_block(zfp_stream *z, unsigned layout, void *values)
{
    switch (layout) {
    case 1:
        zfp_decode_block_float_1(z, values);
        break;
    case 2:
        zfp_decode_block_float_2(z, values);
        break;
    case 3:
        zfp_decode_block_float_3(z, values);
        break;
    case LAYOUT_DOUBLE + 1:
        zfp_decode_block_double_1(z, values);
        break;
    case LAYOUT_DOUBLE + 2:
        zfp_decode_block_double_2(z, values);
        break;
    default:
        zfp_decode_block_double_3(z, values);
        break;
    }
}

struct coder {
    bitstream *bits;
    zfp_stream *z;
};

static int coder_open(struct coder *c, void *buf, size_t bytes)
{
    c->bits = stream_open(buf, bytes);
    c->z = c->bits ? zfp_stream_open(c->bits) : NULL;
    if (!c->z) {
        if (c->bits)
            stream_close(c->bits);
        return SL_ENOMEM;
    }
    zfp_stream_set_reversible(c->z);
    return 0;
}

static void coder_close(struct coder *c)
{
    zfp_stream_close(c->z);
    stream_close(c->bits);
}

/* Whole blocks of src into buf of `bytes`; the coded bytes, 0 when they would
 * be `limit` or more. */
static size_t encode_blocks(struct coder *c, unsigned layout,
                            const uint8_t *src, size_t n, size_t limit)
{
    uint64_t values[64]; /* aligned, as the source need not be */
    size_t step = block_bytes(layout);
    stream_rewind(c->bits);
    for (size_t at = 0; at + step <= n; at += step) {
        if (stream_wtell(c->bits) / 8u >= limit)
            return 0;
        memcpy(values, src + at, step);
        encode_block(c->z, layout, values);
    }
    stream_flush(c->bits);
    size_t made = stream_size(c->bits);
    return made < limit ? made : 0;
}

/* The layout that codes n bytes best; LAYOUT_RAW when none saves. */
static unsigned best_layout(struct coder *c, const uint8_t *src, size_t n)
{
    static const unsigned layouts[] = {3, 2, 1, 7, 6, 5};
    unsigned best = LAYOUT_RAW;
    size_t least = n;
    for (unsigned i = 0; i < 6u; i++) {
        size_t step = block_bytes(layouts[i]);
        size_t rest = n % step;
        size_t made = n < step || least <= rest
                          ? 0
                          : encode_blocks(c, layouts[i], src, n, least - rest);
        if (!made)
            continue;
        least = made + rest;
        best = layouts[i];
    }
    return best;
}

static unsigned choose_layout(struct coder *c, const uint8_t *src, size_t n,
                              int preset)
{
    if (preset == CODEC_BEST || n <= TRIAL_BYTES)
        return best_layout(c, src, n);
    size_t bytes = preset == CODEC_FAST ? TRIAL_BYTES / 4u : TRIAL_BYTES;
    return best_layout(c, src + (n - bytes) / 2u / 8u * 8u, bytes);
}

static int keep_raw(const void *src, size_t n, uint8_t *dst, size_t room)
{
    if (n + LAYOUT_HEAD > room)
        return SL_ENOSPC;
    dst[0] = LAYOUT_RAW;
    memcpy(dst + LAYOUT_HEAD, src, n);
    return (int)(n + LAYOUT_HEAD);
}

static int zfp_encode(const void *src, size_t n, void *dst, size_t room,
                      int preset)
{
    const uint8_t *from = src;
    uint8_t *to = dst;
    struct coder c;
    size_t bytes = n + BLOCK_MAX_BYTES;
    uint8_t *buf = local_bytes(LOCAL_ZFP, bytes);
    int rc = buf ? coder_open(&c, buf, bytes) : SL_ENOMEM;
    if (rc)
        return rc;
    unsigned layout = choose_layout(&c, from, n, preset);
    size_t rest = layout ? n % block_bytes(layout) : 0;
    size_t made = layout ? encode_blocks(&c, layout, from, n, n - rest) : 0;
    coder_close(&c);
    if (!made)
        return keep_raw(src, n, to, room);
    if (LAYOUT_HEAD + made + rest > room)
        return SL_ENOSPC;
    to[0] = (uint8_t)layout;
    memcpy(to + LAYOUT_HEAD, buf, made);
    memcpy(to + LAYOUT_HEAD + made, from + n - rest, rest);
    return (int)(LAYOUT_HEAD + made + rest);
}

static int decode_blocks(struct coder *c, unsigned layout, size_t coded,
                         uint8_t *to, size_t bytes)
{
    uint64_t values[64];
    size_t step = block_bytes(layout);
    for (size_t at = 0; at < bytes; at += step) {
        /* The buffer has room for one block beyond the coded bytes. */
        if (stream_rtell(c->bits) > coded * 8u)
            return SL_ECORRUPT;
        decode_block(c->z, layout, values);
        memcpy(to + at, values, step);
    }
    return stream_rtell(c->bits) > coded * 8u ? SL_ECORRUPT : 0;
}

static int zfp_decode(const void *src, size_t n, void *dst, size_t size)
{
    const uint8_t *from = src;
    unsigned layout = from[0];
    struct coder c;
    from += LAYOUT_HEAD;
    n -= LAYOUT_HEAD;
    if (layout == LAYOUT_RAW) {
        if (n != size)
            return SL_ECORRUPT;
        memcpy(dst, from, n);
        return 0;
    }
    if (layout > 7u || !(layout & 3u))
        return SL_ECORRUPT;
    size_t rest = size % block_bytes(layout);
    if (n < rest)
        return SL_ECORRUPT;
    size_t coded = n - rest;
    uint8_t *buf = local_bytes(LOCAL_ZFP, coded + BLOCK_MAX_BYTES);
    if (!buf)
        return SL_ENOMEM;
    memcpy(buf, from, coded);
    memset(buf + coded, 0, BLOCK_MAX_BYTES);
    int rc = coder_open(&c, buf, coded + BLOCK_MAX_BYTES);
    if (rc)
        return rc;
    rc = decode_blocks(&c, layout, coded, dst, size - rest);
    coder_close(&c);
    if (!rc)
        memcpy((uint8_t *)dst + size - rest, from + coded, rest);
    return rc;
}

const struct codec_ops codec_zfp = {.id = SL_CODEC_ZFP,
                                    .name = "zfp",
                                    .bound = zfp_bound,
                                    .encode = zfp_encode,
                                    .decode = zfp_decode};
