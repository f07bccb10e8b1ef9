/* SPDX-License-Identifier: Apache-2.0 */
/* What the hardware allows: kernels of limits.cu and the bare ring, with the
 * CPU threads that answer them and do nothing else. */
#include "bench.h"

#include "base/clock.h"
#include "gpu/kernels/limits.h"
#include "out.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

/* Words that the two sides write lie on lines of their own. */
#define LINE 128u
#define PAGE_SHIFT_MAX 16u /* pages of the page limits, 256 MiB of 4 KiB */

/* A CPU thread that answers; `stop` ends it when the kernel has ended early. */
struct answerer {
    uint8_t *words; /* pinned */
    uint32_t rounds;
    int *stop;
};

/* Turns of a wait before it gives the CPU up: with fewer CPUs than threads,
 * those that are waited for need one. */
#define SPINS 1024u

/* One turn of a wait; 0 when the kernel has ended. */
static int keep_waiting(const int *stop, unsigned *turns)
{
    if (++*turns % SPINS == 0)
        sched_yield();
    clock_relax();
    /* Partner: the release store after the kernel's end. */
    return !__atomic_load_n(stop, __ATOMIC_ACQUIRE);
}

static void *answer_pings(void *user)
{
    const struct answerer *a = user;
    uint32_t *ping = (uint32_t *)(void *)a->words;
    uint32_t *pong = (uint32_t *)(void *)(a->words + LINE);
    unsigned turns = 0;
    for (uint32_t i = 1; i <= a->rounds; i++) {
        /* Partner: the release store of k_pingpong. */
        while (__atomic_load_n(ping, __ATOMIC_ACQUIRE) != i)
            if (!keep_waiting(a->stop, &turns))
                return NULL;
        __atomic_store_n(pong, i, __ATOMIC_RELEASE);
    }
    return NULL;
}

static int ping(struct bench *b, struct bench_pinned *p, uint32_t rounds,
                double *us)
{
    struct k_pingpong_args args = {.ping_at = p->at,
                                   .pong_at = p->at + LINE,
                                   .result_at = p->at + (uint64_t)2 * LINE,
                                   .timeout_ns = BENCH_LONGEST_NS / 2,
                                   .rounds = rounds};
    const struct k_pingpong_result *result =
        (const void *)((uint8_t *)p->mem + (size_t)2 * LINE);
    int stop = 0, rc;
    struct answerer a = {p->mem, rounds, &stop};
    pthread_t thread;
    if (pthread_create(&thread, NULL, answer_pings, &a))
        return out_fail("cannot start a thread");
    rc = bench_kernel(b, "k_pingpong", (struct bench_grid){1, 1}, &args,
                      sizeof(args), NULL);
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    if (rc)
        return rc;
    if (result->rounds != rounds)
        return out_fail("k_pingpong: %s", sl_strerror(SL_ETIMEDOUT));
    *us = (double)result->ns / 1e3 / (double)rounds;
    return 0;
}

int bench_limit_rtt(struct bench *b, uint32_t rounds, double *us)
{
    struct bench_pinned p;
    int rc = bench_pin(b, 4096, &p);
    if (rc)
        return rc;
    /* The first run wakes the link and the CPU up. */
    rc = ping(b, &p, rounds / 8 + 1, us);
    memset(p.mem, 0, p.bytes);
    if (!rc)
        rc = ping(b, &p, rounds, us);
    bench_unpin(b, &p);
    return rc;
}

/* ---- ring ---- */

#define CONSUMERS_MAX 256u

struct consumer {
    uint8_t *ring;
    uint32_t *completions;
    uint64_t first, step; /* groups of 32 tickets */
    uint64_t total;       /* tickets */
    uint32_t shift;
    int *stop;
};

/* Acknowledges one ticket; 0 when the kernel has ended. */
static int acknowledge(const struct consumer *c, uint64_t ticket)
{
    size_t slot = (size_t)(ticket & (((uint64_t)1 << c->shift) - 1));
    uint32_t lap = (uint32_t)(ticket >> c->shift) + 1;
    uint64_t want = bench_ring_word((uint32_t)ticket, lap);
    uint64_t *word = (uint64_t *)(void *)(c->ring + slot * BENCH_RING_STRIDE +
                                          BENCH_RING_LAST);
    unsigned turns = 0;
    /* Partner: the release store of bench_describe. */
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) != want)
        if (!keep_waiting(c->stop, &turns))
            return 0;
    __atomic_store_n(&c->completions[slot], lap, __ATOMIC_RELEASE);
    return 1;
}

static void *consume(void *user)
{
    const struct consumer *c = user;
    for (uint64_t g = c->first; g * 32 < c->total; g += c->step)
        for (uint64_t i = 0; i < 32; i++)
            if (!acknowledge(c, g * 32 + i))
                return NULL;
    return NULL;
}

/* Starts the consumers, runs the kernel, joins. */
static int serve(struct bench *b, struct bench_grid g,
                 const struct bench_ring_args *args, struct consumer *c,
                 uint64_t *ns)
{
    pthread_t thread[CONSUMERS_MAX];
    int rc = 0;
    uint64_t n = 0;
    for (; n < c[0].step && !rc; n++)
        if (pthread_create(&thread[n], NULL, consume, &c[n])) {
            rc = out_fail("cannot start a thread");
            break;
        }
    if (!rc)
        rc = bench_kernel(b, "k_bench_ring", g, args, sizeof(*args), ns);
    __atomic_store_n(c[0].stop, 1, __ATOMIC_RELEASE);
    while (n)
        pthread_join(thread[--n], NULL);
    return rc;
}

static int ring(struct bench *b, struct bench_grid g,
                struct bench_ring_args *args, unsigned consumers, double *mops)
{
    struct consumer c[CONSUMERS_MAX];
    struct bench_pinned p;
    uint64_t entries = (uint64_t)1 << args->shift, ns = 0;
    uint64_t total = 32 * bench_warps_of(&g) * args->per;
    int stop = 0;
    int rc = bench_pin(b, entries * (BENCH_RING_STRIDE + 4), &p);
    if (rc)
        return rc;
    args->ring_at = p.at;
    args->completions_at = p.at + entries * BENCH_RING_STRIDE;
    for (unsigned i = 0; i < consumers; i++)
        c[i] = (struct consumer){
            p.mem,
            (uint32_t *)(void *)((uint8_t *)p.mem + entries * BENCH_RING_STRIDE),
            i,
            consumers,
            total,
            args->shift,
            &stop};
    rc = serve(b, g, args, c, &ns);
    bench_unpin(b, &p);
    if (!rc)
        rc = bench_errors(b, "k_bench_ring", args->state_at);
    *mops = ns ? (double)total * 1e3 / (double)ns : 0.0;
    return rc;
}

int bench_limit_ring(struct bench *b, struct bench_grid g, uint64_t per,
                     unsigned consumers, double *mops)
{
    struct bench_ring_args args = {.per = per,
                                   .timeout_ns = BENCH_LONGEST_NS / 2};
    uint64_t threads = 32 * bench_warps_of(&g);
    int rc;
    if (consumers > CONSUMERS_MAX)
        consumers = CONSUMERS_MAX;
    while (((uint64_t)1 << args.shift) < threads)
        args.shift++;
    rc = bench_alloc(b, sizeof(struct bench_state), &args.state_at);
    if (rc)
        return rc;
    rc = ring(b, g, &args, consumers, mops);
    bench_release(b, args.state_at);
    return rc;
}

/* ---- pages ---- */

static int pages(struct bench *b, const char *kernel, struct bench_grid g,
                 struct k_page_args *args, double *mops)
{
    uint64_t ns = 0;
    int rc = 0;
    /* The first run pays for what the link and the caches have not seen. */
    for (int i = 0; i < 2 && !rc; i++)
        rc = bench_kernel(b, kernel, g, args, sizeof(*args), &ns);
    *mops = ns ? (double)args->count * 1e3 / (double)ns : 0.0;
    return rc;
}

int bench_limit_pages(struct bench *b, int put, struct bench_grid g,
                      double *mops)
{
    struct k_page_args args = {
        .count = b->ops, .seed = 1, .page_bytes = (uint32_t)b->size};
    struct bench_pinned p;
    size_t bytes;
    int rc;
    while (args.pages_shift < PAGE_SHIFT_MAX &&
           ((uint64_t)2 << args.pages_shift) <= b->blobs)
        args.pages_shift++;
    bytes = (size_t)b->size << args.pages_shift;
    rc = bench_pin(b, bytes, &p);
    if (rc)
        return rc;
    args.pinned_at = p.at;
    rc = bench_alloc(b, bytes, &args.device_at);
    if (!rc)
        rc = pages(b, put ? "k_page_put" : "k_page_get", g, &args, mops);
    bench_release(b, args.device_at);
    bench_unpin(b, &p);
    return rc;
}
