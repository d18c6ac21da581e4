#include "nn/copy_head.h"

#include "nn/stream.h"
#include "op/copied.h"
#include "op/cross_entropy.h"
#include "op/pointed.h"
#include "op/pointer.h"
#include "op/remember.h"

static const char group[] = "copy";

struct copy_head copy_head(struct net *net, long width, struct tensor *x_BTD)
{
	struct param_rule rule = rule_normal(net, (double)tensor_width(x_BTD), group);
	struct param_rule none = rule_zero(group), two = rule_constant(net, 2, group);
	struct copy_head h;

	h.q_BTC = linear(net, "copy_q", x_BTD, width, &rule, NULL);
	h.k_BTC = linear(net, "copy_k", x_BTD, width, &rule, NULL);
	h.gate_BT1 = linear(net, "gate", x_BTD, 1, &none, &two);
	return h;
}

/* How much every other token has by copying: the most probable one is asked for in evaluation alone. */
static struct tensor *mass_of(struct net *net, struct tensor *const *pointer_in)
{
	struct tensor *in[POINTED_N_IN] = {[POINTED_Q_BTC] = pointer_in[POINTER_Q_BTC],
		[POINTED_K_BSC] = pointer_in[POINTER_K_BSC], [POINTED_TOKEN_BS] = pointer_in[POINTER_TOKEN_BS],
		[POINTED_START_BS] = pointer_in[POINTER_START_BS]};

	return graph_apply(net->g, &op_pointed, NULL, 0, in)[POINTED_MASS_BTS];
}

void copy_head_loss(struct net *net, const struct copy_head *h, struct tensor **cross_entropy_in)
{
	struct tensor *in[POINTER_N_IN] = {[POINTER_Q_BTC] = h->q_BTC, [POINTER_K_BSC] = h->k_BTC,
		[POINTER_TOKEN_BS] = net->tokens_BT, [POINTER_TARGET_BT] = net->targets_BT,
		[POINTER_START_BS] = net->start_BT};
	long past = net->env.carry;

	if (past) {
		in[POINTER_K_BSC] = stream_extend(net, "keys", h->k_BTC, past);
		in[POINTER_TOKEN_BS] = stream_tokens(net, "tokens", past);
		in[POINTER_START_BS] = stream_start(net, past, EXTEND_SEEN);
	}
	cross_entropy_in[CROSS_ENTROPY_GATE_BT] = h->gate_BT1;
	cross_entropy_in[CROSS_ENTROPY_LOGC_BT] =
		graph_apply(net->g, &op_pointer, NULL, 0, in)[POINTER_LOGC_BT];
	if (graph_trains(net->g))
		return;
	cross_entropy_in[CROSS_ENTROPY_MASS_BTS] = mass_of(net, in);
	cross_entropy_in[CROSS_ENTROPY_TOKEN_BS] = in[POINTER_TOKEN_BS];
}

/* The rings of a copy head while decoding. */
static void remember(struct net *net, const struct copy_head *h, struct tensor *keys_BLC, struct tensor *tokens_BL)
{
	struct tensor *in[REMEMBER_N_IN] = {[REMEMBER_K_BTC] = h->k_BTC, [REMEMBER_TOKEN_BT] = net->tokens_BT,
		[REMEMBER_START_BT] = net->start_BT, [REMEMBER_KEYS_BLC] = keys_BLC, [REMEMBER_TOKENS_BL] = tokens_BL};

	graph_apply(net->g, &op_remember, NULL, 0, in);
}

struct tensor *copy_head_logits(struct net *net, const struct copy_head *h, struct tensor *logits_BTV)
{
	struct tensor *in[COPIED_N_IN] = {[COPIED_LOGIT_BTV] = logits_BTV, [COPIED_GATE_BT1] = h->gate_BT1,
		[COPIED_Q_BTC] = h->q_BTC, [COPIED_K_BTC] = h->k_BTC, [COPIED_TOKEN_BT] = net->tokens_BT,
		[COPIED_START_BT] = net->start_BT};
	long past = net->env.carry, batch = net->env.batch;

	if (past) {
		in[COPIED_KEYS_BLC] = graph_carried(net->g, "keys",
			tensor_of(REAL, 3, batch, past, tensor_width(h->k_BTC)));
		in[COPIED_TOKENS_BL] = graph_carried(net->g, "tokens", tensor_of(INDEX, 2, batch, past));
	}
	if (logits_BTV)
		logits_BTV = graph_apply(net->g, &op_copied, NULL, 0, in)[COPIED_Y_BTV];
	if (past)
		remember(net, h, in[COPIED_KEYS_BLC], in[COPIED_TOKENS_BL]);
	return logits_BTV;
}
