/* SPDX-License-Identifier: Apache-2.0 */
/* Golden files: a store that an earlier program wrote must open and hold every
 * byte; damaged ones have their code. `test_golden make` writes test/golden/
 * (tools/make_golden); it is done again only with a new version of the format. */
#include "golden.h"

#define STORE GOLDEN_DIR "/store-1.txt"
#define BAD GOLDEN_DIR "/bad-1.txt"

/* What the text must show, or a reader of it is not tried: each kind of frame,
 * a second target, and (by the table of golden.c) each codec. */
static void golden_log_has_every_kind_of_frame(void **state)
{
    (void)state;
    char dir[64];
    uint8_t kind[64];
    size_t at[64];
    unsigned seen = 0;
    make_dir(dir, sizeof(dir));
    golden_unpack(STORE, dir);
    unsigned n = golden_frames(dir, kind, at, 64);
    for (unsigned i = 0; i < n; i++)
        seen |= 1u << kind[i];
    assert_int_equal(seen, 0x7f);
    remove_dir(dir);
}

static void count_codec(struct sl_runtime *rt, const struct golden *g)
{
    struct sl_stat st;
    uint64_t tag;
    assert_int_equal(sl_tag_find(rt, g->tag, &tag), 0);
    assert_int_equal(sl_stat(rt, tag, g->name, &st), 0);
    assert_int_equal(st.size, g->at + g->size);
    assert_int_equal(st.persist, g->level);
    assert_int_equal(st.context, 7);
    assert_int_equal(st.codec, g->codec);
    if (g->codec)
        assert_true(st.stored < st.size);
}

static void golden_store_opens_with_every_byte(void **state)
{
    (void)state;
    char dir[64];
    unsigned wrong = 0;
    uint64_t blobs = 0, tag = 0;
    struct sl_fsck_report report;
    make_dir(dir, sizeof(dir));
    golden_unpack(STORE, dir);
    struct sl_fsck_opts o = {.size = sizeof(o), .dir = dir};
    assert_int_equal(sl_fsck(&o, &report), 0);
    assert_int_equal(report.blobs, goldens);
    assert_true(report.log_changes > 0);
    struct sl_config c = golden_config(dir);
    for (int turn = 0; turn < 2; turn++) {
        struct sl_runtime *rt = open_store(&c);
        assert_int_equal(golden_read_all(rt, &wrong), goldens);
        assert_int_equal(wrong, 0);
        for (unsigned i = 0; i < goldens; i++)
            count_codec(rt, &golden[i]);
        assert_int_equal(sl_tag_find(rt, "first", &tag), 0);
        assert_int_equal(sl_tag_size(rt, tag, NULL, &blobs), 0);
        assert_int_equal(blobs, golden_blobs_of("first"));
        assert_int_equal(sl_tag_find(rt, "deleted", &tag), SL_ENOTAG);
        assert_int_equal(sl_tag_find(rt, "tag before", &tag), SL_ENOTAG);
        assert_int_equal(sl_close(rt), 0);
    }
    remove_dir(dir);
}

static void bad_ones_have_their_codes(void **state)
{
    (void)state;
    char line[GOLDEN_LINE_MAX + 200u];
    struct golden_bad b;
    unsigned n = 0;
    FILE *in = fopen(BAD, "r");
    assert_non_null(in);
    for (; fgets(line, sizeof(line), in); n++) {
        assert_true(golden_bad_read(line, &b));
        golden_bad_check(STORE, &b);
    }
    fclose(in);
    assert_true(n >= 30);
}

static void make_case(void **state)
{
    (void)state;
    golden_make(STORE, BAD);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest making[] = {cmocka_unit_test(make_case)};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_log_has_every_kind_of_frame),
        cmocka_unit_test(golden_store_opens_with_every_byte),
        cmocka_unit_test(bad_ones_have_their_codes),
    };
    if (argc > 1 && strcmp(argv[1], "make") == 0)
        return cmocka_run_group_tests(making, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
