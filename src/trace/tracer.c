#include "trace/tracer.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/half.h"
#include "base/hash.h"
#include "base/path.h"
#include "base/rng.h"
#include "base/str.h"
#include "plan/match.h"
#include "train/checkpoint.h"

/* ---- what is to be traced ------------------------------------------------------------------- */

static int open_run(struct tracer *t, const char *dir, const char *step)
{
	const struct trace_options *o = t->options;
	const char *file = arena_printf(&t->arena, "%s/config.yaml", dir);
	char *text = path_read(file, NULL);
	int ret;

	if (!text)
		return -1;
	ret = config_parse(&t->arena, file, text, o->overrides, o->n_overrides, spec_schema(),
		&t->config);
	free(text);
	t->is_run = true;
	t->weights = arena_printf(&t->arena, "%s/ckpt/step_%s.safetensors", dir, step);
	if (!ret && !path_exists(t->weights))
		ret = error("%s: the run has no checkpoint of step %s (checkpoint.keep says how "
			"many it keeps)", t->weights, step);
	return ret;
}

static int open_trace(struct tracer *t, const char *path)
{
	const struct trace_options *o = t->options;
	const char *spec, *step;
	long long n = 0;

	if (safetensors_open(&t->trace, path))
		return -1;
	t->has_trace = true;
	t->weights = path;
	spec = safetensors_metadata(&t->trace, "spec");
	step = safetensors_metadata(&t->trace, "step");
	if (!spec)
		return error("%s: no trace: its metadata have no spec", path);
	if (step && (!str_to_long(step, &n) || n < 0))
		return error("%s: metadata step \"%s\" is no number of updates", path, step);
	t->step = (long)n;
	return config_parse(&t->arena, path, spec, o->overrides, o->n_overrides, spec_schema(),
		&t->config);
}

static int open_spec(struct tracer *t, const char *path)
{
	const struct trace_options *o = t->options;

	return match_load(&t->arena, path, o->overrides, o->n_overrides, t->device,
		&t->config) || run_spec_pin(&t->arena, &t->config) ? -1 : 0;
}

static int open_source(struct tracer *t, const char *what)
{
	const char *at = strrchr(what, '@');

	if (str_ends(what, ".safetensors"))
		return open_trace(t, what);
	if (at && !path_exists(what))
		return open_run(t, arena_printf(&t->arena, "%.*s", (int)(at - what), what), at + 1);
	return open_spec(t, what);
}

static int open_data(struct tracer *t)
{
	const char *path = config_find(&t->config, "data.path")->word;
	char *manifest;
	bool there;

	if (t->has_trace || t->options->random)
		return 0;
	manifest = path_join(path, "dataset.json");
	there = path_exists(manifest);
	free(manifest);
	if (!there && t->is_run)
		return error("%s: the run's dataset is not there: data.path=DIR says where it is, --random takes random "
			"tokens", path);
	if (!there) {
		warning("%s: no dataset there, the tokens are random", path);
		return 0;
	}
	t->has_data = !dataset_open(&t->data, path);
	return t->has_data ? 0 : -1;
}

/* Of the data, or of the trace; 0: the spec says it. */
static long vocabulary(const struct tracer *t)
{
	const struct safetensor *table = t->has_trace && !config_find(&t->config, "model.patch")->integer
		? safetensors_find(&t->trace, "param.embedding.weight") : NULL;

	return t->has_data ? t->data.vocab : table ? table->dims[0] : 0;
}

/* ---- the batch ------------------------------------------------------------------------------ */

/* A token, or of a series a value from -2 to 2. */
static int random_token(const struct tracer *t, struct rng_block b)
{
	return t->setup.model.forecasts ? half_bits(4 * rng_uniform(b, 0) - 2)
		: (int)(b.word[0] % (uint32_t)t->setup.n_vocab);
}

/* Sequence `first` and those behind it; each is context + 1 tokens. */
static void read_random(const struct tracer *t, long step, long first, int *tokens_BT,
	int *targets_BT)
{
	const struct run_spec *s = &t->setup.spec;
	struct rng_key key = {(uint64_t)s->seed, hash_u64("trace tokens"), (uint32_t)step};

	for (long i = 0; i < s->micro_batch * s->context; i++) {
		long at = (first + i / s->context) * (s->context + 1) + i % s->context;
		tokens_BT[i] = random_token(t, rng_block(key, (uint64_t)at));
		targets_BT[i] = random_token(t, rng_block(key, (uint64_t)at + 1));
	}
}

/* One of the two integer tensors of the trace that is repeated; checked by check_tokens(). */
static void read_trace(const struct tracer *t, const char *name, long at, long n, int *out)
{
	const struct safetensor *from = safetensors_find(&t->trace, name);

	for (long i = 0; i < n; i++)
		out[i] = (int)safetensor_at(from, at + i);
}

int tracer_read(const struct tracer *t, long step, long micro, int *tokens_BT, int *targets_BT)
{
	const struct run_spec *s = &t->setup.spec;
	long first = micro * s->micro_batch, n = s->micro_batch * s->context;

	if (t->has_data)
		return feed_read(&t->feed, step, micro, tokens_BT, targets_BT);
	if (t->has_trace) {
		read_trace(t, "tokens", first * s->context, n, tokens_BT);
		read_trace(t, "targets", first * s->context, n, targets_BT);
	} else {
		read_random(t, step, first, tokens_BT, targets_BT);
	}
	return 0;
}

static int check_tokens(const struct tracer *t, const char *name)
{
	const struct safetensor *f = safetensors_find(&t->trace, name);
	const struct run_spec *s = &t->setup.spec;

	if (!f || f->n_dims != 2 || f->dims[0] != s->batch || f->dims[1] != s->context)
		return error("%s: no tensor %s of shape [%ld, %ld], as its spec has batch and context",
			t->weights, name, s->batch, s->context);
	for (long i = 0; i < safetensor_size(f); i++)
		if (!(safetensor_at(f, i) >= 0 && safetensor_at(f, i) < (double)t->setup.n_vocab))
			return error("%s: %s has elements that are no tokens of a vocabulary of %ld",
				t->weights, name, t->setup.n_vocab);
	return 0;
}

static int open_batch(struct tracer *t)
{
	const struct run_spec *s = &t->setup.spec;

	if (t->has_trace)
		return check_tokens(t, "tokens") || check_tokens(t, "targets") ? -1 : 0;
	if (t->has_data)
		return feed_open(&t->feed, s, &t->data);
	return 0;
}

/* ---- the model ------------------------------------------------------------------------------ */

static int choose_logits(struct tracer *t, long n_vocab)
{
	const double most = 1024.0 * 1024.0 * 1024.0;
	struct run_spec s;
	double bytes;

	if (run_spec_open(&s, &t->config))
		return -1;
	if (run_streams(&s))
		return error("%s: a trace is of one step by itself, and with data.sampling=stream a step goes on "
			"with the states of the one before: add data.sampling=shuffle", t->config.file);
	t->logits = t->options->logits;
	bytes = 4.0 * (double)(s.batch * s.context) * (double)(n_vocab ? n_vocab : s.data_vocab);
	if (t->logits == TRACE_LOGITS_AUTO && bytes > most)
		info("logits left out, they would take %.1f GiB: --logits N, or a smaller train.batch",
			bytes / most);
	if (t->logits == TRACE_LOGITS_AUTO)
		t->logits = bytes > most ? 0 : TRACE_LOGITS_ALL;
	if (t->logits == TRACE_LOGITS_ALL || t->logits > s.context)
		t->logits = s.context;
	return 0;
}

static int load_weights(struct tracer *t)
{
	struct setup *s = &t->setup;
	struct progress progress;

	if (!t->weights)
		return *s->spec.init_from ? checkpoint_weights(s, s->spec.init_from, false) : 0;
	if (!t->is_run)
		return checkpoint_weights(s, t->weights, true);
	if (checkpoint_read(s, t->weights, &progress))
		return -1;
	t->step = progress.step;
	return 0;
}

static int open_model(struct tracer *t)
{
	long n_vocab = vocabulary(t);
	struct net_trace trace = {.routes = true, .outputs = t->options->outputs};

	if (choose_logits(t, n_vocab))
		return -1;
	trace.logits = t->logits > 0;
	return setup_open_traced(&t->setup, &t->config, t->device, n_vocab, trace) ||
		open_batch(t) || setup_allocate(&t->setup) || load_weights(t) ? -1 : 0;
}

int tracer_open(struct tracer *t, const char *what, const struct trace_options *options)
{
	*t = (struct tracer){.options = options,
		.device = device_find(options->device ? options->device : "cpu")};
	if (t->device && !open_source(t, what) && !open_data(t) && !open_model(t)) {
		if (!t->weights || !options->step)
			return 0;
		error("--step is for specs: a checkpoint and a trace have a step of their own");
	}
	tracer_close(t);
	return -1;
}

void tracer_close(struct tracer *t)
{
	setup_close(&t->setup);
	feed_close(&t->feed);
	if (t->has_data)
		dataset_close(&t->data);
	if (t->has_trace)
		safetensors_close(&t->trace);
	arena_release(&t->arena);
}
