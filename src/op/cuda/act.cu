/*
 * act: a thread has eight neighbours of a row. Bytes for n elements of e bytes: 2 e n forward, 3 e n
 * backward (4 where it adds).
 */
extern "C" {
#include "op/act.h"
}
#include "op/cuda/act_fn.cuh"

namespace {

enum { THREADS = 256 };

/* Rows in pieces of eight; those that lie without gaps count as one row. */
struct pieces {
	long n, in_row, width;

	/* Piece i: its row and its first element there. */
	__device__ __forceinline__ void find(long i, long *row, long *first) const
	{
		*row = i < in_row ? 0 : i / in_row;	/* a division costs as much as the rest */
		*first = 8 * (i - *row * in_row);
	}
};

pieces pieces_of(const struct tensor *x, bool gaps)
{
	long width = gaps ? tensor_width(x) : tensor_size(x), in_row = ceil_div(width, 8);

	return {in_row * (gaps ? tensor_rows(x) : 1), in_row, width};
}

bool has_gaps(const struct tensor *x)
{
	return x->ld != tensor_width(x);
}

template <bool fast, typename real>
__device__ __forceinline__ eight load_piece(rows<real> x, long row, long first, long width)
{
	return fast ? load8(x[row] + first)
		: load_first(x[row] + first, (int)min(width - first, 8l));
}

template <bool fast, typename real>
__device__ __forceinline__ void store_piece(rows<real> x, long row, long first, long width,
	const eight &v)
{
	if (fast)
		store8(x[row] + first, v);
	else
		store_first(x[row] + first, v, (int)min(width - first, 8l));
}

template <enum act_fn fn, bool fast, typename real>
__global__ void act_forward(rows<real> y, rows<real> x, pieces p)
{
	long i = (long)blockIdx.x * THREADS + threadIdx.x, row, first;

	if (i >= p.n)
		return;
	p.find(i, &row, &first);
	eight v = load_piece<fast>(x, row, first, p.width);
	#pragma unroll
	for (int k = 0; k < 8; k++)
		v.v[k] = act_value<fn>(v.v[k]);
	store_piece<fast>(y, row, first, p.width, v);
}

/* dx = f'(x) dy; dx may lie on dy. */
template <enum act_fn fn, bool fast, typename real>
__global__ void act_backward(rows<real> dx, rows<real> x, rows<real> dy, pieces p, bool add)
{
	long i = (long)blockIdx.x * THREADS + threadIdx.x, row, first;
	eight old = {};

	if (i >= p.n)
		return;
	p.find(i, &row, &first);
	eight v = load_piece<fast>(x, row, first, p.width);
	eight g = load_piece<fast>(dy, row, first, p.width);
	if (add)
		old = load_piece<fast>(dx, row, first, p.width);
	#pragma unroll
	for (int k = 0; k < 8; k++)
		g.v[k] = old.v[k] + act_slope<fn>(v.v[k]) * g.v[k];
	store_piece<fast>(dx, row, first, p.width, g);
}

template <enum act_fn fn, bool fast, typename real>
void forward(const struct op_run *r, pieces p)
{
	launch(r, act_forward<fn, fast, real>, dim3((unsigned)ceil_div(p.n, THREADS)), THREADS, 0,
		rows_of<real>(r->out[ACT_Y]), rows_of<real>(r->in[ACT_X]), p);
}

template <enum act_fn fn, bool fast, typename real>
void backward(const struct op_run *r, pieces p)
{
	launch(r, act_backward<fn, fast, real>, dim3((unsigned)ceil_div(p.n, THREADS)), THREADS, 0,
		rows_of<real>(r->d_in[ACT_X]), rows_of<real>(r->in[ACT_X]),
		rows_of<real>(r->d_out[ACT_Y]), p, op_adds(r, ACT_X));
}

}

extern "C" void act_forward_cuda(const struct op_run *r)
{
	const struct act_attr *attr = (const struct act_attr *)r->attr;
	const struct tensor *x = r->in[ACT_X], *y = r->out[ACT_Y];
	pieces p = pieces_of(x, has_gaps(x) || has_gaps(y));

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		bool fast = aligned8(x, sizeof zero) && aligned8(y, sizeof zero);
		with_act(attr->fn, [&](auto f) {
			if (fast)
				forward<decltype(f)::value, true, real>(r, p);
			else
				forward<decltype(f)::value, false, real>(r, p);
		});
	});
}

extern "C" void act_backward_cuda(const struct op_run *r)
{
	const struct act_attr *attr = (const struct act_attr *)r->attr;
	const struct tensor *x = r->in[ACT_X], *dx = r->d_in[ACT_X], *dy = r->d_out[ACT_Y];
	pieces p = pieces_of(x, has_gaps(x) || has_gaps(dx) || has_gaps(dy));

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		bool fast = aligned8(x, sizeof zero) && aligned8(dx, sizeof zero) &&
			aligned8(dy, sizeof zero);
		with_act(attr->fn, [&](auto f) {
			if (fast)
				backward<decltype(f)::value, true, real>(r, p);
			else
				backward<decltype(f)::value, false, real>(r, p);
		});
	});
}
