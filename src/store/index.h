/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The index of a shard: hash of a key -> record of a blob. It grows in steps,
 * with the inserts. Private to src/store.
 */
#ifndef SLUICE_INDEX_H
#define SLUICE_INDEX_H

#include "base/mem.h"
#include "store/record.h"

struct index_array {
    uint64_t *at;  /* entries: 32 bits of hash, ref; 0: none */
    uint64_t size; /* homes */
    uint64_t end;  /* places; more than homes */
    uint64_t top;  /* no entry is at this place or behind */
};

struct table {
    const struct mem_pool *records;
    struct index_array now;
    struct index_array old; /* while it grows: from `moved` on */
    uint64_t moved, given;  /* places passed; given back to the system */
    uint64_t used;          /* entries */
};

static inline uint64_t index_home(const struct index_array *a, uint32_t hash)
{
    return (uint64_t)hash * a->size >> 32;
}

/** While it grows: a key of this hash is in the old array if anywhere. */
static inline int table_in_old(const struct table *t, uint32_t hash)
{
    return index_home(&t->old, hash) >= t->moved;
}

/** Where the search for a key begins. */
static inline const uint64_t *table_slot(const struct table *t, uint64_t lo)
{
    const struct index_array *a =
        t->old.at && table_in_old(t, (uint32_t)lo) ? &t->old : &t->now;
    return &a->at[index_home(a, (uint32_t)lo)];
}

int table_create(struct table *t, const struct mem_pool *records);
void table_destroy(struct table *t);
struct blob *table_find(const struct table *t, const struct sl_task *task);
/** The blob that has half of the hash, or null; does not touch it. */
struct blob *table_guess(const struct table *t, uint64_t lo);
/** True while the blob is there; b may have been freed. */
int table_has(const struct table *t, uint64_t lo, const struct blob *b);
/** The next blob from *cursor on, which is 0 at first; null: no more. Between
 *  calls nothing is inserted or removed. */
struct blob *table_walk(const struct table *t, uint64_t *cursor);
/** Room for n blobs in all, so that no insert grows it. SL_ENOMEM. */
int table_reserve(struct table *t, uint64_t n);
/** `lo` of blob_hash(b). SL_ENOMEM. */
int table_insert(struct table *t, struct blob *b, uint64_t lo);
void table_remove(struct table *t, const struct blob *b);

#endif
