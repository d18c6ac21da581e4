#include "op/moba.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/num.h"
#include "op/document_start.h"
#include "op/kit/vec.h"
#include "op/moba_kernels.h"
#include "op/trial.h"

struct moba_dims moba_dims(const struct tensor *const *in, const struct moba_attr *attr)
{
	const struct tensor *q = in[MOBA_Q_BTD];

	return (struct moba_dims){q->dims[0], q->dims[1], attr->n_heads,
		attr->n_kv_heads ? attr->n_kv_heads : attr->n_heads, q->dims[2] / attr->n_heads, attr->segment,
		attr->chosen - 1, attr->idle};
}

void moba_shape(struct op_shapes *s)
{
	const struct moba_attr *attr = s->attr;
	const struct tensor *q = s->in[MOBA_Q_BTD], *k = s->in[MOBA_K_BTC];
	struct moba_dims d;

	CHECK(q->n_dims == 3 && k->n_dims == 3 && tensor_same_shape(k, s->in[MOBA_V_BTC]));
	d = moba_dims(s->in, attr);
	CHECK(q->dims[2] == d.H * d.dh && d.H % d.KV == 0 && tensor_width(k) == d.KV * d.dh);
	CHECK(k->dims[0] == d.B && k->dims[1] == d.T && attr->chosen >= 1 && attr->chosen <= MOBA_MAX_CHOSEN);
	CHECK(attr->segment >= 1 && attr->segment <= MOBA_MAX_SEGMENT);
	CHECK(attr->idle >= 0 && attr->idle < d.T);
	op_shape_same(s);
}

static void shape(struct op_shapes *s)
{
	struct moba_dims d = moba_dims(s->in, s->attr);

	moba_shape(s);
	CHECK(ceil_div(d.T, d.S) <= MOBA_MAX_SEGMENTS);
	s->saved[MOBA_LSE_BTH] = tensor_of(MASTER, 3, d.B, d.T, d.H);
	s->saved[MOBA_SEGMENTS_BTM] = tensor_of(INDEX, 3, d.B, d.T, d.H * (d.earlier ? d.earlier : 1));
}

/* Means of whole segments, by the first token over S: [B, T / S, C]. On the GPU backward: dy . y of each head. */
static void room(struct op_shapes *s)
{
	struct moba_dims d = moba_dims(s->in, s->attr);

	s->forward_workspace = (size_t)(d.B * ceil_div(d.T, d.S) * d.KV * d.dh) * sizeof(float);
	s->backward_workspace = (size_t)(d.B * d.T * d.H) * sizeof(float);
}

/* As if no document began: keys of the own segment, half of it, and of as many others as there are. */
static void moba_cost(const struct op_shapes *s, struct op_cost *c)
{
	struct moba_dims d = moba_dims(s->in, s->attr);
	double T = (double)d.T, S = (double)d.S, keys = 0, means = 0, bytes = op_io_bytes(&op_moba, s);

	for (double at = (double)d.idle; at < T; at += S) {
		double n = at + S < T ? S : T - at, others = (d.idle ? (double)d.idle : at) / S;
		keys += n * ((n + 1) / 2 + S * (others < (double)d.earlier ? others : (double)d.earlier));
		means += n * others;
	}
	keys *= (double)(d.B * d.H);
	means *= (double)(d.B * d.H * 2 * d.dh);
	c->forward_flops = keys * (4 * (double)d.dh + 1) + means;
	c->backward_flops = keys * (8 * (double)d.dh + 2);
	c->executed_flops = c->forward_flops + keys * (10 * (double)d.dh + 3);
	c->forward_bytes = bytes;
	c->backward_bytes = 2 * bytes;
}

/* A token's query, and the segments that it sees: earlier ones, then its own, up to itself. */
struct query {
	long b, h, t, start, own;	/* own: number of its segment in the document */
	long least;			/* the first token that it may see */
	const int *segments;
	long n_segments;
};

/* Tokens [*from, *to) of the i-th segment that is seen, i <= n_segments. */
static void range_of(const struct query *q, long S, long i, long *from, long *to)
{
	*from = max_long(q->start + (i < q->n_segments ? q->segments[i] : q->own) * S, q->least);
	*to = i < q->n_segments ? *from + S : q->t + 1;
}

/* Where the document of token t begins; of idle rows those of the first query's count. */
static long start_of(const struct op_run *r, const struct moba_dims *d, long b, long t)
{
	return first_seen(r->in[MOBA_START_BT], b, max_long(t, d->idle));
}

static long least_seen(const struct moba_dims *d, long start, long t)
{
	return max_long(start, d->idle ? t - d->idle : 0);
}

/* Number in its document of the first segment that lies whole in what token t sees. */
static long first_segment(const struct moba_dims *d, long start, long t)
{
	return ceil_div(least_seen(d, start, t) - start, d->S);
}

static struct query query_of(const struct op_run *r, const struct moba_dims *d, long b, long h, long t)
{
	struct query q = {.b = b, .h = h, .t = t, .start = start_of(r, d, b, t)};

	q.own = (t - q.start) / d->S;
	q.least = least_seen(d, q.start, t);
	q.segments = row_int(r->saved[MOBA_SEGMENTS_BTM], b * d->T + t) + h * (d->earlier ? d->earlier : 1);
	while (q.n_segments < d->earlier && q.segments[q.n_segments] >= 0)
		q.n_segments++;
	return q;
}

/* Does a whole segment end with token t? */
static bool ends_segment(const struct op_run *r, const struct moba_dims *d, long b, long t)
{
	long start = start_of(r, d, b, t);

	return (t - start) % d->S == d->S - 1 && t - d->S + 1 >= max_long(start, 0);
}

static int *segments_at(const struct op_run *r, const struct moba_dims *d, long b, long h, long t)
{
	return row_int(r->saved[MOBA_SEGMENTS_BTM], b * d->T + t) + h * (d->earlier ? d->earlier : 1);
}

/* The n chosen ones, counted from `first`. */
static void put_segments(int *to, long room, const int *segment, int n, long first)
{
	for (long i = 0; i < room; i++)
		to[i] = i < n ? (int)first + segment[i] : -1;
}

/* ---- reference ------------------------------------------------------------------------------ */

static const double *head_f64(const struct tensor *x, const struct moba_dims *d, long b, long t, long h)
{
	return row_f64(x, b * d->T + t) + h * d->dh;
}

static long kv_head(const struct moba_dims *d, long h)
{
	return h / (d->H / d->KV);
}

static double dot_f64(const double *a, const double *b, long n)
{
	double sum = 0;

	for (long i = 0; i < n; i++)
		sum += a[i] * b[i];
	return sum;
}

static void choose_ref(const struct op_run *r, const struct moba_dims *d, long b, long h, long t)
{
	long start = start_of(r, d, b, t), first = first_segment(d, start, t), n = (t - start) / d->S - first;
	float score[MOBA_MAX_SEGMENTS];
	int segment[MOBA_MAX_CHOSEN];

	for (long i = 0; i < n; i++) {
		double sum = 0;
		for (long s = start + (first + i) * d->S; s < start + (first + i + 1) * d->S; s++)
			sum += dot_f64(head_f64(r->in[MOBA_Q_BTD], d, b, t, h),
				head_f64(r->in[MOBA_K_BTC], d, b, s, kv_head(d, h)), d->dh) / (double)d->S;
		score[i] = (float)sum;
	}
	put_segments(segments_at(r, d, b, h, t), d->earlier ? d->earlier : 1, segment,
		moba_choose(score, n, d->earlier, segment), first);
}

static double score_ref(const struct op_run *r, const struct moba_dims *d, const struct query *q, long s)
{
	return dot_f64(head_f64(r->in[MOBA_Q_BTD], d, q->b, q->t, q->h),
		head_f64(r->in[MOBA_K_BTC], d, q->b, s, kv_head(d, q->h)), d->dh) / sqrt((double)d->dh);
}

static void token_ref(const struct op_run *r, const struct moba_dims *d, const struct query *q)
{
	double *y = row_f64(r->out[MOBA_Y_BTD], q->b * d->T + q->t) + q->h * d->dh, most = -INFINITY, sum = 0;
	long from, to;

	for (long i = 0; i <= q->n_segments; i++)
		for (range_of(q, d->S, i, &from, &to); from < to; from++)
			most = fmax(most, score_ref(r, d, q, from));
	for (long i = 0; i <= q->n_segments; i++)
		for (range_of(q, d->S, i, &from, &to); from < to; from++)
			sum += exp(score_ref(r, d, q, from) - most);
	row_f64(r->saved[MOBA_LSE_BTH], q->b * d->T + q->t)[q->h] = most + log(sum);
	for (long c = 0; c < d->dh; c++)
		y[c] = 0;
	for (long i = 0; i <= q->n_segments; i++)
		for (range_of(q, d->S, i, &from, &to); from < to; from++)
			for (long c = 0; c < d->dh; c++)
				y[c] += exp(score_ref(r, d, q, from) - most) / sum *
					head_f64(r->in[MOBA_V_BTC], d, q->b, from, kv_head(d, q->h))[c];
}

static void moba_forward_ref(const struct op_run *r)
{
	struct moba_dims d = moba_dims(r->in, r->attr);

	for (long k = 0; k < d.B * d.T * d.H; k++) {
		long b = k / d.H / d.T, t = k / d.H % d.T, h = k % d.H;
		if (t < d.idle) {
			memset(row_f64(r->out[MOBA_Y_BTD], b * d.T + t) + h * d.dh, 0, (size_t)d.dh * sizeof(double));
			continue;
		}
		choose_ref(r, &d, b, h, t);
		struct query q = query_of(r, &d, b, h, t);
		token_ref(r, &d, &q);
	}
}

static void clear_gradient(const struct op_run *r, int input)
{
	const struct tensor *d = r->d_in[input];

	for (long k = 0; d && !op_adds(r, input) && k < tensor_size(d); k++)
		row_f64(d, k / tensor_width(d))[k % tensor_width(d)] = 0;
}

static void add_f64(const struct op_run *r, const struct moba_dims *d, int input, long b, long t, long h,
	double scale, const double *x)
{
	for (long c = 0; r->d_in[input] && c < d->dh; c++)
		row_f64(r->d_in[input], b * d->T + t)[h * d->dh + c] += scale * x[c];
}

static void key_backward_ref(const struct op_run *r, const struct moba_dims *d, const struct query *q, long s)
{
	const double *dy = head_f64(r->d_out[MOBA_Y_BTD], d, q->b, q->t, q->h);
	long kv = kv_head(d, q->h);
	double p = exp(score_ref(r, d, q, s) - row_f64(r->saved[MOBA_LSE_BTH], q->b * d->T + q->t)[q->h]);
	double dp = dot_f64(dy, head_f64(r->in[MOBA_V_BTC], d, q->b, s, kv), d->dh) -
		dot_f64(dy, head_f64(r->out[MOBA_Y_BTD], d, q->b, q->t, q->h), d->dh);

	add_f64(r, d, MOBA_V_BTC, q->b, s, kv, p, dy);
	add_f64(r, d, MOBA_Q_BTD, q->b, q->t, q->h, p * dp / sqrt((double)d->dh),
		head_f64(r->in[MOBA_K_BTC], d, q->b, s, kv));
	add_f64(r, d, MOBA_K_BTC, q->b, s, kv, p * dp / sqrt((double)d->dh),
		head_f64(r->in[MOBA_Q_BTD], d, q->b, q->t, q->h));
}

static void moba_backward_ref(const struct op_run *r)
{
	struct moba_dims d = moba_dims(r->in, r->attr);

	for (int i = 0; i < MOBA_START_BT; i++)
		clear_gradient(r, i);
	for (long k = 0; k < d.B * d.T * d.H; k++) {
		struct query q;
		long from, to;
		if (k / d.H % d.T < d.idle)
			continue;
		q = query_of(r, &d, k / d.H / d.T, k % d.H, k / d.H % d.T);
		for (long i = 0; i <= q.n_segments; i++)
			for (range_of(&q, d.S, i, &from, &to); from < to; from++)
				key_backward_ref(r, &d, &q, from);
	}
}

/* ---- cpu: a task is a sequence and a head of keys and values --------------------------------- */

struct task {
	const struct op_run *run;
	struct moba_dims d;
	long b, kv;
	float *means;		/* [T / S][dh], by the first token over S */
};

static float *head_f32(const struct task *k, const struct tensor *x, long t, long h)
{
	return row_f32(x, k->b * k->d.T + t) + h * k->d.dh;
}

static float dot(const float *a, const float *b, long n)
{
	float sum = 0;

	#pragma omp simd reduction(+:sum)
	for (long i = 0; i < n; i++)
		sum += a[i] * b[i];
	return sum;
}

/* y <- scale y + weight x */
static void add_row(float *y, float scale, float weight, const float *x, long n)
{
	#pragma omp simd
	for (long i = 0; i < n; i++)
		y[i] = scale * y[i] + weight * x[i];
}

static void mean_of(const struct task *k, long last)
{
	long first = last - k->d.S + 1;
	float *mean = k->means + first / k->d.S * k->d.dh;

	memset(mean, 0, (size_t)k->d.dh * sizeof *mean);
	for (long s = first; s <= last; s++)
		add_row(mean, 1, 1, head_f32(k, k->run->in[MOBA_K_BTC], s, k->kv), k->d.dh);
	add_row(mean, 1 / (float)k->d.S, 0, mean, k->d.dh);
}

static void choose(const struct task *k, long h, long t)
{
	long start = start_of(k->run, &k->d, k->b, t), first = first_segment(&k->d, start, t);
	long n = k->d.earlier ? (t - start) / k->d.S - first : 0;
	const float *q = head_f32(k, k->run->in[MOBA_Q_BTD], t, h);
	float score[MOBA_MAX_SEGMENTS];
	int segment[MOBA_MAX_CHOSEN];

	for (long i = 0; i < n; i++)
		score[i] = dot(q, k->means + (start + (first + i) * k->d.S) / k->d.S * k->d.dh, k->d.dh);
	put_segments(segments_at(k->run, &k->d, k->b, h, t), k->d.earlier ? k->d.earlier : 1, segment,
		moba_choose(score, n, k->d.earlier, segment), first);
}

/* Running maximum and sum, as in op/attention.c, from segment to segment. */
static void token(const struct task *k, const struct query *q)
{
	const struct op_run *r = k->run;
	const float *of_q = head_f32(k, r->in[MOBA_Q_BTD], q->t, q->h);
	float *y = head_f32(k, r->out[MOBA_Y_BTD], q->t, q->h), most = -INFINITY, sum = 0, score[MOBA_MAX_SEGMENT];
	long from, to;

	memset(y, 0, (size_t)k->d.dh * sizeof *y);
	for (long i = 0; i <= q->n_segments; i++) {
		float before = most, scale;
		range_of(q, k->d.S, i, &from, &to);
		for (long s = from; s < to; s++) {
			score[s - from] = dot(of_q, head_f32(k, r->in[MOBA_K_BTC], s, k->kv), k->d.dh) /
				sqrtf((float)k->d.dh);
			most = score[s - from] > most ? score[s - from] : most;
		}
		scale = vec_exp(before - most);
		sum *= scale;
		for (long s = from; s < to; s++) {
			float weight = vec_exp(score[s - from] - most);
			add_row(y, s == from ? scale : 1, weight, head_f32(k, r->in[MOBA_V_BTC], s, k->kv), k->d.dh);
			sum += weight;
		}
	}
	add_row(y, 1 / sum, 0, y, k->d.dh);
	row_f32(r->saved[MOBA_LSE_BTH], k->b * k->d.T + q->t)[q->h] = most + logf(sum);
}

static struct task task_of(const struct op_run *r, long i)
{
	struct task k = {.run = r, .d = moba_dims(r->in, r->attr)};

	k.b = i / k.d.KV;
	k.kv = i % k.d.KV;
	k.means = (float *)r->workspace + i * ceil_div(k.d.T, k.d.S) * k.d.dh;
	return k;
}

static void moba_forward(const struct op_run *r)
{
	struct moba_dims d = moba_dims(r->in, r->attr);

	#pragma omp parallel for schedule(dynamic)
	for (long i = 0; i < d.B * d.KV; i++) {
		struct task k = task_of(r, i);
		long group = d.H / d.KV;
		for (long t = 0; t < d.T; t++) {
			if (ends_segment(r, &d, k.b, t))
				mean_of(&k, t);
			for (long h = k.kv * group; h < (k.kv + 1) * group; h++) {
				if (t < d.idle) {
					memset(head_f32(&k, r->out[MOBA_Y_BTD], t, h), 0, (size_t)d.dh * sizeof(float));
					continue;
				}
				choose(&k, h, t);
				struct query q = query_of(r, &d, k.b, h, t);
				token(&k, &q);
			}
		}
	}
}

static float *gradient_at(const struct task *k, int input, long t, long h)
{
	return k->run->d_in[input] ? head_f32(k, k->run->d_in[input], t, h) : NULL;
}

static void query_backward(const struct task *k, const struct query *q)
{
	const struct op_run *r = k->run;
	const float *of_q = head_f32(k, r->in[MOBA_Q_BTD], q->t, q->h);
	const float *dy = head_f32(k, r->d_out[MOBA_Y_BTD], q->t, q->h);
	float lse = row_f32(r->saved[MOBA_LSE_BTH], k->b * k->d.T + q->t)[q->h], root = 1 / sqrtf((float)k->d.dh);
	float delta = dot(dy, head_f32(k, r->out[MOBA_Y_BTD], q->t, q->h), k->d.dh);
	float *dq = gradient_at(k, MOBA_Q_BTD, q->t, q->h);
	long from, to;

	for (long i = 0; i <= q->n_segments; i++)
		for (range_of(q, k->d.S, i, &from, &to); from < to; from++) {
			const float *key = head_f32(k, r->in[MOBA_K_BTC], from, k->kv);
			float *dk = gradient_at(k, MOBA_K_BTC, from, k->kv);
			float *dv = gradient_at(k, MOBA_V_BTC, from, k->kv);
			float p = vec_exp(dot(of_q, key, k->d.dh) * root - lse);
			float ds = p * root * (dot(dy, head_f32(k, r->in[MOBA_V_BTC], from, k->kv), k->d.dh) - delta);
			if (dv)
				add_row(dv, 1, p, dy, k->d.dh);
			if (dk)
				add_row(dk, 1, ds, of_q, k->d.dh);
			if (dq)
				add_row(dq, 1, ds, key, k->d.dh);
		}
}

/* Gradients of the task's tokens begin at 0, or at what is there. */
static void clear_heads(const struct task *k, int input, long first, long n)
{
	for (long t = 0; k->run->d_in[input] && !op_adds(k->run, input) && t < k->d.T; t++)
		memset(gradient_at(k, input, t, first), 0, (size_t)(n * k->d.dh) * sizeof(float));
}

static void moba_backward(const struct op_run *r)
{
	struct moba_dims d = moba_dims(r->in, r->attr);

	#pragma omp parallel for schedule(dynamic)
	for (long i = 0; i < d.B * d.KV; i++) {
		struct task k = {.run = r, .d = d, .b = i / d.KV, .kv = i % d.KV};
		long group = d.H / d.KV;
		clear_heads(&k, MOBA_Q_BTD, k.kv * group, group);
		clear_heads(&k, MOBA_K_BTC, k.kv, 1);
		clear_heads(&k, MOBA_V_BTC, k.kv, 1);
		for (long t = d.idle; t < d.T; t++)
			for (long h = k.kv * group; h < (k.kv + 1) * group; h++) {
				struct query q = query_of(r, &d, k.b, h, t);
				query_backward(&k, &q);
			}
	}
}

static void prepare(const struct op_trial *t)
{
	if (t->in[MOBA_START_BT])
		document_start_example(t, t->in[MOBA_START_BT]);
}

/* 30 idle rows; documents that began long before, in the idle rows, with the first query and behind it, and a last
   row that is not there. */
static void prepare_idle(const struct op_trial *t)
{
	static const int began[] = {-41, 7, 30};
	const struct tensor *start = t->in[MOBA_START_BT];
	long T = tensor_width(start);

	for (long b = 0; b < tensor_rows(start); b++)
		for (long i = 0; i < T; i++)
			op_trial_set(t, start, b * T + i, i < 30 ? -1 : i == T - 1 ? (double)i : i < 39 + 5 * b ? began[b]
				: (double)(39 + 5 * b));
}

static const struct moba_attr idle = {4, 2, 4, 3, 30};
static const struct moba_attr plain = {2, 0, 3, 2, 0}, shared = {4, 2, 5, 3, 0}, alone = {1, 0, 4, 1, 0},
	wide = {2, 1, 64, 3, 0};

#define SHAPES(B, T, D, C) [MOBA_Q_BTD] = {B, T, D}, [MOBA_K_BTC] = {B, T, C}, [MOBA_V_BTC] = {B, T, C}

static const struct op_example examples[] = {
	{.name = "plain", .attr = &plain, .prepare = prepare, .in = {SHAPES(2, 11, 6, 6)}},
	{.name = "shared keys", .attr = &shared, .prepare = prepare, .in = {SHAPES(1, 37, 12, 6)}},
	{.name = "own segment alone", .attr = &alone, .prepare = prepare, .in = {SHAPES(2, 10, 3, 3)}},
	{.name = "documents", .attr = &plain, .prepare = prepare,
		.in = {SHAPES(2, 40, 8, 8), [MOBA_START_BT] = {2, 40}}},
	{.name = "a window", .attr = &idle, .prepare = prepare_idle,
		.in = {SHAPES(3, 54, 12, 6), [MOBA_START_BT] = {3, 54}}},
	{.name = "wide", .attr = &wide, .prepare = prepare, .no_gradient_check = true,
		.in = {SHAPES(1, 300, 80, 40)}},
};

const struct op op_moba = {
	.name = "moba",
	.formula = "attention over the own segment and those whose mean key has the largest q . mean(k)",
	.semantics = 1,
	.n_in = MOBA_N_IN,
	.n_out = MOBA_N_OUT,
	.n_saved = MOBA_N_SAVED,
	.in = {
		[MOBA_Q_BTD] = {"q", 0},
		[MOBA_K_BTC] = {"k", 0},
		[MOBA_V_BTC] = {"v", 0},
		[MOBA_START_BT] = {"start_BT", IN_OPTIONAL | IN_INDEX},
	},
	.out = {[MOBA_Y_BTD] = {"y", REAL, false}},
	.shape = shape,
	.room = {[CPU] = room, [CUDA] = room},
	.cost = moba_cost,
	.backward_reads_in = READS(MOBA_N_IN) - 1,	/* all of them */
	.backward_reads_out = READS(MOBA_Y_BTD),
	.forward = {[REF] = moba_forward_ref, [CPU] = moba_forward, [CUDA] = OP_CUDA(moba_forward_cuda)},
	.backward = {[REF] = moba_backward_ref, [CPU] = moba_backward, [CUDA] = OP_CUDA(moba_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
