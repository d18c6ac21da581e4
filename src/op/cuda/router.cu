/* router on the GPU: three products of 2 N E D FLOPs, dW by parts of so many tokens: by tensor cores in bf16
   (router_mma.cuh), else by tiles in float. Bytes: x once or twice, dx once or twice; with tensor cores dlogit as bf16
   once more. */
extern "C" {
#include "op/router.h"
}
#include "op/cuda/mma_tile.cuh"
#include "op/cuda/reduce.cuh"
#include "op/cuda/router_mma.cuh"
#include "op/cuda/tile.cuh"

namespace {

/* logit = x W^T: 64 tokens a block of x, 64 experts of y. */
template <typename real>
__global__ void __launch_bounds__(TILE_THREADS) make_logits(router_sizes z, rows<const real> x,
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
__global__ void __launch_bounds__(TILE_THREADS) make_dx(router_sizes z, rows<const float> dlogit,
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
		put(dx, t0 + i, d0 + j, add, v);
	});
}

/* dW over the tokens of part x: 64 columns in y, 64 experts in z. */
template <typename real>
__global__ void __launch_bounds__(TILE_THREADS) make_dw_parts(router_sizes z, rows<const float> dlogit,
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

/* dlogit [N, E] in two parts as [2, E, N], which the products read: TILE_SIDE tokens a block. */
__global__ void __launch_bounds__(TILE_THREADS) split_dlogit(router_sizes z, rows<const float> dlogit, bf16 *to)
{
	long t = (long)blockIdx.x * TILE_SIDE + threadIdx.x % TILE_SIDE;
	bf16 part[2];

	if (t >= z.n)
		return;
	for (int e = threadIdx.x / TILE_SIDE; e < z.E; e += TILE_THREADS / TILE_SIDE) {
		mma_split(dlogit[t][e], part);
		to[e * z.n + t] = part[0];
		to[(z.E + e) * z.n + t] = part[1];
	}
}

unsigned tiles_of(long n)
{
	return (unsigned)ceil_div(n, TILE_SIDE);
}

}  // namespace

/* W in parts; backward also dlogit in parts, 4 bytes a number, and the parts of dW. */
extern "C" void router_room_cuda(struct op_shapes *s)
{
	router_sizes z = router_sizes_of(s->in[ROUTER_X_BTD], s->in[ROUTER_W_ED]);

	s->forward_workspace = router_split_bytes(z);
	s->backward_workspace = router_split_bytes(z) +
		sizeof(float) * ((size_t)z.n * z.E + (size_t)ceil_div(z.n, ROUTER_PART) * z.E * z.D);
}

extern "C" void router_forward_cuda(const struct op_run *r)
{
	const struct tensor *x = r->in[ROUTER_X_BTD], *w = r->in[ROUTER_W_ED], *logit = r->out[ROUTER_LOGIT_BTE];
	router_sizes z = router_sizes_of(x, w);
	bf16 *parts = (bf16 *)r->workspace;

	if (router_serves_mma(r->device, x, NULL)) {
		router_mma_split(r, z, w, parts);
		router_mma_logits(r, z, x, parts, (float *)logit->at, logit->ld, 1);
		return;
	}
	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		launch(r, make_logits<real>, dim3(tiles_of(z.n), tiles_of(z.E)), TILE_THREADS,
			TILE_FLOATS * sizeof(float), z, rows_of<const real>(x), rows_of<const float>(w),
			rows_of<float>(logit));
	});
}

/* dx, and the parts of dW: how many there are. */
static long products_mma(const struct op_run *r, const router_sizes &z, float *dw_parts)
{
	const struct tensor *x = r->in[ROUTER_X_BTD], *dx = r->d_in[ROUTER_X_BTD];
	bf16 *w = (bf16 *)r->workspace, *dlogit = w + router_split_bytes(z) / sizeof(bf16);

	launch(r, split_dlogit, dim3(tiles_of(z.n)), TILE_THREADS, 0, z,
		rows_of<const float>(r->d_out[ROUTER_LOGIT_BTE]), dlogit);
	if (dx) {
		router_mma_split(r, z, r->in[ROUTER_W_ED], w);
		router_mma_dx(r, z, dlogit, w, dx, op_adds(r, ROUTER_X_BTD));
	}
	if (r->d_in[ROUTER_W_ED])
		router_mma_dw_parts(r, z, dlogit, x, dw_parts);
	return router_mma_parts(z);
}

static long products_plain(const struct op_run *r, const router_sizes &z, float *dw_parts)
{
	const struct tensor *x = r->in[ROUTER_X_BTD], *dx = r->d_in[ROUTER_X_BTD];
	rows<const float> dlogit = rows_of<const float>(r->d_out[ROUTER_LOGIT_BTE]),
		w = rows_of<const float>(r->in[ROUTER_W_ED]);
	long parts = ceil_div(z.n, ROUTER_PART);

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		if (dx)
			launch(r, make_dx<real>, dim3(tiles_of(z.n), tiles_of(z.D)), TILE_THREADS,
				TILE_FLOATS * sizeof(float), z, dlogit, w, rows_of<real>(dx),
				op_adds(r, ROUTER_X_BTD));
		if (r->d_in[ROUTER_W_ED])
			launch(r, make_dw_parts<real>, dim3((unsigned)parts, tiles_of(z.D), tiles_of(z.E)),
				TILE_THREADS, TILE_FLOATS * sizeof(float), z, dlogit, rows_of<const real>(x),
				dw_parts);
	});
	return parts;
}

extern "C" void router_backward_cuda(const struct op_run *r)
{
	const struct tensor *x = r->in[ROUTER_X_BTD], *dw = r->d_in[ROUTER_W_ED];
	router_sizes z = router_sizes_of(x, r->in[ROUTER_W_ED]);
	float *dw_parts = (float *)((char *)r->workspace + router_split_bytes(z)) + z.n * z.E;
	long parts = router_serves_mma(r->device, x, r->d_in[ROUTER_X_BTD]) ? products_mma(r, z, dw_parts)
		: products_plain(r, z, dw_parts);

	if (dw)
		reduce_parts_cuda(r, (float *)dw->at, dw_parts, parts, (long)z.E * z.D, (long)z.E * z.D,
			op_adds(r, ROUTER_W_ED));
}
