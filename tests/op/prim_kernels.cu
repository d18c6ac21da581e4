#include "prim_kernels.h"

#include "op/cuda/prim.cuh"
#include "op/cuda/wgmma.cuh"

template <typename... parameters, typename... arguments>
static void start(void (*kernel)(parameters...), dim3 grid, dim3 block, size_t shared, void *stream,
	const arguments &...args)
{
	cudaLaunchConfig_t config = {};

	config.gridDim = grid;
	config.blockDim = block;
	config.dynamicSmemBytes = shared;
	config.stream = (cudaStream_t)stream;
	if (cudaLaunchKernelEx(&config, kernel, args...) != cudaSuccess)
		abort();
}

/* ---- numbers -------------------------------------------------------------------------------- */

static __global__ void numbers(float *to, const float *from, int n)
{
	int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);

	if (i >= n)
		return;
	to[N_NUMBERS * i] = exp2_fast(from[i]);
	to[N_NUMBERS * i + 1] = __uint_as_float(bf16_pair(1.0f, from[i]) & 0xffff0000u);
}

void prim_numbers(float *to, const float *from, int n, void *stream)
{
	start(numbers, dim3((unsigned)(n + 63) / 64), dim3(64), 0, stream, to, from, n);
}

/* ---- products ------------------------------------------------------------------------------- */

struct operands {
	__nv_bfloat16 a[16][16], a_turned[16][16], b[16][8], b_turned[8][16];
};

static __device__ void load(operands &to, const float *a, const float *b, int lane)
{
	for (int i = lane; i < 16 * 16; i += 32)
		to.a[i / 16][i % 16] = to.a_turned[i % 16][i / 16] = __float2bfloat16(a[i]);
	for (int i = lane; i < 16 * 8; i += 32)
		to.b[i / 8][i % 8] = to.b_turned[i % 8][i / 8] = __float2bfloat16(b[i]);
	__syncwarp();
}

static __device__ void store(float *to, const float (&d)[4], int lane)
{
	for (int c = 0; c < 4; c++)
		to[(lane / 4 + c / 2 * 8) * 8 + lane % 4 * 2 + c % 2] = d[c];
}

static __global__ void products(float *to, const float *a, const float *b)
{
	extern __shared__ float4 shared[];
	operands &x = *(operands *)shared;
	int lane = (int)threadIdx.x, half = lane / 8 % 2, l = lane % 8;
	unsigned left[4], right[2], one[1];
	float d[N_PRODUCTS][4] = {};

	load(x, a, b, lane);
	ldmatrix<4, false>(left, &x.a[lane % 16][lane / 16 * 8]);
	ldmatrix<2, true>(right, &x.b[lane % 16][0]);
	mma_bf16(d[0], left, right);
	ldmatrix<2, false>(right, &x.b_turned[l][half * 8]);
	mma_bf16(d[1], left, right);
	ldmatrix<4, true>(left, &x.a_turned[l + lane / 16 * 8][half * 8]);
	for (int i = 0; i < 2; i++) {
		ldmatrix<1, false>(one, &x.b_turned[l][i * 8]);
		right[i] = one[0];
	}
	mma_bf16(d[2], left, right);
	for (int i = 0; i < N_PRODUCTS; i++)
		store(to + i * 16 * 8, d[i], lane);
}

void prim_products(float *d, const float *a, const float *b, void *stream)
{
	start(products, dim3(1), dim3(32), sizeof(operands), stream, d, a, b);
}

struct wgmma_operands {
	__nv_bfloat16 a[64 * 64], b[256 * 64];
};

/* The element of side i and term k where wgmma_matrix() has it, blocks of 64 sides behind each other. */
static __device__ int wgmma_place(bool rows, int i, int k)
{
	int row = rows ? i : k, j = rows ? k : i % 64;

	return ((rows ? 0 : i / 64 * 64) + row) * 64 + (j / 8 ^ row % 8) * 8 + j % 8;
}

template <bool a_rows, bool b_rows>
static __global__ void wgmma_product(float *to, const float *a, const float *b)
{
	extern __shared__ float4 shared[];
	char *at = (char *)shared + (-shared_address(shared) & (WGMMA_ALIGNMENT - 1));
	wgmma_operands &x = *(wgmma_operands *)at;
	wgmma_sums d = {};
	int t = (int)threadIdx.x, row = t / 32 * 16 + t % 32 / 4, column = t % 4 * 2;

	for (int i = t; i < 64 * 64; i += 128)
		x.a[wgmma_place(a_rows, i / 64, i % 64)] = __float2bfloat16(a[i]);
	for (int i = t; i < 64 * 256; i += 128)
		x.b[wgmma_place(b_rows, i % 256, i / 256)] = __float2bfloat16(b[i]);
	wgmma_publish();
	__syncthreads();
	wgmma_begin(d);
	for (int k = 0; k < 64; k += 16)
		wgmma_bf16<a_rows, b_rows>(d, wgmma_matrix<a_rows>(x.a + (a_rows ? k : k * 64), 8192),
			wgmma_matrix<b_rows>(x.b + (b_rows ? k : k * 64), 8192));
	wgmma_commit();
	wgmma_wait<0>(d);
	for (int i = 0; i < 128; i++)
		to[(row + i % 4 / 2 * 8) * 256 + i / 4 * 8 + column + i % 2] = d[i / 4][i % 4];
}

void prim_wgmma(float *d, const float *a, const float *b, void *stream)
{
	size_t bytes = sizeof(wgmma_operands) + WGMMA_ALIGNMENT;

	start(wgmma_product<true, true>, dim3(1), dim3(128), bytes, stream, d, a, b);
	start(wgmma_product<false, true>, dim3(1), dim3(128), bytes, stream, d + 64 * 256, a, b);
	start(wgmma_product<true, false>, dim3(1), dim3(128), bytes, stream, d + 2 * 64 * 256, a, b);
	start(wgmma_product<false, false>, dim3(1), dim3(128), bytes, stream, d + 3 * 64 * 256, a, b);
}

/* ---- collectives ---------------------------------------------------------------------------- */

static __device__ int votes_and_sums(int *to, int n, int l)
{
	to[n++ * 32 + l] = (int)__ballot_sync(~0u, l % 3 == 0);
	to[n++ * 32 + l] = __any_sync(~0u, l == 7);
	to[n++ * 32 + l] = __all_sync(~0u, l != 7);
	to[n++ * 32 + l] = (int)__match_any_sync(~0u, l % 5);
	to[n++ * 32 + l] = (int)__match_any_sync(~0u, (unsigned long long)(l / 4) << 33);
	to[n++ * 32 + l] = __reduce_add_sync(~0u, l - 7);
	to[n++ * 32 + l] = __reduce_min_sync(~0u, l - 7);
	to[n++ * 32 + l] = (int)__reduce_max_sync(~0u, (unsigned)(l - 7));
	to[n++ * 32 + l] = (int)__reduce_or_sync(~0u, 1u << l / 2);
	to[n++ * 32 + l] = __syncthreads_count(l % 3 == 0);
	to[n++ * 32 + l] = __syncthreads_or(l == 3);
	to[n++ * 32 + l] = __syncthreads_and(l == 3);
	return n;
}

static __global__ void lanes(int *to)
{
	int l = (int)threadIdx.x, n = 0;
	double wide = l + 0.5;

	to[n++ * 32 + l] = __shfl_sync(~0u, l, 5);
	to[n++ * 32 + l] = __shfl_sync(~0u, l, l + 3, 8);
	to[n++ * 32 + l] = __shfl_up_sync(~0u, l, 2u);
	to[n++ * 32 + l] = __shfl_up_sync(~0u, l, 3u, 16);
	to[n++ * 32 + l] = __shfl_down_sync(~0u, l, 1u, 4);
	to[n++ * 32 + l] = __shfl_xor_sync(~0u, l, 9);
	to[n++ * 32 + l] = __shfl_xor_sync(~0u, l, 5, 4);
	to[n++ * 32 + l] = (int)(2 * __shfl_down_sync(~0u, wide, 4u));
	to[n++ * 32 + l] = (int)(__shfl_xor_sync(~0u, (unsigned long long)l << 40, 1) >> 40);
	if (l < 16)		/* halves of a warp each by themselves */
		to[n++ * 32 + l] = __shfl_xor_sync(0xffffu, l, 15);
	else
		to[n++ * 32 + l] = __shfl_sync(0xffff0000u, l, 17);
	n = votes_and_sums(to, n, l);
	to[n++ * 32 + l] = __popc((unsigned)l) + 100 * __ffs(l) + 10000 * __clz(l);
}

void prim_lanes(int *to, void *stream)
{
	start(lanes, dim3(1), dim3(32), 0, stream, to);
}

/* ---- copies and places ---------------------------------------------------------------------- */

static __global__ void copies(float *to, const float *from)
{
	extern __shared__ float4 shared[];
	int k = (int)threadIdx.x, i = (int)blockIdx.x * 128 + 4 * k;

	copy_async(&shared[k], from + i, k % 2 == 0);
	__pipeline_commit();
	__pipeline_wait_prior(0);
	__syncthreads();
	for (int j = 0; j < 4; j++)
		to[i + j] = ((const float *)shared)[4 * k + j];
}

void prim_copies(float *to, const float *from, int n, void *stream)
{
	start(copies, dim3((unsigned)n / 128), dim3(32), 512, stream, to, from);
}

static __global__ void places(int *to, int n)
{
	int block = (int)((blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x);
	int thread = (int)((threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x);

	to[block * (int)(blockDim.x * blockDim.y * blockDim.z) + thread] =
		block * (int)(blockDim.x * blockDim.y * blockDim.z) + thread;
	atomicAdd(to + n, 1);
}

void prim_places(int *to, void *stream)
{
	start(places, dim3(3, 5, 7), dim3(4, 2, 6), 0, stream, to, 3 * 5 * 7 * 4 * 2 * 6);
}
