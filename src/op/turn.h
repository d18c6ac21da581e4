/*
 * turn: what Mamba-3 makes of B, and of C (Lahoti et al. 2026, arXiv:2603.15569): a norm of the N columns of
 * each of G groups, a bias of each of H heads, H / G of which share a group, and a turn of the first S pairs of
 * neighbouring columns by the head's phases (op/phase.h):
 *   m = x / sqrt(mean(x^2) + eps),   v = m weight + bias[h]
 *   y[2i]     = v[2i] cos phi[h, i] - v[2i + 1] sin phi[h, i]            for i < S
 *   y[2i + 1] = v[2i] sin phi[h, i] + v[2i + 1] cos phi[h, i];           y = v behind them
 * Products C . B of a head then depend on differences of phi alone, as with rotary positions (op/rope.h).
 * Backward: dv is dy turned back;  dphi = dy[2i + 1] y[2i] - dy[2i] y[2i + 1];  dbias = sum of dv over tokens;
 *   with a = sum of dv over a group's heads: dweight = sum a m,  dx = (a w - m mean(a w m)) / rms
 */
#ifndef OP_TURN_H
#define OP_TURN_H

#include "op/op.h"

enum {
	TURN_X_BTN,		/* G N columns; a slice, as a rule */
	TURN_WEIGHT_N,		/* master */
	TURN_BIAS_HN,		/* master */
	TURN_PHI_BTM,		/* master, H S columns */
	TURN_N_IN
};

enum {
	TURN_Y_BTM,		/* H N columns */
	TURN_N_OUT
};

enum {
	TURN_SCALE_BTG,		/* 1 / rms */
	TURN_N_SAVED
};

struct turn_attr {
	int n_groups;
	double eps;
};

enum { TURN_PART_ROWS = 64, TURN_MAX_STATES = 256 };	/* rows whose gradients of weight and bias are summed
							   up first; N that kernels have room for */

extern const struct op op_turn;
op_kernel turn_forward_cuda, turn_backward_cuda;

#endif
