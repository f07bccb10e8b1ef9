/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blosc 1: bytes of 4-byte values are shuffled, then coded by one of the codecs
 * inside the library. Only its _ctx calls: they use no state of the process.
 */
#include "codec/codec.h"

#include <blosc.h>
#include <string.h>

#define TYPE_BYTES 4u /* a float, an index: what most arrays hold */

struct setting {
    const char *codec;
    int level, shuffle;
};

/* One of fast and balanced; best takes what is smallest of the rest, as
 * shuffling makes text larger. */
static const struct setting settings[] = {{"lz4", 5, BLOSC_SHUFFLE},
                                          {"zstd", 1, BLOSC_SHUFFLE},
                                          {"zstd", 8, BLOSC_SHUFFLE},
                                          {"zstd", 8, BLOSC_NOSHUFFLE}};
#define SETTINGS (sizeof(settings) / sizeof(settings[0]))

static size_t blosc_bound(size_t n)
{
    return n + BLOSC_MAX_OVERHEAD;
}

/* Coded bytes; 0: more than room. */
static int encode_as(const struct setting *s, const void *src, size_t n,
                     void *dst, size_t room)
{
    const char *codec = s->codec;
    if (blosc_compname_to_compcode(codec) < 0)
        codec = BLOSC_BLOSCLZ_COMPNAME; /* each build of the library has it */
    return blosc_compress_ctx(s->level, s->shuffle, TYPE_BYTES, n, src, dst,
                              room, codec, 0, 1);
}

static int encode_best(const void *src, size_t n, void *dst, size_t room)
{
    const struct setting *best = NULL;
    int least = 0, made = 0;
    for (size_t i = 1; i < SETTINGS; i++) {
        made = encode_as(&settings[i], src, n, dst, room);
        if (made < 0)
            return made;
        if (made && (!best || made < least)) {
            best = &settings[i];
            least = made;
        }
    }
    if (!best || best == &settings[SETTINGS - 1u])
        return made;
    return encode_as(best, src, n, dst, room);
}

static int blosc_encode(const void *src, size_t n, void *dst, size_t room,
                        int preset)
{
    int made = preset == CODEC_BEST
                   ? encode_best(src, n, dst, room)
                   : encode_as(&settings[preset - 1], src, n, dst, room);
    if (made == 0)
        return SL_ENOSPC;
    return made < 0 ? SL_ENOMEM : made;
}

static uint32_t load32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
           (uint32_t)p[3] << 24;
}

/* The library takes lengths from the header: version, version of the codec,
 * flags, bytes of a type, then plain, block and coded bytes, 32 bits each. */
static int blosc_decode(const void *src, size_t n, void *dst, size_t size)
{
    const uint8_t *head = src;
    size_t plain;
    if (n < BLOSC_MIN_HEADER_LENGTH || load32(head + 4) != size ||
        load32(head + 12) != n || load32(head + 8) > size ||
        load32(head + 8) == 0 || head[3] == 0)
        return SL_ECORRUPT;
    if (blosc_cbuffer_validate(src, n, &plain) < 0 || plain != size)
        return SL_ECORRUPT;
    int made = blosc_decompress_ctx(src, dst, size, 1);
    return made >= 0 && (size_t)made == size ? 0 : SL_ECORRUPT;
}

/* In less than its overhead the library writes more than it is given. */
const struct codec_ops codec_blosc = {.id = SL_CODEC_BLOSC,
                                      .needs_bound = 1,
                                      .name = "blosc",
                                      .bound = blosc_bound,
                                      .encode = blosc_encode,
                                      .decode = blosc_decode};
