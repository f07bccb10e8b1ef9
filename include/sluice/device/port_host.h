/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Port for gcc and clang on the host: kernel threads of the `host` device
 * (host.h) and plain threads. The contract is port.h.
 *
 * All threads of a block share one OS thread, so slp_syncwarp and
 * slp_syncblock need no fence to make a later release cumulative. Scopes fall
 * together: a device-scope atomic is an ordinary one.
 */
#ifndef SLUICE_DEVICE_PORT_HOST_H
#define SLUICE_DEVICE_PORT_HOST_H

#include "host.h"
#include "port.h"

#define SL_FN static inline __attribute__((unused))

#if defined(__cplusplus)
#define SLP_EXTERN_C extern "C"
#else
#define SLP_EXTERN_C extern
#endif

/* The function that the table of kernels names takes a pointer; it hands each
 * thread its own copy, as a GPU does. */
#define SL_KERNEL(name, type)                                                  \
    static void name##_body(const type arg);                                   \
    SLP_EXTERN_C void name(const void *args);                                  \
    void name(const void *args)                                                \
    {                                                                          \
        name##_body(*(const type *)args);                                      \
    }                                                                          \
    static void name##_body(const type arg __attribute__((unused)))
#define SL_KERNEL_FOR(name, type, threads, blocks) SL_KERNEL(name, type)

/* The address of the static variable tells this object from others. */
#define SL_SHARED(type, p)                                                     \
    static char p##_key;                                                       \
    type *p = (type *)sl_host_shared(&p##_key, sizeof(type))

/* ---- who am I ---- */
SL_FN uint32_t slp_thread(void)
{
    const struct sl_host_thread *t = sl_host_self;
    return t ? t->thread : 0u;
}
SL_FN uint32_t slp_threads(void)
{
    const struct sl_host_thread *t = sl_host_self;
    return t ? t->threads : 1u;
}
SL_FN uint32_t slp_block(void)
{
    const struct sl_host_thread *t = sl_host_self;
    return t ? t->block : 0u;
}
SL_FN uint32_t slp_blocks(void)
{
    const struct sl_host_thread *t = sl_host_self;
    return t ? t->blocks : 1u;
}
SL_FN uint32_t slp_lane(void)
{
    const struct sl_host_thread *t = sl_host_self;
    return t ? t->lane : 0u;
}
SL_FN uint32_t slp_lanes(void)
{
    const struct sl_host_thread *t = sl_host_self;
    return t ? t->lanes : 1u;
}

/* ---- warp and block ---- */
SL_FN uint32_t slp_ballot(uint32_t mask, int pred)
{
    if (!sl_host_self)
        return pred ? 1u : 0u;
    return sl_host_ballot(mask, pred);
}
SL_FN uint32_t slp_shfl(uint32_t mask, uint32_t v, uint32_t src)
{
    if (!sl_host_self)
        return v;
    return sl_host_shfl(mask, v, src);
}
SL_FN uint32_t slp_shfl_up(uint32_t mask, uint32_t v, uint32_t d)
{
    uint32_t lane = slp_lane();
    return slp_shfl(mask, v, lane < d ? lane : lane - d);
}
SL_FN uint32_t slp_shfl_down(uint32_t mask, uint32_t v, uint32_t d)
{
    uint32_t lane = slp_lane();
    return slp_shfl(mask, v, lane + d > 31u ? lane : lane + d);
}
SL_FN int slp_any(uint32_t mask, int pred)
{
    return slp_ballot(mask, pred) != 0;
}
SL_FN void slp_syncwarp(uint32_t mask)
{
    if (sl_host_self)
        sl_host_syncwarp(mask);
}
SL_FN void slp_syncblock(void)
{
    if (sl_host_self)
        sl_host_syncblock();
}

/* ---- arithmetic and shared memory ---- */
SL_FN uint32_t slp_popc(uint32_t v)
{
    return (uint32_t)__builtin_popcount(v);
}
SL_FN uint32_t slp_top(uint32_t v)
{
    return 31u - (uint32_t)__builtin_clz(v);
}
SL_FN uint32_t slp_zeros(uint32_t v)
{
    return v ? (uint32_t)__builtin_ctz(v) : 32u;
}
SL_FN uint32_t slp_funnel(uint32_t low, uint32_t high, uint32_t bits)
{
    return (uint32_t)((((uint64_t)high << 32) | low) >> (bits & 31u));
}
SL_FN void slp_mark(uint32_t *shared, uint32_t v)
{
    (void)__atomic_fetch_or(shared, v, __ATOMIC_RELAXED);
}
SL_FN uint32_t slp_load_any(const uint16_t *shared)
{
    return __atomic_load_n(shared, __ATOMIC_RELAXED);
}
SL_FN uint32_t slp_load_any8(const uint8_t *shared)
{
    return __atomic_load_n(shared, __ATOMIC_RELAXED);
}
SL_FN void slp_store_any(uint16_t *shared, uint16_t v)
{
    __atomic_store_n(shared, v, __ATOMIC_RELAXED);
}
SL_FN void slp_store_any8(uint8_t *shared, uint8_t v)
{
    __atomic_store_n(shared, v, __ATOMIC_RELAXED);
}
SL_FN void slp_fetch16(void *shared, const void *p)
{
    __builtin_memcpy(shared, p, 16);
}
SL_FN void slp_fetched(void)
{
}

/* ---- local memory ---- */

/* Acquire and release, both: taking (or) pairs with giving back (and), and
 * adopting (and) pairs with abandoning (or). */
SL_FN uint32_t slp_take(uint32_t *p, uint32_t v)
{
    return __atomic_fetch_or(p, v, __ATOMIC_ACQUIRE);
}
SL_FN uint32_t slp_give(uint32_t *p, uint32_t v)
{
    return __atomic_fetch_and(p, v, __ATOMIC_RELEASE);
}
SL_FN uint32_t slp_or(uint32_t *p, uint32_t v)
{
    return __atomic_fetch_or(p, v, __ATOMIC_ACQ_REL);
}
SL_FN uint32_t slp_and(uint32_t *p, uint32_t v)
{
    return __atomic_fetch_and(p, v, __ATOMIC_ACQ_REL);
}
/* Relaxed: a hint of where to try slp_or. */
SL_FN uint32_t slp_peek(const uint32_t *p)
{
    return __atomic_load_n(p, __ATOMIC_RELAXED);
}
/* Relaxed: only the numbers must differ; what they number is published by
 * slp_store64. */
SL_FN uint64_t slp_add(uint64_t *p, uint64_t v)
{
    return __atomic_fetch_add(p, v, __ATOMIC_RELAXED);
}

/* ---- shared with the worker; its partners are listed in wire.h ---- */
SL_FN uint32_t slp_load32(const uint32_t *p)
{
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}
SL_FN uint64_t slp_load64(const uint64_t *p)
{
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}
SL_FN void slp_store32(uint32_t *p, uint32_t v)
{
    __atomic_store_n(p, v, __ATOMIC_RELEASE);
}
SL_FN void slp_store64(uint64_t *p, uint64_t v)
{
    __atomic_store_n(p, v, __ATOMIC_RELEASE);
}
/* Caches of the host are coherent, so these are plain accesses; as memcpy,
 * because the bytes may be of any type. */
SL_FN struct slp_v16 slp_ldv(const void *p)
{
    struct slp_v16 v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
}
SL_FN void slp_stv(void *p, struct slp_v16 v)
{
    __builtin_memcpy(p, &v, sizeof(v));
}
SL_FN uint8_t slp_ldb(const void *p)
{
    return *(const uint8_t *)p;
}
SL_FN void slp_stb(void *p, uint8_t v)
{
    *(uint8_t *)p = v;
}

/* ---- time ---- */
SL_FN void slp_pause(uint32_t round)
{
    sl_host_pause(round);
}
SL_FN uint64_t slp_now(void)
{
    return sl_host_now();
}
SL_FN uint64_t slp_ticks(void)
{
    return sl_host_now();
}

#endif
