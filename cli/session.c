/* SPDX-License-Identifier: Apache-2.0 */
#include "session.h"

#include "out.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int name_check(const char *what, const char *name)
{
    if (!name)
        return 0;
    if (!name[0])
        return out_usage("the %s's name is empty", what);
    if (strlen(name) > SL_NAME_MAX)
        return out_usage("the %s's name is longer than %u bytes", what,
                         SL_NAME_MAX);
    return 0;
}

int session_names(const struct session *s)
{
    int rc;
    if (!s->dir)
        return out_usage("option '--data' is missing");
    if (!s->dir[0])
        return out_usage("option '--data': the name is empty");
    rc = name_check("tag", s->tag);
    if (!rc)
        rc = name_check("tag", s->newtag);
    return rc ? rc : name_check("blob", s->blob);
}

/* sl_open creates what is absent; a command that only looks must not. */
static int must_exist(const char *dir)
{
    char format[4096];
    struct stat st;
    int n = snprintf(format, sizeof(format), "%s/format", dir);
    if (stat(dir, &st))
        return out_fail("'%s': %s", dir, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return out_fail("'%s': %s", dir, strerror(ENOTDIR));
    if (n < 0 || (size_t)n >= sizeof(format))
        return out_fail("'%s': %s", dir, strerror(ENAMETOOLONG));
    if (stat(format, &st))
        return errno == ENOENT ? out_fail("'%s' is not a store", dir)
                               : out_fail("'%s': %s", format, strerror(errno));
    return 0;
}

/* The largest put travels in chunks of the arena, and its bytes may be there
 * once more on their way to the file; both must fit beside the pinned tier.
 * Memory is taken as it is used. */
#define SESSION_ARENA ((uint64_t)4 * SL_IO_MAX)

int session_open(struct session *s, int create)
{
    struct sl_config c;
    int rc = create ? 0 : must_exist(s->dir);
    if (rc)
        return rc;
    memset(&c, 0, sizeof(c));
    c.data_dir = s->dir;
    c.arena_bytes = SESSION_ARENA;
    c.pinned_bytes = SESSION_ARENA / 4;
    sl_config_init(&c);
    out_log_hold();
    rc = sl_open(&c, &s->rt);
    if (!rc) {
        out_log_take(0);
        out_log_hold(); /* causes go into the line of what fails */
        return 0;
    }
    return out_fail("cannot open the store '%s': %s", s->dir, out_log_take(rc));
}

/* The code's text, and the cause that the library logged, if it did. */
static const char *reason(int code)
{
    static char text[2200]; /* a line of the log, and a code's text */
    const char *what = sl_strerror(code);
    const char *cause = out_log_take(code);
    out_log_hold();
    if (!strcmp(cause, what))
        return what;
    snprintf(text, sizeof(text), "%s (%s)", what, cause);
    return text;
}

int session_fail(const struct session *s, int code)
{
    if (s->blob)
        return out_fail("blob '%s' of tag '%s': %s", s->blob, s->tag,
                        reason(code));
    if (s->tag)
        return out_fail("tag '%s': %s", s->tag, reason(code));
    return out_fail("'%s': %s", s->dir, reason(code));
}

int session_fail_at(const struct session *s, int code, uint64_t stored)
{
    return out_fail("blob '%s' of tag '%s': %llu bytes are stored, then: %s",
                    s->blob, s->tag, (unsigned long long)stored, reason(code));
}

int session_fail_as(const char *what, const char *name, int code)
{
    return out_fail("%s '%s': %s", what, name, reason(code));
}

int session_find(struct session *s)
{
    int code = sl_tag_find(s->rt, s->tag, &s->tag_id);
    return code ? session_fail_as("tag", s->tag, code) : 0;
}

json_t *session_json(const struct session *s)
{
    json_t *root = json_object();
    if (root && s->tag)
        json_object_set_new(root, "tag", out_text(s->tag, strlen(s->tag)));
    if (root && s->blob)
        json_object_set_new(root, "blob", out_text(s->blob, strlen(s->blob)));
    return root;
}

int session_close(struct session *s, int rc)
{
    int code = sl_close(s->rt);
    s->rt = NULL;
    if (code && !rc)
        return out_fail("closing the store '%s': %s", s->dir, reason(code));
    /* After a failure there is one line already; else nothing is kept back. */
    out_log_take(rc ? SL_EIO : 0);
    return rc;
}
