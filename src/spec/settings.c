#include "spec/settings.h"

#include <stdlib.h>
#include <string.h>

#include "base/path.h"

void spec_reader_init(struct spec_reader *r, struct arena *a, const struct schema *schema)
{
	schema_check(schema);
	*r = (struct spec_reader){
		.arena = a, .schema = schema, .rows = schema_rows(a, schema, NULL)};
}

void settings_add(struct spec_reader *r, struct settings *s, const char *key,
	const struct node *value, bool optional)
{
	if (s->n == s->size) {
		struct setting *old = s->at;
		s->size = s->size ? 2 * s->size : 16;
		s->at = ARENA_ARRAY(r->arena, struct setting, s->size);
		if (old)
			memcpy(s->at, old, (size_t)s->n * sizeof *old);
	}
	s->at[s->n++] = (struct setting){.key = key, .value = value, .optional = optional};
}

const struct setting *settings_find(const struct settings *s, const char *key)
{
	for (int i = s->n - 1; i >= 0; i--)
		if (!strcmp(s->at[i].key, key))
			return &s->at[i];
	return NULL;
}

static int add_key(struct spec_reader *r, struct settings *s, int first, const char *key,
	const struct node *value, bool optional)
{
	for (int i = first; i < s->n; i++)
		if (!strcmp(s->at[i].key, key))
			return node_key_error(value, "duplicate key \"%s\" (first in line %d)", key,
				s->at[i].value->key_line);
	settings_add(r, s, key, value, optional);
	return 0;
}

/* first: where the settings of the outermost map begin in s. */
static int add_entries(struct spec_reader *r, struct settings *s, int first, const char *group,
	const struct node *map, const struct node *skip, bool optional)
{
	for (const struct node *n = map->first; n; n = n->next) {
		if (n == skip)
			continue;
		const char *key = *group ? arena_printf(r->arena, "%s.%s", group, n->key) : n->key;
		int ret;
		if (rows_find(&r->rows, key))
			ret = add_key(r, s, first, key, n, optional);
		else if (n->kind == NODE_MAP && n->n)
			ret = add_entries(r, s, first, key, n, NULL, optional);
		else if (!rows_have_group(&r->rows, key))
			ret = unknown_key(&r->rows, n, key);
		else if (n->kind != NODE_MAP && n->kind != NODE_NULL)
			ret = node_error(n,
				"\"%s\" is a group of keys: a map must stand here, not %s", key,
				node_kind_name(n));
		else
			ret = 0; /* an empty group says nothing */
		if (ret)
			return -1;
	}
	return 0;
}

int settings_add_map(struct spec_reader *r, struct settings *s, const struct node *map,
	const struct node *skip, bool optional)
{
	if (map->kind == NODE_NULL)
		return 0;
	if (map->kind != NODE_MAP)
		return node_error(
			map, "a map of keys must stand here, not %s", node_kind_name(map));
	return add_entries(r, s, s->n, "", map, skip, optional);
}

int settings_add_override(struct spec_reader *r, struct settings *s, const char *key_value)
{
	const char *equals = strchr(key_value, '=');
	struct node map = {.kind = NODE_MAP, .file = "command line"}, *value;

	if (!equals || equals == key_value)
		return error("command line: \"%s\" is not key=value", key_value);
	value = node_value(r->arena, "command line", equals + 1);
	if (!value)
		return -1;
	value->key = arena_printf(r->arena, "%.*s", (int)(equals - key_value), key_value);
	map.first = value;
	return settings_add_map(r, s, &map, NULL, false);
}

bool is_sweep_key(const char *key)
{
	static const char *const keys[] = {"set", "grid", "zip", "variants", "exclude", "include",
		"seeds", "baseline", "targets", "tune", "published", "limits"};

	return str_index(key, keys, ARRAY_SIZE(keys)) >= 0;
}

/* The files being read, innermost first: one that comes again is a cycle. */
struct open_file {
	const char *path; /* real path; of a pipe, which has none, as it is named */
	const struct open_file *outer;
};

static int add_file(struct spec_reader *r, struct settings *s, const char *path,
	const struct node *named_by, const struct open_file *outer);

static int add_base_file(struct spec_reader *r, struct settings *s, const struct node *n,
	const struct open_file *outer)
{
	char *folder, *path;
	int ret;

	if (!node_is_scalar(n))
		return node_error(
			n, "base: the name of a file must stand here, not %s", node_kind_name(n));
	folder = path_folder(n->file);
	path = path_join(folder, n->text);
	ret = add_file(r, s, path, n, outer);
	free(path);
	free(folder);
	return ret;
}

static int add_bases(struct spec_reader *r, struct settings *s, const struct node *n,
	const struct open_file *outer)
{
	if (n->kind != NODE_LIST)
		return add_base_file(r, s, n, outer);
	for (const struct node *file = n->first; file; file = file->next)
		if (add_base_file(r, s, file, outer))
			return -1;
	return 0;
}

static int add_root(struct spec_reader *r, struct settings *s, const struct node *root,
	const struct open_file *outer)
{
	const struct node *base;

	if (root->kind != NODE_MAP)
		return node_error(root, "a spec is a map of keys, not %s", node_kind_name(root));
	base = node_get(root, "base");
	if (base && add_bases(r, s, base, outer))
		return -1;
	for (const struct node *n = root->first; n; n = n->next)
		if (is_sweep_key(n->key))
			return node_key_error(n,
				"\"%s\" belongs to a sweep, and this is the spec of one "
				"run (moelab run takes sweeps)",
				n->key);
	return settings_add_map(r, s, root, base, false);
}

static int add_file(struct spec_reader *r, struct settings *s, const char *path,
	const struct node *named_by, const struct open_file *outer)
{
	char *real = realpath(path, NULL);
	struct open_file this = {real ? real : path, outer};
	const struct node *root;
	int ret = -1;

	if (!real && named_by && !path_exists(path))
		return node_error(named_by, "base: there is no file %s", path);
	for (const struct open_file *o = outer; o; o = o->outer) {
		if (!strcmp(o->path, this.path)) {
			node_error(named_by,
				"base: %s is read already: the files name each other in a "
				"circle",
				path);
			goto out;
		}
	}
	root = node_read(r->arena, path);
	if (root)
		ret = add_root(r, s, root, &this);
out:
	free(real);
	return ret;
}

int settings_add_spec(struct spec_reader *r, struct settings *s, const char *path)
{
	return add_file(r, s, path, NULL, NULL);
}

int settings_add_base(struct spec_reader *r, struct settings *s, const struct node *n)
{
	return add_bases(r, s, n, NULL);
}

int settings_add_spec_node(struct spec_reader *r, struct settings *s, const struct node *root)
{
	return add_root(r, s, root, NULL);
}

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

/* Values nobody set: the default, or in a stored config the value from before the key was there. */
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
	*config = (struct config){.file = arena_strdup(r->arena, file),
		.choice = x.choice->name,
		.values = x.values,
		.n = x.rows.n,
		.stored = keep_legacy};
	return 0;
}
