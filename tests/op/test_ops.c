/*
 * Every operator in op_list against its float64 reference, and the reference against central
 * differences, on the examples that the operator brings. A new operator is tested on arrival.
 *
 *   1. ref gradient = central differences of the ref forward            1e-6
 *   2. cpu forward = ref forward, contiguous and strided                1e-5
 *   3. cpu backward = ref backward, written and added, strided          1e-4
 *   4. every element of outputs and gradients is written (memory starts as NaN)
 *   5. a missing d_out counts as zero
 *   6. the same bits with 1, 2 and 4 threads
 *   7. the same bits where outputs lie on inputs and gradients on gradients, as far as declared
 *
 * MOELAB_DEVICE=cuda_scan|cuda tests that device instead of cpu; MOELAB_OP=name one operator.
 */
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "base/error.h"
#include "op/trial.h"

enum { STRIDE_PAD = 5 };
#define ADDED 0x1p-6

static enum device_id tested = CPU;

static struct tensor input_shape(const struct op *op, int i, const long *dims)
{
	unsigned flags = op->in[i].flags;
	struct tensor t = {.kind = flags & IN_INDEX ? INDEX
			: flags & (IN_MASTER | IN_UPDATED) ? MASTER : REAL};

	while (t.n_dims < MAX_DIMS && dims[t.n_dims]) {
		t.dims[t.n_dims] = dims[t.n_dims];
		t.n_dims++;
	}
	t.ld = tensor_width(&t);
	return t;
}

static void setup(struct op_trial *t, const struct op *op, const struct op_example *e,
	enum device_id id, int pad)
{
	struct op_trial_case c = {.op = op, .attr = e->attr, .prepare = e->prepare, .pad = pad};
	struct tensor in[OP_MAX_IN];

	for (int i = 0; i < op->n_in; i++)
		if (e->in[i][0]) {
			in[i] = input_shape(op, i, e->in[i]);
			c.in[i] = &in[i];
		}
	op_trial_open(t, &c, &device_list[id]);
}

static void forward(struct op_trial *t)
{
	memset(t->run.workspace, 0xff, t->workspace);
	op_trial_forward(t);
}

static void backward(struct op_trial *t)
{
	memset(t->run.workspace, 0xff, t->workspace);
	op_trial_backward(t);
}

/* || a - b || / || b ||, where both are zero 0; NaN where either holds one. */
static double distance(const struct op_trial *x, const struct tensor *a, const struct op_trial *y,
	const struct tensor *b)
{
	double diff = 0, norm = 0;

	assert_int_equal(tensor_size(a), tensor_size(b));
	for (long i = 0; i < tensor_size(a); i++) {
		double u = op_trial_get(x, a, i), v = op_trial_get(y, b, i);
		diff += (u - v) * (u - v);
		norm += v * v;
	}
	return diff == 0 ? 0 : sqrt(diff / (norm > 1e-24 ? norm : 1e-24));
}

static void expect(double error, double limit, const struct op *op, const struct op_example *e,
	const char *what, const char *which)
{
	if (!(error <= limit))
		fail_msg("%s/%s: %s of %s: error %.3g, allowed %.1g", op->name, e->name, what, which,
			error, limit);
}

/* sum over outputs of <d_out, out>: the scalar whose gradient backward computes. */
static double objective(struct op_trial *b)
{
	double sum = 0;

	forward(b);
	for (int i = 0; i < b->op->n_out; i++)
		for (long k = 0; b->d_out[i] && k < tensor_size(b->out[i]); k++)
			sum += op_trial_get(b, b->d_out[i], k) * op_trial_get(b, b->out[i], k);
	return sum;
}

static double largest(const struct op_trial *b, const struct tensor *t)
{
	double most = 0;

	for (long i = 0; i < tensor_size(t); i++)
		most = fmax(most, fabs(op_trial_get(b, t, i)));
	return most;
}

static void check_differences(const struct op *op, const struct op_example *e)
{
	struct op_trial b;

	setup(&b, op, e, REF, STRIDE_PAD);
	op_trial_fill_d_out(&b);
	forward(&b);
	backward(&b);
	for (int i = 0; i < op->n_in; i++) {
		long n = b.d_in[i] ? tensor_size(b.d_in[i]) : 0, step = n > 60 ? n / 47 : 1;
		for (long k = 0; k < n; k += step) {
			double x = op_trial_get(&b, b.in[i], k), h = 1e-5;
			op_trial_set(&b, b.in[i], k, x + h);
			double above = objective(&b);
			op_trial_set(&b, b.in[i], k, x - h);
			double below = objective(&b);
			op_trial_set(&b, b.in[i], k, x);
			double scale = fmax(largest(&b, b.d_in[i]), 1e-3);
			expect(fabs((above - below) / (2 * h) - op_trial_get(&b, b.d_in[i], k)) / scale, 1e-6, op,
				e, "central difference", op->in[i].name);
		}
	}
	op_trial_close(&b);
}

static void compare_outputs(struct op_trial *b, struct op_trial *ref, const struct op_example *e)
{
	for (int i = 0; i < b->op->n_out; i++)
		expect(distance(b, b->out[i], ref, ref->out[i]), b->op->out[i].kind == INDEX ? 0 : 1e-5,
			b->op, e, "forward", b->op->out[i].name);
	for (int i = 0; i < b->op->n_in; i++)
		if (b->in[i] && (b->op->in[i].flags & IN_UPDATED))
			expect(distance(b, b->in[i], ref, ref->in[i]), 1e-5, b->op, e, "update",
				b->op->in[i].name);
}

static void compare_gradients(struct op_trial *b, struct op_trial *ref, const struct op_example *e,
	const char *what)
{
	for (int i = 0; i < b->op->n_in; i++)
		if (b->d_in[i])
			expect(distance(b, b->d_in[i], ref, ref->d_in[i]), 1e-4, b->op, e, what,
				b->op->in[i].name);
}

/* Gradients added to something: subtract it again and compare with those written. Something small, that
   rounding at its size does not hide small gradients. */
static void check_added(struct op_trial *b, struct op_trial *ref, const struct op_example *e)
{
	b->run.add = ~0u;
	for (int i = 0; i < b->op->n_in; i++)
		for (long k = 0; b->d_in[i] && k < tensor_size(b->d_in[i]); k++)
			op_trial_set(b, b->d_in[i], k, ADDED);
	backward(b);
	for (int i = 0; i < b->op->n_in; i++)
		for (long k = 0; b->d_in[i] && k < tensor_size(b->d_in[i]); k++)
			op_trial_set(b, b->d_in[i], k, op_trial_get(b, b->d_in[i], k) - ADDED);
	b->run.add = 0;
	compare_gradients(b, ref, e, "added gradient");
}

static void check_missing_d_out(struct op_trial *b, struct op_trial *ref,
	const struct op_example *e)
{
	int n = 0;

	for (int i = 0; i < b->op->n_out; i++)
		n += b->d_out[i] != NULL;
	for (int i = 0; n > 1 && i < b->op->n_out; i++) {
		if (!b->d_out[i])
			continue;
		b->run.d_out[i] = NULL;
		for (long k = 0; k < tensor_size(ref->d_out[i]); k++)
			op_trial_set(ref, ref->d_out[i], k, 0);
		backward(b);
		backward(ref);
		compare_gradients(b, ref, e, "gradient without one d_out");
		b->run.d_out[i] = b->d_out[i];
		op_trial_fill_d_out(ref);
	}
}

static void check_device(const struct op *op, const struct op_example *e, int pad)
{
	struct op_trial b, ref;

	setup(&ref, op, e, REF, 0);
	setup(&b, op, e, tested, pad);
	forward(&ref);
	forward(&b);
	compare_outputs(&b, &ref, e);
	if (op->backward[REF]) {
		op_trial_fill_d_out(&ref);
		op_trial_fill_d_out(&b);
		backward(&ref);
		backward(&b);
		compare_gradients(&b, &ref, e, "gradient");
		check_added(&b, &ref, e);
		check_missing_d_out(&b, &ref, e);
	}
	op_trial_close(&b);
	op_trial_close(&ref);
}

static void expect_same_bits(struct op_trial *a, struct op_trial *b, const struct op_example *e,
	int n)
{
	for (int i = 0; i < a->op->n_out; i++)
		if (memcmp(a->out[i]->at, b->out[i]->at, (size_t)tensor_span(a->out[i]) * 4))
			fail_msg("%s/%s: other bits in %s with %d threads", a->op->name, e->name,
				a->op->out[i].name, n);
	for (int i = 0; i < a->op->n_in; i++)
		if (a->d_in[i] &&
			memcmp(a->d_in[i]->at, b->d_in[i]->at, (size_t)tensor_span(a->d_in[i]) * 4))
			fail_msg("%s/%s: other bits in gradient of %s with %d threads", a->op->name,
				e->name, a->op->in[i].name, n);
}

static void run_all(struct op_trial *b)
{
	forward(b);
	if (b->op->backward[REF]) {
		op_trial_fill_d_out(b);
		backward(b);
	}
}

static void check_threads(const struct op *op, const struct op_example *e)
{
	struct op_trial one, more;

	setup(&one, op, e, tested, 0);
	omp_set_num_threads(1);
	run_all(&one);
	for (int n = 2; n <= 4; n += 2) {
		omp_set_num_threads(n);
		setup(&more, op, e, tested, 0);
		run_all(&more);
		expect_same_bits(&one, &more, e, n);
		op_trial_close(&more);
	}
	omp_set_num_threads(2);
	op_trial_close(&one);
}

/* Storage shared as the operator allows: the same bits, in the rows themselves. */
static void share(struct tensor *t, const struct tensor *with)
{
	if (t && with) {
		t->at = with->at;
		t->ld = with->ld;
	}
}

static void check_sharing(const struct op *op, const struct op_example *e, enum device_id id)
{
	struct op_trial own, shared;

	setup(&own, op, e, id, STRIDE_PAD);
	setup(&shared, op, e, id, STRIDE_PAD);
	for (int o = 0; o < op->n_out; o++)
		if (op->out_takes[o] && !(op->backward_reads_in & READS(op->out_takes[o] - 1)))
			share(shared.out[o], shared.in[op->out_takes[o] - 1]);
	forward(&own);
	forward(&shared);
	for (int o = 0; o < op->n_out; o++)
		if (distance(&shared, shared.out[o], &own, own.out[o]) != 0)
			fail_msg("%s/%s: other %s on the storage of an input", op->name, e->name,
				op->out[o].name);
	if (!op->backward[REF])
		goto out;
	op_trial_fill_d_out(&own);
	op_trial_fill_d_out(&shared);
	for (int i = 0; i < op->n_in; i++) {
		if (op->d_in_takes[i])
			share(shared.d_in[i], shared.d_out[op->d_in_takes[i] - 1]);
		if (op->d_in_equals[i])
			share(shared.d_in[i], shared.d_in[op->d_in_equals[i] - 1]);
	}
	backward(&own);
	backward(&shared);
	for (int i = 0; i < op->n_in; i++)
		if (own.d_in[i] && distance(&shared, shared.d_in[i], &own, own.d_in[i]) != 0)
			fail_msg("%s/%s: other gradient of %s on shared storage", op->name, e->name,
				op->in[i].name);
out:
	op_trial_close(&own);
	op_trial_close(&shared);
}

static void test_op(void **state)
{
	const struct op *op = *state;

	if (op->n_examples == 0)
		fail_msg("%s brings no examples", op->name);
	for (int i = 0; i < op->n_examples; i++) {
		const struct op_example *e = &op->examples[i];
		if (e->host_only && tested > CPU)
			continue;
		if (op->backward[REF] && !e->no_gradient_check)
			check_differences(op, e);
		if (!op_kernel_for(op->forward, tested))
			fail_msg("%s has no kernel for %s", op->name, device_list[tested].name);
		check_device(op, e, 0);
		check_device(op, e, STRIDE_PAD);
		check_threads(op, e);
		check_sharing(op, e, REF);
		check_sharing(op, e, tested);
	}
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[128];
	const char *only = getenv("MOELAB_OP"), *device = getenv("MOELAB_DEVICE");
	int n = 0;

	(void)argc;
	blas_start(argv);
	if (device) {
		const struct device *d = device_find(device);
		if (!d)
			return EXIT_USAGE;
		tested = d->id;
	}
	for (const struct op *const *o = op_list; *o; o++)
		if (!only || !strcmp(only, (*o)->name))
			tests[n++] = (struct CMUnitTest){(*o)->name, test_op, NULL, NULL, (void *)*o};
	return _cmocka_run_group_tests("op", tests, (size_t)n, NULL, NULL);
}
