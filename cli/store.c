/* SPDX-License-Identifier: Apache-2.0 */
/* `sluice rm`, `ls` and `stat`. */
#include "cli.h"
#include "codec/codec.h"
#include "listing.h"
#include "opt.h"
#include "out.h"
#include "session.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const char rm_help[] =
    "Usage: sluice rm --data DIR [--json] TAG [BLOB]\n"
    "Deletes a blob, or without BLOB the tag with all its blobs.\n\n"
    "  --data DIR   directory of the store\n"
    "  --json       what was deleted, as JSON\n"
    "  -v, --verbose\n";

/* Options of rm and stat, and the positional arguments. */
static int parse(struct session *s, struct opt_set set, int argc, char **argv)
{
    const struct opt opts[] = {
        {.name = "data", .kind = OPT_TEXT, .to = &s->dir},
        {.name = "json", .kind = OPT_FLAG, .to = &s->json},
    };
    int first, rc;
    set.opts = opts;
    set.n = 2;
    rc = opt_parse(&set, argc, argv, &first);
    if (rc != OPT_GO)
        return rc;
    s->tag = first < argc ? argv[first] : NULL;
    s->blob = first + 1 < argc ? argv[first + 1] : NULL;
    rc = session_names(s);
    return rc ? rc : OPT_GO;
}

int cmd_rm(int argc, char **argv)
{
    const struct opt_set set = {.help = rm_help, .min_args = 1, .max_args = 2};
    struct session s = {0};
    int rc = parse(&s, set, argc, argv);
    if (rc != OPT_GO)
        return rc;
    rc = session_open(&s, 0);
    if (rc)
        return rc;
    rc = session_find(&s);
    if (!rc) {
        int code = s.blob ? sl_del(s.rt, s.tag_id, s.blob)
                          : sl_tag_del(s.rt, s.tag_id);
        rc = code ? session_fail(&s, code) : 0;
    }
    rc = session_close(&s, rc);
    return rc || !s.json ? rc : out_json(session_json(&s));
}

/* ---- ls ---- */

static const char ls_help[] =
    "Usage: sluice ls --data DIR [OPTION]... [TAG]\n"
    "Lists the tags, or the blobs of TAG: one name a line, sorted bytewise.\n\n"
    "  --data DIR    directory of the store\n"
    "  --long        the size of a blob (the id of a tag) and a tab before it\n"
    "  --limit N     at most N names\n"
    "  --after NAME  only names behind NAME: with --limit, page by page\n"
    "  --json        names with sizes (tags: ids), as JSON\n"
    "  -v, --verbose\n";

int cmd_ls(int argc, char **argv)
{
    struct session s = {0};
    struct listing l = {0};
    const struct opt opts[] = {
        {.name = "data", .kind = OPT_TEXT, .to = &s.dir},
        {.name = "json", .kind = OPT_FLAG, .to = &s.json},
        {.name = "long", .kind = OPT_FLAG, .to = &l.with_value},
        {.name = "limit", .kind = OPT_NUMBER, .to = &l.limit, .min = 1},
        {.name = "after", .kind = OPT_TEXT, .to = &l.after},
    };
    const struct opt_set set = {ls_help, opts, 5, 0, 1};
    int first, rc = opt_parse(&set, argc, argv, &first);
    if (rc != OPT_GO)
        return rc;
    s.tag = first < argc ? argv[first] : NULL;
    rc = session_names(&s);
    if (rc)
        return rc;
    rc = session_open(&s, 0);
    return rc ? rc : session_close(&s, listing_run(&l, &s));
}

/* ---- stat ---- */

static const char stat_help[] =
    "Usage: sluice stat --data DIR [--json] TAG [BLOB]\n"
    "Shows what is known of a blob, or of a whole tag.\n\n"
    "  --data DIR   directory of the store\n"
    "  --json       as JSON\n"
    "  -v, --verbose\n";

static json_t *stamp(uint64_t ns)
{
    char text[40];
    time_t at = (time_t)(ns / 1000000000u);
    struct tm tm;
    size_t n = 0;
    if (gmtime_r(&at, &tm))
        n = strftime(text, sizeof(text) - 12, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + n, sizeof(text) - n, ".%09uZ",
             (unsigned)(ns % 1000000000u));
    return json_string(text);
}

/* 1000 is the fastest tier on the wire; people give 0.0 to 1.0. */
static json_t *score(uint16_t wire)
{
    if (wire == SL_SCORE_AUTO)
        return json_string("auto");
    return json_real((double)wire / (double)SL_SCORE_ONE);
}

static json_t *blob_tiers(const struct sl_stat *st)
{
    json_t *list = json_array();
    for (unsigned i = 0; list && i < st->n_tiers && i < 4u; i++) {
        size_t n = strnlen(st->tier[i].kind, sizeof(st->tier[i].kind));
        json_array_append_new(
            list, json_pack("{s:o, s:I}", "kind", out_text(st->tier[i].kind, n),
                            "bytes", (json_int_t)st->tier[i].bytes));
    }
    return list;
}

static json_t *stat_blob(const struct session *s, const struct sl_stat *st)
{
    return json_pack(
        "{s:o, s:o, s:I, s:I, s:I, s:f, s:o, s:o, s:i, s:o, s:i, s:i, s:s, "
        "s:o}",
        "tag", out_text(s->tag, strlen(s->tag)), "blob",
        out_text(s->blob, strlen(s->blob)), "size", (json_int_t)st->size,
        "version", (json_int_t)st->version, "stored", (json_int_t)st->stored,
        "ratio", st->stored ? (double)st->size / (double)st->stored : 1.0,
        "created", stamp(st->created_ns), "changed", stamp(st->changed_ns),
        "extents", (int)st->extents, "score", score(st->score), "context",
        (int)st->context, "persist", (int)st->persist, "codec",
        codec_name(st->codec) ? codec_name(st->codec) : "unknown", "tiers",
        blob_tiers(st));
}

static int stat_run(struct session *s)
{
    struct sl_stat st = {0};
    json_t *root;
    int code, rc = session_find(s);
    if (rc)
        return rc;
    if (!s->blob)
        return tag_show(s);
    code = sl_stat(s->rt, s->tag_id, s->blob, &st);
    if (code)
        return session_fail(s, code);
    root = stat_blob(s, &st);
    if (!root || s->json)
        return out_json(root);
    return out_object(root);
}

int cmd_stat(int argc, char **argv)
{
    const struct opt_set set = {
        .help = stat_help, .min_args = 1, .max_args = 2};
    struct session s = {0};
    int rc = parse(&s, set, argc, argv);
    if (rc != OPT_GO)
        return rc;
    rc = session_open(&s, 0);
    if (rc)
        return rc;
    return session_close(&s, stat_run(&s));
}
