/*
 * What the kernels of attention (op/attention.h) share. Kernels take a tile of rows (queries; in the
 * backward of k and v: keys) of one head of one sequence against tiles of the others. The tiles of a
 * head follow each other in the grid, so that its keys stay in cache.
 */
#ifndef OP_CUDA_ATTENTION_CUH
#define OP_CUDA_ATTENTION_CUH

extern "C" {
#include "op/attention.h"
}
#include "op/cuda/kit.cuh"
#include "op/cuda/prim.cuh"

/* Operands of a call; those of backward are absent in forward. */
template <typename real>
struct attention {
	rows<const real> q, k, v, dy;
	rows<real> y, dq, dk, dv;
	rows<float> lse;		/* row b T + t, column h */
	float *delta_BHT;		/* <dy_t, y_t>, and then */
	float *lse2_BHT;		/* lse log2(e): in the workspace */
	rows<const int> start;		/* row b; absent: no documents */
	int B, T, H, dh;
	bool add_q, add_k, add_v;
	float scale;			/* 1 / sqrt(dh) */
};

/* One head of one sequence: row t of x is x[t], its columns those of the head. */
struct head {
	int b, h;
	long row;	/* b T */
	long at_BHT;	/* (b H + h) T */
	long column;	/* h dh */
};

template <typename real>
__device__ __forceinline__ head head_of(const attention<real> &a, long i)
{
	int b = (int)(i / a.H), h = (int)(i % a.H);

	return {b, h, (long)b * a.T, i * a.T, (long)h * a.dh};
}

/* The first token that token t sees. */
template <typename real>
__device__ __forceinline__ int first_key(const attention<real> &a, const head &w, int t)
{
	return a.start.at ? a.start[w.b][t] : 0;
}

/* Does every query from `query` on belong to a document that begins behind key `last`? */
template <typename real>
__device__ __forceinline__ bool out_of_sight(const attention<real> &a, const head &w, int query,
	int last)
{
	return first_key(a, w, query) > last;
}

/* Kernels for any head size, length and alignment, on float32 units. */
template <typename real>
void attention_plain_forward(const struct op_run *r, const attention<real> &a);
template <typename real>
void attention_plain_backward(const struct op_run *r, const attention<real> &a);

#endif
