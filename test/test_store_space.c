/* SPDX-License-Identifier: Apache-2.0 */
/* Rewriting for ever takes no more space than the blobs do, in each tier and at
 * each level of persistence: no put fails, and at the end all is free. */
#include "space_check.h"
#include "store_help.h"

#define BLOBS 3u
#define BYTES 120000u /* at most, of a blob */
/* Of the tier. A blob takes up to twice its bytes, as chunks are powers of two,
 * and the old ones are there until the new ones are published. */
#define ROOM (2u * MIB)

struct place {
    const char *name;
    int pinned, ram, file, directory;
    uint8_t level;
    uint64_t puts;
};

static const struct place places[] = {
    {"pinned", 1, 0, 0, 0, 0, 200000}, {"ram", 0, 1, 0, 0, 0, 30000},
    {"file", 0, 0, 1, 0, 0, 3000},     {"directory", 0, 0, 0, 1, 0, 2000},
    {"level 1", 0, 0, 0, 1, 1, 500},   {"level 2", 0, 0, 0, 1, 2, 500},
};

static struct sl_config config_of(const struct place *p, const char *dir,
                                  const char *file)
{
    struct sl_config c = small_config();
    c.pinned_bytes = p->pinned ? ROOM : SL_NONE;
    c.ram_bytes = p->ram ? ROOM : 0;
    c.file_bytes = p->file || p->directory ? ROOM : 0;
    c.file_path = p->file ? file : NULL;
    c.data_dir = p->directory ? dir : NULL;
    return c;
}

/* Whole, shorter, longer, inside, and behind a gap. */
static int rewrite(struct sl_runtime *rt, uint64_t tag, uint8_t level,
                   uint64_t *random)
{
    static uint8_t data[BYTES];
    struct sl_put_opts o = {.size = sizeof(o), .score = -1, .persist = level};
    uint64_t x = test_random(random), offset = 0;
    uint64_t size = test_random(random) % BYTES;
    char name[8];
    snprintf(name, sizeof(name), "b%u", (unsigned)(x % BLOBS));
    if (x % 5u == 0)
        size %= 100u;
    if (x % 7u == 0)
        o.flags = SL_F_REPLACE;
    else
        offset = test_random(random) % (BYTES - size);
    memcpy(data, &x, sizeof(x));
    return sl_put(rt, tag, name, offset, data, size, &o);
}

static void rewrite_often(const struct place *p)
{
    char dir[64], file[80];
    uint64_t tag, seed = test_seed(p->name);
    uint64_t puts = STEPS(p->puts) /
                    (SLOW_THREADS && p->puts > 500u ? 2u : 1u) *
                    (test_is_long() ? 10u : 1u);
    make_dir(dir, sizeof(dir));
    snprintf(file, sizeof(file), "%s/file", dir);
    struct sl_config c = config_of(p, dir, file);
    struct sl_runtime *rt = open_store(&c);
    struct space before = space_of(rt);
    assert_int_equal(sl_tag(rt, "t", &tag), 0);
    for (uint64_t i = 0; i < puts; i++) {
        int rc = rewrite(rt, tag, p->level, &seed);
        if (rc)
            print_error("put %llu: %d\n", (unsigned long long)i, rc);
        assert_int_equal(rc, 0);
    }
    assert_int_equal(sl_tag_del(rt, tag), 0);
    assert_int_equal(sl_flush(rt), 0);
    struct space after = space_of(rt);
    space_same(&before, &after);
    space_arena_is_free(rt, NULL);
    assert_int_equal(sl_close(rt), 0);
    if (p->directory)
        space_records_are(dir, 0, 0);
    remove_dir(dir);
}

static void rewriting_for_ever_fills_no_tier(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        rewrite_often(&places[i]);
}

/* Puts that fill the gaps between blobs' extents and lie over both of them: a
 * little of each is new. */
static void small_remainders_take_small_chunks(void **state)
{
    static uint8_t data[40000];
    struct sl_config c = small_config();
    struct sl_tier_info info;
    uint64_t tag, step = sizeof(data) + 1000u, n = 20;
    (void)state;
    struct sl_runtime *rt = open_store(&c);
    assert_int_equal(sl_tag(rt, "t", &tag), 0);
    for (uint64_t i = 0; i <= n; i++)
        assert_int_equal(
            sl_put(rt, tag, "b", i * step, data, sizeof(data), NULL), 0);
    for (uint64_t i = 0; i < n; i++)
        assert_int_equal(sl_put(rt, tag, "b", i * step + step / 2u, data,
                                sizeof(data), NULL),
                         0);
    assert_int_equal(sl_tiers(rt, &info, 1), 1);
    assert_string_equal(info.kind, "pinned");
    /* Of 64 KiB for 40,000 bytes, and 1 KiB; up to 512 KiB are a shard's. */
    assert_true(info.used <= (n + 1u) * (65536u + 1024u) + 2u * 524288u);
    assert_int_equal(sl_close(rt), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_remainders_take_small_chunks),
        cmocka_unit_test(rewriting_for_ever_fills_no_tier),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
