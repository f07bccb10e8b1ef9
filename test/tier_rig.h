/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What the tests of tiers share: files that vanish, aligned buffers, requests
 * that count their completions.
 */
#ifndef SLUICE_TEST_TIER_RIG_H
#define SLUICE_TEST_TIER_RIG_H

#include "base/log.h"
#include "tier/tier.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define RIG_FN static inline __attribute__((unused))
#define MIB (UINT64_C(1) << 20)

/* A request, with what its completion said. */
struct request {
    struct tier_io io;
    int calls, code;
};

RIG_FN void request_done(struct tier_io *io, int code)
{
    struct request *r = (struct request *)io;
    r->calls++;
    r->code = code;
}

RIG_FN struct request request_make(uint64_t loc, void *buf, uint32_t bytes)
{
    struct request r = {
        .io = {.loc = loc, .buf = buf, .bytes = bytes, .done = request_done}};
    return r;
}

/* Bytes that only this seed and this place give; never all zero. */
RIG_FN void pattern(void *buf, size_t bytes, uint64_t seed)
{
    uint64_t *w = buf;
    for (size_t i = 0; i < bytes / 8; i++)
        w[i] = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15) + i;
}

RIG_FN int is_pattern(const void *buf, size_t bytes, uint64_t seed)
{
    const uint64_t *w = buf;
    for (size_t i = 0; i < bytes / 8; i++)
        if (w[i] != (seed + 1) * UINT64_C(0x9e3779b97f4a7c15) + i)
            return 0;
    return 1;
}

RIG_FN void *buffer(size_t bytes)
{
    void *p = aligned_alloc(TIER_BLOCK, bytes);
    if (p)
        memset(p, 0x5a, bytes);
    return p;
}

/* A new name in `dir`; the file is there and empty. */
RIG_FN void make_path(char *path, size_t room, const char *dir)
{
    int fd;
    snprintf(path, room, "%s/tier-test-XXXXXX", dir);
    fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
}

/* Polls until it is done; its code. Not an assertion, so any thread may. */
RIG_FN int finish(struct tier_port *p, struct request *r)
{
    while (r->calls == 0)
        p->tier->ops->poll(p);
    return r->code;
}

enum transfer { RIG_WRITE, RIG_READ, RIG_FLUSH };

/* One request from begin to end; its code. */
RIG_FN int transfer(struct tier_port *p, enum transfer what, uint64_t loc,
                    void *buf, uint32_t bytes)
{
    const struct tier_ops *ops = p->tier->ops;
    struct request r = request_make(loc, buf, bytes);
    int rc = what == RIG_WRITE  ? ops->write(p, &r.io)
             : what == RIG_READ ? ops->read(p, &r.io)
                                : ops->flush(p, &r.io);
    return rc ? rc : finish(p, &r);
}

/* The last log line and how many there were; set by log_sink(keep_line, ..). */
struct log_kept {
    int lines;
    char last[512];
    char all[4096];
};

RIG_FN void keep_line(void *user, enum sl_log_level level, const char *line)
{
    struct log_kept *k = user;
    size_t used = strlen(k->all);
    (void)level;
    k->lines++;
    snprintf(k->last, sizeof(k->last), "%s", line);
    snprintf(k->all + used, sizeof(k->all) - used, "%s\n", line);
}

#endif
