/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The kernels of test/test_device*.c: each does operations and notes what it
 * saw; the tests judge on the CPU. Types that the host fills and the kernel
 * reads; fields that end in _at are addresses of the device.
 */
#ifndef SLUICE_KERNELS_CHECK_H
#define SLUICE_KERNELS_CHECK_H

#include "sluice/device.h"

/* ---- echo ---- */

/** Two kernels show by it that they run at once; zeroed. */
struct check_meet {
    uint64_t arrived; /* kernels */
    uint64_t met;     /* blocks that saw all kernels arrive */
};

/** What a thread of k_check_echo saw. */
struct check_echo_out {
    uint64_t last; /* answer of the last round */
    uint32_t right, wrong;
    int32_t code; /* the first that is not 0 */
    uint32_t reserved;
};

/** k_check_echo: each group (of `form`) has `rounds` numbers echoed. */
struct check_echo_args {
    struct sl_dev dev;
    uint64_t base;       /* numbers begin here */
    uint64_t out_at;     /* struct check_echo_out of each thread */
    uint64_t meet_at;    /* struct check_meet, or 0 */
    uint64_t meet;       /* kernels to wait for */
    uint64_t timeout_ns; /* of that wait */
    uint32_t form;       /* enum sl_form */
    uint32_t rounds;
    uint32_t pool, method;
};

/** Number that group `unit` sends in a round; all bits are in use. */
SL_BOTH uint64_t check_echo_value(uint64_t base, uint64_t unit, uint32_t round)
{
    return sl_mix64(base + (unit << 16) + round);
}

/* ---- lists of operations ---- */

enum check_kind {
    CHECK_NOOP,
    CHECK_TAG,
    CHECK_TAG_FIND,
    CHECK_PUT,
    CHECK_PUT_WAIT, /* begin, then wait */
    CHECK_GET,
    CHECK_GET_WAIT,
    CHECK_SIZE,
    CHECK_DEL,
    CHECK_RENAME, /* to "renamed"; tag `offset`, 0: the same */
    CHECK_STAT,   /* into `data_at` */
    CHECK_TASK
};

struct check_op {
    uint64_t tag, offset, size;
    uint64_t data_at; /* source, destination or task; any alignment */
    uint64_t name_at; /* any alignment */
    uint32_t name_len;
    uint32_t kind; /* enum check_kind */
    uint16_t pool, method, container;
    uint16_t score;
    uint8_t persist, codec, replace, high;
    uint32_t reserved;
};

/** What one caller of an operation saw. */
struct check_result {
    uint64_t v[4]; /* result, when the call gives one */
    int32_t code;
    uint32_t ran; /* index of the operation, plus 1 */
};

/**
 * k_check_ops_thread, _warp, _block: group u of the grid does the lists u,
 * u + groups, ... below n_lists, each of `per` operations, in order.
 */
struct check_ops_args {
    struct sl_dev dev;
    uint64_t ops_at;     /* struct check_op, n_lists * per */
    uint64_t results_at; /* struct check_result, for each op `stride` */
    uint64_t n_lists;
    uint32_t per;
    uint32_t stride; /* callers of the largest group */
};

/* ---- divergence ---- */

#define CHECK_LANE_BYTES 256u  /* of each thread's own memory */
#define CHECK_LANE_PUT 100u    /* bytes of a lane's blob */
#define CHECK_LANE_GET 200u    /* bytes that a lane reads of the common blob */
#define CHECK_WARP_BYTES 5000u /* of a warp's blob */
#define CHECK_NAME_LEN 9u

/** What a lane of k_check_diverge saw. */
struct check_lane {
    uint64_t answer;         /* own echo, of the last round */
    uint64_t warp_answer[2]; /* the warp's echo, before and after more left */
    int32_t code;            /* the first that is not 0 */
    uint32_t ops;            /* own operations that ended */
    uint32_t warp_ops;       /* operations of its warp that ended */
    uint32_t wrong;          /* bytes read that are not the host's */
};

/**
 * k_check_diverge. Lanes 7, 15, ... end at once. Of the others, odd lanes put
 * a blob check_name('d', thread) lane % 5 + 1 times; lanes 0, 4, ... get a part
 * of the host's blob lane % 3 + 1 times; the rest echo as often. Those then do
 * a warp's echo, put check_name('w', warp) and get it; lanes 16 and up end, the
 * others do a warp's echo once more.
 */
struct check_diverge_args {
    struct sl_dev dev;
    uint64_t tag;
    uint64_t common_at;  /* the common blob's name */
    uint64_t own_at;     /* CHECK_LANE_BYTES of each thread */
    uint64_t source_at;  /* CHECK_WARP_BYTES of each warp */
    uint64_t target_at;  /* the same */
    uint64_t out_at;     /* struct check_lane of each thread */
    uint32_t common_len; /* of the name */
    uint32_t pool;
};

SL_BOTH void check_name(char *to, char letter, uint32_t n)
{
    to[0] = letter;
    for (uint32_t i = 0; i < 8u; i++) {
        uint32_t digit = n >> (28u - 4u * i) & 15u;
        to[1u + i] = (char)(digit < 10u ? 48u + digit : 87u + digit);
    }
}
/** Byte i of what thread `n` puts in a round, and of the common blob. */
SL_BOTH uint8_t check_lane_byte(uint32_t n, uint32_t round, uint32_t i)
{
    return (uint8_t)sl_mix64(((uint64_t)n << 32) + (round << 16) + i);
}
SL_BOTH uint8_t check_common_byte(uint32_t i)
{
    return (uint8_t)(i * 13u + 5u);
}

/* ---- waiting, giving up ---- */

/** What a caller of k_check_wait saw. */
struct check_wait_out {
    uint64_t value;     /* of the result, at the end */
    uint64_t waited_ns; /* of the wait that ended at its deadline */
    int32_t tested, late, stopped, ended, again;
    uint32_t live;
};

/**
 * k_check_wait: one group sends a task that is held, tests it, waits for
 * short_ns, says stage 1, waits until the stop flag is set, says stage 2, and
 * waits for the end.
 */
struct check_wait_args {
    struct sl_dev dev;
    uint64_t value;
    uint64_t stage_at; /* uint32_t, pinned */
    uint64_t stop_at;  /* uint32_t, pinned */
    uint64_t short_ns, long_ns;
    uint64_t out_at; /* struct check_wait_out of each thread */
    uint32_t form;
    uint32_t pool, method;
    uint32_t reserved;
};

/** What a caller of k_check_abandon saw. */
struct check_abandon_out {
    uint32_t live;  /* begins that were in flight when they were given up */
    uint32_t right; /* echoes afterwards */
    int32_t code;   /* of the first begin or echo that failed */
    int32_t full;   /* of a call while no slot is free */
};

/**
 * k_check_abandon: one group begins and abandons `rounds` operations. When
 * stage_at is not 0 it then makes a call by `hasty` and says stage 1. Then it
 * has `rounds` numbers echoed.
 */
struct check_abandon_args {
    struct sl_dev dev, hasty; /* hasty: the same, with a short time */
    struct check_op op;       /* CHECK_TASK, CHECK_PUT or CHECK_GET */
    uint64_t stage_at;        /* uint32_t, pinned, or 0 */
    uint64_t out_at;          /* struct check_abandon_out of each thread */
    uint32_t form;
    uint32_t rounds;
    uint32_t echo;
    uint32_t reserved;
};

/* ---- versions ---- */

/** What a warp of k_check_whole saw. */
struct check_whole_out {
    uint64_t gets;
    uint64_t torn;    /* gets whose bytes are not all the same */
    uint64_t changes; /* gets of another version than the one before */
    int64_t code;     /* the first that is not 0 */
};

/**
 * k_check_whole: each warp gets one blob again and again, until it has done
 * `gets` and seen `changes`, or failed, or timeout_ns has passed.
 */
struct check_whole_args {
    struct sl_dev dev;
    struct sl_key key; /* the name's address is the device's */
    uint64_t pages_at; /* `size` bytes of each warp */
    uint64_t out_at;   /* struct check_whole_out of each warp */
    uint64_t size;     /* a multiple of 256 */
    uint64_t gets, changes;
    uint64_t timeout_ns;
};

#endif
