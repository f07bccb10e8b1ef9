/* SPDX-License-Identifier: Apache-2.0 */
#include "pages_data.h"

#include "io.h"
#include "out.h"
#include "sluice/sluice.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MADE_BYTES (16u << 20)

static int no_memory(void)
{
    return out_fail("%s", sl_strerror(SL_ENOMEM));
}

static int load(struct data_set *s, const char *path)
{
    const char *slash = strrchr(path, '/');
    struct input f;
    int rc = input_open(&f, path);
    if (rc)
        return rc;
    snprintf(s->name, sizeof(s->name), "%s", slash ? slash + 1 : path);
    s->data = malloc(DATA_MAX);
    rc = s->data ? input_read(&f, s->data, DATA_MAX, &s->bytes) : no_memory();
    input_close(&f);
    if (rc == 0 && s->bytes == 0)
        rc = out_fail("'%s': it is empty", path);
    return rc;
}

/* ---- what is made up: always the same bytes ---- */

static uint64_t next(uint64_t *x)
{
    *x ^= *x << 13; /* Marsaglia, xorshift64 */
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

static const char *word(uint64_t *x)
{
    static const char *const words[] = {
        "page",   "store", "of",      "the",    "kernel", "reads",  "a",
        "tier",   "and",   "writes",  "block",  "is",     "held",   "until",
        "bytes",  "come",  "back",    "from",   "device", "memory", "when",
        "worker", "names", "request", "answer", "to",     "in",     "queue"};
    return words[next(x) % (sizeof(words) / sizeof(words[0]))];
}

static size_t make_text(char *to, size_t room, uint64_t *x)
{
    static const char *const end[] = {" ", " ", " ", " ", " ", ", ", ".\n"};
    int n = snprintf(to, room, "%s%s", word(x), end[next(x) % 7]);
    return (size_t)n < room ? (size_t)n : room;
}

static size_t make_json(char *to, size_t room, uint64_t *x)
{
    uint64_t id = next(x);
    int n = snprintf(to, room,
                     "{\"id\":%llu,\"name\":\"%s-%s\",\"score\":%llu.%03llu,"
                     "\"state\":\"%s\",\"tags\":[\"%s\",\"%s\"]}\n",
                     (unsigned long long)(id % 1000000), word(x), word(x),
                     (unsigned long long)(id >> 20 & 63),
                     (unsigned long long)(id >> 30 & 511), word(x), word(x),
                     word(x));
    return (size_t)n < room ? (size_t)n : room;
}

/* An index, a time that grows, two measured values, a kind. */
static size_t make_record(char *to, size_t room, uint64_t *x)
{
    static uint32_t index;
    static uint64_t time;
    uint64_t r = next(x);
    uint32_t kind = (uint32_t)(r % 5);
    float value[2] = {(float)(r >> 8 & 1023) / 8.0f,
                      (float)(r >> 20 & 255) / 2.0f};
    char rec[24];
    time += r >> 40 & 4095;
    index++;
    memcpy(rec, &index, 4);
    memcpy(rec + 4, &time, 8);
    memcpy(rec + 12, value, 8);
    memcpy(rec + 20, &kind, 4);
    memcpy(to, rec, room < sizeof(rec) ? room : sizeof(rec));
    return room < sizeof(rec) ? room : sizeof(rec);
}

static int make(struct data_set *s, const char *name,
                size_t (*one)(char *, size_t, uint64_t *))
{
    uint64_t x = 88172645463325252u;
    snprintf(s->name, sizeof(s->name), "%s", name);
    /* One byte more: snprintf ends what it writes. */
    s->data = malloc(MADE_BYTES + 1);
    if (!s->data)
        return no_memory();
    while (s->bytes < MADE_BYTES)
        s->bytes += one((char *)s->data + s->bytes, MADE_BYTES - s->bytes, &x);
    return 0;
}

/* ---- machine code: the files that this process has mapped ---- */

static void append(struct data_set *s, const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return;
    s->bytes += fread(s->data + s->bytes, 1, DATA_MAX - s->bytes, f);
    fclose(f);
}

static int load_code(struct data_set *s)
{
    char line[4352], last[4096] = "", path[4096];
    FILE *maps = fopen("/proc/self/maps", "r");
    snprintf(s->name, sizeof(s->name), "code");
    s->data = malloc(DATA_MAX);
    if (!maps || !s->data) {
        if (maps)
            fclose(maps);
        return s->data ? out_fail("/proc/self/maps cannot be read")
                       : no_memory();
    }
    while (fgets(line, sizeof(line), maps)) {
        if (sscanf(line, "%*s %*s %*s %*s %*s %4095[^\n]", path) != 1 ||
            path[0] != '/' || !strcmp(path, last))
            continue;
        memcpy(last, path, sizeof(last));
        append(s, path);
    }
    fclose(maps);
    return s->bytes ? 0 : out_fail("no file of this process can be read");
}

int data_open(char **files, size_t n, struct data_set set[DATA_SETS],
              size_t *sets)
{
    int rc = 0;
    memset(set, 0, DATA_SETS * sizeof(set[0]));
    *sets = n;
    if (n > DATA_SETS) {
        *sets = 0;
        return out_usage("more than %u files", DATA_SETS);
    }
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = load(&set[i], files[i]);
    if (n)
        return rc;
    *sets = 4;
    rc = load_code(&set[0]);
    if (rc == 0)
        rc = make(&set[1], "json", make_json);
    if (rc == 0)
        rc = make(&set[2], "text", make_text);
    if (rc == 0)
        rc = make(&set[3], "records", make_record);
    return rc;
}

void data_close(struct data_set *set, size_t sets)
{
    for (size_t i = 0; i < sets; i++)
        free(set[i].data);
}
