#include "emulator_faults.h"

#include <cuda_pipeline.h>
#include <cuda_runtime.h>

static volatile float host;

static __global__ void kernel(enum fault fault, float *to, const float *from, int n)
{
	extern __shared__ float4 shared[];
	float *mine = (float *)shared, v;
	int threads = (int)blockDim.x, k = (int)threadIdx.x, i = (int)blockIdx.x * threads + k;

	__pipeline_memcpy_async(&mine[k], &from[i], fault == MISALIGNED ? 8 : 4);
	__pipeline_commit();
	if (fault != NO_WAIT)
		__pipeline_wait_prior(0);
	if (fault != NO_BARRIER)
		__syncthreads();
	if (fault == UNEVEN_BARRIER && k < 32)
		__syncthreads();
	v = mine[(k + 1) % threads];
	if (fault == MISSING_LANE && k == 3)
		return;
	v = __shfl_xor_sync(fault == OTHER_MASK && k == 3 ? 1u << 3 : ~0u, v, 1);
	v += mine[(k + 1) % threads];
	if (fault == BEYOND_SHARED)
		v += mine[threads];
	if (fault == BEYOND_DEVICE)
		v += from[n];
	if (fault == OF_THE_HOST)
		v += host;
	to[fault == SAME_PLACE ? k : i] = v;
}

int faults_launch(enum fault fault, float *to, const float *from, int n_blocks, int threads)
{
	cudaLaunchConfig_t config = {};

	config.gridDim = dim3((unsigned)n_blocks);
	config.blockDim = dim3((unsigned)threads);
	config.dynamicSmemBytes = fault == TOO_MUCH_SHARED ? 100 << 10 : threads * sizeof(float);
	return cudaLaunchKernelEx(&config, kernel, fault, to, from, n_blocks * threads);
}
