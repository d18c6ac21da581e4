#include "op/cpu/moba.h"

/* Of the segment that begins with token `first`; means lie in the task's room, [T / S][dh], by that token over S. */
static float *mean_at(const struct moba_task *k, long first)
{
	return k->room + first / k->d.S * k->d.dh;
}

static void choose(const struct moba_task *k, long h, long t)
{
	long start = start_of(k->run, &k->d, k->b, t), first = first_segment(&k->d, start, t);
	long n = k->d.earlier ? (t - start) / k->d.S - first : 0;
	const float *q = moba_head(k, k->run->in[MOBA_Q_BTD], t, h);
	float score[MOBA_MAX_SEGMENTS];
	int segment[MOBA_MAX_CHOSEN];

	for (long i = 0; i < n; i++)
		score[i] = row_dot(q, mean_at(k, start + (first + i) * k->d.S), k->d.dh);
	put_segments(segments_at(k->run, &k->d, k->b, h, t), k->d.earlier ? k->d.earlier : 1, segment,
		moba_choose(score, n, k->d.earlier, segment), first);
}

/* A tile is a segment. */
static void token(const struct moba_task *k, const struct query *q)
{
	const struct op_run *r = k->run;
	const float *of_q = moba_head(k, r->in[MOBA_Q_BTD], q->t, q->h);
	struct attend a = attend_begin(moba_head(k, r->out[MOBA_Y_BTD], q->t, q->h), k->d.dh);
	float score[MOBA_MAX_SEGMENT];
	long from, to;

	for (long i = 0; i <= q->n_segments; i++) {
		range_of(q, k->d.S, i, &from, &to);
		for (long s = from; s < to; s++)
			score[s - from] = row_dot(of_q, moba_head(k, r->in[MOBA_K_BTC], s, k->kv), k->d.dh) /
				sqrtf((float)k->d.dh);
		attend_scores(&a, score, to - from);
		for (long s = from; s < to; s++)
			attend_value(&a, score[s - from], moba_head(k, r->in[MOBA_V_BTC], s, k->kv));
	}
	row_add(a.y, 1 / a.sum, 0, a.y, k->d.dh);
	row_f32(r->saved[MOBA_LSE_BTH], k->b * k->d.T + q->t)[q->h] = a.most + logf(a.sum);
}

void moba_forward_cpu(const struct op_run *r)
{
	struct moba_dims d = moba_dims(r->in, r->attr);
	long group = d.H / d.KV;

	#pragma omp parallel for schedule(dynamic)
	for (long i = 0; i < d.B * d.KV; i++) {
		struct moba_task k = moba_task(r, i, ceil_div(d.T, d.S) * d.dh);
		for (long t = 0; t < d.T; t++) {
			if (ends_segment(r, &d, k.b, t))
				moba_mean(&k, MOBA_K_BTC, t, mean_at(&k, t - d.S + 1));
			if (t < d.idle)
				moba_clear(&k, r->out[MOBA_Y_BTD], t, k.kv * group, group);
			for (long h = k.kv * group; t >= d.idle && h < (k.kv + 1) * group; h++) {
				choose(&k, h, t);
				struct query q = query_of(r, &d, k.b, h, t);
				token(&k, &q);
			}
		}
	}
}

static void query_backward(const struct moba_task *k, const struct query *q)
{
	const struct op_run *r = k->run;
	struct attended a = moba_attended(k, r->saved[MOBA_LSE_BTH], q->t, q->h);
	long from, to;

	for (long i = 0; i <= q->n_segments; i++)
		for (range_of(q, k->d.S, i, &from, &to); from < to; from++)
			attended_row(&a, moba_head(k, r->in[MOBA_K_BTC], from, k->kv),
				moba_head(k, r->in[MOBA_V_BTC], from, k->kv),
				moba_head(k, r->d_in[MOBA_K_BTC], from, k->kv),
				moba_head(k, r->d_in[MOBA_V_BTC], from, k->kv));
}

void moba_backward_cpu(const struct op_run *r)
{
	struct moba_dims d = moba_dims(r->in, r->attr);
	long group = d.H / d.KV;

	#pragma omp parallel for schedule(dynamic)
	for (long i = 0; i < d.B * d.KV; i++) {
		struct moba_task k = moba_task(r, i, 0);
		moba_clear_gradients(&k);
		for (long t = d.idle; t < d.T; t++)
			for (long h = k.kv * group; h < (k.kv + 1) * group; h++) {
				struct query q = query_of(r, &d, k.b, h, t);
				query_backward(&k, &q);
			}
	}
}
