/* CUDA's functions of one thread: numbers and bits. */
#ifndef EMULATED_MATH_H
#define EMULATED_MATH_H

#include <math.h>
#include <string.h>

#define EMULATED_MIN_MAX(type) \
	inline type min(type a, type b) \
	{ \
		return a < b ? a : b; \
	} \
	inline type max(type a, type b) \
	{ \
		return a < b ? b : a; \
	}

EMULATED_MIN_MAX(int)
EMULATED_MIN_MAX(unsigned)
EMULATED_MIN_MAX(long)
EMULATED_MIN_MAX(unsigned long)
EMULATED_MIN_MAX(long long)
EMULATED_MIN_MAX(unsigned long long)

#undef EMULATED_MIN_MAX

inline float min(float a, float b)
{
	return fminf(a, b);
}

inline float max(float a, float b)
{
	return fmaxf(a, b);
}

inline double min(double a, double b)
{
	return fmin(a, b);
}

inline double max(double a, double b)
{
	return fmax(a, b);
}

/* ---- fast and exactly rounded functions -------------------------------------------------------- */

#define EMULATED_FUNCTION(type, name, value) \
	inline type name(type x) \
	{ \
		return value; \
	}

EMULATED_FUNCTION(float, __expf, expf(x))
EMULATED_FUNCTION(float, __exp10f, exp10f(x))
EMULATED_FUNCTION(float, __logf, logf(x))
EMULATED_FUNCTION(float, __log2f, log2f(x))
EMULATED_FUNCTION(float, __log10f, log10f(x))
EMULATED_FUNCTION(float, __sinf, sinf(x))
EMULATED_FUNCTION(float, __cosf, cosf(x))
EMULATED_FUNCTION(float, __tanf, tanf(x))
EMULATED_FUNCTION(float, __saturatef, x > 0 ? x < 1 ? x : 1 : 0)
EMULATED_FUNCTION(float, __frcp_rn, 1 / x)
EMULATED_FUNCTION(float, __fsqrt_rn, sqrtf(x))
EMULATED_FUNCTION(float, __frsqrt_rn, (float)(1 / sqrt((double)x)))
EMULATED_FUNCTION(float, rsqrtf, (float)(1 / sqrt((double)x)))
EMULATED_FUNCTION(double, rsqrt, 1 / sqrt(x))
EMULATED_FUNCTION(double, __dsqrt_rn, sqrt(x))
EMULATED_FUNCTION(double, __drcp_rn, 1 / x)

#undef EMULATED_FUNCTION

#define EMULATED_FUNCTION2(type, name, value) \
	inline type name(type x, type y) \
	{ \
		return value; \
	}

EMULATED_FUNCTION2(float, __fdividef, x / y)
EMULATED_FUNCTION2(float, __fdiv_rn, x / y)
EMULATED_FUNCTION2(float, __powf, powf(x, y))
EMULATED_FUNCTION2(double, __ddiv_rn, x / y)

#undef EMULATED_FUNCTION2

/* Exactly rounded: the compiler must not fuse what follows with them. */
#define EMULATED_ROUNDED(type, name, sign) \
	__attribute__((noinline, optimize("fp-contract=off"))) inline type name(type x, type y) \
	{ \
		return x sign y; \
	}

EMULATED_ROUNDED(float, __fadd_rn, +)
EMULATED_ROUNDED(float, __fsub_rn, -)
EMULATED_ROUNDED(float, __fmul_rn, *)
EMULATED_ROUNDED(double, __dadd_rn, +)
EMULATED_ROUNDED(double, __dsub_rn, -)
EMULATED_ROUNDED(double, __dmul_rn, *)

#undef EMULATED_ROUNDED

inline float __fmaf_rn(float x, float y, float z)
{
	return fmaf(x, y, z);
}

inline double __fma_rn(double x, double y, double z)
{
	return fma(x, y, z);
}

inline void __sincosf(float x, float *s, float *c)
{
	*s = sinf(x);
	*c = cosf(x);
}

/* ---- bits -------------------------------------------------------------------------------------- */

template <typename to, typename from>
inline to emulated_bits(from x)
{
	static_assert(sizeof(to) == sizeof(from), "bits of another size");
	return __builtin_bit_cast(to, x);
}

inline unsigned __float_as_uint(float x)
{
	return emulated_bits<unsigned>(x);
}

inline int __float_as_int(float x)
{
	return emulated_bits<int>(x);
}

inline float __uint_as_float(unsigned x)
{
	return emulated_bits<float>(x);
}

inline float __int_as_float(int x)
{
	return emulated_bits<float>(x);
}

inline long long __double_as_longlong(double x)
{
	return emulated_bits<long long>(x);
}

inline double __longlong_as_double(long long x)
{
	return emulated_bits<double>(x);
}

inline int __popc(unsigned x)
{
	return __builtin_popcount(x);
}

inline int __popcll(unsigned long long x)
{
	return __builtin_popcountll(x);
}

inline int __ffs(int x)
{
	return __builtin_ffs(x);
}

inline int __ffsll(long long x)
{
	return __builtin_ffsll(x);
}

inline int __clz(int x)
{
	return x ? __builtin_clz((unsigned)x) : 32;
}

inline int __clzll(long long x)
{
	return x ? __builtin_clzll((unsigned long long)x) : 64;
}

inline unsigned __brev(unsigned x)
{
	unsigned y = 0;

	for (int k = 0; k < 32; k++)
		y |= (x >> k & 1) << (31 - k);
	return y;
}

inline unsigned __umulhi(unsigned x, unsigned y)
{
	return (unsigned)((unsigned long long)x * y >> 32);
}

inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y)
{
	return (unsigned long long)((unsigned __int128)x * y >> 64);
}

inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector)
{
	unsigned long long both = (unsigned long long)y << 32 | x;
	unsigned bytes = 0;

	for (int k = 0; k < 4; k++) {
		unsigned s = selector >> 4 * k, byte = (unsigned)(both >> (s & 7) * 8) & 0xff;
		bytes |= (s & 8 ? (byte & 0x80 ? 0xffu : 0) : byte) << 8 * k;
	}
	return bytes;
}

#endif
