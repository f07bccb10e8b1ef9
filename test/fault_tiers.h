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
/* Operations of each before tiers_mark, and of those that closed since. */
static uint64_t tiers_before[TIERS_MAX][FAULT_OPS], tiers_gone[FAULT_OPS];
static struct fault_rule tiers_rule[FAULT_OPS]; /* of what is opened, too */
static void (*tiers_close)(struct tier *t);     /* the fault tier's */

static uint64_t tiers_more(uint32_t i, int op)
{
    return fault_seen(tiers[i], (enum fault_op)op) - tiers_before[i][op];
}

/* Takes a tier that is closed out of the list. */
static void tiers_leave(struct tier *t)
{
    union {
        const struct tier_ops *ops;
        void *ours;
    } u = {t->ops};
    for (uint32_t i = 0; i < n_tiers; i++) {
        if (tiers[i] != t)
            continue;
        for (int op = 0; op < FAULT_OPS; op++)
            if (tiers_more(i, op) > tiers_gone[op])
                tiers_gone[op] = tiers_more(i, op);
        n_tiers--;
        memmove(&tiers[i], &tiers[i + 1u], (n_tiers - i) * sizeof(tiers[0]));
        memmove(&tiers_before[i], &tiers_before[i + 1u],
                (n_tiers - i) * sizeof(tiers_before[0]));
    }
    tiers_close(t);
    free(u.ours);
}

int __wrap_tier_open(const struct tier_config *c, struct tier **out)
{
    struct tier *inner = NULL;
    struct tier_ops *ops;
    int rc = __real_tier_open(c, &inner);
    if (rc || n_tiers == TIERS_MAX) {
        *out = inner;
        return rc;
    }
    ops = malloc(sizeof(*ops));
    rc = ops ? fault_wrap(inner, out) : SL_ENOMEM;
    if (rc) {
        free(ops);
        inner->ops->close(inner);
        return rc;
    }
    *ops = *(*out)->ops;
    tiers_close = ops->close;
    ops->close = tiers_leave;
    (*out)->ops = ops;
    memset(tiers_before[n_tiers], 0, sizeof(tiers_before[0]));
    for (int op = 0; op < FAULT_OPS; op++)
        fault_arm(*out, (enum fault_op)op, tiers_rule[op]);
    tiers[n_tiers++] = *out;
    return 0;
}

/* Operations are counted from here. */
HELP_FN void tiers_mark(void)
{
    memset(tiers_gone, 0, sizeof(tiers_gone));
    for (uint32_t i = 0; i < n_tiers; i++)
        for (int op = 0; op < FAULT_OPS; op++)
            tiers_before[i][op] = fault_seen(tiers[i], (enum fault_op)op);
}

/* Operations of the tier that had most of them. */
HELP_FN uint64_t tiers_count(enum fault_op op)
{
    uint64_t most = tiers_gone[op];
    for (uint32_t i = 0; i < n_tiers; i++)
        if (tiers_more(i, (int)op) > most)
            most = tiers_more(i, (int)op);
    return most;
}

HELP_FN void tiers_arm(enum fault_op op, struct fault_rule rule)
{
    tiers_rule[op] = rule;
    for (uint32_t i = 0; i < n_tiers; i++)
        fault_arm(tiers[i], op, rule);
}

HELP_FN void tiers_disarm(void)
{
    for (int op = 0; op < FAULT_OPS; op++)
        tiers_arm((enum fault_op)op, (struct fault_rule){.times = 0});
}

/* How many completions may be delivered by each tier from now. */
HELP_FN void tiers_pass(uint64_t n)
{
    for (uint32_t i = 0; i < n_tiers; i++)
        fault_pass(tiers[i], n);
}

/* After a sync, or a write that a commit makes, has failed the metadata takes
 * nothing until a commit has worked, which it tries by itself. */
HELP_FN void tiers_recover(struct sl_runtime *rt)
{
    uint64_t end = clock_ns() + UINT64_C(20000000000);
    int rc;
    while (((rc = sl_flush(rt)) == SL_EIO || rc == SL_ENOSPC) &&
           clock_ns() < end)
        sched_yield();
    assert_int_equal(rc, 0);
}

#endif
