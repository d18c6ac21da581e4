#include "op/cuda/gemm.h"

#include <cublasLt.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

extern "C" {
#include "base/error.h"
#include "op/cuda/gemm_choices.h"
#include "tensor/queue.h"
}
#include "op/cuda/cuda.h"

enum {
	N_PROPOSED = 8,
	N_ROUNDS = 3,		/* in which every proposal is timed once more */
	LEAST_REPEATS = 2, MOST_REPEATS = 20,	/* back to back, between two events */
	ALIGNMENT = 256,	/* bytes; no algorithm asks for more */
	KEY = 512,
};

static const double TIMED = 1e-3;	/* seconds, about, of an algorithm's repeats */
static const double FAR = 1.15;		/* times the least */
static const double SMALL = 1e8;	/* FLOPs that take less time than asking for them */

static_assert(sizeof(struct gemm_algorithm) == sizeof(cublasLtMatmulAlgo_t), "an algorithm's size");

/* What gpu_gemm_plan holds. */
struct plan {
	bool known;
	struct gemm_algorithm algorithm;
};

static_assert(sizeof(struct plan) <= sizeof(struct gpu_gemm_plan), "room of a plan");

/*
 * A product as the library is told of it. It works column by column, where our row-major matrices
 * are their own transposes: C^T[n, m] = op(B)^T op(A)^T, so our B is its first operand.
 */
struct product {
	cublasLtHandle_t handle;
	cudaStream_t stream;
	cublasLtMatmulDescOpaque_t how;
	cublasLtMatrixLayoutOpaque_t a, b, c;
	const void *at_a, *at_b, *at_c;	/* ours; what is timed may be written elsewhere */
	void *workspace;
	const char *name;		/* of the operator */
};

static void check(cublasStatus_t status, const char *name)
{
	if (status != CUBLAS_STATUS_SUCCESS)
		die("GPU: %s: cuBLASLt: %s", name, cublasLtGetStatusString(status));
}

static void open_library(struct queue *q)
{
	cublasLtHandle_t handle;

	if (!q->products)
		q->products = gemm_choices_new();
	if (q->blas)
		return;
	check(cublasLtCreate(&handle), "library");
	q->blas = handle;
}

static struct gemm_choices *choices_of(const struct queue *q)
{
	return (struct gemm_choices *)q->products;
}

int gpu_gemm_choices_file(struct queue *q, const char *path)
{
	if (!q->products)
		q->products = gemm_choices_new();
	return path ? gemm_choices_open(choices_of(q), path) : 0;
}

const char *gpu_gemm_library(void)
{
	static char text[32];
	int v = (int)cublasLtGetVersion();

	snprintf(text, sizeof text, "cuBLASLt %d.%d.%d", v / 10000, v / 100 % 100, v % 100);
	return text;
}

char *gpu_gemm_choices_text(const struct queue *q)
{
	return q->products ? gemm_choices_text(choices_of(q)) : xstrdup("");
}

/* ---- describing a product ------------------------------------------------------------------- */

static void layout(struct product *p, cublasLtMatrixLayoutOpaque_t *l, cudaDataType type, long rows,
	long columns, long ld, long batch, long stride)
{
	int n = (int)batch;
	int64_t offset = stride;

	check(cublasLtMatrixLayoutInit(l, type, (uint64_t)columns, (uint64_t)rows, ld), p->name);
	if (n <= 1)
		return;
	check(cublasLtMatrixLayoutSetAttribute(l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &n, sizeof n),
		p->name);
	check(cublasLtMatrixLayoutSetAttribute(l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
		&offset, sizeof offset), p->name);
}

static void set_how(struct product *p, cublasLtMatmulDescAttributes_t what, const void *value,
	size_t bytes)
{
	check(cublasLtMatmulDescSetAttribute(&p->how, what, value, bytes), p->name);
}

static void describe(struct product *p, const struct op_run *r, const struct gpu_gemm *g,
	const void *bias)
{
	cudaDataType type = r->device->bytes[REAL] == sizeof(float) ? CUDA_R_32F : CUDA_R_16BF;
	cublasOperation_t first = g->tb == GPU_GEMM_T ? CUBLAS_OP_T : CUBLAS_OP_N;
	cublasOperation_t second = g->ta == GPU_GEMM_T ? CUBLAS_OP_T : CUBLAS_OP_N;
	cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS, relu = CUBLASLT_EPILOGUE_RELU;
	bool ta = g->ta == GPU_GEMM_T, tb = g->tb == GPU_GEMM_T;

	check(cublasLtMatmulDescInit(&p->how, CUBLAS_COMPUTE_32F, CUDA_R_32F), p->name);
	set_how(p, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first);
	set_how(p, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second);
	if (g->bias) {
		set_how(p, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
		set_how(p, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
	}
	if (g->relu)
		set_how(p, CUBLASLT_MATMUL_DESC_EPILOGUE, &relu, sizeof relu);
	layout(p, &p->a, type, ta ? g->k : g->m, ta ? g->m : g->k, g->lda, g->batch, g->stride_a);
	layout(p, &p->b, type, tb ? g->n : g->k, tb ? g->k : g->n, g->ldb, g->batch, g->stride_b);
	layout(p, &p->c, g->c_float ? CUDA_R_32F : type, g->m, g->n, g->ldc, g->batch, g->stride_c);
}

static cublasStatus_t multiply(struct product *p, const struct gemm_algorithm *algorithm, bool add,
	void *c)
{
	float one = 1, beta = add ? 1 : 0;
	cublasLtMatmulAlgo_t algo;

	memcpy(&algo, algorithm, sizeof algo);
	return cublasLtMatmul(p->handle, &p->how, &one, p->at_b, &p->b, p->at_a, &p->a, &beta, c,
		&p->c, c, &p->c, &algo, p->workspace, GPU_GEMM_WORKSPACE, p->stream);
}

/* Does the library still take it for this product? */
static bool usable(struct product *p, const struct gemm_algorithm *algorithm)
{
	cublasLtMatmulHeuristicResult_t result;
	cublasLtMatmulAlgo_t algo;

	memcpy(&algo, algorithm, sizeof algo);
	return cublasLtMatmulAlgoCheck(p->handle, &p->how, &p->b, &p->a, &p->c, &p->c, &algo,
		       &result) == CUBLAS_STATUS_SUCCESS &&
		result.workspaceSize <= GPU_GEMM_WORKSPACE;
}

/* ---- choosing an algorithm ------------------------------------------------------------------ */

/* The largest power of two, ALIGNMENT at most, that divides an address. */
static uint32_t alignment(const void *at)
{
	size_t bits = (size_t)at | ALIGNMENT;

	return (uint32_t)(bits & -bits);
}

static void prefer(cublasLtMatmulPreferenceOpaque_t *preference,
	cublasLtMatmulPreferenceAttributes_t what, uint64_t value, size_t bytes, const char *name)
{
	uint32_t small = (uint32_t)value;
	const void *at = bytes == sizeof small ? (const void *)&small : &value;

	check(cublasLtMatmulPreferenceSetAttribute(preference, what, at, bytes), name);
}

/* Sums split over K are added up in float32 and in order, or the sum is not split: pieces that are
   added to C one after another would make C depend on who comes first. */
static int propose(struct product *p, cublasLtMatmulHeuristicResult_t *result)
{
	cublasLtMatmulPreferenceOpaque_t preference;
	int n = 0;

	check(cublasLtMatmulPreferenceInit(&preference), p->name);
	prefer(&preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, GPU_GEMM_WORKSPACE, 8,
		p->name);
	prefer(&preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
		CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE, 4,
		p->name);
	prefer(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment(p->at_b), 4,
		p->name);
	prefer(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment(p->at_a), 4,
		p->name);
	prefer(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment(p->at_c), 4,
		p->name);
	prefer(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment(p->at_c), 4,
		p->name);
	if (cublasLtMatmulAlgoGetHeuristic(p->handle, &p->how, &p->b, &p->a, &p->c, &p->c,
		    &preference, N_PROPOSED, result, &n) != CUBLAS_STATUS_SUCCESS)
		n = 0;
	return n;
}

static double seconds_of_runs(struct product *p, struct queue *q,
	const struct gemm_algorithm *algorithm, void *c, int n)
{
	struct queue_mark *from = queue_mark_new(), *to = queue_mark_new();
	double seconds;

	queue_mark(q, from);
	for (int i = 0; i < n; i++)
		check(multiply(p, algorithm, false, c), p->name);
	queue_mark(q, to);
	seconds = queue_seconds(from, to) / n;
	queue_mark_free(from);
	queue_mark_free(to);
	return seconds;
}

/* Seconds of one product; infinite: the algorithm does not work. The first is for warming up, the
   second says how many shall follow. */
static double seconds_of(struct product *p, struct queue *q, const struct gemm_algorithm *algorithm,
	void *c)
{
	if (multiply(p, algorithm, false, c) != CUBLAS_STATUS_SUCCESS)
		return INFINITY;
	int n = (int)(TIMED / seconds_of_runs(p, q, algorithm, c, 1));

	return seconds_of_runs(p, q, algorithm, c, n < LEAST_REPEATS ? (int)LEAST_REPEATS :
		n > MOST_REPEATS ? (int)MOST_REPEATS : n);
}

/* The first proposal that works: for products that are too small to be timed. */
static bool choose_first(struct product *p, void *c, struct gemm_algorithm *first)
{
	cublasLtMatmulHeuristicResult_t proposed[N_PROPOSED];
	int n = propose(p, proposed);

	for (int i = 0; i < n; i++) {
		memcpy(first, &proposed[i].algo, sizeof *first);
		if (multiply(p, first, false, c) == CUBLAS_STATUS_SUCCESS)
			return true;
	}
	return false;
}

/* The fastest of the proposals. After the first round those that are far behind are left out. */
static bool choose_fastest(struct product *p, struct queue *q, void *c, struct gemm_algorithm *best)
{
	cublasLtMatmulHeuristicResult_t proposed[N_PROPOSED];
	double least = INFINITY, seconds[N_PROPOSED] = {};
	int n = propose(p, proposed);

	for (int round = 0; round < N_ROUNDS; round++)
		for (int i = 0; i < n; i++) {
			struct gemm_algorithm a;
			memcpy(&a, &proposed[i].algo, sizeof a);
			if (round && seconds[i] > FAR * least)
				continue;
			seconds[i] = seconds_of(p, q, &a, c);
			if (seconds[i] < least) {
				least = seconds[i];
				*best = a;
			}
		}
	verbose("GPU: %s: %.1f us, best of %d", p->name, 1e6 * least, n);
	return least < INFINITY;
}

/* GPU, library and product in one text. */
static void product_key(char key[KEY], const struct op_run *r, const struct gpu_gemm *g,
	const void *a, const void *b, const void *c)
{
	static const char side[] = {'N', 'T'};
	const char *type = r->device->bytes[REAL] == sizeof(float) ? "f32" : "bf16";
	long batch = g->batch > 1 ? g->batch : 1;
	cudaDeviceProp gpu;

	cuda_check(cudaGetDeviceProperties(&gpu, 0), r->op->name);
	snprintf(key, KEY,
		"%s, %d SMs, cuBLASLt %zu: %s to %s, %c%c %ld x %ld x %ld, ld %ld %ld %ld, "
		"%ld apart %ld %ld %ld, aligned %u %u %u%s%s",
		gpu.name, gpu.multiProcessorCount, cublasLtGetVersion(), type,
		g->c_float ? "f32" : type, side[g->ta], side[g->tb], g->m, g->n, g->k, g->lda,
		g->ldb, g->ldc, batch, batch > 1 ? g->stride_a : 0, batch > 1 ? g->stride_b : 0,
		batch > 1 ? g->stride_c : 0, alignment(a), alignment(b), alignment(c),
		g->bias ? ", bias" : "", g->relu ? ", max 0" : "");
}

static size_t bytes_of_c(const struct op_run *r, const struct gpu_gemm *g)
{
	long batch = g->batch > 1 ? g->batch : 1;
	long span = (batch - 1) * (batch > 1 ? g->stride_c : 0) + (g->m - 1) * g->ldc + g->n;

	return (size_t)span * (g->c_float ? sizeof(float) : r->device->bytes[REAL]);
}

/* At the first call of a product. What is timed is written where C will be written anyway, or,
   where C is added to, into memory of its own. Nothing of it may be part of a recording. */
static void find_algorithm(struct product *p, const struct op_run *r, const struct gpu_gemm *g,
	bool add, void *c, struct gemm_algorithm *algorithm)
{
	bool small =
		2.0 * (double)g->m * (double)g->n * (double)g->k * (g->batch > 1 ? g->batch : 1) <
		SMALL;
	cudaStreamCaptureStatus recording;
	void *scratch = NULL;
	char key[KEY];
	bool found;

	cuda_check(cudaStreamIsCapturing(p->stream, &recording), p->name);
	CHECK(recording == cudaStreamCaptureStatusNone);
	product_key(key, r, g, p->at_a, p->at_b, c);
	if (gemm_choices_find(choices_of(r->queue), key, algorithm)) {
		if (usable(p, algorithm))
			return;
		warning("GPU: cuBLASLt refuses the algorithm kept for %s: choosing anew", key);
	}
	if (add)
		cuda_check(cudaMalloc(&scratch, bytes_of_c(r, g)), p->name);
	found = small ? choose_first(p, add ? scratch : c, algorithm)
		: choose_fastest(p, r->queue, add ? scratch : c, algorithm);
	if (!found)
		die("GPU: %s: cuBLASLt has no algorithm for the product %s", p->name, key);
	cuda_check(cudaFree(scratch), p->name);
	gemm_choices_add(choices_of(r->queue), key, algorithm);
}

static struct product product_of(const struct op_run *r, const struct gpu_gemm *g, const void *a,
	const void *b, const void *bias, const void *c)
{
	struct product p = {};

	open_library(r->queue);
	p.handle = (cublasLtHandle_t)r->queue->blas;
	p.stream = (cudaStream_t)r->queue->stream;
	p.at_a = a;
	p.at_b = b;
	p.at_c = c;
	p.name = r->op->name;
	describe(&p, r, g, bias);
	return p;
}

bool gpu_gemm_offered(const struct op_run *r, const struct gpu_gemm *g, const void *a,
	const void *b, const void *c)
{
	cublasLtMatmulHeuristicResult_t proposed[N_PROPOSED];
	struct product p = product_of(r, g, a, b, NULL, c);
	int n = propose(&p, proposed);

	for (int i = 0; i < n; i++)
		if (proposed[i].state == CUBLAS_STATUS_SUCCESS)
			return true;
	return false;
}

void gpu_gemm(const struct op_run *r, struct gpu_gemm_plan *gp, const struct gpu_gemm *g,
	const void *a, const void *b, const void *bias, bool add, void *c, void *workspace)
{
	struct plan *plan = (struct plan *)gp;
	struct product p;

	if (g->m == 0 || g->n == 0)
		return;
	CHECK(g->k > 0 && !(g->relu && (add || g->bias)));
	p = product_of(r, g, a, b, bias, c);
	p.workspace = workspace;
	if (!plan->known) {
		find_algorithm(&p, r, g, add, c, &plan->algorithm);
		plan->known = true;
	}
	check(multiply(&p, &plan->algorithm, add, c), p.name);
}
