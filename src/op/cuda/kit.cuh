/*
 * What the CUDA kernels of all operators share: tensors as typed rows, numbers of either precision
 * as float, loads and stores of eight of them, sums in a fixed order, launching.
 *
 * Every kernel is a template over `real`, the type of activations: __nv_bfloat16 on device cuda,
 * float on cuda_f32; all arithmetic is in float. Masters, losses and gradients of parameters are
 * float on both. House rules: shared memory is dynamic (shared_memory()), no atomics on floats,
 * reductions in an order that depends on shapes alone, long for anything times a row.
 */
#ifndef OP_CUDA_KIT_CUH
#define OP_CUDA_KIT_CUH

#include <cuda_bf16.h>
#include <cuda_runtime.h>

extern "C" {
#include "base/error.h"
#include "op/op.h"
#include "tensor/queue.h"
}
#include "op/cuda/cuda.h"

typedef __nv_bfloat16 bf16;

/* A tensor in a kernel: row i begins at at + i * ld. at NULL: absent. */
template <typename element>
struct rows {
	element *at;
	long ld;

	__device__ __forceinline__ element *operator[](long i) const
	{
		return at + i * ld;
	}
};

template <typename element>
rows<element> rows_of(const struct tensor *t)
{
	return t ? rows<element>{(element *)t->at, t->ld} : rows<element>{NULL, 0};
}

/* The numbers of a tensor whose rows have no gaps; NULL where it is absent. */
inline float *floats_of(const struct tensor *t)
{
	return t ? (float *)t->at : NULL;
}

/* ---- numbers -------------------------------------------------------------------------------- */

__device__ __forceinline__ float to_float(float x)
{
	return x;
}

__device__ __forceinline__ float to_float(bf16 x)
{
	return __bfloat162float(x);
}

template <typename real>
__device__ __forceinline__ real from_float(float x);

template <>
__device__ __forceinline__ float from_float<float>(float x)
{
	return x;
}

template <>
__device__ __forceinline__ bf16 from_float<bf16>(float x)
{
	return __float2bfloat16(x);
}

/* A gradient: written, or added to what others have put there. */
template <typename real>
__device__ __forceinline__ void put(real *at, bool add, float v)
{
	*at = from_float<real>(add ? to_float(*at) + v : v);
}

/* The same, if it is asked for. */
template <typename real>
__device__ __forceinline__ void put(const rows<real> &to, long t, long i, bool add, float v)
{
	if (to.at)
		put(to[t] + i, add, v);
}

/* Eight neighbours as float. `at` is aligned to eight elements. */
struct eight {
	float v[8];
};

/* The same as they lie in memory: half the registers in bf16. */
template <typename real>
struct raw8 {
	uint4 part[sizeof(real) / 2];
};

template <typename real>
__device__ __forceinline__ raw8<real> load_raw8(const real *at)
{
	raw8<real> x;

	#pragma unroll
	for (int i = 0; i < (int)sizeof(real) / 2; i++)
		x.part[i] = ((const uint4 *)at)[i];
	return x;
}

__device__ __forceinline__ eight eight_of(const raw8<float> &x)
{
	uint4 a = x.part[0], b = x.part[1];

	return {{__uint_as_float(a.x), __uint_as_float(a.y), __uint_as_float(a.z), __uint_as_float(a.w),
		__uint_as_float(b.x), __uint_as_float(b.y), __uint_as_float(b.z), __uint_as_float(b.w)}};
}

__device__ __forceinline__ eight eight_of(const raw8<bf16> &x)
{
	unsigned word[4] = {x.part[0].x, x.part[0].y, x.part[0].z, x.part[0].w};
	eight y;

	#pragma unroll
	for (int i = 0; i < 4; i++) {
		y.v[2 * i] = __uint_as_float(word[i] << 16);
		y.v[2 * i + 1] = __uint_as_float(word[i] & 0xffff0000u);
	}
	return y;
}

template <typename real>
__device__ __forceinline__ eight load8(const real *at)
{
	return eight_of(load_raw8(at));
}

__device__ __forceinline__ void store8(float *at, const eight &x)
{
	((float4 *)at)[0] = make_float4(x.v[0], x.v[1], x.v[2], x.v[3]);
	((float4 *)at)[1] = make_float4(x.v[4], x.v[5], x.v[6], x.v[7]);
}

__device__ __forceinline__ void store8(bf16 *at, const eight &x)
{
	unsigned word[4];

	#pragma unroll
	for (int i = 0; i < 4; i++) {
		__nv_bfloat162 pair = __floats2bfloat162_rn(x.v[2 * i], x.v[2 * i + 1]);
		memcpy(&word[i], &pair, sizeof pair);
	}
	*(uint4 *)at = make_uint4(word[0], word[1], word[2], word[3]);
}

/* The first n (0 to 8) of eight neighbours, whatever their alignment; the others are 0 and left alone. */
template <typename real>
__device__ __forceinline__ eight load_first(const real *at, int n)
{
	eight x;

	#pragma unroll
	for (int i = 0; i < 8; i++)
		x.v[i] = i < n ? to_float(at[i]) : 0;
	return x;
}

template <typename real>
__device__ __forceinline__ void store_first(real *at, const eight &x, int n)
{
	#pragma unroll
	for (int i = 0; i < 8; i++)
		if (i < n)
			at[i] = from_float<real>(x.v[i]);
}

/* May rows of t be moved eight elements at once? Absent ones may. */
inline bool aligned8(const struct tensor *t, size_t element_bytes)
{
	return !t || ((size_t)t->at % (8 * element_bytes) == 0 && t->ld % 8 == 0 &&
		tensor_width(t) % 8 == 0);
}

/* ---- sums ----------------------------------------------------------------------------------- */

/* Over each run of `lanes` (a power of two) of a warp, all 32 there; every lane gets its run's. */
template <int lanes = 32>
__device__ __forceinline__ float warp_sum(float x)
{
	#pragma unroll
	for (int step = lanes / 2; step; step /= 2)
		x += __shfl_xor_sync(0xffffffffu, x, step);
	return x;
}

template <int lanes = 32>
__device__ __forceinline__ float warp_max(float x)
{
	#pragma unroll
	for (int step = lanes / 2; step; step /= 2)
		x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
	return x;
}

/* ---- launching ------------------------------------------------------------------------------ */

/* The block's dynamic shared memory. */
template <typename memory>
__device__ __forceinline__ memory *shared_memory()
{
	extern __shared__ float4 shared[];

	return (memory *)shared;
}

inline __host__ __device__ long ceil_div(long n, long d)
{
	return (n + d - 1) / d;
}

/* kernel<<<grid, threads, shared>>>(args...) in the run's queue. Shared memory above 48 KiB is asked for. */
template <typename... parameters, typename... arguments>
void launch(const struct op_run *r, void (*kernel)(parameters...), dim3 grid, unsigned threads,
	size_t shared, const arguments &...args)
{
	cudaLaunchConfig_t config = {};

	if (shared > 48 << 10)
		cuda_check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
			(int)shared), r->op->name);
	config.gridDim = grid;
	config.blockDim = dim3(threads);
	config.dynamicSmemBytes = shared;
	config.stream = (cudaStream_t)r->queue->stream;
	cuda_check(cudaLaunchKernelEx(&config, kernel, args...), r->op->name);
}

/* Calls work(real()) with the device's type of activations: with_real(r, [&](auto zero) { ... }). */
template <typename function>
void with_real(const struct op_run *r, const function &work)
{
	if (r->device->bytes[REAL] == sizeof(float))
		work(0.0f);
	else
		work(bf16());
}

#endif
