/* The reference of all keys, made from the tables. */
#include <stdio.h>
#include <string.h>

#include "spec/schema.h"

static bool holds(const struct field_table *const *tables, const struct field_table *wanted)
{
	for (; tables && *tables; tables++)
		if (*tables == wanted)
			return true;
	return false;
}

static const char *type_name(enum field_type type)
{
	static const char *const names[] = {[FIELD_INT] = "whole",
		[FIELD_REAL] = "number",
		[FIELD_BOOL] = "true/false",
		[FIELD_CHOICE] = "word",
		[FIELD_TEXT] = "text",
		[FIELD_PATH] = "path",
		[FIELD_TREE] = "list/map"};

	return names[type];
}

static const char *allowed(const struct field *f, char *buffer, size_t size)
{
	if (f->type == FIELD_INT || f->type == FIELD_REAL)
		return field_range(f, buffer, size);
	snprintf(buffer, size, "%s", f->choices ? f->choices : "");
	return buffer;
}

static void print_row(const struct schema *s, const struct field *f, FILE *out)
{
	const char *initial = !f->initial ? "(required)" : *f->initial ? f->initial : "\"\"";
	char range[256];

	fprintf(out, "  %-28s %-10s %-12s %-26s %s%s\n", f->key, type_name(f->type), initial,
		allowed(f, range, sizeof range), f->help ? f->help : "",
		field_is_provenance(f) ? " [not in the identity]" : "");
	for (int i = 0; i < s->n_presets; i++)
		if (!strcmp(s->presets[i].key, f->key))
			fprintf(out, "  %-28s %-10s %-12s with %s: %s\n", "", "",
				s->presets[i].value, s->presets[i].when_key,
				s->presets[i].when_value);
}

static void print_table(const struct schema *s, const struct field_table *table, FILE *out)
{
	for (int i = 0; i < table->n; i++)
		print_row(s, &table->rows[i], out);
}

/* Does a choice before this one have the table, so that it is printed already? */
static bool printed(const struct schema *s, int i_choice, const struct field_table *table)
{
	for (int i = 0; i < i_choice; i++)
		if (holds(s->choices[i].tables, table))
			return true;
	return false;
}

static void print_choices(const struct schema *s, FILE *out)
{
	fprintf(out, "\n%s is one of:\n", s->selector);
	for (int i = 0; i < s->n_choices; i++)
		fprintf(out, "  %-28s %s\n", s->choices[i].name,
			s->choices[i].help ? s->choices[i].help : "");
}

/* Do the same choices have both tables? */
static bool alike(const struct schema *s, const struct field_table *a, const struct field_table *b)
{
	for (int i = 0; i < s->n_choices; i++)
		if (holds(s->choices[i].tables, a) != holds(s->choices[i].tables, b))
			return false;
	return true;
}

/* The tables of a choice that the same choices have as has the first one, under one heading. */
static void print_alike(const struct schema *s, int choice, const struct field_table *const *first, FILE *out)
{
	const char *between = " ";

	fprintf(out, "\nKeys of");
	for (int j = choice; j < s->n_choices; j++)
		if (holds(s->choices[j].tables, *first)) {
			fprintf(out, "%s%s", between, s->choices[j].name);
			between = ", ";
		}
	fprintf(out, ":\n");
	for (const struct field_table *const *t = first; *t; t++)
		if (alike(s, *t, *first))
			print_table(s, *t, out);
}

void spec_help(const struct schema *s, FILE *out)
{
	fprintf(out, "Keys of every spec:\n  %-28s %-10s %-12s %-26s %s\n", "key", "type",
		"default", "range", "meaning");
	for (const struct field_table *const *t = s->common; t && *t; t++)
		print_table(s, *t, out);
	print_choices(s, out);
	for (int i = 0; i < s->n_choices; i++) {
		const struct field_table *const *tables = s->choices[i].tables, *const *before;
		for (const struct field_table *const *t = tables; t && *t; t++) {
			for (before = tables; before < t && !alike(s, *before, *t); before++)
				;
			if (before == t && !printed(s, i, *t))
				print_alike(s, i, t, out);
		}
	}
}
