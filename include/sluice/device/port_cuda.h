/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Port of device/port.h to NVIDIA GPUs from compute capability 7.0 on.
 *
 * Two compilers: nvcc (or clang with a toolkit), which brings the warp
 * intrinsics, and clang alone (`-x cuda -nocudainc -nocudalib`), where inline
 * PTX and clang's own builtins take their place. In nvcc's host pass only the
 * types and the declarations of kernels remain.
 *
 * Addresses are generic: a word may lie in device memory, in pinned host
 * memory or in shared memory; only the local words are always device memory.
 * Each order sits on its access; by the PTX memory model bar.warp.sync and
 * bar.sync synchronise their threads, so a release by one thread after them
 * covers what the others wrote before them.
 *
 * The "memory" clobbers stop the compiler only. They do not serialise: loads
 * that follow one another are all in flight until a value is used.
 */
#ifndef SLUICE_DEVICE_PORT_CUDA_H
#define SLUICE_DEVICE_PORT_CUDA_H

#define SL_FN static __inline__ __attribute__((device, unused))
#define SL_SHARED(type, p)                                                     \
    static __attribute__((shared, aligned(16))) type p##_shared;               \
    type *p = &p##_shared

#if defined(__CUDACC__)
/* The argument stays in constant memory, also when its address is taken. */
#define SLP_KERNEL(name, type, attributes)                                     \
    extern "C" __attribute__((global)) attributes void name(                   \
        const __grid_constant__ type arg)
#define SLP_TID(c) threadIdx.c
#define SLP_NTID(c) blockDim.c
#define SLP_CTAID(c) blockIdx.c
#define SLP_NCTAID(c) gridDim.c
#else
#define SLP_KERNEL(name, type, attributes)                                     \
    extern "C" __attribute__((global)) attributes void name(const type arg)
#define SLP_TID(c) ((uint32_t)__nvvm_read_ptx_sreg_tid_##c())
#define SLP_NTID(c) ((uint32_t)__nvvm_read_ptx_sreg_ntid_##c())
#define SLP_CTAID(c) ((uint32_t)__nvvm_read_ptx_sreg_ctaid_##c())
#define SLP_NCTAID(c) ((uint32_t)__nvvm_read_ptx_sreg_nctaid_##c())
#endif
#define SL_KERNEL(name, type) SLP_KERNEL(name, type, )
#define SL_KERNEL_FOR(name, type, threads, blocks)                             \
    SLP_KERNEL(name, type, __attribute__((launch_bounds(threads, blocks))))

SL_FN uint32_t slp_thread(void)
{
    return SLP_TID(x) + SLP_NTID(x) * (SLP_TID(y) + SLP_NTID(y) * SLP_TID(z));
}

SL_FN uint32_t slp_threads(void)
{
    return SLP_NTID(x) * SLP_NTID(y) * SLP_NTID(z);
}

SL_FN uint32_t slp_block(void)
{
    return SLP_CTAID(x) +
           SLP_NCTAID(x) * (SLP_CTAID(y) + SLP_NCTAID(y) * SLP_CTAID(z));
}

SL_FN uint32_t slp_blocks(void)
{
    return SLP_NCTAID(x) * SLP_NCTAID(y) * SLP_NCTAID(z);
}

SL_FN uint32_t slp_lane(void)
{
    uint32_t lane;
    asm("mov.u32 %0, %%laneid;" : "=r"(lane));
    return lane;
}

/* Warps are cut from the linear thread index, so only the last one of a block
 * can have fewer than 32 lanes. */
SL_FN uint32_t slp_lanes(void)
{
    uint32_t left = slp_threads() - (slp_thread() & ~31u);
    return left >= 32u ? 0xffffffffu : (1u << left) - 1u;
}

/* ---- warp and block ----
 * The .sync forms wait for the live threads of the mask; lanes that have
 * exited count as arrived and vote 0. */
#if defined(__CUDACC__)

SL_FN uint32_t slp_ballot(uint32_t mask, int pred)
{
    return __ballot_sync(mask, pred);
}

SL_FN uint32_t slp_shfl(uint32_t mask, uint32_t v, uint32_t src)
{
    return __shfl_sync(mask, v, (int)src);
}

SL_FN uint32_t slp_shfl_up(uint32_t mask, uint32_t v, uint32_t d)
{
    return __shfl_up_sync(mask, v, d);
}

SL_FN uint32_t slp_shfl_down(uint32_t mask, uint32_t v, uint32_t d)
{
    return __shfl_down_sync(mask, v, d);
}

SL_FN int slp_any(uint32_t mask, int pred)
{
    return __any_sync(mask, pred);
}

SL_FN uint32_t slp_popc(uint32_t v)
{
    return (uint32_t)__popc((int)v);
}

SL_FN uint32_t slp_top(uint32_t v)
{
    return 31u - (uint32_t)__clz((int)v);
}

SL_FN uint32_t slp_zeros(uint32_t v)
{
    return (uint32_t)__clz((int)__brev(v));
}

SL_FN uint32_t slp_funnel(uint32_t low, uint32_t high, uint32_t bits)
{
    return __funnelshift_r(low, high, bits);
}

SL_FN void slp_mark(uint32_t *shared, uint32_t v)
{
    atomicOr(shared, v);
}

SL_FN void slp_syncwarp(uint32_t mask)
{
    __syncwarp(mask);
}

SL_FN void slp_syncblock(void)
{
    __syncthreads();
}

SL_FN void slp_nanosleep(uint32_t ns)
{
    __nanosleep(ns);
}

#else /* clang alone; it treats all inline assembly of CUDA as convergent */

SL_FN uint32_t slp_ballot(uint32_t mask, int pred)
{
    uint32_t votes;
    asm volatile("{ .reg .pred p;\n\t"
                 "setp.ne.s32 p, %1, 0;\n\t"
                 "vote.sync.ballot.b32 %0, p, %2; }"
                 : "=r"(votes)
                 : "r"(pred), "r"(mask)
                 : "memory");
    return votes;
}

SL_FN uint32_t slp_shfl(uint32_t mask, uint32_t v, uint32_t src)
{
    uint32_t got;
    asm volatile("shfl.sync.idx.b32 %0, %1, %2, 0x1f, %3;"
                 : "=r"(got)
                 : "r"(v), "r"(src), "r"(mask)
                 : "memory");
    return got;
}

SL_FN uint32_t slp_shfl_up(uint32_t mask, uint32_t v, uint32_t d)
{
    uint32_t got;
    asm volatile("shfl.sync.up.b32 %0, %1, %2, 0, %3;"
                 : "=r"(got)
                 : "r"(v), "r"(d), "r"(mask)
                 : "memory");
    return got;
}

SL_FN uint32_t slp_shfl_down(uint32_t mask, uint32_t v, uint32_t d)
{
    uint32_t got;
    asm volatile("shfl.sync.down.b32 %0, %1, %2, 0x1f, %3;"
                 : "=r"(got)
                 : "r"(v), "r"(d), "r"(mask)
                 : "memory");
    return got;
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
    asm volatile("red.relaxed.cta.or.b32 [%0], %1;" ::"l"(shared), "r"(v)
                 : "memory");
}

SL_FN void slp_syncwarp(uint32_t mask)
{
    asm volatile("bar.warp.sync %0;" ::"r"(mask) : "memory");
}

SL_FN void slp_syncblock(void)
{
    asm volatile("bar.sync 0;" ::: "memory");
}

SL_FN void slp_nanosleep(uint32_t ns)
{
    asm volatile("nanosleep.u32 %0;" ::"r"(ns) : "memory");
}

#endif

/* ---- shared memory ---- */

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

/* Past the registers where the architecture can (8.0 and later). The compiler
 * may not move accesses of the piece over these: hence the clobbers. */
SL_FN void slp_fetch16(void *shared, const void *p)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("{ .reg .u64 to, at;\n\t"
                 "cvta.to.shared.u64 to, %0;\n\t"
                 "cvta.to.global.u64 at, %1;\n\t"
                 "cp.async.cg.shared.global [to], [at], 16; }" ::"l"(shared),
                 "l"(p)
                 : "memory");
#else
    *(struct slp_v16 *)shared = *(const struct slp_v16 *)p;
#endif
}

SL_FN void slp_fetched(void)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

/* ---- local memory, device scope ----
 * It is device memory, so these address it as global: a generic atomic tests
 * for shared memory first, and carries a loop for that case. */
#define SLP_GLOBAL "{ .reg .u64 at;\n\tcvta.to.global.u64 at, %1;\n\t"

/* Acquire takes a slot's words over from their last owner, release hands them
 * on (partners: slp_take and slp_give, slp_or and slp_and of another thread of
 * this device). */
SL_FN uint32_t slp_take(uint32_t *p, uint32_t v)
{
    uint32_t old;
    asm volatile(SLP_GLOBAL "atom.acquire.gpu.global.or.b32 %0, [at], %2; }"
                 : "=r"(old)
                 : "l"(p), "r"(v)
                 : "memory");
    return old;
}

SL_FN uint32_t slp_give(uint32_t *p, uint32_t v)
{
    uint32_t old;
    asm volatile(SLP_GLOBAL "atom.release.gpu.global.and.b32 %0, [at], %2; }"
                 : "=r"(old)
                 : "l"(p), "r"(v)
                 : "memory");
    return old;
}

SL_FN uint32_t slp_or(uint32_t *p, uint32_t v)
{
    uint32_t old;
    asm volatile(SLP_GLOBAL "atom.acq_rel.gpu.global.or.b32 %0, [at], %2; }"
                 : "=r"(old)
                 : "l"(p), "r"(v)
                 : "memory");
    return old;
}

SL_FN uint32_t slp_and(uint32_t *p, uint32_t v)
{
    uint32_t old;
    asm volatile(SLP_GLOBAL "atom.acq_rel.gpu.global.and.b32 %0, [at], %2; }"
                 : "=r"(old)
                 : "l"(p), "r"(v)
                 : "memory");
    return old;
}

/* Relaxed: a hint where to try; slp_or and slp_and decide. */
SL_FN uint32_t slp_peek(const uint32_t *p)
{
    uint32_t v;
    asm volatile(SLP_GLOBAL "ld.relaxed.gpu.global.u32 %0, [at]; }"
                 : "=r"(v)
                 : "l"(p)
                 : "memory");
    return v;
}

/* Relaxed: only the number matters, order sits on the ring's entry. */
SL_FN uint64_t slp_add(uint64_t *p, uint64_t v)
{
    uint64_t old;
    asm volatile(SLP_GLOBAL "atom.relaxed.gpu.global.add.u64 %0, [at], %2; }"
                 : "=l"(old)
                 : "l"(p), "l"(v)
                 : "memory");
    return old;
}

/* ---- shared with the CPU, system scope ---- */

/* Partner: the CPU's release store of the same word. */
SL_FN uint32_t slp_load32(const uint32_t *p)
{
    uint32_t v;
    asm volatile("ld.acquire.sys.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
    return v;
}

SL_FN uint64_t slp_load64(const uint64_t *p)
{
    uint64_t v;
    asm volatile("ld.acquire.sys.u64 %0, [%1];" : "=l"(v) : "l"(p) : "memory");
    return v;
}

/* Partner: the CPU's acquire load of the same word. */
SL_FN void slp_store32(uint32_t *p, uint32_t v)
{
    asm volatile("st.release.sys.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
}

SL_FN void slp_store64(uint64_t *p, uint64_t v)
{
    asm volatile("st.release.sys.u64 [%0], %1;" ::"l"(p), "l"(v) : "memory");
}

/* Relaxed at system scope: a strong load is served by L2 or by the host, never
 * from a line that L1 kept from before the chunk changed hands. */
SL_FN struct slp_v16 slp_ldv(const void *p)
{
    struct slp_v16 v;
    asm volatile("ld.relaxed.sys.v2.u64 {%0, %1}, [%2];"
                 : "=l"(v.a), "=l"(v.b)
                 : "l"(p)
                 : "memory");
    return v;
}

SL_FN uint8_t slp_ldb(const void *p)
{
    uint32_t v;
    asm volatile("ld.relaxed.sys.u8 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
    return (uint8_t)v;
}

/* Weak stores are enough: the release that publishes them comes after, and L1
 * writes through. */
SL_FN void slp_stv(void *p, struct slp_v16 v)
{
    asm volatile("st.v2.u64 [%0], {%1, %2};" ::"l"(p), "l"(v.a), "l"(v.b)
                 : "memory");
}

SL_FN void slp_stb(void *p, uint8_t v)
{
    asm volatile("st.u8 [%0], %1;" ::"l"(p), "r"((uint32_t)v) : "memory");
}

/* ---- time ---- */

/* nanosleep may take up to twice what it is asked, so 512 keeps below about a
 * microsecond. The first rounds do not sleep: a load over the link already
 * takes most of a microsecond. */
SL_FN void slp_pause(uint32_t round)
{
    if (round >= 4u)
        slp_nanosleep(32u << (round < 8u ? round - 4u : 4u));
}

SL_FN uint64_t slp_now(void)
{
    uint64_t ns;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(ns)::"memory");
    return ns;
}

SL_FN uint64_t slp_ticks(void)
{
    uint64_t cycles;
    asm volatile("mov.u64 %0, %%clock64;" : "=l"(cycles)::"memory");
    return cycles;
}

#undef SLP_GLOBAL
#undef SLP_TID
#undef SLP_NTID
#undef SLP_CTAID
#undef SLP_NCTAID

#endif
