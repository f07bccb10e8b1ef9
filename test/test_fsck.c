/* SPDX-License-Identifier: Apache-2.0 */
/* sl_fsck: a sound store is clean, each damage is found and named, a repair
 * lets the store open and keeps what is sound. */
#include "fsck_help.h"

/* ---- tests ---- */

static void sound_store_is_clean_and_counted(void **state)
{
    (void)state;
    char dir[64];
    int code = 0;
    make_dir(dir, sizeof(dir));
    make_store(dir);
    assert_int_equal(fsck(dir, 0), 0);
    assert_int_equal(report.tags, 1);
    assert_int_equal(report.blobs, BLOBS);
    assert_int_equal(report.extents, BLOBS);
    assert_int_equal(report.bytes, BLOBS * SIZE);
    assert_int_equal(report.stored, BLOBS * 12288u);
    assert_true(report.file == report.stored + report.free);
    assert_int_equal(fsck(dir, SL_FSCK_REPAIR | SL_FSCK_CUT), 0);
    assert_int_equal(read_all(dir, &code), BLOBS);
    remove_dir(dir);
}

static void what_cannot_be_checked_says_why(void **state)
{
    (void)state;
    char dir[64], file[128];
    make_dir(dir, sizeof(dir));
    sl_set_log(NULL, NULL);
    assert_int_equal(fsck(dir, 0), SL_EINVAL);
    assert_int_equal(fsck("/nonexistent/store", 0), SL_ENOTDIR);
    assert_int_equal(fsck(dir, SL_FSCK_CUT), SL_EINVAL);
    struct sl_fsck_opts half = {.size = 12, .dir = dir};
    assert_int_equal(sl_fsck(&half, &report), SL_EINVAL);
    struct sl_config c = config_in(dir);
    struct sl_runtime *rt = open_store(&c);
    assert_int_equal(fsck(dir, 0), SL_EBUSY);
    assert_int_equal(sl_close(rt), 0);
    snprintf(file, sizeof(file), "%s/format", dir);
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fputs("sluice-store 7\n", f);
    fclose(f);
    assert_int_equal(fsck(dir, 0), SL_EVERSION);
    remove_dir(dir);
}

static void damaged_bytes_are_named_and_cut_on_demand(void **state)
{
    (void)state;
    char dir[64];
    int code = 0;
    make_dir(dir, sizeof(dir));
    make_store(dir);
    flip(dir, "data", 3 * 12288 + 77);
    assert_int_equal(fsck(dir, 0), 1);
    assert_int_equal(told.n, 1);
    assert_int_equal(told.code, SL_ECHECKSUM);
    assert_string_equal(told.tag, "tag");
    assert_non_null(strstr(told.blob, "blob-"));
    assert_int_equal(fsck(dir, SL_FSCK_REPAIR), 1);
    assert_int_equal(report.repaired, 0);
    assert_int_equal(read_all(dir, &code), BLOBS - 1);
    assert_int_equal(code, SL_ECHECKSUM);
    assert_int_equal(fsck(dir, SL_FSCK_REPAIR | SL_FSCK_CUT), 1);
    assert_int_equal(report.repaired, 1);
    assert_int_equal(fsck(dir, 0), 0);
    assert_int_equal(report.blobs, BLOBS);
    assert_int_equal(read_all(dir, &code), BLOBS - 1);
    assert_int_equal(code, -1); /* zeros */
    remove_dir(dir);
}

static void damaged_records_are_removed(void **state)
{
    (void)state;
    char dir[64];
    int code = 0;
    struct sl_runtime *rt = NULL;
    make_dir(dir, sizeof(dir));
    make_store(dir);
    struct sl_config c = config_in(dir);
    set_record(dir, "blob-7", 24, 1, 0); /* its size, not its sum */
    assert_int_equal(sl_open(&c, &rt), SL_ECORRUPT);
    assert_int_equal(fsck(dir, 0), 1);
    assert_int_equal(told.n, 1);
    assert_int_equal(told.code, SL_ECORRUPT);
    assert_string_equal(told.tag, "tag");
    assert_string_equal(told.blob, "blob-7");
    assert_int_equal(fsck(dir, 0), 1); /* a check changes nothing */
    assert_int_equal(fsck(dir, SL_FSCK_REPAIR), 1);
    assert_int_equal(report.repaired, 1);
    assert_int_equal(fsck(dir, 0), 0);
    assert_int_equal(read_all(dir, &code), BLOBS - 1);
    assert_int_equal(code, SL_ENOENT);
    remove_dir(dir);
}

static void tag_without_record_takes_its_blobs(void **state)
{
    (void)state;
    char dir[64];
    make_dir(dir, sizeof(dir));
    make_store(dir);
    set_record(dir, NULL, 4, 1, 0);
    assert_int_equal(fsck(dir, 0), 1);
    assert_int_equal(fsck(dir, SL_FSCK_REPAIR), 1);
    assert_int_equal(report.problems, 1 + BLOBS);
    assert_int_equal(fsck(dir, 0), 0);
    assert_int_equal(report.tags + report.blobs, 0);
    struct sl_config c = config_in(dir);
    struct sl_runtime *rt = open_store(&c);
    assert_int_equal(sl_close(rt), 0);
    remove_dir(dir);
}

/* The sound one stays whether it comes first or last. */
static void overlap(const char *bad)
{
    char dir[64];
    int code = 0;
    struct sl_runtime *rt = NULL;
    make_dir(dir, sizeof(dir));
    make_store(dir);
    struct sl_config c = config_in(dir);
    set_record(dir, bad, LOC_AT("blob-0"), 20 * 12288, 1);
    assert_int_equal(sl_open(&c, &rt), SL_ECORRUPT);
    assert_int_equal(fsck(dir, 0), 1);
    assert_string_equal(told.blob, bad);
    assert_non_null(strstr(told.text, "another"));
    assert_int_equal(fsck(dir, SL_FSCK_REPAIR), 1);
    assert_int_equal(fsck(dir, 0), 0);
    assert_int_equal(report.blobs, BLOBS - 1);
    assert_int_equal(read_all(dir, &code), BLOBS - 1);
    remove_dir(dir);
}

static void overlapping_blob_is_removed(void **state)
{
    (void)state;
    overlap("blob-0");
    overlap("blob-9");
}

static void file_that_shrank_is_named(void **state)
{
    (void)state;
    char dir[64], data[128];
    int code = 0;
    struct sl_runtime *rt = NULL;
    make_dir(dir, sizeof(dir));
    make_store(dir);
    struct sl_config c = config_in(dir);
    snprintf(data, sizeof(data), "%s/data", dir);
    assert_int_equal(truncate(data, 30 * 12288), 0);
    assert_int_equal(sl_open(&c, &rt), SL_ESHRUNK);
    assert_int_equal(fsck(dir, 0), 1);
    unsigned lost = told.n;
    assert_in_range(lost, 8, 12);
    assert_int_equal(told.code, SL_ESHRUNK);
    assert_int_equal(fsck(dir, SL_FSCK_REPAIR), 1);
    assert_int_equal(fsck(dir, 0), 0);
    assert_int_equal(read_all(dir, &code), BLOBS - lost);
    assert_int_equal(code, SL_ENOENT);
    remove_dir(dir);
}

static void log_of_a_killed_process_is_checked_and_replayed(void **state)
{
    (void)state;
    char dir[64], path[80];
    int code = 0;
    make_logged(dir, sizeof(dir));
    assert_int_equal(fsck(dir, 0), 0);
    assert_int_equal(report.log_changes, BLOBS + 3);
    assert_int_equal(report.blobs, BLOBS + 2);
    flip(dir, "data", 100); /* as if it had not reached the disk */
    assert_int_equal(fsck(dir, 0), 0);
    assert_int_equal(report.log_dropped, 0); /* the log has it */
    flip(dir, "data", BLOBS * 12288 + 100);
    assert_int_equal(fsck(dir, 0), 0);
    assert_int_equal(report.log_dropped, 1);
    snprintf(path, sizeof(path), "%s/data", dir);
    assert_int_equal(truncate(path, 8192), 0);
    assert_int_equal(fsck(dir, 0), 0);
    assert_int_equal(report.log_dropped, 1);
    assert_int_equal(report.blobs, BLOBS + 1);
    assert_int_equal(fsck(dir, SL_FSCK_REPAIR), 0);
    assert_int_equal(fsck(dir, 0), 0);
    assert_int_equal(report.log_changes, 0);
    assert_int_equal(read_all(dir, &code), BLOBS);
    check_coded(dir);
    remove_dir(dir);
}

static void expect_hole(const char *dir)
{
    struct sl_config c = config_in(dir);
    struct sl_runtime *rt = NULL;
    int rc = sl_open(&c, &rt);
    assert_int_equal(rc, SL_ECORRUPT);
    for (unsigned flags = 0; flags < 2; flags++) {
        assert_int_equal(fsck(dir, flags ? SL_FSCK_REPAIR : 0), 1);
        assert_int_equal(report.problems, 1);
        assert_int_equal(report.repaired, 0);
        assert_int_equal(told.code, SL_ECORRUPT);
        assert_non_null(strstr(told.text, "log: damaged at byte "));
    }
    rc = sl_open(&c, &rt); /* the repair was none */
    assert_int_equal(rc, SL_ECORRUPT);
}

/* What follows was acknowledged, so it is dropped by the user's word only. */
static void log_with_damage_in_it_is_cut_on_demand(void **state)
{
    (void)state;
    char dir[64];
    struct sl_runtime *rt;
    make_logged(dir, sizeof(dir));
    struct sl_config c = config_in(dir);
    flip(dir, "log", 5 * SIZE);
    expect_hole(dir);
    uint64_t kept = report.log_changes;
    assert_in_range(kept, 4, 6); /* the tag, and a blob for each SIZE bytes */
    assert_int_equal(report.blobs, kept - 1u);
    assert_int_equal(fsck(dir, SL_FSCK_REPAIR | SL_FSCK_CUT), 1);
    assert_int_equal(report.problems, 1);
    assert_int_equal(report.repaired, 1);
    assert_non_null(strstr(told.text, "log: damaged at byte "));
    assert_int_equal(fsck(dir, 0), 0);
    assert_int_equal(report.blobs, kept - 1u);
    rt = open_store(&c);
    uint64_t tag = 0;
    assert_int_equal(sl_tag_find(rt, "tag", &tag), 0);
    for (unsigned i = 0; i < BLOBS; i++) {
        int code = check_one(rt, tag, i);
        assert_int_equal(code, i < kept - 1u ? 0 : SL_ENOENT);
    }
    assert_int_equal(sl_close(rt), 0);
    remove_dir(dir);
}

static void log_whose_first_frame_is_damaged_is_cut_whole(void **state)
{
    (void)state;
    char dir[64];
    make_logged(dir, sizeof(dir));
    struct sl_config c = config_in(dir);
    flip(dir, "log", 33);
    expect_hole(dir);
    assert_int_equal(report.log_changes, 0);
    assert_int_equal(fsck(dir, SL_FSCK_REPAIR | SL_FSCK_CUT), 1);
    assert_int_equal(report.repaired, 1);
    assert_int_equal(fsck(dir, 0), 0);
    assert_int_equal(report.tags + report.blobs, 0);
    struct sl_runtime *rt = open_store(&c);
    assert_int_equal(sl_close(rt), 0);
    remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sound_store_is_clean_and_counted),
        cmocka_unit_test(what_cannot_be_checked_says_why),
        cmocka_unit_test(damaged_bytes_are_named_and_cut_on_demand),
        cmocka_unit_test(damaged_records_are_removed),
        cmocka_unit_test(tag_without_record_takes_its_blobs),
        cmocka_unit_test(overlapping_blob_is_removed),
        cmocka_unit_test(file_that_shrank_is_named),
        cmocka_unit_test(log_of_a_killed_process_is_checked_and_replayed),
        cmocka_unit_test(log_with_damage_in_it_is_cut_on_demand),
        cmocka_unit_test(log_whose_first_frame_is_damaged_is_cut_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
