/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "store/dir.h"
#include "store/fsck_int.h"
#include "store/shard.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a disk that is gone or dying answers, but not one that is only closed to
 * this user. */
static int is_gone(int err)
{
    return err == EIO || err == ENXIO || err == ENODEV || err == ENOTDIR ||
           err == ESTALE;
}

/* A file that is not there is one of no bytes; what names it is a problem. */
static int add(struct fsck *f, uint32_t number, const char *path, int given_up,
               struct fsck_file **out)
{
    struct fsck_file *x = &f->files.at[f->files.n];
    struct stat st;

    memset(x, 0, sizeof *x);
    x->number = number;
    x->capacity = UINT64_MAX;
    x->fd = open(path, (fsck_repairs(f) ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    if (x->fd < 0 && errno != ENOENT && !(given_up && is_gone(errno))) {
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
    char text[PATH_MAX + 128];
    struct sl_fsck_problem p = {.code = code, .text = text};

    snprintf(text, sizeof text, "target '%s': its file %s %s", spec->name,
             spec->path, what);
    fsck_problem(f, NULL, &p);
}

/* `names` has commas between its names. */
static int is_named(const char *names, const char *name)
{
    size_t n = strlen(name);

    for (const char *p = names; p; p = strchr(p, ',')) {
        p += *p == ',';
        if (!strncmp(p, name, n) && (p[n] == ',' || !p[n]))
            return 1;
    }
    return 0;
}

/* Nothing is read from a file that is none of the store's. */
static void is_away(struct fsck_file *x)
{
    if (x->fd >= 0)
        close(x->fd);
    x->fd = -1;
    x->bytes = 0;
}

static ssize_t read_first(int fd, uint8_t block[TIER_BLOCK])
{
    ssize_t n;

    do
        n = pread(fd, block, TIER_BLOCK, 0);
    while (n < 0 && errno == EINTR);
    return n;
}

/* What a start asks of the file of a target. Its first block is no blob's. */
static int check_listed(struct fsck *f, struct fsck_file *x,
                        const struct target_spec *spec)
{
    uint8_t block[TIER_BLOCK];
    const char *what = NULL;
    int code = SL_ENOTARGET;
    ssize_t n = x->fd < 0 ? 0 : read_first(x->fd, block);

    x->capacity = spec->capacity;
    if (x->fd < 0) {
        what = "is not there";
    } else if (n < 0) {
        what = "cannot be read";
        code = SL_EIO;
    } else if (n != (ssize_t)sizeof block) {
        what = "is cut";
        code = SL_ESHRUNK;
    } else if (!target_is_stamped(block, spec->identity)) {
        what = "is another";
        is_away(x);
    } else {
        x->used[0] = 1;
    }
    x->lost = is_named(f->o->drop, spec->name);
    if (x->lost && !what) {
        log_error("target %s: its file %s is there, it is not dropped",
                  spec->name, spec->path);
        return SL_EINVAL;
    }
    if (x->lost) {
        is_away(x);
        x->name = strdup(spec->name);
        return x->name ? SL_OK : SL_ENOMEM;
    }
    if (what)
        problem(f, spec, code, what);
    return SL_OK;
}

void fsck_files_tell_lost(struct fsck *f)
{
    char text[128];
    struct sl_fsck_problem p = {.code = SL_ENOTARGET, .text = text};

    for (unsigned i = 0; i < f->files.n; i++) {
        if (!f->files.at[i].lost)
            continue;
        p.repaired = fsck_repairs(f) && !f->newer;
        snprintf(text, sizeof text, "target '%s': its file is lost%s",
                 f->files.at[i].name,
                 p.repaired ? ", it leaves the list"
                 : f->newer ? "; it stays in the list, since records of a "
                              "newer program may name it"
                            : "");
        fsck_problem(f, NULL, &p);
    }
}

int fsck_is_lost(const struct fsck_files *files, uint32_t number)
{
    for (unsigned i = 0; i < files->n; i++)
        if (files->at[i].number == number)
            return files->at[i].lost;
    return 0;
}

/* target_list_read knows a store; it needs its directory only. */
struct reader {
    struct store s;
    struct fsck *f;
    unsigned kept;
};

_Static_assert(FSCK_FILES <= TARGETS_MAX, "each listed target has an entry");

static int add_listed(struct store *s, struct target_spec *spec)
{
    struct reader *r = (struct reader *)(void *)s;
    struct fsck_file *x;
    int rc = SL_ECORRUPT;

    if (strcmp(spec->kind, "file") != 0 && strcmp(spec->kind, "fault") != 0)
        problem(r->f, spec, SL_EINVAL, "is of a kind that does not last");
    else if (r->f->files.n < FSCK_FILES)
        rc = add(r->f, spec->number, spec->path,
                 is_named(r->f->o->drop, spec->name), &x);
    else
        problem(r->f, spec, SL_ENOSPC, "is one too many");
    if (!rc)
        rc = check_listed(r->f, x, spec);
    target_spec_free(spec);
    return rc;
}

/* How many names there are, each of which a target must have. */
static int drops_fit(const struct fsck *f)
{
    unsigned names = 0, lost = 0;

    for (const char *p = f->o->drop; p; p = strchr(p, ',')) {
        p += *p == ',';
        names++;
    }
    for (unsigned i = 0; i < f->files.n; i++)
        lost += f->files.at[i].lost != 0;
    if (names == lost)
        return SL_OK;
    log_error("targets to drop: '%s' names one twice, or one that is not in "
              "the list",
              f->o->drop);
    return SL_EINVAL;
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
    rc = add(f, 0, d->data, 0, &x);
    if (!rc)
        rc = target_list_read(&r->s, add_listed);
    if (!rc)
        rc = drops_fit(f);
    free(r);
    return rc;
}

static int keep_listed(struct store *s, struct target_spec *spec)
{
    struct reader *r = (struct reader *)(void *)s;
    struct target *t;

    if (fsck_is_lost(&r->f->files, spec->number)) {
        target_spec_free(spec);
        return SL_OK;
    }
    t = &s->target[r->kept++]; /* at most FSCK_FILES were listed */
    t->spec = *spec;
    t->state = TARGET_ACTIVE;
    return SL_OK;
}

int fsck_files_drop(struct fsck *f, struct store_dir *d)
{
    struct reader *r;
    int rc;

    if (!f->o->drop)
        return SL_OK;
    r = calloc(1, sizeof *r);
    if (!r)
        return SL_ENOMEM;
    r->f = f;
    r->s.dir = d;
    rc = target_list_read(&r->s, keep_listed);
    if (!rc)
        rc = target_list_write(&r->s);
    for (unsigned i = 0; i < r->kept; i++)
        target_spec_free(&r->s.target[i].spec);
    free(r);
    return rc;
}

void fsck_files_close(struct fsck *f)
{
    for (unsigned i = 0; i < f->files.n; i++) {
        if (f->files.at[i].fd >= 0)
            close(f->files.at[i].fd);
        free(f->files.at[i].used);
        free(f->files.at[i].name);
    }
    free(f->files.carried);
}
