/*
 * trapezoid: decays and weights of Mamba-3's recurrence (Lahoti et al. 2026, arXiv:2603.15569, generalized
 * trapezoidal discretization), from three numbers of each token and head:
 *   dt = softplus(dtraw + dt_bias),  A = -max(f(araw), 1e-4),  lambda = logistic(lraw)
 *   f(v) = 1 + v for v >= 0, 1 / (1 - v) below
 *   h_t = e^{dt A} h_{t-1} + (1 - lambda) dt e^{dt A} x_{t-1} B_{t-1}^T + lambda dt x_t B_t^T,   y_t = h_t C_t
 * Token s comes into h twice, at s and at s + 1. Later tokens see the sum, so that it is one weight of op/ssd.h:
 *   DECAY_t  = dt_t A_t
 *   OWN_t    = lambda_t dt_t                                      of x_t B_t^T in y_t
 *   WEIGHT_t = OWN_t + (1 - lambda_{t+1}) dt_{t+1}                of x_t B_t^T in y_{t+1} and later ones
 * With documents nothing comes from the token in front of a first one; behind the last token there is none. The
 * published f was softplus before; this one grows no faster than its argument.
 * On a window of a stream (`past`) all but DT have a row more in front, S = T + 1, for the last token of the window
 * before, whose state is carried as it stood: DECAY 0, OWN 0, WEIGHT (1 - lambda_0) dt_0, or 0 where a document
 * begins. START then is of these S rows (op/extend_start.h), and x and B have that token's row (op/extend.h).
 * Backward: with w_t the gradient of WEIGHT_t, and w_{-1} = 0, also where t is the first token of a document:
 *   ddt = A dDECAY + lambda (dOWN + w_t) + (1 - lambda) w_{t-1};   dlambda = dt (dOWN + w_t - w_{t-1})
 */
#ifndef OP_TRAPEZOID_H
#define OP_TRAPEZOID_H

#include "op/op.h"

enum {
	TRAPEZOID_DTRAW_BTH,
	TRAPEZOID_ARAW_BTH,
	TRAPEZOID_LRAW_BTH,
	TRAPEZOID_DTBIAS_H,	/* master */
	TRAPEZOID_START_BT,	/* optional, int: documents */
	TRAPEZOID_N_IN
};

struct trapezoid_attr {
	bool past;
};

enum {			/* all master */
	TRAPEZOID_DECAY_BTH,
	TRAPEZOID_WEIGHT_BTH,
	TRAPEZOID_OWN_BTH,
	TRAPEZOID_DT_BTH,
	TRAPEZOID_N_OUT
};

#define TRAPEZOID_LEAST_RATE 1e-4

#define TRAPEZOID_INPUTS \
	[TRAPEZOID_DTRAW_BTH] = {"dtraw_BTH", 0}, \
	[TRAPEZOID_ARAW_BTH] = {"araw_BTH", 0}, \
	[TRAPEZOID_LRAW_BTH] = {"lraw_BTH", 0}, \
	[TRAPEZOID_DTBIAS_H] = {"dt_bias_H", IN_MASTER}, \
	[TRAPEZOID_START_BT] = {"start_BT", IN_OPTIONAL | IN_INDEX}

/* Of examples, without documents. */
#define TRAPEZOID_SHAPES(B, T, H) [TRAPEZOID_DTRAW_BTH] = {B, T, H}, [TRAPEZOID_ARAW_BTH] = {B, T, H}, \
	[TRAPEZOID_LRAW_BTH] = {B, T, H}, [TRAPEZOID_DTBIAS_H] = {H}

extern const struct op op_trapezoid;
op_kernel trapezoid_forward_cuda, trapezoid_backward_cuda;

#endif
