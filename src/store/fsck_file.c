/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "store/dir.h"
#include "store/fsck_int.h"
#include "store/shard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file that is not there is one of no bytes; what names it is a problem. */
static int add(struct fsck *f, uint32_t number, const char *path)
{
    struct fsck_file *x = &f->files.at[f->files.n];
    struct stat st;

    if (f->files.n == sizeof f->files.at / sizeof *f->files.at)
        return SL_ECORRUPT;
    memset(x, 0, sizeof *x);
    x->number = number;
    x->fd = open(path, (fsck_repairs(f) ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    if (x->fd < 0 && errno != ENOENT) {
        log_error("%s: %s", path, strerror(errno));
        return dir_errno(errno);
    }
    f->files.n++;
    if (x->fd < 0)
        return SL_OK;
    if (fstat(x->fd, &st)) {
        log_error("%s: %s", path, strerror(errno));
        return dir_errno(errno);
    }
    x->bytes = (uint64_t)st.st_size;
    x->blocks = (x->bytes + TIER_BLOCK - 1u) / TIER_BLOCK;
    x->used = calloc(x->blocks / 64u + 1u, sizeof *x->used);
    return x->used ? SL_OK : SL_ENOMEM;
}

/* target_list_read knows a store; it needs its directory only. */
struct reader {
    struct store s;
    struct fsck *f;
};

static int add_listed(struct store *s, struct target_spec *spec)
{
    struct reader *r = (struct reader *)(void *)s;
    int rc = add(r->f, spec->number, spec->path);

    target_spec_free(spec);
    return rc;
}

int fsck_files_open(struct fsck *f, struct store_dir *d)
{
    struct reader *r = calloc(1, sizeof *r);
    int rc = SL_ENOMEM;

    if (!r)
        return rc;
    r->f = f;
    r->s.dir = d;
    rc = add(f, 0, d->data);
    if (!rc)
        rc = target_list_read(&r->s, add_listed);
    free(r);
    return rc;
}

void fsck_files_close(struct fsck *f)
{
    for (unsigned i = 0; i < f->files.n; i++) {
        if (f->files.at[i].fd >= 0)
            close(f->files.at[i].fd);
        free(f->files.at[i].used);
    }
    free(f->files.carried);
}
