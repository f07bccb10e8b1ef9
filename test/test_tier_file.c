/* SPDX-License-Identifier: Apache-2.0 */
/* What only a file has: a lock, a length, a life after close, and kernels and
 * file systems that refuse the fast way. */
#include "tier/file.h"
#include "tier/ring.h"
#include "tier_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static char path[64];
static struct log_kept kept;

static int setup(void **state)
{
    (void)state;
    make_path(path, sizeof(path), ".");
    memset(&kept, 0, sizeof(kept));
    log_sink(keep_line, &kept);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    log_sink(NULL, NULL);
    unlink(path);
    return 0;
}

static int open_at(const char *at, uint64_t capacity, unsigned avoid,
                   struct tier **out)
{
    struct tier_config c = {.kind = "file",
                            .name = "test",
                            .path = at,
                            .capacity = capacity,
                            .n_ports = 1};
    return tier_file_open_as(&c, avoid, out);
}

static struct tier *must_open(uint64_t capacity, unsigned avoid)
{
    struct tier *t = NULL;
    assert_int_equal(open_at(path, capacity, avoid, &t), SL_OK);
    return t;
}

static struct tier_port *must_port(struct tier *t)
{
    struct tier_port *p = NULL;
    assert_int_equal(t->ops->port_open(t, 0, &p), SL_OK);
    return p;
}

static uint64_t must_alloc(struct tier *t, uint64_t bytes)
{
    uint64_t loc = ~UINT64_C(0);
    assert_int_equal(t->ops->alloc(t, bytes, &loc), SL_OK);
    return loc;
}

static struct stat file_stat(void)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st;
}

/* Runs `body` in a child; its exit code, or -1 when a signal ended it. */
static int in_child(int (*body)(void))
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0)
        _exit(body());
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- lock ---- */

static int open_code(void)
{
    struct tier *t = NULL;
    int rc = open_at(path, MIB, 0, &t);
    if (rc == 0)
        t->ops->close(t);
    return -rc;
}

static void second_open_is_ebusy_until_the_first_closes(void **state)
{
    struct tier *first = must_open(MIB, 0), *second = NULL;
    (void)state;
    assert_int_equal(open_at(path, MIB, 0, &second), SL_EBUSY);
    assert_null(second);
    assert_non_null(strstr(kept.last, path));
    assert_int_equal(in_child(open_code), -SL_EBUSY);
    first->ops->close(first);
    assert_int_equal(in_child(open_code), 0);
    assert_int_equal(open_code(), 0);
}

/* ---- paths ---- */

static void bad_paths_are_refused_with_the_cause(void **state)
{
    struct tier *t = NULL;
    (void)state;
    assert_int_equal(open_at("./no-such-directory/file", MIB, 0, &t),
                     SL_EINVAL);
    assert_non_null(strstr(kept.last, "no-such-directory"));
    assert_int_equal(open_at(".", MIB, 0, &t), SL_EINVAL);
    assert_int_equal(open_at(NULL, MIB, 0, &t), SL_EINVAL);
    assert_int_equal(open_at("/dev/null", MIB, 0, &t), SL_EINVAL);
    assert_int_equal(kept.lines, 4);
    assert_null(t);
}

static void unreadable_file_is_eacces(void **state)
{
    struct tier *t = NULL;
    (void)state;
    if (geteuid() == 0) {
        print_message("the superuser may open any file\n");
        skip();
    }
    assert_int_equal(chmod(path, 0), 0);
    assert_int_equal(open_at(path, MIB, 0, &t), SL_EACCES);
}

static void path_kind_names_what_is_used(void **state)
{
    static const struct {
        unsigned avoid;
        const char *kind;
    } want[] = {
        {TIER_FILE_NO_DIRECT, "io_uring+buffered"},
        {TIER_FILE_NO_URING, "pread+O_DIRECT"},
        {TIER_FILE_NO_URING | TIER_FILE_NO_DIRECT, "pread+buffered"},
    };
    struct tier *t = must_open(MIB, 0);
    int fast = strcmp(tier_file_path_kind(t), "io_uring+O_DIRECT") == 0;
    (void)state;
    t->ops->close(t);
    assert_int_equal(kept.lines, fast ? 1 : kept.lines);
    for (size_t i = 0; i < 3 && fast; i++) {
        memset(&kept, 0, sizeof(kept));
        t = must_open(MIB, want[i].avoid);
        assert_string_equal(tier_file_path_kind(t), want[i].kind);
        assert_non_null(strstr(kept.all, "refused"));
        t->ops->close(t);
    }
    if (!fast) {
        print_message("no io_uring or no O_DIRECT in this directory\n");
        skip();
    }
}

/* Lets io_uring_setup fail as container runtimes do. */
static int forbid_io_uring(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {4, code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

/* Exit codes: 0 all well, else the number of the step that went wrong. */
static int use_without_io_uring(void)
{
    struct tier *t = NULL;
    struct tier_port *p = NULL;
    uint64_t loc;
    void *buf = buffer(4096);
    if (forbid_io_uring())
        return 77;
    if (open_at(path, MIB, 0, &t))
        return 1;
    if (strncmp(tier_file_path_kind(t), "pread", 5) != 0)
        return 2;
    if (!strstr(kept.all, "io_uring is refused: Operation not permitted"))
        return 3;
    if (t->ops->port_open(t, 0, &p) || t->ops->alloc(t, 4096, &loc))
        return 4;
    if (transfer(p, RIG_WRITE, loc, buf, 4096) ||
        transfer(p, RIG_READ, loc, buf, 4096) ||
        transfer(p, RIG_FLUSH, 0, NULL, 0))
        return 5;
    t->ops->port_close(p);
    t->ops->close(t);
    free(buf);
    return 0;
}

static void forbidden_io_uring_falls_back_to_pread(void **state)
{
    int code = in_child(use_without_io_uring);
    (void)state;
    if (code == 77)
        skip();
    assert_int_equal(code, 0);
}

/* ---- length ---- */

static void content_outlives_close_and_open(void **state)
{
    uint64_t loc[3];
    void *buf = buffer(12288);
    struct tier *t = must_open(64 * MIB, 0);
    struct tier_port *p = must_port(t);
    (void)state;
    assert_true(t->ops->persistent);
    for (uint64_t i = 0; i < 3; i++) {
        loc[i] = must_alloc(t, 12288);
        pattern(buf, 12288, i);
        assert_int_equal(transfer(p, RIG_WRITE, loc[i], buf, 12288), SL_OK);
    }
    assert_int_equal(transfer(p, RIG_FLUSH, 0, NULL, 0), SL_OK);
    t->ops->port_close(p);
    t->ops->close(t);

    t = must_open(64 * MIB, 0);
    p = must_port(t);
    assert_int_equal(t->ops->reserve(t, loc[0], 12288), SL_OK);
    assert_int_equal(t->ops->reserve(t, loc[2], 12288), SL_OK);
    /* What no record names is free space. */
    assert_int_equal(must_alloc(t, 12288), loc[1]);
    for (uint64_t i = 0; i < 3; i += 2) {
        assert_int_equal(transfer(p, RIG_READ, loc[i], buf, 12288), SL_OK);
        assert_true(is_pattern(buf, 12288, i));
    }
    t->ops->port_close(p);
    t->ops->close(t);
    free(buf);
}

static void reserve_beyond_the_file_is_eio_and_names_it(void **state)
{
    struct tier *t = must_open(64 * MIB, 0);
    struct tier_usage u;
    (void)state;
    assert_int_equal(t->ops->reserve(t, 0, 4096), SL_ESHRUNK);
    assert_non_null(strstr(kept.last, path));
    t->ops->close(t);
    assert_int_equal(truncate(path, 10000), 0);
    t = must_open(64 * MIB, 0);
    assert_int_equal(t->ops->reserve(t, 4096, 4096), SL_OK);
    assert_int_equal(t->ops->reserve(t, 8192, 4096), SL_ESHRUNK);
    t->ops->usage(t, &u);
    assert_int_equal(u.used, 4096);
    /* The cut block is made whole when it is given out again. */
    assert_int_equal(must_alloc(t, 4096), 0);
    assert_int_equal(must_alloc(t, 4096), 8192);
    assert_true(file_stat().st_size >= 12288);
    t->ops->close(t);
}

static void file_grows_in_steps_with_blocks_on_disk(void **state)
{
    struct tier *t = must_open(100 * MIB, 0);
    (void)state;
    assert_int_equal(file_stat().st_size, 0);
    must_alloc(t, 4096);
    assert_int_equal(file_stat().st_size, 64 * MIB);
    assert_true((uint64_t)file_stat().st_blocks * 512 >= 64 * MIB);
    must_alloc(t, 64 * MIB);
    assert_int_equal(file_stat().st_size, 100 * MIB);
    t->ops->close(t);
}

static void rewriting_does_not_grow_the_file(void **state)
{
    struct tier *t = must_open(1024 * MIB, 0);
    uint64_t old = must_alloc(t, MIB);
    (void)state;
    for (int i = 0; i < 5000; i++) {
        uint64_t now = must_alloc(t, MIB);
        t->ops->free(t, old, MIB);
        old = now;
    }
    assert_int_equal(file_stat().st_size, 64 * MIB);
    t->ops->close(t);
}

static void holes_are_filled_at_open(void **state)
{
    struct tier *t;
    (void)state;
    assert_int_equal(truncate(path, 8 << 20), 0);
    assert_true((uint64_t)file_stat().st_blocks * 512 < 8 * MIB);
    t = must_open(16 * MIB, 0);
    assert_true((uint64_t)file_stat().st_blocks * 512 >= 8 * MIB);
    assert_int_equal(t->ops->reserve(t, 0, 8 * MIB), SL_OK);
    t->ops->close(t);
}

/* A limit on the file's size stands for a full disk. */
static int alloc_on_a_full_disk(void)
{
    struct rlimit limit = {MIB, MIB};
    struct tier *t = NULL;
    struct tier_usage u;
    uint64_t loc = 7;
    int lines;
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &limit))
        return 77;
    if (open_at(path, 16 * MIB, 0, &t))
        return 1;
    lines = kept.lines;
    if (t->ops->alloc(t, MIB / 2, &loc) || loc != 0)
        return 2;
    for (int i = 0; i < 3; i++)
        if (t->ops->alloc(t, MIB, &loc) != SL_ENOSPC || loc != 0)
            return 3;
    if (!strstr(kept.last, path) || kept.lines != lines + 1)
        return 4; /* logged once */
    t->ops->usage(t, &u);
    if (u.used != MIB / 2)
        return 5;
    if (t->ops->alloc(t, MIB / 2, &loc) || loc != MIB / 2)
        return 6;
    t->ops->free(t, 0, MIB);
    if (t->ops->alloc(t, MIB, &loc))
        return 7;
    t->ops->close(t);
    return 0;
}

static void full_disk_is_enospc_of_alloc(void **state)
{
    int code = in_child(alloc_on_a_full_disk);
    (void)state;
    if (code == 77)
        skip();
    assert_int_equal(code, 0);
}

static void file_cut_off_in_use_is_eshrunk(void **state)
{
    (void)state;
    for (unsigned avoid = 0; avoid < 4; avoid++) {
        void *buf = buffer(65536);
        struct tier *t = must_open(MIB, avoid);
        struct tier_port *p = must_port(t);
        uint64_t loc = must_alloc(t, 65536);
        assert_int_equal(truncate(path, 10000), 0);
        assert_int_equal(transfer(p, RIG_READ, loc, buf, 65536), SL_ESHRUNK);
        assert_non_null(strstr(kept.last, path));
        assert_int_equal(transfer(p, RIG_READ, loc, buf, 8192), SL_OK);
        t->ops->port_close(p);
        t->ops->close(t);
        free(buf);
    }
}

/* ---- the rule of going on ---- */

static void short_transfers_go_on_where_they_ended(void **state)
{
    struct file_target f = {.path = "f"};
    struct tier_io io = {.op = TIER_WRITE, .bytes = 16384};
    (void)state;
    assert_int_equal(file_advance(&f, &io, 5000), 1);
    assert_int_equal(io.moved, 5000);
    assert_int_equal(file_advance(&f, &io, 11383), 1);
    assert_int_equal(file_advance(&f, &io, 1), 0);
    assert_int_equal(kept.lines, 0);
}

static void direct_transfers_go_on_at_a_block(void **state)
{
    struct file_target f = {.path = "f", .direct = 1};
    struct tier_io io = {.op = TIER_READ, .bytes = 16384};
    (void)state;
    assert_int_equal(file_advance(&f, &io, 5000), 1);
    assert_int_equal(io.moved, 4096);
    assert_int_equal(file_advance(&f, &io, 8192), 1);
    assert_int_equal(io.moved, 12288);
    /* Less than a block, again and again, is the end of the file. */
    assert_int_equal(file_advance(&f, &io, 100), SL_ESHRUNK);
    assert_int_equal(file_advance(&f, &io, 4096), 0);
}

static void no_progress_is_an_error(void **state)
{
    struct file_target f = {.path = "f"};
    struct tier_io io = {.op = TIER_READ, .bytes = 4096};
    (void)state;
    assert_int_equal(file_advance(&f, &io, 0), SL_ESHRUNK);
    assert_int_equal(file_advance(&f, &io, 4097), SL_EIO);
    assert_int_equal(kept.lines, 2);
}

static void interrupted_requests_are_made_again(void **state)
{
    static const int again[] = {-EINTR, -EAGAIN, -ECANCELED};
    struct file_target f = {.path = "f"};
    struct tier_io io = {.op = TIER_WRITE, .bytes = 8192, .moved = 4096};
    (void)state;
    for (int op = TIER_READ; op <= TIER_FLUSH; op++)
        for (int i = 0; i < 3; i++) {
            io.op = op;
            assert_int_equal(file_advance(&f, &io, again[i]), 1);
            assert_int_equal(io.moved, 4096);
        }
    assert_int_equal(kept.lines, 0);
}

static void errors_keep_their_meaning(void **state)
{
    struct file_target f = {.path = "f"};
    struct tier_io io = {.op = TIER_WRITE, .bytes = 4096, .loc = 8192};
    (void)state;
    assert_int_equal(file_advance(&f, &io, -ENOSPC), SL_ENOSPC);
    assert_int_equal(file_advance(&f, &io, -EDQUOT), SL_ENOSPC);
    assert_int_equal(file_advance(&f, &io, -EIO), SL_EIO);
    assert_int_equal(file_advance(&f, &io, -EBADF), SL_EIO);
    assert_int_equal(kept.lines, 4);
    assert_non_null(strstr(kept.last, "f: write of 4096 bytes at 8192"));
}

static void failed_sync_fails_all_later_ones(void **state)
{
    struct file_target f = {.path = "f"};
    struct tier_io io = {.op = TIER_FLUSH};
    (void)state;
    assert_int_equal(file_advance(&f, &io, 0), 0);
    assert_int_equal(file_advance(&f, &io, -EIO), SL_EIO);
    assert_int_equal(file_advance(&f, &io, 0), SL_EIO);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(second_open_is_ebusy_until_the_first_closes),
        CASE(bad_paths_are_refused_with_the_cause),
        CASE(unreadable_file_is_eacces),
        CASE(path_kind_names_what_is_used),
        CASE(forbidden_io_uring_falls_back_to_pread),
        CASE(content_outlives_close_and_open),
        CASE(reserve_beyond_the_file_is_eio_and_names_it),
        CASE(file_grows_in_steps_with_blocks_on_disk),
        CASE(rewriting_does_not_grow_the_file),
        CASE(holes_are_filled_at_open),
        CASE(full_disk_is_enospc_of_alloc),
        CASE(file_cut_off_in_use_is_eshrunk),
        CASE(short_transfers_go_on_where_they_ended),
        CASE(direct_transfers_go_on_at_a_block),
        CASE(no_progress_is_an_error),
        CASE(interrupted_requests_are_made_again),
        CASE(errors_keep_their_meaning),
        CASE(failed_sync_fails_all_later_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
