/* SPDX-License-Identifier: Apache-2.0 */
#include "store/update.h"

#include "base/clock.h"
#include "codec/codec.h"

#include <stdlib.h>
#include <string.h>

/* ---- the end ---- */

/* The producer's chunk goes back to it when nothing was made of it. */
static void give_source_back(struct update *u)
{
    if (!u->source)
        return;
    chunk_lend(u->sh->store->config.arena, u->source, u->t->channel->id);
    u->t->value = u->source;
}

static void free_pieces(struct update *u)
{
    for (uint32_t i = 0; i < u->n; i++)
        if (u->piece[i].own)
            chunk_unref(u->sh->env.cache, u->piece[i].chunk);
    for (uint32_t i = 0; i < u->n_list; i++)
        if (u->list[i])
            chunk_unref(u->sh->env.cache, u->list[i]);
    units_free(u);
}

static void answer(struct update *u, int code)
{
    struct shard *sh = u->sh;
    struct sl_task *t = u->t;
    if (code == SL_ENOMEM && !(t->cell.flags & (SL_F_LIST | SL_F_UNITS)))
        sh->env.starve(t, code); /* nothing is left of this attempt */
    else
        sh->env.finish(t, code);
}

void update_end(struct update *u, int code)
{
    free_pieces(u);
    give_source_back(u);
    if (u->t) /* before those who wait for the blob are answered */
        answer(u, code);
    blob_leave(u->sh, u->b);
    if (!u->t)
        u->done(u->user, code);
    free(u->piece);
    free(u->made);
    free(u->units);
    coded_free(u);
    free(u->merged.ext);
    free(u);
}

/* ---- publish and record ---- */

static void count_move(const struct update *u)
{
    struct store *s = u->sh->store;
    uint64_t bytes = 0;
    /* Relaxed, all: figures. */
    for (uint32_t i = 0; i < u->n_made; i++) {
        struct target *t = &s->target[u->made[i].target];
        uint64_t len = u->made[i].len;
        __atomic_fetch_add(&t->counts.moved, len, __ATOMIC_RELAXED);
        if (u->why == MOVE_UP && i == 0)
            __atomic_fetch_add(&t->counts.promoted, 1u, __ATOMIC_RELAXED);
        bytes += len;
    }
    if (u->why == MOVE_DOWN) /* from one target */
        __atomic_fetch_add(&s->target[__builtin_ctz(u->from)].counts.evicted,
                           1u, __ATOMIC_RELAXED);
    if (u->why != MOVE_ASKED)
        evict_count(u->sh, bytes);
}

void update_publish(struct update *u)
{
    struct blob *b = u->b;
    uint64_t stored = 0;
    for (uint32_t i = 0; i < u->n_made; i++)
        stored += extent_summed(&u->made[i]);
    update_keep(u);
    if (u->kind == UPDATE_MOVE)
        count_move(u);
    blob_publish(u->sh, b, &u->merged);
    if (u->kind != UPDATE_MOVE || u->records) {
        b->persist = u->persist & 3u;
        b->recorded = b->recorded || u->persist;
    }
    if (u->t) {
        put_done(u->sh, u->t, b,
                 u->version ? u->version : blob_next_version(u->sh, b),
                 u->now_ns);
        u->t->result.v[2] = stored;
        u->t->result.v[3] = u->codec_ns;
    }
    update_end(u, 0);
}

static void recorded(struct change *c, int code)
{
    struct update *u = c->user;
    change_release(c);
    if (code == SL_ENOSPC && u->carries) {
        /* Of the log, or of one target of the group: another may have room. */
        free(u->merged.ext);
        u->merged.ext = NULL;
        u->plain = 1;
        update_write(u);
        return;
    }
    if (code) {
        update_drop_made(u);
        update_end(u, code);
        return;
    }
    update_publish(u);
}

/* The change gets the bytes of what was made. */
static int carry(const struct update *u, struct change *c)
{
    uint32_t k = 0;
    int rc = change_carry(c, u->n_made);
    for (uint32_t i = 0; i < u->n_made && !rc; i++) {
        while (u->merged.ext[k].off < u->made[i].off)
            k++;
        c->carried[i] =
            (struct meta_carried){.extent = k, .bytes = u->units[i].io.buf};
        *c->owed[i] = (struct owed_unit){.loc = u->made[i].loc,
                                         .n = extent_summed(&u->made[i]),
                                         .space = extent_space(&u->made[i]),
                                         .target = u->made[i].target & 0xffu};
    }
    c->meta.n_carried = rc ? 0 : u->n_made;
    return rc;
}

static void record(struct update *u)
{
    struct blob *b = u->b;
    struct meta_blob *m;
    struct change *c = NULL;
    int rc = b->tag->dead ? SL_ENOTAG : change_blob(u->sh, b, &u->merged, &c);
    if (!rc && u->carries)
        rc = carry(u, c);
    if (rc) {
        if (c)
            change_release(c);
        update_drop_made(u);
        update_end(u, rc);
        return;
    }
    c->done = recorded;
    c->user = u;
    m = &c->meta.blob;
    m->persist = u->persist;
    c->meta.sync = u->persist > 1u;
    m->size = b->size;
    m->version = b->version;
    m->changed_ns = blob_changed_ns(b);
    if (u->t) { /* as put_done will set them */
        if (u->replace || u->hi > b->size)
            m->size = u->hi;
        /* What is recorded is what readers see: a blob deleted meanwhile would
         * raise the next version of a new one. */
        u->version = blob_next_version(u->sh, b);
        m->version = u->version;
        m->changed_ns = u->now_ns;
        m->context = u->t->cell.context;
        if (u->t->cell.score != SL_SCORE_AUTO)
            m->score = u->t->cell.score;
        change_make(c);
        return;
    }
    /* A flush of very many blobs gives tasks their turns meanwhile. */
    change_submit(c);
}

/* A move that leaves no volatile byte behind records the blob as well, when it
 * is for that (update_persist): between two updates a score would take the
 * bytes up again, and so on for ever. */
static int must_record(const struct update *u)
{
    uint32_t lasting = u->sh->choice.lasting;
    if (u->kind != UPDATE_MOVE || u->b->recorded)
        return u->kind == UPDATE_MOVE || u->persist;
    for (uint32_t i = 0; i < u->merged.n; i++)
        if (!(TARGET_BIT(u->merged.ext[i].target) & lasting))
            return 0;
    return u->persist != 0;
}

void update_placed(struct update *u)
{
    const struct blob *b = u->b;
    int rc = blob_merge(b, u->made, u->n_made, u->replace, &u->merged);
    if (rc) {
        update_drop_made(u);
        update_end(u, rc);
    } else if (must_record(u)) {
        u->records = 1;
        record(u);
    } else {
        update_publish(u);
    }
}

/* ---- the windows of a move ---- */

void update_fail(struct update *u, int code)
{
    if (!u->n_ready) {
        update_end(u, code);
        return;
    }
    update_drop_window(u); /* who asks for the rest meets the cause again */
    update_placed(u);
}

static void next_window(struct message *m)
{
    struct update *u =
        (struct update *)(void *)((char *)m - offsetof(struct update, windows));
    free_pieces(u);
    coded_free(u);
    u->n = 0;
    u->n_ready = u->n_made;
    int rc = update_gather(u);
    if (rc)
        update_fail(u, rc);
    else
        update_load(u);
}

void update_window_done(struct update *u)
{
    /* Relaxed: nothing else goes with it. Partner: store_stop. */
    if (u->kind != UPDATE_MOVE || u->last ||
        __atomic_load_n(&u->sh->store->stopping, __ATOMIC_RELAXED)) {
        update_placed(u);
        return;
    }
    update_keep(u);
    /* By a message: a tier that is memory would call ever deeper, and others
     * get their turn. */
    u->windows.run = next_window;
    u->sh->env.post(u->sh->env.runtime, u->sh->id, &u->windows);
}

/* ---- begin ---- */

/* Lent chunks of the list from number i on are freed: no slot knows them. */
static void drop_list(struct shard *sh, const struct sl_task *t, uint64_t i)
{
    uint64_t n = (t->cell.size + SL_CHUNK_MAX - 1u) / SL_CHUNK_MAX;
    for (; i < n && i < SL_LIST_MAX; i++) {
        uint64_t at;
        uint32_t klass;
        memcpy(&at, t->side + SL_SIDE_LIST + i * sizeof(at), sizeof(at));
        if (chunk_adopt(sh->store->config.arena, at, t->channel->id, &klass) ==
            0)
            chunk_unref(sh->env.cache, at);
    }
}

void put_drop_chunks(struct shard *sh, const struct sl_task *t)
{
    if (t->cell.flags & SL_F_UNITS)
        units_drop(sh->store->config.arena, sh->env.cache, t);
    if ((t->cell.flags & SL_F_LIST) && t->side)
        drop_list(sh, t, 0);
}

/* The chunks of a listed put become ours at once: no slot remembers them. */
static int adopt_list(struct update *u)
{
    const struct sl_task *t = u->t;
    uint64_t n = (t->cell.size + SL_CHUNK_MAX - 1u) / SL_CHUNK_MAX;
    int rc = n > SL_LIST_MAX || n == 0 || !t->side ? SL_EPROTO : 0;
    for (uint64_t i = 0; i < n && !rc; i++) {
        uint64_t at;
        uint32_t klass = 0;
        memcpy(&at, t->side + SL_SIDE_LIST + i * sizeof(at), sizeof(at));
        rc =
            chunk_adopt(u->sh->store->config.arena, at, t->channel->id, &klass);
        if (rc)
            break;
        u->list[u->n_list++] = at;
        uint64_t need = t->cell.size - i * SL_CHUNK_MAX;
        if ((UINT64_C(1) << klass) < need && klass != SL_CHUNK_MAX_SHIFT)
            rc = SL_EPROTO;
    }
    if (rc && t->side)
        drop_list(u->sh, t, u->n_list);
    u->listed = 1;
    return rc;
}

/* While an update runs over a producer's chunk, the chunk is not lent, so that
 * nobody can give it back or name it again meanwhile. */
static int adopt_source(struct update *u)
{
    const struct sl_cell *c = &u->t->cell;
    uint32_t klass = 0;
    if (c->flags & SL_F_UNITS)
        return units_adopt(u);
    if (c->flags & SL_F_LIST)
        return adopt_list(u);
    if ((c->flags & SL_F_INLINE) || c->size == 0)
        return 0;
    int rc = chunk_adopt(u->sh->store->config.arena, c->chunk,
                         u->t->channel->id, &klass);
    if (rc)
        return rc;
    u->source = c->chunk;
    u->source_klass = (uint8_t)klass;
    u->t->value = 0;
    return put_bytes(c) > (UINT64_C(1) << klass) ? SL_EPROTO : 0;
}

int update_merges(const struct update *u)
{
    const struct blob *b = u->b;
    if (u->replace)
        return 0;
    uint32_t i = blob_seek(b, u->lo), k = blob_seek(b, u->hi);
    return (i < b->n && b->ext[i].off < u->lo) ||
           (k < b->n && b->ext[k].off < u->hi);
}

/* A coded payload that cannot become a unit as it is becomes plain, in a chunk
 * of ours. What does not decode is refused here. */
static int take_coded(struct update *u)
{
    const struct sl_cell *c = &u->t->cell;
    uint8_t *arena = shard_arena(u->sh);
    uint64_t at;
    if (u->persist && !update_merges(u)) {
        u->as_is = 1;
        return 0;
    }
    if (chunk_alloc(u->sh->env.cache,
                    class_for(c->size < TIER_BLOCK ? TIER_BLOCK : c->size),
                    &at))
        return SL_ENOMEM;
    u->list[u->n_list++] = at;
    u->listed = 1;
    int rc = codec_decode(SL_CODEC_LZ4, arena + u->source, c->coded, arena + at,
                          c->size);
    return rc == SL_ECORRUPT ? SL_EBLOCK : rc;
}

void update_go_on(struct update *u, int code)
{
    int rc = code;
    /* Of a put the extents at both ends, every listed chunk or unit, and the
     * new bytes in front of the last extent. */
    uint64_t cap =
        u->t ? u->t->cell.size / SL_CHUNK_MAX + 4u + u->n_sent : MOVE_PIECES;
    u->piece = malloc(cap * sizeof(*u->piece));
    if (!rc && !u->piece)
        rc = SL_ENOMEM;
    if (!rc)
        rc = update_gather(u);
    if (rc)
        update_end(u, rc);
    else
        update_load(u);
}

static int start(struct update *u)
{
    int rc = 0;
    blob_enter(u->b);
    u->now_ns = clock_stamp_ns();
    if (u->t) /* first: behind it the end sees to the chunks */
        rc = adopt_source(u);
    if (!rc && u->t && (u->t->cell.flags & SL_F_CODED))
        rc = take_coded(u);
    if (!rc && u->sent)
        units_take(u);
    else
        update_go_on(u, rc);
    return TASK_LATER;
}

int update_put(struct shard *sh, struct sl_task *t, struct blob *b)
{
    struct update *u = calloc(1, sizeof(*u));
    if (!u) { /* the caller drops a list */
        if (b->version == 0)
            blob_leave(sh, b);
        return SL_ENOMEM;
    }
    u->kind = UPDATE_PUT;
    u->sh = sh;
    u->b = b;
    u->t = t;
    u->lo = t->cell.offset;
    u->hi = t->cell.offset + t->cell.size;
    u->replace = (t->cell.flags & SL_F_REPLACE) != 0;
    u->codec = t->cell.codec;
    u->persist = t->cell.persist > b->persist ? t->cell.persist : b->persist;
    return start(u);
}

int blob_lies_on(const struct blob *b, uint32_t targets)
{
    for (uint32_t i = 0; i < b->n; i++)
        if (TARGET_BIT(b->ext[i].target) & targets)
            return 1;
    return 0;
}

int blob_is_volatile(const struct shard *sh, const struct blob *b)
{
    return blob_lies_on(b, ~sh->choice.lasting);
}

int update_move(struct shard *sh, struct blob *b, const struct move *m)
{
    struct update *u = calloc(1, sizeof(*u));
    if (!u)
        return SL_ENOMEM;
    u->kind = UPDATE_MOVE;
    u->sh = sh;
    u->b = b;
    u->from = m->from;
    u->to = m->to;
    u->why = m->why;
    u->done = m->done;
    u->user = m->user;
    u->persist = b->recorded ? b->persist : 0;
    return start(u);
}

int update_persist(struct shard *sh, struct blob *b,
                   void (*done)(void *user, int code), void *user)
{
    struct update *u = calloc(1, sizeof(*u));
    if (!u)
        return SL_ENOMEM;
    u->kind = blob_is_volatile(sh, b) ? UPDATE_MOVE : UPDATE_RECORD;
    u->sh = sh;
    u->b = b;
    u->done = done;
    u->user = user;
    u->persist = b->persist ? b->persist : 1u;
    u->from = ~sh->choice.lasting;
    u->to = sh->choice.lasting;
    return start(u);
}
