/*
 * mix: a warp has a row and reads it twice, the second time from a cache. Column sums go over parts of rows,
 * then over the parts, then to weights and alpha in one block, or by channel. Bytes for n elements of e bytes: 3 e n
 * forward, 8 e n backward.
 */
extern "C" {
#include "op/mix.h"
}
#include "op/cuda/reduce.cuh"

namespace {

enum { THREADS = 256, WARPS = THREADS / 32 };

template <typename real>
struct mixing {
	rows<const real> x[2], dy;	/* a, b */
	rows<real> y, d[2];
	const float *alpha, *w[2];	/* or NULL; alpha: of all channels */
	float *share, *scale, *parts;	/* share or NULL, scale [rows, 2], parts [parts, 2, D] */
	long n_rows;
	int D;
	float eps;
	bool add[2];
};

template <typename real>
mixing<real> mixing_of(const struct op_run *r)
{
	const struct tensor *a = r->in[MIX_A_BTD];
	bool of_channels = mix_of_channels(r->in[MIX_ALPHA]);
	mixing<real> m = {};

	for (int path = 0; path < 2; path++) {
		const float *w = floats_of(r->in[MIX_WA_D + path]);
		m.x[path] = rows_of<const real>(r->in[MIX_A_BTD + path]);
		m.w[path] = of_channels ? (const float *)r->saved[MIX_WEIGHT_2D]->at + path * tensor_width(a) : w;
		m.d[path] = rows_of<real>(r->d_in[MIX_A_BTD + path]);
		m.add[path] = op_adds(r, MIX_A_BTD + path);
	}
	m.alpha = of_channels ? NULL : floats_of(r->in[MIX_ALPHA]);
	m.scale = (float *)r->saved[MIX_SCALE_BT2]->at;
	m.parts = (float *)r->workspace;
	m.n_rows = tensor_rows(a);
	m.D = (int)tensor_width(a);
	m.eps = (float)((const struct mix_attr *)r->attr)->eps;
	return m;
}

__device__ __forceinline__ float logistic(float x)
{
	return 1 / (1 + expf(-x));
}

/* What all channels have in common: s, or half of the weights that hold it. */
template <typename real>
__device__ __forceinline__ float share_of(const mixing<real> &m)
{
	return m.alpha ? logistic(*m.alpha) : 0.5f;
}

template <typename real>
__device__ __forceinline__ float weight_of(const mixing<real> &m, int path, int i)
{
	return m.w[path] ? m.w[path][i] : 1;
}

/* What each channel has: alpha [D], and what is given or made of it. */
struct channels {
	const float *alpha, *w[2];	/* w or NULL */
	float *weight, *share;		/* [2, D]; mean and standard deviation of s */
	int D;

	__device__ float given(int path, int i) const
	{
		return w[path] ? w[path][i] : 1;
	}
};

/* The sum over a block's threads, in their order, to all of them. */
__device__ __forceinline__ float block_total(float *all, float part)
{
	float total = 0;

	__syncthreads();
	all[threadIdx.x] = part;
	__syncthreads();
	for (int k = 0; k < THREADS; k++)
		total += all[k];
	return total;
}

/* One block: the weights that hold s, and what is told of it. */
__global__ void mix_channels(const channels c)
{
	float *all = shared_memory<float>(), sum = 0, square = 0;

	for (int i = threadIdx.x; i < c.D; i += THREADS) {
		float s = logistic(c.alpha[i]);
		c.weight[i] = 2 * s * c.given(0, i);
		c.weight[c.D + i] = 2 * (1 - s) * c.given(1, i);
		sum += s;
	}
	float mean = block_total(all, sum) / (float)c.D;
	for (int i = threadIdx.x; i < c.D; i += THREADS) {
		float off = logistic(c.alpha[i]) - mean;
		square += off * off;
	}
	square = block_total(all, square);
	if (threadIdx.x)
		return;
	c.share[0] = mean;
	c.share[1] = sqrtf(square / (float)c.D);
}

template <int width, typename real>
__global__ void mix_forward(const mixing<real> m)
{
	long t = (long)blockIdx.x * WARPS + threadIdx.x / 32;
	int lane = threadIdx.x % 32;
	float s = share_of(m), part[2];

	if (t >= m.n_rows)
		return;
	for (int path = 0; path < 2; path++) {
		float square = 0;
		for (int i = width * lane; i < m.D; i += 32 * width) {
			few<width> x = load_few<width>(m.x[path][t] + i);
			#pragma unroll
			for (int k = 0; k < width; k++)
				square += x.v[k] * x.v[k];
		}
		float scale = 1 / sqrtf(warp_sum(square) / (float)m.D + m.eps);
		part[path] = (path ? 1 - s : s) * scale;
		if (lane == 0)
			m.scale[2 * t + path] = scale;
	}
	if (t == 0 && lane == 0 && m.share)
		*m.share = s;
	for (int i = width * lane; i < m.D; i += 32 * width) {
		few<width> a = load_few<width>(m.x[0][t] + i), b = load_few<width>(m.x[1][t] + i);
		#pragma unroll
		for (int k = 0; k < width; k++)
			a.v[k] = part[0] * weight_of(m, 0, i + k) * a.v[k] +
				part[1] * weight_of(m, 1, i + k) * b.v[k];
		store_few<width>(m.y[t] + i, a);
	}
}

/* The gradient of a row of one path. */
template <int width, typename real>
__device__ __forceinline__ void backward_row(const mixing<real> &m, int path, long t, float share)
{
	float scale = m.scale[2 * t + path], sum = 0;

	for (int i = width * (threadIdx.x % 32); i < m.D; i += 32 * width) {
		few<width> x = load_few<width>(m.x[path][t] + i), dy = load_few<width>(m.dy[t] + i);
		#pragma unroll
		for (int k = 0; k < width; k++)
			sum += weight_of(m, path, i + k) * dy.v[k] * x.v[k] * scale;
	}
	float mean = warp_sum(sum) / (float)m.D;
	for (int i = width * (threadIdx.x % 32); i < m.D; i += 32 * width) {
		few<width> x = load_few<width>(m.x[path][t] + i), dy = load_few<width>(m.dy[t] + i), old = {};
		if (m.add[path])
			old = load_few<width>(m.d[path][t] + i);
		#pragma unroll
		for (int k = 0; k < width; k++)
			old.v[k] += share * scale * (weight_of(m, path, i + k) * dy.v[k] - x.v[k] * scale * mean);
		store_few<width>(m.d[path][t] + i, old);
	}
}

template <int width, typename real>
__global__ void mix_backward(const mixing<real> m)
{
	long t = (long)blockIdx.x * WARPS + threadIdx.x / 32;
	float s = share_of(m);

	if (t >= m.n_rows)
		return;
	for (int path = 0; path < 2; path++)
		if (m.d[path].at)
			backward_row<width>(m, path, t, path ? 1 - s : s);
}

/* Sums of dy u and dy v over MIX_PART_ROWS rows: 32 columns a block, every eighth row a warp. */
template <typename real>
__global__ void mix_columns(const mixing<real> m)
{
	float2 *all = shared_memory<float2>();
	long from = (long)blockIdx.x * MIX_PART_ROWS, to = min(from + MIX_PART_ROWS, m.n_rows);
	int i = (int)blockIdx.y * 32 + threadIdx.x % 32;
	float2 sum = make_float2(0, 0);

	for (long t = from + threadIdx.x / 32; i < m.D && t < to; t += WARPS) {
		float dy = to_float(m.dy[t][i]);
		sum.x += dy * to_float(m.x[0][t][i]) * m.scale[2 * t];
		sum.y += dy * to_float(m.x[1][t][i]) * m.scale[2 * t + 1];
	}
	all[threadIdx.x] = sum;
	__syncthreads();
	if (threadIdx.x >= 32 || i >= m.D)
		return;
	for (int k = 1; k < WARPS; k++) {
		sum.x += all[k * 32 + threadIdx.x].x;
		sum.y += all[k * 32 + threadIdx.x].y;
	}
	m.parts[2 * blockIdx.x * (long)m.D + i] = sum.x;
	m.parts[(2 * blockIdx.x + 1) * (long)m.D + i] = sum.y;
}

struct gradients {
	float *alpha, *w[2];	/* or NULL */
	bool add_alpha, add_w[2];
};

/* One block: gradients of weights and alpha from the column sums [2, D]. */
template <typename real>
__global__ void mix_parameters(const mixing<real> m, const float *sums, gradients to)
{
	float *all = shared_memory<float>(), s = share_of(m), total = 0;

	for (int i = threadIdx.x; i < m.D; i += THREADS)
		for (int path = 0; path < 2; path++) {
			float g = sums[(long)path * m.D + i];
			total += (path ? -1 : 1) * weight_of(m, path, i) * g;
			if (to.w[path])
				to.w[path][i] = (path ? 1 - s : s) * g + (to.add_w[path] ? to.w[path][i] : 0);
		}
	all[threadIdx.x] = total;
	__syncthreads();
	if (threadIdx.x || !to.alpha)
		return;
	for (int k = 1; k < THREADS; k++)
		total += all[k];
	*to.alpha = s * (1 - s) * total + (to.add_alpha ? *to.alpha : 0);
}

/* The same where each channel has its alpha. */
__global__ void mix_channel_parameters(const channels c, const float *sums, gradients to)
{
	int i = (int)(blockIdx.x * THREADS + threadIdx.x);

	if (i >= c.D)
		return;
	float s = logistic(c.alpha[i]), a = sums[i], b = sums[c.D + i];
	if (to.w[0])
		to.w[0][i] = s * a + (to.add_w[0] ? to.w[0][i] : 0);
	if (to.w[1])
		to.w[1][i] = (1 - s) * b + (to.add_w[1] ? to.w[1][i] : 0);
	if (to.alpha)
		to.alpha[i] = s * (1 - s) * (c.given(0, i) * a - c.given(1, i) * b) +
			(to.add_alpha ? to.alpha[i] : 0);
}

channels channels_of(const struct op_run *r)
{
	float *share = floats_of(r->out[MIX_SHARE]);

	return {floats_of(r->in[MIX_ALPHA]), {floats_of(r->in[MIX_WA_D]), floats_of(r->in[MIX_WB_D])},
		(float *)r->saved[MIX_WEIGHT_2D]->at, share, (int)tensor_width(r->in[MIX_A_BTD])};
}

template <typename real>
bool eights(const struct op_run *r)
{
	bool fit = true;

	for (int i = MIX_A_BTD; i <= MIX_B_BTD; i++)
		fit = fit && aligned8(r->in[i], sizeof(real)) && aligned8(r->d_in[i], sizeof(real));
	return fit && aligned8(r->out[MIX_Y_BTD], sizeof(real)) &&
		aligned8(r->d_out[MIX_Y_BTD], sizeof(real));
}

template <typename real>
void parameters(const struct op_run *r, const mixing<real> &m)
{
	long parts = ceil_div(m.n_rows, MIX_PART_ROWS);
	float *sums = m.parts + parts * 2 * m.D;
	gradients to = {floats_of(r->d_in[MIX_ALPHA]), {floats_of(r->d_in[MIX_WA_D]), floats_of(r->d_in[MIX_WB_D])},
		op_adds(r, MIX_ALPHA), {op_adds(r, MIX_WA_D), op_adds(r, MIX_WB_D)}};

	launch(r, mix_columns<real>, dim3((unsigned)parts, (unsigned)ceil_div(m.D, 32)), THREADS,
		THREADS * sizeof(float2), m);
	reduce_parts_cuda(r, sums, m.parts, parts, 2 * m.D, 2 * m.D, false);
	if (mix_of_channels(r->in[MIX_ALPHA]))
		launch(r, mix_channel_parameters, dim3((unsigned)ceil_div(m.D, THREADS)), THREADS, 0, channels_of(r),
			(const float *)sums, to);
	else
		launch(r, mix_parameters<real>, dim3(1), THREADS, THREADS * sizeof(float), m,
			(const float *)sums, to);
}

}

extern "C" void mix_forward_cuda(const struct op_run *r)
{
	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		mixing<real> m = mixing_of<real>(r);
		m.y = rows_of<real>(r->out[MIX_Y_BTD]);
		if (mix_of_channels(r->in[MIX_ALPHA]))
			launch(r, mix_channels, dim3(1), THREADS, THREADS * sizeof(float), channels_of(r));
		else
			m.share = (float *)r->out[MIX_SHARE]->at;
		launch(r, eights<real>(r) ? mix_forward<8, real> : mix_forward<1, real>,
			dim3((unsigned)ceil_div(m.n_rows, WARPS)), THREADS, 0, m);
	});
}

extern "C" void mix_backward_cuda(const struct op_run *r)
{
	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		mixing<real> m = mixing_of<real>(r);
		m.dy = rows_of<const real>(r->d_out[MIX_Y_BTD]);
		launch(r, eights<real>(r) ? mix_backward<8, real> : mix_backward<1, real>,
			dim3((unsigned)ceil_div(m.n_rows, WARPS)), THREADS, 0, m);
		if (r->d_in[MIX_ALPHA] || r->d_in[MIX_WA_D] || r->d_in[MIX_WB_D])
			parameters(r, m);
	});
}
