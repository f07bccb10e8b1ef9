/* SPDX-License-Identifier: Apache-2.0 */
#include "out.h"

#include "sluice/sluice.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_MAX 4096u /* of an error line, cut off beyond */

static const char *command;

/* The log sink runs on any thread of the library. */
static struct {
    pthread_mutex_t lock;
    int verbose;
    int holding;
    int held;
    char line[2048];
} sink = {.lock = PTHREAD_MUTEX_INITIALIZER};

void out_command(const char *name)
{
    command = name;
}

/* One write of one line, whatever a name holds: control characters as \xNN, so
 * that they neither break the line nor reach the terminal. */
static void put_line(const char *who, const char *text, const char *tail)
{
    static const char hex[] = "0123456789abcdef";
    char line[4 * TEXT_MAX + 1], *to = line;
    for (size_t i = 0; text[i] && i < TEXT_MAX; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c != 0x7f) {
            *to++ = text[i];
            continue;
        }
        *to++ = '\\';
        *to++ = 'x';
        *to++ = hex[c >> 4];
        *to++ = hex[c & 15];
    }
    *to = 0;
    fprintf(stderr, "sluice: %s%s%s%s\n", who ? who : "", who ? ": " : "", line,
            tail);
}

__attribute__((format(printf, 2, 0))) static void
say(const char *tail, const char *fmt, va_list ap)
{
    char text[TEXT_MAX];
    vsnprintf(text, sizeof(text), fmt, ap);
    put_line(command, text, tail);
}

int out_fail(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say("", fmt, ap);
    va_end(ap);
    return OUT_FAILED;
}

int out_usage(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say(" (see --help)", fmt, ap);
    va_end(ap);
    return OUT_USAGE;
}

void out_warn(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say("", fmt, ap);
    va_end(ap);
}

/* ---- the library's log ---- */

static void log_show(const char *line)
{
    put_line(NULL, line, "");
}

static void on_log(void *user, int level, const char *line)
{
    (void)user;
    pthread_mutex_lock(&sink.lock);
    if (level > 1 && !sink.verbose)
        goto out;
    if (level > 0 || !sink.holding) {
        log_show(line);
        goto out;
    }
    /* Only the newest is held: it is the one that the code came from. */
    if (sink.held)
        log_show(sink.line);
    snprintf(sink.line, sizeof(sink.line), "%s", line);
    sink.held = 1;
out:
    pthread_mutex_unlock(&sink.lock);
}

void out_log_start(int verbose)
{
    sink.verbose = verbose;
    sl_set_log(on_log, NULL);
}

void out_log_hold(void)
{
    pthread_mutex_lock(&sink.lock);
    sink.holding = 1;
    sink.held = 0;
    pthread_mutex_unlock(&sink.lock);
}

const char *out_log_take(int code)
{
    static char cause[sizeof(sink.line)];
    const char *text = code ? sl_strerror(code) : NULL;
    pthread_mutex_lock(&sink.lock);
    if (sink.held && code) {
        memcpy(cause, sink.line, sizeof(cause));
        text = cause;
    } else if (sink.held) {
        log_show(sink.line);
    }
    sink.holding = 0;
    sink.held = 0;
    pthread_mutex_unlock(&sink.lock);
    return text;
}

/* ---- data ---- */

int out_done(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return OUT_OK;
    return out_fail("standard output: %s", strerror(errno));
}

int out_json(json_t *root)
{
    int rc;
    if (!root)
        return out_fail("%s", sl_strerror(SL_ENOMEM));
    rc = json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    json_decref(root);
    if (rc)
        return out_fail("standard output: %s", strerror(errno));
    putchar('\n');
    return out_done();
}

static void print_value(const json_t *v)
{
    json_t *item;
    size_t i;
    if (json_is_string(v))
        printf("%s", json_string_value(v));
    else if (json_is_real(v))
        printf("%.3f", json_real_value(v));
    else if (json_is_integer(v))
        printf("%lld", (long long)json_integer_value(v));
    else if (json_is_boolean(v))
        printf("%s", json_is_true(v) ? "yes" : "no");
    json_array_foreach(v, i, item)
    {
        void *at = json_object_iter(item);
        printf("%s", i ? "," : "");
        for (; at; at = json_object_iter_next(item, at)) {
            printf("%s", i || at != json_object_iter(item) ? " " : "");
            print_value(json_object_iter_value(at));
        }
    }
}

int out_object(json_t *root)
{
    const char *key;
    json_t *v;
    if (!root)
        return out_fail("%s", sl_strerror(SL_ENOMEM));
    json_object_foreach(root, key, v)
    {
        printf("%s: ", key);
        print_value(v);
        putchar('\n');
    }
    json_decref(root);
    return out_done();
}

json_t *out_text(const char *s, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    json_t *text = json_stringn(s, len);
    char *escaped;
    size_t n = 0;
    if (text)
        return text;
    escaped = malloc(4 * len + 1);
    if (!escaped)
        return NULL;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c >= 0x20 && c < 0x7f) {
            escaped[n++] = (char)c;
            continue;
        }
        escaped[n++] = '\\';
        escaped[n++] = 'x';
        escaped[n++] = hex[c >> 4];
        escaped[n++] = hex[c & 15];
    }
    text = json_stringn(escaped, n);
    free(escaped);
    return text;
}

json_t *out_id(uint64_t id)
{
    return json_sprintf("%llu", (unsigned long long)id);
}

const char *out_size(uint64_t bytes, char buf[32])
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)bytes;
    size_t u = 0;
    while (v >= 1024.0 && u + 1 < sizeof(unit) / sizeof(unit[0])) {
        v /= 1024.0;
        u++;
    }
    snprintf(buf, 32, u ? "%.1f %s" : "%.0f %s", v, unit[u]);
    return buf;
}

static int parse(const char *text, uint64_t *out, const char **end)
{
    unsigned long long v;
    char *stop;
    /* strtoull takes signs and spaces, which are mistakes here. */
    if (text[0] < '0' || text[0] > '9')
        return -1;
    errno = 0;
    v = strtoull(text, &stop, 10);
    if (errno)
        return -1;
    *out = v;
    *end = stop;
    return 0;
}

int out_parse_number(const char *text, uint64_t *out)
{
    const char *end;
    uint64_t v;
    if (parse(text, &v, &end) || *end)
        return -1;
    *out = v;
    return 0;
}

int out_parse_size(const char *text, uint64_t *out)
{
    static const char units[] = "kmgt";
    const char *end, *u;
    uint64_t v;
    unsigned shift;
    if (parse(text, &v, &end))
        return -1;
    if (!*end) {
        *out = v;
        return 0;
    }
    /* Folds to lower case; what is no letter stays outside of `units`. */
    u = strchr(units, *end | 0x20);
    if (!u || end[1])
        return -1;
    shift = 10u * (unsigned)(u - units + 1);
    if (v > UINT64_MAX >> shift)
        return -1;
    *out = v << shift;
    return 0;
}

/* ---- progress ---- */

#define BAR_CELLS 40

static void bar_draw(const struct out_bar *b)
{
    char cells[BAR_CELLS + 1];
    int full = b->percent * BAR_CELLS / 100;
    memset(cells, ' ', BAR_CELLS);
    memset(cells, '=', (size_t)full);
    cells[BAR_CELLS] = 0;
    fprintf(stderr, "\r%-8s [%s] %3d %%", b->phase, cells, b->percent);
    fflush(stderr);
}

void out_bar_start(struct out_bar *b, const char *phase, uint64_t total)
{
    b->phase = phase;
    b->total = total ? total : 1;
    b->shown = isatty(STDERR_FILENO);
    b->percent = 0;
    if (b->shown)
        bar_draw(b);
}

void out_bar_step(struct out_bar *b, uint64_t done)
{
    if (!b->shown) /* or never begun, without a total */
        return;
    double part = (double)done / (double)b->total;
    int percent = part >= 1.0 ? 100 : (int)(part * 100.0);
    if (percent == b->percent)
        return;
    b->percent = percent;
    bar_draw(b);
}

void out_bar_end(struct out_bar *b)
{
    if (b->shown)
        fputs("\r\033[K", stderr);
    b->shown = 0;
}

static int by_value(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

uint64_t out_percentile(uint64_t *values, size_t n, double p)
{
    size_t at;
    if (!n)
        return 0;
    qsort(values, n, sizeof(values[0]), by_value);
    at = (size_t)(p / 100.0 * (double)(n - 1) + 0.5);
    return values[at < n ? at : n - 1];
}

static int by_real(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

double out_median(double *values, size_t n)
{
    if (!n)
        return 0.0;
    qsort(values, n, sizeof(values[0]), by_real);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}
