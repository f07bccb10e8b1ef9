/* SPDX-License-Identifier: Apache-2.0 */
/* Futures of the calls that are one task, and errors that come at once. */
#include "runtime_help.h"

static struct sl_runtime *rt;

static int open_runtime(void **state)
{
    struct sl_config c = runtime_config();
    (void)state;
    c.lanes = 3;
    c.depth = 64;
    return sl_open(&c, &rt);
}

static int close_runtime(void **state)
{
    (void)state;
    return sl_close(rt);
}

static void each_call_has_a_future(void **state)
{
    struct sl_op *op;
    struct sl_stat st;
    uint64_t tag = 0, found = 0, size = 0, blobs = 0;
    (void)state;
    assert_int_equal(sl_tag_begin(rt, "futures", &tag, &op), 0);
    assert_int_equal(op_end(op), 0);
    assert_int_not_equal(tag, 0);
    assert_int_equal(sl_tag_find_begin(rt, "futures", &found, &op), 0);
    assert_int_equal(op_end(op), 0);
    assert_int_equal(found, tag);
    assert_int_equal(sl_put(rt, tag, "a", 0, "12345", 5, NULL), 0);
    assert_int_equal(sl_size_begin(rt, tag, "a", &size, &op), 0);
    assert_int_equal(op_end(op), 0);
    assert_int_equal(size, 5);
    assert_int_equal(sl_stat_begin(rt, tag, "a", &st, &op), 0);
    assert_int_equal(op_end(op), 0);
    assert_int_equal(st.size, 5);
    assert_int_equal(st.version, 1);
    assert_int_equal(sl_score_begin(rt, tag, "a", 0.5f, &op), 0);
    assert_int_equal(op_end(op), 0);
    assert_int_equal(sl_stat(rt, tag, "a", &st), 0);
    assert_int_equal(st.score, SL_SCORE_ONE / 2u);
    assert_int_equal(sl_rename_begin(rt, tag, "a", tag, "b", 0, &op), 0);
    assert_int_equal(op_end(op), 0);
    assert_int_equal(sl_tag_size_begin(rt, tag, &size, &blobs, &op), 0);
    assert_int_equal(op_end(op), 0);
    assert_int_equal(size, 5);
    assert_int_equal(blobs, 1);
    assert_int_equal(sl_tag_size_begin(rt, tag, NULL, NULL, &op), 0);
    assert_int_equal(op_end(op), 0);
    assert_int_equal(sl_flush_begin(rt, &op), 0);
    assert_int_equal(op_end(op), 0);
    assert_int_equal(sl_del_begin(rt, tag, "b", &op), 0);
    assert_int_equal(op_end(op), 0);
    assert_int_equal(sl_tag_rename_begin(rt, tag, "past", &op), 0);
    assert_int_equal(op_end(op), 0);
    assert_int_equal(sl_tag_del_begin(rt, tag, &op), 0);
    assert_int_equal(op_end(op), 0);
    assert_int_equal(sl_tag_find(rt, "past", &found), SL_ENOTAG);
}

static void results_that_are_errors_leave_the_answer_alone(void **state)
{
    struct sl_op *op;
    struct sl_stat st;
    uint64_t tag, value = 77;
    (void)state;
    assert_int_equal(sl_tag(rt, "errors", &tag), 0);
    memset(&st, 7, sizeof(st));
    assert_int_equal(sl_size_begin(rt, tag, "none", &value, &op), 0);
    assert_int_equal(op_end(op), SL_ENOENT);
    assert_int_equal(sl_tag_find_begin(rt, "none", &value, &op), 0);
    assert_int_equal(op_end(op), SL_ENOTAG);
    assert_int_equal(sl_tag_size_begin(rt, 1, &value, NULL, &op), 0);
    assert_int_equal(op_end(op), SL_ENOTAG);
    assert_int_equal(sl_stat_begin(rt, tag, "none", &st, &op), 0);
    assert_int_equal(op_end(op), SL_ENOENT);
    assert_int_equal(sl_score_begin(rt, tag, "none", 1.0f, &op), 0);
    assert_int_equal(op_end(op), SL_ENOENT);
    assert_int_equal(sl_rename_begin(rt, tag, "none", tag, "b", 0, &op), 0);
    assert_int_equal(op_end(op), SL_ENOENT);
    assert_int_equal(value, 77);
    assert_int_equal(st.size, UINT64_C(0x0707070707070707));
}

static void wrong_arguments_begin_nothing(void **state)
{
    struct sl_op *op = NULL;
    struct sl_stat st;
    uint64_t v;
    (void)state;
    assert_int_equal(sl_tag_begin(rt, "", &v, &op), SL_ENONAME);
    assert_int_equal(sl_tag_begin(NULL, "x", &v, &op), SL_EINVAL);
    assert_int_equal(sl_size_begin(rt, 1, NULL, &v, &op), SL_EINVAL);
    assert_int_equal(sl_del_begin(rt, 1, "x", NULL), SL_EINVAL);
    assert_int_equal(sl_stat_begin(rt, 1, "x", NULL, &op), SL_EINVAL);
    assert_int_equal(sl_stat_begin(rt, 1, "", &st, &op), SL_ENONAME);
    assert_int_equal(sl_rename_begin(rt, 1, "x", 1, "", 0, &op), SL_ENONAME);
    assert_int_equal(sl_rename_begin(rt, 1, "x", 1, "y", 2, &op), SL_EINVAL);
    assert_int_equal(sl_score_begin(rt, 1, "x", 1.01f, &op), SL_ESCORE);
    assert_int_equal(sl_score_begin(rt, 1, "", 1.0f, &op), SL_ENONAME);
    assert_int_equal(sl_score_begin(NULL, 1, "x", 1.0f, &op), SL_EINVAL);
    assert_int_equal(sl_flush_begin(NULL, &op), SL_EINVAL);
    assert_null(op);
}

#define MANY 40u

static void many_are_waited_for_in_any_order(void **state)
{
    struct sl_op *ops[MANY];
    uint64_t tag, sizes[MANY] = {0};
    char name[16];
    unsigned ended = 0;
    (void)state;
    assert_int_equal(sl_tag(rt, "many", &tag), 0);
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "m%u", i);
        assert_int_equal(sl_put(rt, tag, name, 0, name, i % 3u + 1u, NULL), 0);
        assert_int_equal(sl_size_begin(rt, tag, name, &sizes[i], &ops[i]), 0);
    }
    for (; ended < MANY; ended++) {
        size_t which = MANY;
        assert_int_equal(sl_wait_any(ops, MANY, LONG_NS, &which), 0);
        assert_int_equal(sizes[which], which % 3u + 1u);
        assert_null(ops[which]);
    }
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "m%u", i);
        assert_int_equal(sl_del_begin(rt, tag, name, &ops[i]), 0);
        sl_cancel(&ops[i]);
        assert_null(ops[i]);
    }
}

/* ---- when all slots are taken ---- */

#define SLOTS 32u
#define TIMEOUT_NS (10u * SECOND_NS)

/* op[0] is left for others; the rest are puts that have ended, perhaps, but
 * that nobody has waited for. */
static void take_all_slots(struct sl_runtime *one, uint64_t tag,
                           struct sl_op *op[SLOTS + 1u])
{
    for (uint32_t i = 1; i <= SLOTS; i++) {
        char name[16];
        snprintf(name, sizeof(name), "s%u", i);
        assert_int_equal(sl_put_begin(one, tag, name, 0, name, 2, NULL, &op[i]),
                         0);
    }
}

static void get_waits_for_a_slot_as_it_is_told(const char *name)
{
    struct sl_op *op[SLOTS + 1u];
    struct sl_config c = runtime_config();
    uint64_t tag, begun, took;
    size_t which = 0;
    char got[6] = {0};
    c.lanes = 1;
    c.depth = SLOTS;
    c.timeout_ns = TIMEOUT_NS;
    struct sl_runtime *one = runtime_open(&c);
    assert_int_equal(sl_tag(one, "t", &tag), 0);
    assert_int_equal(sl_put(one, tag, name, 0, "12345", 6, NULL), 0);
    take_all_slots(one, tag, op);
    begun = slp_now();
    assert_int_equal(sl_get_begin(one, tag, name, 0, got, 6, &op[0]), 0);
    assert_int_equal(sl_test(&op[0]), SL_EAGAIN);
    assert_int_equal(sl_wait(&op[0], 1000000), SL_ETIMEDOUT);
    assert_int_equal(sl_wait_any(op, 1, 1000000, &which), SL_ETIMEDOUT);
    assert_int_equal(sl_wait_any(op, SLOTS + 1u, LONG_NS, &which), 0);
    took = slp_now() - begun;
    assert_true(took < TIMEOUT_NS);
    assert_int_not_equal(which, 0);
    assert_int_equal(sl_wait(&op[0], LONG_NS), 0);
    assert_string_equal(got, "12345");
    for (uint32_t i = 1; i <= SLOTS; i++)
        if (op[i])
            assert_int_equal(op_end(op[i]), 0);
    assert_int_equal(slots_in_use(&one->host->handle), 0);
    assert_int_equal(sl_close(one), 0);
}

static void gets_wait_for_a_slot_as_they_are_told(void **state)
{
    char name[SL_NAME_MAX + 1u];
    (void)state;
    get_waits_for_a_slot_as_it_is_told("short");
    memset(name, 'n', SL_NAME_MAX);
    name[SL_NAME_MAX] = 0;
    get_waits_for_a_slot_as_it_is_told(name);
}

/* The side chunk of a long name is under way, or the get is. */
static void gets_that_begin_are_cancelled(void **state)
{
    struct sl_op *op[SLOTS + 1u];
    struct sl_config c = runtime_config();
    char name[SL_NAME_MAX + 1u], got[4];
    uint64_t tag;
    (void)state;
    memset(name, 'n', SL_NAME_MAX);
    name[SL_NAME_MAX] = 0;
    c.lanes = 1;
    c.depth = SLOTS;
    struct sl_runtime *one = runtime_open(&c);
    assert_int_equal(sl_tag(one, "t", &tag), 0);
    for (uint32_t i = 0; i < 2u * SLOTS; i++) {
        assert_int_equal(sl_get_begin(one, tag, name, 0, got, 4, &op[0]), 0);
        sl_cancel(&op[0]);
    }
    take_all_slots(one, tag, op);
    assert_int_equal(sl_get_begin(one, tag, name, 0, got, 4, &op[0]), 0);
    sl_cancel(&op[0]);
    for (uint32_t i = 1; i <= SLOTS; i++)
        assert_int_equal(op_end(op[i]), 0);
    assert_int_equal(sl_get(one, tag, name, 0, got, 4, NULL), SL_ENOENT);
    assert_int_equal(sl_close(one), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_call_has_a_future),
        cmocka_unit_test(results_that_are_errors_leave_the_answer_alone),
        cmocka_unit_test(wrong_arguments_begin_nothing),
        cmocka_unit_test(many_are_waited_for_in_any_order),
        cmocka_unit_test(gets_wait_for_a_slot_as_they_are_told),
        cmocka_unit_test(gets_that_begin_are_cancelled),
    };
    return cmocka_run_group_tests(tests, open_runtime, close_runtime);
}
