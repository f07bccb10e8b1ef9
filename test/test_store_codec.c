/* SPDX-License-Identifier: Apache-2.0 */
/* Coded blobs: every codec on every tier, through the public calls. */
#include "store_help.h"

#include "codec/codec.h"
#include "codec/speed.h"

#include <fcntl.h>
#include <pthread.h>

#define MOST (400u * 1024u)

static uint8_t text[MOST], noise[MOST];
static uint8_t want[2 * MOST], got[2 * MOST];
static uint64_t state;

/* ---- tiers, one at a time ---- */

struct tier_case {
    const char *kind;
    int is_file;
    uint64_t pinned, ram;
};
static const struct tier_case tiers[] = {{"pinned", 0, 8 * MIB, 0},
                                         {"ram", 0, SL_NONE, 16 * MIB},
                                         {"file", 1, SL_NONE, 0}};
#define TIERS (sizeof(tiers) / sizeof(tiers[0]))

struct rig {
    struct sl_config config;
    struct sl_runtime *rt;
    uint64_t tag;
    char dir[64];
};

static void rig_open(struct rig *r, const struct tier_case *t)
{
    memset(r, 0, sizeof(*r));
    r->config = small_config();
    r->config.pinned_bytes = t->pinned;
    r->config.ram_bytes = t->ram;
    if (t->is_file) {
        make_dir(r->dir, sizeof(r->dir));
        r->config.data_dir = r->dir;
    }
    r->rt = open_store(&r->config);
    assert_int_equal(sl_tag(r->rt, "t", &r->tag), 0);
}

static void rig_restart(struct rig *r)
{
    assert_int_equal(sl_close(r->rt), 0);
    r->rt = open_store(&r->config);
    assert_int_equal(sl_tag_find(r->rt, "t", &r->tag), 0);
}

static void rig_close(struct rig *r)
{
    assert_int_equal(sl_close(r->rt), 0);
    if (r->dir[0])
        remove_dir(r->dir);
}

static uint64_t bytes_used(struct rig *r)
{
    struct sl_tier_info info[8];
    uint64_t used = 0;
    int n = sl_tiers(r->rt, info, 8);
    assert_in_range(n, 1, 8);
    for (int i = 0; i < n; i++)
        used += info[i].used;
    return used;
}

static int put(struct rig *r, const char *name, uint64_t at, const void *data,
               uint64_t n, uint8_t codec, struct sl_result *result)
{
    struct sl_put_opts o = {.size = sizeof(o),
                            .score = -1.0f,
                            .persist = r->config.data_dir ? 1 : 0,
                            .codec = codec,
                            .result = result};
    return sl_put(r->rt, r->tag, name, at, data, n, &o);
}

static void expect(struct rig *r, const char *name, uint64_t n)
{
    uint64_t size = 0;
    assert_int_equal(sl_size(r->rt, r->tag, name, &size), 0);
    assert_int_equal(size, n);
    memset(got, 0xcc, n);
    assert_int_equal(sl_get(r->rt, r->tag, name, 0, got, n, NULL), 0);
    if (memcmp(got, want, n) != 0)
        fail_msg("%s: some of %llu bytes differ", name, (unsigned long long)n);
}

static void expect_ranges(struct rig *r, const char *name, uint64_t n)
{
    for (int i = 0; i < (SLOW_THREADS ? 6 : 20); i++) {
        uint64_t at = test_random(&state) % n;
        uint64_t len = 1u + test_random(&state) % (n - at);
        if (i % 2)
            len = len > 5000 ? 5000 : len;
        assert_int_equal(sl_get(r->rt, r->tag, name, at, got, len, NULL), 0);
        assert_memory_equal(got, want + at, len);
    }
}

/* ---- every codec ---- */

/* Overwrites inside, over the end, behind a gap; with and without a codec. */
static uint64_t change(struct rig *r, const char *name, uint64_t n,
                       uint8_t codec)
{
    static const struct {
        uint64_t at, len;
        int coded;
    } steps[] = {{70000, 100, 1},     {65000, 2000, 0},
                 {0, 1, 1},           {1000, 140000, 1},
                 {MOST - 10, 900, 1}, {MOST + 90000, 70000, 1},
                 {150001, 3, 0}};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        uint64_t at = steps[i].at, end = at + steps[i].len;
        const uint8_t *from = i % 2 ? noise + i : text + 777u * i;
        memcpy(want + at, from, steps[i].len);
        assert_int_equal(put(r, name, at, from, steps[i].len,
                             steps[i].coded ? codec : 0, NULL),
                         0);
        if (end > n)
            n = end;
        expect(r, name, n);
    }
    return n;
}

static void one_codec(struct rig *r, unsigned id)
{
    struct sl_result res;
    struct sl_stat st;
    uint64_t n = MOST;
    uint8_t codec = SL_CODEC(id, SL_CODEC_FAST);
    memset(want, 0, sizeof(want));
    memcpy(want, text, MOST);
    assert_int_equal(put(r, codec_name(id), 0, text, MOST, codec, &res), 0);
    assert_int_equal(res.v[0], MOST);
    assert_int_equal(sl_stat(r->rt, r->tag, codec_name(id), &st), 0);
    /* zfp and blosc's fast one are for numbers. */
    if (id != SL_CODEC_ZFP && id != SL_CODEC_BLOSC && id) {
        assert_int_equal(st.codec, id);
        assert_true(res.v[2] < MOST * 7 / 10);
        assert_int_equal(res.v[2], st.stored);
        assert_true(res.v[3] > 0);
    }
    expect(r, codec_name(id), n);
    expect_ranges(r, codec_name(id), n);
    n = change(r, codec_name(id), n, codec);
    expect_ranges(r, codec_name(id), n);
}

static void every_codec_on_every_tier(void **unused)
{
    (void)unused;
    for (size_t t = 0; t < TIERS; t++) {
        struct rig r;
        rig_open(&r, &tiers[t]);
        for (unsigned id = 0; id < SL_CODECS; id++) {
            if (!codec_find(id) || (SLOW_THREADS && t && id % TIERS != t))
                continue;
            one_codec(&r, id);
            assert_int_equal(sl_del(r.rt, r.tag, codec_name(id)), 0);
        }
        rig_close(&r);
    }
}

static void numbers_become_smaller(void **unused)
{
    static const uint8_t ids[] = {SL_CODEC_ZFP, SL_CODEC_BLOSC};
    (void)unused;
    for (size_t i = 0; i < 2; i++) {
        struct rig r;
        struct sl_result res;
        if (!codec_find(ids[i]))
            continue;
        rig_open(&r, &tiers[1]);
        codec_speeds_fill(SPEED_NUMERIC, want, MOST);
        assert_int_equal(put(&r, "n", 0, want, MOST, ids[i], &res), 0);
        assert_true(res.v[2] < MOST * 6 / 10);
        expect(&r, "n", MOST);
        rig_close(&r);
    }
}

/* ---- space ---- */

static void space_comes_back(void **unused)
{
    (void)unused;
    for (size_t t = 0; t < TIERS; t++) {
        struct rig r;
        rig_open(&r, &tiers[t]);
        assert_int_equal(put(&r, "x", 0, text, 100, 0, NULL), 0);
        assert_int_equal(sl_del(r.rt, r.tag, "x"), 0);
        assert_int_equal(sl_flush(r.rt), 0);
        uint64_t before = bytes_used(&r);
        for (unsigned i = 0; i < (SLOW_THREADS ? 60u : 200u); i++) {
            uint8_t codec = i % 3 ? SL_CODEC_LZ4 : SL_CODEC_ZSTD;
            assert_int_equal(
                put(&r, "x", i % 5 * 30000u, text, MOST / 2, codec, NULL), 0);
        }
        assert_int_equal(sl_del(r.rt, r.tag, "x"), 0);
        assert_int_equal(sl_flush(r.rt), 0);
        uint64_t after = bytes_used(&r);
        /* A shard keeps up to 512 KiB of the pinned tier charged ahead. */
        if (t == 0)
            assert_true(after <= before + MIB);
        else
            assert_int_equal(after, before);
        rig_close(&r);
    }
}

static void coded_bytes_take_less_of_a_tier(void **unused)
{
    (void)unused;
    for (size_t t = 0; t < TIERS; t++) {
        struct rig r;
        rig_open(&r, &tiers[t]);
        uint64_t empty = bytes_used(&r);
        assert_int_equal(put(&r, "raw", 0, text, MOST, 0, NULL), 0);
        uint64_t raw = bytes_used(&r) - empty;
        assert_int_equal(put(&r, "coded", 0, text, MOST, SL_CODEC_ZSTD, NULL),
                         0);
        uint64_t coded = bytes_used(&r) - empty - raw;
        /* A shard of the pinned tier is charged up to 256 KiB ahead. */
        if (t == 0)
            assert_true(coded < raw);
        else
            assert_true(coded < raw / 2);
        rig_close(&r);
    }
}

static void incompressible_bytes_stay_as_they_are(void **unused)
{
    (void)unused;
    for (size_t t = 0; t < TIERS; t++) {
        struct rig r;
        struct sl_result res;
        struct sl_stat st;
        rig_open(&r, &tiers[t]);
        memcpy(want, noise, MOST);
        assert_int_equal(put(&r, "n", 0, noise, MOST, SL_CODEC_ZSTD, &res), 0);
        assert_int_equal(res.v[2], MOST);
        assert_int_equal(sl_stat(r.rt, r.tag, "n", &st), 0);
        assert_int_equal(st.codec, 0);
        expect(&r, "n", MOST);
        rig_close(&r);
    }
}

static void small_blobs_may_be_coded(void **unused)
{
    (void)unused;
    for (size_t t = 0; t < TIERS; t++) {
        struct rig r;
        rig_open(&r, &tiers[t]);
        memcpy(want, text, MOST);
        for (uint64_t n = 1; n < 20000; n = n * 2 + 1) {
            assert_int_equal(put(&r, "s", 0, want, n, SL_CODEC_ZLIB, NULL), 0);
            expect(&r, "s", n);
            assert_int_equal(sl_del(r.rt, r.tag, "s"), 0);
        }
        rig_close(&r);
    }
}

/* A coded chunk that would take no less of the other tier is plain there. */
static void small_coded_blobs_move(void **unused)
{
    static const struct tier_case two = {"two", 0, 8 * MIB, 16 * MIB};
    struct rig r;
    struct sl_stat st;
    unsigned coded = 0;
    (void)unused;
    rig_open(&r, &two);
    memset(want, 'a', MOST);
    for (uint64_t n = 200; n < 20000; n = n * 3 / 2) {
        assert_int_equal(put(&r, "s", 0, want, n, SL_CODEC_ZLIB, NULL), 0);
        assert_int_equal(sl_stat(r.rt, r.tag, "s", &st), 0);
        assert_string_equal(st.tier[0].kind, "pinned");
        coded += st.codec == SL_CODEC_ZLIB;
        for (int i = 0; i < 2; i++) {
            const char *kind = i ? "pinned" : "ram";
            assert_int_equal(sl_score(r.rt, r.tag, "s", i ? 1.0f : 0.8f), 0);
            assert_int_equal(sl_stat(r.rt, r.tag, "s", &st), 0);
            assert_string_equal(st.tier[0].kind, kind);
            expect(&r, "s", n);
        }
        assert_int_equal(sl_del(r.rt, r.tag, "s"), 0);
    }
    assert_true(coded > 5);
    rig_close(&r);
}

/* A put of several chunks, each of many units. */
static void a_large_put_is_coded_whole(void **unused)
{
    static uint8_t in[5 * MIB + 321], out[sizeof(in)];
    (void)unused;
    for (size_t at = 0; at < sizeof(in); at += 100000)
        memcpy(in + at, text + at / 1000,
               sizeof(in) - at < 100000 ? sizeof(in) - at : 100000);
    for (size_t t = 1; t < TIERS; t++) {
        struct rig r;
        struct sl_result res;
        rig_open(&r, &tiers[t]);
        assert_int_equal(put(&r, "l", 17, in, sizeof(in), SL_CODEC_LZ4, &res),
                         0);
        assert_true(res.v[2] < sizeof(in) * 3 / 4);
        assert_int_equal(sl_get(r.rt, r.tag, "l", 17, out, sizeof(out), NULL),
                         0);
        assert_memory_equal(in, out, sizeof(in));
        rig_close(&r);
    }
}

/* ---- moves ---- */

static void a_flush_keeps_the_coded_bytes(void **unused)
{
    struct rig r = {.config = small_config()};
    struct sl_stat before, after;
    (void)unused;
    make_dir(r.dir, sizeof(r.dir));
    r.config.data_dir = r.dir;
    r.rt = open_store(&r.config);
    assert_int_equal(sl_tag(r.rt, "t", &r.tag), 0);
    memcpy(want, text, MOST);
    struct sl_put_opts o = {
        .size = sizeof(o), .score = 1.0f, .codec = SL_CODEC_ZSTD};
    assert_int_equal(sl_put(r.rt, r.tag, "m", 0, text, MOST, &o), 0);
    assert_int_equal(sl_stat(r.rt, r.tag, "m", &before), 0);
    assert_string_equal(before.tier[0].kind, "pinned");
    assert_int_equal(sl_flush(r.rt), 0);
    assert_int_equal(sl_stat(r.rt, r.tag, "m", &after), 0);
    assert_string_equal(after.tier[0].kind, "file");
    assert_int_equal(after.n_tiers, 1);
    assert_int_equal(after.codec, SL_CODEC_ZSTD);
    assert_int_equal(after.stored, before.stored);
    expect(&r, "m", MOST);
    rig_restart(&r);
    expect(&r, "m", MOST);
    rig_close(&r);
}

/* Coded chunks of the pinned tier may be so small that a block of the file has
 * the plain bytes, too. */
static void small_coded_chunks_move(void **unused)
{
    static const uint64_t sizes[] = {200, 3000, 4096, 65536 + 3000, MOST};
    (void)unused;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct rig r = {.config = small_config()};
        struct sl_put_opts o = {
            .size = sizeof(o), .score = 1.0f, .codec = SL_CODEC_ZSTD};
        struct sl_stat st;
        make_dir(r.dir, sizeof(r.dir));
        r.config.data_dir = r.dir;
        r.rt = open_store(&r.config);
        assert_int_equal(sl_tag(r.rt, "t", &r.tag), 0);
        memset(want, 'x', sizes[i]);
        assert_int_equal(sl_put(r.rt, r.tag, "s", 0, want, sizes[i], &o), 0);
        assert_int_equal(sl_stat(r.rt, r.tag, "s", &st), 0);
        assert_int_equal(st.codec, SL_CODEC_ZSTD);
        assert_int_equal(sl_flush(r.rt), 0);
        expect(&r, "s", sizes[i]);
        rig_restart(&r);
        expect(&r, "s", sizes[i]);
        rig_close(&r);
    }
}

/* ---- restart, damage ---- */

static void every_codec_survives_a_restart(void **unused)
{
    struct rig r;
    uint64_t n[SL_CODECS];
    static uint8_t keep[SL_CODECS][2 * MOST];
    (void)unused;
    rig_open(&r, &tiers[2]);
    for (unsigned id = 0; id < SL_CODECS; id++) {
        if (!codec_find(id))
            continue;
        memset(want, 0, sizeof(want));
        memcpy(want, text, MOST);
        assert_int_equal(put(&r, codec_name(id), 0, text, MOST,
                             SL_CODEC(id, SL_CODEC_FAST), NULL),
                         0);
        n[id] = change(&r, codec_name(id), MOST, (uint8_t)id);
        memcpy(keep[id], want, sizeof(want));
    }
    assert_int_equal(sl_flush(r.rt), 0); /* replaced units become free */
    uint64_t used = bytes_used(&r);
    rig_restart(&r);
    assert_int_equal(bytes_used(&r), used);
    for (unsigned id = 0; id < SL_CODECS; id++) {
        if (!codec_find(id))
            continue;
        memcpy(want, keep[id], sizeof(want));
        expect(&r, codec_name(id), n[id]);
    }
    rig_close(&r);
}

/* One bit of each block of the file. */
static void damage(const char *dir)
{
    char path[128];
    uint8_t byte;
    snprintf(path, sizeof(path), "%s/data", dir);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    for (off_t at = 50; pread(fd, &byte, 1, at) == 1; at += 4096) {
        byte ^= 16;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    }
    close(fd);
}

static void damaged_coded_bytes_are_told(void **unused)
{
    (void)unused;
    for (unsigned id = 1; id < SL_CODECS; id++) {
        struct rig r;
        if (!codec_find(id))
            continue;
        rig_open(&r, &tiers[2]);
        codec_speeds_fill(SPEED_NUMERIC, want, MOST);
        assert_int_equal(put(&r, "d", 0, want, MOST, (uint8_t)id, NULL), 0);
        assert_int_equal(sl_close(r.rt), 0);
        damage(r.dir);
        r.rt = open_store(&r.config);
        assert_int_equal(sl_get(r.rt, r.tag, "d", 0, got, 5000, NULL),
                         SL_ECHECKSUM);
        /* Rewriting a part needs the rest. */
        assert_int_equal(put(&r, "d", 10, want, 100, (uint8_t)id, NULL),
                         SL_ECHECKSUM);
        /* The whole needs nothing. */
        assert_int_equal(put(&r, "d", 0, want, MOST, (uint8_t)id, NULL), 0);
        expect(&r, "d", MOST);
        rig_close(&r);
    }
}

/* ---- what is asked for ---- */

static void unknown_codecs_are_refused(void **unused)
{
    struct rig r;
    uint64_t size;
    (void)unused;
    rig_open(&r, &tiers[1]);
    for (unsigned byte = 1; byte < 256; byte++) {
        int code = codec_check((uint8_t)byte);
        if (!code)
            continue;
        assert_int_equal(put(&r, "u", 0, text, 5000, (uint8_t)byte, NULL),
                         code);
        assert_int_equal(sl_size(r.rt, r.tag, "u", &size), SL_ENOENT);
    }
    rig_close(&r);
}

static void dynamic_chooses_by_the_bytes(void **unused)
{
    (void)unused;
    for (size_t t = 0; t < TIERS; t++) {
        struct rig r;
        struct sl_stat st;
        rig_open(&r, &tiers[t]);
        memcpy(want, noise, MOST);
        assert_int_equal(put(&r, "n", 0, noise, MOST, SL_CODEC_DYNAMIC, NULL),
                         0);
        assert_int_equal(sl_stat(r.rt, r.tag, "n", &st), 0);
        assert_int_equal(st.codec, 0);
        expect(&r, "n", MOST);
        memcpy(want, text, MOST);
        assert_int_equal(put(&r, "t", 0, text, MOST, SL_CODEC_DYNAMIC, NULL),
                         0);
        expect(&r, "t", MOST);
        rig_close(&r);
    }
}

/* Readers and a writer at once; each get is one of the versions. */
#define ROUNDS STEPS(60)

static void *rewrite(void *arg)
{
    struct rig *r = arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint8_t codec = i % 2 ? SL_CODEC_LZ4 : SL_CODEC_ZSTD;
        const uint8_t *from = i % 2 ? text : text + 1;
        if (put(r, "c", 0, from, 200000, codec, NULL))
            return arg;
    }
    return NULL;
}

static void readers_see_whole_versions(void **unused)
{
    (void)unused;
    for (size_t t = 0; t < TIERS; t++) {
        struct rig r;
        pthread_t thread;
        void *failed;
        rig_open(&r, &tiers[t]);
        assert_int_equal(put(&r, "c", 0, text, 200000, SL_CODEC_ZSTD, NULL), 0);
        assert_int_equal(pthread_create(&thread, NULL, rewrite, &r), 0);
        for (unsigned i = 0; i < ROUNDS; i++) {
            assert_int_equal(sl_get(r.rt, r.tag, "c", 0, got, 200000, NULL), 0);
            if (memcmp(got, text, 200000) != 0)
                assert_memory_equal(got, text + 1, 200000);
        }
        pthread_join(thread, &failed);
        assert_null(failed);
        rig_close(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_codec_on_every_tier),
        cmocka_unit_test(numbers_become_smaller),
        cmocka_unit_test(space_comes_back),
        cmocka_unit_test(coded_bytes_take_less_of_a_tier),
        cmocka_unit_test(incompressible_bytes_stay_as_they_are),
        cmocka_unit_test(small_blobs_may_be_coded),
        cmocka_unit_test(small_coded_blobs_move),
        cmocka_unit_test(a_large_put_is_coded_whole),
        cmocka_unit_test(a_flush_keeps_the_coded_bytes),
        cmocka_unit_test(small_coded_chunks_move),
        cmocka_unit_test(every_codec_survives_a_restart),
        cmocka_unit_test(damaged_coded_bytes_are_told),
        cmocka_unit_test(unknown_codecs_are_refused),
        cmocka_unit_test(dynamic_chooses_by_the_bytes),
        cmocka_unit_test(readers_see_whole_versions),
    };
    state = test_seed("test_store_codec");
    codec_speeds_fill(SPEED_TEXT, text, MOST);
    codec_speeds_fill(SPEED_RANDOM, noise, MOST);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
