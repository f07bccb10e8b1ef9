/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The kernel of test_device_lz4_blob.c: puts and gets of device/lz4_blob.h, one
 * by each warp. Types that the host fills and the kernel reads.
 */
#ifndef SLUICE_KERNELS_CHECK_LZ4_BLOB_H
#define SLUICE_KERNELS_CHECK_LZ4_BLOB_H

#include "sluice/device.h"

#define CHECK_LZ4_BLOB_WARPS 2u /* of a block */

enum check_lz4_blob_what { CHECK_LZ4_BLOB_PUT, CHECK_LZ4_BLOB_GET };

struct check_lz4_blob_job {
    uint64_t tag, offset, size;
    uint64_t data_at; /* source or destination, any alignment */
    uint64_t name_at;
    uint32_t name_len;
    uint32_t what; /* enum check_lz4_blob_what */
    uint8_t persist, replace, reserved[2];
    int32_t code;   /* of the first lane */
    uint32_t equal; /* lanes with that code */
    uint32_t reserved2;
};

/** k_check_lz4_blob: all jobs, in any order. */
struct check_lz4_blob_args {
    struct sl_dev dev;
    uint64_t jobs_at; /* struct check_lz4_blob_job, n_jobs */
    uint64_t n_jobs;
};

#endif
