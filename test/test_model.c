/* SPDX-License-Identifier: Apache-2.0 */
/* Random operations of several threads against a plain model, in every mix of
 * tiers, over restarts; in the end no space is missing. STEPS is the number of
 * all configurations together. */
#include "model.h"
#include "space_check.h"
#include "store_help.h"

#include "codec/codec.h"

#define STEPS_USUAL UINT64_C(1000000)

enum tier_bit { PINNED = 1, RAM = 2, FILE_TIER = 4, DIRECTORY = 8, HBM = 16 };

struct mix {
    const char *name;
    unsigned tiers;
    unsigned level_max;
    unsigned per_mille; /* of all steps */
    unsigned restarts;
    uint64_t blob_max;
    int tight;  /* less room than the blobs want */
    int guest;  /* a target comes and goes meanwhile */
    int evicts; /* marks so low that bytes move all the time */
};

/* What goes to a disk takes most of the time, so it gets fewer steps. */
static const struct mix mixes[] = {
    {"pinned", PINNED, 0, 110, 0, 300000, 0, 0, 0},
    {"pinned tight", PINNED, 0, 100, 0, 40000, 1, 0, 0},
    {"ram", RAM, 0, 120, 0, 300000, 0, 0, 0},
    {"hbm ram", RAM | HBM, 0, 40, 0, 100000, 0, 0, 0},
    {"file", FILE_TIER, 0, 40, 0, 100000, 0, 0, 0},
    {"pinned ram", PINNED | RAM, 0, 140, 0, 300000, 0, 1, 0},
    {"pinned file", PINNED | FILE_TIER, 0, 70, 0, 100000, 0, 0, 0},
    {"ram file", RAM | FILE_TIER, 0, 60, 0, 100000, 0, 0, 0},
    {"pinned ram file", PINNED | RAM | FILE_TIER, 0, 70, 0, 300000, 0, 0, 0},
    {"pinned ram tight", PINNED | RAM, 0, 60, 0, 40000, 1, 0, 0},
    {"eviction", PINNED | RAM | FILE_TIER, 0, 90, 0, 300000, 0, 0, 1},
    {"directory", DIRECTORY, 1, 20, 4, 100000, 0, 0, 0},
    {"directory pinned", DIRECTORY | PINNED, 1, 25, 4, 300000, 0, 0, 0},
    {"directory ram", DIRECTORY | RAM, 2, 20, 4, 70000, 0, 0, 0},
    {"directory pinned ram", DIRECTORY | PINNED | RAM, 2, 35, 6, 300000, 0, 1,
     0},
};
#define N_MIXES (sizeof(mixes) / sizeof(mixes[0]))

static struct sl_config config_of(const struct mix *m, const char *path)
{
    struct sl_config c = small_config();
    c.arena_bytes = m->tight ? 4 * MIB : 32 * MIB;
    c.depth = 32;
    c.pinned_bytes = SL_NONE;
    if (m->tiers & PINNED) /* less than the blobs are, when others are there */
        c.pinned_bytes = m->tight ? MIB / 2u : m->tiers & ~1u ? MIB : 20 * MIB;
    if (m->tiers & RAM)
        c.ram_bytes = m->tight                             ? MIB / 2u
                      : m->tiers & (FILE_TIER | DIRECTORY) ? 2 * MIB
                                                           : 64 * MIB;
    c.file_bytes = 256 * MIB;
    if (m->evicts) {
        c.evict_high = 0.4f;
        c.evict_low = 0.3f;
    }
    if (m->tiers & DIRECTORY)
        c.data_dir = path;
    else if (m->tiers & FILE_TIER)
        c.file_path = path;
    else
        c.file_bytes = 0;
    return c;
}

/* Of all mixes. */
static struct sums {
    uint64_t evicted, promoted, moved, coded, scores, lists, twice, restarts;
    uint64_t renames, tag_renames, refused, ways[MODEL_WAYS], levels[3];
    uint64_t codec[SL_CODECS], tier[MODEL_KINDS];
    uint64_t drains[MODEL_KINDS], drained[MODEL_KINDS]; /* bytes, at least */
} sums;

/* ---- a target that comes and goes beside the players ---- */

struct mover {
    pthread_t thread;
    struct sl_runtime *rt;
    const char *path; /* of a guest that is a file */
    int stop;         /* atomic */
    int code;         /* that no call may have */
    uint64_t removed, drains[MODEL_KINDS], drained[MODEL_KINDS];
};

static uint64_t guest_bytes(struct sl_runtime *rt)
{
    struct sl_target_info t[SL_TARGETS_MAX];
    int n = sl_targets(rt, t, SL_TARGETS_MAX);
    for (int i = 0; i < n; i++)
        if (strcmp(t[i].name, "guest") == 0)
            return t[i].blob_bytes;
    return 0;
}

/* Until something is in it, mostly, and some turns more. */
static uint64_t let_it_fill(const struct mover *m)
{
    uint64_t bytes = 0;
    for (int i = 0, filled = 0; i < 100 && filled < 10; i++) {
        for (int k = 0; k < 50; k++)
            sched_yield();
        bytes = guest_bytes(m->rt);
        filled += bytes > 0;
        if (__atomic_load_n(&m->stop, __ATOMIC_ACQUIRE))
            break;
    }
    return bytes;
}

static void *come_and_go(void *arg)
{
    struct mover *m = arg;
    for (unsigned kind = 1; !m->code; kind = kind % (MODEL_KINDS - 1u) + 1u) {
        int is_file = strcmp(model_kinds[kind], "file") == 0;
        struct sl_target_opts o = {.size = sizeof(o),
                                   .name = "guest",
                                   .kind = model_kinds[kind],
                                   .device = "host",
                                   .path = is_file ? m->path : NULL,
                                   .capacity = 4 * MIB,
                                   .score = 0.9f};
        if (__atomic_load_n(&m->stop, __ATOMIC_ACQUIRE) && m->removed)
            break;
        m->code = sl_target_add(m->rt, &o, NULL);
        if (m->code)
            break;
        uint64_t bytes = let_it_fill(m);
        /* What does not fit elsewhere stays, until others delete. */
        while ((m->code = sl_target_remove(m->rt, "guest")) == SL_ENOSPC)
            sched_yield();
        m->removed++;
        m->drains[kind] += bytes > 0;
        m->drained[kind] += bytes;
    }
    return NULL;
}

static int play_round(struct model_world *w, struct model_player *p,
                      const struct mix *m, uint64_t steps, int reopened,
                      const char *path)
{
    struct mover guest = {.rt = w->rt, .path = path};
    if (m->guest)
        assert_int_equal(
            pthread_create(&guest.thread, NULL, come_and_go, &guest), 0);
    int good = model_round(w, p, steps, reopened);
    __atomic_store_n(&guest.stop, 1, __ATOMIC_RELEASE);
    if (m->guest) {
        assert_int_equal(pthread_join(guest.thread, NULL), 0);
        assert_int_equal(guest.code, 0);
        printf("# a target came and went %llu times\n",
               (unsigned long long)guest.removed);
        assert_true(guest.removed > 0);
    }
    for (unsigned k = 0; k < MODEL_KINDS; k++) {
        sums.drains[k] += guest.drains[k];
        sums.drained[k] += guest.drained[k];
    }
    return good;
}

static void open_world(struct model_world *w, const struct sl_config *c,
                       struct sl_device **d, const struct mix *m)
{
    const struct sl_target_opts hbm = {.size = sizeof(hbm),
                                       .name = "device",
                                       .kind = "hbm",
                                       .device = "host",
                                       .capacity = 4 * MIB,
                                       .score = 0.95f};
    w->rt = open_store(c);
    if (m->tiers & HBM)
        assert_int_equal(sl_target_add(w->rt, &hbm, NULL), 0);
    assert_int_equal(sl_device_open(w->rt, "host", d), 0);
    w->dev = *sl_device_handle(*d);
    w->failed = 0;
    assert_int_equal(sl_tag(w->rt, "shared", &w->shared), 0);
}

static void add_moves(struct sl_runtime *rt)
{
    struct sl_target_info t[SL_TARGETS_MAX];
    int n = sl_targets(rt, t, SL_TARGETS_MAX);
    for (int i = 0; i < n; i++) {
        sums.evicted += t[i].evicted;
        sums.promoted += t[i].promoted;
        sums.moved += t[i].moved_bytes;
    }
}

static void close_world(struct model_world *w, struct sl_device *d)
{
    add_moves(w->rt);
    sl_device_close(d);
    assert_int_equal(sl_close(w->rt), 0);
}

static void add(uint64_t *to, const uint64_t *what, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        to[i] += what[i];
}

static void print_sums(const struct mix *m, const struct model_player *p,
                       uint64_t ns)
{
    uint64_t made = 0, puts = 0, gets = 0, shared = 0, busy = 0, none = 0;
    for (unsigned i = 0; i < MODEL_PLAYERS; i++) {
        made += p[i].made;
        puts += p[i].puts;
        gets += p[i].gets;
        shared += p[i].shared_gets;
        busy += p[i].busy;
        none += p[i].no_space;
        sums.coded += p[i].coded_puts;
        sums.scores += p[i].scores;
        sums.lists += p[i].lists;
        sums.twice += p[i].twice;
        sums.renames += p[i].renames;
        sums.tag_renames += p[i].tag_renames;
        sums.refused += p[i].refused;
        add(sums.ways, p[i].ways, MODEL_WAYS);
        add(sums.levels, p[i].levels, 3);
        add(sums.codec, p[i].codec, SL_CODECS);
        add(sums.tier, p[i].tier, MODEL_KINDS);
    }
    printf("# %s: %llu steps, %llu puts, %llu gets, %llu of shared blobs (%llu "
           "gave up), %llu without room, %llu ms\n",
           m->name, (unsigned long long)made, (unsigned long long)puts,
           (unsigned long long)gets, (unsigned long long)shared,
           (unsigned long long)busy, (unsigned long long)none,
           (unsigned long long)(ns / 1000000u));
    fflush(stdout);
    assert_true(puts > made / 8u && gets > made / 8u && shared > 0);
    assert_true(busy <= shared / 10u);
    assert_true(none < puts + gets);
}

/* All of it goes, and with it all space. */
static void clear_world(struct model_world *w, struct model_player *p,
                        struct sl_device *d, const struct space *before)
{
    uint64_t tag;
    assert_int_equal(model_clear(w, p), 0);
    assert_int_equal(sl_tag(w->rt, "empty", &tag), 0);
    assert_int_equal(sl_tag_size(w->rt, tag, NULL, NULL), 0);
    struct space after = space_of(w->rt);
    space_same(before, &after);
    space_arena_is_free(w->rt, sl_device_handle(d));
    assert_int_equal(sl_tag_del(w->rt, tag), 0);
}

static void run_mix(const struct mix *m, const char *path, uint64_t seed,
                    uint64_t steps)
{
    static struct model_world w;
    struct model_player p[MODEL_PLAYERS];
    struct sl_config c = config_of(m, path);
    struct sl_device *d = NULL;
    char guest[80];
    snprintf(guest, sizeof(guest), "%s.guest", path);
    uint64_t begun = clock_ns(), rounds = m->restarts + 1u;
    memset(&w, 0, sizeof(w));
    w.blob_max = m->blob_max;
    w.level_max = m->level_max;
    w.tight = m->tight;
    open_world(&w, &c, &d, m);
    struct space before = space_of(w.rt);
    model_create(&w, p, seed);
    for (uint64_t r = 0; r < rounds; r++) {
        int good = play_round(&w, p, m, steps / rounds / MODEL_PLAYERS + 1u,
                              r > 0, guest);
        assert_true(good);
        if (r + 1u == rounds)
            break;
        close_world(&w, d);
        c.workers = 1u + (uint32_t)(r % 3u);
        c.lanes = 0;
        open_world(&w, &c, &d, m);
        sums.restarts++;
    }
    print_sums(m, p, clock_ns() - begun);
    clear_world(&w, p, d, &before);
    close_world(&w, d);
    if (m->tiers & DIRECTORY)
        space_records_are(path, 0, 0);
    model_destroy(p);
}

/* Prints counts with their names, and returns how many are 0. */
static unsigned show(const char *what, const char *const *names,
                     const uint64_t *n, unsigned count)
{
    unsigned zeros = 0;
    printf("# %s:", what);
    for (unsigned i = 0; i < count; i++) {
        if (!names[i])
            continue;
        printf(" %s %llu", names[i], (unsigned long long)n[i]);
        zeros += n[i] == 0;
    }
    printf("\n");
    return zeros;
}

/* Codecs of this build; those that no put of a short run may meet included. */
static unsigned show_codecs(void)
{
    const char *names[SL_CODECS] = {"dynamic"};
    for (unsigned id = 1; id < SL_CODECS; id++)
        names[id] = codec_find(id) ? codec_name(id) : NULL;
    return show("puts made smaller", names, sums.codec, SL_CODECS);
}

static unsigned show_changes(void)
{
    static const char *const ways[] = {"host", "future", "thread", "warp"};
    static const char *const levels[] = {"0", "1", "2"};
    static const char *const changes[] = {
        "evicted",    "promoted",      "moved bytes", "scores", "blobs named",
        "tags named", "names refused", "restarts",    "lists"};
    const uint64_t n[] = {sums.evicted, sums.promoted, sums.moved,
                          sums.scores,  sums.renames,  sums.tag_renames,
                          sums.refused, sums.restarts, sums.lists};
    unsigned zeros = show("changes", changes, n, sizeof(n) / sizeof(n[0]));
    zeros += show("puts by way", ways, sums.ways, MODEL_WAYS);
    return zeros + show("puts by level", levels, sums.levels, 3);
}

/* Each kind was seen by a stat, and was drained with bytes in it. */
static unsigned show_tiers(void)
{
    unsigned zeros = show("blobs seen on", model_kinds, sums.tier, MODEL_KINDS);
    zeros += show("guests drained", model_kinds + 1, sums.drains + 1,
                  MODEL_KINDS - 1u);
    return zeros + show("bytes drained", model_kinds + 1, sums.drained + 1,
                        MODEL_KINDS - 1u);
}

/* What is to be seen has happened; all of it, where there are steps enough. */
static void check_sums(uint64_t steps, int one_mix)
{
    unsigned few = show_tiers() + show_changes(), rare = show_codecs();
    printf("# %llu puts with a codec, %llu names listed twice\n",
           (unsigned long long)sums.coded, (unsigned long long)sums.twice);
    assert_true(sums.coded > steps / 100u && sums.scores > steps / 1000u);
    assert_true(sums.lists > steps / 1000u && sums.twice <= sums.lists / 10u);
    assert_true(rare < SL_CODECS);
    if (one_mix || steps < 50000u)
        return;
    assert_true(sums.evicted > 0 && sums.promoted > 0 && sums.moved > 0);
    assert_true(sums.renames > 0 && sums.tag_renames > 0);
    if (steps < 500000u)
        return;
    assert_int_equal(few, 0);
    assert_int_equal(rare, 0);
}

static void every_mix_of_tiers_behaves_like_the_model(void **state)
{
    uint64_t seed = test_seed("model"),
             steps = test_steps(STEPS_USUAL / (SLOW_THREADS ? 2u : 1u));
    const char *only = getenv("MIX");
    (void)state;
    for (unsigned i = 0; i < N_MIXES; i++) {
        char path[64];
        if (only && strcmp(only, mixes[i].name) != 0)
            continue;
        make_dir(path, sizeof(path));
        if (mixes[i].tiers & FILE_TIER)
            strncat(path, "/file", sizeof(path) - strlen(path) - 1u);
        run_mix(&mixes[i], path, test_fork(seed, i),
                only ? steps : steps * mixes[i].per_mille / 1000u);
        if (mixes[i].tiers & FILE_TIER)
            path[strlen(path) - 5u] = 0;
        remove_dir(path);
    }
    check_sums(steps, only != NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mix_of_tiers_behaves_like_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
