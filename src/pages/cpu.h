/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The CPU path: one batch by liblz4 on a pool of threads.
 */
#ifndef SLUICE_PAGES_CPU_H
#define SLUICE_PAGES_CPU_H

#include "pages/pool.h"
#include "sluice/pages.h"

/** One batch. Buffers do not overlap. */
struct cpu_batch {
    const uint8_t *src;
    uint64_t src_bytes; /* decompress: of the blocks */
    struct sl_page_entry *entries;
    uint64_t n;     /* pages */
    uint64_t bytes; /* of the pages */
    uint32_t page_bytes;
    uint32_t mode;
};

/** Largest block that a page may have; larger ones are refused: no compressor
 *  that follows the format makes them (LZ4_COMPRESSBOUND). */
static inline uint32_t cpu_bound(uint32_t page_bytes)
{
    return page_bytes + page_bytes / 255 + 16;
}

/** Bytes of page i, of which the last one may be shorter. */
static inline uint32_t cpu_page_len(const struct cpu_batch *b, uint64_t i)
{
    uint64_t at = i * b->page_bytes;
    uint64_t left = b->bytes - at;
    return left < b->page_bytes ? (uint32_t)left : b->page_bytes;
}

/**
 * Compresses into `scratch` (b->bytes) in pieces; `piece` is room for
 * cpu_pieces(n) sums. Returns the bytes that cpu_place will write. The entries
 * are not final before that.
 */
uint64_t cpu_compress(struct pool *p, const struct cpu_batch *b,
                      uint8_t *scratch, uint64_t *piece);
/** Most pieces that a batch of n pages has. */
uint64_t cpu_pieces(uint64_t n);
/** Packs the pieces at `dst` and makes the entries' offsets final. */
void cpu_place(struct pool *p, const struct cpu_batch *b, uint8_t *scratch,
               uint64_t *piece, uint8_t *dst);
/** 0, or SL_EBLOCK when an entry has that code. */
int cpu_decompress(struct pool *p, const struct cpu_batch *b, uint8_t *dst);

/** Of one page: kind ZERO, FILL, or LZ4 when it is neither. */
enum sl_page_kind cpu_kind(const uint8_t *page, uint32_t len, uint64_t *fill);
/** Whether the entry of a page of `len` bytes stays within `src_bytes`. */
int cpu_entry_valid(const struct sl_page_entry *e, uint32_t len,
                    uint64_t src_bytes);
/** Whether a block that liblz4 has decoded holds the offset 0, which the format
 *  forbids and liblz4 lets pass: the match is what was in `dst` before. */
int cpu_has_offset_0(const uint8_t *block, uint32_t n);
/** Repeats the 8 bytes of `fill`. */
void cpu_fill(uint8_t *dst, uint32_t len, uint64_t fill);

#endif
