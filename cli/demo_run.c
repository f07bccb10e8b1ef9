/* SPDX-License-Identifier: Apache-2.0 */
/* The device's part of `sluice demo`. */
#include "demo.h"

#include "out.h"

#include <stdlib.h>
#include <string.h>

/* The largest range that one warp moves: a chunk class that keeps the link
 * full with few warps (LIMITS: 4 blocks suffice). */
#define DEMO_RANGE 65536u
/* A kernel that takes longer is given up. Operations end by themselves after
 * the channel's time, so this only catches a device that hangs. */
#define DEMO_LONGEST_NS UINT64_C(600000000000)
#define DEMO_LOOK_NS UINT64_C(100000000)
#define DEMO_NAMED 10u /* differences that are named */

static int device_fail(const char *what, int code)
{
    return out_fail("%s: %s", what, sl_strerror(code));
}

/* ---- operations ---- */

static uint64_t ops_of(uint64_t bytes)
{
    return bytes ? (bytes + DEMO_RANGE - 1) / DEMO_RANGE : 1;
}

static struct demo_op *cut_file(struct demo_op *op, uint32_t blob,
                                uint64_t bytes)
{
    uint64_t n = ops_of(bytes);
    for (uint64_t i = 0; i < n; i++, op++) {
        uint64_t at = i * DEMO_RANGE;
        uint64_t left = bytes - at;
        op->offset = at;
        op->bytes = left < DEMO_RANGE ? (uint32_t)left : DEMO_RANGE;
        op->blob = blob;
        op->whole = n == 1;
        op->reserved = 0;
    }
    return op;
}

int demo_cut(struct demo_run *r)
{
    struct demo_op *op;
    for (size_t i = 0; i < r->in.n; i++)
        r->n_ops += ops_of(r->in.file[i].bytes);
    if (r->n_ops > UINT32_MAX)
        return out_fail("more than 2^32 operations");
    r->op = calloc(r->n_ops, sizeof(*r->op));
    r->ticks = calloc(r->n_ops, sizeof(*r->ticks));
    if (!r->op || !r->ticks)
        return device_fail("operations", SL_ENOMEM);
    op = r->op;
    for (size_t i = 0; i < r->in.n; i++)
        op = cut_file(op, (uint32_t)i, r->in.file[i].bytes);
    return 0;
}

/* Fisher-Yates; the seed is fixed so that runs can be compared. */
static void shuffle(struct demo_op *op, uint64_t n)
{
    uint64_t seed = UINT64_C(0x534c5549);
    for (uint64_t i = n; i > 1; i--) {
        uint64_t j = sl_mix64(seed + i) % i;
        struct demo_op t = op[i - 1];
        op[i - 1] = op[j];
        op[j] = t;
    }
}

/* ---- device memory ---- */

/* Room for `bytes` on the device, filled from `from` unless that is null. */
static int room(struct demo_run *r, const void *from, uint64_t bytes,
                sl_devptr *out)
{
    int rc = r->gpu->ops->alloc(r->gpu, bytes ? bytes : 1, out);
    if (rc) {
        *out = 0;
        return rc;
    }
    return from && bytes ? r->gpu->ops->to_device(r->gpu, *out, from, bytes)
                         : 0;
}

/* Names behind one another, and where each blob's bytes and name are. */
static int upload_blobs(struct demo_run *r)
{
    struct demo_blob *blob = calloc(r->in.n, sizeof(*blob));
    char *names = NULL;
    size_t used = 0;
    int rc = SL_ENOMEM;
    if (!blob)
        goto out;
    names = malloc(r->in.n * SL_NAME_MAX);
    if (!names)
        goto out;
    for (size_t i = 0; i < r->in.n; i++) {
        size_t len = strlen(r->in.file[i].name);
        blob[i].at = r->in.file[i].at;
        blob[i].name_at = (uint32_t)used;
        blob[i].name_len = (uint32_t)len;
        memcpy(names + used, r->in.file[i].name, len);
        used += len;
    }
    rc = room(r, names, used, &r->names);
    if (!rc)
        rc = room(r, blob, r->in.n * sizeof(*blob), &r->blobs);
out:
    free(names);
    free(blob);
    return rc;
}

int demo_upload(struct demo_run *r, const char *device)
{
    int rc;
    /* Names are addressed by 32 bits. */
    if (r->in.n > UINT32_MAX / SL_NAME_MAX)
        return out_fail("too many files");
    rc = gpu_open(device, &r->gpu);
    if (rc)
        return device_fail(device, rc);
    r->gpu->ops->info(r->gpu, &r->info);
    rc = r->gpu->ops->stream_open(r->gpu, &r->stream);
    if (!rc)
        rc = room(r, r->in.data, r->in.span, &r->source);
    if (!rc)
        rc = room(r, NULL, r->in.span, &r->target);
    if (!rc)
        rc = room(r, NULL, r->n_ops * sizeof(*r->op), &r->ops);
    if (!rc)
        rc = room(r, NULL, r->n_ops * sizeof(*r->ticks), &r->took);
    if (!rc)
        rc = room(r, NULL, sizeof(struct demo_state), &r->state);
    if (!rc)
        rc = upload_blobs(r);
    return rc ? device_fail("device memory", rc) : 0;
}

void demo_end(struct demo_run *r)
{
    const sl_devptr held[] = {r->source, r->target, r->names, r->blobs,
                              r->ops,    r->took,   r->state};
    if (r->stream)
        r->gpu->ops->stream_close(r->stream);
    for (size_t i = 0; r->gpu && i < sizeof(held) / sizeof(held[0]); i++)
        if (held[i])
            r->gpu->ops->release(r->gpu, held[i]);
    if (r->gpu)
        r->gpu->ops->close(r->gpu);
    free(r->op);
    free(r->ticks);
}

/* ---- kernels ---- */

/* Waits for the kernel; on a terminal it looks at the op counter now and then.
 */
static int wait_for(struct demo_run *r, const char *phase, uint64_t *ns)
{
    struct demo_state s;
    struct out_bar bar;
    uint64_t waited = 0, step = DEMO_LONGEST_NS;
    int rc;
    out_bar_start(&bar, phase, r->n_ops);
    if (bar.shown)
        step = DEMO_LOOK_NS;
    for (;;) {
        rc = r->gpu->ops->stream_wait(r->stream, step, ns);
        waited += step;
        if (rc != SL_ETIMEDOUT || waited >= DEMO_LONGEST_NS)
            break;
        if (!r->gpu->ops->from_device(r->gpu, &s, r->state, sizeof(s)))
            out_bar_step(&bar, s.next < r->n_ops ? s.next : r->n_ops);
    }
    out_bar_end(&bar);
    return rc;
}

/* Says which operation failed first, and how many did. */
static int check(const struct demo_run *r, const char *phase,
                 const struct demo_state *s)
{
    const struct demo_op *op;
    if (!s->errors)
        return 0;
    op = &r->op[s->first_op < r->n_ops ? s->first_op : 0];
    return out_fail("%llu of %llu %s operations failed, the first on '%s' at "
                    "%llu: %s",
                    (unsigned long long)s->errors, (unsigned long long)r->n_ops,
                    phase, r->in.file[op->blob].name,
                    (unsigned long long)op->offset,
                    sl_strerror((int)s->first_code));
}

/* Enough warps to keep the link full: 8 a multiprocessor, 2 a CPU. */
static struct gpu_launch shape(const struct demo_run *r, const char *kernel)
{
    int host = !strcmp(r->gpu->ops->kind, "host");
    struct gpu_launch l = {.kernel = kernel,
                           .grid = {r->info.sms ? r->info.sms : 1, 1, 1},
                           .block = {host ? 64 : 256, 1, 1}};
    return l;
}

static int run(struct demo_run *r, const char *phase, const char *kernel,
               sl_devptr data)
{
    const struct gpu_ops *ops = r->gpu->ops;
    struct gpu_launch l = shape(r, kernel);
    struct demo_phase *out = phase[0] == 'p' ? &r->put : &r->get;
    struct demo_state s = {0};
    struct demo_arg arg = {.dev = *sl_device_handle(r->dev),
                           .tag = r->tag,
                           .data = data,
                           .names = r->names,
                           .blobs = r->blobs,
                           .ops = r->ops,
                           .took = r->took,
                           .state = r->state,
                           .n_ops = r->n_ops};
    size_t took = r->n_ops * sizeof(*r->ticks);
    int rc = ops->to_device(r->gpu, r->state, &s, sizeof(s));
    l.args = &arg;
    l.args_bytes = sizeof(arg);
    if (!rc)
        rc = ops->to_device(r->gpu, r->ops, r->op, r->n_ops * sizeof(*r->op));
    if (!rc)
        rc = ops->launch(r->stream, &l);
    if (!rc)
        rc = wait_for(r, phase, &out->ns);
    if (!rc)
        rc = ops->from_device(r->gpu, &s, r->state, sizeof(s));
    if (!rc)
        rc = ops->from_device(r->gpu, r->ticks, r->took, took);
    if (rc)
        return device_fail(kernel, rc);
    double tick_ns = kernel_clock_tick(&s.clock);
    out->p50_ns = tick_ns * (double)out_percentile(r->ticks, r->n_ops, 50);
    out->p99_ns = tick_ns * (double)out_percentile(r->ticks, r->n_ops, 99);
    return check(r, phase, &s);
}

int demo_put(struct demo_run *r)
{
    return run(r, "put", "k_demo_put", r->source);
}

int demo_get(struct demo_run *r)
{
    shuffle(r->op, r->n_ops);
    return run(r, "get", "k_demo_get", r->target);
}

/* ---- comparison ---- */

/* The host's client must see the same blob as the kernel, and no byte more. */
static int same(struct demo_run *r, const struct demo_file *f,
                const uint8_t *back)
{
    uint64_t size = 0;
    int rc = sl_size(r->rt, r->tag, f->name, &size);
    if (!rc && size == f->bytes &&
        !memcmp(back + f->at, r->in.data + f->at, f->bytes))
        return 1;
    if (r->in.n - r->verified > DEMO_NAMED)
        return 0;
    if (rc)
        out_warn("'%s': %s", f->name, sl_strerror(rc));
    else
        out_warn("'%s': differs (%llu bytes came back, %llu went)", f->name,
                 (unsigned long long)size, (unsigned long long)f->bytes);
    return 0;
}

int demo_verify(struct demo_run *r)
{
    struct out_bar bar;
    uint8_t *back = malloc(r->in.span ? r->in.span : 1);
    int rc = SL_ENOMEM;
    if (back)
        rc = r->in.span
                 ? r->gpu->ops->from_device(r->gpu, back, r->target, r->in.span)
                 : 0;
    if (rc) {
        free(back);
        return device_fail("copying back", rc);
    }
    out_bar_start(&bar, "verify", r->in.n);
    for (size_t i = 0; i < r->in.n; i++) {
        r->verified += (uint64_t)same(r, &r->in.file[i], back);
        out_bar_step(&bar, i + 1);
    }
    out_bar_end(&bar);
    free(back);
    if (r->verified == r->in.n)
        return 0;
    return out_fail("%llu of %zu blobs differ from their files",
                    (unsigned long long)(r->in.n - r->verified), r->in.n);
}
