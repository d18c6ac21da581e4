/* A small model on a device, for tests: from the text of a spec to losses and gradients. */
#ifndef TESTS_ARCH_RIG_H
#define TESTS_ARCH_RIG_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "arch/arch.h"
#include "base/error.h"
#include "base/half.h"
#include "base/path.h"
#include "base/rng.h"

/*
 * The emulator's kernels take so long that less is done there: models with documents stand for those without, and
 * what is of the graph (recomputation, recording) is tried in bf16 alone. Operators have all their shapes and both
 * types there by themselves (tests/op/test_ops.c). Of the other devices nothing, for the program that has no emulator
 * tests them.
 */
#ifdef EMULATED
enum { ON_EMULATOR = 1 };
#else
enum { ON_EMULATOR = 0 };
#endif

static inline bool rig_spares(enum device_id id)
{
	return ON_EMULATOR && (id == CUDA_F32 || id == CUDA);
}

/* Of one whose devices are listed by the test: is it for the other program? */
static inline bool rig_leaves_out(enum device_id id)
{
	return ON_EMULATOR && !rig_spares(id);
}

/* Elements of a parameter that differences look at, and from one such parameter to the next; of one in eight, and of a
   few places, the sanitizers see as much as of all, for what runs is the same. */
#ifdef __SANITIZE_ADDRESS__
enum { DIFFERENCES = 1, NEXT_PARAM = 8, UNDER_SANITIZERS = 1 };
#else
enum { DIFFERENCES = 7, NEXT_PARAM = 1, UNDER_SANITIZERS = 0 };
#endif

/* From one such element to the next, of n. */
static inline long rig_stride(long n)
{
	return n > DIFFERENCES ? n / DIFFERENCES : 1;
}

enum { VOCAB = 19 };

struct rig_case {
	const char *name, *spec;
};

/* Every architecture, with drops, several routing groups, and both recipes' parts somewhere. */
#define SMALL "{model: {d_model: 8, n_blocks: 2, ssm: {d_state: 3, dt_rank: 2}"
static const struct rig_case rig_cases[] = {
	{"mamba", SMALL ", arch: mamba}"},
	/* Of three states bf16 would leave too little behind their norm for gradients within 6e-2. */
	{"mamba normed", "{model: {d_model: 8, n_blocks: 2, ssm: {d_state: 8, dt_rank: 2, norm: true}, arch: mamba}"},
	{"mamba pooled", SMALL ", arch: mamba, pool: mean}"},
	{"mamba patches", SMALL ", arch: mamba, patch: 4, pool: mean}"},
	{"transformer patches", "{model: {d_model: 8, n_blocks: 2, arch: transformer, attn: {n_heads: 2}, patch: 2, "
		"ffn: {d_hidden: 12, activation: silu}}"},
	{"mamba forecasts", SMALL ", arch: mamba, patch: 4, head: forecast}"},
	{"moe_mamba forecasts", SMALL ", arch: moe_mamba, patch: 2, head: forecast, moe: {n_experts: 3, d_expert: 6, "
		"group_tokens: 8, capacity_factor: 0.8, activation: silu}}"},
	{"mamba copies", SMALL ", arch: mamba, head: copy, copy_width: 5}"},
	{"mamba2", "{model: {d_model: 8, n_blocks: 2, arch: mamba2, mamba2: {d_state: 3, d_head: 4, n_groups: 2}}"},
	{"mamba_mlp", SMALL ", arch: mamba_mlp, ffn: {d_hidden: 12, activation: gelu}}"},
	{"moe_mamba", SMALL ", arch: moe_mamba, moe: {n_experts: 3, d_expert: 6, capacity_factor: 0.8, "
		"group_tokens: 16, activation: silu, z_loss: 0.01}}"},
	{"moe_mamba one expert", SMALL ", arch: moe_mamba, moe: {n_experts: 1, d_expert: 6}}"},
	{"moe_mamba two choices", SMALL ", arch: moe_mamba, moe: {n_experts: 4, d_expert: 6, top_k: 2, "
		"weight: renorm, capacity_factor: 0.8, group_tokens: 16, activation: silu, z_loss: 0.01, "
		"importance: 0.02, mean_entropy: 0.03, token_entropy: 0.01}}"},
	{"moe_mamba bias", SMALL ", arch: moe_mamba, moe: {router: sigmoid_bias, n_experts: 4, d_expert: 6, "
		"bias_rate: 0.01, activation: silu}}"},
	{"moe_mamba noisy", SMALL ", arch: moe_mamba, moe: {router: noisy, n_experts: 4, d_expert: 6, "
		"group_tokens: 16, activation: silu}}"},
	{"moe_mamba two of five noisy", SMALL ", arch: moe_mamba, moe: {router: noisy, noise: gaussian, "
		"noise_scale: 0.8, n_experts: 5, d_expert: 6, balance_scope: sequence, activation: silu}}"},
	{"moe_mamba drawn", SMALL ", arch: moe_mamba, moe: {router: gumbel, n_experts: 4, d_expert: 6, "
		"weight: raw, group_tokens: 16, activation: silu}}"},
	{"moe_mamba jitter", SMALL ", arch: moe_mamba, moe: {noise: jitter, noise_scale: 0.5, n_experts: 3, "
		"d_expert: 6, group_tokens: 16, activation: silu}}"},
	{"moe_mamba topp", SMALL ", arch: moe_mamba, moe: {router: topp, n_experts: 5, d_expert: 6, "
		"top_k: 3, group_tokens: 16, capacity_factor: 0.8, activation: silu}}"},
	{"moe_mamba threshold", SMALL ", arch: moe_mamba, moe: {router: threshold, n_experts: 5, d_expert: 6, "
		"top_k: 2, max_k: 3, temperature_decay: 0.1, activation: silu}}"},
	{"moe_mamba reinforce", SMALL ", arch: moe_mamba, moe: {router: reinforce, n_experts: 3, d_expert: 6, "
		"reinforce: 0.7, group_tokens: 16, activation: silu}}"},
	{"moe_mamba controlled weight", SMALL ", arch: moe_mamba, moe: {n_experts: 3, d_expert: 6, "
		"balance_target: 0.5, capacity_factor: 0.8, group_tokens: 16, activation: silu}}"},
	{"moe_mamba controlled capacity", SMALL ", arch: moe_mamba, moe: {n_experts: 3, d_expert: 6, top_k: 2, "
		"drop_target: 0.1, capacity_factor: 0.8, group_tokens: 16, activation: silu}}"},
	{"moe_mamba falling capacity", SMALL ", arch: moe_mamba, moe: {n_experts: 3, d_expert: 6, "
		"capacity_decay: 0.1, capacity_factor: 1.2, group_tokens: 16, activation: silu}}"},
	{"moe_mamba by score", SMALL ", arch: moe_mamba, moe: {n_experts: 4, d_expert: 6, top_k: 2, order: gate, "
		"allow_future: true, capacity_factor: 0.7, group_tokens: 16, activation: silu}}"},
	{"moe_mamba next best", SMALL ", arch: moe_mamba, moe: {n_experts: 5, d_expert: 6, top_k: 2, overflow: next, "
		"weight: renorm, bias_rate: 0.1, capacity_factor: 0.7, group_tokens: 16, activation: silu}}"},
	{"moe_mamba fixed", SMALL ", arch: moe_mamba, moe: {router: fixed, n_experts: 3, d_expert: 6, "
		"activation: silu}}"},
	{"moe_mamba hash", SMALL ", arch: moe_mamba, moe: {router: hash, n_experts: 4, d_expert: 6, "
		"top_k: 2, activation: silu}}"},
	{"moe_mamba frozen", SMALL ", arch: moe_mamba, moe: {router: random, n_experts: 4, d_expert: 6, "
		"activation: silu}}"},
	{"moe_mamba expert choice", SMALL ", arch: moe_mamba, moe: {router: expert_choice, n_experts: 4, "
		"d_expert: 6, group_tokens: 16, capacity_factor: 1.5, allow_future: true, activation: silu, "
		"z_loss: 0.01}}"},
	{"moe_mamba expert choice over the batch", SMALL ", arch: moe_mamba, moe: {n_experts: 2, d_expert: 6, "
		"router: expert_choice_batch, capacity_factor: 1, activation: silu, token_entropy: 0.01}}"},
	{"moe_mamba tokens over the batch", SMALL ", arch: moe_mamba, moe: {router: tokens, n_experts: 3, d_expert: 6, "
		"group_sequences: 2, temperature: 0.5, activation: silu}}"},
	{"moe_mamba granular, shared", SMALL ", arch: moe_mamba, moe: {n_experts: 2, d_expert: 6, granularity: 3, "
		"n_shared: 2, weight: renorm, capacity_factor: 0.8, group_tokens: 16, activation: silu}}"},
	{"moe_mamba norm behind", SMALL ", arch: moe_mamba, moe: {n_experts: 2, d_expert: 6, granularity: 2, "
		"out_norm: true, group_tokens: 16, activation: silu}}"},
	{"moe_mamba gated, shared", SMALL ", arch: moe_mamba, moe: {n_experts: 3, d_expert: 3, expert: gated, "
		"n_shared: 2, group_tokens: 16, activation: gelu}}"},
	{"moe_mamba unequal", SMALL ", arch: moe_mamba, moe: {router: hmoe, n_experts: 4, d_expert: 5, "
		"expert_sizes: 1:4, group_tokens: 16, activation: silu}}"},
	{"moe_mamba unequal, gated, granular, shared", SMALL ", arch: moe_mamba, moe: {n_experts: 2, d_expert: 6, "
		"expert_sizes: 2:1, granularity: 2, expert: gated, n_shared: 1, capacity_factor: 0.8, group_tokens: 16, "
		"activation: silu}}"},
	{"mamba_mlp gated", SMALL ", arch: mamba_mlp, ffn: {d_hidden: 10, gated: true, activation: silu}}"},
	{"parallel_moe_mamba", SMALL ", arch: parallel_moe_mamba, norm: rmsnorm, final_norm: true, "
		"moe: {n_experts: 3, d_expert: 6, group_tokens: 16, aux_reduce: sum}}"},
	{"inner out, shared", SMALL ", arch: inner_moe_mamba, inner: {out: true}, "
		"moe: {n_experts: 2, d_expert: 6, n_shared: 1, group_tokens: 16, activation: gelu}}"},
	/* Of widths for which BLAS gives a row the same bits whatever rows an expert has beside it. */
	{"rom", "{model: {d_model: 6, n_blocks: 2, ssm: {d_state: 3, dt_rank: 2}, arch: inner_moe_mamba, "
		"inner: {conv: true, gate: true, out: true, every: 1, router: shared}, "
		"moe: {n_experts: 3, expert: linear, capacity_factor: 0, top_k: 2, group_tokens: 16}}"},
	{"inner gate out, one router", SMALL ", arch: inner_moe_mamba, inner: {gate: true, out: true, router: shared}, "
		"moe: {n_experts: 3, d_expert: 5, capacity_factor: 0, group_tokens: 16, activation: gelu, "
		"expert: gated}}"},
	{"transformer_moe gated", "{model: {d_model: 8, n_blocks: 2, arch: transformer_moe, attn: {n_heads: 2}, "
		"moe: {n_experts: 3, d_expert: 3, group_tokens: 16, capacity_factor: 0.9, expert: gated, "
		"activation: silu}}"},
	{"moe_mamba linear", "{model: {d_model: 6, n_blocks: 2, ssm: {d_state: 3, dt_rank: 2}, arch: moe_mamba, "
		"moe: {n_experts: 3, expert: linear, group_tokens: 16, top_k: 2}}"},
	{"inner conv out", SMALL ", arch: inner_moe_mamba, inner: {conv: true, out: true}, "
		"moe: {n_experts: 3, d_expert: 6, group_tokens: 16, activation: gelu}}"},
	{"inner all", SMALL ", arch: inner_moe_mamba, inner: {conv: true, gate: true, out: true, every: 1}, "
		"moe: {n_experts: 2, d_expert: 6, group_tokens: 16, activation: silu}}"},
	{"transformer", "{model: {d_model: 8, n_blocks: 2, arch: transformer, attn: {n_heads: 2}, "
		"ffn: {d_hidden: 12, activation: silu}}"},
	{"transformer window", "{model: {d_model: 8, n_blocks: 2, arch: transformer, attn: {n_heads: 4, "
		"n_kv_heads: 2, window: 5}, ffn: {d_hidden: 12, activation: silu}}"},
	{"transformer segments", "{model: {d_model: 8, n_blocks: 2, arch: transformer, attn: {n_heads: 4, "
		"n_kv_heads: 2, segment: 5, chosen: 3}, ffn: {d_hidden: 12, activation: silu}}"},
	{"transformer summaries", "{model: {d_model: 8, n_blocks: 2, arch: transformer, attn: {n_heads: 4, "
		"n_kv_heads: 2, segment: 5, earlier: summary}, ffn: {d_hidden: 12, activation: silu}}"},
	{"summaries beside others", "{model: {d_model: 8, n_blocks: 1, arch: stack, pattern: [mamba, "
		"{attn: {segment: 3, earlier: summary}}, {hymba: {segment: 4, earlier: summary}}, "
		"{mod: {of: [{attn: {segment: 2, earlier: summary}}], share: 0.5}}], attn: {n_heads: 2}}"},
	{"transformer no rope", "{model: {d_model: 9, n_blocks: 1, arch: transformer, attn: {n_heads: 3, "
		"n_kv_heads: 1, rope: false}, ffn: {d_hidden: 12, activation: silu}}"},
	{"transformer_moe", "{model: {d_model: 8, n_blocks: 2, arch: transformer_moe, attn: {n_heads: 2}, "
		"moe: {n_experts: 3, d_expert: 6, group_tokens: 16, capacity_factor: 0.9, "
		"activation: gelu}}"},
	{"transformer_moe sigmoid", "{model: {d_model: 8, n_blocks: 2, arch: transformer_moe, "
		"attn: {n_heads: 2}, moe: {n_experts: 5, d_expert: 6, top_k: 3, score: sigmoid, "
		"weight_scale: 2.5, temperature: 0.5, capacity_factor: 0, balance_scope: sequence, "
		"activation: gelu}}"},
	{"stack", "{model: {d_model: 8, n_blocks: 1, arch: stack, pattern: [{mamba: {d_state: 4}}, attn, "
		"{mamba2: {d_head: 8, d_state: 5}}, {parallel: [{moe: {n_experts: 2, d_expert: 5, "
		"group_tokens: 16}}, ffn]}], ffn: {d_hidden: 6, activation: silu}}"},
	{"mamba3", "{model: {d_model: 8, n_blocks: 1, arch: stack, pattern: [{mamba3: {d_state: 6, d_head: 4}}, "
		"{mamba3: {d_state: 5, d_head: 2, n_groups: 2, turned: 0.9, expand: 1.5}}, ffn], "
		"ffn: {d_hidden: 6, activation: silu}}"},
	{"gdn", "{model: {d_model: 8, n_blocks: 1, arch: stack, pattern: [{gdn: {n_heads: 2, d_key: 5, d_value: 4}}, "
		"{gdn: {d_key: 8, d_conv: 2, n_heads: 1}}, ffn], ffn: {d_hidden: 6, activation: silu}}"},
	{"mod", SMALL ", arch: stack, attn: {n_heads: 2}, ffn: {d_hidden: 6, activation: silu}, mod: {share: 0.4}, "
		"pattern: [mamba, {mod: [attn, ffn]}, {mod: {of: [{attn: {window: 5, n_kv_heads: 1}}], share: 0.5, "
		"capacity_factor: 1}}, {mod: [ffn]}]}"},
	{"hymba", SMALL ", arch: stack, pattern: [{hymba: {n_heads: 4, n_kv_heads: 2, window: 20}}, "
		"{hymba: {n_heads: 1, rope: false, expand: 1.5}}]}"},
	{"mix", SMALL ", arch: stack, attn: {n_heads: 2}, ffn: {d_hidden: 6, activation: silu}, "
		"pattern: [{mix: [mamba, {attn: {window: 5}}]}, "
		"{mix: {of: [attn, ffn], alpha: fixed, weights: true}}]}"},
	{"mix of channels", SMALL ", arch: stack, attn: {n_heads: 2}, mix: {alpha: channel}, pattern: "
		"[{mix: [mamba, {attn: {window: 5}}]}, {mix: {of: [attn, hymba], weights: true}}]}"},
	{"mix beside moe", SMALL ", arch: stack, attn: {n_heads: 2}, mix: {weights: true}, pattern: "
		"[{parallel: [{mix: [attn, hymba]}, {moe: {n_experts: 2, d_expert: 5, group_tokens: 16}}]}]}"},
	{"xattn", SMALL ", arch: stack, attn: {n_heads: 2}, pattern: [{xattn: {n_kv_heads: 1}}, "
		"{xattn: {queries: input, window: 9}}]}"},
	{"local", SMALL ", arch: stack, pattern: [{local: {n_heads: 2, window: 6}}, "
		"{local: {place: output, n_heads: 1, width: 6}}]}"},
	{"local in place of the convolution", SMALL ", arch: stack, local: {place: conv}, attn: {n_heads: 2}, pattern: "
		"[{local: {window: 5}}, {local: {width: 8, n_kv_heads: 1}}]}"},
	{"shared", SMALL ", arch: stack, attn: {n_heads: 4, window: 30}, ffn: {d_hidden: 6, activation: silu}, "
		"pattern: [{shared: {d_state: 2}}, {moe: {n_experts: 2, d_expert: 5, group_tokens: 16}}]}"},
};

/* Does a token's output depend on more than its own past? tests/arch/test_routers.c says on what. */
static inline bool rig_beyond_past(const struct rig_case *c)
{
	return strstr(c->spec, "expert_choice") || strstr(c->spec, "router: tokens") || strstr(c->spec, "order: gate");
}

/* Are tokens values, which are no documents, and of which rows are there or not (tests/train/test_values.c)? */
static inline bool rig_reads_values(const struct rig_case *c)
{
	return strstr(c->spec, "patch: ");
}

/* Does a position see its row's later values, by the mean and the deviation of all that are there? */
static inline bool rig_normalises(const struct rig_case *c)
{
	return strstr(c->spec, "head: forecast");
}

/* Can it go on from call to call? Values are answered once, and a mean so far is not carried. */
static inline bool rig_goes_on(const struct rig_case *c)
{
	return !rig_reads_values(c) && !strstr(c->spec, "pool: mean");
}

/* Can a sequence be run by itself? */
static inline bool rig_stands_alone(const struct rig_case *c)
{
	return !strstr(c->spec, "router: tokens");
}

struct rig {
	struct arena arena;
	struct config config;
	struct model model;
	struct params params;
	struct graph *g;
	struct model_memory memory;
	void *host[N_BLOBS];
	long batch, context;
	int *tokens, *targets;
};

struct rig_options {
	enum device_id device;
	long batch, context;
	bool training, recompute;
	int micro_batches;
	bool masked, dropless, logits, routes;
	bool noise;		/* as in training, which has it by itself */
	bool documents;		/* data.reset_at_eot, and documents of 6 tokens and end of text */
};

static void rig_spec(struct rig *rig, const char *spec)
{
	char *text = xasprintf("%s, train: {tokens: 1000}, data: {path: none}}", spec), folder[256], *path;

	assert_int_equal(path_tmp_folder(folder, sizeof folder, "arch"), 0);
	path = path_join(folder, "spec.yaml");
	assert_int_equal(path_write(path, text, strlen(text)), 0);
	assert_int_equal(spec_load(&rig->arena, path, NULL, 0, spec_schema(), &rig->config), 0);
	path_remove_tree(folder);
	free(path);
	free(text);
}

/* The rig's copy of a blob in the type of masters; on hosts the blob itself. */
static void put(const struct rig *rig, enum blob blob, long i, double v)
{
	if (rig->memory.device->bytes[MASTER] == 8)
		((double *)rig->host[blob])[i] = v;
	else
		((float *)rig->host[blob])[i] = (float)v;
}

static double take(const struct rig *rig, enum blob blob, long i)
{
	return rig->memory.device->bytes[MASTER] == 8 ? ((double *)rig->host[blob])[i]
		: (double)((float *)rig->host[blob])[i];
}

static bool rig_on_host(const struct rig *rig)
{
	return device_is_host(rig->memory.device);
}

static double rig_gauss(uint64_t stream, uint64_t i)
{
	struct rng_block b = rng_block((struct rng_key){11, stream, 0}, i);

	return sqrt(-2 * log(rng_uniform(b, 0))) * cos(2 * M_PI * rng_uniform(b, 1));
}

static float rig_bf16(double x)
{
	float v = (float)x;
	uint32_t bits;

	memcpy(&bits, &v, sizeof bits);
	bits &= 0xffff0000u;
	memcpy(&v, &bits, sizeof v);
	return v;
}

/* Masters and working copies, which are the same numbers in fewer bytes. */
static void rig_upload(const struct rig *rig)
{
	const struct device *d = rig->memory.device;
	long n = rig->params.blob_size;
	uint16_t *working = xcalloc((size_t)n, sizeof *working);

	device_from_host(d, rig->memory.blob[BLOB_WEIGHTS], rig->host[BLOB_WEIGHTS],
		rig->memory.blob_bytes[BLOB_WEIGHTS]);
	for (long i = 0; i < n && d->bytes[REAL] == sizeof *working; i++) {
		float v = (float)take(rig, BLOB_WEIGHTS, i);
		uint32_t bits;
		memcpy(&bits, &v, sizeof bits);
		working[i] = (uint16_t)(bits >> 16);
	}
	if (d->bytes[REAL] == sizeof *working)
		device_from_host(d, rig->memory.blob[BLOB_WORKING], working,
			(size_t)n * sizeof *working);
	free(working);
}

/* Weights N(0, 0.35) that bf16 can hold, so that all devices have the same; padding rows 0. States that
   begin as something are near it. */
static void rig_weights(struct rig *rig)
{
	for (int i = 0; i < rig->params.n; i++) {
		const struct param *p = &rig->params.list[i];
		double first = p->rule.control.rule ? p->rule.a : 0, spread = first > 0 ? 0.1 * first : 0.35;
		for (long k = 0; k < param_elements(p); k++)
			put(rig, BLOB_WEIGHTS, p->offset + k,
				rig_bf16(first + spread * rig_gauss((uint64_t)i, (uint64_t)k)));
	}
	if (!rig_on_host(rig))
		rig_upload(rig);
}

/* The arena is full of NaN: reading what nobody wrote shows. */
static inline void rig_memory(struct rig *rig, const struct device *d)
{
	static char nan[1 << 16];
	struct model_memory *m = &rig->memory;

	model_memory_alloc(m, &rig->params, d, graph_memory(rig->g).arena_bytes, true);
	memset(nan, 0xff, sizeof nan);
	for (size_t at = 0; at < m->arena_bytes; at += sizeof nan)
		device_from_host(d, (char *)m->arena + at, nan,
			m->arena_bytes - at < sizeof nan ? m->arena_bytes - at : sizeof nan);
	for (int b = BLOB_WEIGHTS; b < N_BLOBS; b++)
		rig->host[b] = rig_on_host(rig) ? m->blob[b] : m->blob_bytes[b]
			? xcalloc(1, m->blob_bytes[b]) : NULL;
}

static void rig_data(struct rig *rig, bool documents)
{
	long n = rig->batch * rig->context;

	rig->tokens = ARENA_ARRAY(&rig->arena, int, n);
	rig->targets = ARENA_ARRAY(&rig->arena, int, n);
	for (long i = 0; i < n; i++) {
		struct rng_block b = rng_block((struct rng_key){3, 4, 5}, (uint64_t)i);
		rig->tokens[i] = documents && i % 7 == 6 ? VOCAB - 1 : (int)(b.word[0] % VOCAB);
		rig->targets[i] = (int)(b.word[1] % VOCAB);
	}
	for (long i = 0; i < n && rig->model.forecasts; i++) {
		rig->tokens[i] = half_bits(0.4 * rig->tokens[i] - 3);
		rig->targets[i] = i % 5 == 3 ? HALF_MISSING : half_bits(0.4 * rig->targets[i] - 3);
	}
}

static inline void rig_open(struct rig *rig, const char *spec, struct rig_options o)
{
	struct graph_options options = {.recompute = o.recompute,
		.micro_batches = o.micro_batches ? o.micro_batches : 1};
	struct net_env env = {.batch = o.batch, .context = o.context,
		.group_tokens = o.batch * o.context, .n_vocab = VOCAB, .masked = o.masked,
		.dropless = o.dropless, .noise = o.training || o.noise, .reset_at_eot = o.documents,
		.trace = {.logits = o.logits, .routes = o.routes}};
	const struct device *d = &device_list[o.device];

	*rig = (struct rig){.batch = o.batch, .context = o.context};
	rig_spec(rig, spec);
	assert_int_equal(model_open(&rig->model, &rig->config, &rig->arena), 0);
	params_init(&rig->params, &rig->arena, d);
	rig->g = graph_new(&rig->arena, &rig->params, d, o.training);
	assert_int_equal(model_record(&rig->model, rig->g, env, &rig->config), 0);
	assert_int_equal(graph_plan(rig->g, &options), 0);
	rig_memory(rig, d);
	graph_bind(rig->g, &rig->memory);
	rig_weights(rig);
	rig_data(rig, o.documents);
}

static inline void rig_close(struct rig *rig)
{
	graph_release(rig->g);
	for (int b = 0; b < N_BLOBS && !rig_on_host(rig); b++)
		free(rig->host[b]);
	model_memory_release(&rig->memory);
	params_release(&rig->params);
	arena_release(&rig->arena);
}

static inline void rig_backward(struct rig *rig, bool first)
{
	graph_backward(rig->g, first);
	if (!rig_on_host(rig))
		device_to_host(rig->memory.device, rig->host[BLOB_GRADIENTS],
			rig->memory.blob[BLOB_GRADIENTS], rig->memory.blob_bytes[BLOB_GRADIENTS]);
}

/* The rig's data are those of this micro-batch of a step. */
static inline void rig_micro(struct rig *rig, long micro)
{
	struct step_state state = {.micro = micro};

	device_from_host(rig->memory.device, rig->memory.state, &state, sizeof state);
}

/* Forward with the rig's data; the whole loss. */
static inline double rig_loss(struct rig *rig)
{
	graph_set_input(rig->g, "tokens", rig->tokens);
	graph_set_input(rig->g, "targets", rig->targets);
	graph_forward(rig->g);
	graph_fetch_metrics(rig->g);
	return graph_loss_total(rig->g);
}

struct rig_test {
	const char *name;
	void (*test)(void **state);	/* state: the struct rig_case */
	bool hosts_alone;		/* is of no GPU */
};

/* The devices that are there and tested, ended by N_DEVICES; the reference is the first, and no device to compare
   with the reference. */
static inline const enum device_id *devices(void)
{
	static enum device_id list[] = {REF, CPU, CUDA_F32, CUDA, N_DEVICES};

	if (device_missing(&device_list[CUDA]))
		list[2] = N_DEVICES;
	return list + 2 * ON_EMULATOR;
}

static inline const enum device_id *devices_but_ref(void)
{
	return devices() + !ON_EMULATOR;
}

static inline bool is_bf16(enum device_id id)
{
	return device_list[id].bytes[REAL] == 2;
}

/* Every test on every case, then those that stand alone; how many failed. */
static inline int rig_run(const char *group, const struct rig_test *each, size_t n_each,
	const struct CMUnitTest *alone, size_t n_alone)
{
	struct arena a = {0};
	size_t most = ARRAY_SIZE(rig_cases) * n_each, n = 0;
	struct CMUnitTest *tests = ARENA_ARRAY(&a, struct CMUnitTest, most + n_alone);
	int failed;

	for (size_t i = 0; i < most; i++) {
		const struct rig_case *c = &rig_cases[i / n_each];
		const struct rig_test *t = &each[i % n_each];
		if (!(ON_EMULATOR && t->hosts_alone))
			tests[n++] = (struct CMUnitTest){arena_printf(&a, "%s: %s", c->name, t->name), t->test, NULL,
				NULL, (void *)c};
	}
	for (size_t i = 0; i < n_alone; i++)
		tests[n + i] = alone[i];
	failed = _cmocka_run_group_tests(group, tests, n + n_alone, NULL, NULL);
	arena_release(&a);
	return failed;
}

#endif
