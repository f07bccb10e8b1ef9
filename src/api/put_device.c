/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A put of device memory. The copy engine writes straight into the chunks that
 * the task names; no thread touches the bytes. The task is sent when they are
 * there, so the store sees a put like any other.
 */
#include "api/runtime.h"
#include "base/clock.h"
#include "base/log.h"

#include <string.h>

#define CHUNKS (SL_IO_MAX / SL_CHUNK_MAX)

int device_wait(struct transfer *t, struct sl_until *u)
{
    for (uint32_t round = 0;; round++) {
        int rc = transfer_test(t);
        if (rc != SL_EAGAIN || !u->timeout_ns)
            return rc;
        if (slp_now() >= u->deadline_ns)
            return SL_ETIMEDOUT;
        slp_pause(round);
    }
}

static uint64_t listed(const struct sl_dev *d, const struct slb_put *x,
                       uint64_t i)
{
    uint64_t at;
    memcpy(&at, d->arena + x->at.side + SL_SIDE_LIST + i * sizeof(at),
           sizeof(at));
    return at;
}

/* Chunks that follow one another are one copy. */
static size_t list_copies(const struct sl_dev *d, const struct device_put *p,
                          struct gpu_copy list[CHUNKS])
{
    size_t n = 0;
    for (uint64_t done = 0; done < p->size; done += SL_CHUNK_MAX) {
        uint64_t left = p->size - done;
        uint64_t bytes = left < SL_CHUNK_MAX ? left : SL_CHUNK_MAX;
        uint64_t chunk = p->place.need.listed
                             ? listed(d, &p->place, done / SL_CHUNK_MAX)
                             : p->place.at.chunk;
        sl_devptr to = p->mem.arena_at + chunk;
        if (n && list[n - 1u].to + list[n - 1u].bytes == to)
            list[n - 1u].bytes += bytes;
        else
            list[n++] = (struct gpu_copy){to, p->mem.at + done, bytes};
    }
    return n;
}

void device_give_back(const struct sl_dev *d, const struct device_put *p,
                      uint64_t n,
                      uint64_t (*at)(const struct sl_dev *d,
                                     const struct device_put *p, uint64_t i))
{
    struct sl_until u = sl_until_default(d);
    struct slm_prep prep = p->place.p;
    /* Each by a call that lends none in return, which is what its code says. */
    for (uint64_t i = 0; i < n && !prep.stuck; i++) {
        struct slm_request q;
        slm_request_init(&q, SL_POOL_ADMIN, SL_ADMIN_CHUNK);
        q.container = (uint16_t)(prep.slot % d->n_lanes);
        q.chunk = at(d, p, i);
        slm_call(d, &prep, &q, &u);
    }
    slm_undo(d, &prep);
}

static uint64_t listed_at(const struct sl_dev *d, const struct device_put *p,
                          uint64_t i)
{
    return listed(d, &p->place, i);
}

int device_place(const struct sl_dev *d, struct slb_put *x, struct sl_until u)
{
    struct slm_prep *p = &x->p;
    if (!p->rc)
        p->rc = sls_take(d, SL_THREAD, &u, &p->slot);
    if (p->rc)
        return p->rc == SL_ETIMEDOUT ? SL_EAGAIN : p->rc;
    struct sl_until own = sl_until_default(d);
    slb_equip(d, p, x->need, &own);
    x->at.rc = p->rc;
    if (p->rc)
        return p->rc;
    x->at.chunk = d->slots[p->slot].chunk;
    x->at.side = d->slots[p->slot].side;
    return 0;
}

/* ---- stages ---- */

/* Nothing is under way: gives back what the stage has. */
static void undo(const struct sl_dev *d, struct device_put *p)
{
    if (p->stage == PUT_SEND)
        put_coded_undo(d, p);
    if (p->stage == PUT_COPY)
        device_give_back(d, p, p->place.need.listed, listed_at);
}

static void drop_room(struct device_put *p)
{
    if (p->room)
        transfer_room_give(p->mem.transfers, p->room);
    p->room = NULL;
}

static void leave(struct device_put *p)
{
    if (p->work)
        transfer_end(p->work);
    p->work = NULL;
    drop_room(p);
    transfers_unref(p->mem.transfers);
    p->mem.transfers = NULL;
    p->ended = 1;
}

void device_put_forget(struct device_put *p)
{
    if (!p->ended)
        leave(p);
}

/* Takes slot and chunks, and starts to fill them. */
static int begin_copy(const struct sl_dev *d, struct device_put *p,
                      struct sl_until u)
{
    struct slg g = slg_make(SL_THREAD);
    struct gpu_copy list[CHUNKS];
    int rc;
    p->path = p->q.codec ? SL_PATH_CPU : SL_PATH_NONE;
    p->place = slb_put_plan(&p->key, p->offset, p->size, 0, 1);
    rc = device_place(d, &p->place, u);
    if (rc)
        return rc;
    slb_write_name(d, &g, p->place.at.side, &p->key);
    p->stage = PUT_COPY;
    rc = transfer_begin(p->mem.transfers, TRANSFER_OUT, &p->work);
    if (rc) {
        undo(d, p);
        return rc;
    }
    size_t n = list_copies(d, p, list);
    transfer_seal(p->work, transfer_copy(p->work, list, n));
    struct transfer_counts add = {.plain_out = p->size};
    transfers_count(p->mem.transfers, &add);
    return 0;
}

/* The device failed, or had no use (SL_ENOSPC): the CPU may do it. */
static void go_plain(struct device_put *p, int code)
{
    struct transfer_counts add = {.gave_up = code != SL_ENOSPC};
    transfers_count(p->mem.transfers, &add);
    drop_room(p);
    p->stage = PUT_PLACE;
}

int device_put_begin(const struct sl_dev *d, struct device_put *p,
                     uint32_t unit)
{
    p->work = NULL;
    p->room = NULL;
    p->ended = 0;
    p->coded_ns = 0;
    p->f = slb_future(0);
    p->stage = PUT_PACK;
    p->path = SL_PATH_GPU;
    int rc = slb_check_name(p->key.len);
    if (!rc && put_coded_pack(p, unit)) {
        p->stage = PUT_PLACE;
        rc = begin_copy(d, p, sl_until_default(d));
    }
    if (rc)
        leave(p);
    return rc == SL_EAGAIN ? SL_ETIMEDOUT : rc;
}

static void send(const struct sl_dev *d, struct device_put *p)
{
    struct slg g = slg_make(SL_THREAD);
    struct slm_request q = p->q;
    uint8_t want = p->f.want;
    if (p->stage == PUT_SEND)
        put_coded_request(p, &q);
    p->f =
        slb_put_send(d, &g, &p->place, &p->key, &q, p->offset, NULL, p->size);
    p->f.want = want;
    p->stage = PUT_SENT;
    drop_room(p);
}

/* The work of the stage has ended with `code`. */
static int work_ended(const struct sl_dev *d, struct device_put *p, int code)
{
    transfer_end(p->work);
    p->work = NULL;
    if (code) {
        undo(d, p);
        if (p->stage == PUT_COPY)
            return code;
        go_plain(p, code);
    } else if (p->stage == PUT_PACK) {
        p->coded_ns = clock_ns() - p->begun_ns;
        p->stage = PUT_LEND;
    } else {
        send(d, p);
    }
    return 0;
}

/* Starts the next work, which needs a slot. SL_EAGAIN: none is free. */
static int begin_work(const struct sl_dev *d, struct device_put *p,
                      struct sl_until u)
{
    if (p->stage == PUT_LEND) {
        int rc = put_coded_send(d, p, u);
        if (!rc || rc == SL_EAGAIN)
            return rc;
        go_plain(p, rc);
    }
    return begin_copy(d, p, u);
}

/* One stage further. */
static int next_stage(const struct sl_dev *d, struct device_put *p,
                      struct sl_until *u)
{
    int rc;
    if (p->work) {
        rc = device_wait(p->work, u);
        return rc == SL_EAGAIN || rc == SL_ETIMEDOUT ? SL_EAGAIN
                                                     : work_ended(d, p, rc);
    }
    return begin_work(d, p, *u);
}

int device_put_step(const struct sl_dev *d, struct device_put *p,
                    struct sl_until u)
{
    int rc;
    while (p->stage != PUT_SENT) {
        rc = next_stage(d, p, &u);
        if (rc == SL_EAGAIN)
            return u.timeout_ns ? SL_ETIMEDOUT : SL_EAGAIN;
        if (rc) {
            leave(p);
            return rc;
        }
    }
    rc = sl_wait_thread(d, &p->f, u);
    if (p->f.live)
        return rc;
    p->f.result.v[3] += p->coded_ns;
    leave(p);
    return rc;
}

void device_put_abandon(const struct sl_dev *d, struct device_put *p)
{
    struct sl_until u = sl_until_default(d);
    if (p->ended)
        return;
    if (!p->work) {
        sl_abandon_thread(d, &p->f); /* or it waits for a slot */
    } else if (device_wait(p->work, &u) != SL_ETIMEDOUT) {
        undo(d, p);
    } else {
        log_error("put: the device has not ended, slot and chunks stay taken");
        p->room = NULL; /* it is still used */
    }
    leave(p);
}
