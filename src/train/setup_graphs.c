#include "train/setup_graphs.h"

#include <string.h>

#include "arch/refuse.h"
#include "base/error.h"
#include "base/hash.h"
#include "op/adamw.h"
#include "op/experts.h"
#include "op/fill.h"
#include "op/grad_norm.h"
#include "op/round.h"
#include "train/samples.h"

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

/* In which a run trains and is evaluated: streams go on from replay to replay. */
static struct net_env run_environment(const struct setup *s)
{
	struct net_env env = environment(s);

	env.stream = run_streams(&s->spec);
	env.carry = env.stream ? env.context : 0;
	return env;
}

static struct graph *record_model(struct setup *s, struct net_env env, bool training)
{
	struct graph *g = new_graph(s, training);

	if (env.carry)
		graph_carry(g, env.stream ? &s->streamed : &s->carried);
	if (!model_record(&s->model, g, env, s->config))
		return g;
	graph_release(g);
	return NULL;
}

static struct graph *record_train(struct setup *s)
{
	struct net_env env = run_environment(s);

	env.noise = true;
	env.position_gain = s->spec.position_gain;
	env.position_from = s->spec.position_from;
	env.trace = s->trace;
	env.trace.logits = false;
	return record_model(s, env, true);
}

static struct graph *record_logits(struct setup *s)
{
	struct net_env env = environment(s);

	env.noise = true;
	env.trace.logits = true;
	return record_model(s, env, false);
}

static struct graph *record_eval(struct setup *s, bool dropless)
{
	struct net_env env = run_environment(s);
	struct graph *g;

	env.masked = true;
	env.dropless = dropless;
	g = record_model(s, env, false);
	s->rules[dropless ? GRAPH_EVAL_DROPLESS : GRAPH_EVAL] = s->model.rule;
	return g;
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

static int record_tests(struct setup *s)
{
	for (int i = 0; i < s->data.n_tests; i++) {
		s->graphs[N_SETUP_GRAPHS + i] = record_test(s, &s->data.tests[i]);
		if (!s->graphs[N_SETUP_GRAPHS + i])
			return -1;
	}
	return 0;
}

/* -1 after a message: a layer that has no form for decoding. */
static int record_decoding(struct setup *s, long longest)
{
	struct net_env env = environment(s);

	env.batch = 1;
	env.dropless = true;
	env.carry = longest;
	env.context = WINDOW_TOKENS;
	env.head = HEAD_NONE;
	s->graphs[GRAPH_WINDOW] = record_model(s, env, false);
	if (!s->graphs[GRAPH_WINDOW])
		return -1;
	env.context = 1;
	env.head = HEAD_LOGITS;
	s->graphs[GRAPH_STEP] = record_model(s, env, false);
	return 0;
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
	return refuse(s->config, "init.cut %g cannot be drawn: %s has standard deviation %g (init.scale), so "
		"the least is init.cut=%.2g", widest->rule.b, widest->name,
		widest->rule.a, 1.1 * FILL_LEAST_CUT * widest->rule.a);
}

/* First weights are made on the host, so that they have the same bits on every device. */
const struct device *setup_init_device(const struct setup *s)
{
	return device_is_host(s->device) ? s->device : &device_list[CPU];
}

static struct graph *record_init(struct setup *s)
{
	struct graph *g = graph_new(&s->arena, &s->params, setup_init_device(s), false);

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

const struct op_shapes *setup_experts(const struct graph *g, const char *metric)
{
	size_t scope = (size_t)(strrchr(metric, '.') + 1 - metric);

	for (int k = 0; k < graph_n_nodes(g); k++) {
		struct graph_node_info node = graph_node_info(g, k);
		if (node.op == &op_experts && !strncmp(node.name, metric, scope))
			return node.shapes;
	}
	return NULL;
}

/* The metric `name` beside each router's "dropped"; where there is none, that of `otherwise`, or NULL. */
static const char *const *names_of(struct setup *s, struct graph *g, const char *name,
	const char *const *otherwise)
{
	const struct router_names *r = &s->routers;
	const char **names = ARENA_ARRAY(&s->arena, const char *, r->n), *const *own;
	int n_own;

	own = graph_metrics_named(g, name, &n_own);
	for (int i = 0; i < r->n; i++) {
		size_t scope = strlen(r->dropped[i]) - strlen("dropped");
		names[i] = otherwise ? otherwise[i] : NULL;
		for (int k = 0; k < n_own; k++)
			if (!strncmp(own[k], r->dropped[i], scope) && !strcmp(own[k] + scope, name))
				names[i] = own[k];
	}
	return names;
}

static void name_counts(struct setup *s, enum setup_graph g)
{
	struct router_names *r = &s->routers;

	r->choices[g] = names_of(s, s->graphs[g], "choices", r->dropped);
	r->served[g] = names_of(s, s->graphs[g], "served", NULL);
}

/* Choices of a replay as costs count them; widths of experts. */
static void look_at_experts(struct setup *s)
{
	struct router_names *r = &s->routers;
	const struct units **units = ARENA_ARRAY(&s->arena, const struct units *, r->n);

	r->units = units;
	r->planned = 0;
	for (int i = 0; i < r->n; i++) {
		const struct op_shapes *experts = setup_experts(s->graphs[GRAPH_TRAIN], r->dropped[i]);
		const struct experts_attr *attr = experts ? experts->attr : NULL;
		r->planned += attr ? (double)attr->tokens : 0;
		units[i] = attr ? &attr->units : NULL;
	}
}

static const char *const mean_names[] = {[MEAN_OF_ENTROPY] = "entropy", [MEAN_OF_IMPORTANCE] = "importance",
	[MEAN_OF_LOAD] = "load_cv2", [MEAN_OF_MEAN_ENTROPY] = "mean_entropy"};

static void name_metrics(struct setup *s)
{
	struct router_names *r = &s->routers;
	struct graph *g = s->graphs[GRAPH_TRAIN];

	r->balance = graph_metrics_named(g, "balance", &r->n);
	r->z = graph_metrics_named(g, "z", &r->n);
	r->dropped = graph_metrics_named(g, "dropped", &r->n);
	r->load = graph_metrics_named(g, "load", &r->n);
	for (int i = 0; i < N_ROUTER_MEANS; i++)
		r->means[i] = names_of(s, g, mean_names[i], NULL);
	r->computed = names_of(s, g, "computed", NULL);
	s->shares = graph_metrics_named(g, "share", &s->n_shares);
	name_counts(s, GRAPH_TRAIN);
	look_at_experts(s);
}

/* A model that is not trained. */
static int record_forward(struct setup *s, const struct purpose *p)
{
	struct net_env env = environment(s);

	s->micro_batches = 1;
	env.batch = p->losses.batch;
	env.context = env.group_tokens = p->losses.context;
	env.carry = p->losses.carry;
	env.masked = env.dropless = true;
	env.trace = p->trace;
	if (p->longest && record_decoding(s, p->longest))
		return -1;
	if (env.batch)
		s->graphs[GRAPH_EVAL] = record_model(s, env, false);
	if ((env.batch && !s->graphs[GRAPH_EVAL]) || (p->tests && record_tests(s)))
		return -1;
	s->graphs[GRAPH_INIT] = record_init(s);
	s->graphs[GRAPH_ROUND] = record_round(s);
	return check_init(s);
}

int setup_record(struct setup *s, const struct purpose *p)
{
	struct graph **g = s->graphs;

	if (p->longest || p->losses.batch || p->tests)
		return record_forward(s, p);
	s->micro_batches = s->spec.batch / s->spec.micro_batch;
	g[GRAPH_TRAIN] = record_train(s);
	if (!g[GRAPH_TRAIN] || check_init(s))
		return -1;
	s->depends = s->model.depends;
	s->raised = s->model.raised;
	s->scarce = s->model.scarce;
	name_metrics(s);
	control_open(&s->control, s);
	g[GRAPH_EVAL] = record_eval(s, false);
	if (s->routers.n)
		g[GRAPH_EVAL_DROPLESS] = record_eval(s, true);
	for (int i = GRAPH_EVAL; i <= GRAPH_EVAL_DROPLESS && g[i]; i++)
		name_counts(s, (enum setup_graph)i);
	if (s->spec.samples_every && record_decoding(s, samples_longest(&s->spec)))
		return -1;
	if (s->trace.logits)
		g[GRAPH_LOGITS] = record_logits(s);
	if (record_tests(s))
		return -1;
	g[GRAPH_UPDATE] = record_update(s);
	g[GRAPH_INIT] = record_init(s);
	g[GRAPH_ROUND] = record_round(s);
	return g[GRAPH_EVAL] ? 0 : -1;
}
