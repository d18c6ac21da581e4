/*
 * The algorithms chosen for matrix products on GPUs: in memory, and in a file that all runs share.
 *
 * The file has a line a product, in any order:
 *   v1 KEY = HEX
 * KEY is text without " = " that names GPU, library and product; HEX is the algorithm, 64 bytes of
 * the library's own. Lines of other GPUs and libraries lie beside ours. The file is read and
 * extended under flock(), so of several processes that choose for one product the first decides for
 * all.
 */
#ifndef OP_CUDA_GEMM_CHOICES_H
#define OP_CUDA_GEMM_CHOICES_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct gemm_algorithm {
	uint64_t word[8];
};

struct gemm_choices;

struct gemm_choices *gemm_choices_new(void);
void gemm_choices_free(struct gemm_choices *c);
/* Reads the file, made if need be, and extends it from now on. Lines of another form are passed
   over with a warning each. 0, or -1 after a message: it cannot be opened. */
int gemm_choices_open(struct gemm_choices *c, const char *path);
/* The algorithm for a product. False: none is known. */
bool gemm_choices_find(struct gemm_choices *c, const char *key, struct gemm_algorithm *a);
/* Keeps *a for the product, in place of one that is known. Where another process has meanwhile
   written one for a product that we did not know, *a becomes that one. A file that can no longer be
   written gets a warning, and the choice is kept in memory. */
void gemm_choices_add(struct gemm_choices *c, const char *key, struct gemm_algorithm *a);
/* What this process has found or added, a line a product as in the file, sorted. Caller frees. */
char *gemm_choices_text(const struct gemm_choices *c);

#ifdef __cplusplus
}
#endif

#endif
