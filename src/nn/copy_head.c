#include "nn/copy_head.h"

#include "nn/stream.h"
#include "op/copied.h"
#include "op/cross_entropy.h"
#include "op/pointed.h"
#include "op/pointer.h"

static const char group[] = "copy";

struct copy_head copy_head(struct net *net, long width, struct tensor *x_BTD)
{
	struct param_rule rule = rule_normal(net, (double)tensor_width(x_BTD), group);
	struct param_rule none = rule_zero(group), two = rule_constant(net, 2, group);
	struct copy_head h = {.token_BS = net->tokens_BT, .start_BS = net->start_BT};
	long past = net->env.carry;

	h.q_BTC = linear(net, "copy_q", x_BTD, width, &rule, NULL);
	h.k_BSC = linear(net, "copy_k", x_BTD, width, &rule, NULL);
	h.gate_BT1 = linear(net, "gate", x_BTD, 1, &none, &two);
	if (past) {
		h.k_BSC = stream_extend(net, "keys", h.k_BSC, past);
		h.token_BS = stream_tokens(net, "tokens", past);
		h.start_BS = stream_start(net, past, EXTEND_SEEN);
	}
	return h;
}

/* How much every other token has by copying: the most probable one is asked for in evaluation alone. */
static struct tensor *mass_of(struct net *net, const struct copy_head *h)
{
	struct tensor *in[POINTED_N_IN] = {[POINTED_Q_BTC] = h->q_BTC, [POINTED_K_BSC] = h->k_BSC,
		[POINTED_TOKEN_BS] = h->token_BS, [POINTED_START_BS] = h->start_BS};

	return graph_apply(net->g, &op_pointed, NULL, 0, in)[POINTED_MASS_BTS];
}

void copy_head_loss(struct net *net, const struct copy_head *h, struct tensor **cross_entropy_in)
{
	struct tensor *in[POINTER_N_IN] = {[POINTER_Q_BTC] = h->q_BTC, [POINTER_K_BSC] = h->k_BSC,
		[POINTER_TOKEN_BS] = h->token_BS, [POINTER_TARGET_BT] = net->targets_BT,
		[POINTER_START_BS] = h->start_BS};

	cross_entropy_in[CROSS_ENTROPY_GATE_BT] = h->gate_BT1;
	cross_entropy_in[CROSS_ENTROPY_LOGC_BT] =
		graph_apply(net->g, &op_pointer, NULL, 0, in)[POINTER_LOGC_BT];
	if (graph_trains(net->g))
		return;
	cross_entropy_in[CROSS_ENTROPY_MASS_BTS] = mass_of(net, h);
	cross_entropy_in[CROSS_ENTROPY_TOKEN_BS] = h->token_BS;
}

struct tensor *copy_head_logits(struct net *net, const struct copy_head *h, struct tensor *logits_BTV)
{
	struct tensor *in[COPIED_N_IN] = {[COPIED_LOGIT_BTV] = logits_BTV, [COPIED_GATE_BT1] = h->gate_BT1,
		[COPIED_Q_BTC] = h->q_BTC, [COPIED_K_BSC] = h->k_BSC, [COPIED_TOKEN_BS] = h->token_BS,
		[COPIED_START_BS] = h->start_BS};

	return graph_apply(net->g, &op_copied, NULL, 0, in)[COPIED_Y_BTV];
}
