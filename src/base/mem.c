/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE ((size_t)1 << MEM_RUN_SHIFT)
/* Arrays from here on are mappings, which grow without a copy. */
#define RESIZE_MAP ((size_t)128 << 10)
#define RUN_HEAD 64u /* records keep to lines of their own */

/* AddressSanitizer learns of freed records by hand, and its leak checker that
 * they may point to memory. */
#if defined(__SANITIZE_ADDRESS__)
#define WATCHED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WATCHED 1
#endif
#endif
#ifdef WATCHED
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
#else
#define WATCHED 0
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define __lsan_register_root_region(p, n) ((void)(p), (void)(n))
#define __lsan_unregister_root_region(p, n) ((void)(p), (void)(n))
#endif

/* Begins on a huge page when it is as long as one. */
void *mem_map(size_t bytes)
{
    size_t head, room = bytes < HUGE ? bytes : bytes + HUGE;
    char *p = mmap(NULL, room, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    if (room == bytes)
        return p;
    head = (HUGE - (uintptr_t)p % HUGE) % HUGE;
    if (head)
        munmap(p, head);
    if (room - head > bytes) {
        size_t page = 4096, used = (bytes + page - 1) / page * page;
        if (room - head > used)
            munmap(p + head + used, room - head - used);
    }
    /* Only a wish: without huge pages the memory is as good, but slower. */
    madvise(p + head, bytes, MADV_HUGEPAGE);
    return p + head;
}

void mem_unmap(void *p, size_t bytes)
{
    if (p)
        munmap(p, bytes);
}

void mem_release(void *p, size_t bytes)
{
    madvise(p, bytes, MADV_DONTNEED); /* only a wish too */
}

/* ---- arrays ---- */

static void array_free(void *p, size_t bytes)
{
    if (bytes >= RESIZE_MAP)
        mem_unmap(p, bytes);
    else
        free(p);
}

void *mem_resize(void *p, size_t bytes, size_t new_bytes)
{
    void *q;
    if (new_bytes == 0) {
        array_free(p, bytes);
        return NULL;
    }
    if (bytes < RESIZE_MAP && new_bytes < RESIZE_MAP)
        return realloc(p, new_bytes);
    if (bytes >= RESIZE_MAP && new_bytes >= RESIZE_MAP) {
        q = mremap(p, bytes, new_bytes, MREMAP_MAYMOVE);
        return q == MAP_FAILED ? NULL : q;
    }
    q = new_bytes < RESIZE_MAP ? malloc(new_bytes)
                               : mmap(NULL, new_bytes, PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!q || q == MAP_FAILED)
        return NULL;
    if (p)
        memcpy(q, p, bytes < new_bytes ? bytes : new_bytes);
    array_free(p, bytes);
    return q;
}

/* ---- records ---- */

/* Freed records under AddressSanitizer, a ring: a use after the free is seen
 * until so many others are freed. */
struct mem_parked {
    void *record[MEM_PARKED];
    size_t bytes[MEM_PARKED];
    uint32_t at;
};

static int room_for_run(struct mem_pool *p)
{
    uint32_t cap = p->cap_runs ? p->cap_runs * 2u : 16u;
    char **runs;
    if (p->n_runs < p->cap_runs)
        return 1;
    if (p->n_runs == MEM_RUNS_MAX)
        return 0;
    runs = realloc(p->runs, cap * sizeof(*runs));
    if (!runs)
        return 0;
    p->runs = runs;
    p->cap_runs = cap;
    return 1;
}

static int new_run(struct mem_pool *p)
{
    char *r;
    if (WATCHED && !p->parked) {
        p->parked = calloc(1, sizeof(*p->parked));
        if (!p->parked)
            return 0;
    }
    r = room_for_run(p) ? mem_map(HUGE) : NULL;
    if (!r)
        return 0;
    ((struct mem_run *)(void *)r)->index = p->n_runs;
    p->runs[p->n_runs++] = r;
    p->next = r + RUN_HEAD;
    p->end = r + HUGE;
    ASAN_POISON_MEMORY_REGION(p->next, HUGE - RUN_HEAD);
    __lsan_register_root_region(r, HUGE);
    return 1;
}

void *mem_record(struct mem_pool *p, size_t bytes)
{
    size_t class = (bytes + MEM_GRAIN - 1) / MEM_GRAIN;
    void **free_list;
    char *at;
    if (bytes == 0 || bytes > MEM_RECORD_MAX)
        return NULL;
    free_list = &p->free[class - 1];
    at = *free_list;
    if (at) {
        ASAN_UNPOISON_MEMORY_REGION(at, class * MEM_GRAIN);
        memcpy(free_list, at, sizeof(void *));
        memset(at, 0, bytes);
    } else {
        if ((size_t)(p->end - p->next) < class * MEM_GRAIN && !new_run(p))
            return NULL;
        at = p->next;
        p->next += class * MEM_GRAIN;
    }
    ASAN_UNPOISON_MEMORY_REGION(at, bytes);
    return at;
}

static void enlist(struct mem_pool *p, void *record, size_t bytes)
{
    void **free_list = &p->free[(bytes + MEM_GRAIN - 1) / MEM_GRAIN - 1];
    ASAN_UNPOISON_MEMORY_REGION(record, sizeof(void *));
    memcpy(record, free_list, sizeof(void *));
    ASAN_POISON_MEMORY_REGION(record, sizeof(void *));
    *free_list = record;
}

void mem_record_free(struct mem_pool *p, void *record, size_t bytes)
{
    if (WATCHED) {
        struct mem_parked *k = p->parked;
        uint32_t i = k->at++ % MEM_PARKED;
        if (k->record[i])
            enlist(p, k->record[i], k->bytes[i]);
        k->record[i] = record;
        k->bytes[i] = bytes;
        ASAN_POISON_MEMORY_REGION(record, bytes);
    } else {
        enlist(p, record, bytes);
    }
}

void mem_pool_destroy(struct mem_pool *p)
{
    for (uint32_t i = 0; i < p->n_runs; i++) {
        ASAN_UNPOISON_MEMORY_REGION(p->runs[i], HUGE);
        __lsan_unregister_root_region(p->runs[i], HUGE);
        mem_unmap(p->runs[i], HUGE);
    }
    free(p->runs);
    free(p->parked);
    memset(p, 0, sizeof(*p));
}
