/* SPDX-License-Identifier: Apache-2.0 */
/* Pages of every kind, for the tests of sl_pages. */
#ifndef TEST_PAGES_HELP_H
#define TEST_PAGES_HELP_H

#include "help.h"
#include "sluice/pages.h"

/* The kinds that page_make draws from. */
enum { MADE_ZERO, MADE_FILL, MADE_RANDOM, MADE_WORDS, MADE_PERIOD, MADE_KINDS };

HELP_FN void page_words(uint8_t *p, size_t n, uint64_t *seed)
{
    static const char *const words[] = {"page",  "block ", "stream",  "of ",
                                        "bytes", "\n",     "{\"a\":", "0000"};
    for (size_t i = 0; i < n;) {
        const char *w = words[test_random(seed) % 8];
        for (; *w && i < n; w++)
            p[i++] = (uint8_t)*w;
    }
}

HELP_FN void page_make(uint8_t *p, size_t n, unsigned made, uint64_t *seed)
{
    uint64_t fill = test_random(seed), period = 1 + test_random(seed) % 40;
    if (made == MADE_WORDS) {
        page_words(p, n, seed);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (made == MADE_ZERO)
            p[i] = 0;
        else if (made == MADE_FILL)
            p[i] = (uint8_t)(fill >> 8 * (i % 8));
        else if (made == MADE_PERIOD && i >= period)
            p[i] = p[i - period];
        else
            p[i] = (uint8_t)test_random(seed);
    }
}

/* `bytes` of pages, each of a kind drawn at random. */
HELP_FN void pages_make(uint8_t *p, uint64_t bytes, uint32_t page,
                        uint64_t *seed)
{
    for (uint64_t at = 0; at < bytes; at += page) {
        uint64_t len = bytes - at < page ? bytes - at : page;
        page_make(p + at, len, (unsigned)(test_random(seed) % MADE_KINDS),
                  seed);
    }
}

#endif
