/* SPDX-License-Identifier: Apache-2.0 */
#include "bench_scale.h"

#include "base/clock.h"
#include "opt.h"
#include "out.h"
#include "sluice/sluice.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char help[] =
    "Usage: sluice bench scale [OPTION]...\n"
    "Measures what one call costs in stores of more and more blobs of 64\n"
    "bytes, from one host thread and in random order: put (new), overwrite,\n"
    "get, list (a blob), delete; and the memory of a blob beyond its bytes,\n"
    "8 of which are the arena's for its chunk. Ratios are to the first "
    "size.\n\n"
    "  --blobs N,...  sizes of the store (default 10000,1000000)\n"
    "  --workers N    CPU threads that serve (default: half the CPUs, 1 to 4)\n"
    "  --data DIR     also how long a start and a stop with so many durable\n"
    "                 blobs take; DIR is created and keeps the stores,\n"
    "                 4.2 KB a blob\n"
    "  --json         as JSON\n"
    "  -v, --verbose\n";

#define SIZES_MAX 8
/* Coprime to all sizes that are not multiples of it, so a step of it visits
 * every blob once, far from the last one. */
#define STRIDE UINT64_C(2654435761)
#define SAMPLE UINT64_C(1000000) /* overwrites, gets and deletes at most */
#define FLIGHTS 64u              /* puts and gets that one thread has begun */

enum { PUT, OVERWRITE, GET, LIST, DELETE, TIMES };
static const char *const time_names[TIMES] = {"put", "overwrite", "get", "list",
                                              "delete"};

struct row {
    uint64_t n;
    double ns[TIMES]; /* of one blob */
    double bytes;     /* of memory */
    struct scale_start start;
};

struct scale {
    uint64_t sizes[SIZES_MAX];
    size_t n_sizes;
    uint64_t workers;
    const char *data;
    int json;
    /* Of the size that runs. */
    struct sl_runtime *rt;
    uint64_t tag;
    struct row row[SIZES_MAX];
};

static void name_of(uint64_t x, char *name)
{
    static const char digits[] = "0123456789abcdef";
    for (uint32_t k = SCALE_NAME_LEN; k > 0; k--, x >>= 4)
        name[k - 1u] = digits[x & 15u];
    name[SCALE_NAME_LEN] = 0;
}

void scale_name(uint64_t i, char name[SCALE_NAME_LEN + 1u])
{
    name_of(sl_mix64(i + 1u), name); /* a bijection */
}

void scale_sorted_name(uint64_t i, char name[SCALE_NAME_LEN + 1u])
{
    name_of(i, name);
}

/* Memory that belongs to the process alone; the arena is shared memory. */
static double private_bytes(void)
{
    char line[128];
    unsigned long long kib = 0;
    FILE *f = fopen("/proc/self/status", "re");
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "RssAnon: %llu", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return 1024.0 * (double)kib;
}

/* ---- one size ---- */

/* One call in flight. */
struct flight {
    struct sl_op *op;
    uint64_t i;
    char name[SCALE_NAME_LEN + 1u];
    uint8_t data[SCALE_BYTES];
};

static int begin(struct scale *s, int what, struct flight *f, uint64_t i)
{
    f->i = i;
    scale_name(i, f->name);
    memset(f->data, 0, sizeof(f->data));
    if (what == GET)
        return sl_get_begin(s->rt, s->tag, f->name, 0, f->data, sizeof(f->data),
                            &f->op);
    memcpy(f->data, &i, sizeof(i));
    return sl_put_begin(s->rt, s->tag, f->name, 0, f->data, sizeof(f->data),
                        NULL, &f->op);
}

static int end(struct flight *f)
{
    int rc = f->op ? sl_wait(&f->op, UINT64_MAX) : 0;
    return rc || !memcmp(f->data, &f->i, sizeof(f->i)) ? rc : SL_ECORRUPT;
}

static int calls(struct scale *s, int what, uint64_t n, uint64_t of)
{
    struct flight *ring = calloc(FLIGHTS, sizeof(*ring));
    int rc = ring ? 0 : SL_ENOMEM;
    for (uint64_t k = 0; k < n + FLIGHTS && !rc; k++) {
        struct flight *f = &ring[k % FLIGHTS];
        if (k >= FLIGHTS)
            rc = end(f);
        if (!rc && k < n)
            rc = begin(s, what, f, what == PUT ? k : k * STRIDE % of);
    }
    for (size_t k = 0; ring && k < FLIGHTS; k++)
        if (ring[k].op)
            sl_cancel(&ring[k].op);
    free(ring);
    return rc;
}

static int deletes(struct scale *s, uint64_t n, uint64_t of)
{
    char name[SCALE_NAME_LEN + 1u];
    int rc = 0;
    for (uint64_t k = 0; k < n && !rc; k++) {
        scale_name(k * STRIDE % of, name);
        rc = sl_del(s->rt, s->tag, name);
    }
    return rc;
}

static int one_name(void *user, const char *name, uint32_t len, uint64_t size)
{
    uint64_t *n = user;
    (void)name;
    *n += len == SCALE_NAME_LEN && size == SCALE_BYTES;
    return 0;
}

static int list(struct scale *s, uint64_t n)
{
    uint64_t seen = 0;
    int rc = sl_list(s->rt, s->tag, one_name, &seen);
    return rc || seen == n ? rc : SL_ECORRUPT;
}

static int time_calls(struct scale *s, int what, struct row *r)
{
    uint64_t n = what == PUT || what == LIST || r->n < SAMPLE ? r->n : SAMPLE;
    uint64_t began = clock_ns();
    int rc;
    if (what == LIST)
        rc = list(s, n);
    else if (what == DELETE)
        rc = deletes(s, n, r->n);
    else
        rc = calls(s, what, n, r->n);
    r->ns[what] = (double)(clock_ns() - began) / (double)n;
    return rc ? out_fail("%s among %llu blobs: %s", time_names[what],
                         (unsigned long long)r->n, sl_strerror(rc))
              : 0;
}

static int run_volatile(struct scale *s, struct row *r)
{
    struct sl_config c = {.size = sizeof(c), .workers = (uint32_t)s->workers};
    /* An eighth more for the workers' caches and slabs that are not full. */
    c.pinned_bytes = r->n * SCALE_BYTES / 8u * 9u + (16u << 20);
    c.arena_bytes = c.pinned_bytes + (64u << 20);
    out_log_hold();
    int rc = sl_open(&c, &s->rt);
    if (rc)
        return out_fail("cannot start the runtime: %s", out_log_take(rc));
    out_log_take(0);
    rc = sl_tag(s->rt, SCALE_TAG, &s->tag);
    double before = private_bytes();
    for (int what = 0; what < TIMES && !rc; what++) {
        rc = time_calls(s, what, r);
        if (what == PUT)
            r->bytes = (private_bytes() - before) / (double)r->n;
    }
    int code = sl_close(s->rt);
    s->rt = NULL;
    return code && !rc ? out_fail("stopping: %s", sl_strerror(code)) : rc;
}

static int run_durable(const struct scale *s, struct row *r)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof(path), "%s/%llu", s->data,
                     (unsigned long long)r->n);
    if (n < 0 || (size_t)n >= sizeof(path))
        return out_usage("option '--data': the path is too long");
    return scale_start(path, r->n, &r->start);
}

/* ---- report ---- */

static void print_row(const struct scale *s, const struct row *r)
{
    const struct row *first = &s->row[0];
    printf("%llu blobs\n", (unsigned long long)r->n);
    for (int what = 0; what < TIMES; what++)
        printf("  %-10s %10.0f ns       ratio %5.2f\n", time_names[what],
               r->ns[what], r->ns[what] / first->ns[what]);
    printf("  %-10s %10.1f bytes\n", "memory", r->bytes);
    if (s->data)
        printf("  %-10s %10.2f s        %.0f blobs/s, %.2f s of CPU\n"
               "  %-10s %10.2f s\n",
               "start", r->start.start_s, (double)r->n / r->start.start_s,
               r->start.cpu_s, "stop", r->start.close_s);
    fflush(stdout);
}

static json_t *json_row(const struct scale *s, const struct row *r)
{
    json_t *o = json_pack("{s:I, s:f}", "blobs", (json_int_t)r->n,
                          "memory_bytes", r->bytes);
    for (int what = 0; o && what < TIMES; what++)
        json_object_set_new(o, time_names[what],
                            json_pack("{s:f, s:f}", "ns", r->ns[what], "ratio",
                                      r->ns[what] / s->row[0].ns[what]));
    if (o && s->data)
        json_object_update_new(o, json_pack("{s:f, s:f, s:f, s:f}", "start_s",
                                            r->start.start_s, "start_cpu_s",
                                            r->start.cpu_s, "start_blobs_per_s",
                                            (double)r->n / r->start.start_s,
                                            "stop_s", r->start.close_s));
    return o;
}

static int run(struct scale *s)
{
    json_t *all = json_array();
    int rc = 0;
    if (s->data && mkdir(s->data, 0700))
        rc = out_fail("'%s': %s", s->data, strerror(errno));
    for (size_t i = 0; i < s->n_sizes && !rc; i++) {
        struct row *r = &s->row[i];
        r->n = s->sizes[i];
        rc = run_volatile(s, r);
        if (!rc && s->data)
            rc = run_durable(s, r);
        if (!rc && s->json)
            json_array_append_new(all, json_row(s, r));
        else if (!rc)
            print_row(s, r);
    }
    if (!rc && s->json)
        return out_json(all);
    json_decref(all);
    return rc ? rc : out_done();
}

/* "10000,1m": sizes by comma. */
static int parse_sizes(const char *text, struct scale *s)
{
    char copy[256], *rest = copy;
    if (strlen(text) >= sizeof(copy))
        return -1;
    memcpy(copy, text, strlen(text) + 1u);
    for (char *p; (p = strsep(&rest, ",")) != NULL;) {
        uint64_t n;
        /* A thousand million names still differ, and STRIDE is a prime. */
        if (s->n_sizes == SIZES_MAX || out_parse_number(p, &n) || n == 0 ||
            n > 1000000000u)
            return -1;
        s->sizes[s->n_sizes++] = n;
    }
    return 0;
}

int bench_scale(int argc, char **argv)
{
    struct scale s = {0};
    const char *sizes = "10000,1000000";
    const struct opt opts[] = {
        {.name = "blobs", .kind = OPT_TEXT, .to = &sizes},
        {.name = "workers",
         .kind = OPT_NUMBER,
         .to = &s.workers,
         .min = 1,
         .max = 256},
        {.name = "data", .kind = OPT_TEXT, .to = &s.data},
        {.name = "json", .kind = OPT_FLAG, .to = &s.json},
    };
    struct opt_set set = {help, opts, 4, 0, 0};
    int first, rc = opt_parse(&set, argc, argv, &first);
    if (rc != OPT_GO)
        return rc;
    if (parse_sizes(sizes, &s))
        return out_usage("option '--blobs': not up to %d numbers by comma",
                         SIZES_MAX);
    return run(&s);
}
