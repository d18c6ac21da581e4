#include "spec/config.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "spec/settings.h"

/* A config on its way: one slot a row, with the setting that decided it (NULL: nobody set it). */
struct resolving {
	struct spec_reader *reader;
	const struct schema_choice *choice;
	struct field_rows rows;
	struct config_value *values;
	struct setting **from;
};

static int choose(struct spec_reader *r, struct settings *const *stack, int n, const char *file,
	const struct schema_choice **choice)
{
	const struct schema *s = r->schema;
	const struct field *field = rows_find(&r->rows, s->selector);
	const struct setting *found = NULL;
	struct config_value v;

	for (int i = n - 1; i >= 0 && !found; i--)
		found = settings_find(stack[i], s->selector);
	if (!found && !field->initial)
		return error("%s: key \"%s\" is missing (%s)", file, field->key, field->help);
	if (!found)
		value_set_own(r->arena, field, "default", field->initial, &v);
	else if (value_set(r->arena, field, found->value, &v))
		return -1;
	*choice = schema_choice(s, v.word);
	if (!*choice) {
		const char **names = ARENA_ARRAY(r->arena, const char *, s->n_choices);
		for (int i = 0; i < s->n_choices; i++)
			names[i] = s->choices[i].name;
		CHECK(found);
		return unknown_word(found->value, s->selector, names, s->n_choices);
	}
	return 0;
}

static int apply(struct resolving *x, struct settings *settings)
{
	for (int i = 0; i < settings->n; i++) {
		struct setting *s = &settings->at[i];
		int row = rows_index(&x->rows, s->key);
		if (row < 0 && s->optional)
			continue;
		if (row < 0)
			return inactive_key(x->reader->schema, x->choice, s->value, s->key);
		if (value_set(x->reader->arena, x->rows.at[row], s->value, &x->values[row]))
			return -1;
		x->from[row] = s;
	}
	return 0;
}

/* Values nobody set: the table's default, or in a stored config what the key meant before it was. */
static int apply_defaults(struct resolving *x, const char *file, bool keep_legacy)
{
	for (int i = 0; i < x->rows.n; i++) {
		const struct field *f = x->rows.at[i];
		bool legacy = keep_legacy && f->legacy;
		if (x->from[i])
			continue;
		if (!legacy && !f->initial)
			return error("%s: key \"%s\" is missing (%s)", file, f->key, f->help);
		value_set_own(x->reader->arena, f, legacy ? "legacy" : "default",
			legacy ? f->legacy : f->initial, &x->values[i]);
	}
	return 0;
}

static void apply_presets(struct resolving *x, bool keep_legacy)
{
	const struct schema *s = x->reader->schema;

	for (int i = 0; i < s->n_presets; i++) {
		const struct preset *p = &s->presets[i];
		int row = rows_index(&x->rows, p->key), when = rows_index(&x->rows, p->when_key);
		struct config_value wanted;
		if (row < 0 || when < 0 || x->from[row] || (keep_legacy && x->rows.at[row]->legacy))
			continue;
		value_set_own(x->reader->arena, x->rows.at[when], "preset", p->when_value, &wanted);
		if (strcmp(wanted.text, x->values[when].text))
			continue;
		value_set_own(x->reader->arena, x->rows.at[row],
			arena_printf(x->reader->arena, "%s: %s", p->when_key, p->when_value),
			p->value, &x->values[row]);
	}
}

int settings_resolve(struct spec_reader *r, struct settings *const *stack, int n, const char *file,
	bool keep_legacy, struct config *config)
{
	struct resolving x = {.reader = r};

	if (choose(r, stack, n, file, &x.choice))
		return -1;
	x.rows = schema_rows(r->arena, r->schema, x.choice);
	x.values = ARENA_ARRAY(r->arena, struct config_value, x.rows.n);
	x.from = ARENA_ARRAY(r->arena, struct setting *, x.rows.n);
	for (int i = 0; i < n; i++)
		if (apply(&x, stack[i]))
			return -1;
	if (apply_defaults(&x, file, keep_legacy))
		return -1;
	apply_presets(&x, keep_legacy);
	for (int i = 0; i < x.rows.n; i++)
		if (x.from[i])
			x.from[i]->used = true;
	*config = (struct config){.file = arena_strdup(r->arena, file), .choice = x.choice->name,
		.values = x.values, .n = x.rows.n};
	return 0;
}

int spec_load(struct arena *a, const char *path, const char *const *overrides, int n_overrides,
	const struct schema *schema, struct config *config)
{
	struct settings spec = {0}, given = {0}, *const stack[] = {&spec, &given};
	struct spec_reader r;

	spec_reader_init(&r, a, schema);
	if (settings_add_spec(&r, &spec, path))
		return -1;
	for (int i = 0; i < n_overrides; i++)
		if (settings_add_override(&r, &given, overrides[i]))
			return -1;
	return settings_resolve(&r, stack, 2, path, false, config);
}

int config_read(struct arena *a, const char *path, const struct schema *schema,
	struct config *config)
{
	struct settings spec = {0}, *const stack[] = {&spec};
	struct spec_reader r;

	spec_reader_init(&r, a, schema);
	if (settings_add_spec(&r, &spec, path))
		return -1;
	return settings_resolve(&r, stack, 1, path, true, config);
}

static int compare_key(const void *key, const void *value)
{
	return strcmp(key, ((const struct config_value *)value)->field->key);
}

const struct config_value *config_find(const struct config *c, const char *key)
{
	return bsearch(key, c->values, (size_t)c->n, sizeof *c->values, compare_key);
}

static void bind_value(const struct config_value *v, void *member)
{
	switch (v->field->type) {
	case FIELD_INT:
		*(long *)member = v->integer;
		break;
	case FIELD_REAL:
		*(double *)member = v->real;
		break;
	case FIELD_BOOL:
		*(bool *)member = v->boolean;
		break;
	case FIELD_CHOICE:
	case FIELD_TEXT:
	case FIELD_PATH:
		*(const char **)member = v->word;
		break;
	case FIELD_TREE:
		*(const struct node **)member = v->tree;
		break;
	}
}

void config_bind(const struct config *c, const struct field_table *table, void *into)
{
	for (int i = 0; i < table->n; i++) {
		const struct field *f = &table->rows[i];
		const struct config_value *v = config_find(c, f->key);
		if (!v || v->field->type != f->type)
			BUG("%s \"%s\" does not have key %s of this type", c->file, c->choice, f->key);
		bind_value(v, (char *)into + f->offset);
	}
}

int config_diff(struct arena *a, const struct config *before, const struct config *after,
	struct config_change **changes)
{
	struct config_change *out = ARENA_ARRAY(a, struct config_change, before->n + after->n);
	int i = 0, j = 0, n = 0;

	while (i < before->n || j < after->n) {
		const struct config_value *x = i < before->n ? &before->values[i] : NULL;
		const struct config_value *y = j < after->n ? &after->values[j] : NULL;
		int order = !x ? 1 : !y ? -1 : strcmp(x->field->key, y->field->key);
		const struct field *f = order <= 0 ? x->field : y->field;
		const char *was = order <= 0 ? x->text : NULL, *is = order >= 0 ? y->text : NULL;
		if (!was || !is || strcmp(was, is))
			out[n++] = (struct config_change){f->key, was, is, field_is_provenance(f)};
		i += order <= 0;
		j += order >= 0;
	}
	*changes = out;
	return n;
}
