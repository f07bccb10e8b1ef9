/* SPDX-License-Identifier: Apache-2.0 */
/* How the waits of kernels end, on each device there is, and that nothing is
 * lost by giving up. */
#include "device_help.h"

#define SHORT_NS UINT64_C(5000000)
#define PAGE 4096u

/* ---- waits ---- */

static void expect_wait(struct rig *r, const struct check_wait_args *a,
                        struct shape s, int end)
{
    uint32_t n = shape_threads(s);
    struct check_wait_out *out = zeroed(n, sizeof(*out));
    download(r, out, a->out_at, n * sizeof(*out));
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(out[i].live, 1);
        assert_int_equal(out[i].tested, SL_EAGAIN);
        assert_int_equal(out[i].late, SL_ETIMEDOUT);
        assert_int_equal(out[i].stopped, SL_ESTOPPED);
        assert_int_equal(out[i].ended, end);
        assert_int_equal(out[i].again, end);
        if (end == 0)
            assert_int_equal(out[i].value, 2u * a->value);
        /* Not before its time, but for what device.h allows. */
        assert_true(out[i].waited_ns >= a->short_ns / 4u * 3u);
    }
    free(out);
}

static void wait_once(struct rig *r, uint32_t form, uint32_t threads, int end)
{
    struct shape s = shape_of(1, threads);
    struct check_wait_args a;
    uint8_t *words;
    memset(&a, 0, sizeof(a));
    a.dev = r->d;
    a.value = 1000u + threads;
    a.stage_at = room_pinned(r, PAGE_BYTES, &words);
    a.stop_at = a.stage_at + 128u;
    a.short_ns = SHORT_NS;
    a.long_ns = LONG_NS;
    a.out_at = room_device(r, threads * sizeof(struct check_wait_out));
    a.form = form;
    a.pool = r->hold;
    a.method = HOLDER_HOLD;
    uint32_t *stage = (uint32_t *)(void *)words;
    uint32_t *stop = (uint32_t *)(void *)(words + 128);
    start(r, 0, "k_check_wait", s, &a, sizeof(a));
    int came = await_word(stage, 1);
    __atomic_store_n(stop, 1u, __ATOMIC_RELEASE); /* partner: sls_ended */
    int went = await_word(stage, 2);
    int held = await_word(&r->holder.n, 1);
    holder_finish(&r->holder, end);
    land(r, 0);
    assert_int_equal(came, 1);
    assert_int_equal(went, 1);
    assert_int_equal(held, 1);
    expect_wait(r, &a, s, end);
    assert_int_equal(slots_lost(r), 0);
    rooms_release(r, 0);
}

static void a_wait_ends_early_and_the_future_stays_valid(void **state)
{
    struct sl_config c = device_config();
    struct rig r;
    (void)state;
    rig_open(&r, &c);
    for (uint32_t i = 0; i < 2; i++) {
        int end = i ? SL_ENOENT : 0;
        wait_once(&r, SL_THREAD, 1, end);
        wait_once(&r, SL_WARP, 32, end);
        wait_once(&r, SL_WARP, 20, end);
        wait_once(&r, SL_BLOCK, 96, end);
    }
    rig_close(&r);
}

/* ---- giving up ---- */

static void abandon_open(struct rig *r)
{
    struct sl_config c = device_config();
    c.lanes = 2;
    c.depth = 32;
    rig_open(r, &c);
    assert_int_equal(r->d.n_slots, 64);
}

static struct check_abandon_args abandon_args(struct rig *r, uint32_t form,
                                              enum check_kind kind)
{
    static const char name[] = "given up";
    static const uint8_t data[PAGE] = {1, 2, 3, 4, 5, 6, 7, 8};
    struct check_abandon_args a;
    memset(&a, 0, sizeof(a));
    a.dev = r->d;
    a.hasty = r->d;
    a.hasty.timeout_ns = SHORT_NS;
    op_init(&a.op, kind);
    a.op.tag = r->tag;
    a.op.name_at = room_with(r, name, sizeof(name) - 1u);
    a.op.name_len = sizeof(name) - 1u;
    a.op.data_at = room_with(r, data, sizeof(data));
    a.op.size = kind == CHECK_TASK ? 8u : sizeof(data);
    a.op.pool = (uint16_t)r->echo;
    a.op.method = 1;
    a.out_at = room_device(r, 1024u * sizeof(struct check_abandon_out));
    a.form = form;
    a.rounds = 3u * r->d.n_slots + 5u;
    a.echo = r->echo;
    return a;
}

static void expect_abandon(struct rig *r, const struct check_abandon_args *a,
                           struct shape s, int full)
{
    uint32_t n = shape_threads(s);
    struct check_abandon_out *out = zeroed(n, sizeof(*out));
    download(r, out, a->out_at, n * sizeof(*out));
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(out[i].code, 0);
        assert_int_equal(out[i].live, a->rounds);
        assert_int_equal(out[i].full, full);
        assert_int_equal(out[i].right, a->rounds);
    }
    free(out);
    assert_int_equal(slots_lost(r), 0);
    rooms_release(r, 0);
}

static const struct {
    uint32_t form, threads;
} groups[] = {{SL_THREAD, 1}, {SL_THREAD, 3}, {SL_WARP, 32},
              {SL_WARP, 20},  {SL_BLOCK, 1},  {SL_BLOCK, 80}};

static void abandoned_operations_give_their_slots_back(void **state)
{
    static const enum check_kind kinds[] = {CHECK_TASK, CHECK_PUT, CHECK_GET};
    uint8_t page[PAGE] = {0};
    struct rig r;
    (void)state;
    abandon_open(&r);
    assert_int_equal(
        sl_put(r.rt, r.tag, "given up", 0, page, sizeof(page), NULL), 0);
    for (uint32_t k = 0; k < COUNT(kinds); k++) {
        for (uint32_t i = 0; i < COUNT(groups); i++) {
            struct shape s = shape_of(1, groups[i].threads);
            struct check_abandon_args a =
                abandon_args(&r, groups[i].form, kinds[k]);
            run(&r, "k_check_abandon", s, &a, sizeof(a));
            expect_abandon(&r, &a, s, 0);
        }
    }
    /* An abandoned put takes effect or not: here each has. */
    page[0] = 99;
    assert_int_equal(
        sl_get(r.rt, r.tag, "given up", 0, page, sizeof(page), NULL), 0);
    assert_int_equal(page[0], 1);
    assert_int_equal(page[7], 8);
    rig_close(&r);
}

/* All slots are in flight and abandoned: a call waits for one in vain, then,
 * once they are answered, in earnest. */
static void a_channel_without_a_free_slot_times_out_and_recovers(void **state)
{
    struct rig r;
    (void)state;
    abandon_open(&r);
    for (uint32_t form = SL_THREAD; form <= SL_BLOCK; form++) {
        struct shape s = shape_of(1, form == SL_THREAD ? 1u : 64u);
        struct check_abandon_args a = abandon_args(&r, form, CHECK_TASK);
        uint8_t *words;
        if (form == SL_WARP)
            s = shape_of(1, 32);
        a.op.pool = (uint16_t)r.hold;
        a.op.method = HOLDER_HOLD;
        a.rounds = r.d.n_slots;
        a.stage_at = room_pinned(&r, PAGE_BYTES, &words);
        start(&r, 0, "k_check_abandon", s, &a, sizeof(a));
        int full = await_word((uint32_t *)(void *)words, 1);
        int held = await_word(&r.holder.n, r.d.n_slots);
        holder_finish(&r.holder, 0);
        land(&r, 0);
        assert_int_equal(full, 1);
        assert_int_equal(held, 1);
        expect_abandon(&r, &a, s, SL_ETIMEDOUT);
    }
    rig_close(&r);
}

/* ---- nobody serves ---- */

static void *stall(void *arg)
{
    struct rig *r = arg;
    uint8_t any = 1;
    (void)sl_task(r->rt, r->hold, HOLDER_STALL, 0, &any, 1, NULL);
    return NULL;
}

#define HASTY_OPS 6u
#define HASTY_LISTS 12u
#define HASTY_GET 5000u

/* Operations that ask for different chunks before they can be sent. */
static void hasty_ops(struct rig *r, struct check_op *ops)
{
    static const struct {
        enum check_kind kind;
        uint32_t name_len;
        uint64_t size;
    } kinds[HASTY_OPS] = {{CHECK_PUT, 6, 2 * MIB}, {CHECK_PUT, 255, HASTY_GET},
                          {CHECK_PUT, 5, 8000},    {CHECK_PUT, 7, 20},
                          {CHECK_TASK, 0, 100},    {CHECK_GET, 255, HASTY_GET}};
    char name[255];
    memset(name, 'h', sizeof(name));
    sl_devptr names = room_with(r, name, sizeof(name));
    sl_devptr source = room_device(r, 2 * MIB);
    sl_devptr target = room_device(r, HASTY_LISTS * HASTY_GET);
    for (uint32_t i = 0; i < HASTY_OPS * HASTY_LISTS; i++) {
        struct check_op *op = &ops[i];
        op_init(op, kinds[i % HASTY_OPS].kind);
        op->tag = r->tag;
        op->name_at = names;
        op->name_len = kinds[i % HASTY_OPS].name_len;
        op->size = kinds[i % HASTY_OPS].size;
        op->data_at =
            op->kind == CHECK_GET ? target + i / HASTY_OPS * HASTY_GET : source;
        op->pool = (uint16_t)r->hold;
        op->method = HOLDER_SUM;
    }
}

static void expect_codes(struct rig *r, uint32_t form,
                         const struct check_op *ops, uint32_t n_lists, int code)
{
    struct ops_run o;
    ops_run(r, &o, form, ops, n_lists, HASTY_OPS);
    for (uint32_t i = 0; i < n_lists * HASTY_OPS; i++)
        expect_code(&o, i, code, code ? "while nobody serves" : "afterwards");
    ops_free(&o);
}

/* All fail while the only worker is kept; then it goes on. */
static void stalled_once(struct rig *r, uint32_t form,
                         const struct check_op *ops)
{
    pthread_t t;
    r->holder.stalled = 0;
    r->holder.go_on = 0;
    assert_int_equal(pthread_create(&t, NULL, stall, r), 0);
    assert_int_equal(await_word(&r->holder.stalled, 1), 1);
    r->d.timeout_ns = SHORT_NS;
    expect_codes(r, form, ops, HASTY_LISTS, SL_ETIMEDOUT);
    assert_int_equal(slots_lost(r), 0);
    r->d.timeout_ns = LONG_NS;
    __atomic_store_n(&r->holder.go_on, 1u, __ATOMIC_RELEASE);
    pthread_join(t, NULL);
}

/* Each way to give up while an operation is prepared, and no slot is lost. */
static void operations_without_a_worker_end_and_lose_nothing(void **state)
{
    struct sl_config c = device_config();
    struct check_op ops[HASTY_OPS * HASTY_LISTS];
    (void)state;
    c.workers = 1;
    c.lanes = 1;
    c.depth = 32; /* fewer slots than operations */
    for (uint32_t form = SL_THREAD; form <= SL_BLOCK; form++) {
        struct rig r;
        rig_open(&r, &c);
        hasty_ops(&r, ops);
        stalled_once(&r, form, ops);
        expect_codes(&r, form, ops, HASTY_LISTS, 0);
        rig_close(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wait_ends_early_and_the_future_stays_valid),
        cmocka_unit_test(abandoned_operations_give_their_slots_back),
        cmocka_unit_test(a_channel_without_a_free_slot_times_out_and_recovers),
        cmocka_unit_test(operations_without_a_worker_end_and_lose_nothing),
    };
    return run_on_devices(tests);
}
