/*
 * Products of a warpgroup, four warps together (wgmma, sm_90a): both operands lie in shared memory,
 * the sums in the threads' registers. They are made asynchronously: between a product and the wait for
 * it neither its operands may be written nor its sums used. As in prim.cuh each instruction has its
 * meaning beside it, here tests/op/emulator_wgmma.c.
 */
#ifndef OP_CUDA_WGMMA_CUH
#define OP_CUDA_WGMMA_CUH

#include "op/cuda/prim.cuh"

/* Instructions of sm_90a alone: elsewhere kernels with them are compiled, and stop. */
#if defined(__CUDACC__) && defined(__CUDA_ARCH__) && !defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define WGMMA_ASM(...) __trap()
#else
#define WGMMA_ASM(...) asm volatile(__VA_ARGS__)
#endif

enum {
	WGMMA_COLUMNS = 256,
	WGMMA_ALIGNMENT = 1024,		/* bytes, of a matrix that is swizzled */
};

/* A thread's share of D [64, 256]: d[j][c] as mma_bf16() has d[c], of columns 8 j to 8 j + 7 and of the
   16 rows of its warp. */
typedef float wgmma_sums[WGMMA_COLUMNS / 8][4];

__device__ __forceinline__ unsigned shared_address(const void *at)
{
#ifdef __CUDACC__
	return (unsigned)__cvta_generic_to_shared(at);
#else
	return emulator_shared_address(at);
#endif
}

/*
 * A matrix of bf16 in shared memory, in rows of 128 bytes, whose eight pieces of 16 bytes are exchanged:
 * piece j of row i lies at place j ^ i % 8. From `at` on:
 *   rows: terms are neighbours; row i is side i, and 16 terms of it count.
 *   else: 64 sides are neighbours; row i is term i, the next 64 sides begin `next` bytes further.
 * Rows follow each other, so eight are 1024 bytes. Row 0 begins at a multiple of that, `at` at a
 * multiple of 32 bytes in it. (PTX ISA, matrix descriptor of wgmma: bits 0-13 address, 16-29 leading
 * byte offset, 32-45 stride byte offset, all / 16; 62-63: 1 for the swizzle of 128 bytes.)
 */
template <bool rows>
__device__ __forceinline__ unsigned long long wgmma_matrix(const void *at, unsigned next)
{
	unsigned long long leading = rows ? 1 : next / 16, stride = 1024 / 16;

	return (shared_address(at) & 0x3ffff) / 16 | leading << 16 | stride << 32 | 1ull << 62;
}

/* What this thread wrote to shared memory, and its copies that it waited for, are seen by products that
   begin after a barrier. */
__device__ __forceinline__ void wgmma_publish()
{
#ifdef __CUDACC__
	WGMMA_ASM("fence.proxy.async.shared::cta;" ::: "memory");
#else
	emulator_proxy_fence();
#endif
}

/* For the compiler: sums may change here. */
__device__ __forceinline__ void wgmma_touch(wgmma_sums &d)
{
#ifdef __CUDACC__
	#pragma unroll
	for (int j = 0; j < WGMMA_COLUMNS / 8; j++)
		#pragma unroll
		for (int c = 0; c < 4; c++)
			asm volatile("" : "+f"(d[j][c]) :: "memory");
#else
	(void)d;
#endif
}

/* Before the first product, and wherever sums were used since the last. */
__device__ __forceinline__ void wgmma_begin(wgmma_sums &d)
{
	wgmma_touch(d);
#ifdef __CUDACC__
	WGMMA_ASM("wgmma.fence.sync.aligned;" ::: "memory");
#else
	emulator_wgmma_fence();
#endif
}

/* The products since the last commit are a group. */
__device__ __forceinline__ void wgmma_commit()
{
#ifdef __CUDACC__
	WGMMA_ASM("wgmma.commit_group.sync.aligned;" ::: "memory");
#else
	emulator_wgmma_commit();
#endif
}

/* Until all groups but the last n are done. */
template <int n>
__device__ __forceinline__ void wgmma_wait(wgmma_sums &d)
{
#ifdef __CUDACC__
	WGMMA_ASM("wgmma.wait_group.sync.aligned %0;" :: "n"(n) : "memory");
#else
	emulator_wgmma_wait(n);
#endif
	wgmma_touch(d);
}

#define WGMMA_SUM(j) "+f"(d[j][0]), "+f"(d[j][1]), "+f"(d[j][2]), "+f"(d[j][3])
#define WGMMA_SUMS(j) WGMMA_SUM(j), WGMMA_SUM(j + 1), WGMMA_SUM(j + 2), WGMMA_SUM(j + 3)

/* D += A B of A [64, 16] and B [16, 256], wgmma_matrix<a_rows>() and, with its columns as sides,
   wgmma_matrix<b_rows>(). By all threads of the warpgroup, all with the same operands. */
#ifdef __CUDACC__
template <bool a_rows, bool b_rows>
__device__ __forceinline__ void wgmma_bf16(wgmma_sums &d, unsigned long long a, unsigned long long b)
{
	WGMMA_ASM("wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
		"%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
		"%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
		"%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
		"%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
		"%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
		"%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
		"%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
		"%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, "
		"%128, %129, 1, 1, 1, %130, %131;"
		: WGMMA_SUMS(0), WGMMA_SUMS(4), WGMMA_SUMS(8), WGMMA_SUMS(12), WGMMA_SUMS(16),
			WGMMA_SUMS(20), WGMMA_SUMS(24), WGMMA_SUMS(28)
		: "l"(a), "l"(b), "n"(!a_rows), "n"(!b_rows));
}
#else
template <bool a_rows, bool b_rows>
__unwatched__ void wgmma_bf16(wgmma_sums &d, unsigned long long a, unsigned long long b)
{
	struct operands {
		unsigned long long a, b;
	};
	emulated_warp<operands> w(~0u, "wgmma", {a, b});

	if (w[0].a != a || w[0].b != b)
		emulator_misuse("wgmma: lanes disagree about the operands");
	emulator_wgmma(d[0], a, b, a_rows, b_rows);
}
#endif

#undef WGMMA_SUM
#undef WGMMA_SUMS

#endif
