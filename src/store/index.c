/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "store/shard.h"

#include <string.h>

/*
 * Open addressing, linear probing, filled to 13/16. An entry has 32 bits of
 * hash and the blob's ref; its home is the hash as a fraction of the array, so
 * homes rise with the hash whatever the size is, and an array need not be a
 * power of two: a long one grows by a quarter, and stays at least 65 % full.
 * Behind the last home there is a tail, so that probes never wrap.
 *
 * A table of ten million blobs takes long to copy, so it grows by steps: each
 * insert moves some entries from the old array to the new one, from the start
 * on. What is before `moved` in the old array is no more, and its memory is
 * given back. An entry is in one array only:
 *
 *   old   | gone          | home >= moved, and the end of the run of entries
 *         0             moved                         that `moved` cuts
 *   now   | home in old < moved    | (nothing yet)
 *
 * which is also why a key whose home in old is at `moved` or behind is in old,
 * new ones as well.
 */

#define TABLE_FIRST 8192u /* 64 KiB for each shard */
#define TABLE_TAIL 1024u  /* entries behind the last home, at first */
#define TABLE_STEP 32u    /* old places passed by an insert */
/* Up to a huge page a table doubles: each growth faults the new array in by
 * small pages, which cost new blobs a quarter of their rate (4.1 against 5.4 to
 * 6.7 million puts/s from kernels, 2026-11-20, one H200). */
#define TABLE_HUGE 262144u
/* A quarter more room takes 0.2 size inserts to fill; the move of the old
 * array ends after size / 32 of them. */
#define TABLE_FULL(size) ((size) / 16u * 13u)

static uint64_t entry_of(uint32_t hash, const struct blob *b)
{
    return (uint64_t)hash << 32 | mem_ref(b);
}

static uint32_t entry_hash(uint64_t e)
{
    return (uint32_t)(e >> 32);
}

static struct blob *entry_blob(const struct table *t, uint64_t e)
{
    return mem_at(t->records, (uint32_t)e);
}

/* ---- one array ---- */

static int array_create(struct index_array *a, uint64_t size, uint64_t tail)
{
    memset(a, 0, sizeof(*a));
    a->at = mem_map((size + tail) * sizeof(*a->at));
    if (!a->at)
        return SL_ENOMEM;
    a->size = size;
    a->end = size + tail;
    return 0;
}

static void array_destroy(struct index_array *a)
{
    mem_unmap(a->at, a->end * sizeof(*a->at));
    a->at = NULL;
}

/* Sees to n free places in the tail, and one more that ends a probe. Each
 * entry takes at most one of them. */
static int array_ensure(struct index_array *a, uint64_t n)
{
    struct index_array wide;
    if (a->end - a->top > n)
        return 0;
    int rc = array_create(&wide, a->size, (a->end - a->size) * 2u + n);
    if (rc)
        return rc;
    memcpy(wide.at, a->at, a->end * sizeof(*a->at));
    wide.top = a->top;
    array_destroy(a);
    *a = wide;
    return 0;
}

static void array_place(struct index_array *a, uint64_t e)
{
    uint64_t i = index_home(a, entry_hash(e));
    while (a->at[i])
        i++;
    a->at[i] = e;
    if (a->top <= i)
        a->top = i + 1u;
}

/* Backward shift: no tombstones, so probes stay short for ever. */
static void array_close_gap(struct index_array *a, uint64_t i)
{
    for (uint64_t j = i + 1u; a->at[j]; j++) {
        if (index_home(a, entry_hash(a->at[j])) <= i) {
            a->at[i] = a->at[j];
            i = j;
        }
    }
    a->at[i] = 0;
}

/* ---- look up ---- */

static int is_key(const struct blob *b, const struct sl_task *t)
{
    return b->name_len == t->cell.name_len && b->tag->id == t->cell.tag &&
           memcmp(b->name, t->name, b->name_len) == 0;
}

static struct blob *probe(const struct table *t, const uint64_t *e,
                          const struct sl_task *task)
{
    uint32_t hash = (uint32_t)task->hash.lo;
    for (; *e; e++) {
        struct blob *b;
        if (entry_hash(*e) != hash)
            continue;
        b = entry_blob(t, *e);
        if (is_key(b, task))
            return b;
    }
    return NULL;
}

struct blob *table_find(const struct table *t, const struct sl_task *task)
{
    struct blob *b = probe(t, table_slot(t, task->hash.lo), task);
    if (!b && t->old.at && !table_in_old(t, (uint32_t)task->hash.lo))
        b = probe(t, t->old.at + t->moved, task);
    return b;
}

struct blob *table_guess(const struct table *t, uint64_t lo)
{
    const uint64_t *e = table_slot(t, lo);
    while (*e && entry_hash(*e) != (uint32_t)lo)
        e++;
    return *e ? entry_blob(t, *e) : NULL;
}

/* Where an array has this entry; null when it has not. */
static uint64_t *spot(uint64_t *at, uint64_t e)
{
    while (*at && *at != e)
        at++;
    return *at ? at : NULL;
}

static uint64_t *spot_of(const struct table *t, uint64_t e, int *in_old)
{
    uint64_t *at;
    *in_old = t->old.at && table_in_old(t, entry_hash(e));
    if (*in_old)
        return spot(t->old.at + index_home(&t->old, entry_hash(e)), e);
    at = spot(t->now.at + index_home(&t->now, entry_hash(e)), e);
    if (!at && t->old.at) {
        *in_old = 1;
        at = spot(t->old.at + t->moved, e);
    }
    return at;
}

int table_has(const struct table *t, uint64_t lo, const struct blob *b)
{
    int in_old;
    return spot_of(t, entry_of((uint32_t)lo, b), &in_old) != NULL;
}

struct blob *table_walk(const struct table *t, uint64_t *cursor)
{
    /* First what `now` has, then what is left in the old one. */
    for (; *cursor < t->now.top; ++*cursor)
        if (t->now.at[*cursor])
            return entry_blob(t, t->now.at[(*cursor)++]);
    while (t->old.at && *cursor - t->now.top + t->moved < t->old.top) {
        uint64_t e = t->old.at[(*cursor)++ - t->now.top + t->moved];
        if (e)
            return entry_blob(t, e);
    }
    return NULL;
}

/* ---- change ---- */

/* Pages of the old array that the move has passed. */
static void give_back(struct table *t)
{
    const uint64_t huge = (UINT64_C(1) << MEM_RUN_SHIFT) / sizeof(*t->old.at);
    if (t->moved - t->given < huge)
        return;
    mem_release(t->old.at + t->given, huge * sizeof(*t->old.at));
    t->given += huge;
}

static void move_over(struct table *t, uint64_t n)
{
    for (; n && t->moved < t->old.top; n--) {
        uint64_t e = t->old.at[t->moved++];
        if (e)
            array_place(&t->now, e);
        give_back(t);
    }
    if (t->moved >= t->old.top)
        array_destroy(&t->old);
}

/* Ends a growth; SL_ENOMEM when the tail has no room and cannot have. */
static int settle(struct table *t)
{
    while (t->old.at) {
        int rc = array_ensure(&t->now, TABLE_STEP);
        if (rc)
            return rc;
        move_over(t, TABLE_STEP);
    }
    return 0;
}

static int grow_to(struct table *t, uint64_t size)
{
    struct index_array next;
    int rc = settle(t); /* has ended long ago, unless tables are tiny */
    if (!rc)
        rc = array_create(&next, size, TABLE_TAIL);
    if (rc)
        return rc;
    t->old = t->now;
    t->now = next;
    t->moved = 0;
    t->given = 0;
    return 0;
}

static uint64_t larger(uint64_t size)
{
    return size < TABLE_HUGE ? size * 2u : size / 4u * 5u;
}

int table_reserve(struct table *t, uint64_t n)
{
    uint64_t size = (n / 13u + 1u) * 16u;
    if (size <= t->now.size)
        return 0;
    int rc = grow_to(t, size);
    return rc ? rc : settle(t);
}

int table_insert(struct table *t, struct blob *b, uint64_t lo)
{
    uint32_t hash = (uint32_t)lo;
    int rc = 0;
    if (t->used >= TABLE_FULL(t->now.size))
        rc = grow_to(t, larger(t->now.size));
    if (!rc)
        rc = array_ensure(&t->now, TABLE_STEP + 1u);
    if (!rc && t->old.at)
        rc = array_ensure(&t->old, 1u);
    if (rc)
        return rc;
    if (t->old.at)
        move_over(t, TABLE_STEP);
    if (t->old.at && table_in_old(t, hash))
        array_place(&t->old, entry_of(hash, b));
    else
        array_place(&t->now, entry_of(hash, b));
    t->used++;
    return 0;
}

void table_remove(struct table *t, const struct blob *b)
{
    int in_old;
    uint64_t *e = spot_of(t, entry_of((uint32_t)blob_hash(b).lo, b), &in_old);
    struct index_array *a = in_old ? &t->old : &t->now;
    if (!e)
        return;
    array_close_gap(a, (uint64_t)(e - a->at));
    t->used--;
}

int table_create(struct table *t, const struct mem_pool *records)
{
    memset(t, 0, sizeof(*t));
    t->records = records;
    return array_create(&t->now, TABLE_FIRST, TABLE_TAIL);
}

void table_destroy(struct table *t)
{
    array_destroy(&t->now);
    array_destroy(&t->old);
}
