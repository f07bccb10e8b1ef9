/* SPDX-License-Identifier: Apache-2.0 */
#include "store/shard.h"

#include <stdlib.h>
#include <string.h>

/*
 * Names of tags. A name belongs to the shard that its hash says, and so do most
 * ids: a tag that is made gets the id that its name's hash gives. Where that is
 * not so, because the tag was renamed or because a renamed one has the id, the
 * name's shard has an alias, name -> id. All shards know every tag by its id.
 *
 * A rename is ordered by the shard of the new name:
 *
 *   alias, pending --id's home: renaming--> PUT_TAG stored
 *     --all shards: the new name, the alias of the old one goes--> answered
 *
 * Who asks for the new name meanwhile waits; who asks for the old one finds the
 * tag until its shard was passed. The home's mark keeps deletes and other
 * renames of the tag away. A failure takes mark and alias back.
 */

#define ALIASES_FIRST 64u

struct alias {
    struct alias *next;
    uint64_t lo; /* of the name's hash */
    uint64_t id;
    struct sl_task *wait; /* while it is pending */
    uint8_t pending;
    uint8_t len;
    char name[];
};

/* ---- aliases ---- */

static struct alias **alias_at(const struct shard *sh, uint64_t lo,
                               const void *name, uint32_t len)
{
    struct alias **p = &sh->aliases[lo >> 8 & sh->alias_mask];
    while (*p && ((*p)->lo != lo || (*p)->len != len ||
                  memcmp((*p)->name, name, len) != 0))
        p = &(*p)->next;
    return p;
}

static int aliases_grow(struct shard *sh)
{
    uint32_t size = sh->aliases ? (sh->alias_mask + 1u) * 2u : ALIASES_FIRST;
    struct alias **to = calloc(size, sizeof(struct alias *));
    if (!to)
        return SL_ENOMEM;
    for (uint32_t i = 0; sh->aliases && i <= sh->alias_mask; i++) {
        while (sh->aliases[i]) {
            struct alias *a = sh->aliases[i];
            sh->aliases[i] = a->next;
            a->next = to[a->lo >> 8 & (size - 1u)];
            to[a->lo >> 8 & (size - 1u)] = a;
        }
    }
    free(sh->aliases);
    sh->aliases = to;
    sh->alias_mask = size - 1u;
    return 0;
}

static struct alias *alias_find(const struct shard *sh, uint64_t lo,
                                const void *name, uint32_t len)
{
    return sh->aliases ? *alias_at(sh, lo, name, len) : NULL;
}

static struct alias *alias_new(struct shard *sh, uint64_t lo, const void *name,
                               uint32_t len, uint64_t id)
{
    if ((!sh->aliases || sh->alias_used > sh->alias_mask) && aliases_grow(sh))
        return NULL;
    struct alias *a = calloc(1, sizeof(*a) + len);
    if (!a)
        return NULL;
    a->lo = lo;
    a->id = id;
    a->len = (uint8_t)len;
    memcpy(a->name, name, len);
    struct alias **head = &sh->aliases[lo >> 8 & sh->alias_mask];
    a->next = *head;
    *head = a;
    sh->alias_used++;
    return a;
}

static void alias_remove(struct shard *sh, struct alias *a)
{
    struct alias **p = alias_at(sh, a->lo, a->name, a->len);
    *p = a->next;
    sh->alias_used--;
    free(a);
}

void aliases_destroy(struct shard *sh)
{
    for (uint32_t i = 0; sh->aliases && i <= sh->alias_mask; i++)
        while (sh->aliases[i])
            alias_remove(sh, sh->aliases[i]);
    free(sh->aliases);
    sh->aliases = NULL;
}

/* ---- names ---- */

static uint64_t first_id(uint64_t lo)
{
    return (lo & ~UINT64_C(255)) | 1u;
}

int tag_is_named(const struct tag *tag, const void *name, uint32_t len)
{
    return tag->len == len && memcmp(tag->name, name, len) == 0;
}

struct tag *tag_named(const struct shard *sh, const struct sl_task *t,
                      struct alias **pending)
{
    struct tag *tag = tag_find(sh, first_id(t->hash.lo));
    *pending = NULL;
    if (tag && tag_is_named(tag, t->name, t->cell.name_len))
        return tag;
    struct alias *a = alias_find(sh, t->hash.lo, t->name, t->cell.name_len);
    if (a && a->pending)
        *pending = a;
    return a && !a->pending ? tag_find(sh, a->id) : NULL;
}

void tag_wait_name(struct alias *pending, struct sl_task *t)
{
    t->next = pending->wait;
    pending->wait = t;
}

int tag_new_id(struct shard *sh, const struct sl_task *t, uint64_t *id)
{
    *id = first_id(t->hash.lo);
    while (tag_find(sh, *id))
        if ((++*id & 255u) == 0)
            return SL_ENOSPC;
    if (*id == first_id(t->hash.lo))
        return 0;
    return alias_new(sh, t->hash.lo, t->name, t->cell.name_len, *id)
               ? 0
               : SL_ENOMEM;
}

void tag_forget_name(struct shard *sh, const struct sl_task *t)
{
    struct alias *a = alias_find(sh, t->hash.lo, t->name, t->cell.name_len);
    if (a)
        alias_remove(sh, a);
}

int tag_load_name(struct shard *sh, uint64_t id, const char *name, uint32_t len)
{
    struct sl_hash h = sl_key_hash(0, name, len);
    if (id == first_id(h.lo) ||
        sl_key_container(h, sh->store->config.n_shards) != sh->id)
        return 0;
    return alias_new(sh, h.lo, name, len, id) ? 0 : SL_ENOMEM;
}

void tag_unname(struct shard *sh, const struct tag *tag)
{
    struct sl_hash h;
    struct alias *a;
    if (!sh->alias_used)
        return;
    h = sl_key_hash(0, tag->name, tag->len);
    a = alias_find(sh, h.lo, tag->name, tag->len);
    if (a && a->id == tag->id && !a->pending)
        alias_remove(sh, a);
}

/* ---- rename ---- */

struct tag_rename {
    uint64_t id;
    struct alias *alias;
    int code;
    int marked;    /* the home has it marked */
    char *names[]; /* one for each shard */
};

static int is_home(const struct shard *sh, uint64_t id)
{
    return sl_key_container((struct sl_hash){id, 0},
                            sh->store->config.n_shards) == sh->id;
}

static void rename_free(struct tag_rename *r, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        free(r->names[i]);
    free(r);
}

static int mark_part(struct scatter *s, struct shard *sh)
{
    struct tag_rename *r = s->user;
    struct tag *tag;
    if (!is_home(sh, r->id))
        return 0;
    tag = tag_live(sh, r->id);
    if (!tag || tag->renaming)
        return tag ? SL_EAGAIN : SL_ENOTAG;
    tag->renaming = 1;
    r->marked = 1; /* read behind this round */
    return 0;
}

static int unmark_part(struct scatter *s, struct shard *sh)
{
    struct tag_rename *r = s->user;
    if (r->marked && is_home(sh, r->id))
        tag_find(sh, r->id)->renaming = 0;
    return 0;
}

/* The old name's memory goes with the rename. */
static int name_part(struct scatter *s, struct shard *sh)
{
    struct tag_rename *r = s->user;
    struct tag *tag = tag_find(sh, r->id);
    char *old = tag->name;
    tag_unname(sh, tag);
    tag->name = r->names[sh->id];
    tag->len = s->task->cell.name_len;
    r->names[sh->id] = old;
    return unmark_part(s, sh);
}

static void rename_end(struct scatter *s, int none)
{
    struct shard *sh = s->origin;
    struct tag_rename *r = s->user;
    struct sl_task *t = s->task, *wait = r->alias->wait;
    int code = r->code;
    (void)none;
    r->alias->pending = 0;
    if (code)
        alias_remove(sh, r->alias);
    t->result.v[0] = r->id;
    t->has_result = 1;
    rename_free(r, sh->store->config.n_shards);
    sh->env.finish(t, code);
    while (wait) {
        struct sl_task *next = wait->next;
        int rc = store_methods[wait->cell.method](wait, sh);
        if (rc != TASK_LATER)
            sh->env.finish(wait, rc);
        wait = next;
    }
}

static void rename_settle(struct scatter *s, int code)
{
    struct tag_rename *r = s->user;
    r->code = code;
    scatter_next(s, code ? unmark_part : name_part, rename_end);
}

static void rename_stored(struct change *c, int code)
{
    struct scatter *s = c->user;
    change_release(c);
    rename_settle(s, code);
}

static void rename_marked(struct scatter *s, int code)
{
    const struct tag_rename *r = s->user;
    const struct sl_task *t = s->task;
    struct change *c = NULL;
    if (!code && s->origin->store->meta) {
        c = calloc(1, sizeof(*c));
        code = c ? 0 : SL_ENOMEM;
    }
    if (!c) {
        rename_settle(s, code);
        return;
    }
    c->sh = s->origin;
    c->done = rename_stored;
    c->user = s;
    c->meta.op = META_PUT_TAG;
    c->meta.blob.tag = r->id;
    c->meta.blob.name = (const char *)t->name;
    c->meta.blob.name_len = t->cell.name_len;
    s->kept = 1;
    change_submit(c);
}

static struct tag_rename *rename_new(struct shard *sh, const struct sl_task *t)
{
    uint32_t n = sh->store->config.n_shards;
    struct tag_rename *r = calloc(1, sizeof(*r) + n * sizeof(char *));
    if (!r)
        return NULL;
    r->id = t->cell.offset;
    for (uint32_t i = 0; i < n; i++) {
        r->names[i] = calloc(1, t->cell.name_len + 1u);
        if (!r->names[i]) {
            rename_free(r, i);
            return NULL;
        }
        memcpy(r->names[i], t->name, t->cell.name_len);
    }
    return r;
}

int store_tag_rename(struct sl_task *t, void *container)
{
    struct shard *sh = container;
    const struct tag *tag = tag_live(sh, t->cell.offset);
    struct alias *pending;
    struct tag_rename *r;
    if (!tag)
        return SL_ENOTAG;
    const struct tag *named = tag_named(sh, t, &pending);
    if (named != tag && (named || pending))
        return pending ? SL_EAGAIN : SL_EEXIST;
    if (named) {
        t->result.v[0] = tag->id;
        t->has_result = 1;
        return 0;
    }
    r = rename_new(sh, t);
    if (!r)
        return SL_ENOMEM;
    r->alias =
        alias_new(sh, t->hash.lo, t->name, t->cell.name_len, t->cell.offset);
    if (!r->alias) {
        rename_free(r, sh->store->config.n_shards);
        return SL_ENOMEM;
    }
    r->alias->pending = 1;
    if (scatter_start(sh, t, mark_part, rename_marked, r)) {
        alias_remove(sh, r->alias);
        rename_free(r, sh->store->config.n_shards);
        return SL_ENOMEM;
    }
    return TASK_LATER;
}
