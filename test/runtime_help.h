/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the runtime share: a small runtime, a log sink, threads. */
#ifndef RUNTIME_HELP_H
#define RUNTIME_HELP_H

#include "help.h"

#include <pthread.h>
#include <sched.h>

#include "api/runtime.h"
#include "sluice/module.h"

#define SECOND_NS UINT64_C(1000000000)
#define LONG_NS (60u * SECOND_NS)

/* Number of threads of a step of the test. */
#define MAX_THREADS 8u

static inline struct sl_config runtime_config(void)
{
    struct sl_config c;
    memset(&c, 0, sizeof(c));
    c.size = sizeof(c);
    c.workers = 2;
    c.lanes = 2;
    c.depth = 16;
    c.arena_bytes = UINT64_C(16) << 20;
    c.pinned_bytes = UINT64_C(8) << 20;
    c.timeout_ns = LONG_NS;
    return c;
}

static inline struct sl_runtime *runtime_open(const struct sl_config *c)
{
    struct sl_runtime *rt = NULL;
    assert_int_equal(sl_open(c, &rt), 0);
    return rt;
}

static inline uint32_t echo_pool(struct sl_runtime *rt)
{
    uint32_t pool = 0;
    assert_int_equal(sl_pool_find(rt, "echo", &pool), 0);
    return pool;
}

/* Waits for a call that has begun. */
static inline int op_end(struct sl_op *op)
{
    int rc = sl_wait(&op, LONG_NS);
    assert_null(op);
    return rc;
}

/* Slots of a channel that are neither free nor abandoned with an answer. */
static inline uint32_t slots_in_use(const struct sl_dev *d)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < d->n_slots / 32u; i++)
        n += slg_popc(slp_peek(&d->taken[i]));
    return n;
}

/* ---- a module that keeps its tasks until it is told to finish them ---- */

struct keeper {
    pthread_mutex_t lock;
    struct sl_task *kept[64];
    uint32_t n; /* atomic for those who wait for it */
    struct sl_module module;
};

static inline int keeper_keep(struct sl_task *t, void *container)
{
    struct keeper *k = container;
    pthread_mutex_lock(&k->lock);
    k->kept[k->n] = t;
    __atomic_store_n(&k->n, k->n + 1u, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&k->lock);
    return SL_LATER;
}

static inline int keeper_create(void *user, uint32_t index, void **container)
{
    (void)index;
    *container = user;
    return 0;
}

static inline uint32_t keeper_open(struct keeper *k, struct sl_runtime *rt)
{
    static int (*const methods[])(struct sl_task *, void *) = {keeper_keep};
    uint32_t pool = 0;
    memset(k, 0, sizeof(*k));
    pthread_mutex_init(&k->lock, NULL);
    k->module.size = sizeof(k->module);
    k->module.name = "keeper";
    k->module.n_methods = 1;
    k->module.methods = methods;
    k->module.create = keeper_create;
    k->module.user = k;
    assert_int_equal(sl_pool_create(rt, "keeper", &k->module, &pool), 0);
    return pool;
}

static inline void keeper_await(struct keeper *k, uint32_t n)
{
    while (__atomic_load_n(&k->n, __ATOMIC_ACQUIRE) < n)
        sched_yield();
}

static inline void keeper_finish(struct keeper *k, int code)
{
    pthread_mutex_lock(&k->lock);
    while (k->n)
        sl_task_finish(k->kept[--k->n], code);
    pthread_mutex_unlock(&k->lock);
}

/* Runs fn(arg) in `n` threads; each gets arg + i * stride. */
static inline void run_threads(uint32_t n, void *(*fn)(void *), void *arg,
                               size_t stride)
{
    pthread_t t[MAX_THREADS];
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(
            pthread_create(&t[i], NULL, fn, (char *)arg + i * stride), 0);
    for (uint32_t i = 0; i < n; i++)
        pthread_join(t[i], NULL);
}

#endif
