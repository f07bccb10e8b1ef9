/* SPDX-License-Identifier: Apache-2.0 */
#include "gpu/host_block.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

/* Fibres of one launch when the number of OS threads is automatic. A stack and
 * its guard are two mappings, and Linux allows 65530 of a process;
 * ThreadSanitizer of gcc 12 allows 8128 threads, at a megabyte each. */
#if defined(FIBRE_TSAN)
#define GRID_MAX_FIBRES 2048u
#else
#define GRID_MAX_FIBRES 16384u
#endif

struct worker {
    struct block block;
    struct grid *grid;
    pthread_t thread;
};

/** A launch. */
struct grid {
    struct block_launch launch;
    struct worker *worker;
    uint32_t n_workers;
    uint32_t opened;      /* workers whose block is open */
    pthread_mutex_t gate; /* held until all OS threads are there */
    int refused;          /* under gate: one could not be made */
    uint64_t next;        /* block that nobody has taken */
};

static uint32_t cpus(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        return (uint32_t)CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (uint32_t)n : 1u;
}

static uint64_t extent(uint32_t n)
{
    return n ? n : 1u;
}

/* Products of three 32-bit numbers can pass 64 bits, so in two steps. */
static int dim_count(const struct sl_host_dim *d, uint64_t max, uint32_t *out)
{
    uint64_t n = extent(d->x) * extent(d->y);
    if (n > max || n * extent(d->z) > max)
        return SL_EINVAL;
    *out = (uint32_t)(n * extent(d->z));
    return 0;
}

static uint32_t workers_for(const struct sl_host_grid *g,
                            const struct block_launch *l)
{
    uint32_t n = g->threads;
    if (!n) {
        uint32_t most = GRID_MAX_FIBRES / l->threads;
        n = cpus();
        n = n < most ? n : most;
    }
    return n < l->blocks ? n : l->blocks;
}

/* Relaxed: the numbers must only differ; the launch itself is ordered by the
 * creation of the threads, its end by joining them. */
static void worker_run(struct worker *w)
{
    struct grid *g = w->grid;
    uint64_t i;
    while ((i = __atomic_fetch_add(&g->next, 1, __ATOMIC_RELAXED)) <
           g->launch.blocks)
        block_run(&w->block, (uint32_t)i);
}

static void *worker_main(void *arg)
{
    struct worker *w = (struct worker *)arg;
    pthread_mutex_lock(&w->grid->gate);
    int refused = w->grid->refused;
    pthread_mutex_unlock(&w->grid->gate);
    if (!refused)
        worker_run(w);
    return NULL;
}

/* The caller is worker 0. */
static int grid_run(struct grid *g)
{
    uint32_t n = 1;
    pthread_mutex_lock(&g->gate);
    while (n < g->n_workers && pthread_create(&g->worker[n].thread, NULL,
                                              worker_main, &g->worker[n]) == 0)
        n++;
    g->refused = n < g->n_workers;
    pthread_mutex_unlock(&g->gate);
    int rc = g->refused ? SL_ENOMEM : 0;
    if (!rc)
        worker_run(&g->worker[0]);
    while (n > 1u)
        pthread_join(g->worker[--n].thread, NULL);
    return rc;
}

static int grid_open(struct grid *g)
{
    while (g->opened < g->n_workers) {
        struct worker *w = &g->worker[g->opened];
        w->grid = g;
        int rc = block_open(&w->block, &g->launch);
        if (rc)
            return rc;
        g->opened++;
    }
    return 0;
}

int sl_host_launch(void (*kernel)(const void *arg),
                   const struct sl_host_grid *g, const void *arg)
{
    struct grid grid = {.launch = {.kernel = kernel, .arg = arg}};
    if (!kernel || dim_count(&g->grid, UINT32_MAX, &grid.launch.blocks) ||
        dim_count(&g->block, BLOCK_MAX_THREADS, &grid.launch.threads))
        return SL_EINVAL;
    grid.n_workers = workers_for(g, &grid.launch);
    grid.worker = (struct worker *)calloc(grid.n_workers, sizeof(*grid.worker));
    if (!grid.worker)
        return SL_ENOMEM;
    pthread_mutex_init(&grid.gate, NULL);
    int rc = grid_open(&grid);
    if (!rc)
        rc = grid_run(&grid);
    while (grid.opened)
        block_close(&grid.worker[--grid.opened].block);
    pthread_mutex_destroy(&grid.gate);
    free(grid.worker);
    return rc;
}
