/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread that follows the log of operations while another works: what
 * happened, in order, and how much was missed.
 */
#include <sluice/sluice.h>

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>

#define BLOBS 100u

static const char *op_name(unsigned op)
{
    switch (op) {
    case SL_STORE_TAG:
        return "make tag";
    case SL_STORE_PUT:
        return "put";
    case SL_STORE_GET:
        return "get";
    case SL_STORE_DEL:
        return "delete";
    default:
        return "other";
    }
}

static void *work(void *arg)
{
    struct sl_runtime *rt = arg;
    uint64_t tag;
    char name[16], back[16];
    int rc = sl_tag(rt, "numbers", &tag);
    for (unsigned i = 0; !rc && i < BLOBS; i++) {
        snprintf(name, sizeof(name), "n%u", i);
        rc = sl_put(rt, tag, name, 0, name, sizeof(name), NULL);
        if (!rc && i % 10u == 0)
            rc = sl_get(rt, tag, name, 0, back, sizeof(back), NULL);
    }
    return rc ? arg : NULL;
}

/* Prints some of what is there now; how many there were, or a code. */
static int follow(struct sl_runtime *rt, struct sl_event_cursor *c,
                  uint64_t *lost)
{
    struct sl_event e[64];
    uint64_t gone = 0;
    int n = sl_events(rt, c, e, 64, &gone);
    *lost += gone;
    for (int i = 0; i < n; i += 16)
        printf("%" PRIu64 " %s, %u bytes, code %d\n", e[i].time,
               op_name(e[i].op), (unsigned)e[i].size, -(int)e[i].code);
    return n;
}

int main(void)
{
    struct sl_runtime *rt;
    struct sl_event_cursor *c;
    pthread_t worker;
    void *failed;
    uint64_t lost = 0;
    unsigned seen = 0;
    int n = sl_open(NULL, &rt);
    if (n)
        return 1;
    if (sl_events_open(rt, &c) || pthread_create(&worker, NULL, work, rt))
        return 1;
    while (seen + lost < 1u + BLOBS + BLOBS / 10u &&
           (n = follow(rt, c, &lost)) >= 0)
        seen += (unsigned)n;
    pthread_join(worker, &failed);
    printf("%u operations seen, %" PRIu64 " lost\n", seen, lost);
    sl_events_close(c);
    return sl_close(rt) || n < 0 || failed;
}
