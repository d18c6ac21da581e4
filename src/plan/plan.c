#include "plan/plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/path.h"
#include "data/order.h"
#include "plan/match.h"
#include "plan/tune.h"
#include "store/catalog.h"
#include "train/samples.h"

/* What is needed of a dataset, once for all runs that read it. */
struct known_data {
	struct known_data *next;
	const char *path;
	char hash[HASH_HEX];
	struct setup_data setup;	/* n_vocab 0: it is not there */
	struct dataset dataset;		/* open, where it is */
	long n_inputs;			/* to train on */
	long row;			/* tokens of a row of examples; 0: text */
};

/* Without data.vocab nothing can be planned where the dataset is missing. */
static const struct known_data *data_open(struct arena *a, struct known_data **list,
	const struct config *c)
{
	const char *path = config_find(c, "data.path")->word;
	bool there = dataset_exists(path), needed = !config_find(c, "data.vocab")->integer;
	struct known_data *k;

	for (k = *list; k; k = k->next)
		if (!strcmp(k->path, path))
			return k;
	k = ARENA_NEW(a, struct known_data);
	*k = (struct known_data){.next = *list, .path = path};
	if ((there || needed) && dataset_open(&k->dataset, path))
		return NULL;
	*list = k;
	if (!there)
		return k;
	k->setup = setup_data_of(&k->dataset);
	k->n_inputs = split_inputs(&k->dataset.splits[SPLIT_TRAIN]);
	k->row = k->dataset.splits[SPLIT_TRAIN].row;
	memcpy(k->hash, k->dataset.hash, HASH_HEX);
	return k;
}

static void close_data(struct known_data *list)
{
	for (struct known_data *k = list; k; k = k->next)
		if (k->setup.n_vocab)
			dataset_close(&k->dataset);
}

static void list_missing(struct plan *p, const struct known_data *list)
{
	int n = 0;

	for (const struct known_data *k = list; k; k = k->next)
		n += !k->setup.n_vocab;
	p->missing = ARENA_ARRAY(&p->arena, const char *, n);
	for (const struct known_data *k = list; k; k = k->next)
		if (!k->setup.n_vocab)
			p->missing[p->n_missing++] = k->path;
}

/* Checkpoints (weights and two moments; one more while the next is written) and a line per step. */
static double disk_bytes(const struct setup *s)
{
	double checkpoint = 3.0 * (double)s->params.blob_size * (double)s->device->bytes[MASTER];

	return checkpoint * (double)(s->spec.checkpoint_keep + 1) + 400.0 * (double)run_steps(&s->spec);
}

/* An axis gives each run of its own value, and a label that says it: no match may change it. */
static int check_axes(const struct sweep_run *run)
{
	const struct config_value *to = config_find(&run->config, "match.to");
	const char *key = config_find(&run->config, "match.solve")->word;

	for (int i = 0; i < run->n_axes && *to->word; i++)
		if (!strcmp(run->axes[i].key, key))
			return error("%s: %s is an axis of the sweep and solved by match (%s): only one can "
				"choose its value", run->label, key, to->origin);
	return 0;
}

/* Said before anything starts; packings of documents find out by themselves. */
static int check_length(const struct config *c, const struct known_data *data)
{
	const struct config_value *context = config_find(c, "train.context");

	if (data->row && data->row != context->integer)
		return error("%s: train.context is %ld (%s), but the rows of %s are of %ld tokens: set "
			"train.context=%ld", c->file, context->integer, context->origin, data->path,
			data->row, data->row);
	if (!data->setup.n_vocab || data->n_inputs >= context->integer + !data->row)
		return 0;
	return error("%s: train.context %ld (%s) is too long for the %ld tokens to train on in %s: "
		"import more text, or use a shorter one", c->file, context->integer, context->origin,
		(long)data->n_inputs, data->path);
}

/* Have the splits what the run draws from them? A packing reads the whole split, so it waits for the run. */
static int check_draws(const struct run_spec *spec, const struct known_data *data)
{
	enum split evaluated = strcmp(spec->eval_split, "tune") ? SPLIT_VAL : SPLIT_TUNE;
	struct sequences s;
	enum sampling how;

	if (!data->setup.n_vocab)
		return 0;
	if (samples_check(spec, &data->dataset) || sampling_parse(&how, spec->sampling) ||
		sequences_init(&s, &data->dataset, evaluated, (int)spec->context, 0))
		return -1;
	if (how == SAMPLING_PAPER && !data->row)
		return 0;
	return sequences_init(&s, &data->dataset, SPLIT_TRAIN, (int)spec->context, 0) ||
		sequences_sample(&s, how, spec->batch);
}

/* Targets are of all runs of a sweep. */
static int check_targets(const struct sweep *s, const struct config *c)
{
	const struct config_value *head = config_find(c, "model.head");

	for (int i = 0; i < s->n_targets && !strcmp(head->word, "forecast"); i++)
		if (s->targets[i].kind == TARGET_PERPLEXITY)
			return error("%s: targets: a perplexity, which forecasts have not (model.head=forecast, %s): give a "
				"squared error as {loss: NUMBER}, or \"baseline\"", s->file, head->origin);
	return 0;
}

static int plan_run(struct plan *p, int i, struct known_data **list)
{
	struct sweep_run *run = &p->sweep.runs[i];
	const struct known_data *data = data_open(&p->arena, list, &run->config);
	struct setup setup;
	char *identity = arena_get(&p->arena, HASH_HEX);

	if (!data || check_targets(&p->sweep, &run->config) || check_length(&run->config, data) || check_axes(run) ||
		match_solve(&p->arena, &run->config, p->device, data->setup.n_vocab) ||
		run_spec_pin(&p->arena, &run->config) ||
		setup_open_for(&setup, &run->config, p->device, &data->setup))
		return -1;
	if (check_draws(&setup.spec, data)) {
		setup_close(&setup);
		return -1;
	}
	identity[0] = '\0';
	if (data->setup.n_vocab)
		setup_identity(&setup, data->hash, identity);
	if (setup_warning(&setup) && (!i || strcmp(run->label, run[-1].label)))
		warning("%s: %s", run->label, setup_warning(&setup));
	cost_of(&setup, &p->costs[i]);
	evals_of(&setup, data->setup.n_vocab ? &data->dataset : NULL, &p->evals[i]);
	p->tokens[i] = (double)(run_steps(&setup.spec) * setup.spec.batch * setup.spec.context);
	p->epochs[i] = data->setup.n_vocab ? p->tokens[i] / (double)data->n_inputs : NAN;
	p->jobs[i] = (struct job){.label = run->label, .seed = run->seed, .identity = identity,
		.config = &run->config, .steps = run_steps(&setup.spec), .disk_bytes = disk_bytes(&setup)};
	setup_close(&setup);
	return 0;
}

/* Of --restrict'ed runs the values are those of the whole sweep where all its trials are complete; else
   the trials are restricted as the runs are, but for the seed: they have their own. */
static int open_trials(struct plan *trials, const char *path, const struct sweep_options *options,
	const struct device *device, const char *root)
{
	struct sweep_options all = options ? *options : (struct sweep_options){0};

	if (!all.n_restrict)
		return tune_open(trials, path, options, device, root);
	all.n_restrict = 0;
	if (tune_open(trials, path, &all, device, root))
		return -1;
	if (!plan_incomplete(trials))
		return 0;
	plan_close(trials);
	return tune_open(trials, path, options, device, root);
}

static int choose_values(struct plan *p, const char *path, const struct sweep_options *options,
	const char *root)
{
	struct plan trials;
	int ret;

	if (!p->sweep.tune.key || p->trials.set)
		return 0;
	if (open_trials(&trials, path, options, p->device, root))
		return -1;
	p->trials_left = plan_incomplete(&trials);
	ret = p->trials_left ? 0 : tune_choose(&trials, root, &p->arena, &p->sweep);
	plan_close(&trials);
	return ret;
}

int plan_open(struct plan *p, const char *path, const struct sweep_options *options,
	const struct device *device, const char *root)
{
	struct known_data *list = NULL;
	int ret;

	*p = (struct plan){.device = device};
	if (options && options->trials)
		p->trials = *options->trials;
	ret = sweep_load(&p->arena, path, options, spec_schema(), &p->sweep) ||
		choose_values(p, path, options, root) ? -1 : 0;
	if (!ret) {
		p->jobs = ARENA_ARRAY(&p->arena, struct job, p->sweep.n_runs);
		p->costs = ARENA_ARRAY(&p->arena, struct cost, p->sweep.n_runs);
		p->evals = ARENA_ARRAY(&p->arena, struct evals, p->sweep.n_runs);
		p->tokens = ARENA_ARRAY(&p->arena, double, p->sweep.n_runs);
		p->epochs = ARENA_ARRAY(&p->arena, double, p->sweep.n_runs);
	}
	for (int i = 0; i < p->sweep.n_runs && !ret; i++)
		ret = plan_run(p, i, &list);
	list_missing(p, list);
	close_data(list);
	if (!ret)
		ret = jobs_decide(root, p->jobs, p->sweep.n_runs, &p->arena);
	if (ret)
		plan_close(p);
	return ret;
}

void plan_close(struct plan *p)
{
	arena_release(&p->arena);
	*p = (struct plan){0};
}

static bool has_run(const struct plan *p, const char *identity)
{
	for (int i = 0; i < p->sweep.n_runs; i++)
		if (!strcmp(p->jobs[i].identity, identity))
			return true;
	return false;
}

/* Of two files that are there; one that was moved is the same to us. */
static bool is_other_file(const char *before, const char *now)
{
	char *a = realpath(before, NULL), *b = realpath(now, NULL);
	bool other = a && b && strcmp(a, b);

	free(a);
	free(b);
	return other;
}

/* Runs that there are and that leave the sweep, since it has changed, or another file has its name. */
static void tell_left(const char *root, const struct plan *p)
{
	json_t *before = catalog_read(root, p->sweep.name), *run;
	const char *file = json_string_value(json_object_get(before, "file"));
	struct arena a = {0};
	size_t i;
	int n = 0;

	json_array_foreach(json_object_get(before, "runs"), i, run)
		n += !has_run(p, json_string_value(json_object_get(run, "run"))) && path_exists(arena_printf(&a,
			"%s/runs/%s/run.json", root, json_string_value(json_object_get(run, "dir"))));
	if (n && file && is_other_file(file, p->sweep.file))
		warning("%s was the sweep of %s, and %d runs of that leave it: `name:` in one of the files tells the "
			"two apart", p->sweep.name, file, n);
	else if (n)
		info("%s: %d runs of an earlier version leave it; they stay in %s/runs", p->sweep.name, n, root);
	arena_release(&a);
	json_decref(before);
}

/* The trials that chose the values, also if others ran them: tables ask their record who chose. */
static int record_trials(struct db *db, const char *root, const struct plan *p, const char *path,
	const struct sweep_options *options)
{
	struct sweep_options of_trials = *options;
	struct plan trials;
	int ret;

	if (!p->sweep.tune.key || p->trials.set || p->trials_left)
		return 0;
	if (open_trials(&trials, path, options, p->device, root))
		return -1;
	if (!trials.sweep.n_unselected)
		of_trials.n_restrict = 0;
	ret = plan_record(db, root, &trials, path, &of_trials);
	plan_close(&trials);
	return ret;
}

int plan_record(struct db *db, const char *root, const struct plan *p, const char *path,
	const struct sweep_options *options)
{
	struct sweep_options all = *options;
	struct plan whole;
	int ret;

	if (record_trials(db, root, p, path, options))
		return -1;
	if (!options->n_restrict) {
		if (!p->trials.set)	/* these come and go with the edges of their values */
			tell_left(root, p);
		return jobs_record(db, root, &p->sweep, p->jobs, NULL);
	}
	all.n_restrict = 0;
	all.trials = p->trials.set ? &p->trials : NULL;
	if (plan_open(&whole, path, &all, p->device, root))
		return -1;
	if (!whole.trials_left && !all.trials)
		tell_left(root, &whole);
	if (whole.trials_left)
		ret = jobs_record(db, root, &p->sweep, p->jobs, &whole.sweep);
	else	/* how far others' trials were extended is not known here */
		ret = jobs_record(db, root, &whole.sweep, whole.jobs, all.trials ? &whole.sweep : NULL);
	plan_close(&whole);
	return ret;
}

int plan_check_data(const struct plan *p)
{
	struct dataset d;

	if (!p->n_missing)
		return 0;
	if (!dataset_open(&d, p->missing[0]))	/* made meanwhile */
		dataset_close(&d);
	return -1;
}

int plan_work(const struct plan *p)
{
	int n = 0;

	for (int i = 0; i < p->sweep.n_runs; i++)
		n += job_is_work(&p->jobs[i]);
	return n;
}

double plan_disk_bytes(const struct plan *p)
{
	double bytes = 0;

	for (int i = 0; i < p->sweep.n_runs; i++)
		bytes += job_is_work(&p->jobs[i]) ? p->jobs[i].disk_bytes : 0;
	return bytes;
}

int plan_incomplete(const struct plan *p)
{
	int n = 0;

	for (int i = 0; i < p->sweep.n_runs; i++)
		n += p->jobs[i].action != JOB_DONE && p->jobs[i].action != JOB_DIVERGED;
	return n;
}

double plan_bytes(const struct plan *p)
{
	double most = 0;

	for (int i = 0; i < p->sweep.n_runs; i++)
		if (job_is_work(&p->jobs[i]) && p->costs[i].total_bytes > most)
			most = p->costs[i].total_bytes;
	return most;
}

double plan_flops(const struct plan *p, int i)
{
	return p->tokens[i] * p->costs[i].flops_per_token;
}

double plan_evals_left(const struct plan *p, int i)
{
	return job_is_work(&p->jobs[i]) ? evals_left(&p->evals[i], p->jobs[i].step) : 0;
}

double plan_flops_left(const struct plan *p, int i)
{
	const struct job *j = &p->jobs[i];

	if (!job_is_work(j) || !j->steps)
		return 0;
	return (1 - (double)j->step / (double)j->steps) * plan_flops(p, i) + plan_evals_left(p, i);
}
