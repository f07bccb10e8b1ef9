/* SPDX-License-Identifier: Apache-2.0 */
/* Moves of a blob of many extents: what they cost by count, and what a fault
 * in the middle leaves. */
#include "fault_tiers.h"
#include "target_help.h"

#include "store/meta.h"

#define PIECES 2048u
#define PITCH 16384u
#define LARGE 8000u /* of every second piece, which is coded */
#define SMALL 100u
#define BLOB_BYTES ((uint64_t)PIECES * PITCH)

/* ---- what is recorded, counted (--wrap) ---- */

void __real_meta_submit(struct meta *m, struct meta_change *c);
void __wrap_meta_submit(struct meta *m, struct meta_change *c);

static uint64_t extents_recorded; /* atomic */

void __wrap_meta_submit(struct meta *m, struct meta_change *c)
{
    if (c->op == META_PUT_BLOB)
        __atomic_fetch_add(&extents_recorded, c->blob.n_extents,
                           __ATOMIC_RELAXED);
    __real_meta_submit(m, c);
}

/* All are submitted, so that each is counted once. */
int __wrap_meta_now(struct meta *m, struct meta_change *c);

int __wrap_meta_now(struct meta *m, struct meta_change *c)
{
    (void)m;
    (void)c;
    return 0;
}

static uint64_t recorded_since(uint64_t before)
{
    return __atomic_load_n(&extents_recorded, __ATOMIC_RELAXED) - before;
}

/* ---- the blob ---- */

struct rig {
    struct sl_config c;
    char dir[64], second[96];
    struct sl_runtime *rt;
    uint64_t tag;
    uint8_t *want, *have;
};

static uint32_t piece_bytes(uint32_t i)
{
    return i % 2 ? LARGE : SMALL;
}

static void rig_open(struct rig *r)
{
    memset(r, 0, sizeof(*r));
    r->c = no_eviction();
    make_dir(r->dir, sizeof(r->dir));
    snprintf(r->second, sizeof(r->second), "%s.second", r->dir);
    r->c.data_dir = r->dir;
    r->c.file_bytes = 64 * MIB;
    r->c.arena_bytes = 96 * MIB;
    r->c.pinned_bytes = 48 * MIB;
    n_tiers = 0;
    r->rt = open_store(&r->c);
    r->tag = tag_of(r->rt, "t");
    assert_int_equal(add(r->rt, "second", "file", r->second, 64 * MIB, 0.7f),
                     0);
    r->want = calloc(1, BLOB_BYTES);
    r->have = calloc(1, BLOB_BYTES);
    assert_true(r->want && r->have);
}

static void rig_close(struct rig *r)
{
    assert_int_equal(sl_del(r->rt, r->tag, "blob-0"), 0);
    assert_int_equal(sl_flush(r->rt), 0);
    assert_int_equal(info_of(r->rt, "file").used, 0);
    assert_int_equal(info_of(r->rt, "second").used, 0);
    assert_int_equal(sl_close(r->rt), 0);
    free(r->want);
    free(r->have);
    remove_dir(r->dir);
    unlink(r->second);
}

static void put_pieces(struct rig *r)
{
    struct sl_put_opts o = {
        .size = sizeof(o), .score = 1.0f, .codec = SL_CODEC_LZ4};
    for (uint32_t i = 0; i < PIECES; i++) {
        uint64_t at = (uint64_t)i * PITCH;
        memset(r->want + at, (int)(i % 250u) + 1, piece_bytes(i));
        fill(r->want + at, 40, i + 1u);
        assert_int_equal(sl_put(r->rt, r->tag, "blob-0", at, r->want + at,
                                piece_bytes(i), &o),
                         0);
    }
}

static void expect_bytes(struct rig *r)
{
    uint64_t size = BLOB_BYTES - PITCH + piece_bytes(PIECES - 1u);
    memset(r->have, 1, size);
    assert_int_equal(sl_get(r->rt, r->tag, "blob-0", 0, r->have, size, NULL),
                     0);
    assert_memory_equal(r->want, r->have, size);
}

static uint64_t on(struct rig *r, const char *name)
{
    return info_of(r->rt, name).blob_bytes;
}

/* ---- tests ---- */

static void records_of_a_move_grow_with_the_blob(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r);
    put_pieces(&r);
    uint64_t before = recorded_since(0);
    assert_int_equal(sl_flush(r.rt), 0);
    assert_int_equal(recorded_since(before), PIECES);
    assert_int_equal(on(&r, "file"), 0); /* the score asks for the other */
    assert_int_equal(sl_score(r.rt, r.tag, "blob-0", 0.3f), 0);
    uint64_t moved = recorded_since(before) - PIECES;
    printf("# %llu extents recorded\n", (unsigned long long)moved);
    assert_in_range(moved, 2u * PIECES, 40u * PIECES);
    assert_int_equal(sl_flush(r.rt), 0); /* frees what was replaced */
    assert_int_equal(on(&r, "second"), 0);
    assert_int_equal(on(&r, "file"), PIECES / 2u * (LARGE + SMALL));
    expect_bytes(&r);
    rig_close(&r);
}

static void a_fault_in_the_middle_loses_and_leaks_nothing(void **state)
{
    (void)state;
    static const struct {
        enum fault_op op;
        uint64_t nth;
    } faults[] = {{FAULT_WRITE, 1},   {FAULT_WRITE, 40},  {FAULT_READ, 20},
                  {FAULT_READ, 100},  {FAULT_ALLOC, 50},  {FAULT_WRITE, 900},
                  {FAULT_ALLOC, 700}, {FAULT_READ, 1500}, {FAULT_FLUSH, 1}};
    struct rig r;
    float scores[] = {0.3f, 0.75f};
    rig_open(&r);
    put_pieces(&r);
    assert_int_equal(sl_flush(r.rt), 0);
    /* Scores take turns, so the step is odd. */
    for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]);
         i += SLOW_THREADS ? 3u : 1u) {
        const struct fault_rule rule = {
            .nth = faults[i].nth, .times = FAULT_ALL, .code = SL_EIO};
        for (uint32_t t = 0; t < n_tiers; t++)
            fault_arm(tiers[t], faults[i].op, rule);
        int rc = sl_score(r.rt, r.tag, "blob-0", scores[i % 2]);
        if (faults[i].op != FAULT_FLUSH)
            assert_int_equal(rc, SL_EIO);
        tiers_disarm();
        tiers_recover(r.rt);
        uint64_t all = on(&r, "file") + on(&r, "second") + on(&r, "pinned");
        assert_true(all >= PIECES / 2u * (LARGE + SMALL));
        expect_bytes(&r);
        assert_int_equal(sl_score(r.rt, r.tag, "blob-0", scores[i % 2]), 0);
        expect_bytes(&r);
    }
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_of_a_move_grow_with_the_blob),
        cmocka_unit_test(a_fault_in_the_middle_loses_and_leaks_nothing),
    };
    return cmocka_run_group_tests_name("large moves", tests, NULL, NULL);
}
