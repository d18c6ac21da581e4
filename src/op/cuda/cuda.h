/*
 * What operators' CUDA files share: errors end the process by name, and one cached block of device
 * memory serves the staged kernels, which copy host tensors in and results back.
 */
#ifndef OP_CUDA_H
#define OP_CUDA_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* At least `bytes` of device memory. It is the process's only such block: the next call may move
   or overwrite it. Fatal where there is no GPU or not enough memory. */
void *cuda_scratch(size_t bytes);

/* Ends the process when a CUDA call (its result, as an int) or the launch before failed. */
void cuda_check(int result, const char *what);

#ifdef __cplusplus
}
#endif

#endif
