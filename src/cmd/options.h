/*
 * Options of a command, declared in a table from which parsing and help both come. Options and
 * arguments may be mixed; `--` ends options. key=value arguments are split from the others.
 */
#ifndef CMD_OPTIONS_H
#define CMD_OPTIONS_H

#include <stdbool.h>

#include "base/str.h"
#include "cmd/cmd.h"

struct option_row {
	const char *name;	/* "threads", for --threads; NULL ends the table */
	char letter;		/* 'T' for -T, or 0 */
	const char *value;	/* what the help calls the value, "N"; NULL: a switch. FILE, DIR and
				   FOLDER are not empty; "-" as the value of -o is standard output */
	const char *help;
	bool *flag;		/* a switch: set to true */
	const char **text;	/* one of these four for a value */
	struct texts *texts;	/* may be given several times */
	long *number;		/* >= 0 */
	double *real;		/* finite */
};

struct arguments {
	const char **words;		/* without options and key=value */
	int n_words;
	const char **overrides;		/* key=value, in order */
	int n_overrides;
};

enum { GO_ON = -2 };	/* none of the exit codes, nor what error() gives */

/* Every command knows -h, -q, -v and --no-color besides its rows. GO_ON, or the exit code of a command that is over:
   EXIT_DONE, help was printed, or EXIT_USAGE after a message. The arrays lie in argv, which is sorted. */
int options_parse(const struct cmd *cmd, const struct option_row *rows, int argc, char **argv,
	struct arguments *a);

#endif
