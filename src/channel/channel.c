/* SPDX-License-Identifier: Apache-2.0 */
#include "channel/channel.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ALIGN_ARRAY 128u /* one line of a GPU: no array shares one */
#define ALIGN_LOCAL 256u
#define ALIGN_PAGE 4096u
#define WORD_SLOTS 32u    /* slots of one word of the slot map */
#define TICKET_STRIDE 16u /* in 8-byte words: tickets are a line apart */

static uint64_t align_up(uint64_t v, uint64_t to)
{
    return (v + to - 1u) / to * to;
}

/* ---- creation ---- */

/* Where each array begins; only sizes come in, so both sides can trust it. */
static void layout(struct sl_channel_header *h)
{
    uint64_t at = align_up(sizeof(*h), ALIGN_ARRAY);
    uint64_t n = h->n_slots;
    h->cells_at = at;
    at = align_up(at + n * sizeof(struct sl_cell), ALIGN_ARRAY);
    h->replies_at = at;
    at = align_up(at + n * sizeof(uint64_t), ALIGN_ARRAY);
    h->results_at = at;
    at = align_up(at + n * sizeof(struct sl_result), ALIGN_ARRAY);
    h->releases_at = at;
    at = align_up(at + n * sizeof(uint32_t), ALIGN_ARRAY);
    h->rings_at = at;
    at += ((uint64_t)h->n_lanes * 2u * sizeof(uint64_t)) << h->ring_shift;
    h->bytes = align_up(at, ALIGN_PAGE);
}

static uint32_t shift_for(uint32_t n_slots)
{
    uint32_t shift = 0; /* becomes 5 or more: a ring is whole lines */
    while ((UINT64_C(1) << shift) < n_slots)
        shift++;
    return shift;
}

static int map_memory(struct channel *c, const struct sl_channel_header *h)
{
    void *p;
    c->bytes = (size_t)h->bytes;
    c->fd = memfd_create("sluice-channel", MFD_CLOEXEC);
    if (c->fd < 0) {
        log_error("channel: memfd_create: %s", strerror(errno));
        return SL_ENOMEM;
    }
    if (ftruncate(c->fd, (off_t)h->bytes)) {
        log_error("channel: %llu bytes: %s", (unsigned long long)h->bytes,
                  strerror(errno));
        goto close_fd;
    }
    p = mmap(NULL, c->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
    if (p == MAP_FAILED) {
        log_error("channel: mmap of %zu bytes: %s", c->bytes, strerror(errno));
        goto close_fd;
    }
    c->header = p;
    return 0;
close_fd:
    close(c->fd);
    return SL_ENOMEM;
}

static void place(struct channel *c)
{
    uint8_t *base = (uint8_t *)c->header;
    const struct sl_channel_header *h = c->header;
    c->cells = (struct sl_cell *)(void *)(base + h->cells_at);
    c->replies = (uint64_t *)(void *)(base + h->replies_at);
    c->results = (struct sl_result *)(void *)(base + h->results_at);
    c->releases = (uint32_t *)(void *)(base + h->releases_at);
    c->rings = (uint64_t *)(void *)(base + h->rings_at);
}

int channel_create(uint32_t n_slots, uint32_t n_lanes, uint64_t epoch,
                   struct channel **out)
{
    struct sl_channel_header h = {0};
    struct channel *c;
    size_t heads;
    int rc = SL_ENOMEM;
    if (n_slots >= (1u << SL_SLOT_BITS) || n_lanes == 0 || n_lanes > UINT16_MAX)
        return SL_EINVAL;
    h.magic = SL_WIRE_MAGIC;
    h.version = SL_WIRE_VERSION;
    h.state = SL_CHANNEL_OPEN;
    h.n_slots = n_slots ? (uint32_t)align_up(n_slots, WORD_SLOTS) : WORD_SLOTS;
    h.n_lanes = n_lanes;
    h.ring_shift = shift_for(h.n_slots);
    h.epoch = epoch;
    if (h.n_slots >= (1u << SL_SLOT_BITS))
        return SL_EINVAL;
    layout(&h);
    c = calloc(1, sizeof(*c));
    if (!c)
        return SL_ENOMEM;
    heads = (size_t)n_lanes * 2u * sizeof(*c->heads);
    c->heads = aligned_alloc(ALIGN_ARRAY, heads);
    if (!c->heads)
        goto free_channel;
    memset(c->heads, 0, heads);
    rc = map_memory(c, &h);
    if (rc)
        goto free_heads;
    *c->header = h;
    c->n_slots = h.n_slots;
    c->n_lanes = n_lanes;
    c->ring_shift = h.ring_shift;
    place(c);
    *out = c;
    return 0;
free_heads:
    free(c->heads);
free_channel:
    free(c);
    return rc;
}

void channel_destroy(struct channel *c)
{
    if (!c)
        return;
    munmap(c->header, c->bytes);
    close(c->fd);
    free(c->heads);
    free(c);
}

void channel_set_state(struct channel *c, uint32_t state)
{
    /* Release: replies go before the state. Partner: sls_ended. */
    __atomic_store_n(&c->header->state, state, __ATOMIC_RELEASE);
}

/* ---- the producer's part ---- */

struct local_layout {
    size_t taken, abandoned, slots, tickets, bytes;
};

static struct local_layout local_layout(const struct channel *c)
{
    struct local_layout l;
    size_t words = c->n_slots / WORD_SLOTS * sizeof(uint32_t);
    l.taken = 0;
    l.abandoned = align_up(l.taken + words, ALIGN_LOCAL);
    l.slots = align_up(l.abandoned + words, ALIGN_LOCAL);
    l.tickets = align_up(l.slots + c->n_slots * sizeof(struct sl_slot_local),
                         ALIGN_LOCAL);
    l.bytes = align_up(l.tickets + (size_t)c->n_lanes * 2u * TICKET_STRIDE *
                                       sizeof(uint64_t),
                       ALIGN_LOCAL);
    return l;
}

size_t channel_local_bytes(const struct channel *c)
{
    return local_layout(c).bytes;
}

/* An address of the device; the host follows it only when it is its own. */
static void *device_ptr(uint64_t at)
{
    return (void *)(uintptr_t)at;
}

void channel_handle(const struct channel *c, uint64_t at, uint64_t arena,
                    uint64_t local, struct sl_dev *out)
{
    const struct sl_channel_header *h = c->header;
    struct local_layout l = local_layout(c);
    memset(out, 0, sizeof(*out));
    out->header = device_ptr(at);
    out->cells = device_ptr(at + h->cells_at);
    out->replies = device_ptr(at + h->replies_at);
    out->results = device_ptr(at + h->results_at);
    out->releases = device_ptr(at + h->releases_at);
    out->rings = device_ptr(at + h->rings_at);
    out->arena = device_ptr(arena);
    out->taken = device_ptr(local + l.taken);
    out->abandoned = device_ptr(local + l.abandoned);
    out->slots = device_ptr(local + l.slots);
    out->tickets = device_ptr(local + l.tickets);
    out->n_slots = c->n_slots;
    out->n_lanes = c->n_lanes;
    out->ring_shift = c->ring_shift;
    out->device = c->device;
}

/* ---- take and reply ---- */

static const uint64_t *ring_entry(const struct channel *c, uint32_t ring,
                                  uint64_t ticket)
{
    uint64_t mask = (UINT64_C(1) << c->ring_shift) - 1u;
    return &c->rings[((uint64_t)ring << c->ring_shift) + (ticket & mask)];
}

uint32_t channel_take(struct channel *c, uint32_t ring, uint32_t *slots,
                      uint32_t max)
{
    /* Relaxed: only this worker writes it. */
    uint64_t t = __atomic_load_n(&c->heads[ring].next, __ATOMIC_RELAXED);
    uint64_t first = t;
    uint32_t n = 0;
    while (n < max) {
        /* Acquires cell, side chunk and payload. Partner: slm_submit. */
        uint64_t e = __atomic_load_n(ring_entry(c, ring, t), __ATOMIC_ACQUIRE);
        if (!sl_entry_is(e, t, c->ring_shift))
            break;
        t++;
        if (sl_entry_slot(e) < c->n_slots)
            slots[n++] = sl_entry_slot(e);
    }
    if (t != first)
        /* Relaxed: channel_ready in another thread takes it as a hint. */
        __atomic_store_n(&c->heads[ring].next, t, __ATOMIC_RELAXED);
    return n;
}

int channel_ready(const struct channel *c, uint32_t ring)
{
    /* Relaxed, both: a hint; channel_take acquires. */
    uint64_t t = __atomic_load_n(&c->heads[ring].next, __ATOMIC_RELAXED);
    uint64_t e = __atomic_load_n(ring_entry(c, ring, t), __ATOMIC_RELAXED);
    return sl_entry_is(e, t, c->ring_shift);
}

void channel_load(struct channel *c, uint32_t slot, struct sl_task *t)
{
    memcpy(&t->cell, &c->cells[slot], sizeof(t->cell));
    t->channel = c;
    t->slot = slot;
    t->side = NULL;
    t->name = NULL;
    t->payload = NULL;
    memset(&t->result, 0, sizeof(t->result));
    t->value = 0;
    t->list = 0;
    t->has_result = 0;
    t->next = NULL;
    t->state = NULL;
    t->done = NULL;
}

void channel_reply(const struct sl_task *t, int code)
{
    struct channel *c = t->channel;
    if (t->has_result)
        c->results[t->slot] = t->result;
    /* Releases result, side chunk and chunk bytes. Partner: slm_poll. */
    __atomic_store_n(&c->replies[t->slot],
                     sl_reply_make(t->cell.seq, code, t->list, t->value),
                     __ATOMIC_RELEASE);
}
