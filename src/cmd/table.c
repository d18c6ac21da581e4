/* moelab table NAME: a table of a sweep, to standard output. */
#include <stdio.h>

#include "base/path.h"
#include "base/str.h"
#include "cmd/calibrate.h"
#include "cmd/study_options.h"
#include "report/table.h"

extern const struct cmd cmd_table;

static void print_tables(FILE *f)
{
	fprintf(f, "\ntables:\n");
	for (int i = 0; tables[i]; i++)
		fprintf(f, "  %-12s %s\n", tables[i]->name, tables[i]->help);
}

/* By the ending of the file's name; Markdown if that tells nothing. */
static const char *format_of(const char *path)
{
	for (const struct grid_format *f = grid_formats; f->name && path; f++)
		if (str_ends(path, f->suffix))
			return f->name;
	return "md";
}

static int put(const struct grid *g, const struct grid_format *f, const char *path)
{
	struct str text;
	int failed = 0;

	str_init(&text);
	f->render(g, &text);
	if (path)
		failed = path_write(path, text.text, text.length);
	else
		fputs(text.text, stdout);
	str_release(&text);
	return failed ? EXIT_ENVIRONMENT : EXIT_DONE;
}

static int show(const struct study_query *q, const struct table *t, const char *columns, const struct grid_format *f,
	const char *path)
{
	struct study s;
	struct grid g;
	struct db db;
	int code = study_begin(&s, &db, q);

	if (code)
		return code;
	code = table_make(t, &s, true, &g) || (columns && grid_choose(&g, columns)) ? EXIT_USAGE : put(&g, f, path);
	grid_release(&g);
	study_end(&s, &db);
	return code;
}

static int run(int argc, char **argv)
{
	struct study_query query = {.db = "results/lab.db"};
	const char *format = NULL, *path = NULL, *columns = NULL;
	bool json = false, calibrated = false;
	long threads = 0;
	const struct option_row rows[] = {
		STUDY_ROWS(query),
		{"columns", 0, "A,B", "these alone, by name in CSV or by title, in this order", .text = &columns},
		{"format", 0, "FORM", "md, csv, json, latex or html (default: by the name after -o, else md)",
			.text = &format},
		{"json", 0, NULL, "the same as --format json", .flag = &json},
		{"output", 'o', "FILE", "write there", .text = &path},
		{"calibrate", 0, NULL, "first time a step of each configuration, alone and in turn; "
			"seconds come from it", .flag = &calibrated},
		{"threads", 'T', "T", "of --calibrate (default: all cores)", .number = &threads},
		{0},
	};
	struct arguments a;
	int ret = options_parse(&cmd_table, rows, argc, argv, &a);

	if (ret == EXIT_DONE || (ret == GO_ON && !a.n_words && !a.n_overrides))
		print_tables(ret == EXIT_DONE ? stdout : stderr);
	if (ret != GO_ON)
		return ret;
	if (a.n_words != 1 || a.n_overrides)
		return error("table takes one name: moelab table speedup --sweep S"), EXIT_USAGE;
	const struct table *t = table_find(a.words[0]);
	const struct grid_format *f = grid_format_find(json ? "json" : format ? format : format_of(path));
	if (!t || !f)
		return EXIT_USAGE;
	ret = calibrated ? calibrate(&query, threads) : EXIT_DONE;
	return ret ? ret : show(&query, t, columns, f, path);
}

const struct cmd cmd_table = {
	.name = "table",
	.arguments = "NAME --sweep S [--columns A,B] [--format md|csv|json|latex|html] [--calibrate]",
	.help = "print a table of a sweep",
	.run = run,
};
