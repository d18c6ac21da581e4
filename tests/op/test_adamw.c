/*
 * AdamW (Loshchilov and Hutter 2019), worked out here. test_ops sees that devices agree; this, that they agree on the
 * formula: a gradient is scaled down above the bound of its norm, and never up.
 */
#include "calls.h"

#include "op/adamw.h"

enum { N = 4 };
static const struct grad_norm_segment segments[] = {{0, 2, 0, true}, {2, N, 1, false}};
static const double w0[N] = {1, -2, 0.5, 4}, m0[N] = {0.5, 0, -0.25, 1}, v0[N] = {0.25, 1, 0.5, 2},
	g0[N] = {1, -0.5, 2, 0.25};

static void expect(const struct device *d, const struct tensor *t, long i, double is)
{
	double v = get(d, t, i);

	if (!(fabs(v - is) <= 1e-6 * fmax(fabs(is), 1e-3)))
		fail_msg("%s: %.9g, not %.9g", d->name, v, is);
}

/* A third step at the rate 0.01. factor: of the gradient, where its norm is that. */
static void check(struct arena *a, const struct device *d, double clip, double norm, double factor)
{
	const struct adamw_attr attr = {segments, ARRAY_SIZE(segments), 2, 0.9, 0.95, 1e-8, 0.1, clip};
	const struct tensor shape = tensor_of(MASTER, 1, (long)N);
	double updates[2] = {0}, weights[2] = {0}, c1 = 1 - pow(0.9, 3), c2 = 1 - pow(0.95, 3);
	struct tensor *in[ADAMW_N_IN] = {[ADAMW_W_N] = filled(a, d, shape, w0), [ADAMW_M_N] = filled(a, d, shape, m0),
		[ADAMW_V_N] = filled(a, d, shape, v0), [ADAMW_G_N] = filled(a, d, shape, g0),
		[ADAMW_NORM] = filled(a, d, tensor_of(MASTER, 1, 1L), &norm)};

	call_state = (struct step_state){.step = 2, .lr = 0.01, .correction1 = c1, .correction2 = c2};
	struct call c = call(a, &op_adamw, d, &attr, in);
	for (long i = 0; i < N; i++) {
		double g = factor * g0[i], m = 0.9 * m0[i] + 0.1 * g, v = 0.95 * v0[i] + 0.05 * g * g;
		double update = 0.01 * (m / c1 / (sqrt(v / c2) + 1e-8) + (i < 2 ? 0.1 * w0[i] : 0));
		expect(d, in[ADAMW_M_N], i, m);
		expect(d, in[ADAMW_V_N], i, v);
		expect(d, in[ADAMW_W_N], i, w0[i] - update);
		updates[i / 2] += update * update;
		weights[i / 2] += (w0[i] - update) * (w0[i] - update);
	}
	for (long i = 0; i < 2; i++) {
		expect(d, c.out[ADAMW_UPDATESQ_G], i, updates[i]);
		expect(d, c.out[ADAMW_WEIGHTSQ_G], i, weights[i]);
	}
}

static void check_all(struct arena *a, const struct device *d)
{
	check(a, d, 0.5, 2, 0.25);
	check(a, d, 0.5, 0.25, 1);
	check(a, d, 0.5, 0.5, 1);
	check(a, d, 0, 2, 1);
}

static void test_update(void **state)
{
	(void)state;
	on_devices(check_all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_update)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
