/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * A disk that loses what was not synced. The functions here win over those of
 * the C library, for the store and for LMDB: while `cut_on`, each write to a
 * watched file is kept with its bytes, each sync with what it covers. From that
 * the files are made as a power cut at any moment may leave them: all that was
 * synced, and of the rest any 512-byte sectors.
 *
 * For one program only, which includes it once. io_uring is refused, so that
 * all bytes go through here.
 */
#ifndef CUT_DISK_H
#define CUT_DISK_H

#include "help.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define CUT_FILES 3u
#define CUT_SECTOR 512u

enum cut_kind { CUT_WRITE, CUT_SYNC, CUT_NOTE };

struct cut_event {
    enum cut_kind kind;
    unsigned file;
    int durable;    /* a write that syncs itself */
    uint64_t at;    /* write: offset; note: what the test says */
    size_t n;       /* write: bytes; sync: events it covers */
    uint8_t *bytes; /* write */
};

struct cut_file {
    const char *name;
    ino_t ino;
    uint8_t *base; /* when the recording began */
    size_t bytes;
};

static struct cut_file cut_file[CUT_FILES] = {
    {.name = "data"}, {.name = "log"}, {.name = "meta/data.mdb"}};
static int cut_on; /* atomic */
static pthread_mutex_t cut_lock = PTHREAD_MUTEX_INITIALIZER;
static struct cut_event *cut_event; /* under the lock, like those below */
static size_t cut_events, cut_room;

/* ---- recording ---- */

static int cut_which(int fd)
{
    struct stat st;
    if (!__atomic_load_n(&cut_on, __ATOMIC_ACQUIRE) || fstat(fd, &st))
        return -1;
    for (unsigned i = 0; i < CUT_FILES; i++)
        if (cut_file[i].ino == st.st_ino)
            return (int)i;
    return -1;
}

static size_t cut_add(struct cut_event e)
{
    pthread_mutex_lock(&cut_lock);
    if (cut_events == cut_room) {
        cut_room = cut_room ? 2u * cut_room : 1024u;
        cut_event = realloc(cut_event, cut_room * sizeof(*cut_event));
        if (!cut_event)
            abort();
    }
    cut_event[cut_events] = e;
    size_t i = cut_events++;
    pthread_mutex_unlock(&cut_lock);
    return i;
}

static size_t cut_count(void)
{
    pthread_mutex_lock(&cut_lock);
    size_t n = cut_events;
    pthread_mutex_unlock(&cut_lock);
    return n;
}

/* What the test wants to find again between the writes. */
static size_t cut_note(uint64_t what)
{
    return cut_add((struct cut_event){.kind = CUT_NOTE, .at = what});
}

static void cut_wrote(int fd, const void *p, ssize_t n, off_t at)
{
    int file = n > 0 ? cut_which(fd) : -1;
    if (file < 0)
        return;
    struct cut_event e = {.kind = CUT_WRITE,
                          .file = (unsigned)file,
                          .durable = (fcntl(fd, F_GETFL) & O_DSYNC) != 0,
                          .at = (uint64_t)at,
                          .n = (size_t)n,
                          .bytes = malloc((size_t)n)};
    if (!e.bytes)
        abort();
    memcpy(e.bytes, p, (size_t)n);
    cut_add(e);
}

/* Seen by LMDB and liburing, too. */
#pragma GCC visibility push(default)
ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    ssize_t w = syscall(SYS_pwrite64, fd, p, n, at);
    cut_wrote(fd, p, w, at);
    return w;
}

ssize_t write(int fd, const void *p, size_t n)
{
    off_t at = cut_which(fd) < 0 ? 0 : lseek(fd, 0, SEEK_CUR);
    ssize_t w = syscall(SYS_write, fd, p, n);
    cut_wrote(fd, p, w, at);
    return w;
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
    off_t at = cut_which(fd) < 0 ? 0 : lseek(fd, 0, SEEK_CUR);
    ssize_t w = syscall(SYS_writev, fd, v, n), left = w;
    for (int i = 0; i < n && left > 0; i++) {
        ssize_t part =
            (size_t)left < v[i].iov_len ? left : (ssize_t)v[i].iov_len;
        cut_wrote(fd, v[i].iov_base, part, at);
        at += part;
        left -= part;
    }
    return w;
}

/* It covers what was written when it began, and counts when it has ended. */
static int cut_synced(int fd, long call)
{
    int file = cut_which(fd);
    size_t covers = file < 0 ? 0 : cut_count();
    int rc = (int)syscall(call, fd);
    if (file >= 0 && rc == 0)
        cut_add((struct cut_event){
            .kind = CUT_SYNC, .file = (unsigned)file, .n = covers});
    return rc;
}

int fdatasync(int fd)
{
    return cut_synced(fd, SYS_fdatasync);
}

int fsync(int fd)
{
    return cut_synced(fd, SYS_fsync);
}

int io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
    (void)entries;
    (void)ring;
    (void)flags;
    return -ENOSYS;
}
#pragma GCC visibility pop

/* ---- files ---- */

static uint8_t *cut_read(const char *dir, const char *name, size_t *n)
{
    char path[200];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    *n = (size_t)st.st_size;
    uint8_t *p = malloc(*n + 1u);
    assert_non_null(p);
    assert_int_equal(read(fd, p, *n), *n);
    close(fd);
    return p;
}

/* The files as they are begin the recording; all in them counts as synced. */
static void cut_begin(const char *dir)
{
    for (unsigned i = 0; i < CUT_FILES; i++) {
        struct cut_file *f = &cut_file[i];
        char path[200];
        struct stat st;
        f->base = cut_read(dir, f->name, &f->bytes);
        snprintf(path, sizeof(path), "%s/%s", dir, f->name);
        assert_int_equal(stat(path, &st), 0);
        f->ino = st.st_ino;
    }
    __atomic_store_n(&cut_on, 1, __ATOMIC_RELEASE);
}

static void cut_end(void)
{
    __atomic_store_n(&cut_on, 0, __ATOMIC_RELEASE);
}

static void cut_free(void)
{
    for (unsigned i = 0; i < CUT_FILES; i++)
        free(cut_file[i].base);
    for (size_t i = 0; i < cut_events; i++)
        free(cut_event[i].bytes);
    free(cut_event);
    cut_event = NULL;
    cut_events = cut_room = 0;
}

/* ---- a cut ---- */

struct cut_loss {
    uint64_t kept, lost; /* sectors that were not synced */
};

static void cut_sector(uint8_t **p, size_t *n, const struct cut_event *e,
                       size_t at, size_t bytes)
{
    size_t end = e->at + at + bytes;
    if (end > *n) {
        *p = realloc(*p, end);
        assert_non_null(*p);
        memset(*p + *n, 0, end - *n);
        *n = end;
    }
    memcpy(*p + e->at + at, e->bytes + at, bytes);
}

static void cut_apply(uint8_t **p, size_t *n, const struct cut_event *e,
                      int synced, unsigned keep_of_8, uint64_t *seed,
                      struct cut_loss *loss)
{
    for (size_t at = 0; at < e->n;) {
        size_t bytes = CUT_SECTOR - (e->at + at) % CUT_SECTOR;
        bytes = bytes < e->n - at ? bytes : e->n - at;
        int keep = synced || test_random(seed) % 8u < keep_of_8;
        if (keep)
            cut_sector(p, n, e, at, bytes);
        loss->kept += keep && !synced;
        loss->lost += !keep;
        at += bytes;
    }
}

/* The file after the first `upto` events, written to `dir`; 8 of 8: a killed
 * process, nothing is lost. */
static void cut_image(const char *dir, unsigned file, size_t upto,
                      unsigned keep_of_8, uint64_t *seed, struct cut_loss *loss)
{
    const struct cut_file *f = &cut_file[file];
    size_t n = f->bytes, covered = 0;
    uint8_t *p = malloc(n + 1u);
    char path[200];
    assert_non_null(p);
    memcpy(p, f->base, n);
    for (size_t i = 0; i < upto; i++)
        if (cut_event[i].kind == CUT_SYNC && cut_event[i].file == file &&
            cut_event[i].n > covered)
            covered = cut_event[i].n;
    for (size_t i = 0; i < upto; i++)
        if (cut_event[i].kind == CUT_WRITE && cut_event[i].file == file)
            cut_apply(&p, &n, &cut_event[i],
                      i < covered || cut_event[i].durable, keep_of_8, seed,
                      loss);
    snprintf(path, sizeof(path), "%s/%s", dir, f->name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, p, n), n);
    close(fd);
    free(p);
}

#endif
