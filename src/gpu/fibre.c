/* SPDX-License-Identifier: Apache-2.0 */
#include "gpu/fibre.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(FIBRE_ASAN)
#include <sanitizer/common_interface_defs.h>
#endif

/* ---- what is kept ---- */

/* Stacks, and ThreadSanitizer's side of fibres, take longer to make than most
 * kernels to run: a thread keeps those of its last launches for the next. */
#define KEPT_RANGES 4u
#define KEPT_STACKS 2048u /* in all ranges: two of the largest blocks */
#define KEPT_ALL 8192u    /* of all threads: 2 mappings each, of 65530 */
#define KEPT_TSAN 512u

static pthread_once_t kept_once = PTHREAD_ONCE_INIT;
static pthread_key_t kept_key;
static int kept_works;  /* set once */
static size_t kept_all; /* atomic: stacks that all threads keep */
static _Thread_local struct {
    size_t ranges, fibres;
    struct fibre_stacks range[KEPT_RANGES];
#if defined(FIBRE_TSAN)
    void *tsan[KEPT_TSAN];
#endif
} kept;

static void kept_drop_fibres(void)
{
#if defined(FIBRE_TSAN)
    while (kept.fibres)
        __tsan_destroy_fiber(kept.tsan[--kept.fibres]);
#endif
}

static struct fibre_stacks kept_take(size_t i)
{
    struct fibre_stacks s = kept.range[i];
    kept.ranges--;
    memmove(&kept.range[i], &kept.range[i + 1u],
            (kept.ranges - i) * sizeof(kept.range[0]));
    /* Relaxed: only a number. Partner: fibre_stacks_unmap. */
    __atomic_fetch_sub(&kept_all, s.n, __ATOMIC_RELAXED);
    return s;
}

/* The oldest range goes. */
static void kept_drop_range(void)
{
    struct fibre_stacks s = kept_take(0);
    munmap(s.base, s.n * s.stride);
}

static void kept_drop(void *any)
{
    (void)any;
    kept_drop_fibres();
    while (kept.ranges)
        kept_drop_range();
}

/* ThreadSanitizer counts fibres as threads, and does not look at the child of a
 * process with threads. */
static void kept_init(void)
{
    kept_works = pthread_key_create(&kept_key, kept_drop) == 0;
#if defined(FIBRE_TSAN)
    if (pthread_atfork(kept_drop_fibres, NULL, NULL))
        kept_works = 0;
#endif
}

/* Whether this thread will drop what it keeps when it ends. */
static int kept_ready(void)
{
    pthread_once(&kept_once, kept_init);
    return kept_works && pthread_setspecific(kept_key, &kept) == 0;
}

static size_t kept_stacks(void)
{
    size_t n = 0;
    for (size_t i = 0; i < kept.ranges; i++)
        n += kept.range[i].n;
    return n;
}

/* ---- stacks ---- */

int fibre_stacks_map(size_t n, struct fibre_stacks *out)
{
    struct fibre_stacks s;
    for (size_t i = kept.ranges; i > 0; i--)
        if (kept.range[i - 1u].n == n) {
            *out = kept_take(i - 1u);
            return 0;
        }
    s.n = n;
    s.guard = (size_t)sysconf(_SC_PAGESIZE);
    s.stride = FIBRE_STACK_BYTES + s.guard;
    void *p = mmap(NULL, n * s.stride, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return SL_ENOMEM;
    s.base = (char *)p;
    for (size_t i = 0; i < n; i++) {
        /* Fails when the process has too many mappings. */
        if (mprotect(s.base + i * s.stride, s.guard, PROT_NONE)) {
            munmap(p, n * s.stride);
            return SL_ENOMEM;
        }
    }
    *out = s;
    return 0;
}

void fibre_stacks_unmap(struct fibre_stacks *s)
{
    int keep = s->n <= KEPT_STACKS && kept_ready();
    while (keep &&
           (kept.ranges == KEPT_RANGES || kept_stacks() + s->n > KEPT_STACKS))
        kept_drop_range();
    if (keep &&
        __atomic_add_fetch(&kept_all, s->n, __ATOMIC_RELAXED) > KEPT_ALL) {
        __atomic_fetch_sub(&kept_all, s->n, __ATOMIC_RELAXED);
        keep = 0;
    }
    if (keep)
        kept.range[kept.ranges++] = *s;
    else
        munmap(s->base, s->n * s->stride);
}

/* ---- what the sanitizers are told ---- */

#if defined(FIBRE_ASAN)
static void asan_before(struct fibre *from, struct fibre *to, int last)
{
    to->from = from;
    __sanitizer_start_switch_fiber(last ? NULL : &from->fake, to->stack,
                                   to->stack_bytes);
}

/* The bounds of an OS thread's own stack are learned here, at the first switch
 * away from it. */
static void asan_after(struct fibre *self)
{
    __sanitizer_finish_switch_fiber(self->fake, &self->from->stack,
                                    &self->from->stack_bytes);
}
#else
#define asan_before(from, to, last) ((void)0)
#define asan_after(self) ((void)0)
#endif

#if defined(FIBRE_TSAN)
#define tsan_before(to)                                                        \
    __tsan_switch_to_fiber((to)->tsan, __tsan_switch_to_fiber_no_sync)

/* The launches of a thread come one after the other: one fibre after another with
 * the same side hides no race. */
static void *tsan_make(void)
{
    return kept.fibres ? kept.tsan[--kept.fibres] : __tsan_create_fiber(0);
}

static void tsan_drop(void *of)
{
    if (kept.fibres < KEPT_TSAN && kept_ready())
        kept.tsan[kept.fibres++] = of;
    else
        __tsan_destroy_fiber(of);
}
#else
#define tsan_before(to) ((void)0)
#endif

/* ---- the switch ---- */

FIBRE_SCHED __attribute__((noreturn, used)) static void
fibre_begin(struct fibre *f)
{
    asan_after(f);
    f->entry(f->arg);
    abort();
}

#if defined(FIBRE_UCONTEXT)

/* makecontext hands over ints only, so the pointer comes in halves. */
FIBRE_SCHED static void context_begin(unsigned high, unsigned low)
{
    uintptr_t p = ((uintptr_t)high << 16 << 16) | (uintptr_t)low;
    fibre_begin((struct fibre *)p);
}

static int context_make(struct fibre *f, char *stack, char *top)
{
    if (getcontext(&f->context))
        return SL_ENOMEM;
    uintptr_t p = (uintptr_t)f;
    f->context.uc_stack.ss_sp = stack;
    f->context.uc_stack.ss_size = (size_t)(top - stack);
    f->context.uc_link = NULL;
    makecontext(&f->context, (void (*)(void))context_begin, 2,
                (unsigned)(p >> 16 >> 16), (unsigned)(p & 0xffffffffu));
    return 0;
}

FIBRE_SCHED static void context_jump(struct fibre *from, struct fibre *to)
{
    if (swapcontext(&from->context, &to->context))
        abort();
}

#else

/*
 * void fibre_jump(void **save, void *sp): pushes what the System V ABI lets a
 * callee keep, stores the stack pointer in *save, takes the other one and pops
 * the same. A new fibre's stack is laid out as if it had called fibre_jump from
 * fibre_first, with its struct in rbx; the undefined rip ends backtraces.
 */
void fibre_jump(void **save, void *sp) __attribute__((visibility("hidden")));
void fibre_first(void) __attribute__((visibility("hidden")));

__asm__(".pushsection .text\n"
        ".globl fibre_jump\n.hidden fibre_jump\n"
        ".type fibre_jump, @function\n.p2align 4\n"
        "fibre_jump:\n"
        ".cfi_startproc\n"
        "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n"
        "    pushq %r13\n    pushq %r14\n    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n    popq %r14\n    popq %r13\n"
        "    popq %r12\n    popq %rbx\n    popq %rbp\n"
        "    ret\n"
        ".cfi_endproc\n"
        ".size fibre_jump, . - fibre_jump\n"
        ".globl fibre_first\n.hidden fibre_first\n"
        ".type fibre_first, @function\n.p2align 4\n"
        "fibre_first:\n"
        ".cfi_startproc\n.cfi_undefined rip\n"
        "    movq %rbx, %rdi\n"
        "    call *%r12\n"
        "    ud2\n"
        ".cfi_endproc\n"
        ".size fibre_first, . - fibre_first\n"
        ".popsection\n");

static int context_make(struct fibre *f, char *stack, char *top)
{
    (void)stack;
    /* r15 r14 r13 r12 rbx rbp and the return address; above them fibre_first
     * finds the stack aligned to 16, as its call must. */
    uintptr_t *sp = (uintptr_t *)(void *)top - 7;
    sp[0] = 0;
    sp[1] = 0;
    sp[2] = 0;
    sp[3] = (uintptr_t)fibre_begin;
    sp[4] = (uintptr_t)f;
    sp[5] = 0;
    sp[6] = (uintptr_t)fibre_first;
    f->sp = sp;
    return 0;
}

FIBRE_SCHED static void context_jump(struct fibre *from, struct fibre *to)
{
    fibre_jump(&from->sp, to->sp);
}

#endif

void fibre_here(struct fibre *f)
{
    *f = (struct fibre){0};
#if defined(FIBRE_TSAN)
    f->tsan = __tsan_get_current_fiber();
#endif
}

int fibre_make(struct fibre *f, const struct fibre_stacks *s, size_t i,
               void (*entry)(void *arg), void *arg)
{
    char *stack = s->base + i * s->stride + s->guard;
    /* Stacks begin at different offsets in their pages: all at one offset
     * would share a few sets of the first-level cache. */
    char *top = stack + FIBRE_STACK_BYTES - (i % 32u) * 128u;
    *f = (struct fibre){0};
    f->entry = entry;
    f->arg = arg;
#if defined(FIBRE_ASAN)
    f->stack = stack;
    f->stack_bytes = FIBRE_STACK_BYTES;
#endif
    int rc = context_make(f, stack, top);
    if (rc)
        return rc;
#if defined(FIBRE_TSAN)
    f->tsan = tsan_make();
#endif
    return 0;
}

FIBRE_SCHED void fibre_switch(struct fibre *from, struct fibre *to)
{
    asan_before(from, to, 0);
    tsan_before(to);
    context_jump(from, to);
    asan_after(from);
}

FIBRE_SCHED void fibre_leave(struct fibre *from, struct fibre *to)
{
    asan_before(from, to, 1);
    tsan_before(to);
    context_jump(from, to);
    abort();
}

void fibre_drop(struct fibre *f)
{
#if defined(FIBRE_TSAN)
    tsan_drop(f->tsan);
#endif
    *f = (struct fibre){0};
}
