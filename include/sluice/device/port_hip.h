/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Port of device/port.h to AMD GPUs (HIP), by clang's builtins alone, so that
 * it compiles with and without the HIP headers. The builds compile it; it has
 * not run on a device yet.
 *
 * The protocol sees warps of 32 lanes. On a wavefront of 64 each half is a
 * warp: lane and mask are those of the half, ballots are shifted, and a shuffle
 * stays inside the half.
 *
 * Differences to know. The lanes of a wavefront advance together: those that
 * wait in a loop keep the others of their wavefront from going on. So in
 * thread form a channel must have at least as many slots as threads run at
 * once; with fewer, a wait for a free slot may only end at its deadline. And a
 * primitive sees the lanes that reach it together, so the lanes of a mask
 * must arrive in the same branch.
 */
#ifndef SLUICE_DEVICE_PORT_HIP_H
#define SLUICE_DEVICE_PORT_HIP_H

#define SL_FN static __inline__ __attribute__((device, unused))
#define SLP_KERNEL(name, type, attributes)                                     \
    extern "C" __attribute__((global)) attributes void name(const type arg)
#define SL_KERNEL(name, type) SLP_KERNEL(name, type, )
#define SL_KERNEL_FOR(name, type, threads, blocks)                             \
    SLP_KERNEL(name, type,                                                     \
               __attribute__((amdgpu_flat_work_group_size(1, threads))))
#define SL_SHARED(type, p)                                                     \
    static __attribute__((shared, aligned(16))) type p##_shared;               \
    type *p = &p##_shared

/* Nanoseconds of one tick of the constant clock: 100 MHz since gfx90a. */
#if !defined(SLP_HIP_TICK_NS)
#define SLP_HIP_TICK_NS 10u
#endif

/* ---- who am I ---- */
SL_FN uint32_t slp_thread(void)
{
    return __builtin_amdgcn_workitem_id_x() +
           __builtin_amdgcn_workgroup_size_x() *
               (__builtin_amdgcn_workitem_id_y() +
                __builtin_amdgcn_workgroup_size_y() *
                    __builtin_amdgcn_workitem_id_z());
}

SL_FN uint32_t slp_threads(void)
{
    return (uint32_t)__builtin_amdgcn_workgroup_size_x() *
           __builtin_amdgcn_workgroup_size_y() *
           __builtin_amdgcn_workgroup_size_z();
}

/* The hardware counts the grid in threads, not in blocks. */
SL_FN uint32_t slp_blocks_x(void)
{
    return __builtin_amdgcn_grid_size_x() / __builtin_amdgcn_workgroup_size_x();
}

SL_FN uint32_t slp_blocks_y(void)
{
    return __builtin_amdgcn_grid_size_y() / __builtin_amdgcn_workgroup_size_y();
}

SL_FN uint32_t slp_block(void)
{
    return __builtin_amdgcn_workgroup_id_x() +
           slp_blocks_x() *
               (__builtin_amdgcn_workgroup_id_y() +
                slp_blocks_y() * __builtin_amdgcn_workgroup_id_z());
}

SL_FN uint32_t slp_blocks(void)
{
    return slp_blocks_x() * slp_blocks_y() *
           (__builtin_amdgcn_grid_size_z() /
            __builtin_amdgcn_workgroup_size_z());
}

/* Lane in the wavefront: how many lanes lie below this one. */
SL_FN uint32_t slp_wave_lane(void)
{
    uint32_t low = __builtin_amdgcn_mbcnt_lo(~0u, 0u);
#if __AMDGCN_WAVEFRONT_SIZE == 64
    return __builtin_amdgcn_mbcnt_hi(~0u, low);
#else
    return low;
#endif
}

SL_FN uint32_t slp_lane(void)
{
    return slp_wave_lane() & 31u;
}

SL_FN uint32_t slp_lanes(void)
{
    uint32_t left = slp_threads() - (slp_thread() & ~31u);
    return left >= 32u ? 0xffffffffu : (1u << left) - 1u;
}

/* ---- warp and block ---- */
SL_FN uint32_t slp_ballot(uint32_t mask, int pred)
{
    /* 33: "not equal"; the compare yields one bit for each live lane. */
    uint64_t votes = __builtin_amdgcn_uicmp((uint32_t)(pred != 0), 0u, 33);
    return (uint32_t)(votes >> (slp_wave_lane() & 32u)) & mask;
}

SL_FN uint32_t slp_shfl(uint32_t mask, uint32_t v, uint32_t src)
{
    (void)mask; /* the lanes of the mask are here together */
    uint32_t from = (slp_wave_lane() & 32u) | (src & 31u);
    return (uint32_t)__builtin_amdgcn_ds_bpermute((int)(from * 4u), (int)v);
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
    (void)__hip_atomic_fetch_or(shared, v, __ATOMIC_RELAXED,
                                __HIP_MEMORY_SCOPE_WORKGROUP);
}

SL_FN uint32_t slp_load_any(const uint16_t *shared)
{
    return *(const volatile uint16_t *)shared;
}

SL_FN uint32_t slp_load_any8(const uint8_t *shared)
{
    return *(const volatile uint8_t *)shared;
}

SL_FN void slp_store_any(uint16_t *shared, uint16_t v)
{
    *(volatile uint16_t *)shared = v;
}

SL_FN void slp_store_any8(uint8_t *shared, uint8_t v)
{
    *(volatile uint8_t *)shared = v;
}

SL_FN void slp_fetch16(void *shared, const void *p)
{
    *(struct slp_v16 *)shared = *(const struct slp_v16 *)p;
}

SL_FN void slp_fetched(void)
{
}

SL_FN void slp_syncwarp(uint32_t mask)
{
    (void)mask;
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "wavefront");
    __builtin_amdgcn_wave_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "wavefront");
}

SL_FN void slp_syncblock(void)
{
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
    __builtin_amdgcn_s_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}

/* ---- local memory, device ("agent") scope ---- */

/* Partner: slp_and and slp_or of another thread of this device. */
SL_FN uint32_t slp_take(uint32_t *p, uint32_t v)
{
    return __hip_atomic_fetch_or(p, v, __ATOMIC_ACQUIRE,
                                 __HIP_MEMORY_SCOPE_AGENT);
}

SL_FN uint32_t slp_give(uint32_t *p, uint32_t v)
{
    return __hip_atomic_fetch_and(p, v, __ATOMIC_RELEASE,
                                  __HIP_MEMORY_SCOPE_AGENT);
}

SL_FN uint32_t slp_or(uint32_t *p, uint32_t v)
{
    return __hip_atomic_fetch_or(p, v, __ATOMIC_ACQ_REL,
                                 __HIP_MEMORY_SCOPE_AGENT);
}

SL_FN uint32_t slp_and(uint32_t *p, uint32_t v)
{
    return __hip_atomic_fetch_and(p, v, __ATOMIC_ACQ_REL,
                                  __HIP_MEMORY_SCOPE_AGENT);
}

/* Relaxed: a hint where to try; slp_or and slp_and decide. */
SL_FN uint32_t slp_peek(const uint32_t *p)
{
    return __hip_atomic_load(p, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}

/* Relaxed: only the number matters, order sits on the ring's entry. */
SL_FN uint64_t slp_add(uint64_t *p, uint64_t v)
{
    return __hip_atomic_fetch_add(p, v, __ATOMIC_RELAXED,
                                  __HIP_MEMORY_SCOPE_AGENT);
}

/* ---- shared with the CPU, system scope ---- */

/* Partner: the CPU's release store of the same word. */
SL_FN uint32_t slp_load32(const uint32_t *p)
{
    return __hip_atomic_load(p, __ATOMIC_ACQUIRE, __HIP_MEMORY_SCOPE_SYSTEM);
}

SL_FN uint64_t slp_load64(const uint64_t *p)
{
    return __hip_atomic_load(p, __ATOMIC_ACQUIRE, __HIP_MEMORY_SCOPE_SYSTEM);
}

/* Partner: the CPU's acquire load of the same word. */
SL_FN void slp_store32(uint32_t *p, uint32_t v)
{
    __hip_atomic_store(p, v, __ATOMIC_RELEASE, __HIP_MEMORY_SCOPE_SYSTEM);
}

SL_FN void slp_store64(uint64_t *p, uint64_t v)
{
    __hip_atomic_store(p, v, __ATOMIC_RELEASE, __HIP_MEMORY_SCOPE_SYSTEM);
}

/* Non-temporal: nothing is kept in a near cache, and several accesses are in
 * flight, as volatile ones never are. The acquire before them drops what the
 * caches held and keeps the compiler from moving them up. */
typedef uint64_t slp_pair __attribute__((ext_vector_type(2)));

SL_FN struct slp_v16 slp_ldv(const void *p)
{
    slp_pair got = __builtin_nontemporal_load((const slp_pair *)p);
    struct slp_v16 v;
    v.a = got.x;
    v.b = got.y;
    return v;
}

SL_FN void slp_stv(void *p, struct slp_v16 v)
{
    slp_pair put = {v.a, v.b};
    __builtin_nontemporal_store(put, (slp_pair *)p);
}

SL_FN uint8_t slp_ldb(const void *p)
{
    return __builtin_nontemporal_load((const uint8_t *)p);
}

SL_FN void slp_stb(void *p, uint8_t v)
{
    __builtin_nontemporal_store(v, (uint8_t *)p);
}

/* ---- time ---- */

/* s_sleep waits about 64 cycles for each unit: 40 ns, then 300 ns at 1.7 GHz.
 */
SL_FN void slp_pause(uint32_t round)
{
    if (round < 8u)
        __builtin_amdgcn_s_sleep(1);
    else
        __builtin_amdgcn_s_sleep(8);
}

SL_FN uint64_t slp_now(void)
{
    return __builtin_amdgcn_s_memrealtime() * SLP_HIP_TICK_NS;
}

SL_FN uint64_t slp_ticks(void)
{
    return __builtin_amdgcn_s_memtime();
}

#endif
