/* SPDX-License-Identifier: Apache-2.0 */
#include "io.h"

#include "out.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail(const char *name)
{
    return out_fail("'%s': %s", name, strerror(errno));
}

int input_open(struct input *f, const char *name)
{
    f->name = name;
    f->fd = STDIN_FILENO;
    if (!strcmp(name, "-"))
        return 0;
    f->fd = open(name, O_RDONLY | O_CLOEXEC);
    return f->fd < 0 ? fail(name) : 0;
}

int input_read(struct input *f, void *buf, size_t room, size_t *n)
{
    uint8_t *to = buf;
    *n = 0;
    while (*n < room) {
        ssize_t got = read(f->fd, to + *n, room - *n);
        if (got == 0)
            return 0;
        if (got < 0 && errno != EINTR)
            return fail(f->name);
        if (got > 0)
            *n += (size_t)got;
    }
    return 0;
}

void input_close(struct input *f)
{
    if (f->fd != STDIN_FILENO)
        close(f->fd);
}

/* ---- output ---- */

/* The name to remove when a signal ends the process; empty when there is none.
 * One file is written at a time. */
static char temp[4096];

static void on_signal(int sig)
{
    if (temp[0])
        unlink(temp);
    /* SA_RESETHAND: the second delivery is the default one. */
    raise(sig);
}

static void catch_signals(void)
{
    static const int sigs[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction sa, was;
    memset(&sa, 0, sizeof(sa));
    sa.sa_handler = on_signal;
    sa.sa_flags = (int)SA_RESETHAND;
    for (size_t i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++)
        /* What is ignored stays so: nohup, and jobs in the background. */
        if (!sigaction(sigs[i], NULL, &was) && was.sa_handler != SIG_IGN)
            sigaction(sigs[i], &sa, NULL);
}

/* Fills `temp` with a name in the directory of f->final and creates it. */
static int temp_open(struct output *f)
{
    const char *slash = strrchr(f->final, '/');
    int dir = slash ? (int)(slash - f->final) + 1 : 0;
    char path[sizeof(temp)];
    for (unsigned i = 0; i < 1000; i++) {
        int n = snprintf(path, sizeof(path), "%.*s.sluice-%ld-%u.part", dir,
                         f->final, (long)getpid(), i);
        if (n < 0 || (size_t)n >= sizeof(path)) {
            errno = ENAMETOOLONG;
            return -1;
        }
        f->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (f->fd >= 0) {
            memcpy(temp, path, sizeof(temp));
            return 0;
        }
        if (errno != EEXIST)
            return -1;
    }
    return -1;
}

/* Settles f->final: what a rename may replace, symbolic links followed. */
static int resolve(struct output *f, const struct stat *old)
{
    f->final = old ? realpath(f->name, NULL) : strdup(f->name);
    if (!f->final || temp_open(f))
        goto failed;
    if (old && fchmod(f->fd, old->st_mode & 07777))
        goto created;
    return 0;
created:
    unlink(temp);
    temp[0] = 0;
    close(f->fd);
failed:
    free(f->final);
    f->final = NULL;
    return -1;
}

int output_open(struct output *f, const char *name)
{
    struct stat st;
    int there;
    f->name = name;
    f->final = NULL;
    f->fd = STDOUT_FILENO;
    if (!strcmp(name, "-"))
        return 0;
    there = !stat(name, &st);
    if (!there && errno != ENOENT)
        return fail(name);
    if (!there && !lstat(name, &st))
        return out_fail("'%s': a symbolic link to nothing", name);
    if (there && !S_ISREG(st.st_mode)) {
        f->fd = open(name, O_WRONLY | O_CLOEXEC);
        return f->fd < 0 ? fail(name) : 0;
    }
    catch_signals();
    return resolve(f, there ? &st : NULL) ? fail(name) : 0;
}

int output_write(struct output *f, const void *buf, size_t n)
{
    const uint8_t *from = buf;
    while (n) {
        ssize_t put = write(f->fd, from, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return fail(f->name);
        from += put;
        n -= (size_t)put;
    }
    return 0;
}

/* The bytes are on the disk before the name is, so that a power cut does not
 * leave the name with less. */
static int settle(struct output *f, int rc)
{
    if (!rc && fsync(f->fd))
        rc = fail(f->name);
    if (close(f->fd) && !rc)
        rc = fail(f->name);
    if (!rc && rename(temp, f->final))
        rc = fail(f->name);
    if (rc)
        unlink(temp);
    temp[0] = 0;
    free(f->final);
    return rc;
}

int output_close(struct output *f, int rc)
{
    if (f->final)
        return settle(f, rc);
    if (f->fd != STDOUT_FILENO && close(f->fd) && !rc)
        rc = fail(f->name);
    return rc;
}
