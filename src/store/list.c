/* SPDX-License-Identifier: Apache-2.0 */
#include "store/shard.h"

#include <stdlib.h>
#include <string.h>

/* ---- names, packed into the side chunk ---- */

struct page {
    uint8_t *at;
    uint32_t used, n;
};

static int page_add(struct page *p, uint64_t id, const char *name, uint8_t len)
{
    struct sl_list_entry e = {id, len};
    if (p->used + sizeof(e) + len > SL_SIDE_BYTES)
        return 0;
    memcpy(p->at + p->used, &e, sizeof(e));
    memcpy(p->at + p->used + sizeof(e), name, len);
    p->used += (uint32_t)sizeof(e) + len;
    p->n++;
    return 1;
}

static void page_answer(struct sl_task *t, const struct page *p, uint64_t next)
{
    t->result.v[0] = next;
    t->result.v[1] = p->n;
    t->result.v[2] = p->used;
    t->has_result = 1;
}

/*
 * The cursor counts what is left, from the end downwards: a delete moves the
 * last blob into the hole, so a blob that stays can be seen twice but is never
 * passed over, and new ones do not prolong the listing. 0 begins, the answer 0
 * ends; a cursor is one more than what is left.
 */
int store_list(struct sl_task *t, void *container)
{
    struct shard *sh = container;
    struct page p = {shard_arena(sh) + t->cell.side, 0, 0};
    const struct tag *tag = tag_live(sh, t->cell.tag);
    if (!tag)
        return SL_ENOTAG;
    uint64_t left = t->cell.offset ? t->cell.offset - 1u : tag->n;
    if (left > tag->n)
        left = tag->n;
    for (; left; left--) {
        const struct blob *b = tag->blobs[left - 1u];
        if (b->version && !page_add(&p, b->size, b->name, b->name_len))
            break;
    }
    page_answer(t, &p, left ? left + 1u : 0);
    return 0;
}

/* The cursor is a position in the table of tags, in which a growth mixes the
 * order: tags made during a listing may be missed, those made before are
 * listed at least once unless the table grows meanwhile. */
int store_tags(struct sl_task *t, void *container)
{
    struct shard *sh = container;
    struct page p = {shard_arena(sh) + t->cell.side, 0, 0};
    uint64_t i = t->cell.offset;
    for (; i <= sh->tag_mask; i++) {
        const struct tag *tag = sh->tags[i];
        if (tag && tag->ready && !tag->dead &&
            !page_add(&p, tag->id, tag->name, tag->len))
            break;
    }
    page_answer(t, &p, i <= sh->tag_mask ? i : 0);
    return 0;
}

/* ---- sums over all shards ---- */

static int tag_size_part(struct scatter *s, struct shard *sh)
{
    const struct tag *tag = tag_live(sh, s->task->cell.tag);
    if (!tag)
        return SL_ENOTAG;
    for (uint32_t i = 0; i < tag->n; i++)
        s->to[sh->id].v[1] += tag->blobs[i]->version != 0;
    s->to[sh->id].v[0] = tag->bytes;
    return 0;
}

static void tag_size_end(struct scatter *s, int code)
{
    struct sl_task *t = s->task;
    for (uint32_t i = 0; i < s->origin->store->config.n_shards; i++) {
        t->result.v[0] += s->to[i].v[0];
        t->result.v[1] += s->to[i].v[1];
    }
    t->has_result = 1;
    s->origin->env.finish(t, code);
}

int store_tag_size(struct sl_task *t, void *container)
{
    int rc = scatter_start(container, t, tag_size_part, tag_size_end, NULL);
    return rc ? rc : TASK_LATER;
}

/* ---- flush ---- */

/* Brings one blob after another of a shard to the persistent target. */
struct flush {
    struct scatter *s;
    struct shard *sh;
    struct blob **blobs; /* by key, since any may go meanwhile */
    struct sl_hash *keys;
    uint64_t n, next;
    int code;
    int running; /* in flush_go: a completion inside it does not recurse */
    int ended;   /* the blob in hand is done */
};

static void flush_go(struct flush *f);

static void flush_blob_done(void *user, int code)
{
    struct flush *f = user;
    if (code && code != SL_ENOTAG && !f->code)
        f->code = code;
    f->ended = 1;
    if (!f->running)
        flush_go(f);
}

static struct blob *flush_find(const struct flush *f, uint64_t i)
{
    const struct table *t = &f->sh->index;
    uint64_t at = f->keys[i].lo & t->mask;
    for (; t->at[at].blob; at = (at + 1u) & t->mask)
        if (t->at[at].blob == f->blobs[i] &&
            t->at[at].blob->hash.hi == f->keys[i].hi)
            return t->at[at].blob;
    return NULL;
}

static int flush_wants(const struct blob *b)
{
    for (uint32_t i = 0; i < b->n; i++)
        if (b->ext[i].target != TARGET_FILE)
            return 1;
    return !b->recorded;
}

static void flush_go(struct flush *f)
{
    f->running = 1;
    while (f->next < f->n) {
        struct blob *b = flush_find(f, f->next++);
        if (!b || b->version == 0 || b->busy || !flush_wants(b))
            continue; /* a busy one was put after the flush began */
        f->ended = 0;
        int rc = update_persist(f->sh, b, flush_blob_done, f);
        if (rc != TASK_LATER)
            flush_blob_done(f, rc);
        if (!f->ended) {
            f->running = 0;
            return;
        }
    }
    struct scatter *s = f->s;
    int code = f->code;
    free(f->blobs);
    free(f->keys);
    free(f);
    scatter_part(s, code);
}

static int flush_part(struct scatter *s, struct shard *sh)
{
    struct flush *f = calloc(1, sizeof(*f));
    const struct table *t = &sh->index;
    if (!f)
        return SL_ENOMEM;
    f->s = s;
    f->sh = sh;
    f->blobs = calloc(t->used + 1u, sizeof(struct blob *));
    f->keys = calloc(t->used + 1u, sizeof(*f->keys));
    if (!f->blobs || !f->keys) {
        free(f->blobs);
        free(f->keys);
        free(f);
        return SL_ENOMEM;
    }
    for (uint64_t i = 0; i <= t->mask; i++) {
        if (!t->at[i].blob)
            continue;
        f->blobs[f->n] = t->at[i].blob;
        f->keys[f->n++] = t->at[i].blob->hash;
    }
    flush_go(f);
    return TASK_LATER;
}

static void flush_end(struct scatter *s, int code)
{
    s->origin->env.finish(s->task, code);
}

int store_flush(struct sl_task *t, void *container)
{
    struct shard *sh = container;
    if (!sh->store->meta)
        return 0; /* nothing here outlives the process */
    int rc = scatter_start(sh, t, flush_part, flush_end, NULL);
    return rc ? rc : TASK_LATER;
}
