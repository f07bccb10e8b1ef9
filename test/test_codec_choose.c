/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/choose.h"
#include "codec/speed.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define BYTES (1u << 20)

/* A moment in which the machine stands still makes a codec look slow. So what has
 * to be chosen must be so in one of these. */
#define TRIES 20

static uint8_t *data;

static struct codec_goal goal_of(double bps)
{
    return (struct codec_goal){.write_bps = bps,
                               .read_bps = bps,
                               .reads = 1,
                               .unit = 65536,
                               .granule = 4096};
}

static uint8_t choose(enum speed_class kind, size_t n, double bps)
{
    struct codec_goal goal = goal_of(bps);
    codec_speeds_fill(kind, data, n);
    return codec_choose(data, n, &goal);
}

static void incompressible_bytes_are_left(void **state)
{
    (void)state;
    assert_int_equal(choose(SPEED_RANDOM, BYTES, 1e6), SL_CODEC_NONE);
    assert_int_equal(choose(SPEED_RANDOM, BYTES, 2e8), SL_CODEC_NONE);
    assert_int_equal(choose(SPEED_RANDOM, BYTES, 2e10), SL_CODEC_NONE);
}

static void a_fast_target_takes_text_raw(void **state)
{
    (void)state;
    assert_int_equal(choose(SPEED_TEXT, BYTES, 1e12), SL_CODEC_NONE);
    assert_int_equal(choose(SPEED_ZEROS, BYTES, 1e14), SL_CODEC_NONE);
}

static int coding_pays(enum speed_class kind, double bps)
{
    for (int i = 0; i < TRIES; i++)
        if (choose(kind, BYTES, bps) != SL_CODEC_NONE)
            return 1;
    return 0;
}

static void a_slow_target_makes_coding_pay(void **state)
{
    (void)state;
    assert_true(coding_pays(SPEED_TEXT, 2e7));
    assert_true(coding_pays(SPEED_ZEROS, 2e8));
    assert_true(coding_pays(SPEED_NUMERIC, 1e7));
}

/* Bytes of 64 KiB of text with what is chosen. */
static int made_at(double bps)
{
    static uint8_t coded[1 << 17];
    uint8_t c = choose(SPEED_TEXT, BYTES, bps);
    assert_int_equal(codec_check(c), 0);
    int made = codec_encode(c & SL_CODEC_ID_MASK, codec_preset(c), data, 65536,
                            coded, sizeof(coded));
    assert_true(made > 0);
    return made;
}

/* The slower the target, the more a small result is worth. */
static void slower_targets_get_smaller_results(void **state)
{
    static const double speeds[] = {2e9, 2e8, 2e7, 2e6, 2e5};
    int last = 1 << 17;
    (void)state;
    for (size_t i = 0; i < sizeof(speeds) / sizeof(speeds[0]); i++) {
        int made = made_at(speeds[i]);
        for (int k = 1; k < TRIES && made > last + last / 20; k++)
            made = made_at(speeds[i]);
        assert_true(made <= last + last / 20);
        last = made;
    }
    assert_true(last < 65536 / 2);
}

/* Text, with zeros in the middle of each half and quarter, where samples are
 * taken. */
static void a_sample_that_fell_on_zeros_is_doubted(void **state)
{
    struct codec_goal goal = goal_of(2e9);
    (void)state;
    codec_speeds_fill(SPEED_TEXT, data, BYTES);
    for (size_t parts = 2; parts <= 4; parts *= 2)
        for (size_t i = 0; i < parts; i++)
            memset(data + BYTES / parts * i + BYTES / parts / 2 - 16384, 0,
                   32768);
    assert_int_equal(codec_choose(data, BYTES, &goal), SL_CODEC_NONE);
}

/* Short repetitions of numbers take lz4 long, though it is fast on numbers that
 * do not repeat. */
static void repeated_numbers_are_not_priced_as_noise(void **state)
{
    struct codec_goal goal = goal_of(5e9);
    uint8_t pool[4096];
    uint32_t seed = 1;
    (void)state;
    codec_speeds_fill(SPEED_NUMERIC, pool, sizeof(pool));
    for (size_t at = 0; at < BYTES; at += 16) {
        seed = seed * 1664525u + 1013904223u;
        memcpy(data + at, pool + (seed >> 24) * 16u, 16);
    }
    assert_int_equal(codec_choose(data, BYTES, &goal), SL_CODEC_NONE);
}

static void any_bytes_of_any_size_get_an_answer(void **state)
{
    (void)state;
    for (size_t n = 0; n < 70000; n = n * 5 / 4 + 1)
        for (enum speed_class k = SPEED_ZEROS; k < SPEED_CLASSES; k++) {
            struct codec_goal goal = goal_of(1e6);
            codec_speeds_fill(k, data, BYTES);
            uint8_t *exact = malloc(n ? n : 1);
            assert_non_null(exact);
            memcpy(exact, data + 3, n);
            assert_int_equal(codec_check(codec_choose(exact, n, &goal)), 0);
            free(exact);
        }
}

static void small_savings_within_a_granule_are_none(void **state)
{
    struct codec_goal goal = goal_of(1e6);
    (void)state;
    goal.unit = 4096;
    codec_speeds_fill(SPEED_TEXT, data, BYTES);
    assert_int_equal(codec_choose(data, 4096, &goal), SL_CODEC_NONE);
    assert_true(codec_rounded(&goal, 0.5) == 1.0);
    goal.unit = 65536;
    assert_true(codec_rounded(&goal, 0.5) == 0.5);
    assert_true(codec_rounded(&goal, 0.51) == 0.5625);
    assert_true(codec_rounded(&goal, 3.0) == 1.0);
}

/* ---- the file ---- */

static char dir[] = "/tmp/test_codec_choose.XXXXXX";
static char path[128];

static void speeds_are_kept_in_a_file(void **state)
{
    const struct codec_speeds *s = codec_speeds_get();
    struct codec_speeds again;
    struct stat st;
    (void)state;
    assert_non_null(s);
    assert_int_equal(stat(path, &st), 0); /* main named it before */
    memset(&again, 0, sizeof(again));
    assert_int_equal(codec_speeds_load(path, &again), 0);
    assert_memory_equal(&again, s, sizeof(again));
    assert_int_equal(codec_speeds_load("/nonexistent/codecs", &again),
                     SL_ENOENT);
}

static void every_codec_has_a_speed(void **state)
{
    const struct codec_speeds *s = codec_speeds_get();
    (void)state;
    for (unsigned id = 1; id < SL_CODECS; id++)
        for (int p = 0; p < 3 && codec_find(id); p++)
            for (enum speed_class k = SPEED_ZEROS; k < SPEED_CLASSES; k++) {
                const struct codec_speed *v = &s->of[id][p][k];
                assert_true(v->encode_ns > 0.0f && v->decode_ns > 0.0f);
                assert_true(v->stored > 0.0f && v->stored < 1.3f);
            }
}

static void a_damaged_file_is_refused(void **state)
{
    struct codec_speeds again;
    uint8_t bytes[8192];
    (void)state;
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(bytes, 1, sizeof(bytes), f);
    fclose(f);
    assert_in_range(n, 100, sizeof(bytes) - 1);
    for (size_t at = 0; at < n + 1; at += 41) {
        char other[160];
        snprintf(other, sizeof(other), "%s/damaged", dir);
        f = fopen(other, "wb");
        assert_non_null(f);
        if (at < n)
            bytes[at] ^= 4;
        assert_int_equal(fwrite(bytes, 1, at < n ? n : n - 1, f),
                         at < n ? n : n - 1);
        fclose(f);
        if (at < n)
            bytes[at] ^= 4;
        assert_int_equal(codec_speeds_load(other, &again), SL_ECORRUPT);
        unlink(other);
    }
}

/* ---- with figures of our own ---- */

/* What a process that starts with these figures chooses for text. Must run before
 * this process has figures of its own. */
static uint8_t choice_with(const struct codec_speeds *s, double bps)
{
    char other[160];
    int status = 0;
    snprintf(other, sizeof(other), "%s/other", dir);
    assert_int_equal(codec_speeds_save(other, s), 0);
    pid_t child = fork();
    if (child == 0)
        _exit(codec_speeds_file(other) ? 255 : choose(SPEED_TEXT, BYTES, bps));
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    unlink(other);
    assert_true(WIFEXITED(status));
    return (uint8_t)WEXITSTATUS(status);
}

/* One codec is here; the others take for ever. */
static struct codec_speeds *only(unsigned keep, float text_ns)
{
    static struct codec_speeds s;
    assert_int_equal(codec_speeds_measure(&s), 0);
    for (unsigned id = 1; id < SL_CODECS; id++)
        for (int p = 0; p < 3; p++)
            for (enum speed_class k = SPEED_ZEROS; k < SPEED_CLASSES; k++)
                if (id != keep)
                    s.of[id][p][k].encode_ns = 1e5f;
    for (int p = 0; p < 3; p++)
        s.of[keep][p][SPEED_TEXT].encode_ns = text_ns;
    return &s;
}

static void need(unsigned id)
{
    if (codec_find(id))
        return;
    print_message("no %s in this build\n", codec_name(id));
    skip();
}

/* On a tier to which, there and back, a raw byte takes 200 ns. */
static void expect_choice_with(const struct codec_speeds *s, uint8_t mask,
                               uint8_t want)
{
    uint8_t got = 0;
    for (int i = 0; i < TRIES && (i == 0 || got != want); i++)
        got = choice_with(s, 1e7) & mask;
    assert_int_equal(got, want);
}

/* Coding text takes 300 ns a byte by the figures. */
static void what_is_faster_than_predicted_is_taken(void **state)
{
    (void)state;
    need(SL_CODEC_LZ4);
    expect_choice_with(only(SL_CODEC_LZ4, 300.0f), SL_CODEC_ID_MASK,
                       SL_CODEC_LZ4);
}

static void a_codec_without_presets_is_one_setting(void **state)
{
    (void)state;
    need(SL_CODEC_SNAPPY);
    struct codec_speeds *s = only(SL_CODEC_SNAPPY, 20.0f);
    s->of[SL_CODEC_SNAPPY][2][SPEED_TEXT].encode_ns = 0.1f;
    expect_choice_with(s, 0xff, SL_CODEC(SL_CODEC_SNAPPY, SL_CODEC_FAST));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_faster_than_predicted_is_taken),
        cmocka_unit_test(a_codec_without_presets_is_one_setting),
        cmocka_unit_test(speeds_are_kept_in_a_file),
        cmocka_unit_test(every_codec_has_a_speed),
        cmocka_unit_test(a_damaged_file_is_refused),
        cmocka_unit_test(incompressible_bytes_are_left),
        cmocka_unit_test(a_fast_target_takes_text_raw),
        cmocka_unit_test(a_slow_target_makes_coding_pay),
        cmocka_unit_test(slower_targets_get_smaller_results),
        cmocka_unit_test(a_sample_that_fell_on_zeros_is_doubted),
        cmocka_unit_test(repeated_numbers_are_not_priced_as_noise),
        cmocka_unit_test(any_bytes_of_any_size_get_an_answer),
        cmocka_unit_test(small_savings_within_a_granule_are_none),
    };
    data = malloc(BYTES);
    if (!data || !mkdtemp(dir))
        return 1;
    snprintf(path, sizeof(path), "%s/codecs", dir);
    if (codec_speeds_file(path))
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    rmdir(dir);
    free(data);
    return failed;
}
