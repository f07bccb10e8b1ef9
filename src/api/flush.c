/* SPDX-License-Identifier: Apache-2.0 */
#include "api/runtime.h"
#include "base/clock.h"
#include "base/log.h"

#include <string.h>

/* A thread that calls sl_flush every flush_all_ms. Its waits end with the
 * runtime's; a flush that takes longer than the time between two delays the
 * next. */

static int wait_until(struct flusher *f, uint64_t at)
{
    const struct timespec until = {(time_t)(at / 1000000000u),
                                   (long)(at % 1000000000u)};
    int late = 0, stop;
    pthread_mutex_lock(&f->lock);
    while (!f->stop && !late)
        late = pthread_cond_timedwait(&f->wake, &f->lock, &until);
    stop = f->stop;
    pthread_mutex_unlock(&f->lock);
    return !stop;
}

static void *flush_run(void *arg)
{
    struct sl_runtime *rt = arg;
    uint64_t every = (uint64_t)rt->config.flush_all_ms * 1000000u;
    int last = 0;
    while (wait_until(&rt->flusher, clock_ns() + every)) {
        int rc = sl_flush(rt);
        if (rc && rc != last)
            log_error("the periodic flush failed: %s", sl_strerror(rc));
        last = rc;
    }
    return NULL;
}

int flusher_start(struct sl_runtime *rt)
{
    struct flusher *f = &rt->flusher;
    pthread_condattr_t attr;
    int err;
    if (!rt->config.data_dir || !rt->config.flush_all_ms)
        return 0;
    pthread_mutex_init(&f->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&f->wake, &attr);
    pthread_condattr_destroy(&attr);
    err = pthread_create(&f->thread, NULL, flush_run, rt);
    f->runs = !err;
    if (!err)
        return 0;
    log_error("cannot start the thread that flushes: %s", strerror(err));
    pthread_cond_destroy(&f->wake);
    pthread_mutex_destroy(&f->lock);
    return SL_ENOMEM;
}

void flusher_stop(struct sl_runtime *rt)
{
    struct flusher *f = &rt->flusher;
    if (!f->runs)
        return;
    pthread_mutex_lock(&f->lock);
    f->stop = 1;
    pthread_cond_signal(&f->wake);
    pthread_mutex_unlock(&f->lock);
    pthread_join(f->thread, NULL);
    pthread_cond_destroy(&f->wake);
    pthread_mutex_destroy(&f->lock);
    f->runs = 0;
}
