/* SPDX-License-Identifier: Apache-2.0 */
/* Futures of the calls that a thread makes: listings, queries, tag_stat and
 * targets. */
#include "runtime_help.h"

#define BLOBS 300u
#define PIECE 128u

static struct sl_runtime *rt;
static uint64_t tag;

static int open_runtime(void **state)
{
    struct sl_config c = runtime_config();
    (void)state;
    c.lanes = 3;
    if (sl_open(&c, &rt) || sl_tag(rt, "calls", &tag))
        return -1;
    for (uint32_t i = 0; i < BLOBS; i++) {
        char name[16];
        snprintf(name, sizeof(name), "blob-%u", i);
        if (sl_put(rt, tag, name, 0, name, 8, NULL))
            return -1;
    }
    return 0;
}

static int close_runtime(void **state)
{
    (void)state;
    return sl_close(rt);
}

static void listings_come_in_pieces(void **state)
{
    static struct sl_entry e[PIECE];
    struct sl_cursor c = {0};
    uint8_t seen[BLOBS] = {0};
    uint32_t all = 0;
    size_t got = 0;
    struct sl_op *op;
    (void)state;
    while (!c.ended) {
        struct sl_cursor before = c;
        assert_int_equal(sl_list_next_begin(rt, tag, &c, e, PIECE, &got, &op),
                         0);
        assert_int_equal(op_end(op), 0);
        assert_true(got == PIECE || c.ended);
        assert_true(memcmp(&before, &c, sizeof(c)) != 0);
        for (size_t i = 0; i < got; i++, all++) {
            unsigned at = BLOBS;
            assert_int_equal(sscanf(e[i].name, "blob-%u", &at), 1);
            assert_in_range(at, 0, BLOBS - 1u);
            assert_int_equal(e[i].value, 8);
            assert_int_equal(seen[at]++, 0);
        }
    }
    assert_int_equal(all, BLOBS);
    c = (struct sl_cursor){0};
    assert_int_equal(sl_list_tags_next_begin(rt, &c, e, 9, &got, &op), 0);
    assert_int_equal(op_end(op), 0);
    assert_int_equal(got, 1);
    assert_string_equal(e[0].name, "calls");
    assert_int_equal(e[0].value, tag);
}

static int count_match(void *user, const struct sl_match *m)
{
    if (m->tag != tag) /* no assertion on another thread */
        return 78;
    return ++*(uint32_t *)user == 7u ? 77 : 0;
}

static void queries_call_back_and_count(void **state)
{
    char pattern[16] = "^blob-1..$";
    struct sl_query q = {.size = sizeof(q), .blob = pattern};
    uint64_t total = 0;
    uint32_t calls = 0;
    struct sl_op *op;
    (void)state;
    q.limit = 5;
    assert_int_equal(sl_query_begin(rt, &q, count_match, &calls, &total, &op),
                     0);
    memset(pattern, '(', sizeof(pattern)); /* it is not used any more */
    assert_int_equal(op_end(op), 0);
    assert_int_equal(total, 100);
    assert_int_equal(calls, 5);
    /* The callback's word is the result, a bad pattern's code too. */
    q.blob = "blob";
    q.limit = 0;
    total = 4;
    calls = 0;
    assert_int_equal(sl_query_begin(rt, &q, count_match, &calls, &total, &op),
                     0);
    assert_int_equal(op_end(op), 77);
    assert_int_equal(calls, 7);
    assert_int_equal(total, 4);
    q.blob = "(";
    assert_int_equal(sl_query_begin(rt, &q, NULL, NULL, &total, &op), 0);
    assert_int_equal(op_end(op), SL_EPATTERN);
    assert_int_equal(total, 4);
    q.blob = NULL;
    assert_int_equal(sl_query_begin(rt, &q, NULL, NULL, &total, &op), 0);
    assert_int_equal(op_end(op), 0);
    assert_int_equal(total, 1);
}

static void a_tag_is_told(void **state)
{
    struct sl_tag_stat s = {.id = 3};
    struct sl_op *op;
    (void)state;
    assert_int_equal(sl_tag_stat_begin(rt, tag, &s, &op), 0);
    assert_int_equal(op_end(op), 0);
    assert_string_equal(s.name, "calls");
    assert_int_equal(s.blobs, BLOBS);
    s.id = 3;
    assert_int_equal(sl_tag_stat_begin(rt, tag + 1u, &s, &op), 0);
    assert_int_equal(op_end(op), SL_ENOTAG);
    assert_int_equal(s.id, 3);
}

/* Beside futures of one task, and waited for together with them. */
static void targets_come_and_go(void **state)
{
    char name[8] = "more";
    struct sl_target_opts o = {.size = sizeof(o),
                               .name = name,
                               .kind = "ram",
                               .capacity = 8u * MIB,
                               .score = 0.3f};
    struct sl_target_info info[SL_TARGETS_MAX];
    struct sl_op *op[3] = {NULL};
    uint64_t size = 0;
    uint32_t id = 0;
    size_t which;
    (void)state;
    int n = sl_targets(rt, info, SL_TARGETS_MAX);
    assert_int_equal(sl_size_begin(rt, tag, "blob-1", &size, &op[0]), 0);
    assert_int_equal(sl_target_add_begin(rt, &o, &id, &op[2]), 0);
    memset(name, 'x', sizeof(name) - 1u);
    for (uint32_t i = 0; i < 2u; i++)
        assert_int_equal(sl_wait_any(op, 3, LONG_NS, &which), 0);
    assert_int_equal(size, 8);
    assert_int_equal(sl_targets(rt, info, SL_TARGETS_MAX), n + 1);
    assert_int_equal(info[n].id, id);
    assert_string_equal(info[n].name, "more");
    assert_int_equal(sl_target_set_score_begin(rt, "more", 0.25f, &op[0]), 0);
    assert_int_equal(op_end(op[0]), 0);
    assert_int_equal(sl_targets(rt, info, SL_TARGETS_MAX), n + 1);
    assert_true(info[n].score == 0.25);
    assert_int_equal(sl_target_set_score_begin(rt, "more", 2.0f, &op[0]), 0);
    assert_int_equal(op_end(op[0]), SL_ESCORE);
    assert_int_equal(sl_target_remove_begin(rt, "more", &op[0]), 0);
    assert_int_equal(op_end(op[0]), 0);
    assert_int_equal(sl_target_remove_begin(rt, "more", &op[0]), 0);
    assert_int_equal(op_end(op[0]), SL_ENOTARGET);
    assert_int_equal(sl_targets(rt, info, SL_TARGETS_MAX), n);
}

static void wrong_arguments_begin_nothing(void **state)
{
    struct sl_query q = {.size = sizeof(q)}, bad = {.size = 3};
    struct sl_target_opts o = {.size = 3};
    struct sl_cursor c = {0};
    struct sl_entry e;
    struct sl_op *op = NULL;
    size_t got;
    (void)state;
    assert_int_equal(sl_list_next_begin(rt, tag, &c, &e, 0, &got, &op),
                     SL_EINVAL);
    assert_int_equal(sl_list_next_begin(rt, tag, &c, NULL, 1, &got, &op),
                     SL_EINVAL);
    assert_int_equal(sl_list_next_begin(NULL, tag, &c, &e, 1, &got, &op),
                     SL_EINVAL);
    assert_int_equal(sl_list_tags_next_begin(rt, NULL, &e, 1, &got, &op),
                     SL_EINVAL);
    assert_int_equal(sl_query_begin(rt, &bad, NULL, NULL, NULL, &op),
                     SL_EINVAL);
    assert_int_equal(sl_query_begin(rt, &q, NULL, NULL, NULL, NULL), SL_EINVAL);
    assert_int_equal(sl_tag_stat_begin(rt, tag, NULL, &op), SL_EINVAL);
    assert_int_equal(sl_target_add_begin(rt, &o, NULL, &op), SL_EINVAL);
    assert_int_equal(sl_target_remove_begin(rt, NULL, &op), SL_EINVAL);
    assert_int_equal(sl_target_set_score_begin(NULL, "x", 0.5f, &op),
                     SL_EINVAL);
    assert_null(op);
}

/* ---- giving up ---- */

/* The first call waits until the test lets it go. */
struct held {
    uint32_t calls, in, go, out; /* atomic */
};

static int hold_match(void *user, const struct sl_match *m)
{
    struct held *h = user;
    (void)m;
    __atomic_fetch_add(&h->calls, 1u, __ATOMIC_ACQ_REL);
    __atomic_store_n(&h->in, 1u, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&h->go, __ATOMIC_ACQUIRE))
        usleep(1000);
    __atomic_fetch_add(&h->out, 1u, __ATOMIC_ACQ_REL);
    return 0;
}

static void wait_for(const uint32_t *word)
{
    int there = 0;
    for (uint32_t i = 0; i < 60000u && !there; i++) {
        usleep(1000);
        there = __atomic_load_n(word, __ATOMIC_ACQUIRE) != 0; /* hold_match's */
    }
    assert_true(there);
}

static void *let_go_later(void *arg)
{
    usleep(20000);
    __atomic_store_n((uint32_t *)arg, 1u, __ATOMIC_RELEASE);
    return NULL;
}

static void a_cancelled_query_calls_nobody(void **state)
{
    struct sl_query q = {.size = sizeof(q), .blob = "blob"};
    struct held h = {0};
    uint64_t total = 5;
    pthread_t thread;
    struct sl_op *op;
    (void)state;
    assert_int_equal(sl_query_begin(rt, &q, hold_match, &h, &total, &op), 0);
    wait_for(&h.in);
    assert_int_equal(sl_test(&op), SL_EAGAIN);
    assert_int_equal(sl_wait(&op, 1000000), SL_ETIMEDOUT);
    assert_int_equal(pthread_create(&thread, NULL, let_go_later, &h.go), 0);
    sl_cancel(&op); /* waits for the call that has begun */
    assert_null(op);
    uint32_t calls = __atomic_load_n(&h.calls, __ATOMIC_ACQUIRE);
    assert_int_equal(__atomic_load_n(&h.out, __ATOMIC_ACQUIRE), calls);
    assert_int_equal(pthread_join(thread, NULL), 0);
    usleep(20000);
    assert_int_equal(__atomic_load_n(&h.calls, __ATOMIC_ACQUIRE), calls);
    assert_int_equal(total, 5);
}

static void a_cancelled_listing_writes_nothing(void **state)
{
    struct sl_cursor c = {0}, none = {0};
    static struct sl_entry e[BLOBS], untouched[BLOBS];
    size_t got = 9;
    (void)state;
    memset(e, 0x5a, sizeof(e));
    memset(untouched, 0x5a, sizeof(untouched));
    for (uint32_t i = 0; i < 50u; i++) {
        struct sl_op *op;
        assert_int_equal(sl_list_next_begin(rt, tag, &c, e, BLOBS, &got, &op),
                         0);
        if (i % 2u)
            usleep(200);
        sl_cancel(&op);
        assert_null(op);
    }
    usleep(100000); /* those that go on have ended, or nearly */
    assert_int_equal(got, 9);
    assert_memory_equal(&c, &none, sizeof(c));
    assert_memory_equal(e, untouched, sizeof(e));
}

static int nothing(void *user, const struct sl_match *m)
{
    (void)user;
    (void)m;
    return 0;
}

/* Futures outlive their runtime, and its end waits for no callback. */
static void the_runtime_may_close_first(void **state)
{
    struct sl_query q = {.size = sizeof(q), .blob = "blob"};
    struct sl_config c = runtime_config();
    struct held h = {0};
    uint64_t own;
    (void)state;
    for (uint32_t i = 0; i < 4u; i++) {
        struct sl_runtime *one;
        struct sl_op *op[3];
        h = (struct held){0};
        assert_int_equal(sl_open(&c, &one), 0);
        assert_int_equal(sl_tag(one, "t", &own), 0);
        for (uint32_t k = 0; k < 8u; k++) {
            char name[8] = "blob-0";
            name[5] = (char)('0' + k);
            assert_int_equal(sl_put(one, own, name, 0, name, 3, NULL), 0);
        }
        assert_int_equal(sl_query_begin(one, &q, hold_match, &h, NULL, &op[0]),
                         0);
        for (uint32_t k = 1; k < 3u; k++)
            assert_int_equal(
                sl_query_begin(one, &q, nothing, NULL, NULL, &op[k]), 0);
        wait_for(&h.in);
        assert_int_equal(sl_close(one), 0);
        __atomic_store_n(&h.go, 1u, __ATOMIC_RELEASE);
        int rc = op_end(op[0]);
        assert_true(rc == SL_EDEAD || rc == 0);
        rc = op_end(op[1]);
        assert_true(rc == SL_EDEAD || rc == 0);
        sl_cancel(&op[2]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listings_come_in_pieces),
        cmocka_unit_test(queries_call_back_and_count),
        cmocka_unit_test(a_tag_is_told),
        cmocka_unit_test(targets_come_and_go),
        cmocka_unit_test(wrong_arguments_begin_nothing),
        cmocka_unit_test(a_cancelled_query_calls_nobody),
        cmocka_unit_test(a_cancelled_listing_writes_nothing),
        cmocka_unit_test(the_runtime_may_close_first),
    };
    return cmocka_run_group_tests(tests, open_runtime, close_runtime);
}
