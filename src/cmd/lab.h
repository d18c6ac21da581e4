/* What commands that look into the database share. */
#ifndef CMD_LAB_H
#define CMD_LAB_H

#include "cmd/options.h"
#include "show/grid.h"
#include "store/query.h"

struct lab {
	struct db db;
	struct arena arena;
	/* from the options */
	const char *path, *format;
	bool json;
};
#define LAB_NEW {.path = "results/lab.db", .format = "md"}

/* Rows of an option table: where the database is; in what form a table is printed. */
#define LAB_DB(lab) {"db", 0, "FILE", "database (default results/lab.db)", .text = &(lab).path}
#define LAB_FORM(lab)                                                                              \
	{"format", 0, "FORM", "md, csv, json, latex or html (default md)", .text = &(lab).format}, \
	{"json", 0, NULL, "the same as --format json", .flag = &(lab).json}

/* Options, then the database for reading (store/refresh.h). GO_ON, or the exit code of a command that is over. */
int lab_begin(struct lab *lab, const struct cmd *cmd, const struct option_row *rows, int argc,
	char **argv, struct arguments *a);
void lab_end(struct lab *lab);

/* How one run is named (store/query.h), for messages. */
#define RUN_WORDS "label, LABEL-sSEED, first digits of its identity, or directory"

/* Selectors: words and key=value in one list, in the arena. */
struct selection lab_selection(struct lab *lab, const struct arguments *a, const char *where);
/* The grid in the form asked for, on stdout; releases it. An exit code. */
int lab_print(const struct lab *lab, struct grid *g);
/* What was printed so far is out; or EXIT_ENVIRONMENT after a message, once. main() ends with it. */
int lab_flush(void);

#endif
