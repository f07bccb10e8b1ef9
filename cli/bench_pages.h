/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * `sluice bench pages`: LZ4 on pages beside liblz4 and the link.
 */
#ifndef SLUICE_CLI_BENCH_PAGES_H
#define SLUICE_CLI_BENCH_PAGES_H

#include "gpu/gpu.h"
#include "pages_data.h"
#include "sluice/pages.h"

#include <jansson.h>

#define PAGES_RUNS 3
#define PAGES_CURVE 16

/** Of some runs. */
struct pages_gbs {
    double median, min, max;
};

/** A way of compressing and back, with its ratio over liblz4's. */
struct pages_speed {
    int measured;
    struct pages_gbs compress, decompress;
    double ratio, relative;
    char path[8];
};

struct pages_figures {
    const char *name;
    double ratio;                /* liblz4, level 1, the same pages */
    struct pages_speed lz4;      /* liblz4 on one CPU */
    struct pages_speed kernel;   /* device memory to device memory */
    struct pages_speed fast;     /* the same in the fast mode */
    struct pages_speed pipeline; /* page-locked host memory to the same */
    struct pages_speed cpu;      /* the CPU path, all threads */
};

struct pages_point {
    uint64_t pages;
    double compress, decompress; /* GB/s */
};

struct pages_bench {
    const char *device, *data;
    uint64_t page, bytes, threads;
    int json;
    int is_cuda;
    struct gpu *gpu;       /* null: the CPU alone */
    struct sl_pages *p[2]; /* by mode */
    struct sl_pages *cpu;
    uint64_t n;   /* pages of `bytes` */
    uint8_t *mem; /* src, blocks, back; page-locked */
    struct sl_page_entry *entries;
    sl_devptr dsrc, dblocks, dback, dentries; /* 0 without a device */
    struct pages_gbs link[3]; /* to the device, from it, both at once */
    struct pages_point curve[PAGES_CURVE];
    size_t points;
};

/** Each returns 0 or an exit code after it has said what failed. */
int bench_pages(int argc, char **argv);
/* bench_pages_run.c */
int pages_link(struct pages_bench *b);
int pages_measure(struct pages_bench *b, const struct data_set *set,
                  struct pages_figures *f);
/** Kernels alone over the size of the batch, on the data of the last
 *  measurement. */
int pages_curve(struct pages_bench *b);

static inline uint8_t *pages_src(const struct pages_bench *b)
{
    return b->mem;
}
static inline uint8_t *pages_blocks(const struct pages_bench *b)
{
    return b->mem + b->bytes;
}
static inline uint8_t *pages_back(const struct pages_bench *b)
{
    return b->mem + 2 * b->bytes;
}

#endif
