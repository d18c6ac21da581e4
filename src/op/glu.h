/*
 * glu: a gated linear unit's gate, on the halves [g; u] of each row (Shazeer 2020, arXiv:2002.05202, eq. 5-6:
 * SwiGLU for silu); f relu, silu or gelu:
 *   y = f(g) u       dg = f'(g) u dy;   du = f(g) dy
 * Inside of mixtures op/experts.h has it.
 */
#ifndef OP_GLU_H
#define OP_GLU_H

#include "op/kit/act_fn.h"
#include "op/op.h"

enum {
	GLU_X_BTH,	/* H = 2 F */
	GLU_N_IN
};

enum {
	GLU_Y_BTF,
	GLU_N_OUT
};

struct glu_attr {
	enum act_fn fn;
};

op_kernel glu_forward_cuda, glu_backward_cuda;

extern const struct op op_glu;

#endif
