/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Slots: take one, settle what its last task left, give it back.
 *
 * One call of the leader. A taker begins at a home bit of its own, so threads
 * of a converged warp take neighbouring slots and seldom meet others.
 */
#ifndef SLUICE_DEVICE_SLOT_H
#define SLUICE_DEVICE_SLOT_H

SL_FN struct sl_until sl_until_default(const struct sl_dev *d)
{
    return sl_until_ns(d->timeout_ns);
}

/* Every so many rounds a wait asks whether it must end; a round is a poll of
 * host memory, 1 to 2 us. */
#define SLS_LOOK 15u
/* Every so many it reads the channel's state, which is host memory too. */
#define SLS_STATE 255u
/* A tick is at least half a nanosecond (2 GHz); a slice is at most 33 ms. */
#define SLS_SLICE_MAX (UINT64_C(1) << 26)

/** Sets when to look at the real clock next: after a quarter of what is left.
 */
SL_FN void sls_slice(struct sl_until *u, uint64_t ticks, uint64_t left_ns)
{
    uint64_t slice = left_ns / 4u;
    u->look = ticks + (slice < SLS_SLICE_MAX ? slice : SLS_SLICE_MAX);
}

SL_FN int sls_late(struct sl_until *u)
{
    uint64_t ticks = slp_ticks();
    if (!u->begun) {
        u->begun = ticks;
        sls_slice(u, ticks, u->timeout_ns);
        return u->timeout_ns == 0;
    }
    if (ticks < u->look)
        return 0;
    uint64_t now = slp_now();
    if (!u->deadline_ns) /* what has passed counts, at half a ns a tick */
        u->deadline_ns = now + u->timeout_ns - (ticks - u->begun) / 2u;
    if (now >= u->deadline_ns)
        return 1;
    sls_slice(u, ticks, u->deadline_ns - now);
    return 0;
}

/** Why a wait must end now, or 0. */
SL_FN int sls_ended(const struct sl_dev *d, struct sl_until *u, uint32_t round)
{
    if ((round & SLS_STATE) == SLS_STATE &&
        slp_load32(&d->header->state) == SL_CHANNEL_DEAD)
        return SL_EDEAD;
    if (u->stop && slp_load32(u->stop))
        return SL_ESTOPPED;
    return sls_late(u) ? SL_ETIMEDOUT : 0;
}

/** Bit of the slot where this caller looks first. */
SL_FN uint32_t sls_home(const struct sl_dev *d, int form)
{
    uint32_t words = d->n_slots / 32u;
    uint32_t warp =
        slp_block() * ((slp_threads() + 31u) / 32u) + slp_thread() / 32u;
#if defined(SL_ON_HOST)
    /* A plain thread has no index; its stack's address tells it from others. */
    if (slp_threads() == 1)
        return (uint32_t)sl_mix64(
                   (uint64_t)(uintptr_t)__builtin_frame_address(0) >> 14) %
               d->n_slots;
#endif
    if (form == SL_THREAD)
        return (warp % words) * 32u + slp_lane();
    return (warp % words) * 32u + (warp / words) % 32u;
}

/** Takes what the reply of an ended task gives: a chunk, or a hold to release.
 */
SL_FN void sls_settle(const struct sl_dev *d, uint32_t slot, uint32_t seq,
                      uint8_t kind, uint64_t reply)
{
    if (kind == SL_KIND_EXCHANGE)
        d->slots[slot].chunk = sl_reply_value(reply);
    else if (kind == SL_KIND_SIDE)
        d->slots[slot].side = sl_reply_value(reply);
    else if (kind == SL_KIND_HOLD && sl_reply_value(reply))
        slp_store32(&d->releases[slot], seq); /* partner: hold sweep */
}

/** Tries to take over an abandoned slot of one word. */
SL_FN int sls_adopt(const struct sl_dev *d, uint32_t word, uint32_t *slot)
{
    uint32_t left = slp_peek(&d->abandoned[word]);
    while (left) {
        uint32_t bit = left & (0u - left);
        uint32_t s = word * 32u + slg_lowest(left);
        left &= ~bit;
        if (!(slp_and(&d->abandoned[word], ~bit) & bit))
            continue; /* another taker was first */
        const struct sl_slot_local *l = &d->slots[s];
        uint64_t reply = slp_load64(&d->replies[s]);
        if (sl_reply_is(reply, l->seq)) {
            sls_settle(d, s, l->seq, l->kind, reply);
            *slot = s;
            return 1;
        }
        slp_or(&d->abandoned[word], bit); /* not answered yet: put it back */
    }
    return 0;
}

/** Gives the slot back; its task has ended and is settled. */
SL_FN void sls_give(const struct sl_dev *d, uint32_t slot)
{
    /* partner: sls_take_of */
    slp_give(&d->taken[slot / 32u], ~(1u << (slot % 32u)));
}

/** Tries one word of the map, bit `prefer` first. */
SL_FN int sls_take_of(const struct sl_dev *d, uint32_t word, uint32_t prefer,
                      uint32_t *slot)
{
    uint32_t old = 0;
    for (uint32_t bit = prefer; ~old; bit = slg_lowest(~old)) {
        old = slp_take(&d->taken[word], 1u << bit); /* partner: sls_give */
        if (!((old >> bit) & 1u)) {
            *slot = word * 32u + bit;
            return 1;
        }
    }
    return 0;
}

/** Adopts an abandoned slot of one word, in place of the one that was taken.
 *  True when *slot is the caller's. */
SL_FN int sls_prefer_left(const struct sl_dev *d, uint32_t word, int taken,
                          uint32_t *slot)
{
    uint32_t left = 0;
    if (!sls_adopt(d, word, &left))
        return taken;
    if (taken)
        sls_give(d, *slot);
    *slot = left;
    return 1;
}

/** Takes a slot; waits when all are taken (back-pressure). SL_ETIMEDOUT,
 *  SL_EDEAD, SL_ESTOPPED: nothing was taken. */
SL_FN int sls_take(const struct sl_dev *d, int form, struct sl_until *u,
                   uint32_t *slot)
{
    uint32_t words = d->n_slots / 32u;
    uint32_t home = sls_home(d, form);
    uint32_t word = home / 32u;
    /* Asked for before the take, so that both are under way at once: a slot
     * that was given up may keep chunks from others, however many are free. */
    uint32_t left = slp_peek(&d->abandoned[word]);
    int taken = sls_take_of(d, word, home % 32u, slot);
    if (left)
        taken = sls_prefer_left(d, word, taken, slot);
    if (taken)
        return 0;
    /* One word a round: many takers that scan all words at once would keep
     * those busy who give slots back. */
    for (uint32_t round = 0;; round++) {
        word = word + 1u < words ? word + 1u : 0u;
        uint32_t open = ~slp_peek(&d->taken[word]);
        if (open && sls_take_of(d, word, slg_lowest(open), slot))
            return 0;
        if (sls_adopt(d, word, slot))
            return 0;
        if (round >= words && (round & SLS_LOOK) == SLS_LOOK) {
            int rc = sls_ended(d, u, round);
            if (rc)
                return rc;
        }
        slp_pause(round);
    }
}

#endif
