/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/log.h"
#include "store/shard.h"

#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/*
 * A query goes over the names of one container, in the order and with the
 * cursor of a listing, in steps that are short for the worker: a step ends
 * after so many names or so much time. Patterns are PCRE2's, over bytes. A
 * pattern that takes too many steps for one name ends the query: backtracking
 * has no other bound, and the pattern may come from anywhere.
 *
 * The pattern of the last query stays compiled, as its next step wants it.
 */

#define STEP_NAMES 256u
#define STEP_NS UINT64_C(100000)
/* Of PCRE2, for one name: about a millisecond of backtracking. */
#define MATCH_STEPS 50000u
#define MATCH_DEPTH 5000u
#define MATCH_KIB 1024u

struct query_code {
    pcre2_code *code;
    pcre2_match_context *limits;
    pcre2_match_data *data;
    uint32_t len;
    uint8_t text[SL_PATTERN_MAX];
};

void query_destroy(struct shard *sh)
{
    struct query_code *q = sh->pattern;
    if (!q)
        return;
    pcre2_match_data_free(q->data);
    pcre2_match_context_free(q->limits);
    pcre2_code_free(q->code);
    free(q);
    sh->pattern = NULL;
}

static int compile(struct query_code *q)
{
    int error;
    PCRE2_SIZE at;
    PCRE2_UCHAR why[128];
    /* Never UTF: names are bytes, and not every name is valid UTF-8. */
    q->code = pcre2_compile(q->text, q->len,
                            PCRE2_NEVER_UTF | PCRE2_NEVER_UCP |
                                PCRE2_NEVER_BACKSLASH_C,
                            &error, &at, NULL);
    if (q->code) {
        q->data = pcre2_match_data_create(1, NULL);
        q->limits = pcre2_match_context_create(NULL);
        if (!q->data || !q->limits)
            return SL_ENOMEM;
        pcre2_set_match_limit(q->limits, MATCH_STEPS);
        pcre2_set_depth_limit(q->limits, MATCH_DEPTH);
        pcre2_set_heap_limit(q->limits, MATCH_KIB);
        return 0;
    }
    if (error == PCRE2_ERROR_HEAP_FAILED)
        return SL_ENOMEM;
    if (pcre2_get_error_message(error, why, sizeof(why)) < 0)
        why[0] = 0;
    log_error("query: %s, at byte %zu of '%.*s'", (const char *)why, (size_t)at,
              (int)q->len, (const char *)q->text);
    return SL_EPATTERN;
}

static int pattern_of(struct shard *sh, const struct sl_task *t)
{
    uint32_t len = (uint32_t)t->cell.size;
    struct query_code *q = sh->pattern;
    if (q && q->len == len && memcmp(q->text, t->side, len) == 0)
        return 0;
    query_destroy(sh);
    q = calloc(1, sizeof(*q));
    if (!q)
        return SL_ENOMEM;
    sh->pattern = q;
    q->len = len;
    memcpy(q->text, t->side, len);
    int rc = compile(q);
    if (rc)
        query_destroy(sh);
    return rc;
}

/* 1, 0, or a code. */
static int matches(const struct query_code *q, const char *name, uint32_t len)
{
    int rc =
        pcre2_match(q->code, (PCRE2_SPTR)name, len, 0, 0, q->data, q->limits);
    if (rc >= 0)
        return 1;
    switch (rc) {
    case PCRE2_ERROR_NOMATCH:
        return 0;
    case PCRE2_ERROR_NOMEMORY:
        return SL_ENOMEM;
    default: /* the limits, and recursion without an end */
        log_error("query: too many steps for the name '%.*s' with '%.*s'",
                  (int)len, name, (int)q->len, (const char *)q->text);
        return SL_EMATCHLIMIT;
    }
}

struct query {
    struct shard *sh;
    struct sl_task *t;
    const struct tag *tag; /* null: over tags */
    struct page page;
    uint64_t matched;
    int count; /* no entries are asked for */
};

/* The name at position i of the listing; null when nobody may see it. */
static const char *name_at(const struct query *q, uint64_t i, uint8_t *len,
                           uint64_t *value)
{
    if (q->tag) {
        const struct blob *b = tag_blob(q->sh, q->tag, (uint32_t)i);
        *len = b->name_len;
        *value = b->size;
        return b->version ? b->name : NULL;
    }
    const struct tag *tag = q->sh->tag_list[i];
    *len = tag->len;
    *value = tag->id;
    return tag->ready && !tag->dead ? tag->name : NULL;
}

/* One name: 0 goes on, 1 the page is full, or a code. */
static int step(struct query *q, uint64_t i)
{
    uint64_t value = 0;
    uint8_t len = 0;
    const char *name = name_at(q, i, &len, &value);
    int rc = name ? matches(q->sh->pattern, name, len) : 0;
    if (rc <= 0)
        return rc;
    if (!q->count && !page_add(&q->page, value, name, len))
        return 1;
    q->matched++;
    return 0;
}

int store_query(struct sl_task *t, void *container)
{
    struct shard *sh = container;
    struct query q = {.sh = sh, .t = t, .page = page_begin(sh, t)};
    uint64_t until = clock_ns() + STEP_NS;
    int rc = pattern_of(sh, t);
    if (rc)
        return rc;
    q.count = (t->cell.flags & SL_F_COUNT) != 0;
    if (t->cell.tag) {
        q.tag = tag_live(sh, t->cell.tag);
        if (!q.tag)
            return SL_ENOTAG;
    }
    uint64_t left = list_left(t, q.tag ? q.tag->n : sh->tag_used);
    for (uint32_t n = 0; left && n < STEP_NAMES && !rc; n++) {
        rc = step(&q, left - 1u);
        left -= rc == 0;
        if (clock_ns() >= until)
            break;
    }
    page_answer(t, &q.page, left ? left + 1u : 0);
    t->result.v[3] = q.matched;
    return rc < 0 ? rc : 0;
}
