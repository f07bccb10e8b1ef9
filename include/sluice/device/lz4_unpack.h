/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Decompression of one LZ4 block by one warp; the interface is device/lz4.h.
 *
 * Three steps, none of which goes from sequence to sequence:
 *
 *  1. Where do the tokens lie? A window of the block is cut into 32 zones. Each
 *     lane guesses where the chain of tokens enters its zone and walks it; what
 *     leaves a zone corrects the guess of the next, until all agree. A guess is
 *     a chain whose offsets are all possible, so it is mostly right.
 *  2. One sequence a lane: lengths, a prefix sum that gives its place in the
 *     output, and all checks.
 *  3. The bytes, 32 at a time, as a stream of pieces (lz4_common.h). A source
 *     that lies among the same 32 bytes is followed from lane to lane.
 *
 * A small page is decoded in place: the block lies at the end of the buffer and
 * the output grows towards it. What remains of a valid block is never longer
 * than what remains of the output by more than a byte for each 255 and two, so
 * with SLZ_GAP the bytes that are written never reach those still to be read. Of a
 * large page the window and the last SLZ_RING bytes of output lie in shared
 * memory. What is older, and literals behind the window, is read from where it
 * is, for 128 bytes of output at once: one after the other the warp would wait
 * for each.
 */
#ifndef SLUICE_DEVICE_LZ4_UNPACK_H
#define SLUICE_DEVICE_LZ4_UNPACK_H

#include "lz4_common.h"

/* Most bytes of a block over its page: lz4.h, LZ4_compressBound. */
#define SLZ_EXCESS(size) ((size) / 255u + 16u)

/* Between output and block, in place: 32 positions are read at once. */
#define SLZ_GAP 32u

/* Output of large pages in shared memory, a power of two; at least what is
 * written between two flushes twice. */
#define SLZ_RING 2048u
#define SLZ_FLUSH 512u

/* With the block's bytes to their own alignment, and 32 positions read behind
 * the last. */
#define SLZ_UNPACK_BYTES                                                       \
    (SL_LZ4_SMALL + SLZ_EXCESS(SL_LZ4_SMALL) + SLZ_GAP + 16u + 32u)

/* Zones: long enough that a guessed chain meets the true one, short enough that
 * a walk is short; 4 more than a multiple of 8, so that zone starts lie in
 * different banks. Measured in docs/performance.md. */
#define SLZ_ZONE_MIN 20u
#define SLZ_ZONE_MAX 92u

/* Of a large page's block the window lies in shared memory, since the lanes read
 * far apart; with the bytes behind it that belong to its tokens: a length of one
 * byte, the literals, an offset, another length. */
#define SLZ_ZONE_LARGE 68u
#define SLZ_WINDOW (SLZ_LANES * SLZ_ZONE_LARGE)
#define SLZ_WINDOW_BYTES (SLZ_WINDOW + 15u + 289u)

/* Tokens that a guess looks at. */
#define SLZ_TRIES 28u

#define SLZ_NOWHERE 0xffffffffu /* no position */

/* Sources of large pages: those with SLZ_ELSEWHERE lie in shared memory behind
 * the ring, those with SLZ_FAR in the block, others are positions of output. */
#define SLZ_FAR (2u * SLZ_ELSEWHERE)

/* Tokens that are found and not decoded yet: a window's, and less than 32 left
 * over. One zone has at most SLZ_ZONE_MAX / 3 + 1; zones whose tokens do not fit
 * are walked again. As many as leave room for 40 warps on a multiprocessor, of
 * large pages for 36. */
#define SLZ_TOKENS 480u
#define SLZ_TOKENS_LARGE 576u

struct sl_lz4_unpack {
    uint8_t buf[SLZ_UNPACK_BYTES] __attribute__((aligned(16)));
    struct slz_pieces pieces;
    uint16_t token[SLZ_TOKENS];
};

struct sl_lz4_unpack_large {
    uint8_t buf[SLZ_RING + SLZ_WINDOW_BYTES] __attribute__((aligned(16)));
    struct slz_pieces pieces;
    uint16_t token[SLZ_TOKENS_LARGE];
};

/* One warp's work; the same in all lanes but `lane`. */
struct slz_unpack {
    uint8_t *buf;
    struct slz_pieces *pieces;
    uint16_t *token;
    const uint8_t *in; /* the block's bytes are in[.. end) */
    uint8_t *window;   /* large pages: the window's bytes */
    uint32_t base;     /* position of window[0]; small: 0, of in[0] */
    uint32_t filled;   /* window[.. filled) is there; large pages */
    uint8_t *dst;
    uint32_t lane;
    uint32_t end;
    uint32_t size;    /* of the page */
    uint32_t op;      /* bytes of output that are decoded */
    uint32_t flushed; /* of them in dst; large pages */
    uint32_t n; /* tokens waiting; of large pages they lie in the window */
    int large;  /* constant */
};

/** A sequence as it stands in the block. */
struct slz_seq {
    uint32_t from; /* of its literals */
    uint32_t run;  /* literals */
    uint32_t off;
    uint32_t match; /* bytes of the match; 0: none follows */
    uint32_t next;  /* the token behind it */
};

/* Adds the bytes that continue a length behind one of 255. Ends at `end` when
 * they do not. */
SLZ_FN uint32_t slz_length(const uint8_t *in, uint32_t *at, uint32_t end)
{
    uint32_t sum = 0, b = 255;
    while (b == 255u && *at < end) {
        b = in[(*at)++];
        sum += b;
    }
    return sum;
}

/* Reads the sequence whose token is at `at`, below `end`, and nothing from
 * `end` on. With match == 0 it is the last, or damaged: slz_is_last. Branches
 * are taken for lengths of 255 and more only. */
SLZ_FN struct slz_seq slz_read(const uint8_t *in, uint32_t at, uint32_t end)
{
    struct slz_seq s;
    uint32_t token = in[at], low = token & SLZ_RUN_MASK;
    uint32_t more = token >> 4 == SLZ_RUN_MASK;
    uint32_t b = more && at + 1u < end ? in[at + 1u] : 0u;
    s.from = at + 1u + more;
    s.run = (token >> 4) + b;
    if (b == 255u)
        s.run += slz_length(in, &s.from, end);
    uint32_t q = s.from + s.run;
    int whole = q + 2u < end;
    s.off = whole ? in[q] | (uint32_t)in[q + 1u] << 8 : 0u;
    more = whole && low == SLZ_RUN_MASK;
    b = more ? in[q + 2u] : 0u;
    s.match = whole ? low + SLZ_MIN_MATCH + b : 0u;
    s.next = whole ? q + 2u + more : q;
    if (b == 255u)
        s.match += slz_length(in, &s.next, end);
    return s;
}

SLZ_FN int slz_is_last(const struct slz_seq *s, uint32_t end)
{
    return s->match == 0 && s->next == end;
}

/* ---- 1. tokens ---- */

/* A zone, and the chain that one lane believes to pass through it. */
struct slz_zone {
    uint32_t begin, end;
    uint32_t entry; /* first token at or behind `begin` */
    uint32_t exit;  /* first token at or behind `end`, or the block's end */
    uint32_t n;     /* tokens in between */
};

/* The token behind that at `at`. Where that is not simple, `end` or behind. */
SLZ_FN uint32_t slz_hop(const struct slz_unpack *u, uint32_t at,
                        uint32_t *offset_at)
{
    const uint8_t *in = u->large ? u->window : u->in;
    uint32_t token = in[at - u->base], b = 0;
    uint32_t next = at + 1u + (token >> 4);
    /* Behind the block there is a byte that may be read. */
    if (token >= SLZ_RUN_MASK << 4) {
        b = in[at + 1u - u->base];
        next += b + 1u;
    }
    *offset_at = next;
    next = b == 255u ? u->end : next + 2u;
    if ((token & SLZ_RUN_MASK) == SLZ_RUN_MASK && next < u->end) {
        b = in[next - u->base];
        next = b == 255u ? u->end : next + 1u;
    }
    return next;
}

/* Follows the chain from `entry`, and lists it if `list` is not null. A damaged
 * sequence is found when it is decoded; what follows it does not matter. */
SLZ_FN void slz_walk(const struct slz_unpack *u, struct slz_zone *z,
                     uint16_t *list)
{
    uint32_t at = z->entry, n = 0;
    while (at < z->end) {
        uint32_t offset_at, next = slz_hop(u, at, &offset_at);
        if (list)
            list[n] = (uint16_t)(at - u->base);
        if (next >= u->end) {
            struct slz_seq s = slz_read(u->in, at, u->end);
            next = s.match || slz_is_last(&s, u->end) ? s.next : z->end;
        }
        at = next;
        n++;
    }
    z->exit = at;
    z->n = n;
}

/* Takes the first chain in which each offset is possible, and which does not
 * leave the zone by its first literals at once: bytes that are no token often
 * look like one with hundreds of them. Where that takes too long, nothing. */
SLZ_FN void slz_guess(const struct slz_unpack *u, struct slz_zone *z)
{
    uint32_t first = z->begin, at = first, n = 0, tries = 0;
    while (at < z->end && tries < SLZ_TRIES) {
        uint32_t q, next = slz_hop(u, at, &q);
        int inside = next < u->end;
        const uint8_t *in = (u->large ? u->window : u->in) + (q - u->base);
        uint32_t off = inside ? in[0] | (uint32_t)in[1] << 8 : 0u;
        int good = inside & (off - 1u < u->size) &
                   ((n != 0) | (next - at <= SLZ_ZONE_MAX));
        good |= q == u->end; /* literals that end the block */
        n = good ? n + 1u : 0u;
        first += good ? 0u : 1u;
        at = good ? next : first;
        tries++;
    }
    z->entry = at < z->end ? SLZ_NOWHERE : first;
    z->exit = at < z->end ? z->end : at;
    z->n = n;
}

/* Lets what leaves each zone enter the next, until nothing changes. Lane 0's
 * entry is true, so after i rounds at least i more lanes are right. Zones that
 * a long run of literals skips take the largest exit before them. */
SLZ_FN void slz_agree(const struct slz_unpack *u, struct slz_zone *z,
                      uint32_t entry)
{
    for (;;) {
        uint32_t in = slp_shfl_up(SLZ_ALL, slz_max(z->exit, u->lane), 1);
        in = u->lane ? in : entry;
        in = in > entry ? in : entry;
        int wrong = (in != z->entry) & (z->begin < u->end);
        if (!slp_any(SLZ_ALL, wrong))
            return;
        if (wrong) {
            z->entry = in;
            slz_walk(u, z, 0);
        }
    }
}

/* Brings the window at `at` into shared memory. */
SLZ_FN void slz_window(struct slz_unpack *u, uint32_t at)
{
    uint32_t shift = (uint32_t)(uintptr_t)(u->in + at) & 15u;
    uint32_t n = u->end - at, most = SLZ_WINDOW_BYTES - 15u;
    n = n < most ? n : most;
    slp_syncwarp(SLZ_ALL); /* nobody reads the last one */
    slz_fetch(u->window + shift, u->in + at, n, u->lane);
    slp_fetched();
    slp_syncwarp(SLZ_ALL);
    u->base = at - shift;
    u->filled = shift + n;
}

/* Lists the tokens of a window from the token at `at`; gives the first token
 * that is not listed, or the block's end. */
SLZ_FN uint32_t slz_tokens(struct slz_unpack *u, uint32_t at)
{
    struct slz_zone z;
    uint32_t most = u->large ? SLZ_ZONE_LARGE : SLZ_ZONE_MAX;
    uint32_t size = ((u->end - at + 255u) / 256u) * 8u + 4u;
    size = size < SLZ_ZONE_MIN ? SLZ_ZONE_MIN : size;
    size = size > most ? most : size;
    if (u->large)
        slz_window(u, at);
    z.begin = at + u->lane * size;
    z.begin = z.begin < u->end ? z.begin : u->end;
    z.end = z.begin + size < u->end ? z.begin + size : u->end;
    slz_guess(u, &z);
    slz_agree(u, &z, at);
    uint32_t sum = slz_sum(z.n, u->lane);
    /* All lanes up to the last whose tokens fit; lane 0's do. */
    int fits = u->n + sum <= (u->large ? SLZ_TOKENS_LARGE : SLZ_TOKENS);
    uint32_t last = slp_top(slp_ballot(SLZ_ALL, fits));
    if (fits)
        slz_walk(u, &z, u->token + u->n + sum - z.n);
    u->n += slp_shfl(SLZ_ALL, sum, last);
    uint32_t exit = slz_max(z.exit, u->lane);
    slp_syncwarp(SLZ_ALL);
    return slp_shfl(SLZ_ALL, exit, last);
}

/* ---- 3. bytes ---- */

/* Sources relative to the first of 32 positions: one that is one of them is
 * replaced by the source of that lane's byte, until none is. */
SLZ_FN uint32_t slz_settle(uint32_t from)
{
    while (slp_any(SLZ_ALL, from < SLZ_LANES)) {
        uint32_t next = slp_shfl(SLZ_ALL, from, from);
        from = from < SLZ_LANES ? next : from;
    }
    return from;
}

/* Small pages: writes the bytes from `at` on, of which `used` lanes' are wanted;
 * `from` is relative to `at` and was not settled. */
SLZ_FN void slz_write_32(const struct slz_unpack *u, uint32_t at, uint32_t from,
                         int used)
{
    from = at + slz_settle(from);
    if (used)
        u->buf[at + u->lane] = u->buf[from];
    slp_syncwarp(SLZ_ALL);
}

/* Large pages: whether what is written at `at` has its source neither in the
 * ring nor in the window. */
SLZ_FN int slz_is_far(uint32_t from, uint32_t at)
{
    return (at + SLZ_LANES - from > SLZ_RING) & !(from & SLZ_ELSEWHERE);
}

SLZ_FN uint32_t slz_far_byte(const struct slz_unpack *u, uint32_t from,
                             uint32_t at, int used)
{
    const uint8_t *base = from & SLZ_FAR ? u->in : u->dst;
    uint32_t v = 0;
    if (used && slz_is_far(from, at))
        v = base[from & (SLZ_ELSEWHERE - 1u)];
    return v;
}

/* Large pages: as slz_write_32; `far` is the byte of lanes whose source is. Not
 * the sources are settled but the lanes that have them. */
SLZ_FN void slz_write_large(const struct slz_unpack *u, uint32_t at,
                            uint32_t from, uint32_t far, int used)
{
    uint32_t source = at + from, v = far;
    uint32_t in = source & SLZ_ELSEWHERE ? SLZ_ELSEWHERE - 1u : SLZ_RING - 1u;
    int here = from < SLZ_LANES;
    if (used && !here && !slz_is_far(source, at))
        v = u->buf[source & in];
    if (slp_any(SLZ_ALL, here)) {
        uint32_t lane = here ? from : u->lane, next = lane;
        do {
            lane = next;
            next = slp_shfl(SLZ_ALL, lane, lane);
        } while (slp_any(SLZ_ALL, next != lane));
        v = slp_shfl(SLZ_ALL, v, lane);
    }
    if (used)
        u->buf[(at + u->lane) % SLZ_RING] = (uint8_t)v;
    slp_syncwarp(SLZ_ALL);
}

/* Writes 4 * 32 bytes; only what they read of each other is done in turn. */
SLZ_FN void slz_write_128(const struct slz_unpack *u, uint32_t at,
                          const uint32_t *from)
{
    uint32_t far[4] = {0, 0, 0, 0};
    for (uint32_t k = 0; u->large && k < 4u; k++) {
        uint32_t to = at + k * SLZ_LANES;
        far[k] = slz_far_byte(u, to + from[k], to, 1);
    }
    for (uint32_t k = 0; k < 4u; k++) {
        if (u->large)
            slz_write_large(u, at + k * SLZ_LANES, from[k], far[k], 1);
        else
            slz_write_32(u, at + k * SLZ_LANES, from[k], 1);
    }
}

/* Writes the `n` bytes from `begin` on that the map covers; `*pieces` have
 * started before. */
SLZ_FN void slz_write(const struct slz_unpack *u, uint32_t begin, uint32_t n,
                      uint32_t *pieces)
{
    const struct slz_pieces *s = u->pieces;
    uint32_t i = 0;
    for (; i + 4u * SLZ_LANES <= n; i += 4u * SLZ_LANES) {
        struct slz_v16 bits =
            *(const struct slz_v16 *)(const void *)&s->map[i / 32u];
        uint32_t from[4];
        for (uint32_t k = 0; k < 4u; k++)
            from[k] = u->lane + slz_away(s, bits.w[k], u->lane, pieces);
        slz_write_128(u, begin + i, from);
    }
    for (; i < n; i += SLZ_LANES) {
        uint32_t from = u->lane + slz_away(s, s->map[i / 32u], u->lane, pieces);
        uint32_t at = begin + i;
        int used = i + u->lane < n;
        if (u->large)
            slz_write_large(u, at, from, slz_far_byte(u, at + from, at, used),
                            used);
        else
            slz_write_32(u, at, from, used);
    }
}

/* Large pages: moves what is complete of the ring to dst. */
SLZ_FN void slz_flush_ring(struct slz_unpack *u, uint32_t upto)
{
    while (upto - u->flushed >= SLZ_FLUSH) {
        slz_flush(u->dst + u->flushed, u->buf + u->flushed % SLZ_RING,
                  SLZ_FLUSH, u->lane);
        u->flushed += SLZ_FLUSH;
    }
    slp_syncwarp(SLZ_ALL);
}

/* ---- 2. sequences ---- */

/* What is wrong with a sequence that goes from `begin` in the output, if
 * anything. `len` is all its bytes. */
SLZ_FN int slz_bad(const struct slz_unpack *u, const struct slz_seq *s,
                   uint32_t begin, uint32_t len)
{
    if (begin + len > u->size)
        return 1;
    if (!u->large && begin + len + SLZ_GAP > s->next)
        return 1;
    if (s->match == 0)
        return s->next != u->end;
    return s->off - 1u >= begin + s->run || s->next >= u->end;
}

/* Reads the sequence whose token is at `at`; of a large page in the window, if
 * it is there as a whole. */
SLZ_FN struct slz_seq slz_sequence(const struct slz_unpack *u, uint32_t at)
{
    if (u->large) {
        struct slz_seq s = slz_read(u->window, at - u->base, u->filled);
        s.from += u->base;
        s.next += u->base;
        if (s.match && s.next < u->base + u->filled)
            return s;
    }
    return slz_read(u->in, at, u->end);
}

/* What is added to a literal's place in the block to have its source. */
SLZ_FN uint32_t slz_literals(const struct slz_unpack *u,
                             const struct slz_seq *s)
{
    if (!u->large)
        return 0;
    return s->from + s->run <= u->base + u->filled
               ? SLZ_ELSEWHERE + SLZ_RING - u->base
               : SLZ_FAR;
}

/* The pieces of this lane's sequence: literals, match. */
SLZ_FN void slz_pieces_add(const struct slz_unpack *u, const struct slz_seq *s,
                           uint32_t begin)
{
    uint32_t *away = u->pieces->away;
    uint32_t with_run = slp_ballot(SLZ_ALL, s->run != 0);
    uint32_t i = u->lane + slp_popc(with_run & slz_below(u->lane));
    if (s->run)
        away[i++] = s->from - begin + slz_literals(u, s);
    if (s->match)
        away[i] = 0u - s->off;
}

/* Decodes k <= 32 sequences, one a lane. 0 or SL_EBLOCK. */
SLZ_FN int slz_sequences(struct slz_unpack *u, uint32_t first, uint32_t k)
{
    struct slz_seq s = {0, 0, 0, 0, 0};
    uint32_t token = u->token[first + (u->lane < k ? u->lane : 0u)];
    if (u->lane < k)
        s = slz_sequence(u, u->base + token);
    uint32_t most = u->size + 1u;
    uint32_t len = s.run + s.match < most ? s.run + s.match : most;
    uint32_t sum = slz_sum(len, u->lane), begin = u->op + sum - len;
    if (slp_any(SLZ_ALL, u->lane < k && slz_bad(u, &s, begin, len)))
        return SL_EBLOCK;
    uint32_t total = slp_shfl(SLZ_ALL, sum, 31), pieces = 0;
    slz_pieces_add(u, &s, begin);
    for (uint32_t i = 0; i < total; i += SLZ_MAP_BYTES) {
        uint32_t left = total - i;
        slz_map_clear(u->pieces, u->lane);
        if (s.run)
            slz_map_start(u->pieces, begin - u->op - i);
        if (s.match)
            slz_map_start(u->pieces, begin + s.run - u->op - i);
        slp_syncwarp(SLZ_ALL);
        slz_write(u, u->op + i, left < SLZ_MAP_BYTES ? left : SLZ_MAP_BYTES,
                  &pieces);
        if (u->large)
            slz_flush_ring(
                u, u->op + i + (left < SLZ_MAP_BYTES ? left : SLZ_MAP_BYTES));
    }
    u->op += total;
    return 0;
}

/* Decodes the tokens that wait; unless it is the end, only full warps of them,
 * and the rest moves to the front. */
SLZ_FN int slz_drain(struct slz_unpack *u, int all)
{
    uint16_t *token = u->token;
    uint32_t i = 0;
    while (u->n - i >= (all && u->n > i ? 1u : SLZ_LANES)) {
        uint32_t k = u->n - i < SLZ_LANES ? u->n - i : SLZ_LANES;
        int rc = slz_sequences(u, i, k);
        if (rc)
            return rc;
        i += k;
    }
    u->n -= i;
    uint16_t rest = u->lane < u->n ? token[i + u->lane] : (uint16_t)0;
    slp_syncwarp(SLZ_ALL);
    if (u->lane < u->n)
        token[u->lane] = rest;
    return 0;
}

SLZ_FN int slz_unpack_block(struct slz_unpack *u, uint32_t at)
{
    int rc = 0;
    u->op = 0;
    u->flushed = 0;
    u->n = 0;
    while (!rc && at < u->end) {
        at = slz_tokens(u, at);
        rc = slz_drain(u, u->large || at >= u->end);
    }
    return !rc && u->op != u->size ? SL_EBLOCK : rc;
}

SLZ_FN int slz_unpack_small(struct slz_unpack *u, struct sl_lz4_unpack *ws,
                            const uint8_t *src, uint32_t n)
{
    /* The block ends so far behind the page that it is never met, and lies as
     * it does in memory to 16 bytes. */
    uint32_t at = u->size + SLZ_EXCESS(u->size) + SLZ_GAP + 15u - n;
    at -= (at - (uint32_t)(uintptr_t)src) & 15u;
    u->buf = ws->buf;
    u->pieces = &ws->pieces;
    u->token = ws->token;
    u->in = ws->buf;
    u->window = 0;
    u->base = 0;
    u->filled = 0;
    u->end = at + n;
    u->large = 0;
    slz_fetch(u->buf + at, src, n, u->lane);
    slp_fetched();
    slp_syncwarp(SLZ_ALL);
    int rc = slz_unpack_block(u, at);
    slp_syncwarp(SLZ_ALL);
    if (!rc)
        slz_flush(u->dst, u->buf, u->size, u->lane);
    return rc;
}

SLZ_FN int slz_unpack_large(struct slz_unpack *u,
                            struct sl_lz4_unpack_large *ws, const uint8_t *src,
                            uint32_t n)
{
    u->buf = ws->buf;
    u->pieces = &ws->pieces;
    u->token = ws->token;
    u->in = src;
    u->window = ws->buf + SLZ_RING;
    u->base = 0;
    u->filled = 0;
    u->end = n;
    u->large = 1;
    int rc = slz_unpack_block(u, 0);
    slp_syncwarp(SLZ_ALL);
    if (!rc)
        slz_flush(u->dst + u->flushed, u->buf + u->flushed % SLZ_RING,
                  u->size - u->flushed, u->lane);
    return rc;
}

#endif
