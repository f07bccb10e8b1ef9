/* SPDX-License-Identifier: Apache-2.0 */
/* Codec 4 on device memory: a device codes what it puts and decodes what it
 * gets, and hosts read and write the same blobs. */
#include "coded_help.h"

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
    for (uint32_t unit = 2u * UNIT; unit < most; unit *= 2u) {
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
    for (uint32_t i = 0; i < (SLOW_LANES ? 3u : COUNT(puts));
         i += SLOW_LANES ? 2u : 1u) {
        fill_words(text, MOST);
        put_coded(&r, &d, "m", puts[i].from, puts[i].size, SL_PATH_GPU);
        memcpy(all + puts[i].from, text + puts[i].from, puts[i].size);
        if (puts[i].from + puts[i].size > end)
            end = puts[i].from + puts[i].size;
        d.want = all;
        expect_on_host(&r, &d, "m", end);
        if (!SLOW_LANES || i == 2u)
            expect_on_device(&r, &d, "m", 0, end);
        d.want = text;
    }
    free(all);
    rig_done(&r, &d);
}

/* Units that shrink by a granule of a file. */
#define FILED (SLOW_LANES ? 8192u : 16384u)

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
    r.rt->unit_bytes = FILED;
    upload(&r, d.at, d.want, 5u * FILED);
    assert_int_equal(sl_put(r.rt, r.tag, "p", 0, device(d.at), 5u * FILED, &o),
                     0);
    put_coded(&r, &d, "v", 0, 5u * FILED, SL_PATH_GPU); /* goes with a flush */
    assert_int_equal(stat_of(&r, "p").codec, SL_CODEC_LZ4);
    assert_string_equal(stat_of(&r, "p").tier[0].kind, "file");
    rig_close(&r);
    rig_open(&r, &c);
    d.at = room_device(&r, MOST + 64u);
    expect_on_host(&r, &d, "p", 5u * FILED);
    expect_on_host(&r, &d, "v", 5u * FILED);
    expect_on_device(&r, &d, "p", 0, 5u * FILED);
    assert_int_equal(moved(&r).coded_in, 5u * FILED);
    if (!SLOW_LANES)
        expect_on_device(&r, &d, "v", 0, 5u * FILED);
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
    r.rt->unit_bytes = FILED;
    put_coded(&r, &d, "t", 0, 5u * FILED, SL_PATH_GPU);
    assert_string_equal(stat_of(&r, "t").tier[0].kind, "ram");
    assert_int_equal(stat_of(&r, "t").codec, SL_CODEC_LZ4);
    expect_on_host(&r, &d, "t", 5u * FILED);
    expect_on_device(&r, &d, "t", 0, 5u * FILED);
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
        cmocka_unit_test(a_coded_put_waits_for_a_slot_as_it_is_told),
    };
    seed = test_seed("test_coded_units");
    return run_on_devices(tests);
}
