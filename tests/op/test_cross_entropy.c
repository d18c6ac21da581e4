/* What the walk over all operators does not see of the head: evaluation, ties, padding. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/cpu.h"
#include "op/cross_entropy.h"

enum { B = 2, T = 70, D = 24, V = 300, PADDED = 304 };

struct head {
	struct arena arena;
	struct tensor x, w, target;
	struct op_shapes shapes;
	float loss, nll[B * T];
	int correct[B * T];
};

static void *memory(struct head *h, const struct tensor *t)
{
	float *at = arena_get(&h->arena, (size_t)tensor_size(t) * sizeof(float));

	for (long i = 0; i < tensor_size(t); i++)
		at[i] = (float)(i * 7919 % 1009) / 500 - 1;
	return at;
}

/* Targets go round the vocabulary, every fifth token is masked. The second sequence is all zeros,
   so all its logits tie. Padding rows of W are NaN: nothing may read them. */
static void head_init(struct head *h)
{
	*h = (struct head){
		.x = tensor_of(REAL, 3, (long)B, (long)T, (long)D),
		.w = tensor_of(REAL, 2, (long)PADDED, (long)D),
		.target = tensor_of(INDEX, 2, (long)B, (long)T),
	};
	h->x.at = memory(h, &h->x);
	h->w.at = memory(h, &h->w);
	h->target.at = memory(h, &h->target);
	memset(row_f32(&h->x, T), 0, T * D * sizeof(float));
	memset(row_f32(&h->w, V), 0xff, (PADDED - V) * D * sizeof(float));
	for (int t = 0; t < B * T; t++)
		((int *)h->target.at)[t] = t % 5 ? t % T * 37 % V : -1;
	row_int(&h->target, 1)[7] = 0;
}

static void head_run(struct head *h, bool training)
{
	static const struct cross_entropy_attr attr = {.n_vocab = V};
	struct op_run r = {.op = &op_cross_entropy, .device = &device_list[CPU], .attr = &attr,
		.in = {&h->x, &h->w, &h->target}};
	struct op_shapes *s = &h->shapes;

	*s = (struct op_shapes){.device = r.device, .attr = &attr, .training = training,
		.in = {&h->x, &h->w, &h->target}};
	op_infer(&op_cross_entropy, s);
	s->out[CROSS_ENTROPY_LOSS].at = &h->loss;
	s->out[CROSS_ENTROPY_NLL_BT].at = h->nll;
	s->out[CROSS_ENTROPY_CORRECT_BT].at = h->correct;
	for (int i = 0; i < CROSS_ENTROPY_N_OUT; i++)
		r.out[i] = &s->out[i];
	for (int i = 0; i < CROSS_ENTROPY_N_SAVED && training; i++) {
		s->saved[i].at = memory(h, &s->saved[i]);
		r.saved[i] = &s->saved[i];
	}
	r.workspace = arena_get(&h->arena, s->forward_workspace);
	op_cross_entropy.forward[CPU](&r);
}

static void test_evaluation(void **state)
{
	struct head a, b;

	(void)state;
	head_init(&a);
	head_init(&b);
	head_run(&a, true);
	head_run(&b, false);
	for (int i = 0; i < CROSS_ENTROPY_N_SAVED; i++)
		assert_int_equal(b.shapes.saved[i].n_dims, 0);
	assert_true(isfinite(a.loss) && a.loss > 0);
	assert_memory_equal(&a.loss, &b.loss, sizeof a.loss);
	assert_memory_equal(a.nll, b.nll, sizeof a.nll);
	assert_memory_equal(a.correct, b.correct, sizeof a.correct);
	arena_release(&a.arena);
	arena_release(&b.arena);
}

static void test_ties(void **state)
{
	struct head h;

	(void)state;
	head_init(&h);
	head_run(&h, false);
	for (int t = T; t < B * T; t++) {
		int target = ((int *)h.target.at)[t];
		assert_int_equal(h.correct[t], target == 0);
		assert_true(fabs(h.nll[t] - (target < 0 ? 0 : log(V))) < 1e-5);
	}
	assert_int_equal(h.correct[T + 7], 1);
	arena_release(&h.arena);
}

static void test_padding(void **state)
{
	struct head h;

	(void)state;
	head_init(&h);
	head_run(&h, true);
	const struct tensor *dx = &h.shapes.saved[CROSS_ENTROPY_DX_BTD];
	const struct tensor *dw = &h.shapes.saved[CROSS_ENTROPY_DW_VD];
	for (long i = 0; i < tensor_size(dx); i++)
		assert_true(isfinite(((float *)dx->at)[i]));
	for (long v = 0; v < PADDED; v++)
		for (long i = 0; i < D; i++)
			assert_true(v < V ? isfinite(row_f32(dw, v)[i]) : row_f32(dw, v)[i] == 0);
	arena_release(&h.arena);
}

/* Three products in training, all of them in forward, where the time goes too; one in evaluation. */
static void test_cost(void **state)
{
	const double product = 2.0 * B * T * D * V, logits = B * T * V;
	struct op_cost training = {0}, evaluation = {0};
	struct head h;

	(void)state;
	head_init(&h);
	head_run(&h, true);
	op_cross_entropy.cost(&h.shapes, &training);
	head_run(&h, false);
	op_cross_entropy.cost(&h.shapes, &evaluation);
	assert_true(training.forward_flops == 3 * product + 4 * logits);
	assert_true(training.backward_flops == 0 && training.executed_flops > training.forward_flops);
	assert_true(evaluation.forward_flops == product + 3 * logits && evaluation.backward_flops == 0);
	assert_true(evaluation.executed_flops == evaluation.forward_flops);
	arena_release(&h.arena);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_evaluation),
		cmocka_unit_test(test_ties),
		cmocka_unit_test(test_padding),
		cmocka_unit_test(test_cost),
	};

	(void)argc;
	blas_start(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
