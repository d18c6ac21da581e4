/*
 * Products over the segments of the experts' buffer (op/route.h), all experts in one launch.
 * Segment borders are read on the device; a launch has tiles for any of them, and those without
 * rows end at once. Segments may begin anywhere; nothing is read or written behind first[E].
 */
#ifndef OP_CUDA_GROUPED_H
#define OP_CUDA_GROUPED_H

#include "op/kit/act_fn.h"
#include "op/kit/units.h"
#include "op/op.h"

enum grouped_form {
	ROWS_NT,	/* C[s, n] = A[s, k] W[e][n, k]^T	for the rows s of expert e */
	ROWS_NN,	/* C[s, n] = A[s, k] W[e][k, n] */
	BY_EXPERT,	/* C[e][m, n] (+)= A[s, m]^T B[s, n] over its rows, float32; 0 without */
};

/* What is done with v, an element of C. h, act: [S, n], contiguous; for relu act is h. */
enum grouped_end {
	END_STORE,	/* C = v, or C + v */
	END_ACTIVATE,	/* of ROWS_NT: h = v, act = f(v); relu: h = f(v) alone */
	END_SLOPE,	/* of ROWS_NN: C = v f'(h), act = f(h); relu: C alone */
};

struct grouped {
	enum grouped_form form;
	enum grouped_end end;		/* of ROWS_ */
	enum act_fn fn;
	const int *first;		/* [E + 1] */
	int E;
	long S;				/* rows of the buffer */
	int m, n, k;			/* m: BY_EXPERT's; k: that of ROWS_ */
	const void *a, *b;
	void *c, *h, *act;
	long lda, ldb, ldc;
	long step;			/* elements from expert to expert: W, or BY_EXPERT's C */
	bool add;
	/* Where experts differ, n, k and m are those of the widest and step is from unit to unit; expert e has
	   n_each, k_each and m_each times its units of these, all of those that are 0. */
	struct units units;
	int n_each, k_each, m_each;
};

/* By the fastest of these that serves: by wgmma on a GPU that has it, by mma.sync, both in bf16 with
   widths, rows and addresses in multiples of eight elements; else by tiles in float. */
void grouped_product(const struct op_run *r, const struct grouped *g);

void grouped_product_wgmma(const struct op_run *r, const struct grouped *g);
void grouped_product_mma(const struct op_run *r, const struct grouped *g);
void grouped_product_plain(const struct op_run *r, const struct grouped *g);

/* Has the GPU of this queue wgmma, and was this built for it (CUDA_ARCH=90a)? */
bool grouped_has_wgmma(const struct queue *q);

#endif
