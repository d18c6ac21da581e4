/*
 * delta_step: a thread has a column of a head's memory and walks through tokens and keys; neighbours read
 * neighbours of a row. All threads of a head make the norms of its k and q, from the same few numbers.
 */
extern "C" {
#include "op/delta_kernels.h"
#include "op/delta_step.h"
}
#include "op/cuda/kit.cuh"
#include "op/kit/vec.h"

namespace {

enum { THREADS = 64 };

template <typename real>
struct operands {
	rows<const real> q, k, v, braw, dtraw;
	rows<const float> a_log, bias;
	rows<const int> start;
	rows<float> S;
	rows<real> y;
	struct delta_dims n;
};

/* scale over the norm of K numbers */
template <typename real>
__device__ __forceinline__ float scale_of(const real *x, long K, float scale)
{
	float square = (float)DELTA_EPS;

	for (long i = 0; i < K; i++)
		square += to_float(x[i]) * to_float(x[i]);
	return scale / sqrtf(square);
}

/* A token: the column S, whose rows are ld apart, and what q reads from it. */
template <typename real>
__device__ __forceinline__ float step(const real *q, const real *k, float v, float beta, float keep, long K,
	float *S, long ld)
{
	float k_scale = scale_of(k, K, 1), q_scale = scale_of(q, K, 1 / sqrtf((float)K)), u = 0, y = 0;

	for (long i = 0; i < K; i++)
		u += S[i * ld] * k_scale * to_float(k[i]);
	u = beta * (v - keep * u);
	for (long i = 0; i < K; i++) {
		float s = keep * S[i * ld] + k_scale * to_float(k[i]) * u;
		S[i * ld] = s;
		y += q_scale * to_float(q[i]) * s;
	}
	return y;
}

template <typename real>
__global__ void delta_step_kernel(operands<real> o)
{
	long j = (long)blockIdx.x * THREADS + threadIdx.x, h = blockIdx.y, b = blockIdx.z, K = o.n.K;

	if (j >= o.n.V)
		return;
	float *S = o.S[(b * o.n.H + h) * K] + j, rate = vec_exp(o.a_log[0][h]);
	for (long t = 0; t < o.n.T; t++) {
		long row = b * o.n.T + t;
		float dt = vec_softplus(to_float(o.dtraw[row][h]) + o.bias[0][h]);
		bool fresh = o.start.at && o.start[b][t] == t;
		float y = step(o.q[row] + h * K, o.k[row] + h * K, to_float(o.v[row][h * o.n.V + j]),
			vec_sigmoid(to_float(o.braw[row][h])), fresh ? 0.0f : vec_exp(-dt * rate), K, S, o.S.ld);
		o.y[row][h * o.n.V + j] = from_float<real>(y);
	}
}

}

extern "C" void delta_step_forward_cuda(const struct op_run *r)
{
	struct delta_dims d = delta_dims(r->in, (const struct delta_attr *)r->attr);

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		operands<real> o = {rows_of<const real>(r->in[DELTA_Q_BTK]), rows_of<const real>(r->in[DELTA_K_BTK]),
			rows_of<const real>(r->in[DELTA_V_BTV]), rows_of<const real>(r->in[DELTA_BRAW_BTH]),
			rows_of<const real>(r->in[DELTA_DTRAW_BTH]), rows_of<const float>(r->in[DELTA_ALOG_H]),
			rows_of<const float>(r->in[DELTA_DTBIAS_H]), rows_of<const int>(r->in[DELTA_START_BT]),
			rows_of<float>(r->in[DELTA_S_BKV]), rows_of<real>(r->out[DELTA_Y_BTV]), d};
		launch(r, delta_step_kernel<real>, dim3((unsigned)ceil_div(d.V, THREADS), (unsigned)d.H,
			(unsigned)d.B), THREADS, 0, o);
	});
}
