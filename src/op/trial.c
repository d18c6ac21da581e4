#include "op/trial.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"

struct op_trial_block {
	struct op_trial_block *next;
	void *at;
	size_t bytes;
};

/* Sum of four uniform numbers of 16 bits, those of a mixed counter (Steele, Lea, Flood 2014, splitmix64):
   mean 0, variance 1, as fast as a large fill needs, and exact in float32. */
static double random_value(uint64_t stream, uint64_t i)
{
	uint64_t z = stream + (i + 1) * 0x9e3779b97f4a7c15u;
	long sum = 0;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	z ^= z >> 31;
	for (int k = 0; k < 64; k += 16)
		sum += (long)(z >> k & 0xffff);
	return (float)(sqrt(3) * ((double)sum * 0x1p-16 - 2));
}

double op_trial_get(const struct op_trial *t, const struct tensor *x, long i)
{
	long row = i / tensor_width(x), col = i % tensor_width(x);

	if (x->kind == INDEX)
		return row_int(x, row)[col];
	return t->shapes.device->id == REF ? row_f64(x, row)[col] : (double)row_f32(x, row)[col];
}

void op_trial_set(const struct op_trial *t, const struct tensor *x, long i, double value)
{
	long row = i / tensor_width(x), col = i % tensor_width(x);

	if (x->kind == INDEX)
		row_int(x, row)[col] = (int)value;
	else if (t->shapes.device->id == REF)
		row_f64(x, row)[col] = value;
	else
		row_f32(x, row)[col] = (float)value;
}

/* ---- memory --------------------------------------------------------------------------------- */

static void *get_block(struct op_trial *t, size_t bytes)
{
	struct op_trial_block *b = ARENA_NEW(&t->arena, struct op_trial_block);

	*b = (struct op_trial_block){t->blocks, device_alloc(t->shapes.device, bytes), bytes};
	t->blocks = b;
	return memset(b->at, 0xff, bytes);	/* NaN, or -1 */
}

static size_t tensor_bytes(const struct tensor *x, const struct device *d)
{
	return (size_t)tensor_span(x) * d->bytes[x->kind];
}

static struct tensor *get_tensor(struct op_trial *t, struct tensor shape, int pad)
{
	struct tensor *x = ARENA_NEW(&t->arena, struct tensor);

	*x = shape;
	x->ld = tensor_width(x) + (x->n_dims > 1 && x->kind != INDEX ? pad : 0);
	x->at = get_block(t, tensor_bytes(x, t->shapes.device));
	return x;
}

static bool has_gradient(const struct op *op, int i)
{
	return !(op->in[i].flags & (IN_INDEX | IN_NO_GRADIENT | IN_UPDATED));
}

static bool has_backward(const struct op *op)
{
	return op->backward[REF] != NULL;
}

static void get_inputs(struct op_trial *t, const struct op_trial_case *c)
{
	for (int i = 0; i < t->op->n_in; i++) {
		if (!c->in[i])
			continue;
		t->in[i] = get_tensor(t, *c->in[i], t->op->in[i].flags & IN_MASTER ? 0 : c->pad);
		t->shapes.in[i] = t->in[i];
	}
}

static void get_results(struct op_trial *t, int pad)
{
	const struct op *op = t->op;

	for (int i = 0; i < op->n_in; i++)
		if (t->in[i] && has_backward(op) && has_gradient(op, i))
			t->d_in[i] = get_tensor(t, *t->in[i], op->in[i].flags & IN_MASTER ? 0 : pad);
	for (int i = 0; i < op->n_out; i++) {
		t->out[i] = get_tensor(t, t->shapes.out[i], pad);
		if (has_backward(op) && !op->out[i].no_gradient)
			t->d_out[i] = get_tensor(t, t->shapes.out[i], pad);
	}
	for (int i = 0; i < op->n_saved; i++)
		if (t->shapes.saved[i].n_dims)
			t->saved[i] = get_tensor(t, t->shapes.saved[i], 0);
}

/* ---- values --------------------------------------------------------------------------------- */

static void fill(const struct op_trial *t, const struct tensor *x, uint64_t stream)
{
	#pragma omp parallel for schedule(static)
	for (long k = 0; k < tensor_size(x); k++)
		op_trial_set(t, x, k, x->kind == INDEX ? 0 : random_value(stream, (uint64_t)k));
}

static void fill_inputs(const struct op_trial *t)
{
	for (int i = 0; i < t->op->n_in; i++)
		if (t->in[i])
			fill(t, t->in[i], hash_u64(t->op->in[i].name));
}

void op_trial_open(struct op_trial *t, const struct op_trial_case *c, const struct device *device)
{
	*t = (struct op_trial){.op = c->op, .state = {.step = 3, .seed = 5, .lr = 1e-2,
		.correction1 = 1 - pow(0.9, 4), .correction2 = 1 - pow(0.999, 4)}};
	t->shapes = (struct op_shapes){.device = device, .attr = c->attr, .training = has_backward(c->op)};
	get_inputs(t, c);
	op_infer(t->op, &t->shapes);
	get_results(t, c->pad);
	t->workspace = t->shapes.forward_workspace > t->shapes.backward_workspace ?
		t->shapes.forward_workspace : t->shapes.backward_workspace;
	t->run = (struct op_run){.op = t->op, .device = device, .attr = c->attr, .state = &t->state,
		.workspace = get_block(t, t->workspace)};
	memcpy(t->run.in, t->in, sizeof t->in);
	memcpy(t->run.out, t->out, sizeof t->out);
	memcpy(t->run.saved, t->saved, sizeof t->saved);
	fill_inputs(t);
	if (c->prepare)
		c->prepare(t);
}

void op_trial_close(struct op_trial *t)
{
	for (struct op_trial_block *b = t->blocks; b; b = b->next)
		device_free(t->shapes.device, b->at, b->bytes);
	arena_release(&t->arena);
}

double op_trial_bytes(const struct op_trial_case *c, const struct device *device)
{
	struct op_shapes s = {.device = device, .attr = c->attr, .training = has_backward(c->op)};
	double bytes = 0;

	memcpy(s.in, c->in, sizeof s.in);
	op_infer(c->op, &s);
	for (int i = 0; i < c->op->n_in; i++)
		if (c->in[i])
			bytes += (double)tensor_bytes(c->in[i], device) *
				(1 + (has_backward(c->op) && has_gradient(c->op, i)));
	for (int i = 0; i < c->op->n_out; i++)
		bytes += (double)tensor_bytes(&s.out[i], device) * (1 + has_backward(c->op));
	for (int i = 0; i < c->op->n_saved; i++)
		bytes += s.saved[i].n_dims ? (double)tensor_bytes(&s.saved[i], device) : 0;
	return bytes + (double)s.forward_workspace + (double)s.backward_workspace;
}

/* ---- running -------------------------------------------------------------------------------- */

void op_trial_forward(struct op_trial *t)
{
	op_kernel_for(t->op->forward, t->shapes.device->id)(&t->run);
}

void op_trial_fill_d_out(struct op_trial *t)
{
	for (int i = 0; i < t->op->n_out; i++)
		if (t->d_out[i])
			fill(t, t->d_out[i], hash_u64(t->op->out[i].name) + 1);
	memcpy(t->run.d_out, t->d_out, sizeof t->d_out);
	memcpy(t->run.d_in, t->d_in, sizeof t->d_in);
}

void op_trial_backward(struct op_trial *t)
{
	const struct op *op = t->op;

	for (int i = 0; i < op->n_in; i++)
		t->run.in[i] = op->backward_reads_in & READS(i) ? t->in[i] : NULL;
	for (int i = 0; i < op->n_out; i++)
		t->run.out[i] = op->backward_reads_out & READS(i) ? t->out[i] : NULL;
	op_kernel_for(op->backward, t->shapes.device->id)(&t->run);
	memcpy(t->run.in, t->in, sizeof t->in);
	memcpy(t->run.out, t->out, sizeof t->out);
}
