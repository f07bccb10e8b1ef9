/* SPDX-License-Identifier: Apache-2.0 */
/* The file `codecs`: docs/format.md. */
#include "base/log.h"
#include "codec/speed.h"
#include "sluice/sluice.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

static const char magic[8] = {'S', 'L', 'S', 'P', 'E', 'E', 'D', '1'};
#define HEAD 16u /* magic, fingerprint */
#define FIGURES (SL_CODECS * 3u * SPEED_CLASSES * 3u)
#define FILE_BYTES (HEAD + FIGURES * 4u + 8u)

static void store64(uint8_t *to, uint64_t v)
{
    for (unsigned i = 0; i < 8u; i++)
        to[i] = (uint8_t)(v >> (8u * i));
}

static uint64_t load64(const uint8_t *from)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < 8u; i++)
        v |= (uint64_t)from[i] << (8u * i);
    return v;
}

/* Figures hold for this processor and these codecs. */
static uint64_t fingerprint(void)
{
    char text[256] = "";
    uint64_t codecs = 0;
    FILE *f = fopen("/proc/cpuinfo", "re");
    while (f && fgets(text, sizeof(text), f))
        if (!strncmp(text, "model name", 10))
            break;
    if (f)
        fclose(f);
    for (unsigned id = 0; id < SL_CODECS; id++)
        codecs |= codec_find(id) ? UINT64_C(1) << id : 0;
    return XXH3_64bits_withSeed(text, strlen(text), codecs);
}

static void store_float(uint8_t *to, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof(bits));
    for (unsigned i = 0; i < 4u; i++)
        to[i] = (uint8_t)(bits >> (8u * i));
}

/* What a figure may be; anything else is damage. */
static int load_float(const uint8_t *from, float *v)
{
    uint32_t bits = 0;
    for (unsigned i = 0; i < 4u; i++)
        bits |= (uint32_t)from[i] << (8u * i);
    memcpy(v, &bits, sizeof(*v));
    return *v >= 0.0f && *v < 1e9f ? 0 : SL_ECORRUPT;
}

static int decode(const uint8_t *in, struct codec_speeds *out)
{
    struct codec_speeds s;
    const uint8_t *at = in + HEAD;
    int rc = 0;
    for (unsigned i = 0; i < SL_CODECS * 3u * SPEED_CLASSES && !rc; i++) {
        struct codec_speed *v = &s.of[0][0][0] + i;
        rc = load_float(at, &v->encode_ns);
        if (!rc)
            rc = load_float(at + 4, &v->decode_ns);
        if (!rc)
            rc = load_float(at + 8, &v->stored);
        at += 12;
    }
    if (!rc)
        *out = s;
    return rc;
}

static void encode(const struct codec_speeds *s, uint8_t *out)
{
    uint8_t *at = out + HEAD;
    memcpy(out, magic, sizeof(magic));
    store64(out + 8, fingerprint());
    for (unsigned i = 0; i < SL_CODECS * 3u * SPEED_CLASSES; i++) {
        const struct codec_speed *v = &s->of[0][0][0] + i;
        store_float(at, v->encode_ns);
        store_float(at + 4, v->decode_ns);
        store_float(at + 8, v->stored);
        at += 12;
    }
    store64(at, XXH3_64bits(out, FILE_BYTES - 8u));
}

int codec_speeds_load(const char *path, struct codec_speeds *out)
{
    uint8_t in[FILE_BYTES + 1u];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? SL_ENOENT : SL_EIO;
    ssize_t n = read(fd, in, sizeof(in));
    close(fd);
    if (n < 0)
        return SL_EIO;
    if (n != (ssize_t)FILE_BYTES || memcmp(in, magic, sizeof(magic)) != 0 ||
        load64(in + FILE_BYTES - 8u) != XXH3_64bits(in, FILE_BYTES - 8u)) {
        log_error("codec: %s is damaged, speeds are measured again", path);
        return SL_ECORRUPT;
    }
    if (load64(in + 8) != fingerprint())
        return SL_EVERSION;
    return decode(in, out);
}

static int write_file(const char *path, const uint8_t *bytes)
{
    int rc = 0;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno == EACCES ? SL_EACCES : SL_EIO;
    errno = 0;
    if (write(fd, bytes, FILE_BYTES) != (ssize_t)FILE_BYTES)
        rc = errno == ENOSPC ? SL_ENOSPC : SL_EIO;
    if (close(fd) && !rc)
        rc = SL_EIO;
    if (rc)
        unlink(path);
    return rc;
}

int codec_speeds_save(const char *path, const struct codec_speeds *s)
{
    uint8_t bytes[FILE_BYTES];
    char fresh[4096 + 8];
    int n = snprintf(fresh, sizeof(fresh), "%s.new", path);
    int rc = n > 0 && (size_t)n < sizeof(fresh) ? 0 : SL_EIO;
    encode(s, bytes);
    if (!rc)
        rc = write_file(fresh, bytes);
    if (!rc && rename(fresh, path)) {
        unlink(fresh);
        rc = SL_EIO;
    }
    if (rc)
        log_error("codec: cannot write %s: %s", path, sl_strerror(rc));
    return rc;
}
