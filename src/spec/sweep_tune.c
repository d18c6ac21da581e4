/* `tune` of a sweep file: which trials choose the value of a key, such as the learning rate. */
#include <string.h>

#include "base/error.h"
#include "spec/sweep_file.h"

static int check_values(const struct setting *over)
{
	double before = 0;

	if (check_axis(over))
		return -1;
	if (over->value->n < 2)
		return node_error(over->value, "tune: %s: at least two values must stand here", over->key);
	for (const struct node *n = over->value->first; n; n = n->next) {
		if ((n->kind != NODE_INT && n->kind != NODE_REAL) || n->real <= before)
			return node_error(n, "tune: %s: numbers above 0 in rising order must stand here",
				over->key);
		before = n->real;
	}
	return 0;
}

/* A seed that chose a value must not judge it. */
static int check_seeds(const struct node *trials, const struct node *reported)
{
	if (!reported)
		return node_error(trials, "tune: the sweep itself needs \"seeds\", too: others than these");
	for (const struct node *t = trials->first; t; t = t->next)
		for (const struct node *r = reported->first; r; r = r->next)
			if (t->integer == r->integer)
				return node_error(t, "tune: seed %s is one of the sweep's own", t->text);
	return 0;
}

static struct node *another_value(struct sweep_file *f, const struct node *list, double value)
{
	struct arena *a = f->reader.arena;
	struct node *n = node_value(a, list->file, arena_printf(a, "%.6g", value));

	CHECK(n);
	n->line = list->line;
	n->column = list->column;
	return n;
}

static struct node *copy_node(struct arena *a, const struct node *n)
{
	struct node *copy = ARENA_NEW(a, struct node);

	*copy = *n;
	return copy;
}

/* The list with one more value at its ends, each a factor away as the two values there are. */
static const struct node *extended(struct sweep_file *f, const struct node *list,
	const struct sweep_trials *trials)
{
	struct node *longer = copy_node(f->reader.arena, list), **end = &longer->first;
	double first = list->first->real, second = list->first->next->real, before = 0, last = 0;

	if (trials->lower) {
		*end = another_value(f, list, first * first / second);
		end = &(*end)->next;
		longer->n++;
	}
	for (const struct node *n = list->first; n; n = n->next) {
		*end = copy_node(f->reader.arena, n);
		end = &(*end)->next;
		before = last;
		last = n->real;
	}
	if (trials->higher) {
		*end = another_value(f, list, last * last / before);
		longer->n++;
	}
	return longer;
}

static int become_trials(struct sweep_file *f, const struct setting *over, const struct node *set,
	const struct node *seeds, const struct sweep_trials *trials)
{
	struct arena *a = f->reader.arena;
	const char *equals = strchr(trials->set, '=');
	const char *key = arena_printf(a, "%.*s", (int)(equals - trials->set), trials->set);

	if (set && settings_add_map(&f->reader, &f->trial, set, NULL, true))
		return -1;
	settings_add(&f->reader, &f->trial, key, node_value(a, "tune", equals + 1), true);
	settings_add(&f->reader, &f->wide.grid, over->key, extended(f, over->value, trials), true);
	f->seeds = seeds;
	f->is_trials = true;
	return 0;
}

static int read_metric(const struct node *metric, const struct node *extend, struct sweep_tune *tune)
{
	if (metric && (!node_is_scalar(metric) || strcmp(metric->text, "val_loss")))
		return node_error(metric, "tune: metric: only val_loss can be tuned for");
	if (extend && extend->kind != NODE_BOOL)
		return node_error(extend, "tune: extend: true or false must stand here");
	tune->extend = extend && extend->boolean;
	return 0;
}

int sweep_tune_read(struct sweep_file *f, const struct node *map, const struct sweep_trials *trials)
{
	static const char *const keys[] = {"over", "set", "seeds", "metric", "extend"};
	const struct node *over, *seeds;

	if (map->kind != NODE_MAP || !node_get(map, "over") || !node_get(map, "seeds"))
		return node_error(map, "tune: a map must stand here, such as "
			"{over: {train.lr: [1e-3, 2e-3, 4e-3]}, seeds: [8, 9]}");
	over = node_get(map, "over");
	seeds = node_get(map, "seeds");
	if (check_entries(map, keys, ARRAY_SIZE(keys), &f->reader.rows) ||
		settings_add_map(&f->reader, &f->tuned, over, NULL, true) ||
		read_metric(node_get(map, "metric"), node_get(map, "extend"), &f->tune))
		return -1;
	if (f->tuned.n != 1)
		return node_error(over, "tune: over: one key must stand here, and there are %d",
			f->tuned.n);
	if (check_values(&f->tuned.at[0]) || check_seeds(seeds, f->seeds))
		return -1;
	f->tune.key = f->tuned.at[0].key;
	if (swept(f, f->tune.key))
		return node_key_error(f->tuned.at[0].value, "tune: \"%s\" is an axis of the sweep",
			f->tune.key);
	return trials ? become_trials(f, &f->tuned.at[0], node_get(map, "set"), seeds, trials) : 0;
}
