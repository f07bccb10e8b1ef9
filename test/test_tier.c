/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of tier.h, as one suite that runs over every kind of tier. */
#include "help.h"

#include "gpu/gpu.h"
#include "tier/file.h"
#include "tier_rig.h"

#include <pthread.h>

#define CAPACITY (16 * MIB)
#define DEPTH 8u

/* One way to have a tier. */
struct kind {
    const char *name, *kind;
    const char *dir; /* of its file, or null */
    unsigned avoid;
    int discards; /* reads give zeros */
    int rounds;   /* of the tests that repeat: what is affordable */
    int gpu;      /* 1: on the first CUDA device, when there is one */
};

static const struct kind kinds[] = {
    {"ram", "ram", NULL, 0, 0, 1000000, 0},
    {"null", "null", NULL, 0, 1, 1000000, 0},
    {"file", "file", ".", 0, 0, 2000, 0},
    {"file, page cache", "file", ".", TIER_FILE_NO_DIRECT, 0, 2000, 0},
    {"file, pread", "file", ".", TIER_FILE_NO_URING, 0, 2000, 0},
    {"file, pread, page cache", "file", ".",
     TIER_FILE_NO_URING | TIER_FILE_NO_DIRECT, 0, 2000, 0},
    {"file, /dev/shm", "file", "/dev/shm", 0, 0, 20000, 0},
    {"hbm, host", "hbm", NULL, 0, 0, 2000, 0},
    {"hbm, cuda", "hbm", NULL, 0, 0, 2000, 1},
    {"fault around ram", "fault", NULL, 0, 0, 100000, 0},
    {"fault around file", "fault", ".", 0, 0, 2000, 0},
};
#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

struct rig {
    const struct kind *kind;
    const struct tier_ops *ops;
    struct tier *tier;
    struct tier_port *port;
    char path[64];
};

static int rig_open(const struct kind *k, struct rig *r, uint64_t capacity)
{
    struct tier_config c = {.kind = k->kind,
                            .name = "test",
                            .path = k->dir ? r->path : NULL,
                            .device = k->gpu ? cuda_name() : "host",
                            .capacity = capacity,
                            .n_ports = 2,
                            .queue_depth = DEPTH};
    int rc = k->avoid ? tier_file_open_as(&c, k->avoid, &r->tier)
                      : tier_open(&c, &r->tier);
    if (rc)
        return rc;
    r->kind = k;
    r->ops = r->tier->ops;
    return r->ops->port_open(r->tier, 0, &r->port);
}

static void rig_close(struct rig *r)
{
    if (r->port)
        r->ops->port_close(r->port);
    r->ops->close(r->tier);
}

static int setup(void **state)
{
    const struct kind *k = *state;
    struct rig *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    if (k->dir)
        make_path(r->path, sizeof(r->path), k->dir);
    *state = r;
    assert_int_equal(rig_open(k, r, CAPACITY), SL_OK);
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    rig_close(r);
    if (r->kind->dir)
        unlink(r->path);
    free(r);
    return 0;
}

static uint64_t alloc(struct rig *r, uint64_t bytes)
{
    uint64_t loc = ~UINT64_C(0);
    assert_int_equal(r->ops->alloc(r->tier, bytes, &loc), SL_OK);
    assert_int_equal(loc % TIER_BLOCK, 0);
    assert_true(loc + bytes <= CAPACITY);
    return loc;
}

static struct tier_usage usage(struct rig *r)
{
    struct tier_usage u = {0, 0, 0};
    r->ops->usage(r->tier, &u);
    return u;
}

static void bytes_written_are_read_back(void **state)
{
    static const uint32_t sizes[] = {4096, 8192, 65536, 1052672, 4194304};
    struct rig *r = *state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint32_t n = sizes[i];
        void *out = buffer(n), *in = buffer(n);
        uint64_t loc = alloc(r, n);
        pattern(out, n, i);
        assert_int_equal(transfer(r->port, RIG_WRITE, loc, out, n), SL_OK);
        assert_int_equal(transfer(r->port, RIG_READ, loc, in, n), SL_OK);
        if (r->kind->discards)
            memset(out, 0, n);
        assert_memory_equal(in, out, n);
        free(in);
        free(out);
    }
}

static void freed_neighbours_are_one_range_again(void **state)
{
    struct rig *r = *state;
    uint64_t a = alloc(r, 8192), b = alloc(r, 4096), c = alloc(r, 12288);
    uint64_t last = alloc(r, 4096);
    assert_int_equal(usage(r).used, 28672);
    r->ops->free(r->tier, a, 8192);
    r->ops->free(r->tier, c, 12288);
    r->ops->free(r->tier, b, 4096);
    assert_int_equal(alloc(r, 24576), a);
    assert_int_equal(usage(r).used, 28672);
    r->ops->free(r->tier, a, 24576);
    r->ops->free(r->tier, last, 4096);
    assert_int_equal(usage(r).used, 0);
    assert_int_equal(usage(r).largest_free, CAPACITY);
}

static void exhaustion_is_enospc_and_all_comes_back(void **state)
{
    struct rig *r = *state;
    uint64_t step = 256 * 1024, n = CAPACITY / step, loc = 5;
    for (int round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < n; i++)
            alloc(r, step);
        assert_int_equal(r->ops->alloc(r->tier, 4096, &loc), SL_ENOSPC);
        assert_int_equal(loc, 5);
        assert_int_equal(usage(r).used, CAPACITY);
        assert_int_equal(usage(r).largest_free, 0);
        for (uint64_t i = 0; i < n; i++)
            r->ops->free(r->tier, (i * 7 % n) * step, step);
    }
    assert_int_equal(alloc(r, CAPACITY), 0);
}

static void largest_free_tells_what_an_alloc_may_ask(void **state)
{
    struct rig *r = *state;
    uint64_t loc, all = alloc(r, CAPACITY);
    r->ops->free(r->tier, all + MIB, 4096 * 5);
    r->ops->free(r->tier, all + 3 * MIB, 4096 * 9);
    assert_int_equal(usage(r).largest_free, 4096 * 9);
    assert_int_equal(r->ops->alloc(r->tier, 4096 * 10, &loc), SL_ENOSPC);
    assert_int_equal(alloc(r, 4096 * 9), 3 * MIB);
    assert_int_equal(usage(r).largest_free, 4096 * 5);
}

static void reserved_ranges_are_not_given_out(void **state)
{
    struct rig *r = *state;
    uint64_t loc;
    /* A file reserves only what it covers: let it grow to its end first. */
    r->ops->free(r->tier, alloc(r, CAPACITY), CAPACITY);
    assert_int_equal(r->ops->reserve(r->tier, MIB, MIB), SL_OK);
    assert_int_equal(r->ops->reserve(r->tier, 2 * MIB - 4096, 8192), SL_EEXIST);
    assert_int_equal(r->ops->reserve(r->tier, CAPACITY - 4096, 8192),
                     SL_EINVAL);
    assert_int_equal(r->ops->reserve(r->tier, CAPACITY, 4096), SL_EINVAL);
    assert_int_equal(r->ops->reserve(r->tier, 100, 4096), SL_EINVAL);
    assert_int_equal(r->ops->reserve(r->tier, 0, 0), SL_EINVAL);
    assert_int_equal(usage(r).used, MIB);
    assert_int_equal(alloc(r, MIB), 0);
    assert_int_equal(alloc(r, CAPACITY - 2 * MIB), 2 * MIB);
    assert_int_equal(r->ops->alloc(r->tier, 4096, &loc), SL_ENOSPC);
}

static void odd_sizes_are_refused_by_alloc(void **state)
{
    struct rig *r = *state;
    uint64_t loc;
    assert_int_equal(r->ops->alloc(r->tier, 0, &loc), SL_EINVAL);
    assert_int_equal(r->ops->alloc(r->tier, 100, &loc), SL_EINVAL);
    assert_int_equal(r->ops->alloc(r->tier, 4097, &loc), SL_EINVAL);
    assert_int_equal(r->ops->alloc(r->tier, CAPACITY + 4096, &loc), SL_ENOSPC);
}

/* As the store does it: new bytes elsewhere, then the old ones freed. */
static void rewriting_one_block_uses_bounded_space(void **state)
{
    struct rig *r = *state;
    void *buf = buffer(4096);
    uint64_t old = alloc(r, 4096), highest = old;
    int failures = 0;
    for (int i = 0; i < r->kind->rounds / (SLOW_THREADS ? 5 : 1); i++) {
        uint64_t now = 0;
        failures += r->ops->alloc(r->tier, 4096, &now) != 0;
        failures += transfer(r->port, RIG_WRITE, now, buf, 4096) != 0;
        r->ops->free(r->tier, old, 4096);
        highest = now > highest ? now : highest;
        old = now;
    }
    assert_int_equal(failures, 0);
    assert_true(highest <= 4096);
    assert_int_equal(usage(r).used, 4096);
    free(buf);
}

#define MANY 200u

static void requests_beyond_the_depth_all_complete_once(void **state)
{
    struct rig *r = *state;
    struct request req[MANY];
    uint8_t *buf = buffer(MANY * 4096);
    uint64_t loc = alloc(r, MANY * 4096);
    for (int reading = 0; reading < 2; reading++) {
        for (unsigned i = 0; i < MANY; i++) {
            uint8_t *at = buf + i * 4096;
            req[i] = request_make(loc + i * 4096, at, 4096);
            if (!reading)
                pattern(at, 4096, i);
            assert_int_equal(reading ? r->ops->read(r->port, &req[i].io)
                                     : r->ops->write(r->port, &req[i].io),
                             SL_OK);
        }
        while (r->ops->pending(r->port))
            r->ops->poll(r->port);
        for (unsigned i = 0; i < MANY; i++) {
            assert_int_equal(req[i].calls, 1);
            assert_int_equal(req[i].code, SL_OK);
        }
        if (!reading)
            memset(buf, 0x77, MANY * 4096);
    }
    for (unsigned i = 0; i < MANY && !r->kind->discards; i++)
        assert_true(is_pattern(buf + i * 4096, 4096, i));
    assert_int_equal(r->ops->poll(r->port), 0);
    free(buf);
}

/* A request whose `done` makes it again. */
struct chain {
    struct request req;
    struct tier_port *port;
    int left, refused;
    unsigned pending_in_done;
};

static void chain_done(struct tier_io *io, int code)
{
    struct chain *c = (struct chain *)io;
    const struct tier_ops *ops = c->port->tier->ops;
    c->req.calls++;
    c->req.code |= code;
    c->pending_in_done |= ops->pending(c->port);
    if (--c->left <= 0)
        return;
    c->refused |= (c->left % 2 ? ops->read : ops->write)(c->port, io);
}

static void done_may_submit_again_without_end(void **state)
{
    struct rig *r = *state;
    void *buf = buffer(4096);
    struct chain c = {.req = request_make(alloc(r, 4096), buf, 4096),
                      .port = r->port,
                      .left = r->kind->rounds};
    c.req.io.done = chain_done;
    assert_int_equal(r->ops->write(r->port, &c.req.io), SL_OK);
    while (r->ops->pending(r->port))
        r->ops->poll(r->port);
    assert_int_equal(c.req.calls, r->kind->rounds);
    assert_int_equal(c.req.code, SL_OK);
    assert_int_equal(c.refused, SL_OK);
    /* A request that is done is not pending any more. */
    assert_int_equal(c.pending_in_done, 0);
    free(buf);
}

static void flush_completes_among_writes(void **state)
{
    struct rig *r = *state;
    struct request req[12];
    uint8_t *buf = buffer(12 * 4096);
    uint64_t loc = alloc(r, 12 * 4096);
    for (unsigned i = 0; i < 12; i++) {
        int flush = i % 4 == 3;
        req[i] = request_make(flush ? 0 : loc + i * 4096,
                              flush ? NULL : buf + i * 4096, flush ? 0 : 4096);
        assert_int_equal(flush ? r->ops->flush(r->port, &req[i].io)
                               : r->ops->write(r->port, &req[i].io),
                         SL_OK);
    }
    for (unsigned i = 0; i < 12; i++)
        assert_int_equal(finish(r->port, &req[i]), SL_OK);
    while (r->ops->pending(r->port))
        r->ops->poll(r->port);
    for (unsigned i = 0; i < 12; i++)
        assert_int_equal(req[i].calls, 1);
    free(buf);
}

static void bad_requests_are_refused_and_never_done(void **state)
{
    struct rig *r = *state;
    uint8_t *buf = buffer(8192);
    struct request bad[] = {
        request_make(1, buf, 4096),
        request_make(0, buf, 100),
        request_make(0, buf, 0),
        request_make(0, buf + 8, 4096),
        request_make(0, NULL, 4096),
        request_make(CAPACITY, buf, 4096),
        request_make(CAPACITY - 4096, buf, 8192),
        request_make(~UINT64_C(4095), buf, 8192),
        request_make(0, buf, 4096),
    };
    size_t n = sizeof(bad) / sizeof(bad[0]);
    bad[n - 1].io.done = NULL;
    alloc(r, CAPACITY);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(r->ops->write(r->port, &bad[i].io), SL_EINVAL);
        assert_int_equal(r->ops->read(r->port, &bad[i].io), SL_EINVAL);
    }
    assert_int_equal(r->ops->flush(r->port, &bad[n - 1].io), SL_EINVAL);
    assert_int_equal(r->ops->pending(r->port), 0);
    r->ops->poll(r->port);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(bad[i].calls, 0);
    free(buf);
}

static void port_close_completes_what_is_in_flight(void **state)
{
    struct rig *r = *state;
    struct request req[MANY];
    void *buf = buffer(4096);
    uint64_t loc = alloc(r, MANY * 4096);
    for (unsigned i = 0; i < MANY; i++) {
        req[i] = request_make(loc + i * 4096, buf, 4096);
        assert_int_equal(r->ops->write(r->port, &req[i].io), SL_OK);
        if (i == MANY / 2)
            r->ops->poll(r->port);
    }
    r->ops->port_close(r->port);
    r->port = NULL;
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(req[i].calls, 1);
        assert_int_equal(req[i].code, SL_OK);
    }
    free(buf);
}

static void port_beyond_the_configured_number_is_refused(void **state)
{
    struct rig *r = *state;
    struct tier_port *p = NULL;
    assert_int_equal(r->ops->port_open(r->tier, 2, &p), SL_EINVAL);
    assert_null(p);
    assert_int_equal(r->ops->port_open(r->tier, 1, &p), SL_OK);
    r->ops->port_close(p);
}

struct user {
    struct rig *rig;
    struct tier_port *port;
    struct request *req; /* of submit_and_leave */
    unsigned id;
    int failures;
};

/* Holds 16 ranges of different size; in each round one is checked, freed, and
 * replaced. */
static void *use_a_port(void *arg)
{
    struct user *u = arg;
    const struct tier_ops *ops = u->rig->ops;
    uint64_t loc[16] = {0};
    uint8_t *buf = buffer(65536);
    for (unsigned round = 0; round < 400 && buf; round++) {
        unsigned k = round % 16;
        uint32_t n = 4096 * (k + 1);
        uint64_t seed = u->id * 1000 + round;
        if (round >= 16) {
            u->failures += transfer(u->port, RIG_READ, loc[k], buf, n) != 0;
            u->failures +=
                !u->rig->kind->discards && !is_pattern(buf, n, seed - 16);
            ops->free(u->rig->tier, loc[k], n);
        }
        u->failures += ops->alloc(u->rig->tier, n, &loc[k]) != 0;
        pattern(buf, n, seed);
        u->failures += transfer(u->port, RIG_WRITE, loc[k], buf, n) != 0;
    }
    for (unsigned k = 0; k < 16; k++)
        ops->free(u->rig->tier, loc[k], 4096 * (k + 1));
    u->failures += !buf;
    free(buf);
    return NULL;
}

static void two_ports_serve_two_threads(void **state)
{
    struct rig *r = *state;
    struct user u[2] = {{r, r->port, NULL, 0, 0}, {r, NULL, NULL, 1, 0}};
    pthread_t thread[2];
    assert_int_equal(r->ops->port_open(r->tier, 1, &u[1].port), SL_OK);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, use_a_port, &u[i]),
                         0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    assert_int_equal(u[0].failures, 0);
    assert_int_equal(u[1].failures, 0);
    assert_int_equal(usage(r).used, 0);
    r->ops->port_close(u[1].port);
}

static void *submit_and_leave(void *arg)
{
    struct user *u = arg;
    for (unsigned i = 0; i < MANY; i++)
        u->failures += u->rig->ops->write(u->port, &u->req[i].io) != 0;
    u->rig->ops->poll(u->port);
    return NULL;
}

/* The kernel may cancel what an ending thread has submitted. */
static void requests_outlive_the_thread_that_made_them(void **state)
{
    struct rig *r = *state;
    struct request req[MANY];
    struct user u = {r, r->port, req, 0, 0};
    pthread_t thread;
    void *buf = buffer(65536);
    uint64_t loc = alloc(r, MANY * 65536);
    for (unsigned i = 0; i < MANY; i++)
        req[i] = request_make(loc + i * 65536, buf, 65536);
    assert_int_equal(pthread_create(&thread, NULL, submit_and_leave, &u), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(u.failures, 0);
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(finish(r->port, &req[i]), SL_OK);
    free(buf);
}

static void capacity_is_rounded_down_to_blocks(void **state)
{
    struct rig *r = *state;
    rig_close(r);
    assert_int_equal(rig_open(r->kind, r, MIB + 4095), SL_OK);
    assert_int_equal(usage(r).capacity, MIB);
    assert_int_equal(usage(r).largest_free, MIB);
}

static void tier_without_room_or_ports_is_refused(void **state)
{
    struct rig *r = *state;
    struct tier *t = NULL;
    char path[64] = "";
    struct tier_config c = {.kind = r->kind->kind, .name = "test"};
    if (r->kind->dir)
        make_path(path, sizeof(path), r->kind->dir);
    c.path = r->kind->dir ? path : NULL;
    c.n_ports = 1;
    c.capacity = 4095;
    assert_int_equal(tier_open(&c, &t), SL_EINVAL);
    c.capacity = ~UINT64_C(0);
    assert_int_equal(tier_open(&c, &t), SL_EINVAL);
    c.capacity = MIB;
    c.n_ports = 0;
    assert_int_equal(tier_open(&c, &t), SL_EINVAL);
    assert_null(t);
    if (r->kind->dir)
        unlink(path);
}

static void unknown_kind_is_refused(void **state)
{
    struct tier_config c = {.kind = "tape", .capacity = MIB, .n_ports = 1};
    struct log_kept kept = {0, "", ""};
    struct tier *t = NULL;
    (void)state;
    log_sink(keep_line, &kept);
    assert_int_equal(tier_open(&c, &t), SL_EINVAL);
    c.kind = NULL;
    assert_int_equal(tier_open(&c, &t), SL_EINVAL);
    log_sink(NULL, NULL);
    assert_int_equal(kept.lines, 2);
    assert_non_null(strstr(kept.all, "tape"));
}

static const struct {
    const char *name;
    CMUnitTestFunction fn;
} cases[] = {
#define CASE(fn)                                                               \
    {                                                                          \
#fn, fn                                                                \
    }
    CASE(bytes_written_are_read_back),
    CASE(freed_neighbours_are_one_range_again),
    CASE(exhaustion_is_enospc_and_all_comes_back),
    CASE(largest_free_tells_what_an_alloc_may_ask),
    CASE(reserved_ranges_are_not_given_out),
    CASE(odd_sizes_are_refused_by_alloc),
    CASE(rewriting_one_block_uses_bounded_space),
    CASE(requests_beyond_the_depth_all_complete_once),
    CASE(done_may_submit_again_without_end),
    CASE(flush_completes_among_writes),
    CASE(bad_requests_are_refused_and_never_done),
    CASE(port_close_completes_what_is_in_flight),
    CASE(port_beyond_the_configured_number_is_refused),
    CASE(two_ports_serve_two_threads),
    CASE(requests_outlive_the_thread_that_made_them),
    CASE(capacity_is_rounded_down_to_blocks),
    CASE(tier_without_room_or_ports_is_refused),
#undef CASE
};
#define N_CASES (sizeof(cases) / sizeof(cases[0]))

int main(void)
{
    static struct CMUnitTest tests[N_KINDS * N_CASES];
    static char names[N_KINDS * N_CASES][96];
    static struct kind each[N_KINDS]; /* cmocka wants them writable */
    const struct CMUnitTest others[] = {
        cmocka_unit_test(unknown_kind_is_refused)};
    char why[128] = "";
    int failed, no_gpu = gpu_cuda_ops.count(why, sizeof(why)) < 1;
    size_t used = 0;
    memcpy(each, kinds, sizeof(kinds));
    if (no_gpu)
        printf("# the kind on a GPU is left out: %s\n", why);
    for (size_t i = 0; i < N_KINDS * N_CASES; i++) {
        size_t k = i / N_CASES, n = i % N_CASES;
        if (kinds[k].gpu && no_gpu)
            continue;
        snprintf(names[i], sizeof(names[i]), "%s: %s", kinds[k].name,
                 cases[n].name);
        tests[used++] = (struct CMUnitTest){names[i], cases[n].fn, setup,
                                            teardown, &each[k]};
    }
    failed = _cmocka_run_group_tests("tiers", tests, used, NULL, NULL);
    return failed + cmocka_run_group_tests(others, NULL, NULL);
}
