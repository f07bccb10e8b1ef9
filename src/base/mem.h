/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Memory for tables and records that are touched at random.
 *
 * A worker walks over millions of records in no order; with pages of 4 KiB
 * each step costs a walk of the page tables besides the cache miss. So both
 * come in runs that ask for huge pages. Records have 32-bit names (refs), so
 * that what lists them takes half the memory of pointers. Not locked: the
 * owner's thread only.
 */
#ifndef SLUICE_MEM_H
#define SLUICE_MEM_H

#include <stddef.h>
#include <stdint.h>

/** Zeroed memory in pages of its own, huge ones where the system gives them.
 *  Null when there is none. */
void *mem_map(size_t bytes);
/** `bytes` as they were asked for. */
void mem_unmap(void *p, size_t bytes);
/** Whole pages of a mapping whose contents nobody needs any more. */
void mem_release(void *p, size_t bytes);

/** An array of another size, at another place: long ones are not copied. Null p
 *  with 0 bytes begins; 0 new bytes end it. Null: no memory, p is as it was. */
void *mem_resize(void *p, size_t bytes, size_t new_bytes);

#define MEM_RECORD_MAX 512u
#define MEM_GRAIN 8u
#define MEM_RUN_SHIFT 21 /* a huge page */
#define MEM_REF_SHIFT (MEM_RUN_SHIFT - 3)
/* Runs that 32 bits of ref can name: 32 GiB of records. */
#define MEM_RUNS_MAX (1u << (32 - MEM_REF_SHIFT))
/* Under AddressSanitizer so many freed records wait before they are reused. */
#define MEM_PARKED 1024u

/** Records of any size up to MEM_RECORD_MAX; all zero at first. */
struct mem_pool {
    void *free[MEM_RECORD_MAX / MEM_GRAIN]; /* by size, linked */
    char **runs;
    uint32_t n_runs, cap_runs;
    char *next, *end; /* what is left of the newest run */
    struct mem_parked *parked;
};

/** Zeroed, aligned to MEM_GRAIN; null when there is no memory. */
void *mem_record(struct mem_pool *p, size_t bytes);
/** `bytes` as they were asked for. */
void mem_record_free(struct mem_pool *p, void *record, size_t bytes);
/** Gives all runs back. */
void mem_pool_destroy(struct mem_pool *p);

/** A run is aligned to its size and begins with its number. */
struct mem_run {
    uint32_t index;
};

/** Ref of a record, > 0; reads nothing of the record, which may be freed. */
static inline uint32_t mem_ref(const void *record)
{
    uintptr_t in = (uintptr_t)record & (((uintptr_t)1 << MEM_RUN_SHIFT) - 1u);
    const struct mem_run *r =
        (const struct mem_run *)(const void *)((const char *)record - in);
    return r->index << MEM_REF_SHIFT | (uint32_t)(in / MEM_GRAIN);
}

/** The record of a ref. */
static inline void *mem_at(const struct mem_pool *p, uint32_t ref)
{
    return p->runs[ref >> MEM_REF_SHIFT] +
           (size_t)(ref & ((1u << MEM_REF_SHIFT) - 1u)) * MEM_GRAIN;
}

#endif
