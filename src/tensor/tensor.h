/*
 * A tensor is a view: an address, a shape, and one stride. The last dimension is contiguous; all
 * others fold into rows that lie `ld` elements apart. So a slice of the last dimension of a tensor
 * is again a tensor, without a copy, and a matrix product takes it as it is.
 *
 * Layout is token-major everywhere: x_BTD has B*T rows of D channels.
 * Letters of shape suffixes: B batch, T time, D model width, I inner width (of Mamba), F hidden
 * width, N state, R rank of dt, K taps of the convolution, H heads, E experts, S rows of the
 * dispatch buffer, G routing groups, V vocabulary.
 */
#ifndef TENSOR_TENSOR_H
#define TENSOR_TENSOR_H

#include <stdbool.h>
#include <stddef.h>

#include "tensor/device.h"

enum { MAX_DIMS = 4 };

struct tensor {
	void *at;		/* device address of the first element; NULL until planned */
	enum kind kind;
	int n_dims;		/* 1 to MAX_DIMS */
	long dims[MAX_DIMS];
	long ld;		/* elements from row to row, >= width */
	int id;			/* number of the value in the graph that records it */
};

/* Shape of up to 4 dimensions, contiguous: tensor_of(REAL, 3, B, T, D). */
struct tensor tensor_of(enum kind kind, int n_dims, ...);
bool tensor_same_shape(const struct tensor *a, const struct tensor *b);
/* "[16, 256, 128]"; the buffer is the caller's, at least 64 bytes. */
const char *tensor_shape_text(const struct tensor *t, char *buffer);

static inline long tensor_width(const struct tensor *t)
{
	return t->dims[t->n_dims - 1];
}

static inline long tensor_rows(const struct tensor *t)
{
	long rows = 1;

	for (int i = 0; i < t->n_dims - 1; i++)
		rows *= t->dims[i];
	return rows;
}

static inline long tensor_size(const struct tensor *t)
{
	return tensor_rows(t) * tensor_width(t);
}

/* Elements from the first to behind the last, gaps between rows included. */
static inline long tensor_span(const struct tensor *t)
{
	return (tensor_rows(t) - 1) * t->ld + tensor_width(t);
}

/* Row i as the type the kernel works in; the kernel's device fixes which of these is right. */
static inline double *row_f64(const struct tensor *t, long i)
{
	return (double *)t->at + i * t->ld;
}

static inline float *row_f32(const struct tensor *t, long i)
{
	return (float *)t->at + i * t->ld;
}

static inline int *row_int(const struct tensor *t, long i)
{
	return (int *)t->at + i * t->ld;
}

#endif
