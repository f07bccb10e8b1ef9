/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "store/dir.h"
#include "store/shard.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/*
 * DIR/targets, text, replaced whole (docs/format.md):
 *
 *   sluice-targets 1 NEXT
 *   NUMBER IDENTITY CAPACITY SCORE KIND NAME PATH     a line for each target
 *   sum XXH3-64 of all bytes above
 *
 * NEXT is a number that no target ever had. Numbers in hexadecimal. The first
 * block of each target's file names the identity, so that another file in its
 * place is told apart.
 */

#define LIST_MAX 65536 /* 32 lines of a path each fit */
#define HEADER "sluice-targets 1 "

/* ---- writing ---- */

static int list_text(const struct store *s, char *to, size_t room)
{
    size_t n =
        (size_t)snprintf(to, room, HEADER "%" PRIx32 "\n", s->next_number);
    for (uint32_t t = 0; t < TARGETS_MAX && n < room; t++) {
        const struct target *g = &s->target[t];
        if (g->state != TARGET_ACTIVE || !g->spec.lasting || !g->spec.number)
            continue;
        n += (size_t)snprintf(
            to + n, room - n,
            "%" PRIx32 " %" PRIx64 " %" PRIx64 " %x %s %s %s\n", g->spec.number,
            g->spec.identity, g->spec.capacity, g->spec.score, g->spec.kind,
            g->spec.name, g->spec.path);
    }
    if (n < room)
        n += (size_t)snprintf(to + n, room - n, "sum %016" PRIx64 "\n",
                              (uint64_t)XXH3_64bits(to, n));
    return n < room ? (int)n : SL_ENOSPC;
}

static int failed(const char *path, const char *what)
{
    int e = errno;
    log_error("%s: %s: %s", path, what, strerror(e));
    return dir_errno(e);
}

static int write_file(const char *path, const char *text, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int rc = 0;
    if (fd < 0)
        return failed(path, "open");
    for (size_t at = 0; at < n && !rc;) {
        ssize_t k = write(fd, text + at, n - at);
        if (k < 0 && errno != EINTR)
            rc = failed(path, "write");
        at += k > 0 ? (size_t)k : 0;
    }
    if (!rc && fsync(fd))
        rc = failed(path, "sync");
    close(fd);
    return rc;
}

int target_list_write(const struct store *s)
{
    char *path = dir_join(s->dir->path, "targets");
    char *fresh = dir_join(s->dir->path, "targets.new");
    char *text = malloc(LIST_MAX);
    int rc = path && fresh && text ? list_text(s, text, LIST_MAX) : SL_ENOMEM;
    if (rc > 0)
        rc = write_file(fresh, text, (size_t)rc);
    if (!rc && rename(fresh, path))
        rc = failed(path, "rename");
    if (!rc)
        rc = dir_sync(s->dir->path);
    free(text);
    free(fresh);
    free(path);
    return rc;
}

/* ---- reading ---- */

static int damaged(const char *path, const char *why)
{
    log_error("%s: %s", path, why);
    return SL_ECORRUPT;
}

/* 1: there is one, 0: there is none. */
static int read_file(const char *path, char *to, size_t room, size_t *n)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t k = 1;
    *n = 0;
    if (fd < 0)
        return errno == ENOENT ? 0 : failed(path, "open");
    while (k > 0 && *n < room) {
        k = read(fd, to + *n, room - *n);
        if (k < 0 && errno == EINTR)
            k = 1;
        else if (k > 0)
            *n += (size_t)k;
    }
    close(fd);
    if (k < 0)
        return failed(path, "read");
    return *n < room ? 1 : damaged(path, "too long for a list of targets");
}

/* The line of the sum is the last one and right; gives where it begins. */
static int check_sum(const char *path, const char *text, size_t n, size_t *end)
{
    char line[32];
    if (n < 21u || text[n - 1u] != '\n')
        return damaged(path, "ends early");
    *end = n - 21u;
    snprintf(line, sizeof(line), "sum %016" PRIx64 "\n",
             (uint64_t)XXH3_64bits(text, *end));
    return memcmp(line, text + *end, 21u) ? damaged(path, "checksum is wrong")
                                          : 0;
}

static int read_line(struct store *s, const char *path, const char *line,
                     int (*each)(struct store *s, struct target_spec *spec))
{
    struct target_spec spec;
    unsigned score;
    int at = 0;
    memset(&spec, 0, sizeof(spec));
    if (sscanf(line, "%" SCNx32 " %" SCNx64 " %" SCNx64 " %x %7s %31s %n",
               &spec.number, &spec.identity, &spec.capacity, &score, spec.kind,
               spec.name, &at) != 6 ||
        !at || !line[at] || !spec.number || score > SL_SCORE_ONE)
        return damaged(path, "a line is no target");
    spec.score = (uint16_t)score;
    spec.lasting = 1;
    spec.made = 1;
    spec.path = strdup(line + at);
    return spec.path ? each(s, &spec) : SL_ENOMEM;
}

static int read_lines(struct store *s, const char *path, char *text,
                      int (*each)(struct store *s, struct target_spec *spec))
{
    char *save = NULL, *line = strtok_r(text, "\n", &save);
    int rc = 0;
    if (!line || strncmp(line, HEADER, strlen(HEADER)) != 0) {
        log_error("%s: not a list of targets of this version", path);
        return SL_EVERSION;
    }
    s->next_number = (uint32_t)strtoul(line + strlen(HEADER), NULL, 16);
    while (!rc && (line = strtok_r(NULL, "\n", &save)))
        rc = read_line(s, path, line, each);
    return rc;
}

int target_list_read(struct store *s,
                     int (*each)(struct store *s, struct target_spec *spec))
{
    char *path = dir_join(s->dir->path, "targets");
    char *text = malloc(LIST_MAX + 1u);
    size_t n = 0, end = 0;
    int rc = path && text ? read_file(path, text, LIST_MAX, &n) : SL_ENOMEM;
    s->next_number = 1;
    if (rc > 0) {
        rc = check_sum(path, text, n, &end);
        text[end] = 0;
        if (!rc)
            rc = read_lines(s, path, text, each);
    }
    free(text);
    free(path);
    return rc;
}

/* ---- the first block of a file ---- */

struct stamp {
    char magic[16];
    uint64_t identity;
    uint64_t sum; /* of what is before it */
};
#define STAMP_MAGIC "sluice-target 1"

uint64_t target_identity(void)
{
    uint64_t id = 0;
    if (getrandom(&id, sizeof(id), 0) != (ssize_t)sizeof(id))
        id = (uint64_t)getpid() << 32 ^ (uint64_t)(uintptr_t)&id;
    return id ? id : 1u;
}

static struct stamp stamp_of(uint64_t identity)
{
    struct stamp m = {.magic = STAMP_MAGIC, .identity = identity};
    m.sum = XXH3_64bits(&m, offsetof(struct stamp, sum));
    return m;
}

static int first_block(struct tier_port *port, int write, struct stamp *m)
{
    struct tier_io io;
    void *block = aligned_alloc(TIER_BLOCK, TIER_BLOCK);
    const struct tier_ops *ops = port->tier->ops;
    int rc;
    if (!block)
        return SL_ENOMEM;
    memset(block, 0, TIER_BLOCK);
    if (write)
        memcpy(block, m, sizeof(*m));
    memset(&io, 0, sizeof(io));
    io.buf = block;
    io.bytes = TIER_BLOCK;
    rc = target_run(port, write ? ops->write : ops->read, &io);
    if (!write)
        memcpy(m, block, sizeof(*m));
    memset(&io, 0, sizeof(io));
    if (!rc && write)
        rc = target_run(port, ops->flush, &io);
    free(block);
    return rc;
}

int target_stamp(struct target *t, struct tier_port *port)
{
    struct stamp m = stamp_of(t->spec.identity);
    return first_block(port, 1, &m);
}

int target_is_stamped(const void *block, uint64_t identity)
{
    const struct stamp want = stamp_of(identity);
    return memcmp(&want, block, sizeof(want)) == 0;
}

int target_check(struct target *t, struct tier_port *port)
{
    struct stamp have;
    int rc = first_block(port, 0, &have);
    if (!rc && !target_is_stamped(&have, t->spec.identity)) {
        log_error("%s: not the file of target %s", t->spec.path, t->spec.name);
        return SL_ENOTARGET;
    }
    return rc;
}
