/* SPDX-License-Identifier: Apache-2.0 */
/* Codec 4 on device memory: a device codes what it puts and decodes what it
 * gets, hosts read and write the same blobs, and the CPU takes over when the
 * device fails. Units are small, as lanes are emulated where no GPU is. */
#include "device_help.h"

#include "sluice/pages.h"

#define MOST (160u * 1024u)
#define LEAST 16384u
#define UNIT 4096u

static uint64_t seed;

struct data {
    uint8_t *want, *got; /* MOST each */
    sl_devptr at;        /* MOST and 64 bytes */
};

/* Words of a few letters: about a third with LZ4. */
static void fill_words(uint8_t *p, size_t n)
{
    static const char words[8][9] = {"sluice ", "channel ", "worker ", "of ",
                                     "pinned ", "tier ",    "a ",      "blob "};
    for (size_t at = 0; at < n;) {
        const char *w = words[test_random(&seed) >> 61];
        size_t len = strlen(w) < n - at ? strlen(w) : n - at;
        memcpy(p + at, w, len);
        at += len;
    }
}

static void fill_random(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(test_random(&seed) >> 24);
}

static struct data rig_data(struct rig *r, const struct sl_config *c)
{
    rig_open(r, c);
    r->rt->unit_bytes = UNIT; /* four are enough, then */
    struct data d = {zeroed(1, MOST), zeroed(1, MOST),
                     room_device(r, MOST + 64u)};
    fill_words(d.want, MOST);
    return d;
}

static void rig_done(struct rig *r, struct data *d)
{
    free(d->want);
    free(d->got);
    rig_close(r);
}

static void *device(sl_devptr at)
{
    return (void *)(uintptr_t)at;
}

static struct sl_device_moved moved(struct rig *r)
{
    struct sl_device_moved m;
    sl_device_moved(r->device, &m);
    return m;
}

/* Puts [from, from + size) of `want` there; how it went. */
static struct sl_result put_coded(struct rig *r, struct data *d,
                                  const char *name, uint64_t from,
                                  uint64_t size, int path)
{
    struct sl_result res = {{0}};
    int by = -1;
    struct sl_put_opts o = {.size = sizeof(o),
                            .score = -1.0f,
                            .codec = SL_CODEC_LZ4,
                            .result = &res,
                            .path = &by};
    upload(r, d->at, d->want + from, size);
    assert_int_equal(sl_put(r->rt, r->tag, name, from, device(d->at), size, &o),
                     0);
    assert_int_equal(by, path);
    return res;
}

static void expect_on_host(struct rig *r, struct data *d, const char *name,
                           uint64_t size)
{
    memset(d->got, 0, size);
    assert_int_equal(sl_get(r->rt, r->tag, name, 0, d->got, size, NULL), 0);
    assert_memory_equal(d->got, d->want, size);
}

static void expect_on_device(struct rig *r, struct data *d, const char *name,
                             uint64_t from, uint64_t size)
{
    uint8_t mark = 0xa5;
    memset(d->got, 0, size);
    upload(r, d->at, d->got, size);
    upload(r, d->at + size, &mark, 1);
    assert_int_equal(
        sl_get(r->rt, r->tag, name, from, device(d->at), size, NULL), 0);
    download(r, d->got, d->at, size);
    assert_memory_equal(d->got, d->want + from, size);
    download(r, &mark, d->at + size, 1);
    assert_int_equal(mark, 0xa5);
}

static struct sl_stat stat_of(struct rig *r, const char *name)
{
    struct sl_stat s;
    assert_int_equal(sl_stat(r->rt, r->tag, name, &s), 0);
    return s;
}

/* ---- both ways ---- */

static void a_device_codes_and_decodes(void **state)
{
    static const uint64_t sizes[] = {LEAST, LEAST + 1u, 3u * LEAST - 7u, MOST};
    (void)state;
    struct sl_config c = device_config();
    struct rig r;
    struct data d = rig_data(&r, &c);
    memset(d.want + 2u * UNIT, 0, 2u * UNIT); /* zeros */
    memset(d.want + 4u * UNIT, 0x77, UNIT);   /* one value */
    fill_random(d.want + 5u * UNIT, UNIT);    /* nothing to gain */
    for (uint32_t i = 0; i < COUNT(sizes); i++) {
        if (SLOW_LANES && i != 2u) /* all kinds of units are in that one */
            continue;
        struct sl_device_moved m = moved(&r);
        struct sl_result res = put_coded(&r, &d, "a", 0, sizes[i], SL_PATH_GPU);
        assert_int_equal(res.v[0], sizes[i]);
        assert_in_range(res.v[2], 1, sizes[i] / 2u + 2u * UNIT);
        assert_true(res.v[3] > 0);
        assert_int_equal(moved(&r).coded_out, m.coded_out + sizes[i]);
        assert_int_equal(moved(&r).plain_out, m.plain_out);
        assert_int_equal(stat_of(&r, "a").codec, SL_CODEC_LZ4);
        expect_on_host(&r, &d, "a", sizes[i]);
        expect_on_device(&r, &d, "a", 0, sizes[i]);
        assert_true(moved(&r).coded_in > m.coded_in + sizes[i] / 2u);
        expect_on_device(&r, &d, "a", 100, sizes[i] - 200u);
        expect_on_device(&r, &d, "a", 4096, sizes[i] - 4096u);
        assert_int_equal(sl_del(r.rt, r.tag, "a"), 0);
    }
    assert_int_equal(moved(&r).gave_up, 0);
    rig_done(&r, &d);
}

static void units_of_each_size_are_read_by_both(void **state)
{
    (void)state;
    struct sl_config c = device_config();
    struct rig r;
    struct data d = rig_data(&r, &c);
    uint32_t most = SLOW_LANES ? 4u * UNIT : SL_CODED_MAX;
    for (uint32_t unit = UNIT; unit < most; unit *= 2u) {
        uint64_t size = 4u * unit + 100u;
        r.rt->unit_bytes = unit;
        put_coded(&r, &d, "u", 0, size, SL_PATH_GPU);
        assert_int_equal(stat_of(&r, "u").extents, 5);
        expect_on_host(&r, &d, "u", size);
        expect_on_device(&r, &d, "u", 0, size);
    }
    rig_done(&r, &d);
}

static void a_device_reads_what_hosts_coded(void **state)
{
    (void)state;
    struct sl_config c = device_config();
    struct sl_put_opts o = {
        .size = sizeof(o), .score = -1.0f, .codec = SL_CODEC_LZ4};
    struct rig r;
    struct data d = rig_data(&r, &c);
    assert_int_equal(sl_put(r.rt, r.tag, "h", 0, d.want, 2u * LEAST + 999u, &o),
                     0);
    expect_on_device(&r, &d, "h", 0, 2u * LEAST + 999u);
    assert_true(moved(&r).coded_in >= 2u * LEAST);
    rig_done(&r, &d);
}

static void what_does_not_shrink_is_put_as_it_is(void **state)
{
    (void)state;
    struct sl_config c = device_config();
    struct rig r;
    struct data d = rig_data(&r, &c);
    fill_random(d.want, MOST);
    struct sl_result res = put_coded(&r, &d, "n", 0, LEAST, SL_PATH_NONE);
    assert_int_equal(res.v[2], LEAST);
    assert_int_equal(stat_of(&r, "n").codec, SL_CODEC_NONE);
    expect_on_device(&r, &d, "n", 0, LEAST);
    /* Small ones, and ones that are not aligned, are the CPU's. */
    fill_words(d.want, MOST);
    put_coded(&r, &d, "s", 0, LEAST - 1u, SL_PATH_CPU);
    expect_on_host(&r, &d, "s", LEAST - 1u);
    struct sl_put_opts o = {
        .size = sizeof(o), .score = -1.0f, .codec = SL_CODEC_LZ4};
    upload(&r, d.at + 1u, d.want, LEAST);
    assert_int_equal(sl_put(r.rt, r.tag, "s", 0, device(d.at + 1u), LEAST, &o),
                     0);
    expect_on_host(&r, &d, "s", LEAST);
    assert_int_equal(
        sl_get(r.rt, r.tag, "s", 0, device(d.at + 3u), LEAST, NULL), 0);
    download(&r, d.got, d.at + 3u, LEAST);
    assert_memory_equal(d.got, d.want, LEAST);
    rig_done(&r, &d);
}

/* ---- over what is there ---- */

static void coded_puts_merge_with_what_is_there(void **state)
{
    static const struct {
        uint64_t from, size;
    } puts[] = {{0, 2u * LEAST},
                {100, LEAST},              /* into units */
                {2u * LEAST - 50u, LEAST}, /* over the end */
                {4u * LEAST, LEAST + 5u},  /* behind a gap */
                {UNIT, LEAST},             /* whole units */
                {0, 5u * LEAST + 5u}};     /* all */
    (void)state;
    struct sl_config c = device_config();
    struct rig r;
    struct data d = rig_data(&r, &c);
    uint8_t *all = zeroed(1, MOST), *text = d.want;
    uint64_t end = 0;
    for (uint32_t i = 0; i < COUNT(puts); i++) {
        fill_words(text, MOST);
        put_coded(&r, &d, "m", puts[i].from, puts[i].size, SL_PATH_GPU);
        memcpy(all + puts[i].from, text + puts[i].from, puts[i].size);
        if (puts[i].from + puts[i].size > end)
            end = puts[i].from + puts[i].size;
        d.want = all;
        expect_on_host(&r, &d, "m", end);
        if (!SLOW_LANES || i + 1u == COUNT(puts))
            expect_on_device(&r, &d, "m", 0, end);
        d.want = text;
    }
    free(all);
    rig_done(&r, &d);
}

static void coded_units_outlive_the_process(void **state)
{
    (void)state;
    struct sl_config c = device_config();
    char dir[64];
    struct rig r;
    make_dir(dir, sizeof(dir));
    c.data_dir = dir;
    struct data d = rig_data(&r, &c);
    struct sl_put_opts o = {
        .size = sizeof(o), .score = -1.0f, .persist = 2, .codec = SL_CODEC_LZ4};
    r.rt->unit_bytes = 16384;
    upload(&r, d.at, d.want, 5u * LEAST);
    assert_int_equal(sl_put(r.rt, r.tag, "p", 0, device(d.at), 5u * LEAST, &o),
                     0);
    put_coded(&r, &d, "v", 0, 5u * LEAST, SL_PATH_GPU); /* goes with a flush */
    assert_int_equal(stat_of(&r, "p").codec, SL_CODEC_LZ4);
    assert_string_equal(stat_of(&r, "p").tier[0].kind, "file");
    rig_close(&r);
    rig_open(&r, &c);
    d.at = room_device(&r, MOST + 64u);
    expect_on_host(&r, &d, "p", 5u * LEAST);
    expect_on_host(&r, &d, "v", 5u * LEAST);
    expect_on_device(&r, &d, "p", 0, 5u * LEAST);
    assert_int_equal(moved(&r).coded_in, 5u * LEAST);
    expect_on_device(&r, &d, "v", 0, 5u * LEAST);
    rig_done(&r, &d);
    remove_dir(dir);
}

static void units_find_another_tier(void **state)
{
    (void)state;
    struct sl_config c = device_config();
    struct rig r;
    c.pinned_bytes = SL_NONE;
    c.ram_bytes = 8u * MIB;
    struct data d = rig_data(&r, &c);
    r.rt->unit_bytes = 16384;
    put_coded(&r, &d, "t", 0, 5u * LEAST, SL_PATH_GPU);
    assert_string_equal(stat_of(&r, "t").tier[0].kind, "ram");
    assert_int_equal(stat_of(&r, "t").codec, SL_CODEC_LZ4);
    expect_on_host(&r, &d, "t", 5u * LEAST);
    expect_on_device(&r, &d, "t", 0, 5u * LEAST);
    rig_done(&r, &d);
}

/* ---- futures ---- */

static void futures_of_coded_puts_end_or_are_cancelled(void **state)
{
    (void)state;
    struct sl_config c = device_config();
    struct sl_op *op[4] = {NULL};
    struct sl_put_opts o = {
        .size = sizeof(o), .score = -1.0f, .codec = SL_CODEC_LZ4};
    uint32_t n = SLOW_LANES ? 2u : COUNT(op);
    char name[8] = "f-0";
    struct rig r;
    struct data d = rig_data(&r, &c);
    upload(&r, d.at, d.want, MOST);
    for (uint32_t turn = 0; turn < 2u; turn++) {
        for (uint32_t i = 0; i < n; i++) {
            name[2] = (char)('0' + i);
            assert_int_equal(sl_put_begin(r.rt, r.tag, name, 0, device(d.at),
                                          LEAST + i, &o, &op[i]),
                             0);
        }
        for (uint32_t i = 0; i < n; i++) {
            if (turn == 0 && i % 2u)
                sl_cancel(&op[i]);
            else
                assert_int_equal(sl_wait(&op[i], LONG_NS), 0);
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        name[2] = (char)('0' + i);
        expect_on_host(&r, &d, name, LEAST + i);
    }
    rig_done(&r, &d);
}

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
    for (uint32_t i = 0; i < FAULTS * (SANITIZED ? 2u : 4u); i++) {
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
    for (uint32_t i = 0; i < COUNT(stored); i++) {
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

/* ---- when all slots are taken ---- */

#define SLOTS 32u
#define TIMEOUT_NS (20u * SECOND_NS)

/* The put is packed before it needs a slot, and then others have all. */
static void a_coded_put_waits_for_a_slot_as_it_is_told(void **state)
{
    (void)state;
    struct sl_config c = device_config();
    struct sl_put_opts o = {
        .size = sizeof(o), .score = -1.0f, .codec = SL_CODEC_LZ4};
    struct sl_op *op[SLOTS + 1u];
    struct rig r;
    size_t which = 0;
    c.lanes = 1;
    c.depth = SLOTS;
    c.timeout_ns = TIMEOUT_NS;
    struct data d = rig_data(&r, &c);
    upload(&r, d.at, d.want, LEAST);
    assert_int_equal(
        sl_put_begin(r.rt, r.tag, "p", 0, device(d.at), LEAST, &o, &op[0]), 0);
    for (uint32_t i = 1; i <= SLOTS; i++) {
        char name[16];
        snprintf(name, sizeof(name), "s%u", i);
        assert_int_equal(
            sl_put_begin(r.rt, r.tag, name, 0, name, 2, NULL, &op[i]), 0);
    }
    /* Long enough to be packed, or it only packs, which is right too. */
    uint64_t begun = slp_now();
    for (uint32_t i = 0; i < 100u; i++)
        assert_int_equal(sl_wait(&op[0], 1000000), SL_ETIMEDOUT);
    assert_int_equal(sl_wait_any(op, SLOTS + 1u, LONG_NS, &which), 0);
    assert_true(slp_now() - begun < TIMEOUT_NS);
    assert_int_not_equal(which, 0);
    assert_int_equal(sl_wait(&op[0], LONG_NS), 0);
    for (uint32_t i = 1; i <= SLOTS; i++)
        if (op[i])
            assert_int_equal(sl_wait(&op[i], LONG_NS), 0);
    assert_int_equal(moved(&r).coded_out, LEAST);
    assert_int_equal(moved(&r).gave_up, 0);
    expect_on_host(&r, &d, "p", LEAST);
    rig_done(&r, &d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_device_codes_and_decodes),
        cmocka_unit_test(units_of_each_size_are_read_by_both),
        cmocka_unit_test(a_device_reads_what_hosts_coded),
        cmocka_unit_test(what_does_not_shrink_is_put_as_it_is),
        cmocka_unit_test(coded_puts_merge_with_what_is_there),
        cmocka_unit_test(coded_units_outlive_the_process),
        cmocka_unit_test(units_find_another_tier),
        cmocka_unit_test(futures_of_coded_puts_end_or_are_cancelled),
        cmocka_unit_test(a_block_larger_than_can_be_is_not_taken),
        cmocka_unit_test(a_coded_put_waits_for_a_slot_as_it_is_told),
        cmocka_unit_test(bad_puts_of_units_change_nothing),
        cmocka_unit_test(tables_that_lie_are_refused),
        cmocka_unit_test(damaged_units_give_a_code),
        cmocka_unit_test(the_cpu_takes_over_when_the_device_fails),
    };
    seed = test_seed("test_coded_units");
    return run_on_devices(tests);
}
