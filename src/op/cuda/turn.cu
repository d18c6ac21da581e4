/*
 * turn on the GPU: forward a warp makes the scale of a row's group, then a thread two neighbouring columns of a
 * head. Backward a block has TURN_PART_ROWS rows and a thread two columns of all heads, one after the other, so
 * that sums over heads need nobody else; those over columns are the block's. Parts are added up in order.
 */
extern "C" {
#include "op/turn.h"
}
#include "op/cuda/kit.cuh"
#include "op/cuda/reduce.cuh"

namespace {

enum { THREADS = 128, WARPS = THREADS / 32 };

template <typename real>
struct operands {
	rows<const real> x, dy;
	const float *weight;
	rows<const float> bias, phi;
	rows<float> scale;
	long n;			/* rows */
	int H, N, S, G;
	float eps;
};

/* Launched on rows times groups, a warp each. */
template <typename real>
__global__ void scale_kernel(operands<real> o)
{
	long i = (long)blockIdx.x * WARPS + threadIdx.x / 32, row = i / o.G;
	int g = (int)(i % o.G);
	float square = 0;

	if (row >= o.n)
		return;
	for (int n = (int)threadIdx.x % 32; n < o.N; n += 32) {
		float x = to_float(o.x[row][g * o.N + n]);
		square += x * x;
	}
	square = warp_sum(square);
	if (threadIdx.x % 32 == 0)
		o.scale[row][g] = 1 / sqrtf(square / (float)o.N + o.eps);
}

struct pair {
	float even, odd;
};

/* Turned by phi, or with sign -1 back; columns behind the first S pairs stay. */
template <typename real>
__device__ __forceinline__ pair turned(const operands<real> &o, long row, int h, int i, pair v, float sign)
{
	float sine, cosine;

	if (i >= o.S)
		return v;
	sincosf(o.phi[row][h * o.S + i], &sine, &cosine);
	sine *= sign;
	return {v.even * cosine - v.odd * sine, v.even * sine + v.odd * cosine};
}

/* Columns 2i and 2i + 1 of head h before they are turned; a column that is not there counts as 0. */
template <typename real>
__device__ __forceinline__ pair before(const operands<real> &o, long row, int h, int i)
{
	int g = h / (o.H / o.G), n = 2 * i;
	const real *x = o.x[row] + g * o.N;
	float scale = o.scale[row][g];
	pair v = {to_float(x[n]) * scale * o.weight[n] + o.bias[h][n], 0};

	if (n + 1 < o.N)
		v.odd = to_float(x[n + 1]) * scale * o.weight[n + 1] + o.bias[h][n + 1];
	return v;
}

template <typename real>
__global__ void turn_kernel(operands<real> o, rows<real> y)
{
	int pairs = (o.N + 1) / 2;
	long k = (long)blockIdx.x * THREADS + threadIdx.x, row = k / (o.H * pairs);
	int h = (int)(k / pairs % o.H), i = (int)(k % pairs);

	if (row >= o.n)
		return;
	pair v = turned(o, row, h, i, before(o, row, h, i), 1);
	real *to = y[row] + h * o.N + 2 * i;
	to[0] = from_float<real>(v.even);
	if (2 * i + 1 < o.N)
		to[1] = from_float<real>(v.odd);
}

template <typename real>
struct results {
	rows<real> dx;
	rows<float> dphi;
	float *parts;		/* [part][(H + 1) N]: of the bias, then of the weight */
	bool add_x, add_phi;
};

/* A head's dv of a thread's columns; dphi, and shares of the bias. first: the row is the part's first. */
template <typename real>
__device__ __forceinline__ pair head_backward(const operands<real> &o, const results<real> &to, long row, int h,
	int i, bool first, float *part)
{
	const real *dy = o.dy[row] + h * o.N + 2 * i;
	bool two = 2 * i + 1 < o.N;
	pair d = turned(o, row, h, i, {to_float(dy[0]), two ? to_float(dy[1]) : 0.0f}, -1);
	float *bias = part + h * o.N + 2 * i;

	if (i < o.S && to.dphi.at) {
		pair v = before(o, row, h, i);
		float *at = to.dphi[row] + h * o.S + i;
		*at = d.odd * v.even - d.even * v.odd + (to.add_phi ? *at : 0);
	}
	bias[0] = d.even + (first ? 0 : bias[0]);
	if (two)
		bias[1] = d.odd + (first ? 0 : bias[1]);
	return d;
}

/* A sum over the block, for all threads; `one` has a number for each warp. */
__device__ __forceinline__ float block_sum(float x, float *one)
{
	x = warp_sum(x);
	__syncthreads();
	if (threadIdx.x % 32 == 0)
		one[threadIdx.x / 32] = x;
	__syncthreads();
	x = 0;
	for (int w = 0; w < WARPS; w++)
		x += one[w];
	return x;
}

/* Launched on parts; N is at most 2 THREADS. */
template <typename real>
__global__ void turn_backward_kernel(operands<real> o, results<real> to)
{
	float *one = shared_memory<float>(), *part = to.parts + (long)blockIdx.x * (o.H + 1) * o.N;
	long from = (long)blockIdx.x * TURN_PART_ROWS, end = min(from + TURN_PART_ROWS, o.n);
	int i = (int)threadIdx.x, n = 2 * i, heads = o.H / o.G;
	bool there = n < o.N, two = n + 1 < o.N;
	float w0 = there ? o.weight[n] : 0, w1 = two ? o.weight[n + 1] : 0, dw0 = 0, dw1 = 0;

	for (long row = from; row < end; row++)
		for (int g = 0; g < o.G; g++) {
			const real *x = o.x[row] + g * o.N + n;
			float scale = o.scale[row][g], m0 = there ? to_float(x[0]) * scale : 0;
			float m1 = two ? to_float(x[1]) * scale : 0, mean;
			pair a = {0, 0};
			for (int h = g * heads; there && h < (g + 1) * heads; h++) {
				pair d = head_backward(o, to, row, h, i, row == from, part);
				a.even += d.even;
				a.odd += d.odd;
			}
			dw0 += a.even * m0;
			dw1 += a.odd * m1;
			mean = block_sum(a.even * w0 * m0 + a.odd * w1 * m1, one) / (float)o.N;
			if (!to.dx.at)
				continue;
			real *dx = to.dx[row] + g * o.N + n;
			if (there)
				dx[0] = from_float<real>((a.even * w0 - m0 * mean) * scale +
					(to.add_x ? to_float(dx[0]) : 0));
			if (two)
				dx[1] = from_float<real>((a.odd * w1 - m1 * mean) * scale +
					(to.add_x ? to_float(dx[1]) : 0));
		}
	if (there)
		part[o.H * o.N + n] = dw0;
	if (two)
		part[o.H * o.N + n + 1] = dw1;
}

template <typename real>
operands<real> operands_of(const struct op_run *r, bool backward)
{
	const struct turn_attr *attr = (const struct turn_attr *)r->attr;
	const struct tensor *bias = r->in[TURN_BIAS_HN], *phi = r->in[TURN_PHI_BTM];
	int H = (int)tensor_rows(bias);

	return {rows_of<const real>(r->in[TURN_X_BTN]),
		rows_of<const real>(backward ? r->d_out[TURN_Y_BTM] : NULL),
		(const float *)r->in[TURN_WEIGHT_N]->at, rows_of<const float>(bias), rows_of<const float>(phi),
		rows_of<float>(r->saved[TURN_SCALE_BTG]), tensor_rows(phi), H, (int)tensor_width(bias),
		(int)tensor_width(phi) / H, attr->n_groups, (float)attr->eps};
}

void sum_parts(const struct op_run *r, int input, const float *parts, long n_parts, long stride)
{
	const struct tensor *d = r->d_in[input];

	if (d)
		reduce_parts_cuda(r, (float *)d->at, parts, n_parts, tensor_size(d), stride, op_adds(r, input));
}

}  // namespace

extern "C" void turn_forward_cuda(const struct op_run *r)
{
	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		operands<real> o = operands_of<real>(r, false);
		long pairs = o.n * o.H * ((o.N + 1) / 2);
		launch(r, scale_kernel<real>, dim3((unsigned)ceil_div(o.n * o.G, WARPS)), THREADS, 0, o);
		launch(r, turn_kernel<real>, dim3((unsigned)ceil_div(pairs, THREADS)), THREADS, 0, o,
			rows_of<real>(r->out[TURN_Y_BTM]));
	});
}

extern "C" void turn_backward_cuda(const struct op_run *r)
{
	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		operands<real> o = operands_of<real>(r, true);
		long n_parts = ceil_div(o.n, TURN_PART_ROWS), stride = (long)(o.H + 1) * o.N;
		results<real> to = {rows_of<real>(r->d_in[TURN_X_BTN]), rows_of<float>(r->d_in[TURN_PHI_BTM]),
			(float *)r->workspace, op_adds(r, TURN_X_BTN), op_adds(r, TURN_PHI_BTM)};
		launch(r, turn_backward_kernel<real>, dim3((unsigned)n_parts), THREADS, WARPS * sizeof(float), o, to);
		sum_parts(r, TURN_BIAS_HN, to.parts, n_parts, stride);
		sum_parts(r, TURN_WEIGHT_N, to.parts + (long)o.H * o.N, n_parts, stride);
	});
}
