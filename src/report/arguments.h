/* The command line that table, plot and report share. */
#ifndef REPORT_ARGUMENTS_H
#define REPORT_ARGUMENTS_H

#include "report/study.h"

struct arguments {
	const char *name;		/* of the table or plot; NULL if none was given */
	const char *sweep, *db;		/* sweep NULL: the only one there is */
	const char *format, *output;	/* NULL: not given */
	const char *axis;		/* "tokens" unless given */
	struct study_options study;
	bool help;
};

/* -1 after a message. `usage` is named in it. */
int arguments_parse(struct arguments *a, int argc, char **argv);
extern const char arguments_help[];	/* the options, for usage texts */

/* Opens the database and the study. An exit code; both are closed by arguments_close(). */
int arguments_open(const struct arguments *a, struct db *db, struct study *s);
void arguments_close(struct db *db, struct study *s);

#endif
