/* SPDX-License-Identifier: Apache-2.0 */
#include "store/events.h"

#include "store/shard.h"

#include <stdlib.h>
#include <string.h>

#define SIZE_MOST ((UINT64_C(1) << 40) - 1u)

/* Methods that are noted when they are answered. A tag's creation is noted
 * where it is seen that the tag is new (tag.c). */
#define LOGGED                                                                 \
    (1u << SL_STORE_PUT | 1u << SL_STORE_GET | 1u << SL_STORE_DEL |            \
     1u << SL_STORE_SIZE | 1u << SL_STORE_TAG_DEL | 1u << SL_STORE_FLUSH |     \
     1u << SL_STORE_RENAME | 1u << SL_STORE_SCORE | 1u << SL_STORE_TAG_RENAME)

struct events *events_create(uint64_t n)
{
    struct events *e = calloc(1, sizeof(*e) + n * sizeof(e->at[0]));
    if (e)
        e->mask = n - 1u;
    return e;
}

static uint64_t event_size(const struct sl_task *t)
{
    uint64_t size = t->cell.size;
    if (t->cell.method != SL_STORE_PUT && t->cell.method != SL_STORE_GET)
        size = t->has_result ? t->result.v[0] : 0;
    return size < SIZE_MOST ? size : SIZE_MOST;
}

static void note(struct shard *sh, const struct sl_task *t, uint64_t tag,
                 int code)
{
    struct sl_event e = {.tag = tag};
    if (t->name)
        e.hash = t->hash.lo;
    e.size = event_size(t) & SIZE_MOST;
    e.code = (uint32_t)-code & 0xffffu;
    e.op = t->cell.method & 0xffu;
    events_add(sh->events, *sh->env.batches, e);
}

void shard_answered(struct shard *sh, const struct sl_task *t, int code)
{
    if (sh->events && (LOGGED >> t->cell.method & 1u))
        note(sh, t,
             t->cell.method == SL_STORE_TAG_RENAME ? t->cell.offset
                                                   : t->cell.tag,
             code);
}

void shard_tag_created(struct shard *sh, const struct sl_task *t, uint64_t id,
                       int code)
{
    if (sh->events)
        note(sh, t, id, code);
}

int store_events(struct sl_task *t, void *container)
{
    struct shard *sh = container;
    struct events *e = sh->events;
    uint64_t from = t->cell.offset, lost = 0, n = 0;
    if (!e)
        return SL_ENOSYS;
    if (from > e->count)
        from = e->count;
    if (e->count - from > e->mask + 1u) {
        lost = e->count - from - (e->mask + 1u);
        from += lost;
    }
    for (; n < SL_EVENT_PAGE && from < e->count; n++, from++)
        memcpy(shard_arena(sh) + t->cell.side + n * sizeof(e->at[0]),
               &e->at[from & e->mask], sizeof(e->at[0]));
    t->result.v[0] = from;
    t->result.v[1] = n;
    t->result.v[2] = lost;
    /* All that this shard notes later has a larger time, unless events that it
     * has noted did not fit: the last that did is the word then. */
    t->result.v[3] =
        from < e->count ? e->at[(from - 1u) & e->mask].time : events_time(e);
    t->has_result = 1;
    return 0;
}
