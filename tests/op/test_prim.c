/*
 * The instructions of op/cuda/prim.cuh and the collectives of a warp do what the emulator says: on the
 * emulator here, on the GPU itself in a program with CUDA.
 */
#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "gpu_memory.h"
#include "prim_kernels.h"

static void *stream(void)
{
	return gpu_queue()->stream;
}

/* ---- numbers -------------------------------------------------------------------------------- */

/* x in bf16: nearest, ties to even. */
static float rounded(float x)
{
	int exponent;
	double f = frexp(x, &exponent);

	if (x == 0 || !isfinite(x))
		return x;
	return (float)ldexp(nearbyint(f * 0x1p8), exponent - 8);
}

static void check_number(float x, const float *y)
{
	double power = exp2(x);

	if (isnan(x)) {
		for (int k = 0; k < N_NUMBERS; k++)
			assert_true(isnan(y[k]));
		return;
	}
	if (power < 0x1p-126)
		assert_true(y[0] == 0);
	else if (power < 0x1p127)
		assert_true(fabs(y[0] / power - 1) < 3e-7);
	else
		assert_true(isinf(y[0]));
	assert_true(y[1] == rounded(x));
}

static void test_numbers(void **state)
{
	static const float from[] = {0, 1, -1, 0.5f, 3.14159265f, -126, -127, -150, 126, 200, 0.7f,
		1.0f + 0x1p-8f, 1.0f + 3 * 0x1p-8f, 1.0f + 0x1p-8f + 0x1p-20f, -(1.0f + 0x1p-8f),
		1.0f + 0x1p-11f, 1.0f + 3 * 0x1p-11f, 1.0f + 0x1p-11f - 0x1p-20f, 0x1.fffp3f,
		-1e-5f, 1e30f, -1e30f, INFINITY, NAN, 1.999999f, 1.0000001f, 0x1p-100f};
	enum { N = ARRAY_SIZE(from) };
	float to[N * N_NUMBERS], *at;

	(void)state;
	need_gpu();
	at = upload(NULL, sizeof to);
	prim_numbers(at, upload(from, sizeof from), N, stream());
	download(to, at, sizeof to);
	for (int i = 0; i < N; i++)
		check_number(from[i], to + N_NUMBERS * i);
}

/* ---- products ------------------------------------------------------------------------------- */

static void test_products(void **state)
{
	float a[16 * 16], b[16 * 8], d[N_PRODUCTS][16 * 8], *at;

	(void)state;
	need_gpu();
	for (int i = 0; i < 16 * 16; i++)
		a[i] = (float)sin(1 + i * i);
	for (int i = 0; i < 16 * 8; i++)
		b[i] = (float)cos(3 + i * i);
	at = upload(NULL, sizeof d);
	prim_products(at, upload(a, sizeof a), upload(b, sizeof b), stream());
	download(d, at, sizeof d);
	for (int p = 0; p < N_PRODUCTS; p++)
		for (int i = 0; i < 16 * 8; i++) {
			double sum = 0;
			for (int k = 0; k < 16; k++)
				sum += (double)rounded(a[i / 8 * 16 + k]) * rounded(b[k * 8 + i % 8]);
			if (!(fabs(d[p][i] - sum) < 2e-6))
				fail_msg("product %d [%d, %d]: %g, should be %g", p, i / 8, i % 8, d[p][i],
					sum);
		}
}

static void check_wgmma(int p, const float *d, const float *a, const float *b)
{
	for (int i = 0; i < 64 * 256; i++) {
		double sum = 0;
		for (int k = 0; k < 64; k++)
			sum += (double)rounded(a[i / 256 * 64 + k]) * rounded(b[k * 256 + i % 256]);
		if (!(fabs(d[i] - sum) < 2e-5))
			fail_msg("wgmma %d [%d, %d]: %g, should be %g", p, i / 256, i % 256, d[i], sum);
	}
}

static void test_wgmma(void **state)
{
	static float a[64 * 64], b[64 * 256], d[4][64 * 256];
	float *at;

	(void)state;
	need_gpu();
	if (gpu_queue()->capability != 90)
		skip();
	for (int i = 0; i < 64 * 64; i++)
		a[i] = (float)sin(1 + i * (double)i);
	for (int i = 0; i < 64 * 256; i++)
		b[i] = (float)cos(3 + i * (double)i);
	at = upload(NULL, sizeof d);
	prim_wgmma(at, upload(a, sizeof a), upload(b, sizeof b), stream());
	download(d, at, sizeof d);
	for (int p = 0; p < 4; p++)
		check_wgmma(p, d[p], a, b);
}

/* ---- collectives ---------------------------------------------------------------------------- */

static int matching(int l, int (*of)(int))
{
	unsigned lanes = 0;

	for (int k = 0; k < 32; k++)
		lanes |= (unsigned)(of(k) == of(l)) << k;
	return (int)lanes;
}

static int mod5(int l)
{
	return l % 5;
}

static int by4(int l)
{
	return l / 4;
}

static void test_lanes(void **state)
{
	int to[N_LANES][32], *at;

	(void)state;
	need_gpu();
	at = upload(NULL, sizeof to);
	prim_lanes(at, stream());
	download(to, at, sizeof to);
	for (int l = 0; l < 32; l++) {
		const int expected[N_LANES] = {5, l / 8 * 8 + (l + 3) % 8, l < 2 ? l : l - 2,
			l % 16 < 3 ? l : l - 3, l % 4 == 3 ? l : l + 1, l ^ 9,
			(l ^ 5) < l / 4 * 4 + 4 ? l ^ 5 : l, 2 * (l < 28 ? l + 4 : l) + 1, l ^ 1,
			l < 16 ? l ^ 15 : 17, 0x49249249, 1, 0, matching(l, mod5), matching(l, by4),
			16 * 31 - 7 * 32, -7, -1, 0xffff, 11, 1, 0,
			__builtin_popcount((unsigned)l) + 100 * __builtin_ffs(l) +
				10000 * (l ? __builtin_clz((unsigned)l) : 32)};
		for (int k = 0; k < N_LANES; k++)
			if (to[k][l] != expected[k])
				fail_msg("collective %d: lane %d has %d, should have %d", k, l, to[k][l],
					expected[k]);
	}
}

static void test_copies(void **state)
{
	enum { N = 384 };
	float from[N], to[N], *at;

	(void)state;
	need_gpu();
	for (int i = 0; i < N; i++)
		from[i] = (float)(i + 1);
	at = upload(NULL, sizeof to);
	prim_copies(at, upload(from, sizeof from), N, stream());
	download(to, at, sizeof to);
	for (int i = 0; i < N; i++)
		assert_true(to[i] == (i / 4 % 2 ? 0 : from[i]));
}

static void test_places(void **state)
{
	enum { N = 3 * 5 * 7 * 4 * 2 * 6 };
	int to[N + 1], *at;

	(void)state;
	need_gpu();
	at = upload(NULL, sizeof to);
	prim_places(at, stream());
	download(to, at, sizeof to);
	for (int i = 0; i <= N; i++)
		assert_int_equal(to[i], i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_products),
		cmocka_unit_test(test_wgmma),
		cmocka_unit_test(test_lanes),
		cmocka_unit_test(test_copies),
		cmocka_unit_test(test_places),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
