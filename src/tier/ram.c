/* SPDX-License-Identifier: Apache-2.0 */
/* Plain memory: an anonymous mapping, given pages by the kernel as they are
 * first written. Requests are copies and complete inside the call. */
#include "base/log.h"
#include "tier/common.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct ram {
    struct tier_base base;
    uint8_t *mem;
};

static int ram_run(struct tier_base *b, struct tier_io *io)
{
    struct ram *r = (struct ram *)b;
    if (io->op == TIER_WRITE)
        memcpy(r->mem + io->loc, io->buf, io->bytes);
    else if (io->op == TIER_READ)
        memcpy(io->buf, r->mem + io->loc, io->bytes);
    return SL_OK;
}

static int ram_open(const struct tier_config *c, struct tier **out)
{
    void *mem;
    int rc;
    struct ram *r = calloc(1, sizeof(*r));
    if (!r)
        return SL_ENOMEM;
    rc = tier_base_init(&r->base, &tier_ram_ops, c);
    if (rc)
        goto free_ram;
    r->base.run = ram_run;
    mem = mmap(NULL, r->base.capacity, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mem == MAP_FAILED) {
        log_error("tier ram: cannot map %" PRIu64 " bytes: %s",
                  r->base.capacity, strerror(errno));
        rc = SL_ENOMEM;
        goto fini_base;
    }
    r->mem = mem;
    *out = &r->base.tier;
    return SL_OK;

fini_base:
    tier_base_fini(&r->base);
free_ram:
    free(r);
    return rc;
}

static void ram_close(struct tier *t)
{
    struct ram *r = (struct ram *)t;
    munmap(r->mem, r->base.capacity);
    tier_base_fini(&r->base);
    free(r);
}

const struct tier_ops tier_ram_ops = {
    .kind = "ram",
    .persistent = 0,
    .open = ram_open,
    .close = ram_close,
    .port_open = tier_now_open,
    .port_close = tier_now_close,
    .alloc = tier_base_alloc,
    .reserve = tier_base_reserve,
    .free = tier_base_free,
    .write = tier_now_write,
    .read = tier_now_read,
    .flush = tier_now_flush,
    .poll = tier_now_poll,
    .pending = tier_now_pending,
    .usage = tier_base_usage,
};
