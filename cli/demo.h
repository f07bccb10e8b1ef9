/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * One run of the demo: the files of a directory, a runtime, a device, and what
 * came out.
 */
#ifndef SLUICE_CLI_DEMO_H
#define SLUICE_CLI_DEMO_H

#include "demo_input.h"
#include "gpu/gpu.h"
#include "gpu/kernels/demo.h"
#include "sluice/sluice.h"

/** Of puts or of gets. */
struct demo_phase {
    uint64_t ns; /* device time of the kernel */
    double p50_ns, p99_ns;
};

struct demo_run {
    struct demo_input in;
    struct sl_runtime *rt;
    struct sl_device *dev;
    uint64_t tag;
    struct gpu *gpu;
    struct gpu_stream *stream;
    struct gpu_info info;
    struct demo_op *op; /* in the order of the next kernel */
    uint64_t *ticks;
    uint64_t n_ops;
    sl_devptr source, target, names, blobs, ops, took, state;
    struct demo_phase put, get;
    uint64_t verified;
};

/** Cuts the files into operations. 0 or an exit code. */
int demo_cut(struct demo_run *r);
/** Opens device memory and uploads all that the kernels read. */
int demo_upload(struct demo_run *r, const char *device);
/** Runs the kernels. 0 or an exit code; a failed operation is named. */
int demo_put(struct demo_run *r);
int demo_get(struct demo_run *r);
/** Compares each byte with the files'; sets r->verified, names what differs. */
int demo_verify(struct demo_run *r);
/** Frees what the functions above took; may be called at any point. */
void demo_end(struct demo_run *r);

#endif
