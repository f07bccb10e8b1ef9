/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Which codec pays for these bytes on that target.
 *
 * The cost of a codec is the time to code, to write, and to read back and
 * decode: see codec_cost. Windows of the data are coded with the codec that
 * looks cheapest; what it came to corrects the picture, until the cheapest is
 * one that was tried, and other places of the data bear it out. The looking takes at most about 5 % of the time that
 * storing takes; where the target is so fast that not even that pays, nothing is
 * looked at.
 */
#ifndef SLUICE_CODEC_CHOOSE_H
#define SLUICE_CODEC_CHOOSE_H

#include "codec/codec.h"

struct codec_goal {
    double write_bps; /* bytes a second that the target takes, > 0 */
    double read_bps;  /* that it gives, > 0 */
    double reads;     /* expected for each write; 1 is usual */
    uint32_t unit;    /* bytes coded at once; 0: all */
    uint32_t granule; /* stored bytes are rounded up to it; 0: 1 */
};

/**
 * Codec and preset as the byte of a put, never SL_CODEC_DYNAMIC;
 * SL_CODEC_NONE when no codec pays. Any thread; the first call of a process may
 * measure speeds (speed.h).
 */
uint8_t codec_choose(const void *data, size_t n, const struct codec_goal *goal);

/** Nanoseconds for each plain byte, when coding takes encode_ns and decode_ns
 *  and leaves `stored` (rounded, <= 1) of it. */
double codec_cost(const struct codec_goal *goal, double encode_ns,
                  double decode_ns, double stored);
/** Part of a unit that is stored when coded it is `stored` of it: rounded up to
 *  the granule; 1: raw. */
double codec_rounded(const struct codec_goal *goal, double stored);

#endif
