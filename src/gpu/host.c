/* SPDX-License-Identifier: Apache-2.0 */
#include "gpu/host_launch.h"
#include "gpu/host_memory.h"
#include "gpu/host_stream.h"

#include "base/clock.h"
#include "base/log.h"
#include "sluice/device/host.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NS_PER_S 1000000000u
/* Longest wait that is counted, 10 years: more overflows the clock. */
#define WAIT_MAX_S 315360000u

static struct gpu host_device = {&gpu_host_ops};

/* Addresses of this device are those of the host. */
static void *at(sl_devptr p)
{
    return (void *)(uintptr_t)p;
}

/* ---- device ---- */

static int host_count(char *why, size_t why_bytes)
{
    if (why && why_bytes)
        why[0] = 0;
    return 1;
}

static int host_open(int ordinal, struct gpu **out)
{
    if (ordinal != 0) {
        log_error("host device: there is no ordinal %d", ordinal);
        return SL_ENODEV;
    }
    *out = &host_device;
    return 0;
}

static void host_close(struct gpu *g)
{
    (void)g;
}

static void host_info(struct gpu *g, struct gpu_info *out)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
    (void)g;
    memset(out, 0, sizeof(*out));
    snprintf(out->name, sizeof(out->name), "host");
    out->sms = n > 0 ? (uint32_t)n : 1u;
    out->numa_node = -1;
    if (pages > 0 && bytes > 0)
        out->mem_bytes = (uint64_t)pages * (uint64_t)bytes;
}

/* ---- memory ---- */

static int host_pin(struct gpu *g, void *mem, size_t bytes, sl_devptr *out)
{
    (void)g;
    (void)bytes;
    *out = (sl_devptr)(uintptr_t)mem;
    return 0;
}

static void host_unpin(struct gpu *g, void *mem)
{
    (void)g;
    (void)mem;
}

static int host_to_device(struct gpu *g, sl_devptr dst, const void *src,
                          size_t n)
{
    (void)g;
    memcpy(at(dst), src, n);
    return 0;
}

static int host_from_device(struct gpu *g, void *dst, sl_devptr src, size_t n)
{
    (void)g;
    memcpy(dst, at(src), n);
    return 0;
}

/* ---- stream: its own thread ---- */

static int job_run(const struct host_stream *s, const struct host_job *j)
{
    if (j->event)
        return host_event_run(j, s->failed);
    if (j->fn)
        return sl_host_launch(j->fn, &j->grid, j->args);
    if (j->src)
        memcpy(j->dst, j->src, j->bytes);
    else
        memset(j->dst, 0, j->bytes);
    return 0;
}

/* Waits for a job; null when the stream closes and none is left. */
static struct host_job *stream_take(struct host_stream *s)
{
    pthread_mutex_lock(&s->lock);
    while (!s->head && !s->closing)
        pthread_cond_wait(&s->work, &s->lock);
    struct host_job *j = s->head;
    if (j) {
        s->head = j->next;
        if (!s->head)
            s->tail = NULL;
        if (!s->begun)
            s->begun = clock_ns();
    }
    pthread_mutex_unlock(&s->lock);
    return j;
}

static void stream_done(struct host_stream *s, int code)
{
    pthread_mutex_lock(&s->lock);
    s->ended = clock_ns();
    if (code && !s->failed)
        s->failed = code;
    if (--s->n_jobs == 0)
        pthread_cond_broadcast(&s->idle);
    pthread_mutex_unlock(&s->lock);
}

static void *stream_main(void *arg)
{
    struct host_stream *s = (struct host_stream *)arg;
    struct host_job *j;
    while ((j = stream_take(s)) != NULL) {
        int rc = job_run(s, j);
        if (rc && !j->event)
            log_error("host device: a launch failed with code %d", rc);
        free(j);
        stream_done(s, rc);
    }
    return NULL;
}

static void stream_sync_init(struct host_stream *s)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    pthread_cond_init(&s->idle, &attr);
    pthread_condattr_destroy(&attr);
}

static void stream_free(struct host_stream *s)
{
    pthread_cond_destroy(&s->idle);
    pthread_cond_destroy(&s->work);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static int host_stream_open(struct gpu *g, struct gpu_stream **out)
{
    struct host_stream *s = (struct host_stream *)calloc(1, sizeof(*s));
    if (!s)
        return SL_ENOMEM;
    s->base.gpu = g;
    stream_sync_init(s);
    if (pthread_create(&s->thread, NULL, stream_main, s)) {
        log_error("host device: no thread for a stream");
        stream_free(s);
        return SL_ENOMEM;
    }
    *out = &s->base;
    return 0;
}

static void host_stream_close(struct gpu_stream *stream)
{
    struct host_stream *s = host_stream_of(stream);
    pthread_mutex_lock(&s->lock);
    s->closing = 1;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    stream_free(s);
}

struct host_job *host_job_new(size_t args_bytes)
{
    struct host_job *j =
        (struct host_job *)calloc(1, sizeof(struct host_job) + args_bytes);
    if (!j)
        log_error("host device: no memory for a launch");
    return j;
}

void host_stream_push(struct host_stream *s, struct host_job *j)
{
    pthread_mutex_lock(&s->lock);
    if (s->tail)
        s->tail->next = j;
    else
        s->head = j;
    s->tail = j;
    s->n_jobs++;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
}

int host_launch_fn(struct gpu_stream *s, kernel_host_fn fn,
                   const struct gpu_launch *l)
{
    struct host_job *j = host_job_new(l->args_bytes);
    if (!j)
        return SL_ENOMEM;
    j->fn = fn;
    j->grid.grid = (struct sl_host_dim){l->grid.x, l->grid.y, l->grid.z};
    j->grid.block = (struct sl_host_dim){l->block.x, l->block.y, l->block.z};
    if (l->args_bytes)
        memcpy(j->args, l->args, l->args_bytes);
    host_stream_push(host_stream_of(s), j);
    return 0;
}

static int host_launch(struct gpu_stream *s, const struct gpu_launch *l)
{
    const struct kernel_entry *k = kernel_find(l->kernel);
    if (!k || !k->host) {
        log_error("host device: kernel %s is not in this build", l->kernel);
        return SL_ENOSYS;
    }
    return host_launch_fn(s, k->host, l);
}

static int host_copy_async(struct gpu_stream *s, sl_devptr dst, sl_devptr src,
                           size_t n)
{
    struct host_job *j = host_job_new(0);
    if (!j)
        return SL_ENOMEM;
    j->dst = at(dst);
    j->src = at(src);
    j->bytes = n;
    host_stream_push(host_stream_of(s), j);
    return 0;
}

static int host_copy_list(struct gpu_stream *s, const struct gpu_copy *c,
                          size_t n)
{
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = host_copy_async(s, c[i].to, c[i].from, c[i].bytes);
    return rc;
}

static struct timespec deadline(uint64_t timeout_ns)
{
    struct timespec t;
    uint64_t s = timeout_ns / NS_PER_S;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += (time_t)(s < WAIT_MAX_S ? s : WAIT_MAX_S);
    t.tv_nsec += (long)(timeout_ns % NS_PER_S);
    if (t.tv_nsec >= (long)NS_PER_S) {
        t.tv_nsec -= (long)NS_PER_S;
        t.tv_sec++;
    }
    return t;
}

static int host_stream_wait(struct gpu_stream *stream, uint64_t timeout_ns,
                            uint64_t *elapsed_ns)
{
    struct host_stream *s = host_stream_of(stream);
    struct timespec until = deadline(timeout_ns);
    int late = 0, rc = SL_ETIMEDOUT;
    pthread_mutex_lock(&s->lock);
    while (s->n_jobs && late != ETIMEDOUT)
        late = pthread_cond_timedwait(&s->idle, &s->lock, &until);
    if (!s->n_jobs) {
        rc = s->failed;
        if (elapsed_ns)
            *elapsed_ns = s->begun ? s->ended - s->begun : 0;
        s->failed = 0;
        s->begun = 0;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static int host_stream_test(struct gpu_stream *stream, uint64_t *elapsed_ns)
{
    int rc = host_stream_wait(stream, 0, elapsed_ns);
    return rc == SL_ETIMEDOUT ? SL_EAGAIN : rc;
}

/* As on a GPU, of which each CPU stands for a multiprocessor: what is cut up
 * for one is cut up here. */
#define OCCUPANCY 8u

static int host_occupancy(struct gpu *g, const char *kernel, uint32_t threads,
                          uint32_t *out)
{
    (void)g;
    (void)threads;
    if (!kernel_find(kernel)) {
        log_error("no kernel %s", kernel);
        return SL_ENOSYS;
    }
    *out = OCCUPANCY;
    return 0;
}

const struct gpu_ops gpu_host_ops = {
    .kind = "host",
    .count = host_count,
    .open = host_open,
    .close = host_close,
    .info = host_info,
    .alloc = host_alloc,
    .release = host_release,
    .memory_of = host_memory_of,
    .pin = host_pin,
    .unpin = host_unpin,
    .to_device = host_to_device,
    .from_device = host_from_device,
    .stream_open = host_stream_open,
    .stream_close = host_stream_close,
    .launch = host_launch,
    .occupancy = host_occupancy,
    .copy_async = host_copy_async,
    .copy_list = host_copy_list,
    .stream_wait = host_stream_wait,
    .stream_test = host_stream_test,
    .event_open = host_event_open,
    .event_close = host_event_close,
    .event_record = host_event_record,
    .event_follow = host_event_follow,
    .event_test = host_event_test,
    .event_between = host_event_between,
};
