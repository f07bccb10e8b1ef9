/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "store/shard.h"

#include <string.h>

/* Grows at three quarters; 256 KiB for each shard at first. */
#define TABLE_FIRST 16384u

int table_create(struct table *t)
{
    t->at = mem_map(TABLE_FIRST * sizeof(*t->at));
    if (!t->at)
        return SL_ENOMEM;
    t->mask = TABLE_FIRST - 1u;
    t->used = 0;
    return 0;
}

void table_destroy(struct table *t)
{
    mem_unmap(t->at, (t->mask + 1u) * sizeof(*t->at));
    t->at = NULL;
}

static int is_key(const struct blob *b, const struct sl_task *t)
{
    return b->hash.hi == t->hash.hi && b->tag->id == t->cell.tag &&
           b->name_len == t->cell.name_len &&
           memcmp(b->name, t->name, b->name_len) == 0;
}

struct blob *table_find(const struct table *t, const struct sl_task *task)
{
    uint64_t i = task->hash.lo & t->mask;
    for (; t->at[i].blob; i = (i + 1u) & t->mask)
        if (t->at[i].lo == task->hash.lo && is_key(t->at[i].blob, task))
            return t->at[i].blob;
    return NULL;
}

struct blob *table_guess(const struct table *t, uint64_t lo)
{
    uint64_t i = lo & t->mask;
    while (t->at[i].blob && t->at[i].lo != lo)
        i = (i + 1u) & t->mask;
    return t->at[i].blob;
}

static void place(struct index_entry *at, uint64_t mask, struct index_entry e)
{
    uint64_t i = e.lo & mask;
    while (at[i].blob)
        i = (i + 1u) & mask;
    at[i] = e;
}

static int grow(struct table *t)
{
    uint64_t size = (t->mask + 1u) * 2u;
    struct index_entry *at = mem_map(size * sizeof(*at));
    if (!at)
        return SL_ENOMEM;
    for (uint64_t i = 0; i <= t->mask; i++)
        if (t->at[i].blob)
            place(at, size - 1u, t->at[i]);
    mem_unmap(t->at, (t->mask + 1u) * sizeof(*t->at));
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
    place(t->at, t->mask, (struct index_entry){b->hash.lo, b});
    t->used++;
    return 0;
}

void table_remove(struct table *t, const struct blob *b)
{
    uint64_t i = b->hash.lo & t->mask;
    while (t->at[i].blob != b)
        i = (i + 1u) & t->mask;
    /* Backward shift: no tombstones, so probes stay short for ever. */
    for (uint64_t j = (i + 1u) & t->mask; t->at[j].blob;
         j = (j + 1u) & t->mask) {
        uint64_t home = t->at[j].lo & t->mask;
        if (((j - home) & t->mask) >= ((j - i) & t->mask)) {
            t->at[i] = t->at[j];
            i = j;
        }
    }
    t->at[i].blob = NULL;
    t->used--;
}
