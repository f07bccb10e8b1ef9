/* SPDX-License-Identifier: Apache-2.0 */
#include "demo_input.h"

#include "out.h"
#include "sluice/sluice.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int no_memory(void)
{
    return out_fail("%s", sl_strerror(SL_ENOMEM));
}

static uint64_t span_of(uint64_t bytes)
{
    return (bytes + DEMO_ALIGN - 1) / DEMO_ALIGN * DEMO_ALIGN;
}

static void file_free(struct demo_file *f)
{
    free(f->path);
    free(f->hashed);
}

/* A path that is too long for a name is named by its hash. */
static int name_it(struct demo_file *f, size_t root)
{
    const char *below = f->path + root;
    size_t len = strlen(below);
    struct sl_hash h;
    f->name = below;
    if (len <= SL_NAME_MAX)
        return 0;
    h = sl_key_hash(0, below, (uint32_t)len);
    if (asprintf(&f->hashed, "path-%016" PRIx64 "%016" PRIx64, h.hi, h.lo) < 0)
        f->hashed = NULL;
    f->name = f->hashed;
    return f->hashed ? 0 : no_memory();
}

static int add(struct demo_input *in, const FTSENT *e, size_t root)
{
    struct demo_file *f;
    if (in->n == in->room) {
        size_t room = in->room ? 2 * in->room : 1024;
        f = realloc(in->file, room * sizeof(*f));
        if (!f)
            return no_memory();
        in->file = f;
        in->room = room;
    }
    f = &in->file[in->n];
    memset(f, 0, sizeof(*f));
    f->bytes = (uint64_t)e->fts_statp->st_size;
    f->path = strdup(e->fts_path);
    if (!f->path)
        return no_memory();
    in->n++;
    in->bytes += f->bytes;
    in->reserved += span_of(f->bytes);
    return name_it(f, root);
}

static int visit(struct demo_input *in, const FTSENT *e, size_t root,
                 uint64_t limit)
{
    switch (e->fts_info) {
    case FTS_F:
        if (S_ISREG(e->fts_statp->st_mode) &&
            (uint64_t)e->fts_statp->st_size <= limit - in->bytes)
            return add(in, e, root);
        in->left_out += S_ISREG(e->fts_statp->st_mode) ? 1 : 0;
        return 0;
    case FTS_DNR:
    case FTS_ERR:
    case FTS_NS:
        out_warn("skipped '%s': %s", e->fts_path, strerror(e->fts_errno));
        in->skipped++;
        return 0;
    default:
        return 0;
    }
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int scan(struct demo_input *in, char *dir, size_t root, uint64_t limit)
{
    char *const roots[] = {dir, NULL};
    FTS *tree =
        fts_open(roots, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, by_name);
    const FTSENT *e;
    int rc = 0;
    if (!tree)
        return out_fail("'%s': %s", dir, strerror(errno));
    errno = 0;
    while (!rc && (e = fts_read(tree)) != NULL) {
        rc = visit(in, e, root, limit);
        errno = 0;
    }
    if (!rc && errno)
        rc = out_fail("'%s': %s", dir, strerror(errno));
    fts_close(tree);
    return rc;
}

/* A file that is not as long as it was when it was found is skipped: half of
 * a file is no blob. 0, or -1 with errno; ESTALE tells that it changed. */
static int read_whole(const struct demo_file *f, uint8_t *to)
{
    uint64_t done = 0;
    uint8_t beyond;
    ssize_t got = 1;
    int saved, fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
    if (fd < 0)
        return -1;
    while (done < f->bytes && got > 0) {
        got = read(fd, to + done, f->bytes - done);
        if (got < 0 && errno == EINTR)
            got = 1;
        else if (got > 0)
            done += (uint64_t)got;
    }
    if (got > 0)
        got = read(fd, &beyond, 1);
    else if (got == 0)
        got = 1;
    saved = got < 0 ? errno : ESTALE;
    close(fd);
    errno = saved;
    return got == 0 ? 0 : -1;
}

/* Loads each file and closes the gaps of those that cannot be read. */
static void load(struct demo_input *in)
{
    struct out_bar bar;
    uint64_t planned = in->bytes;
    size_t kept = 0;
    in->bytes = 0;
    in->span = 0;
    out_bar_start(&bar, "load", planned);
    for (size_t i = 0; i < in->n; i++) {
        struct demo_file f = in->file[i];
        f.at = in->span;
        if (read_whole(&f, in->data + f.at)) {
            out_warn("skipped '%s': %s", f.path,
                     errno == ESTALE ? "it changed while it was read"
                                     : strerror(errno));
            in->skipped++;
            file_free(&f);
            continue;
        }
        in->file[kept++] = f;
        in->bytes += f.bytes;
        in->span += span_of(f.bytes);
        out_bar_step(&bar, in->bytes);
    }
    in->n = kept;
    out_bar_end(&bar);
}

static int map(struct demo_input *in)
{
    void *p;
    if (!in->reserved)
        in->reserved = DEMO_ALIGN;
    p = mmap(NULL, in->reserved, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return no_memory();
    in->data = p;
    return 0;
}

int demo_input_load(const char *dir, uint64_t limit, struct demo_input *in)
{
    struct stat st;
    size_t len = strlen(dir);
    char *root;
    int rc;
    memset(in, 0, sizeof(*in));
    if (stat(dir, &st))
        return out_fail("'%s': %s", dir, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return out_fail("'%s': %s", dir, strerror(ENOTDIR));
    while (len > 1 && dir[len - 1] == '/')
        len--;
    root = strndup(dir, len);
    if (!root)
        return no_memory();
    /* fts puts one slash behind the root, unless it is "/" itself. */
    rc = scan(in, root, len == 1 && dir[0] == '/' ? 1 : len + 1, limit);
    free(root);
    if (!rc)
        rc = map(in);
    if (rc)
        return rc;
    load(in);
    return in->n ? 0 : out_fail("'%s': no file that can be read", dir);
}

void demo_input_free(struct demo_input *in)
{
    for (size_t i = 0; i < in->n; i++)
        file_free(&in->file[i]);
    free(in->file);
    if (in->data)
        munmap(in->data, in->reserved);
}
