/* SPDX-License-Identifier: Apache-2.0 */
#include "store/meta_log.h"

#include "base/log.h"
#include "store/dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

/* The file grows by zeros, so that most syncs find no new block and no new
 * length to store beside the frames. The first step is there before a disk can
 * be full. */
#define GROW_STEP (UINT32_C(1) << 20)
#define READ_STEP (UINT32_C(256) << 10)
#define BEGIN_BYTES 16u /* random */

/* Numbers of frames have four bytes in LOG_AT_SYNCED. */
_Static_assert(LOG_ROOM / (LOG_HEAD + LOG_SUM) < UINT32_MAX,
               "more frames than a head can count");

static void put_le(uint8_t *p, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (uint8_t)(v >> (8u * i));
}

static int fail(const struct meta_log *l, const char *what, int err)
{
    log_error("%s: %s: %s", l->path, what, strerror(err));
    return dir_errno(err);
}

/* 0 or an errno. */
static int write_at(int fd, const uint8_t *p, size_t n, uint64_t at)
{
    while (n) {
        ssize_t w = pwrite(fd, p, n, (off_t)at);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return w < 0 ? errno : EIO;
        p += w;
        n -= (size_t)w;
        at += (uint64_t)w;
    }
    return 0;
}

/* ---- the file ---- */

/* Zeros up to `end` at least; less on a full disk, which the frames' own write
 * will tell. */
static void grow(struct meta_log *l, uint64_t end)
{
    static const uint8_t zeros[65536];
    uint64_t to = (end + GROW_STEP - 1u) / GROW_STEP * GROW_STEP;

    while (l->size < to) {
        uint64_t n = to - l->size;
        if (n > sizeof zeros)
            n = sizeof zeros;
        if (write_at(l->fd, zeros, n, l->size))
            return;
        l->size += n;
    }
}

int log_open(const char *dir, struct meta_log *l)
{
    struct stat st;
    int rc = SL_OK;

    memset(l, 0, sizeof *l);
    l->fd = -1;
    l->path = dir_join(dir, "log");
    if (!l->path) {
        log_error("metadata of %s: out of memory", dir);
        return SL_ENOMEM;
    }
    l->fd = open(l->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (l->fd < 0 || fstat(l->fd, &st)) {
        rc = fail(l, "cannot open", errno);
    } else {
        l->size = (uint64_t)st.st_size;
        if (!l->size && fsync(l->fd))
            rc = fail(l, "cannot sync", errno);
        if (!rc && !l->size && (rc = dir_sync(dir)) != SL_OK)
            log_error("%s: cannot sync its directory", l->path);
        if (!rc)
            grow(l, GROW_STEP);
    }
    if (rc)
        log_close(l);
    return rc;
}

void log_close(struct meta_log *l)
{
    if (l->fd >= 0)
        close(l->fd);
    if (l->buf)
        munmap(l->buf, LOG_ROOM);
    free(l->path);
    memset(l, 0, sizeof *l);
    l->fd = -1;
}

int log_write(struct meta_log *l)
{
    int err;

    if (l->used > l->size)
        grow(l, l->used);
    err = write_at(l->fd, l->buf + l->mark, l->used - l->mark, l->mark);
    if (err)
        return fail(l, "cannot write", err);
    if (l->used > l->size)
        l->size = l->used;
    l->mark = l->used;
    return SL_OK;
}

int log_sync(struct meta_log *l)
{
    if (fdatasync(l->fd))
        return fail(l, "cannot sync", errno);
    /* Frames that log_write has not brought to the file are not under it. */
    if (l->mark == l->used)
        l->synced = l->n;
    return SL_OK;
}

void log_restart(struct meta_log *l, uint64_t generation)
{
    l->used = l->mark = 0;
    l->n = l->synced = 0;
    memset(&l->hole, 0, sizeof l->hole);
    l->generation = generation;
    l->chain = generation;
}

struct log_place log_here(const struct meta_log *l)
{
    return (struct log_place){l->used, l->n, l->chain};
}

int log_undo(struct meta_log *l, const struct log_place *p)
{
    static const uint8_t none[LOG_HEAD];
    int err = 0;

    /* Also when a write failed: part of it may be there. */
    if (l->used > p->used)
        err = write_at(l->fd, none, sizeof none, p->used);
    l->undone++;
    l->used = p->used;
    if (l->mark > l->used)
        l->mark = l->used;
    l->n = p->n;
    l->chain = p->chain;
    return err ? fail(l, "cannot take back a change", err) : SL_OK;
}

/* ---- frames ---- */

static int room_for(struct meta_log *l, size_t bytes)
{
    void *p;

    if (!l->buf) {
        p = mmap(NULL, LOG_ROOM, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
            return SL_ENOMEM;
        l->buf = p;
    }
    return l->used + bytes <= LOG_ROOM ? SL_OK : SL_ENOMEM;
}

static uint8_t *frame(struct meta_log *l, enum log_op op, uint32_t bytes)
{
    uint8_t *p;

    if (room_for(l, LOG_HEAD + (size_t)bytes + LOG_SUM))
        return NULL;
    p = l->buf + l->used;
    memset(p, 0, LOG_HEAD);
    memcpy(p, frame_magic, 4);
    put_le(p + LOG_AT_BYTES, bytes, 4);
    put_le(p + LOG_AT_GENERATION, l->generation, 8);
    put_le(p + LOG_AT_NUMBER, l->n, 8);
    p[LOG_AT_KIND] = (uint8_t)op;
    put_le(p + LOG_AT_UNDONE, l->undone, LOG_AT_SYNCED - LOG_AT_UNDONE);
    put_le(p + LOG_AT_SYNCED, l->synced, LOG_HEAD - LOG_AT_SYNCED);
    l->open = l->used;
    l->used += LOG_HEAD + (size_t)bytes + LOG_SUM;
    return p + LOG_HEAD;
}

uint8_t *log_frame(struct meta_log *l, enum log_op op, uint32_t bytes)
{
    uint8_t *p;

    if (l->n == 0) {
        /* Random, so that no frame of an earlier life of this generation fits
         * behind those of this one. */
        p = frame(l, LOG_BEGIN, BEGIN_BYTES);
        if (!p)
            return NULL;
        if (getrandom(p, BEGIN_BYTES, 0) != (ssize_t)BEGIN_BYTES) {
            l->used = l->open;
            return NULL;
        }
        log_seal(l);
    }
    return frame(l, op, bytes);
}

void log_seal(struct meta_log *l)
{
    uint8_t *p = l->buf + l->open;
    size_t n = l->used - l->open - LOG_SUM;

    l->chain = XXH3_64bits_withSeed(p, n, l->chain);
    put_le(p + n, l->chain, LOG_SUM);
    l->n++;
}

/* Bytes that the frame at p says it has, 0: it is none of this log. */
static size_t frame_bytes(const struct meta_log *l, const uint8_t *p)
{
    uint64_t bytes = log_le(p + LOG_AT_BYTES, 4);

    if (memcmp(p, frame_magic, 4) != 0 || bytes > LOG_PAYLOAD_MAX ||
        log_le(p + LOG_AT_GENERATION, 8) != l->generation ||
        log_le(p + LOG_AT_NUMBER, 8) != l->n ||
        (p[LOG_AT_KIND] == LOG_BEGIN) != (l->n == 0))
        return 0;
    return LOG_HEAD + (size_t)bytes + LOG_SUM;
}

/* ---- replay ---- */

/* Reads on until `end` bytes of the file are in memory; *have counts them. */
static int read_to(struct meta_log *l, size_t end, size_t *have)
{
    while (*have < end) {
        size_t want = end - *have > READ_STEP ? end - *have : READ_STEP;
        ssize_t n;
        l->used = *have;
        if (room_for(l, want)) {
            log_error("%s: out of memory", l->path);
            return SL_ENOMEM;
        }
        n = pread(l->fd, l->buf + *have, want, (off_t)*have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(l, "cannot read", errno);
        if (n == 0)
            return SL_OK;
        *have += (size_t)n;
    }
    return SL_OK;
}

int log_replay(struct meta_log *l, uint64_t generation)
{
    size_t at = 0, have = 0, n;
    int rc;

    log_restart(l, generation);
    for (;;) {
        rc = read_to(l, at + LOG_HEAD, &have);
        if (rc || have < at + LOG_HEAD)
            break;
        n = frame_bytes(l, l->buf + at);
        rc = n ? read_to(l, at + n, &have) : SL_OK;
        if (rc || !n || have < at + n)
            break;
        uint64_t sum = XXH3_64bits_withSeed(l->buf + at, n - LOG_SUM, l->chain);
        if (log_le(l->buf + at + n - LOG_SUM, LOG_SUM) != sum)
            break;
        l->chain = sum;
        l->n++;
        at += n;
    }
    l->used = l->mark = at;
    return rc ? rc : log_hole_find(l);
}

int log_look(const char *dir, uint64_t generation, struct meta_log *l)
{
    int rc;

    memset(l, 0, sizeof *l);
    l->path = dir_join(dir, "log");
    l->fd = l->path ? open(l->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    if (!l->path)
        return SL_ENOMEM;
    if (l->fd < 0 && errno == ENOENT)
        return SL_OK;
    rc = l->fd < 0 ? fail(l, "cannot open", errno) : log_replay(l, generation);
    if (rc)
        log_close(l);
    return rc;
}

int log_next(const struct meta_log *l, size_t *at, struct log_frame *out)
{
    const uint8_t *p;

    do {
        if (*at >= l->used)
            return 0;
        p = l->buf + *at;
        out->op = (enum log_op)p[LOG_AT_KIND];
        out->payload = p + LOG_HEAD;
        out->bytes = (uint32_t)log_le(p + LOG_AT_BYTES, 4);
        *at += LOG_HEAD + (size_t)out->bytes + LOG_SUM;
    } while (out->op == LOG_BEGIN);
    return 1;
}
