/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Fibres: stacks that one OS thread switches between.
 *
 * Usual order: fibre_stacks_map; fibre_here for the OS thread's own context;
 * fibre_make for each fibre; fibre_switch; a fibre's last act is fibre_leave;
 * then fibre_drop and fibre_stacks_unmap. All calls for one fibre come from
 * one OS thread. The sanitizers are told of each switch.
 *
 * What it does not do: floating-point control words and signal masks stay the
 * OS thread's (no kernel changes them); it schedules nothing.
 */
#ifndef SLUICE_FIBRE_H
#define SLUICE_FIBRE_H

#include "sluice/status.h"

#include <stddef.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBRE_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define FIBRE_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define FIBRE_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define FIBRE_TSAN 1
#endif

#if !defined(__x86_64__) && !defined(FIBRE_UCONTEXT)
#define FIBRE_UCONTEXT 1
#endif

#if defined(FIBRE_UCONTEXT)
#include <ucontext.h>
#endif

#if defined(FIBRE_TSAN)
#include <sanitizer/tsan_interface.h>
/* Switches give no order, so that ThreadSanitizer sees races between fibres;
 * what orders them says so with this pair, on any common address. */
#define fibre_release(p) __tsan_release(p)
#define fibre_acquire(p) __tsan_acquire(p)
/* For the scheduler that fibres share: one OS thread runs it, so its own data
 * cannot race, but ThreadSanitizer takes fibres for threads. */
#define FIBRE_SCHED __attribute__((no_sanitize("thread")))
#else
#define fibre_release(p) ((void)(p))
#define fibre_acquire(p) ((void)(p))
#define FIBRE_SCHED
#endif

/* 64 KiB takes a kernel and the C library below it; instrumented frames are
 * several times larger. */
#if defined(FIBRE_ASAN) || defined(FIBRE_TSAN)
#define FIBRE_STACK_BYTES ((size_t)256 << 10)
#else
#define FIBRE_STACK_BYTES ((size_t)64 << 10)
#endif

struct fibre {
#if defined(FIBRE_UCONTEXT)
    ucontext_t context;
#else
    void *sp; /* while it does not run */
#endif
    void (*entry)(void *arg);
    void *arg;
#if defined(FIBRE_ASAN)
    const void *stack; /* lowest address and size */
    size_t stack_bytes;
    void *fake;
    struct fibre *from; /* who switched here last */
#endif
#if defined(FIBRE_TSAN)
    void *tsan;
#endif
};

/** A range of equal stacks, each above a guard page. */
struct fibre_stacks {
    char *base;
    size_t n, stride, guard;
};

/** Reserves n stacks; pages come with use. SL_ENOMEM. */
int fibre_stacks_map(size_t n, struct fibre_stacks *out);
void fibre_stacks_unmap(struct fibre_stacks *s);

/** Makes `f` stand for the running context. */
void fibre_here(struct fibre *f);
/**
 * Makes `f` begin with entry(arg) on stack `i` when it is switched to. `entry`
 * does not return. SL_ENOMEM.
 */
int fibre_make(struct fibre *f, const struct fibre_stacks *s, size_t i,
               void (*entry)(void *arg), void *arg);
/** From the running fibre to another; returns when one switches back. */
void fibre_switch(struct fibre *from, struct fibre *to);
/** As fibre_switch, for good. */
void fibre_leave(struct fibre *from, struct fibre *to)
    __attribute__((noreturn));
/** Ends a fibre that was made and does not run. */
void fibre_drop(struct fibre *f);

#endif
