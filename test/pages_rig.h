/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of sl_pages on each device share: an open sl_pages, batches
 * that are coded, checked and decoded, and the devices. */
#ifndef TEST_PAGES_RIG_H
#define TEST_PAGES_RIG_H

#include "pages_help.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

extern const char *pages_device; /* of the running group */
extern uint64_t pages_seed;

/* One compressed batch in buffers of exactly its size, so that the address
 * sanitizer sees each step outside. */
struct trip {
    uint32_t page;
    uint64_t bytes, n, blocks;
    uint8_t *src, *dst, *back;
    struct sl_page_entry *entries;
    struct sl_pages_report r;
};

/* With 3 slots of so many pages; all batches are large enough for a device. */
struct sl_pages *open_pages(uint32_t page, uint64_t slot_pages);

void trip_make(struct trip *b, uint32_t page, uint64_t bytes);
void trip_free(struct trip *b);
void trip_compress(struct trip *b, struct sl_pages *p);
int trip_decompress(struct trip *b, struct sl_pages *p);
/* What the header promises of the entries; liblz4 decodes each block. */
void check_entries(const struct trip *b);
/* Pages of all kinds, there and back. */
void round_trip(struct sl_pages *p, uint32_t page, uint64_t bytes);

/* Runs them on the CPU, on the host device and on CUDA where there is one; how
 * many groups failed. The first n_threads concern threads: where lanes are slow
 * the host device runs these alone. */
int pages_on_devices(const struct CMUnitTest *tests, size_t n,
                     size_t n_threads);

#endif
