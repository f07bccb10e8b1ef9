/* SPDX-License-Identifier: Apache-2.0 */
/* The n-th fault of a kind, of every tier and of the metadata. The program is
 * linked with --wrap=tier_open and --wrap=meta_submit. */
#ifndef TEST_FAULT_KINDS_H
#define TEST_FAULT_KINDS_H

#include "fault_tiers.h"

#include "store/meta.h"

void __real_meta_submit(struct meta *m, struct meta_change *c);
void __wrap_meta_submit(struct meta *m, struct meta_change *c);

/* Changes of the metadata until one fails, 0: none does. Atomic. */
static uint64_t meta_left;
static uint64_t meta_seen; /* atomic */
static int meta_code;

void __wrap_meta_submit(struct meta *m, struct meta_change *c)
{
    uint64_t left = __atomic_load_n(&meta_left, __ATOMIC_ACQUIRE);
    __atomic_fetch_add(&meta_seen, 1u, __ATOMIC_RELAXED);
    while (left &&
           !__atomic_compare_exchange_n(&meta_left, &left, left - 1u, 0,
                                        __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        ;
    if (left == 1u)
        c->done(c, meta_code);
    else
        __real_meta_submit(m, c);
}

/* One that is to fail, or is counted down, is submitted. */
int __real_meta_now(struct meta *m, struct meta_change *c);
int __wrap_meta_now(struct meta *m, struct meta_change *c);

int __wrap_meta_now(struct meta *m, struct meta_change *c)
{
    if (__atomic_load_n(&meta_left, __ATOMIC_ACQUIRE) || !__real_meta_now(m, c))
        return 0;
    __atomic_fetch_add(&meta_seen, 1u, __ATOMIC_RELAXED);
    return 1;
}

enum fault_kind { K_ERROR, K_FULL, K_TORN, K_LOST, K_HALF, K_META, KINDS };
static const char *const kind_names[KINDS] = {"error", "full", "torn",
                                              "lost",  "half", "metadata"};

/* The n-th of each tier. */
struct fault {
    enum fault_kind kind;
    enum fault_op op;
    uint64_t nth;
};

HELP_FN int lies(enum fault_kind k)
{
    return k == K_LOST || k == K_HALF;
}

HELP_FN void arm(const struct fault *f)
{
    static const struct fault_rule rules[KINDS] = {
        [K_ERROR] = {.times = 1, .code = SL_EIO},
        [K_FULL] = {.times = 1, .code = SL_ENOSPC},
        [K_TORN] = {.times = 1, .code = SL_EIO, .torn = 5000},
        [K_LOST] = {.times = 1},
        [K_HALF] = {.times = 1, .torn = 100},
    };
    tiers_mark();
    __atomic_store_n(&meta_seen, 0u, __ATOMIC_RELEASE);
    if (f->kind == K_META) {
        meta_code = SL_EIO;
        __atomic_store_n(&meta_left, f->nth, __ATOMIC_RELEASE);
        return;
    }
    struct fault_rule r = rules[f->kind];
    r.nth = f->nth;
    tiers_arm(f->op, r);
}

HELP_FN int struck(const struct fault *f)
{
    uint64_t n = f->kind == K_META
                     ? __atomic_load_n(&meta_seen, __ATOMIC_ACQUIRE)
                     : tiers_count(f->op);
    return n >= f->nth;
}

HELP_FN void disarm(void)
{
    __atomic_store_n(&meta_left, 0u, __ATOMIC_RELEASE);
    tiers_disarm();
}

#endif
