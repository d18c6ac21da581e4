#include "op/glu.h"

#include "base/error.h"

enum { PIECE = 256 };	/* columns whose gradients are made before they are stored or added */

static void glu_shape(struct op_shapes *s)
{
	const struct tensor *x = s->in[GLU_X_BTH];

	CHECK(x->n_dims == 3 && x->dims[2] % 2 == 0);
	s->out[GLU_Y_BTF] = tensor_of(REAL, 3, x->dims[0], x->dims[1], x->dims[2] / 2);
}

static void glu_cost(const struct op_shapes *s, struct op_cost *c)
{
	double n = (double)tensor_size(&s->out[GLU_Y_BTF]), bytes = op_io_bytes(&op_glu, s);

	*c = (struct op_cost){.forward_flops = 2 * n, .backward_flops = 5 * n, .executed_flops = 7 * n,
		.forward_bytes = bytes, .backward_bytes = 5.0 / 3 * bytes};
}

static void glu_forward_ref(const struct op_run *r)
{
	const struct glu_attr *attr = r->attr;
	const struct tensor *x = r->in[GLU_X_BTH], *y = r->out[GLU_Y_BTF];
	long F = tensor_width(y);

	for (long t = 0; t < tensor_rows(y); t++)
		for (long i = 0; i < F; i++)
			row_f64(y, t)[i] = act_f64(attr->fn, row_f64(x, t)[i]) * row_f64(x, t)[F + i];
}

static void glu_backward_ref(const struct op_run *r)
{
	const struct glu_attr *attr = r->attr;
	const struct tensor *x = r->in[GLU_X_BTH], *dx = r->d_in[GLU_X_BTH], *dy = r->d_out[GLU_Y_BTF];
	long F = tensor_width(dy);
	bool add = op_adds(r, GLU_X_BTH);

	for (long t = 0; t < tensor_rows(dy); t++)
		for (long i = 0; i < F; i++) {
			double g = row_f64(x, t)[i], u = row_f64(x, t)[F + i], d = row_f64(dy, t)[i];
			double *dg = row_f64(dx, t) + i, *du = dg + F;
			*dg = act_slope_f64(attr->fn, g) * u * d + (add ? *dg : 0);
			*du = act_f64(attr->fn, g) * d + (add ? *du : 0);
		}
}

static void glu_forward(const struct op_run *r)
{
	const struct glu_attr *attr = r->attr;
	const struct tensor *x = r->in[GLU_X_BTH], *y = r->out[GLU_Y_BTF];
	long F = tensor_width(y);

	#pragma omp parallel for schedule(static)
	for (long t = 0; t < tensor_rows(y); t++) {
		const float *u = row_f32(x, t) + F;
		float *to = row_f32(y, t);
		act_row_f32(attr->fn, to, row_f32(x, t), F);
		#pragma omp simd
		for (long i = 0; i < F; i++)
			to[i] *= u[i];
	}
}

/* Of n columns; u, du: as far behind g, dg. */
static void piece_backward(enum act_fn fn, const float *g, const float *u, const float *dy, float *dg, float *du,
	long n, bool add)
{
	float value[PIECE], slope[PIECE];

	act_row_f32(fn, value, g, n);
	for (long i = 0; i < n; i++)
		slope[i] = u[i] * dy[i];
	act_gradient_row_f32(fn, slope, g, slope, n);
	#pragma omp simd
	for (long i = 0; i < n; i++) {
		dg[i] = slope[i] + (add ? dg[i] : 0);
		du[i] = value[i] * dy[i] + (add ? du[i] : 0);
	}
}

static void glu_backward(const struct op_run *r)
{
	const struct glu_attr *attr = r->attr;
	const struct tensor *x = r->in[GLU_X_BTH], *dx = r->d_in[GLU_X_BTH], *dy = r->d_out[GLU_Y_BTF];
	long F = tensor_width(dy);

	#pragma omp parallel for schedule(static)
	for (long t = 0; t < tensor_rows(dy); t++)
		for (long i = 0; i < F; i += PIECE) {
			const float *g = row_f32(x, t) + i;
			float *dg = row_f32(dx, t) + i;
			piece_backward(attr->fn, g, g + F, row_f32(dy, t) + i, dg, dg + F,
				F - i < PIECE ? F - i : PIECE, op_adds(r, GLU_X_BTH));
		}
}

static const struct glu_attr relu = {ACT_RELU}, silu = {ACT_SILU}, gelu = {ACT_GELU};

static const struct op_example examples[] = {
	{.name = "silu", .attr = &silu, .in = {{2, 3, 38}}},
	{.name = "gelu", .attr = &gelu, .in = {{1, 7, 16}}},
	{.name = "relu", .attr = &relu, .in = {{2, 2, 10}}},
	{.name = "silu, several pieces", .attr = &silu, .in = {{1, 3, 1056}}, .no_gradient_check = true},
};

const struct op op_glu = {
	.name = "glu",
	.formula = "y = f(g) u, [g; u] = x",
	.semantics = 1,
	.n_in = GLU_N_IN,
	.n_out = GLU_N_OUT,
	.in = {[GLU_X_BTH] = {"x", 0}},
	.out = {[GLU_Y_BTF] = {"y", REAL, false}},
	.shape = glu_shape,
	.cost = glu_cost,
	.backward_reads_in = READS(GLU_X_BTH),
	.forward = {[REF] = glu_forward_ref, [CPU] = glu_forward, [CUDA] = OP_CUDA(glu_forward_cuda)},
	.backward = {[REF] = glu_backward_ref, [CPU] = glu_backward, [CUDA] = OP_CUDA(glu_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
