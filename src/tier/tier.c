/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/tier.h"

#include "base/log.h"

#include <string.h>

static const struct tier_ops *const kinds[] = {
    &tier_ram_ops,  &tier_hbm_ops,   &tier_file_ops,
    &tier_null_ops, &tier_fault_ops,
};

int tier_open(const struct tier_config *c, struct tier **out)
{
    for (size_t i = 0; c->kind && i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(c->kind, kinds[i]->kind) == 0)
            return kinds[i]->open(c, out);
    log_error("tier: unknown kind \"%s\"", c->kind ? c->kind : "");
    return SL_EINVAL;
}
