/* The scan on the CPU, forward, and what it keeps: op/cpu/scan.h. */
#include "op/cpu/scan.h"

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

void scan_room_cpu(struct op_shapes *shapes)
{
	struct scan_dims d = scan_dims(shapes->in);
	struct scan forward = {.keeps = shapes->training}, backward = {.keeps = true};

	layout(&forward, d, false);
	layout(&backward, d, true);
	shapes->forward_workspace = (size_t)forward.used * sizeof(float);
	shapes->backward_workspace = (size_t)backward.used * sizeof(float);
	if (shapes->training)
		shapes->saved[SCAN_STATES] = tensor_of(MASTER, 4, d.B, forward.n_chunks,
			forward.n_blocks, forward.states);
}

struct scan scan_start(const struct op_run *r, bool backward)
{
	const struct tensor *saved = r->saved[SCAN_STATES];
	struct scan s = {.run = r, .keeps = saved, .h = saved ? saved->at : NULL,
		.carried = r->op->n_in > SCAN_N_IN, .workspace = r->workspace};

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
	const struct op_run *r = s->run;
	const struct tensor *operands[] = {r->in[SCAN_U_BTI], r->in[SCAN_DTRAW_BTI],
		r->in[SCAN_Z_BTI], r->out[SCAN_Y_BTI]};
	struct forward_tiles f;
	struct group g;

	stage(s, &at, &f);
	softplus_tile(f.dt, &at);
	for (long n = 0; n < s->dims.N; n += GROUP) {
		load_group(s, &at, n, &g);
		for (long k = 0; k < at.n_blocks; k++)
			walk(s, &at, k, n, &g, &f, NULL,
				ahead_of(s, &at, 1, operands[n / GROUP % 4], k));
	}
	if (s->run->in[SCAN_Z_BTI]) {
		load(f.u, s->run->in[SCAN_Z_BTI], &at);
		gate_tile(f.s, f.u, &at);
	}
	store(s->run->out[SCAN_Y_BTI], &at, f.s, false);
}

/* The states in front of the first chunk, of which those beyond the last channel and state are 0. */
static void begin_carried(const struct scan *s)
{
	const struct tensor *from = s->run->in[SCAN_H_BIN];

	#pragma omp parallel for schedule(static)
	for (long task = 0; task < s->dims.B * s->n_blocks; task++) {
		const struct place at = {.b = task / s->n_blocks, .block = task % s->n_blocks};
		float *h = states_at(s, &at, 0, 0);
		for (long k = 0; k < s->states; k++) {
			long i = at.block * LANES + k % LANES, n = k / LANES;
			h[k] = i < s->dims.I && n < s->dims.N ? row_f32(from, at.b * s->dims.I + i)[n] : 0;
		}
	}
}

void scan_forward_cpu(const struct op_run *r)
{
	struct scan s = scan_start(r, false);

	if (s.carried)
		begin_carried(&s);
	#pragma omp parallel for schedule(dynamic)
	for (long task = 0; task < s.n_tasks; task++)
		for (long chunk = 0; chunk < s.n_chunks; chunk++)
			chunk_forward(&s, place_of(&s, task, chunk));
}
