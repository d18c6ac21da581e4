#include "nn/attn.h"

#include <string.h>

#include "base/num.h"
#include "nn/stream.h"
#include "op/attention_step.h"
#include "op/moba_step.h"
#include "op/rope.h"
#include "op/summary_step.h"

long attn_heads(const struct attn_spec *s, long width)
{
	return max_long(s->n_heads ? s->n_heads : width / 64, 1);
}

long attn_kv_heads(const struct attn_spec *s, long width)
{
	return s->n_kv_heads ? s->n_kv_heads : attn_heads(s, width);
}

long attn_kv_width(const struct attn_spec *s, long width)
{
	return width / attn_heads(s, width) * attn_kv_heads(s, width);
}

/* Rotates heads that lie side by side: of q, of k or of both in one call. */
static struct tensor *rotate(struct net *net, const struct attn_spec *s, struct tensor *x, long heads)
{
	struct rope_attr attr = {.n_heads = (int)heads, .base = s->rope_base};
	struct tensor *in[ROPE_N_IN] = {[ROPE_X_BTD] = x,
		[ROPE_START_BT] = net->env.carry ? net->start_BT : NULL};

	return s->rope ? graph_apply(net->g, &op_rope, &attr, sizeof attr, in)[ROPE_Y_BTD] : x;
}

_Static_assert((int)MOBA_START_BT == (int)ATTENTION_START_BT, "inputs of both: q, k, v, start_BT");

/* op_attention, op_moba or op_summary over the last n keys and values of the replay before, too, without their
   gradient (Dai et al. 2019, arXiv:1901.02860; here keys are kept, rotated, in place of layer inputs). Each token
   sees n in front. */
static struct tensor *on_stream(struct net *net, const struct op *op, const void *attr, size_t attr_bytes,
	struct tensor **in, long n)
{
	in[ATTENTION_Q_BTD] = stream_extend(net, NULL, in[ATTENTION_Q_BTD], n);
	in[ATTENTION_K_BTC] = stream_extend(net, "keys", in[ATTENTION_K_BTC], n);
	in[ATTENTION_V_BTC] = stream_extend(net, "values", in[ATTENTION_V_BTC], n);
	in[ATTENTION_START_BT] = stream_start(net, n, op == &op_attention ? EXTEND_SEEN : EXTEND_COUNTED);
	return stream_latest(net, graph_apply(net->g, op, attr, attr_bytes, in)[ATTENTION_Y_BTD], n);
}

_Static_assert((int)MOBA_STEP_KEYS_BLC == (int)ATTENTION_STEP_KEYS_BLC, "rings of both behind their inputs");
_Static_assert((int)SUMMARY_STEP_RING_K_BSC == (int)ATTENTION_STEP_KEYS_BLC, "and of this one");

/* While decoding: the step form of one of them, over a ring of keys and values of `past` tokens. */
static struct tensor *on_ring(struct net *net, const struct op *op, const void *attr, size_t attr_bytes,
	struct tensor **in, long past)
{
	struct tensor ring = tensor_of(REAL, 3, net->env.batch, past, tensor_width(in[ATTENTION_K_BTC]));

	in[ATTENTION_STEP_KEYS_BLC] = graph_carried(net->g, "keys", ring);
	in[ATTENTION_STEP_VALUES_BLC] = graph_carried(net->g, "values", ring);
	return graph_apply(net->g, op, attr, attr_bytes, in)[ATTENTION_Y_BTD];
}

/* While decoding: a ring of one segment, and summaries of as many as are carried. */
static struct tensor *summaries_on_ring(struct net *net, const struct moba_attr *attr, struct tensor **in)
{
	struct tensor kept = tensor_of(MASTER, 3, net->env.batch, ceil_div(net->env.carry, attr->segment),
		tensor_width(in[MOBA_K_BTC]));

	in[SUMMARY_STEP_KEYS_BNC] = graph_carried(net->g, "summary_keys", kept);
	in[SUMMARY_STEP_VALUES_BNC] = graph_carried(net->g, "summary_values", kept);
	return on_ring(net, &op_summary_step, attr, sizeof *attr, in, attr->segment);
}

/* On segments. Of too many to choose among model_record() tells. */
static struct tensor *attention_segmented(struct net *net, const struct attn_spec *s, struct tensor *q,
	struct tensor *k, struct tensor *v)
{
	bool chooses = !strcmp(s->earlier, "chosen"), decodes = net->env.carry && !net->env.stream;
	struct moba_attr attr = {(int)attn_heads(s, tensor_width(q)), (int)attn_kv_heads(s, tensor_width(q)),
		(int)s->segment, (int)s->chosen, net->env.stream ? (int)net->env.carry : 0};
	struct tensor *in[SUMMARY_STEP_N_IN] = {[MOBA_Q_BTD] = q, [MOBA_K_BTC] = k, [MOBA_V_BTC] = v,
		[MOBA_START_BT] = net->start_BT};
	const struct op *op = chooses ? &op_moba : &op_summary;
	long seen = decodes ? net->env.carry : attr.idle + net->env.context;

	if (chooses && ceil_div(seen, s->segment) > MOBA_MAX_SEGMENTS) {
		net->crowded = seen;
		return q;
	}
	if (net->env.stream)
		return on_stream(net, op, &attr, sizeof attr, in, attr.idle);
	if (!decodes)
		return graph_apply(net->g, op, &attr, sizeof attr, in)[MOBA_Y_BTD];
	return chooses ? on_ring(net, &op_moba_step, &attr, sizeof attr, in, net->env.carry)
		: summaries_on_ring(net, &attr, in);
}

/* y of q, k and v; while decoding over those of earlier replays, too. */
static struct tensor *attention(struct net *net, const struct attn_spec *s, struct tensor *q,
	struct tensor *k, struct tensor *v)
{
	long width = tensor_width(q), carry = net->env.carry;
	struct attention_attr attr = {.n_heads = (int)attn_heads(s, width),
		.n_kv_heads = (int)attn_kv_heads(s, width), .window = (int)s->window};
	struct tensor *in[ATTENTION_STEP_N_IN] = {[ATTENTION_Q_BTD] = q, [ATTENTION_K_BTC] = k,
		[ATTENTION_V_BTC] = v, [ATTENTION_START_BT] = net->start_BT};
	long past = s->window && s->window <= carry ? s->window - 1 : carry;

	if (s->segment)
		return attention_segmented(net, s, q, k, v);
	if (s->window == 1)	/* mixes no tokens */
		in[ATTENTION_START_BT] = NULL;
	if (!carry || s->window == 1)
		return graph_apply(net->g, &op_attention, &attr, sizeof attr, in)[ATTENTION_Y_BTD];
	if (net->env.stream) {
		attr.idle = (int)past;
		attr.window = (int)past + 1;
		return on_stream(net, &op_attention, &attr, sizeof attr, in, past);
	}
	return on_ring(net, &op_attention_step, &attr, sizeof attr, in, past);
}

struct tensor *attend_fused(struct net *net, const struct attn_spec *s, struct tensor *qkv_BTC, long width)
{
	long kv = attn_kv_width(s, width), heads = attn_heads(s, width) + attn_kv_heads(s, width);
	struct tensor *qk = rotate(net, s, graph_slice(net->g, qkv_BTC, 0, width + kv), heads);

	return attention(net, s, graph_slice(net->g, qk, 0, width), graph_slice(net->g, qk, width, kv),
		graph_slice(net->g, qkv_BTC, width + kv, kv));
}

struct tensor *attend(struct net *net, const struct attn_spec *s, struct tensor *q_BTD, struct tensor *kv_BTC)
{
	long width = tensor_width(q_BTD), kv = attn_kv_width(s, width);
	struct tensor *q = rotate(net, s, q_BTD, attn_heads(s, width));
	struct tensor *k = rotate(net, s, graph_slice(net->g, kv_BTC, 0, kv), attn_kv_heads(s, width));

	return attention(net, s, q, k, graph_slice(net->g, kv_BTC, kv, kv));
}

struct tensor *attn(struct net *net, const void *attn_spec, struct tensor *x_BTD)
{
	const struct attn_spec *s = attn_spec;
	long d = net->s->d_model;
	struct param_rule rule = rule_normal(net, (double)d, "mixer");
	struct tensor *qkv, *y_BTD;

	graph_enter(net->g, "attn");
	qkv = linear(net, "qkv", x_BTD, d + 2 * attn_kv_width(s, d), &rule, NULL);
	y_BTD = linear(net, "out", attend_fused(net, s, qkv, d), d, &rule, NULL);
	graph_leave(net->g);
	return net_output(net, "attn", y_BTD);
}
