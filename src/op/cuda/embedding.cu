/*
 * Backward: tokens are sorted with their positions (stable, so equal tokens stay in order), then
 * the gradients of each EMBEDDING_CHUNK of sorted tokens are added up. A run of equal tokens that
 * lies within a chunk is a row of the table's gradient; one that crosses chunks leaves a part in
 * each, which are added in order. Bytes: 2 D for a token in bf16, 4 D for a row of the table.
 */
extern "C" {
#include "op/embedding.h"
}
#include "op/cuda/embedding.h"
#include "op/cuda/reduce.cuh"

enum {
	DIGITS = EMBEDDING_DIGITS,
	DIGIT_BITS = 8,
	TILE = EMBEDDING_TILE,
	CHUNK = EMBEDDING_CHUNK,
	THREADS = 256,		/* one a digit, too */
	WARPS = THREADS / 32,
	WARP_TILE = TILE / WARPS,
	SCAN_THREADS = 1024,
	COLUMN_THREADS = 64,
	AT_ONCE = 4,		/* rows loaded before the first is added */
};

/* ---- forward -------------------------------------------------------------------------------- */

/* A warp a token. */
template <typename real, int width>
__global__ void gather(rows<int> token, long t_width, rows<real> table, rows<real> x, long n,
	long columns)
{
	long t = ((long)blockIdx.x * THREADS + threadIdx.x) / 32;

	if (t >= n)
		return;
	const real *from = table[token[t / t_width][t % t_width]];
	for (long i = threadIdx.x % 32 * width; i < columns; i += 32 * width)
		store_few<width>(x[t] + i, load_few<width>(from + i));
}

extern "C" void embedding_forward_cuda(const struct op_run *r)
{
	const struct tensor *token = r->in[EMBEDDING_TOKEN_BT], *table = r->in[EMBEDDING_TABLE_VD];
	const struct tensor *x = r->out[EMBEDDING_X_BTD];

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		bool wide = aligned8(table, sizeof zero) && aligned8(x, sizeof zero);

		launch(r, wide ? gather<real, 8> : gather<real, 1>,
			dim3((unsigned)ceil_div(tensor_rows(x), WARPS)), THREADS, 0,
			rows_of<int>(token), tensor_width(token), rows_of<real>(table),
			rows_of<real>(x), tensor_rows(x), tensor_width(x));
	});
}

/* ---- sorting tokens ------------------------------------------------------------------------- */

static __global__ void copy_tokens(rows<int> token, long t_width, int *key, int *position, long n)
{
	long t = (long)blockIdx.x * THREADS + threadIdx.x;

	if (t < n) {
		key[t] = token[t / t_width][t % t_width];
		position[t] = (int)t;
	}
}

__device__ __forceinline__ int digit_of(int key, int shift)
{
	return key >> shift & (DIGITS - 1);
}

/* count[digit][tile]: how many of the tile's tokens have the digit. */
static __global__ void count_digits(const int *key, int *count, long n, int shift)
{
	int *mine = shared_memory<int>();
	long from = (long)blockIdx.x * TILE;

	mine[threadIdx.x] = 0;
	__syncthreads();
	for (long i = from + threadIdx.x; i < from + TILE && i < n; i += THREADS)
		atomicAdd(&mine[digit_of(key[i], shift)], 1);
	__syncthreads();
	count[(long)threadIdx.x * gridDim.x + blockIdx.x] = mine[threadIdx.x];
}

/* Sum of x over the threads in front of this one. */
__device__ int sum_before(int x)
{
	int *total = shared_memory<int>();
	int lane = threadIdx.x % 32, warp = threadIdx.x / 32, sum = x, before = 0;

	for (int step = 1; step < 32; step *= 2) {
		int other = __shfl_up_sync(0xffffffffu, sum, step);
		sum += lane >= step ? other : 0;
	}
	if (lane == 31)
		total[warp] = sum;
	__syncthreads();
	for (int k = 0; k < warp; k++)
		before += total[k];
	return before + sum - x;
}

/* Each count becomes the sum of those in front of it: the first such token's place. One block. */
static __global__ void sum_counts(int *count, long n)
{
	long each = ceil_div(n, SCAN_THREADS), from = threadIdx.x * each;
	long to = from + each < n ? from + each : n;
	int sum = 0;

	for (long i = from; i < to; i++)
		sum += count[i];
	sum = sum_before(sum);
	for (long i = from; i < to; i++) {
		int own = count[i];
		count[i] = sum;
		sum += own;
	}
}

/* A warp takes WARP_TILE neighbours, 32 at once: what has the same digit keeps its order. */
static __global__ void scatter(const int *key, const int *position, const int *place, int *key_out,
	int *position_out, long n, int shift)
{
	int *next = shared_memory<int>();	/* [warp, digit]: place of the next one */
	int lane = threadIdx.x % 32, warp = threadIdx.x / 32, *mine = next + warp * DIGITS;
	long from = (long)blockIdx.x * TILE + warp * WARP_TILE;

	for (int k = 0; k < WARPS; k++)
		next[k * DIGITS + threadIdx.x] = 0;
	__syncthreads();
	for (long i = from + lane; i < from + WARP_TILE && i < n; i += 32)
		atomicAdd(&mine[digit_of(key[i], shift)], 1);
	__syncthreads();
	int at = place[(long)threadIdx.x * gridDim.x + blockIdx.x];
	for (int k = 0; k < WARPS; k++) {
		int own = next[k * DIGITS + threadIdx.x];
		next[k * DIGITS + threadIdx.x] = at;
		at += own;
	}
	__syncthreads();
	for (long i = from + lane; i - lane < from + WARP_TILE; i += 32) {
		int digit = i < n ? digit_of(key[i], shift) : DIGITS;
		unsigned same = __match_any_sync(0xffffffffu, digit);
		int rank = __popc(same & ((1u << lane) - 1));
		int to = i < n ? mine[digit] + rank : 0;
		__syncwarp();
		if (i < n) {
			if (rank == 0)
				mine[digit] += __popc(same);
			key_out[to] = key[i];
			position_out[to] = position[i];
		}
		__syncwarp();
	}
}

/* first[v]: how many sorted tokens are below v. */
static __global__ void find_rows(const int *key, int *first, long n, long n_rows)
{
	long v = (long)blockIdx.x * THREADS + threadIdx.x, low = 0, high = n;

	if (v > n_rows)
		return;
	while (low < high) {
		long middle = (low + high) / 2;
		if (key[middle] < v)
			low = middle + 1;
		else
			high = middle;
	}
	first[v] = (int)low;
}

struct sorted {
	const int *token, *position, *first;
	float *part;
};

static struct sorted sort_tokens(const struct op_run *r, const struct embedding_room *m, long n,
	long v)
{
	const struct tensor *token = r->in[EMBEDDING_TOKEN_BT];
	char *at = (char *)r->workspace;
	int *key[2] = {(int *)(at + m->token[0]), (int *)(at + m->token[1])};
	int *position[2] = {(int *)(at + m->position[0]), (int *)(at + m->position[1])};
	int *count = (int *)(at + m->count), *first = (int *)(at + m->first), now = 0;
	dim3 tiles((unsigned)m->n_tiles);

	launch(r, copy_tokens, dim3((unsigned)ceil_div(n, THREADS)), THREADS, 0,
		rows_of<int>(token), tensor_width(token), key[0], position[0], n);
	for (int shift = 0; shift == 0 || (v - 1) >> shift; shift += DIGIT_BITS) {
		launch(r, count_digits, tiles, THREADS, DIGITS * sizeof(int), (const int *)key[now],
			count, n, shift);
		launch(r, sum_counts, dim3(1), SCAN_THREADS, SCAN_THREADS / 32 * sizeof(int), count,
			m->n_tiles * DIGITS);
		launch(r, scatter, tiles, THREADS, WARPS * DIGITS * sizeof(int),
			(const int *)key[now], (const int *)position[now], (const int *)count,
			key[!now], position[!now], n, shift);
		now = !now;
	}
	launch(r, find_rows, dim3((unsigned)ceil_div(v + 1, THREADS)), THREADS, 0,
		(const int *)key[now], first, n, v);
	return (struct sorted){key[now], position[now], first, (float *)(at + m->part)};
}

/* ---- adding gradients up -------------------------------------------------------------------- */

template <int width>
__device__ __forceinline__ void give(float *to, few<width> sum, bool add)
{
	if (add) {
		few<width> old = load_few<width>(to);
		#pragma unroll
		for (int i = 0; i < width; i++)
			sum.v[i] += old.v[i];
	}
	store_few<width>(to, sum);
}

/* A run of equal tokens at [begin, end) of the sorted ones: a whole row, or a part; the part that
   begins its chunk is number 0, the other one runs to the chunk's end. */
template <int width>
__device__ __forceinline__ void end_run(const sorted &s, rows<float> table, long columns,
	long column, long begin, long end, const few<width> &sum, bool add)
{
	int v = s.token[begin];

	if (s.first[v] == begin && s.first[v + 1] == end)
		give<width>(table[v] + column, sum, add);
	else
		store_few<width>(s.part + (begin / CHUNK * 2 + (begin % CHUNK != 0)) * columns +
				column,
			sum);
}

template <typename real, int width>
__global__ void add_chunk(sorted s, rows<real> dx, rows<float> table, long n, long columns,
	bool add)
{
	long column = ((long)blockIdx.y * COLUMN_THREADS + threadIdx.x) * width;
	long begin = (long)blockIdx.x * CHUNK, to = begin + CHUNK < n ? begin + CHUNK : n;
	few<width> sum = {}, x[AT_ONCE];

	if (column >= columns)
		return;
	for (long at = begin; at < to; at += AT_ONCE) {
		#pragma unroll
		for (int k = 0; k < AT_ONCE; k++)
			if (at + k < to)
				x[k] = load_few<width>(dx[s.position[at + k]] + column);
		#pragma unroll
		for (int k = 0; k < AT_ONCE; k++) {
			if (at + k >= to)
				break;
			if (s.token[at + k] != s.token[begin]) {
				end_run<width>(s, table, columns, column, begin, at + k, sum, add);
				sum = few<width>{};
				begin = at + k;
			}
			#pragma unroll
			for (int i = 0; i < width; i++)
				sum.v[i] += x[k].v[i];
		}
	}
	end_run<width>(s, table, columns, column, begin, to, sum, add);
}

/* Rows whose tokens lie in several chunks, and rows without tokens. A block a row. */
template <int width>
__global__ void add_parts(sorted s, rows<float> table, long columns, bool add)
{
	long v = blockIdx.x, column = ((long)blockIdx.y * COLUMN_THREADS + threadIdx.x) * width;
	long begin = s.first[v], end = s.first[v + 1], last = (end - 1) / CHUNK;
	few<width> sum = {};

	if (column >= columns || (begin < end && begin / CHUNK == last) || (begin == end && add))
		return;
	if (begin < end) {
		long skip = begin % CHUNK != 0;
		#pragma unroll 4
		for (long c = begin / CHUNK; c <= last; c++) {
			few<width> part =
				load_few<width>(s.part + (c * 2 + skip) * columns + column);
			#pragma unroll
			for (int i = 0; i < width; i++)
				sum.v[i] += part.v[i];
			skip = 0;
		}
	}
	give<width>(table[v] + column, sum, add);
}

template <typename real, int width>
static void add_up(const struct op_run *r, const struct sorted &s, long n_chunks)
{
	const struct tensor *dx = r->d_out[EMBEDDING_X_BTD], *table = r->d_in[EMBEDDING_TABLE_VD];
	long columns = tensor_width(dx);
	unsigned pieces = (unsigned)ceil_div(columns, COLUMN_THREADS * width);
	bool add = op_adds(r, EMBEDDING_TABLE_VD);

	launch(r, add_chunk<real, width>, dim3((unsigned)n_chunks, pieces), COLUMN_THREADS, 0, s,
		rows_of<real>(dx), rows_of<float>(table), tensor_rows(dx), columns, add);
	launch(r, add_parts<width>, dim3((unsigned)tensor_rows(table), pieces), COLUMN_THREADS, 0,
		s, rows_of<float>(table), columns, add);
}

extern "C" void embedding_backward_cuda(const struct op_run *r)
{
	const struct tensor *dx = r->d_out[EMBEDDING_X_BTD], *table = r->d_in[EMBEDDING_TABLE_VD];
	long n = tensor_rows(dx), v = tensor_rows(table);
	struct embedding_room m = embedding_room(n, v, tensor_width(dx));
	struct sorted s = sort_tokens(r, &m, n, v);

	with_real(r, [&](auto zero) {
		if (aligned8(dx, sizeof zero) && aligned8(table, sizeof(float)))
			add_up<decltype(zero), 8>(r, s, m.n_chunks);
		else
			add_up<decltype(zero), 1>(r, s, m.n_chunks);
	});
}
