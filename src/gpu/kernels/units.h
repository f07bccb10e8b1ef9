/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Kernels that move coded units between device memory and the arena: what
 * kernels/lz4.h has packed goes to a chunk for each unit (k_unit_send), and
 * blocks of many chunks come to one buffer (k_unit_fetch). One block of threads
 * a unit. Fields that end in _at are addresses of the device.
 */
#ifndef SLUICE_KERNELS_UNITS_H
#define SLUICE_KERNELS_UNITS_H

#include "sluice/device.h"
#include "sluice/pages.h"

struct k_unit_send_args {
    uint64_t src_at;     /* plain bytes */
    uint64_t blocks_at;  /* of batch_compress */
    uint64_t entries_at; /* struct sl_page_entry, n */
    uint64_t table_at;   /* words of sl_unit_make, n; a unit that has as many
                            bytes there as plain ones goes as it is */
    uint64_t arena_at;
    uint64_t bytes; /* of src */
    uint64_t n;
    uint64_t unit; /* plain bytes of each */
};

/** Where a block is, and where it goes. */
struct k_unit_block {
    uint64_t from; /* in the arena */
    uint64_t to;   /* in the buffer, a multiple of 16 */
    uint64_t bytes;
};

struct k_unit_fetch_args {
    uint64_t list_at; /* struct k_unit_block, n */
    uint64_t arena_at;
    uint64_t buffer_at;
    uint64_t n;
};

/* Pages of one repeated value have no block; as units they get one. Shorter ones
 * than this stay plain: LZ4 wants room behind its last match
 * (lz4_Block_format.md). */
#define UNIT_FILL_LEAST 64u

/** Bytes of the block of a unit of `n` bytes that repeats 8: their literals, one
 *  match, and the last 5 bytes. */
SL_BOTH uint32_t unit_fill_bytes(uint32_t n)
{
    return 1u + 8u + 2u + (n - 13u - 19u) / 255u + 1u + 1u + 5u;
}

/** Byte number i of that block. */
SL_BOTH uint8_t unit_fill_byte(uint64_t fill, uint32_t n, uint32_t i)
{
    uint32_t more = n - 13u - 19u; /* of the match, beyond its token */
    uint32_t ext = more / 255u + 1u;
    if (i == 0)
        return 0x8f; /* 8 literals, a long match */
    if (i < 9u)
        return (uint8_t)(fill >> (8u * (i - 1u)));
    if (i < 11u)
        return i == 9u ? 8 : 0; /* the match's distance */
    if (i < 11u + ext)
        return i + 1u < 11u + ext ? 255 : (uint8_t)(more % 255u);
    if (i == 11u + ext)
        return 0x50; /* 5 literals, the end */
    return (uint8_t)(fill >> (8u * ((n - 5u + i - 12u - ext) % 8u)));
}

#endif
