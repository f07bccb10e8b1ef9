/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/codec.h"

#include <bzlib.h>

#define BLOCK_BYTES 100000u /* bzip2's unit of a block's size */

/* The library's manual: 1 % and 600 bytes. */
static size_t bz_bound(size_t n)
{
    return n + n / 100u + 600u;
}

static int bz_code(int rc)
{
    if (rc == BZ_OUTBUFF_FULL)
        return SL_ENOSPC;
    return rc == BZ_MEM_ERROR ? SL_ENOMEM : SL_ECORRUPT;
}

/* The library declares its input without const and does not write it. */
static char *input(const void *src)
{
    return (char *)(uintptr_t)src;
}

static int bz_encode(const void *src, size_t n, void *dst, size_t room,
                     int preset)
{
    static const unsigned blocks[] = {0, 1, 5, 9};
    unsigned made = (unsigned)room;
    /* A block above the data is memory for nothing. */
    unsigned enough = (unsigned)(n / BLOCK_BYTES) + 1u;
    unsigned block = blocks[preset] < enough ? blocks[preset] : enough;
    int rc = BZ2_bzBuffToBuffCompress(dst, &made, input(src), (unsigned)n,
                                      (int)block, 0, 0);
    return rc == BZ_OK ? (int)made : bz_code(rc);
}

static int bz_decode(const void *src, size_t n, void *dst, size_t size)
{
    unsigned made = (unsigned)size;
    int rc =
        BZ2_bzBuffToBuffDecompress(dst, &made, input(src), (unsigned)n, 0, 0);
    if (rc == BZ_MEM_ERROR)
        return SL_ENOMEM;
    return rc == BZ_OK && made == size ? 0 : SL_ECORRUPT;
}

const struct codec_ops codec_bzip2 = {.id = SL_CODEC_BZIP2,
                                      .name = "bzip2",
                                      .bound = bz_bound,
                                      .encode = bz_encode,
                                      .decode = bz_decode};
