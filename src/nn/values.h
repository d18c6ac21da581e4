/*
 * Both ends of a model of values, which stand in the data as tokens: patches of them (op/patch.h) in place of
 * embedded tokens, and the head of a forecast (op/squared_error.h). A position is a patch of P values:
 *	x_n = W [values, flags] + b           W [D, P] of bytes, [D, 2 P] of series, which have flags
 *	y_n = V h_n + c                       V [P, D]: what a forecast says at the values of position n
 * W and V are drawn as all matrices are (rule_normal()), b and c begin as 0.
 */
#ifndef NN_VALUES_H
#define NN_VALUES_H

#include "nn/net.h"

/* The stream as it begins; from now on tokens, targets (but those of a forecast) and the context of `net` are
   those of positions. */
struct tensor *embed_values(struct net *net);
/* [B, N, P], in the units of each row's normalisation. */
struct tensor *forecast_head(struct net *net, struct tensor *x_BND);
/* Records loss and metrics "loss", "ce", and per value "nll", its square, and "error", the distance. */
void forecast_loss(struct net *net, struct tensor *y_BNP);

#endif
