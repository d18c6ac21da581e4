/*
 * ssd on the GPU: what forward and backward share; op/ssd.h has the formula. A block has one chunk of
 * at most 64 tokens of a sequence, and a head or group; products are those of chunk_tile.cuh. Launches:
 * steps (a thread a head), scores, shares of states, these passed on from chunk to chunk, the rest.
 */
#ifndef OP_CUDA_SSD_CUH
#define OP_CUDA_SSD_CUH

#include "op/cuda/chunk_steps.cuh"

extern "C" {
#include "op/ssd_kernels.h"
}

template <typename real>
struct ssd {
	int B, H, P, G, N;
	chunks<real> time;
	rows<const real> x, b, c, dy;
	rows<real> y, dx, ddtraw, db, dc;
	rows<float> d_decay, d_weight, d_own;	/* where these are given */
	const float *d;
	rows<float> carried;	/* op/ssd_carried.h: [B * H * P, N]; forward alone, optional */
	bool begins;		/* with states that are not 0 */
	bool aligned;		/* all rows, heads and groups of x, b, c, dy begin at multiples of eight */
	bool add_x, add_dt, add_b, add_c, add_decay, add_weight, add_own;
	float *scores;		/* [B, chunks, G, 64, 64]: C_t . B_s */
	float *states;		/* [B, chunks, H, N, P] in front of the chunk */
	float *d_states;	/* gradients of the states behind the chunk */
	float *parts;		/* [B, chunks, 3, H]: shares of the gradients of A_log, D, dt_bias */
};

template <typename real>
__device__ __forceinline__ int group_of(const ssd<real> &s, int h)
{
	return h / (s.H / s.G);
}

template <typename real>
__device__ __forceinline__ float *scores_of(const ssd<real> &s, const chunk &k, int g)
{
	return s.scores + (k.index * s.G + g) * CHUNK_SIDE * CHUNK_SIDE;
}

template <typename real>
__device__ __forceinline__ float *state_of(const ssd<real> &s, float *states, const chunk &k, int h)
{
	return states + (k.index * s.H + h) * s.N * s.P;
}

/* Operands: rows of the chunk's tokens, columns of head h from p on; of group g from n on; a state's
   rows from n on, columns from p on. */
template <bool by_term, typename real>
__device__ __forceinline__ lines<real, by_term> head_lines(const ssd<real> &s, const chunk &k,
	const rows<const real> &x, int h, int p, const float *factor = NULL)
{
	return {x[k.row] + h * s.P + p, x.ld, k.n, s.P - p, s.aligned, factor};
}

template <bool by_term, typename real>
__device__ __forceinline__ lines<real, by_term> group_lines(const ssd<real> &s, const chunk &k,
	const rows<const real> &x, int g, int n)
{
	return {x[k.row] + g * s.N + n, x.ld, k.n, s.N - n, s.aligned, NULL};
}

template <bool by_term, typename real>
__device__ __forceinline__ lines<float, by_term> state_lines(const ssd<real> &s, const float *state,
	int n, int p)
{
	return {state + n * s.P + p, s.P, s.N - n, s.P - p, s.aligned, NULL};
}

template <typename real>
ssd<real> ssd_of(const struct op_run *r, bool backward)
{
	const struct tensor *const *in = r->in, *saved = r->saved[SSD_STATES];
	const struct tensor *dy = backward ? r->d_out[SSD_Y_BTI] : NULL;
	struct ssd_dims d = ssd_dims(in, (const struct ssd_attr *)r->attr, SSD_CHUNK);
	long all = d.B * d.n_chunks, states = all * d.H * d.N * d.P;
	size_t size = sizeof(real);
	ssd<real> s = {};

	s.B = (int)d.B, s.H = (int)d.H, s.P = (int)d.P, s.G = (int)d.G, s.N = (int)d.N;
	s.time = {(int)d.T, (int)d.Q, (int)d.n_chunks, s.H, rows_of<const real>(in[SSD_DTRAW_BTH]),
		rows_of<const int>(in[SSD_START_BT]), rows_of<const float>(in[SSD_ALOG_H]).at,
		rows_of<const float>(in[SSD_DTBIAS_H]).at, (chunk_steps *)r->workspace, all,
		rows_of<const float>(in[SSD_DECAY_BTH]), rows_of<const float>(in[SSD_WEIGHT_BTH]),
		rows_of<const float>(in[SSD_OWN_BTH])};
	s.d_decay = rows_of<float>(r->d_in[SSD_DECAY_BTH]), s.d_weight = rows_of<float>(r->d_in[SSD_WEIGHT_BTH]);
	s.d_own = rows_of<float>(r->d_in[SSD_OWN_BTH]);
	s.add_decay = op_adds(r, SSD_DECAY_BTH), s.add_weight = op_adds(r, SSD_WEIGHT_BTH);
	s.add_own = op_adds(r, SSD_OWN_BTH);
	s.x = rows_of<const real>(in[SSD_X_BTI]);
	s.b = rows_of<const real>(in[SSD_B_BTN]), s.c = rows_of<const real>(in[SSD_C_BTN]);
	s.y = rows_of<real>(r->out[SSD_Y_BTI]), s.dy = rows_of<const real>(dy);
	s.dx = rows_of<real>(r->d_in[SSD_X_BTI]), s.ddtraw = rows_of<real>(r->d_in[SSD_DTRAW_BTH]);
	s.db = rows_of<real>(r->d_in[SSD_B_BTN]), s.dc = rows_of<real>(r->d_in[SSD_C_BTN]);
	s.d = (const float *)in[SSD_D_H]->at;
	s.carried = rows_of<float>(in[SSD_H_BIN]);
	s.begins = r->op->n_in > SSD_N_IN;
	s.add_x = op_adds(r, SSD_X_BTI), s.add_dt = op_adds(r, SSD_DTRAW_BTH);
	s.add_b = op_adds(r, SSD_B_BTN), s.add_c = op_adds(r, SSD_C_BTN);
	s.aligned = d.P % 8 == 0 && d.N % 8 == 0 && aligned8(in[SSD_X_BTI], size) &&
		aligned8(in[SSD_B_BTN], size) && aligned8(in[SSD_C_BTN], size) && aligned8(dy, size);
	s.scores = (float *)(s.time.steps + all * d.H);
	s.states = s.d_states = s.scores + all * d.G * CHUNK_SIDE * CHUNK_SIDE;
	s.parts = s.d_states + states;
	if (saved)
		s.states = (float *)saved->at;
	return s;
}

/* Fills steps and scores. */
template <typename real>
void ssd_begin(const struct op_run *r, const ssd<real> &s);
/* From each chunk's share to the states in front of chunks, or with `back` the gradients of those
   behind. Backward takes C, dy and how much enters for B, x and how much leaves. */
template <typename real>
void ssd_pass_states(const struct op_run *r, const ssd<real> &s, bool back);

#endif
