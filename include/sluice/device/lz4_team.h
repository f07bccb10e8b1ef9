/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Decompression of one LZ4 block by all threads of a thread block, the team.
 * For batches that are too small to give each warp a page: it executes about
 * twice what one warp does (lz4.h), in a tenth of the time.
 *
 *   SL_SHARED(struct sl_lz4_unpack_team, ws);
 *   int rc = sl_lz4_decompress_team(ws, src, n, dst, 65536);
 *
 * Three steps, as in lz4_unpack.h, but what is guessed there is looked up here:
 *
 *  1. Each byte of a window of the block is taken for a token, and what would
 *     follow it is noted. The steps along this chain are doubled until all
 *     tokens that the first one leads to are marked.
 *  2. One sequence a thread: lengths, a prefix sum, all checks.
 *  3. Each byte of a tile of output knows its source: a literal, older output,
 *     or a byte of the same tile, whose source it takes instead until none is
 *     left.
 */
#ifndef SLUICE_DEVICE_LZ4_TEAM_H
#define SLUICE_DEVICE_LZ4_TEAM_H

#include "lz4.h"

#define SL_LZ4_TEAM_WARPS 8u
#define SL_LZ4_TEAM (32u * SL_LZ4_TEAM_WARPS) /* threads */

/* Bytes of the block that are looked at together, and of output. Each thread
 * has SLZ_EACH of them. */
#define SLZ_TILE 4096u
#define SLZ_EACH (SLZ_TILE / SL_LZ4_TEAM)
#define SLZ_TILE_WORDS (SLZ_TILE / 32u)
/* To the alignment of the block, and behind it what slz_hop may read. */
#define SLZ_TILE_BYTES (SLZ_TILE + 15u + 289u)

/* A byte of the tile that is known, and not only where it comes from. */
#define SLZ_KNOWN 0x8000u

struct sl_lz4_unpack_team {
    uint8_t window[SLZ_TILE_BYTES] __attribute__((aligned(16)));
    /* 1: what follows each byte; 3: source of each byte. */
    uint16_t link[SLZ_TILE + 1u] __attribute__((aligned(16)));
    uint16_t token[SLZ_TILE / 3u + 1u];
    uint32_t map[SLZ_TILE_WORDS];         /* tokens, or starts of pieces */
    uint32_t before[SLZ_TILE_WORDS + 1u]; /* bits of the words before */
    uint32_t away[2u * SL_LZ4_TEAM];
    uint32_t sum[SL_LZ4_TEAM_WARPS], pieces[SL_LZ4_TEAM_WARPS];
    uint32_t next; /* the token behind the last that was decoded */
    uint32_t bad;
    uint32_t left[3]; /* in each of three rounds: bytes that are not known */
};

/** A thread's sequence, and its place in the output and among the pieces. */
struct slz_place {
    struct slz_seq s;
    uint32_t begin, piece;
};

SLZ_FN uint32_t slz_team_warp(void)
{
    return slp_thread() / SLZ_LANES;
}

SLZ_FN void slz_team_clear(struct sl_lz4_unpack_team *ws)
{
    if (slp_thread() < SLZ_TILE_WORDS)
        ws->map[slp_thread()] = 0;
}

/* Counts the bits of the map before each word; the map is complete when this is
 * called, and the counts are when it returns. */
SLZ_FN void slz_team_count(struct sl_lz4_unpack_team *ws)
{
    uint32_t lane = slp_lane(), each = SLZ_TILE_WORDS / SLZ_LANES, n = 0;
    slp_syncblock();
    if (slz_team_warp() == 0) {
        for (uint32_t i = 0; i < each; i++)
            n += slp_popc(ws->map[lane * each + i]);
        uint32_t sum = slz_sum(n, lane) - n;
        for (uint32_t i = 0; i < each; i++) {
            ws->before[lane * each + i] = sum;
            sum += slp_popc(ws->map[lane * each + i]);
        }
        if (lane == 31u)
            ws->before[SLZ_TILE_WORDS] = sum;
    }
    slp_syncblock();
}

/* Bits of the map before `at`. */
SLZ_FN uint32_t slz_team_rank(const struct sl_lz4_unpack_team *ws, uint32_t at)
{
    return ws->before[at / 32u] +
           slp_popc(ws->map[at / 32u] & slz_below(at % 32u));
}

/* ---- 1. tokens ---- */

/* Brings the window at `at` into shared memory, a slice a warp. */
SLZ_FN void slz_team_window(struct slz_unpack *u, uint32_t at)
{
    uint32_t shift = (uint32_t)(uintptr_t)(u->in + at) & 15u;
    uint32_t n = u->end - at, most = SLZ_TILE_BYTES - 15u;
    uint32_t slice = SLZ_TILE / SL_LZ4_TEAM_WARPS, warp = slz_team_warp();
    n = n < most ? n : most;
    uint32_t from = warp * slice, to = from + slice;
    to = warp == SL_LZ4_TEAM_WARPS - 1u || to > n ? n : to;
    slp_syncblock(); /* nobody reads the last one */
    if (from < to)
        slz_fetch(u->window + shift + from, u->in + at + from, to - from,
                  u->lane);
    slp_fetched();
    slp_syncblock();
    u->base = at - shift;
    u->filled = shift + n;
}

/* The token behind that at `at`, if that is one; at least u->end or outside of
 * the window where it does not matter. */
SLZ_FN uint32_t slz_team_hop(const struct slz_unpack *u, uint32_t at)
{
    uint32_t offset_at, next = slz_hop(u, at, &offset_at);
    if (next >= u->end) {
        struct slz_seq s = slz_read(u->window, at - u->base, u->filled);
        next = s.match ? u->base + s.next : u->end;
    }
    return next;
}

/* Links each of the n bytes from `at` on with what would follow it, or with n. */
SLZ_FN void slz_team_link(const struct slz_unpack *u,
                          struct sl_lz4_unpack_team *ws, uint32_t at,
                          uint32_t n)
{
    for (uint32_t i = slp_thread(); i < n; i += SL_LZ4_TEAM) {
        uint32_t next = slz_team_hop(u, at + i) - at;
        ws->link[i] = (uint16_t)(next < n ? next : n);
    }
    if (slp_thread() == 0) {
        ws->link[n] = (uint16_t)n;
        ws->map[0] = 1u;
    }
    slp_syncblock();
}

/* One doubling: whoever is marked marks where its link leads, and each link goes
 * twice as far. */
SLZ_FN void slz_team_double(struct sl_lz4_unpack_team *ws, uint32_t n)
{
    uint32_t link[SLZ_EACH], mark[SLZ_EACH], t = slp_thread();
    SLZ_UNROLL
    for (uint32_t k = 0; k < SLZ_EACH; k++) {
        uint32_t i = t + k * SL_LZ4_TEAM;
        mark[k] = n;
        if (i < n) {
            uint32_t to = ws->link[i];
            link[k] = ws->link[to];
            mark[k] = ws->map[i / 32u] >> (i % 32u) & 1u ? to : n;
        }
    }
    slp_syncblock();
    SLZ_UNROLL
    for (uint32_t k = 0; k < SLZ_EACH; k++) {
        uint32_t i = t + k * SL_LZ4_TEAM;
        if (i < n)
            ws->link[i] = (uint16_t)link[k];
        if (mark[k] < n)
            slp_mark(&ws->map[mark[k] / 32u], 1u << (mark[k] % 32u));
    }
    slp_syncblock();
}

/* Lists the tokens of the window at `at`, and gives their number. */
SLZ_FN uint32_t slz_team_tokens(struct slz_unpack *u,
                                struct sl_lz4_unpack_team *ws, uint32_t at)
{
    uint32_t n = u->end - at < SLZ_TILE ? u->end - at : SLZ_TILE;
    slz_team_clear(ws);
    slz_team_window(u, at);
    slz_team_link(u, ws, at, n);
    while (ws->link[0] < n)
        slz_team_double(ws, n);
    slz_team_count(ws);
    for (uint32_t i = slp_thread(); i < n; i += SL_LZ4_TEAM)
        if (ws->map[i / 32u] >> (i % 32u) & 1u)
            ws->token[slz_team_rank(ws, i)] = (uint16_t)(at + i - u->base);
    slp_syncblock();
    return ws->before[SLZ_TILE_WORDS];
}

/* ---- 2. sequences ---- */

/* Adds what the warps before this one have; `*all` is the sum of all. */
SLZ_FN uint32_t slz_team_sum(const uint32_t *of_warp, uint32_t *all)
{
    uint32_t warp = slz_team_warp(), before = 0;
    *all = 0;
    for (uint32_t i = 0; i < SL_LZ4_TEAM_WARPS; i++) {
        before += i < warp ? of_warp[i] : 0u;
        *all += of_warp[i];
    }
    return before;
}

/* The bytes of a sequence; of one that is too long, more than the page has. */
SLZ_FN uint32_t slz_team_len(const struct slz_unpack *u,
                             const struct slz_seq *s)
{
    uint32_t most = u->size + 1u;
    return s->run + s->match < most ? s->run + s->match : most;
}

/* Places this thread's sequence; gives the bytes of all threads'. */
SLZ_FN uint32_t slz_team_place(const struct slz_unpack *u,
                               struct sl_lz4_unpack_team *ws,
                               struct slz_place *p)
{
    uint32_t len = slz_team_len(u, &p->s), sum = slz_sum(len, u->lane), all;
    uint32_t run = slp_ballot(SLZ_ALL, p->s.run != 0);
    uint32_t match = slp_ballot(SLZ_ALL, p->s.match != 0);
    if (u->lane == 31u) {
        ws->sum[slz_team_warp()] = sum;
        ws->pieces[slz_team_warp()] = slp_popc(run) + slp_popc(match);
    }
    slp_syncblock();
    p->piece = slz_team_sum(ws->pieces, &all) +
               slp_popc(run & slz_below(u->lane)) +
               slp_popc(match & slz_below(u->lane));
    p->begin = u->op + sum - len + slz_team_sum(ws->sum, &all);
    return all;
}

/* The distances of its pieces, to a place of the window (SLZ_ELSEWHERE), of the
 * block (SLZ_FAR) or of the page. */
SLZ_FN void slz_team_pieces(const struct slz_unpack *u,
                            struct sl_lz4_unpack_team *ws,
                            const struct slz_place *p)
{
    const struct slz_seq *s = &p->s;
    uint32_t i = p->piece;
    int here = s->from + s->run <= u->base + u->filled;
    if (s->run)
        ws->away[i++] =
            s->from - p->begin + (here ? SLZ_ELSEWHERE - u->base : SLZ_FAR);
    if (s->match)
        ws->away[i] = 0u - s->off;
}

/* ---- 3. bytes ---- */

SLZ_FN void slz_team_start(struct sl_lz4_unpack_team *ws, uint32_t at)
{
    if (at < SLZ_TILE)
        slp_mark(&ws->map[at / 32u], 1u << (at % 32u));
}

/* The byte of the tile at `begin` whose source is `from`: known, or which byte of
 * the tile it is. Without branches, so that the loads of several overlap. */
SLZ_FN uint32_t slz_team_source(const struct slz_unpack *u, uint32_t begin,
                                uint32_t from)
{
    const uint8_t *base = from & SLZ_FAR ? u->in : u->dst;
    base = from & SLZ_ELSEWHERE ? u->window : base;
    int here = from - begin < SLZ_TILE;
    const uint8_t *p = base + (from & (SLZ_ELSEWHERE - 1u));
    uint32_t v = *(here ? u->window : p);
    return here ? from - begin : SLZ_KNOWN | v;
}

/* Replaces sources by what is known of them, until all is. */
SLZ_FN void slz_team_settle(struct sl_lz4_unpack_team *ws, uint32_t *v)
{
    uint32_t t = slp_thread(), left = 1;
    for (uint32_t round = 0; left; round = round == 2u ? 0u : round + 1u) {
        uint32_t was[SLZ_EACH], unknown = 0;
        SLZ_UNROLL
        for (uint32_t k = 0; k < SLZ_EACH; k++) {
            was[k] = v[k];
            if (!(v[k] & SLZ_KNOWN))
                v[k] = slp_load_any(&ws->link[v[k]]);
            unknown |= ~v[k] & SLZ_KNOWN;
        }
        SLZ_UNROLL
        for (uint32_t k = 0; k < SLZ_EACH; k++)
            if (v[k] != was[k])
                slp_store_any(&ws->link[t + k * SL_LZ4_TEAM], (uint16_t)v[k]);
        if (unknown)
            slp_mark(&ws->left[round], 1u);
        if (t == 0)
            ws->left[round == 2u ? 0u : round + 1u] = 0;
        slp_syncblock();
        left = ws->left[round];
    }
}

/* The sources of this thread's bytes, of those of the tile below n. */
SLZ_FN void slz_team_sources(const struct slz_unpack *u,
                             const struct sl_lz4_unpack_team *ws,
                             uint32_t begin, uint32_t n, uint32_t pieces,
                             uint32_t *v)
{
    uint32_t t = slp_thread();
    SLZ_UNROLL
    for (uint32_t k = 0; k < SLZ_EACH; k++) {
        uint32_t i = t + k * SL_LZ4_TEAM;
        v[k] = SLZ_KNOWN;
        if (i < n) {
            uint32_t piece = pieces + slz_team_rank(ws, i) +
                             (ws->map[i / 32u] >> (i % 32u) & 1u) - 1u;
            v[k] = begin + i + ws->away[piece];
        }
    }
    SLZ_UNROLL
    for (uint32_t k = 0; k < SLZ_EACH; k++)
        if (t + k * SL_LZ4_TEAM < n)
            v[k] = slz_team_source(u, begin, v[k]);
}

/* Writes n bytes from `begin` on, for which `pieces` have started before. */
SLZ_FN void slz_team_write(const struct slz_unpack *u,
                           struct sl_lz4_unpack_team *ws, uint32_t begin,
                           uint32_t n, uint32_t pieces)
{
    uint32_t v[SLZ_EACH], t = slp_thread();
    slz_team_sources(u, ws, begin, n, pieces, v);
    SLZ_UNROLL
    for (uint32_t k = 0; k < SLZ_EACH; k++)
        ws->link[t + k * SL_LZ4_TEAM] = (uint16_t)v[k];
    if (t == 0)
        ws->left[0] = 0;
    slp_syncblock();
    slz_team_settle(ws, v);
    SLZ_UNROLL
    for (uint32_t k = 0; k < SLZ_EACH; k++) {
        uint32_t i = t + k * SL_LZ4_TEAM;
        if (i < n)
            u->dst[begin + i] = (uint8_t)v[k];
    }
}

/* Decodes k sequences, one a thread. 0 or SL_EBLOCK. */
SLZ_FN int slz_team_sequences(struct slz_unpack *u,
                              struct sl_lz4_unpack_team *ws, uint32_t first,
                              uint32_t k)
{
    struct slz_place p = {{0, 0, 0, 0, 0}, 0, 0};
    uint32_t t = slp_thread(), pieces = 0;
    if (t < k)
        p.s = slz_sequence(u, u->base + ws->token[first + t]);
    uint32_t total = slz_team_place(u, ws, &p);
    if (t < k && slz_bad(u, &p.s, p.begin, slz_team_len(u, &p.s)))
        slp_mark(&ws->bad, 1u);
    if (t == k - 1u)
        ws->next = p.s.next;
    slp_syncblock();
    if (ws->bad)
        return SL_EBLOCK;
    slz_team_pieces(u, ws, &p);
    for (uint32_t i = 0; i < total; i += SLZ_TILE) {
        uint32_t n = total - i < SLZ_TILE ? total - i : SLZ_TILE;
        slz_team_clear(ws);
        slp_syncblock();
        if (p.s.run)
            slz_team_start(ws, p.begin - u->op - i);
        if (p.s.match)
            slz_team_start(ws, p.begin + p.s.run - u->op - i);
        slz_team_count(ws);
        slz_team_write(u, ws, u->op + i, n, pieces);
        pieces += ws->before[SLZ_TILE_WORDS];
    }
    u->op += total;
    return 0;
}

/**
 * As sl_lz4_decompress_warp, for pages up to SL_LZ4_MAX, by a thread block of
 * SL_LZ4_TEAM threads: all call together with equal arguments. `ws` is shared
 * memory. What is written to dst is seen by all threads of the block after the
 * call.
 */
SLZ_FN int sl_lz4_decompress_team(struct sl_lz4_unpack_team *ws,
                                  const void *src, uint32_t n, void *dst,
                                  uint32_t size)
{
    struct slz_unpack u = slz_unpack_of(dst, size);
    uint32_t at = 0;
    int rc = 0;
    if (size > SL_LZ4_MAX)
        return SL_EINVAL;
    if (n == 0 || n > size + SLZ_EXCESS(size))
        return SL_EBLOCK;
    u.in = (const uint8_t *)src;
    u.window = ws->window;
    u.end = n;
    u.op = 0;
    u.large = 1;
    slp_syncblock(); /* nobody works on an earlier block */
    if (slp_thread() == 0)
        ws->bad = 0;
    while (!rc && at < n) {
        uint32_t tokens = slz_team_tokens(&u, ws, at), i = 0;
        for (; !rc && i < tokens; i += SL_LZ4_TEAM)
            rc = slz_team_sequences(
                &u, ws, i, tokens - i < SL_LZ4_TEAM ? tokens - i : SL_LZ4_TEAM);
        at = ws->next;
    }
    slp_syncblock();
    return !rc && u.op != size ? SL_EBLOCK : rc;
}

#endif
