/*
 * rope: one kernel makes cosine and sine of every position and pair, in float64 as the reference does
 * (65,536 x 32 of them take less than a pass over x); then a thread turns eight pairs of a head.
 * Bytes for n elements of e bytes: 2 e n each way (3 where it adds); the table stays in cache.
 */
extern "C" {
#include "op/rope.h"
}
#include "op/cuda/kit.cuh"

namespace {

enum { THREADS = 256 };

/* In the workspace. */
struct table {
	float *cos_TP, *sin_TP;
	int T, pairs;	/* positions: tokens of a sequence, or with documents of all */
};

/* start NULL: position t, else that of row t in its document. */
__global__ void rope_table(table k, double base, rows<const int> start, int T)
{
	long i = (long)blockIdx.x * THREADS + threadIdx.x;

	if (i >= (long)k.T * k.pairs)
		return;
	int t = (int)(i / k.pairs), pair = (int)(i % k.pairs);
	int position = start.at ? t % T - start[t / T][t % T] : t;
	double angle = position * pow(base, -(double)pair / k.pairs);
	k.cos_TP[i] = (float)cos(angle);
	k.sin_TP[i] = (float)sin(angle);
}

/* How threads share rows: `across` of them take the pieces of one, each eight pairs of a head. */
struct shares {
	long n_rows;
	unsigned pieces, in_head, across;
	bool add;
};

/* y = x turned by the angle of each position, or back (sign -1). y may be x. */
template <bool fast, typename real>
__global__ void rope_turn(rows<real> y_rows, rows<real> x_rows, table k, shares s, float sign)
{
	long row = (long)blockIdx.x * (THREADS / s.across) + threadIdx.x / s.across;

	if (row >= s.n_rows || threadIdx.x / s.across >= THREADS / s.across)
		return;
	long position = (long)((unsigned)row % (unsigned)k.T) * k.pairs;
	for (unsigned p = threadIdx.x % s.across; p < s.pieces; p += s.across) {
		int head = (int)(p / s.in_head), pair = (int)(p % s.in_head) * 8;
		int n = min(8, k.pairs - pair);
		long at = 2l * head * k.pairs + pair;
		const float *c_at = k.cos_TP + position + pair, *s_at = k.sin_TP + position + pair;
		real *x = x_rows[row] + at, *y = y_rows[row] + at;
		eight u = fast ? load8(x) : load_first(x, n), old_u = {};
		eight v = fast ? load8(x + k.pairs) : load_first(x + k.pairs, n), old_v = {};
		eight co = fast ? load8(c_at) : load_first(c_at, n);
		eight si = fast ? load8(s_at) : load_first(s_at, n);
		if (s.add) {
			old_u = fast ? load8(y) : load_first(y, n);
			old_v = fast ? load8(y + k.pairs) : load_first(y + k.pairs, n);
		}
		#pragma unroll
		for (int i = 0; i < 8; i++) {
			float a = u.v[i], b = v.v[i], t = sign * si.v[i];
			u.v[i] = old_u.v[i] + (a * co.v[i] - b * t);
			v.v[i] = old_v.v[i] + (b * co.v[i] + a * t);
		}
		if (fast) {
			store8(y, u);
			store8(y + k.pairs, v);
		} else {
			store_first(y, u, n);
			store_first(y + k.pairs, v, n);
		}
	}
}

table make_table(const struct op_run *r, const struct tensor *x)
{
	const struct rope_attr *attr = (const struct rope_attr *)r->attr;
	const struct tensor *start = r->in[ROPE_START_BT];
	int T = (int)(start ? tensor_rows(x) : x->dims[1]);
	int pairs = (int)(tensor_width(x) / attr->n_heads / 2);
	long n = (long)T * pairs;
	table k = {(float *)r->workspace, (float *)r->workspace + n, T, pairs};

	launch(r, rope_table, dim3((unsigned)ceil_div(n, THREADS)), THREADS, 0, k, attr->base,
		rows_of<const int>(start), (int)x->dims[1]);
	return k;
}

void turn(const struct op_run *r, const struct tensor *y, const struct tensor *x, float sign,
	bool add)
{
	const struct rope_attr *attr = (const struct rope_attr *)r->attr;
	table k = make_table(r, x);
	unsigned in_head = (unsigned)ceil_div(k.pairs, 8), pieces = in_head * (unsigned)attr->n_heads;
	shares s = {tensor_rows(x), pieces, in_head, pieces < THREADS ? pieces : (unsigned)THREADS, add};
	dim3 grid((unsigned)ceil_div(s.n_rows, THREADS / s.across));

	CHECK(s.n_rows <= 0xffffffffl);
	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		bool fast = k.pairs % 8 == 0 && aligned8(x, sizeof zero) && aligned8(y, sizeof zero);
		launch(r, fast ? rope_turn<true, real> : rope_turn<false, real>, grid, THREADS, 0,
			rows_of<real>(y), rows_of<real>(x), k, s, sign);
	});
}

}

extern "C" void rope_forward_cuda(const struct op_run *r)
{
	turn(r, r->out[ROPE_Y_BTD], r->in[ROPE_X_BTD], 1, false);
}

extern "C" void rope_backward_cuda(const struct op_run *r)
{
	turn(r, r->d_in[ROPE_X_BTD], r->d_out[ROPE_Y_BTD], -1, op_adds(r, ROPE_X_BTD));
}
