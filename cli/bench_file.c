/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One port of a file tier and one fio job with io_uring, in turns on the same
 * file, unbuffered, with the same block and the same number in flight. Pairs
 * that follow each other are compared, because a disk and a machine that others
 * use change from minute to minute.
 */
#include "bench_file.h"

#include "base/clock.h"
#include "base/mem.h"
#include "bench_fio.h"
#include "opt.h"
#include "out.h"
#include "tier/file.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define DEPTH 64u
#define SMALL 4096u
#define LARGE (1u << 20)
#define MEMORY ((size_t)DEPTH * LARGE)
#define PAIRS_MAX 99u
/* Where a port cannot be waited for, it is looked at again after so long. */
#define NAP_NS 70000

static const char file_help[] =
    "Usage: sluice bench file [--data DIR | --file PATH] [OPTION]...\n"
    "Requests a second of the file tier and CPU time of each, with fio\n"
    "(io_uring, direct io) beside it on the same file: random 4 KiB and\n"
    "sequential 1 MiB, 64 in flight, one port against one job. Ratio is\n"
    "value / fio, the median of the pairs; less than 1 is worse.\n\n"
    "  --data DIR    where the file is made: .\n"
    "  --file PATH   the file; it must not exist. Either is removed at the "
    "end\n"
    "  --size BYTES  of the file: 1g\n"
    "  --ms N        milliseconds of each measurement: 2000\n"
    "  --pairs N     measurements of each side, in turns: 3\n"
    "  --json        as JSON\n"
    "  -v, --verbose\n";

static const struct pattern {
    const char *name;
    unsigned block;
    int write, random;
} patterns[] = {
    {"file_rand_read", SMALL, 0, 1},
    {"file_rand_write", SMALL, 1, 1},
    {"file_seq_read", LARGE, 0, 0},
    {"file_seq_write", LARGE, 1, 0},
};

struct bench {
    const char *dir, *file;
    uint64_t size, ms, pairs;
    int json;
    char path[4096];
    struct tier *tier;
    struct tier_port *port;
    uint8_t *memory; /* in huge pages, as the runtime's own */
    struct tier_io io[DEPTH];
    struct tier_io *idle[DEPTH];
    unsigned n_idle;
    int code; /* the first that failed */
    uint64_t done, next, seed;
    int fio; /* 0: it is absent */
    json_t *figures;
};

static uint64_t random_number(struct bench *b)
{
    b->seed ^= b->seed << 13;
    b->seed ^= b->seed >> 7;
    b->seed ^= b->seed << 17;
    return b->seed;
}

/* ---- ours ---- */

/* Other memory for each measurement, as fio has: some of a virtual machine's is
 * faster than other. What was just given back would be the same again. */
static int take_memory(struct bench *b)
{
    uint8_t *old = b->memory;
    b->memory = mem_map(MEMORY);
    mem_unmap(old, MEMORY);
    if (!b->memory)
        return out_fail("out of memory");
    for (size_t i = 0; i < MEMORY; i += sizeof(uint64_t)) {
        uint64_t v = random_number(b);
        memcpy(b->memory + i, &v, sizeof(v));
    }
    return 0;
}

/* Does not submit: where requests complete inside the call, that would never
 * come back. */
static void on_done(struct tier_io *io, int code)
{
    struct bench *b = io->user;
    b->idle[b->n_idle++] = io;
    b->done++;
    if (code && !b->code)
        b->code = code;
}

static void submit_idle(struct bench *b, const struct pattern *p)
{
    const struct tier_ops *ops = b->tier->ops;
    uint64_t blocks = b->size / p->block;
    unsigned n = b->n_idle;
    while (n-- > 0 && !b->code) {
        struct tier_io *io = b->idle[--b->n_idle];
        uint64_t at = p->random ? random_number(b) : b->next++;
        int rc;
        /* Back to back, as fio's: a step of 1 MiB for small ones would put
         * all of them into the same few sets of the cache. */
        io->buf = b->memory + (size_t)(io - b->io) * p->block;
        io->loc = at % blocks * p->block;
        io->bytes = p->block;
        rc = p->write ? ops->write(b->port, io) : ops->read(b->port, io);
        if (rc) {
            b->idle[b->n_idle++] = io;
            b->code = rc;
        }
    }
}

static void wait_some(struct bench *b)
{
    if (b->tier->ops->wait)
        b->tier->ops->wait(b->port);
    else if (b->tier->ops->poll(b->port) == 0)
        clock_sleep_ns(NAP_NS);
}

static void drain(struct bench *b)
{
    while (b->tier->ops->pending(b->port))
        wait_some(b);
}

static uint64_t cpu_ns(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000u +
           (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000u;
}

static int failed(const struct bench *b)
{
    return b->code ? out_fail("'%s': %s", b->path, out_log_take(b->code)) : 0;
}

static int ours_run(struct bench *b, const struct pattern *p,
                    struct fio_result *out)
{
    int rc = take_memory(b);
    if (rc)
        return rc;
    uint64_t begun = clock_ns(), cpu = cpu_ns(), took;
    b->done = b->next = 0;
    out_log_hold();
    while (!b->code && clock_ns() - begun < b->ms * 1000000u) {
        submit_idle(b, p);
        wait_some(b);
    }
    drain(b);
    took = clock_ns() - begun;
    out->ops = (double)b->done * 1e9 / (double)took;
    out->cpu_us = (double)(cpu_ns() - cpu) / 1e3 / (double)b->done;
    if (!b->code)
        out_log_take(0);
    return failed(b);
}

/* ---- the file ---- */

static int make_file(struct bench *b)
{
    int fd, n;
    if (b->file)
        n = snprintf(b->path, sizeof(b->path), "%s", b->file);
    else
        n = snprintf(b->path, sizeof(b->path), "%s/sluice-bench-XXXXXX",
                     b->dir);
    if (n < 0 || (size_t)n >= sizeof(b->path))
        return out_fail("'%s': the name is too long",
                        b->file ? b->file : b->dir);
    /* What is there already may be somebody's data: it is not written over. */
    fd = b->file ? open(b->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)
                 : mkstemp(b->path);
    if (fd < 0)
        return out_fail("'%s': %s", b->file ? b->file : b->dir,
                        strerror(errno));
    close(fd);
    return 0;
}

/* A block that was never written costs the file system more to write, and
 * less to read, than all later ones. */
static int fill(struct bench *b)
{
    static const struct pattern p = {"fill", LARGE, 1, 0};
    uint64_t loc = 0;
    int rc = take_memory(b);
    if (rc)
        return rc;
    out_log_hold();
    b->code = b->tier->ops->alloc(b->tier, b->size, &loc);
    while (!b->code && b->next < b->size / LARGE) {
        submit_idle(b, &p);
        wait_some(b);
    }
    drain(b);
    b->io[0].bytes = 0;
    if (!b->code) {
        b->n_idle = DEPTH - 1;
        for (unsigned i = 1; i < DEPTH; i++)
            b->idle[i - 1] = &b->io[i];
        b->code = b->tier->ops->flush(b->port, &b->io[0]);
        drain(b);
    }
    if (!b->code)
        out_log_take(0);
    return failed(b);
}

static int open_tier(struct bench *b)
{
    struct tier_config c = {.kind = "file",
                            .name = "bench",
                            .path = b->path,
                            .capacity = b->size,
                            .n_ports = 1,
                            .queue_depth = DEPTH};
    const char *kind;
    out_log_hold();
    b->code = tier_open(&c, &b->tier);
    if (!b->code)
        b->code = b->tier->ops->port_open(b->tier, 0, &b->port);
    if (b->code)
        return failed(b);
    out_log_take(0);
    kind = tier_file_path_kind(b->tier);
    if (strcmp(kind, "io_uring+O_DIRECT") != 0) {
        out_warn("'%s' goes by %s here, so fio is left out", b->path, kind);
        b->fio = 0;
    }
    if (!b->json)
        printf("%s, by %s, %u in flight\n", b->path, kind, DEPTH);
    return fill(b);
}

/* ---- report ---- */

struct series {
    double ours[PAIRS_MAX], fio[PAIRS_MAX], ratio[PAIRS_MAX];
    double ours_us[PAIRS_MAX], fio_us[PAIRS_MAX];
    uint64_t n;
};

static void report_text(const struct bench *b, const struct pattern *p,
                        struct series *s)
{
    double scale = p->block == LARGE ? 1.0 : 1e-3;
    const char *unit = p->block == LARGE ? "MiB/s" : "kop/s";
    double ours = out_median(s->ours, s->n) * scale;
    double us = out_median(s->ours_us, s->n);
    if (!b->fio) {
        printf("%-15s value %8.1f %s  cpu %7.2f us\n", p->name, ours, unit, us);
    } else {
        double fio = out_median(s->fio, s->n) * scale;
        double ratio = out_median(s->ratio, s->n);
        printf("%-15s fio %8.1f  value %8.1f %s  ratio %.3f (%.3f to %.3f)"
               "  cpu fio %7.2f  ours %7.2f us\n",
               p->name, fio, ours, unit, ratio, s->ratio[0], s->ratio[s->n - 1],
               out_median(s->fio_us, s->n), us);
    }
    fflush(stdout);
}

static json_t *real_or_null(const struct bench *b, double *v, uint64_t n)
{
    return b->fio ? json_real(out_median(v, n)) : json_null();
}

static void report_json(struct bench *b, const struct pattern *p,
                        struct series *s)
{
    double value = out_median(s->ours, s->n);
    json_array_append_new(
        b->figures,
        json_pack("{s:s, s:o, s:f, s:s, s:o, s:b, s:f, s:o, s:i, s:i, s:I}",
                  "bench", p->name, "limit", real_or_null(b, s->fio, s->n),
                  "value", value, "unit", "op/s", "ratio",
                  real_or_null(b, s->ratio, s->n), "lower_is_better", 0,
                  "cpu_us", out_median(s->ours_us, s->n), "limit_cpu_us",
                  real_or_null(b, s->fio_us, s->n), "block", (int)p->block,
                  "in_flight", (int)DEPTH, "pairs", (json_int_t)s->n));
}

static int peer_run(struct bench *b, const struct pattern *p,
                    struct fio_result *out)
{
    const struct fio_job job = {.path = b->path,
                                .bytes = b->size,
                                .ms = b->ms,
                                .block = p->block,
                                .depth = DEPTH,
                                .write = p->write,
                                .random = p->random};
    int rc = b->fio ? fio_run(&job, out) : 0;
    if (rc != FIO_ABSENT)
        return rc;
    out_warn("there is no fio in PATH: our own figures only");
    b->fio = 0;
    return 0;
}

static int pair(struct bench *b, const struct pattern *p, struct series *s)
{
    struct fio_result ours = {0}, fio = {0};
    /* Each is first in every other pair. */
    int ours_first = s->n % 2 == 0;
    int rc = ours_first ? ours_run(b, p, &ours) : peer_run(b, p, &fio);
    if (!rc)
        rc = ours_first ? peer_run(b, p, &fio) : ours_run(b, p, &ours);
    if (rc)
        return rc;
    s->ours[s->n] = ours.ops;
    s->ours_us[s->n] = ours.cpu_us;
    s->fio[s->n] = fio.ops;
    s->fio_us[s->n] = fio.cpu_us;
    s->ratio[s->n] = b->fio ? ours.ops / fio.ops : 0;
    s->n++;
    return 0;
}

static int measure(struct bench *b)
{
    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        struct series s = {.n = 0};
        while (s.n < b->pairs) {
            int rc = pair(b, &patterns[i], &s);
            if (rc)
                return rc;
        }
        if (b->json)
            report_json(b, &patterns[i], &s);
        else
            report_text(b, &patterns[i], &s);
    }
    return 0;
}

/* ---- the command ---- */

static int prepare(struct bench *b)
{
    b->figures = json_array();
    if (!b->figures)
        return out_fail("out of memory");
    for (unsigned i = 0; i < DEPTH; i++) {
        b->io[i].done = on_done;
        b->io[i].user = b;
        b->idle[b->n_idle++] = &b->io[i];
    }
    /* Naps end within 1 us, else 50 us late. */
    prctl(PR_SET_TIMERSLACK, 1000ul, 0ul, 0ul, 0ul);
    return 0;
}

static int run(struct bench *b)
{
    int rc = make_file(b);
    if (rc)
        return rc;
    rc = prepare(b);
    if (!rc)
        rc = open_tier(b);
    if (!rc)
        rc = measure(b);
    if (b->port)
        b->tier->ops->port_close(b->port);
    if (b->tier)
        b->tier->ops->close(b->tier);
    unlink(b->path);
    mem_unmap(b->memory, MEMORY);
    if (rc || !b->json) {
        json_decref(b->figures);
        return rc ? rc : out_done();
    }
    return out_json(b->figures);
}

int bench_file(int argc, char **argv)
{
    struct bench b = {.dir = ".",
                      .size = UINT64_C(1) << 30,
                      .ms = 2000,
                      .pairs = 3,
                      .seed = clock_ns() | 1u,
                      .fio = 1};
    int dir_given = 0;
    const struct opt opts[] = {
        {.name = "data", .kind = OPT_TEXT, .to = &b.dir, .seen = &dir_given},
        {.name = "file", .kind = OPT_TEXT, .to = &b.file},
        {.name = "size",
         .kind = OPT_SIZE,
         .to = &b.size,
         .min = (uint64_t)DEPTH * LARGE,
         .max = UINT64_C(1) << 44},
        {.name = "ms",
         .kind = OPT_NUMBER,
         .to = &b.ms,
         .min = 1,
         .max = 600000},
        {.name = "pairs",
         .kind = OPT_NUMBER,
         .to = &b.pairs,
         .min = 1,
         .max = PAIRS_MAX},
        {.name = "json", .kind = OPT_FLAG, .to = &b.json},
    };
    const struct opt_set set = {.help = file_help, .opts = opts, .n = 6};
    int first, rc = opt_parse(&set, argc, argv, &first);
    if (rc != OPT_GO)
        return rc;
    if (dir_given && b.file)
        return out_usage("options '--data' and '--file' exclude each other");
    b.size -= b.size % LARGE;
    return run(&b);
}
