/* SPDX-License-Identifier: Apache-2.0 */
/* What all tests share: cmocka, seeds, numbers of steps, patterns, directories.
 *
 * From the environment: SEED repeats a random test, STEPS sets how many steps
 * it makes, SLUICE_LONG=1 asks for the long form, DEVICE names the CUDA device
 * (to tests of kernels the only device; test_gpu, test_gpu_event and
 * test_lz4_batch take the first). */
#ifndef TEST_HELP_H
#define TEST_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

#define HELP_FN static inline __attribute__((unused))

#ifndef MIB
#define MIB (UINT64_C(1) << 20)
#endif

/* gcc says it with a macro, clang with a feature. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if !defined(SANITIZED) &&                                                     \
    (defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__))
#define SANITIZED 1
#endif
#if !defined(SANITIZED)
#define SANITIZED 0
#endif

/* Each emulated lane is a fibre, and the thread sanitizer takes a fibre for a
 * thread: at each barrier each lane's clock, an entry for each thread, is merged
 * with those of all others. */
#if defined(__SANITIZE_THREAD__)
#define SLOW_THREADS 1
#else
#define SLOW_THREADS 0
#endif
#define SLOW_LANES SLOW_THREADS

/* Sanitizers make the same steps ten times slower. */
#define STEPS(n) (SANITIZED ? (n) / 10 : (n))

HELP_FN int test_is_long(void)
{
    const char *s = getenv("SLUICE_LONG");
    return s && strcmp(s, "1") == 0;
}

/* The CUDA device to test: the one that DEVICE names, else the first. */
HELP_FN const char *cuda_name(void)
{
    const char *s = getenv("DEVICE");
    return s && strncmp(s, "cuda:", 5) == 0 ? s : "cuda:0";
}

/* Steps of a random test: STEPS, else `usual`, ten times that in the long form,
 * a tenth under sanitizers. */
HELP_FN uint64_t test_steps(uint64_t usual)
{
    const char *s = getenv("STEPS");
    if (s)
        return strtoull(s, NULL, 0);
    return STEPS(usual) * (test_is_long() ? 10u : 1u);
}

/* Seed of a random test: SEED, else from the clock; printed. */
HELP_FN uint64_t test_seed(const char *name)
{
    const char *s = getenv("SEED");
    uint64_t seed = s ? strtoull(s, NULL, 0) : clock_ns();
    seed = seed ? seed : 1u;
    printf("# %s: SEED=%llu\n", name, (unsigned long long)seed);
    fflush(stdout);
    return seed;
}

/* xorshift64; the state is not 0. */
HELP_FN uint64_t test_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

/* A state of its own for number `i` of something, from one seed. */
HELP_FN uint64_t test_fork(uint64_t seed, uint64_t i)
{
    uint64_t z = seed + (i + 1u) * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return z ? z : 1u;
}

/* Bytes that follow from the seed. */
HELP_FN void fill(uint8_t *p, size_t n, uint64_t seed)
{
    uint64_t s = seed * UINT64_C(0x9e3779b97f4a7c15) + 1u;
    size_t i = 0;
    for (; i + 8u <= n; i += 8u) {
        test_random(&s);
        memcpy(p + i, &s, 8);
    }
    test_random(&s);
    memcpy(p + i, &s, n - i);
}

/* A fresh directory below the working directory (a real file system). */
HELP_FN void make_dir(char *path, size_t n)
{
    snprintf(path, n, "store-test-XXXXXX");
    assert_non_null(mkdtemp(path));
}

HELP_FN void remove_dir(const char *path)
{
    char cmd[300];
    snprintf(cmd, sizeof(cmd), "rm -rf -- '%s'", path);
    assert_int_equal(system(cmd), 0);
}

#endif
