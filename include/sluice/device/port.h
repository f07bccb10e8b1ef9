/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What a compiler and a device must offer so that the protocol runs there.
 *
 * The bodies of the device header use only the names of this list, all from
 * the port that is chosen below. A port for a new device is one file.
 *
 *   SL_FN                       qualifier of an inline device function
 *   SL_KERNEL(name, type)       begins the definition of a kernel `name` that
 *                               takes one `type` by value, named `arg`
 *   SL_KERNEL_FOR(name, type, threads, blocks)
 *                               the same for at most so many threads a block;
 *                               registers are spared until so many blocks
 *                               run on a multiprocessor
 *   SL_SHARED(type, p)          declares `type *p`, one object for the block;
 *                               uninitialised; block scope, any function
 *
 *   uint32_t slp_thread(void), slp_threads(void)   index in, threads of block
 *                               (3D blocks are linearised, x fastest)
 *   uint32_t slp_block(void), slp_blocks(void)     the same of the grid
 *   uint32_t slp_lane(void)     lane in the warp, 0..31
 *   uint32_t slp_lanes(void)    mask of the lanes this warp was started with
 *   uint32_t slp_ballot(uint32_t mask, int pred)
 *   uint32_t slp_shfl(uint32_t mask, uint32_t v, uint32_t src)
 *   uint32_t slp_shfl_up(uint32_t mask, uint32_t v, uint32_t d)
 *                               lane - d's value, the own one below lane d
 *   uint32_t slp_shfl_down(uint32_t mask, uint32_t v, uint32_t d)
 *                               lane + d's value, the own one from 32 - d on
 *   int slp_any(uint32_t mask, int pred)
 *   void slp_syncwarp(uint32_t mask)
 *   void slp_syncblock(void)    all live threads of the block
 *
 * Local memory (the producer's device or process), device scope:
 *   uint32_t slp_take(uint32_t *p, uint32_t v)     or, acquire
 *   uint32_t slp_give(uint32_t *p, uint32_t v)     and, release
 *   uint32_t slp_or(uint32_t *p, uint32_t v)       acquire and release
 *   uint32_t slp_and(uint32_t *p, uint32_t v)      acquire and release
 *   uint32_t slp_peek(const uint32_t *p)           relaxed load
 *   uint64_t slp_add(uint64_t *p, uint64_t v)      relaxed
 *
 * Shared with the CPU, system scope:
 *   uint32_t slp_load32(const uint32_t *p)         acquire
 *   uint64_t slp_load64(const uint64_t *p)         acquire
 *   void slp_store32(uint32_t *p, uint32_t v)      release, cumulative over
 *   void slp_store64(uint64_t *p, uint64_t v)      slp_syncwarp, slp_syncblock
 *   struct slp_v16 slp_ldv(const void *p)          16 bytes, aligned 16
 *   void slp_stv(void *p, struct slp_v16 v)
 *   uint8_t slp_ldb(const void *p)
 *   void slp_stb(void *p, uint8_t v)
 *     These four have no order of their own (an acquire goes before, a release
 *     behind them), but never meet a stale line of an incoherent cache.
 *
 *   void slp_pause(uint32_t round)  back-off; grows with round, <= 1 us
 *   uint64_t slp_now(void)          nanoseconds, monotonic; may be slow
 *   uint64_t slp_ticks(void)        cheap, some steady unit; for differences
 *                                   taken by one thread
 *
 * Arithmetic, and shared memory of the block:
 *   uint32_t slp_popc(uint32_t v)                  bits that are set
 *   uint32_t slp_top(uint32_t v)                   highest one; v is not 0
 *   uint32_t slp_zeros(uint32_t v)                 below the lowest; 32 of 0
 *   uint32_t slp_funnel(uint32_t low, uint32_t high, uint32_t bits)
 *                               high:low shifted right by bits mod 32
 *   void slp_mark(uint32_t *shared, uint32_t v)    or, relaxed
 *   uint32_t slp_load_any(const uint16_t *shared)
 *   uint32_t slp_load_any8(const uint8_t *shared)
 *   void slp_store_any(uint16_t *shared, uint16_t v)
 *   void slp_store_any8(uint8_t *shared, uint8_t v)
 *                               relaxed: of lanes that store to one place at
 *                               once, any one wins
 *   void slp_fetch16(void *shared, const void *p)  copies 16 bytes, aligned 16,
 *                               from device memory; done after
 *   void slp_fetched(void)      the fetches of this lane
 *
 * On the host these run in plain threads too: a plain thread is a warp of one
 * lane and a block of one thread.
 */
#ifndef SLUICE_DEVICE_PORT_H
#define SLUICE_DEVICE_PORT_H

#include "../wire.h"

struct slp_v16 {
    uint64_t a, b;
};

#if defined(__CUDA__) || defined(__CUDACC__)
#include "port_cuda.h"
#elif defined(__HIP__)
#include "port_hip.h"
#else
#define SL_ON_HOST 1
#include "port_host.h"
#endif

#endif
