/*
 * phase on the GPU: forward a thread has one angle of a head and walks through the tokens; backward likewise,
 * from the last token back, leaving g, of which then each angle and each step size of a token takes its sum.
 */
extern "C" {
#include "op/phase.h"
}
#include "op/cuda/kit.cuh"
#include "op/kit/vec.h"

namespace {

enum { THREADS = 128 };

constexpr float PI = 3.14159265358979f;

template <typename real>
struct operands {
	rows<const real> angle;
	rows<const float> dt;
	rows<const int> start;
	rows<float> carried;
	int B, T, H, S;
};

/* tanh(x) = 1 - 2 logistic(-2 x) */
template <typename real>
__device__ __forceinline__ float turn_of(real angle)
{
	return 1 - 2 * vec_sigmoid(-2 * to_float(angle));
}

template <typename real>
__device__ __forceinline__ bool goes_on(const operands<real> &o, int b, int t)
{
	return !(o.start.at && o.start[b][t] == t) && (t > 0 || o.carried.at);
}

template <typename real>
__global__ void phase_kernel(operands<real> o, rows<float> phi)
{
	int i = (int)(blockIdx.x * THREADS + threadIdx.x), M = o.H * o.S, b = i / M, k = i % M;
	int h = k / o.S, s = k % o.S;
	double sum = 0;

	if (b >= o.B)
		return;
	if (o.carried.at)
		sum = o.carried[b * o.H + h][s];
	#pragma unroll 4
	for (int t = 0; t < o.T; t++) {
		long row = (long)b * o.T + t;
		float turn = PI * turn_of(o.angle[row][s]) * o.dt[row][h];
		sum = (goes_on(o, b, t) ? sum : 0) + turn;
		phi[row][k] = (float)sum;
	}
	if (o.carried.at)
		o.carried[b * o.H + h][s] = (float)(sum - 2 * (double)M_PI * rint(sum / (2 * (double)M_PI)));
}

template <typename real>
__global__ void followed_kernel(operands<real> o, rows<const float> dphi, float *g)
{
	int i = (int)(blockIdx.x * THREADS + threadIdx.x), M = o.H * o.S, b = i / M, k = i % M;
	float sum = 0;

	if (b >= o.B)
		return;
	#pragma unroll 4
	for (int t = o.T - 1; t >= 0; t--) {
		long row = (long)b * o.T + t;
		bool followed = t + 1 < o.T && goes_on(o, b, t + 1);
		sum = (followed ? sum : 0) + dphi[row][k];
		g[row * M + k] = sum;
	}
}

/* A thread has an angle of a token, and those behind them a step size. */
template <typename real>
__global__ void sums_kernel(operands<real> o, const float *g, rows<real> dangle, rows<float> ddt, bool add_angle,
	bool add_dt)
{
	long i = (long)blockIdx.x * THREADS + threadIdx.x, row = i / (o.S + o.H), M = (long)o.H * o.S;
	int k = (int)(i % (o.S + o.H)), h = k - o.S;
	float sum = 0;

	if (row >= (long)o.B * o.T)
		return;
	if (h < 0 && dangle.at) {
		float turn = turn_of(o.angle[row][k]);
		for (int j = 0; j < o.H; j++)
			sum += g[row * M + j * o.S + k] * o.dt[row][j];
		sum *= PI * (1 - turn * turn);
		dangle[row][k] = from_float<real>(sum + (add_angle ? to_float(dangle[row][k]) : 0));
	}
	if (h >= 0 && ddt.at) {
		for (int s = 0; s < o.S; s++)
			sum += g[row * M + h * o.S + s] * PI * turn_of(o.angle[row][s]);
		ddt[row][h] = sum + (add_dt ? ddt[row][h] : 0);
	}
}

template <typename real>
operands<real> operands_of(const struct op_run *r)
{
	const struct tensor *angle = r->in[PHASE_ANGLE_BTS], *dt = r->in[PHASE_DT_BTH];

	return {rows_of<const real>(angle), rows_of<const float>(dt), rows_of<const int>(r->in[PHASE_START_BT]),
		rows_of<float>(r->in[PHASE_CARRIED_BHS]), (int)angle->dims[0], (int)angle->dims[1],
		(int)tensor_width(dt), (int)tensor_width(angle)};
}

template <typename real>
dim3 columns_of(const operands<real> &o)
{
	return dim3((unsigned)ceil_div((long)o.B * o.H * o.S, THREADS));
}

}  // namespace

extern "C" void phase_forward_cuda(const struct op_run *r)
{
	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		operands<real> o = operands_of<real>(r);
		launch(r, phase_kernel<real>, columns_of(o), THREADS, 0, o, rows_of<float>(r->out[PHASE_PHI_BTM]));
	});
}

extern "C" void phase_backward_cuda(const struct op_run *r)
{
	float *g = (float *)r->workspace;

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		operands<real> o = operands_of<real>(r);
		long sums = (long)o.B * o.T * (o.S + o.H);
		launch(r, followed_kernel<real>, columns_of(o), THREADS, 0, o,
			rows_of<const float>(r->d_out[PHASE_PHI_BTM]), g);
		launch(r, sums_kernel<real>, dim3((unsigned)ceil_div(sums, THREADS)), THREADS, 0, o, (const float *)g,
			rows_of<real>(r->d_in[PHASE_ANGLE_BTS]), rows_of<float>(r->d_in[PHASE_DT_BTH]),
			op_adds(r, PHASE_ANGLE_BTS), op_adds(r, PHASE_DT_BTH));
	});
}
