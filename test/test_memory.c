/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a small blob costs beyond its bytes, counted: all that the store takes
 * from malloc, and of its mappings the pages that are there. The linker sends
 * the calls through this file (CMakeLists.txt).
 */
#include "store_help.h"

#include "store/shard.h"

#include <malloc.h>
#include <sys/mman.h>

/* ---- counting ---- */

#define PAGE 4096u
#define REGIONS 4096

static struct region {
    char *at;
    size_t bytes;
} region[REGIONS];
static size_t n_regions;
static int64_t heap;

/* The names are the linker's. */
/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
void *__real_mmap(void *at, size_t n, int prot, int flags, int fd, off_t off);
int __real_munmap(void *p, size_t n);
void *__real_mremap(void *p, size_t n, size_t new_n, int flags, ...);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void __wrap_free(void *p);
void *__wrap_mmap(void *at, size_t n, int prot, int flags, int fd, off_t off);
int __wrap_munmap(void *p, size_t n);
void *__wrap_mremap(void *p, size_t n, size_t new_n, int flags, ...);

static void *counted(void *p)
{
    heap += p ? (int64_t)malloc_usable_size(p) : 0;
    return p;
}

void *__wrap_malloc(size_t n)
{
    return counted(__real_malloc(n));
}

void *__wrap_calloc(size_t n, size_t size)
{
    return counted(__real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t n)
{
    int64_t old = p ? (int64_t)malloc_usable_size(p) : 0;
    void *q = __real_realloc(p, n);
    if (q)
        heap -= old;
    return counted(q);
}

void __wrap_free(void *p)
{
    heap -= p ? (int64_t)malloc_usable_size(p) : 0;
    __real_free(p);
}

static void region_add(void *p, size_t n)
{
    assert_true(n_regions < REGIONS);
    region[n_regions++] = (struct region){p, n};
}

/* Cuts [p, p + n) out of what is known. */
static void region_cut(char *p, size_t n)
{
    for (size_t i = 0; i < n_regions; i++) {
        struct region r = region[i];
        if (p >= r.at + r.bytes || p + n <= r.at)
            continue;
        region[i--] = region[--n_regions];
        if (r.at < p)
            region_add(r.at, (size_t)(p - r.at));
        if (p + n < r.at + r.bytes)
            region_add(p + n, (size_t)(r.at + r.bytes - (p + n)));
        region_cut(p, n);
        return;
    }
}

static size_t whole_pages(size_t n)
{
    return (n + PAGE - 1u) / PAGE * PAGE;
}

void *__wrap_mmap(void *at, size_t n, int prot, int flags, int fd, off_t off)
{
    void *p = __real_mmap(at, n, prot, flags, fd, off);
    if (p != MAP_FAILED)
        region_add(p, whole_pages(n));
    return p;
}

int __wrap_munmap(void *p, size_t n)
{
    region_cut(p, whole_pages(n));
    return __real_munmap(p, n);
}

void *__wrap_mremap(void *p, size_t n, size_t new_n, int flags, ...)
{
    void *q = __real_mremap(p, n, new_n, flags);
    if (q != MAP_FAILED) {
        region_cut(p, whole_pages(n));
        region_add(q, whole_pages(new_n));
    }
    return q;
}
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

static int64_t bytes_taken(void)
{
    static unsigned char there[1u << 16]; /* 256 MiB at a time */
    int64_t sum = heap;
    for (size_t i = 0; i < n_regions; i++) {
        for (size_t at = 0; at < region[i].bytes;) {
            size_t n = region[i].bytes - at;
            if (n > sizeof(there) * PAGE)
                n = sizeof(there) * PAGE;
            assert_int_equal(mincore(region[i].at + at, n, there), 0);
            for (size_t k = 0; k < n / PAGE; k++)
                sum += (there[k] & 1) * (int64_t)PAGE;
            at += n;
        }
    }
    return sum;
}

/* ---- a shard without a runtime ---- */

struct rig {
    struct arena *arena;
    struct sl_config config;
    struct store store;
    struct shard *sh;
    struct shard *shards[1];
    struct tag *tag;
};

static void open_rig(struct rig *r)
{
    struct store_env env = {0};
    memset(r, 0, sizeof(*r));
    assert_int_equal(arena_create(MIB, MIB, &r->arena), 0);
    r->config.events = SL_NONE;
    r->store.config.config = &r->config;
    r->store.config.arena = r->arena;
    r->store.config.n_shards = 1;
    r->store.config.n_workers = 1;
    r->store.shards = r->shards;
    assert_int_equal(shard_create(&r->store, 0, &env, &r->sh), 0);
    assert_int_equal(tag_add(r->sh, 0x700, "tag", 3, &r->tag), 0);
    r->tag->ready = 1;
}

static void close_rig(struct rig *r)
{
    shard_destroy(r->sh);
    arena_destroy(r->arena);
}

static void add_blob(struct rig *r, uint64_t i)
{
    struct sl_task t;
    struct blob *b;
    char name[20];
    memset(&t, 0, sizeof(t));
    snprintf(name, sizeof(name), "%016llx", (unsigned long long)i);
    t.cell.tag = r->tag->id;
    t.cell.name_len = 16;
    t.name = (const uint8_t *)name;
    t.hash = sl_key_hash(r->tag->id, name, 16);
    assert_int_equal(blob_create(r->sh, &t, r->tag, &b), 0);
    b->one = extent_pinned(0, 64, 64, 0, 6);
    blob_set_n(b, 1);
    blob_touch(r->sh, b, 64, 1, 0);
}

/* LIMITS P15. From here on the rounding of records to runs of 2 MiB is below
 * 4 bytes a blob; a growth of the index is under way at some of the points. */
#define BLOB_COST 128
#define COUNT_FROM STEPS(500000u)
#define COUNT_STEP STEPS(10000u)
#define COUNT_TO STEPS(1200000u)

static void a_small_blob_costs_at_most_128_bytes(void **state)
{
    (void)state;
    struct rig r;
    double most = 0, least = 1e9;
    open_rig(&r);
    int64_t base = bytes_taken();
    for (uint64_t i = 1; i <= COUNT_TO; i++) {
        add_blob(&r, i);
        if (i < COUNT_FROM || i % COUNT_STEP)
            continue;
        double each = (double)(bytes_taken() - base) / (double)i;
        most = each > most ? each : most;
        least = each < least ? each : least;
    }
    printf("# %.1f to %.1f bytes a blob\n", least, most);
    assert_true(least > 16); /* else nothing was counted */
    /* The sanitizers' tests have too few blobs for the rounding. */
    assert_true(most <= BLOB_COST || COUNT_TO < 1000000u);
    close_rig(&r);
    assert_true(bytes_taken() < base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_blob_costs_at_most_128_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
