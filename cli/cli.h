/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The commands. Each takes argv with its own name first and returns an exit
 * code of out.h.
 */
#ifndef SLUICE_CLI_CLI_H
#define SLUICE_CLI_CLI_H

int cmd_put(int argc, char **argv);
int cmd_get(int argc, char **argv);
int cmd_rm(int argc, char **argv);
int cmd_ls(int argc, char **argv);
int cmd_stat(int argc, char **argv);
int cmd_mv(int argc, char **argv);
int cmd_query(int argc, char **argv);
int cmd_tag(int argc, char **argv);
int cmd_compress(int argc, char **argv);
int cmd_decompress(int argc, char **argv);
int cmd_target(int argc, char **argv);
int cmd_demo(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_fsck(int argc, char **argv);

#endif
