/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the metadata's log share: metadata that do not commit by
 * themselves, what a load finds, and a process that ends without a close.
 * Include it behind cmocka.h. */
#ifndef META_LOG_HELP_H
#define META_LOG_HELP_H

#include "meta_help.h"

#include <sys/wait.h>

#define NUMBERS 200u
#define LONG_MS 3600000u /* no commit by itself */

static HELP_UNUSED int setup(void **state)
{
    *state = help_dir();
    return 0;
}

static HELP_UNUSED int teardown(void **state)
{
    help_remove(*state);
    return 0;
}

static int sync_code;

static HELP_UNUSED int fake_sync(void *user)
{
    (void)user;
    return sync_code;
}

static uint64_t bad_loc; /* of the extent whose bytes are lost */

static HELP_UNUSED int fake_verify(void *user, const struct meta_extent *e)
{
    (void)user;
    return e->loc == bad_loc ? SL_ECHECKSUM : SL_OK;
}

static HELP_UNUSED struct meta *open_meta(const char *dir)
{
    struct meta_config c = {.dir = dir,
                            .sync = fake_sync,
                            .verify = fake_verify,
                            .delay_ms = LONG_MS};
    struct meta *m = NULL;
    int rc;

    help_line[0] = '\0';
    rc = meta_open(&c, &m);
    if (rc)
        print_message("%s\n", help_line);
    assert_int_equal(rc, 0);
    return m;
}

struct found {
    uint64_t version[NUMBERS];
    unsigned tags, blobs, wrong;
};

static struct found found;

static HELP_UNUSED int on_tag(void *user, uint64_t id, const char *name,
                              uint32_t len)
{
    struct found *f = user;

    (void)id;
    (void)name;
    (void)len;
    f->tags++;
    return 0;
}

static HELP_UNUSED int on_blob(void *user, const struct meta_blob *b)
{
    struct found *f = user;

    f->blobs++;
    if (b->created_ns >= NUMBERS || !pattern_fits(b))
        f->wrong++;
    else
        f->version[b->created_ns] = b->version;
    return 0;
}

static HELP_UNUSED void load(struct meta *m)
{
    memset(&found, 0, sizeof found);
    assert_int_equal(meta_load(m, on_tag, on_blob, &found), 0);
    assert_int_equal(found.wrong, 0);
}

static HELP_UNUSED void put(struct meta *m, uint64_t number, uint64_t version,
                            int sync, int code)
{
    struct meta_extent e[2];
    struct job j = {.extents = e};

    pattern_put(&j, 0, number, version, 2);
    j.c.sync = sync;
    assert_int_equal(submit_wait(m, &j), code);
}

/* A process that changes the store and is gone without a commit. */
static HELP_UNUSED void in_child(const char *dir, void (*work)(struct meta *m))
{
    int status = 1;
    pid_t child = fork();

    if (child == 0) {
        work(open_meta(dir));
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
