/* SPDX-License-Identifier: Apache-2.0 */
/* LZO1X: three encoders, one decoder. */
#include "codec/codec.h"

#include "codec/local.h"

#include <lzo/lzo1x.h>
#include <pthread.h>

static int ready;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void prepare(void)
{
    ready = lzo_init() == LZO_E_OK;
}

/* The library's manual. */
static size_t lzo_bound(size_t n)
{
    return n + n / 16u + 64u + 3u;
}

static int lzo_encode(const void *src, size_t n, void *dst, size_t room,
                      int preset)
{
    static const struct {
        int (*run)(const lzo_bytep src, lzo_uint n, lzo_bytep dst,
                   lzo_uintp made, lzo_voidp work);
        size_t work;
    } levels[] = {{0},
                  {lzo1x_1_12_compress, LZO1X_1_12_MEM_COMPRESS},
                  {lzo1x_1_15_compress, LZO1X_1_15_MEM_COMPRESS},
                  {lzo1x_999_compress, LZO1X_999_MEM_COMPRESS}};
    lzo_uint made = room;
    pthread_once(&once, prepare);
    void *work = ready ? local_bytes(LOCAL_LZO, levels[preset].work) : NULL;
    if (!work || levels[preset].run(src, n, dst, &made, work) != LZO_E_OK)
        return SL_ENOMEM;
    return (int)made;
}

static int lzo_decode(const void *src, size_t n, void *dst, size_t size)
{
    lzo_uint made = size;
    pthread_once(&once, prepare);
    if (!ready)
        return SL_ENOMEM;
    int rc = lzo1x_decompress_safe(src, n, dst, &made, NULL);
    return rc == LZO_E_OK && made == size ? 0 : SL_ECORRUPT;
}

const struct codec_ops codec_lzo = {.id = SL_CODEC_LZO,
                                    .needs_bound = 1,
                                    .name = "lzo",
                                    .bound = lzo_bound,
                                    .encode = lzo_encode,
                                    .decode = lzo_decode};
