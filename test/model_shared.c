/* SPDX-License-Identifier: Apache-2.0 */
/* Steps on blobs that all players share: a get is one version whole. */
#include "model.h"

#include "stamp.h"

#define TAIL 512u

/* ---- sizes ---- */

static uint64_t part_bytes(const struct model_player *p, unsigned blob)
{
    static const uint64_t sizes[MODEL_SHARED] = {48,   10000, 70000, 24,   504,
                                                 1000, 20000, 64,    20000};
    uint64_t n = sizes[blob], most = (p->world->blob_max - TAIL) / MODEL_PARTS;
    return (n < most ? n : most) / 8u * 8u;
}

static uint64_t fixed_bytes(const struct model_player *p, unsigned blob)
{
    return part_bytes(p, blob) * MODEL_PARTS;
}

/* Of what is replaced whole, the stamp tells the size. */
static uint64_t free_bytes(const struct model_player *p, unsigned blob,
                           uint64_t stamp)
{
    return (1u + test_fork(stamp, 7) % (fixed_bytes(p, blob) / 8u)) * 8u;
}

static struct model_call call_of(struct model_player *p, unsigned blob,
                                 char name[64])
{
    struct model_call c = {.way = model_way(p), .tag = p->world->shared};
    snprintf(name, 64, blob % 2u ? "shared-%050u" : "shared-%u", blob);
    c.name = name;
    c.data = p->buf;
    c.opts.size = sizeof(c.opts);
    c.opts.score = -1;
    if (p->world->level_max && model_pick(p, 16) == 0)
        c.opts.persist = (uint8_t)(1u + model_pick(p, p->world->level_max));
    return c;
}

/* ---- put ---- */

/* One put under one stamp; true when it is acknowledged. */
static int put_stamped(struct model_player *p, struct model_call *c,
                       const struct stamp *s)
{
    c->data = p->shared_buf;
    stamp_fill(c->data, c->offset, c->size, stamp_make(s));
    c->opts.codec = model_codec(p, c->size);
    int rc = model_put(p, c);
    p->puts++;
    if (!rc || model_allows(p, rc))
        return !rc;
    model_fail(p, "put of shared blob %u: %d", s->blob, rc);
    return 0;
}

static void put_whole(struct model_player *p, unsigned blob)
{
    struct model_world *w = p->world;
    struct stamp s = {.writer = p->id, .blob = blob};
    char name[64];
    struct model_call c = call_of(p, blob, name);
    s.count = __atomic_add_fetch(&w->stamps[p->id][blob], 1u, __ATOMIC_RELEASE);
    c.size = fixed_bytes(p, blob);
    /* With a tail that nobody reads, the next put is inside of an extent. */
    if (blob % 3u == 1u && model_pick(p, 4) == 0)
        c.size += TAIL;
    if (blob % 3u == 0) {
        c.opts.flags = SL_F_REPLACE;
        c.size = free_bytes(p, blob, stamp_make(&s));
    }
    if (put_stamped(p, &c, &s))
        __atomic_store_n(&w->acked[p->id][blob], s.count, __ATOMIC_RELEASE);
}

/* The parts in order, so a reader may see the new ones only at the front. */
static void put_parts(struct model_player *p, unsigned blob)
{
    struct model_world *w = p->world;
    struct stamp s = {.writer = p->id, .blob = blob};
    char name[64];
    struct model_call c = call_of(p, blob, name);
    s.count = __atomic_load_n(&w->acked[p->id][blob], __ATOMIC_RELAXED) + 1u;
    __atomic_store_n(&w->stamps[p->id][blob], s.count, __ATOMIC_RELEASE);
    c.size = part_bytes(p, blob);
    for (s.part = 0; s.part < MODEL_PARTS; s.part++) {
        c.offset = s.part * c.size;
        /* A later part that found no room is put again, or the order breaks. */
        while (!put_stamped(p, &c, &s))
            if (s.part == 0 || p->why[0] ||
                __atomic_load_n(&w->failed, __ATOMIC_RELAXED))
                return;
    }
    __atomic_store_n(&w->acked[p->id][blob], s.count, __ATOMIC_RELEASE);
}

/* ---- get ---- */

static int was_written(struct model_player *p, const struct stamp *s,
                       unsigned blob)
{
    return s->writer < MODEL_PLAYERS && s->blob == blob && s->count > 0 &&
           s->count <= __atomic_load_n(&p->world->stamps[s->writer][blob],
                                       __ATOMIC_ACQUIRE);
}

/* A range of a blob that is always put whole. `floor`: what each writer had
 * acknowledged before the get began; nothing older may come. */
static void check_whole(struct model_player *p, unsigned blob,
                        const struct model_call *c, const uint32_t *floor)
{
    struct stamp s;
    uint64_t stamp = stamp_of(p->buf, c->offset, c->size, &s);
    if (!stamp || !was_written(p, &s, blob) || s.part)
        model_fail(p, "shared blob %u: a get of %llu at %llu is no version",
                   blob, (unsigned long long)c->size,
                   (unsigned long long)c->offset);
    else if (s.count < floor[s.writer])
        model_fail(p, "shared blob %u: version %u of %u, but %u was there",
                   blob, s.count, s.writer, floor[s.writer]);
}

static void check_parts(struct model_player *p, unsigned blob,
                        const uint32_t *floor)
{
    uint64_t n = part_bytes(p, blob);
    uint32_t first = 0, last = 0;
    for (uint32_t k = 0; k < MODEL_PARTS; k++) {
        struct stamp s;
        if (!stamp_of(p->buf + k * n, k * n, n, &s) ||
            !was_written(p, &s, blob) || s.part != k ||
            s.writer != blob % MODEL_PLAYERS) {
            model_fail(p, "shared blob %u: part %u is no version", blob, k);
            return;
        }
        if (k && s.count > last)
            model_fail(p, "shared blob %u: part %u is newer than %u", blob, k,
                       k - 1u);
        first = k ? first : s.count;
        last = s.count;
    }
    if (first - last > 1u || last < floor[blob % MODEL_PLAYERS])
        model_fail(p, "shared blob %u: parts of versions %u to %u, %u is there",
                   blob, last, first, floor[blob % MODEL_PLAYERS]);
}

/* Codes that others who write and delete beside may cause. */
static int is_race(struct model_player *p, unsigned blob, int rc)
{
    if (rc == SL_EBUSY) /* changed between two windows, too often */
        p->busy++;
    return rc == SL_EBUSY || model_allows(p, rc) ||
           (rc == SL_ENOENT && blob % 3u != 2u) ||
           (rc == SL_EPASTEND && blob % 3u == 0);
}

static void put_one(struct model_player *p, unsigned blob)
{
    if (blob % 3u != 2u)
        put_whole(p, blob);
    else if (p->id == blob % MODEL_PLAYERS)
        put_parts(p, blob);
}

static void step_get(struct model_player *p, unsigned blob)
{
    uint32_t floor[MODEL_PLAYERS];
    char name[64];
    struct model_call c = call_of(p, blob, name);
    uint64_t size = fixed_bytes(p, blob);
    for (unsigned i = 0; i < MODEL_PLAYERS; i++)
        floor[i] = __atomic_load_n(&p->world->acked[i][blob], __ATOMIC_ACQUIRE);
    if (blob % 3u != 2u) {
        uint64_t words = size / 8u;
        c.offset = 8u * model_pick(p, words);
        c.size = 8u * (1u + model_pick(p, words - c.offset / 8u));
    } else {
        c.size = size;
    }
    memset(p->buf, 0xa5, c.size);
    if (model_pick(p, 3) == 0) {
        c.way = WAY_FUTURE;
        c.meanwhile = put_one;
        c.blob = blob;
    }
    int rc = model_get(p, &c);
    p->shared_gets++;
    if (is_race(p, blob, rc))
        return;
    if (blob % 3u == 2u && !floor[blob % MODEL_PLAYERS] &&
        (rc == SL_ENOENT || rc == SL_EPASTEND))
        return; /* its first version is not complete */
    if (rc)
        model_fail(p, "get of shared blob %u: %d", blob, rc);
    else if (blob % 3u == 2u && floor[blob % MODEL_PLAYERS])
        check_parts(p, blob, floor);
    else if (blob % 3u != 2u)
        check_whole(p, blob, &c, floor);
}

static void step_score(struct model_player *p, unsigned blob)
{
    char name[64];
    struct model_call c = call_of(p, blob, name);
    c.opts.score = (float)model_pick(p, 5) / 4.0f;
    int rc = model_score(p, &c);
    p->scores++;
    if (rc && rc != SL_ENOENT && !model_allows(p, rc))
        model_fail(p, "score of shared blob %u: %d", blob, rc);
}

void model_step_shared(struct model_player *p)
{
    unsigned blob = (unsigned)model_pick(p, MODEL_SHARED);
    uint64_t x = model_pick(p, 32);
    if (x >= 12) {
        step_get(p, blob);
    } else if (x == 0 && blob % 3u != 2u) {
        char name[64];
        struct model_call c = call_of(p, blob, name);
        int rc = model_del(p, &c);
        if (rc && rc != SL_ENOENT && !model_allows(p, rc))
            model_fail(p, "delete of shared blob %u: %d", blob, rc);
    } else if (x == 1) {
        step_score(p, blob);
    } else {
        put_one(p, blob);
    }
}
