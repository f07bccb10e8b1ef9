/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * One batch of pages on a device, as kernels on a stream: device arrays in,
 * device arrays out. Nothing is waited for.
 *
 * Usual order: alloc batch_scratch bytes once; for each batch fill a struct,
 * call batch_compress or batch_decompress, wait for the stream.
 */
#ifndef SLUICE_PAGES_BATCH_H
#define SLUICE_PAGES_BATCH_H

#include "gpu/gpu.h"
#include "sluice/pages.h"

/** Addresses of the device, aligned 16; they stay until the stream has done the
 *  batch. */
struct batch {
    struct gpu_stream *stream;
    sl_devptr src; /* compress: `bytes` of pages; else the blocks */
    sl_devptr dst; /* compress: blocks, packed, `bytes` of room; else pages */
    sl_devptr entries; /* struct sl_page_entry of each page */
    sl_devptr scratch; /* compress: batch_scratch bytes */
    sl_devptr
        total; /* uint64_t. Compress: the bytes of all blocks; else, unless
                        0: is set when an entry has a code */
    uint64_t src_bytes;  /* decompress: of the blocks */
    uint64_t bytes;      /* of the pages, not 0 */
    uint32_t page_bytes; /* SL_PAGE_MIN to SL_PAGE_MAX, a multiple of 64 */
    uint32_t mode;       /* compress: enum sl_pages_mode */
    uint32_t parts;      /* compress: most warps that share a page; 0: as
                       the device has room for */
};

/** Device memory that compress needs for batches of up to so many bytes. */
uint64_t batch_scratch(uint64_t bytes, uint32_t page_bytes);

/**
 * Queues the kernels; entries, dst and total are there when the stream has done
 * them. Damaged blocks show in the entries' codes, and their pages are zero.
 * SL_EPAGESIZE, SL_EINVAL (bytes, mode), SL_ENOSYS (this build has no kernels),
 * SL_EDEVICE.
 */
int batch_compress(const struct batch *b);
int batch_decompress(const struct batch *b);

#endif
