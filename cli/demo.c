/* SPDX-License-Identifier: Apache-2.0 */
/* `sluice demo`: options, the runtime, the report. */
#include "demo.h"

#include "cli.h"
#include "opt.h"
#include "out.h"

#include <stdio.h>
#include <string.h>

/* Slots of the channel: four for each warp of the largest grid in use, so
 * that back-pressure is not what the demo shows. */
#define DEMO_DEPTH 1024u
#define DEMO_TIERS 8

static const char help[] =
    "Usage: sluice demo [OPTION]...\n"
    "Puts the files of a directory as blobs from a kernel, gets them back in\n"
    "random order in another kernel, and compares every byte on the CPU.\n\n"
    "  --device D     auto (default), host, or cuda:N\n"
    "  --input DIR    the directory (default /usr/share)\n"
    "  --bytes LIMIT  at most so many bytes of files (default 256m)\n"
    "  --workers N    CPU threads that serve (default: half the CPUs, 1 to 4)\n"
    "  --arena BYTES  page-locked memory (default: enough for all); what does\n"
    "                 not fit goes to the next tier\n"
    "  --ram BYTES    size of the RAM tier (default: with --arena enough for\n"
    "                 all, else none)\n"
    "  --file PATH    a file tier behind them, as large as the data\n"
    "  --json         the report as JSON\n"
    "  -v, --verbose\n\n"
    "Exit code 1 unless every byte of every blob came back.\n";

struct demo_options {
    const char *device, *input, *file;
    uint64_t limit, workers, arena, ram;
    int has_arena, has_ram, json;
};

/* ---- the runtime ---- */

/* Bytes of chunks that hold the data: each operation's is one power of two, a
 * lent one at least. */
static uint64_t chunk_bytes(const struct demo_run *r)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < r->n_ops; i++)
        sum += (uint64_t)1 << sl_class_of(r->op[i].bytes);
    return sum;
}

static void configure(struct sl_config *c, const struct demo_options *o,
                      const struct demo_run *r)
{
    uint64_t need = chunk_bytes(r);
    uint64_t slots;
    memset(c, 0, sizeof(*c));
    c->size = sizeof(*c);
    c->workers = (uint32_t)o->workers;
    c->depth = DEMO_DEPTH;
    sl_config_init(c);
    slots = (uint64_t)c->lanes * c->depth;
    c->arena_bytes = o->arena;
    c->pinned_bytes = 0; /* three quarters of what the user gave */
    if (!o->has_arena) {
        /* Each slot may hold a chunk of the largest range and a side chunk; an
         * eighth more for chunks that wait in caches or as old versions. */
        c->arena_bytes =
            need + need / 8 + slots * (65536u + SL_SIDE_BYTES) + (64u << 20);
        c->pinned_bytes = need + need / 8;
    }
    c->ram_bytes = o->has_ram ? o->ram : o->has_arena ? need + need / 8 : 0;
    if (o->file) {
        c->file_path = o->file;
        c->file_bytes = need + need / 8;
    }
    sl_config_init(c);
}

static int open_runtime(struct demo_run *r, const struct demo_options *o)
{
    struct sl_config c;
    int rc;
    configure(&c, o, r);
    out_log_hold();
    rc = sl_open(&c, &r->rt);
    if (rc)
        return out_fail("cannot start the runtime: %s", out_log_take(rc));
    out_log_take(0);
    out_log_hold();
    rc = sl_device_open(r->rt, o->device, &r->dev);
    if (rc)
        return out_fail("device '%s': %s", o->device, out_log_take(rc));
    out_log_take(0);
    rc = sl_tag(r->rt, "demo", &r->tag);
    return rc ? out_fail("tag 'demo': %s", sl_strerror(rc)) : 0;
}

static int close_runtime(struct demo_run *r, int rc)
{
    int code;
    if (r->dev)
        sl_device_close(r->dev);
    if (!r->rt)
        return rc;
    code = sl_close(r->rt);
    if (code && !rc)
        return out_fail("stopping the runtime: %s", sl_strerror(code));
    return rc;
}

/* ---- the report ---- */

static double gbs(const struct demo_run *r, const struct demo_phase *p)
{
    return p->ns ? (double)r->in.bytes / (double)p->ns : 0.0;
}

static size_t tiers(const struct demo_run *r, struct sl_tier_info *t)
{
    int n = sl_tiers(r->rt, t, DEMO_TIERS);
    if (n < 0)
        return 0;
    return n < DEMO_TIERS ? (size_t)n : DEMO_TIERS;
}

static json_t *tiers_json(const struct demo_run *r)
{
    struct sl_tier_info t[DEMO_TIERS];
    size_t n = tiers(r, t);
    json_t *list = json_array();
    for (size_t i = 0; list && i < n; i++)
        json_array_append_new(
            list, json_pack("{s:o, s:I, s:I}", "kind",
                            out_text(t[i].kind,
                                     strnlen(t[i].kind, sizeof(t[i].kind))),
                            "capacity", (json_int_t)t[i].capacity, "used",
                            (json_int_t)t[i].used));
    return list;
}

static int report_json(const struct demo_run *r)
{
    const char *name = sl_device_name(r->dev);
    return out_json(json_pack(
        "{s:o, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:o}",
        "device", out_text(name, strlen(name)), "blobs", (json_int_t)r->in.n,
        "bytes", (json_int_t)r->in.bytes, "verified", (json_int_t)r->verified,
        "skipped", (json_int_t)r->in.skipped, "operations",
        (json_int_t)r->n_ops, "put_gbs", gbs(r, &r->put), "get_gbs",
        gbs(r, &r->get), "put_p50_us", r->put.p50_ns / 1e3, "put_p99_us",
        r->put.p99_ns / 1e3, "get_p50_us", r->get.p50_ns / 1e3, "get_p99_us",
        r->get.p99_ns / 1e3, "tiers", tiers_json(r)));
}

static void report_phase(const char *name, const struct demo_run *r,
                         const struct demo_phase *p)
{
    printf("%-10s %.2f GB/s, p50 %.1f us, p99 %.1f us an operation\n", name,
           gbs(r, p), p->p50_ns / 1e3, p->p99_ns / 1e3);
}

static int report(const struct demo_run *r)
{
    struct sl_tier_info t[DEMO_TIERS];
    size_t n = tiers(r, t);
    char a[32], b[32];
    printf("%-10s %s\n", "device", sl_device_name(r->dev));
    printf("%-10s %zu, %s, in %llu operations\n", "blobs", r->in.n,
           out_size(r->in.bytes, a), (unsigned long long)r->n_ops);
    if (r->in.skipped || r->in.left_out)
        printf("%-10s %llu not readable, %llu beyond --bytes\n", "left out",
               (unsigned long long)r->in.skipped,
               (unsigned long long)r->in.left_out);
    report_phase("put", r, &r->put);
    report_phase("get", r, &r->get);
    for (size_t i = 0; i < n; i++)
        printf("%-10s %.8s: %s of %s\n", i ? "" : "tiers", t[i].kind,
               out_size(t[i].used, a), out_size(t[i].capacity, b));
    printf("%-10s %llu of %zu blobs, every byte\n", "verified",
           (unsigned long long)r->verified, r->in.n);
    return out_done();
}

static int demo(struct demo_run *r, const struct demo_options *o)
{
    int said, rc = demo_input_load(o->input, o->limit, &r->in);
    if (!rc)
        rc = demo_cut(r);
    if (!rc)
        rc = open_runtime(r, o);
    if (!rc)
        rc = demo_upload(r, o->device);
    if (!rc)
        rc = demo_put(r);
    if (!rc)
        rc = demo_get(r);
    if (rc)
        return rc;
    rc = demo_verify(r);
    said = o->json ? report_json(r) : report(r);
    return rc ? rc : said;
}

int cmd_demo(int argc, char **argv)
{
    struct demo_options o = {
        .device = "auto", .input = "/usr/share", .limit = 256u << 20};
    const struct opt opts[] = {
        {.name = "device", .kind = OPT_TEXT, .to = &o.device},
        {.name = "input", .kind = OPT_TEXT, .to = &o.input},
        {.name = "bytes", .kind = OPT_SIZE, .to = &o.limit},
        {.name = "workers",
         .kind = OPT_NUMBER,
         .to = &o.workers,
         .min = 1,
         .max = 256},
        {.name = "arena",
         .kind = OPT_SIZE,
         .to = &o.arena,
         .seen = &o.has_arena,
         .min = 16u << 20},
        {.name = "ram", .kind = OPT_SIZE, .to = &o.ram, .seen = &o.has_ram},
        {.name = "file", .kind = OPT_TEXT, .to = &o.file},
        {.name = "json", .kind = OPT_FLAG, .to = &o.json},
    };
    struct opt_set set = {help, opts, 8, 0, 0};
    struct demo_run r;
    int first, rc = opt_parse(&set, argc, argv, &first);
    if (rc != OPT_GO)
        return rc;
    memset(&r, 0, sizeof(r));
    rc = demo(&r, &o);
    demo_end(&r);
    rc = close_runtime(&r, rc);
    demo_input_free(&r.in);
    return rc;
}
