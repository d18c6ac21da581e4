/*
 * gated_norm on the GPU. A warp has one group of one row, lanes eight neighbouring channels at a time
 * where rows allow it; gradients of the weight are summed up over GATED_NORM_PART_ROWS rows, a thread a
 * few channels, and then over these parts.
 */
#include "op/cuda/reduce.cuh"

extern "C" {
#include "op/gated_norm.h"
}

#include "op/kit/vec.h"

namespace {

enum { THREADS = 256, WARPS = THREADS / 32 };

template <typename real>
struct operands {
	rows<const real> x, z, dy;
	rows<real> y, dx, dz;
	const float *weight;
	float *scale, *parts;
	long n_rows;
	int width, n_groups, n_weights;	/* of a row; weights: width, or those of a group */
	float eps;
	bool gate_last, add_x, add_z;
};

/* A warp's row and group. */
struct place {
	long row, index;
	int first, n;		/* channels */
};

template <typename real>
__device__ __forceinline__ place place_of(const operands<real> &o)
{
	long i = (long)blockIdx.x * WARPS + threadIdx.x / 32;
	int n = o.width / o.n_groups;

	return {i / o.n_groups, i, (int)(i % o.n_groups) * n, n};
}

template <typename real>
__device__ __forceinline__ bool there(const operands<real> &o, const place &p)
{
	return p.row < o.n_rows;
}

__device__ __forceinline__ float silu(float z)
{
	return z * vec_sigmoid(z);
}

template <typename real, int width>
__global__ void forward(operands<real> o)
{
	place p = place_of(o);
	int lane = threadIdx.x % 32 * width, shared = p.first % o.n_weights;
	float square = 0, scale;

	if (!there(o, p))
		return;
	for (int i = lane; i < p.n; i += 32 * width) {
		few<width> x = load_few<width>(o.x[p.row] + p.first + i);
		few<width> z = load_few<width>(o.z[p.row] + p.first + i);
		#pragma unroll
		for (int c = 0; c < width; c++) {
			float v = x.v[c] * (o.gate_last ? 1 : silu(z.v[c]));
			square += v * v;
		}
	}
	scale = 1 / sqrtf(warp_sum(square) / (float)p.n + o.eps);
	for (int i = lane; i < p.n; i += 32 * width) {
		few<width> x = load_few<width>(o.x[p.row] + p.first + i);
		few<width> z = load_few<width>(o.z[p.row] + p.first + i), y;
		#pragma unroll
		for (int c = 0; c < width; c++)
			y.v[c] = x.v[c] * silu(z.v[c]) * scale * o.weight[shared + i + c];
		store_few<width>(o.y[p.row] + p.first + i, y);
	}
	if (lane == 0)
		o.scale[p.index] = scale;
}

/* The shares of some channels in mean(a m), with op/gated_norm.h's letters. */
template <typename real, int width>
__device__ __forceinline__ float share_am(const operands<real> &o, const place &p, int i)
{
	few<width> x = load_few<width>(o.x[p.row] + p.first + i), z = load_few<width>(o.z[p.row] + p.first + i);
	few<width> dy = load_few<width>(o.dy[p.row] + p.first + i);
	float sum = 0;

	#pragma unroll
	for (int c = 0; c < width; c++)
		sum += x.v[c] * silu(z.v[c]) * dy.v[c] * o.weight[p.first % o.n_weights + i + c];
	return sum;
}

template <typename real, int width>
__device__ __forceinline__ void give(const rows<real> &to, long row, int i, few<width> x, bool add)
{
	if (!to.at)
		return;
	if (add) {
		few<width> old = load_few<width>((const real *)to[row] + i);
		#pragma unroll
		for (int c = 0; c < width; c++)
			x.v[c] += old.v[c];
	}
	store_few<width>(to[row] + i, x);
}

template <typename real, int width>
__device__ __forceinline__ void give_channels(const operands<real> &o, const place &p, int i, float mean,
	float scale)
{
	few<width> x = load_few<width>(o.x[p.row] + p.first + i), z = load_few<width>(o.z[p.row] + p.first + i);
	few<width> dy = load_few<width>(o.dy[p.row] + p.first + i), dx, dz;

	#pragma unroll
	for (int c = 0; c < width; c++) {
		float s = vec_sigmoid(z.v[c]), gate = z.v[c] * s, slope = s * (1 + z.v[c] * (1 - s));
		float before = o.gate_last ? 1 : gate, behind = o.gate_last ? gate : 1;
		float m = x.v[c] * before * scale;
		float a = dy.v[c] * o.weight[p.first % o.n_weights + i + c];
		float dv = (a * behind - m * mean) * scale;
		dx.v[c] = dv * before;
		dz.v[c] = (o.gate_last ? a * m : dv * x.v[c]) * slope;
	}
	give<real, width>(o.dx, p.row, p.first + i, dx, o.add_x);
	give<real, width>(o.dz, p.row, p.first + i, dz, o.add_z);
}

template <typename real, int width>
__global__ void backward(operands<real> o)
{
	place p = place_of(o);
	int lane = threadIdx.x % 32 * width;
	float mean = 0, scale;

	if (!there(o, p))
		return;
	scale = o.scale[p.index];
	for (int i = lane; i < p.n; i += 32 * width)
		mean += share_am<real, width>(o, p, i);
	mean = warp_sum(mean) * scale / (float)p.n;
	for (int i = lane; i < p.n; i += 32 * width)
		give_channels<real, width>(o, p, i, mean, scale);
}

/* dy x SiLU(z) / rms is a weight's gradient wherever the gate stands. */
template <typename real, int width>
__global__ void weight_parts(operands<real> o)
{
	int i = ((int)blockIdx.x * THREADS + threadIdx.x) * width;
	long from = (long)blockIdx.y * GATED_NORM_PART_ROWS, to = min(from + GATED_NORM_PART_ROWS, o.n_rows);
	few<width> sum = {};

	if (i >= o.width)
		return;
	for (long t = from; t < to; t++) {
		few<width> x = load_few<width>(o.x[t] + i), z = load_few<width>(o.z[t] + i);
		few<width> dy = load_few<width>(o.dy[t] + i);
		float scale = o.scale[t * o.n_groups + i / (o.width / o.n_groups)];
		#pragma unroll
		for (int c = 0; c < width; c++)
			sum.v[c] += dy.v[c] * x.v[c] * silu(z.v[c]) * scale;
	}
	store_few<width>(o.parts + blockIdx.y * (long)o.width + i, sum);
}

template <typename real>
operands<real> operands_of(const struct op_run *r)
{
	const struct gated_norm_attr *attr = (const struct gated_norm_attr *)r->attr;
	const struct tensor *x = r->in[GATED_NORM_X_BTI], *weight = r->in[GATED_NORM_WEIGHT_I];

	return {rows_of<const real>(x), rows_of<const real>(r->in[GATED_NORM_Z_BTI]),
		rows_of<const real>(r->d_out[GATED_NORM_Y_BTI]), rows_of<real>(r->out[GATED_NORM_Y_BTI]),
		rows_of<real>(r->d_in[GATED_NORM_X_BTI]), rows_of<real>(r->d_in[GATED_NORM_Z_BTI]),
		(const float *)weight->at, (float *)r->saved[GATED_NORM_SCALE_BTG]->at, (float *)r->workspace,
		tensor_rows(x), (int)tensor_width(x), attr->n_groups, (int)tensor_size(weight),
		(float)attr->eps, attr->gate_last, op_adds(r, GATED_NORM_X_BTI), op_adds(r, GATED_NORM_Z_BTI)};
}

/* Calls work(real(), few<width>()) with the widest loads that all tensors of the run allow. */
template <typename function>
void with_width(const struct op_run *r, const function &work)
{
	with_real(r, [&](auto zero) {
		size_t size = sizeof zero;
		const struct gated_norm_attr *attr = (const struct gated_norm_attr *)r->attr;
		bool wide = tensor_width(r->in[GATED_NORM_X_BTI]) / attr->n_groups % 8 == 0;

		for (int i = 0; i < GATED_NORM_WEIGHT_I; i++)
			wide = wide && aligned8(r->in[i], size) && aligned8(r->d_in[i], size);
		wide = wide && aligned8(r->out[GATED_NORM_Y_BTI], size) &&
			aligned8(r->d_out[GATED_NORM_Y_BTI], size);
		if (wide)
			work(zero, few<8>());
		else
			work(zero, few<1>());
	});
}

template <typename real>
dim3 grid_of(const operands<real> &o)
{
	return dim3((unsigned)ceil_div(o.n_rows * o.n_groups, WARPS));
}

}

extern "C" void gated_norm_forward_cuda(const struct op_run *r)
{
	with_width(r, [&](auto zero, auto some) {
		typedef decltype(zero) real;
		operands<real> o = operands_of<real>(r);

		launch(r, forward<real, sizeof some / sizeof(float)>, grid_of(o), THREADS, 0, o);
	});
}

extern "C" void gated_norm_backward_cuda(const struct op_run *r)
{
	const struct tensor *dw = r->d_in[GATED_NORM_WEIGHT_I];

	with_width(r, [&](auto zero, auto some) {
		typedef decltype(zero) real;
		constexpr int width = sizeof some / sizeof(float);
		operands<real> o = operands_of<real>(r);
		long n_parts = ceil_div(o.n_rows, GATED_NORM_PART_ROWS), sums = o.width / o.n_weights;

		if (dw) {
			launch(r, weight_parts<real, width>, dim3((unsigned)ceil_div(o.width, THREADS * width),
				(unsigned)n_parts), THREADS, 0, o);
			reduce_parts_cuda(r, (float *)dw->at, o.parts, n_parts * sums, o.n_weights, o.n_weights,
				op_adds(r, GATED_NORM_WEIGHT_I));
		}
		launch(r, backward<real, width>, grid_of(o), THREADS, 0, o);
	});
}
