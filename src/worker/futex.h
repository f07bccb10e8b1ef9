/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Sleeping on a word.
 */
#ifndef SLUICE_FUTEX_H
#define SLUICE_FUTEX_H

#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/** Sleeps while *word is `value`, at most timeout_ns (0, or more than a year:
 * no limit). May wake for no reason. */
static inline void futex_wait(uint32_t *word, uint32_t value,
                              uint64_t timeout_ns)
{
    struct timespec t;
    int limit = timeout_ns && timeout_ns < UINT64_C(31536000000000000);
    t.tv_sec = (time_t)(timeout_ns / 1000000000u);
    t.tv_nsec = (long)(timeout_ns % 1000000000u);
    (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, limit ? &t : NULL,
                  NULL, 0);
}

static inline void futex_wake(uint32_t *word)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

#endif
