/* moelab plot NAME: a figure of a sweep, with its data and script beside it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "cmd/study_options.h"
#include "report/plot.h"
#include "show/grid.h"

extern const struct cmd cmd_plot;

static void print_plots(FILE *f)
{
	fprintf(f, "\nplots, drawn into plots/SWEEP/ unless -o names another place:\n");
	for (int i = 0; plots[i]; i++)
		fprintf(f, "  %-12s %s\n", plots[i]->name, plots[i]->help);
}

/* Where things go; NULL: the usual place. */
struct places {
	const char *figure, *caption;
	bool no_caption;
};

/* For LaTeX: the caption escaped, what follows it as comments. */
static void latex_lines(struct str *out, const char *caption)
{
	char *copy = xstrdup(caption), *rest = copy;

	for (char *line = strsep(&rest, "\n"); line; line = strsep(&rest, "\n"))
		if (*line) {
			str_add(out, line == copy ? "" : "% ");
			latex_text(out, line);
			str_add(out, "\n");
		}
	free(copy);
}

static int put_caption(const char *caption, const char *path)
{
	struct str text;
	int failed;

	if (!strcmp(path, "-")) {
		fputs(caption, stdout);
		return 0;
	}
	str_init(&text);
	if (str_ends(path, ".tex"))
		latex_lines(&text, caption);
	else
		str_add(&text, caption);
	failed = path_write(path, text.text, text.length);
	str_release(&text);
	return failed;
}

static int draw(const struct study *s, struct chart *c, const struct chart_format *f,
	const struct places *at)
{
	const char *caption = c->caption;
	char *place = at->figure ? chart_file(f, at->figure)
				 : xasprintf("plots/%s/%s%s", s->name, c->name, f->suffix);

	if (at->no_caption || at->caption)
		c->caption = NULL; /* none beside the figure */
	int code = chart_write(c, f, place);
	if (!code && *f->suffix)
		info("%s", place);
	if (!code && at->caption && put_caption(caption, at->caption))
		code = EXIT_ENVIRONMENT;
	free(place);
	return code;
}

static int show(const struct study_query *q, const struct plot *p, const struct plot_options *o,
	const struct chart_format *f, const struct places *at)
{
	struct study s;
	struct chart c;
	struct db db;
	int code = study_begin(&s, &db, q);

	if (code)
		return code;
	for (int i = 0; i < s.notes.n; i++)
		verbose("%s%s", note_mark[s.notes.items[i].kind], s.notes.items[i].text);
	code = plot_make(p, &s, o, &c) ? EXIT_USAGE : draw(&s, &c, f, at);
	chart_release(&c);
	study_end(&s, &db);
	return code;
}

static int check_together(
	const struct chart_format *f, const struct look_words *words, const struct places *at)
{
	if (at->caption && at->no_caption)
		return error("--caption and --no-caption exclude each other");
	if (!*f->suffix && (words->size || words->font || at->figure))
		return error("--size, --font and -o do not go with a terminal");
	for (const struct chart_format *other = chart_formats; at->figure && other->name; other++)
		if (other != f && *other->suffix && str_ends_nocase(at->figure, other->suffix))
			return error("--format %s: the name after -o ends in %s", f->name,
				other->suffix);
	return 0;
}

static int run(int argc, char **argv)
{
	struct study_query query = {.db = "results/lab.db"};
	struct look_words words = {.size = NULL};
	struct look look;
	const char *axis = "tokens", *format = NULL;
	struct places at = {.figure = NULL};
	const struct option_row rows[] = {
		STUDY_ROWS(query),
		{"x", 0, "AXIS", "tokens, steps, flops or seconds (default tokens)", .text = &axis},
		{"format", 0, "FORM",
			"svg, png, pdf or term (default: by the name after -o, else svg)",
			.text = &format},
		{"output", 'o', "FILE", "draw there", .text = &at.figure},
		LOOK_ROWS(words),
		{"xrange", 0, "A:B", "of the x axis; A or B may be left out",
			.text = &words.x_range},
		{"yrange", 0, "A:B", "of the y axis, of the first panel", .text = &words.y_range},
		{"log", 0, "AXES", "logarithmic axes: x, y, xy or none", .text = &words.log},
		{"xtitle", 0, "TEXT", "of the x axis, or none", .text = &words.x_title},
		{"ytitle", 0, "TEXT", "of the y axis, of the first panel, or none",
			.text = &words.y_title},
		{"title", 0, "TEXT", "instead of the plot's own; none: no title and no subtitle",
			.text = &words.title},
		{"caption", 0, "FILE",
			"its caption there (LaTeX for .tex; -: stdout), not beside it",
			.text = &at.caption},
		{"no-caption", 0, NULL, "no caption in a file beside it", .flag = &at.no_caption},
		{0},
	};
	struct arguments a;
	int ret = options_parse(&cmd_plot, rows, argc, argv, &a), x = axis_find(axis);

	if (ret == EXIT_DONE || (ret == GO_ON && !a.n_words && !a.n_overrides))
		print_plots(ret == EXIT_DONE ? stdout : stderr);
	if (ret != GO_ON)
		return ret;
	if (a.n_words != 1 || a.n_overrides)
		return error("plot takes one name: moelab plot loss --sweep S"), EXIT_USAGE;
	if (x < 0)
		return error("--x takes tokens, steps, flops or seconds, not \"%s\"", axis), EXIT_USAGE;
	const struct plot *p = plot_find(a.words[0]);
	const struct chart_format *f =
		format ? chart_format_find(format) : chart_format_of(at.figure);
	if (!p || !f || look_read(&look, &words) || check_together(f, &words, &at))
		return EXIT_USAGE;
	const struct plot_options options = {.x = (enum axis)x, .look = &look};
	return show(&query, p, &options, f, &at);
}

const struct cmd cmd_plot = {
	.name = "plot",
	.arguments = "NAME --sweep S [--x AXIS] [--format svg|png|pdf|term] [--size WxH] [-o FILE]",
	.help = "draw a plot of a sweep",
	.run = run,
};
