#include "op/cpu/chunk.h"

struct chunk chunk_at(const struct chunks *all, long b, long c)
{
	long t = c * all->Q;

	return (struct chunk){all->start_BT, b, c, t, b * all->T + t,
		all->T - t < all->Q ? all->T - t : all->Q, c == all->n_chunks - 1};
}

static void given_steps(const struct chunks *all, const struct chunk *at, long h, struct chunk_steps *w)
{
	for (long t = 0; t < at->n; t++) {
		w->log_decay[t] = row_f32(all->decay_BTH, at->row + t)[h];
		w->dt[t] = row_f32(all->weight_BTH, at->row + t)[h];
		w->own[t] = row_f32(all->own_BTH, at->row + t)[h];
	}
}

static void made_steps(const struct chunks *all, const struct chunk *at, long h, struct chunk_steps *w)
{
	float bias = row_f32(all->dt_bias_H, 0)[h];

	w->A = -vec_exp(row_f32(all->a_log_H, 0)[h]);
	for (long t = 0; t < at->n; t++)
		w->raw[t] = row_f32(all->dtraw_BTH, at->row + t)[h] + bias;
	#pragma omp simd
	for (long t = 0; t < at->n; t++) {
		w->own[t] = w->dt[t] = vec_softplus(w->raw[t]);
		w->log_decay[t] = w->dt[t] * w->A;
	}
}

void chunk_steps_of(const struct chunks *all, const struct chunk *at, long h, struct chunk_steps *w)
{
	long n = at->n, from = chunk_from(at, n - 1);
	float sum = 0;

	if (all->decay_BTH)
		given_steps(all, at, h, w);
	else
		made_steps(all, at, h, w);
	for (long t = 0; t < n; t++) {
		sum += w->log_decay[t];
		w->enters[t] = chunk_sees_state(at, t) ? chunk_exp(sum) : 0;
	}
	w->carry = w->enters[n - 1];
	sum = 0;
	for (long t = n - 1; t >= 0; t--) {
		w->leaves[t] = t >= from ? chunk_exp(sum) : 0;
		sum += w->log_decay[t];
	}
}

void chunk_d_log(const struct chunk *at, chunk_pairs z, const float *entered, const float *left, float carried,
	float *d_log)
{
	float below[CHUNK_MAX] = {0};	/* by column: rows from t on */
	float in_front = 0;

	for (long t = at->n - 1; t >= 0; t--) {
		float sum = 0;
		#pragma omp simd
		for (long s = chunk_from(at, t); s < t; s++)
			below[s] += z[t][s];
		#pragma omp simd reduction(+:sum)
		for (long s = 0; s < t; s++)
			sum += below[s];
		carried += entered[t];
		d_log[t] = sum + carried;
	}
	for (long t = 0; t < at->n; t++) {
		d_log[t] += in_front;
		in_front += left[t];
	}
}

struct chunk_shares chunk_steps_backward(const struct chunk *at, long h, const struct chunk_steps *w,
	const float *d_dt, const float *d_log, const struct tensor *d_dtraw, bool add)
{
	struct chunk_shares sum = {0};

	for (long t = 0; t < at->n; t++) {
		float d = ((d_dt ? d_dt[t] : 0) + w->A * d_log[t]) * vec_sigmoid(w->raw[t]);
		sum.a_log += w->A * w->dt[t] * d_log[t];
		sum.dt_bias += d;
		if (d_dtraw) {
			float *to = row_f32(d_dtraw, at->row + t) + h;
			*to = d + (add ? *to : 0);
		}
	}
	return sum;
}

void chunk_sum_shares(const struct tensor *d, const float *shares, long n, long stride, bool add)
{
	for (long h = 0; d && h < tensor_size(d); h++) {
		float sum = 0, *to = row_f32(d, 0) + h;
		for (long k = 0; k < n; k++)
			sum += shares[k * stride + h];
		*to = sum + (add ? *to : 0);
	}
}
