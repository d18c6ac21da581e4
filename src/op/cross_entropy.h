/*
 * cross_entropy: the language-model head and its loss, chunk by chunk, so that logits of all tokens
 * never exist at once:
 *   logit = W x;  nll = log sum exp logit - logit[target];  loss = mean of nll over valid targets
 * Only the first n_vocab columns count; rows of W behind them are padding and get zero gradients.
 * On a GPU they must be finite (a model's are 0): products run over them.
 * Targets < 0 are masked: nll 0, not correct, no gradient. No valid target: loss 0.
 * With weights (op/position_weight.h): loss = sum over valid targets of weight nll, divided by their
 * number, so that it adds up over micro-batches; MEAN is without them.
 * With a copy head (op/pointer.h; See et al. 2017, arXiv:1704.04368, eq. 9) the target's probability is a
 * mixture of the vocabulary's p and of what is copied, g = logistic(gate):
 *   nll = -log(g p[target] + (1 - g) c),   c = e^log_c     (log_c > 0, nothing to copy from: as above)
 * and with w = g p[target] / e^-nll, the vocabulary's share of it, dlogit is w times the above,
 *   dgate = g - w,   dlog_c = w - 1            times the weight / n_valid
 * CORRECT then asks for the largest of the mixture. What other tokens than the target have by copying comes
 * from mass_BTS (op/pointed.h), without which they have nothing: so in training.
 * The loss is a scalar, so its gradient is known up to a factor as soon as the logits are: in
 * training forward makes dx and dW for d_loss = 1 while a chunk's logits are at hand
 * (dlogit = (p - [target]) / n_valid) and backward only scales them. No product is made twice.
 */
#ifndef OP_CROSS_ENTROPY_H
#define OP_CROSS_ENTROPY_H

#include "op/op.h"

enum {
	CROSS_ENTROPY_X_BTD,
	CROSS_ENTROPY_W_VD,	/* V >= n_vocab, padded */
	CROSS_ENTROPY_TARGET_BT,	/* int; < 0: masked */
	CROSS_ENTROPY_WEIGHT_BT,	/* optional, master: what each token's nll counts for */
	CROSS_ENTROPY_GATE_BT,		/* optional, with LOGC: [B, T, 1] */
	CROSS_ENTROPY_LOGC_BT,		/* optional, master */
	CROSS_ENTROPY_MASS_BTS,		/* optional, master: of what is copied, with TOKEN */
	CROSS_ENTROPY_TOKEN_BS,		/* optional, int: as op/pointed.h has it, S - T rows in front */
	CROSS_ENTROPY_N_IN
};

enum {
	CROSS_ENTROPY_LOSS,	/* [1], nats; mean over valid tokens, weighted */
	CROSS_ENTROPY_NLL_BT,	/* master, metric */
	CROSS_ENTROPY_CORRECT_BT,	/* int, metric: 1 if argmax (lowest of ties) is the target */
	CROSS_ENTROPY_MEAN,	/* [1], metric: mean nll of valid tokens */
	CROSS_ENTROPY_N_OUT
};

enum {
	CROSS_ENTROPY_DX_BTD,	/* gradient for d_loss = 1 */
	CROSS_ENTROPY_DW_VD,	/* master: the same, a sum over chunks */
	CROSS_ENTROPY_DGATE_BT,	/* master; with a copy head */
	CROSS_ENTROPY_DLOGC_BT,	/* master; likewise */
	CROSS_ENTROPY_N_SAVED
};

struct cross_entropy_attr {
	long n_vocab;
};

extern const struct op op_cross_entropy;
op_kernel cross_entropy_forward_cuda, cross_entropy_backward_cuda;

/* CUDA's chunks: rows of each but perhaps the last, and elements from row to row of their logits,
   `bytes` each, of which there are n_columns, padding included. d: width of x. */
enum { CROSS_ENTROPY_ALIGN = 256 };	/* bytes; of the parts of the workspace */
long cross_entropy_chunk_cuda(long rows, long n_columns, long d, size_t bytes);
long cross_entropy_ld_cuda(long n_columns);

#endif
