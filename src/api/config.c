/* SPDX-License-Identifier: Apache-2.0 */
#include "api/runtime.h"
#include "base/log.h"
#include "base/opts.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define MAX_WORKERS 256u
#define MAX_CODEC_THREADS 256u
#define MAX_LANES 1024u
#define MAX_SPIN_US 1000000u
#define MAX_FLUSH_MS 86400000u
#define MIN_ARENA (UINT64_C(1) << 17) /* what arena_create takes */
#define MAX_ARENA (UINT64_C(1) << SL_VALUE_BITS)
#define MAX_EVENTS (UINT64_C(1) << 24)

/* ---- defaults ---- */

static uint32_t half_the_cpus(void)
{
    cpu_set_t set;
    int n = 1;
    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        n = CPU_COUNT(&set);
    n /= 2;
    return n < 1 ? 1u : n > 4 ? 4u : (uint32_t)n;
}

void sl_config_init(struct sl_config *c)
{
    c->size = sizeof(*c);
    if (!c->workers)
        c->workers = half_the_cpus();
    if (!c->lanes)
        c->lanes = c->workers;
    if (!c->depth)
        c->depth = 1024;
    if (!c->spin_us)
        c->spin_us = 200;
    if (!c->arena_bytes)
        c->arena_bytes = UINT64_C(64) << 20;
    if (!c->pinned_bytes)
        c->pinned_bytes = c->arena_bytes / 4u * 3u;
    if (!c->file_bytes && c->data_dir)
        c->file_bytes = UINT64_C(64) << 30;
    if (!c->events)
        c->events = 4096;
    if (!c->flush_ms && c->data_dir)
        c->flush_ms = 1000;
    if (!c->placement_seed)
        c->placement_seed = 1;
    if (c->evict_high == 0)
        c->evict_high = 0.90f;
    if (c->evict_low == 0)
        c->evict_low = c->evict_high < 0.75f ? c->evict_high : 0.75f;
    if (!c->move_bytes_per_s)
        c->move_bytes_per_s = UINT64_C(2000000000);
    if (!c->timeout_ns)
        c->timeout_ns = UINT64_C(30000000000);
}

/* ---- checks ---- */

static int wrong(const char *key, const char *why)
{
    log_error("configuration: %s: %s", key, why);
    return SL_ECONFIG;
}

static int check_threads(const struct sl_config *c)
{
    if (c->workers > MAX_WORKERS)
        return wrong("workers", "more than 256");
    if (c->lanes > MAX_LANES)
        return wrong("lanes", "more than 1024");
    if ((uint64_t)c->lanes * c->depth >= (1u << SL_SLOT_BITS) - 32u)
        return wrong("depth", "lanes * depth is 2^24 - 32 or more");
    if (c->spin_us > MAX_SPIN_US)
        return wrong("spin_us", "more than a second");
    if (c->events != SL_NONE &&
        (c->events > MAX_EVENTS || (c->events & (c->events - 1u))))
        return wrong("events", "not a power of two up to 2^24");
    return 0;
}

static int check_tiers(const struct sl_config *c)
{
    if (c->arena_bytes < MIN_ARENA || c->arena_bytes >= MAX_ARENA)
        return wrong("arena_bytes", "not from 128 KiB to below 1 TiB");
    if (c->pinned_bytes != SL_NONE && c->pinned_bytes > c->arena_bytes)
        return wrong("pinned_bytes", "more than arena_bytes");
    if (c->data_dir && !*c->data_dir)
        return wrong("data_dir", "empty");
    if (c->file_path && !*c->file_path)
        return wrong("file_path", "empty");
    if (c->file_path && c->data_dir)
        return wrong("file_path", "data_dir has a file of its own");
    if (c->file_path && !c->file_bytes)
        return wrong("file_bytes", "needed with file_path");
    if (c->file_bytes && !c->file_path && !c->data_dir)
        return wrong("file_bytes", "needs file_path or data_dir");
    return 0;
}

static int check_flush(const struct sl_config *c)
{
    if (c->flush_ms > MAX_FLUSH_MS)
        return wrong("flush_ms", "more than a day");
    if (c->flush_all_ms > MAX_FLUSH_MS)
        return wrong("flush_all_ms", "more than a day");
    if (!c->data_dir && (c->flush_ms || c->flush_all_ms))
        return wrong(c->flush_ms ? "flush_ms" : "flush_all_ms",
                     "needs data_dir");
    return 0;
}

static int check_placement(const struct sl_config *c)
{
    if (c->codec_threads > MAX_CODEC_THREADS)
        return wrong("codec_threads", "more than 256");
    if (c->placement > SL_PLACE_RANDOM)
        return wrong("placement", "no such engine");
    if (!(c->evict_high > 0.0f && c->evict_high <= 1.0f)) /* NaN too */
        return wrong("evict_high", "not above 0 and at most 1");
    if (!(c->evict_low > 0.0f && c->evict_low <= c->evict_high))
        return wrong("evict_low", "not above 0 and at most evict_high");
    return 0;
}

int config_check(const struct sl_config *c)
{
    int rc = check_threads(c);
    if (!rc)
        rc = check_tiers(c);
    if (!rc)
        rc = check_flush(c);
    return rc ? rc : check_placement(c);
}

/* ---- the runtime's copy ---- */

static int copy_string(const char **s)
{
    if (!*s)
        return 0;
    *s = strdup(*s);
    return *s ? 0 : SL_ENOMEM;
}

int config_copy(const struct sl_config *from, struct sl_config *to)
{
    struct sl_config c = {0};
    int rc;
    if (from && opts_read(&c, sizeof(c), from, "configuration"))
        return SL_ECONFIG;
    sl_config_init(&c);
    rc = config_check(&c);
    if (rc)
        return rc;
    *to = c;
    to->file_path = NULL;
    rc = copy_string(&to->data_dir);
    if (rc)
        return rc;
    to->file_path = c.file_path;
    rc = copy_string(&to->file_path);
    if (rc)
        config_free(to);
    return rc;
}

/* Ours although the struct, which the user fills, calls them const. */
static void free_string(const char **s)
{
    union {
        const char *borrowed;
        char *ours;
    } u = {*s};
    free(u.ours);
    *s = NULL;
}

void config_free(struct sl_config *c)
{
    free_string(&c->data_dir);
    free_string(&c->file_path);
}
