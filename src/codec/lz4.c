/* SPDX-License-Identifier: Apache-2.0 */
/* Raw LZ4 blocks, without a frame: what a GPU decodes too. */
#include "codec/codec.h"

#include "codec/local.h"

#include <lz4.h>
#include <lz4hc.h>

#define FAST_STEP 4 /* liblz4's "acceleration"; 1 is its default */

static size_t lz_bound(size_t n)
{
    return (size_t)LZ4_COMPRESSBOUND(n);
}

static int lz_encode(const void *src, size_t n, void *dst, size_t room,
                     int preset)
{
    int best = preset == CODEC_BEST, made;
    size_t bytes = (size_t)(best ? LZ4_sizeofStateHC() : LZ4_sizeofState());
    void *state = local_bytes(LOCAL_LZ4, bytes);
    if (!state)
        return SL_ENOMEM;
    if (best)
        made = LZ4_compress_HC_extStateHC(state, src, dst, (int)n, (int)room,
                                          LZ4HC_CLEVEL_MAX);
    else
        made = LZ4_compress_fast_extState(state, src, dst, (int)n, (int)room,
                                          preset == CODEC_FAST ? FAST_STEP : 1);
    return made > 0 ? made : SL_ENOSPC;
}

static int lz_decode(const void *src, size_t n, void *dst, size_t size)
{
    int made = LZ4_decompress_safe(src, dst, (int)n, (int)size);
    return made >= 0 && (size_t)made == size ? 0 : SL_ECORRUPT;
}

const struct codec_ops codec_lz4 = {.id = SL_CODEC_LZ4,
                                    .name = "lz4",
                                    .bound = lz_bound,
                                    .encode = lz_encode,
                                    .decode = lz_decode};
