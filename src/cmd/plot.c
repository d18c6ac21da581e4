/* moelab plot NAME --sweep S */
#include <stdio.h>
#include <stdlib.h>

#include "cmd/cmd.h"
#include "report/arguments.h"
#include "report/plot.h"

static int usage(FILE *f, int code)
{
	fprintf(f, "usage: moelab plot NAME --sweep S [options]\n"
		"  --x AXIS         tokens, steps, seconds, flops; default tokens\n"
		"  --format F       svg, png, pdf, term; default: by the name given with -o, else svg\n"
		"%splots go to plots/SWEEP/ unless -o names another place:\n", arguments_help);
	for (int i = 0; plots[i]; i++)
		fprintf(f, "  %-16s %s\n", plots[i]->name, plots[i]->help);
	return code;
}

static const struct chart_format *format_of(const struct arguments *a)
{
	if (a->format)
		return chart_format_find(a->format);
	for (const struct chart_format *f = chart_formats; a->output && f->name; f++)
		if (*f->suffix && str_ends(a->output, f->suffix))
			return f;
	return chart_format_find("svg");
}

static int draw(const struct arguments *a, const struct study *s, const struct chart *c,
	const struct chart_format *f)
{
	char *path = a->output ? xstrdup(a->output) : xasprintf("plots/%s/%s", s->sweep.name, c->name);
	int code = chart_write(c, f, path);

	if (!code && *f->suffix)
		info("%s%s", path, str_ends(path, f->suffix) ? "" : f->suffix);
	free(path);
	return code;
}

static int show(const struct arguments *a, const struct plot *p, const struct plot_options *o,
	const struct chart_format *f)
{
	struct study s;
	struct chart c;
	struct db db;
	int code = arguments_open(a, &db, &s);

	if (code)
		return code;
	for (int i = 0; i < s.notes.n; i++)
		if (s.notes.items[i].kind != NOTE_PLAIN)
			warning("%s", s.notes.items[i].text);
	code = plot_make(p, &s, o, &c) ? EXIT_USAGE : draw(a, &s, &c, f);
	chart_release(&c);
	arguments_close(&db, &s);
	return code;
}

static int run(int argc, char **argv)
{
	const struct chart_format *format;
	const struct plot *plot;
	struct arguments a;

	if (arguments_parse(&a, argc, argv))
		return EXIT_USAGE;
	if (a.help || !a.name)
		return usage(a.help ? stdout : stderr, a.help ? EXIT_DONE : EXIT_USAGE);
	int x = axis_find(a.axis);
	if (x < 0) {
		error("--x %s: axes are steps, tokens, flops, seconds", a.axis);
		return EXIT_USAGE;
	}
	plot = plot_find(a.name);
	format = format_of(&a);
	return plot && format ? show(&a, plot, &(struct plot_options){.x = (enum axis)x}, format) : EXIT_USAGE;
}

const struct cmd cmd_plot = {
	.name = "plot",
	.arguments = "NAME --sweep S [--x AXIS] [--format svg|png|pdf|term] [-o FILE]",
	.help = "draw a plot of a sweep",
	.run = run,
};
