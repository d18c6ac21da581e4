/* combine on the GPU: a warp does a row, forward of a token, backward of the buffer, so that what
   is written lies together. Bytes: forward 2 rows a token, backward 3. */
extern "C" {
#include "op/combine.h"
}
#include "op/cuda/moe.cuh"

namespace {

template <typename real, bool wide>
__global__ void scale_rows(rows<const real> ye, by_token<const int> slot,
	by_token<const float> gate, rows<real> y, long n, int O, int K)
{
	long t = row_of_warp();

	if (t >= n)
		return;
	if (K > 1) {
		sum_rows<wide>(y[t], ye, slot, t * K, K, [&](long i) { return gate[i]; }, O, false);
		return;
	}
	int s = slot[t];
	scale_row<wide>(y[t], s < 0 ? NULL : ye[s], s < 0 ? 0 : gate[t], O, false);
}

template <typename real>
struct combine_backward {
	rows<const real> ye, dy;
	rows<real> dye;			/* at NULL: not wanted */
	by_token<const int> slot;
	by_token<const float> gate;
	by_token<float> dgate;		/* at NULL: not wanted */
	const int *token, *end;		/* of the rows that are somebody's */
	long n, S;			/* choices; rows of the buffer */
	int O, K;
	bool add_ye, add_gate;
};

/* <dy, ye> of a row and its choice, by a warp; dye = gate dy. */
template <bool wide, typename real>
__device__ __forceinline__ float row_gradient(const combine_backward<real> &c, long s, long i0)
{
	constexpr int each = wide ? 8 : 1;
	float dot = 0, gate = c.gate[i0];
	const real *from = c.dy[(int)i0 / c.K], *y = c.ye[s];
	real *to = c.dye.at ? c.dye[s] : NULL;

	for (int i = threadIdx.x % WARP_LANES * each; i < c.O; i += WARP_LANES * each) {
		eight d = load_columns<wide>(from + i), v = load_columns<wide>(y + i);
		eight old = to && c.add_ye ? load_columns<wide>(to + i) : eight{};
		#pragma unroll
		for (int k = 0; k < each; k++) {
			dot += d.v[k] * v.v[k];
			d.v[k] = gate * d.v[k] + old.v[k];
		}
		if (to)
			store_columns<wide>(to + i, d);
	}
	return warp_sum(dot);
}

/* Warps below S do a row of the buffer; those behind the gates of 32 choices that have no row. */
template <typename real, bool wide>
__global__ void scale_rows_backward(combine_backward<real> c)
{
	long s = row_of_warp(), lane = threadIdx.x % WARP_LANES, t = (s - c.S) * WARP_LANES + lane;

	if (s >= c.S) {
		if (c.dgate.at && t < c.n && c.slot[t] < 0 && !c.add_gate)
			c.dgate[t] = 0;
		return;
	}
	if (s >= *c.end)
		return;
	t = c.token[s];
	if (t < 0) {
		if (c.dye.at && !c.add_ye)
			scale_row<wide, real>(c.dye[s], NULL, 0, c.O, false);
		return;
	}
	float dot = row_gradient<wide>(c, s, t);
	if (c.dgate.at && lane == 0)
		c.dgate[t] = dot + (c.add_gate ? c.dgate[t] : 0);
}

/* K, choices of a token, of which there are n. */
int choices_of(const struct op_run *r, long n)
{
	return (int)(tensor_size(r->in[COMBINE_SLOT_BTK]) / n);
}

}  // namespace

extern "C" void combine_forward_cuda(const struct op_run *r)
{
	const struct tensor *ye = r->in[COMBINE_YE_SO], *y = r->out[COMBINE_Y_BTO];

	with_rows(r, ye, y, NULL, [&](auto zero, bool wide) {
		typedef decltype(zero) real;
		launch(r, wide ? scale_rows<real, true> : scale_rows<real, false>,
			grid_of_rows(tensor_rows(y)), ROW_THREADS, 0, rows_of<const real>(ye),
			by_token_of<const int>(r->in[COMBINE_SLOT_BTK]),
			by_token_of<const float>(r->in[COMBINE_GATE_BTK]), rows_of<real>(y),
			tensor_rows(y), (int)tensor_width(y), choices_of(r, tensor_rows(y)));
	});
}

extern "C" void combine_backward_cuda(const struct op_run *r)
{
	const struct tensor *ye = r->in[COMBINE_YE_SO], *dy = r->d_out[COMBINE_Y_BTO],
		*dye = r->d_in[COMBINE_YE_SO], *first = r->in[COMBINE_FIRST_E1];
	long S = tensor_rows(ye), n = tensor_size(r->in[COMBINE_SLOT_BTK]);

	with_rows(r, ye, dy, dye, [&](auto zero, bool wide) {
		typedef decltype(zero) real;
		combine_backward<real> c = {rows_of<const real>(ye), rows_of<const real>(dy),
			rows_of<real>(dye), by_token_of<const int>(r->in[COMBINE_SLOT_BTK]),
			by_token_of<const float>(r->in[COMBINE_GATE_BTK]),
			by_token_of<float>(r->d_in[COMBINE_GATE_BTK]),
			(const int *)r->in[COMBINE_TOKEN_S]->at,
			(const int *)first->at + tensor_width(first) - 1, n, S,
			(int)tensor_width(dy), choices_of(r, tensor_rows(dy)), op_adds(r, COMBINE_YE_SO),
			op_adds(r, COMBINE_GATE_BTK)};
		launch(r, wide ? scale_rows_backward<real, true> : scale_rows_backward<real, false>,
			grid_of_rows(S + ceil_div(n, WARP_LANES)), ROW_THREADS, 0, c);
	});
}
