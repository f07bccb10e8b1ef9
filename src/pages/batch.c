/* SPDX-License-Identifier: Apache-2.0 */
#include "pages/batch.h"

#include "gpu/kernels/lz4.h"

/* A grid has at most 2^31 - 1 blocks; a batch is far below. */
#define BLOCKS_MAX UINT64_C(0x7fffffff)
#define GATHER_WARPS 8u

static uint64_t pieces(uint64_t n, uint64_t of)
{
    return (n + of - 1u) / of;
}

static uint64_t slots_bytes(uint64_t bytes, uint32_t page_bytes)
{
    return pieces(bytes, page_bytes) * LZ4_SLOT(page_bytes);
}

uint64_t batch_scratch(uint64_t bytes, uint32_t page_bytes)
{
    uint64_t n = pieces(bytes, page_bytes);
    return slots_bytes(bytes, page_bytes) +
           pieces(n, LZ4_SUM_PAGES) * sizeof(uint64_t);
}

static int args_of(const struct batch *b, struct k_lz4_args *a)
{
    if (b->page_bytes < SL_PAGE_MIN || b->page_bytes > SL_PAGE_MAX ||
        b->page_bytes % 64u)
        return SL_EPAGESIZE;
    uint64_t n = pieces(b->bytes, b->page_bytes);
    if (n == 0 || n > BLOCKS_MAX)
        return SL_EINVAL;
    *a = (struct k_lz4_args){.src_at = b->src,
                             .src_bytes = b->src_bytes,
                             .dst_at = b->dst,
                             .entries_at = b->entries,
                             .slots_at = b->scratch,
                             .sums_at = b->scratch +
                                        slots_bytes(b->bytes, b->page_bytes),
                             .total_at = b->total,
                             .bytes = b->bytes,
                             .n = n,
                             .page_bytes = b->page_bytes};
    return 0;
}

/* Warps for `n` pages, at most `most` a block, fewer where that leaves
 * multiprocessors without work. */
static int launch_pages(const struct batch *b, const struct k_lz4_args *a,
                        const char *kernel, uint32_t most)
{
    struct gpu *g = b->stream->gpu;
    struct gpu_info info;
    g->ops->info(g, &info);
    uint64_t warps = pieces(a->n, info.sms ? info.sms : 1u);
    warps = warps < most ? warps : most;
    struct gpu_launch l = {.kernel = kernel,
                           .grid = {(uint32_t)pieces(a->n, warps), 1, 1},
                           .block = {32u * (uint32_t)warps, 1, 1},
                           .args = a,
                           .args_bytes = sizeof(*a)};
    return g->ops->launch(b->stream, &l);
}

static int launch_sums(const struct batch *b, const struct k_lz4_args *a)
{
    struct gpu *g = b->stream->gpu;
    struct gpu_launch l = {
        .kernel = "k_lz4_sum",
        .grid = {(uint32_t)pieces(a->n, LZ4_SUM_PAGES), 1, 1},
        .block = {LZ4_SUM_PAGES, 1, 1},
        .args = a,
        .args_bytes = sizeof(*a)};
    int rc = g->ops->launch(b->stream, &l);
    l.kernel = "k_lz4_base";
    l.grid.x = 1;
    return rc ? rc : g->ops->launch(b->stream, &l);
}

int batch_compress(const struct batch *b)
{
    static const char *const kernels[2][2] = {
        {"k_lz4_pack", "k_lz4_pack_fast"},
        {"k_lz4_pack_large", "k_lz4_pack_large_fast"}};
    int large = b->page_bytes > SL_LZ4_SMALL;
    struct k_lz4_args a;
    int rc = args_of(b, &a);
    if (rc)
        return rc;
    if (b->mode > SL_PAGES_FAST)
        return SL_EINVAL;
    rc = launch_pages(b, &a, kernels[large][b->mode],
                      large ? LZ4_PACK_LARGE_WARPS : LZ4_PACK_WARPS);
    if (rc == 0)
        rc = launch_sums(b, &a);
    if (rc == 0)
        rc = launch_pages(b, &a, "k_lz4_gather", GATHER_WARPS);
    return rc;
}

int batch_decompress(const struct batch *b)
{
    struct k_lz4_args a;
    int rc = args_of(b, &a);
    if (rc)
        return rc;
    if (b->page_bytes > SL_LZ4_SMALL)
        return launch_pages(b, &a, "k_lz4_unpack_large",
                            LZ4_UNPACK_LARGE_WARPS);
    return launch_pages(b, &a, "k_lz4_unpack", LZ4_UNPACK_WARPS);
}
