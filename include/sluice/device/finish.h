/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * How the futures of blob.h end, once for all forms: by a wait, or given up.
 */
#ifndef SLUICE_DEVICE_FINISH_H
#define SLUICE_DEVICE_FINISH_H

/** All ranks: copies what a get's reply names to its destination. */
SL_FN void slb_collect(const struct sl_dev *d, const struct slg *g,
                       const struct sl_future *f, uint64_t reply)
{
    const uint8_t *at = d->arena + sl_reply_value(reply);
    if (!sl_reply_list(reply)) {
        slc_copy(g, f->data, at, f->size, 0);
        return;
    }
    uint64_t n = slp_ldv(at).a;
    uint64_t done = 0;
    for (uint64_t i = 0; i < n; i++) {
        struct slp_v16 s = slp_ldv(at + 16u + 16u * i);
        if (s.b > f->size - done)
            s.b = f->size - done; /* never past the caller's buffer */
        if (s.a == SL_SEGMENT_ZERO)
            slc_zero(g, f->data + done, s.b);
        else
            slc_copy(g, f->data + done, d->arena + s.a, s.b, 0);
        done += s.b;
    }
}

/** All ranks: copies an answer out of the slot's side chunk. */
SL_FN void slb_take_answer(const struct sl_dev *d, const struct slg *g,
                           const struct sl_future *f)
{
    uint64_t side = g->rank == 0 ? d->slots[f->slot].side : 0;
    side = slg_share64(g, side);
    slc_copy(g, f->data, d->arena + side, f->size, 0);
}

/** Leader: settles the ended task and gives the slot back. */
SL_FN void slb_finish(const struct sl_dev *d, struct sl_future *f,
                      uint64_t reply)
{
    sls_settle(d, f->slot, f->seq, f->kind, reply);
    sls_give(d, f->slot);
}

/** Waits for the reply of a live future. 0: code, value and result are there,
 *  and slb_leave must follow. */
SL_FN int slb_arrive(const struct sl_dev *d, const struct slg *g,
                     struct sl_future *f, struct sl_until *u, uint64_t *reply)
{
    int rc = 0;
    if (g->rank == 0)
        rc = slm_poll(d, f->slot, f->seq, u, reply);
    rc = (int)slg_share32(g, (uint32_t)rc);
    if (rc) {
        if (rc == SL_EDEAD) {
            f->live = 0; /* nobody will answer: the channel is lost */
            f->code = rc;
        }
        return rc;
    }
    *reply = slg_share64(g, *reply);
    slg_sync(g); /* the leader's acquire counts for all ranks */
    f->code = sl_reply_code(*reply);
    f->value = sl_reply_value(*reply);
    f->live = 0;
    if (f->want || f->code == SL_EPASTEND)
        slm_result(d, f->slot, &f->result);
    return 0;
}

/** All have read: the slot goes back. */
SL_FN void slb_leave(const struct sl_dev *d, const struct slg *g,
                     struct sl_future *f, uint64_t reply)
{
    slg_sync(g);
    if (g->rank == 0)
        slb_finish(d, f, reply);
}

/**
 * Ends a future, or says why it has not ended. Any group form; the same form
 * began it.
 */
SL_FN int slb_wait(const struct sl_dev *d, int form, struct sl_future *f,
                   struct sl_until *u)
{
    struct slg g = slg_make(form);
    uint64_t reply = 0;
    if (!f->live)
        return f->code;
    int rc = slb_arrive(d, &g, f, u, &reply);
    if (rc)
        return rc;
    if (f->kind == SL_KIND_HOLD && f->code == 0 && f->size)
        slb_collect(d, &g, f, reply);
    if (f->kind == SL_KIND_ANSWER && f->code == 0 && f->size)
        slb_take_answer(d, &g, f);
    slb_leave(d, &g, f, reply);
    return f->code;
}

/** Gives up; who next looks for a slot settles it. */
SL_FN void slb_abandon(const struct sl_dev *d, int form, struct sl_future *f)
{
    struct slg g = slg_make(form);
    if (f->live && g.rank == 0) /* partner: sls_adopt */
        slp_or(&d->abandoned[f->slot / 32u], 1u << (f->slot % 32u));
    f->live = 0;
    f->code = SL_ECANCELED;
}

/** Waits at most the channel's time; what did not end by then is abandoned. */
SL_FN int slb_finish_now(const struct sl_dev *d, int form, struct sl_future *f)
{
    struct sl_until u = sl_until_default(d);
    int rc = slb_wait(d, form, f, &u);
    if (f->live)
        slb_abandon(d, form, f);
    return rc;
}

#endif
