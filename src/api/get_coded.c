/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Units of an answer that are LZ4 blocks: a kernel fetches them to the device,
 * others decode them into the caller's memory (pages/batch.h). What else the
 * answer names is copied as it is.
 *
 * The room of a window, on the device: blocks, entries; in page-locked memory:
 * where the blocks are, the entries, which come back with a code for each.
 */
#include "api/get_coded.h"

#include "gpu/kernels/units.h"
#include "pages/batch.h"

#include <stdlib.h>

#define SLACK 64u
#define FETCH_THREADS 256u
/* Units of one length behind one another are one batch; an answer of more is
 * better decoded where it is. */
#define RUNS_MAX 64u

struct run {
    uint32_t first, n; /* units */
    uint32_t len;      /* plain bytes of each, but perhaps the last */
    sl_devptr to;
    uint64_t bytes;
};

void answer_free(struct answer *a)
{
    free(a->copy);
    free(a->unit);
}

static void add_copy(struct answer *a, struct gpu_copy c)
{
    struct gpu_copy *last = a->n_copies ? &a->copy[a->n_copies - 1u] : NULL;
    if (last && last->from && last->from + last->bytes == c.from)
        last->bytes += c.bytes;
    else if (c.bytes)
        a->copy[a->n_copies++] = c;
}

static void add_segment(struct answer *a, const struct answer_of *of,
                        struct slp_v16 s, uint64_t done)
{
    uint32_t coded = (uint32_t)(s.b >> 32);
    uint64_t bytes = (uint32_t)s.b;
    if (bytes > of->bytes - done)
        bytes = of->bytes - done; /* never past the caller's buffer */
    if (coded) {
        a->unit[a->n_units++] =
            (struct answer_unit){s.a, of->to + done, coded, (uint32_t)bytes};
        a->coded += bytes;
        a->blocks += (coded + 15u) & ~15u;
        return;
    }
    struct gpu_copy c = {of->to + done, of->arena_at + s.a, bytes};
    if (s.a == SL_SEGMENT_ZERO)
        c.from = 0;
    a->plain += bytes;
    add_copy(a, c);
}

int answer_read(struct answer *a, const struct answer_of *of)
{
    const uint8_t *at = of->arena + sl_reply_value(of->reply);
    int listed = sl_reply_list(of->reply);
    uint64_t segments = listed ? slp_ldv(at).a : 1u, done = 0;
    *a = (struct answer){0};
    a->copy = calloc(segments + 1u, sizeof(*a->copy));
    a->unit = calloc(segments + 1u, sizeof(*a->unit));
    if (!a->copy || !a->unit) {
        answer_free(a);
        return SL_ENOMEM;
    }
    for (uint64_t i = 0; i < segments; i++) {
        struct slp_v16 s = {sl_reply_value(of->reply),
                            of->bytes | of->coded << 32};
        if (listed)
            s = slp_ldv(at + 16u + 16u * i);
        add_segment(a, of, s, done);
        done +=
            (uint32_t)s.b < of->bytes - done ? (uint32_t)s.b : of->bytes - done;
    }
    return 0;
}

/* ---- decoding ---- */

static uint64_t entries_at(const struct answer *a)
{
    return (a->blocks + SLACK + 255u) & ~UINT64_C(255);
}

static struct sl_page_entry *entries(const struct answer *a,
                                     const struct transfer_room *r)
{
    return (struct sl_page_entry *)(void *)(r->mem +
                                            a->n_units *
                                                sizeof(struct k_unit_block));
}

static uint64_t entries_bytes(const struct answer *a)
{
    return a->n_units * sizeof(struct sl_page_entry);
}

static void list_units(const struct answer *a, const struct transfer_room *r)
{
    struct k_unit_block *b = (void *)r->mem;
    struct sl_page_entry *e = entries(a, r);
    uint64_t to = 0;
    for (uint32_t i = 0; i < a->n_units; i++) {
        const struct answer_unit *u = &a->unit[i];
        b[i] = (struct k_unit_block){u->from, to, u->coded};
        e[i] = (struct sl_page_entry){
            .stored = u->coded, .kind = SL_PAGE_LZ4, .at_or_fill = to};
        to += (u->coded + 15u) & ~15u;
    }
}

/* True when the unit goes on with the run. */
static int continues(const struct run *r, const struct answer_unit *u)
{
    return r->n && r->to + r->bytes == u->to && r->len % 64u == 0 &&
           u->len <= r->len && r->bytes == (uint64_t)r->n * r->len;
}

static uint32_t find_runs(const struct answer *a, struct run run[RUNS_MAX])
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < a->n_units; i++) {
        const struct answer_unit *u = &a->unit[i];
        if (n && continues(&run[n - 1u], u)) {
            run[n - 1u].n++;
            run[n - 1u].bytes += u->len;
            continue;
        }
        if (n == RUNS_MAX || u->to % 16u)
            return 0;
        run[n++] = (struct run){i, 1, u->len, u->to, u->len};
    }
    return n;
}

int answer_fits(const struct answer *a)
{
    struct run run[RUNS_MAX];
    return find_runs(a, run) != 0;
}

static int queue_fetch(struct transfer *t, const struct answer *a,
                       const struct transfer_room *r, sl_devptr arena_at)
{
    struct gpu_stream *s = transfer_stream(t);
    struct k_unit_fetch_args args = {.list_at = r->mem_at,
                                     .arena_at = arena_at,
                                     .buffer_at = r->at,
                                     .n = a->n_units};
    struct gpu_launch l = {.kernel = "k_unit_fetch",
                           .grid = {a->n_units, 1, 1},
                           .block = {FETCH_THREADS, 1, 1},
                           .args = &args,
                           .args_bytes = sizeof(args)};
    return s->gpu->ops->launch(s, &l);
}

int answer_decode(struct transfer *t, const struct answer *a,
                  const struct transfer_room *r, sl_devptr arena_at)
{
    struct run run[RUNS_MAX];
    uint32_t n = find_runs(a, run);
    sl_devptr sent = r->mem_at + a->n_units * sizeof(struct k_unit_block);
    struct gpu_copy in = {r->at + entries_at(a), sent, entries_bytes(a)};
    struct gpu_copy back = {sent, r->at + entries_at(a), entries_bytes(a)};
    list_units(a, r);
    int rc = queue_fetch(t, a, r, arena_at);
    if (!rc)
        rc = transfer_copy(t, &in, 1);
    for (uint32_t i = 0; i < n && !rc; i++) {
        struct batch b = {.stream = transfer_stream(t),
                          .src = r->at,
                          .dst = run[i].to,
                          .entries = in.to + run[i].first *
                                                 sizeof(struct sl_page_entry),
                          .src_bytes = a->blocks,
                          .bytes = run[i].bytes,
                          .page_bytes = (run[i].len + 63u) / 64u * 64u};
        rc = batch_decompress(&b);
    }
    return rc ? rc : transfer_copy(t, &back, 1);
}

int answer_room(struct transfers *s, const struct answer *a,
                struct transfer_room **out)
{
    return transfer_room_take(
        s, entries_at(a) + entries_bytes(a),
        a->n_units * sizeof(struct k_unit_block) + entries_bytes(a), out);
}

int answer_check(const struct transfer_room *r, uint32_t n_units)
{
    const struct answer a = {.n_units = n_units};
    const struct sl_page_entry *e = entries(&a, r);
    for (uint32_t i = 0; i < n_units; i++)
        if (e[i].code)
            return SL_EBLOCK;
    return 0;
}
