/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * LZ4 frames (lz4_Frame_format.md, v1.6.4), what the `lz4` tool reads and
 * writes: pack.c writes them from batches of pages, unpack.c reads them.
 *
 * Bytes come and go by two functions of the caller. Memory is bounded by the
 * stream of pages and, for blocks above 64 KiB, by what unpack.c says; it does
 * not depend on the input. The cause of an error is logged.
 */
#ifndef SLUICE_PAGES_FRAME_H
#define SLUICE_PAGES_FRAME_H

#include "sluice/pages.h"

#include <xxhash.h>

#define FRAME_MAGIC 0x184d2204u
/* Sixteen magic numbers, of which the last four bits are the user's. */
#define FRAME_SKIP 0x184d2a50u
#define FRAME_LEGACY 0x184c2102u
#define FRAME_HEADER_MAX 19u
#define FRAME_RAW 0x80000000u /* in a block's size: it is not compressed */
#define FRAME_LEGACY_BLOCK (8u << 20)
#define FRAME_WINDOW 65536u

/** Where frames come from and go to; both return 0 or a code, which ends the
 *  call. */
struct frame_io {
    /** Fills `buf`; *n < room only at the end of the input. */
    int (*read)(void *ctx, void *buf, size_t room, size_t *n);
    int (*write)(void *ctx, const void *buf, size_t n);
    void *ctx;
};

struct frame_info {
    uint32_t block_max;
    int linked;      /* blocks refer to the 64 KiB before them */
    int block_sum;   /* each block has a checksum */
    int content_sum; /* the frame has one */
    int has_size;
    uint64_t content_size;
    int legacy; /* no end mark, no checksums */
};

/** What was done; times overlap with those of `pages`. */
struct frame_stats {
    uint64_t bytes_in, bytes_out;
    uint64_t frames, blocks;
    uint64_t read_ns, write_ns, sum_ns; /* in the calls; checksums */
    /* Read outside of `pages`, by the CPU: linked or large, and short, of which
     * a frame has one at its end. */
    uint64_t cpu_blocks, short_blocks;
    struct sl_pages_report pages;
};

/** Returns the bytes written, at most FRAME_HEADER_MAX. */
size_t frame_put_header(uint8_t *out, const struct frame_info *f);
/**
 * Writes all of the input as one frame of independent blocks of p's page size,
 * which is at most 64 KiB, with a checksum of the content.
 */
int frame_pack(struct sl_pages *p, const struct frame_io *io, int block_sum,
               struct frame_stats *out);

/* ---- reading ---- */

/** A frame under way. */
struct frame_reader {
    const struct frame_io *io;
    struct frame_stats *stats;
    struct frame_info info;
    uint8_t *buf; /* input that was read ahead */
    size_t at, end;
    XXH32_state_t *sum;
    uint64_t produced; /* bytes of this frame's content */
    uint32_t peeked;   /* legacy: the next frame's magic */
    int has_peeked;
};

struct frame_block {
    uint32_t bytes; /* 0: the end mark */
    int raw;
};

/** SL_ENOMEM. */
int frame_reader_open(struct frame_reader *r, const struct frame_io *io,
                      struct frame_stats *stats);
void frame_reader_close(struct frame_reader *r);
/**
 * Reads the header of the next frame, over skippable ones. SL_ENOENT at the end
 * of the input, SL_EFRAME, SL_ETRUNCATED, SL_EDICT, SL_ECHECKSUM.
 */
int frame_next(struct frame_reader *r);
/** Reads the next block into `buf`, which has room for info.block_max (legacy:
 *  LZ4's bound of it). Checks its checksum. */
int frame_block(struct frame_reader *r, void *buf, struct frame_block *b);
/** Writes content out, in order. */
int frame_content(struct frame_reader *r, const void *data, size_t n);
/** After the end mark: checksum and size of the content. */
int frame_end(struct frame_reader *r);

/** Reads all frames of the input. `p` has pages of 64 KiB. SL_EFRAME for an
 *  empty input too. */
int frame_unpack(struct sl_pages *p, const struct frame_io *io,
                 struct frame_stats *out);

#endif
