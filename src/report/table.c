#include "report/table.h"

#include "report/caption.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define X(name) extern const struct table table_##name;
#include "table.inc"
#undef X

const struct table *const tables[] = {
#define X(name) &table_##name,
#include "table.inc"
#undef X
	NULL,
};

const struct table *table_find(const char *name)
{
	struct str names;

	for (int i = 0; tables[i]; i++)
		if (!strcmp(tables[i]->name, name))
			return tables[i];
	str_init(&names);
	for (int i = 0; tables[i]; i++)
		str_add_item(&names, "%s", tables[i]->name);
	error("unknown table \"%s\": tables are %s", name, names.text);
	str_release(&names);
	return NULL;
}

bool table_applies(const struct table *t, const struct study *s)
{
	return (!t->axis || study_has_axis(s, t->axis)) && (!t->applies || t->applies(s));
}

static int fill(const struct table *t, struct study *s, struct grid *g)
{
	const double *order = t->order ? t->order(s) : t->axis ? arms_numbers(s, t->axis) : NULL;

	if (t->title && t->of_losses)
		table_title(g, s, "%s (%s)", t->title, study_loss_unit(s));
	else if (t->title)
		table_title(g, s, "%s", t->title);
	if (t->columns)
		grid_columns(g, t->columns, t->n_columns);
	if (!t->fill)
		rows_of_arms(g, s, order ? study_rows(s, order) : NULL);
	else if (t->fill(s, g))
		return -1;
	for (int i = 0; i < (int)ARRAY_SIZE(t->notes) && t->notes[i]; i++)
		notes_add(&g->notes, NOTE_PLAIN, "%s", t->notes[i]);
	return 0;
}

int table_make(const struct table *t, struct study *s, bool with_notes, struct grid *g)
{
	struct str facts;

	grid_init(g, t->name);
	if (!table_applies(t, s))
		return error("table %s: sweep %s has no %s%s", t->name, s->name,
			t->axis ? "axis " : "", t->axis ? t->axis : t->needs);
	if (s->question)
		g->subtitle = arena_strdup(&g->arena, s->question);
	if (with_notes) {
		notes_copy(&g->notes, &s->notes);
		str_init(&facts);
		caption_facts(s, &facts);
		g->caption = str_keep(&facts, &g->arena);
	}
	return fill(t, s, g);
}

void table_title(struct grid *g, const struct study *s, const char *format, ...)
{
	double epochs = study_epochs(s);
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (epochs > 4)
		grid_title(g, "%s: %s, multi-epoch (%.1f)", s->name, text, epochs);
	else
		grid_title(g, "%s: %s", s->name, text);
}

void rows_of_arms(struct grid *g, struct study *s, const struct arm **arms)
{
	for (int i = 0; i < s->n_arms; i++)
		grid_fill(g, &(struct subject){.s = s, .v = arms ? arms[i] : &s->arms[i]});
	if (s->baseline)
		grid_fill_null(g, &(struct subject){.s = s});
}

void note_flops(struct grid *g, const struct study *s, const char *behind)
{
	notes_add(&g->notes, NOTE_PLAIN,
		"FLOPs are model FLOPs, forward and backward, %s the output head%s",
		s->options.no_head_flops ? "without" : "with", behind);
}
