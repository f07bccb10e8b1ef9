/* SPDX-License-Identifier: Apache-2.0 */
#include "pages/pool.h"

#include "base/log.h"
#include "sluice/status.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of a copy that are worth another thread: the wake-up of one costs as
 * much as some 100 KiB. */
#define COPY_GRAIN (512u << 10)

struct loop {
    struct loop *next;
    pool_fn fn;
    void *arg;
    uint64_t n, taken, done;
};

struct pool {
    pthread_mutex_t lock; /* all below but `threads` and `n` */
    pthread_cond_t work;  /* a loop came, or closing */
    pthread_cond_t ended; /* a loop's last item ended */
    struct loop *first;   /* loops with items that nobody has taken */
    int closing;
    uint32_t n;
    pthread_t threads[];
};

/* Takes one item of `l`; with the lock held. */
static uint64_t loop_take(struct pool *p, struct loop *l)
{
    uint64_t item = l->taken++;
    struct loop **at = &p->first;
    if (l->taken < l->n)
        return item;
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    return item;
}

/* Runs one item of `l`; the lock is held before and after. */
static void loop_step(struct pool *p, struct loop *l)
{
    uint64_t item = loop_take(p, l);
    pthread_mutex_unlock(&p->lock);
    l->fn(l->arg, item);
    pthread_mutex_lock(&p->lock);
    if (++l->done == l->n)
        pthread_cond_broadcast(&p->ended);
}

static void *pool_main(void *arg)
{
    struct pool *p = arg;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->first && !p->closing)
            pthread_cond_wait(&p->work, &p->lock);
        if (!p->first)
            break;
        loop_step(p, p->first);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

int pool_open(uint32_t threads, struct pool **out)
{
    uint32_t want = threads > 1 ? threads - 1 : 0;
    struct pool *p = calloc(1, sizeof(*p) + want * sizeof(p->threads[0]));
    if (!p)
        return SL_ENOMEM;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->ended, NULL);
    while (p->n < want &&
           pthread_create(&p->threads[p->n], NULL, pool_main, p) == 0)
        p->n++;
    if (p->n < want)
        log_warn("pages: %u threads instead of %u", p->n + 1, threads);
    *out = p;
    return 0;
}

void pool_close(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    p->closing = 1;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (uint32_t i = 0; i < p->n; i++)
        pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->ended);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

uint32_t pool_threads(const struct pool *p)
{
    return p->n + 1;
}

static void loop_push(struct pool *p, struct loop *l)
{
    struct loop **at = &p->first;
    while (*at)
        at = &(*at)->next;
    *at = l;
}

void pool_run(struct pool *p, uint64_t n, pool_fn fn, void *arg)
{
    struct loop l = {.fn = fn, .arg = arg, .n = n};
    if (p->n == 0 || n <= 1) {
        for (uint64_t i = 0; i < n; i++)
            fn(arg, i);
        return;
    }
    pthread_mutex_lock(&p->lock);
    loop_push(p, &l);
    pthread_cond_broadcast(&p->work);
    while (l.taken < l.n)
        loop_step(p, &l);
    while (l.done < l.n)
        pthread_cond_wait(&p->ended, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

struct copy {
    uint8_t *dst;
    const uint8_t *src;
    size_t bytes;
};

static void copy_part(void *arg, uint64_t item)
{
    const struct copy *c = arg;
    size_t at = (size_t)item * COPY_GRAIN;
    size_t left = c->bytes - at;
    memcpy(c->dst + at, c->src + at, left < COPY_GRAIN ? left : COPY_GRAIN);
}

void pool_copy(struct pool *p, void *dst, const void *src, size_t bytes)
{
    struct copy c = {dst, src, bytes};
    pool_run(p, (bytes + COPY_GRAIN - 1) / COPY_GRAIN, copy_part, &c);
}
