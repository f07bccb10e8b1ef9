/* SPDX-License-Identifier: Apache-2.0 */
#include "gpu/cuda_gpu.h"

#include <stdlib.h>

struct cuda_event {
    struct gpu_event base;
    struct cu_event *event;
};

static struct cuda_event *event_of(struct gpu_event *e)
{
    return (struct cuda_event *)e;
}

int cuda_event_open(struct gpu *g, struct gpu_event **out)
{
    struct cuda_event *e = calloc(1, sizeof(*e));
    if (!e)
        return SL_ENOMEM;
    int rc = cuda_enter(cuda_of(g));
    if (rc == 0) {
        rc = cuda_check(cu.event_create(&e->event, 0), "cuEventCreate");
        cuda_leave();
    }
    if (rc) {
        free(e);
        return rc;
    }
    e->base.gpu = g;
    *out = &e->base;
    return 0;
}

void cuda_event_close(struct gpu_event *base)
{
    struct cuda_event *e = event_of(base);
    if (cuda_enter(cuda_of(base->gpu)) == 0) {
        cu.event_destroy(e->event);
        cuda_leave();
    }
    free(e);
}

int cuda_event_record(struct gpu_event *e, struct gpu_stream *s)
{
    struct cuda_stream *stream = (struct cuda_stream *)s;
    int rc = cuda_enter(cuda_of(s->gpu));
    if (rc)
        return rc;
    rc = cuda_check(cu.event_record(event_of(e)->event, stream->queue),
                    "cuEventRecord");
    cuda_leave();
    return rc;
}

int cuda_event_follow(struct gpu_stream *s, struct gpu_event *e)
{
    struct cuda_stream *stream = (struct cuda_stream *)s;
    int rc = cuda_enter(cuda_of(s->gpu));
    if (rc)
        return rc;
    rc = cuda_check(cu.stream_follow(stream->queue, event_of(e)->event, 0),
                    "cuStreamWaitEvent");
    cuda_leave();
    return rc;
}

int cuda_event_test(struct gpu_event *e)
{
    int rc = cuda_enter(cuda_of(e->gpu));
    if (rc)
        return rc;
    int code = cu.event_query(event_of(e)->event);
    rc = code == CU_NOT_READY ? SL_EAGAIN
                              : cuda_check(code, "a kernel or copy failed");
    cuda_leave();
    return rc;
}

int cuda_event_between(struct gpu_event *first, struct gpu_event *last,
                       uint64_t *ns)
{
    float ms = 0;
    int rc = cuda_enter(cuda_of(first->gpu));
    if (rc)
        return rc;
    rc = cuda_check(
        cu.event_elapsed(&ms, event_of(first)->event, event_of(last)->event),
        "cuEventElapsedTime");
    if (rc == 0)
        *ns = (uint64_t)((double)ms * 1e6);
    cuda_leave();
    return rc;
}
