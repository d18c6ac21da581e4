#include "nn/stream.h"

#include "op/extend.h"
#include "op/extend_token.h"
#include "op/latest.h"

struct tensor *stream_extend(struct net *net, const char *name, struct tensor *x_BTC, long n)
{
	struct extend_attr attr = {n};
	struct tensor *in[EXTEND_N_IN] = {[EXTEND_X_BTC] = x_BTC,
		[EXTEND_THERE_BT] = net->gaps ? net->start_BT : NULL};

	if (name)
		in[EXTEND_PAST_BLC] = graph_carried(net->g, name,
			tensor_of(REAL, 3, net->env.batch, n, tensor_width(x_BTC)));
	return graph_apply(net->g, &op_extend, &attr, sizeof attr, in)[EXTEND_Y_BSC];
}

struct tensor *stream_tokens(struct net *net, const char *name, long n)
{
	struct tensor *in[EXTEND_TOKEN_N_IN] = {[EXTEND_TOKEN_BT] = net->tokens_BT,
		[EXTEND_TOKEN_PAST_BL] = graph_carried(net->g, name, tensor_of(INDEX, 2, net->env.batch, n))};

	return graph_apply(net->g, &op_extend_token, NULL, 0, in)[EXTEND_TOKEN_Y_BS];
}

struct tensor *stream_start(struct net *net, long n, enum extend_places places)
{
	struct extend_start_attr attr = {n, places};
	struct tensor *in[EXTEND_START_N_IN] = {[EXTEND_START_BT] = net->start_BT};

	return graph_apply(net->g, &op_extend_start, &attr, sizeof attr, in)[EXTEND_START_Y_BS];
}

struct tensor *stream_latest(struct net *net, struct tensor *y_BSC, long n)
{
	struct latest_attr attr = {n};
	struct tensor *in[LATEST_N_IN] = {[LATEST_X_BSC] = y_BSC};

	return graph_apply(net->g, &op_latest, &attr, sizeof attr, in)[LATEST_Y_BTC];
}
