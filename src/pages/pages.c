/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing; what is known of the device and of page-locked memory.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/opts.h"
#include "gpu/kernels/table.h"
#include "pages/impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLOT_BYTES (16u << 20)
#define SLOT_BYTES_MAX (UINT64_C(1) << 30)
#define SLOTS 4u
#define SLOTS_MAX 64u
#define THREADS_MAX 256u
#define TIMEOUT_NS UINT64_C(30000000000)

/* ---- options ---- */

void sl_pages_opts_init(struct sl_pages_opts *o)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    o->size = sizeof(*o);
    if (!o->page_bytes)
        o->page_bytes = 4096;
    if (!o->device)
        o->device = "auto";
    if (!o->slots)
        o->slots = SLOTS;
    if (!o->threads)
        o->threads = cpus < 1 ? 1 : (uint32_t)cpus;
    if (o->threads > THREADS_MAX && cpus > (long)THREADS_MAX)
        o->threads = THREADS_MAX;
    if (!o->slot_bytes)
        o->slot_bytes = SLOT_BYTES / o->page_bytes * o->page_bytes;
    if (!o->timeout_ns)
        o->timeout_ns = TIMEOUT_NS;
}

static int check_opts(const struct sl_pages_opts *o)
{
    if (o->page_bytes < SL_PAGE_MIN || o->page_bytes > SL_PAGE_MAX ||
        o->page_bytes % 64) {
        log_error("pages: a page of %u bytes: not a multiple of 64 in %u to %u",
                  o->page_bytes, SL_PAGE_MIN, SL_PAGE_MAX);
        return SL_EPAGESIZE;
    }
    if (o->slots < 2 || o->slots > SLOTS_MAX || o->threads > THREADS_MAX ||
        o->mode > SL_PAGES_FAST || o->slot_bytes > SLOT_BYTES_MAX ||
        !o->slot_bytes || o->slot_bytes % o->page_bytes) {
        log_error("pages: slots, threads, mode or slot_bytes out of range");
        return SL_EINVAL;
    }
    return 0;
}

static int read_opts(const struct sl_pages_opts *given, struct sl_pages_opts *o)
{
    int rc = given ? opts_read(o, sizeof(*o), given, "pages") : 0;
    if (rc)
        return rc;
    if (!given)
        memset(o, 0, sizeof(*o));
    sl_pages_opts_init(o);
    return check_opts(o);
}

/* ---- the device ---- */

static int open_auto(struct gpu **out, char *why, size_t room)
{
    int n = gpu_cuda_ops.count(why, room);
    *out = NULL;
    if (n > 0 && kernel_fatbin_bytes == 0) {
        snprintf(why, room, "this build is without CUDA kernels");
        return 0;
    }
    for (int i = 0; i < n; i++)
        if (gpu_cuda_ops.open(i, out) == 0)
            return 0;
    if (n > 0)
        snprintf(why, room, "no CUDA device opens");
    return 0;
}

static int open_device(const char *name, struct gpu **out, char *why,
                       size_t room)
{
    *out = NULL;
    if (strcmp(name, "auto") == 0)
        return open_auto(out, why, room);
    if (strcmp(name, "cpu") != 0)
        return gpu_open(name, out);
    snprintf(why, room, "the device \"cpu\" was asked for");
    return 0;
}

int pages_lost(const struct sl_pages *p)
{
    /* Relaxed: a later look is as good; what matters is read under a lock. */
    return __atomic_load_n(&p->lost, __ATOMIC_RELAXED);
}

void pages_lose(struct sl_pages *p, int code, const char *doing)
{
    pthread_mutex_lock(&p->lock);
    if (!p->lost) {
        p->why_code = code;
        snprintf(p->why, sizeof(p->why), "%s failed while %s: %s", p->device,
                 doing, sl_strerror(code));
        log_warn("pages: %s; the CPU goes on", p->why);
        __atomic_store_n(&p->lost, 1, __ATOMIC_RELAXED);
    }
    pthread_mutex_unlock(&p->lock);
}

int pages_on_device(const struct sl_pages *p, uint64_t bytes)
{
    return p->gpu && !pages_lost(p) && bytes >= p->threshold;
}

/* ---- the threshold ---- */

#define PROBE_BYTES (4u << 20)
#define PROBE_ROUNDS 3

/* Bytes that LZ4 halves, roughly. */
static void probe_fill(uint8_t *p, size_t n)
{
    uint64_t x = 88172645463325252u; /* Marsaglia, xorshift */
    for (size_t i = 0; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        p[i] = i >= 512 && (x & 0x700) ? p[i - 512 + (x & 0x70)] : (uint8_t)x;
    }
}

struct probe {
    struct sl_pages *p;
    uint8_t *src, *dst;
    struct sl_page_entry *entries;
};

/* Best of some compressions of `bytes`, in ns; 0 when one fails. */
static uint64_t probe_time(const struct probe *b, uint64_t bytes,
                           uint64_t threshold)
{
    uint64_t best = UINT64_MAX;
    b->p->threshold = threshold;
    for (int i = 0; i < PROBE_ROUNDS; i++) {
        uint64_t begun = clock_ns();
        if (sl_pages_compress(b->p, b->src, bytes, b->dst, bytes, b->entries,
                              sl_pages_count(bytes, b->p->o.page_bytes), NULL))
            return 0;
        uint64_t took = clock_ns() - begun;
        best = took < best ? took : best;
    }
    return best;
}

/* The smallest size of three for which the device is faster; at four times the
 * largest of them it is taken to be, without a measurement. */
static uint64_t probe_sizes(const struct probe *b)
{
    uint64_t most = b->p->o.slot_bytes;
    most = most < PROBE_BYTES ? most : PROBE_BYTES;
    for (uint64_t bytes = most / 64; bytes < most; bytes *= 4) {
        uint64_t here = probe_time(b, bytes, UINT64_MAX);
        uint64_t there = probe_time(b, bytes, 1);
        if (!here || !there || pages_lost(b->p))
            break;
        if (there < here)
            return bytes;
    }
    return most;
}

static void measure_threshold(struct sl_pages *p)
{
    size_t table = sizeof(struct sl_page_entry) *
                   sl_pages_count(PROBE_BYTES, p->o.page_bytes);
    struct probe b = {.p = p};
    b.src = malloc(PROBE_BYTES);
    b.dst = malloc(PROBE_BYTES);
    b.entries = malloc(table);
    p->threshold = 1;
    if (b.src && b.dst && b.entries) {
        probe_fill(b.src, PROBE_BYTES);
        p->threshold = probe_sizes(&b);
    }
    free(b.src);
    free(b.dst);
    free(b.entries);
}

/* ---- open, close ---- */

static void init_locks(struct sl_pages *p)
{
    pthread_mutex_init(&p->lock, NULL);
    pthread_mutex_init(&p->calls[0], NULL);
    pthread_mutex_init(&p->calls[1], NULL);
    pthread_mutex_init(&p->array_calls, NULL);
}

static void name_device(struct sl_pages *p)
{
    struct gpu_info info;
    snprintf(p->device, sizeof(p->device), "cpu");
    if (!p->gpu)
        return;
    p->gpu->ops->info(p->gpu, &info);
    snprintf(p->device, sizeof(p->device), "%s", info.name);
}

int pages_open_on(const struct sl_pages_opts *given, struct gpu *gpu,
                  const char *why, struct sl_pages **out)
{
    struct sl_pages *p = calloc(1, sizeof(*p));
    int rc = p ? read_opts(given, &p->o) : SL_ENOMEM;
    if (rc == 0)
        rc = pool_open(p->o.threads, &p->pool);
    if (rc) {
        free(p);
        if (gpu)
            gpu->ops->close(gpu);
        return rc;
    }
    init_locks(p);
    p->gpu = gpu;
    name_device(p);
    snprintf(p->why, sizeof(p->why), "%s", why ? why : "");
    p->threshold = p->o.gpu_threshold;
    if (gpu && !p->threshold && strcmp(gpu->ops->kind, "host") == 0)
        p->threshold = 1; /* it is asked for by who wants it to run */
    if (gpu && !p->threshold)
        measure_threshold(p);
    *out = p;
    return 0;
}

int sl_pages_open(const struct sl_pages_opts *o, struct sl_pages **out)
{
    struct sl_pages_opts read;
    struct gpu *gpu = NULL;
    char why[112] = "";
    int rc = out ? read_opts(o, &read) : SL_EINVAL;
    if (rc == 0)
        rc = open_device(read.device, &gpu, why, sizeof(why));
    return rc ? rc : pages_open_on(o, gpu, why, out);
}

void sl_pages_close(struct sl_pages *p)
{
    if (!p)
        return;
    sl_pages_stream_close(p->sync[SL_PAGES_COMPRESS]);
    sl_pages_stream_close(p->sync[SL_PAGES_DECOMPRESS]);
    pages_array_close(p);
    while (p->pins)
        (void)sl_pages_unpin(p, p->pins->mem);
    if (p->gpu)
        p->gpu->ops->close(p->gpu);
    pool_close(p->pool);
    pthread_mutex_destroy(&p->array_calls);
    pthread_mutex_destroy(&p->calls[1]);
    pthread_mutex_destroy(&p->calls[0]);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

const char *sl_pages_device(const struct sl_pages *p)
{
    return p->device;
}

/* ---- page-locked memory ---- */

int sl_pages_pin(struct sl_pages *p, void *mem, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct pages_pin *pin;
    int rc;
    if (!p || !mem || !bytes || (uintptr_t)mem % page || bytes % page)
        return SL_EINVAL;
    pin = calloc(1, sizeof(*pin));
    if (!pin)
        return SL_ENOMEM;
    pin->mem = mem;
    pin->bytes = bytes;
    rc = p->gpu ? p->gpu->ops->pin(p->gpu, mem, bytes, &pin->at) : 0;
    if (rc) {
        free(pin);
        return rc;
    }
    pthread_mutex_lock(&p->lock);
    pin->next = p->pins;
    p->pins = pin;
    pthread_mutex_unlock(&p->lock);
    return 0;
}

int sl_pages_unpin(struct sl_pages *p, void *mem)
{
    struct pages_pin *pin, **at;
    if (!p)
        return SL_EINVAL;
    pthread_mutex_lock(&p->lock);
    for (at = &p->pins; *at && (*at)->mem != mem; at = &(*at)->next)
        continue;
    pin = *at;
    if (pin)
        *at = pin->next;
    pthread_mutex_unlock(&p->lock);
    if (!pin)
        return SL_EINVAL;
    if (p->gpu)
        p->gpu->ops->unpin(p->gpu, mem);
    free(pin);
    return 0;
}

sl_devptr pages_pinned(struct sl_pages *p, const void *mem, uint64_t bytes)
{
    const uint8_t *from = mem;
    sl_devptr at = 0;
    pthread_mutex_lock(&p->lock);
    for (const struct pages_pin *pin = p->pins; pin && !at; pin = pin->next) {
        uint64_t skip = (uint64_t)((uintptr_t)from - (uintptr_t)pin->mem);
        if ((uintptr_t)from >= (uintptr_t)pin->mem && skip <= pin->bytes &&
            bytes <= pin->bytes - skip)
            at = pin->at + skip;
    }
    pthread_mutex_unlock(&p->lock);
    return at;
}

/* ---- reports ---- */

void pages_count(struct sl_pages_report *r, const struct sl_page_entry *e,
                 uint64_t n)
{
    r->pages += n;
    for (uint64_t i = 0; i < n; i++) {
        if (e[i].code)
            r->bad++;
        else if (e[i].kind == SL_PAGE_LZ4)
            r->lz4++;
        else if (e[i].kind == SL_PAGE_RAW)
            r->raw++;
        else if (e[i].kind == SL_PAGE_ZERO)
            r->zero++;
        else
            r->fill++;
    }
}

void pages_report_add(struct sl_pages_report *sum,
                      const struct sl_pages_report *part)
{
    sum->bytes_in += part->bytes_in;
    sum->bytes_out += part->bytes_out;
    sum->pages += part->pages;
    sum->lz4 += part->lz4;
    sum->raw += part->raw;
    sum->zero += part->zero;
    sum->fill += part->fill;
    sum->bad += part->bad;
    sum->batches += part->batches;
    sum->on_device += part->on_device;
    sum->stage_ns += part->stage_ns;
    sum->copy_in_ns += part->copy_in_ns;
    sum->kernel_ns += part->kernel_ns;
    sum->copy_out_ns += part->copy_out_ns;
    sum->cpu_ns += part->cpu_ns;
}

void pages_why(struct sl_pages *p, struct sl_pages_report *r)
{
    r->path = (r->on_device ? SL_PAGES_GPU : 0) |
              (r->batches > r->on_device ? SL_PAGES_CPU : 0);
    pthread_mutex_lock(&p->lock);
    r->why_code = p->why_code;
    memcpy(r->why, p->why, sizeof(r->why));
    pthread_mutex_unlock(&p->lock);
    if (!(r->path & SL_PAGES_CPU))
        r->why[0] = 0;
    else if (!r->why[0])
        snprintf(r->why, sizeof(r->why),
                 "batches of fewer than %llu bytes are the CPU's",
                 (unsigned long long)p->threshold);
}
