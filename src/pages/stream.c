/* SPDX-License-Identifier: Apache-2.0 */
/* The caller's side of a stream: slots and their memory, take, submit, next,
 * release. */
#include "base/clock.h"
#include "base/log.h"
#include "pages/impl.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define PAGE 4096u
#define NS_PER_S 1000000000u

static uint64_t whole_pages(uint64_t bytes)
{
    return (bytes + PAGE - 1) / PAGE * PAGE;
}

/* ---- open, close ---- */

/* One mapping for the buffers of all slots, so that one call page-locks it. */
static int map_slots(struct sl_pages_stream *s)
{
    uint64_t entries = whole_pages(s->n_pages * sizeof(struct sl_page_entry) +
                                   sizeof(uint64_t));
    uint64_t src = whole_pages(s->src_room), dst = whole_pages(s->dst_room);
    uint64_t each = src + dst + entries;
    s->mem_bytes = each * s->n_slots;
    s->mem = mmap(NULL, s->mem_bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (s->mem == MAP_FAILED) {
        s->mem = NULL;
        return SL_ENOMEM;
    }
    for (uint32_t i = 0; i < s->n_slots; i++) {
        struct slot *t = &s->slot[i];
        t->own_src = s->mem + i * each;
        t->own_dst = t->own_src + src;
        t->total = (uint64_t *)(void *)(t->own_dst + dst);
        t->sent = (struct sl_page_entry *)(void *)(t->total + 2);
        t->b.slot = i;
        t->b.entries = calloc(s->n_pages, sizeof(*t->b.entries));
        if (!t->b.entries)
            return SL_ENOMEM;
    }
    return 0;
}

static void set_sizes(struct sl_pages_stream *s)
{
    const struct sl_pages_opts *o = &s->p->o;
    s->n_pages = o->slot_bytes / o->page_bytes;
    s->src_room = o->slot_bytes;
    s->dst_room = o->slot_bytes;
    if (s->way == SL_PAGES_DECOMPRESS)
        s->src_room = s->n_pages * cpu_bound(o->page_bytes);
}

static void free_memory(struct sl_pages_stream *s)
{
    for (uint32_t i = 0; i < s->n_slots; i++)
        free(s->slot[i].b.entries);
    if (s->mem)
        munmap(s->mem, s->mem_bytes);
    if (s->scratch)
        munmap(s->scratch, s->p->o.slot_bytes);
    free(s->piece);
    free(s->order);
    free(s);
}

static int alloc_memory(struct sl_pages_stream *s)
{
    set_sizes(s);
    s->order = calloc(s->n_slots, sizeof(*s->order));
    s->piece = calloc(cpu_pieces(s->n_pages), sizeof(*s->piece));
    if (!s->order || !s->piece || map_slots(s))
        return SL_ENOMEM;
    if (s->way == SL_PAGES_DECOMPRESS)
        return 0;
    s->scratch = mmap(NULL, s->p->o.slot_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (s->scratch != MAP_FAILED)
        return 0;
    s->scratch = NULL;
    return SL_ENOMEM;
}

static int start_pump(struct sl_pages_stream *s)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    pthread_cond_init(&s->moved, &attr);
    pthread_condattr_destroy(&attr);
    if (pthread_create(&s->thread, NULL, pump_main, s) == 0)
        return 0;
    log_error("pages: no thread for a stream");
    pthread_cond_destroy(&s->moved);
    pthread_cond_destroy(&s->work);
    pthread_mutex_destroy(&s->lock);
    return SL_ENOMEM;
}

int sl_pages_stream_open(struct sl_pages *p, int way,
                         struct sl_pages_stream **out)
{
    struct sl_pages_stream *s;
    int rc;
    if (!p || !out || (way != SL_PAGES_COMPRESS && way != SL_PAGES_DECOMPRESS))
        return SL_EINVAL;
    s = calloc(1, sizeof(*s) + p->o.slots * sizeof(s->slot[0]));
    if (!s)
        return SL_ENOMEM;
    s->p = p;
    s->way = way;
    s->n_slots = p->o.slots;
    s->opened_ns = clock_ns();
    rc = alloc_memory(s);
    if (rc) {
        log_error("pages: no memory for %u slots of %llu bytes", s->n_slots,
                  (unsigned long long)p->o.slot_bytes);
        goto free_all;
    }
    if (p->gpu && !pages_lost(p)) {
        rc = device_open(s);
        if (rc)
            pages_lose(p, rc, "making room for batches");
    }
    rc = start_pump(s);
    if (rc)
        goto close_device;
    *out = s;
    return 0;

close_device:
    device_close(s);
free_all:
    free_memory(s);
    return rc;
}

void sl_pages_stream_close(struct sl_pages_stream *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->closing = 1;
    pthread_cond_broadcast(&s->work);
    pthread_cond_broadcast(&s->moved);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    pthread_cond_destroy(&s->moved);
    pthread_cond_destroy(&s->work);
    pthread_mutex_destroy(&s->lock);
    /* The device may write into a hung stream's memory at any time. */
    if (s->hung)
        return;
    device_close(s);
    free_memory(s);
}

/* ---- take, submit ---- */

/* Waits for a slot to move, with the lock; 0, or SL_ETIMEDOUT at `until`. */
static int wait_moved(struct sl_pages_stream *s, uint64_t until)
{
    struct timespec t = {(time_t)(until / NS_PER_S), (long)(until % NS_PER_S)};
    if (clock_ns() >= until)
        return SL_ETIMEDOUT;
    (void)pthread_cond_timedwait(&s->moved, &s->lock, &t);
    return 0;
}

static struct slot *find_free(struct sl_pages_stream *s)
{
    for (uint32_t i = 0; i < s->n_slots; i++)
        if (s->slot[i].state == SLOT_FREE)
            return &s->slot[i];
    return NULL;
}

int sl_pages_take(struct sl_pages_stream *s, int wait,
                  struct sl_pages_batch **out)
{
    uint64_t until = clock_ns() + s->p->o.timeout_ns;
    struct slot *t;
    int rc = wait ? 0 : SL_EAGAIN;
    pthread_mutex_lock(&s->lock);
    while (!(t = find_free(s)) && !rc)
        rc = wait_moved(s, until);
    if (t)
        t->state = SLOT_TAKEN;
    pthread_mutex_unlock(&s->lock);
    if (!t)
        return rc;
    t->b.src = t->own_src;
    t->b.dst = t->own_dst;
    t->b.src_room = s->src_room;
    t->b.dst_room = s->dst_room;
    t->b.src_bytes = 0;
    t->b.bytes = 0;
    t->b.user = NULL;
    t->b.code = 0;
    t->b.path = 0;
    t->b.dst_bytes = 0;
    *out = &t->b;
    return 0;
}

static struct slot *slot_of_batch(struct sl_pages_stream *s,
                                  const struct sl_pages_batch *b)
{
    if (!b || b->slot >= s->n_slots || &s->slot[b->slot].b != b)
        return NULL;
    return &s->slot[b->slot];
}

static int check_batch(const struct sl_pages_stream *s,
                       const struct sl_pages_batch *b)
{
    int has_dst = b->dst != NULL || s->sink.base != NULL;
    uint64_t in = s->way == SL_PAGES_COMPRESS ? b->bytes : b->src_bytes;
    if (!b->bytes || b->bytes > s->p->o.slot_bytes || !has_dst)
        return SL_EINVAL;
    /* Pages of one value alone have no blocks. */
    if (!b->src && in)
        return SL_EINVAL;
    if (!s->sink.base && pages_overlap(b->src, in, b->dst, b->bytes))
        return SL_EOVERLAP;
    return 0;
}

/* The device may still write into the slots. */
static int is_hung(struct sl_pages_stream *s)
{
    pthread_mutex_lock(&s->lock);
    int hung = s->hung;
    pthread_mutex_unlock(&s->lock);
    return hung;
}

int sl_pages_submit(struct sl_pages_stream *s, struct sl_pages_batch *b)
{
    struct slot *t = slot_of_batch(s, b);
    int rc;
    if (!t || t->state != SLOT_TAKEN)
        return SL_EINVAL;
    rc = check_batch(s, b);
    if (rc)
        return rc;
    if (is_hung(s))
        return SL_ETIMEDOUT;
    t->n = sl_pages_count(b->bytes, s->p->o.page_bytes);
    t->dst_bytes = 0;
    t->out_staged = 0;
    memset(&t->part, 0, sizeof(t->part));
    t->on_device = s->has_device && pages_on_device(s->p, b->bytes);
    if (t->on_device)
        device_stage_in(s, t);
    pthread_mutex_lock(&s->lock);
    s->order[s->submitted % s->n_slots] = b->slot;
    s->submitted++;
    t->state = SLOT_SUBMITTED;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
    return 0;
}

/* ---- next, release ---- */

static int wait_complete(struct sl_pages_stream *s, int wait, struct slot **out)
{
    int rc = s->returned < s->submitted ? 0 : SL_ENOENT;
    struct slot *t = slot_of(s, s->returned);
    while (!rc && t->state != SLOT_COMPLETE) {
        if (!wait)
            return SL_EAGAIN;
        /* The pump gives up a device that is late, so this ends. */
        pthread_cond_wait(&s->moved, &s->lock);
    }
    *out = t;
    return rc;
}

int sl_pages_next(struct sl_pages_stream *s, int wait,
                  struct sl_pages_batch **out)
{
    struct slot *t = NULL;
    pthread_mutex_lock(&s->lock);
    int rc = wait_complete(s, wait, &t);
    if (rc == 0) {
        s->returned++;
        t->state = SLOT_RETURNED;
    }
    pthread_mutex_unlock(&s->lock);
    if (rc)
        return rc;
    if (t->out_staged && t->b.code != SL_ETIMEDOUT) {
        uint64_t begun = clock_ns();
        pool_copy(s->p->pool, t->b.dst, t->own_dst, t->b.dst_bytes);
        t->part.stage_ns += clock_ns() - begun;
    }
    pthread_mutex_lock(&s->lock);
    pages_report_add(&s->report, &t->part);
    pthread_mutex_unlock(&s->lock);
    *out = &t->b;
    return 0;
}

void sl_pages_release(struct sl_pages_stream *s, struct sl_pages_batch *b)
{
    struct slot *t = slot_of_batch(s, b);
    pthread_mutex_lock(&s->lock);
    if (t && (t->state == SLOT_RETURNED || t->state == SLOT_TAKEN)) {
        t->state = SLOT_FREE;
        pthread_cond_broadcast(&s->moved);
    }
    pthread_mutex_unlock(&s->lock);
}

void sl_pages_stream_report(struct sl_pages_stream *s,
                            struct sl_pages_report *r)
{
    pthread_mutex_lock(&s->lock);
    *r = s->report;
    pthread_mutex_unlock(&s->lock);
    r->wall_ns = clock_ns() - s->opened_ns;
    pages_why(s->p, r);
}
