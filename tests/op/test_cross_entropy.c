/*
 * What the walk over all operators does not see of the head: evaluation, ties, padding; on the CPU
 * and, where there is one, on a GPU in float32.
 */
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
#include "base/error.h"
#include "op/cross_entropy.h"
#include "tensor/queue.h"

enum { B = 2, T = 70, D = 24, V = 300, PADDED = 304 };

struct head {
	struct arena arena;
	const struct device *device;
	struct tensor x, w, target;	/* on the host, as all here */
	struct tensor gate, log_c;	/* without dimensions: none */
	struct op_shapes shapes;
	float loss, mean, nll[B * T];
	int correct[B * T];
};

static enum device_id tested = CPU;

static void *memory(struct head *h, const struct tensor *t)
{
	float *at = arena_get(&h->arena, (size_t)tensor_size(t) * sizeof(float));

	for (long i = 0; i < tensor_size(t); i++)
		at[i] = (float)(i * 7919 % 1009) / 500 - 1;
	return at;
}

/* Targets go round the vocabulary, every fifth token is masked. The second sequence is all zeros,
   so all its logits tie. Padding rows of W are NaN on the CPU: nothing may read them. A GPU's
   products run over them, there they are 0 as in a model. */
static void head_init(struct head *h)
{
	*h = (struct head){
		.device = &device_list[tested],
		.x = tensor_of(REAL, 3, (long)B, (long)T, (long)D),
		.w = tensor_of(REAL, 2, (long)PADDED, (long)D),
		.target = tensor_of(INDEX, 2, (long)B, (long)T),
	};
	h->x.at = memory(h, &h->x);
	h->w.at = memory(h, &h->w);
	h->target.at = memory(h, &h->target);
	memset(row_f32(&h->x, T), 0, T * D * sizeof(float));
	memset(row_f32(&h->w, V), tested == CPU ? 0xff : 0, (PADDED - V) * D * sizeof(float));
	for (int t = 0; t < B * T; t++)
		((int *)h->target.at)[t] = t % 5 ? t % T * 37 % V : -1;
	row_int(&h->target, 1)[7] = 0;
}

static size_t bytes_of(const struct head *h, const struct tensor *t)
{
	return (size_t)tensor_size(t) * h->device->bytes[t->kind];
}

/* The tensor on the device. */
static const struct tensor *uploaded(struct head *h, const struct tensor *t)
{
	struct tensor *there = ARENA_NEW(&h->arena, struct tensor);

	*there = *t;
	there->at = device_alloc(h->device, bytes_of(h, t));
	device_from_host(h->device, there->at, t->at, bytes_of(h, t));
	return there;
}

static void download(struct head *h, const struct tensor *there, const struct tensor *t)
{
	if (t->n_dims)
		device_to_host(h->device, t->at, there->at, bytes_of(h, t));
}

static void head_forward(struct head *h, struct op_run *r)
{
	struct op_shapes *s = &h->shapes;

	r->in[CROSS_ENTROPY_X_BTD] = uploaded(h, &h->x);
	r->in[CROSS_ENTROPY_W_VD] = uploaded(h, &h->w);
	r->in[CROSS_ENTROPY_TARGET_BT] = uploaded(h, &h->target);
	r->in[CROSS_ENTROPY_GATE_BT] = h->gate.n_dims ? uploaded(h, &h->gate) : NULL;
	r->in[CROSS_ENTROPY_LOGC_BT] = h->gate.n_dims ? uploaded(h, &h->log_c) : NULL;
	for (int i = 0; i < CROSS_ENTROPY_N_OUT; i++)
		r->out[i] = uploaded(h, &s->out[i]);
	for (int i = 0; i < CROSS_ENTROPY_N_SAVED; i++)
		r->saved[i] = s->saved[i].n_dims ? uploaded(h, &s->saved[i]) : NULL;
	r->queue = device_queue(h->device);
	r->workspace = device_alloc(h->device, s->forward_workspace);
	r->plan = xcalloc(1, s->forward_plan + 1);
	op_kernel_for(op_cross_entropy.forward, h->device->id)(r);
	for (int i = 0; i < CROSS_ENTROPY_N_OUT; i++)
		download(h, r->out[i], &s->out[i]);
	for (int i = 0; i < CROSS_ENTROPY_N_SAVED; i++)
		download(h, r->saved[i], &s->saved[i]);
	free(r->plan);
	device_free(h->device, r->workspace, s->forward_workspace);
	for (int i = 0; i < CROSS_ENTROPY_N_IN; i++)
		if (r->in[i])
			device_free(h->device, r->in[i]->at, bytes_of(h, r->in[i]));
	for (int i = 0; i < CROSS_ENTROPY_N_OUT; i++)
		device_free(h->device, r->out[i]->at, bytes_of(h, r->out[i]));
	for (int i = 0; i < CROSS_ENTROPY_N_SAVED; i++)
		if (r->saved[i])
			device_free(h->device, r->saved[i]->at, bytes_of(h, r->saved[i]));
}

static void head_run(struct head *h, bool training)
{
	static const struct cross_entropy_attr attr = {.n_vocab = V};
	struct op_run r = {.op = &op_cross_entropy, .device = h->device, .attr = &attr};
	struct op_shapes *s = &h->shapes;

	*s = (struct op_shapes){.device = r.device, .attr = &attr, .training = training,
		.in = {&h->x, &h->w, &h->target}};
	s->in[CROSS_ENTROPY_GATE_BT] = h->gate.n_dims ? &h->gate : NULL;
	s->in[CROSS_ENTROPY_LOGC_BT] = h->gate.n_dims ? &h->log_c : NULL;
	op_infer(&op_cross_entropy, s);
	s->out[CROSS_ENTROPY_LOSS].at = &h->loss;
	s->out[CROSS_ENTROPY_NLL_BT].at = h->nll;
	s->out[CROSS_ENTROPY_CORRECT_BT].at = h->correct;
	s->out[CROSS_ENTROPY_MEAN].at = &h->mean;
	for (int i = 0; i < CROSS_ENTROPY_N_SAVED && training; i++)
		if (s->saved[i].n_dims)
			s->saved[i].at = memory(h, &s->saved[i]);
	head_forward(h, &r);
}

/* Each test runs on the device that its state names. */
static int on_device(void **state)
{
	tested = ((const struct device *)*state)->id;
	return 0;
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

/* Three products in training, all in forward, where the time goes too; one in evaluation. */
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
	assert_true(training.backward_flops == 0 &&
		training.executed_flops > training.forward_flops);
	assert_true(evaluation.forward_flops == product + 3 * logits &&
		evaluation.backward_flops == 0);
	assert_true(evaluation.executed_flops == evaluation.forward_flops);
	arena_release(&h.arena);
}

/* The same numbers for all tokens. */
static void set_copies(struct head *h, float gate, float log_c)
{
	h->gate = tensor_of(REAL, 3, (long)B, (long)T, 1L);
	h->log_c = tensor_of(MASTER, 2, (long)B, (long)T);
	h->gate.at = memory(h, &h->gate);
	h->log_c.at = memory(h, &h->log_c);
	for (long i = 0; i < B * T; i++) {
		((float *)h->gate.at)[i] = gate;
		((float *)h->log_c.at)[i] = log_c;
	}
}

/* With the gate open, or with nothing to copy, a copy head is the plain one, gradients included; with the
   gate shut the copied share alone counts, and the vocabulary learns nothing. */
static void test_copies_reduce(void **state)
{
	static const float gates[] = {60, -3, -60}, log_c[] = {-0.5f, 1, -0.5f};
	struct head plain;

	(void)state;
	head_init(&plain);
	head_run(&plain, true);
	for (int k = 0; k < 3; k++) {
		struct head h;
		const float *dx, *plain_dx = plain.shapes.saved[CROSS_ENTROPY_DX_BTD].at;
		head_init(&h);
		set_copies(&h, gates[k], log_c[k]);
		head_run(&h, true);
		dx = h.shapes.saved[CROSS_ENTROPY_DX_BTD].at;
		for (int t = 0; t < B * T; t++) {
			bool masked = ((int *)h.target.at)[t] < 0;
			assert_true(fabsf(h.nll[t] - (k < 2 ? plain.nll[t] : masked ? 0 : 0.5f)) < 1e-5f);
			assert_int_equal(h.correct[t], k < 2 ? plain.correct[t] : !masked);
		}
		for (long i = 0; i < B * T * D; i++)
			assert_true(fabsf(dx[i] - (k < 2 ? plain_dx[i] : 0)) < 1e-6f);
		arena_release(&h.arena);
	}
	arena_release(&plain.arena);
}

static int largest_logit(const struct head *h, int t)
{
	double most = -INFINITY;
	int best = 0;

	for (int v = 0; v < V; v++) {
		double logit = 0;
		for (int i = 0; i < D; i++)
			logit += (double)row_f32(&h->w, v)[i] * row_f32(&h->x, t)[i];
		best = logit > most ? v : best;
		most = fmax(most, logit);
	}
	return best;
}

/* The largest logit of every second token is the target's: those and no others are correct. On the
   GPU with room for a row in shared memory and without. */
static void test_correct(void **state)
{
	struct queue *q = device_queue(*state);
	size_t room = q ? q->shared_bytes : 0;
	struct head h;

	for (int pass = 0; pass < 2; pass++) {
		head_init(&h);
		for (int t = 0; t < T; t++)
			row_int(&h.target, 0)[t] = (largest_logit(&h, t) + t % 2) % V;
		if (q)
			q->shared_bytes = pass ? 1024 : room;
		head_run(&h, true);
		for (int t = 0; t < T; t++)
			assert_int_equal(h.correct[t], t % 2 == 0);
		arena_release(&h.arena);
	}
	if (q)
		q->shared_bytes = room;
}

int main(int argc, char **argv)
{
	static const enum device_id devices[] = {CPU, CUDA_F32};
	struct CMUnitTest tests[16];
	int n = 0;

	(void)argc;
	blas_start(argv);
	for (int i = 0; i < 2; i++) {
		void *d = (void *)&device_list[devices[i]];
		if (device_missing(d))
			continue;
		tests[n++] = (struct CMUnitTest){"evaluation", test_evaluation, on_device, NULL, d};
		tests[n++] = (struct CMUnitTest){"ties", test_ties, on_device, NULL, d};
		tests[n++] = (struct CMUnitTest){"correct", test_correct, on_device, NULL, d};
		tests[n++] = (struct CMUnitTest){"padding", test_padding, on_device, NULL, d};
		tests[n++] = (struct CMUnitTest){"copies reduce", test_copies_reduce, on_device, NULL, d};
		tests[n++] = (struct CMUnitTest){"cost", test_cost, on_device, NULL, d};
	}
	return _cmocka_run_group_tests("head", tests, (size_t)n, NULL, NULL);
}
