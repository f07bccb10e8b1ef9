/* SPDX-License-Identifier: Apache-2.0 */
/* LZMA2 without a container. */
#include "codec/codec.h"

#include <lzma.h>

static size_t xz_bound(size_t n)
{
    return lzma_stream_buffer_bound(n);
}

/* A dictionary of the block: both sides know its size, so the decoder's memory
 * does not depend on the coded bytes. */
static int options(lzma_options_lzma *o, size_t size, uint32_t preset)
{
    if (lzma_lzma_preset(o, preset))
        return SL_EINVAL;
    o->dict_size =
        size < LZMA_DICT_SIZE_MIN ? LZMA_DICT_SIZE_MIN : (uint32_t)size;
    return 0;
}

static int xz_encode(const void *src, size_t n, void *dst, size_t room,
                     int preset)
{
    static const uint32_t levels[] = {0, 0, 4, 9 | LZMA_PRESET_EXTREME};
    lzma_options_lzma o;
    const lzma_filter chain[] = {{.id = LZMA_FILTER_LZMA2, .options = &o},
                                 {.id = LZMA_VLI_UNKNOWN}};
    size_t made = 0;
    int rc = options(&o, n, levels[preset]);
    if (rc)
        return rc;
    lzma_ret ret =
        lzma_raw_buffer_encode(chain, NULL, src, n, dst, &made, room);
    if (ret == LZMA_BUF_ERROR)
        return SL_ENOSPC;
    return ret == LZMA_OK ? (int)made : SL_ENOMEM;
}

static int xz_decode(const void *src, size_t n, void *dst, size_t size)
{
    lzma_options_lzma o;
    const lzma_filter chain[] = {{.id = LZMA_FILTER_LZMA2, .options = &o},
                                 {.id = LZMA_VLI_UNKNOWN}};
    size_t read = 0, made = 0;
    int rc = options(&o, size, 0);
    if (rc)
        return rc;
    lzma_ret ret =
        lzma_raw_buffer_decode(chain, NULL, src, &read, n, dst, &made, size);
    if (ret == LZMA_MEM_ERROR)
        return SL_ENOMEM;
    return ret == LZMA_OK && made == size && read == n ? 0 : SL_ECORRUPT;
}

const struct codec_ops codec_lzma = {.id = SL_CODEC_LZMA,
                                     .name = "lzma",
                                     .bound = xz_bound,
                                     .encode = xz_encode,
                                     .decode = xz_decode};
