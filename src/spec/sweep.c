#include "spec/sweep.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/path.h"
#include "base/str.h"
#include "spec/sweep_file.h"

/* "x/sweeps/micro/table1.yaml" is "micro/table1"; outside such folders the file's name alone, as of a
   pipe, too. */
static const char *sweep_name(struct arena *a, const char *path)
{
	static const char *const folders[] = {"/sweeps/", "/experiments/"};
	char *real = realpath(path, NULL);
	const char *start = path_name(real ? real : path);
	char *name, *dot;

	for (size_t i = 0; real && i < ARRAY_SIZE(folders); i++)
		for (const char *p = real; (p = strstr(p, folders[i]));)
			start = p += strlen(folders[i]);
	name = arena_strdup(a, start);
	dot = strrchr(name, '.');
	if (dot && !strchr(dot, '/') && dot != name)
		*dot = '\0';
	free(real);
	return name;
}

static int read_text(const struct node *root, const char *key, const char **text)
{
	const struct node *n = node_get(root, key);

	if (n && !node_is_scalar(n))
		return node_error(n, "%s: a text must stand here, not %s", key, node_kind_name(n));
	if (n)
		*text = n->text;
	return 0;
}

/* What the command line gives for all runs must not be what tells them apart. */
static int read_given(struct sweep_file *f, const struct sweep_options *options)
{
	for (int i = 0; i < options->n_overrides; i++)
		if (settings_add_override(&f->reader, &f->given, options->overrides[i]))
			return -1;
	for (int i = 0; i < f->given.n; i++) {
		const char *key = f->given.at[i].key;
		const struct setting *axis = swept(f, key);
		const struct node *place = axis ? axis->value : strcmp(key, "seed") ? NULL : f->seeds;
		if (f->tune.key && !strcmp(key, f->tune.key))
			return error("command line: \"%s\" is chosen by trials (%s:%d): without `tune` it can be given",
				key, f->tuned.at[0].value->file, f->tuned.at[0].value->key_line);
		if (place)
			return error(
				"command line: \"%s\" is swept (%s:%d): pick from its values with "
				"--restrict %s=...",
				key, place->file, place->key_line, key);
	}
	return 0;
}

/* What `plan` tells about a point whose architecture lacks some of the sweep's keys. */
static const char *point_note(const struct sweep_file *f, const struct point *p)
{
	const struct settings *lists[] = {&f->wide.set, &p->axes};
	const char *note = NULL;
	struct str keys;
	int n = 0;

	str_init(&keys);
	for (int l = 0; l < 2; l++)
		for (int i = 0; i < lists[l]->n; i++)
			if (is_dropped(p, &lists[l]->at[i])) {
				str_add_item(&keys, "%s", lists[l]->at[i].key);
				n++;
			}
	if (n)
		note = arena_printf(f->reader.arena, "%s %s not apply to %s", keys.text,
			n == 1 ? "does" : "do", p->config.choice);
	if (n && p->n_same > 1)
		note = arena_printf(
			f->reader.arena, "%s: %d combinations are this run", note, p->n_same);
	str_release(&keys);
	return note;
}

static int read_seeds(struct sweep_file *f, const struct node *list, struct config_value **seeds)
{
	const struct field *field = rows_find(&f->reader.rows, "seed");
	int n = 0;

	if (list->kind != NODE_LIST || !list->n)
		return node_error(
			list, "seeds: a list of seeds must stand here, such as [1, 2, 3]");
	*seeds = ARENA_ARRAY(f->reader.arena, struct config_value, list->n);
	for (const struct node *s = list->first; s; s = s->next, n++) {
		if (value_set(f->reader.arena, field, s, &(*seeds)[n]))
			return -1;
		for (int i = 0; i < n; i++)
			if ((*seeds)[i].integer == (*seeds)[n].integer)
				return node_error(s, "seeds: %s stands in the list twice", s->text);
	}
	return n;
}

/* The point's config with another seed; the rest is shared. */
static struct config with_seed(
	struct arena *a, const struct config *c, const struct config_value *seed)
{
	struct config copy = *c;

	copy.values = ARENA_ARRAY(a, struct config_value, c->n);
	memcpy(copy.values, c->values, (size_t)c->n * sizeof *c->values);
	copy.values[config_find(c, "seed") - c->values] = *seed;
	return copy;
}

static int add_run(struct sweep_file *f, const struct filter *filter, const struct sweep_run *run,
	const struct point *p, struct sweep *sweep)
{
	int match = filter_matches(f, filter, p->variant, &run->config);

	if (match < 0)
		return -1;
	if (match)
		sweep->runs[sweep->n_runs++] = *run;
	else
		sweep->n_unselected++;
	return 0;
}

static int add_point_runs(struct sweep_file *f, const struct filter *filter, const struct point *p,
	const struct config_value *seeds, int n_seeds, struct sweep *sweep)
{
	struct config of_point = p->config;
	struct sweep_run run = {.label = p->label,
		.variant = p->variant->label,
		.note = point_note(f, p)};

	if (sweep->n_combinations > 1)	/* so that what is said of it names it */
		of_point.file = arena_printf(f->reader.arena, "%s: %s", of_point.file, p->label);
	run.config = of_point;
	run.n_axes = point_axes(f, p, &run.axes);
	for (int i = 0; i < n_seeds || (!n_seeds && i == 0); i++) {
		if (n_seeds)
			run.config = with_seed(f->reader.arena, &of_point, &seeds[i]);
		run.seed = config_find(&run.config, "seed")->integer;
		if (add_run(f, filter, &run, p, sweep))
			return -1;
	}
	return 0;
}

/* Trials of a few values only would choose one of these, and the run would pass for tuned. */
static int check_filter(const struct sweep_file *f, const struct filter *filter)
{
	const char *key = f->tune.key;
	const struct node *place = key ? f->tuned.at[0].value : NULL;

	if (!key || !settings_find(&filter->keys, key))
		return 0;
	return error("--restrict %s: it is chosen by trials (%s:%d), among all of its values", key, place->file,
		place->key_line);
}

static int make_runs(struct sweep_file *f, const struct sweep_options *options,
	const struct points *points, struct sweep *sweep)
{
	struct config_value *seeds = NULL;
	struct filter filter = {0};
	int n_seeds = 0;
	long n;

	for (int i = 0; i < options->n_restrict; i++) {
		bool of_reported = f->is_trials && str_starts(options->restrict_to[i], "seed=");
		if (!of_reported && filter_add(f, &filter, options->restrict_to[i]))
			return -1;
	}
	if (check_filter(f, &filter) || (f->seeds && (n_seeds = read_seeds(f, f->seeds, &seeds)) < 0))
		return -1;
	n = (long)points->n * (n_seeds ? n_seeds : 1);
	if (n > sweep->limits.runs)
		return node_error(f->root, "%ld runs are more than limits.runs allows (%ld)", n,
			sweep->limits.runs);
	sweep->runs = ARENA_ARRAY(f->reader.arena, struct sweep_run, n);
	for (int i = 0; i < points->n; i++)
		if (add_point_runs(f, &filter, &points->at[i], seeds, n_seeds, sweep))
			return -1;
	return sweep->n_runs ? 0 : error("%s: no run is as --restrict wants it", f->path);
}

/* Both are printed; under its name it stands in the results, and its figures in a folder. */
static int check_texts(const struct sweep *s)
{
	bool up = !strcmp(s->name, "..") || str_starts(s->name, "../") ||
		str_ends(s->name, "/..") || strstr(s->name, "/../");

	if (s->question && !str_is_text(s->question))
		return error("%s: a control character in the question", s->file);
	if (str_ends(s->name, ".tune"))
		return error("%s: the sweep's name, %s, is what the trials of another sweep are called: choose one that "
			"does not end in .tune", s->file, s->name);
	return *s->name && *s->name != '/' && !up && str_is_line(s->name) ? 0 :
		error("%s: the sweep's name becomes that of a file: valid UTF-8, no control "
			"characters, no \"/\" at its beginning, no \"..\"", s->file);
}

int sweep_load(struct arena *a, const char *path, const struct sweep_options *options,
	const struct schema *schema, struct sweep *sweep)
{
	static const struct sweep_options nothing;
	struct sweep_file f;
	struct points points;

	options = options ? options : &nothing;
	*sweep = (struct sweep){.name = sweep_name(a, path)};
	if (sweep_file_read(&f, a, path, options->trials, schema))
		return -1;
	if (options->trials && !f.is_trials)
		return error("%s: has no \"tune\", so there are no trials", path);
	sweep->file = f.path;
	sweep->tune = f.tune;
	if (read_text(f.root, "name", &sweep->name) ||
		read_text(f.root, "question", &sweep->question))
		return -1;
	if (check_texts(sweep))
		return -1;
	if (f.is_trials)
		sweep->name = arena_printf(a, "%s.tune", sweep->name);
	if (read_given(&f, options) || sweep_points(&f, sweep, &points))
		return -1;
	if (sweep_goals(&f, &points, sweep))
		return -1;
	return make_runs(&f, options, &points, sweep);
}

static void add_count(struct str *out, int n, const char *one, const char *more)
{
	if (n)
		str_add_item(out, "%d %s", n, n == 1 ? one : more);
}

void sweep_summary(const struct sweep *s, struct str *out)
{
	struct str line;

	str_init(&line);
	add_count(&line, s->n_combinations, "combination", "combinations");
	add_count(&line, s->n_excluded, "excluded", "excluded");
	add_count(&line, s->n_merged, "inactive duplicate merged", "inactive duplicates merged");
	add_count(&line, s->n_runs + s->n_unselected, "run", "runs");
	add_count(&line, s->n_unselected, "left out by --restrict", "left out by --restrict");
	str_add(out, line.text);
	str_release(&line);
}
