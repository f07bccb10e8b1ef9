/* SPDX-License-Identifier: Apache-2.0 */
/* A disk that does not answer: what is to be durable waits, all else goes on,
 * and the table of targets says so. */
#include "fault_tiers.h"
#include "target_help.h"

struct late {
    struct sl_runtime *rt;
    uint64_t tag;
    int rc, ended; /* atomic: ended */
};

/* Few bytes: the log has them, and the committer writes them when it empties
 * the log. */
static void *put_and_flush(void *arg)
{
    struct late *l = arg;
    l->rc = put(l->rt, l->tag, 1, 4096, NO_SCORE, 2);
    if (!l->rc)
        l->rc = sl_flush(l->rt);
    __atomic_store_n(&l->ended, 1, __ATOMIC_RELEASE);
    return NULL;
}

static int state_is(struct sl_runtime *rt, const char *state)
{
    uint64_t until = clock_ns() + UINT64_C(20000000000);
    struct sl_target_info info;
    do
        info = info_of(rt, "file");
    while (strcmp(info.state, state) != 0 && clock_ns() < until);
    return !strcmp(info.state, state);
}

static void a_slow_disk_holds_up_what_must_be_on_it_alone(void **state)
{
    (void)state;
    char dir[64];
    struct sl_config c = no_eviction();
    struct late l = {0};
    pthread_t th;
    make_dir(dir, sizeof(dir));
    c.data_dir = dir;
    c.file_bytes = 16 * MIB;
    c.ram_bytes = 8 * MIB;
    n_tiers = 0;
    struct sl_runtime *rt = open_store(&c);
    l.rt = rt;
    l.tag = tag_of(rt, "t");
    assert_int_equal(put(rt, l.tag, 1, 4096, NO_SCORE, 2), 0);
    assert_string_equal(info_of(rt, "file").state, "active");
    tiers_pass(0);
    assert_int_equal(pthread_create(&th, NULL, put_and_flush, &l), 0);
    assert_true(state_is(rt, "slow"));
    assert_int_equal(put(rt, l.tag, 2, 100000, 1.0f, 0), 0);
    assert_int_equal(check(rt, l.tag, 2, 100000), 0);
    assert_int_equal(add(rt, "new", "ram", NULL, MIB, 0.5f), SL_EBUSY);
    assert_int_equal(sl_target_set_score(rt, "ram", 0.6f), 0);
    assert_int_equal(__atomic_load_n(&l.ended, __ATOMIC_ACQUIRE), 0);
    tiers_pass(FAULT_ALL);
    assert_int_equal(pthread_join(th, NULL), 0);
    assert_int_equal(l.rc, 0);
    assert_true(state_is(rt, "active"));
    assert_int_equal(add(rt, "new", "ram", NULL, MIB, 0.5f), 0);
    assert_int_equal(sl_target_remove(rt, "new"), 0);
    assert_int_equal(sl_close(rt), 0);
    remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_disk_holds_up_what_must_be_on_it_alone),
    };
    return cmocka_run_group_tests_name("slow targets", tests, NULL, NULL);
}
