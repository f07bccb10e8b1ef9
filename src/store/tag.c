/* SPDX-License-Identifier: Apache-2.0 */
#include "store/shard.h"

#include <stdlib.h>
#include <string.h>

/*
 * A tag's id is the hash of its first name with the low byte as a counter for
 * collisions, so its home shard follows from the id, and every node and every
 * restart gives the same name the same id, unless tags were renamed
 * (tag_name.c). The home decides; the others follow
 * it, each change in two rounds through all shards with the metadata between:
 *
 *   absent --all shards: add--> known --PUT_TAG stored-->
 *          --all shards: ready--> ready --> who asked is answered
 *
 *   ready --all shards: dead, busy blobs waited for--> dead --DEL_TAG stored-->
 *         --all shards: destroy the blobs, drop--> absent --> answered
 *
 * Blobs are destroyed in steps, between which the worker serves other calls.
 * Requests find a tag while it is ready and not dead. So a record of a blob is
 * never stored without that of its tag, and space of recorded blobs becomes
 * free after their records have gone for good. A failure takes the second
 * round back: a known tag is dropped (it is empty), a dead one is ready again
 * with all its blobs. The home changes last, hence an order for the same tag
 * cannot overtake a round.
 */

#define TAGS_FIRST 64u
#define TAG_BLOBS_MAX ((1u << 29) - 1u) /* in a shard: field tag_pos */

int tags_create(struct shard *sh)
{
    sh->tags = calloc(TAGS_FIRST, sizeof(struct tag *));
    sh->tag_list = calloc(TAGS_FIRST / 2u, sizeof(struct tag *));
    sh->tag_mask = TAGS_FIRST - 1u;
    return sh->tags && sh->tag_list ? 0 : SL_ENOMEM;
}

int tags_each_blob(struct shard *sh, int (*one)(void *user, struct blob *b),
                   void *user)
{
    int rc = 0;
    for (uint32_t i = 0; i < sh->tag_used && !rc; i++) {
        const struct tag *t = sh->tag_list[i];
        for (uint32_t k = 0; k < t->n && !rc; k++)
            rc = one(user, tag_blob(sh, t, k));
    }
    return rc;
}

static void tag_free(struct tag *t)
{
    mem_resize(t->blobs, t->cap * sizeof(*t->blobs), 0);
    free(t->name);
    free(t);
}

void tags_destroy(struct shard *sh)
{
    for (uint32_t i = 0; sh->tags && i <= sh->tag_mask; i++) {
        if (sh->tags[i])
            tag_free(sh->tags[i]);
    }
    free(sh->tags);
    free(sh->tag_list);
    aliases_destroy(sh);
    sh->tags = NULL;
    sh->tag_list = NULL;
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
    return t && t->ready && !t->dead ? t : NULL;
}

static void tag_place(struct tag **at, uint32_t mask, struct tag *t)
{
    uint32_t i = tag_slot(t->id, mask);
    while (at[i])
        i = (i + 1u) & mask;
    at[i] = t;
}

/* The table is at most half full, so the list has half as many places. */
static int tags_grow(struct shard *sh)
{
    uint32_t size = (sh->tag_mask + 1u) * 2u;
    struct tag **list = realloc(sh->tag_list, size / 2u * sizeof(struct tag *));
    if (!list)
        return SL_ENOMEM;
    sh->tag_list = list;
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
        t = calloc(1, sizeof(*t));
        char *copy = calloc(1, len + 1u);
        if (!t || !copy) {
            free(t);
            free(copy);
            return SL_ENOMEM;
        }
        t->name = copy;
        t->id = id;
        t->len = (uint8_t)len;
        memcpy(t->name, name, len);
        tag_place(sh->tags, sh->tag_mask, t);
        t->list_pos = sh->tag_used;
        sh->tag_list[sh->tag_used++] = t;
    }
    *out = t;
    return 0;
}

static void tag_drop(struct shard *sh, struct tag *t)
{
    tag_unname(sh, t);
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
    struct tag *last = sh->tag_list[--sh->tag_used];
    sh->tag_list[t->list_pos] = last; /* as tag_unlink, for listings */
    last->list_pos = t->list_pos;
    tag_free(t);
}

int tag_link(struct tag *t, struct blob *b)
{
    if (t->n > TAG_BLOBS_MAX)
        return SL_ENOMEM;
    if (t->n == t->cap) {
        uint32_t cap = t->cap + t->cap / 4u + 16u;
        uint32_t *p =
            mem_resize(t->blobs, t->cap * sizeof(*p), cap * sizeof(*p));
        if (!p)
            return SL_ENOMEM;
        t->blobs = p;
        t->cap = cap;
    }
    b->tag = t;
    b->tag_pos = t->n & TAG_BLOBS_MAX;
    t->blobs[t->n++] = mem_ref(b);
    return 0;
}

/* The last one moves into the hole; a listing runs downwards, so it sees every
 * blob that stays (list.c). */
void tag_unlink(struct shard *sh, struct blob *b)
{
    struct tag *t = b->tag;
    struct blob *last = tag_blob(sh, t, --t->n);
    t->blobs[b->tag_pos] = mem_ref(last);
    last->tag_pos = b->tag_pos;
    t->shown -= b->version != 0;
    t->bytes -= b->size;
}

/* ---- rounds ---- */

/* Scatters of this file have the home's tag as their user; it does not move,
 * and its id and name do not change. */
static struct tag *tag_here(const struct scatter *s, const struct shard *sh)
{
    const struct tag *home = s->user;
    return tag_find(sh, home->id);
}

static int tag_store(struct scatter *s, enum meta_op op,
                     void (*done)(struct change *, int))
{
    const struct tag *tag = s->user;
    struct change *c = calloc(1, sizeof(*c));
    if (!c)
        return SL_ENOMEM;
    c->sh = s->origin;
    c->done = done;
    c->user = s;
    c->meta.op = op;
    /* A delete takes blobs of any level. A new tag is as durable as the first
     * blob in it, whose record follows. */
    c->meta.sync = op == META_DEL_TAG;
    c->meta.blob.tag = tag->id;
    c->meta.blob.name = tag->name;
    c->meta.blob.name_len = tag->len;
    s->kept = 1;
    change_submit(c);
    return 0;
}

/* ---- create ---- */

static int add_part(struct scatter *s, struct shard *sh)
{
    const struct tag *home = s->user;
    struct tag *tag;
    return tag_add(sh, home->id, home->name, home->len, &tag);
}

static int ready_part(struct scatter *s, struct shard *sh)
{
    if (sh != s->origin)
        tag_here(s, sh)->ready = 1;
    return 0;
}

static int forget_part(struct scatter *s, struct shard *sh)
{
    struct tag *tag = tag_here(s, sh); /* null: there was no memory for it */
    if (tag && sh != s->origin)
        tag_drop(sh, tag);
    return 0;
}

static void create_end(struct scatter *s, int none)
{
    struct shard *sh = s->origin;
    struct tag *tag = s->user;
    struct sl_task *t = tag->wait;
    uint64_t id = tag->id;
    int code = tag->code;
    (void)none;
    tag->wait = NULL;
    shard_tag_created(sh, t, id, code);
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

static void create_settle(struct scatter *s, int code)
{
    struct tag *tag = s->user;
    tag->code = code;
    scatter_next(s, code ? forget_part : ready_part, create_end);
}

static void create_stored(struct change *c, int code)
{
    struct scatter *s = c->user;
    change_release(c);
    create_settle(s, code);
}

static void create_known(struct scatter *s, int code)
{
    if (!code && s->origin->store->meta) {
        code = tag_store(s, META_PUT_TAG, create_stored);
        if (!code)
            return;
    }
    create_settle(s, code);
}

static int tag_create(struct shard *sh, struct sl_task *t)
{
    struct tag *tag;
    uint64_t id;
    int rc = tag_new_id(sh, t, &id);
    if (rc)
        return rc;
    rc = tag_add(sh, id, t->name, t->cell.name_len, &tag);
    if (rc) {
        tag_forget_name(sh, t);
        return rc;
    }
    rc = scatter_start(sh, t, add_part, create_known, tag);
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
    struct alias *pending;
    struct tag *tag = tag_named(sh, t, &pending);
    if (pending) {
        tag_wait_name(pending, t);
        return TASK_LATER;
    }
    if (!tag)
        return t->cell.flags & SL_F_EXISTING ? SL_ENOTAG : tag_create(sh, t);
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

/* ---- delete ---- */

void tag_rests(struct shard *sh, struct tag *tag)
{
    struct scatter *s = tag->ending;
    tag->ending = NULL;
    if (s)
        scatter_retry(s, sh);
}

static int wait_for_rest(struct scatter *s, struct tag *tag)
{
    tag->ending = s;
    return TASK_LATER;
}

/* Writers that are under way may submit records still; behind this round none
 * does, so the delete is the last word on the tag. */
static int dead_part(struct scatter *s, struct shard *sh)
{
    struct tag *tag = tag_here(s, sh);
    tag->dead = 1;
    return tag->busy ? wait_for_rest(s, tag) : 0;
}

static int revive_part(struct scatter *s, struct shard *sh)
{
    if (sh != s->origin)
        tag_here(s, sh)->dead = 0;
    return 0;
}

/* Extents and blobs that go before the worker's other calls get their turn:
 * below a millisecond. */
#define PURGE_STEP 512u

/* A flush may have made a blob busy again, which stores nothing (update.c). */
static int purge_part(struct scatter *s, struct shard *sh)
{
    struct tag *tag = tag_here(s, sh);
    if (tag->busy)
        return wait_for_rest(s, tag);
    for (uint32_t left = PURGE_STEP; tag->n && left;) {
        struct blob *b = tag_blob(sh, tag, tag->n - 1u);
        left -= blob_drop_last(sh, b, left);
        if (left) {
            blob_destroy(sh, b);
            left--;
        }
    }
    if (tag->n) {
        scatter_retry(s, sh);
        return TASK_LATER;
    }
    if (sh != s->origin)
        tag_drop(sh, tag);
    return 0;
}

static void delete_end(struct scatter *s, int none)
{
    struct shard *sh = s->origin;
    struct tag *tag = s->user;
    int code = tag->code;
    (void)none;
    if (code)
        tag->dead = 0;
    else
        tag_drop(sh, tag);
    sh->env.finish(s->task, code);
}

static void delete_settle(struct scatter *s, int code)
{
    struct tag *tag = s->user;
    tag->code = code;
    scatter_next(s, code ? revive_part : purge_part, delete_end);
}

static void delete_stored(struct change *c, int code)
{
    struct scatter *s = c->user;
    change_release(c);
    delete_settle(s, code);
}

static void delete_rests(struct scatter *s, int code)
{
    if (s->origin->store->meta) {
        code = tag_store(s, META_DEL_TAG, delete_stored);
        if (!code)
            return;
    }
    delete_settle(s, code);
}

int store_tag_del(struct sl_task *t, void *container)
{
    struct shard *sh = container;
    struct tag *tag = tag_live(sh, t->cell.tag);
    if (!tag)
        return SL_ENOTAG;
    if (sl_key_container((struct sl_hash){tag->id, 0},
                         sh->store->config.n_shards) != sh->id)
        return SL_EROUTE; /* only the home orders create and delete */
    if (tag->renaming)
        return SL_EAGAIN;
    int rc = scatter_start(sh, t, dead_part, delete_rests, tag);
    if (rc)
        return rc;
    tag->dead = 1; /* at once, so that no second delete begins */
    return TASK_LATER;
}
