/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Memory for tables and records that are touched at random.
 *
 * A worker walks over millions of records in no order; with pages of 4 KiB
 * each step costs a walk of the page tables besides the cache miss. So both
 * come in runs that ask for huge pages. Not locked: the owner's thread only.
 */
#ifndef SLUICE_MEM_H
#define SLUICE_MEM_H

#include <stddef.h>

/** Zeroed memory in pages of its own, huge ones where the system gives them.
 *  Null when there is none. */
void *mem_map(size_t bytes);
/** `bytes` as they were asked for. */
void mem_unmap(void *p, size_t bytes);

/* Records up to this size come from the runs, larger ones from malloc. */
#define MEM_RECORD_MAX 512u
#define MEM_GRAIN 16u

/** Records of any size; all zero at first. */
struct mem_pool {
    void *free[MEM_RECORD_MAX / MEM_GRAIN]; /* by size, linked */
    void *runs;
    char *next, *end; /* what is left of the newest run */
};

/** Zeroed; null when there is no memory. */
void *mem_record(struct mem_pool *p, size_t bytes);
/** `bytes` as they were asked for. */
void mem_record_free(struct mem_pool *p, void *record, size_t bytes);
/** Gives all runs back; records larger than MEM_RECORD_MAX were freed before.
 */
void mem_pool_destroy(struct mem_pool *p);

#endif
