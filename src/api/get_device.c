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
#include "api/get_coded.h"
#include "base/log.h"

#include <string.h>

/* No codes of the caller's: the windows are not of one version; what is coded
 * cannot be, or could not be, decoded on the device. */
#define ANOTHER_VERSION 1
#define NOT_FOR_DEVICE 2
#define DECODE_FAILED 3
/* A device is worth its launches from here on. */
#define DECODE_LEAST 16384u

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
               struct device_window *w, struct sl_until u)
{
    const struct get_run *g = &x->g;
    struct range_ask r = {.key = &g->key,
                          .offset = g->offset + w->at,
                          .size = w->bytes,
                          .flags =
                              x->decodes ? SL_F_CODED_OK | SL_F_UNITS : 0u};
    if (x->live && g->key.len > SL_NAME_INLINE)
        return SL_EAGAIN;
    return range_begin(d, &r, x->live ? sl_until_ns(0) : u, &w->f);
}

/* The last goes first, and alone: whether the range is past the end is known
 * before anything is written. True: something happened. */
static int begin(const struct sl_dev *d, struct device_get *x,
                 struct sl_until u)
{
    struct get_run *g = &x->g;
    struct device_window *w = window_at(x, x->begun);
    if (x->code || x->begun == g->n || x->begun - g->done == x->depth ||
        (x->begun && !x->answered))
        return 0;
    w->at = (g->n - 1u - x->begun) * g->window;
    w->bytes = g->size - w->at < g->window ? g->size - w->at : g->window;
    int rc = ask(d, x, w, u);
    if (rc == SL_EAGAIN)
        return 0;
    if (rc)
        return fail(x, rc);
    w->stage = WINDOW_ASKED;
    x->begun++;
    x->live++;
    return 1;
}

/* Queues what the answer names; what is coded needs a room. */
static int queue(struct device_get *x, struct device_window *w,
                 const struct answer *a)
{
    int rc = a->n_units ? answer_room(x->mem.transfers, a, &w->room) : 0;
    if (!rc)
        rc = transfer_begin(x->mem.transfers, TRANSFER_IN, &w->copy);
    if (rc)
        return rc;
    rc = transfer_copy(w->copy, a->copy, a->n_copies);
    if (!rc && a->n_units)
        rc = answer_decode(w->copy, a, w->room, x->mem.arena_at);
    transfer_seal(w->copy, rc);
    w->n_units = a->n_units;
    w->stage = WINDOW_COPYING;
    struct transfer_counts add = {.plain_in = a->plain,
                                  .coded_in = a->coded,
                                  .blocks_in = a->n_units ? a->blocks : 0};
    transfers_count(x->mem.transfers, &add);
    return 0;
}

static int copy(const struct sl_dev *d, struct device_get *x,
                struct device_window *w)
{
    struct answer_of of = {.arena = d->arena,
                           .arena_at = x->mem.arena_at,
                           .reply = w->reply,
                           .coded = x->decodes ? w->f.result.v[2] : 0,
                           .to = x->mem.at + w->at,
                           .bytes = w->bytes};
    struct answer a;
    int rc = answer_read(&a, &of);
    if (rc)
        return rc;
    rc = a.n_units && !answer_fits(&a) ? NOT_FOR_DEVICE : queue(x, w, &a);
    if (rc < 0 && a.n_units)
        rc = DECODE_FAILED;
    answer_free(&a);
    return rc;
}

static void drop_room(struct device_get *x, struct device_window *w)
{
    if (w->room)
        transfer_room_give(x->mem.transfers, w->room);
    w->room = NULL;
}

static void done(const struct sl_dev *d, struct device_get *x,
                 struct device_window *w)
{
    struct slg g = slg_make(SL_THREAD);
    slb_leave(d, &g, &w->f, w->reply);
    drop_room(x, w);
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
    if (!rc && w->n_units)
        rc = answer_check(w->room, w->n_units);
    if (rc)
        fail(x, w->n_units ? DECODE_FAILED : rc);
    transfer_end(w->copy);
    done(d, x, w);
    return 1;
}

/* ---- all ---- */

static int move_on(const struct sl_dev *d, struct device_get *x,
                   struct sl_until u)
{
    int moved = begin(d, x, u);
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
    if (x->code == DECODE_FAILED || x->code == NOT_FOR_DEVICE) {
        struct transfer_counts add = {.gave_up = x->code == DECODE_FAILED};
        transfers_count(x->mem.transfers, &add);
        x->decodes = 0; /* plain bytes are asked for */
        again = 1;
    } else if (x->code == SL_ENOMEM && x->depth > 1u) {
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
    x->decodes = g->size >= DECODE_LEAST && mem->at % 16u == 0;
}

int device_get_step(const struct sl_dev *d, struct device_get *x,
                    struct sl_until u)
{
    for (uint32_t round = 0;; round++) {
        if (move_on(d, x, u))
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
        if (x->win[i].stage == WINDOW_COPYING) {
            transfer_end(x->win[i].copy);
            drop_room(x, &x->win[i]);
        }
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
        if (w->f.live) /* asked, or its slot is being prepared */
            slb_abandon(d, SL_THREAD, &w->f);
        if (w->stage != WINDOW_COPYING)
            continue;
        if (device_wait(w->copy, &u) == SL_ETIMEDOUT) {
            log_error("get: the device has not ended, slot and chunks stay "
                      "taken");
        } else {
            slb_leave(d, &g, &w->f, w->reply);
            drop_room(x, w);
        }
        transfer_end(w->copy);
    }
    end(x);
}
