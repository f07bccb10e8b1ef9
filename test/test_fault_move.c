/* SPDX-License-Identifier: Apache-2.0 */
/* Each fault of a target and of the metadata while bytes move: a target that is
 * added, drained, evicted from, promoted to, also beside renames. The caller is
 * told, what moves by itself is tried again, all blobs are whole, and in the
 * end as much space is free as before. */
#include "fault_kinds.h"
#include "space_check.h"
#include "store_help.h"

#include <pthread.h>
#include <time.h>

#define DEADLINE_NS UINT64_C(20000000000)
#define BLOBS 6u
#define MORE 6u /* that pass the high mark */
#define BYTES_MAX 150000u
#define GUEST_BYTES MIB
#define HIGH 0.5f
#define LOW 0.25f

/* ---- the store, and what it must hold ---- */

struct setup {
    const char *name;
    int file, directory;
};

static const struct setup setups[] = {
    {"ram", 0, 0}, {"file", 1, 0}, {"directory", 0, 1}};
#define SETUPS (sizeof(setups) / sizeof(setups[0]))

struct rig {
    const struct setup *setup;
    struct sl_config c;
    char dir[64], file[80], guest[80];
    struct sl_runtime *rt;
    uint64_t tag, seed;
    struct space empty;
    uint8_t there[BLOBS + MORE];
    uint8_t alias[BLOBS + MORE]; /* which of its names it has */
    uint64_t struck, n, renamed;
};

static const uint64_t sizes[BLOBS] = {100, 5000, 60000, 120000, 130000, 65536};
static const uint8_t codecs[BLOBS] = {0, SL_CODEC_LZ4, 0, SL_CODEC_ZSTD, 0, 0};

static uint64_t size_of(unsigned i)
{
    return i < BLOBS ? sizes[i] : 60000u;
}

static void name_of(unsigned i, unsigned alias, char name[80])
{
    snprintf(name, 80, alias ? "alias-%070u" : "blob-%u", i);
}

/* What a codec is to make smaller repeats itself. */
static void content_of(const struct rig *r, unsigned i, uint8_t *to)
{
    fill(to, size_of(i), r->seed + i);
    if (i >= BLOBS || !codecs[i])
        return;
    uint64_t size = size_of(i);
    uint8_t line[64];
    for (uint64_t at = 64; at < size; at += 64u) {
        if (at == 64u || at % 4096u == 0)
            for (unsigned k = 0; k < 64u; k++)
                line[k] = (uint8_t)(to[k] + at / 4096u);
        memcpy(to + at, line, size - at < 64u ? size - at : 64u);
    }
}

static int put(struct rig *r, unsigned i)
{
    static uint8_t bytes[BYTES_MAX];
    struct sl_put_opts o = {
        .size = sizeof(o), .score = 0.95f, .codec = i < BLOBS ? codecs[i] : 0};
    char name[80];
    o.persist = r->setup->directory && i % 3u != 2u;
    name_of(i, r->alias[i], name);
    content_of(r, i, bytes);
    int rc = sl_put(r->rt, r->tag, name, 0, bytes, size_of(i), &o);
    r->there[i] |= rc == 0;
    return rc;
}

static int get(struct rig *r, unsigned i)
{
    static uint8_t bytes[BYTES_MAX], want[BYTES_MAX];
    char name[80];
    name_of(i, r->alias[i], name);
    int rc = sl_get(r->rt, r->tag, name, 0, bytes, size_of(i), NULL);
    content_of(r, i, want);
    if (!rc)
        assert_memory_equal(bytes, want, size_of(i));
    return rc;
}

/* All blobs are there and whole, under one name; where a target lied, one may
 * be damaged, and says so. */
static void check_all(struct rig *r, int damaged)
{
    for (unsigned i = 0; i < BLOBS + MORE; i++) {
        char other[80];
        uint64_t size;
        if (!r->there[i])
            continue;
        name_of(i, !r->alias[i], other);
        assert_int_equal(sl_size(r->rt, r->tag, other, &size), SL_ENOENT);
        int rc = get(r, i);
        if (rc != SL_ECHECKSUM || !damaged)
            assert_int_equal(rc, 0);
    }
}

static int add_guest(struct rig *r)
{
    const struct sl_target_opts o = {
        .size = sizeof(o),
        .name = "guest",
        .kind = r->setup->directory ? "file" : "ram",
        .path = r->setup->directory ? r->guest : NULL,
        .capacity = GUEST_BYTES,
        .score = 0.95f};
    return sl_target_add(r->rt, &o, NULL);
}

/* False: there is none. */
static int guest_info(struct rig *r, struct sl_target_info *info)
{
    struct sl_target_info all[4];
    int n = sl_targets(r->rt, all, 4);
    for (int i = 0; i < n && i < 4; i++) {
        if (strcmp(all[i].name, "guest") != 0)
            continue;
        *info = all[i];
        return 1;
    }
    return 0;
}

static void rig_open(struct rig *r, const struct setup *s)
{
    memset(r, 0, sizeof(*r));
    r->setup = s;
    r->seed = 1;
    make_dir(r->dir, sizeof(r->dir));
    snprintf(r->file, sizeof(r->file), "%s/file", r->dir);
    snprintf(r->guest, sizeof(r->guest), "%s.guest", r->dir);
    r->c = small_config();
    r->c.pinned_bytes = SL_NONE;
    r->c.ram_bytes = s->file || s->directory ? 0 : 8 * MIB;
    r->c.file_bytes = s->file || s->directory ? 8 * MIB : 0;
    r->c.file_path = s->file ? r->file : NULL;
    r->c.data_dir = s->directory ? r->dir : NULL;
    r->c.flush_ms = s->directory ? 5 : 0; /* what left is free by a commit */
    r->c.evict_high = HIGH;
    r->c.evict_low = LOW;
    n_tiers = 0;
    tiers_disarm();
    r->rt = open_store(&r->c);
    assert_int_equal(n_tiers, 1);
    r->empty = space_of(r->rt);
}

static void rig_close(struct rig *r)
{
    assert_int_equal(sl_close(r->rt), 0);
    assert_int_equal(n_tiers, 0);
    assert_int_not_equal(access(r->guest, F_OK), 0);
    remove_dir(r->dir);
}

/* ---- what is done ---- */

/* Moves blobs between their two names, in a thread of its own. */
struct renamer {
    pthread_t thread;
    struct rig *rig;
    int stop; /* atomic */
    int code; /* that no rename may have */
    uint64_t done;
};

static void *rename_all(void *arg)
{
    struct renamer *n = arg;
    struct rig *r = n->rig;
    for (unsigned i = 0; !__atomic_load_n(&n->stop, __ATOMIC_ACQUIRE); i++) {
        unsigned k = i % BLOBS;
        char from[80], to[80];
        name_of(k, r->alias[k], from);
        name_of(k, !r->alias[k], to);
        int rc = sl_rename(r->rt, r->tag, from, r->tag, to, 0);
        if (rc && rc != SL_EIO && rc != SL_ENOSPC)
            n->code = rc;
        r->alias[k] ^= rc == 0;
        n->done += rc == 0;
    }
    return NULL;
}

static void renamer_start(struct renamer *n, struct rig *r)
{
    memset(n, 0, sizeof(*n));
    n->rig = r;
    assert_int_equal(pthread_create(&n->thread, NULL, rename_all, n), 0);
}

static void renamer_end(struct renamer *n)
{
    __atomic_store_n(&n->stop, 1, __ATOMIC_RELEASE);
    assert_int_equal(pthread_join(n->thread, NULL), 0);
    assert_int_equal(n->code, 0);
    n->rig->renamed += n->done;
}

static int do_add(struct rig *r, const struct fault *f)
{
    (void)f;
    return add_guest(r);
}

static int do_drain(struct rig *r, const struct fault *f)
{
    (void)f;
    return sl_target_remove(r->rt, "guest");
}

/* A target passed its high mark and is not down at its low one. */
static int is_over(const struct rig *r)
{
    /* Relaxed: asked again and again. */
    return __atomic_load_n(&r->rt->store->over, __ATOMIC_RELAXED) != 0;
}

/* Passes the high mark and waits for the low one. The puts may meet the fault,
 * which strikes once for each target; nobody is told of what a move meets. */
static int do_evict(struct rig *r, const struct fault *f)
{
    struct sl_target_info g;
    uint64_t end = clock_ns() + DEADLINE_NS;
    const struct timespec nap = {0, 500000};
    for (unsigned i = BLOBS; i < BLOBS + MORE; i++) {
        int rc = put(r, i);
        for (unsigned n = n_tiers; rc && n; n--) {
            if (f->op == FAULT_FLUSH)
                tiers_recover(r->rt);
            rc = put(r, i);
        }
        assert_int_equal(rc, 0);
    }
    do {
        nanosleep(&nap, NULL);
        assert_true(guest_info(r, &g));
        assert_true(clock_ns() < end);
    } while (!g.evicted || is_over(r));
    return 0;
}

/* Reads a blob until it was moved up. */
static int do_promote(struct rig *r, const struct fault *f)
{
    struct sl_target_info g;
    uint64_t end = clock_ns() + DEADLINE_NS;
    unsigned i = 2; /* volatile */
    do {
        int rc = get(r, i);
        if (rc == SL_ECHECKSUM && lies(f->kind))
            break;
        assert_true(rc == 0 || (rc == SL_EIO && f->op == FAULT_READ));
        assert_true(guest_info(r, &g));
        assert_true(clock_ns() < end);
    } while (!g.promoted);
    return 0;
}

static int beside_renames(struct rig *r, const struct fault *f,
                          int (*what)(struct rig *r, const struct fault *f))
{
    struct renamer n;
    renamer_start(&n, r);
    int rc = what(r, f);
    renamer_end(&n);
    return rc;
}

static int do_drain_renamed(struct rig *r, const struct fault *f)
{
    return beside_renames(r, f, do_drain);
}

static int do_evict_renamed(struct rig *r, const struct fault *f)
{
    return beside_renames(r, f, do_evict);
}

struct op {
    const char *name;
    int (*run)(struct rig *r, const struct fault *f);
    int guest_first, blobs_first; /* what is there before */
    int beside;                   /* others may meet the fault */
    int only_long;                /* with a disk, which takes its time */
};

static const struct op ops[] = {
    {"add", do_add, 0, 0, 0, 0},
    {"drain", do_drain, 1, 0, 0, 0},
    {"evict", do_evict, 1, 0, 1, 1},
    {"promote", do_promote, 0, 1, 1, 0},
    {"drain beside renames", do_drain_renamed, 1, 0, 1, 1},
    {"evict beside renames", do_evict_renamed, 1, 0, 1, 0},
};
#define N_OPS (sizeof(ops) / sizeof(ops[0]))

/* ---- one fault ---- */

static void make_base(struct rig *r, const struct op *o)
{
    r->seed++;
    memset(r->there, 0, sizeof(r->there));
    memset(r->alias, 0, sizeof(r->alias));
    assert_int_equal(sl_tag(r->rt, "t", &r->tag), 0);
    if (o->guest_first)
        assert_int_equal(add_guest(r), 0);
    for (unsigned i = 0; i < BLOBS; i++)
        assert_int_equal(put(r, i), 0);
    if (o->blobs_first)
        assert_int_equal(add_guest(r), 0);
    assert_int_equal(sl_flush(r->rt), 0); /* what the log carries is written */
}

static void clear_base(struct rig *r)
{
    struct sl_target_info g;
    assert_int_equal(sl_tag_del(r->rt, r->tag), 0);
    if (guest_info(r, &g))
        assert_int_equal(sl_target_remove(r->rt, "guest"), 0);
    struct space now = space_of(r->rt);
    space_same(&r->empty, &now);
}

/* What was called is told; but a full target may have another beside it, what
 * syncs later reports it later, and moves by themselves are tried again. */
static void check_code(const struct op *o, const struct fault *f, int rc)
{
    if (rc == 0)
        assert_true(o->beside || lies(f->kind) || f->kind == K_FULL ||
                    f->op == FAULT_FLUSH || f->op == FAULT_ALLOC);
    else if (lies(f->kind))
        assert_int_equal(rc, SL_ECHECKSUM);
    else
        assert_int_equal(rc, f->kind == K_FULL ? SL_ENOSPC : SL_EIO);
}

/* False when it took fewer steps than that. */
static int try_one(struct rig *r, const struct op *o, const struct fault *f)
{
    struct sl_target_info g;
    make_base(r, o);
    arm(f);
    int rc = o->run(r, f), hit = struck(f);
    disarm();
    r->n++;
    r->struck += hit ? 1u : 0u;
    if (hit)
        check_code(o, f, rc);
    else
        assert_int_equal(rc, 0);
    if (r->setup->directory)
        tiers_recover(r->rt);
    check_all(r, lies(f->kind));
    if (rc && guest_info(r, &g))
        assert_string_equal(g.state, "active");
    if (rc && !lies(f->kind))
        assert_int_equal(o->run(r, f), 0); /* what failed can be done again */
    check_all(r, lies(f->kind));
    clear_base(r);
    return hit;
}

/* Each n-th in the long form, else the 1st, 3rd, 7th, 15th, under the thread
 * sanitizer the 1st, 6th, 31st, 156th. */
static void sweep(struct rig *r, const struct op *o, enum fault_kind kind,
                  enum fault_op op)
{
    struct fault f = {.kind = kind, .op = op, .nth = 1};
    for (; f.nth <= 200;
         f.nth += test_is_long() ? 1u : 1u + f.nth * (SLOW_THREADS ? 4u : 1u)) {
        if (getenv("SHOW_LOG"))
            fprintf(stderr, "# %s, %s, %s of %d, number %llu\n", r->setup->name,
                    o->name, kind_names[kind], (int)op,
                    (unsigned long long)f.nth);
        if (!try_one(r, o, &f))
            return;
    }
    assert_true(o->beside); /* renames take steps for as long as it takes */
}

static void sweep_all(const struct setup *s)
{
    static struct rig r;
    rig_open(&r, s);
    for (unsigned i = 0; i < N_OPS; i++) {
        const struct op *o = &ops[i];
        if (s->directory && o->blobs_first)
            continue; /* what is recorded is not promoted */
        if (o->only_long && !test_is_long() && s != &setups[0])
            continue;
        uint64_t begun = clock_ns(), n = r.n, struck_before = r.struck;
        sweep(&r, o, K_ERROR, FAULT_WRITE);
        sweep(&r, o, K_FULL, FAULT_WRITE);
        sweep(&r, o, K_TORN, FAULT_WRITE);
        sweep(&r, o, K_LOST, FAULT_WRITE);
        sweep(&r, o, K_HALF, FAULT_WRITE);
        sweep(&r, o, K_ERROR, FAULT_READ);
        sweep(&r, o, K_FULL, FAULT_ALLOC);
        sweep(&r, o, K_ERROR, FAULT_ALLOC);
        if (s->directory) {
            sweep(&r, o, K_ERROR, FAULT_FLUSH);
            sweep(&r, o, K_META, FAULT_OPS);
        }
        printf("# %s, %s: %llu times, %llu faults struck, %llu ms\n", s->name,
               o->name, (unsigned long long)(r.n - n),
               (unsigned long long)(r.struck - struck_before),
               (unsigned long long)((clock_ns() - begun) / 1000000u));
        fflush(stdout);
        assert_true(r.struck > struck_before || !o->guest_first);
    }
    printf("# %llu renames beside\n", (unsigned long long)r.renamed);
    assert_true(r.renamed > 0);
    rig_close(&r);
}

static void moves_in_memory_meet_each_fault(void **state)
{
    (void)state;
    sweep_all(&setups[0]);
}

static void moves_to_a_file_meet_each_fault(void **state)
{
    (void)state;
    sweep_all(&setups[1]);
}

static void moves_of_durable_blobs_meet_each_fault(void **state)
{
    (void)state;
    sweep_all(&setups[2]);
}

/* ---- two that move one blob ---- */

static void *score_up(void *arg)
{
    struct rig *r = arg;
    char name[80];
    name_of(2, 0, name);
    int rc = sl_score(r->rt, r->tag, name, 1.0f);
    return rc ? r : NULL;
}

/* The score takes the bytes up, the flush takes them down, and each waits for
 * the other's step: both end. */
static void a_flush_and_a_score_of_one_blob_both_end(void **state)
{
    static struct rig r;
    struct sl_op *flush = NULL;
    pthread_t thread;
    void *failed = &r;
    char name[80];
    (void)state;
    rig_open(&r, &setups[2]);
    assert_int_equal(sl_close(r.rt), 0);
    r.c.workers = 1;
    r.c.pinned_bytes = 4 * MIB;
    r.c.timeout_ns = DEADLINE_NS;
    r.rt = open_store(&r.c);
    assert_int_equal(sl_tag(r.rt, "t", &r.tag), 0);
    name_of(2, 0, name); /* volatile */
    assert_int_equal(put(&r, 2), 0);
    assert_int_equal(sl_score(r.rt, r.tag, name, 0.4f), 0); /* to the file */
    tiers_pass(0);
    assert_int_equal(pthread_create(&thread, NULL, score_up, &r), 0);
    while (fault_held(tiers[0]) == 0)
        sched_yield();
    assert_int_equal(sl_flush_begin(r.rt, &flush), 0);
    assert_int_equal(sl_size(r.rt, r.tag, name, &(uint64_t){0}), 0);
    tiers_pass(FAULT_ALL);
    assert_int_equal(sl_wait(&flush, DEADLINE_NS), 0);
    assert_int_equal(pthread_join(thread, &failed), 0);
    assert_null(failed);
    check_all(&r, 0);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flush_and_a_score_of_one_blob_both_end),
        cmocka_unit_test(moves_in_memory_meet_each_fault),
        cmocka_unit_test(moves_to_a_file_meet_each_fault),
        cmocka_unit_test(moves_of_durable_blobs_meet_each_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
