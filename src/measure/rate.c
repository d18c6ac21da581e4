#include "measure/rate.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/rng.h"
#include "measure/median.h"
#include "measure/rate_gpu.h"
#include "op/kit/gemm.h"

enum { ROWS = 2048, INNER = 1024, OUTER = 2048, TRIES = 5 };

/* Memory that is touched, so that pages exist before the clock runs. */
static float *filled(long n)
{
	float *x = xmalloc(sizeof *x * (size_t)n);

	#pragma omp parallel for schedule(static)
	for (long i = 0; i < n; i++)
		x[i] = (float)(i % 13) - 6;
	return x;
}

static double host_gemm(void)
{
	double floats = (double)ROWS * INNER + (double)OUTER * INNER + (double)ROWS * OUTER;
	double best = 1e9, flops = 2.0 * ROWS * OUTER * INNER;
	float *a, *b, *c;

	cpu_check_space(floats * sizeof *a);
	a = filled((long)ROWS * INNER);
	b = filled((long)OUTER * INNER);
	c = filled((long)ROWS * OUTER);

	for (int i = 0; i < TRIES; i++) {
		double start = clock_s(), seconds;
		gemm_tiled(GEMM_N, GEMM_T, ROWS, OUTER, INNER, 1, a, INNER, b, INNER, 0, c, OUTER);
		seconds = clock_s() - start;
		best = i && seconds < best ? seconds : best;
	}
	free(a);
	free(b);
	free(c);
	return flops / best;
}

double rate_gemm(const struct device *d)
{
	return device_is_host(d) ? host_gemm() : rate_gemm_gpu(d);
}

double rate_expected(double gemm)
{
	const double usual_share = 0.3;

	return usual_share * gemm;
}

struct small {
	long rows, inner, outer;
	float *w;
};

/* y = x w^T, dx = y w, dw = y^T x. */
static void small_products(const struct small *s, const float *x, float *y, float *dx, float *dw)
{
	gemm(GEMM_N, GEMM_T, s->rows, s->outer, s->inner, 1, x, s->inner, s->w, s->inner, 0, y, s->outer);
	gemm(GEMM_N, GEMM_N, s->rows, s->inner, s->outer, 1, y, s->outer, s->w, s->inner, 0, dx, s->inner);
	gemm(GEMM_T, GEMM_N, s->outer, s->inner, s->rows, 1, y, s->outer, x, s->inner, 0, dw, s->inner);
}

double rate_gemm_rows(long rows, long inner, long outer)
{
	enum { PRODUCTS = 32 };
	long most = 256;	/* rows of a product in the operator, too */
	struct small s = {rows < most ? rows : most, inner, outer, filled(inner * outer)};
	float *x = filled(PRODUCTS * s.rows * inner), *y = filled(PRODUCTS * s.rows * outer);
	float *dx = filled(PRODUCTS * s.rows * inner), *dw = filled(PRODUCTS * inner * outer);
	double best = 1e9, flops = 6.0 * PRODUCTS * (double)(s.rows * inner * outer);

	for (int i = 0; i < TRIES; i++) {
		double start = clock_s(), seconds;
		#pragma omp parallel for schedule(static)
		for (long p = 0; p < PRODUCTS; p++)
			small_products(&s, x + p * s.rows * inner, y + p * s.rows * outer,
				dx + p * s.rows * inner, dw + p * inner * outer);
		seconds = clock_s() - start;
		best = i && seconds < best ? seconds : best;
	}
	free(s.w);
	free(x);
	free(y);
	free(dx);
	free(dw);
	return flops / best;
}

static double host_copy(void)
{
	long n = 1L << 24;
	float *a = filled(n), *b = filled(n);
	double best = 1e9;

	for (int i = 0; i < TRIES; i++) {
		double start = clock_s(), seconds;
		#pragma omp parallel for schedule(static)
		for (long k = 0; k < n; k++)
			b[k] = a[k];
		seconds = clock_s() - start;
		best = i && seconds < best ? seconds : best;
	}
	free(a);
	free(b);
	return 2.0 * 4.0 * (double)n / best;
}

double rate_copy(const struct device *d)
{
	return device_is_host(d) ? host_copy() : rate_copy_gpu(d);
}

int rate_tokens(void *from, long step, long micro, int *tokens_BT, int *targets_BT)
{
	const struct setup *s = from;
	struct rng_key key = {1, (uint64_t)micro, (uint32_t)step};

	for (long i = 0; i < s->spec.micro_batch * s->spec.context; i++) {
		struct rng_block b = rng_block(key, (uint64_t)i);
		tokens_BT[i] = (int)(b.word[0] % (uint32_t)s->n_vocab);
		targets_BT[i] = (int)(b.word[1] % (uint32_t)s->n_vocab);
	}
	return 0;
}

int rate_warm_up(const struct device *d)
{
	return device_is_host(d) ? 1 : 2;
}

double rate_train(struct setup *s, int n)
{
	size_t tokens = (size_t)(s->spec.micro_batch * s->spec.context);
	struct step_input in = {.read = rate_tokens, .from = s,
		.tokens_BT = xcalloc(tokens, sizeof(int)), .targets_BT = xcalloc(tokens, sizeof(int))};
	int warm = rate_warm_up(s->device);
	double *seconds = xcalloc((size_t)(n + warm), sizeof *seconds), median;
	struct step_result r;

	for (int i = 0; i < n + warm; i++) {
		double start = clock_s();
		setup_step(s, i, &in, &r);
		seconds[i] = clock_s() - start;
	}
	median = median_of(seconds + warm, n);
	free(in.tokens_BT);
	free(in.targets_BT);
	free(seconds);
	return (double)(s->spec.batch * s->spec.context) / median;
}
