/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "gpu/cuda_gpu.h"
#include "gpu/cuda_pin.h"
#include "gpu/kernels/table.h"

#include <stdio.h>
#include <stdlib.h>

/* The device header needs scoped loads and independent threads of a warp. */
#define OLDEST_CC 70u
#define MUCH_SHARED 8192
/* ---- devices ---- */

static int cuda_count(char *why, size_t why_bytes)
{
    int n = 0;
    if (!cuda_driver()) {
        snprintf(why, why_bytes, "%s", cuda_why());
        return 0;
    }
    if (cu.device_count(&n) != CU_OK || n <= 0) {
        snprintf(why, why_bytes,
                 "the CUDA driver shows no device to this process");
        return 0;
    }
    return n;
}

static int numa_node_of(const char *pci)
{
    char path[64];
    int node = -1;
    size_t n = (size_t)snprintf(path, sizeof(path),
                                "/sys/bus/pci/devices/%s/numa_node", pci);
    /* The driver writes hexadecimal digits large, sysfs small. */
    for (size_t i = 0; i < n && i < sizeof(path); i++) {
        if (path[i] >= 'A' && path[i] <= 'F')
            path[i] = (char)(path[i] - 'A' + 'a');
    }
    FILE *f = fopen(path, "re");
    if (!f)
        return -1;
    if (fscanf(f, "%d", &node) != 1)
        node = -1;
    fclose(f);
    return node;
}

static int fill_info(struct cuda_gpu *g, int ordinal)
{
    struct gpu_info *i = &g->info;
    int sms = 0, major = 0, minor = 0;
    size_t bytes = 0;
    int rc =
        cuda_check(cu.device_name(i->name, (int)sizeof(i->name), g->device),
                   "cuDeviceGetName");
    if (rc == 0)
        rc =
            cuda_check(cu.device_attr(&sms, CU_ATTR_MULTIPROCESSORS, g->device),
                       "cuDeviceGetAttribute");
    if (rc == 0)
        rc = cuda_check(cu.device_attr(&major, CU_ATTR_CC_MAJOR, g->device),
                        "cuDeviceGetAttribute");
    if (rc == 0)
        rc = cuda_check(cu.device_attr(&minor, CU_ATTR_CC_MINOR, g->device),
                        "cuDeviceGetAttribute");
    if (rc == 0)
        rc = cuda_check(cu.device_mem(&bytes, g->device), "cuDeviceTotalMem");
    if (rc == 0)
        rc = cuda_check(cu.device_pci(i->pci, (int)sizeof(i->pci), g->device),
                        "cuDeviceGetPCIBusId");
    if (rc)
        return rc;
    i->ordinal = ordinal;
    i->sms = (uint32_t)sms;
    i->cc = (uint32_t)(major * 10 + minor);
    i->mem_bytes = bytes;
    i->numa_node = numa_node_of(i->pci);
    if (i->cc < OLDEST_CC) {
        log_error("cuda:%d (%s) has compute capability %d.%d, needed is %u.%u",
                  ordinal, i->name, major, minor, OLDEST_CC / 10,
                  OLDEST_CC % 10);
        return SL_ENODEV;
    }
    return 0;
}

/* Shared memory bounds the warps that run at once of a kernel that has much of
 * it, so that such a one gets all that the multiprocessor can give. A hint: the
 * kernel runs without it too. */
static void prefer_shared(struct cu_function *f)
{
    int bytes = 0;
    if (cu.function_get(&bytes, CU_KERNEL_SHARED_BYTES, f) == CU_OK &&
        bytes >= MUCH_SHARED)
        (void)cu.function_set(f, CU_KERNEL_CARVEOUT, 100);
}

/* All functions are loaded now: a lazy load may wait for running kernels, and
 * one of those may be waiting for the caller. A device without the product's
 * kernels still serves the user's, so a failure is only logged. */
static void load_kernels(struct cuda_gpu *g)
{
    if (kernel_fatbin_bytes == 0)
        return;
    if (cuda_check(cu.module_load(&g->module, kernel_fatbin),
                   "cuModuleLoadData")) {
        g->module = NULL;
        return;
    }
    for (size_t i = 0; kernel_table[i].name; i++) {
        if (cuda_check(cu.module_function(&g->functions[i], g->module,
                                          kernel_table[i].name),
                       kernel_table[i].name))
            g->functions[i] = NULL;
        else
            prefer_shared(g->functions[i]);
    }
}

static int open_in_context(struct cuda_gpu *g)
{
    int rc = cuda_enter(g);
    if (rc)
        return rc;
    rc = cuda_check(cu.stream_create(&g->copies, CU_STREAM_NON_BLOCKING),
                    "cuStreamCreate");
    if (rc == 0)
        load_kernels(g);
    cuda_leave();
    return rc;
}

static int cuda_open(int ordinal, struct gpu **out)
{
    char why[256] = "";
    size_t kernels = 0;
    int n = cuda_count(why, sizeof(why));
    if (ordinal < 0 || ordinal >= n) {
        log_error("cuda:%d: %s", ordinal, n ? "no such device" : why);
        return SL_ENODEV;
    }
    while (kernel_table[kernels].name)
        kernels++;
    struct cuda_gpu *g =
        calloc(1, sizeof(*g) + kernels * sizeof(g->functions[0]));
    if (!g)
        return SL_ENOMEM;
    int rc = cuda_check(cu.device_get(&g->device, ordinal), "cuDeviceGet");
    if (rc == 0)
        rc = fill_info(g, ordinal);
    if (rc)
        goto free_gpu;
    rc = cuda_check(cu.ctx_retain(&g->ctx, g->device),
                    "cuDevicePrimaryCtxRetain");
    if (rc)
        goto free_gpu;
    rc = open_in_context(g);
    if (rc)
        goto release_context;
    g->base.ops = &gpu_cuda_ops;
    *out = &g->base;
    return 0;

release_context:
    cu.ctx_release(g->device);
free_gpu:
    free(g);
    return rc;
}

static void cuda_close(struct gpu *base)
{
    struct cuda_gpu *g = cuda_of(base);
    if (cuda_enter(g) == 0) {
        cu.stream_destroy(g->copies);
        if (g->module)
            cu.module_unload(g->module);
        cuda_leave();
    }
    cu.ctx_release(g->device);
    free(g);
}

static void cuda_info(struct gpu *g, struct gpu_info *out)
{
    *out = cuda_of(g)->info;
}

/* ---- memory ---- */

/* The stream is shared by all threads, so this may wait for another's copy
 * too; it never waits for kernels. */
static int copies_done(const struct cuda_gpu *g)
{
    return cuda_check(cu.stream_sync(g->copies), "cuStreamSynchronize");
}

static int cuda_alloc(struct gpu *base, size_t bytes, sl_devptr *out)
{
    struct cuda_gpu *g = cuda_of(base);
    sl_devptr at = 0;
    int rc = cuda_enter(g);
    if (rc)
        return rc;
    /* cuMemAlloc refuses 0 bytes. */
    rc = cuda_check(cu.mem_alloc(&at, bytes ? bytes : 1u), "cuMemAlloc");
    if (rc)
        goto done;
    rc = cuda_check(cu.memset_async(at, 0, bytes, g->copies), "cuMemsetD8");
    if (rc == 0)
        rc = copies_done(g);
    if (rc)
        cu.mem_free(at);
    else
        *out = at;
done:
    cuda_leave();
    return rc;
}

/* The driver may wait here until the kernels of the device have ended. */
static void cuda_release(struct gpu *base, sl_devptr p)
{
    if (p == 0 || cuda_enter(cuda_of(base)))
        return;
    (void)cuda_check(cu.mem_free(p), "cuMemFree");
    cuda_leave();
}

static int cuda_pin_memory(struct gpu *base, void *mem, size_t bytes,
                           sl_devptr *out)
{
    struct cuda_gpu *g = cuda_of(base);
    sl_devptr at = 0;
    int rc = cuda_enter(g);
    if (rc)
        return rc;
    rc = cuda_pin(mem, bytes, g->device, g->ctx);
    if (rc)
        goto done;
    rc = cuda_check(cu.host_pointer(&at, mem, 0), "cuMemHostGetDevicePointer");
    if (rc)
        cuda_unpin(mem);
    else
        *out = at;
done:
    cuda_leave();
    return rc;
}

static void cuda_unpin_memory(struct gpu *g, void *mem)
{
    (void)g; /* a range belongs to all devices */
    cuda_unpin(mem);
}

static int cuda_to_device(struct gpu *base, sl_devptr dst, const void *src,
                          size_t n)
{
    struct cuda_gpu *g = cuda_of(base);
    int rc = n ? cuda_enter(g) : 0;
    if (rc || n == 0)
        return rc;
    rc = cuda_check(cu.copy_in(dst, src, n, g->copies), "cuMemcpyHtoDAsync");
    if (rc == 0)
        rc = copies_done(g);
    cuda_leave();
    return rc;
}

static int cuda_from_device(struct gpu *base, void *dst, sl_devptr src,
                            size_t n)
{
    struct cuda_gpu *g = cuda_of(base);
    int rc = n ? cuda_enter(g) : 0;
    if (rc || n == 0)
        return rc;
    rc = cuda_check(cu.copy_out(dst, src, n, g->copies), "cuMemcpyDtoHAsync");
    if (rc == 0)
        rc = copies_done(g);
    cuda_leave();
    return rc;
}

const struct gpu_ops gpu_cuda_ops = {
    .kind = "cuda",
    .count = cuda_count,
    .open = cuda_open,
    .close = cuda_close,
    .info = cuda_info,
    .alloc = cuda_alloc,
    .release = cuda_release,
    .memory_of = cuda_memory_of,
    .pin = cuda_pin_memory,
    .unpin = cuda_unpin_memory,
    .to_device = cuda_to_device,
    .from_device = cuda_from_device,
    .stream_open = cuda_stream_open,
    .stream_close = cuda_stream_close,
    .launch = cuda_launch,
    .occupancy = cuda_occupancy,
    .copy_async = cuda_copy_async,
    .copy_list = cuda_copy_list,
    .stream_wait = cuda_stream_wait,
    .stream_test = cuda_stream_test,
    .event_open = cuda_event_open,
    .event_close = cuda_event_close,
    .event_record = cuda_event_record,
    .event_follow = cuda_event_follow,
    .event_test = cuda_event_test,
    .event_between = cuda_event_between,
};
