#include "nn/copy_head.h"

#include "op/cross_entropy.h"
#include "op/pointed.h"
#include "op/pointer.h"

static const char group[] = "copy";

/* How much every other token has by copying: the most probable one is asked for in evaluation alone. */
static struct tensor *mass_of(struct net *net, struct tensor *q_BTC, struct tensor *k_BTC)
{
	struct tensor *in[POINTED_N_IN] = {[POINTED_Q_BTC] = q_BTC, [POINTED_K_BTC] = k_BTC,
		[POINTED_TOKEN_BT] = net->tokens_BT, [POINTED_START_BT] = net->start_BT};

	return graph_apply(net->g, &op_pointed, NULL, 0, in)[POINTED_MASS_BTS];
}

void copy_head(struct net *net, long width, struct tensor *x_BTD, struct tensor **cross_entropy_in)
{
	struct param_rule rule = rule_normal(net, (double)tensor_width(x_BTD), group);
	struct param_rule none = rule_zero(group), two = rule_constant(net, 2, group);
	struct tensor *in[POINTER_N_IN] = {[POINTER_TOKEN_BT] = net->tokens_BT,
		[POINTER_TARGET_BT] = net->targets_BT, [POINTER_START_BT] = net->start_BT};

	in[POINTER_Q_BTC] = linear(net, "copy_q", x_BTD, width, &rule, NULL);
	in[POINTER_K_BTC] = linear(net, "copy_k", x_BTD, width, &rule, NULL);
	cross_entropy_in[CROSS_ENTROPY_GATE_BT] = linear(net, "gate", x_BTD, 1, &none, &two);
	cross_entropy_in[CROSS_ENTROPY_LOGC_BT] =
		graph_apply(net->g, &op_pointer, NULL, 0, in)[POINTER_LOGC_BT];
	if (graph_trains(net->g))
		return;
	cross_entropy_in[CROSS_ENTROPY_MASS_BTS] = mass_of(net, in[POINTER_Q_BTC], in[POINTER_K_BTC]);
	cross_entropy_in[CROSS_ENTROPY_TOKEN_BT] = net->tokens_BT;
}
