/* SPDX-License-Identifier: Apache-2.0 */
/* What sl_fsck calls clean opens: it knows each rule of a start. */
#include "fsck_help.h"

#include <sys/stat.h>

#define WIDE 100000u /* more than the log carries */

/* A frame whose sum fits, and which is nothing. */
static void log_add_nonsense(const char *dir, enum log_op op)
{
    struct meta_log l;
    uint64_t generation;
    assert_int_equal(log_open(dir, &l), 0);
    assert_int_equal(pread(l.fd, &generation, 8, 8), 8);
    assert_int_equal(log_replay(&l, generation), 0);
    assert_true(l.n > BLOBS);
    uint8_t *p = log_frame(&l, op, 100);
    assert_non_null(p);
    memset(p, 7, 100);
    log_seal(&l);
    assert_int_equal(log_write(&l), 0);
    log_close(&l);
}

static void log_with_a_frame_of_nobody_is_mended(void **state)
{
    (void)state;
    const enum log_op op[] = {LOG_PUT_BLOB, LOG_CARRY_BLOB, LOG_RENAME_BLOB,
                              LOG_DEL_TAG};
    for (unsigned i = 0; i < sizeof(op) / sizeof(op[0]); i++) {
        char dir[64];
        int code = 0;
        struct sl_runtime *rt = NULL;
        make_logged(dir, sizeof(dir));
        log_add_nonsense(dir, op[i]);
        struct sl_config c = config_in(dir);
        assert_int_equal(sl_open(&c, &rt), SL_ECORRUPT);
        assert_int_equal(fsck(dir, 0), 1);
        assert_string_equal(told.text, "the log holds what no store writes");
        assert_int_equal(report.log_changes, BLOBS + 3);
        assert_int_equal(fsck(dir, SL_FSCK_REPAIR), 1);
        assert_int_equal(report.repaired, 1);
        assert_int_equal(fsck(dir, 0), 0);
        assert_int_equal(read_all(dir, &code), BLOBS);
        check_coded(dir);
        remove_dir(dir);
    }
}

static void records_that_a_start_refuses_are_found(void **state)
{
    (void)state;
    const size_t extent = META_BLOB_HEAD + sizeof("blob-7") - 1u;
    const struct {
        size_t at;
        uint64_t value;
        int code;
        const char *text;
    } c[] = {
        {24, UINT64_C(1) << 48, SL_ECORRUPT, "above its limit"}, /* size */
        {32, UINT64_C(1) << 47, SL_ECORRUPT, "above its limit"}, /* version */
        {4, 1001 | (UINT64_C(1) << 32), SL_ECORRUPT, "score"},   /* and count */
        {extent + 8, UINT64_C(1) << 48, SL_ECORRUPT, "extent"},  /* loc */
        {extent + 24, SIZE | (UINT64_C(16384) << 32), SL_ECORRUPT,
         "extent"}, /* stored */
        {extent + 32, UINT64_C(11) << 32, SL_EVERSION, "codec"},
    };
    for (unsigned i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
        char dir[64];
        int code = 0;
        struct sl_runtime *rt = NULL;
        make_dir(dir, sizeof(dir));
        make_store(dir);
        struct sl_config config = config_in(dir);
        set_record(dir, "blob-7", c[i].at, c[i].value, 1);
        assert_int_equal(sl_open(&config, &rt), c[i].code);
        assert_int_equal(fsck(dir, 0), 1);
        assert_int_equal(told.n, 1);
        assert_int_equal(told.code, c[i].code);
        assert_string_equal(told.blob, "blob-7");
        assert_non_null(strstr(told.text, c[i].text));
        assert_int_equal(fsck(dir, SL_FSCK_REPAIR), 1);
        if (c[i].code == SL_EVERSION) { /* a newer program can read it */
            assert_int_equal(report.repaired, 0);
        } else {
            assert_int_equal(fsck(dir, 0), 0);
            assert_int_equal(read_all(dir, &code), BLOBS - 1);
        }
        remove_dir(dir);
    }
}

static void two_damaged_blobs_in_one_space_are_told_apart(void **state)
{
    (void)state;
    char dir[64];
    int code = 0;
    struct sl_runtime *rt = NULL;
    make_dir(dir, sizeof(dir));
    make_store(dir);
    struct sl_config c = config_in(dir);
    set_record(dir, "blob-3", LOC_AT("blob-3"), BLOBS * 12288u, 1);
    set_record(dir, "blob-4", LOC_AT("blob-4"), BLOBS * 12288u, 1);
    assert_int_equal(sl_open(&c, &rt), SL_ECORRUPT);
    assert_int_equal(fsck(dir, 0), 1);
    assert_int_equal(told.n, 3); /* two sums, and the space */
    assert_int_equal(fsck(dir, SL_FSCK_REPAIR), 1);
    assert_int_equal(report.repaired, 1);
    assert_int_equal(read_all(dir, &code), BLOBS - 2);
    assert_int_equal(fsck(dir, 0), 1); /* the other one's bytes */
    assert_int_equal(told.n, 1);
    remove_dir(dir);
}

static void store_without_its_metadata_is_no_empty_one(void **state)
{
    (void)state;
    char dir[64], meta[80], away[80];
    int code = 0;
    struct sl_runtime *rt = NULL;
    make_dir(dir, sizeof(dir));
    make_store(dir);
    struct sl_config c = config_in(dir);
    snprintf(meta, sizeof(meta), "%s/meta", dir);
    snprintf(away, sizeof(away), "%s/away", dir);
    assert_int_equal(rename(meta, away), 0);
    assert_int_equal(sl_open(&c, &rt), SL_ECORRUPT);
    assert_int_equal(fsck(dir, 0), 1);
    assert_int_equal(access(meta, F_OK), -1);
    assert_int_equal(rename(away, meta), 0);
    assert_int_equal(read_all(dir, &code), BLOBS);
    remove_dir(dir);
}

static void capacity_below_what_is_stored_is_the_users(void **state)
{
    (void)state;
    char dir[64];
    int code = 0;
    struct sl_runtime *rt = NULL;
    make_dir(dir, sizeof(dir));
    make_store(dir);
    struct sl_config c = config_in(dir);
    c.file_bytes = 30 * 12288u;
    assert_int_equal(sl_open(&c, &rt), SL_ECONFIG);
    assert_int_equal(read_all(dir, &code), BLOBS);
    remove_dir(dir);
}

/* All coded bytes are there, but not the rest of their block. */
static void file_cut_behind_coded_bytes_is_found(void **state)
{
    (void)state;
    char dir[64], data[80];
    struct sl_runtime *rt;
    struct sl_stat st = {0};
    uint64_t tag = 0;
    make_dir(dir, sizeof(dir));
    struct sl_config c = config_in(dir);
    rt = open_store(&c);
    assert_int_equal(sl_tag(rt, "tag", &tag), 0);
    put_coded(rt, tag);
    assert_int_equal(sl_stat(rt, tag, "coded", &st), 0);
    assert_int_equal(sl_close(rt), 0);
    if (!st.codec) {
        remove_dir(dir);
        skip();
    }
    snprintf(data, sizeof(data), "%s/data", dir);
    assert_int_equal(truncate(data, (off_t)st.stored), 0);
    assert_int_equal(sl_open(&c, &rt), SL_ESHRUNK);
    assert_int_equal(fsck(dir, 0), 1);
    assert_int_equal(told.code, SL_ESHRUNK);
    assert_string_equal(told.blob, "coded");
    assert_int_equal(fsck(dir, SL_FSCK_REPAIR), 1);
    assert_int_equal(fsck(dir, 0), 0);
    rt = open_store(&c);
    assert_int_equal(sl_close(rt), 0);
    remove_dir(dir);
}

static void add_target(struct sl_runtime *rt, const char *name,
                       const char *path)
{
    const struct sl_target_opts o = {.size = sizeof(o),
                                     .name = name,
                                     .kind = "file",
                                     .path = path,
                                     .capacity = 4 * MIB,
                                     .score = 0.3f};
    assert_int_equal(sl_target_add(rt, &o, NULL), 0);
}

static int put_there(struct sl_runtime *rt, const char *name)
{
    struct sl_put_opts how = {.size = sizeof(how), .score = 0.3f, .persist = 2};
    uint64_t tag = 0;
    int rc = sl_tag(rt, "tag", &tag);
    return rc ? rc : sl_put(rt, tag, name, 0, "bytes", 5, &how);
}

static void put_on_target(const char *dir, const char *path)
{
    struct sl_config c = config_in(dir);
    struct sl_runtime *rt = open_store(&c);
    add_target(rt, "other", path);
    assert_int_equal(put_there(rt, "there"), 0);
    assert_int_equal(sl_close(rt), 0);
}

static void expect_target(const char *dir, int code)
{
    struct sl_config c = config_in(dir);
    struct sl_runtime *rt = NULL;
    int at_open = sl_open(&c, &rt);
    assert_int_equal(at_open, code);
    assert_int_equal(fsck(dir, 0), 1);
}

static void targets_that_a_start_refuses_are_found(void **state)
{
    (void)state;
    char dir[64], file[96], away[96];
    make_dir(dir, sizeof(dir));
    make_store(dir);
    snprintf(file, sizeof(file), "%s.other", dir);
    snprintf(away, sizeof(away), "%s.away", dir);
    put_on_target(dir, file);
    assert_int_equal(fsck(dir, 0), 0);
    assert_int_equal(rename(file, away), 0);
    expect_target(dir, SL_ENOTARGET);
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    expect_target(dir, SL_ESHRUNK);
    assert_int_equal(ftruncate(fileno(f), MIB), 0);
    expect_target(dir, SL_ENOTARGET);
    fclose(f);
    assert_int_equal(rename(away, file), 0);
    assert_int_equal(fsck(dir, 0), 0);
    /* A record that names the file's own first block. */
    set_record(dir, "there", LOC_AT("there"), 0, 1);
    expect_target(dir, SL_ECORRUPT);
    assert_int_equal(fsck(dir, SL_FSCK_REPAIR), 1);
    assert_int_equal(fsck(dir, 0), 0);
    flip(dir, "targets", 20);
    expect_target(dir, SL_ECORRUPT);
    assert_string_equal(told.text, "the list of targets is damaged");
    snprintf(away, sizeof(away), "%s/targets", dir);
    assert_int_equal(truncate(away, 0), 0); /* not the same as none */
    expect_target(dir, SL_ECORRUPT);
    assert_int_equal(unlink(file), 0);
    remove_dir(dir);
}

/* ---- a target that is lost for good ---- */

static char logged[512];

static void keep_line(void *user, int level, const char *line)
{
    (void)user;
    if (level == 0 && !logged[0])
        snprintf(logged, sizeof(logged), "%s", line);
}

/* The code of a get of the five bytes, which are in `got` then. */
static int get_there(const char *dir, const char *name, char got[5])
{
    struct sl_config c = config_in(dir);
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = 0;
    assert_int_equal(sl_tag_find(rt, "tag", &tag), 0);
    int rc = sl_get(rt, tag, name, 0, got, 5, NULL);
    assert_int_equal(sl_close(rt), 0);
    return rc;
}

struct lost {
    char dir[64], file[96], away[96];
};

/* The file of target "other", which has blob "there", is not there. */
static void lose(struct lost *l)
{
    make_dir(l->dir, sizeof(l->dir));
    make_store(l->dir);
    snprintf(l->file, sizeof(l->file), "%s.other", l->dir);
    snprintf(l->away, sizeof(l->away), "%s.away", l->dir);
    put_on_target(l->dir, l->file);
    assert_int_equal(rename(l->file, l->away), 0);
}

static void expect_lost(const struct lost *l)
{
    struct sl_config c = config_in(l->dir);
    struct sl_runtime *rt = NULL;
    logged[0] = '\0';
    sl_set_log(keep_line, NULL);
    int rc = sl_open(&c, &rt);
    sl_set_log(NULL, NULL);
    assert_int_equal(rc, SL_ENOTARGET);
    assert_non_null(strstr(logged, l->file));
}

static void target_that_is_away_is_named_and_kept(void **state)
{
    (void)state;
    struct lost l;
    char got[5];
    lose(&l);
    expect_lost(&l);
    const uint32_t flags[] = {0, SL_FSCK_REPAIR, SL_FSCK_REPAIR | SL_FSCK_CUT};
    for (unsigned i = 0; i < 6; i++) {
        FILE *f = i == 3 ? fopen(l.file, "w") : NULL;
        if (f) { /* another file in its place is not looked into */
            assert_int_equal(ftruncate(fileno(f), MIB), 0);
            fclose(f);
        }
        assert_int_equal(fsck(l.dir, flags[i % 3]), 1);
        assert_int_equal(told.n, 2);
        assert_int_equal(report.repaired, 0);
        assert_non_null(strstr(told.first, l.file));
        assert_string_equal(told.blob, "there");
        assert_int_equal(told.code, SL_ENOTARGET);
    }
    expect_lost(&l);
    assert_int_equal(rename(l.away, l.file), 0);
    assert_int_equal(fsck(l.dir, 0), 0);
    assert_int_equal(get_there(l.dir, "there", got), 0);
    assert_memory_equal(got, "bytes", 5);
    assert_int_equal(unlink(l.file), 0);
    remove_dir(l.dir);
}

static void what_is_no_lost_target_is_not_dropped(void **state)
{
    (void)state;
    struct lost l;
    lose(&l);
    sl_set_log(NULL, NULL);
    assert_int_equal(fsck_drop(l.dir, 0, "other"), SL_EINVAL);
    const char *const wrong[] = {"", "othe", "others", "other,", "other,more"};
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(fsck_drop(l.dir, SL_FSCK_REPAIR, wrong[i]), SL_EINVAL);
    assert_int_equal(rename(l.away, l.file), 0);
    assert_int_equal(fsck_drop(l.dir, SL_FSCK_REPAIR, "other"), SL_EINVAL);
    assert_int_equal(fsck(l.dir, 0), 0);
    assert_int_equal(unlink(l.file), 0);
    remove_dir(l.dir);
}

/* A disk that is gone may answer otherwise than that there is no file. */
static void lost_target_need_not_be_enoent(void **state)
{
    (void)state;
    char dir[64], sub[80], file[96], away[96];
    int code = 0;
    make_dir(dir, sizeof(dir));
    make_store(dir);
    snprintf(sub, sizeof(sub), "%s.disk", dir);
    snprintf(away, sizeof(away), "%s.away", dir);
    snprintf(file, sizeof(file), "%s/other", sub);
    assert_int_equal(mkdir(sub, 0700), 0);
    put_on_target(dir, file);
    assert_int_equal(rename(sub, away), 0);
    FILE *f = fopen(sub, "w"); /* ENOTDIR */
    assert_non_null(f);
    fclose(f);
    assert_int_equal(fsck_drop(dir, SL_FSCK_REPAIR, "other"), 1);
    assert_int_equal(report.repaired, 2);
    assert_int_equal(fsck(dir, 0), 0);
    assert_int_equal(read_all(dir, &code), BLOBS);
    assert_int_equal(unlink(sub), 0);
    remove_dir(away);
    remove_dir(dir);
}

/* It may name the target. */
static void record_of_a_newer_program_keeps_the_list(void **state)
{
    (void)state;
    struct lost l;
    lose(&l);
    set_record(l.dir, "blob-7", META_BLOB_HEAD + sizeof("blob-7") - 1u + 32u,
               UINT64_C(11) << 32, 1);
    assert_int_equal(fsck_drop(l.dir, SL_FSCK_REPAIR, "other"), 1);
    assert_non_null(strstr(told.text, "stays in the list"));
    /* It is in the list still: its file comes back. */
    assert_int_equal(rename(l.away, l.file), 0);
    assert_int_equal(fsck_drop(l.dir, SL_FSCK_REPAIR, "other"), SL_EINVAL);
    assert_int_equal(unlink(l.file), 0);
    remove_dir(l.dir);
}

static void lost_target_is_dropped_on_demand(void **state)
{
    (void)state;
    for (int cut = 0; cut < 2; cut++) {
        struct lost l;
        char got[5];
        int code = 0;
        lose(&l);
        assert_int_equal(
            fsck_drop(l.dir, SL_FSCK_REPAIR | (cut ? SL_FSCK_CUT : 0), "other"),
            1);
        assert_int_equal(told.n, 2);
        assert_int_equal(report.repaired, 2);
        assert_string_equal(told.blob, "there");
        assert_int_equal(told.code, SL_ENOTARGET);
        assert_int_equal(fsck(l.dir, 0), 0);
        assert_int_equal(get_there(l.dir, "there", got), cut ? 0 : SL_ENOENT);
        if (cut)
            assert_memory_equal(got, "\0\0\0\0\0", 5);
        assert_int_equal(read_all(l.dir, &code), BLOBS);
        assert_int_equal(unlink(l.away), 0);
        remove_dir(l.dir);
    }
}

/* Two targets; `there` is only in the log, which has its bytes. */
static void log_there(const char *dir, const char *file, const char *second)
{
    int status = 1;
    pid_t pid = fork();
    if (pid == 0) {
        struct sl_config c = config_in(dir);
        c.flush_ms = 3600000;
        struct sl_runtime *rt = open_store(&c);
        add_target(rt, "other", file);
        add_target(rt, "second", second);
        _exit(put_there(rt, "there") ? 3 : 0);
    }
    assert_true(waitpid(pid, &status, 0) == pid);
    assert_int_equal(status, 0);
}

static void log_keeps_what_it_has_for_a_target_that_is_away(void **state)
{
    (void)state;
    char dir[64], file[2][96], away[2][96], got[5];
    int code = 0;
    make_dir(dir, sizeof(dir));
    make_store(dir);
    for (unsigned i = 0; i < 2; i++) {
        snprintf(file[i], sizeof(file[i]), "%s.target%u", dir, i);
        snprintf(away[i], sizeof(away[i]), "%s.away%u", dir, i);
    }
    log_there(dir, file[0], file[1]);
    assert_int_equal(fsck(dir, 0), 0);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(rename(file[i], away[i]), 0);
    assert_int_equal(fsck(dir, SL_FSCK_REPAIR | SL_FSCK_CUT), 1);
    assert_int_equal(report.repaired, 0);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(rename(away[i], file[i]), 0);
    assert_int_equal(fsck(dir, 0), 0);
    assert_true(report.log_changes > 0);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(rename(file[i], away[i]), 0);
    assert_int_equal(fsck_drop(dir, SL_FSCK_REPAIR, "second,other"), 1);
    assert_string_equal(told.blob, "there");
    assert_int_equal(report.repaired, 3);
    assert_int_equal(fsck(dir, 0), 0);
    assert_int_equal(get_there(dir, "there", got), SL_ENOENT);
    assert_int_equal(read_all(dir, &code), BLOBS);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(unlink(away[i]), 0);
    remove_dir(dir);
}

/* A process that was killed: a blob of so many bytes on a target, and a large
 * one on the data file, in the log alone. */
static void make_logged_on_target(const char *dir, const char *path,
                                  uint64_t bytes)
{
    static uint8_t there[WIDE];
    int status = 1;
    pid_t pid = fork();
    if (pid == 0) {
        const struct sl_target_opts o = {.size = sizeof(o),
                                         .name = "other",
                                         .kind = "file",
                                         .path = path,
                                         .capacity = 4 * MIB,
                                         .score = 0.3f};
        struct sl_put_opts how = {
            .size = sizeof(how), .score = 0.3f, .persist = 2};
        struct sl_config c = config_in(dir);
        struct sl_runtime *rt;
        uint64_t tag = 0;
        c.flush_ms = 3600000;
        rt = open_store(&c);
        if (path && sl_target_add(rt, &o, NULL))
            _exit(3);
        if (sl_tag(rt, "tag", &tag))
            _exit(3);
        put_large(rt, tag);
        if (path && sl_put(rt, tag, "there", 0, there, bytes, &how))
            _exit(3);
        _exit(0);
    }
    assert_true(waitpid(pid, &status, 0) == pid);
    assert_int_equal(status, 0);
}

static void expect_blob(const char *dir, const char *name, uint64_t size)
{
    struct sl_config c = config_in(dir);
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = 0, is = 0;
    assert_int_equal(sl_tag_find(rt, "tag", &tag), 0);
    assert_int_equal(sl_size(rt, tag, name, &is), 0);
    assert_int_equal(is, size);
    assert_int_equal(sl_close(rt), 0);
}

/* What was acknowledged waits for a target that is away. */
static void log_of_bytes_waits(uint64_t bytes)
{
    char dir[64], file[96], away[96], list[96];
    make_dir(dir, sizeof(dir));
    snprintf(file, sizeof(file), "%s.other", dir);
    snprintf(away, sizeof(away), "%s.away", dir);
    snprintf(list, sizeof(list), "%s/targets", dir);
    make_logged_on_target(dir, file, bytes);
    const char *const gone[] = {file, list};
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(rename(gone[i], away), 0);
        expect_target(dir, SL_ENOTARGET);
        assert_int_equal(told.code, SL_ENOTARGET);
        assert_string_equal(told.blob, "there");
        assert_int_equal(fsck(dir, SL_FSCK_REPAIR), 1);
        assert_int_equal(report.repaired, 0);
        assert_int_equal(report.log_dropped, 0);
        assert_int_equal(rename(away, gone[i]), 0);
    }
    assert_int_equal(fsck(dir, 0), 0);
    assert_true(report.log_changes > 0);
    expect_blob(dir, "there", bytes);
    assert_int_equal(unlink(file), 0);
    remove_dir(dir);
}

/* The log has the bytes, or only names them. */
static void log_is_kept_for_a_target_that_is_away(void **state)
{
    (void)state;
    log_of_bytes_waits(5);
    log_of_bytes_waits(WIDE);
}

static void log_is_kept_when_the_capacity_shrank(void **state)
{
    (void)state;
    char dir[64];
    struct sl_runtime *rt = NULL;
    make_dir(dir, sizeof(dir));
    make_logged_on_target(dir, NULL, 0);
    struct sl_config c = config_in(dir);
    c.file_bytes = 2 * 65536;
    assert_int_equal(sl_open(&c, &rt), SL_ECONFIG);
    expect_blob(dir, "large", LARGE);
    remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log_with_a_frame_of_nobody_is_mended),
        cmocka_unit_test(records_that_a_start_refuses_are_found),
        cmocka_unit_test(two_damaged_blobs_in_one_space_are_told_apart),
        cmocka_unit_test(store_without_its_metadata_is_no_empty_one),
        cmocka_unit_test(capacity_below_what_is_stored_is_the_users),
        cmocka_unit_test(file_cut_behind_coded_bytes_is_found),
        cmocka_unit_test(targets_that_a_start_refuses_are_found),
        cmocka_unit_test(target_that_is_away_is_named_and_kept),
        cmocka_unit_test(what_is_no_lost_target_is_not_dropped),
        cmocka_unit_test(lost_target_is_dropped_on_demand),
        cmocka_unit_test(lost_target_need_not_be_enoent),
        cmocka_unit_test(record_of_a_newer_program_keeps_the_list),
        cmocka_unit_test(log_keeps_what_it_has_for_a_target_that_is_away),
        cmocka_unit_test(log_is_kept_for_a_target_that_is_away),
        cmocka_unit_test(log_is_kept_when_the_capacity_shrank),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
