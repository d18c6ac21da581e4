/*
 * The planner's decisions, each on the smallest graph that needs it: what is written and what added,
 * slices that tile their root or do not, shared parameters, storage in place, packing. Gradients are
 * compared with central differences of the float64 reference, with the arena full of NaN before.
 */
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

struct lab {
	struct arena arena;
	struct params params;
	struct graph *g;
	struct model_memory memory;
};

static const struct param_rule plain = {.fill = FILL_CONSTANT, .group = "all"};

/* ---- words to write graphs with ------------------------------------------------------------- */

static struct tensor *embed(struct lab *lab, const char *table, long width)
{
	struct tensor *in[EMBEDDING_N_IN];

	in[EMBEDDING_TOKEN_BT] = graph_input(lab->g, table, tensor_of(INDEX, 2, (long)B, (long)T));
	in[EMBEDDING_TABLE_VD] = graph_param(lab->g, table, tensor_of(REAL, 2, (long)V, width), &plain);
	return graph_apply(lab->g, &op_embedding, NULL, 0, in)[EMBEDDING_X_BTD];
}

static struct tensor *gelu(struct lab *lab, struct tensor *x)
{
	struct act_attr attr = {ACT_GELU};

	return graph_apply(lab->g, &op_act, &attr, sizeof attr, &x)[ACT_Y];
}

static struct tensor *dense(struct lab *lab, const char *name, struct tensor *x, long out)
{
	struct tensor *in[LINEAR_N_IN] = {[LINEAR_X_BTI] = x};

	in[LINEAR_W_OI] = graph_param(lab->g, name, tensor_of(REAL, 2, out, tensor_width(x)), &plain);
	return graph_apply(lab->g, &op_linear, NULL, 0, in)[LINEAR_Y_BTO];
}

static struct tensor *const *add(struct lab *lab, struct tensor *x, struct tensor *y, bool norm)
{
	struct add_norm_attr attr = {.rms = true, .eps = 1e-5};
	struct tensor *in[ADD_NORM_N_IN] = {[ADD_NORM_X_BTD] = x, [ADD_NORM_BRANCH1_BTD] = y};

	if (norm)
		in[ADD_NORM_WEIGHT_D] = graph_param(lab->g, "gain", tensor_of(REAL, 1, tensor_width(x)),
			&plain);
	return graph_apply(lab->g, &op_add_norm, &attr, sizeof attr, in);
}

static void head(struct lab *lab, struct tensor *x, const char *name, double weight)
{
	struct cross_entropy_attr attr = {.n_vocab = V};
	struct tensor *in[CROSS_ENTROPY_N_IN] = {[CROSS_ENTROPY_X_BTD] = x};

	in[CROSS_ENTROPY_W_VD] = graph_param(lab->g, name, tensor_of(REAL, 2, (long)V, tensor_width(x)),
		&plain);
	in[CROSS_ENTROPY_TARGET_BT] = graph_input(lab->g, name, tensor_of(INDEX, 2, (long)B, (long)T));
	graph_loss(lab->g, graph_apply(lab->g, &op_cross_entropy, &attr, sizeof attr,
		in)[CROSS_ENTROPY_LOSS], weight, name);
}

/* ---- the graphs ----------------------------------------------------------------------------- */

/* One value, three readers: one gradient written, two added. */
static void several_readers(struct lab *lab)
{
	struct tensor *x = embed(lab, "table", D), *a = gelu(lab, x), *b = dense(lab, "w", x, D);

	head(lab, add(lab, add(lab, x, a, false)[0], b, true)[ADD_NORM_N_BTD], "head", 1);
}

static void slices_that_tile(struct lab *lab)
{
	struct tensor *x = dense(lab, "w", embed(lab, "table", D), 12);
	struct tensor *a = graph_slice(lab->g, x, 0, 4), *b = graph_slice(lab->g, x, 4, 8);

	head(lab, add(lab, dense(lab, "a", gelu(lab, a), D), dense(lab, "b", b, D), true)[0], "head", 1);
}

/* Columns 4 to 8 have no reader: the root's gradient must be cleared. */
static void slices_with_a_gap(struct lab *lab)
{
	struct tensor *x = dense(lab, "w", embed(lab, "table", D), 12);
	struct tensor *a = graph_slice(lab->g, x, 0, 4), *b = graph_slice(lab->g, x, 8, 4);

	head(lab, add(lab, dense(lab, "a", a, D), dense(lab, "b", gelu(lab, b), D), false)[0], "head", 1);
}

static void slices_that_overlap(struct lab *lab)
{
	struct tensor *x = dense(lab, "w", embed(lab, "table", D), 12);
	struct tensor *a = graph_slice(lab->g, x, 0, 8), *b = graph_slice(lab->g, x, 4, 8);

	head(lab, add(lab, gelu(lab, a), b, true)[ADD_NORM_N_BTD], "head", 1);
}

static void slice_of_slice_and_root(struct lab *lab)
{
	struct tensor *x = dense(lab, "w", embed(lab, "table", D), 12);
	struct tensor *a = graph_slice(lab->g, graph_slice(lab->g, x, 2, 10), 2, 8);

	head(lab, add(lab, gelu(lab, a), dense(lab, "b", x, D), true)[ADD_NORM_N_BTD], "head", 1);
}

static void shared_parameter(struct lab *lab)
{
	struct tensor *x = embed(lab, "table", D);

	head(lab, dense(lab, "w", gelu(lab, dense(lab, "w", x, D)), D), "head", 1);
}

static void two_losses(struct lab *lab)
{
	struct tensor *x = gelu(lab, embed(lab, "table", D));

	head(lab, x, "one", 0.3);
	head(lab, dense(lab, "w", x, D), "two", 2);
}

/* A node that no loss depends on has no backward. */
static void dead_branch(struct lab *lab)
{
	struct tensor *x = embed(lab, "table", D);

	gelu(lab, dense(lab, "unused", x, D));
	head(lab, x, "head", 1);
}

static void rotated_slice(struct lab *lab)
{
	struct rope_attr attr = {.n_heads = 2, .base = 100};
	struct tensor *x = dense(lab, "w", embed(lab, "table", D), 12);
	struct tensor *in[ROPE_N_IN] = {[ROPE_X_BTD] = graph_slice(lab->g, x, 0, 8)}, *y;

	y = graph_apply(lab->g, &op_rope, &attr, sizeof attr, in)[ROPE_Y_BTD];
	head(lab, add(lab, y, dense(lab, "b", graph_slice(lab->g, x, 8, 4), D), true)[ADD_NORM_N_BTD],
		"head", 1);
}

/* A pre-norm stack in blocks, as models are. */
static void blocks(struct lab *lab)
{
	struct tensor *x = embed(lab, "table", D), *y = NULL;

	for (int i = 0; i < 3; i++) {
		struct tensor *const *out;
		graph_enter(lab->g, "layers.%d", i);
		graph_block(lab->g);
		out = add(lab, x, y, true);
		x = out[ADD_NORM_R_BTD];
		y = dense(lab, "down", gelu(lab, dense(lab, "up", out[ADD_NORM_N_BTD], 2 * D)), D);
		graph_leave(lab->g);
	}
	graph_block_end(lab->g);
	head(lab, add(lab, x, y, false)[ADD_NORM_R_BTD], "head", 1);
}

static const struct graph_case {
	const char *name;
	void (*record)(struct lab *lab);
} cases[] = {
	{"several readers", several_readers}, {"slices that tile", slices_that_tile},
	{"slices with a gap", slices_with_a_gap}, {"slices that overlap", slices_that_overlap},
	{"slice of a slice and root", slice_of_slice_and_root}, {"shared parameter", shared_parameter},
	{"two losses", two_losses}, {"dead branch", dead_branch}, {"rotated slice", rotated_slice},
	{"blocks", blocks},
};

/* ---- running them --------------------------------------------------------------------------- */

static double random_at(uint64_t stream, long i)
{
	return 2 * rng_uniform(rng_block((struct rng_key){5, stream, 0}, (uint64_t)i), 0) - 1;
}

static void lab_open(struct lab *lab, const struct graph_case *c, bool recompute, int micro_batches)
{
	const char *const inputs[] = {"table", "head", "one", "two"};
	int tokens[B * T];
	double *w;

	*lab = (struct lab){0};
	params_init(&lab->params, &lab->arena, &device_list[REF]);
	lab->g = graph_new(&lab->arena, &lab->params, &device_list[REF], true);
	c->record(lab);
	assert_int_equal(graph_plan(lab->g, &(struct graph_options){recompute, micro_batches}), 0);
	model_memory_alloc(&lab->memory, &lab->params, &device_list[REF],
		graph_memory(lab->g).arena_bytes, true);
	memset(lab->memory.arena, 0xff, lab->memory.arena_bytes);
	graph_bind(lab->g, &lab->memory);
	w = lab->memory.blob[BLOB_WEIGHTS];
	for (long i = 0; i < lab->params.blob_size; i++)
		w[i] = random_at(1, i);
	for (int i = 0; i < B * T; i++)
		tokens[i] = (int)(V * (0.5 + 0.49 * random_at(2, i)));
	for (size_t i = 0; i < ARRAY_SIZE(inputs); i++)
		if (params_find(&lab->params, inputs[i]) >= 0)
			graph_set_input(lab->g, inputs[i], tokens);
}

static void lab_close(struct lab *lab)
{
	graph_release(lab->g);
	model_memory_release(&lab->memory);
	params_release(&lab->params);
	arena_release(&lab->arena);
}

static double loss(struct lab *lab)
{
	graph_forward(lab->g);
	graph_fetch_metrics(lab->g);
	return graph_loss_total(lab->g);
}

static void expect_gradients(struct lab *lab, const char *name)
{
	double *w = lab->memory.blob[BLOB_WEIGHTS], *d = lab->memory.blob[BLOB_GRADIENTS], h = 1e-5;

	loss(lab);
	graph_backward(lab->g, true);
	for (int i = 0; i < lab->params.n; i++)
		for (long k = 0; k < param_elements(&lab->params.list[i]); k++) {
			long at = lab->params.list[i].offset + k;
			double x = w[at], above, below;
			w[at] = x + h;
			above = loss(lab);
			w[at] = x - h;
			below = loss(lab);
			w[at] = x;
			if (!(fabs((above - below) / (2 * h) - d[at]) < 1e-8))
				fail_msg("%s: gradient of %s[%ld] is %g, should be %g", name,
					lab->params.list[i].name, k, d[at], (above - below) / (2 * h));
		}
}

static void test_gradients(void **state)
{
	const struct graph_case *c = *state;
	struct lab lab;

	for (int recompute = 0; recompute <= 1; recompute++) {
		lab_open(&lab, c, recompute, 1);
		expect_gradients(&lab, c->name);
		lab_close(&lab);
	}
}

/* Two equal micro-batches of weight 1/2 give the gradient of one: written first, then added. */
static void test_second_micro_batch_adds(void **state)
{
	struct lab one, two;
	double *x, *y;

	lab_open(&one, *state, false, 1);
	lab_open(&two, *state, false, 2);
	loss(&one);
	graph_backward(one.g, true);
	loss(&two);
	graph_backward(two.g, true);
	loss(&two);
	graph_backward(two.g, false);
	x = one.memory.blob[BLOB_GRADIENTS];
	y = two.memory.blob[BLOB_GRADIENTS];
	for (long i = 0; i < one.params.blob_size; i++)
		if (!(fabs(x[i] - y[i]) < 1e-12))
			fail_msg("element %ld: %g, then %g", i, x[i], y[i]);
	lab_close(&one);
	lab_close(&two);
}

/* ---- storage -------------------------------------------------------------------------------- */

static char *printed(struct lab *lab)
{
	char *text = xcalloc(1, 1 << 16);
	FILE *f = fmemopen(text, 1 << 16, "w");

	assert_non_null(f);
	graph_print(lab->g, f);
	fclose(f);
	return text;
}

/* What stands between `label` and the next blank in the line of `call`. */
static long offset_in(const char *text, const char *call, const char *label)
{
	const char *line = strstr(text, call), *at = line ? strstr(line, label) : NULL;

	assert_non_null(at);
	return atol(at + strlen(label));
}

static void test_in_place(void **state)
{
	struct lab lab;
	char *text;

	(void)state;
	lab_open(&lab, &cases[8], false, 1);
	text = printed(&lab);
	assert_int_equal(offset_in(text, " rope", " out0@"), offset_in(text, " rope", " in0@"));
	free(text);
	lab_close(&lab);
	lab_open(&lab, &cases[9], false, 1);
	text = printed(&lab);
	/* Residual adds: the gradient of the stream stays where it is, and is the branch's too. */
	assert_int_equal(offset_in(text, "layers.1.add_norm backward", " d_in0@"),
		offset_in(text, "layers.1.add_norm backward", " d_out0@"));
	assert_int_equal(offset_in(text, "layers.1.add_norm backward", " d_in1@"),
		offset_in(text, "layers.1.add_norm backward", " d_in0@"));
	free(text);
	lab_close(&lab);
}

static void test_memory(void **state)
{
	struct lab plain_lab, again;
	struct graph_memory a, b;

	(void)state;
	lab_open(&plain_lab, &cases[9], false, 1);
	lab_open(&again, &cases[9], true, 1);
	a = graph_memory(plain_lab.g);
	b = graph_memory(again.g);
	assert_true(a.arena_bytes < a.unshared_bytes && a.kept_bytes <= a.arena_bytes);
	assert_true(b.kept_bytes < a.kept_bytes);
	lab_close(&plain_lab);
	lab_close(&again);
}

static char said[4096];

static void keep_line(const char *line)
{
	snprintf(said, sizeof said, "%s", line);
}

static void test_missing_kernel_is_told(void **state)
{
	static struct op bare;
	struct act_attr attr = {ACT_GELU};
	struct arena a = {0};
	struct lab lab = {0};

	(void)state;
	bare = op_act;
	bare.forward[CUDA] = NULL;
	params_init(&lab.params, &a, &device_list[CUDA]);
	lab.g = graph_new(&a, &lab.params, &device_list[CUDA], true);
	struct tensor *x = embed(&lab, "table", D);
	head(&lab, graph_apply(lab.g, &bare, &attr, sizeof attr, &x)[ACT_Y], "head", 1);
	error_sink = keep_line;
	assert_int_equal(graph_plan(lab.g, &(struct graph_options){.micro_batches = 1}), -1);
	error_sink = NULL;
	assert_non_null(strstr(said, "no kernel for device cuda"));
	graph_release(lab.g);
	params_release(&lab.params);
	arena_release(&lab.arena);
	arena_release(&a);
}

int main(void)
{
	struct CMUnitTest tests[2 * ARRAY_SIZE(cases) + 3];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		tests[n++] = (struct CMUnitTest){cases[i].name, test_gradients, NULL, NULL,
			(void *)&cases[i]};
		tests[n++] = (struct CMUnitTest){cases[i].name, test_second_micro_batch_adds, NULL, NULL,
			(void *)&cases[i]};
	}
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_in_place);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_memory);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_missing_kernel_is_told);
	return _cmocka_run_group_tests("graph", tests, n, NULL, NULL);
}
