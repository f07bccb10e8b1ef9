/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/codec.h"

#include <string.h>

static size_t none_bound(size_t n)
{
    return n;
}

static int none_encode(const void *src, size_t n, void *dst, size_t room,
                       int preset)
{
    (void)preset;
    if (n > room)
        return SL_ENOSPC;
    memcpy(dst, src, n);
    return (int)n;
}

static int none_decode(const void *src, size_t n, void *dst, size_t size)
{
    if (n != size)
        return SL_ECORRUPT;
    memcpy(dst, src, n);
    return 0;
}

const struct codec_ops codec_none = {.id = SL_CODEC_NONE,
                                     .name = "none",
                                     .bound = none_bound,
                                     .encode = none_encode,
                                     .decode = none_decode};
