/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Kernels of batches of pages, with the functions of sluice/device/lz4.h. Types
 * that the host fills and the kernels read; fields that end in _at are
 * addresses of the device.
 *
 * Compress is four kernels on one stream: k_lz4_pack_* makes a block of each
 * page in a slot of its own, k_lz4_sum and k_lz4_base give it its place, and
 * k_lz4_gather moves it there. Of small batches k_lz4_places does the work of
 * the middle two, and several warps may share a page: k_lz4_part_*,
 * k_lz4_places, k_lz4_gather_parts.
 * Decompress is one: k_lz4_unpack_*, of small batches k_lz4_unpack_team.
 */
#ifndef SLUICE_KERNELS_LZ4_H
#define SLUICE_KERNELS_LZ4_H

#include "sluice/device/lz4_part.h"
#include "sluice/device/lz4_team.h"
#include "sluice/pages.h"

/* Most warps of a block, each with a page: the workspaces lie in the shared
 * memory of a block, at most 48 KiB, and a block reserves 1 KiB more. */
#define LZ4_PACK_WARPS 4u
#define LZ4_UNPACK_WARPS 4u
#define LZ4_PACK_LARGE_WARPS 3u
#define LZ4_UNPACK_LARGE_WARPS 4u

/* Blocks for which a multiprocessor of 228 KiB has shared memory. */
#define LZ4_PACK_BLOCKS 8u
#define LZ4_UNPACK_BLOCKS 10u
#define LZ4_PACK_LARGE_BLOCKS 9u
#define LZ4_UNPACK_LARGE_BLOCKS 9u
#define LZ4_TEAM_BLOCKS 5u

/* Pages whose sizes a block of k_lz4_sum adds up, one thread each. */
#define LZ4_SUM_PAGES 1024u

/* Most pages of which one block finds the places. */
#define LZ4_PLACES_PAGES (4u * LZ4_SUM_PAGES)

/* A slot has room for a block that is smaller than its page. */
#define LZ4_SLOT(page_bytes) (((page_bytes) + 15u) & ~15u)

/* The same for a part of a page. */
#define LZ4_AREA(part_bytes) ((SL_LZ4_PART_ROOM(part_bytes) + 15u) & ~15u)

struct k_lz4_args {
    uint64_t src_at;     /* compress: pages; else blocks */
    uint64_t src_bytes;  /* decompress: of the blocks */
    uint64_t dst_at;     /* compress: blocks, packed; else pages */
    uint64_t entries_at; /* struct sl_page_entry, n */
    uint64_t slots_at;   /* compress: n of LZ4_SLOT(page_bytes); or of each
                            part LZ4_AREA(part_bytes) */
    uint64_t records_at; /* struct sl_lz4_part of each part */
    uint64_t sums_at;    /* compress: uint64_t for LZ4_SUM_PAGES pages each */
    uint64_t total_at; /* uint64_t. Compress: the bytes of all blocks; else set
                            when a page has a code, unless 0 */
    uint64_t bytes;    /* of the pages */
    uint64_t n;        /* pages */
    uint32_t page_bytes;
    uint32_t part_bytes; /* a multiple of SL_LZ4_PART_MIN */
    uint32_t parts;      /* of each page; 1: none */
    uint32_t reserved;
};

#endif
