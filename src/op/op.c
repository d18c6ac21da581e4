#include "op/op.h"

#include <string.h>

#include "base/error.h"

#define X(name) extern const struct op op_##name;
#include "op.inc"
#undef X

const struct op *const op_list[] = {
#define X(name) &op_##name,
#include "op.inc"
#undef X
	NULL,
};

const struct op *op_find(const char *name)
{
	for (const struct op *const *o = op_list; *o; o++)
		if (!strcmp((*o)->name, name))
			return *o;
	return NULL;
}

enum device_id op_device(enum device_id id)
{
	return id == CUDA_F32 ? CUDA : id == CUDA_SCAN ? CPU : id;
}

op_kernel *op_kernel_for(op_kernel *const kernels[N_DEVICES], enum device_id id)
{
	return kernels[id] ? kernels[id] : kernels[op_device(id)];
}

void op_infer(const struct op *op, struct op_shapes *s)
{
	for (int i = 0; i < op->n_in; i++) {
		unsigned flags = op->in[i].flags;
		if (!s->in[i]) {
			if (!(flags & IN_OPTIONAL))
				BUG("%s: input %s is missing", op->name, op->in[i].name);
			continue;
		}
		if (((flags & IN_INDEX) != 0) != (s->in[i]->kind == INDEX))
			BUG("%s: input %s has the wrong kind", op->name, op->in[i].name);
	}
	for (int i = 0; i < OP_MAX_SAVED; i++)
		s->saved[i] = (struct tensor){0};
	s->forward_workspace = s->backward_workspace = s->forward_plan = s->backward_plan = 0;
	op->shape(s);
	if (op->room[op_device(s->device->id)])
		op->room[op_device(s->device->id)](s);
	for (int i = 0; i < op->n_out; i++)
		if (s->out[i].n_dims == 0 || s->out[i].kind != op->out[i].kind)
			BUG("%s: shape rule left output %s unset", op->name, op->out[i].name);
}

double op_io_bytes(const struct op *op, const struct op_shapes *s)
{
	double bytes = 0;

	for (int i = 0; i < op->n_in; i++)
		if (s->in[i])
			bytes += (double)tensor_size(s->in[i]) * (double)s->device->bytes[s->in[i]->kind];
	for (int i = 0; i < op->n_out; i++)
		bytes += (double)tensor_size(&s->out[i]) * (double)s->device->bytes[s->out[i].kind];
	return bytes;
}

void op_shape_same(struct op_shapes *s)
{
	s->out[0] = *s->in[0];
	s->out[0].ld = tensor_width(s->in[0]);
	s->out[0].at = NULL;
}
