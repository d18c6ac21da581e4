#include "train/setup.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/hash.h"
#include "op/adamw.h"
#include "op/fill.h"
#include "op/grad_norm.h"
#include "op/round.h"

/* ---- graphs --------------------------------------------------------------------------------- */

static struct graph *new_graph(struct setup *s, bool training)
{
	return graph_new(&s->arena, &s->params, s->device, training);
}

/* Of a micro-batch, which holds whole routing groups: so evaluation runs as many at once as training. */
static struct net_env environment(const struct setup *s)
{
	return (struct net_env){.batch = s->spec.micro_batch, .context = s->spec.context,
		.group_tokens = s->spec.batch * s->spec.context, .n_vocab = s->n_vocab,
		.rows = s->data.rows, .reset_at_eot = s->spec.reset_at_eot};
}

static struct graph *record_model(struct setup *s, struct net_env env, bool training)
{
	struct graph *g = new_graph(s, training);

	if (!model_record(&s->model, g, env, s->config->file))
		return g;
	graph_release(g);
	return NULL;
}

static struct graph *record_train(struct setup *s)
{
	struct net_env env = environment(s);

	env.position_gain = s->spec.position_gain;
	env.position_from = s->spec.position_from;
	env.trace = s->trace;
	env.trace.logits = false;
	return record_model(s, env, true);
}

static struct graph *record_logits(struct setup *s)
{
	struct net_env env = environment(s);

	env.trace.logits = true;
	return record_model(s, env, false);
}

static struct graph *record_eval(struct setup *s, bool dropless)
{
	struct net_env env = environment(s);

	env.masked = true;
	env.dropless = dropless;
	return record_model(s, env, false);
}

/* As many tokens at once as in training, but at least a row; nothing is dropped, so that what fills up
   the last replay takes no room. */
static struct graph *record_test(struct setup *s, struct setup_test *t)
{
	struct net_env env = environment(s);
	long n = env.batch * env.context / t->context;

	env.batch = t->batch = n > 1 ? n : 1;
	env.context = t->context;
	env.group_tokens = env.batch * env.context;
	env.dropless = true;
	return record_model(s, env, false);
}

static struct graph *record_update(struct setup *s)
{
	struct graph *g = new_graph(s, false);
	int n;
	const struct grad_norm_segment *segments = params_segments(&s->params, &n);
	struct grad_norm_attr norm = {segments, n, s->params.n_groups};
	struct adamw_attr adamw = {segments, n, s->params.n_groups, s->spec.beta1, s->spec.beta2,
		s->spec.eps, s->spec.weight_decay, s->spec.clip};
	struct tensor *gradients = graph_blob(g, BLOB_GRADIENTS);
	struct tensor *norm_in[GRAD_NORM_N_IN] = {[GRAD_NORM_G_N] = gradients}, *const *out;
	struct tensor *in[ADAMW_N_IN] = {[ADAMW_W_N] = graph_blob(g, BLOB_WEIGHTS),
		[ADAMW_M_N] = graph_blob(g, BLOB_MOMENT1), [ADAMW_V_N] = graph_blob(g, BLOB_MOMENT2),
		[ADAMW_G_N] = gradients};

	out = graph_apply(g, &op_grad_norm, &norm, sizeof norm, norm_in);
	graph_metric(g, out[GRAD_NORM_NORM], "norm");
	graph_metric(g, out[GRAD_NORM_SUMSQ_G], "sumsq");
	in[ADAMW_NORM] = out[GRAD_NORM_NORM];
	if (s->device->bytes[REAL] != s->device->bytes[MASTER])
		in[ADAMW_WORK_N] = graph_blob(g, BLOB_WORKING);
	out = graph_apply(g, &op_adamw, &adamw, sizeof adamw, in);
	graph_metric(g, out[ADAMW_UPDATESQ_G], "updatesq");
	graph_metric(g, out[ADAMW_WEIGHTSQ_G], "weightsq");
	return g;
}

/* init.cut is a bound on the weights themselves, whatever their standard deviations are. */
static int check_init(const struct setup *s)
{
	const struct param *widest = NULL;

	for (int i = 0; i < s->params.n; i++) {
		const struct param *p = &s->params.list[i];
		if (p->rule.fill == FILL_NORMAL && (!widest || p->rule.a > widest->rule.a))
			widest = p;
	}
	if (!widest || widest->rule.b >= FILL_LEAST_CUT * widest->rule.a)
		return 0;
	return error("%s: init.cut %g cannot be drawn: %s has standard deviation %g (init.scale), so "
		"the least is init.cut=%.2g", s->config->file, widest->rule.b, widest->name,
		widest->rule.a, 1.1 * FILL_LEAST_CUT * widest->rule.a);
}

/* First weights are made on the host, so that they have the same bits on every device. */
static const struct device *init_device(const struct setup *s)
{
	return device_is_host(s->device) ? s->device : &device_list[CPU];
}

static struct graph *record_init(struct setup *s)
{
	struct graph *g = graph_new(&s->arena, &s->params, init_device(s), false);

	for (int i = 0; i < s->params.n; i++) {
		const struct param *p = &s->params.list[i];
		long rows = p->rule.used_rows ? p->rule.used_rows : tensor_rows(&p->shape);
		struct fill_attr attr = {p->rule.fill, p->rule.a, p->rule.b, rows, hash_u64(p->name)};
		struct tensor *in[FILL_N_IN] = {[FILL_W] = graph_param_storage(g, i)};
		graph_apply(g, &op_fill, &attr, sizeof attr, in);
	}
	return g;
}

/* Makes the working copy of the weights; NULL where it is the master copy itself. */
static struct graph *record_round(struct setup *s)
{
	struct graph *g;
	struct tensor *in[ROUND_N_IN];

	if (s->device->bytes[REAL] == s->device->bytes[MASTER])
		return NULL;
	g = new_graph(s, false);
	in[ROUND_MASTER_N] = graph_blob(g, BLOB_WEIGHTS);
	in[ROUND_WORK_N] = graph_blob(g, BLOB_WORKING);
	graph_apply(g, &op_round, NULL, 0, in);
	return g;
}

static void name_routers(struct setup *s)
{
	struct router_names *r = &s->routers;
	struct graph *g = s->graphs[GRAPH_TRAIN];

	r->balance = graph_metrics_named(g, "balance", &r->n);
	r->z = graph_metrics_named(g, "z", &r->n);
	r->dropped = graph_metrics_named(g, "dropped", &r->n);
	r->load = graph_metrics_named(g, "load", &r->n);
	r->entropy = graph_metrics_named(g, "entropy", &r->n);
}

/* -1 after a message, if a model does not fit; then what is recorded stays. */
static int record_all(struct setup *s)
{
	struct graph **g = s->graphs;

	s->micro_batches = s->spec.batch / s->spec.micro_batch;
	g[GRAPH_TRAIN] = record_train(s);
	if (!g[GRAPH_TRAIN] || check_init(s))
		return -1;
	name_routers(s);
	g[GRAPH_EVAL] = record_eval(s, false);
	if (s->routers.n)
		g[GRAPH_EVAL_DROPLESS] = record_eval(s, true);
	if (s->trace.logits)
		g[GRAPH_LOGITS] = record_logits(s);
	for (int i = 0; i < s->data.n_tests; i++)
		g[N_SETUP_GRAPHS + i] = record_test(s, &s->data.tests[i]);
	g[GRAPH_UPDATE] = record_update(s);
	g[GRAPH_INIT] = record_init(s);
	g[GRAPH_ROUND] = record_round(s);
	return g[GRAPH_EVAL] ? 0 : -1;
}

static int plan_all(struct setup *s)
{
	struct graph_options options = {.recompute = !strcmp(s->spec.recompute, "block"),
		.micro_batches = (int)s->micro_batches};

	for (int i = 0; i < MAX_SETUP_GRAPHS; i++)
		if (s->graphs[i] && graph_plan(s->graphs[i], &options))
			return -1;
	return 0;
}

static int choose_vocab(struct setup *s, long dataset_vocab)
{
	long declared = s->spec.data_vocab;

	if (dataset_vocab && declared && dataset_vocab != declared)
		return error("%s: data.vocab is %ld, but the dataset has %ld tokens: import it with the "
			"tokenizer of the spec", s->config->file, declared, dataset_vocab);
	s->n_vocab = dataset_vocab ? dataset_vocab : declared;
	return s->n_vocab ? 0 : error("%s: data.vocab is 0, and there is no dataset to say more",
		s->config->file);
}

struct setup_data setup_data_of(const struct dataset *d)
{
	struct setup_data data = {.n_vocab = d->vocab, .rows = d->splits[SPLIT_TRAIN].row > 0};

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

/* micro_batch 0: the spec's. */
static int open_micro(struct setup *s, const struct config *c, const struct device *d,
	const struct setup_data *data, struct net_trace trace, long micro_batch)
{
	*s = (struct setup){.config = c, .device = d, .data = *data, .trace = trace};
	params_init(&s->params, &s->arena, d);
	if (run_spec_open(&s->spec, c) || model_open(&s->model, c, &s->arena) ||
		choose_vocab(s, data->n_vocab) || (data->rows && setup_check_rows(&s->spec))) {
		setup_close(s);
		return -1;
	}
	s->spec.micro_batch = micro_batch ? micro_batch : s->spec.micro_batch;
	if (record_all(s) || plan_all(s)) {
		setup_close(s);
		return -1;
	}
	return 0;
}

int setup_open_traced(struct setup *s, const struct config *c, const struct device *d, long n_vocab,
	struct net_trace trace)
{
	return open_micro(s, c, d, &(struct setup_data){.n_vocab = n_vocab}, trace, 0);
}

int setup_open_for(struct setup *s, const struct config *c, const struct device *d,
	const struct setup_data *data)
{
	return open_micro(s, c, d, data, (struct net_trace){0}, 0);
}

int setup_open(struct setup *s, const struct config *c, const struct device *d, long n_vocab)
{
	return setup_open_traced(s, c, d, n_vocab, (struct net_trace){0});
}

void setup_close(struct setup *s)
{
	for (int i = 0; i < MAX_SETUP_GRAPHS; i++)
		if (s->graphs[i])
			graph_release(s->graphs[i]);
	if (s->memory.arena)
		model_memory_release(&s->memory);
	params_release(&s->params);
	arena_release(&s->arena);
	*s = (struct setup){0};
}

/* ---- memory --------------------------------------------------------------------------------- */

/* One arena serves all graphs in turn. */
static size_t arena_bytes(const struct setup *s, size_t *outside)
{
	size_t most = 0;

	*outside = 0;
	for (int i = 0; i < MAX_SETUP_GRAPHS; i++) {
		const struct graph *g = s->graphs[i];
		struct graph_memory m = g ? graph_memory(g) : (struct graph_memory){0};
		if (i == GRAPH_INIT && init_device(s) != s->device)
			continue;
		most = m.arena_bytes > most ? m.arena_bytes : most;
		*outside += m.input_bytes + (device_is_host(s->device) ? 2 : 1) * m.metric_bytes;
	}
	return most;
}

double setup_bytes(const struct setup *s)
{
	size_t outside, arena = arena_bytes(s, &outside);

	return (double)(arena + outside + model_memory_bytes(&s->params, s->device, true));
}

/* The largest micro-batch below the present one that `bytes` hold; 0: none. */
static long largest_micro_batch(const struct setup *s, double bytes)
{
	const struct config_value *v = config_find(s->config, "model.moe.group_tokens");
	long group = !v ? 1 : v->integer ? v->integer : s->spec.batch * s->spec.context;

	for (long m = s->data.rows ? 0 : s->spec.micro_batch - 1; m > 0; m--) {
		struct setup smaller;
		bool fits;
		if (s->spec.batch % m || m * s->spec.context % group)
			continue;
		if (open_micro(&smaller, s->config, s->device, &s->data, s->trace, m))
			return 0;
		fits = setup_bytes(&smaller) <= bytes;
		setup_close(&smaller);
		if (fits)
			return m;
	}
	return 0;
}

static int check_memory(const struct setup *s)
{
	double bytes = device_is_host(s->device) ? cpu_memory_bytes() : device_free_bytes(s->device);
	char need[32], have[32], remedy[64] = "";
	long micro;

	if (setup_bytes(s) <= bytes)
		return 0;
	micro = largest_micro_batch(s, bytes);
	if (micro)
		snprintf(remedy, sizeof remedy, "train.micro_batch=%ld fits; ", micro);
	return error("%s: needs %s of memory, this machine's %s has %s; %strain.recompute=block takes less",
		s->config->file, str_bytes(setup_bytes(s), need), device_is_host(s->device) ? "memory"
		: "GPU", str_bytes(bytes, have), remedy);
}

/* The weights of the run's seed, by GRAPH_INIT in memory of its own where that is not the device's. */
static void first_weights(struct setup *s)
{
	struct step_state state = {.seed = (uint64_t)s->spec.seed};
	struct graph *g = s->graphs[GRAPH_INIT];
	const struct device *d = init_device(s);
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

int setup_allocate(struct setup *s)
{
	const char *missing = device_missing(s->device);
	size_t outside, arena = arena_bytes(s, &outside);

	if (missing)
		return error("device %s: %s", s->device->name, missing);
	cpu_check_space(device_is_host(s->device) ? setup_bytes(s) : 0);
	if (check_memory(s))
		return -1;
	model_memory_alloc(&s->memory, &s->params, s->device, arena, true);
	for (int i = 0; i < MAX_SETUP_GRAPHS; i++)
		if (s->graphs[i] && i != GRAPH_INIT)
			graph_bind(s->graphs[i], &s->memory);
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
		for (int k = 0; s->graphs[i] && k < graph_n_nodes(s->graphs[i]); k++) {
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

/* ---- one step ------------------------------------------------------------------------------- */

static void set_state(struct setup *s, long step)
{
	struct step_state state = {.step = step, .seed = (uint64_t)s->spec.seed,
		.lr = run_lr(&s->spec, step),
		.correction1 = 1 - pow(s->spec.beta1, (double)step + 1),
		.correction2 = 1 - pow(s->spec.beta2, (double)step + 1)};

	device_from_host(s->device, s->memory.state, &state, sizeof state);
}

/* Mean of a scalar over routers; NAN without. */
static double router_mean(const struct setup *s, const char *const *names)
{
	double sum = 0;

	for (int i = 0; i < s->routers.n; i++)
		sum += graph_read(s->graphs[GRAPH_TRAIN], names[i], 0);
	return s->routers.n ? sum / s->routers.n : NAN;
}

double setup_drop_share(const struct setup *s, const struct graph *g)
{
	double dropped = 0, valid = 0;

	for (int i = 0; i < s->routers.n; i++) {
		dropped += graph_read(g, s->routers.dropped[i], 0);
		valid += graph_read(g, s->routers.dropped[i], 1);
	}
	return valid > 0 ? dropped / valid : NAN;
}

static void add_micro(struct setup *s, struct step_result *r)
{
	struct graph *g = s->graphs[GRAPH_TRAIN];
	double share = 1.0 / (double)s->micro_batches;

	graph_fetch_metrics(g);
	r->ce += share * graph_read(g, "ce", 0);
	r->aux += share * (graph_loss_total(g) - graph_read(g, "loss", 0));
	r->balance += share * router_mean(s, s->routers.balance);
	r->z += share * router_mean(s, s->routers.z);
	r->drop += share * setup_drop_share(s, g);
}

int setup_step(struct setup *s, long step, const struct step_input *in, struct step_result *result)
{
	struct graph *train = s->graphs[GRAPH_TRAIN], *update = s->graphs[GRAPH_UPDATE];

	*result = (struct step_result){0};
	set_state(s, step);
	for (long micro = 0; micro < s->micro_batches; micro++) {
		int ret = in->read(in->from, step, micro, in->tokens_BT, in->targets_BT);
		if (ret)
			return ret;
		graph_set_input(train, "tokens", in->tokens_BT);
		graph_set_input(train, "targets", in->targets_BT);
		graph_forward(train);
		graph_backward(train, micro == 0);
		add_micro(s, result);
		if (in->seen)
			in->seen(in->from, micro);
	}
	graph_forward(update);
	graph_fetch_metrics(update);
	result->grad_norm = graph_read(update, "norm", 0);
	return 0;
}
