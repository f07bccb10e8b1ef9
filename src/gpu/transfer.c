/* SPDX-License-Identifier: Apache-2.0 */
#include "gpu/transfer.h"

#include "base/clock.h"
#include "base/log.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

/* Streams of each way, in turn: while one copy ends the next has begun, and
 * kernels of several calls fill a device that those of one do not. */
#define STREAMS 4u
/* Longest wait for work whose event could not be recorded. */
#define LOST_WAIT_NS UINT64_C(30000000000)

struct transfer {
    struct transfer *next; /* in the list of all */
    struct transfers *of;
    struct gpu_stream *stream;
    struct gpu_event *event;
    int used;   /* somebody's */
    int left;   /* given up, but the device may still work on it */
    int sealed; /* the event is recorded */
    int code;   /* of queueing; when it has ended, of all */
    int ended;
};

struct transfers {
    struct gpu *gpu;
    pthread_mutex_t lock; /* all below, and the transfers */
    struct gpu_stream *stream[2][STREAMS];
    uint32_t turn[2];
    struct transfer *all;
    struct transfer_room *rooms;
    uint64_t room_bytes; /* of them all, on the device */
    struct transfer_counts counts;
    int stopped;
    uint32_t refs; /* atomic */
};

int transfers_open(struct gpu *g, struct transfers **out)
{
    struct transfers *s = calloc(1, sizeof(*s));
    if (!s)
        return SL_ENOMEM;
    s->gpu = g;
    s->refs = 1;
    pthread_mutex_init(&s->lock, NULL);
    *out = s;
    return 0;
}

struct transfers *transfers_ref(struct transfers *s)
{
    /* Relaxed: the caller's own reference keeps it there. */
    __atomic_fetch_add(&s->refs, 1u, __ATOMIC_RELAXED);
    return s;
}

void transfers_unref(struct transfers *s)
{
    /* Acquire and release: who frees comes after all who used it. */
    if (!s || __atomic_sub_fetch(&s->refs, 1u, __ATOMIC_ACQ_REL))
        return;
    while (s->all) {
        struct transfer *t = s->all;
        s->all = t->next;
        free(t);
    }
    while (s->rooms) {
        struct transfer_room *r = s->rooms;
        s->rooms = r->next;
        munmap(r->mem, r->mem_bytes);
        free(r);
    }
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- under the lock ---- */

/* SL_EAGAIN: the device has not come to the end of it. */
static int look(struct transfer *t)
{
    const struct gpu_ops *ops = t->of->gpu->ops;
    if (!t->used || !t->sealed || t->ended)
        return t->used && t->ended ? t->code : 0;
    int rc = ops->event_test(t->event);
    if (rc == SL_EAGAIN)
        return rc;
    t->ended = 1;
    if (!t->code)
        t->code = rc;
    if (t->left)
        t->used = 0;
    return t->code;
}

static struct transfer *find_idle(struct transfers *s)
{
    struct transfer *t = s->all;
    while (t && (t->used || !t->event)) {
        if (t->left)
            (void)look(t); /* it may be free by now */
        if (t->used || !t->event)
            t = t->next;
    }
    return t;
}

/* Null: *rc says why. */
static struct transfer *make_idle(struct transfers *s, int *rc)
{
    struct transfer *t = calloc(1, sizeof(*t));
    *rc = t ? s->gpu->ops->event_open(s->gpu, &t->event) : SL_ENOMEM;
    if (*rc) {
        free(t);
        return NULL;
    }
    t->of = s;
    t->next = s->all;
    s->all = t;
    return t;
}

static int take(struct transfers *s, enum transfer_way way,
                struct transfer **out)
{
    struct gpu_stream **stream = &s->stream[way][s->turn[way] % STREAMS];
    struct transfer *t;
    int rc = s->stopped ? SL_ENODEV : 0;
    if (!rc && !*stream)
        rc = s->gpu->ops->stream_open(s->gpu, stream);
    if (rc)
        return rc;
    t = find_idle(s);
    if (!t)
        t = make_idle(s, &rc);
    if (!t)
        return rc;
    s->turn[way]++;
    t->stream = *stream;
    t->used = 1;
    t->left = 0;
    t->sealed = 0;
    t->ended = 0;
    t->code = 0;
    *out = t;
    return 0;
}

/* ---- one transfer ---- */

int transfer_begin(struct transfers *s, enum transfer_way way,
                   struct transfer **out)
{
    pthread_mutex_lock(&s->lock);
    int rc = take(s, way, out);
    pthread_mutex_unlock(&s->lock);
    if (!rc)
        transfers_ref(s);
    return rc;
}

struct gpu_stream *transfer_stream(const struct transfer *t)
{
    return t->stream;
}

int transfer_copy(struct transfer *t, const struct gpu_copy *c, size_t n)
{
    return t->stream->gpu->ops->copy_list(t->stream, c, n);
}

void transfer_seal(struct transfer *t, int code)
{
    struct transfers *s = t->of;
    const struct gpu_ops *ops = s->gpu->ops;
    int rc = ops->event_record(t->event, t->stream);
    if (rc) /* nothing else tells when it ends, and its memory is reused */
        (void)ops->stream_wait(t->stream, LOST_WAIT_NS, NULL);
    pthread_mutex_lock(&s->lock);
    t->code = code ? code : rc;
    t->ended = rc != 0;
    t->sealed = 1;
    pthread_mutex_unlock(&s->lock);
}

int transfer_test(struct transfer *t)
{
    struct transfers *s = t->of;
    pthread_mutex_lock(&s->lock);
    int rc = look(t);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

void transfer_end(struct transfer *t)
{
    struct transfers *s = t->of;
    pthread_mutex_lock(&s->lock);
    if (t->ended)
        t->used = 0;
    else
        t->left = 1;
    pthread_mutex_unlock(&s->lock);
    transfers_unref(s);
}

/* ---- rooms ---- */

/* Of the device's memory in all: four puts of 64 MiB, and windows of gets. */
#define ROOMS_BYTES (UINT64_C(1) << 30)
#define STEP_BYTES (UINT64_C(16) << 20)

/* Few sizes, so that a room serves the next, too. */
static uint64_t round_up(uint64_t bytes)
{
    uint64_t r = UINT64_C(1) << 20;
    while (r < bytes && r < STEP_BYTES)
        r *= 2u;
    return r >= bytes ? r : (bytes + STEP_BYTES - 1u) / STEP_BYTES * STEP_BYTES;
}

/* Not freed before the end: a driver may wait for the device when memory goes.
 */
static int make_room(struct transfers *s, uint64_t bytes, uint64_t mem_bytes,
                     struct transfer_room **out)
{
    const struct gpu_ops *ops = s->gpu->ops;
    struct transfer_room *r;
    int rc;
    if (s->room_bytes + round_up(bytes) > ROOMS_BYTES)
        return SL_ENOMEM;
    r = calloc(1, sizeof(*r));
    if (!r)
        return SL_ENOMEM;
    r->bytes = round_up(bytes);
    r->mem_bytes = round_up(mem_bytes);
    r->mem = mmap(NULL, r->mem_bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    rc =
        r->mem == MAP_FAILED ? SL_ENOMEM : ops->alloc(s->gpu, r->bytes, &r->at);
    if (rc)
        goto free_room;
    rc = ops->pin(s->gpu, r->mem, r->mem_bytes, &r->mem_at);
    if (rc)
        goto release;
    r->next = s->rooms;
    s->rooms = r;
    s->room_bytes += r->bytes;
    *out = r;
    return 0;
release:
    ops->release(s->gpu, r->at);
free_room:
    if (r->mem != MAP_FAILED)
        munmap(r->mem, r->mem_bytes);
    free(r);
    return rc;
}

int transfer_room_take(struct transfers *s, uint64_t bytes, uint64_t mem_bytes,
                       struct transfer_room **out)
{
    struct transfer_room *best = NULL;
    pthread_mutex_lock(&s->lock);
    int rc = s->stopped ? SL_ENODEV : 0;
    for (struct transfer_room *r = s->rooms; r && !rc; r = r->next)
        if (!r->used && r->bytes >= bytes && r->mem_bytes >= mem_bytes &&
            (!best || r->bytes < best->bytes))
            best = r;
    if (!rc && !best)
        rc = make_room(s, bytes, mem_bytes, &best);
    if (!rc) {
        best->used = 1;
        *out = best;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

void transfer_room_give(struct transfers *s, struct transfer_room *room)
{
    pthread_mutex_lock(&s->lock);
    room->used = 0;
    pthread_mutex_unlock(&s->lock);
}

/* ---- figures ---- */

void transfers_count(struct transfers *s, const struct transfer_counts *add)
{
    struct transfer_counts *c = &s->counts;
    pthread_mutex_lock(&s->lock);
    c->plain_in += add->plain_in;
    c->plain_out += add->plain_out;
    c->coded_in += add->coded_in;
    c->coded_out += add->coded_out;
    c->blocks_in += add->blocks_in;
    c->blocks_out += add->blocks_out;
    c->gave_up += add->gave_up;
    pthread_mutex_unlock(&s->lock);
}

void transfers_counts(struct transfers *s, struct transfer_counts *out)
{
    pthread_mutex_lock(&s->lock);
    *out = s->counts;
    pthread_mutex_unlock(&s->lock);
}

/* ---- the end ---- */

static int busy(struct transfers *s)
{
    int n = 0;
    for (struct transfer *t = s->all; t; t = t->next)
        n += t->used && !t->ended && (!t->sealed || look(t) == SL_EAGAIN);
    return n;
}

static void close_all(struct transfers *s)
{
    const struct gpu_ops *ops = s->gpu->ops;
    for (struct transfer *t = s->all; t; t = t->next) {
        ops->event_close(t->event);
        t->event = NULL;
    }
    for (struct transfer_room *r = s->rooms; r; r = r->next) {
        ops->release(s->gpu, r->at);
        ops->unpin(s->gpu, r->mem); /* who has the room may still look */
    }
    for (uint32_t i = 0; i < 2u * STREAMS; i++) {
        struct gpu_stream **stream = &s->stream[i / STREAMS][i % STREAMS];
        if (*stream)
            ops->stream_close(*stream);
        *stream = NULL;
    }
}

int transfers_stop(struct transfers *s, uint64_t timeout_ns)
{
    uint64_t begun = clock_ns();
    int rc = 0;
    pthread_mutex_lock(&s->lock);
    s->stopped = 1;
    while (busy(s) && !rc) {
        pthread_mutex_unlock(&s->lock);
        clock_sleep_ns(50000); /* the end is no hot path */
        rc = clock_ns() - begun > timeout_ns ? SL_ETIMEDOUT : 0;
        pthread_mutex_lock(&s->lock);
    }
    if (rc)
        log_error("device: work is not finished, its streams stay open");
    else
        close_all(s);
    pthread_mutex_unlock(&s->lock);
    return rc;
}
