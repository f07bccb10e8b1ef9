/* SPDX-License-Identifier: Apache-2.0 */
/* Events of the host device: a lap that a stream's thread reaches and others
 * wait for. */
#include "base/clock.h"
#include "gpu/host_stream.h"

#include <stdlib.h>

struct host_event {
    struct gpu_event base;
    pthread_mutex_t lock; /* all below */
    pthread_cond_t moved; /* `reached` rose */
    uint64_t recorded;    /* records that were put on streams */
    uint64_t reached;     /* the last of them that its stream has come to */
    uint64_t at_ns;       /* when */
    int code;             /* that stream's at that time */
};

static struct host_event *event_of(struct gpu_event *e)
{
    return (struct host_event *)(void *)e;
}

int host_event_open(struct gpu *g, struct gpu_event **out)
{
    struct host_event *e = (struct host_event *)calloc(1, sizeof(*e));
    if (!e)
        return SL_ENOMEM;
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->moved, NULL);
    e->base.gpu = g;
    *out = &e->base;
    return 0;
}

void host_event_close(struct gpu_event *base)
{
    struct host_event *e = event_of(base);
    pthread_cond_destroy(&e->moved);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

int host_event_record(struct gpu_event *base, struct gpu_stream *s)
{
    struct host_event *e = event_of(base);
    struct host_job *j = host_job_new(0);
    if (!j)
        return SL_ENOMEM;
    j->event = e;
    pthread_mutex_lock(&e->lock);
    j->lap = ++e->recorded;
    pthread_mutex_unlock(&e->lock);
    host_stream_push(host_stream_of(s), j);
    return 0;
}

int host_event_follow(struct gpu_stream *s, struct gpu_event *base)
{
    struct host_event *e = event_of(base);
    struct host_job *j = host_job_new(0);
    if (!j)
        return SL_ENOMEM;
    j->event = e;
    j->follow = 1;
    pthread_mutex_lock(&e->lock);
    j->lap = e->recorded;
    pthread_mutex_unlock(&e->lock);
    host_stream_push(host_stream_of(s), j);
    return 0;
}

int host_event_run(const struct host_job *j, int failed)
{
    struct host_event *e = j->event;
    pthread_mutex_lock(&e->lock);
    while (j->follow && e->reached < j->lap)
        pthread_cond_wait(&e->moved, &e->lock);
    if (!j->follow && e->reached < j->lap) {
        e->reached = j->lap;
        e->at_ns = clock_ns();
        e->code = failed;
        pthread_cond_broadcast(&e->moved);
    }
    pthread_mutex_unlock(&e->lock);
    return 0;
}

int host_event_test(struct gpu_event *base)
{
    struct host_event *e = event_of(base);
    pthread_mutex_lock(&e->lock);
    int rc = e->reached < e->recorded ? SL_EAGAIN : e->code;
    pthread_mutex_unlock(&e->lock);
    return rc;
}

int host_event_between(struct gpu_event *first, struct gpu_event *last,
                       uint64_t *ns)
{
    uint64_t at[2];
    struct host_event *e[2] = {event_of(first), event_of(last)};
    for (int i = 0; i < 2; i++) {
        pthread_mutex_lock(&e[i]->lock);
        at[i] = e[i]->at_ns;
        pthread_mutex_unlock(&e[i]->lock);
    }
    *ns = at[1] > at[0] ? at[1] - at[0] : 0;
    return 0;
}
