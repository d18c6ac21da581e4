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
	struct grouped g;		/* form, end, fn, E, S, m, n, k, add, units and what they are of */
	enum segments_kind kind;
};

/* W, or C of BY_EXPERT: rows and columns of an expert, where they begin, and those of all. */
struct own_matrix {
	long rows, columns, row, column, all_rows, all_columns;
};

static inline struct own_matrix own_matrix(const struct grouped *g, int e)
{
	bool nt = g->form == ROWS_NT, by_expert = g->form == BY_EXPERT;
	long rows = by_expert ? g->m : nt ? g->n : g->k, columns = nt ? g->k : g->n;
	int each = by_expert ? g->m_each : nt ? g->n_each : g->k_each;
	struct own_matrix x = {rows, columns, e * rows, 0, g->E * rows, columns};

	if (!g->units.n)
		return x;
	long first = units_first(&g->units, e), width = units_of(&g->units, e), all = units_first(&g->units, g->E);
	if (each)
		return (struct own_matrix){each * width, columns, each * first, 0, each * all, columns};
	return (struct own_matrix){rows, width, 0, first, rows, all};
}

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

/* From expert to expert of a matrix with rows ld apart; where experts differ from unit to unit. */
static inline long step_of(const struct grouped *g, long ld)
{
	struct own_matrix first = own_matrix(g, 0);

	if (!g->units.n)
		return first.rows * ld;
	return first.all_columns == first.columns ? first.rows / units_of(&g->units, 0) * ld : 1;
}

/* Columns from `own` to `all` of an expert's rows are nobody's. */
static inline void spoil(void *rows, long ld, long n, long own, long all)
{
	for (long i = 0; i < n; i++)
		for (long j = own; j < all; j++)
			((uint16_t *)rows)[i * ld + j] = 0x7fc0;
}

static inline void spoil_what_experts_lack(const struct grouped_operands *x)
{
	const struct grouped *g = &x->g;

	for (int e = 0; e < g->E; e++) {
		struct own_matrix own = own_matrix(g, e);
		long at = x->first[e], n = x->first[e + 1] - at;
		char *a = (char *)x->a + at * g->lda * 2, *b = (char *)x->b + at * g->ldb * 2;
		if (g->form == BY_EXPERT) {
			spoil(a, g->lda, n, own.rows, g->m);
			spoil(b, g->ldb, n, own.columns, g->n);
		} else {
			spoil(a, g->lda, n, g->form == ROWS_NT ? own.columns : own.rows, g->k);
		}
	}
}

static inline void open_operands(struct grouped_operands *x, const struct grouped_case *t)
{
	bool by_expert = t->g.form == BY_EXPERT;
	struct own_matrix own = own_matrix(&t->g, 0);
	long S = t->g.S, E = t->g.E, m = t->g.m, n = t->g.n, k = t->g.k, used;
	size_t c_elements;

	*x = (struct grouped_operands){.g = t->g, .first = segments_of(t)};
	used = x->first[E];
	x->g.lda = (by_expert ? m : k) + GROUPED_PAD;
	x->g.ldb = (by_expert ? n : own.all_columns) + GROUPED_PAD;
	x->g.ldc = (by_expert ? own.all_columns : n) + GROUPED_PAD;
	x->g.step = step_of(&x->g, by_expert ? x->g.ldc : x->g.ldb);
	x->a_bytes = (size_t)(S * x->g.lda) * 2;
	x->b_bytes = (size_t)((by_expert ? S : own.all_rows) * x->g.ldb) * 2;
	c_elements = (size_t)((by_expert ? own.all_rows : S) * x->g.ldc);
	x->c_bytes = c_elements * (by_expert ? 4 : 2);
	x->h_bytes = by_expert || t->g.end == END_STORE ? 0 : (size_t)(S * n) * 2;
	x->a = random_elements(1, (long)(x->a_bytes / 2), used * x->g.lda);
	x->b = random_elements(2, (long)(x->b_bytes / 2), by_expert ? used * x->g.ldb : LONG_MAX);
	spoil_what_experts_lack(x);
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
	struct own_matrix own = own_matrix(g, e);
	const char *w = (const char *)x->b + (own.row * g->ldb + own.column) * 2;
	double sum = 0;

	if (g->form == BY_EXPERT)
		for (long t = x->first[e]; t < x->first[e + 1]; t++)
			sum += element(x->a, t * g->lda + s) * element(x->b, t * g->ldb + j);
	else
		for (long k = 0; k < (g->form == ROWS_NT ? own.columns : own.rows); k++)
			sum += element(x->a, s * g->lda + k) *
				element(w, g->form == ROWS_NT ? j * g->ldb + k : k * g->ldb + j);
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

/* Of a row s, element j is none of its expert's: is all as it was? */
static inline bool untouched(const struct grouped_operands *x, const struct grouped_operands *got, long s, long j)
{
	const struct grouped *g = &x->g;
	long at = s * g->ldc + j, in = s * g->n + j;

	return !memcmp((uint16_t *)x->c + at, (uint16_t *)got->c + at, 2) && (!x->h_bytes ||
		(!memcmp((uint16_t *)x->h + in, (uint16_t *)got->h + in, 2) &&
		!memcmp((uint16_t *)x->act + in, (uint16_t *)got->act + in, 2)));
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
		struct own_matrix own = own_matrix(g, e);
		long rows = by_expert ? own.rows : x->first[e + 1] - x->first[e], n = by_expert ? own.columns : g->n,
			own_n = g->form == ROWS_NT ? own.rows : own.columns;
		for (long i = e % step; i < rows * n; i += step) {
			long s = i / n, j = i % n, at = (own.row + s) * g->ldc + own.column + j;
			if (!by_expert) {
				wrong += !(j < own_n ? good_rows_element(x, got, e, x->first[e] + s, j)
					: untouched(x, got, x->first[e] + s, j));
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
	struct own_matrix own = own_matrix(g, 0);
	bool by_expert = g->form == BY_EXPERT;
	size_t size = by_expert ? 4 : 2, n = (size_t)(by_expert ? own.all_columns : g->n) * size;
	long rows = by_expert ? own.all_rows : g->S, used = x->first[g->E], bad = 0;

	for (long s = 0; s < rows; s++) {
		size_t row = (size_t)(s * g->ldc) * size, skip = n;
		if (!by_expert && s >= used)
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

/* Widths of a third, a half and all of `width`, in turn, in eights where it is wide enough. */
static inline struct units three_widths(int width)
{
	int third = width / 24 ? width / 24 * 8 : width, half = width / 16 ? width / 16 * 8 : width;

	return (struct units){3, {0, third, third + half, third + half + width}};
}

/* The experts differ in n, or else in k; of BY_EXPERT in m, by two rows a unit where they can. */
static inline void make_unequal(struct grouped *g, bool in_n)
{
	int *each = in_n ? &g->n_each : g->form == BY_EXPERT ? &g->m_each : &g->k_each;
	int width = in_n ? g->n : g->form == BY_EXPERT ? g->m : g->k;

	*each = !in_n && g->form == BY_EXPERT && width % 16 == 0 ? 2 : 1;
	g->units = three_widths(width / *each);
}

/* Calls with each form, end and function that there is, of these sizes; then with unequal experts. */
static inline int each_end(struct grouped_case *list, int E, long S, int m, int n, int k)
{
	int count = 0;

	for (int unequal = 0; unequal < 2; unequal++)
		for (int form = ROWS_NT; form <= BY_EXPERT; form++)
			for (int variant = 0; variant < (form == BY_EXPERT ? 2 : unequal ? 3 : 5); variant++) {
				struct grouped g = {.E = E, .S = S, .m = m, .n = n, .k = k};
				g.form = (enum grouped_form)form;
				g.add = variant == 1;
				g.end = variant < 2 ? END_STORE : form == ROWS_NT ? END_ACTIVATE : END_SLOPE;
				g.fn = (enum act_fn)(variant < 2 ? 0 : variant - 2);
				if (unequal)
					make_unequal(&g, variant != 1);
				list[count++] = (struct grouped_case){g, ODD};
			}
	return count;
}

enum { MOST_ENDS = 24 };

static inline void describe(const struct grouped_case *t, char *to, size_t bytes)
{
	static const char *const forms[] = {"A W^T", "A W", "A^T B by expert"};
	static const char *const ends[] = {"stored", "activated", "by slope"};

	snprintf(to, bytes, "%s, %s%s%s, fn %d, E %d, S %ld, m %d, n %d, k %d", forms[t->g.form],
		ends[t->g.end], t->g.add ? ", added" : "", t->g.units.n ? ", unequal" : "", t->g.fn, t->g.E, t->g.S,
		t->g.m, t->g.n, t->g.k);
}

#endif
