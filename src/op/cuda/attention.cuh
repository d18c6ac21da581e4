/*
 * What the kernels of attention (op/attention.h) share. Kernels take a tile of rows (queries; in the
 * backward of k and v: keys) of one head of one sequence against tiles of the others. The tiles of a
 * head follow each other in the grid, so that its keys stay in cache.
 */
#ifndef OP_CUDA_ATTENTION_CUH
#define OP_CUDA_ATTENTION_CUH

#include <climits>

extern "C" {
#include "op/attention.h"
}
#include "op/cuda/kit.cuh"
#include "op/cuda/prim.cuh"

constexpr int ALL_BACK = INT_MAX;

/* Operands of a call; those of backward are absent in forward. */
template <typename real>
struct attention {
	rows<const real> q, k, v, dy;
	rows<real> y, dq, dk, dv;
	rows<float> lse;		/* row b T + t, column h */
	float2 *kept_BHT;		/* lse log2(e) and <dy_t, y_t>, delta: in the workspace */
	rows<const int> start;		/* row b; absent: no documents */
	int B, T, H, dh;
	int group;			/* heads of q that share one of k and v */
	int reach;			/* tokens back that a token sees; ALL_BACK: no window */
	bool add_q, add_k, add_v;
	float scale, scale2;		/* 1 / sqrt(dh); that times log2(e) */
};

/* One head of one sequence: of q, or of k and v. */
struct head {
	int b, h;
};

template <typename real>
__device__ __forceinline__ head head_of(const attention<real> &a, long i)
{
	return {(int)(i / a.H), (int)(i % a.H)};
}

template <typename real>
__device__ __forceinline__ head shared_head_of(const attention<real> &a, long i)
{
	int n = a.H / a.group;

	return {(int)(i / n), (int)(i % n)};
}

/* The head of k and v that belongs to one of q, and the i-th of q that belongs to one of k and v. */
template <typename real>
__device__ __forceinline__ head shared_of(const attention<real> &a, const head &w)
{
	return {w.b, w.h / a.group};
}

template <typename real>
__device__ __forceinline__ head sharing(const attention<real> &a, const head &w, int i)
{
	return {w.b, w.h * a.group + i};
}

/* Where its token t has its row, what is kept of it, and the head's first column. Made anew where they
   are needed, as registers are scarce. */
template <typename real>
__device__ __forceinline__ long row_of(const attention<real> &a, const head &w, int t)
{
	return (long)w.b * a.T + t;
}

template <typename real>
__device__ __forceinline__ float2 *kept_of(const attention<real> &a, const head &w, int t)
{
	return a.kept_BHT + ((long)w.b * a.H + w.h) * a.T + t;
}

template <typename real>
__device__ __forceinline__ long column_of(const attention<real> &a, const head &w)
{
	return (long)w.h * a.dh;
}

/* The first token that token t sees. */
template <typename real>
__device__ __forceinline__ int first_key(const attention<real> &a, const head &w, int t)
{
	int first = a.start.at ? a.start[w.b][t] : 0;

	return a.reach == ALL_BACK ? first : max(first, t - a.reach);
}

/* Does token t see none of the tokens in front of `key`, for a window's sake? */
template <typename real>
__device__ __forceinline__ bool out_of_window(const attention<real> &a, int t, int key)
{
	return a.reach != ALL_BACK && key <= t - a.reach;
}

/* What a kernel works with that is compiled twice: without windows and groups the compiler sees that there
   are none, and registers are scarce. */
template <bool banded, typename real>
__device__ __forceinline__ attention<real> operands_of(attention<real> a)
{
	if (!banded) {
		a.group = 1;
		a.reach = ALL_BACK;
	}
	return a;
}

template <typename real>
bool is_banded(const attention<real> &a)
{
	return a.group > 1 || a.reach != ALL_BACK;
}

/* Kernels for any head size, length and alignment, on float32 units. */
template <typename real>
void attention_plain_forward(const struct op_run *r, const attention<real> &a);
template <typename real>
void attention_plain_backward(const struct op_run *r, const attention<real> &a);

/* Kernels on tensor cores, for heads of a multiple of 8 up to ATTENTION_TENSOR_HEAD columns whose rows
   may be moved eight at once, where a block may have that much shared memory. */
enum { ATTENTION_TENSOR_HEAD = 128 };
size_t attention_tensor_shared(int dh);
void attention_tensor_forward(const struct op_run *r, const attention<bf16> &a);
void attention_tensor_backward(const struct op_run *r, const attention<bf16> &a);

#endif
