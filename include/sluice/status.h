/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Status codes: one convention on the host, in kernels and on the wire.
 *
 * Every function returns 0 (SL_OK) or a negative code from this list; counts
 * are >= 0. Magnitudes below 256 equal the errno of the same name on Linux,
 * own codes start at 256. A code is never renumbered. The wire carries the
 * magnitude in 11 bits (wire.h), so magnitudes stay below 2048.
 *
 * Use: `int rc = sl_put(...); if (rc) puts(sl_strerror(rc));`
 */
#ifndef SLUICE_STATUS_H
#define SLUICE_STATUS_H

/* X(name, magnitude, text). SL_EAGAIN always means: nothing was done. */
#define SL_STATUS_LIST(X)                                                      \
    X(SL_ENOENT, 2, "no such blob")                                            \
    X(SL_EIO, 5, "input/output error")                                         \
    X(SL_EAGAIN, 11, "try again, nothing was done")                            \
    X(SL_ENOMEM, 12, "out of memory")                                          \
    X(SL_EACCES, 13, "permission denied")                                      \
    X(SL_EBUSY, 16, "busy")                                                    \
    X(SL_EEXIST, 17, "exists already")                                         \
    X(SL_ENODEV, 19, "no such device")                                         \
    X(SL_ENOTDIR, 20, "not a directory")                                       \
    X(SL_EINVAL, 22, "invalid argument")                                       \
    X(SL_EFBIG, 27, "larger than one operation may be")                        \
    X(SL_ENOSPC, 28, "no space left in any tier")                              \
    X(SL_ENAMETOOLONG, 36, "name longer than 255 bytes")                       \
    X(SL_ENOSYS, 38, "not supported here")                                     \
    X(SL_EPROTO, 71, "malformed request")                                      \
    X(SL_EOVERFLOW, 75, "offset plus size overflows")                          \
    X(SL_ETIMEDOUT, 110, "deadline passed")                                    \
    X(SL_ECANCELED, 125, "cancelled")                                          \
    X(SL_ENOPOOL, 256, "no such pool")                                         \
    X(SL_ENOMETHOD, 257, "no such method")                                     \
    X(SL_ETASKEMPTY, 258, "task of zero bytes")                                \
    X(SL_ETASKBIG, 259, "task larger than 4096 bytes")                         \
    X(SL_EROUTE, 260, "no such container, or not on this lane")                \
    X(SL_ECHUNK, 261, "chunk is not lent to this channel")                     \
    X(SL_EDEAD, 262, "the runtime is gone")                                    \
    X(SL_ESTOPPED, 263, "stopped by the stop flag")                            \
    X(SL_ENONAME, 264, "empty name")                                           \
    X(SL_EBADNAME, 265, "name holds a NUL byte")                               \
    X(SL_ENOTAG, 266, "no such tag")                                           \
    X(SL_EPASTEND, 267, "range past the end of the blob")                      \
    X(SL_EVERSION, 268, "store of another format version")                     \
    X(SL_ECHECKSUM, 269, "checksum mismatch, stored bytes are damaged")        \
    X(SL_ECORRUPT, 270, "metadata is damaged")                                 \
    X(SL_ECONFIG, 271, "configuration error")                                  \
    X(SL_EDEVICE, 272, "the device reported an error")                         \
    X(SL_ECODEC, 273, "unknown codec")                                         \
    X(SL_ENOCODEC, 274, "codec is not in this build")                          \
    X(SL_ESCORE, 275, "score is not in 0 to 1 and not -1")                     \
    X(SL_ESHRUNK, 276, "the target's file is shorter than the store knows")    \
    X(SL_ENOTARGET, 277, "no such target")                                     \
    X(SL_ETARGETBUSY, 278, "target is held by another process")                \
    X(SL_EPATTERN, 279, "not a regular expression")                            \
    X(SL_EMATCHLIMIT, 280, "the expression needs too many steps")              \
    X(SL_EPAGESIZE, 281, "page size is not supported")                         \
    X(SL_EOVERLAP, 282, "buffers overlap")                                     \
    X(SL_EFRAME, 283, "not a valid LZ4 frame")                                 \
    X(SL_EBLOCK, 284, "damaged LZ4 block")                                     \
    X(SL_ETRUNCATED, 285, "input ends early")                                  \
    X(SL_EDICT, 286, "frame needs a dictionary")                               \
    X(SL_EPERSIST, 287, "persistence level is not 0, 1 or 2")                  \
    X(SL_ENODATADIR, 288, "nothing outlives this process, it has no data_dir")

enum sl_status {
    SL_OK = 0,
#define SL_STATUS_ENUM(name, num, text) name = -(num),
    SL_STATUS_LIST(SL_STATUS_ENUM)
#undef SL_STATUS_ENUM
};

/* Largest magnitude that the wire can carry. */
#define SL_STATUS_MAX 2047

#endif
