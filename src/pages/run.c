/* SPDX-License-Identifier: Apache-2.0 */
/* Puts the kernels of one batch on a stream. */
#include "pages/batch.h"
#include "pages/impl.h"

uint64_t pages_run_scratch(const struct sl_pages *p, int way, uint64_t bytes)
{
    if (way == SL_PAGES_DECOMPRESS)
        return 0;
    return batch_scratch(bytes, p->o.page_bytes);
}

int pages_run(const struct sl_pages *p, int way, const struct pages_run *r)
{
    struct batch b = {.stream = r->stream,
                      .src = r->src,
                      .dst = r->dst,
                      .entries = r->entries,
                      .scratch = r->scratch,
                      .total = r->total,
                      .src_bytes = r->src_bytes,
                      .bytes = r->bytes,
                      .page_bytes = p->o.page_bytes,
                      .mode = p->o.mode};
    return way == SL_PAGES_DECOMPRESS ? batch_decompress(&b)
                                      : batch_compress(&b);
}
