/* SPDX-License-Identifier: Apache-2.0 */
/* `sluice`: finds the command and hands over. */
#include "cli.h"
#include "out.h"
#include "sluice/sluice.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *text;
} commands[] = {
    {"put", cmd_put, "store a file as a blob, or a range of one"},
    {"get", cmd_get, "write a blob, or a range of one, to a file"},
    {"rm", cmd_rm, "delete a blob or a whole tag"},
    {"mv", cmd_mv, "give a blob another name"},
    {"ls", cmd_ls, "list tags, or the blobs of a tag"},
    {"stat", cmd_stat, "show what is known of a blob or a tag"},
    {"tag", cmd_tag, "list, make, delete and show tags"},
    {"query", cmd_query, "find tags and blobs by regular expression"},
    {"compress", cmd_compress, "compress a file to a .lz4 frame"},
    {"decompress", cmd_decompress, "read a .lz4 file"},
    {"target", cmd_target, "list, add, score and remove targets"},
    {"demo", cmd_demo, "put and get a directory from a kernel, and compare"},
    {"bench", cmd_bench, "measure the limits and Sluice in one run"},
    {"fsck", cmd_fsck, "check a store that nobody has open, and mend it"},
    {"doctor", cmd_doctor, "show what this machine offers, and why not more"},
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static int help(void)
{
    puts("Usage: sluice COMMAND [OPTION]... [ARGUMENT]...\n"
         "Named blobs, put and got by GPU kernels and host threads.\n");
    for (size_t i = 0; i < COMMANDS; i++)
        printf("  %-10s %s\n", commands[i].name, commands[i].text);
    puts("\n  --help     this text; 'sluice COMMAND --help' for a command\n"
         "  --version  the version\n\n"
         "Exit code: 0 done, 1 the operation failed, 2 wrong usage.");
    return out_done();
}

/* A closed standard descriptor would go to the next file that is opened, and
 * what is printed into the store. One that is open the other way round fails
 * each read or write as a closed one does. */
static int hold_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            return OUT_FAILED;
    return OUT_OK;
}

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : NULL;
    /* Nothing is said: there may be nowhere to say it. */
    if (hold_descriptors())
        return OUT_FAILED;
    /* A closed pipe is an error of a write, with a line and a code. */
    signal(SIGPIPE, SIG_IGN);
    if (!word)
        return out_usage("no command");
    if (!strcmp(word, "--help") || !strcmp(word, "-h"))
        return help();
    if (!strcmp(word, "--version")) {
        printf("sluice %s\n", sl_version());
        return out_done();
    }
    if (word[0] == '-')
        return out_usage("unknown option '%s'", word);
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(word, commands[i].name) != 0)
            continue;
        out_command(commands[i].name);
        return commands[i].run(argc - 1, argv + 1);
    }
    return out_usage("unknown command '%s'", word);
}
