/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include "sluice/sluice.h"

/* The sink of the public type; both are set before sl_open (sluice.h). */
static void (*user_fn)(void *user, int level, const char *line);
static void *user_arg;

static void to_user(void *user, enum sl_log_level level, const char *line)
{
    (void)user;
    user_fn(user_arg, (int)level, line);
}

void sl_set_log(void (*fn)(void *user, int level, const char *line), void *user)
{
    user_fn = fn;
    user_arg = user;
    log_sink(fn ? to_user : NULL, NULL);
}
