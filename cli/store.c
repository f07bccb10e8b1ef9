/* SPDX-License-Identifier: Apache-2.0 */
/* `sluice rm`, `ls` and `stat`. */
#include "cli.h"
#include "opt.h"
#include "out.h"
#include "session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char rm_help[] =
    "Usage: sluice rm --data DIR TAG [BLOB]\n"
    "Deletes a blob, or without BLOB the tag with all its blobs.\n\n"
    "  --data DIR   directory of the store\n"
    "  -v, --verbose\n";

/* Options of rm, ls and stat, and the positional arguments. rm prints no data,
 * so it has no --json. */
static int parse(struct session *s, struct opt_set set, int argc, char **argv)
{
    const struct opt opts[] = {
        {.name = "data", .kind = OPT_TEXT, .to = &s->dir},
        {.name = "json", .kind = OPT_FLAG, .to = &s->json},
    };
    int first, rc;
    set.opts = opts;
    set.n = set.help == rm_help ? 1 : 2;
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
    return session_close(&s, rc);
}

/* ---- ls ---- */

struct entry {
    char *name;
    uint32_t len;
    uint64_t value; /* a blob's bytes, a tag's id */
};
struct listing {
    struct entry *entry;
    size_t n, room;
};

static int listing_add(void *user, const char *name, uint32_t len,
                       uint64_t value)
{
    struct listing *l = user;
    struct entry *e;
    if (l->n == l->room) {
        size_t room = l->room ? 2 * l->room : 256;
        e = realloc(l->entry, room * sizeof(*e));
        if (!e)
            return SL_ENOMEM;
        l->entry = e;
        l->room = room;
    }
    e = &l->entry[l->n];
    e->name = malloc(len + 1u);
    if (!e->name)
        return SL_ENOMEM;
    memcpy(e->name, name, len);
    e->name[len] = 0;
    e->len = len;
    e->value = value;
    l->n++;
    return 0;
}

static void listing_free(struct listing *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->entry[i].name);
    free(l->entry);
}

static int by_name(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int d = memcmp(x->name, y->name, x->len < y->len ? x->len : y->len);
    return d ? d : (x->len > y->len) - (x->len < y->len);
}

static int listing_json(const struct listing *l, const char *value)
{
    json_t *root = json_array();
    for (size_t i = 0; root && i < l->n; i++) {
        const struct entry *e = &l->entry[i];
        json_array_append_new(root, json_pack("{s:o, s:I}", "name",
                                              out_text(e->name, e->len), value,
                                              (json_int_t)e->value));
    }
    return out_json(root);
}

static int listing_print(const struct listing *l)
{
    for (size_t i = 0; i < l->n; i++) {
        fwrite(l->entry[i].name, 1, l->entry[i].len, stdout);
        putchar('\n');
    }
    return out_done();
}

static const char ls_help[] =
    "Usage: sluice ls --data DIR [--json] [TAG]\n"
    "Lists the tags, or the blobs of TAG: one name a line, sorted bytewise.\n\n"
    "  --data DIR   directory of the store\n"
    "  --json       names with sizes (tags: ids), as JSON\n"
    "  -v, --verbose\n";

static int ls_run(struct session *s)
{
    struct listing l = {0};
    int code, rc;
    if (s->tag) {
        rc = session_find(s);
        if (rc)
            return rc;
        code = sl_list(s->rt, s->tag_id, listing_add, &l);
    } else {
        code = sl_list_tags(s->rt, listing_add, &l);
    }
    if (code) {
        rc = session_fail(s, code);
        goto out;
    }
    if (l.n)
        qsort(l.entry, l.n, sizeof(l.entry[0]), by_name);
    rc = s->json ? listing_json(&l, s->tag ? "size" : "id") : listing_print(&l);
out:
    listing_free(&l);
    return rc;
}

int cmd_ls(int argc, char **argv)
{
    const struct opt_set set = {.help = ls_help, .min_args = 0, .max_args = 1};
    struct session s = {0};
    int rc = parse(&s, set, argc, argv);
    if (rc != OPT_GO)
        return rc;
    rc = session_open(&s, 0);
    if (rc)
        return rc;
    return session_close(&s, ls_run(&s));
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
        "{s:o, s:o, s:I, s:I, s:I, s:o, s:o, s:i, s:o, s:i, s:i, s:i, s:o}",
        "tag", out_text(s->tag, strlen(s->tag)), "blob",
        out_text(s->blob, strlen(s->blob)), "size", (json_int_t)st->size,
        "version", (json_int_t)st->version, "stored", (json_int_t)st->stored,
        "created", stamp(st->created_ns), "changed", stamp(st->changed_ns),
        "extents", (int)st->extents, "score", score(st->score), "context",
        (int)st->context, "persist", (int)st->persist, "codec", (int)st->codec,
        "tiers", blob_tiers(st));
}

/* One "key: value" a line; a list of tiers is "kind bytes, kind bytes". */
static int stat_print(json_t *root)
{
    const char *key;
    json_t *v, *tier;
    size_t i;
    json_object_foreach(root, key, v)
    {
        printf("%s: ", key);
        if (json_is_string(v))
            printf("%s", json_string_value(v));
        else if (json_is_real(v))
            printf("%.3f", json_real_value(v));
        else if (json_is_integer(v))
            printf("%lld", (long long)json_integer_value(v));
        json_array_foreach(v, i, tier) printf(
            "%s%s %lld", i ? ", " : "",
            json_string_value(json_object_get(tier, "kind")),
            (long long)json_integer_value(json_object_get(tier, "bytes")));
        putchar('\n');
    }
    json_decref(root);
    return out_done();
}

static int stat_run(struct session *s)
{
    uint64_t bytes = 0, blobs = 0;
    struct sl_stat st = {0};
    json_t *root;
    int code, rc = session_find(s);
    if (rc)
        return rc;
    code = s->blob ? sl_stat(s->rt, s->tag_id, s->blob, &st)
                   : sl_tag_size(s->rt, s->tag_id, &bytes, &blobs);
    if (code)
        return session_fail(s, code);
    root = s->blob ? stat_blob(s, &st)
                   : json_pack("{s:o, s:I, s:I, s:I}", "tag",
                               out_text(s->tag, strlen(s->tag)), "id",
                               (json_int_t)s->tag_id, "blobs",
                               (json_int_t)blobs, "size", (json_int_t)bytes);
    if (!root || s->json)
        return out_json(root);
    return stat_print(root);
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
