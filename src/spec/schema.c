#include "spec/schema.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static void add_tables(const struct field_table *const *tables, const struct field **rows, int *n)
{
	for (; tables && *tables; tables++)
		for (int i = 0; i < (*tables)->n; i++, (*n)++)
			if (rows)
				rows[*n] = &(*tables)->rows[i];
}

static int add_all(
	const struct schema *s, const struct schema_choice *choice, const struct field **rows)
{
	int n = 0;

	add_tables(s->common, rows, &n);
	for (int i = 0; i < s->n_choices; i++)
		if (!choice || choice == &s->choices[i])
			add_tables(s->choices[i].tables, rows, &n);
	return n;
}

static int compare_rows(const void *a, const void *b)
{
	const struct field *x = *(const struct field *const *)a,
			   *y = *(const struct field *const *)b;

	return strcmp(x->key, y->key);
}

struct field_rows schema_rows(
	struct arena *a, const struct schema *s, const struct schema_choice *choice)
{
	int n = add_all(s, choice, NULL), n_kept = 0;
	const struct field **rows = ARENA_ARRAY(a, const struct field *, n);

	add_all(s, choice, rows);
	qsort(rows, (size_t)n, sizeof *rows, compare_rows);
	for (int i = 0; i < n; i++)
		if (!i || strcmp(rows[i]->key, rows[i - 1]->key))
			rows[n_kept++] = rows[i];
	return (struct field_rows){rows, n_kept};
}

int rows_index(const struct field_rows *rows, const char *key)
{
	const struct field wanted = {.key = key}, *p = &wanted;
	const struct field **found =
		bsearch(&p, rows->at, (size_t)rows->n, sizeof *rows->at, compare_rows);

	return found ? (int)(found - rows->at) : -1;
}

const struct field *rows_find(const struct field_rows *rows, const char *key)
{
	int i = rows_index(rows, key);

	return i < 0 ? NULL : rows->at[i];
}

static bool stands_in(const char *key, const char *group)
{
	return str_starts(key, group) && key[strlen(group)] == '.';
}

bool rows_have_group(const struct field_rows *rows, const char *group)
{
	for (int i = 0; i < rows->n; i++)
		if (stands_in(rows->at[i]->key, group))
			return true;
	return false;
}

const struct schema_choice *schema_choice(const struct schema *s, const char *name)
{
	for (int i = 0; i < s->n_choices; i++)
		if (!strcmp(s->choices[i].name, name))
			return &s->choices[i];
	return NULL;
}

static const char *last_part(const char *key)
{
	const char *dot = strrchr(key, '.');

	return dot ? dot + 1 : key;
}

/* The same last part in another group, else the nearest key; its last part if only that differs. */
static const char *nearest_key(const struct field_rows *rows, const char *key)
{
	const char **keys = xcalloc((size_t)rows->n, sizeof *keys), *nearest = NULL;
	size_t group = (size_t)(last_part(key) - key);

	for (int i = 0; i < rows->n; i++) {
		keys[i] = rows->at[i]->key;
		if (!strcmp(last_part(keys[i]), key + group))
			nearest = keys[i];
	}
	if (!nearest) {
		nearest = str_nearest(key, keys, rows->n);
		if (nearest && (size_t)(last_part(nearest) - nearest) == group &&
			!strncmp(nearest, key, group))
			nearest += group;
	}
	free(keys);
	return nearest;
}

int unknown_key(const struct field_rows *rows, const struct node *n, const char *key)
{
	const char *nearest = nearest_key(rows, key);

	if (!nearest)
		return node_key_error(n, "unknown key \"%s\" (moelab help spec lists all)", key);
	return node_key_error(n, "unknown key \"%s\" (did you mean \"%s\"?)", key, nearest);
}

int inactive_key(const struct schema *s, const struct schema_choice *choice, const struct node *n,
	const char *key)
{
	struct arena a = {0};
	struct str owners;

	str_init(&owners);
	for (int i = 0; i < s->n_choices; i++) {
		struct field_rows rows = schema_rows(&a, s, &s->choices[i]);
		if (rows_find(&rows, key))
			str_add_item(&owners, "%s", s->choices[i].name);
	}
	node_key_error(n, "key \"%s\" does not apply to %s \"%s\" (it belongs to %s)", key,
		s->selector, choice->name, owners.text);
	str_release(&owners);
	arena_release(&a);
	return -1;
}

static void check_rows(const struct schema *s, const struct schema_choice *choice)
{
	struct arena a = {0};
	struct field_rows rows = schema_rows(&a, s, choice);
	struct config_value v;

	if (rows.n != add_all(s, choice, NULL))
		BUG("%s %s: two tables declare the same key", s->selector, choice->name);
	for (int i = 0; i < rows.n; i++) {
		const struct field *f = rows.at[i];
		if (rows_have_group(&rows, f->key))
			BUG("key %s is also a group of keys", f->key);
		if (!f->initial && !f->help)
			BUG("key %s must be given, and has no help to say what it is", f->key);
		if (f->initial)
			value_set_own(&a, f, "default", f->initial, &v);
		if (f->legacy)
			value_set_own(&a, f, "legacy", f->legacy, &v);
	}
	for (int i = 0; i < s->n_presets; i++) {
		const struct field *f = rows_find(&rows, s->presets[i].key);
		if (f)
			value_set_own(&a, f, "preset", s->presets[i].value, &v);
	}
	arena_release(&a);
}

void schema_check(const struct schema *s)
{
	struct arena a = {0};
	struct field_rows all = schema_rows(&a, s, NULL);

	for (int i = 0; i < s->n_choices; i++)
		check_rows(s, &s->choices[i]);
	for (int i = 0; i < s->n_presets; i++)
		if (!rows_find(&all, s->presets[i].key) || !rows_find(&all, s->presets[i].when_key))
			BUG("preset for %s: no such key", s->presets[i].key);
	CHECK(rows_find(&all, s->selector) && rows_find(&all, "seed"));
	arena_release(&a);
}
