#include "nn/moe_route.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/num.h"
#include "nn/moe_group.h"
#include "op/assign.h"
#include "op/choose.h"
#include "op/gate.h"
#include "op/jitter.h"
#include "op/noise.h"
#include "op/noisy_load.h"
#include "op/overflow.h"
#include "op/place.h"
#include "op/route.h"
#include "op/router.h"
#include "op/router_loss.h"
#include "op/scale.h"
#include "op/score.h"
#include "op/take.h"

static bool is(const char *word, const char *other)
{
	return !strcmp(word, other);
}

/* What op_route does in one. */
static bool is_switch(const struct moe_spec *s)
{
	return s->top_k == 1 && is(s->select, "topk") && !s->frozen && s->bias_rate == 0 &&
		is(s->score, "softmax") && s->temperature == 1 && s->temperature_decay == 0 && is(s->noise, "none") &&
		!is(s->order, "gate") && is(s->overflow, "drop") && is(s->weight, "raw") && s->weight_scale == 1 &&
		s->importance == 0 && s->mean_entropy == 0 && s->token_entropy == 0 && is(s->balance_by, "load") &&
		s->balance_target == 0 && !moe_moves_capacity(s) && is(s->balance_scope, "group");
}

static struct units units_of_experts(const struct net *net, const struct moe_spec *s)
{
	struct units u;

	CHECK(!moe_units(s, net->s->d_model, &u));
	return u;
}

static struct tensor *router_weight(struct net *net, const struct moe_spec *s, long width)
{
	struct param_rule rule = rule_normal(net, (double)width, "router");

	rule.decay = !s->frozen;
	return graph_param(net->g, "router.weight", tensor_of(REAL, 2, s->n_experts, width), &rule);
}

/* W x. */
static struct tensor *logits_of(struct net *net, struct tensor *x_BTD, struct tensor *w_ED)
{
	struct tensor *in[ROUTER_N_IN] = {[ROUTER_X_BTD] = x_BTD, [ROUTER_W_ED] = w_ED};

	return graph_apply(net->g, &op_router, NULL, 0, in)[ROUTER_LOGIT_BTE];
}

struct tensor *moe_logits(struct net *net, const struct moe_spec *s, struct tensor *x_BTD)
{
	return logits_of(net, x_BTD, router_weight(net, s, tensor_width(x_BTD)));
}

/* What is logged of a router, and what a trace shows. */
struct watched {
	struct tensor *load, *dropped, *expert;
	struct tensor *entropy;		/* NULL: it is among the losses */
	struct tensor *served;		/* NULL: choices are tokens */
	struct tensor *count;		/* choices that each expert computes: where experts differ */
};

static void watch(struct net *net, const struct moe_spec *s, const struct watched *w, const struct moe_places *p)
{
	if (units_of_experts(net, s).n)
		graph_metric(net->g, w->count, "computed");
	graph_metric(net->g, w->load, "load");
	graph_metric(net->g, w->dropped, "dropped");
	if (w->entropy)
		graph_metric(net->g, w->entropy, "entropy");
	if (w->served)
		graph_metric(net->g, w->served, "served");
	if (net->env.trace.routes) {
		graph_metric(net->g, w->expert, "route");
		graph_metric(net->g, p->slot, "slot");
		graph_metric(net->g, p->gate, "gate");
	}
}

/* ---- in one operator ------------------------------------------------------------------------ */

static void route_switch(struct net *net, const struct moe_spec *s, struct tensor *x_BTD,
	struct moe_places *p)
{
	long group = moe_group(net, s, s->capacity_factor > 0 || moe_has_losses(s));
	struct route_attr attr = {.group_tokens = group, .capacity = moe_capacity(net, s, group)};
	struct tensor *in[ROUTE_N_IN] = {[ROUTE_X_BTD] = x_BTD, [ROUTE_MASK_BT] = net->mask_BT};
	struct tensor *const *out;

	in[ROUTE_W_ED] = router_weight(net, s, tensor_width(x_BTD));
	out = graph_apply(net->g, &op_route, &attr, sizeof attr, in);
	*p = (struct moe_places){out[ROUTE_SLOT_BT], out[ROUTE_FIRST_E1], out[ROUTE_TOKEN_S],
		out[ROUTE_GATE_BT], tensor_size(out[ROUTE_SLOT_BT]), NULL};
	watch(net, s, &(struct watched){out[ROUTE_LOAD_E], out[ROUTE_DROPPED], out[ROUTE_EXPERT_BT],
		out[ROUTE_ENTROPY], NULL, out[ROUTE_COUNT_E]}, p);
	net_router_loss(net, is(s->aux_reduce, "mean"), (const struct weighted[]){
		{out[ROUTE_BALANCE], s->balance, "balance"}, {out[ROUTE_Z], s->z_loss, "z"}}, 2);
}

/* ---- in pieces ------------------------------------------------------------------------------ */

#define CAPACITY_LEAST 0.05	/* of the capacity planned */
#define BALANCE_RANGE 100.0	/* of the weight of balance, down and up */
#define REWARD_RATE 0.01	/* of the running mean of losses that draws are held against */

/* Scores of all experts and the chosen ones. */
struct scored {
	struct tensor *logit_BTE, *s_BTE, *expert_BTK;		/* without a router no logits: NULL */
	struct tensor *noisy_BTE, *width_BTE;	/* logits with noise, and what widens it (op/noise.h); or NULL */
	struct tensor *bias_E;		/* added to scores to choose; or NULL */
	struct tensor *taken_BTK;	/* experts that choices go to: those chosen where none moves on */
	struct tensor *left;		/* tokens that no expert took; NULL: tokens choose */
	long choices;			/* of all tokens, for costs */
};

static double noise_scale(const struct moe_spec *s)
{
	if (s->noise_scale > 0)
		return s->noise_scale;
	return is(s->noise, "jitter") ? 0.01 : is(s->noise, "gaussian") ? 1 / (double)s->n_experts : 1;
}

/* The stream of the random numbers of the router in the present scope. */
static uint64_t noise_stream(struct net *net)
{
	return hash_u64(arena_printf(graph_arena(net->g), "%s.noise", graph_scope(net->g)));
}

/* What the router sees of x. */
static struct tensor *seen(struct net *net, const struct moe_spec *s, struct tensor *x_BTD)
{
	struct jitter_attr attr = {noise_scale(s), noise_stream(net)};
	struct tensor *in[JITTER_N_IN] = {[JITTER_X_BTD] = x_BTD};

	if (!net->env.noise || !is(s->noise, "jitter"))
		return x_BTD;
	return graph_apply(net->g, &op_jitter, &attr, sizeof attr, in)[JITTER_Y_BTD];
}

/* Noise on logits; for "sample" such that the best is a draw by score. The width begins as softplus(0)
   everywhere (Shazeer et al. 2017). */
static void add_noise(struct net *net, const struct moe_spec *s, struct tensor *x_BTD, struct scored *x)
{
	bool sample = is(s->select, "sample");
	struct noise_attr attr = {sample || is(s->noise, "gumbel") ? NOISE_GUMBEL : NOISE_NORMAL,
		sample ? s->temperature : noise_scale(s), noise_stream(net)};
	struct tensor *in[NOISE_N_IN] = {[NOISE_LOGIT_BTE] = x->logit_BTE}, *w_ED = NULL;
	struct param_rule zero = rule_zero("router");

	if (is(s->noise, "learned"))
		w_ED = graph_param(net->g, "router.noise",
			tensor_of(REAL, 2, s->n_experts, tensor_width(x_BTD)), &zero);
	if (!net->env.noise || (!sample && (is(s->noise, "none") || is(s->noise, "jitter"))))
		return;
	if (w_ED)
		in[NOISE_WIDTH_BTE] = x->width_BTE = logits_of(net, x_BTD, w_ED);
	x->noisy_BTE = graph_apply(net->g, &op_noise, &attr, sizeof attr, in)[NOISE_Y_BTE];
}

/* n values that training moves by a rule, all `first` at the beginning. */
static struct tensor *state(struct net *net, const char *name, long n, double first,
	const struct param_control *control)
{
	struct param_rule rule = rule_constant(net, first, "router");

	rule.decay = false;
	rule.control = *control;
	return graph_param(net->g, name, tensor_of(REAL, 1, n), &rule);
}

static struct tensor *score(struct net *net, const struct moe_spec *s, struct tensor *logit_BTE)
{
	struct score_attr attr = {is(s->score, "sigmoid") ? SCORE_SIGMOID : SCORE_SOFTMAX,
		s->temperature};
	struct tensor *in[SCORE_N_IN] = {[SCORE_LOGIT_BTE] = logit_BTE};

	if (s->temperature_decay > 0)
		in[SCORE_TEMPERATURE] = state(net, "router.temperature", 1, s->temperature,
			&(struct param_control){.rule = "anneal", .rate = s->temperature_decay,
			.least = s->temperature_least, .most = s->temperature});
	return graph_apply(net->g, &op_score, &attr, sizeof attr, in)[SCORE_S_BTE];
}

static void choose(struct net *net, const struct moe_spec *s, struct scored *x)
{
	struct choose_attr attr = {.k = moe_choices(s), .top_p = is(s->select, "topp") ? s->top_p : 0};
	bool drawn = is(s->select, "sample") && x->noisy_BTE;
	struct tensor *in[CHOOSE_N_IN] = {[CHOOSE_S_BTE] = drawn ? x->noisy_BTE : x->s_BTE,
		[CHOOSE_MASK_BT] = net->mask_BT};

	if (is(s->select, "threshold"))
		in[CHOOSE_CUT_E] = state(net, "router.threshold", s->n_experts,
			is(s->score, "sigmoid") ? 0.5 : 1 / (double)s->n_experts,
			&(struct param_control){.rule = "share", .rate = s->threshold_rate,
			.target = (double)s->top_k / (double)s->n_experts});
	else if (s->bias_rate > 0)
		in[CHOOSE_BIAS_E] = x->bias_E = state(net, "router.bias", s->n_experts, 0,
			&(struct param_control){.rule = "even", .rate = s->bias_rate});
	x->expert_BTK = graph_apply(net->g, &op_choose, &attr, sizeof attr, in)[CHOOSE_EXPERT_BTK];
	x->choices = s->top_k * tensor_rows(x->s_BTE);
}

/* ---- experts that choose -------------------------------------------------------------------- */

/* By rank in a group; else by cutoff. */
static bool takes_by_rank(const struct net *net, const struct moe_spec *s)
{
	return !net->env.dropless && !(net->env.masked && moe_class(s, 1) == MOE_FUTURE);
}

static void take_by_rank(struct net *net, const struct moe_spec *s, struct scored *x)
{
	bool across = is(s->select, "expert_choice_batch");
	long members = moe_group(net, s, true) / (across ? net->env.context : 1);
	struct take_attr attr = {members, s->capacity_factor, across};
	struct tensor *in[TAKE_N_IN] = {[TAKE_S_BTE] = x->s_BTE, [TAKE_MASK_BT] = net->mask_BT},
		*const *out = graph_apply(net->g, &op_take, &attr, sizeof attr, in);

	x->expert_BTK = out[TAKE_EXPERT_BTE];
	x->left = out[TAKE_LEFT];
	x->choices = tensor_rows(x->s_BTE) / members * s->n_experts *
		min_long(moe_whole(net, s->capacity_factor * (double)members / (double)s->n_experts), members);
	graph_metric(net->g, out[TAKE_CUTOFF_E], "cutoff");
}

static void take(struct net *net, const struct moe_spec *s, struct scored *x)
{
	struct choose_attr attr = {.k = min_long((long)ceil(MOE_MOST * s->capacity_factor), s->n_experts)};
	struct tensor *in[CHOOSE_N_IN] = {[CHOOSE_S_BTE] = x->s_BTE, [CHOOSE_MASK_BT] = net->mask_BT};

	in[CHOOSE_CUT_E] = state(net, "router.cutoff", s->n_experts, 1 / (double)s->n_experts,
		&(struct param_control){.rule = "follow", .rate = s->cutoff_rate});
	if (takes_by_rank(net, s)) {
		take_by_rank(net, s, x);
		return;
	}
	x->expert_BTK = graph_apply(net->g, &op_choose, &attr, sizeof attr, in)[CHOOSE_EXPERT_BTK];
	x->choices = lround(s->capacity_factor * (double)tensor_rows(x->s_BTE));
}

/* ---- places, weights, losses ---------------------------------------------------------------- */

/* What experts took has its place: capacity then is but the size of the buffer. */
static struct place_attr place_attr_of(struct net *net, const struct moe_spec *s, const struct scored *x)
{
	long group = moe_takes(s) ? tensor_rows(x->s_BTE) : moe_group(net, s, s->capacity_factor > 0);
	struct place_attr attr = {.n_experts = s->n_experts, .group_tokens = group};

	if (moe_takes(s)) {
		attr.capacity = x->left ? x->choices / s->n_experts : 0;
		return attr;
	}
	attr.capacity = moe_capacity(net, s, group);
	attr.order = is(s->order, "choice") ? PLACE_BY_CHOICE : is(s->order, "gate") && attr.capacity ? PLACE_BY_SCORE
		: PLACE_BY_TOKEN;
	return attr;
}

/* Of the capacity planned, what is in force; NULL: all. */
static struct tensor *capacity_share(struct net *net, const struct moe_spec *s)
{
	if (s->drop_target > 0)
		return state(net, "router.capacity", 1, 1, &(struct param_control){.rule = "drops",
			.rate = s->control_rate, .target = s->drop_target, .least = CAPACITY_LEAST, .most = 1});
	if (s->capacity_decay > 0)
		return state(net, "router.capacity", 1, 1, &(struct param_control){.rule = "fall",
			.rate = s->capacity_decay, .least = s->capacity_least / s->capacity_factor, .most = 1});
	return NULL;
}

/* Where tokens go, and counts of the experts that they named. */
struct placed {
	struct tensor *slot_BTK, *first_E1, *token_S, *count_E, *dropped, *served, *wanted_E, *load_E;
};

static void pass_on(struct net *net, const struct place_attr *place, struct tensor *share, struct scored *x,
	struct placed *p)
{
	struct overflow_attr attr = {place->group_tokens, place->capacity};
	struct tensor *in[OVERFLOW_N_IN] = {[OVERFLOW_EXPERT_BTK] = x->expert_BTK, [OVERFLOW_S_BTE] = x->s_BTE,
		[OVERFLOW_BIAS_E] = x->bias_E, [OVERFLOW_SHARE] = share}, *const *out;

	out = graph_apply(net->g, &op_overflow, &attr, sizeof attr, in);
	x->taken_BTK = out[OVERFLOW_TAKEN_BTK];
	p->wanted_E = out[OVERFLOW_WANTED_E];
	p->load_E = out[OVERFLOW_LOAD_E];
}

static struct placed place(struct net *net, const struct moe_spec *s, struct scored *x)
{
	struct place_attr attr = place_attr_of(net, s, x);
	struct tensor *in[PLACE_N_IN] = {0}, *share = capacity_share(net, s), *const *out;
	struct placed p = {0};

	x->taken_BTK = x->expert_BTK;
	if (is(s->overflow, "next") && attr.capacity)
		pass_on(net, &attr, share, x, &p);
	in[PLACE_EXPERT_BTK] = x->taken_BTK;
	in[PLACE_SHARE] = attr.capacity ? share : NULL;
	in[PLACE_S_BTE] = attr.order == PLACE_BY_SCORE ? x->s_BTE : NULL;
	out = graph_apply(net->g, &op_place, &attr, sizeof attr, in);
	return (struct placed){out[PLACE_SLOT_BTK], out[PLACE_FIRST_E1], out[PLACE_TOKEN_S], out[PLACE_COUNT_E],
		out[PLACE_DROPPED], out[PLACE_SERVED], p.wanted_E ? p.wanted_E : out[PLACE_WANTED_E],
		p.load_E ? p.load_E : out[PLACE_LOAD_E]};
}

static struct tensor *gate(struct net *net, const struct moe_spec *s, struct tensor *s_BTE,
	struct tensor *expert, struct tensor *slot)
{
	struct gate_attr attr = {GATE_RAW, s->weight_scale};
	struct tensor *in[GATE_N_IN] = {[GATE_S_BTE] = s_BTE, [GATE_EXPERT_BTK] = expert,
		[GATE_SLOT_BTK] = slot};

	attr.rule = is(s->weight, "renorm") ? GATE_RENORM : is(s->weight, "one") ? GATE_ONE
		: is(s->weight, "straight_through") ? GATE_STRAIGHT_THROUGH : GATE_RAW;
	return graph_apply(net->g, &op_gate, &attr, sizeof attr, in)[GATE_GATE_BTK];
}

/* NULL: there is none, or no noise. */
static struct tensor *load_loss(struct net *net, const struct moe_spec *s, const struct scored *x)
{
	struct noisy_load_attr attr = {s->top_k, noise_scale(s), moe_loss_group(net, s)};
	struct tensor *in[NOISY_LOAD_N_IN] = {[NOISY_LOAD_LOGIT_BTE] = x->logit_BTE,
		[NOISY_LOAD_NOISY_BTE] = x->noisy_BTE, [NOISY_LOAD_WIDTH_BTE] = x->width_BTE,
		[NOISY_LOAD_MASK_BT] = net->mask_BT};

	if (s->load == 0 || !x->noisy_BTE)
		return NULL;
	return graph_apply(net->g, &op_noisy_load, &attr, sizeof attr, in)[NOISY_LOAD_LOSS];
}

static void policy(struct net *net, const struct moe_spec *s, const struct scored *x)
{
	struct param_control follow = {.rule = "reward", .rate = REWARD_RATE};
	struct router_policy p = {x->s_BTE, x->expert_BTK, NULL, s->reinforce};

	p.baseline = state(net, "router.baseline", 1, log((double)net->env.n_vocab), &follow);
	if (x->noisy_BTE)
		net_router_policy(net, &p);
}

/* The balance loss times what moves with the spread of loads; NULL: its weight is fixed. */
static struct tensor *held_balance(struct net *net, const struct moe_spec *s, struct tensor *balance)
{
	struct param_control spread = {.rule = "spread", .rate = s->control_rate, .target = s->balance_target,
		.least = 1 / BALANCE_RANGE, .most = BALANCE_RANGE};
	struct tensor *in[SCALE_N_IN] = {[SCALE_X] = balance};

	if (s->balance_target == 0)
		return NULL;
	in[SCALE_A] = state(net, "router.balance", 1, 1, &spread);
	return graph_apply(net->g, &op_scale, NULL, 0, in)[SCALE_Y];
}

static void losses(struct net *net, const struct moe_spec *s, const struct scored *x)
{
	struct router_loss_attr attr = {.group_tokens = moe_loss_group(net, s), .normalise = is(s->score, "sigmoid")};
	struct tensor *in[ROUTER_LOSS_N_IN] = {[ROUTER_LOSS_LOGIT_BTE] = x->logit_BTE,
		[ROUTER_LOSS_S_BTE] = x->s_BTE, [ROUTER_LOSS_EXPERT_BTK] = x->expert_BTK,
		[ROUTER_LOSS_MASK_BT] = net->mask_BT}, *const *out;
	struct tensor *load = load_loss(net, s, x), *held;
	struct weighted parts[ROUTER_PARTS_MAX];
	int n = 0;

	if (is(s->balance_by, "width"))
		attr.units = units_of_experts(net, s);
	out = graph_apply(net->g, &op_router_loss, &attr, sizeof attr, in);
	held = held_balance(net, s, out[ROUTER_LOSS_BALANCE]);
	parts[n++] = (struct weighted){out[ROUTER_LOSS_BALANCE], held ? 0 : s->balance, "balance"};
	parts[n++] = (struct weighted){out[ROUTER_LOSS_Z], s->z_loss, "z"};
	parts[n++] = (struct weighted){out[ROUTER_LOSS_IMPORTANCE], s->importance, "importance"};
	parts[n++] = (struct weighted){out[ROUTER_LOSS_H_MEAN], -s->mean_entropy, "mean_entropy"};
	if (x->logit_BTE)	/* else there are no scores that could be undecided */
		parts[n++] = (struct weighted){out[ROUTER_LOSS_H_TOKEN], s->token_entropy, "entropy"};
	if (load)
		parts[n++] = (struct weighted){load, s->load, "load_cv2"};
	if (held)
		parts[n++] = (struct weighted){held, s->balance, "balance_held"};
	net_router_loss(net, is(s->aux_reduce, "mean"), parts, n);
	if (is(s->select, "sample"))
		policy(net, s, x);
}

static struct scored score_learned(struct net *net, const struct moe_spec *s, struct tensor *x_BTD)
{
	struct tensor *w_ED = router_weight(net, s, tensor_width(x_BTD));
	struct scored x = {0};

	x.logit_BTE = logits_of(net, seen(net, s, x_BTD), w_ED);
	add_noise(net, s, x_BTD, &x);
	x.s_BTE = score(net, s, x.noisy_BTE && !is(s->select, "sample") ? x.noisy_BTE : x.logit_BTE);
	if (moe_takes(s))
		take(net, s, &x);
	else
		choose(net, s, &x);
	return x;
}

static struct scored score_assigned(struct net *net, const struct moe_spec *s)
{
	struct assign_attr attr = {s->top_k, s->n_experts, is(s->select, "place"),
		hash_u64(graph_scope(net->g))};
	struct tensor *in[ASSIGN_N_IN] = {[ASSIGN_TOKEN_BT] = net->tokens_BT,
		[ASSIGN_MASK_BT] = net->mask_BT, [ASSIGN_START_BT] = net->start_BT}, *const *out;

	out = graph_apply(net->g, &op_assign, &attr, sizeof attr, in);
	return (struct scored){.s_BTE = out[ASSIGN_S_BTE], .expert_BTK = out[ASSIGN_EXPERT_BTK],
		.choices = tensor_size(out[ASSIGN_EXPERT_BTK])};
}

static struct tensor *gate_of_one(struct net *net, const struct scored *x, struct tensor *slot)
{
	const struct moe_spec one = {.weight = "one", .weight_scale = 1};

	return gate(net, &one, x->s_BTE, x->taken_BTK, slot);
}

static void route_pieces(struct net *net, const struct moe_spec *s, struct tensor *x_BTD,
	struct moe_places *p, bool alike)
{
	bool assigned = is(s->select, "hash") || is(s->select, "place");
	struct scored x = assigned ? score_assigned(net, s) : score_learned(net, s, x_BTD);
	struct placed at = place(net, s, &x);

	*p = (struct moe_places){at.slot_BTK, at.first_E1, at.token_S, gate(net, s, x.s_BTE, x.taken_BTK, at.slot_BTK),
		x.choices, alike ? gate_of_one(net, &x, at.slot_BTK) : NULL};
	watch(net, s, &(struct watched){at.load_E, x.left ? x.left : at.dropped, x.taken_BTK, NULL, at.served,
		at.count_E}, p);
	if (x.left)
		graph_metric(net->g, at.dropped, "choices");
	if (s->bias_rate > 0 || is(s->select, "threshold") || s->balance_target > 0)
		graph_metric(net->g, at.wanted_E, "wanted");
	losses(net, s, &x);
}

static struct net_rule rule_of(const struct net *net, const struct moe_spec *s)
{
	if (moe_takes(s) && !takes_by_rank(net, s))
		return (struct net_rule){.name = "cutoff"};
	if (net->env.dropless || s->capacity_factor == 0)
		return (struct net_rule){.name = "all"};
	return (struct net_rule){moe_takes(s) ? "rank" : "capacity", s->capacity_factor, moe_moves_capacity(s)};
}

static void note_rule(struct net *net, const struct moe_spec *s)
{
	struct net_rule rule = rule_of(net, s), *all = &net->rule;

	if (!all->name)
		*all = rule;
	else if (!is(rule.name, all->name) || rule.factor != all->factor || rule.moved != all->moved)
		*all = (struct net_rule){.name = "mixed"};
}

void moe_route(struct net *net, const struct moe_spec *s, struct tensor *x_BTD, bool alike, struct moe_places *p)
{
	note_rule(net, s);
	if (is_switch(s) && !alike)
		route_switch(net, s, x_BTD, p);
	else
		route_pieces(net, s, x_BTD, p, alike);
}
