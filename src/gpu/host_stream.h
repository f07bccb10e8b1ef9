/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * A stream of the `host` device is a thread with a list of jobs; what host.c
 * (kernels, copies) and host_event.c share of it.
 */
#ifndef SLUICE_HOST_STREAM_H
#define SLUICE_HOST_STREAM_H

#include "gpu/gpu.h"
#include "gpu/kernels/table.h"
#include "sluice/device/host.h"

#include <pthread.h>

struct host_event;

/** A launch, a copy or an event on its way. */
struct host_job {
    struct host_job *next;
    struct host_event *event; /* null: a kernel or a copy */
    uint64_t lap;             /* of the event */
    int follow;               /* wait for that lap, else: it is reached */
    kernel_host_fn fn;        /* null: a copy */
    struct sl_host_grid grid;
    void *dst;
    const void *src; /* null: zeros */
    size_t bytes;
    _Alignas(16) unsigned char args[];
};

struct host_stream {
    struct gpu_stream base;
    pthread_t thread;
    pthread_mutex_t lock; /* all below */
    pthread_cond_t work;  /* a job came, or closing */
    pthread_cond_t idle;  /* n_jobs fell to 0 */
    struct host_job *head, *tail;
    size_t n_jobs; /* queued and running */
    int closing;
    int failed;            /* first code since the last wait */
    uint64_t begun, ended; /* ns; begun 0: nothing since the last wait */
};

static inline struct host_stream *host_stream_of(struct gpu_stream *s)
{
    return (struct host_stream *)(void *)s;
}

/** Zeroed; null when there is no memory, which is logged. */
struct host_job *host_job_new(size_t args_bytes);
/** Takes the job. */
void host_stream_push(struct host_stream *s, struct host_job *j);

/** Runs an event's job on the stream's thread; `failed` is the stream's code.
 */
int host_event_run(const struct host_job *j, int failed);

/* The event part of gpu_host_ops. */
int host_event_open(struct gpu *g, struct gpu_event **out);
void host_event_close(struct gpu_event *e);
int host_event_record(struct gpu_event *e, struct gpu_stream *s);
int host_event_follow(struct gpu_stream *s, struct gpu_event *e);
int host_event_test(struct gpu_event *e);
int host_event_between(struct gpu_event *first, struct gpu_event *last,
                       uint64_t *ns);

#endif
