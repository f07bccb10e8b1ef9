/* SPDX-License-Identifier: Apache-2.0 */
#include "gpu/host_block.h"

#include "base/clock.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

/* A lane that takes a value from a lane which brings none gets this; on a GPU
 * it is undefined. */
#define POISON 0xa5a5a5a5u

/*
 * Fruitless rounds before an OS thread sleeps, of a block and of a plain
 * thread, and the steps by which sleeps grow, to 50 us: the timer slack of
 * Linux, below which a shorter request gains nothing.
 */
#define IDLE_YIELDS 64u
#define PLAIN_RELAXES 32u
#define PLAIN_YIELDS 256u
#define SLEEP_STEP_NS 1000u
#define SLEEP_STEPS 50u

__thread struct sl_host_thread *sl_host_self
    __attribute__((tls_model("initial-exec")));

FIBRE_SCHED static struct block_thread *thread_self(void)
{
    return (struct block_thread *)(void *)sl_host_self;
}

FIBRE_SCHED static struct block_warp *thread_warp(struct block_thread *t)
{
    return &t->block->warp[t->self.thread / BLOCK_WARP];
}

/* ---- bugs of a kernel ---- */

static const char *op_name(enum block_op op)
{
    static const char *const names[] = {"ballot", "shfl", "syncwarp"};
    return names[op];
}

FIBRE_SCHED __attribute__((noreturn)) static void
bug_mask(const struct block_thread *t, enum block_op op, uint32_t mask)
{
    fprintf(stderr,
            "sluice host device: block %" PRIu32 " warp %" PRIu32
            " lane %" PRIu32 ": %s mask 0x%08" PRIx32
            " does not name its own lane\n",
            t->self.block, t->self.thread / BLOCK_WARP, t->self.lane,
            op_name(op), mask);
    abort();
}

FIBRE_SCHED static void report_warp(const struct block *b, uint32_t w)
{
    const struct block_warp *warp = &b->warp[w];
    for (uint32_t used = warp->used; used; used &= used - 1u) {
        const struct block_group *g = &warp->group[__builtin_ctz(used)];
        fprintf(stderr,
                "sluice host device: deadlock: block %" PRIu32 " warp %" PRIu32
                ": %s mask 0x%08" PRIx32 " arrived 0x%08" PRIx32
                " live 0x%08" PRIx32 "\n",
                b->index, w, op_name(g->op), g->mask, g->arrived, warp->live);
    }
}

FIBRE_SCHED __attribute__((noreturn)) static void
bug_deadlock(const struct block *b)
{
    for (uint32_t w = 0; w < BLOCK_MAX_WARPS; w++)
        report_warp(b, w);
    if (b->n_barrier)
        fprintf(stderr,
                "sluice host device: deadlock: block %" PRIu32
                ": syncblock arrived %" PRIu32 " of %" PRIu32 " live threads\n",
                b->index, b->n_barrier, b->live);
    abort();
}

/* ---- queue ---- */

FIBRE_SCHED static void queue_push(struct block_queue *q,
                                   struct block_thread *t)
{
    t->next = NULL;
    if (q->tail)
        q->tail->next = t;
    else
        q->head = t;
    q->tail = t;
}

FIBRE_SCHED static struct block_thread *queue_pop(struct block_queue *q)
{
    struct block_thread *t = q->head;
    if (!t)
        return NULL;
    q->head = t->next;
    if (!q->head)
        q->tail = NULL;
    return t;
}

/* A thread may run again. */
FIBRE_SCHED static void thread_ready(struct block_thread *t)
{
    struct block *b = t->block;
    queue_push(&b->ready, t);
    b->n_ready++;
    b->fresh += t->paused != b->epoch;
}

/* The running thread stops being able to run. */
FIBRE_SCHED static void thread_stops(struct block_thread *t)
{
    t->block->fresh -= t->paused != t->block->epoch;
}

FIBRE_SCHED static void run_next(struct block_thread *t)
{
    struct block *b = t->block;
    struct block_thread *next = queue_pop(&b->ready);
    if (!next)
        bug_deadlock(b);
    b->n_ready--;
    if (next == t)
        return;
    sl_host_self = &next->self;
    fibre_switch(&t->fibre, &next->fibre);
}

/* ---- warp primitives ---- */

FIBRE_SCHED static uint32_t group_result(const struct block *b, uint32_t first,
                                         const struct block_group *g,
                                         uint32_t lane, uint32_t votes)
{
    if (g->op != BLOCK_SHFL)
        return votes;
    uint32_t src = b->thread[first + lane].source;
    if (!(g->arrived >> src & 1u))
        return POISON;
    return b->thread[first + src].value;
}

/* All live lanes of the mask are here, and `t` runs: one of them, or one that
 * ends. */
FIBRE_SCHED static void group_complete(struct block_warp *w, uint32_t at,
                                       const struct block_thread *t)
{
    struct block *b = t->block;
    const struct block_group *g = &w->group[at];
    uint32_t first = t->self.thread - t->self.lane;
    uint32_t votes = 0;
    if (g->op == BLOCK_BALLOT)
        for (uint32_t m = g->arrived; m; m &= m - 1u) {
            uint32_t lane = (uint32_t)__builtin_ctz(m);
            votes |= b->thread[first + lane].value << lane;
        }
    /* They go on in this order always, so that of stores by several lanes to
     * one place the lowest's stays, as on the GPUs at hand. */
    for (uint32_t m = g->arrived, lane; m; m &= ~(UINT32_C(1) << lane)) {
        lane = 31u - (uint32_t)__builtin_clz(m);
        struct block_thread *to = &b->thread[first + lane];
        to->result = group_result(b, first, g, lane, votes);
        thread_ready(to);
    }
    w->used &= ~(UINT32_C(1) << at);
}

/* The group that waits with this operation and mask, or a new one. */
FIBRE_SCHED static uint32_t group_find(struct block_warp *w, enum block_op op,
                                       uint32_t mask)
{
    for (uint32_t used = w->used; used; used &= used - 1u) {
        uint32_t at = (uint32_t)__builtin_ctz(used);
        if (w->group[at].op == op && w->group[at].mask == mask)
            return at;
    }
    /* There is room: each used group holds a lane other than the caller. */
    uint32_t at = (uint32_t)__builtin_ctz(~w->used);
    w->used |= UINT32_C(1) << at;
    w->group[at].op = op;
    w->group[at].mask = mask;
    w->group[at].arrived = 0;
    return at;
}

FIBRE_SCHED static uint32_t warp_meet(enum block_op op, uint32_t mask,
                                      uint32_t value, uint32_t source)
{
    struct block_thread *t = thread_self();
    struct block_warp *w = thread_warp(t);
    uint32_t bit = UINT32_C(1) << t->self.lane;
    if (!(mask & bit))
        bug_mask(t, op, mask);
    t->value = value;
    t->source = source % BLOCK_WARP;
    uint32_t at = group_find(w, op, mask);
    struct block_group *g = &w->group[at];
    g->arrived |= bit;
    if (op == BLOCK_SYNCWARP)
        fibre_release(g);
    thread_stops(t);
    if (g->arrived == (mask & w->live))
        group_complete(w, at, t);
    run_next(t);
    /* A ballot or a shuffle orders no memory, on a GPU neither. */
    if (op == BLOCK_SYNCWARP)
        fibre_acquire(g);
    return t->result;
}

FIBRE_SCHED uint32_t sl_host_ballot(uint32_t mask, int pred)
{
    return warp_meet(BLOCK_BALLOT, mask, pred ? 1u : 0u, 0);
}

FIBRE_SCHED uint32_t sl_host_shfl(uint32_t mask, uint32_t v, uint32_t src)
{
    return warp_meet(BLOCK_SHFL, mask, v, src);
}

FIBRE_SCHED void sl_host_syncwarp(uint32_t mask)
{
    (void)warp_meet(BLOCK_SYNCWARP, mask, 0, 0);
}

/* ---- barrier of the block ---- */

FIBRE_SCHED static void barrier_open(struct block *b)
{
    struct block_thread *t;
    b->n_barrier = 0;
    while ((t = queue_pop(&b->barrier)) != NULL)
        thread_ready(t);
}

FIBRE_SCHED void sl_host_syncblock(void)
{
    struct block_thread *t = thread_self();
    struct block *b = t->block;
    fibre_release(&b->barrier);
    if (b->n_barrier + 1u == b->live) {
        barrier_open(b);
    } else {
        thread_stops(t);
        queue_push(&b->barrier, t);
        b->n_barrier++;
        run_next(t);
    }
    fibre_acquire(&b->barrier);
}

/* ---- waiting for others ---- */

FIBRE_SCHED static void plain_pause(uint32_t round)
{
    uint32_t sleeps = round - PLAIN_YIELDS;
    if (round < PLAIN_RELAXES)
        clock_relax();
    else if (round < PLAIN_YIELDS)
        sched_yield();
    else
        clock_sleep_ns(sleeps < SLEEP_STEPS ? (sleeps + 1u) * SLEEP_STEP_NS
                                            : SLEEP_STEPS * SLEEP_STEP_NS);
}

FIBRE_SCHED static void block_idle(struct block *b)
{
    uint32_t n = b->idle_epochs;
    if (n < IDLE_YIELDS) {
        b->idle_epochs++;
        sched_yield();
        return;
    }
    if (n < IDLE_YIELDS + SLEEP_STEPS - 1u)
        b->idle_epochs++;
    clock_sleep_ns((n - IDLE_YIELDS + 1u) * SLEEP_STEP_NS);
}

/*
 * When each thread that can run has paused since the last time, nobody of the
 * block gets on by itself and the OS thread yields, so that workers run. A
 * thread that computes between primitives never pauses and so keeps the block
 * awake. Round 0 is the first of a new wait: somebody got on.
 */
FIBRE_SCHED void sl_host_pause(uint32_t round)
{
    if (!sl_host_self) {
        plain_pause(round);
        return;
    }
    struct block_thread *t = thread_self();
    struct block *b = t->block;
    if (round == 0)
        b->idle_epochs = 0;
    if (t->paused != b->epoch) {
        t->paused = b->epoch;
        b->fresh--;
    }
    if (b->fresh == 0) {
        block_idle(b);
        b->epoch++;
        b->fresh = b->n_ready + 1u;
    }
    queue_push(&b->ready, t);
    b->n_ready++;
    run_next(t);
}

uint64_t sl_host_now(void)
{
    return clock_ns();
}

FIBRE_SCHED void *sl_host_shared(const void *key, size_t bytes)
{
    if (!sl_host_self)
        return host_shared_get(host_shared_plain(), key, bytes);
    return host_shared_get(&thread_self()->block->shared, key, bytes);
}

/* ---- the life of a block ---- */

/* Those who wait for this thread wait no longer. */
FIBRE_SCHED static void thread_end(struct block_thread *t)
{
    struct block *b = t->block;
    struct block_warp *w = thread_warp(t);
    w->live &= ~(UINT32_C(1) << t->self.lane);
    b->live--;
    b->idle_epochs = 0;
    thread_stops(t);
    for (uint32_t used = w->used; used; used &= used - 1u) {
        uint32_t at = (uint32_t)__builtin_ctz(used);
        if (w->group[at].arrived == (w->group[at].mask & w->live))
            group_complete(w, at, t);
    }
    if (b->n_barrier && b->n_barrier == b->live)
        barrier_open(b);
}

/*
 * One round of the loop is the thread's part in one block. It comes after what
 * block_run did before (partner: the release of `index`), and before what that
 * does next (partner: the acquire of `live`); the threads of a block are not
 * ordered among themselves.
 */
FIBRE_SCHED static void thread_main(void *arg)
{
    struct block_thread *t = (struct block_thread *)arg;
    struct block *b = t->block;
    while (!b->quit) {
        fibre_acquire(&b->index);
        b->launch->kernel(b->launch->arg);
        fibre_release(&b->live);
        thread_end(t);
        if (b->live) {
            run_next(t);
            continue;
        }
        fibre_switch(&t->fibre, &b->outside);
    }
    fibre_leave(&t->fibre, &b->outside);
}

FIBRE_SCHED static void thread_init(struct block *b, uint32_t i)
{
    struct block_thread *t = &b->thread[i];
    uint32_t first = i - i % BLOCK_WARP, n = b->launch->threads - first;
    t->block = b;
    t->self.thread = i;
    t->self.threads = b->launch->threads;
    t->self.blocks = b->launch->blocks;
    t->self.lane = i % BLOCK_WARP;
    t->self.lanes = n < BLOCK_WARP ? (UINT32_C(1) << n) - 1u : ~UINT32_C(0);
}

int block_open(struct block *b, const struct block_launch *l)
{
    int rc = SL_ENOMEM;
    *b = (struct block){.launch = l};
    b->thread =
        (struct block_thread *)calloc(l->threads, sizeof(struct block_thread));
    if (!b->thread)
        return SL_ENOMEM;
    rc = fibre_stacks_map(l->threads, &b->stacks);
    if (rc)
        goto free_threads;
    for (uint32_t i = 0; i < l->threads; i++) {
        thread_init(b, i);
        rc = fibre_make(&b->thread[i].fibre, &b->stacks, i, thread_main,
                        &b->thread[i]);
        if (rc)
            goto drop_fibres;
        b->made++;
    }
    return 0;
drop_fibres:
    while (b->made)
        fibre_drop(&b->thread[--b->made].fibre);
    fibre_stacks_unmap(&b->stacks);
free_threads:
    free(b->thread);
    return rc;
}

FIBRE_SCHED void block_run(struct block *b, uint32_t index)
{
    struct sl_host_thread *before = sl_host_self;
    b->index = index;
    b->shared.block++;
    b->live = b->launch->threads;
    b->fresh = 1; /* thread 0 is the first to run */
    b->idle_epochs = 0;
    b->epoch++;
    for (uint32_t i = 0; i < b->live; i++) {
        struct block_thread *t = &b->thread[i];
        t->self.block = index;
        thread_warp(t)->live = t->self.lanes;
        if (i)
            thread_ready(t);
    }
    fibre_here(&b->outside);
    fibre_release(&b->index);
    sl_host_self = &b->thread[0].self;
    fibre_switch(&b->outside, &b->thread[0].fibre);
    fibre_acquire(&b->live);
    sl_host_self = before;
}

/* Each fibre that has begun is let run to its end, so that the sanitizers see
 * its stack unwound. */
void block_close(struct block *b)
{
    fibre_here(&b->outside);
    b->quit = 1;
    for (uint32_t i = 0; i < b->made; i++) {
        if (b->shared.block)
            fibre_switch(&b->outside, &b->thread[i].fibre);
        fibre_drop(&b->thread[i].fibre);
    }
    host_shared_free(&b->shared);
    fibre_stacks_unmap(&b->stacks);
    free(b->thread);
}
