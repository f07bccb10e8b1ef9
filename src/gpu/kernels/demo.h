/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The kernels of `sluice demo`: files in device memory become blobs and come
 * back. Types that the host fills and the kernel reads; the fields that are
 * addresses are addresses of the device.
 */
#ifndef SLUICE_KERNELS_DEMO_H
#define SLUICE_KERNELS_DEMO_H

#include "gpu/kernels/clock.h"
#include "sluice/device.h"

struct demo_blob {
    uint64_t at;       /* of its bytes in `data` */
    uint32_t name_at;  /* of its name in `names` */
    uint32_t name_len; /* 1 to 255 */
};

/** One put or get, done by one warp. */
struct demo_op {
    uint64_t offset; /* into the blob */
    uint32_t bytes;
    uint32_t blob;
    uint32_t whole; /* 1: the op is the whole blob */
    uint32_t reserved;
};

/** In device memory, zeroed before each kernel. */
struct demo_state {
    uint64_t next;     /* op that the next free warp takes */
    uint64_t errors;   /* ops that failed */
    uint64_t first_op; /* the first of them */
    int64_t first_code;
    struct kernel_clock clock;
};

struct demo_arg {
    struct sl_dev dev;
    uint64_t tag;
    uint64_t data;  /* bytes: source of puts, destination of gets */
    uint64_t names; /* char */
    uint64_t blobs; /* struct demo_blob */
    uint64_t ops;   /* struct demo_op, n_ops */
    uint64_t took;  /* uint64_t, n_ops: ticks that each took */
    uint64_t state; /* struct demo_state */
    uint64_t n_ops; /* below 2^32 */
};

#endif
