/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "store/dir.h"
#include "store/fsck_int.h"
#include "store/meta_carry.h"
#include "store/shard.h"
#include "tier/tier.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * A start writes what the log carries to the files before it looks at any
 * record. A check writes nothing, so it looks here first.
 */

static int compare(const struct fsck_carried *a, const struct fsck_carried *b)
{
    if (a->target != b->target)
        return a->target < b->target ? -1 : 1;
    if (a->e.loc != b->e.loc)
        return a->e.loc < b->e.loc ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

static int compare_void(const void *a, const void *b)
{
    return compare(a, b);
}

/* The file reaches so far after a start. */
static int reach(struct fsck_file *x, uint64_t end)
{
    uint64_t words = x->blocks / 64u + 1u;
    uint64_t blocks = (end + TIER_BLOCK - 1u) / TIER_BLOCK;
    uint64_t *used;

    if (end <= x->bytes)
        return SL_OK;
    used = realloc(x->used, (blocks / 64u + 1u) * sizeof *used);
    if (!used)
        return SL_ENOMEM;
    memset(used + words, 0, (blocks / 64u + 1u - words) * sizeof *used);
    x->used = used;
    x->blocks = blocks;
    x->bytes = end;
    return SL_OK;
}

static int add(void *user, const struct meta_extent *e, const uint8_t *bytes)
{
    struct fsck_files *files = user;
    struct fsck_file *x = fsck_file(files, e->target);
    int rc;

    if (!x) {
        files->away += !fsck_is_lost(files, e->target);
        return SL_OK;
    }
    if (!recover_is_unit(e) || e->loc > x->capacity ||
        fsck_space(e) > x->capacity - e->loc)
        return SL_ECORRUPT;
    if (files->n_carried == files->room_carried) {
        uint32_t n = files->room_carried ? 2u * files->room_carried : 256u;
        struct fsck_carried *p = realloc(files->carried, n * sizeof *p);
        if (!p)
            return SL_ENOMEM;
        files->carried = p;
        files->room_carried = n;
    }
    rc = reach(x, e->loc + fsck_space(e));
    if (rc)
        return rc;
    files->carried[files->n_carried] =
        (struct fsck_carried){.target = e->target,
                              .order = files->n_carried,
                              .e = *e,
                              .bytes = bytes};
    files->n_carried++;
    return SL_OK;
}

int fsck_carried_load(struct fsck *f)
{
    struct log_frame frame;
    size_t at = 0;
    int rc = SL_OK;

    while (!rc && log_next(&f->log, &at, &frame)) {
        uint32_t before = f->files.n_carried;
        rc = carry_each(&frame, add, &f->files);
        if (rc != SL_ECORRUPT)
            continue;
        f->files.n_carried = before;
        f->bad_frames++;
        rc = SL_OK;
    }
    if (!rc && f->files.n_carried)
        qsort(f->files.carried, f->files.n_carried, sizeof *f->files.carried,
              compare_void);
    return rc;
}

static int write_one(const struct fsck_file *x, const struct fsck_carried *c)
{
    size_t put = 0;

    while (put < carry_bytes(&c->e)) {
        ssize_t n = pwrite(x->fd, c->bytes + put, carry_bytes(&c->e) - put,
                           (off_t)(c->e.loc + put));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n ? errno : EIO;
        put += (size_t)n;
    }
    return 0;
}

int fsck_carried_write(struct fsck *f)
{
    for (uint32_t i = 0; i < f->files.n_carried; i++) {
        const struct fsck_carried *c = &f->files.carried[i];
        const struct fsck_file *x = fsck_file(&f->files, c->target);
        int err = x ? write_one(x, c) : 0;
        if (err) {
            log_error("the log's bytes cannot be written to target %u: %s",
                      c->target, strerror(err));
            return dir_errno(err);
        }
    }
    /* Nothing of a file that grew may be missing when its records are read. */
    for (unsigned i = 0; i < f->files.n && f->files.n_carried; i++) {
        const struct fsck_file *x = &f->files.at[i];
        off_t end = x->fd < 0 ? 0 : lseek(x->fd, 0, SEEK_END);
        if (x->fd >= 0 && end >= 0 && (uint64_t)end < x->bytes &&
            ftruncate(x->fd, (off_t)x->bytes))
            return meta_env_fail(&f->env, "cannot write the data", errno);
    }
    return SL_OK;
}

const struct fsck_carried *fsck_carried(const struct fsck_files *files,
                                        const struct meta_extent *e)
{
    uint32_t lo = 0, hi = files->n_carried;
    struct fsck_carried key = {
        .target = e->target, .order = UINT32_MAX, .e.loc = e->loc};

    while (lo < hi) { /* the first that is behind the place */
        uint32_t mid = lo + (hi - lo) / 2u;
        if (compare(&files->carried[mid], &key) <= 0)
            lo = mid + 1u;
        else
            hi = mid;
    }
    if (lo && files->carried[lo - 1u].target == e->target &&
        files->carried[lo - 1u].e.loc == e->loc)
        return &files->carried[lo - 1u];
    return NULL;
}
