/* What tests of the scan's CUDA kernels share: the operator on one device, with random operands. */
#ifndef SCAN_CASE_H
#define SCAN_CASE_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/rng.h"
#include "op/op.h"
#include "op/scan.h"

struct shape {
	long B, T, I, N;
	bool gate;
	int pad;	/* floats between rows; unless a multiple of 4: the unaligned path */
	enum device_id oracle;
};

/* The operator with memory on one device. */
struct scan_case {
	struct arena arena;
	struct op_shapes shapes;
	struct op_run run;
};

static inline size_t tensor_bytes(const struct scan_case *c, const struct tensor *t)
{
	return (size_t)tensor_span(t) * c->shapes.device->bytes[t->kind];
}

static inline struct tensor *new_tensor(struct scan_case *c, struct tensor shape, int pad)
{
	struct tensor *t = ARENA_NEW(&c->arena, struct tensor);

	*t = shape;
	t->ld += t->kind == REAL ? pad : 0;
	t->at = arena_get(&c->arena, tensor_bytes(c, t));
	memset(t->at, 0xff, tensor_bytes(c, t));	/* NaN between rows */
	return t;
}

/* Uniform in (low, high), the same numbers on every device and for every stride. */
static inline void fill(const struct scan_case *c, const struct tensor *t, uint64_t stream,
	double low, double high)
{
	bool wide = c->shapes.device->id == REF;

	#pragma omp parallel for
	for (long row = 0; row < tensor_rows(t); row++)
		for (long i = 0; i < tensor_width(t); i++) {
			long k = row * tensor_width(t) + i;
			struct rng_block b = rng_block((struct rng_key){1, stream, 0}, (uint64_t)k);
			double v = (float)(low + (high - low) * rng_uniform(b, 0));
			if (wide)
				row_f64(t, row)[i] = v;
			else
				row_f32(t, row)[i] = (float)v;
		}
}

static inline void set_up(struct scan_case *c, const struct shape *s, enum device_id id, int pad)
{
	const struct tensor in[SCAN_N_IN] = {
		[SCAN_U_BTI] = tensor_of(REAL, 3, s->B, s->T, s->I),
		[SCAN_DTRAW_BTI] = tensor_of(REAL, 3, s->B, s->T, s->I),
		[SCAN_ALOG_IN] = tensor_of(MASTER, 2, s->I, s->N),
		[SCAN_B_BTN] = tensor_of(REAL, 3, s->B, s->T, s->N),
		[SCAN_C_BTN] = tensor_of(REAL, 3, s->B, s->T, s->N),
		[SCAN_D_I] = tensor_of(MASTER, 1, s->I),
		[SCAN_DTBIAS_I] = tensor_of(MASTER, 1, s->I),
		[SCAN_Z_BTI] = tensor_of(REAL, 3, s->B, s->T, s->I),
	};

	*c = (struct scan_case){.shapes = {.device = &device_list[id], .training = true}};
	c->run = (struct op_run){.op = &op_scan, .device = c->shapes.device};
	for (int i = 0; i < SCAN_N_IN; i++) {
		if (!in[i].n_dims || (i == SCAN_Z_BTI && !s->gate))
			continue;
		c->run.in[i] = c->shapes.in[i] = new_tensor(c, in[i], pad);
		c->run.d_in[i] = new_tensor(c, in[i], pad);
		/* steps from 0.001 to 0.1 and decay rates from 1 to 16, as in a trained model */
		double low = i == SCAN_DTBIAS_I ? -7 : i == SCAN_ALOG_IN ? 0 : -1;
		double high = i == SCAN_DTBIAS_I ? -2 : i == SCAN_ALOG_IN ? 2.8 : 1;
		fill(c, c->run.in[i], (uint64_t)i, low, high);
	}
	op_infer(&op_scan, &c->shapes);
	c->run.out[SCAN_Y_BTI] = new_tensor(c, c->shapes.out[SCAN_Y_BTI], pad);
	c->run.d_out[SCAN_Y_BTI] = new_tensor(c, c->shapes.out[SCAN_Y_BTI], pad);
	fill(c, c->run.d_out[SCAN_Y_BTI], 100, -1, 1);
	for (int i = 0; i < SCAN_N_SAVED; i++)
		if (c->shapes.saved[i].n_dims)
			c->run.saved[i] = new_tensor(c, c->shapes.saved[i], 0);
	c->run.workspace = arena_get(&c->arena, c->shapes.forward_workspace +
		c->shapes.backward_workspace);
}

/* y for i < 0, else a gradient; NULL: there is none. */
static inline const struct tensor *result(const struct scan_case *c, int i)
{
	return i < 0 ? c->run.out[SCAN_Y_BTI] : c->run.d_in[i];
}

/* Everything the operator writes starts as NaN, so that what it forgets shows; with `add`,
   gradients start as numbers to which it adds. */
static inline void clear_results(struct scan_case *c, bool add)
{
	c->run.add = add ? ~0u : 0;
	for (int i = -1; i < SCAN_N_IN; i++) {
		const struct tensor *t = result(c, i);
		if (!t)
			continue;
		memset(t->at, 0xff, tensor_bytes(c, t));
		if (add && i >= 0)
			fill(c, t, 200 + (uint64_t)i, -1, 1);
	}
}

static inline void run_case(struct scan_case *c, bool add)
{
	enum device_id id = c->shapes.device->id;

	clear_results(c, add);
	op_kernel_for(op_scan.forward, id)(&c->run);
	op_kernel_for(op_scan.backward, id)(&c->run);
}

static inline double get(const struct scan_case *c, const struct tensor *t, long row, long i)
{
	return c->shapes.device->id == REF ? row_f64(t, row)[i] : (double)row_f32(t, row)[i];
}

/* || a - b || / || b ||; 0 where both are 0. */
static inline double distance(const struct scan_case *x, const struct tensor *a,
	const struct scan_case *y, const struct tensor *b)
{
	double diff = 0, norm = 0;

	for (long row = 0; row < tensor_rows(a); row++)
		for (long i = 0; i < tensor_width(a); i++) {
			double u = get(x, a, row, i), v = get(y, b, row, i);
			diff += (u - v) * (u - v);
			norm += v * v;
		}
	return diff == 0 ? 0 : sqrt(diff / norm);
}

/* Of all results. */
static inline void hash_results(const struct scan_case *c, char hex[HASH_HEX])
{
	struct hash *h = hash_open();

	for (int i = -1; i < SCAN_N_IN; i++)
		if (result(c, i))
			hash_add(h, result(c, i)->at, tensor_bytes(c, result(c, i)));
	hash_close(h, hex);
}

/* The largest distance of a result, NaN if there is one, and its name. */
static inline double worst_distance(const struct scan_case *x, const struct scan_case *oracle,
	const char **where)
{
	double worst = 0;

	*where = "y";
	for (int i = -1; i < SCAN_N_IN && !isnan(worst); i++) {
		const struct tensor *t = result(x, i);
		double e = t ? distance(x, t, oracle, result(oracle, i)) : 0;
		if (!(e <= worst)) {
			worst = e;
			*where = i < 0 ? "y" : op_scan.in[i].name;
		}
	}
	return worst;
}

#endif
