/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/check.h"

/* Blocks have up to so many: however they are compiled, they fit, 64 registers
 * each. Whether they would without it is not looked at. */
#define CHECK_THREADS 1024

#define CHECK_AT(type, address) ((type *)(uintptr_t)(address))

SL_FN uint64_t check_thread(void)
{
    return (uint64_t)slp_block() * slp_threads() + slp_thread();
}

SL_FN uint32_t check_warps_of_block(void)
{
    return (slp_threads() + 31u) / 32u;
}

/* Which group of the grid the caller belongs to, and how many there are. */
SL_FN uint64_t check_unit(uint32_t form)
{
    if (form == SL_THREAD)
        return check_thread();
    if (form == SL_WARP)
        return (uint64_t)slp_block() * check_warps_of_block() +
               slp_thread() / 32u;
    return slp_block();
}

SL_FN uint64_t check_units(uint32_t form)
{
    if (form == SL_THREAD)
        return (uint64_t)slp_blocks() * slp_threads();
    if (form == SL_WARP)
        return (uint64_t)slp_blocks() * check_warps_of_block();
    return slp_blocks();
}

SL_FN uint32_t check_rank(uint32_t form)
{
    if (form == SL_THREAD)
        return 0;
    return form == SL_WARP ? slp_lane() : slp_thread();
}

/* Tells the host how far a kernel of one group is. */
SL_FN void check_stage(uint64_t stage_at, uint32_t stage)
{
    if (slp_thread() == 0)
        slp_store32(CHECK_AT(uint32_t, stage_at), stage);
}

SL_FN struct sl_call check_call(const void *task, uint64_t bytes, uint32_t pool,
                                uint32_t method, uint32_t container)
{
    struct sl_call c;
    c.task = task;
    c.bytes = bytes;
    c.pool = (uint16_t)pool;
    c.method = (uint16_t)method;
    c.container = (uint16_t)container;
    c.high = 0;
    return c;
}

/* ---- echo ---- */

/* The numbers lie in each caller's own memory; the leader's is sent. */
SL_FN int check_echo(const struct sl_dev *d, uint32_t form, uint64_t value,
                     uint32_t pool, uint32_t method, uint64_t *answer)
{
    struct sl_call c = check_call(&value, sizeof(value), pool, method,
                                  (uint32_t)(value % d->n_lanes));
    struct sl_result r;
    int rc;
    c.high = value >> 63 != 0;
    r.v[0] = 0;
    if (form == SL_THREAD)
        rc = sl_task_thread(d, &c, &r);
    else if (form == SL_WARP)
        rc = sl_task_warp(d, &c, &r);
    else
        rc = sl_task_block(d, &c, &r);
    *answer = r.v[0];
    return rc;
}

/* All blocks wait until each kernel has arrived. */
SL_FN void check_meet(const struct check_echo_args *a)
{
    struct check_meet *m = CHECK_AT(struct check_meet, a->meet_at);
    uint64_t end = slp_now() + a->timeout_ns;
    if (slp_thread() == 0 && slp_block() == 0)
        slp_add(&m->arrived, 1);
    if (slp_thread() == 0) {
        uint32_t round = 0;
        while (slp_add(&m->arrived, 0) < a->meet && slp_now() < end)
            slp_pause(round++);
        slp_add(&m->met, slp_add(&m->arrived, 0) >= a->meet);
    }
    slp_syncblock();
}

SL_KERNEL_FOR(k_check_echo, struct check_echo_args, CHECK_THREADS, 1)
{
    struct check_echo_out *out =
        CHECK_AT(struct check_echo_out, arg.out_at) + check_thread();
    uint64_t unit = check_unit(arg.form);
    if (arg.meet_at)
        check_meet(&arg);
    for (uint32_t i = 0; i < arg.rounds; i++) {
        uint64_t value = check_echo_value(arg.base, unit, i), answer;
        int rc = check_echo(&arg.dev, arg.form, value, arg.pool, arg.method,
                            &answer);
        if (rc == 0 && answer == 2u * value + (uint64_t)(int64_t)arg.dev.device)
            out->right++;
        else
            out->wrong++;
        if (rc && !out->code)
            out->code = rc;
        out->last = answer;
    }
}

/* ---- lists of operations ---- */

SL_FN struct sl_key check_key(const struct check_op *op)
{
    return sl_key_make(op->tag, CHECK_AT(const char, op->name_at),
                       op->name_len);
}

SL_FN struct sl_how check_how(const struct check_op *op)
{
    struct sl_how how = sl_how_default();
    if (op->replace)
        how.flags = SL_F_REPLACE;
    how.score = op->score;
    how.persist = op->persist;
    how.codec = op->codec;
    how.high = op->high;
    return how;
}

SL_FN struct sl_call check_task(const struct check_op *op)
{
    struct sl_call c = check_call(CHECK_AT(const void, op->data_at), op->size,
                                  op->pool, op->method, op->container);
    c.high = op->high;
    return c;
}

/* One function for each form. */
#define CHECK_OPS(F, FORM)                                                     \
    SL_FN struct sl_future check_begin_##F(const struct sl_dev *d,             \
                                           const struct check_op *op) {        \
        struct sl_call c = check_task(op);                                     \
        void *data = CHECK_AT(void, op->data_at);                              \
        if (op->kind == CHECK_PUT || op->kind == CHECK_PUT_WAIT)               \
            return sl_put_begin_##F(d, check_key(op), op->offset, data,        \
                                    op->size, check_how(op));                  \
        if (op->kind == CHECK_GET || op->kind == CHECK_GET_WAIT)               \
            return sl_get_begin_##F(d, check_key(op), op->offset, data,        \
                                    op->size);                                 \
        return sl_task_begin_##F(d, &c);                                       \
    } SL_FN int check_wait_for_##F(const struct sl_dev *d,                     \
                                   const struct check_op *op,                  \
                                   struct sl_result *r)                        \
    {                                                                          \
        struct sl_future f = check_begin_##F(d, op);                           \
        int rc = sl_wait_##F(d, &f, sl_until_default(d));                      \
        *r = f.result;                                                         \
        return rc;                                                             \
    }                                                                          \
    SL_FN int check_do_##F(const struct sl_dev *d, const struct check_op *op,  \
                           struct sl_result *r)                                \
    {                                                                          \
        const char *name = CHECK_AT(const char, op->name_at);                  \
        void *data = CHECK_AT(void, op->data_at);                              \
        struct sl_call c = check_task(op);                                     \
        switch (op->kind) {                                                    \
        case CHECK_NOOP:                                                       \
            return sl_noop_##F(d, op->container);                              \
        case CHECK_TAG:                                                        \
            return sl_tag_##F(d, name, op->name_len, &r->v[0]);                \
        case CHECK_TAG_FIND:                                                   \
            return sl_tag_find_##F(d, name, op->name_len, &r->v[0]);           \
        case CHECK_PUT:                                                        \
            return sl_put_##F(d, check_key(op), op->offset, data, op->size,    \
                              check_how(op));                                  \
        case CHECK_GET:                                                        \
            return sl_get_##F(d, check_key(op), op->offset, data, op->size);   \
        case CHECK_SIZE:                                                       \
            return sl_size_##F(d, check_key(op), &r->v[0]);                    \
        case CHECK_DEL:                                                        \
            return sl_del_##F(d, check_key(op));                               \
        case CHECK_RENAME:                                                     \
            return sl_rename_##F(                                              \
                d, check_key(op),                                              \
                sl_key_make(op->offset ? op->offset : op->tag, "renamed", 7),  \
                op->replace);                                                  \
        case CHECK_STAT:                                                       \
            return sl_stat_##F(d, check_key(op), (struct sl_stat *)data);      \
        case CHECK_TASK:                                                       \
            return sl_task_##F(d, &c, r);                                      \
        default:                                                               \
            return check_wait_for_##F(d, op, r);                               \
        }                                                                      \
    }                                                                          \
    SL_KERNEL_FOR(k_check_ops_##F, struct check_ops_args, CHECK_THREADS, 1)    \
    {                                                                          \
        for (uint64_t list = check_unit(FORM); list < arg.n_lists;             \
             list += check_units(FORM))                                        \
            for (uint64_t i = list * arg.per; i < (list + 1u) * arg.per;       \
                 i++) {                                                        \
                struct check_result *out =                                     \
                    CHECK_AT(struct check_result, arg.results_at) +            \
                    i * arg.stride + check_rank(FORM);                         \
                struct sl_result r;                                            \
                for (uint32_t k = 0; k < 4u; k++)                              \
                    r.v[k] = 0;                                                \
                out->code = check_do_##F(                                      \
                    &arg.dev, CHECK_AT(const struct check_op, arg.ops_at) + i, \
                    &r);                                                       \
                for (uint32_t k = 0; k < 4u; k++)                              \
                    out->v[k] = r.v[k];                                        \
                out->ran = (uint32_t)i + 1u;                                   \
            }                                                                  \
    }

CHECK_OPS(thread, SL_THREAD)
CHECK_OPS(warp, SL_WARP)
CHECK_OPS(block, SL_BLOCK)

/* ---- divergence ---- */

SL_FN void check_lane_done(struct check_lane *out, int rc)
{
    out->ops++;
    if (rc && !out->code)
        out->code = rc;
}

SL_FN void check_lane_put(const struct check_diverge_args *a, uint32_t me,
                          uint32_t round, struct check_lane *out)
{
    uint8_t *own =
        CHECK_AT(uint8_t, a->own_at) + (uint64_t)me * CHECK_LANE_BYTES;
    char name[CHECK_NAME_LEN];
    check_name(name, 'd', me);
    for (uint32_t i = 0; i < CHECK_LANE_PUT; i++)
        own[i] = check_lane_byte(me, round, i);
    check_lane_done(
        out, sl_put_thread(&a->dev, sl_key_make(a->tag, name, sizeof(name)), 0,
                           own, CHECK_LANE_PUT, sl_how_default()));
}

SL_FN void check_lane_get(const struct check_diverge_args *a, uint32_t me,
                          struct check_lane *out)
{
    uint8_t *own =
        CHECK_AT(uint8_t, a->own_at) + (uint64_t)me * CHECK_LANE_BYTES;
    struct sl_key key =
        sl_key_make(a->tag, CHECK_AT(const char, a->common_at), a->common_len);
    for (uint32_t i = 0; i < CHECK_LANE_GET; i++)
        own[i] = 0;
    check_lane_done(
        out, sl_get_thread(&a->dev, key, slp_lane(), own, CHECK_LANE_GET));
    for (uint32_t i = 0; i < CHECK_LANE_GET; i++)
        out->wrong += own[i] != check_common_byte(slp_lane() + i);
}

SL_FN void check_lane_echo(const struct check_diverge_args *a, uint32_t me,
                           uint32_t round, struct check_lane *out)
{
    check_lane_done(out, check_echo(&a->dev, SL_THREAD,
                                    check_echo_value(0, me, round), a->pool,
                                    round & 1u, &out->answer));
}

SL_FN void check_lane_alone(const struct check_diverge_args *a,
                            struct check_lane *out)
{
    uint32_t me = (uint32_t)check_thread(), lane = slp_lane();
    if (lane % 2u) {
        for (uint32_t i = 0; i < lane % 5u + 1u; i++)
            check_lane_put(a, me, i, out);
    } else if (lane % 4u == 0) {
        for (uint32_t i = 0; i < lane % 3u + 1u; i++)
            check_lane_get(a, me, out);
    } else {
        for (uint32_t i = 0; i < lane % 3u + 1u; i++)
            check_lane_echo(a, me, i, out);
    }
}

SL_FN void check_lane_warp(struct check_lane *out, int rc)
{
    out->warp_ops++;
    if (rc && !out->code)
        out->code = rc;
}

SL_FN void check_lane_together(const struct check_diverge_args *a,
                               struct check_lane *out)
{
    uint32_t warp = (uint32_t)check_unit(SL_WARP);
    uint64_t at = (uint64_t)warp * CHECK_WARP_BYTES;
    char name[CHECK_NAME_LEN];
    check_name(name, 'w', warp);
    struct sl_key key = sl_key_make(a->tag, name, sizeof(name));
    check_lane_warp(out,
                    check_echo(&a->dev, SL_WARP, check_echo_value(1, warp, 0),
                               a->pool, 1, &out->warp_answer[0]));
    check_lane_warp(out, sl_put_warp(&a->dev, key, 0,
                                     CHECK_AT(uint8_t, a->source_at) + at,
                                     CHECK_WARP_BYTES, sl_how_default()));
    check_lane_warp(out, sl_get_warp(&a->dev, key, 0,
                                     CHECK_AT(uint8_t, a->target_at) + at,
                                     CHECK_WARP_BYTES));
}

SL_KERNEL_FOR(k_check_diverge, struct check_diverge_args, CHECK_THREADS, 1)
{
    struct check_lane *out =
        CHECK_AT(struct check_lane, arg.out_at) + check_thread();
    if (slp_lane() % 8u == 7u)
        return;
    check_lane_alone(&arg, out);
    check_lane_together(&arg, out);
    if (slp_lane() >= 16u)
        return;
    check_lane_warp(out, check_echo(&arg.dev, SL_WARP,
                                    check_echo_value(2, check_unit(SL_WARP), 0),
                                    arg.pool, 0, &out->warp_answer[1]));
}

/* ---- waiting, giving up ---- */

#define CHECK_WAIT(F)                                                          \
    SL_FN void check_wait_##F(const struct check_wait_args *a,                 \
                              struct check_wait_out *out)                      \
    {                                                                          \
        struct sl_call c =                                                     \
            check_call(&a->value, sizeof(a->value), a->pool, a->method, 0);    \
        struct sl_until u = sl_until_ns(a->long_ns);                           \
        struct sl_future f = sl_task_begin_##F(&a->dev, &c);                   \
        out->live = f.live;                                                    \
        out->tested = sl_wait_##F(&a->dev, &f, sl_until_ns(0));                \
        uint64_t began = slp_now();                                            \
        out->late = sl_wait_##F(&a->dev, &f, sl_until_ns(a->short_ns));        \
        out->waited_ns = slp_now() - began;                                    \
        check_stage(a->stage_at, 1);                                           \
        u.stop = CHECK_AT(const uint32_t, a->stop_at);                         \
        out->stopped = sl_wait_##F(&a->dev, &f, u);                            \
        check_stage(a->stage_at, 2);                                           \
        out->ended = sl_wait_##F(&a->dev, &f, sl_until_ns(a->long_ns));        \
        out->value = f.result.v[0];                                            \
        out->again = sl_wait_##F(&a->dev, &f, sl_until_ns(0));                 \
    }

CHECK_WAIT(thread)
CHECK_WAIT(warp)
CHECK_WAIT(block)

SL_KERNEL_FOR(k_check_wait, struct check_wait_args, CHECK_THREADS, 1)
{
    struct check_wait_out *out =
        CHECK_AT(struct check_wait_out, arg.out_at) + check_thread();
    if (arg.form == SL_THREAD)
        check_wait_thread(&arg, out);
    else if (arg.form == SL_WARP)
        check_wait_warp(&arg, out);
    else
        check_wait_block(&arg, out);
}

#define CHECK_ABANDON(F)                                                       \
    SL_FN void check_abandon_##F(const struct check_abandon_args *a,           \
                                 struct check_abandon_out *out)                \
    {                                                                          \
        for (uint32_t i = 0; i < a->rounds; i++) {                             \
            struct sl_future f = check_begin_##F(&a->dev, &a->op);             \
            out->live += f.live;                                               \
            if (f.code && !out->code)                                          \
                out->code = f.code;                                            \
            sl_abandon_##F(&a->dev, &f);                                       \
        }                                                                      \
        if (a->stage_at) {                                                     \
            out->full = sl_noop_##F(&a->hasty, 0);                             \
            check_stage(a->stage_at, 1);                                       \
        }                                                                      \
    }

CHECK_ABANDON(thread)
CHECK_ABANDON(warp)
CHECK_ABANDON(block)

SL_KERNEL_FOR(k_check_abandon, struct check_abandon_args, CHECK_THREADS, 1)
{
    struct check_abandon_out *out =
        CHECK_AT(struct check_abandon_out, arg.out_at) + check_thread();
    if (arg.form == SL_THREAD)
        check_abandon_thread(&arg, out);
    else if (arg.form == SL_WARP)
        check_abandon_warp(&arg, out);
    else
        check_abandon_block(&arg, out);
    for (uint32_t i = 0; i < arg.rounds; i++) {
        uint64_t value = check_echo_value(3, 0, i), answer;
        int rc = check_echo(&arg.dev, arg.form, value, arg.echo, 0, &answer);
        out->right +=
            !rc && answer == 2u * value + (uint64_t)(int64_t)arg.dev.device;
        if (rc && !out->code)
            out->code = rc;
    }
}

/* ---- versions ---- */

/* All lanes learn whether the page is one byte repeated. */
SL_FN int check_is_whole(const uint8_t *page, uint64_t size)
{
    int bad = 0;
    for (uint64_t i = slp_lane(); i < size; i += 32u)
        bad |= page[i] != page[0];
    return slp_ballot(slp_lanes(), bad) == 0;
}

SL_KERNEL_FOR(k_check_whole, struct check_whole_args, CHECK_THREADS, 1)
{
    uint64_t warp = check_unit(SL_WARP);
    uint8_t *page = CHECK_AT(uint8_t, arg.pages_at) + warp * arg.size;
    uint64_t end = slp_now() + arg.timeout_ns;
    uint64_t gets = 0, torn = 0, changes = 0;
    uint32_t last = 256, late = 0; /* 256: none yet */
    int code = 0;
    while (!code && !late && (gets < arg.gets || changes < arg.changes)) {
        code = sl_get_warp(&arg.dev, arg.key, 0, page, arg.size);
        torn += !check_is_whole(page, arg.size);
        changes += last != 256u && last != page[0];
        last = page[0];
        gets++;
        /* One lane's clock decides for all; all have read the page. */
        late = slp_shfl(slp_lanes(), slp_now() >= end, 0);
        slp_syncwarp(slp_lanes());
    }
    if (slp_lane() == 0) {
        struct check_whole_out *out =
            CHECK_AT(struct check_whole_out, arg.out_at) + warp;
        out->gets = gets;
        out->torn = torn;
        out->changes = changes;
        out->code = code;
    }
}
