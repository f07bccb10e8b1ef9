/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "store/shard.h"

#include <stdlib.h>
#include <string.h>

/*
 * A get answers with chunks. When one chunk of the pinned tier has the whole
 * range, the reply names the byte in it and nothing else is done. Otherwise
 * units are read into transfer chunks and the reply names a list of segments.
 * All chunks that the answer names, the list's too, are held until the
 * producer releases the slot.
 */

/* A get reads the clock that it dates blobs by when so many went before. */
#define HEAT_CLOCK 64u
/* Segments of one answer: what a list chunk of the largest class takes. */
#define SEGMENTS_MAX ((SL_CHUNK_MAX - 16u) / sizeof(struct sl_segment))

struct get_unit {
    struct unit_io io;
    struct extent e;
    uint64_t at;
    int as_is; /* coded bytes are wanted */
};

struct get {
    struct shard *sh;
    struct sl_task *t;
    struct sl_segment *seg;
    uint64_t *hold; /* references of the answer */
    struct get_unit *unit;
    uint32_t n_seg, n_hold, n_unit;
    uint32_t pending;
    uint64_t list; /* a chunk for the segments */
    int coded;     /* a segment is */
    int code;
};

static void get_free(struct get *g)
{
    free(g->seg);
    free(g->hold);
    free(g->unit);
    free(g);
}

static void get_drop(struct get *g)
{
    for (uint32_t i = 0; i < g->n_hold; i++)
        chunk_unref(g->sh->env.cache, g->hold[i]);
    g->n_hold = 0;
}

/* The segments as a list in a chunk of its own, which the answer holds too. */
static int get_list(struct get *g)
{
    struct sl_segments *l;
    uint64_t at = g->list;
    l = (struct sl_segments *)(void *)(shard_arena(g->sh) + at);
    l->n = g->n_seg;
    l->reserved = 0;
    memcpy(l->seg, g->seg, g->n_seg * sizeof(struct sl_segment));
    g->t->value = at;
    g->t->list = 1;
    return 0;
}

static int get_answer(struct get *g)
{
    int rc = g->code;
    if (!rc && g->n_seg == 1 && !g->coded && g->seg[0].at != SL_SEGMENT_ZERO)
        g->t->value = g->seg[0].at;
    else if (!rc)
        rc = get_list(g);
    if (!rc)
        rc = holds_add(g->sh->env.holds, g->t, g->hold, g->n_hold);
    if (rc) {
        get_drop(g);
        g->t->value = 0;
        g->t->list = 0;
    }
    return rc;
}

static void get_ended(struct get *g)
{
    int rc = get_answer(g);
    struct shard *sh = g->sh;
    struct sl_task *t = g->t;
    get_free(g);
    if (rc == SL_ENOMEM) /* nothing is left of this attempt */
        sh->env.starve(t, rc);
    else
        sh->env.finish(t, rc);
}

static void get_unit_done(struct unit_io *io, int code)
{
    struct get *g = io->user;
    if (code)
        g->code = code;
    if (--g->pending == 0)
        get_ended(g);
}

/* One segment; zeros behind zeros are one. */
static void get_segment(struct get *g, uint64_t at, uint64_t bytes)
{
    struct sl_segment *last = g->n_seg ? &g->seg[g->n_seg - 1u] : NULL;
    if (last && at == SL_SEGMENT_ZERO && last->at == at) {
        last->bytes += bytes;
        return;
    }
    g->seg[g->n_seg].at = at;
    g->seg[g->n_seg].bytes = bytes;
    g->n_seg++;
}

static int get_read(struct get *g, const struct extent *e, int as_is,
                    uint64_t *at)
{
    struct get_unit *u = &g->unit[g->n_unit];
    uint32_t room = as_is ? extent_space(e) : unit_stored((uint32_t)e->len);
    if (chunk_alloc(g->sh->env.cache, class_for(room), at))
        return SL_ENOMEM;
    g->hold[g->n_hold++] = *at;
    g->n_unit++;
    u->e = *e; /* the blob's array may change meanwhile */
    u->io.sh = g->sh;
    u->io.e = &u->e;
    u->io.done = get_unit_done;
    u->io.user = g;
    u->io.tag = g->t->cell.tag;
    u->io.name = (const char *)g->t->name;
    u->io.name_len = g->t->cell.name_len;
    u->at = *at;
    u->as_is = as_is;
    return 0;
}

/* All that it needs it has. */
static void get_start(struct get *g)
{
    for (uint32_t i = 0; !g->code && i < g->n_unit; i++) {
        struct get_unit *u = &g->unit[i];
        g->pending++;
        uint8_t *to = shard_arena(g->sh) + u->at;
        int rc = u->as_is ? unit_fetch(&u->io, to) : unit_read(&u->io, to);
        if (rc) {
            g->pending--;
            g->code = rc;
        }
    }
}

static int get_extent(struct get *g, const struct extent *e, int as_is,
                      uint64_t *at)
{
    if (e->target != TARGET_PINNED || (e->codec && !as_is))
        return get_read(g, e, as_is, at);
    chunk_ref(g->sh->store->config.arena, e->loc);
    g->hold[g->n_hold++] = e->loc;
    *at = e->loc + e->skip;
    return 0;
}

/* A reader that decodes itself gets whole units as they are stored. */
static int wants_coded(const struct sl_cell *c, const struct extent *e)
{
    const uint32_t both = SL_F_CODED_OK | SL_F_UNITS;
    return (c->flags & both) == both && e->codec == SL_CODEC_LZ4 &&
           e->off >= c->offset && e->off + e->len <= c->offset + c->size;
}

static int get_walk(struct get *g, const struct blob *b, uint32_t i)
{
    uint64_t at = g->t->cell.offset;
    uint64_t stop = at + g->t->cell.size;
    while (at < stop) {
        const struct extent *e = i < b->n ? &b->ext[i] : NULL;
        uint64_t where = 0;
        if (!e || e->off > at) {
            uint64_t n = (e && e->off < stop ? e->off : stop) - at;
            get_segment(g, SL_SEGMENT_ZERO, n);
            at += n;
            continue;
        }
        int as_is = wants_coded(&g->t->cell, e);
        int rc = get_extent(g, e, as_is, &where);
        if (rc)
            return rc;
        uint64_t n = e->off + e->len < stop ? e->off + e->len - at : stop - at;
        g->coded |= as_is;
        get_segment(g, where + (at - e->off),
                    as_is ? sl_segment_make((uint32_t)n, (uint32_t)e->stored)
                          : n);
        at += n;
        i++;
    }
    return 0;
}

static int get_long(struct shard *sh, struct sl_task *t, const struct blob *b,
                    uint32_t first)
{
    uint32_t n = 0;
    while (first + n < b->n &&
           b->ext[first + n].off < t->cell.offset + t->cell.size)
        n++;
    if (2u * n + 1u > SEGMENTS_MAX)
        return SL_EFBIG; /* smaller ranges of it can be read */
    struct get *g = calloc(1, sizeof(*g));
    if (!g)
        return SL_ENOMEM;
    g->sh = sh;
    g->t = t;
    g->seg = calloc(2u * n + 1u, sizeof(*g->seg));
    g->hold = calloc(n + 1u, sizeof(*g->hold));
    g->unit = calloc(n + 1u, sizeof(*g->unit));
    if (!g->seg || !g->hold || !g->unit) {
        get_free(g);
        return SL_ENOMEM;
    }
    g->pending = 1;
    int rc = chunk_alloc(sh->env.cache, class_for(16u + (2u * n + 1u) * 16u),
                         &g->list);
    if (!rc) {
        g->hold[g->n_hold++] = g->list;
        rc = get_walk(g, b, first);
    }
    if (rc) { /* no read has begun */
        get_drop(g);
        get_free(g);
        sh->env.starve(t, SL_ENOMEM);
        return TASK_LATER;
    }
    get_start(g);
    if (--g->pending == 0)
        get_ended(g);
    return TASK_LATER;
}

/* Whole range in one pinned chunk. */
static int get_short(struct shard *sh, struct sl_task *t,
                     const struct extent *e)
{
    chunk_ref(sh->store->config.arena, e->loc);
    const uint64_t at = e->loc;
    int rc = holds_add(sh->env.holds, t, &at, 1);
    if (rc) {
        chunk_unref(sh->env.cache, at);
        return rc;
    }
    t->value = e->loc + e->skip + (t->cell.offset - e->off);
    return 0;
}

/* A warp that decodes itself asks for just this extent. */
static int get_is_coded(const struct sl_cell *c, const struct extent *e)
{
    return (c->flags & SL_F_CODED_OK) && e->codec == SL_CODEC_LZ4 &&
           c->offset == e->off && c->size == e->len;
}

static int get_coded(struct shard *sh, struct sl_task *t,
                     const struct extent *e)
{
    int rc = get_short(sh, t, e);
    t->result.v[2] = e->stored;
    return rc;
}

/* The blob of a request that readers may see. TASK_LATER: its bytes have left
 * another name and are about to arrive; the task is served again then. */
static int get_find(struct shard *sh, struct sl_task *t, struct blob **out)
{
    struct blob *b = table_find(&sh->index, t);
    if (b && b->arriving) {
        blob_wait(sh, b, t);
        return TASK_LATER;
    }
    if (!b || b->version == 0 || b->tag->dead)
        return tag_live(sh, t->cell.tag) ? SL_ENOENT : SL_ENOTAG;
    *out = b;
    return 0;
}

int store_get(struct sl_task *t, void *container)
{
    struct shard *sh = container;
    const struct sl_cell *c = &t->cell;
    struct blob *b;
    if (c->size > SL_IO_MAX)
        return SL_EFBIG;
    int rc = get_find(sh, t, &b);
    if (rc)
        return rc;
    t->result.v[0] = b->size;
    t->result.v[1] = b->version;
    t->has_result = 1;
    if (c->offset > b->size || c->size > b->size - c->offset)
        return SL_EPASTEND;
    if (c->size == 0)
        return 0;
    if (++sh->accesses % HEAT_CLOCK == 0)
        sh->seconds = (uint32_t)(clock_stamp_ns() / 1000000000u);
    blob_heat(sh, b);
    uint32_t i = blob_seek(b, c->offset);
    const struct extent *e = i < b->n ? &b->ext[i] : NULL;
    if (e && e->target == TARGET_PINNED && e->off <= c->offset &&
        c->offset + c->size <= e->off + e->len) {
        if (!e->codec)
            return get_short(sh, t, e);
        if (get_is_coded(c, e))
            return get_coded(sh, t, e);
    }
    rc = get_long(sh, t, b, i);
    evict_promote(sh, b);
    return rc;
}

int store_size(struct sl_task *t, void *container)
{
    struct blob *b;
    int rc = get_find(container, t, &b);
    if (rc)
        return rc;
    t->result.v[0] = b->size;
    t->result.v[1] = b->version;
    t->has_result = 1;
    return 0;
}

/* ---- stat ---- */

/* Targets of a kind are one line; what does not fit is left out of the lines. */
static void stat_bytes(struct sl_stat *s, const char *kind, uint64_t bytes)
{
    const uint32_t max = sizeof(s->tier) / sizeof(s->tier[0]);
    uint32_t i = 0;
    while (i < s->n_tiers && strcmp(s->tier[i].kind, kind) != 0)
        i++;
    if (i == max)
        return;
    if (i == s->n_tiers) {
        s->n_tiers++;
        strncpy(s->tier[i].kind, kind, sizeof(s->tier[i].kind) - 1u);
    }
    s->tier[i].bytes += bytes;
}

static void stat_extents(const struct shard *sh, const struct blob *b,
                         struct sl_stat *s)
{
    uint64_t bytes[TARGETS_MAX] = {0};
    uint64_t coded[SL_CODEC_ID_MASK + 1u] = {0};
    for (uint32_t i = 0; i < b->n; i++) {
        const struct extent *e = &b->ext[i];
        bytes[e->target] += e->len;
        coded[e->codec & SL_CODEC_ID_MASK] += e->codec ? e->len : 0u;
        if (e->codec || e->target != TARGET_PINNED)
            s->stored += e->stored;
        else
            s->stored += UINT64_C(1) << e->klass;
    }
    for (uint8_t id = 1; id < SL_CODECS; id++)
        if (coded[id] > coded[s->codec])
            s->codec = id;
    for (uint32_t t = 0; t < TARGETS_MAX; t++)
        if (bytes[t])
            stat_bytes(s, sh->store->target[t].spec.kind, bytes[t]);
}

int store_stat(struct sl_task *t, void *container)
{
    struct shard *sh = container;
    struct sl_stat s;
    struct blob *b;
    int rc = get_find(sh, t, &b);
    if (rc)
        return rc;
    memset(&s, 0, sizeof(s));
    s.size = b->size;
    s.version = b->version;
    s.created_ns = blob_created_ns(b);
    s.changed_ns = blob_changed_ns(b);
    s.extents = b->n;
    s.score = b->score;
    s.context = b->context;
    s.persist = b->persist;
    stat_extents(sh, b, &s);
    /* The task may have waited: whose the side chunk is must be asked again. */
    uint32_t klass;
    rc = chunk_adopt(sh->store->config.arena, t->cell.side, t->channel->id,
                     &klass);
    if (rc)
        return rc;
    if (klass == SL_LENT_MIN_SHIFT)
        memcpy(shard_arena(sh) + t->cell.side, &s, sizeof(s));
    chunk_lend(sh->store->config.arena, t->cell.side, t->channel->id);
    return klass == SL_LENT_MIN_SHIFT ? 0 : SL_ECHUNK;
}
