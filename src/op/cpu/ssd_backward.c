/* ssd on the CPU, backward: op/cpu/ssd.h. */
#include "op/cpu/ssd.h"

/* One head in a chunk, or sums over a group's heads. */
struct head {
	struct chunk_steps w;
	chunk_pairs m;			/* m[t][s] as the header of ssd has it */
	chunk_pairs r;			/* dy_t . x_s, then below the diagonal times m */
	float diagonal[CHUNK_MAX];	/* dy_t . x_t */
	float d_dt[CHUNK_MAX];	/* but for the part that comes by dt A */
	float d_own[CHUNK_MAX];	/* where weights are given; else part of d_dt */
	float entered[CHUNK_MAX], left[CHUNK_MAX], carried;	/* as chunk_d_log() has them */
	float dx[CHUNK_MAX * SSD_MAX_HEAD], share[CHUNK_MAX * SSD_MAX_HEAD];
	float dc[CHUNK_MAX * SSD_MAX_STATES];
};

/* The gradient of the state behind the chunk before, from that behind this one. */
static void pass_gradient(const struct ssd *s, const struct chunk *at, long h)
{
	const struct tensor *dy = s->run->d_out[SSD_Y_BTI], *C = s->run->in[SSD_C_BTN];
	long P = s->dims.P, N = s->dims.N;
	const float *behind = ssd_state(s, s->d_states, at, h);
	float *before = ssd_state(s, s->d_states, at, h) - s->dims.H * N * P;
	float share[CHUNK_MAX * SSD_MAX_HEAD];
	struct chunk_steps w;

	chunk_steps_of(&s->chunks, at, h, &w);
	for (long t = 0; t < at->n; t++) {
		const float *row = row_f32(dy, at->row + t) + h * P;
		#pragma omp simd
		for (long p = 0; p < P; p++)
			share[t * P + p] = w.enters[t] * row[p];
	}
	gemm(GEMM_T, GEMM_N, N, P, at->n, 1, ssd_group(s, C, at, ssd_group_of(s, h)), C->ld, share, P, 0,
		before, P);
	if (at->last || !chunk_sees_state(at, at->n - 1))
		return;
	#pragma omp simd
	for (long k = 0; k < N * P; k++)
		before[k] += w.carry * behind[k];
}

/* Of all pairs: m, r m, the group's sum of r e^{...} dt, and the shares of d_dt. */
static void pairs_backward(const struct chunk *at, bool given, struct head *k, chunk_pairs scores,
	chunk_pairs d_scores)
{
	float sum[CHUNK_MAX];	/* of log decays behind j, up to t */
	const struct chunk_steps *w = &k->w;

	for (long t = 0; t < at->n; t++) {
		long from = chunk_from(at, t);
		float log_decay = w->log_decay[t];
		#pragma omp simd
		for (long j = from; j < t; j++) {
			sum[j] += log_decay;
			float e = chunk_exp(sum[j]), z = k->r[t][j] * e, q = z * scores[t][j];
			k->m[t][j] = scores[t][j] * e * w->dt[j];
			d_scores[t][j] += z * w->dt[j];
			k->d_dt[j] += q;
			k->r[t][j] = q * w->dt[j];
		}
		sum[t] = 0;
		k->m[t][t] = scores[t][t] * w->own[t];
		d_scores[t][t] += k->r[t][t] * w->own[t];
		k->d_own[t] = k->r[t][t] * scores[t][t];
		k->d_dt[t] = given ? 0 : k->d_own[t];
		k->diagonal[t] = k->r[t][t];
		for (long j = 0; j < from; j++)
			k->m[t][j] = 0;
		for (long j = t + 1; j < at->n; j++)
			k->m[t][j] = 0;
	}
}

/* What comes through the state in front: shares of dC, entered, carried. */
static void enter_backward(const struct ssd *s, const struct chunk *at, long h, struct head *k)
{
	const struct tensor *dy = s->run->d_out[SSD_Y_BTI], *C = s->run->in[SSD_C_BTN],
		*dC = s->run->d_in[SSD_C_BTN];
	const float *state = ssd_state(s, s->states, at, h), *behind = ssd_state(s, s->d_states, at, h);
	long P = s->dims.P, N = s->dims.N, g = ssd_group_of(s, h);
	float carried = 0;

	gemm(GEMM_N, GEMM_T, at->n, N, P, 1, ssd_head(s, dy, at, h), dy->ld, state, P, 0, k->dc, N);
	for (long t = 0; t < at->n; t++) {
		const float *c = row_f32(C, at->row + t) + g * N, *dc = k->dc + t * N;
		float *to = dC ? row_f32(dC, at->row + t) + g * N : NULL, sum = 0;
		#pragma omp simd reduction(+:sum)
		for (long n = 0; n < N; n++)
			sum += c[n] * dc[n];
		k->entered[t] = k->w.enters[t] * sum;
		#pragma omp simd
		for (long n = 0; n < (to ? N : 0); n++)
			to[n] += k->w.enters[t] * dc[n];
	}
	if (!at->last && chunk_sees_state(at, at->n - 1)) {
		#pragma omp simd reduction(+:carried)
		for (long i = 0; i < N * P; i++)
			carried += state[i] * behind[i];
		k->carried = k->w.carry * carried;
	}
}

/* What comes through the state behind: dx, shares of dB and d_dt, left. */
static void leave_backward(const struct ssd *s, const struct chunk *at, long h, struct head *k)
{
	const struct tensor *x = s->run->in[SSD_X_BTI], *B = s->run->in[SSD_B_BTN],
		*dB = s->run->d_in[SSD_B_BTN];
	const float *behind = ssd_state(s, s->d_states, at, h);
	long P = s->dims.P, N = s->dims.N, g = ssd_group_of(s, h);

	gemm(GEMM_N, GEMM_N, at->n, P, N, 1, ssd_group(s, B, at, g), B->ld, behind, P, 0, k->dx, P);
	for (long t = 0; t < at->n; t++) {
		const float *row = row_f32(x, at->row + t) + h * P;
		float left = k->w.leaves[t], dt = k->w.dt[t], sum = 0, *dx = k->dx + t * P;
		#pragma omp simd reduction(+:sum)
		for (long p = 0; p < P; p++) {
			sum += row[p] * dx[p];
			k->share[t * P + p] = left * dt * row[p];
			dx[p] *= left * dt;
		}
		k->d_dt[t] += left * sum;
		k->left[t] = left * dt * sum;
	}
	if (dB)
		gemm(GEMM_N, GEMM_T, at->n, N, P, 1, k->share, P, behind, P, 1, ssd_group(s, dB, at, g),
			dB->ld);
}

/* Of decay, weight and own, which are given. */
static void given_backward(const struct ssd *s, const struct chunk *at, long h, const struct head *k,
	const float *d_log)
{
	const struct {
		int input;
		const float *d;
	} each[] = {{SSD_DECAY_BTH, d_log}, {SSD_WEIGHT_BTH, k->d_dt}, {SSD_OWN_BTH, k->d_own}};

	for (int i = 0; i < 3; i++) {
		const struct tensor *to = s->run->d_in[each[i].input];
		bool add = op_adds(s->run, each[i].input);
		for (long t = 0; to && t < at->n; t++)
			row_f32(to, at->row + t)[h] = each[i].d[t] + (add ? row_f32(to, at->row + t)[h] : 0);
	}
}

/* ddtraw, and the parameters' shares. */
static void head_steps_backward(const struct ssd *s, const struct chunk *at, long h, struct head *k)
{
	const struct op_run *r = s->run;
	float *parts = s->parts + (at->b * s->dims.n_chunks + at->c) * 3 * s->dims.H + h;
	float d_log[CHUNK_MAX], dD = 0;
	struct chunk_shares shares = {0};

	chunk_d_log(at, k->r, k->entered, k->left, k->carried, d_log);
	if (ssd_is_given(r->in))
		given_backward(s, at, h, k, d_log);
	else
		shares = chunk_steps_backward(at, h, &k->w, k->d_dt, d_log, r->d_in[SSD_DTRAW_BTH],
			op_adds(r, SSD_DTRAW_BTH));
	for (long t = 0; t < at->n; t++)
		dD += k->diagonal[t];
	parts[SSD_PART_ALOG * s->dims.H] = shares.a_log;
	parts[SSD_PART_D * s->dims.H] = dD;
	parts[SSD_PART_DTBIAS * s->dims.H] = shares.dt_bias;
}

static void store_dx(const struct ssd *s, const struct chunk *at, long h, const float *dx)
{
	const struct tensor *to = s->run->d_in[SSD_X_BTI];

	for (long t = 0; to && t < at->n; t++) {
		float *row = row_f32(to, at->row + t) + h * s->dims.P;
		bool add = op_adds(s->run, SSD_X_BTI);
		#pragma omp simd
		for (long p = 0; p < s->dims.P; p++)
			row[p] = dx[t * s->dims.P + p] + (add ? row[p] : 0);
	}
}

static void head_backward(const struct ssd *s, const struct chunk *at, long h, chunk_pairs scores,
	chunk_pairs d_scores)
{
	const struct tensor *x = s->run->in[SSD_X_BTI], *dy = s->run->d_out[SSD_Y_BTI];
	float D = row_f32(s->run->in[SSD_D_H], 0)[h];
	long P = s->dims.P, n = at->n;
	struct head k;

	chunk_steps_of(&s->chunks, at, h, &k.w);
	gemm(GEMM_N, GEMM_T, n, n, P, 1, ssd_head(s, dy, at, h), dy->ld, ssd_head(s, x, at, h), x->ld, 0,
		k.r[0], CHUNK_MAX);
	pairs_backward(at, ssd_is_given(s->run->in), &k, scores, d_scores);
	memset(k.entered, 0, sizeof k.entered);
	memset(k.left, 0, sizeof k.left);
	k.carried = 0;
	if (chunk_sees_state(at, 0))
		enter_backward(s, at, h, &k);
	if (!at->last)
		leave_backward(s, at, h, &k);
	for (long t = 0; t < n; t++) {
		const float *from = row_f32(dy, at->row + t) + h * P;
		#pragma omp simd
		for (long p = 0; p < P; p++)
			k.dx[t * P + p] = (at->last ? 0 : k.dx[t * P + p]) + D * from[p];
	}
	gemm(GEMM_T, GEMM_N, n, P, n, 1, k.m[0], CHUNK_MAX, ssd_head(s, dy, at, h), dy->ld, 1, k.dx, P);
	store_dx(s, at, h, k.dx);
	head_steps_backward(s, at, h, &k);
}

/* Of B or C: sums over heads begin at 0, or at what is there. */
static void clear_group(const struct ssd *s, const struct chunk *at, long g, int input)
{
	const struct tensor *d = s->run->d_in[input];

	for (long t = 0; d && !op_adds(s->run, input) && t < at->n; t++)
		memset(row_f32(d, at->row + t) + g * s->dims.N, 0, (size_t)s->dims.N * sizeof(float));
}

static void chunk_backward(const struct ssd *s, const struct chunk *at, long g)
{
	const struct tensor *B = s->run->in[SSD_B_BTN], *C = s->run->in[SSD_C_BTN],
		*dB = s->run->d_in[SSD_B_BTN], *dC = s->run->d_in[SSD_C_BTN];
	long heads = s->dims.H / s->dims.G, n = at->n, N = s->dims.N;
	chunk_pairs scores, d_scores;

	ssd_scores(s, at, g, scores);
	memset(d_scores, 0, sizeof d_scores);
	clear_group(s, at, g, SSD_B_BTN);
	clear_group(s, at, g, SSD_C_BTN);
	for (long h = g * heads; h < (g + 1) * heads; h++)
		head_backward(s, at, h, scores, d_scores);
	if (dC)
		gemm(GEMM_N, GEMM_N, n, N, n, 1, d_scores[0], CHUNK_MAX, ssd_group(s, B, at, g), B->ld,
			1, ssd_group(s, dC, at, g), dC->ld);
	if (dB)
		gemm(GEMM_T, GEMM_N, n, N, n, 1, d_scores[0], CHUNK_MAX, ssd_group(s, C, at, g), C->ld,
			1, ssd_group(s, dB, at, g), dB->ld);
}

static void sum_parts(const struct ssd *s, int input, enum ssd_part part)
{
	chunk_sum_shares(s->run->d_in[input], s->parts + part * s->dims.H, s->dims.B * s->dims.n_chunks,
		3 * s->dims.H, op_adds(s->run, input));
}

void ssd_backward_cpu(const struct op_run *r)
{
	struct ssd s = ssd_start(r, true);
	const struct ssd_dims *d = &s.dims;

	#pragma omp parallel for schedule(dynamic)
	for (long task = 0; task < d->B * d->H; task++)
		for (long i = d->n_chunks - 1; i > 0; i--) {
			struct chunk at = chunk_at(&s.chunks, task / d->H, i);
			pass_gradient(&s, &at, task % d->H);
		}
	#pragma omp parallel for schedule(dynamic)
	for (long task = 0; task < d->B * d->n_chunks * d->G; task++) {
		struct chunk at = chunk_at(&s.chunks, task / d->G / d->n_chunks, task / d->G % d->n_chunks);
		chunk_backward(&s, &at, task % d->G);
	}
	sum_parts(&s, SSD_ALOG_H, SSD_PART_ALOG);
	sum_parts(&s, SSD_D_H, SSD_PART_D);
	sum_parts(&s, SSD_DTBIAS_H, SSD_PART_DTBIAS);
}
