/*
 * moelab bench step|op|scale: how fast training is, as a whole, by operator and as models grow, against
 * the rates of this machine measured in the same process. Figures are kept: `bench compare` tells what
 * became slower.
 */
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "cmd/bench.h"
#include "measure/rate.h"
#include "plan/match.h"
#include "train/build_info.h"

extern const struct cmd cmd_bench;

void bench_ceilings(struct bench *b)
{
	if (b->gemm > 0)
		return;
	b->gemm = rate_gemm(b->device);
	b->copy = rate_copy(b->device);
	bench_report_add(&b->report, "ceiling", "matrix product", "", "flops_per_s", b->gemm);
	bench_report_add(&b->report, "ceiling", "copy", "", "bytes_per_s", b->copy);
}

int bench_keys(const struct bench *b, const char **all, const char *const *more, int n)
{
	memcpy(all, b->overrides, sizeof *all * (size_t)b->n_overrides);
	if (n)
		memcpy(all + b->n_overrides, more, sizeof *all * (size_t)n);
	return b->n_overrides + n;
}

bool bench_applies(const struct bench *b, const char *spec, const char *key)
{
	const char *keys[BENCH_MAX_OVERRIDES];
	int n = bench_keys(b, keys, NULL, 0);
	struct arena arena = {0};
	struct config config;
	bool found = !spec_load(&arena, spec, keys, n, spec_schema(), &config) &&
		config_find(&config, key);

	arena_release(&arena);
	return found;
}

const char *bench_name(struct bench *b, const char *spec)
{
	struct str s;
	char *copy;

	str_init(&s);
	str_add(&s, spec);
	for (int i = 0; i < b->n_overrides; i++)
		str_printf(&s, " %s", b->overrides[i]);
	copy = arena_strdup(&b->report.arena, s.text);
	str_release(&s);
	return copy;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_median(double *values, int n)
{
	qsort(values, (size_t)n, sizeof *values, by_size);
	return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static void begin_report(struct bench *b)
{
	struct bench_report *r = &b->report;
	char cpu[128];

	bench_report_init(r);
	r->cpu = arena_strdup(&r->arena, cpu_name(cpu, sizeof cpu));
	r->blas_core = blas_core();
	r->git = build_commit;
	r->build = build_flags;
	r->device = b->device->name;
	r->threads = omp_get_max_threads();
}

/* A kind of measurement, and what it takes when nothing is named. */
static const struct bench_kind {
	const char *name;
	int (*measure)(struct bench *b, const char *what);
	const char *usual[4];
} kinds[] = {
	{"step", bench_step, {"experiments/micro/mamba.yaml", "experiments/micro/moe_mamba.yaml",
		"experiments/micro/transformer.yaml"}},
	{"op", bench_op, {"micro", "25m", "100m"}},
	{"scale", bench_scale, {"experiments/micro/mamba.yaml", "experiments/micro/moe_mamba.yaml"}},
};

static const struct bench_kind *kind_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (name && !strcmp(kinds[i].name, name))
			return &kinds[i];
	error("bench takes step, op, scale or compare%s%s", name ? ", not " : "", name ? name : "");
	return NULL;
}

static int measure_all(struct bench *b, const struct bench_kind *kind, const struct arguments *a)
{
	int ret = EXIT_DONE;

	for (int i = 1; i < a->n_words && !ret; i++)
		ret = kind->measure(b, a->words[i]);
	for (int i = 0; a->n_words == 1 && kind->usual[i] && !ret; i++)
		ret = kind->measure(b, kind->usual[i]);
	return ret;
}

static int measure(struct bench *b, const struct arguments *a, bool keep)
{
	const struct bench_kind *kind = kind_find(a->n_words ? a->words[0] : NULL);
	int ret;

	if (!kind)
		return EXIT_USAGE;
	if (a->n_overrides > BENCH_MAX_OVERRIDES)
		return error("bench takes at most %d keys", BENCH_MAX_OVERRIDES), EXIT_USAGE;
	b->overrides = a->overrides;
	b->n_overrides = a->n_overrides;
	begin_report(b);
	ret = measure_all(b, kind, a);
	if (!ret && keep && bench_report_keep(&b->report, b->lab.path))
		ret = EXIT_ENVIRONMENT;
	bench_report_release(&b->report);
	return ret;
}

static int run(int argc, char **argv)
{
	struct bench b = {.lab = LAB_NEW, .steps = 5, .tokens = 2048};
	const char *device = "cpu";
	bool no_store = false;
	long threads = 0;
	const struct option_row rows[] = {
		{"steps", 'n', "N", "timed steps (default 5); the median counts", .number = &b.steps},
		{"threads", 'T', "T", "threads; 0: all cores", .number = &threads},
		{"device", 0, "NAME", "ref, cpu, cuda_scan, cuda or cuda_f32", .text = &device},
		{"against", 0, "KEY=VALUE", "step: the same with this key changed, in turn",
			.text = &b.against},
		{"only", 0, "NAME", "op: this operator alone; scale: this axis", .text = &b.only},
		{"all", 0, NULL, "op: every shape, not the costliest of each operator", .flag = &b.all},
		{"tokens", 0, "N", "op: tokens of a batch (default 2048), whole sequences",
			.number = &b.tokens},
		{"no-store", 0, NULL, "do not keep the figures", .flag = &no_store},
		LAB_DB(b.lab), LAB_FORM(b.lab),
		{0},
	};
	struct arguments a;
	int ret = options_parse(&cmd_bench, rows, argc, argv, &a);

	if (ret)
		return ret < 0 ? EXIT_USAGE : EXIT_DONE;
	b.device = device_find(device);
	if (!b.device || !grid_format_find(b.lab.format))
		return EXIT_USAGE;
	if (b.steps < 1)
		return error("bench: --steps 0 times nothing"), EXIT_USAGE;
	if (a.n_words == 1 && !strcmp(a.words[0], "compare"))
		return bench_compare(&b.lab);
	cpu_threads((int)threads);
	return measure(&b, &a, !no_store);
}

const struct cmd cmd_bench = {
	.name = "bench",
	.arguments = "step|op|scale|compare [SPEC...] [key=value...]",
	.help = "speed, against the rates of this machine: of a training step by operator (step);\n"
		"of operators by themselves on the shapes of a scale (op [micro|25m|100m|SPEC]);\n"
		"as context, width, experts and threads grow (scale); compare: the last figures\n"
		"against those before",
	.run = run,
};
