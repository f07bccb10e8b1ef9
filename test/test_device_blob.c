/* SPDX-License-Identifier: Apache-2.0 */
/* Tags and blobs of kernels, on each device there is: every byte that went, and
 * none beside it, in all forms, sizes, alignments and kinds of memory. */
#include "device_help.h"

#define GUARD 64u
#define NAME_ROOM 264u /* of a name: 255 bytes at an odd place */

static uint64_t seed;

static void fill_random(uint8_t *p, size_t n)
{
    fill(p, n, test_random(&seed));
}

/* ---- an area of the device, and what it must hold ---- */

struct area {
    sl_devptr at;
    uint8_t *pinned; /* null: device memory */
    uint8_t *want;
    size_t bytes, used;
};

/* Room for n bytes between guards, `skew` bytes past an aligned place. */
static size_t area_take(struct area *m, uint64_t n, uint32_t skew)
{
    size_t at = m->used + GUARD + skew;
    m->used = (at + (size_t)n + GUARD + 63u) & ~(size_t)63u;
    return at;
}

/* Once all is taken: random bytes everywhere. */
static void area_make(struct rig *r, struct area *m, int pinned)
{
    m->bytes = m->used;
    m->want = zeroed(m->bytes, 1);
    fill_random(m->want, m->bytes);
    if (pinned)
        m->at = room_pinned(r, m->bytes, &m->pinned);
    else
        m->at = room_device(r, m->bytes);
    if (pinned)
        memcpy(m->pinned, m->want, m->bytes);
    else
        upload(r, m->at, m->want, m->bytes);
}

/* All of it, guards and sources too. */
static void area_expect(struct rig *r, const struct area *m)
{
    uint8_t *got = m->pinned;
    if (!m->pinned) {
        got = zeroed(m->bytes, 1);
        download(r, got, m->at, m->bytes);
    }
    assert_memory_equal(got, m->want, m->bytes);
    if (!m->pinned)
        free(got);
}

/* ---- one blob of the matrix ---- */

static const uint64_t sizes[] = {0,     1,     15,   16,      17,     63,
                                 64,    65,    2048, 4095,    4096,   4097,
                                 65536, 65537, MIB,  MIB + 1, 3 * MIB};
static const uint32_t skews[] = {0, 1, 3, 8};
static const uint32_t name_lengths[] = {1, 47, 48, 49, 255};

#define CASES_MAX 80u
#define LONGEST_OF_THREAD (MIB + 1u)
#define PART_MAX 5000u /* of an overwritten range */

struct blob_case {
    uint64_t size;
    char name[256];
    uint32_t name_len;
    sl_devptr name_at;
    uint8_t *model;              /* the blob's bytes */
    size_t src, dst, dst2, part; /* places in the area */
    uint64_t part_off, part_size;
};

struct matrix {
    struct rig r;
    uint32_t form, n;
    struct blob_case c[CASES_MAX];
    struct area area;
    struct check_op ops[CASES_MAX * 4u];
};

static void case_name(struct blob_case *c, uint32_t i, uint32_t len)
{
    c->name_len = len;
    for (uint32_t k = 0; k < len; k++)
        c->name[k] = (char)(33u + (i + k * 7u) % 94u);
    c->name[0] = (char)(33u + i); /* so that all differ */
}

static void case_add(struct matrix *x, uint64_t size, uint32_t skew)
{
    uint32_t i = x->n++;
    struct blob_case *c = &x->c[i];
    uint32_t other = skews[(i / COUNT(skews) + i) % COUNT(skews)];
    assert_true(i < CASES_MAX);
    c->size = size;
    case_name(c, i, name_lengths[i % COUNT(name_lengths)]);
    c->part_off = size / 3u;
    c->part_size = size / 3u < PART_MAX ? size / 3u : PART_MAX;
    c->src = area_take(&x->area, size, skew);
    c->dst = area_take(&x->area, size, other);
    c->dst2 = area_take(&x->area, size, skew);
    c->part = area_take(&x->area, c->part_size, other);
}

static void matrix_open(struct matrix *x, uint32_t form, int pinned)
{
    struct sl_config c = device_config();
    uint8_t *names;
    sl_devptr names_at;
    memset(x, 0, sizeof(*x));
    x->form = form;
    c.arena_bytes = 256 * MIB; /* slots keep chunks of up to 1 MiB */
    c.pinned_bytes = 96 * MIB;
    rig_open(&x->r, &c);
    for (uint32_t k = 0; k < COUNT(skews); k++)
        for (uint32_t i = 0; i < COUNT(sizes); i++)
            if (form != SL_THREAD || sizes[i] <= LONGEST_OF_THREAD)
                case_add(x, sizes[i], skews[k]);
    area_make(&x->r, &x->area, pinned);
    names = zeroed(x->n, NAME_ROOM);
    names_at = room_device(&x->r, x->n * NAME_ROOM);
    for (uint32_t i = 0; i < x->n; i++) {
        size_t at = i * NAME_ROOM + i % 8u;
        memcpy(names + at, x->c[i].name, x->c[i].name_len);
        x->c[i].name_at = names_at + at;
        x->c[i].model = zeroed(x->c[i].size, 1);
        memcpy(x->c[i].model, x->area.want + x->c[i].src, x->c[i].size);
    }
    upload(&x->r, names_at, names, x->n * NAME_ROOM);
    free(names);
}

static void matrix_close(struct matrix *x)
{
    for (uint32_t i = 0; i < x->n; i++)
        free(x->c[i].model);
    free(x->area.want);
    rig_close(&x->r);
}

static struct check_op *op_on(struct matrix *x, uint32_t per, uint32_t i,
                              uint32_t k, enum check_kind kind)
{
    struct check_op *op = &x->ops[i * per + k];
    op_init(op, kind);
    op->tag = x->r.tag;
    op->name_at = x->c[i].name_at;
    op->name_len = x->c[i].name_len;
    return op;
}

static void op_moves(struct check_op *op, const struct matrix *x, size_t place,
                     uint64_t offset, uint64_t size)
{
    op->data_at = x->area.at + place;
    op->offset = offset;
    op->size = size;
}

/* What a get of this range leaves at its destination. */
static void area_gets(struct matrix *x, const struct blob_case *c, size_t dst,
                      uint64_t offset, uint64_t size)
{
    memcpy(x->area.want + dst, c->model + offset, size);
}

/* The host sees the same blob. */
static void expect_on_host(struct matrix *x, const struct blob_case *c)
{
    uint8_t *got = zeroed(c->size, 1);
    uint64_t size = 0, exists = 0;
    assert_int_equal(sl_size(x->r.rt, x->r.tag, c->name, &size), 0);
    assert_int_equal(size, c->size);
    assert_int_equal(
        sl_get(x->r.rt, x->r.tag, c->name, 0, got, c->size, &exists), 0);
    assert_int_equal(exists, c->size);
    assert_memory_equal(got, c->model, c->size);
    free(got);
}

/* ---- the three kernels of a matrix ---- */

static void kernel_puts_and_gets(struct matrix *x)
{
    struct ops_run o;
    for (uint32_t i = 0; i < x->n; i++) {
        struct blob_case *c = &x->c[i];
        uint64_t odd = c->size > 1u; /* a range that begins at an odd byte */
        op_moves(op_on(x, 4, i, 0, CHECK_PUT), x, c->src, 0, c->size);
        op_on(x, 4, i, 1, CHECK_SIZE);
        op_moves(op_on(x, 4, i, 2, CHECK_GET), x, c->dst, 0, c->size);
        op_moves(op_on(x, 4, i, 3, CHECK_GET_WAIT), x, c->dst2, odd,
                 c->size - odd);
        area_gets(x, c, c->dst, 0, c->size);
        area_gets(x, c, c->dst2, odd, c->size - odd);
    }
    ops_run(&x->r, &o, x->form, x->ops, x->n, 4);
    for (uint32_t i = 0; i < x->n; i++) {
        expect_code(&o, 4u * i, 0, "put");
        expect_code(&o, 4u * i + 1u, 0, "size");
        assert_int_equal(ops_result(&o, 4u * i + 1u)->v[0], x->c[i].size);
        expect_code(&o, 4u * i + 2u, 0, "get");
        expect_code(&o, 4u * i + 3u, 0, "get of a range");
    }
    ops_free(&o);
    area_expect(&x->r, &x->area);
    for (uint32_t i = 0; i < x->n; i++)
        expect_on_host(x, &x->c[i]);
}

static void host_overwrites_a_part(struct matrix *x)
{
    for (uint32_t i = 0; i < x->n; i++) {
        struct blob_case *c = &x->c[i];
        fill_random(c->model + c->part_off, c->part_size);
        assert_int_equal(sl_put(x->r.rt, x->r.tag, c->name, c->part_off,
                                c->model + c->part_off, c->part_size, NULL),
                         0);
    }
}

static void kernel_gets_and_overwrites_a_part(struct matrix *x)
{
    struct ops_run o;
    for (uint32_t i = 0; i < x->n; i++) {
        struct blob_case *c = &x->c[i];
        uint64_t at = c->size - c->part_size; /* the end of the blob */
        op_moves(op_on(x, 3, i, 0, CHECK_GET_WAIT), x, c->dst, 0, c->size);
        op_moves(op_on(x, 3, i, 1, CHECK_PUT_WAIT), x, c->part, at,
                 c->part_size);
        area_gets(x, c, c->dst, 0, c->size);
        memcpy(c->model + at, x->area.want + c->part, c->part_size);
        op_moves(op_on(x, 3, i, 2, CHECK_GET), x, c->dst2, 0, c->size);
        area_gets(x, c, c->dst2, 0, c->size);
    }
    ops_run(&x->r, &o, x->form, x->ops, x->n, 3);
    for (uint32_t i = 0; i < 3u * x->n; i++)
        expect_code(&o, i, 0, "get, put of a range, get");
    ops_free(&o);
    area_expect(&x->r, &x->area);
    for (uint32_t i = 0; i < x->n; i++)
        expect_on_host(x, &x->c[i]);
}

static void kernel_deletes(struct matrix *x)
{
    struct ops_run o;
    uint64_t bytes = 1, blobs = 1;
    for (uint32_t i = 0; i < x->n; i++) {
        op_on(x, 3, i, 0, CHECK_DEL);
        op_on(x, 3, i, 1, CHECK_SIZE);
        op_on(x, 3, i, 2, CHECK_DEL);
    }
    ops_run(&x->r, &o, x->form, x->ops, x->n, 3);
    for (uint32_t i = 0; i < x->n; i++) {
        expect_code(&o, 3u * i, 0, "delete");
        expect_code(&o, 3u * i + 1u, SL_ENOENT, "size of a deleted blob");
        expect_code(&o, 3u * i + 2u, SL_ENOENT, "delete of a deleted blob");
    }
    ops_free(&o);
    assert_int_equal(sl_tag_size(x->r.rt, x->r.tag, &bytes, &blobs), 0);
    assert_int_equal(bytes, 0);
    assert_int_equal(blobs, 0);
}

static void matrix(uint32_t form, int pinned)
{
    struct matrix *x = zeroed(1, sizeof(*x));
    matrix_open(x, form, pinned);
    assert_true(x->n >= 60u);
    kernel_puts_and_gets(x);
    host_overwrites_a_part(x);
    kernel_gets_and_overwrites_a_part(x);
    kernel_deletes(x);
    matrix_close(x);
    free(x);
}

static void threads_move_every_byte(void **state)
{
    (void)state;
    matrix(SL_THREAD, 0);
}

static void warps_move_every_byte(void **state)
{
    (void)state;
    if (!SLOW_LANES) /* they move pinned memory, too */
        matrix(SL_WARP, 0);
}

static void blocks_move_every_byte(void **state)
{
    (void)state;
    matrix(SL_BLOCK, 0);
}

static void pinned_memory_is_source_and_destination(void **state)
{
    (void)state;
    for (uint32_t form = SL_THREAD; form <= SL_BLOCK; form++)
        if (!SLOW_LANES || form == SL_WARP)
            matrix(form, 1);
}

/* ---- tags ---- */

static void tags_of(struct rig *r, uint32_t form)
{
    static const uint32_t per = 4;
    struct check_op ops[COUNT(name_lengths) * 4u];
    struct ops_run o;
    char names[COUNT(name_lengths)][256] = {{0}};
    sl_devptr at;
    for (uint32_t i = 0; i < COUNT(name_lengths); i++)
        memset(names[i], (int)('A' + i + 8u * form), name_lengths[i]);
    at = room_with(r, names, sizeof(names));
    for (uint32_t i = 0; i < COUNT(ops); i++) {
        uint32_t k = i % per;
        op_init(&ops[i], k == 0 || k == 3u ? CHECK_TAG_FIND : CHECK_TAG);
        ops[i].name_at = at + i / per * sizeof(names[0]);
        ops[i].name_len = name_lengths[i / per];
    }
    ops_run(r, &o, form, ops, COUNT(name_lengths), per);
    for (uint32_t i = 0; i < COUNT(name_lengths); i++) {
        uint64_t tag = 0;
        assert_int_equal(sl_tag_find(r->rt, names[i], &tag), 0);
        expect_code(&o, per * i, SL_ENOTAG, "find before");
        for (uint32_t k = 1; k < per; k++) {
            expect_code(&o, per * i + k, 0, "tag");
            assert_int_equal(ops_result(&o, per * i + k)->v[0], tag);
        }
    }
    ops_free(&o);
    rooms_release(r, 0);
}

static void tags_are_made_once_and_found(void **state)
{
    struct sl_config c = device_config();
    struct rig r;
    (void)state;
    rig_open(&r, &c);
    for (uint32_t form = SL_THREAD; form <= SL_BLOCK; form++)
        tags_of(&r, form);
    rig_close(&r);
}

/* ---- tasks of all sizes ---- */

static void tasks_arrive_whole(void **state)
{
    static const uint32_t bytes[] = {1,  7,   8,   63,   64,
                                     65, 100, 255, 4095, SL_TASK_MAX};
    uint8_t data[SL_TASK_MAX + 16u];
    struct check_op ops[COUNT(bytes)];
    struct sl_config c = device_config();
    struct ops_run o;
    struct rig r;
    (void)state;
    rig_open(&r, &c);
    fill_random(data, sizeof(data));
    sl_devptr at = room_with(&r, data, sizeof(data));
    for (uint32_t i = 0; i < COUNT(bytes); i++) {
        op_init(&ops[i], CHECK_TASK);
        ops[i].pool = (uint16_t)r.hold;
        ops[i].method = HOLDER_SUM;
        ops[i].container = (uint16_t)(i % r.d.n_lanes);
        ops[i].high = i % 3u == 0;
        ops[i].data_at = at + i; /* any alignment */
        ops[i].size = bytes[i];
    }
    for (uint32_t form = SL_THREAD; form <= SL_BLOCK; form++) {
        ops_run(&r, &o, form, ops, COUNT(bytes), 1);
        for (uint32_t i = 0; i < COUNT(bytes); i++) {
            expect_code(&o, i, 0, "task");
            assert_int_equal(ops_result(&o, i)->v[0],
                             sl_key_hash(0, data + i, bytes[i]).lo);
            assert_int_equal(ops_result(&o, i)->v[1], bytes[i]);
        }
        ops_free(&o);
    }
    rig_close(&r);
}

/* ---- versions ---- */

static struct check_whole_args whole_args(struct rig *r, const char *name,
                                          uint32_t warps, uint32_t bytes)
{
    struct check_whole_args a;
    uint32_t len = (uint32_t)strlen(name);
    memset(&a, 0, sizeof(a));
    a.dev = r->d;
    a.key = sl_key_make(r->tag,
                        (const char *)(uintptr_t)room_with(r, name, len), len);
    a.pages_at = room_device(r, (size_t)warps * bytes);
    a.out_at = room_device(r, warps * sizeof(struct check_whole_out));
    a.size = bytes;
    a.gets = 200;
    a.changes = 50;
    a.timeout_ns = LONG_NS;
    return a;
}

static void expect_whole(struct rig *r, const struct check_whole_args *a,
                         uint32_t warps)
{
    struct check_whole_out *out = zeroed(warps, sizeof(*out));
    download(r, out, a->out_at, warps * sizeof(*out));
    for (uint32_t i = 0; i < warps; i++) {
        assert_int_equal(out[i].code, 0);
        assert_int_equal(out[i].torn, 0);
        assert_true(out[i].gets >= a->gets);
        assert_true(out[i].changes >= a->changes);
    }
    free(out);
}

/* Each version is one byte, repeated. */
static void overwritten_while_read(struct rig *r, const char *name,
                                   uint32_t bytes)
{
    struct shape s = r->on_gpu ? shape_of(r->info.sms, 128) : shape_of(2, 64);
    uint32_t warps = units_of(SL_WARP, s);
    uint8_t *page = zeroed(bytes, 1);
    struct check_whole_args a;
    uint64_t puts = 0;
    int rc = SL_ETIMEDOUT;
    int put = sl_put(r->rt, r->tag, name, 0, page, bytes, NULL);
    assert_int_equal(put, 0);
    a = whole_args(r, name, warps, bytes);
    start(r, 0, "k_check_whole", s, &a, sizeof(a));
    while (!put && rc == SL_ETIMEDOUT) {
        memset(page, (int)(++puts % 251u), bytes);
        put = sl_put(r->rt, r->tag, name, 0, page, bytes, NULL);
        rc = r->ops->stream_wait(r->stream[0], 0, NULL);
    }
    if (rc == SL_ETIMEDOUT)
        land(r, 0);
    else
        assert_int_equal(rc, 0);
    assert_int_equal(put, 0);
    assert_true(puts >= a.changes);
    expect_whole(r, &a, warps);
    free(page);
    rooms_release(r, 0);
}

/* Of sizes that the store overwrites in place, by a flip, and in units. */
static void readers_see_whole_versions_while_the_host_overwrites(void **state)
{
    struct sl_config c = device_config();
    struct rig r;
    (void)state;
    rig_open(&r, &c);
    overwritten_while_read(&r, "page", 4096);
    overwritten_while_read(&r, "half a page", 2048);
    overwritten_while_read(&r, "sixteen pages", 65536);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_move_every_byte),
        cmocka_unit_test(warps_move_every_byte),
        cmocka_unit_test(blocks_move_every_byte),
        cmocka_unit_test(pinned_memory_is_source_and_destination),
        cmocka_unit_test(tags_are_made_once_and_found),
        cmocka_unit_test(tasks_arrive_whole),
        cmocka_unit_test(readers_see_whole_versions_while_the_host_overwrites),
    };
    seed = test_seed("test_device_blob");
    return run_on_devices(tests);
}
