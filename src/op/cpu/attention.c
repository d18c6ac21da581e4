/*
 * attention's kernels for the CPU (op/attention.h). Scores are made in tiles of queries by keys, as matrix
 * products; tiles that no query of theirs sees are left out.
 */
#include "op/cpu/attention.h"

#include <math.h>
#include <string.h>

#include "base/num.h"
#include "op/attention.h"
#include "op/document_start.h"
#include "op/kit/gemm.h"
#include "op/kit/vec.h"

/* In a window forward's tiles begin where the first query's does, on a multiple of QUERIES, and backward's,
   which all queries share, are narrower. */
enum { QUERIES = ATTENTION_QUERIES, KEYS = 256, BACKWARD_KEYS = 128, WINDOW_KEYS = 64 };

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

/* What a token sees. */
struct sight {
	const struct tensor *start;
	long reach, T;		/* tokens back; T or more: all */
};

static struct sight sight_of(const struct op_run *r)
{
	long T = r->in[ATTENTION_Q_BTD]->dims[1];

	return (struct sight){r->in[ATTENTION_START_BT], attention_reach(r->attr, T), T};
}

static bool windowed(const struct sight *s)
{
	return s->reach < s->T;
}

/* The first token that token t of sequence b sees. */
static long first_key(const struct sight *s, long b, long t)
{
	long first = first_seen(s->start, b, t);

	return max_long(t - s->reach, first);
}

/* The first tile of keys of which a query from `first` on sees any. */
static long first_tile(const struct sight *s, long b, long first, long tile)
{
	return first_key(s, b, first) / tile * tile;
}

/* Of n keys from `key` on, those in front of what token t sees. */
static long hidden_keys(const struct sight *s, long b, long t, long key, long n)
{
	long hidden = first_key(s, b, t) - key;

	return hidden < 0 ? 0 : min_long(hidden, n);
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
	long T = x->dims[1], dh = tensor_width(x) / attr->n_heads, rows = min_long(QUERIES, T - first);
	long shared = h / attention_group(attr);
	struct head q = head_of(x, b, h, dh), k = head_of(r->in[ATTENTION_K_BTC], b, shared, dh),
		v = head_of(r->in[ATTENTION_V_BTC], b, shared, dh),
		y = head_of(r->out[ATTENTION_Y_BTD], b, h, dh);
	struct sight sight = sight_of(r);
	long begin = first_tile(&sight, b, first, windowed(&sight) ? QUERIES : KEYS);
	float score[QUERIES * KEYS], maximum[QUERIES], sum[QUERIES] = {0};

	for (long i = 0; i < rows; i++)
		maximum[i] = -INFINITY;
	for (long key = begin; key < first + rows; key += KEYS) {
		long n = min_long(KEYS, first + rows - key);
		gemm(GEMM_N, GEMM_T, rows, n, dh, 1 / sqrtf((float)dh), at(q, first), q.ld,
			at(k, key), k.ld, 0, score, KEYS);
		for (long i = 0; i < rows; i++) {
			long hidden = hidden_keys(&sight, b, first + i, key, n);
			long seen = min_long(n, first + i + 1 - key);
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

void attention_forward_cpu(const struct op_run *r)
{
	const struct attention_attr *attr = r->attr;
	const struct tensor *x = r->in[ATTENTION_Q_BTD];
	long tiles = ceil_div(x->dims[1], QUERIES);

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
	struct sight sight;
	bool add_q, add_k, add_v;
	long b, T, dh, n_heads, tile;	/* keys of a tile */
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
	long rows = min_long(QUERIES, w->T - first), n = min_long(w->tile, first + rows - key);
	long dh = w->dh, ld = BACKWARD_KEYS;
	float p[QUERIES * BACKWARD_KEYS], ds[QUERIES * BACKWARD_KEYS], scale = 1 / sqrtf((float)dh);
	long begin = first_tile(&w->sight, w->b, first, w->tile);
	bool last = first + rows == w->T ||
		first_tile(&w->sight, w->b, first + rows, w->tile) > key;

	if (key < begin)
		return;
	gemm(GEMM_N, GEMM_T, rows, n, dh, scale, at(w->q, first), w->q.ld, at(w->k, key), w->k.ld,
		0, p, ld);
	gemm(GEMM_N, GEMM_T, rows, n, dh, 1, at(w->dy, first), w->dy.ld, at(w->v, key), w->v.ld,
		0, ds, ld);
	for (long i = 0; i < rows; i++)
		backward_row(p + i * ld, ds + i * ld, hidden_keys(&w->sight, w->b, first + i, key, n),
			min_long(n, first + i + 1 - key), n,
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

/* Head h; the first of a group writes dk and dv, the others add. */
static void backward_head(const struct op_run *r, long b, long h)
{
	const struct attention_attr *attr = r->attr;
	const struct tensor *x = r->in[ATTENTION_Q_BTD];
	long T = x->dims[1], dh = tensor_width(x) / attr->n_heads, group = attention_group(attr);
	bool more = h % group > 0;
	float *delta = (float *)r->workspace + (b * attr->n_heads + h) * T;
	struct backward w = {
		.q = head_of(x, b, h, dh),
		.k = head_of(r->in[ATTENTION_K_BTC], b, h / group, dh),
		.v = head_of(r->in[ATTENTION_V_BTC], b, h / group, dh),
		.dy = head_of(r->d_out[ATTENTION_Y_BTD], b, h, dh),
		.dq = head_of(r->d_in[ATTENTION_Q_BTD], b, h, dh),
		.dk = head_of(r->d_in[ATTENTION_K_BTC], b, h / group, dh),
		.dv = head_of(r->d_in[ATTENTION_V_BTC], b, h / group, dh),
		.lse = row_f32(r->saved[ATTENTION_LSE_BTH], b * T) + h,
		.delta = delta,
		.sight = sight_of(r),
		.add_q = op_adds(r, ATTENTION_Q_BTD),
		.add_k = op_adds(r, ATTENTION_K_BTC) || more,
		.add_v = op_adds(r, ATTENTION_V_BTC) || more,
		.b = b,
		.T = T,
		.dh = dh,
		.n_heads = attr->n_heads,
	};

	w.tile = windowed(&w.sight) ? WINDOW_KEYS : BACKWARD_KEYS;
	delta_rows(delta, w.dy, head_of(r->out[ATTENTION_Y_BTD], b, h, dh), T, dh);
	for (long key = 0; key < T; key += w.tile)
		for (long first = (T - 1) / QUERIES * QUERIES; first >= key; first -= QUERIES)
			backward_tile(&w, first, key);
}

void attention_backward_cpu(const struct op_run *r)
{
	const struct attention_attr *attr = r->attr;
	const struct tensor *x = r->in[ATTENTION_Q_BTD];
	long group = attention_group(attr);

	#pragma omp parallel for collapse(2) schedule(dynamic)
	for (long b = 0; b < x->dims[0]; b++)
		for (long shared = 0; shared < attr->n_heads / group; shared++)
			for (long i = 0; i < group; i++)
				backward_head(r, b, shared * group + i);
}
