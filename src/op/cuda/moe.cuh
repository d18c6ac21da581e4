/* What the kernels of a mixture (route, dispatch, combine) share: tensors by token, rows by
   warp. */
#ifndef OP_CUDA_MOE_CUH
#define OP_CUDA_MOE_CUH

#include "op/cuda/kit.cuh"

enum { WARP_LANES = 32, ROW_WARPS = 8, ROW_THREADS = ROW_WARPS * WARP_LANES };

/* A [B, T] tensor, element by token, counted over all sequences. at NULL: absent. */
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
