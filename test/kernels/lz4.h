/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The kernels of test_device_lz4*.c: lists of pages and blocks, one by each
 * warp. Types that the host fills and the kernel reads.
 */
#ifndef SLUICE_KERNELS_CHECK_LZ4_H
#define SLUICE_KERNELS_CHECK_LZ4_H

#include <stdint.h>

#define CHECK_LZ4_WARPS 2u /* of a block of k_check_lz4 */
#define CHECK_LZ4_PARTS 4u /* of a page, in k_check_lz4_team */

enum check_lz4_what { CHECK_LZ4_PACK, CHECK_LZ4_FAST, CHECK_LZ4_UNPACK };

struct check_lz4_job {
    uint64_t src_at, dst_at; /* any alignment */
    uint32_t n;              /* bytes at src_at */
    uint32_t room;           /* of dst; UNPACK: size of the page */
    int32_t code;            /* what the call returned */
    uint32_t what;           /* enum check_lz4_what */
};

/** k_check_lz4: pages up to SL_LZ4_SMALL. k_check_lz4_large: of all sizes, one
 *  warp a block. k_check_lz4_team: one job a block of SL_LZ4_TEAM threads, those
 *  that compress up to SL_LZ4_SMALL. */
struct check_lz4_args {
    uint64_t jobs_at; /* struct check_lz4_job, n_jobs */
    uint64_t n_jobs;
};

#endif
