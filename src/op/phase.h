/*
 * phase: how far each pair of states of a head has turned, Mamba-3's rotary positions that depend on the data
 * (Lahoti et al. 2026, arXiv:2603.15569), for S angles that H heads share, each at its own step size:
 *   phi[b, t, h, s] = phi[b, t - 1, h, s] + pi tanh(angle[b, t, s]) dt[b, t, h],     phi[b, -1] = 0
 * With documents (op/document_start.h) phi in front of a first token counts as 0. For decoding carried_BHS has
 * phi of the last token of the call before, less whole turns, and is left so.
 * Backward, g_t = dphi_t + g_{t+1} (within a document):
 *   dangle = sum_h g pi (1 - tanh^2) dt;   ddt = sum_s g pi tanh(angle)
 */
#ifndef OP_PHASE_H
#define OP_PHASE_H

#include "op/op.h"

enum {
	PHASE_ANGLE_BTS,
	PHASE_DT_BTH,		/* master, from op/trapezoid.h */
	PHASE_START_BT,		/* optional, int: documents */
	PHASE_CARRIED_BHS,	/* optional, master, updated */
	PHASE_N_IN
};

enum {
	PHASE_PHI_BTM,		/* master, H S columns */
	PHASE_N_OUT
};

extern const struct op op_phase;
op_kernel phase_forward_cuda, phase_backward_cuda;

#endif
