/* SPDX-License-Identifier: Apache-2.0 */
/* Each fault of a target and of the metadata, at each step of each operation:
 * an error to the caller, nothing lost that was acknowledged, nothing leaked,
 * and all works again afterwards. */
#include "fault_kinds.h"
#include "space_check.h"
#include "store_help.h"

/* ---- the store, and what it must hold ---- */

#define BLOBS 6u
#define CODED 5u /* number of the blob that has a codec */
#define BYTES_MAX 400000u

struct held {
    int there;
    uint64_t size;
    uint8_t bytes[BYTES_MAX];
};

struct rig {
    struct sl_config c;
    char dir[64], file[80];
    struct sl_runtime *rt;
    uint64_t tag;
    struct held held[BLOBS];
    uint8_t *buf;
    struct space empty;
    uint64_t stamp;     /* of the next bytes */
    uint64_t struck, n; /* faults that struck, operations that were tried */
};

static const char *const names[BLOBS] = {"small",   "page", "big",
                                         "durable", "new",  "coded"};
static const uint64_t base_size[BLOBS] = {100, 5000, 300000, 150000, 0, 170000};

enum tiers_used { USE_RAM = 1, USE_FILE = 2, USE_DIR = 4, USE_PINNED = 8 };

static void rig_open(struct rig *r, unsigned use)
{
    memset(r, 0, sizeof(*r));
    make_dir(r->dir, sizeof(r->dir));
    snprintf(r->file, sizeof(r->file), "%s/file", r->dir);
    r->c = small_config();
    r->c.pinned_bytes = use & USE_PINNED ? 2 * MIB : SL_NONE;
    r->c.ram_bytes = use & USE_RAM ? 8 * MIB : 0;
    r->c.file_bytes = 16 * MIB;
    if (use & USE_DIR)
        r->c.data_dir = r->dir;
    else if (use & USE_FILE)
        r->c.file_path = r->file;
    else
        r->c.file_bytes = 0;
    n_tiers = 0;
    r->rt = open_store(&r->c);
    assert_true(n_tiers > 0);
    r->buf = malloc(BYTES_MAX);
    assert_non_null(r->buf);
    r->empty = space_of(r->rt);
}

static void rig_close(struct rig *r)
{
    assert_int_equal(sl_close(r->rt), 0);
    n_tiers = 0;
    free(r->buf);
    remove_dir(r->dir);
}

static struct sl_put_opts opts(uint32_t flags, uint8_t level)
{
    struct sl_put_opts o = {
        .size = sizeof(o), .flags = flags, .score = -1, .persist = level};
    return o;
}

static int put(struct rig *r, unsigned i, uint64_t offset, uint64_t size,
               struct sl_put_opts o)
{
    struct held *h = &r->held[i];
    fill(r->buf, size, ++r->stamp);
    for (uint64_t at = 64; o.codec && at < size; at += 64u)
        memcpy(r->buf + at, r->buf, size - at < 64u ? size - at : 64u);
    int rc = sl_put(r->rt, r->tag, names[i], offset, r->buf, size, &o);
    if (rc)
        return rc;
    if (!h->there || (o.flags & SL_F_REPLACE)) {
        memset(h->bytes, 0, sizeof(h->bytes));
        h->size = 0;
    }
    h->there = 1;
    memcpy(h->bytes + offset, r->buf, size);
    if (offset + size > h->size)
        h->size = offset + size;
    return 0;
}

static int get(struct rig *r, unsigned i)
{
    const struct held *h = &r->held[i];
    int rc = sl_get(r->rt, r->tag, names[i], 0, r->buf, h->size, NULL);
    if (!rc)
        assert_memory_equal(r->buf, h->bytes, h->size);
    return rc;
}

/* Everything is there and whole. Where a target lied a blob may be damaged,
 * and says so. */
static void check_all(struct rig *r, int damaged)
{
    for (unsigned i = 0; i < BLOBS; i++) {
        uint64_t size = 0;
        int rc = sl_size(r->rt, r->tag, names[i], &size);
        assert_int_equal(rc, r->held[i].there ? 0 : SL_ENOENT);
        if (!r->held[i].there)
            continue;
        assert_int_equal(size, r->held[i].size);
        rc = get(r, i);
        if (rc != SL_ECHECKSUM || !damaged)
            assert_int_equal(rc, 0);
    }
}

/* ---- what is tried ---- */

enum op_kind {
    OP_PUT,
    OP_GET,
    OP_FLUSH,
    OP_DEL,
    OP_TAG,
    OP_MAKE,
    OP_RENAME,
    OP_SCORE
};

struct op {
    const char *name;
    enum op_kind kind;
    unsigned blob;
    uint64_t offset, size;
    uint32_t flags;
    uint8_t level;
    uint8_t codec;
};

static const struct op ops[] = {
    {"put new", OP_PUT, 4, 0, 200000, 0, 0, 0},
    {"put replace", OP_PUT, 2, 0, 150000, SL_F_REPLACE, 0, 0},
    {"put inside", OP_PUT, 2, 70000, 10000, 0, 0, 0},
    {"put across", OP_PUT, 2, 60001, 70001, 0, 0, 0},
    {"put extend", OP_PUT, 2, 300000, 90000, 0, 0, 0},
    {"put behind a gap", OP_PUT, 1, 90000, 10, 0, 0, 0},
    {"get", OP_GET, 2, 0, 0, 0, 0, 0},
    {"put coded", OP_PUT, 4, 0, 200000, 0, 0, SL_CODEC_ZSTD},
    {"put inside coded", OP_PUT, 5, 70000, 10000, 0, 0, 0},
    {"get coded", OP_GET, 5, 0, 0, 0, 0, 0},
    {"score up", OP_SCORE, 5, 0, 1000, 0, 0, 0},
    {"score down", OP_SCORE, 2, 0, 100, 0, 0, 0},
    {"put new level 1", OP_PUT, 4, 0, 100000, 0, 1, 0},
    {"put new level 2", OP_PUT, 4, 0, 100000, 0, 2, 0},
    {"put replace level 1", OP_PUT, 3, 0, 80000, SL_F_REPLACE, 1, 0},
    {"put inside level 2", OP_PUT, 3, 65000, 1000, 0, 2, 0},
    {"put volatile to level 1", OP_PUT, 2, 10, 10, 0, 1, 0},
    {"get durable", OP_GET, 3, 0, 0, 0, 0, 0},
    {"flush", OP_FLUSH, 0, 0, 0, 0, 0, 0},
    {"delete", OP_DEL, 3, 0, 0, 0, 0, 0},
    {"delete tag", OP_TAG, 0, 0, 0, 0, 0, 0},
    {"create tag", OP_MAKE, 0, 0, 0, 0, 0, 0},
    {"rename durable", OP_RENAME, 3, 0, 0, 0, 0, 0},
    {"rename volatile", OP_RENAME, 2, 0, 0, 0, 0, 0},
    {"score durable", OP_SCORE, 3, 0, 100, 0, 0, 0},
};
#define N_OPS (sizeof(ops) / sizeof(ops[0]))

static int run_op(struct rig *r, const struct op *o)
{
    struct sl_put_opts how;
    uint64_t other;
    int rc;
    switch (o->kind) {
    case OP_PUT:
        how = opts(o->flags, o->level);
        how.codec = o->codec;
        return put(r, o->blob, o->offset, o->size, how);
    case OP_GET:
        return get(r, o->blob);
    case OP_DEL:
        rc = sl_del(r->rt, r->tag, names[o->blob]);
        if (!rc)
            r->held[o->blob].there = 0;
        return rc;
    case OP_TAG:
        rc = sl_tag_del(r->rt, r->tag);
        for (unsigned i = 0; i < BLOBS && !rc; i++)
            r->held[i].there = 0;
        return rc;
    case OP_RENAME: /* to the name that is free */
        rc = sl_rename(r->rt, r->tag, names[o->blob], r->tag, names[4], 0);
        if (!rc) {
            r->held[4] = r->held[o->blob];
            r->held[o->blob].there = 0;
        }
        return rc;
    case OP_SCORE: /* in thousandths */
        return sl_score(r->rt, r->tag, names[o->blob],
                        (float)o->size / 1000.0f);
    case OP_MAKE:
        return sl_tag(r->rt, "other", &other);
    case OP_FLUSH:
    default:
        return sl_flush(r->rt);
    }
}

/* A volatile set and, with a directory, a durable blob. */
static void make_base(struct rig *r)
{
    assert_int_equal(sl_tag(r->rt, "t", &r->tag), 0);
    for (unsigned i = 0; i < BLOBS; i++) {
        r->held[i].there = 0;
        if (!base_size[i])
            continue;
        uint8_t level = i == 3 && r->c.data_dir ? 1 : 0;
        struct sl_put_opts o = opts(0, level);
        o.codec = i == CODED ? SL_CODEC_ZSTD : 0;
        assert_int_equal(put(r, i, 0, base_size[i], o), 0);
    }
}

/* Deletes all; then no space is taken. */
static void clear_base(struct rig *r)
{
    struct space now;
    uint64_t other;
    for (unsigned i = 0; i < BLOBS; i++) {
        int rc = sl_del(r->rt, r->tag, names[i]);
        assert_int_equal(rc, r->held[i].there ? 0 : SL_ENOENT);
    }
    assert_int_equal(sl_tag_del(r->rt, r->tag), 0);
    if (sl_tag_find(r->rt, "other", &other) == 0)
        assert_int_equal(sl_tag_del(r->rt, other), 0);
    assert_int_equal(sl_flush(r->rt), 0);
    now = space_of(r->rt);
    space_same(&r->empty, &now);
}

/* Where a fault strikes, the caller hears of it; but a full target may have
 * another below, and what syncs later reports it later. */
static void check_code(const struct op *o, const struct fault *f, int rc)
{
    int moves = o->kind == OP_FLUSH || o->kind == OP_SCORE;
    if (f->kind == K_FULL)
        assert_true(rc == 0 || rc == SL_ENOSPC);
    else if (moves && f->op == FAULT_ALLOC)   /* what has a place goes first, */
        assert_true(rc == 0 || rc == SL_EIO); /* the rest is tried again */
    else if (f->op == FAULT_FLUSH && f->kind != K_META)
        assert_true(rc == 0 || rc == SL_EIO);
    else if (lies(f->kind)) /* a later step may read what was not written */
        assert_true(rc == 0 || rc == SL_ECHECKSUM);
    else
        assert_int_equal(rc, SL_EIO);
}

/* One operation with one fault; false when it took fewer steps than that. */
static int try_one(struct rig *r, const struct op *o, struct fault *f)
{
    make_base(r);
    arm(f);
    int rc = run_op(r, o), hit = struck(f);
    disarm();
    r->n++;
    r->struck += hit ? 1u : 0u;
    if (hit)
        check_code(o, f, rc);
    else
        assert_int_equal(rc, 0);
    if (rc && r->c.data_dir)
        tiers_recover(r->rt);
    /* As it was, or made again after its delete. */
    assert_int_equal(sl_tag(r->rt, "t", &r->tag), 0);
    check_all(r, lies(f->kind));
    if (rc && o->kind != OP_DEL && !lies(f->kind))
        assert_int_equal(run_op(r, o), 0);
    assert_int_equal(sl_tag(r->rt, "t", &r->tag), 0);
    check_all(r, lies(f->kind));
    clear_base(r);
    return hit;
}

/* Each n-th; under the address sanitizer every other one, under the thread
 * sanitizer the 1st, 5th, 21st, 85th ... */
static uint64_t after(uint64_t nth)
{
    return nth + (SLOW_THREADS ? 1u + 3u * nth : SANITIZED ? 2u : 1u);
}

static void sweep(struct rig *r, const struct op *o, enum fault_kind kind,
                  enum fault_op op)
{
    struct fault f = {.kind = kind, .op = op};
    uint64_t most = SLOW_THREADS ? 400 : 200;
    for (f.nth = 1; f.nth <= most; f.nth = after(f.nth)) {
        if (getenv("SHOW_LOG"))
            fprintf(stderr, "# %s, %s of %d, number %llu\n", o->name,
                    kind_names[kind], (int)op, (unsigned long long)f.nth);
        if (!try_one(r, o, &f))
            return;
    }
    assert_true(f.nth <= most);
}

static void sweep_all(unsigned use)
{
    struct rig *r = malloc(sizeof(*r));
    assert_non_null(r);
    rig_open(r, use);
    for (unsigned i = 0; i < N_OPS; i++) {
        const struct op *o = &ops[i];
        if (!r->c.data_dir && (o->level || i >= 17u))
            continue;
        sweep(r, o, K_ERROR, FAULT_WRITE);
        sweep(r, o, K_FULL, FAULT_WRITE);
        sweep(r, o, K_TORN, FAULT_WRITE);
        sweep(r, o, K_LOST, FAULT_WRITE);
        sweep(r, o, K_HALF, FAULT_WRITE);
        sweep(r, o, K_ERROR, FAULT_READ);
        sweep(r, o, K_FULL, FAULT_ALLOC);
        sweep(r, o, K_ERROR, FAULT_ALLOC);
        if (!r->c.data_dir)
            continue;
        sweep(r, o, K_ERROR, FAULT_FLUSH);
        sweep(r, o, K_META, FAULT_OPS);
    }
    printf("# %llu operations, %llu faults struck\n", (unsigned long long)r->n,
           (unsigned long long)r->struck);
    assert_true(r->struck > N_OPS);
    rig_close(r);
    free(r);
}

static void faults_of_ram_are_told_and_cost_nothing(void **state)
{
    (void)state;
    sweep_all(USE_RAM);
}

static void faults_of_a_file_are_told_and_cost_nothing(void **state)
{
    (void)state;
    if (!SLOW_THREADS) /* a directory has one, too */
        sweep_all(USE_FILE);
}

static void faults_below_the_pinned_tier_are_told_and_cost_nothing(void **state)
{
    (void)state;
    sweep_all(USE_PINNED | USE_RAM | USE_DIR);
}

static void faults_of_a_directory_are_told_and_cost_nothing(void **state)
{
    (void)state;
    if (!SLOW_THREADS) /* it is below the pinned tier, too */
        sweep_all(USE_DIR);
}

/* The record of a score finds no room: the caller is told, and what was asked
 * for can be asked for again. */
static void a_score_that_is_not_recorded_is_told(void **state)
{
    struct rig *r = malloc(sizeof(*r));
    struct sl_stat st;
    (void)state;
    assert_non_null(r);
    rig_open(r, USE_DIR);
    make_base(r);
    meta_code = SL_ENOSPC;
    __atomic_store_n(&meta_left, 1u, __ATOMIC_RELEASE);
    assert_int_equal(sl_score(r->rt, r->tag, names[3], 0.3f), SL_ENOSPC);
    assert_int_equal(sl_stat(r->rt, r->tag, names[3], &st), 0);
    assert_int_equal(st.score, SL_SCORE_AUTO);
    assert_int_equal(sl_score(r->rt, r->tag, names[3], 0.3f), 0);
    assert_int_equal(sl_stat(r->rt, r->tag, names[3], &st), 0);
    assert_int_equal(st.score, 300);
    check_all(r, 0);
    rig_close(r);
    free(r);
}

/* Moves fail, the shard rests, and no task comes to wake it again. */
static void eviction_looks_again_by_itself(void **state)
{
    static uint8_t data[65536];
    const struct fault_rule broken = {.times = FAULT_ALL, .code = SL_EIO};
    const struct timespec nap = {0, 1000000};
    struct sl_config c = small_config();
    struct sl_target_info info[4];
    uint64_t tag;
    char name[16];
    (void)state;
    c.workers = 1;
    c.pinned_bytes = 2 * MIB;
    c.ram_bytes = 8 * MIB;
    n_tiers = 0;
    struct sl_runtime *rt = open_store(&c);
    assert_int_equal(sl_tag(rt, "t", &tag), 0);
    fault_arm(tiers[0], FAULT_WRITE, broken);
    for (int i = 0; i < 31; i++) {
        snprintf(name, sizeof(name), "b%d", i);
        assert_int_equal(sl_put(rt, tag, name, 0, data, sizeof(data), NULL), 0);
    }
    for (int i = 0; i < 20000 && !fault_seen(tiers[0], FAULT_WRITE); i++)
        nanosleep(&nap, NULL);
    tiers_disarm();
    info[0].evicted = 0;
    for (int i = 0; i < 20000 && !info[0].evicted; i++) {
        nanosleep(&nap, NULL);
        assert_int_equal(sl_targets(rt, info, 4), 2);
        assert_string_equal(info[0].name, "pinned");
    }
    assert_true(info[0].evicted > 0);
    assert_int_equal(sl_close(rt), 0);
    n_tiers = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_score_that_is_not_recorded_is_told),
        cmocka_unit_test(eviction_looks_again_by_itself),
        cmocka_unit_test(faults_of_ram_are_told_and_cost_nothing),
        cmocka_unit_test(faults_of_a_file_are_told_and_cost_nothing),
        cmocka_unit_test(faults_of_a_directory_are_told_and_cost_nothing),
        cmocka_unit_test(
            faults_below_the_pinned_tier_are_told_and_cost_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
