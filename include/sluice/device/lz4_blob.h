/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Puts and gets of a warp whose bytes cross the host link as LZ4 blocks.
 *
 * For kernels (CUDA, HIP) and for the `host` device. The warp compresses before
 * the link and decompresses behind it, so a link carries up to `ratio` times
 * the pages. The blob is an ordinary one with codec 4: every other get reads
 * it, and a get of this file reads every blob. Usual order: a workspace for
 * each warp in shared memory, then the calls with all 32 lanes.
 *
 *   SL_SHARED(struct work, w);       // struct sl_lz4_blob warp[4], say
 *   rc = sl_put_lz4_warp(&dev, &w->warp[i], key, 0, page, 4096, how);
 *   rc = sl_get_lz4_warp(&dev, &w->warp[i], key, 0, page, 4096);
 *
 * What crosses the link coded: puts of SLB_LZ4_LEAST to SL_LZ4_SMALL bytes that
 * become smaller, and gets of exactly the range of such a put (or of a host's
 * put with codec LZ4) while it is in the pinned tier. All else is answered with
 * plain bytes, as by sl_put_warp and sl_get_warp.
 */
#ifndef SLUICE_DEVICE_LZ4_BLOB_H
#define SLUICE_DEVICE_LZ4_BLOB_H

#include "../device.h"
#include "lz4.h"

/** Smallest put that is coded: two lines of the GPU. */
#define SLB_LZ4_LEAST 256u
/** What coding must save, or the link carries as many lines as before. */
#define SLB_LZ4_SAVES 128u

/** Workspace of one warp, in shared memory; its content does not matter. */
struct sl_lz4_blob {
    union {
        struct {
            struct sl_lz4_pack work;
            uint8_t coded[SL_LZ4_SMALL] __attribute__((aligned(16)));
        } pack;
        struct sl_lz4_unpack unpack;
    } u;
};

/**
 * As sl_put_warp. All 32 lanes call; `data` is device or pinned memory.
 * how.codec is not looked at: bytes that do not shrink are stored as they are,
 * and more than SL_LZ4_SMALL are sent as they are and coded by the store.
 */
SL_FN int sl_put_lz4_warp(const struct sl_dev *d, struct sl_lz4_blob *ws,
                          struct sl_key k, uint64_t offset, const void *data,
                          uint64_t size, struct sl_how how)
{
    struct slm_request q;
    int n = 0;
    how.codec = size > SL_LZ4_SMALL ? SL_CODEC_LZ4 : SL_CODEC_NONE;
    slf_how(&q, &how);
    if (size >= SLB_LZ4_LEAST && size <= SL_LZ4_SMALL)
        n = sl_lz4_compress_warp(
            &ws->u.pack.work, data, (uint32_t)size, ws->u.pack.coded,
            (uint32_t)size - SLB_LZ4_SAVES, SL_LZ4_DEFAULT);
    if (n > 0) {
        q.codec = SL_CODEC_LZ4;
        q.flags = (uint16_t)(q.flags | SL_F_CODED);
        q.coded = (uint32_t)n;
        data = ws->u.pack.coded;
    }
    struct sl_future f = slb_begin_put(d, SL_WARP, &k, offset, &q, data, size);
    return slb_finish_now(d, SL_WARP, &f);
}

/** All lanes: what the reply names, to `data`. The block goes there first:
 *  decoding begins by copying it to shared memory, in pieces that cross the
 *  link at half the rate. */
SL_FN int slb_unpack(const struct sl_dev *d, struct sl_lz4_blob *ws,
                     const struct slg *g, const struct sl_future *f,
                     uint64_t reply)
{
    uint64_t coded = f->result.v[2];
    if (!coded) {
        slb_collect(d, g, f, reply);
        return 0;
    }
    if (coded > f->size)
        return SL_EBLOCK;
    slc_copy(g, f->data, d->arena + f->value, coded, 0);
    slg_sync(g);
    return sl_lz4_decompress_warp(&ws->u.unpack, f->data, (uint32_t)coded,
                                  f->data, (uint32_t)f->size);
}

/**
 * As sl_get_warp. All 32 lanes call; `data` is device or pinned memory.
 * Also SL_EBLOCK: the stored block is damaged, and `data` is undefined.
 */
SL_FN int sl_get_lz4_warp(const struct sl_dev *d, struct sl_lz4_blob *ws,
                          struct sl_key k, uint64_t offset, void *data,
                          uint64_t size)
{
    struct slg g = slg_make(SL_WARP);
    struct sl_until u = sl_until_default(d);
    uint64_t reply = 0;
    if (size > SL_LZ4_SMALL)
        return sl_get_warp(d, k, offset, data, size);
    struct sl_future f =
        slb_begin_range(d, SL_WARP, &k, offset, size, SL_F_CODED_OK);
    if (!f.live)
        return f.code;
    f.data = (uint8_t *)data;
    f.want = 1;
    int rc = slb_arrive(d, &g, &f, &u, &reply);
    if (rc) {
        slb_abandon(d, SL_WARP, &f);
        return rc;
    }
    if (f.code == 0 && size)
        f.code = slb_unpack(d, ws, &g, &f, reply);
    slb_leave(d, &g, &f, reply);
    return f.code;
}

#endif
