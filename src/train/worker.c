#include "train/worker.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/path.h"
#include "train/baseline.h"
#include "train/checkpoint.h"
#include "train/cost.h"
#include "train/evaluate.h"
#include "train/feed.h"
#include "train/products.h"
#include "train/samples.h"
#include "train/worker_link.h"
#include "train/worker_log.h"

struct worker {
	struct arena arena;
	const char *run_dir;
	struct config config;
	struct dataset data;
	struct feed feed;
	struct setup setup;
	struct evaluator evaluator;
	struct baseline baselines[MAX_SPLITS];
	struct samples samples;
	struct worker_link link;
	struct worker_log log;
	struct progress progress;
	double checkpoint_s;		/* clock of the last one */
	struct step_input input;
};

/* ---- getting ready -------------------------------------------------------------------------- */

static int read_micro(void *from, long step, long micro, int *tokens_BT, int *targets_BT)
{
	const struct worker *w = from;

	return feed_read(&w->feed, step, micro, tokens_BT, targets_BT);
}

static bool begins(void *from, long step)
{
	const struct worker *w = from;

	return feed_begins(&w->feed, step);
}

static void log_micro(void *from, long micro)
{
	struct worker *w = from;

	worker_log_micro(&w->log, w->progress.step + 1, micro);
}

static int open_model(struct worker *w, const struct device *device)
{
	struct setup *s = &w->setup;
	struct setup_data data = setup_data_of(&w->data);
	size_t n;

	if (setup_open_for(s, &w->config, device, &data))
		return -1;
	n = (size_t)(s->spec.micro_batch * s->spec.context);
	w->input = (struct step_input){.read = read_micro, .from = w,
		.begins = begins, .seen = log_micro, .tokens_BT = xcalloc(n, sizeof(int)),
		.targets_BT = xcalloc(n, sizeof(int))};
	if (feed_open(&w->feed, &s->spec, &w->data) ||
		evaluator_open(&w->evaluator, s, &w->data,
			strcmp(s->spec.eval_split, "tune") ? SPLIT_VAL : SPLIT_TUNE) ||
		(data.rows && baselines_of(w->baselines, &w->evaluator.windows, w->evaluator.n_windows)) ||
		samples_open(&w->samples, &s->spec, &w->data))
		return -1;
	return setup_allocate(s);
}

static int open_all(struct worker *w, const struct worker_options *o)
{
	const struct device *device = device_find(o->device ? o->device : "cpu");
	char *path = path_join(w->run_dir, "config.yaml");
	int ret = -1;

	if (device && !config_read(&w->arena, path, spec_schema(), &w->config) &&
		!dataset_open(&w->data, config_find(&w->config, "data.path")->word) &&
		!products_open(device, w->run_dir) && !open_model(w, device))
		ret = 0;
	free(path);
	return ret;
}

/* Newest checkpoint, or where there is none, the weights of train.init_from: 1, 0, or -1. */
static int begin_weights(struct worker *w)
{
	const char *from = w->setup.spec.init_from;

	if (checkpoint_resume(&w->setup, w->run_dir, &w->progress))
		return 1;
	if (*from && (run_spec_pin(&w->arena, &w->config) ||
		checkpoint_weights(&w->setup, from, false)))
		return -1;
	return 0;
}

static void close_all(struct worker *w)
{
	free(w->input.tokens_BT);
	free(w->input.targets_BT);
	evaluator_close(&w->evaluator);
	samples_close(&w->samples);
	feed_close(&w->feed);
	setup_close(&w->setup);
	dataset_close(&w->data);
	arena_release(&w->arena);
}

/* ---- the loop ------------------------------------------------------------------------------- */

/* 0, or -1: told, and the run goes on with the checkpoint before. */
static int save(struct worker *w)
{
	w->checkpoint_s = clock_s();
	/* Records first: a checkpoint that is ahead of them would leave a gap after resuming. */
	if (worker_link_flush(&w->link, true) || products_save(w->setup.device, w->run_dir) ||
		checkpoint_write(&w->setup, w->run_dir, &w->progress, w->link.claim)) {
		worker_link_event(&w->link, "warning", w->progress.step, "checkpoint not written");
		return -1;
	}
	worker_link_event(&w->link, "checkpoint", w->progress.step, "step %ld", w->progress.step);
	return 0;
}

/* What these return: 0, EVALUATION_STOPPED or -1. */
static int evaluate(struct worker *w, enum setup_graph which, const char *kind)
{
	struct evaluation e;
	int ret = evaluator_run(&w->evaluator, &w->setup, which, &e);

	if (!ret)
		worker_log_eval(&w->log, &w->progress, kind, &e);
	return ret;
}

static int score_tests(struct worker *w)
{
	struct recall_score score;
	int ret = 0;

	for (int i = N_SPLITS; i < w->data.n_splits && !ret; i++) {
		ret = recall_test(&score, &w->setup, &w->data, (enum split)i);
		if (!ret)
			worker_log_recall(&w->log, &w->progress, &w->data.splits[i], &score);
	}
	return ret;
}

static bool due(const struct worker *w, long every)
{
	long step = w->progress.step;

	return step == run_steps(&w->setup.spec) || (every && step % every == 0);
}

/* What is due at the present step: evaluation, scores on a task's test sets, texts. A worker that is asked to stop
   leaves it; the run begins with it when it goes on. */
static int tell(struct worker *w)
{
	const struct run_spec *s = &w->setup.spec;
	bool last = w->progress.step == run_steps(s);
	int ret = due(w, run_eval_every(s)) ? evaluate(w, GRAPH_EVAL, "val") : 0;

	if (!ret && due(w, s->eval_tests_every))
		ret = score_tests(w);
	if (!ret && s->samples_every && w->progress.step && due(w, s->samples_every))
		ret = samples_write(&w->samples, &w->setup, &w->link, w->progress.step) ? EVALUATION_STOPPED : 0;
	if (!ret && last && w->setup.graphs[GRAPH_EVAL_DROPLESS])
		ret = evaluate(w, GRAPH_EVAL_DROPLESS, "val_dropless");
	w->progress.told = !ret;
	return !ret ? WORKER_DONE : ret == EVALUATION_STOPPED ? WORKER_STOPPED : WORKER_FAILED;
}

/* One update with its records. WORKER_DONE to go on. */
static int train_step(struct worker *w)
{
	struct step_result r;
	double start = clock_s(), seconds;

	if (setup_step(&w->setup, w->progress.step, &w->input, &r))
		return WORKER_FAILED;
	seconds = clock_s() - start;
	if (!isfinite(r.grad_norm) || !isfinite(r.ce)) {
		worker_link_event(&w->link, "diverged", w->progress.step,
			"gradient norm %g, loss %g in update %ld", r.grad_norm, r.ce,
			w->progress.step + 1);
		return WORKER_DIVERGED;
	}
	w->progress.step++;
	w->progress.told = false;
	w->progress.seconds += seconds;
	w->progress.flops += cost_flops(&w->log.cost, run_step_tokens(&w->setup.spec), r.idle);
	worker_log_step(&w->log, &w->progress, &r, seconds);
	return WORKER_DONE;
}

static int train(struct worker *w)
{
	const struct run_spec *s = &w->setup.spec;
	long steps = run_steps(s);
	int ret = w->progress.told ? WORKER_DONE : tell(w);

	while (!ret && w->progress.step < steps) {
		if (w->link.taken)
			return WORKER_TAKEN;
		if (worker_link_stop())
			return WORKER_STOPPED;
		ret = train_step(w);
		if (!ret)
			ret = tell(w);
		if (!ret && clock_s() - w->checkpoint_s > s->checkpoint_every_s && w->progress.step < steps)
			save(w);
	}
	return ret;
}

static const char *why_diverged(const struct worker *w)
{
	return (float)w->setup.spec.eps > 0 ? "gradients are not finite" : "gradients are not finite: "
		"train.eps is 0, and AdamW divides 0 by 0 where a gradient is always 0";
}

/* The last checkpoint, the marker of the state, the exit code. */
static int finish(struct worker *w, int ret)
{
	bool over = ret == WORKER_DONE || ret == WORKER_DIVERGED;
	bool keep = w->setup.spec.checkpoint_keep > 0 || !over;
	int saved;

	if (!worker_link_holds(&w->link, false))
		return WORKER_TAKEN;
	saved = ret == WORKER_FAILED || !keep ? 0 : save(w);
	if (ret == WORKER_DONE && saved)
		ret = WORKER_FAILED;
	if (ret == WORKER_STOPPED) {
		worker_link_event(&w->link, "stop", w->progress.step, "signal %d", worker_link_stop());
		worker_link_flush(&w->link, true);
		return ret;
	}
	if (ret == WORKER_DONE)
		worker_link_event(&w->link, "done", w->progress.step, "%.1f s of training",
			w->progress.seconds);
	worker_link_finish(&w->link, ret == WORKER_DONE ? RUN_DONE
		: ret == WORKER_DIVERGED ? RUN_DIVERGED : RUN_FAILED,
		ret == WORKER_DONE ? "complete" : ret == WORKER_DIVERGED ? why_diverged(w)
		: "see log.txt");
	if (!keep && !w->link.taken)
		checkpoint_remove(w->run_dir);
	return ret;
}

static int run(struct worker *w, const struct worker_options *options)
{
	int resumed = open_all(w, options) ? -1 : begin_weights(w);

	if (resumed < 0) {
		worker_link_finish(&w->link, RUN_FAILED, "could not start; see log.txt");
		return WORKER_FAILED;
	}
	w->checkpoint_s = clock_s();
	worker_log_open(&w->log, &w->link, &w->setup, &w->data, &w->evaluator, w->baselines);
	if (isnan(w->progress.flops))
		w->progress.flops = cost_flops(&w->log.cost,
			(double)w->progress.step * run_step_tokens(&w->setup.spec), NAN);
	worker_log_attempt(&w->log, w->progress.step);
	worker_link_event(&w->link, resumed ? "resume" : "start", w->progress.step, "step %ld",
		w->progress.step);
	return finish(w, train(w));
}

int worker_main(const char *run_dir, const struct worker_options *options)
{
	struct worker w = {.run_dir = run_dir};
	int ret;

	cpu_threads(options->threads);
	if (worker_link_open(&w.link, run_dir, options->pipe))
		return WORKER_FAILED;
	worker_link_guard(&w.link, options->claim);
	ret = run(&w, options);
	if (w.link.taken)
		ret = WORKER_TAKEN;
	worker_link_close(&w.link);
	close_all(&w);
	return ret;
}
