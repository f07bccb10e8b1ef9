/* SPDX-License-Identifier: Apache-2.0 */
#include "store/evict.h"

#include "base/clock.h"
#include "store/shard.h"

/* Blobs that the hand compares; of 32 the coldest is on average colder than
 * 97 % of all. */
#define SAMPLE 32u
/* Entries that it passes for them: bounds the cache misses of a round. */
#define PASSES 128u
/* A shard that found nothing to move looks again after this, and twice as much
 * each time that it finds nothing, up to 64 times. */
#define REST_NS UINT64_C(10000000)
#define REST_DOUBLES 6u
/* What may be moved at once after a pause: a tenth of a second's worth. */
#define BURST 10
/* Less is not added: what rounding loses stays below a thousandth. */
#define REFILL_BYTES 1024.0
/* Accesses within HEAT_WINDOW_S that make a blob worth moving up. */
#define HOT 3u
/* Score of a blob that has none, when blobs are compared. */
#define SCORE_MIDDLE (SL_SCORE_ONE / 2u)

/* ---- marks ---- */

static uint64_t used_of(const struct store *s, uint32_t t)
{
    if (t == TARGET_PINNED)
        return arena_pinned_used(s->config.arena);
    /* Relaxed: a figure. Partner: unit.c. */
    return __atomic_load_n(&s->target[t].counts.used, __ATOMIC_RELAXED);
}

static uint32_t over_bits(const struct store *s)
{
    /* Relaxed: a hint; what is over is looked at again. */
    return __atomic_load_n(&s->over, __ATOMIC_RELAXED);
}

static void nudged(struct message *m)
{
    struct shard *sh =
        (struct shard *)(void *)((char *)m -
                                 offsetof(struct shard, evict.nudge));
    sh->evict.rest_ns = 0;
    sh->evict.rests = 0;
    /* Release: the message may be posted again. Partner: evict_check. */
    __atomic_store_n(&sh->evict.nudged, 0, __ATOMIC_RELEASE);
}

/* Wakes the workers of all shards: the cold blobs may be theirs. */
static void nudge_all(const struct store *s)
{
    for (uint32_t i = 0; i < s->config.n_shards; i++) {
        struct shard *sh = s->shards[i];
        /* Acquire and release; partner: nudged. */
        if (!__atomic_exchange_n(&sh->evict.nudged, 1, __ATOMIC_ACQ_REL))
            sh->env.post(sh->env.runtime, sh->id, &sh->evict.nudge);
    }
}

void evict_check(struct shard *sh, uint32_t target, uint64_t used)
{
    struct store *s = sh->store;
    uint32_t bit = TARGET_BIT(target);
    if (used <= s->target[target].over_bytes || !(sh->choice.evictable & bit) ||
        (over_bits(s) & bit))
        return;
    /* Relaxed: see over_bits. The first of all who pass the mark nudges. */
    if (!(__atomic_fetch_or(&s->over, bit, __ATOMIC_RELAXED) & bit))
        nudge_all(s);
}

/* Where bytes of a target may go: slower ones that are not over themselves. */
static uint32_t below(const struct shard *sh, uint32_t target)
{
    const struct choice *c = &sh->choice;
    uint32_t bits = 0;
    int passed = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        uint32_t t = c->by_score[i];
        if (passed && used_of(sh->store, t) <= sh->store->target[t].over_bytes)
            bits |= TARGET_BIT(t);
        passed = passed || t == target;
    }
    return bits & ~c->discards;
}

/* ---- who goes ---- */

static uint32_t score_of(const struct blob *b)
{
    return b->score == SL_SCORE_AUTO ? SCORE_MIDDLE : b->score;
}

/* Seconds since its last access; the clock of 24 bits may have wrapped. */
static uint32_t age_of(const struct shard *sh, const struct blob *b)
{
    return (sh->seconds - (b->heat >> 8)) & 0xffffffu;
}

static int is_colder(const struct shard *sh, const struct blob *a,
                     const struct blob *b)
{
    if (score_of(a) != score_of(b))
        return score_of(a) < score_of(b);
    if (age_of(sh, a) != age_of(sh, b))
        return age_of(sh, a) > age_of(sh, b);
    return (a->heat & 0xffu) < (b->heat & 0xffu);
}

static int may_go(const struct shard *sh, const struct blob *b, uint32_t target,
                  uint32_t to)
{
    if (b->busy || !b->version || b->tag->dead)
        return 0;
    if (b->recorded && !(to & sh->choice.lasting))
        return 0;
    return blob_lies_on(b, TARGET_BIT(target));
}

/* The coldest of the next ones; null: none of them may go. */
static struct blob *victim(struct shard *sh, uint32_t target, uint32_t to)
{
    struct blob *best = NULL;
    uint32_t found = 0;
    int wrapped = 0;
    for (uint32_t i = 0; i < PASSES && found < SAMPLE; i++) {
        struct blob *b = table_walk(&sh->index, &sh->evict.hand);
        if (!b) {
            sh->evict.hand = 0;
            if (wrapped++)
                break;
            continue;
        }
        if (!may_go(sh, b, target, to))
            continue;
        found++;
        if (!best || is_colder(sh, b, best))
            best = b;
    }
    return best;
}

/* ---- moves ---- */

static void rest(struct shard *sh)
{
    struct evict *e = &sh->evict;
    e->rest_ns = clock_ns() + (REST_NS << e->rests);
    e->rests += e->rests < REST_DOUBLES;
}

static void moved(void *user, int code)
{
    struct evict_slot *slot = user;
    struct shard *sh = slot->sh;
    slot->flying = 0;
    sh->evict.flying--;
    if (code)
        rest(sh);
    else
        sh->evict.rests = 0;
    if (code || slot->promotes)
        slot->blob = NULL; /* else the next round goes on with it */
}

static int begin(struct evict_slot *slot, struct blob *b, uint32_t from,
                 uint32_t to)
{
    struct shard *sh = slot->sh;
    const struct move m = {.from = from,
                           .to = to,
                           .why = slot->promotes ? MOVE_UP : MOVE_DOWN,
                           .done = moved,
                           .user = slot};
    slot->blob = b;
    slot->lo = blob_hash(b).lo;
    slot->flying = 1;
    sh->evict.flying++;
    int rc = update_move(sh, b, &m);
    if (rc == TASK_LATER)
        return 1;
    moved(slot, rc);
    return 0;
}

/* Goes on with a blob of which a part was moved; false when there is none. */
static int go_on(struct evict_slot *slot, uint32_t target, uint32_t to)
{
    struct blob *b = slot->blob;
    if (!b || slot->target != target)
        return 0;
    slot->blob = NULL;
    if (!table_has(&slot->sh->index, slot->lo, b) ||
        !may_go(slot->sh, b, target, to))
        return 0;
    return begin(slot, b, TARGET_BIT(target), to);
}

static int evict_one(struct evict_slot *slot, uint32_t target, uint32_t to)
{
    struct shard *sh = slot->sh;
    if (go_on(slot, target, to))
        return 1;
    if (slot->blob) /* of another target, which is not over any more */
        slot->blob = NULL;
    struct blob *b = victim(sh, target, to);
    if (!b)
        return 0;
    b->heat &= ~0xffu; /* moved up again only when it is read again */
    slot->target = target;
    slot->promotes = 0;
    return begin(slot, b, TARGET_BIT(target), to);
}

static unsigned evict_target(struct shard *sh, uint32_t target)
{
    struct store *s = sh->store;
    uint32_t to = below(sh, target);
    unsigned n = 0;
    if (used_of(s, target) <= s->target[target].under_bytes) {
        /* Relaxed: see over_bits. */
        __atomic_fetch_and(&s->over, ~TARGET_BIT(target), __ATOMIC_RELAXED);
        return 0;
    }
    for (uint32_t i = 0; to && i < EVICT_MOVES; i++) {
        struct evict_slot *slot = &sh->evict.slot[i];
        if (sh->evict.allowance <= 0)
            return n;
        if (slot->flying)
            continue;
        if (!evict_one(slot, target, to))
            break;
        n++;
    }
    if (!n && !sh->evict.flying)
        rest(sh);
    return n;
}

static void refill(struct shard *sh, uint64_t now)
{
    struct evict *e = &sh->evict;
    const struct store *s = sh->store;
    int64_t rate =
        (int64_t)(s->config.config->move_bytes_per_s / s->config.n_shards);
    int64_t most = rate / BURST > (int64_t)SL_CHUNK_MAX ? rate / BURST
                                                        : (int64_t)SL_CHUNK_MAX;
    uint64_t ns = now - e->filled_ns;
    double more = (double)rate * (double)ns / 1e9;
    if (more < REFILL_BYTES)
        return; /* rounds are shorter than a low rate needs for a byte */
    e->filled_ns = now;
    if (more > (double)most)
        more = (double)most;
    e->allowance += (int64_t)more;
    if (e->allowance > most)
        e->allowance = most;
}

static unsigned step(struct shard *sh, uint32_t over, uint64_t now)
{
    unsigned n = 0;
    if (now < sh->evict.rest_ns)
        return 0;
    refill(sh, now);
    for (uint32_t t = 0; t < TARGETS_MAX; t++)
        if (over & TARGET_BIT(t))
            n += evict_target(sh, t);
    return n;
}

unsigned evict_round(struct store *s, uint32_t worker)
{
    uint32_t over = over_bits(s);
    unsigned n = 0;
    if (!over)
        return 0;
    uint64_t now = clock_ns();
    for (uint32_t i = worker; i < s->config.n_shards; i += s->config.n_workers)
        n += step(s->shards[i], over, now);
    return n;
}

uint64_t evict_due_ns(const struct store *s, uint32_t worker)
{
    uint64_t due = UINT64_MAX;
    if (!over_bits(s))
        return due;
    uint64_t now = clock_ns();
    for (uint32_t i = worker; i < s->config.n_shards;
         i += s->config.n_workers) {
        uint64_t at = s->shards[i]->evict.rest_ns;
        uint64_t left = at > now ? at - now : 0;
        due = left < due ? left : due;
    }
    return due;
}

/* ---- promotion ---- */

/* Bits of the targets that have a lower score. */
static uint32_t slower(const struct choice *c, uint32_t target)
{
    uint32_t bits = 0;
    for (uint32_t i = 0; i < c->n; i++)
        if (c->score[c->by_score[i]] < c->score[target])
            bits |= TARGET_BIT(c->by_score[i]);
    return bits & ~c->discards;
}

/* The first target of its order, when that one has room below its low mark. */
static uint32_t better_place(struct shard *sh, const struct blob *b)
{
    const struct store *s = sh->store;
    uint8_t order[TARGETS_MAX];
    uint16_t score = b->score & 0xffffu;
    if (score == SL_SCORE_AUTO &&
        s->config.config->placement != SL_PLACE_MAX_BW)
        return TARGETS_MAX; /* there no target is meant to be better */
    if (!choice_order(sh, score, b->size, ~sh->choice.discards, order))
        return TARGETS_MAX;
    uint32_t t = order[0];
    return used_of(s, t) + b->size <= s->target[t].under_bytes ? t
                                                               : TARGETS_MAX;
}

void evict_promote(struct shard *sh, struct blob *b)
{
    struct evict_slot *slot = NULL;
    if ((b->heat & 0xffu) < HOT || b->busy || b->recorded || b->tag->dead ||
        sh->evict.flying == EVICT_MOVES)
        return;
    uint32_t t = better_place(sh, b);
    uint32_t from = t < TARGETS_MAX ? slower(&sh->choice, t) : 0;
    if (!blob_lies_on(b, from))
        return;
    for (uint32_t i = 0; i < EVICT_MOVES && !slot; i++)
        if (!sh->evict.slot[i].flying)
            slot = &sh->evict.slot[i];
    refill(sh, clock_ns());
    if (!slot || sh->evict.allowance <= 0)
        return;
    slot->promotes = 1;
    slot->target = t;
    (void)begin(slot, b, from, TARGET_BIT(t));
}

/* ---- the rest ---- */

void evict_count(struct shard *sh, uint64_t bytes)
{
    sh->evict.allowance -= (int64_t)bytes;
}

void evict_start(struct shard *sh)
{
    sh->evict.nudge.run = nudged;
    sh->evict.filled_ns = clock_ns();
    for (uint32_t i = 0; i < EVICT_MOVES; i++)
        sh->evict.slot[i].sh = sh;
}
