/* SPDX-License-Identifier: Apache-2.0 */
#include "api/runtime.h"
#include "base/log.h"
#include "base/opts.h"

#include <stdlib.h>
#include <string.h>

/* Matches everything: an empty pattern has no bytes to send. */
#define ANY "(?:)"

/* One sl_query: its tags first, then the blobs of each. */
struct query_run {
    struct sl_runtime *rt;
    const struct sl_query *q;
    sl_match_fn fn;
    void *user;
    uint64_t total;
    struct sl_entry *tags; /* when blobs are asked for */
    size_t n_tags, room;
};

static int check_pattern(const char *text)
{
    if (!text || strnlen(text, SL_PATTERN_MAX + 1u) <= SL_PATTERN_MAX)
        return 0;
    log_error("query: a pattern is longer than %u bytes", SL_PATTERN_MAX);
    return SL_EPATTERN;
}

static struct page_ask ask_for(const char *pattern, uint64_t tag)
{
    struct page_ask a = {.method = SL_STORE_QUERY, .tag = tag};
    a.pattern = pattern && *pattern ? pattern : ANY;
    a.len = (uint32_t)strlen(a.pattern);
    return a;
}

/* How many matches are still to be handed out; 0: only counted. */
static uint64_t wanted(const struct query_run *r)
{
    uint64_t limit = r->q->limit ? r->q->limit : UINT64_MAX;
    return r->fn && r->total < limit ? limit - r->total : 0;
}

/* All matches of one container; `each` is called while `left(r)`. */
static int container_matches(struct query_run *r, struct page_ask *ask,
                             uint64_t (*left)(const struct query_run *r),
                             int (*each)(struct query_run *r,
                                         const struct page_ask *ask,
                                         const struct sl_entry *e))
{
    struct page_got page;
    struct sl_entry e;
    int rc = 0;
    ask->cursor = 0;
    do {
        uint64_t most = left(r);
        ask->most = most;
        ask->flags = most ? 0 : SL_F_COUNT;
        rc = page_fetch(r->rt, ask, &page);
        if (!rc && !most)
            r->total += page.matched;
        while (!rc && page.n) {
            rc = page_next(&page, &e);
            if (!rc)
                rc = each(r, ask, &e);
        }
        ask->cursor = page.next;
    } while (!rc && ask->cursor);
    return rc;
}

/* ---- tags alone ---- */

static int tag_match(struct query_run *r, const struct page_ask *ask,
                     const struct sl_entry *e)
{
    struct sl_match m = {.tag = e->value, .tag_name = e->name};
    (void)ask;
    r->total++;
    return r->fn(r->user, &m);
}

/* ---- blobs ---- */

static uint64_t all_tags(const struct query_run *r)
{
    (void)r;
    return UINT64_MAX;
}

static int tag_keep(struct query_run *r, const struct page_ask *ask,
                    const struct sl_entry *e)
{
    (void)ask;
    if (r->n_tags == r->room) {
        size_t room = r->room ? 2u * r->room : 16u;
        struct sl_entry *p = realloc(r->tags, room * sizeof(*p));
        if (!p)
            return SL_ENOMEM;
        r->tags = p;
        r->room = room;
    }
    r->tags[r->n_tags++] = *e;
    return 0;
}

static int blob_match(struct query_run *r, const struct page_ask *ask,
                      const struct sl_entry *e)
{
    struct sl_match m = {.tag = ask->tag,
                         .tag_name = r->tags[r->n_tags].name,
                         .blob = e->name,
                         .size = e->value};
    r->total++;
    return r->fn(r->user, &m);
}

static int tag_blobs(struct query_run *r, uint64_t tag)
{
    struct page_ask ask = ask_for(r->q->blob, tag);
    int rc = 0;
    for (uint32_t i = 0; !rc && i < r->rt->config.lanes; i++) {
        ask.container = i;
        rc = container_matches(r, &ask, wanted, blob_match);
    }
    return rc == SL_ENOTAG ? 0 : rc; /* deleted since */
}

/* A bad pattern is an error also when no tag has a blob for it. */
static int compile_alone(struct query_run *r, const char *pattern)
{
    struct page_ask ask = ask_for(pattern, 0);
    struct page_got page;
    ask.cursor = 1; /* no names are left */
    return page_fetch(r->rt, &ask, &page);
}

static int query_blobs(struct query_run *r)
{
    struct page_ask ask = ask_for(r->q->tag, 0);
    int rc = compile_alone(r, r->q->blob);
    if (!rc)
        rc = container_matches(r, &ask, all_tags, tag_keep);
    while (!rc && r->n_tags) {
        r->n_tags--;
        rc = tag_blobs(r, r->tags[r->n_tags].value);
    }
    free(r->tags);
    return rc;
}

int sl_query(struct sl_runtime *rt, const struct sl_query *q, sl_match_fn fn,
             void *user, uint64_t *total)
{
    struct sl_query all;
    struct query_run r = {.rt = rt, .q = &all, .fn = fn, .user = user};
    struct page_ask ask;
    int rc;
    if (!rt || opts_read(&all, sizeof(all), q, "query"))
        return SL_EINVAL;
    rc = check_pattern(all.tag);
    if (!rc)
        rc = check_pattern(all.blob);
    if (rc)
        return rc;
    ask = ask_for(all.tag, 0);
    rc = all.blob ? query_blobs(&r)
                  : container_matches(&r, &ask, wanted, tag_match);
    if (total)
        *total = r.total;
    return rc;
}
