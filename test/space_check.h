/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Whether a store that holds no blobs has all its space back: targets, the
 * pinned budget, chunks of the arena, records. A leak of any is found here.
 */
#ifndef TEST_SPACE_CHECK_H
#define TEST_SPACE_CHECK_H

#include "help.h"

#include "api/runtime.h"
#include "store/meta.h"
#include "store/shard.h"

#include <sched.h>

#define SPACE_TARGETS 8u

struct space {
    uint64_t used[SPACE_TARGETS];
    char kind[SPACE_TARGETS][8];
    int n;
};

/* Bytes in use of each target; of the pinned one without what the shards have
 * charged ahead. Call it after something that asked all shards. */
HELP_FN struct space space_of(struct sl_runtime *rt)
{
    struct sl_tier_info t[SPACE_TARGETS];
    struct space s;
    assert_int_equal(sl_flush(rt), 0); /* frees what waits for a commit */
    s.n = sl_tiers(rt, t, SPACE_TARGETS);
    assert_in_range(s.n, 1, SPACE_TARGETS);
    for (int i = 0; i < s.n; i++) {
        memcpy(s.kind[i], t[i].kind, sizeof(s.kind[i]));
        s.used[i] = t[i].used;
        for (uint32_t k = 0;
             strcmp(t[i].kind, "pinned") == 0 && k < rt->config.lanes; k++)
            s.used[i] -= rt->store->shards[k]->credit;
    }
    return s;
}

HELP_FN void space_same(const struct space *a, const struct space *b)
{
    assert_int_equal(a->n, b->n);
    for (int i = 0; i < a->n; i++) {
        if (a->used[i] != b->used[i])
            print_error("target %s: %llu bytes in use, then %llu\n", a->kind[i],
                        (unsigned long long)a->used[i],
                        (unsigned long long)b->used[i]);
        assert_int_equal(a->used[i], b->used[i]);
    }
}

/* Bytes of chunks that the slots of a channel keep for their next task. */
HELP_FN uint64_t space_of_slots(const struct sl_dev *d)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < d->n_slots; i++) {
        const struct sl_slot_local *l = &d->slots[i];
        bytes += l->chunk ? UINT64_C(1) << l->klass : 0;
        bytes += l->side ? SL_SIDE_BYTES : 0;
    }
    return bytes;
}

#define SPACE_FIRST_SLAB UINT64_C(65536) /* of an arena, never handed out */

/* All that the arena has lent lies in slots. Workers take back what readers
 * held in their own time, so it waits for them. No call is under way. */
HELP_FN void space_arena_is_free(struct sl_runtime *rt, const struct sl_dev *d)
{
    uint64_t end = clock_ns() + UINT64_C(20000000000);
    uint64_t slots =
        space_of_slots(&rt->host->handle) + (d ? space_of_slots(d) : 0);
    struct arena_usage u;
    do {
        sched_yield();
        arena_usage(rt->arena, &u);
    } while (u.free + slots + SPACE_FIRST_SLAB != u.bytes && clock_ns() < end);
    if (u.free + slots + SPACE_FIRST_SLAB != u.bytes)
        print_error("arena: %llu of %llu free, %llu in slots\n",
                    (unsigned long long)u.free, (unsigned long long)u.bytes,
                    (unsigned long long)slots);
    assert_int_equal(u.free + slots + SPACE_FIRST_SLAB, u.bytes);
}

HELP_FN int space_count_tag(void *user, uint64_t id, const char *name,
                            uint32_t len)
{
    uint64_t *n = user;
    (void)id;
    (void)name;
    (void)len;
    n[0]++;
    return 0;
}

HELP_FN int space_count_blob(void *user, const struct meta_blob *b)
{
    uint64_t *n = user;
    (void)b;
    n[1]++;
    return 0;
}

/* A closed directory holds so many records. */
HELP_FN void space_records_are(const char *dir, uint64_t tags, uint64_t blobs)
{
    struct meta_config c = {.dir = dir};
    struct meta *m = NULL;
    uint64_t n[2] = {0, 0};
    assert_int_equal(meta_open(&c, &m), 0);
    assert_int_equal(meta_load(m, space_count_tag, space_count_blob, n), 0);
    meta_close(m);
    assert_int_equal(n[0], tags);
    assert_int_equal(n[1], blobs);
}

#endif
