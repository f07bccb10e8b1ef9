/* SPDX-License-Identifier: Apache-2.0 */
#include "api/runtime.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* What a reader has of one lane. */
struct lane {
    uint64_t next; /* number of the first event that is not in `at` */
    uint64_t from; /* nothing earlier will come from this lane */
    uint32_t i, n;
    struct sl_event at[SL_EVENT_PAGE];
};

struct sl_event_cursor {
    uint32_t n;
    struct lane lane[];
};

int sl_events_open(struct sl_runtime *rt, struct sl_event_cursor **out)
{
    struct sl_event_cursor *c;
    if (!rt || !out)
        return SL_EINVAL;
    if (rt->config.events == SL_NONE)
        return SL_ENOSYS;
    c = calloc(1, sizeof(*c) + rt->config.lanes * sizeof(c->lane[0]));
    if (!c)
        return SL_ENOMEM;
    c->n = rt->config.lanes;
    *out = c;
    return 0;
}

void sl_events_close(struct sl_event_cursor *c)
{
    free(c);
}

static int lane_fetch(struct sl_runtime *rt, uint32_t container, struct lane *l,
                      uint64_t *lost)
{
    struct slb_aside a = {.out = l->at, .out_bytes = sizeof(l->at)};
    struct sl_result res;
    struct slm_request q;
    slm_request_init(&q, SL_POOL_STORE, SL_STORE_EVENTS);
    q.container = (uint16_t)container;
    q.offset = l->next;
    int rc = host_ask(rt, &q, NULL, &a, &res);
    if (rc)
        return rc;
    if (res.v[1] > SL_EVENT_PAGE)
        return SL_EPROTO;
    l->next = res.v[0];
    l->i = 0;
    l->n = (uint32_t)res.v[1];
    *lost += res.v[2];
    l->from = res.v[3];
    return 0;
}

/* The lane with the earliest event; null when a lane that has none here may
 * still give an earlier one. */
static struct lane *earliest(struct sl_event_cursor *c)
{
    uint64_t limit = UINT64_MAX;
    struct lane *best = NULL;
    for (uint32_t i = 0; i < c->n; i++) {
        struct lane *l = &c->lane[i];
        if (l->i == l->n) {
            if (l->from < limit)
                limit = l->from;
        } else if (!best || l->at[l->i].time < best->at[best->i].time) {
            best = l;
        }
    }
    return best && best->at[best->i].time <= limit ? best : NULL;
}

int sl_events(struct sl_runtime *rt, struct sl_event_cursor *c,
              struct sl_event *out, size_t n, uint64_t *lost)
{
    uint64_t gone = 0;
    size_t got = 0;
    struct lane *l;
    int rc = 0;
    if (!rt || !c || (n && !out) || n > INT_MAX || c->n != rt->config.lanes)
        return SL_EINVAL;
    for (uint32_t i = 0; !rc && i < c->n; i++) {
        if (c->lane[i].i == c->lane[i].n)
            rc = lane_fetch(rt, i, &c->lane[i], &gone);
    }
    if (lost)
        *lost = gone;
    if (rc)
        return rc;
    while (got < n && (l = earliest(c)) != NULL)
        out[got++] = l->at[l->i++];
    return (int)got;
}
