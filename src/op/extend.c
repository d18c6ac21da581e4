#include "op/extend.h"

#include <string.h>

#include "base/error.h"
#include "op/document_start.h"
#include "op/kit/gradient.h"
#include "op/trial.h"

static long rows_in_front(const void *attr)
{
	return ((const struct extend_attr *)attr)->n;
}

static void extend_shape(struct op_shapes *s)
{
	const struct tensor *x = s->in[EXTEND_X_BTC], *past = s->in[EXTEND_PAST_BLC];
	long n = rows_in_front(s->attr);

	CHECK(x->n_dims == 3 && n > 0);
	CHECK(!past || (past->n_dims == 3 && past->dims[0] == x->dims[0] && past->dims[1] == n &&
		past->dims[2] == x->dims[2]));
	CHECK(!s->in[EXTEND_THERE_BT] || tensor_size(s->in[EXTEND_THERE_BT]) == tensor_rows(x));
	s->out[EXTEND_Y_BSC] = tensor_of(REAL, 3, x->dims[0], n + x->dims[1], x->dims[2]);
}

static void extend_cost(const struct op_shapes *s, struct op_cost *c)
{
	c->forward_bytes = op_io_bytes(&op_extend, s);
	c->backward_bytes = c->forward_bytes;
}

/* Row i of x, whose elements have so many bytes. */
static char *row_at(const struct tensor *x, long i, size_t element)
{
	return (char *)x->at + (size_t)(i * x->ld) * element;
}

/* Rows of x in sequence b that are there. */
static long rows_there(const struct op_run *r, long b)
{
	const struct tensor *there = r->in[EXTEND_THERE_BT];
	long n = r->in[EXTEND_X_BTC]->dims[1];

	while (there && n > 0 && row_int(there, b)[n - 1] == NOT_THERE)
		n--;
	return n;
}

/* Sequence b. */
static void extend_sequence(const struct op_run *r, long b)
{
	const struct tensor *x = r->in[EXTEND_X_BTC], *past = r->in[EXTEND_PAST_BLC],
		*y = r->out[EXTEND_Y_BSC];
	size_t element = r->device->bytes[REAL], row = (size_t)tensor_width(x) * element;
	long n = rows_in_front(r->attr), T = x->dims[1], S = n + T, last = rows_there(r, b);

	for (long s = 0; s < S; s++) {
		char *to = row_at(y, b * S + s, element);
		if (s >= n)
			memcpy(to, row_at(x, b * T + s - n, element), row);
		else if (past)
			memcpy(to, row_at(past, b * n + s, element), row);
		else
			memset(to, 0, row);
	}
	for (long l = 0; past && l < n; l++)
		memcpy(row_at(past, b * n + l, element), row_at(y, b * S + last + l, element), row);
}

/* For all devices of the host: rows are copied as they are. */
static void extend_forward(const struct op_run *r)
{
	#pragma omp parallel for schedule(static)
	for (long b = 0; b < r->in[EXTEND_X_BTC]->dims[0]; b++)
		extend_sequence(r, b);
}

static void extend_backward_ref(const struct op_run *r)
{
	const struct tensor *dx = r->d_in[EXTEND_X_BTC], *dy = r->d_out[EXTEND_Y_BSC];
	long n = rows_in_front(r->attr), T = dx->dims[1];

	for (long i = 0; i < tensor_rows(dx); i++)
		for (long c = 0; c < tensor_width(dx); c++)
			put_gradient(r, EXTEND_X_BTC, i, c, row_f64(dy, i + (i / T + 1) * n)[c]);
}

static void extend_backward(const struct op_run *r)
{
	const struct tensor *dx = r->d_in[EXTEND_X_BTC], *dy = r->d_out[EXTEND_Y_BSC];
	long n = rows_in_front(r->attr), T = dx->dims[1];
	bool add = op_adds(r, EXTEND_X_BTC);

	#pragma omp parallel for schedule(static)
	for (long i = 0; i < tensor_rows(dx); i++) {
		const float *from = row_f32(dy, i + (i / T + 1) * n);
		float *to = row_f32(dx, i);
		#pragma omp simd
		for (long c = 0; c < tensor_width(dx); c++)
			to[c] = from[c] + (add ? to[c] : 0);
	}
}

/* Sequences that lack one row, two and all of them. */
static void lack_rows(const struct op_trial *t)
{
	const struct tensor *there = t->in[EXTEND_THERE_BT];
	long T = tensor_width(there);

	for (long i = 0; i < tensor_size(there); i++)
		op_trial_set(t, there, i, i / T == 2 || i % T > T - 2 - i / T ? NOT_THERE : 0);
}

static const struct extend_attr three = {3}, nine = {9};

static const struct op_example examples[] = {
	{.name = "three rows", .attr = &three, .in = {[EXTEND_X_BTC] = {2, 7, 5}, [EXTEND_PAST_BLC] = {2, 3, 5}}},
	{.name = "more than the call has", .attr = &nine,
		.in = {[EXTEND_X_BTC] = {3, 4, 131}, [EXTEND_PAST_BLC] = {3, 9, 131}}},
	{.name = "rows that are not there", .attr = &three, .prepare = lack_rows,
		.in = {[EXTEND_X_BTC] = {3, 5, 6}, [EXTEND_PAST_BLC] = {3, 3, 6}, [EXTEND_THERE_BT] = {3, 5}}},
	{.name = "zeros", .attr = &three, .in = {[EXTEND_X_BTC] = {2, 5, 16}}},
};

const struct op op_extend = {
	.name = "extend",
	.formula = "y = the rows that the call before has left, then x",
	.semantics = 1,
	.n_in = EXTEND_N_IN,
	.n_out = EXTEND_N_OUT,
	.in = {
		[EXTEND_X_BTC] = {"x_BTC", 0},
		[EXTEND_PAST_BLC] = {"past_BLC", IN_OPTIONAL | IN_UPDATED},
		[EXTEND_THERE_BT] = {"there_BT", IN_OPTIONAL | IN_INDEX},
	},
	.out = {[EXTEND_Y_BSC] = {"y_BSC", REAL, false}},
	.shape = extend_shape,
	.cost = extend_cost,
	.forward = {[REF] = extend_forward, [CPU] = extend_forward, [CUDA] = OP_CUDA(extend_forward_cuda)},
	.backward = {[REF] = extend_backward_ref, [CPU] = extend_backward,
		[CUDA] = OP_CUDA(extend_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
