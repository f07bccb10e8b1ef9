/* SPDX-License-Identifier: Apache-2.0 */
/* Opening devices by name, and what needs no device. */
#include "base/log.h"
#include "gpu/gpu.h"
#include "gpu/kernels/limits.h"
#include "gpu/kernels/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static int log_lines;

static void count_lines(void *user, enum sl_log_level level, const char *line)
{
    (void)user;
    (void)level;
    (void)line;
    __atomic_add_fetch(&log_lines, 1, __ATOMIC_RELAXED);
}

static void names_that_mean_nothing_are_einval(void **state)
{
    static const char *const names[] = {
        "",        "gpu",     "cuda", "cuda:", "cuda:x", "cuda:1x", "cuda:-1",
        "cuda: 1", "cuda:+1", "Host", "host ", "auto:0", "host:0",  "CUDA:0"};
    struct gpu *g = NULL;
    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        log_lines = 0;
        assert_int_equal(gpu_open(names[i], &g), SL_EINVAL);
        assert_int_equal(log_lines, 1);
    }
    assert_int_equal(gpu_open(NULL, &g), SL_EINVAL);
    assert_null(g);
}

static void ordinals_that_do_not_exist_are_enodev(void **state)
{
    struct gpu *g = NULL;
    (void)state;
    log_lines = 0;
    assert_int_equal(gpu_open("cuda:99", &g), SL_ENODEV);
    assert_int_equal(gpu_open("cuda:4294967296", &g), SL_ENODEV);
    assert_int_equal(gpu_open("cuda:99999999999999999999", &g), SL_ENODEV);
    assert_int_equal(log_lines, 3);
    assert_int_equal(gpu_cuda_ops.open(-1, &g), SL_ENODEV);
    assert_int_equal(gpu_cuda_ops.open(99, &g), SL_ENODEV);
    assert_null(g);
}

static void host_and_auto_open(void **state)
{
    struct gpu *g = NULL;
    char why[256] = "";
    (void)state;
    assert_int_equal(gpu_open("host", &g), 0);
    assert_ptr_equal(g->ops, &gpu_host_ops);
    g->ops->close(g);
    g = NULL;
    assert_int_equal(gpu_open("auto", &g), 0);
    if (gpu_cuda_ops.count(why, sizeof(why)) == 0)
        assert_ptr_equal(g->ops, &gpu_host_ops);
    g->ops->close(g);
}

static void kernels_are_found_by_their_names(void **state)
{
    (void)state;
    for (const struct kernel_entry *k = kernel_table; k->name; k++) {
        assert_ptr_equal(kernel_find(k->name), k);
        assert_true(k->host != NULL);
    }
    assert_null(kernel_find("k_no_such"));
    assert_null(kernel_find(""));
}

static void page_place_is_one_to_one(void **state)
{
    static uint8_t seen[1u << 12];
    const uint64_t seed = UINT64_C(0x0123456789abcdef);
    (void)state;
    for (uint32_t shift = 0; shift <= 12; shift++) {
        memset(seen, 0, sizeof(seen));
        for (uint64_t i = 0; i < UINT64_C(1) << shift; i++) {
            uint64_t place = k_page_place(i, shift, seed);
            assert_true(place < UINT64_C(1) << shift);
            assert_int_equal(seen[place]++, 0);
        }
    }
}

static const struct CMUnitTest name_tests[] = {
    cmocka_unit_test(names_that_mean_nothing_are_einval),
    cmocka_unit_test(ordinals_that_do_not_exist_are_enodev),
    cmocka_unit_test(host_and_auto_open),
    cmocka_unit_test(kernels_are_found_by_their_names),
    cmocka_unit_test(page_place_is_one_to_one),
};

int main(void)
{
    log_sink(count_lines, NULL);
    return cmocka_run_group_tests(name_tests, NULL, NULL);
}
