/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks of kernels, on each device there is: every thread gets its own answer,
 * whatever the shape, the load and the divergence. */
#include "device_help.h"

static uint64_t seed;

/* ---- echo ---- */

static struct check_echo_args echo_args(struct rig *r, uint32_t form,
                                        uint32_t threads)
{
    struct check_echo_args a;
    memset(&a, 0, sizeof(a));
    a.dev = r->d;
    a.base = test_random(&seed);
    a.out_at = room_device(r, threads * sizeof(struct check_echo_out));
    a.timeout_ns = LONG_NS;
    a.form = form;
    a.rounds = 1;
    a.pool = r->echo;
    return a;
}

/* Every thread of the grid has had every round answered, and right. */
static void expect_echoes(struct rig *r, const struct check_echo_args *a,
                          struct shape s)
{
    uint32_t n = shape_threads(s);
    struct check_echo_out *out = zeroed(n, sizeof(*out));
    download(r, out, a->out_at, n * sizeof(*out));
    for (uint32_t i = 0; i < n; i++) {
        uint64_t value =
            check_echo_value(a->base, unit_of(a->form, i, s), a->rounds - 1u);
        if (out[i].code)
            print_error("thread %u: %s\n", i, sl_strerror(out[i].code));
        assert_int_equal(out[i].code, 0);
        assert_int_equal(out[i].right, a->rounds);
        assert_int_equal(out[i].wrong, 0);
        assert_int_equal(out[i].last,
                         2u * value + (uint64_t)(int64_t)r->d.device);
    }
    free(out);
}

static void echo_once(struct rig *r, uint32_t form, uint32_t method,
                      struct shape s)
{
    struct check_echo_args a = echo_args(r, form, shape_threads(s));
    a.method = method;
    run(r, "k_check_echo", s, &a, sizeof(a));
    expect_echoes(r, &a, s);
    rooms_release(r, 0);
}

static void threads_of_blocks_of_all_sizes_get_their_own_answers(void **state)
{
    static const uint32_t sizes[] = {1, 31, 32, 33, 1024};
    struct sl_config c = device_config();
    struct rig r;
    (void)state;
    rig_open(&r, &c);
    for (uint32_t i = 0; i < COUNT(sizes); i++) {
        for (uint32_t k = 1; k <= 4; k++) {
            uint32_t blocks = r.on_gpu ? k * r.info.sms : k;
            echo_once(&r, SL_THREAD, k & 1u, shape_of(blocks, sizes[i]));
        }
    }
    rig_close(&r);
}

static void warps_and_blocks_get_one_answer_for_all_callers(void **state)
{
    static const uint32_t sizes[] = {1, 31, 32, 33, 1024};
    struct sl_config c = device_config();
    struct rig r;
    (void)state;
    rig_open(&r, &c);
    for (uint32_t i = 0; i < COUNT(sizes); i++) {
        uint32_t blocks = r.on_gpu ? 2u * r.info.sms : 2u;
        echo_once(&r, SL_WARP, i & 1u, shape_of(blocks, sizes[i]));
        echo_once(&r, SL_BLOCK, ~i & 1u, shape_of(blocks, sizes[i]));
    }
    rig_close(&r);
}

static void shapes_of_more_dimensions_get_their_own_answers(void **state)
{
    static const struct shape shapes[] = {
        {{2, 1, 1}, {8, 4, 1}},  {{1, 2, 1}, {4, 4, 4}},
        {{1, 1, 3}, {5, 3, 7}},  {{2, 1, 2}, {1, 1, 64}},
        {{1, 2, 2}, {31, 1, 2}}, {{2, 2, 1}, {1, 33, 1}},
    };
    struct sl_config c = device_config();
    struct rig r;
    (void)state;
    rig_open(&r, &c);
    for (uint32_t i = 0; i < COUNT(shapes); i++) {
        echo_once(&r, SL_THREAD, i & 1u, shapes[i]);
        echo_once(&r, SL_WARP, 0, shapes[i]);
        echo_once(&r, SL_BLOCK, 1, shapes[i]);
    }
    rig_close(&r);
}

/* ---- load ---- */

static void far_more_tasks_than_slots_lose_nothing(void **state)
{
    struct shape s = SANITIZED ? shape_of(2, 256) : shape_of(4, 1024);
    struct sl_config c = device_config();
    struct rig r;
    (void)state;
    c.lanes = 2;
    c.depth = 64;
    rig_open(&r, &c);
    assert_int_equal(r.d.n_slots, 128);
    if (r.on_gpu)
        s = shape_of(64, 1024);
    for (uint32_t method = 0; method < 2; method++) {
        struct check_echo_args a = echo_args(&r, SL_THREAD, shape_threads(s));
        a.method = method;
        a.rounds = 4;
        assert_true(shape_threads(s) >= 4u * r.d.n_slots);
        run(&r, "k_check_echo", s, &a, sizeof(a));
        expect_echoes(&r, &a, s);
        assert_int_equal(slots_lost(&r), 0);
        rooms_release(&r, 0);
    }
    rig_close(&r);
}

static void two_kernels_at_once_share_a_handle(void **state)
{
    struct shape s = SANITIZED ? shape_of(2, 64) : shape_of(2, 256);
    struct sl_config c = device_config();
    struct check_echo_args a[2];
    struct check_meet met = {0, 0};
    struct rig r;
    (void)state;
    rig_open(&r, &c);
    if (r.on_gpu)
        s = shape_of(32, 256);
    sl_devptr meet_at = room_device(&r, sizeof(met));
    for (uint32_t i = 0; i < 2; i++) {
        a[i] = echo_args(&r, i ? SL_WARP : SL_THREAD, shape_threads(s));
        a[i].method = i;
        a[i].rounds = 20;
        a[i].meet_at = meet_at;
        a[i].meet = 2;
    }
    for (uint32_t i = 0; i < 2; i++)
        start(&r, i, "k_check_echo", s, &a[i], sizeof(a[i]));
    for (uint32_t i = 0; i < 2; i++)
        land(&r, i);
    download(&r, &met, meet_at, sizeof(met));
    assert_int_equal(met.arrived, 2);
    assert_int_equal(met.met, 2u * volume(s.grid));
    for (uint32_t i = 0; i < 2; i++)
        expect_echoes(&r, &a[i], s);
    rig_close(&r);
}

/* ---- divergence ---- */

struct diverge {
    struct check_diverge_args args;
    struct shape shape;
    struct check_lane *out;
    uint8_t *own, *source, *target;
    uint32_t threads, warps;
};

static void diverge_open(struct rig *r, struct diverge *v, struct shape s)
{
    static const char common[] = "the host's blob";
    uint8_t bytes[CHECK_LANE_GET + 32u];
    struct check_diverge_args *a = &v->args;
    memset(v, 0, sizeof(*v));
    v->shape = s;
    v->threads = shape_threads(s);
    v->warps = units_of(SL_WARP, s);
    for (uint32_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = check_common_byte(i);
    assert_int_equal(
        sl_put(r->rt, r->tag, common, 0, bytes, sizeof(bytes), NULL), 0);
    v->out = zeroed(v->threads, sizeof(*v->out));
    v->own = zeroed(v->threads, CHECK_LANE_BYTES);
    v->source = zeroed(v->warps, CHECK_WARP_BYTES);
    v->target = zeroed(v->warps, CHECK_WARP_BYTES);
    for (uint32_t i = 0; i < v->warps * CHECK_WARP_BYTES; i++)
        v->source[i] = (uint8_t)test_random(&seed);
    a->dev = r->d;
    a->tag = r->tag;
    a->common_at = room_with(r, common, sizeof(common) - 1u);
    a->common_len = sizeof(common) - 1u;
    a->own_at = room_device(r, v->threads * CHECK_LANE_BYTES);
    a->source_at = room_with(r, v->source, v->warps * CHECK_WARP_BYTES);
    a->target_at = room_device(r, v->warps * CHECK_WARP_BYTES);
    a->out_at = room_device(r, v->threads * sizeof(*v->out));
    a->pool = r->echo;
}

static void diverge_close(struct rig *r, struct diverge *v)
{
    rooms_release(r, 0);
    free(v->out);
    free(v->own);
    free(v->source);
    free(v->target);
}

/* The blob of a lane holds what it put last. */
static void expect_lane_blob(struct rig *r, uint32_t me, uint32_t rounds)
{
    char name[CHECK_NAME_LEN + 1u] = "";
    uint8_t got[CHECK_LANE_PUT];
    uint64_t size = 0;
    check_name(name, 'd', me);
    assert_int_equal(sl_get(r->rt, r->tag, name, 0, got, sizeof(got), &size),
                     0);
    assert_int_equal(size, CHECK_LANE_PUT);
    for (uint32_t i = 0; i < CHECK_LANE_PUT; i++)
        assert_int_equal(got[i], check_lane_byte(me, rounds - 1u, i));
}

static uint64_t doubled(const struct rig *r, uint64_t value)
{
    return 2u * value + (uint64_t)(int64_t)r->d.device;
}

static void expect_lane(struct rig *r, const struct diverge *v, uint32_t me)
{
    static const struct check_lane none;
    const struct check_lane *o = &v->out[me];
    uint32_t lane = me % volume(v->shape.block) % 32u;
    uint32_t warp = unit_of(SL_WARP, me, v->shape);
    uint32_t rounds = lane % 2u ? lane % 5u + 1u : lane % 3u + 1u;
    if (lane % 8u == 7u) { /* it left before it did anything */
        assert_memory_equal(o, &none, sizeof(none));
        return;
    }
    assert_int_equal(o->code, 0);
    assert_int_equal(o->ops, rounds);
    assert_int_equal(o->wrong, 0);
    assert_int_equal(o->warp_ops, lane < 16u ? 4 : 3);
    assert_int_equal(o->warp_answer[0],
                     doubled(r, check_echo_value(1, warp, 0)));
    assert_int_equal(o->warp_answer[1],
                     lane < 16u ? doubled(r, check_echo_value(2, warp, 0)) : 0);
    if (lane % 2u)
        expect_lane_blob(r, me, rounds);
    else if (lane % 4u)
        assert_int_equal(o->answer,
                         doubled(r, check_echo_value(0, me, rounds - 1u)));
}

static void expect_warp_blobs(struct rig *r, const struct diverge *v)
{
    char name[CHECK_NAME_LEN + 1u] = "";
    uint8_t got[CHECK_WARP_BYTES];
    uint64_t size = 0;
    assert_memory_equal(v->target, v->source, v->warps * CHECK_WARP_BYTES);
    for (uint32_t w = 0; w < v->warps; w++) {
        check_name(name, 'w', w);
        assert_int_equal(
            sl_get(r->rt, r->tag, name, 0, got, sizeof(got), &size), 0);
        assert_int_equal(size, sizeof(got));
        assert_memory_equal(got, v->source + w * CHECK_WARP_BYTES, sizeof(got));
    }
}

static void diverge_once(struct rig *r, struct shape s)
{
    struct diverge v;
    diverge_open(r, &v, s);
    run(r, "k_check_diverge", s, &v.args, sizeof(v.args));
    download(r, v.out, v.args.out_at, v.threads * sizeof(*v.out));
    download(r, v.target, v.args.target_at, v.warps * CHECK_WARP_BYTES);
    for (uint32_t i = 0; i < v.threads; i++)
        expect_lane(r, &v, i);
    expect_warp_blobs(r, &v);
    diverge_close(r, &v);
}

static void lanes_go_their_own_ways_and_the_rest_of_a_warp_meets(void **state)
{
    static const uint32_t sizes[] = {32, 45, 96, 256};
    struct sl_config c = device_config();
    struct rig r;
    (void)state;
    rig_open(&r, &c);
    for (uint32_t i = 0; i < COUNT(sizes); i++)
        diverge_once(&r, shape_of(r.on_gpu ? 2u * r.info.sms : 2u, sizes[i]));
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_of_blocks_of_all_sizes_get_their_own_answers),
        cmocka_unit_test(warps_and_blocks_get_one_answer_for_all_callers),
        cmocka_unit_test(shapes_of_more_dimensions_get_their_own_answers),
        cmocka_unit_test(far_more_tasks_than_slots_lose_nothing),
        cmocka_unit_test(two_kernels_at_once_share_a_handle),
        cmocka_unit_test(lanes_go_their_own_ways_and_the_rest_of_a_warp_meets),
    };
    seed = test_seed("test_device");
    return run_on_devices(tests);
}
