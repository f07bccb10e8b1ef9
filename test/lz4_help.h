/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of pages and blocks that a kernel works on, for test_device_lz4*.c. On
 * the host device each has memory of its own, so that AddressSanitizer sees
 * what lies outside; on a GPU guard bytes lie between them. */
#ifndef LZ4_HELP_H
#define LZ4_HELP_H

#include "device_help.h"
#include "kernels/lz4.h"
#include "sluice/device/lz4_team.h"

#include <lz4.h>
#include <lz4hc.h>

#define GUARD 64u
#define GUARD_BYTE 0xa7
#define JOBS_MAX 16384u

struct lz4_job {
    uint8_t *src; /* host copies; dst is filled by jobs_run */
    uint8_t *dst;
    uint32_t n, room, shift; /* shift: of both addresses against 16 */
    uint32_t what;
    int code;
    sl_devptr src_mem, dst_mem;
};

/* Whether a thread block takes each job that it can, instead of a warp. */
static int jobs_by_team;

struct lz4_jobs {
    struct rig *rig;
    struct lz4_job *job;
    uint32_t n;
};

HELP_FN void jobs_open(struct lz4_jobs *j, struct rig *r)
{
    j->rig = r;
    j->n = 0;
    j->job = (struct lz4_job *)zeroed(JOBS_MAX, sizeof(*j->job));
}

/* Adds one; src is copied. Gives its index. */
HELP_FN uint32_t jobs_add(struct lz4_jobs *j, uint32_t what, const void *src,
                          uint32_t n, uint32_t room)
{
    struct lz4_job *q = &j->job[j->n];
    assert_true(j->n < JOBS_MAX);
    memset(q, 0, sizeof(*q));
    q->what = what;
    q->n = n;
    q->room = room;
    q->shift = j->n % 3u == 1u ? j->n / 3u % 16u : 0u;
    q->src = (uint8_t *)zeroed(n, 1);
    q->dst = (uint8_t *)zeroed(room + 2u * GUARD, 1);
    if (n)
        memcpy(q->src, src, n);
    return j->n++;
}

HELP_FN void jobs_clear(struct lz4_jobs *j)
{
    while (j->n) {
        struct lz4_job *q = &j->job[--j->n];
        free(q->src);
        free(q->dst);
    }
}

HELP_FN void jobs_close(struct lz4_jobs *j)
{
    jobs_clear(j);
    free(j->job);
}

/* One job's memory. On the host the buffers end where the room ends, and begin
 * at an allocation when nothing shifts them. */
HELP_FN void job_place(struct rig *r, struct lz4_job *q)
{
    uint32_t before = r->on_gpu ? GUARD : 0u, after = before;
    size_t room = q->shift + before + q->room + after;
    assert_int_equal(r->ops->alloc(r->gpu, q->shift + q->n, &q->src_mem), 0);
    assert_int_equal(r->ops->alloc(r->gpu, room, &q->dst_mem), 0);
    upload(r, q->src_mem + q->shift, q->src, q->n);
    memset(q->dst, GUARD_BYTE, q->room + 2u * GUARD);
    upload(r, q->dst_mem + q->shift, q->dst + GUARD - before,
           before + q->room + after);
}

HELP_FN void job_fetch(struct rig *r, struct lz4_job *q)
{
    uint32_t around = r->on_gpu ? GUARD : 0u;
    download(r, q->dst + GUARD - around, q->dst_mem + q->shift,
             around + q->room + around);
    r->ops->release(r->gpu, q->src_mem);
    r->ops->release(r->gpu, q->dst_mem);
    for (uint32_t i = 0; i < GUARD; i++) {
        assert_int_equal(q->dst[i], GUARD_BYTE);
        assert_int_equal(q->dst[GUARD + q->room + i], GUARD_BYTE);
    }
    memmove(q->dst, q->dst + GUARD, q->room);
}

enum job_way { JOB_SMALL, JOB_LARGE, JOB_TEAM, JOB_WAYS };

/* Small ones go to the kernel for large pages too. */
HELP_FN enum job_way job_way(const struct lz4_job *q)
{
    int unpack = q->what == CHECK_LZ4_UNPACK;
    uint32_t page = unpack ? q->room : q->n;
    if (jobs_by_team && (unpack || page <= SL_LZ4_SMALL))
        return JOB_TEAM;
    return page > SL_LZ4_SMALL || q->shift % 2u ? JOB_LARGE : JOB_SMALL;
}

/* Runs those that go one way. */
HELP_FN void jobs_launch(struct lz4_jobs *j, enum job_way way)
{
    static const char *const kernels[JOB_WAYS] = {
        "k_check_lz4", "k_check_lz4_large", "k_check_lz4_team"};
    static const uint32_t warps[JOB_WAYS] = {CHECK_LZ4_WARPS, 1,
                                             SL_LZ4_TEAM_WARPS};
    struct rig *r = j->rig;
    uint32_t rooms = r->n_rooms, n = 0;
    struct check_lz4_job *list =
        (struct check_lz4_job *)zeroed(j->n, sizeof(*list));
    for (uint32_t i = 0; i < j->n; i++) {
        const struct lz4_job *q = &j->job[i];
        uint32_t around = r->on_gpu ? GUARD : 0u;
        if (job_way(q) == way)
            list[n++] = (struct check_lz4_job){q->src_mem + q->shift,
                                               q->dst_mem + q->shift + around,
                                               q->n,
                                               q->room,
                                               0,
                                               q->what};
    }
    struct check_lz4_args a = {room_with(r, list, n * sizeof(*list)), n};
    if (n)
        run(r, kernels[way], shape_of(r->on_gpu ? 264u : 4u, 32u * warps[way]),
            &a, sizeof(a));
    download(r, list, a.jobs_at, n * sizeof(*list));
    n = 0;
    for (uint32_t i = 0; i < j->n; i++)
        if (job_way(&j->job[i]) == way)
            j->job[i].code = list[n++].code;
    rooms_release(r, rooms);
    free(list);
}

HELP_FN void jobs_run(struct lz4_jobs *j)
{
    for (uint32_t i = 0; i < j->n; i++)
        job_place(j->rig, &j->job[i]);
    for (int way = 0; way < JOB_WAYS; way++)
        jobs_launch(j, (enum job_way)way);
    for (uint32_t i = 0; i < j->n; i++)
        job_fetch(j->rig, &j->job[i]);
}

/* ---- pages ---- */

enum page_kind {
    PAGE_TEXT,
    PAGE_ONE,
    PAGE_NOISE,
    PAGE_JSON,
    PAGE_CODE,
    PAGE_KINDS
};

HELP_FN void page_words(uint8_t *p, uint32_t n, uint64_t *seed,
                        const char *const *words, uint32_t n_words)
{
    uint32_t at = 0;
    while (at < n) {
        const char *w = words[test_random(seed) % n_words];
        size_t len = strlen(w);
        len = len < n - at ? len : n - at;
        memcpy(p + at, w, len);
        at += (uint32_t)len;
    }
}

/* Machine code and tables: this program's own file. */
HELP_FN void page_code(uint8_t *p, uint32_t n, uint64_t *seed)
{
    FILE *f = fopen("/proc/self/exe", "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, (long)(test_random(seed) % 100000u), SEEK_SET),
                     0);
    assert_int_equal(fread(p, 1, n, f), n);
    fclose(f);
}

HELP_FN void page_make(uint8_t *p, uint32_t n, uint32_t kind, uint64_t *seed)
{
    static const char *const text[] = {
        "the ",  "page ", "of ",   "a ", "block ", "is ",  "not ",   "larger ",
        "than ", "its ",  "input", ". ", "\n",     "and ", "every ", "lane "};
    static const char *const json[] = {
        "{\"id\": 1", "7", "0",      "9",    ", \"name\": \"", "user", "\"}, ",
        "[",          "]", "null, ", "true", "\"score\": 0.",  "31",   "4"};
    if (kind == PAGE_TEXT)
        page_words(p, n, seed, text, COUNT(text));
    else if (kind == PAGE_JSON)
        page_words(p, n, seed, json, COUNT(json));
    else if (kind == PAGE_CODE)
        page_code(p, n, seed);
    else if (kind == PAGE_NOISE)
        fill(p, n, test_random(seed));
    else
        memset(p, 'x', n);
}

#endif
