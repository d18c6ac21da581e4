/* Small graphs, each with something that the planner must decide, and their memory on a device. */
#ifndef TESTS_GRAPH_CASES_H
#define TESTS_GRAPH_CASES_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/rng.h"
#include "graph/graph.h"
#include "op/act.h"
#include "op/add_norm.h"
#include "op/cross_entropy.h"
#include "op/embedding.h"
#include "op/linear.h"
#include "op/rope.h"

enum { B = 2, T = 6, D = 8, V = 11 };

struct rig {
	struct arena arena;
	struct params params;
	struct graph *g;
	struct model_memory memory;
};

static const struct param_rule plain = {.fill = FILL_CONSTANT, .group = "all"};

/* ---- words to write graphs with ------------------------------------------------------------- */

static struct tensor *embed(struct rig *rig, const char *table, long width)
{
	struct tensor *in[EMBEDDING_N_IN];

	in[EMBEDDING_TOKEN_BT] = graph_input(rig->g, table, tensor_of(INDEX, 2, (long)B, (long)T));
	in[EMBEDDING_TABLE_VD] = graph_param(rig->g, table, tensor_of(REAL, 2, (long)V, width), &plain);
	return graph_apply(rig->g, &op_embedding, NULL, 0, in)[EMBEDDING_X_BTD];
}

static struct tensor *gelu(struct rig *rig, struct tensor *x)
{
	struct act_attr attr = {ACT_GELU};

	return graph_apply(rig->g, &op_act, &attr, sizeof attr, &x)[ACT_Y];
}

static struct tensor *dense(struct rig *rig, const char *name, struct tensor *x, long out)
{
	struct tensor *in[LINEAR_N_IN] = {[LINEAR_X_BTI] = x};

	in[LINEAR_W_OI] = graph_param(rig->g, name, tensor_of(REAL, 2, out, tensor_width(x)), &plain);
	return graph_apply(rig->g, &op_linear, NULL, 0, in)[LINEAR_Y_BTO];
}

static struct tensor *const *add(struct rig *rig, struct tensor *x, struct tensor *y, bool norm)
{
	struct add_norm_attr attr = {.rms = true, .eps = 1e-5};
	struct tensor *in[ADD_NORM_N_IN] = {[ADD_NORM_X_BTD] = x, [ADD_NORM_BRANCH1_BTD] = y};

	if (norm)
		in[ADD_NORM_WEIGHT_D] = graph_param(rig->g, "gain", tensor_of(REAL, 1, tensor_width(x)),
			&plain);
	return graph_apply(rig->g, &op_add_norm, &attr, sizeof attr, in);
}

static void head(struct rig *rig, struct tensor *x, const char *name, double weight)
{
	struct cross_entropy_attr attr = {.n_vocab = V};
	struct tensor *in[CROSS_ENTROPY_N_IN] = {[CROSS_ENTROPY_X_BTD] = x};

	in[CROSS_ENTROPY_W_VD] = graph_param(rig->g, name, tensor_of(REAL, 2, (long)V, tensor_width(x)),
		&plain);
	in[CROSS_ENTROPY_TARGET_BT] = graph_input(rig->g, name, tensor_of(INDEX, 2, (long)B, (long)T));
	graph_loss(rig->g, graph_apply(rig->g, &op_cross_entropy, &attr, sizeof attr,
		in)[CROSS_ENTROPY_LOSS], weight, name);
}

/* ---- the graphs ----------------------------------------------------------------------------- */

/* One value, three readers: one gradient written, two added. */
static void several_readers(struct rig *rig)
{
	struct tensor *x = embed(rig, "table", D), *a = gelu(rig, x), *b = dense(rig, "w", x, D);

	head(rig, add(rig, add(rig, x, a, false)[0], b, true)[ADD_NORM_N_BTD], "head", 1);
}

static void slices_that_tile(struct rig *rig)
{
	struct tensor *x = dense(rig, "w", embed(rig, "table", D), 12);
	struct tensor *a = graph_slice(rig->g, x, 0, 4), *b = graph_slice(rig->g, x, 4, 8);

	head(rig, add(rig, dense(rig, "a", gelu(rig, a), D), dense(rig, "b", b, D), true)[0], "head", 1);
}

/* Columns 4 to 8 have no reader: the root's gradient must be cleared. */
static void slices_with_a_gap(struct rig *rig)
{
	struct tensor *x = dense(rig, "w", embed(rig, "table", D), 12);
	struct tensor *a = graph_slice(rig->g, x, 0, 4), *b = graph_slice(rig->g, x, 8, 4);

	head(rig, add(rig, dense(rig, "a", a, D), dense(rig, "b", gelu(rig, b), D), false)[0], "head", 1);
}

static void slices_that_overlap(struct rig *rig)
{
	struct tensor *x = dense(rig, "w", embed(rig, "table", D), 12);
	struct tensor *a = graph_slice(rig->g, x, 0, 8), *b = graph_slice(rig->g, x, 4, 8);

	head(rig, add(rig, gelu(rig, a), b, true)[ADD_NORM_N_BTD], "head", 1);
}

static void slice_of_slice_and_root(struct rig *rig)
{
	struct tensor *x = dense(rig, "w", embed(rig, "table", D), 12);
	struct tensor *a = graph_slice(rig->g, graph_slice(rig->g, x, 2, 10), 2, 8);

	head(rig, add(rig, gelu(rig, a), dense(rig, "b", x, D), true)[ADD_NORM_N_BTD], "head", 1);
}

static void shared_parameter(struct rig *rig)
{
	struct tensor *x = embed(rig, "table", D);

	head(rig, dense(rig, "w", gelu(rig, dense(rig, "w", x, D)), D), "head", 1);
}

static void two_losses(struct rig *rig)
{
	struct tensor *x = gelu(rig, embed(rig, "table", D));

	head(rig, x, "one", 0.3);
	head(rig, dense(rig, "w", x, D), "two", 2);
}

/* A node that no loss depends on has no backward. */
static void dead_branch(struct rig *rig)
{
	struct tensor *x = embed(rig, "table", D);

	gelu(rig, dense(rig, "unused", x, D));
	head(rig, x, "head", 1);
}

static void rotated_slice(struct rig *rig)
{
	struct rope_attr attr = {.n_heads = 2, .base = 100};
	struct tensor *x = dense(rig, "w", embed(rig, "table", D), 12);
	struct tensor *in[ROPE_N_IN] = {[ROPE_X_BTD] = graph_slice(rig->g, x, 0, 8)}, *y;

	y = graph_apply(rig->g, &op_rope, &attr, sizeof attr, in)[ROPE_Y_BTD];
	head(rig, add(rig, y, dense(rig, "b", graph_slice(rig->g, x, 8, 4), D), true)[ADD_NORM_N_BTD],
		"head", 1);
}

/* A pre-norm stack in blocks, as models are. */
static void blocks(struct rig *rig)
{
	struct tensor *x = embed(rig, "table", D), *y = NULL;

	for (int i = 0; i < 3; i++) {
		struct tensor *const *out;
		graph_enter(rig->g, "layers.%d", i);
		graph_block(rig->g);
		out = add(rig, x, y, true);
		x = out[ADD_NORM_R_BTD];
		y = dense(rig, "down", gelu(rig, dense(rig, "up", out[ADD_NORM_N_BTD], 2 * D)), D);
		graph_leave(rig->g);
	}
	graph_block_end(rig->g);
	head(rig, add(rig, x, y, false)[ADD_NORM_R_BTD], "head", 1);
}

static const struct graph_case {
	const char *name;
	void (*record)(struct rig *rig);
} cases[] = {
	{"several readers", several_readers}, {"slices that tile", slices_that_tile},
	{"slices with a gap", slices_with_a_gap}, {"slices that overlap", slices_that_overlap},
	{"slice of a slice and root", slice_of_slice_and_root}, {"shared parameter", shared_parameter},
	{"two losses", two_losses}, {"dead branch", dead_branch}, {"rotated slice", rotated_slice},
	{"blocks", blocks},
};

/* ---- their memory ---------------------------------------------------------------------------- */

static double random_at(uint64_t stream, long i)
{
	return 2 * rng_uniform(rng_block((struct rng_key){5, stream, 0}, (uint64_t)i), 0) - 1;
}

/* A number that bf16 holds, so that masters and working copies are the same on every device. */
static float weight_at(long i)
{
	float v = (float)random_at(1, i);
	uint32_t bits;

	memcpy(&bits, &v, sizeof bits);
	bits &= 0xffff0000u;
	memcpy(&v, &bits, sizeof v);
	return v;
}

/* In elements of `bytes`: float64, float32, or its upper half. */
static void put(char *blob, size_t bytes, long i, float v)
{
	const double wide = v;
	const char *from = bytes == sizeof wide ? (const char *)&wide
		: (const char *)&v + sizeof v - bytes;

	memcpy(blob + (size_t)i * bytes, from, bytes);
}

static void set_blob(struct rig *rig, enum blob blob, size_t bytes)
{
	char *host = xcalloc((size_t)rig->params.blob_size, bytes);
	long n = 0;

	for (int i = 0; i < rig->params.n; i++)
		for (long k = 0; k < param_elements(&rig->params.list[i]); k++)
			put(host, bytes, rig->params.list[i].offset + k, weight_at(n++));
	device_from_host(rig->memory.device, rig->memory.blob[blob], host,
		(size_t)rig->params.blob_size * bytes);
	free(host);
}

static void set_memory(struct rig *rig, const struct device *d)
{
	struct model_memory *m = &rig->memory;
	char *nan;

	model_memory_alloc(m, &rig->params, d, graph_memory(rig->g).arena_bytes, true);
	nan = xmalloc(m->arena_bytes);
	memset(nan, 0xff, m->arena_bytes);
	device_from_host(d, m->arena, nan, m->arena_bytes);
	free(nan);
	set_blob(rig, BLOB_WEIGHTS, d->bytes[MASTER]);
	if (m->blob_bytes[BLOB_WORKING])
		set_blob(rig, BLOB_WORKING, d->bytes[REAL]);
}

static void rig_open(struct rig *rig, const struct graph_case *c, enum device_id id, bool recompute,
	int micro_batches)
{
	const char *const inputs[] = {"table", "head", "one", "two"};
	const struct device *d = &device_list[id];
	int tokens[B * T];

	*rig = (struct rig){0};
	params_init(&rig->params, &rig->arena, d);
	rig->g = graph_new(&rig->arena, &rig->params, d, true);
	c->record(rig);
	assert_int_equal(graph_plan(rig->g, &(struct graph_options){recompute, micro_batches}), 0);
	set_memory(rig, d);
	graph_bind(rig->g, &rig->memory);
	for (int i = 0; i < B * T; i++)
		tokens[i] = (int)(V * (0.5 + 0.49 * random_at(2, i)));
	for (size_t i = 0; i < ARRAY_SIZE(inputs); i++)
		if (params_find(&rig->params, inputs[i]) >= 0)
			graph_set_input(rig->g, inputs[i], tokens);
}

static void rig_close(struct rig *rig)
{
	graph_release(rig->g);
	model_memory_release(&rig->memory);
	params_release(&rig->params);
	arena_release(&rig->arena);
}

#endif
