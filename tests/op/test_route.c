/*
 * Routing in cases small enough to know the answer, and the MoE layer as a whole (route, dispatch,
 * experts, combine) where tokens are dropped, so that rows of its buffers stay empty. Both host
 * devices. Logits are what a case says: the router's matrix is the identity.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/cpu.h"
#include "op/combine.h"
#include "op/dispatch.h"
#include "op/experts.h"
#include "op/route.h"

enum { OUT = -1 };	/* no slot, or no expert */

/* One operator's run with memory of its own; outputs and gradients start as NaN or -1. */
struct call {
	struct op_run run;
	struct tensor *out[OP_MAX_OUT], *d_in[OP_MAX_IN];
};

static struct tensor *tensor_new(struct arena *a, struct tensor shape)
{
	struct tensor *t = ARENA_NEW(a, struct tensor);

	*t = shape;
	t->at = arena_get(a, (size_t)tensor_size(t) * 8);
	memset(t->at, 0xff, (size_t)tensor_size(t) * 8);
	return t;
}

static void put(const struct device *d, const struct tensor *t, long i, double v)
{
	if (t->kind == INDEX)
		((int *)t->at)[i] = (int)v;
	else if (d->id == REF)
		((double *)t->at)[i] = v;
	else
		((float *)t->at)[i] = (float)v;
}

static double get(const struct device *d, const struct tensor *t, long i)
{
	if (t->kind == INDEX)
		return ((int *)t->at)[i];
	return d->id == REF ? ((double *)t->at)[i] : (double)((float *)t->at)[i];
}

static struct tensor *filled(struct arena *a, const struct device *d, struct tensor shape,
	const double *v)
{
	struct tensor *t = tensor_new(a, shape);

	for (long i = 0; i < tensor_size(t); i++)
		put(d, t, i, v ? v[i] : 0);
	return t;
}

/* Runs forward; gradients of all inputs that have one get their room. */
static struct call call(struct arena *a, const struct op *op, const struct device *d,
	const void *attr, struct tensor *const *in)
{
	struct op_shapes s = {.device = d, .attr = attr, .training = true};
	struct call c = {.run = {.op = op, .device = d, .attr = attr}};

	for (int i = 0; i < op->n_in; i++)
		s.in[i] = c.run.in[i] = in[i];
	op_infer(op, &s);
	for (int i = 0; i < op->n_out; i++)
		c.run.out[i] = c.out[i] = tensor_new(a, s.out[i]);
	for (int i = 0; i < op->n_saved; i++)
		c.run.saved[i] = tensor_new(a, s.saved[i]);
	for (int i = 0; i < op->n_in; i++)
		if (in[i] && in[i]->kind != INDEX)
			c.run.d_in[i] = c.d_in[i] = tensor_new(a, *in[i]);
	size_t bytes = s.forward_workspace > s.backward_workspace ? s.forward_workspace :
		s.backward_workspace;
	c.run.workspace = arena_get(a, bytes + 1);
	memset(c.run.workspace, 0xff, bytes);
	op_kernel_for(op->forward, d->id)(&c.run);
	return c;
}

static void backward(struct call *c, int out, const struct tensor *d_out)
{
	c->run.d_out[out] = d_out;
	op_kernel_for(c->run.op->backward, c->run.device->id)(&c->run);
}

/* Routes n tokens with these logits [n, E]. mask may be NULL. */
static struct call route(struct arena *a, const struct device *d, long n, long E, long group,
	long capacity, const double *logits, const double *mask)
{
	struct route_attr *attr = ARENA_NEW(a, struct route_attr);
	struct tensor *in[ROUTE_N_IN] = {0};

	*attr = (struct route_attr){group, capacity};
	in[ROUTE_X_BTD] = filled(a, d, tensor_of(REAL, 3, 1L, n, E), logits);
	in[ROUTE_W_ED] = filled(a, d, tensor_of(MASTER, 2, E, E), NULL);
	for (long e = 0; e < E; e++)
		put(d, in[ROUTE_W_ED], e * E + e, 1);
	if (mask)
		in[ROUTE_MASK_BT] = filled(a, d, tensor_of(INDEX, 2, 1L, n), mask);
	return call(a, &op_route, d, attr, in);
}

/* Logits of tokens that want these experts, by a margin of 2. */
static const double *wants(struct arena *a, long n, long E, const int *expert)
{
	double *logits = ARENA_ARRAY(a, double, n * E);

	for (long t = 0; t < n; t++)
		logits[t * E + expert[t]] = 2;
	return logits;
}

static void expect_ints(const struct call *c, int out, const int *expected)
{
	const struct tensor *t = c->out[out];

	for (long i = 0; i < tensor_size(t); i++)
		if (((int *)t->at)[i] != expected[i])
			fail_msg("%s on %s: %s[%ld] is %d, expected %d", c->run.op->name,
				c->run.device->name, c->run.op->out[out].name, i, ((int *)t->at)[i],
				expected[i]);
}

static void expect_reals(const struct call *c, int out, const double *expected)
{
	const struct tensor *t = c->out[out];

	for (long i = 0; i < tensor_size(t); i++)
		if (!(fabs(get(c->run.device, t, i) - expected[i]) < 1e-6))
			fail_msg("%s on %s: %s[%ld] is %.9g, expected %.9g", c->run.op->name,
				c->run.device->name, c->run.op->out[out].name, i,
				get(c->run.device, t, i), expected[i]);
}

/* Every case: body(arena, device) on both host devices. */
static void on_hosts(void (*body)(struct arena *a, const struct device *d))
{
	for (int id = REF; id <= CPU; id++) {
		struct arena a = {0};
		body(&a, &device_list[id]);
		arena_release(&a);
	}
}

static void ties(struct arena *a, const struct device *d)
{
	const double logits[] = {0, 0, 0, 0,  -1, 3, 3, 3,  1, 0, 1, 0,  -2, -2, -2, -1};
	struct call c = route(a, d, 4, 4, 4, 0, logits, NULL);

	expect_ints(&c, ROUTE_EXPERT_BT, (int[]){0, 1, 0, 3});
	expect_ints(&c, ROUTE_SLOT_BT, (int[]){0, 2, 1, 3});
	assert_float_equal(get(d, c.out[ROUTE_GATE_BT], 0), 0.25, 1e-6);
}

static void test_ties_go_to_the_lowest_expert(void **state)
{
	(void)state;
	on_hosts(ties);
}

static void token_order(struct arena *a, const struct device *d)
{
	const double *logits = wants(a, 7, 3, (int[]){2, 0, 2, 2, 0, 2, 0});
	struct call c = route(a, d, 7, 3, 7, 2, logits, NULL);
	double p = exp(2) / (exp(2) + 2);

	expect_ints(&c, ROUTE_SLOT_BT, (int[]){2, 0, 3, OUT, 1, OUT, OUT});
	expect_ints(&c, ROUTE_FIRST_E1, (int[]){0, 2, 2, 4});
	expect_ints(&c, ROUTE_EXPERT_BT, (int[]){2, 0, 2, 2, 0, 2, 0});
	expect_reals(&c, ROUTE_GATE_BT, (double[]){p, p, p, 0, p, 0, 0});
	expect_reals(&c, ROUTE_DROPPED, (double[]){3, 7});
	expect_reals(&c, ROUTE_LOAD_E, (double[]){3. / 7, 0, 4. / 7});
}

static void test_later_tokens_are_dropped(void **state)
{
	(void)state;
	on_hosts(token_order);
}

static void masks(struct arena *a, const struct device *d)
{
	const double *logits = wants(a, 6, 2, (int[]){1, 1, 1, 0, 1, 1});
	struct call c = route(a, d, 6, 2, 6, 2, logits, (double[]){-1, 0, -1, 5, 0, 0});
	double p = 1 / (1 + exp(-2));

	expect_ints(&c, ROUTE_SLOT_BT, (int[]){OUT, 1, OUT, 0, 2, OUT});
	expect_ints(&c, ROUTE_EXPERT_BT, (int[]){OUT, 1, OUT, 0, 1, 1});
	expect_reals(&c, ROUTE_GATE_BT, (double[]){0, p, 0, p, p, 0});
	expect_reals(&c, ROUTE_LOAD_E, (double[]){0.25, 0.75});
	expect_reals(&c, ROUTE_DROPPED, (double[]){1, 4});
	expect_reals(&c, ROUTE_BALANCE, (double[]){
		2 * (0.25 * (p + 3 * (1 - p)) / 4 + 0.75 * (3 * p + 1 - p) / 4)});
}

static void test_masked_tokens_take_no_capacity(void **state)
{
	(void)state;
	on_hosts(masks);
}

static void all_masked(struct arena *a, const struct device *d)
{
	const double *logits = wants(a, 4, 2, (int[]){1, 0, 1, 0});
	struct call c = route(a, d, 4, 2, 2, 1, logits, (double[]){-1, -1, -1, -1});

	expect_ints(&c, ROUTE_FIRST_E1, (int[]){0, 0, 0});
	expect_reals(&c, ROUTE_BALANCE, (double[]){0});
	expect_reals(&c, ROUTE_Z, (double[]){0});
	expect_reals(&c, ROUTE_ENTROPY, (double[]){0});
	expect_reals(&c, ROUTE_LOAD_E, (double[]){0, 0});
	expect_reals(&c, ROUTE_DROPPED, (double[]){0, 0});
}

static void test_no_token_at_all(void **state)
{
	(void)state;
	on_hosts(all_masked);
}

static void groups(struct arena *a, const struct device *d)
{
	const double *logits = wants(a, 8, 2, (int[]){1, 1, 1, 0,  0, 0, 1, 0});
	struct call c = route(a, d, 8, 2, 4, 2, logits, NULL);

	/* Sorted by expert, in an expert by token over both groups. */
	expect_ints(&c, ROUTE_FIRST_E1, (int[]){0, 3, 6});
	expect_ints(&c, ROUTE_SLOT_BT, (int[]){3, 4, OUT, 0, 1, 2, 5, OUT});
	expect_reals(&c, ROUTE_DROPPED, (double[]){2, 8});
}

static void test_capacity_is_per_group(void **state)
{
	(void)state;
	on_hosts(groups);
}

static void dropless(struct arena *a, const struct device *d)
{
	enum { N = 200 };
	int expert[N] = {0}, slot[N];

	for (int t = 0; t < N; t++)
		slot[t] = t;
	struct call c = route(a, d, N, 3, N / 2, 0, wants(a, N, 3, expert), NULL);
	expect_ints(&c, ROUTE_SLOT_BT, slot);
	expect_ints(&c, ROUTE_FIRST_E1, (int[]){0, N, N, N});
	expect_reals(&c, ROUTE_DROPPED, (double[]){0, N});
}

static void test_without_capacity_none_is_dropped(void **state)
{
	(void)state;
	on_hosts(dropless);
}

static void uniform(struct arena *a, const struct device *d)
{
	enum { N = 96, E = 4 };
	static const double flat[N * E];
	int expert[N];

	for (int t = 0; t < N; t++)
		expert[t] = t * 7 % E;
	struct call even = route(a, d, N, E, N, 0, wants(a, N, E, expert), NULL);
	struct call tied = route(a, d, N, E, N / 3, 0, flat, NULL);
	expect_reals(&even, ROUTE_BALANCE, (double[]){1});
	expect_reals(&tied, ROUTE_BALANCE, (double[]){1});
	expect_reals(&tied, ROUTE_Z, (double[]){log(E) * log(E)});
	expect_reals(&tied, ROUTE_ENTROPY, (double[]){log(E)});
	memset(expert, 0, sizeof expert);
	struct call one = route(a, d, N, E, N, 0, wants(a, N, E, expert), NULL);
	expect_reals(&one, ROUTE_BALANCE, (double[]){E * exp(2) / (exp(2) + 3)});
}

static void test_balance_is_1_at_uniform(void **state)
{
	(void)state;
	on_hosts(uniform);
}

/* Two valid tokens in the first group, three in the second; both groups weigh the same. */
static void means_of_groups(struct arena *a, const struct device *d)
{
	const double *logits = wants(a, 6, 2, (int[]){0, 1, 0, 0, 0, 0});
	struct call c = route(a, d, 6, 2, 3, 0, logits, (double[]){0, 0, -1, 0, 0, 0});

	expect_reals(&c, ROUTE_BALANCE, (double[]){(1 + 2 / (1 + exp(-2))) / 2});
}

static void test_losses_are_means_over_groups(void **state)
{
	(void)state;
	on_hosts(means_of_groups);
}

static void no_gradient(struct arena *a, const struct device *d)
{
	const double *logits = wants(a, 4, 2, (int[]){1, 1, 1, 1});
	struct call c = route(a, d, 4, 2, 4, 2, logits, (double[]){0, -1, 0, 0});

	backward(&c, ROUTE_GATE_BT, filled(a, d, tensor_of(MASTER, 2, 1L, 4L),
		(double[]){1, 1, 1, 1}));
	for (long i = 0; i < 8; i++) {
		bool kept = i / 2 == 0 || i / 2 == 2;
		assert_true((get(d, c.d_in[ROUTE_X_BTD], i) != 0) == kept);
	}
}

static void test_dropped_and_masked_tokens_pass_no_gradient(void **state)
{
	(void)state;
	on_hosts(no_gradient);
}

/* The layer. */
enum { N = 40, D = 5, E = 3, F = 6, O = 4 };

struct layer {
	struct call route, dispatch, experts, combine;
};

static double noise(long i)
{
	return sin(12.9898 * (double)(i + 1)) * 1.3;
}

static struct tensor *noisy(struct arena *a, const struct device *d, struct tensor shape, long salt)
{
	struct tensor *t = tensor_new(a, shape);

	for (long i = 0; i < tensor_size(t); i++)
		put(d, t, i, noise(salt + i));
	return t;
}

/* Forward and backward of the layer on random tokens, 2 groups, 5 rows an expert and group. */
static struct layer layer(struct arena *a, const struct device *d)
{
	static const struct route_attr routing = {N / 2, 5};
	static const struct experts_attr silu = {ACT_SILU};
	struct layer l;
	struct tensor *x = noisy(a, d, tensor_of(REAL, 3, 2L, (long)N / 2, (long)D), 0);

	l.route = call(a, &op_route, d, &routing, (struct tensor *[ROUTE_N_IN]){x,
		noisy(a, d, tensor_of(MASTER, 2, (long)E, (long)D), 1000)});
	struct tensor *slot = l.route.out[ROUTE_SLOT_BT], *first = l.route.out[ROUTE_FIRST_E1];
	l.dispatch = call(a, &op_dispatch, d, NULL, (struct tensor *[]){x, slot, first});
	l.experts = call(a, &op_experts, d, &silu, (struct tensor *[]){l.dispatch.out[0], first,
		noisy(a, d, tensor_of(REAL, 3, (long)E, (long)F, (long)D), 2000),
		noisy(a, d, tensor_of(REAL, 3, (long)E, (long)O, (long)F), 3000)});
	l.combine = call(a, &op_combine, d, NULL, (struct tensor *[]){l.experts.out[0], slot,
		l.route.out[ROUTE_GATE_BT]});
	backward(&l.combine, 0, noisy(a, d, tensor_of(REAL, 3, 2L, (long)N / 2, (long)O), 4000));
	backward(&l.experts, 0, l.combine.d_in[COMBINE_YE_SO]);
	backward(&l.dispatch, 0, l.experts.d_in[EXPERTS_XE_SD]);
	backward(&l.route, ROUTE_GATE_BT, l.combine.d_in[COMBINE_GATE_BT]);
	return l;
}

/* y of one token by the formula of the layer, without any buffer. */
static double formula(const struct device *d, const struct layer *l, long t, long o)
{
	const struct op_run *r = &l->experts.run;
	long e = (long)get(d, l->route.out[ROUTE_EXPERT_BT], t);
	double y = 0;

	for (long f = 0; f < F; f++) {
		double pre = 0;
		for (long i = 0; i < D; i++)
			pre += get(d, r->in[EXPERTS_W1_EFD], (e * F + f) * D + i) *
				get(d, l->route.run.in[ROUTE_X_BTD], t * D + i);
		y += get(d, r->in[EXPERTS_W2_EOF], (e * O + o) * F + f) * act_f64(ACT_SILU, pre);
	}
	return y * get(d, l->route.out[ROUTE_GATE_BT], t);
}

static void layer_with_drops(struct arena *a, const struct device *d)
{
	struct layer l = layer(a, d);
	long kept = (long)get(d, l.route.out[ROUTE_FIRST_E1], E), dropped = 0;
	const struct tensor *buffers[] = {l.dispatch.out[0], l.experts.out[0],
		l.combine.d_in[COMBINE_YE_SO], l.experts.d_in[EXPERTS_XE_SD]};

	for (long t = 0; t < N; t++) {
		bool slot = get(d, l.route.out[ROUTE_SLOT_BT], t) >= 0;
		dropped += !slot;
		for (long o = 0; o < O; o++)
			assert_true(fabs(get(d, l.combine.out[0], t * O + o) -
				(slot ? formula(d, &l, t, o) : 0)) < 1e-5);
		for (long i = 0; i < D && !slot; i++)
			assert_true(get(d, l.dispatch.d_in[DISPATCH_X_BTD], t * D + i) == 0);
	}
	assert_true(dropped > 0 && kept == N - dropped);
	for (int b = 0; b < 4; b++)
		for (long i = 0; i < tensor_size(buffers[b]); i++) {
			bool empty = i / tensor_width(buffers[b]) >= kept;
			assert_true(isnan(get(d, buffers[b], i)) == empty);
		}
}

static void test_layer_with_drops(void **state)
{
	(void)state;
	on_hosts(layer_with_drops);
}

static void expect_close(const struct call *ref, const struct call *cpu, int i)
{
	for (long k = 0; k < tensor_size(ref->d_in[i]); k++) {
		double u = get(&device_list[REF], ref->d_in[i], k),
			v = get(&device_list[CPU], cpu->d_in[i], k);
		if (!(fabs(u - v) < 1e-5 || (isnan(u) && isnan(v))))
			fail_msg("%s: gradient of %s[%ld] is %g on cpu, %g on ref",
				ref->run.op->name, ref->run.op->in[i].name, k, v, u);
	}
}

static void test_layer_gradients(void **state)
{
	struct arena a = {0};
	struct layer ref = layer(&a, &device_list[REF]), cpu = layer(&a, &device_list[CPU]);

	(void)state;
	expect_close(&ref.route, &cpu.route, ROUTE_X_BTD);
	expect_close(&ref.route, &cpu.route, ROUTE_W_ED);
	expect_close(&ref.dispatch, &cpu.dispatch, DISPATCH_X_BTD);
	expect_close(&ref.experts, &cpu.experts, EXPERTS_W1_EFD);
	expect_close(&ref.experts, &cpu.experts, EXPERTS_W2_EOF);
	expect_close(&ref.combine, &cpu.combine, COMBINE_GATE_BT);
	arena_release(&a);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ties_go_to_the_lowest_expert),
		cmocka_unit_test(test_later_tokens_are_dropped),
		cmocka_unit_test(test_masked_tokens_take_no_capacity),
		cmocka_unit_test(test_no_token_at_all),
		cmocka_unit_test(test_capacity_is_per_group),
		cmocka_unit_test(test_without_capacity_none_is_dropped),
		cmocka_unit_test(test_balance_is_1_at_uniform),
		cmocka_unit_test(test_losses_are_means_over_groups),
		cmocka_unit_test(test_dropped_and_masked_tokens_pass_no_gradient),
		cmocka_unit_test(test_layer_with_drops),
		cmocka_unit_test(test_layer_gradients),
	};

	(void)argc;
	blas_start(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
