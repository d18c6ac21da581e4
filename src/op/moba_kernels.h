/* What moba, summary and their steps share; op/moba.h has the formula. */
#ifndef OP_MOBA_KERNELS_H
#define OP_MOBA_KERNELS_H

#include "op/kit/vec.h"
#include "op/moba.h"

#ifdef __cplusplus
extern "C" {
#endif

struct moba_dims {
	long B, T, H, KV, dh, S, earlier, idle;	/* earlier: segments chosen beside the own one */
};

struct moba_dims moba_dims(const struct tensor *const *in, const struct moba_attr *attr);
/* Shape of y, and the common checks. */
void moba_shape(struct op_shapes *s);

#define MOBA_INPUTS(start) [MOBA_Q_BTD] = {"q", 0}, [MOBA_K_BTC] = {"k", 0}, [MOBA_V_BTC] = {"v", 0}, \
	[MOBA_START_BT] = {"start_BT", (start) | IN_INDEX}
/* Of examples, without documents. */
#define MOBA_SHAPES(B, T, D, C) [MOBA_Q_BTD] = {B, T, D}, [MOBA_K_BTC] = {B, T, C}, [MOBA_V_BTC] = {B, T, C}

/* For examples: 30 idle rows and documents that began long before, in the idle rows, with the first query and behind
   it, and a last row that is not there. */
void moba_prepare_idle(const struct op_trial *t);

#ifdef __cplusplus
}
#endif

/* The best of n scores, `most` of them at most, in the order of their numbers; gives how many. Scores are
   overwritten: one that has been chosen is no number. */
VEC_FN int moba_choose(float *score, long n, long most, int *segment)
{
	int chosen = 0;

	for (; chosen < most && chosen < n; chosen++) {
		int best = -1, at = chosen;
		for (int i = 0; i < n; i++)
			if (score[i] == score[i] && (best < 0 || score[i] > score[best]))
				best = i;
		if (best < 0)
			break;
		score[best] = NAN;
		for (; at > 0 && segment[at - 1] > best; at--)
			segment[at] = segment[at - 1];
		segment[at] = best;
	}
	return chosen;
}

#endif
