/*
 * Instructions of a GPU (sm_80 and later) that C++ has no word for. Each has its meaning in C++
 * beside it: that is what runs where the kernels are compiled for the CPU (tests/op/emulator.h).
 *
 * Asynchronous copies are those of <cuda_pipeline.h>, and copy_async() here.
 *
 * Warp matrices: 32 lanes hold a matrix together, l is the lane. Pairs of bf16 lie in one register,
 * the first in the low half.
 */
#ifndef OP_CUDA_PRIM_CUH
#define OP_CUDA_PRIM_CUH

#include <cuda_bf16.h>
#include <cuda_pipeline.h>
#include <cuda_runtime.h>

constexpr float LOG2E = 1.44269504088896341f, LN2 = 0.69314718055994531f;

/* 2^x; 2 ulp, subnormal results are 0. */
__device__ __forceinline__ float exp2_fast(float x)
{
	float y;

#ifdef __CUDACC__
	asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
#else
	y = exp2f(x);
	y = y < 0x1p-126f ? 0 : y;
#endif
	return y;
}

/* 16 bytes of shared memory, loaded once more: what follows from them is made anew, not kept in registers
   from an earlier use. */
__device__ __forceinline__ float4 load_again(const float4 *at)
{
	float4 x;

#ifdef __CUDACC__
	asm volatile("ld.volatile.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
		: "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w)
		: "r"((unsigned)__cvta_generic_to_shared(at)));
#else
	x = *at;
#endif
	return x;
}

/* 1 / x; 1 ulp, subnormal x and results count as 0. */
__device__ __forceinline__ float reciprocal_fast(float x)
{
	float y;

#ifdef __CUDACC__
	asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
#else
	y = 1 / (fabsf(x) < 0x1p-126f ? copysignf(0, x) : x);
	y = fabsf(y) < 0x1p-126f ? copysignf(0, y) : y;
#endif
	return y;
}

__device__ __forceinline__ float sigmoid_fast(float x)
{
	return reciprocal_fast(1.0f + exp2_fast(-x * LOG2E));
}

/* Two floats rounded to bf16, ties to even, in one register. */
__device__ __forceinline__ unsigned bf16_pair(float low, float high)
{
	__nv_bfloat162 v = __floats2bfloat162_rn(low, high);
	unsigned pair;

	memcpy(&pair, &v, sizeof pair);
	return pair;
}

/* Two floats that are bf16 already, in one register: the cheaper way. */
__device__ __forceinline__ unsigned bf16_pair_exact(float low, float high)
{
	unsigned y;

#ifdef __CUDACC__
	asm("prmt.b32 %0, %1, %2, 0x7632;" : "=r"(y) : "r"(__float_as_uint(low)),
		"r"(__float_as_uint(high)));
#else
	y = __float_as_uint(low) >> 16 | (__float_as_uint(high) & 0xffff0000u);
#endif
	return y;
}

/* Asynchronous copy of 16 bytes to shared memory, both addresses multiples of 16; of zeros if not
   `there`: then nothing is read. For __pipeline_commit() and __pipeline_wait_prior() as all copies. */
__device__ __forceinline__ void copy_async(void *to, const void *from, bool there)
{
#ifdef __CUDACC__
	asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
		:: "r"((unsigned)__cvta_generic_to_shared(to)), "l"(from), "r"(there ? 16 : 0)
		: "memory");
#else
	__pipeline_memcpy_async(to, from, 16, there ? 0 : 16);
#endif
}

/*
 * n (1, 2 or 4) matrices of 8 x 8 16-bit elements from shared memory. Lane l gives the address of row
 * l % 8 of matrix l / 8, a multiple of 16; those of lanes from 8 n on are not read. r[i] becomes
 * elements 2 (l % 4) and 2 (l % 4) + 1 of row l / 4 of matrix i; transposed: of its column l / 4.
 */
#ifdef __CUDACC__
template <int n, bool transposed>
__device__ __forceinline__ void ldmatrix(unsigned (&r)[n], const void *row)
{
	unsigned at = (unsigned)__cvta_generic_to_shared(row);

	static_assert(n == 1 || n == 2 || n == 4, "matrices of an ldmatrix");
	if constexpr (n == 1 && !transposed)
		asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
			: "=r"(r[0]) : "r"(at));
	else if constexpr (n == 1)
		asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];"
			: "=r"(r[0]) : "r"(at));
	else if constexpr (n == 2 && !transposed)
		asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
			: "=r"(r[0]), "=r"(r[1]) : "r"(at));
	else if constexpr (n == 2)
		asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
			: "=r"(r[0]), "=r"(r[1]) : "r"(at));
	else if constexpr (!transposed)
		asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
			: "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at));
	else
		asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
			: "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at));
}
#else
template <int n, bool transposed>
__unwatched__ void ldmatrix(unsigned (&r)[n], const void *row)
{
	struct elements {
		unsigned short at[8];
	} mine = {};
	int l = emulator_lane();

	if (l < 8 * n)
		emulator_read_shared(&mine, row, sizeof mine);
	emulated_warp<elements> rows(~0u, "ldmatrix", mine);
	for (int i = 0; i < n; i++) {
		int k = l % 4 * 2;
		unsigned low = transposed ? rows[8 * i + k].at[l / 4] : rows[8 * i + l / 4].at[k];
		unsigned high = transposed ? rows[8 * i + k + 1].at[l / 4]
			: rows[8 * i + l / 4].at[k + 1];
		r[i] = low | high << 16;
	}
}
#endif

/*
 * D += A B with bf16 A [16, 16] and B [16, 8], float32 D [16, 8] (mma.sync m16n8k16).
 *   d[c]: row l / 4 + 8 (c / 2), column 2 (l % 4) + c % 2
 *   a[i]: row l / 4 + 8 (i % 2), columns 2 (l % 4) + 8 (i / 2) and the next
 *   b[i]: rows 2 (l % 4) + 8 i and the next, column l / 4
 * So ldmatrix<4, false> on the rows of A (lanes 0-7: rows 0-7, left half; 8-15: rows 8-15, left; 16-23:
 * rows 0-7, right; 24-31: rows 8-15, right) gives a, and ldmatrix<2, false> on B^T [8, 16] (lanes 0-7:
 * left half, 8-15: right) gives b; from B itself [16, 8], row by lane, ldmatrix<2, true>.
 */
#ifdef __CUDACC__
__device__ __forceinline__ void mma_bf16(float (&d)[4], const unsigned (&a)[4],
	const unsigned (&b)[2])
{
	asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
		"{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
		: "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
		: "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#else
__unwatched__ inline void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2])
{
	struct operands {
		unsigned a[4], b[2];
	};
	int l = emulator_lane();
	emulated_warp<operands> w(~0u, "mma_bf16", {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}});

	unsigned bits[2][2][16];	/* rows l / 4 + 8 i of A, columns 2 (l % 4) + i of B */
	float x[2][2][16];

	for (int i = 0; i < 2; i++)
		for (int k = 0; k < 16; k++) {
			unsigned row = w[l / 4 * 4 + k % 8 / 2].a[k / 8 * 2 + i];
			unsigned column = w[(l % 4 * 2 + i) * 4 + k % 8 / 2].b[k / 8];
			bits[0][i][k] = row >> k % 2 * 16 << 16;
			bits[1][i][k] = column >> k % 2 * 16 << 16;
		}
	memcpy(x, bits, sizeof x);
	for (int c = 0; c < 4; c++) {
		double sum = d[c];
		for (int k = 0; k < 16; k++)
			sum += (double)x[0][c / 2][k] * x[1][c % 2][k];
		d[c] = (float)sum;
	}
}
#endif

/* D = A B, otherwise the same. */
__device__ __forceinline__ void mma_bf16_new(float (&d)[4], const unsigned (&a)[4],
	const unsigned (&b)[2])
{
#ifdef __CUDACC__
	asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
		"{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %10, %10, %10};"
		: "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
		: "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(0.0f));
#else
	d[0] = d[1] = d[2] = d[3] = 0;
	mma_bf16(d, a, b);
#endif
}

#endif
