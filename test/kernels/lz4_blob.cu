/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/lz4_blob.h"

#include "sluice/device/lz4_blob.h"

struct lz4_blob_block {
    struct sl_lz4_blob warp[CHECK_LZ4_BLOB_WARPS];
};

SL_FN int check_lz4_blob(const struct sl_dev *d, struct sl_lz4_blob *ws,
                         const struct check_lz4_blob_job *j)
{
    struct sl_key key =
        sl_key_make(j->tag, (const char *)(uintptr_t)j->name_at, j->name_len);
    void *data = (void *)(uintptr_t)j->data_at;
    struct sl_how how = sl_how_default();
    how.persist = j->persist;
    how.flags = j->replace ? SL_F_REPLACE : 0;
    if (j->what == CHECK_LZ4_BLOB_PUT)
        return sl_put_lz4_warp(d, ws, key, j->offset, data, j->size, how);
    return sl_get_lz4_warp(d, ws, key, j->offset, data, j->size);
}

SL_KERNEL(k_check_lz4_blob, struct check_lz4_blob_args)
{
    SL_SHARED(struct lz4_blob_block, ws);
    uint32_t warp = slp_thread() / 32u;
    uint64_t i = (uint64_t)slp_block() * CHECK_LZ4_BLOB_WARPS + warp;
    for (; i < arg.n_jobs; i += (uint64_t)slp_blocks() * CHECK_LZ4_BLOB_WARPS) {
        struct check_lz4_blob_job *j =
            (struct check_lz4_blob_job *)(uintptr_t)arg.jobs_at + i;
        int code = check_lz4_blob(&arg.dev, &ws->warp[warp], j);
        uint32_t same = slp_ballot(
            slp_lanes(),
            (uint32_t)code == slp_shfl(slp_lanes(), (uint32_t)code, 0));
        if (slp_lane() == 0) {
            j->code = code;
            j->equal = slg_popc(same);
        }
        slp_syncwarp(slp_lanes());
    }
}
