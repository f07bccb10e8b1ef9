/* SPDX-License-Identifier: Apache-2.0 */
#include "store/code.h"

#include "codec/choose.h"
#include "codec/local.h"
#include "codec/speed.h"
#include "store/dir.h"
#include "store/update.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/*
 * Pieces are cut into units where place.c cuts them. Each goes to a thread of
 * the pool, a few at a time for each update, so that a large put leaves room
 * for others; what becomes smaller by at least a granule of some target waits
 * in memory of its own for its place.
 */

#define FLYING 16u      /* units of one update with the pool at once */
#define LEAST_BYTES 128 /* a smaller blob's chunk cannot halve */

/* ---- the pool ---- */

void code_start(struct store *s)
{
    char path[4096];
    if (!s->dir)
        return;
    size_t n = strlen(s->dir->path);
    if (n + sizeof("/codecs") > sizeof(path))
        return;
    memcpy(path, s->dir->path, n);
    memcpy(path + n, "/codecs", sizeof("/codecs"));
    codec_speeds_file(path);
}

void code_stop(struct store *s)
{
    codec_pool_destroy(s->code_pool);
    pthread_mutex_destroy(&s->code_lock);
}

/* Made by the first who codes; null: no memory, no threads. */
static struct codec_pool *pool_of(struct store *s)
{
    /* Acquire; partner: the release below. */
    struct codec_pool *p = __atomic_load_n(&s->code_pool, __ATOMIC_ACQUIRE);
    if (p)
        return p;
    uint32_t threads = (uint32_t)s->config.config->codec_threads;
    pthread_mutex_lock(&s->code_lock);
    p = s->code_pool;
    if (!p && !codec_pool_create(threads, 0, &p))
        __atomic_store_n(&s->code_pool, p, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&s->code_lock);
    return p;
}

int code_submit(struct shard *sh, struct codec_job *j)
{
    struct codec_pool *p = codec_job_is_quick(j) ? NULL : pool_of(sh->store);
    if (!p) {
        codec_job_run(j);
        return 1;
    }
    /* Relaxed: a figure of this worker. */
    __atomic_fetch_add(&sh->coding, 1u, __ATOMIC_RELAXED);
    codec_pool_submit(p, j); /* it has no bound */
    return 0;
}

void code_ended(struct shard *sh)
{
    __atomic_fetch_sub(&sh->coding, 1u, __ATOMIC_RELAXED);
}

/* ---- the list of units ---- */

static uint8_t wanted(const struct update *u, const struct piece *p)
{
    if (p->raw)
        return SL_CODEC_NONE;
    if (!p->load || u->codec)
        return u->codec;
    return p->old.codec & SL_CODEC_ID_MASK; /* rewritten in part */
}

static uint32_t units_of(const struct piece *p)
{
    return (p->len + UNIT_BYTES - 1u) / UNIT_BYTES;
}

/* A unit that moves as it is: its coded bytes are in the piece's chunk. */
static void take_stored(const struct update *u, const struct piece *p,
                        struct coded *c)
{
    c->buf = shard_arena(u->sh) + p->chunk;
    c->bytes = (uint32_t)p->old.stored;
    c->sum = p->old.sum;
    c->codec = p->old.codec & SL_CODEC_ID_MASK;
    c->given = 1;
}

static void list_piece(struct update *u, struct piece *p)
{
    uint8_t codec = wanted(u, p);
    p->first_coded = u->n_coded;
    for (uint32_t at = 0; at < p->len; at += UNIT_BYTES) {
        struct coded *c = &u->coded[u->n_coded++];
        uint32_t left = p->len - at;
        c->u = u;
        c->len = left < UNIT_BYTES ? left : UNIT_BYTES;
        c->plain = shard_arena(u->sh) + p->chunk + p->skip + at;
        if (p->stored)
            take_stored(u, p, c);
        else if (c->len >= LEAST_BYTES)
            c->codec = codec & SL_CODEC_ID_MASK;
        c->preset = (uint8_t)codec_preset(codec);
    }
}

/* Without memory all stays as it is; SL_ENOMEM: some of it is coded already, and
 * nothing but the list says so. */
static int list_units(struct update *u)
{
    uint32_t n = 0, any = 0, stored = 0;
    for (uint32_t i = 0; i < u->n; i++) {
        n += units_of(&u->piece[i]);
        any |= wanted(u, &u->piece[i]) & 15u;
        stored |= u->piece[i].stored;
    }
    if (!any && !stored)
        return 0;
    u->coded = calloc(n + 1u, sizeof(*u->coded));
    for (uint32_t i = 0; u->coded && i < u->n; i++)
        list_piece(u, &u->piece[i]);
    return u->coded || !stored ? 0 : SL_ENOMEM;
}

struct coded *coded_of(const struct update *u, const struct piece *p,
                       uint32_t i)
{
    struct coded *c = u->coded ? &u->coded[p->first_coded + i] : NULL;
    return c && c->bytes ? c : NULL;
}

void coded_free(struct update *u)
{
    for (uint32_t i = 0; i < u->n_coded; i++)
        if (!u->coded[i].given)
            free(u->coded[i].buf);
    free(u->coded);
    u->coded = NULL;
    u->n_coded = u->next_coded = 0;
}

void coded_sum(struct coded *c)
{
    if (!c->sum)
        c->sum = unit_sum(c->buf, c->bytes);
}

void coded_set(struct extent *e, const struct coded *c)
{
    e->codec = c->codec;
    e->sum = c->sum;
    extent_set_stored(e, c->bytes);
}

int coded_saves_chunks(const struct update *u, const struct piece *p)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; u->coded && i < units_of(p); i++) {
        const struct coded *c = &u->coded[p->first_coded + i];
        bytes += UINT64_C(1) << class_for(c->bytes ? c->bytes : c->len);
    }
    return u->coded && (p->stored || bytes < UINT64_C(1) << p->klass);
}

/* ---- coding ---- */

/* On a thread of the pool. The result is 0 also when it stays as it is. */
static int code_unit(struct codec_job *j)
{
    struct coded *c = j->user;
    uint32_t whole = unit_stored(c->len);
    size_t half = ((size_t)1 << class_for(c->len)) / 2u;
    size_t room = whole - TIER_BLOCK > half ? whole - TIER_BLOCK : half;
    uint8_t *to = local_bytes(LOCAL_UNIT, UNIT_BYTES);
    int made =
        to ? codec_encode(c->codec, c->preset, c->plain, c->len, to, room)
           : SL_ENOMEM;
    if (made <= 0)
        return 0;
    uint32_t space = unit_stored((uint32_t)made);
    c->buf = aligned_alloc(TIER_BLOCK, space);
    if (!c->buf)
        return 0;
    memcpy(c->buf, to, (size_t)made);
    memset(c->buf + made, 0, space - (uint32_t)made);
    c->sum = XXH3_64bits(to, (size_t)made);
    c->bytes = (uint32_t)made;
    return 0;
}

static void next_units(struct update *u);

static void unit_coded(struct update *u, const struct coded *c)
{
    u->codec_ns += c->job.ns;
    u->pending--;
}

static void unit_back(struct message *m)
{
    struct coded *c =
        (struct coded *)(void *)((char *)m - offsetof(struct coded, msg));
    struct update *u = c->u;
    code_ended(u->sh);
    unit_coded(u, c);
    next_units(u);
}

/* On a thread of the pool. */
static void unit_job_done(struct codec_job *j)
{
    struct coded *c = j->user;
    const struct shard *sh = c->u->sh;
    c->msg.run = unit_back;
    sh->env.post(sh->env.runtime, sh->id, &c->msg);
}

static void next_units(struct update *u)
{
    while (u->next_coded < u->n_coded && u->pending < FLYING) {
        struct coded *c = &u->coded[u->next_coded++];
        if (!c->codec || c->given)
            continue;
        c->job = (struct codec_job){.work = CODEC_CALL,
                                    .id = c->codec,
                                    .preset = c->preset,
                                    .n = c->len,
                                    .call = code_unit,
                                    .done = unit_job_done,
                                    .user = c};
        u->pending++;
        if (code_submit(u->sh, &c->job))
            unit_coded(u, c);
    }
    if (u->pending == 0 && u->next_coded == u->n_coded)
        update_place(u);
}

static void code_pieces(struct update *u)
{
    u->pending = 0;
    int rc = list_units(u);
    if (rc)
        update_fail(u, rc);
    else
        next_units(u);
}

/* ---- dynamic ---- */

struct look {
    struct update *u;
    const uint8_t *data;
    size_t n;
    struct codec_goal goal;
    uint8_t chosen;
    struct codec_job job;
    struct message msg;
};

static int look_call(struct codec_job *j)
{
    struct look *l = j->user;
    l->chosen = codec_choose(l->data, l->n, &l->goal);
    return 0;
}

static void looked(struct message *m)
{
    struct look *l =
        (struct look *)(void *)((char *)m - offsetof(struct look, msg));
    struct update *u = l->u;
    code_ended(u->sh);
    u->codec = l->chosen;
    u->codec_ns += l->job.ns;
    free(l);
    code_pieces(u);
}

/* On a thread of the pool. */
static void look_done(struct codec_job *j)
{
    struct look *l = j->user;
    const struct shard *sh = l->u->sh;
    l->msg.run = looked;
    sh->env.post(sh->env.runtime, sh->id, &l->msg);
}

/* Bytes a second of the target that the update tries first; the memory of this
 * machine when it was not measured. */
#define MEMORY_BPS 1e10

static struct codec_goal goal_of(const struct update *u)
{
    uint8_t order[TARGETS_MAX];
    struct codec_goal g = {.write_bps = MEMORY_BPS,
                           .read_bps = MEMORY_BPS,
                           .reads = 1.0,
                           .unit = UNIT_BYTES,
                           .granule = TIER_BLOCK};
    if (update_order(u, order)) {
        uint64_t bps = u->sh->choice.bandwidth[order[0]];
        if (bps)
            g.write_bps = g.read_bps = (double)bps;
    }
    return g;
}

/* The largest run of new bytes stands for all. */
static const struct piece *longest(const struct update *u)
{
    const struct piece *p = &u->piece[0];
    for (uint32_t i = 1; i < u->n; i++)
        if (u->piece[i].len > p->len)
            p = &u->piece[i];
    return p;
}

static int look(struct update *u)
{
    struct look *l = calloc(1, sizeof(*l));
    if (!l)
        return SL_ENOMEM;
    const struct piece *p = longest(u);
    l->u = u;
    l->data = shard_arena(u->sh) + p->chunk + p->skip;
    l->n = p->len;
    l->goal = goal_of(u);
    l->job = (struct codec_job){
        .work = CODEC_CALL, .call = look_call, .done = look_done, .user = l};
    if (code_submit(u->sh, &l->job)) { /* no pool: not worth it here */
        free(l);
        return SL_ENOMEM;
    }
    return 0;
}

void update_code(struct update *u)
{
    if (u->codec & SL_CODEC_DYNAMIC) {
        u->codec = SL_CODEC_NONE;
        if (u->n && look(u) == 0)
            return;
    }
    code_pieces(u);
}
