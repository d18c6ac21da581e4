/*
 * A tile of a product by tensor cores (mma.sync m16n8k16, bf16, sums in float32). Eight warps make
 * m x n elements, each wm x wn of them, over chunks of 32 terms of the sum; `stages` chunks are on
 * their way to shared memory or in use. An operand lies there as it lies in device memory, 16 bytes
 * at a time, in places exchanged (place()) so that the eight rows that a load of a matrix reads
 * together are in different banks.
 *
 * Operands more exact than bf16 come as several parts, x = x0 + x1 + ..., each the rounded rest of
 * those before. Then A B = sum of A_i B_j over i + j < the larger number of parts; what is left out
 * is as small as the rounding of the last part.
 */
#ifndef OP_CUDA_MMA_TILE_CUH
#define OP_CUDA_MMA_TILE_CUH

#include "op/cuda/kit.cuh"
#include "op/cuda/prim.cuh"

enum {
	MMA_THREADS = 256,
	MMA_CHUNK = 32,			/* terms */
	MMA_PIECE = 8,			/* elements of a copy */
};

/* An operand as a block sees it: element (side, term) at at + side * ld + term, or, where sides are
   neighbours, at + term * ld + side. There are n_sides and n_terms; beyond is 0. */
struct mma_operand {
	const bf16 *at;
	long ld, n_sides, n_terms;
};

/* A, B: number of parts. a_row: terms are neighbours in A, else sides; b_row of B. edges: columns
   beyond n_sides and terms beyond n_terms are left out, 16 at a time, which pays where a tile is
   seldom full. */
template <int m, int n, int wm, int wn, int stages, int A, int B, bool a_row, bool b_row,
	bool edges>
struct mma_tile {
	static_assert(m / wm * (n / wn) * 32 == MMA_THREADS, "eight warps");

	struct stage {
		bf16 a[A][m * MMA_CHUNK], b[B][n * MMA_CHUNK];
	};

	float sum[wm / 16][wn / 8][4];

	static constexpr size_t shared_bytes = stages * sizeof(stage);
	static constexpr int pitch = n + MMA_PIECE;	/* of lay_out(), in elements */

	static __device__ __forceinline__ int warp_row()
	{
		return threadIdx.x / 32 / (n / wn) * wm;
	}

	static __device__ __forceinline__ int warp_column()
	{
		return threadIdx.x / 32 % (n / wn) * wn;
	}

	/* Piece j of row i: rows of 4 pieces where terms are neighbours, of sides / 8 else. */
	template <bool row, int sides>
	static __device__ __forceinline__ int place(int i, int j)
	{
		return row ? (i * 4 + (j ^ i / 2 % 4)) * MMA_PIECE
			: (i * (sides / MMA_PIECE) + (j ^ i % 8)) * MMA_PIECE;
	}

	/* Enqueues the chunk from term k0 on. */
	template <bool row, int sides>
	static __device__ __forceinline__ void fetch(bf16 *to, const mma_operand &o, long k0)
	{
		constexpr int per_row = (row ? MMA_CHUNK : sides) / MMA_PIECE;

		#pragma unroll
		for (int p = threadIdx.x; p < sides * MMA_CHUNK / MMA_PIECE; p += MMA_THREADS) {
			int i = p / per_row, j = p % per_row;
			long side = row ? i : j * MMA_PIECE, k = k0 + (row ? j * MMA_PIECE : i);
			bool there = side < o.n_sides && k < o.n_terms;
			const bf16 *from = o.at + (row ? side * o.ld + k : k * o.ld + side);
			copy_async(to + place<row, sides>(i, j), there ? from : o.at, there);
		}
	}

	static __device__ __forceinline__ void fetch_all(stage &to, const mma_operand (&a)[A],
		const mma_operand (&b)[B], long k0)
	{
		#pragma unroll
		for (int i = 0; i < A; i++)
			fetch<a_row, m>(to.a[i], a[i], k0);
		#pragma unroll
		for (int i = 0; i < B; i++)
			fetch<b_row, n>(to.b[i], b[i], k0);
	}

	/* 16 rows from i0 and 16 terms from k of A: an operand of mma_bf16(). */
	static __device__ __forceinline__ void load_a(unsigned (&r)[4], const bf16 *at, int i0,
		int k)
	{
		int l = threadIdx.x % 32, row = l % 8, side = l / 8 % 2, half = l / 16;

		if (a_row)
			ldmatrix<4, false>(r,
				at + place<true, m>(i0 + 8 * side + row, k / 8 + half));
		else
			ldmatrix<4, true>(r,
				at + place<false, m>(k + 8 * half + row, i0 / 8 + side));
	}

	/* 16 columns from j0 and 16 terms from k of B: two operands. */
	static __device__ __forceinline__ void load_b(unsigned (&r)[4], const bf16 *at, int j0,
		int k)
	{
		int l = threadIdx.x % 32, row = l % 8, half = l / 8 % 2, side = l / 16;

		if (b_row)
			ldmatrix<4, false>(r,
				at + place<true, n>(j0 + 8 * side + row, k / 8 + half));
		else
			ldmatrix<4, true>(r,
				at + place<false, n>(k + 8 * half + row, j0 / 8 + side));
	}

	/* 16 columns of B, one of its parts, with all parts of A. */
	__device__ __forceinline__ void multiply_columns(const unsigned (&a)[A][wm / 16][4],
		const unsigned (&b)[4], int part, int j)
	{
		constexpr int order = A > B ? A : B;

		#pragma unroll
		for (int q = 0; q < A; q++)
			#pragma unroll
			for (int i = 0; i < wm / 16 && q + part < order; i++) {
				unsigned left[2] = {b[0], b[1]}, right[2] = {b[2], b[3]};
				mma_bf16(sum[i][j / 8], a[q][i], left);
				mma_bf16(sum[i][j / 8 + 1], a[q][i], right);
			}
	}

	/* 16 terms of a chunk, from k on. Columns of the tile from n_columns on are 0. */
	__device__ __forceinline__ void multiply(const stage &s, int k, int n_columns)
	{
		unsigned a[A][wm / 16][4];

		#pragma unroll
		for (int q = 0; q < A; q++)
			#pragma unroll
			for (int i = 0; i < wm / 16; i++)
				load_a(a[q][i], s.a[q], warp_row() + 16 * i, k);
		#pragma unroll
		for (int j = 0; j < wn; j += 16) {
			if (edges && warp_column() + j >= n_columns)
				continue;
			#pragma unroll
			for (int p = 0; p < B; p++) {
				unsigned b[4];
				load_b(b, s.b[p], warp_column() + j, k);
				multiply_columns(a, b, p, j);
			}
		}
	}

	__device__ __forceinline__ void clear()
	{
		#pragma unroll
		for (int i = 0; i < wm / 16; i++)
			#pragma unroll
			for (int j = 0; j < wn / 8; j++)
				#pragma unroll
				for (int c = 0; c < 4; c++)
					sum[i][j][c] = 0;
	}

	/* sum = A B over all terms. Shared memory is free again when it returns. */
	__device__ __forceinline__ void product(const mma_operand (&a)[A],
		const mma_operand (&b)[B], stage *ring)
	{
		long chunks = (a[0].n_terms + MMA_CHUNK - 1) / MMA_CHUNK;
		int n_columns = (int)min(b[0].n_sides, (long)n);

		clear();
		#pragma unroll
		for (int c = 0; c < stages - 1; c++) {
			if (c < chunks)
				fetch_all(ring[c], a, b, c * MMA_CHUNK);
			__pipeline_commit();
		}
		for (long c = 0; c < chunks; c++) {
			long next = c + stages - 1;
			__pipeline_wait_prior(stages - 2);
			__syncthreads();
			if (next < chunks)
				fetch_all(ring[next % stages], a, b, next * MMA_CHUNK);
			__pipeline_commit();
			#pragma unroll
			for (int k = 0; k < MMA_CHUNK; k += 16)
				if (!edges || c * MMA_CHUNK + k < a[0].n_terms)
					multiply(ring[c % stages], k, n_columns);
		}
		__pipeline_wait_prior(0);
		__syncthreads();
	}

	/* put(row, column, v, v of the next column) for the elements of this thread. */
	template <typename sink>
	__device__ __forceinline__ void each(const sink &put) const
	{
		int l = threadIdx.x % 32;

		#pragma unroll
		for (int i = 0; i < wm / 8; i++)
			#pragma unroll
			for (int j = 0; j < wn / 8; j++)
				put(warp_row() + l / 4 + 8 * i, warp_column() + l % 4 * 2 + 8 * j,
					sum[i / 2][j][i % 2 * 2], sum[i / 2][j][i % 2 * 2 + 1]);
	}

	/* Rounded to bf16 into shared memory: row i, column j at to[i * pitch + j]. */
	__device__ __forceinline__ void lay_out(bf16 *to) const
	{
		static_assert(m * pitch * sizeof(bf16) <= shared_bytes, "room for the tile");
		each([&](int i, int j, float u, float v) {
			*(unsigned *)(to + i * pitch + j) = bf16_pair(u, v);
		});
		__syncthreads();
	}
};

/* x = parts[0] + parts[1] + ... but for a rest of 2^-8 of the last. */
template <int n>
__device__ __forceinline__ void mma_split(float x, bf16 (&parts)[n])
{
	#pragma unroll
	for (int i = 0; i < n; i++) {
		parts[i] = __float2bfloat16(x);
		x -= __bfloat162float(parts[i]);
	}
}

#endif