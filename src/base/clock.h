/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Time in nanoseconds.
 */
#ifndef SLUICE_CLOCK_H
#define SLUICE_CLOCK_H

#include <stdint.h>
#include <time.h>

/** Monotonic, for deadlines and intervals. */
static inline uint64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/** Since 1970, for stamps that are kept. */
static inline uint64_t clock_real_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/** The same to a few milliseconds, for a fifth of the cost. */
static inline uint64_t clock_stamp_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME_COARSE, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/** Of this thread on a CPU: what others make it wait does not count. */
static inline uint64_t clock_thread_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/** Sleeps; a signal may end it before. Not by nanosleep, in which ThreadSanitizer
 *  looks at all threads. */
static inline void clock_sleep_ns(uint64_t ns)
{
    struct timespec t = {(time_t)(ns / UINT64_C(1000000000)),
                         (long)(ns % UINT64_C(1000000000))};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
}

/** A pause inside a spin loop. */
static inline void clock_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
