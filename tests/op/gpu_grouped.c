/*
 * Products over segments on a machine with a GPU (make CUDA=1 gpu-programs):
 *   gpu_grouped check   all kernels against float64, E 1 to 64, odd segments
 *   gpu_grouped time    each product of a layer of experts, 65,536 rows, E 42, D 512, F 1536 (relu), by
 *                       mma.sync and by wgmma, segments even and skewed: TFLOP/s, median of 11
 * Without an argument both.
 */
#include "grouped_case.h"

static const struct {
	const char *name;
	grouped_kernel *run;
} kernels[] = {{"plain", grouped_product_plain}, {"mma", grouped_product_mma},
	{"wgmma", grouped_product_wgmma}};

enum { N_KERNELS = ARRAY_SIZE(kernels), RUNS = 11 };

static int n_kernels(void)
{
	return grouped_has_wgmma(gpu_queue()) ? N_KERNELS : N_KERNELS - 1;
}

/* ---- check ---------------------------------------------------------------------------------- */

static int check_sizes(int E, long S, int m, int n, int k, long step)
{
	struct grouped_case list[MOST_ENDS];
	int count = each_end(list, E, S, m, n, k), failed = 0;
	char what[160];

	for (int i = 0; i < count; i++) {
		struct grouped_operands x;
		open_operands(&x, &list[i]);
		for (int j = 0; j < n_kernels(); j++) {
			long wrong = try_kernel(&x, kernels[j].run, step);
			describe(&list[i], what, sizeof what);
			if (wrong)
				printf("FAILED: %s: %s: %ld of every %ld-th element wrong\n",
					kernels[j].name, what, wrong, step);
			failed += wrong != 0;
		}
		close_operands(&x);
	}
	return failed;
}

static int check_all(void)
{
	int failed = check_sizes(1, 7, 8, 8, 8, 1) + check_sizes(2, 300, 24, 40, 72, 1) +
		check_sizes(5, 1001, 136, 264, 328, 3) + check_sizes(64, 3000, 128, 256, 512, 31) +
		check_sizes(42, 9999, 768, 256, 512, 997) + check_sizes(7, 5000, 512, 1536, 256, 499);

	printf("%s: products over segments against float64\n", failed ? "FAILED" : "passed");
	return failed;
}

/* ---- time ----------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double seconds_of(const struct grouped_operands *x, grouped_kernel *kernel)
{
	struct queue_mark *from = queue_mark_new(), *to = queue_mark_new();
	struct op_run r = grouped_run();
	double seconds[RUNS];

	for (int k = -3; k < RUNS; k++) {
		queue_mark(r.queue, from);
		kernel(&r, &x->g);
		queue_mark(r.queue, to);
		if (k >= 0)
			seconds[k] = queue_seconds(from, to);
	}
	qsort(seconds, RUNS, sizeof *seconds, by_size);
	queue_mark_free(from);
	queue_mark_free(to);
	return seconds[RUNS / 2];
}

static const struct product {
	const char *name;
	bool backward;
	struct grouped g;
} products[] = {
	{"y  up      A W^T", false, {.form = ROWS_NT, .end = END_ACTIVATE, .n = 1536, .k = 512}},
	{"y  down    A W^T", false, {.form = ROWS_NT, .n = 512, .k = 1536}},
	{"dx hidden  A W  ", true, {.form = ROWS_NN, .end = END_SLOPE, .n = 1536, .k = 512}},
	{"dx         A W  ", true, {.form = ROWS_NN, .n = 512, .k = 1536}},
	{"dW up      A^T B", true, {.form = BY_EXPERT, .m = 1536, .n = 512}},
	{"dW down    A^T B", true, {.form = BY_EXPERT, .m = 512, .n = 1536}},
};

enum { COLUMNS = 4 };		/* mma even, mma skewed, wgmma even, wgmma skewed */

static void time_product(const struct product *p, double flops, double seconds[COLUMNS])
{
	struct grouped_case even = {p->g, EVEN}, skewed;
	struct grouped_operands x;
	const int *first[2];
	int *host;

	even.g.E = 42;
	even.g.S = 65536;
	skewed = (struct grouped_case){even.g, SKEWED};
	host = segments_of(&skewed);
	open_operands(&x, &even);
	first[0] = x.g.first;
	first[1] = upload(host, (size_t)(even.g.E + 1) * sizeof *host);
	printf("%-26s", p->name);
	for (int i = 0; i < COLUMNS && i / 2 + 1 < n_kernels(); i++) {
		x.g.first = first[i % 2];
		seconds[i] = seconds_of(&x, kernels[i / 2 + 1].run);
		printf("%9.0f", flops / seconds[i] / 1e12);
	}
	printf("\n");
	x.g.first = first[0];
	close_operands(&x);
	discard((void *)first[1], (size_t)(even.g.E + 1) * sizeof *host);
	free(host);
}

static void time_all(void)
{
	double flops = 2.0 * 65536 * 512 * 1536, sum[2][COLUMNS] = {{0}};

	printf("%s, TFLOP/s\n%26s%9s%9s%9s%9s\n", queue_name(), "", "mma even", "skewed", "wgmma", "skewed");
	for (int i = 0; i < (int)ARRAY_SIZE(products); i++) {
		double seconds[COLUMNS] = {0};
		time_product(&products[i], flops, seconds);
		for (int c = 0; c < COLUMNS; c++)
			sum[products[i].backward][c] += seconds[c];
	}
	for (int b = 0; b < 2; b++) {
		printf("%-26s", b ? "backward (aim 391)" : "forward (aim 490)");
		for (int c = 0; c < COLUMNS && sum[b][c] > 0; c++)
			printf("%9.0f", (b ? 4 : 2) * flops / sum[b][c] / 1e12);
		printf("\n");
	}
}

int main(int argc, char **argv)
{
	bool all = argc == 1, check = all || !strcmp(argv[1], "check"),
		time = all || !strcmp(argv[1], "time");
	int failed = 0;

	if (argc > 2 || (!check && !time)) {
		error("usage: %s [check | time]", argv[0]);
		return EXIT_USAGE;
	}
	if (check)
		failed = check_all();
	if (time)
		time_all();
	return failed ? EXIT_RUN_FAILED : EXIT_DONE;
}
