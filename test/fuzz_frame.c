/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as LZ4 frames: a code or content, in bounded memory, nothing
 * outside of the buffers. What is read is packed and read again. */
#include "pages/frame.h"

#include <stdlib.h>
#include <string.h>

/* An input makes at most 255 times its size. */
#define CONTENT_MAX (8u << 20)

struct mem {
    const uint8_t *in;
    size_t in_bytes, at;
    uint8_t *out;
    size_t used;
};

static int mem_read(void *ctx, void *buf, size_t room, size_t *n)
{
    struct mem *m = ctx;
    *n = m->in_bytes - m->at < room ? m->in_bytes - m->at : room;
    if (*n)
        memcpy(buf, m->in + m->at, *n);
    m->at += *n;
    return 0;
}

static int mem_write(void *ctx, const void *buf, size_t n)
{
    struct mem *m = ctx;
    if (n > CONTENT_MAX - m->used)
        return SL_EFBIG;
    memcpy(m->out + m->used, buf, n);
    m->used += n;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sl_pages *pages;
    static uint8_t *out, *again, *frame;
    struct frame_stats s;
    if (!pages) {
        struct sl_pages_opts o = {.size = sizeof(o),
                                  .page_bytes = SL_PAGE_MAX,
                                  .device = "cpu",
                                  .threads = 1,
                                  .slots = 2,
                                  .slot_bytes = 2 * SL_PAGE_MAX};
        out = malloc(CONTENT_MAX);
        again = malloc(CONTENT_MAX);
        frame = malloc(CONTENT_MAX);
        if (!out || !again || !frame || sl_pages_open(&o, &pages))
            abort();
    }
    struct mem m = {.in = data, .in_bytes = size, .out = out};
    struct frame_io io = {mem_read, mem_write, &m};
    if (frame_unpack(pages, &io, &s))
        return 0;
    struct mem w = {.in = out, .in_bytes = m.used, .out = frame};
    io.ctx = &w;
    int rc = frame_pack(pages, &io, 1, &s);
    if (rc == SL_EFBIG)
        return 0;
    struct mem b = {.in = frame, .in_bytes = w.used, .out = again};
    io.ctx = &b;
    if (rc || frame_unpack(pages, &io, &s) || b.used != m.used ||
        memcmp(out, again, m.used) != 0)
        abort();
    return 0;
}
