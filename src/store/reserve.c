/* SPDX-License-Identifier: Apache-2.0 */
#include "store/reserve.h"

#include "base/log.h"
#include "store/dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* On a full disk a commit goes in small parts (meta_apply.c), each of which
 * copies some pages of LMDB that the parts behind it use again. */
#define RESERVE_BYTES (8 << 20)
/* Less is of no use. What a commit on a full disk took is missing from the full
 * size for ever, so half of it or less must do then. */
#define RESERVE_LEAST (1 << 20)

static int is_full(int err)
{
    return err == ENOSPC || err == EDQUOT || err == EFBIG;
}

static int take(struct reserve *r, off_t bytes)
{
    int err;

    do {
        err = fallocate(r->fd, 0, 0, bytes) ? errno : 0;
    } while (err == EINTR);
    if (is_full(err) && ftruncate(r->fd, 0)) /* part of it may be there */
        log_warn("%s: %s", r->path, strerror(errno));
    return err;
}

void reserve_restore(struct reserve *r)
{
    off_t bytes = RESERVE_BYTES;
    int err = take(r, bytes);

    while (is_full(err) && bytes > RESERVE_LEAST) {
        bytes /= 2;
        err = take(r, bytes);
    }
    /* Without fallocate nothing can be kept back, so nothing is missed. */
    r->gone = is_full(err);
}

int reserve_open(const char *dir, struct reserve *r)
{
    int err = 0;

    r->fd = -1;
    r->gone = 0;
    r->path = dir_join(dir, "reserve");
    if (!r->path)
        return SL_ENOMEM;
    r->fd = open(r->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (r->fd < 0) {
        err = errno;
        log_error("%s: %s", r->path, strerror(err));
        reserve_close(r);
        return dir_errno(err);
    }
    reserve_restore(r);
    if (r->gone)
        log_warn("%s: the disk is full, only deletes are taken", r->path);
    return SL_OK;
}

int reserve_release(struct reserve *r)
{
    int had = !r->gone && lseek(r->fd, 0, SEEK_END) > 0;

    if (had && ftruncate(r->fd, 0))
        log_error("%s: %s", r->path, strerror(errno));
    if (had)
        log_warn("%s: the disk is full, only deletes are taken", r->path);
    r->gone = 1;
    return had;
}

void reserve_close(struct reserve *r)
{
    if (r->fd >= 0)
        close(r->fd);
    free(r->path);
    r->path = NULL;
    r->fd = -1;
}
