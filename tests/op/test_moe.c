/*
 * The layer of a mixture as a whole (route, dispatch, experts, combine), on all devices that are
 * there: where tokens are dropped and where none are, so that rows of its buffer stay empty.
 */
#include "base/cpu.h"
#include "calls.h"
#include "op/combine.h"
#include "op/dispatch.h"
#include "op/experts.h"

enum { D = 5, E = 3, F = 6, O = 4 };

/* n tokens in two groups, of each of which an expert takes `capacity`; widths times `wide`. */
struct layer_case {
	long n, capacity, wide;
};

/* With drops; without, where a GPU's segments have any length; the same in widths for tensor
   cores. */
static const struct layer_case layer_cases[] = {{40, 5, 1}, {300, 0, 1}, {304, 0, 8}};

struct layer {
	struct call route, dispatch, experts, combine;
};

static void layer_forward(struct arena *a, const struct device *d, const struct layer_case *c,
	struct layer *l)
{
	static const struct experts_attr silu = {.fn = ACT_SILU};
	struct route_attr *routing = ARENA_NEW(a, struct route_attr);
	struct tensor *x = noisy(a, d, tensor_of(REAL, 3, 2L, c->n / 2, D * c->wide), 0);

	struct tensor *w = noisy(a, d, tensor_of(MASTER, 2, (long)E, D * c->wide), 10000);

	/* The router is float32 on all devices; choices are close whatever the width. */
	for (long i = 0; i < tensor_size(w); i++)
		put(d, w, i, (noise(10000 + i) + 1e-3 * noise(i)) / (double)c->wide);
	*routing = (struct route_attr){c->n / 2, c->capacity};
	l->route = call(a, &op_route, d, routing, (struct tensor *[ROUTE_N_IN]){x, w});
	struct tensor *slot = l->route.out[ROUTE_SLOT_BT], *first = l->route.out[ROUTE_FIRST_E1],
		*token = l->route.out[ROUTE_TOKEN_S];
	l->dispatch = call(a, &op_dispatch, d, NULL, (struct tensor *[]){x, slot, first, token});
	l->experts = call(a, &op_experts, d, &silu, (struct tensor *[]){l->dispatch.out[0], first,
		noisy(a, d, tensor_of(REAL, 3, (long)E, F * c->wide, D * c->wide), 20000),
		noisy(a, d, tensor_of(REAL, 3, (long)E, O * c->wide, F * c->wide), 30000)});
	l->combine = call(a, &op_combine, d, NULL, (struct tensor *[]){l->experts.out[0], slot,
		l->route.out[ROUTE_GATE_BT], first, token});
}

/* Forward and backward of the layer on random tokens. */
static struct layer layer(struct arena *a, const struct device *d, const struct layer_case *c)
{
	struct layer l;

	layer_forward(a, d, c, &l);
	backward(&l.combine, 0, noisy(a, d, tensor_of(REAL, 3, 2L, c->n / 2, O * c->wide), 40000));
	backward(&l.experts, 0, l.combine.d_in[COMBINE_YE_SO]);
	backward(&l.dispatch, 0, l.experts.d_in[EXPERTS_XE_SD]);
	backward(&l.route, ROUTE_GATE_BT, l.combine.d_in[COMBINE_GATE_BTK]);
	return l;
}

/* y of one token by the formula of the layer, without any buffer. */
static double formula(const struct device *d, const struct layer *l, long t, long o)
{
	const struct op_run *r = &l->experts.run;
	const struct tensor *w1 = r->in[EXPERTS_W1_EHD], *w2 = r->in[EXPERTS_W2_EOF];
	long e = (long)get(d, l->route.out[ROUTE_EXPERT_BT], t);
	double y = 0;

	for (long f = 0; f < w1->dims[1]; f++) {
		double pre = 0;
		for (long i = 0; i < w1->dims[2]; i++)
			pre += get(d, w1, (e * w1->dims[1] + f) * w1->dims[2] + i) *
				get(d, l->route.run.in[ROUTE_X_BTD], t * w1->dims[2] + i);
		y += get(d, w2, (e * w2->dims[1] + o) * w2->dims[2] + f) * act_f64(ACT_SILU, pre);
	}
	return y * get(d, l->route.out[ROUTE_GATE_BT], t);
}

/* Of what the layer makes of exact values, in L2: f32 rounds to 24 bits, bf16 to eight. */
static double limit(const struct device *d)
{
	return d->bytes[REAL] == 2 ? 2e-2 : 1e-4;
}

/* y, and dx of dropped tokens; returns how many these are. */
static long check_tokens(const struct device *d, const struct layer *l)
{
	const struct tensor *y = l->combine.out[0], *dx = l->dispatch.d_in[DISPATCH_X_BTD];
	double error = 0, size = 0;
	long dropped = 0;

	for (long t = 0; t < tensor_rows(y); t++) {
		bool slot = get(d, l->route.out[ROUTE_SLOT_BT], t) >= 0;
		dropped += !slot;
		for (long o = 0; o < tensor_width(y); o += 3) {
			double v = slot ? formula(d, l, t, o) : 0;
			error += pow(get(d, y, t * tensor_width(y) + o) - v, 2);
			size += v * v;
		}
		for (long i = 0; i < tensor_width(dx) && !slot; i++)
			assert_true(get(d, dx, t * tensor_width(dx) + i) == 0);
	}
	assert_true(sqrt(error / size) <= limit(d));
	return dropped;
}

/* Rows without a token: 0 in x and dy of the experts up to the last segment's end, behind it
   untouched. */
static void check_rows(const struct device *d, const struct layer *l, long kept)
{
	const struct tensor *buffers[] = {l->dispatch.out[0], l->combine.d_in[COMBINE_YE_SO],
		l->experts.out[0], l->experts.d_in[EXPERTS_XE_SD]};
	const struct tensor *token = l->route.out[ROUTE_TOKEN_S];
	long end = (long)get(d, l->route.out[ROUTE_FIRST_E1], E), filled = 0;

	for (long s = 0; s < tensor_size(token); s++) {
		bool full = get(d, token, s) >= 0;
		filled += full;
		for (int b = 0; b < 4; b++) {
			double v = get(d, buffers[b], s * tensor_width(buffers[b]));
			assert_true(isnan(v) == (s >= end));
			assert_true(full || s >= end || v == 0);
		}
	}
	assert_int_equal(filled, kept);
}

static void check_layer(struct arena *a, const struct device *d)
{
	for (size_t k = 0; k < ARRAY_SIZE(layer_cases); k++) {
		struct layer l = layer(a, d, &layer_cases[k]);
		long dropped = check_tokens(d, &l);
		assert_true((dropped > 0) == (layer_cases[k].capacity > 0));
		check_rows(d, &l, layer_cases[k].n - dropped);
	}
}

static void test_layer(void **state)
{
	(void)state;
	on_devices(check_layer);
}

/* A gradient's elements. */
static double *values(struct arena *a, const struct call *c, int i)
{
	double *list = ARENA_ARRAY(a, double, tensor_size(c->d_in[i]));

	for (long k = 0; k < tensor_size(c->d_in[i]); k++)
		list[k] = get(c->run.device, c->d_in[i], k);
	return list;
}

static void expect_close(struct arena *a, const struct call *ref, const struct call *c, int i)
{
	const double *u = values(a, ref, i), *v = values(a, c, i);
	double error = 0, size = 0;

	for (long k = 0; k < tensor_size(ref->d_in[i]); k++) {
		error += pow(u[k] - v[k], 2);
		size += u[k] * u[k];
	}
	if (!(sqrt(error / size) <= 2 * limit(c->run.device)))
		fail_msg("%s: gradient of %s on %s: error %g", c->run.op->name,
			c->run.op->in[i].name, c->run.device->name, sqrt(error / size));
}

/* Gates are float32 of exact x on every device. */
static void expect_gates(const struct call *ref, const struct call *c)
{
	const struct tensor *gate = c->out[ROUTE_GATE_BT];

	for (long t = 0; t < tensor_size(gate); t++)
		assert_true(fabs(get(c->run.device, gate, t) -
			get(ref->run.device, ref->out[ROUTE_GATE_BT], t)) < 2e-6);
}

static void compare_gradients(struct arena *a, const struct device *d)
{
	for (size_t k = 0; k < ARRAY_SIZE(layer_cases); k++) {
		struct layer l = layer(a, d, &layer_cases[k]),
			ref = layer(a, &device_list[REF], &layer_cases[k]);
		expect_gates(&ref.route, &l.route);
		expect_close(a, &ref.route, &l.route, ROUTE_X_BTD);
		expect_close(a, &ref.route, &l.route, ROUTE_W_ED);
		expect_close(a, &ref.dispatch, &l.dispatch, DISPATCH_X_BTD);
		expect_close(a, &ref.experts, &l.experts, EXPERTS_W1_EHD);
		expect_close(a, &ref.experts, &l.experts, EXPERTS_W2_EOF);
		expect_close(a, &ref.combine, &l.combine, COMBINE_GATE_BTK);
		memory_release();
	}
}

static void test_layer_gradients(void **state)
{
	(void)state;
	on_devices(compare_gradients);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layer),
		cmocka_unit_test(test_layer_gradients),
	};

	(void)argc;
	blas_start(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
