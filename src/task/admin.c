/* SPDX-License-Identifier: Apache-2.0 */
#include "task/task.h"

#include <stdlib.h>
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

static int by_offset(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return (x > y) - (x < y);
}

/* All or nothing. In order, so that neighbours are one run for a copy engine.
 */
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
    qsort(at, n, sizeof(at[0]), by_offset);
    for (uint32_t i = 0; i < n; i++)
        chunk_lend(env->arena, at[i], t->channel->id);
    memcpy(base + t->cell.side + SL_SIDE_LIST, at, n * sizeof(at[0]));
    return 0;
}

static uint32_t unit_class(uint64_t word)
{
    return sl_class_of(sl_unit_bytes(word));
}

/* Chunks for the words of a table that is not lent meanwhile, all or nothing. */
static int lend_units(struct task_env *env, uint64_t *word, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        uint64_t at;
        int rc = chunk_alloc(env->cache, unit_class(word[i]), &at);
        if (rc) {
            while (i-- > 0)
                chunk_unref(env->cache, sl_unit_chunk(word[i]));
            return rc;
        }
        word[i] = sl_unit_make(at, sl_unit_bytes(word[i]));
    }
    return 0;
}

/* Copied before anything looks at it; SL_EPROTO. */
static int read_units(const struct sl_task *t, uint64_t *word)
{
    const uint8_t *from = arena_base(task_env_of(t)->arena);
    memcpy(word, from + t->cell.chunk, t->cell.size * sizeof(*word));
    for (uint64_t i = 0; i < t->cell.size; i++) {
        uint32_t bytes = sl_unit_bytes(word[i]);
        if (bytes == 0 || bytes > SL_CODED_MAX)
            return SL_EPROTO;
        word[i] = sl_unit_make(0, bytes);
    }
    return 0;
}

/* Between the two the table belongs to the worker, so that nobody else writes
 * where somebody's bytes might be by then. */
static int fill_table(struct sl_task *t, uint64_t *word)
{
    struct task_env *env = task_env_of(t);
    uint64_t n = t->cell.size;
    uint32_t klass = 0;
    int rc = chunk_adopt(env->arena, t->cell.chunk, t->channel->id, &klass);
    if (rc)
        return rc;
    rc = n * sizeof(*word) > UINT64_C(1) << klass ? SL_EPROTO
                                                  : read_units(t, word);
    if (!rc)
        rc = lend_units(env, word, n);
    for (uint64_t i = 0; i < n && !rc; i++)
        chunk_lend(env->arena, sl_unit_chunk(word[i]), t->channel->id);
    if (!rc)
        memcpy((uint8_t *)arena_base(env->arena) + t->cell.chunk, word,
               n * sizeof(*word));
    chunk_lend(env->arena, t->cell.chunk, t->channel->id);
    return rc;
}

static int try_units(struct sl_task *t)
{
    uint64_t *word = malloc(t->cell.size * sizeof(*word));
    int rc = word ? fill_table(t, word) : SL_ENOMEM;
    free(word);
    return rc;
}

/* More than there ever is: waiting is of no use. Of units it is the least that
 * they can take. */
static int is_too_much(const struct sl_task *t)
{
    uint64_t n = t->cell.method == SL_ADMIN_CHUNK ? 1u : t->cell.size;
    uint32_t klass =
        t->cell.method == SL_ADMIN_UNITS ? SL_LENT_MIN_SHIFT : t->cell.klass;
    return n << klass >= arena_bytes(task_env_of(t)->arena);
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

/* The value is the slot's chunk: the table. */
static int lend_table(struct sl_task *t, void *container)
{
    (void)container;
    t->value = t->cell.chunk;
    if (t->cell.size == 0 || t->cell.size > SL_UNITS_MAX)
        return SL_EINVAL;
    return attempt(t, try_units);
}

static int (*const methods[SL_ADMIN_METHODS])(struct sl_task *, void *) = {
    [SL_ADMIN_NOOP] = noop,
    [SL_ADMIN_CHUNK] = lend_chunk,
    [SL_ADMIN_LIST] = lend_list,
    [SL_ADMIN_UNITS] = lend_table,
};

const struct sl_module admin_module = {
    .size = sizeof(admin_module),
    .name = "admin",
    .n_methods = SL_ADMIN_METHODS,
    .methods = methods,
};
