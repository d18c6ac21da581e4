/*
 * take on the GPU, in three launches: a block for each group and expert finds the least score that is
 * taken, eight bits at a time, and marks the tokens; tiles of tokens are looked through for those that
 * nobody took; one block sums up. Bytes: each score is read six times, its sector with it.
 */
extern "C" {
#include "op/take.h"
#include "op/take_rule.h"
}
#include "op/cuda/moe.cuh"

namespace {

enum { BINS = 256, EACH = BINS / WARP_LANES };
enum { THREADS = BINS, WARPS = THREADS / WARP_LANES, TILE_TOKENS = THREADS };

struct take_forward {
	struct take_attr attr;
	rows<const float> s;
	by_token<const int> mask;
	rows<int> expert;
	long n, T, groups, tiles;
	int E;
	float *cutoff_EG;		/* NAN: the group has no tokens */
	int2 *left;			/* of each tile: tokens that nobody took, tokens */
	float *cutoff, *sum;
};

struct take_shared {
	int bin[BINS];
	int n_of_warp[WARPS];
	unsigned key;			/* of the least score taken, as far as it is known */
	int rest;			/* how many of those that begin with it are taken */
	int there;			/* scores of the group */
};

/* As great as their scores, and above 0; 0: there is none. */
__device__ __forceinline__ unsigned key_of(const take_forward &f, long t, int e)
{
	if (f.mask.at && f.mask[t] < 0)
		return 0;
	float v = f.s[t][e] + 0.0f;	/* -0 counts as 0 */
	unsigned bits = __float_as_uint(v);
	return v != v ? 0 : bits >> 31 ? ~bits : bits | 1u << 31;
}

__device__ __forceinline__ long member(const take_forward &f, long g, long m)
{
	return f.attr.across ? (g / f.T * f.attr.members + m) * f.T + g % f.T : g * f.attr.members + m;
}

/* Counts of the next eight bits of all keys that begin as those taken last do. */
__device__ __forceinline__ void count_bins(const take_forward &f, take_shared *k, long g, int e, int shift)
{
	k->bin[threadIdx.x] = 0;
	__syncthreads();
	for (long m = threadIdx.x; m < f.attr.members; m += THREADS) {
		unsigned key = key_of(f, member(f, g, m), e);
		if (key && (shift == 24 || (key ^ k->key) >> (shift + 8) == 0))
			atomicAdd(&k->bin[key >> shift & 255], 1);
	}
	__syncthreads();
}

/* By one warp, each lane eight bins, the first the highest: the bin in which the last one taken lies, and
   how many of it are. */
__device__ __forceinline__ void find_bin(const take_forward &f, take_shared *k, int shift)
{
	int b = BINS - 1 - (int)threadIdx.x * EACH, own = 0;

	for (int i = 0; i < EACH; i++)
		own += k->bin[b - i];
	int upto = warp_running_sum(own), all = __shfl_sync(0xffffffffu, upto, WARP_LANES - 1);
	/* The first bits say how many there are. */
	int rest = shift == 24 ? (int)take_capacity(f.attr.factor, f.E, all) : k->rest;
	int above = upto - own;
	__syncwarp();
	if (threadIdx.x == 0 && shift == 24)
		k->there = all;
	if (above >= rest || rest > upto)
		return;
	for (; above + k->bin[b] < rest; b--)
		above += k->bin[b];
	k->rest = rest - above;
	k->key |= (unsigned)b << shift;
}

/* Those above the last one taken, and of its equals the first `rest`. */
__device__ __forceinline__ void mark(const take_forward &f, take_shared *k, long g, int e)
{
	int warp = threadIdx.x / WARP_LANES, lane = threadIdx.x % WARP_LANES, equals = 0;

	for (long m0 = 0; m0 < f.attr.members; m0 += THREADS) {
		long m = m0 + threadIdx.x, t = m < f.attr.members ? member(f, g, m) : 0;
		unsigned key = m < f.attr.members ? key_of(f, t, e) : 0;
		bool equal = k->there && key == k->key;
		unsigned same = __ballot_sync(0xffffffffu, equal);
		if (lane == 0)
			k->n_of_warp[warp] = __popc(same);
		__syncthreads();
		int rank = equals + __popc(same & ((1u << lane) - 1));
		for (int w = 0; w < WARPS; w++) {
			rank += w < warp ? k->n_of_warp[w] : 0;
			equals += k->n_of_warp[w];
		}
		bool taken = k->there && (key > k->key || (equal && rank < k->rest));
		if (m < f.attr.members)
			f.expert[t][e] = taken ? e : -1;
		__syncthreads();
	}
}

__global__ void __launch_bounds__(THREADS) take(take_forward f)
{
	take_shared *k = shared_memory<take_shared>();
	long g = blockIdx.x / f.E;
	int e = (int)(blockIdx.x % f.E);

	if (threadIdx.x == 0) {
		k->key = 0;
		k->rest = 0;
	}
	__syncthreads();
	for (int shift = 24; shift >= 0; shift -= 8) {
		count_bins(f, k, g, e, shift);
		if (threadIdx.x < WARP_LANES)
			find_bin(f, k, shift);
		__syncthreads();
	}
	mark(f, k, g, e);
	if (threadIdx.x == 0) {
		unsigned bits = k->key >> 31 ? k->key & ~(1u << 31) : ~k->key;
		f.cutoff_EG[e * f.groups + g] = k->there ? __uint_as_float(bits) : NAN;
	}
}

__global__ void __launch_bounds__(THREADS) count_left(take_forward f)
{
	int *n_of_warp = shared_memory<int>(), warp = threadIdx.x / WARP_LANES;
	long t = (long)blockIdx.x * TILE_TOKENS + threadIdx.x;
	bool there = t < f.n && (!f.mask.at || f.mask[t] >= 0), left = there;

	for (int e = 0; there && e < f.E; e++)
		left = left && f.expert[t][e] < 0;
	unsigned lefts = __ballot_sync(0xffffffffu, left), all = __ballot_sync(0xffffffffu, there);
	if (threadIdx.x % WARP_LANES == 0) {
		n_of_warp[warp] = __popc(lefts);
		n_of_warp[WARPS + warp] = __popc(all);
	}
	__syncthreads();
	if (threadIdx.x > 0)
		return;
	int2 sum = {0, 0};
	for (int w = 0; w < WARPS; w++) {
		sum.x += n_of_warp[w];
		sum.y += n_of_warp[WARPS + w];
	}
	f.left[blockIdx.x] = sum;
}

/* One block; a warp for each expert in turn, the first for the tokens. */
__global__ void __launch_bounds__(THREADS) settle(take_forward f)
{
	int lane = threadIdx.x % WARP_LANES;

	for (int e = threadIdx.x / WARP_LANES; e < f.E; e += WARPS) {
		double sum = 0, groups = 0;
		for (long g = lane; g < f.groups; g += WARP_LANES) {
			float v = f.cutoff_EG[e * f.groups + g];
			sum += v == v ? v : 0;
			groups += v == v;
		}
		sum = warp_sum_f64(sum);
		groups = warp_sum_f64(groups);
		if (lane == 0)
			f.cutoff[e] = (float)(sum / fmax(groups, 1.0));
	}
	if (threadIdx.x >= WARP_LANES)
		return;
	double left = 0, all = 0;
	for (long i = lane; i < f.tiles; i += WARP_LANES) {
		left += f.left[i].x;
		all += f.left[i].y;
	}
	left = warp_sum_f64(left);
	all = warp_sum_f64(all);
	if (lane == 0) {
		f.sum[0] = (float)left;
		f.sum[1] = (float)all;
	}
}

take_forward sizes_of(const struct take_attr *attr, const struct tensor *s)
{
	take_forward f = {};

	f.attr = *attr;
	f.n = tensor_rows(s);
	f.T = s->dims[1];
	f.groups = f.n / attr->members;
	f.tiles = ceil_div(f.n, TILE_TOKENS);
	f.E = (int)tensor_width(s);
	return f;
}

}  // namespace

extern "C" void take_room_cuda(struct op_shapes *s)
{
	take_forward f = sizes_of((const struct take_attr *)s->attr, s->in[TAKE_S_BTE]);

	s->forward_workspace = f.tiles * sizeof *f.left + f.groups * f.E * sizeof *f.cutoff_EG;
}

extern "C" void take_forward_cuda(const struct op_run *r)
{
	const struct tensor *s = r->in[TAKE_S_BTE];
	take_forward f = sizes_of((const struct take_attr *)r->attr, s);

	f.s = rows_of<const float>(s);
	f.mask = by_token_of<const int>(r->in[TAKE_MASK_BT]);
	f.expert = rows_of<int>(r->out[TAKE_EXPERT_BTE]);
	f.left = (int2 *)r->workspace;
	f.cutoff_EG = (float *)(f.left + f.tiles);
	f.cutoff = (float *)r->out[TAKE_CUTOFF_E]->at;
	f.sum = (float *)r->out[TAKE_LEFT]->at;
	launch(r, take, dim3((unsigned)(f.groups * f.E)), THREADS, sizeof(take_shared), f);
	launch(r, count_left, dim3((unsigned)f.tiles), THREADS, 2 * WARPS * sizeof(int), f);
	launch(r, settle, dim3(1), THREADS, 0, f);
}
