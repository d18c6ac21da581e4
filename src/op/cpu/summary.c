/* A task is a sequence and a head of keys and values. */
#include "op/cpu/summary.h"

#include <math.h>
#include <string.h>

#include "op/kit/rows.h"

enum { TILE = 64 };	/* rows between two changes of the running maximum */

struct task {
	const struct op_run *run;
	struct moba_dims d;
	long b, kv;
	float *d_keys, *d_values;	/* backward: gradients of summaries, [T / S][dh] */
};

static float *head_f32(const struct task *k, const struct tensor *x, long t, long h)
{
	return row_f32(x, k->b * k->d.T + t) + h * k->d.dh;
}

static float *summary_at(const struct task *k, int saved, long first)
{
	return row_f32(k->run->saved[saved], summary_row(&k->d, k->b, first)) + k->kv * k->d.dh;
}

static void summarise(const struct task *k, int saved, int input, long last)
{
	long first = last - k->d.S + 1;
	float *mean = summary_at(k, saved, first);

	memset(mean, 0, (size_t)k->d.dh * sizeof *mean);
	for (long s = first; s <= last; s++)
		row_add(mean, 1, 1, head_f32(k, k->run->in[input], s, k->kv), k->d.dh);
	row_add(mean, 1 / (float)k->d.S, 0, mean, k->d.dh);
}

/* Row j of what a query sees. */
static const float *row_at(const struct task *k, const struct sight *seen, int saved, int input, long j)
{
	return j < seen->n ? summary_at(k, saved, seen->first + j * k->d.S)
		: head_f32(k, k->run->in[input], seen->own + j - seen->n, k->kv);
}

/* Running maximum and sum, as in op/attention.c, from tile to tile. */
static void token(const struct task *k, const struct sight *seen, long t, long h)
{
	const struct op_run *r = k->run;
	const float *q = head_f32(k, r->in[MOBA_Q_BTD], t, h);
	float *y = head_f32(k, r->out[MOBA_Y_BTD], t, h), most = -INFINITY, sum = 0, score[TILE];

	memset(y, 0, (size_t)k->d.dh * sizeof *y);
	for (long from = 0; from < seen->n_rows; from += TILE) {
		long to = min_long(from + TILE, seen->n_rows);
		float before = most, scale;
		for (long j = from; j < to; j++) {
			score[j - from] = row_dot(q, row_at(k, seen, SUMMARY_KEYS_BNC, MOBA_K_BTC, j), k->d.dh) /
				sqrtf((float)k->d.dh);
			most = score[j - from] > most ? score[j - from] : most;
		}
		scale = vec_exp(before - most);
		sum *= scale;
		for (long j = from; j < to; j++) {
			float weight = vec_exp(score[j - from] - most);
			row_add(y, j == from ? scale : 1, weight, row_at(k, seen, SUMMARY_VALUES_BNC, MOBA_V_BTC, j),
				k->d.dh);
			sum += weight;
		}
	}
	row_add(y, 1 / sum, 0, y, k->d.dh);
	row_f32(r->saved[SUMMARY_LSE_BTH], k->b * k->d.T + t)[h] = most + logf(sum);
}

void summary_forward_cpu(const struct op_run *r)
{
	struct moba_dims d = moba_dims(r->in, r->attr);

	#pragma omp parallel for schedule(dynamic)
	for (long i = 0; i < d.B * d.KV; i++) {
		struct task k = {.run = r, .d = d, .b = i / d.KV, .kv = i % d.KV};
		long group = d.H / d.KV;
		for (long t = 0; t < d.T; t++) {
			struct sight seen = sight_of(r, &d, k.b, t);
			if (ends_segment(r, &d, k.b, t)) {
				summarise(&k, SUMMARY_KEYS_BNC, MOBA_K_BTC, t);
				summarise(&k, SUMMARY_VALUES_BNC, MOBA_V_BTC, t);
			}
			for (long h = k.kv * group; h < (k.kv + 1) * group; h++)
				if (t < d.idle)
					memset(head_f32(&k, r->out[MOBA_Y_BTD], t, h), 0, (size_t)d.dh * sizeof(float));
				else
					token(&k, &seen, t, h);
		}
	}
}

/* Where the gradient of row j is summed up: of a summary always, of a token if somebody wants it. */
static float *gradient_at(const struct task *k, const struct sight *seen, float *of_summaries, int input, long j)
{
	if (j < seen->n)
		return of_summaries + (seen->first / k->d.S + j) * k->d.dh;
	return k->run->d_in[input] ? head_f32(k, k->run->d_in[input], seen->own + j - seen->n, k->kv) : NULL;
}

static void token_backward(const struct task *k, const struct sight *seen, long t, long h)
{
	const struct op_run *r = k->run;
	const float *q = head_f32(k, r->in[MOBA_Q_BTD], t, h), *dy = head_f32(k, r->d_out[MOBA_Y_BTD], t, h);
	float lse = row_f32(r->saved[SUMMARY_LSE_BTH], k->b * k->d.T + t)[h], root = 1 / sqrtf((float)k->d.dh);
	float delta = row_dot(dy, head_f32(k, r->out[MOBA_Y_BTD], t, h), k->d.dh);
	float *dq = r->d_in[MOBA_Q_BTD] ? head_f32(k, r->d_in[MOBA_Q_BTD], t, h) : NULL;

	for (long j = 0; j < seen->n_rows; j++) {
		const float *key = row_at(k, seen, SUMMARY_KEYS_BNC, MOBA_K_BTC, j);
		const float *value = row_at(k, seen, SUMMARY_VALUES_BNC, MOBA_V_BTC, j);
		float *dk = gradient_at(k, seen, k->d_keys, MOBA_K_BTC, j);
		float *dv = gradient_at(k, seen, k->d_values, MOBA_V_BTC, j);
		float p = vec_exp(row_dot(q, key, k->d.dh) * root - lse);
		float ds = p * root * (row_dot(dy, value, k->d.dh) - delta);
		if (dv)
			row_add(dv, 1, p, dy, k->d.dh);
		if (dk)
			row_add(dk, 1, ds, q, k->d.dh);
		if (dq)
			row_add(dq, 1, ds, key, k->d.dh);
	}
}

/* The gradient of a summary, to the tokens of the segment that ends here. */
static void spread(const struct task *k, const float *of_summaries, int input, long last)
{
	const float *d = of_summaries + (last - k->d.S + 1) / k->d.S * k->d.dh;

	for (long s = last - k->d.S + 1; k->run->d_in[input] && s <= last; s++)
		row_add(head_f32(k, k->run->d_in[input], s, k->kv), 1, 1 / (float)k->d.S, d, k->d.dh);
}

/* Gradients of the task's tokens begin at 0, or at what is there. */
static void clear_heads(const struct task *k, int input, long first, long n)
{
	for (long t = 0; k->run->d_in[input] && !op_adds(k->run, input) && t < k->d.T; t++)
		memset(head_f32(k, k->run->d_in[input], t, first), 0, (size_t)(n * k->d.dh) * sizeof(float));
}

void summary_backward_cpu(const struct op_run *r)
{
	struct moba_dims d = moba_dims(r->in, r->attr);
	long group = d.H / d.KV, size = ceil_div(d.T, d.S) * d.dh;

	#pragma omp parallel for schedule(dynamic)
	for (long i = 0; i < d.B * d.KV; i++) {
		struct task k = {.run = r, .d = d, .b = i / d.KV, .kv = i % d.KV};
		k.d_keys = memset((float *)r->workspace + 2 * i * size, 0, 2 * (size_t)size * sizeof(float));
		k.d_values = k.d_keys + size;
		clear_heads(&k, MOBA_Q_BTD, k.kv * group, group);
		clear_heads(&k, MOBA_K_BTC, k.kv, 1);
		clear_heads(&k, MOBA_V_BTC, k.kv, 1);
		for (long t = d.idle; t < d.T; t++) {
			struct sight seen = sight_of(r, &d, k.b, t);
			for (long h = k.kv * group; h < (k.kv + 1) * group; h++)
				token_backward(&k, &seen, t, h);
		}
		for (long t = 0; t < d.T; t++)
			if (ends_segment(r, &d, k.b, t)) {
				spread(&k, k.d_keys, MOBA_K_BTC, t);
				spread(&k, k.d_values, MOBA_V_BTC, t);
			}
	}
}
