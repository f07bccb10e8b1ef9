/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

static sl_log_fn sink;
static void *sink_user;

void log_sink(sl_log_fn fn, void *user)
{
    sink = fn;
    sink_user = user;
}

void log_line(enum sl_log_level level, const char *fmt, ...)
{
    char line[2048]; /* two names of 255 bytes, a path, and the cause */
    va_list ap;
    if (!sink)
        return;
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    sink(sink_user, level, line);
}
