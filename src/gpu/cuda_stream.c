/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/log.h"
#include "gpu/cuda_gpu.h"
#include "gpu/kernels/table.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* Largest argument struct that every toolkit and device takes (CUDA C++
 * Programming Guide, kernel parameters). */
#define ARGS_MAX 4096u
/* A wait spins first, for kernels of a few microseconds, then sleeps an eighth
 * of what it has waited, within these bounds. */
#define SPIN_NS 50000u
#define NAP_MIN_NS 20000u
#define NAP_MAX_NS 1000000u

static struct cuda_stream *stream_of(struct gpu_stream *s)
{
    return (struct cuda_stream *)s;
}

static int stream_create(struct cuda_stream *s)
{
    int rc = cuda_check(cu.stream_create(&s->queue, CU_STREAM_NON_BLOCKING),
                        "cuStreamCreate");
    if (rc)
        return rc;
    rc = cuda_check(cu.event_create(&s->first, 0), "cuEventCreate");
    if (rc)
        goto destroy_queue;
    rc = cuda_check(cu.event_create(&s->last, 0), "cuEventCreate");
    if (rc)
        goto destroy_first;
    return 0;

destroy_first:
    cu.event_destroy(s->first);
destroy_queue:
    cu.stream_destroy(s->queue);
    return rc;
}

int cuda_stream_open(struct gpu *g, struct gpu_stream **out)
{
    struct cuda_stream *s = calloc(1, sizeof(*s));
    if (!s)
        return SL_ENOMEM;
    int rc = cuda_enter(cuda_of(g));
    if (rc == 0) {
        rc = stream_create(s);
        cuda_leave();
    }
    if (rc) {
        free(s);
        return rc;
    }
    pthread_mutex_init(&s->lock, NULL);
    s->base.gpu = g;
    *out = &s->base;
    return 0;
}

void cuda_stream_close(struct gpu_stream *base)
{
    struct cuda_stream *s = stream_of(base);
    if (cuda_enter(cuda_of(base->gpu)) == 0) {
        cu.event_destroy(s->first);
        cu.event_destroy(s->last);
        cu.stream_destroy(s->queue);
        cuda_leave();
    }
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* Work on a stream goes between these two, so that the events stand around
 * it. With success of the first, the lock is held and the context entered. */
static int work_begin(struct cuda_stream *s)
{
    int rc = cuda_enter(cuda_of(s->base.gpu));
    if (rc)
        return rc;
    pthread_mutex_lock(&s->lock);
    if (!s->busy)
        rc = cuda_check(cu.event_record(s->first, s->queue), "cuEventRecord");
    if (rc) {
        pthread_mutex_unlock(&s->lock);
        cuda_leave();
    }
    return rc;
}

static int work_end(struct cuda_stream *s, int rc)
{
    if (rc == 0) {
        rc = cuda_check(cu.event_record(s->last, s->queue), "cuEventRecord");
        s->busy = 1;
    }
    pthread_mutex_unlock(&s->lock);
    cuda_leave();
    return rc;
}

static struct cu_function *function_of(const struct cuda_gpu *g,
                                       const char *name)
{
    const struct kernel_entry *k = kernel_find(name);
    struct cu_function *f = k ? g->functions[k - kernel_table] : NULL;
    if (!f)
        log_error("no kernel %s for cuda:%d: %s", name, g->info.ordinal,
                  kernel_fatbin_bytes ? "it is not in this build, or the "
                                        "driver could not load it"
                                      : "this build is without nvcc");
    return f;
}

int cuda_launch(struct gpu_stream *base, const struct gpu_launch *l)
{
    struct cuda_stream *s = stream_of(base);
    struct cu_function *f = function_of(cuda_of(base->gpu), l->kernel);
    uint64_t args[ARGS_MAX / sizeof(uint64_t)];
    size_t bytes = l->args_bytes;
    if (!f)
        return SL_ENOSYS;
    if (bytes > sizeof(args)) {
        log_error("%s: %zu bytes of arguments, at most %u", l->kernel, bytes,
                  ARGS_MAX);
        return SL_EINVAL;
    }
    memcpy(args, l->args, bytes);
    /* CU_LAUNCH_PARAM_BUFFER_POINTER, _BUFFER_SIZE, _END: the driver compares
     * the size with that of the kernel's struct. */
    void *extra[] = {(void *)(uintptr_t)1, args, (void *)(uintptr_t)2, &bytes,
                     NULL};
    int rc = work_begin(s);
    if (rc)
        return rc;
    rc = cuda_check(cu.launch(f, l->grid.x, l->grid.y, l->grid.z, l->block.x,
                              l->block.y, l->block.z, 0, s->queue, NULL, extra),
                    l->kernel);
    return work_end(s, rc);
}

int cuda_occupancy(struct gpu *base, const char *kernel, uint32_t threads,
                   uint32_t *out)
{
    const struct cuda_gpu *g = cuda_of(base);
    struct cu_function *f = function_of(g, kernel);
    int blocks = 0, rc = f ? cuda_enter(g) : SL_ENOSYS;
    if (rc)
        return rc;
    rc = cuda_check(cu.occupancy(&blocks, f, (int)threads, 0), kernel);
    cuda_leave();
    if (rc == 0 && blocks < 1) {
        log_error("%s: cuda:%d has no room for a block of %u threads", kernel,
                  g->info.ordinal, threads);
        rc = SL_EDEVICE;
    }
    if (rc == 0)
        *out = (uint32_t)blocks;
    return rc;
}

int cuda_copy_async(struct gpu_stream *base, sl_devptr dst, sl_devptr src,
                    size_t n)
{
    struct cuda_stream *s = stream_of(base);
    int rc = n ? work_begin(s) : 0;
    if (rc || n == 0)
        return rc;
    rc = cuda_check(cu.copy_any(dst, src, n, s->queue), "cuMemcpyAsync");
    return work_end(s, rc);
}

static int queue_copy(const struct cuda_stream *s, const struct gpu_copy *c)
{
    if (!c->from)
        return cuda_check(cu.memset_async(c->to, 0, c->bytes, s->queue),
                          "cuMemsetD8Async");
    return cuda_check(cu.copy_any(c->to, c->from, c->bytes, s->queue),
                      "cuMemcpyAsync");
}

int cuda_copy_list(struct gpu_stream *base, const struct gpu_copy *c, size_t n)
{
    struct cuda_stream *s = stream_of(base);
    int rc = cuda_enter(cuda_of(base->gpu));
    if (rc)
        return rc;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = queue_copy(s, &c[i]);
    cuda_leave();
    return rc;
}

/* 0 and the time when all has ended, SL_EAGAIN when not yet. */
static int stream_test(struct cuda_stream *s, uint64_t *elapsed_ns)
{
    float ms = 0;
    int rc = cuda_enter(cuda_of(s->base.gpu));
    if (rc)
        return rc;
    pthread_mutex_lock(&s->lock);
    if (s->busy) {
        int code = cu.event_query(s->last);
        rc = code == CU_NOT_READY ? SL_EAGAIN
                                  : cuda_check(code, "a kernel or copy failed");
    }
    if (rc == 0 && s->busy) {
        rc = cuda_check(cu.event_elapsed(&ms, s->first, s->last),
                        "cuEventElapsedTime");
        s->busy = 0;
    }
    if (rc == 0)
        *elapsed_ns = (uint64_t)((double)ms * 1e6);
    pthread_mutex_unlock(&s->lock);
    cuda_leave();
    return rc;
}

int cuda_stream_test(struct gpu_stream *s, uint64_t *elapsed_ns)
{
    uint64_t elapsed = 0;
    int rc = stream_test(stream_of(s), &elapsed);
    if (rc == 0 && elapsed_ns)
        *elapsed_ns = elapsed;
    return rc;
}

static void nap(uint64_t waited_ns, uint64_t left_ns)
{
    uint64_t ns = waited_ns / 8u;
    if (waited_ns < SPIN_NS) {
        sched_yield();
        return;
    }
    ns = ns < NAP_MIN_NS ? NAP_MIN_NS : ns;
    ns = ns > NAP_MAX_NS ? NAP_MAX_NS : ns;
    ns = ns > left_ns ? left_ns : ns;
    clock_sleep_ns(ns);
}

int cuda_stream_wait(struct gpu_stream *base, uint64_t timeout_ns,
                     uint64_t *elapsed_ns)
{
    struct cuda_stream *s = stream_of(base);
    uint64_t start = clock_ns();
    uint64_t elapsed = 0;
    for (;;) {
        int rc = stream_test(s, &elapsed);
        if (rc == 0 && elapsed_ns)
            *elapsed_ns = elapsed;
        if (rc != SL_EAGAIN)
            return rc;
        uint64_t waited = clock_ns() - start;
        if (waited >= timeout_ns)
            return SL_ETIMEDOUT;
        nap(waited, timeout_ns - waited);
    }
}
