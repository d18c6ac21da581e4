/*
 * experts on the GPU. Segments of equal length: strided batches of cuBLASLt, with relu in the first
 * where the library has that (a NaN becomes 0 there; the residual stream still has it), else, and
 * always for gradients, an activation between. Other segments, and experts of unequal widths: products over
 * segments (grouped.cuh), the activation at the end of the first. Rows without a token hold 0, and so do
 * their h and gradients, since f(0) = 0. Gates are a kernel of their own between the products. FLOPs: 4 a
 * row, hidden unit and channel forward (gated 6, one matrix 2), twice that
 * backward.
 */
extern "C" {
#include "op/cuda/gemm.h"
#include "op/experts.h"
}
#include "op/cuda/expert_gates.cuh"
#include "op/cuda/grouped.cuh"

namespace {

enum { THREADS = 256 };

enum answer { UNKNOWN, NO, YES };

/* What plans are for: products of strided batches, and whether the library does relu in them. */
struct forward_plan {
	struct gpu_gemm_plan up, down;
	enum answer relu;
};

struct backward_plan {
	struct gpu_gemm_plan hidden, x, w1, w2;
};

/* The operands by their roles. h, dpre: [S, H], act: [S, F]; act is h for relu of two layers. */
struct layer {
	const struct op_run *r;
	enum act_fn fn;
	bool batch, gated;		/* batch: of equal segments */
	struct units units;		/* then H and F are those of the widest, all rows of h and act so wide */
	long E, C, S, D, H, F, O;	/* H: 0 without W1; then act is x */
	long act_ld;
	const struct tensor *x, *w1, *w2;
	void *h, *act, *dpre, *products;	/* products: room of gpu_gemm() */
};

size_t hidden_bytes(const struct device *d, long rows, long width)
{
	size_t bytes = (size_t)(rows * width) * d->bytes[REAL];

	return (bytes + 255) / 256 * 256;
}

/* Do products of strided batches serve? */
bool is_batch(const void *attr, const struct tensor *x)
{
	return x->n_dims == 3 && !((const struct experts_attr *)attr)->units.n;
}

layer layer_of(const struct op_run *r)
{
	const struct experts_attr *attr = (const struct experts_attr *)r->attr;
	const struct tensor *x = r->in[EXPERTS_XE_SD], *w1 = r->in[EXPERTS_W1_EHD];
	struct experts_widths w = experts_widths(attr, r->in);
	layer l = {};

	l.r = r;
	l.fn = attr->fn;
	l.gated = attr->gated;
	l.units = attr->units;
	l.batch = is_batch(attr, x);
	l.x = x;
	l.w1 = w1;
	l.w2 = r->in[EXPERTS_W2_EOF];
	l.E = tensor_size(r->in[EXPERTS_FIRST_E1]) - 1;
	l.S = tensor_rows(x);
	l.C = l.S / l.E;
	l.D = w.D;
	l.H = w.H;
	l.F = w.F;
	l.O = w.O;
	l.h = w1 ? r->saved[EXPERTS_H_SH]->at : NULL;
	l.products = r->workspace;
	l.dpre = (char *)r->workspace + (l.batch ? GPU_GEMM_WORKSPACE : 0);
	l.act_ld = w1 ? l.F : x->ld;
	return l;
}

/* ---- gates ---------------------------------------------------------------------------------- */

/* Where the gradient of what W2 multiplies goes: into dpre; gated into the second halves of its rows, or, since
   those begin elsewhere for each expert, into act. */
void *act_gradient(const layer &l)
{
	if (l.gated && l.units.n)
		return l.act;
	return (char *)l.dpre + (size_t)(l.H - l.F) * l.r->device->bytes[REAL];
}

long act_gradient_ld(const layer &l)
{
	return l.gated && l.units.n ? l.F : l.H;
}

void gate_rows(const layer &l, bool backward)
{
	with_real(l.r, [&](auto zero) {
		typedef decltype(zero) real;
		gates<real> g = {(const int *)l.r->in[EXPERTS_FIRST_E1]->at, (int)l.E, (int)l.F, l.units,
			(real *)l.act, (real *)l.dpre, (const real *)l.h,
			backward ? (const real *)act_gradient(l) : NULL, act_gradient_ld(l)};
		launch_gates(l.r, l.fn, backward, l.S, g);
	});
}

/* ---- strided batches ------------------------------------------------------------------------ */

/* h may lie where act does. */
template <enum act_fn fn, typename real>
__global__ void activate(real *act, const real *h, long n)
{
	long i = ((long)blockIdx.x * THREADS + threadIdx.x) * 8;

	for (int k = 0; i + 8 > n && i + k < n; k++)
		act[i + k] = from_float<real>(act_value<fn>(to_float(h[i + k])));
	if (i + 8 > n)
		return;
	eight v = load8(h + i);
	#pragma unroll
	for (int k = 0; k < 8; k++)
		v.v[k] = act_value<fn>(v.v[k]);
	store8(act + i, v);
}

/* dact becomes dpre = dact f'(h); act = f(h), unless that of relu, which is h. */
template <enum act_fn fn, typename real>
__global__ void activate_backward(real *dact, const real *h, real *act, long n)
{
	long i = ((long)blockIdx.x * THREADS + threadIdx.x) * 8;

	for (int k = 0; i + 8 > n && i + k < n; k++) {
		float x = to_float(h[i + k]);
		dact[i + k] = from_float<real>(to_float(dact[i + k]) * act_slope<fn>(x));
		if (fn != ACT_RELU)
			act[i + k] = from_float<real>(act_value<fn>(x));
	}
	if (i + 8 > n)
		return;
	eight d = load8(dact + i), x = load8(h + i);
	#pragma unroll
	for (int k = 0; k < 8; k++) {
		d.v[k] *= act_slope<fn>(x.v[k]);
		x.v[k] = act_value<fn>(x.v[k]);
	}
	store8(dact + i, d);
	if (fn != ACT_RELU)
		store8(act + i, x);
}

dim3 eighths(long n)
{
	return dim3((unsigned)ceil_div(n, 8 * THREADS));
}

/* A product of every expert, C[e] = op(A[e]) op(B[e]): m, n, k, rows of A, B and C from row to row
   and expert to expert. */
struct gpu_gemm batch_of(const layer &l, enum gpu_gemm_side ta, enum gpu_gemm_side tb, long m,
	long n, long k, long lda, long ldb, long ldc)
{
	struct gpu_gemm g = {};

	g.ta = ta;
	g.tb = tb;
	g.m = m;
	g.n = n;
	g.k = k;
	g.lda = lda;
	g.ldb = ldb;
	g.ldc = ldc;
	g.batch = l.E;
	g.stride_a = (ta == GPU_GEMM_T ? k : m) * lda;
	g.stride_b = (tb == GPU_GEMM_T ? n : k) * ldb;
	g.stride_c = m * ldc;
	return g;
}

void activate_rows(const layer &l)
{
	with_real(l.r, [&](auto zero) {
		typedef decltype(zero) real;
		with_act(l.fn, [&](auto f) {
			launch(l.r, activate<decltype(f)::value, real>, eighths(l.S * l.F), THREADS, 0,
				(real *)l.act, (const real *)l.h, l.S * l.F);
		});
	});
}

/* h and act. */
void batch_up(const layer &l, struct forward_plan *p)
{
	struct gpu_gemm up =
		batch_of(l, GPU_GEMM_N, GPU_GEMM_T, l.C, l.H, l.D, l.x->ld, l.w1->ld, l.H);

	up.relu = l.fn == ACT_RELU && !l.gated;
	if (p->relu == UNKNOWN)
		p->relu = up.relu && gpu_gemm_offered(l.r, &up, l.x->at, l.w1->at, l.h) ? YES : NO;
	up.relu = p->relu == YES;
	gpu_gemm(l.r, &p->up, &up, l.x->at, l.w1->at, NULL, false, l.h, l.products);
	if (l.gated)
		gate_rows(l, false);
	else if (p->relu == NO)
		activate_rows(l);
}

void batch_forward(const layer &l, struct forward_plan *p)
{
	const struct tensor *y = l.r->out[EXPERTS_YE_SO];
	struct gpu_gemm down =
		batch_of(l, GPU_GEMM_N, GPU_GEMM_T, l.C, l.O, l.F, l.act_ld, l.w2->ld, y->ld);

	if (l.H)
		batch_up(l, p);
	gpu_gemm(l.r, &p->down, &down, l.act, l.w2->at, NULL, false, y->at, l.products);
}

/* dpre from dy, and act. */
void batch_hidden(const layer &l, struct backward_plan *p)
{
	const struct tensor *dy = l.r->d_out[EXPERTS_YE_SO];
	struct gpu_gemm g =
		batch_of(l, GPU_GEMM_N, GPU_GEMM_N, l.C, l.F, l.O, dy->ld, l.w2->ld, l.H);

	gpu_gemm(l.r, &p->hidden, &g, dy->at, l.w2->at, NULL, false, act_gradient(l), l.products);
	if (l.gated) {
		gate_rows(l, true);
		return;
	}
	with_real(l.r, [&](auto zero) {
		typedef decltype(zero) real;
		with_act(l.fn, [&](auto f) {
			launch(l.r, activate_backward<decltype(f)::value, real>, eighths(l.S * l.F),
				THREADS, 0, (real *)l.dpre, (const real *)l.h, (real *)l.act,
				l.S * l.F);
		});
	});
}

void batch_weight(const layer &l, struct gpu_gemm_plan *p, struct gpu_gemm g, const void *a,
	const void *b, int input)
{
	g.c_float = true;
	gpu_gemm(l.r, p, &g, a, b, NULL, op_adds(l.r, input), l.r->d_in[input]->at, l.products);
}

void batch_x(const layer &l, struct gpu_gemm_plan *p, const struct tensor *dx)
{
	const struct tensor *dy = l.r->d_out[EXPERTS_YE_SO], *w = l.H ? l.w1 : l.w2;
	long k = l.H ? l.H : l.O;
	struct gpu_gemm g = batch_of(l, GPU_GEMM_N, GPU_GEMM_N, l.C, l.D, k, l.H ? k : dy->ld, w->ld, dx->ld);

	gpu_gemm(l.r, p, &g, l.H ? l.dpre : dy->at, w->at, NULL, op_adds(l.r, EXPERTS_XE_SD), dx->at,
		l.products);
}

void batch_backward(const layer &l, struct backward_plan *p)
{
	const struct tensor *dy = l.r->d_out[EXPERTS_YE_SO], *dx = l.r->d_in[EXPERTS_XE_SD],
		*dw1 = l.r->d_in[EXPERTS_W1_EHD], *dw2 = l.r->d_in[EXPERTS_W2_EOF];

	if (l.H)
		batch_hidden(l, p);
	if (dx)
		batch_x(l, &p->x, dx);
	if (dw1)
		batch_weight(l, &p->w1, batch_of(l, GPU_GEMM_T, GPU_GEMM_N, l.H, l.D, l.C, l.H, l.x->ld,
			dw1->ld), l.dpre, l.x->at, EXPERTS_W1_EHD);
	if (dw2)
		batch_weight(l, &p->w2, batch_of(l, GPU_GEMM_T, GPU_GEMM_N, l.O, l.F, l.C, dy->ld,
			l.act_ld, dw2->ld), dy->at, l.act, EXPERTS_W2_EOF);
}

/* ---- segments of any length ----------------------------------------------------------------- */

grouped over_segments(const layer &l, enum grouped_form form, long n, long k)
{
	grouped g = {};

	g.form = form;
	g.end = END_STORE;
	g.fn = l.fn;
	g.first = (const int *)l.r->in[EXPERTS_FIRST_E1]->at;
	g.E = (int)l.E;
	g.S = l.S;
	g.n = (int)n;
	g.k = (int)k;
	g.units = l.units;
	return g;
}

/* Rows of W1, and of its gradient, that belong to a unit. */
int rows_each(const layer &l)
{
	return l.gated ? 2 : 1;
}

/* From expert to expert in W1 or W2 or a gradient like it; where experts differ from unit to unit. */
long step_of(const layer &l, const struct tensor *w, bool is_w1)
{
	if (!l.units.n)
		return w->dims[1] * w->ld;
	return is_w1 ? rows_each(l) * w->ld : 1;
}

/* C = A W of rows, or with W^T. */
void rows_product(const layer &l, grouped g, const void *a, long lda, const struct tensor *w,
	void *c, long ldc)
{
	bool is_w1 = w == l.w1, units_are_n = (g.form == ROWS_NT) == is_w1;

	g.a = a;
	g.lda = lda;
	g.b = w->at;
	g.ldb = w->ld;
	g.step = step_of(l, w, is_w1);
	*(units_are_n ? &g.n_each : &g.k_each) = is_w1 ? rows_each(l) : 1;
	g.c = c;
	g.ldc = ldc;
	grouped_product(l.r, &g);
}

void weight_product(const layer &l, const void *a, long lda, long m, const void *b, long ldb,
	long n, int input)
{
	const struct tensor *dw = l.r->d_in[input];
	bool is_w1 = input == EXPERTS_W1_EHD;
	grouped g = over_segments(l, BY_EXPERT, n, 0);

	g.m = (int)m;
	g.a = a;
	g.lda = lda;
	g.b = b;
	g.ldb = ldb;
	g.c = dw->at;
	g.ldc = dw->ld;
	g.step = step_of(l, dw, is_w1);
	*(is_w1 ? &g.m_each : &g.n_each) = is_w1 ? rows_each(l) : 1;
	g.add = op_adds(l.r, input);
	grouped_product(l.r, &g);
}

/* h and act. */
void segments_up(const layer &l)
{
	grouped up = over_segments(l, ROWS_NT, l.H, l.D);

	if (l.gated) {
		rows_product(l, up, l.x->at, l.x->ld, l.w1, l.h, l.H);
		gate_rows(l, false);
		return;
	}
	up.end = END_ACTIVATE;
	up.h = l.h;
	up.act = l.act;
	rows_product(l, up, l.x->at, l.x->ld, l.w1, NULL, 0);
}

void segments_forward(const layer &l)
{
	const struct tensor *y = l.r->out[EXPERTS_YE_SO];

	if (l.H)
		segments_up(l);
	rows_product(l, over_segments(l, ROWS_NT, l.O, l.F), l.act, l.act_ld, l.w2, y->at, y->ld);
}

/* dpre from dy, and act. */
void segments_hidden(const layer &l)
{
	const struct tensor *dy = l.r->d_out[EXPERTS_YE_SO];
	grouped hidden = over_segments(l, ROWS_NN, l.F, l.O);

	if (!l.gated) {
		hidden.end = END_SLOPE;
		hidden.h = l.h;
		hidden.act = l.act;
	}
	rows_product(l, hidden, dy->at, dy->ld, l.w2, act_gradient(l), act_gradient_ld(l));
	if (l.gated)
		gate_rows(l, true);
}

void segments_backward(const layer &l)
{
	const struct tensor *dy = l.r->d_out[EXPERTS_YE_SO], *dx = l.r->d_in[EXPERTS_XE_SD];
	grouped x = over_segments(l, ROWS_NN, l.D, l.H ? l.H : l.O);

	if (l.H)
		segments_hidden(l);
	x.add = op_adds(l.r, EXPERTS_XE_SD);
	if (dx && l.H)
		rows_product(l, x, l.dpre, l.H, l.w1, dx->at, dx->ld);
	else if (dx)
		rows_product(l, x, dy->at, dy->ld, l.w2, dx->at, dx->ld);
	if (l.r->d_in[EXPERTS_W1_EHD])
		weight_product(l, l.dpre, l.H, l.H, l.x->at, l.x->ld, l.D, EXPERTS_W1_EHD);
	if (l.r->d_in[EXPERTS_W2_EOF])
		weight_product(l, dy->at, dy->ld, l.O, l.act, l.act_ld, l.F, EXPERTS_W2_EOF);
}

}  // namespace

/* Workspace: that of products first, then dpre in backward, then the activation unless it is
   saved. */
extern "C" void experts_room_cuda(struct op_shapes *s)
{
	const struct experts_attr *attr = (const struct experts_attr *)s->attr;
	const struct tensor *x = s->in[EXPERTS_XE_SD];
	struct experts_widths w = experts_widths(attr, s->in);
	bool batch = is_batch(attr, x);
	size_t products = batch ? GPU_GEMM_WORKSPACE : 0;
	size_t act = w.H && !experts_saves_activation(attr) ? hidden_bytes(s->device, tensor_rows(x), w.F) : 0;

	s->forward_workspace = products + act;
	s->backward_workspace = products + act + hidden_bytes(s->device, tensor_rows(x), w.H);
	s->forward_plan = batch ? sizeof(struct forward_plan) : 0;
	s->backward_plan = batch ? sizeof(struct backward_plan) : 0;
}

/* The activation: what is saved or x itself, or at `own`. */
static void *activation_of(const layer &l, void *own)
{
	if (!l.H)
		return l.x->at;
	return experts_saves_activation((const struct experts_attr *)l.r->attr) ? l.h : own;
}

extern "C" void experts_forward_cuda(const struct op_run *r)
{
	layer l = layer_of(r);

	l.act = activation_of(l, l.dpre);	/* forward has no gradients */
	if (l.batch)
		batch_forward(l, (struct forward_plan *)r->plan);
	else
		segments_forward(l);
}

extern "C" void experts_backward_cuda(const struct op_run *r)
{
	layer l = layer_of(r);

	l.act = activation_of(l, (char *)l.dpre + hidden_bytes(r->device, l.S, l.H));
	if (l.batch)
		batch_backward(l, (struct backward_plan *)r->plan);
	else
		segments_backward(l);
}
