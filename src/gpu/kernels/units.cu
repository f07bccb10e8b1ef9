/* SPDX-License-Identifier: Apache-2.0 */
#include "gpu/kernels/units.h"

#define UNIT_AT(type, at) ((type *)(uintptr_t)(at))

/* The chunk takes whole pieces of 16 bytes: its size is a power of two. */
SL_FN void unit_send_fill(const struct slg *g, uint8_t *to, uint64_t fill,
                          uint32_t len)
{
    uint32_t n = unit_fill_bytes(len);
    for (uint32_t i = 16u * g->rank; i < n; i += 16u * g->size) {
        struct slp_v16 v;
        v.a = 0;
        v.b = 0;
        for (uint32_t k = 0; k < 8u; k++) {
            v.a |= (uint64_t)unit_fill_byte(fill, len, i + k) << (8u * k);
            v.b |= (uint64_t)unit_fill_byte(fill, len, i + 8u + k) << (8u * k);
        }
        slp_stv(to + i, v);
    }
}

SL_KERNEL(k_unit_send, struct k_unit_send_args)
{
    struct slg g = slg_make(SL_BLOCK);
    uint64_t i = slp_block(), at = i * arg.unit, left = arg.bytes - at;
    uint32_t len = (uint32_t)(left < arg.unit ? left : arg.unit);
    struct sl_page_entry e =
        UNIT_AT(const struct sl_page_entry, arg.entries_at)[i];
    uint64_t word = UNIT_AT(const uint64_t, arg.table_at)[i];
    uint8_t *to = UNIT_AT(uint8_t, arg.arena_at) + sl_unit_chunk(word);
    if (sl_unit_bytes(word) == len)
        slc_copy(&g, to, UNIT_AT(const uint8_t, arg.src_at) + at, len, 1);
    else if (e.kind == SL_PAGE_LZ4)
        slc_copy(&g, to, UNIT_AT(const uint8_t, arg.blocks_at) + e.at_or_fill,
                 e.stored, 1);
    else
        unit_send_fill(&g, to, e.kind == SL_PAGE_FILL ? e.at_or_fill : 0u, len);
}

SL_KERNEL(k_unit_fetch, struct k_unit_fetch_args)
{
    struct slg g = slg_make(SL_BLOCK);
    struct k_unit_block b =
        UNIT_AT(const struct k_unit_block, arg.list_at)[slp_block()];
    slc_copy(&g, UNIT_AT(uint8_t, arg.buffer_at) + b.to,
             UNIT_AT(const uint8_t, arg.arena_at) + b.from, b.bytes, 0);
}
