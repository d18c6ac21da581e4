#include "op/latest.h"

#include <string.h>

#include "base/error.h"
#include "op/kit/gradient.h"

static long left_out(const void *attr)
{
	return ((const struct latest_attr *)attr)->n;
}

static void latest_shape(struct op_shapes *s)
{
	const struct tensor *x = s->in[LATEST_X_BSC];
	long n = left_out(s->attr);

	CHECK(x->n_dims == 3 && n > 0 && n < x->dims[1]);
	s->out[LATEST_Y_BTC] = tensor_of(REAL, 3, x->dims[0], x->dims[1] - n, x->dims[2]);
}

static void latest_cost(const struct op_shapes *s, struct op_cost *c)
{
	c->forward_bytes = op_io_bytes(&op_latest, s);
	c->backward_bytes = c->forward_bytes;
}

/* For all devices of the host: rows are copied as they are. */
static void latest_forward(const struct op_run *r)
{
	const struct tensor *x = r->in[LATEST_X_BSC], *y = r->out[LATEST_Y_BTC];
	size_t element = r->device->bytes[REAL];
	long n = left_out(r->attr), T = y->dims[1];

	#pragma omp parallel for schedule(static)
	for (long i = 0; i < tensor_rows(y); i++)
		memcpy((char *)y->at + (size_t)(i * y->ld) * element,
			(char *)x->at + (size_t)((i + (i / T + 1) * n) * x->ld) * element,
			(size_t)tensor_width(y) * element);
}

static void latest_backward_ref(const struct op_run *r)
{
	const struct tensor *dx = r->d_in[LATEST_X_BSC], *dy = r->d_out[LATEST_Y_BTC];
	long n = left_out(r->attr), S = dx->dims[1];

	for (long i = 0; i < tensor_rows(dx); i++)
		for (long c = 0; c < tensor_width(dx); c++)
			put_gradient(r, LATEST_X_BSC, i, c, i % S < n ? 0 : row_f64(dy, i - (i / S + 1) * n)[c]);
}

static void latest_backward(const struct op_run *r)
{
	const struct tensor *dx = r->d_in[LATEST_X_BSC], *dy = r->d_out[LATEST_Y_BTC];
	long n = left_out(r->attr), S = dx->dims[1], width = tensor_width(dx);
	bool add = op_adds(r, LATEST_X_BSC);

	#pragma omp parallel for schedule(static)
	for (long i = 0; i < tensor_rows(dx); i++) {
		float *to = row_f32(dx, i);
		if (!add)
			memset(to, 0, (size_t)width * sizeof *to);
		if (i % S < n)
			continue;
		const float *from = row_f32(dy, i - (i / S + 1) * n);
		#pragma omp simd
		for (long c = 0; c < width; c++)
			to[c] += from[c];
	}
}

static const struct latest_attr one = {1}, nine = {9};

static const struct op_example examples[] = {
	{.name = "all but one", .attr = &one, .in = {[LATEST_X_BSC] = {2, 7, 5}}},
	{.name = "few of many", .attr = &nine, .in = {[LATEST_X_BSC] = {3, 11, 131}}},
};

const struct op op_latest = {
	.name = "latest",
	.formula = "y = x without the first n rows of each sequence",
	.semantics = 1,
	.n_in = LATEST_N_IN,
	.n_out = LATEST_N_OUT,
	.in = {[LATEST_X_BSC] = {"x_BSC", 0}},
	.out = {[LATEST_Y_BTC] = {"y_BTC", REAL, false}},
	.shape = latest_shape,
	.cost = latest_cost,
	.forward = {[REF] = latest_forward, [CPU] = latest_forward, [CUDA] = OP_CUDA(latest_forward_cuda)},
	.backward = {[REF] = latest_backward_ref, [CPU] = latest_backward,
		[CUDA] = OP_CUDA(latest_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
