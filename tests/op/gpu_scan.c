/*
 * The scan's CUDA kernels on a machine with a GPU (make CUDA=1 gpu-check):
 *   gpu_scan check [small]  cuda_scan against ref and cpu, odd and large shapes, 1e-4 relative;
 *                           the same bits in ten runs
 *   gpu_scan time           kernels of cuda_f32 and cuda alone at batch 64, T 1024, 1024 channels,
 *                           16 states, and of cuda at batch 1, T 65,536: ns per (token, layer)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "op/trial.h"
#include "scan_case.h"
#include "tensor/queue.h"

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

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Median of 21 runs after 3 others, as ns per token. */
static double time_of(struct op_trial *t, void (*run)(struct op_trial *), const char *what)
{
	struct queue *q = t->run.queue;
	struct queue_mark *from = queue_mark_new(), *to = queue_mark_new();
	const struct tensor *u = t->in[SCAN_U_BTI];
	double ns[21];

	for (int k = -3; k < 21; k++) {
		queue_mark(q, from);
		run(t);
		queue_mark(q, to);
		if (k >= 0)
			ns[k] = queue_seconds(from, to) * 1e9 / (double)(u->dims[0] * u->dims[1]);
	}
	qsort(ns, 21, sizeof *ns, by_size);
	printf("  %-9s %6.2f ns per (token, layer), %.2f to %.2f\n", what, ns[10], ns[0], ns[20]);
	queue_mark_free(from);
	queue_mark_free(to);
	return ns[10];
}

/* 1024 channels, 16 states; sets ns of forward and of backward. */
static void time_shape(enum device_id id, long B, long T, double ns[2])
{
	enum { I = 1024, N = 16 };
	const struct tensor in[SCAN_N_IN] = {
		[SCAN_U_BTI] = tensor_of(REAL, 3, B, T, (long)I),
		[SCAN_DTRAW_BTI] = tensor_of(REAL, 3, B, T, (long)I),
		[SCAN_ALOG_IN] = tensor_of(MASTER, 2, (long)I, (long)N),
		[SCAN_B_BTN] = tensor_of(REAL, 3, B, T, (long)N),
		[SCAN_C_BTN] = tensor_of(REAL, 3, B, T, (long)N),
		[SCAN_D_I] = tensor_of(MASTER, 1, (long)I),
		[SCAN_DTBIAS_I] = tensor_of(MASTER, 1, (long)I),
		[SCAN_Z_BTI] = tensor_of(REAL, 3, B, T, (long)I),
	};
	struct op_trial_case c = {.op = &op_scan};
	struct op_trial t;

	for (int i = 0; i < SCAN_N_IN; i++)
		c.in[i] = in[i].n_dims ? &in[i] : NULL;
	op_trial_open(&t, &c, &device_list[id]);
	printf("%s, batch %ld, T %ld, 1024 channels, 16 states, gated\n", device_list[id].name, B,
		T);
	ns[0] = time_of(&t, op_trial_forward, "forward");
	op_trial_fill_d_out(&t);
	ns[1] = time_of(&t, op_trial_backward, "backward");
	op_trial_close(&t);
}

static int time_all(void)
{
	double f32[2], many[2], one[2];
	bool fast, even;

	puts(queue_name());
	time_shape(CUDA_F32, 64, 1024, f32);
	time_shape(CUDA, 64, 1024, many);
	time_shape(CUDA, 1, 65536, one);
	fast = many[0] <= 7 && many[1] <= 19;
	even = one[0] + one[1] <= 1.25 * (many[0] + many[1]);
	printf("limits 7 and 19 on cuda: %s; one sequence within 25 %% of 64: %s (%.2f)\n",
		fast ? "kept" : "MISSED", even ? "kept" : "MISSED",
		(one[0] + one[1]) / (many[0] + many[1]));
	return fast && even ? EXIT_DONE : EXIT_RUN_FAILED;
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
