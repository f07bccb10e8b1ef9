/* SPDX-License-Identifier: Apache-2.0 */
#include "task/task.h"

#include "base/log.h"
#include "base/opts.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct pools {
    pthread_mutex_t lock; /* of those who add */
    uint32_t n_lanes;
    uint32_t n; /* atomic; at[0..n) do not change any more */
    struct pool at[POOLS_MAX];
};

int pools_create(uint32_t n_lanes, struct pools **out)
{
    struct pools *p = calloc(1, sizeof(*p));
    if (!p)
        return SL_ENOMEM;
    pthread_mutex_init(&p->lock, NULL);
    p->n_lanes = n_lanes;
    *out = p;
    return 0;
}

static void pool_fini(struct pool *p, uint32_t n_containers)
{
    for (uint32_t i = n_containers; i-- > 0;) {
        if (p->module->destroy)
            p->module->destroy(p->containers[i]);
    }
    free(p->containers);
    free(p->name);
    memset(p, 0, sizeof(*p));
}

void pools_destroy(struct pools *p)
{
    if (!p)
        return;
    for (uint32_t i = p->n; i-- > 0;)
        pool_fini(&p->at[i], p->n_lanes);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

static int module_check(const struct sl_module *m)
{
    int good = m->methods && m->n_methods && m->n_methods <= UINT16_MAX;
    return good ? 0 : SL_EINVAL;
}

static int pool_init(struct pool *p, const char *name,
                     const struct sl_module *m, uint32_t n_lanes)
{
    uint32_t i = 0;
    int rc = opts_read(&p->own, sizeof(p->own), m, "module");
    if (rc)
        return rc;
    if (m->size != sizeof(*m))
        m = &p->own;
    rc = module_check(m);
    if (rc)
        return rc;
    rc = SL_ENOMEM;
    p->module = m;
    p->name = strdup(name);
    p->containers = calloc(n_lanes, sizeof(*p->containers));
    if (!p->name || !p->containers)
        goto undo;
    for (; m->create && i < n_lanes; i++) {
        rc = m->create(m->user, i, &p->containers[i]);
        if (rc)
            goto undo;
    }
    return 0;
undo:
    pool_fini(p, i);
    return rc;
}

int pools_add(struct pools *p, const char *name, const struct sl_module *m,
              uint32_t *id)
{
    uint32_t known;
    int rc;
    if (!name || !*name || strlen(name) > SL_NAME_MAX)
        return SL_EINVAL;
    pthread_mutex_lock(&p->lock);
    if (pools_find(p, name, &known) == 0) {
        rc = SL_EEXIST;
    } else if (p->n == POOLS_MAX) {
        log_error("pool %s: there are %u pools already", name, POOLS_MAX);
        rc = SL_ENOMEM;
    } else {
        rc = pool_init(&p->at[p->n], name, m, p->n_lanes);
    }
    if (!rc) {
        *id = p->n;
        /* Releases the pool. Partner: pools_at. */
        __atomic_store_n(&p->n, p->n + 1u, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&p->lock);
    return rc;
}

const struct pool *pools_at(const struct pools *p, uint32_t id)
{
    /* Acquires the pool. Partner: pools_add. */
    return id < __atomic_load_n(&p->n, __ATOMIC_ACQUIRE) ? &p->at[id] : NULL;
}

int pools_find(const struct pools *p, const char *name, uint32_t *id)
{
    const struct pool *pool;
    for (uint32_t i = 0; (pool = pools_at(p, i)); i++) {
        if (strcmp(pool->name, name) == 0) {
            *id = i;
            return 0;
        }
    }
    return SL_ENOPOOL;
}
