/* SPDX-License-Identifier: Apache-2.0 */
/* Zstandard frames without length and checksum. */
#include "codec/codec.h"

#include "codec/local.h"

#include <zstd.h>
#include <zstd_errors.h>

static size_t zs_bound(size_t n)
{
    return ZSTD_compressBound(n);
}

static void *make_encoder(void)
{
    ZSTD_CCtx *c = ZSTD_createCCtx();
    if (c)
        ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, 0);
    return c;
}

static void drop_encoder(void *p)
{
    ZSTD_freeCCtx(p);
}

static void *make_decoder(void)
{
    return ZSTD_createDCtx();
}

static void drop_decoder(void *p)
{
    ZSTD_freeDCtx(p);
}

static int zs_encode(const void *src, size_t n, void *dst, size_t room,
                     int preset)
{
    static const int levels[] = {0, 1, 3, 19};
    ZSTD_CCtx *c = local_object(LOCAL_ZSTD_ENCODE, make_encoder, drop_encoder);
    if (!c)
        return SL_ENOMEM;
    ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, levels[preset]);
    size_t made = ZSTD_compress2(c, dst, room, src, n);
    if (!ZSTD_isError(made))
        return (int)made;
    return ZSTD_getErrorCode(made) == ZSTD_error_dstSize_tooSmall ? SL_ENOSPC
                                                                  : SL_ENOMEM;
}

static int zs_decode(const void *src, size_t n, void *dst, size_t size)
{
    ZSTD_DCtx *d = local_object(LOCAL_ZSTD_DECODE, make_decoder, drop_decoder);
    if (!d)
        return SL_ENOMEM;
    size_t made = ZSTD_decompressDCtx(d, dst, size, src, n);
    return made == size ? 0 : SL_ECORRUPT;
}

const struct codec_ops codec_zstd = {.id = SL_CODEC_ZSTD,
                                     .name = "zstd",
                                     .bound = zs_bound,
                                     .encode = zs_encode,
                                     .decode = zs_decode};
