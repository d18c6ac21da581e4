#include "op/attention.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "op/document_start.h"
#include "op/kit/gemm.h"
#include "op/trial.h"
#include "op/kit/vec.h"

/* A tile of scores: queries by keys. Tiles of queries divide those of keys, so the first row of a
   tile sees at least the first of its keys. */
enum { QUERIES = 32, KEYS = 256, BACKWARD_KEYS = 128 };

static void attention_shape(struct op_shapes *s)
{
	const struct attention_attr *attr = s->attr;
	const struct tensor *q = s->in[ATTENTION_Q_BTD];

	CHECK(q->n_dims == 3 && tensor_width(q) % attr->n_heads == 0);
	CHECK(tensor_same_shape(q, s->in[ATTENTION_K_BTD]));
	CHECK(tensor_same_shape(q, s->in[ATTENTION_V_BTD]));
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

/* The causal half; with tiles, what lies above the diagonal in those that it cuts comes on top. A GPU's
   backward makes scores and dp twice. */
static void attention_cost(const struct op_shapes *s, struct op_cost *c)
{
	const struct attention_attr *attr = s->attr;
	const struct tensor *q = s->in[ATTENTION_Q_BTD];
	double heads = (double)q->dims[0] * attr->n_heads, T = (double)q->dims[1];
	double dh = (double)tensor_width(q) / attr->n_heads;
	double pairs = heads * T * (T + 1) / 2, tiled = heads * T * (T + QUERIES) / 2;
	double backward = op_device(s->device->id) == CUDA ? 14 * dh + 4 : 10 * dh + 2;

	c->forward_flops = pairs * (4 * dh + 1);
	c->backward_flops = pairs * (8 * dh + 1);
	c->executed_flops = tiled * (4 * dh + 1) + tiled * backward;
	c->forward_bytes = op_io_bytes(&op_attention, s);
	c->backward_bytes = 2 * c->forward_bytes;
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
	struct head_f64 q = head_ref(r->in[ATTENTION_Q_BTD], b, h, dh),
		k = head_ref(r->in[ATTENTION_K_BTD], b, h, dh),
		v = head_ref(r->in[ATTENTION_V_BTD], b, h, dh), y = head_ref(y_BTD, b, h, dh);
	double scale = 1 / sqrt((double)dh);

	for (long t = 0; t < y_BTD->dims[1]; t++) {
		long first = first_seen(r->in[ATTENTION_START_BT], b, t);
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
	long dh = tensor_width(x) / attr->n_heads;
	struct head_f64 in[3], y = head_ref(r->out[ATTENTION_Y_BTD], b, h, dh),
		dy = head_ref(r->d_out[ATTENTION_Y_BTD], b, h, dh);
	double scale = 1 / sqrt((double)dh);

	for (int i = 0; i < 3; i++)
		in[i] = head_ref(r->in[i], b, h, dh);
	struct head_f64 q = in[ATTENTION_Q_BTD], k = in[ATTENTION_K_BTD], v = in[ATTENTION_V_BTD];
	double p = exp(dot_ref(q, t, k, s, dh) * scale -
		row_f64(r->saved[ATTENTION_LSE_BTH], b * x->dims[1] + t)[h]);
	double ds = p * (dot_ref(dy, t, v, s, dh) - dot_ref(dy, t, y, t, dh)) * scale;
	for (long i = 0; i < dh; i++) {
		if (r->d_in[ATTENTION_Q_BTD])
			row_f64(r->d_in[ATTENTION_Q_BTD], b * x->dims[1] + t)[h * dh + i] +=
				ds * k.at[s * k.ld + i];
		if (r->d_in[ATTENTION_K_BTD])
			row_f64(r->d_in[ATTENTION_K_BTD], b * x->dims[1] + s)[h * dh + i] +=
				ds * q.at[t * q.ld + i];
		if (r->d_in[ATTENTION_V_BTD])
			row_f64(r->d_in[ATTENTION_V_BTD], b * x->dims[1] + s)[h * dh + i] +=
				p * dy.at[t * dy.ld + i];
	}
}

static void attention_backward_ref(const struct op_run *r)
{
	const struct attention_attr *attr = r->attr;
	const struct tensor *x = r->in[ATTENTION_Q_BTD];

	for (int i = ATTENTION_Q_BTD; i <= ATTENTION_V_BTD; i++)
		for (long t = 0; r->d_in[i] && !op_adds(r, i) && t < tensor_rows(x); t++)
			memset(row_f64(r->d_in[i], t), 0, (size_t)tensor_width(x) * sizeof(double));
	for (long b = 0; b < x->dims[0]; b++)
		for (long h = 0; h < attr->n_heads; h++)
			for (long t = 0; t < x->dims[1]; t++)
				for (long s = first_seen(r->in[ATTENTION_START_BT], b, t); s <= t; s++)
					backward_pair_ref(r, b, h, t, s);
}

/* One head of one sequence; at NULL where the tensor is absent. */
struct head {
	float *at;
	long ld;
};

static struct head head_of(const struct tensor *x, long b, long h, long dh)
{
	if (!x)
		return (struct head){0};
	return (struct head){row_f32(x, b * x->dims[1]) + h * dh, x->ld};
}

static float *at(struct head x, long t)
{
	return x.at + t * x.ld;
}

static long least(long a, long b)
{
	return a < b ? a : b;
}

/* The first tile of keys of which a query from `first` on sees any. */
static long first_tile(const struct tensor *start, long b, long first, long tile)
{
	return first_seen(start, b, first) / tile * tile;
}

/* Of n keys from `key` on, those in front of the document of token t. */
static long hidden_keys(const struct tensor *start, long b, long t, long key, long n)
{
	long hidden = first_seen(start, b, t) - key;

	return hidden < 0 ? 0 : least(hidden, n);
}

/* A row of `seen` scores out of n becomes exp(score - maximum) with zeros behind; maximum and sum
   run on from earlier tiles. Returns what the earlier sum was scaled with. */
static float softmax_row(float *score, long seen, long n, float *maximum, float *sum)
{
	float most = *maximum, total = 0;

	#pragma omp simd reduction(max:most)
	for (long s = 0; s < seen; s++)
		most = score[s] > most ? score[s] : most;
	#pragma omp simd reduction(+:total)
	for (long s = 0; s < seen; s++) {
		score[s] = vec_exp(score[s] - most);
		total += score[s];
	}
	for (long s = seen; s < n; s++)
		score[s] = 0;
	float scale = vec_exp(*maximum - most);
	*maximum = most;
	*sum = *sum * scale + total;
	return scale;
}

static void scale_row(float *y, float scale, long n)
{
	#pragma omp simd
	for (long i = 0; i < n; i++)
		y[i] *= scale;
}

/* Queries from `first` on of head h of sequence b. */
static void forward_tile(const struct op_run *r, long b, long h, long first)
{
	const struct attention_attr *attr = r->attr;
	const struct tensor *x = r->in[ATTENTION_Q_BTD];
	long T = x->dims[1], dh = tensor_width(x) / attr->n_heads, rows = least(QUERIES, T - first);
	struct head q = head_of(x, b, h, dh), k = head_of(r->in[ATTENTION_K_BTD], b, h, dh),
		v = head_of(r->in[ATTENTION_V_BTD], b, h, dh),
		y = head_of(r->out[ATTENTION_Y_BTD], b, h, dh);
	const struct tensor *start = r->in[ATTENTION_START_BT];
	long begin = first_tile(start, b, first, KEYS);
	float score[QUERIES * KEYS], maximum[QUERIES], sum[QUERIES] = {0};

	for (long i = 0; i < rows; i++)
		maximum[i] = -INFINITY;
	for (long key = begin; key < first + rows; key += KEYS) {
		long n = least(KEYS, first + rows - key);
		gemm(GEMM_N, GEMM_T, rows, n, dh, 1 / sqrtf((float)dh), at(q, first), q.ld,
			at(k, key), k.ld, 0, score, KEYS);
		for (long i = 0; i < rows; i++) {
			long hidden = hidden_keys(start, b, first + i, key, n);
			long seen = least(n, first + i + 1 - key);
			float *row = score + i * KEYS, scale;
			memset(row, 0, (size_t)hidden * sizeof *row);
			if (hidden == n)
				continue;
			scale = softmax_row(row + hidden, seen - hidden, n - hidden, &maximum[i],
				&sum[i]);
			if (key > begin)
				scale_row(at(y, first + i), scale, dh);
		}
		gemm(GEMM_N, GEMM_N, rows, dh, n, 1, score, KEYS, at(v, key), v.ld, key > begin,
			at(y, first), y.ld);
	}
	for (long i = 0; i < rows; i++) {
		float *lse = row_f32(r->saved[ATTENTION_LSE_BTH], b * T + first + i) + h;
		*lse = maximum[i] + logf(sum[i]);
		scale_row(at(y, first + i), 1 / sum[i], dh);
	}
}

static void attention_forward(const struct op_run *r)
{
	const struct attention_attr *attr = r->attr;
	const struct tensor *x = r->in[ATTENTION_Q_BTD];
	long tiles = (x->dims[1] + QUERIES - 1) / QUERIES;

	#pragma omp parallel for collapse(3) schedule(dynamic)
	for (long b = 0; b < x->dims[0]; b++)
		for (long h = 0; h < attr->n_heads; h++)
			for (long i = 0; i < tiles; i++)
				forward_tile(r, b, h, i * QUERIES);
}

/* What the tiles of one head share in backward. */
struct backward {
	struct head q, k, v, dy, dq, dk, dv;
	const float *lse, *delta;	/* of row t: lse[t * n_heads]; delta[t] = <dy_t, y_t> */
	const struct tensor *start;
	bool add_q, add_k, add_v;
	long b, T, dh, n_heads;
};

/* A row: scores become p, dp becomes ds = p (dp - delta); zeros in front of and behind the keys
   seen. */
static void backward_row(float *p, float *ds, long hidden, long seen, long n, float lse, float delta)
{
	for (long s = 0; s < hidden; s++)
		p[s] = ds[s] = 0;
	#pragma omp simd
	for (long s = hidden; s < seen; s++) {
		p[s] = vec_exp(p[s] - lse);
		ds[s] = p[s] * (ds[s] - delta);
	}
	for (long s = seen; s < n; s++)
		p[s] = ds[s] = 0;
}

/* Queries from `first` on against keys from `key` on. The first key tile that a query sees writes dq;
   the last query tile that sees a key tile comes first, reaches to its end or that of the sequence,
   and writes dk and dv; others add. */
static void backward_tile(const struct backward *w, long first, long key)
{
	long rows = least(QUERIES, w->T - first), n = least(BACKWARD_KEYS, first + rows - key);
	long dh = w->dh, ld = BACKWARD_KEYS;
	float p[QUERIES * BACKWARD_KEYS], ds[QUERIES * BACKWARD_KEYS], scale = 1 / sqrtf((float)dh);
	long begin = first_tile(w->start, w->b, first, BACKWARD_KEYS);
	bool last = first + rows == w->T ||
		first_tile(w->start, w->b, first + rows, BACKWARD_KEYS) > key;

	if (key < begin)
		return;
	gemm(GEMM_N, GEMM_T, rows, n, dh, scale, at(w->q, first), w->q.ld, at(w->k, key), w->k.ld,
		0, p, ld);
	gemm(GEMM_N, GEMM_T, rows, n, dh, 1, at(w->dy, first), w->dy.ld, at(w->v, key), w->v.ld,
		0, ds, ld);
	for (long i = 0; i < rows; i++)
		backward_row(p + i * ld, ds + i * ld, hidden_keys(w->start, w->b, first + i, key, n),
			least(n, first + i + 1 - key), n,
			w->lse[(first + i) * w->n_heads], w->delta[first + i]);
	if (w->dv.at)
		gemm(GEMM_T, GEMM_N, n, dh, rows, 1, p, ld, at(w->dy, first), w->dy.ld,
			!last || w->add_v, at(w->dv, key), w->dv.ld);
	if (w->dk.at)
		gemm(GEMM_T, GEMM_N, n, dh, rows, scale, ds, ld, at(w->q, first), w->q.ld,
			!last || w->add_k, at(w->dk, key), w->dk.ld);
	if (w->dq.at)
		gemm(GEMM_N, GEMM_N, rows, dh, n, scale, ds, ld, at(w->k, key), w->k.ld,
			key > begin || w->add_q, at(w->dq, first), w->dq.ld);
}

static void delta_rows(float *delta, struct head dy, struct head y, long T, long dh)
{
	for (long t = 0; t < T; t++) {
		const float *a = at(dy, t), *b = at(y, t);
		float sum = 0;
		#pragma omp simd reduction(+:sum)
		for (long i = 0; i < dh; i++)
			sum += a[i] * b[i];
		delta[t] = sum;
	}
}

static void backward_head(const struct op_run *r, long b, long h)
{
	const struct attention_attr *attr = r->attr;
	const struct tensor *x = r->in[ATTENTION_Q_BTD];
	long T = x->dims[1], dh = tensor_width(x) / attr->n_heads;
	float *delta = (float *)r->workspace + (b * attr->n_heads + h) * T;
	struct backward w = {
		.q = head_of(x, b, h, dh),
		.k = head_of(r->in[ATTENTION_K_BTD], b, h, dh),
		.v = head_of(r->in[ATTENTION_V_BTD], b, h, dh),
		.dy = head_of(r->d_out[ATTENTION_Y_BTD], b, h, dh),
		.dq = head_of(r->d_in[ATTENTION_Q_BTD], b, h, dh),
		.dk = head_of(r->d_in[ATTENTION_K_BTD], b, h, dh),
		.dv = head_of(r->d_in[ATTENTION_V_BTD], b, h, dh),
		.lse = row_f32(r->saved[ATTENTION_LSE_BTH], b * T) + h,
		.delta = delta,
		.start = r->in[ATTENTION_START_BT],
		.add_q = op_adds(r, ATTENTION_Q_BTD),
		.add_k = op_adds(r, ATTENTION_K_BTD),
		.add_v = op_adds(r, ATTENTION_V_BTD),
		.b = b,
		.T = T,
		.dh = dh,
		.n_heads = attr->n_heads,
	};

	delta_rows(delta, w.dy, head_of(r->out[ATTENTION_Y_BTD], b, h, dh), T, dh);
	for (long key = 0; key < T; key += BACKWARD_KEYS)
		for (long first = (T - 1) / QUERIES * QUERIES; first >= key; first -= QUERIES)
			backward_tile(&w, first, key);
}

static void attention_backward(const struct op_run *r)
{
	const struct attention_attr *attr = r->attr;
	const struct tensor *x = r->in[ATTENTION_Q_BTD];

	#pragma omp parallel for collapse(2) schedule(dynamic)
	for (long b = 0; b < x->dims[0]; b++)
		for (long h = 0; h < attr->n_heads; h++)
			backward_head(r, b, h);
}

static void documents(const struct op_trial *t)
{
	document_start_example(t, t->in[ATTENTION_START_BT]);
}

/* Keys of growing length, so that maxima move on from tile to tile. */
static void growing(const struct op_trial *t)
{
	const struct tensor *k = t->in[ATTENTION_K_BTD];
	long D = tensor_width(k), T = k->dims[1];

	for (long i = 0; i < tensor_size(k); i++)
		op_trial_set(t, k, i, op_trial_get(t, k, i) * (1 + (double)(i / D % T) / 16));
}

static const struct attention_attr one_head = {1}, two_heads = {2}, three_heads = {3};

static const struct op_example examples[] = {
	{.name = "two heads", .attr = &two_heads, .in = {[ATTENTION_Q_BTD] = {2, 7, 6},
		[ATTENTION_K_BTD] = {2, 7, 6}, [ATTENTION_V_BTD] = {2, 7, 6}}},
	{.name = "two tokens", .attr = &one_head, .in = {[ATTENTION_Q_BTD] = {3, 2, 4},
		[ATTENTION_K_BTD] = {3, 2, 4}, [ATTENTION_V_BTD] = {3, 2, 4}}},
	{.name = "several tiles", .attr = &three_heads, .no_gradient_check = true,
		.in = {[ATTENTION_Q_BTD] = {1, 333, 24}, [ATTENTION_K_BTD] = {1, 333, 24},
			[ATTENTION_V_BTD] = {1, 333, 24}}},
	{.name = "documents", .attr = &two_heads, .prepare = documents,
		.in = {[ATTENTION_Q_BTD] = {2, 41, 6}, [ATTENTION_K_BTD] = {2, 41, 6},
			[ATTENTION_V_BTD] = {2, 41, 6}, [ATTENTION_START_BT] = {2, 41}}},
	{.name = "a head of 80", .attr = &one_head, .in = {[ATTENTION_Q_BTD] = {1, 5, 80},
		[ATTENTION_K_BTD] = {1, 5, 80}, [ATTENTION_V_BTD] = {1, 5, 80}}},
	{.name = "documents in heads of 64", .attr = &two_heads, .prepare = documents,
		.no_gradient_check = true,
		.in = {[ATTENTION_Q_BTD] = {2, 161, 128}, [ATTENTION_K_BTD] = {2, 161, 128},
			[ATTENTION_V_BTD] = {2, 161, 128}, [ATTENTION_START_BT] = {2, 161}}},
	{.name = "growing scores", .attr = &one_head, .prepare = growing, .no_gradient_check = true,
		.in = {[ATTENTION_Q_BTD] = {1, 150, 16}, [ATTENTION_K_BTD] = {1, 150, 16},
			[ATTENTION_V_BTD] = {1, 150, 16}}},
	{.name = "documents in tiles", .attr = &one_head, .prepare = documents,
		.no_gradient_check = true,
		.in = {[ATTENTION_Q_BTD] = {2, 651, 8}, [ATTENTION_K_BTD] = {2, 651, 8},
			[ATTENTION_V_BTD] = {2, 651, 8}, [ATTENTION_START_BT] = {2, 651}}},
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
		[ATTENTION_K_BTD] = {"k", 0},
		[ATTENTION_V_BTD] = {"v", 0},
		[ATTENTION_START_BT] = {"start_BT", IN_OPTIONAL | IN_INDEX},
	},
	.out = {[ATTENTION_Y_BTD] = {"y", REAL, false}},
	.shape = attention_shape,
	.room = {[CPU] = room_cpu, [CUDA] = room_cuda},
	.cost = attention_cost,
	.backward_reads_in = READS(ATTENTION_Q_BTD) | READS(ATTENTION_K_BTD) |
		READS(ATTENTION_V_BTD) | READS(ATTENTION_START_BT),
	.backward_reads_out = READS(ATTENTION_Y_BTD),
	.forward = {[REF] = attention_forward_ref, [CPU] = attention_forward,
		[CUDA] = OP_CUDA(attention_forward_cuda)},
	.backward = {[REF] = attention_backward_ref, [CPU] = attention_backward,
		[CUDA] = OP_CUDA(attention_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
