/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * A tier for tests: it wraps another one and fails on command.
 *
 * Usual order: fault_wrap (or tier_open with kind "fault", which wraps a file
 * tier when the config has a path, else a RAM tier), hand the tier to what is
 * tested, then fault_arm and fault_pass from the test. Without a command it
 * behaves as what it wraps, but that each completion is delivered by poll, also
 * those of a memory tier: code that forgets to poll hangs here.
 *
 * The functions of this header may be called from any thread at any time.
 */
#ifndef SLUICE_TIER_FAULT_H
#define SLUICE_TIER_FAULT_H

#include "tier/tier.h"

enum fault_op { FAULT_WRITE, FAULT_READ, FAULT_FLUSH, FAULT_ALLOC, FAULT_OPS };

#define FAULT_ALL (~UINT64_C(0))

/**
 * Which operations of a kind fail, and how. Examples:
 *   {.nth = 3, .times = 1, .code = SL_EIO}            the third from now fails
 *   {.nth = 1, .times = FAULT_ALL, .code = SL_ENOSPC} of FAULT_ALLOC: full
 *   {.nth = 1, .times = 1, .torn = 1000}              a torn write that is
 *                                                     reported as done
 */
struct fault_rule {
    uint64_t nth;   /* the first that fails: 1 (or 0) is the next one */
    uint64_t times; /* how many fail from there; 0: none, the rule is off */
    /* What is reported, by `done` (alloc: returned). 0: success, although what
     * was asked for is not done. Not 0 for alloc. */
    int code;
    /* Write: the first `torn` bytes reach the target, any number up to all.
     * The others keep what they hold. */
    uint32_t torn;
};

/** Wraps `inner`, which is given and closed with the result. SL_ENOMEM (inner
 *  stays the caller's). */
int fault_wrap(struct tier *inner, struct tier **out);
/** Replaces the rule of an operation. */
void fault_arm(struct tier *t, enum fault_op op, struct fault_rule rule);
/**
 * From now, `n` completions may be delivered, over all ports; then they are
 * held until the next call. 0: hold all; FAULT_ALL (at the start): no limit.
 * Writes and reads take effect all the same. port_close delivers what is held.
 */
void fault_pass(struct tier *t, uint64_t n);
/** How many operations of a kind were asked for since the start. */
uint64_t fault_seen(struct tier *t, enum fault_op op);
/** How many completions are held back now, over all ports, by fault_pass. */
uint64_t fault_held(struct tier *t);

#endif
