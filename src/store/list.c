/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "store/shard.h"

#include <stdlib.h>
#include <string.h>

/* ---- names, packed into the side chunk ---- */

struct page page_begin(const struct shard *sh, const struct sl_task *t)
{
    uint32_t most = t->cell.context;
    return (struct page){shard_arena(sh) + t->cell.side, 0, 0,
                         most ? most : UINT32_MAX};
}

int page_add(struct page *p, uint64_t id, const char *name, uint8_t len)
{
    struct sl_list_entry e = {id, len};
    if (p->n == p->most || p->used + sizeof(e) + len > SL_SIDE_BYTES)
        return 0;
    memcpy(p->at + p->used, &e, sizeof(e));
    memcpy(p->at + p->used + sizeof(e), name, len);
    p->used += (uint32_t)sizeof(e) + len;
    p->n++;
    return 1;
}

void page_answer(struct sl_task *t, const struct page *p, uint64_t next)
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
 * ends; a cursor is one more than what is left. The list of tags is kept and
 * walked in the same way.
 */
int store_list(struct sl_task *t, void *container)
{
    struct shard *sh = container;
    struct page p = page_begin(sh, t);
    const struct tag *tag = tag_live(sh, t->cell.tag);
    if (!tag)
        return SL_ENOTAG;
    uint64_t left = list_left(t, tag->n);
    for (; left; left--) {
        const struct blob *b = tag_blob(sh, tag, (uint32_t)left - 1u);
        if (b->version && !page_add(&p, b->size, b->name, b->name_len))
            break;
    }
    page_answer(t, &p, left ? left + 1u : 0);
    return 0;
}

int store_tags(struct sl_task *t, void *container)
{
    struct shard *sh = container;
    struct page p = page_begin(sh, t);
    uint64_t left = list_left(t, sh->tag_used);
    for (; left; left--) {
        const struct tag *tag = sh->tag_list[left - 1u];
        if (tag->ready && !tag->dead &&
            !page_add(&p, tag->id, tag->name, tag->len))
            break;
    }
    page_answer(t, &p, left ? left + 1u : 0);
    return 0;
}

/* ---- sums over all shards ---- */

static int tag_size_part(struct scatter *s, struct shard *sh)
{
    const struct tag *tag = tag_live(sh, s->task->cell.tag);
    if (!tag)
        return SL_ENOTAG;
    s->to[sh->id].v[0] = tag->bytes;
    s->to[sh->id].v[1] = tag->shown;
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
    struct shard *sh = container;
    const struct tag *tag = tag_live(sh, t->cell.tag);
    if (!tag)
        return SL_ENOTAG;
    if (t->cell.flags & SL_F_SIDE) { /* its name too */
        struct page p = page_begin(sh, t);
        page_add(&p, tag->id, tag->name, tag->len);
    }
    int rc = scatter_start(container, t, tag_size_part, tag_size_end, NULL);
    return rc ? rc : TASK_LATER;
}

/* ---- flush ---- */

/*
 * Brings one blob after another of a shard to the persistent target, in steps
 * (update_persist). A blob with a writer under way is waited for: what was
 * acknowledged before the flush began must be on disk when it ends.
 */
struct flush {
    struct scatter *s;
    struct shard *sh;
    struct flush_item { /* by key, since any may go meanwhile */
        struct blob *blob;
        struct sl_hash key;
    } * todo;
    uint64_t n, cap, next;
    int code;
    int running; /* in flush_go: a completion inside it does not recurse */
    int ended;   /* the step in hand is done */
    struct sl_task waiter; /* behind a busy blob */
    struct message again;  /* short of memory: looks again later */
    uint64_t starving_ns;  /* since when, 0: not */
};

/* How long a flush waits for memory that gets give back. */
#define FLUSH_STARVE_NS UINT64_C(5000000000)

static void flush_go(struct flush *f);

static void flush_step_done(struct flush *f)
{
    f->ended = 1;
    if (!f->running)
        flush_go(f);
}

static void flush_again(struct message *m)
{
    flush_step_done(
        (struct flush *)(void *)((char *)m - offsetof(struct flush, again)));
}

static void flush_waited(struct sl_task *t, int code)
{
    (void)code; /* the blob's writer is done; how it went is its own affair */
    flush_step_done(t->state);
}

/* Looks at the blob in hand again, after what else the worker has to do. */
static void flush_later(struct flush *f)
{
    f->again.run = flush_again;
    f->sh->env.post(f->sh->env.runtime, f->sh->id, &f->again);
}

static void flush_moved(void *user, int code)
{
    struct flush *f = user;
    uint64_t now = code == SL_ENOMEM ? clock_ns() : 0;
    if (now && !f->starving_ns)
        f->starving_ns = now;
    if (now && now - f->starving_ns < FLUSH_STARVE_NS) {
        flush_later(f);
        return;
    }
    if (!now)
        f->starving_ns = 0;
    if (code && code != SL_ENOTAG) { /* a dead tag: see flush_step */
        f->next++;                   /* this blob stays as it is */
        if (!f->code)
            f->code = code;
    }
    flush_step_done(f);
}

static struct blob *flush_find(const struct flush *f, uint64_t i)
{
    const struct flush_item *k = &f->todo[i];
    return table_has(&f->sh->index, k->key.lo, k->blob) &&
                   blob_hash(k->blob).hi == k->key.hi
               ? k->blob
               : NULL;
}

static int flush_wants(const struct shard *sh, const struct blob *b)
{
    return b->busy || !b->recorded || blob_is_volatile(sh, b);
}

/* One step on the blob in hand; false when there is nothing to do on it. */
static int flush_step(struct flush *f)
{
    struct blob *b = flush_find(f, f->next);
    if (!b || !flush_wants(f->sh, b))
        return 0;
    if (b->busy) {
        f->waiter.done = flush_waited;
        f->waiter.state = f;
        blob_wait(f->sh, b, &f->waiter);
        return 1;
    }
    if (b->tag->dead) { /* it goes, or the delete fails and it stays */
        flush_later(f);
        return 1;
    }
    int rc = update_persist(f->sh, b, flush_moved, f);
    if (rc != TASK_LATER)
        flush_moved(f, rc);
    return 1;
}

static void flush_free(struct flush *f)
{
    mem_resize(f->todo, f->cap * sizeof(*f->todo), 0);
    free(f);
}

static void flush_go(struct flush *f)
{
    f->running = 1;
    while (f->next < f->n) {
        f->ended = 0;
        if (!flush_step(f)) {
            f->next++;
        } else if (!f->ended) {
            f->running = 0;
            return;
        }
    }
    struct scatter *s = f->s;
    int code = f->code;
    flush_free(f);
    scatter_part(s, code);
}

static int flush_note(void *user, struct blob *b)
{
    struct flush *f = user;
    if (!flush_wants(f->sh, b))
        return 0;
    if (f->n == f->cap) {
        uint64_t cap = f->cap ? f->cap * 2u : 64u;
        struct flush_item *p =
            mem_resize(f->todo, f->cap * sizeof(*p), cap * sizeof(*p));
        if (!p)
            return SL_ENOMEM;
        f->todo = p;
        f->cap = cap;
    }
    f->todo[f->n++] = (struct flush_item){b, blob_hash(b)};
    return 0;
}

static int flush_part(struct scatter *s, struct shard *sh)
{
    struct flush *f = calloc(1, sizeof(*f));
    if (!f)
        return SL_ENOMEM;
    f->s = s;
    f->sh = sh;
    if (tags_each_blob(sh, flush_note, f)) {
        flush_free(f);
        return SL_ENOMEM;
    }
    flush_go(f);
    return TASK_LATER;
}

static void flush_settled(void *user, int code)
{
    struct scatter *s = user;
    int rc = (int)s->to[0].v[0];
    s->origin->env.finish(s->task, rc ? rc : code);
    free(s);
}

static void flush_end(struct scatter *s, int code)
{
    s->to[0].v[0] = (uint64_t)(int64_t)code;
    s->kept = 1;
    int rc = settle_all(s->origin, flush_settled, s);
    if (!rc)
        return;
    s->kept = 0;
    s->origin->env.finish(s->task, code ? code : rc);
}

int store_flush(struct sl_task *t, void *container)
{
    struct shard *sh = container;
    if (!sh->store->meta)
        return 0; /* nothing here outlives the process */
    int rc = scatter_start(sh, t, flush_part, flush_end, NULL);
    return rc ? rc : TASK_LATER;
}
