/* SPDX-License-Identifier: Apache-2.0 */
/* What players put: bytes that codecs like or not, and the codec. */
#include "model.h"

/* Coders of more than 10 MB/s; the others take a millisecond for few bytes. */
static const uint8_t fast_codecs[] = {
    SL_CODEC_LZ4,   SL_CODEC_SNAPPY,
    SL_CODEC_LZO,   SL_CODEC(SL_CODEC_ZSTD, SL_CODEC_FAST),
    SL_CODEC_ZSTD,  SL_CODEC(SL_CODEC_ZLIB, SL_CODEC_FAST),
    SL_CODEC_ZLIB,  SL_CODEC(SL_CODEC_BLOSC, SL_CODEC_FAST),
    SL_CODEC_BLOSC, SL_CODEC_ZFP};
#define SLOW_MAX 6000u

uint8_t model_codec(struct model_player *p, uint64_t bytes)
{
    static const unsigned presets[] = {0, SL_CODEC_FAST, SL_CODEC_BALANCED,
                                       SL_CODEC_BEST};
    uint64_t x = model_pick(p, 256);
    if (x >= 48u)
        return SL_CODEC_NONE;
    p->coded_puts++;
    if (x < 8u && bytes <= SLOW_MAX)
        return SL_CODEC(model_pick(p, SL_CODECS), presets[model_pick(p, 4)]);
    if (x < 14u)
        return SL_CODEC_DYNAMIC;
    return fast_codecs[model_pick(p, sizeof(fast_codecs))];
}

void model_fill(struct model_player *p, uint8_t *to, uint64_t n)
{
    uint64_t seed = test_random(&p->random), kind = model_pick(p, 8);
    uint64_t run = 64u + seed % 3000u;
    if (kind < 4u) {
        fill(to, n, seed);
        return;
    }
    if (kind == 7u) { /* floats, for the codec that wants them */
        for (uint64_t at = 0; at < n; at += 4u) {
            float v = (float)(seed % 1000u) + (float)at / 8.0f;
            memcpy(to + at, &v, n - at < 4u ? n - at : 4u);
        }
        return;
    }
    /* A piece that comes again and again, with a word of its own each time; in
     * one of four only the front is like that, so some extents stay raw. */
    uint64_t end = kind == 4u ? n / 2u : n;
    fill(to, run < n ? run : n, seed);
    for (uint64_t at = run; at < end; at += run) {
        uint64_t k = end - at < run ? end - at : run;
        memcpy(to + at, to, k);
        memcpy(to + at, &at, k < 8u ? k : 8u);
    }
    if (end < n)
        fill(to + end, n - end, seed + 1u);
}
