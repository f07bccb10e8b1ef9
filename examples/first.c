/* SPDX-License-Identifier: Apache-2.0 */
/* The first program of the README: a kernel puts blobs, the host reads them.
 *   gcc examples/first.c -lsluice -o first          (host device)
 *   nvcc -x cu examples/first.c -lsluice -o first   (GPU) */
#include <sluice/device.h>
#include <sluice/sluice.h>
#include <stdio.h>

#if defined(__CUDACC__)
#define DEVICE "cuda:0"
#else
#define DEVICE "host"
#endif

struct args {
    struct sl_dev sluice; /* the channel, by value */
    uint64_t tag;
};

SL_KERNEL(squares, struct args) /* 64 threads, each puts its own blob */
{
    char name[] = "square-00";
    uint32_t i = slp_thread(), value = i * i;
    name[7] = (char)('0' + i / 10);
    name[8] = (char)('0' + i % 10);
    sl_put_thread(&arg.sluice, sl_key_make(arg.tag, name, 9), 0, &value,
                  sizeof(value), sl_how_default());
}

static int launch(const struct args *a)
{
#if defined(__CUDACC__)
    squares<<<1, 64>>>(*a);
    return cudaDeviceSynchronize() == cudaSuccess ? 0 : SL_EDEVICE;
#else
    struct sl_host_grid g = {{1, 1, 1}, {64, 1, 1}, 0};
    return sl_host_launch(squares, &g, a);
#endif
}

int main(void)
{
    struct sl_runtime *rt = NULL;
    struct sl_device *dev = NULL;
    struct args a;
    uint32_t nine = 0;
    int rc = sl_open(NULL, &rt); /* all defaults, in memory */
    if (!rc)
        rc = sl_tag(rt, "squares", &a.tag);
    if (!rc)
        rc = sl_device_open(rt, DEVICE, &dev);
    if (!rc) {
        a.sluice = *sl_device_handle(dev);
        rc = launch(&a);
    }
    if (!rc)
        rc = sl_get(rt, a.tag, "square-09", 0, &nine, sizeof(nine), NULL);
    printf("%s: 9 * 9 = %u (%s)\n", dev ? sl_device_name(dev) : "none", nine,
           sl_strerror(rc));
    sl_device_close(dev);
    sl_close(rt);
    return rc != 0;
}
