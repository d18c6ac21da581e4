/*
 * Tiles of rows of one head in shared memory, and products of them on tensor cores. A tile has room
 * for dh = 32, 64 or 128 columns, zero beyond those of the head; rows lie 16 bytes further apart than
 * that, so that eight rows of a column of 16 bytes lie in all banks.
 *
 * A warp has 16 rows of scores. (With 32 it would read half as much shared memory, but so few warps
 * find room then that latencies show.) What a lane holds of a matrix: the accumulators of mma_bf16(), rows
 * lane / 4 and 8 below it, in column tile j the columns 8 j + 2 (lane % 4) and the next.
 */
#ifndef OP_CUDA_ATTENTION_TILE_CUH
#define OP_CUDA_ATTENTION_TILE_CUH

#include "op/cuda/attention.cuh"

enum { COLUMNS = 64 };	/* of a block's tile of scores */

template <int dh>
constexpr int wide = dh + 8;

template <int dh, int n>
struct tile {
	bf16 at[n * wide<dh>];
};

/* What a thread copies of tiles that follow each other in a head: eight columns of every so many-th row. */
struct feed {
	const bf16 *at;		/* the first of the next tile */
	long ld;
};

template <int dh>
__device__ __forceinline__ feed feed_from(const attention<bf16> &a, const head &w,
	rows<const bf16> x, int row)
{
	int i = threadIdx.x / (dh / 8), j = threadIdx.x % (dh / 8);

	return {x[row_of(a, w, row + i)] + column_of(a, w) + 8 * j, x.ld};
}

/* Asynchronously: the next n rows, of which `there` exist; those beyond, and columns, become zeros. */
template <int threads, int dh, int n>
__device__ __forceinline__ void fetch_rows(tile<dh, n> &to, feed &x, int dh_there, int there)
{
	constexpr int apart = threads / (dh / 8);
	int i = threadIdx.x / (dh / 8), j = threadIdx.x % (dh / 8);

	there = 8 * j < dh_there ? there - i : 0;
	#pragma unroll
	for (int k = 0; k < n; k += apart)
		copy_async(to.at + (i + k) * wide<dh> + 8 * j, x.at + k * x.ld, k < there);
	x.at += n * x.ld;
}

/* A value that is the same in all lanes: so the compiler keeps it in one register of the warp. */
__device__ __forceinline__ int uniform(int x)
{
	return __shfl_sync(0xffffffffu, x, 0);
}

__device__ __forceinline__ head uniform(const head &w)
{
	return {uniform(w.b), uniform(w.h)};
}

__device__ __forceinline__ int lane_of()
{
	return threadIdx.x % 32;
}

/* Rows of a tile as left operands. */
template <int dh>
__device__ __forceinline__ void load_left(unsigned (&a)[dh / 16][4], const bf16 *tile, int row)
{
	int l = lane_of();

	#pragma unroll
	for (int k = 0; k < dh / 16; k++)
		ldmatrix<4, false>(a[k], tile + (row + l % 16) * wide<dh> + 16 * k + 8 * (l / 16));
}

/* Where a lane begins to read 16 rows from `row` on, a multiple of 16, of a tile as B^T. */
template <int dh>
__device__ __forceinline__ const bf16 *rows_at(const bf16 *b, int row)
{
	int l = lane_of();

	return b + (row + l / 16 * 8 + l % 8) * wide<dh> + l / 8 % 2 * 8;
}

/* s += A B^T for two column tiles, j and the next, and 16 of the columns that are summed over; b: a lane's
   place. */
template <int dh, int n>
__device__ __forceinline__ void multiply_step(float (&s)[n][4], int j, const unsigned (&a)[dh / 16][4],
	const bf16 *b, int k)
{
	unsigned r[4];

	ldmatrix<4, false>(r, b + 16 * k);
	unsigned first[2] = {r[0], r[1]}, second[2] = {r[2], r[3]};
	mma_bf16(s[j], a[k], first);
	mma_bf16(s[j + 1], a[k], second);
}

/* sum += A B for 16 rows of B from `row` on, against the 16 columns of A. */
template <int dh>
__device__ __forceinline__ void multiply_columns(float (&sum)[dh / 8][4], const unsigned (&a)[4],
	const bf16 *b, int row)
{
	int l = lane_of();

	b += (row + l % 16) * wide<dh> + l / 16 * 8;
	#pragma unroll
	for (int j = 0; j < dh / 8; j += 2) {
		unsigned r[4];
		ldmatrix<4, true>(r, b + 8 * j);
		unsigned first[2] = {r[0], r[1]}, second[2] = {r[2], r[3]};
		mma_bf16(sum[j], a, first);
		mma_bf16(sum[j + 1], a, second);
	}
}

/* Two column tiles of accumulators as a left operand of 16 columns. */
__device__ __forceinline__ void as_left(unsigned (&a)[4], const float (&first)[4],
	const float (&second)[4])
{
	a[0] = bf16_pair(first[0], first[1]);
	a[1] = bf16_pair(first[2], first[3]);
	a[2] = bf16_pair(second[0], second[1]);
	a[3] = bf16_pair(second[2], second[3]);
}

/* The warp's rows of a result, times factor[half], through its part of a tile nobody else uses. */
template <int dh>
__device__ __forceinline__ void put_rows(const attention<bf16> &a, const head &w, rows<bf16> to,
	bool add, int first, bf16 *tile, const float (&sum)[dh / 8][4], const float (&factor)[2])
{
	int l = lane_of(), own = (int)threadIdx.x / 32 * 16;

	__syncwarp();
	#pragma unroll
	for (int j = 0; j < dh / 8; j++)
		#pragma unroll
		for (int half = 0; half < 2; half++) {
			float f = factor[half], low = f * sum[j][2 * half], high = f * sum[j][2 * half + 1];
			int i = own + 8 * half + l / 4;
			*(unsigned *)(tile + i * wide<dh> + 8 * j + 2 * (l % 4)) = bf16_pair(low, high);
		}
	__syncwarp();
	#pragma unroll
	for (int e = l; e < 16 * dh / 8; e += 32) {
		int i = own + e / (dh / 8), j = e % (dh / 8);
		if (first + i >= a.T || 8 * j >= a.dh)
			continue;
		bf16 *at = to[row_of(a, w, first + i)] + column_of(a, w) + 8 * j;
		eight v = load8(tile + i * wide<dh> + 8 * j);
		eight old = add ? load8(at) : eight{};
		#pragma unroll
		for (int c = 0; c < 8; c++)
			v.v[c] += old.v[c];
		store8(at, v);
	}
}

#endif
