/* SPDX-License-Identifier: Apache-2.0 */
/* `sluice query`: names by regular expression. */
#include "cli.h"
#include "opt.h"
#include "out.h"
#include "session.h"

#include <stdio.h>
#include <string.h>

static const char help[] =
    "Usage: sluice query --data DIR [--limit N] [--json] TAGREGEX [BLOBREGEX]\n"
    "Prints the tags whose names match TAGREGEX or, with BLOBREGEX, the blobs\n"
    "of these tags that match it: tag, tab, blob. Expressions are PCRE2's and\n"
    "match anywhere in a name; ^ and $ anchor them.\n\n"
    "  --data DIR   directory of the store\n"
    "  --limit N    print at most N matches (all are counted)\n"
    "  --json       matches with ids and sizes, and the total, as JSON\n"
    "  -v, --verbose\n";

struct answer {
    json_t *list; /* null: plain lines */
    uint64_t n;
};

static int match_json(json_t *list, const struct sl_match *m)
{
    json_t *one = json_pack("{s:o, s:o}", "tag",
                            out_text(m->tag_name, strlen(m->tag_name)), "id",
                            out_id(m->tag));
    if (one && m->blob)
        json_object_update_new(one,
                               json_pack("{s:o, s:I}", "blob",
                                         out_text(m->blob, strlen(m->blob)),
                                         "size", (json_int_t)m->size));
    return json_array_append_new(list, one) ? SL_ENOMEM : 0;
}

static int match(void *user, const struct sl_match *m)
{
    struct answer *a = user;
    a->n++;
    if (a->list)
        return match_json(a->list, m);
    if (m->blob)
        printf("%s\t%s\n", m->tag_name, m->blob);
    else
        printf("%s\n", m->tag_name);
    return 0;
}

/* Either expression may be the cause, so both are named. */
static int fail(const struct sl_query *q, int code)
{
    char both[2 * SL_PATTERN_MAX + 8];
    if (!q->blob)
        return session_fail_as("query", q->tag, code);
    snprintf(both, sizeof(both), "%s' '%s", q->tag, q->blob);
    return session_fail_as("query", both, code);
}

static int run(struct session *s, const struct sl_query *q)
{
    struct answer a = {.list = s->json ? json_array() : NULL};
    uint64_t total = 0;
    int code = s->json && !a.list ? SL_ENOMEM : 0;
    if (!code)
        code = sl_query(s->rt, q, match, &a, &total);
    if (code) {
        json_decref(a.list);
        return fail(q, code);
    }
    if (s->json)
        return out_json(json_pack("{s:I, s:o}", "total", (json_int_t)total,
                                  "matches", a.list));
    if (total > a.n)
        out_warn("%llu of %llu matches are shown", (unsigned long long)a.n,
                 (unsigned long long)total);
    return out_done();
}

int cmd_query(int argc, char **argv)
{
    struct session s = {0};
    struct sl_query q = {.size = sizeof(q)};
    const struct opt opts[] = {
        {.name = "data", .kind = OPT_TEXT, .to = &s.dir},
        {.name = "json", .kind = OPT_FLAG, .to = &s.json},
        {.name = "limit", .kind = OPT_NUMBER, .to = &q.limit, .min = 1},
    };
    const struct opt_set set = {help, opts, 3, 1, 2};
    int first, rc = opt_parse(&set, argc, argv, &first);
    if (rc != OPT_GO)
        return rc;
    q.tag = argv[first];
    q.blob = first + 1 < argc ? argv[first + 1] : NULL;
    rc = session_names(&s);
    if (!rc)
        rc = session_open(&s, 0);
    return rc ? rc : session_close(&s, run(&s, &q));
}
