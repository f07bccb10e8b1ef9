/* SPDX-License-Identifier: Apache-2.0 */
/* Raw DEFLATE: the store has lengths and checksum already. */
#include "codec/codec.h"

#include "codec/local.h"

#include <stdlib.h>
#include <zlib.h>

#define RAW_WINDOW (-15) /* 32 KiB, without header and trailer */
#define MEM_LEVEL 8      /* zlib's default */

/* deflateBound's term for any parameters; it would need a stream. */
static size_t z_bound(size_t n)
{
    return n + (n + 7u) / 8u + (n + 63u) / 64u + 18u;
}

static void drop_deflate(void *p)
{
    deflateEnd(p);
    free(p);
}

static void drop_inflate(void *p)
{
    inflateEnd(p);
    free(p);
}

static void *make_deflate(int level)
{
    z_stream *z = calloc(1, sizeof(*z));
    if (z && deflateInit2(z, level, Z_DEFLATED, RAW_WINDOW, MEM_LEVEL,
                          Z_DEFAULT_STRATEGY) != Z_OK) {
        free(z);
        return NULL;
    }
    return z;
}

static void *make_fast(void)
{
    return make_deflate(1);
}

static void *make_balanced(void)
{
    return make_deflate(6);
}

static void *make_best(void)
{
    return make_deflate(9);
}

static void *make_inflate(void)
{
    z_stream *z = calloc(1, sizeof(*z));
    if (z && inflateInit2(z, RAW_WINDOW) != Z_OK) {
        free(z);
        return NULL;
    }
    return z;
}

/* zlib declares its input without const and does not write it. */
static void give(z_stream *z, const void *src, size_t n, void *dst, size_t room)
{
    z->next_in = (Bytef *)(uintptr_t)src;
    z->avail_in = (uInt)n;
    z->next_out = dst;
    z->avail_out = (uInt)room;
}

static int z_encode(const void *src, size_t n, void *dst, size_t room,
                    int preset)
{
    static void *(*const makes[])(void) = {NULL, make_fast, make_balanced,
                                           make_best};
    static const enum local_kind kinds[] = {LOCAL_ASIDE, LOCAL_DEFLATE_FAST,
                                            LOCAL_DEFLATE_BALANCED,
                                            LOCAL_DEFLATE_BEST};
    z_stream *z = local_object(kinds[preset], makes[preset], drop_deflate);
    if (!z || deflateReset(z) != Z_OK)
        return SL_ENOMEM;
    give(z, src, n, dst, room);
    if (deflate(z, Z_FINISH) != Z_STREAM_END)
        return SL_ENOSPC;
    return (int)(room - z->avail_out);
}

static int z_decode(const void *src, size_t n, void *dst, size_t size)
{
    z_stream *z = local_object(LOCAL_INFLATE, make_inflate, drop_inflate);
    if (!z || inflateReset(z) != Z_OK)
        return SL_ENOMEM;
    give(z, src, n, dst, size);
    int rc = inflate(z, Z_FINISH);
    return rc == Z_STREAM_END && z->avail_out == 0 && z->avail_in == 0
               ? 0
               : SL_ECORRUPT;
}

const struct codec_ops codec_zlib = {.id = SL_CODEC_ZLIB,
                                     .name = "zlib",
                                     .bound = z_bound,
                                     .encode = z_encode,
                                     .decode = z_decode};
