/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * From a request to its reply: write the cell, publish, poll.
 *
 * Calls of the leader, which owns the slot.
 */
#ifndef SLUICE_DEVICE_SUBMIT_H
#define SLUICE_DEVICE_SUBMIT_H

/** What goes into a cell; the fields of struct sl_cell. */
struct slm_request {
    uint64_t tag, offset, size, chunk, side;
    const uint8_t *name;    /* in the body when name_len > 0 and no SL_F_SIDE */
    const uint8_t *payload; /* in the body behind it: inlined bytes */
    uint32_t inlined;
    uint32_t name_len;
    uint32_t coded; /* bytes in the chunk, of SL_F_CODED */
    uint16_t pool, method, container, flags, score, context;
    uint8_t klass, persist, codec, high, kind;
};

SL_FN void slm_request_init(struct slm_request *q, uint32_t pool,
                            uint32_t method)
{
    q->tag = 0;
    q->offset = 0;
    q->size = 0;
    q->chunk = 0;
    q->side = 0;
    q->name = 0;
    q->payload = 0;
    q->inlined = 0;
    q->name_len = 0;
    q->coded = 0;
    q->pool = (uint16_t)pool;
    q->method = (uint16_t)method;
    q->container = 0;
    q->flags = 0;
    q->score = (uint16_t)SL_SCORE_AUTO;
    q->context = 0;
    q->klass = 0;
    q->persist = 0;
    q->codec = 0;
    q->high = 0;
    q->kind = SL_KIND_PLAIN;
}

/* Eight bytes of the body from position `at`: name, then payload. */
SL_FN uint64_t slm_body_word(const struct slm_request *q, uint32_t named,
                             uint32_t at)
{
    uint64_t w = 0;
    for (uint32_t k = 0; k < 8u; k++) {
        uint32_t i = at + k;
        if (i < named)
            w |= (uint64_t)slp_ldb(q->name + i) << (8u * k);
        else if (i < named + q->inlined)
            w |= (uint64_t)slp_ldb(q->payload + (i - named)) << (8u * k);
    }
    return w;
}

SL_FN void slm_write_cell(const struct sl_dev *d, uint32_t slot, uint32_t seq,
                          const struct slm_request *q)
{
    uint8_t *c = (uint8_t *)&d->cells[slot];
    uint32_t named = (q->flags & SL_F_SIDE) ? 0 : q->name_len;
    struct slp_v16 v;
    v.a = seq | ((uint64_t)q->pool << 32) | ((uint64_t)q->method << 48);
    v.b = q->container | ((uint64_t)q->flags << 16) |
          ((uint64_t)(q->name_len & 255u) << 32) | ((uint64_t)q->klass << 40) |
          ((uint64_t)q->persist << 48) | ((uint64_t)q->codec << 56);
    slp_stv(c, v);
    v.a = q->tag;
    v.b = q->offset;
    slp_stv(c + 16, v);
    v.a = q->size;
    v.b = q->chunk;
    slp_stv(c + 32, v);
    v.a = q->side;
    v.b = q->score | ((uint64_t)q->context << 16) | ((uint64_t)q->coded << 32);
    slp_stv(c + 48, v);
    for (uint32_t at = 0; at < named + q->inlined; at += 16u) {
        v.a = slm_body_word(q, named, at);
        v.b = slm_body_word(q, named, at + 8u);
        slp_stv(c + 64 + at, v);
    }
}

/** Writes the cell and its ring entry; the slot's payload was written before.
 */
SL_FN uint32_t slm_submit(const struct sl_dev *d, uint32_t slot,
                          const struct slm_request *q)
{
    struct sl_slot_local *l = &d->slots[slot];
    uint32_t ring = q->container + (q->high ? d->n_lanes : 0u);
    /* The ticket is asked for first, so that it comes while the cell is
     * written; nothing in between can fail. */
    uint64_t t = slp_add(&d->tickets[(uint64_t)ring * 16u], 1u);
    uint32_t seq = l->seq + 1u;
    l->seq = seq;
    l->kind = q->kind; /* for who adopts the slot */
    slm_write_cell(d, slot, seq, q);
    uint64_t size = (uint64_t)1 << d->ring_shift;
    uint64_t at = ((uint64_t)ring << d->ring_shift) + (t & (size - 1u));
    /* Releases payload, side chunk and cell to the worker's acquire in take. */
    slp_store64(&d->rings[at], sl_entry_make(t, d->ring_shift, slot));
    return seq;
}

/** Polls until the reply of `seq` is there. SL_EAGAIN: tested once, not there.
 */
SL_FN int slm_poll(const struct sl_dev *d, uint32_t slot, uint32_t seq,
                   struct sl_until *u, uint64_t *reply)
{
    for (uint32_t round = 0;; round++) {
        /* Acquires result, chunk bytes and side chunk from the worker. */
        uint64_t r = slp_load64(&d->replies[slot]);
        if (sl_reply_is(r, seq)) {
            *reply = r;
            return 0;
        }
        if (!u->timeout_ns)
            return SL_EAGAIN;
        if ((round & SLS_LOOK) == SLS_LOOK) {
            int rc = sls_ended(d, u, round);
            if (rc)
                return rc;
        }
        slp_pause(round);
    }
}

SL_FN void slm_result(const struct sl_dev *d, uint32_t slot,
                      struct sl_result *out)
{
    struct slp_v16 a = slp_ldv(&d->results[slot].v[0]);
    struct slp_v16 b = slp_ldv(&d->results[slot].v[2]);
    out->v[0] = a.a;
    out->v[1] = a.b;
    out->v[2] = b.a;
    out->v[3] = b.b;
}

/** What a leader found while preparing a task. */
struct slm_prep {
    int rc;
    uint32_t slot;
    int stuck; /* a call of the preparation is still in flight */
};

/**
 * A task that belongs to another one in preparation: sent from the same slot
 * and waited for; its code becomes p->rc, its value is returned. When no reply
 * comes in time the slot stays in flight (p->stuck).
 */
SL_FN uint64_t slm_call(const struct sl_dev *d, struct slm_prep *p,
                        const struct slm_request *q, struct sl_until *u)
{
    uint64_t reply = 0;
    uint32_t seq = slm_submit(d, p->slot, q);
    p->rc = slm_poll(d, p->slot, seq, u, &reply);
    if (p->rc) {
        p->stuck = 1;
        return 0;
    }
    sls_settle(d, p->slot, seq, q->kind, reply);
    p->rc = sl_reply_code(reply);
    return sl_reply_value(reply);
}

/** Leaves a preparation that failed. */
SL_FN void slm_undo(const struct sl_dev *d, const struct slm_prep *p)
{
    if (p->stuck) /* partner: sls_adopt */
        slp_or(&d->abandoned[p->slot / 32u], 1u << (p->slot % 32u));
    else
        sls_give(d, p->slot);
}

#endif
