/* SPDX-License-Identifier: Apache-2.0 */
#include "store/shard.h"

#include <stdlib.h>
#include <string.h>

/*
 * The long way of a put: any range over any extents, to any target, recorded
 * when asked. The blob is busy meanwhile: writers queue, readers see the old
 * version until it is published.
 *
 *   gather -> load (what sticks out) -> overlay -> place --pinned--> publish
 *                                          |                          ^
 *                                          +--> write units --> record +
 *
 * What is to become extents are pieces: runs of bytes in chunks. A piece's
 * chunk is `own` when a reference of it is ours; the producer's lent chunk is
 * not, until the pinned tier adopts it.
 */

struct piece {
    uint64_t off; /* in the blob */
    uint64_t chunk;
    uint32_t len, skip;
    uint8_t klass;
    uint8_t own;
    uint8_t load; /* its bytes come from `old` first */
    struct extent old;
    struct unit_io io;
};

struct update {
    struct shard *sh;
    struct blob *b;
    struct sl_task *t; /* null: only persist */
    void (*done)(void *user, int code);
    void *user;
    uint64_t lo, hi;            /* range of the put */
    uint64_t list[SL_LIST_MAX]; /* chunks of a listed put, ours until placed */
    uint32_t n_list;
    struct piece *piece;
    uint32_t n, cap;
    uint32_t pending;
    int code;
    uint8_t persist;
    uint8_t replace;
    uint8_t adopted; /* the producer's chunk is ours */
    uint32_t try_at; /* index into the store's order */
    uint32_t tried;
    struct extent *made;
    struct unit_io *units;
    uint32_t n_made, n_written;
    struct merged merged;
};

/* ---- the end ---- */

static void free_pieces(struct update *u)
{
    for (uint32_t i = 0; i < u->n; i++)
        if (u->piece[i].own)
            chunk_unref(u->sh->env.cache, u->piece[i].chunk);
    for (uint32_t i = 0; i < u->n_list; i++)
        if (u->list[i])
            chunk_unref(u->sh->env.cache, u->list[i]);
}

static void end(struct update *u, int code)
{
    struct shard *sh = u->sh;
    struct sl_task *t = u->t;
    free_pieces(u);
    blob_leave(sh, u->b);
    if (t)
        sh->env.finish(t, code);
    else
        u->done(u->user, code);
    free(u->piece);
    free(u->made);
    free(u->units);
    free(u->merged.ext);
    free(u);
}

/* Units that were written and will not be published. */
static void drop_made(struct update *u)
{
    for (uint32_t i = 0; i < u->n_made; i++)
        if (u->made[i].len && u->made[i].target != TARGET_PINNED)
            limbo_add(u->sh, &u->made[i]);
    u->n_made = 0;
}

static void publish(struct update *u)
{
    struct blob *b = u->b;
    blob_publish(u->sh, b, &u->merged);
    b->persist = u->persist;
    if (u->persist)
        b->recorded = 1;
    if (u->t)
        put_done(u->t, b);
    end(u, 0);
}

static void recorded(struct change *c, int code)
{
    struct update *u = c->user;
    change_release(c);
    if (code) {
        drop_made(u);
        end(u, code);
        return;
    }
    publish(u);
}

/* Sizes and versions as they will be after publish. */
static void record(struct update *u)
{
    struct blob *b = u->b;
    struct change *c;
    int rc = b->tag->dead ? SL_ENOTAG : change_blob(u->sh, b, &u->merged, &c);
    if (rc) {
        drop_made(u);
        end(u, rc);
        return;
    }
    c->done = recorded;
    c->user = u;
    c->meta.blob.persist = u->persist;
    c->meta.blob.size = u->replace || u->hi > b->size ? u->hi : b->size;
    c->meta.blob.version = b->version + (u->t ? 1u : 0u);
    c->meta.blob.changed_ns = b->changed_ns ? b->changed_ns : b->created_ns;
    if (u->t) {
        c->meta.blob.context = u->t->cell.context;
        if (u->t->cell.score != SL_SCORE_AUTO)
            c->meta.blob.score = u->t->cell.score;
    }
    change_submit(c);
}

static void placed(struct update *u)
{
    int rc = blob_merge(u->b, u->made, u->n_made, u->replace, &u->merged);
    if (rc) {
        drop_made(u);
        end(u, rc);
    } else if (u->persist) {
        record(u);
    } else {
        publish(u);
    }
}

/* ---- place: units on a target below ---- */

static void place(struct update *u);

static void units_ended(struct update *u)
{
    int code = u->code;
    if (!code) {
        placed(u);
        return;
    }
    drop_made(u);
    u->code = 0;
    if (code == SL_ENOSPC)
        place(u); /* the next target may have room */
    else
        end(u, code);
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

static int cut_units(struct update *u)
{
    uint32_t n = 0, k = 0;
    for (uint32_t i = 0; i < u->n; i++) {
        int rc = align_piece(u, &u->piece[i]);
        if (rc)
            return rc;
        n += (u->piece[i].len + UNIT_BYTES - 1u) / UNIT_BYTES;
    }
    free(u->made);
    free(u->units);
    u->made = calloc(n + 1u, sizeof(*u->made));
    u->units = calloc(n + 1u, sizeof(*u->units));
    if (!u->made || !u->units)
        return SL_ENOMEM;
    for (uint32_t i = 0; i < u->n; i++) {
        const struct piece *p = &u->piece[i];
        for (uint32_t at = 0; at < p->len; at += UNIT_BYTES, k++) {
            uint32_t left = p->len - at;
            u->made[k].off = p->off + at;
            u->made[k].len = left < UNIT_BYTES ? left : UNIT_BYTES;
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

/* ---- place: the pinned tier ---- */

static void uncharge(struct update *u, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        shard_discharge(u->sh, UINT64_C(1) << u->piece[i].klass);
}

/* The lent chunk becomes ours; the producer gets another one if there is. */
static int adopt_source(struct update *u, struct piece *p)
{
    struct arena *a = u->sh->store->config.arena;
    struct sl_task *t = u->t;
    uint32_t klass;
    uint64_t at;
    int rc = chunk_adopt(a, p->chunk, t->channel->id, &klass);
    if (rc)
        return rc;
    p->own = 1;
    t->value = 0;
    if (t->cell.flags & SL_F_NOEXCHANGE)
        return 0;
    if (chunk_alloc(u->sh->env.cache, klass, &at) == 0) {
        chunk_lend(a, at, t->channel->id);
        t->value = at;
    }
    return 0;
}

static int keep_pieces(struct update *u)
{
    uint32_t i = 0;
    free(u->made);
    u->made = calloc(u->n + 1u, sizeof(*u->made));
    if (!u->made)
        return SL_ENOMEM;
    for (; i < u->n; i++)
        if (shard_charge(u->sh, UINT64_C(1) << u->piece[i].klass)) {
            uncharge(u, i);
            return SL_ENOSPC;
        }
    for (i = 0; i < u->n; i++) {
        struct piece *p = &u->piece[i];
        int rc = p->own ? 0 : adopt_source(u, p);
        if (rc) {
            uncharge(u, u->n);
            return rc;
        }
    }
    for (i = 0; i < u->n; i++) {
        const struct piece *p = &u->piece[i];
        u->made[i] = (struct extent){.off = p->off,
                                     .loc = p->chunk,
                                     .len = p->len,
                                     .skip = p->skip,
                                     .target = TARGET_PINNED,
                                     .klass = p->klass};
    }
    u->n_made = u->n;
    return blob_merge(u->b, u->made, u->n_made, u->replace, &u->merged);
}

static void place_pinned(struct update *u)
{
    int rc = keep_pieces(u);
    if (rc == SL_ENOSPC) {
        place(u);
        return;
    }
    if (rc) {
        if (u->n_made)
            uncharge(u, u->n);
        end(u, rc);
        return;
    }
    for (uint32_t i = 0; i < u->n; i++)
        u->piece[i].own = 0; /* the extents' now */
    publish(u);
}

/* From the target that the score asks for downwards, then the faster ones. */
static void place(struct update *u)
{
    const struct store *s = u->sh->store;
    if (u->persist) {
        if (u->tried++)
            end(u, SL_ENOSPC);
        else
            place_units(u, TARGET_FILE);
        return;
    }
    if (u->tried == s->n_order) {
        end(u, SL_ENOSPC);
        return;
    }
    int target = s->order[(u->try_at + u->tried) % s->n_order];
    u->tried++;
    if (target == TARGET_PINNED)
        place_pinned(u);
    else
        place_units(u, target);
}

/* ---- overlay ---- */

static const uint8_t *source_at(const struct update *u, uint64_t at,
                                uint64_t *left)
{
    const struct sl_task *t = u->t;
    if (t->cell.flags & SL_F_INLINE)
        return t->payload + at;
    if (!(t->cell.flags & SL_F_LIST))
        return shard_arena(u->sh) + t->cell.chunk + at;
    uint64_t in = at % SL_CHUNK_MAX;
    if (*left > SL_CHUNK_MAX - in)
        *left = SL_CHUNK_MAX - in;
    return shard_arena(u->sh) + u->list[at / SL_CHUNK_MAX] + in;
}

/* Copies the part of the put that falls into a piece of old bytes. */
static void overlay(struct update *u, const struct piece *p)
{
    uint64_t at = p->off > u->lo ? p->off : u->lo;
    uint64_t stop = p->off + p->len < u->hi ? p->off + p->len : u->hi;
    while (u->t && at < stop) {
        uint64_t n = stop - at;
        const uint8_t *src = source_at(u, at - u->lo, &n);
        memcpy(shard_arena(u->sh) + p->chunk + p->skip + (at - p->off), src, n);
        at += n;
    }
}

static void give_list(struct update *u)
{
    for (uint32_t i = 0; i < u->n_list; i++)
        for (uint32_t k = 0; k < u->n; k++)
            if (!u->piece[k].load && u->piece[k].chunk == u->list[i]) {
                u->piece[k].own = 1;
                u->list[i] = 0;
                break;
            }
}

static void loaded(struct update *u)
{
    if (u->code) {
        end(u, u->code);
        return;
    }
    for (uint32_t i = 0; i < u->n; i++)
        if (u->piece[i].load)
            overlay(u, &u->piece[i]);
    give_list(u);
    place(u);
}

/* ---- load ---- */

static void load_done(struct unit_io *io, int code)
{
    struct update *u = io->user;
    if (code)
        u->code = code;
    if (--u->pending == 0)
        loaded(u);
}

static int load_piece(struct update *u, struct piece *p)
{
    uint8_t *to = shard_arena(u->sh) + p->chunk;
    if (p->old.target == TARGET_PINNED) {
        memcpy(to, shard_arena(u->sh) + p->old.loc + p->old.skip, p->old.len);
        return 0;
    }
    p->io.sh = u->sh;
    p->io.e = &p->old;
    p->io.done = load_done;
    p->io.user = u;
    u->pending++;
    int rc = unit_read(&p->io, to);
    if (rc)
        u->pending--;
    return rc;
}

static void load(struct update *u)
{
    u->pending = 1;
    for (uint32_t i = 0; i < u->n && !u->code; i++)
        if (u->piece[i].load)
            u->code = load_piece(u, &u->piece[i]);
    if (--u->pending == 0)
        loaded(u);
}

/* ---- gather ---- */

static struct piece *add_piece(struct update *u)
{
    struct piece *p = &u->piece[u->n++];
    memset(p, 0, sizeof(*p));
    return p;
}

/* Old bytes that are to be rewritten whole. */
static int add_old(struct update *u, const struct extent *e)
{
    struct piece *p = add_piece(u);
    p->off = e->off;
    p->len = e->len;
    p->old = *e;
    p->load = 1;
    p->klass = class_for(e->len < TIER_BLOCK ? TIER_BLOCK : e->len);
    if (chunk_alloc(u->sh->env.cache, p->klass, &p->chunk)) {
        u->n--;
        return SL_ENOMEM;
    }
    p->own = 1;
    return 0;
}

/* An extent of the pinned tier that goes to another target as it is. */
static void add_kept(struct update *u, const struct extent *e)
{
    struct piece *p = add_piece(u);
    p->off = e->off;
    p->len = e->len;
    p->chunk = e->loc;
    p->skip = e->skip;
    p->klass = e->klass;
    p->own = 1;
    chunk_ref(u->sh->store->config.arena, e->loc);
}

static int add_new_inline(struct update *u, uint64_t from, uint64_t to)
{
    struct piece *p = add_piece(u);
    p->off = from;
    p->len = (uint32_t)(to - from);
    p->klass = SL_LENT_MIN_SHIFT;
    if (chunk_alloc(u->sh->env.cache, p->klass, &p->chunk)) {
        u->n--;
        return SL_ENOMEM;
    }
    p->own = 1;
    memcpy(shard_arena(u->sh) + p->chunk, u->t->payload + (from - u->lo),
           p->len);
    return 0;
}

/* New bytes [from, to) between the old ones. */
static int add_new(struct update *u, uint64_t from, uint64_t to)
{
    const struct sl_cell *c = &u->t->cell;
    uint32_t klass = 0;
    if (from >= to)
        return 0;
    if (c->flags & SL_F_INLINE)
        return add_new_inline(u, from, to);
    if (!(c->flags & SL_F_LIST)) {
        struct piece *p = add_piece(u);
        chunk_is_lent(u->sh->store->config.arena, c->chunk, u->t->channel->id,
                      &klass);
        p->off = from;
        p->len = (uint32_t)(to - from);
        p->chunk = c->chunk;
        p->skip = (uint32_t)(from - u->lo);
        p->klass = (uint8_t)klass;
        return 0;
    }
    while (from < to) {
        struct piece *p = add_piece(u);
        uint64_t at = from - u->lo;
        uint64_t n = SL_CHUNK_MAX - at % SL_CHUNK_MAX;
        p->chunk = u->list[at / SL_CHUNK_MAX];
        p->off = from;
        p->len = (uint32_t)(n < to - from ? n : to - from);
        p->skip = (uint32_t)(at % SL_CHUNK_MAX);
        p->klass = (uint8_t)chunk_class(u->sh->store->config.arena, p->chunk);
        from += p->len;
    }
    return 0;
}

/* All extents in order: what sticks out of the range is merged, what lies
 * inside goes, the rest stays, or is rewritten when it must become durable. */
static int gather(struct update *u)
{
    const struct blob *b = u->b;
    uint64_t fresh = u->lo; /* new bytes from here on are in no piece yet */
    int put = u->hi > u->lo;
    int rc = 0;
    for (uint32_t i = 0; i < b->n && !rc && !u->replace; i++) {
        const struct extent *e = &b->ext[i];
        uint64_t stop = e->off + e->len;
        int overlaps = put && e->off < u->hi && stop > u->lo;
        int sticks = overlaps && (e->off < u->lo || stop > u->hi);
        if (sticks) {
            if (e->off > fresh)
                rc = add_new(u, fresh, e->off);
            if (!rc)
                rc = add_old(u, e);
            fresh = stop;
        } else if (!overlaps && u->persist && e->target != TARGET_FILE) {
            if (put && e->off >= u->hi && fresh < u->hi) {
                rc = add_new(u, fresh, u->hi);
                fresh = u->hi;
            }
            if (!rc && e->target == TARGET_PINNED)
                add_kept(u, e);
            else if (!rc)
                rc = add_old(u, e);
        }
    }
    if (!rc && fresh < u->hi)
        rc = add_new(u, fresh, u->hi);
    return rc;
}

/* ---- begin ---- */

/* The chunks of a listed put become ours at once: no slot remembers them. */
static int adopt_list(struct update *u)
{
    const struct sl_task *t = u->t;
    uint64_t n = (t->cell.size + SL_CHUNK_MAX - 1u) / SL_CHUNK_MAX;
    if (n > SL_LIST_MAX || n == 0 || !t->side)
        return SL_EPROTO;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t at;
        uint32_t klass = 0;
        memcpy(&at, t->side + SL_SIDE_LIST + i * sizeof(at), sizeof(at));
        int rc =
            chunk_adopt(u->sh->store->config.arena, at, t->channel->id, &klass);
        if (rc)
            return rc;
        u->list[u->n_list++] = at;
        uint64_t need = t->cell.size - i * SL_CHUNK_MAX;
        if ((UINT64_C(1) << klass) < need && klass != SL_CHUNK_MAX_SHIFT)
            return SL_EPROTO;
    }
    return 0;
}

static int start(struct update *u)
{
    const struct sl_task *t = u->t;
    int rc = 0;
    u->b->busy = 1;
    /* Every old extent, every listed chunk, one more for the new bytes. */
    u->cap = u->b->n + 1u;
    if (t)
        u->cap += (uint32_t)(t->cell.size / SL_CHUNK_MAX) + 1u;
    u->piece = malloc(u->cap * sizeof(*u->piece));
    if (!u->piece)
        rc = SL_ENOMEM;
    if (!rc && t && (t->cell.flags & SL_F_LIST))
        rc = adopt_list(u);
    if (!rc)
        rc = gather(u);
    if (rc)
        end(u, rc);
    else
        load(u);
    return TASK_LATER;
}

int update_put(struct shard *sh, struct sl_task *t, struct blob *b)
{
    struct update *u = calloc(1, sizeof(*u));
    const struct store *s = sh->store;
    if (!u) {
        blob_leave(sh, b);
        return SL_ENOMEM;
    }
    u->sh = sh;
    u->b = b;
    u->t = t;
    u->lo = t->cell.offset;
    u->hi = t->cell.offset + t->cell.size;
    u->replace = (t->cell.flags & SL_F_REPLACE) != 0;
    u->persist = t->cell.persist > b->persist ? t->cell.persist : b->persist;
    if (t->cell.score != SL_SCORE_AUTO && s->n_order)
        u->try_at =
            (SL_SCORE_ONE - t->cell.score) * s->n_order / (SL_SCORE_ONE + 1u);
    return start(u);
}

int update_persist(struct shard *sh, struct blob *b,
                   void (*done)(void *user, int code), void *user)
{
    struct update *u = calloc(1, sizeof(*u));
    if (!u)
        return SL_ENOMEM;
    u->sh = sh;
    u->b = b;
    u->done = done;
    u->user = user;
    u->persist = b->persist ? b->persist : 1u;
    return start(u);
}
