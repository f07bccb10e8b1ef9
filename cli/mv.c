/* SPDX-License-Identifier: Apache-2.0 */
/* `sluice mv`: another name for a blob. */
#include "cli.h"
#include "opt.h"
#include "out.h"
#include "session.h"

#include <string.h>

static const char help[] =
    "Usage: sluice mv --data DIR [OPTION]... TAG BLOB NEWTAG NEWBLOB\n"
    "Gives a blob another name, in the same tag or another, which is made "
    "when\n"
    "absent. No byte is copied; a crash leaves one of the names.\n\n"
    "  --data DIR   directory of the store\n"
    "  --replace    delete the blob that has the new name\n"
    "  --json       the old name and the new one, as JSON\n"
    "  -v, --verbose\n";

struct move {
    struct session s, to;
    int replace;
};

static int run(struct move *m)
{
    int code, rc = session_find(&m->s);
    uint64_t size;
    if (rc)
        return rc;
    /* No tag is made for a blob that is not there. */
    code = sl_size(m->s.rt, m->s.tag_id, m->s.blob, &size);
    if (code)
        return session_fail(&m->s, code);
    code = sl_tag(m->s.rt, m->to.tag, &m->to.tag_id);
    if (!code)
        code = sl_rename(m->s.rt, m->s.tag_id, m->s.blob, m->to.tag_id,
                         m->to.blob, m->replace ? SL_F_REPLACE : 0);
    return code ? session_fail(&m->to, code) : 0;
}

static int report(const struct move *m)
{
    json_t *root = session_json(&m->s);
    if (root)
        json_object_update_new(
            root, json_pack("{s:o, s:o}", "newtag",
                            out_text(m->to.tag, strlen(m->to.tag)), "newblob",
                            out_text(m->to.blob, strlen(m->to.blob))));
    return out_json(root);
}

int cmd_mv(int argc, char **argv)
{
    struct move m = {0};
    const struct opt opts[] = {
        {.name = "data", .kind = OPT_TEXT, .to = &m.s.dir},
        {.name = "replace", .kind = OPT_FLAG, .to = &m.replace},
        {.name = "json", .kind = OPT_FLAG, .to = &m.s.json},
    };
    const struct opt_set set = {help, opts, 3, 4, 4};
    int first, rc = opt_parse(&set, argc, argv, &first);
    if (rc != OPT_GO)
        return rc;
    m.s.tag = argv[first];
    m.s.blob = argv[first + 1];
    m.to.tag = argv[first + 2];
    m.to.blob = argv[first + 3];
    rc = session_names(&m.s);
    m.to.dir = m.s.dir;
    if (!rc)
        rc = session_names(&m.to);
    if (!rc)
        rc = session_open(&m.s, 0);
    if (rc)
        return rc;
    rc = session_close(&m.s, run(&m));
    return rc || !m.s.json ? rc : report(&m);
}
