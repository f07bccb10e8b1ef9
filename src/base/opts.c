/* SPDX-License-Identifier: Apache-2.0 */
#include "base/opts.h"
#include "base/log.h"
#include "sluice/status.h"

#include <string.h>

static int wrong(const char *what, const char *why, size_t size)
{
    log_error("%s: size: %s (%zu bytes)", what, why, size);
    return SL_EINVAL;
}

int opts_read(void *to, size_t bytes, const void *from, const char *what)
{
    const unsigned char *p = from;
    size_t size;
    memset(to, 0, bytes);
    if (!p)
        return SL_EINVAL;
    memcpy(&size, p, sizeof(size));
    /* All structs are aligned as their size is; another number cuts a field. */
    if (size < sizeof(size) || size > OPTS_MAX || size % _Alignof(size_t))
        return wrong(what, "not that of the struct", size);
    for (size_t i = bytes; i < size; i++)
        if (p[i])
            return wrong(what, "options of a later version are set", size);
    memcpy(to, p, size < bytes ? size : bytes);
    return 0;
}
