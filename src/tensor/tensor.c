#include "tensor/tensor.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

struct tensor tensor_of(enum kind kind, int n_dims, ...)
{
	struct tensor t = {.kind = kind, .n_dims = n_dims, .id = -1};
	va_list ap;

	CHECK(n_dims >= 1 && n_dims <= MAX_DIMS);
	va_start(ap, n_dims);
	for (int i = 0; i < n_dims; i++) {
		t.dims[i] = va_arg(ap, long);
		CHECK(t.dims[i] > 0);
	}
	va_end(ap);
	t.ld = t.dims[n_dims - 1];
	return t;
}

bool tensor_same_shape(const struct tensor *a, const struct tensor *b)
{
	return a->n_dims == b->n_dims && !memcmp(a->dims, b->dims, sizeof(long) * (size_t)a->n_dims);
}

const char *tensor_shape_text(const struct tensor *t, char *buffer)
{
	int n = 0;

	for (int i = 0; i < t->n_dims; i++)
		n += snprintf(buffer + n, 64 - (size_t)n, "%s%ld", i ? ", " : "[", t->dims[i]);
	snprintf(buffer + n, 64 - (size_t)n, "]");
	return buffer;
}
