/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the `host` device share. */
#ifndef TEST_HOST_HELP_H
#define TEST_HOST_HELP_H

#include "sluice/device/port.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define FULL 0xffffffffu
#define MAX_THREADS 1024u

/* Each kernel thread writes its own words of `out`. */
struct out_args {
    uint32_t *out;
    uint32_t n;
};

static inline struct sl_host_grid shape(uint32_t blocks, uint32_t threads)
{
    struct sl_host_grid g = {.grid = {blocks, 1, 1}, .block = {threads, 1, 1}};
    return g;
}

static inline void launch(void (*kernel)(const void *), uint32_t blocks,
                          uint32_t threads, const void *arg)
{
    struct sl_host_grid g = shape(blocks, threads);
    assert_int_equal(sl_host_launch(kernel, &g, arg), 0);
}

#endif
