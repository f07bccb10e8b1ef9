/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/codec.h"

#include <brotli/decode.h>
#include <brotli/encode.h>

static size_t br_bound(size_t n)
{
    return BrotliEncoderMaxCompressedSize(n);
}

/* log2 of the window: all of the block, within what the format has. */
static int window(size_t n)
{
    int bits = BROTLI_MIN_WINDOW_BITS;
    while (bits < BROTLI_MAX_WINDOW_BITS && ((size_t)1 << bits) - 16u < n)
        bits++;
    return bits;
}

static int br_encode(const void *src, size_t n, void *dst, size_t room,
                     int preset)
{
    static const int quality[] = {0, 1, 5, BROTLI_MAX_QUALITY};
    size_t made = room;
    if (BrotliEncoderCompress(quality[preset], window(n), BROTLI_MODE_GENERIC,
                              n, src, &made, dst) &&
        made > 0)
        return (int)made;
    /* It says only that it failed; within the bound it lacks memory alone. */
    return room < br_bound(n) ? SL_ENOSPC : SL_ENOMEM;
}

static int br_decode(const void *src, size_t n, void *dst, size_t size)
{
    size_t made = size;
    BrotliDecoderResult rc = BrotliDecoderDecompress(n, src, &made, dst);
    return rc == BROTLI_DECODER_RESULT_SUCCESS && made == size ? 0
                                                               : SL_ECORRUPT;
}

const struct codec_ops codec_brotli = {.id = SL_CODEC_BROTLI,
                                       .name = "brotli",
                                       .bound = br_bound,
                                       .encode = br_encode,
                                       .decode = br_decode};
