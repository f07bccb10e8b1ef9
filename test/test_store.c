/* SPDX-License-Identifier: Apache-2.0 */
/* Behaviour of the store through the host calls. */
#include "store_help.h"

#include <pthread.h>

static uint64_t tag_of(struct sl_runtime *rt, const char *name)
{
    uint64_t tag = 0;
    assert_int_equal(sl_tag(rt, name, &tag), 0);
    assert_true(tag != 0);
    return tag;
}

static void same_name_gives_same_tag(void **state)
{
    (void)state;
    struct sl_config c = small_config();
    struct sl_runtime *rt = open_store(&c);
    uint64_t a = tag_of(rt, "a"), b = tag_of(rt, "b"), found = 0;
    assert_true(a != b);
    assert_true(tag_of(rt, "a") == a);
    assert_int_equal(sl_tag_find(rt, "a", &found), 0);
    assert_true(found == a);
    assert_int_equal(sl_tag_find(rt, "none", &found), SL_ENOTAG);
    assert_int_equal(sl_close(rt), 0);
}

struct racer {
    struct sl_runtime *rt;
    uint64_t id[50];
    int rc;
};

static void *race(void *arg)
{
    struct racer *r = arg;
    for (int i = 0; i < 50; i++) {
        char name[16];
        snprintf(name, sizeof(name), "tag-%d", i);
        int rc = sl_tag(r->rt, name, &r->id[i]);
        r->rc = rc ? rc : r->rc;
    }
    return NULL;
}

static void tags_made_in_a_race_are_one(void **state)
{
    (void)state;
    struct sl_config c = small_config();
    struct racer r[4];
    pthread_t th[4];
    memset(r, 0, sizeof(r));
    struct sl_runtime *rt = open_store(&c);
    for (int i = 0; i < 4; i++) {
        r[i].rt = rt;
        assert_int_equal(pthread_create(&th[i], NULL, race, &r[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(th[i], NULL);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(r[i].rc, 0);
        assert_memory_equal(r[i].id, r[0].id, sizeof(r[0].id));
    }
    assert_int_equal(sl_close(rt), 0);
}

static const uint64_t sizes[] = {0,
                                 1,
                                 7,
                                 48,
                                 63,
                                 64,
                                 65,
                                 100,
                                 2047,
                                 2048,
                                 2049,
                                 4095,
                                 4096,
                                 4097,
                                 65535,
                                 65536,
                                 65537,
                                 1u << 20,
                                 (1u << 20) + 1u,
                                 3000000};
#define N_SIZES (sizeof(sizes) / sizeof(sizes[0]))

static void round_trip(struct sl_runtime *rt, uint64_t tag, float score)
{
    uint8_t *in = malloc(3000000), *out = malloc(3000000);
    struct sl_put_opts o = {.size = sizeof(o), .score = score};
    for (size_t i = 0; i < N_SIZES; i++) {
        char name[32];
        uint64_t exists = 77;
        snprintf(name, sizeof(name), "size-%llu", (unsigned long long)sizes[i]);
        fill(in, sizes[i], i + 1u);
        memset(out, 0xee, sizes[i]);
        assert_int_equal(sl_put(rt, tag, name, 0, in, sizes[i], &o), 0);
        assert_int_equal(sl_get(rt, tag, name, 0, out, sizes[i], &exists), 0);
        assert_memory_equal(in, out, sizes[i]);
        assert_true(exists == sizes[i]);
        assert_int_equal(sl_get(rt, tag, name, 1, out, sizes[i], &exists),
                         SL_EPASTEND);
        assert_true(exists == sizes[i]);
    }
    free(in);
    free(out);
}

static void every_size_comes_back_from_every_tier(void **state)
{
    (void)state;
    struct sl_config c = small_config();
    c.ram_bytes = 16 * MIB;
    c.evict_high = 1.0f; /* each stays where it was put */
    c.file_path = "store-test-file";
    c.file_bytes = 32 * MIB;
    struct sl_runtime *rt = open_store(&c);
    struct sl_tier_info info[4];
    assert_int_equal(sl_tiers(rt, info, 4), 3);
    round_trip(rt, tag_of(rt, "fast"), 1.0f);
    round_trip(rt, tag_of(rt, "middle"), 0.8f);
    round_trip(rt, tag_of(rt, "slow"), 0.0f);
    round_trip(rt, tag_of(rt, "auto"), -1.0f);
    sl_tiers(rt, info, 4);
    for (int i = 0; i < 3; i++)
        assert_true(info[i].used > 4 * MIB); /* each tier was really used */
    assert_int_equal(sl_close(rt), 0);
    unlink("store-test-file");
}

static void rewriting_one_blob_uses_bounded_space(void **state)
{
    (void)state;
    struct sl_config c = small_config();
    uint8_t data[4096];
    c.arena_bytes = 4 * MIB;
    c.pinned_bytes = 1 * MIB;
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = tag_of(rt, "t"), bytes = 0, blobs = 0;
    for (uint64_t i = 0; i < STEPS(200000u); i++) {
        memcpy(data, &i, sizeof(i));
        uint64_t n = i % 3u ? 4096u : 100u; /* flips and small ones in turn */
        struct sl_put_opts o = {
            .size = sizeof(o), .flags = SL_F_REPLACE, .score = -1};
        assert_int_equal(sl_put(rt, tag, "b", 0, data, n, &o), 0);
    }
    struct sl_tier_info info;
    assert_int_equal(sl_tiers(rt, &info, 1), 1);
    assert_true(info.used <= 256u * 1024u);
    assert_int_equal(sl_tag_size(rt, tag, &bytes, &blobs), 0);
    assert_true(blobs == 1 && (bytes == 4096u || bytes == 100u));
    assert_int_equal(sl_close(rt), 0);
}

static void full_tier_refuses_and_keeps_what_it_has(void **state)
{
    (void)state;
    struct sl_config c = small_config();
    static uint8_t in[65536], out[65536];
    char name[32];
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = tag_of(rt, "t");
    unsigned n = 0;
    int rc = 0;
    for (; n < 1000 && !rc; n++) {
        snprintf(name, sizeof(name), "b%u", n);
        fill(in, sizeof(in), n);
        rc = sl_put(rt, tag, name, 0, in, sizeof(in), NULL);
    }
    n--; /* the one that was refused */
    assert_int_equal(rc, SL_ENOSPC);
    assert_true(n >= 100 && n <= 128); /* 8 MiB of 64 KiB, less what is ahead */
    assert_int_equal(sl_get(rt, tag, name, 0, out, 1, NULL), SL_ENOENT);
    for (unsigned i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "b%u", i);
        fill(in, sizeof(in), i);
        assert_int_equal(sl_get(rt, tag, name, 0, out, sizeof(out), NULL), 0);
        assert_memory_equal(in, out, sizeof(in));
    }
    /* What is deleted can be used again, by other sizes too. */
    for (unsigned i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "b%u", i);
        assert_int_equal(sl_del(rt, tag, name), 0);
    }
    for (unsigned i = 0; i < n * 10u; i++) {
        snprintf(name, sizeof(name), "s%u", i);
        assert_int_equal(sl_put(rt, tag, name, 0, in, 4096, NULL), 0);
    }
    assert_int_equal(sl_close(rt), 0);
}

static void put_past_the_end_leaves_a_gap_of_zeros(void **state)
{
    (void)state;
    struct sl_config c = small_config();
    static uint8_t out[3000000];
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = tag_of(rt, "t"), size = 0, bytes = 0;
    assert_int_equal(sl_put(rt, tag, "b", 10, "abc", 3, NULL), 0);
    assert_int_equal(sl_put(rt, tag, "b", 2999997, "xyz", 3, NULL), 0);
    assert_int_equal(sl_size(rt, tag, "b", &size), 0);
    assert_true(size == sizeof(out));
    memset(out, 1, sizeof(out));
    assert_int_equal(sl_get(rt, tag, "b", 0, out, sizeof(out), NULL), 0);
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(out[i], 0);
    assert_memory_equal(out + 10, "abc", 3);
    for (size_t i = 13; i < 2999997; i++)
        if (out[i])
            fail_msg("byte %zu of the gap is %u", i, out[i]);
    assert_memory_equal(out + 2999997, "xyz", 3);
    assert_int_equal(sl_tag_size(rt, tag, &bytes, NULL), 0);
    assert_true(bytes == sizeof(out));
    assert_int_equal(sl_close(rt), 0);
}

/* ---- a reader sees one version whole ---- */

struct versions {
    struct sl_runtime *rt;
    uint64_t tag, size;
    int stop; /* atomic */
    int bad;
    uint64_t reads; /* atomic */
};

static void *read_versions(void *arg)
{
    struct versions *v = arg;
    uint8_t *out = malloc(v->size);
    while (!__atomic_load_n(&v->stop, __ATOMIC_ACQUIRE)) {
        int rc = sl_get(v->rt, v->tag, "b", 0, out, v->size, NULL);
        if (rc == SL_EBUSY)
            continue; /* it changed too often: nothing was read */
        for (uint64_t i = 0; !rc && i < v->size; i++)
            if (out[i] != out[0])
                rc = -1;
        if (rc && !v->bad)
            v->bad = rc;
        __atomic_add_fetch(&v->reads, 1, __ATOMIC_RELAXED); /* a count */
    }
    free(out);
    return NULL;
}

static int few_reads(struct versions *v)
{
    return __atomic_load_n(&v[0].reads, __ATOMIC_RELAXED) < 5u ||
           __atomic_load_n(&v[1].reads, __ATOMIC_RELAXED) < 5u;
}

static void whole_versions(uint64_t size, float score)
{
    struct sl_config c = small_config();
    c.arena_bytes = 32 * MIB;
    c.ram_bytes = 32 * MIB;
    struct versions v[2];
    pthread_t th[2];
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = tag_of(rt, "t");
    uint8_t *in = calloc(1, size);
    struct sl_put_opts o = {.size = sizeof(o), .score = score};
    assert_int_equal(sl_put(rt, tag, "b", 0, in, size, &o), 0);
    for (int i = 0; i < 2; i++) {
        v[i] = (struct versions){.rt = rt, .tag = tag, .size = size};
        assert_int_equal(pthread_create(&th[i], NULL, read_versions, &v[i]), 0);
    }
    unsigned rounds = size > 100000 ? 100u : STEPS(3000u);
    /* On until both readers have seen some versions. */
    for (unsigned i = 1; i < rounds || few_reads(v); i++) {
        memset(in, (int)i, size);
        assert_int_equal(sl_put(rt, tag, "b", 0, in, size, &o), 0);
    }
    for (int i = 0; i < 2; i++)
        __atomic_store_n(&v[i].stop, 1, __ATOMIC_RELEASE);
    for (int i = 0; i < 2; i++) {
        pthread_join(th[i], NULL);
        assert_int_equal(v[i].bad, 0);
        assert_true(v[i].reads > 0);
    }
    free(in);
    assert_int_equal(sl_close(rt), 0);
}

static void readers_see_whole_versions(void **state)
{
    (void)state;
    whole_versions(40, 1.0f);
    whole_versions(4096, 1.0f);
    whole_versions(65536, 1.0f);
    whole_versions(3000000, 1.0f);
    whole_versions(4096, 0.0f);
    whole_versions(300000, 0.0f);
}

/* ---- listing ---- */

struct seen {
    uint8_t count[5000];
    uint64_t bytes;
};

static int see(void *user, const char *name, uint32_t len, uint64_t size)
{
    struct seen *s = user;
    char text[16] = {0};
    memcpy(text, name, len < 15 ? len : 15);
    s->count[strtoul(text + 1, NULL, 10) % 5000u]++;
    s->bytes += size;
    return 0;
}

static void listing_gives_each_name_once(void **state)
{
    (void)state;
    struct sl_config c = small_config();
    static struct seen s;
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = tag_of(rt, "t"), bytes = 0, blobs = 0;
    for (int i = 0; i < 5000; i++) {
        char name[16];
        snprintf(name, sizeof(name), "b%d", i);
        assert_int_equal(sl_put(rt, tag, name, 0, name, 5, NULL), 0);
    }
    assert_int_equal(sl_list(rt, tag, see, &s), 0);
    for (int i = 0; i < 5000; i++)
        assert_int_equal(s.count[i], 1);
    assert_true(s.bytes == 25000);
    assert_int_equal(sl_tag_size(rt, tag, &bytes, &blobs), 0);
    assert_true(bytes == 25000 && blobs == 5000);
    assert_int_equal(sl_tag_del(rt, tag), 0);
    assert_int_equal(sl_tag_size(rt, tag, &bytes, &blobs), SL_ENOTAG);
    assert_int_equal(sl_put(rt, tag, "b", 0, "x", 1, NULL), SL_ENOTAG);
    tag = tag_of(rt, "t");
    assert_int_equal(sl_tag_size(rt, tag, &bytes, &blobs), 0);
    assert_true(bytes == 0 && blobs == 0);
    assert_int_equal(sl_close(rt), 0);
}

static int count_name(void *user, const char *name, uint32_t len, uint64_t id)
{
    (void)name;
    (void)len;
    (void)id;
    ++*(int *)user;
    return 0;
}

static void all_tags_are_listed(void **state)
{
    (void)state;
    struct sl_config c = small_config();
    struct sl_runtime *rt = open_store(&c);
    int n = 0;
    for (int i = 0; i < 300; i++) {
        char name[200];
        snprintf(name, sizeof(name), "%0*d", 100 + i % 90, i);
        tag_of(rt, name);
    }
    assert_int_equal(sl_list_tags(rt, count_name, &n), 0);
    assert_int_equal(n, 300);
    assert_int_equal(sl_close(rt), 0);
}

static void failed_large_puts_leave_their_chunks(void **state)
{
    (void)state;
    struct sl_config c = small_config();
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = tag_of(rt, "t");
    uint8_t *in = calloc(4, MIB);
    for (int i = 0; i < 30; i++) /* 5 of them would use up the arena */
        assert_int_equal(sl_put(rt, tag + 256u, "b", 0, in, 4 * MIB, NULL),
                         SL_ENOTAG);
    assert_int_equal(sl_put(rt, tag, "b", 0, in, 4 * MIB, NULL), 0);
    free(in);
    assert_int_equal(sl_close(rt), 0);
}

static void a_blob_made_again_is_a_later_version(void **state)
{
    (void)state;
    struct sl_config c = small_config();
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = tag_of(rt, "t"), last = 0;
    for (int i = 0; i < 5; i++) {
        struct sl_stat s;
        assert_int_equal(sl_put(rt, tag, "b", 0, "x", 1, NULL), 0);
        assert_int_equal(sl_put(rt, tag, "b", 0, "y", 1, NULL), 0);
        assert_int_equal(sl_stat(rt, tag, "b", &s), 0);
        assert_true(s.version > last);
        last = s.version;
        assert_int_equal(sl_del(rt, tag, "b"), 0);
    }
    assert_int_equal(sl_close(rt), 0);
}

static void small_appends_make_few_extents(void **state)
{
    (void)state;
    struct sl_config c = small_config();
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = tag_of(rt, "t");
    struct sl_stat s;
    uint8_t line[48], back[48];
    for (uint64_t i = 0; i < 20000; i++) {
        fill(line, sizeof(line), i);
        assert_int_equal(
            sl_put(rt, tag, "log", 48u * i, line, sizeof(line), NULL), 0);
    }
    assert_int_equal(sl_stat(rt, tag, "log", &s), 0);
    assert_true(s.extents <= 20000u * 48u / 65536u + 2u);
    for (uint64_t i = 0; i < 20000; i += 7) {
        fill(line, sizeof(line), i);
        assert_int_equal(
            sl_get(rt, tag, "log", 48u * i, back, sizeof(back), NULL), 0);
        assert_memory_equal(line, back, sizeof(line));
    }
    assert_int_equal(sl_close(rt), 0);
}

/* Enough for several growths of the index, with deletes in between. */
static void the_index_grows_while_in_use(void **state)
{
    (void)state;
    struct sl_config c = small_config();
    c.workers = 1;
    c.pinned_bytes = 16 * MIB;
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = tag_of(rt, "t"), size = 0, blobs = 0;
    unsigned n = STEPS(120000u), bad = 0;
    char name[16];
    for (unsigned i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "%u", i);
        bad += sl_put(rt, tag, name, 0, name, strlen(name), NULL) != 0;
        if (i % 3u == 2u) {
            snprintf(name, sizeof(name), "%u", i / 2u);
            int rc = sl_del(rt, tag, name);
            bad += rc != 0 && rc != SL_ENOENT;
        }
    }
    assert_int_equal(bad, 0);
    uint64_t there = 0;
    for (unsigned i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "%u", i);
        int rc = sl_size(rt, tag, name, &size);
        there += rc == 0;
        bad += rc == 0 ? size != strlen(name) : rc != SL_ENOENT;
    }
    assert_int_equal(bad, 0);
    assert_int_equal(sl_tag_size(rt, tag, NULL, &blobs), 0);
    assert_true(there == blobs && there > n / 2u && there < n);
    assert_int_equal(sl_close(rt), 0);
}

static void bad_requests_have_their_own_codes(void **state)
{
    (void)state;
    struct sl_config c = small_config();
    struct sl_runtime *rt = open_store(&c);
    uint64_t tag = tag_of(rt, "t"), size;
    char name[300];
    char last[1];
    struct sl_put_opts o = {.size = sizeof(o), .score = -1};
    memset(name, 'n', sizeof(name));
    name[255] = 0;
    assert_int_equal(sl_put(rt, tag, name, 0, "x", 1, NULL), 0);
    name[255] = 'n';
    name[256] = 0;
    assert_int_equal(sl_put(rt, tag, name, 0, "x", 1, NULL), SL_ENAMETOOLONG);
    assert_int_equal(sl_put(rt, tag, "", 0, "x", 1, NULL), SL_ENONAME);
    assert_int_equal(sl_put(rt, tag, "b", ~UINT64_C(0), "x", 1, NULL),
                     SL_EOVERFLOW);
    assert_int_equal(sl_put(rt, tag, "b", SL_BLOB_MAX, "x", 1, NULL),
                     SL_EOVERFLOW);
    assert_int_equal(sl_put(rt, tag, "b", SL_BLOB_MAX - 1u, "x", 1, NULL), 0);
    assert_int_equal(sl_size(rt, tag, "b", &size), 0);
    assert_true(size == SL_BLOB_MAX);
    assert_int_equal(sl_get(rt, tag, "b", SL_BLOB_MAX - 1u, last, 1, NULL), 0);
    assert_int_equal(last[0], 'x');
    assert_int_equal(sl_put(rt, tag, "b", 0, name, SL_IO_MAX + 1u, NULL),
                     SL_EFBIG);
    assert_int_equal(sl_put(rt, tag + 256u, "b", 0, "x", 1, NULL), SL_ENOTAG);
    assert_int_equal(sl_size(rt, tag, "none", &size), SL_ENOENT);
    assert_int_equal(sl_del(rt, tag, "none"), SL_ENOENT);
    o.score = 1.5f;
    assert_int_equal(sl_put(rt, tag, "b", 0, "x", 1, &o), SL_ESCORE);
    o.score = -1;
    o.persist = 1; /* no data directory */
    assert_int_equal(sl_put(rt, tag, "b", 0, "x", 1, &o), SL_ENODATADIR);
    o.persist = 3;
    assert_int_equal(sl_put(rt, tag, "b", 0, "x", 1, &o), SL_EPERSIST);
    o.persist = 0;
    o.codec = 255;
    assert_int_equal(sl_put(rt, tag, "b", 0, "x", 1, &o), SL_ECODEC);
    assert_int_equal(sl_close(rt), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_name_gives_same_tag),
        cmocka_unit_test(tags_made_in_a_race_are_one),
        cmocka_unit_test(every_size_comes_back_from_every_tier),
        cmocka_unit_test(rewriting_one_blob_uses_bounded_space),
        cmocka_unit_test(full_tier_refuses_and_keeps_what_it_has),
        cmocka_unit_test(put_past_the_end_leaves_a_gap_of_zeros),
        cmocka_unit_test(readers_see_whole_versions),
        cmocka_unit_test(listing_gives_each_name_once),
        cmocka_unit_test(all_tags_are_listed),
        cmocka_unit_test(failed_large_puts_leave_their_chunks),
        cmocka_unit_test(a_blob_made_again_is_a_later_version),
        cmocka_unit_test(small_appends_make_few_extents),
        cmocka_unit_test(the_index_grows_while_in_use),
        cmocka_unit_test(bad_requests_have_their_own_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
