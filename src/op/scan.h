/*
 * scan: Mamba's selective scan with all that is element-wise around it. For each sequence b and
 * channel i:
 *   dt     = softplus(dtraw[b, t, i] + dt_bias[i])
 *   h_t[n] = exp(dt A[i, n]) h_{t-1}[n] + dt B[b, t, n] u[b, t, i],   A = -exp(A_log),  h_{-1} = 0
 *   s_t    = sum_n C[b, t, n] h_t[n] + D[i] u[b, t, i]
 *   y_t    = s_t * SiLU(z[b, t, i])                                   (without z: y = s)
 * With documents (op/document_start.h) exp(dt A) is 0 where t is the first token of a document:
 * nothing of the state before enters, and no gradient goes back.
 * Gu and Dao 2023 (arXiv:2312.00752), algorithm 2: zero-order hold for A, Euler for B.
 * Backward walks back in time; g is the gradient of h_t:
 *   g_t = ds_t C_t + e_{t+1} g_{t+1};  dC_t = sum_i ds_t h_t;  dB_t = sum_i g_t dt u;
 *   du = dt sum_n g B + D ds;  ddt = u sum_n g B + sum_n g e h_{t-1} A;  dA = sum_t g e h_{t-1} dt;
 *   dA_log = dA A;  ddtraw = ddt logistic(dtraw + dt_bias);  d dt_bias = sum ddtraw;  dD = sum ds u
 * The states h are not kept but for those at the borders of chunks of time, from which backward
 * recomputes the rest: memory grows with T / chunk.
 */
#ifndef OP_SCAN_H
#define OP_SCAN_H

#include "op/op.h"

enum {
	SCAN_U_BTI,	/* output of the convolution */
	SCAN_DTRAW_BTI,	/* before bias and softplus */
	SCAN_ALOG_IN,	/* master */
	SCAN_B_BTN,
	SCAN_C_BTN,
	SCAN_D_I,	/* master */
	SCAN_DTBIAS_I,	/* master */
	SCAN_Z_BTI,	/* optional gate; a slice, as a rule */
	SCAN_START_BT,	/* optional, int: documents */
	SCAN_N_IN,
	SCAN_H_BIN = SCAN_N_IN,	/* of scan_carried and scan_step: master, updated; zeros in front of the first token */
	SCAN_CARRIED_N_IN
};

enum {
	SCAN_Y_BTI,
	SCAN_N_OUT
};

enum {
	SCAN_STATES,	/* state in front of each chunk; layout is the device's own */
	SCAN_UNGATED,	/* cuda: y in front of the gate */
	SCAN_N_SAVED
};

extern const struct op op_scan;

#endif
