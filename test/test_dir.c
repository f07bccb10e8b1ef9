/* SPDX-License-Identifier: Apache-2.0 */
/* The store's directory: created whole, locked, and never mixed with others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "meta_help.h"
#include "store/dir.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

static int setup(void **state)
{
    *state = help_dir();
    return 0;
}

static int teardown(void **state)
{
    help_remove(*state);
    return 0;
}

static unsigned count_entries(const char *path)
{
    DIR *d = opendir(path);
    unsigned n = 0;

    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2; /* . and .. */
}

static void expect_format(const char *dir, const char *text)
{
    char *file = help_path(dir, "format");
    size_t n;
    uint8_t *got = help_read(file, &n);

    assert_int_equal(n, strlen(text));
    assert_memory_equal(got, text, n);
    free(got);
    free(file);
}

/* Refused with a code, a log line that holds `word`, and no new file. */
static void expect_refused(const char *dir, int code, const char *word)
{
    struct store_dir *d = NULL;
    unsigned before = count_entries(dir);

    help_line[0] = '\0';
    assert_int_equal(dir_open(dir, &d), code);
    assert_null(d);
    assert_non_null(strstr(help_line, dir));
    assert_non_null(strstr(help_line, word));
    assert_int_equal(count_entries(dir), before);
}

static void missing_directory_is_created(void **state)
{
    char *path = help_path(*state, "new");
    char *data = help_path(path, "data");
    char *meta = help_path(path, "meta");
    struct store_dir *d;

    assert_int_equal(dir_open(path, &d), 0);
    assert_string_equal(d->path, path);
    assert_string_equal(d->data, data);
    assert_string_equal(d->meta, meta);
    expect_format(path, "sluice-store 1\n");
    assert_int_equal(count_entries(path), 2); /* format, lock */
    dir_close(d);
    free(meta);
    free(data);
    free(path);
}

static void empty_directory_becomes_a_store_and_opens_again(void **state)
{
    struct store_dir *d;

    for (int i = 0; i < 3; i++) {
        assert_int_equal(dir_open(*state, &d), 0);
        dir_close(d);
    }
    expect_format(*state, "sluice-store 1\n");
}

static void leftovers_of_a_killed_creation_are_no_obstacle(void **state)
{
    char *lock = help_path(*state, "lock");
    char *temp = help_path(*state, "format.tmp");
    struct store_dir *d;

    help_write(lock, "99\n", 3);
    help_write(temp, "slu", 3);
    assert_int_equal(dir_open(*state, &d), 0);
    expect_format(*state, "sluice-store 1\n");
    dir_close(d);
    free(temp);
    free(lock);
}

static void second_open_is_ebusy_and_names_the_process(void **state)
{
    struct store_dir *d;
    char pid[24];

    snprintf(pid, sizeof pid, "process %ld", (long)getpid());
    assert_int_equal(dir_open(*state, &d), 0);
    expect_refused(*state, SL_EBUSY, pid);
    dir_close(d);
    assert_int_equal(dir_open(*state, &d), 0);
    dir_close(d);
}

static void ebusy_without_a_readable_pid_still_names_the_directory(void **state)
{
    char *lock = help_path(*state, "lock");
    struct store_dir *d;

    assert_int_equal(dir_open(*state, &d), 0);
    assert_int_equal(truncate(lock, 0), 0);
    expect_refused(*state, SL_EBUSY, "another process");
    dir_close(d);
    free(lock);
}

static void lock_ends_with_a_killed_process(void **state)
{
    struct store_dir *d;
    int ready[2], status;
    char byte;
    pid_t child;

    assert_int_equal(pipe(ready), 0);
    child = fork();
    if (child == 0) {
        if (dir_open(*state, &d) || write(ready[1], "x", 1) != 1)
            _exit(1);
        pause();
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    expect_refused(*state, SL_EBUSY, "process");
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(dir_open(*state, &d), 0);
    dir_close(d);
    close(ready[0]);
    close(ready[1]);
}

static void path_that_is_a_file_is_enotdir(void **state)
{
    char *file = help_path(*state, "file");
    char *below = help_path(file, "store");
    struct store_dir *d;

    help_write(file, "x", 1);
    assert_int_equal(dir_open(file, &d), SL_ENOTDIR);
    assert_non_null(strstr(help_line, file));
    assert_int_equal(dir_open(below, &d), SL_ENOTDIR);
    assert_non_null(strstr(help_line, below));
    free(below);
    free(file);
}

static void missing_parent_is_enotdir_and_named(void **state)
{
    char *parent = help_path(*state, "none");
    char *path = help_path(parent, "store");
    char text[600];
    struct store_dir *d;

    snprintf(text, sizeof text, "parent directory %s does", parent);
    assert_int_equal(dir_open(path, &d), SL_ENOTDIR);
    assert_non_null(strstr(help_line, text));
    assert_int_not_equal(access(parent, F_OK), 0);
    assert_int_equal(dir_open("", &d), SL_ENOTDIR);
    free(path);
    free(parent);
}

static void format_file_that_is_no_format_line_is_ecorrupt(void **state)
{
    static const char *const lines[] = {"",
                                        "x",
                                        "sluice-store ",
                                        "sluice-store 1",
                                        "sluice 1\n",
                                        "\n",
                                        "sluice-store one\n",
                                        "sluice-store 01\n",
                                        "sluice-store -1\n",
                                        "sluice-store 1\nmore",
                                        "sluice-store 1 \n",
                                        "sluice-store 0\n",
                                        "sluice-store 99999999999999999999\n"};
    char *file = help_path(*state, "format");

    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        help_write(file, lines[i], strlen(lines[i]));
        expect_refused(*state, SL_ECORRUPT, file);
        expect_format(*state, lines[i]);
    }
    free(file);
}

static void another_format_is_eversion_and_both_are_named(void **state)
{
    char *file = help_path(*state, "format");

    help_write(file, "sluice-store 2\n", 15);
    expect_refused(*state, SL_EVERSION, "version 2");
    assert_non_null(strstr(help_line, "version 1"));
    help_write(file, "sluice-store 2", 14);
    expect_refused(*state, SL_EVERSION, "version 2");
    free(file);
}

static void foreign_directory_is_einval_and_untouched(void **state)
{
    char *file = help_path(*state, "letters");

    help_write(file, "dear", 4);
    expect_refused(*state, SL_EINVAL, "letters");
    assert_int_equal(unlink(file), 0);
    assert_int_equal(mkdir(file, 0700), 0);
    expect_refused(*state, SL_EINVAL, "letters");
    free(file);
}

/* In a child, because root reads everything and has to become somebody else. */
static int open_as_nobody(const char *path)
{
    struct store_dir *d;
    int status;
    pid_t child = fork();

    if (child == 0) {
        if (geteuid() == 0 && setresuid(65534, 65534, 65534))
            _exit(99);
        _exit(-dir_open(path, &d));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return -WEXITSTATUS(status);
}

static void directory_without_rights_is_eacces(void **state)
{
    char *path = help_path(*state, "new");

    assert_int_equal(chmod(*state, 0), 0);
    assert_int_equal(open_as_nobody(*state), SL_EACCES);
    assert_int_equal(chmod(*state, 0555), 0);
    assert_int_equal(open_as_nobody(*state), SL_EACCES);
    assert_int_equal(open_as_nobody(path), SL_EACCES);
    assert_int_equal(chmod(*state, 0700), 0);
    assert_int_equal(count_entries(*state), 0);
    free(path);
}

static void full_disk_is_enospc_and_leaves_nothing(void **state)
{
    char *path = help_path(*state, "new");
    struct rlimit old, none;
    struct store_dir *d;
    int of_new, of_empty;

    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    none = old;
    none.rlim_cur = 4;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    of_empty = dir_open(*state, &d);
    of_new = dir_open(path, &d);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_DFL);

    assert_int_equal(of_empty, SL_ENOSPC);
    assert_int_equal(of_new, SL_ENOSPC);
    assert_int_equal(count_entries(*state), 0);
    free(path);
}

static void one_of_many_that_create_at_once_wins(void **state)
{
    enum { N = 8 };
    int go[2], hold[2], codes[2], won = 0, busy = 0;
    char byte;

    assert_int_equal(pipe(go), 0);
    assert_int_equal(pipe(hold), 0);
    assert_int_equal(pipe(codes), 0);
    for (int i = 0; i < N; i++) {
        struct store_dir *d;
        if (fork() != 0)
            continue;
        close(go[1]);
        close(hold[1]);
        if (read(go[0], &byte, 1) < 0)
            _exit(1);
        byte = (char)-dir_open(*state, &d);
        if (write(codes[1], &byte, 1) != 1 || read(hold[0], &byte, 1) < 0)
            _exit(1);
        _exit(0);
    }
    close(go[1]);
    for (int i = 0; i < N; i++) {
        assert_int_equal(read(codes[0], &byte, 1), 1);
        won += byte == 0;
        busy += byte == -SL_EBUSY;
    }
    close(hold[1]);
    for (int i = 0; i < N; i++)
        wait(NULL);
    assert_int_equal(won, 1);
    assert_int_equal(busy, N - 1);
    expect_format(*state, "sluice-store 1\n");
    close(go[0]);
    close(hold[0]);
    close(codes[0]);
    close(codes[1]);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(missing_directory_is_created),
        CASE(empty_directory_becomes_a_store_and_opens_again),
        CASE(leftovers_of_a_killed_creation_are_no_obstacle),
        CASE(second_open_is_ebusy_and_names_the_process),
        CASE(ebusy_without_a_readable_pid_still_names_the_directory),
        CASE(lock_ends_with_a_killed_process),
        CASE(path_that_is_a_file_is_enotdir),
        CASE(missing_parent_is_enotdir_and_named),
        CASE(format_file_that_is_no_format_line_is_ecorrupt),
        CASE(another_format_is_eversion_and_both_are_named),
        CASE(foreign_directory_is_einval_and_untouched),
        CASE(directory_without_rights_is_eacces),
        CASE(full_disk_is_enospc_and_leaves_nothing),
        CASE(one_of_many_that_create_at_once_wins),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
