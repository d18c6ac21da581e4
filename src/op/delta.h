/*
 * delta: the gated delta rule (Yang, Kautz, Hatamizadeh 2024, arXiv:2412.06464, eq. 10), a memory S
 * [K, V] for each of H heads, that a token writes to at the place of its key after erasing what lay
 * there. For each sequence b and head:
 *   q = qraw / |qraw| / sqrt(K),  k = kraw / |kraw|,  |x| = sqrt(sum x^2 + 1e-6)
 *   beta = logistic(braw[b, t, head])
 *   g = dt A,  dt = softplus(dtraw[b, t, head] + dt_bias[head]),  A = -exp(A_log[head])
 *   S_t = e^g S_{t-1} + k u^T,   u = beta (v - e^g S_{t-1}^T k),   S_{-1} = 0
 *   y_t = S_t^T q
 * With documents (op/document_start.h) e^g is 0 where t is the first token of a document.
 *
 * Time is cut into chunks, as in op/ssd.h, with a_t the sum of g from the chunk's first token to t, S
 * the memory in front of the chunk and M_ts = beta_t (k_t . k_s) e^{a_t - a_s}, s < t:
 *   u_t + sum_{s < t} M_ts u_s = r_t = beta_t (v_t - e^{a_t} S^T k_t)      (a triangular system)
 *   y_t = e^{a_t} S^T q_t + sum_{s <= t} P_ts u_s,    P_ts = (q_t . k_s) e^{a_t - a_s}
 *   S  <- e^{a_last} S + sum_s e^{a_last - a_s} k_s u_s^T
 * The paper's chunkwise form (section 3.3) solves the same system for its two right sides apart. Only
 * S in front of chunks is kept. Backward, with G the gradient of S behind the chunk:
 *   du_s = sum_t P_ts dy_t + e^{a_last - a_s} G^T k_s;   (I + M)^T dr = du
 *   dP_ts = dy_t . u_s,  dM_ts = -dr_t . u_s,  and from these dq, dk, dbeta, dg;   dv = beta dr
 *   G <- e^{a_last} G + sum_t e^{a_t} (q_t dy_t^T - beta_t k_t dr_t^T)
 */
#ifndef OP_DELTA_H
#define OP_DELTA_H

#include "op/op.h"

enum {
	DELTA_Q_BTK,	/* H K columns; q, k, v: slices, as a rule */
	DELTA_K_BTK,
	DELTA_V_BTV,	/* H V columns */
	DELTA_BRAW_BTH,	/* before the logistic function */
	DELTA_DTRAW_BTH,	/* before bias and softplus */
	DELTA_ALOG_H,	/* master */
	DELTA_DTBIAS_H,	/* master */
	DELTA_START_BT,	/* optional, int: documents */
	DELTA_N_IN,
	DELTA_S_BKV = DELTA_N_IN,	/* of delta_carried and delta_step: [B, H K, V], master, updated; 0 at first */
	DELTA_CARRIED_N_IN
};

enum {
	DELTA_Y_BTV,
	DELTA_N_OUT
};

enum {
	DELTA_STATES,	/* in front of each chunk: [B, chunks, H, K V] */
	DELTA_N_SAVED
};

/* Limits that kernels have room for. */
enum { DELTA_CHUNK = 64, DELTA_MAX_KEY = 256, DELTA_MAX_VALUE = 512 };

#define DELTA_EPS 1e-6		/* in the norms of q and k */

struct delta_attr {
	int chunk;		/* tokens, 1 to DELTA_CHUNK; changes rounding alone */
};

extern const struct op op_delta;

#endif
