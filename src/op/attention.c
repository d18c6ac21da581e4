#include "op/attention.h"

#include <math.h>

#include "base/error.h"
#include "op/cpu/attention.h"
#include "op/document_start.h"
#include "op/kit/gradient.h"
#include "op/trial.h"

static void attention_shape(struct op_shapes *s)
{
	const struct attention_attr *attr = s->attr;
	const struct tensor *q = s->in[ATTENTION_Q_BTD], *k = s->in[ATTENTION_K_BTC];

	CHECK(q->n_dims == 3 && tensor_width(q) % attr->n_heads == 0 && attr->window >= 0);
	CHECK(!attr->n_kv_heads || attr->n_heads % attr->n_kv_heads == 0);
	CHECK(k->n_dims == 3 && k->dims[0] == q->dims[0] && k->dims[1] == q->dims[1]);
	CHECK(tensor_width(k) * attention_group(attr) == tensor_width(q));
	CHECK(tensor_same_shape(k, s->in[ATTENTION_V_BTC]));
	op_shape_same(s);
	s->saved[ATTENTION_LSE_BTH] = tensor_of(MASTER, 3, q->dims[0], q->dims[1],
		(long)attr->n_heads);
}

/* delta of each row and head */
static void room_cpu(struct op_shapes *s)
{
	s->backward_workspace = (size_t)tensor_size(&s->saved[ATTENTION_LSE_BTH]) * sizeof(float);
}

/* delta, and lse times log2(e) */
static void room_cuda(struct op_shapes *s)
{
	s->backward_workspace = 2 * (size_t)tensor_size(&s->saved[ATTENTION_LSE_BTH]) * sizeof(float);
}

/* Pairs of the first n tokens that see each other: the causal half, or the band of a window. */
static double pairs_of(const struct attention_attr *attr, long T, double n)
{
	double reach = (double)attention_reach(attr, T), W = reach < n ? reach + 1 : n;

	return n * W - W * (W - 1) / 2;
}

/* With tiles, what lies beyond the edges of what tokens see in those that they cut comes on top, and idle
   queries do. A GPU's backward makes scores and dp twice. */
static void attention_cost(const struct op_shapes *s, struct op_cost *c)
{
	const struct attention_attr *attr = s->attr;
	const struct tensor *q = s->in[ATTENTION_Q_BTD];
	double heads = (double)q->dims[0] * attr->n_heads, T = (double)q->dims[1];
	double dh = (double)tensor_width(q) / attr->n_heads;
	double reach = (double)attention_reach(attr, q->dims[1]);
	double all = heads * pairs_of(attr, q->dims[1], T);
	double pairs = all - heads * pairs_of(attr, q->dims[1], attr->idle);
	double tiled = all + heads * T * (ATTENTION_QUERIES - 1) / (reach < T ? 1 : 2);
	double backward = op_device(s->device->id) == CUDA ? 14 * dh + 4 : 10 * dh + 2;

	c->forward_flops = pairs * (4 * dh + 1);
	c->backward_flops = pairs * (8 * dh + 1);
	c->executed_flops = tiled * (4 * dh + 1) + tiled * backward;
	c->forward_bytes = op_io_bytes(&op_attention, s);
	c->backward_bytes = 2 * c->forward_bytes;
}

/* The first token that token t of sequence b sees. */
static long first_key_ref(const struct op_run *r, long b, long t)
{
	const struct attention_attr *attr = r->attr;
	long first = first_seen(r->in[ATTENTION_START_BT], b, t);

	return attr->window && t - attr->window + 1 > first ? t - attr->window + 1 : first;
}

/* One head of one sequence: row t of x is x.at + t * x.ld. */
struct head_f64 {
	double *at;
	long ld;
};

static struct head_f64 head_ref(const struct tensor *x, long b, long h, long dh)
{
	return (struct head_f64){row_f64(x, b * x->dims[1]) + h * dh, x->ld};
}

static double dot_ref(struct head_f64 a, long t, struct head_f64 b, long s, long dh)
{
	double sum = 0;

	for (long i = 0; i < dh; i++)
		sum += a.at[t * a.ld + i] * b.at[s * b.ld + i];
	return sum;
}

static void forward_head_ref(const struct op_run *r, long b, long h, long dh)
{
	const struct tensor *y_BTD = r->out[ATTENTION_Y_BTD];
	long shared = h / attention_group(r->attr);
	struct head_f64 q = head_ref(r->in[ATTENTION_Q_BTD], b, h, dh),
		k = head_ref(r->in[ATTENTION_K_BTC], b, shared, dh),
		v = head_ref(r->in[ATTENTION_V_BTC], b, shared, dh), y = head_ref(y_BTD, b, h, dh);
	double scale = 1 / sqrt((double)dh);

	for (long t = 0; t < y_BTD->dims[1]; t++) {
		long first = first_key_ref(r, b, t);
		double most = -INFINITY, sum = 0;
		for (long s = first; s <= t; s++)
			most = fmax(most, dot_ref(q, t, k, s, dh) * scale);
		for (long s = first; s <= t; s++)
			sum += exp(dot_ref(q, t, k, s, dh) * scale - most);
		double lse = most + log(sum);
		row_f64(r->saved[ATTENTION_LSE_BTH], b * y_BTD->dims[1] + t)[h] = lse;
		for (long i = 0; i < dh; i++)
			y.at[t * y.ld + i] = 0;
		for (long s = first; s <= t; s++)
			for (long i = 0; i < dh; i++)
				y.at[t * y.ld + i] += exp(dot_ref(q, t, k, s, dh) * scale - lse) *
					v.at[s * v.ld + i];
	}
}

static void attention_forward_ref(const struct op_run *r)
{
	const struct attention_attr *attr = r->attr;
	const struct tensor *q = r->in[ATTENTION_Q_BTD];

	for (long b = 0; b < q->dims[0]; b++)
		for (long h = 0; h < attr->n_heads; h++)
			forward_head_ref(r, b, h, tensor_width(q) / attr->n_heads);
}

/* What the pair (query t, key s) adds to the gradients of q_t, k_s and v_s. */
static void backward_pair_ref(const struct op_run *r, long b, long h, long t, long s)
{
	const struct attention_attr *attr = r->attr;
	const struct tensor *x = r->in[ATTENTION_Q_BTD];
	long dh = tensor_width(x) / attr->n_heads, shared = h / attention_group(attr);
	struct head_f64 q = head_ref(r->in[ATTENTION_Q_BTD], b, h, dh),
		k = head_ref(r->in[ATTENTION_K_BTC], b, shared, dh),
		v = head_ref(r->in[ATTENTION_V_BTC], b, shared, dh),
		y = head_ref(r->out[ATTENTION_Y_BTD], b, h, dh),
		dy = head_ref(r->d_out[ATTENTION_Y_BTD], b, h, dh);
	double scale = 1 / sqrt((double)dh);

	double p = exp(dot_ref(q, t, k, s, dh) * scale -
		row_f64(r->saved[ATTENTION_LSE_BTH], b * x->dims[1] + t)[h]);
	double ds = p * (dot_ref(dy, t, v, s, dh) - dot_ref(dy, t, y, t, dh)) * scale;
	for (long i = 0; i < dh; i++) {
		add_gradient(r, ATTENTION_Q_BTD, b * x->dims[1] + t, h * dh + i, ds * k.at[s * k.ld + i]);
		add_gradient(r, ATTENTION_K_BTC, b * x->dims[1] + s, shared * dh + i, ds * q.at[t * q.ld + i]);
		add_gradient(r, ATTENTION_V_BTC, b * x->dims[1] + s, shared * dh + i, p * dy.at[t * dy.ld + i]);
	}
}

static void attention_backward_ref(const struct op_run *r)
{
	const struct attention_attr *attr = r->attr;
	const struct tensor *x = r->in[ATTENTION_Q_BTD];

	for (int i = ATTENTION_Q_BTD; i <= ATTENTION_V_BTC; i++)
		clear_gradient(r, i);
	for (long b = 0; b < x->dims[0]; b++)
		for (long h = 0; h < attr->n_heads; h++)
			for (long t = 0; t < x->dims[1]; t++)
				for (long s = first_key_ref(r, b, t); s <= t; s++)
					backward_pair_ref(r, b, h, t, s);
}

/* Keys of growing length, so that maxima move on from tile to tile. */
static void growing(const struct op_trial *t)
{
	const struct tensor *k = t->in[ATTENTION_K_BTC];
	long D = tensor_width(k), T = k->dims[1];

	for (long i = 0; i < tensor_size(k); i++)
		op_trial_set(t, k, i, op_trial_get(t, k, i) * (1 + (double)(i / D % T) / 16));
}

/* Of q, and of k and v: B, T, columns. */
#define QKV(b, t, d, c) [ATTENTION_Q_BTD] = {b, t, d}, [ATTENTION_K_BTC] = {b, t, c}, \
	[ATTENTION_V_BTC] = {b, t, c}

static const struct attention_attr one_head = {.n_heads = 1}, two_heads = {.n_heads = 2},
	three_heads = {.n_heads = 3}, window_of_5 = {.n_heads = 2, .window = 5},
	window_of_9 = {.n_heads = 1, .window = 9},
	window_of_70 = {.n_heads = 2, .window = 70}, two_keys = {.n_heads = 4, .n_kv_heads = 2},
	one_key = {.n_heads = 3, .n_kv_heads = 1, .window = 4},
	grouped_200 = {.n_heads = 6, .n_kv_heads = 2, .window = 200};

static const struct op_example examples[] = {
	{.name = "two heads", .attr = &two_heads, .in = {QKV(2, 7, 6, 6)}},
	{.name = "two tokens", .attr = &one_head, .in = {QKV(3, 2, 4, 4)}},
	{.name = "several tiles", .attr = &three_heads, .no_gradient_check = true,
		.in = {QKV(1, 333, 24, 24)}},
	{.name = "documents", .attr = &two_heads, .prepare = prepare_documents,
		.in = {QKV(2, 41, 6, 6), [ATTENTION_START_BT] = {2, 41}}},
	{.name = "a head of 80", .attr = &one_head, .in = {QKV(1, 5, 80, 80)}},
	{.name = "documents in heads of 64", .attr = &two_heads, .prepare = prepare_documents,
		.no_gradient_check = true, .in = {QKV(2, 161, 128, 128), [ATTENTION_START_BT] = {2, 161}}},
	{.name = "growing scores", .attr = &one_head, .prepare = growing, .no_gradient_check = true,
		.in = {QKV(1, 150, 16, 16)}},
	{.name = "documents in tiles", .attr = &one_head, .prepare = prepare_documents,
		.no_gradient_check = true, .in = {QKV(2, 651, 8, 8), [ATTENTION_START_BT] = {2, 651}}},
	{.name = "window", .attr = &window_of_5, .in = {QKV(2, 37, 6, 6)}},
	{.name = "window of the context", .attr = &window_of_9, .in = {QKV(2, 9, 4, 4)}},
	{.name = "grouped queries", .attr = &two_keys, .in = {QKV(2, 33, 12, 6)}},
	{.name = "one key head, window, documents", .attr = &one_key, .prepare = prepare_documents,
		.in = {QKV(2, 35, 9, 3), [ATTENTION_START_BT] = {2, 35}}},
	{.name = "window in tiles", .attr = &window_of_70, .no_gradient_check = true,
		.in = {QKV(1, 331, 32, 32)}},
	{.name = "grouped, wide window, documents, tiles", .attr = &grouped_200, .prepare = prepare_documents,
		.no_gradient_check = true, .in = {QKV(1, 397, 48, 16), [ATTENTION_START_BT] = {1, 397}}},
};

const struct op op_attention = {
	.name = "attention",
	.formula = "y_t = sum over s <= t of softmax_s(q_t . k_s / sqrt(dh)) v_s",
	.semantics = 1,
	.n_in = ATTENTION_N_IN,
	.n_out = ATTENTION_N_OUT,
	.n_saved = ATTENTION_N_SAVED,
	.in = {
		[ATTENTION_Q_BTD] = {"q", 0},
		[ATTENTION_K_BTC] = {"k", 0},
		[ATTENTION_V_BTC] = {"v", 0},
		[ATTENTION_START_BT] = {"start_BT", IN_OPTIONAL | IN_INDEX},
	},
	.out = {[ATTENTION_Y_BTD] = {"y", REAL, false}},
	.shape = attention_shape,
	.room = {[CPU] = room_cpu, [CUDA] = room_cuda},
	.cost = attention_cost,
	.backward_reads_in = READS(ATTENTION_Q_BTD) | READS(ATTENTION_K_BTC) |
		READS(ATTENTION_V_BTC) | READS(ATTENTION_START_BT),
	.backward_reads_out = READS(ATTENTION_Y_BTD),
	.forward = {[REF] = attention_forward_ref, [CPU] = attention_forward_cpu,
		[CUDA] = OP_CUDA(attention_forward_cuda)},
	.backward = {[REF] = attention_backward_ref, [CPU] = attention_backward_cpu,
		[CUDA] = OP_CUDA(attention_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
