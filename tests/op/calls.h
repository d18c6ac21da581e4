/*
 * Operators one by one, with memory of their own, on every device that is there: for tests that
 * know the answer. Memory of a device is freed behind each case.
 */
#ifndef CALLS_H
#define CALLS_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/error.h"
#include "op/op.h"
#include "op/route.h"

/* One operator's run with memory of its own; outputs and gradients start as NaN or -1. */
struct call {
	struct op_run run;
	struct tensor *out[OP_MAX_OUT], *d_in[OP_MAX_IN];
	void *plan;		/* of backward */
};

/* What kernels find of the step. */
static struct step_state call_state;

/* Memory of devices, freed behind each case. */
static struct {
	struct {
		const struct device *device;
		void *at;
		size_t bytes;
	} block[512];
	int n;
} memory;

/* Tensors of other memory than the host's as get() reads them, copied whole until a kernel or put()
   may have changed them. */
static struct {
	const void *of;
	char *at;
} mirrors[64];

static inline void mirrors_drop(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(mirrors); i++) {
		free(mirrors[i].at);
		mirrors[i].of = mirrors[i].at = NULL;
	}
}

static inline const char *mirror_of(const struct device *d, const struct tensor *t)
{
	size_t i = (uintptr_t)t->at / 256 % ARRAY_SIZE(mirrors), bytes = (size_t)tensor_size(t) * d->bytes[t->kind];

	if (device_is_host(d))
		return t->at;
	if (mirrors[i].of != t->at) {
		free(mirrors[i].at);
		mirrors[i].of = t->at;
		mirrors[i].at = xmalloc(bytes);
		device_to_host(d, mirrors[i].at, t->at, bytes);
	}
	return mirrors[i].at;
}

static inline void *memory_get(const struct device *d, size_t bytes)
{
	char *nan = xmalloc(bytes);
	void *at = device_alloc(d, bytes);

	CHECK(memory.n < (int)ARRAY_SIZE(memory.block));
	memory.block[memory.n].device = d;
	memory.block[memory.n].at = at;
	memory.block[memory.n++].bytes = bytes;
	memset(nan, 0xff, bytes);
	device_from_host(d, at, nan, bytes);
	free(nan);
	return at;
}

static inline void memory_release(void)
{
	mirrors_drop();
	while (memory.n) {
		memory.n--;
		device_free(memory.block[memory.n].device, memory.block[memory.n].at,
			memory.block[memory.n].bytes);
	}
}

static inline const struct step_state *state_get(const struct device *d)
{
	void *at = memory_get(d, sizeof call_state);

	device_from_host(d, at, &call_state, sizeof call_state);
	return at;
}

static inline struct tensor *tensor_new(struct arena *a, const struct device *d,
	struct tensor shape)
{
	struct tensor *t = ARENA_NEW(a, struct tensor);

	*t = shape;
	t->at = memory_get(d, (size_t)tensor_size(t) * d->bytes[t->kind]);
	return t;
}

static inline void *element(const struct device *d, const struct tensor *t, long i)
{
	return (char *)t->at + (size_t)i * d->bytes[t->kind];
}

/* Values that a case sets are exact in bf16. */
static inline void put(const struct device *d, const struct tensor *t, long i, double v)
{
	size_t bytes = d->bytes[t->kind];
	float f = (float)v;
	int n = (int)v;

	mirrors_drop();
	if (t->kind == INDEX)
		device_from_host(d, element(d, t, i), &n, bytes);
	else if (bytes == sizeof v)
		device_from_host(d, element(d, t, i), &v, bytes);
	else
		device_from_host(d, element(d, t, i), (char *)&f + sizeof f - bytes, bytes);
}

/* Exact in bf16. */
static inline double noise(long i)
{
	return round(sin(12.9898 * (double)(i + 1)) * 21) / 16;
}

static inline struct tensor *noisy(struct arena *a, const struct device *d, struct tensor shape, long salt)
{
	struct tensor *t = tensor_new(a, d, shape);

	for (long i = 0; i < tensor_size(t); i++)
		put(d, t, i, noise(salt + i));
	return t;
}

static inline double get(const struct device *d, const struct tensor *t, long i)
{
	size_t bytes = d->bytes[t->kind];
	const char *from = mirror_of(d, t) + (size_t)i * bytes;
	double v = 0;
	float f = 0;
	int n = 0;

	if (t->kind == INDEX)
		memcpy(&n, from, bytes);
	else if (bytes == sizeof v)
		memcpy(&v, from, bytes);
	else
		memcpy((char *)&f + sizeof f - bytes, from, bytes);
	return t->kind == INDEX ? n : bytes == sizeof v ? v : f;
}

static inline struct tensor *filled(struct arena *a, const struct device *d, struct tensor shape,
	const double *v)
{
	struct tensor *t = tensor_new(a, d, shape);

	for (long i = 0; i < tensor_size(t); i++)
		put(d, t, i, v ? v[i] : 0);
	return t;
}

static inline struct tensor gradient_shape(const struct op *op, int i, const struct tensor *in)
{
	struct tensor t = *in;

	if (op->in[i].flags & IN_WEIGHT)
		t.kind = MASTER;
	return t;
}

/* Runs forward; gradients of all inputs that have one get their room. */
static inline struct call call(struct arena *a, const struct op *op, const struct device *d,
	const void *attr, struct tensor *const *in)
{
	struct op_shapes s = {.device = d, .attr = attr, .training = true};
	struct call c = {.run = {.op = op, .device = d, .attr = attr, .state = state_get(d),
		.queue = device_queue(d)}};

	for (int i = 0; i < op->n_in; i++)
		s.in[i] = c.run.in[i] = in[i];
	op_infer(op, &s);
	for (int i = 0; i < op->n_out; i++)
		c.run.out[i] = c.out[i] = tensor_new(a, d, s.out[i]);
	for (int i = 0; i < op->n_saved; i++)
		if (s.saved[i].n_dims)
			c.run.saved[i] = tensor_new(a, d, s.saved[i]);
	for (int i = 0; i < op->n_in; i++)
		if (in[i] && in[i]->kind != INDEX)
			c.run.d_in[i] = c.d_in[i] = tensor_new(a, d, gradient_shape(op, i, in[i]));
	size_t bytes = s.forward_workspace > s.backward_workspace ? s.forward_workspace :
		s.backward_workspace;
	c.run.workspace = memory_get(d, bytes + 1);
	c.run.plan = arena_get(a, s.forward_plan + 1);
	c.plan = arena_get(a, s.backward_plan + 1);
	mirrors_drop();
	op_kernel_for(op->forward, d->id)(&c.run);
	return c;
}

static inline void backward(struct call *c, int out, const struct tensor *d_out)
{
	c->run.d_out[out] = d_out;
	c->run.plan = c->plan;
	mirrors_drop();
	op_kernel_for(c->run.op->backward, c->run.device->id)(&c->run);
}

static inline bool is_there(const struct device *d)
{
	return d->id != CUDA_SCAN && op_kernel_for(op_route.forward, d->id) && !device_missing(d);
}

/* Every case: body(arena, device) on all devices. */
static inline void on_devices(void (*body)(struct arena *a, const struct device *d))
{
	for (int id = REF; id < N_DEVICES; id++) {
		struct arena a = {0};
		if (is_there(&device_list[id]))
			body(&a, &device_list[id]);
		memory_release();
		arena_release(&a);
	}
}

#endif
