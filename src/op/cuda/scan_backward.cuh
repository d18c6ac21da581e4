/*
 * The scan's backward kernel: its threads and what they share.
 *
 * A warp has 16 channels and 16 states: lane l two channels, 2 (l / 4) and the next, and four
 * states from 4 (l % 4). Sums over states and over channels are products of matrices with bf16
 * operands (op/cuda/prim.cuh): a thread's eight numbers are just its part of a [16 channels, 16
 * states] operand, in which rows l / 4 and l / 4 + 8 stand for its two channels and columns 2 (l %
 * 4), + 1, + 8, + 9 for its states. Multiplied by [16 states, 8 tokens], with all but the present
 * token 0, it gives sums over states, token by token in the columns of the result; transposed and
 * multiplied by [16 channels, 8 tokens] sums over channels. On cuda_f32 a number is the sum of two
 * bf16.
 */
#ifndef OP_CUDA_SCAN_BACKWARD_CUH
#define OP_CUDA_SCAN_BACKWARD_CUH

#include "op/cuda/scan.cuh"

enum {
	THREADS = SCAN_BACKWARD_THREADS,
	WARPS = THREADS / 32,
	CHANNELS = SCAN_BACKWARD_CHANNELS,
	PAIRS = CHANNELS / 2,
	HALF = SCAN_KEPT,		/* tokens whose states a thread holds */
};

static_assert(WARPS * 16 == CHANNELS, "sixteen channels a warp");

/* Tokens that a block fetches at once; bf16 that make up a number. */
template <typename real>
constexpr int TILE = sizeof(real) == sizeof(bf16) ? 16 : 8;
template <typename real>
constexpr int TERMS = sizeof(real) == sizeof(bf16) ? 1 : 2;

/* ---- numbers as bf16 ------------------------------------------------------------------------- */

__device__ __forceinline__ float low_of(unsigned pair)
{
	return __uint_as_float(pair << 16);
}

__device__ __forceinline__ float high_of(unsigned pair)
{
	return __uint_as_float(pair & 0xffff0000u);
}

/* Two numbers as sums of `terms` pairs of bf16. */
template <int terms>
struct packed {
	unsigned term[terms];
};

template <int terms>
__device__ __forceinline__ packed<terms> pack(float low, float high)
{
	packed<terms> x;

	#pragma unroll
	for (int i = 0; i < terms; i++) {
		x.term[i] = bf16_pair(low, high);
		low -= low_of(x.term[i]);
		high -= high_of(x.term[i]);
	}
	return x;
}

/* ---- products -------------------------------------------------------------------------------- */

/* A thread's part of [16 channels, 16 states]: pairs of states, of both channels each. So they
   are in the registers of a left operand, and two of them in those of a right one. */
template <int terms>
struct operand {
	packed<terms> at[2][2];
};

/* Its part of [16 states or channels, 8 tokens], of which only the present token counts. */
template <int terms>
struct column {
	packed<terms> at[2];
};

template <int terms>
__device__ __forceinline__ operand<terms> operand_of(const float v[2][4])
{
	operand<terms> x;

	#pragma unroll
	for (int m = 0; m < 2; m++)
		#pragma unroll
		for (int k = 0; k < 2; k++)
			x.at[k][m] = pack<terms>(v[m][2 * k], v[m][2 * k + 1]);
	return x;
}

/* sum += a b, both sums of terms. */
template <int terms>
__device__ __forceinline__ void add_product(float (&sum)[4], const unsigned (&a)[terms][4],
	const column<terms> &b, bool present)
{
	#pragma unroll
	for (int i = 0; i < terms; i++)
		#pragma unroll
		for (int j = 0; j < terms - i; j++) {
			unsigned masked[2] = {
				present ? b.at[0].term[j] : 0, present ? b.at[1].term[j] : 0};
			mma_bf16(sum, a[i], masked);
		}
}

/* Sums over states: [0], [1]: the first channel's, tokens 2 (l % 4) and the next; [2], [3]: the
   other's. */
template <int terms>
__device__ __forceinline__ void sum_states(float (&sum)[4], const operand<terms> &x,
	const column<terms> &b, bool present)
{
	unsigned a[terms][4];

	#pragma unroll
	for (int i = 0; i < terms; i++)
		#pragma unroll
		for (int k = 0; k < 4; k++)
			a[i][k] = x.at[k / 2][k % 2].term[i];
	add_product<terms>(sum, a, b, present);
}

/* Sums over channels: [0], [1]: state_of_lane()'s, tokens 2 (l % 4) and the next; [2], [3]: of
   the state two further. unit: the thread's part of the unit matrix, by which x is transposed. */
template <int terms>
__device__ __forceinline__ void sum_channels(float (&sum)[4], const operand<terms> &x,
	const column<terms> &b, bool present, const unsigned (&unit)[4])
{
	unsigned a[terms][4];

	#pragma unroll
	for (int i = 0; i < terms; i++) {
		#pragma unroll
		for (int k = 0; k < 2; k++) {
			const unsigned states[2] = {x.at[k][0].term[i], x.at[k][1].term[i]};
			float v[4];	/* of channels 4 (l % 4), + 2, + 1 and + 3 */
			mma_bf16_new(v, unit, states);
			a[i][k] = bf16_pair_exact(v[0], v[2]);
			a[i][k + 2] = bf16_pair_exact(v[1], v[3]);
		}
	}
	add_product<terms>(sum, a, b, present);
}

__device__ __forceinline__ int state_of_lane(int lane)
{
	return lane / 8 * 4 + lane / 4 % 2;
}

/* Adds what four lanes have of each of four tokens from t (0 or 4), as sum_states() has it. one:
   1 in the low half of a pair where l / 4 is even, else in the high half. */
template <int terms>
__device__ __forceinline__ void sum_lanes(float (&sum)[4], const float v[2][4], int t, int lane,
	unsigned one)
{
	operand<terms> x = operand_of<terms>(v);
	column<1> b = {{{{lane / 8 == t / 2 ? one : 0}}, {{lane / 8 == t / 2 + 1 ? one : 0}}}};

	#pragma unroll
	for (int i = 0; i < terms; i++) {
		operand<1> y = {{{{x.at[0][0].term[i]}, {x.at[0][1].term[i]}},
			{{x.at[1][0].term[i]}, {x.at[1][1].term[i]}}}};
		sum_states<1>(sum, y, b, true);
	}
}

/* ---- states of a thread ---------------------------------------------------------------------- */

/* Two channels' four states after some tokens: bf16 on cuda. */
template <typename real>
struct past;

template <>
struct past<bf16> {
	operand<1> h;

	__device__ __forceinline__ void set(const float v[2][4])
	{
		h = operand_of<1>(v);
	}
	__device__ __forceinline__ float get(int m, int k) const
	{
		unsigned pair = h.at[k / 2][m].term[0];
		return k % 2 ? high_of(pair) : low_of(pair);
	}
	__device__ __forceinline__ operand<1> packed() const
	{
		return h;
	}
	/* Channel m's, as forward kept them. */
	__device__ __forceinline__ void load(int m, const bf16 *at)
	{
		uint2 v = *(const uint2 *)at;
		h.at[0][m].term[0] = v.x;
		h.at[1][m].term[0] = v.y;
	}
};

template <>
struct past<float> {
	float h[2][4];

	__device__ __forceinline__ void set(const float v[2][4])
	{
		#pragma unroll
		for (int k = 0; k < 8; k++)
			h[k / 4][k % 4] = v[k / 4][k % 4];
	}
	__device__ __forceinline__ float get(int m, int k) const
	{
		return h[m][k];
	}
	__device__ __forceinline__ operand<2> packed() const
	{
		return operand_of<2>(h);
	}
	__device__ __forceinline__ void load(int m, const float *at)
	{
		float4 v = *(const float4 *)at;
		h[m][0] = v.x;
		h[m][1] = v.y;
		h[m][2] = v.z;
		h[m][3] = v.w;
	}
};

/* ---- shared memory --------------------------------------------------------------------------- */

enum { U, DTRAW, DY, Z, UNGATED, N_WIDE };	/* operands; each warp fetches one, some two */

template <typename real>
struct backward_stage {
	real wide[N_WIDE][TILE<real>][CHANNELS];
	real b[TILE<real>][SCAN_GROUP], c[TILE<real>][SCAN_GROUP];
	int start[TILE<real>];
};

/* Of each pair of channels a float4 or two has what a walk reads at once; rows are padded so
   that four tokens at once lie in different banks. */
template <typename real>
struct backward_shared {
	backward_stage<real> stage;
	float4 walk[TILE<real>][PAIRS + 1];		/* dt, or ENDLESS, and ds of both */
	float2 x[TILE<real>][PAIRS];			/* dt u */
	float4 finish[TILE<real>][PAIRS + 1];		/* true dt, slope of softplus of both */
	two<real> u[TILE<real>][PAIRS];
	unsigned x_pairs[TERMS<real>][TILE<real>][PAIRS + 8];	/* the same as operands */
	unsigned ds_pairs[TERMS<real>][TILE<real>][PAIRS + 8], b_pairs[TERMS<real>][TILE<real>][8];
	alignas(16) float b[TILE<real>][SCAN_GROUP], c[TILE<real>][SCAN_GROUP];
	float4 sums[TILE<real> / HALF][2][WARPS][32];	/* dB and dC over a warp's channels */
};

/* Columns 4 (l % 4) to + 3 of token t0 + l / 4. */
template <int terms, int n_rows, int wide>
__device__ __forceinline__ column<terms> column_of(const unsigned (&pairs)[terms][n_rows][wide],
	int t0, int first, int lane)
{
	column<terms> x;

	#pragma unroll
	for (int i = 0; i < terms; i++) {
		uint2 v = *(const uint2 *)&pairs[i][t0 + lane / 4][first + lane % 4 * 2];
		x.at[0].term[i] = v.x;
		x.at[1].term[i] = v.y;
	}
	return x;
}

#endif
