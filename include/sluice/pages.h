/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Batches of pages, compressed and decompressed with LZ4 on a GPU, or on the
 * CPU when there is none, when a batch is small, or when the GPU fails.
 *
 * A page is `page_bytes` of input (the last one of a call may be shorter). It
 * becomes an entry of 16 bytes and, but for pages of one repeated value, a raw
 * LZ4 block that liblz4 decodes, or the page itself: never more bytes than the
 * input and the entry. Blocks made by liblz4 decode here too.
 *
 * Usual order: sl_pages_opts_init, sl_pages_open, sl_pages_compress and
 * sl_pages_decompress, sl_pages_close. For data that does not fit into memory,
 * or that is read while other parts are compressed: sl_pages_stream_open, then
 * take, submit, next and release in a loop. For data on the GPU: the _device
 * calls.
 *
 * What it does not do: frames of files (the command `sluice compress`), and
 * matches over the border of a page.
 *
 * All functions return 0 or a negative code of status.h. A struct sl_pages may
 * be used by any thread; its synchronous calls take turns. Pointers are
 * borrowed until return unless a comment says otherwise.
 */
#ifndef SLUICE_PAGES_H
#define SLUICE_PAGES_H

#include "sluice.h"

#include <stddef.h>
#include <stdint.h>

#if defined(__cplusplus)
extern "C" {
#endif

/** An address of a device; the host never follows it. */
typedef uint64_t sl_devptr;

/* Smallest and largest page; a page size is a multiple of 64. The window of LZ4
 * is 64 KiB (lz4_Block_format.md), so larger pages gain nothing. */
#define SL_PAGE_MIN 64u
#define SL_PAGE_MAX 65536u

/** How a page is stored. */
enum sl_page_kind {
    SL_PAGE_LZ4 = 0,  /* `stored` bytes at `at_or_fill`: a raw LZ4 block */
    SL_PAGE_RAW = 1,  /* `stored` bytes at `at_or_fill`: the page itself */
    SL_PAGE_ZERO = 2, /* nothing: all bytes are 0 */
    SL_PAGE_FILL = 3  /* nothing: at_or_fill, little-endian, repeated */
};

/** One page of a batch. 16 bytes, the same on host and device. */
struct sl_page_entry {
    uint32_t stored; /* bytes of the block; 0 for ZERO and FILL */
    uint8_t kind;    /* enum sl_page_kind */
    uint8_t reserved;
    int16_t code;        /* 0, or why this page failed: SL_EBLOCK */
    uint64_t at_or_fill; /* offset in the blocks' buffer, or the 8 bytes */
};

/** Speed against ratio. */
enum sl_pages_mode {
    SL_PAGES_DEFAULT = 0, /* the ratio of liblz4's level 1 */
    SL_PAGES_FAST = 1     /* faster, about 3 % larger */
};

/** Which path served. */
enum sl_pages_path {
    SL_PAGES_CPU = 1,
    SL_PAGES_GPU = 2,
    SL_PAGES_MIXED = 3 /* some batches here, some there */
};

/** Zero means the default named behind each; `size` as sluice.h says. */
struct sl_pages_opts {
    size_t size;
    uint32_t page_bytes; /* SL_PAGE_MIN to SL_PAGE_MAX, multiple of 64: 4096 */
    uint32_t mode;       /* enum sl_pages_mode */
    /* "auto": the first CUDA device, else the CPU. "cuda:N": that one.
     * "host": the GPU's kernels on emulated lanes (tests; slow). "cpu": liblz4
     * on threads. Null: "auto". */
    const char *device;
    uint32_t slots;      /* batches in flight of a stream, 2 to 64: 4 */
    uint32_t threads;    /* of the CPU path, 1 to 256: the CPUs */
    uint64_t slot_bytes; /* most bytes of pages in a batch, a multiple of
                          * page_bytes to 1 GiB: about 16 MiB */
    /* A batch of fewer bytes goes to the CPU. 0: measured by sl_pages_open,
     * which runs batches of three sizes on both. 1: all batches go to the
     * device. */
    uint64_t gpu_threshold;
    uint64_t timeout_ns; /* a batch that the device holds longer: 30 s */
};

/** What a call, or a stream so far, has done. */
struct sl_pages_report {
    uint64_t bytes_in, bytes_out; /* entries not counted */
    uint64_t pages;               /* the sum of the next five */
    uint64_t lz4, raw, zero, fill;
    uint64_t bad;       /* pages whose entry has a code */
    uint64_t batches;   /* of which */
    uint64_t on_device; /* so many ran there */
    uint64_t wall_ns;
    /* Sums over all batches; they overlap, so they may exceed wall_ns. On a
     * device its own clock, but stage_ns and cpu_ns. */
    uint64_t stage_ns; /* copies between plain and page-locked memory */
    uint64_t copy_in_ns, kernel_ns, copy_out_ns;
    uint64_t cpu_ns; /* wall time of the CPU path */
    int path;        /* enum sl_pages_path; 0 when nothing ran */
    int why_code;    /* the code for which the device was given up, or 0 */
    char why[112];   /* why the CPU served, in words; empty if it did not */
};

struct sl_pages;

/** Replaces zeros by the defaults named above; sets `size`. */
SL_API void sl_pages_opts_init(struct sl_pages_opts *o);

/**
 * Opens the device and starts the threads of the CPU path. `o` may be null: all
 * defaults. SL_EPAGESIZE, SL_EINVAL (another option is out of its range, or the
 * device's name means nothing), SL_ENODEV (a device that was named is not
 * there; "auto" then takes the CPU), SL_ENOMEM.
 */
SL_API int sl_pages_open(const struct sl_pages_opts *o, struct sl_pages **out);
/** After all streams of it are closed and no call runs. Null is allowed. */
SL_API void sl_pages_close(struct sl_pages *p);
/** The device's name, "host" or "cpu"; lives as long as `p`. */
SL_API const char *sl_pages_device(const struct sl_pages *p);

/** Number of pages of `bytes`: the entries that a call needs. */
static inline uint64_t sl_pages_count(uint64_t bytes, uint32_t page_bytes)
{
    return bytes / page_bytes + (bytes % page_bytes != 0);
}

/**
 * Compresses `bytes` at `src` into entries[0..n) and blocks, packed without
 * gaps in the order of the pages, at `dst`. `n` is sl_pages_count(bytes), `cap`
 * is at least `bytes`. src, dst and entries do not overlap. `r` may be null;
 * r->bytes_out is what `dst` holds.
 *
 * SL_EINVAL (no bytes, a null pointer, n or cap is wrong), SL_EOVERLAP,
 * SL_ENOMEM. What goes wrong on a device does not fail the call: its batches
 * run on the CPU and the report says so; but SL_ETIMEDOUT when it keeps a batch
 * and does not give it back; it may then still write to page-locked memory of
 * the call. With an error dst and entries are undefined.
 */
SL_API int sl_pages_compress(struct sl_pages *p, const void *src,
                             uint64_t bytes, void *dst, uint64_t cap,
                             struct sl_page_entry *entries, uint64_t n,
                             struct sl_pages_report *r);

/**
 * The way back: `bytes` is the size of the pages at `dst`, `src_bytes` that of
 * the blocks at `src`; `n` is sl_pages_count(bytes). Entries and blocks may be
 * hostile: each entry's `code` is written, 0 or SL_EBLOCK (unknown kind, block
 * outside of src, block that is no LZ4 or does not give exactly its page's
 * bytes). Nothing outside of the buffers is touched.
 *
 * SL_EBLOCK when a page failed; the others are right and the bytes of a failed
 * page are zero. Else as sl_pages_compress.
 */
SL_API int sl_pages_decompress(struct sl_pages *p, const void *src,
                               uint64_t src_bytes,
                               struct sl_page_entry *entries, uint64_t n,
                               void *dst, uint64_t bytes,
                               struct sl_pages_report *r);

/**
 * Page-locks [mem, mem + bytes), whole pages of memory, so that the calls above
 * and the batches of streams copy from and to it without a stop in between. It
 * stays so until sl_pages_unpin, which comes before sl_pages_close and before
 * the memory is freed. Does nothing when there is no device. SL_EINVAL (not
 * aligned to the system's pages), SL_ENOMEM, SL_EDEVICE.
 */
SL_API int sl_pages_pin(struct sl_pages *p, void *mem, size_t bytes);
/** `mem` as it was given to sl_pages_pin. SL_EINVAL when it was not. */
SL_API int sl_pages_unpin(struct sl_pages *p, void *mem);

/* ---- data on the device ---- */

/**
 * As sl_pages_compress, but src, dst and entries are device addresses, aligned
 * to 16; so all three may come from the same kernel that uses them next. Waits
 * for the end, not for other streams. SL_ENODEV when `p` has no device,
 * SL_EDEVICE when it fails: nothing can be saved then.
 */
SL_API int sl_pages_compress_device(struct sl_pages *p, sl_devptr src,
                                    uint64_t bytes, sl_devptr dst, uint64_t cap,
                                    sl_devptr entries, uint64_t n,
                                    struct sl_pages_report *r);
/** As sl_pages_decompress; codes as sl_pages_compress_device, and SL_EBLOCK. */
SL_API int sl_pages_decompress_device(struct sl_pages *p, sl_devptr src,
                                      uint64_t src_bytes, sl_devptr entries,
                                      uint64_t n, sl_devptr dst, uint64_t bytes,
                                      struct sl_pages_report *r);

/* ---- streams ---- */

/** A ring of slots. Each slot is one batch: free, taken and filled by the
 *  caller, copied in, running, copied out, complete; then free again. */
struct sl_pages_stream;

enum sl_pages_way { SL_PAGES_COMPRESS = 0, SL_PAGES_DECOMPRESS = 1 };

/**
 * One batch. sl_pages_take fills the first group with the slot's own
 * page-locked buffers; the caller writes into them, or sets src or dst to
 * memory of its own, borrowed until sl_pages_release. The second group is the
 * result; the third belongs to the library.
 */
struct sl_pages_batch {
    const void *src; /* compress: pages; decompress: blocks */
    void *dst;
    struct sl_page_entry *entries; /* of the slot */
    uint64_t src_room, dst_room;   /* of the slot's own buffers */
    uint64_t src_bytes;            /* set by the caller */
    uint64_t bytes; /* of the pages, both ways: set by the caller,
                                    * 1 to slot_bytes */
    void *user;     /* the caller's own */

    int code;           /* 0, SL_EBLOCK, SL_ETIMEDOUT, SL_ENOMEM */
    int path;           /* enum sl_pages_path */
    uint64_t dst_bytes; /* what dst holds */

    uint32_t slot;
};

/** The slots and their memory are made here, and no more later. SL_EINVAL
 *  (way), SL_ENOMEM. */
SL_API int sl_pages_stream_open(struct sl_pages *p, int way,
                                struct sl_pages_stream **out);
/** Waits for what is in flight and drops it. */
SL_API void sl_pages_stream_close(struct sl_pages_stream *s);

/**
 * A free slot. `wait` 0: SL_EAGAIN when all are in use; else waits for one,
 * which only another thread's sl_pages_release can give, or SL_ETIMEDOUT after
 * timeout_ns. One thread takes and submits, one (the same or another) calls next
 * and release.
 */
SL_API int sl_pages_take(struct sl_pages_stream *s, int wait,
                         struct sl_pages_batch **out);
/**
 * Starts the batch. A `dst` of the caller's own has room for b->bytes. Compress: b->bytes at b->src. Decompress: b->bytes of pages
 * from the blocks at b->src, b->src_bytes, as b->entries says, of which there
 * are sl_pages_count(b->bytes). SL_EINVAL, SL_EOVERLAP, and SL_ETIMEDOUT
 * when an earlier batch had that code: the slot stays taken. Never waits for
 * the device.
 */
SL_API int sl_pages_submit(struct sl_pages_stream *s, struct sl_pages_batch *b);
/**
 * The oldest batch that was submitted and not yet returned: results come in the
 * order of the submits. `wait` 0: SL_EAGAIN while it runs. SL_ENOENT when none
 * was submitted. Valid until sl_pages_release.
 */
SL_API int sl_pages_next(struct sl_pages_stream *s, int wait,
                         struct sl_pages_batch **out);
/** Frees a slot: one that sl_pages_next returned, or one that was taken and is
 *  not to be submitted. */
SL_API void sl_pages_release(struct sl_pages_stream *s,
                             struct sl_pages_batch *b);
/** Sums of all batches that sl_pages_next has returned. */
SL_API void sl_pages_stream_report(struct sl_pages_stream *s,
                                   struct sl_pages_report *r);

#if defined(__cplusplus)
}
#endif

#endif
