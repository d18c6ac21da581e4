/* moelab table NAME --sweep S */
#include <stdio.h>

#include "base/path.h"
#include "cmd/cmd.h"
#include "report/arguments.h"
#include "report/table.h"

static int usage(FILE *f, int code)
{
	fprintf(f, "usage: moelab table NAME --sweep S [options]\n"
		"  --format F       md, csv, json, latex, html; default md\n%stables:\n", arguments_help);
	for (int i = 0; tables[i]; i++)
		fprintf(f, "  %-16s %s\n", tables[i]->name, tables[i]->help);
	return code;
}

static int put(const struct grid *g, const struct grid_format *f, const char *path)
{
	struct str text;
	int failed;

	str_init(&text);
	f->render(g, &text);
	if (path)
		failed = path_write(path, text.text, text.length);
	else
		failed = fputs(text.text, stdout) < 0 || fflush(stdout);
	str_release(&text);
	return failed ? EXIT_ENVIRONMENT : EXIT_DONE;
}

static int show(const struct arguments *a, const struct table *t, const struct grid_format *f)
{
	struct study s;
	struct grid g;
	struct db db;
	int code = arguments_open(a, &db, &s);

	if (code)
		return code;
	code = table_make(t, &s, true, &g) ? EXIT_USAGE : put(&g, f, a->output);
	grid_release(&g);
	arguments_close(&db, &s);
	return code;
}

static int run(int argc, char **argv)
{
	const struct grid_format *format;
	const struct table *table;
	struct arguments a;

	if (arguments_parse(&a, argc, argv))
		return EXIT_USAGE;
	if (a.help || !a.name)
		return usage(a.help ? stdout : stderr, a.help ? EXIT_DONE : EXIT_USAGE);
	table = table_find(a.name);
	format = grid_format_find(a.format ? a.format : "md");
	return table && format ? show(&a, table, format) : EXIT_USAGE;
}

const struct cmd cmd_table = {
	.name = "table",
	.arguments = "NAME --sweep S [--format md|csv|json|latex]",
	.help = "print a table of a sweep",
	.run = run,
};
