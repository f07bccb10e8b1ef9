/* SPDX-License-Identifier: Apache-2.0 */
#include "store/update.h"

#include <stdlib.h>
#include <string.h>

/*
 * Space first, then bytes: every piece gets its places, or all are given back.
 * A piece is kept in its chunk when the pinned tier is next in the order and
 * has room; else it is cut into units, each on the first target with room.
 */

/* ---- giving back ---- */

static struct unit_io *unit_of(const struct update *u, uint32_t i)
{
    return &u->units[i - u->n_ready];
}

static void drop_last(struct update *u)
{
    uint32_t i = --u->n_made;
    const struct extent *e = &u->made[i];
    if (e->target != TARGET_PINNED) {
        unit_free(u->sh, e);
        return;
    }
    shard_discharge(u->sh, UINT64_C(1) << e->klass);
    if (i < u->n_ready || unit_of(u, i)->own_chunk)
        chunk_unref(u->sh->env.cache, e->loc);
}

void update_drop_window(struct update *u)
{
    while (u->n_made > u->n_ready)
        drop_last(u);
    for (uint32_t i = 0; i < u->n; i++)
        u->piece[i].kept = 0;
}

void update_drop_made(struct update *u)
{
    update_drop_window(u);
    while (u->n_made)
        drop_last(u);
    u->n_ready = 0;
}

void update_keep(struct update *u)
{
    for (uint32_t i = 0; i < u->n; i++) {
        struct piece *p = &u->piece[i];
        if (!p->kept)
            continue;
        p->own = 0;
        if (u->source && p->chunk == u->source) {
            u->source = 0;
            put_exchange(u->sh, u->t, u->source_klass, NULL);
        }
    }
}

/* ---- planning ---- */

/* Copies a piece into another chunk, which is ours. */
static void take_chunk(struct update *u, struct piece *p, uint64_t at,
                       uint8_t klass)
{
    memcpy(shard_arena(u->sh) + at, shard_arena(u->sh) + p->chunk + p->skip,
           p->len);
    if (p->own)
        chunk_unref(u->sh->env.cache, p->chunk);
    p->chunk = at;
    p->klass = klass;
    p->skip = 0;
    p->own = 1;
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
    take_chunk(u, p, at, klass);
    return 0;
}

static int room_for_units(struct update *u)
{
    uint32_t n = 1;
    for (uint32_t i = 0; i < u->n; i++)
        n += (u->piece[i].len + UNIT_BYTES - 1u) / UNIT_BYTES;
    struct extent *made = realloc(u->made, (u->n_ready + n) * sizeof(*u->made));
    free(u->units);
    u->units = calloc(n, sizeof(*u->units));
    if (made)
        u->made = made;
    return made && u->units ? 0 : SL_ENOMEM;
}

/* SL_ENOSPC: none of the order from number i on has room. `c` may be null; what
 * keeps nothing gets plain bytes, as nothing decodes there. A unit that moves
 * has no plain bytes here, so it stays coded where that saves nothing, too. */
static int plan_unit(struct update *u, uint32_t i, struct extent *e,
                     struct coded *c)
{
    const struct extent plain = *e;
    int rc = SL_ENOSPC;
    for (; i < u->n_order && rc == SL_ENOSPC; i++) {
        uint8_t t = u->order[i];
        if (t == TARGET_PINNED)
            continue;
        *e = plain;
        if (c && !(u->sh->choice.discards & TARGET_BIT(t)) &&
            (c->given || unit_stored(c->bytes) < unit_stored(c->len))) {
            coded_sum(c);
            coded_set(e, c);
        }
        rc = unit_alloc(u->sh, t, e);
    }
    return rc;
}

/* All of the piece on order[i] and what comes behind it. */
static int plan_units(struct update *u, struct piece *p, uint32_t i)
{
    int rc = p->stored ? 0 : align_piece(u, p);
    for (uint32_t at = 0, k = 0; at < p->len && !rc; at += UNIT_BYTES, k++) {
        uint32_t left = p->len - at;
        struct coded *c = coded_of(u, p, k);
        struct extent e =
            extent_of(p->off + at, left < UNIT_BYTES ? left : UNIT_BYTES);
        rc = plan_unit(u, i, &e, c);
        if (rc)
            break;
        u->made[u->n_made] = e;
        unit_of(u, u->n_made++)->io.buf =
            e.codec ? c->buf : shard_arena(u->sh) + p->chunk + p->skip + at;
    }
    return rc;
}

/* Unit number k of a piece in a chunk of its own, of just its class. */
static int plan_chunk(struct update *u, const struct piece *p, uint32_t k)
{
    const struct coded *c = coded_of(u, p, k);
    uint32_t at = k * UNIT_BYTES, left = p->len - at;
    uint32_t len = left < UNIT_BYTES ? left : UNIT_BYTES;
    uint32_t bytes = c ? c->bytes : len;
    uint8_t klass = class_for(bytes);
    uint64_t chunk;
    int rc = shard_charge(u->sh, UINT64_C(1) << klass);
    if (rc)
        return rc;
    if (chunk_alloc(u->sh->env.cache, klass, &chunk)) {
        shard_discharge(u->sh, UINT64_C(1) << klass);
        return SL_ENOMEM;
    }
    memcpy(shard_arena(u->sh) + chunk,
           c ? c->buf : shard_arena(u->sh) + p->chunk + p->skip + at, bytes);
    struct extent e = extent_pinned(p->off + at, len, chunk, 0, klass);
    if (c)
        coded_set(&e, c);
    u->made[u->n_made] = e;
    unit_of(u, u->n_made++)->own_chunk = 1;
    return 0;
}

static int plan_chunks(struct update *u, const struct piece *p)
{
    int rc = 0;
    for (uint32_t k = 0; k * UNIT_BYTES < p->len && !rc; k++)
        rc = plan_chunk(u, p, k);
    return rc;
}

/* A piece that fills less than half of its chunk, which may be all that is new
 * of a large put, goes to a smaller one: the rest of the chunk would be taken
 * for as long as the blob is there. Without such a chunk it stays. */
static void fit_piece(struct update *u, struct piece *p)
{
    uint8_t klass = class_for(p->len);
    uint64_t at;
    if (klass >= p->klass || chunk_alloc(u->sh->env.cache, klass, &at))
        return;
    take_chunk(u, p, at, klass);
}

/* A coded unit that has a chunk of just its class to itself stays there. */
static int stays_in_chunk(const struct piece *p)
{
    return p->stored && p->own && !p->skip &&
           p->klass == class_for(p->old.stored);
}

static int plan_pinned(struct update *u, struct piece *p)
{
    int stays = stays_in_chunk(p);
    if (!stays && coded_saves_chunks(u, p))
        return plan_chunks(u, p);
    if (!stays)
        fit_piece(u, p);
    int rc = shard_charge(u->sh, UINT64_C(1) << p->klass);
    if (rc)
        return rc;
    u->made[u->n_made] =
        extent_pinned(p->off, p->len, p->chunk, p->skip, p->klass);
    if (stays)
        coded_set(&u->made[u->n_made], coded_of(u, p, 0));
    u->n_made++;
    p->kept = 1;
    return 0;
}

/* Leaves nothing of the piece behind when it fails. */
static int plan_piece(struct update *u, struct piece *p)
{
    int rc = SL_ENOSPC;
    uint32_t before = u->n_made;
    for (uint32_t i = 0; i < u->n_order && rc == SL_ENOSPC; i++) {
        rc = u->order[i] == TARGET_PINNED ? plan_pinned(u, p)
                                          : plan_units(u, p, i);
        while (rc && u->n_made > before)
            drop_last(u);
    }
    return rc;
}

static uint32_t targets_for(const struct update *u)
{
    const struct choice *c = &u->sh->choice;
    uint32_t among = ~u->full;
    if (u->kind == UPDATE_MOVE)
        among &= u->to & ~c->discards;
    return u->persist ? among & c->lasting : among;
}

uint32_t update_order(const struct update *u, uint8_t order[TARGETS_MAX])
{
    const struct blob *b = u->b;
    uint64_t size = u->replace || u->hi > b->size ? u->hi : b->size;
    uint16_t score = b->score & 0xffffu;
    if (u->t && u->t->cell.score != SL_SCORE_AUTO)
        score = u->t->cell.score;
    return choice_order(u->sh, score, size, targets_for(u), order);
}

static int plan(struct update *u)
{
    int rc = room_for_units(u);
    u->n_order = update_order(u, u->order);
    for (uint32_t i = 0; i < u->n && !rc; i++) {
        rc = plan_piece(u, &u->piece[i]);
        if (!rc || u->kind != UPDATE_MOVE || i == 0)
            continue;
        for (uint32_t k = i; k < u->n; k++) /* what fits is moved */
            if (u->piece[k].own)
                chunk_unref(u->sh->env.cache, u->piece[k].chunk);
        u->n = i;
        u->last = 1;
        rc = 0;
    }
    if (rc)
        update_drop_window(u);
    return rc;
}

/* ---- writing ---- */

static void units_ended(struct update *u)
{
    int code = u->code;
    if (!code) {
        update_window_done(u);
        return;
    }
    update_drop_window(u);
    u->code = 0;
    if (code == SL_ENOSPC)
        update_place(u); /* the next target may have room */
    else
        update_fail(u, code);
}

static void unit_failed(struct update *u, const struct extent *e, int code)
{
    u->code = code;
    if (code == SL_ENOSPC)
        u->full |= TARGET_BIT(e->target);
}

static void unit_done(struct unit_io *io, int code)
{
    struct update *u = io->user;
    if (code)
        unit_failed(u, io->e, code);
    if (--u->pending == 0)
        units_ended(u);
}

/* Few bytes that are to be recorded go through the log: one sync makes bytes and
 * record durable, and nobody waits for the data file before the log. */
#define CARRY_BYTES 65536u
#define CARRY_EXTENTS 4096u

static int carries(const struct update *u)
{
    uint64_t bytes = 0;
    if (u->kind != UPDATE_PUT || !u->persist || u->plain || !u->n_made ||
        u->b->n > CARRY_EXTENTS)
        return 0;
    for (uint32_t i = 0; i < u->n_made; i++) {
        if (u->made[i].target == TARGET_PINNED)
            return 0;
        bytes += extent_space(&u->made[i]);
    }
    return bytes <= CARRY_BYTES;
}

void update_write(struct update *u)
{
    u->carries = carries(u) != 0;
    if (u->carries) {
        for (uint32_t i = 0; i < u->n_made; i++)
            unit_seal(&u->made[i], u->units[i].io.buf);
        update_placed(u);
        return;
    }
    u->pending = 1; /* ours, so that completions inside the loop do not end */
    for (uint32_t i = u->n_ready; i < u->n_made && !u->code; i++) {
        struct unit_io *io = unit_of(u, i);
        if (u->made[i].target == TARGET_PINNED)
            continue;
        io->sh = u->sh;
        io->e = &u->made[i];
        io->done = unit_done;
        io->user = u;
        u->pending++;
        int rc = unit_write(io, io->io.buf);
        if (rc) {
            u->pending--;
            unit_failed(u, io->e, rc);
        }
    }
    if (--u->pending == 0)
        units_ended(u);
}

/* ---- when nothing has room ---- */

/* What the other shards have charged ahead, and what no read keeps any more. */
static int give_part(struct scatter *s, struct shard *sh)
{
    (void)s;
    shard_give_credit(sh);
    limbo_advance(sh);
    return 0;
}

static void given(struct scatter *s, int code)
{
    (void)code;
    update_place(s->user);
}

static void settled(void *user, int code)
{
    (void)code; /* what there is now is tried in any case */
    update_place(user);
}

/* Each once: what was replaced or deleted shortly before is still taken until
 * the metadata is committed, and shards have a little space ahead. False when
 * nothing is left to ask for. */
static int ask_for_space(struct update *u)
{
    /* Relaxed: a hint whether a commit is worth it. Partner: settle.c. */
    if (!u->settled &&
        __atomic_load_n(&u->sh->store->settling, __ATOMIC_RELAXED)) {
        u->settled = 1;
        if (!settle_all(u->sh, settled, u))
            return 1;
    }
    if (u->kind == UPDATE_PUT && !u->asked) {
        u->asked = 1;
        if (!scatter_start(u->sh, NULL, give_part, given, u))
            return 1;
    }
    return 0;
}

void update_place(struct update *u)
{
    int rc = plan(u);
    if (!rc)
        update_write(u);
    else if (rc != SL_ENOSPC || !ask_for_space(u))
        update_fail(u, rc);
}
