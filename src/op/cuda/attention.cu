/* Attention on the GPU: operands, what backward needs of each row first, and the choice of kernels. */
#include "op/cuda/attention.cuh"

namespace {

enum { THREADS = 256 };

template <typename real>
attention<real> attention_of(const struct op_run *r)
{
	const struct attention_attr *attr = (const struct attention_attr *)r->attr;
	const struct tensor *q = r->in[ATTENTION_Q_BTD];
	attention<real> a = {};

	a.q = rows_of<const real>(q);
	a.k = rows_of<const real>(r->in[ATTENTION_K_BTC]);
	a.v = rows_of<const real>(r->in[ATTENTION_V_BTC]);
	a.y = rows_of<real>(r->out[ATTENTION_Y_BTD]);
	a.start = rows_of<const int>(r->in[ATTENTION_START_BT]);
	a.lse = rows_of<float>(r->saved[ATTENTION_LSE_BTH]);
	a.B = (int)q->dims[0];
	a.T = (int)q->dims[1];
	a.H = attr->n_heads;
	a.dh = (int)tensor_width(q) / a.H;
	a.group = (int)attention_group(attr);
	a.reach = attention_reach(attr, a.T) < a.T ? (int)attention_reach(attr, a.T) : ALL_BACK;
	a.scale = 1 / sqrtf((float)a.dh);
	a.scale2 = a.scale * LOG2E;
	return a;
}

template <typename real>
void add_gradients(attention<real> &a, const struct op_run *r)
{
	a.dy = rows_of<const real>(r->d_out[ATTENTION_Y_BTD]);
	a.dq = rows_of<real>(r->d_in[ATTENTION_Q_BTD]);
	a.dk = rows_of<real>(r->d_in[ATTENTION_K_BTC]);
	a.dv = rows_of<real>(r->d_in[ATTENTION_V_BTC]);
	a.add_q = op_adds(r, ATTENTION_Q_BTD);
	a.add_k = op_adds(r, ATTENTION_K_BTC);
	a.add_v = op_adds(r, ATTENTION_V_BTC);
	a.kept_BHT = (float2 *)r->workspace;
}

template <typename real>
__device__ __forceinline__ void keep(const attention<real> &a, const head &w, int t, float delta)
{
	*kept_of(a, w, t) = {a.lse[row_of(a, w, t)][w.h] * LOG2E, delta};
}

/* A warp has a head of a row. */
template <typename real>
__global__ void attention_delta(const attention<real> a)
{
	long i = (long)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
	int lane = threadIdx.x % 32, h = (int)(i % a.H);
	long row = i / a.H;
	float sum = 0;

	if (row >= (long)a.B * a.T)
		return;
	for (int c = lane; c < a.dh; c += 32)
		sum += to_float(a.dy[row][(long)h * a.dh + c]) *
			to_float(a.y[row][(long)h * a.dh + c]);
	sum = warp_sum(sum);
	if (lane == 0)
		keep(a, {(int)(row / a.T), h}, (int)(row % a.T), sum);
}

/* As many lanes as pieces of eight columns in dh = 32, 64 or 128 have a head of a row. Memory ends
   before 2^32 of those heads do. */
template <int dh>
__global__ void attention_delta_eights(const attention<bf16> a)
{
	constexpr int lanes = dh / 8;
	unsigned i = blockIdx.x * (THREADS / lanes) + threadIdx.x / lanes;
	unsigned row = i / a.H, h = i % a.H, b = row / a.T;
	int piece = threadIdx.x % lanes;
	float sum = 0;

	if (b < (unsigned)a.B && 8 * piece < a.dh) {
		unsigned column = h * a.dh + 8 * piece;
		eight dy = load8(a.dy[row] + column), y = load8(a.y[row] + column);
		#pragma unroll
		for (int k = 0; k < 8; k++)
			sum += dy.v[k] * y.v[k];
	}
	#pragma unroll
	for (int step = lanes / 2; step; step /= 2)
		sum += __shfl_xor_sync(0xffffffffu, sum, step);
	if (b < (unsigned)a.B && piece == 0)
		keep(a, {(int)b, (int)h}, (int)(row % a.T), sum);
}

/* May the kernels on tensor cores be used? Never for float. */
bool fits_tensor(const struct op_run *r, const attention<bf16> &a)
{
	const struct tensor *const *x = r->in, *const *d = r->d_in;
	bool fits = a.dh % 8 == 0 && a.dh <= ATTENTION_TENSOR_HEAD &&
		attention_tensor_shared(a.dh) <= r->queue->shared_bytes &&
		aligned8(r->out[ATTENTION_Y_BTD], sizeof(bf16)) &&
		aligned8(r->d_out[ATTENTION_Y_BTD], sizeof(bf16));

	for (int i = ATTENTION_Q_BTD; i <= ATTENTION_V_BTC; i++)
		fits = fits && aligned8(x[i], sizeof(bf16)) && aligned8(d[i], sizeof(bf16));
	return fits;
}

void forward(const struct op_run *r, const attention<float> &a)
{
	attention_plain_forward(r, a);
}

void forward(const struct op_run *r, const attention<bf16> &a)
{
	if (fits_tensor(r, a))
		attention_tensor_forward(r, a);
	else
		attention_plain_forward(r, a);
}

template <typename real>
void backward_plain(const struct op_run *r, const attention<real> &a)
{
	dim3 grid((unsigned)ceil_div((long)a.B * a.T * a.H, THREADS / 32));

	launch(r, attention_delta<real>, grid, THREADS, 0, a);
	attention_plain_backward(r, a);
}

void backward(const struct op_run *r, const attention<float> &a)
{
	backward_plain(r, a);
}

void backward(const struct op_run *r, const attention<bf16> &a)
{
	int lanes = a.dh <= 32 ? 4 : a.dh <= 64 ? 8 : 16;
	dim3 grid((unsigned)ceil_div((long)a.B * a.T * a.H, THREADS / lanes));

	if (!fits_tensor(r, a)) {
		backward_plain(r, a);
		return;
	}
	launch(r, lanes == 4 ? attention_delta_eights<32>
		: lanes == 8 ? attention_delta_eights<64> : attention_delta_eights<128>,
		grid, THREADS, 0, a);
	attention_tensor_backward(r, a);
}

}

extern "C" void attention_forward_cuda(const struct op_run *r)
{
	with_real(r, [&](auto zero) {
		forward(r, attention_of<decltype(zero)>(r));
	});
}

extern "C" void attention_backward_cuda(const struct op_run *r)
{
	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		attention<real> a = attention_of<real>(r);
		add_gradients(a, r);
		backward(r, a);
	});
}
