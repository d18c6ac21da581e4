/* Products over segments (op/cuda/grouped.h) with operands of their own, held against sums in float64. */
#ifndef GROUPED_CASE_H
#define GROUPED_CASE_H

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "gpu_memory.h"
#include "op/cuda/grouped.h"

enum { GROUPED_PAD = 8 };	/* elements between rows */

enum segments_kind { EVEN, SKEWED, ODD };	/* ODD: any lengths, every third empty */

struct grouped_case {
	struct grouped g;		/* form, end, fn, E, S, m, n, k, add */
	enum segments_kind kind;
};

/* Operands on the host and the GPU, in bf16; c of BY_EXPERT in float. Nobody's rows are NaN. */
struct grouped_operands {
	struct grouped g;
	int *first;
	void *a, *b, *c, *h, *act;
	size_t a_bytes, b_bytes, c_bytes, h_bytes;
};

static inline float float_of(uint16_t bits)
{
	uint32_t wide = (uint32_t)bits << 16;
	float x;

	memcpy(&x, &wide, sizeof x);
	return x;
}

/* Element i of random numbers in (-1, 1) that bf16 has. */
static inline uint16_t random_bf16(uint64_t stream, long i)
{
	uint64_t x = ((uint64_t)i + stream * 0x1000003) * 0x9e3779b97f4a7c15u;
	float v;
	uint32_t bits;

	x ^= x >> 29;
	x *= 0xbf58476d1ce4e5b9u;
	v = (float)((double)(x >> 40) * 0x1p-23 - 1);
	memcpy(&bits, &v, sizeof bits);
	return (uint16_t)(bits >> 16);
}

/* n numbers; those from `good` on NaN. */
static inline void *random_elements(uint64_t stream, long n, long good)
{
	uint16_t *to = xmalloc((size_t)n * sizeof *to);

	#pragma omp parallel for
	for (long i = 0; i < n; i++)
		to[i] = i < good ? random_bf16(stream, i) : 0x7fc0;
	return to;
}

/* All rows but the last few are somebody's. */
static inline int *segments_of(const struct grouped_case *t)
{
	int E = t->g.E, *first = xmalloc((size_t)(E + 1) * sizeof *first);
	double used = (double)(t->kind == ODD ? t->g.S - t->g.S / 10 : t->g.S), sum = 0, all = 0;

	for (int pass = 0; pass < 2; pass++) {
		sum = 0;
		for (int e = 0; e < E; e++) {
			double odd = e % 3 == 1 && E > 1 ? 0 : 1 + (e * 7 + 3) % 11;
			first[e] = pass ? (int)(used * sum / all) : 0;
			sum += t->kind == EVEN ? 1 : t->kind == SKEWED ? 1 / (1 + 0.1 * e) : odd;
		}
		all = sum;
	}
	first[E] = (int)used;
	return first;
}

static inline void open_operands(struct grouped_operands *x, const struct grouped_case *t)
{
	bool by_expert = t->g.form == BY_EXPERT;
	long S = t->g.S, E = t->g.E, m = t->g.m, n = t->g.n, k = t->g.k, used;
	size_t c_elements;

	*x = (struct grouped_operands){.g = t->g, .first = segments_of(t)};
	used = x->first[E];
	x->g.lda = (by_expert ? m : k) + GROUPED_PAD;
	x->g.ldb = (t->g.form == ROWS_NT ? k : n) + GROUPED_PAD;
	x->g.ldc = n + GROUPED_PAD;
	x->g.step = by_expert ? m * x->g.ldc : (t->g.form == ROWS_NT ? n : k) * x->g.ldb;
	x->a_bytes = (size_t)(S * x->g.lda) * 2;
	x->b_bytes = (size_t)(by_expert ? S * x->g.ldb : E * x->g.step) * 2;
	c_elements = (size_t)(by_expert ? E * x->g.step : S * x->g.ldc);
	x->c_bytes = c_elements * (by_expert ? 4 : 2);
	x->h_bytes = by_expert || t->g.end == END_STORE ? 0 : (size_t)(S * n) * 2;
	x->a = random_elements(1, (long)(x->a_bytes / 2), used * x->g.lda);
	x->b = random_elements(2, (long)(x->b_bytes / 2), by_expert ? used * x->g.ldb : LONG_MAX);
	x->c = random_elements(3, (long)(x->c_bytes / 2), LONG_MAX);
	for (size_t i = 0; by_expert && i < c_elements; i++)
		((float *)x->c)[i] = float_of(random_bf16(3, (long)i));
	x->h = random_elements(4, (long)(x->h_bytes / 2), LONG_MAX);
	x->act = random_elements(5, (long)(x->h_bytes / 2), LONG_MAX);
	x->g.first = upload(x->first, (size_t)(E + 1) * sizeof(int));
	x->g.a = upload(x->a, x->a_bytes);
	x->g.b = upload(x->b, x->b_bytes);
	x->g.c = upload(x->c, x->c_bytes);
	x->g.h = x->h_bytes ? upload(x->h, x->h_bytes) : NULL;
	x->g.act = x->h_bytes ? upload(x->act, x->h_bytes) : NULL;
}

static inline void close_operands(struct grouped_operands *x)
{
	discard((void *)x->g.first, (size_t)(x->g.E + 1) * sizeof(int));
	discard((void *)x->g.a, x->a_bytes);
	discard((void *)x->g.b, x->b_bytes);
	discard(x->g.c, x->c_bytes);
	if (x->h_bytes) {
		discard(x->g.h, x->h_bytes);
		discard(x->g.act, x->h_bytes);
	}
	free(x->first);
	free(x->a);
	free(x->b);
	free(x->c);
	free(x->h);
	free(x->act);
}

/* ---- what should come out ------------------------------------------------------------------- */

static inline double element(const void *at, long i)
{
	return float_of(((const uint16_t *)at)[i]);
}

/* C[s, j] of ROWS_ before its end, s of expert e; C[e][s, j] of BY_EXPERT. */
static inline double product_of(const struct grouped_operands *x, int e, long s, long j)
{
	const struct grouped *g = &x->g;
	double sum = 0;

	if (g->form == BY_EXPERT)
		for (long t = x->first[e]; t < x->first[e + 1]; t++)
			sum += element(x->a, t * g->lda + s) * element(x->b, t * g->ldb + j);
	else
		for (long k = 0; k < g->k; k++)
			sum += element(x->a, s * g->lda + k) * element(x->b, e * g->step +
				(g->form == ROWS_NT ? j * g->ldb + k : k * g->ldb + j));
	return sum;
}

/* An element of a result and what it should be, v being the product; unlike: not written. */
struct pair {
	double is, should, v;
};

static inline bool is_near(struct pair p, double rounding, double terms)
{
	double most = rounding * (fabs(p.v) + fabs(p.should) + 1) + 1e-6 * terms;

	return fabs(p.is - p.should) <= most;
}

static inline bool good_rows_element(const struct grouped_operands *x, const struct grouped_operands *got,
	int e, long s, long j)
{
	const struct grouped *g = &x->g;
	long at = s * g->ldc + j, in = s * g->n + j;
	double v = product_of(x, e, s, j), c = element(got->c, at), rounding = 0x1p-7;

	if (g->end == END_STORE)
		return is_near((struct pair){c, v + (g->add ? element(x->c, at) : 0), v}, rounding, g->k);
	double h = g->end == END_SLOPE ? element(x->h, in) : v, act = act_f64(g->fn, h);
	bool good = true;
	if (g->end == END_SLOPE)
		good = is_near((struct pair){c, v * act_slope_f64(g->fn, h), v}, rounding, g->k);
	else if (g->fn != ACT_RELU)
		good = is_near((struct pair){element(got->h, in), v, v}, rounding, g->k);
	if (g->end == END_ACTIVATE || g->fn != ACT_RELU)
		good &= is_near((struct pair){element(got->act, in), act, v}, rounding, g->k);
	return good;
}

/* Elements that differ, of every `step`-th. */
static inline long wrong_elements(const struct grouped_operands *x, const struct grouped_operands *got,
	long step)
{
	const struct grouped *g = &x->g;
	bool by_expert = g->form == BY_EXPERT;
	long wrong = 0;

	#pragma omp parallel for reduction(+: wrong) schedule(dynamic)
	for (int e = 0; e < g->E; e++) {
		long rows = by_expert ? g->m : x->first[e + 1] - x->first[e];
		for (long i = e % step; i < rows * g->n; i += step) {
			long s = i / g->n, j = i % g->n, at = e * g->step + s * g->ldc + j;
			if (!by_expert) {
				wrong += !good_rows_element(x, got, e, x->first[e] + s, j);
				continue;
			}
			double v = product_of(x, e, s, j), old = ((float *)x->c)[at];
			wrong += !is_near((struct pair){((float *)got->c)[at], v + (g->add ? old : 0), v},
				1e-5, sqrt((double)(x->first[e + 1] - x->first[e])));
		}
	}
	return wrong;
}

/* Bytes changed in rows that are nobody's and, of C, between rows. */
static inline long damage(const struct grouped_operands *x, const struct grouped_operands *got)
{
	const struct grouped *g = &x->g;
	size_t size = g->form == BY_EXPERT ? 4 : 2, n = (size_t)g->n * size;
	long rows = g->form == BY_EXPERT ? (long)g->E * g->m : g->S, used = x->first[g->E], bad = 0;

	for (long s = 0; s < rows; s++) {
		size_t row = (size_t)(s * g->ldc) * size, skip = n;
		if (g->form != BY_EXPERT && s >= used)
			skip = 0;
		bad += memcmp((char *)x->c + row + skip, (char *)got->c + row + skip,
			(size_t)g->ldc * size - skip) != 0;
	}
	if (x->h_bytes) {
		size_t from = (size_t)(used * g->n) * 2;
		bad += memcmp((char *)x->h + from, (char *)got->h + from, x->h_bytes - from) != 0;
		bad += memcmp((char *)x->act + from, (char *)got->act + from, x->h_bytes - from) != 0;
	}
	return bad;
}

typedef void grouped_kernel(const struct op_run *r, const struct grouped *g);

static inline struct op_run grouped_run(void)
{
	static const struct op op = {.name = "grouped"};

	return (struct op_run){.op = &op, .device = &device_list[CUDA], .queue = gpu_queue()};
}

/* Runs a kernel on the operands: wrong elements of every step-th, and damage. */
static inline long try_kernel(const struct grouped_operands *x, grouped_kernel *kernel, long step)
{
	struct grouped_operands got = *x;
	struct op_run r = grouped_run();
	long wrong;

	got.c = xmalloc(x->c_bytes);
	got.h = xmalloc(x->h_bytes + 1);
	got.act = xmalloc(x->h_bytes + 1);
	got.g.c = upload(x->c, x->c_bytes);
	got.g.h = x->h_bytes ? upload(x->h, x->h_bytes) : NULL;
	got.g.act = x->h_bytes ? upload(x->act, x->h_bytes) : NULL;
	kernel(&r, &got.g);
	download(got.c, got.g.c, x->c_bytes);
	if (x->h_bytes) {
		download(got.h, got.g.h, x->h_bytes);
		download(got.act, got.g.act, x->h_bytes);
		discard(got.g.h, x->h_bytes);
		discard(got.g.act, x->h_bytes);
	}
	wrong = wrong_elements(x, &got, step) + damage(x, &got);
	discard(got.g.c, x->c_bytes);
	free(got.c);
	free(got.h);
	free(got.act);
	return wrong;
}

/* Calls with each form, end and function that there is, of these sizes. */
static inline int each_end(struct grouped_case *list, int E, long S, int m, int n, int k)
{
	int count = 0;
	struct grouped g = {.E = E, .S = S, .m = m, .n = n, .k = k};

	for (int form = ROWS_NT; form <= BY_EXPERT; form++)
		for (int variant = 0; variant < (form == BY_EXPERT ? 2 : 5); variant++) {
			g.form = (enum grouped_form)form;
			g.add = variant == 1;
			g.end = variant < 2 ? END_STORE : form == ROWS_NT ? END_ACTIVATE : END_SLOPE;
			g.fn = (enum act_fn)(variant < 2 ? 0 : variant - 2);
			list[count++] = (struct grouped_case){g, ODD};
		}
	return count;
}

enum { MOST_ENDS = 12 };

static inline void describe(const struct grouped_case *t, char *to, size_t bytes)
{
	static const char *const forms[] = {"A W^T", "A W", "A^T B by expert"};
	static const char *const ends[] = {"stored", "activated", "by slope"};

	snprintf(to, bytes, "%s, %s%s, fn %d, E %d, S %ld, m %d, n %d, k %d", forms[t->g.form],
		ends[t->g.end], t->g.add ? ", added" : "", t->g.fn, t->g.E, t->g.S, t->g.m, t->g.n, t->g.k);
}

#endif
