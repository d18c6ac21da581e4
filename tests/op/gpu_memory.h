/* Memory of the GPU in tests of kernels: of the GPU itself in a program with CUDA, else the emulator's. */
#ifndef GPU_MEMORY_H
#define GPU_MEMORY_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

#include "tensor/device.h"
#include "tensor/queue.h"

#ifdef WITH_CUDA
static const struct device *const gpu = &device_list[CUDA_F32];

static inline void need_gpu(void)
{
	if (device_missing(gpu))
		skip();
}

static inline struct queue *gpu_queue(void)
{
	return device_queue(gpu);
}

static inline void *upload(const void *from, size_t bytes)
{
	void *at = device_alloc(gpu, bytes);

	if (from)
		device_from_host(gpu, at, from, bytes);
	return at;
}

static inline void download(void *to, const void *from, size_t bytes)
{
	device_to_host(gpu, to, from, bytes);
}

static inline void discard(void *at, size_t bytes)
{
	device_free(gpu, at, bytes);
}
#else
#include "emulator.h"

static inline void need_gpu(void)
{
	emulator_reset(RANDOM);
}

static inline struct queue *gpu_queue(void)
{
	static struct queue q = {.n_multiprocessors = 5, .capability = 90};

	return &q;
}

static inline void *upload(const void *from, size_t bytes)
{
	void *at = emulator_alloc(bytes, 0);

	if (from)
		memcpy(at, from, bytes);
	else
		memset(at, 0, bytes);
	return at;
}

static inline void download(void *to, const void *from, size_t bytes)
{
	if (emulator_fault())
		fail_msg("%s", emulator_fault());
	memcpy(to, from, bytes);
}

static inline void discard(void *at, size_t bytes)
{
	(void)bytes;
	emulator_free(at);
}
#endif

#endif
