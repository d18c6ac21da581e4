/*
 * Random numbers of routers: their distributions; a function of seed, stream, step and place in the step,
 * whatever the micro-batches; the same bits on all devices.
 */
#include "calls.h"
#include "op/jitter.h"
#include "op/noise.h"

enum { T = 500, E = 24, N = T * E };

static const struct noise_attr normal = {NOISE_NORMAL, 2, 7}, gumbel = {NOISE_GUMBEL, 1, 8};
static const struct jitter_attr jitter = {0.5, 9};

/* Noise of t tokens on logits that are all `logit`, read back. */
static void noise_of(const struct device *d, const struct noise_attr *attr, long t, double logit, double *out)
{
	struct arena a = {0};
	double *in = ARENA_ARRAY(&a, double, N);

	for (long i = 0; i < t * E; i++)
		in[i] = logit;
	struct call c = call(&a, &op_noise, d, attr,
		(struct tensor *[NOISE_N_IN]){filled(&a, d, tensor_of(MASTER, 3, 1L, t, (long)E), in)});
	for (long i = 0; i < t * E; i++)
		out[i] = get(d, c.out[0], i);
	memory_release();
	arena_release(&a);
}

/* Mean and variance of n values within five standard errors of what they should be. */
static void expect_moments(const double *x, long n, double mean, double var)
{
	double sum = 0, square = 0;

	for (long i = 0; i < n; i++)
		sum += x[i];
	for (long i = 0; i < n; i++)
		square += (x[i] - mean) * (x[i] - mean);
	if (!(fabs(sum / (double)n - mean) < 5 * sqrt(var / (double)n)))
		fail_msg("mean %.4g, expected %.4g", sum / (double)n, mean);
	if (!(fabs(square / (double)n / var - 1) < 5 * sqrt(5 / (double)n)))
		fail_msg("variance %.4g, expected %.4g", square / (double)n, var);
}

static void test_distributions(void **state)
{
	static double x[N];

	(void)state;
	call_state = (struct step_state){.step = 5, .seed = 42};
	noise_of(&device_list[REF], &normal, T, 3, x);
	expect_moments(x, N, 3, 4);
	noise_of(&device_list[REF], &gumbel, T, 0, x);
	expect_moments(x, N, 0.57721566, M_PI * M_PI / 6);
}

/* The best of logit + Gumbel is a draw from softmax(logit). */
static void test_gumbel_draws_by_score(void **state)
{
	struct arena a = {0};
	double logit[N], drawn[E] = {0}, sum = 0;

	(void)state;
	for (int e = 0; e < E; e++)
		sum += exp(0.1 * e);
	for (int i = 0; i < N; i++)
		logit[i] = 0.1 * (i % E);
	struct call c = call(&a, &op_noise, &device_list[CPU], &gumbel,
		(struct tensor *[NOISE_N_IN]){filled(&a, &device_list[CPU], tensor_of(MASTER, 3, 1L, (long)T,
		(long)E), logit)});
	for (int t = 0; t < T; t++) {
		int best = 0;
		for (int e = 1; e < E; e++)
			if (row_f32(c.out[0], t)[e] > row_f32(c.out[0], t)[best])
				best = e;
		drawn[best]++;
	}
	for (int e = 0; e < E; e++) {
		double p = exp(0.1 * e) / sum;
		assert_true(fabs(drawn[e] - T * p) < 5 * sqrt(T * p));
	}
	memory_release();
	arena_release(&a);
}

/* Equal values of two lists. */
static int same(const double *x, const double *y, long n)
{
	int equal = 0;

	for (long i = 0; i < n; i++)
		equal += x[i] == y[i];
	return equal;
}

static void test_keys(void **state)
{
	static double x[N], y[N];
	const struct noise_attr other = {NOISE_NORMAL, 2, 70};
	const struct device *d = &device_list[CPU];

	(void)state;
	call_state = (struct step_state){.step = 5, .seed = 42};
	noise_of(d, &normal, T, 0, x);
	noise_of(d, &normal, T, 0, y);
	assert_int_equal(same(x, y, N), N);
	noise_of(d, &other, T, 0, y);
	assert_int_equal(same(x, y, N), 0);
	call_state.step++;
	noise_of(d, &normal, T, 0, y);
	assert_int_equal(same(x, y, N), 0);
	call_state = (struct step_state){.step = 5, .seed = 43};
	noise_of(d, &normal, T, 0, y);
	assert_int_equal(same(x, y, N), 0);
	/* The fifth part of the step, by itself. */
	call_state = (struct step_state){.step = 5, .seed = 42, .micro = 4};
	noise_of(d, &normal, T / 5, 0, y);
	assert_int_equal(same(x + 4 * N / 5, y, N / 5), N / 5);
}

static void like_cpu(struct arena *a, const struct device *d)
{
	static double x[N], y[N];

	(void)a;
	if (d->id == REF)
		return;
	call_state = (struct step_state){.step = 1234567, .seed = 42};
	for (int k = 0; k < 2; k++) {
		noise_of(&device_list[CPU], k ? &gumbel : &normal, 20, 0.25, x);
		noise_of(d, k ? &gumbel : &normal, 20, 0.25, y);
		assert_int_equal(same(x, y, 20 * E), 20 * E);
	}
}

static void test_same_bits_on_all_devices(void **state)
{
	(void)state;
	on_devices(like_cpu);
}

/* Factors in (0.5, 1.5), evenly; those of backward are those of forward. */
static void jittered(struct arena *a, const struct device *d)
{
	enum { WIDTH = 30, TOKENS = 40, ALL = WIDTH * TOKENS };
	double ones[ALL], y[ALL];

	for (int i = 0; i < ALL; i++)
		ones[i] = 1;
	struct tensor shape = tensor_of(REAL, 3, 2L, TOKENS / 2L, (long)WIDTH), *x = filled(a, d, shape, ones);
	struct call c = call(a, &op_jitter, d, &jitter, (struct tensor *[]){x});
	backward(&c, 0, x);
	for (int i = 0; i < ALL; i++) {
		y[i] = get(d, c.out[0], i);
		assert_true(fabs(y[i] - 1) <= 0.5 && y[i] == get(d, c.d_in[0], i));
	}
	expect_moments(y, ALL, 1, 0.25 / 3);
}

static void test_jitter(void **state)
{
	(void)state;
	call_state = (struct step_state){.step = 5, .seed = 42};
	on_devices(jittered);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_distributions),
		cmocka_unit_test(test_gumbel_draws_by_score),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_same_bits_on_all_devices),
		cmocka_unit_test(test_jitter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
