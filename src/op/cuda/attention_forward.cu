/*
 * Attention's forward on tensor cores. A block has 128 queries of a head, a warp 16 of them in registers;
 * keys and values come in tiles of 64, two of each in shared memory, the next on its way while one is
 * used. Per pair of query and key 4 dh FLOPs on tensor cores, an exponential and four operations; bytes:
 * q, k, v and y once, if a head's keys stay in cache.
 */
#include "op/cuda/attention_tile.cuh"

namespace {

enum { WARPS = 8, THREADS = 32 * WARPS, ROWS = 16 * WARPS };

template <int dh>
struct memory {
	tile<dh, ROWS> q;
	struct {
		tile<dh, COLUMNS> k, v;
	} stage[2];
};

/* A base lags behind the maximum by at most this: then no weight is above 2^8, and what has been summed
   so far is scaled anew in few tiles only. */
constexpr float LAG = 8, NOTHING = -1e30f;

/* Rows of a thread: weights are 2^(score - base) for scores in units of log 2, sum those of the thread. */
struct softmax {
	float base[2], sum[2];
	int first_row, last_from;	/* of the warp; the first key that its last row sees */
};

template <int dh>
__device__ __forceinline__ void fetch_keys(memory<dh> *mem, const attention<bf16> &a, const head &w,
	int key)
{
	feed k = feed_from<dh>(a, w, a.k, key), v = feed_from<dh>(a, w, a.v, key);
	auto &to = mem->stage[key / COLUMNS % 2];

	fetch_rows<THREADS>(to.k, k, a.dh, a.T - key);
	fetch_rows<THREADS>(to.v, v, a.dh, a.T - key);
	__pipeline_commit();
}

__device__ __forceinline__ void begin(softmax &x, const attention<bf16> &a, const head &w, int first)
{
	x.first_row = first + uniform((int)threadIdx.x / 32) * 16;
	x.last_from = uniform(first_key(a, w, min(x.first_row + 16, a.T) - 1));
	#pragma unroll
	for (int half = 0; half < 2; half++) {
		x.base[half] = NOTHING;
		x.sum[half] = 0;
	}
}

/* Keys that a row does not see. */
__device__ __forceinline__ void hide(float (&s)[COLUMNS / 8][4], const attention<bf16> &a,
	const head &w, const softmax &x, int key)
{
	#pragma unroll
	for (int half = 0; half < 2; half++) {
		int row = x.first_row + 8 * half + lane_of() / 4;
		int from = first_key(a, w, min(row, a.T - 1));
		#pragma unroll
		for (int j = 0; j < COLUMNS / 8; j++)
			#pragma unroll
			for (int c = 0; c < 2; c++) {
				int at = key + 8 * j + 2 * (lane_of() % 4) + c;
				if (at > row || at < from)
					s[j][2 * half + c] = -INFINITY;
			}
	}
}

/* Moves the bases where a row's maximum has outgrown its own. */
template <int dh>
__device__ __forceinline__ void rebase(float (&y)[dh / 8][4], softmax &x, const float (&most)[2])
{
	#pragma unroll
	for (int half = 0; half < 2; half++) {
		float base = x.base[half];
		float next = most[half] > base + LAG ? most[half] : base;
		float old = exp2_fast(base - next);
		x.base[half] = next;
		x.sum[half] *= old;
		#pragma unroll
		for (int j = 0; j < dh / 8; j++) {
			y[j][2 * half] *= old;
			y[j][2 * half + 1] *= old;
		}
	}
}

/* Products become weights. */
template <int dh>
__device__ __forceinline__ void weigh(float (&s)[COLUMNS / 8][4], float (&y)[dh / 8][4], softmax &x,
	float scale2)
{
	float most[2];
	bool outgrown = false;

	#pragma unroll
	for (int half = 0; half < 2; half++) {
		float top = -INFINITY;
		#pragma unroll
		for (int j = 0; j < COLUMNS / 8; j++)
			top = fmaxf(top, fmaxf(s[j][2 * half], s[j][2 * half + 1]));
		top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
		top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2)) * scale2;
		outgrown = outgrown || top > x.base[half] + LAG;
		most[half] = top;
	}
	if (__any_sync(0xffffffffu, outgrown))
		rebase<dh>(y, x, most);
	#pragma unroll
	for (int j = 0; j < COLUMNS / 8; j++)
		#pragma unroll
		for (int c = 0; c < 4; c++) {
			s[j][c] = exp2_fast(s[j][c] * scale2 - x.base[c / 2]);
			x.sum[c / 2] += s[j][c];
		}
}

/* One tile of keys, of which the warp sees at least one. */
template <int dh>
__device__ __forceinline__ void attend(float (&y)[dh / 8][4], softmax &x,
	const unsigned (&q)[dh / 16][4], const attention<bf16> &a, const head &w, const bf16 *k,
	const bf16 *v, int key)
{
	float s[COLUMNS / 8][4] = {};

	#pragma unroll
	for (int step = 0; step < dh / 16; step++)
		#pragma unroll
		for (int j = 0; j < COLUMNS / 8; j += 2)
			multiply_step<dh>(s, j, q, rows_at<dh>(k, 8 * j), step);
	if (key + COLUMNS - 1 > x.first_row || key < x.last_from)
		hide(s, a, w, x, key);
	weigh<dh>(s, y, x, a.scale2);
	#pragma unroll
	for (int j = 0; j < COLUMNS / 8; j += 2) {
		unsigned p[4];
		as_left(p, s[j], s[j + 1]);
		multiply_columns<dh>(y, p, v, 8 * j);
	}
}

template <int dh>
__device__ __forceinline__ void finish(const attention<bf16> &a, const head &w, softmax &x,
	const float (&y)[dh / 8][4], int first, bf16 *tile)
{
	float factor[2];

	#pragma unroll
	for (int half = 0; half < 2; half++) {
		float sum = x.sum[half];
		int row = x.first_row + 8 * half + lane_of() / 4;
		sum += __shfl_xor_sync(0xffffffffu, sum, 1);
		sum += __shfl_xor_sync(0xffffffffu, sum, 2);
		factor[half] = 1 / sum;
		if (lane_of() % 4 == 0 && row < a.T)
			a.lse[row_of(a, w, row)][w.h] = x.base[half] * LN2 + logf(sum);
	}
	put_rows<dh>(a, w, a.y, false, first, tile, y, factor);
}

template <int dh, bool banded>
__global__ void __launch_bounds__(THREADS, dh > 64 ? 1 : 2)
attention_forward(const attention<bf16> given)
{
	const attention<bf16> a = operands_of<banded>(given);
	memory<dh> *mem = shared_memory<memory<dh>>();
	int tiles = (a.T + ROWS - 1) / ROWS;
	int first = uniform(tiles - 1 - (int)blockIdx.x % tiles) * ROWS;
	head w = uniform(head_of(a, blockIdx.x / tiles)), shared = uniform(shared_of(a, w));
	int key = uniform(first_key(a, w, first) / COLUMNS) * COLUMNS, end = min(first + ROWS, a.T);
	float y[dh / 8][4] = {};
	unsigned q[dh / 16][4];
	softmax x;
	feed queries = feed_from<dh>(a, w, a.q, first);

	fetch_rows<THREADS>(mem->q, queries, a.dh, a.T - first);
	fetch_keys(mem, a, shared, key);
	begin(x, a, w, first);
	__pipeline_wait_prior(0);
	__syncthreads();
	load_left<dh>(q, mem->q.at, x.first_row - first);
	for (; key < end; key += COLUMNS) {
		__pipeline_wait_prior(0);
		__syncthreads();
		if (key + COLUMNS < end)
			fetch_keys(mem, a, shared, key + COLUMNS);
		auto &stage = mem->stage[key / COLUMNS % 2];
		if (key < x.first_row + 16 && !out_of_window(a, x.first_row, key + COLUMNS))
			attend<dh>(y, x, q, a, w, stage.k.at, stage.v.at, key);
	}
	finish<dh>(a, w, x, y, first, mem->q.at);
}

template <int dh>
void run(const struct op_run *r, const attention<bf16> &a)
{
	dim3 grid((unsigned)(ceil_div(a.T, ROWS) * a.B * a.H));

	launch(r, is_banded(a) ? attention_forward<dh, true> : attention_forward<dh, false>, grid, THREADS,
		sizeof(memory<dh>), a);
}

}

void attention_tensor_forward(const struct op_run *r, const attention<bf16> &a)
{
	if (a.dh <= 32)
		run<32>(r, a);
	else if (a.dh <= 64)
		run<64>(r, a);
	else
		run<128>(r, a);
}
