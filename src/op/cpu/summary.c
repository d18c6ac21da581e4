#include "op/cpu/summary.h"

enum { TILE = 64 };	/* rows between two changes of the running maximum */

static float *summary_at(const struct moba_task *k, int saved, long first)
{
	return row_f32(k->run->saved[saved], summary_row(&k->d, k->b, first)) + k->kv * k->d.dh;
}

/* Row j of what a query sees. */
static const float *row_at(const struct moba_task *k, const struct sight *seen, int saved, int input, long j)
{
	return j < seen->n ? summary_at(k, saved, seen->first + j * k->d.S)
		: moba_head(k, k->run->in[input], seen->own + j - seen->n, k->kv);
}

static void token(const struct moba_task *k, const struct sight *seen, long t, long h)
{
	const struct op_run *r = k->run;
	const float *q = moba_head(k, r->in[MOBA_Q_BTD], t, h);
	struct attend a = attend_begin(moba_head(k, r->out[MOBA_Y_BTD], t, h), k->d.dh);
	float score[TILE];

	for (long from = 0; from < seen->n_rows; from += TILE) {
		long to = min_long(from + TILE, seen->n_rows);
		for (long j = from; j < to; j++)
			score[j - from] = row_dot(q, row_at(k, seen, SUMMARY_KEYS_BNC, MOBA_K_BTC, j), k->d.dh) /
				sqrtf((float)k->d.dh);
		attend_scores(&a, score, to - from);
		for (long j = from; j < to; j++)
			attend_value(&a, score[j - from], row_at(k, seen, SUMMARY_VALUES_BNC, MOBA_V_BTC, j));
	}
	row_add(a.y, 1 / a.sum, 0, a.y, k->d.dh);
	row_f32(r->saved[SUMMARY_LSE_BTH], k->b * k->d.T + t)[h] = a.most + logf(a.sum);
}

void summary_forward_cpu(const struct op_run *r)
{
	struct moba_dims d = moba_dims(r->in, r->attr);
	long group = d.H / d.KV;

	#pragma omp parallel for schedule(dynamic)
	for (long i = 0; i < d.B * d.KV; i++) {
		struct moba_task k = moba_task(r, i, 0);
		for (long t = 0; t < d.T; t++) {
			struct sight seen = sight_of(r, &d, k.b, t);
			if (ends_segment(r, &d, k.b, t)) {
				moba_mean(&k, MOBA_K_BTC, t, summary_at(&k, SUMMARY_KEYS_BNC, t - d.S + 1));
				moba_mean(&k, MOBA_V_BTC, t, summary_at(&k, SUMMARY_VALUES_BNC, t - d.S + 1));
			}
			if (t < d.idle)
				moba_clear(&k, r->out[MOBA_Y_BTD], t, k.kv * group, group);
			for (long h = k.kv * group; t >= d.idle && h < (k.kv + 1) * group; h++)
				token(&k, &seen, t, h);
		}
	}
}

/* Gradients of a task's summaries, of keys and then of values, [T / S][dh] each, in its room. */
static long gradient_floats(const struct moba_dims *d)
{
	return ceil_div(d->T, d->S) * d->dh;
}

static float *summary_gradient(const struct moba_task *k, int input, long first)
{
	return k->room + (input == MOBA_V_BTC ? gradient_floats(&k->d) : 0) + first / k->d.S * k->d.dh;
}

/* Where the gradient of row j is summed up: of a summary always, of a token if somebody wants it. */
static float *gradient_at(const struct moba_task *k, const struct sight *seen, int input, long j)
{
	return j < seen->n ? summary_gradient(k, input, seen->first + j * k->d.S)
		: moba_head(k, k->run->d_in[input], seen->own + j - seen->n, k->kv);
}

static void token_backward(const struct moba_task *k, const struct sight *seen, long t, long h)
{
	struct attended a = moba_attended(k, k->run->saved[SUMMARY_LSE_BTH], t, h);

	for (long j = 0; j < seen->n_rows; j++)
		attended_row(&a, row_at(k, seen, SUMMARY_KEYS_BNC, MOBA_K_BTC, j),
			row_at(k, seen, SUMMARY_VALUES_BNC, MOBA_V_BTC, j),
			gradient_at(k, seen, MOBA_K_BTC, j), gradient_at(k, seen, MOBA_V_BTC, j));
}

/* The gradient of a summary, to the tokens of the segment that ends here. */
static void spread(const struct moba_task *k, int input, long last)
{
	const float *d = summary_gradient(k, input, last - k->d.S + 1);

	for (long s = last - k->d.S + 1; k->run->d_in[input] && s <= last; s++)
		row_add(moba_head(k, k->run->d_in[input], s, k->kv), 1, 1 / (float)k->d.S, d, k->d.dh);
}

void summary_backward_cpu(const struct op_run *r)
{
	struct moba_dims d = moba_dims(r->in, r->attr);
	long group = d.H / d.KV, room = 2 * gradient_floats(&d);

	#pragma omp parallel for schedule(dynamic)
	for (long i = 0; i < d.B * d.KV; i++) {
		struct moba_task k = moba_task(r, i, room);
		memset(k.room, 0, (size_t)room * sizeof(float));
		moba_clear_gradients(&k);
		for (long t = d.idle; t < d.T; t++) {
			struct sight seen = sight_of(r, &d, k.b, t);
			for (long h = k.kv * group; h < (k.kv + 1) * group; h++)
				token_backward(&k, &seen, t, h);
		}
		for (long t = 0; t < d.T; t++)
			if (ends_segment(r, &d, k.b, t)) {
				spread(&k, MOBA_K_BTC, t);
				spread(&k, MOBA_V_BTC, t);
			}
	}
}
