/*
 * A tile of a product by tensor cores (mma.sync m16n8k16, bf16, sums in float32). Eight warps make
 * m x n elements, each wm x wn of them, over chunks of `chunk` terms of the sum; `stages` chunks are
 * on their way to shared memory or in use (mma_feed).
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
	MMA_PIECE = 8,			/* elements of a copy */
	MMA_BLOCK = 64,			/* sides in a row, where sides are neighbours */
};

/* An operand as a block sees it: element (side, term) at at + side * ld + term, or, where sides are
   neighbours, at + term * ld + side. There are n_sides and n_terms; beyond is 0. */
struct mma_operand {
	const bf16 *at;
	long ld, n_sides, n_terms;
};

/*
 * What a thread brings of an operand, chunk after chunk: `count` pieces of 16 bytes, as they lie in
 * device memory. In shared memory a row is a side and its terms; or, where sides are neighbours, a
 * term and 64 of them, a block of sides behind the other. Pieces of a row are exchanged so that the
 * eight rows that a load of a matrix reads together are in different banks; rows of 128 bytes lie as
 * wgmma's swizzle of 128 bytes says. eights: of each 32 sides, which are rows, side 8 q + 2 b + c comes
 * where 8 b + 2 q + c would: sums of four products in a row are then eight neighbours (each8()).
 */
template <bool row, int sides, int chunk, bool eights = false>
struct mma_feed {
	static constexpr int width = (row ? chunk : sides) / MMA_PIECE;	/* in device memory */
	static constexpr int rows = MMA_THREADS / width;	/* between a thread's pieces */
	static constexpr int count = sides * chunk / MMA_PIECE / MMA_THREADS;

	static_assert(rows % 8 == 0 && count * MMA_THREADS * MMA_PIECE == sides * chunk,
		"all threads bring as much, in places exchanged alike");
	static_assert(!eights || (row && rows % 32 == 0), "sides in rows, 32 of them exchanged alike");

	const bf16 *from;
	long step;			/* from piece to piece */
	int at, left;			/* place; terms there are, from this thread's first on */
	unsigned there;			/* bit q: the sides of piece q are */

	static __device__ __forceinline__ int place(int side, int term)
	{
		int i = row ? side : term, j = (row ? term : side) / MMA_PIECE;

		if (row && chunk == 32)
			return (i * 4 + (j ^ i / 2 % 4)) * MMA_PIECE;
		return ((j / 8 * chunk + i) * 8 + (j % 8 ^ i % 8)) * MMA_PIECE;
	}

	__device__ __forceinline__ void start(const mma_operand &o)
	{
		int i = threadIdx.x / width, j = threadIdx.x % width * MMA_PIECE;

		at = row ? place(i, j) : place(j, i);
		if (eights)
			i = i / 32 * 32 + i % 8 / 2 * 8 + i / 8 % 4 * 2 + i % 2;
		from = o.at + i * o.ld + j;
		step = rows * o.ld;
		left = (int)o.n_terms - (row ? j : i);
		there = 0;
		#pragma unroll
		for (int q = 0; q < count; q++)
			there |= (unsigned)((row ? i + q * rows : j) < o.n_sides) << q;
	}

	/* Enqueues the next chunk. */
	__device__ __forceinline__ void fetch(bf16 *to)
	{
		#pragma unroll
		for (int q = 0; q < count; q++)
			copy_async(to + at + q * (row ? rows * chunk : rows * MMA_BLOCK),
				from + q * step,
				(there >> q & 1) && (row ? 0 : q * rows) < left);
		from += row ? chunk : count * step;
		left -= chunk;
	}
};

/* Of four neighbour lanes, lane i and word k become lane k and word i. */
__device__ __forceinline__ void turn4(unsigned (&word)[4])
{
	#pragma unroll
	for (int bit = 1; bit < 4; bit *= 2)
		#pragma unroll
		for (int k = 0; k < 4; k++) {
			if (k & bit)
				continue;
			bool upper = threadIdx.x & bit;
			unsigned other = __shfl_xor_sync(0xffffffffu, upper ? word[k] : word[k | bit],
				bit);
			(upper ? word[k] : word[k | bit]) = other;
		}
}

/* A, B: number of parts. a_row: terms are neighbours in A, else sides; b_row of B. edges: columns
   beyond n_sides and terms beyond n_terms are left out, 16 at a time, which pays where a tile is
   seldom full. eights: of B (mma_feed); then each() has other columns and is not for use. */
template <int m, int n, int wm, int wn, int chunk, int stages, int A, int B, bool a_row, bool b_row,
	bool edges, bool eights = false>
struct mma_tile {
	static_assert(m / wm * (n / wn) * 32 == MMA_THREADS, "eight warps");

	typedef mma_feed<a_row, m, chunk> feed_a;
	typedef mma_feed<b_row, n, chunk, eights> feed_b;

	struct stage {
		bf16 a[A][m * chunk], b[B][n * chunk];
	};

	float sum[wm / 16][wn / 8][4];
	feed_a from_a[A];
	feed_b from_b[B];

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

	/* Enqueues the next chunk. */
	__device__ __forceinline__ void fetch(stage &to)
	{
		#pragma unroll
		for (int i = 0; i < A; i++)
			from_a[i].fetch(to.a[i]);
		#pragma unroll
		for (int i = 0; i < B; i++)
			from_b[i].fetch(to.b[i]);
	}

	/* 16 rows from i0 and 16 terms from k of A: an operand of mma_bf16(). */
	static __device__ __forceinline__ void load_a(unsigned (&r)[4], const bf16 *at, int i0,
		int k)
	{
		int l = threadIdx.x % 32, row = l % 8, side = l / 8 % 2 * 8, half = l / 16 * 8;

		if (a_row)
			ldmatrix<4, false>(r, at + feed_a::place(i0 + side + row, k + half));
		else
			ldmatrix<4, true>(r, at + feed_a::place(i0 + side, k + half + row));
	}

	/* 16 columns from j0 and 16 terms from k of B: two operands. */
	static __device__ __forceinline__ void load_b(unsigned (&r)[4], const bf16 *at, int j0,
		int k)
	{
		int l = threadIdx.x % 32, row = l % 8, half = l / 8 % 2 * 8, side = l / 16 * 8;

		if (b_row)
			ldmatrix<4, false>(r, at + feed_b::place(j0 + side + row, k + half));
		else
			ldmatrix<4, true>(r, at + feed_b::place(j0 + side, k + half + row));
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

	static __device__ __forceinline__ stage *shared_ring()
	{
		return shared_memory<stage>();
	}

	/* Of a product sum = A B: enqueues the first `ahead` chunks. Sums are left alone. */
	template <int ahead = stages - 1>
	__device__ __forceinline__ void begin(const mma_operand (&a)[A], const mma_operand (&b)[B],
		stage *ring)
	{
		int n_terms = (int)a[0].n_terms;

		#pragma unroll
		for (int i = 0; i < A; i++)
			from_a[i].start(a[i]);
		#pragma unroll
		for (int i = 0; i < B; i++)
			from_b[i].start(b[i]);
		#pragma unroll
		for (int c = 0; c < ahead; c++) {
			if (c * chunk < n_terms)
				fetch(ring[c]);
			__pipeline_commit();
		}
	}

	/* The rest of it. Shared memory is free again when it returns. */
	__device__ __forceinline__ void finish(int n_terms, int n_columns, stage *ring)
	{
		int chunks = (n_terms + chunk - 1) / chunk;

		clear();
		for (int c = 0; c < chunks; c++) {
			__pipeline_wait_prior(stages - 2);
			__syncthreads();
			multiply(ring[c % stages], 0, n_columns);
			if (c + stages - 1 < chunks)
				fetch(ring[(c + stages - 1) % stages]);
			__pipeline_commit();
			#pragma unroll
			for (int k = 16; k < chunk; k += 16)
				if (!edges || c * chunk + k < n_terms)
					multiply(ring[c % stages], k, n_columns);
		}
		__pipeline_wait_prior(0);
		__syncthreads();
	}

	__device__ __forceinline__ void product(const mma_operand (&a)[A],
		const mma_operand (&b)[B], stage *ring)
	{
		begin(a, b, ring);
		finish((int)a[0].n_terms, (int)min(b[0].n_sides, (long)n), ring);
	}

	/* put(row, column, v, v of the next column) for the elements of this thread. */
	template <typename sink>
	__device__ __forceinline__ void each(const sink &put) const
	{
		int l = threadIdx.x % 32;

		static_assert(!eights, "columns in order");
		#pragma unroll
		for (int i = 0; i < wm / 8; i++)
			#pragma unroll
			for (int j = 0; j < wn / 8; j++)
				put(warp_row() + l / 4 + 8 * i, warp_column() + l % 4 * 2 + 8 * j,
					sum[i / 2][j][i % 2 * 2], sum[i / 2][j][i % 2 * 2 + 1]);
	}

	/* put(row, column, eight neighbours, rounded to bf16). Without eights the four lanes that
	   share a row have two neighbours of each eight, and exchange them: each gets a fourth. */
	template <typename sink>
	__device__ __forceinline__ void each8(const sink &put) const
	{
		int l = threadIdx.x % 32;

		static_assert(wn % 32 == 0, "four times eight columns");
		#pragma unroll
		for (int i = 0; i < wm / 8; i++)
			#pragma unroll
			for (int j = 0; j < wn / 8; j += 4) {
				unsigned pair[4];
				#pragma unroll
				for (int k = 0; k < 4; k++) {
					const float *v = &sum[i / 2][j + k][i % 2 * 2];
					pair[k] = bf16_pair(v[0], v[1]);
				}
				if (!eights)
					turn4(pair);
				put(warp_row() + l / 4 + 8 * i, warp_column() + 8 * j + l % 4 * 8,
					raw8<bf16>{{make_uint4(pair[0], pair[1], pair[2], pair[3])}});
			}
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
