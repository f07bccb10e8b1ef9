/* SPDX-License-Identifier: Apache-2.0 */
/* Each warp takes the next operation until none is left, so that warps with
 * small files do not wait for those with large ones. */
#include "gpu/kernels/demo.h"

/* All lanes of the warp learn the same number. */
SL_FN uint64_t demo_next(const struct demo_arg *a)
{
    struct demo_state *s = (struct demo_state *)a->state;
    uint32_t at = 0;
    if (slp_lane() == 0)
        at = (uint32_t)slp_add(&s->next, 1);
    return slp_shfl(slp_lanes(), at, 0);
}

/* One lane notes how the op ended. The host reads after the kernel's end. */
SL_FN void demo_note(const struct demo_arg *a, uint64_t at, int rc,
                     uint64_t began)
{
    struct demo_state *s = (struct demo_state *)a->state;
    if (slp_lane() != 0)
        return;
    ((uint64_t *)a->took)[at] = slp_ticks() - began;
    if (rc == 0 || slp_add(&s->errors, 1) != 0)
        return;
    s->first_op = at;
    s->first_code = rc;
}

SL_FN struct sl_key demo_key(const struct demo_arg *a,
                             const struct demo_blob *b)
{
    return sl_key_make(a->tag, (const char *)a->names + b->name_at,
                       b->name_len);
}

SL_KERNEL(k_demo_put, struct demo_arg)
{
    struct kernel_clock *clock = &((struct demo_state *)arg.state)->clock;
    kernel_clock_read(clock, 0);
    for (uint64_t i = demo_next(&arg); i < arg.n_ops; i = demo_next(&arg)) {
        const struct demo_op *op = (const struct demo_op *)arg.ops + i;
        const struct demo_blob *b =
            (const struct demo_blob *)arg.blobs + op->blob;
        const uint8_t *from = (const uint8_t *)arg.data + b->at + op->offset;
        struct sl_how how = sl_how_default();
        uint64_t began = slp_ticks();
        if (op->whole)
            how.flags = SL_F_REPLACE;
        int rc = sl_put_warp(&arg.dev, demo_key(&arg, b), op->offset, from,
                             op->bytes, how);
        demo_note(&arg, i, rc, began);
    }
    kernel_clock_read(clock, 1);
}

SL_KERNEL(k_demo_get, struct demo_arg)
{
    struct kernel_clock *clock = &((struct demo_state *)arg.state)->clock;
    kernel_clock_read(clock, 0);
    for (uint64_t i = demo_next(&arg); i < arg.n_ops; i = demo_next(&arg)) {
        const struct demo_op *op = (const struct demo_op *)arg.ops + i;
        const struct demo_blob *b =
            (const struct demo_blob *)arg.blobs + op->blob;
        uint8_t *to = (uint8_t *)arg.data + b->at + op->offset;
        uint64_t began = slp_ticks();
        int rc =
            sl_get_warp(&arg.dev, demo_key(&arg, b), op->offset, to, op->bytes);
        demo_note(&arg, i, rc, began);
    }
    kernel_clock_read(clock, 1);
}
