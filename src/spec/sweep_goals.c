/* What a sweep file says about its results: baseline, targets, published values, limits. */
#include <math.h>
#include <string.h>

#include "spec/sweep_file.h"

static bool is_label(const struct points *points, const char *name)
{
	for (int i = 0; i < points->n; i++)
		if (!strcmp(points->at[i].label, name))
			return true;
	return false;
}

/* Labels, and variants that are no label themselves: what baseline and published may name. */
static const char **all_labels(const struct sweep_file *f, const struct points *points, int *n)
{
	const char **labels = ARENA_ARRAY(f->reader.arena, const char *, points->n + f->n_variants);

	*n = 0;
	for (int i = 0; i < points->n; i++)
		labels[(*n)++] = points->at[i].label;
	for (int i = 0; i < f->n_variants; i++)
		if (!is_label(points, f->variants[i].label))
			labels[(*n)++] = f->variants[i].label;
	return labels;
}

/* A label of one configuration, or a variant that has only one. */
static int read_baseline(struct sweep_file *f, const struct points *points, const struct node *n,
	struct sweep *sweep)
{
	const char **labels, *only = NULL;
	struct str found;
	int n_found = 0, n_labels;

	if (!node_is_scalar(n))
		return node_error(
			n, "baseline: a label must stand here, not %s", node_kind_name(n));
	str_init(&found);
	for (int i = 0; i < points->n && !sweep->baseline; i++) {
		const struct point *p = &points->at[i];
		if (!strcmp(p->label, n->text))
			sweep->baseline = p->label;
		if (strcmp(p->variant->label, n->text))
			continue;
		str_add_item(&found, "%s", p->label);
		n_found++;
		only = p->label;
	}
	if (!sweep->baseline && n_found > 1)
		node_error(n, "baseline \"%s\" is %d configurations, give the label of one: %s",
			n->text, n_found, found.text);
	str_release(&found);
	if (!sweep->baseline && n_found == 1)
		sweep->baseline = only;
	if (sweep->baseline || n_found > 1)
		return sweep->baseline ? 0 : -1;
	labels = all_labels(f, points, &n_labels);
	return unknown_word(n, "label", labels, n_labels);
}

static int read_target(const struct node *n, struct sweep_target *target)
{
	const struct node *value = n->kind == NODE_MAP && n->n == 1 ? n->first : n;
	bool perplexity = value != n && !strcmp(value->key, "perplexity");

	if (n->kind == NODE_TEXT && !strcmp(n->text, "baseline")) {
		*target = (struct sweep_target){TARGET_BASELINE, NAN};
		return 0;
	}
	if ((value != n && !perplexity && strcmp(value->key, "loss")) ||
		(value->kind != NODE_INT && value->kind != NODE_REAL))
		return node_error(n,
			"targets: a loss in nats, {perplexity: number} or \"baseline\" "
			"must stand here");
	if (value->real <= (perplexity ? 1 : 0))
		return node_error(value,
			"targets: %s is out of range (a loss is above 0, a perplexity "
			"above 1)",
			value->text);
	target->kind = perplexity ? TARGET_PERPLEXITY : TARGET_LOSS;
	target->loss = perplexity ? log(value->real) : value->real;
	return 0;
}

static int read_targets(struct arena *a, const struct node *list, struct sweep *sweep)
{
	if (list->kind != NODE_LIST)
		return node_error(list, "targets: a list must stand here, such as [baseline, 2.1]");
	sweep->targets = ARENA_ARRAY(a, struct sweep_target, list->n);
	for (const struct node *n = list->first; n; n = n->next)
		if (read_target(n, &sweep->targets[sweep->n_targets++]))
			return -1;
	return 0;
}

static int check_published_label(
	struct sweep_file *f, const struct points *points, const struct node *n)
{
	struct node label = *n;
	int n_labels;
	const char **labels = all_labels(f, points, &n_labels);

	if (str_index(n->key, labels, n_labels) >= 0)
		return 0;
	label.text = n->key;
	label.line = n->key_line;
	label.column = n->key_column;
	return unknown_word(&label, "label", labels, n_labels);
}

static int read_published(struct sweep_file *f, const struct points *points, const struct node *map,
	struct sweep *sweep)
{
	static const char *const quantities[] = {
		"loss", "perplexity", "speedup", "params", "active"};
	int size = 0;

	if (map->kind != NODE_MAP)
		return node_error(map, "published: a map of labels must stand here");
	for (const struct node *n = map->first; n; n = n->next)
		size += n->n;
	sweep->published = ARENA_ARRAY(f->reader.arena, struct sweep_published, size);
	for (const struct node *n = map->first; n; n = n->next) {
		if (n->kind != NODE_MAP)
			return node_error(
				n, "published: a map such as {loss: 3.34} must stand here");
		if (check_published_label(f, points, n) ||
			check_entries(n, quantities, ARRAY_SIZE(quantities), NULL))
			return -1;
		for (const struct node *v = n->first; v; v = v->next) {
			if (!node_is_scalar(v))
				return node_error(v, "published: a number must stand here");
			sweep->published[sweep->n_published++] = (struct sweep_published){n->key,
				v->key, v->text,
				v->kind == NODE_INT || v->kind == NODE_REAL ? v->real : NAN};
		}
	}
	return 0;
}

static int read_limits(struct sweep_file *f, const struct node *map, struct sweep_limits *limits)
{
	static const struct field rows[] = {
		FIELD(struct sweep_limits, disk_gib, "disk_gib", REAL, "0", 0, 1e6, .unit = "GiB"),
		FIELD(struct sweep_limits, hours, "hours", REAL, "0", 0, 1e6, .unit = "hours"),
		FIELD(struct sweep_limits, memory_gib, "memory_gib", REAL, "0", 0, 1e6,
			.unit = "GiB"),
		FIELD(struct sweep_limits, runs, "runs", INT, "1000", 1, 1e6, .unit = "runs"),
	};
	static const char *const names[] = {"disk_gib", "hours", "memory_gib", "runs"};
	struct config_value v;

	if (map && map->kind != NODE_MAP)
		return node_error(map, "limits: a map must stand here, such as {runs: 100}");
	if (map && check_entries(map, names, ARRAY_SIZE(names), NULL))
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct node *n = map ? node_get(map, rows[i].key) : NULL;
		if (!n)
			value_set_own(f->reader.arena, &rows[i], "default", rows[i].initial, &v);
		else if (value_set(f->reader.arena, &rows[i], n, &v))
			return -1;
		value_store(&v, (char *)limits + rows[i].offset);
	}
	return 0;
}

int sweep_goals(struct sweep_file *f, const struct points *points, struct sweep *sweep)
{
	const struct node *baseline = node_get(f->root, "baseline");
	const struct node *targets = node_get(f->root, "targets");
	const struct node *published = node_get(f->root, "published");

	if (f->is_trials)
		return read_limits(f, node_get(f->root, "limits"), &sweep->limits);
	if (baseline && read_baseline(f, points, baseline, sweep))
		return -1;
	if (targets && read_targets(f->reader.arena, targets, sweep))
		return -1;
	if (published && read_published(f, points, published, sweep))
		return -1;
	return read_limits(f, node_get(f->root, "limits"), &sweep->limits);
}
