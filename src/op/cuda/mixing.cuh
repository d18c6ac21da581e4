/*
 * The products that merge and emit are made of, each the other's gradient: a warp does a row of the result.
 * Rows that it sums over lie in caches: those of a group, its tokens' or its experts'. FLOPs: 2 a token, expert
 * and channel.
 */
#ifndef OP_CUDA_MIXING_CUH
#define OP_CUDA_MIXING_CUH

extern "C" {
#include "op/merge.h"
}
#include "op/cuda/moe.cuh"

namespace {

struct mixing {
	long members, T, groups, n;	/* n: tokens */
	int E, D;
};

/* to = sum over k < n of weight(k) row(k), in order, by a warp; add: to it. */
template <bool wide, typename real, typename of_row, typename of_weight>
__device__ __forceinline__ void weigh_rows(real *to, long n, const of_row &row, const of_weight &weight, int D,
	bool add)
{
	constexpr int each = wide ? 8 : 1;

	for (int i = threadIdx.x % WARP_LANES * each; i < D; i += WARP_LANES * each) {
		eight sum = add ? load_columns<wide>(to + i) : eight{};
		#pragma unroll 4
		for (long k = 0; k < n; k++) {
			eight x = load_columns<wide>(row(k) + i);
			float w = weight(k);
			#pragma unroll
			for (int j = 0; j < each; j++)
				sum.v[j] += w * x.v[j];
		}
		store_columns<wide>(to + i, sum);
	}
}

/* rows[e, g] = sum over t in g of s[t, e] x[t]. first, unless NULL: where the rows of each expert begin. */
template <typename real, bool wide>
__global__ void merge_rows(mixing m, rows<const real> x, rows<const float> s, rows<real> to, int *first, bool add)
{
	long row = row_of_warp(), g = row % m.groups;
	int e = (int)(row / m.groups);

	for (long i = (long)blockIdx.x * ROW_THREADS + threadIdx.x; first && i <= m.E;
		i += (long)gridDim.x * ROW_THREADS)
		first[i] = (int)(i * m.groups);
	if (e >= m.E)
		return;
	long t0 = g / m.T * m.members * m.T + g % m.T;
	weigh_rows<wide>(to[row], m.members, [&](long k) { return x[t0 + k * m.T]; },
		[&](long k) { return s[t0 + k * m.T][e]; }, m.D, add);
}

/* The group of token t. */
__device__ __forceinline__ long group_of(const mixing &m, long t)
{
	return t / m.T / m.members * m.T + t % m.T;
}

/* y[t] = sum over e of s[t, e] rows[e, g] */
template <typename real, bool wide>
__global__ void emit_rows(mixing m, rows<const real> from, rows<const float> s, rows<real> y, bool add)
{
	long t = row_of_warp();

	if (t >= m.n)
		return;
	long g = group_of(m, t);
	weigh_rows<wide>(y[t], m.E, [&](long e) { return from[e * m.groups + g]; },
		[&](long e) { return s[t][e]; }, m.D, add);
}

/* ds[t, e] = <x[t], rows[e, g]> */
template <typename real, bool wide>
__global__ void dot_rows(mixing m, rows<const real> x, rows<const real> from, rows<float> ds, bool add)
{
	constexpr int each = wide ? 8 : 1;
	long t = row_of_warp();

	if (t >= m.n)
		return;
	long g = group_of(m, t);
	for (int e = 0; e < m.E; e++) {
		float dot = 0;
		for (int i = threadIdx.x % WARP_LANES * each; i < m.D; i += WARP_LANES * each) {
			eight a = load_columns<wide>(x[t] + i), b = load_columns<wide>(from[e * m.groups + g] + i);
			#pragma unroll
			for (int k = 0; k < each; k++)
				dot += a.v[k] * b.v[k];
		}
		dot = warp_sum(dot);
		if (threadIdx.x % WARP_LANES == 0)
			ds[t][e] = dot + (add ? ds[t][e] : 0);
	}
}

inline mixing mixing_of(const struct op_run *r, const struct tensor *s_BTE, const struct tensor *rows_EGD)
{
	mixing m = {};

	m.members = ((const struct merge_attr *)r->attr)->members;
	m.T = s_BTE->dims[1];
	m.n = tensor_rows(s_BTE);
	m.groups = m.n / m.members;
	m.E = (int)tensor_width(s_BTE);
	m.D = (int)tensor_width(rows_EGD);
	return m;
}

inline void mixing_merge(const struct op_run *r, const struct tensor *x, const struct tensor *s,
	const struct tensor *to, int *first, bool add)
{
	mixing m = mixing_of(r, s, to);

	with_rows(r, x, to, NULL, [&](auto zero, bool wide) {
		typedef decltype(zero) real;
		launch(r, wide ? merge_rows<real, true> : merge_rows<real, false>, grid_of_rows(m.E * m.groups),
			ROW_THREADS, 0, m, rows_of<const real>(x), rows_of<const float>(s), rows_of<real>(to),
			first, add);
	});
}

inline void mixing_emit(const struct op_run *r, const struct tensor *from, const struct tensor *s,
	const struct tensor *y, bool add)
{
	mixing m = mixing_of(r, s, from);

	with_rows(r, from, y, NULL, [&](auto zero, bool wide) {
		typedef decltype(zero) real;
		launch(r, wide ? emit_rows<real, true> : emit_rows<real, false>, grid_of_rows(m.n), ROW_THREADS, 0,
			m, rows_of<const real>(from), rows_of<const float>(s), rows_of<real>(y), add);
	});
}

inline void mixing_dots(const struct op_run *r, const struct tensor *x, const struct tensor *from,
	const struct tensor *ds, bool add)
{
	mixing m = mixing_of(r, ds, from);

	with_rows(r, x, from, NULL, [&](auto zero, bool wide) {
		typedef decltype(zero) real;
		launch(r, wide ? dot_rows<real, true> : dot_rows<real, false>, grid_of_rows(m.n), ROW_THREADS, 0, m,
			rows_of<const real>(x), rows_of<const real>(from), rows_of<float>(ds), add);
	});
}

}  // namespace

#endif
