/* SPDX-License-Identifier: Apache-2.0 */
/* `sluice bench pages`: options, memory, the report. */
#include "bench_pages.h"

#include "opt.h"
#include "out.h"
#include "sluice/sluice.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static const char help[] =
    "Usage: sluice bench pages [OPTION]... [FILE]...\n"
    "LZ4 on pages of each file (at most 64m of it, repeated), or of four sets\n"
    "that are there on every machine: code, json, text, records.\n\n"
    "  liblz4    one CPU, level 1, the same pages: its ratio is the measure\n"
    "  kernel    device memory to device memory\n"
    "  fast      the same in the fast mode\n"
    "  pipeline  page-locked host memory to host memory; the limit is the\n"
    "            link in the direction of the plain pages\n"
    "  cpu       the CPU path, all threads\n"
    "  curve     kernels over the size of the batch, on the last set\n"
    "Each is the median of 3 runs, with the least and the most; all bytes are\n"
    "compared. Without a GPU: liblz4 and cpu.\n\n"
    "  --device D    auto (default), cuda:N, cpu, or host (kernels on "
    "threads)\n"
    "  --page BYTES  64 to 64k, a multiple of 64 (default 4k)\n"
    "  --bytes N     of each set (default 1g on a GPU, 4g of pages of 64k;\n"
    "                64m on the CPU, 256k on host)\n"
    "  --data FILE   the same as FILE\n"
    "  --threads N   of the CPU path (default: all)\n"
    "  --json        as JSON\n"
    "  -v, --verbose\n";

static int failed(const char *what, int rc)
{
    return out_fail("%s: %s", what, sl_strerror(rc));
}

/* ---- set up ---- */

static int open_gpu(struct pages_bench *b)
{
    char why[256] = "";
    if (!strcmp(b->device, "cpu"))
        return 0;
    if (!strcmp(b->device, "auto")) {
        if (gpu_cuda_ops.count(why, sizeof(why)) == 0) {
            b->device = "cpu";
            return 0;
        }
        b->device = "cuda:0";
    }
    out_log_hold();
    int rc = gpu_open(b->device, &b->gpu);
    if (rc)
        return out_fail("device '%s': %s", b->device, out_log_take(rc));
    out_log_take(0);
    b->is_cuda = !strcmp(b->gpu->ops->kind, "cuda");
    return 0;
}

static int open_pages(const struct pages_bench *b, const char *device,
                      uint32_t mode, struct sl_pages **out)
{
    struct sl_pages_opts o = {.size = sizeof(o),
                              .page_bytes = (uint32_t)b->page,
                              .mode = mode,
                              .device = device,
                              .threads = (uint32_t)b->threads,
                              .gpu_threshold = 1};
    int rc = sl_pages_open(&o, out);
    return rc ? failed(device, rc) : 0;
}

static int alloc_device(struct pages_bench *b)
{
    const struct gpu_ops *ops = b->gpu->ops;
    int rc = ops->alloc(b->gpu, b->bytes, &b->dsrc);
    if (rc == 0)
        rc = ops->alloc(b->gpu, b->bytes, &b->dblocks);
    if (rc == 0)
        rc = ops->alloc(b->gpu, b->bytes, &b->dback);
    if (rc == 0)
        rc = ops->alloc(b->gpu, b->n * sizeof(struct sl_page_entry),
                        &b->dentries);
    return rc ? failed("device memory", rc) : 0;
}

static void set_bytes(struct pages_bench *b)
{
    uint64_t gpu = UINT64_C(1) << (b->page >= SL_PAGE_MAX ? 32 : 30);
    if (!b->bytes && b->is_cuda)
        b->bytes = gpu;
    else if (!b->bytes)
        b->bytes = b->gpu ? 256u << 10 : 64u << 20;
    /* Whole pages of the system too, as it is page-locked: a page here is a
     * multiple of 64 bytes. */
    uint64_t unit = b->page * 64;
    b->bytes = b->bytes < unit ? unit : b->bytes / unit * unit;
    b->n = b->bytes / b->page;
}

static int set_up(struct pages_bench *b)
{
    int rc = open_gpu(b);
    if (rc)
        return rc;
    set_bytes(b);
    b->mem = mmap(NULL, 3 * b->bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    b->entries = calloc(b->n, sizeof(*b->entries));
    if (b->mem == MAP_FAILED || !b->entries) {
        b->mem = NULL;
        return failed("memory", SL_ENOMEM);
    }
    rc = open_pages(b, "cpu", SL_PAGES_DEFAULT, &b->cpu);
    for (uint32_t mode = 0; mode < 2 && b->gpu && rc == 0; mode++)
        rc = open_pages(b, b->device, mode, &b->p[mode]);
    if (rc == 0 && b->gpu)
        rc = alloc_device(b);
    return rc;
}

static void tear_down(struct pages_bench *b)
{
    for (int mode = 0; mode < 2; mode++)
        sl_pages_close(b->p[mode]);
    sl_pages_close(b->cpu);
    if (b->gpu) {
        b->gpu->ops->release(b->gpu, b->dentries);
        b->gpu->ops->release(b->gpu, b->dback);
        b->gpu->ops->release(b->gpu, b->dblocks);
        b->gpu->ops->release(b->gpu, b->dsrc);
        b->gpu->ops->close(b->gpu);
    }
    if (b->mem)
        munmap(b->mem, 3 * b->bytes);
    free(b->entries);
}

/* ---- report ---- */

static json_t *gbs_json(const struct pages_gbs *g)
{
    return json_pack("{s:f, s:f, s:f}", "median", g->median, "min", g->min,
                     "max", g->max);
}

static void print_speed(const char *name, const struct pages_speed *s)
{
    if (!s->measured)
        return;
    printf("  %-9s compress %8.2f (%.2f to %.2f)  decompress %8.2f (%.2f to "
           "%.2f) GB/s  ratio %.3f (x%.3f)  %s\n",
           name, s->compress.median, s->compress.min, s->compress.max,
           s->decompress.median, s->decompress.min, s->decompress.max, s->ratio,
           s->relative, s->path);
}

static void add_speed(json_t *to, const char *name, const struct pages_speed *s)
{
    if (!s->measured)
        return;
    json_object_set_new(to, name,
                        json_pack("{s:o, s:o, s:f, s:f, s:s}", "compress",
                                  gbs_json(&s->compress), "decompress",
                                  gbs_json(&s->decompress), "ratio", s->ratio,
                                  "relative_ratio", s->relative, "path",
                                  s->path));
}

/* Plain pages go in when compressing, and out when decompressing. */
static double of_link(const struct pages_bench *b, double gbs, int way)
{
    double limit = b->link[way].median;
    return limit > 0.0 ? gbs / limit : 0.0;
}

static void report_set(const struct pages_bench *b,
                       const struct pages_figures *f, json_t *sets)
{
    const struct pages_speed *p = &f->pipeline;
    double in = of_link(b, p->compress.median, 0);
    double out = of_link(b, p->decompress.median, 1);
    if (!b->json) {
        printf("%s\n", f->name);
        print_speed("liblz4", &f->lz4);
        print_speed("kernel", &f->kernel);
        print_speed("fast", &f->fast);
        print_speed("pipeline", &f->pipeline);
        if (p->measured)
            printf("            of the link: compress %.3f  decompress %.3f\n",
                   in, out);
        print_speed("cpu", &f->cpu);
        fflush(stdout);
        return;
    }
    json_t *o = json_pack("{s:o}", "name", out_text(f->name, strlen(f->name)));
    add_speed(o, "liblz4", &f->lz4);
    add_speed(o, "kernel", &f->kernel);
    add_speed(o, "fast", &f->fast);
    add_speed(o, "pipeline", &f->pipeline);
    add_speed(o, "cpu", &f->cpu);
    if (p->measured)
        json_object_set_new(
            o, "of_link",
            json_pack("{s:f, s:f}", "compress", in, "decompress", out));
    json_array_append_new(sets, o);
}

static void report_link(const struct pages_bench *b, json_t *root)
{
    static const char *const way[] = {"to_device", "from_device", "both"};
    if (!b->json)
        printf("link: to the device %.2f, from it %.2f, both %.2f GB/s\n",
               b->link[0].median, b->link[1].median, b->link[2].median);
    for (int i = 0; i < 3 && b->json; i++)
        json_object_set_new(root, way[i], gbs_json(&b->link[i]));
}

static void report_curve(const struct pages_bench *b, json_t *list)
{
    for (size_t i = 0; i < b->points; i++) {
        const struct pages_point *at = &b->curve[i];
        if (!b->json)
            printf("%s%8llu pages: compress %8.2f  decompress %8.2f GB/s\n",
                   i ? "" : "curve\n", (unsigned long long)at->pages,
                   at->compress, at->decompress);
        else
            json_array_append_new(
                list, json_pack("{s:I, s:f, s:f}", "pages",
                                (json_int_t)at->pages, "compress", at->compress,
                                "decompress", at->decompress));
    }
}

static int measure(struct pages_bench *b, const struct data_set *set, size_t n,
                   json_t *root)
{
    json_t *link = json_object(), *sets = json_array(), *curve = json_array();
    json_object_set_new(root, "link", link);
    json_object_set_new(root, "sets", sets);
    json_object_set_new(root, "curve", curve);
    int rc = b->gpu ? pages_link(b) : 0;
    if (rc == 0 && b->gpu)
        report_link(b, link);
    for (size_t i = 0; i < n && rc == 0; i++) {
        struct pages_figures f;
        rc = pages_measure(b, &set[i], &f);
        if (rc == 0)
            report_set(b, &f, sets);
    }
    if (rc == 0 && b->gpu)
        rc = pages_curve(b);
    report_curve(b, curve);
    return rc;
}

static int run(struct pages_bench *b, char **files, size_t n)
{
    struct data_set set[DATA_SETS];
    size_t sets = 0;
    json_t *root = json_object();
    int rc = data_open(files, n, set, &sets);
    if (rc == 0)
        rc = set_up(b);
    if (rc == 0) {
        const char *name = b->gpu ? sl_pages_device(b->p[0]) : "cpu";
        if (!b->json)
            printf("device %s, pages of %llu bytes, %llu MiB\n", name,
                   (unsigned long long)b->page,
                   (unsigned long long)(b->bytes >> 20));
        json_object_set_new(root, "device", out_text(name, strlen(name)));
        json_object_set_new(root, "page", json_integer((json_int_t)b->page));
        json_object_set_new(root, "bytes", json_integer((json_int_t)b->bytes));
        rc = measure(b, set, sets, root);
    }
    tear_down(b);
    data_close(set, sets);
    if (rc || !b->json) {
        json_decref(root);
        return rc ? rc : out_done();
    }
    return out_json(root);
}

int bench_pages(int argc, char **argv)
{
    struct pages_bench b = {.device = "auto", .page = 4096};
    char *files[DATA_SETS + 1];
    size_t n = 0;
    const struct opt opts[] = {
        {.name = "device", .kind = OPT_TEXT, .to = &b.device},
        {.name = "page",
         .kind = OPT_SIZE,
         .to = &b.page,
         .min = SL_PAGE_MIN,
         .max = SL_PAGE_MAX},
        {.name = "bytes",
         .kind = OPT_SIZE,
         .to = &b.bytes,
         .min = 1,
         .max = UINT64_C(1) << 40},
        {.name = "data", .kind = OPT_TEXT, .to = &b.data},
        {.name = "threads",
         .kind = OPT_NUMBER,
         .to = &b.threads,
         .min = 1,
         .max = 256},
        {.name = "json", .kind = OPT_FLAG, .to = &b.json},
    };
    struct opt_set set = {help, opts, 6, 0, DATA_SETS - 1};
    int first, rc = opt_parse(&set, argc, argv, &first);
    if (rc != OPT_GO)
        return rc;
    if (b.page % 64)
        return out_usage("option '--page': not a multiple of 64");
    if (b.data)
        files[n++] = (char *)(uintptr_t)b.data;
    for (int i = first; i < argc; i++)
        files[n++] = argv[i];
    return run(&b, files, n);
}
