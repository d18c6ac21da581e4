/* Initial values: the generator against published answers, the distributions against theirs. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/rng.h"
#include "op/fill.h"

enum { ROWS = 250, WIDTH = 800, N = ROWS * WIDTH };

/* Values of one fill on the cpu; the caller frees. */
static float *filled(struct fill_attr attr, long rows, long width)
{
	struct tensor w = tensor_of(MASTER, 2, rows, width), done;
	struct step_state state = {.seed = 42};
	struct op_shapes s = {.device = &device_list[CPU], .attr = &attr, .in = {&w}};
	struct op_run r = {.op = &op_fill, .device = s.device, .attr = &attr, .state = &state};
	int zero = -1;

	op_infer(&op_fill, &s);
	done = s.out[FILL_DONE];
	done.at = &zero;
	w.at = xmalloc((size_t)(rows * width) * sizeof(float));
	memset(w.at, 0xff, (size_t)(rows * width) * sizeof(float));
	r.in[FILL_W] = &w;
	r.out[FILL_DONE] = &done;
	op_fill.forward[CPU](&r);
	assert_int_equal(zero, 0);
	return w.at;
}

static int by_value(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static double normal_cdf(double x)
{
	return 0.5 * erfc(-x / sqrt(2));
}

static double truncated_cdf(double x, const struct fill_attr *attr)
{
	double low = normal_cdf(-attr->b / attr->a), high = normal_cdf(attr->b / attr->a);

	return (normal_cdf(x / attr->a) - low) / (high - low);
}

static double uniform_cdf(double x, const struct fill_attr *attr)
{
	return (x - attr->a) / (attr->b - attr->a);
}

static double log_uniform_cdf(double x, const struct fill_attr *attr)
{
	return (log(x) - log(attr->a)) / (log(attr->b) - log(attr->a));
}

/* Kolmogorov and Smirnov: values further from the distribution than 1 sample in 1000 would be. */
static void assert_distribution(float *x, long n,
	double (*cdf)(double x, const struct fill_attr *attr), const struct fill_attr *attr)
{
	double worst = 0;

	qsort(x, (size_t)n, sizeof *x, by_value);
	for (long i = 0; i < n; i++) {
		double p = cdf(x[i], attr);
		worst = fmax(worst, fmax(fabs(p - (double)i / (double)n),
			fabs(p - (double)(i + 1) / (double)n)));
	}
	if (!(worst * sqrt((double)n) < 1.95))
		fail_msg("Kolmogorov-Smirnov statistic %.3g of %ld values", worst, n);
}

static void test_philox(void **state)
{
	static const struct {
		struct rng_block counter;
		uint32_t key[2];
		struct rng_block answer;
	} known[] = {	/* kat_vectors of Random123, philox4x32 10 */
		{{{0, 0, 0, 0}}, {0, 0}, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}},
		{{{~0u, ~0u, ~0u, ~0u}}, {~0u, ~0u},
			{{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}},
		{{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, {0xa4093822, 0x299f31d0},
			{{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		struct rng_block b = rng_philox(known[i].counter, known[i].key[0], known[i].key[1]);
		assert_memory_equal(&b, &known[i].answer, sizeof b);
	}
}

static void test_normal(void **state)
{
	static const double cut[] = {0.5, 2, INFINITY};	/* standard deviations */

	(void)state;
	for (size_t c = 0; c < ARRAY_SIZE(cut); c++) {
		struct fill_attr attr = {FILL_NORMAL, 0.02, 0.02 * cut[c], ROWS, 77};
		float *x = filled(attr, ROWS, WIDTH);
		double sum = 0, square = 0, density = exp(-cut[c] * cut[c] / 2) / sqrt(2 * M_PI);
		double inside = 1 - 2 * normal_cdf(-cut[c]);
		double tail = isinf(cut[c]) ? 0 : 2 * cut[c] * density / inside;
		double deviation = 0.02 * sqrt(1 - tail);
		for (long i = 0; i < N; i++) {
			assert_true(fabs(x[i]) <= attr.b * (1 + 1e-7));
			sum += x[i];
			square += (double)x[i] * x[i];
		}
		assert_true(fabs(sum / N) < 4 * deviation / sqrt(N));
		assert_true(fabs(sqrt(square / N) / deviation - 1) < 4 / sqrt(2.0 * N));
		assert_distribution(x, N, truncated_cdf, &attr);
		free(x);
	}
}

static void test_uniform(void **state)
{
	struct fill_attr attr = {FILL_UNIFORM, -0.3, 0.1, ROWS, 78};
	float *x = filled(attr, ROWS, WIDTH);

	(void)state;
	for (long i = 0; i < N; i++)
		assert_true(x[i] >= (float)attr.a && x[i] <= (float)attr.b);
	assert_distribution(x, N, uniform_cdf, &attr);
	free(x);
}

/* softplus brings back dt, log-uniform in [a, b]. */
static void test_dt_bias(void **state)
{
	struct fill_attr attr = {FILL_DT_BIAS, 1e-3, 0.1, ROWS, 79};
	struct fill_attr tiny = {FILL_DT_BIAS, 1e-6, 1e-5, 1, 79};
	float *x = filled(attr, ROWS, WIDTH), *y = filled(tiny, 1, WIDTH);

	(void)state;
	for (long i = 0; i < N; i++)
		x[i] = (float)log1p(exp(x[i]));
	assert_distribution(x, N, log_uniform_cdf, &attr);
	for (long i = 0; i < WIDTH; i++)
		assert_true(fabs(log1p(exp(y[i])) / 1e-4 - 1) < 1e-5);
	free(x);
	free(y);
}

static void test_fixed_values(void **state)
{
	struct fill_attr one = {FILL_CONSTANT, 1, 0, 2, 80}, a_log = {FILL_A_LOG, 0, 0, 3, 81};
	float *x = filled(one, 3, 16), *y = filled(a_log, 3, 16);

	(void)state;
	for (long i = 0; i < 3 * 16; i++) {
		assert_true(x[i] == (i < 2 * 16 ? 1 : 0));
		assert_true(y[i] == (float)log((double)(i % 16) + 1));
	}
	free(x);
	free(y);
}

/* An element depends on its number and the stream; padding and shape change nothing. */
static void test_keys(void **state)
{
	struct fill_attr attr = {FILL_NORMAL, 1, 2, 6, 82};
	float *x = filled(attr, 8, 32), *y, *z;
	int equal = 0;

	(void)state;
	attr.used_rows = 12;
	y = filled(attr, 12, 16);
	attr.stream++;
	z = filled(attr, 12, 16);
	for (long i = 0; i < 8 * 32; i++) {
		assert_true(i < 6 * 32 ? x[i] == y[i] : x[i] == 0);
		equal += i < 6 * 32 && y[i] == z[i];
	}
	assert_int_equal(equal, 0);
	free(x);
	free(y);
	free(z);
}

/* Weights that runs begin with must not change: element 12 takes six draws, element 52 eleven. */
static void test_golden(void **state)
{
	static const struct {
		int element;
		double value;
	} golden[] = {{0, 0.287716091}, {2, 0.0317225978}, {12, -0.037793614}, {52, 0.38991493}};
	struct fill_attr attr = {FILL_NORMAL, 1, 0.5, 1, 82};
	float *x = filled(attr, 1, 60);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(golden); i++)
		assert_true(fabs(x[golden[i].element] / golden[i].value - 1) < 3e-7);
	free(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_philox),
		cmocka_unit_test(test_normal),
		cmocka_unit_test(test_uniform),
		cmocka_unit_test(test_dt_bias),
		cmocka_unit_test(test_fixed_values),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_golden),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
