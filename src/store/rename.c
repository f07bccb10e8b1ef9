/* SPDX-License-Identifier: Apache-2.0 */
#include "store/shard.h"

#include <stdlib.h>
#include <string.h>

/*
 * A blob gets another name: its bytes stay where they are, its record goes from
 * one shard to another (or the same). Each step is a message to the shard that
 * it concerns:
 *
 *   lock both ends -> commit -> arrive -> leave -> publish -> answer
 *   (by key order)    at from   at to     at from  at to      at from
 *
 * A locked end is a busy blob: writers wait, readers go on. At the new name that
 * is the blob to be replaced, or a new one without version, which nobody sees.
 * Locks are taken in the order of keys, so renames that cross cannot wait for
 * each other. Until the commit every failure only unlocks; behind it nothing
 * can fail. From `arrive` on readers of the new name wait, then the old name
 * goes, so there is no time at which neither name has the bytes for a reader
 * who asks for the old one first. Units are handed over when no read of them is
 * under way in the old shard: the new one could not know of it.
 */

struct rename {
    struct sl_task *t;   /* at `from`; its own key is the old name */
    struct sl_task key;  /* the new name, and who waits for it */
    struct sl_task wait; /* for the old name */
    struct shard *from, *to;
    struct message msg;
    void (*step)(struct rename *r);
    struct limbo_wait drain;
    struct blob *source, *dest; /* when locked */
    struct merged ext;          /* the source's, for dest */
    uint64_t above;             /* the new version is at least this */
    struct meta_blob was; /* what the source's record says, but for its name */
    uint32_t heat;
    uint8_t recorded, replace, dest_first, dest_recorded, dest_level;
    int code;
};

static void run(struct message *m)
{
    struct rename *r =
        (struct rename *)(void *)((char *)m - offsetof(struct rename, msg));
    r->step(r);
}

static void go(struct rename *r, struct shard *sh,
               void (*step)(struct rename *r))
{
    r->step = step;
    r->msg.run = run;
    sh->env.post(sh->env.runtime, sh->id, &r->msg);
}

/* ---- the end ---- */

static void answer(struct rename *r)
{
    struct shard *sh = r->from;
    struct sl_task *t = r->t;
    int code = r->code;
    free(r->ext.ext);
    free(r);
    sh->env.finish(t, code);
}

static void unlock_source(struct rename *r)
{
    if (r->source)
        blob_leave(r->from, r->source);
    answer(r);
}

static void unlock_dest(struct rename *r)
{
    blob_leave(r->to, r->dest);
    go(r, r->from, unlock_source);
}

/* From any step up to the commit. */
static void fail(struct rename *r, int code)
{
    r->code = code;
    if (r->dest)
        go(r, r->to, unlock_dest);
    else
        go(r, r->from, unlock_source);
}

/* ---- behind the commit ---- */

static void publish(struct rename *r)
{
    const struct meta_blob *was = &r->was;
    struct blob *b = r->dest;
    blob_publish(r->to, b, &r->ext);
    b->tag->shown += b->version == 0;
    b->tag->bytes += was->size - (uint64_t)b->size;
    b->size = was->size & SL_BLOB_MAX;
    b->version = was->version & BLOB_VERSION_MAX;
    b->score = was->score;
    b->context = was->context;
    b->persist = was->persist & 3u;
    b->recorded = r->recorded & 1u;
    b->heat = r->heat;
    blob_set_created(b, was->created_ns);
    blob_set_changed(b, was->changed_ns);
    b->arriving = 0;
    r->t->result.v[0] = was->size;
    r->t->result.v[1] = was->version;
    r->t->has_result = 1;
    blob_leave(r->to, b);
    go(r, r->from, answer);
}

static void drained(struct limbo_wait *d)
{
    struct rename *r =
        (struct rename *)(void *)((char *)d - offsetof(struct rename, drain));
    go(r, r->to, publish);
}

static void leave(struct rename *r)
{
    blob_forget(r->from, r->source);
    r->drain.done = drained;
    limbo_drain(r->from, &r->drain);
}

/* Readers of the new name wait from here on. */
static void arrive(struct rename *r)
{
    r->dest->arriving = 1;
    go(r, r->from, leave);
}

/* ---- commit ---- */

static void committed(struct change *c, int code)
{
    struct rename *r = c->user;
    change_release(c);
    if (code)
        fail(r, code);
    else
        go(r, r->to, arrive);
}

static int change_rename(struct rename *r, struct change **out)
{
    struct meta_blob *m;
    int rc = change_blob(r->from, r->source, &r->ext, out);
    if (rc)
        return rc;
    m = &(*out)->meta.blob;
    (*out)->meta.op = META_RENAME_BLOB;
    (*out)->meta.from = (struct meta_name){m->tag, m->name, m->name_len};
    m->persist = r->was.persist;
    m->size = r->was.size;
    m->version = r->was.version;
    m->changed_ns = r->was.changed_ns;
    (*out)->meta.sync = r->was.persist > 1u;
    return 0;
}

/* What is to be recorded: null when nothing is. */
static int change_of(struct rename *r, struct change **out)
{
    *out = NULL;
    if (r->recorded) {
        int rc = change_rename(r, out);
        if (rc)
            return rc;
    } else if (r->dest_recorded) {
        *out = calloc(1, sizeof(**out));
        if (!*out)
            return SL_ENOMEM;
        (*out)->sh = r->from;
        (*out)->meta.op = META_DEL_BLOB;
        (*out)->meta.sync = r->dest_level > 1u;
    } else {
        return 0;
    }
    (*out)->meta.blob.tag = r->key.cell.tag;
    (*out)->meta.blob.name = (const char *)r->key.name;
    (*out)->meta.blob.name_len = r->key.cell.name_len;
    (*out)->done = committed;
    (*out)->user = r;
    return 0;
}

/* What the other shard needs of the source, which is not its to look at. */
static void remember(struct rename *r)
{
    const struct blob *b = r->source;
    uint64_t version = b->version + UINT64_C(1);
    r->was = (struct meta_blob){
        .size = b->size,
        .version = version > r->above ? version : r->above,
        .created_ns = blob_created_ns(b),
        .changed_ns = blob_changed_ns(b),
        .score = b->score,
        .context = b->context,
        .persist = b->persist,
    };
    r->recorded = b->recorded;
    r->heat = b->heat;
}

static void commit(struct rename *r)
{
    const struct blob *b = r->source;
    struct change *c;
    remember(r);
    r->ext.n = b->n;
    r->ext.ext = malloc((b->n + 1u) * sizeof(*r->ext.ext));
    int rc = r->ext.ext ? 0 : SL_ENOMEM;
    if (!rc) {
        memcpy(r->ext.ext, b->ext, b->n * sizeof(*r->ext.ext));
        rc = change_of(r, &c);
    }
    if (rc)
        fail(r, rc);
    else if (c)
        change_submit(c);
    else
        go(r, r->to, arrive);
}

/* ---- locks ---- */

static void lock_source(struct rename *r);
static void lock_dest(struct rename *r);

static void source_rests(struct sl_task *t, int code)
{
    (void)code; /* of no interest: we look again */
    lock_source(t->state);
}

static void dest_rests(struct sl_task *t, int code)
{
    (void)code;
    lock_dest(t->state);
}

static void lock_source(struct rename *r)
{
    struct shard *sh = r->from;
    const struct tag *tag = tag_live(sh, r->t->cell.tag);
    struct blob *b = tag ? table_find(&sh->index, r->t) : NULL;
    if (!b) {
        fail(r, tag ? SL_ENOENT : SL_ENOTAG);
        return;
    }
    if (b->busy) {
        r->wait.done = source_rests;
        r->wait.state = r;
        blob_wait(sh, b, &r->wait);
        return;
    }
    blob_enter(b);
    r->source = b;
    if (r->dest_first)
        commit(r);
    else
        go(r, r->to, lock_dest);
}

static void lock_dest(struct rename *r)
{
    struct shard *sh = r->to;
    struct tag *tag = tag_live(sh, r->key.cell.tag);
    struct blob *b = tag ? table_find(&sh->index, &r->key) : NULL;
    int rc = tag ? 0 : SL_ENOTAG;
    if (b && b->version && !r->replace)
        rc = SL_EEXIST;
    if (!rc && b && b->busy) {
        r->key.done = dest_rests;
        r->key.state = r;
        blob_wait(sh, b, &r->key);
        return;
    }
    if (!rc && !b)
        rc = blob_create(sh, &r->key, tag, &b);
    if (rc) {
        fail(r, rc);
        return;
    }
    blob_enter(b);
    r->dest = b;
    r->dest_recorded = b->recorded;
    r->dest_level = b->persist;
    r->above = blob_next_version(sh, b);
    go(r, r->from, r->dest_first ? lock_source : commit);
}

/* ---- begin ---- */

/* The same for two renames between two names, whichever is the old one. */
static int is_dest_first(const struct rename *r)
{
    const struct sl_hash *a = &r->t->hash, *b = &r->key.hash;
    return a->lo != b->lo ? b->lo < a->lo : b->hi < a->hi;
}

static int is_same(const struct rename *r)
{
    const struct sl_task *t = r->t, *k = &r->key;
    return t->cell.tag == k->cell.tag && t->cell.name_len == k->cell.name_len &&
           memcmp(t->name, k->name, k->cell.name_len) == 0;
}

int store_rename(struct sl_task *t, void *container)
{
    struct shard *sh = container;
    const struct store *s = sh->store;
    struct sl_rename to;
    struct rename *r = calloc(1, sizeof(*r));
    if (!r)
        return SL_ENOMEM;
    memcpy(&to, t->side + SL_SIDE_LIST, offsetof(struct sl_rename, name));
    r->t = t;
    r->from = sh;
    r->replace = (t->cell.flags & SL_F_REPLACE) != 0;
    r->key.cell.method = SL_STORE_RENAME;
    r->key.cell.tag = to.tag;
    r->key.cell.name_len = (uint8_t)to.len;
    r->key.cell.score = (uint16_t)SL_SCORE_AUTO;
    r->key.name = t->side + SL_SIDE_LIST + offsetof(struct sl_rename, name);
    r->key.hash = sl_key_hash(to.tag, r->key.name, to.len);
    r->to = s->shards[sl_key_container(r->key.hash, s->config.n_shards)];
    if (is_same(r)) {
        free(r);
        return store_size(t, sh);
    }
    r->dest_first = (uint8_t)is_dest_first(r);
    if (r->dest_first)
        go(r, r->to, lock_dest);
    else
        lock_source(r);
    return TASK_LATER;
}
