/* SPDX-License-Identifier: Apache-2.0 */
/* The measurements of `sluice bench pages`. */
#include "base/clock.h"
#include "bench_pages.h"
#include "out.h"
#include "sluice/sluice.h"

#include <lz4.h>
#include <stdlib.h>
#include <string.h>

/* liblz4 on one CPU needs no more to be measured. */
#define LZ4_BYTES (32u << 20)
#define LINK_BYTES (UINT64_C(64) << 20)
#define LINK_COPIES 8
#define LONGEST_NS UINT64_C(60000000000)

static int failed(const char *what, int rc)
{
    return out_fail("%s: %s", what, sl_strerror(rc));
}

static int ascending(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static struct pages_gbs sum_up(double run[PAGES_RUNS])
{
    qsort(run, PAGES_RUNS, sizeof(run[0]), ascending);
    return (struct pages_gbs){run[PAGES_RUNS / 2], run[0], run[PAGES_RUNS - 1]};
}

static double gbs(uint64_t bytes, uint64_t ns)
{
    return ns ? (double)bytes / (double)ns : 0.0;
}

static int check_back(const struct pages_bench *b, const char *what)
{
    if (memcmp(pages_src(b), pages_back(b), b->bytes) == 0)
        return 0;
    return out_fail("%s: other bytes came back", what);
}

/* ---- the link ---- */

static int copy_all(struct pages_bench *b, struct gpu_stream *s, sl_devptr dst,
                    sl_devptr src)
{
    uint64_t n = b->bytes < LINK_BYTES ? b->bytes : LINK_BYTES;
    int rc = 0;
    for (int i = 0; i < LINK_COPIES && rc == 0; i++)
        rc = b->gpu->ops->copy_async(s, dst, src, n);
    return rc;
}

/* Host clock around both streams; ways: 1 to the device, 2 from it, 3 both. */
static int link_once(struct pages_bench *b, struct gpu_stream *s[2],
                     sl_devptr host, int ways, double *out)
{
    const struct gpu_ops *ops = b->gpu->ops;
    uint64_t n = b->bytes < LINK_BYTES ? b->bytes : LINK_BYTES;
    uint64_t begun = clock_ns();
    int rc = ways & 1 ? copy_all(b, s[0], b->dsrc, host) : 0;
    if (rc == 0 && ways & 2)
        rc = copy_all(b, s[1], host + b->bytes, b->dback);
    for (int i = 0; i < 2 && rc == 0; i++)
        rc = ops->stream_wait(s[i], LONGEST_NS, NULL);
    *out = gbs(n * LINK_COPIES * (ways == 3 ? 2 : 1), clock_ns() - begun);
    return rc;
}

int pages_link(struct pages_bench *b)
{
    const struct gpu_ops *ops = b->gpu->ops;
    struct gpu_stream *s[2] = {NULL, NULL};
    sl_devptr host = 0;
    double run[PAGES_RUNS];
    int rc = ops->pin(b->gpu, b->mem, 3 * b->bytes, &host);
    if (rc)
        return failed("page-locked memory", rc);
    for (int i = 0; i < 2 && rc == 0; i++)
        rc = ops->stream_open(b->gpu, &s[i]);
    for (int ways = 1; ways <= 3 && rc == 0; ways++) {
        double unused;
        rc = link_once(b, s, host, ways, &unused);
        for (int i = 0; i < PAGES_RUNS && rc == 0; i++)
            rc = link_once(b, s, host, ways, &run[i]);
        if (rc == 0)
            b->link[ways - 1] = sum_up(run);
    }
    for (int i = 0; i < 2; i++)
        if (s[i])
            ops->stream_close(s[i]);
    ops->unpin(b->gpu, b->mem);
    return rc ? failed("the link", rc) : 0;
}

/* ---- liblz4 on one CPU ---- */

struct lz4_run {
    const struct pages_bench *b;
    uint8_t *out; /* a page's bound for each page */
    uint32_t *stored;
    uint64_t pages;
    uint64_t apart; /* pages from one to the next, so that they are of all */
    uint32_t bound;
};

static uint64_t lz4_at(const struct lz4_run *r, uint64_t i)
{
    return i * r->apart * r->b->page;
}

static uint64_t lz4_compress(const struct lz4_run *r)
{
    uint64_t sum = 0, page = r->b->page;
    for (uint64_t i = 0; i < r->pages; i++) {
        const char *src = (const char *)pages_src(r->b) + lz4_at(r, i);
        int got = LZ4_compress_default(src, (char *)r->out + i * r->bound,
                                       (int)page, (int)r->bound);
        r->stored[i] = (uint32_t)got;
        /* What does not shrink would be stored raw. */
        sum += (uint64_t)got < page ? (uint64_t)got : page;
    }
    return sum;
}

static void lz4_decompress(const struct lz4_run *r)
{
    uint64_t page = r->b->page;
    for (uint64_t i = 0; i < r->pages; i++)
        (void)LZ4_decompress_safe((char *)r->out + i * r->bound,
                                  (char *)pages_back(r->b) + lz4_at(r, i),
                                  (int)r->stored[i], (int)page);
}

static int measure_lz4(struct pages_bench *b, struct pages_figures *f)
{
    struct lz4_run r = {.b = b,
                        .bound = (uint32_t)LZ4_compressBound((int)b->page)};
    double run[2][PAGES_RUNS];
    uint64_t most = LZ4_BYTES / b->page, sum = 0;
    r.pages = b->n < most ? b->n : most;
    /* Odd: the data is a file that repeats itself, often of 2^k pages. */
    r.apart = (b->n / r.pages - 1u) | 1u;
    r.out = malloc(r.pages * r.bound);
    r.stored = malloc(r.pages * sizeof(*r.stored));
    if (!r.out || !r.stored) {
        free(r.out);
        free(r.stored);
        return failed("liblz4", SL_ENOMEM);
    }
    uint64_t bytes = r.pages * b->page;
    for (int i = 0; i < PAGES_RUNS; i++) {
        uint64_t begun = clock_ns();
        sum = lz4_compress(&r);
        uint64_t half = clock_ns();
        lz4_decompress(&r);
        run[0][i] = gbs(bytes, half - begun);
        run[1][i] = gbs(bytes, clock_ns() - half);
    }
    free(r.out);
    free(r.stored);
    f->ratio = (double)bytes / (double)(sum ? sum : 1);
    f->lz4 = (struct pages_speed){.measured = 1,
                                  .compress = sum_up(run[0]),
                                  .decompress = sum_up(run[1]),
                                  .ratio = f->ratio,
                                  .relative = 1.0,
                                  .path = "cpu"};
    return 0;
}

/* ---- kernels alone ---- */

static int kernel_once(struct pages_bench *b, struct sl_pages *p,
                       uint64_t bytes, struct sl_pages_report r[2])
{
    uint64_t n = sl_pages_count(bytes, (uint32_t)b->page);
    int rc = sl_pages_compress_device(p, b->dsrc, bytes, b->dblocks, b->bytes,
                                      b->dentries, n, &r[0]);
    if (rc)
        return failed("compressing on the device", rc);
    rc = sl_pages_decompress_device(p, b->dblocks, r[0].bytes_out, b->dentries,
                                    n, b->dback, bytes, &r[1]);
    return rc ? failed("decompressing on the device", rc) : 0;
}

static void set_ratio(struct pages_speed *s, const struct pages_figures *f,
                      uint64_t bytes, uint64_t stored)
{
    s->measured = 1;
    s->ratio = (double)bytes / (double)(stored ? stored : 1);
    s->relative = s->ratio / f->ratio;
}

static int measure_kernel(struct pages_bench *b, struct sl_pages *p,
                          const struct pages_figures *f, struct pages_speed *s)
{
    const struct gpu_ops *ops = b->gpu->ops;
    struct sl_pages_report r[2];
    double run[2][PAGES_RUNS];
    /* The pages of the other mode may be there. */
    memset(pages_back(b), 0, b->bytes);
    int rc = ops->to_device(b->gpu, b->dback, pages_back(b), b->bytes);
    if (rc)
        return failed("clearing on the device", rc);
    /* The first one is not counted: the device wakes up. */
    rc = kernel_once(b, p, b->bytes, r);
    for (int i = 0; i < PAGES_RUNS && rc == 0; i++) {
        rc = kernel_once(b, p, b->bytes, r);
        run[0][i] = gbs(b->bytes, r[0].kernel_ns);
        run[1][i] = gbs(b->bytes, r[1].kernel_ns);
    }
    if (rc)
        return rc;
    rc = ops->from_device(b->gpu, pages_back(b), b->dback, b->bytes);
    if (rc)
        return failed("copying back", rc);
    s->compress = sum_up(run[0]);
    s->decompress = sum_up(run[1]);
    set_ratio(s, f, b->bytes, r[0].bytes_out);
    memcpy(s->path, "gpu", 4);
    return check_back(b, "kernels");
}

/* ---- host memory to host memory ---- */

static int host_once(struct pages_bench *b, struct sl_pages *p,
                     struct sl_pages_report r[2])
{
    int rc = sl_pages_compress(p, pages_src(b), b->bytes, pages_blocks(b),
                               b->bytes, b->entries, b->n, &r[0]);
    if (rc == 0)
        rc = sl_pages_decompress(p, pages_blocks(b), r[0].bytes_out, b->entries,
                                 b->n, pages_back(b), b->bytes, &r[1]);
    return rc ? failed("host to host", rc) : 0;
}

static int measure_host(struct pages_bench *b, struct sl_pages *p,
                        const struct pages_figures *f, struct pages_speed *s)
{
    static const char *const path[] = {"none", "cpu", "gpu", "mixed"};
    struct sl_pages_report r[2];
    double run[2][PAGES_RUNS];
    int rc = sl_pages_pin(p, b->mem, 3 * b->bytes);
    if (rc)
        return failed("page-locked memory", rc);
    memset(pages_back(b), 0, b->bytes);
    rc = host_once(b, p, r);
    for (int i = 0; i < PAGES_RUNS && rc == 0; i++) {
        rc = host_once(b, p, r);
        run[0][i] = gbs(b->bytes, r[0].wall_ns);
        run[1][i] = gbs(b->bytes, r[1].wall_ns);
    }
    (void)sl_pages_unpin(p, b->mem);
    if (rc)
        return rc;
    s->compress = sum_up(run[0]);
    s->decompress = sum_up(run[1]);
    set_ratio(s, f, b->bytes, r[0].bytes_out);
    memcpy(s->path, path[(r[0].path | r[1].path) & 3], 4);
    return check_back(b, "host to host");
}

/* ---- all of a set ---- */

static void repeat(struct pages_bench *b, const struct data_set *set)
{
    /* Whole pages, so that the same pages come again. */
    uint64_t once = set->bytes / b->page * b->page;
    once = once ? once : set->bytes;
    for (uint64_t at = 0; at < b->bytes; at += once) {
        uint64_t n = b->bytes - at < once ? b->bytes - at : once;
        memcpy(pages_src(b) + at, set->data, n);
    }
}

static int measure_device(struct pages_bench *b, struct pages_figures *f)
{
    int rc = b->gpu->ops->to_device(b->gpu, b->dsrc, pages_src(b), b->bytes);
    if (rc)
        return failed("copying to the device", rc);
    rc = measure_kernel(b, b->p[SL_PAGES_DEFAULT], f, &f->kernel);
    if (rc == 0)
        rc = measure_kernel(b, b->p[SL_PAGES_FAST], f, &f->fast);
    if (rc == 0)
        rc = measure_host(b, b->p[SL_PAGES_DEFAULT], f, &f->pipeline);
    return rc;
}

int pages_measure(struct pages_bench *b, const struct data_set *set,
                  struct pages_figures *f)
{
    memset(f, 0, sizeof(*f));
    f->name = set->name;
    repeat(b, set);
    int rc = measure_lz4(b, f);
    if (rc == 0 && b->gpu)
        rc = measure_device(b, f);
    if (rc == 0)
        rc = measure_host(b, b->cpu, f, &f->cpu);
    return rc;
}

int pages_curve(struct pages_bench *b)
{
    b->points = 0;
    for (uint64_t n = b->is_cuda ? 256 : 16; n <= b->n; n *= 4) {
        struct pages_point *at = &b->curve[b->points];
        struct sl_pages_report r[2];
        if (b->points == PAGES_CURVE)
            break;
        *at = (struct pages_point){.pages = n};
        for (int i = 0; i <= PAGES_RUNS; i++) {
            int rc = kernel_once(b, b->p[SL_PAGES_DEFAULT], n * b->page, r);
            if (rc)
                return rc;
            double in = gbs(n * b->page, r[0].kernel_ns);
            double out = gbs(n * b->page, r[1].kernel_ns);
            at->compress = in > at->compress ? in : at->compress;
            at->decompress = out > at->decompress ? out : at->decompress;
        }
        b->points++;
    }
    return 0;
}
