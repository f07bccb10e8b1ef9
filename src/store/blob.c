/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "store/shard.h"

#include <stdlib.h>
#include <string.h>

/* ---- budget of the pinned tier ---- */

int shard_charge(struct shard *sh, uint64_t bytes)
{
    struct arena *a = sh->store->config.arena;
    if (sh->credit >= bytes) {
        sh->credit -= bytes;
        return 0;
    }
    evict_check(sh, TARGET_PINNED, arena_pinned_used(a) + bytes);
    /* A step ahead, so that most puts touch no shared line. */
    if (arena_charge(a, bytes + sh->credit_step) == 0) {
        sh->credit += sh->credit_step;
        return 0;
    }
    return arena_charge(a, bytes);
}

void shard_discharge(struct shard *sh, uint64_t bytes)
{
    sh->credit += bytes;
    if (sh->credit > 2u * sh->credit_step) {
        arena_discharge(sh->store->config.arena, sh->credit - sh->credit_step);
        sh->credit = sh->credit_step;
    }
}

void shard_give_credit(struct shard *sh)
{
    arena_discharge(sh->store->config.arena, sh->credit);
    sh->credit = 0;
}

/* ---- extents ---- */

void extent_free(struct shard *sh, const struct extent *e)
{
    if (e->target != TARGET_PINNED) {
        limbo_add(sh, e);
        return;
    }
    shard_discharge(sh, UINT64_C(1) << e->klass);
    chunk_unref(sh->env.cache, e->loc); /* readers may still hold it */
}

/* An extent that the blob has no more. */
static void blob_drop(struct shard *sh, const struct blob *b,
                      const struct extent *e)
{
    if (b->recorded && e->target != TARGET_PINNED)
        settle_unit(sh, e);
    else
        extent_free(sh, e);
}

uint32_t blob_seek(const struct blob *b, uint64_t at)
{
    uint32_t lo = 0, hi = b->n;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2u;
        if (b->ext[mid].off + b->ext[mid].len > at)
            hi = mid;
        else
            lo = mid + 1u;
    }
    return lo;
}

static uint32_t blob_cap(const struct blob *b)
{
    return b->ext == &b->one ? 1u : b->cap;
}

int blob_reserve(struct blob *b, uint64_t n)
{
    uint64_t cap = blob_cap(b);
    if (n <= cap)
        return 0;
    if (n > BLOB_EXTENTS_MAX)
        return SL_EFBIG;
    cap = cap * 2u > n ? cap * 2u : n;
    struct extent *p = malloc(cap * sizeof(*p));
    if (!p)
        return SL_ENOMEM;
    memcpy(p, b->ext, b->n * sizeof(*p));
    if (b->ext != &b->one)
        free(b->ext);
    b->ext = p;
    b->cap = (uint32_t)cap;
    return 0;
}

/* An old extent goes when a made one overlaps it; the maker sees to it that it
 * then covers all of it. */
static int is_replaced(const struct extent *e, const struct extent *made,
                       uint32_t n, uint32_t i)
{
    return i < n && made[i].off < e->off + e->len;
}

int blob_merge(const struct blob *b, const struct extent *made, uint32_t n,
               int all, struct merged *out)
{
    uint32_t i = 0;
    out->n = 0;
    out->ext = NULL;
    if ((uint64_t)b->n + n > BLOB_EXTENTS_MAX)
        return SL_EFBIG;
    out->ext = malloc((b->n + n + 1u) * sizeof(*out->ext));
    if (!out->ext)
        return SL_ENOMEM;
    for (uint32_t j = 0; j < b->n && !all; j++) {
        const struct extent *e = &b->ext[j];
        while (i < n && made[i].off + made[i].len <= e->off)
            out->ext[out->n++] = made[i++];
        if (!is_replaced(e, made, n, i))
            out->ext[out->n++] = *e;
    }
    while (i < n)
        out->ext[out->n++] = made[i++];
    return 0;
}

void blob_publish(struct shard *sh, struct blob *b, struct merged *m)
{
    uint32_t k = 0;
    for (uint32_t j = 0; j < b->n; j++) {
        const struct extent *e = &b->ext[j];
        while (k < m->n && m->ext[k].off < e->off)
            k++;
        if (k == m->n || m->ext[k].loc != e->loc ||
            m->ext[k].target != e->target)
            blob_drop(sh, b, e);
    }
    if (b->ext != &b->one)
        free(b->ext);
    b->ext = m->ext;
    b->cap = m->n ? m->n : 1u;
    blob_set_n(b, m->n);
    m->ext = NULL;
}

/* ---- blobs ---- */

void blob_set_created(struct blob *b, uint64_t ns)
{
    b->created_lo = (uint32_t)(ns / BLOB_STAMP_NS);
    b->created_hi = (uint32_t)(ns / BLOB_STAMP_NS >> 32) & 0xfffu;
}

void blob_set_changed(struct blob *b, uint64_t ns)
{
    b->changed_lo = (uint32_t)(ns / BLOB_STAMP_NS);
    b->changed_hi = (uint32_t)(ns / BLOB_STAMP_NS >> 32) & 0xfffu;
}

int blob_make(struct shard *sh, const struct sl_task *t, struct tag *tag,
              struct blob **out)
{
    struct blob *b = mem_record(&sh->records, blob_bytes(t->cell.name_len));
    if (!b)
        return SL_ENOMEM;
    b->tag = tag;
    b->ext = &b->one;
    b->score = t->cell.score;
    b->name_len = t->cell.name_len;
    memcpy(b->name, t->name, b->name_len);
    blob_set_created(b, clock_stamp_ns());
    if (tag_link(tag, b)) {
        mem_record_free(&sh->records, b, blob_bytes(b->name_len));
        return SL_ENOMEM;
    }
    *out = b;
    return 0;
}

int blob_create(struct shard *sh, const struct sl_task *t, struct tag *tag,
                struct blob **out)
{
    struct blob *b;
    int rc = blob_make(sh, t, tag, &b);
    if (rc)
        return rc;
    rc = table_insert(&sh->index, b, t->hash.lo);
    if (rc) {
        tag_unlink(sh, b);
        mem_record_free(&sh->records, b, blob_bytes(b->name_len));
        return rc;
    }
    *out = b;
    return 0;
}

/* ---- writers that wait ---- */

static struct wait_queue *queue_of(struct shard *sh, const struct blob *b)
{
    return &sh->wait[sl_mix64((uintptr_t)b) % WAIT_QUEUES];
}

static void queue_add(struct wait_queue *q, struct sl_task *t)
{
    t->next = NULL;
    if (q->head)
        q->tail->next = t;
    else
        q->head = t;
    q->tail = t;
}

void blob_wait(struct shard *sh, struct blob *b, struct sl_task *t)
{
    b->waited = 1;
    t->behind = b;
    queue_add(queue_of(sh, b), t);
}

/* Those behind this blob, in their order; the others of the queue stay. */
static struct sl_task *take_waiting(struct shard *sh, struct blob *b)
{
    struct wait_queue *q = queue_of(sh, b);
    struct wait_queue mine = {0}, others = {0};
    if (!b->waited)
        return NULL;
    b->waited = 0;
    for (struct sl_task *t = q->head, *next; t; t = next) {
        next = t->next;
        queue_add(t->behind == b ? &mine : &others, t);
    }
    *q = others;
    return mine.head;
}

static void serve_again(struct shard *sh, struct sl_task *t)
{
    while (t) {
        struct sl_task *next = t->next;
        int rc = 0;
        if (t->channel) /* else it is one of ours and only wants to be told */
            rc = store_methods[t->cell.method](t, sh);
        if (rc != TASK_LATER)
            sh->env.finish(t, rc);
        t = next;
    }
}

void blob_enter(struct blob *b)
{
    b->busy = 1;
    b->tag->busy++;
}

/* A delete of the tag waits until no blob of it is busy. Safe for one that is
 * not: a put that made its blob and failed at once. */
static void blob_rest(struct shard *sh, struct blob *b)
{
    if (!b->busy)
        return;
    b->busy = 0;
    if (--b->tag->busy == 0)
        tag_rests(sh, b->tag);
}

uint32_t blob_drop_last(struct shard *sh, struct blob *b, uint32_t most)
{
    uint32_t n = b->n < most ? b->n : most;
    for (uint32_t i = 0; i < n; i++)
        blob_drop(sh, b, &b->ext[b->n - 1u - i]);
    blob_set_n(b, b->n - n);
    return n;
}

void blob_destroy(struct shard *sh, struct blob *b)
{
    blob_drop_last(sh, b, b->n);
    blob_forget(sh, b);
}

void blob_forget(struct shard *sh, struct blob *b)
{
    struct sl_task *wait = take_waiting(sh, b);
    if (b->version > sh->last_version)
        sh->last_version = b->version;
    table_remove(&sh->index, b);
    blob_rest(sh, b);
    tag_unlink(sh, b);
    if (b->ext != &b->one)
        free(b->ext);
    mem_record_free(&sh->records, b, blob_bytes(b->name_len));
    serve_again(sh, wait);
}

uint64_t blob_next_version(const struct shard *sh, const struct blob *b)
{
    return (b->version ? b->version : sh->last_version) + 1u;
}

void blob_touch(struct shard *sh, struct blob *b, uint64_t size,
                uint64_t version, uint64_t now_ns)
{
    b->tag->shown += b->version == 0;
    b->tag->bytes += size - b->size; /* wraps rightly when it shrinks */
    b->size = size & SL_BLOB_MAX;
    b->version = version & BLOB_VERSION_MAX;
    blob_set_changed(b, now_ns);
    sh->seconds = (uint32_t)(now_ns / 1000000000u);
    blob_heat(sh, b);
}

void blob_leave(struct shard *sh, struct blob *b)
{
    if (b->version == 0) {
        blob_destroy(sh, b);
        return;
    }
    struct sl_task *wait = take_waiting(sh, b);
    blob_rest(sh, b);
    serve_again(sh, wait);
}
