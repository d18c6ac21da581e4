/*
 * Attention's forward on tensor cores. A block has 128 queries of a head, four warps (for heads above
 * 64: eight) with their rows in registers; keys and values come in tiles of 64, two of each in
 * shared memory, the next on its way while one is used. Per pair of query and key 4 dh FLOPs on
 * tensor cores, an exponential and four operations; bytes: q, k, v and y once, if a head's keys stay
 * in cache.
 */
#include "op/cuda/attention_tile.cuh"

namespace {

template <int dh>
struct memory {
	tile<dh, ROWS> q;
	struct {
		tile<dh, COLUMNS> k, v;
	} stage[2];
};

/* Rows of a thread: maximum so far in units of the products, sum of the thread's own. */
template <int strips>
struct softmax {
	float most[strips][2], sum[strips][2];
	int first_row, last_from;	/* of the warp; the first key that its last row sees */
};

template <int dh>
__device__ __forceinline__ void fetch_keys(memory<dh> *mem, const attention<bf16> &a, const head &w,
	int key)
{
	auto &to = mem->stage[key / COLUMNS % 2];

	fetch_rows<dh, COLUMNS>(to.k, a, w, a.k, key, a.T - key);
	fetch_rows<dh, COLUMNS>(to.v, a, w, a.v, key, a.T - key);
	__pipeline_commit();
}

template <int strips>
__device__ __forceinline__ void begin(softmax<strips> &x, const attention<bf16> &a, const head &w,
	int first)
{
	x.first_row = first + (int)threadIdx.x / 32 * 16 * strips;
	x.last_from = first_key(a, w, min(x.first_row + 16 * strips, a.T) - 1);
	#pragma unroll
	for (int m = 0; m < strips; m++)
		#pragma unroll
		for (int half = 0; half < 2; half++) {
			x.most[m][half] = -INFINITY;
			x.sum[m][half] = 0;
		}
}

/* Keys that a row does not see. */
template <int strips>
__device__ __forceinline__ void hide(float (&s)[strips][COLUMNS / 8][4], const attention<bf16> &a,
	const head &w, const softmax<strips> &x, int key)
{
	#pragma unroll
	for (int m = 0; m < strips; m++)
		#pragma unroll
		for (int half = 0; half < 2; half++) {
			int row = x.first_row + 16 * m + 8 * half + lane_of() / 4;
			int from = first_key(a, w, min(row, a.T - 1));
			#pragma unroll
			for (int j = 0; j < COLUMNS / 8; j++)
				#pragma unroll
				for (int c = 0; c < 2; c++) {
					int at = key + 8 * j + 2 * (lane_of() % 4) + c;
					if (at > row || at < from)
						s[m][j][2 * half + c] = -INFINITY;
				}
		}
}

/* Products become exp(scale (product - maximum)); y and sum are scaled to a new maximum. */
template <int dh, int strips>
__device__ __forceinline__ void weigh(float (&s)[strips][COLUMNS / 8][4],
	float (&y)[strips][dh / 8][4], softmax<strips> &x, float scale2)
{
	#pragma unroll
	for (int m = 0; m < strips; m++)
		#pragma unroll
		for (int half = 0; half < 2; half++) {
			float most = x.most[m][half], base, old, sum = 0;
			#pragma unroll
			for (int j = 0; j < COLUMNS / 8; j++)
				most = fmaxf(most, fmaxf(s[m][j][2 * half], s[m][j][2 * half + 1]));
			most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
			most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2));
			base = most == -INFINITY ? 0 : most * scale2;	/* nothing seen yet */
			old = exp2_fast(x.most[m][half] * scale2 - base);
			x.most[m][half] = most;
			#pragma unroll
			for (int j = 0; j < COLUMNS / 8; j++)
				#pragma unroll
				for (int c = 2 * half; c < 2 * half + 2; c++) {
					s[m][j][c] = exp2_fast(s[m][j][c] * scale2 - base);
					sum += s[m][j][c];
				}
			x.sum[m][half] = x.sum[m][half] * old + sum;
			#pragma unroll
			for (int j = 0; j < dh / 8; j++) {
				y[m][j][2 * half] *= old;
				y[m][j][2 * half + 1] *= old;
			}
		}
}

/* One tile of keys, of which the warp sees at least one. */
template <int dh, int strips>
__device__ __forceinline__ void attend(float (&y)[strips][dh / 8][4], softmax<strips> &x,
	const unsigned (&q)[strips][dh / 16][4], const attention<bf16> &a, const head &w,
	const bf16 *k, const bf16 *v, int key)
{
	float s[strips][COLUMNS / 8][4] = {};

	#pragma unroll
	for (int j = 0; j < COLUMNS / 8; j += 2) {
		float part[strips][2][4] = {};
		multiply_rows<dh>(part, q, k, 8 * j);
		#pragma unroll
		for (int m = 0; m < strips; m++)
			#pragma unroll
			for (int c = 0; c < 4; c++) {
				s[m][j][c] = part[m][0][c];
				s[m][j + 1][c] = part[m][1][c];
			}
	}
	if (key + COLUMNS - 1 > x.first_row || key < x.last_from)
		hide(s, a, w, x, key);
	weigh<dh>(s, y, x, a.scale2);
	#pragma unroll
	for (int j = 0; j < COLUMNS / 8; j += 2) {
		unsigned p[strips][4];
		#pragma unroll
		for (int m = 0; m < strips; m++)
			as_left(p[m], s[m][j], s[m][j + 1]);
		multiply_columns<dh>(y, p, v, 8 * j);
	}
}

template <int dh, int strips>
__device__ __forceinline__ void finish(const attention<bf16> &a, const head &w, softmax<strips> &x,
	const float (&y)[strips][dh / 8][4], int first, bf16 *tile)
{
	float factor[strips][2];

	#pragma unroll
	for (int m = 0; m < strips; m++)
		#pragma unroll
		for (int half = 0; half < 2; half++) {
			float sum = x.sum[m][half];
			int row = x.first_row + 16 * m + 8 * half + lane_of() / 4;
			sum += __shfl_xor_sync(0xffffffffu, sum, 1);
			sum += __shfl_xor_sync(0xffffffffu, sum, 2);
			factor[m][half] = 1 / sum;
			if (lane_of() % 4 == 0 && row < a.T)
				a.lse[row_of(a, w, row)][w.h] = x.most[m][half] * a.scale + logf(sum);
		}
	put_rows<dh>(a, w, a.y, false, first, tile, y, factor);
}

template <int dh>
__global__ void __launch_bounds__(shape<dh>::threads, shape<dh>::blocks)
attention_forward(const attention<bf16> a)
{
	constexpr int strips = shape<dh>::strips;
	memory<dh> *mem = shared_memory<memory<dh>>();
	int tiles = (a.T + ROWS - 1) / ROWS, first = (tiles - 1 - (int)blockIdx.x % tiles) * ROWS;
	head w = head_of(a, blockIdx.x / tiles);
	int key = first_key(a, w, first) / COLUMNS * COLUMNS, end = min(first + ROWS, a.T);
	float y[strips][dh / 8][4] = {};
	unsigned q[strips][dh / 16][4];
	softmax<strips> x;

	fetch_rows<dh, ROWS>(mem->q, a, w, a.q, first, a.T - first);
	fetch_keys(mem, a, w, key);
	begin(x, a, w, first);
	__pipeline_wait_prior(0);
	__syncthreads();
	load_left<dh>(q, mem->q.at, x.first_row - first);
	for (; key < end; key += COLUMNS) {
		__pipeline_wait_prior(0);
		__syncthreads();
		if (key + COLUMNS < end)
			fetch_keys(mem, a, w, key + COLUMNS);
		auto &stage = mem->stage[key / COLUMNS % 2];
		if (key < x.first_row + 16 * strips)
			attend<dh>(y, x, q, a, w, stage.k.at, stage.v.at, key);
	}
	finish<dh>(a, w, x, y, first, mem->q.at);
}

template <int dh>
void run(const struct op_run *r, const attention<bf16> &a)
{
	dim3 grid((unsigned)(ceil_div(a.T, ROWS) * a.B * a.H));

	launch(r, attention_forward<dh>, grid, shape<dh>::threads, sizeof(memory<dh>), a);
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
