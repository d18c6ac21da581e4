#include "emulator_faults.h"

#include "op/cuda/wgmma.cuh"

static volatile float host;

/* Of the threads of a block, while the values of all lie in `mine`. */
static __device__ float barriers(enum fault fault, float *mine, const float *from, int i, int k)
{
	__pipeline_memcpy_async(&mine[k], &from[i], fault == MISALIGNED ? 8 : 4);
	__pipeline_commit();
	if (fault != NO_WAIT)
		__pipeline_wait_prior(0);
	if (fault == SYNCWARP_ALONE)
		__syncwarp();
	else if (fault != NO_BARRIER)
		__syncthreads();
	if (fault == UNEVEN_BARRIER && k < 32)
		__syncthreads();
	if (fault == OTHER_BARRIER && k < 32)
		__syncthreads_or(1);
	else if (fault == OTHER_BARRIER)
		__syncthreads();
	return mine[(k + 1) % (int)blockDim.x];
}

/* The value of the lane beside. */
static __device__ float lanes(enum fault fault, float v, int k)
{
	unsigned mask = ~0u;

	if (k == 3 && fault == OTHER_COLLECTIVE)
		__ballot_sync(~0u, 1);
	if (k == 3 && fault == OTHER_MASK)
		mask = 1u << 3;
	if (k == 3 && fault == MASK_WITHOUT_ITSELF)
		mask = 1u << 2;
	return __shfl_xor_sync(mask, v, 1);
}

/* Words of shared memory that are reached in order, or nearly. */
static __device__ void words(enum fault fault, int *words, int k)
{
	unsigned short *halves = (unsigned short *)(words + 64);
	int lane = k % 32, *mine = words + k - lane, other;

	mine[lane] = k;
	if (fault != NO_SYNCWARP)
		__syncwarp();
	other = mine[lane ^ 1];
	__syncwarp();
	mine[lane] = other - (k ^ 1);		/* 0 */
	halves[fault == SAME_HALF ? k / 2 : k] = 1;
	__syncthreads();
	if (fault == PLAIN_AND_ATOMIC && k == 5)
		words[0] = 0;
	else
		atomicAdd(words, 1);
	__syncthreads();
	if (words[0] != (int)blockDim.x)
		words[1000000] = 0;
	__syncthreads();
}

static __device__ void matrices(enum fault fault, float *shared, const float *from, int k)
{
	unsigned r[1];
	const char *row = (const char *)(shared + k % 8 * 4);

	shared[k] = 0;
	if (fault != MATRIX_NOT_WRITTEN)
		__syncthreads();
	if (fault == MISALIGNED_MATRIX && k == 5)
		row += 8;
	if (fault == MATRIX_OF_THE_DEVICE)
		row = (const char *)from;
	ldmatrix<1, false>(r, row);
	__syncthreads();
}

static __device__ float reads(enum fault fault, const float *mine, const float *from, int n)
{
	if (fault == BEYOND_SHARED)
		return mine[2 * blockDim.x];
	if (fault == BEYOND_DEVICE)
		return from[n];
	if (fault == OF_THE_HOST)
		return host;
	if (fault == MISALIGNED_VECTOR)
		return (*(const float4 *)(mine + 1)).x;
	return 0;
}

static __global__ void kernel(enum fault fault, float *to, const float *from, int n)
{
	extern __shared__ float4 shared[];
	float *mine = (float *)shared, v, other;
	int threads = (int)blockDim.x, k = (int)threadIdx.x, i = (int)blockIdx.x * threads + k;

	words(fault, (int *)shared, k);
	matrices(fault, mine, from, k);
	v = barriers(fault, mine, from, i, k);
	if (fault == MISSING_LANE && k == 3)
		return;
	other = lanes(fault, mine[k], k);
	v += __shfl_sync(~0u, other, k);
	to[fault == SAME_PLACE ? k : i] = mine[(k + 1) % threads] + mine[((k ^ 1) + 1) % threads] +
		0 * v + reads(fault, mine, from, n);
	if (fault == NEVER_WAITED) {
		__syncthreads();
		__pipeline_memcpy_async(&mine[k], &from[i], 4);
	}
}

/* A product of zeros, whose operands are the same shared memory. */
static __global__ void product(enum fault fault, const float *from)
{
	extern __shared__ float4 shared[];
	int k = (int)threadIdx.x;
	unsigned long long matrix = wgmma_matrix<true>(shared, 0), own = matrix;
	wgmma_sums d = {};

	for (int i = k; i < WGMMA_COLUMNS * 8; i += (int)blockDim.x)
		shared[i] = float4{};
	__syncthreads();
	copy_async(&shared[k], from, false);
	__pipeline_commit();
	__pipeline_wait_prior(0);
	if (fault != NO_PROXY_FENCE)
		wgmma_publish();
	__syncthreads();
	if (fault != NO_WGMMA_FENCE)
		wgmma_begin(d);
	if (fault == OTHER_DESCRIPTOR)
		own ^= 1ull << 62;
	else if (fault == OTHER_OPERANDS && k == 3)
		own += 2;
	wgmma_bf16<true, true>(d, own, matrix);
	wgmma_commit();
	if (fault == OPERAND_COPIED)
		copy_async(&shared[k], from, false);
	__pipeline_commit();
	__syncthreads();
	if (fault != NO_WGMMA_WAIT)
		wgmma_wait<0>(d);
	__pipeline_wait_prior(0);
}

static bool is_product(enum fault fault)
{
	return fault >= NO_PROXY_FENCE && fault <= OPERAND_COPIED;
}

int faults_launch(enum fault fault, float *to, const float *from, int n_blocks, int threads)
{
	cudaLaunchConfig_t config = {};

	config.gridDim = dim3((unsigned)n_blocks);
	config.blockDim = dim3((unsigned)(fault == TOO_MANY_THREADS ? 1056 : threads));
	config.dynamicSmemBytes = fault == TOO_MUCH_SHARED ? 100 << 10 : 2 * threads * sizeof(float);
	if (is_product(fault)) {
		config.dynamicSmemBytes = WGMMA_COLUMNS * 128;
		return cudaLaunchKernelEx(&config, product, fault, from);
	}
	return cudaLaunchKernelEx(&config, kernel, fault, to, from, n_blocks * threads);
}
