/* SPDX-License-Identifier: Apache-2.0 */
/* `sluice compress` and `sluice decompress`: files as .lz4 frames. */
#include "cli.h"
#include "io.h"
#include "opt.h"
#include "out.h"
#include "pages/frame.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SUFFIX ".lz4"

static const char compress_help[] =
    "Usage: sluice compress [OPTION]... FILE|-\n"
    "Compresses a file to a standard .lz4 frame that the lz4 tool reads.\n\n"
    "  -o, --output OUT   (default FILE.lz4; standard output for -)\n"
    "  -f, --force        replace OUT, or write to a terminal\n"
    "  --device D         auto (default), cuda:N, cpu, or host (the GPU's\n"
    "                     kernels on threads: slow, for tests)\n"
    "  --fast             faster, about 3 % larger\n"
    "  --page BYTES       bytes of a block, a multiple of 64 from 64 to 64k\n"
    "                     (default 64k)\n"
    "  --block-checksum   a checksum behind each block too\n"
    "  --threads N        of the CPU (default: all)\n"
    "  --json             the report as JSON\n"
    "  -v, --verbose\n";

static const char decompress_help[] =
    "Usage: sluice decompress [OPTION]... FILE|-\n"
    "Reads .lz4 files: all frames, blocks of every size, linked ones, and\n"
    "checks their checksums. Frames that need a dictionary are refused.\n\n"
    "  -o, --output OUT   (default FILE without .lz4; standard output for -)\n"
    "  -f, --force        replace OUT\n"
    "  --device D         auto (default), cuda:N, cpu, or host\n"
    "  --threads N        of the CPU (default: all)\n"
    "  --json             the report as JSON\n"
    "  -v, --verbose\n";

struct job {
    int decompress;
    const char *in, *out, *device;
    char *own_out; /* made from `in` */
    int force, fast, block_sum, json;
    uint64_t page, threads;

    struct input input;
    struct output output;
    struct out_bar bar;
    uint64_t read;
    int told; /* an exit code: input or output failed and said so */
    struct frame_stats stats;
};

/* ---- names ---- */

/* FILE.lz4, or FILE without it. */
static int name_output(struct job *j)
{
    size_t n = strlen(j->in), end = strlen(SUFFIX);
    if (j->out)
        return 0;
    if (!strcmp(j->in, "-")) {
        j->out = "-";
        return 0;
    }
    if (j->decompress && (n <= end || strcmp(j->in + n - end, SUFFIX) != 0))
        return out_usage("'%s' does not end in %s: name the output by -o",
                         j->in, SUFFIX);
    j->own_out = malloc(n + end + 1);
    if (!j->own_out)
        return out_fail("%s", sl_strerror(SL_ENOMEM));
    memcpy(j->own_out, j->in, n + 1);
    if (j->decompress)
        j->own_out[n - end] = 0;
    else
        memcpy(j->own_out + n, SUFFIX, end + 1);
    j->out = j->own_out;
    return 0;
}

static int check_output(const struct job *j)
{
    struct stat st;
    if (!strcmp(j->out, "-")) {
        if (j->json)
            return out_usage("--json and the data cannot both go to standard "
                             "output");
        if (!j->decompress && !j->force && isatty(STDOUT_FILENO))
            return out_fail("standard output is a terminal (--force writes)");
        return 0;
    }
    if (!j->force && stat(j->out, &st) == 0 && S_ISREG(st.st_mode))
        return out_fail("'%s': exists already (--force replaces it)", j->out);
    return 0;
}

/* ---- bytes ---- */

static int on_read(void *ctx, void *buf, size_t room, size_t *n)
{
    struct job *j = ctx;
    j->told = input_read(&j->input, buf, room, n);
    j->read += j->told ? 0 : *n;
    out_bar_step(&j->bar, j->read);
    return j->told ? SL_EIO : 0;
}

static int on_write(void *ctx, const void *buf, size_t n)
{
    struct job *j = ctx;
    j->told = output_write(&j->output, buf, n);
    return j->told ? SL_EIO : 0;
}

/* Without a size, as of a pipe, there is nothing to show a part of. */
static void start_bar(struct job *j)
{
    struct stat st;
    if (fstat(j->input.fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0)
        out_bar_start(&j->bar, j->decompress ? "reading" : "packing",
                      (uint64_t)st.st_size);
}

static int transfer(struct job *j, struct sl_pages *p)
{
    struct frame_io io = {on_read, on_write, j};
    int rc;
    start_bar(j);
    out_log_hold();
    if (j->decompress)
        rc = frame_unpack(p, &io, &j->stats);
    else
        rc = frame_pack(p, &io, j->block_sum, &j->stats);
    out_bar_end(&j->bar);
    if (rc && !j->told)
        return out_fail("'%s': %s", j->in, out_log_take(rc));
    out_log_take(0);
    return j->told;
}

static int open_pages(const struct job *j, struct sl_pages **out)
{
    struct sl_pages_opts o = {.size = sizeof(o),
                              .page_bytes = (uint32_t)j->page,
                              .mode =
                                  j->fast ? SL_PAGES_FAST : SL_PAGES_DEFAULT,
                              .device = j->device,
                              .threads = (uint32_t)j->threads};
    out_log_hold();
    int rc = sl_pages_open(&o, out);
    if (rc)
        return out_fail("device '%s': %s", j->device, out_log_take(rc));
    out_log_take(0);
    return 0;
}

/* ---- report ---- */

static double gbs(uint64_t bytes, uint64_t ns)
{
    return ns ? (double)bytes / (double)ns : 0.0;
}

/* Of the pages, both ways. */
static uint64_t plain_bytes(const struct job *j)
{
    return j->decompress ? j->stats.bytes_out : j->stats.bytes_in;
}

static double ratio_of(const struct job *j)
{
    uint64_t packed = j->decompress ? j->stats.bytes_in : j->stats.bytes_out;
    return packed ? (double)plain_bytes(j) / (double)packed : 0.0;
}

static const char *path_of(const struct sl_pages_report *r)
{
    static const char *const name[] = {"none", "cpu", "gpu", "mixed"};
    return name[r->path & 3];
}

struct stage {
    const char *name;
    uint64_t bytes, ns; /* no bytes: there is no rate */
};
#define STAGES 8

static void stages_of(const struct job *j, struct stage s[STAGES])
{
    const struct frame_stats *f = &j->stats;
    const struct sl_pages_report *r = &f->pages;
    uint64_t plain = plain_bytes(j);
    /* Nobody counts which of the bytes went where. */
    uint64_t alone = r->path == SL_PAGES_MIXED ? 0 : plain;
    s[0] = (struct stage){"read", f->bytes_in, f->read_ns};
    s[1] = (struct stage){"checksum", plain, f->sum_ns};
    s[2] = (struct stage){"stage", r->bytes_in, r->stage_ns};
    s[3] = (struct stage){"copy_in", r->bytes_in, r->copy_in_ns};
    s[4] = (struct stage){"kernel", alone, r->kernel_ns};
    s[5] = (struct stage){"copy_out", r->bytes_out, r->copy_out_ns};
    s[6] = (struct stage){"cpu", alone, r->cpu_ns};
    s[7] = (struct stage){"write", f->bytes_out, f->write_ns};
}

static int report_json(const struct job *j, const char *device)
{
    const struct frame_stats *f = &j->stats;
    const struct sl_pages_report *r = &f->pages;
    struct stage s[STAGES];
    json_t *all = json_object();
    stages_of(j, s);
    for (size_t i = 0; i < STAGES; i++)
        json_object_set_new(all, s[i].name,
                            json_pack("{s:I, s:o}", "ns", (json_int_t)s[i].ns,
                                      "gbs",
                                      s[i].bytes || !s[i].ns
                                          ? json_real(gbs(s[i].bytes, s[i].ns))
                                          : json_null()));
    return out_json(json_pack(
        "{s:o, s:o, s:I, s:I, s:f, s:f, s:f, s:s, s:s, s:s, s:I, s:I, "
        "s:{s:I, s:I, s:I, s:I}, s:o}",
        "input", out_text(j->in, strlen(j->in)), "output",
        out_text(j->out, strlen(j->out)), "bytes_in", (json_int_t)f->bytes_in,
        "bytes_out", (json_int_t)f->bytes_out, "ratio", ratio_of(j), "seconds",
        (double)r->wall_ns / 1e9, "gbs", gbs(plain_bytes(j), r->wall_ns),
        "device", device, "path", path_of(r), "why", r->why, "frames",
        (json_int_t)f->frames, "blocks", (json_int_t)f->blocks, "pages", "lz4",
        (json_int_t)r->lz4, "raw", (json_int_t)r->raw, "zero",
        (json_int_t)r->zero, "fill", (json_int_t)r->fill, "stages", all));
}

static int report(const struct job *j, const char *device)
{
    const struct sl_pages_report *r = &j->stats.pages;
    struct stage s[STAGES];
    char in[32], out[32];
    if (j->json)
        return report_json(j, device);
    if (!strcmp(j->out, "-"))
        return 0;
    printf("%s: %s -> %s, ratio %.3f, %.3f s, %.2f GB/s, path %s%s%s\n", j->out,
           out_size(j->stats.bytes_in, in), out_size(j->stats.bytes_out, out),
           ratio_of(j), (double)r->wall_ns / 1e9,
           gbs(plain_bytes(j), r->wall_ns), path_of(r), r->why[0] ? ": " : "",
           r->why);
    stages_of(j, s);
    fputs("GB/s", stdout);
    for (size_t i = 0; i < STAGES; i++)
        if (s[i].ns && s[i].bytes)
            printf("  %s %.2f", s[i].name, gbs(s[i].bytes, s[i].ns));
    putchar('\n');
    return out_done();
}

/* ---- the commands ---- */

static int run_open(struct job *j, struct sl_pages *p)
{
    int rc = input_open(&j->input, j->in);
    if (rc)
        return rc;
    rc = output_open(&j->output, j->out);
    if (rc == 0)
        rc = output_close(&j->output, transfer(j, p));
    input_close(&j->input);
    return rc ? rc : report(j, sl_pages_device(p));
}

static int run(struct job *j)
{
    struct sl_pages *p = NULL;
    int rc = name_output(j);
    if (rc == 0)
        rc = check_output(j);
    if (rc == 0)
        rc = open_pages(j, &p);
    if (rc == 0)
        rc = run_open(j, p);
    sl_pages_close(p);
    free(j->own_out);
    return rc;
}

int cmd_compress(int argc, char **argv)
{
    struct job j = {.device = "auto", .page = SL_PAGE_MAX};
    const struct opt opts[] = {
        {.name = "output", .letter = 'o', .kind = OPT_TEXT, .to = &j.out},
        {.name = "force", .letter = 'f', .kind = OPT_FLAG, .to = &j.force},
        {.name = "device", .kind = OPT_TEXT, .to = &j.device},
        {.name = "threads",
         .kind = OPT_NUMBER,
         .to = &j.threads,
         .min = 1,
         .max = 256},
        {.name = "json", .kind = OPT_FLAG, .to = &j.json},
        {.name = "fast", .kind = OPT_FLAG, .to = &j.fast},
        {.name = "block-checksum", .kind = OPT_FLAG, .to = &j.block_sum},
        {.name = "page",
         .kind = OPT_SIZE,
         .to = &j.page,
         .min = SL_PAGE_MIN,
         .max = SL_PAGE_MAX},
    };
    struct opt_set set = {compress_help, opts, 8, 1, 1};
    int first, rc = opt_parse(&set, argc, argv, &first);
    if (rc != OPT_GO)
        return rc;
    if (j.page % 64)
        return out_usage("option '--page': not a multiple of 64");
    j.in = argv[first];
    return run(&j);
}

int cmd_decompress(int argc, char **argv)
{
    struct job j = {.decompress = 1, .device = "auto", .page = SL_PAGE_MAX};
    const struct opt opts[] = {
        {.name = "output", .letter = 'o', .kind = OPT_TEXT, .to = &j.out},
        {.name = "force", .letter = 'f', .kind = OPT_FLAG, .to = &j.force},
        {.name = "device", .kind = OPT_TEXT, .to = &j.device},
        {.name = "threads",
         .kind = OPT_NUMBER,
         .to = &j.threads,
         .min = 1,
         .max = 256},
        {.name = "json", .kind = OPT_FLAG, .to = &j.json},
    };
    struct opt_set set = {decompress_help, opts, 5, 1, 1};
    int first, rc = opt_parse(&set, argc, argv, &first);
    if (rc != OPT_GO)
        return rc;
    j.in = argv[first];
    return run(&j);
}
