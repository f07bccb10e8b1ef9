/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Compression of one page by one warp; the interface is device/lz4.h.
 *
 * A window of 32 positions (64 in the fast mode, of which every second one is
 * looked at) begins where the last match ended. Each lane looks up its position
 * in the hash table and measures its match; which of them are taken, one after
 * the other, is found by doubling the step along the chain "the first match
 * behind this one". Sequences gather one a lane; 32 of them are written at
 * once, as a stream of pieces (lz4_common.h): headers and literals by turns.
 *
 * Of lanes that store to one slot of the table the lowest wins on the GPUs at
 * hand, so a lane that reads the slot again finds the first position of its
 * window with the same hash: the near candidate that the table cannot know yet.
 * Whoever wins, what is found is compared; only the ratio is at stake.
 *
 * A small page lies in shared memory. Of a large one a segment does, that
 * reaches at least SLZ_BACK bytes back; what is older is read where it is, and
 * the table holds 8 bits of the hash with each position, so that this is
 * done for hardly any candidate that is none.
 */
#ifndef SLUICE_DEVICE_LZ4_PACK_H
#define SLUICE_DEVICE_LZ4_PACK_H

#include "lz4_emit.h"
#include "lz4_match.h"

/* Large pages: makes the window at `at` lie in the segment. */
SLZ_FN void slz_segment(struct slz_pack *c, uint32_t at)
{
    uint32_t first = at / SLZ_BACK * SLZ_BACK;
    if (at < c->seg + 2u * SLZ_BACK)
        return;
    c->seg = first < SLZ_BACK ? 0u : first - SLZ_BACK;
    uint32_t n = c->n - c->seg;
    slp_syncwarp(SLZ_ALL);
    slz_fetch(c->page, c->src + c->seg, n < SLZ_SEGMENT ? n : SLZ_SEGMENT,
              c->lane);
    slp_fetched();
    slp_syncwarp(SLZ_ALL);
}

/* Finds and writes all sequences. 0 or SL_ENOSPC. */
SLZ_FN int slz_parse(struct slz_pack *c)
{
    uint32_t at = c->part ? c->begin : 0u;
    while (at < slz_begin_limit(c)) {
        if (c->large)
            slz_segment(c, at);
        struct slz_look l = slz_look_up(c, at);
        /* A match that begins one later and is longer by two is better. */
        uint32_t later = slp_shfl_down(SLZ_ALL, l.match, 1);
        int good = l.match && later <= l.match + 1u;
        uint32_t votes = slp_ballot(SLZ_ALL, good);
        if (!votes) {
            at += SLZ_LANES * c->step;
            continue;
        }
        uint32_t chosen = slz_choose(c, &l, votes, &at);
        uint32_t i = c->seqs + slp_popc(chosen & slz_below(c->lane));
        if (chosen >> c->lane & 1u) {
            c->out->taken.at[i] = l.p | l.match << 16;
            c->out->taken.off[i] = (uint16_t)l.off;
        }
        c->seqs += slp_popc(chosen);
        if (c->seqs >= SLZ_LANES) {
            int rc = slz_emit_seqs(c, SLZ_LANES);
            if (rc)
                return rc;
        }
    }
    return c->seqs ? slz_emit_seqs(c, c->seqs) : 0;
}

SLZ_FN int slz_pack_page(struct slz_pack *c)
{
    int rc = slz_parse(c);
    return rc ? rc : slz_emit_last(c);
}

/* Zeroes a table of `bytes`, a multiple of 16. A table that keeps what it held
 * would do too, but the same page would not always give the same block. */
SLZ_FN void slz_table_clear(void *table, uint32_t bytes, uint32_t lane)
{
    struct slz_v16 *t = (struct slz_v16 *)table;
    struct slz_v16 zero = {{0, 0, 0, 0}};
    for (uint32_t i = lane; i < bytes / 16u; i += SLZ_LANES)
        t[i] = zero;
}

/* The workspace, with the page's bytes and an empty table. */
SLZ_FN void slz_open_small(struct slz_pack *c, struct sl_lz4_pack *ws)
{
    c->page = ws->page;
    c->table = ws->table;
    c->tags = 0;
    c->out = &ws->out;
    c->heads = ws->heads;
    c->large = 0;
    slz_fetch(c->page, c->src, c->n, c->lane);
    slz_table_clear(c->table, (uint32_t)sizeof(ws->table), c->lane);
    slp_fetched();
    slp_syncwarp(SLZ_ALL);
}

/* The same, with a segment from c->seg on. */
SLZ_FN void slz_open_large(struct slz_pack *c, struct sl_lz4_pack_large *ws)
{
    uint32_t left = c->n - c->seg;
    c->page = ws->page;
    c->table = ws->table;
    c->tags = ws->tags;
    c->out = &ws->out;
    c->heads = ws->heads;
    c->large = 1;
    slz_fetch(c->page, c->src + c->seg, left < SLZ_SEGMENT ? left : SLZ_SEGMENT,
              c->lane);
    slz_table_clear(c->table, (uint32_t)sizeof(ws->table), c->lane);
    slz_table_clear(c->tags, (uint32_t)sizeof(ws->tags), c->lane);
    slp_fetched();
    slp_syncwarp(SLZ_ALL);
}

#endif
