/*
 * emit: what experts made of rows that merge (op/merge.h) mixed goes to the tokens by their shares in these
 * rows (Antoniak et al. 2023, arXiv:2310.15961, section 3). For token t of group g:
 *   y[t] = sum over e of s[t, e] ye[e, g]
 *   dye[e, g] = sum over t in g of s[t, e] dy[t];   ds[t, e] = <dy[t], ye[e, g]>
 */
#ifndef OP_EMIT_H
#define OP_EMIT_H

#include "op/merge.h"

enum {
	EMIT_YE_EGO,
	EMIT_S_BTE,		/* master */
	EMIT_N_IN
};

enum {
	EMIT_Y_BTO,
	EMIT_N_OUT
};

op_kernel emit_forward_cuda, emit_backward_cuda;

extern const struct op op_emit;		/* attr: struct merge_attr */

#endif
