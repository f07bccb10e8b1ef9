/* SPDX-License-Identifier: Apache-2.0 */
/* Players: made, let loose, looked at. */
#include "model.h"

const char *const model_kinds[MODEL_KINDS] = {"pinned", "ram", "hbm", "file",
                                              "fault"};

void model_fail(struct model_player *p, const char *format, ...)
{
    va_list ap;
    if (p->why[0])
        return;
    va_start(ap, format);
    vsnprintf(p->why, sizeof(p->why), format, ap);
    va_end(ap);
    __atomic_store_n(&p->world->failed, 1, __ATOMIC_RELAXED);
}

int model_allows(struct model_player *p, int rc)
{
    const struct model_world *w = p->world;
    int yes = (w->tight && (rc == SL_ENOSPC || rc == SL_ENOMEM)) ||
              (w->faults && (rc == SL_EIO || rc == SL_ENOSPC));
    p->no_space += yes ? 1u : 0u;
    return yes;
}

uint64_t model_size(struct model_player *p)
{
    static const uint64_t limits[] = {40,   40,   200,   200,   200,
                                      5000, 5000, 20000, 70000, 300000};
    uint64_t most = limits[model_pick(p, 10)];
    most = most < p->world->blob_max ? most : p->world->blob_max;
    return model_pick(p, most + 1u);
}

void model_create(struct model_world *w, struct model_player *p, uint64_t seed)
{
    for (uint32_t i = 0; i < MODEL_PLAYERS; i++) {
        memset(&p[i], 0, sizeof(p[i]));
        p[i].world = w;
        p[i].id = i;
        p[i].random = test_fork(seed, i);
        p[i].buf = malloc(w->blob_max);
        p[i].shared_buf = malloc(w->blob_max);
        assert_non_null(p[i].buf);
        assert_non_null(p[i].shared_buf);
        for (unsigned k = 0; k < MODEL_NAMES; k++)
            p[i].name[k] = (uint8_t)k;
        for (unsigned k = 0; k < MODEL_BLOBS; k++) {
            p[i].blob[k].bytes = calloc(1, w->blob_max);
            assert_non_null(p[i].blob[k].bytes);
            p[i].blob[k].score = SL_SCORE_AUTO;
            p[i].blob[k].score_known = 1;
        }
    }
}

void model_destroy(struct model_player *p)
{
    for (uint32_t i = 0; i < MODEL_PLAYERS; i++) {
        for (unsigned k = 0; k < MODEL_BLOBS; k++)
            free(p[i].blob[k].bytes);
        free(p[i].buf);
        free(p[i].shared_buf);
    }
}

static void *play(void *arg)
{
    struct model_player *p = arg;
    if (p->reopened)
        model_look(p);
    /* Relaxed: only to stop early; what failed is read after the join. */
    while (p->steps && !p->why[0] &&
           !__atomic_load_n(&p->world->failed, __ATOMIC_RELAXED)) {
        if (model_pick(p, 5))
            model_step_own(p);
        else
            model_step_shared(p);
        p->steps--;
        p->made++;
    }
    return NULL;
}

int model_round(struct model_world *w, struct model_player *p, uint64_t steps,
                int reopened)
{
    int good = 1;
    for (uint32_t i = 0; i < MODEL_PLAYERS; i++) {
        p[i].steps = steps;
        p[i].reopened = reopened;
        assert_int_equal(pthread_create(&p[i].thread, NULL, play, &p[i]), 0);
    }
    for (uint32_t i = 0; i < MODEL_PLAYERS; i++)
        assert_int_equal(pthread_join(p[i].thread, NULL), 0);
    for (uint32_t i = 0; i < MODEL_PLAYERS; i++) {
        if (!p[i].why[0])
            continue;
        print_error("player %u, step %llu: %s\n", i,
                    (unsigned long long)p[i].made, p[i].why);
        good = 0;
    }
    return good && !w->failed;
}

int model_clear(struct model_world *w, struct model_player *p)
{
    int rc = 0;
    for (uint32_t i = 0; i < MODEL_PLAYERS; i++)
        for (unsigned t = 0; t < MODEL_TAGS && !rc; t++)
            if (p[i].tag_there[t])
                rc = sl_tag_del(w->rt, p[i].tag[t]);
    return rc ? rc : sl_tag_del(w->rt, w->shared);
}
