/* SPDX-License-Identifier: Apache-2.0 */
/* Renames of tags: ids stay, names are free again, restarts, races. */
#include "store_help.h"

#include <pthread.h>

static struct sl_runtime *rt;

static int open_runtime(void **state)
{
    struct sl_config c = small_config();
    (void)state;
    c.lanes = 3;
    rt = open_store(&c);
    return 0;
}

static int close_runtime(void **state)
{
    (void)state;
    return sl_close(rt);
}

static uint64_t tag_of(const char *name)
{
    uint64_t id = 0;
    assert_int_equal(sl_tag(rt, name, &id), 0);
    return id;
}

static void name_is(uint64_t id, const char *name)
{
    struct sl_tag_stat st;
    uint64_t found = 0;
    assert_int_equal(sl_tag_stat(rt, id, &st), 0);
    assert_string_equal(st.name, name);
    assert_int_equal(sl_tag_find(rt, name, &found), 0);
    assert_int_equal(found, id);
}

static void no_tag_is(const char *name)
{
    uint64_t id;
    assert_int_equal(sl_tag_find(rt, name, &id), SL_ENOTAG);
}

static void the_id_stays_and_the_old_name_is_free(void **state)
{
    char a[32], b[280];
    (void)state;
    for (unsigned i = 0; i < 30; i++) {
        uint64_t id, next;
        char buf[2];
        snprintf(a, sizeof(a), "a%u", i);
        snprintf(b, sizeof(b), "b%u%0*u", i, i % 2u ? 1 : 200, 0);
        id = tag_of(a);
        assert_int_equal(sl_put(rt, id, "x", 0, "hi", 2, NULL), 0);
        assert_int_equal(sl_tag_rename(rt, id, b), 0);
        name_is(id, b);
        no_tag_is(a);
        assert_int_equal(sl_get(rt, id, "x", 0, buf, 2, NULL), 0);
        next = tag_of(a);
        assert_int_not_equal(next, id);
        name_is(next, a);
        assert_int_equal(sl_get(rt, next, "x", 0, buf, 2, NULL), SL_ENOENT);
        assert_int_equal(sl_tag_rename(rt, id, b), 0);
        assert_int_equal(sl_tag_rename(rt, id, a), SL_EEXIST);
        assert_int_equal(sl_tag_rename(rt, next, b), SL_EEXIST);
        name_is(id, b);
        assert_int_equal(sl_tag_del(rt, id), 0);
        no_tag_is(b);
        /* The first id of the name is free again; the name's tag is not it. */
        name_is(next, a);
        assert_int_equal(tag_of(a), next);
        assert_int_equal(sl_tag_rename(rt, next, b), 0);
        assert_int_equal(sl_tag_rename(rt, next, a), 0);
        name_is(next, a);
        no_tag_is(b);
        assert_int_equal(sl_tag_del(rt, next), 0);
        no_tag_is(a);
    }
}

static void refusals_change_nothing(void **state)
{
    uint64_t id = tag_of("here");
    char longest[300];
    (void)state;
    memset(longest, 'n', sizeof(longest));
    longest[256] = 0;
    assert_int_equal(sl_tag_rename(rt, id, ""), SL_ENONAME);
    assert_int_equal(sl_tag_rename(rt, id, longest), SL_ENAMETOOLONG);
    assert_int_equal(sl_tag_rename(rt, id, NULL), SL_EINVAL);
    assert_int_equal(sl_tag_rename(NULL, id, "x"), SL_EINVAL);
    assert_int_equal(sl_tag_rename(rt, id ^ 256u, "x"), SL_ENOTAG);
    no_tag_is("x");
    name_is(id, "here");
}

static void a_restart_keeps_names_and_ids(void **state)
{
    struct sl_config c = small_config();
    char dir[64], buf[3];
    uint64_t a, b, again;
    const struct sl_put_opts how = {
        .size = sizeof(how), .score = -1.0f, .persist = 1};
    (void)state;
    make_dir(dir, sizeof(dir));
    c.data_dir = dir;
    c.lanes = 3;
    rt = open_store(&c);
    a = tag_of("first");
    assert_int_equal(sl_put(rt, a, "blob", 0, "abc", 3, &how), 0);
    assert_int_equal(sl_tag_rename(rt, a, "second"), 0);
    b = tag_of("first");
    assert_int_equal(sl_close(rt), 0);
    for (unsigned i = 0; i < 2; i++) {
        rt = open_store(&c);
        name_is(a, "second");
        name_is(b, "first");
        assert_int_equal(sl_get(rt, a, "blob", 0, buf, 3, NULL), 0);
        assert_int_equal(sl_close(rt), 0);
    }
    rt = open_store(&c);
    assert_int_equal(sl_tag_del(rt, a), 0);
    assert_int_equal(sl_tag_rename(rt, b, "third"), 0);
    again = tag_of("first");
    assert_int_equal(sl_close(rt), 0);
    rt = open_store(&c);
    no_tag_is("second");
    name_is(b, "third");
    name_is(again, "first");
    assert_int_equal(sl_close(rt), 0);
    remove_dir(dir);
}

/* ---- races ---- */

struct actor {
    pthread_t thread;
    uint64_t seed;
    int wrong;
    unsigned done;
};

#define RACE_NAMES 5u

static void race_name(char *out, size_t n, uint64_t *seed)
{
    snprintf(out, n, "race-%u", (unsigned)(test_random(seed) % RACE_NAMES));
}

static int expected(int rc)
{
    return rc == 0 || rc == SL_ENOTAG || rc == SL_EEXIST || rc == SL_EAGAIN;
}

/* Makes, renames and deletes tags of a few names. */
static void *race(void *arg)
{
    struct actor *a = arg;
    char name[16], to[16];
    for (unsigned i = 0; i < STEPS(2000u); i++) {
        uint64_t id = 0;
        race_name(name, sizeof(name), &a->seed);
        race_name(to, sizeof(to), &a->seed);
        int rc = sl_tag(rt, name, &id);
        if (!rc && test_random(&a->seed) % 4u == 0)
            rc = sl_tag_del(rt, id);
        else if (!rc)
            rc = sl_tag_rename(rt, id, to);
        a->done += rc == 0;
        if (!expected(rc))
            a->wrong = rc;
    }
    return NULL;
}

static void names_stay_unique_in_races(void **state)
{
    struct actor a[4];
    struct sl_cursor c = {0};
    struct sl_entry e[64];
    uint64_t seed = test_seed("tag_rename"), id;
    unsigned done = 0, listed = 0;
    int n;
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        a[i] = (struct actor){.seed = test_fork(seed, i)};
        pthread_create(&a[i].thread, NULL, race, &a[i]);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(a[i].thread, NULL);
        assert_int_equal(a[i].wrong, 0);
        done += a[i].done;
    }
    assert_true(done > 0);
    while ((n = sl_list_tags_next(rt, &c, e, 64)) > 0) {
        for (int i = 0; i < n; i++) {
            if (strncmp(e[i].name, "race-", 5) != 0)
                continue;
            listed++;
            assert_int_equal(sl_tag_find(rt, e[i].name, &id), 0);
            assert_int_equal(id, e[i].value);
            assert_int_equal(sl_tag_del(rt, id), 0);
            assert_int_equal(sl_tag_find(rt, e[i].name, &id), SL_ENOTAG);
        }
    }
    assert_in_range(listed, 0, RACE_NAMES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_restart_keeps_names_and_ids),
        cmocka_unit_test_setup_teardown(the_id_stays_and_the_old_name_is_free,
                                        open_runtime, close_runtime),
        cmocka_unit_test_setup_teardown(refusals_change_nothing, open_runtime,
                                        close_runtime),
        cmocka_unit_test_setup_teardown(names_stay_unique_in_races,
                                        open_runtime, close_runtime),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
