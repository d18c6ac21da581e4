/*
 * pointer: what a copy head (nn/copy_head.h) points at. Token t may copy what followed an earlier token s of
 * its document, that is token[s + 1] of start_t <= s < t, and points at it with
 *   a_ts = softmax_s(q_t . k_s / sqrt(C))                          (Merity et al. 2016, arXiv:1609.07843)
 *   log_c_t = log sum of a_ts over s with token[s + 1] = target_t
 * POINTER_MISS, of which e^x is 0, if the target followed none of them; 1, which no logarithm of a share is,
 * where there is nothing to copy from: the first token of a document, and masked targets (< 0). Backward,
 * p_ts the softmax over the places alone that the target followed:
 *   d score_ts = d log_c_t (p_ts - a_ts);   dq = d score k / sqrt(C);   dk = d score^T q / sqrt(C)
 * No gradient comes from tokens whose log_c is one of these two.
 * Keys, tokens and documents may have n rows more in front, of earlier calls (op/extend.h): the query of token t then
 * stands at place n + t, and points at none but the n places in front of it.
 */
#ifndef OP_POINTER_H
#define OP_POINTER_H

#include "op/op.h"

enum {
	POINTER_Q_BTC,
	POINTER_K_BSC,		/* S = n + T */
	POINTER_TOKEN_BS,	/* int */
	POINTER_TARGET_BT,	/* int; < 0: masked */
	POINTER_START_BS,	/* optional, int: documents, of places */
	POINTER_N_IN
};

enum {
	POINTER_LOGC_BT,	/* master */
	POINTER_N_OUT
};

enum {
	POINTER_LSE_BT2,	/* log-sum-exp of scores: of all places, of those that the target followed */
	POINTER_N_SAVED
};

enum { POINTER_MISS = -10000, POINTER_MAX_WIDTH = 1024 };	/* MAX_WIDTH: of C */

extern const struct op op_pointer;

/* The first place that the query of token t points at, of S - T rows in front. */
static inline long pointer_first(const struct tensor *start_BS, long in_front, long b, long t)
{
	long first = start_BS ? row_int(start_BS, b)[in_front + t] : 0;

	return in_front && first < t ? t : first;
}

op_kernel pointer_forward_cuda, pointer_backward_cuda;

#endif
