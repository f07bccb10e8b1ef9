/* SPDX-License-Identifier: Apache-2.0 */
/* The thread of a stream: moves each slot from SUBMITTED to COMPLETE. */
#include "base/clock.h"
#include "base/log.h"
#include "pages/impl.h"

#include <sched.h>
#include <string.h>

/* A device that is busy is polled: at once for a while, as a small batch takes
 * some 20 us, then with naps of an eighth of the time that nothing moved: short
 * against a large batch (16 MiB: 300 us over the link). */
#define SPIN_NS 50000u
#define NAP_MIN_NS 20000u
#define NAP_MAX_NS 1000000u

/* What a step of a slot did. STOP: later slots must not move in this round. */
enum moved { STAYED, MOVED, STOP };

static void set_state(struct sl_pages_stream *s, struct slot *t,
                      enum slot_state state)
{
    pthread_mutex_lock(&s->lock);
    t->state = state;
    if (state == SLOT_COMPLETE)
        pthread_cond_broadcast(&s->moved);
    pthread_mutex_unlock(&s->lock);
}

/* A slot that was returned may be in use again, as a later one. */
static enum slot_state state_of(struct sl_pages_stream *s, uint64_t seq)
{
    pthread_mutex_lock(&s->lock);
    enum slot_state state =
        seq < s->returned ? SLOT_RETURNED : slot_of(s, seq)->state;
    pthread_mutex_unlock(&s->lock);
    return state;
}

static void complete(struct sl_pages_stream *s, struct slot *t, int code)
{
    struct sl_pages_report *r = &t->part;
    t->b.code = code;
    t->b.path = t->on_device ? SL_PAGES_GPU : SL_PAGES_CPU;
    t->b.dst_bytes = t->dst_bytes;
    r->bytes_in = s->way == SL_PAGES_COMPRESS ? t->b.bytes : t->b.src_bytes;
    r->bytes_out = t->dst_bytes;
    r->batches = 1;
    r->on_device = t->on_device ? 1 : 0;
    if (code == 0)
        pages_count(r, t->b.entries, t->n);
    if (r->bad)
        t->b.code = SL_EBLOCK;
    set_state(s, t, SLOT_COMPLETE);
}

/* ---- the CPU ---- */

static enum moved cpu_begin(struct sl_pages_stream *s, struct slot *t)
{
    struct cpu_batch b = slot_batch(s, t);
    uint64_t begun = clock_ns();
    /* One batch has the scratch. A later one must not get it before this one
     * and then wait behind it for its place. */
    if (s->way == SL_PAGES_COMPRESS && s->scratch_user)
        return STOP;
    t->on_device = 0;
    t->out_staged = 0;
    memset(&t->part, 0, sizeof(t->part));
    if (s->way == SL_PAGES_COMPRESS) {
        t->dst_bytes = cpu_compress(s->p->pool, &b, s->scratch, s->piece);
        s->scratch_user = t;
        t->part.cpu_ns = clock_ns() - begun;
        set_state(s, t, SLOT_SIZED);
        return MOVED;
    }
    (void)cpu_decompress(s->p->pool, &b, t->b.dst);
    t->dst_bytes = t->b.bytes;
    t->part.cpu_ns = clock_ns() - begun;
    complete(s, t, 0);
    return MOVED;
}

static void cpu_end(struct sl_pages_stream *s, struct slot *t)
{
    struct cpu_batch b = slot_batch(s, t);
    uint64_t begun = clock_ns();
    cpu_place(s->p->pool, &b, s->scratch, s->piece, t->b.dst);
    s->scratch_user = NULL;
    t->part.cpu_ns += clock_ns() - begun;
    complete(s, t, 0);
}

/* ---- a device that fails ---- */

/* Complete slots leave from the front. */
static void advance(struct sl_pages_stream *s)
{
    pthread_mutex_lock(&s->lock);
    while (s->first < s->submitted &&
           (s->first < s->returned ||
            slot_of(s, s->first)->state == SLOT_COMPLETE))
        s->first++;
    pthread_mutex_unlock(&s->lock);
}

/* All that is not complete begins again, on the CPU, and with it what is
 * complete behind it: sizes differ, and so do the places that follow. */
static void begin_again(struct sl_pages_stream *s)
{
    pthread_mutex_lock(&s->lock);
    for (uint64_t seq = s->first; seq < s->submitted; seq++) {
        struct slot *t = slot_of(s, seq);
        if (seq == s->first && s->sink.base && s->placed > s->first)
            s->sink.used = (uint64_t)((uint8_t *)t->b.dst - s->sink.base);
        t->state = SLOT_SUBMITTED;
        t->on_device = 0;
    }
    s->placed = s->first;
    s->scratch_user = NULL;
    pthread_mutex_unlock(&s->lock);
}

/* The device may still write into the batches' memory: nothing can be redone
 * there, and nothing given back. */
static void give_up(struct sl_pages_stream *s)
{
    log_error("pages: the device does not give its batches back");
    pthread_mutex_lock(&s->lock);
    uint64_t end = s->submitted;
    s->hung = 1;
    pthread_mutex_unlock(&s->lock);
    for (uint64_t seq = s->first; seq < end; seq++) {
        struct slot *t = slot_of(s, seq);
        if (state_of(s, seq) == SLOT_COMPLETE)
            continue;
        memset(&t->part, 0, sizeof(t->part));
        complete(s, t, SL_ETIMEDOUT);
    }
    s->placed = end;
    s->scratch_user = NULL;
}

static enum moved lose(struct sl_pages_stream *s, int code, const char *doing)
{
    pages_lose(s->p, code, doing);
    advance(s);
    if (device_drain(s) == SL_ETIMEDOUT)
        give_up(s);
    else
        begin_again(s);
    return STOP;
}

/* ---- one step of one slot ---- */

static enum moved step_submitted(struct sl_pages_stream *s, struct slot *t)
{
    if (!t->on_device || pages_lost(s->p))
        return cpu_begin(s, t);
    t->dev.deadline_ns = clock_ns() + s->p->o.timeout_ns;
    /* Before the work is queued: with an error some of it may run. */
    set_state(s, t, SLOT_RUNNING);
    int rc = device_begin(s, t);
    return rc ? lose(s, rc, "starting a batch") : MOVED;
}

/* A device that has not ended: is it late? */
static enum moved still_busy(struct sl_pages_stream *s, const struct slot *t)
{
    if (clock_ns() <= t->dev.deadline_ns)
        return STAYED;
    return lose(s, SL_ETIMEDOUT, "running a batch");
}

static enum moved step_running(struct sl_pages_stream *s, struct slot *t)
{
    int rc = device_sized(s, t);
    if (rc == SL_EAGAIN)
        return still_busy(s, t);
    if (rc)
        return lose(s, rc, "running a batch");
    set_state(s, t, SLOT_SIZED);
    return MOVED;
}

static enum moved step_sized(struct sl_pages_stream *s, uint64_t seq,
                             struct slot *t)
{
    if (s->way == SL_PAGES_COMPRESS && seq != s->placed)
        return STAYED;
    s->placed = seq + 1;
    if (s->sink.base) {
        t->b.dst = s->sink.base + s->sink.used;
        s->sink.used += t->dst_bytes;
    }
    if (!t->on_device) {
        cpu_end(s, t);
        return MOVED;
    }
    set_state(s, t, SLOT_COPY_OUT);
    int rc = device_out(s, t);
    return rc ? lose(s, rc, "copying a batch back") : MOVED;
}

static enum moved step_copy_out(struct sl_pages_stream *s, struct slot *t)
{
    int rc = device_done(s, t);
    if (rc == SL_EAGAIN)
        return still_busy(s, t);
    if (rc)
        return lose(s, rc, "copying a batch back");
    complete(s, t, 0);
    return MOVED;
}

static enum moved step(struct sl_pages_stream *s, uint64_t seq)
{
    struct slot *t = slot_of(s, seq);
    switch (state_of(s, seq)) {
    case SLOT_SUBMITTED:
        return step_submitted(s, t);
    case SLOT_RUNNING:
        return step_running(s, t);
    case SLOT_SIZED:
        return step_sized(s, seq, t);
    case SLOT_COPY_OUT:
        return step_copy_out(s, t);
    case SLOT_FREE:
    case SLOT_TAKEN:
    case SLOT_COMPLETE:
    case SLOT_RETURNED:
        break;
    }
    return STAYED;
}

/* ---- the thread ---- */

static int pump_round(struct sl_pages_stream *s, uint64_t end)
{
    enum moved how = STAYED;
    int any = 0;
    for (uint64_t seq = s->first; seq < end && how != STOP; seq++) {
        how = step(s, seq);
        any |= how == MOVED;
    }
    advance(s);
    return any;
}

static void nap(uint64_t idle_since)
{
    uint64_t idle = clock_ns() - idle_since, ns = idle / 8;
    ns = ns < NAP_MIN_NS ? NAP_MIN_NS : ns;
    ns = ns < NAP_MAX_NS ? ns : NAP_MAX_NS;
    if (idle < SPIN_NS)
        sched_yield();
    else
        clock_sleep_ns(ns);
}

/* Waits for a submit; the number of them, or 0 to end. */
static uint64_t wait_for_work(struct sl_pages_stream *s)
{
    pthread_mutex_lock(&s->lock);
    while (s->first == s->submitted && !s->closing)
        pthread_cond_wait(&s->work, &s->lock);
    uint64_t end = s->first == s->submitted ? 0 : s->submitted;
    pthread_mutex_unlock(&s->lock);
    return end;
}

void *pump_main(void *stream)
{
    struct sl_pages_stream *s = stream;
    uint64_t end, idle_since = clock_ns();
    while ((end = wait_for_work(s)) != 0) {
        if (pump_round(s, end))
            idle_since = clock_ns();
        else
            nap(idle_since);
    }
    return NULL;
}
