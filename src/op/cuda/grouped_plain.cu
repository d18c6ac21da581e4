/* Products over segments by tiles of 64 x 64 in float: for float32 and for odd widths. */
#include "op/cuda/grouped.cuh"
#include "op/cuda/tile.cuh"

namespace {

/* Element (s, j) of a ROWS_ product. */
template <typename real>
__device__ __forceinline__ void finish(const grouped &g, long s, int j, float v)
{
	real *c = (real *)g.c + s * g.ldc + j, *h = (real *)g.h + s * g.n + j,
		*act = (real *)g.act + s * g.n + j;

	if (g.end == END_STORE) {
		put(c, g.add, v);
		return;
	}
	if (g.end == END_SLOPE) {
		float x = to_float(*h);
		*c = from_float<real>(v * grouped_slope(g.fn, x));
		if (g.fn != ACT_RELU)
			*act = from_float<real>(grouped_act(g.fn, x));
		return;
	}
	if (g.fn != ACT_RELU)
		*h = from_float<real>(v);
	*act = from_float<real>(grouped_act(g.fn, v));
}

/* Block: columns of C fastest, then tiles of rows. */
template <typename real>
__global__ void __launch_bounds__(TILE_THREADS) rows_product(grouped g, int column_tiles)
{
	grouped_rows r = grouped_tile(g, blockIdx.x / column_tiles, TILE_SIDE);
	grouped_part p = grouped_part_of(g, r.e);
	int j0 = blockIdx.x % column_tiles * TILE_SIDE;
	const real *a = (const real *)g.a + r.at * g.lda, *w = (const real *)g.b + p.at;
	float sum[4][4] = {}, *shared = shared_memory<float>();
	auto left = [&](int i, long k) { return i < r.n ? to_float(a[i * g.lda + k]) : 0.0f; };

	if (r.n <= 0 || j0 >= p.n)
		return;
	if (g.form == ROWS_NT)
		tile_product<true, true>(sum, p.k, left, [&](int j, long k) {
			return j0 + j < p.n ? to_float(w[(j0 + j) * g.ldb + k]) : 0.0f; }, shared);
	else
		tile_product<true, false>(sum, p.k, left, [&](int j, long k) {
			return j0 + j < p.n ? to_float(w[k * g.ldb + j0 + j]) : 0.0f; }, shared);
	tile_store(sum, [&](int i, int j, float v) {
		if (i < r.n && j0 + j < p.n)
			finish<real>(g, r.at + i, j0 + j, v);
	});
}

/* Block: columns of C, rows of C, experts. */
template <typename real>
__global__ void __launch_bounds__(TILE_THREADS) expert_product(grouped g)
{
	int j0 = blockIdx.x * TILE_SIDE, i0 = blockIdx.y * TILE_SIDE, e = blockIdx.z;
	grouped_part p = grouped_part_of(g, e);
	long at = g.first[e], n = g.first[e + 1] - at;
	const real *a = (const real *)g.a + at * g.lda + i0;
	const real *b = (const real *)g.b + at * g.ldb + j0;
	float sum[4][4] = {}, *c = (float *)g.c + p.at;

	if (i0 >= p.m || j0 >= p.n)
		return;
	tile_product<false, false>(sum, n,
		[&](int i, long k) { return i0 + i < p.m ? to_float(a[k * g.lda + i]) : 0.0f; },
		[&](int j, long k) { return j0 + j < p.n ? to_float(b[k * g.ldb + j]) : 0.0f; },
		shared_memory<float>());
	tile_store(sum, [&](int i, int j, float v) {
		if (i0 + i >= p.m || j0 + j >= p.n)
			return;
		float *to = c + (i0 + i) * g.ldc + j0 + j;
		*to = g.add ? *to + v : v;
	});
}

template <typename real>
void product_plain(const struct op_run *r, const struct grouped *g)
{
	unsigned columns = (unsigned)ceil_div(g->n, TILE_SIDE);
	size_t shared = TILE_FLOATS * sizeof(float);

	if (g->form == BY_EXPERT)
		launch(r, expert_product<real>, dim3(columns, (unsigned)ceil_div(g->m, TILE_SIDE),
			(unsigned)g->E), TILE_THREADS, shared, *g);
	else
		launch(r, rows_product<real>, dim3((unsigned)grouped_tiles(g, TILE_SIDE) * columns),
			TILE_THREADS, shared, *g, (int)columns);
}

}  // namespace

extern "C" void grouped_product_plain(const struct op_run *r, const struct grouped *g)
{
	with_real(r, [&](auto zero) { product_plain<decltype(zero)>(r, g); });
}

static bool is_even(const void *at, long ld)
{
	return (size_t)at % 16 == 0 && ld % 8 == 0;
}

static bool are_even(const struct units *u)
{
	for (int i = 1; i <= u->n; i++)
		if (u->first[i] % 8)
			return false;
	return true;
}

/* May sixteen bytes be moved at once, everywhere? C of BY_EXPERT is written by pairs of floats. */
static bool serves_mma(const struct grouped *g)
{
	bool step = g->units.n ? are_even(&g->units) : g->step % 8 == 0;

	return is_even(g->a, g->lda) && is_even(g->b, g->ldb) && is_even(g->c, g->ldc) &&
		is_even(g->h, g->n) && is_even(g->act, g->n) && step && g->m % 8 == 0 &&
		g->n % 8 == 0 && g->k % 8 == 0;
}

extern "C" void grouped_product(const struct op_run *r, const struct grouped *g)
{
	if (r->device->bytes[REAL] == sizeof(float) || !serves_mma(g))
		grouped_product_plain(r, g);
	else if (grouped_has_wgmma(r->queue))
		grouped_product_wgmma(r, g);
	else
		grouped_product_mma(r, g);
}
