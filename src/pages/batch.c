/* SPDX-License-Identifier: Apache-2.0 */
#include "pages/batch.h"

#include "gpu/kernels/lz4.h"

/* A grid has at most 2^31 - 1 blocks; a batch is far below. */
#define BLOCKS_MAX UINT64_C(0x7fffffff)
#define GATHER_WARPS 8u

/* Several warps share a page of a small batch: least bytes that each gets of a
 * small and of a large page, most warps, and for each warp that runs at once how
 * many a large page may be cut into. Measured in docs/performance.md. */
#define PART_BYTES 512u
#define PART_LARGE_BYTES 4096u
#define PARTS_MAX 16u
#define PARTS_PAGES 4u

static const char *const pack_kernels[2][2] = {
    {"k_lz4_pack", "k_lz4_pack_fast"},
    {"k_lz4_pack_large", "k_lz4_pack_large_fast"}};
static const char *const part_kernels[2][2] = {
    {"k_lz4_part", "k_lz4_part_fast"},
    {"k_lz4_part_large", "k_lz4_part_large_fast"}};

static uint64_t pieces(uint64_t n, uint64_t of)
{
    return (n + of - 1u) / of;
}

static uint64_t slots_bytes(uint64_t bytes, uint32_t page_bytes)
{
    return pieces(bytes, page_bytes) * LZ4_SLOT(page_bytes);
}

static uint64_t sums_bytes(uint64_t n)
{
    return pieces(n, LZ4_SUM_PAGES) * sizeof(uint64_t);
}

static uint32_t sms_of(struct gpu *g)
{
    struct gpu_info info;
    g->ops->info(g, &info);
    return info.sms ? info.sms : 1u;
}

/* Blocks of a kernel that the device runs at once. */
static int blocks_of(const struct batch *b, const char *kernel,
                     uint32_t threads, uint64_t *out)
{
    struct gpu *g = b->stream->gpu;
    uint32_t each = 1;
    int rc = g->ops->occupancy(g, kernel, threads, &each);
    *out = (uint64_t)sms_of(g) * each;
    return rc;
}

static int is_large(const struct batch *b)
{
    return b->page_bytes > SL_LZ4_SMALL;
}

static uint32_t pack_warps(const struct batch *b)
{
    return is_large(b) ? LZ4_PACK_LARGE_WARPS : LZ4_PACK_WARPS;
}

/* Areas of parts need so much more than the slot of their page: bounds, and
 * sizes rounded up. */
#define PARTS_OVER(page_bytes)                                                 \
    ((page_bytes) / 255u +                                                     \
     PARTS_MAX * (16u + 15u + SL_LZ4_PART_MIN + sizeof(struct sl_lz4_part)))

uint64_t batch_scratch(uint64_t bytes, uint32_t page_bytes)
{
    uint64_t n = pieces(bytes, page_bytes);
    return slots_bytes(bytes, page_bytes) + sums_bytes(n) +
           (n < LZ4_PLACES_PAGES ? n : LZ4_PLACES_PAGES) *
               PARTS_OVER(page_bytes);
}

/* Warps that share a page: more while there is room for them, and each has
 * enough to do. Up to 8 of a large page even when only a quarter of them runs at
 * once, since with few long runs of a warp the last ones leave most of the
 * device idle. `room`: warps that compress at once. */
static uint32_t parts_of(const struct batch *b, uint64_t n, uint64_t room)
{
    int large = is_large(b);
    uint32_t most = b->page_bytes / (large ? PART_LARGE_BYTES : PART_BYTES);
    uint32_t parts = 1;
    most = most < PARTS_MAX ? most : PARTS_MAX;
    if (b->parts)
        most = b->parts < PARTS_MAX ? b->parts : PARTS_MAX;
    if (n > PARTS_PAGES * room || n > LZ4_PLACES_PAGES)
        most = 1;
    while (2u * parts <= most) {
        uint64_t rounds = large && parts <= 4u ? PARTS_PAGES : 1u;
        if (!b->parts && 2u * parts * n > rounds * room)
            break;
        parts *= 2u;
    }
    return parts;
}

/* Parts begin at multiples of SL_LZ4_PART_MIN, so a page may have fewer. */
static int args_parts(const struct batch *b, struct k_lz4_args *a)
{
    uint32_t least = SL_LZ4_PART_MIN, warps = pack_warps(b), parts;
    uint64_t blocks = 0;
    int rc =
        blocks_of(b, pack_kernels[is_large(b)][b->mode], 32u * warps, &blocks);
    if (rc)
        return rc;
    parts = parts_of(b, a->n, blocks * warps);
    a->part_bytes =
        (uint32_t)pieces(pieces(b->page_bytes, parts), least) * least;
    parts = (uint32_t)pieces(b->page_bytes, a->part_bytes);
    a->parts = parts;
    a->records_at = b->scratch + a->n * parts * LZ4_AREA(a->part_bytes);
    a->sums_at = parts > 1u
                     ? a->records_at + a->n * parts * sizeof(struct sl_lz4_part)
                     : b->scratch + slots_bytes(b->bytes, b->page_bytes);
    return 0;
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
                             .total_at = b->total,
                             .bytes = b->bytes,
                             .n = n,
                             .page_bytes = b->page_bytes,
                             .part_bytes = b->page_bytes,
                             .parts = 1};
    return 0;
}

/* `all` warps, at most `most` a block, fewer where that leaves multiprocessors
 * without work. */
static int launch_warps(const struct batch *b, const struct k_lz4_args *a,
                        const char *kernel, uint64_t all, uint32_t most)
{
    struct gpu *g = b->stream->gpu;
    uint64_t warps = pieces(all, sms_of(g));
    warps = warps < most ? warps : most;
    struct gpu_launch l = {.kernel = kernel,
                           .grid = {(uint32_t)pieces(all, warps), 1, 1},
                           .block = {32u * (uint32_t)warps, 1, 1},
                           .args = a,
                           .args_bytes = sizeof(*a)};
    return g->ops->launch(b->stream, &l);
}

static int launch_pages(const struct batch *b, const struct k_lz4_args *a,
                        const char *kernel, uint32_t most)
{
    return launch_warps(b, a, kernel, a->n, most);
}

/* All parts of a page in one block. */
static int launch_gather_parts(const struct batch *b,
                               const struct k_lz4_args *a)
{
    struct gpu *g = b->stream->gpu;
    uint32_t warps =
        a->parts * (a->parts < GATHER_WARPS ? GATHER_WARPS / a->parts : 1u);
    struct gpu_launch l = {
        .kernel = "k_lz4_gather_parts",
        .grid = {(uint32_t)pieces(a->n * a->parts, warps), 1, 1},
        .block = {32u * warps, 1, 1},
        .args = a,
        .args_bytes = sizeof(*a)};
    return g->ops->launch(b->stream, &l);
}

static int launch_places(const struct batch *b, const struct k_lz4_args *a)
{
    struct gpu *g = b->stream->gpu;
    struct gpu_launch l = {.kernel = "k_lz4_places",
                           .grid = {1, 1, 1},
                           .block = {LZ4_SUM_PAGES, 1, 1},
                           .args = a,
                           .args_bytes = sizeof(*a)};
    if (a->n < LZ4_SUM_PAGES)
        l.block.x = 32u * (uint32_t)pieces(a->n, 32u);
    if (a->n <= LZ4_PLACES_PAGES)
        return g->ops->launch(b->stream, &l);
    l.kernel = "k_lz4_sum";
    l.grid.x = (uint32_t)pieces(a->n, LZ4_SUM_PAGES);
    int rc = g->ops->launch(b->stream, &l);
    l.kernel = "k_lz4_base";
    l.grid.x = 1;
    return rc ? rc : g->ops->launch(b->stream, &l);
}

static int compress_parts(const struct batch *b, const struct k_lz4_args *a)
{
    int rc = launch_warps(b, a, part_kernels[is_large(b)][b->mode],
                          a->n * a->parts, pack_warps(b));
    if (rc == 0)
        rc = launch_places(b, a);
    return rc ? rc : launch_gather_parts(b, a);
}

static int compress_pages(const struct batch *b, const struct k_lz4_args *a)
{
    int rc =
        launch_pages(b, a, pack_kernels[is_large(b)][b->mode], pack_warps(b));
    if (rc == 0)
        rc = launch_places(b, a);
    return rc ? rc : launch_pages(b, a, "k_lz4_gather", GATHER_WARPS);
}

int batch_compress(const struct batch *b)
{
    struct k_lz4_args a;
    int rc = args_of(b, &a);
    if (rc)
        return rc;
    if (b->mode > SL_PAGES_FAST)
        return SL_EINVAL;
    rc = args_parts(b, &a);
    if (rc)
        return rc;
    return a.parts > 1u ? compress_parts(b, &a) : compress_pages(b, &a);
}

/* A block of threads for each page, of which there are no more than the device
 * runs at once. */
static int launch_team(const struct batch *b, struct k_lz4_args *a)
{
    struct gpu *g = b->stream->gpu;
    struct gpu_launch l = {.kernel = "k_lz4_unpack_team",
                           .grid = {(uint32_t)a->n, 1, 1},
                           .block = {SL_LZ4_TEAM, 1, 1},
                           .args = a,
                           .args_bytes = sizeof(*a)};
    a->parts = SL_LZ4_TEAM_WARPS;
    a->part_bytes =
        (uint32_t)pieces(b->page_bytes, SL_LZ4_TEAM_WARPS * SL_LZ4_PART_MIN) *
        SL_LZ4_PART_MIN;
    return g->ops->launch(b->stream, &l);
}

int batch_decompress(const struct batch *b)
{
    struct k_lz4_args a;
    uint64_t few = 0;
    int rc = args_of(b, &a);
    if (rc == 0)
        rc = blocks_of(b, "k_lz4_unpack_team", SL_LZ4_TEAM, &few);
    if (rc)
        return rc;
    if (b->parts > 1u || (b->parts == 0 && a.n <= few))
        return launch_team(b, &a);
    if (is_large(b))
        return launch_pages(b, &a, "k_lz4_unpack_large",
                            LZ4_UNPACK_LARGE_WARPS);
    return launch_pages(b, &a, "k_lz4_unpack", LZ4_UNPACK_WARPS);
}
