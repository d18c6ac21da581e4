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

#include "base/arena.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/rng.h"
#include "op/op.h"

enum { STRIDE_PAD = 5 };

static enum device_id tested = CPU;

/* An operator with memory for one example on one device. */
struct bench {
	struct arena arena;
	const struct op *op;
	struct op_shapes shapes;
	struct op_run run;
	struct step_state state;
	struct tensor *in[OP_MAX_IN], *out[OP_MAX_OUT], *saved[OP_MAX_SAVED];
	struct tensor *d_in[OP_MAX_IN], *d_out[OP_MAX_OUT];
	size_t workspace;
};

static double gauss(uint64_t stream, uint64_t i)
{
	struct rng_block b = rng_block((struct rng_key){7, stream, 0}, i);

	return sqrt(-2 * log(rng_uniform(b, 0))) * cos(2 * M_PI * rng_uniform(b, 1));
}

static double get(const struct bench *b, const struct tensor *t, long i)
{
	long row = i / tensor_width(t), col = i % tensor_width(t);

	if (t->kind == INDEX)
		return row_int(t, row)[col];
	return b->shapes.device->id == REF ? row_f64(t, row)[col] : (double)row_f32(t, row)[col];
}

static void set(const struct bench *b, const struct tensor *t, long i, double v)
{
	long row = i / tensor_width(t), col = i % tensor_width(t);

	if (t->kind == INDEX)
		row_int(t, row)[col] = (int)v;
	else if (b->shapes.device->id == REF)
		row_f64(t, row)[col] = v;
	else
		row_f32(t, row)[col] = (float)v;
}

static void poison(const struct bench *b, const struct tensor *t)
{
	size_t bytes = (size_t)tensor_span(t) * b->shapes.device->bytes[t->kind];

	memset(t->at, 0xff, bytes);	/* NaN, or -1 */
}

static struct tensor *alloc_like(struct bench *b, struct tensor shape, int pad)
{
	struct tensor *t = ARENA_NEW(&b->arena, struct tensor);

	*t = shape;
	t->ld = tensor_width(t) + (t->n_dims > 1 && t->kind != INDEX ? pad : 0);
	t->at = arena_get(&b->arena, (size_t)tensor_span(t) * 8);
	poison(b, t);
	return t;
}

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

static bool has_gradient(const struct op *op, int i)
{
	return !(op->in[i].flags & (IN_INDEX | IN_NO_GRADIENT | IN_UPDATED));
}

static void fill_inputs(struct bench *b, const struct op_example *e)
{
	for (int i = 0; i < b->op->n_in; i++) {
		struct tensor *t = b->in[i];
		for (long k = 0; t && k < tensor_size(t); k++) {
			double v = gauss(hash_u64(b->op->in[i].name), (uint64_t)k);
			if (t->kind == INDEX)
				v = e->index_below[i] ? (double)((uint64_t)(fabs(v) * 1e6) %
					(uint64_t)e->index_below[i]) : 0;
			set(b, t, k, v);
		}
	}
}

static void setup(struct bench *b, const struct op *op, const struct op_example *e,
	enum device_id id, int pad)
{
	*b = (struct bench){.op = op, .state = {.step = 3, .seed = 5, .lr = 1e-2,
		.correction1 = 1 - pow(0.9, 4), .correction2 = 1 - pow(0.999, 4)}};
	b->shapes = (struct op_shapes){.device = &device_list[id], .attr = e->attr, .training = true};
	for (int i = 0; i < op->n_in; i++) {
		if (!e->in[i][0])
			continue;
		struct tensor shape = input_shape(op, i, e->in[i]);
		b->in[i] = alloc_like(b, shape, op->in[i].flags & IN_MASTER ? 0 : pad);
		b->shapes.in[i] = b->in[i];
		if (has_gradient(op, i))
			b->d_in[i] = alloc_like(b, shape, op->in[i].flags & IN_MASTER ? 0 : pad);
	}
	op_infer(op, &b->shapes);
	for (int i = 0; i < op->n_out; i++) {
		b->out[i] = alloc_like(b, b->shapes.out[i], pad);
		if (!op->out[i].no_gradient)
			b->d_out[i] = alloc_like(b, b->shapes.out[i], pad);
	}
	for (int i = 0; i < op->n_saved; i++)
		if (b->shapes.saved[i].n_dims)
			b->saved[i] = alloc_like(b, b->shapes.saved[i], 0);
	b->workspace = b->shapes.forward_workspace > b->shapes.backward_workspace
		? b->shapes.forward_workspace : b->shapes.backward_workspace;
	b->run = (struct op_run){.op = op, .device = b->shapes.device, .attr = e->attr,
		.state = &b->state, .workspace = arena_get(&b->arena, b->workspace)};
	memcpy(b->run.in, b->in, sizeof b->in);
	memcpy(b->run.out, b->out, sizeof b->out);
	memcpy(b->run.saved, b->saved, sizeof b->saved);
	fill_inputs(b, e);
	if (e->prepare) {
		struct bench host;
		if (id == REF) {
			e->prepare(b->in, e->attr);
			return;
		}
		setup(&host, op, e, REF, 0);
		for (int i = 0; i < op->n_in; i++)
			for (long k = 0; b->in[i] && k < tensor_size(b->in[i]); k++)
				set(b, b->in[i], k, get(&host, host.in[i], k));
		arena_release(&host.arena);
	}
}

static void fill_d_out(struct bench *b)
{
	for (int i = 0; i < b->op->n_out; i++)
		for (long k = 0; b->d_out[i] && k < tensor_size(b->d_out[i]); k++)
			set(b, b->d_out[i], k, gauss(hash_u64(b->op->out[i].name) + 1, (uint64_t)k));
	memcpy(b->run.d_out, b->d_out, sizeof b->d_out);
	memcpy(b->run.d_in, b->d_in, sizeof b->d_in);
}

static void forward(struct bench *b)
{
	memset(b->run.workspace, 0xff, b->workspace);
	op_kernel_for(b->op->forward, b->shapes.device->id)(&b->run);
}

/* Backward gets those inputs and outputs that it says it reads. */
static void backward(struct bench *b)
{
	const struct op *op = b->op;

	memset(b->run.workspace, 0xff, b->workspace);
	for (int i = 0; i < op->n_in; i++)
		b->run.in[i] = op->backward_reads_in & READS(i) ? b->in[i] : NULL;
	for (int i = 0; i < op->n_out; i++)
		b->run.out[i] = op->backward_reads_out & READS(i) ? b->out[i] : NULL;
	op_kernel_for(op->backward, b->shapes.device->id)(&b->run);
	memcpy(b->run.in, b->in, sizeof b->in);
	memcpy(b->run.out, b->out, sizeof b->out);
}

/* || a - b || / || b ||, where both are zero 0; NaN where either holds one. */
static double distance(const struct bench *x, const struct tensor *a, const struct bench *y,
	const struct tensor *b)
{
	double diff = 0, norm = 0;

	assert_int_equal(tensor_size(a), tensor_size(b));
	for (long i = 0; i < tensor_size(a); i++) {
		double u = get(x, a, i), v = get(y, b, i);
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
static double objective(struct bench *b)
{
	double sum = 0;

	forward(b);
	for (int i = 0; i < b->op->n_out; i++)
		for (long k = 0; b->d_out[i] && k < tensor_size(b->out[i]); k++)
			sum += get(b, b->d_out[i], k) * get(b, b->out[i], k);
	return sum;
}

static double largest(const struct bench *b, const struct tensor *t)
{
	double most = 0;

	for (long i = 0; i < tensor_size(t); i++)
		most = fmax(most, fabs(get(b, t, i)));
	return most;
}

static void check_differences(const struct op *op, const struct op_example *e)
{
	struct bench b;

	setup(&b, op, e, REF, STRIDE_PAD);
	fill_d_out(&b);
	forward(&b);
	backward(&b);
	for (int i = 0; i < op->n_in; i++) {
		long n = b.d_in[i] ? tensor_size(b.d_in[i]) : 0, step = n > 60 ? n / 47 : 1;
		for (long k = 0; k < n; k += step) {
			double x = get(&b, b.in[i], k), h = 1e-5;
			set(&b, b.in[i], k, x + h);
			double above = objective(&b);
			set(&b, b.in[i], k, x - h);
			double below = objective(&b);
			set(&b, b.in[i], k, x);
			double scale = fmax(largest(&b, b.d_in[i]), 1e-3);
			expect(fabs((above - below) / (2 * h) - get(&b, b.d_in[i], k)) / scale, 1e-6, op,
				e, "central difference", op->in[i].name);
		}
	}
	arena_release(&b.arena);
}

static void compare_outputs(struct bench *b, struct bench *ref, const struct op_example *e)
{
	for (int i = 0; i < b->op->n_out; i++)
		expect(distance(b, b->out[i], ref, ref->out[i]), b->op->out[i].kind == INDEX ? 0 : 1e-5,
			b->op, e, "forward", b->op->out[i].name);
	for (int i = 0; i < b->op->n_in; i++)
		if (b->in[i] && (b->op->in[i].flags & IN_UPDATED))
			expect(distance(b, b->in[i], ref, ref->in[i]), 1e-5, b->op, e, "update",
				b->op->in[i].name);
}

static void compare_gradients(struct bench *b, struct bench *ref, const struct op_example *e,
	const char *what)
{
	for (int i = 0; i < b->op->n_in; i++)
		if (b->d_in[i])
			expect(distance(b, b->d_in[i], ref, ref->d_in[i]), 1e-4, b->op, e, what,
				b->op->in[i].name);
}

/* Gradients added to something: subtract it again and compare with those written. */
static void check_added(struct bench *b, struct bench *ref, const struct op_example *e)
{
	b->run.add = ~0u;
	for (int i = 0; i < b->op->n_in; i++)
		for (long k = 0; b->d_in[i] && k < tensor_size(b->d_in[i]); k++)
			set(b, b->d_in[i], k, 0.5);
	backward(b);
	for (int i = 0; i < b->op->n_in; i++)
		for (long k = 0; b->d_in[i] && k < tensor_size(b->d_in[i]); k++)
			set(b, b->d_in[i], k, get(b, b->d_in[i], k) - 0.5);
	b->run.add = 0;
	compare_gradients(b, ref, e, "added gradient");
}

static void check_missing_d_out(struct bench *b, struct bench *ref, const struct op_example *e)
{
	int n = 0;

	for (int i = 0; i < b->op->n_out; i++)
		n += b->d_out[i] != NULL;
	for (int i = 0; n > 1 && i < b->op->n_out; i++) {
		if (!b->d_out[i])
			continue;
		b->run.d_out[i] = NULL;
		for (long k = 0; k < tensor_size(ref->d_out[i]); k++)
			set(ref, ref->d_out[i], k, 0);
		backward(b);
		backward(ref);
		compare_gradients(b, ref, e, "gradient without one d_out");
		b->run.d_out[i] = b->d_out[i];
		fill_d_out(ref);
	}
}

static void check_device(const struct op *op, const struct op_example *e, int pad)
{
	struct bench b, ref;

	setup(&ref, op, e, REF, 0);
	setup(&b, op, e, tested, pad);
	forward(&ref);
	forward(&b);
	compare_outputs(&b, &ref, e);
	if (op->backward[REF]) {
		fill_d_out(&ref);
		fill_d_out(&b);
		backward(&ref);
		backward(&b);
		compare_gradients(&b, &ref, e, "gradient");
		check_added(&b, &ref, e);
		check_missing_d_out(&b, &ref, e);
	}
	arena_release(&b.arena);
	arena_release(&ref.arena);
}

static void expect_same_bits(struct bench *a, struct bench *b, const struct op_example *e, int n)
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

static void run_all(struct bench *b)
{
	forward(b);
	if (b->op->backward[REF]) {
		fill_d_out(b);
		backward(b);
	}
}

static void check_threads(const struct op *op, const struct op_example *e)
{
	struct bench one, more;

	setup(&one, op, e, tested, 0);
	omp_set_num_threads(1);
	run_all(&one);
	for (int n = 2; n <= 4; n += 2) {
		omp_set_num_threads(n);
		setup(&more, op, e, tested, 0);
		run_all(&more);
		expect_same_bits(&one, &more, e, n);
		arena_release(&more.arena);
	}
	omp_set_num_threads(2);
	arena_release(&one.arena);
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
	struct bench own, shared;

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
	fill_d_out(&own);
	fill_d_out(&shared);
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
	arena_release(&own.arena);
	arena_release(&shared.arena);
}

static void test_op(void **state)
{
	const struct op *op = *state;

	if (op->n_examples == 0)
		fail_msg("%s brings no examples", op->name);
	for (int i = 0; i < op->n_examples; i++) {
		const struct op_example *e = &op->examples[i];
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
