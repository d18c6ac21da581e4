#include "arch/check.h"

#include <string.h>

#include "arch/refuse.h"

int check_heads_in(const struct config *c, const struct attn_spec *attn, const char *what, long width)
{
	long heads = attn_heads(attn, width);

	if (width % heads || (attn->rope && width / heads % 2))
		return refuse(c, "model.attn.n_heads %ld must divide %s %ld into heads of even width", heads,
			what, width);
	if (attn->segment && attn->window)
		return refuse(c, "model.attn.window %ld and model.attn.segment %ld are two ways to see less: set one "
			"of them to 0", attn->window, attn->segment);
	if (heads % attn_kv_heads(attn, width))
		return refuse(c, "model.attn.n_kv_heads %ld must divide the %ld heads of queries "
			"(model.attn.n_heads)", attn->n_kv_heads, heads);
	return 0;
}

int check_heads(const struct config *c, const struct skeleton *s, const struct attn_spec *attn)
{
	return check_heads_in(c, attn, "model.d_model", s->d_model);
}

/* A range of initial values, of the keys KEY_min and KEY_max. */
static int check_order(const struct config *c, const char *key, double least, double most)
{
	if (most < least)
		return refuse(c, "%s_max %g is below %s_min %g", key, most, key, least);
	return 0;
}

/* Of the part KEY of a model. */
static int check_groups(const struct config *c, const char *key, double expand, long d_model, long width, long d_head,
	long n_groups)
{
	if (width < 1 || width % d_head || width / d_head % n_groups)
		return refuse(c, "%s: expand %g of model.d_model %ld gives %ld channels, which must "
			"be heads of d_head %ld in n_groups %ld equal groups", key, expand, d_model,
			width, d_head, n_groups);
	return 0;
}

int check_mamba3(const struct config *c, const struct skeleton *s, const struct mamba3_spec *m)
{
	if (check_groups(c, "model.mamba3", m->expand, s->d_model, mamba3_inner_width(m, s->d_model), m->d_head,
		m->n_groups))
		return -1;
	if (mamba3_angles(m) < 1)
		return refuse(c, "model.mamba3.turned %g of model.mamba3.d_state %ld is no pair of states",
			m->turned, m->d_state);
	return check_order(c, "model.mamba3.dt", m->dt_min, m->dt_max);
}

int check_mamba2(const struct config *c, const struct skeleton *s, const struct mamba2_spec *m)
{
	if (check_groups(c, "model.mamba2", m->expand, s->d_model, mamba2_inner_width(m, s->d_model), m->d_head,
		m->n_groups))
		return -1;
	if (check_order(c, "model.mamba2.dt", m->dt_min, m->dt_max))
		return -1;
	return check_order(c, "model.mamba2.a", m->a_min, m->a_max);
}

int check_gdn(const struct config *c, const struct gdn_spec *g)
{
	if (check_order(c, "model.gdn.dt", g->dt_min, g->dt_max))
		return -1;
	return check_order(c, "model.gdn.a", g->a_min, g->a_max);
}

int check_ssm(const struct config *c, const struct skeleton *s, const struct ssm_spec *ssm)
{
	if (ssm_inner_width(ssm, s->d_model) < 1)
		return refuse(c, "model.ssm.expand %g leaves no channel of model.d_model %ld", ssm->expand,
			s->d_model);
	if (ssm->norm && (ssm->d_state == 1 || ssm_dt_rank(ssm, s->d_model) == 1))
		return refuse(c, "model.ssm.norm leaves of a single number its sign alone: set model.ssm.%s to 2 "
			"or more", ssm->d_state == 1 ? "d_state" : "dt_rank");
	return check_order(c, "model.ssm.dt", ssm->dt_min, ssm->dt_max);
}

/* Do tokens count by their place in a document? */
static bool weighs_places(const struct config *c)
{
	return config_find(c, "train.position_gain")->real != 0 || config_find(c, "train.position_from")->integer;
}

int check_ends(const struct config *c, const struct skeleton *s)
{
	bool mean = !strcmp(s->pool, "mean"), copies = !strcmp(s->head, "copy"), forecasts = net_forecasts(s);

	if (forecasts && !s->patch)
		return refuse(c, "model.head forecast says values of a series: set model.patch to how many a position "
			"has");
	if (copies && s->patch)
		return refuse(c, "model.head copy points at tokens, and model.patch reads values: set head to linear");
	if (mean && (copies || forecasts))
		return refuse(c, "model.pool mean is for what is said of a whole sequence, not for model.head %s: set "
			"it to last", s->head);
	if (s->patch && config_find(c, "data.reset_at_eot")->boolean)
		return refuse(c, "model.patch reads values, which are no documents: set data.reset_at_eot to false");
	if (forecasts && weighs_places(c))
		return refuse(c, "the values of model.head forecast all weigh the same: set train.position_gain and "
			"position_from to 0");
	return 0;
}

/* Experts by a hash have no score that could weigh them or be learned. */
static int check_assigned(const struct config *c, const struct moe_spec *moe)
{
	bool assigned = !strcmp(moe->select, "hash") || !strcmp(moe->select, "place");

	if (assigned && (strcmp(moe->weight, "one") || moe->bias_rate != 0 ||
			strcmp(moe->noise, "none") || moe_has_losses(moe)))
		return refuse(c, "model.moe.select %s has no router: set model.moe.weight to one, noise to "
			"none, and bias_rate, balance, z_loss, importance, load, mean_entropy and token_entropy to 0",
			moe->select);
	return 0;
}

static int check_taking(const struct config *c, const struct moe_spec *moe)
{
	bool across = !strcmp(moe->select, "expert_choice_batch");

	if (!across && !moe_mixes(moe) && moe->group_sequences)
		return refuse(c, "model.moe.group_sequences is for groups across sequences (select "
			"expert_choice_batch or tokens): set it to 0, and group_tokens to the tokens of a group");
	if (!moe_takes(moe))
		return 0;
	if (moe->capacity_factor == 0 || moe->top_k != 1 || moe->bias_rate != 0 || moe->balance != 0)
		return refuse(c, "model.moe.select %s: experts choose tokens, capacity_factor of them for each "
			"token: set it above 0, top_k to 1, and bias_rate and balance to 0", moe->select);
	if (across && moe->group_tokens)
		return refuse(c, "model.moe.select %s has groups across sequences: set model.moe.group_tokens to "
			"0, and group_sequences to their number", moe->select);
	return 0;
}

/* All of what weighs, drops or evens choices is without meaning where there are none. */
static int check_mixed(const struct config *c, const struct moe_spec *moe)
{
	if (!moe_mixes(moe))
		return 0;
	if (!moe->group_sequences || moe->group_tokens)
		return refuse(c, "model.moe.select tokens mixes those at one position of group_sequences sequences: "
			"set that above 0, and group_tokens to 0");
	if (moe->capacity_factor != 0 || moe->top_k != 1 || strcmp(moe->weight, "raw") || moe->weight_scale != 1 ||
			strcmp(moe->score, "softmax") || strcmp(moe->noise, "none") || moe->bias_rate != 0 ||
			moe->temperature_decay != 0 || moe->frozen || moe_has_losses(moe))
		return refuse(c, "model.moe.select tokens chooses nothing: set capacity_factor, bias_rate and all "
			"losses of the router to 0, and leave top_k, weight, weight_scale, score, noise, frozen "
			"and temperature_decay as they are by default");
	return 0;
}

static int check_chosen(const struct config *c, const struct moe_spec *moe)
{
	bool threshold = !strcmp(moe->select, "threshold");

	if (threshold && moe->bias_rate != 0)
		return refuse(c, "model.moe.select threshold follows loads by threshold_rate: set "
			"model.moe.bias_rate to 0");
	if (threshold && moe->max_k < moe->top_k)
		return refuse(c, "model.moe.max_k %ld is below model.moe.top_k %ld, which tokens shall choose in "
			"the mean", moe->max_k, moe->top_k);
	if (moe->load != 0 && ((strcmp(moe->noise, "gaussian") && strcmp(moe->noise, "learned")) ||
			strcmp(moe->select, "topk") || moe->top_k >= moe->n_experts))
		return refuse(c, "model.moe.load is of choices that Gaussian noise can change: set noise to gaussian "
			"or learned, select to topk, and top_k below n_experts, or load to 0");
	if (moe->temperature_decay > 0 && moe->temperature_least > moe->temperature)
		return refuse(c, "model.moe.temperature_least %g is above model.moe.temperature %g, from where it falls: "
			"set it to that at most, or temperature_decay to 0", moe->temperature_least, moe->temperature);
	return 0;
}

static int check_experts(const struct config *c, const struct moe_spec *moe)
{
	long d_model = config_find(c, "model.d_model")->integer, width = moe_width(moe, d_model);
	const char *why;
	struct units units;

	if (!strcmp(moe->expert, "linear") && (moe->d_expert || moe->granularity > 1 || moe->n_shared ||
			*moe->expert_sizes))
		return refuse(c, "model.moe.expert linear has no hidden width: leave model.moe.d_expert and n_shared "
			"at 0, granularity at 1 and expert_sizes empty");
	if (width % moe->granularity)
		return refuse(c, "model.moe.granularity %ld does not divide the width of an expert, %ld "
			"(model.moe.d_expert)", moe->granularity, width);
	why = moe_units(moe, d_model, &units);
	if (why)
		return refuse(c, "model.moe.expert_sizes \"%s\": %s", moe->expert_sizes, why);
	if (*moe->expert_sizes && !units.n && !c->stored)
		return refuse(c, "model.moe.expert_sizes \"%s\" makes all experts as wide: leave it empty",
			moe->expert_sizes);
	return 0;
}

/* A token without an expert would give zeros to the scan. */
int check_inner(const struct config *c, const struct inner_spec *inner, const struct moe_spec *moe)
{
	bool all = !strcmp(moe->select, "topk") || !strcmp(moe->select, "topp") ||
		!strcmp(moe->select, "hash") || !strcmp(moe->select, "place");

	if (!inner->conv && !inner->gate && !inner->out)
		return refuse(c, "model.inner names no projection: set conv, gate or out to true");
	if (moe->out_norm)
		return refuse(c, "model.moe.out_norm stands in front of the residual stream, not behind a projection: "
			"set it to false");
	if (strcmp(inner->router, "shared"))
		return 0;
	if (!inner->out)
		return refuse(c, "model.inner.router shared: the output projection alone weighs experts, so set "
			"model.inner.out to true");
	if (!all || moe->capacity_factor != 0 || moe->n_shared)
		return refuse(c, "model.inner.router shared: each token must have its experts: set "
			"model.moe.capacity_factor and n_shared to 0, and select to topk, topp, hash or place");
	return 0;
}

/* A draw has no weight through which it could be learned, and a policy nothing but draws. */
static int check_drawn(const struct config *c, const struct moe_spec *moe)
{
	bool drawn = !strcmp(moe->select, "sample");

	if (drawn && (strcmp(moe->weight, "one") || moe->top_k != 1 || strcmp(moe->score, "softmax") ||
			moe->bias_rate != 0 || strcmp(moe->noise, "none") || moe->temperature_decay != 0 ||
			moe->granularity != 1))
		return refuse(c, "model.moe.select sample draws one expert by softmax: set model.moe.weight to one, "
			"top_k and granularity to 1, noise to none, and bias_rate and temperature_decay to 0");
	if (drawn && moe->reinforce != 0 && weighs_places(c) && !c->stored)
		return refuse(c, "draws of model.moe.select sample are taught by the loss of every token alike: set "
			"train.position_gain and position_from to 0, or choose another router");
	if (!drawn && moe->reinforce != 0)
		return refuse(c, "model.moe.reinforce teaches draws: set model.moe.select to sample, or reinforce to "
			"0");
	return 0;
}

static int check_moved_capacity(const struct config *c, const struct moe_spec *moe)
{
	const char *key = moe->drop_target > 0 ? "drop_target" : "capacity_decay";

	if (!moe_moves_capacity(moe))
		return 0;
	if (moe->capacity_factor == 0 || moe_takes(moe) || moe_mixes(moe))
		return refuse(c, "model.moe.%s moves a capacity of tokens' choices, which there is not: set "
			"model.moe.capacity_factor above 0, or %s to 0", key, key);
	if (moe->drop_target > 0 && moe->capacity_decay > 0)
		return refuse(c, "model.moe.drop_target and model.moe.capacity_decay both move the capacity: set one "
			"of them to 0");
	if (moe->capacity_decay > 0 && moe->capacity_least >= moe->capacity_factor)
		return refuse(c, "model.moe.capacity_least %g is not below model.moe.capacity_factor %g, from where "
			"capacity falls: set it below, or capacity_decay to 0", moe->capacity_least,
			moe->capacity_factor);
	return 0;
}

/* One controller for one quantity: the load of experts. */
static int check_controlled(const struct config *c, const struct moe_spec *moe)
{
	int n = (moe->bias_rate > 0) + !strcmp(moe->select, "threshold") + (moe->balance_target > 0) +
		(moe->drop_target > 0);

	if (n > 1)
		return refuse(c, "more than one rule would move the loads of experts: set all but one of "
			"model.moe.bias_rate, balance_target and drop_target to 0, and select to topk if it is "
			"threshold");
	if (moe->balance_target > 0 && moe->balance == 0)
		return refuse(c, "model.moe.balance_target moves the weight model.moe.balance, which is 0: set it "
			"above 0, or balance_target to 0");
	if (moe->balance_target > 0 && strcmp(moe->balance_by, "load"))
		return refuse(c, "model.moe.balance_target is of loads: set model.moe.balance_by to load, or "
			"balance_target to 0");
	return check_moved_capacity(c, moe);
}

/* A router whose weights nothing moves is `frozen`, and says so; of all experts there is no choice. */
static int check_taught(const struct config *c, const struct moe_spec *moe)
{
	bool assigned = !strcmp(moe->select, "hash") || !strcmp(moe->select, "place");
	bool drawn = !strcmp(moe->select, "sample");

	if (c->stored || assigned || moe->frozen || (drawn && moe->reinforce != 0) || strcmp(moe->weight, "one") ||
			moe_has_losses(moe) || (!moe_takes(moe) && moe->top_k >= moe->n_experts))
		return 0;
	return refuse(c, "nothing teaches the router: model.moe.weight one has no gradient for it, and there is no "
		"loss of the router: set %s, or model.moe.frozen to true", drawn ? "model.moe.reinforce above 0"
		: "weight to raw or straight_through");
}

static int check_renorm(const struct config *c, const struct moe_spec *moe)
{
	bool threshold = !strcmp(moe->select, "threshold");

	if (strcmp(moe->weight, "renorm") || moe_choices(moe) * moe->granularity > 1)
		return 0;
	return refuse(c, "model.moe.weight renorm with one expert a token (model.moe.%s 1) gives it the weight 1, from "
		"which no router learns: set weight to raw or straight_through%s", threshold ? "max_k" : "top_k",
		moe_takes(moe) ? "" : threshold ? ", or max_k to 2 or more" : ", or top_k to 2 or more");
}

/* In other orders a choice that moved would meet those whose turn comes before its own. */
static int check_overflow(const struct config *c, const struct moe_spec *moe)
{
	bool by_score = !strcmp(moe->select, "topk") || !strcmp(moe->select, "topp");

	if (!strcmp(moe->overflow, "drop") || (by_score && !strcmp(moe->order, "token")))
		return 0;
	return refuse(c, "model.moe.overflow next goes down the scores of a token, token after token: set select to "
		"topk or topp and order to token, or overflow to drop");
}

int check_moe(const struct config *c, const struct moe_spec *moe)
{
	if (check_overflow(c, moe))
		return -1;
	if (check_assigned(c, moe) || check_chosen(c, moe) || check_drawn(c, moe) || check_controlled(c, moe) ||
		check_taking(c, moe) || check_mixed(c, moe) || check_experts(c, moe) || check_taught(c, moe))
		return -1;
	if (moe->top_k > moe->n_experts)
		return refuse(c, "model.moe.top_k %ld is more than model.moe.n_experts %ld: set it to %ld at most, or "
			"n_experts to %ld or more", moe->top_k, moe->n_experts, moe->n_experts, moe->top_k);
	if (moe->frozen && (strcmp(moe->weight, "one") || moe_has_losses(moe) || (moe->reinforce != 0 && !c->stored)))
		return refuse(c, "model.moe.frozen needs model.moe.weight one, and balance, z_loss, importance, load, "
			"mean_entropy, token_entropy and reinforce 0: all else would teach the router");
	if (moe_class(moe, 1) == MOE_FUTURE && !moe->allow_future)
		return refuse(c, "with model.moe.%s%s a token's later neighbours can take its place: its loss is "
			"not that of a language model. Set %s, or model.moe.allow_future to true to train it "
			"nonetheless", moe_takes(moe) ? "select " : "order ", moe_takes(moe) ? moe->select : moe->order,
			moe_takes(moe) ? "select to expert_choice_batch" :
			"order to token");
	return check_renorm(c, moe);
}
