/*
 * The scan on the CPU. Lanes are channels. Time is cut into chunks whose first states are kept. A
 * task is one sequence and a span of channels; it loads a chunk of the span into a tile, takes a
 * group of states, held in registers, through the chunk for one block of channels after the other,
 * and stores the tile. Sums over spans and sequences go through one partial result per task, added
 * up in the order of the tasks.
 */
#include "op/document_start.h"
#include "op/lanes.h"
#include "op/scan.h"
#include "op/scan_kernels.h"
#include "op/vec.h"

enum {
	CHUNK = 64,			/* tokens from one kept state to the next */
	SPAN = 128,			/* channels of a task */
	BLOCKS = SPAN / LANES,		/* blocks of LANES channels in a span */
	GROUP = 4,			/* states in registers at a time; N is rounded up to it */
};

#define LN2 0.69314718055994531f
#define LOG2E 1.44269504088896341f

/* One quantity for a chunk of a span. Channels beyond the last hold 0. */
typedef float tile[BLOCKS][CHUNK][LANES];

/* What the kernels need besides op_run. `states` floats hold one block's states: [state][lane]. */
struct scan {
	const struct op_run *run;
	struct scan_dims dims;
	long n_blocks, n_spans, n_chunks, n_tasks, states;
	bool keeps;			/* the states of all chunks, or the present one's alone */
	float *a;			/* [block] A log2(e) */
	float *h;			/* [sequence][chunk kept][block] in front of the chunk */
	/* backward: */
	float *carry, *d_a;		/* [sequence][block] e_{t+1} g_{t+1}; gradient of A */
	float *d_d, *d_bias;		/* [sequence][block][lane] */
	float *d_bc;			/* [span][token][N of B, N of C] */
	float *workspace;
	long used;			/* floats of it */
};

/* A chunk of a span of a sequence. */
struct place {
	long b, chunk, t;		/* t: first token of the sequence's */
	long row, n_tokens;		/* first token among all sequences' */
	long i, n_channels;		/* first channel */
	long block, n_blocks;		/* first block */
};

static long ceil_div(long n, long d)
{
	return (n + d - 1) / d;
}

static float *take(struct scan *s, long n)
{
	long from = s->used;

	s->used += n;
	return s->workspace ? s->workspace + from : NULL;
}

static void layout(struct scan *s, struct scan_dims d, bool backward)
{
	s->dims = d;
	s->n_blocks = ceil_div(d.I, LANES);
	s->n_spans = ceil_div(d.I, SPAN);
	s->n_chunks = ceil_div(d.T, CHUNK);
	s->n_tasks = d.B * s->n_spans;
	s->states = ceil_div(d.N, GROUP) * GROUP * LANES;
	s->a = take(s, s->n_blocks * s->states);
	if (!s->keeps)
		s->h = take(s, d.B * s->n_blocks * s->states);
	if (backward) {
		s->carry = take(s, d.B * s->n_blocks * s->states);
		s->d_a = take(s, d.B * s->n_blocks * s->states);
		s->d_d = take(s, d.B * s->n_blocks * LANES);
		s->d_bias = take(s, d.B * s->n_blocks * LANES);
		s->d_bc = take(s, s->n_spans * d.B * d.T * 2 * d.N);
	}
}

void scan_shape_cpu(struct op_shapes *shapes, struct scan_dims d)
{
	struct scan forward = {.keeps = shapes->training}, backward = {.keeps = true};

	layout(&forward, d, false);
	layout(&backward, d, true);
	shapes->forward_workspace = (size_t)forward.used * sizeof(float);
	shapes->backward_workspace = (size_t)backward.used * sizeof(float);
	if (shapes->training)
		shapes->saved[SCAN_STATES] = tensor_of(MASTER, 4, d.B, forward.n_chunks,
			forward.n_blocks, forward.states);
}

static struct scan scan_start(const struct op_run *r, bool backward)
{
	const struct tensor *saved = r->saved[SCAN_STATES];
	struct scan s = {.run = r, .keeps = saved, .h = saved ? saved->at : NULL,
		.workspace = r->workspace};

	layout(&s, scan_dims(r->in), backward);
	#pragma omp parallel for schedule(static)
	for (long i = 0; i < s.n_blocks * LANES; i++) {
		float *a = s.a + i / LANES * s.states + i % LANES;
		for (long n = 0; n < s.states / LANES; n++)
			a[n * LANES] = i < s.dims.I && n < s.dims.N
				? -vec_exp(row_f32(r->in[SCAN_ALOG_IN], i)[n]) * LOG2E : 0;
	}
	return s;
}

static struct place place_of(const struct scan *s, long task, long chunk)
{
	long b = task / s->n_spans, t = chunk * CHUNK, i = task % s->n_spans * SPAN;
	long channels = s->dims.I - i < SPAN ? s->dims.I - i : SPAN;

	return (struct place){.b = b, .chunk = chunk, .t = t, .row = b * s->dims.T + t,
		.n_tokens = s->dims.T - t < CHUNK ? s->dims.T - t : CHUNK, .i = i,
		.n_channels = channels, .block = i / LANES, .n_blocks = ceil_div(channels, LANES)};
}

static void load(tile to, const struct tensor *x, const struct place *at)
{
	for (long t = 0; t < at->n_tokens; t++) {
		const float *row = row_f32(x, at->row + t) + at->i;
		for (long k = 0; k < at->n_blocks; k++)
			lanes_store(to[k][t], lanes_load_part(row + k * LANES,
				at->n_channels - k * LANES));
	}
}

/* Nothing where x is NULL. */
static void store(const struct tensor *x, const struct place *at, tile from, bool add)
{
	for (long t = 0; x && t < at->n_tokens; t++) {
		float *row = row_f32(x, at->row + t) + at->i;
		for (long k = 0; k < at->n_blocks; k++) {
			long n = at->n_channels - k * LANES;
			lanes v = lanes_load(from[k][t]);
			if (add)
				v += lanes_load_part(row + k * LANES, n);
			lanes_store_part(row + k * LANES, v, n);
		}
	}
}

/* A parameter's values for block k of the span. */
static lanes of_channels(const struct tensor *x, const struct place *at, long k)
{
	return lanes_load_part(row_f32(x, 0) + at->i + k * LANES, at->n_channels - k * LANES);
}

/* The states of block k in front of a chunk. */
static float *states_at(const struct scan *s, const struct place *at, long k, long chunk)
{
	long kept = s->keeps ? at->b * s->n_chunks + chunk : at->b;

	return s->h + (kept * s->n_blocks + at->block + k) * s->states;
}

/* B and C of states n to n + GROUP; 0 beyond N. */
struct group {
	float b[CHUNK][GROUP], c[CHUNK][GROUP];
};

static void load_group(const struct scan *s, const struct place *at, long n, struct group *g)
{
	long many = s->dims.N - n < GROUP ? s->dims.N - n : GROUP;

	memset(g, 0, sizeof *g);
	for (long t = 0; t < at->n_tokens; t++)
		for (long k = 0; k < many; k++) {
			g->b[t][k] = row_f32(s->run->in[SCAN_B_BTN], at->row + t)[n + k];
			g->c[t][k] = row_f32(s->run->in[SCAN_C_BTN], at->row + t)[n + k];
		}
}

/* Tiles of the forward direction; s sums up D u + sum_n C h. */
struct forward_tiles {
	tile dt, u, s;
	bool fresh[CHUNK];	/* first token of a document */
};

/* u, v = dtraw + bias in place of dt, and D u. */
static void stage(const struct scan *s, const struct place *at, struct forward_tiles *f)
{
	for (long t = 0; t < at->n_tokens; t++)
		f->fresh[t] = begins_document(s->run->in[SCAN_START_BT], at->b, at->t + t);
	load(f->u, s->run->in[SCAN_U_BTI], at);
	load(f->dt, s->run->in[SCAN_DTRAW_BTI], at);
	for (long k = 0; k < at->n_blocks; k++) {
		lanes d = of_channels(s->run->in[SCAN_D_I], at, k);
		lanes bias = of_channels(s->run->in[SCAN_DTBIAS_I], at, k);
		for (long t = 0; t < at->n_tokens; t++) {
			lanes_store(f->dt[k][t], lanes_load(f->dt[k][t]) + bias);
			lanes_store(f->s[k][t], lanes_load(f->u[k][t]) * d);
		}
	}
}

static void softplus_tile(tile x, const struct place *at)
{
	for (long k = 0; k < at->n_blocks; k++) {
		float *v = x[k][0];
		#pragma omp simd
		for (long j = 0; j < at->n_tokens * LANES; j++)
			v[j] = vec_softplus(v[j]);
	}
}

/* A group of states of one block in the chunk, and sums by lane over the blocks. */
struct history {
	float h[CHUNK + 1][GROUP][LANES];	/* in front of each token, and after the last */
	float e[CHUNK][GROUP][LANES];
	float d_b[CHUNK][GROUP][LANES], d_c[CHUNK][GROUP][LANES];
};

/* Takes states n to n + GROUP of block k through the chunk; backward wants all that it passes. */
static inline void walk(const struct scan *s, const struct place *at, long k, long n,
	const struct group *g, struct forward_tiles *f, struct history *past)
{
	const float *a = s->a + (at->block + k) * s->states + n * LANES;
	const float *from = states_at(s, at, k, at->chunk) + n * LANES;
	lanes A[GROUP], h[GROUP];

	for (int m = 0; m < GROUP; m++) {
		A[m] = lanes_load(a + m * LANES);
		h[m] = at->chunk ? lanes_load(from + m * LANES) : (lanes){0};
		if (past)
			lanes_store(past->h[0][m], h[m]);
	}
	for (long t = 0; t < at->n_tokens; t++) {
		lanes dt = lanes_load(f->dt[k][t]), x = dt * lanes_load(f->u[k][t]);
		lanes sum = lanes_load(f->s[k][t]);
		for (int m = 0; m < GROUP; m++) {
			lanes e = f->fresh[t] ? (lanes){0} : lanes_exp2(dt * A[m]);
			h[m] = e * h[m] + x * g->b[t][m];
			sum += h[m] * g->c[t][m];
			if (past) {
				lanes_store(past->e[t][m], e);
				lanes_store(past->h[t + 1][m], h[m]);
			}
		}
		lanes_store(f->s[k][t], sum);
	}
	if (!past && at->chunk + 1 < s->n_chunks)
		for (int m = 0; m < GROUP; m++)
			lanes_store(states_at(s, at, k, at->chunk + 1) + (n + m) * LANES, h[m]);
}

/* s times SiLU(z). */
static void gate_tile(tile s, tile z, const struct place *at)
{
	for (long k = 0; k < at->n_blocks; k++) {
		float *out = s[k][0], *x = z[k][0];
		#pragma omp simd
		for (long j = 0; j < at->n_tokens * LANES; j++)
			out[j] *= x[j] * vec_sigmoid(x[j]);
	}
}

static void chunk_forward(const struct scan *s, struct place at)
{
	struct forward_tiles f;
	struct group g;

	stage(s, &at, &f);
	softplus_tile(f.dt, &at);
	for (long n = 0; n < s->dims.N; n += GROUP) {
		load_group(s, &at, n, &g);
		for (long k = 0; k < at.n_blocks; k++)
			walk(s, &at, k, n, &g, &f, NULL);
	}
	if (s->run->in[SCAN_Z_BTI]) {
		load(f.u, s->run->in[SCAN_Z_BTI], &at);
		gate_tile(f.s, f.u, &at);
	}
	store(s->run->out[SCAN_Y_BTI], &at, f.s, false);
}

void scan_forward_cpu(const struct op_run *r)
{
	struct scan s = scan_start(r, false);

	#pragma omp parallel for schedule(dynamic)
	for (long task = 0; task < s.n_tasks; task++)
		for (long chunk = 0; chunk < s.n_chunks; chunk++)
			chunk_forward(&s, place_of(&s, task, chunk));
}

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
	const struct group *g, struct backward_tiles *w, struct history *past)
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
	long n_states = s->dims.N, many = n_states - n < GROUP ? n_states - n : GROUP;
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
	struct backward_tiles w;
	struct history past;
	struct group g;

	stage_backward(s, &at, &w);
	for (long n = 0; n < s->dims.N; n += GROUP) {
		load_group(s, &at, n, &g);
		memset(past.d_b, 0, sizeof past.d_b);
		memset(past.d_c, 0, sizeof past.d_c);
		for (long k = 0; k < at.n_blocks; k++) {
			walk(s, &at, k, n, &g, &w.f, &past);
			walk_back(s, &at, k, n, &g, &w, &past);
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
