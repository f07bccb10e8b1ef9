/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Fuzzes queries: whatever the pattern, cursor and counts, the answer is a page
 * of names that exist or one of the codes of a query, and counting finds as
 * many names as listing.
 */
#include "api/runtime.h"

#include <stdlib.h>
#include <string.h>

static struct sl_runtime *rt;
static uint64_t tag;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct sl_config c = {.size = sizeof(c), .workers = 1, .depth = 16};
    char name[SL_NAME_MAX + 1u];
    (void)argc;
    (void)argv;
    c.arena_bytes = UINT64_C(8) << 20;
    if (sl_open(&c, &rt) || sl_tag(rt, "aaaaaaaaaaaaaaab", &tag))
        abort();
    for (unsigned i = 1; i <= SL_NAME_MAX; i += 14u) {
        memset(name, i % 3u ? 'a' : (int)i, sizeof(name));
        name[i] = 0;
        if (sl_put(rt, tag, name, 0, name, i, NULL))
            abort();
    }
    return 0;
}

static void check_code(int rc)
{
    if (rc && rc != SL_EPATTERN && rc != SL_EMATCHLIMIT && rc != SL_ENOTAG)
        abort();
}

/* A request as a hostile producer would send it. */
static void raw(const uint8_t *data, size_t size)
{
    struct page_ask ask = {.method = SL_STORE_QUERY, .pattern = data};
    struct page_got page;
    struct sl_entry e;
    uint64_t exists;
    ask.len = (uint32_t)(size < SL_SIDE_BYTES ? size : SL_SIDE_BYTES);
    ask.tag = size & 1u ? tag : 0;
    ask.cursor = size > 1u ? data[0] : 0;
    ask.most = size > 2u ? data[1] % 8u : 0;
    check_code(page_fetch(rt, &ask, &page));
    while (page.n) {
        if (page_next(&page, &e))
            abort();
        if (ask.tag && sl_size(rt, tag, e.name, &exists))
            abort();
    }
}

static int count(void *user, const struct sl_match *m)
{
    uint64_t *n = user;
    if (!m->blob || !m->tag_name)
        abort();
    ++*n;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[SL_PATTERN_MAX + 1u];
    struct sl_query q = {.size = sizeof(q), .blob = text};
    uint64_t listed = 0, counted = 0, total = 0;
    size_t n = size < SL_PATTERN_MAX ? size : SL_PATTERN_MAX;
    int one, two;
    if (n)
        memcpy(text, data, n);
    text[n] = 0;
    one = sl_query(rt, &q, count, &listed, &total);
    two = sl_query(rt, &q, NULL, NULL, &counted);
    check_code(one);
    check_code(two);
    if (one != two || (!one && (listed != total || counted != total)))
        abort();
    raw(data, size);
    return 0;
}
