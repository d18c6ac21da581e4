#include "plan/tune.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/path.h"
#include "store/record.h"

/* The value of one configuration that does best. */
struct choice {
	const char *value;
	double loss;		/* mean over the seeds */
	int place, n;		/* from 0, of n values */
};

static bool same_axes(const struct sweep_run *a, const struct sweep_run *b, const char *but)
{
	for (int i = 0; i < a->n_axes; i++) {
		bool found = !strcmp(a->axes[i].key, but);
		for (int j = 0; j < b->n_axes && !found; j++)
			found = !strcmp(a->axes[i].key, b->axes[j].key) &&
				!strcmp(a->axes[i].text, b->axes[j].text);
		if (!found)
			return false;
	}
	return true;
}

/* Of one configuration, whatever their values of the tuned key? */
static bool same_but(const struct sweep_run *a, const struct sweep_run *b, const char *key)
{
	return !strcmp(a->variant, b->variant) && same_axes(a, b, key) && same_axes(b, a, key);
}

/* Of the evaluation behind the last step; NAN: there is none. */
static double last_loss(const char *text, size_t n, long steps)
{
	struct arena a = {0};
	double loss = NAN;

	for (const char *line = text, *end = text + n; line < end;) {
		const char *feed = memchr(line, '\n', (size_t)(end - line));
		size_t length = feed ? (size_t)(feed - line) : (size_t)(end - line);
		struct record r;
		if (record_parse(&r, line, length, &a) && r.type == RECORD_IS_EVAL &&
			!strcmp(r.eval.kind, "val") && r.eval.step == steps)
			loss = r.eval.loss;
		line += length + 1;
	}
	arena_release(&a);
	return loss;
}

static int trial_loss(const char *root, const struct job *job, double *loss)
{
	char *path, *text;
	size_t n;

	*loss = INFINITY;
	if (job->action == JOB_DIVERGED)
		return 0;
	path = xasprintf("%s/runs/%s/metrics.jsonl", root, job->name);
	text = path_read(path, &n);
	if (text) {
		*loss = last_loss(text, n, job->steps);
		if (isnan(*loss))
			error("%s: damaged: the evaluation behind step %ld, the last, is not in it: `moelab rm %s` "
				"takes the trial away, `moelab run` does it anew", path, job->steps, job->name);
	}
	free(text);
	free(path);
	return isnan(*loss) || !text ? -1 : 0;
}

static double *trial_losses(struct plan *trials, const char *root)
{
	double *losses = ARENA_ARRAY(&trials->arena, double, trials->sweep.n_runs);

	for (int i = 0; i < trials->sweep.n_runs; i++)
		if (trial_loss(root, &trials->jobs[i], &losses[i]))
			return NULL;
	return losses;
}

/* Trials of one value follow each other, seed by seed, and the values rise. */
static struct choice choose(const struct plan *trials, const double *losses,
	const struct sweep_run *like)
{
	const struct sweep *s = &trials->sweep;
	struct choice best = {.loss = INFINITY};
	const char *value = NULL;
	double sum = 0;
	int n_seeds = 0;

	for (int i = 0; i < s->n_runs; i++) {
		const char *text;
		if (!same_but(&s->runs[i], like, s->tune.key))
			continue;
		text = config_find(&s->runs[i].config, s->tune.key)->text;
		if (!value || strcmp(text, value)) {
			value = text;
			sum = n_seeds = 0;
			best.n++;
		}
		sum += losses[i];
		n_seeds++;
		if (i + 1 < s->n_runs && s->runs[i + 1].label == s->runs[i].label)
			continue;
		if (sum / n_seeds < best.loss) {
			best.loss = sum / n_seeds;
			best.value = value;
			best.place = best.n - 1;
		}
	}
	return best;
}

static int find_edges(struct plan *trials, const char *root, struct sweep_trials *more)
{
	double *losses = trial_losses(trials, root);

	for (int i = 0; losses && i < trials->sweep.n_runs; i++) {
		struct choice c = choose(trials, losses, &trials->sweep.runs[i]);
		more->lower |= c.value && c.place == 0;
		more->higher |= c.value && c.place == c.n - 1;
	}
	return losses ? 0 : -1;
}

int tune_open(struct plan *trials, const char *path, const struct sweep_options *options,
	const struct device *device, const char *root)
{
	struct sweep_trials which = {.set = "eval.split=tune"};
	struct sweep_options o = options ? *options : (struct sweep_options){0};
	int ret;

	o.trials = &which;
	if (plan_open(trials, path, &o, device, root))
		return -1;
	if (!trials->sweep.tune.extend || plan_incomplete(trials))
		return 0;
	ret = find_edges(trials, root, &which);
	if (!ret && !which.lower && !which.higher)
		return 0;
	plan_close(trials);
	return ret ? -1 : plan_open(trials, path, &o, device, root);
}

static void warn_at_edge(const struct sweep *sweep, const struct sweep_run *run,
	const struct choice *c)
{
	if (run->seed == sweep->runs[0].seed && (c->place == 0 || c->place == c->n - 1))
		warning("%s: %s %s is the %s of the values tried: try %s ones", run->label,
			sweep->tune.key, c->value, c->place ? "largest" : "smallest",
			c->place ? "larger" : "smaller");
}

int tune_choose(struct plan *trials, const char *root, struct arena *a, struct sweep *sweep)
{
	const char *key = sweep->tune.key;
	double *losses = trial_losses(trials, root);

	if (!losses)
		return -1;
	for (int i = 0; i < sweep->n_runs; i++) {
		struct sweep_run *run = &sweep->runs[i];
		struct choice c;
		if (!config_find(&run->config, key))
			continue;
		c = choose(trials, losses, run);
		if (!c.value)
			return error("%s: no trial of %s ended with a loss: try smaller values", sweep->name,
				run->label);
		config_set(&run->config, a, key, arena_strdup(a, c.value),
			arena_printf(a, "tune: best of %d", c.n));
		warn_at_edge(sweep, run, &c);
	}
	return 0;
}
