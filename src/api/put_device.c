/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A put of device memory. The copy engine writes straight into the chunks that
 * the task names; no thread touches the bytes. The task is sent when they are
 * there, so the store sees a put like any other.
 */
#include "api/runtime.h"
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

static int begin_copy(const struct sl_dev *d, struct device_put *p)
{
    struct gpu_copy list[CHUNKS];
    size_t n = list_copies(d, p, list);
    int rc = transfer_begin(p->mem.transfers, TRANSFER_OUT, &p->copy);
    if (!rc)
        transfer_seal(p->copy, transfer_copy(p->copy, list, n));
    return rc;
}

/* No slot remembers the chunks of a list: each is given back by a call that
 * lends none in return, which is what its code says. */
static void give_list_back(const struct sl_dev *d, const struct device_put *p)
{
    struct sl_until u = sl_until_default(d);
    struct slm_prep prep = p->place.p;
    for (uint64_t i = 0; i < p->place.need.listed; i++) {
        struct slm_request q;
        slm_request_init(&q, SL_POOL_ADMIN, SL_ADMIN_CHUNK);
        q.container = (uint16_t)(prep.slot % d->n_lanes);
        q.chunk = listed(d, &p->place, i);
        slm_call(d, &prep, &q, &u);
        if (prep.stuck)
            break;
    }
    slm_undo(d, &prep);
}

/* The copy has ended, or never began. */
static void undo(const struct sl_dev *d, struct device_put *p)
{
    if (p->place.need.listed)
        give_list_back(d, p);
    else
        slm_undo(d, &p->place.p);
}

static void leave(struct device_put *p)
{
    if (p->copy)
        transfer_end(p->copy);
    p->copy = NULL;
    transfers_unref(p->mem.transfers);
    p->mem.transfers = NULL;
    p->ended = 1;
}

void device_put_forget(struct device_put *p)
{
    if (!p->ended)
        leave(p);
}

int device_put_begin(const struct sl_dev *d, struct device_put *p)
{
    struct slg g = slg_make(SL_THREAD);
    p->copy = NULL;
    p->ended = 0;
    p->f = slb_future(0);
    p->place = slb_put_place(d, &g, &p->key, p->offset, p->size, 0, 1);
    int rc = p->place.at.rc;
    if (!rc) {
        rc = begin_copy(d, p);
        if (rc)
            undo(d, p);
    }
    if (rc)
        leave(p);
    return rc;
}

static int copied(const struct sl_dev *d, struct device_put *p, int code)
{
    struct slg g = slg_make(SL_THREAD);
    uint8_t want = p->f.want;
    transfer_end(p->copy);
    p->copy = NULL;
    if (code) {
        undo(d, p);
        leave(p);
        return code;
    }
    p->f = slb_put_send(d, &g, &p->place, &p->key, &p->q, p->offset, NULL,
                        p->size);
    p->f.want = want;
    return 0;
}

int device_put_step(const struct sl_dev *d, struct device_put *p,
                    struct sl_until u)
{
    if (p->copy) {
        int rc = device_wait(p->copy, &u);
        if (rc == SL_EAGAIN || rc == SL_ETIMEDOUT)
            return rc;
        rc = copied(d, p, rc);
        if (rc)
            return rc;
    }
    int rc = sl_wait_thread(d, &p->f, u);
    if (!p->f.live)
        leave(p);
    return rc;
}

void device_put_abandon(const struct sl_dev *d, struct device_put *p)
{
    struct sl_until u = sl_until_default(d);
    if (p->ended)
        return;
    if (!p->copy)
        sl_abandon_thread(d, &p->f);
    else if (device_wait(p->copy, &u) != SL_ETIMEDOUT)
        undo(d, p);
    else
        log_error("put: a copy has not ended, its slot and chunks stay taken");
    leave(p);
}
