/* SPDX-License-Identifier: Apache-2.0 */
/* What Sluice reaches, beside the limit of the same run. */
#include "bench.h"

#include "out.h"

#include <stdio.h>
#include <stdlib.h>

/* Round trips of rtt; about a tenth of a second on a GPU. */
#define RTT_ROUNDS 20000u
/* Tasks of each measurement: about a second at the bar of LIMITS.md (50 million
 * a second), and about the same on the host device. */
#define TASK_OPS (UINT64_C(1) << 26)
#define TASK_OPS_HOST (UINT64_C(1) << 16)
/* Times that each thread keeps of its tasks. */
#define TASK_SAMPLES 16u
/* Warps a multiprocessor. Tasks: 256 threads, with which the bare ring reaches
 * its limit (LIMITS.md). Blobs: as many as are resident at once with the 80 to
 * 128 registers of the kernels; at 12 million pages a second, 132 such
 * multiprocessors leave each operation 170 us. */
#define TASK_WARPS 8u
#define BLOB_WARPS 16u
#define HOST_WARPS 2u

static uint64_t warps(const struct bench *b, uint64_t per_sm)
{
    uint64_t sms = b->info.sms ? b->info.sms : 1;
    if (b->warps)
        return b->warps;
    return sms * (b->host ? HOST_WARPS : per_sm);
}

/* ---- no-op tasks ---- */

/* Runs k_bench_noop; *ns is its time, the percentiles go to the figure. */
static int noop(struct bench *b, struct bench_grid g, uint64_t per,
                uint64_t every, struct bench_figure *f, uint64_t *ns)
{
    struct bench_noop_args args = {.dev = *sl_device_handle(b->dev),
                                   .per = per,
                                   .every = every,
                                   .keep = (per + every - 1) / every};
    uint64_t n = (uint64_t)g.blocks * g.threads * args.keep;
    int rc = bench_alloc(b, n * sizeof(uint64_t), &args.took_at);
    if (!rc)
        rc = bench_alloc(b, sizeof(struct bench_state), &args.state_at);
    if (!rc)
        rc = bench_kernel(b, "k_bench_noop", g, &args, sizeof(args), ns);
    if (!rc)
        rc = bench_errors(b, "k_bench_noop", args.state_at);
    if (!rc)
        rc = bench_times(b, args.took_at, n, f);
    bench_release(b, args.state_at);
    bench_release(b, args.took_at);
    return rc;
}

static int rtt(struct bench *b)
{
    struct bench_figure f = {.what = "rtt", .unit = "us", .time = 1};
    struct bench_figure unused = {0};
    const struct bench_grid one = {1, 1};
    uint32_t rounds = b->ops ? (uint32_t)b->ops : RTT_ROUNDS;
    uint64_t ns;
    int rc = bench_limit_rtt(b, rounds, &f.limit);
    /* Looking at the clock takes time itself: the percentiles come from one
     * run, which also wakes the workers, the mean from another. */
    if (!rc)
        rc = noop(b, one, rounds, 1, &f, &ns);
    if (!rc)
        rc = noop(b, one, rounds, rounds, &unused, &ns);
    if (rc)
        return rc;
    /* The limit is a mean, so is the value; p50 and p99 stand beside it. */
    f.value = (double)ns / 1e3 / (double)rounds;
    bench_report(b, &f);
    return 0;
}

int bench_rtt(struct bench *b)
{
    int rc = bench_open(b, b->workers, 1024, 0, 0);
    if (!rc)
        rc = rtt(b);
    return bench_close(b, rc);
}

static int tasks(struct bench *b, struct bench_grid g, const char *what)
{
    struct bench_figure f = {.what = what, .unit = "M/s"};
    uint64_t threads = (uint64_t)g.blocks * g.threads;
    uint64_t ops = b->ops ? b->ops : b->host ? TASK_OPS_HOST : TASK_OPS;
    uint64_t per = (ops + threads - 1) / threads;
    uint64_t every = per / TASK_SAMPLES + 1, ns = 0;
    int rc = bench_limit_ring(b, g, per, b->n_workers, &f.limit);
    if (!rc)
        rc = noop(b, g, per, every, &f, &ns);
    if (rc)
        return rc;
    f.value = ns ? (double)(threads * per) * 1e3 / (double)ns : 0.0;
    bench_report(b, &f);
    return 0;
}

static int tasks_with(struct bench *b, uint64_t workers, const char *what)
{
    struct bench_grid g = bench_grid_of(b, warps(b, TASK_WARPS));
    int rc = bench_open(b, workers, (uint64_t)g.blocks * g.threads, 0, 0);
    if (!rc)
        rc = tasks(b, g, what);
    return bench_close(b, rc);
}

int bench_tasks(struct bench *b)
{
    int rc = tasks_with(b, 1, "tasks_1");
    if (rc || b->workers == 1)
        return rc;
    return tasks_with(b, b->workers, "tasks_n");
}

/* ---- blobs ---- */

struct blobs {
    struct bench_blob_args args;
    struct bench_grid grid;
    uint32_t *order;
    sl_devptr pages;  /* source of puts */
    sl_devptr back;   /* destination of gets, one page a warp */
    const char *fill; /* kernel that makes pages and names */
};

/* Each blob once, in random order; the operations go round it. Fisher-Yates
 * with a fixed seed, so that runs can be compared. */
static int shuffle(struct bench *b, struct blobs *x, uint64_t ops,
                   uint64_t seed)
{
    int rc;
    for (uint64_t i = 0; i < b->blobs; i++)
        x->order[i] = (uint32_t)i;
    for (uint64_t i = b->blobs; i > 1; i--) {
        uint64_t j = sl_mix64(seed + i) % i;
        uint32_t t = x->order[i - 1];
        x->order[i - 1] = x->order[j];
        x->order[j] = t;
    }
    for (uint64_t i = b->blobs; i < ops; i++)
        x->order[i] = x->order[i % b->blobs];
    rc = b->gpu->ops->to_device(b->gpu, x->args.order_at, x->order,
                                ops * sizeof(*x->order));
    return rc ? out_fail("order: %s", sl_strerror(rc)) : 0;
}

/* One kernel over `ops` operations; the figure lacks only its limit. */
static int turn(struct bench *b, struct blobs *x, const char *kernel,
                uint64_t ops, struct bench_figure *f)
{
    uint64_t ns = 0;
    int rc;
    x->args.ops = ops;
    rc = bench_kernel(b, kernel, x->grid, &x->args, sizeof(x->args), &ns);
    if (!rc)
        rc = bench_errors(b, kernel, x->args.state_at);
    if (!rc)
        rc = bench_times(b, x->args.took_at, ops, f);
    f->value = ns ? (double)ops * 1e3 / (double)ns : 0.0;
    return rc;
}

static int puts_of(struct bench *b, struct blobs *x, int report)
{
    struct bench_figure f = {.what = "put_new", .unit = "M/s"};
    int rc = 0;
    if (report)
        rc = bench_limit_pages(b, 1, x->grid, &f.limit);
    x->args.pages_at = x->pages;
    if (!rc)
        rc = shuffle(b, x, b->blobs, 1);
    if (!rc)
        rc = turn(b, x, "k_bench_put", b->blobs, &f);
    if (rc || !report)
        return rc;
    bench_report(b, &f);
    f.what = "put_overwrite";
    rc = shuffle(b, x, b->ops, 2);
    if (!rc)
        rc = turn(b, x, "k_bench_put", b->ops, &f);
    if (!rc)
        bench_report(b, &f);
    return rc;
}

static int gets_of(struct bench *b, struct blobs *x)
{
    struct bench_figure f = {.what = "get", .unit = "M/s"};
    int rc = bench_limit_pages(b, 0, x->grid, &f.limit);
    x->args.pages_at = x->back;
    if (!rc)
        rc = shuffle(b, x, b->ops, 3);
    if (!rc)
        rc = turn(b, x, "k_bench_get", b->ops, &f);
    if (!rc)
        bench_report(b, &f);
    return rc;
}

static int prepare(struct bench *b, struct blobs *x)
{
    struct bench_blob_args *a = &x->args;
    uint64_t most = b->ops > b->blobs ? b->ops : b->blobs;
    int rc = sl_tag(b->rt, "bench", &a->tag);
    if (rc)
        return out_fail("tag 'bench': %s", sl_strerror(rc));
    x->order = calloc(most, sizeof(*x->order));
    if (!x->order)
        return out_fail("order: %s", sl_strerror(SL_ENOMEM));
    a->dev = *sl_device_handle(b->dev);
    a->blobs = b->blobs;
    a->size = b->size;
    rc = bench_alloc(b, b->blobs * b->size, &x->pages);
    if (!rc)
        rc = bench_alloc(b, bench_warps_of(&x->grid) * b->size, &x->back);
    if (!rc)
        rc = bench_alloc(b, b->blobs * BENCH_NAME_STRIDE, &a->names_at);
    if (!rc)
        rc = bench_alloc(b, most * sizeof(*x->order), &a->order_at);
    if (!rc)
        rc = bench_alloc(b, most * sizeof(uint64_t), &a->took_at);
    if (!rc)
        rc = bench_alloc(b, sizeof(struct bench_state), &a->state_at);
    a->pages_at = x->pages;
    return rc ? rc : bench_kernel(b, x->fill, x->grid, a, sizeof(*a), NULL);
}

static void cleanup(struct bench *b, struct blobs *x)
{
    bench_release(b, x->pages);
    bench_release(b, x->back);
    bench_release(b, x->args.names_at);
    bench_release(b, x->args.order_at);
    bench_release(b, x->args.took_at);
    bench_release(b, x->args.state_at);
    free(x->order);
}

int bench_blobs(struct bench *b, int put, int get)
{
    struct blobs x = {.grid = bench_grid_of(b, warps(b, BLOB_WARPS)),
                      .fill = "k_bench_fill"};
    uint64_t asked = b->ops, chunks;
    int rc;
    if (!b->blobs)
        b->blobs = b->host ? UINT64_C(1) << 14 : UINT64_C(1) << 18;
    if (!b->ops)
        b->ops = b->blobs;
    chunks = b->blobs << sl_class_of(b->size);
    rc = bench_open(b, b->workers, bench_warps_of(&x.grid), chunks, b->size);
    if (!rc)
        rc = prepare(b, &x);
    if (!rc)
        rc = puts_of(b, &x, put);
    if (!rc && get)
        rc = gets_of(b, &x);
    cleanup(b, &x);
    b->ops = asked;
    return bench_close(b, rc);
}

/* ---- blobs that cross the link coded ---- */

/* Blobs whose coded bytes are counted. */
#define RATIO_BLOBS 256u
/* More than this the bar does not ask for (LIMITS.md, P7). */
#define RATIO_MOST 3.0

struct lz4_data {
    const char *ratio, *put, *get; /* names of the figures */
    uint64_t fresh;
};

static int ratio_of(struct bench *b, const struct blobs *x, double *ratio)
{
    uint64_t n = b->blobs < RATIO_BLOBS ? b->blobs : RATIO_BLOBS, stored = 0;
    for (uint64_t i = 0; i < n; i++) {
        struct sl_stat s;
        char name[BENCH_NAME_LEN + 1u];
        snprintf(name, sizeof(name), "blob-%08x", (unsigned)i);
        int rc = sl_stat(b->rt, x->args.tag, name, &s);
        if (rc)
            return out_fail("%s: %s", name, sl_strerror(rc));
        stored += s.stored;
    }
    *ratio = (double)(n * b->size) / (double)stored;
    return 0;
}

/* Pages a second become bytes a second, plain ones; what the link moves in the
 * same run counts as often as the pages shrink. */
static void lz4_report(struct bench *b, struct bench_figure *f, double link,
                       double ratio)
{
    double page = (double)b->size / 1e3; /* M/s to GB/s */
    f->unit = "GB/s";
    f->value *= page;
    f->limit = link * page * (ratio < RATIO_MOST ? ratio : RATIO_MOST);
    bench_report(b, f);
}

static int lz4_turns(struct bench *b, struct blobs *x, const struct lz4_data *d)
{
    struct bench_figure f = {.what = d->ratio, .unit = "x"}, put = f, get = f;
    double puts = 0.0, gets = 0.0;
    int rc = bench_limit_pages(b, 1, x->grid, &puts);
    if (!rc)
        rc = bench_limit_pages(b, 0, x->grid, &gets);
    if (!rc)
        rc = shuffle(b, x, b->blobs, 1); /* new ones, not reported */
    if (!rc)
        rc = turn(b, x, "k_bench_put_lz4", b->blobs, &put);
    if (!rc)
        rc = shuffle(b, x, b->ops, 2);
    if (!rc)
        rc = turn(b, x, "k_bench_put_lz4", b->ops, &put);
    if (!rc)
        rc = ratio_of(b, x, &f.value);
    x->args.pages_at = x->back;
    if (!rc)
        rc = turn(b, x, "k_bench_get_lz4", b->ops, &get);
    if (rc)
        return rc;
    put.what = d->put;
    get.what = d->get;
    f.limit = RATIO_MOST;
    bench_report(b, &f);
    lz4_report(b, &put, puts, f.value);
    lz4_report(b, &get, gets, f.value);
    return 0;
}

static int lz4_with(struct bench *b, const struct lz4_data *d)
{
    uint64_t block = b->host ? HOST_WARPS : BENCH_LZ4_WARPS;
    uint64_t n = (warps(b, BLOB_WARPS) + block - 1) / block;
    struct blobs x = {.grid = {(uint32_t)n, (uint32_t)(32 * block)},
                      .fill = "k_bench_text",
                      .args = {.fresh = d->fresh}};
    int rc = bench_open(b, b->workers, bench_warps_of(&x.grid),
                        b->blobs << sl_class_of(b->size), b->size);
    if (!rc)
        rc = prepare(b, &x);
    if (!rc)
        rc = lz4_turns(b, &x, d);
    cleanup(b, &x);
    return bench_close(b, rc);
}

int bench_lz4(struct bench *b)
{
    static const struct lz4_data data[] = {
        {"lz4_ratio_2", "put_lz4_2", "get_lz4_2", 92},
        {"lz4_ratio_3", "put_lz4_3", "get_lz4_3", 44}};
    uint64_t blobs = b->blobs, ops = b->ops;
    int rc = 0;
    if (!blobs)
        b->blobs = b->host ? UINT64_C(1) << 12 : UINT64_C(1) << 18;
    if (!ops)
        b->ops = b->blobs;
    for (size_t i = 0; i < sizeof(data) / sizeof(data[0]) && !rc; i++)
        rc = lz4_with(b, &data[i]);
    b->blobs = blobs;
    b->ops = ops;
    return rc;
}
