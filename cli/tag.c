/* SPDX-License-Identifier: Apache-2.0 */
/* `sluice tag`: whole tags. */
#include "cli.h"
#include "listing.h"
#include "opt.h"
#include "out.h"
#include "session.h"

#include <stdio.h>
#include <string.h>

static const char help[] =
    "Usage: sluice tag ls --data DIR [--limit N] [--after NAME] [--json]\n"
    "       sluice tag add --data DIR [--json] TAG\n"
    "       sluice tag rm --data DIR [--json] TAG\n"
    "       sluice tag stat --data DIR [--json] TAG\n"
    "       sluice tag mv --data DIR [--json] TAG NEWNAME\n"
    "Lists tags; makes one (no error when it is there); deletes one with all "
    "its\nblobs; shows one; gives one another name.\n\n"
    "  --data DIR    directory of the store; 'add' creates it if absent\n"
    "  --long        ls: the id and a tab before each name\n"
    "  --limit N     ls: at most N names\n"
    "  --after NAME  ls: only names behind NAME\n"
    "  --json        as JSON\n"
    "  -v, --verbose\n";

static int add(struct session *s)
{
    int code = sl_tag(s->rt, s->tag, &s->tag_id);
    if (code)
        return session_fail(s, code);
    return s->json ? tag_show(s) : 0;
}

static int rm(struct session *s)
{
    int code, rc = session_find(s);
    if (rc)
        return rc;
    code = sl_tag_del(s->rt, s->tag_id);
    if (code)
        return session_fail(s, code);
    return s->json ? out_json(session_json(s)) : 0;
}

static int mv(struct session *s)
{
    int code, rc = session_find(s);
    if (rc)
        return rc;
    code = sl_tag_rename(s->rt, s->tag_id, s->newtag);
    if (code)
        return session_fail_as("tag", s->newtag, code);
    return s->json ? tag_show(s) : 0;
}

static int show(struct session *s)
{
    int rc = session_find(s);
    return rc ? rc : tag_show(s);
}

static const struct verb {
    const char *name;
    int (*run)(struct session *s); /* null: ls */
    int args, create;
} verbs[] = {
    {"ls", NULL, 0, 0},   {"add", add, 1, 1}, {"rm", rm, 1, 0},
    {"stat", show, 1, 0}, {"mv", mv, 2, 0},
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

static const struct verb *find_verb(const char *word)
{
    for (size_t i = 0; i < VERBS; i++)
        if (!strcmp(verbs[i].name, word))
            return &verbs[i];
    return NULL;
}

int cmd_tag(int argc, char **argv)
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
    struct opt_set set = {help, opts, 5, 0, 0};
    const struct verb *v = argc > 1 ? find_verb(argv[1]) : NULL;
    int first, rc;
    if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
        fputs(help, stdout);
        return out_done();
    }
    if (!v)
        return argc > 1
                   ? out_usage("'%s' is not ls, add, rm, stat or mv", argv[1])
                   : out_usage("ls, add, rm, stat or mv is missing");
    set.n = v->run ? 2 : 5; /* the others are of ls */
    set.min_args = set.max_args = v->args;
    rc = opt_parse(&set, argc - 1, argv + 1, &first);
    if (rc != OPT_GO)
        return rc;
    s.tag = v->args ? argv[1 + first] : NULL;
    s.newtag = v->args > 1 ? argv[2 + first] : NULL;
    rc = session_names(&s);
    if (!rc)
        rc = session_open(&s, v->create);
    if (rc)
        return rc;
    return session_close(&s, v->run ? v->run(&s) : listing_run(&l, &s));
}
