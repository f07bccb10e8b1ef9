/* SPDX-License-Identifier: Apache-2.0 */
/* The start with many durable blobs. */
#include "bench_scale.h"

#include "base/clock.h"
#include "out.h"
#include "sluice/sluice.h"
#include "store/dir.h"
#include "store/meta.h"
#include "tier/tier.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* Changes on their way: some groups of the committer. */
#define WINDOW 8192u
#define CHECKS 1000u /* blobs that are read after the start */

struct record {
    struct meta_change change;
    struct meta_extent extent;
    char name[SCALE_NAME_LEN + 1u];
};

struct loader {
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    struct record *free[WINDOW];
    uint32_t n_free;
    int code; /* first that failed */
};

static void stored(struct meta_change *c, int code)
{
    struct loader *l = c->user;
    pthread_mutex_lock(&l->lock);
    if (code && !l->code)
        l->code = code;
    l->free[l->n_free++] = (struct record *)(void *)c;
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->lock);
}

static struct record *take(struct loader *l)
{
    struct record *r = NULL;
    pthread_mutex_lock(&l->lock);
    while (!l->n_free)
        pthread_cond_wait(&l->wake, &l->lock);
    if (!l->code)
        r = l->free[--l->n_free];
    pthread_mutex_unlock(&l->lock);
    return r;
}

static void submit(struct meta *m, struct loader *l, struct record *r,
                   uint64_t tag, uint64_t i)
{
    static const uint8_t zeros[SCALE_BYTES];
    scale_sorted_name(i, r->name);
    r->extent = (struct meta_extent){.bytes = SCALE_BYTES,
                                     .stored = TIER_BLOCK,
                                     .loc = i * TIER_BLOCK,
                                     .sum = XXH3_64bits(zeros, SCALE_BYTES)};
    memset(&r->change, 0, sizeof(r->change));
    r->change.op = META_PUT_BLOB;
    r->change.done = stored;
    r->change.user = l;
    r->change.blob = (struct meta_blob){.tag = tag,
                                        .name = r->name,
                                        .name_len = SCALE_NAME_LEN,
                                        .size = SCALE_BYTES,
                                        .version = 1,
                                        .created_ns = 1,
                                        .changed_ns = 1,
                                        .score = SL_SCORE_AUTO,
                                        .persist = 2,
                                        .n_extents = 1,
                                        .extents = &r->extent};
    meta_submit(m, &r->change);
}

static int write_records(struct meta *m, uint64_t tag, uint64_t n)
{
    struct loader l = {.n_free = 0};
    struct record *all = calloc(WINDOW, sizeof(*all));
    if (!all)
        return SL_ENOMEM;
    pthread_mutex_init(&l.lock, NULL);
    pthread_cond_init(&l.wake, NULL);
    for (; l.n_free < WINDOW; l.n_free++)
        l.free[l.n_free] = &all[l.n_free];
    for (uint64_t i = 0; i < n; i++) {
        struct record *r = take(&l);
        if (!r)
            break;
        submit(m, &l, r, tag, i);
    }
    pthread_mutex_lock(&l.lock);
    while (l.n_free < WINDOW)
        pthread_cond_wait(&l.wake, &l.lock);
    pthread_mutex_unlock(&l.lock);
    pthread_cond_destroy(&l.wake);
    pthread_mutex_destroy(&l.lock);
    free(all);
    return l.code;
}

/* Taken from the disk now, or the start would do it. */
static int blocks_of(const char *path, uint64_t bytes)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    int rc = fd < 0 ? dir_errno(errno) : 0;
    if (!rc && fallocate(fd, 0, 0, (off_t)bytes))
        rc = dir_errno(errno);
    if (fd >= 0)
        close(fd);
    return rc;
}

static int load(const char *dir, uint64_t tag, uint64_t n)
{
    struct store_dir *d;
    struct meta *m;
    int rc = dir_open(dir, &d);
    if (rc)
        return rc;
    struct meta_config c = {.dir = d->path};
    rc = blocks_of(d->data, n * TIER_BLOCK);
    if (!rc)
        rc = meta_open(&c, &m);
    if (!rc) {
        rc = write_records(m, tag, n);
        meta_close(m);
    }
    dir_close(d);
    return rc;
}

static struct sl_config config_of(const char *dir, uint64_t n)
{
    struct sl_config c = {.size = sizeof(c), .data_dir = dir};
    c.file_bytes = n * TIER_BLOCK + (UINT64_C(1) << 30);
    c.timeout_ns = UINT64_C(600000000000);
    return c;
}

/* Makes the store and its tag. */
static int create(const char *dir, uint64_t n, uint64_t *tag)
{
    struct sl_config c = config_of(dir, n);
    struct sl_runtime *rt;
    int rc = sl_open(&c, &rt);
    if (rc)
        return rc;
    rc = sl_tag(rt, SCALE_TAG, tag);
    int code = sl_close(rt);
    return rc ? rc : code;
}

/* All are there, and some have their bytes. */
static int check(struct sl_runtime *rt, uint64_t tag, uint64_t n)
{
    uint64_t bytes = 0, blobs = 0;
    int rc = sl_tag_size(rt, tag, &bytes, &blobs);
    if (!rc && (blobs != n || bytes != n * SCALE_BYTES))
        return SL_ECORRUPT;
    for (uint64_t k = 0; k < CHECKS && k < n && !rc; k++) {
        char name[SCALE_NAME_LEN + 1u];
        uint8_t data[SCALE_BYTES];
        scale_sorted_name(sl_mix64(k) % n, name);
        rc = sl_get(rt, tag, name, 0, data, sizeof(data), NULL);
    }
    return rc;
}

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int start(const char *dir, uint64_t tag, uint64_t n,
                 struct scale_start *out)
{
    struct sl_config c = config_of(dir, n);
    struct sl_runtime *rt;
    uint64_t began = clock_ns();
    double cpu = cpu_s();
    int rc = sl_open(&c, &rt);
    out->cpu_s = cpu_s() - cpu;
    out->start_s = (double)(clock_ns() - began) / 1e9;
    if (rc)
        return rc;
    rc = check(rt, tag, n);
    began = clock_ns();
    int code = sl_close(rt);
    out->close_s = (double)(clock_ns() - began) / 1e9;
    return rc ? rc : code;
}

int scale_start(const char *dir, uint64_t n, struct scale_start *out)
{
    uint64_t tag = 0;
    out_log_hold();
    int rc = create(dir, n, &tag);
    if (!rc)
        rc = load(dir, tag, n);
    if (!rc)
        rc = start(dir, tag, n, out);
    if (rc)
        return out_fail("'%s': %s", dir, out_log_take(rc));
    out_log_take(0);
    return 0;
}
