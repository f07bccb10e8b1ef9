/* SPDX-License-Identifier: Apache-2.0 */
/* Targets: these calls do not go through the channel, since they open files and
 * wait for rounds over all workers. */
#include "api/runtime.h"
#include "base/opts.h"

int sl_tiers(struct sl_runtime *rt, struct sl_tier_info *out, size_t n)
{
    int rc;
    if (!rt || (n && !out))
        return SL_EINVAL;
    if (!host_enter(rt))
        return SL_EDEAD;
    rc = store_tiers(rt->store, out, n);
    host_leave(rt);
    return rc;
}

int sl_targets(struct sl_runtime *rt, struct sl_target_info *out, size_t n)
{
    int rc;
    if (!rt || (n && !out))
        return SL_EINVAL;
    if (!host_enter(rt))
        return SL_EDEAD;
    rc = store_targets(rt->store, out, n);
    host_leave(rt);
    return rc;
}

int sl_target_add(struct sl_runtime *rt, const struct sl_target_opts *opts,
                  uint32_t *id)
{
    struct sl_target_opts o;
    int rc;
    if (!rt || opts_read(&o, sizeof(o), opts, "target"))
        return SL_EINVAL;
    if (!host_enter(rt))
        return SL_EDEAD;
    rc = store_target_add(rt->store, &o, id);
    host_leave(rt);
    return rc;
}

int sl_target_remove(struct sl_runtime *rt, const char *name)
{
    int rc;
    if (!rt || !name)
        return SL_EINVAL;
    if (!host_enter(rt))
        return SL_EDEAD;
    rc = store_target_remove(rt->store, name);
    host_leave(rt);
    return rc;
}

int sl_target_set_score(struct sl_runtime *rt, const char *name, float score)
{
    int rc;
    if (!rt || !name)
        return SL_EINVAL;
    if (!host_enter(rt))
        return SL_EDEAD;
    rc = store_target_score(rt->store, name, score);
    host_leave(rt);
    return rc;
}
