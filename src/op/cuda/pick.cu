/*
 * pick on the GPU: a block walks through a sequence in tiles of THREADS tokens, numbers the picked ones by
 * votes of warps, then finds where the documents of its rows begin. Integers alone, so in no order.
 */
extern "C" {
#include "op/document_start.h"
#include "op/pick.h"
}
#include "op/cuda/moe.cuh"
#include "op/kit/vec.h"

namespace {

enum { THREADS = 256, WARPS = THREADS / 32 };

struct operands {
	rows<const float> logit, threshold;
	rows<const int> start;
	by_token<const int> mask;
	rows<int> carried, slot, token, start_row;
	rows<float> gate;
	int *before, *picked, *there;	/* before: [B, T]; the others of each sequence */
	int T, M;
};

/* Over the block, with those of lower threads in *below; `one` has a number for each warp. */
__device__ __forceinline__ int count_votes(bool vote, int *one, int *below)
{
	unsigned votes = __ballot_sync(~0u, vote);
	int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, all = 0;

	__syncthreads();
	if (lane == 0)
		one[warp] = __popc(votes);
	__syncthreads();
	*below = __popc(votes & ((1u << lane) - 1));
	for (int w = 0; w < WARPS; w++) {
		*below += w < warp ? one[w] : 0;
		all += one[w];
	}
	return all;
}

__device__ __forceinline__ void put_token(const operands &o, long b, int t, int j, bool picked)
{
	bool kept = picked && j < o.M;
	float logit = o.logit[b * o.T + t][0];

	o.before[b * o.T + t] = j;
	o.slot[b][t] = kept ? (int)(b * o.M) + j : -1;
	o.gate[b][t] = kept ? vec_sigmoid(logit) : 0.0f;
	if (kept)
		o.token[b][j] = (int)(b * o.T + t);
}

/* Of the rows from n on no one's. */
__device__ __forceinline__ void start_rows(const operands &o, long b, int n)
{
	int earlier = o.carried.at ? o.carried[b][0] : 0, last = o.start.at ? o.start[b][o.T - 1] : 0;

	for (int j = (int)threadIdx.x; j < o.M; j += THREADS) {
		if (j >= n) {
			o.token[b][j] = -1;
			o.start_row[b][j] = o.carried.at ? NOT_THERE : j;
			continue;
		}
		int of = o.start.at ? o.start[b][o.token[b][j] - b * o.T] : 0;
		o.start_row[b][j] = of < 0 ? -earlier : o.before[b * o.T + of];
	}
	__syncthreads();
	if (o.carried.at && threadIdx.x == 0)
		o.carried[b][0] = last < 0 ? earlier + min(n, o.M) : min(n, o.M) - min(o.before[b * o.T + last], o.M);
}

/* Launched on sequences. */
__global__ void pick_kernel(operands o)
{
	int *one = shared_memory<int>(), n = 0, n_there = 0, below;
	long b = blockIdx.x;

	for (int at = 0; at < o.T; at += THREADS) {
		int t = at + (int)threadIdx.x, tile;
		bool there = t < o.T && (!o.mask.at || o.mask[b * o.T + t] >= 0);
		bool picked = there && o.logit[b * o.T + t][0] > o.threshold[0][0];
		n_there += count_votes(there, one, &below);
		tile = count_votes(picked, one, &below);
		if (t < o.T)
			put_token(o, b, t, n + below, picked);
		n += tile;
	}
	__syncthreads();
	start_rows(o, b, n);
	if (threadIdx.x == 0) {
		o.picked[b] = n;
		o.there[b] = n_there;
	}
}

/* One thread. */
__global__ void count_kernel(operands o, int *first, int *count, float *share, int B)
{
	first[0] = 0;
	first[1] = B * o.M;
	count[0] = count[1] = 0;
	for (int b = 0; b < B; b++) {
		count[0] += o.picked[b];
		count[1] += o.there[b];
	}
	*share = count[1] ? (float)count[0] / (float)count[1] : 0.0f;
}

__global__ void pick_backward_kernel(rows<float> d_logit, rows<const float> gate, rows<const float> d_gate,
	long n, int T, bool add)
{
	long i = (long)blockIdx.x * THREADS + threadIdx.x;

	if (i >= n)
		return;
	float g = gate[i / T][i % T], d = d_gate[i / T][i % T] * g * (1 - g);
	d_logit[i][0] = d + (add ? d_logit[i][0] : 0);
}

}  // namespace

extern "C" void pick_forward_cuda(const struct op_run *r)
{
	const struct tensor *logit = r->in[PICK_LOGIT_BT1];
	long B = logit->dims[0], T = logit->dims[1];
	int *before = (int *)r->workspace;
	operands o = {rows_of<const float>(logit), rows_of<const float>(r->in[PICK_THRESHOLD]),
		rows_of<const int>(r->in[PICK_START_BT]), by_token_of<const int>(r->in[PICK_MASK_BT]),
		rows_of<int>(r->in[PICK_CARRIED_B]), rows_of<int>(r->out[PICK_SLOT_BT]),
		rows_of<int>(r->out[PICK_TOKEN_BM]), rows_of<int>(r->out[PICK_START_BM]),
		rows_of<float>(r->out[PICK_GATE_BT]), before, before + B * T, before + B * T + B, (int)T,
		(int)((const struct pick_attr *)r->attr)->rows};

	launch(r, pick_kernel, dim3((unsigned)B), THREADS, WARPS * sizeof(int), o);
	launch(r, count_kernel, dim3(1), 1, 0, o, (int *)r->out[PICK_FIRST]->at, (int *)r->out[PICK_COUNT]->at,
		(float *)r->out[PICK_SHARE]->at, (int)B);
}

extern "C" void pick_backward_cuda(const struct op_run *r)
{
	const struct tensor *gate = r->out[PICK_GATE_BT];
	long n = tensor_size(gate);

	launch(r, pick_backward_kernel, dim3((unsigned)ceil_div(n, THREADS)), THREADS, 0,
		rows_of<float>(r->d_in[PICK_LOGIT_BT1]), rows_of<const float>(gate),
		rows_of<const float>(r->d_out[PICK_GATE_BT]), n, (int)tensor_width(gate),
		op_adds(r, PICK_LOGIT_BT1));
}
