/* SPDX-License-Identifier: Apache-2.0 */
#include "base/opts.h"
#include "store/fsck.h"

int sl_fsck(const struct sl_fsck_opts *o, struct sl_fsck_report *report)
{
    struct sl_fsck_opts all;

    if (!report || opts_read(&all, sizeof(all), o, "fsck"))
        return SL_EINVAL;
    if (!all.dir || !*all.dir || all.flags & ~(SL_FSCK_REPAIR | SL_FSCK_CUT) ||
        ((all.flags & SL_FSCK_CUT || all.drop) &&
         !(all.flags & SL_FSCK_REPAIR)))
        return SL_EINVAL;
    return store_fsck(&all, report);
}
