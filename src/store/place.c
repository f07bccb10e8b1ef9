/* SPDX-License-Identifier: Apache-2.0 */
#include "store/update.h"

#include <stdlib.h>
#include <string.h>

/* ---- units on a target below the arena ---- */

void update_drop_made(struct update *u)
{
    for (uint32_t i = 0; i < u->n_made; i++)
        if (u->made[i].len && u->made[i].target != TARGET_PINNED)
            limbo_add(u->sh, &u->made[i]);
    u->n_made = 0;
}

static void units_ended(struct update *u)
{
    int code = u->code;
    if (!code) {
        update_placed(u);
        return;
    }
    update_drop_made(u);
    u->code = 0;
    if (code == SL_ENOSPC)
        update_place(u); /* the next target may have room */
    else
        update_end(u, code);
}

static void unit_done(struct unit_io *io, int code)
{
    struct update *u = io->user;
    if (code) {
        io->e->len = 0; /* its space is free again */
        u->code = code;
    }
    if (--u->pending == 0)
        units_ended(u);
}

/* A unit's buffer must be aligned and have room for the padding. */
static int align_piece(struct update *u, struct piece *p)
{
    uint64_t at;
    if (p->klass >= SL_LENT_MIN_SHIFT && p->skip % TIER_BLOCK == 0)
        return 0;
    uint8_t klass = class_for(p->len < TIER_BLOCK ? TIER_BLOCK : p->len);
    if (chunk_alloc(u->sh->env.cache, klass, &at))
        return SL_ENOMEM;
    memcpy(shard_arena(u->sh) + at, shard_arena(u->sh) + p->chunk + p->skip,
           p->len);
    if (p->own)
        chunk_unref(u->sh->env.cache, p->chunk);
    p->chunk = at;
    p->klass = klass;
    p->skip = 0;
    p->own = 1;
    return 0;
}

static int room_for(struct update *u, uint32_t n)
{
    free(u->made);
    free(u->units);
    u->n_made = 0;
    u->made = calloc(n + 1u, sizeof(*u->made));
    u->units = calloc(n + 1u, sizeof(*u->units));
    return u->made && u->units ? 0 : SL_ENOMEM;
}

static int cut_units(struct update *u)
{
    uint32_t n = 0, k = 0;
    for (uint32_t i = 0; i < u->n; i++) {
        int rc = align_piece(u, &u->piece[i]);
        if (rc)
            return rc;
        n += (u->piece[i].len + UNIT_BYTES - 1u) / UNIT_BYTES;
    }
    if (room_for(u, n))
        return SL_ENOMEM;
    for (uint32_t i = 0; i < u->n; i++) {
        const struct piece *p = &u->piece[i];
        for (uint32_t at = 0; at < p->len; at += UNIT_BYTES, k++) {
            uint32_t left = p->len - at;
            u->made[k] =
                extent_of(p->off + at, left < UNIT_BYTES ? left : UNIT_BYTES);
            u->units[k].io.buf = shard_arena(u->sh) + p->chunk + p->skip + at;
        }
    }
    u->n_made = n;
    return 0;
}

static void place_units(struct update *u, int target)
{
    int rc = cut_units(u);
    uint32_t i = 0;
    u->pending = 1; /* ours, so that completions inside the loop do not end */
    for (; !rc && i < u->n_made; i++) {
        struct unit_io *io = &u->units[i];
        io->sh = u->sh;
        io->e = &u->made[i];
        io->done = unit_done;
        io->user = u;
        u->pending++;
        rc = unit_write(io, target, io->io.buf);
        if (rc) {
            u->pending--;
            break;
        }
    }
    for (; i < u->n_made; i++)
        u->made[i].len = 0; /* never written */
    if (rc)
        u->code = rc;
    if (--u->pending == 0)
        units_ended(u);
}

/* ---- the pinned tier ---- */

static void uncharge(struct update *u, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        shard_discharge(u->sh, UINT64_C(1) << u->piece[i].klass);
}

static int keep_pieces(struct update *u)
{
    int rc = room_for(u, u->n);
    for (uint32_t i = 0; i < u->n && !rc; i++)
        if (shard_charge(u->sh, UINT64_C(1) << u->piece[i].klass)) {
            uncharge(u, i);
            return SL_ENOSPC;
        }
    for (uint32_t i = 0; i < u->n && !rc; i++) {
        const struct piece *p = &u->piece[i];
        u->made[i] = extent_pinned(p->off, p->len, p->chunk, p->skip, p->klass);
    }
    u->n_made = u->n;
    if (!rc)
        rc = blob_merge(u->b, u->made, u->n_made, u->replace, &u->merged);
    if (rc)
        uncharge(u, u->n);
    return rc;
}

static void place_pinned(struct update *u)
{
    int rc = keep_pieces(u);
    if (rc == SL_ENOSPC) {
        update_place(u);
        return;
    }
    if (rc) {
        u->n_made = 0;
        update_end(u, rc);
        return;
    }
    for (uint32_t i = 0; i < u->n; i++) {
        u->piece[i].own = 0; /* the extents' now */
        if (u->piece[i].chunk == u->source && u->source) {
            u->source = 0;
            put_exchange(u->sh, u->t, u->source_klass, NULL);
        }
    }
    update_publish(u);
}

static void place_again(void *user, int code)
{
    (void)code; /* what there is now is tried in any case */
    update_place(user);
}

/* Nowhere is room. What was replaced or deleted shortly before is still taken,
 * until the metadata is committed; so that is done, once. */
static void place_none(struct update *u)
{
    int again = !u->settled &&
                __atomic_load_n(&u->sh->store->settling, __ATOMIC_RELAXED);
    u->settled = 1;
    u->tried = 0;
    if (!again || settle_all(u->sh, place_again, u))
        update_end(u, SL_ENOSPC);
}

void update_place(struct update *u)
{
    const struct store *s = u->sh->store;
    if (u->persist || u->kind != UPDATE_PUT) {
        if (u->tried++)
            place_none(u);
        else
            place_units(u, TARGET_FILE);
        return;
    }
    if (u->tried == s->n_order) {
        place_none(u);
        return;
    }
    int target = s->order[(u->try_at + u->tried) % s->n_order];
    u->tried++;
    if (target == TARGET_PINNED)
        place_pinned(u);
    else
        place_units(u, target);
}
