/* SPDX-License-Identifier: Apache-2.0 */
/* The host API: what a caller passes and gets back. */
#include "runtime_help.h"

#include <math.h>

#define MIB (UINT64_C(1) << 20)

static struct sl_runtime *rt;
static uint64_t tag;

static int open_runtime(void **state)
{
    struct sl_config c = runtime_config();
    (void)state;
    c.depth = 64;
    c.arena_bytes = 32 * MIB;
    c.pinned_bytes = 16 * MIB;
    return sl_open(&c, &rt) || sl_tag(rt, "api", &tag);
}

static int close_runtime(void **state)
{
    (void)state;
    return sl_close(rt);
}

/* ---- configuration ---- */

static char logged[512];

static void keep_line(void *user, int level, const char *line)
{
    (void)user;
    if (level == 0)
        snprintf(logged, sizeof(logged), "%s", line);
}

static void expect_config_error(const struct sl_config *c, const char *key)
{
    struct sl_runtime *r = NULL;
    logged[0] = 0;
    assert_int_equal(sl_open(c, &r), SL_ECONFIG);
    assert_null(r);
    assert_non_null(strstr(logged, key));
}

static void config_errors_name_the_key(void **state)
{
    struct sl_config c = runtime_config();
    (void)state;
    sl_set_log(keep_line, NULL);
    c.size = 3;
    expect_config_error(&c, "size");
    c.size = 12; /* half of a pointer */
    expect_config_error(&c, "size");
    c = runtime_config();
    c.workers = 257;
    expect_config_error(&c, "workers");
    c = runtime_config();
    c.lanes = 2000;
    expect_config_error(&c, "lanes");
    c = runtime_config();
    c.depth = 1u << 24;
    expect_config_error(&c, "depth");
    c = runtime_config();
    c.arena_bytes = 1000;
    expect_config_error(&c, "arena_bytes");
    c = runtime_config();
    c.pinned_bytes = c.arena_bytes + 1u;
    expect_config_error(&c, "pinned_bytes");
    c = runtime_config();
    c.file_path = "file";
    expect_config_error(&c, "file_bytes");
    c = runtime_config();
    c.file_bytes = MIB;
    expect_config_error(&c, "file_path");
    c.data_dir = "dir";
    c.file_path = "file";
    expect_config_error(&c, "file_path");
    sl_set_log(NULL, NULL);
}

static void defaults_are_filled_in(void **state)
{
    struct sl_config c = {0};
    (void)state;
    c.workers = 3;
    sl_config_init(&c);
    assert_int_equal(c.size, sizeof(c));
    assert_int_equal(c.workers, 3);
    assert_int_equal(c.lanes, 3);
    assert_int_equal(c.depth, 1024);
    assert_int_equal(c.arena_bytes, 64 * MIB);
    assert_int_equal(c.pinned_bytes, 48 * MIB);
    assert_int_equal(c.file_bytes, 0);
    c.data_dir = "dir";
    sl_config_init(&c);
    assert_int_equal(c.file_bytes, 64u * 1024u * MIB);
}

/* ---- arguments ---- */

static void names_up_to_255_bytes_work(void **state)
{
    static const uint32_t lengths[] = {1, 47, 48, 49, 254, 255};
    char name[257], out[8];
    uint64_t size = 0;
    (void)state;
    for (uint32_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        memset(name, 'a', sizeof(name));
        name[lengths[i]] = 0;
        assert_int_equal(sl_put(rt, tag, name, 0, name, 1, NULL), 0);
        assert_int_equal(sl_size(rt, tag, name, &size), 0);
        assert_int_equal(size, 1);
        assert_int_equal(sl_get(rt, tag, name, 0, out, 1, NULL), 0);
        assert_int_equal(sl_del(rt, tag, name), 0);
        assert_int_equal(sl_del(rt, tag, name), SL_ENOENT);
    }
    name[255] = 'a';
    name[256] = 0;
    assert_int_equal(sl_put(rt, tag, name, 0, "x", 1, NULL), SL_ENAMETOOLONG);
    assert_int_equal(sl_get(rt, tag, name, 0, out, 1, NULL), SL_ENAMETOOLONG);
    assert_int_equal(sl_size(rt, tag, name, &size), SL_ENAMETOOLONG);
    assert_int_equal(sl_put(rt, tag, "", 0, "x", 1, NULL), SL_ENONAME);
    assert_int_equal(sl_put(rt, tag, NULL, 0, "x", 1, NULL), SL_EINVAL);
    assert_int_equal(sl_tag(rt, "", &size), SL_ENONAME);
}

static void wrong_arguments_are_refused(void **state)
{
    struct sl_put_opts o = {.size = sizeof(o), .score = -1.0f};
    uint64_t id;
    (void)state;
    assert_int_equal(sl_put(rt, tag, "w", UINT64_MAX, "x", 1, NULL),
                     SL_EOVERFLOW);
    assert_int_equal(sl_put(rt, tag, "w", 0, "x", SL_IO_MAX + 1u, NULL),
                     SL_EFBIG);
    assert_int_equal(sl_put(rt, tag, "w", 0, NULL, 1, NULL), SL_EINVAL);
    assert_int_equal(sl_put(rt, tag + 1u, "w", 0, "x", 1, NULL), SL_ENOTAG);
    assert_int_equal(sl_tag_find(rt, "nowhere", &id), SL_ENOTAG);
    static const float scores[] = {1.5f, -0.5f, -1.001f, 1e30f, NAN, INFINITY};
    for (unsigned i = 0; i < sizeof(scores) / sizeof(scores[0]); i++) {
        o.score = scores[i];
        assert_int_equal(sl_put(rt, tag, "w", 0, "x", 1, &o), SL_ESCORE);
    }
    o.score = 1.0f;
    o.persist = 1; /* there is no data_dir */
    assert_int_equal(sl_put(rt, tag, "w", 0, "x", 1, &o), SL_ENODATADIR);
    o.persist = 3;
    assert_int_equal(sl_put(rt, tag, "w", 0, "x", 1, &o), SL_EPERSIST);
    o.persist = 0;
    o.codec = 255;
    assert_int_equal(sl_put(rt, tag, "w", 0, "x", 1, &o), SL_ECODEC);
    o.codec = 0;
    o.size = 0;
    assert_int_equal(sl_put(rt, tag, "w", 0, "x", 1, &o), SL_EINVAL);
    o.size = sizeof(o);
    assert_int_equal(sl_put(rt, tag, "w", 0, "x", 1, &o), 0);
    assert_int_equal(sl_del(rt, tag, "w"), 0);
}

/* ---- blobs ---- */

static uint8_t *pattern(uint64_t n, uint64_t seed)
{
    uint8_t *p = malloc(n ? n : 1u);
    assert_non_null(p);
    for (uint64_t i = 0; i < n; i++)
        p[i] = (uint8_t)(sl_mix64(i / 8u + seed) >> (8u * (i % 8u)));
    return p;
}

static void round_trip(uint64_t n)
{
    uint8_t *in = pattern(n, n), *out = pattern(n, 1);
    uint64_t exists = 0, size = 0;
    assert_int_equal(sl_put(rt, tag, "trip", 0, in, n, NULL), 0);
    assert_int_equal(sl_get(rt, tag, "trip", 0, out, n, &exists), 0);
    assert_int_equal(exists, n);
    assert_int_equal(sl_size(rt, tag, "trip", &size), 0);
    assert_int_equal(size, n);
    assert_memory_equal(in, out, n);
    assert_int_equal(sl_del(rt, tag, "trip"), 0);
    free(in);
    free(out);
}

static void bytes_come_back_from_inline_to_many_windows(void **state)
{
    static const uint64_t sizes[] = {
        1, 59, 60, 61, 4096, 65536, 65537, MIB, MIB + 1, 5 * MIB + 3, 9 * MIB};
    (void)state;
    for (uint32_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        round_trip(sizes[i]);
}

static void a_range_past_the_end_reads_nothing_and_tells_the_size(void **state)
{
    uint8_t *in = pattern(5 * MIB, 3), *out = calloc(1, 6 * MIB);
    uint64_t exists = 0;
    (void)state;
    assert_non_null(out);
    assert_int_equal(sl_put(rt, tag, "end", 0, in, 5 * MIB, NULL), 0);
    assert_int_equal(sl_get(rt, tag, "end", 0, out, 5 * MIB + 1u, &exists),
                     SL_EPASTEND);
    assert_int_equal(exists, 5 * MIB);
    for (uint64_t i = 0; i < 6 * MIB; i++)
        assert_int_equal(out[i], 0);
    assert_int_equal(sl_get(rt, tag, "none", 0, out, 1, &exists), SL_ENOENT);
    assert_int_equal(sl_get(rt, tag, "end", 5 * MIB - 10u, out, 10, &exists),
                     0);
    assert_memory_equal(out, in + 5 * MIB - 10u, 10);
    assert_int_equal(sl_del(rt, tag, "end"), 0);
    free(in);
    free(out);
}

/* ---- listings ---- */

struct seen {
    uint64_t n, bytes, ends_at;
};

static int count_name(void *user, const char *name, uint32_t len, uint64_t size)
{
    struct seen *s = user;
    if (strlen(name) != len)
        return -1;
    s->n++;
    s->bytes += size;
    return s->n == s->ends_at ? 77 : 0;
}

static void a_listing_has_every_blob_once(void **state)
{
    struct seen s = {0, 0, 0};
    uint64_t t = 0, bytes = 0, blobs = 0;
    char name[200];
    (void)state;
    assert_int_equal(sl_tag(rt, "listed", &t), 0);
    for (uint32_t i = 0; i < 300; i++) {
        snprintf(name, sizeof(name), "%0*u", (int)(i % 100u) + 3, i);
        assert_int_equal(sl_put(rt, t, name, 0, name, i % 3u + 1u, NULL), 0);
    }
    assert_int_equal(sl_list(rt, t, count_name, &s), 0);
    assert_int_equal(s.n, 300);
    assert_int_equal(s.bytes, 600);
    assert_int_equal(sl_tag_size(rt, t, &bytes, &blobs), 0);
    assert_int_equal(bytes, 600);
    assert_int_equal(blobs, 300);
    memset(&s, 0, sizeof(s));
    s.ends_at = 5;
    assert_int_equal(sl_list(rt, t, count_name, &s), 77);
    assert_int_equal(s.n, 5);
    memset(&s, 0, sizeof(s));
    assert_int_equal(sl_list_tags(rt, count_name, &s), 0);
    assert_int_equal(s.n, 2);
    assert_int_equal(sl_tag_del(rt, t), 0);
    assert_int_equal(sl_list(rt, t, count_name, &s), SL_ENOTAG);
    assert_int_equal(sl_tag_size(rt, t, &bytes, &blobs), SL_ENOTAG);
}

static void stat_tells_what_a_put_said(void **state)
{
    struct sl_put_opts o = {.size = sizeof(o), .score = 0.75f, .context = 1234};
    char name[201];
    struct sl_stat st;
    (void)state;
    memset(name, 's', sizeof(name));
    name[200] = 0;
    assert_int_equal(sl_put(rt, tag, name, 0, "12345", 5, &o), 0);
    assert_int_equal(sl_stat(rt, tag, name, &st), 0);
    assert_int_equal(st.size, 5);
    assert_int_equal(st.score, 750);
    assert_int_equal(st.context, 1234);
    assert_int_equal(sl_del(rt, tag, name), 0);
    assert_int_equal(sl_stat(rt, tag, name, &st), SL_ENOENT);
}

/* ---- futures ---- */

static void futures_carry_puts_and_gets(void **state)
{
    uint8_t *in = pattern(5 * MIB, 9), *out = pattern(5 * MIB, 1);
    struct sl_op *op = NULL;
    int rc;
    (void)state;
    assert_int_equal(sl_put_begin(rt, tag, "later", 0, in, 5 * MIB, NULL, &op),
                     0);
    assert_int_equal(sl_wait(&op, LONG_NS), 0);
    assert_null(op);
    assert_int_equal(sl_get_begin(rt, tag, "later", 0, out, 5 * MIB, &op), 0);
    while ((rc = sl_test(&op)) == SL_EAGAIN)
        sched_yield();
    assert_int_equal(rc, 0);
    assert_null(op);
    assert_memory_equal(in, out, 5 * MIB);
    assert_int_equal(sl_del(rt, tag, "later"), 0);
    rc = sl_get_begin(rt, tag, "later", 0, out, 1, &op);
    assert_true(rc == SL_ENOENT ||
                (rc == 0 && sl_wait(&op, LONG_NS) == SL_ENOENT));
    free(in);
    free(out);
}

static void wait_any_tells_which_future_ended(void **state)
{
    struct sl_op *ops[4] = {NULL, NULL, NULL, NULL};
    int seen[4] = {0, 0, 0, 0};
    char names[4][2] = {"a", "b", "c", "d"};
    size_t which = 9;
    (void)state;
    assert_int_equal(sl_wait_any(ops, 4, 0, &which), SL_EINVAL);
    for (uint32_t i = 1; i < 4; i++)
        assert_int_equal(
            sl_put_begin(rt, tag, names[i], 0, names[i], 1, NULL, &ops[i]), 0);
    for (uint32_t i = 1; i < 4; i++) {
        assert_int_equal(sl_wait_any(ops, 4, LONG_NS, &which), 0);
        assert_in_range(which, 1, 3);
        assert_null(ops[which]);
        seen[which]++;
    }
    assert_int_equal(seen[1] + seen[2] + seen[3], 3);
    assert_int_equal(seen[1], seen[2]);
}

static void cancelled_futures_give_their_slots_back(void **state)
{
    uint8_t *data = pattern(100000, 5);
    (void)state;
    for (uint32_t i = 0; i < 500; i++) { /* slots: 128 */
        struct sl_op *op = NULL;
        if (i & 1u)
            assert_int_equal(
                sl_put_begin(rt, tag, "c", 0, data, 100000, NULL, &op), 0);
        else if (sl_get_begin(rt, tag, "c", 0, data, 100000, &op))
            continue;
        sl_cancel(&op);
        assert_null(op);
    }
    round_trip(100000);
    free(data);
}

static void a_future_may_outlive_the_runtime(void **state)
{
    struct sl_config c = runtime_config();
    struct sl_runtime *other = runtime_open(&c);
    struct sl_op *ops[2] = {NULL, NULL};
    uint64_t t = 0;
    (void)state;
    assert_int_equal(sl_tag(other, "t", &t), 0);
    assert_int_equal(sl_put_begin(other, t, "x", 0, "x", 1, NULL, &ops[0]), 0);
    assert_int_equal(sl_put_begin(other, t, "y", 0, "y", 1, NULL, &ops[1]), 0);
    assert_int_equal(sl_close(other), 0);
    assert_int_equal(sl_test(&ops[0]), SL_EDEAD);
    sl_cancel(&ops[1]);
    assert_null(ops[0]);
    assert_null(ops[1]);
}

/* ---- a short arena ---- */

/* Nothing is pinned, so each get of `GET_BYTES` takes as many of the arena. */
#define GET_BYTES (512u << 10)
#define SHORT_FILE "test-api-short"

static struct sl_runtime *open_short(uint64_t *t, const uint8_t *data)
{
    struct sl_config c = runtime_config();
    struct sl_runtime *r;
    c.depth = 256;
    c.arena_bytes = 8 * MIB;
    c.pinned_bytes = SL_NONE;
    c.file_path = SHORT_FILE;
    c.file_bytes = 64 * MIB;
    r = runtime_open(&c);
    assert_int_equal(sl_tag(r, "short", t), 0);
    assert_int_equal(sl_put(r, *t, "a", 0, data, GET_BYTES, NULL), 0);
    return r;
}

static void gets_wait_for_each_others_chunks(void **state)
{
    uint8_t *in = pattern(GET_BYTES, 4), *out = calloc(48, GET_BYTES);
    struct sl_op *ops[48];
    struct sl_runtime *r;
    uint64_t t = 0;
    uint32_t wrong = 0;
    (void)state;
    assert_non_null(out);
    r = open_short(&t, in);
    for (uint32_t i = 0; i < 48; i++)
        assert_int_equal(
            sl_get_begin(r, t, "a", 0, out + i * GET_BYTES, GET_BYTES, &ops[i]),
            0);
    for (uint32_t i = 0; i < 48; i++)
        wrong += sl_wait(&ops[i], LONG_NS) != 0;
    assert_int_equal(wrong, 0);
    for (uint32_t i = 0; i < 48; i++)
        assert_memory_equal(in, out + i * GET_BYTES, GET_BYTES);
    assert_int_equal(sl_close(r), 0);
    remove(SHORT_FILE);
    free(in);
    free(out);
}

static void cancelled_gets_keep_nothing_from_others(void **state)
{
    uint8_t *in = pattern(GET_BYTES, 4), *out = calloc(1, GET_BYTES);
    struct sl_op *ops[40];
    struct sl_runtime *r;
    uint64_t t = 0;
    (void)state;
    assert_non_null(out);
    r = open_short(&t, in);
    for (uint32_t i = 0; i < 40; i++)
        assert_int_equal(sl_get_begin(r, t, "a", 0, out, GET_BYTES, &ops[i]),
                         0);
    for (uint32_t i = 0; i < 40; i++)
        sl_cancel(&ops[i]);
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(sl_get(r, t, "a", 0, out, GET_BYTES, NULL), 0);
    assert_memory_equal(in, out, GET_BYTES);
    assert_int_equal(sl_put(r, t, "b", 0, in, GET_BYTES, NULL), 0);
    assert_int_equal(sl_close(r), 0);
    remove(SHORT_FILE);
    free(in);
    free(out);
}

/* Nobody settles, so only the time ends it: the gets that hold the arena are
 * answered, and the caller has not looked. */
static void a_get_without_chunks_ends(void **state)
{
    uint8_t *in = pattern(GET_BYTES, 4), *out = calloc(1, GET_BYTES);
    struct sl_op *ops[20];
    struct sl_runtime *r;
    uint64_t t = 0, begin;
    uint32_t failed = 0;
    (void)state;
    assert_non_null(out);
    r = open_short(&t, in);
    for (uint32_t i = 0; i < 20; i++)
        assert_int_equal(sl_get_begin(r, t, "a", 0, out, GET_BYTES, &ops[i]),
                         0);
    begin = clock_ns();
    for (uint32_t i = 20; i-- > 10;) /* the last ones first */
        failed += sl_wait(&ops[i], LONG_NS) == SL_ENOMEM;
    assert_in_range(failed, 1, 10);
    assert_in_range(clock_ns() - begin, SECOND_NS / 2u, 50u * SECOND_NS);
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(sl_wait(&ops[i], LONG_NS), 0);
    assert_int_equal(sl_get(r, t, "a", 0, out, GET_BYTES, NULL), 0);
    assert_int_equal(sl_close(r), 0);
    remove(SHORT_FILE);
    free(in);
    free(out);
}

/* ---- a get of one version ---- */

struct writer {
    uint32_t stop; /* atomic */
    int rc;
};

static void *write_versions(void *arg)
{
    struct writer *w = arg;
    uint8_t *data = malloc(5 * MIB);
    struct sl_put_opts o = {
        .size = sizeof(o), .score = -1.0f, .flags = SL_F_REPLACE};
    for (uint32_t i = 0; data && !w->rc; i++) {
        if (__atomic_load_n(&w->stop, __ATOMIC_ACQUIRE))
            break;
        memset(data, (int)(i & 255u), 5 * MIB);
        w->rc = sl_put(rt, tag, "moving", 0, data, 5 * MIB, &o);
        for (uint32_t k = 0; k < 2000; k++)
            sched_yield();
    }
    free(data);
    return NULL;
}

static void a_large_get_is_of_one_version(void **state)
{
    struct writer w = {0, 0};
    uint8_t *out = pattern(5 * MIB, 1);
    pthread_t t;
    (void)state;
    assert_int_equal(sl_put(rt, tag, "moving", 0, out, 5 * MIB, NULL), 0);
    memset(out, 0, 5 * MIB);
    assert_int_equal(sl_put(rt, tag, "moving", 0, out, 5 * MIB, NULL), 0);
    assert_int_equal(pthread_create(&t, NULL, write_versions, &w), 0);
    uint32_t torn = 0, wrong = 0;
    for (uint32_t i = 0; i < 20; i++) {
        int rc = sl_get(rt, tag, "moving", 0, out, 5 * MIB, NULL);
        wrong += rc != 0 && rc != SL_EBUSY;
        torn += rc == 0 && memcmp(out, out + 1, 5 * MIB - 1u) != 0;
    }
    __atomic_store_n(&w.stop, 1u, __ATOMIC_RELEASE);
    pthread_join(t, NULL);
    assert_int_equal(w.rc, 0);
    assert_int_equal(wrong, 0);
    assert_int_equal(torn, 0);
    assert_int_equal(sl_del(rt, tag, "moving"), 0);
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(config_errors_name_the_key),
        cmocka_unit_test(defaults_are_filled_in),
        cmocka_unit_test(names_up_to_255_bytes_work),
        cmocka_unit_test(wrong_arguments_are_refused),
        cmocka_unit_test(bytes_come_back_from_inline_to_many_windows),
        cmocka_unit_test(a_range_past_the_end_reads_nothing_and_tells_the_size),
        cmocka_unit_test(a_listing_has_every_blob_once),
        cmocka_unit_test(stat_tells_what_a_put_said),
        cmocka_unit_test(futures_carry_puts_and_gets),
        cmocka_unit_test(wait_any_tells_which_future_ended),
        cmocka_unit_test(cancelled_futures_give_their_slots_back),
        cmocka_unit_test(a_future_may_outlive_the_runtime),
        cmocka_unit_test(gets_wait_for_each_others_chunks),
        cmocka_unit_test(cancelled_gets_keep_nothing_from_others),
        cmocka_unit_test(a_get_without_chunks_ends),
        cmocka_unit_test(a_large_get_is_of_one_version),
    };
    return cmocka_run_group_tests(tests, open_runtime, close_runtime);
}
