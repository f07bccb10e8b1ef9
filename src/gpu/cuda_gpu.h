/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What cuda.c (devices, memory), cuda_memory.c (whose memory), cuda_stream.c
 * (kernels, copies) and cuda_event.c share.
 */
#ifndef SLUICE_CUDA_GPU_H
#define SLUICE_CUDA_GPU_H

#include "gpu/cuda_api.h"
#include "gpu/gpu.h"

#include <pthread.h>

struct cuda_gpu {
    struct gpu base;
    int device;
    struct cu_context *ctx; /* the primary one, that the runtime API uses too */
    struct cu_module *module; /* null: no kernels in this build */
    struct cu_stream *copies; /* of to_device, from_device, alloc */
    struct gpu_info info;
    struct cu_function *functions[]; /* in the order of kernel_table */
};

struct cuda_stream {
    struct gpu_stream base;
    struct cu_stream *queue;
    struct cu_event *first, *last; /* around the work since the last wait */
    pthread_mutex_t lock;          /* of `busy` and the two events */
    int busy;                      /* work was queued since the last wait */
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

int cuda_memory_of(sl_devptr p, struct gpu_memory *out); /* cuda_memory.c */

/* The stream part of gpu_cuda_ops (cuda_stream.c). */
int cuda_stream_open(struct gpu *g, struct gpu_stream **out);
void cuda_stream_close(struct gpu_stream *s);
int cuda_launch(struct gpu_stream *s, const struct gpu_launch *l);
int cuda_occupancy(struct gpu *g, const char *kernel, uint32_t threads,
                   uint32_t *out);
int cuda_copy_async(struct gpu_stream *s, sl_devptr dst, sl_devptr src,
                    size_t n);
int cuda_copy_list(struct gpu_stream *s, const struct gpu_copy *c, size_t n);
int cuda_stream_wait(struct gpu_stream *s, uint64_t timeout_ns,
                     uint64_t *elapsed_ns);
int cuda_stream_test(struct gpu_stream *s, uint64_t *elapsed_ns);

/* The events (cuda_event.c). */
int cuda_event_open(struct gpu *g, struct gpu_event **out);
void cuda_event_close(struct gpu_event *e);
int cuda_event_record(struct gpu_event *e, struct gpu_stream *s);
int cuda_event_follow(struct gpu_stream *s, struct gpu_event *e);
int cuda_event_test(struct gpu_event *e);
int cuda_event_between(struct gpu_event *first, struct gpu_event *last,
                       uint64_t *ns);

#endif
