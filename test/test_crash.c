/* SPDX-License-Identifier: Apache-2.0 */
/* A process that is killed at random points, again and again, over one store:
 * what was acknowledged is there each time. KILLS sets how often. */
#include "crash.h"
#include "space_check.h"
#include "store_help.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define KILLS_USUAL 40u
#define KILLS_LONG 1000u
#define WAIT_NS UINT64_C(60000000000)

static struct sl_config crash_config(const char *dir, uint64_t tiers)
{
    struct sl_config c = small_config();
    c.data_dir = dir;
    c.file_bytes = 64 * MIB;
    c.workers = 1u + (uint32_t)(tiers % 3u);
    if (tiers & 4u)
        c.pinned_bytes = SL_NONE;
    if (tiers & 8u)
        c.ram_bytes = MIB;
    return c;
}

static _Noreturn void child(struct crash_ledger *l, const char *dir,
                            uint64_t seed)
{
    struct crash_run run[CRASH_WRITERS];
    pthread_t thread[CRASH_WRITERS];
    struct sl_runtime *rt;
    struct sl_config c = crash_config(dir, seed >> 8);
    uint64_t stored, begun;
    int rc;
    sl_set_log(show_log, NULL);
    begun = clock_ns();
    rc = sl_open(&c, &rt);
    begun = clock_ns() - begun;
    if (begun > l->slowest_open_ns)
        l->slowest_open_ns = begun;
    if (rc)
        snprintf(l->why, sizeof(l->why), "open: %d", rc);
    if (rc || !crash_check(l, rt, &stored))
        _exit(20);
    for (uint32_t i = 0; i < CRASH_WRITERS; i++) {
        run[i] = (struct crash_run){l, rt, i, test_fork(seed, i)};
        if (pthread_create(&thread[i], NULL, crash_write, &run[i]))
            _exit(21);
    }
    pthread_join(thread[0], NULL);
    _exit(22);
}

static void pass(uint64_t ns)
{
    uint64_t end = clock_ns() + ns;
    while (clock_ns() < end)
        sched_yield();
}

/* The point of the kill: some calls after the child began to write, or some
 * time after its start, which may fall into its recovery. */
static void wait_for_point(const struct crash_ledger *l, uint64_t *random)
{
    uint64_t end = clock_ns() + WAIT_NS, calls;
    if (test_random(random) % 4u == 0) {
        pass(test_random(random) % (SANITIZED ? 300000000u : 40000000u));
        return;
    }
    calls = __atomic_load_n(&l->acks, __ATOMIC_ACQUIRE) +
            test_random(random) % 150u;
    while (__atomic_load_n(&l->acks, __ATOMIC_ACQUIRE) < calls && !l->why[0] &&
           clock_ns() < end)
        sched_yield();
    pass(test_random(random) % 2000000u);
}

static void show_problem(void *user, const struct sl_fsck_problem *p)
{
    (void)user;
    print_error("fsck: %s, blob %s: %s\n", p->tag ? p->tag : "-",
                p->blob ? p->blob : "-", p->text);
}

/* What the kill left is a store in which nothing is wrong. */
static void check_offline(const char *dir, uint64_t *bytes)
{
    struct sl_fsck_opts o = {
        .size = sizeof(o), .dir = dir, .problem = show_problem};
    struct sl_fsck_report r;
    uint64_t end = clock_ns() + WAIT_NS;
    int rc;
    while ((rc = sl_fsck(&o, &r)) == SL_EBUSY && clock_ns() < end)
        sched_yield(); /* the dead one's last requests */
    assert_int_equal(rc, 0);
    *bytes += r.bytes;
}

static void one_kill(struct crash_ledger *l, const char *dir, uint64_t *random)
{
    uint64_t seed = test_random(random);
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        child(l, dir, seed);
    wait_for_point(l, random);
    kill(pid, SIGKILL);
    assert_true(waitpid(pid, &status, 0) == pid);
    if (!WIFSIGNALED(status))
        print_error("child: %s, status %x\n", l->why, (unsigned)status);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* The store as the last child left it: whole, no byte of the file is lost, and
 * all of it can go. */
static void check_the_end(struct crash_ledger *l, const char *dir)
{
    struct sl_config c = crash_config(dir, 1);
    struct sl_runtime *rt = open_store(&c);
    uint64_t stored = 0, tag;
    char name[16];
    if (!crash_check(l, rt, &stored))
        print_error("%s\n", l->why);
    assert_string_equal(l->why, "");
    for (uint32_t i = 0; i < CRASH_WRITERS; i++) {
        snprintf(name, sizeof(name), "w%u", i);
        if (sl_tag_find(rt, name, &tag) == 0)
            assert_int_equal(sl_tag_del(rt, tag), 0);
    }
    assert_int_equal(sl_flush(rt), 0);
    struct space s = space_of(rt);
    assert_string_equal(s.kind[s.n - 1], "file");
    assert_int_equal(s.used[s.n - 1], 0);
    assert_int_equal(sl_close(rt), 0);
    space_records_are(dir, 0, 0);
}

static void acknowledged_bytes_survive_kills(void **state)
{
    const char *given = getenv("KILLS");
    uint64_t seed = test_seed("crash"), kills, bytes = 0;
    struct crash_ledger *l = mmap(NULL, sizeof(*l), PROT_READ | PROT_WRITE,
                                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char dir[64];
    (void)state;
    assert_true(l != MAP_FAILED);
    kills = STEPS(test_is_long() ? KILLS_LONG : KILLS_USUAL);
    if (given)
        kills = strtoull(given, NULL, 0);
    make_dir(dir, sizeof(dir));
    for (uint64_t i = 0; i < kills; i++) {
        one_kill(l, dir, &seed);
        /* The first kills may come before there is a store. */
        if (l->checks && test_random(&seed) % 4u == 0)
            check_offline(dir, &bytes);
    }
    check_the_end(l, dir);
    printf("# %llu kills, %llu calls acknowledged, %llu looks: %llu durable "
           "blobs recovered, %llu volatile, %llu absent, %llu coded; slowest "
           "start %llu ms\n",
           (unsigned long long)kills, (unsigned long long)l->acks,
           (unsigned long long)l->checks, (unsigned long long)l->recovered,
           (unsigned long long)l->volatile_found, (unsigned long long)l->absent,
           (unsigned long long)l->coded,
           (unsigned long long)(l->slowest_open_ns / 1000000u));
    printf("# fsck found nothing wrong in %llu bytes\n",
           (unsigned long long)bytes);
    assert_true(l->acks >= kills && l->recovered >= kills);
    assert_true(l->coded > 0 || kills < 20u);
    assert_true(bytes > 0 || kills < 20u);
    remove_dir(dir);
    munmap(l, sizeof(*l));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(acknowledged_bytes_survive_kills),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
