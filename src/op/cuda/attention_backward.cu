/*
 * Attention's backward on tensor cores, after delta: one kernel has blocks of 128 queries and makes dq
 * from tiles of 64 keys, one has blocks of 128 keys and makes dk and dv from tiles of 64 queries. Both
 * make scores and dp anew (14 dh FLOPs per pair instead of 10), so that every sum stays in the
 * registers of one warp: nothing is added in memory. The second works on transposed scores, hence p and
 * ds go from accumulators to operands without leaving their lanes in both.
 */
#include "op/cuda/attention_tile.cuh"

namespace {

enum { PART = 16 };	/* columns of scores at a time */

/* ---- dq ------------------------------------------------------------------------------------- */

template <int dh>
struct query_memory {
	tile<dh, ROWS> q, dy;
	struct {
		tile<dh, COLUMNS> k, v;
	} stage[2];
};

/* What a warp of queries has. */
template <int dh, int strips>
struct queries {
	unsigned q[strips][dh / 16][4], dy[strips][dh / 16][4];
	float dq[strips][dh / 8][4];
	float lse2[strips][2], delta[strips][2];
	int first_row, last_from;	/* the first key that the last row sees */
};

template <int dh>
__device__ __forceinline__ void fetch_keys(query_memory<dh> *mem, const attention<bf16> &a,
	const head &w, int key)
{
	auto &to = mem->stage[key / COLUMNS % 2];

	fetch_rows<dh, COLUMNS>(to.k, a, w, a.k, key, a.T - key);
	fetch_rows<dh, COLUMNS>(to.v, a, w, a.v, key, a.T - key);
	__pipeline_commit();
}

template <int dh, int strips>
__device__ __forceinline__ void begin(queries<dh, strips> &x, const query_memory<dh> *mem,
	const attention<bf16> &a, const head &w, int first)
{
	int own = (int)threadIdx.x / 32 * 16 * strips;

	x.first_row = first + own;
	x.last_from = first_key(a, w, min(x.first_row + 16 * strips, a.T) - 1);
	#pragma unroll
	for (int m = 0; m < strips; m++)
		#pragma unroll
		for (int half = 0; half < 2; half++) {
			int row = min(x.first_row + 16 * m + 8 * half + lane_of() / 4, a.T - 1);
			x.lse2[m][half] = a.lse2_BHT[kept_at(a, w, row)];
			x.delta[m][half] = a.delta_BHT[kept_at(a, w, row)];
		}
	load_left<dh>(x.q, mem->q.at, own);
	load_left<dh>(x.dy, mem->dy.at, own);
}

/* Weights of keys that a row does not see become 0. */
template <int strips>
__device__ __forceinline__ void hide_keys(float (&p)[strips][2][4], const attention<bf16> &a,
	const head &w, int first_row, int key)
{
	#pragma unroll
	for (int m = 0; m < strips; m++)
		#pragma unroll
		for (int half = 0; half < 2; half++) {
			int row = first_row + 16 * m + 8 * half + lane_of() / 4;
			int from = first_key(a, w, min(row, a.T - 1));
			#pragma unroll
			for (int j = 0; j < 2; j++)
				#pragma unroll
				for (int c = 0; c < 2; c++) {
					int at = key + 8 * j + 2 * (lane_of() % 4) + c;
					if (at > row || at < from)
						p[m][j][2 * half + c] = 0;
				}
		}
}

/* 16 keys, of which the warp sees at least one: rows from `row` on of the tiles k and v. */
template <int dh, int strips>
__device__ __forceinline__ void attend_keys(queries<dh, strips> &x, const attention<bf16> &a,
	const head &w, const bf16 *k, const bf16 *v, int row, int key)
{
	float p[strips][2][4] = {}, dp[strips][2][4] = {};
	unsigned ds[strips][4];

	multiply_rows<dh>(p, x.q, k, row);
	multiply_rows<dh>(dp, x.dy, v, row);
	#pragma unroll
	for (int m = 0; m < strips; m++)
		#pragma unroll
		for (int j = 0; j < 2; j++)
			#pragma unroll
			for (int c = 0; c < 4; c++)
				p[m][j][c] = exp2_fast(p[m][j][c] * a.scale2 - x.lse2[m][c / 2]);
	if (key + PART - 1 > x.first_row || key < x.last_from)
		hide_keys(p, a, w, x.first_row, key);
	#pragma unroll
	for (int m = 0; m < strips; m++) {
		#pragma unroll
		for (int j = 0; j < 2; j++)
			#pragma unroll
			for (int c = 0; c < 4; c++)
				dp[m][j][c] = p[m][j][c] * (dp[m][j][c] - x.delta[m][c / 2]);
		as_left(ds[m], dp[m][0], dp[m][1]);
	}
	multiply_columns<dh>(x.dq, ds, k, row);
}

template <int dh>
__global__ void __launch_bounds__(shape<dh>::threads, shape<dh>::blocks)
attention_dq(const attention<bf16> a)
{
	constexpr int strips = shape<dh>::strips;
	query_memory<dh> *mem = shared_memory<query_memory<dh>>();
	int tiles = (a.T + ROWS - 1) / ROWS, first = (tiles - 1 - (int)blockIdx.x % tiles) * ROWS;
	head w = head_of(a, blockIdx.x / tiles);
	int key = first_key(a, w, first) / COLUMNS * COLUMNS, end = min(first + ROWS, a.T);
	queries<dh, strips> x = {};
	float factor[strips][2];

	fetch_rows<dh, ROWS>(mem->q, a, w, a.q, first, a.T - first);
	fetch_rows<dh, ROWS>(mem->dy, a, w, a.dy, first, a.T - first);
	fetch_keys(mem, a, w, key);
	__pipeline_wait_prior(0);
	__syncthreads();
	begin(x, mem, a, w, first);
	for (; key < end; key += COLUMNS) {
		__pipeline_wait_prior(0);
		__syncthreads();
		if (key + COLUMNS < end)
			fetch_keys(mem, a, w, key + COLUMNS);
		auto &stage = mem->stage[key / COLUMNS % 2];
		int seen = min(COLUMNS, x.first_row + 16 * strips - key);
		#pragma unroll 2
		for (int row = 0; row < seen; row += PART)
			attend_keys(x, a, w, stage.k.at, stage.v.at, row, key + row);
	}
	#pragma unroll
	for (int m = 0; m < strips; m++)
		factor[m][0] = factor[m][1] = a.scale;
	put_rows<dh>(a, w, a.dq, a.add_q, first, mem->q.at, x.dq, factor);
}

/* ---- dk, dv --------------------------------------------------------------------------------- */

template <int dh>
struct key_memory {
	tile<dh, ROWS> k, v;
	struct {
		tile<dh, COLUMNS> q, dy;
		float lse2[COLUMNS], delta[COLUMNS];
		int from[COLUMNS];	/* the first key that each sees */
	} stage[2];
};

/* What a warp of keys has. */
template <int dh, int strips>
struct keys {
	unsigned k[strips][dh / 16][4], v[strips][dh / 16][4];
	float dk[strips][dh / 8][4], dv[strips][dh / 8][4];
	int first_row;
};

/* Queries beyond the last have q = dy = lse2 = delta = 0 and add nothing. */
template <int dh>
__device__ __forceinline__ void fetch_queries(key_memory<dh> *mem, const attention<bf16> &a,
	const head &w, int query)
{
	auto &to = mem->stage[query / COLUMNS % 2];
	int i = threadIdx.x, t = min(query + i, a.T - 1);
	bool there = query + i < a.T, documents = a.start.at;

	if (i < COLUMNS) {
		const float *lse2 = a.lse2_BHT + kept_at(a, w, t), *delta = a.delta_BHT + kept_at(a, w, t);
		const void *from = documents ? a.start[w.b] + t : (const void *)lse2;
		__pipeline_memcpy_async(&to.lse2[i], lse2, 4, there ? 0 : 4);
		__pipeline_memcpy_async(&to.delta[i], delta, 4, there ? 0 : 4);
		__pipeline_memcpy_async(&to.from[i], from, 4, documents ? 0 : 4);
	}
	fetch_rows<dh, COLUMNS>(to.q, a, w, a.q, query, a.T - query);
	fetch_rows<dh, COLUMNS>(to.dy, a, w, a.dy, query, a.T - query);
	__pipeline_commit();
}

/* Where the tiles of queries end that see one of the block's keys. */
__device__ __forceinline__ int last_query(const attention<bf16> &a, const head &w, int first)
{
	int query = first;

	if (!a.start.at)
		return a.T;
	for (;;) {
		int mine = query + lane_of() * COLUMNS;
		bool sees = mine < a.T && first_key(a, w, mine) < first + ROWS;
		int n = __popc(__ballot_sync(0xffffffffu, sees));
		query += n * COLUMNS;
		if (n < 32)
			return min(query, a.T);
	}
}

/* Weights of queries (columns, from the stage's `row` on) that do not see a key (row) become 0. */
template <int strips, typename memory>
__device__ __forceinline__ void hide_queries(float (&p)[strips][2][4], const memory &stage,
	int first_row, int row, int query)
{
	#pragma unroll
	for (int j = 0; j < 2; j++)
		#pragma unroll
		for (int c = 0; c < 2; c++) {
			int i = 8 * j + 2 * (lane_of() % 4) + c, from = stage.from[row + i];
			#pragma unroll
			for (int m = 0; m < strips; m++)
				#pragma unroll
				for (int half = 0; half < 2; half++) {
					int key = first_row + 16 * m + 8 * half + lane_of() / 4;
					if (key > query + i || key < from)
						p[m][j][2 * half + c] = 0;
				}
		}
}

/* The low (0) or high number of a pair. */
__device__ __forceinline__ float half_of(unsigned pair, int high)
{
	return __uint_as_float(high ? pair & 0xffff0000u : pair << 16);
}

/* 16 queries, of which at least one sees a key of the warp: rows from `row` on of a stage. */
template <int dh, int strips, typename memory>
__device__ __forceinline__ void attend_queries(keys<dh, strips> &x, const attention<bf16> &a,
	const memory &stage, int row, int query)
{
	float p[strips][2][4] = {}, dp[strips][2][4] = {};
	unsigned left[strips][4];

	multiply_rows<dh>(p, x.k, stage.q.at, row);
	#pragma unroll
	for (int j = 0; j < 2; j++) {
		float2 lse2 = *(const float2 *)&stage.lse2[row + 8 * j + 2 * (lane_of() % 4)];
		#pragma unroll
		for (int m = 0; m < strips; m++)
			#pragma unroll
			for (int c = 0; c < 4; c++)
				p[m][j][c] = exp2_fast(p[m][j][c] * a.scale2 - (c % 2 ? lse2.y : lse2.x));
	}
	if (query < x.first_row + 16 * strips - 1 ||
		stage.from[row + PART - 1] > x.first_row)
		hide_queries(p, stage, x.first_row, row, query);
	#pragma unroll
	for (int m = 0; m < strips; m++)
		as_left(left[m], p[m][0], p[m][1]);
	multiply_columns<dh>(x.dv, left, stage.dy.at, row);
	multiply_rows<dh>(dp, x.v, stage.dy.at, row);
	#pragma unroll
	for (int j = 0; j < 2; j++) {
		float2 delta = *(const float2 *)&stage.delta[row + 8 * j + 2 * (lane_of() % 4)];
		#pragma unroll
		for (int m = 0; m < strips; m++)
			#pragma unroll
			for (int c = 0; c < 4; c++)
				dp[m][j][c] = half_of(left[m][2 * j + c / 2], c % 2) *
					(dp[m][j][c] - (c % 2 ? delta.y : delta.x));
	}
	#pragma unroll
	for (int m = 0; m < strips; m++)
		as_left(left[m], dp[m][0], dp[m][1]);
	multiply_columns<dh>(x.dk, left, stage.q.at, row);
}

template <int dh, int strips>
__device__ __forceinline__ void finish(const attention<bf16> &a, const head &w,
	const keys<dh, strips> &x, int first, key_memory<dh> *mem)
{
	float factor[strips][2], one[strips][2];

	#pragma unroll
	for (int m = 0; m < strips; m++) {
		factor[m][0] = factor[m][1] = a.scale;
		one[m][0] = one[m][1] = 1;
	}
	if (a.dk.at)
		put_rows<dh>(a, w, a.dk, a.add_k, first, mem->k.at, x.dk, factor);
	if (a.dv.at)
		put_rows<dh>(a, w, a.dv, a.add_v, first, mem->v.at, x.dv, one);
}

template <int dh>
__global__ void __launch_bounds__(shape<dh>::threads, shape<dh>::blocks)
attention_dkv(const attention<bf16> a)
{
	constexpr int strips = shape<dh>::strips;
	key_memory<dh> *mem = shared_memory<key_memory<dh>>();
	int tiles = (a.T + ROWS - 1) / ROWS, first = (int)(blockIdx.x % tiles) * ROWS;
	head w = head_of(a, blockIdx.x / tiles);
	int own = (int)threadIdx.x / 32 * 16 * strips, end = last_query(a, w, first);
	keys<dh, strips> x = {};

	x.first_row = first + own;
	fetch_rows<dh, ROWS>(mem->k, a, w, a.k, first, a.T - first);
	fetch_rows<dh, ROWS>(mem->v, a, w, a.v, first, a.T - first);
	fetch_queries(mem, a, w, first);
	__pipeline_wait_prior(0);
	__syncthreads();
	load_left<dh>(x.k, mem->k.at, own);
	load_left<dh>(x.v, mem->v.at, own);
	for (int query = first; query < end; query += COLUMNS) {
		__pipeline_wait_prior(0);
		__syncthreads();
		if (query + COLUMNS < end)
			fetch_queries(mem, a, w, query + COLUMNS);
		auto &stage = mem->stage[query / COLUMNS % 2];
		#pragma unroll 1
		for (int row = max(0, x.first_row - query); row < COLUMNS; row += PART)
			attend_queries(x, a, stage, row, query + row);
	}
	finish(a, w, x, first, mem);
}

template <int dh>
void run(const struct op_run *r, const attention<bf16> &a)
{
	dim3 grid((unsigned)(ceil_div(a.T, ROWS) * a.B * a.H));

	if (a.dq.at)
		launch(r, attention_dq<dh>, grid, shape<dh>::threads, sizeof(query_memory<dh>), a);
	if (a.dk.at || a.dv.at)
		launch(r, attention_dkv<dh>, grid, shape<dh>::threads, sizeof(key_memory<dh>), a);
}

}

size_t attention_tensor_shared(int dh)
{
	return dh <= 32 ? sizeof(key_memory<32>)
		: dh <= 64 ? sizeof(key_memory<64>) : sizeof(key_memory<128>);
}

void attention_tensor_backward(const struct op_run *r, const attention<bf16> &a)
{
	if (a.dh <= 32)
		run<32>(r, a);
	else if (a.dh <= 64)
		run<64>(r, a);
	else
		run<128>(r, a);
}
