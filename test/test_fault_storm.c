/* SPDX-License-Identifier: Apache-2.0 */
/* Targets that fail at random under the players of the model, and targets that
 * are slow: what fails changes nothing, what waits ends whole. */
#include "fault_tiers.h"
#include "model.h"
#include "space_check.h"
#include "store_help.h"

#include <time.h>

#define STEPS_USUAL UINT64_C(50000)

/* ---- faults at random ---- */

struct saboteur {
    pthread_t thread;
    uint64_t random;
    int stop; /* atomic */
    uint64_t armed;
};

/* Lets it strike, or not, if nobody asks the tier for that meanwhile. */
static void await_strike(const struct saboteur *s, struct tier *t,
                         enum fault_op op, uint64_t nth)
{
    const struct timespec nap = {0, 200000};
    uint64_t seen = fault_seen(t, op), end = clock_ns() + 20000000u;
    while (fault_seen(t, op) < seen + nth && clock_ns() < end &&
           !__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE))
        nanosleep(&nap, NULL); /* what strikes does not depend on it */
}

static void arm_one(struct saboteur *s)
{
    static const struct fault_rule rules[] = {
        {.times = 1, .code = SL_EIO},
        {.times = 3, .code = SL_EIO, .torn = 4000},
        {.times = 2, .code = SL_ENOSPC},
        {.times = 1, .code = SL_EIO, .torn = 1},
    };
    uint64_t x = test_random(&s->random);
    struct fault_rule r = rules[(x >> 8) % 4u];
    enum fault_op op = (enum fault_op)((x >> 16) % FAULT_OPS);
    r.nth = 1u + (x >> 24) % 10u;
    if (op == FAULT_FLUSH) { /* it costs 100 ms until changes are taken again */
        if ((x >> 32) % 64u)
            return;
        r.times = 1;
    }
    if (op == FAULT_ALLOC || op == FAULT_FLUSH)
        r.torn = 0;
    fault_arm(tiers[x % n_tiers], op, r);
    s->armed++;
    await_strike(s, tiers[x % n_tiers], op, r.nth);
}

static void *sabotage(void *arg)
{
    struct saboteur *s = arg;
    while (!__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE))
        arm_one(s);
    return NULL;
}

struct mix {
    const char *name;
    int pinned, ram, file, directory;
    unsigned per_cent;
};

static const struct mix mixes[] = {
    {"ram", 0, 1, 0, 0, 30},
    {"pinned ram file", 1, 1, 1, 0, 50},
    {"directory", 0, 0, 0, 1, 8},
    {"directory pinned ram", 1, 1, 0, 1, 12},
};

static struct sl_config config_of(const struct mix *m, const char *dir,
                                  const char *file)
{
    struct sl_config c = small_config();
    c.pinned_bytes = m->pinned ? MIB : SL_NONE;
    c.ram_bytes = m->ram ? 16 * MIB : 0;
    c.file_bytes = m->file || m->directory ? 64 * MIB : 0;
    c.file_path = m->file ? file : NULL;
    c.data_dir = m->directory ? dir : NULL;
    c.depth = 32;
    return c;
}

static struct sl_device *open_world(struct model_world *w,
                                    const struct sl_config *c)
{
    struct sl_device *d = NULL;
    n_tiers = 0;
    w->rt = open_store(c);
    assert_int_equal(sl_device_open(w->rt, "host", &d), 0);
    w->dev = *sl_device_handle(d);
    return d;
}

/* Returns how many calls failed: where few steps are made, none may. */
static uint64_t play_under_faults(struct model_world *w, struct model_player *p,
                                  uint64_t seed, uint64_t steps)
{
    struct saboteur s = {.random = seed};
    assert_int_equal(pthread_create(&s.thread, NULL, sabotage, &s), 0);
    int good = model_round(w, p, steps / MODEL_PLAYERS, 0);
    __atomic_store_n(&s.stop, 1, __ATOMIC_RELEASE);
    assert_int_equal(pthread_join(s.thread, NULL), 0);
    tiers_disarm();
    assert_true(good);
    uint64_t hit = 0, made = 0;
    for (unsigned i = 0; i < MODEL_PLAYERS; i++) {
        hit += p[i].no_space;
        made += p[i].made;
    }
    printf("# %llu steps, %llu faults armed, %llu calls failed\n",
           (unsigned long long)made, (unsigned long long)s.armed,
           (unsigned long long)hit);
    return hit;
}

static uint64_t run_mix(const struct mix *m, uint64_t seed, uint64_t steps)
{
    static struct model_world w;
    struct model_player p[MODEL_PLAYERS];
    char dir[64], file[80];
    make_dir(dir, sizeof(dir));
    snprintf(file, sizeof(file), "%s/file", dir);
    struct sl_config c = config_of(m, dir, file);
    memset(&w, 0, sizeof(w));
    w.blob_max = 100000;
    w.level_max = m->directory ? 2 : 0;
    w.faults = 1;
    struct sl_device *d = open_world(&w, &c);
    struct space before = space_of(w.rt);
    assert_int_equal(sl_tag(w.rt, "shared", &w.shared), 0);
    model_create(&w, p, seed);
    uint64_t hit = play_under_faults(&w, p, test_fork(seed, 99), steps);
    tiers_recover(w.rt);
    assert_true(model_round(&w, p, 0, 1)); /* all is as the model says */
    if (m->directory) {
        sl_device_close(d);
        assert_int_equal(sl_close(w.rt), 0);
        d = open_world(&w, &c);
        assert_true(model_round(&w, p, 200, 1));
    }
    assert_int_equal(model_clear(&w, p), 0);
    assert_int_equal(sl_flush(w.rt), 0);
    struct space after = space_of(w.rt);
    space_same(&before, &after);
    space_arena_is_free(w.rt, sl_device_handle(d));
    sl_device_close(d);
    assert_int_equal(sl_close(w.rt), 0);
    model_destroy(p);
    remove_dir(dir);
    return hit;
}

static void calls_that_meet_a_fault_change_nothing(void **state)
{
    uint64_t seed = test_seed("storm"), steps = test_steps(STEPS_USUAL);
    uint64_t hit = 0;
    (void)state;
    for (unsigned i = 0; i < sizeof(mixes) / sizeof(mixes[0]); i++) {
        printf("# %s\n", mixes[i].name);
        hit += run_mix(&mixes[i], test_fork(seed, i),
                       steps * mixes[i].per_cent / 100u);
    }
    assert_true(hit > 0);
}

/* ---- targets that are slow ---- */

#define BYTES 200000u

struct slow {
    struct sl_runtime *rt;
    uint64_t tag;
    uint8_t *in, *out;
    struct space before;
};

static void slow_open(struct slow *s, uint64_t timeout_ns)
{
    struct sl_config c = small_config();
    c.pinned_bytes = MIB;
    c.ram_bytes = 8 * MIB;
    c.timeout_ns = timeout_ns;
    n_tiers = 0;
    s->rt = open_store(&c);
    s->before = space_of(s->rt);
    assert_int_equal(sl_tag(s->rt, "t", &s->tag), 0);
    s->in = malloc(BYTES);
    s->out = malloc(BYTES);
    assert_true(s->in && s->out);
}

static void slow_close(struct slow *s)
{
    assert_int_equal(sl_tag_del(s->rt, s->tag), 0);
    struct space after = space_of(s->rt);
    space_same(&s->before, &after);
    space_arena_is_free(s->rt, NULL);
    assert_int_equal(sl_close(s->rt), 0);
    free(s->in);
    free(s->out);
}

static int put_low(struct slow *s, const char *name, uint64_t seed)
{
    struct sl_put_opts o = {.size = sizeof(o), .score = 0.0f};
    fill(s->in, BYTES, seed);
    return sl_put(s->rt, s->tag, name, 0, s->in, BYTES, &o);
}

static struct sl_op *begin_low(struct slow *s, const char *name, uint64_t seed)
{
    struct sl_put_opts o = {.size = sizeof(o), .score = 0.0f};
    struct sl_op *op = NULL;
    fill(s->in, BYTES, seed);
    assert_int_equal(
        sl_put_begin(s->rt, s->tag, name, 0, s->in, BYTES, &o, &op), 0);
    return op;
}

static void expect_low(struct slow *s, const char *name, uint64_t seed)
{
    assert_int_equal(sl_get(s->rt, s->tag, name, 0, s->out, BYTES, NULL), 0);
    fill(s->in, BYTES, seed);
    assert_memory_equal(s->in, s->out, BYTES);
}

static void await_held(void)
{
    while (fault_held(tiers[0]) == 0)
        sched_yield();
}

/* A put whose target does not answer: other blobs are served, readers have the
 * old size, a second writer waits behind; then all end in order. */
static void a_slow_target_keeps_only_its_own_calls(void **state)
{
    struct slow s;
    uint64_t size = 0;
    (void)state;
    slow_open(&s, UINT64_C(60000000000));
    assert_int_equal(put_low(&s, "big", 1), 0);
    tiers_pass(0);
    struct sl_op *first = begin_low(&s, "big", 2);
    await_held();
    struct sl_op *second = begin_low(&s, "big", 3);
    assert_int_equal(sl_test(&first), SL_EAGAIN);
    assert_int_equal(sl_put(s.rt, s.tag, "small", 0, "abc", 3, NULL), 0);
    assert_int_equal(sl_get(s.rt, s.tag, "small", 0, s.out, 3, NULL), 0);
    assert_memory_equal(s.out, "abc", 3);
    assert_int_equal(sl_size(s.rt, s.tag, "big", &size), 0);
    assert_int_equal(size, BYTES);
    assert_int_equal(sl_test(&second), SL_EAGAIN);
    tiers_pass(FAULT_ALL);
    assert_int_equal(sl_wait(&first, UINT64_C(60000000000)), 0);
    assert_int_equal(sl_wait(&second, UINT64_C(60000000000)), 0);
    expect_low(&s, "big", 3);
    slow_close(&s);
}

/* The caller gives up at its deadline; the put ends whole all the same, and
 * what it used comes back. */
static void a_call_that_gives_up_leaves_nothing_behind(void **state)
{
    struct slow s;
    (void)state;
    slow_open(&s, UINT64_C(300000000));
    assert_int_equal(put_low(&s, "big", 1), 0);
    tiers_pass(0);
    assert_int_equal(put_low(&s, "big", 2), SL_ETIMEDOUT);
    assert_int_equal(sl_get(s.rt, s.tag, "big", 0, s.out, BYTES, NULL),
                     SL_ETIMEDOUT);
    tiers_pass(FAULT_ALL);
    uint64_t end = clock_ns() + UINT64_C(20000000000);
    int rc;
    do { /* behind the put, which is still under way */
        rc = put_low(&s, "other", 3);
    } while (rc == SL_ETIMEDOUT && clock_ns() < end);
    assert_int_equal(rc, 0);
    expect_low(&s, "other", 3);
    expect_low(&s, "big", 2);
    slow_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_that_meet_a_fault_change_nothing),
        cmocka_unit_test(a_slow_target_keeps_only_its_own_calls),
        cmocka_unit_test(a_call_that_gives_up_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
