/* SPDX-License-Identifier: Apache-2.0 */
/* What kernels are told when a request is refused, on each device there is. */
#include "device_help.h"

/* ---- refusals ---- */

/* Names lie this far apart; the longest is one byte too long. */
#define NAME_ROOM 257u

enum name { NAME_NONE, NAME_NUL, NAME_TOO_LONG, NAME_STORED, NAME_ABSENT };
#define STORED_BYTES 1000u

static const char *const host_names[] = {"", "a", "", "stored", "absent"};

struct refusal {
    const char *what;
    struct check_op op;
    enum name name;
    int code;
    uint64_t v0; /* of the result */
};

#define NEAR_END (UINT64_MAX - 3u)
#define OP(k) .op.kind = (k), .op.size = 8

static const struct refusal refusals[] = {
    {.what = "unknown pool",
     OP(CHECK_TASK),
     .op.pool = 500,
     .code = SL_ENOPOOL},
    {.what = "largest pool",
     OP(CHECK_TASK),
     .op.pool = 65535,
     .code = SL_ENOPOOL},
    {.what = "unknown method",
     OP(CHECK_TASK),
     .op.method = 2,
     .code = SL_ENOMETHOD},
    {.what = "task of zero bytes",
     .op.kind = CHECK_TASK,
     .code = SL_ETASKEMPTY},
    {.what = "oversize task",
     .op.kind = CHECK_TASK,
     .op.size = SL_TASK_MAX + 1u,
     .code = SL_ETASKBIG},
    {.what = "huge task",
     .op.kind = CHECK_TASK,
     .op.size = UINT64_MAX,
     .code = SL_ETASKBIG},
    {.what = "task that the module refuses",
     .op.kind = CHECK_TASK,
     .op.size = 9,
     .code = SL_EINVAL},
    {.what = "unknown container",
     OP(CHECK_TASK),
     .op.container = 2,
     .code = SL_EROUTE},
    {.what = "largest container",
     OP(CHECK_TASK),
     .op.container = 65535,
     .code = SL_EROUTE},

    {.what = "tag, empty name",
     OP(CHECK_TAG),
     .name = NAME_NONE,
     .code = SL_ENONAME},
    {.what = "find, empty name",
     OP(CHECK_TAG_FIND),
     .name = NAME_NONE,
     .code = SL_ENONAME},
    {.what = "put, empty name",
     OP(CHECK_PUT),
     .name = NAME_NONE,
     .code = SL_ENONAME},
    {.what = "get, empty name",
     OP(CHECK_GET),
     .name = NAME_NONE,
     .code = SL_ENONAME},
    {.what = "size, empty name",
     OP(CHECK_SIZE),
     .name = NAME_NONE,
     .code = SL_ENONAME},
    {.what = "delete, empty name",
     OP(CHECK_DEL),
     .name = NAME_NONE,
     .code = SL_ENONAME},
    {.what = "tag, long name",
     OP(CHECK_TAG),
     .name = NAME_TOO_LONG,
     .code = SL_ENAMETOOLONG},
    {.what = "find, long name",
     OP(CHECK_TAG_FIND),
     .name = NAME_TOO_LONG,
     .code = SL_ENAMETOOLONG},
    {.what = "put, long name",
     OP(CHECK_PUT),
     .name = NAME_TOO_LONG,
     .code = SL_ENAMETOOLONG},
    {.what = "get, long name",
     OP(CHECK_GET_WAIT),
     .name = NAME_TOO_LONG,
     .code = SL_ENAMETOOLONG},
    {.what = "size, long name",
     OP(CHECK_SIZE),
     .name = NAME_TOO_LONG,
     .code = SL_ENAMETOOLONG},
    {.what = "delete, long name",
     OP(CHECK_DEL),
     .name = NAME_TOO_LONG,
     .code = SL_ENAMETOOLONG},
    {.what = "tag, NUL", OP(CHECK_TAG), .name = NAME_NUL, .code = SL_EBADNAME},
    {.what = "put, NUL", OP(CHECK_PUT), .name = NAME_NUL, .code = SL_EBADNAME},
    {.what = "get, NUL", OP(CHECK_GET), .name = NAME_NUL, .code = SL_EBADNAME},
    {.what = "size, NUL",
     OP(CHECK_SIZE),
     .name = NAME_NUL,
     .code = SL_EBADNAME},
    {.what = "delete, NUL",
     OP(CHECK_DEL),
     .name = NAME_NUL,
     .code = SL_EBADNAME},
    {.what = "rename, NUL",
     OP(CHECK_RENAME),
     .name = NAME_NUL,
     .code = SL_EBADNAME},
    {.what = "rename, empty name",
     OP(CHECK_RENAME),
     .name = NAME_NONE,
     .code = SL_ENONAME},
    {.what = "rename, long name",
     OP(CHECK_RENAME),
     .name = NAME_TOO_LONG,
     .code = SL_ENAMETOOLONG},
    {.what = "rename of no blob",
     OP(CHECK_RENAME),
     .name = NAME_ABSENT,
     .code = SL_ENOENT},
    {.what = "stat, NUL",
     OP(CHECK_STAT),
     .name = NAME_NUL,
     .code = SL_EBADNAME},
    {.what = "stat of no blob",
     OP(CHECK_STAT),
     .name = NAME_ABSENT,
     .code = SL_ENOENT},

    {.what = "find of no tag",
     OP(CHECK_TAG_FIND),
     .name = NAME_ABSENT,
     .code = SL_ENOTAG},
    {.what = "put, no tag",
     OP(CHECK_PUT),
     .op.tag = 12345,
     .name = NAME_STORED,
     .code = SL_ENOTAG},
    {.what = "get, no tag",
     OP(CHECK_GET),
     .op.tag = 12345,
     .name = NAME_STORED,
     .code = SL_ENOTAG},
    {.what = "get, no blob",
     OP(CHECK_GET),
     .name = NAME_ABSENT,
     .code = SL_ENOENT},
    {.what = "size, no blob",
     OP(CHECK_SIZE),
     .name = NAME_ABSENT,
     .code = SL_ENOENT},
    {.what = "delete, no blob",
     OP(CHECK_DEL),
     .name = NAME_ABSENT,
     .code = SL_ENOENT},

    {.what = "get of one byte too many",
     .op.kind = CHECK_GET_WAIT,
     .op.size = STORED_BYTES + 1u,
     .name = NAME_STORED,
     .code = SL_EPASTEND,
     .v0 = STORED_BYTES},
    {.what = "get across the end",
     OP(CHECK_GET_WAIT),
     .op.offset = STORED_BYTES - 7u,
     .name = NAME_STORED,
     .code = SL_EPASTEND,
     .v0 = STORED_BYTES},
    {.what = "get far past the end",
     OP(CHECK_GET_WAIT),
     .op.offset = UINT64_C(1) << 40,
     .name = NAME_STORED,
     .code = SL_EPASTEND,
     .v0 = STORED_BYTES},
    {.what = "get past the end, in one call",
     OP(CHECK_GET),
     .op.offset = STORED_BYTES,
     .name = NAME_STORED,
     .code = SL_EPASTEND},

    {.what = "put, offset overflow",
     OP(CHECK_PUT),
     .op.offset = NEAR_END,
     .name = NAME_STORED,
     .code = SL_EOVERFLOW},
    {.what = "get, offset overflow",
     OP(CHECK_GET),
     .op.offset = NEAR_END,
     .name = NAME_STORED,
     .code = SL_EOVERFLOW},
    {.what = "put above the largest",
     .op.kind = CHECK_PUT,
     .op.size = SL_IO_MAX + 1u,
     .name = NAME_STORED,
     .code = SL_EFBIG},
    {.what = "get above the largest",
     .op.kind = CHECK_GET,
     .op.size = SL_IO_MAX + 1u,
     .name = NAME_STORED,
     .code = SL_EFBIG},

    {.what = "score above one",
     OP(CHECK_PUT),
     .op.score = 1001,
     .name = NAME_STORED,
     .code = SL_ESCORE},
    {.what = "persist without a directory",
     OP(CHECK_PUT),
     .op.persist = 1,
     .name = NAME_STORED,
     .code = SL_ENODATADIR},
    {.what = "unknown persist level",
     OP(CHECK_PUT),
     .op.persist = 3,
     .name = NAME_STORED,
     .code = SL_EPERSIST},
    {.what = "unknown codec",
     OP(CHECK_PUT_WAIT),
     .op.codec = SL_CODECS,
     .name = NAME_STORED,
     .code = SL_ECODEC},
};

/* The table's operation, made whole: where a field is 0 it means the usual. */
static void refusal_op(const struct rig *r, const struct refusal *f,
                       sl_devptr names, sl_devptr data, struct check_op *op)
{
    static const uint32_t lengths[] = {0, 3, 256, 6, 6};
    *op = f->op;
    op->name_at = names + f->name * NAME_ROOM;
    op->name_len = lengths[f->name];
    op->data_at = data;
    if (!op->tag)
        op->tag = r->tag;
    if (!op->score)
        op->score = SL_SCORE_AUTO;
    if (op->kind == CHECK_TASK && !op->pool)
        op->pool = (uint16_t)r->echo;
}

static void refused_in(struct rig *r, uint32_t form, const struct check_op *ops,
                       sl_devptr data)
{
    uint8_t before[SL_TASK_MAX + 1u], after[SL_TASK_MAX + 1u];
    struct ops_run o;
    memset(before, 0xa5, sizeof(before));
    upload(r, data, before, sizeof(before));
    ops_run(r, &o, form, ops, COUNT(refusals), 1);
    for (uint32_t i = 0; i < COUNT(refusals); i++) {
        expect_code(&o, i, refusals[i].code, refusals[i].what);
        if (refusals[i].v0)
            assert_int_equal(ops_result(&o, i)->v[0], refusals[i].v0);
    }
    ops_free(&o);
    /* No refused get has written a byte. */
    download(r, after, data, sizeof(after));
    assert_memory_equal(after, before, sizeof(before));
}

static void refused_requests_say_why_and_do_nothing(void **state)
{
    uint8_t blob[STORED_BYTES], got[STORED_BYTES];
    char names[COUNT(host_names)][NAME_ROOM];
    struct sl_config c = device_config();
    struct check_op ops[COUNT(refusals)];
    struct rig r;
    (void)state;
    c.lanes = 2;
    rig_open(&r, &c);
    memset(names, 'n', sizeof(names));
    for (uint32_t i = 0; i < COUNT(host_names); i++)
        if (host_names[i][0]) /* with its NUL, so that "a" is a, NUL, n */
            memcpy(names[i], host_names[i], strlen(host_names[i]) + 1u);
    memset(blob, 'b', sizeof(blob));
    assert_int_equal(sl_put(r.rt, r.tag, "stored", 0, blob, sizeof(blob), NULL),
                     0);
    sl_devptr names_at = room_with(&r, names, sizeof(names));
    sl_devptr data = room_device(&r, SL_TASK_MAX + 1u);
    for (uint32_t i = 0; i < COUNT(refusals); i++)
        refusal_op(&r, &refusals[i], names_at, data, &ops[i]);
    for (uint32_t form = SL_THREAD; form <= SL_BLOCK; form++)
        refused_in(&r, form, ops, data);
    assert_int_equal(sl_get(r.rt, r.tag, "stored", 0, got, sizeof(got), NULL),
                     0);
    assert_memory_equal(got, blob, sizeof(got));
    rig_close(&r);
}

/* ---- a full tier ---- */

#define FULL_TIER (UINT64_C(256) << 10)
#define FULL_BLOB 4096u
#define FULL_PUTS 100u /* more than fit */

struct full {
    struct rig r;
    uint8_t *bytes; /* of all blobs */
    sl_devptr source, target, names;
    struct check_op ops[FULL_PUTS];
};

static void full_ops(struct full *x, enum check_kind kind, sl_devptr data)
{
    for (uint32_t i = 0; i < FULL_PUTS; i++) {
        op_init(&x->ops[i], kind);
        x->ops[i].tag = x->r.tag;
        x->ops[i].name_at = x->names + i * CHECK_NAME_LEN;
        x->ops[i].name_len = CHECK_NAME_LEN;
        x->ops[i].data_at = data + i * FULL_BLOB;
        x->ops[i].size = FULL_BLOB;
    }
}

static void full_open(struct full *x)
{
    struct sl_config c = device_config();
    char names[FULL_PUTS * CHECK_NAME_LEN];
    c.pinned_bytes = FULL_TIER;
    rig_open(&x->r, &c);
    x->bytes = zeroed(FULL_PUTS, FULL_BLOB);
    for (uint32_t i = 0; i < FULL_PUTS; i++) {
        check_name(names + i * CHECK_NAME_LEN, 'f', i);
        memset(x->bytes + i * FULL_BLOB, (int)(i + 1u), FULL_BLOB);
    }
    x->names = room_with(&x->r, names, sizeof(names));
    x->source = room_with(&x->r, x->bytes, FULL_PUTS * FULL_BLOB);
    x->target = room_device(&x->r, FULL_PUTS * FULL_BLOB);
}

/* Puts until it is full, which some are told; how many were stored. */
static uint32_t full_fill(struct full *x, uint32_t form, uint8_t *stored)
{
    struct ops_run o;
    uint32_t n = 0;
    full_ops(x, CHECK_PUT, x->source);
    ops_run(&x->r, &o, form, x->ops, FULL_PUTS, 1);
    for (uint32_t i = 0; i < FULL_PUTS; i++) {
        int code = ops_result(&o, i)->code;
        assert_true(code == 0 || code == SL_ENOSPC);
        stored[i] = code == 0;
        n += code == 0;
    }
    ops_free(&o);
    return n;
}

static void full_expect(struct full *x, uint32_t form, const uint8_t *stored)
{
    uint8_t *got = zeroed(FULL_PUTS, FULL_BLOB);
    struct ops_run o;
    full_ops(x, CHECK_GET, x->target);
    ops_run(&x->r, &o, form, x->ops, FULL_PUTS, 1);
    download(&x->r, got, x->target, FULL_PUTS * FULL_BLOB);
    for (uint32_t i = 0; i < FULL_PUTS; i++) {
        expect_code(&o, i, stored[i] ? 0 : SL_ENOENT, "get of a full tier");
        if (stored[i])
            assert_memory_equal(got + i * FULL_BLOB, x->bytes + i * FULL_BLOB,
                                FULL_BLOB);
    }
    ops_free(&o);
    free(got);
}

/* Large puts find no room, again and again, and leave nothing behind. */
static void full_refuses_large(struct full *x, uint32_t form)
{
    struct check_op op;
    char name[] = "large";
    uint32_t rooms = x->r.n_rooms;
    op_init(&op, CHECK_PUT);
    op.tag = x->r.tag;
    op.name_at = room_with(&x->r, name, sizeof(name) - 1u);
    op.name_len = sizeof(name) - 1u;
    op.data_at = room_device(&x->r, 3 * MIB);
    op.size = 3 * MIB;
    for (uint32_t i = 0; i < 30; i++) /* 90 MiB of an arena of 64 */
        assert_int_equal(op_alone(&x->r, form, &op), SL_ENOSPC);
    op.kind = CHECK_SIZE;
    assert_int_equal(op_alone(&x->r, form, &op), SL_ENOENT);
    rooms_release(&x->r, rooms);
}

static uint32_t full_container(const struct full *x, uint32_t i)
{
    char name[CHECK_NAME_LEN];
    check_name(name, 'f', i);
    return sl_key_container(sl_key_hash(x->r.tag, name, sizeof(name)),
                            x->r.d.n_lanes);
}

/* The room of a deleted blob serves another; of the same container, for a
 * container keeps a little of the tier for itself (store.c, credit_step). */
static void full_makes_room(struct full *x, uint32_t form, uint8_t *stored)
{
    uint32_t gone = 0, missing = 0;
    while (missing < FULL_PUTS && stored[missing])
        missing++;
    assert_true(missing < FULL_PUTS);
    while (gone < FULL_PUTS &&
           (!stored[gone] ||
            full_container(x, gone) != full_container(x, missing)))
        gone++;
    assert_true(gone < FULL_PUTS);
    full_ops(x, CHECK_DEL, 0);
    assert_int_equal(op_alone(&x->r, form, &x->ops[gone]), 0);
    full_ops(x, CHECK_PUT, x->source);
    assert_int_equal(op_alone(&x->r, form, &x->ops[missing]), 0);
    assert_int_equal(op_alone(&x->r, form, &x->ops[gone]), SL_ENOSPC);
    stored[gone] = 0;
    stored[missing] = 1;
}

static void a_full_tier_refuses_and_keeps_what_it_has(void **state)
{
    uint8_t stored[FULL_PUTS];
    (void)state;
    for (uint32_t form = SL_THREAD; form <= SL_BLOCK; form++) {
        struct full *x = zeroed(1, sizeof(*x));
        full_open(x);
        uint32_t n = full_fill(x, form, stored);
        /* All of it, but what containers keep for themselves. */
        assert_in_range(n, FULL_TIER / FULL_BLOB / 16u * 15u,
                        FULL_TIER / FULL_BLOB);
        full_expect(x, form, stored);
        full_refuses_large(x, form);
        full_makes_room(x, form, stored);
        full_expect(x, form, stored);
        free(x->bytes);
        rig_close(&x->r);
        free(x);
    }
}

/* ---- another name ---- */

#define MOVED_BYTES 3000u

/* The blob `name` of r->tag becomes "renamed" of `other`, and is stat'ed. */
static void renamed_in(struct rig *r, uint32_t form, uint64_t other,
                       const char *name)
{
    uint8_t bytes[MOVED_BYTES], got[MOVED_BYTES];
    struct check_op rename, stat;
    struct sl_stat st = {0};
    uint64_t size = 0;
    memset(bytes, (int)strlen(name), sizeof(bytes));
    assert_int_equal(sl_put(r->rt, r->tag, name, 0, bytes, MOVED_BYTES, NULL),
                     0);
    op_init(&rename, CHECK_RENAME);
    rename.tag = r->tag;
    rename.offset = other;
    rename.name_at = room_with(r, name, strlen(name));
    rename.name_len = (uint32_t)strlen(name);
    /* A form of several groups has it done by one of them, so this is it. */
    assert_int_equal(op_alone(r, form, &rename), 0);
    assert_int_equal(sl_size(r->rt, r->tag, name, &size), SL_ENOENT);
    assert_int_equal(sl_get(r->rt, other, "renamed", 0, got, MOVED_BYTES, NULL),
                     0);
    assert_memory_equal(got, bytes, MOVED_BYTES);
    op_init(&stat, CHECK_STAT);
    stat.tag = other;
    stat.name_at = room_with(r, "renamed", 7);
    stat.name_len = 7;
    stat.data_at = room_device(r, sizeof(st));
    assert_int_equal(op_alone(r, form, &stat), 0);
    download(r, &st, stat.data_at, sizeof(st));
    assert_int_equal(st.size, MOVED_BYTES);
    assert_int_equal(st.n_tiers, 1);
    /* In use, unless it may be replaced. */
    assert_int_equal(sl_put(r->rt, r->tag, name, 0, "x", 1, NULL), 0);
    assert_int_equal(op_alone(r, form, &rename), SL_EEXIST);
    rename.replace = SL_F_REPLACE;
    assert_int_equal(op_alone(r, form, &rename), 0);
    assert_int_equal(sl_size(r->rt, other, "renamed", &size), 0);
    assert_int_equal(size, 1);
    assert_int_equal(sl_del(r->rt, other, "renamed"), 0);
}

static void kernels_rename_and_stat(void **state)
{
    struct sl_config c = device_config();
    char longer[201];
    struct rig r;
    uint64_t other;
    (void)state;
    c.lanes = 2;
    rig_open(&r, &c);
    memset(longer, 'l', sizeof(longer) - 1u);
    longer[sizeof(longer) - 1u] = 0;
    assert_int_equal(sl_tag(r.rt, "other", &other), 0);
    for (uint32_t form = SL_THREAD; form <= SL_BLOCK; form++) {
        renamed_in(&r, form, other, "short");
        renamed_in(&r, form, other, longer);
    }
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refused_requests_say_why_and_do_nothing),
        cmocka_unit_test(kernels_rename_and_stat),
        cmocka_unit_test(a_full_tier_refuses_and_keeps_what_it_has),
    };
    return run_on_devices(tests);
}
