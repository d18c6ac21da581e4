/*
 * The scan's CUDA kernels on a machine with a GPU (make CUDA=1 gpu-check):
 *   gpu_scan check [small]  cuda_scan against ref and cpu, odd and large shapes, 1e-4 relative;
 *                           the same bits in ten runs
 *   gpu_scan time           kernels alone at batch 64, T 1024, 1024 channels, 16 states: ns per
 *                           (token, layer); inputs of 1 GB each pass, so no cache holds them
 */
#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "op/cuda/cuda.h"
#include "op/cuda/scan_cuda.h"
#include "scan_case.h"

enum { RUNS = 10 };

static bool same_bits(struct scan_case *c)
{
	char first[HASH_HEX], again[HASH_HEX];
	bool same = true;

	for (int run = 0; run < RUNS; run++) {
		run_case(c, false);
		hash_results(c, run ? again : first);
		same &= !run || !strcmp(first, again);
	}
	return same;
}

static bool check(const struct shape *s)
{
	struct scan_case gpu, oracle;
	const char *where;
	double worst;
	bool same;

	set_up(&gpu, s, CUDA_SCAN, s->pad);
	set_up(&oracle, s, s->oracle, 0);
	run_case(&gpu, false);
	run_case(&oracle, false);
	worst = worst_distance(&gpu, &oracle, &where);
	same = same_bits(&gpu);
	printf("%4ld x %4ld x %4ld x %2ld%s pad %d against %-3s: %.1e (worst: %s), %s\n",
		s->B, s->T, s->I, s->N, s->gate ? " gated" : "      ", s->pad,
		device_list[s->oracle].name, worst, where,
		same ? "same bits in 10 runs" : "OTHER BITS from run to run");
	arena_release(&gpu.arena);
	arena_release(&oracle.arena);
	return worst <= 1e-4 && same;
}

static int check_all(bool small)
{
	static const struct shape shapes[] = {
		{1, 1, 1, 1, false, 0, REF}, {2, 37, 19, 16, true, 3, REF},
		{3, 33, 132, 16, true, 4, REF}, {1, 130, 70, 5, false, 1, REF},
		{2, 64, 100, 37, true, 0, REF}, {5, 17, 64, 32, true, 8, REF},
		{1, 1024, 1024, 16, true, 0, REF}, {3, 1000, 1000, 16, true, 1, CPU},
		{64, 1024, 1024, 16, true, 0, CPU},
	};
	int n = small ? 6 : (int)ARRAY_SIZE(shapes), failed = 0;

	for (int k = 0; k < n; k++)
		failed += !check(&shapes[k]);
	printf("%s: %d of %d shapes\n", failed ? "FAILED" : "passed", failed ? failed : n, n);
	return failed ? EXIT_RUN_FAILED : EXIT_DONE;
}

/* Device memory with uniform numbers; scale 0 leaves it as it is. */
static struct scan_rows device_rows(long rows, long ld, float low, float high, uint64_t stream)
{
	struct scan_rows x = {.ld = ld};
	size_t bytes = (size_t)(rows * ld) * sizeof(float);
	float *host;

	cuda_check(cudaMalloc((void **)&x.at, bytes), "device memory");
	if (low == high)
		return x;
	host = xmalloc(bytes);
	#pragma omp parallel for
	for (long k = 0; k < rows * ld; k++) {
		struct rng_block b = rng_block((struct rng_key){1, stream, 0}, (uint64_t)k);
		host[k] = low + (high - low) * (float)rng_uniform(b, 0);
	}
	cuda_check(cudaMemcpy(x.at, host, bytes, cudaMemcpyHostToDevice), "copy to the GPU");
	free(host);
	return x;
}

/* As in a model: z is half of a row of 2 I, B and C are parts of a row of 64. */
static struct scan_cuda device_scan(int B, int T, int I, int N)
{
	struct scan_cuda s = {.B = B, .T = T, .I = I, .N = N};
	long rows = (long)B * T;

	s.u = device_rows(rows, I, -1, 1, 0);
	s.dtraw = device_rows(rows, I, -1, 1, 1);
	s.b = device_rows(rows, 64, -1, 1, 2);
	s.c = (struct scan_rows){.at = s.b.at + 16, .ld = 64};
	s.z = device_rows(rows, 2 * I, -2, 2, 3);
	s.a_log = device_rows(I, N, 0, 2.8f, 4);
	s.d = device_rows(1, I, -1, 1, 5);
	s.dt_bias = device_rows(1, I, -7, -2, 6);
	s.dy = device_rows(rows, I, -1, 1, 7);
	s.y = device_rows(rows, I, 0, 0, 0);
	s.ungated = device_rows(rows, I, 0, 0, 0);
	s.du = device_rows(rows, I, 0, 0, 0);
	s.ddtraw = device_rows(rows, I, 0, 0, 0);
	s.dz = device_rows(rows, 2 * I, 0, 0, 0);
	s.db = device_rows(rows, 64, 0, 0, 0);
	s.dc = (struct scan_rows){.at = s.db.at + 16, .ld = 64};
	s.da_log = device_rows(I, N, 0, 0, 0);
	s.dd = device_rows(1, I, 0, 0, 0);
	s.ddt_bias = device_rows(1, I, 0, 0, 0);
	s.states = device_rows(1, (long)(scan_cuda_states(&s) / sizeof(float)), 0, 0, 0).at;
	s.workspace = device_rows(1, (long)(scan_cuda_workspace(&s) / sizeof(float)), 0, 0, 0).at;
	return s;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Prints the median of 21 runs after 3 others, as ns per token. */
static double time_of(const char *what, void (*launch)(const struct scan_cuda *, void *),
	const struct scan_cuda *s, double bytes)
{
	cudaEvent_t from, to;
	double ms[21];
	float one;
	double ns;

	cuda_check(cudaEventCreate(&from), "event");
	cuda_check(cudaEventCreate(&to), "event");
	for (int k = -3; k < 21; k++) {
		cuda_check(cudaEventRecord(from, NULL), "event");
		launch(s, NULL);
		cuda_check(cudaEventRecord(to, NULL), "event");
		cuda_check(cudaEventSynchronize(to), what);
		cuda_check(cudaEventElapsedTime(&one, from, to), "event");
		if (k >= 0)
			ms[k] = (double)one;
	}
	qsort(ms, 21, sizeof *ms, by_size);
	ns = ms[10] * 1e6 / ((double)s->B * s->T);
	printf("%-24s %7.3f ms, %6.2f ns per (token, layer), %.2f to %.2f; %5.2f TB/s\n",
		what, ms[10], ns, ms[0] / ms[10] * ns, ms[20] / ms[10] * ns, bytes / ns / 1e3);
	return ns;
}

static int time_all(void)
{
	struct scan_cuda s = device_scan(64, 1024, 1024, 16), bare = s;
	double row = 1024 * 4, bc = 2 * 16 * 4, states = row * 16 / SCAN_KEPT;
	struct cudaDeviceProp p;

	bare.states = bare.ungated.at = NULL;
	cuda_check(cudaGetDeviceProperties(&p, 0), "device");
	printf("%s, batch 64, T 1024, 1024 channels, 16 states, float32, gated\n", p.name);
	time_of("forward, nothing kept", scan_cuda_forward, &bare, 4 * row + bc);
	double forward = time_of("forward", scan_cuda_forward, &s, 5 * row + bc + states);
	double backward = time_of("backward", scan_cuda_backward, &s, 8 * row + 2 * bc + states);
	printf("limits 9 and 25: %s\n", forward <= 9 && backward <= 25 ? "kept" : "MISSED");
	return forward <= 9 && backward <= 25 ? EXIT_DONE : EXIT_RUN_FAILED;
}

int main(int argc, char **argv)
{
	if (argc >= 2 && !strcmp(argv[1], "check"))
		return check_all(argc == 3 && !strcmp(argv[2], "small"));
	if (argc == 2 && !strcmp(argv[1], "time"))
		return time_all();
	error("usage: %s check [small] | time", argv[0]);
	return EXIT_USAGE;
}
