#include "plan/evals.h"

#include <string.h>

#include "base/num.h"

/* A forward of a graph; 0: there is none. */
static double replay_flops(const struct graph *g)
{
	double flops = 0;

	for (int i = 0; g && i < graph_n_nodes(g); i++)
		flops += graph_node_info(g, i).cost.forward_flops;
	return flops;
}

/* Replays of an evaluation: of the windows that are asked for, as far as the split has them, at least one. */
static long replays(const struct setup *s, const struct dataset *d)
{
	long windows = s->spec.eval_tokens / s->spec.context;

	if (d)
		windows = min_long(windows, split_inputs(&d->splits[strcmp(s->spec.eval_split, "tune") ? SPLIT_VAL
			: SPLIT_TUNE]) / s->spec.context);
	return windows > 1 ? ceil_div(windows, s->spec.micro_batch) : 1;
}

static double tests_flops(const struct setup *s, const struct dataset *d)
{
	double flops = 0;

	for (int k = 0; d && k < s->data.n_tests; k++) {
		const struct setup_test *t = &s->data.tests[k];
		double once = replay_flops(s->graphs[N_SETUP_GRAPHS + k]);
		for (int i = N_SPLITS; i < d->n_splits; i++)
			if (d->splits[i].row == t->context)
				flops += once * (double)ceil_div(split_inputs(&d->splits[i]) / t->context, t->batch);
	}
	return flops;
}

void evals_of(const struct setup *s, const struct dataset *d, struct evals *e)
{
	double n = (double)replays(s, d);

	*e = (struct evals){.steps = run_steps(&s->spec), .every = run_eval_every(&s->spec),
		.tests_every = s->spec.eval_tests_every, .val = n * replay_flops(s->graphs[GRAPH_EVAL]),
		.dropless = n * replay_flops(s->graphs[GRAPH_EVAL_DROPLESS]), .tests = tests_flops(s, d)};
}

/* At each multiple of `every` behind `step`, at the last step, and before the first. */
static long times(const struct evals *e, long every, long step)
{
	if (!every)
		return step < e->steps;
	return e->steps / every - step / every + (step == 0) + (step < e->steps && e->steps % every);
}

double evals_left(const struct evals *e, long step)
{
	return e->val * (double)times(e, e->every, step) + e->tests * (double)times(e, e->tests_every, step) +
		e->dropless;
}
