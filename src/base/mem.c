/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE ((size_t)2 << 20)

/* AddressSanitizer finds uses after free only in memory of malloc. */
#if defined(__SANITIZE_ADDRESS__)
#define PLAIN_RECORDS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PLAIN_RECORDS 1
#endif
#endif
#ifndef PLAIN_RECORDS
#define PLAIN_RECORDS 0
#endif

struct run {
    struct run *next;
};

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

static int new_run(struct mem_pool *p)
{
    struct run *r = mem_map(HUGE);
    if (!r)
        return 0;
    r->next = p->runs;
    p->runs = r;
    p->next = (char *)r + 64; /* records keep to lines of their own */
    p->end = (char *)r + HUGE;
    return 1;
}

void *mem_record(struct mem_pool *p, size_t bytes)
{
    size_t class = (bytes + MEM_GRAIN - 1) / MEM_GRAIN;
    void **free_list;
    char *at;
    if (PLAIN_RECORDS || bytes == 0 || bytes > MEM_RECORD_MAX)
        return calloc(1, bytes);
    free_list = &p->free[class - 1];
    if (*free_list) {
        at = *free_list;
        memcpy(free_list, at, sizeof(void *));
        memset(at, 0, bytes);
        return at;
    }
    if ((size_t)(p->end - p->next) < class * MEM_GRAIN && !new_run(p))
        return NULL;
    at = p->next;
    p->next += class * MEM_GRAIN;
    return at;
}

void mem_record_free(struct mem_pool *p, void *record, size_t bytes)
{
    void **free_list;
    if (PLAIN_RECORDS || bytes == 0 || bytes > MEM_RECORD_MAX) {
        free(record);
        return;
    }
    free_list = &p->free[(bytes + MEM_GRAIN - 1) / MEM_GRAIN - 1];
    memcpy(record, free_list, sizeof(void *));
    *free_list = record;
}

void mem_pool_destroy(struct mem_pool *p)
{
    struct run *r = p->runs;
    while (r) {
        struct run *next = r->next;
        mem_unmap(r, HUGE);
        r = next;
    }
    memset(p, 0, sizeof(*p));
}
