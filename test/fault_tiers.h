/* SPDX-License-Identifier: Apache-2.0 */
/* Every tier that a store opens, wrapped into one that fails on command; the
 * program is linked with --wrap=tier_open. */
#ifndef TEST_FAULT_TIERS_H
#define TEST_FAULT_TIERS_H

#include "help.h"

#include "sluice/sluice.h"
#include "tier/fault.h"

#include <sched.h>

int __real_tier_open(const struct tier_config *c, struct tier **out);
int __wrap_tier_open(const struct tier_config *c, struct tier **out);

#define TIERS_MAX 8u
static struct tier *tiers[TIERS_MAX]; /* of the store that is open */
static uint32_t n_tiers;

int __wrap_tier_open(const struct tier_config *c, struct tier **out)
{
    struct tier *inner = NULL;
    int rc = __real_tier_open(c, &inner);
    if (rc || n_tiers == TIERS_MAX) {
        *out = inner;
        return rc;
    }
    rc = fault_wrap(inner, out);
    if (rc)
        inner->ops->close(inner);
    else
        tiers[n_tiers++] = *out;
    return rc;
}

HELP_FN void tiers_disarm(void)
{
    struct fault_rule off = {.times = 0};
    for (uint32_t i = 0; i < n_tiers; i++)
        for (int op = 0; op < FAULT_OPS; op++)
            fault_arm(tiers[i], (enum fault_op)op, off);
}

/* How many completions may be delivered by each tier from now. */
HELP_FN void tiers_pass(uint64_t n)
{
    for (uint32_t i = 0; i < n_tiers; i++)
        fault_pass(tiers[i], n);
}

/* After a failed sync the metadata takes nothing until a commit has worked,
 * which it tries by itself. */
HELP_FN void tiers_recover(struct sl_runtime *rt)
{
    uint64_t end = clock_ns() + UINT64_C(20000000000);
    int rc;
    while ((rc = sl_flush(rt)) == SL_EIO && clock_ns() < end)
        sched_yield();
    assert_int_equal(rc, 0);
}

#endif
