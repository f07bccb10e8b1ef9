/* SPDX-License-Identifier: Apache-2.0 */
/* Host calls on device memory: plain pointers of a device, put and got by its
 * copy engine, on each device there is. */
#include "device_help.h"

#define MOST (5u * MIB + 3u)
#define MARK 0xa5

static uint64_t seed;

static const uint64_t sizes[] = {
    1, 63, 64, 65, 4096, 65535, MIB, MIB + 1u, 3 * MIB, 3 * MIB + 17, 5 * MIB};

struct data {
    uint8_t *want, *got; /* MOST each */
    sl_devptr at;        /* MOST and 64 bytes */
};

static void fill_noise(uint8_t *p, size_t n)
{
    fill(p, n, test_random(&seed));
}

static struct data data_new(struct rig *r)
{
    struct data d = {zeroed(1, MOST), zeroed(1, MOST), 0};
    fill_noise(d.want, MOST);
    d.at = room_device(r, MOST + 64u);
    return d;
}

static void data_free(struct data *d)
{
    free(d->want);
    free(d->got);
}

static void *device(sl_devptr at)
{
    return (void *)(uintptr_t)at;
}

static void put_from_device(struct rig *r, struct data *d, const char *name,
                            uint64_t skip, uint64_t size)
{
    upload(r, d->at + skip, d->want, size);
    assert_int_equal(
        sl_put(r->rt, r->tag, name, 0, device(d->at + skip), size, NULL), 0);
}

/* The bytes, and nothing beside them. */
static void expect_on_device(struct rig *r, struct data *d, const char *name,
                             uint64_t offset, uint64_t size, uint64_t skip)
{
    uint8_t edge[2] = {MARK, MARK};
    uint64_t exists = 0;
    upload(r, d->at + skip, edge, 1);
    upload(r, d->at + skip + 1u + size, edge, 1);
    assert_int_equal(sl_get(r->rt, r->tag, name, offset,
                            device(d->at + skip + 1u), size, &exists),
                     0);
    assert_true(exists >= offset + size);
    memset(d->got, 0, size);
    download(r, d->got, d->at + skip + 1u, size);
    assert_memory_equal(d->got, d->want + offset, size);
    download(r, edge, d->at + skip, 1);
    download(r, edge + 1, d->at + skip + 1u + size, 1);
    assert_int_equal(edge[0], MARK);
    assert_int_equal(edge[1], MARK);
}

static void expect_on_host(struct rig *r, struct data *d, const char *name,
                           uint64_t size)
{
    memset(d->got, 0, size);
    assert_int_equal(sl_get(r->rt, r->tag, name, 0, d->got, size, NULL), 0);
    assert_memory_equal(d->got, d->want, size);
}

/* ---- both ways ---- */

static void bytes_go_from_device_and_back(void **state)
{
    (void)state;
    struct sl_config c = device_config();
    struct rig r;
    rig_open(&r, &c);
    struct data d = data_new(&r);
    for (uint32_t i = 0; i < COUNT(sizes); i++) {
        put_from_device(&r, &d, "a", i % 4u, sizes[i]);
        expect_on_host(&r, &d, "a", sizes[i]);
        expect_on_device(&r, &d, "a", 0, sizes[i], i % 7u);
        if (sizes[i] > 100u)
            expect_on_device(&r, &d, "a", 33, sizes[i] - 50u, 3);
        assert_int_equal(sl_del(r.rt, r.tag, "a"), 0);
    }
    data_free(&d);
    rig_close(&r);
}

static void long_names_and_levels_below_the_arena(void **state)
{
    (void)state;
    struct sl_config c = device_config();
    char dir[64], name[SL_NAME_MAX + 1u];
    struct sl_stat s;
    struct rig r;
    make_dir(dir, sizeof(dir));
    c.data_dir = dir;
    rig_open(&r, &c);
    struct data d = data_new(&r);
    memset(name, 'n', sizeof(name));
    name[SL_NAME_MAX] = 0;
    for (uint8_t codec = 0; codec <= SL_CODEC_LZ4; codec += SL_CODEC_LZ4) {
        struct sl_result res;
        struct sl_put_opts o = {.size = sizeof(o),
                                .score = -1.0f,
                                .persist = 1,
                                .codec = codec,
                                .result = &res};
        memset(d.want, codec, 4u * MIB);
        fill_noise(d.want + 1000, MIB);
        upload(&r, d.at, d.want, 4u * MIB);
        assert_int_equal(
            sl_put(r.rt, r.tag, name, 0, device(d.at), 4u * MIB, &o), 0);
        assert_int_equal(res.v[0], 4u * MIB);
        assert_int_equal(sl_stat(r.rt, r.tag, name, &s), 0);
        assert_string_equal(s.tier[0].kind, "file");
        assert_int_equal(s.codec, codec);
        assert_true(s.stored == res.v[2] && s.stored <= 4u * MIB);
        expect_on_host(&r, &d, name, 4u * MIB);
        expect_on_device(&r, &d, name, 0, 4u * MIB, 5);
        expect_on_device(&r, &d, name, 70001, 2u * MIB, 5);
    }
    data_free(&d);
    rig_close(&r);
    remove_dir(dir);
}

static void gaps_read_as_zeros_on_the_device(void **state)
{
    (void)state;
    struct sl_config c = device_config();
    struct rig r;
    rig_open(&r, &c);
    struct data d = data_new(&r);
    memset(d.want + 1000, 0, 300000);
    memset(d.want + 305000, 0, 100000);
    assert_int_equal(sl_put(r.rt, r.tag, "g", 0, d.want, 1000, NULL), 0);
    assert_int_equal(
        sl_put(r.rt, r.tag, "g", 301000, d.want + 301000, 4000, NULL), 0);
    assert_int_equal(
        sl_put(r.rt, r.tag, "g", 405000, d.want + 405000, 10, NULL), 0);
    expect_on_device(&r, &d, "g", 0, 405010, 9);
    expect_on_device(&r, &d, "g", 500, 200000, 9);
    expect_on_device(&r, &d, "g", 2000, 100000, 9);
    data_free(&d);
    rig_close(&r);
}

/* ---- bad input ---- */

static void ranges_that_leave_the_memory_are_refused(void **state)
{
    (void)state;
    struct sl_config c = device_config();
    struct sl_op *op = NULL;
    struct rig r;
    uint64_t size, tag_bytes;
    rig_open(&r, &c);
    /* Where another allocation follows at once the range is no error. */
    sl_devptr at = room_device(&r, 64u * MIB);
    struct gpu_memory m;
    assert_int_equal(r.ops->memory_of(at + 5u, &m), 1);
    assert_true(m.base <= at && m.base + m.bytes >= at + 64u * MIB);
    sl_devptr near = m.base + m.bytes - 100u;
    if (!r.ops->memory_of(m.base + m.bytes, &m)) {
        assert_int_equal(sl_put(r.rt, r.tag, "p", 0, device(near), 101, NULL),
                         SL_EINVAL);
        assert_int_equal(
            sl_put_begin(r.rt, r.tag, "p", 0, device(near), MIB, NULL, &op),
            SL_EINVAL);
        assert_int_equal(sl_get(r.rt, r.tag, "p", 0, device(near), 101, NULL),
                         SL_EINVAL);
        assert_int_equal(
            sl_get_begin(r.rt, r.tag, "p", 0, device(near), 101, &op),
            SL_EINVAL);
    }
    assert_int_equal(sl_put(r.rt, r.tag, "p", UINT64_MAX, device(at), 2, NULL),
                     SL_EOVERFLOW);
    assert_int_equal(
        sl_put(r.rt, r.tag, "p", 0, device(at), SL_IO_MAX + 1u, NULL),
        SL_EFBIG);
    assert_int_equal(
        sl_put(r.rt, r.tag, "p", SL_BLOB_MAX, device(at), 100, NULL),
        SL_EOVERFLOW);
    assert_int_equal(sl_put(r.rt, r.tag + 77u, "p", 0, device(at), MIB, NULL),
                     SL_ENOTAG);
    assert_int_equal(sl_put(r.rt, r.tag + 77u, "p", 0, device(at), 100, NULL),
                     SL_ENOTAG);
    assert_null(op);
    assert_int_equal(sl_size(r.rt, r.tag, "p", &size), SL_ENOENT);
    assert_int_equal(sl_put(r.rt, r.tag, "p", 0, device(near), 100, NULL), 0);
    assert_int_equal(sl_tag_size(r.rt, r.tag, &tag_bytes, NULL), 0);
    assert_int_equal(tag_bytes, 100);
    rig_close(&r);
}

static void memory_of_a_device_that_is_not_open_is_refused(void **state)
{
    (void)state;
    struct sl_config c = device_config();
    struct rig r;
    uint8_t page[4096] = {0};
    rig_open(&r, &c);
    sl_devptr at = room_device(&r, 4096);
    /* As when another device of the kind is open. */
    uint32_t kinds = r.rt->kinds;
    struct sl_device *open = r.rt->devices;
    r.rt->devices = NULL;
    assert_int_equal(sl_put(r.rt, r.tag, "n", 0, device(at), 4096, NULL),
                     SL_ENODEV);
    assert_int_equal(sl_put(r.rt, r.tag, "n", 0, page, 4096, NULL), 0);
    assert_int_equal(sl_get(r.rt, r.tag, "n", 0, device(at), 4096, NULL),
                     SL_ENODEV);
    assert_int_equal(sl_get(r.rt, r.tag, "n", 0, page, 4096, NULL), 0);
    r.rt->devices = open;
    assert_int_equal(r.rt->kinds, kinds);
    rig_close(&r);
}

static void a_get_past_the_end_writes_nothing(void **state)
{
    (void)state;
    struct sl_config c = device_config();
    uint8_t got[100];
    uint64_t exists = 0;
    struct rig r;
    rig_open(&r, &c);
    struct data d = data_new(&r);
    put_from_device(&r, &d, "e", 0, 4u * MIB);
    memset(got, MARK, sizeof(got));
    upload(&r, d.at, got, sizeof(got));
    assert_int_equal(
        sl_get(r.rt, r.tag, "e", 1, device(d.at), 4u * MIB, &exists),
        SL_EPASTEND);
    assert_int_equal(exists, 4u * MIB);
    download(&r, got, d.at, sizeof(got));
    for (uint32_t i = 0; i < sizeof(got); i++)
        assert_int_equal(got[i], MARK);
    assert_int_equal(sl_get(r.rt, r.tag, "no", 0, device(d.at), 10, NULL),
                     SL_ENOENT);
    data_free(&d);
    rig_close(&r);
}

/* ---- futures ---- */

#define FLYING 6u

static void futures_of_device_memory_end(void **state)
{
    (void)state;
    struct sl_config c = device_config();
    struct sl_op *op[FLYING] = {NULL};
    char name[FLYING][8];
    struct rig r;
    rig_open(&r, &c);
    struct data d = data_new(&r);
    upload(&r, d.at, d.want, MOST);
    for (uint32_t i = 0; i < FLYING; i++) {
        snprintf(name[i], sizeof(name[i]), "f-%u", i);
        assert_int_equal(sl_put_begin(r.rt, r.tag, name[i], 0,
                                      device(d.at + i * 1000u),
                                      i % 2u ? 5000u : 2u * MIB, NULL, &op[i]),
                         0);
    }
    for (uint32_t i = 0; i < FLYING; i++) {
        size_t which = FLYING;
        assert_int_equal(sl_wait_any(op, FLYING, LONG_NS, &which), 0);
        assert_null(op[which]);
    }
    sl_devptr back = room_device(&r, FLYING * 2u * MIB);
    for (uint32_t i = 0; i < FLYING; i++)
        assert_int_equal(sl_get_begin(r.rt, r.tag, name[i], 0,
                                      device(back + i * 2u * MIB),
                                      i % 2u ? 5000u : 2u * MIB, &op[i]),
                         0);
    for (uint32_t i = 0; i < FLYING; i++) {
        uint64_t n = i % 2u ? 5000u : 2u * MIB;
        assert_int_equal(sl_wait(&op[i], LONG_NS), 0);
        download(&r, d.got, back + i * 2u * MIB, n);
        assert_memory_equal(d.got, d.want + i * 1000u, n);
    }
    data_free(&d);
    rig_close(&r);
}

#define SLOTS 32u
#define TIMEOUT_NS (20u * SECOND_NS)

static void a_get_waits_for_a_slot_as_it_is_told(void **state)
{
    (void)state;
    struct sl_config c = device_config();
    struct sl_op *op[SLOTS + 1u];
    struct rig r;
    char name[SL_NAME_MAX + 1u];
    size_t which = 0;
    memset(name, 'n', SL_NAME_MAX);
    c.lanes = 1;
    c.depth = SLOTS;
    c.timeout_ns = TIMEOUT_NS;
    rig_open(&r, &c);
    struct data d = data_new(&r);
    name[SL_NAME_MAX] = 0;
    const char *const names[] = {"short", name};
    for (uint32_t k = 0; k < COUNT(names); k++) {
        put_from_device(&r, &d, names[k], 0, 3000);
        for (uint32_t i = 1; i <= SLOTS; i++)
            assert_int_equal(
                sl_put_begin(r.rt, r.tag, "s", 0, "s", 1, NULL, &op[i]), 0);
        uint64_t begun = slp_now();
        assert_int_equal(
            sl_get_begin(r.rt, r.tag, names[k], 0, device(d.at), 3000, &op[0]),
            0);
        assert_int_equal(sl_test(&op[0]), SL_EAGAIN);
        assert_int_equal(sl_wait(&op[0], 1000000), SL_ETIMEDOUT);
        assert_int_equal(sl_wait_any(op, SLOTS + 1u, LONG_NS, &which), 0);
        assert_true(slp_now() - begun < TIMEOUT_NS);
        assert_int_not_equal(which, 0);
        assert_int_equal(sl_wait(&op[0], LONG_NS), 0);
        for (uint32_t i = 1; i <= SLOTS; i++)
            if (op[i])
                assert_int_equal(sl_wait(&op[i], LONG_NS), 0);
    }
    assert_int_equal(slots_in_use(&r.rt->host->handle), 0);
    data_free(&d);
    rig_close(&r);
}

static void cancelled_calls_leave_nothing_behind(void **state)
{
    (void)state;
    struct sl_config c = device_config();
    struct rig r;
    rig_open(&r, &c);
    struct data d = data_new(&r);
    put_from_device(&r, &d, "c", 0, 5u * MIB);
    for (uint32_t i = 0; i < STEPS(200u); i++) {
        struct sl_op *op = NULL;
        uint64_t n = i % 3u ? 5u * MIB : 3000u;
        int rc =
            i % 2u
                ? sl_put_begin(r.rt, r.tag, "c", 0, device(d.at), n, NULL, &op)
                : sl_get_begin(r.rt, r.tag, "c", 0, device(d.at), n, &op);
        assert_int_equal(rc, 0);
        for (uint32_t k = 0; k < i % 5u && op; k++)
            (void)sl_test(&op);
        sl_cancel(&op);
        assert_null(op);
    }
    upload(&r, d.at, d.want, 5u * MIB);
    put_from_device(&r, &d, "c", 0, 5u * MIB);
    expect_on_host(&r, &d, "c", 5u * MIB);
    data_free(&d);
    rig_close(&r);
}

/* What is under way ends first, and what comes later has no device. */
static void a_device_closes_beside_futures(void **state)
{
    (void)state;
    struct sl_config c = device_config();
    struct sl_op *put = NULL, *get = NULL;
    struct rig r;
    rig_open(&r, &c);
    struct data d = data_new(&r);
    put_from_device(&r, &d, "x", 0, 5u * MIB);
    assert_int_equal(
        sl_put_begin(r.rt, r.tag, "y", 0, device(d.at), 5u * MIB, NULL, &put),
        0);
    assert_int_equal(
        sl_get_begin(r.rt, r.tag, "x", 0, device(d.at), 5u * MIB, &get), 0);
    sl_device_close(r.device);
    assert_int_equal(r.rt->kinds, 0);
    assert_int_equal(sl_wait(&put, LONG_NS), 0);
    int rc = sl_wait(&get, LONG_NS);
    assert_true(rc == 0 || rc == SL_ENODEV);
    assert_int_equal(sl_device_open(r.rt, device_name, &r.device), 0);
    r.d = *sl_device_handle(r.device);
    expect_on_device(&r, &d, "x", 0, 5u * MIB, 1);
    data_free(&d);
    rig_close(&r);
}

static void the_runtime_closes_beside_futures(void **state)
{
    (void)state;
    struct sl_config c = device_config();
    struct sl_op *put = NULL, *get = NULL;
    struct sl_runtime *rt = runtime_open(&c);
    struct sl_device *dev;
    struct gpu *g;
    uint64_t tag;
    sl_devptr at;
    assert_int_equal(sl_device_open(rt, device_name, &dev), 0);
    assert_int_equal(gpu_open(device_name, &g), 0);
    assert_int_equal(g->ops->alloc(g, 5u * MIB, &at), 0);
    assert_int_equal(sl_tag(rt, "t", &tag), 0);
    assert_int_equal(sl_put(rt, tag, "b", 0, device(at), 5u * MIB, NULL), 0);
    assert_int_equal(
        sl_put_begin(rt, tag, "d", 0, device(at), 5u * MIB, NULL, &put), 0);
    assert_int_equal(sl_get_begin(rt, tag, "b", 0, device(at), 5u * MIB, &get),
                     0);
    assert_int_equal(sl_close(rt), 0);
    assert_int_equal(sl_wait(&put, LONG_NS), SL_EDEAD);
    assert_int_equal(sl_wait(&get, LONG_NS), SL_EDEAD);
    g->ops->release(g, at);
    g->ops->close(g);
}

/* ---- threads ---- */

struct writer {
    struct rig *r;
    sl_devptr at;
    uint32_t id, bad;
};

/* Puts whole versions of one byte each, and gets one that is whole. */
static void *write_and_read(void *arg)
{
    struct writer *w = arg;
    const uint64_t n = 2u * MIB + 100u;
    uint8_t *p = zeroed(1, n);
    for (uint32_t i = 0; i < STEPS(40u); i++) {
        memset(p, (int)(w->id * 50u + i), n);
        if (w->r->ops->to_device(w->r->gpu, w->at, p, n) ||
            sl_put(w->r->rt, w->r->tag, "w", 0, device(w->at), n, NULL))
            w->bad++;
        int rc = sl_get(w->r->rt, w->r->tag, "w", 0, device(w->at), n, NULL);
        if (rc == SL_EBUSY)
            continue; /* it did not hold still */
        if (rc || w->r->ops->from_device(w->r->gpu, p, w->at, n))
            w->bad++;
        for (uint64_t k = 1; k < n; k++)
            w->bad += p[k] != p[0];
    }
    free(p);
    return NULL;
}

static void readers_see_whole_versions(void **state)
{
    (void)state;
    struct sl_config c = device_config();
    struct writer w[3];
    struct rig r;
    rig_open(&r, &c);
    for (uint32_t i = 0; i < COUNT(w); i++)
        w[i] = (struct writer){&r, room_device(&r, 3u * MIB), i, 0};
    run_threads(COUNT(w), write_and_read, w, sizeof(w[0]));
    for (uint32_t i = 0; i < COUNT(w); i++)
        assert_int_equal(w[i].bad, 0);
    rig_close(&r);
}

/* ---- a device that fails ---- */

enum fault { STREAM, EVENT, COPY, RECORD, TEST, FAULTS };
static struct {
    const struct gpu_ops *real;
    enum fault at;
    int left; /* so many calls succeed */
} fault;

static int fails(enum fault at)
{
    return fault.at == at && fault.left-- <= 0 ? SL_EDEVICE : 0;
}
static int bad_stream(struct gpu *g, struct gpu_stream **out)
{
    int rc = fails(STREAM);
    return rc ? rc : fault.real->stream_open(g, out);
}
static int bad_event(struct gpu *g, struct gpu_event **out)
{
    int rc = fails(EVENT);
    return rc ? rc : fault.real->event_open(g, out);
}
static int bad_copy(struct gpu_stream *s, const struct gpu_copy *c, size_t n)
{
    int rc = fails(COPY);
    if (rc) /* with some of them under way */
        (void)fault.real->copy_list(s, c, n / 2u);
    return rc ? rc : fault.real->copy_list(s, c, n);
}
static int bad_record(struct gpu_event *e, struct gpu_stream *s)
{
    int rc = fails(RECORD);
    return rc ? rc : fault.real->event_record(e, s);
}
static int bad_test(struct gpu_event *e)
{
    int rc = fault.real->event_test(e);
    if (rc == 0)
        rc = fails(TEST);
    return rc;
}

static void a_device_that_fails_costs_nothing_but_the_call(void **state)
{
    (void)state;
    struct sl_config c = device_config();
    struct gpu_ops ops;
    struct arena_usage before, after;
    struct rig r;
    rig_open(&r, &c);
    struct data d = data_new(&r);
    put_from_device(&r, &d, "x", 0, 5u * MIB);
    upload(&r, d.at, d.want, MOST);
    ops = *r.device->gpu->ops;
    fault.real = r.device->gpu->ops;
    ops.stream_open = bad_stream;
    ops.event_open = bad_event;
    ops.copy_list = bad_copy;
    ops.event_record = bad_record;
    ops.event_test = bad_test;
    arena_usage(r.rt->arena, &before);
    for (uint32_t i = 0; i < FAULTS * 4u; i++) {
        uint64_t n = i / FAULTS % 2u ? 5u * MIB : 6000u;
        struct sl_device *fresh;
        int get = i / FAULTS >= 2u, rc;
        sl_device_close(r.device); /* streams are opened at first use */
        assert_int_equal(sl_device_open(r.rt, device_name, &fresh), 0);
        r.device = fresh;
        r.d = *sl_device_handle(fresh);
        fault.at = (enum fault)(i % FAULTS);
        fault.left = 0;
        r.device->gpu->ops = &ops;
        rc = get ? sl_get(r.rt, r.tag, "x", 0, device(d.at), n, NULL)
                 : sl_put(r.rt, r.tag, "z", 0, device(d.at), n, NULL);
        r.device->gpu->ops = fault.real;
        assert_int_equal(rc, SL_EDEVICE);
    }
    arena_usage(r.rt->arena, &after);
    assert_int_equal(after.pinned_used, before.pinned_used);
    upload(&r, d.at, d.want, MOST);
    put_from_device(&r, &d, "x", 0, 5u * MIB);
    expect_on_host(&r, &d, "x", 5u * MIB);
    expect_on_device(&r, &d, "x", 0, 5u * MIB, 1);
    /* Chunks of lists that failed are back: most of the arena is free. */
    for (uint32_t i = 0; i < 20; i++)
        put_from_device(&r, &d, "x", 0, 5u * MIB);
    data_free(&d);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_go_from_device_and_back),
        cmocka_unit_test(long_names_and_levels_below_the_arena),
        cmocka_unit_test(gaps_read_as_zeros_on_the_device),
        cmocka_unit_test(ranges_that_leave_the_memory_are_refused),
        cmocka_unit_test(memory_of_a_device_that_is_not_open_is_refused),
        cmocka_unit_test(a_get_past_the_end_writes_nothing),
        cmocka_unit_test(futures_of_device_memory_end),
        cmocka_unit_test(a_get_waits_for_a_slot_as_it_is_told),
        cmocka_unit_test(cancelled_calls_leave_nothing_behind),
        cmocka_unit_test(a_device_closes_beside_futures),
        cmocka_unit_test(the_runtime_closes_beside_futures),
        cmocka_unit_test(readers_see_whole_versions),
        cmocka_unit_test(a_device_that_fails_costs_nothing_but_the_call),
    };
    seed = test_seed("test_device_memory");
    return run_on_devices(tests);
}
