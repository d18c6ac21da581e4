/* From a sweep file to its configurations: combine, resolve, exclude, merge. */
#include <string.h>

#include "spec/sweep_file.h"

enum { MAX_COMBINATIONS = 10000 };

/* One dimension of the grid: a key, or all keys of a zip, whose rows go together. */
struct axis {
	const struct setting *keys;
	int n_keys, n;
};

struct axes {
	struct axis *at;
	int n;
	long n_combinations;
};

static void add_axes(struct axes *axes, const struct block *b)
{
	for (int i = 0; i < b->grid.n; i++)
		axes->at[axes->n++] = (struct axis){&b->grid.at[i], 1, b->grid.at[i].value->n};
	if (b->zip.n)
		axes->at[axes->n++] = (struct axis){b->zip.at, b->zip.n, b->zip.at[0].value->n};
}

static int variant_axes(struct sweep_file *f, const struct block *variant, struct axes *axes)
{
	int size = f->wide.grid.n + variant->grid.n + 2;

	*axes = (struct axes){
		.at = ARENA_ARRAY(f->reader.arena, struct axis, size), .n_combinations = 1};
	add_axes(axes, &f->wide);
	add_axes(axes, variant);
	for (int i = 0; i < axes->n; i++) {
		axes->n_combinations *= axes->at[i].n;
		if (axes->n_combinations > MAX_COMBINATIONS)
			return node_error(f->root, "variant \"%s\": more than %d combinations",
				variant->label, MAX_COMBINATIONS);
	}
	return 0;
}

static const struct node *nth(const struct node *list, long i)
{
	const struct node *n = list->first;

	while (i--)
		n = n->next;
	return n;
}

/* Combination number i, the last axis running fastest. */
static void set_axes(struct sweep_file *f, const struct axes *axes, long i, struct settings *out)
{
	long weight = axes->n_combinations;

	for (int a = 0; a < axes->n; a++) {
		const struct axis *axis = &axes->at[a];
		weight /= axis->n;
		for (int k = 0; k < axis->n_keys; k++)
			settings_add(&f->reader, out, axis->keys[k].key,
				nth(axis->keys[k].value, i / weight % axis->n),
				axis->keys[k].optional);
	}
}

/* Later wins: the order of this stack is the rule of precedence. */
static int resolve(struct sweep_file *f, struct point *p)
{
	struct settings *const stack[] = {&f->wide.base, &p->variant->base, &f->wide.set,
		&p->variant->set, &f->trial, &p->axes, &f->given};

	if (settings_resolve(&f->reader, stack, ARRAY_SIZE(stack), f->path, false, &p->config))
		return -1;
	p->label = point_label(f, p);
	p->n_same = 1;
	return 0;
}

static int count_points(struct sweep_file *f, long *n)
{
	struct axes axes;

	*n = f->n_include * (f->is_trials ? settings_find(&f->wide.grid, f->tune.key)->value->n : 1);
	for (int i = 0; i < f->n_variants; i++) {
		if (variant_axes(f, &f->variants[i], &axes))
			return -1;
		*n += axes.n_combinations;
	}
	if (*n > MAX_COMBINATIONS)
		return node_error(f->root, "%ld combinations: more than %d", *n, MAX_COMBINATIONS);
	return 0;
}

static int add_point(struct sweep_file *f, struct points *points, struct point p)
{
	if (resolve(f, &p))
		return -1;
	points->at[points->n++] = p;
	return 0;
}

/* In trials with each value that is tried, as the configurations of the grid are. */
static int add_included(struct sweep_file *f, const struct included *in, struct points *points)
{
	const struct setting *over = f->is_trials ? settings_find(&f->wide.grid, f->tune.key) : NULL;

	for (int i = 0; i < (over ? over->value->n : 1); i++) {
		struct point p = {.variant = in->variant, .node = in->node};
		if (over)
			settings_add(&f->reader, &p.axes, over->key, nth(over->value, i), over->optional);
		for (const struct setting *s = in->keys.at; s < in->keys.at + in->keys.n; s++)
			settings_add(&f->reader, &p.axes, s->key, s->value, s->optional);
		if (add_point(f, points, p))
			return -1;
	}
	return 0;
}

static int add_variant(struct sweep_file *f, struct block *variant, struct points *points)
{
	struct axes axes;

	if (variant_axes(f, variant, &axes))
		return -1;
	for (long i = 0; i < axes.n_combinations; i++) {
		struct point p = {.variant = variant, .node = variant->node};
		set_axes(f, &axes, i, &p.axes);
		if (add_point(f, points, p))
			return -1;
	}
	for (int i = 0; i < f->n_include; i++)
		if (f->include[i].variant == variant && add_included(f, &f->include[i], points))
			return -1;
	return 0;
}

static int exclude_points(struct sweep_file *f, const struct filter *filter, struct points *points)
{
	int n_kept = 0;

	for (int i = 0; i < points->n; i++) {
		struct point *p = &points->at[i];
		int match = filter_matches(f, filter, p->variant, &p->config);
		if (match < 0)
			return -1;
		if (!match)
			points->at[n_kept++] = *p;
	}
	if (n_kept == points->n)
		return node_error(filter->node, "exclude: no configuration is like this");
	points->n = n_kept;
	return 0;
}

static bool same_config(const struct config *a, const struct config *b)
{
	if (a->n != b->n)
		return false;
	for (int i = 0; i < a->n; i++)
		if (strcmp(a->values[i].field->key, b->values[i].field->key) ||
			strcmp(a->values[i].text, b->values[i].text))
			return false;
	return true;
}

bool is_dropped(const struct point *p, const struct setting *s)
{
	return s->optional && !config_find(&p->config, s->key);
}

static bool any_axis_dropped(const struct point *p)
{
	for (int i = 0; i < p->axes.n; i++)
		if (is_dropped(p, &p->axes.at[i]))
			return true;
	return false;
}

/* Equal points that differ only in axes without meaning for them become the first of them. */
static int merge_points(struct points *points)
{
	int n_kept = 0;

	for (int i = 0; i < points->n; i++) {
		struct point *p = &points->at[i], *twin = NULL;
		for (int j = 0; j < n_kept && !twin; j++)
			if (!strcmp(points->at[j].label, p->label))
				twin = &points->at[j];
		if (!twin)
			points->at[n_kept++] = *p;
		else if (!same_config(&twin->config, &p->config))
			return node_error(p->node,
				"two configurations have the label \"%s\": make them "
				"variants",
				p->label);
		else if (!any_axis_dropped(p))
			return node_error(p->node, "configuration \"%s\" stands in the sweep twice",
				p->label);
		else
			twin->n_same++;
	}
	points->n = n_kept;
	return 0;
}

static int check_set(const struct sweep_file *f, const struct settings *set)
{
	for (int i = 0; i < set->n; i++)
		if (!set->at[i].used && !settings_find(&f->given, set->at[i].key))
			return node_key_error(set->at[i].value,
				"set: \"%s\" has no effect: it is replaced "
				"in, or does not apply to, every run",
				set->at[i].key);
	return 0;
}

static int check_axes(const struct settings *axes, const struct points *points)
{
	for (int i = 0; i < axes->n; i++) {
		bool applies = false;
		for (int p = 0; p < points->n && !applies; p++)
			applies = config_find(&points->at[p].config, axes->at[i].key);
		if (!applies)
			return node_key_error(axes->at[i].value, "axis \"%s\" applies to no run",
				axes->at[i].key);
	}
	return 0;
}

static int check_effects(const struct sweep_file *f, const struct points *points)
{
	if (check_set(f, &f->wide.set) || check_axes(&f->wide.grid, points) ||
		check_axes(&f->wide.zip, points) || check_axes(&f->tuned, points))
		return -1;
	for (int i = 0; i < f->n_variants; i++)
		if (check_set(f, &f->variants[i].set))
			return -1;
	return 0;
}

int sweep_points(struct sweep_file *f, struct sweep *sweep, struct points *points)
{
	long n;

	if (count_points(f, &n))
		return -1;
	*points = (struct points){.at = ARENA_ARRAY(f->reader.arena, struct point, n)};
	for (int i = 0; i < f->n_variants; i++)
		if (add_variant(f, &f->variants[i], points))
			return -1;
	if (!f->is_trials && check_effects(f, points))
		return -1;
	sweep->n_combinations = points->n;
	for (int i = 0; i < f->n_exclude; i++)
		if (exclude_points(f, &f->exclude[i], points))
			return -1;
	sweep->n_excluded = sweep->n_combinations - points->n;
	if (merge_points(points))
		return -1;
	sweep->n_merged = sweep->n_combinations - sweep->n_excluded - points->n;
	return points->n ? 0 : node_error(f->root, "every configuration is excluded");
}
