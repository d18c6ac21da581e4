#include "arch/fields.h"

#include <string.h>

#include "arch/routers.h"
#include "base/error.h"
#include "op/delta.h"
#include "op/kit/act_fn.h"
#include "op/moba.h"
#include "op/ssd.h"

static const struct field skeleton_rows[] = {
	FIELD(struct skeleton, d_model, "model.d_model", INT, NULL, 1, 65536, .unit = "channels",
		.help = "width of the residual stream"),
	FIELD(struct skeleton, n_blocks, "model.n_blocks", INT, NULL, 1, 1024,
		.help = "blocks as the paper counts them (a block may hold two residual layers)"),
	FIELD(struct skeleton, norm, "model.norm", CHOICE, "layernorm", 0, 0,
		.choices = "layernorm|rmsnorm", .help = "norm in front of each layer"),
	FIELD(struct skeleton, norm_eps, "model.norm_eps", REAL, "1e-5", 1e-12, 1,
		.help = "added to the variance"),
	FIELD(struct skeleton, final_norm, "model.final_norm", BOOL, "false", 0, 0,
		.help = "a norm between the last layer and the head"),
	FIELD(struct skeleton, init_scale, "init.scale", REAL, "0.1", 0, 100,
		.help = "weights begin normal with std sqrt(scale / fan_in)"),
	FIELD(struct skeleton, init_cut, "init.cut", REAL, "0.2", 1e-6, 100,
		.help = "largest initial weight; beyond it is drawn again"),
	FIELD(struct skeleton, decay, "train.decay", CHOICE, "all", 0, 0, .choices = "all|matrices",
		.help = "parameters with weight decay (matrices: no norms, biases, A_log, D)"),
	FIELD(struct skeleton, head, "model.head", CHOICE, "linear", 0, 0, .choices = "linear|copy|forecast",
		.legacy = "linear", .help = "copy: what followed earlier tokens of the document can be "
			"pointed at (pointer-generator, arXiv:1704.04368); forecast: tokens are values of a series, "
			"the loss is a squared error, each row normalised by mean and deviation (RevIN)"),
	FIELD(struct skeleton, copy_width, "model.copy_width", INT, "64", 1, 1024, .unit = "channels",
		.legacy = "64", .help = "of queries and keys of a copy head"),
	FIELD(struct skeleton, patch, "model.patch", INT, "0", 0, 4096, .unit = "values", .legacy = "0",
		.help = "of a position, which a linear layer reads in place of an embedding: bytes of an image, or "
			"with model.head=forecast numbers; 0: tokens, one a position"),
	FIELD(struct skeleton, pool, "model.pool", CHOICE, "last", 0, 0, .choices = "last|mean", .legacy = "last",
		.help = "what the head reads: a position's own output, or the mean of its document's so far, by which "
			"sequences are classified"),
};
const struct field_table skeleton_fields = FIELD_TABLE(skeleton_rows);

static const struct field ssm_rows[] = {
	FIELD(struct ssm_spec, d_state, "model.ssm.d_state", INT, "16", 1, 256,
		.help = "states per channel"),
	FIELD(struct ssm_spec, d_conv, "model.ssm.d_conv", INT, "4", 1, 16, .unit = "tokens",
		.help = "taps of the causal convolution"),
	FIELD(struct ssm_spec, expand, "model.ssm.expand", REAL, "2", 0.1, 16,
		.help = "inner width / d_model"),
	FIELD(struct ssm_spec, dt_rank, "model.ssm.dt_rank", INT, "0", 0, 4096,
		.help = "rank of the step-size projection; 0: d_model / 16, rounded up"),
	FIELD(struct ssm_spec, dt_min, "model.ssm.dt_min", REAL, "0.001", 1e-6, 1,
		.help = "smallest initial step size"),
	FIELD(struct ssm_spec, dt_max, "model.ssm.dt_max", REAL, "0.1", 1e-6, 10,
		.help = "largest initial step size"),
	FIELD(struct ssm_spec, norm, "model.ssm.norm", BOOL, "false", 0, 0, .legacy = "false",
		.help = "RMSNorm, with weights, of what makes the step size, of B and of C (Jamba, arXiv:2403.19887): "
			"large rates do not let them grow without bound"),
};
const struct field_table ssm_fields = FIELD_TABLE(ssm_rows);

static const struct field mamba2_rows[] = {
	FIELD(struct mamba2_spec, d_state, "model.mamba2.d_state", INT, "128", 1, SSD_MAX_STATES,
		.help = "states per channel"),
	FIELD(struct mamba2_spec, d_conv, "model.mamba2.d_conv", INT, "4", 1, 16, .unit = "tokens",
		.help = "taps of the causal convolution"),
	FIELD(struct mamba2_spec, d_head, "model.mamba2.d_head", INT, "64", 1, SSD_MAX_HEAD,
		.unit = "channels", .help = "width of a head; a head has one decay"),
	FIELD(struct mamba2_spec, n_groups, "model.mamba2.n_groups", INT, "1", 1, 256,
		.help = "groups of heads, each with B, C and a norm of its own"),
	FIELD(struct mamba2_spec, expand, "model.mamba2.expand", REAL, "2", 0.1, 16,
		.help = "inner width / d_model"),
	FIELD(struct mamba2_spec, a_min, "model.mamba2.a_min", REAL, "1", 1e-6, 1e4,
		.help = "smallest initial rate of forgetting, -A"),
	FIELD(struct mamba2_spec, a_max, "model.mamba2.a_max", REAL, "16", 1e-6, 1e4,
		.help = "largest initial rate of forgetting"),
	FIELD(struct mamba2_spec, dt_min, "model.mamba2.dt_min", REAL, "0.001", 1e-6, 1,
		.help = "smallest initial step size"),
	FIELD(struct mamba2_spec, dt_max, "model.mamba2.dt_max", REAL, "0.1", 1e-6, 10,
		.help = "largest initial step size"),
	FIELD(struct mamba2_spec, norm_eps, "model.mamba2.norm_eps", REAL, "1e-5", 1e-12, 1,
		.help = "added to the mean square of the gated norm"),
	FIELD(struct mamba2_spec, rescale, "model.mamba2.rescale", BOOL, "true", 0, 0,
		.help = "the output projection begins divided by sqrt(n_blocks)"),
};
const struct field_table mamba2_fields = FIELD_TABLE(mamba2_rows);

static const struct field mamba3_rows[] = {
	FIELD(struct mamba3_spec, d_state, "model.mamba3.d_state", INT, "128", 2, SSD_MAX_STATES,
		.legacy = "128", .help = "states per channel"),
	FIELD(struct mamba3_spec, d_head, "model.mamba3.d_head", INT, "64", 1, SSD_MAX_HEAD,
		.legacy = "64", .unit = "channels", .help = "width of a head; a head has one decay"),
	FIELD(struct mamba3_spec, n_groups, "model.mamba3.n_groups", INT, "1", 1, 256, .legacy = "1",
		.help = "groups of heads, each with B and C of its own"),
	FIELD(struct mamba3_spec, expand, "model.mamba3.expand", REAL, "2", 0.1, 16, .legacy = "2",
		.help = "inner width / d_model"),
	FIELD(struct mamba3_spec, turned, "model.mamba3.turned", REAL, "0.5", 0, 1, .legacy = "0.5",
		.help = "share of the states that turn, in pairs, by angles of each token"),
	FIELD(struct mamba3_spec, dt_min, "model.mamba3.dt_min", REAL, "0.001", 1e-6, 1, .legacy = "0.001",
		.help = "smallest initial step size"),
	FIELD(struct mamba3_spec, dt_max, "model.mamba3.dt_max", REAL, "0.1", 1e-6, 10, .legacy = "0.1",
		.help = "largest initial step size"),
	FIELD(struct mamba3_spec, norm_eps, "model.mamba3.norm_eps", REAL, "1e-5", 1e-12, 1,
		.legacy = "1e-5", .help = "added to the mean squares of B and C"),
	FIELD(struct mamba3_spec, rescale, "model.mamba3.rescale", BOOL, "true", 0, 0, .legacy = "true",
		.help = "the output projection begins divided by sqrt(n_blocks)"),
};
const struct field_table mamba3_fields = FIELD_TABLE(mamba3_rows);

static const struct field gdn_rows[] = {
	FIELD(struct gdn_spec, n_heads, "model.gdn.n_heads", INT, "0", 0, 1024,
		.legacy = "0", .help = "heads of Gated DeltaNet, each a memory; 0: 3/4 d_model / d_key"),
	FIELD(struct gdn_spec, d_key, "model.gdn.d_key", INT, "128", 1, DELTA_MAX_KEY, .unit = "channels",
		.legacy = "128", .help = "width of a head's queries and keys"),
	FIELD(struct gdn_spec, d_value, "model.gdn.d_value", INT, "0", 0, DELTA_MAX_VALUE,
		.legacy = "0", .unit = "channels", .help = "width of a head's values; 0: 2 d_key"),
	FIELD(struct gdn_spec, d_conv, "model.gdn.d_conv", INT, "4", 1, 16, .unit = "tokens",
		.legacy = "4", .help = "taps of the causal convolution"),
	FIELD(struct gdn_spec, a_min, "model.gdn.a_min", REAL, "0.001", 1e-6, 1e4,
		.legacy = "0.001", .help = "smallest initial rate of forgetting, -A"),
	FIELD(struct gdn_spec, a_max, "model.gdn.a_max", REAL, "16", 1e-6, 1e4,
		.legacy = "16", .help = "largest initial rate of forgetting"),
	FIELD(struct gdn_spec, dt_min, "model.gdn.dt_min", REAL, "0.001", 1e-6, 1,
		.legacy = "0.001", .help = "smallest initial step size"),
	FIELD(struct gdn_spec, dt_max, "model.gdn.dt_max", REAL, "0.1", 1e-6, 10,
		.legacy = "0.1", .help = "largest initial step size"),
	FIELD(struct gdn_spec, norm_eps, "model.gdn.norm_eps", REAL, "1e-5", 1e-12, 1,
		.legacy = "1e-5", .help = "added to the mean square of the gated norm"),
};
const struct field_table gdn_fields = FIELD_TABLE(gdn_rows);

static const struct field attn_rows[] = {
	FIELD(struct attn_spec, n_heads, "model.attn.n_heads", INT, "0", 0, 1024,
		.help = "attention heads; 0: d_model / 64"),
	FIELD(struct attn_spec, n_kv_heads, "model.attn.n_kv_heads", INT, "0", 0, 1024, .legacy = "0",
		.help = "heads of keys and values, each shared by n_heads / n_kv_heads of queries; 0: n_heads"),
	FIELD(struct attn_spec, window, "model.attn.window", INT, "0", 0, 1L << 30, .legacy = "0",
		.unit = "tokens", .help = "tokens that each sees, its own one included; 0: all"),
	FIELD(struct attn_spec, segment, "model.attn.segment", INT, "0", 0, MOBA_MAX_SEGMENT, .legacy = "0",
		.unit = "tokens", .help = "above 0: each token sees its own segment of so many, and of earlier ones"),
	FIELD(struct attn_spec, earlier, "model.attn.earlier", CHOICE, "chosen", 0, 0, .legacy = "chosen",
		.choices = "chosen|summary", .help = "what it sees there: chosen segments, or one summary of each"),
	FIELD(struct attn_spec, chosen, "model.attn.chosen", INT, "3", 1, MOBA_MAX_CHOSEN, .legacy = "3",
		.help = "segments that a token sees, its own one among them"),
	FIELD(struct attn_spec, rope, "model.attn.rope", BOOL, "true", 0, 0, .legacy = "true",
		.help = "rotary positions of queries and keys"),
	FIELD(struct attn_spec, rope_base, "model.attn.rope_base", REAL, "10000", 1, 1e9,
		.help = "base of the rotary angles"),
};
const struct field_table attn_fields = FIELD_TABLE(attn_rows);

static const struct field ffn_rows[] = {
	FIELD(struct ffn_spec, d_hidden, "model.ffn.d_hidden", INT, "0", 0, 1 << 20,
		.unit = "channels", .help = "hidden width of the dense channel mixer; 0: 4 d_model"),
	FIELD(struct ffn_spec, bias, "model.ffn.bias", BOOL, "true", 0, 0,
		.help = "biases in both layers"),
	FIELD(struct ffn_spec, gated, "model.ffn.gated", BOOL, "false", 0, 0, .legacy = "false",
		.help = "a second first layer, by which the activation of the other is multiplied (SwiGLU with "
			"activation silu)"),
	FIELD(struct ffn_spec, activation, "model.ffn.activation", CHOICE, "relu", 0, 0,
		.choices = ACT_CHOICES, .help = "between the two layers"),
};
const struct field_table ffn_fields = FIELD_TABLE(ffn_rows);

static const struct field moe_rows[] = {
	FIELD(struct moe_spec, n_experts, "model.moe.n_experts", INT, "8", 1, 4096,
		.help = "experts of a mixture"),
	FIELD(struct moe_spec, d_expert, "model.moe.d_expert", INT, "0", 0, 1 << 20,
		.unit = "channels", .help = "hidden width of an expert; 0: 3 d_model"),
	FIELD(struct moe_spec, expert_sizes, "model.moe.expert_sizes", TEXT, "", 0, 0, .legacy = "",
		.help = "widths of experts in proportion, in turn, with d_expert as their mean: 9:11:13:15; active "
			"parameters are those of even loads; empty: all are as wide"),
	FIELD(struct moe_spec, granularity, "model.moe.granularity", INT, "1", 1, 256, .legacy = "1",
		.help = "so many times n_experts experts, as many times narrower and as many times top_k chosen: "
			"the same parameters and FLOPs but for the router's"),
	FIELD(struct moe_spec, n_shared, "model.moe.n_shared", INT, "0", 0, 256, .legacy = "0",
		.help = "experts more, of the same width, that all tokens go to with weight 1"),
	FIELD(struct moe_spec, expert, "model.moe.expert", CHOICE, "ffn", 0, 0, .legacy = "ffn",
		.choices = "ffn|gated|linear", .help = "what an expert is: two layers; three matrices, f(G x) times "
			"U x in front of the last (SwiGLU with activation silu); or one matrix"),
	FIELD(struct moe_spec, router, "model.moe.router", CHOICE, "switch", 0, 0,
		.choices = ROUTER_CHOICES, .legacy = "switch",
		.help = "defaults of the keys of a router, by its name"),
	FIELD(struct moe_spec, select, "model.moe.select", CHOICE, "topk", 0, 0,
		.choices = "topk|topp|threshold|sample|hash|place|expert_choice|expert_choice_batch|tokens",
		.legacy = "topk",
		.help = "experts of a token: the top_k best by its scores; as many as sum to top_p, at most top_k; "
			"those above a threshold, which top_k are in the mean; one drawn by score; by a hash of its id; "
			"by its place; or experts choose tokens of a routing group, in time or across sequences at one position; "
			"or they see mixtures of the tokens at one position"),
	FIELD(struct moe_spec, top_p, "model.moe.top_p", REAL, "0.4", 1e-6, 1e6, .legacy = "0.4",
		.help = "with select topp a token takes experts until their scores sum to more"),
	FIELD(struct moe_spec, max_k, "model.moe.max_k", INT, "4", 1, 4096, .legacy = "4",
		.help = "with select threshold: experts of a token at most (and no more than n_experts), granularity "
			"apart"),
	FIELD(struct moe_spec, threshold_rate, "model.moe.threshold_rate", REAL, "0.1", 1e-9, 1e3,
		.legacy = "0.1", .help = "after each step an expert's threshold rises by this times the share of "
			"tokens that chose it, less top_k / n_experts"),
	FIELD(struct moe_spec, bias_rate, "model.moe.bias_rate", REAL, "0", 0, 1, .legacy = "0",
		.help = "experts are chosen by score + bias; after each step the bias of an expert that was "
			"wanted less than the mean rises by this, of others it falls; 0: no bias"),
	FIELD(struct moe_spec, frozen, "model.moe.frozen", BOOL, "false", 0, 0, .legacy = "false",
		.help = "the router's weights stay as they begin (needs weight one and no losses)"),
	FIELD(struct moe_spec, order, "model.moe.order", CHOICE, "token", 0, 0,
		.choices = "token|choice|gate", .legacy = "token",
		.help = "who gets places under capacity: earlier tokens; all first choices before any second; or the "
			"same, but tokens by falling score of their first choice. Of the last two a token's future can "
			"take its place"),
	FIELD(struct moe_spec, overflow, "model.moe.overflow", CHOICE, "drop", 0, 0,
		.choices = "drop|next", .legacy = "drop",
		.help = "choices of an expert that has taken its capacity: dropped; or they go to the token's next best "
			"expert that has room (needs order token)"),
	FIELD(struct moe_spec, allow_future, "model.moe.allow_future", BOOL, "false", 0, 0,
		.provenance = true, .legacy = "false",
		.help = "train also where a token's output depends on its future: its loss is then not that "
			"of a language model"),
	FIELD(struct moe_spec, top_k, "model.moe.top_k", INT, "1", 1, 4096, .legacy = "1",
		.help = "experts that each token goes to"),
	FIELD(struct moe_spec, score, "model.moe.score", CHOICE, "softmax", 0, 0,
		.choices = "softmax|sigmoid", .legacy = "softmax",
		.help = "of an expert, from its logit: over all experts, or each by itself"),
	FIELD(struct moe_spec, temperature, "model.moe.temperature", REAL, "1", 1e-3, 1e3,
		.legacy = "1", .help = "logits are divided by it"),
	FIELD(struct moe_spec, temperature_decay, "model.moe.temperature_decay", REAL, "0", 0, 1,
		.legacy = "0", .help = "e-folds that the temperature falls by after each step (0.01: 1 %); 0: it stays"),
	FIELD(struct moe_spec, temperature_least, "model.moe.temperature_least", REAL, "0.5", 1e-3, 1e3,
		.legacy = "0.5", .help = "where the falling temperature ends"),
	FIELD(struct moe_spec, noise, "model.moe.noise", CHOICE, "none", 0, 0,
		.choices = "none|jitter|gaussian|learned|gumbel", .legacy = "none",
		.help = "in training: of what the router sees; or of its logits, Gaussian, Gaussian of a width "
			"that a second router learns, or Gumbel (a draw by score)"),
	FIELD(struct moe_spec, noise_scale, "model.moe.noise_scale", REAL, "0", 0, 1e3, .legacy = "0",
		.help = "of the noise; 0: 0.01 of jitter, 1 / n_experts of gaussian, else 1"),
	FIELD(struct moe_spec, weight, "model.moe.weight", CHOICE, "raw", 0, 0,
		.choices = "raw|renorm|one|straight_through", .legacy = "raw",
		.help = "of a chosen expert's output: its score; the score's share of the chosen; 1; or 1 "
			"with the gradient of the score"),
	FIELD(struct moe_spec, weight_scale, "model.moe.weight_scale", REAL, "1", 1e-6, 1e6,
		.legacy = "1", .help = "factor of these weights"),
	FIELD(struct moe_spec, capacity_factor, "model.moe.capacity_factor", REAL, "1", 0, 1e4,
		.help = "an expert takes factor * top_k * tokens / n_experts choices of each routing "
			"group; 0: all"),
	FIELD(struct moe_spec, capacity_decay, "model.moe.capacity_decay", REAL, "0", 0, 1, .legacy = "0",
		.help = "e-folds that the capacity falls by after each step (0.01: 1 %); 0: it stays"),
	FIELD(struct moe_spec, capacity_least, "model.moe.capacity_least", REAL, "1", 1e-3, 1e4, .legacy = "1",
		.help = "factor where the falling capacity ends"),
	FIELD(struct moe_spec, group_tokens, "model.moe.group_tokens", INT, "0", 0, 1L << 30,
		.unit = "tokens", .help = "routing group; 0: the whole batch of a step"),
	FIELD(struct moe_spec, group_sequences, "model.moe.group_sequences", INT, "0", 0, 1L << 30,
		.unit = "sequences", .legacy = "0", .help = "of a routing group across sequences at one "
			"position; 0: all of a step"),
	FIELD(struct moe_spec, cutoff_rate, "model.moe.cutoff_rate", REAL, "0.05", 1e-6, 1,
		.legacy = "0.05", .help = "where experts choose tokens: of the running mean of the least score "
			"that each takes, by which they choose in evaluation without groups"),
	FIELD(struct moe_spec, balance, "model.moe.balance", REAL, "0.01", 0, 100,
		.help = "weight of the load-balancing loss"),
	FIELD(struct moe_spec, balance_by, "model.moe.balance_by", CHOICE, "load", 0, 0, .choices = "load|width",
		.legacy = "load", .help = "what that loss evens: choices that name an expert; or these times its width, "
			"parameters at work, so that small experts are chosen more often"),
	FIELD(struct moe_spec, balance_target, "model.moe.balance_target", REAL, "0", 0, 1e3, .legacy = "0",
		.help = "above 0: after each step the weight of the load-balancing loss grows while the busiest "
			"expert has more than the mean load by more than this share of it, else it shrinks"),
	FIELD(struct moe_spec, drop_target, "model.moe.drop_target", REAL, "0", 0, 1, .legacy = "0",
		.help = "above 0: after each step the capacity grows, up to capacity_factor, while more than this "
			"share of the choices is dropped, else it shrinks"),
	FIELD(struct moe_spec, control_rate, "model.moe.control_rate", REAL, "0.01", 1e-9, 10,
		.legacy = "0.01", .help = "e-folds a step and unit of the difference to these targets"),
	FIELD(struct moe_spec, z_loss, "model.moe.z_loss", REAL, "0", 0, 100,
		.help = "weight of the router z-loss"),
	FIELD(struct moe_spec, importance, "model.moe.importance", REAL, "0", 0, 100, .legacy = "0",
		.help = "weight of the squared variation of the experts' mean scores"),
	FIELD(struct moe_spec, load, "model.moe.load", REAL, "0", 0, 100, .legacy = "0",
		.help = "weight of the squared variation of the loads that noise makes likely; needs Gaussian noise"),
	FIELD(struct moe_spec, reinforce, "model.moe.reinforce", REAL, "0", 0, 1e3, .legacy = "0",
		.help = "weight of what teaches drawn choices: that an expert's tokens have less loss than the "
			"running mean"),
	FIELD(struct moe_spec, mean_entropy, "model.moe.mean_entropy", REAL, "0", 0, 100,
		.legacy = "0", .help = "weight of the entropy of the mean scores, which is subtracted: "
			"evens the load"),
	FIELD(struct moe_spec, token_entropy, "model.moe.token_entropy", REAL, "0", -100, 100,
		.legacy = "0", .help = "weight of the mean entropy of a token's scores, which is added: "
			"sharpens choices; negative: flattens them"),
	FIELD(struct moe_spec, balance_scope, "model.moe.balance_scope", CHOICE, "group", 0, 0,
		.choices = "group|sequence|step", .legacy = "group",
		.help = "tokens over which these losses take means: a routing group (where groups lie across sequences, all positions of "
			"one's sequences), a sequence, the batch"),
	FIELD(struct moe_spec, aux_reduce, "model.moe.aux_reduce", CHOICE, "mean", 0, 0,
		.choices = "mean|sum", .help = "auxiliary losses over the routers of a model"),
	FIELD(struct moe_spec, init_fan, "model.moe.init_fan", CHOICE, "all_experts", 0, 0,
		.choices = "all_experts|one|chosen",
		.help = "fan-in that sets the std of the second expert matrix"),
	FIELD(struct moe_spec, activation, "model.moe.activation", CHOICE, "relu", 0, 0,
		.choices = ACT_CHOICES, .help = "inside the experts"),
	FIELD(struct moe_spec, out_norm, "model.moe.out_norm", BOOL, "false", 0, 0, .legacy = "false",
		.help = "the model's norm behind the mixture, in front of the residual stream"),
};
const struct field_table moe_fields = FIELD_TABLE(moe_rows);

const struct field *moe_field(const char *key)
{
	for (int i = 0; i < moe_fields.n; i++)
		if (!strcmp(moe_fields.rows[i].key, key))
			return &moe_fields.rows[i];
	BUG("no key %s", key);
}

static const struct field inner_rows[] = {
	FIELD(struct inner_spec, conv, "model.inner.conv", BOOL, "false", 0, 0,
		.help = "mixture of experts in place of the convolution projection"),
	FIELD(struct inner_spec, gate, "model.inner.gate", BOOL, "false", 0, 0,
		.help = "mixture of experts in place of the gate projection"),
	FIELD(struct inner_spec, out, "model.inner.out", BOOL, "false", 0, 0,
		.help = "mixture of experts in place of the output projection"),
	FIELD(struct inner_spec, router, "model.inner.router", CHOICE, "own", 0, 0, .legacy = "own",
		.choices = "own|shared", .help = "each of these mixtures has a router; or a layer has one, whose "
			"weights the output projection alone takes (Routing Mamba)"),
	FIELD(struct inner_spec, every, "model.inner.every", INT, "2", 1, 2,
		.help = "1: in every Mamba layer; 2: in every other one, beginning with the second"),
};
const struct field_table inner_fields = FIELD_TABLE(inner_rows);

static const struct field mix_rows[] = {
	FIELD(struct mix_spec, alpha, "model.mix.alpha", CHOICE, "learned", 0, 0, .legacy = "learned",
		.choices = "learned|channel|fixed",
		.help = "share of two mixed paths: one learned number a layer, or one a channel, or half of each"),
	FIELD(struct mix_spec, weights, "model.mix.weights", BOOL, "false", 0, 0, .legacy = "false",
		.help = "weights of channels behind the norms of mixed paths"),
};
const struct field_table mix_fields = FIELD_TABLE(mix_rows);

static const struct field mod_rows[] = {
	FIELD(struct mod_spec, share, "model.mod.share", REAL, "0.125", 1e-6, 1, .legacy = "0.125",
		.help = "of the tokens, that go through a layer of picked tokens"),
	FIELD(struct mod_spec, capacity_factor, "model.mod.capacity_factor", REAL, "2", 1, 1e6, .legacy = "2",
		.help = "in training there is room for this times the share of a sequence's tokens"),
	FIELD(struct mod_spec, rate, "model.mod.rate", REAL, "1", 1e-9, 1e3, .legacy = "1",
		.help = "the threshold moves by this times the share picked beyond the wanted, a step"),
};
const struct field_table mod_fields = FIELD_TABLE(mod_rows);

static const struct field xattn_rows[] = {
	FIELD(struct xattn_spec, queries, "model.xattn.queries", CHOICE, "state", 0, 0, .legacy = "state",
		.choices = "state|input",
		.help = "queries of cross-attention: from the Mamba layer's output, or from its input"),
};
const struct field_table xattn_fields = FIELD_TABLE(xattn_rows);

static const struct field local_rows[] = {
	FIELD(struct local_spec, width, "model.local.width", INT, "0", 0, 65536, .legacy = "0",
		.unit = "channels", .help = "queries of attention inside a Mamba layer; 0: d_model / 2"),
	FIELD(struct local_spec, place, "model.local.place", CHOICE, "input", 0, 0, .legacy = "input",
		.choices = "input|output|conv", .help = "what it is added to: input or output of the scan; or what the "
			"convolution reads, and then it stands in place of that"),
};
const struct field_table local_fields = FIELD_TABLE(local_rows);
