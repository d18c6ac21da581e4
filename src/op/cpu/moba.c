/* A task is a sequence and a head of keys and values. */
#include "op/cpu/moba.h"
#include "op/kit/rows.h"

#include <math.h>
#include <string.h>

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

static void mean_of(const struct task *k, long last)
{
	long first = last - k->d.S + 1;
	float *mean = k->means + first / k->d.S * k->d.dh;

	memset(mean, 0, (size_t)k->d.dh * sizeof *mean);
	for (long s = first; s <= last; s++)
		row_add(mean, 1, 1, head_f32(k, k->run->in[MOBA_K_BTC], s, k->kv), k->d.dh);
	row_add(mean, 1 / (float)k->d.S, 0, mean, k->d.dh);
}

static void choose(const struct task *k, long h, long t)
{
	long start = start_of(k->run, &k->d, k->b, t), first = first_segment(&k->d, start, t);
	long n = k->d.earlier ? (t - start) / k->d.S - first : 0;
	const float *q = head_f32(k, k->run->in[MOBA_Q_BTD], t, h);
	float score[MOBA_MAX_SEGMENTS];
	int segment[MOBA_MAX_CHOSEN];

	for (long i = 0; i < n; i++)
		score[i] = row_dot(q, k->means + (start + (first + i) * k->d.S) / k->d.S * k->d.dh, k->d.dh);
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
			score[s - from] = row_dot(of_q, head_f32(k, r->in[MOBA_K_BTC], s, k->kv), k->d.dh) /
				sqrtf((float)k->d.dh);
			most = score[s - from] > most ? score[s - from] : most;
		}
		scale = vec_exp(before - most);
		sum *= scale;
		for (long s = from; s < to; s++) {
			float weight = vec_exp(score[s - from] - most);
			row_add(y, s == from ? scale : 1, weight, head_f32(k, r->in[MOBA_V_BTC], s, k->kv), k->d.dh);
			sum += weight;
		}
	}
	row_add(y, 1 / sum, 0, y, k->d.dh);
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

void moba_forward_cpu(const struct op_run *r)
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
	float delta = row_dot(dy, head_f32(k, r->out[MOBA_Y_BTD], q->t, q->h), k->d.dh);
	float *dq = gradient_at(k, MOBA_Q_BTD, q->t, q->h);
	long from, to;

	for (long i = 0; i <= q->n_segments; i++)
		for (range_of(q, k->d.S, i, &from, &to); from < to; from++) {
			const float *key = head_f32(k, r->in[MOBA_K_BTC], from, k->kv);
			float *dk = gradient_at(k, MOBA_K_BTC, from, k->kv);
			float *dv = gradient_at(k, MOBA_V_BTC, from, k->kv);
			float p = vec_exp(row_dot(of_q, key, k->d.dh) * root - lse);
			float ds = p * root * (row_dot(dy, head_f32(k, r->in[MOBA_V_BTC], from, k->kv), k->d.dh) - delta);
			if (dv)
				row_add(dv, 1, p, dy, k->d.dh);
			if (dk)
				row_add(dk, 1, ds, of_q, k->d.dh);
			if (dq)
				row_add(dq, 1, ds, key, k->d.dh);
		}
}

/* Gradients of the task's tokens begin at 0, or at what is there. */
static void clear_heads(const struct task *k, int input, long first, long n)
{
	for (long t = 0; k->run->d_in[input] && !op_adds(k->run, input) && t < k->d.T; t++)
		memset(gradient_at(k, input, t, first), 0, (size_t)(n * k->d.dh) * sizeof(float));
}

void moba_backward_cpu(const struct op_run *r)
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
