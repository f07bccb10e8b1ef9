/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "gpu/cuda_api.h"
#include "sluice/status.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* The oldest driver that knows all calls of the list and, in user kernels, the
 * scoped loads and stores of the device header. */
#define CUDA_OLDEST 11000

struct cuda_api cu;

static int usable;
static char why[256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

struct entry {
    const char *symbol;
    size_t at; /* of the field in struct cuda_api */
};

#define CUDA_ENTRY(field, symbol, params)                                      \
    {symbol, offsetof(struct cuda_api, field)},
static const struct entry entries[] = {CUDA_CALLS(CUDA_ENTRY)};

/* Fills `cu`; 0, or -1 with the missing symbol in `why`. */
static int bind_all(void *library)
{
    for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
        void *at = dlsym(library, entries[i].symbol);
        if (!at) {
            snprintf(why, sizeof(why),
                     "the CUDA driver is too old: it has no %s",
                     entries[i].symbol);
            return -1;
        }
        /* C has no cast from an object's address to a function's. */
        memcpy((char *)&cu + entries[i].at, &at, sizeof(at));
    }
    return 0;
}

static const char *name_of(int code)
{
    const char *name = NULL;
    if (cu.error_name(code, &name) != CU_OK || !name)
        return "unknown error";
    return name;
}

static const char *text_of(int code)
{
    const char *text = NULL;
    if (cu.error_string(code, &text) != CU_OK || !text)
        return "no description";
    return text;
}

static int start(void)
{
    int version = 0;
    int code = cu.init(0);
    if (code != CU_OK) {
        snprintf(why, sizeof(why),
                 "the CUDA driver does not start: %s: %s (code %d)",
                 name_of(code), text_of(code), code);
        return -1;
    }
    code = cu.driver_version(&version);
    if (code != CU_OK || version < CUDA_OLDEST) {
        snprintf(why, sizeof(why),
                 "the CUDA driver is too old: it offers CUDA %d.%d, needed "
                 "is %d.%d",
                 version / 1000, version % 1000 / 10, CUDA_OLDEST / 1000,
                 CUDA_OLDEST % 1000 / 10);
        return -1;
    }
    return 0;
}

static void load(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *text = dlerror();
        snprintf(why, sizeof(why), "no CUDA driver: %s",
                 text ? text : "libcuda.so.1 cannot be opened");
        return;
    }
    if (bind_all(library) == 0 && start() == 0)
        usable = 1;
}

int cuda_driver(void)
{
    pthread_once(&once, load);
    return usable;
}

const char *cuda_why(void)
{
    return why;
}

int cuda_check(int code, const char *what)
{
    if (code == CU_OK)
        return 0;
    log_error("%s: %s: %s", what, name_of(code), text_of(code));
    if (code == CU_OUT_OF_MEMORY)
        return SL_ENOMEM;
    if (code == CU_NO_DEVICE || code == CU_INVALID_DEVICE)
        return SL_ENODEV;
    return SL_EDEVICE;
}
