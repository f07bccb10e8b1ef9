/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/log.h"
#include "store/shard.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- what the user asks for ---- */

static int refuse(int code, const char *name, const char *why)
{
    log_error("target %s: %s", name, why);
    return code;
}

static int name_is_good(const char *name)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyz"
                               "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t n = strlen(name);
    return n > 0 && n < SL_TARGET_NAME && strspn(name, good) == n;
}

static int kind_is_known(const char *kind)
{
    /* fault is for tests: it behaves as ram, or as a file with a path. */
    static const char *const kinds[] = {"ram", "hbm", "file", "null", "fault"};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(kind, kinds[i]) == 0)
            return 1;
    return 0;
}

int target_wire_score(float score, uint16_t *out)
{
    if (!(score >= 0.0f && score <= 1.0f)) /* NaN too */
        return SL_ESCORE;
    *out = (uint16_t)lroundf(score * (float)SL_SCORE_ONE);
    return 0;
}

/* From the root, as the next process may start elsewhere. */
static char *whole_path(const char *path)
{
    char here[PATH_MAX], *out;
    size_t n;
    if (path[0] == '/')
        return strdup(path);
    if (!getcwd(here, sizeof(here)))
        return NULL;
    n = strlen(here) + strlen(path) + 2u;
    out = malloc(n);
    if (out)
        snprintf(out, n, "%s/%s", here, path);
    return out;
}

static int check(const struct sl_target_opts *o)
{
    struct stat st;
    if (!o->name || !o->kind)
        return SL_EINVAL;
    if (!name_is_good(o->name))
        return refuse(SL_EINVAL, o->name, "not a name of a target");
    if (!kind_is_known(o->kind))
        return refuse(SL_EINVAL, o->name, "unknown kind");
    if (o->capacity < TIER_BLOCK || o->capacity > SL_BLOB_MAX)
        return refuse(SL_EINVAL, o->name, "capacity not from 4 KiB to 256 TiB");
    if (!strcmp(o->kind, "file") && !(o->path && *o->path))
        return refuse(SL_EINVAL, o->name, "a file target needs a path");
    if (strcmp(o->kind, "file") != 0 && strcmp(o->kind, "fault") != 0 &&
        o->path)
        return refuse(SL_EINVAL, o->name, "only files have a path");
    if (o->path && strpbrk(o->path, "\n"))
        return refuse(SL_EINVAL, o->name, "a line end in the path");
    if (!o->path || stat(o->path, &st) != 0)
        return 0;
    if (!S_ISREG(st.st_mode))
        return refuse(SL_EINVAL, o->name, "the path is no regular file");
    if (st.st_size)
        return refuse(SL_EEXIST, o->name, "the file has content");
    return 0;
}

int target_spec_make(const struct store *s, const struct sl_target_opts *o,
                     struct target_spec *out)
{
    uint16_t score = 0;
    int rc = o ? check(o) : SL_EINVAL;
    if (!rc && o->score != -1.0f)
        rc = target_wire_score(o->score, &score);
    if (rc)
        return rc;
    memset(out, 0, sizeof(*out));
    strcpy(out->name, o->name);
    strcpy(out->kind, o->kind);
    out->capacity = o->capacity;
    out->score = score;
    if (o->path) {
        out->path = whole_path(o->path);
        out->made = 1;
        out->lasting = s->dir != NULL;
    }
    if (!strcmp(o->kind, "hbm"))
        out->device = strdup(o->device ? o->device : "auto");
    if ((o->path && !out->path) || (!strcmp(o->kind, "hbm") && !out->device)) {
        target_spec_free(out);
        return SL_ENOMEM;
    }
    return 0;
}

/* ---- scores ---- */

static void set_score(struct store *s, struct target *t, uint16_t score,
                      const struct speed *speed)
{
    pthread_mutex_lock(&s->look);
    t->spec.score = score;
    t->speed = *speed;
    pthread_mutex_unlock(&s->look);
}

int target_rate(struct store *s, struct target *t)
{
    struct tier_port *port = NULL;
    struct speed speed;
    int rc;
    if (!t->tier)
        return refuse(SL_EINVAL, t->spec.name,
                      "is not measured, it is the "
                      "measure");
    rc = targets_lock_sync(s);
    if (rc)
        return rc;
    target_asked(t, 1);
    rc = t->sync ? 0
                 : t->tier->ops->port_open(t->tier, s->config.n_workers, &port);
    if (!rc)
        rc = target_measure(t->sync ? t->sync : port, &speed);
    target_asked(t, 0);
    if (port)
        port->tier->ops->port_close(port);
    pthread_mutex_unlock(&s->sync);
    if (!rc)
        set_score(s, t, target_score_of(&speed), &speed);
    return rc;
}

static int rescore(struct store *s, int at, float score)
{
    struct target *t = &s->target[at];
    uint16_t wire;
    int rc =
        score == -1.0f ? target_rate(s, t) : target_wire_score(score, &wire);
    if (!rc && score != -1.0f)
        set_score(s, t, wire, &t->speed);
    if (!rc && t->spec.lasting && t->spec.number)
        rc = target_list_write(s);
    return rc ? rc : targets_renew(s);
}

int store_target_score(struct store *s, const char *name, float score)
{
    uint16_t wire;
    int at, rc = score == -1.0f ? 0 : target_wire_score(score, &wire);
    if (rc)
        return rc;
    if (pthread_mutex_trylock(&s->control))
        return SL_EBUSY;
    at = target_find(s, name);
    rc = at < 0 ? SL_ENOTARGET : rescore(s, at, score);
    pthread_mutex_unlock(&s->control);
    return rc;
}

/* ---- what is known ---- */

static uint64_t blob_bytes_on(const struct store *s, uint32_t t)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < s->config.n_shards; i++)
        /* Relaxed: a figure to look at. Partner: unit.c. */
        n += __atomic_load_n(&s->shards[i]->unit_bytes[t], __ATOMIC_RELAXED);
    return n;
}

static void copy_counts(const struct target *t, struct sl_target_info *out)
{
    /* Relaxed: figures to look at. */
    out->used = __atomic_load_n(&t->counts.used, __ATOMIC_RELAXED);
    out->evicted = __atomic_load_n(&t->counts.evicted, __ATOMIC_RELAXED);
    out->promoted = __atomic_load_n(&t->counts.promoted, __ATOMIC_RELAXED);
    out->moved_bytes = __atomic_load_n(&t->counts.moved, __ATOMIC_RELAXED);
}

/* A request or a sync of a disk that works takes less. */
#define SLOW_NS UINT64_C(1000000000)

static const char *state_of(const struct target *t)
{
    /* Relaxed: a figure to look at. Partner: target_asked. */
    uint64_t asked = __atomic_load_n(&t->asked_ns, __ATOMIC_RELAXED);
    if (asked && clock_ns() > asked + SLOW_NS)
        return "slow";
    return t->state == TARGET_ACTIVE ? "active" : "draining";
}

static void describe(const struct store *s, uint32_t at,
                     struct sl_target_info *out)
{
    const struct target *t = &s->target[at];
    const char *path = t->spec.path ? t->spec.path : t->spec.device;
    memset(out, 0, sizeof(*out));
    strcpy(out->name, t->spec.name);
    strcpy(out->kind, t->spec.kind);
    strcpy(out->state, state_of(t));
    snprintf(out->path, sizeof(out->path), "%s", path ? path : "");
    out->id = at;
    out->number = t->spec.number;
    out->capacity = t->spec.capacity;
    out->score = (double)t->spec.score / (double)SL_SCORE_ONE;
    out->bandwidth = t->speed.bandwidth;
    out->latency_ns = t->speed.latency_ns;
    copy_counts(t, out);
    out->blob_bytes = blob_bytes_on(s, at);
    if (at == TARGET_PINNED) {
        struct arena_usage u;
        arena_usage(s->config.arena, &u);
        out->used = u.pinned_used;
        out->blob_bytes = u.pinned_used;
    }
}

int store_targets(struct store *s, struct sl_target_info *out, size_t n)
{
    size_t k = 0;
    pthread_mutex_lock(&s->look);
    for (uint32_t t = 0; t < TARGETS_MAX; t++) {
        if (s->target[t].state == TARGET_FREE)
            continue;
        if (k < n)
            describe(s, t, &out[k]);
        k++;
    }
    pthread_mutex_unlock(&s->look);
    return (int)k;
}

static int by_falling_score(const void *a, const void *b)
{
    const struct sl_target_info *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return x->id < y->id ? -1 : 1;
}

int store_tiers(struct store *s, struct sl_tier_info *out, size_t n)
{
    struct sl_target_info info[TARGETS_MAX];
    int all = store_targets(s, info, TARGETS_MAX);
    qsort(info, (size_t)all, sizeof(info[0]), by_falling_score);
    for (size_t i = 0; i < n && i < (size_t)all; i++) {
        memset(&out[i], 0, sizeof(out[i]));
        strcpy(out[i].kind, info[i].kind);
        out[i].capacity = info[i].capacity;
        out[i].used = info[i].used;
    }
    return all;
}
