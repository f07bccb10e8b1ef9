/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The operations, once for all forms: `form` is a constant at each call.
 *
 * Each begins a future; finish.h ends it. The leader prepares slot and chunk, all
 * ranks copy, the leader submits.
 */
#ifndef SLUICE_DEVICE_BLOB_H
#define SLUICE_DEVICE_BLOB_H

SL_FN struct sl_future slb_future(int code)
{
    struct sl_future f;
    f.data = 0;
    f.size = 0;
    f.value = 0;
    for (uint32_t i = 0; i < 4u; i++)
        f.result.v[i] = 0;
    f.slot = 0;
    f.seq = 0;
    f.code = code;
    f.kind = SL_KIND_PLAIN;
    f.live = 0;
    f.want = 0;
    return f;
}

SL_FN int slb_check_name(uint32_t len)
{
    if (len == 0)
        return SL_ENONAME;
    return len > SL_NAME_MAX ? SL_ENAMETOOLONG : 0;
}

SL_FN int slb_check_range(uint64_t offset, uint64_t size)
{
    if (offset + size < offset)
        return SL_EOVERFLOW;
    return size > SL_IO_MAX ? SL_EFBIG : 0;
}

/** Leader: makes the slot hold a chunk of exactly `klass`. */
SL_FN void slb_chunk(const struct sl_dev *d, struct slm_prep *p, uint8_t klass,
                     struct sl_until *u)
{
    struct sl_slot_local *l = &d->slots[p->slot];
    struct slm_request q;
    if (p->rc || (l->chunk && l->klass == klass))
        return;
    slm_request_init(&q, SL_POOL_ADMIN, SL_ADMIN_CHUNK);
    q.container = (uint16_t)(p->slot % d->n_lanes);
    q.chunk = l->chunk;
    q.klass = klass;
    q.kind = SL_KIND_EXCHANGE; /* the reply's value becomes the slot's chunk */
    l->klass = klass;
    slm_call(d, p, &q, u);
}

/** Leader: makes the slot hold a side chunk. */
SL_FN void slb_side(const struct sl_dev *d, struct slm_prep *p,
                    struct sl_until *u)
{
    struct sl_slot_local *l = &d->slots[p->slot];
    struct slm_request q;
    if (p->rc || l->side)
        return;
    slm_request_init(&q, SL_POOL_ADMIN, SL_ADMIN_CHUNK);
    q.container = (uint16_t)(p->slot % d->n_lanes);
    q.klass = SL_LENT_MIN_SHIFT;
    q.kind = SL_KIND_SIDE; /* the reply's value becomes the slot's side chunk */
    slm_call(d, p, &q, u);
}

/** Leader: has the side chunk filled with a list of n chunks of the largest
 *  class. */
SL_FN void slb_list(const struct sl_dev *d, struct slm_prep *p, uint64_t n,
                    struct sl_until *u)
{
    struct slm_request q;
    if (p->rc)
        return;
    slm_request_init(&q, SL_POOL_ADMIN, SL_ADMIN_LIST);
    q.container = (uint16_t)(p->slot % d->n_lanes);
    q.klass = SL_CHUNK_MAX_SHIFT;
    q.size = n;
    q.side = d->slots[p->slot].side;
    slm_call(d, p, &q, u);
}

/** What a request needs before it can be written. */
struct slb_need {
    int side;        /* a side chunk */
    uint64_t listed; /* this many chunks in a list */
    uint8_t klass;   /* a chunk of this class, 0: none */
};

/** What all ranks then know. */
struct slb_place {
    int rc;
    uint64_t chunk, side;
};

/** Leader: gives the slot that was taken what a request needs; with an error
 *  the slot is left. */
SL_FN void slb_equip(const struct sl_dev *d, struct slm_prep *p,
                     struct slb_need need, struct sl_until *u)
{
    if (need.side)
        slb_side(d, p, u);
    if (need.listed)
        slb_list(d, p, need.listed, u);
    if (need.klass)
        slb_chunk(d, p, need.klass, u);
    if (p->rc)
        slm_undo(d, p);
}

/** Leader prepares (unless rc already says no), all ranks learn the places. */
SL_FN struct slb_place slb_prepare(const struct sl_dev *d, const struct slg *g,
                                   struct slm_prep *p, struct slb_need need)
{
    struct slb_place at;
    at.chunk = 0;
    at.side = 0;
    if (g->rank == 0 && !p->rc) {
        struct sl_until u = sl_until_default(d);
        p->rc = sls_take(d, g->form, &u, &p->slot);
        if (!p->rc)
            slb_equip(d, p, need, &u);
        if (!p->rc) {
            at.chunk = d->slots[p->slot].chunk;
            at.side = d->slots[p->slot].side;
        }
    }
    at.rc = (int)slg_share32(g, (uint32_t)p->rc);
    if (at.rc)
        return at;
    if (need.klass)
        at.chunk = slg_share64(g, at.chunk);
    if (need.side)
        at.side = slg_share64(g, at.side);
    slg_sync(g); /* the leader's acquire of a list counts for all ranks */
    return at;
}

SL_FN struct slm_prep slb_prep(int rc)
{
    struct slm_prep p;
    p.rc = rc;
    p.slot = 0;
    p.stuck = 0;
    return p;
}

/** All ranks: puts a name that is too long for the cell into the side chunk. */
SL_FN void slb_write_name(const struct sl_dev *d, const struct slg *g,
                          uint64_t side, const struct sl_key *k)
{
    if (k->len > SL_NAME_INLINE)
        slc_copy(g, d->arena + side, (const uint8_t *)k->name, k->len, 1);
}

SL_FN void slb_address(const struct sl_dev *d, const struct sl_key *k,
                       struct slm_request *q)
{
    q->tag = k->tag;
    q->name = (const uint8_t *)k->name;
    q->name_len = k->len;
    if (k->len > SL_NAME_INLINE)
        q->flags = (uint16_t)(q->flags | SL_F_SIDE);
    q->container = (uint16_t)sl_key_container(
        sl_key_hash(k->tag, k->name, k->len), d->n_lanes);
}

/** Shares what the leader submitted; the future of all ranks. */
SL_FN struct sl_future slb_launch(const struct slg *g, struct sl_future f)
{
    uint64_t both = slg_share64(g, ((uint64_t)f.slot << 32) | f.seq);
    f.slot = (uint32_t)(both >> 32);
    f.seq = (uint32_t)both;
    f.live = 1;
    return f;
}

/** Sends a request on a name from a slot that was prepared. */
SL_FN struct sl_future slb_send_named(const struct sl_dev *d,
                                      const struct slg *g, uint32_t slot,
                                      uint64_t side, const struct sl_key *k,
                                      struct slm_request *q)
{
    struct sl_future f = slb_future(0);
    slb_write_name(d, g, side, k);
    slg_sync(g);
    if (g->rank == 0) {
        slb_address(d, k, q);
        q->side = side;
        f.slot = slot;
        f.seq = slm_submit(d, slot, q);
    }
    f.kind = q->kind;
    return slb_launch(g, f);
}

/** Any request on a blob or tag name that moves no payload. */
SL_FN struct sl_future slb_begin_named(const struct sl_dev *d, int form,
                                       const struct sl_key *k,
                                       struct slm_request *q)
{
    struct slg g = slg_make(form);
    struct slm_prep p = slb_prep(slb_check_name(k->len));
    struct slb_need need;
    need.side = k->len > SL_NAME_INLINE;
    need.listed = 0;
    need.klass = 0;
    struct slb_place at = slb_prepare(d, &g, &p, need);
    if (at.rc)
        return slb_future(at.rc);
    return slb_send_named(d, &g, p.slot, at.side, k, q);
}

/** Gives the blob of `k` the key `to`; flags: SL_F_REPLACE. */
SL_FN struct sl_future slb_begin_rename(const struct sl_dev *d, int form,
                                        const struct sl_key *k,
                                        const struct sl_key *to, uint32_t flags)
{
    struct slg g = slg_make(form);
    struct sl_future f = slb_future(0);
    struct slm_request q;
    int rc = slb_check_name(k->len);
    struct slm_prep p = slb_prep(rc ? rc : slb_check_name(to->len));
    struct slb_need need;
    need.side = 1;
    need.listed = 0;
    need.klass = 0;
    struct slb_place at = slb_prepare(d, &g, &p, need);
    if (at.rc)
        return slb_future(at.rc);
    uint8_t *r = d->arena + at.side + SL_SIDE_LIST; /* struct sl_rename */
    slb_write_name(d, &g, at.side, k);
    slc_copy(&g, r + 16, (const uint8_t *)to->name, to->len, 1);
    if (g.rank == 0) {
        struct slp_v16 head;
        head.a = to->tag;
        head.b = to->len;
        slp_stv(r, head);
    }
    slg_sync(&g);
    slm_request_init(&q, SL_POOL_STORE, SL_STORE_RENAME);
    q.flags = (uint16_t)(flags & SL_F_REPLACE);
    if (g.rank == 0) {
        slb_address(d, k, &q);
        q.side = at.side;
        f.slot = p.slot;
        f.seq = slm_submit(d, p.slot, &q);
    }
    f.kind = q.kind;
    return slb_launch(&g, f);
}

/** What travels in a side chunk beside the name, and what comes back in it. */
struct slb_aside {
    const void *in; /* null: nothing, or the name when it is long */
    uint64_t in_bytes;
    void *out;
    uint64_t out_bytes;
};

/** A request that is answered into the side chunk. `k` may be null; it has no
 *  long name when there is an `in`. */
SL_FN struct sl_future slb_begin_aside(const struct sl_dev *d, int form,
                                       const struct sl_key *k,
                                       struct slm_request *q,
                                       const struct slb_aside *a)
{
    struct slg g = slg_make(form);
    struct sl_future f = slb_future(0);
    struct slm_prep p = slb_prep(k ? slb_check_name(k->len) : 0);
    struct slb_need need;
    need.side = 1;
    need.listed = 0;
    need.klass = 0;
    struct slb_place at = slb_prepare(d, &g, &p, need);
    if (at.rc)
        return slb_future(at.rc);
    if (a->in)
        slc_copy(&g, d->arena + at.side, (const uint8_t *)a->in, a->in_bytes,
                 1);
    else if (k)
        slb_write_name(d, &g, at.side, k);
    slg_sync(&g);
    q->kind = SL_KIND_ANSWER;
    if (g.rank == 0) {
        if (k)
            slb_address(d, k, q);
        q->side = at.side;
        f.slot = p.slot;
        f.seq = slm_submit(d, p.slot, q);
    }
    f.kind = q->kind;
    f.want = 1;
    f.data = (uint8_t *)a->out;
    f.size = a->out_bytes;
    return slb_launch(&g, f);
}

/** The request of a get; flags: SL_F_CODED_OK, SL_F_UNITS. */
SL_FN void slb_range_request(struct slm_request *q, uint64_t offset,
                             uint64_t size, uint32_t flags)
{
    slm_request_init(q, SL_POOL_STORE, SL_STORE_GET);
    q->flags = (uint16_t)flags;
    q->offset = offset;
    q->size = size;
    q->kind = SL_KIND_HOLD;
}

/** Flags: as slb_range_request. */
SL_FN struct sl_future slb_begin_range(const struct sl_dev *d, int form,
                                       const struct sl_key *k, uint64_t offset,
                                       uint64_t size, uint32_t flags)
{
    struct slm_request q;
    int rc = slb_check_range(offset, size);
    if (rc)
        return slb_future(rc);
    slb_range_request(&q, offset, size, flags);
    struct sl_future f = slb_begin_named(d, form, k, &q);
    f.size = size;
    return f;
}

SL_FN struct sl_future slb_begin_get(const struct sl_dev *d, int form,
                                     const struct sl_key *k, uint64_t offset,
                                     void *data, uint64_t size)
{
    struct sl_future f = slb_begin_range(d, form, k, offset, size, 0);
    f.data = (uint8_t *)data;
    return f;
}

/** All ranks: copies the payload into the chunk, or the listed chunks. */
SL_FN void slb_fill(const struct sl_dev *d, const struct slg *g,
                    const struct slb_place *at, const uint8_t *data,
                    uint64_t size)
{
    if (size <= SL_CHUNK_MAX) {
        slc_copy(g, d->arena + at->chunk, data, size, 1);
        return;
    }
    const uint8_t *list = d->arena + at->side + SL_SIDE_LIST;
    for (uint64_t i = 0; i * SL_CHUNK_MAX < size; i++) {
        struct slp_v16 two = slp_ldv(list + (i / 2u) * 16u);
        uint64_t done = i * SL_CHUNK_MAX;
        uint64_t n = size - done < SL_CHUNK_MAX ? size - done : SL_CHUNK_MAX;
        slc_copy(g, d->arena + ((i & 1u) ? two.b : two.a), data + done, n, 1);
    }
}

/** A put between the place of its payload and its cell. */
struct slb_put {
    struct slm_prep p;
    struct slb_need need;
    struct slb_place at; /* at.rc: of the preparation */
    uint64_t moved;      /* bytes that go into the chunks */
    int inside;          /* they go into the cell instead */
};

/** What a put will need; p.rc says whether it can be. `beside`: the payload
 *  does not go into the cell, however small. */
SL_FN struct slb_put slb_put_plan(const struct sl_key *k, uint64_t offset,
                                  uint64_t size, uint32_t coded, int beside)
{
    struct slb_put x;
    int rc = slb_check_name(k->len);
    /* Coded bytes go in whole pieces: their buffer has room. */
    x.moved = coded ? ((uint64_t)coded + 15u) & ~15ull : size;
    x.inside = !coded && !beside && k->len <= SL_NAME_INLINE &&
               k->len + size <= SL_CELL_BODY;
    x.p = slb_prep(rc ? rc : slb_check_range(offset, size));
    x.need.listed =
        size > SL_CHUNK_MAX ? (size + SL_CHUNK_MAX - 1u) / SL_CHUNK_MAX : 0;
    x.need.side = k->len > SL_NAME_INLINE || x.need.listed;
    x.need.klass = 0;
    if (!x.p.rc && !x.inside && size && !x.need.listed)
        x.need.klass = sl_class_of(x.moved);
    x.at.rc = 0;
    x.at.chunk = 0;
    x.at.side = 0;
    return x;
}

/** Takes slot and chunks and writes the name. With an error nothing is left to
 *  do. */
SL_FN struct slb_put slb_put_place(const struct sl_dev *d, const struct slg *g,
                                   const struct sl_key *k, uint64_t offset,
                                   uint64_t size, uint32_t coded, int beside)
{
    struct slb_put x = slb_put_plan(k, offset, size, coded, beside);
    x.at = slb_prepare(d, g, &x.p, x.need);
    if (!x.at.rc)
        slb_write_name(d, g, x.at.side, k);
    return x;
}

/** Sends it; all ranks have written, and slg_sync was called. `data` is read
 *  when it goes into the cell. */
SL_FN struct sl_future slb_put_send(const struct sl_dev *d, const struct slg *g,
                                    const struct slb_put *x,
                                    const struct sl_key *k,
                                    const struct slm_request *how,
                                    uint64_t offset, const void *data,
                                    uint64_t size)
{
    struct sl_future f = slb_future(0);
    struct slm_request q = *how;
    if (x->need.klass) {
        q.chunk = x->at.chunk;
        q.klass = x->need.klass;
        q.kind = SL_KIND_EXCHANGE;
    }
    if (g->rank == 0) {
        slb_address(d, k, &q);
        q.offset = offset;
        q.size = size;
        q.side = x->at.side;
        if (x->need.listed)
            q.flags = (uint16_t)(q.flags | SL_F_LIST);
        if (x->inside) {
            q.flags = (uint16_t)(q.flags | SL_F_INLINE);
            q.payload = (const uint8_t *)data;
            q.inlined = (uint32_t)size;
        }
        f.slot = x->p.slot;
        f.seq = slm_submit(d, x->p.slot, &q);
    }
    f.kind = q.kind;
    return slb_launch(g, f);
}

/** `how` carries flags, score, context, persist, codec and priority; with
 *  SL_F_CODED also `coded`, how many bytes `data` has, which is readable to the
 *  next multiple of 16. */
SL_FN struct sl_future slb_begin_put(const struct sl_dev *d, int form,
                                     const struct sl_key *k, uint64_t offset,
                                     const struct slm_request *how,
                                     const void *data, uint64_t size)
{
    struct slg g = slg_make(form);
    struct slb_put x = slb_put_place(d, &g, k, offset, size, how->coded, 0);
    if (x.at.rc)
        return slb_future(x.at.rc);
    if (!x.inside && size)
        slb_fill(d, &g, &x.at, (const uint8_t *)data, x.moved);
    slg_sync(&g); /* what all ranks wrote goes before the leader's release */
    return slb_put_send(d, &g, &x, k, how, offset, data, size);
}

/** A task of any pool; see struct sl_call in forms.h. */
SL_FN struct sl_future slb_begin_task(const struct sl_dev *d, int form,
                                      struct slm_request *q, const void *task,
                                      uint64_t bytes)
{
    struct slg g = slg_make(form);
    struct sl_future f = slb_future(0);
    struct slm_prep p = slb_prep(bytes > SL_TASK_MAX ? SL_ETASKBIG : 0);
    struct slb_need need;
    need.side = bytes > SL_CELL_BODY;
    need.listed = 0;
    need.klass = 0;
    struct slb_place at = slb_prepare(d, &g, &p, need);
    if (at.rc)
        return slb_future(at.rc);
    if (need.side)
        slc_copy(&g, d->arena + at.side, (const uint8_t *)task, bytes, 1);
    slg_sync(&g);
    if (g.rank == 0) {
        q->size = bytes;
        q->side = at.side;
        if (need.side) {
            q->flags = (uint16_t)(q->flags | SL_F_SIDE);
        } else {
            q->payload = (const uint8_t *)task;
            q->inlined = (uint32_t)bytes;
        }
        f.slot = p.slot;
        f.seq = slm_submit(d, p.slot, q);
    }
    return slb_launch(&g, f);
}

#endif
