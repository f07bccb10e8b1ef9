/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "codec/codec.h"
#include "store/shard.h"

#include <string.h>

/*
 * The short way of a put: everything in the pinned tier, nothing to merge.
 * Four cases, tried in this order; each is done when it returns:
 *
 *   in place  a small range inside one chunk that no reader holds
 *   append    a small one behind the last byte
 *   flip      whole extents (or none) are replaced by the producer's chunk
 *   small     the same with a small chunk that the payload is copied into,
 *             when it would fill less than half of the producer's chunk
 *
 * All else goes the long way (update.c).
 */

#define APPEND_BYTES 2048u /* a copy of half a page; more is flipped */
/* Coded payloads up to here are copied into a small chunk, others keep the
 * producer's: the link has room for three times as many as of plain pages, and
 * a copy of 2 KiB costs a worker more than all the rest of a put. */
#define CODED_COPY_BYTES 1024u
/* Not to be mixed with the bytes of another extent. */
#define COPIES_NEVER (SL_F_REPLACE | SL_F_CODED)

/* Where a payload is: in the frame, or in a lent chunk. */
static const uint8_t *put_source(const struct shard *sh,
                                 const struct sl_task *t)
{
    if (t->cell.flags & SL_F_INLINE)
        return t->payload;
    return shard_arena(sh) + t->cell.chunk;
}

/* A block of a kernel's warp: what it says is not what it is. */
static int put_check_coded(const struct sl_cell *c)
{
    if (c->codec != SL_CODEC_LZ4)
        return SL_ECODEC;
    if ((c->flags & (SL_F_INLINE | SL_F_LIST)) || c->size > SL_CODED_MAX ||
        c->coded == 0 || c->coded >= c->size)
        return SL_EPROTO;
    return 0;
}

static int put_check(const struct shard *sh, const struct sl_task *t)
{
    const struct sl_cell *c = &t->cell;
    uint32_t klass;
    if (c->size > SL_IO_MAX)
        return SL_EFBIG;
    if (c->offset > SL_BLOB_MAX || c->size > SL_BLOB_MAX - c->offset)
        return SL_EOVERFLOW;
    if (c->score != SL_SCORE_AUTO && c->score > SL_SCORE_ONE)
        return SL_ESCORE;
    if (c->persist > 2u)
        return SL_EPERSIST;
    if (c->codec && codec_check(c->codec))
        return codec_check(c->codec);
    if (c->persist && !sh->store->meta)
        return SL_ENODATADIR;
    if (c->flags & SL_F_UNITS)
        return units_check(sh->store->config.arena, t);
    if ((c->flags & SL_F_CODED) && put_check_coded(c))
        return put_check_coded(c);
    if (c->size == 0 || (c->flags & (SL_F_INLINE | SL_F_LIST)))
        return 0;
    if (!chunk_is_lent(sh->store->config.arena, c->chunk, t->channel->id,
                       &klass))
        return SL_ECHUNK;
    return put_bytes(c) > (UINT64_C(1) << klass) ? SL_EPROTO : 0;
}

/* True when the pinned tier is where this put wants to go first. */
static int put_is_pinned(struct shard *sh, const struct sl_task *t,
                         const struct blob *b)
{
    uint16_t score = t->cell.score;
    int codes = t->cell.codec && !(t->cell.flags & SL_F_CODED);
    if (t->cell.persist || codes || (t->cell.flags & SL_F_LIST) ||
        (b && (b->persist || b->busy)))
        return 0;
    if (score == SL_SCORE_AUTO && b)
        score = b->score & 0xffffu;
    return choice_is_pinned(sh, score);
}

static int put_in_place(struct shard *sh, const struct sl_task *t,
                        struct blob *b)
{
    const struct sl_cell *c = &t->cell;
    uint32_t i = blob_seek(b, c->offset);
    if (c->size > IN_PLACE_BYTES || (c->flags & COPIES_NEVER) || i == b->n)
        return 0;
    const struct extent *e = &b->ext[i];
    if (e->off > c->offset || e->off + e->len < c->offset + c->size)
        return 0;
    if (e->len == c->size && !(c->flags & SL_F_INLINE) && c->size > 2048u)
        return 0; /* a flip costs less than this copy */
    if (e->target != TARGET_PINNED || e->codec ||
        chunk_refs(sh->store->config.arena, e->loc) != 1u)
        return 0;
    memcpy(shard_arena(sh) + e->loc + e->skip + (c->offset - e->off),
           put_source(sh, t), c->size);
    return 1;
}

/* Extents [*first, *end) lie inside the range; false when one sticks out. */
static int put_covers(const struct blob *b, const struct sl_cell *c,
                      uint32_t *first, uint32_t *end)
{
    if (c->flags & SL_F_REPLACE) {
        *first = 0;
        *end = b->n;
        return 1;
    }
    *first = blob_seek(b, c->offset);
    *end = blob_seek(b, c->offset + c->size);
    if (*first < b->n && b->ext[*first].off < c->offset)
        return 0;
    return *end == b->n || b->ext[*end].off >= c->offset + c->size;
}

uint8_t class_for(uint64_t bytes)
{
    uint8_t k = SL_CHUNK_MIN_SHIFT;
    while ((UINT64_C(1) << k) < bytes)
        k++;
    return k;
}

/* The payload as an extent of a small chunk; the lent chunk stays lent. */
static int keep_small(struct shard *sh, struct sl_task *t, struct extent *e)
{
    const uint8_t *src = put_source(sh, t);
    uint8_t klass = class_for(put_bytes(&t->cell));
    uint64_t at;
    int rc = shard_charge(sh, UINT64_C(1) << klass);
    if (rc)
        return rc;
    rc = chunk_alloc(sh->env.cache, klass, &at);
    if (rc) {
        shard_discharge(sh, UINT64_C(1) << klass);
        return rc;
    }
    memcpy(shard_arena(sh) + at, src, put_bytes(&t->cell));
    *e = extent_pinned(t->cell.offset, t->cell.size, at, 0, klass);
    return 0;
}

/* The payload as an extent of the producer's own chunk. */
static int keep_chunk(struct shard *sh, struct sl_task *t, struct extent *e)
{
    struct arena *a = sh->store->config.arena;
    uint32_t klass = 0;
    int rc = chunk_adopt(a, t->cell.chunk, t->channel->id, &klass);
    if (rc)
        return rc;
    rc = shard_charge(sh, UINT64_C(1) << klass);
    if (rc) {
        chunk_lend(a, t->cell.chunk, t->channel->id);
        return rc;
    }
    t->value = 0; /* ours now; the producer gets another */
    *e = extent_pinned(t->cell.offset, t->cell.size, t->cell.chunk, 0,
                       (uint8_t)klass);
    return 0;
}

/* A coded payload stays coded; its sum is taken when it leaves the arena. */
static int put_keep(struct shard *sh, struct sl_task *t, struct extent *e)
{
    const struct sl_cell *c = &t->cell;
    uint64_t copied = c->flags & SL_F_CODED
                          ? CODED_COPY_BYTES
                          : UINT64_C(1) << (SL_LENT_MIN_SHIFT - 1u);
    int small = (c->flags & SL_F_INLINE) || put_bytes(c) <= copied;
    int rc = small ? keep_small(sh, t, e) : keep_chunk(sh, t, e);
    if (!rc && (c->flags & SL_F_CODED)) {
        e->codec = SL_CODEC_LZ4;
        extent_set_stored(e, c->coded);
    }
    return rc;
}

/* Larger chunks are lent only for the put that asks for them: kept in idle slots
 * they would starve the others. */
#define EXCHANGE_CLASS_MAX 16u

void put_exchange(struct shard *sh, struct sl_task *t, uint8_t klass,
                  const struct extent *freed)
{
    struct arena *a = sh->store->config.arena;
    uint64_t at;
    if ((t->cell.flags & SL_F_NOEXCHANGE) || klass > EXCHANGE_CLASS_MAX) {
        if (freed)
            extent_free(sh, freed);
        return;
    }
    if (freed && freed->target == TARGET_PINNED && freed->klass == klass &&
        chunk_refs(a, freed->loc) == 1u) {
        shard_discharge(sh, UINT64_C(1) << klass);
        at = freed->loc;
    } else {
        if (freed)
            extent_free(sh, freed);
        if (chunk_alloc(sh->env.cache, klass, &at))
            return;
    }
    chunk_lend(a, at, t->channel->id);
    t->value = at;
}

static int put_flip(struct shard *sh, struct sl_task *t, struct blob *b,
                    uint32_t first, uint32_t end)
{
    struct extent e;
    struct extent old = {0};
    int one = end - first == 1u;
    int rc = one ? 0 : blob_reserve(b, b->n + 1u);
    if (!rc)
        rc = put_keep(sh, t, &e);
    if (rc)
        return rc;
    int adopted = !(t->cell.flags & SL_F_INLINE) && e.loc == t->cell.chunk;
    if (one) {
        old = b->ext[first];
        b->ext[first] = e;
    } else {
        for (uint32_t i = first; i < end; i++)
            extent_free(sh, &b->ext[i]);
        memmove(&b->ext[first + 1u], &b->ext[end], (b->n - end) * sizeof(e));
        b->ext[first] = e;
        blob_set_n(b, b->n + 1u - (end - first));
    }
    if (adopted)
        put_exchange(sh, t, e.klass, one ? &old : NULL);
    else if (one)
        extent_free(sh, &old);
    return 0;
}

/* Small appends go on in the last chunk, which grows by doubling: a log that is
 * written line by line becomes few extents. */
static int put_append(struct shard *sh, const struct sl_task *t, struct blob *b)
{
    const struct sl_cell *c = &t->cell;
    struct arena *a = sh->store->config.arena;
    struct extent *e = b->n ? &b->ext[b->n - 1u] : NULL;
    uint64_t at, len;
    if (!e || (c->flags & COPIES_NEVER) || c->offset != e->off + e->len ||
        c->size > APPEND_BYTES || e->len + c->size > UNIT_BYTES ||
        e->target != TARGET_PINNED || e->codec || chunk_refs(a, e->loc) != 1u)
        return 0;
    len = e->len + c->size;
    if (e->skip + len > (UINT64_C(1) << e->klass)) {
        uint8_t klass = class_for(len);
        if (shard_charge(sh, UINT64_C(1) << klass))
            return 0;
        if (chunk_alloc(sh->env.cache, klass, &at)) {
            shard_discharge(sh, UINT64_C(1) << klass);
            return 0;
        }
        memcpy(shard_arena(sh) + at, shard_arena(sh) + e->loc + e->skip,
               e->len);
        extent_free(sh, e);
        *e = extent_pinned(e->off, e->len, at, 0, klass);
    }
    memcpy(shard_arena(sh) + e->loc + e->skip + e->len, put_source(sh, t),
           c->size);
    extent_set_len(e, len);
    return 1;
}

void put_done(struct shard *sh, struct sl_task *t, struct blob *b,
              uint64_t version, uint64_t now_ns)
{
    const struct sl_cell *c = &t->cell;
    uint64_t end = c->offset + c->size;
    if (c->score != SL_SCORE_AUTO)
        b->score = c->score;
    b->context = c->context;
    blob_touch(sh, b,
               (c->flags & SL_F_REPLACE) || end > b->size ? end : b->size,
               version, now_ns);
    t->result.v[0] = b->size;
    t->result.v[1] = b->version;
    t->result.v[2] = put_bytes(c); /* as they are; the long way knows better */
    t->result.v[3] = 0;
    t->has_result = 1;
}

/* The short way. TASK_LATER here means: it does not fit, go the long way. */
static int put_short(struct shard *sh, struct sl_task *t, struct blob *b)
{
    uint32_t first, end;
    int rc = 0;
    if (t->cell.size == 0)
        return TASK_LATER;
    if (!put_in_place(sh, t, b) && !put_append(sh, t, b)) {
        if (!put_covers(b, &t->cell, &first, &end))
            return TASK_LATER;
        rc = put_flip(sh, t, b, first, end);
        if (rc == SL_ENOSPC)
            return TASK_LATER; /* another tier may have room */
    }
    if (!rc)
        put_done(sh, t, b, blob_next_version(sh, b), clock_stamp_ns());
    return rc;
}

/* A step of the move is done: the put is served again, and looks again. */
static void put_moved(void *user, int code)
{
    struct sl_task *t = user;
    struct shard *sh = t->state;
    if (code == SL_ENOMEM && !(t->cell.flags & (SL_F_LIST | SL_F_UNITS))) {
        sh->env.starve(t, code); /* as a put that finds no chunk itself */
        return;
    }
    int rc = code ? code : store_put(t, sh);
    if (code)
        put_drop_chunks(sh, t);
    if (rc != TASK_LATER)
        sh->env.finish(t, rc);
}

/* Brings what is volatile to the file before a durable put on it: a record
 * names the bytes of a blob either all or not at all. */
static int put_moves(struct shard *sh, struct sl_task *t, struct blob *b)
{
    t->state = sh;
    return update_persist(sh, b, put_moved, t);
}

static int put_on(struct shard *sh, struct sl_task *t, struct tag *tag)
{
    struct blob *b = table_find(&sh->index, t);
    if (b && b->busy) {
        blob_wait(sh, b, t);
        return TASK_LATER;
    }
    if (b && t->cell.persist && !(t->cell.flags & SL_F_REPLACE) &&
        blob_is_volatile(sh, b))
        return put_moves(sh, t, b);
    int pinned = put_is_pinned(sh, t, b);
    int rc = b ? 0 : blob_create(sh, t, tag, &b);
    if (rc)
        return rc;
    rc = pinned ? put_short(sh, t, b) : TASK_LATER;
    if (rc == TASK_LATER)
        return update_put(sh, t, b);
    if (rc && b->version == 0)
        blob_leave(sh, b);
    return rc;
}

int store_put(struct sl_task *t, void *container)
{
    struct shard *sh = container;
    /* Until something is adopted the producer keeps what it has. */
    t->value = t->cell.flags & SL_F_INLINE ? 0 : t->cell.chunk;
    int rc = put_check(sh, t);
    struct tag *tag = rc ? NULL : tag_live(sh, t->cell.tag);
    if (!rc)
        rc = tag ? put_on(sh, t, tag) : SL_ENOTAG;
    if (rc != TASK_LATER && rc)
        put_drop_chunks(sh, t);
    return rc;
}
