#include "arch/routers.h"

#include "base/error.h"

#define IS(router_, key_, value_) {"model.moe.router", router_, "model.moe." key_, value_}

/*
 * switch   one choice, weight p (Fedus, Zoph, Shazeer 2022, arXiv:2101.03961)
 * topk     two choices, softmax over their logits, none dropped (Mixtral: Jiang et al. 2024,
 *          arXiv:2401.04088)
 * hmoe     as topk, experts from 9/16 to 23/16 of the mean width, their parameters at work evened, not their
 *          loads (Wang et al. 2024, arXiv:2408.10681, sections 3 and 4; for n_experts a multiple of 8)
 * gshard   two choices of which all firsts get places before any second (Lepikhin et al. 2020,
 *          arXiv:2006.16668, algorithm 1, every second choice kept): a token's future can take its place
 * sigmoid_bias   two choices by sigmoid and a bias that evens loads in place of a loss, weights
 *          normalised, none dropped (Wang et al. 2024, arXiv:2408.15664; DeepSeek-V3 2024,
 *          arXiv:2412.19437, eq. 12-16)
 * noisy    two choices by logits with noise whose width is learned; none dropped (Shazeer et al. 2017,
 *          arXiv:1701.06538, eq. 3-7)
 * gumbel   one choice drawn by score, weight 1 with the gradient of the score; none dropped (Jang, Gu,
 *          Poole 2017, arXiv:1611.01144, straight-through, but with the chosen expert's gradient alone)
 * expert_choice   experts choose as many tokens each, of all in the batch of a step, two of them a token
 *          on average (Zhou et al. 2022, arXiv:2202.09368): a token's future can take its place
 * expert_choice_batch   the same among the tokens at one position of all sequences: its future cannot
 * tokens   experts see mixtures of the tokens at one position of 32 sequences, all experts each of them
 *          (Antoniak et al. 2023, arXiv:2310.15961)
 * topp     as many choices as their p sum to 0.4, four at most; weights p, a little of the entropy of p as a
 *          loss; none dropped (Huang et al. 2024, arXiv:2403.07652)
 * threshold   those experts whose sigmoid is above a threshold that follows the quantile of past steps, one
 *          in the mean, four at most; no loss, none dropped: experts' choice (Zhou et al. 2022,
 *          arXiv:2202.09368) without a look at later tokens
 * reinforce   one choice drawn by score, weight 1, taught by the token's own loss against a running mean;
 *          entropy of scores subtracted; none dropped (Clark et al. 2022, arXiv:2202.01169, RL-R)
 * hash     by the token's id, weight 1, no router (Roller et al. 2021, arXiv:2106.04426)
 * fixed    by the token's place in the document, weight 1, no router: all experts have as much to do
 * random   a router that stays as it begins
 */
const struct preset router_presets[] = {
	IS("topk", "top_k", "2"),
	IS("topk", "weight", "renorm"),
	IS("topk", "capacity_factor", "0"),
	IS("hmoe", "top_k", "2"),
	IS("hmoe", "weight", "renorm"),
	IS("hmoe", "capacity_factor", "0"),
	IS("hmoe", "balance", "0.1"),
	IS("hmoe", "balance_by", "width"),
	IS("hmoe", "expert_sizes", "9:11:13:15:17:19:21:23"),
	IS("gshard", "top_k", "2"),
	IS("gshard", "weight", "renorm"),
	IS("gshard", "order", "choice"),
	IS("sigmoid_bias", "score", "sigmoid"),
	IS("sigmoid_bias", "top_k", "2"),
	IS("sigmoid_bias", "weight", "renorm"),
	IS("sigmoid_bias", "bias_rate", "0.001"),
	IS("sigmoid_bias", "balance", "0"),
	IS("sigmoid_bias", "capacity_factor", "0"),
	IS("noisy", "noise", "learned"),
	IS("noisy", "top_k", "2"),
	IS("noisy", "weight", "renorm"),
	IS("noisy", "importance", "0.1"),
	IS("noisy", "load", "0.1"),
	IS("noisy", "balance", "0"),
	IS("noisy", "capacity_factor", "0"),
	IS("gumbel", "noise", "gumbel"),
	IS("gumbel", "weight", "straight_through"),
	IS("gumbel", "capacity_factor", "0"),
	IS("expert_choice", "select", "expert_choice"),
	IS("expert_choice", "capacity_factor", "2"),
	IS("expert_choice", "balance", "0"),
	IS("expert_choice_batch", "select", "expert_choice_batch"),
	IS("expert_choice_batch", "capacity_factor", "2"),
	IS("expert_choice_batch", "balance", "0"),
	IS("tokens", "select", "tokens"),
	IS("tokens", "group_sequences", "32"),
	IS("tokens", "balance", "0"),
	IS("tokens", "capacity_factor", "0"),
	IS("topp", "select", "topp"),
	IS("topp", "top_k", "4"),
	IS("topp", "token_entropy", "0.0001"),
	IS("topp", "capacity_factor", "0"),
	IS("threshold", "select", "threshold"),
	IS("threshold", "score", "sigmoid"),
	IS("threshold", "balance", "0"),
	IS("threshold", "capacity_factor", "0"),
	IS("reinforce", "select", "sample"),
	IS("reinforce", "weight", "one"),
	IS("reinforce", "reinforce", "1"),
	IS("reinforce", "token_entropy", "-0.01"),
	IS("reinforce", "capacity_factor", "0"),
	IS("hash", "select", "hash"),
	IS("hash", "weight", "one"),
	IS("hash", "balance", "0"),
	IS("hash", "capacity_factor", "0"),
	IS("fixed", "select", "place"),
	IS("fixed", "weight", "one"),
	IS("fixed", "balance", "0"),
	IS("fixed", "capacity_factor", "0"),
	IS("random", "frozen", "true"),
	IS("random", "weight", "one"),
	IS("random", "balance", "0"),
	IS("random", "capacity_factor", "0"),
};
const int n_router_presets = ARRAY_SIZE(router_presets);
