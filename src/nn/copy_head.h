/*
 * Copy head: the next token's distribution is a mixture of the vocabulary's and of a pointer to what followed
 * earlier tokens of the document (pointer-generator: See et al. 2017, arXiv:1704.04368, eq. 8-9; keys of
 * tokens in front, as Merity et al. 2016, arXiv:1609.07843):
 *	P(w) = g P_v(w) + (1 - g) sum_{s < t, w_{s+1} = w} a_ts,      g = logistic(w_g . x_t + b_g)
 *	a_ts = softmax_s(W_q x_t . W_k x_s / sqrt(C))                 x: what the head of the vocabulary reads
 * The first token of a document has P = P_v. 2 D C + D + 1 parameters, in the group "copy"; w_g begins as 0
 * and b_g as 2, so that at first g = 0.88. Formulas: op/pointer.h, op/cross_entropy.h.
 */
#ifndef NN_COPY_HEAD_H
#define NN_COPY_HEAD_H

#include "nn/net.h"

/* All under the present scope. */
struct copy_head {
	struct tensor *q_BTC, *k_BTC, *gate_BT1;
};

struct copy_head copy_head(struct net *net, long width, struct tensor *x_BTD);
/* Sets the inputs of op_cross_entropy that say what is copied. */
void copy_head_loss(struct net *net, const struct copy_head *h, struct tensor **cross_entropy_in);
/* Logits of the mixture, from those of the vocabulary; NULL: none, but what is carried on. */
struct tensor *copy_head_logits(struct net *net, const struct copy_head *h, struct tensor *logits_BTV);

#endif
