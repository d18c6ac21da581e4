/* The activation functions of op/kit/act_fn.h and their derivatives in a kernel. NaN in, NaN out. */
#ifndef OP_CUDA_ACT_FN_CUH
#define OP_CUDA_ACT_FN_CUH

#include "op/cuda/kit.cuh"
#include "op/cuda/prim.cuh"

extern "C" {
#include "op/kit/act_fn.h"
}

__device__ __forceinline__ float act_sigmoid(float x)
{
	return __fdividef(1, 1 + exp2_fast(-LOG2E * x));
}

/* Phi(x) and the normal density, by the formula of act_normal_f32(). */
__device__ __forceinline__ void act_normal(float x, float *phi, float *density)
{
	float t = __fdividef(1, 1 + 0.23164189f * fabsf(x)), q = 0.5307027145f;
	float e = exp2_fast(-0.5f * LOG2E * x * x);

	q = fmaf(q, t, -0.7265760135f);
	q = fmaf(q, t, 0.7107068705f);
	q = fmaf(q, t, -0.142248368f);
	q = fmaf(q, t, 0.127414796f);
	q *= t * e;
	*phi = x < 0 ? q : 1 - q;
	*density = 0.3989422804f * e;
}

template <enum act_fn fn>
__device__ __forceinline__ float act_value(float x)
{
	float phi, density;

	if (fn == ACT_RELU)
		return x < 0 ? 0 : x;
	if (fn == ACT_SILU)
		return x * act_sigmoid(x);
	act_normal(x, &phi, &density);
	return x * phi;
}

/* f'(x) */
template <enum act_fn fn>
__device__ __forceinline__ float act_slope(float x)
{
	float phi, density, s;

	if (fn == ACT_RELU)
		return x > 0;
	if (fn == ACT_SILU) {
		s = act_sigmoid(x);
		return s * (1 + x * (1 - s));
	}
	act_normal(x, &phi, &density);
	return phi + x * density;
}

/* Calls work(integral_constant) with the function as a constant:
   with_act(fn, [&](auto f) { kernel<decltype(f)::value> ... }). */
template <enum act_fn f>
struct act_constant {
	static constexpr enum act_fn value = f;
};

template <typename function>
void with_act(enum act_fn fn, const function &work)
{
	if (fn == ACT_RELU)
		work(act_constant<ACT_RELU>());
	else if (fn == ACT_SILU)
		work(act_constant<ACT_SILU>());
	else
		work(act_constant<ACT_GELU>());
}

#endif
