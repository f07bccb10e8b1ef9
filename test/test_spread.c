/* SPDX-License-Identifier: Apache-2.0 */
/* Work is spread: the blobs of one tag over all shards and workers, and a call
 * in a shard touches its own place of the index and no other. */
#include "api/runtime.h"
#include "store/shard.h"
#include "store_help.h"

#include <sys/mman.h>

static void name_of(uint64_t i, char name[32])
{
    snprintf(name, 32, "blob-%llu", (unsigned long long)i);
}

static void put(struct sl_runtime *rt, uint64_t tag, uint64_t i)
{
    char name[32];
    name_of(i, name);
    assert_int_equal(sl_put(rt, tag, name, 0, &i, sizeof(i), NULL), 0);
}

static void blobs_of_one_tag_are_served_by_all_workers(void **state)
{
    const uint64_t n = STEPS(40000), shards = 8;
    struct sl_config c = small_config();
    uint64_t tag = 0, served[4] = {0};
    (void)state;
    c.workers = 4;
    c.lanes = (uint32_t)shards;
    struct sl_runtime *rt = open_store(&c);
    assert_int_equal(sl_tag(rt, "t", &tag), 0);
    for (uint64_t i = 0; i < n; i++)
        put(rt, tag, i);
    assert_int_equal(sl_flush(rt), 0); /* behind it the shards rest */
    for (uint64_t s = 0; s < shards; s++) {
        const struct shard *sh = rt->store->shards[s];
        assert_in_range(sh->index.used, n / shards / 2u, n / shards * 2u);
        assert_in_range(sh->env.worker, 0, 3);
        served[sh->env.worker] += sh->index.used;
    }
    for (unsigned w = 0; w < 4u; w++)
        assert_in_range(served[w], n / 8u, n / 2u);
    assert_int_equal(sl_close(rt), 0);
}

/* ---- within a shard ---- */

/* No page of the index can be touched but three from the home of a key on. */
static void lock_all_but(const struct table *t, uint64_t lo, int prot)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint8_t *from = (uint8_t *)t->now.at;
    uint64_t bytes =
        (t->now.end * sizeof(*t->now.at) + page - 1u) / page * page;
    uint64_t home = (uint64_t)((const uint8_t *)table_slot(t, lo) - from);
    uint64_t keep = home / page * page, kept = 3u * page;
    assert_int_equal((uintptr_t)from % page, 0);
    if (kept > bytes - keep)
        kept = bytes - keep;
    assert_int_equal(mprotect(from, bytes, prot), 0);
    assert_int_equal(mprotect(from + keep, kept, PROT_READ | PROT_WRITE), 0);
}

static void use(struct sl_runtime *rt, uint64_t tag, uint64_t i)
{
    uint64_t got = 0;
    char name[32];
    name_of(i, name);
    put(rt, tag, i);
    assert_int_equal(sl_get(rt, tag, name, 0, &got, sizeof(got), NULL), 0);
    assert_int_equal(got, i);
    assert_int_equal(sl_size(rt, tag, name, &got), 0);
    assert_int_equal(sl_del(rt, tag, name), 0);
    assert_int_equal(sl_size(rt, tag, name, &got), SL_ENOENT);
    put(rt, tag, i);
}

/* A call that scanned would be killed. */
static void a_call_touches_its_own_place_of_the_index_alone(void **state)
{
    struct sl_config c = small_config();
    uint64_t tag = 0, n = 0;
    (void)state;
    c.workers = 1;
    c.lanes = 1;
    struct sl_runtime *rt = open_store(&c);
    assert_int_equal(sl_tag(rt, "t", &tag), 0);
    const struct table *t = &rt->store->shards[0]->index;
    for (; n < 12000u; n++)
        put(rt, tag, n);
    while (t->old.at || t->used + 100u > t->now.size / 16u * 13u)
        put(rt, tag, n++); /* not in the middle of a growth */
    uint64_t pages = t->now.end * sizeof(*t->now.at) / 4096u;
    assert_true(pages > 20u);
    for (uint64_t i = 0; i < n; i += n / 50u) {
        char name[32];
        name_of(i, name);
        uint64_t lo = sl_key_hash(tag, name, (uint32_t)strlen(name)).lo;
        lock_all_but(t, lo, PROT_NONE);
        use(rt, tag, i);
        lock_all_but(t, lo, PROT_READ | PROT_WRITE);
    }
    assert_int_equal(sl_close(rt), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blobs_of_one_tag_are_served_by_all_workers),
        cmocka_unit_test(a_call_touches_its_own_place_of_the_index_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
