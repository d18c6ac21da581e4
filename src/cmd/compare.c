/* moelab compare A B: two runs of the same batches, pair by pair: where they part, how far. */
#include <stdio.h>

#include "cmd/diff.h"
#include "report/paired.h"

extern const struct cmd cmd_compare;

static void print(const struct lab *lab, const struct grid *curves, const struct grid *config)
{
	const char *name = lab->json ? "json" : lab->format;
	const struct grid_format *format = grid_format_find(name);
	bool json = str_ends(format->suffix, "json");
	struct str text;

	str_init(&text);
	str_add(&text, json ? "{\"curves\": " : "");
	format->render(curves, &text);
	str_add(&text, json ? ", \"config\": " : "\n");
	if (json || config->n_rows)
		format->render(config, &text);
	str_add(&text, json ? "}\n" : "");
	fwrite(text.text, 1, text.length, stdout);
	str_release(&text);
}

static int draw(struct lab *lab, const struct run_row *ab, const char *path,
	const struct chart_format *format)
{
	struct chart c;
	int code;

	code = paired_chart(&lab->db, ab, &c) ? EXIT_USAGE : chart_write(&c, format, path);
	chart_release(&c);
	if (!code)
		info("%s", path);
	return code;
}

static int compare(struct lab *lab, const struct run_row *ab, const char *path)
{
	const struct chart_format *format = chart_format_of(path);
	struct grid curves, config;
	int code = EXIT_ENVIRONMENT;

	if (!format)
		return EXIT_USAGE;
	grid_init(&curves, "compare");
	diff_begin(lab, ab, &config);
	if (!paired_table(&lab->db, ab, &curves) && !diff_config(lab, ab, &config)) {
		print(lab, &curves, &config);
		code = lab_flush();
	}
	grid_release(&curves);
	grid_release(&config);
	return code || !path ? code : draw(lab, ab, path, format);
}

static int run(int argc, char **argv)
{
	struct lab lab = LAB_NEW;
	const char *path = NULL;
	const struct option_row rows[] = {
		LAB_FORM(lab), LAB_DB(lab),
		{"output", 'o', "FILE", "draw the difference there: .svg, .png or .pdf",
			.text = &path},
		{0},
	};
	struct arguments a;
	struct run_row ab[2];
	int ret = lab_begin(&lab, &cmd_compare, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	ret = diff_runs(&lab, &a, ab) ? EXIT_USAGE : compare(&lab, ab, path);
	lab_end(&lab);
	return ret;
}

const struct cmd cmd_compare = {
	.name = "compare",
	.arguments = "RUN RUN [-o FILE]",
	.help = "where two runs of the same batches part, and how far: paired losses",
	.run = run,
};
