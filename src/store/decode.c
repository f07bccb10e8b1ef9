/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "store/code.h"

#include <stdlib.h>

/*
 * A coded extent on its way to plain bytes: fetched into memory of its own
 * (a coded chunk is read where it is), checked, decoded by the pool's threads,
 * or here when that is quick; then the reader's `done`, on the shard's worker.
 *
 * A coded chunk is decoded without its checksum, as a plain one is read without
 * any: both are memory of this process, and decoders keep within their buffers
 * whatever the bytes are. The sum that the codec's thread made goes with the
 * bytes to a unit (a block of a kernel is summed then), so what changed in
 * memory is found when it is read from there.
 */
struct decode {
    struct unit_io *u;
    uint8_t *plain;
    uint8_t *coded; /* ours; null: the bytes are in a chunk */
    void (*done)(struct unit_io *u, int code);
    struct codec_job job;
    struct message msg;
};

/* Back to the reader; d is gone. */
static void end(struct decode *d, int code)
{
    struct unit_io *u = d->u;
    u->done = d->done;
    u->code = NULL;
    if (!d->coded)
        chunk_unref(u->sh->env.cache, u->e->loc);
    free(d->coded);
    free(d);
    u->done(u, code);
}

static void decoded(struct decode *d)
{
    const struct extent *e = d->u->e;
    int code = d->job.result;
    if (code == SL_ECORRUPT) {
        log_error("store: %u bytes of %s at %llu of target %u do not decode",
                  (unsigned)e->stored, codec_name(e->codec),
                  (unsigned long long)e->loc, (unsigned)e->target);
        code = SL_ECHECKSUM;
    }
    end(d, code);
}

static void came_back(struct message *m)
{
    struct decode *d =
        (struct decode *)(void *)((char *)m - offsetof(struct decode, msg));
    code_ended(d->u->sh);
    decoded(d);
}

/* On a thread of the pool. */
static void job_done(struct codec_job *j)
{
    struct decode *d = j->user;
    const struct shard *sh = d->u->sh;
    d->msg.run = came_back;
    sh->env.post(sh->env.runtime, sh->id, &d->msg);
}

static void start(struct decode *d, const uint8_t *coded)
{
    const struct extent *e = d->u->e;
    d->job = (struct codec_job){.work = CODEC_DECODE,
                                .id = e->codec & SL_CODEC_ID_MASK,
                                .src = coded,
                                .n = e->stored,
                                .dst = d->plain,
                                .room = e->len,
                                .done = job_done,
                                .user = d};
    if (code_submit(d->u->sh, &d->job))
        decoded(d); /* it ran here */
}

static void fetched(struct unit_io *u, int code)
{
    struct decode *d = u->code;
    if (code)
        end(d, code);
    else
        start(d, d->coded);
}

static int read_coded(struct unit_io *u, uint8_t *buf)
{
    const struct extent *e = u->e;
    struct decode *d = calloc(1, sizeof(*d));
    int rc = d ? 0 : SL_ENOMEM;
    if (rc)
        return rc;
    d->u = u;
    d->plain = buf;
    d->done = u->done;
    u->code = d;
    if (e->target == TARGET_PINNED) {
        chunk_ref(u->sh->store->config.arena, e->loc);
        start(d, shard_arena(u->sh) + e->loc);
        return 0;
    }
    d->coded = aligned_alloc(TIER_BLOCK, extent_space(e));
    u->done = fetched;
    rc = d->coded ? unit_fetch(u, d->coded) : SL_ENOMEM;
    if (rc) {
        u->done = d->done;
        u->code = NULL;
        free(d->coded);
        free(d);
    }
    return rc;
}

int unit_read(struct unit_io *u, uint8_t *buf)
{
    return u->e->codec ? read_coded(u, buf) : unit_fetch(u, buf);
}
