#include "op/combine.h"

#include <string.h>

#include "base/error.h"
#include "op/kit/token.h"
#include "op/trial.h"

static void combine_shape(struct op_shapes *s)
{
	const struct tensor *ye = s->in[COMBINE_YE_SO], *slot = s->in[COMBINE_SLOT_BTK];

	CHECK((slot->n_dims == 2 || slot->n_dims == 3) && tensor_rows(ye) == tensor_size(s->in[COMBINE_TOKEN_S]));
	CHECK(tensor_same_shape(slot, s->in[COMBINE_GATE_BTK]));
	s->out[COMBINE_Y_BTO] = tensor_of(REAL, 3, slot->dims[0], slot->dims[1], tensor_width(ye));
}

static void combine_cost(const struct op_shapes *s, struct op_cost *c)
{
	const struct combine_attr *attr = s->attr;
	long choices = attr ? attr->choices : tensor_size(s->in[COMBINE_SLOT_BTK]);
	double n = (double)(choices * tensor_width(s->in[COMBINE_YE_SO])),
		bytes = op_io_bytes(&op_combine, s);

	c->forward_flops = n;
	c->backward_flops = 3 * n;
	c->executed_flops = 4 * n;
	c->forward_bytes = bytes;
	c->backward_bytes = 1.5 * bytes;
}

static int slot_of(const struct op_run *r, long i)
{
	return *int_at(r->in[COMBINE_SLOT_BTK], i);
}

/* K, choices of a token, of which there are n. */
static long choices_of(const struct op_run *r, long n)
{
	return tensor_size(r->in[COMBINE_SLOT_BTK]) / n;
}

static void combine_forward_ref(const struct op_run *r)
{
	const struct tensor *ye = r->in[COMBINE_YE_SO], *gate = r->in[COMBINE_GATE_BTK],
		*y = r->out[COMBINE_Y_BTO];
	long K = choices_of(r, tensor_rows(y));

	for (long t = 0; t < tensor_rows(y); t++)
		for (long i = 0; i < tensor_width(y); i++) {
			double sum = 0;
			for (long k = t * K; k < (t + 1) * K; k++)
				if (slot_of(r, k) >= 0)
					sum += *f64_at(gate, k) *
						row_f64(ye, slot_of(r, k))[i];
			row_f64(y, t)[i] = sum;
		}
}

/* dye of rows without a choice; all bits 0 are 0 in any type. */
static void clear_gaps(const struct op_run *r)
{
	const struct tensor *dye = r->d_in[COMBINE_YE_SO], *first = r->in[COMBINE_FIRST_E1];
	const int *token = row_int(r->in[COMBINE_TOKEN_S], 0);
	size_t bytes = r->device->bytes[REAL];

	for (long s = 0; s < row_int(first, 0)[tensor_width(first) - 1]; s++)
		if (token[s] < 0)
			memset((char *)dye->at + (size_t)(s * dye->ld) * bytes, 0,
				(size_t)tensor_width(dye) * bytes);
}

/* dye = gate dy, of choice i of token t */
static void backward_row_ref(const struct op_run *r, long t, long i)
{
	const struct tensor *dy = r->d_out[COMBINE_Y_BTO], *dye = r->d_in[COMBINE_YE_SO],
		*gate = r->in[COMBINE_GATE_BTK];
	double scale = *f64_at(gate, i);

	for (long o = 0; o < tensor_width(dye); o++) {
		double *d = row_f64(dye, slot_of(r, i)) + o;
		*d = scale * row_f64(dy, t)[o] + (op_adds(r, COMBINE_YE_SO) ? *d : 0);
	}
}

static void combine_backward_ref(const struct op_run *r)
{
	const struct tensor *ye = r->in[COMBINE_YE_SO], *dy = r->d_out[COMBINE_Y_BTO],
		*dgate = r->d_in[COMBINE_GATE_BTK];
	long K = choices_of(r, tensor_rows(dy));

	for (long i = 0; i < tensor_rows(dy) * K; i++) {
		double dot = 0;
		for (long o = 0; o < tensor_width(dy) && slot_of(r, i) >= 0; o++)
			dot += row_f64(dy, i / K)[o] * row_f64(ye, slot_of(r, i))[o];
		if (dgate) {
			double *d = f64_at(dgate, i);
			*d = dot + (op_adds(r, COMBINE_GATE_BTK) ? *d : 0);
		}
		if (r->d_in[COMBINE_YE_SO] && slot_of(r, i) >= 0)
			backward_row_ref(r, i / K, i);
	}
	if (r->d_in[COMBINE_YE_SO] && !op_adds(r, COMBINE_YE_SO))
		clear_gaps(r);
}

/* to = scale from, or added to it. */
static void scale_row(float *to, const float *from, float scale, long n, bool add)
{
	#pragma omp simd
	for (long i = 0; i < n; i++)
		to[i] = add ? to[i] + scale * from[i] : scale * from[i];
}

static void combine_forward(const struct op_run *r)
{
	const struct tensor *ye = r->in[COMBINE_YE_SO], *gate = r->in[COMBINE_GATE_BTK],
		*y = r->out[COMBINE_Y_BTO];
	long O = tensor_width(y), K = choices_of(r, tensor_rows(y));

	#pragma omp parallel for schedule(static)
	for (long t = 0; t < tensor_rows(y); t++) {
		float *to = row_f32(y, t);
		bool add = false;
		for (long k = t * K; k < (t + 1) * K; k++) {
			int slot = slot_of(r, k);
			if (slot < 0)
				continue;
			scale_row(to, row_f32(ye, slot), *f32_at(gate, k), O, add);
			add = true;
		}
		if (!add)
			memset(to, 0, (size_t)O * sizeof *to);
	}
}

/* Choice k of token t, which has a slot; returns dgate. */
static float backward_row(const struct op_run *r, long t, long k, int slot)
{
	const struct tensor *ye = r->in[COMBINE_YE_SO], *gate = r->in[COMBINE_GATE_BTK],
		*dy = r->d_out[COMBINE_Y_BTO], *dye = r->d_in[COMBINE_YE_SO];
	const float *from = row_f32(dy, t), *y = row_f32(ye, slot);
	float *to = dye ? row_f32(dye, slot) : NULL, dot = 0;
	float scale = *f32_at(gate, k);
	bool add = op_adds(r, COMBINE_YE_SO);
	long O = tensor_width(dy);

	#pragma omp simd reduction(+:dot)
	for (long i = 0; i < O; i++)
		dot += from[i] * y[i];
	if (!to)
		return dot;
	#pragma omp simd
	for (long i = 0; i < O; i++)
		to[i] = scale * from[i] + (add ? to[i] : 0);
	return dot;
}

static void combine_backward(const struct op_run *r)
{
	const struct tensor *dy = r->d_out[COMBINE_Y_BTO], *dgate = r->d_in[COMBINE_GATE_BTK];
	long K = choices_of(r, tensor_rows(dy));
	bool add = op_adds(r, COMBINE_GATE_BTK);

	#pragma omp parallel for schedule(static)
	for (long k = 0; k < tensor_rows(dy) * K; k++) {
		int slot = slot_of(r, k);
		float dot = slot < 0 ? 0 : backward_row(r, k / K, k, slot);
		if (dgate) {
			float *d = f32_at(dgate, k);
			*d = dot + (add ? *d : 0);
		}
	}
	if (r->d_in[COMBINE_YE_SO] && !op_adds(r, COMBINE_YE_SO))
		clear_gaps(r);
}

/* Choices anywhere in the buffer: in all its rows, or with gaps, or with choices that have no row. */
static void prepare(const struct op_trial *t)
{
	const struct tensor *first = t->in[COMBINE_FIRST_E1], *token = t->in[COMBINE_TOKEN_S];
	long E = tensor_size(first) - 1;

	op_trial_places(t, t->in[COMBINE_SLOT_BTK], token);
	for (long e = 0; e <= E; e++)
		op_trial_set(t, first, e, (double)(tensor_size(token) * e / E));
}

static const struct op_example examples[] = {
	{.name = "permutation", .prepare = prepare, .in = {[COMBINE_YE_SO] = {21, 9},
		[COMBINE_SLOT_BTK] = {3, 7}, [COMBINE_GATE_BTK] = {3, 7}, [COMBINE_FIRST_E1] = {3},
		[COMBINE_TOKEN_S] = {21}}},
	{.name = "gaps, equal segments", .prepare = prepare, .in = {[COMBINE_YE_SO] = {3, 10, 16},
		[COMBINE_SLOT_BTK] = {2, 9}, [COMBINE_GATE_BTK] = {2, 9}, [COMBINE_FIRST_E1] = {4},
		[COMBINE_TOKEN_S] = {3, 10}}},
	{.name = "drops, many rows", .prepare = prepare, .in = {[COMBINE_YE_SO] = {111, 40},
		[COMBINE_SLOT_BTK] = {3, 50}, [COMBINE_GATE_BTK] = {3, 50}, [COMBINE_FIRST_E1] = {2},
		[COMBINE_TOKEN_S] = {111}}},
	{.name = "three choices, gaps", .prepare = prepare, .in = {[COMBINE_YE_SO] = {3, 20, 16},
		[COMBINE_SLOT_BTK] = {2, 9, 3}, [COMBINE_GATE_BTK] = {2, 9, 3},
		[COMBINE_FIRST_E1] = {4}, [COMBINE_TOKEN_S] = {3, 20}}},
	{.name = "two choices, drops", .prepare = prepare, .in = {[COMBINE_YE_SO] = {111, 39},
		[COMBINE_SLOT_BTK] = {3, 50, 2}, [COMBINE_GATE_BTK] = {3, 50, 2},
		[COMBINE_FIRST_E1] = {2}, [COMBINE_TOKEN_S] = {111}}},
};

const struct op op_combine = {
	.name = "combine",
	.formula = "y[t] = sum over choices i of t of gate[i] ye[slot[i]], 0 for dropped ones",
	.semantics = 1,
	.n_in = COMBINE_N_IN,
	.n_out = COMBINE_N_OUT,
	.in = {
		[COMBINE_YE_SO] = {"ye", 0},
		[COMBINE_SLOT_BTK] = {"slot", IN_INDEX},
		[COMBINE_GATE_BTK] = {"gate", IN_MASTER},
		[COMBINE_FIRST_E1] = {"first", IN_INDEX},
		[COMBINE_TOKEN_S] = {"token", IN_INDEX},
	},
	.out = {[COMBINE_Y_BTO] = {"y", REAL, false}},
	.shape = combine_shape,
	.cost = combine_cost,
	.backward_reads_in = READS(COMBINE_YE_SO) | READS(COMBINE_SLOT_BTK) |
		READS(COMBINE_GATE_BTK) | READS(COMBINE_FIRST_E1) | READS(COMBINE_TOKEN_S),
	.forward = {[REF] = combine_forward_ref, [CPU] = combine_forward,
		[CUDA] = OP_CUDA(combine_forward_cuda)},
	.backward = {[REF] = combine_backward_ref, [CPU] = combine_backward,
		[CUDA] = OP_CUDA(combine_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
