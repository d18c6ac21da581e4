/* What tests of operators that mix tokens share: a trial run, and how far two of them lie apart. */
#ifndef TRIALS_H
#define TRIALS_H

#include <math.h>

#include "op/trial.h"

static inline void run(struct op_trial *t)
{
	op_trial_forward(t);
	op_trial_fill_d_out(t);
	op_trial_backward(t);
}

/* Those that there are here, ended by N_DEVICES. */
static inline const enum device_id *devices(void)
{
	static enum device_id list[] = {REF, CPU, CUDA_F32, N_DEVICES};

	if (device_missing(&device_list[CUDA]))
		list[2] = N_DEVICES;
	return list;
}

/* Are tokens [from, to) of sequence 0 the same, to the bit? */
static inline bool same_tokens(const struct op_trial *t, const struct tensor *x, const struct op_trial *u,
	const struct tensor *y, int from, int to)
{
	for (long k = from * tensor_width(x); k < to * tensor_width(x); k++)
		if (op_trial_get(t, x, k) != op_trial_get(u, y, k))
			return false;
	return true;
}

/* || a - b || / || b || */
static inline double distance(const struct op_trial *t, const struct tensor *a, const struct op_trial *u,
	const struct tensor *b)
{
	double diff = 0, norm = 0;

	for (long i = 0; i < tensor_size(a); i++) {
		double x = op_trial_get(t, a, i), y = op_trial_get(u, b, i);
		diff += (x - y) * (x - y);
		norm += y * y;
	}
	return sqrt(diff / norm);
}

#endif
