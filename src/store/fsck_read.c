/* SPDX-License-Identifier: Apache-2.0 */
#include "store/fsck_int.h"
#include "store/meta_carry.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

#define READERS 4u
/* Larger than any unit that was ever written. */
#define UNIT_MAX (UINT32_C(64) << 20)

struct reading {
    struct fsck_files *files;
    struct fsck_extent *e;
    uint32_t n;
    uint32_t next; /* atomic */
    int code;      /* atomic */
};

struct fsck_file *fsck_file(struct fsck_files *files, uint32_t number)
{
    for (unsigned i = 0; i < files->n; i++)
        if (files->at[i].number == number && files->at[i].fd >= 0)
            return &files->at[i];
    return NULL;
}

enum fsck_state fsck_read_one(struct fsck_files *files,
                              const struct meta_extent *e, uint8_t *buf)
{
    const struct fsck_file *file = fsck_file(files, e->target);
    size_t want = e->codec ? e->stored : e->bytes, got = 0;
    uint64_t space = fsck_space(e);

    const struct fsck_carried *c = file ? fsck_carried(files, e) : NULL;
    if (file && (e->loc > file->capacity || space > file->capacity - e->loc))
        return FSCK_OUTSIDE;
    if (c)
        return carry_bytes(&c->e) == want &&
                       XXH3_64bits(c->bytes, want) == e->sum
                   ? FSCK_GOOD
                   : FSCK_BAD;
    if (!file)
        return e->target ? FSCK_NOWHERE : FSCK_SHORT;
    if (e->loc > file->bytes || space > file->bytes - e->loc)
        return FSCK_SHORT;
    while (got < want) {
        ssize_t n =
            pread(file->fd, buf + got, want - got, (off_t)(e->loc + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return FSCK_FAILED;
        if (n == 0)
            return FSCK_SHORT;
        got += (size_t)n;
    }
    return XXH3_64bits(buf, want) == e->sum ? FSCK_GOOD : FSCK_BAD;
}

static void *reader(void *arg)
{
    struct reading *r = arg;
    uint8_t *buf = NULL;
    size_t room = 0;
    uint32_t i;

    /* Relaxed: the join publishes what was found. */
    while ((i = __atomic_fetch_add(&r->next, 1u, __ATOMIC_RELAXED)) < r->n) {
        struct fsck_extent *e = &r->e[i];
        if (e->e.stored > room && e->e.stored <= UNIT_MAX) {
            free(buf);
            room = e->e.stored;
            buf = malloc(room);
            if (!buf) {
                __atomic_store_n(&r->code, SL_ENOMEM, __ATOMIC_RELAXED);
                return NULL;
            }
        }
        e->state = e->e.stored > room ? FSCK_FAILED
                                      : fsck_read_one(r->files, &e->e, buf);
    }
    free(buf);
    return NULL;
}

int fsck_read(struct fsck_files *files, struct fsck_extent *e, uint32_t n)
{
    struct reading r = {.files = files, .e = e, .n = n};
    pthread_t threads[READERS];
    unsigned started = 0;

    while (n > 8u && started < READERS &&
           !pthread_create(&threads[started], NULL, reader, &r))
        started++;
    if (!started)
        reader(&r);
    while (started)
        pthread_join(threads[--started], NULL);
    return r.code;
}
