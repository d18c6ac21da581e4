#include "train/setup.h"

#include <string.h>

#include "arch/refuse.h"
#include "base/cpu.h"
#include "base/error.h"
#include "train/setup_graphs.h"

/* ---- opening -------------------------------------------------------------------------------- */

static int plan_all(struct setup *s)
{
	struct graph_options options = {.recompute = !strcmp(s->spec.recompute, "block"),
		.micro_batches = (int)s->micro_batches};

	for (int i = 0; i < MAX_SETUP_GRAPHS; i++)
		if (s->graphs[i] && graph_plan(s->graphs[i], &options))
			return -1;
	return 0;
}

/* Of the dataset that the spec names, for who plans or times a run; 0: it is not there, or after a message. */
static long named_vocab(const struct config *c)
{
	const char *path = config_find(c, "data.path")->word;
	struct dataset d;
	long vocab;

	if (!dataset_exists(path) || dataset_open(&d, path))
		return 0;
	vocab = d.vocab;
	dataset_close(&d);
	return vocab;
}

static int choose_vocab(struct setup *s, long dataset_vocab)
{
	long declared = s->spec.data_vocab;

	if (dataset_vocab && declared && dataset_vocab != declared)
		return refuse(s->config, "data.vocab is %ld, but the dataset has %ld tokens: set it to %ld, or import "
			"text with the tokenizer of the spec", declared, dataset_vocab, dataset_vocab);
	s->n_vocab = dataset_vocab ? dataset_vocab : declared ? declared : named_vocab(s->config);
	return s->n_vocab ? 0 : refuse(s->config, "data.vocab is 0, and there is no dataset at %s (data.path) to say more",
		config_find(s->config, "data.path")->word);
}

struct setup_data setup_data_of(const struct dataset *d)
{
	struct setup_data data = {.n_vocab = d->vocab, .rows = d->splits[SPLIT_TRAIN].row > 0,
		.series = dataset_is_series(d)};

	for (int i = N_SPLITS; i < d->n_splits; i++) {
		int k = 0;
		while (k < data.n_tests && data.tests[k].context != d->splits[i].row)
			k++;
		data.tests[k].context = d->splits[i].row;
		data.n_tests += k == data.n_tests;
	}
	return data;
}

int setup_check_rows(const struct run_spec *s)
{
	return s->micro_batch == s->batch ? 0 : error("train.micro_batch=%ld: the loss is a mean over the "
		"answers of the whole batch, which so must be computed at once: leave it at 0",
		s->micro_batch);
}

static int open_purpose(struct setup *s, const struct config *c, const struct device *d,
	const struct setup_data *data, const struct purpose *p)
{
	*s = (struct setup){.config = c, .device = d, .data = *data, .trace = p->trace};
	params_init(&s->params, &s->arena, d);
	params_init(&s->carried, &s->arena, d);
	params_init(&s->streamed, &s->arena, d);
	if (run_spec_open(&s->spec, c) || model_open(&s->model, c, &s->arena) ||
		choose_vocab(s, data->n_vocab) || (data->rows && !p->tests && setup_check_rows(&s->spec))) {
		setup_close(s);
		return -1;
	}
	s->spec.micro_batch = p->micro_batch ? p->micro_batch : s->spec.micro_batch;
	if (setup_record(s, p) || plan_all(s)) {
		setup_close(s);
		return -1;
	}
	return 0;
}

int setup_open_traced(struct setup *s, const struct config *c, const struct device *d, long n_vocab,
	struct net_trace trace)
{
	return open_purpose(s, c, d, &(struct setup_data){.n_vocab = n_vocab},
		&(struct purpose){.trace = trace});
}

/* Is the data what the model reads? */
static int check_data(const struct setup *s)
{
	if (s->data.series != s->model.forecasts)
		return s->data.series
			? refuse(s->config, "the data are values of a series: set model.head=forecast, and model.patch")
			: refuse(s->config, "model.head=forecast is for values of a series (moelab data make series, data "
				"series)");
	return s->model.patch == 1 || s->data.rows ? 0 : refuse(s->config, "model.patch is for rows of values: of text "
		"set it to 0");
}

static int open_for(struct setup *s, const struct config *c, const struct device *d, const struct setup_data *data,
	const struct purpose *p)
{
	int ret = open_purpose(s, c, d, data, p);

	if (!ret && data->n_vocab && (ret = check_data(s)))
		setup_close(s);
	return ret;
}

int setup_open_for(struct setup *s, const struct config *c, const struct device *d,
	const struct setup_data *data)
{
	return open_for(s, c, d, data, &(struct purpose){0});
}

int setup_open_tests(struct setup *s, const struct config *c, const struct device *d,
	const struct setup_data *data)
{
	return open_for(s, c, d, data, &(struct purpose){.tests = true});
}

int setup_open_decoding(struct setup *s, const struct config *c, const struct device *d, long n_vocab,
	long longest)
{
	return open_purpose(s, c, d, &(struct setup_data){.n_vocab = n_vocab},
		&(struct purpose){.longest = longest});
}

int setup_open_losses(struct setup *s, const struct config *c, const struct device *d, long n_vocab,
	long batch, long context, long carry)
{
	return open_purpose(s, c, d, &(struct setup_data){.n_vocab = n_vocab}, &(struct purpose){
		.losses = {.batch = batch, .context = context, .carry = carry}});
}

int setup_open_routes(struct setup *s, const struct config *c, const struct device *d, long n_vocab,
	long batch, long context)
{
	return open_purpose(s, c, d, &(struct setup_data){.n_vocab = n_vocab}, &(struct purpose){
		.losses = {.batch = batch, .context = context}, .trace = {.routes = true}});
}

int setup_open(struct setup *s, const struct config *c, const struct device *d, long n_vocab)
{
	return setup_open_traced(s, c, d, n_vocab, (struct net_trace){0});
}

/* Capacity is of a whole routing group, however many tokens of it there are; mixtures are of those there are. */
static const char *small_evaluation(struct setup *s)
{
	if (run_streams(&s->spec) || s->spec.eval_tokens >= s->scarce)
		return NULL;
	return arena_printf(&s->arena, "eval.tokens %ld are less than a routing group of %ld tokens: with so few "
		"evaluation drops less than training, or mixes fewer; set it to %ld or more", s->spec.eval_tokens,
		s->scarce, s->scarce);
}

const char *setup_warning(struct setup *s)
{
	const char *small = small_evaluation(s);

	if (s->raised == 0)
		return small;
	return arena_printf(&s->arena, "model.moe.capacity_factor leaves an expert %.3g of a choice in each routing "
		"group: it takes 1, %.3g times as many%s%s", s->raised, 1 / s->raised, small ? "; " : "",
		small ? small : "");
}

void setup_close(struct setup *s)
{
	for (int i = 0; i < MAX_SETUP_GRAPHS; i++)
		if (s->graphs[i])
			graph_release(s->graphs[i]);
	for (int i = 0; i < N_SETUP_STREAMS; i++)
		if (s->streams[i].carried)
			device_free(s->device, s->streams[i].carried, s->streams[i].carried_bytes);
	if (s->memory.arena)
		model_memory_release(&s->memory);
	params_release(&s->params);
	params_release(&s->carried);
	params_release(&s->streamed);
	arena_release(&s->arena);
	*s = (struct setup){0};
}

/* ---- memory --------------------------------------------------------------------------------- */

/* Or only run. */
static bool trained(const struct setup *s)
{
	return s->graphs[GRAPH_TRAIN];
}

/* One arena serves all graphs in turn. */
static size_t arena_bytes(const struct setup *s, size_t *outside)
{
	size_t most = 0;

	*outside = 0;
	for (int i = 0; i < MAX_SETUP_GRAPHS; i++) {
		const struct graph *g = s->graphs[i];
		struct graph_memory m = g ? graph_memory(g) : (struct graph_memory){0};
		if (i == GRAPH_INIT && setup_init_device(s) != s->device)
			continue;
		most = m.arena_bytes > most ? m.arena_bytes : most;
		*outside += m.input_bytes + (device_is_host(s->device) ? 2 : 1) * m.metric_bytes;
	}
	return most;
}

double setup_bytes(const struct setup *s)
{
	size_t outside, arena = arena_bytes(s, &outside);

	return (double)(arena + outside + model_memory_bytes(&s->params, s->device, trained(s)) +
		(size_t)(s->carried.blob_size + N_SETUP_STREAMS * s->streamed.blob_size) *
		s->device->bytes[MASTER]);
}

static void pass_over(const char *line)
{
	(void)line;
}

/* The largest micro-batch below the present one that the model goes with and `bytes` hold; 0: none. */
static long largest_micro_batch(const struct setup *s, double bytes)
{
	void (*sink)(const char *line) = error_sink;
	long m = s->data.rows || run_streams(&s->spec) ? 0 : s->spec.micro_batch - 1;

	error_sink = pass_over;
	for (; m > 0; m--) {
		struct setup smaller;
		bool fits;
		if (s->spec.batch % m || open_purpose(&smaller, s->config, s->device, &s->data,
			&(struct purpose){.trace = s->trace, .micro_batch = m}))
			continue;
		fits = setup_bytes(&smaller) <= bytes;
		setup_close(&smaller);
		if (fits)
			break;
	}
	error_sink = sink;
	return m;
}

/* What there is for it. Who starts runs has counted what is free for all of them together (measure/crew.h). */
static double memory_for(const struct setup *s)
{
	return device_is_host(s->device) && trained(s) ? cpu_memory_bytes() : device_free_bytes(s->device);
}

static int check_memory(const struct setup *s)
{
	double bytes = memory_for(s);
	char need[32], have[32], remedy[64] = "";
	long micro;

	if (setup_bytes(s) <= bytes)
		return 0;
	if (!trained(s))
		return error("%s: needs %s of memory, this machine has %s free: fewer or shorter sequences "
			"take less", s->config->file, str_bytes(setup_bytes(s), need), str_bytes(bytes, have));
	micro = largest_micro_batch(s, bytes);
	if (micro)
		snprintf(remedy, sizeof remedy, "train.micro_batch=%ld fits; ", micro);
	return error("%s: needs %s of memory, this machine's %s has %s; %s%s takes less",
		s->config->file, str_bytes(setup_bytes(s), need), device_is_host(s->device) ? "memory"
		: "GPU", str_bytes(bytes, have), remedy,
		run_streams(&s->spec) ? "a smaller train.batch" : "train.recompute=block");
}

/* The weights of the run's seed, by GRAPH_INIT in memory of its own where that is not the device's. */
static void first_weights(struct setup *s)
{
	struct step_state state = {.seed = (uint64_t)s->spec.seed};
	struct graph *g = s->graphs[GRAPH_INIT];
	const struct device *d = setup_init_device(s);
	struct model_memory own = {0}, *m = &s->memory;

	if (d != s->device) {
		model_memory_alloc(&own, &s->params, d, graph_memory(g).arena_bytes, false);
		m = &own;
	}
	graph_bind(g, m);
	device_from_host(d, m->state, &state, sizeof state);
	graph_forward(g);
	if (m == &s->memory)
		return;
	device_from_host(s->device, s->memory.blob[BLOB_WEIGHTS], own.blob[BLOB_WEIGHTS],
		own.blob_bytes[BLOB_WEIGHTS]);
	model_memory_release(&own);
}

static void allocate_streams(struct setup *s)
{
	for (int i = 0; i < N_SETUP_STREAMS && s->streamed.n; i++) {
		s->streams[i] = s->memory;
		model_memory_carry(&s->streams[i], &s->streamed);
	}
}

static const struct model_memory *memory_of(const struct setup *s, int graph)
{
	if (!s->streamed.n)
		return &s->memory;
	return graph == GRAPH_TRAIN ? &s->streams[STREAMS_TRAIN]
		: graph == GRAPH_EVAL || graph == GRAPH_EVAL_DROPLESS ? &s->streams[STREAMS_EVAL] : &s->memory;
}

void setup_begin_streams(struct setup *s, enum setup_streams which)
{
	if (s->streamed.n)
		model_memory_forget(&s->streams[which]);
}

int setup_allocate(struct setup *s)
{
	const char *missing = device_missing(s->device);
	size_t outside, arena = arena_bytes(s, &outside);

	if (missing)
		return error("device %s: %s", s->device->name, missing);
	if (check_memory(s))
		return -1;
	cpu_check_space(device_is_host(s->device) ? setup_bytes(s) : 0);
	model_memory_alloc(&s->memory, &s->params, s->device, arena, trained(s));
	if (s->carried.n)
		model_memory_carry(&s->memory, &s->carried);
	allocate_streams(s);
	for (int i = 0; i < MAX_SETUP_GRAPHS; i++)
		if (s->graphs[i] && i != GRAPH_INIT)
			graph_bind(s->graphs[i], memory_of(s, i));
	first_weights(s);
	setup_weights_changed(s);
	return 0;
}

void setup_weights_changed(struct setup *s)
{
	if (s->graphs[GRAPH_ROUND])
		graph_forward(s->graphs[GRAPH_ROUND]);
}

/* ---- identity ------------------------------------------------------------------------------- */

/* Decoding changes nothing in a run. */
static bool is_of_run(const struct setup *s, int graph)
{
	return s->graphs[graph] && graph != GRAPH_WINDOW && graph != GRAPH_STEP;
}

const struct semantics *setup_semantics(struct setup *s, int *n)
{
	struct semantics *all;
	int most = 1;

	for (int i = 0; i < N_SETUP_GRAPHS; i++)
		most += s->graphs[i] ? graph_n_nodes(s->graphs[i]) : 0;
	all = ARENA_ARRAY(&s->arena, struct semantics, most);
	all[0] = (struct semantics){s->model.arch->name, s->model.arch->semantics};
	*n = 1;
	for (int i = 0; i < N_SETUP_GRAPHS; i++)
		for (int k = 0; is_of_run(s, i) && k < graph_n_nodes(s->graphs[i]); k++) {
			const struct op *op = graph_node_info(s->graphs[i], k).op;
			all[(*n)++] = (struct semantics){arena_printf(&s->arena, "op.%s", op->name),
				op->semantics};
		}
	return all;
}

void setup_identity(struct setup *s, const char *data_hash, char hex[HASH_HEX])
{
	int n;
	const struct semantics *semantics = setup_semantics(s, &n);

	config_identity(s->config, data_hash, s->device->precision, semantics, n, hex);
}

/* ---- targets --------------------------------------------------------------------------------- */

long setup_asked(const struct setup *s, long T)
{
	return s->model.forecasts ? T : T / s->model.patch;
}

void setup_keep_asked(const struct setup *s, long n, long T, int *targets)
{
	long asked = setup_asked(s, T), of = T / asked;

	for (long i = 0; i < n * asked; i++)
		targets[i] = targets[i * of + of - 1];
}
