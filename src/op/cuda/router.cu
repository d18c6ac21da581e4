/* router on the GPU: three products of 2 N E D FLOPs by tiles in float, dW by parts of so many tokens.
   Bytes: x once or twice, dx once or twice. */
extern "C" {
#include "op/router.h"
}
#include "op/cuda/reduce.cuh"
#include "op/cuda/tile.cuh"

namespace {

struct sizes {
	long n;
	int D, E;
};

/* logit = x W^T: 64 tokens a block of x, 64 experts of y. */
template <typename real>
__global__ void __launch_bounds__(TILE_THREADS) make_logits(sizes z, rows<const real> x,
	rows<const float> w, rows<float> logit)
{
	long t0 = (long)blockIdx.x * TILE_SIDE;
	int e0 = blockIdx.y * TILE_SIDE;
	float sum[4][4] = {};

	tile_product<true, true>(
		sum, z.D,
		[&](int i, long k) { return t0 + i < z.n ? to_float(x[t0 + i][k]) : 0.0f; },
		[&](int j, long k) { return e0 + j < z.E ? w[e0 + j][k] : 0.0f; },
		shared_memory<float>());
	tile_store(sum, [&](int i, int j, float v) {
		if (t0 + i < z.n && e0 + j < z.E)
			logit[t0 + i][e0 + j] = v;
	});
}

/* dx = dlogit W: 64 tokens a block of x, 64 columns of y. */
template <typename real>
__global__ void __launch_bounds__(TILE_THREADS) make_dx(sizes z, rows<const float> dlogit,
	rows<const float> w, rows<real> dx, bool add)
{
	long t0 = (long)blockIdx.x * TILE_SIDE;
	int d0 = blockIdx.y * TILE_SIDE;
	float sum[4][4] = {};

	tile_product<true, false>(
		sum, z.E, [&](int i, long e) { return t0 + i < z.n ? dlogit[t0 + i][e] : 0.0f; },
		[&](int j, long e) { return d0 + j < z.D ? w[e][d0 + j] : 0.0f; },
		shared_memory<float>());
	tile_store(sum, [&](int i, int j, float v) {
		if (t0 + i >= z.n || d0 + j >= z.D)
			return;
		real *to = dx[t0 + i] + d0 + j;
		*to = from_float<real>(add ? to_float(*to) + v : v);
	});
}

/* dW over the tokens of part x: 64 columns in y, 64 experts in z. */
template <typename real>
__global__ void __launch_bounds__(TILE_THREADS) make_dw_parts(sizes z, rows<const float> dlogit,
	rows<const real> x, float *parts)
{
	long t0 = (long)blockIdx.x * ROUTER_PART;
	int d0 = blockIdx.y * TILE_SIDE, e0 = blockIdx.z * TILE_SIDE;
	float sum[4][4] = {};

	tile_product<false, false>(
		sum, min((long)ROUTER_PART, z.n - t0),
		[&](int i, long k) { return e0 + i < z.E ? dlogit[t0 + k][e0 + i] : 0.0f; },
		[&](int j, long k) { return d0 + j < z.D ? to_float(x[t0 + k][d0 + j]) : 0.0f; },
		shared_memory<float>());
	tile_store(sum, [&](int i, int j, float v) {
		if (e0 + i < z.E && d0 + j < z.D)
			parts[((long)blockIdx.x * z.E + e0 + i) * z.D + d0 + j] = v;
	});
}

sizes sizes_of(const struct tensor *x, const struct tensor *w)
{
	return {tensor_rows(x), (int)tensor_width(x), (int)w->dims[0]};
}

unsigned tiles_of(long n)
{
	return (unsigned)ceil_div(n, TILE_SIDE);
}

}  // namespace

extern "C" void router_room_cuda(struct op_shapes *s)
{
	sizes z = sizes_of(s->in[ROUTER_X_BTD], s->in[ROUTER_W_ED]);

	s->backward_workspace = (size_t)ceil_div(z.n, ROUTER_PART) * z.E * z.D * sizeof(float);
}

extern "C" void router_forward_cuda(const struct op_run *r)
{
	const struct tensor *x = r->in[ROUTER_X_BTD], *w = r->in[ROUTER_W_ED];
	sizes z = sizes_of(x, w);

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		launch(r, make_logits<real>, dim3(tiles_of(z.n), tiles_of(z.E)), TILE_THREADS,
			TILE_FLOATS * sizeof(float), z, rows_of<const real>(x),
			rows_of<const float>(w), rows_of<float>(r->out[ROUTER_LOGIT_BTE]));
	});
}

extern "C" void router_backward_cuda(const struct op_run *r)
{
	const struct tensor *x = r->in[ROUTER_X_BTD], *w = r->in[ROUTER_W_ED],
		*dx = r->d_in[ROUTER_X_BTD], *dw = r->d_in[ROUTER_W_ED];
	rows<const float> dlogit = rows_of<const float>(r->d_out[ROUTER_LOGIT_BTE]);
	size_t shared = TILE_FLOATS * sizeof(float);
	sizes z = sizes_of(x, w);
	unsigned parts = (unsigned)ceil_div(z.n, ROUTER_PART);

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		if (dx)
			launch(r, make_dx<real>, dim3(tiles_of(z.n), tiles_of(z.D)), TILE_THREADS,
				shared, z, dlogit, rows_of<const float>(w), rows_of<real>(dx),
				op_adds(r, ROUTER_X_BTD));
		if (dw)
			launch(r, make_dw_parts<real>, dim3(parts, tiles_of(z.D), tiles_of(z.E)),
				TILE_THREADS, shared, z, dlogit, rows_of<const real>(x),
				(float *)r->workspace);
	});
	if (dw)
		reduce_parts_cuda(r, (float *)dw->at, (const float *)r->workspace, parts,
			(long)z.E * z.D, (long)z.E * z.D, op_adds(r, ROUTER_W_ED));
}
