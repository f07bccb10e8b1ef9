/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Tells damage in the synced part of the log from the end that a power cut tore.
 *
 * A frame says how many frames of its generation were synced before it was made.
 * That stays true as long as the metadata is of this generation: only what came
 * after the last sync is taken back, and the file is written over only when the
 * metadata has the next generation, synced. So a whole frame that counts more
 * than a replay can read proves that something of these is gone. Whether it
 * belongs to this log, to one that was taken back, or to an earlier life of the
 * generation makes no difference: lives of which something was synced are
 * replayed, which ends their generation.
 *
 * Without such a frame the frames behind the hole, if any, were written after
 * the last sync, and none of them needs to be there after a power cut.
 */
#include "base/log.h"
#include "store/dir.h"
#include "store/meta_log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define FRAME_MIN (LOG_HEAD + LOG_SUM)
#define WINDOW_BYTES (4u * LOG_PAYLOAD_MAX)

/* Part of the file. */
struct window {
    const struct meta_log *l;
    uint8_t *buf;
    uint64_t at;
    size_t have;
    /* Bytes that may still be read for heads whose sum does not fit, so that
     * the whole search is linear in the length of a log whoever wrote it. */
    uint64_t budget;
    int code;
};

static int fill(struct window *w, uint64_t at)
{
    w->at = at;
    w->have = 0;
    while (w->have < WINDOW_BYTES) {
        ssize_t n = pread(w->l->fd, w->buf + w->have, WINDOW_BYTES - w->have,
                          (off_t)(at + w->have));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            log_error("%s: cannot read: %s", w->l->path, strerror(errno));
            return dir_errno(errno);
        }
        if (n == 0)
            break;
        w->have += (size_t)n;
    }
    return SL_OK;
}

/* The bytes [at, at + n), n at most those of the longest frame; null: the file
 * has them not, or the code is set. Others are gone then. */
static const uint8_t *look(struct window *w, uint64_t at, size_t n)
{
    if (at < w->at || at + n > w->at + w->have)
        w->code = fill(w, at);
    if (w->code || at + n > w->at + w->have)
        return NULL;
    return w->buf + (at - w->at);
}

/* Length of the whole frame at `at`, which belongs behind the hole; 0: there is
 * none. The sum before it is its seed. */
static size_t frame_at(struct window *w, uint64_t at, struct log_hole *h)
{
    const uint8_t *p = look(w, at - LOG_SUM, LOG_SUM + LOG_HEAD);
    uint64_t number, synced, bytes, sum;

    if (!p || memcmp(p + LOG_SUM, frame_magic, 4) != 0)
        return 0;
    p += LOG_SUM;
    bytes = log_le(p + LOG_AT_BYTES, 4);
    number = log_le(p + LOG_AT_NUMBER, 8);
    synced = log_le(p + LOG_AT_SYNCED, LOG_HEAD - LOG_AT_SYNCED);
    if (bytes > LOG_PAYLOAD_MAX ||
        log_le(p + LOG_AT_GENERATION, 8) != w->l->generation ||
        p[LOG_AT_KIND] == LOG_BEGIN || number <= h->number || synced > number ||
        number - h->number > (at - h->at) / FRAME_MIN)
        return 0;
    bytes += FRAME_MIN;
    if (bytes > w->budget)
        return 0;
    p = look(w, at - LOG_SUM, LOG_SUM + (size_t)bytes);
    sum = p ? XXH3_64bits_withSeed(p + LOG_SUM, (size_t)bytes - LOG_SUM,
                                   log_le(p, LOG_SUM))
            : 0;
    if (!p || log_le(p + bytes, LOG_SUM) != sum) {
        w->budget -= bytes;
        return 0;
    }
    h->whole++;
    if (synced > h->synced)
        h->synced = synced;
    return (size_t)bytes;
}

/* Where the next head may begin, `at` or behind it. Most of a log is zeros or
 * what has no 'S'. */
static uint64_t next_magic(struct window *w, uint64_t at)
{
    const uint8_t *from = look(w, at, LOG_HEAD), *p = from, *end;

    if (!from)
        return UINT64_MAX;
    end = w->buf + w->have - 3;
    while (p < end &&
           (p = memchr(p, frame_magic[0], (size_t)(end - p))) != NULL) {
        if (!memcmp(p, frame_magic, 4))
            return at + (uint64_t)(p - from);
        p++;
    }
    return at + (uint64_t)(end - from);
}

int log_hole_find(struct meta_log *l)
{
    struct log_hole h = {.at = l->used, .number = l->n};
    struct window w = {.l = l, .budget = LOG_ROOM};
    uint64_t at = h.at + FRAME_MIN;

    w.buf = malloc(WINDOW_BYTES);
    if (!w.buf) {
        log_error("%s: out of memory", l->path);
        return SL_ENOMEM;
    }
    while (!w.code && at < LOG_ROOM) {
        size_t n;
        at = next_magic(&w, at);
        n = at == UINT64_MAX ? 0 : frame_at(&w, at, &h);
        at += at == UINT64_MAX ? 0 : n ? n : 1u;
    }
    free(w.buf);
    if (!w.code && h.synced > h.number)
        l->hole = h;
    return w.code;
}
