#include "op/cuda/cuda.h"

#include <cuda_runtime.h>

extern "C" {
#include "base/error.h"
}

static struct {
	void *at;
	size_t bytes;
} scratch;	/* part of the device's handle */

void cuda_check(int result, const char *what)
{
	cudaError_t first = (cudaError_t)result;

	if (first == cudaSuccess)
		first = cudaGetLastError();
	if (first != cudaSuccess)
		die("%s: %s", what, cudaGetErrorString(first));
}

void *cuda_scratch(size_t bytes)
{
	if (bytes > scratch.bytes) {
		cuda_check(cudaFree(scratch.at), "CUDA device");
		scratch.bytes = 0;
		cuda_check(cudaMalloc(&scratch.at, bytes), "CUDA device memory");
		scratch.bytes = bytes;
	}
	return scratch.at;
}
