/*
 * Matrix products on the GPU, by cuBLASLt. Row-major, as op/kit/gemm.h has them on the CPU:
 *   C[m, n] = op(A)[m, k] op(B)[k, n] (+ bias[n]) (+ C)
 * for `batch` products whose operands lie stride elements apart. Sums are in float32. float32
 * operands are multiplied in float32, not in a shorter format.
 *
 * A product's algorithm is chosen once by shape, alignment and GPU: the fastest of those that the
 * library proposes, timed at the first call (of small products the first that works), kept for the
 * process and, where a file is named, for all later ones (gpu_gemm_choices_file). The same choice
 * gives the same bits, so a run keeps the choices it began with. Writing and adding use the same
 * algorithm.
 */
#ifndef OP_CUDA_GEMM_H
#define OP_CUDA_GEMM_H

#include <stdbool.h>
#include <stddef.h>

#include "op/op.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { GPU_GEMM_WORKSPACE = 32 << 20 };	/* bytes that a product may use */

enum gpu_gemm_side { GPU_GEMM_N, GPU_GEMM_T };	/* as it lies, transposed */

struct gpu_gemm {
	enum gpu_gemm_side ta, tb;
	long m, n, k;
	long lda, ldb, ldc;		/* elements from row to row, as the operand lies in memory */
	long batch;			/* 0 or 1: one product */
	long stride_a, stride_b, stride_c;
	bool c_float;			/* C is float32 whatever A and B are (gradients of parameters, logits) */
	bool bias;			/* of C's type, contiguous */
	bool relu;			/* C = max(., 0), a NaN becomes 0; without bias, not added */
};

/* The product of whole tensors. */
static inline struct gpu_gemm gpu_gemm_of(enum gpu_gemm_side ta, enum gpu_gemm_side tb,
	const struct tensor *a, const struct tensor *b, const struct tensor *c)
{
	long k = ta == GPU_GEMM_N ? tensor_width(a) : tensor_rows(a);
	struct gpu_gemm g = {ta, tb, tensor_rows(c), tensor_width(c), k, a->ld, b->ld, c->ld, 0, 0, 0,
		0, c->kind == MASTER, false, false};

	return g;
}

/* What one product of an operator keeps from call to call: part of op_run.plan. */
struct gpu_gemm_plan {
	long long at[64];
};

/* A and B are of the device's REAL type, C too unless c_float. add: C is added to. workspace:
   GPU_GEMM_WORKSPACE bytes, aligned to 256. p: zeroed before the first call, then the same g each time. */
void gpu_gemm(const struct op_run *r, struct gpu_gemm_plan *p, const struct gpu_gemm *g,
	const void *a, const void *b, const void *bias, bool add, void *c, void *workspace);

/* Has the library an algorithm for the product? It may lack relu for some types and shapes. */
bool gpu_gemm_offered(const struct op_run *r, const struct gpu_gemm *g, const void *a, const void *b,
	const void *c);

/* Choices are read from and added to this file (made if need be, under a lock); NULL: kept in this
   process alone. To be called before the first product. 0, or -1 after a message. */
int gpu_gemm_choices_file(struct queue *q, const char *path);
/* "cuBLASLt 13.1.0": another version may give other bits. */
const char *gpu_gemm_library(void);
/* The choices of this process as text, a line a product, sorted: for provenance. Caller frees. */
char *gpu_gemm_choices_text(const struct queue *q);

#ifdef __cplusplus
}
#endif

#endif
