/* op/cuda/gemm.h on the emulator, in place of gemm.cu, in programs built with EMULATED=1: loops. */
#include "op/cuda/gemm.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "emulator_queue.h"

enum { ALIGN = 256, POISONED = 4096 };

struct product {
	struct gpu_gemm g;
	const char *name;
	const void *a, *b, *bias;
	void *c, *workspace;
	bool add;
	size_t real, result;	/* bytes of an element of A and B, of C */
};

/* ---- elements ------------------------------------------------------------------------------- */

static float get(const void *at, size_t bytes, long i)
{
	uint32_t bits;
	float v;

	if (bytes == sizeof v)
		return ((const float *)at)[i];
	bits = (uint32_t)((const uint16_t *)at)[i] << 16;
	memcpy(&v, &bits, sizeof v);
	return v;
}

/* To bf16: nearest, ties to even. */
static void put(void *at, size_t bytes, long i, float v)
{
	uint32_t bits;

	if (bytes == sizeof v) {
		((float *)at)[i] = v;
		return;
	}
	memcpy(&bits, &v, sizeof bits);
	((uint16_t *)at)[i] = isnan(v) ? 0x7fff : (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static const void *element(const void *at, size_t bytes, long i)
{
	return (const char *)at + (size_t)i * bytes;
}

/* rows x columns of op(X), row by row. */
static float *unpacked(const void *at, size_t bytes, enum gpu_gemm_side side, long ld, long rows,
	long columns)
{
	float *x = xmalloc((size_t)(rows * columns + 1) * sizeof *x);

	for (long i = 0; i < rows; i++)
		for (long j = 0; j < columns; j++)
			x[i * columns + j] = get(at, bytes, side == GPU_GEMM_T ? j * ld + i : i * ld + j);
	return x;
}

/* ---- the product ------------------------------------------------------------------------------ */

static void multiply(const struct product *p, const void *at_a, const void *at_b, void *c)
{
	const struct gpu_gemm *g = &p->g;
	float *a = unpacked(at_a, p->real, g->ta, g->lda, g->m, g->k);
	float *b = unpacked(at_b, p->real, g->tb, g->ldb, g->k, g->n);
	float *row = xmalloc((size_t)g->n * sizeof *row);

	for (long i = 0; i < g->m; i++) {
		for (long j = 0; j < g->n; j++)
			row[j] = 0;
		for (long k = 0; k < g->k; k++)
			for (long j = 0; j < g->n; j++)
				row[j] += a[i * g->k + k] * b[k * g->n + j];
		for (long j = 0; j < g->n; j++)
			put(c, p->result, i * g->ldc + j, (g->relu ? fmaxf(row[j], 0) : row[j]) +
				(g->bias ? get(p->bias, p->result, j) : 0) +
				(p->add ? get(c, p->result, i * g->ldc + j) : 0));
	}
	free(a);
	free(b);
	free(row);
}

static long batch_of(const struct gpu_gemm *g)
{
	return g->batch > 1 ? g->batch : 1;
}

static void run_product(const void *closure)
{
	const struct product *p = closure;
	const struct gpu_gemm *g = &p->g;

	memset(p->workspace, 0xff, POISONED);
	memset((char *)p->workspace + GPU_GEMM_WORKSPACE - POISONED, 0xff, POISONED);
	for (long k = 0; k < batch_of(g); k++)
		multiply(p, element(p->a, p->real, k * g->stride_a),
			element(p->b, p->real, k * g->stride_b),
			(void *)(uintptr_t)element(p->c, p->result, k * g->stride_c));
}

/* ---- what the library would refuse, or never find ------------------------------------------- */

/* Every row of a batch of matrices as they lie in memory is the device's. */
static void check_operand(const struct product *p, const char *which, const void *at, size_t bytes,
	long rows, long columns, long ld, long stride)
{
	if ((uintptr_t)at % bytes || ld < columns)
		die("GPU: %s: product's %s: misaligned, or rows closer than they are wide", p->name,
			which);
	for (long k = 0; k < batch_of(&p->g); k++)
		for (long i = 0; i < rows; i++)
			if (!emulator_owns(element(at, bytes, k * stride + i * ld), (size_t)columns * bytes))
				die("GPU: %s: product's %s is not all device memory: row %ld of batch %ld",
					p->name, which, i, k);
}

static void check_operands(const struct product *p)
{
	const struct gpu_gemm *g = &p->g;
	bool ta = g->ta == GPU_GEMM_T, tb = g->tb == GPU_GEMM_T;

	if (g->m < 1 || g->n < 1 || g->k < 1)
		die("GPU: %s: a product of %ld x %ld x %ld", p->name, g->m, g->n, g->k);
	check_operand(p, "A", p->a, p->real, ta ? g->k : g->m, ta ? g->m : g->k, g->lda, g->stride_a);
	check_operand(p, "B", p->b, p->real, tb ? g->n : g->k, tb ? g->k : g->n, g->ldb, g->stride_b);
	check_operand(p, "C", p->c, p->result, g->m, g->n, g->ldc, g->stride_c);
	if (g->relu && (g->bias || p->add))
		die("GPU: %s: a product with relu that has a bias or is added", p->name);
	if (g->bias && !emulator_owns(p->bias, (size_t)g->n * p->result))
		die("GPU: %s: product's bias is not device memory", p->name);
	if ((uintptr_t)p->workspace % ALIGN || !emulator_owns(p->workspace, GPU_GEMM_WORKSPACE))
		die("GPU: %s: product's workspace: %d bytes aligned to %d", p->name, GPU_GEMM_WORKSPACE,
			ALIGN);
}

static bool is_same(const struct gpu_gemm *a, const struct gpu_gemm *b)
{
	return a->ta == b->ta && a->tb == b->tb && a->m == b->m && a->n == b->n && a->k == b->k &&
		a->lda == b->lda && a->ldb == b->ldb && a->ldc == b->ldc && a->batch == b->batch &&
		a->stride_a == b->stride_a && a->stride_b == b->stride_b &&
		a->stride_c == b->stride_c && a->c_float == b->c_float && a->bias == b->bias &&
		a->relu == b->relu;
}

/* A plan serves one product for good. */
static void check_plan(struct gpu_gemm_plan *plan, const struct product *p)
{
	struct kept {
		bool known;
		struct gpu_gemm g;
	} *kept = (struct kept *)plan;

	_Static_assert(sizeof *kept <= sizeof *plan, "room of a plan");
	if (kept->known && !is_same(&kept->g, &p->g))
		die("GPU: %s: a product's plan is used for another product", p->name);
	*kept = (struct kept){true, p->g};
}

void gpu_gemm(const struct op_run *r, struct gpu_gemm_plan *plan, const struct gpu_gemm *g,
	const void *a, const void *b, const void *bias, bool add, void *c, void *workspace)
{
	size_t real = r->device->bytes[REAL];
	struct product p = {.name = r->op->name, .a = a, .b = b, .bias = bias, .c = c,
		.workspace = workspace, .add = add, .real = real,
		.result = g->c_float ? sizeof(float) : real, .g = *g};

	check_operands(&p);
	check_plan(plan, &p);
	emulator_enqueue(run_product, &p, sizeof p);
}

bool gpu_gemm_offered(const struct op_run *r, const struct gpu_gemm *g, const void *a, const void *b,
	const void *c)
{
	(void)r;
	(void)g;
	(void)a;
	(void)b;
	(void)c;
	return true;
}

int gpu_gemm_choices_file(struct queue *q, const char *path)
{
	(void)q;
	(void)path;
	return 0;
}

const char *gpu_gemm_library(void)
{
	return "plain loops";
}

char *gpu_gemm_choices_text(const struct queue *q)
{
	(void)q;
	return xcalloc(1, 1);
}
