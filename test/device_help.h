/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of kernels share: a runtime with one device, memory of the
 * device, launches, a module. Each test runs on each device there is. */
#ifndef DEVICE_HELP_H
#define DEVICE_HELP_H

#include "runtime_help.h"

#include "gpu/gpu.h"
#include "kernels/check.h"
#include "gpu/kernels/table.h"

#include <sys/mman.h>

#define ROOMS_MAX 64u
#define PAGE_BYTES 4096u
#define HELD_MAX 4096u
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char *device_name; /* of the running group */

/* ---- a module: sums at once, keeps a task, or keeps its worker ---- */

struct holder {
    struct sl_module module;
    pthread_mutex_t lock;
    struct sl_task *held[HELD_MAX]; /* under lock */
    uint32_t n;                     /* of them; atomic for who waits */
    uint32_t stalled, go_on;        /* atomic */
};

enum { HOLDER_SUM = 0, HOLDER_HOLD = 1, HOLDER_STALL = 2 };

static int holder_sum(struct sl_task *t, void *container)
{
    uint64_t bytes = 0;
    const void *data = sl_task_data(t, &bytes);
    (void)container;
    sl_task_result(t)->v[0] = sl_key_hash(0, data, (uint32_t)bytes).lo;
    sl_task_result(t)->v[1] = bytes;
    return 0;
}

static int holder_hold(struct sl_task *t, void *container)
{
    struct holder *h = container;
    int rc = SL_LATER;
    pthread_mutex_lock(&h->lock);
    if (h->n == HELD_MAX) {
        rc = SL_ENOMEM;
    } else {
        h->held[h->n] = t;
        /* Release: partner is holder_await. */
        __atomic_store_n(&h->n, h->n + 1u, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&h->lock);
    return rc;
}

/* What no module may do: nobody is served until the test says so. */
static int holder_stall(struct sl_task *t, void *container)
{
    struct holder *h = container;
    (void)t;
    /* Partners: the test's await_word, and its store. */
    __atomic_store_n(&h->stalled, 1u, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&h->go_on, __ATOMIC_ACQUIRE))
        sched_yield();
    return 0;
}

static int holder_create(void *user, uint32_t index, void **container)
{
    (void)index;
    *container = user;
    return 0;
}

static uint32_t holder_open(struct holder *h, struct sl_runtime *rt)
{
    static int (*const methods[])(struct sl_task *, void *) = {
        holder_sum, holder_hold, holder_stall};
    uint32_t pool = 0;
    memset(h, 0, sizeof(*h));
    pthread_mutex_init(&h->lock, NULL);
    h->module.size = sizeof(h->module);
    h->module.name = "holder";
    h->module.n_methods = COUNT(methods);
    h->module.methods = methods;
    h->module.create = holder_create;
    h->module.user = h;
    assert_int_equal(sl_pool_create(rt, "holder", &h->module, &pool), 0);
    return pool;
}

/* Ends what is held, each with its own number doubled. */
static inline void holder_finish(struct holder *h, int code)
{
    pthread_mutex_lock(&h->lock);
    while (h->n) {
        struct sl_task *t = h->held[--h->n];
        uint64_t bytes = 0, value = 0;
        const void *data = sl_task_data(t, &bytes);
        memcpy(&value, data, bytes < sizeof(value) ? bytes : sizeof(value));
        sl_task_result(t)->v[0] = 2u * value;
        sl_task_finish(t, code);
    }
    pthread_mutex_unlock(&h->lock);
}

/* ---- memory of the device ---- */

struct room {
    sl_devptr at;
    uint8_t *mem; /* pinned memory, else null */
    size_t bytes;
};

struct rig {
    struct sl_runtime *rt;
    struct sl_device *device;
    struct sl_dev d;
    struct gpu *gpu;
    const struct gpu_ops *ops;
    struct gpu_stream *stream[2];
    struct gpu_info info;
    int on_gpu;
    struct holder holder;
    uint32_t echo, hold; /* pools */
    uint64_t tag;
    struct room room[ROOMS_MAX];
    uint32_t n_rooms;
};

static inline sl_devptr room_device(struct rig *r, size_t bytes)
{
    struct room *m = &r->room[r->n_rooms];
    assert_true(r->n_rooms < ROOMS_MAX);
    m->mem = NULL;
    m->bytes = bytes;
    assert_int_equal(r->ops->alloc(r->gpu, bytes ? bytes : 1u, &m->at), 0);
    r->n_rooms++;
    return m->at;
}

static inline sl_devptr room_pinned(struct rig *r, size_t bytes, uint8_t **mem)
{
    struct room *m = &r->room[r->n_rooms];
    assert_true(r->n_rooms < ROOMS_MAX);
    m->bytes = (bytes + PAGE_BYTES - 1u) / PAGE_BYTES * PAGE_BYTES;
    m->mem = mmap(NULL, m->bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(m->mem != MAP_FAILED);
    assert_int_equal(r->ops->pin(r->gpu, m->mem, m->bytes, &m->at), 0);
    r->n_rooms++;
    *mem = m->mem;
    return m->at;
}

/* Gives back what was made after there were `n` rooms. */
static inline void rooms_release(struct rig *r, uint32_t n)
{
    while (r->n_rooms > n) {
        struct room *m = &r->room[--r->n_rooms];
        if (m->mem) {
            r->ops->unpin(r->gpu, m->mem);
            munmap(m->mem, m->bytes);
        } else {
            r->ops->release(r->gpu, m->at);
        }
    }
}

static inline void upload(struct rig *r, sl_devptr at, const void *from,
                          size_t bytes)
{
    assert_int_equal(r->ops->to_device(r->gpu, at, from, bytes), 0);
}

static inline void download(struct rig *r, void *to, sl_devptr at, size_t bytes)
{
    assert_int_equal(r->ops->from_device(r->gpu, to, at, bytes), 0);
}

/* New device memory with these bytes. */
static inline sl_devptr room_with(struct rig *r, const void *from, size_t bytes)
{
    sl_devptr at = room_device(r, bytes);
    upload(r, at, from, bytes);
    return at;
}

static inline void *zeroed(size_t n, size_t bytes)
{
    void *p = calloc(n ? n : 1u, bytes);
    assert_non_null(p);
    return p;
}

/* ---- life ---- */

static inline struct sl_config device_config(void)
{
    struct sl_config c = runtime_config();
    c.depth = 64;
    c.arena_bytes = 64 * MIB;
    c.pinned_bytes = 32 * MIB;
    return c;
}

static inline void rig_open(struct rig *r, const struct sl_config *c)
{
    memset(r, 0, sizeof(*r));
    r->rt = runtime_open(c);
    assert_int_equal(sl_device_open(r->rt, device_name, &r->device), 0);
    r->d = *sl_device_handle(r->device);
    assert_int_equal(gpu_open(device_name, &r->gpu), 0);
    r->ops = r->gpu->ops;
    r->on_gpu = r->ops != &gpu_host_ops;
    r->ops->info(r->gpu, &r->info);
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(r->ops->stream_open(r->gpu, &r->stream[i]), 0);
    r->echo = echo_pool(r->rt);
    r->hold = holder_open(&r->holder, r->rt);
    assert_int_equal(sl_tag(r->rt, "device", &r->tag), 0);
}

/* Slots that are taken, and not by an abandoned task. */
static inline uint32_t slots_lost(struct rig *r)
{
    uint32_t words = r->d.n_slots / 32u, n = 0;
    uint32_t *taken = zeroed(words, sizeof(*taken));
    uint32_t *abandoned = zeroed(words, sizeof(*abandoned));
    download(r, taken, (sl_devptr)(uintptr_t)r->d.taken, words * 4u);
    download(r, abandoned, (sl_devptr)(uintptr_t)r->d.abandoned, words * 4u);
    for (uint32_t i = 0; i < words; i++)
        n += slg_popc(taken[i] & ~abandoned[i]);
    free(taken);
    free(abandoned);
    return n;
}

static inline void rig_close(struct rig *r)
{
    assert_int_equal(slots_lost(r), 0);
    rooms_release(r, 0);
    for (uint32_t i = 0; i < 2; i++)
        r->ops->stream_close(r->stream[i]);
    r->ops->close(r->gpu);
    sl_device_close(r->device);
    assert_int_equal(sl_close(r->rt), 0);
    pthread_mutex_destroy(&r->holder.lock);
}

/* ---- launches ---- */

struct shape {
    struct gpu_dim grid, block;
};

static inline struct shape shape_of(uint32_t blocks, uint32_t threads)
{
    struct shape s = {{blocks, 1, 1}, {threads, 1, 1}};
    return s;
}

static inline uint32_t volume(struct gpu_dim d)
{
    return d.x * d.y * d.z;
}

static inline uint32_t shape_threads(struct shape s)
{
    return volume(s.grid) * volume(s.block);
}

static inline void start(struct rig *r, uint32_t stream, const char *kernel,
                         struct shape s, const void *args, size_t bytes)
{
    struct gpu_launch l = {.kernel = kernel,
                           .grid = s.grid,
                           .block = s.block,
                           .args = args,
                           .args_bytes = bytes};
    assert_int_equal(r->ops->launch(r->stream[stream], &l), 0);
}

/* Kernels end by themselves: each of their waits has a deadline. */
static inline void land(struct rig *r, uint32_t stream)
{
    assert_int_equal(r->ops->stream_wait(r->stream[stream], 3u * LONG_NS, NULL),
                     0);
}

static inline void run(struct rig *r, const char *kernel, struct shape s,
                       const void *args, size_t bytes)
{
    start(r, 0, kernel, s, args, bytes);
    land(r, 0);
}

/* Group of a thread of the grid, and its number of callers. */
static inline uint32_t unit_of(uint32_t form, uint32_t thread, struct shape s)
{
    uint32_t n = volume(s.block);
    if (form == SL_THREAD)
        return thread;
    if (form == SL_WARP)
        return thread / n * ((n + 31u) / 32u) + thread % n / 32u;
    return thread / n;
}

static inline uint32_t units_of(uint32_t form, struct shape s)
{
    return unit_of(form, shape_threads(s) - 1u, s) + 1u;
}

static inline uint32_t callers_of(uint32_t form, uint32_t unit, struct shape s)
{
    uint32_t n = volume(s.block), warps = (n + 31u) / 32u;
    if (form == SL_THREAD)
        return 1;
    if (form == SL_BLOCK)
        return n;
    return unit % warps + 1u == warps ? n - (warps - 1u) * 32u : 32u;
}

static const char *const form_names[] = {"thread", "warp", "block"};

/* A grid with groups of each kind of size, small on the host. */
static inline struct shape form_shape(const struct rig *r, uint32_t form)
{
    if (form == SL_THREAD)
        return shape_of(r->on_gpu ? 4 : 2, r->on_gpu ? 40 : 5);
    if (form == SL_WARP)
        return shape_of(r->on_gpu ? 8 : 2, 72); /* the third has 8 lanes */
    return shape_of(r->on_gpu ? 12 : 2, r->on_gpu ? 160 : 48);
}

/* ---- lists of operations ---- */

struct ops_run {
    uint32_t form;
    struct shape shape;
    uint32_t n_lists, per, stride;
    struct check_result *results;
};

static inline void op_init(struct check_op *op, enum check_kind kind)
{
    memset(op, 0, sizeof(*op));
    op->kind = kind;
    op->score = SL_SCORE_AUTO;
}

/* Runs the lists in this form; the results stay until ops_free. */
static inline void ops_run(struct rig *r, struct ops_run *o, uint32_t form,
                           const struct check_op *ops, uint32_t n_lists,
                           uint32_t per)
{
    uint32_t rooms = r->n_rooms, n = n_lists * per;
    struct check_ops_args a;
    char kernel[32];
    memset(&a, 0, sizeof(a));
    o->form = form;
    o->shape = form_shape(r, form);
    o->n_lists = n_lists;
    o->per = per;
    o->stride = form == SL_THREAD ? 1u
                : form == SL_WARP ? 32u
                                  : volume(o->shape.block);
    o->results = zeroed((size_t)n * o->stride, sizeof(*o->results));
    a.dev = r->d;
    a.ops_at = room_with(r, ops, n * sizeof(*ops));
    a.results_at = room_device(r, (size_t)n * o->stride * sizeof(*o->results));
    a.n_lists = n_lists;
    a.per = per;
    a.stride = o->stride;
    snprintf(kernel, sizeof(kernel), "k_check_ops_%s", form_names[form]);
    run(r, kernel, o->shape, &a, sizeof(a));
    download(r, o->results, a.results_at,
             (size_t)n * o->stride * sizeof(*o->results));
    rooms_release(r, rooms);
}

static inline void ops_free(struct ops_run *o)
{
    free(o->results);
    o->results = NULL;
}

/* The result of operation i, which is the same in all its callers: each of them
 * ran it, and nobody else did. */
static inline const struct check_result *ops_result(const struct ops_run *o,
                                                    uint32_t i)
{
    uint32_t unit = i / o->per % units_of(o->form, o->shape);
    uint32_t callers = callers_of(o->form, unit, o->shape);
    const struct check_result *first = &o->results[(size_t)i * o->stride];
    for (uint32_t k = 0; k < o->stride; k++) {
        assert_int_equal(first[k].ran, k < callers ? i + 1u : 0);
        if (k < callers)
            assert_memory_equal(&first[k], first, sizeof(*first));
    }
    return first;
}

static inline void expect_code(const struct ops_run *o, uint32_t i, int code,
                               const char *what)
{
    int got = ops_result(o, i)->code;
    if (got != code)
        print_error("%s, %s form: %s, not %s\n", what, form_names[o->form],
                    sl_strerror(got), sl_strerror(code));
    assert_int_equal(got, code);
}

/* Runs one operation; its code. */
static inline int op_alone(struct rig *r, uint32_t form,
                           const struct check_op *op)
{
    struct ops_run o;
    ops_run(r, &o, form, op, 1, 1);
    int code = ops_result(&o, 0)->code;
    ops_free(&o);
    return code;
}

/* ---- words that a running kernel and the test share ---- */

/* Waits until a kernel has stored `value` or more. */
static inline int await_word(const uint32_t *word, uint32_t value)
{
    uint64_t end = clock_ns() + LONG_NS;
    /* Acquire: partner is check_stage, or holder_hold. */
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) < value) {
        if (clock_ns() >= end)
            return 0;
        sched_yield();
    }
    return 1;
}

/* ---- main ---- */

/* DEVICE names the only one to run on. */
static inline int device_is_asked(const char *name)
{
    const char *only = getenv("DEVICE");
    return !only || strcmp(only, name) == 0;
}

/* Chooses the device of the next group, and says so; 0: there is none. */
static inline int device_use(const char *name, const struct gpu_ops *ops)
{
    char why[256] = "";
    if (ops->count(why, sizeof(why)) == 0)
        printf("# device %s: not run, %s\n", name, why);
    else if (ops != &gpu_host_ops && kernel_fatbin_bytes == 0)
        printf("# device %s: not run, this build is without nvcc\n", name);
    else
        device_name = name;
    if (device_name != name)
        return 0;
    printf("# device %s: runs\n", name);
    return 1;
}

/* 0: the group passed, or was not asked for. */
#define run_group(name, ops, must, tests)                                      \
    (!device_is_asked(name) ? 0                                                \
     : device_use(name, ops)                                                   \
         ? cmocka_run_group_tests_name(name, tests, NULL, NULL)                \
         : (must))

/* Exit status of all tests of an array on each device there is; 1 if none was
 * asked for. */
#define run_on_devices(tests)                                                  \
    (run_group("host", &gpu_host_ops, 1, tests) +                              \
             run_group(cuda_name(), &gpu_cuda_ops, 0, tests) !=                \
         0 ||                                                                  \
     !device_name)

#endif
