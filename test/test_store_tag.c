/* SPDX-License-Identifier: Apache-2.0 */
/* Tags: what a create and a delete promise while others write, while the
 * metadata is slow or fails. */
#include "store_help.h"

#include "store/shard.h"
#include "worker/worker.h"

#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>

#define SIZE 5000u
#define UNIT 8192u /* what SIZE takes in the file */

/* ---- the metadata, held back or failed by the test (--wrap) ---- */

void __real_meta_submit(struct meta *m, struct meta_change *c);
void __wrap_meta_submit(struct meta *m, struct meta_change *c);

static int hold_op = -1;         /* atomic: enum meta_op to hold back, or -1 */
static struct meta *held_by;     /* published by held */
static struct meta_change *held; /* atomic */

void __wrap_meta_submit(struct meta *m, struct meta_change *c)
{
    int op = __atomic_load_n(&hold_op, __ATOMIC_ACQUIRE);
    if ((int)c->op != op) {
        __real_meta_submit(m, c);
        return;
    }
    held_by = m;
    __atomic_store_n(&held, c, __ATOMIC_RELEASE);
}

/* What may be held back is submitted. */
int __wrap_meta_now(struct meta *m, struct meta_change *c);

int __wrap_meta_now(struct meta *m, struct meta_change *c)
{
    (void)m;
    (void)c;
    return 0;
}

static void hold(int op)
{
    __atomic_store_n(&held, NULL, __ATOMIC_RELAXED);
    __atomic_store_n(&hold_op, op, __ATOMIC_RELEASE);
}

static struct meta_change *wait_held(void)
{
    struct meta_change *c;
    while (!(c = __atomic_load_n(&held, __ATOMIC_ACQUIRE)))
        sched_yield();
    return c;
}

/* The change ends with this code, unstored; 0: it is stored after all. */
static void let_go(int code)
{
    struct meta_change *c = wait_held();
    hold(-1);
    if (code)
        c->done(c, code);
    else
        __real_meta_submit(held_by, c);
}

/* ---- what a worker destroys in a round (--wrap) ---- */

void __real_blob_destroy(struct shard *sh, struct blob *b);
void __wrap_blob_destroy(struct shard *sh, struct blob *b);
uint32_t __real_worker_round(struct worker *w);
uint32_t __wrap_worker_round(struct worker *w);

static _Thread_local uint32_t destroyed; /* in this round */
static uint32_t destroyed_most;          /* atomic: in one */

void __wrap_blob_destroy(struct shard *sh, struct blob *b)
{
    destroyed++;
    __real_blob_destroy(sh, b);
}

uint32_t __wrap_worker_round(struct worker *w)
{
    destroyed = 0;
    uint32_t n = __real_worker_round(w);
    uint32_t most = __atomic_load_n(&destroyed_most, __ATOMIC_RELAXED);
    while (destroyed > most &&
           !__atomic_compare_exchange_n(&destroyed_most, &most, destroyed, 0,
                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
    return n;
}

/* ---- calls ---- */

static int put_n(struct sl_runtime *rt, uint64_t tag, unsigned i,
                 uint64_t value, unsigned level)
{
    uint8_t in[SIZE];
    char name[32];
    struct sl_put_opts o = {
        .size = sizeof(o), .score = -1, .persist = (uint8_t)level};
    snprintf(name, sizeof(name), "b%u", i);
    fill(in, sizeof(in), value);
    return sl_put(rt, tag, name, 0, in, sizeof(in), &o);
}

/* 0: it is there with this value; -1: with another. */
static int get_n(struct sl_runtime *rt, uint64_t tag, unsigned i,
                 uint64_t value)
{
    uint8_t in[SIZE], out[SIZE];
    char name[32];
    snprintf(name, sizeof(name), "b%u", i);
    fill(in, sizeof(in), value);
    int rc = sl_get(rt, tag, name, 0, out, sizeof(out), NULL);
    if (!rc && memcmp(in, out, sizeof(in)) != 0)
        return -1;
    return rc;
}

/* A call on a thread of its own, as it waits for what the test holds. */
struct call {
    pthread_t thread;
    struct sl_runtime *rt;
    const char *name; /* sl_tag, else sl_tag_del */
    uint64_t tag;
    int code;
};

static void *call_run(void *arg)
{
    struct call *c = arg;
    c->code =
        c->name ? sl_tag(c->rt, c->name, &c->tag) : sl_tag_del(c->rt, c->tag);
    return NULL;
}

static void call_begin(struct call *c)
{
    assert_int_equal(pthread_create(&c->thread, NULL, call_run, c), 0);
}

static int call_end(struct call *c)
{
    assert_int_equal(pthread_join(c->thread, NULL), 0);
    return c->code;
}

static uint64_t file_used(struct sl_runtime *rt)
{
    struct sl_tier_info t[4];
    int n = sl_tiers(rt, t, 4);
    for (int i = 0; i < n && i < 4; i++)
        if (strcmp(t[i].kind, "file") == 0)
            return t[i].used;
    return 0;
}

static void expect_size(struct sl_runtime *rt, uint64_t tag, uint64_t blobs)
{
    uint64_t bytes = 1, n = 1;
    assert_int_equal(sl_tag_size(rt, tag, &bytes, &n), 0);
    assert_int_equal(n, blobs);
    assert_int_equal(bytes, blobs * SIZE);
}

static struct sl_runtime *open_dir(char *dir, size_t n, struct sl_config *c)
{
    *c = small_config();
    make_dir(dir, n);
    c->data_dir = dir;
    c->file_bytes = 8 * MIB;
    return open_store(c);
}

/* ---- the metadata is slow, or fails ---- */

#define BLOBS 20u

static void a_failed_delete_loses_nothing(void **state)
{
    (void)state;
    char dir[64];
    struct sl_config c;
    struct sl_runtime *rt = open_dir(dir, sizeof(dir), &c);
    struct call del = {.rt = rt}, again = {.rt = rt, .name = "t"};
    uint64_t tag;
    assert_int_equal(sl_tag(rt, "t", &tag), 0);
    for (unsigned i = 0; i < BLOBS; i++)
        assert_int_equal(put_n(rt, tag, i, i, i % 3u), 0);
    uint64_t used = file_used(rt);
    hold(META_DEL_TAG);
    del.tag = tag;
    call_begin(&del);
    wait_held();
    assert_int_equal(put_n(rt, tag, 0, 99, 0), SL_ENOTAG);
    assert_int_equal(put_n(rt, tag, 1, 99, 2), SL_ENOTAG);
    assert_int_equal(sl_tag_size(rt, tag, NULL, NULL), SL_ENOTAG);
    assert_int_equal(sl_tag_del(rt, tag), SL_ENOTAG);
    call_begin(&again);
    assert_int_equal(call_end(&again), SL_EAGAIN);
    assert_int_equal(file_used(rt), used); /* no space is free yet */
    let_go(SL_ENOSPC);
    assert_int_equal(call_end(&del), SL_ENOSPC);
    expect_size(rt, tag, BLOBS);
    for (unsigned i = 0; i < BLOBS; i++)
        assert_int_equal(get_n(rt, tag, i, i), 0);
    assert_int_equal(put_n(rt, tag, 0, 7, 1), 0);
    assert_int_equal(get_n(rt, tag, 0, 7), 0);
    assert_int_equal(sl_tag_del(rt, tag), 0);
    assert_int_equal(sl_flush(rt), 0); /* frees what waits for a commit */
    assert_int_equal(file_used(rt), 0);
    assert_int_equal(get_n(rt, tag, 0, 7), SL_ENOTAG);
    assert_int_equal(sl_close(rt), 0);
    remove_dir(dir);
}

static void a_tag_not_recorded_yet_takes_no_blobs(void **state)
{
    (void)state;
    char dir[64];
    struct sl_config c;
    struct sl_runtime *rt = open_dir(dir, sizeof(dir), &c);
    struct call make = {.rt = rt, .name = "t"};
    uint64_t tag; /* a client knows it from before */
    assert_int_equal(sl_tag(rt, "t", &tag), 0);
    assert_int_equal(sl_tag_del(rt, tag), 0);
    for (int round = 0; round < 2; round++) {
        hold(META_PUT_TAG);
        call_begin(&make);
        wait_held();
        for (unsigned i = 0; i < BLOBS; i++)
            assert_int_equal(put_n(rt, tag, i, i, i % 3u), SL_ENOTAG);
        assert_int_equal(sl_tag_del(rt, tag), SL_ENOTAG);
        let_go(round ? 0 : SL_ENOSPC);
        assert_int_equal(call_end(&make), round ? 0 : SL_ENOSPC);
        for (unsigned i = 0; i < BLOBS; i++)
            assert_int_equal(put_n(rt, tag, i, i, i % 3u),
                             round ? 0 : SL_ENOTAG);
    }
    assert_int_equal(make.tag, tag);
    expect_size(rt, tag, BLOBS);
    assert_int_equal(sl_close(rt), 0);
    remove_dir(dir);
}

/* Blobs of a full store, as many as fit. */
static unsigned put_until_full(struct sl_runtime *rt, uint64_t tag,
                               uint64_t value)
{
    unsigned n = 0;
    int rc;
    while ((rc = put_n(rt, tag, n, value + n, 2)) == 0)
        n++;
    assert_int_equal(rc, SL_ENOSPC);
    return n;
}

static void crash_in_a_delete(const char *dir, int out)
{
    struct sl_config c = small_config();
    struct call del = {0};
    uint64_t other;
    c.data_dir = dir;
    c.file_bytes = MIB;
    if (sl_open(&c, &del.rt) || sl_tag_find(del.rt, "t", &del.tag) ||
        sl_tag(del.rt, "u", &other))
        _exit(9);
    hold(META_DEL_TAG);
    if (pthread_create(&del.thread, NULL, call_run, &del))
        _exit(9);
    wait_held();
    unsigned n = 0;
    while (put_n(del.rt, other, n, 1000u + n, 2) == 0)
        n++;
    if (write(out, &n, sizeof(n)) != sizeof(n))
        _exit(9);
    _exit(0);
}

/* Space of a tag is given out again behind its durable end, never before. */
static void space_of_a_deleted_tag_is_used_again(void **state)
{
    (void)state;
    char dir[64];
    struct sl_config c;
    struct sl_runtime *rt;
    uint64_t t, u;
    unsigned n = 0, m;
    int fd[2], status = 1;
    c = small_config();
    make_dir(dir, sizeof(dir));
    c.data_dir = dir;
    c.file_bytes = MIB;
    rt = open_store(&c);
    assert_int_equal(sl_tag(rt, "t", &t), 0);
    unsigned all = put_until_full(rt, t, 0);
    assert_true(all > 100u);
    assert_int_equal(sl_tag_del(rt, t), 0);
    assert_int_equal(sl_tag(rt, "t", &t), 0);
    for (unsigned i = 0; i < all / 2u; i++)
        assert_int_equal(put_n(rt, t, i, i + 5u, 2), 0);
    assert_int_equal(sl_close(rt), 0);
    assert_int_equal(pipe(fd), 0);
    pid_t pid = fork();
    if (pid == 0)
        crash_in_a_delete(dir, fd[1]);
    assert_true(waitpid(pid, &status, 0) == pid);
    assert_int_equal(status, 0);
    assert_int_equal(read(fd[0], &n, sizeof(n)), sizeof(n));
    close(fd[0]);
    close(fd[1]);
    assert_int_equal(n, all - all / 2u); /* nothing of t's */
    rt = open_store(&c);
    assert_int_equal(sl_tag_find(rt, "t", &t), 0);
    assert_int_equal(sl_tag_find(rt, "u", &u), 0);
    expect_size(rt, t, all / 2u);
    expect_size(rt, u, n);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(get_n(rt, u, i, 1000u + i), 0);
    assert_int_equal(sl_tag_del(rt, t), 0);
    for (m = 0; m < all / 2u; m++)
        assert_int_equal(put_n(rt, u, n + m, 1000u + n + m, 2), 0);
    assert_int_equal(sl_close(rt), 0);
    rt = open_store(&c);
    assert_int_equal(sl_tag_find(rt, "t", &t), SL_ENOTAG);
    expect_size(rt, u, all);
    for (unsigned i = 0; i < all; i++)
        assert_int_equal(get_n(rt, u, i, 1000u + i), 0);
    assert_int_equal(sl_close(rt), 0);
    remove_dir(dir);
}

/* ---- races ---- */

struct racer {
    pthread_t thread;
    struct sl_runtime *rt;
    uint64_t seed;
    unsigned level;
    int bad; /* a code that none of the calls may have */
    unsigned made, deleted, put;
};

static void race_one(struct racer *r, const char *name)
{
    uint64_t tag = 0, n, bytes;
    int rc = sl_tag(r->rt, name, &tag);
    if (rc == SL_EAGAIN) { /* a delete is under way */
        sched_yield();
        return;
    }
    if (rc)
        r->bad = rc;
    r->made++;
    for (unsigned i = 0; i < 8; i++) {
        uint64_t x = test_random(&r->seed);
        rc =
            put_n(r->rt, tag, (unsigned)(x % 16u), x, (x & 64u) ? r->level : 0);
        r->put += rc == 0;
        if (rc && rc != SL_ENOTAG)
            r->bad = rc;
        if (rc)
            return;
        if (x % 11u == 0) {
            rc = sl_tag_size(r->rt, tag, &bytes, &n);
            if (rc && rc != SL_ENOTAG)
                r->bad = rc;
        }
        if (x % 23u == 0 && r->level && (rc = sl_flush(r->rt)) != 0)
            r->bad = rc;
    }
    if (test_random(&r->seed) % 3u == 0)
        return;
    rc = sl_tag_del(r->rt, tag);
    r->deleted += rc == 0;
    if (rc && rc != SL_ENOTAG)
        r->bad = rc;
}

static void *race(void *arg)
{
    struct racer *r = arg;
    static const char *const names[] = {"t", "u"};
    unsigned steps = STEPS(r->level ? 400 : 4000);
    for (unsigned i = 0; i < steps && !r->bad; i++)
        race_one(r, names[test_random(&r->seed) % 4u == 0]);
    return NULL;
}

static int count_one(void *user, const char *name, uint32_t len, uint64_t size)
{
    uint64_t *sum = user;
    (void)name;
    (void)len;
    sum[0]++;
    sum[1] += size;
    return 0;
}

static void races_end_exact(struct sl_runtime *rt, unsigned level)
{
    struct racer r[4] = {0};
    uint64_t seed = test_seed("store_tag");
    static const char *const names[] = {"t", "u"};
    for (unsigned i = 0; i < 4; i++) {
        r[i].rt = rt;
        r[i].level = level;
        r[i].seed = seed + i * 977u;
        assert_int_equal(pthread_create(&r[i].thread, NULL, race, &r[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_join(r[i].thread, NULL), 0);
    for (unsigned i = 0; i < 4; i++) {
        printf("# made %u, put %u, deleted %u\n", r[i].made, r[i].put,
               r[i].deleted);
        assert_int_equal(r[i].bad, 0);
        assert_true(r[i].put > 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        uint64_t tag, sum[2] = {0, 0}, n, bytes;
        assert_int_equal(sl_tag(rt, names[i], &tag), 0);
        assert_int_equal(sl_tag_size(rt, tag, &bytes, &n), 0);
        assert_int_equal(sl_list(rt, tag, count_one, sum), 0);
        assert_int_equal(n, sum[0]);
        assert_int_equal(bytes, sum[1]);
        assert_int_equal(sl_tag_del(rt, tag), 0);
        assert_int_equal(sl_tag(rt, names[i], &tag), 0);
        expect_size(rt, tag, 0);
        for (unsigned k = 0; k < BLOBS; k++)
            assert_int_equal(put_n(rt, tag, k, k, level), 0);
        expect_size(rt, tag, BLOBS);
    }
    assert_int_equal(sl_flush(rt), 0); /* frees what waits for a commit */
    assert_int_equal(file_used(rt), level ? 2u * BLOBS * UNIT : 0);
}

/* Other calls of a worker go on between the steps of a delete. */
static void a_large_tag_goes_in_steps(void **state)
{
    (void)state;
    struct sl_config c = small_config();
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag, other;
    assert_int_equal(sl_tag(rt, "large", &tag), 0);
    assert_int_equal(sl_tag(rt, "other", &other), 0);
    assert_int_equal(put_n(rt, other, 0, 7, 0), 0);
    for (unsigned i = 0; i < 20000; i++) {
        char name[32];
        snprintf(name, sizeof(name), "b%u", i);
        assert_int_equal(sl_put(rt, tag, name, 0, "x", 1, NULL), 0);
    }
    assert_int_equal(sl_tag_del(rt, tag), 0);
    assert_in_range(__atomic_load_n(&destroyed_most, __ATOMIC_RELAXED), 1,
                    1024u * c.workers);
    assert_int_equal(get_n(rt, other, 0, 7), 0);
    assert_int_equal(sl_tag(rt, "large", &tag), 0);
    expect_size(rt, tag, 0);
    assert_int_equal(sl_close(rt), 0);
}

static void races_on_volatile_tags_end_exact(void **state)
{
    (void)state;
    struct sl_config c = small_config();
    struct sl_runtime *rt = open_store(&c);
    races_end_exact(rt, 0);
    assert_int_equal(sl_close(rt), 0);
}

static void races_on_recorded_tags_end_exact(void **state)
{
    (void)state;
    char dir[64];
    struct sl_config c;
    struct sl_runtime *rt = open_dir(dir, sizeof(dir), &c);
    races_end_exact(rt, 1);
    assert_int_equal(sl_close(rt), 0);
    rt = open_store(&c);
    uint64_t tag;
    assert_int_equal(sl_tag_find(rt, "u", &tag), 0);
    expect_size(rt, tag, BLOBS);
    assert_int_equal(sl_close(rt), 0);
    remove_dir(dir);
}

static uint64_t version_of(struct sl_runtime *rt, uint64_t tag,
                           const char *name)
{
    struct sl_stat s;
    assert_int_equal(sl_stat(rt, tag, name, &s), 0);
    return s.version;
}

/* A blob that is deleted while the record of a new one is under way. */
static void a_version_is_the_one_that_was_recorded(void **state)
{
    (void)state;
    char dir[64];
    struct sl_config c;
    struct sl_runtime *rt = open_dir(dir, sizeof(dir), &c);
    struct sl_put_opts o = {.size = sizeof(o), .score = -1, .persist = 2};
    struct sl_op *op = NULL;
    uint64_t tag, version;
    assert_int_equal(sl_tag(rt, "t", &tag), 0);
    for (unsigned i = 0; i < BLOBS; i++) /* in every shard */
        for (uint64_t k = 0; k < 10; k++)
            assert_int_equal(put_n(rt, tag, i, k, 0), 0);
    hold(META_PUT_BLOB);
    assert_int_equal(sl_put_begin(rt, tag, "new", 0, "x", 1, &o, &op), 0);
    wait_held();
    for (unsigned i = 0; i < BLOBS; i++) {
        char name[32];
        snprintf(name, sizeof(name), "b%u", i);
        assert_int_equal(sl_del(rt, tag, name), 0);
    }
    let_go(0);
    assert_int_equal(sl_wait(&op, c.timeout_ns), 0);
    version = version_of(rt, tag, "new");
    assert_int_equal(sl_close(rt), 0);
    rt = open_store(&c);
    assert_int_equal(version_of(rt, tag, "new"), version);
    assert_int_equal(sl_close(rt), 0);
    remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_delete_loses_nothing),
        cmocka_unit_test(a_tag_not_recorded_yet_takes_no_blobs),
        cmocka_unit_test(space_of_a_deleted_tag_is_used_again),
        cmocka_unit_test(a_large_tag_goes_in_steps),
        cmocka_unit_test(races_on_volatile_tags_end_exact),
        cmocka_unit_test(races_on_recorded_tags_end_exact),
        cmocka_unit_test(a_version_is_the_one_that_was_recorded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
