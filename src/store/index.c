/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "store/shard.h"

#include <string.h>

/*
 * Open addressing, linear probing, grown at three quarters. A table of ten
 * million blobs takes a second to copy, so it grows by steps: the old array
 * stays for lookups while each insert moves some of its entries over. An entry
 * that was moved is in both arrays until the old one goes; a removal takes it
 * out of both.
 */

#define TABLE_FIRST 16384u /* 256 KiB for each shard */
#define TABLE_STEP 16u     /* old entries moved by an insert */

/* Stands in the old array for an entry that was removed. */
static struct blob gone;

int table_create(struct table *t)
{
    memset(t, 0, sizeof(*t));
    t->at = mem_map(TABLE_FIRST * sizeof(*t->at));
    if (!t->at)
        return SL_ENOMEM;
    t->mask = TABLE_FIRST - 1u;
    return 0;
}

static void drop_old(struct table *t)
{
    mem_unmap(t->old, (t->old_mask + 1u) * sizeof(*t->old));
    t->old = NULL;
}

void table_destroy(struct table *t)
{
    if (t->old)
        drop_old(t);
    mem_unmap(t->at, (t->mask + 1u) * sizeof(*t->at));
    t->at = NULL;
}

/* ---- look up ---- */

static int is_key(const struct blob *b, const struct sl_task *t)
{
    return b->name_len == t->cell.name_len && b->tag->id == t->cell.tag &&
           memcmp(b->name, t->name, b->name_len) == 0;
}

static struct blob *probe(const struct index_entry *at, uint64_t mask,
                          const struct sl_task *task)
{
    uint64_t i = task->hash.lo & mask;
    for (; at[i].blob; i = (i + 1u) & mask)
        if (at[i].lo == task->hash.lo && at[i].blob != &gone &&
            is_key(at[i].blob, task))
            return at[i].blob;
    return NULL;
}

struct blob *table_find(const struct table *t, const struct sl_task *task)
{
    struct blob *b = probe(t->at, t->mask, task);
    if (!b && t->old)
        b = probe(t->old, t->old_mask, task);
    return b;
}

struct blob *table_guess(const struct table *t, uint64_t lo)
{
    uint64_t i = lo & t->mask;
    while (t->at[i].blob && t->at[i].lo != lo)
        i = (i + 1u) & t->mask;
    return t->at[i].blob;
}

/* Where an array has this very blob; null when it has not. */
static struct index_entry *spot(struct index_entry *at, uint64_t mask,
                                uint64_t lo, const struct blob *b)
{
    uint64_t i = lo & mask;
    while (at[i].blob && at[i].blob != b)
        i = (i + 1u) & mask;
    return at[i].blob ? &at[i] : NULL;
}

int table_has(const struct table *t, uint64_t lo, const struct blob *b)
{
    return spot(t->at, t->mask, lo, b) ||
           (t->old && spot(t->old, t->old_mask, lo, b));
}

/* ---- change ---- */

static void place(struct table *t, struct index_entry e)
{
    uint64_t i = e.lo & t->mask;
    while (t->at[i].blob)
        i = (i + 1u) & t->mask;
    t->at[i] = e;
}

static void move_over(struct table *t, uint64_t n)
{
    for (; t->old && n; n--) {
        struct index_entry e = t->old[t->moved];
        if (e.blob && e.blob != &gone)
            place(t, e);
        if (t->moved++ == t->old_mask)
            drop_old(t);
    }
}

void table_settle(struct table *t)
{
    move_over(t, UINT64_MAX);
}

static int grow(struct table *t)
{
    uint64_t size = (t->mask + 1u) * 2u;
    struct index_entry *at = mem_map(size * sizeof(*at));
    if (!at)
        return SL_ENOMEM;
    table_settle(t); /* has ended long ago, unless tables are tiny */
    t->old = t->at;
    t->old_mask = t->mask;
    t->moved = 0;
    t->at = at;
    t->mask = size - 1u;
    return 0;
}

int table_insert(struct table *t, struct blob *b)
{
    if (t->used >= (t->mask + 1u) / 4u * 3u) {
        int rc = grow(t);
        if (rc)
            return rc;
    }
    move_over(t, TABLE_STEP);
    place(t, (struct index_entry){blob_hash(b).lo, b});
    t->used++;
    return 0;
}

/* Backward shift: no tombstones, so probes stay short for ever. */
static void close_gap(struct table *t, uint64_t i)
{
    for (uint64_t j = (i + 1u) & t->mask; t->at[j].blob;
         j = (j + 1u) & t->mask) {
        uint64_t home = t->at[j].lo & t->mask;
        if (((j - home) & t->mask) >= ((j - i) & t->mask)) {
            t->at[i] = t->at[j];
            i = j;
        }
    }
    t->at[i].blob = NULL;
}

void table_remove(struct table *t, const struct blob *b)
{
    uint64_t lo = blob_hash(b).lo;
    struct index_entry *e = spot(t->at, t->mask, lo, b);
    if (e)
        close_gap(t, (uint64_t)(e - t->at));
    e = t->old ? spot(t->old, t->old_mask, lo, b) : NULL;
    if (e)
        e->blob = &gone;
    t->used--;
}
