/* SPDX-License-Identifier: Apache-2.0 */
/* A producer that sends what no client makes. */
#ifndef HOSTILE_HELP_H
#define HOSTILE_HELP_H

#include "runtime_help.h"

struct rig {
    struct sl_runtime *rt;
    struct sl_device *device;
    const struct sl_dev *d;
    uint64_t chunk, side; /* lent to the device */
    uint64_t tag;
};

static inline uint64_t borrow(const struct sl_dev *d, uint8_t klass)
{
    struct sl_until u = sl_until_default(d);
    struct slm_prep p = slb_prep(0);
    struct slm_request q;
    assert_int_equal(sls_take(d, SL_THREAD, &u, &p.slot), 0);
    slm_request_init(&q, SL_POOL_ADMIN, SL_ADMIN_CHUNK);
    q.container = (uint16_t)(p.slot % d->n_lanes);
    q.klass = klass;
    uint64_t at = slm_call(d, &p, &q, &u);
    assert_int_equal(p.rc, 0);
    sls_give(d, p.slot);
    return at;
}

static inline void rig_open(struct rig *g)
{
    struct sl_config c = runtime_config();
    memset(g, 0, sizeof(*g));
    g->rt = runtime_open(&c);
    assert_int_equal(sl_device_open(g->rt, "host", &g->device), 0);
    g->d = sl_device_handle(g->device);
    assert_int_equal(sl_tag(g->rt, "victim", &g->tag), 0);
}

static inline void rig_close(struct rig *g)
{
    sl_device_close(g->device);
    assert_int_equal(sl_close(g->rt), 0);
}

/* Sends a cell through a lane and waits for its answer. */
static inline int send_cell(const struct rig *g, struct sl_cell *c,
                            uint32_t ring)
{
    const struct sl_dev *d = g->d;
    struct sl_until u = sl_until_ns(LONG_NS);
    uint32_t slot = 0;
    uint64_t reply = 0, t;
    int rc = sls_take(d, SL_THREAD, &u, &slot);
    if (rc)
        return rc;
    c->seq = ++d->slots[slot].seq;
    memcpy(&d->cells[slot], c, sizeof(*c));
    t = slp_add(&d->tickets[ring * 16u], 1u);
    slp_store64(&d->rings[((uint64_t)ring << d->ring_shift) +
                          (t & ((UINT64_C(1) << d->ring_shift) - 1u))],
                sl_entry_make(t, d->ring_shift, slot));
    rc = slm_poll(d, slot, c->seq, &u, &reply);
    if (rc)
        return rc;
    /* Sometimes a hold is released, sometimes not. */
    if (c->method == SL_STORE_GET && (c->seq & 1u))
        slp_store32(&d->releases[slot], c->seq);
    sls_give(d, slot);
    return 0;
}

static inline void expect_service(const struct rig *g)
{
    char out[16] = "";
    uint64_t v = 3;
    struct sl_result r;
    assert_int_equal(sl_task(g->rt, echo_pool(g->rt), 1, 1, &v, 8, &r), 0);
    assert_int_equal(r.v[0], 6);
    uint64_t tag = 0;
    assert_int_equal(sl_tag(g->rt, "bystander", &tag), 0);
    assert_int_equal(sl_put(g->rt, tag, "b", 0, "untouched", 10, NULL), 0);
    assert_int_equal(sl_get(g->rt, tag, "b", 0, out, 10, NULL), 0);
    assert_string_equal(out, "untouched");
}

#endif
