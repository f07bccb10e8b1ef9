/* SPDX-License-Identifier: Apache-2.0 */
#include "task/task.h"

#include <string.h>

static int noop(struct sl_task *t, void *container)
{
    (void)t;
    (void)container;
    return 0;
}

static int class_is_lent(uint32_t klass)
{
    return klass >= SL_LENT_MIN_SHIFT && klass <= SL_CHUNK_MAX_SHIFT;
}

/* ---- attempts ---- */

static int try_chunk(struct sl_task *t)
{
    struct task_env *env = task_env_of(t);
    uint64_t at;
    int rc = chunk_alloc(env->cache, t->cell.klass, &at);
    if (rc)
        return rc;
    chunk_lend(env->arena, at, t->channel->id);
    t->value = at;
    return 0;
}

/* All or nothing. */
static int try_list(struct sl_task *t)
{
    struct task_env *env = task_env_of(t);
    uint64_t at[SL_LIST_MAX];
    uint32_t n = (uint32_t)t->cell.size;
    uint8_t *base = arena_base(env->arena);
    for (uint32_t i = 0; i < n; i++) {
        int rc = chunk_alloc(env->cache, t->cell.klass, &at[i]);
        if (rc) {
            while (i-- > 0)
                chunk_unref(env->cache, at[i]);
            return rc;
        }
    }
    for (uint32_t i = 0; i < n; i++)
        chunk_lend(env->arena, at[i], t->channel->id);
    memcpy(base + t->cell.side + SL_SIDE_LIST, at, n * sizeof(at[0]));
    return 0;
}

/* More than there ever is: waiting is of no use. */
static int is_too_much(const struct sl_task *t)
{
    uint64_t n = t->cell.method == SL_ADMIN_LIST ? t->cell.size : 1u;
    return n << t->cell.klass >= arena_bytes(task_env_of(t)->arena);
}

static int attempt(struct sl_task *t, int (*try)(struct sl_task *t))
{
    int rc = SL_ENOSPC;
    if (task_may_try(t))
        rc = try(t);
    if (rc != SL_ENOSPC || is_too_much(t))
        return rc;
    task_starve(t, rc);
    return TASK_LATER;
}

/* ---- methods ---- */

static int lend_chunk(struct sl_task *t, void *container)
{
    struct task_env *env = task_env_of(t);
    uint32_t klass;
    (void)container;
    /* What comes back is freed in any case: whoever asks has no use for it,
     * and the value of the reply says what it then has. */
    if (t->cell.chunk) {
        int rc = chunk_adopt(env->arena, t->cell.chunk, t->channel->id, &klass);
        if (rc)
            return rc;
        chunk_unref(env->cache, t->cell.chunk);
        t->cell.chunk = 0; /* the task may be served again */
    }
    return class_is_lent(t->cell.klass) ? attempt(t, try_chunk) : SL_EINVAL;
}

static int lend_list(struct sl_task *t, void *container)
{
    (void)container;
    if (!class_is_lent(t->cell.klass))
        return SL_EINVAL;
    if (t->cell.size == 0 || t->cell.size > SL_LIST_MAX)
        return SL_EINVAL;
    return attempt(t, try_list);
}

static int (*const methods[SL_ADMIN_METHODS])(struct sl_task *, void *) = {
    [SL_ADMIN_NOOP] = noop,
    [SL_ADMIN_CHUNK] = lend_chunk,
    [SL_ADMIN_LIST] = lend_list,
};

const struct sl_module admin_module = {
    .size = sizeof(admin_module),
    .name = "admin",
    .n_methods = SL_ADMIN_METHODS,
    .methods = methods,
};
