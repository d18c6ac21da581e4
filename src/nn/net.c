#include "nn/net.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/num.h"
#include "nn/copy_head.h"
#include "nn/values.h"
#include "op/act.h"
#include "op/add_norm.h"
#include "op/cross_entropy.h"
#include "op/document_start.h"
#include "op/embedding.h"
#include "op/glu.h"
#include "op/linear.h"
#include "op/logits.h"
#include "op/position_weight.h"
#include "op/reinforce.h"
#include "op/running_mean.h"

/* Tiles of matrix products are whole. */
static long vocab_padded(long n_vocab)
{
	long unit = n_vocab < 4096 ? 16 : 128;

	return ceil_div(n_vocab, unit) * unit;
}

bool net_forecasts(const struct skeleton *s)
{
	return !strcmp(s->head, "forecast");
}

/* ---- how parameters begin ------------------------------------------------------------------- */

static bool decays(const struct net *net, bool matrix)
{
	return matrix || !strcmp(net->s->decay, "all");
}

struct param_rule rule_normal(const struct net *net, double fan_in, const char *group)
{
	return (struct param_rule){.fill = FILL_NORMAL, .a = sqrt(net->s->init_scale / fan_in),
		.b = net->s->init_cut, .decay = true, .group = group};
}

struct param_rule rule_uniform(const struct net *net, double bound, bool matrix, const char *group)
{
	return (struct param_rule){.fill = FILL_UNIFORM, .a = -bound, .b = bound,
		.decay = decays(net, matrix), .group = group};
}

struct param_rule rule_vector(const struct net *net, enum fill_rule fill, double a, double b, const char *group)
{
	return (struct param_rule){.fill = fill, .a = a, .b = b, .decay = decays(net, false), .group = group};
}

struct param_rule rule_constant(const struct net *net, double value, const char *group)
{
	return rule_vector(net, FILL_CONSTANT, value, 0, group);
}

struct param_rule rule_zero(const char *group)
{
	return (struct param_rule){.fill = FILL_CONSTANT, .decay = true, .group = group};
}

/* ---- operators ------------------------------------------------------------------------------ */

struct tensor *linear(struct net *net, const char *name, struct tensor *x, long out,
	const struct param_rule *weight, const struct param_rule *bias)
{
	struct tensor *in[LINEAR_N_IN] = {[LINEAR_X_BTI] = x}, *const *y;

	graph_enter(net->g, "%s", name);
	in[LINEAR_W_OI] = graph_param(net->g, "weight", tensor_of(REAL, 2, out, tensor_width(x)), weight);
	if (bias)
		in[LINEAR_B_O] = graph_param(net->g, "bias", tensor_of(REAL, 1, out), bias);
	y = graph_apply(net->g, &op_linear, NULL, 0, in);
	graph_leave(net->g);
	return y[LINEAR_Y_BTO];
}

struct tensor *activation(struct net *net, const char *name, bool gated, struct tensor *x)
{
	struct act_attr act = {act_fn_find(name)};
	struct glu_attr glu = {act_fn_find(name)};

	return gated ? graph_apply(net->g, &op_glu, &glu, sizeof glu, (struct tensor *[]){[GLU_X_BTH] = x})[GLU_Y_BTF]
		: graph_apply(net->g, &op_act, &act, sizeof act, (struct tensor *[]){[ACT_X] = x})[ACT_Y];
}

void net_router_loss(struct net *net, bool mean, const struct weighted *parts, int n)
{
	int i = net->n_routers++;

	if (i >= NET_ROUTERS_MAX)
		return;
	CHECK(n <= ROUTER_PARTS_MAX);
	net->routers[i] = (struct router_loss){.n_parts = n, .mean = mean,
		.scope = graph_scope(net->g)};
	memcpy(net->routers[i].parts, parts, (size_t)n * sizeof *parts);
}

void net_router_policy(struct net *net, const struct router_policy *policy)
{
	if (net->n_routers <= NET_ROUTERS_MAX)
		net->routers[net->n_routers - 1].policy = *policy;
}

struct tensor *net_output(struct net *net, const char *module, struct tensor *y)
{
	if (net->env.trace.outputs) {
		graph_enter(net->g, "%s", module);
		graph_metric(net->g, y, "output");
		graph_leave(net->g);
	}
	return y;
}

/* All outputs of op_add_norm; without a name there is no norm. */
static struct tensor *const *apply_add_norm(struct net *net, bool rms, const char *norm, struct tensor *x,
	struct tensor *branch1, struct tensor *branch2)
{
	struct add_norm_attr attr = {.rms = rms, .eps = net->s->norm_eps};
	struct param_rule one = rule_constant(net, 1, "norm"), zero = rule_constant(net, 0, "norm");
	struct tensor shape = tensor_of(REAL, 1, tensor_width(x));
	struct tensor *in[ADD_NORM_N_IN] = {[ADD_NORM_X_BTD] = x, [ADD_NORM_BRANCH1_BTD] = branch1,
		[ADD_NORM_BRANCH2_BTD] = branch2};

	if (norm) {
		graph_enter(net->g, "%s", norm);
		in[ADD_NORM_WEIGHT_D] = graph_param(net->g, "weight", shape, &one);
		if (!attr.rms)
			in[ADD_NORM_BIAS_D] = graph_param(net->g, "bias", shape, &zero);
		graph_leave(net->g);
	}
	return graph_apply(net->g, &op_add_norm, &attr, sizeof attr, in);
}

static struct tensor *const *add_norm(struct net *net, const char *norm, struct tensor *x,
	struct tensor *branch1, struct tensor *branch2)
{
	return apply_add_norm(net, !strcmp(net->s->norm, "rmsnorm"), norm, x, branch1, branch2);
}

struct tensor *rms_norm_of(struct net *net, const char *name, struct tensor *x)
{
	return apply_add_norm(net, true, name, x, NULL, NULL)[ADD_NORM_N_BTD];
}

struct tensor *norm_of(struct net *net, const char *name, struct tensor *x, struct tensor *branch)
{
	return net_output(net, name, add_norm(net, name, x, branch, NULL)[ADD_NORM_N_BTD]);
}

struct tensor *plus(struct net *net, struct tensor *a, struct tensor *b)
{
	return add_norm(net, NULL, a, b, NULL)[ADD_NORM_R_BTD];
}

/* Adds the pending branches and norms the sum; without a name there is no norm. */
static struct tensor *add_pending(struct net *net, const char *norm)
{
	struct tensor *const *out = add_norm(net, norm, net->stream_BTD, net->pending[0], net->pending[1]);

	net->stream_BTD = out[ADD_NORM_R_BTD];
	net->pending[0] = net->pending[1] = NULL;
	return norm ? net_output(net, norm, out[ADD_NORM_N_BTD]) : out[ADD_NORM_R_BTD];
}

/* ---- the stream ----------------------------------------------------------------------------- */

void residual2(struct net *net, layer_fn *a, const void *spec_a, layer_fn *b, const void *spec_b)
{
	struct tensor *n_BTD;

	graph_enter(net->g, "layers.%d", net->layer++);
	graph_block(net->g);
	n_BTD = add_pending(net, "norm");
	net->pending[0] = a(net, spec_a, n_BTD);
	net->pending[1] = b ? b(net, spec_b, n_BTD) : NULL;
	graph_leave(net->g);
}

void residual(struct net *net, layer_fn *layer, const void *spec)
{
	residual2(net, layer, spec, NULL, NULL);
}

/* ---- both ends ------------------------------------------------------------------------------ */

static struct param_rule vocab_rule(const struct net *net, double fan_in, const char *group)
{
	struct param_rule rule = rule_normal(net, fan_in, group);

	rule.used_rows = net->env.n_vocab;
	return rule;
}

static struct tensor *document_start(struct net *net)
{
	struct document_start_attr attr = {
		.end_of_text = net->env.reset_at_eot ? (int)net->env.n_vocab - 1 : -1};
	struct tensor *in[DOCUMENT_START_N_IN] = {[DOCUMENT_START_TOKEN_BT] = net->tokens_BT};

	if (net->env.carry)
		in[DOCUMENT_START_CARRIED_B] = graph_carried(net->g, "document_start",
			tensor_of(INDEX, 2, net->env.batch, 1L));
	return graph_apply(net->g, &op_document_start, &attr, sizeof attr, in)[DOCUMENT_START_BT];
}

static struct tensor *embed_tokens(struct net *net)
{
	struct tensor *in[EMBEDDING_N_IN] = {[EMBEDDING_TOKEN_BT] = net->tokens_BT}, *const *out;
	struct param_rule rule = vocab_rule(net, 1, "embedding");	/* fan_in of a look-up: one row */

	rule.active = 1;
	rule.of = net->env.n_vocab;
	graph_enter(net->g, "embedding");
	in[EMBEDDING_TABLE_VD] = graph_param(net->g, "weight",
		tensor_of(REAL, 2, vocab_padded(net->env.n_vocab), net->s->d_model), &rule);
	out = graph_apply(net->g, &op_embedding, NULL, 0, in);
	graph_leave(net->g);
	return out[EMBEDDING_X_BTD];
}

void net_begin(struct net *net, struct graph *g, const struct skeleton *s, struct net_env env)
{
	struct tensor shape = tensor_of(INDEX, 2, env.batch, env.context), *x_BTD = NULL;

	*net = (struct net){.g = g, .s = s, .env = env};
	net->tokens_BT = graph_input(g, "tokens", shape);
	net->targets_BT = env.head == HEAD_LOSS ? graph_input(g, "targets", shape) : NULL;
	if (s->patch)
		x_BTD = embed_values(net);
	if (env.masked)
		net->mask_BT = env.rows || s->patch
			? graph_input(g, "present", tensor_of(INDEX, 2, env.batch, net->env.context))
			: net->targets_BT;
	if (env.reset_at_eot || env.carry)
		net->start_BT = document_start(net);
	net->stream_BTD = net->embedding_BTD = s->patch ? x_BTD : embed_tokens(net);
	net_output(net, "embedding", net->stream_BTD);
}

/* In the scope of the router; nll_BT: of each token of the model; NULL: it has none. */
static void add_policy(struct net *net, const struct router_policy *p, struct tensor *nll_BT)
{
	struct tensor *in[REINFORCE_N_IN] = {[REINFORCE_S_BTE] = p->s_BTE, [REINFORCE_EXPERT_BTK] = p->expert_BTK,
		[REINFORCE_NLL_BT] = nll_BT, [REINFORCE_BASELINE] = p->baseline,
		[REINFORCE_MASK_BT] = net->targets_BT};

	if (p->s_BTE && !nll_BT)
		net->untaught = true;
	else if (p->s_BTE)
		graph_loss(net->g, graph_apply(net->g, &op_reinforce, NULL, 0, in)[REINFORCE_LOSS], p->weight,
			"policy");
}

/* The weight of a router's loss is divided by the number of routers where their mean is asked for. */
static void add_router_losses(struct net *net, struct tensor *nll_BT)
{
	for (int i = 0; i < net->n_routers && i < NET_ROUTERS_MAX; i++) {
		const struct router_loss *r = &net->routers[i];
		double share = r->mean ? 1.0 / net->n_routers : 1.0;
		graph_enter(net->g, "%s", r->scope);
		for (int k = 0; k < r->n_parts; k++)
			graph_loss(net->g, r->parts[k].scalar, r->parts[k].weight * share,
				r->parts[k].name);
		add_policy(net, &r->policy, nll_BT);
		graph_leave(net->g);
	}
}

/* In the scope of the head; without its copies. */
static struct tensor *logits_of(struct net *net, struct tensor *x_BTD, struct tensor *w_VD)
{
	struct logits_attr attr = {.n_vocab = net->env.n_vocab};
	struct tensor *in[LOGITS_N_IN] = {[LOGITS_X_BTD] = x_BTD, [LOGITS_W_VD] = w_VD};

	return graph_apply(net->g, &op_logits, &attr, sizeof attr, in)[LOGITS_Y_BTV];
}

static bool copies(const struct net *net)
{
	return !strcmp(net->s->head, "copy");
}

/* The head without a loss, in its scope: of HEAD_NONE what it carries on. */
static void add_logits(struct net *net, struct tensor *x_BTD, struct tensor *w_VD)
{
	struct tensor *y_BTV = net->env.head == HEAD_LOGITS ? logits_of(net, x_BTD, w_VD) : NULL;

	if (copies(net)) {
		struct copy_head h = copy_head(net, net->s->copy_width, x_BTD);
		y_BTV = copy_head_logits(net, &h, y_BTV);
	}
	if (y_BTV)
		graph_metric(net->g, y_BTV, "logits");
}

/* NULL: all tokens count alike. */
static struct tensor *loss_weights(struct net *net)
{
	struct position_weight_attr attr = {net->env.position_gain, net->env.position_from};
	struct tensor *in[POSITION_WEIGHT_N_IN] = {[POSITION_WEIGHT_TOKEN_BT] = net->tokens_BT,
		[POSITION_WEIGHT_START_BT] = net->start_BT};

	if (!(attr.gain > 0) && !attr.from)
		return NULL;
	return graph_apply(net->g, &op_position_weight, &attr, sizeof attr, in)[POSITION_WEIGHT_W_BT];
}

static void add_loss(struct net *net, struct tensor *x_BTD, struct tensor *w_VD)
{
	struct cross_entropy_attr attr = {.n_vocab = net->env.n_vocab};
	struct tensor *in[CROSS_ENTROPY_N_IN] = {[CROSS_ENTROPY_X_BTD] = x_BTD,
		[CROSS_ENTROPY_W_VD] = w_VD, [CROSS_ENTROPY_TARGET_BT] = net->targets_BT};
	struct tensor *const *out;

	graph_enter(net->g, "lm_head");
	in[CROSS_ENTROPY_WEIGHT_BT] = loss_weights(net);
	if (copies(net)) {
		struct copy_head h = copy_head(net, net->s->copy_width, x_BTD);
		copy_head_loss(net, &h, in);
	}
	out = graph_apply(net->g, &op_cross_entropy, &attr, sizeof attr, in);
	if (net->env.trace.logits)
		graph_metric(net->g, logits_of(net, x_BTD, w_VD), "logits");
	graph_leave(net->g);
	graph_loss(net->g, out[CROSS_ENTROPY_LOSS], 1, "loss");
	graph_metric(net->g, out[CROSS_ENTROPY_MEAN], "ce");
	graph_metric(net->g, out[CROSS_ENTROPY_NLL_BT], "nll");
	graph_metric(net->g, out[CROSS_ENTROPY_CORRECT_BT], "correct");
	add_router_losses(net, out[CROSS_ENTROPY_NLL_BT]);
}

static struct tensor *pooled(struct net *net, struct tensor *x_BTD)
{
	struct tensor *in[RUNNING_MEAN_N_IN] = {[RUNNING_MEAN_X_BTD] = x_BTD, [RUNNING_MEAN_START_BT] = net->start_BT};

	if (!strcmp(net->s->pool, "last"))
		return x_BTD;
	return graph_apply(net->g, &op_running_mean, NULL, 0, in)[RUNNING_MEAN_Y_BTD];
}

static void end_forecast(struct net *net, struct tensor *x_BTD)
{
	struct tensor *y_BTP = forecast_head(net, x_BTD);

	if (net->env.trace.logits)
		graph_metric(net->g, y_BTP, "lm_head.logits");
	forecast_loss(net, y_BTP);
	add_router_losses(net, NULL);
}

static void end_tokens(struct net *net, struct tensor *x_BTD)
{
	struct param_rule rule = vocab_rule(net, (double)net->s->d_model, "head");
	struct tensor *w_VD;

	graph_enter(net->g, "lm_head");
	w_VD = graph_param(net->g, "weight",
		tensor_of(REAL, 2, vocab_padded(net->env.n_vocab), net->s->d_model), &rule);
	if (net->env.head != HEAD_LOSS)
		add_logits(net, x_BTD, w_VD);
	graph_leave(net->g);
	if (net->env.head == HEAD_LOSS)
		add_loss(net, x_BTD, w_VD);
}

void net_end(struct net *net)
{
	struct tensor *x_BTD;

	graph_block_end(net->g);
	x_BTD = pooled(net, add_pending(net, net->s->final_norm ? "final_norm" : NULL));
	if (net_forecasts(net->s))
		end_forecast(net, x_BTD);
	else
		end_tokens(net, x_BTD);
}
