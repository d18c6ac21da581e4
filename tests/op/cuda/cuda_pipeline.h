/* In place of CUDA's header: asynchronous copies to shared memory, on the emulator. */
#ifndef EMULATED_CUDA_PIPELINE_H
#define EMULATED_CUDA_PIPELINE_H

#include <stddef.h>

extern "C" {
void __pipeline_memcpy_async(void *to, const void *from, size_t bytes, size_t zeros = 0);
void __pipeline_commit();
void __pipeline_wait_prior(size_t n);
}

#endif
