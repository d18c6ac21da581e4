/* Kernels that use every instruction of op/cuda/prim.cuh and the collectives of a warp. All memory is the
   device's; stream: a cudaStream_t, NULL on the emulator alone. */
#ifndef PRIM_KERNELS_H
#define PRIM_KERNELS_H

#ifdef __cplusplus
extern "C" {
#endif

enum { N_NUMBERS = 2, N_PRODUCTS = 3, N_LANES = 23 };

/* to[N_NUMBERS i]: 2^x, and x in bf16, of x = from[i]. */
void prim_numbers(float *to, const float *from, int n, void *stream);
/* d[N_PRODUCTS, 16, 8]: A B of A [16, 16] and B [16, 8], rounded to bf16, by operands loaded as they lie,
   B from its transpose, A from its transpose. */
void prim_products(float *d, const float *a, const float *b, void *stream);
/* d[4, 64, 256]: A B of A [64, 64] and B [64, 256], rounded to bf16, by wgmma; product p with A by terms if
   p & 1 is 0, B if p & 2 is. */
void prim_wgmma(float *d, const float *a, const float *b, void *stream);
/* to[N_LANES, 32]: what each lane got of each collective. */
void prim_lanes(int *to, void *stream);
/* to[i] = from[i] where i / 4 is even, else 0, by asynchronous copies. n: a multiple of 128. */
void prim_copies(float *to, const float *from, int n, void *stream);
/* to[i] = i for n = 3 * 5 * 7 * 4 * 2 * 6 threads in three dimensions; to[n]: how many there were. */
void prim_places(int *to, void *stream);

#ifdef __cplusplus
}
#endif

#endif
