/*
 * ssd: Mamba-2's recurrence (Dao and Gu 2024, arXiv:2405.21060, state space duality). Channels are
 * H heads of P; a head has a matrix of states h [P, N] and one decay. B and C have N columns for each
 * of G groups, shared by H / G neighbouring heads. For each sequence b and head:
 *   dt   = softplus(dtraw[b, t, head] + dt_bias[head]),   A = -exp(A_log[head])
 *   h_t  = exp(dt A) h_{t-1} + dt x_t B_t^T,              h_{-1} = 0
 *   y_t  = h_t C_t + D[head] x_t
 * With documents (op/document_start.h) exp(dt A) is 0 where t is the first token of a document:
 * nothing of the state before enters, and no gradient goes back.
 *
 * Time is cut into chunks of Q tokens (section 6, listing 1). With a_t the sum of dt A from the
 * chunk's first token to t, h the state in front of the chunk, and s in the document of t:
 *   y_t = sum_{s <= t} (C_t . B_s) e^{a_t - a_s} dt_s x_s + e^{a_t} h C_t + D x_t
 *   h  <- e^{a_last} h + sum_s e^{a_last - a_s} dt_s x_s B_s^T
 * so nearly all work is matrix products. Only states in front of chunks are kept. Backward takes the
 * gradient g of the state behind a chunk back over the chunks, and then in each, with
 * r_ts = dy_t . x_s and m_ts = (C_t . B_s) e^{a_t - a_s} dt_s:
 *   dx_s = sum_t m_ts dy_t + e^{a_last - a_s} dt_s g B_s + D dy_s
 *   dC_t = sum_s r_ts e^{a_t - a_s} dt_s B_s + e^{a_t} h^T dy_t           (summed over a group's heads)
 *   dB_s = sum_t r_ts e^{a_t - a_s} dt_s C_t + e^{a_last - a_s} dt_s g^T x_s          (likewise)
 *   d(dt_t A) = sum over pairs s < t <= t' of r_t's m_t's, and over the borders likewise
 *   d dt = A d(dt A) + (dx - D dy) . x / dt;  dA_log = A sum dt d(dt A);  dD = sum dy . x
 * Differences of a are summed up from their terms, never taken of two long sums.
 *
 * Decays and weights may be given in place of dtraw, A_log and dt_bias, each token's own (op/trapezoid.h):
 *   y_t = D x_t + own_t (C_t . B_t) x_t + sum_{s < t} (C_t . B_s) e^{a_t - a_s} weight_s x_s
 * with a_t the sum of decay, which is not above 0. They then have gradients of their own.
 */
#ifndef OP_SSD_H
#define OP_SSD_H

#include "op/op.h"

enum {
	SSD_X_BTI,	/* a slice of the convolution's output, as are B and C */
	SSD_DTRAW_BTH,	/* before bias and softplus; optional, with A_log and dt_bias */
	SSD_ALOG_H,	/* master */
	SSD_B_BTN,	/* G N columns */
	SSD_C_BTN,
	SSD_D_H,	/* master */
	SSD_DTBIAS_H,	/* master */
	SSD_START_BT,	/* optional, int: documents */
	SSD_DECAY_BTH,	/* master; optional, with weight and own: in place of dtraw, A_log, dt_bias */
	SSD_WEIGHT_BTH,	/* master */
	SSD_OWN_BTH,	/* master */
	SSD_N_IN,
	SSD_H_BIN = SSD_N_IN,	/* of ssd_carried and ssd_step: master, updated; zeros in front of the first token */
	SSD_CARRIED_N_IN
};

enum {
	SSD_Y_BTI,
	SSD_N_OUT
};

enum {
	SSD_STATES,	/* in front of each chunk: [B, chunks, H, N P] */
	SSD_N_SAVED
};

/* Limits that kernels have room for; CUDA's chunks are of SSD_CHUNK tokens at most. */
enum { SSD_MAX_CHUNK = 128, SSD_CHUNK = 64, SSD_MAX_HEAD = 256, SSD_MAX_STATES = 256 };

struct ssd_attr {
	int n_groups;		/* G */
	int chunk;		/* Q, 1 to SSD_MAX_CHUNK; changes rounding alone */
};

extern const struct op op_ssd;

#endif
