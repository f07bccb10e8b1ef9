/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What the measurements of `sluice bench` share. Every function returns 0 or
 * an exit code after it has said what failed, unless noted.
 */
#ifndef SLUICE_CLI_BENCH_H
#define SLUICE_CLI_BENCH_H

#include "gpu/gpu.h"
#include "gpu/kernels/bench.h"
#include "sluice/sluice.h"

#include <jansson.h>

/* A measurement that takes longer is given up. */
#define BENCH_LONGEST_NS UINT64_C(120000000000)

struct bench {
    const char *device;
    double tick_ns;                            /* of the last kernel */
    uint64_t workers, warps, size, blobs, ops; /* 0: default of each */
    int json;
    struct gpu *gpu;
    struct gpu_stream *stream;
    struct gpu_info info;
    int host; /* the host device */
    /* Of the measurement that runs. */
    struct sl_runtime *rt;
    struct sl_device *dev;
    uint32_t n_workers;
    json_t *figures;
};

/** One line of the report. */
struct bench_figure {
    const char *what, *unit;
    double limit, value;
    int time; /* the figure is a time: less is better */
    double p50_ns, p99_ns;
};

/** How many threads a kernel has; blocks are whole warps. */
struct bench_grid {
    uint32_t blocks, threads;
};

/** Host memory that the device reaches too. */
struct bench_pinned {
    void *mem;
    size_t bytes;
    sl_devptr at;
};

/** Zeroed; `bytes` is rounded up to pages. */
int bench_pin(struct bench *b, size_t bytes, struct bench_pinned *p);
/** Does nothing for zeroed structs. */
void bench_unpin(struct bench *b, struct bench_pinned *p);
/** Device memory, zeroed. */
int bench_alloc(struct bench *b, uint64_t bytes, sl_devptr *out);
/** Does nothing for 0. */
void bench_release(struct bench *b, sl_devptr p);
/** Runs one kernel to its end; *ns (may be null) is the device's time. */
int bench_kernel(struct bench *b, const char *kernel, struct bench_grid g,
                 const void *args, size_t bytes, uint64_t *ns);
/** Fails when the kernels counted errors. */
int bench_errors(struct bench *b, const char *kernel, sl_devptr state);
/** Reads n times back and takes percentiles. */
int bench_times(struct bench *b, sl_devptr took, uint64_t n,
                struct bench_figure *f);
/** At least `warps` warps, at most 8 a block (host: 2). */
struct bench_grid bench_grid_of(const struct bench *b, uint64_t warps);
uint64_t bench_warps_of(const struct bench_grid *g);

/** Starts b->rt and b->dev: `slots` tasks in flight, `pinned` bytes of chunks
 *  for blobs of `size` bytes. */
int bench_open(struct bench *b, uint64_t workers, uint64_t slots,
               uint64_t pinned, uint64_t size);
int bench_close(struct bench *b, int rc);
void bench_report(struct bench *b, const struct bench_figure *f);

/* bench_limits.c: what the hardware allows. */
/** Mean of `rounds` flag round trips, in microseconds. */
int bench_limit_rtt(struct bench *b, uint32_t rounds, double *us);
/** Million descriptors a second through a ring that `consumers` serve. */
int bench_limit_ring(struct bench *b, struct bench_grid g, uint64_t per,
                     unsigned consumers, double *mops);
/** Million pages a second to (put) or from pinned memory. */
int bench_limit_pages(struct bench *b, int put, struct bench_grid g,
                      double *mops);

/* bench_run.c: what Sluice reaches. */
int bench_rtt(struct bench *b);
int bench_tasks(struct bench *b);
/** Puts always run, as gets need them; each is reported when asked. */
int bench_blobs(struct bench *b, int put, int get);
/** Puts and gets that cross the link as LZ4 blocks; sizes to SL_LZ4_SMALL. */
int bench_lz4(struct bench *b);
/* bench_bulk.c: device memory by host calls. */
int bench_bulk(struct bench *b);

#endif
