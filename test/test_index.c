/* SPDX-License-Identifier: Apache-2.0 */
/* The index of a shard: blobs found by key while it grows and shrinks. */
#include "store_help.h"

#include "store/shard.h"

struct rig {
    struct mem_pool records;
    struct table table;
    struct tag *tag;
};

static int set_up(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    r->tag = calloc(1, sizeof(*r->tag));
    assert_non_null(r->tag);
    r->tag->id = 0x1234500u;
    assert_int_equal(table_create(&r->table, &r->records), 0);
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *r = *state;
    table_destroy(&r->table);
    mem_pool_destroy(&r->records);
    free(r->tag);
    free(r);
    return 0;
}

/* Blob number i has the 8 bytes of i as its name. */
static struct sl_task key_of(const struct rig *r, const uint64_t *i)
{
    struct sl_task t;
    memset(&t, 0, sizeof(t));
    t.cell.tag = r->tag->id;
    t.cell.name_len = 8;
    t.name = (const uint8_t *)i;
    t.hash = sl_key_hash(r->tag->id, i, 8);
    return t;
}

static struct blob *find(const struct rig *r, uint64_t i)
{
    struct sl_task t = key_of(r, &i);
    return table_find(&r->table, &t);
}

static struct blob *insert(struct rig *r, uint64_t i)
{
    struct blob *b = mem_record(&r->records, blob_bytes(8));
    assert_non_null(b);
    b->tag = r->tag;
    b->name_len = 8;
    memcpy(b->name, &i, 8);
    assert_int_equal(table_insert(&r->table, b, blob_hash(b).lo), 0);
    return b;
}

static void take_out(struct rig *r, struct blob *b)
{
    table_remove(&r->table, b);
    mem_record_free(&r->records, b, blob_bytes(8));
}

static uint64_t walk(const struct rig *r)
{
    uint64_t n = 0, cursor = 0;
    while (table_walk(&r->table, &cursor))
        n++;
    return n;
}

static void a_growing_index_finds_all_that_it_has(void **state)
{
    struct rig *r = *state;
    const uint64_t n = STEPS(300000);
    uint64_t grown = 0;
    struct blob **all = calloc(n, sizeof(struct blob *));
    assert_non_null(all);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t size = r->table.now.size;
        all[i] = insert(r, i);
        grown += r->table.now.size != size;
        assert_true(r->table.used <= r->table.now.size / 16u * 13u);
        /* The youngest, an old one, and one that is not there. */
        assert_ptr_equal(find(r, i), all[i]);
        assert_ptr_equal(find(r, i / 2u), all[i / 2u]);
        assert_null(find(r, n + i));
        uint64_t lo = blob_hash(all[i]).lo;
        const struct blob *guess = table_guess(&r->table, lo);
        assert_non_null(guess);
        assert_true((uint32_t)blob_hash(guess).lo == (uint32_t)lo);
    }
    assert_true(grown > 1);
    assert_int_equal(walk(r), n);
    for (uint64_t i = 0; i < n; i++) {
        assert_ptr_equal(find(r, i), all[i]);
        assert_true(table_has(&r->table, blob_hash(all[i]).lo, all[i]));
    }
    free(all);
}

/* Against an array of what should be there; a removal during a growth meets
 * blobs of the old array, of the new one and of the run between them. */
static void random_inserts_and_removals_agree_with_a_model(void **state)
{
    struct rig *r = *state;
    enum { KEYS = 60000 };
    struct blob **all = calloc(KEYS, sizeof(struct blob *));
    uint64_t seed = test_seed("index"), present = 0, during = 0;
    assert_non_null(all);
    for (uint64_t step = 0; step < STEPS(2000000u); step++) {
        uint64_t i = test_random(&seed) % KEYS;
        assert_ptr_equal(find(r, i), all[i]);
        /* Waves: mostly inserts, then mostly removals. */
        int add = (test_random(&seed) & 7u) < (step / 100000u % 2u ? 3u : 6u);
        if (add && !all[i]) {
            all[i] = insert(r, i);
            present++;
        } else if (!add && all[i]) {
            uint64_t lo = blob_hash(all[i]).lo;
            during += r->table.old.at != NULL;
            take_out(r, all[i]);
            assert_false(table_has(&r->table, lo, all[i]));
            all[i] = NULL;
            present--;
        }
        assert_int_equal(r->table.used, present);
    }
    assert_true(during > 0);
    assert_int_equal(walk(r), present);
    for (uint64_t i = 0; i < KEYS; i++)
        assert_ptr_equal(find(r, i), all[i]);
    free(all);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return x < y ? -1 : x > y;
}

/* Entries keep 32 bits of the hash; the names decide. */
static void blobs_of_equal_short_hashes_are_told_apart(void **state)
{
    struct rig *r = *state;
    const uint64_t n = 300000; /* about ten pairs among so many */
    uint64_t *h = calloc(n, sizeof(*h)), pairs = 0;
    assert_non_null(h);
    for (uint64_t i = 0; i < n; i++)
        h[i] = sl_key_hash(r->tag->id, &i, 8).lo << 32 | i;
    qsort(h, n, sizeof(*h), by_value);
    for (uint64_t k = 0; k + 1u < n; k++) {
        uint64_t i = h[k] & UINT32_MAX, j = h[k + 1u] & UINT32_MAX;
        if (h[k] >> 32 != h[k + 1u] >> 32)
            continue;
        pairs++;
        struct blob *a = insert(r, i);
        assert_null(find(r, j));
        struct blob *b = insert(r, j);
        assert_ptr_equal(find(r, i), a);
        assert_ptr_equal(find(r, j), b);
        take_out(r, a);
        assert_null(find(r, i));
        assert_ptr_equal(find(r, j), b);
    }
    assert_true(pairs > 0);
    assert_int_equal(r->table.used, pairs);
    free(h);
}

/* Names that all want the last places: probes go on behind them, and that room
 * grows. So somebody who makes up such names slows down the search only. */
static void homes_at_the_end_spill_into_a_tail_that_grows(void **state)
{
    struct rig *r = *state;
    enum { SPILL = 3000 };
    struct blob **all = calloc(SPILL, sizeof(struct blob *));
    uint64_t *key = calloc(SPILL, sizeof(*key)), n = 0;
    uint64_t end = r->table.now.end;
    assert_true(all && key);
    for (uint64_t i = 0; n < SPILL; i++)
        if ((uint32_t)sl_key_hash(r->tag->id, &i, 8).lo >=
            UINT32_MAX - UINT32_MAX / 8192u)
            key[n++] = i;
    for (uint64_t k = 0; k < SPILL; k++)
        all[k] = insert(r, key[k]);
    assert_true(r->table.now.end > end);
    for (uint64_t k = 0; k < SPILL; k++)
        assert_ptr_equal(find(r, key[k]), all[k]);
    for (uint64_t k = 0; k < SPILL; k += 2u)
        take_out(r, all[k]);
    for (uint64_t k = 0; k < SPILL; k++)
        assert_ptr_equal(find(r, key[k]), k % 2u ? all[k] : NULL);
    for (uint64_t i = 0; i < 20000; i++) /* and through growths */
        if (!find(r, UINT64_MAX - i))
            insert(r, UINT64_MAX - i);
    for (uint64_t k = 1; k < SPILL; k += 2u)
        assert_ptr_equal(find(r, key[k]), all[k]);
    free(all);
    free(key);
}

static void a_reserved_index_does_not_grow(void **state)
{
    struct rig *r = *state;
    for (uint64_t i = 0; i < 1000; i++)
        insert(r, i);
    assert_int_equal(table_reserve(&r->table, 50000), 0);
    uint64_t size = r->table.now.size;
    for (uint64_t i = 1000; i < 50000; i++)
        insert(r, i);
    assert_true(r->table.now.size == size);
    for (uint64_t i = 0; i < 50000; i++)
        assert_non_null(find(r, i));
    assert_int_equal(table_reserve(&r->table, 10), 0);
    assert_true(r->table.now.size == size);
}

static void refs_name_records_of_every_run(void **state)
{
    struct rig *r = *state;
    const size_t bytes = 500;
    const uint32_t n = 10000; /* more than two runs */
    char **all = calloc(n, sizeof(char *));
    assert_non_null(all);
    for (uint32_t i = 0; i < n; i++) {
        all[i] = mem_record(&r->records, bytes);
        assert_non_null(all[i]);
        memset(all[i], 1, bytes);
    }
    assert_true(r->records.n_runs > 2u);
    for (uint32_t i = 0; i < n; i++) {
        assert_true(mem_ref(all[i]) != 0);
        assert_ptr_equal(mem_at(&r->records, mem_ref(all[i])), all[i]);
    }
    for (uint32_t i = 0; i < n; i++)
        mem_record_free(&r->records, all[i], bytes);
    uint32_t runs = r->records.n_runs;
    for (uint32_t i = 0; i < n / 2u; i++) { /* reused, and zero again */
        const char *p = mem_record(&r->records, bytes);
        assert_non_null(p);
        for (size_t k = 0; k < bytes; k++)
            assert_int_equal(p[k], 0);
    }
    assert_int_equal(r->records.n_runs, runs);
    free(all);
}

static void arrays_keep_their_bytes_when_they_are_resized(void **state)
{
    (void)state;
    static const size_t sizes[] = {16,      1000,   100000, 200000,
                                   5000000, 300000, 4096,   0};
    unsigned char *p = NULL;
    size_t had = 0;
    for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
        p = mem_resize(p, had, sizes[k]);
        assert_true(!p == !sizes[k]);
        for (size_t i = 0; i < had && i < sizes[k]; i++)
            assert_int_equal(p[i], (i * 7u) & 255u);
        for (size_t i = had; i < sizes[k]; i++)
            p[i] = (i * 7u) & 255u;
        had = sizes[k];
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_growing_index_finds_all_that_it_has),
        T(random_inserts_and_removals_agree_with_a_model),
        T(blobs_of_equal_short_hashes_are_told_apart),
        T(homes_at_the_end_spill_into_a_tail_that_grows),
        T(a_reserved_index_does_not_grow),
        T(refs_name_records_of_every_run),
        cmocka_unit_test(arrays_keep_their_bytes_when_they_are_resized),
    };
#undef T
    return cmocka_run_group_tests(tests, NULL, NULL);
}
