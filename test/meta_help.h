/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What the tests of the store's directory and metadata share: a directory of
 * their own, a sink that keeps the last log line, changes to wait for.
 * Include it behind cmocka.h.
 */
#ifndef SLUICE_META_HELP_H
#define SLUICE_META_HELP_H

#include "base/clock.h"
#include "base/log.h"
#include "store/meta.h"

#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HELP_UNUSED __attribute__((unused))

static char help_line[512];

static void help_sink(void *user, enum sl_log_level level, const char *line)
{
    (void)user;
    (void)level;
    snprintf(help_line, sizeof help_line, "%s", line);
}

/* A fresh directory, to be removed with help_remove. */
static HELP_UNUSED char *help_dir(void)
{
    const char *base = getenv("TMPDIR");
    char *path = NULL;

    assert_true(asprintf(&path, "%s/sluice-test-XXXXXX", base ? base : "/tmp") >
                0);
    assert_non_null(mkdtemp(path));
    help_line[0] = '\0';
    log_sink(help_sink, NULL);
    return path;
}

static int help_unlink(const char *path, const struct stat *st, int kind,
                       struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static HELP_UNUSED void help_remove(char *path)
{
    nftw(path, help_unlink, 16, FTW_DEPTH | FTW_PHYS);
    free(path);
}

static HELP_UNUSED char *help_path(const char *dir, const char *name)
{
    char *path = NULL;

    assert_true(asprintf(&path, "%s/%s", dir, name) > 0);
    return path;
}

static HELP_UNUSED void help_write(const char *path, const void *data, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, n), n);
    close(fd);
}

/* The bytes of a file, to be freed. */
static HELP_UNUSED uint8_t *help_read(const char *path, size_t *n)
{
    struct stat st;
    uint8_t *data;
    int fd = open(path, O_RDONLY);

    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    *n = (size_t)st.st_size;
    data = malloc(*n + 1);
    assert_non_null(data);
    assert_int_equal(read(fd, data, *n), *n);
    close(fd);
    return data;
}

/* ---- random numbers: splitmix64, seeded by SEED ---- */

static uint64_t help_state;

static HELP_UNUSED void help_seed(void)
{
    const char *s = getenv("SEED");

    help_state = s ? strtoull(s, NULL, 0) : clock_real_ns();
    print_message("SEED=%llu\n", (unsigned long long)help_state);
}

static HELP_UNUSED uint64_t help_random(uint64_t below)
{
    uint64_t z = (help_state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % below;
}

/* ---- changes to wait for ---- */

struct batch {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    unsigned left;
};

struct job {
    struct meta_change c;
    struct batch *batch;
    int code;
    char name[256];
    struct meta_extent *extents;
};

#define BATCH_INIT                                                             \
    {                                                                          \
        .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER    \
    }

static void job_done(struct meta_change *c, int code)
{
    struct job *j = c->user;

    pthread_mutex_lock(&j->batch->lock);
    j->code = code;
    j->batch->left--;
    pthread_cond_signal(&j->batch->wake);
    pthread_mutex_unlock(&j->batch->lock);
}

static HELP_UNUSED void batch_submit(struct batch *b, struct meta *m,
                                     struct job *j)
{
    j->batch = b;
    j->code = 1;
    j->c.user = j;
    j->c.done = job_done;
    pthread_mutex_lock(&b->lock);
    b->left++;
    pthread_mutex_unlock(&b->lock);
    meta_submit(m, &j->c);
}

static HELP_UNUSED void batch_wait(struct batch *b)
{
    pthread_mutex_lock(&b->lock);
    while (b->left)
        pthread_cond_wait(&b->wake, &b->lock);
    pthread_mutex_unlock(&b->lock);
}

/* n jobs, each with room for `extents` of its own. */
static HELP_UNUSED struct job *jobs_make(unsigned n, unsigned extents)
{
    struct job *jobs = calloc(n, sizeof *jobs);

    assert_non_null(jobs);
    for (unsigned i = 0; i < n; i++) {
        jobs[i].extents = calloc(extents, sizeof(struct meta_extent));
        assert_non_null(jobs[i].extents);
    }
    return jobs;
}

static HELP_UNUSED void jobs_free(struct job *jobs, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        free(jobs[i].extents);
    free(jobs);
}

/* One change, waited for. */
static HELP_UNUSED int submit_wait(struct meta *m, struct job *j)
{
    struct batch b = BATCH_INIT;

    batch_submit(&b, m, j);
    batch_wait(&b);
    return j->code;
}

/* Tags 0 to n - 1, which blobs need. */
static HELP_UNUSED void help_tags(struct meta *m, uint64_t n)
{
    for (uint64_t t = 0; t < n; t++) {
        struct job j = {.c = {.op = META_PUT_TAG}};
        j.c.blob.tag = t;
        j.c.blob.name = "tag";
        j.c.blob.name_len = 3;
        assert_int_equal(submit_wait(m, &j), 0);
    }
}

/* Brings all that was submitted to LMDB. */
static HELP_UNUSED int help_flush(struct meta *m)
{
    struct job j = {.c = {.op = META_FLUSH}};

    return submit_wait(m, &j);
}

/* ---- blobs whose whole record follows from (tag, number, version) ---- */

#define PATTERN_STORED 4096u

static HELP_UNUSED void pattern_extent(struct meta_extent *e, uint64_t version,
                                       uint32_t i)
{
    memset(e, 0, sizeof *e);
    e->offset = (uint64_t)i * PATTERN_STORED;
    e->bytes = PATTERN_STORED;
    e->stored = PATTERN_STORED;
    e->loc = (version * 1024 + i) * PATTERN_STORED;
    e->sum = version * UINT64_C(0x9e3779b97f4a7c15) + i;
}

/* Fills a put; `extents` has room for n. */
static HELP_UNUSED void pattern_put(struct job *j, uint64_t tag,
                                    uint64_t number, uint64_t version,
                                    uint32_t n)
{
    struct meta_blob *b = &j->c.blob;

    memset(&j->c, 0, sizeof j->c);
    j->c.op = META_PUT_BLOB;
    snprintf(j->name, sizeof j->name, "blob-%llu", (unsigned long long)number);
    for (uint32_t i = 0; i < n; i++)
        pattern_extent(&j->extents[i], version, i);
    b->tag = tag;
    b->name = j->name;
    b->name_len = (uint32_t)strlen(j->name);
    b->size = (uint64_t)n * PATTERN_STORED;
    b->version = version;
    b->created_ns = number;
    b->changed_ns = version;
    b->score = 500;
    b->persist = 2;
    b->n_extents = n;
    b->extents = j->extents;
}

/* True when a loaded blob is what pattern_put made. */
static HELP_UNUSED int pattern_fits(const struct meta_blob *b)
{
    if (b->changed_ns != b->version || b->score != 500 || b->persist != 2 ||
        b->size != (uint64_t)b->n_extents * PATTERN_STORED)
        return 0;
    for (uint32_t i = 0; i < b->n_extents; i++) {
        struct meta_extent e;
        pattern_extent(&e, b->version, i);
        if (memcmp(&e, &b->extents[i], sizeof e) != 0)
            return 0;
    }
    return 1;
}

#endif
