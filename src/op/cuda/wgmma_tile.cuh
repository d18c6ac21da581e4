/*
 * A tile of a product by wgmma: 128 x 256 elements, each warpgroup 64 rows, over chunks of 64 terms.
 * Copies, places and what becomes of the sums are those of mma_tile. Products of a chunk go on while
 * the barrier of the next is passed, so a stage is free one chunk later than there.
 */
#ifndef OP_CUDA_WGMMA_TILE_CUH
#define OP_CUDA_WGMMA_TILE_CUH

#include "op/cuda/mma_tile.cuh"
#include "op/cuda/wgmma.cuh"

enum { WGMMA_ROWS = 128, WGMMA_CHUNK = 64, WGMMA_STAGES = 4 };

template <bool a_row, bool b_row>
using wgmma_base = mma_tile<WGMMA_ROWS, WGMMA_COLUMNS, 16, WGMMA_COLUMNS, WGMMA_CHUNK, WGMMA_STAGES, 1, 1,
	a_row, b_row, false, b_row>;

template <bool a_row, bool b_row>
struct wgmma_tile : wgmma_base<a_row, b_row> {
	typedef wgmma_base<a_row, b_row> base;
	typedef typename base::stage stage;

	static constexpr int ahead = WGMMA_STAGES - 2;
	static constexpr size_t shared_bytes = base::shared_bytes + WGMMA_ALIGNMENT;

	static __device__ __forceinline__ stage *shared_ring()
	{
		char *at = shared_memory<char>();

		return (stage *)(at + (-shared_address(at) & (WGMMA_ALIGNMENT - 1)));
	}

	__device__ __forceinline__ void begin(const mma_operand (&a)[1], const mma_operand (&b)[1],
		stage *ring)
	{
		base::template begin<ahead>(a, b, ring);
	}

	/* A chunk, as a group of products. */
	__device__ __forceinline__ void multiply(const stage &s)
	{
		constexpr unsigned next = WGMMA_CHUNK * MMA_BLOCK * sizeof(bf16);
		const bf16 *a = s.a[0] + threadIdx.x / 128 * 64 * WGMMA_CHUNK, *b = s.b[0];

		wgmma_begin(this->sum[0]);
		#pragma unroll
		for (int k = 0; k < WGMMA_CHUNK; k += 16)
			wgmma_bf16<a_row, b_row>(this->sum[0],
				wgmma_matrix<a_row>(a + (a_row ? k : k * MMA_BLOCK), next),
				wgmma_matrix<b_row>(b + (b_row ? k : k * MMA_BLOCK), next));
		wgmma_commit();
	}

	__device__ __forceinline__ void finish(int n_terms, int, stage *ring)
	{
		int chunks = (n_terms + WGMMA_CHUNK - 1) / WGMMA_CHUNK;

		base::clear();
		for (int c = 0; c < chunks; c++) {
			__pipeline_wait_prior(ahead - 1);
			wgmma_publish();
			__syncthreads();
			multiply(ring[c % WGMMA_STAGES]);
			if (c + ahead < chunks)
				base::fetch(ring[(c + ahead) % WGMMA_STAGES]);
			__pipeline_commit();
			wgmma_wait<1>(this->sum[0]);
		}
		wgmma_wait<0>(this->sum[0]);
		__pipeline_wait_prior(0);
		__syncthreads();
	}
};

#endif
