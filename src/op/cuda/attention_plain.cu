/*
 * Attention on float32 units, for any head size, length and alignment. A block of 16 x 16 threads has
 * 64 rows of a head and 64 columns of the result; scores of 64 x 64 pairs are made from pieces of 64
 * columns of q and k in shared memory, a thread has 4 x 4 of them. A head of more than 64 columns
 * makes its scores once for each 64 of them.
 */
#include "op/cuda/attention.cuh"

namespace {

enum { SIDE = 64, THREADS = 256, ROW_THREADS = 16 };

struct tile {
	float at[SIDE][SIDE + 4];
};

struct memory {
	tile a, b, p;
};

typedef float square[4][4];	/* a thread's: rows 4 y to 4 y + 3, columns 4 x to 4 x + 3 */

__device__ __forceinline__ int thread_x()
{
	return threadIdx.x % ROW_THREADS;
}

__device__ __forceinline__ int thread_y()
{
	return threadIdx.x / ROW_THREADS;
}

/* Which tile and columns of a head, of keys or of queries, the block has. */
struct place {
	head w;
	int first, rows, column, columns;
};

template <bool keys, typename real>
__device__ __forceinline__ place place_of(const attention<real> &a)
{
	int tiles = (int)ceil_div(a.T, SIDE), pieces = (int)ceil_div(a.dh, SIDE);
	long i = blockIdx.x;
	place p;

	p.column = (int)(i % pieces) * SIDE;
	p.first = (int)(i / pieces % tiles) * SIDE;
	p.w = keys ? shared_head_of(a, i / pieces / tiles) : head_of(a, i / pieces / tiles);
	p.rows = min(SIDE, a.T - p.first);
	p.columns = min(SIDE, a.dh - p.column);
	return p;
}

/* to[i][j] = x[row + i][column + j], turned: to[j][i]; zeros beyond n rows and m columns. */
template <bool turned, typename real>
__device__ void fetch(tile &to, rows<const real> x, long row, int n, long column, int m)
{
	#pragma unroll 4
	for (int e = threadIdx.x; e < SIDE * SIDE; e += THREADS) {
		int i = e / SIDE, j = e % SIDE;
		float v = i < n && j < m ? to_float(x[row + i][column + j]) : 0;
		if (turned)
			to.at[j][i] = v;
		else
			to.at[i][j] = v;
	}
}

/* sum[i][j] += sum_k a[k][4 y + i] b[k][4 x + j], k < n */
__device__ __forceinline__ void multiply(square &sum, const tile &a, const tile &b, int n)
{
	int y = 4 * thread_y(), x = 4 * thread_x();

	#pragma unroll 2
	for (int k = 0; k < n; k++) {
		float4 u = *(const float4 *)&a.at[k][y], v = *(const float4 *)&b.at[k][x];
		float left[4] = {u.x, u.y, u.z, u.w}, right[4] = {v.x, v.y, v.z, v.w};
		#pragma unroll
		for (int i = 0; i < 4; i++)
			#pragma unroll
			for (int j = 0; j < 4; j++)
				sum[i][j] = fmaf(left[i], right[j], sum[i][j]);
	}
}

/* s = <a_i, b_j> over a head w of a and one u of b, for n rows of a from `row` and m of b from `other`. */
template <typename real>
__device__ void products(square &s, memory *mem, const attention<real> &a, rows<const real> left,
	const head &w, int row, int n, rows<const real> right, const head &u, int other, int m)
{
	memset(s, 0, sizeof s);
	for (int c = 0; c < a.dh; c += SIDE) {
		int columns = min(SIDE, a.dh - c);
		__syncthreads();
		fetch<true>(mem->a, left, row_of(a, w, row), n, column_of(a, w) + c, columns);
		fetch<true>(mem->b, right, row_of(a, u, other), m, column_of(a, u) + c, columns);
		__syncthreads();
		multiply(s, mem->a, mem->b, columns);
	}
}

/* sum += s^T-tile times rows from `other` on of head w of x: those of the pairs' second. */
template <typename real>
__device__ void gather(square &sum, memory *mem, const attention<real> &a, const square &s,
	const place &p, rows<const real> x, const head &w, int other, int m)
{
	int y = 4 * thread_y(), c = 4 * thread_x();

	__syncthreads();
	#pragma unroll
	for (int j = 0; j < 4; j++)
		*(float4 *)&mem->p.at[c + j][y] = make_float4(s[0][j], s[1][j], s[2][j], s[3][j]);
	fetch<false>(mem->b, x, row_of(a, w, other), m, column_of(a, w) + p.column, p.columns);
	__syncthreads();
	multiply(sum, mem->p, mem->b, m);
}

/* The block's piece of a result, times factor. */
template <typename real>
__device__ void put_piece(const attention<real> &a, const place &p, rows<real> to, const square &sum,
	float factor, bool add)
{
	#pragma unroll
	for (int i = 0; i < 4; i++)
		#pragma unroll
		for (int j = 0; j < 4; j++) {
			int row = 4 * thread_y() + i, c = 4 * thread_x() + j;
			if (row >= p.rows || c >= p.columns)
				continue;
			put(to[row_of(a, p.w, p.first + row)] + column_of(a, p.w) + p.column + c, add,
				factor * sum[i][j]);
		}
}

/* What a thread's four queries see, and their maximum and sum so far. */
struct softmax_rows {
	int from[4], to[4];	/* keys */
	float most[4], sum[4];	/* in units of log 2; of this thread's keys alone */
};

/* Scores become exp(score - maximum), y and sum are scaled to a new maximum. */
__device__ __forceinline__ void softmax(square &s, square &y, softmax_rows &q, int key, float scale2)
{
	#pragma unroll
	for (int i = 0; i < 4; i++) {
		float most = -INFINITY, base, old;
		#pragma unroll
		for (int j = 0; j < 4; j++) {
			int at = key + 4 * thread_x() + j;
			bool seen = at >= q.from[i] && at <= q.to[i];
			s[i][j] = seen ? s[i][j] * scale2 : -INFINITY;
			most = fmaxf(most, s[i][j]);
		}
		most = fmaxf(q.most[i], warp_max<ROW_THREADS>(most));
		base = most == -INFINITY ? 0 : most;	/* nothing seen yet */
		old = exp2f(q.most[i] - base);
		q.most[i] = most;
		q.sum[i] *= old;
		#pragma unroll
		for (int j = 0; j < 4; j++) {
			y[i][j] *= old;
			s[i][j] = exp2f(s[i][j] - base);
			q.sum[i] += s[i][j];
		}
	}
}

template <typename real>
__global__ void __launch_bounds__(THREADS, 2) plain_forward(const attention<real> a)
{
	memory *mem = shared_memory<memory>();
	place p = place_of<false>(a);
	head shared = shared_of(a, p.w);
	softmax_rows q;
	square s, y = {};

	for (int i = 0; i < 4; i++) {
		q.to[i] = p.first + 4 * thread_y() + i;
		q.from[i] = first_key(a, p.w, min(q.to[i], a.T - 1));
		q.most[i] = -INFINITY;
		q.sum[i] = 0;
	}
	for (int key = first_key(a, p.w, p.first) / SIDE * SIDE; key <= p.first; key += SIDE) {
		int n = min(SIDE, a.T - key);
		products(s, mem, a, a.q, p.w, p.first, p.rows, a.k, shared, key, n);
		softmax(s, y, q, key, a.scale2);
		gather(y, mem, a, s, p, a.v, shared, key, n);
	}
	for (int i = 0; i < 4; i++) {
		float sum = warp_sum<ROW_THREADS>(q.sum[i]);
		for (int j = 0; j < 4; j++)
			y[i][j] /= sum;
		if (q.to[i] < a.T && p.column == 0 && thread_x() == 0)
			a.lse[row_of(a, p.w, q.to[i])][p.w.h] = (q.most[i] + log2f(sum)) * LN2;
	}
	put_piece(a, p, a.y, y, 1, false);
}

/* Of a pair: p from the product of q and k, ds from that of dy and v. */
template <typename real>
__device__ __forceinline__ void pair(const attention<real> &a, const head &w, int query, int key,
	float &s, float &d)
{
	bool seen = query < a.T && key <= query && key >= first_key(a, w, query);
	float2 kept = seen ? *kept_of(a, w, query) : float2{0, 0};

	s = seen ? exp2f(s * a.scale2 - kept.x) : 0;
	d = seen ? s * (d - kept.y) : 0;
}

template <typename real>
__global__ void __launch_bounds__(THREADS, 2) plain_dq(const attention<real> a)
{
	memory *mem = shared_memory<memory>();
	place p = place_of<false>(a);
	head shared = shared_of(a, p.w);
	square s, d, dq = {};

	for (int key = first_key(a, p.w, p.first) / SIDE * SIDE; key <= p.first; key += SIDE) {
		int n = min(SIDE, a.T - key);
		products(s, mem, a, a.q, p.w, p.first, p.rows, a.k, shared, key, n);
		products(d, mem, a, a.dy, p.w, p.first, p.rows, a.v, shared, key, n);
		for (int i = 0; i < 4; i++)
			for (int j = 0; j < 4; j++)
				pair(a, p.w, p.first + 4 * thread_y() + i, key + 4 * thread_x() + j,
					s[i][j], d[i][j]);
		gather(dq, mem, a, d, p, a.k, shared, key, n);
	}
	put_piece(a, p, a.dq, dq, a.scale, a.add_q);
}

template <typename real>
__global__ void __launch_bounds__(THREADS, 1) plain_dkv(const attention<real> a)
{
	memory *mem = shared_memory<memory>();
	place p = place_of<true>(a);
	int last = a.reach == ALL_BACK ? a.T - 1 : min(a.T - 1, p.first + SIDE - 1 + a.reach), i = 0;
	square s, d, dk = {}, dv = {};

	for (int query = p.first; i < a.group; query += SIDE) {
		if (query > last || first_key(a, p.w, query) >= p.first + SIDE) {
			query = p.first - SIDE;	/* of the next head */
			i++;
			continue;
		}
		head w = sharing(a, p.w, i);
		int n = min(SIDE, a.T - query);
		products(s, mem, a, a.k, p.w, p.first, p.rows, a.q, w, query, n);
		products(d, mem, a, a.v, p.w, p.first, p.rows, a.dy, w, query, n);
		for (int y = 0; y < 4; y++)
			for (int x = 0; x < 4; x++)
				pair(a, w, query + 4 * thread_x() + x, p.first + 4 * thread_y() + y, s[y][x],
					d[y][x]);
		if (a.dv.at)
			gather(dv, mem, a, s, p, a.dy, w, query, n);
		if (a.dk.at)
			gather(dk, mem, a, d, p, a.q, w, query, n);
	}
	if (a.dv.at)
		put_piece(a, p, a.dv, dv, 1, a.add_v);
	if (a.dk.at)
		put_piece(a, p, a.dk, dk, a.scale, a.add_k);
}

template <typename real>
dim3 grid_of(const attention<real> &a, int heads)
{
	long tiles = ceil_div(a.T, SIDE) * ceil_div(a.dh, SIDE);

	return dim3((unsigned)(tiles * a.B * heads));
}

}

template <typename real>
void attention_plain_forward(const struct op_run *r, const attention<real> &a)
{
	launch(r, plain_forward<real>, grid_of(a, a.H), THREADS, sizeof(memory), a);
}

template <typename real>
void attention_plain_backward(const struct op_run *r, const attention<real> &a)
{
	if (a.dq.at)
		launch(r, plain_dq<real>, grid_of(a, a.H), THREADS, sizeof(memory), a);
	if (a.dk.at || a.dv.at)
		launch(r, plain_dkv<real>, grid_of(a, a.H / a.group), THREADS, sizeof(memory), a);
}

template void attention_plain_forward(const struct op_run *r, const attention<float> &a);
template void attention_plain_forward(const struct op_run *r, const attention<bf16> &a);
template void attention_plain_backward(const struct op_run *r, const attention<float> &a);
template void attention_plain_backward(const struct op_run *r, const attention<bf16> &a);
