/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * A group of callers: one thread, the live threads of a warp, or a block.
 *
 * The leader (rank 0) speaks the protocol, all ranks move bytes. `form` is a
 * constant at each call, so the compiler drops the other branches.
 */
#ifndef SLUICE_DEVICE_GROUP_H
#define SLUICE_DEVICE_GROUP_H

enum sl_form { SL_THREAD = 0, SL_WARP = 1, SL_BLOCK = 2 };

struct slg {
    int form;
    uint32_t mask;   /* live lanes, warp form */
    uint32_t leader; /* lane of rank 0, warp form */
    uint32_t rank;
    uint32_t size;
};

SL_FN uint32_t slg_popc(uint32_t v)
{
    v = v - ((v >> 1) & 0x55555555u);
    v = (v & 0x33333333u) + ((v >> 2) & 0x33333333u);
    return (((v + (v >> 4)) & 0x0f0f0f0fu) * 0x01010101u) >> 24;
}

/** Index of the lowest set bit; v is not 0. */
SL_FN uint32_t slg_lowest(uint32_t v)
{
    return slg_popc((v & (0u - v)) - 1u);
}

SL_FN struct slg slg_make(int form)
{
    struct slg g;
    g.form = form;
    g.mask = 1;
    g.leader = 0;
    g.rank = 0;
    g.size = 1;
    if (form == SL_WARP) {
        g.mask = slp_ballot(slp_lanes(), 1);
        g.leader = slg_lowest(g.mask);
        g.rank = slg_popc(g.mask & ((1u << slp_lane()) - 1u));
        g.size = slg_popc(g.mask);
    } else if (form == SL_BLOCK) {
        g.rank = slp_thread();
        g.size = slp_threads();
    }
    return g;
}

/** All ranks arrive; what they wrote before is ordered before what any writes
 *  after. */
SL_FN void slg_sync(const struct slg *g)
{
    if (g->form == SL_WARP)
        slp_syncwarp(g->mask);
    else if (g->form == SL_BLOCK)
        slp_syncblock();
}

/** The leader's value, in all ranks. */
SL_FN uint64_t slg_share64(const struct slg *g, uint64_t v)
{
    if (g->form == SL_WARP) {
        uint32_t lo = slp_shfl(g->mask, (uint32_t)v, g->leader);
        uint32_t hi = slp_shfl(g->mask, (uint32_t)(v >> 32), g->leader);
        v = ((uint64_t)hi << 32) | lo;
    } else if (g->form == SL_BLOCK) {
        SL_SHARED(uint64_t, box);
        slp_syncblock(); /* all have read what an earlier call left */
        if (g->rank == 0)
            *box = v;
        slp_syncblock();
        v = *box;
    }
    return v;
}

SL_FN uint32_t slg_share32(const struct slg *g, uint32_t v)
{
    if (g->form == SL_WARP)
        return slp_shfl(g->mask, v, g->leader);
    return (uint32_t)slg_share64(g, v);
}

#endif
