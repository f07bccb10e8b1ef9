/* SPDX-License-Identifier: Apache-2.0 */
#include "store/shard.h"

#include <stdlib.h>

/*
 * A change goes to the committer thread and comes back as a message to the
 * shard's worker. While it is under way its blob is busy, so what it points to
 * stays.
 */

static void came_back(struct message *m)
{
    struct change *c =
        (struct change *)(void *)((char *)m - offsetof(struct change, msg));
    c->done(c, c->code);
}

static void committed(struct meta_change *m, int code)
{
    struct change *c = m->user;
    c->code = code; /* published by the post's release */
    c->sh->env.post(c->sh->env.runtime, c->sh->id, &c->msg);
}

void change_submit(struct change *c)
{
    c->msg.run = came_back;
    c->meta.done = committed;
    c->meta.user = c;
    meta_submit(c->sh->store->meta, &c->meta);
}

void change_make(struct change *c)
{
    c->meta.user = c;
    if (meta_now(c->sh->store->meta, &c->meta))
        c->done(c, 0);
    else
        change_submit(c);
}

int change_carry(struct change *c, uint32_t n)
{
    c->carried = calloc(n, sizeof(*c->carried));
    c->owed = calloc(n, sizeof(*c->owed));
    if (!c->carried || !c->owed)
        return SL_ENOMEM;
    c->n_owed = n;
    for (uint32_t i = 0; i < n; i++) {
        c->owed[i] = calloc(1, sizeof(*c->owed[i]));
        if (!c->owed[i])
            return SL_ENOMEM;
    }
    c->meta.carried = c->carried;
    return 0;
}

void change_release(struct change *c)
{
    for (uint32_t i = 0; i < c->n_owed; i++)
        free(c->owed[i]);
    free(c->carried);
    free(c->owed);
    free(c->extents);
    free(c);
}

int change_blob(struct shard *sh, const struct blob *b, const struct merged *m,
                struct change **out)
{
    const struct store *s = sh->store;
    struct change *c = calloc(1, sizeof(*c));
    if (!c)
        return SL_ENOMEM;
    c->extents = calloc(m->n + 1u, sizeof(*c->extents));
    if (!c->extents) {
        free(c);
        return SL_ENOMEM;
    }
    for (uint32_t i = 0; i < m->n; i++) {
        const struct extent *e = &m->ext[i];
        c->extents[i] =
            (struct meta_extent){.offset = e->off,
                                 .bytes = e->len,
                                 .stored = e->stored,
                                 .loc = e->loc,
                                 .sum = e->sum,
                                 .target = s->target[e->target].spec.number,
                                 .codec = e->codec};
    }
    c->sh = sh;
    c->meta.op = META_PUT_BLOB;
    c->meta.blob = (struct meta_blob){.tag = b->tag->id,
                                      .name = b->name,
                                      .name_len = b->name_len,
                                      .created_ns = blob_created_ns(b),
                                      .score = b->score,
                                      .context = b->context,
                                      .n_extents = m->n,
                                      .extents = c->extents};
    *out = c;
    return 0;
}

/* ---- for those who are no worker ---- */

struct barrier {
    struct meta_change change;
    pthread_mutex_t lock;
    pthread_cond_t end;
    int ended, code;
};

static void barrier_done(struct meta_change *m, int code)
{
    struct barrier *b = m->user;
    pthread_mutex_lock(&b->lock);
    b->code = code;
    b->ended = 1;
    pthread_cond_signal(&b->end);
    pthread_mutex_unlock(&b->lock);
}

int store_barrier(struct store *s)
{
    struct barrier b = {.change = {.op = META_FLUSH}};
    b.change.done = barrier_done;
    b.change.user = &b;
    pthread_mutex_init(&b.lock, NULL);
    pthread_cond_init(&b.end, NULL);
    meta_submit(s->meta, &b.change);
    pthread_mutex_lock(&b.lock);
    while (!b.ended)
        pthread_cond_wait(&b.end, &b.lock);
    pthread_mutex_unlock(&b.lock);
    pthread_cond_destroy(&b.end);
    pthread_mutex_destroy(&b.lock);
    return b.code;
}

/* ---- delete ---- */

static void deleted(struct change *c, int code)
{
    struct shard *sh = c->sh;
    struct sl_task *t = c->user;
    struct blob *b = table_find(&sh->index, t);
    sh->env.finish(t, code); /* before those who wait for the blob */
    if (code)
        blob_leave(sh, b);
    else
        blob_destroy(sh, b);
    change_release(c);
}

static int delete_recorded(struct shard *sh, struct sl_task *t, struct blob *b)
{
    struct change *c = calloc(1, sizeof(*c));
    if (!c)
        return SL_ENOMEM;
    c->sh = sh;
    c->done = deleted;
    c->user = t;
    c->meta.op = META_DEL_BLOB;
    c->meta.blob.tag = b->tag->id;
    c->meta.blob.name = b->name;
    c->meta.blob.name_len = b->name_len;
    c->meta.sync = b->persist > 1u; /* as durable as what it deletes */
    blob_enter(b);
    change_make(c);
    return TASK_LATER;
}

int store_del(struct sl_task *t, void *container)
{
    struct shard *sh = container;
    struct tag *tag = tag_live(sh, t->cell.tag);
    struct blob *b = tag ? table_find(&sh->index, t) : NULL;
    if (!b)
        return tag ? SL_ENOENT : SL_ENOTAG;
    if (b->busy) {
        blob_wait(sh, b, t);
        return TASK_LATER;
    }
    t->result.v[0] = b->size;
    t->result.v[1] = b->version;
    t->has_result = 1;
    if (b->recorded)
        return delete_recorded(sh, t, b);
    blob_destroy(sh, b);
    return 0;
}
