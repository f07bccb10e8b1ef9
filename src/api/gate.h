/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * A gate: many pass at little cost, one closes it and waits for those inside.
 */
#ifndef SLUICE_GATE_H
#define SLUICE_GATE_H

#include "base/clock.h"

#define GATE_WAYS 16u /* counters, so that threads seldom share a line */

struct gate {
    struct {
        uint32_t inside; /* atomic */
        uint32_t pad[31];
    } way[GATE_WAYS];
    uint32_t closed; /* atomic */
};

/* Threads are told apart by where their own variables are. */
static inline uint32_t gate_way(void)
{
    static __thread char mine;
    uint64_t at = (uint64_t)(uintptr_t)&mine;
    return (uint32_t)((at * UINT64_C(0x9e3779b97f4a7c15)) >> 60);
}

static inline void gate_leave(struct gate *g)
{
    /* Release: all that was done inside. Partner: gate_close. */
    __atomic_fetch_sub(&g->way[gate_way()].inside, 1u, __ATOMIC_RELEASE);
}

/** 0, or -1: closed, and nobody is inside for it. */
static inline int gate_enter(struct gate *g)
{
    /* Sequentially consistent, both: either we see that it is closed, or who
     * closes sees us inside. Partner: gate_close. */
    __atomic_fetch_add(&g->way[gate_way()].inside, 1u, __ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&g->closed, __ATOMIC_SEQ_CST))
        return 0;
    gate_leave(g);
    return -1;
}

static inline void gate_close(struct gate *g)
{
    /* Partner: gate_enter. */
    __atomic_store_n(&g->closed, 1u, __ATOMIC_SEQ_CST);
}

/** After gate_close: waits until nobody is inside. */
static inline void gate_wait(struct gate *g)
{
    for (uint32_t i = 0; i < GATE_WAYS; i++) {
        /* Acquire of gate_leave; ordered after gate_close. */
        while (__atomic_load_n(&g->way[i].inside, __ATOMIC_SEQ_CST))
            clock_sleep_ns(50000); /* the end is no hot path */
    }
}

#endif
