/* SPDX-License-Identifier: Apache-2.0 */
/* Snappy has no levels: the presets are one. */
#include "codec/codec.h"

#include <snappy-c.h>

static size_t sn_bound(size_t n)
{
    return snappy_max_compressed_length(n);
}

static int sn_encode(const void *src, size_t n, void *dst, size_t room,
                     int preset)
{
    size_t made = room;
    (void)preset;
    return snappy_compress(src, n, dst, &made) == SNAPPY_OK ? (int)made
                                                            : SL_ENOSPC;
}

static int sn_decode(const void *src, size_t n, void *dst, size_t size)
{
    size_t made = 0;
    if (snappy_uncompressed_length(src, n, &made) != SNAPPY_OK || made != size)
        return SL_ECORRUPT;
    if (snappy_uncompress(src, n, dst, &made) != SNAPPY_OK || made != size)
        return SL_ECORRUPT;
    return 0;
}

const struct codec_ops codec_snappy = {.id = SL_CODEC_SNAPPY,
                                       .needs_bound = 1,
                                       .one_preset = 1,
                                       .name = "snappy",
                                       .bound = sn_bound,
                                       .encode = sn_encode,
                                       .decode = sn_decode};
