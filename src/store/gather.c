/* SPDX-License-Identifier: Apache-2.0 */
#include "store/update.h"

#include <string.h>

/* A window of a move: so many bytes of the arena at once. */
#define MOVE_BYTES SL_CHUNK_MAX

/* ---- pieces ---- */

static struct piece *add_piece(struct update *u, uint64_t off, uint64_t len)
{
    struct piece *p = &u->piece[u->n++];
    memset(p, 0, sizeof(*p));
    p->off = off;
    p->len = (uint32_t)len;
    return p;
}

/* A piece in a chunk of its own. */
static struct piece *add_room(struct update *u, uint64_t off, uint64_t len)
{
    struct piece *p = add_piece(u, off, len);
    p->klass = class_for(len < TIER_BLOCK ? TIER_BLOCK : len);
    if (chunk_alloc(u->sh->env.cache, p->klass, &p->chunk)) {
        u->n--;
        return NULL;
    }
    p->own = 1;
    return p;
}

/* Old bytes that are to be rewritten whole. */
static int add_old(struct update *u, const struct extent *e)
{
    struct piece *p = add_room(u, e->off, e->len);
    if (!p)
        return SL_ENOMEM;
    p->old = *e;
    p->load = 1;
    return 0;
}

/* A small chunk may be coded where a unit would save nothing by it: there the
 * bytes are plain. */
static int stays_coded(const struct extent *e)
{
    return extent_space(e) < unit_stored((uint32_t)e->len);
}

/* Bytes of a coded unit that stays coded. */
static int add_stored(struct update *u, const struct extent *e)
{
    struct piece *p = add_room(u, e->off, extent_space(e));
    if (!p)
        return SL_ENOMEM;
    p->len = (uint32_t)e->len;
    p->old = *e;
    p->load = 1;
    p->stored = 1;
    return 0;
}

/* ---- a put ---- */

static void add_listed(struct update *u, uint64_t from, uint64_t to)
{
    while (from < to) {
        uint64_t at = from - u->lo;
        uint64_t n = SL_CHUNK_MAX - at % SL_CHUNK_MAX;
        struct piece *p = add_piece(u, from, n < to - from ? n : to - from);
        p->chunk = u->list[at / SL_CHUNK_MAX];
        p->skip = (uint32_t)(at % SL_CHUNK_MAX);
        p->klass = (uint8_t)chunk_class(u->sh->store->config.arena, p->chunk);
        from += p->len;
    }
}

/* New bytes [from, to) between the old ones. */
static int add_new(struct update *u, uint64_t from, uint64_t to)
{
    const struct sl_cell *c = &u->t->cell;
    struct piece *p;
    if (u->listed) {
        add_listed(u, from, to);
    } else if (c->flags & SL_F_INLINE) {
        p = add_room(u, from, to - from);
        if (!p)
            return SL_ENOMEM;
        memcpy(shard_arena(u->sh) + p->chunk, u->t->payload + (from - u->lo),
               p->len);
    } else {
        p = add_piece(u, from, to - from);
        p->chunk = u->source;
        p->skip = (uint32_t)(from - u->lo);
        p->klass = u->source_klass;
    }
    return 0;
}

/* The producer's block, as the unit that it is to be. */
static int add_coded(struct update *u)
{
    const struct sl_cell *c = &u->t->cell;
    struct piece *p = add_piece(u, u->lo, u->hi - u->lo);
    p->chunk = u->source;
    p->klass = u->source_klass;
    p->stored = 1;
    p->old = extent_of(p->off, p->len);
    p->old.codec = SL_CODEC_LZ4;
    extent_set_stored(&p->old, c->coded);
    p->old.sum = unit_sum(shard_arena(u->sh) + u->source, c->coded);
    return 0;
}

/* What sticks out of the range is merged, what lies inside goes, the rest
 * stays as it is. */
static int gather_put(struct update *u)
{
    const struct blob *b = u->b;
    uint64_t fresh = u->lo; /* new bytes from here on are in no piece yet */
    int rc = 0;
    uint32_t i = u->replace ? b->n : blob_seek(b, u->lo);
    for (; i < b->n && b->ext[i].off < u->hi && !rc; i++) {
        const struct extent *e = &b->ext[i];
        uint64_t stop = e->off + e->len;
        if (e->off >= u->lo && stop <= u->hi)
            continue;
        if (e->off > fresh)
            rc = add_new(u, fresh, e->off);
        if (!rc)
            rc = add_old(u, e);
        fresh = stop;
    }
    if (!rc && fresh < u->hi)
        rc = add_new(u, fresh, u->hi);
    return rc;
}

/* ---- a move ---- */

/* Small neighbours of the pinned tier become one piece; the number of extents
 * taken, 0 when there is no chunk. */
static uint32_t pack(struct update *u, uint32_t from)
{
    const struct blob *b = u->b;
    uint64_t len = 0;
    uint32_t n = 0;
    while (from + n < b->n) {
        const struct extent *e = &b->ext[from + n];
        if (e->target != TARGET_PINNED || e->codec ||
            len + e->len > UNIT_BYTES || e->off != b->ext[from].off + len)
            break;
        len += e->len;
        n++;
    }
    struct piece *p = add_room(u, b->ext[from].off, len);
    if (!p)
        return 0;
    uint8_t *to = shard_arena(u->sh) + p->chunk;
    for (uint32_t i = from; i < from + n; i++) {
        const struct extent *e = &b->ext[i];
        memcpy(to, shard_arena(u->sh) + e->loc + e->skip, e->len);
        to += e->len;
    }
    return n;
}

/* A large extent of the pinned tier is written from where it is. */
static void add_kept(struct update *u, const struct extent *e)
{
    struct piece *p = add_piece(u, e->off, e->len);
    p->chunk = e->loc;
    p->skip = e->skip;
    p->klass = e->klass;
    p->own = 1;
    chunk_ref(u->sh->store->config.arena, e->loc);
}

static int gather_move(struct update *u)
{
    const struct blob *b = u->b;
    uint64_t bytes = 0;
    uint32_t i = blob_seek(b, u->next_off);
    while (i < b->n && u->n < MOVE_PIECES && bytes < MOVE_BYTES) {
        const struct extent *e = &b->ext[i];
        uint32_t taken = 1;
        if (!(TARGET_BIT(e->target) & u->from)) {
            i++;
            continue;
        }
        if (e->codec && stays_coded(e))
            taken = add_stored(u, e) ? 0u : 1u;
        else if (e->codec || e->target != TARGET_PINNED)
            taken = add_old(u, e) ? 0u : 1u;
        else if (e->len < UNIT_BYTES || e->skip % TIER_BLOCK)
            taken = e->len < UNIT_BYTES ? pack(u, i) : !add_old(u, e);
        else
            add_kept(u, e);
        if (!taken)
            return u->n ? 0 : SL_ENOMEM; /* what there is goes first */
        bytes += u->piece[u->n - 1u].len;
        i += taken;
        u->taken += taken;
        u->next_off = b->ext[i - 1u].off + b->ext[i - 1u].len;
    }
    u->last = i == b->n || u->taken >= b->n / MOVE_SHARE;
    return 0;
}

int update_gather(struct update *u)
{
    if (u->kind == UPDATE_MOVE)
        return gather_move(u);
    if (u->as_is && u->sent)
        return units_gather(u);
    if (u->as_is)
        return add_coded(u);
    return u->kind == UPDATE_PUT && u->hi > u->lo ? gather_put(u) : 0;
}

/* ---- overlay ---- */

static const uint8_t *source_at(const struct update *u, uint64_t at,
                                uint64_t *left)
{
    const struct sl_task *t = u->t;
    if (t->cell.flags & SL_F_INLINE)
        return t->payload + at;
    if (!u->listed)
        return shard_arena(u->sh) + u->source + at;
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
    while (u->kind == UPDATE_PUT && at < stop) {
        uint64_t n = stop - at;
        const uint8_t *src = source_at(u, at - u->lo, &n);
        memcpy(shard_arena(u->sh) + p->chunk + p->skip + (at - p->off), src, n);
        at += n;
    }
}

/* A listed chunk belongs to the piece that is made of it. */
static void give_list(struct update *u)
{
    for (uint32_t i = 0; i < u->n_list; i++) {
        for (uint32_t k = 0; k < u->n; k++) {
            if (u->piece[k].load || u->piece[k].chunk != u->list[i])
                continue;
            u->piece[k].own = 1;
            u->list[i] = 0;
            break;
        }
    }
}

static void loaded(struct update *u)
{
    if (u->code) {
        update_fail(u, u->code);
        return;
    }
    for (uint32_t i = 0; i < u->n; i++)
        if (u->piece[i].load)
            overlay(u, &u->piece[i]);
    give_list(u);
    update_code(u);
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
    if (p->old.target == TARGET_PINNED && (p->stored || !p->old.codec)) {
        memcpy(to, shard_arena(u->sh) + p->old.loc + p->old.skip,
               extent_summed(&p->old));
        if (p->stored && !p->old.sum) /* of a kernel: nobody has summed it */
            p->old.sum = unit_sum(to, p->old.stored);
        return 0;
    }
    p->io.sh = u->sh;
    p->io.e = &p->old;
    p->io.done = load_done;
    p->io.user = u;
    p->io.tag = u->b->tag->id;
    p->io.name = u->b->name;
    p->io.name_len = u->b->name_len;
    u->pending++;
    int rc = p->stored ? unit_fetch(&p->io, to) : unit_read(&p->io, to);
    if (rc)
        u->pending--;
    return rc;
}

void update_load(struct update *u)
{
    u->pending = 1; /* ours, so that completions inside the loop do not end */
    for (uint32_t i = 0; i < u->n && !u->code; i++) {
        int rc = u->piece[i].load ? load_piece(u, &u->piece[i]) : 0;
        if (rc) /* 0 says nothing: a quick load has ended, and left its code */
            u->code = rc;
    }
    if (--u->pending == 0)
        loaded(u);
}
