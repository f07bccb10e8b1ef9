/* SPDX-License-Identifier: Apache-2.0 */
/* `sluice bench`: options, the device, the report. */
#include "bench.h"
#include "bench_codec.h"
#include "bench_durable.h"
#include "bench_file.h"
#include "bench_pages.h"
#include "bench_scale.h"

#include "cli.h"
#include "opt.h"
#include "out.h"
#include "sluice/device/lz4_blob.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char help[] =
    "Usage: sluice bench [OPTION]... rtt|tasks|put|get|lz4|bulk|all|codec\n"
    "       sluice bench durable --data DIR [--ms N] [--json]\n"
    "       sluice bench file [OPTION]...\n"
    "       sluice bench pages [OPTION]... [FILE]...\n"
    "       sluice bench scale [OPTION]...\n"
    "Measures what the hardware allows and what Sluice reaches, in one run.\n\n"
    "  rtt    one no-op task at a time, from one thread of a kernel;\n"
    "         limit: a flag sent to the CPU and back. Ratio is value / limit "
    "of\n"
    "         the time, 1.0 is the limit and more is worse\n"
    "  tasks  no-op tasks a second from all threads, 1 and N workers;\n"
    "         limit: a bare ring of 64-byte descriptors, as many CPU threads\n"
    "  put    blobs from kernels, one warp each, new ones and overwrites;\n"
    "         limit: the device's own stores of such pages to pinned memory\n"
    "  get    the same blobs in random order; limit: its loads\n"
    "  lz4    puts and gets whose pages cross the link as LZ4 blocks, of data\n"
    "         that shrinks to about a half and a third; GB/s of plain bytes;\n"
    "         limit: the link's, times the ratio (3 at most). Not in all\n"
    "  bulk   16 MiB of device memory put and got by host calls, one at a "
    "time\n"
    "         and four; limit: the copy engine. On a GPU also as LZ4 units,\n"
    "         limit times the ratio. Not in all\n"
    "  codec  ratio and speed of each codec on one CPU, and the dynamic "
    "choice\n"
    "         beside the best; no device, takes --json alone\n"
    "  durable  puts that survive a power cut, beside LMDB and RocksDB (see\n"
    "         bench durable --help)\n"
    "  file   the file tier beside fio (see bench file --help)\n"
    "  pages  LZ4 on pages, kernels and pipeline (see bench pages --help)\n"
    "  scale  host calls in stores of more and more blobs, and the start\n"
    "         (see bench scale --help)\n"
    "Ratio of a rate is value / limit, 1.0 is the limit and less is worse.\n\n"
    "  --device D     auto (default), host, or cuda:N\n"
    "  --workers N    CPU threads that serve (default: half the CPUs, 1 to 4)\n"
    "  --warps N      warps of the kernel (default: fills the device)\n"
    "  --size BYTES   of a blob, a multiple of 16 to 1m (default 4k; bulk: to "
    "64m,\n"
    "                 default 16m)\n"
    "  --blobs N      distinct blobs (default 256 Ki; host device 16 Ki)\n"
    "  --ops N        operations of each measurement (default: one for each\n"
    "                 blob, or about a second of tasks)\n"
    "  --json         as JSON\n"
    "  -v, --verbose\n";

/* ---- memory of both sides ---- */

static int device_fail(const char *what, int code)
{
    return out_fail("%s: %s", what, sl_strerror(code));
}

int bench_pin(struct bench *b, size_t bytes, struct bench_pinned *p)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    int rc;
    memset(p, 0, sizeof(*p));
    bytes = (bytes + page - 1) / page * page;
    p->mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (p->mem == MAP_FAILED) {
        p->mem = NULL;
        return device_fail("pinned memory", SL_ENOMEM);
    }
    rc = b->gpu->ops->pin(b->gpu, p->mem, bytes, &p->at);
    if (rc) {
        munmap(p->mem, bytes);
        p->mem = NULL;
        return device_fail("pinned memory", rc);
    }
    p->bytes = bytes;
    return 0;
}

void bench_unpin(struct bench *b, struct bench_pinned *p)
{
    if (!p->mem)
        return;
    b->gpu->ops->unpin(b->gpu, p->mem);
    munmap(p->mem, p->bytes);
    p->mem = NULL;
}

int bench_alloc(struct bench *b, uint64_t bytes, sl_devptr *out)
{
    int rc = b->gpu->ops->alloc(b->gpu, bytes, out);
    if (!rc)
        return 0;
    *out = 0;
    return device_fail("device memory", rc);
}

void bench_release(struct bench *b, sl_devptr p)
{
    if (p)
        b->gpu->ops->release(b->gpu, p);
}

/* ---- kernels ---- */

struct bench_grid bench_grid_of(const struct bench *b, uint64_t warps)
{
    uint64_t most = b->host ? 2 : 8; /* warps of a block */
    uint64_t blocks = (warps + most - 1) / most;
    struct bench_grid g = {(uint32_t)blocks, (uint32_t)(32 * most)};
    if (warps < most)
        g = (struct bench_grid){1, (uint32_t)(32 * warps)};
    return g;
}

uint64_t bench_warps_of(const struct bench_grid *g)
{
    return (uint64_t)g->blocks * (g->threads / 32);
}

int bench_kernel(struct bench *b, const char *kernel, struct bench_grid g,
                 const void *args, size_t bytes, uint64_t *ns)
{
    struct gpu_launch l = {.kernel = kernel,
                           .grid = {g.blocks, 1, 1},
                           .block = {g.threads, 1, 1},
                           .args = args,
                           .args_bytes = bytes};
    uint64_t unused;
    int rc = b->gpu->ops->launch(b->stream, &l);
    if (!rc)
        rc = b->gpu->ops->stream_wait(b->stream, BENCH_LONGEST_NS,
                                      ns ? ns : &unused);
    return rc ? device_fail(kernel, rc) : 0;
}

int bench_errors(struct bench *b, const char *kernel, sl_devptr state)
{
    struct bench_state s;
    int rc = b->gpu->ops->from_device(b->gpu, &s, state, sizeof(s));
    if (rc)
        return device_fail(kernel, rc);
    b->tick_ns = kernel_clock_tick(&s.clock);
    if (!s.errors)
        return 0;
    return out_fail("%s: %llu operations failed, the first: %s", kernel,
                    (unsigned long long)s.errors,
                    sl_strerror((int)s.first_code));
}

int bench_times(struct bench *b, sl_devptr took, uint64_t n,
                struct bench_figure *f)
{
    uint64_t *ticks = calloc(n, sizeof(*ticks));
    int rc = SL_ENOMEM;
    if (ticks)
        rc = b->gpu->ops->from_device(b->gpu, ticks, took, n * sizeof(*ticks));
    if (!rc) {
        f->p50_ns = b->tick_ns * (double)out_percentile(ticks, n, 50);
        f->p99_ns = b->tick_ns * (double)out_percentile(ticks, n, 99);
    }
    free(ticks);
    return rc ? device_fail("times", rc) : 0;
}

/* ---- the runtime ---- */

int bench_open(struct bench *b, uint64_t workers, uint64_t slots,
               uint64_t pinned, uint64_t size)
{
    struct sl_config c;
    uint64_t per;
    int rc;
    memset(&c, 0, sizeof(c));
    c.size = sizeof(c);
    c.workers = (uint32_t)workers;
    sl_config_init(&c);
    /* Whole kilo-slots, so that no kernel waits for a free one. */
    per = (slots + c.lanes - 1) / c.lanes;
    c.depth = (uint32_t)((per + 1023) / 1024 * 1024);
    if (pinned) {
        /* An eighth more for old versions and the workers' caches. Each slot
         * may hold a chunk of the blob's class and a side chunk. */
        c.pinned_bytes = pinned + pinned / 8;
        c.arena_bytes =
            c.pinned_bytes + (64u << 20) +
            (uint64_t)c.depth * c.lanes *
                (((uint64_t)1 << sl_class_of(size)) + SL_SIDE_BYTES);
    }
    out_log_hold();
    rc = sl_open(&c, &b->rt);
    if (rc)
        return out_fail("cannot start the runtime: %s", out_log_take(rc));
    out_log_take(0);
    out_log_hold();
    rc = sl_device_open(b->rt, b->device, &b->dev);
    if (rc)
        return out_fail("device '%s': %s", b->device, out_log_take(rc));
    out_log_take(0);
    b->n_workers = c.workers;
    return 0;
}

int bench_close(struct bench *b, int rc)
{
    int code = 0;
    if (b->dev)
        sl_device_close(b->dev);
    b->dev = NULL;
    if (b->rt)
        code = sl_close(b->rt);
    b->rt = NULL;
    return code && !rc ? device_fail("stopping the runtime", code) : rc;
}

/* ---- the report ---- */

void bench_report(struct bench *b, const struct bench_figure *f)
{
    double ratio = f->limit > 0.0 ? f->value / f->limit : 0.0;
    double p50 = f->p50_ns / 1e3, p99 = f->p99_ns / 1e3;
    if (!b->json) {
        printf("%-14s limit %10.3f  value %10.3f %-6s ratio %5.3f  p50 %.2f us"
               "  p99 %.2f us  workers %u\n",
               f->what, f->limit, f->value, f->unit, ratio, p50, p99,
               b->n_workers);
        fflush(stdout);
        return;
    }
    json_array_append_new(
        b->figures,
        json_pack("{s:s, s:f, s:f, s:s, s:f, s:b, s:f, s:f, s:i, s:o}", "bench",
                  f->what, "limit", f->limit, "value", f->value, "unit",
                  f->unit, "ratio", ratio, "lower_is_better", f->time, "p50",
                  p50, "p99", p99, "workers", (int)b->n_workers, "device",
                  out_text(b->info.name, strlen(b->info.name))));
}

static int open_device(struct bench *b)
{
    int rc;
    out_log_hold();
    rc = gpu_open(b->device, &b->gpu);
    if (rc)
        return out_fail("device '%s': %s", b->device, out_log_take(rc));
    out_log_take(0);
    b->gpu->ops->info(b->gpu, &b->info);
    b->host = !strcmp(b->gpu->ops->kind, "host");
    rc = b->gpu->ops->stream_open(b->gpu, &b->stream);
    return rc ? device_fail("stream", rc) : 0;
}

static int measure(struct bench *b, const char *what)
{
    int all = !strcmp(what, "all");
    int put = all || !strcmp(what, "put"), get = all || !strcmp(what, "get");
    int rc = open_device(b);
    if (!rc && !b->json)
        printf("device %s\n", b->info.name);
    if (!rc && (all || !strcmp(what, "rtt")))
        rc = bench_rtt(b);
    if (!rc && (all || !strcmp(what, "tasks")))
        rc = bench_tasks(b);
    if (!rc && (put || get))
        rc = bench_blobs(b, put, get);
    if (!rc && !strcmp(what, "lz4"))
        rc = bench_lz4(b);
    if (!rc && !strcmp(what, "bulk"))
        rc = bench_bulk(b);
    return rc;
}

static int is_known(const char *what)
{
    static const char *const known[] = {"rtt", "tasks", "put", "get",
                                        "lz4", "bulk",  "all"};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (!strcmp(what, known[i]))
            return 1;
    return 0;
}

static int run(struct bench *b, const char *what)
{
    int rc;
    if (!strcmp(what, "codec"))
        return bench_codec(b->json);
    if (!is_known(what))
        return out_usage("unknown measurement '%s'", what);
    int bulk = !strcmp(what, "bulk");
    if (!b->size)
        b->size = bulk ? 16u << 20 : 4096u;
    if (!bulk && b->size > SL_CHUNK_MAX)
        return out_usage("option '--size': more than 1m");
    if (b->size % 16)
        return out_usage("option '--size': not a multiple of 16");
    if (!strcmp(what, "lz4") && b->size > SL_LZ4_SMALL)
        return out_usage("option '--size': more than 4096 is not coded");
    b->figures = json_array();
    rc = measure(b, what);
    if (b->stream)
        b->gpu->ops->stream_close(b->stream);
    if (b->gpu)
        b->gpu->ops->close(b->gpu);
    if (rc || !b->json) {
        json_decref(b->figures);
        return rc ? rc : out_done();
    }
    return out_json(b->figures);
}

int cmd_bench(int argc, char **argv)
{
    struct bench b = {.device = "auto"};
    const struct opt opts[] = {
        {.name = "device", .kind = OPT_TEXT, .to = &b.device},
        {.name = "workers",
         .kind = OPT_NUMBER,
         .to = &b.workers,
         .min = 1,
         .max = 256},
        {.name = "warps",
         .kind = OPT_NUMBER,
         .to = &b.warps,
         .min = 1,
         .max = 65536},
        {.name = "size",
         .kind = OPT_SIZE,
         .to = &b.size,
         .min = 16,
         .max = SL_IO_MAX},
        {.name = "blobs",
         .kind = OPT_SIZE,
         .to = &b.blobs,
         .min = 1,
         .max = UINT32_MAX},
        {.name = "ops",
         .kind = OPT_SIZE,
         .to = &b.ops,
         .min = 1,
         .max = UINT32_MAX},
        {.name = "json", .kind = OPT_FLAG, .to = &b.json},
    };
    struct opt_set set = {help, opts, 7, 1, 1};
    /* They have options of their own. */
    if (argc > 1 && !strcmp(argv[1], "durable"))
        return bench_durable(argc - 1, argv + 1);
    if (argc > 1 && !strcmp(argv[1], "file"))
        return bench_file(argc - 1, argv + 1);
    if (argc > 1 && !strcmp(argv[1], "pages"))
        return bench_pages(argc - 1, argv + 1);
    if (argc > 1 && !strcmp(argv[1], "scale"))
        return bench_scale(argc - 1, argv + 1);
    int first, rc = opt_parse(&set, argc, argv, &first);
    return rc == OPT_GO ? run(&b, argv[first]) : rc;
}
