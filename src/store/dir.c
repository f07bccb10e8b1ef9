/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Opens, creates and locks the directory of a store (docs/format.md).
 *
 * The directory is examined before the lock file is touched, so that a
 * directory that is refused stays as it is, and once more under the lock,
 * because another process may have changed it in between.
 */
#include "store/dir.h"

#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define FORMAT_FILE "format"
#define FORMAT_TEMP "format.tmp"
#define LOCK_FILE "lock"
#define FORMAT_WORD "sluice-store "
/* More than any format line, so that a longer file is seen to be longer. */
#define FORMAT_MAX 64

enum found { FOUND_EMPTY = 0, FOUND_STORE = 1 };

int dir_errno(int err)
{
    switch (err) {
    case 0:
        return SL_OK;
    case EACCES:
    case EPERM:
    case EROFS:
        return SL_EACCES;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return SL_ENOSPC;
    case ENOMEM:
        return SL_ENOMEM;
    case ENOTDIR:
    case ENOENT:
    case ELOOP:
    case ENAMETOOLONG:
        return SL_ENOTDIR;
    default:
        return SL_EIO;
    }
}

int dir_sync(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int err = 0;

    if (fd < 0)
        return dir_errno(errno);
    if (fsync(fd))
        err = errno;
    close(fd);
    return dir_errno(err);
}

char *dir_join(const char *a, const char *b)
{
    char *s;

    return asprintf(&s, "%s/%s", a, b) < 0 ? NULL : s;
}

/* Logs what failed with the cause in errno. */
static int fail(const struct store_dir *d, const char *what)
{
    int err = errno;

    log_error("store %s: %s: %s", d->path, what, strerror(err));
    return dir_errno(err);
}

/* Reads up to n bytes of a small file; -1 with errno. */
static ssize_t read_small(int fd, char *buf, size_t n)
{
    size_t got = 0;

    while (got < n) {
        ssize_t r = read(fd, buf + got, n - got);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -1;
        if (r == 0)
            break;
        got += (size_t)r;
    }
    return (ssize_t)got;
}

/* 0 or -1 with errno. */
static int write_small(int fd, const char *buf, size_t n)
{
    size_t put = 0;

    while (put < n) {
        ssize_t w = write(fd, buf + put, n - put);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return -1;
        put += (size_t)w;
    }
    return 0;
}

/* ---- the format file ---- */

/* The number in a format line, or -1 when it is none. The newline is part of
 * a line of this version, because without it a digit may be missing. */
static long format_number(const char *line, size_t n)
{
    size_t at = strlen(FORMAT_WORD);
    size_t first = at;
    long v = 0;

    if (n <= at || memcmp(line, FORMAT_WORD, at) != 0 || line[at] == '0')
        return -1;
    for (; at < n && line[at] >= '0' && line[at] <= '9'; at++) {
        if (at - first == 9)
            return -1; /* no version ever has so many digits */
        v = v * 10 + (line[at] - '0');
    }
    if (at == first)
        return -1;
    if (v != STORE_FORMAT)
        return v;
    return at + 1 == n && line[at] == '\n' ? v : -1;
}

static int format_check(const struct store_dir *d, int fd)
{
    char line[FORMAT_MAX];
    ssize_t n = read_small(fd, line, sizeof line);
    long v;

    if (n < 0)
        return fail(d, "cannot read " FORMAT_FILE);
    if (n == 0) {
        log_error("store %s: %s/" FORMAT_FILE " is empty", d->path, d->path);
        return SL_ECORRUPT;
    }
    v = format_number(line, (size_t)n);
    if (v < 0) {
        log_error("store %s: %s/" FORMAT_FILE " is no format line", d->path,
                  d->path);
        return SL_ECORRUPT;
    }
    if (v != STORE_FORMAT) {
        log_error("store %s: its format is version %ld, this program reads "
                  "version %d",
                  d->path, v, STORE_FORMAT);
        return SL_EVERSION;
    }
    return SL_OK;
}

/* Written whole or not at all: a temporary file, synced, then renamed. */
static int format_write(const struct store_dir *d, int dfd)
{
    char line[FORMAT_MAX];
    int n = snprintf(line, sizeof line, FORMAT_WORD "%d\n", STORE_FORMAT);
    int fd =
        openat(dfd, FORMAT_TEMP,
               O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    int rc;

    if (fd < 0)
        return fail(d, "cannot create " FORMAT_TEMP);
    rc = write_small(fd, line, (size_t)n) || fsync(fd)
             ? fail(d, "cannot write " FORMAT_TEMP)
             : SL_OK;
    close(fd);
    if (!rc && renameat(dfd, FORMAT_TEMP, dfd, FORMAT_FILE))
        rc = fail(d, "cannot rename " FORMAT_TEMP);
    if (rc) {
        unlinkat(dfd, FORMAT_TEMP, 0);
        return rc;
    }
    if (fsync(dfd)) {
        rc = fail(d, "cannot sync the directory");
        unlinkat(dfd, FORMAT_FILE, 0);
    }
    return rc;
}

/* ---- what is there ---- */

/* What a creation that was killed leaves behind counts as nothing. */
static int is_leftover(const char *name)
{
    return !strcmp(name, ".") || !strcmp(name, "..") ||
           !strcmp(name, LOCK_FILE) || !strcmp(name, FORMAT_TEMP);
}

static int check_empty(const struct store_dir *d, int dfd)
{
    int fd = openat(dfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e;
    int rc = SL_OK;

    if (!list) {
        rc = fail(d, "cannot list it");
        if (fd >= 0)
            close(fd);
        return rc;
    }
    errno = 0;
    while ((e = readdir(list)) != NULL && is_leftover(e->d_name))
        errno = 0;
    if (e && !faccessat(dfd, FORMAT_FILE, F_OK, 0)) {
        rc = SL_EAGAIN; /* another process has just made it a store */
    } else if (e) {
        log_error("store %s: holds %s but no " FORMAT_FILE
                  ", so it is no store; an empty directory is needed",
                  d->path, e->d_name);
        rc = SL_EINVAL;
    } else if (errno) {
        rc = fail(d, "cannot list it");
    }
    closedir(list);
    return rc;
}

/* An enum found, or a code. */
static int examine(const struct store_dir *d, int dfd)
{
    int fd, rc;

    for (;;) {
        fd = openat(dfd, FORMAT_FILE,
                    O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd >= 0)
            break;
        if (errno != ENOENT)
            return fail(d, "cannot open " FORMAT_FILE);
        rc = check_empty(d, dfd);
        if (rc != SL_EAGAIN)
            return rc ? rc : FOUND_EMPTY;
    }
    rc = format_check(d, fd);
    close(fd);
    return rc ? rc : FOUND_STORE;
}

/* ---- the lock ---- */

static int busy(const struct store_dir *d, int fd)
{
    char text[24];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    long pid = 0;

    if (n > 0) {
        text[n] = '\0';
        pid = strtol(text, NULL, 10);
    }
    if (pid > 0)
        log_error("store %s: in use by process %ld", d->path, pid);
    else
        log_error("store %s: in use by another process", d->path);
    return SL_EBUSY;
}

/* True when `fd` still is the file of that name: a process whose creation
 * failed removes its lock file, and a lock on a removed file guards nothing. */
static int is_current(int dfd, int fd)
{
    struct stat a, b;

    return !fstat(fd, &a) &&
           !fstatat(dfd, LOCK_FILE, &b, AT_SYMLINK_NOFOLLOW) &&
           a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

/* The pid is only for the message of who comes second, so a full disk does not
 * fail the lock. */
static void lock_sign(const struct store_dir *d)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());

    if (ftruncate(d->lock_fd, 0) || write_small(d->lock_fd, text, (size_t)n))
        log_warn("store %s: cannot write the pid into " LOCK_FILE ": %s",
                 d->path, strerror(errno));
}

static int lock_take(struct store_dir *d, int dfd)
{
    for (;;) {
        int rc;
        int fd = openat(dfd, LOCK_FILE,
                        O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
            return fail(d, "cannot open " LOCK_FILE);
        if (flock(fd, LOCK_EX | LOCK_NB)) {
            rc = errno == EWOULDBLOCK ? busy(d, fd) : fail(d, "cannot lock it");
            close(fd);
            return rc;
        }
        if (is_current(dfd, fd)) {
            d->lock_fd = fd;
            return SL_OK;
        }
        close(fd);
    }
}

/* ---- open ---- */

static void names_free(struct store_dir *d)
{
    free(d->path);
    free(d->data);
    free(d->meta);
    free(d);
}

static struct store_dir *names_make(const char *path)
{
    struct store_dir *d = calloc(1, sizeof *d);

    if (!d)
        return NULL;
    d->lock_fd = -1;
    d->path = strdup(path);
    d->data = dir_join(path, "data");
    d->meta = dir_join(path, "meta");
    if (!d->path || !d->data || !d->meta) {
        names_free(d);
        return NULL;
    }
    return d;
}

/* Makes the directory when it is absent; *made tells. */
static int directory_make(const struct store_dir *d, int *made)
{
    char *copy, *parent;
    int rc = SL_OK;

    if (!mkdir(d->path, 0700))
        *made = 1;
    else if (errno == EEXIST)
        return SL_OK;
    else if (errno != ENOENT)
        return fail(d, "cannot create it");

    copy = strdup(d->path);
    parent = copy ? dirname(copy) : NULL;
    if (!parent) {
        rc = SL_ENOMEM;
    } else if (!*made) {
        log_error("store %s: its parent directory %s does not exist", d->path,
                  parent);
        rc = SL_ENOTDIR;
    } else if ((rc = dir_sync(parent)) != SL_OK) {
        log_error("store %s: cannot sync its parent directory %s", d->path,
                  parent);
    }
    free(copy);
    if (rc && *made)
        rmdir(d->path);
    return rc;
}

/* Locks and, in an empty directory, writes the format. */
static int claim(struct store_dir *d, int dfd)
{
    int before = examine(d, dfd);
    int now, rc;

    if (before < 0)
        return before;
    rc = lock_take(d, dfd);
    if (rc)
        return rc;
    now = examine(d, dfd);
    rc = now == FOUND_EMPTY ? format_write(d, dfd) : (now < 0 ? now : SL_OK);
    if (rc) {
        if (before == FOUND_EMPTY && now == FOUND_EMPTY)
            unlinkat(dfd, LOCK_FILE, 0);
        close(d->lock_fd);
        d->lock_fd = -1;
        return rc;
    }
    lock_sign(d);
    return SL_OK;
}

int dir_open(const char *path, struct store_dir **out)
{
    struct store_dir *d = names_make(path);
    int made = 0;
    int dfd, rc;

    if (!d) {
        log_error("store %s: out of memory", path);
        return SL_ENOMEM;
    }
    rc = directory_make(d, &made);
    if (rc)
        goto free_names;
    dfd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dfd < 0) {
        rc = fail(d, "cannot open the directory");
        goto remove_directory;
    }
    rc = claim(d, dfd);
    close(dfd);
    if (rc)
        goto remove_directory;
    *out = d;
    return SL_OK;

remove_directory:
    if (made)
        rmdir(d->path);
free_names:
    names_free(d);
    return rc;
}

void dir_close(struct store_dir *d)
{
    if (!d)
        return;
    close(d->lock_fd);
    names_free(d);
}
