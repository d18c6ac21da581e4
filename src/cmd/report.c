/* moelab report --sweep S */
#include <stdio.h>
#include <stdlib.h>

#include "cmd/cmd.h"
#include "report/arguments.h"
#include "report/report.h"

static int usage(FILE *f, int code)
{
	fprintf(f, "usage: moelab report --sweep S [options]\n"
		"One page index.html that needs no other file, and every table and plot beside it, in the\n"
		"folder given with -o or in plots/SWEEP/.\n%s", arguments_help);
	return code;
}

static int run(int argc, char **argv)
{
	struct arguments a;
	struct study s;
	struct db db;

	if (arguments_parse(&a, argc, argv))
		return EXIT_USAGE;
	if (a.help || a.name || a.format)
		return usage(a.help ? stdout : stderr, a.help ? EXIT_DONE : EXIT_USAGE);
	int code = arguments_open(&a, &db, &s);
	if (code)
		return code;
	char *folder = a.output ? xstrdup(a.output) : xasprintf("plots/%s", s.sweep.name);
	code = report_write(&s, folder);
	if (!code)
		info("%s/index.html", folder);
	free(folder);
	arguments_close(&db, &s);
	return code;
}

const struct cmd cmd_report = {
	.name = "report",
	.arguments = "--sweep S [-o FOLDER]",
	.help = "write a sweep's report: one page, all tables and plots",
	.run = run,
};
