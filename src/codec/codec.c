/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/codec.h"

#include "codec/local.h"

#include <string.h>

/* cmake/codecs.cmake defines SLUICE_HAVE_* of each library as 0 or 1. */
#if SLUICE_HAVE_BZIP2
#define BZIP2 &codec_bzip2
#else
#define BZIP2 NULL
#endif
#if SLUICE_HAVE_BLOSC
#define BLOSC &codec_blosc
#else
#define BLOSC NULL
#endif
#if SLUICE_HAVE_BROTLI
#define BROTLI &codec_brotli
#else
#define BROTLI NULL
#endif
#if SLUICE_HAVE_LZ4
#define LZ4 &codec_lz4
#else
#define LZ4 NULL
#endif
#if SLUICE_HAVE_LZMA
#define LZMA &codec_lzma
#else
#define LZMA NULL
#endif
#if SLUICE_HAVE_SNAPPY
#define SNAPPY &codec_snappy
#else
#define SNAPPY NULL
#endif
#if SLUICE_HAVE_LZO
#define LZO &codec_lzo
#else
#define LZO NULL
#endif
#if SLUICE_HAVE_ZFP
#define ZFP &codec_zfp
#else
#define ZFP NULL
#endif
#if SLUICE_HAVE_ZLIB
#define ZLIB &codec_zlib
#else
#define ZLIB NULL
#endif
#if SLUICE_HAVE_ZSTD
#define ZSTD &codec_zstd
#else
#define ZSTD NULL
#endif

static const struct codec_ops *const table[SL_CODECS] = {
    &codec_none, BZIP2, BLOSC, BROTLI, LZ4, LZMA, SNAPPY, LZO, ZFP, ZLIB, ZSTD};

static const char *const names[SL_CODECS] = {
    "none",   "bzip2", "blosc", "brotli", "lz4", "lzma",
    "snappy", "lzo",   "zfp",   "zlib",   "zstd"};

static const char *const presets[] = {"", ":fast", ":balanced", ":best"};

const struct codec_ops *codec_find(unsigned id)
{
    return id < SL_CODECS ? table[id] : NULL;
}

const char *codec_name(unsigned id)
{
    return id < SL_CODECS ? names[id] : NULL;
}

static int absent(unsigned id)
{
    return id < SL_CODECS ? SL_ENOCODEC : SL_ECODEC;
}

int codec_check(uint8_t codec)
{
    unsigned id = codec & SL_CODEC_ID_MASK;
    if (codec & SL_CODEC_DYNAMIC)
        return codec == SL_CODEC_DYNAMIC ? 0 : SL_ECODEC;
    if (codec & ~(SL_CODEC_ID_MASK | SL_CODEC_BEST))
        return SL_ECODEC;
    return codec_find(id) ? 0 : absent(id);
}

int codec_parse(const char *text, uint8_t *out)
{
    if (!strcmp(text, "dynamic")) {
        *out = SL_CODEC_DYNAMIC;
        return 0;
    }
    for (unsigned id = 0; id < SL_CODECS; id++) {
        size_t n = strlen(names[id]);
        if (strncmp(text, names[id], n) != 0)
            continue;
        for (unsigned p = 0; p < 4u; p++) {
            if (strcmp(text + n, presets[p]) != 0)
                continue;
            *out = (uint8_t)(id | p << SL_CODEC_PRESET_SHIFT);
            return codec_check(*out);
        }
    }
    return SL_ECODEC;
}

size_t codec_bound(unsigned id, size_t n)
{
    const struct codec_ops *ops = codec_find(id);
    return ops && n ? ops->bound(n) : 0;
}

/* By way of a buffer of the bound, for encoders that do not stop at `room`. */
static int encode_aside(const struct codec_ops *ops, const void *src, size_t n,
                        void *dst, size_t room, int preset)
{
    size_t bound = ops->bound(n);
    uint8_t *aside = local_bytes(LOCAL_ASIDE, bound);
    if (!aside)
        return SL_ENOMEM;
    int made = ops->encode(src, n, aside, bound, preset);
    if (made < 0)
        return made;
    if ((size_t)made > room)
        return SL_ENOSPC;
    memcpy(dst, aside, (size_t)made);
    return made;
}

int codec_encode(unsigned id, int preset, const void *src, size_t n, void *dst,
                 size_t room)
{
    const struct codec_ops *ops = codec_find(id);
    if (!ops)
        return absent(id);
    if (preset < 0 || preset > CODEC_BEST || n > CODEC_BYTES_MAX)
        return SL_EINVAL;
    if (n == 0)
        return 0;
    if (room == 0)
        return SL_ENOSPC;
    if (!preset)
        preset = CODEC_BALANCED;
    if (room > ops->bound(n))
        room = ops->bound(n); /* some grow to what they are given */
    else if (ops->needs_bound && room < ops->bound(n))
        return encode_aside(ops, src, n, dst, room, preset);
    return ops->encode(src, n, dst, room, preset);
}

int codec_decode(unsigned id, const void *src, size_t n, void *dst, size_t size)
{
    const struct codec_ops *ops = codec_find(id);
    if (!ops)
        return absent(id);
    if (size > CODEC_BYTES_MAX)
        return SL_EINVAL;
    if (n == 0 || size == 0)
        return n == size ? 0 : SL_ECORRUPT;
    /* No encoder makes a block above its bound. */
    if (n > ops->bound(size))
        return SL_ECORRUPT;
    return ops->decode(src, n, dst, size);
}
