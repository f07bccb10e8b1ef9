/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device memory that crosses the link as LZ4 blocks. Kernels pack it into units
 * (pages/batch.h); the host learns their sizes and has a chunk lent for each; a
 * kernel moves each block to its chunk, as a copy engine would need a
 * microsecond for every one; the put then names them all in one table (wire.h).
 *
 * The room of a put, on the device: blocks, entries, scratch of the kernels; in
 * page-locked memory: the entries again, and their sum.
 */
#include "api/runtime.h"
#include "base/clock.h"
#include "codec/codec.h"
#include "gpu/kernels/units.h"
#include "pages/batch.h"

#include <string.h>

#define ALIGN 256u
/* Kernels read whole words behind the last byte. */
#define SLACK 64u
/* Below this the CPU is done before a device has begun. */
#define LEAST_BYTES 65536u
/* A warp works on a unit, so few large ones leave most of a device without
 * work; many small ones cost the store more records. */
#define UNITS_WANTED 1024u
#define UNIT_LEAST 16384u
#define SEND_THREADS 256u

static uint64_t aligned(uint64_t bytes)
{
    return (bytes + ALIGN - 1u) / ALIGN * ALIGN;
}

static uint32_t unit_for(uint64_t size)
{
    uint32_t unit = UNIT_LEAST;
    while (unit < SL_CODED_MAX && size / unit > UNITS_WANTED)
        unit *= 2u;
    return unit;
}

static uint64_t entries_at(const struct device_put *p)
{
    return aligned(p->size + SLACK);
}

static uint64_t entries_bytes(const struct device_put *p)
{
    return p->n * sizeof(struct sl_page_entry);
}

/* ---- pack ---- */

static int is_for_device(const struct device_put *p, uint32_t unit)
{
    uint64_t least = unit ? 4u * (uint64_t)unit : LEAST_BYTES;
    return (p->q.codec & SL_CODEC_ID_MASK) == SL_CODEC_LZ4 &&
           !(p->q.codec & SL_CODEC_DYNAMIC) &&
           codec_preset(p->q.codec) != CODEC_BEST && p->size >= least &&
           p->mem.at % 16u == 0;
}

static int queue_pack(struct device_put *p)
{
    uint64_t at = entries_at(p);
    struct transfer_room *r = p->room;
    struct batch b = {.stream = transfer_stream(p->work),
                      .src = p->mem.at,
                      .dst = r->at,
                      .entries = r->at + at,
                      .scratch = r->at + at + aligned(entries_bytes(p)),
                      .total = r->mem_at + entries_bytes(p),
                      .bytes = p->size,
                      .page_bytes = p->unit,
                      .mode = codec_preset(p->q.codec) == CODEC_FAST
                                  ? SL_PAGES_FAST
                                  : SL_PAGES_DEFAULT};
    struct gpu_copy back = {r->mem_at, r->at + at, entries_bytes(p)};
    int rc = batch_compress(&b);
    return rc ? rc : transfer_copy(p->work, &back, 1);
}

int put_coded_pack(struct device_put *p, uint32_t unit)
{
    int rc;
    if (!is_for_device(p, unit))
        return SL_ENOSYS;
    p->unit = unit ? unit : unit_for(p->size);
    p->n = (uint32_t)((p->size + p->unit - 1u) / p->unit);
    p->begun_ns = clock_ns();
    rc = transfer_room_take(p->mem.transfers,
                            entries_at(p) + aligned(entries_bytes(p)) +
                                batch_scratch(p->size, p->unit) + ALIGN,
                            entries_bytes(p) + sizeof(uint64_t), &p->room);
    if (rc)
        return rc;
    rc = transfer_begin(p->mem.transfers, TRANSFER_OUT, &p->work);
    if (rc) {
        transfer_room_give(p->mem.transfers, p->room);
        p->room = NULL;
        return rc;
    }
    transfer_seal(p->work, queue_pack(p));
    return 0;
}

/* ---- send ---- */

static uint32_t plain_bytes(const struct device_put *p, uint32_t i)
{
    uint64_t left = p->size - (uint64_t)i * p->unit;
    return left < p->unit ? (uint32_t)left : p->unit;
}

/* As the store's own codecs: a block that saves neither 4 KiB nor half of a
 * smaller unit is not worth decoding. */
static uint32_t coded_bytes(const struct sl_page_entry *e, uint32_t len)
{
    uint32_t bytes = len;
    if (e->kind == SL_PAGE_LZ4)
        bytes = e->stored;
    else if (e->kind != SL_PAGE_RAW && len >= UNIT_FILL_LEAST)
        bytes = unit_fill_bytes(len);
    /* A device may say more than there was. */
    int saves = bytes <= len && len - bytes >= 4096u;
    return saves || bytes <= len / 2u ? bytes : len;
}

static uint8_t *table(const struct sl_dev *d, const struct device_put *p)
{
    return d->arena + p->place.at.chunk;
}

static uint64_t chunk_at(const struct sl_dev *d, const struct device_put *p,
                         uint64_t i)
{
    uint64_t word;
    memcpy(&word, table(d, p) + i * sizeof(word), sizeof(word));
    return sl_unit_chunk(word);
}

/* Bytes that will cross the link; the device's word on each is not believed. 0:
 * it is nonsense. */
static uint64_t sum_up(const struct device_put *p)
{
    const struct sl_page_entry *e = (const void *)p->room->mem;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        if (e[i].kind == SL_PAGE_LZ4 && !e[i].stored)
            return 0;
        sum += coded_bytes(&e[i], plain_bytes(p, i));
    }
    return sum;
}

/* Takes slot, table and chunks. */
static int lend(const struct sl_dev *d, struct device_put *p, struct sl_until u)
{
    const struct sl_page_entry *e = (const void *)p->room->mem;
    struct sl_until own;
    struct slg g = slg_make(SL_THREAD);
    struct slm_request q;
    struct slb_put *x = &p->place;
    memset(x, 0, sizeof(*x));
    x->need.side = p->key.len > SL_NAME_INLINE;
    x->need.klass = sl_class_of(p->n * sizeof(uint64_t));
    int rc = device_place(d, x, u);
    if (rc)
        return rc;
    slb_write_name(d, &g, x->at.side, &p->key);
    for (uint32_t i = 0; i < p->n; i++) {
        uint64_t word = sl_unit_make(0, coded_bytes(&e[i], plain_bytes(p, i)));
        memcpy(table(d, p) + i * sizeof(word), &word, sizeof(word));
    }
    slm_request_init(&q, SL_POOL_ADMIN, SL_ADMIN_UNITS);
    q.container = (uint16_t)(x->p.slot % d->n_lanes);
    q.chunk = x->at.chunk;
    q.size = p->n;
    q.kind = SL_KIND_EXCHANGE;
    own = sl_until_default(d);
    slm_call(d, &x->p, &q, &own);
    if (x->p.rc)
        slm_undo(d, &x->p);
    return x->p.rc;
}

static int queue_send(const struct device_put *p)
{
    struct gpu_stream *s = transfer_stream(p->work);
    struct k_unit_send_args args = {.src_at = p->mem.at,
                                    .blocks_at = p->room->at,
                                    .entries_at = p->room->at + entries_at(p),
                                    .table_at =
                                        p->mem.arena_at + p->place.at.chunk,
                                    .arena_at = p->mem.arena_at,
                                    .bytes = p->size,
                                    .n = p->n,
                                    .unit = p->unit};
    struct gpu_launch l = {.kernel = "k_unit_send",
                           .grid = {p->n, 1, 1},
                           .block = {SEND_THREADS, 1, 1},
                           .args = &args,
                           .args_bytes = sizeof(args)};
    return s->gpu->ops->launch(s, &l);
}

int put_coded_send(const struct sl_dev *d, struct device_put *p,
                   struct sl_until u)
{
    uint64_t sum = sum_up(p);
    int rc = sum ? 0 : SL_EDEVICE;
    if (sum == p->size) {
        p->q.codec = SL_CODEC_NONE; /* it was tried */
        rc = SL_ENOSPC;
    }
    if (!rc)
        rc = lend(d, p, u);
    if (rc)
        return rc;
    rc = transfer_begin(p->mem.transfers, TRANSFER_OUT, &p->work);
    if (rc) {
        put_coded_undo(d, p);
        return rc;
    }
    transfer_seal(p->work, queue_send(p));
    struct transfer_counts add = {.coded_out = p->size, .blocks_out = sum};
    transfers_count(p->mem.transfers, &add);
    p->stage = PUT_SEND;
    return 0;
}

void put_coded_request(const struct device_put *p, struct slm_request *q)
{
    *q = p->q;
    q->flags = (uint16_t)((q->flags & SL_F_REPLACE) | SL_F_UNITS);
    q->codec = SL_CODEC_LZ4;
    q->coded = p->unit;
}

void put_coded_undo(const struct sl_dev *d, struct device_put *p)
{
    device_give_back(d, p, p->n, chunk_at);
}
