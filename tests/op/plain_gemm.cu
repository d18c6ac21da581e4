/*
 * op/cuda/gemm.h without cuBLASLt: a thread an element, a loop over k. test_ops_plain has it in place of gemm.cu, so
 * that compute-sanitizer, which takes minutes to load that library and fails inside it, checks the kernels that
 * stand before and behind products.
 */
extern "C" {
#include "op/cuda/gemm.h"
}
#include "op/cuda/kit.cuh"

enum { TILE = 16 };

template <typename real>
static __device__ float product(const struct gpu_gemm &g, const real *a, const real *b, long i, long j)
{
	float sum = 0;

	for (long k = 0; k < g.k; k++)
		sum += to_float(g.ta == GPU_GEMM_T ? a[k * g.lda + i] : a[i * g.lda + k]) *
			to_float(g.tb == GPU_GEMM_T ? b[j * g.ldb + k] : b[k * g.ldb + j]);
	return sum;
}

template <typename real, typename result>
static __global__ void multiply(struct gpu_gemm g, const real *a, const real *b, const result *bias, bool add,
	result *c)
{
	long j = (long)blockIdx.x * TILE + threadIdx.x % TILE;
	long i = (long)blockIdx.y * TILE + threadIdx.x / TILE;

	if (i >= g.m || j >= g.n)
		return;
	float sum = product(g, a + blockIdx.z * g.stride_a, b + blockIdx.z * g.stride_b, i, j);
	result *at = c + blockIdx.z * g.stride_c + i * g.ldc + j;
	if (g.relu)
		sum = sum > 0 ? sum : 0;
	*at = from_float<result>(sum + (g.bias ? to_float(bias[j]) : 0) + (add ? to_float(*at) : 0));
}

template <typename real, typename result>
static void launch_product(const struct op_run *r, const struct gpu_gemm *g, const void *a, const void *b,
	const void *bias, bool add, void *c)
{
	dim3 grid((unsigned)((g->n + TILE - 1) / TILE), (unsigned)((g->m + TILE - 1) / TILE),
		(unsigned)(g->batch > 1 ? g->batch : 1));

	launch(r, multiply<real, result>, grid, TILE * TILE, 0, *g, (const real *)a, (const real *)b,
		(const result *)bias, add, (result *)c);
}

extern "C" void gpu_gemm(const struct op_run *r, struct gpu_gemm_plan *, const struct gpu_gemm *g, const void *a,
	const void *b, const void *bias, bool add, void *c, void *)
{
	if (g->m == 0 || g->n == 0)
		return;
	if (r->device->bytes[REAL] == sizeof(float))
		launch_product<float, float>(r, g, a, b, bias, add, c);
	else if (g->c_float)
		launch_product<bf16, float>(r, g, a, b, bias, add, c);
	else
		launch_product<bf16, bf16>(r, g, a, b, bias, add, c);
}

extern "C" bool gpu_gemm_offered(const struct op_run *, const struct gpu_gemm *, const void *, const void *,
	const void *)
{
	return true;
}

extern "C" int gpu_gemm_choices_file(struct queue *, const char *)
{
	return 0;
}

extern "C" const char *gpu_gemm_library(void)
{
	return "plain loops";
}

extern "C" char *gpu_gemm_choices_text(const struct queue *)
{
	return (char *)xcalloc(1, 1);
}
