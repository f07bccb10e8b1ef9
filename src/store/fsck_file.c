/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "store/dir.h"
#include "store/fsck_int.h"
#include "store/shard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file that is not there is one of no bytes; what names it is a problem. */
static int add(struct fsck *f, uint32_t number, const char *path,
               struct fsck_file **out)
{
    struct fsck_file *x = &f->files.at[f->files.n];
    struct stat st;

    memset(x, 0, sizeof *x);
    x->number = number;
    x->capacity = UINT64_MAX;
    x->fd = open(path, (fsck_repairs(f) ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    if (x->fd < 0 && errno != ENOENT) {
        log_error("%s: %s", path, strerror(errno));
        return dir_errno(errno);
    }
    f->files.n++;
    *out = x;
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

static void problem(struct fsck *f, const struct target_spec *spec, int code,
                    const char *what)
{
    char text[128];
    struct sl_fsck_problem p = {.code = code, .text = text};

    snprintf(text, sizeof text, "target '%s': %s", spec->name, what);
    fsck_problem(f, NULL, &p);
}

/* What a start asks of the file of a target. Its first block is no blob's. */
static void check_listed(struct fsck *f, struct fsck_file *x,
                         const struct target_spec *spec)
{
    uint8_t block[TIER_BLOCK];

    x->capacity = spec->capacity;
    if (x->fd < 0) {
        problem(f, spec, SL_ENOTARGET, "its file is not there");
        return;
    }
    if (pread(x->fd, block, sizeof block, 0) != (ssize_t)sizeof block)
        problem(f, spec, SL_ESHRUNK, "its file is cut");
    else if (!target_is_stamped(block, spec->identity))
        problem(f, spec, SL_ENOTARGET, "its file is another");
    else
        x->used[0] = 1;
}

/* target_list_read knows a store; it needs its directory only. */
struct reader {
    struct store s;
    struct fsck *f;
};

static int add_listed(struct store *s, struct target_spec *spec)
{
    struct reader *r = (struct reader *)(void *)s;
    struct fsck_file *x;
    int rc = SL_ECORRUPT;

    if (strcmp(spec->kind, "file") != 0 && strcmp(spec->kind, "fault") != 0)
        problem(r->f, spec, SL_EINVAL, "its kind is none that lasts");
    else if (r->f->files.n < FSCK_FILES)
        rc = add(r->f, spec->number, spec->path, &x);
    else
        problem(r->f, spec, SL_ENOSPC, "there are too many");
    if (!rc)
        check_listed(r->f, x, spec);
    target_spec_free(spec);
    return rc;
}

int fsck_files_open(struct fsck *f, struct store_dir *d)
{
    struct reader *r = calloc(1, sizeof *r);
    struct fsck_file *x;
    int rc = SL_ENOMEM;

    if (!r)
        return rc;
    r->f = f;
    r->s.dir = d;
    rc = add(f, 0, d->data, &x);
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
