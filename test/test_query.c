/* SPDX-License-Identifier: Apache-2.0 */
/* Finding: listings with a cursor, queries, the log of operations. */
#include "runtime_help.h"

#include "store/store.h"

static struct sl_runtime *rt;

static int open_runtime(void **state)
{
    struct sl_config c = runtime_config();
    (void)state;
    c.lanes = 3;
    c.depth = 64;
    c.events = 1024;
    return sl_open(&c, &rt);
}

static int close_runtime(void **state)
{
    (void)state;
    return sl_close(rt);
}

static uint64_t tag_of(const char *name)
{
    uint64_t tag = 0;
    assert_int_equal(sl_tag(rt, name, &tag), 0);
    return tag;
}

static void put_blobs(uint64_t tag, const char *prefix, unsigned n)
{
    char name[32];
    for (unsigned i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "%s-%04u", prefix, i);
        assert_int_equal(sl_put(rt, tag, name, 0, name, 8, NULL), 0);
    }
}

/* ---- listings ---- */

static void a_listing_stops_and_goes_on(void **state)
{
    uint64_t tag = tag_of("cursor");
    struct sl_cursor c = {0};
    struct sl_entry e[7];
    uint8_t seen[500] = {0};
    unsigned n = 0;
    int got;
    (void)state;
    put_blobs(tag, "b", 500);
    do {
        got = sl_list_next(rt, tag, &c, e, 7);
        assert_in_range(got, 0, 7);
        for (int i = 0; i < got; i++, n++) {
            assert_int_equal(e[i].len, 6);
            assert_int_equal(e[i].value, 8);
            seen[atoi(e[i].name + 2)]++;
        }
        assert_true(got == 7 || c.ended);
    } while (!c.ended);
    assert_int_equal(n, 500);
    for (unsigned i = 0; i < 500; i++)
        assert_int_equal(seen[i], 1);
    assert_int_equal(sl_list_next(rt, tag, &c, e, 7), 0);
    assert_int_equal(sl_list_next(rt, tag, NULL, e, 7), SL_EINVAL);
    c = (struct sl_cursor){.container = 3};
    assert_int_equal(sl_list_next(rt, tag, &c, e, 7), SL_EINVAL);
}

static void tags_made_before_are_listed_while_the_table_grows(void **state)
{
    struct sl_cursor c = {0};
    struct sl_entry e[5];
    uint8_t seen[40] = {0};
    char name[32];
    unsigned made = 0;
    (void)state;
    for (unsigned i = 0; i < 40; i++) {
        snprintf(name, sizeof(name), "old-%02u", i);
        tag_of(name);
    }
    while (!c.ended) {
        int got = sl_list_tags_next(rt, &c, e, 5);
        assert_true(got >= 0);
        for (int i = 0; i < got; i++)
            if (strncmp(e[i].name, "old-", 4) == 0)
                seen[atoi(e[i].name + 4)]++;
        for (unsigned i = 0; i < 50; i++) {
            snprintf(name, sizeof(name), "new-%u", made++);
            tag_of(name);
        }
    }
    for (unsigned i = 0; i < 40; i++)
        assert_int_equal(seen[i], 1);
}

static void tag_stat_says_name_and_size(void **state)
{
    uint64_t tag = tag_of("of some length");
    struct sl_tag_stat st;
    (void)state;
    put_blobs(tag, "x", 10);
    assert_int_equal(sl_tag_stat(rt, tag, &st), 0);
    assert_int_equal(st.id, tag);
    assert_int_equal(st.blobs, 10);
    assert_int_equal(st.bytes, 80);
    assert_string_equal(st.name, "of some length");
    assert_int_equal(st.len, strlen(st.name));
    assert_int_equal(sl_tag_stat(rt, tag ^ 256u, &st), SL_ENOTAG);
    assert_int_equal(sl_tag_stat(rt, tag, NULL), SL_EINVAL);
}

/* ---- a store that answers more than it is asked ---- */

static int list_all_that_fits(struct sl_task *t, void *container)
{
    t->cell.context = 0;
    return store_methods[SL_STORE_LIST](t, container);
}

static void a_page_of_more_than_asked_is_eproto(void **state)
{
    static int (*methods[SL_STORE_METHODS])(struct sl_task * t,
                                            void *container);
    static struct sl_entry e[SL_SIDE_BYTES / sizeof(struct sl_list_entry)];
    uint64_t tag = tag_of("more");
    struct sl_cursor c = {0};
    struct sl_module *m = &rt->store_module;
    (void)state;
    put_blobs(tag, "b", 60);
    memcpy(methods, store_methods, sizeof(methods));
    methods[SL_STORE_LIST] = list_all_that_fits;
    m->methods = methods;
    assert_int_equal(sl_list_next(rt, tag, &c, e, 2), SL_EPROTO);
    m->methods = store_methods;
    assert_int_equal(c.container, 0);
    assert_int_equal(c.at, 0);
    for (unsigned i = 0; i < sizeof(e) / sizeof(e[0]); i++)
        assert_int_equal(e[i].len, 0);
    assert_int_equal(sl_list_next(rt, tag, &c, e, 2), 2);
}

/* ---- queries ---- */

struct found {
    unsigned n;
    unsigned stop_at;
    char last_tag[64], last_blob[64];
    uint64_t last_id, last_size;
};

static int find(void *user, const struct sl_match *m)
{
    struct found *f = user;
    snprintf(f->last_tag, sizeof(f->last_tag), "%s", m->tag_name);
    snprintf(f->last_blob, sizeof(f->last_blob), "%s", m->blob ? m->blob : "");
    f->last_id = m->tag;
    f->last_size = m->size;
    return ++f->n == f->stop_at ? 42 : 0;
}

static void a_query_finds_tags(void **state)
{
    struct sl_query q = {.size = sizeof(q), .tag = "^quer(y|ies)$"};
    struct found f = {0};
    uint64_t total = 0, id = tag_of("query");
    (void)state;
    tag_of("queries");
    tag_of("queryx");
    assert_int_equal(sl_query(rt, &q, find, &f, &total), 0);
    assert_int_equal(f.n, 2);
    assert_int_equal(total, 2);
    q.tag = "^query$";
    assert_int_equal(sl_query(rt, &q, find, &f, &total), 0);
    assert_int_equal(total, 1);
    assert_int_equal(f.last_id, id);
    assert_string_equal(f.last_tag, "query");
    q.tag = "no such tag";
    assert_int_equal(sl_query(rt, &q, find, &f, &total), 0);
    assert_int_equal(total, 0);
}

static void a_query_counts_beyond_its_limit(void **state)
{
    struct sl_query q = {
        .size = sizeof(q), .tag = "^many", .blob = "^m-[0-9]*[05]$"};
    uint64_t one = tag_of("many-1"), two = tag_of("many-2"), total = 0;
    struct found f = {0};
    (void)state;
    put_blobs(one, "m", 1000);
    put_blobs(two, "m", 500);
    put_blobs(two, "other", 50);
    assert_int_equal(sl_query(rt, &q, find, &f, &total), 0);
    assert_int_equal(total, 300);
    assert_int_equal(f.n, 300);
    assert_int_equal(f.last_size, 8);
    f.n = 0;
    q.limit = 17;
    assert_int_equal(sl_query(rt, &q, find, &f, &total), 0);
    assert_int_equal(total, 300);
    assert_int_equal(f.n, 17);
    assert_int_equal(sl_query(rt, &q, NULL, NULL, &total), 0);
    assert_int_equal(total, 300);
    f = (struct found){.stop_at = 5};
    assert_int_equal(sl_query(rt, &q, find, &f, NULL), 42);
    assert_int_equal(f.n, 5);
    q.blob = "";
    q.tag = NULL;
    q.limit = 0;
    assert_int_equal(sl_query(rt, &q, NULL, NULL, &total), 0);
    assert_true(total >= 1550);
}

static char logged[512];

static void keep_line(void *user, int level, const char *line)
{
    (void)user;
    if (level == 0)
        snprintf(logged, sizeof(logged), "%s", line);
}

static int code_of(const char *tag, const char *blob)
{
    struct sl_query q = {.size = sizeof(q), .tag = tag, .blob = blob};
    logged[0] = 0;
    return sl_query(rt, &q, NULL, NULL, NULL);
}

static void bad_patterns_say_what_is_wrong(void **state)
{
    char name[SL_NAME_MAX + 1u], longer[SL_PATTERN_MAX + 2u];
    uint64_t tag = tag_of("slow");
    (void)state;
    sl_set_log(keep_line, NULL);
    assert_int_equal(code_of("(", NULL), SL_EPATTERN);
    assert_non_null(strstr(logged, "parenthesis"));
    assert_non_null(strstr(logged, "at byte 1"));
    assert_int_equal(code_of("^slow$", "[z-a]"), SL_EPATTERN);
    assert_non_null(strstr(logged, "'[z-a]'"));
    assert_int_equal(code_of("^no such tag$", "[z-a]"), SL_EPATTERN);
    assert_int_equal(code_of("(*UTF)x", NULL), SL_EPATTERN);
    assert_int_equal(code_of("a{70000}", NULL), SL_EPATTERN);
    memset(longer, 'a', sizeof(longer));
    longer[SL_PATTERN_MAX + 1u] = 0;
    assert_int_equal(code_of(longer, NULL), SL_EPATTERN);
    longer[SL_PATTERN_MAX] = 0;
    assert_int_equal(code_of(longer, NULL), 0);
    memset(name, 'a', sizeof(name) - 1u);
    name[sizeof(name) - 1u] = 0;
    assert_int_equal(sl_put(rt, tag, name, 0, "x", 1, NULL), 0);
    assert_int_equal(code_of("^slow$", "^(a+)+$"), 0);
    assert_int_equal(code_of("^slow$", "^(a+)+[^a]"), SL_EMATCHLIMIT);
    assert_non_null(strstr(logged, "too many steps"));
    assert_int_equal(code_of("^slow$", "(?R)?b|(?R)c"), SL_EMATCHLIMIT);
    assert_int_equal(code_of("^slow$", "^a*$"), 0);
    sl_set_log(NULL, NULL);
    assert_int_equal(sl_query(rt, NULL, NULL, NULL, NULL), SL_EINVAL);
}

/* ---- the log of operations ---- */

static unsigned read_all(struct sl_event_cursor *c, struct sl_event *out,
                         unsigned room, uint64_t *lost)
{
    unsigned n = 0;
    uint64_t gone = 0;
    int got;
    *lost = 0;
    while ((got = sl_events(rt, c, out + n, room - n, &gone)) > 0) {
        n += (unsigned)got;
        *lost += gone;
    }
    assert_int_equal(got, 0);
    return n;
}

static struct sl_event events[8192];

static const struct sl_event *event_of(unsigned n, uint32_t op, uint64_t hash)
{
    const struct sl_event *found = NULL;
    for (unsigned i = 0; i < n; i++) {
        if (events[i].op == op && events[i].hash == hash) {
            assert_null(found);
            found = &events[i];
        }
    }
    assert_non_null(found);
    return found;
}

static void the_log_has_operations_in_order(void **state)
{
    struct sl_event_cursor *c;
    uint64_t lost, tag, size = 0, hash;
    char buf[10];
    unsigned n;
    (void)state;
    assert_int_equal(sl_events_open(rt, &c), 0);
    read_all(c, events, 8192, &lost);
    tag = tag_of("logged");
    tag = tag_of("logged"); /* no second event */
    assert_int_equal(sl_put(rt, tag, "one", 0, "0123456789", 10, NULL), 0);
    assert_int_equal(sl_size(rt, tag, "one", &size), 0);
    assert_int_equal(sl_get(rt, tag, "one", 0, buf, 10, NULL), 0);
    assert_int_equal(sl_get(rt, tag, "two", 0, buf, 10, NULL), SL_ENOENT);
    assert_int_equal(sl_del(rt, tag, "one"), 0);
    assert_int_equal(sl_tag_del(rt, tag), 0);
    n = read_all(c, events, 8192, &lost);
    assert_int_equal(n, 7);
    assert_int_equal(lost, 0);
    static const uint32_t ops[] = {SL_STORE_TAG,    SL_STORE_PUT, SL_STORE_SIZE,
                                   SL_STORE_GET,    SL_STORE_GET, SL_STORE_DEL,
                                   SL_STORE_TAG_DEL};
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(events[i].op, ops[i]);
        assert_int_equal(events[i].tag, tag);
        assert_true(!i || events[i].time > events[i - 1u].time);
    }
    hash = sl_key_hash(tag, "one", 3).lo;
    assert_int_equal(event_of(n, SL_STORE_PUT, hash)->size, 10);
    assert_int_equal(event_of(n, SL_STORE_SIZE, hash)->size, 10);
    assert_int_equal(event_of(n, SL_STORE_GET, hash)->code, 0);
    assert_int_equal(event_of(n, SL_STORE_DEL, hash)->size, 10);
    hash = sl_key_hash(tag, "two", 3).lo;
    assert_int_equal(event_of(n, SL_STORE_GET, hash)->code, -SL_ENOENT);
    sl_events_close(c);
}

static void a_slow_reader_is_told_how_many_it_lost(void **state)
{
    struct sl_event_cursor *c;
    uint64_t lost, tag = tag_of("lossy");
    unsigned n;
    (void)state;
    assert_int_equal(sl_events_open(rt, &c), 0);
    read_all(c, events, 8192, &lost);
    put_blobs(tag, "l", 5000);
    n = read_all(c, events, 8192, &lost);
    assert_in_range(n, 1024, 3 * 1024); /* the creation of the tag is before */
    assert_int_equal(n + lost, 5000);
    for (unsigned i = 1; i < n; i++)
        assert_true(events[i].time >= events[i - 1u].time);
    sl_events_close(c);
}

struct writer {
    uint64_t tag;
    unsigned id;
};

static void *write_blobs(void *arg)
{
    const struct writer *w = arg;
    char name[32];
    for (unsigned i = 0; i < 300; i++) {
        snprintf(name, sizeof(name), "w%u-%u", w->id, i);
        if (sl_put(rt, w->tag, name, 0, name, 4, NULL))
            return NULL;
    }
    return NULL;
}

/* What a thread did one after the other comes in that order, whatever the
 * shard, while others write. */
static void the_log_keeps_the_order_of_each_thread(void **state)
{
    static uint64_t hashes[4][300];
    struct sl_event_cursor *c;
    struct writer w[4];
    unsigned next[4] = {0}, n, right = 0;
    uint64_t lost, tag = tag_of("order");
    char name[32];
    (void)state;
    for (unsigned t = 0; t < 4; t++) {
        w[t] = (struct writer){tag, t};
        for (unsigned i = 0; i < 300; i++) {
            snprintf(name, sizeof(name), "w%u-%u", t, i);
            hashes[t][i] = sl_key_hash(tag, name, (uint32_t)strlen(name)).lo;
        }
    }
    assert_int_equal(sl_events_open(rt, &c), 0);
    read_all(c, events, 8192, &lost);
    run_threads(4, write_blobs, w, sizeof(w[0]));
    n = read_all(c, events, 8192, &lost);
    assert_int_equal(lost, 0);
    for (unsigned i = 0; i < n; i++) {
        for (unsigned t = 0; t < 4; t++) {
            if (next[t] < 300 && events[i].hash == hashes[t][next[t]]) {
                next[t]++;
                right++;
            }
        }
    }
    assert_int_equal(right, 1200);
    sl_events_close(c);
}

static void a_runtime_may_have_no_log(void **state)
{
    struct sl_config c = runtime_config();
    struct sl_event_cursor *cursor;
    struct sl_runtime *r;
    (void)state;
    c.events = SL_NONE;
    r = runtime_open(&c);
    assert_int_equal(sl_events_open(r, &cursor), SL_ENOSYS);
    assert_int_equal(sl_close(r), 0);
    c.events = 1000;
    assert_int_equal(sl_open(&c, &r), SL_ECONFIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_log_has_operations_in_order),
        cmocka_unit_test(a_slow_reader_is_told_how_many_it_lost),
        cmocka_unit_test(the_log_keeps_the_order_of_each_thread),
        cmocka_unit_test(a_runtime_may_have_no_log),
        cmocka_unit_test(a_listing_stops_and_goes_on),
        cmocka_unit_test(a_page_of_more_than_asked_is_eproto),
        cmocka_unit_test(tags_made_before_are_listed_while_the_table_grows),
        cmocka_unit_test(tag_stat_says_name_and_size),
        cmocka_unit_test(a_query_finds_tags),
        cmocka_unit_test(a_query_counts_beyond_its_limit),
        cmocka_unit_test(bad_patterns_say_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, open_runtime, close_runtime);
}
