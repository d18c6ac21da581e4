/*
 * Every operator in op_list against its float64 reference, and the reference against central
 * differences, on the examples that the operator brings. A new operator is tested on arrival, on every
 * device that is there: in a program with CUDA also on cuda_f32 and cuda, where a GPU is.
 *
 *   1. ref gradient = central differences of the ref forward            1e-6
 *   2. forward = ref forward, contiguous and strided                    1e-5 (bf16: 1e-2)
 *   3. backward = ref backward, written and added, strided              1e-4 (bf16: 2e-2)
 *   4. every element of outputs and gradients is written (memory starts as NaN), nothing around their
 *      rows, and nothing is written to what the operator only reads
 *   5. a missing d_out counts as zero
 *   6. backward reads what the operator declares and no more (the rest is NaN, then absent)
 *   7. the same bits with 1, 2 and 4 threads; from run to run on a GPU
 *   8. the same bits where outputs lie on inputs and gradients on gradients, as far as declared
 *
 * MOELAB_DEVICE=name tests that device alone; MOELAB_OP=name one operator.
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

#include "base/clock.h"
#include "base/cpu.h"
#include "base/error.h"
#include "op/trial.h"
#include "example_trial.h"
#include "places.h"

enum { STRIDE_PAD = 5, ALIGNED_PAD = 8 };

/* On the emulator, whose kernels take so long and whose blocks and lanes take other turns at every launch, two
   runs more, or one where that takes long. Examples of more than SMALL elements, which are there for their many
   tiles, have aligned rows and shared storage in bf16 alone, other rows and further runs in float32. The CPU is
   tested by the program that has no emulator. */
#ifdef EMULATED
enum { N_REPEATS = 3, SMALL = 4096 };
static const enum device_id devices[] = {CUDA_F32, CUDA};
static const double repeat_s = 0.02;
#else
enum { N_REPEATS = 10, SMALL = 1 << 30 };
static const enum device_id devices[] = {CPU, CUDA_F32, CUDA};
static const double repeat_s = 60;
#endif

/* Elements of an input that differences look at; of one the sanitizers see as much as of all. */
#ifdef __SANITIZE_ADDRESS__
enum { ALL_DIFFERENCES = 1, DIFFERENCES = 1 };
#else
enum { ALL_DIFFERENCES = 60, DIFFERENCES = 47 };	/* all of so many; else about so many */
#endif

/* What forward changes in place is once more as another trial of the case still has it. */
static void set_back(struct op_trial *b, const struct op_trial *as_before)
{
	for (int i = 0; i < b->op->n_in; i++)
		for (long k = 0; b->in[i] && (b->op->in[i].flags & IN_UPDATED) && k < tensor_size(b->in[i]); k++)
			op_trial_set(b, b->in[i], k, op_trial_get(as_before, as_before->in[i], k));
}

/* sum over outputs of <d_out, out>: the scalar whose gradient backward computes. */
static double objective(struct op_trial *b, const struct op_trial *as_before)
{
	double sum = 0;

	set_back(b, as_before);
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
	struct op_trial b, as_before;

	setup(&b, op, e, REF, STRIDE_PAD, false);
	setup(&as_before, op, e, REF, STRIDE_PAD, false);
	op_trial_fill_d_out(&b);
	forward(&b);
	backward(&b);
	for (int i = 0; i < op->n_in; i++) {
		long n = b.d_in[i] ? tensor_size(b.d_in[i]) : 0, step = n > ALL_DIFFERENCES ? n / DIFFERENCES : 1;
		for (long k = 0; k < n; k += step) {
			double x = op_trial_get(&b, b.in[i], k), h = 1e-5;
			op_trial_set(&b, b.in[i], k, x + h);
			double above = objective(&b, &as_before);
			op_trial_set(&b, b.in[i], k, x - h);
			double below = objective(&b, &as_before);
			op_trial_set(&b, b.in[i], k, x);
			double scale = fmax(largest(&b, b.d_in[i]), 1e-3);
			expect(fabs((above - below) / (2 * h) - op_trial_get(&b, b.d_in[i], k)) / scale, 1e-6, op,
				e, "central difference", op->in[i].name);
		}
	}
	op_trial_close(&b);
	op_trial_close(&as_before);
}

/* Where tokens go is compared apart from the buffer's layout, which is the device's own. */
static bool has_places(const struct op_trial *b)
{
	return (b->op == &op_route || b->op == &op_place) && !device_is_host(b->shapes.device);
}

/* Slot, first, token: the layout. */
static bool is_place(const struct op_trial *b, int out)
{
	const int *outs = b->op == &op_place ? places_of_place : places_of_route;

	return has_places(b) && (out == outs[0] || out == outs[1] || out == outs[2]);
}

static void compare_outputs(struct op_trial *b, struct op_trial *ref, const struct op_example *e)
{
	const char *fault = has_places(b) ? places_of_trials_fault(b, ref) : NULL;

	if (fault)
		fail_msg("%s/%s: %s", b->op->name, e->name, fault);
	for (int i = 0; i < b->op->n_out; i++)
		if (!is_place(b, i))
			expect(distance(b, b->out[i], ref, ref->out[i]),
				forward_limit(b->op->out[i].kind), b->op, e, "forward", b->op->out[i].name);
	for (int i = 0; i < b->op->n_in; i++)
		if (b->in[i] && (b->op->in[i].flags & IN_UPDATED))
			expect(distance(b, b->in[i], ref, ref->in[i]), forward_limit(REAL), b->op, e,
				"update", b->op->in[i].name);
}

static void compare_gradients(struct op_trial *b, struct op_trial *ref, const struct op_example *e,
	const char *what)
{
	for (int i = 0; i < b->op->n_in; i++)
		if (b->d_in[i])
			expect(distance(b, b->d_in[i], ref, ref->d_in[i]), gradient_limit(), b->op, e, what,
				b->op->in[i].name);
}

/* The power of two next to the size of a gradient's elements. */
static double usual_size(const struct op_trial *ref, const struct tensor *d)
{
	double sum = 0;

	for (long k = 0; k < tensor_size(d); k++)
		sum += pow(op_trial_get(ref, d, k), 2);
	return sum > 0 ? exp2(round(log2(sum / (double)tensor_size(d)) / 2)) : 1;
}

static void move_gradients(struct op_trial *t, const struct op_trial *sizes, double sign)
{
	for (int i = 0; i < t->op->n_in; i++) {
		double by = t->d_in[i] ? sign * usual_size(sizes, sizes->d_in[i]) : 0;
		for (long k = 0; t->d_in[i] && k < tensor_size(t->d_in[i]); k++)
			op_trial_set(t, t->d_in[i], k, op_trial_get(t, t->d_in[i], k) + by);
	}
}

/* Gradients added to something: subtract it again and compare with those written. Something of their
   size, that rounding does not hide them. */
static void check_added(struct op_trial *b, struct op_trial *ref, const struct op_example *e)
{
	b->run.add = ~0u;
	for (int i = 0; i < b->op->n_in; i++)
		for (long k = 0; b->d_in[i] && k < tensor_size(b->d_in[i]); k++)
			op_trial_set(b, b->d_in[i], k, 0);
	move_gradients(b, ref, 1);
	backward(b);
	move_gradients(b, ref, -1);
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
	if (n > 1)
		backward(ref);
}

/* What an operator only reads is as it was, and so is what lies around rows. */
static void check_untouched(struct op_trial *b, struct op_trial *as_before, const struct op_example *e)
{
	const char *damage = op_trial_damage(b);

	if (damage)
		fail_msg("%s/%s: written around the rows of %s", b->op->name, e->name, damage);
	for (int i = 0; i < b->op->n_in; i++)
		if (b->in[i] && !(b->op->in[i].flags & IN_UPDATED) &&
			!op_trial_same(b, b->in[i], as_before, as_before->in[i]))
			fail_msg("%s/%s: input %s has changed", b->op->name, e->name, b->op->in[i].name);
	for (int i = 0; i < b->op->n_out; i++)
		if (b->run.d_out[i] && !op_trial_same(b, b->d_out[i], as_before, as_before->d_out[i]))
			fail_msg("%s/%s: gradient of %s has changed", b->op->name, e->name,
				b->op->out[i].name);
}

static void clear_gradients(struct op_trial *b)
{
	for (int i = 0; i < b->op->n_in; i++)
		for (long k = 0; b->d_in[i] && k < tensor_size(b->d_in[i]); k++)
			op_trial_set(b, b->d_in[i], k, NAN);
}

/* On hosts all ways for every layout of rows. Of a GPU's layouts each has its share of the ways, so that gradients are
   written and added to by the code for aligned rows and by that for others. */
static void check_gradients(struct op_trial *b, struct op_trial *ref, struct op_trial *as_before,
	const struct op_example *e, int pad)
{
	bool host = device_is_host(&device_list[tested]);

	op_trial_fill_d_out(ref);
	op_trial_fill_d_out(b);
	op_trial_fill_d_out(as_before);
	backward(ref);
	if (host || pad == STRIDE_PAD) {
		backward(b);
		compare_gradients(b, ref, e, "gradient");
		check_untouched(b, as_before, e);
	}
	if (host || pad != 0)
		check_added(b, ref, e);
	if (host || pad == STRIDE_PAD)
		check_missing_d_out(b, ref, e);
	if (host || pad == 0) {
		clear_gradients(b);
		op_trial_clear_workspace(b);
		op_trial_backward(b);
		compare_gradients(b, ref, e, "gradient, with nothing there that is not read");
	}
	check_untouched(b, as_before, e);
}

static void expect_same_bits(struct op_trial *a, struct op_trial *b, const struct op_example *e,
	const char *when)
{
	for (int i = 0; i < a->op->n_out; i++)
		if (!op_trial_same(a, a->out[i], b, b->out[i]))
			fail_msg("%s/%s: other bits in %s %s", a->op->name, e->name, a->op->out[i].name,
				when);
	for (int i = 0; i < a->op->n_in; i++)
		if (a->d_in[i] && !op_trial_same(a, a->d_in[i], b, b->d_in[i]))
			fail_msg("%s/%s: other bits in gradient of %s %s", a->op->name, e->name,
				a->op->in[i].name, when);
}

static void run_all(struct op_trial *b)
{
	forward(b);
	if (b->op->backward[REF]) {
		op_trial_fill_d_out(b);
		backward(b);
	}
}

static void check_repeat(const struct op *op, const struct op_example *e, struct op_trial *first,
	const char *when)
{
	struct op_trial more;

	setup(&more, op, e, tested, 0, true);
	run_all(&more);
	expect_same_bits(first, &more, e, when);
	op_trial_close(&more);
}

/* first: rows lie together; it ran with two threads. */
static void check_bits(const struct op *op, const struct op_example *e, struct op_trial *first)
{
	double start = clock_s();

	for (int k = 1; k < N_REPEATS && !device_is_host(&device_list[tested]); k++) {
		check_repeat(op, e, first, "at another run");
		if (clock_s() - start > repeat_s)
			break;
	}
	if (device_is_host(&device_list[tested])) {
		omp_set_num_threads(1);
		check_repeat(op, e, first, "with 1 thread");
		omp_set_num_threads(4);
		check_repeat(op, e, first, "with 4 threads");
		omp_set_num_threads(2);
	}
}

static void check_device(const struct op *op, const struct op_example *e, int pad)
{
	struct op_trial b, ref, as_before;

	setup(&ref, op, e, REF, 0, true);
	setup(&b, op, e, tested, pad, true);
	setup(&as_before, op, e, tested, pad, true);
	forward(&ref);
	forward(&b);
	compare_outputs(&b, &ref, e);
	check_untouched(&b, &as_before, e);
	if (op->backward[REF])
		check_gradients(&b, &ref, &as_before, e, pad);
	if (pad == 0)
		check_bits(op, e, &b);
	op_trial_close(&b);
	op_trial_close(&ref);
	op_trial_close(&as_before);
}

/* Storage shared as the operator allows: the same bits, in the rows themselves. */
static void share(struct tensor *t, const struct tensor *with)
{
	if (t && with) {
		t->at = with->at;
		t->ld = with->ld;
	}
}

static bool shares(const struct op *op)
{
	bool any = false;

	for (int o = 0; o < op->n_out; o++)
		any |= op->out_takes[o] && !(op->backward_reads_in & READS(op->out_takes[o] - 1));
	for (int i = 0; i < op->n_in; i++)
		any |= op->d_in_takes[i] || op->d_in_equals[i];
	return any;
}

static void check_sharing(const struct op *op, const struct op_example *e, enum device_id id)
{
	struct op_trial own, shared;

	setup(&own, op, e, id, STRIDE_PAD, false);
	setup(&shared, op, e, id, STRIDE_PAD, false);
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

struct test {
	const struct op *op;
	enum device_id device;
	char name[64];
};

static bool is_small(const struct op *op, const struct op_example *e)
{
	long n = 0;

	for (int i = 0; i < op->n_in; i++)
		if (e->in[i][0]) {
			struct tensor in = input_shape(op, i, e->in[i]);
			n += tensor_size(&in);
		}
	return n <= SMALL;
}

static void check_example(const struct op *op, const struct op_example *e)
{
	bool all = is_small(op, e);

	if (tested == CPU && op->backward[REF] && !e->no_gradient_check)
		check_differences(op, e);
	if (all || !is_bf16()) {
		check_device(op, e, 0);
		check_device(op, e, STRIDE_PAD);
	}
	if (!device_is_host(&device_list[tested]) && (all || is_bf16()))
		check_device(op, e, ALIGNED_PAD);
	if (tested == CPU && shares(op))
		check_sharing(op, e, REF);
	if (shares(op) && (all || is_bf16()))
		check_sharing(op, e, tested);
}

static void test_op(void **state)
{
	const struct test *t = *state;
	const struct op *op = t->op;

	tested = t->device;
	if (op->n_examples == 0)
		fail_msg("%s brings no examples", op->name);
	if (!op_kernel_for(op->forward, tested)) {
		if (strcmp(op->name, "fill"))	/* first weights are made on the host for all devices */
			fail_msg("%s has no kernel for %s", op->name, device_list[tested].name);
		skip();
	}
	if (op->backward[REF] && !op_kernel_for(op->backward, tested))
		fail_msg("%s has no backward for %s", op->name, device_list[tested].name);
	for (int i = 0; i < op->n_examples; i++)
		check_example(op, &op->examples[i]);
}

static int add_tests(struct CMUnitTest *tests, int n, enum device_id device)
{
	const char *only = getenv("MOELAB_OP");
	static struct test list[256];

	for (const struct op *const *o = op_list; *o; o++)
		if (!only || !strcmp(only, (*o)->name)) {
			list[n] = (struct test){*o, device, ""};
			snprintf(list[n].name, sizeof list[n].name, "%s on %s", (*o)->name,
				device_list[device].name);
			tests[n] = (struct CMUnitTest){list[n].name, test_op, NULL, NULL, &list[n]};
			n++;
		}
	return n;
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[256];
	const char *name = getenv("MOELAB_DEVICE");
	const struct device *device = name ? device_find(name) : NULL;
	int n = 0;

	(void)argc;
	blas_start(argv);
	omp_set_num_threads(2);
	if (name && !device)
		return EXIT_USAGE;
	if (device)
		n = add_tests(tests, n, device->id);
	for (size_t k = 0; !device && k < ARRAY_SIZE(devices); k++)
		if (!device_missing(&device_list[devices[k]]))
			n = add_tests(tests, n, devices[k]);
	return _cmocka_run_group_tests("op", tests, (size_t)n, NULL, NULL);
}
