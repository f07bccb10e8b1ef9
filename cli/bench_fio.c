/* SPDX-License-Identifier: Apache-2.0 */
#include "bench_fio.h"

#include "out.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define REPORT_MAX (1u << 20) /* fio's is some 10 KiB */
/* Not measured: the kernel finds huge pages for it, where ours has them. */
#define RAMP "200ms"

extern char **environ;

/* ':' separates names in fio's own syntax. */
static int escape_path(const char *path, char *to, size_t room)
{
    size_t n = 0;
    for (; *path; path++) {
        if (n + 3 > room)
            return out_fail("fio: the file's name is too long");
        if (*path == ':' || *path == '\\')
            to[n++] = '\\';
        to[n++] = *path;
    }
    to[n] = 0;
    return 0;
}

/* Its cheapest way: no map of blocks it has visited, no times of single
 * requests, no change of the bytes before each write. A thread, because a job
 * that is a process makes itself a session, which the scheduler may weigh apart
 * from ours. */
static int start(const struct fio_job *j, int to, pid_t *pid)
{
    static const char *const rw[] = {"read", "write", "randread", "randwrite"};
    char path[4096], file[4120], size[40], block[32], depth[32], how[32],
        time[48];
    const char *const argv[] = {"fio",
                                "--name=sluice",
                                "--thread=1",
                                "--ioengine=io_uring",
                                "--direct=1",
                                "--registerfiles=1",
                                "--time_based=1",
                                "--ramp_time=" RAMP,
                                "--norandommap=1",
                                "--randrepeat=0",
                                "--gtod_reduce=1",
                                "--scramble_buffers=0",
                                "--allow_file_create=0",
                                "--output-format=json",
                                file,
                                size,
                                block,
                                depth,
                                how,
                                time,
                                NULL};
    posix_spawn_file_actions_t acts;
    int rc = escape_path(j->path, path, sizeof(path));
    if (rc)
        return rc;
    /* A request of 1 MiB in small pages is 256 segments, more than a disk may
     * take at once; ours are in huge pages, so its are. */
    if (setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1", 0) != 0)
        return out_fail("fio: %s", strerror(errno));
    snprintf(file, sizeof(file), "--filename=%s", path);
    snprintf(size, sizeof(size), "--size=%llu", (unsigned long long)j->bytes);
    snprintf(block, sizeof(block), "--bs=%u", j->block);
    snprintf(depth, sizeof(depth), "--iodepth=%u", j->depth);
    snprintf(how, sizeof(how), "--rw=%s", rw[(j->random != 0) * 2 + j->write]);
    snprintf(time, sizeof(time), "--runtime=%llums", (unsigned long long)j->ms);
    posix_spawn_file_actions_init(&acts);
    posix_spawn_file_actions_adddup2(&acts, to, STDOUT_FILENO);
    /* It takes writable strings and writes to none. */
    rc = posix_spawnp(pid, "fio", &acts, NULL, (char *const *)(uintptr_t)argv,
                      environ);
    posix_spawn_file_actions_destroy(&acts);
    if (rc == ENOENT)
        return FIO_ABSENT;
    return rc ? out_fail("fio: %s", strerror(rc)) : 0;
}

/* All of it, with a 0 behind; null is lack of memory or a failed read. */
static char *read_all(int fd)
{
    char *text = malloc(REPORT_MAX);
    size_t n = 0;
    ssize_t got = 1;
    while (text && got && n + 1 < REPORT_MAX) {
        got = read(fd, text + n, REPORT_MAX - 1 - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            free(text);
            return NULL;
        }
        n += (size_t)got;
    }
    if (text)
        text[n] = 0;
    return text;
}

/* It may print notes before the object. */
static int parse(const char *text, int write, struct fio_result *out)
{
    double usr = -1, sys = -1, ops = 0;
    const char *from = text ? strchr(text, '{') : NULL;
    json_t *root = from ? json_loads(from, 0, NULL) : NULL;
    int bad = !root ||
              json_unpack(root, "{s:[{s:{s:F}, s:F, s:F}]}", "jobs",
                          write ? "write" : "read", "iops", &ops, "usr_cpu",
                          &usr, "sys_cpu", &sys) ||
              ops <= 0;
    json_decref(root);
    if (bad)
        return out_fail("fio: its report is not understood");
    out->ops = ops;
    out->cpu_us = (usr + sys) * 1e4 / ops;
    return 0;
}

int fio_run(const struct fio_job *j, struct fio_result *out)
{
    int pipes[2], status = 0, rc;
    pid_t pid = 0;
    char *text;
    if (pipe2(pipes, O_CLOEXEC) != 0)
        return out_fail("fio: pipe: %s", strerror(errno));
    rc = start(j, pipes[1], &pid);
    close(pipes[1]);
    if (rc) {
        close(pipes[0]);
        return rc;
    }
    text = read_all(pipes[0]);
    close(pipes[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        rc = out_fail("fio ended with status %d", status);
    else
        rc = parse(text, j->write, out);
    free(text);
    return rc;
}
