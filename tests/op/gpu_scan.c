/*
 * The scan's CUDA kernels on a machine with a GPU (make CUDA=1 gpu-scan):
 *   gpu_scan check [small]  cuda_scan against ref and cpu, odd and large shapes, 1e-4 relative;
 *                           the same bits in ten runs
 *   gpu_scan time           kernels alone at batch 64, T 1024, 1024 channels, 16 states: ns per
 *                           (token, layer); inputs of 1 GB each pass, so no cache holds them
 */
#include <cuda_runtime_api.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/rng.h"
#include "op/cuda.h"
#include "op/op.h"
#include "op/scan.h"
#include "op/scan_cuda.h"

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

enum { RUNS = 10 };

static struct tensor *new_tensor(struct scan_case *c, struct tensor shape, int pad)
{
	struct tensor *t = ARENA_NEW(&c->arena, struct tensor);

	*t = shape;
	t->ld += t->kind == REAL ? pad : 0;
	t->at = arena_get(&c->arena, (size_t)tensor_span(t) * c->shapes.device->bytes[t->kind]);
	return t;
}

/* Uniform in (low, high), the same numbers on every device and for every stride. */
static void fill(const struct scan_case *c, const struct tensor *t, uint64_t stream, double low,
	double high)
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

static void set_up(struct scan_case *c, const struct shape *s, enum device_id id, int pad)
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
	if (c->shapes.saved[SCAN_STATES].n_dims)
		c->run.saved[SCAN_STATES] = new_tensor(c, c->shapes.saved[SCAN_STATES], 0);
	c->run.workspace = arena_get(&c->arena, c->shapes.forward_workspace +
		c->shapes.backward_workspace);
}

/* Everything the operator wrote starts as NaN, so that what it forgets shows. */
static void run_case(struct scan_case *c)
{
	enum device_id id = c->shapes.device->id;

	for (int i = -1; i < SCAN_N_IN; i++) {
		const struct tensor *t = i < 0 ? c->run.out[SCAN_Y_BTI] : c->run.d_in[i];
		if (t)
			memset(t->at, 0xff, (size_t)tensor_span(t) * c->shapes.device->bytes[REAL]);
	}
	op_kernel_for(op_scan.forward, id)(&c->run);
	op_kernel_for(op_scan.backward, id)(&c->run);
}

static double get(const struct scan_case *c, const struct tensor *t, long row, long i)
{
	return c->shapes.device->id == REF ? row_f64(t, row)[i] : (double)row_f32(t, row)[i];
}

/* || a - b || / || b || */
static double distance(const struct scan_case *x, const struct tensor *a, const struct scan_case *y,
	const struct tensor *b)
{
	double diff = 0, norm = 0;

	for (long row = 0; row < tensor_rows(a); row++)
		for (long i = 0; i < tensor_width(a); i++) {
			double u = get(x, a, row, i), v = get(y, b, row, i);
			diff += (u - v) * (u - v);
			norm += v * v;
		}
	return sqrt(diff / norm);
}

static const struct tensor *result(const struct scan_case *c, int i)
{
	return i < 0 ? c->run.out[SCAN_Y_BTI] : c->run.d_in[i];
}

static bool same_bits(struct scan_case *c)
{
	char first[HASH_HEX], again[HASH_HEX];
	bool same = true;

	for (int run = 0; run < RUNS; run++) {
		struct hash *h = hash_open();
		run_case(c);
		for (int i = -1; i < SCAN_N_IN; i++) {
			const struct tensor *t = result(c, i);
			if (t)
				hash_add(h, t->at, (size_t)tensor_span(t) * sizeof(float));
		}
		hash_close(h, run ? again : first);
		same &= !run || !strcmp(first, again);
	}
	return same;
}

static bool check(const struct shape *s)
{
	struct scan_case gpu, oracle;
	double worst = 0;
	const char *where = "y";
	bool same;

	set_up(&gpu, s, CUDA_SCAN, s->pad);
	set_up(&oracle, s, s->oracle, 0);
	run_case(&gpu);
	run_case(&oracle);
	for (int i = -1; i < SCAN_N_IN; i++) {
		const struct tensor *t = result(&gpu, i);
		double e = t ? distance(&gpu, t, &oracle, result(&oracle, i)) : 0;
		if (!(e <= worst)) {
			worst = e;
			where = i < 0 ? "y" : op_scan.in[i].name;
		}
	}
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
	double row = 1024 * 4, bc = 2 * 16 * 4, states = row * 16 / SCAN_TILE;
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
