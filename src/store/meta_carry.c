/* SPDX-License-Identifier: Apache-2.0 */
#include "store/meta_carry.h"

#include "store/meta_record.h"

#include <stdlib.h>
#include <string.h>

static void put_32(uint8_t *p, uint32_t v)
{
    for (unsigned i = 0; i < 4u; i++)
        p[i] = (uint8_t)(v >> (8u * i));
}

static uint32_t get_32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
           (uint32_t)p[3] << 24;
}

size_t carry_bound(const struct meta_change *c)
{
    size_t n = 8u + meta_blob_bound(&c->blob);

    for (uint32_t i = 0; i < c->n_carried; i++)
        n += 4u + carry_bytes(&c->blob.extents[c->carried[i].extent]);
    return n;
}

void carry_encode(const struct meta_change *c, uint8_t *out)
{
    const struct meta_blob *b = &c->blob;
    uint32_t record = (uint32_t)meta_blob_bound(b);

    put_32(out, record);
    put_32(out + 4, c->n_carried);
    meta_blob_encode(b, out + 8);
    out += 8u + record;
    for (uint32_t i = 0; i < c->n_carried; i++, out += 4)
        put_32(out, c->carried[i].extent);
    for (uint32_t i = 0; i < c->n_carried; i++) {
        uint32_t n = carry_bytes(&b->extents[c->carried[i].extent]);
        memcpy(out, c->carried[i].bytes, n);
        /* Not `bytes`: the frame may be taken back, and its memory becomes
         * other frames before the change is tried again. */
        c->carried[i].kept = out;
        out += n;
    }
}

int carry_record(const struct log_frame *f, struct log_frame *put)
{
    uint32_t record;

    if (f->bytes < 8u)
        return 0;
    record = get_32(f->payload);
    if (record > f->bytes - 8u)
        return 0;
    put->op = LOG_PUT_BLOB;
    put->payload = f->payload + 8;
    put->bytes = record;
    return 1;
}

static int each(const struct log_frame *f, const struct meta_blob *b,
                int (*one)(void *user, const struct meta_extent *e,
                           const uint8_t *bytes),
                void *user)
{
    uint32_t n = get_32(f->payload + 4), at = 8u + get_32(f->payload);
    const uint8_t *number = f->payload + at;

    if (n > b->n_extents || n > (f->bytes - at) / 4u)
        return SL_ECORRUPT;
    at += 4u * n;
    for (uint32_t i = 0; i < n; i++, number += 4) {
        const struct meta_extent *e;
        if (get_32(number) >= b->n_extents)
            return SL_ECORRUPT;
        e = &b->extents[get_32(number)];
        if (carry_bytes(e) > f->bytes - at)
            return SL_ECORRUPT;
        int rc = one(user, e, f->payload + at);
        if (rc)
            return rc;
        at += carry_bytes(e);
    }
    return at == f->bytes ? SL_OK : SL_ECORRUPT;
}

int carry_each(const struct log_frame *f,
               int (*one)(void *user, const struct meta_extent *e,
                          const uint8_t *bytes),
               void *user)
{
    struct log_frame put;
    struct meta_extent *e;
    struct meta_blob b;
    uint32_t max;
    int rc;

    if (f->op != LOG_CARRY_BLOB)
        return SL_OK;
    if (!carry_record(f, &put))
        return SL_ECORRUPT;
    max = put.bytes / META_EXTENT_BYTES;
    e = malloc((max + 1u) * sizeof *e);
    if (!e)
        return SL_ENOMEM;
    rc = meta_blob_decode(put.payload, put.bytes, &b, e, max);
    if (!rc)
        rc = each(f, &b, one, user);
    free(e);
    return rc;
}
