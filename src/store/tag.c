/* SPDX-License-Identifier: Apache-2.0 */
#include "store/shard.h"

#include <stdlib.h>
#include <string.h>

/*
 * A tag's id is the hash of its name with the low byte as a counter for
 * collisions, so its home shard follows from the id, and every node and every
 * restart gives the same name the same id. The home decides; then all shards
 * learn the tag before the first answer, so that a put checks it locally.
 *
 *   absent --create--> known at home --all shards, recorded--> ready
 *   ready --delete--> dead --last blob gone, record gone--> absent
 */

#define TAGS_FIRST 64u
#define TAG_COUNTERS 255u

int tags_create(struct shard *sh)
{
    sh->tags = calloc(TAGS_FIRST, sizeof(struct tag *));
    sh->tag_mask = TAGS_FIRST - 1u;
    return sh->tags ? 0 : SL_ENOMEM;
}

void tags_destroy(struct shard *sh)
{
    for (uint32_t i = 0; sh->tags && i <= sh->tag_mask; i++) {
        if (sh->tags[i])
            free(sh->tags[i]->blobs);
        free(sh->tags[i]);
    }
    free(sh->tags);
    sh->tags = NULL;
}

static uint32_t tag_slot(uint64_t id, uint32_t mask)
{
    return (uint32_t)sl_mix64(id) & mask;
}

struct tag *tag_find(const struct shard *sh, uint64_t id)
{
    uint32_t i = tag_slot(id, sh->tag_mask);
    while (sh->tags[i] && sh->tags[i]->id != id)
        i = (i + 1u) & sh->tag_mask;
    return sh->tags[i];
}

struct tag *tag_live(const struct shard *sh, uint64_t id)
{
    struct tag *t = tag_find(sh, id);
    return t && !t->dead ? t : NULL;
}

static void tag_place(struct tag **at, uint32_t mask, struct tag *t)
{
    uint32_t i = tag_slot(t->id, mask);
    while (at[i])
        i = (i + 1u) & mask;
    at[i] = t;
}

static int tags_grow(struct shard *sh)
{
    uint32_t size = (sh->tag_mask + 1u) * 2u;
    struct tag **at = calloc(size, sizeof(*at));
    if (!at)
        return SL_ENOMEM;
    for (uint32_t i = 0; i <= sh->tag_mask; i++)
        if (sh->tags[i])
            tag_place(at, size - 1u, sh->tags[i]);
    free(sh->tags);
    sh->tags = at;
    sh->tag_mask = size - 1u;
    return 0;
}

int tag_add(struct shard *sh, uint64_t id, const void *name, uint32_t len,
            struct tag **out)
{
    struct tag *t = tag_find(sh, id);
    if (!t) {
        if (sh->tag_used >= (sh->tag_mask + 1u) / 2u && tags_grow(sh))
            return SL_ENOMEM;
        t = calloc(1, sizeof(*t) + len + 1u);
        if (!t)
            return SL_ENOMEM;
        t->id = id;
        t->len = (uint8_t)len;
        memcpy(t->name, name, len);
        tag_place(sh->tags, sh->tag_mask, t);
        sh->tag_used++;
    }
    *out = t;
    return 0;
}

static void tag_drop(struct shard *sh, struct tag *t)
{
    uint32_t i = tag_slot(t->id, sh->tag_mask);
    while (sh->tags[i] != t)
        i = (i + 1u) & sh->tag_mask;
    for (uint32_t j = (i + 1u) & sh->tag_mask; sh->tags[j];
         j = (j + 1u) & sh->tag_mask) {
        uint32_t home = tag_slot(sh->tags[j]->id, sh->tag_mask);
        if (((j - home) & sh->tag_mask) >= ((j - i) & sh->tag_mask)) {
            sh->tags[i] = sh->tags[j];
            i = j;
        }
    }
    sh->tags[i] = NULL;
    sh->tag_used--;
    free(t->blobs);
    free(t);
}

int tag_link(struct tag *t, struct blob *b)
{
    if (t->n == t->cap) {
        uint32_t cap = t->cap ? t->cap * 2u : 16u;
        struct blob **p = realloc(t->blobs, cap * sizeof(struct blob *));
        if (!p)
            return SL_ENOMEM;
        t->blobs = p;
        t->cap = cap;
    }
    b->tag = t;
    b->tag_pos = t->n;
    t->blobs[t->n++] = b;
    return 0;
}

/* The last one moves into the hole; a listing runs downwards, so it sees every
 * blob that stays (list.c). */
void tag_unlink(struct blob *b)
{
    struct tag *t = b->tag;
    struct blob *last = t->blobs[--t->n];
    t->blobs[b->tag_pos] = last;
    last->tag_pos = b->tag_pos;
    t->bytes -= b->size;
}

/* ---- create ---- */

static void tag_answer(struct shard *sh, struct tag *tag, int code)
{
    struct sl_task *t = tag->wait;
    uint64_t id = tag->id;
    tag->wait = NULL;
    if (code)
        tag_drop(sh, tag);
    else
        tag->ready = 1;
    while (t) {
        struct sl_task *next = t->next;
        t->result.v[0] = id;
        t->has_result = 1;
        sh->env.finish(t, code);
        t = next;
    }
}

static void tag_recorded(struct change *c, int code)
{
    tag_answer(c->sh, c->user, code);
    change_release(c);
}

static int tag_everywhere(struct scatter *s, struct shard *sh)
{
    const struct tag *from = s->user;
    struct tag *t;
    /* The origin's tag does not move or change while it is not ready. */
    int rc = tag_add(sh, from->id, from->name, from->len, &t);
    if (!rc && sh != s->origin)
        t->ready = 1;
    return rc;
}

static int tag_record(struct shard *sh, struct tag *tag, enum meta_op op,
                      void (*done)(struct change *, int), void *user)
{
    struct change *c = calloc(1, sizeof(*c));
    if (!c)
        return SL_ENOMEM;
    c->sh = sh;
    c->done = done;
    c->user = user;
    c->meta.op = op;
    c->meta.blob.tag = tag->id;
    c->meta.blob.name = tag->name;
    c->meta.blob.name_len = tag->len;
    change_submit(c);
    return 0;
}

static void tag_known(struct scatter *s, int code)
{
    struct shard *sh = s->origin;
    if (!code && sh->store->meta) {
        code = tag_record(sh, s->user, META_PUT_TAG, tag_recorded, s->user);
        if (!code)
            return;
    }
    tag_answer(sh, s->user, code);
}

static int tag_create(struct shard *sh, struct sl_task *t, uint64_t id)
{
    struct tag *tag;
    int rc = tag_add(sh, id, t->name, t->cell.name_len, &tag);
    if (rc)
        return rc;
    rc = scatter_start(sh, t, tag_everywhere, tag_known, tag);
    if (rc) {
        tag_drop(sh, tag);
        return rc;
    }
    t->next = NULL;
    tag->wait = t;
    return TASK_LATER;
}

int store_tag(struct sl_task *t, void *container)
{
    struct shard *sh = container;
    uint64_t base = t->hash.lo & ~UINT64_C(255);
    for (uint64_t k = 1; k <= TAG_COUNTERS; k++) {
        struct tag *tag = tag_find(sh, base | k);
        if (!tag && (t->cell.flags & SL_F_EXISTING))
            return SL_ENOTAG;
        if (!tag)
            return tag_create(sh, t, base | k);
        if (tag->len != t->cell.name_len ||
            memcmp(tag->name, t->name, tag->len) != 0)
            continue;
        if (tag->dead)
            return SL_EAGAIN; /* the delete is not through yet */
        if (!tag->ready) {
            t->next = tag->wait;
            tag->wait = t;
            return TASK_LATER;
        }
        t->result.v[0] = tag->id;
        t->has_result = 1;
        return 0;
    }
    return SL_ENOSPC;
}

/* ---- delete ---- */

static void tag_forgotten(struct change *c, int code)
{
    struct sl_task *t = c->user;
    tag_drop(c->sh, tag_find(c->sh, t->cell.tag));
    c->sh->env.finish(t, code);
    change_release(c);
}

static void tag_emptied(struct scatter *s, int code)
{
    struct shard *sh = s->origin;
    struct sl_task *t = s->task;
    struct tag *tag = tag_find(sh, t->cell.tag);
    if (sh->store->meta) {
        code = tag_record(sh, tag, META_DEL_TAG, tag_forgotten, t);
        if (!code)
            return;
    }
    tag_drop(sh, tag);
    sh->env.finish(t, code);
}

/* Blobs with a writer under way go when it leaves (blob_leave). */
void tag_reap(struct shard *sh, struct tag *tag)
{
    for (uint32_t i = tag->n; i-- > 0;)
        if (!tag->blobs[i]->busy)
            blob_destroy(sh, tag->blobs[i]);
}

void tag_gone(struct shard *sh, struct tag *tag)
{
    struct scatter *s = tag->ending;
    if (tag->n || !s)
        return;
    tag->ending = NULL;
    if (sh != s->origin)
        tag_drop(sh, tag);
    scatter_part(s, 0);
}

static int tag_empty(struct scatter *s, struct shard *sh)
{
    struct tag *tag = tag_find(sh, s->task->cell.tag);
    if (!tag)
        return 0;
    tag->dead = 1;
    tag->ending = s;
    tag_reap(sh, tag);
    tag_gone(sh, tag);
    return TASK_LATER;
}

int store_tag_del(struct sl_task *t, void *container)
{
    struct shard *sh = container;
    struct tag *tag = tag_live(sh, t->cell.tag);
    if (!tag || !tag->ready)
        return SL_ENOTAG;
    if (sl_key_container((struct sl_hash){tag->id, 0},
                         sh->store->config.n_shards) != sh->id)
        return SL_EROUTE; /* only the home orders create and delete */
    tag->dead = 1;
    int rc = scatter_start(sh, t, tag_empty, tag_emptied, NULL);
    if (rc)
        tag->dead = 0;
    return rc ? rc : TASK_LATER;
}
