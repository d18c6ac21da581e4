#include "spec/sweep_file.h"

#include <string.h>

#include "base/path.h"

int check_entries(const struct node *map, const char *const *names, int n_names,
	const struct field_rows *rows)
{
	for (const struct node *n = map->first; n; n = n->next) {
		const char *nearest;
		if (str_index(n->key, names, n_names) >= 0)
			continue;
		if (rows && (rows_find(rows, n->key) || rows_have_group(rows, n->key)))
			return node_key_error(n,
				"\"%s\" is a key of specs: in a sweep it stands under "
				"\"set\"",
				n->key);
		nearest = str_nearest(n->key, names, n_names);
		if (nearest)
			return node_key_error(
				n, "unknown key \"%s\" (did you mean \"%s\"?)", n->key, nearest);
		return node_key_error(n, "unknown key \"%s\"", n->key);
	}
	return 0;
}

static bool same_value(const struct node *a, const struct node *b)
{
	struct str x, y;
	bool same;

	str_init(&x);
	str_init(&y);
	node_canonical(a, &x);
	node_canonical(b, &y);
	same = !strcmp(x.text, y.text);
	str_release(&x);
	str_release(&y);
	return same;
}

static int check_distinct(const struct setting *axis)
{
	for (const struct node *n = axis->value->first; n; n = n->next)
		for (const struct node *m = axis->value->first; m != n; m = m->next)
			if (same_value(n, m))
				return node_error(n, "%s: the same value stands in the list twice",
					axis->key);
	return 0;
}

int check_axis(const struct setting *axis)
{
	const struct node *list = axis->value;

	if (!strcmp(axis->key, "seed"))
		return node_key_error(list, "seeds are no axis: give them as \"seeds\"");
	if (list->kind != NODE_LIST)
		return node_error(list, "%s: a list of values must stand here, not %s", axis->key,
			node_kind_name(list));
	if (!list->n)
		return node_error(list, "%s: an empty list leaves no run", axis->key);
	return 0;
}

static int read_axes(struct sweep_file *f, struct block *b, const struct node *grid,
	const struct node *zip, bool wide)
{
	if (grid && settings_add_map(&f->reader, &b->grid, grid, NULL, wide))
		return -1;
	if (zip && settings_add_map(&f->reader, &b->zip, zip, NULL, wide))
		return -1;
	for (int i = 0; i < b->grid.n; i++)
		if (check_axis(&b->grid.at[i]) || check_distinct(&b->grid.at[i]))
			return -1;
	for (int i = 0; i < b->zip.n; i++) {
		const struct setting *s = &b->zip.at[i];
		if (check_axis(s))
			return -1;
		if (s->value->n != b->zip.at[0].value->n)
			return node_error(s->value, "zip: %s has %d values and %s has %d", s->key,
				s->value->n, b->zip.at[0].key, b->zip.at[0].value->n);
	}
	return 0;
}

/* base, set, grid and zip of the whole sweep or of a variant. */
static int read_block(struct sweep_file *f, struct block *b, bool wide)
{
	const struct node *base = node_get(b->node, "base"), *set = node_get(b->node, "set");

	if (base && settings_add_base(&f->reader, &b->base, base))
		return -1;
	if (set && settings_add_map(&f->reader, &b->set, set, NULL, wide))
		return -1;
	return read_axes(f, b, node_get(b->node, "grid"), node_get(b->node, "zip"), wide);
}

static const struct setting *axis_of(const struct block *b, const char *key)
{
	const struct setting *s = settings_find(&b->grid, key);

	return s ? s : settings_find(&b->zip, key);
}

/* An axis stands in one place: the sweep or the variant, grid or zip. */
static int check_axes_once(const struct block *wide, const struct block *b)
{
	const struct settings *lists[] = {&b->grid, &b->zip};

	for (int l = 0; l < 2; l++) {
		for (int i = 0; i < lists[l]->n; i++) {
			const struct setting *s = &lists[l]->at[i], *other = axis_of(b, s->key);
			if (other == s && b != wide)
				other = axis_of(wide, s->key);
			if (other && other != s)
				return node_key_error(s->value,
					"\"%s\" is an axis already, in line %d", s->key,
					other->value->key_line);
		}
	}
	return 0;
}

static int check_label(struct arena *a, const struct node *n)
{
	if (!strcmp(file_label(a, n->key, MAX_LABEL), n->key))
		return 0;
	return node_key_error(n,
		"label \"%s\": labels become names of folders: letters, digits and "
		"_ . + - only, and %d at most",
		n->key, MAX_LABEL);
}

static int read_variant(struct sweep_file *f, struct block *b, const struct node *n)
{
	static const char *const keys[] = {"base", "set", "grid", "zip"};
	static const struct node nothing = {.kind = NODE_MAP};

	if (check_label(f->reader.arena, n))
		return -1;
	if (n->kind != NODE_MAP && n->kind != NODE_NULL)
		return node_error(n, "variant \"%s\": a map must stand here, not %s", n->key,
			node_kind_name(n));
	*b = (struct block){.label = n->key, .node = n->kind == NODE_MAP ? n : &nothing};
	if (check_entries(b->node, keys, ARRAY_SIZE(keys), &f->reader.rows) ||
		read_block(f, b, false) || check_axes_once(&f->wide, b))
		return -1;
	b->node = n;
	return 0;
}

static int read_variants(struct sweep_file *f, const struct node *map)
{
	if (map->kind != NODE_MAP || !map->n)
		return node_error(map, "variants: a map of labels must stand here");
	f->variants = ARENA_ARRAY(f->reader.arena, struct block, map->n);
	for (const struct node *n = map->first; n; n = n->next)
		if (read_variant(f, &f->variants[f->n_variants++], n))
			return -1;
	return 0;
}

static struct block *find_variant(const struct sweep_file *f, const char *label)
{
	for (int i = 0; i < f->n_variants; i++)
		if (!strcmp(f->variants[i].label, label))
			return &f->variants[i];
	return NULL;
}

static int check_variant(const struct sweep_file *f, const struct node *n)
{
	const char **labels = ARENA_ARRAY(f->reader.arena, const char *, f->n_variants);

	if (!node_is_scalar(n))
		return node_error(n, "a label must stand here, not %s", node_kind_name(n));
	if (find_variant(f, n->text))
		return 0;
	for (int i = 0; i < f->n_variants; i++)
		labels[i] = f->variants[i].label;
	return unknown_word(n, "variant", labels, f->n_variants);
}

static int filter_set_variant(
	const struct sweep_file *f, struct filter *filter, const struct node *n)
{
	filter->variant = n;
	if (n->kind != NODE_LIST)
		return check_variant(f, n);
	for (const struct node *label = n->first; label; label = label->next)
		if (check_variant(f, label))
			return -1;
	return 0;
}

static int read_exclude(struct sweep_file *f, struct filter *filter, const struct node *n)
{
	const struct node *variant;

	if (n->kind != NODE_MAP || !n->n)
		return node_error(n, "exclude: a map of keys and values must stand here, not %s",
			node_kind_name(n));
	*filter = (struct filter){.node = n};
	variant = node_get(n, "variant");
	if (variant && filter_set_variant(f, filter, variant))
		return -1;
	if (settings_add_map(&f->reader, &filter->keys, n, variant, false))
		return -1;
	if (settings_find(&filter->keys, "seed"))
		return node_error(n, "exclude: takes whole configurations, not single seeds");
	return 0;
}

static int read_include(struct sweep_file *f, struct included *in, const struct node *n)
{
	const struct node *variant;

	if (n->kind != NODE_MAP)
		return node_error(n, "include: a map of keys and values must stand here, not %s",
			node_kind_name(n));
	*in = (struct included){.node = n, .variant = &f->variants[0]};
	variant = node_get(n, "variant");
	if (!variant && f->n_variants > 1)
		return node_error(
			n, "include: \"variant\" is missing, and there are %d", f->n_variants);
	if (variant && check_variant(f, variant))
		return -1;
	if (variant)
		in->variant = find_variant(f, variant->text);
	if (settings_add_map(&f->reader, &in->keys, n, variant, false))
		return -1;
	if (settings_find(&in->keys, "seed"))
		return node_error(n, "include: seeds are given as \"seeds\"");
	return 0;
}

static int read_points(struct sweep_file *f, const struct node *exclude, const struct node *include)
{
	if ((exclude && exclude->kind != NODE_LIST) || (include && include->kind != NODE_LIST))
		return node_error(exclude && exclude->kind != NODE_LIST ? exclude : include,
			"a list of maps must stand here");
	if (exclude) {
		f->exclude = ARENA_ARRAY(f->reader.arena, struct filter, exclude->n);
		for (const struct node *n = exclude->first; n; n = n->next)
			if (read_exclude(f, &f->exclude[f->n_exclude++], n))
				return -1;
	}
	if (include) {
		f->include = ARENA_ARRAY(f->reader.arena, struct included, include->n);
		for (const struct node *n = include->first; n; n = n->next)
			if (read_include(f, &f->include[f->n_include++], n))
				return -1;
	}
	return 0;
}

/* Without variants the file has one, named after itself. */
static void name_only_variant(struct sweep_file *f)
{
	struct arena *a = f->reader.arena;
	char *stem = arena_strdup(a, path_name(f->path)), *dot = strrchr(stem, '.');

	if (dot && dot != stem)
		*dot = '\0';
	f->variants = ARENA_NEW(a, struct block);
	f->variants[0].label = file_label(a, stem, (int)strlen(stem));
	f->variants[0].node = f->root;
	f->n_variants = 1;
}

static bool is_sweep(const struct node *root)
{
	for (const struct node *n = root->first; n; n = n->next)
		if (is_sweep_key(n->key))
			return true;
	return false;
}

int sweep_file_read(struct sweep_file *f, struct arena *a, const char *path,
	const struct sweep_trials *trials, const struct schema *schema)
{
	static const char *const keys[] = {"name", "question", "base", "set", "grid", "zip",
		"variants", "exclude", "include", "seeds", "baseline", "targets", "tune",
		"published", "limits"};
	const struct node *variants, *tune;

	*f = (struct sweep_file){.path = arena_strdup(a, path)};
	spec_reader_init(&f->reader, a, schema);
	f->root = node_read(a, path);
	if (!f->root)
		return -1;
	if (f->root->kind != NODE_MAP)
		return node_error(
			f->root, "a sweep is a map of keys, not %s", node_kind_name(f->root));
	if (!is_sweep(f->root)) {
		name_only_variant(f);
		return settings_add_spec_node(&f->reader, &f->variants[0].base, f->root);
	}
	if (check_entries(f->root, keys, ARRAY_SIZE(keys), &f->reader.rows))
		return -1;
	f->wide.node = f->root;
	if (read_block(f, &f->wide, true) || check_axes_once(&f->wide, &f->wide))
		return -1;
	variants = node_get(f->root, "variants");
	if (!variants)
		name_only_variant(f);
	else if (read_variants(f, variants))
		return -1;
	f->seeds = node_get(f->root, "seeds");
	if (read_points(f, node_get(f->root, "exclude"), node_get(f->root, "include")))
		return -1;
	tune = node_get(f->root, "tune");
	return tune ? sweep_tune_read(f, tune, trials) : 0;
}

int filter_add(struct sweep_file *f, struct filter *filter, const char *key_value)
{
	const struct node *variant;

	if (!str_starts(key_value, "variant="))
		return settings_add_override(&f->reader, &filter->keys, key_value);
	variant = node_value(f->reader.arena, "command line", strchr(key_value, '=') + 1);
	return variant ? filter_set_variant(f, filter, variant) : -1;
}

static bool has_label(const struct node *n, const char *label)
{
	if (n->kind != NODE_LIST)
		return !strcmp(n->text, label);
	for (const struct node *item = n->first; item; item = item->next)
		if (!strcmp(item->text, label))
			return true;
	return false;
}

/* wanted: a value, or a list of them unless the key's own values are lists. */
static int has_value(struct arena *a, const struct config_value *v, const struct node *wanted)
{
	bool list = wanted->kind == NODE_LIST && v->field->type != FIELD_TREE;
	struct config_value w;
	int found = 0;

	for (const struct node *n = list ? wanted->first : wanted; n; n = list ? n->next : NULL) {
		if (value_set(a, v->field, n, &w))
			return -1;
		found |= !strcmp(v->text, w.text);
	}
	return found;
}

int filter_matches(struct sweep_file *f, const struct filter *filter, const struct block *variant,
	const struct config *config)
{
	if (filter->variant && !has_label(filter->variant, variant->label))
		return 0;
	for (int i = 0; i < filter->keys.n; i++) {
		const struct setting *s = &filter->keys.at[i];
		const struct config_value *v = config_find(config, s->key);
		int match = v ? has_value(f->reader.arena, v, s->value) : 0;
		if (match <= 0)
			return match;
	}
	return 1;
}

const struct setting *swept(const struct sweep_file *f, const char *key)
{
	const struct setting *s = axis_of(&f->wide, key);

	for (int i = 0; i < f->n_variants && !s; i++)
		s = axis_of(&f->variants[i], key);
	for (int i = 0; i < f->n_include && !s; i++)
		s = settings_find(&f->include[i].keys, key);
	return s;
}
