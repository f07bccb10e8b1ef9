/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "store/shard.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/*
 * Bandwidth: up to 16 MiB written and read again, in requests of a unit, 16 at
 * a time; the lower of the two, each the better of two rounds. Latency: the
 * median of 33 reads of one block, one at a time. A disk takes 50 ms for it.
 */
#define PROBE_BYTES (UINT64_C(16) << 20)
#define PROBE_QUEUE 16u
#define PROBE_ROUNDS 2u
#define PROBE_READS 33u

static void run_done(struct tier_io *io, int code)
{
    int *ended = io->user;
    *ended = code ? code : 1;
}

int target_run(struct tier_port *port,
               int (*start)(struct tier_port *p, struct tier_io *io),
               struct tier_io *io)
{
    int ended = 0, rc;
    unsigned idle = 0;
    io->done = run_done;
    io->user = &ended;
    rc = start(port, io);
    while (!rc && !ended)
        if (port->tier->ops->wait)
            port->tier->ops->wait(port);
        else if (!port->tier->ops->poll(port) && idle++ > 1000u)
            clock_sleep_ns(20000); /* a sync takes much longer than this */
    return rc ? rc : ended < 0 ? ended : 0;
}

struct probe {
    struct tier_port *port;
    uint8_t *buf; /* PROBE_QUEUE units */
    uint64_t loc, bytes;
    uint64_t next; /* byte that the next request begins at */
    uint32_t flying;
    int code;
    int (*start)(struct tier_port *p, struct tier_io *io);
    struct tier_io io[PROBE_QUEUE];
};

static void probe_next(struct probe *p, struct tier_io *io);

static void probe_done(struct tier_io *io, int code)
{
    struct probe *p = io->user;
    p->flying--;
    if (code)
        p->code = code;
    probe_next(p, io);
}

static void probe_next(struct probe *p, struct tier_io *io)
{
    uint64_t left = p->bytes - p->next;
    int rc;
    if (p->code || !left)
        return;
    io->loc = p->loc + p->next;
    io->bytes = left < UNIT_BYTES ? (uint32_t)left : UNIT_BYTES;
    io->done = probe_done;
    io->user = p;
    p->next += io->bytes;
    p->flying++;
    rc = p->start(p->port, io);
    if (rc) {
        p->flying--;
        p->code = rc;
    }
}

/* Bytes a second of one pass over the space; 0 with p->code set. */
static uint64_t pass(struct probe *p)
{
    uint64_t from = clock_ns(), ns;
    p->next = 0;
    for (uint32_t i = 0; i < PROBE_QUEUE; i++) {
        p->io[i].buf = p->buf + (size_t)i * UNIT_BYTES;
        probe_next(p, &p->io[i]);
    }
    while (p->flying)
        p->port->tier->ops->poll(p->port);
    ns = clock_ns() - from;
    return p->code ? 0 : (uint64_t)((double)p->bytes * 1e9 / (double)(ns + 1u));
}

static uint64_t best_pass(struct probe *p,
                          int (*start)(struct tier_port *p, struct tier_io *io))
{
    uint64_t best = 0;
    p->start = start;
    for (uint32_t i = 0; i < PROBE_ROUNDS && !p->code; i++) {
        uint64_t now = pass(p);
        best = now > best ? now : best;
    }
    return best;
}

static int by_size(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t median_read(struct probe *p)
{
    uint64_t ns[PROBE_READS], s = UINT64_C(0x9e3779b97f4a7c15);
    for (uint32_t i = 0; i < PROBE_READS && !p->code; i++) {
        struct tier_io io;
        uint64_t from;
        memset(&io, 0, sizeof(io));
        s = sl_mix64(s + i);
        io.loc = p->loc + s % (p->bytes / TIER_BLOCK) * TIER_BLOCK;
        io.buf = p->buf;
        io.bytes = TIER_BLOCK;
        from = clock_ns();
        p->code = target_run(p->port, p->port->tier->ops->read, &io);
        ns[i] = clock_ns() - from;
    }
    if (p->code)
        return 0;
    qsort(ns, PROBE_READS, sizeof(ns[0]), by_size);
    return ns[PROBE_READS / 2u];
}

/* The largest space that there is, up to what is wanted. */
static int take_space(struct tier *tier, struct probe *p)
{
    int rc = SL_ENOSPC;
    for (p->bytes = PROBE_BYTES; p->bytes >= TIER_BLOCK; p->bytes /= 2u) {
        rc = tier->ops->alloc(tier, p->bytes, &p->loc);
        if (rc != SL_ENOSPC)
            return rc;
    }
    return rc;
}

int target_measure(struct tier_port *port, struct speed *out)
{
    struct tier *tier = port->tier;
    struct probe *p = calloc(1, sizeof(*p));
    int rc = SL_ENOMEM;
    if (!p)
        return rc;
    p->port = port;
    p->buf = aligned_alloc(TIER_BLOCK, (size_t)PROBE_QUEUE * UNIT_BYTES);
    if (!p->buf)
        goto free_probe;
    memset(p->buf, 0x5a, (size_t)PROBE_QUEUE * UNIT_BYTES);
    rc = take_space(tier, p);
    if (rc)
        goto free_buf;
    uint64_t bps_in = best_pass(p, tier->ops->write);
    uint64_t bps_out = best_pass(p, tier->ops->read);
    uint64_t latency = median_read(p);
    tier->ops->free(tier, p->loc, p->bytes);
    rc = p->code;
    if (!rc) {
        out->bandwidth = bps_in < bps_out ? bps_in : bps_out;
        out->latency_ns = latency ? latency : 1u;
    }
free_buf:
    free(p->buf);
free_probe:
    free(p);
    return rc;
}

static double within(double x)
{
    return x < 0 ? 0 : x > 1 ? 1 : x;
}

uint16_t target_score_of(const struct speed *s)
{
    double fast = within(log10((double)s->bandwidth / 1e8) / 3.0);
    double near = within(1.0 - log10((double)s->latency_ns / 1e3) / 4.0);
    long score = lround((fast + near) / 2.0 * SL_SCORE_ONE);
    /* The pinned tier alone is 1: nothing needs to be copied there. */
    return (uint16_t)(score < SL_SCORE_ONE ? score : SL_SCORE_ONE - 1u);
}
