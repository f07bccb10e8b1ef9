/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A get into device memory: the copy engine reads the chunks that the answers
 * name. A few windows are under way at once, so that the next is asked for and
 * answered while the copy of one runs.
 *
 *   IDLE --begin--> ASKED --answer--> COPYING --copied--> DONE --in order--> IDLE
 *
 * When one fails, or another version answers, no more begin; what is under way
 * ends first, and then it is decided whether the get goes on.
 */
#include "api/runtime.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

/* No code of its own: the windows are not of one version. */
#define ANOTHER_VERSION 1

static struct device_window *window_at(struct device_get *x, uint64_t i)
{
    return &x->win[i % DEVICE_WINDOWS];
}

static int fail(struct device_get *x, int code)
{
    if (!x->code)
        x->code = code;
    return 1;
}

/* ---- one window ---- */

/* While others are under way nobody waits for a slot: theirs may be the last.
 * A long name needs more than a slot. SL_EAGAIN: later. */
static int ask(const struct sl_dev *d, struct device_get *x,
               struct device_window *w)
{
    const struct get_run *g = &x->g;
    struct sl_dev quick = *d;
    if (x->live) {
        if (g->key.len > SL_NAME_INLINE)
            return SL_EAGAIN;
        quick.timeout_ns = 0;
    }
    w->f = slb_begin_range(&quick, SL_THREAD, &g->key, g->offset + w->at,
                           w->bytes, 0);
    w->f.want = 1;
    if (w->f.live)
        return 0;
    return x->live && w->f.code == SL_ETIMEDOUT ? SL_EAGAIN : w->f.code;
}

/* The last goes first, and alone: whether the range is past the end is known
 * before anything is written. True: something happened. */
static int begin(const struct sl_dev *d, struct device_get *x)
{
    struct get_run *g = &x->g;
    struct device_window *w = window_at(x, x->begun);
    if (x->code || x->begun == g->n || x->begun - g->done == x->depth ||
        (x->begun && !x->answered))
        return 0;
    w->at = (g->n - 1u - x->begun) * g->window;
    w->bytes = g->size - w->at < g->window ? g->size - w->at : g->window;
    int rc = ask(d, x, w);
    if (rc == SL_EAGAIN)
        return 0;
    if (rc)
        return fail(x, rc);
    w->stage = WINDOW_ASKED;
    x->begun++;
    x->live++;
    return 1;
}

static void add_copy(struct gpu_copy *list, size_t *n, struct gpu_copy c)
{
    struct gpu_copy *last = *n ? &list[*n - 1u] : NULL;
    if (last && last->from && last->from + last->bytes == c.from)
        last->bytes += c.bytes;
    else if (c.bytes)
        list[(*n)++] = c;
}

/* What the answer names, for the copy engine. Null: no memory. */
static struct gpu_copy *list_copies(const struct sl_dev *d,
                                    const struct device_get *x,
                                    const struct device_window *w, size_t *n)
{
    const uint8_t *at = d->arena + sl_reply_value(w->reply);
    int listed = sl_reply_list(w->reply);
    uint64_t segments = listed ? slp_ldv(at).a : 1u, done = 0;
    struct gpu_copy *list = calloc(segments + 1u, sizeof(*list));
    *n = 0;
    for (uint64_t i = 0; list && i < segments; i++) {
        struct slp_v16 s = {sl_reply_value(w->reply), w->bytes};
        if (listed)
            s = slp_ldv(at + 16u + 16u * i);
        if (s.b > w->bytes - done)
            s.b = w->bytes - done; /* never past the caller's buffer */
        struct gpu_copy c = {x->mem.at + w->at + done, x->mem.arena_at + s.a,
                             s.b};
        if (s.a == SL_SEGMENT_ZERO)
            c.from = 0;
        add_copy(list, n, c);
        done += s.b;
    }
    return list;
}

static int copy(const struct sl_dev *d, struct device_get *x,
                struct device_window *w)
{
    size_t n;
    struct gpu_copy *list = list_copies(d, x, w, &n);
    int rc = list ? transfer_begin(x->mem.transfers, TRANSFER_IN, &w->copy)
                  : SL_ENOMEM;
    if (!rc) {
        transfer_seal(w->copy, transfer_copy(w->copy, list, n));
        w->stage = WINDOW_COPYING;
    }
    free(list);
    return rc;
}

static void done(const struct sl_dev *d, struct device_get *x,
                 struct device_window *w)
{
    struct slg g = slg_make(SL_THREAD);
    slb_leave(d, &g, &w->f, w->reply);
    w->stage = WINDOW_DONE;
    x->live--;
}

static int answered(const struct sl_dev *d, struct device_get *x,
                    struct device_window *w)
{
    struct get_run *g = &x->g;
    int rc = w->f.code;
    if (!rc || rc == SL_EPASTEND)
        g->exists = w->f.result.v[0];
    if (!rc && x->answered && w->f.result.v[1] != g->version)
        rc = ANOTHER_VERSION;
    if (!rc) {
        g->version = w->f.result.v[1];
        x->answered = 1;
    }
    if (!rc && !x->code)
        rc = copy(d, x, w);
    if (rc)
        fail(x, rc);
    if (w->stage != WINDOW_COPYING)
        done(d, x, w);
    return 1;
}

/* True: it moved. */
static int advance(const struct sl_dev *d, struct device_get *x,
                   struct device_window *w)
{
    struct slg g = slg_make(SL_THREAD);
    struct sl_until now = sl_until_ns(0);
    int rc;
    if (w->stage == WINDOW_ASKED) {
        rc = slb_arrive(d, &g, &w->f, &now, &w->reply);
        if (!rc)
            return answered(d, x, w);
        if (w->f.live)
            return 0;
        w->stage = WINDOW_DONE; /* the channel is lost */
        x->live--;
        return fail(x, rc);
    }
    if (w->stage != WINDOW_COPYING)
        return 0;
    rc = transfer_test(w->copy);
    if (rc == SL_EAGAIN)
        return 0;
    if (rc)
        fail(x, rc);
    transfer_end(w->copy);
    done(d, x, w);
    return 1;
}

/* ---- all ---- */

static int move_on(const struct sl_dev *d, struct device_get *x)
{
    int moved = begin(d, x);
    for (uint64_t i = x->g.done; i < x->begun; i++)
        moved |= advance(d, x, window_at(x, i));
    while (x->g.done < x->begun &&
           window_at(x, x->g.done)->stage == WINDOW_DONE)
        window_at(x, x->g.done++)->stage = WINDOW_IDLE;
    return moved;
}

/* Nothing is under way and something is wrong: true when it begins again. */
static int begins_again(const struct sl_dev *d, struct device_get *x)
{
    struct get_run *g = &x->g;
    int again;
    if (x->code == SL_ENOMEM && x->depth > 1u) {
        x->depth = 1; /* it needs less of the arena so */
        again = 1;
    } else if (x->code == ANOTHER_VERSION)
        again = g->restarts_left-- != 0;
    else
        again = get_goes_on(d, g, x->code);
    if (!again)
        return 0;
    x->code = 0;
    x->answered = 0;
    x->begun = 0;
    g->done = 0;
    return 1;
}

static void end(struct device_get *x)
{
    transfers_unref(x->mem.transfers);
    x->g.ended = 1;
}

void device_get_init(struct device_get *x, const struct get_run *g,
                     const struct device_memory *mem)
{
    memset(x, 0, sizeof(*x));
    x->g = *g;
    x->mem = *mem;
    x->depth = DEVICE_WINDOWS;
}

int device_get_step(const struct sl_dev *d, struct device_get *x,
                    struct sl_until u)
{
    for (uint32_t round = 0;; round++) {
        if (move_on(d, x))
            round = 0;
        if (x->code && !x->live && !begins_again(d, x)) {
            end(x);
            return x->code == ANOTHER_VERSION ? SL_EBUSY : x->code;
        }
        if (!x->code && x->g.done == x->g.n) {
            end(x);
            return 0;
        }
        if (!u.timeout_ns)
            return SL_EAGAIN;
        if (slp_now() >= u.deadline_ns)
            return SL_ETIMEDOUT;
        slp_pause(round);
    }
}

void device_get_forget(struct device_get *x)
{
    if (x->g.ended)
        return;
    for (uint32_t i = 0; i < DEVICE_WINDOWS; i++)
        if (x->win[i].stage == WINDOW_COPYING)
            transfer_end(x->win[i].copy);
    end(x);
}

void device_get_abandon(const struct sl_dev *d, struct device_get *x)
{
    struct slg g = slg_make(SL_THREAD);
    struct sl_until u = sl_until_default(d);
    if (x->g.ended)
        return;
    for (uint32_t i = 0; i < DEVICE_WINDOWS; i++) {
        struct device_window *w = &x->win[i];
        if (w->stage == WINDOW_ASKED)
            slb_abandon(d, SL_THREAD, &w->f);
        if (w->stage != WINDOW_COPYING)
            continue;
        if (device_wait(w->copy, &u) == SL_ETIMEDOUT)
            log_error("get: a copy has not ended, its slot and chunks stay "
                      "taken");
        else
            slb_leave(d, &g, &w->f, w->reply);
        transfer_end(w->copy);
    }
    end(x);
}
