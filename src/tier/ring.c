/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/ring.h"

#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>

/* Completions that are copied out of the ring at once; see DESIGN, batches. */
#define REAP_MAX 32u
/* Requests that wait for each other before the kernel gets them: the disk works
 * on these while the next are made. Figures: docs/performance.md, "The file
 * tier beside fio". */
#define SUBMIT_MAX 8u

struct ring {
    struct io_uring uring;
    struct file_target *file;
    struct tier_queue waiting; /* not yet with the kernel */
    unsigned depth;
    unsigned inflight; /* in the submission queue or with the kernel */
    int complained;
    int registered; /* the file is the ring's file 0 */
};

static int failed(struct file_target *f, const struct tier_io *io,
                  const char *why, int code)
{
    static const char *const verb[] = {"read", "write", "sync"};
    log_error("%s: %s of %" PRIu32 " bytes at %" PRIu64 ": %s", f->path,
              verb[io->op], io->bytes, io->loc, why);
    return code;
}

/* Nothing happened, and asking again may help. The kernel cancels what a thread
 * has submitted when that thread ends, although the port lives on. */
static int is_transient(int res)
{
    return res == -EINTR || res == -EAGAIN || res == -ECANCELED;
}

static int code_of(int res)
{
    if (res == -ENOSPC || res == -EDQUOT || res == -EFBIG)
        return SL_ENOSPC;
    return res == -ENOMEM ? SL_ENOMEM : SL_EIO;
}

static int advance_sync(struct file_target *f, struct tier_io *io, int res)
{
    if (res < 0) {
        atomic_store_explicit(&f->sync_lost, 1, memory_order_relaxed);
        return failed(f, io, strerror(-res), code_of(res));
    }
    if (atomic_load_explicit(&f->sync_lost, memory_order_relaxed))
        return failed(f, io, "an earlier sync lost data", SL_EIO);
    return SL_OK;
}

int file_advance(struct file_target *f, struct tier_io *io, int res)
{
    uint32_t moved;
    if (is_transient(res))
        return 1;
    if (io->op == TIER_FLUSH)
        return advance_sync(f, io, res);
    if (res < 0)
        return failed(f, io, strerror(-res), code_of(res));
    if ((uint32_t)res > io->bytes - io->moved)
        return failed(f, io, "more bytes moved than asked for", SL_EIO);
    moved = io->moved + (uint32_t)res;
    if (moved == io->bytes)
        return SL_OK;
    /* The rest must begin on a block again, or O_DIRECT refuses it. */
    if (f->direct)
        moved -= moved % TIER_BLOCK;
    if (moved == io->moved)
        return failed(f, io, "the file ends before",
                      io->op == TIER_READ ? SL_ESHRUNK : SL_EIO);
    io->moved = moved;
    return 1;
}

static int supports_all(struct io_uring *u)
{
    struct io_uring_probe *p = io_uring_get_probe_ring(u);
    int yes = p && io_uring_opcode_supported(p, IORING_OP_READ) &&
              io_uring_opcode_supported(p, IORING_OP_WRITE) &&
              io_uring_opcode_supported(p, IORING_OP_FSYNC);
    if (p)
        io_uring_free_probe(p);
    return yes;
}

/* Completions wait until this thread is in the kernel anyway, or a look at the
 * ring fetches them, instead of interrupting it one by one (Linux 5.19). Not
 * IORING_SETUP_SINGLE_ISSUER: a port outlives the thread that opened it, and
 * others may use and close it after that. */
static int init_uring(struct io_uring *u, unsigned depth)
{
    int rc = io_uring_queue_init(
        depth, u, IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG);
    return rc == -EINVAL ? io_uring_queue_init(depth, u, 0) : rc;
}

int ring_open(struct file_target *f, unsigned depth, struct ring **out,
              int *why)
{
    int rc;
    struct ring *r = calloc(1, sizeof(*r));
    if (!r)
        return SL_ENOMEM;
    r->file = f;
    r->depth = depth;
    rc = init_uring(&r->uring, depth);
    if (rc < 0)
        goto free_ring;
    if (!supports_all(&r->uring)) {
        rc = -EOPNOTSUPP;
        goto exit_uring;
    }
    /* Saves the kernel a look-up and two counts for each request. */
    r->registered = io_uring_register_files(&r->uring, &f->fd, 1) == 0;
    *out = r;
    return SL_OK;

exit_uring:
    io_uring_queue_exit(&r->uring);
free_ring:
    free(r);
    *why = -rc;
    return SL_ENOSYS;
}

static void start(struct ring *r, struct tier_io *io)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&r->uring);
    int fd = r->registered ? 0 : r->file->fd;
    uint32_t left = io->bytes - io->moved;
    uint64_t loc = io->loc + io->moved;
    /* The ring has at least `depth` entries and at most that are in flight. */
    assert(sqe);
    if (io->op == TIER_WRITE)
        io_uring_prep_write(sqe, fd, (uint8_t *)io->buf + io->moved, left, loc);
    else if (io->op == TIER_READ)
        io_uring_prep_read(sqe, fd, (uint8_t *)io->buf + io->moved, left, loc);
    else
        io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
    if (r->registered)
        io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
    io_uring_sqe_set_data(sqe, io);
    r->inflight++;
}

/* `wait`: until at least one is completed. */
static void enter(struct ring *r, unsigned wait)
{
    int rc = io_uring_submit_and_wait(&r->uring, wait);
    /* What was not taken stays in the ring and goes with the next call. */
    if (rc < 0 && !is_transient(rc) && rc != -EBUSY && !r->complained) {
        r->complained = 1;
        log_error("%s: io_uring_enter: %s", r->file->path, strerror(-rc));
    }
}

static void submit(struct ring *r, unsigned wait)
{
    while (r->inflight < r->depth && r->waiting.n) {
        /* Once more than that are left over, all go with the last call. */
        if (io_uring_sq_ready(&r->uring) == SUBMIT_MAX)
            enter(r, 0);
        start(r, tier_queue_pop(&r->waiting));
    }
    if (wait || io_uring_sq_ready(&r->uring) > 0)
        enter(r, wait);
}

static unsigned complete(struct ring *r, struct tier_io *io, int res)
{
    int rc = file_advance(r->file, io, res);
    r->inflight--;
    if (rc > 0) {
        tier_queue_push_front(&r->waiting, io);
        return 0;
    }
    io->done(io, rc);
    return 1;
}

/* A batch is copied out and given back to the kernel before the first `done`
 * runs, so that a `done` may use the port in any way. */
static unsigned reap(struct ring *r)
{
    struct io_uring_cqe *cqe[REAP_MAX];
    struct tier_io *io[REAP_MAX];
    int res[REAP_MAX];
    unsigned completed = 0, n;
    while ((n = io_uring_peek_batch_cqe(&r->uring, cqe, REAP_MAX)) > 0) {
        for (unsigned i = 0; i < n; i++) {
            io[i] = io_uring_cqe_get_data(cqe[i]);
            res[i] = cqe[i]->res;
        }
        io_uring_cq_advance(&r->uring, n);
        for (unsigned i = 0; i < n; i++)
            completed += complete(r, io[i], res[i]);
    }
    return completed;
}

void ring_close(struct ring *r)
{
    while (ring_pending(r)) {
        submit(r, 1);
        reap(r);
    }
    /* The kernel takes a ring apart after the call; its file would stay open,
     * and locked, until then. */
    if (r->registered)
        io_uring_unregister_files(&r->uring);
    io_uring_queue_exit(&r->uring);
    free(r);
}

void ring_submit(struct ring *r, struct tier_io *io)
{
    tier_queue_push(&r->waiting, io);
}

unsigned ring_poll(struct ring *r)
{
    unsigned completed = r->inflight ? reap(r) : 0;
    submit(r, 0);
    return completed;
}

unsigned ring_wait(struct ring *r)
{
    if (ring_pending(r))
        submit(r, 1);
    return reap(r);
}

unsigned ring_pending(const struct ring *r)
{
    return r->inflight + r->waiting.n;
}
