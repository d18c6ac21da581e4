/*
 * The scan on a GPU: what its kernels share. op/scan.h has the formula.
 *
 * Forward (scan_forward.cu): two threads share two channels, eight states of each a thread, and
 * walk through time with states in registers. Backward (scan_backward.cu): four threads share two
 * channels, four states of each, and walk back SCAN_KEPT tokens at a time from the states that
 * forward kept in front of them. Where batch and channels are too few for a GPU, time is cut into
 * segments, and one walk more finds with which states each begins (scan_ends.cu). Work is cut by
 * shapes alone; partial sums lie in the workspace and are added in order, so the same input gives
 * the same bits.
 *
 * More than SCAN_GROUP states are taken a group after the other within each tile of tokens; what a
 * thread carries through time lies in the workspace meanwhile.
 *
 * Bytes a token and channel with N states, of elements of e bytes, gated: forward 5 e + e N / 8,
 * backward 8 e + e N / 8, and N / 8 for sums over channels, written and read. On an H200 forward
 * is bound by its N + 3 exponentials and reciprocals, backward by instructions.
 */
#ifndef OP_CUDA_SCAN_CUH
#define OP_CUDA_SCAN_CUH

#include "op/cuda/kit.cuh"
#include "op/cuda/prim.cuh"
#include "op/cuda/scan_room.h"
#include "op/kit/vec.h"

extern "C" {
#include "op/scan.h"
}

/* dt of a token that nothing passes from the one before: exp(dt A) is 0, and 0 dt is 0. */
constexpr float ENDLESS = 3e38f;

/* A gradient: absent, written or added to. */
template <typename element>
struct gradient {
	element *at;
	long ld;
	bool add;
};

template <typename real>
struct scan {
	struct scan_sizes n;
	rows<const real> u, dtraw, b, c, z;	/* rows are tokens, B * T; z optional */
	rows<const float> a_log, d, dt_bias;	/* [I, N], and one row of I each */
	rows<const int> start;			/* optional; rows are sequences */
	rows<float> carried;			/* op/scan_carried.h: [B * I, N]; forward alone, optional */
	rows<real> y;
	real *states, *ungated; /* kept by forward in training; [B * T, I] y before the gate */
	rows<const real> dy;
	gradient<real> du, ddtraw, db, dc, dz;
	gradient<float> da_log, dd, ddt_bias;
	/* workspace: */
	float *ends, *steps;	/* see scan_ends.cu; what each segment begins with */
	float *walkers;		/* see resting_place() */
	float *bc, *parameters;	/* partial sums: scan_parts.cu */
};

/* The operands of a run. */
template <typename real>
scan<real> scan_of(const struct op_run *r);

/* May eight neighbours of all rows be moved at once? */
bool scan_aligned(const struct op_run *r);

/* Finds what each segment begins with, in s.ends: states, or backward the gradients that enter
   from behind. */
template <typename real>
void scan_find_ends(const struct op_run *r, const scan<real> &s, bool backward);

/* Adds up what backward's blocks leave. */
template <typename real>
void scan_sum_parts(const struct op_run *r, const scan<real> &s);

/* ---- what kernels share ---------------------------------------------------------------------- */

/* What a block is about. */
struct scan_place {
	int b, segment, block;	/* block of channels */
	int i0;			/* its first channel */
	int from, to;		/* tokens of the sequence */
};

/* Of n_blocks blocks with so many channels each. */
__device__ __forceinline__ scan_place place_of(const struct scan_sizes &n, unsigned block,
	int n_blocks, int channels)
{
	scan_place at;

	at.block = (int)(block % (unsigned)n_blocks);
	block /= (unsigned)n_blocks;
	at.b = (int)(block % (unsigned)n.B);
	at.segment = (int)(block / (unsigned)n.B);
	at.i0 = at.block * channels;
	at.from = at.segment * n.length;
	at.to = min(at.from + n.length, n.T);
	return at;
}

/* log(1 + w) for 0 <= w <= 1; in bf16 within 7e-5 of it, by a minimax polynomial. */
template <typename real>
__device__ __forceinline__ float log1p_unit(float w)
{
	float p = 4.31062580e-2f;

	if (sizeof(real) == sizeof(float))
		return vec_log1p_unit(w);
	p = fmaf(p, w, -1.61363035e-1f);
	p = fmaf(p, w, 3.09224745e-1f);
	p = fmaf(p, w, -4.97774490e-1f);
	p = fmaf(p, w, 1.0f);
	return p * w;
}

template <typename real>
__device__ __forceinline__ float softplus(float x)
{
	return fmaxf(x, 0.0f) + log1p_unit<real>(exp2_fast(-fabsf(x) * LOG2E));
}

/* A log2(e) of a channel's state; beyond the last one 0, which keeps a state at 0. */
template <typename real>
__device__ __forceinline__ float decay_rate(const scan<real> &s, int i, int n)
{
	return i < s.n.I && n < s.n.N ? -exp2f(s.a_log[i][n] * LOG2E) * LOG2E : 0.0f;
}

/*
 * Eight kept states, those from 16 group + 8 half, of channel i, in front of token kept *
 * SCAN_KEPT. Channels lie in pairs; which of the two comes first is exchanged in the second half,
 * so that a pair of forward's threads writes 32 bytes at once.
 */
template <typename real>
__device__ __forceinline__ real *kept_states(const scan<real> &s, int b, int kept, int group,
	int half, int i)
{
	long row = ((long)b * s.n.n_kept + kept) * s.n.n_groups + group;
	long pair = row * ((s.n.I + 1) / 2) + i / 2;

	return s.states + (pair * 4 + (i % 2 ^ half) * 2 + half) * 8;
}

/* What segment `segment` of sequence b begins with: state n of channel i. */
template <typename real>
__device__ __forceinline__ float *end_of(const scan<real> &s, int b, int segment, int n, int i)
{
	return s.ends +
		(((long)b * s.n.n_segments + segment) * s.n.n_groups * SCAN_GROUP + n) * s.n.I + i;
}

/* State n of channel i with which sequence b begins. */
template <typename real>
__device__ __forceinline__ float first_state(const scan<real> &s, int b, int n, int i)
{
	return s.carried.at && n < s.n.N && i < s.n.I ? s.carried[(long)b * s.n.I + i][n] : 0;
}

/* SCAN_GROUP floats of a thread, n_threads apart: what it carries of a group of states while
   another is at work; of group n_groups, sums over those at work so far. */
template <typename real>
__device__ __forceinline__ float *resting_place(const scan<real> &s, int group, int n_threads)
{
	long place = (long)blockIdx.x * (s.n.n_groups + 1) + group;

	return s.walkers + place * SCAN_GROUP * n_threads + threadIdx.x;
}

/* The tile of gradients that begins at a token and a channel; in it offsets are of 32 bits. */
template <typename element>
__device__ __forceinline__ gradient<element> tile_of(const gradient<element> &x, long row, int i)
{
	return {x.at ? x.at + row * x.ld + i : NULL, x.ld, x.add};
}

/* Two neighbouring numbers. */
template <typename real>
struct alignas(2 * sizeof(real)) two {
	real low, high;
};

/* Row t, columns i and the next of a tile, of which `n` are there; `aligned`: as one access. */
template <bool aligned, typename real>
__device__ __forceinline__ void put_two(const gradient<real> &tile, int t, int i, int n, float low,
	float high)
{
	real *at = tile.at + (t * (int)tile.ld + i);

	if (!tile.at || n <= 0)
		return;
	if constexpr (aligned) {
		two<real> *to = (two<real> *)at, old;
		if (tile.add) {
			old = *to;
			low += to_float(old.low);
			high += to_float(old.high);
		}
		*to = {from_float<real>(low), from_float<real>(high)};
	} else {
		put(at, tile.add, low);
		if (n > 1)
			put(at + 1, tile.add, high);
	}
}

/* Enqueues the copy of n_tokens rows of n_columns by one warp, the first row and column at
   `from`; 0 from there on. Not aligned, it is done on return. */
template <bool aligned, int n_rows, int wide, typename real>
__device__ __forceinline__ void fetch(real (&to)[n_rows][wide], const real *from, int ld,
	int n_tokens, int n_columns)
{
	constexpr int each = aligned ? 16 / (int)sizeof(real) : 1, per_row = wide / each;
	int lane = (int)threadIdx.x % 32;

	#pragma unroll 8
	for (int k = 0; k < n_rows * per_row; k += 32) {
		int t = (k + lane) / per_row, j = (k + lane) % per_row * each;
		bool there = t < n_tokens && j < n_columns;
		if constexpr (aligned)
			copy_async(&to[t][j], from + (t * ld + j), there);
		else
			to[t][j] = there ? from[t * ld + j] : from_float<real>(0);
	}
}

/* What one warp fetches of every tile: an operand's rows of a sequence, in the block's channels. */
template <typename real>
struct supply {
	const real *at;		/* NULL: nothing */
	int ld, n_columns;

	template <bool aligned, int n_rows, int wide>
	__device__ __forceinline__ void fetch_tile(real (&to)[n_rows][wide], int t0,
		int n_tokens) const
	{
		if (at)
			fetch<aligned>(to, at + (long)t0 * ld, ld, n_tokens, n_columns);
	}
};

template <typename real>
__device__ __forceinline__ supply<real> supply_of(const scan<real> &s, const scan_place &at,
	const rows<const real> &x)
{
	return {x.at ? x[(long)at.b * s.n.T] + at.i0 : NULL, (int)x.ld, s.n.I - at.i0};
}

/* The same of where tokens' documents begin, at most 32. */
template <int n_rows, typename real>
__device__ __forceinline__ void fetch_start(int (&to)[n_rows], const scan<real> &s, int b, int t0,
	int n_tokens)
{
	int t = (int)threadIdx.x % 32;

	if (s.start.at && t < n_tokens && t < n_rows)
		__pipeline_memcpy_async(&to[t], s.start[b] + t0 + t, sizeof(int));
}

#endif
