/* SPDX-License-Identifier: Apache-2.0 */
#include "store/update.h"

#include <stdlib.h>
#include <string.h>

/*
 * A put of units that the producer has coded (wire.h, SL_F_UNITS). When the
 * range covers whole extents they become the blob's units in the chunks in which
 * they came; else they are decoded into chunks of the usual size, and the rest
 * is that of a put of plain bytes.
 */

/* ---- the table ---- */

static uint64_t units_of(const struct sl_cell *c)
{
    return (c->size + c->coded - 1u) / c->coded;
}

int units_check(struct arena *a, const struct sl_task *t)
{
    const struct sl_cell *c = &t->cell;
    uint32_t klass;
    if (c->codec != SL_CODEC_LZ4)
        return SL_ECODEC;
    if ((c->flags & (SL_F_INLINE | SL_F_LIST | SL_F_CODED)) || c->size == 0 ||
        c->coded < SL_UNIT_MIN || c->coded > SL_CODED_MAX ||
        (c->coded & (c->coded - 1u)))
        return SL_EPROTO;
    if (!chunk_is_lent(a, c->chunk, t->channel->id, &klass))
        return SL_ECHUNK;
    return units_of(c) * sizeof(uint64_t) > UINT64_C(1) << klass ? SL_EPROTO
                                                                 : 0;
}

/* A word that the producer may be changing. */
static uint64_t word_at(const struct arena *a, const struct sl_cell *c,
                        uint64_t i)
{
    const uint8_t *table = (const uint8_t *)arena_base(a) + c->chunk;
    uint64_t word;
    memcpy(&word, table + i * sizeof(word), sizeof(word));
    return word;
}

static void drop_from(struct arena *a, struct chunk_cache *cache,
                      const struct sl_task *t, uint64_t i)
{
    const struct sl_cell *c = &t->cell;
    for (; i < units_of(c); i++) {
        uint64_t at = sl_unit_chunk(word_at(a, c, i));
        uint32_t klass;
        if (at != c->chunk && !chunk_adopt(a, at, t->channel->id, &klass))
            chunk_unref(cache, at);
    }
}

void units_drop(struct arena *a, struct chunk_cache *cache,
                const struct sl_task *t)
{
    if (t->cell.size <= SL_IO_MAX && !units_check(a, t))
        drop_from(a, cache, t, 0);
}

static int adopt_unit(struct update *u, uint64_t i, struct sent_unit *s)
{
    const struct sl_cell *c = &u->t->cell;
    struct arena *a = u->sh->store->config.arena;
    uint64_t word = word_at(a, c, i), left = c->size - i * c->coded;
    uint32_t klass = 0;
    if (sl_unit_chunk(word) == c->chunk)
        return SL_EPROTO;
    int rc = chunk_adopt(a, sl_unit_chunk(word), u->t->channel->id, &klass);
    if (rc)
        return rc;
    s->chunk = sl_unit_chunk(word);
    s->bytes = sl_unit_bytes(word);
    s->len = left < c->coded ? (uint32_t)left : c->coded;
    s->klass = (uint8_t)klass;
    u->n_sent++;
    return s->bytes == 0 || s->bytes > s->len || s->bytes > UINT64_C(1) << klass
               ? SL_EPROTO
               : 0;
}

int units_adopt(struct update *u)
{
    uint64_t n = units_of(&u->t->cell);
    int rc;
    u->sent = calloc(n, sizeof(*u->sent));
    rc = u->sent ? 0 : SL_ENOMEM;
    for (uint64_t i = 0; i < n && !rc; i++)
        rc = adopt_unit(u, i, &u->sent[i]);
    if (rc)
        drop_from(u->sh->store->config.arena, u->sh->env.cache, u->t,
                  u->n_sent);
    return rc;
}

void units_free(struct update *u)
{
    for (uint32_t i = 0; i < u->n_sent; i++)
        if (u->sent[i].chunk)
            chunk_unref(u->sh->env.cache, u->sent[i].chunk);
    free(u->sent);
    u->sent = NULL;
    u->n_sent = 0;
}

/* ---- as they are ---- */

int units_gather(struct update *u)
{
    uint64_t off = u->lo;
    for (uint32_t i = 0; i < u->n_sent; i++) {
        struct sent_unit *s = &u->sent[i];
        struct piece *p = &u->piece[u->n++];
        memset(p, 0, sizeof(*p));
        p->off = off;
        p->len = s->len;
        p->chunk = s->chunk;
        p->klass = s->klass;
        p->own = 1;
        p->stored = s->bytes < s->len;
        p->raw = !p->stored;
        p->old = extent_of(off, s->len);
        if (p->stored) {
            p->old.codec = SL_CODEC_LZ4;
            extent_set_stored(&p->old, s->bytes);
        }
        s->chunk = 0;
        off += s->len;
    }
    return 0;
}

/* ---- to plain bytes ---- */

struct decoding {
    struct update *u;
    uint32_t pending;
    int code;
    struct decoding_unit {
        struct decoding *d;
        struct codec_job job;
        struct message msg;
    } unit[];
};

static void unit_ended(struct decoding_unit *x)
{
    struct decoding *d = x->d;
    struct update *u = d->u;
    if (x->job.result && !d->code)
        d->code = x->job.result == SL_ECORRUPT ? SL_EBLOCK : x->job.result;
    if (--d->pending)
        return;
    int code = d->code;
    free(d);
    units_free(u);
    update_go_on(u, code);
}

static void came_back(struct message *m)
{
    struct decoding_unit *x =
        (struct decoding_unit *)(void *)((char *)m -
                                         offsetof(struct decoding_unit, msg));
    code_ended(x->d->u->sh);
    unit_ended(x);
}

/* On a thread of the pool. */
static void job_done(struct codec_job *j)
{
    struct decoding_unit *x = j->user;
    const struct shard *sh = x->d->u->sh;
    x->msg.run = came_back;
    sh->env.post(sh->env.runtime, sh->id, &x->msg);
}

static int take_chunks(struct update *u)
{
    for (uint64_t at = u->lo; at < u->hi; at += SL_CHUNK_MAX) {
        uint64_t n = u->hi - at < SL_CHUNK_MAX ? u->hi - at : SL_CHUNK_MAX;
        if (chunk_alloc(u->sh->env.cache,
                        class_for(n < TIER_BLOCK ? TIER_BLOCK : n),
                        &u->list[u->n_list]))
            return SL_ENOMEM;
        u->n_list++;
    }
    u->listed = 1;
    return 0;
}

static void decode_unit(struct decoding *d, uint32_t i)
{
    struct update *u = d->u;
    const struct sent_unit *s = &u->sent[i];
    struct decoding_unit *x = &d->unit[i];
    uint64_t at = (uint64_t)i * u->t->cell.coded;
    uint8_t *to =
        shard_arena(u->sh) + u->list[at / SL_CHUNK_MAX] + at % SL_CHUNK_MAX;
    x->d = d;
    x->job = (struct codec_job){.work = CODEC_DECODE,
                                .id = s->bytes < s->len ? SL_CODEC_LZ4
                                                        : SL_CODEC_NONE,
                                .src = shard_arena(u->sh) + s->chunk,
                                .n = s->bytes,
                                .dst = to,
                                .room = s->len,
                                .done = job_done,
                                .user = x};
    if (code_submit(u->sh, &x->job))
        unit_ended(x);
}

void units_take(struct update *u)
{
    uint32_t n = u->n_sent;
    struct decoding *d;
    u->as_is = !update_merges(u);
    if (u->as_is) {
        update_go_on(u, 0);
        return;
    }
    d = calloc(1, sizeof(*d) + n * sizeof(d->unit[0]));
    if (!d || take_chunks(u)) {
        free(d);
        update_go_on(u, SL_ENOMEM);
        return;
    }
    d->u = u;
    d->pending = n;
    for (uint32_t i = 0; i < n; i++)
        decode_unit(d, i);
}
