/*
 * place on the GPU. Where the order is by score tokens of a group are sorted, a launch for each doubling of runs
 * that are in order. Then five launches: units of 32 choices count the experts they name; a warp for each
 * group and expert turns these counts into ranks; one block lays out the segments; units hand out rows; and
 * tokens that got one are counted.
 */
extern "C" {
#include "op/place_rule.h"
}
#include "op/cuda/placing.cuh"

namespace {

enum { SETTLE_WARPS = 16, SETTLE_THREADS = SETTLE_WARPS * WARP_LANES };

struct place_forward {
	long n, group, group_units, units;	/* choices, of a group; units of a group, of all */
	long tokens;				/* of a group, where all firsts have their turns first; else 0 */
	const int *sorted;			/* tokens as they then have them, NULL: as they are */
	rows<const float> s;
	int K;
	placing p;
	int *rank_EU;				/* choices of a unit; then rank of the first */
	by_token<const int> expert;
	by_token<int> slot;
	int *token, *wanted, *served;
	long S;
	float *load, *dropped;
	const float *share;	/* of the capacity, NULL: all of it */
	long capacity;		/* as planned; that of p has no more than a group */
};

/* With the capacity that is in force. */
__device__ __forceinline__ void set_capacity(place_forward &f)
{
	if (f.share)
		f.p.capacity = (int)min(place_capacity(*f.share, f.capacity), f.group);
}

/* The choice of this lane in unit u, and the expert it names; -1: none. */
__device__ __forceinline__ int choice_of(const place_forward &f, long u, long *i)
{
	long in_group = u % f.group_units * WARP_LANES + threadIdx.x % WARP_LANES;

	*i = u / f.group_units * f.group + in_group;
	if (f.tokens) {
		long t = u / f.group_units * f.tokens + in_group % f.tokens;
		*i = (f.sorted ? f.sorted[t] : t) * f.K + in_group / f.tokens;
	}
	return in_group < f.group ? f.expert[*i] : -1;
}

/* The score of its first choice. */
__device__ __forceinline__ float priority(const place_forward &f, int t)
{
	int e = f.expert[(long)t * f.K];
	float s = e < 0 ? NAN : f.s[t][e];

	return s == s ? s : -INFINITY;
}

/* Tokens of a group in runs that are in order become runs of twice as many; of equals the left one is first. A
   token moves by those of the run beside its own that come before it. from NULL: tokens as they are. */
__global__ void merge(place_forward f, const int *from, int *to, long run)
{
	long i = (long)blockIdx.x * ROW_THREADS + threadIdx.x, at = i % f.tokens, group = i - at;

	if (i >= f.n / f.K)
		return;
	long begin = at / (2 * run) * 2 * run, middle = min(begin + run, f.tokens);
	bool left = at < middle;
	long low = left ? middle : begin, high = left ? min(middle + run, f.tokens) : middle;
	int own = from ? from[i] : (int)i;
	float mine = priority(f, own);
	while (low < high) {
		long j = (low + high) / 2;
		float other = priority(f, from ? from[group + j] : (int)(group + j));
		if (left ? other > mine : other >= mine)
			low = j + 1;
		else
			high = j;
	}
	to[group + at + low - middle] = own;
}

__global__ void count(place_forward f)
{
	long u = row_of_warp(), i;
	int lane = threadIdx.x % WARP_LANES;

	for (long s = (long)blockIdx.x * ROW_THREADS + threadIdx.x; s < f.S;
		s += (long)gridDim.x * ROW_THREADS)
		f.token[s] = -1;
	if (u >= f.units)
		return;
	int mine = choice_of(f, u, &i);
	for (int e0 = 0; e0 < f.p.E; e0 += WARP_LANES) {
		int n = 0;
		for (int j = 0; j < WARP_LANES && e0 + j < f.p.E; j++) {
			unsigned chose = __ballot_sync(0xffffffffu, mine == e0 + j);
			n = lane == j ? __popc(chose) : n;
		}
		if (e0 + lane < f.p.E)
			f.rank_EU[(e0 + lane) * f.units + u] = n;
	}
}

__global__ void rank(place_forward f)
{
	long i = row_of_warp(), g = i / f.p.E, e = i % f.p.E;

	if (g >= f.p.groups)
		return;
	int n = rank_units(f.rank_EU + e * f.units + g * f.group_units, f.group_units);
	if (threadIdx.x % WARP_LANES == 0)
		f.p.count_GE[g * f.p.E + e] = n;
}

/* One block. Shared: rows of the experts. */
__global__ void __launch_bounds__(SETTLE_THREADS) settle(place_forward f)
{
	int *rows_E = shared_memory<int>(), warp = threadIdx.x / WARP_LANES;
	double all = 0, kept = 0;

	set_capacity(f);
	for (int e = warp; e < f.p.E; e += SETTLE_WARPS) {
		int2 n = settle_expert(f.p, e);
		if (threadIdx.x % WARP_LANES == 0) {
			rows_E[e] = n.x;
			f.wanted[e] = n.y;
		}
	}
	__syncthreads();
	if (warp == 0) {
		settle_segments(f.p, rows_E);
		return;
	}
	for (int e = 0; e < f.p.E; e++) {
		all += f.wanted[e];
		kept += rows_E[e];
	}
	for (int e = threadIdx.x - WARP_LANES; e < f.p.E; e += SETTLE_THREADS - WARP_LANES)
		f.load[e] = (float)(f.wanted[e] / fmax(all, 1.0));
	if (threadIdx.x == WARP_LANES) {
		f.dropped[0] = (float)(all - kept);
		f.dropped[1] = (float)all;
		*f.served = 0;
	}
}

__global__ void put_choices(place_forward f)
{
	long u = row_of_warp(), i;
	int lane = threadIdx.x % WARP_LANES, slot = -1;

	if (u >= f.units)
		return;
	set_capacity(f);
	int e = choice_of(f, u, &i);
	unsigned same = __match_any_sync(0xffffffffu, e);
	if (e >= 0) {
		int rank = f.rank_EU[e * f.units + u] + __popc(same & ((1u << lane) - 1));
		if (rank < f.p.capacity)
			slot = f.p.first[e] +
				f.p.start_EG[e * f.p.groups + u / f.group_units] + rank;
	}
	if (u % f.group_units * WARP_LANES + lane >= f.group)
		return;
	f.slot[i] = slot;
	if (slot >= 0)
		f.token[slot] = (int)i;
}

/* A thread for each token; sums of integers do not depend on their order. */
__global__ void serve(place_forward f)
{
	long t = (long)blockIdx.x * ROW_THREADS + threadIdx.x;
	bool any = false;

	for (int k = 0; t < f.n / f.K && k < f.K; k++)
		any |= f.slot[t * f.K + k] >= 0;
	unsigned served = __ballot_sync(0xffffffffu, any);
	if (served && threadIdx.x % WARP_LANES == 0)
		atomicAdd(f.served, __popc(served));
}

place_forward sizes_of(const struct place_attr *attr, const struct tensor *expert)
{
	place_forward f = {};

	f.n = tensor_size(expert);
	f.group = attr->group_tokens * tensor_width(expert);
	f.group_units = ceil_div(f.group, WARP_LANES);
	f.p.groups = f.n / f.group;
	f.units = f.p.groups * f.group_units;
	f.tokens = attr->order == PLACE_BY_TOKEN ? 0 : attr->group_tokens;
	f.K = (int)tensor_width(expert);
	f.p.E = (int)attr->n_experts;
	f.capacity = attr->capacity;
	f.p.capacity = (int)(attr->capacity && attr->capacity < f.group ? attr->capacity : f.group);
	return f;
}

/* Into two rooms of a number for each token. */
void sort_tokens(const struct op_run *r, place_forward *f, int *room)
{
	long n = f->n / f->K;

	for (long run = 1; run < f->tokens; run *= 2) {
		int *to = f->sorted == room ? room + n : room;
		launch(r, merge, dim3((unsigned)ceil_div(n, ROW_THREADS)), ROW_THREADS, 0, *f, f->sorted, to, run);
		f->sorted = to;
	}
}

}  // namespace

extern "C" void place_room_cuda(struct op_shapes *s)
{
	const struct place_attr *attr = (const struct place_attr *)s->attr;
	place_forward f = sizes_of(attr, s->in[PLACE_EXPERT_BTK]);
	long sorted = attr->order == PLACE_BY_SCORE ? 2 * (f.n / f.K) : 0;

	s->forward_workspace = (f.p.E * (f.units + 2 * f.p.groups) + sorted) * sizeof(int);
}

extern "C" void place_forward_cuda(const struct op_run *r)
{
	const struct tensor *expert = r->in[PLACE_EXPERT_BTK], *token = r->out[PLACE_TOKEN_S];
	place_forward f = sizes_of((const struct place_attr *)r->attr, expert);

	f.rank_EU = (int *)r->workspace;
	f.p.count_GE = f.rank_EU + f.p.E * f.units;
	f.p.start_EG = f.p.count_GE + f.p.E * f.p.groups;
	f.p.first = (int *)r->out[PLACE_FIRST_E1]->at;
	f.p.count_E = (int *)r->out[PLACE_COUNT_E]->at;
	f.p.stride = token->n_dims == 2 ? token->dims[1] : 0;
	f.expert = by_token_of<const int>(expert);
	f.slot = by_token_of<int>(r->out[PLACE_SLOT_BTK]);
	f.token = (int *)token->at;
	f.S = tensor_size(token);
	f.wanted = (int *)r->out[PLACE_WANTED_E]->at;
	f.served = (int *)r->out[PLACE_SERVED]->at;
	f.load = (float *)r->out[PLACE_LOAD_E]->at;
	f.dropped = (float *)r->out[PLACE_DROPPED]->at;
	f.share = floats_of(r->in[PLACE_SHARE]);
	f.s = rows_of<const float>(r->in[PLACE_S_BTE]);
	if (f.s.at)
		sort_tokens(r, &f, f.p.start_EG + f.p.E * f.p.groups);
	launch(r, count, grid_of_rows(f.units), ROW_THREADS, 0, f);
	launch(r, rank, grid_of_rows(f.p.groups * f.p.E), ROW_THREADS, 0, f);
	launch(r, settle, dim3(1), SETTLE_THREADS, f.p.E * sizeof(int), f);
	launch(r, put_choices, grid_of_rows(f.units), ROW_THREADS, 0, f);
	launch(r, serve, dim3((unsigned)ceil_div(f.n / f.K, ROW_THREADS)), ROW_THREADS, 0, f);
}
