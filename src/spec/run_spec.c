#include "spec/run_spec.h"

#include <math.h>
#include <string.h>

#include "base/error.h"

#define ROW(member, key, kind, initial, min, max, ...)                                             \
	FIELD(struct run_spec, member, key, kind, initial, min, max, __VA_ARGS__)

static const struct field rows[] = {
	ROW(arch, "model.arch", CHOICE, NULL, 0, 0, .help = "architecture"),
	ROW(recipe, "recipe", CHOICE, "paper", 0, 0, .choices = "paper|modern",
		.help = "defaults: the MoE-Mamba paper's, or today's habits (RMSNorm, final norm, "
			"decay on matrices, beta2 0.95)"),
	ROW(question, "question", TEXT, "", 0, 0, .provenance = true,
		.help = "what the experiment asks, for tables and reports"),
	ROW(seed, "seed", INT, "1", 0, 1L << 31, .help = "of initial weights and, by default, data order"),
	ROW(batch, "train.batch", INT, "16", 1, 1 << 20, .unit = "sequences",
		.help = "sequences of one update"),
	ROW(context, "train.context", INT, "256", 2, 1 << 20, .unit = "tokens",
		.help = "length of a sequence"),
	ROW(tokens, "train.tokens", INT, NULL, 1, 1e15, .unit = "tokens",
		.help = "budget of the run; the schedule ends with it"),
	ROW(micro_batch, "train.micro_batch", INT, "0", 0, 1 << 20, .unit = "sequences",
		.provenance = true, .help = "computed at once, a memory knob; 0: the whole batch"),
	ROW(lr, "train.lr", REAL, "1e-3", 0, 100, .help = "peak learning rate"),
	ROW(lr_final, "train.lr_final", REAL, "0.1", 0, 1,
		.help = "share of the peak that the cosine ends at"),
	ROW(warmup, "train.warmup", REAL, "0.01", 0, 1, .unit = "share of steps",
		.help = "linear warm-up"),
	ROW(warmup_min, "train.warmup_min", INT, "0", 0, 1e9, .unit = "steps", .legacy = "0",
		.help = "warm-up of at least so many steps, however short the run"),
	ROW(clip, "train.clip", REAL, "0.5", 0, 1e9,
		.help = "largest global gradient norm; 0: no clipping"),
	ROW(weight_decay, "train.weight_decay", REAL, "0.1", 0, 10, .help = "AdamW's, per unit of lr"),
	ROW(beta1, "train.beta1", REAL, "0.9", 0, 0.9999999, .help = "AdamW"),
	ROW(beta2, "train.beta2", REAL, "0.999", 0, 0.9999999, .help = "AdamW"),
	ROW(eps, "train.eps", REAL, "1e-8", 0, 1, .help = "AdamW"),
	ROW(position_gain, "train.position_gain", REAL, "0", 0, 100, .legacy = "0",
		.help = "each doubling of a token's position in its document adds so much to its weight in "
			"the training loss, 1 at the first; scaled to a mean of 1"),
	ROW(position_from, "train.position_from", INT, "0", 0, 1 << 20, .unit = "tokens", .legacy = "0",
		.help = "tokens in front of this position of their document have no part in the training loss"),
	ROW(recompute, "train.recompute", CHOICE, "none", 0, 0, .choices = "none|block",
		.provenance = true, .help = "block: keep only what leaves a residual layer, compute the "
			"rest again in backward; same numbers, less memory"),
	ROW(init_from, "train.init_from", PATH, "", 0, 0,
		.help = "checkpoint or trace whose weights the run begins with"),
	ROW(init_hash, "train.init_hash", TEXT, "", 0, 0, .legacy = "",
		.help = "hash of that file; set when the run is planned"),
	ROW(data_path, "data.path", PATH, NULL, 0, 0, .provenance = true,
		.help = "dataset folder (moelab data import); its contents are identified by hash"),
	ROW(sampling, "data.sampling", CHOICE, "shuffle", 0, 0, .choices = "shuffle|paper|stream",
		.legacy = "shuffle", .help = "shuffle: each sequence once per epoch; paper: documents drawn "
			"with replacement, packed, a circular window of them (arXiv:2401.04081's code); stream: each "
			"row of the batch goes on in the next step where it was, with the states it had and "
			"without gradients through them, in training and evaluation"),
	ROW(data_seed, "data.seed", INT, "-1", -1, 1L << 31,
		.help = "order of the training data; -1: the run's seed"),
	ROW(data_vocab, "data.vocab", INT, "257", 0, 65536, .unit = "tokens",
		.help = "size of the vocabulary (byte: 257, gpt2: 50257, series: 65536); must be the dataset's"),
	ROW(reset_at_eot, "data.reset_at_eot", BOOL, "false", 0, 0, .legacy = "false",
		.help = "state, convolution and attention do not cross documents: the token after end of "
			"text begins afresh, in training and evaluation"),
	ROW(eval_split, "eval.split", CHOICE, "val", 0, 0, .choices = "val|tune", .legacy = "val",
		.help = "split of the evaluations; tune: what `tune` of a sweep chooses values by"),
	ROW(eval_every, "eval.every", INT, "0", 0, 1e9, .unit = "steps", .provenance = true,
		.help = "steps between evaluations; 0: a fiftieth of the run"),
	ROW(eval_tokens, "eval.tokens", INT, "65536", 1, 1e12, .unit = "tokens",
		.help = "validation tokens of one evaluation, the same windows each time"),
	ROW(eval_tests_every, "eval.tests_every", INT, "0", 0, 1e9, .unit = "steps", .provenance = true,
		.help = "steps between scores on a task's test sets; 0: at the end alone"),
	ROW(checkpoint_every_s, "checkpoint.every", REAL, "600", 0, 1e9, .unit = "seconds",
		.provenance = true, .help = "time between checkpoints"),
	ROW(checkpoint_keep, "checkpoint.keep", INT, "1", 0, 1000, .provenance = true,
		.help = "checkpoints kept; 0: none once the run is over"),
	ROW(log_every, "log.every", INT, "0", 0, 1e9, .unit = "steps", .provenance = true,
		.help = "steps between rows by expert and parameter group; 0: a hundredth of the run"),
	ROW(samples_every, "samples.every", INT, "0", 0, 1e9, .unit = "steps", .provenance = true,
		.help = "steps between texts that the model writes, kept in the database and shown by "
			"`moelab show`; 0: none"),
	ROW(samples_prompts, "samples.prompts", TREE, "[]", 0, 0, .provenance = true,
		.help = "list of texts to go on with"),
	ROW(samples_tokens, "samples.tokens", INT, "64", 1, 1 << 20, .unit = "tokens",
		.provenance = true, .help = "at most so many behind each; end of text ends before"),
	ROW(samples_temperature, "samples.temperature", REAL, "0.8", 0, 100, .provenance = true,
		.help = "logits are divided by it; 0: always the likeliest token"),
	ROW(match_to, "match.to", PATH, "", 0, 0,
		.help = "spec to equal: match.solve is chosen when the run is planned"),
	ROW(match_by, "match.by", CHOICE, "active", 0, 0, .choices = "active|flops",
		.provenance = true, .help = "in active parameters, or in model FLOPs per token"),
	ROW(match_solve, "match.solve", TEXT, "", 0, 0, .provenance = true,
		.help = "whole-number key of the model to choose, such as model.ffn.d_hidden"),
};
const struct field_table run_fields = FIELD_TABLE(rows);

const struct preset run_presets[] = {
	{"recipe", "modern", "model.norm", "rmsnorm"},
	{"recipe", "modern", "model.final_norm", "true"},
	{"recipe", "modern", "train.decay", "matrices"},
	{"recipe", "modern", "train.beta2", "0.95"},
	{"model.arch", "mamba_mlp", "model.ffn.bias", "false"},
};
const int n_run_presets = ARRAY_SIZE(run_presets);

int run_spec_pin(struct arena *a, struct config *c)
{
	const char *path = config_find(c, "train.init_from")->word;
	const char *known = config_find(c, "train.init_hash")->word;
	char hex[HASH_HEX];

	if (!*path)
		return *known ? error("%s: train.init_hash without train.init_from", c->file) : 0;
	if (hash_file(path, hex))
		return -1;
	if (*known && strcmp(known, hex))
		return error("%s: its contents have hash %s, but train.init_hash is %s: another file, or "
			"changed since the run was planned", path, hex, known);
	config_set(c, a, "train.init_hash", hex, "found out");
	return 0;
}

static int check_samples(const struct run_spec *s, const struct config *c)
{
	if (s->samples_prompts->kind != NODE_LIST)
		return node_error(s->samples_prompts, "samples.prompts: a list of texts must stand here, not %s",
			node_kind_name(s->samples_prompts));
	for (const struct node *n = s->samples_prompts->first; n; n = n->next)
		if (!node_is_scalar(n) || !*n->text)
			return node_error(n, "samples.prompts: a text that is not empty must stand here");
	return !s->samples_every || s->samples_prompts->n ? 0
		: error("%s: samples.every without samples.prompts", c->file);
}

/* States are kept of the rows of one replay a step, and are those behind its only forward pass. */
static int check_stream(const struct run_spec *s, const struct config *c)
{
	if (!run_streams(s))
		return 0;
	if (s->micro_batch != s->batch)
		return error("%s: train.micro_batch %ld: data.sampling=stream takes the whole batch at once: "
			"leave it at 0, or lower train.batch", c->file, s->micro_batch);
	return !strcmp(s->recompute, "none") ? 0 : error("%s: train.recompute=%s: states of data.sampling=stream "
		"have moved on when a block is computed again: set train.recompute=none", c->file, s->recompute);
}

int run_spec_open(struct run_spec *s, const struct config *c)
{
	config_bind(c, &run_fields, s);
	if (check_samples(s, c))
		return -1;
	if (s->micro_batch == 0)
		s->micro_batch = s->batch;
	if (s->batch % s->micro_batch)
		return error("%s: train.micro_batch %ld does not divide train.batch %ld", c->file,
			s->micro_batch, s->batch);
	if (s->position_from >= s->context)
		return error("%s: train.position_from %ld leaves no token of train.context %ld", c->file,
			s->position_from, s->context);
	if (s->data_seed < 0)
		s->data_seed = s->seed;
	return check_stream(s, c);
}

bool run_streams(const struct run_spec *s)
{
	return !strcmp(s->sampling, "stream");
}

long run_steps(const struct run_spec *s)
{
	long per_step = s->batch * s->context;

	return (s->tokens + per_step - 1) / per_step;
}

double run_step_tokens(const struct run_spec *s)
{
	return (double)(s->batch * s->context);
}

long run_warmup_steps(const struct run_spec *s)
{
	long steps = run_steps(s), least = s->warmup_min < steps ? s->warmup_min : steps;
	long n = lround(s->warmup * (double)steps);

	n = n < least ? least : n;
	return n < 1 ? 1 : n;
}

long run_eval_every(const struct run_spec *s)
{
	long n = s->eval_every ? s->eval_every : run_steps(s) / 50;

	return n < 1 ? 1 : n;
}

long run_log_every(const struct run_spec *s)
{
	long n = s->log_every ? s->log_every : run_steps(s) / 100;

	return n < 1 ? 1 : n;
}

double run_lr(const struct run_spec *s, long step)
{
	long warmup = run_warmup_steps(s), steps = run_steps(s);
	double at, final = s->lr_final;

	if (step < warmup)
		return s->lr * (double)(step + 1) / (double)warmup;
	at = steps > warmup ? (double)(step - warmup) / (double)(steps - warmup) : 1;
	return s->lr * (final + (1 - final) * 0.5 * (1 + cos(M_PI * fmin(at, 1))));
}
