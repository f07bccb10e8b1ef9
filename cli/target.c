/* SPDX-License-Identifier: Apache-2.0 */
/* `sluice target`: the targets of a store. */
#include "cli.h"
#include "opt.h"
#include "out.h"
#include "session.h"

#include <stdio.h>
#include <string.h>

static const char help[] =
    "Usage: sluice target ls --data DIR [--json]\n"
    "       sluice target stat --data DIR [--json] NAME\n"
    "       sluice target add --data DIR --path FILE --capacity BYTES\n"
    "                         [--score S] [--json] NAME\n"
    "       sluice target score --data DIR --score S [--json] NAME\n"
    "       sluice target rm --data DIR [--json] NAME\n"
    "Lists and changes where a store keeps bytes. What is added is a file, "
    "which\n"
    "the store opens again each time; rm moves what it holds to other targets\n"
    "first.\n\n"
    "  --data DIR        directory of the store\n"
    "  --path FILE       absent or empty; it is removed with the target\n"
    "  --capacity BYTES  most that it may hold, with k, m, g or t\n"
    "  --score S         0.0 (slowest) to 1.0; without it, or with -1, speed "
    "is\n"
    "                    measured\n"
    "  --json            as JSON: what rm removed, else what there is now\n"
    "  -v, --verbose\n";

struct request {
    struct session s;
    const char *verb, *name;
    const char *path, *score_text;
    uint64_t capacity;
    float score;
};

/* ---- what is shown ---- */

static json_t *info_json(const struct sl_target_info *t)
{
    return json_pack(
        "{s:s, s:s, s:s, s:o, s:i, s:I, s:I, s:I, s:f, s:I, s:I, s:I, s:I, "
        "s:I}",
        "name", t->name, "kind", t->kind, "state", t->state, "path",
        out_text(t->path, strlen(t->path)), "number", (int)t->number,
        "capacity", (json_int_t)t->capacity, "used", (json_int_t)t->used,
        "blob_bytes", (json_int_t)t->blob_bytes, "score", t->score, "bandwidth",
        (json_int_t)t->bandwidth, "latency_ns", (json_int_t)t->latency_ns,
        "evicted", (json_int_t)t->evicted, "promoted", (json_int_t)t->promoted,
        "moved_bytes", (json_int_t)t->moved_bytes);
}

static void show_line(const struct sl_target_info *t)
{
    char used[32], capacity[32];
    printf("%-16s %-7s %-9s %5.3f %10s of %-10s %s\n", t->name, t->kind,
           t->state, t->score, out_size(t->used, used),
           out_size(t->capacity, capacity), t->path);
}

static int fail(const struct request *r, int code)
{
    return r->name ? session_fail_as("target", r->name, code)
                   : session_fail(&r->s, code);
}

static int run_ls(struct request *r)
{
    struct sl_target_info info[SL_TARGETS_MAX];
    int n = sl_targets(r->s.rt, info, SL_TARGETS_MAX);
    json_t *root;
    if (n < 0)
        return fail(r, n);
    if (!r->s.json) {
        for (int i = 0; i < n; i++)
            show_line(&info[i]);
        return out_done();
    }
    root = json_array();
    for (int i = 0; root && i < n; i++)
        json_array_append_new(root, info_json(&info[i]));
    return out_json(root);
}

static int run_stat(struct request *r)
{
    struct sl_target_info info[SL_TARGETS_MAX];
    int n = sl_targets(r->s.rt, info, SL_TARGETS_MAX);
    for (int i = 0; i < n; i++) {
        if (strcmp(info[i].name, r->name) != 0)
            continue;
        return r->s.json ? out_json(info_json(&info[i]))
                         : out_object(info_json(&info[i]));
    }
    return fail(r, n < 0 ? n : SL_ENOTARGET);
}

/* ---- what is changed ---- */

static int run_add(struct request *r)
{
    const struct sl_target_opts o = {.size = sizeof(o),
                                     .name = r->name,
                                     .kind = "file",
                                     .path = r->path,
                                     .capacity = r->capacity,
                                     .score = r->score};
    int code = sl_target_add(r->s.rt, &o, NULL);
    if (code)
        return fail(r, code);
    return r->s.json ? run_stat(r) : 0;
}

static int run_score(struct request *r)
{
    int code = sl_target_set_score(r->s.rt, r->name, r->score);
    if (code)
        return fail(r, code);
    return r->s.json ? run_stat(r) : 0;
}

static int run_rm(struct request *r)
{
    int code = sl_target_remove(r->s.rt, r->name);
    if (code)
        return fail(r, code);
    return r->s.json ? out_json(json_pack("{s:s}", "name", r->name)) : 0;
}

/* ---- the command ---- */

static const struct {
    const char *name;
    int (*run)(struct request *r);
    int names, adds, scores; /* takes a name, --path and --capacity, --score */
} verbs[] = {
    {"ls", run_ls, 0, 0, 0},   {"stat", run_stat, 1, 0, 0},
    {"add", run_add, 1, 1, 1}, {"score", run_score, 1, 0, 2},
    {"rm", run_rm, 1, 0, 0},
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

static int check(struct request *r, size_t v)
{
    int rc;
    if (verbs[v].names != (r->name != NULL))
        return out_usage(verbs[v].names ? "the name of a target is missing"
                                        : "'ls' takes no name");
    if (verbs[v].adds && (!r->path || !r->capacity))
        return out_usage("'add' needs --path and --capacity");
    if (!verbs[v].adds && (r->path || r->capacity))
        return out_usage("'%s' takes no --path and no --capacity", r->verb);
    if (!verbs[v].scores && r->score_text)
        return out_usage("'%s' takes no --score", r->verb);
    if (verbs[v].scores == 2 && !r->score_text)
        return out_usage("'score' needs --score");
    rc = opt_score(r->score_text, &r->score);
    return rc ? rc : session_names(&r->s);
}

int cmd_target(int argc, char **argv)
{
    struct request r = {0};
    const struct opt opts[] = {
        {.name = "data", .kind = OPT_TEXT, .to = &r.s.dir},
        {.name = "json", .kind = OPT_FLAG, .to = &r.s.json},
        {.name = "path", .kind = OPT_TEXT, .to = &r.path},
        {.name = "score", .kind = OPT_TEXT, .to = &r.score_text},
        {.name = "capacity", .kind = OPT_SIZE, .to = &r.capacity},
    };
    const struct opt_set set = {.help = help,
                                .opts = opts,
                                .n = sizeof(opts) / sizeof(opts[0]),
                                .min_args = 1,
                                .max_args = 2};
    int first, rc = opt_parse(&set, argc, argv, &first);
    size_t v = 0;
    if (rc != OPT_GO)
        return rc;
    r.verb = argv[first];
    r.name = first + 1 < argc ? argv[first + 1] : NULL;
    while (v < VERBS && strcmp(verbs[v].name, r.verb) != 0)
        v++;
    if (v == VERBS)
        return out_usage("unknown verb '%s'", r.verb);
    rc = check(&r, v);
    if (!rc)
        rc = session_open(&r.s, 0);
    if (rc)
        return rc;
    return session_close(&r.s, verbs[v].run(&r));
}
