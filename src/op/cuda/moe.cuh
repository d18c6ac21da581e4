/* What the kernels of a mixture (route, dispatch, combine) share: tensors by token, rows by
   warp. */
#ifndef OP_CUDA_MOE_CUH
#define OP_CUDA_MOE_CUH

#include "op/cuda/kit.cuh"

enum {
	WARP_LANES = 32,
	ROW_WARPS = 8,
	ROW_THREADS = ROW_WARPS * WARP_LANES,
	AHEAD = 8,			/* loads that a lane has on their way */
};

/* A [B, T] tensor, element by token, counted over all sequences; or [B, T, K], by choice. at NULL:
   absent. */
template <typename element>
struct by_token {
	element *at;
	unsigned width;
	long ld;

	__device__ __forceinline__ element &operator[](long t) const
	{
		unsigned row = (unsigned)t / width;

		return at[row * ld + (unsigned)t % width];
	}
};

template <typename element>
by_token<element> by_token_of(const struct tensor *a_BT)
{
	if (!a_BT)
		return by_token<element>{NULL, 1, 1};
	return by_token<element>{(element *)a_BT->at, (unsigned)tensor_width(a_BT), a_BT->ld};
}

__device__ __forceinline__ double warp_sum_f64(double x)
{
	#pragma unroll
	for (int step = 16; step; step /= 2)
		x += __shfl_xor_sync(0xffffffffu, x, step);
	return x;
}

/* Sum over this lane and those below it. */
__device__ __forceinline__ int warp_running_sum(int x)
{
	int lane = threadIdx.x % WARP_LANES;

	#pragma unroll
	for (int step = 1; step < WARP_LANES; step *= 2) {
		int below = __shfl_up_sync(0xffffffffu, x, step);
		x += lane >= step ? below : 0;
	}
	return x;
}

/* Sum of n floats by a warp, each lane its own in order, then all lanes. */
__device__ __forceinline__ double sum_units(const float *at, long n)
{
	double sum = 0;

	#pragma unroll AHEAD
	for (long u = threadIdx.x % WARP_LANES; u < n; u += WARP_LANES)
		sum += at[u];
	return warp_sum_f64(sum);
}

/* The row that this warp has to do, in a launch of ROW_THREADS a block. */
__device__ __forceinline__ long row_of_warp()
{
	return (long)blockIdx.x * ROW_WARPS + threadIdx.x / WARP_LANES;
}

inline dim3 grid_of_rows(long n)
{
	return dim3((unsigned)ceil_div(n, ROW_WARPS));
}

/* 8 columns a lane, or 1. */
template <bool wide, typename real>
__device__ __forceinline__ eight load_columns(const real *at)
{
	return wide ? load8(at) : eight{{to_float(*at)}};
}

template <bool wide, typename real>
__device__ __forceinline__ void store_columns(real *at, const eight &x)
{
	if (wide)
		store8(at, x);
	else
		*at = from_float<real>(x.v[0]);
}

/* to = scale * from for a row, by a warp; from NULL: 0. add: to it. */
template <bool wide, typename real>
__device__ __forceinline__ void scale_row(real *to, const real *from, float scale, int width,
	bool add)
{
	constexpr int each = wide ? 8 : 1;

	for (int i = threadIdx.x % WARP_LANES * each; i < width; i += WARP_LANES * each) {
		eight x = from ? load_columns<wide>(from + i) : eight{};
		eight old = add ? load_columns<wide>(to + i) : eight{};
		#pragma unroll
		for (int k = 0; k < each; k++)
			x.v[k] = scale * x.v[k] + old.v[k];
		store_columns<wide>(to + i, x);
	}
}

/* to = sum over the K choices from i on, in order, of scale(i) from[slot[i]], by a warp; choices
   without a slot give nothing. add: to it. */
template <bool wide, typename real, typename function>
__device__ __forceinline__ void sum_rows(real *to, const rows<const real> &from,
	const by_token<const int> &slot, long i0, int K, const function &scale, int width, bool add)
{
	constexpr int each = wide ? 8 : 1;

	for (int i = threadIdx.x % WARP_LANES * each; i < width; i += WARP_LANES * each) {
		eight sum = add ? load_columns<wide>(to + i) : eight{};
		for (long k = i0; k < i0 + K; k++) {
			int s = slot[k];
			if (s < 0)
				continue;
			eight x = load_columns<wide>(from[s] + i);
			float by = scale(k);
			#pragma unroll
			for (int j = 0; j < each; j++)
				sum.v[j] += by * x.v[j];
		}
		store_columns<wide>(to + i, sum);
	}
}

/* work(real(), may rows of all these be moved eight elements at once?) */
template <typename function>
void with_rows(const struct op_run *r, const struct tensor *a, const struct tensor *b,
	const struct tensor *c, const function &work)
{
	size_t bytes = r->device->bytes[REAL];
	bool wide = aligned8(a, bytes) && aligned8(b, bytes) && aligned8(c, bytes);

	with_real(r, [&](auto zero) { work(zero, wide); });
}

#endif
