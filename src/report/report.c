#include "report/report.h"

#include "base/path.h"
#include "report/plot.h"
#include "report/table.h"

#include <stdlib.h>
#include <string.h>

static int write_file(
	const char *folder, const char *stem, const char *suffix, const struct str *text)
{
	char *path = xasprintf("%s/%s%s", folder, stem, suffix);
	int result = path_write(path, text->text, text->length);

	free(path);
	return result;
}

/* --- tables ---------------------------------------------------------------------------------- */

static int write_forms(const struct grid *g, const char *folder, const char *stem)
{
	int result = 0;

	for (const struct grid_format *f = grid_formats; f->name && !result; f++) {
		struct str text;
		if (!strcmp(f->name, "html"))
			continue;
		str_init(&text);
		f->render(g, &text);
		result = write_file(folder, stem, f->suffix, &text);
		str_release(&text);
	}
	return result;
}

/* The files carry the study's notes; of those on the page a study may have them once, at its head. */
static int add_table(struct str *page, struct study *s, const struct table *t, const char *name,
	bool with_notes, const char *folder)
{
	const char *stem = arena_printf(&s->arena, "tables/%s", name);
	struct grid g;
	int result;

	if (!table_applies(t, s))
		return 0;
	result = table_make(t, s, true, &g) || write_forms(&g, folder, stem);
	grid_release(&g);
	if (result)
		return -1;
	result = table_make(t, s, with_notes, &g);
	page_section(page, t->help);
	if (!result)
		grid_format_find("html")->render(&g, page);
	page_table_links(page, stem);
	grid_release(&g);
	return result;
}

/* --- plots ----------------------------------------------------------------------------------- */

/* What stands on the page: plots, some along several axes. */
static const struct view {
	const char *plot, *stem;
	enum axis x;
} more_views[] = {
	{"loss", "loss-steps", AXIS_STEPS},
	{"loss", "loss-flops", AXIS_FLOPS},
	{"loss", "loss-seconds", AXIS_SECONDS},
	{"speedup", "speedup-flops", AXIS_FLOPS},
};

static int add_plot(struct str *page, struct study *s, const struct plot *p, const struct view *v,
	const struct look *look, const char *folder)
{
	const struct chart_format *svg = chart_format_find("svg");
	const struct plot_options options = {.x = v->x, .look = look};
	char *path = xasprintf("%s/%s.svg", folder, v->stem), *drawn = NULL;
	struct chart c;
	int result = EXIT_ENVIRONMENT;

	if (!plot_make(p, s, &options, &c))
		result = chart_write(&c, svg, path);
	if (!result)
		drawn = path_read(path, NULL);
	page_figure(page, drawn, v->stem, c.caption);
	chart_release(&c);
	free(drawn);
	free(path);
	return result;
}

/* The next plot by place, NULL after the last. */
static const struct plot *plot_after(int place)
{
	const struct plot *next = NULL;

	for (int i = 0; plots[i]; i++)
		if (plots[i]->place > place && (!next || plots[i]->place < next->place))
			next = plots[i];
	return next;
}

/* Stops at the first figure that cannot be drawn: the next ones could not either. */
static int add_plots(
	struct str *page, struct study *s, const struct look *look, const char *folder)
{
	int result = 0;

	page_section(page, "figures");
	str_add(page, "<div class=\"figures\">\n");
	for (const struct plot *p = plot_after(0); p && !result; p = plot_after(p->place)) {
		if (!plot_applies(p, s))
			continue;
		struct view first = {.plot = p->name, .stem = p->name, .x = AXIS_TOKENS};
		result = add_plot(page, s, p, &first, look, folder);
		for (int k = 0; k < (int)ARRAY_SIZE(more_views) && !result; k++)
			if (!strcmp(more_views[k].plot, p->name))
				result = add_plot(page, s, p, &more_views[k], look, folder);
	}
	str_add(page, "</div>\n");
	return result;
}

static const struct table *table_after(int place)
{
	const struct table *next = NULL;

	for (int i = 0; tables[i]; i++)
		if (tables[i]->place > place && (!next || tables[i]->place < next->place))
			next = tables[i];
	return next;
}

/* --- trials ---------------------------------------------------------------------------------- */

/* A study of its own: seeds and split are others than those of the sweep that chose by it. */
static int add_trials(struct str *page, struct study *s, int sweep, const struct look *look,
	const char *folder, int *drawn)
{
	const char *name = sweep ? arena_printf(&s->arena, "tune-%d", sweep + 1) : "tune";
	const struct view view = {.plot = "tune", .stem = name, .x = AXIS_TOKENS};
	const char *of = study_trials(s, &s->sweeps[sweep]);
	struct study trials;
	int result;

	if (!of)
		return 0;
	if (study_open(&trials, s->db, of, &(struct study_options){.force = true}))
		return -1;
	result = add_table(page, &trials, table_find("tune"), name, true, folder);
	if (!result && !*drawn) {
		str_add(page, "<div class=\"figures\">\n");
		*drawn = add_plot(page, &trials, plot_find("tune"), &view, look, folder);
		str_add(page, "</div>\n");
	}
	study_close(&trials);
	return result;
}

/* --- the page -------------------------------------------------------------------------------- */

static int add_all(struct str *page, struct study *s, const struct look *look, const char *folder,
	int *drawn)
{
	const struct table *first = table_after(0);

	if (add_table(page, s, first, first->name, false, folder))
		return -1;
	*drawn = add_plots(page, s, look, folder);
	for (const struct table *t = table_after(first->place); t; t = table_after(t->place))
		if (add_table(page, s, t, t->name, false, folder))
			return -1;
	for (int i = 0; i < s->n_sweeps; i++)
		if (add_trials(page, s, i, look, folder, drawn))
			return -1;
	page_section(page, "runs");
	return page_runs(page, s, folder);
}

int report_write(struct study *s, const char *folder, const struct look *look)
{
	struct str page;
	int drawn = 0, result = -1;

	if (path_mkdirs(arena_printf(&s->arena, "%s/tables", folder)))
		return EXIT_ENVIRONMENT;
	str_init(&page);
	page_begin(&page, s);
	page_notes(&page, &s->notes, NOTE_STAMP);
	page_notes(&page, &s->notes, NOTE_WARNING);
	page_notes(&page, &s->notes, NOTE_PLAIN);
	if (!add_all(&page, s, look, folder, &drawn)) {
		page_section(&page, "provenance");
		page_provenance(&page, s);
		page_end(&page);
		result = write_file(folder, "index", ".html", &page);
	}
	str_release(&page);
	return result ? EXIT_ENVIRONMENT : drawn;
}
