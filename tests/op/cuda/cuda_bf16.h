/*
 * In place of CUDA's header: bfloat16, the upper half of a float. Conversions alone: CUDA's operators
 * round every result to bf16, which no kernel here wants, so they do not compile.
 */
#ifndef EMULATED_CUDA_BF16_H
#define EMULATED_CUDA_BF16_H

#include <cuda_runtime.h>

/* Nearest, ties to even; every NaN becomes the same one, as on a GPU. */
inline unsigned short emulated_bf16(float v)
{
	unsigned x = __float_as_uint(v);

	if (v != v)
		return 0x7fff;
	return (unsigned short)((x + 0x7fffu + (x >> 16 & 1)) >> 16);
}

struct __nv_bfloat16 {
	unsigned short __x;

	__nv_bfloat16() = default;
	__nv_bfloat16(float v) : __x(emulated_bf16(v)) {}
	__nv_bfloat16(double v) : __x(emulated_bf16((float)v)) {}
	__nv_bfloat16(int v) : __x(emulated_bf16((float)v)) {}

	operator float() const
	{
		return __uint_as_float((unsigned)__x << 16);
	}
};

struct alignas(4) __nv_bfloat162 {
	__nv_bfloat16 x, y;
};

typedef __nv_bfloat16 nv_bfloat16;
typedef __nv_bfloat162 nv_bfloat162;

#define EMULATED_NO_OPERATOR(sign) \
	__nv_bfloat16 operator sign(const __nv_bfloat16 &, const __nv_bfloat16 &) = delete; \
	__nv_bfloat162 operator sign(const __nv_bfloat162 &, const __nv_bfloat162 &) = delete; \
	__nv_bfloat16 &operator sign##=(__nv_bfloat16 &, const __nv_bfloat16 &) = delete; \
	__nv_bfloat162 &operator sign##=(__nv_bfloat162 &, const __nv_bfloat162 &) = delete;

EMULATED_NO_OPERATOR(+)
EMULATED_NO_OPERATOR(-)
EMULATED_NO_OPERATOR(*)
EMULATED_NO_OPERATOR(/)

#undef EMULATED_NO_OPERATOR

inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits)
{
	__nv_bfloat16 v;

	v.__x = bits;
	return v;
}

inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 v)
{
	return v.__x;
}

inline __nv_bfloat16 __float2bfloat16(float v)
{
	return __ushort_as_bfloat16(emulated_bf16(v));
}

inline __nv_bfloat16 __float2bfloat16_rn(float v)
{
	return __float2bfloat16(v);
}

inline float __bfloat162float(__nv_bfloat16 v)
{
	return __uint_as_float((unsigned)v.__x << 16);
}

inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y)
{
	return {__float2bfloat16(x), __float2bfloat16(y)};
}

inline __nv_bfloat162 __float22bfloat162_rn(float2 v)
{
	return __floats2bfloat162_rn(v.x, v.y);
}

inline __nv_bfloat162 __float2bfloat162_rn(float v)
{
	return __floats2bfloat162_rn(v, v);
}

inline float2 __bfloat1622float2(__nv_bfloat162 v)
{
	return {__bfloat162float(v.x), __bfloat162float(v.y)};
}

inline float __low2float(__nv_bfloat162 v)
{
	return __bfloat162float(v.x);
}

inline float __high2float(__nv_bfloat162 v)
{
	return __bfloat162float(v.y);
}

inline __nv_bfloat16 __low2bfloat16(__nv_bfloat162 v)
{
	return v.x;
}

inline __nv_bfloat16 __high2bfloat16(__nv_bfloat162 v)
{
	return v.y;
}

inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 x, __nv_bfloat16 y)
{
	return {x, y};
}

inline __nv_bfloat162 __bfloat162bfloat162(__nv_bfloat16 v)
{
	return {v, v};
}

EMULATED_SHUFFLES(__nv_bfloat16)
EMULATED_SHUFFLES(__nv_bfloat162)

#endif
