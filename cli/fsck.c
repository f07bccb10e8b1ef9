/* SPDX-License-Identifier: Apache-2.0 */
/* `sluice fsck`: checks a store that nobody has open, and mends it. */
#include "cli.h"
#include "opt.h"
#include "out.h"
#include "sluice/sluice.h"

#include <stdio.h>
#include <string.h>

static const char fsck_help[] =
    "Usage: sluice fsck --data DIR [--repair [--cut] [--drop NAME]]\n"
    "                   [--json]\n"
    "Reads and checks everything in a store that no process has open.\n\n"
    "  --data DIR   directory of the store\n"
    "  --repair     mend what keeps the store from opening: replay the log,\n"
    "               remove records that are damaged, and blobs whose space\n"
    "               another has or that lie behind the end of the file;\n"
    "               make damaged metadata anew from what can be read of it\n"
    "  --cut        with --repair: damaged parts of blobs become zeros; no\n"
    "               blob is removed for its bytes; a log that is damaged in\n"
    "               its middle ends there, the changes behind are lost\n"
    "  --drop NAME  with --repair: the file of target NAME is lost for good;\n"
    "               the target leaves the list, its blobs are removed, or\n"
    "               with --cut read zeros there; more names with commas\n"
    "  --json       one object on standard output\n"
    "  -v, --verbose\n\n"
    "Exit code: 0 clean, 1 problems were found (also when they are mended "
    "now),\n"
    "2 the store could not be checked.\n";

enum { FSCK_CLEAN = 0, FSCK_PROBLEMS = 1, FSCK_NOT_CHECKED = 2 };

struct fsck {
    const char *dir, *drop;
    int repair, cut, json;
    json_t *problems;
    int lost; /* no memory for one of them */
};

static void print_problem(void *user, const struct sl_fsck_problem *p)
{
    struct fsck *f = user;
    if (f->json) {
        json_t *o = json_pack("{s:s, s:o, s:b}", "code", sl_strerror(p->code),
                              "text", out_text(p->text, strlen(p->text)),
                              "repaired", p->repaired);
        if (p->tag)
            json_object_set_new(o, "tag", out_text(p->tag, strlen(p->tag)));
        if (p->blob)
            json_object_set_new(o, "blob", out_text(p->blob, strlen(p->blob)));
        if (p->bytes) {
            json_object_set_new(o, "offset",
                                json_integer((json_int_t)p->offset));
            json_object_set_new(o, "bytes", json_integer((json_int_t)p->bytes));
        }
        if (json_array_append_new(f->problems, o))
            f->lost = 1;
        return;
    }
    if (p->tag)
        printf("tag '%s'%s", p->tag, p->blob ? ", " : ": ");
    if (p->blob)
        printf("blob '%s'%s", p->blob, p->bytes ? ", " : ": ");
    if (p->bytes)
        printf("%llu bytes at %llu: ", (unsigned long long)p->bytes,
               (unsigned long long)p->offset);
    printf("%s%s\n", p->text, p->repaired ? " (mended)" : "");
}

static int print_json(const struct fsck *f, const struct sl_fsck_report *r)
{
    if (f->lost)
        return out_fail("%s", sl_strerror(SL_ENOMEM));
    return out_json(json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:O}", "tags",
        (json_int_t)r->tags, "blobs", (json_int_t)r->blobs, "extents",
        (json_int_t)r->extents, "bytes", (json_int_t)r->bytes, "stored",
        (json_int_t)r->stored, "file", (json_int_t)r->file, "free",
        (json_int_t)r->free, "log_changes", (json_int_t)r->log_changes,
        "log_dropped", (json_int_t)r->log_dropped, "repaired",
        (json_int_t)r->repaired, "problem_count", (json_int_t)r->problems,
        "problems", f->problems));
}

static int print_text(const struct sl_fsck_report *r)
{
    char bytes[32], stored[32], file[32], room[32];
    printf("%llu tags, %llu blobs, %llu extents, %s in %s of %s, %s free\n",
           (unsigned long long)r->tags, (unsigned long long)r->blobs,
           (unsigned long long)r->extents, out_size(r->bytes, bytes),
           out_size(r->stored, stored), out_size(r->file, file),
           out_size(r->free, room));
    if (r->log_changes || r->log_dropped)
        printf("log: %llu changes, %llu dropped (a power cut)\n",
               (unsigned long long)r->log_changes,
               (unsigned long long)r->log_dropped);
    printf("%llu problems", (unsigned long long)r->problems);
    if (r->repaired)
        printf(", %llu mended", (unsigned long long)r->repaired);
    puts("");
    return out_done();
}

static int run(struct fsck *f)
{
    struct sl_fsck_report r;
    struct sl_fsck_opts o = {.size = sizeof(o),
                             .dir = f->dir,
                             .problem = print_problem,
                             .user = f,
                             .drop = f->drop};
    const char *why;
    int rc, printed;
    if (f->repair)
        o.flags |= SL_FSCK_REPAIR;
    if (f->cut)
        o.flags |= SL_FSCK_CUT;
    out_log_hold();
    rc = sl_fsck(&o, &r);
    why = out_log_take(rc < 0 ? rc : 0);
    if (rc < 0) {
        out_fail("'%s': %s", f->dir, why);
        return FSCK_NOT_CHECKED;
    }
    printed = f->json ? print_json(f, &r) : print_text(&r);
    if (printed)
        return FSCK_NOT_CHECKED;
    return rc ? FSCK_PROBLEMS : FSCK_CLEAN;
}

int cmd_fsck(int argc, char **argv)
{
    struct fsck f = {0};
    const struct opt opts[] = {
        {.name = "data", .kind = OPT_TEXT, .to = &f.dir},
        {.name = "repair", .kind = OPT_FLAG, .to = &f.repair},
        {.name = "cut", .kind = OPT_FLAG, .to = &f.cut},
        {.name = "drop", .kind = OPT_TEXT, .to = &f.drop},
        {.name = "json", .kind = OPT_FLAG, .to = &f.json},
    };
    const struct opt_set set = {.help = fsck_help, .opts = opts, .n = 5};
    int first, rc = opt_parse(&set, argc, argv, &first);
    if (rc != OPT_GO)
        return rc;
    if (!f.dir || !*f.dir)
        return out_usage("option '--data' is missing");
    if (f.cut && !f.repair)
        return out_usage("option '--cut' needs '--repair'");
    if (f.drop && !f.repair)
        return out_usage("option '--drop' needs '--repair'");
    f.problems = json_array();
    if (!f.problems) {
        out_fail("out of memory");
        return FSCK_NOT_CHECKED;
    }
    rc = run(&f);
    json_decref(f.problems);
    return rc;
}
