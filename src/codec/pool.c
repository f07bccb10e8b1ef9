/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/pool.h"

#include "base/clock.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define THREADS_MAX 8

struct codec_pool {
    pthread_mutex_t lock;
    pthread_cond_t work; /* something is queued, or the end */
    struct codec_job *head, *tail;
    uint32_t queued, depth;
    uint32_t idle; /* threads that wait */
    uint32_t running;
    int stop;
    uint32_t n;
    pthread_t thread[];
};

void codec_job_run(struct codec_job *j)
{
    uint64_t begin = clock_ns();
    if (j->work == CODEC_ENCODE)
        j->result =
            codec_encode(j->id, j->preset, j->src, j->n, j->dst, j->room);
    else if (j->work == CODEC_DECODE)
        j->result = codec_decode(j->id, j->src, j->n, j->dst, j->room);
    else
        j->result = j->call(j);
    j->ns = clock_ns() - begin;
}

/* 4 KiB of text take these encoders 4 to 10 us and their decoders 2 to 4
 * (sluice bench codec); a thread that has to wake up takes longer. */
#define QUICK_BYTES 4096u

int codec_job_is_quick(const struct codec_job *j)
{
    size_t plain = j->work == CODEC_DECODE ? j->room : j->n;
    int quick = j->id == SL_CODEC_LZ4 || j->id == SL_CODEC_SNAPPY ||
                j->id == SL_CODEC_ZSTD || j->id == SL_CODEC_LZO;
    if (!quick || plain == 0 || plain > QUICK_BYTES)
        return 0;
    if (j->work == CODEC_DECODE)
        return 1;
    return j->preset == CODEC_FAST ||
           (j->preset == CODEC_BALANCED && j->id != SL_CODEC_ZSTD);
}

/* The next job; null: the end. A job that runs may still submit in its `done`,
 * so the end is when none runs either. Under the lock. */
static struct codec_job *take(struct codec_pool *p)
{
    while (!p->head) {
        if (p->stop && p->running == 0) {
            pthread_cond_broadcast(&p->work);
            return NULL;
        }
        p->idle++;
        pthread_cond_wait(&p->work, &p->lock);
        p->idle--;
    }
    struct codec_job *j = p->head;
    p->head = j->next;
    p->queued--;
    p->running++;
    return j;
}

static void *serve(void *user)
{
    struct codec_pool *p = user;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        struct codec_job *j = take(p);
        if (!j)
            break;
        pthread_mutex_unlock(&p->lock);
        codec_job_run(j);
        j->done(j); /* j may be gone */
        pthread_mutex_lock(&p->lock);
        p->running--;
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

int codec_pool_submit(struct codec_pool *p, struct codec_job *j)
{
    j->next = NULL;
    pthread_mutex_lock(&p->lock);
    if (p->depth && p->queued >= p->depth) {
        pthread_mutex_unlock(&p->lock);
        return SL_EAGAIN;
    }
    if (p->head)
        p->tail->next = j;
    else
        p->head = j;
    p->tail = j;
    p->queued++;
    int wake = p->idle > 0;
    pthread_mutex_unlock(&p->lock);
    if (wake)
        pthread_cond_signal(&p->work);
    return 0;
}

uint32_t codec_pool_threads(const struct codec_pool *p)
{
    return p->n;
}

static uint32_t usual_threads(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN) / 2;
    if (cpus > THREADS_MAX)
        return THREADS_MAX;
    return cpus > 1 ? (uint32_t)cpus : 1u;
}

int codec_pool_create(uint32_t threads, uint32_t depth, struct codec_pool **out)
{
    if (!threads)
        threads = usual_threads();
    struct codec_pool *p =
        calloc(1, sizeof(*p) + threads * sizeof(p->thread[0]));
    if (!p)
        return SL_ENOMEM;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    p->depth = depth;
    while (p->n < threads) {
        if (pthread_create(&p->thread[p->n], NULL, serve, p))
            break;
        p->n++;
    }
    if (p->n < threads) {
        codec_pool_destroy(p);
        return SL_EAGAIN;
    }
    *out = p;
    return 0;
}

void codec_pool_destroy(struct codec_pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stop = 1;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (uint32_t i = 0; i < p->n; i++)
        pthread_join(p->thread[i], NULL);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
