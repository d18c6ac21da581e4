/* A small model on a device, for tests: from the text of a spec to losses and gradients. */
#ifndef TESTS_ARCH_LAB_H
#define TESTS_ARCH_LAB_H

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
#include "base/path.h"
#include "base/rng.h"

enum { VOCAB = 19 };

struct lab_case {
	const char *name, *spec;
};

/* Every architecture, with drops, several routing groups, and both recipes' parts somewhere. */
#define SMALL "{model: {d_model: 8, n_blocks: 2, ssm: {d_state: 3, dt_rank: 2}"
static const struct lab_case lab_cases[] = {
	{"mamba", SMALL ", arch: mamba}"},
	{"mamba_mlp", SMALL ", arch: mamba_mlp, ffn: {d_hidden: 12, activation: gelu}}"},
	{"moe_mamba", SMALL ", arch: moe_mamba, moe: {n_experts: 3, d_expert: 6, capacity_factor: 0.8, "
		"group_tokens: 16, activation: silu, z_loss: 0.01}}"},
	{"moe_mamba one expert", SMALL ", arch: moe_mamba, moe: {n_experts: 1, d_expert: 6}}"},
	{"parallel_moe_mamba", SMALL ", arch: parallel_moe_mamba, norm: rmsnorm, final_norm: true, "
		"moe: {n_experts: 3, d_expert: 6, group_tokens: 16, aux_reduce: sum}}"},
	{"inner conv out", SMALL ", arch: inner_moe_mamba, inner: {conv: true, out: true}, "
		"moe: {n_experts: 3, d_expert: 6, group_tokens: 16, activation: gelu}}"},
	{"inner all", SMALL ", arch: inner_moe_mamba, inner: {conv: true, gate: true, out: true, every: 1}, "
		"moe: {n_experts: 2, d_expert: 6, group_tokens: 16, activation: silu}}"},
	{"transformer", "{model: {d_model: 8, n_blocks: 2, arch: transformer, attn: {n_heads: 2}, "
		"ffn: {d_hidden: 12, activation: silu}}"},
	{"transformer_moe", "{model: {d_model: 8, n_blocks: 2, arch: transformer_moe, attn: {n_heads: 2}, "
		"moe: {n_experts: 3, d_expert: 6, group_tokens: 16, capacity_factor: 0.9, "
		"activation: gelu}}"},
	{"stack", "{model: {d_model: 8, n_blocks: 1, arch: stack, pattern: [{mamba: {d_state: 4}}, attn, "
		"{parallel: [{moe: {n_experts: 2, d_expert: 5, group_tokens: 16}}, ffn]}], "
		"ffn: {d_hidden: 6, activation: silu}}"},
};

struct lab {
	struct arena arena;
	struct config config;
	struct model model;
	struct params params;
	struct graph *g;
	struct model_memory memory;
	long batch, context;
	int *tokens, *targets;
};

struct lab_options {
	enum device_id device;
	long batch, context;
	bool training, recompute;
	int micro_batches;
	bool masked, dropless, logits;
	bool documents;		/* data.reset_at_eot, and documents of 6 tokens and end of text */
};

static void lab_spec(struct lab *lab, const char *spec)
{
	char *text = xasprintf("%s, train: {tokens: 1000}, data: {path: none}}", spec), folder[256], *path;

	assert_int_equal(path_tmp_folder(folder, sizeof folder, "arch"), 0);
	path = path_join(folder, "spec.yaml");
	assert_int_equal(path_write(path, text, strlen(text)), 0);
	assert_int_equal(spec_load(&lab->arena, path, NULL, 0, spec_schema(), &lab->config), 0);
	path_remove_tree(folder);
	free(path);
	free(text);
}

static void put(const struct lab *lab, enum blob blob, long i, double v)
{
	if (lab->memory.device->bytes[MASTER] == 8)
		((double *)lab->memory.blob[blob])[i] = v;
	else
		((float *)lab->memory.blob[blob])[i] = (float)v;
}

static double take(const struct lab *lab, enum blob blob, long i)
{
	return lab->memory.device->bytes[MASTER] == 8 ? ((double *)lab->memory.blob[blob])[i]
		: (double)((float *)lab->memory.blob[blob])[i];
}

static double lab_gauss(uint64_t stream, uint64_t i)
{
	struct rng_block b = rng_block((struct rng_key){11, stream, 0}, i);

	return sqrt(-2 * log(rng_uniform(b, 0))) * cos(2 * M_PI * rng_uniform(b, 1));
}

/* Weights N(0, 0.35), in double and rounded, so that all devices have the same; padding rows 0. */
static void lab_weights(struct lab *lab)
{
	for (int i = 0; i < lab->params.n; i++) {
		const struct param *p = &lab->params.list[i];
		for (long k = 0; k < param_elements(p); k++)
			put(lab, BLOB_WEIGHTS, p->offset + k,
				(float)(0.35 * lab_gauss((uint64_t)p->offset, (uint64_t)k)));
	}
}

static void lab_data(struct lab *lab, bool documents)
{
	long n = lab->batch * lab->context;

	lab->tokens = ARENA_ARRAY(&lab->arena, int, n);
	lab->targets = ARENA_ARRAY(&lab->arena, int, n);
	for (long i = 0; i < n; i++) {
		struct rng_block b = rng_block((struct rng_key){3, 4, 5}, (uint64_t)i);
		lab->tokens[i] = documents && i % 7 == 6 ? VOCAB - 1 : (int)(b.word[0] % VOCAB);
		lab->targets[i] = (int)(b.word[1] % VOCAB);
	}
}

static void lab_open(struct lab *lab, const char *spec, struct lab_options o)
{
	struct graph_options options = {.recompute = o.recompute,
		.micro_batches = o.micro_batches ? o.micro_batches : 1};
	struct net_env env = {.batch = o.batch, .context = o.context,
		.group_tokens = o.batch * o.context, .n_vocab = VOCAB, .masked = o.masked,
		.dropless = o.dropless, .reset_at_eot = o.documents, .trace = {.logits = o.logits}};
	const struct device *d = &device_list[o.device];

	*lab = (struct lab){.batch = o.batch, .context = o.context};
	lab_spec(lab, spec);
	assert_int_equal(model_open(&lab->model, &lab->config, &lab->arena), 0);
	params_init(&lab->params, &lab->arena, d);
	lab->g = graph_new(&lab->arena, &lab->params, d, o.training);
	assert_int_equal(model_record(&lab->model, lab->g, env, "test"), 0);
	assert_int_equal(graph_plan(lab->g, &options), 0);
	model_memory_alloc(&lab->memory, &lab->params, d, graph_memory(lab->g).arena_bytes, true);
	memset(lab->memory.arena, 0xff, lab->memory.arena_bytes);	/* NaN: reading what nobody wrote shows */
	graph_bind(lab->g, &lab->memory);
	lab_weights(lab);
	lab_data(lab, o.documents);
}

static void lab_close(struct lab *lab)
{
	graph_release(lab->g);
	model_memory_release(&lab->memory);
	params_release(&lab->params);
	arena_release(&lab->arena);
}

/* Forward with the lab's data; the whole loss. */
static double lab_loss(struct lab *lab)
{
	graph_set_input(lab->g, "tokens", lab->tokens);
	graph_set_input(lab->g, "targets", lab->targets);
	graph_forward(lab->g);
	graph_fetch_metrics(lab->g);
	return graph_loss_total(lab->g);
}

#endif
