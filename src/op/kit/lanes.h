/*
 * A SIMD register of floats as a value, as wide as the instruction set has it: for the few kernels
 * that keep a recurrence in registers, which a loop under `omp simd` would take through memory.
 * All else uses plain loops and op/kit/vec.h. Operators + - * / work lane by lane, with scalars too.
 */
#ifndef OP_KIT_LANES_H
#define OP_KIT_LANES_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
enum { LANES = 16 };
#elif defined(__AVX2__)
#include <immintrin.h>
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif

typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t lanes_int __attribute__((vector_size(4 * LANES)));

static inline lanes lanes_load(const float *from)
{
	lanes v;

	memcpy(&v, from, sizeof v);
	return v;
}

static inline void lanes_store(float *to, lanes v)
{
	memcpy(to, &v, sizeof v);
}

/* The first n lanes; the others are 0. */
static inline lanes lanes_load_part(const float *from, long n)
{
	lanes v = {0};

	if (n >= LANES)
		return lanes_load(from);
	memcpy(&v, from, (size_t)n * sizeof(float));
	return v;
}

static inline void lanes_store_part(float *to, lanes v, long n)
{
	if (n >= LANES)
		lanes_store(to, v);
	else
		memcpy(to, &v, (size_t)n * sizeof(float));
}

/* NaN where b is. */
static inline lanes lanes_max(lanes a, lanes b)
{
#if defined(__AVX512F__)
	return _mm512_max_ps(a, b);
#elif defined(__AVX2__)
	return _mm256_max_ps(a, b);
#else
	lanes_int above = a > b;	/* false for NaN */

	return (lanes)(((lanes_int)a & above) | ((lanes_int)b & ~above));
#endif
}

typedef float quad __attribute__((vector_size(16)));

/* Sums over the lanes of four rows. */
static inline void lanes_sum4(float to[4], const float (*rows)[LANES])
{
	quad x[4], lo, hi;

	for (int k = 0; k < 4; k++) {
		memcpy(&x[k], rows[k], sizeof x[k]);
		for (int i = 4; i < LANES; i += 4) {
			quad more;
			memcpy(&more, rows[k] + i, sizeof more);
			x[k] += more;
		}
	}
	lo = __builtin_shufflevector(x[0], x[1], 0, 4, 1, 5) +
		__builtin_shufflevector(x[0], x[1], 2, 6, 3, 7);
	hi = __builtin_shufflevector(x[2], x[3], 0, 4, 1, 5) +
		__builtin_shufflevector(x[2], x[3], 2, 6, 3, 7);
	lo = __builtin_shufflevector(lo, hi, 0, 1, 4, 5) +
		__builtin_shufflevector(lo, hi, 2, 3, 6, 7);
	memcpy(to, &lo, sizeof lo);
}

/* 2^x for x <= 0, relative error 1e-7. Results below 2^-100 become 2^-100, so that products with
   them stay normal numbers. A NaN that arithmetic made stays one. */
static inline lanes lanes_exp2(lanes x)
{
	const float shift = 0x1.8p23f;	/* added, it leaves round(x) in the low bits */
	lanes n, r, p;

	x = lanes_max((lanes){0} - 100.0f, x);
	n = x + shift;
	r = x - (n - shift);
	p = r * 1.326472714e-3f + 9.67151264e-3f;
	p = p * r + 5.550733743e-2f;
	p = p * r + 2.402224209e-1f;
	p = p * r + 6.931469776e-1f;
	p = p * r + 1.0f;
	return (lanes)((lanes_int)p + ((lanes_int)n << 23));
}

#endif
