/* SPDX-License-Identifier: Apache-2.0 */
#include "gpu/gpu.h"

#include "base/log.h"

#include <limits.h>
#include <string.h>

/* Digits only, at least one; what is too large becomes INT_MAX. -1: no number.
 */
static int ordinal_of(const char *digits)
{
    int n = 0;
    if (!*digits)
        return -1;
    for (; *digits; digits++) {
        if (*digits < '0' || *digits > '9')
            return -1;
        int digit = *digits - '0';
        n = n > (INT_MAX - digit) / 10 ? INT_MAX : n * 10 + digit;
    }
    return n;
}

static int open_cuda(const char *name, int ordinal, struct gpu **out)
{
    char why[256] = "";
    int n = gpu_cuda_ops.count(why, sizeof(why));
    if (n == 0) {
        log_error("%s: %s", name, why);
        return SL_ENODEV;
    }
    if (ordinal >= n) {
        log_error("%s: there %s %d CUDA device%s, counted from 0", name,
                  n == 1 ? "is" : "are", n, n == 1 ? "" : "s");
        return SL_ENODEV;
    }
    return gpu_cuda_ops.open(ordinal, out);
}

/* The first CUDA device that opens, else the host. */
static int open_auto(struct gpu **out)
{
    static int told;
    char why[256] = "";
    int n = gpu_cuda_ops.count(why, sizeof(why));
    for (int i = 0; i < n; i++) {
        if (gpu_cuda_ops.open(i, out) == 0)
            return 0;
    }
    /* Relaxed: the flag orders nothing, it only lets one thread log. */
    if (n == 0 && !__atomic_exchange_n(&told, 1, __ATOMIC_RELAXED))
        log_info("no GPU, kernels run on the host: %s", why);
    return gpu_host_ops.open(0, out);
}

int gpu_open(const char *name, struct gpu **out)
{
    if (name && strcmp(name, "host") == 0)
        return gpu_host_ops.open(0, out);
    if (name && strcmp(name, "auto") == 0)
        return open_auto(out);
    if (name && strncmp(name, "cuda:", 5) == 0) {
        int ordinal = ordinal_of(name + 5);
        if (ordinal >= 0)
            return open_cuda(name, ordinal, out);
    }
    log_error("device \"%s\" is none of \"host\", \"cuda:N\", \"auto\" and, "
              "for pages alone, \"cpu\"",
              name ? name : "(null)");
    return SL_EINVAL;
}
