/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The log of operations: the last of each shard, in a ring that its worker
 * writes and reads alone.
 *
 * Logical time is a hybrid clock: one more than that of the event before in this
 * shard, and for the first of each batch of tasks at least the CPU's time stamp
 * counter (which costs as much as all else here). So the order within a shard
 * is exact. Between shards: where the counters of the
 * CPUs agree, as they do on one host, an operation that was answered before
 * another was submitted has the smaller time; of operations that overlap
 * either may have it.
 */
#ifndef SLUICE_EVENTS_H
#define SLUICE_EVENTS_H

#include "store/store.h"

struct events {
    uint64_t last;  /* logical time */
    uint64_t count; /* events so far */
    uint64_t mask;
    uint32_t batch; /* of the event before */
    struct sl_event at[];
};

/** `n`: a power of two. Null: no memory. */
struct events *events_create(uint64_t n);

static inline uint64_t events_clock(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t t;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(t));
    return t;
#else
#error "name this processor's time stamp counter"
#endif
}

/** The shard's next time. */
static inline uint64_t events_time(struct events *e)
{
    uint64_t now = events_clock();
    e->last = now > e->last ? now : e->last + 1u;
    return e->last;
}

/** Notes an operation of the worker's batch `batch`. */
static inline void events_add(struct events *e, uint32_t batch,
                              struct sl_event what)
{
    what.time = batch == e->batch ? ++e->last : events_time(e);
    e->batch = batch;
    e->at[e->count++ & e->mask] = what;
}

#endif
