/* SPDX-License-Identifier: Apache-2.0 */
#include "store/fsck.h"

#include <string.h>

int sl_fsck(const struct sl_fsck_opts *o, struct sl_fsck_report *report)
{
    struct sl_fsck_opts all = {0};

    if (!o || !report || o->size < sizeof(o->size) || o->size > sizeof(all) ||
        o->size % _Alignof(struct sl_fsck_opts)) /* it cuts a field */
        return SL_EINVAL;
    memcpy(&all, o, o->size);
    if (!all.dir || !*all.dir || all.flags & ~(SL_FSCK_REPAIR | SL_FSCK_CUT) ||
        ((all.flags & SL_FSCK_CUT || all.drop) &&
         !(all.flags & SL_FSCK_REPAIR)))
        return SL_EINVAL;
    return store_fsck(&all, report);
}
