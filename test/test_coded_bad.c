/* SPDX-License-Identifier: Apache-2.0 */
/* Codec 4 on device memory: bad input, tables and blocks that lie, a device that
 * fails and the CPU that takes over. */
#include "coded_help.h"

#include "sluice/pages.h"

/* ---- bad input ---- */

static void bad_puts_of_units_change_nothing(void **state)
{
    (void)state;
    struct sl_config c = device_config();
    struct arena_usage before, after;
    struct rig r;
    struct data d = rig_data(&r, &c);
    struct sl_put_opts o = {
        .size = sizeof(o), .score = -1.0f, .codec = SL_CODEC_LZ4};
    uint64_t size;
    put_coded(&r, &d, "b", 0, LEAST, SL_PATH_GPU);
    arena_usage(r.rt->arena, &before);
    for (uint32_t i = 0; i < (SLOW_LANES ? 2u : 5u); i++)
        assert_int_equal(
            sl_put(r.rt, r.tag + 99u, "b", 0, device(d.at), LEAST, &o),
            SL_ENOTAG);
    arena_usage(r.rt->arena, &after);
    assert_int_equal(after.pinned_used, before.pinned_used);
    assert_true(after.free + MIB > before.free);
    assert_int_equal(sl_size(r.rt, r.tag, "c", &size), SL_ENOENT);
    expect_on_host(&r, &d, "b", LEAST);
    rig_done(&r, &d);
}

/* A put of units whose table says what it likes, by a host thread over the
 * process's own channel. */
static int put_table(struct rig *r, const char *name, const uint64_t *word,
                     uint32_t n, uint64_t size, uint32_t unit)
{
    const struct sl_dev *h = &r->rt->host->handle;
    struct sl_until u = sl_until_default(h);
    struct slg g = slg_make(SL_THREAD);
    struct sl_key k = sl_key_make(r->tag, name, (uint32_t)strlen(name));
    struct slb_put x = {.p = slb_prep(0), .need = {0, 0, SL_LENT_MIN_SHIFT}};
    struct slm_request q;
    x.at = slb_prepare(h, &g, &x.p, x.need);
    assert_int_equal(x.at.rc, 0);
    uint64_t *table = (uint64_t *)(void *)(h->arena + x.at.chunk);
    for (uint32_t i = 0; i < n; i++)
        table[i] = sl_unit_make(0, 2048);
    slm_request_init(&q, SL_POOL_ADMIN, SL_ADMIN_UNITS);
    q.container = (uint16_t)(x.p.slot % h->n_lanes);
    q.chunk = x.at.chunk;
    q.size = n;
    q.kind = SL_KIND_EXCHANGE;
    slm_call(h, &x.p, &q, &u);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t at = sl_unit_chunk(table[i]);
        assert_int_equal(x.p.rc, 0);
        memset(h->arena + at, 0x11, 4096);
        table[i] = sl_unit_make(at, sl_unit_bytes(word[i]));
        if (sl_unit_chunk(word[i]) == 1u) /* the one before, again */
            table[i] = table[i - 1u];
        if (sl_unit_chunk(word[i]) == 2u) /* the table itself */
            table[i] = sl_unit_make(x.at.chunk, sl_unit_bytes(word[i]));
        if (sl_unit_chunk(word[i]) > 2u) /* nobody's */
            table[i] = word[i];
    }
    slm_request_init(&q, SL_POOL_STORE, SL_STORE_PUT);
    q.flags = SL_F_UNITS;
    q.codec = SL_CODEC_LZ4;
    q.coded = unit;
    struct sl_future f = slb_put_send(h, &g, &x, &k, &q, 0, NULL, size);
    return slb_finish_now(h, SL_THREAD, &f);
}

static void tables_that_lie_are_refused(void **state)
{
    const uint64_t half = sl_unit_make(0, 2048);
    const uint64_t good[4] = {half, half, half, half};
    (void)state;
    struct sl_config c = device_config();
    struct rig r;
    struct data d = rig_data(&r, &c);
    struct lie {
        uint64_t word[4];
        uint32_t n;
        uint64_t size;
        uint32_t unit;
        int code;
    } lies[] = {
        {{half, 0, half, half}, 4, 16384, 4096, SL_EPROTO},
        {{half, sl_unit_make(0, 65537), half, half}, 4, 16384, 4096, SL_EPROTO},
        {{half, sl_unit_make(0, 5000), half, half}, 4, 16384, 4096, SL_EPROTO},
        {{half, sl_unit_make(1, 2048), half, half}, 4, 16384, 4096, SL_ECHUNK},
        {{half, half, sl_unit_make(2, 2048), half}, 4, 16384, 4096, SL_EPROTO},
        {{sl_unit_make(64, 2048), half, half, half}, 4, 16384, 4096, SL_ECHUNK},
        {{half, half, half, sl_unit_make(UINT64_C(0xfffffff000), 9)},
         4,
         16384,
         4096,
         SL_ECHUNK},
        {{half, half, half, half}, 4, 16384, 4095, SL_EPROTO},
        {{half, half, half, half}, 4, 16384, 2048, SL_EPROTO},
        {{half, half, half, half}, 4, 16384, 131072, SL_EPROTO},
        {{half, half, half, half}, 4, 16384, 0, SL_EPROTO},
        {{half, half, half, half}, 4, 0, 4096, SL_EPROTO},
        {{half, half, half, half}, 4, 513u * 4096u, 4096, SL_EPROTO},
        {{half, half, half, half}, 4, SL_IO_MAX + 1u, 4096, SL_EFBIG},
    };
    struct arena_usage before, after;
    uint64_t size;
    assert_int_equal(put_table(&r, "good", good, 4, 16384, 4096), 0);
    assert_int_equal(sl_get(r.rt, r.tag, "good", 0, d.got, 16384, NULL),
                     SL_ECHECKSUM); /* of what is no block */
    arena_usage(r.rt->arena, &before);
    for (uint32_t i = 0; i < COUNT(lies); i++) {
        struct lie *l = &lies[i];
        int rc = put_table(&r, "lie", l->word, l->n, l->size, l->unit);
        if (rc != l->code)
            print_error("lie %u: %s\n", i, sl_strerror(rc));
        assert_int_equal(rc, l->code);
        assert_int_equal(sl_size(r.rt, r.tag, "lie", &size), SL_ENOENT);
    }
    arena_usage(r.rt->arena, &after);
    assert_int_equal(after.pinned_used, before.pinned_used);
    rig_done(&r, &d);
}

/* Blocks that do not decode: the device says so, then the CPU, and the caller
 * gets its code. */
static void damaged_units_give_a_code(void **state)
{
    (void)state;
    struct sl_config c = device_config();
    uint64_t word[4];
    struct rig r;
    struct data d = rig_data(&r, &c);
    for (uint32_t i = 0; i < COUNT(word); i++)
        word[i] = sl_unit_make(0, 1000);
    assert_int_equal(put_table(&r, "x", word, 4, LEAST, UNIT), 0);
    assert_int_equal(sl_get(r.rt, r.tag, "x", 0, device(d.at), LEAST, NULL),
                     SL_ECHECKSUM);
    assert_int_equal(moved(&r).gave_up, 1);
    /* Merged with nothing: the blob stays what it was. */
    fill_words(d.want, MOST);
    put_coded(&r, &d, "y", 0, LEAST, SL_PATH_GPU);
    assert_int_equal(put_table(&r, "y", word, 2, UNIT + 2000u, UNIT),
                     SL_EBLOCK);
    expect_on_host(&r, &d, "y", LEAST);
    rig_done(&r, &d);
}

/* ---- a device that fails ---- */

enum fault { ALLOC, PIN, LAUNCH, COPY, RECORD, TEST, FAULTS };
static struct {
    const struct gpu_ops *real;
    enum fault at;
    int left;  /* so many calls succeed */
    int times; /* then so many fail */
} fault;

static int fails(enum fault at)
{
    if (fault.at != at || fault.left-- > 0 || fault.times-- <= 0)
        return 0;
    return SL_EDEVICE;
}
static int bad_alloc(struct gpu *g, size_t bytes, sl_devptr *out)
{
    int rc = fails(ALLOC);
    return rc ? rc : fault.real->alloc(g, bytes, out);
}
static int bad_pin(struct gpu *g, void *mem, size_t bytes, sl_devptr *out)
{
    int rc = fails(PIN);
    return rc ? rc : fault.real->pin(g, mem, bytes, out);
}
static int bad_launch(struct gpu_stream *s, const struct gpu_launch *l)
{
    int rc = fails(LAUNCH);
    return rc ? rc : fault.real->launch(s, l);
}
static int bad_copy(struct gpu_stream *s, const struct gpu_copy *c, size_t n)
{
    int rc = fails(COPY);
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
    return rc ? rc : fails(TEST);
}

static const struct gpu_ops *failing(const struct gpu_ops *real)
{
    static struct gpu_ops ops;
    ops = *real;
    fault.real = real;
    ops.alloc = bad_alloc;
    ops.pin = bad_pin;
    ops.launch = bad_launch;
    ops.copy_list = bad_copy;
    ops.event_record = bad_record;
    ops.event_test = bad_test;
    return &ops;
}

static void the_cpu_takes_over_when_the_device_fails(void **state)
{
    (void)state;
    struct sl_config c = device_config();
    struct rig r;
    struct data d = rig_data(&r, &c);
    const struct gpu_ops *real = r.device->gpu->ops, *bad = failing(real);
    uint32_t took_over = 0;
    for (uint32_t i = 0; i < FAULTS * (SLOW_LANES  ? 1u
                                       : SANITIZED ? 2u
                                                   : 4u);
         i++) {
        struct sl_result res;
        int by = 0, rc;
        struct sl_put_opts o = {.size = sizeof(o),
                                .score = -1.0f,
                                .codec = SL_CODEC_LZ4,
                                .result = &res,
                                .path = &by};
        fill_words(d.want, LEAST);
        upload(&r, d.at, d.want, LEAST);
        fault.at = (enum fault)(i % FAULTS);
        fault.left = (int)(i / FAULTS);
        fault.times = 1;
        r.device->gpu->ops = bad;
        rc = sl_put(r.rt, r.tag, "z", 0, device(d.at), LEAST, &o);
        r.device->gpu->ops = real;
        assert_int_equal(rc, 0);
        took_over += by == SL_PATH_CPU;
        assert_in_range(res.v[2], 1, LEAST / 2u);
        expect_on_host(&r, &d, "z", LEAST);
        fault.left = (int)(i / FAULTS);
        fault.times = 1;
        r.device->gpu->ops = bad;
        rc = sl_get(r.rt, r.tag, "z", 0, device(d.at), LEAST, NULL);
        r.device->gpu->ops = real;
        assert_int_equal(rc, 0);
        download(&r, d.got, d.at, LEAST);
        assert_memory_equal(d.got, d.want, LEAST);
    }
    assert_true(took_over >= 5u);
    assert_true(moved(&r).gave_up > took_over);
    rig_done(&r, &d);
}

/* ---- a device that says what cannot be ---- */

static struct {
    const struct gpu_ops *real;
    struct sl_page_entry *entries; /* on their way to the host */
    uint32_t stored;
} lie;

static int lying_copy(struct gpu_stream *s, const struct gpu_copy *c, size_t n)
{
    if (n == 1u && c->bytes == LEAST / UNIT * sizeof(*lie.entries))
        lie.entries = (void *)(uintptr_t)c->to;
    return lie.real->copy_list(s, c, n);
}
static int lying_test(struct gpu_event *e)
{
    int rc = lie.real->event_test(e);
    if (!rc && lie.entries) {
        lie.entries[1].kind = SL_PAGE_LZ4;
        lie.entries[1].stored = lie.stored;
        lie.entries = NULL;
    }
    return rc;
}

/* Such a unit goes as it is, and the others stay coded. */
static void a_block_larger_than_can_be_is_not_taken(void **state)
{
    static const uint32_t stored[] = {UNIT + 1u, 0x80000000u, 0xfffff000u,
                                      0xfffff800u, UINT32_MAX};
    (void)state;
    struct sl_config c = device_config();
    struct rig r;
    struct data d = rig_data(&r, &c);
    static struct gpu_ops lying;
    lying = *r.device->gpu->ops;
    lie.real = r.device->gpu->ops;
    lying.copy_list = lying_copy;
    lying.event_test = lying_test;
    for (uint32_t i = 0; i < COUNT(stored); i += SLOW_LANES ? 4u : 1u) {
        struct sl_device_moved m = moved(&r);
        lie.stored = stored[i];
        r.device->gpu->ops = &lying;
        put_coded(&r, &d, "l", 0, LEAST, SL_PATH_GPU);
        r.device->gpu->ops = lie.real;
        assert_null(lie.entries);
        assert_in_range(moved(&r).blocks_out - m.blocks_out, UNIT, LEAST - 1u);
        expect_on_host(&r, &d, "l", LEAST);
    }
    assert_int_equal(moved(&r).gave_up, 0);
    rig_done(&r, &d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_puts_of_units_change_nothing),
        cmocka_unit_test(tables_that_lie_are_refused),
        cmocka_unit_test(damaged_units_give_a_code),
        cmocka_unit_test(the_cpu_takes_over_when_the_device_fails),
        cmocka_unit_test(a_block_larger_than_can_be_is_not_taken),
    };
    seed = test_seed("test_coded_bad");
    return run_on_devices(tests);
}
