/*
 * Products of 64 x 64 elements by a block of 256 threads, for operators that take time in chunks:
 * activations, which lie in lines by token, matrices of pairs of tokens in shared memory and states,
 * both in float, in any combination. On tensor cores in bf16 (mma.sync m16n8k16, sums in float32), in
 * float on device cuda_f32.
 *
 * An operand is `lines`: element j of line i at at[i * ld + j], times factor[i] where there are
 * factors, 0 beyond n_lines and n_each. by_term: terms of the sum are neighbours in a line, a line is
 * a side (a row of A, a column of B); else a line is a term and sides are neighbours.
 */
#ifndef OP_CUDA_CHUNK_TILE_CUH
#define OP_CUDA_CHUNK_TILE_CUH

#include "op/cuda/kit.cuh"
#include "op/cuda/prim.cuh"
#include "op/cuda/tile.cuh"

enum {
	CHUNK_SIDE = TILE_SIDE,
	CHUNK_THREADS = TILE_THREADS,
	CHUNK_PITCH = CHUNK_SIDE + 8,	/* of matrices in shared memory: rows of 8 in other banks */
	CHUNK_MATRIX = CHUNK_SIDE * CHUNK_PITCH,	/* elements of one */
};

template <typename element, bool terms_in_line>
struct lines {
	static constexpr bool by_term = terms_in_line;

	const element *at;
	long ld;
	int n_lines, n_each;
	bool aligned;			/* may be loaded eight at once */
	const float *factor;

	__device__ __forceinline__ eight get8(int i, int j) const
	{
		int n = i < n_lines ? max(min(n_each - j, 8), 0) : 0;
		const element *from = at + i * ld + j;
		eight x = aligned && n == 8 ? load8(from) : load_first(from, n);
		float f = factor && n ? factor[i] : 1;

		#pragma unroll
		for (int k = 0; k < 8; k++)
			x.v[k] *= f;
		return x;
	}

	__device__ __forceinline__ float get(int i, int j) const
	{
		if (i >= n_lines || j >= n_each)
			return 0;
		return to_float(at[i * ld + j]) * (factor ? factor[i] : 1);
	}
};

/* The block's product, a thread has 16 elements of it. */
template <typename real>
struct chunk_tile;

template <>
struct chunk_tile<float> {
	static constexpr int shared_bytes = TILE_FLOATS * sizeof(float);

	float sum[4][4];

	/* sum += A B over n_terms; shared: shared_bytes, of all threads, which wait for each other before
	   and after. */
	template <typename left, typename right>
	__device__ __forceinline__ void add(int n_terms, const left &a, const right &b, void *shared)
	{
		tile_product<left::by_term, right::by_term>(sum, n_terms,
			[&](int i, long k) { return left::by_term ? a.get(i, (int)k) : a.get((int)k, i); },
			[&](int j, long k) { return right::by_term ? b.get(j, (int)k) : b.get((int)k, j); },
			(float *)shared);
	}

	/* work(row, column, element) for each of the thread's, always in the same order. */
	template <typename function>
	__device__ __forceinline__ void each(const function &work)
	{
		#pragma unroll
		for (int i = 0; i < 4; i++)
			#pragma unroll
			for (int j = 0; j < 4; j++)
				work(tile_row() + i, tile_column() + j, sum[i][j]);
	}
};

template <>
struct chunk_tile<bf16> {
	static constexpr int shared_bytes = 2 * CHUNK_MATRIX * sizeof(bf16);

	float sum[4][4];	/* four accumulators of mma_bf16(): a warp has 16 rows, 32 columns */

	static __device__ __forceinline__ int warp_row()
	{
		return threadIdx.x / 32 % 4 * 16;
	}

	static __device__ __forceinline__ int warp_column()
	{
		return threadIdx.x / 128 * 32;
	}

	/* 64 sides and 64 terms from k on, as they lie in lines. */
	template <typename operand>
	static __device__ __forceinline__ void fetch(bf16 *to, const operand &x, int k)
	{
		#pragma unroll
		for (int p = threadIdx.x; p < CHUNK_SIDE * CHUNK_SIDE / 8; p += CHUNK_THREADS) {
			int i = p / 8, j = p % 8 * 8;
			store8(to + i * CHUNK_PITCH + j,
				operand::by_term ? x.get8(i, k + j) : x.get8(k + i, j));
		}
	}

	/* 16 rows of A from i on and 16 terms from k on. */
	template <bool by_term>
	static __device__ __forceinline__ void load_left(unsigned (&r)[4], const bf16 *a, int i, int k)
	{
		int l = threadIdx.x % 32, row = l % 8, middle = l / 8 % 2 * 8, high = l / 16 * 8;

		if constexpr (by_term)
			ldmatrix<4, false>(r, a + (i + middle + row) * CHUNK_PITCH + k + high);
		else
			ldmatrix<4, true>(r, a + (k + high + row) * CHUNK_PITCH + i + middle);
	}

	/* 16 columns of B from j on and 16 terms from k on: two right operands. */
	template <bool by_term>
	static __device__ __forceinline__ void load_right(unsigned (&r)[4], const bf16 *b, int j, int k)
	{
		int l = threadIdx.x % 32, row = l % 8, middle = l / 8 % 2 * 8, high = l / 16 * 8;

		if constexpr (by_term)
			ldmatrix<4, false>(r, b + (j + high + row) * CHUNK_PITCH + k + middle);
		else
			ldmatrix<4, true>(r, b + (k + middle + row) * CHUNK_PITCH + j + high);
	}

	template <typename left, typename right>
	__device__ __forceinline__ void add(int n_terms, const left &a, const right &b, void *shared)
	{
		bf16 *x = (bf16 *)shared, *y = x + CHUNK_MATRIX;

		for (int k0 = 0; k0 < n_terms; k0 += CHUNK_SIDE) {
			__syncthreads();
			fetch(x, a, k0);
			fetch(y, b, k0);
			__syncthreads();
			#pragma unroll
			for (int k = 0; k < CHUNK_SIDE; k += 16) {
				unsigned rows[4], columns[4];
				load_left<left::by_term>(rows, x, warp_row(), k);
				#pragma unroll
				for (int j = 0; j < 4; j += 2) {
					load_right<right::by_term>(columns, y, warp_column() + 8 * j, k);
					unsigned first[2] = {columns[0], columns[1]};
					unsigned second[2] = {columns[2], columns[3]};
					mma_bf16(sum[j], rows, first);
					mma_bf16(sum[j + 1], rows, second);
				}
			}
		}
		__syncthreads();
	}

	template <typename function>
	__device__ __forceinline__ void each(const function &work)
	{
		int l = threadIdx.x % 32;

		#pragma unroll
		for (int j = 0; j < 4; j++)
			#pragma unroll
			for (int c = 0; c < 4; c++)
				work(warp_row() + l / 4 + c / 2 * 8, warp_column() + 8 * j + l % 4 * 2 + c % 2,
					sum[j][c]);
	}
};

template <typename real>
__device__ __forceinline__ void chunk_clear(chunk_tile<real> &t)
{
	t.each([](int, int, float &x) { x = 0; });
}

/* Element (i, j) of a matrix in shared memory. */
__device__ __forceinline__ float *chunk_at(float *matrix, int i, int j)
{
	return matrix + i * CHUNK_PITCH + j;
}

template <bool by_term>
__device__ __forceinline__ lines<float, by_term> chunk_lines(const float *matrix)
{
	return {matrix, CHUNK_PITCH, CHUNK_SIDE, CHUNK_SIDE, true, NULL};
}

/* Sums over the rows of a matrix that all threads wrote before a barrier; row threadIdx.x / 4's, to all
   four of its threads. */
__device__ __forceinline__ float chunk_row_sum(const float *matrix)
{
	const float *row = matrix + threadIdx.x / 4 * CHUNK_PITCH + threadIdx.x % 4 * (CHUNK_SIDE / 4);
	float sum = 0;

	#pragma unroll
	for (int j = 0; j < CHUNK_SIDE / 4; j++)
		sum += row[j];
	return warp_sum<4>(sum);
}

/* Over columns, into sums[64]; quarters: 256 floats. Threads wait for each other within and after. */
__device__ __forceinline__ void chunk_column_sums(float *sums, const float *matrix, float *quarters)
{
	int j = threadIdx.x % CHUNK_SIDE, quarter = threadIdx.x / CHUNK_SIDE;
	float sum = 0;

	#pragma unroll
	for (int i = 0; i < CHUNK_SIDE / 4; i++)
		sum += matrix[(quarter * (CHUNK_SIDE / 4) + i) * CHUNK_PITCH + j];
	quarters[threadIdx.x] = sum;
	__syncthreads();
	if (quarter == 0)
		sums[j] = quarters[j] + quarters[j + 64] + quarters[j + 128] + quarters[j + 192];
	__syncthreads();
}

/* Elements (i, j), j < i, become the sum of column j from row i on; the others 0. */
__device__ __forceinline__ void chunk_sums_below(float *matrix, float *quarters)
{
	constexpr int n_rows = CHUNK_SIDE / 4;
	int j = threadIdx.x % CHUNK_SIDE, quarter = threadIdx.x / CHUNK_SIDE;
	float below = 0;

	for (int i = n_rows - 1; i >= 0; i--)
		below += *chunk_at(matrix, quarter * n_rows + i, j);
	quarters[threadIdx.x] = below;
	__syncthreads();
	below = 0;
	for (int q = 3; q > quarter; q--)
		below += quarters[q * CHUNK_SIDE + j];
	for (int i = quarter * n_rows + n_rows - 1; i >= quarter * n_rows; i--) {
		float *at = chunk_at(matrix, i, j);
		below += *at;
		*at = j < i ? below : 0;
	}
	__syncthreads();
}

/* x . y of n elements, to all threads, which wait for each other before and after. */
__device__ __forceinline__ float chunk_dot(const float *x, const float *y, int n, float *scratch)
{
	float sum = 0;

	for (int i = threadIdx.x; i < n; i += CHUNK_THREADS)
		sum += x[i] * y[i];
	sum = warp_sum(sum);
	__syncthreads();
	if (threadIdx.x % 32 == 0)
		scratch[threadIdx.x / 32] = sum;
	__syncthreads();
	sum = 0;
	for (int i = 0; i < CHUNK_THREADS / 32; i++)
		sum += scratch[i];
	__syncthreads();
	return sum;
}

#endif
