#include "measure/rate_gpu.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef WITH_CUDA
#include "base/error.h"
#include "op/cuda/gemm.h"
#include "op/linear.h"
#include "tensor/queue.h"

enum { SIDE = 8192, COPY_BYTES = 1 << 30, TRIES = 6 };

/* What a try enqueues. */
struct work {
	struct op_run run;
	struct gpu_gemm_plan plan;
	void *a, *b, *c, *workspace;
};

static void one_gemm(struct work *w)
{
	static const struct gpu_gemm g = {.ta = GPU_GEMM_N, .tb = GPU_GEMM_T, .m = SIDE, .n = SIDE,
		.k = SIDE, .lda = SIDE, .ldb = SIDE, .ldc = SIDE};

	gpu_gemm(&w->run, &w->plan, &g, w->a, w->b, NULL, false, w->c, w->workspace);
}

static void one_copy(struct work *w)
{
	queue_copy(w->run.queue, w->b, w->a, COPY_BYTES);
}

/* Least seconds of a try; the first one is not counted. */
static double best_of(void (*one)(struct work *w), struct work *w)
{
	struct queue_mark *from = queue_mark_new(), *to = queue_mark_new();
	double best = INFINITY;

	for (int i = 0; i < TRIES; i++) {
		queue_mark(w->run.queue, from);
		one(w);
		queue_mark(w->run.queue, to);
		best = i ? fmin(best, queue_seconds(from, to)) : best;
	}
	queue_mark_free(from);
	queue_mark_free(to);
	return best;
}

/* Numbers of about N(0, 1), since zeros let the GPU's clock rise. */
static void fill(const struct device *d, void *at, size_t n)
{
	unsigned char *host = xmalloc(n * d->bytes[REAL]);
	unsigned x = 1;

	for (size_t i = 0; i < n; i++) {
		float value;
		x = x * 1664525u + 1013904223u;
		value = (float)(x >> 8) * 0x1p-22f - 2;
		memcpy(host + i * d->bytes[REAL], (char *)&value + 4 - d->bytes[REAL], d->bytes[REAL]);
	}
	device_from_host(d, at, host, n * d->bytes[REAL]);
	free(host);
}

double rate_gemm_gpu(const struct device *d)
{
	size_t n = (size_t)SIDE * SIDE, bytes = n * d->bytes[REAL];
	struct work w = {.run = {.op = &op_linear, .device = d, .queue = device_queue(d)},
		.a = device_alloc(d, bytes),
		.b = device_alloc(d, bytes), .c = device_alloc(d, bytes),
		.workspace = device_alloc(d, GPU_GEMM_WORKSPACE)};
	double seconds;

	fill(d, w.a, n);
	fill(d, w.b, n);
	seconds = best_of(one_gemm, &w);
	device_free(d, w.a, bytes);
	device_free(d, w.b, bytes);
	device_free(d, w.c, bytes);
	device_free(d, w.workspace, GPU_GEMM_WORKSPACE);
	return 2.0 * SIDE * SIDE * SIDE / seconds;
}

double rate_copy_gpu(const struct device *d)
{
	struct work w = {.run = {.device = d, .queue = device_queue(d)},
		.a = device_alloc(d, COPY_BYTES), .b = device_alloc(d, COPY_BYTES)};
	double seconds = best_of(one_copy, &w);

	device_free(d, w.a, COPY_BYTES);
	device_free(d, w.b, COPY_BYTES);
	return 2.0 * COPY_BYTES / seconds;
}
#else
double rate_gemm_gpu(const struct device *d)
{
	(void)d;
	return NAN;
}

double rate_copy_gpu(const struct device *d)
{
	(void)d;
	return NAN;
}
#endif
