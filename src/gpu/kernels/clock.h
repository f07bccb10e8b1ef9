/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Times of operations inside a kernel, in ticks of the cheap clock; one thread
 * of the grid reads both clocks at its begin and end, so that the host can
 * tell what a tick is.
 */
#ifndef SLUICE_KERNELS_CLOCK_H
#define SLUICE_KERNELS_CLOCK_H

#include "sluice/device.h"

struct kernel_clock {
    uint64_t ticks[2];
    uint64_t ns[2];
};

/** at: 0 at the kernel's begin, 1 at its end. */
SL_FN void kernel_clock_read(struct kernel_clock *c, int at)
{
    if (slp_block() != 0 || slp_thread() != 0)
        return;
    c->ticks[at] = slp_ticks();
    c->ns[at] = slp_now();
}

/** Nanoseconds of a tick; 1 when the kernel was too short to tell. */
static inline double kernel_clock_tick(const struct kernel_clock *c)
{
    uint64_t ticks = c->ticks[1] - c->ticks[0];
    uint64_t ns = c->ns[1] - c->ns[0];
    return ticks && ns ? (double)ns / (double)ticks : 1.0;
}

#endif
