/* SPDX-License-Identifier: Apache-2.0 */
/* Option structs of other versions of the header: one rule for all of them. */
#include "runtime_help.h"

#include "base/opts.h"
#include "sluice/pages.h"

/* Bytes that a later header adds. */
#define LATER 16u

static struct sl_runtime *rt;
static uint64_t tag;
static void *kept[4]; /* modules, which stay until the runtime is closed */
static unsigned n_kept;

static int open_runtime(void **state)
{
    struct sl_config c = runtime_config();
    (void)state;
    return sl_open(&c, &rt) ? -1 : sl_tag(rt, "t", &tag);
}

static int close_runtime(void **state)
{
    (void)state;
    int rc = sl_close(rt);
    while (n_kept)
        free(kept[--n_kept]);
    return rc;
}

/* ---- the calls ---- */

static int call_open(const void *o)
{
    struct sl_runtime *other;
    int rc = sl_open(o, &other);
    return rc ? rc : sl_close(other);
}

static int call_put(const void *o)
{
    return sl_put(rt, tag, "b", 0, "1234", 4, o);
}

static int call_put_begin(const void *o)
{
    struct sl_op *op;
    int rc = sl_put_begin(rt, tag, "b", 0, "1234", 4, o, &op);
    return rc ? rc : sl_wait(&op, LONG_NS);
}

static int call_query(const void *o)
{
    uint64_t total = 0;
    int rc = sl_query(rt, o, NULL, NULL, &total);
    assert_int_equal(total, rc ? 0 : 1);
    return rc;
}

static int call_target(const void *o)
{
    int rc = sl_target_add(rt, o, NULL);
    return rc ? rc : sl_target_remove(rt, "more");
}

static int call_fsck(const void *o)
{
    struct sl_fsck_report report;
    return sl_fsck(o, &report);
}

static int call_pages(const void *o)
{
    struct sl_pages *p;
    int rc = sl_pages_open(o, &p);
    if (!rc)
        sl_pages_close(p);
    return rc;
}

static int answer(struct sl_task *t, void *container)
{
    (void)container;
    sl_task_result(t)->v[0] = 42;
    return 0;
}

static int call_module(const void *o)
{
    static unsigned made;
    struct sl_result res = {{0}};
    char name[16];
    uint32_t pool;
    int rc;
    snprintf(name, sizeof(name), "pool-%u", made++);
    rc = sl_pool_create(rt, name, o, &pool);
    if (rc)
        return rc;
    assert_int_equal(sl_task(rt, pool, 0, 0, "x", 1, &res), 0);
    assert_int_equal(res.v[0], 42);
    return 0;
}

/* ---- the structs ---- */

static int (*const methods[])(struct sl_task *, void *) = {answer};
static struct sl_config config;
static const struct sl_put_opts put = {.score = -1.0f};
static const struct sl_query query = {.tag = "^t$"};
static const struct sl_target_opts target = {
    .name = "more", .kind = "ram", .capacity = 1u << 20};
static const struct sl_fsck_opts fsck = {.dir = "/dev/null"};
static const struct sl_pages_opts pages = {.device = "cpu", .threads = 1};
static const struct sl_module module = {.n_methods = 1, .methods = methods};

/* `early`: bytes of an earlier header, whose rest is zero here. */
static const struct {
    const char *name;
    const void *opts;
    size_t bytes, early;
    int (*call)(const void *o);
    int good, bad; /* codes */
} kinds[] = {
    {"config", &config, sizeof(config), offsetof(struct sl_config, events),
     call_open, 0, SL_ECONFIG},
    {"put", &put, sizeof(put), offsetof(struct sl_put_opts, result), call_put,
     0, SL_EINVAL},
    {"put_begin", &put, sizeof(put), offsetof(struct sl_put_opts, result),
     call_put_begin, 0, SL_EINVAL},
    {"query", &query, sizeof(query), offsetof(struct sl_query, blob),
     call_query, 0, SL_EINVAL},
    {"target", &target, sizeof(target), offsetof(struct sl_target_opts, score),
     call_target, 0, SL_EINVAL},
    {"fsck", &fsck, sizeof(fsck), offsetof(struct sl_fsck_opts, drop),
     call_fsck, SL_ENOTDIR, SL_EINVAL},
    {"pages", &pages, sizeof(pages), offsetof(struct sl_pages_opts, timeout_ns),
     call_pages, 0, SL_EINVAL},
    {"module", &module, sizeof(module), offsetof(struct sl_module, create),
     call_module, 0, SL_EINVAL},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* The struct as a caller whose sizeof is `size` has it: no byte more. `last`:
 * the value of its last byte, beyond this version. */
static int call_sized(size_t kind, size_t size, uint8_t last)
{
    size_t known = kinds[kind].bytes, room = size < 8u ? 8u : size;
    uint8_t *o = calloc(1, room);
    assert_non_null(o);
    memcpy(o, kinds[kind].opts, room < known ? room : known);
    memcpy(o, &size, sizeof(size));
    if (last)
        o[size - 1u] = last;
    int rc = kinds[kind].call(o);
    if (kinds[kind].call == call_module && !rc)
        kept[n_kept++] = o;
    else
        free(o);
    return rc;
}

static void each_struct_may_be_of_another_version(void **state)
{
    (void)state;
    config = runtime_config();
    for (size_t i = 0; i < KINDS; i++) {
        size_t n = kinds[i].bytes;
        print_message("%s\n", kinds[i].name);
        assert_int_equal(call_sized(i, n, 0), kinds[i].good);
        assert_int_equal(call_sized(i, kinds[i].early, 0), kinds[i].good);
        assert_int_equal(call_sized(i, n + LATER, 0), kinds[i].good);
        assert_int_equal(call_sized(i, n + LATER, 1), kinds[i].bad);
        assert_int_equal(call_sized(i, n - 4u, 0), kinds[i].bad);
        assert_int_equal(call_sized(i, 0, 0), kinds[i].bad);
        assert_int_equal(call_sized(i, OPTS_MAX + 8u, 0), kinds[i].bad);
    }
}

/* What lies behind an earlier header's struct is not the library's. */
static void what_is_behind_a_short_struct_is_not_read(void **state)
{
    struct sl_result res = {{77}};
    int path = 77;
    struct sl_put_opts o = {.size = offsetof(struct sl_put_opts, result),
                            .score = -1.0f,
                            .result = &res,
                            .path = &path};
    (void)state;
    assert_int_equal(call_put(&o), 0);
    assert_int_equal(call_put_begin(&o), 0);
    assert_int_equal(res.v[0], 77);
    assert_int_equal(path, 77);
    o.size = sizeof(o) - sizeof(o.path);
    assert_int_equal(call_put(&o), 0);
    assert_int_equal(call_put_begin(&o), SL_EINVAL);
    assert_int_equal(res.v[0], 4);
    assert_int_equal(path, 77);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_struct_may_be_of_another_version),
        cmocka_unit_test(what_is_behind_a_short_struct_is_not_read),
    };
    return cmocka_run_group_tests(tests, open_runtime, close_runtime);
}
