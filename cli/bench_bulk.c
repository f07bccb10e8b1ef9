/* SPDX-License-Identifier: Apache-2.0 */
/* Large puts and gets of device memory by host calls, beside the copy engine. */
#include "bench.h"

#include "out.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOBS 8u
#define FLYING 4u
/* Bytes of each measurement: about 0.1 s at 50 GB/s, and on the host device. */
#define BYTES (UINT64_C(5) << 30)
#define BYTES_HOST (UINT64_C(512) << 20)
#define LONG_NS UINT64_C(60000000000)
/* As `bench lz4`: text that LZ4 halves; more than 3 no bar asks for. */
#define TEXT_FRESH 92u
#define RATIO_MOST 3.0

struct bulk {
    struct bench *b;
    uint64_t tag, ops;
    sl_devptr at; /* FLYING of b->size */
    uint64_t *pattern;
    uint8_t codec;
    double ratio; /* of what is put now, 3 at most */
    struct {
        struct sl_op *op;
        uint64_t begun;
    } flying[FLYING];
    uint64_t *took;
};

static void name_of(uint64_t i, char name[16])
{
    snprintf(name, 16, "bulk-%u", (unsigned)(i % BLOBS));
}

/* ---- the copy engine ---- */

/* Copies as large as the blobs, one behind the other on one stream. */
static int limit(struct bulk *x, int put, double *gbps)
{
    struct bench *b = x->b;
    const struct gpu_ops *ops = b->gpu->ops;
    struct bench_pinned p;
    uint64_t ns = 0;
    int rc = bench_pin(b, b->size, &p);
    for (int turn = 0; turn < 2 && !rc; turn++) { /* the first warms up */
        for (uint64_t i = 0; i < x->ops && !rc; i++)
            rc = ops->copy_async(b->stream, put ? p.at : x->at,
                                 put ? x->at : p.at, b->size);
        if (!rc)
            rc = ops->stream_wait(b->stream, LONG_NS, &ns);
        if (rc)
            rc = out_fail("copy engine: %s", sl_strerror(rc));
    }
    bench_unpin(b, &p);
    *gbps = ns ? (double)(x->ops * b->size) / (double)ns : 0.0;
    return rc;
}

/* ---- puts and gets ---- */

/* Operation i, in place `at` of those in flight. */
static int begin(struct bulk *x, int put, uint64_t i, uint32_t at)
{
    struct bench *b = x->b;
    void *data = (void *)(uintptr_t)(x->at + at * b->size);
    struct sl_put_opts o = {.size = sizeof(o),
                            .flags = SL_F_REPLACE,
                            .score = -1.0f,
                            .codec = x->codec};
    struct sl_op **op = &x->flying[at].op;
    char name[16];
    name_of(i, name);
    x->flying[at].begun = clock_ns();
    if (put)
        return sl_put_begin(b->rt, x->tag, name, 0, data, b->size, &o, op);
    return sl_get_begin(b->rt, x->tag, name, 0, data, b->size, op);
}

/* Waits for whichever ends first of `of`; *at is its place. */
static int end_one(struct bulk *x, uint32_t of, uint64_t done, size_t *at)
{
    struct sl_op *op[FLYING];
    for (uint32_t i = 0; i < of; i++)
        op[i] = x->flying[i].op;
    int rc = sl_wait_any(op, of, LONG_NS, at);
    for (uint32_t i = 0; i < of; i++)
        x->flying[i].op = op[i];
    if (!rc)
        x->took[done] = clock_ns() - x->flying[*at].begun;
    return rc;
}

/* `of` in flight. */
static int turn(struct bulk *x, int put, uint32_t of, struct bench_figure *f)
{
    uint64_t began = clock_ns(), next = 0;
    int rc = 0;
    for (; next < of && next < x->ops && !rc; next++)
        rc = begin(x, put, next, (uint32_t)next);
    for (uint64_t done = 0; done < next && !rc; done++) {
        size_t at = 0;
        rc = end_one(x, of, done, &at);
        if (!rc && next < x->ops)
            rc = begin(x, put, next++, (uint32_t)at);
    }
    uint64_t ns = clock_ns() - began;
    for (uint32_t i = 0; i < FLYING; i++)
        sl_cancel(&x->flying[i].op);
    if (rc)
        return out_fail("%s: %s", f->what, sl_strerror(rc));
    f->value = (double)(x->ops * x->b->size) / (double)ns;
    f->p50_ns = (double)out_percentile(x->took, x->ops, 50);
    f->p99_ns = (double)out_percentile(x->took, x->ops, 99);
    return 0;
}

/* The gets go where the puts came from: without this, one that writes nothing
 * would be found right. */
static int clear(struct bulk *x)
{
    struct bench *b = x->b;
    uint8_t *zero = calloc(1, b->size);
    int rc = zero ? 0 : SL_ENOMEM;
    for (uint32_t i = 0; i < FLYING && !rc; i++)
        rc = b->gpu->ops->to_device(b->gpu, x->at + i * b->size, zero, b->size);
    free(zero);
    return rc ? out_fail("device memory: %s", sl_strerror(rc)) : 0;
}

static int check(struct bulk *x)
{
    struct bench *b = x->b;
    uint8_t *got = malloc(b->size);
    int rc = got ? 0 : SL_ENOMEM;
    for (uint32_t i = 0; i < FLYING && i < x->ops && !rc; i++) {
        rc =
            b->gpu->ops->from_device(b->gpu, got, x->at + i * b->size, b->size);
        if (!rc && memcmp(got, x->pattern, b->size) != 0)
            rc = SL_ECHECKSUM;
    }
    free(got);
    return rc ? out_fail("what came back: %s", sl_strerror(rc)) : 0;
}

static int measure(struct bulk *x, const char *const what[2][2])
{
    struct bench_figure f = {.what = what[1][1], .unit = "GB/s"};
    int rc = turn(x, 1, 1, &f); /* new blobs, and what only the first pays */
    for (int put = 1; put >= 0 && !rc; put--) {
        double link = 0.0;
        rc = limit(x, put, &link);
        f.limit = link * x->ratio;
        if (!rc && !put)
            rc = clear(x);
        for (uint32_t many = 0; many < 2u && !rc; many++) {
            f.what = what[put][many];
            rc = turn(x, put, many ? FLYING : 1u, &f);
            if (!rc)
                bench_report(x->b, &f);
        }
    }
    return rc ? rc : check(x);
}

/* ---- data ---- */

/* Noise, or text that shrinks by half. */
static int fill(struct bulk *x, int text)
{
    struct bench *b = x->b;
    int rc = 0;
    for (uint64_t i = 0; i < b->size / 8u; i++)
        x->pattern[i] = text ? bench_text(0, i, TEXT_FRESH) : bench_word(0, i);
    for (uint32_t i = 0; i < FLYING && !rc; i++)
        rc = b->gpu->ops->to_device(b->gpu, x->at + i * b->size, x->pattern,
                                    b->size);
    return rc ? out_fail("device memory: %s", sl_strerror(rc)) : 0;
}

static int prepare(struct bulk *x)
{
    struct bench *b = x->b;
    int rc = sl_tag(b->rt, "bench", &x->tag);
    if (rc)
        return out_fail("tag 'bench': %s", sl_strerror(rc));
    x->pattern = malloc(b->size);
    x->took = calloc(x->ops, sizeof(*x->took));
    if (!x->pattern || !x->took)
        return out_fail("buffers: %s", sl_strerror(SL_ENOMEM));
    return bench_alloc(b, FLYING * b->size, &x->at);
}

static int plain(struct bulk *x)
{
    static const char *const what[2][2] = {{"bulk_get_1", "bulk_get"},
                                           {"bulk_put_1", "bulk_put"}};
    int rc = fill(x, 0);
    x->ratio = 1.0;
    return rc ? rc : measure(x, what);
}

/* The same with codec LZ4, on the device when it is a GPU. */
static int coded(struct bulk *x)
{
    static const char *const what[2][2] = {{"bulk_get_lz4_1", "bulk_get_lz4"},
                                           {"bulk_put_lz4_1", "bulk_put_lz4"}};
    struct bench_figure f = {.what = "bulk_ratio", .unit = "x"};
    struct sl_device_moved m;
    struct sl_stat s;
    int rc = fill(x, 1);
    x->codec = SL_CODEC_LZ4;
    if (!rc)
        rc = turn(x, 1, 1, &f);
    if (rc)
        return rc;
    rc = sl_stat(x->b->rt, x->tag, "bulk-0", &s);
    if (rc)
        return out_fail("bulk-0: %s", sl_strerror(rc));
    f.value = x->ratio = (double)s.size / (double)s.stored;
    f.limit = x->ratio = x->ratio < RATIO_MOST ? x->ratio : RATIO_MOST;
    bench_report(x->b, &f);
    rc = measure(x, what);
    sl_device_moved(x->b->dev, &m);
    if (!rc && m.gave_up)
        return out_fail("the device gave up %llu times",
                        (unsigned long long)m.gave_up);
    return rc;
}

int bench_bulk(struct bench *b)
{
    uint64_t bytes = b->host ? BYTES_HOST : BYTES;
    struct bulk x = {.b = b, .ops = b->ops ? b->ops : bytes / b->size + 1u};
    /* Old versions stay until the new ones are there. */
    int rc = bench_open(b, b->workers, 1024, (BLOBS + 2u * FLYING) * b->size,
                        SL_SIDE_BYTES);
    if (!rc)
        rc = prepare(&x);
    if (!rc)
        rc = plain(&x);
    if (!rc && !b->host) /* emulated lanes say nothing of speed */
        rc = coded(&x);
    bench_release(b, x.at);
    free(x.pattern);
    free(x.took);
    return bench_close(b, rc);
}
