/* A lab, its study, and a table of it as text. */
#ifndef TESTS_REPORT_SHOWN_H
#define TESTS_REPORT_SHOWN_H

#include "caught.h"

#include "lab.h"
#include "report/table.h"

/* One lab a test: runs, the table as text; the messages are in `caught`. */
struct shown {
	struct lab lab;
	struct study study;
	struct grid grid;
	struct str text;
	bool open;
};

static inline bool show_sweeps(struct shown *w, const char *sweeps, const char *table, const char *form,
	const struct study_options *o)
{
	catch_messages();
	str_init(&w->text);
	w->open = !study_open(&w->study, &w->lab.db, sweeps, o);
	if (!w->open)
		return false;
	bool made = !table_make(table_find(table), &w->study, true, &w->grid);
	if (made)
		grid_format_find(form)->render(&w->grid, &w->text);
	grid_release(&w->grid);
	return made;
}

static inline bool show_with(struct shown *w, const char *table, const char *form, const struct study_options *o)
{
	return show_sweeps(w, "sweeps/lab/one.yaml", table, form, o);
}

static inline void hide(struct shown *w)
{
	if (w->open)
		study_close(&w->study);
	str_release(&w->text);
	error_sink = NULL;
}

static inline bool show(struct shown *w, const struct lab_run *runs, int n, const char *table, const char *form)
{
	const struct study_options o = {.rule = NULL};

	lab_open(&w->lab, "mamba");
	lab_fill(&w->lab, runs, n);
	return show_with(w, table, form, &o);
}

static inline void end(struct shown *w)
{
	hide(w);
	lab_close(&w->lab);
}

/* The line of the text that begins with a name. */
static inline const char *line(const struct shown *w, const char *name, char *buffer, size_t size)
{
	for (const char *at = w->text.text; at; at = strchr(at, '\n')) {
		at += *at == '\n';
		const char *start = at + (str_starts(at, "| ") ? 2 : 0);
		if (str_starts(start, name) && strchr(" ,", start[strlen(name)])) {
			snprintf(buffer, size, "%.*s", (int)strcspn(at, "\n"), at);
			return buffer;
		}
	}
	fail_msg("no line %s in:\n%s", name, w->text.text);
	return NULL;
}

#define THREE(label_, fast_, ...)                                                                  \
	{.label = label_, .variant = label_, .seed = 1, .fast = fast_, __VA_ARGS__},              \
	{.label = label_, .variant = label_, .seed = 2, .fast = fast_, __VA_ARGS__},              \
	{.label = label_, .variant = label_, .seed = 3, .fast = fast_, __VA_ARGS__}

static inline void published(struct lab *lab, const char *label, const char *quantity, double value, const char *text)
{
	json_array_append_new(json_object_get(lab->sweep, "published"), json_pack("{s:s,s:s,s:o,s:s}",
		"label", label, "quantity", quantity, "value", isnan(value) ? json_null() : json_real(value),
		"text", text));
}

#endif
