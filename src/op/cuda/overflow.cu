/*
 * overflow on the GPU, in two launches: a warp goes through the choices of a group, 32 at a time, all that have room
 * at once, and stops at each that has none to look through all experts; one block sums up what was wanted.
 */
extern "C" {
#include "op/overflow.h"
#include "op/place_rule.h"
}
#include "op/cuda/candidate.cuh"
#include "op/cuda/moe.cuh"

namespace {

struct overflow_forward {
	long group, groups;		/* choices of a group */
	long capacity;
	int K, E;
	by_token<const int> expert;
	by_token<int> taken;
	rows<const float> s;
	const float *bias, *share;	/* NULL: none; all of the capacity */
	int *wanted_GE, *wanted;
	float *load;
};

/* Has the token of choice i named expert e, or does one of its choices before i have it already? */
__device__ __forceinline__ bool has(const overflow_forward &f, long i, int e)
{
	long first = i / f.K * f.K;
	bool any = false;

	for (long j = first; j < first + f.K; j++)
		any |= f.expert[j] == e || (j < i && f.taken[j] == e);
	return any;
}

/* For choice i, by a warp; INT_MAX: none has room. */
__device__ __forceinline__ int next_best(const overflow_forward &f, long i, const int *left)
{
	const float *s = f.s[i / f.K];
	candidate best = {0, INT_MAX};

	for (int e = threadIdx.x; e < f.E; e += WARP_LANES) {
		candidate c = {s[e] + (f.bias ? f.bias[e] : 0), e};
		if (left[e] > 0 && c.score == c.score && better(c, best) && !has(f, i, e))
			best = c;
	}
	return best_of_warp(best).expert;
}

/* The choices from first on, one a lane. e: of this lane's, -1: none. */
__device__ void fill(const overflow_forward &f, long first, int e, bool there, int *left)
{
	unsigned todo = 0xffffffffu, below = (1u << threadIdx.x) - 1;

	while (todo) {
		unsigned same = __match_any_sync(0xffffffffu, e) & todo;
		bool fits = e < 0 || __popc(same & below) < left[e];
		unsigned late = __ballot_sync(0xffffffffu, !fits) & todo;
		int stop = late ? __ffs(late) - 1 : WARP_LANES;	/* the first that has no room */
		unsigned now = late ? todo & ((1u << stop) - 1) : todo;
		__syncwarp();
		if (now >> threadIdx.x & 1 && there) {
			f.taken[first + threadIdx.x] = e;
			if (e >= 0 && (same & now & below) == 0)
				left[e] -= __popc(same & now);
		}
		__syncwarp();
		todo &= ~now;
		if (!late)
			break;
		int next = next_best(f, first + stop, left);
		__syncwarp();
		if (threadIdx.x == (unsigned)stop) {
			f.taken[first + stop] = next == INT_MAX ? e : next;
			if (next != INT_MAX)
				left[next]--;
		}
		__syncwarp();
		todo &= ~(1u << stop);
	}
}

/* A warp a group. Shared: places left, and choices, of each expert. */
__global__ void __launch_bounds__(WARP_LANES) take_next(overflow_forward f)
{
	int *left = shared_memory<int>(), *wanted = left + f.E;
	long begin = blockIdx.x * f.group;
	int room = (int)min(f.share ? place_capacity(*f.share, f.capacity) : f.capacity, f.group);

	for (int e = threadIdx.x; e < f.E; e += WARP_LANES) {
		left[e] = room;
		wanted[e] = 0;
	}
	__syncwarp();
	for (long i0 = 0; i0 < f.group; i0 += WARP_LANES) {
		bool there = i0 + threadIdx.x < f.group;
		int e = there ? f.expert[begin + i0 + threadIdx.x] : -1;
		unsigned same = __match_any_sync(0xffffffffu, e);
		if (e >= 0 && (same & ((1u << threadIdx.x) - 1)) == 0)
			wanted[e] += __popc(same);
		fill(f, begin + i0, e, there, left);
	}
	__syncwarp();
	for (int e = threadIdx.x; e < f.E; e += WARP_LANES)
		f.wanted_GE[(long)blockIdx.x * f.E + e] = wanted[e];
}

__global__ void __launch_bounds__(ROW_THREADS) sum(overflow_forward f)
{
	double all = 0;

	for (int e = threadIdx.x; e < f.E; e += ROW_THREADS) {
		int n = 0;
		for (long g = 0; g < f.groups; g++)
			n += f.wanted_GE[g * f.E + e];
		f.wanted[e] = n;
	}
	__syncthreads();
	for (int e = 0; e < f.E; e++)
		all += f.wanted[e];
	for (int e = threadIdx.x; e < f.E; e += ROW_THREADS)
		f.load[e] = (float)(f.wanted[e] / fmax(all, 1.0));
}

overflow_forward sizes_of(const struct overflow_attr *attr, const struct tensor *expert, const struct tensor *s)
{
	overflow_forward f = {};

	f.K = (int)tensor_width(expert);
	f.E = (int)tensor_width(s);
	f.group = attr->group_tokens * f.K;
	f.groups = tensor_size(expert) / f.group;
	f.capacity = attr->capacity;
	return f;
}

}  // namespace

extern "C" void overflow_room_cuda(struct op_shapes *s)
{
	overflow_forward f = sizes_of((const struct overflow_attr *)s->attr, s->in[OVERFLOW_EXPERT_BTK],
		s->in[OVERFLOW_S_BTE]);

	s->forward_workspace = f.groups * f.E * sizeof(int);
}

extern "C" void overflow_forward_cuda(const struct op_run *r)
{
	const struct tensor *expert = r->in[OVERFLOW_EXPERT_BTK], *s = r->in[OVERFLOW_S_BTE];
	overflow_forward f = sizes_of((const struct overflow_attr *)r->attr, expert, s);

	f.expert = by_token_of<const int>(expert);
	f.taken = by_token_of<int>(r->out[OVERFLOW_TAKEN_BTK]);
	f.s = rows_of<const float>(s);
	f.bias = floats_of(r->in[OVERFLOW_BIAS_E]);
	f.share = floats_of(r->in[OVERFLOW_SHARE]);
	f.wanted_GE = (int *)r->workspace;
	f.wanted = (int *)r->out[OVERFLOW_WANTED_E]->at;
	f.load = (float *)r->out[OVERFLOW_LOAD_E]->at;
	launch(r, take_next, dim3((unsigned)f.groups), WARP_LANES, 2 * f.E * sizeof(int), f);
	launch(r, sum, dim3(1), ROW_THREADS, 0, f);
}
