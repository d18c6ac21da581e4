/*
 * Attention's backward on tensor cores, after delta: one kernel has blocks of 128 queries and makes dq
 * from tiles of 64 keys, one has blocks of 64 keys (its sums ask for more registers) and makes dk and
 * dv from tiles of 64 queries. Both make scores and dp anew (14 dh FLOPs per pair instead of 10), so that
 * every sum stays in the registers of one warp: nothing is added in memory. The second works on transposed
 * scores, hence p and ds go from accumulators to operands without leaving their lanes in both.
 */
#include "op/cuda/attention_tile.cuh"

namespace {

enum { QUERY_WARPS = 8, QUERIES = 16 * QUERY_WARPS, KEY_WARPS = 4, KEYS = 16 * KEY_WARPS };
enum { PART = 16 };	/* columns of scores at a time */

/* ---- dq ------------------------------------------------------------------------------------- */

template <int dh>
struct query_memory {
	tile<dh, QUERIES> q, dy;
	struct {
		tile<dh, COLUMNS> k, v;
	} stage[2];
};

/* What a warp of queries has. */
template <int dh>
struct queries {
	unsigned q[dh / 16][4], dy[dh / 16][4];
	float dq[dh / 8][4];
	float2 kept[2];		/* lse log2(e), delta */
	int first_row, last_from;	/* the first key that the last row sees */
};

template <int dh>
__device__ __forceinline__ void fetch_keys(query_memory<dh> *mem, const attention<bf16> &a, feed &k,
	feed &v, int key)
{
	auto &to = mem->stage[key / COLUMNS % 2];

	fetch_rows<32 * QUERY_WARPS>(to.k, k, a.dh, a.T - key);
	fetch_rows<32 * QUERY_WARPS>(to.v, v, a.dh, a.T - key);
	__pipeline_commit();
}

template <int dh>
__device__ __forceinline__ void begin(queries<dh> &x, const query_memory<dh> *mem,
	const attention<bf16> &a, const head &w, int first)
{
	int own = (int)threadIdx.x / 32 * 16;

	x.first_row = first + own;
	x.last_from = first_key(a, w, min(x.first_row + 16, a.T) - 1);
	#pragma unroll
	for (int half = 0; half < 2; half++) {
		int row = min(x.first_row + 8 * half + lane_of() / 4, a.T - 1);
		x.kept[half] = *kept_of(a, w, row);
	}
	load_left<dh>(x.q, mem->q.at, own);
	load_left<dh>(x.dy, mem->dy.at, own);
}

/* Weights of keys that a row does not see become 0. */
__device__ __forceinline__ void hide_keys(float (&p)[2][4], const attention<bf16> &a, const head &w,
	int first_row, int key)
{
	#pragma unroll
	for (int half = 0; half < 2; half++) {
		int row = first_row + 8 * half + lane_of() / 4;
		int from = first_key(a, w, min(row, a.T - 1));
		#pragma unroll
		for (int j = 0; j < 2; j++)
			#pragma unroll
			for (int c = 0; c < 2; c++) {
				int at = key + 8 * j + 2 * (lane_of() % 4) + c;
				if (at > row || at < from)
					p[j][2 * half + c] = 0;
			}
	}
}

/* 16 keys, of which the warp sees at least one: rows from `row` on of the tiles k and v. */
template <int dh>
__device__ __forceinline__ void attend_keys(queries<dh> &x, const attention<bf16> &a, const head &w,
	const bf16 *k, const bf16 *v, int row, int key)
{
	float p[2][4] = {}, dp[2][4] = {};
	unsigned ds[4];

	#pragma unroll
	for (int step = 0; step < dh / 16; step++) {
		multiply_step<dh>(p, 0, x.q, rows_at<dh>(k, row), step);
		multiply_step<dh>(dp, 0, x.dy, rows_at<dh>(v, row), step);
	}
	#pragma unroll
	for (int j = 0; j < 2; j++)
		#pragma unroll
		for (int c = 0; c < 4; c++)
			p[j][c] = exp2_fast(p[j][c] * a.scale2 - x.kept[c / 2].x);
	if (key + PART - 1 > x.first_row || key < x.last_from)
		hide_keys(p, a, w, x.first_row, key);
	#pragma unroll
	for (int j = 0; j < 2; j++)
		#pragma unroll
		for (int c = 0; c < 4; c++)
			dp[j][c] = p[j][c] * (dp[j][c] - x.kept[c / 2].y);
	as_left(ds, dp[0], dp[1]);
	multiply_columns<dh>(x.dq, ds, k, row);
}

template <int dh, bool banded>
__global__ void __launch_bounds__(32 * QUERY_WARPS, dh > 64 ? 1 : 2)
attention_dq(const attention<bf16> given)
{
	const attention<bf16> a = operands_of<banded>(given);
	query_memory<dh> *mem = shared_memory<query_memory<dh>>();
	int tiles = (a.T + QUERIES - 1) / QUERIES;
	int first = uniform(tiles - 1 - (int)blockIdx.x % tiles) * QUERIES;
	head w = uniform(head_of(a, blockIdx.x / tiles));
	int key = uniform(first_key(a, w, first) / COLUMNS) * COLUMNS, end = min(first + QUERIES, a.T);
	queries<dh> x = {};
	float factor[2] = {a.scale, a.scale};
	feed q = feed_from<dh>(a, w, a.q, first), dy = feed_from<dh>(a, w, a.dy, first),
		k = feed_from<dh>(a, shared_of(a, w), a.k, key), v = feed_from<dh>(a, shared_of(a, w), a.v, key);

	fetch_rows<32 * QUERY_WARPS>(mem->q, q, a.dh, a.T - first);
	fetch_rows<32 * QUERY_WARPS>(mem->dy, dy, a.dh, a.T - first);
	fetch_keys(mem, a, k, v, key);
	__pipeline_wait_prior(0);
	__syncthreads();
	begin(x, mem, a, w, first);
	for (; key < end; key += COLUMNS) {
		__pipeline_wait_prior(0);
		__syncthreads();
		if (key + COLUMNS < end)
			fetch_keys(mem, a, k, v, key + COLUMNS);
		auto &stage = mem->stage[key / COLUMNS % 2];
		int seen = out_of_window(a, x.first_row, key + COLUMNS) ? 0
			: min(COLUMNS, x.first_row + 16 - key);
		#pragma unroll 2
		for (int row = 0; row < seen; row += PART)
			attend_keys(x, a, w, stage.k.at, stage.v.at, row, key + row);
	}
	put_rows<dh>(a, w, a.dq, a.add_q, first, mem->q.at, x.dq, factor);
}

/* ---- dk, dv --------------------------------------------------------------------------------- */

template <int dh>
struct key_memory {
	tile<dh, KEYS> k, v;
	struct {
		tile<dh, COLUMNS> q, dy;
		float2 kept[COLUMNS];	/* lse log2(e), delta */
		int from[COLUMNS];	/* where the document of each begins */
	} stage[2];
};

/* What a warp of keys has. */
template <int dh>
struct keys {
	unsigned k[dh / 16][4], v[dh / 16][4];
	float dk[dh / 8][4], dv[dh / 8][4];
	int first_row;
};

/* Queries beyond the last have q = dy = kept = 0 and add nothing. */
template <int dh>
__device__ __forceinline__ void fetch_queries(key_memory<dh> *mem, const attention<bf16> &a,
	const head &w, int query)
{
	auto &to = mem->stage[query / COLUMNS % 2];
	feed q = feed_from<dh>(a, w, a.q, query), dy = feed_from<dh>(a, w, a.dy, query);
	int i = threadIdx.x, t = min(query + i, a.T - 1);
	bool there = query + i < a.T, documents = a.start.at;

	if (i < COLUMNS) {
		const float2 *kept = kept_of(a, w, t);
		const void *from = documents ? a.start[w.b] + t : (const void *)kept;
		__pipeline_memcpy_async(&to.kept[i], kept, 8, there ? 0 : 8);
		__pipeline_memcpy_async(&to.from[i], from, 4, documents ? 0 : 4);
	}
	fetch_rows<32 * KEY_WARPS>(to.q, q, a.dh, a.T - query);
	fetch_rows<32 * KEY_WARPS>(to.dy, dy, a.dh, a.T - query);
	__pipeline_commit();
}

/* Where the tiles of queries end that see one of the block's keys. */
__device__ __forceinline__ int last_query(const attention<bf16> &a, const head &w, int first)
{
	int query = first;

	if (!a.start.at)
		return a.reach < a.T ? min(first + KEYS + a.reach, a.T) : a.T;
	for (;;) {
		int mine = query + lane_of() * COLUMNS;
		bool sees = mine < a.T && first_key(a, w, mine) < first + KEYS;
		int n = __popc(__ballot_sync(0xffffffffu, sees));
		query += n * COLUMNS;
		if (n < 32)
			return min(query, a.T);
	}
}

/* Weights of queries (columns, from the stage's `row` on) that do not see a key (row) become 0. */
template <typename memory>
__device__ __forceinline__ void hide_queries(float (&p)[2][4], const memory &stage, int reach, int first_row,
	int row, int query)
{
	#pragma unroll
	for (int j = 0; j < 2; j++)
		#pragma unroll
		for (int c = 0; c < 2; c++) {
			int i = 8 * j + 2 * (lane_of() % 4) + c;
			int from = stage.from[row + i];
			if (reach != ALL_BACK)
				from = max(from, query + i - reach);
			#pragma unroll
			for (int half = 0; half < 2; half++) {
				int key = first_row + 8 * half + lane_of() / 4;
				if (key > query + i || key < from)
					p[j][2 * half + c] = 0;
			}
		}
}

/* 16 queries, of which at least one sees a key of the warp: rows from `row` on of a stage. */
template <int dh, typename memory>
__device__ __forceinline__ void attend_queries(keys<dh> &x, const attention<bf16> &a, const memory &stage,
	int row, int query)
{
	float p[2][4] = {}, dp[2][4] = {};
	unsigned left[4];

	#pragma unroll
	for (int step = 0; step < dh / 16; step++) {
		multiply_step<dh>(p, 0, x.k, rows_at<dh>(stage.q.at, row), step);
		multiply_step<dh>(dp, 0, x.v, rows_at<dh>(stage.dy.at, row), step);
	}
	#pragma unroll
	for (int j = 0; j < 2; j++) {
		float4 kept = *(const float4 *)&stage.kept[row + 8 * j + 2 * (lane_of() % 4)];
		#pragma unroll
		for (int c = 0; c < 4; c++)
			p[j][c] = exp2_fast(p[j][c] * a.scale2 - (c % 2 ? kept.z : kept.x));
	}
	if (query < x.first_row + 15 || stage.from[row + PART - 1] > x.first_row ||
		out_of_window(a, query + PART - 1, x.first_row + 1))
		hide_queries(p, stage, a.reach, x.first_row, row, query);
	as_left(left, p[0], p[1]);
	multiply_columns<dh>(x.dv, left, stage.dy.at, row);
	#pragma unroll
	for (int j = 0; j < 2; j++) {
		float4 kept = *(const float4 *)&stage.kept[row + 8 * j + 2 * (lane_of() % 4)];
		#pragma unroll
		for (int c = 0; c < 4; c++)
			dp[j][c] = p[j][c] * (dp[j][c] - (c % 2 ? kept.w : kept.y));
	}
	as_left(left, dp[0], dp[1]);
	multiply_columns<dh>(x.dk, left, stage.q.at, row);
}

template <int dh>
__device__ __forceinline__ void finish(const attention<bf16> &a, const head &w, const keys<dh> &x, int first,
	key_memory<dh> *mem)
{
	float factor[2] = {a.scale, a.scale}, one[2] = {1, 1};

	if (a.dk.at)
		put_rows<dh>(a, w, a.dk, a.add_k, first, mem->k.at, x.dk, factor);
	if (a.dv.at)
		put_rows<dh>(a, w, a.dv, a.add_v, first, mem->v.at, x.dv, one);
}

/* Adds what the queries of one head give. */
template <int dh>
__device__ __forceinline__ void gather_head(keys<dh> &x, key_memory<dh> *mem, const attention<bf16> &a,
	const head &w, int first, int end)
{
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
}

template <int dh, bool banded>
__global__ void __launch_bounds__(32 * KEY_WARPS, dh > 64 ? 2 : 3)
attention_dkv(const attention<bf16> given)
{
	const attention<bf16> a = operands_of<banded>(given);
	key_memory<dh> *mem = shared_memory<key_memory<dh>>();
	int tiles = (a.T + KEYS - 1) / KEYS, first = uniform((int)(blockIdx.x % tiles) * KEYS);
	head w = uniform(shared_head_of(a, blockIdx.x / tiles));
	int own = (int)threadIdx.x / 32 * 16, end = uniform(last_query(a, w, first));
	keys<dh> x = {};
	feed k = feed_from<dh>(a, w, a.k, first), v = feed_from<dh>(a, w, a.v, first);

	x.first_row = first + own;
	fetch_rows<32 * KEY_WARPS>(mem->k, k, a.dh, a.T - first);
	fetch_rows<32 * KEY_WARPS>(mem->v, v, a.dh, a.T - first);
	fetch_queries(mem, a, sharing(a, w, 0), first);
	__pipeline_wait_prior(0);
	__syncthreads();
	load_left<dh>(x.k, mem->k.at, own);
	load_left<dh>(x.v, mem->v.at, own);
	gather_head(x, mem, a, sharing(a, w, 0), first, end);
	for (int i = 1; i < a.group; i++) {
		__syncthreads();
		fetch_queries(mem, a, sharing(a, w, i), first);
		gather_head(x, mem, a, sharing(a, w, i), first, end);
	}
	finish(a, w, x, first, mem);
}

template <int dh>
void run(const struct op_run *r, const attention<bf16> &a)
{
	long heads = (long)a.B * a.H;
	dim3 of_queries((unsigned)(ceil_div(a.T, QUERIES) * heads));
	dim3 of_keys((unsigned)(ceil_div(a.T, KEYS) * heads / a.group));

	if (a.dq.at)
		launch(r, is_banded(a) ? attention_dq<dh, true> : attention_dq<dh, false>, of_queries,
			32 * QUERY_WARPS, sizeof(query_memory<dh>), a);
	if (a.dk.at || a.dv.at)
		launch(r, is_banded(a) ? attention_dkv<dh, true> : attention_dkv<dh, false>, of_keys,
			32 * KEY_WARPS, sizeof(key_memory<dh>), a);
}

}

size_t attention_tensor_shared(int dh)
{
	return dh <= 32 ? sizeof(query_memory<32>)
		: dh <= 64 ? sizeof(query_memory<64>) : sizeof(query_memory<128>);
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
