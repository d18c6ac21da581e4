/* The elementary functions of op/kit/vec.h and op/kit/lanes.h against the C library's in float64. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "op/kit/lanes.h"
#include "op/kit/vec.h"

enum { POINTS = 20011 };

typedef float float_fn(float x);
typedef double double_fn(double x);

/* Largest relative error on POINTS points from low to high. */
static double error_of(float_fn *f, double_fn *exact, double low, double high)
{
	double most = 0;

	for (int i = 0; i < POINTS; i++) {
		float x = (float)(low + (high - low) * i / (POINTS - 1));
		double e = fabs(f(x) / exact(x) - 1);
		if (!(e <= most))
			most = e;
	}
	return most;
}

static double sigmoid(double x)
{
	return 1 / (1 + exp(-x));
}

static double softplus(double x)
{
	return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

static float first_exp2(float x)
{
	return lanes_exp2((lanes){0} + x)[0];
}

static void test_accuracy(void **state)
{
	(void)state;
	assert_true(error_of(vec_exp, exp, -87.2, 88.2) < 2e-7);
	assert_true(error_of(vec_sigmoid, sigmoid, -80, 80) < 4e-7);
	assert_true(error_of(vec_log1p_unit, log1p, 1e-30, 1) < 2e-7);
	assert_true(error_of(vec_softplus, softplus, -80, 80) < 3e-7);
	assert_true(error_of(first_exp2, exp2, -99.5, 0) < 2e-7);
}

/* exp with its clamps as comparisons and 2^n as a product. */
static float exp_by_product(float x)
{
	float n, r, p = 8.312501338e-3f;

	x = x < -87.3f ? -87.3f : x;
	x = x > 88.3f ? 88.3f : x;
	n = fmaf(x, 1.44269504088896341f, 0x1.8p23f) - 0x1.8p23f;
	r = fmaf(n, 2.12194440e-4f, fmaf(n, -0.693359375f, x));
	p = fmaf(fmaf(fmaf(p, r, 4.189033153e-2f), r, 1.666711539e-1f), r, 4.999923031e-1f);
	p = fmaf(fmaf(p, r, 1.0f), r, 1.0f);
	return isnan(x) ? x : p * exp2f(n);
}

static void assert_exp_bits(uint32_t bits)
{
	float x = vec_of_bits(bits);

	if (vec_bits(vec_exp(x)) != vec_bits(exp_by_product(x)))
		fail_msg("exp(%a = %08x): %a, not %a", x, bits, vec_exp(x), exp_by_product(x));
}

/* The tricks with bits change none: floats of all sizes and signs, infinities, NaNs with their
   payload, and what lies next to the clamps. */
static void test_exp_bits(void **state)
{
	const uint32_t edges[] = {0, vec_bits(88.3f), vec_bits(-87.3f), vec_bits(INFINITY),
		vec_bits(-INFINITY), 0x80000000, 0x7fc00000, 0xffc00000, 0x7fc00001, 0xffd55555, 0x7fffffff};

	(void)state;
	for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 509)
		assert_exp_bits((uint32_t)bits);
	for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++)
		for (uint32_t k = 0; k < 64; k++)
			assert_exp_bits(edges[i] + k - 32);
}

static void test_limits(void **state)
{
	(void)state;
	assert_true(vec_exp(-1e30f) == vec_exp(-87.3f) && isnormal(vec_exp(-87.3f)));
	assert_true(vec_exp(INFINITY) == vec_exp(88.3f) && isnormal(vec_exp(88.3f)));
	assert_true(vec_sigmoid(200) == 1 && vec_softplus(200) == 200);
	assert_true(first_exp2(0) == 1 && first_exp2(-INFINITY) == 0x1p-100f);
	assert_true(isnan(vec_exp(NAN)) && isnan(vec_sigmoid(NAN)) && isnan(vec_softplus(NAN)));
	assert_true(isnan(first_exp2(NAN)));
}

static void test_lanes(void **state)
{
	float x[4][LANES], sum[4], part[LANES + 1] = {0};

	(void)state;
	for (int k = 0; k < 4; k++)
		for (int i = 0; i < LANES; i++)
			x[k][i] = (float)((k + 1) * (i + 1));
	lanes_sum4(sum, x);
	for (int k = 0; k < 4; k++)
		assert_true(sum[k] == (float)((k + 1) * LANES * (LANES + 1) / 2));
	lanes_store_part(part, lanes_load(x[0]), 3);
	assert_true(part[2] == 3 && part[3] == 0);
	assert_true(lanes_load_part(x[0], 2)[1] == 2 && lanes_load_part(x[0], 2)[2] == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accuracy),
		cmocka_unit_test(test_exp_bits),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_lanes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
