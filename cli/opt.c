/* SPDX-License-Identifier: Apache-2.0 */
#include "opt.h"

#include "out.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#define OPT_MAX 24
/* Values of getopt_long, beyond every character and every index. */
#define OPT_HELP 1000
#define OPT_VERBOSE 1001
#define OPT_FIRST 2000

static int store_number(const struct opt *o, const char *text)
{
    uint64_t v, *to = o->to;
    int bad = o->kind == OPT_SIZE ? out_parse_size(text, &v)
                                  : out_parse_number(text, &v);
    if (bad)
        return out_usage("option '--%s': '%s' is not a %s", o->name, text,
                         o->kind == OPT_SIZE ? "size" : "number");
    if (v < o->min || (o->max && v > o->max))
        return out_usage("option '--%s': %s is not in %llu to %llu", o->name,
                         text, (unsigned long long)o->min,
                         (unsigned long long)(o->max ? o->max : UINT64_MAX));
    *to = v;
    return 0;
}

static int store(const struct opt *o, const char *text)
{
    if (o->seen)
        *o->seen = 1;
    switch (o->kind) {
    case OPT_FLAG:
        *(int *)o->to = 1;
        return 0;
    case OPT_TEXT:
        *(const char **)o->to = text;
        return 0;
    case OPT_SIZE:
    case OPT_NUMBER:
        break;
    }
    return store_number(o, text);
}

/* ":hv" and the letters of the set, with a colon behind those that take a
 * value; `to` has room for 2 of each. */
static void fill_letters(const struct opt_set *set, char *to)
{
    *to++ = ':';
    *to++ = 'h';
    *to++ = 'v';
    for (size_t i = 0; i < set->n; i++) {
        if (!set->opts[i].letter)
            continue;
        *to++ = set->opts[i].letter;
        if (set->opts[i].kind != OPT_FLAG)
            *to++ = ':';
    }
    *to = 0;
}

/* The option of a letter; null when there is none. */
static const struct opt *of_letter(const struct opt_set *set, int c)
{
    for (size_t i = 0; i < set->n; i++)
        if (set->opts[i].letter && set->opts[i].letter == c)
            return &set->opts[i];
    return NULL;
}

static void fill(const struct opt_set *set, struct option *list)
{
    size_t i;
    for (i = 0; i < set->n; i++) {
        list[i].name = set->opts[i].name;
        list[i].has_arg =
            set->opts[i].kind == OPT_FLAG ? no_argument : required_argument;
        list[i].flag = NULL;
        list[i].val = OPT_FIRST + (int)i;
    }
    list[i++] = (struct option){"help", no_argument, NULL, OPT_HELP};
    list[i++] = (struct option){"verbose", no_argument, NULL, OPT_VERBOSE};
    list[i] = (struct option){NULL, 0, NULL, 0};
}

/* getopt_long tells an unknown letter, an unknown word and a surplus value
 * apart only by optopt. */
static int mistake(const struct opt_set *set, int c, char **argv)
{
    const char *word = argv[optind - 1];
    if (c == ':')
        return out_usage("option '%s' needs a value", word);
    if (optopt >= OPT_FIRST && (size_t)(optopt - OPT_FIRST) < set->n)
        return out_usage("option '--%s' takes no value",
                         set->opts[optopt - OPT_FIRST].name);
    if (optopt > 0 && optopt < OPT_HELP)
        return out_usage("unknown option '-%c'", optopt);
    return out_usage("unknown or ambiguous option '%s'", word);
}

static int count(const struct opt_set *set, int given)
{
    if (given < set->min_args)
        return out_usage("%d argument%s missing", set->min_args - given,
                         set->min_args - given == 1 ? " is" : "s are");
    if (given > set->max_args)
        return out_usage("%d argument%s too many", given - set->max_args,
                         given - set->max_args == 1 ? " is" : "s are");
    return 0;
}

int opt_parse(const struct opt_set *set, int argc, char **argv, int *first)
{
    struct option list[OPT_MAX + 3];
    char letters[2 * OPT_MAX + 4];
    int c, rc = 0, verbose = 0;
    if (set->n > OPT_MAX)
        return out_fail("more options than OPT_MAX");
    fill(set, list);
    fill_letters(set, letters);
    opterr = 0;
    optind = 1;
    while (!rc && (c = getopt_long(argc, argv, letters, list, NULL)) != -1) {
        if (c == 'h' || c == OPT_HELP) {
            fputs(set->help, stdout);
            return out_done();
        }
        if (c == 'v' || c == OPT_VERBOSE)
            verbose = 1;
        else if (c >= OPT_FIRST)
            rc = store(&set->opts[c - OPT_FIRST], optarg);
        else if (of_letter(set, c))
            rc = store(of_letter(set, c), optarg);
        else
            rc = mistake(set, c, argv);
    }
    if (!rc)
        rc = count(set, argc - optind);
    if (rc)
        return rc;
    out_log_start(verbose);
    *first = optind;
    return OPT_GO;
}

/* strtof takes words too, "nan" among them. */
int opt_score(const char *text, float *out)
{
    char *end = NULL;
    *out = text ? strtof(text, &end) : -1.0f;
    if (text && (end == text || *end))
        return out_usage("option '--score': '%s' is not a number", text);
    if (*out == -1.0f || (*out >= 0.0f && *out <= 1.0f))
        return 0;
    return out_usage("option '--score': %s is not -1 and not in 0 to 1", text);
}
