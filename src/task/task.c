/* SPDX-License-Identifier: Apache-2.0 */
#include "task/task.h"

#include "store/store.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_FRAMES 64u
#define SIDES_KEPT 256u /* 1 MiB a worker; more are freed at once */

struct frame_block {
    struct frame_block *next;
    struct frame frames[BLOCK_FRAMES];
};

struct free_side {
    struct free_side *next;
};

static __thread struct task_env *self;

/* ---- frames and side copies ---- */

void task_env_fini(struct task_env *env)
{
    struct free_side *side;
    /* Acquire; partner: task_env_post. */
    while (__atomic_load_n(&env->posters, __ATOMIC_ACQUIRE))
        sched_yield();
    while (env->blocks) {
        struct frame_block *b = env->blocks;
        env->blocks = b->next;
        free(b);
    }
    env->free = NULL;
    while ((side = env->sides)) {
        env->sides = side->next;
        free(side);
    }
    env->n_sides = 0;
}

void task_env_enter(struct task_env *env)
{
    self = env;
}

void task_env_post(struct task_env *env, struct message *m)
{
    /* What the message stands for may be what keeps env alive, and a worker can
     * run it before we have woken anybody. Relaxed: whoever waits for zero came
     * to know of the message, which releases the addition. */
    __atomic_fetch_add(&env->posters, 1u, __ATOMIC_RELAXED);
    mailbox_post(&env->inbox, m);
    env->wake(env);
    /* Release: we do not touch env any more. Partner: task_env_fini. */
    __atomic_fetch_sub(&env->posters, 1u, __ATOMIC_RELEASE);
}

static void add_frames(struct task_env *env)
{
    struct frame_block *b = calloc(1, sizeof(*b));
    if (!b)
        return;
    b->next = env->blocks;
    env->blocks = b;
    for (uint32_t i = BLOCK_FRAMES; i-- > 0;) {
        b->frames[i].task.next = env->free;
        env->free = &b->frames[i].task;
    }
    env->n_free += BLOCK_FRAMES;
}

uint32_t task_reserve(struct task_env *env, uint32_t n)
{
    if (env->n_free < n)
        add_frames(env);
    return env->n_free < n ? env->n_free : n;
}

struct sl_task *task_new(struct task_env *env, struct task_source *source)
{
    struct sl_task *t = env->free;
    env->free = t->next;
    env->n_free--;
    env->out++;
    source->out++;
    t->worker = (struct worker *)(void *)env;
    task_frame(t)->source = source;
    task_frame(t)->shard = NULL;
    task_frame(t)->since_ns = 0;
    return t;
}

static uint8_t *side_new(struct task_env *env)
{
    struct free_side *side = env->sides;
    if (!side)
        return malloc(SL_SIDE_BYTES);
    env->sides = side->next;
    env->n_sides--;
    return (uint8_t *)side;
}

static void side_free(struct task_env *env, void *mem)
{
    struct free_side *side = mem;
    if (!side)
        return;
    if (env->n_sides >= SIDES_KEPT) {
        free(side);
        return;
    }
    side->next = env->sides;
    env->sides = side;
    env->n_sides++;
}

/* ---- checks ---- */

/* Methods of the store that carry a name, by bit. */
#define NAMED                                                                  \
    (1u << SL_STORE_TAG | 1u << SL_STORE_PUT | 1u << SL_STORE_GET |            \
     1u << SL_STORE_DEL | 1u << SL_STORE_SIZE | 1u << SL_STORE_STAT |          \
     1u << SL_STORE_RENAME | 1u << SL_STORE_TAG_RENAME | 1u << SL_STORE_SCORE)
/* Methods of the store that always answer into the side chunk, by bit. */
#define ALWAYS_ASIDE                                                           \
    (1u << SL_STORE_STAT | 1u << SL_STORE_LIST | 1u << SL_STORE_TAGS |         \
     1u << SL_STORE_QUERY | 1u << SL_STORE_EVENTS)

/* The store answers it into the side chunk. */
static int answers_aside(const struct sl_cell *c)
{
    if (c->method == SL_STORE_TAG_SIZE) /* the name */
        return (c->flags & SL_F_SIDE) != 0;
    return (int)(ALWAYS_ASIDE >> c->method & 1u);
}

static int is_put(const struct sl_cell *c)
{
    return c->pool == SL_POOL_STORE && c->method == SL_STORE_PUT;
}

static int check_route(const struct sl_task *t, const struct pool *p,
                       uint32_t lane)
{
    const struct sl_cell *c = &t->cell;
    if (!p)
        return SL_ENOPOOL;
    if (c->method >= p->module->n_methods || !p->module->methods[c->method])
        return SL_ENOMETHOD;
    return c->container == lane ? 0 : SL_EROUTE;
}

/* What the task has in its side chunk: -1 nothing, else so many bytes to
 * copy (0: only room for the answer). */
static int64_t side_bytes(const struct sl_cell *c)
{
    if (c->pool == SL_POOL_ADMIN)
        return c->method == SL_ADMIN_LIST ? 0 : -1;
    if (c->pool != SL_POOL_STORE) {
        int aside = (c->flags & SL_F_SIDE) || c->size > SL_CELL_BODY;
        return aside ? (int64_t)c->size : -1;
    }
    if (is_put(c) && (c->flags & SL_F_LIST))
        return SL_SIDE_BYTES;
    if (c->method == SL_STORE_RENAME)
        return SL_SIDE_LIST + (int64_t)sizeof(struct sl_rename);
    if (c->method == SL_STORE_QUERY)
        return c->size < SL_SIDE_BYTES ? (int64_t)c->size : SL_SIDE_BYTES;
    if ((NAMED >> c->method & 1u) && (c->flags & SL_F_SIDE))
        return c->name_len;
    return answers_aside(c) ? 0 : -1;
}

static int copy_side(struct sl_task *t)
{
    struct task_env *env = task_env_of(t);
    int64_t bytes = side_bytes(&t->cell);
    uint32_t klass = 0;
    if (bytes < 0)
        return 0;
    if (!chunk_is_lent(env->arena, t->cell.side, t->channel->id, &klass) ||
        klass != SL_LENT_MIN_SHIFT)
        return SL_ECHUNK;
    if (bytes == 0)
        return 0;
    t->side = side_new(env);
    if (!t->side)
        return SL_ENOMEM;
    memcpy(t->side, (const uint8_t *)arena_base(env->arena) + t->cell.side,
           (size_t)bytes);
    return 0;
}

static int check_name(struct sl_task *t)
{
    const struct sl_cell *c = &t->cell;
    if (c->name_len == 0)
        return SL_ENONAME;
    if (c->flags & SL_F_SIDE) {
        t->name = t->side;
    } else {
        if (c->name_len > SL_NAME_INLINE)
            return SL_EPROTO;
        t->name = c->body;
    }
    return memchr(t->name, 0, c->name_len) ? SL_EBADNAME : 0;
}

static int check_put(struct sl_task *t)
{
    const struct sl_cell *c = &t->cell;
    uint32_t named = c->flags & SL_F_SIDE ? 0 : c->name_len;
    if (c->flags & SL_F_LIST) {
        if ((c->flags & SL_F_INLINE) || c->size == 0)
            return SL_EPROTO;
        return c->size > SL_IO_MAX ? SL_EFBIG : 0;
    }
    if ((c->flags & SL_F_UNITS) && (c->flags & SL_F_INLINE))
        return SL_EPROTO;
    if (!(c->flags & SL_F_INLINE))
        return 0;
    if (c->size > SL_CELL_BODY - named)
        return SL_EPROTO;
    t->payload = c->body + named;
    return 0;
}

static int check_rename(const struct sl_task *t)
{
    struct sl_rename r;
    memcpy(&r, t->side + SL_SIDE_LIST, sizeof(r));
    if (r.len == 0)
        return SL_ENONAME;
    if (r.len > SL_NAME_MAX)
        return SL_ENAMETOOLONG;
    return memchr(r.name, 0, r.len) ? SL_EBADNAME : 0;
}

/* A task of the store, or of a user's pool. */
static int check_content(struct sl_task *t)
{
    const struct sl_cell *c = &t->cell;
    int rc = 0;
    if (c->pool == SL_POOL_ADMIN)
        return 0;
    if (c->pool != SL_POOL_STORE) {
        t->payload = t->side ? t->side : c->body;
        t->has_result = 1;
        return 0;
    }
    if (NAMED >> c->method & 1u)
        rc = check_name(t);
    if (!rc && c->method == SL_STORE_PUT)
        rc = check_put(t);
    if (!rc && c->method == SL_STORE_RENAME)
        rc = check_rename(t);
    if (c->method == SL_STORE_QUERY && (!c->size || c->size > SL_PATTERN_MAX))
        rc = SL_EPATTERN;
    return rc;
}

int task_prepare(struct sl_task *t, uint32_t lane)
{
    const struct sl_cell *c = &t->cell;
    const struct pool *p = pools_at(task_env_of(t)->pools, c->pool);
    int rc = check_route(t, p, lane);
    if (rc)
        return rc;
    if (c->pool > SL_POOL_ADMIN && c->size == 0)
        return SL_ETASKEMPTY;
    if (c->pool > SL_POOL_ADMIN && c->size > SL_TASK_MAX)
        return SL_ETASKBIG;
    rc = copy_side(t);
    if (!rc)
        rc = check_content(t);
    if (!rc && t->name) { /* the others look nothing up */
        shard_prepare(p->containers[c->container], t);
        /* Two containers with blobs of one name would both be right. */
        if (sl_key_container(t->hash, t->channel->n_lanes) != c->container)
            rc = SL_EROUTE;
    }
    return rc;
}

static struct shard *named_shard(const struct sl_task *t)
{
    const struct sl_cell *c = &t->cell;
    if (c->pool != SL_POOL_STORE || !(NAMED >> c->method & 1u))
        return NULL;
    return pools_at(task_env_of(t)->pools, SL_POOL_STORE)
        ->containers[c->container];
}

void task_peek(const struct sl_task *t)
{
    struct shard *sh = named_shard(t);
    if (sh)
        shard_peek(sh, t);
}

void task_peek_chunk(const struct sl_task *t)
{
    struct shard *sh = named_shard(t);
    if (sh)
        shard_peek_chunk(sh, t);
}

/* ---- serve and finish ---- */

static int call_method(struct sl_task *t)
{
    const struct sl_cell *c = &t->cell;
    const struct pool *p = pools_at(task_env_of(t)->pools, c->pool);
    if (c->pool == SL_POOL_STORE)
        task_frame(t)->shard = p->containers[c->container];
    return p->module->methods[c->method](t, p->containers[c->container]);
}

/* Since the checks another task of the channel may have given the side chunk
 * back, and somebody else has it now. So it is the worker's while the method
 * writes into it: who gives it back meanwhile is refused. */
static int call_aside(struct sl_task *t)
{
    struct arena *a = task_env_of(t)->arena;
    uint32_t klass;
    int rc = chunk_adopt(a, t->cell.side, t->channel->id, &klass);
    if (rc)
        return rc;
    /* It may be another chunk of the channel's by now. */
    rc = klass == SL_LENT_MIN_SHIFT ? call_method(t) : SL_ECHUNK;
    chunk_lend(a, t->cell.side, t->channel->id);
    return rc;
}

void task_serve(struct sl_task *t)
{
    const struct sl_cell *c = &t->cell;
    int aside = c->pool == SL_POOL_ADMIN && c->method == SL_ADMIN_LIST;
    if (c->pool == SL_POOL_STORE)
        aside = answers_aside(c) && c->method != SL_STORE_STAT;
    int rc = aside ? call_aside(t) : call_method(t);
    if (rc != TASK_LATER)
        task_finish(t, rc);
}

void task_finish(struct sl_task *t, int code)
{
    struct task_env *env;
    if (!t->channel) {
        t->done(t, code);
        return;
    }
    env = task_env_of(t);
    if (code > 0 || code < -SL_STATUS_MAX)
        code = SL_EPROTO; /* a module broke its contract */
    if (task_frame(t)->shard)
        shard_answered(task_frame(t)->shard, t, code);
    channel_reply(t, code);
    side_free(env, t->side);
    t->side = NULL;
    if (env->trying == t)
        env->trying = NULL;
    task_frame(t)->source->out--;
    env->out--;
    t->next = env->free;
    env->free = t;
    env->n_free++;
}

/* A rejected put's list would be forgotten by its producer, which asks for a
 * new one each time. */
static void take_list_back(const struct sl_task *t)
{
    struct task_env *env = task_env_of(t);
    uint64_t n = (t->cell.size + SL_CHUNK_MAX - 1u) >> SL_CHUNK_MAX_SHIFT;
    if (n > SL_LIST_MAX)
        n = SL_LIST_MAX;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t at;
        uint32_t klass;
        memcpy(&at, t->side + SL_SIDE_LIST + 8u * i, sizeof(at));
        if (chunk_adopt(env->arena, at, t->channel->id, &klass) == 0)
            chunk_unref(env->cache, at);
    }
}

void task_reject(struct sl_task *t, int code)
{
    if (is_put(&t->cell)) {
        t->value = t->cell.chunk;
        if (t->side && (t->cell.flags & SL_F_LIST))
            take_list_back(t);
        if (t->cell.flags & SL_F_UNITS)
            units_drop(task_env_of(t)->arena, task_env_of(t)->cache, t);
    }
    t->has_result = 0;
    task_finish(t, code);
}

static void finish_message(struct message *m)
{
    struct frame *f =
        (struct frame *)(void *)((char *)m - offsetof(struct frame, message));
    task_finish(&f->task, f->code);
}

void task_finish_later(struct sl_task *t, int code)
{
    struct frame *f = task_frame(t);
    f->code = code;
    f->message.run = finish_message;
    task_env_post(task_env_of(t), &f->message);
}

/* ---- the module's side (module.h) ---- */

const void *sl_task_data(const struct sl_task *t, uint64_t *bytes)
{
    if (bytes)
        *bytes = t->cell.size;
    return t->payload;
}

int32_t sl_task_device(const struct sl_task *t)
{
    return t->channel ? t->channel->device : 0;
}

struct sl_result *sl_task_result(struct sl_task *t)
{
    return &t->result;
}

void sl_task_finish(struct sl_task *t, int code)
{
    if (task_env_of(t) == self)
        task_finish(t, code);
    else
        task_finish_later(t, code);
}
