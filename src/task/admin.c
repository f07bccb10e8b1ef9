/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "task/task.h"

#include <string.h>

/*
 * Chunks for producers. A worker that finds none makes the others give theirs
 * back (arena.h), and producers release what they copied; both takes a moment,
 * so a request waits this long before it is told that there is no space.
 */
#define STARVE_NS 10000000u /* 10 ms: 50 times what a worker spins */

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
    uint32_t klass;
    /* Again: a request that waited may have lost its side chunk. */
    if (!chunk_is_lent(env->arena, t->cell.side, t->channel->id, &klass))
        return SL_ECHUNK;
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

static int try_again(struct sl_task *t)
{
    return t->cell.method == SL_ADMIN_LIST ? try_list(t) : try_chunk(t);
}

/* ---- waiting for chunks ---- */

static void starve(struct task_env *env, struct sl_task *t)
{
    task_frame(t)->since_ns = clock_ns();
    t->next = NULL;
    *env->starving_end = t;
    env->starving_end = &t->next;
}

unsigned admin_retry(struct task_env *env)
{
    unsigned answered = 0;
    uint64_t now = clock_ns();
    while (env->starving) {
        struct sl_task *t = env->starving;
        int rc = try_again(t);
        if (rc == SL_ENOSPC && now - task_frame(t)->since_ns < STARVE_NS)
            break; /* those behind it came later */
        env->starving = t->next;
        if (!env->starving)
            env->starving_end = &env->starving;
        task_finish(t, rc);
        answered++;
    }
    return answered;
}

static int attempt(struct sl_task *t)
{
    struct task_env *env = task_env_of(t);
    int rc = SL_ENOSPC;
    if (!env->starving) /* else it would pass those who wait */
        rc = try_again(t);
    if (rc != SL_ENOSPC)
        return rc;
    starve(env, t);
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
    }
    return class_is_lent(t->cell.klass) ? attempt(t) : SL_EINVAL;
}

static int lend_list(struct sl_task *t, void *container)
{
    (void)container;
    if (!class_is_lent(t->cell.klass))
        return SL_EINVAL;
    if (t->cell.size == 0 || t->cell.size > SL_LIST_MAX)
        return SL_EINVAL;
    return attempt(t);
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
