/*
 * act: y = f(x), element by element.
 *   relu  max(x, 0)                       gelu  x Phi(x), Phi the normal distribution
 *   silu  x s(x), s(x) = 1 / (1 + exp(-x))
 * gelu: Hendrycks and Gimpel 2016 (arXiv:1606.08415); silu: Elfwing et al. 2018 (arXiv:1702.03118).
 */
#ifndef OP_ACT_H
#define OP_ACT_H

#include "op/kit/act_fn.h"
#include "op/op.h"

enum { ACT_X, ACT_N_IN };
enum { ACT_Y, ACT_N_OUT };

struct act_attr {
	enum act_fn fn;
};

extern const struct op op_act;

op_kernel act_forward_cuda, act_backward_cuda;

#endif
