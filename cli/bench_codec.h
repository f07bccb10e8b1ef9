/* SPDX-License-Identifier: Apache-2.0 */
/** @file `sluice bench codec`, which needs no device and no runtime. */
#ifndef SLUICE_CLI_BENCH_CODEC_H
#define SLUICE_CLI_BENCH_CODEC_H

/** Exit code. */
int bench_codec(int json);

#endif
