/* moelab report: a page with all tables and figures of a sweep. */
#include <stdio.h>
#include <stdlib.h>

#include "cmd/study_options.h"
#include "report/report.h"

extern const struct cmd cmd_report;

static int write_report(const struct study_query *q, const struct look *look, const char *path)
{
	struct study s;
	struct db db;
	int code = study_begin(&s, &db, q);

	if (code)
		return code;
	char *folder = path ? xstrdup(path) : xasprintf("plots/%s", s.name);
	code = report_write(&s, folder, look);
	if (!code)
		info("%s/index.html", folder);
	free(folder);
	study_end(&s, &db);
	return code;
}

static int run(int argc, char **argv)
{
	struct study_query query = {.db = "results/lab.db"};
	struct look_words words = {.size = NULL};
	struct look look;
	const char *path = NULL;
	const struct option_row rows[] = {
		STUDY_ROWS(query),
		LOOK_ROWS(words),
		{"output", 'o', "FOLDER", "default plots/SWEEP", .text = &path},
		{0},
	};
	struct arguments a;
	int ret = options_parse(&cmd_report, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	if (a.n_words || a.n_overrides)
		return error("report takes options only: moelab report --sweep S"), EXIT_USAGE;
	return look_read(&look, &words) ? EXIT_USAGE : write_report(&query, &look, path);
}

const struct cmd cmd_report = {
	.name = "report",
	.arguments = "--sweep S [-o FOLDER]",
	.help = "a sweep on one page that needs no other file, with all tables and plots beside it",
	.run = run,
};
