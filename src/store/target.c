/* SPDX-License-Identifier: Apache-2.0 */
#include "store/target.h"

#include "base/clock.h"
#include "base/log.h"
#include "store/dir.h"
#include "store/move.h"
#include "store/shard.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How long the kernel may take to end a killed owner's requests: 13 s were seen
 * in 1,000 kills on a machine of which the disk and the CPUs were overloaded. */
#define DEAD_OWNER_NS UINT64_C(60000000000)
/* How long a removal waits for reads of the target that are under way. */
#define READS_NS UINT64_C(60000000000)

/* ---- entries ---- */

void target_spec_free(struct target_spec *spec)
{
    free(spec->path);
    free(spec->device);
    spec->path = NULL;
    spec->device = NULL;
}

int target_find(const struct store *s, const char *name)
{
    for (int t = 0; t < (int)TARGETS_MAX; t++)
        if (s->target[t].state != TARGET_FREE &&
            strcmp(s->target[t].spec.name, name) == 0)
            return t;
    return -1;
}

int target_of_number(const struct store *s, uint32_t number)
{
    for (int t = 0; t < (int)TARGETS_MAX; t++)
        if (s->target[t].state != TARGET_FREE && s->target[t].spec.lasting &&
            s->target[t].spec.number == number)
            return t;
    return -1;
}

static int free_entry(const struct store *s)
{
    for (int t = TARGET_PINNED + 1; t < (int)TARGETS_MAX; t++)
        if (s->target[t].state == TARGET_FREE)
            return t;
    log_error("store: there are %u targets already", TARGETS_MAX);
    return SL_ENOSPC;
}

static void set_marks(const struct store *s, struct target *t)
{
    const struct sl_config *c = s->config.config;
    double all = (double)t->spec.capacity;
    t->over_bytes = c->evict_high < 1.0f
                        ? (uint64_t)(all * (double)c->evict_high)
                        : UINT64_MAX;
    t->under_bytes = (uint64_t)(all * (double)c->evict_low);
}

static int open_tier(const struct store *s, struct target *t, int fresh)
{
    const struct target_spec *spec = &t->spec;
    const struct tier_config c = {
        .kind = spec->kind,
        .name = spec->name,
        .path = spec->path,
        .device = spec->device,
        .pin = arena_base(s->config.arena),
        .pin_bytes = arena_bytes(s->config.arena),
        .capacity = spec->capacity,
        .n_ports = s->config.n_workers + 1u,
        .must_exist = !fresh,
        /* The directory is ours: only a dead owner's writes hold its files. One
         * that is being added was nobody's, so whoever holds it lives. */
        .lock_wait_ns = s->dir && !(fresh && spec->made) ? DEAD_OWNER_NS : 0};
    int rc = tier_open(&c, &t->tier);
    /* The data file is behind the directory's lock, these are not. */
    return rc == SL_EBUSY && spec->made ? SL_ETARGETBUSY : rc;
}

/* The file is the one that the list means, or is marked to be it. */
static int own_file(struct target *t, int fresh)
{
    uint64_t at = 0;
    int rc = 0;
    if (!t->spec.identity)
        return 0;
    if (fresh)
        rc = t->tier->ops->alloc(t->tier, TIER_BLOCK, &at);
    if (rc)
        return rc;
    rc = fresh ? target_stamp(t, t->sync) : target_check(t, t->sync);
    /* Its first block was read just now, so it has one. */
    return rc || fresh ? rc : t->tier->ops->reserve(t->tier, 0, TIER_BLOCK);
}

static void close_entry(struct target *t)
{
    if (t->sync)
        t->sync->tier->ops->port_close(t->sync);
    if (t->tier)
        t->tier->ops->close(t->tier);
    t->sync = NULL;
    t->tier = NULL;
}

/* An entry becomes visible to those who only look. */
static void set_state(struct store *s, struct target *t, enum target_state to)
{
    pthread_mutex_lock(&s->look);
    t->state = to;
    pthread_mutex_unlock(&s->look);
}

/* `spec` is taken with success only. */
static int open_entry(struct store *s, int at, const struct target_spec *spec,
                      int fresh)
{
    struct target *t = &s->target[at]; /* zeros: take_out leaves them */
    int rc;
    t->spec = *spec;
    t->dirty = 1; /* what an earlier process wrote may be in no sync yet */
    rc = open_tier(s, t, fresh);
    if (!rc && spec->lasting)
        rc = t->tier->ops->port_open(t->tier, s->config.n_workers, &t->sync);
    if (!rc)
        rc = own_file(t, fresh);
    if (rc) {
        if (t->tier && fresh && spec->made)
            (void)unlink(spec->path); /* it was empty or absent */
        close_entry(t);
        memset(&t->spec, 0, sizeof(t->spec));
        return rc;
    }
    set_marks(s, t);
    set_state(s, t, TARGET_ACTIVE);
    return 0;
}

/* ---- those of the configuration and of the directory ---- */

static int open_default(struct store *s, const char *kind, uint64_t bytes,
                        const char *path, uint16_t score)
{
    struct target_spec spec = {.capacity = bytes, .score = score};
    int rc;
    if (!bytes || bytes == SL_NONE)
        return 0;
    strncpy(spec.name, kind, sizeof(spec.name) - 1u);
    strncpy(spec.kind, kind, sizeof(spec.kind) - 1u);
    spec.lasting = path && s->dir;
    if (path && !(spec.path = strdup(path)))
        return SL_ENOMEM;
    rc = open_entry(s, free_entry(s), &spec, 1);
    if (rc)
        target_spec_free(&spec);
    return rc;
}

static void open_pinned(struct store *s)
{
    struct target *t = &s->target[TARGET_PINNED];
    struct arena_usage u;
    if (s->config.config->pinned_bytes == SL_NONE)
        return;
    arena_usage(s->config.arena, &u);
    strcpy(t->spec.name, "pinned");
    strcpy(t->spec.kind, "pinned");
    t->spec.capacity = u.pinned_limit;
    t->spec.score = SL_SCORE_ONE;
    set_marks(s, t);
    t->state = TARGET_ACTIVE;
}

static int open_listed(struct store *s, struct target_spec *spec)
{
    int at = free_entry(s);
    int rc = at < 0 ? at : open_entry(s, at, spec, 0);
    if (rc)
        target_spec_free(spec);
    return rc;
}

int targets_open(struct store *s)
{
    const struct sl_config *c = s->config.config;
    const char *path = s->dir ? s->dir->data : c->file_path;
    int rc;
    s->ports = calloc(s->config.n_workers, sizeof(*s->ports));
    if (!s->ports)
        return SL_ENOMEM;
    open_pinned(s);
    rc = open_default(s, "ram", c->ram_bytes, NULL, 800);
    if (!rc && path)
        rc = open_default(s, "file", c->file_bytes, path, 400);
    if (!rc)
        rc = open_default(s, "null", c->null_bytes, NULL, 0);
    if (rc || !s->dir)
        return rc;
    if (target_of_number(s, 0) < 0) {
        log_error("store: file_bytes is 0, a data directory needs a file tier");
        return SL_ECONFIG;
    }
    return target_list_read(s, open_listed);
}

static void close_port(struct target_ports *p, uint32_t t)
{
    struct tier_port *port = p->at[t];
    if (!port)
        return;
    port->tier->ops->port_close(port);
    p->at[t] = NULL;
    p->n = 0;
    for (uint32_t i = 0; i < TARGETS_MAX; i++)
        if (p->at[i])
            p->list[p->n++] = p->at[i];
}

static int open_port(struct store *s, uint32_t worker, uint32_t t)
{
    struct target_ports *p = &s->ports[worker];
    struct tier *tier = s->target[t].tier;
    int rc;
    if (p->at[t] || !tier)
        return 0;
    rc = tier->ops->port_open(tier, worker, &p->at[t]);
    if (!rc)
        p->list[p->n++] = p->at[t];
    return rc;
}

int targets_attach(struct store *s, uint32_t worker)
{
    int rc = 0;
    for (uint32_t t = 0; t < TARGETS_MAX && !rc; t++)
        if (s->target[t].state != TARGET_FREE)
            rc = open_port(s, worker, t);
    return rc;
}

void targets_close(struct store *s)
{
    for (uint32_t t = 0; t < TARGETS_MAX; t++) {
        struct target *g = &s->target[t];
        for (uint32_t w = 0; s->ports && w < s->config.n_workers; w++)
            close_port(&s->ports[w], t);
        close_entry(g);
        if (g->spec.made && !g->spec.lasting)
            (void)unlink(g->spec.path); /* nobody knows what it holds */
        target_spec_free(&g->spec);
    }
    free(s->ports);
}

/* ---- rounds over all shards ---- */

struct round {
    void *user;
    pthread_mutex_t lock;
    pthread_cond_t end;
    int ended, code;
};

void *round_user(const struct scatter *sc)
{
    const struct round *r = sc->user;
    return r->user;
}

static void round_ended(struct scatter *sc, int code)
{
    struct round *r = sc->user;
    pthread_mutex_lock(&r->lock);
    r->code = code;
    r->ended = 1;
    pthread_cond_signal(&r->end);
    pthread_mutex_unlock(&r->lock);
}

int targets_round(struct store *s,
                  int (*part)(struct scatter *s, struct shard *sh), void *user)
{
    struct round r = {.user = user};
    int rc;
    pthread_mutex_init(&r.lock, NULL);
    pthread_cond_init(&r.end, NULL);
    rc = scatter_start(s->shards[0], NULL, part, round_ended, &r);
    pthread_mutex_lock(&r.lock);
    while (!rc && !r.ended)
        pthread_cond_wait(&r.end, &r.lock);
    pthread_mutex_unlock(&r.lock);
    pthread_cond_destroy(&r.end);
    pthread_mutex_destroy(&r.lock);
    return rc ? rc : r.code;
}

static int renew_part(struct scatter *sc, struct shard *sh)
{
    (void)sc;
    choice_make(sh->store, &sh->choice);
    return 0;
}

int targets_renew(struct store *s)
{
    return targets_round(s, renew_part, NULL);
}

static int open_part(struct scatter *sc, struct shard *sh)
{
    const uint32_t *t = round_user(sc);
    return open_port(sh->store, sh->env.worker, *t);
}

static int close_part(struct scatter *sc, struct shard *sh)
{
    const uint32_t *t = round_user(sc);
    close_port(&sh->store->ports[sh->env.worker], *t);
    return 0;
}

/* Reads that began before the last bytes left may still be under way. */
static int settle_part(struct scatter *sc, struct shard *sh)
{
    (void)sc;
    limbo_advance(sh);
    return 0;
}

/* ---- the committer ---- */

/* How long a control thread waits for the committer. */
#define SYNC_S 2

int targets_lock_sync(struct store *s)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += SYNC_S;
    if (!pthread_mutex_timedlock(&s->sync, &until))
        return 0;
    log_error("store: a commit waits for a target since %d s", SYNC_S);
    return SL_EBUSY;
}

void target_asked(struct target *t, int begins)
{
    /* Relaxed: a figure to look at. */
    __atomic_store_n(&t->asked_ns, begins ? clock_ns() : 0, __ATOMIC_RELAXED);
}

static int sync_one(struct target *t)
{
    struct tier_io io;
    int rc;
    /* Acquire: the writes that set it are done. Partner: unit.c, written. */
    if (!__atomic_exchange_n(&t->dirty, 0u, __ATOMIC_ACQUIRE))
        return 0;
    memset(&io, 0, sizeof(io));
    target_asked(t, 1);
    rc = target_run(t->sync, t->tier->ops->flush, &io);
    target_asked(t, 0);
    if (rc) /* relaxed: this thread reads it next */
        __atomic_store_n(&t->dirty, 1u, __ATOMIC_RELAXED);
    return rc;
}

int targets_sync(struct store *s)
{
    int rc = 0;
    pthread_mutex_lock(&s->sync);
    for (uint32_t t = 0; t < TARGETS_MAX && !rc; t++)
        if (s->target[t].sync)
            rc = sync_one(&s->target[t]);
    pthread_mutex_unlock(&s->sync);
    return rc;
}

/* ---- adding ---- */

static void take_out(struct store *s, uint32_t t)
{
    struct target *g = &s->target[t];
    (void)targets_round(s, close_part, &t);
    pthread_mutex_lock(&s->sync);
    close_entry(g);
    pthread_mutex_lock(&s->look);
    target_spec_free(&g->spec);
    memset(g, 0, sizeof(*g)); /* free */
    pthread_mutex_unlock(&s->look);
    pthread_mutex_unlock(&s->sync);
}

static int enter(struct store *s, uint32_t t, float score)
{
    struct target *g = &s->target[t];
    int rc = targets_round(s, open_part, &t);
    if (!rc && score < 0)
        rc = target_rate(s, g);
    if (!rc && g->spec.lasting)
        rc = target_list_write(s);
    if (!rc)
        rc = targets_renew(s);
    return rc;
}

/* `spec` is taken with success only. */
static int add(struct store *s, struct target_spec *spec, float score)
{
    int rc, at = free_entry(s);
    if (at < 0)
        return at;
    if (target_find(s, spec->name) >= 0) {
        log_error("store: there is a target %s already", spec->name);
        return SL_EEXIST;
    }
    if (spec->lasting) {
        spec->number = s->next_number++;
        spec->identity = target_identity();
    }
    rc = targets_lock_sync(s);
    if (rc)
        return rc;
    rc = open_entry(s, at, spec, 1);
    pthread_mutex_unlock(&s->sync);
    if (rc)
        return rc;
    rc = enter(s, (uint32_t)at, score);
    if (!rc)
        return at;
    char *made = spec->made ? strdup(spec->path) : NULL;
    take_out(s, (uint32_t)at);
    memset(spec, 0, sizeof(*spec)); /* its strings went with the entry */
    /* The file goes last: a store whose list names a file that is not there
     * does not open. */
    if (target_list_write(s))
        log_error("store: the list of targets is not as it was");
    else if (made)
        (void)unlink(made);
    free(made);
    return rc;
}

int store_target_add(struct store *s, const struct sl_target_opts *o,
                     uint32_t *id)
{
    struct target_spec spec;
    int at, rc = target_spec_make(s, o, &spec);
    if (rc)
        return rc;
    if (pthread_mutex_trylock(&s->control)) {
        target_spec_free(&spec);
        return SL_EBUSY;
    }
    at = add(s, &spec, o->score);
    pthread_mutex_unlock(&s->control);
    if (at < 0) {
        target_spec_free(&spec);
        return at;
    }
    if (id)
        *id = (uint32_t)at;
    return 0;
}

/* ---- removing ---- */

static uint64_t used_of(const struct target *t)
{
    /* Relaxed: the rounds order it. Partner: unit.c. */
    return __atomic_load_n(&t->counts.used, __ATOMIC_RELAXED);
}

/* Until nobody reads what has left. A blob that was renamed into another shard
 * meanwhile was in no drain, so these are done again now and then. */
static int settle(struct store *s, uint32_t at)
{
    const struct target *t = &s->target[at];
    uint64_t until = clock_ns() + READS_NS;
    int rc = 0;
    for (uint32_t turn = 1; !rc && used_of(t); turn++) {
        /* Relaxed: nothing else goes with it. Partner: store_stop. */
        if (__atomic_load_n(&s->stopping, __ATOMIC_RELAXED))
            return SL_EDEAD;
        if (clock_ns() > until) {
            log_error("store: %llu bytes of target %s stay in use",
                      (unsigned long long)used_of(t), t->spec.name);
            return SL_EBUSY;
        }
        clock_sleep_ns(1000000);
        rc = targets_round(s, settle_part, NULL);
        if (!rc && turn % 16u == 0)
            rc = targets_round(s, move_drain, &at);
        if (!rc && turn % 16u == 0 && s->meta)
            rc = store_barrier(s);
    }
    return rc;
}

/* Everything leaves, new places are recorded, readers are gone. */
static int empty(struct store *s, uint32_t t)
{
    int rc = targets_renew(s);
    if (!rc)
        rc = targets_round(s, move_drain, &t);
    /* What records named before becomes free by it, and no record names the
     * target any more. */
    if (!rc && s->meta)
        rc = store_barrier(s);
    return rc ? rc : settle(s, t);
}

static int remove_entry(struct store *s, int at)
{
    struct target *t = &s->target[at];
    int rc;
    if (at == (int)TARGET_PINNED || (t->spec.lasting && !t->spec.number)) {
        log_error("store: target %s cannot be removed", t->spec.name);
        return SL_EINVAL;
    }
    set_state(s, t, TARGET_DRAINING);
    rc = empty(s, (uint32_t)at);
    if (!rc && t->spec.lasting)
        rc = target_list_write(s);
    if (rc) {
        set_state(s, t, TARGET_ACTIVE);
        (void)targets_renew(s);
        return rc;
    }
    if (t->spec.made)
        (void)unlink(t->spec.path);
    take_out(s, (uint32_t)at);
    return targets_renew(s);
}

int store_target_remove(struct store *s, const char *name)
{
    int at, rc;
    if (pthread_mutex_trylock(&s->control))
        return SL_EBUSY;
    at = target_find(s, name);
    rc = at < 0 ? SL_ENOTARGET : remove_entry(s, at);
    pthread_mutex_unlock(&s->control);
    return rc;
}

void store_stop(struct store *s)
{
    /* Relaxed: see settle. */
    __atomic_store_n(&s->stopping, 1u, __ATOMIC_RELAXED);
}
