/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What cuda.c (devices, memory) and cuda_stream.c (kernels, copies) share.
 */
#ifndef SLUICE_CUDA_GPU_H
#define SLUICE_CUDA_GPU_H

#include "gpu/cuda_api.h"
#include "gpu/gpu.h"

struct cuda_gpu {
    struct gpu base;
    int device;
    struct cu_context *ctx; /* the primary one, that the runtime API uses too */
    struct cu_module *module; /* null: no kernels in this build */
    struct cu_stream *copies; /* of to_device, from_device, alloc */
    struct gpu_info info;
    struct cu_function *functions[]; /* in the order of kernel_table */
};

static inline struct cuda_gpu *cuda_of(struct gpu *g)
{
    return (struct cuda_gpu *)g;
}

/** Each call of the table works in the device's context and leaves the caller's
 *  thread as it found it. */
static inline int cuda_enter(const struct cuda_gpu *g)
{
    return cuda_check(cu.ctx_push(g->ctx), "cuCtxPushCurrent");
}

static inline void cuda_leave(void)
{
    struct cu_context *popped;
    cu.ctx_pop(&popped);
}

/* The stream part of gpu_cuda_ops (cuda_stream.c). */
int cuda_stream_open(struct gpu *g, struct gpu_stream **out);
void cuda_stream_close(struct gpu_stream *s);
int cuda_launch(struct gpu_stream *s, const struct gpu_launch *l);
int cuda_copy_async(struct gpu_stream *s, sl_devptr dst, sl_devptr src,
                    size_t n);
int cuda_stream_wait(struct gpu_stream *s, uint64_t timeout_ns,
                     uint64_t *elapsed_ns);

#endif
