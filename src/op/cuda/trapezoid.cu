/*
 * trapezoid on the GPU: forward a thread has a token and head and makes the next token's step once more;
 * backward a block has a head, so that its threads' sums for the bias are added in one order.
 */
extern "C" {
#include "op/trapezoid.h"
}
#include "op/cuda/kit.cuh"
#include "op/kit/vec.h"

namespace {

enum { THREADS = 256 };

template <typename real>
struct operands {
	rows<const real> dtraw, araw, lraw;
	const float *dt_bias;
	rows<const int> start;
	int T, H, past;	/* past: rows in front of the window's */
	long n;		/* tokens of all sequences */
};

struct step {
	float dt, slope, rate, d_rate, lambda;	/* slope: of softplus; d_rate: of the rate -A by araw */
};

template <typename real>
__device__ __forceinline__ step step_of(const operands<real> &o, long row, int h)
{
	float raw = to_float(o.dtraw[row][h]) + o.dt_bias[h], a = to_float(o.araw[row][h]);
	float f = a >= 0 ? 1 + a : 1 / (1 - a);
	bool above = f > (float)TRAPEZOID_LEAST_RATE;

	return {vec_softplus(raw), vec_sigmoid(raw), above ? f : (float)TRAPEZOID_LEAST_RATE,
		above ? (a >= 0 ? 1 : f * f) : 0, vec_sigmoid(to_float(o.lraw[row][h]))};
}

/* Does the token in front of `row` come into it? */
template <typename real>
__device__ __forceinline__ bool has_before(const operands<real> &o, long row)
{
	int s = o.past + (int)(row % o.T);

	return s > 0 && !(o.start.at && o.start[row / o.T][s] == s);
}

/* Of the token in all outputs but dt. */
template <typename real>
__device__ __forceinline__ long out_row(const operands<real> &o, long row)
{
	return row + (row / o.T + 1) * o.past;
}

struct outputs {
	rows<float> decay, weight, own, dt;
};

template <typename real>
__global__ void trapezoid_kernel(operands<real> o, outputs to)
{
	long i = (long)blockIdx.x * THREADS + threadIdx.x, row = i / o.H;
	int h = (int)(i % o.H);
	float later = 0;

	if (row >= o.n)
		return;
	step s = step_of(o, row, h);
	if (row % o.T + 1 < o.T && has_before(o, row + 1)) {
		step next = step_of(o, row + 1, h);
		later = (1 - next.lambda) * next.dt;
	}
	long out = out_row(o, row);
	to.decay[out][h] = -s.dt * s.rate;
	to.own[out][h] = s.lambda * s.dt;
	to.weight[out][h] = s.lambda * s.dt + later;
	to.dt[row][h] = s.dt;
	if (o.past && row % o.T == 0) {
		to.decay[out - 1][h] = to.own[out - 1][h] = 0;
		to.weight[out - 1][h] = has_before(o, row) ? (1 - s.lambda) * s.dt : 0;
	}
}

struct gradients {
	rows<const float> decay, weight, own, dt;	/* NULL: zero */
};

__device__ __forceinline__ float take(const rows<const float> &d, long row, int h)
{
	return d.at ? d[row][h] : 0.0f;
}

template <typename real>
struct results {
	rows<real> dtraw, araw, lraw;
	float *dt_bias;
	bool add_dt, add_a, add_l, add_bias;
};

/* Launched on heads. */
template <typename real>
__global__ void trapezoid_backward_kernel(operands<real> o, gradients d, results<real> to)
{
	float *sums = shared_memory<float>(), sum = 0;
	int h = (int)blockIdx.x;

	for (long row = threadIdx.x; row < o.n; row += THREADS) {
		step s = step_of(o, row, h);
		long out = out_row(o, row);
		float before = has_before(o, row) ? take(d.weight, out - 1, h) : 0;
		float own = take(d.own, out, h) + take(d.weight, out, h), decay = take(d.decay, out, h);
		float g = s.slope * (take(d.dt, row, h) - s.rate * decay + s.lambda * own +
			(1 - s.lambda) * before);
		put(to.dtraw, row, h, to.add_dt, g);
		put(to.araw, row, h, to.add_a, -s.dt * s.d_rate * decay);
		put(to.lraw, row, h, to.add_l, s.dt * (own - before) * s.lambda * (1 - s.lambda));
		sum += g;
	}
	sums[threadIdx.x] = sum;
	__syncthreads();
	if (threadIdx.x || !to.dt_bias)
		return;
	sum = 0;
	for (int i = 0; i < THREADS; i++)
		sum += sums[i];
	to.dt_bias[h] = sum + (to.add_bias ? to.dt_bias[h] : 0);
}

template <typename real>
operands<real> operands_of(const struct op_run *r)
{
	const struct tensor *dt = r->in[TRAPEZOID_DTRAW_BTH];

	return {rows_of<const real>(dt), rows_of<const real>(r->in[TRAPEZOID_ARAW_BTH]),
		rows_of<const real>(r->in[TRAPEZOID_LRAW_BTH]), (const float *)r->in[TRAPEZOID_DTBIAS_H]->at,
		rows_of<const int>(r->in[TRAPEZOID_START_BT]), (int)dt->dims[1], (int)dt->dims[2],
		((const struct trapezoid_attr *)r->attr)->past, tensor_rows(dt)};
}

}  // namespace

extern "C" void trapezoid_forward_cuda(const struct op_run *r)
{
	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		operands<real> o = operands_of<real>(r);
		outputs to = {rows_of<float>(r->out[TRAPEZOID_DECAY_BTH]),
			rows_of<float>(r->out[TRAPEZOID_WEIGHT_BTH]),
			rows_of<float>(r->out[TRAPEZOID_OWN_BTH]), rows_of<float>(r->out[TRAPEZOID_DT_BTH])};
		launch(r, trapezoid_kernel<real>, dim3((unsigned)ceil_div(o.n * o.H, THREADS)), THREADS, 0, o, to);
	});
}

extern "C" void trapezoid_backward_cuda(const struct op_run *r)
{
	const struct tensor *d_bias = r->d_in[TRAPEZOID_DTBIAS_H];

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		operands<real> o = operands_of<real>(r);
		gradients d = {rows_of<const float>(r->d_out[TRAPEZOID_DECAY_BTH]),
			rows_of<const float>(r->d_out[TRAPEZOID_WEIGHT_BTH]),
			rows_of<const float>(r->d_out[TRAPEZOID_OWN_BTH]),
			rows_of<const float>(r->d_out[TRAPEZOID_DT_BTH])};
		results<real> to = {rows_of<real>(r->d_in[TRAPEZOID_DTRAW_BTH]),
			rows_of<real>(r->d_in[TRAPEZOID_ARAW_BTH]), rows_of<real>(r->d_in[TRAPEZOID_LRAW_BTH]),
			floats_of(d_bias), op_adds(r, TRAPEZOID_DTRAW_BTH),
			op_adds(r, TRAPEZOID_ARAW_BTH), op_adds(r, TRAPEZOID_LRAW_BTH),
			op_adds(r, TRAPEZOID_DTBIAS_H)};
		launch(r, trapezoid_backward_kernel<real>, dim3((unsigned)o.H), THREADS,
			THREADS * sizeof(float), o, d, to);
	});
}
