/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file as a tier. Its length follows the highest block that was ever given
 * out, in steps, and blocks are reserved on the disk before they are given out:
 * a full disk is an error of alloc, not of a write long after.
 */
#include "tier/file.h"

#include "base/clock.h"
#include "base/log.h"
#include "tier/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Large enough that growing is rare beside writing that much, small enough
 * that it does not take a disk from others. */
#define GROW_STEP (UINT64_C(64) << 20)
#define DEPTH_DEFAULT 128u
/* The kernel allows 32768 entries; more than this gains nothing on one disk. */
#define DEPTH_MAX 4096u
/* Longer than an idle kernel needs to end a killed process's requests. */
#define LOCK_QUIET_NS UINT64_C(1000000000)

struct file_tier {
    struct tier_base base;
    struct file_target target;
    char *path;
    unsigned depth;
    int uring;
    pthread_mutex_t grow_lock; /* growing; never held with base.lock */
    /* The file is this long at least, in bytes. Release when it has grown,
     * acquire in alloc and reserve: who sees the length may use it. */
    _Atomic uint64_t length;
    int truncates; /* no fallocate here; under grow_lock */
    int full;      /* a full disk was logged; under grow_lock */
};

/* `ring` is null where requests complete inside the call. */
struct file_port {
    struct tier_now now;
    struct ring *ring;
};

static struct file_tier *file_of(struct tier *t)
{
    return (struct file_tier *)t;
}

static int code_of_errno(int e)
{
    switch (e) {
    case EACCES:
    case EPERM:
    case EROFS:
        return SL_EACCES;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return SL_ENOSPC;
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case ELOOP:
    case ENAMETOOLONG:
        return SL_EINVAL;
    case ENOMEM:
        return SL_ENOMEM;
    default:
        return SL_EIO;
    }
}

static int failed(const char *path, const char *what, int e)
{
    log_error("%s: %s: %s", path, what, strerror(e));
    return code_of_errno(e);
}

/* ---- opening ---- */

/* An open file description lock also keeps out a second open of this process,
 * and goes when the last descriptor does, however the process ends. The kernel
 * takes a killed process's io_uring apart a moment after the process is gone;
 * until then its writes may still land, and it still has the lock. Who waits
 * for longer than that usually takes is told why. */
static int take_lock(int fd, const char *path, uint64_t wait_ns)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    uint64_t begun = clock_ns(), until = begun + wait_ns;
    int told = 0;
    while (fcntl(fd, F_OFD_SETLK, &whole) != 0) {
        if (errno != EAGAIN && errno != EACCES)
            return failed(path, "lock", errno);
        if (clock_ns() >= until) {
            log_error("%s: in use by another runtime", path);
            return SL_EBUSY;
        }
        if (!told && clock_ns() - begun >= LOCK_QUIET_NS) {
            told = 1;
            log_warn("%s: in use by another runtime, waiting %" PRIu64
                     " s for it",
                     path, wait_ns / UINT64_C(1000000000));
        }
        clock_sleep_ns(1000000);
    }
    return SL_OK;
}

/* A new file's name must be as durable as its bytes. */
static int sync_name(const char *path)
{
    int fd, rc = SL_OK;
    char *copy = strdup(path);
    if (!copy)
        return SL_ENOMEM;
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        rc = failed(path, "open its directory", errno);
    else if (fsync(fd) != 0)
        rc = failed(path, "sync its directory", errno);
    if (fd >= 0)
        close(fd);
    free(copy);
    return rc;
}

/* A copied file may have holes; they are filled now, or a full disk would
 * break a write later. On a full disk the content is still served. */
static void fill_holes(const struct file_tier *f, const struct stat *st)
{
    if (st->st_size == 0 || st->st_blocks >= st->st_size / 512)
        return;
    if (fallocate(f->target.fd, 0, 0, st->st_size) != 0)
        log_warn("%s: holes in the file stay: %s", f->path, strerror(errno));
}

static int open_file(struct file_tier *f, const struct tier_config *c)
{
    struct stat st;
    int create = c->must_exist ? 0 : O_CREAT;
    int rc, fd = open(f->path, O_RDWR | O_CLOEXEC | create, 0600);
    if (fd < 0) {
        rc = failed(f->path, "open", errno);
        return c->must_exist && rc == SL_EINVAL ? SL_ENOTARGET : rc;
    }
    rc = take_lock(fd, f->path, c->lock_wait_ns);
    if (rc)
        goto close_fd;
    if (fstat(fd, &st) != 0) {
        rc = failed(f->path, "stat", errno);
        goto close_fd;
    }
    if (!S_ISREG(st.st_mode)) {
        log_error("%s: not a regular file", f->path);
        rc = SL_EINVAL;
        goto close_fd;
    }
    rc = st.st_size == 0 ? sync_name(f->path) : SL_OK;
    if (rc)
        goto close_fd;
    f->target.fd = fd;
    f->target.path = f->path;
    fill_holes(f, &st);
    atomic_init(&f->length,
                (uint64_t)st.st_size - (uint64_t)st.st_size % TIER_BLOCK);
    return SL_OK;

close_fd:
    close(fd);
    return rc;
}

static int set_direct(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 || fcntl(fd, F_SETFL, flags | O_DIRECT) != 0 ? errno : 0;
}

/* Finds the best way to the bytes that kernel and file system allow. */
static int choose_path(struct file_tier *f, unsigned avoid)
{
    struct ring *probe;
    int why = EOPNOTSUPP, rc;
    if (!(avoid & TIER_FILE_NO_DIRECT))
        why = set_direct(f->target.fd);
    f->target.direct = why == 0;
    if (why)
        log_warn("%s: through the page cache, O_DIRECT is refused: %s", f->path,
                 strerror(why));
    why = EOPNOTSUPP;
    rc = SL_ENOSYS;
    if (!(avoid & TIER_FILE_NO_URING))
        rc = ring_open(&f->target, f->depth, &probe, &why);
    f->uring = rc == SL_OK;
    if (rc == SL_OK)
        ring_close(probe);
    else if (rc == SL_ENOSYS)
        log_warn("%s: by pread and pwrite, io_uring is refused: %s", f->path,
                 strerror(why));
    return rc == SL_ENOSYS ? SL_OK : rc;
}

static int file_run(struct tier_base *b, struct tier_io *io);

int tier_file_open_as(const struct tier_config *c, unsigned avoid,
                      struct tier **out)
{
    struct file_tier *f;
    int rc;
    if (!c->path) {
        log_error("tier file: no path");
        return SL_EINVAL;
    }
    f = calloc(1, sizeof(*f));
    if (!f)
        return SL_ENOMEM;
    rc = tier_base_init(&f->base, &tier_file_ops, c);
    if (rc)
        goto free_tier;
    f->base.run = file_run;
    f->depth = c->queue_depth ? c->queue_depth : DEPTH_DEFAULT;
    if (f->depth > DEPTH_MAX)
        f->depth = DEPTH_MAX;
    f->path = strdup(c->path);
    rc = f->path ? open_file(f, c) : SL_ENOMEM;
    if (rc)
        goto free_path;
    rc = choose_path(f, avoid);
    if (rc)
        goto close_fd;
    pthread_mutex_init(&f->grow_lock, NULL);
    log_info("%s: %s, up to %" PRIu64 " bytes", f->path,
             tier_file_path_kind(&f->base.tier), f->base.capacity);
    *out = &f->base.tier;
    return SL_OK;

close_fd:
    close(f->target.fd);
free_path:
    free(f->path);
    tier_base_fini(&f->base);
free_tier:
    free(f);
    return rc;
}

static int file_open(const struct tier_config *c, struct tier **out)
{
    return tier_file_open_as(c, 0, out);
}

static void file_close(struct tier *t)
{
    struct file_tier *f = file_of(t);
    pthread_mutex_destroy(&f->grow_lock);
    close(f->target.fd);
    free(f->path);
    tier_base_fini(&f->base);
    free(f);
}

const char *tier_file_path_kind(const struct tier *t)
{
    const struct file_tier *f = (const struct file_tier *)t;
    if (f->uring)
        return f->target.direct ? "io_uring+O_DIRECT" : "io_uring+buffered";
    return f->target.direct ? "pread+O_DIRECT" : "pread+buffered";
}

/* ---- space ---- */

/* Makes the file `to` bytes long with all its blocks on the disk; 0 or errno.
 */
static int extend(struct file_tier *f, uint64_t from, uint64_t to)
{
    int rc;
    while (!f->truncates) {
        rc = fallocate(f->target.fd, 0, (off_t)from, (off_t)(to - from));
        if (rc == 0)
            return 0;
        if (errno == EINTR)
            continue;
        if (errno != EOPNOTSUPP && errno != ENOSYS)
            return errno;
        /* Not the C library's posix_fallocate: it would write into the range,
         * which O_DIRECT forbids. */
        f->truncates = 1;
        log_warn("%s: blocks cannot be reserved here, a full disk will show "
                 "in writes",
                 f->path);
    }
    return ftruncate(f->target.fd, (off_t)to) == 0 ? 0 : errno;
}

static uint64_t length_of(struct file_tier *f)
{
    return atomic_load_explicit(&f->length, memory_order_acquire);
}

/* Grows to `end` at least. */
static int grow(struct file_tier *f, uint64_t end)
{
    uint64_t from, to;
    int e = 0;
    pthread_mutex_lock(&f->grow_lock);
    from = length_of(f);
    if (end <= from)
        goto unlock;
    to = from + GROW_STEP;
    to = to > f->base.capacity ? f->base.capacity : to;
    to = to < end ? end : to;
    e = extend(f, from, to);
    if (e && to > end) {
        to = end;
        e = extend(f, from, to);
    }
    if (!e)
        atomic_store_explicit(&f->length, to, memory_order_release);
    if (e && !f->full)
        failed(f->path, "grow the file", e);
    f->full = e != 0;
unlock:
    pthread_mutex_unlock(&f->grow_lock);
    return e ? code_of_errno(e) : SL_OK;
}

static int file_alloc(struct tier *t, uint64_t bytes, uint64_t *loc)
{
    struct file_tier *f = file_of(t);
    uint64_t at = 0;
    int rc = tier_base_alloc(t, bytes, &at);
    if (rc)
        return rc;
    if (at + bytes > length_of(f))
        rc = grow(f, at + bytes);
    if (rc) {
        tier_base_free(t, at, bytes);
        return rc;
    }
    *loc = at;
    return SL_OK;
}

static int file_reserve(struct tier *t, uint64_t loc, uint64_t bytes)
{
    struct file_tier *f = file_of(t);
    uint64_t length = length_of(f);
    int rc = tier_base_reserve(t, loc, bytes);
    if (rc || loc + bytes <= length)
        return rc;
    tier_base_free(t, loc, bytes);
    return SL_ESHRUNK; /* the caller knows and says whose bytes they are */
}

static int file_reach(struct tier *t, uint64_t end)
{
    struct file_tier *f = file_of(t);
    if (end > f->base.capacity)
        return SL_EINVAL;
    return end > length_of(f) ? grow(f, end) : SL_OK;
}

/* ---- ports ---- */

static int kernel_call(const struct file_tier *f, const struct tier_io *io)
{
    int fd = f->target.fd;
    size_t left = io->bytes - io->moved;
    off_t loc = (off_t)(io->loc + io->moved);
    ssize_t n;
    if (io->op == TIER_FLUSH)
        n = fdatasync(fd);
    else if (io->op == TIER_WRITE)
        n = pwrite(fd, (uint8_t *)io->buf + io->moved, left, loc);
    else
        n = pread(fd, (uint8_t *)io->buf + io->moved, left, loc);
    return n < 0 ? -errno : (int)n; /* Linux moves less than 2 GiB a call */
}

static int file_run(struct tier_base *b, struct tier_io *io)
{
    struct file_tier *f = (struct file_tier *)b;
    int rc;
    do {
        rc = file_advance(&f->target, io, kernel_call(f, io));
    } while (rc > 0);
    return rc;
}

static int file_port_open(struct tier *t, uint32_t index,
                          struct tier_port **out)
{
    struct file_tier *f = file_of(t);
    struct file_port *p;
    int why = 0, rc = SL_OK;
    if (index >= f->base.n_ports)
        return SL_EINVAL;
    p = calloc(1, sizeof(*p));
    if (!p)
        return SL_ENOMEM;
    p->now.port.tier = t;
    if (f->uring)
        rc = ring_open(&f->target, f->depth, &p->ring, &why);
    if (rc == SL_ENOSYS)
        log_warn("%s: port %" PRIu32 " by pread and pwrite, io_uring: %s",
                 f->path, index, strerror(why));
    else if (rc)
        goto free_port;
    *out = &p->now.port;
    return SL_OK;

free_port:
    free(p);
    return rc;
}

static void file_port_close(struct tier_port *port)
{
    struct file_port *p = (struct file_port *)port;
    if (p->ring)
        ring_close(p->ring);
    tier_now_close(port);
}

static int submit(struct tier_port *port, struct tier_io *io, enum tier_op op)
{
    struct ring *ring = ((struct file_port *)port)->ring;
    int rc = tier_io_begin((struct tier_base *)port->tier, io, op);
    if (rc)
        return rc;
    ring_submit(ring, io);
    return SL_OK;
}

static int has_ring(const struct tier_port *port)
{
    return ((const struct file_port *)port)->ring != NULL;
}

static int file_write(struct tier_port *p, struct tier_io *io)
{
    return has_ring(p) ? submit(p, io, TIER_WRITE) : tier_now_write(p, io);
}

static int file_read(struct tier_port *p, struct tier_io *io)
{
    return has_ring(p) ? submit(p, io, TIER_READ) : tier_now_read(p, io);
}

/* Writes that are done have left the ring, so a sync that is started after
 * them covers them, those of other ports included. */
static int file_flush(struct tier_port *p, struct tier_io *io)
{
    return has_ring(p) ? submit(p, io, TIER_FLUSH) : tier_now_flush(p, io);
}

static unsigned file_poll(struct tier_port *p)
{
    return has_ring(p) ? ring_poll(((struct file_port *)p)->ring) : 0;
}

static unsigned file_wait(struct tier_port *p)
{
    return has_ring(p) ? ring_wait(((struct file_port *)p)->ring) : 0;
}

static unsigned file_pending(const struct tier_port *p)
{
    return has_ring(p) ? ring_pending(((const struct file_port *)p)->ring)
                       : tier_now_pending(p);
}

const struct tier_ops tier_file_ops = {
    .kind = "file",
    .persistent = 1,
    .open = file_open,
    .close = file_close,
    .port_open = file_port_open,
    .port_close = file_port_close,
    .alloc = file_alloc,
    .reserve = file_reserve,
    .reach = file_reach,
    .free = tier_base_free,
    .write = file_write,
    .read = file_read,
    .flush = file_flush,
    .poll = file_poll,
    .wait = file_wait,
    .pending = file_pending,
    .usage = tier_base_usage,
};
