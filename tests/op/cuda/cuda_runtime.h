/* In place of CUDA's header: what src/op uses of it, on the emulator. */
#ifndef EMULATED_CUDA_RUNTIME_H
#define EMULATED_CUDA_RUNTIME_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "emulator.h"
#include "emulator_queue.h"

#define __global__
#define __device__
#define __host__
#define __shared__ __attribute__((weak))	/* an error but for extern declarations */
#define __restrict__ __restrict
#define __forceinline__ inline __attribute__((always_inline))
#define __grid_constant__
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)

#include "emulated_vectors.h"
#include "emulated_math.h"
#include "emulated_warp.h"

typedef struct emulated_stream *cudaStream_t;

enum cudaError_t { cudaSuccess, cudaErrorInvalidValue };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };

struct cudaLaunchConfig_t {
	dim3 gridDim, blockDim;
	size_t dynamicSmemBytes;
	cudaStream_t stream;
};

template <typename... parameters, typename... arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *c, void (*kernel)(parameters...),
	const arguments &...args)
{
	auto body = [=] { kernel(args...); };
	struct emulator_launch l = {{c->gridDim.x, c->gridDim.y, c->gridDim.z},
		{c->blockDim.x, c->blockDim.y, c->blockDim.z}, c->dynamicSmemBytes, (const void *)kernel,
		[](const void *at) { (*(const decltype(body) *)at)(); }, &body,
		sizeof body};

	return (c->stream ? emulator_enqueue_launch(&l) : emulator_launch(&l)) ? cudaErrorInvalidValue : cudaSuccess;
}

template <typename kernel>
cudaError_t cudaFuncSetAttribute(kernel *k, cudaFuncAttribute, int bytes)
{
	return emulator_allow((const void *)k, (size_t)bytes) ? cudaErrorInvalidValue : cudaSuccess;
}

inline cudaError_t cudaGetLastError()
{
	return cudaSuccess;
}

inline const char *cudaGetErrorString(cudaError_t)
{
	return "refused by the emulator";
}

inline cudaError_t cudaMalloc(void **at, size_t bytes)
{
	*at = emulator_alloc(bytes, 0);
	return cudaSuccess;
}

inline cudaError_t cudaFree(void *)
{
	return cudaSuccess;
}

inline cudaError_t cudaMemcpy2D(void *to, size_t to_pitch, const void *from, size_t from_pitch,
	size_t width, size_t rows, cudaMemcpyKind)
{
	for (size_t i = 0; i < rows; i++)
		memcpy((char *)to + i * to_pitch, (const char *)from + i * from_pitch, width);
	return cudaSuccess;
}

#endif
