/* SPDX-License-Identifier: Apache-2.0 */
/* Which units of a blob a get decodes, and what happens when the codec of some
 * is not in this build. The program is linked with --wrap=codec_check and
 * --wrap=codec_decode. */
#include "store_help.h"

#include "codec/codec.h"
#include "codec/speed.h"

#define BYTES (400u * 1024u)
#define UNIT 65536u

static uint8_t text[BYTES], got[BYTES];
static uint64_t n_decoded; /* plain bytes; atomic */
static unsigned absent_id; /* 0: none; atomic */

int __real_codec_check(uint8_t codec);
int __wrap_codec_check(uint8_t codec);
int __real_codec_decode(unsigned id, const void *src, size_t n, void *dst,
                        size_t size);
int __wrap_codec_decode(unsigned id, const void *src, size_t n, void *dst,
                        size_t size);

static int is_absent(unsigned id)
{
    unsigned other = __atomic_load_n(&absent_id, __ATOMIC_RELAXED);
    return id && id == other;
}

int __wrap_codec_check(uint8_t codec)
{
    return is_absent(codec & SL_CODEC_ID_MASK) ? SL_ENOCODEC
                                               : __real_codec_check(codec);
}

int __wrap_codec_decode(unsigned id, const void *src, size_t n, void *dst,
                        size_t size)
{
    if (is_absent(id))
        return SL_ENOCODEC;
    __atomic_fetch_add(&n_decoded, size, __ATOMIC_RELAXED);
    return __real_codec_decode(id, src, n, dst, size);
}

static struct sl_runtime *open_on(int tier, const char *dir)
{
    struct sl_config c = small_config();
    c.pinned_bytes = tier == 0 ? 8 * MIB : SL_NONE;
    c.ram_bytes = tier == 1 ? 16 * MIB : 0;
    c.data_dir = tier == 2 ? dir : NULL;
    return open_store(&c);
}

static int put(struct sl_runtime *rt, uint64_t tag, const char *name,
               uint8_t codec)
{
    struct sl_put_opts o = {.size = sizeof(o), .score = -1.0f, .codec = codec};
    return sl_put(rt, tag, name, 0, text, BYTES, &o);
}

static int get(struct sl_runtime *rt, uint64_t tag, const char *name,
               uint64_t at, uint64_t n)
{
    memset(got, 0xcc, n);
    int rc = sl_get(rt, tag, name, at, got, n, NULL);
    if (!rc)
        assert_memory_equal(got, text + at, n);
    return rc;
}

static void a_range_decodes_its_own_units(void **state)
{
    static const struct {
        uint64_t at, n, units;
    } ranges[] = {{130000, 100, 1},      {0, 1, 1},       {BYTES - 1u, 1, 1},
                  {2 * UNIT - 1u, 2, 2}, {UNIT, UNIT, 1}, {5000, 3 * UNIT, 4}};
    char dir[64];
    (void)state;
    for (int tier = 0; tier < 3; tier++) {
        make_dir(dir, sizeof(dir));
        struct sl_runtime *rt = open_on(tier, dir);
        uint64_t tag = 0;
        assert_int_equal(sl_tag(rt, "t", &tag), 0);
        assert_int_equal(put(rt, tag, "blob", SL_CODEC_LZ4), 0);
        for (unsigned i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
            n_decoded = 0;
            assert_int_equal(get(rt, tag, "blob", ranges[i].at, ranges[i].n),
                             0);
            assert_in_range(n_decoded, ranges[i].n, ranges[i].units * UNIT);
        }
        assert_int_equal(sl_close(rt), 0);
        remove_dir(dir);
    }
}

/* Nothing is lost by it: another build reads the blob. */
static void codec_that_is_not_here_has_its_own_code(void **state)
{
    char dir[64];
    (void)state;
    for (int tier = 0; tier < 3; tier++) {
        make_dir(dir, sizeof(dir));
        struct sl_runtime *rt = open_on(tier, dir);
        uint64_t tag = 0;
        assert_int_equal(sl_tag(rt, "t", &tag), 0);
        if (put(rt, tag, "zlib", SL_CODEC_ZLIB) == SL_ENOCODEC)
            skip();
        assert_int_equal(put(rt, tag, "plain", 0), 0);
        __atomic_store_n(&absent_id, SL_CODEC_ZLIB, __ATOMIC_RELAXED);
        assert_int_equal(put(rt, tag, "new", SL_CODEC_ZLIB), SL_ENOCODEC);
        assert_int_equal(get(rt, tag, "new", 0, 1), SL_ENOENT);
        assert_int_equal(get(rt, tag, "zlib", 0, BYTES), SL_ENOCODEC);
        assert_int_equal(get(rt, tag, "zlib", 70000, 10), SL_ENOCODEC);
        assert_int_equal(get(rt, tag, "plain", 0, BYTES), 0);
        __atomic_store_n(&absent_id, 0u, __ATOMIC_RELAXED);
        assert_int_equal(get(rt, tag, "zlib", 0, BYTES), 0);
        assert_int_equal(sl_close(rt), 0);
        remove_dir(dir);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_range_decodes_its_own_units),
        cmocka_unit_test(codec_that_is_not_here_has_its_own_code),
    };
    codec_speeds_fill(SPEED_TEXT, text, BYTES);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
