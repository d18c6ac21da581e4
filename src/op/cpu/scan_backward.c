/* The scan on the CPU, backward: op/cpu/scan.h. */
#include "op/cpu/scan.h"

#include "base/num.h"

struct backward_tiles {
	struct forward_tiles f;
	tile slope;			/* of softplus */
	tile ds;			/* from dy */
	tile dz;			/* dz / s, then dz */
	tile g_b;			/* sum_n g B, then du */
	tile q_a;			/* sum_n e g h_{t-1} A log2(e), then ddtraw */
};

static void stage_backward(const struct scan *s, const struct place *at, struct backward_tiles *w)
{
	bool gated = s->run->in[SCAN_Z_BTI];

	stage(s, at, &w->f);
	load(w->ds, s->run->d_out[SCAN_Y_BTI], at);
	if (gated)
		load(w->dz, s->run->in[SCAN_Z_BTI], at);
	for (long k = 0; k < at->n_blocks; k++) {
		float *slope = w->slope[k][0], *v = w->f.dt[k][0];
		float *ds = w->ds[k][0], *z = w->dz[k][0];
		#pragma omp simd
		for (long j = 0; j < at->n_tokens * LANES; j++)
			slope[j] = vec_sigmoid(v[j]);
		if (gated) {
			#pragma omp simd
			for (long j = 0; j < at->n_tokens * LANES; j++) {
				float x = z[j], dy = ds[j], gate = vec_sigmoid(x);
				ds[j] = dy * x * gate;
				z[j] = dy * gate * (1.0f + x * (1.0f - gate));
			}
		}
	}
	softplus_tile(w->f.dt, at);
	memset(w->g_b, 0, sizeof w->g_b);
	memset(w->q_a, 0, sizeof w->q_a);
}

/* Back through what walk() kept. Sums over states go to the tiles, over channels to the history,
   over time to d_a. */
static void walk_back(const struct scan *s, const struct place *at, long k, long n,
	const struct group *g, struct backward_tiles *w, struct history *past, struct ahead ahead)
{
	long own = (at->b * s->n_blocks + at->block + k) * s->states + n * LANES;
	const float *a = s->a + (at->block + k) * s->states + n * LANES;
	bool last = at->chunk + 1 == s->n_chunks;
	lanes A[GROUP], carry[GROUP], dA[GROUP];

	for (int m = 0; m < GROUP; m++) {
		A[m] = lanes_load(a + m * LANES);
		carry[m] = last ? (lanes){0} : lanes_load(s->carry + own + m * LANES);
		dA[m] = last ? (lanes){0} : lanes_load(s->d_a + own + m * LANES);
	}
	for (long t = at->n_tokens - 1; t >= 0; t--) {
		lanes dt = lanes_load(w->f.dt[k][t]), x = dt * lanes_load(w->f.u[k][t]);
		lanes ds = lanes_load(w->ds[k][t]), g_b = lanes_load(w->g_b[k][t]);
		lanes q_a = lanes_load(w->q_a[k][t]);
		__builtin_prefetch(ahead.line + t * ahead.ld, 0, 2);
		for (int m = 0; m < GROUP; m++) {
			float *d_b = past->d_b[t][m], *d_c = past->d_c[t][m];
			lanes grad = carry[m] + ds * g->c[t][m], q;
			lanes_store(d_c, lanes_load(d_c) + ds * lanes_load(past->h[t + 1][m]));
			lanes_store(d_b, lanes_load(d_b) + x * grad);
			g_b += grad * g->b[t][m];
			carry[m] = grad * lanes_load(past->e[t][m]);
			q = carry[m] * lanes_load(past->h[t][m]);
			q_a += q * A[m];
			dA[m] += q * dt;
		}
		lanes_store(w->g_b[k][t], g_b);
		lanes_store(w->q_a[k][t], q_a);
	}
	for (int m = 0; m < GROUP; m++) {
		lanes_store(s->carry + own + m * LANES, carry[m]);
		lanes_store(s->d_a + own + m * LANES, dA[m]);
	}
}

/* The span's share of dB and dC: the history's sums, over the lanes. */
static void sum_lanes(const struct scan *s, const struct place *at, long n,
	const struct history *past)
{
	long n_states = s->dims.N, many = min_long(n_states - n, GROUP);
	long first = at->i / SPAN * s->dims.B * s->dims.T + at->row;
	float b[GROUP], c[GROUP];

	for (long t = 0; t < at->n_tokens; t++) {
		float *to = s->d_bc + (first + t) * 2 * n_states + n;
		lanes_sum4(b, past->d_b[t]);
		lanes_sum4(c, past->d_c[t]);
		memcpy(to, b, (size_t)many * sizeof *to);
		memcpy(to + n_states, c, (size_t)many * sizeof *to);
	}
}

/* From the sums over states to du, ddtraw, dz, and over time to the gradients of D and bias. */
static void finish_backward(const struct scan *s, const struct place *at, struct backward_tiles *w)
{
	bool last = at->chunk + 1 == s->n_chunks;

	for (long k = 0; k < at->n_blocks; k++) {
		lanes d = of_channels(s->run->in[SCAN_D_I], at, k);
		long own = (at->b * s->n_blocks + at->block + k) * LANES;
		lanes d_d = last ? (lanes){0} : lanes_load(s->d_d + own);
		lanes d_bias = last ? (lanes){0} : lanes_load(s->d_bias + own);
		for (long t = 0; t < at->n_tokens; t++) {
			lanes u = lanes_load(w->f.u[k][t]), dt = lanes_load(w->f.dt[k][t]);
			lanes ds = lanes_load(w->ds[k][t]), g_b = lanes_load(w->g_b[k][t]);
			lanes s_t = lanes_load(w->f.s[k][t]);
			lanes ddt = u * g_b + lanes_load(w->q_a[k][t]) * LN2;
			lanes ddtraw = ddt * lanes_load(w->slope[k][t]);
			lanes_store(w->g_b[k][t], dt * g_b + d * ds);
			lanes_store(w->q_a[k][t], ddtraw);
			lanes_store(w->dz[k][t], lanes_load(w->dz[k][t]) * s_t);
			d_d += u * ds;
			d_bias += ddtraw;
		}
		lanes_store(s->d_d + own, d_d);
		lanes_store(s->d_bias + own, d_bias);
	}
}

static void chunk_backward(const struct scan *s, struct place at)
{
	const struct op_run *r = s->run;
	const struct tensor *operands[] = {r->in[SCAN_U_BTI], r->in[SCAN_DTRAW_BTI],
		r->in[SCAN_Z_BTI], r->d_out[SCAN_Y_BTI], r->d_in[SCAN_U_BTI],
		r->d_in[SCAN_DTRAW_BTI], r->d_in[SCAN_Z_BTI], NULL};
	struct backward_tiles w;
	struct history past;
	struct group g;

	stage_backward(s, &at, &w);
	for (long n = 0; n < s->dims.N; n += GROUP) {
		load_group(s, &at, n, &g);
		memset(past.d_b, 0, sizeof past.d_b);
		memset(past.d_c, 0, sizeof past.d_c);
		for (long k = 0; k < at.n_blocks; k++) {
			walk(s, &at, k, n, &g, &w.f, &past,
				ahead_of(s, &at, -1, operands[n / GROUP % 4], k));
			walk_back(s, &at, k, n, &g, &w, &past,
				ahead_of(s, &at, -1, operands[4 + n / GROUP % 4], k));
		}
		sum_lanes(s, &at, n, &past);
	}
	finish_backward(s, &at, &w);
	store(r->d_in[SCAN_U_BTI], &at, w.g_b, op_adds(r, SCAN_U_BTI));
	store(r->d_in[SCAN_DTRAW_BTI], &at, w.q_a, op_adds(r, SCAN_DTRAW_BTI));
	store(r->d_in[SCAN_Z_BTI], &at, w.dz, op_adds(r, SCAN_Z_BTI));
}

/* dB (offset 0) or dC (offset N): the spans' shares in order. */
static void sum_spans(const struct scan *s, int input, long offset)
{
	const struct tensor *d = s->run->d_in[input];
	long n_rows = s->dims.B * s->dims.T, n = s->dims.N;

	if (!d)
		return;
	#pragma omp parallel for schedule(static)
	for (long row = 0; row < n_rows; row++) {
		float *to = row_f32(d, row);
		if (!op_adds(s->run, input))
			memset(to, 0, (size_t)n * sizeof *to);
		for (long span = 0; span < s->n_spans; span++) {
			const float *part = s->d_bc + (span * n_rows + row) * 2 * n + offset;
			#pragma omp simd
			for (long k = 0; k < n; k++)
				to[k] += part[k];
		}
	}
}

/* A parameter's gradient: scale times the sequences' shares, `stride` apart, in order. */
static void sum_sequences(const struct scan *s, int input, long row, long column, float scale,
	const float *parts, long stride)
{
	float sum = 0, *to;

	if (!s->run->d_in[input])
		return;
	for (long b = 0; b < s->dims.B; b++)
		sum += parts[b * stride];
	to = row_f32(s->run->d_in[input], row) + column;
	*to = scale * sum + (op_adds(s->run, input) ? *to : 0);
}

static void parameter_gradients(const struct scan *s)
{
	long channels = s->n_blocks * LANES, states = s->n_blocks * s->states;

	#pragma omp parallel for schedule(static)
	for (long i = 0; i < s->dims.I; i++) {
		long own = i / LANES * s->states + i % LANES;
		sum_sequences(s, SCAN_D_I, 0, i, 1, s->d_d + i, channels);
		sum_sequences(s, SCAN_DTBIAS_I, 0, i, 1, s->d_bias + i, channels);
		for (long n = 0; n < s->dims.N; n++)	/* dA_log = dA A */
			sum_sequences(s, SCAN_ALOG_IN, i, n, s->a[own + n * LANES] * LN2,
				s->d_a + own + n * LANES, states);
	}
}

void scan_backward_cpu(const struct op_run *r)
{
	struct scan s = scan_start(r, true);

	#pragma omp parallel for schedule(dynamic)
	for (long task = 0; task < s.n_tasks; task++)
		for (long chunk = s.n_chunks - 1; chunk >= 0; chunk--)
			chunk_backward(&s, place_of(&s, task, chunk));
	sum_spans(&s, SCAN_B_BTN, 0);
	sum_spans(&s, SCAN_C_BTN, s.dims.N);
	parameter_gradients(&s);
}
