/*
 * gate: what the experts' outputs are weighted with. For choice i of token t, expert e, scale r;
 * S: the token's choices, dropped ones too, so that the mass of these is lost (as GShard has it,
 * Lepikhin et al. 2020, arXiv:2006.16668, algorithm 1). a_i = dgate_i, 0 for dropped choices:
 *   raw                r s_e                          ds_e = r a_i
 *   renorm             w_i = r s_e / Z, Z = sum_S s    ds_e = (r a_i - sum_S w a) / Z
 *   one                r                              no gradient
 *   straight-through   r                              as raw (Bengio, Leonard, Courville 2013,
 *                                                     arXiv:1308.3432: r + r s_e - stop(r s_e))
 * Dropped choices and those that name no expert have gate 0. GATE_TINY is added to Z. With one choice
 * a token, renorm gives r whatever the scores: a router learns nothing from it.
 */
#ifndef OP_GATE_H
#define OP_GATE_H

#include "op/op.h"

enum {
	GATE_S_BTE,		/* master */
	GATE_EXPERT_BTK,	/* int */
	GATE_SLOT_BTK,		/* int */
	GATE_N_IN
};

enum {
	GATE_GATE_BTK,		/* master */
	GATE_N_OUT
};

enum gate_rule { GATE_RAW, GATE_RENORM, GATE_ONE, GATE_STRAIGHT_THROUGH };

#define GATE_TINY 1e-20	/* scores of a sigmoid may all vanish */

struct gate_attr {
	enum gate_rule rule;
	double scale;
};

op_kernel gate_forward_cuda, gate_backward_cuda;

extern const struct op op_gate;

#endif
