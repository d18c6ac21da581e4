/*
 * Mixture of experts, k of E for each token:
 *
 *	s = score(W_r x),  S = the k best of s,  y = sum over e in S of w_e W2[e] f(W1[e] x)
 *
 * With one choice, softmax and w = s this is Switch routing (Fedus, Zoph, Shazeer 2022,
 * arXiv:2101.03961), for which there is one operator (op/route.h); all else is made of router, score,
 * choose, place, gate and router_loss, whose headers have the formulas.
 *
 * An expert takes capacity_factor * k * tokens / E choices of each routing group, by default in the order of tokens;
 * what is beyond gives 0, so only other choices and the residual carry the token on; or it goes to another expert that
 * has room (op/overflow.h). Experts by a hash of the token need no router; the score of each then is its share of the
 * choices.
 *
 * An expert may be gated or one matrix instead (op/experts.h), and several mixtures may send their tokens where
 * one router says (moe_route_once(): Routing Mamba, nn/mamba.h).
 *
 * Granularity G makes G n_experts experts of width d_expert / G, of which G times as many are chosen, so that
 * parameters and FLOPs stay but for the router's (Krajewski et al. 2024, arXiv:2402.07871, section 4). Shared
 * experts are one dense layer beside the mixture, n_shared times as wide as an expert (Dai et al. 2024,
 * arXiv:2401.06066, eq. 9-11).
 *
 * Experts may be of unequal widths (HMoE: Wang et al. 2024, arXiv:2408.10681), d_expert in the mean. What is
 * counted before a run, active parameters and FLOPs, takes loads for even: an expert is the mean of all; FLOPs as
 * trained go by who computed what. Capacity is a number of tokens, the same for all. W2 begins with one std for
 * all, from the mean width.
 *
 * Where experts choose tokens, each takes its capacity of every group by rank, so that none is overloaded
 * and nothing is to be balanced. Groups in time let a token's future take its place: then evaluation, and
 * for any groups whatever runs without capacity (samples, val_dropless), goes by a cutoff instead. A token
 * goes to the experts whose score for it is not below the running mean of the least score they took in
 * training, at most MOE_MOST times capacity_factor of them.
 *
 * With mixtures of tokens (Antoniak et al. 2023, arXiv:2310.15961) no token is sent anywhere: each expert sees
 * one weighted sum of the tokens at one position of group_sequences sequences, and what it makes of it goes
 * to these tokens by the same weights, a softmax over them of W_r x / temperature (op/share.h, merge.h,
 * emit.h). Without the others of its group a token has no output, so such a model runs on whole groups alone.
 */
#ifndef NN_MOE_H
#define NN_MOE_H

#include "nn/net.h"
#include "op/kit/units.h"

struct moe_spec {
	long n_experts, d_expert;	/* d_expert 0: 3 d_model */
	const char *expert_sizes;	/* "9:11:13": widths in these proportions, in turn; "": all are equal */
	long granularity;		/* experts are so many times as many, as narrow and as often chosen */
	long n_shared;			/* experts of the same width that all tokens go to, weight 1 */
	const char *expert;		/* "ffn" | "gated" | "linear": one matrix (op/experts.h) */
	const char *router;		/* a name for values of what follows (src/arch/routers.c) */
	const char *select;		/* "topk" | "topp" | "threshold" | "sample" (op/choose.h) | "hash" | "place"
					   (op/assign.h) | "expert_choice" | "expert_choice_batch" (op/take.h) |
					   "tokens" (op/share.h) */
	long top_k;			/* choices of a token: with "topp" at most, with "threshold" in the mean */
	double top_p;			/* of "topp" */
	long max_k;			/* of "threshold": choices of a token at most */
	double threshold_rate;		/* by which thresholds follow (train/control.h) */
	double bias_rate;		/* of biases that even loads (train/control.h); 0: there are none */
	bool frozen;			/* the router's weights stay as they begin */
	const char *score;		/* "softmax" | "sigmoid" */
	double temperature;		/* of scores, at first */
	double temperature_decay;	/* a step, down to the least (train/control.h); 0: it stays */
	double temperature_least;
	const char *noise;		/* in training: "none" | "jitter" (op/jitter.h) | "gaussian" |
					   "learned" (its width a second router's) | "gumbel" (op/noise.h) */
	double noise_scale;		/* 0: 0.01 of jitter, 1 / n_experts of gaussian, else 1 */
	const char *weight;		/* "raw" | "renorm" | "one" | "straight_through" (op/gate.h) */
	double weight_scale;
	double capacity_factor;		/* 0: experts take all */
	double capacity_decay;		/* a step, down to the least (train/control.h); 0: it stays */
	double capacity_least;
	long group_tokens;		/* 0: the whole batch of a step */
	long group_sequences;		/* where groups lie across sequences, at one position; 0: all of a step */
	double cutoff_rate;		/* of the mean of the least scores that experts took */
	const char *overflow;		/* choices of full experts: "drop" | "next" (op/overflow.h) */
	const char *order;		/* in which choices get places: "token" | "choice" | "gate" (op/place.h) */
	bool allow_future;		/* rules by which a token's future moves its output may be trained */
	double balance, z_loss;		/* weights of losses (op/router_loss.h) */
	double balance_target;		/* above 0: MaxVio that the weight of balance is moved for, from `balance` on */
	double drop_target;		/* above 0: share of choices dropped that capacity is moved for, up to
					   capacity_factor; both by control_rate (train/control.h) */
	double control_rate;
	const char *balance_by;		/* "load" | "width": load times width (op/router_loss.h) */
	double importance;
	double load;			/* of what noise makes of choices (op/noisy_load.h) */
	double reinforce;		/* of draws by "sample" (op/reinforce.h) */
	double mean_entropy;		/* subtracted: the larger, the more even */
	double token_entropy;		/* added: the larger, the sharper; negative: the flatter */
	const char *balance_scope;	/* of all of these: "group" | "sequence" | "step" */
	const char *aux_reduce;		/* over routers: "mean" | "sum" */
	const char *init_fan;		/* fan-in of W2: "all_experts" (E F, the paper's) | "chosen" (k F) |
					   "one" (F); linear experts begin as Mamba's projections do */
	const char *activation;
	bool out_norm;			/* the model's norm behind the mixture, as a residual layer */
};

enum { MOE_MOST = 4 };

/* Hidden width of an expert, granularity apart. */
long moe_width(const struct moe_spec *s, long d_model);

/* Widths of the experts as they are made, granularity included; n 0: all are equal. NULL, or what is wrong with
   expert_sizes. */
const char *moe_units(const struct moe_spec *s, long d_model, struct units *u);

/* Does training move the capacity? */
bool moe_moves_capacity(const struct moe_spec *s);

/* Do experts choose tokens? */
bool moe_takes(const struct moe_spec *s);

/* Do experts see mixtures of tokens? */
bool moe_mixes(const struct moe_spec *s);

/* Is there a loss of the router, draws apart? */
bool moe_has_losses(const struct moe_spec *s);

/* Could an expert take all tokens of a group, so that none is ever dropped? Of whole factors, which no product
   rounds. */
bool moe_holds_all(const struct moe_spec *s);

/* Choices of a token at most. */
long moe_choices(const struct moe_spec *s);

/* What a token's output depends on beside its own past. */
enum moe_class {
	MOE_OWN_PAST,		/* nothing: A */
	MOE_OTHERS,		/* other sequences of the batch, never its own future: B */
	MOE_FUTURE		/* its own future, so that a loss is not that of a language model: F */
};

/* Of the rules as they are used in training on sequences of `context` tokens. */
enum moe_class moe_class(const struct moe_spec *s, long context);

/* The residual branch, under the name "moe". */
struct tensor *moe(struct net *net, const void *moe_spec, struct tensor *x_BTD);
/* A mixture in place of a projection to `out` channels, under the given name. */
struct tensor *moe_project(struct net *net, const char *name, const struct moe_spec *s,
	struct tensor *x_BTD, long out);

/* Several of these whose tokens all go to the same experts: what routes x_BTD, under the present scope, and a
   mixture of any input that goes there. weighted: else all chosen experts count alike. */
struct moe_places;
struct moe_places *moe_route_once(struct net *net, const struct moe_spec *s, struct tensor *x_BTD);
struct tensor *moe_project_there(struct net *net, const char *name, const struct moe_spec *s,
	const struct moe_places *there, bool weighted, struct tensor *x_BTD, long out);

#endif
