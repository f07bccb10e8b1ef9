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

int blob_reserve(struct blob *b, uint32_t n)
{
    if (n <= b->cap)
        return 0;
    uint32_t cap = b->cap * 2u > n ? b->cap * 2u : n;
    struct extent *p = malloc(cap * sizeof(*p));
    if (!p)
        return SL_ENOMEM;
    memcpy(p, b->ext, b->n * sizeof(*p));
    if (b->ext != &b->one)
        free(b->ext);
    b->ext = p;
    b->cap = cap;
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
            extent_free(sh, e);
    }
    if (b->ext != &b->one)
        free(b->ext);
    b->ext = m->ext;
    b->n = m->n;
    b->cap = m->n ? m->n : 1u;
    m->ext = NULL;
}

/* ---- blobs ---- */

int blob_create(struct shard *sh, const struct sl_task *t, struct tag *tag,
                struct blob **out)
{
    struct blob *b = mem_record(&sh->records, blob_bytes(t->cell.name_len));
    if (!b)
        return SL_ENOMEM;
    b->hash = t->hash;
    b->tag = tag;
    b->ext = &b->one;
    b->cap = 1;
    b->score = t->cell.score;
    b->name_len = t->cell.name_len;
    memcpy(b->name, t->name, b->name_len);
    b->created_ns = clock_stamp_ns();
    if (tag_link(tag, b)) {
        mem_record_free(&sh->records, b, blob_bytes(b->name_len));
        return SL_ENOMEM;
    }
    if (table_insert(&sh->index, b)) {
        tag_unlink(b);
        mem_record_free(&sh->records, b, blob_bytes(b->name_len));
        return SL_ENOMEM;
    }
    *out = b;
    return 0;
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

void blob_destroy(struct shard *sh, struct blob *b)
{
    struct sl_task *wait = b->wait_head;
    if (b->version > sh->last_version)
        sh->last_version = b->version;
    for (uint32_t i = 0; i < b->n; i++)
        extent_free(sh, &b->ext[i]);
    table_remove(&sh->index, b);
    blob_rest(sh, b);
    tag_unlink(b);
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
                uint64_t now_ns)
{
    b->tag->bytes += size - b->size; /* wraps rightly when it shrinks */
    b->size = size;
    b->version = blob_next_version(sh, b);
    b->changed_ns = now_ns;
}

void blob_wait(struct blob *b, struct sl_task *t)
{
    t->next = NULL;
    if (b->wait_head)
        b->wait_tail->next = t;
    else
        b->wait_head = t;
    b->wait_tail = t;
}

void blob_leave(struct shard *sh, struct blob *b)
{
    if (b->version == 0) {
        blob_destroy(sh, b);
        return;
    }
    struct sl_task *wait = b->wait_head;
    blob_rest(sh, b);
    b->wait_head = NULL;
    serve_again(sh, wait);
}
